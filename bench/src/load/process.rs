//! Owns the reading of CPU time and context switches of a process, and of the machine, from `/proc`.

use std::fs;

/// What a process used since it started, all its threads together (io_uring's kernel workers too).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// On a CPU, in nanoseconds: exact where the kernel has `schedstat`, else in clock ticks.
    pub cpu_ns: u64,
    /// The ticks by which user and system time relate to one another.
    pub user_ticks: u64,
    pub system_ticks: u64,
    /// Given up the CPU by waiting, and lost it to another.
    pub switches_voluntary: u64,
    pub switches_involuntary: u64,
}

/// `USER_HZ`, which Linux fixes for `/proc` on every architecture that this runs on.
const TICKS_PER_SECOND: u64 = 100;
const TICK_NS: u64 = 1_000_000_000 / TICKS_PER_SECOND;

impl Usage {
    /// The usage of process `pid` now; `None` if there is none.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (user_ticks, system_ticks) = parse_stat(&stat)?;
        let mut usage = Self { user_ticks, system_ticks, ..Self::default() };
        let mut exact = true;
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            let path = task.path();
            // A thread may end between the listing and the reading.
            let Ok(status) = fs::read_to_string(path.join("status")) else { continue };
            usage.switches_voluntary += field(&status, "voluntary_ctxt_switches:");
            usage.switches_involuntary += field(&status, "nonvoluntary_ctxt_switches:");
            let on_cpu = fs::read_to_string(path.join("schedstat")).ok();
            match on_cpu.and_then(|s| s.split_whitespace().next()?.parse::<u64>().ok()) {
                Some(ns) => usage.cpu_ns += ns,
                None => exact = false,
            }
        }
        if !exact {
            usage.cpu_ns = (user_ticks + system_ticks) * TICK_NS;
        }
        Some(usage)
    }

    /// The usage of this process now.
    #[must_use]
    pub fn own() -> Option<Self> {
        let clock = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let cpu_ns = u64::try_from(clock.tv_sec).ok()? * 1_000_000_000 + u64::try_from(clock.tv_nsec).ok()?;
        Some(Self { cpu_ns, ..Self::of(std::process::id())? })
    }

    /// What was used between `earlier` and now.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        let user_ticks = self.user_ticks.saturating_sub(earlier.user_ticks);
        let system_ticks = self.system_ticks.saturating_sub(earlier.system_ticks);
        // A thread that ends takes its exact time with it; the process's ticks keep it, give or take one each.
        let at_least_ns = (user_ticks + system_ticks).saturating_sub(2) * TICK_NS;
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns).max(at_least_ns),
            user_ticks,
            system_ticks,
            switches_voluntary: self.switches_voluntary.saturating_sub(earlier.switches_voluntary),
            switches_involuntary: self.switches_involuntary.saturating_sub(earlier.switches_involuntary),
        }
    }

    /// The part of the CPU time that was spent in user space, from 0 to 1.
    #[must_use]
    pub fn user_share(self) -> f64 {
        let ticks = self.user_ticks + self.system_ticks;
        if ticks == 0 { 0.0 } else { self.user_ticks as f64 / ticks as f64 }
    }
}

/// Nanoseconds in which the machine's CPUs were not idle since it started, all CPUs together.
#[must_use]
pub fn machine_busy_ns() -> Option<u64> {
    parse_machine(&fs::read_to_string("/proc/stat").ok()?)
}

/// user, nice, system, irq and softirq: not idle, iowait, nor time stolen by the host.
fn parse_machine(stat: &str) -> Option<u64> {
    let numbers: Vec<u64> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let busy: u64 = [0, 1, 2, 5, 6].iter().map(|i| numbers.get(*i)).sum::<Option<u64>>()?;
    Some(busy * TICK_NS)
}

/// utime and stime. The command's name, in parentheses, may hold anything.
fn parse_stat(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let stat = "77 (a b) c) S 1 2 3 4 5 6 7 8 9 10 123 45 0 0 20 0 1 0 1 2 3\n";
        assert_eq!(parse_stat(stat), Some((123, 45)));
        assert_eq!(parse_stat("77 (x) S 1"), None);
        assert_eq!(parse_machine("cpu  1 2 3 400 500 6 7 8 0 0\ncpu0 1\n"), Some(19 * TICK_NS));
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), 12);
        assert_eq!(field(status, "nonvoluntary_ctxt_switches:"), 3);
    }

    #[test]
    fn work_shows_in_the_own_usage() {
        let id = std::process::id();
        let (before, own) = (Usage::of(id).unwrap(), Usage::own().unwrap());
        // The work is done by a thread that is gone when the clocks are read again.
        let work = move || {
            let mut sum = 0_u64;
            let mut rng = fastrand::Rng::with_seed(1);
            while Usage::of(id).unwrap().since(before).cpu_ns < 100_000_000 {
                sum = (0..1_000_000).fold(sum, |sum, _| sum.wrapping_add(rng.u64(..)));
            }
            sum
        };
        assert_ne!(std::thread::spawn(work).join().unwrap(), 0);
        assert!(Usage::own().unwrap().since(own).cpu_ns >= 70_000_000);
        assert!(Usage::of(id).unwrap().since(before).cpu_ns >= 70_000_000);
        assert_eq!(Usage::of(0), None);
    }
}
