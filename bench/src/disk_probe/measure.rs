//! Makes one measurement: so many transfers of one kind in flight for a time, each followed at once by the next.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cairn_net::disk_probe::{ProbeFile, Transfer};
use hdrhistogram::Histogram;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub transfer: Transfer,
    /// Bytes of one transfer.
    pub bytes: usize,
    /// Transfers in flight.
    pub depth: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Measured {
    /// From the first transfer that counts to the end of the last.
    pub seconds: f64,
    /// Nanoseconds from the submission of a transfer to its end.
    pub latency: Histogram<u64>,
}

/// Latencies above this count as this: 1,000 seconds.
const LATENCY_NS_MAX: u64 = 1_000_000_000_000;

/// This part of a measurement comes before it and does not count: devices and the kernel's threads warm up.
const WARMUP_PART: u32 = 10;

/// A histogram that holds every latency.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are constants in order")
}

/// Writes the whole file once, so that later writes go over allocated blocks and reads find bytes.
pub fn prepare(
    file: &mut ProbeFile,
    bytes: usize,
    stop: &AtomicBool,
    mut on_written: impl FnMut(u64),
) -> io::Result<()> {
    let mut free: Vec<usize> = (0..file.depth().min(8)).collect();
    let mut next = 0;
    while (next < file.file_bytes() && !stop.load(Ordering::Relaxed)) || file.has_in_flight() {
        while next < file.file_bytes()
            && let Some(slot) = free.pop()
        {
            let len = (file.file_bytes() - next).min(bytes as u64);
            file.start(slot, Transfer::Write, next, len as usize)?;
            next += len;
        }
        file.wait(&mut free)?;
        on_written(next);
    }
    file.sync()
}

/// Ends early, with what there is, when `stop` is set.
pub fn measure(
    file: &mut ProbeFile,
    case: &Case,
    seconds: Duration,
    seed: u64,
    stop: &AtomicBool,
) -> io::Result<Measured> {
    let mut places = Places::new(case, file.file_bytes(), seed);
    let mut latency = histogram();
    let mut ended: Vec<usize> = (0..case.depth).collect();
    let mut begun = vec![Instant::now(); case.depth];
    let counts_from = Instant::now() + seconds / WARMUP_PART;
    let until = counts_from + seconds;
    let mut last = counts_from;
    let mut is_over = false;
    loop {
        for slot in ended.drain(..).filter(|_| !is_over) {
            begun[slot] = Instant::now();
            file.start(slot, case.transfer, places.next(), case.bytes)?;
        }
        if !file.has_in_flight() {
            break;
        }
        file.wait(&mut ended)?;
        let now = Instant::now();
        // What began in time counts when it ends: else the slowest would be missing.
        for &slot in &ended {
            if now >= counts_from && begun[slot] < until {
                latency.saturating_record((now - begun[slot]).as_nanos().max(1) as u64);
                last = now;
            }
        }
        is_over = now >= until || stop.load(Ordering::Relaxed);
    }
    Ok(Measured { seconds: (last - counts_from).as_secs_f64(), latency })
}

/// Where the transfers of a measurement go: flushes one after the other, reads anywhere.
struct Places {
    is_random: bool,
    bytes: u64,
    /// Whole transfers that fit into the file.
    count: u64,
    next: u64,
    random: fastrand::Rng,
}

impl Places {
    fn new(case: &Case, file_bytes: u64, seed: u64) -> Self {
        let bytes = case.bytes as u64;
        let is_random = case.transfer == Transfer::Read;
        Self { is_random, bytes, count: file_bytes / bytes, next: 0, random: fastrand::Rng::with_seed(seed) }
    }

    fn next(&mut self) -> u64 {
        let at = if self.is_random { self.random.u64(..self.count) } else { self.next };
        self.next = (self.next + 1) % self.count;
        at * self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{Case, Places};
    use cairn_net::disk_probe::Transfer;

    #[test]
    fn flushes_go_in_order_and_around_and_reads_everywhere() {
        let mut flushes = Places::new(&Case { transfer: Transfer::WriteDsync, bytes: 4096, depth: 2 }, 3 * 4096, 1);
        assert_eq!([0; 4].map(|_| flushes.next()), [0, 4096, 8192, 0]);
        let mut reads = Places::new(&Case { transfer: Transfer::Read, bytes: 8192, depth: 2 }, 4 * 8192 + 5, 1);
        let mut seen: Vec<u64> = (0..200).map(|_| reads.next()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [0, 8192, 16384, 24576]);
    }
}
