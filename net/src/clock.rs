//! The two clocks: monotonic nanoseconds for latencies and deadlines, Unix time for expiry.
//!
//! The monotonic clock is the processor's time stamp counter where the kernel itself trusts it (invariant, and the
//! current clock source): 8 ns instead of 20 or more. Else it is `CLOCK_MONOTONIC`. Both count on from the same origin.

use cairn_core::event::Now;
use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;

/// Fixed point of the ticks-to-nanoseconds factor.
const SHIFT: u32 = 32;

/// How a count of ticks becomes `CLOCK_MONOTONIC` nanoseconds.
#[derive(Clone, Copy)]
struct Counter {
    origin_ticks: u64,
    origin_ns: u64,
    /// Nanoseconds of a tick, times 2^32.
    factor: u64,
}

/// `None`: the counter is not to be trusted.
static COUNTER: OnceLock<Option<Counter>> = OnceLock::new();

/// Calibrates the clock. Takes about 20 ms once; called at start, so that no request pays for it.
pub fn calibrate() {
    COUNTER.get_or_init(Counter::new);
}

/// The time now.
#[inline]
pub fn now() -> Now {
    Now { mono_ns: mono_ns(), unix_us: unix_us() }
}

/// Monotonic nanoseconds, as `CLOCK_MONOTONIC` counts them.
#[inline]
pub fn mono_ns() -> u64 {
    match COUNTER.get() {
        Some(Some(counter)) => counter.ns(),
        _ => kernel_ns(),
    }
}

/// Unix time in microseconds.
#[inline]
pub fn unix_us() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

fn kernel_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Counter {
    #[inline]
    fn ns(&self) -> u64 {
        // Another core's counter may be some ticks behind the origin's.
        let ticks = ticks().saturating_sub(self.origin_ticks);
        self.origin_ns + ((u128::from(ticks) * u128::from(self.factor)) >> SHIFT) as u64
    }

    #[cfg(target_arch = "x86_64")]
    fn new() -> Option<Counter> {
        use std::arch::x86_64::__cpuid;
        let source =
            std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource").ok()?;
        if source.trim() != "tsc" || __cpuid(0x8000_0000).eax < 0x8000_0007 {
            return None;
        }
        let is_invariant = __cpuid(0x8000_0007).edx & (1 << 8) != 0;
        is_invariant.then(Counter::calibrate)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn new() -> Option<Counter> {
        None
    }

    /// Compares both clocks over 20 ms.
    #[cfg(target_arch = "x86_64")]
    fn calibrate() -> Counter {
        let (origin_ticks, origin_ns) = Counter::sample();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (ticks, ns) = Counter::sample();
        let factor = (u128::from(ns - origin_ns) << SHIFT) / u128::from((ticks - origin_ticks).max(1));
        Counter { origin_ticks, origin_ns, factor: factor as u64 }
    }

    /// Both clocks at nearly the same moment: the best of several tries, since an interrupt may come between.
    #[cfg(target_arch = "x86_64")]
    fn sample() -> (u64, u64) {
        let tries = (0..16).map(|_| {
            let before = ticks();
            let ns = kernel_ns();
            let after = ticks();
            (after - before, before + (after - before) / 2, ns)
        });
        let (_, ticks, ns) = tries.min().expect("16 tries");
        (ticks, ns)
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn ticks() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 processor and touches no memory. Where the kernel forbids it to processes it
    // traps; such kernels do not offer `tsc` as a clock source of this machine either.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    unreachable!("without a counter there is nothing to ask it for")
}

#[cfg(test)]
mod tests {
    use super::{calibrate, kernel_ns, mono_ns};

    #[test]
    fn the_counter_agrees_with_the_kernel() {
        calibrate();
        for _ in 0..5 {
            let before = kernel_ns();
            let ours = mono_ns();
            let after = kernel_ns();
            // 20 ms of calibration leave an error of some microseconds a second.
            assert!(ours + 100_000 > before && ours < after + 100_000, "{before} {ours} {after}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn time_does_not_go_back() {
        calibrate();
        let mut last = 0;
        for _ in 0..100_000 {
            let now = mono_ns();
            assert!(now >= last);
            last = now;
        }
    }
}
