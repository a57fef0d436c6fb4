//! Owns latency by the second: what the replies of a group took that came in each second of the measured time, and in
//! which of these the server was making a checkpoint. A stall shows in the seconds in which its replies come.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::connection::{self, Greeting};
use super::driver::Shared;
use super::error::LoadError;
use super::limits::LATENCY_NS_MAX;
use super::plan::{Limit, Plan};
use super::scanner::Scanner;

const SECOND_NS: u64 = 1_000_000_000;

/// How often the server is asked whether it is making a checkpoint: a few in each second, at 50 us of its time each.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// What one thread saw of one group.
#[derive(Clone, Debug)]
pub struct Seconds {
    /// Where measuring begins, in nanoseconds since the run's start.
    from_ns: u64,
    /// Of each second, in nanoseconds. Two digits: there are many of them.
    latencies: Vec<Histogram<u32>>,
}

impl Seconds {
    /// For the whole seconds from `from_ns` to `to_ns`.
    #[must_use]
    pub fn new(from_ns: u64, to_ns: u64) -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 2).expect("the bounds are constants in order");
        Self { from_ns, latencies: vec![latency; ((to_ns - from_ns) / SECOND_NS) as usize] }
    }

    /// `count` replies that came at `now_ns`. Those of the warm-up and of after the last second are passed over.
    #[inline]
    pub fn record(&mut self, now_ns: u64, latency_ns: u64, count: u64) {
        let second = now_ns.checked_sub(self.from_ns).map(|ns| (ns / SECOND_NS) as usize);
        if let Some(latency) = second.and_then(|second| self.latencies.get_mut(second)) {
            latency.saturating_record_n(latency_ns.max(1), u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// Adds what another thread saw of the group.
    pub fn merge(&mut self, other: &Self) {
        for (latency, other) in self.latencies.iter_mut().zip(&other.latencies) {
            latency.add(other).expect("histograms of one run have the same bounds");
        }
    }

    /// The report of each; `checkpoints` says of each whether there was one.
    #[must_use]
    pub fn report(&self, checkpoints: &[bool]) -> Vec<SecondReport> {
        let us =
            |latency: &Histogram<u32>, at| (!latency.is_empty()).then(|| latency.value_at_quantile(at) as f64 / 1000.0);
        let report = |(latency, has_checkpoint): (&Histogram<u32>, &bool)| SecondReport {
            answered: latency.len(),
            p50_us: us(latency, 0.5),
            p99_us: us(latency, 0.99),
            has_checkpoint: *has_checkpoint,
        };
        self.latencies.iter().zip(checkpoints).map(report).collect()
    }
}

/// A second of a group. Without a reply, the latencies are null.
#[derive(Clone, Debug, Serialize)]
pub struct SecondReport {
    pub answered: u64,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub has_checkpoint: bool,
}

/// What the seconds with a checkpoint were beside the others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointReport {
    pub seconds_with: usize,
    pub seconds_without: usize,
    /// Medians of the seconds' 99th percentiles.
    pub p99_us_with: f64,
    pub p99_us_without: f64,
}

impl CheckpointReport {
    /// `None` unless there were seconds of both kinds.
    #[must_use]
    pub fn of(seconds: &[SecondReport]) -> Option<Self> {
        let p99s = |has_checkpoint| {
            let meant = seconds.iter().filter(|second| second.has_checkpoint == has_checkpoint);
            let mut p99s: Vec<f64> = meant.filter_map(|second| second.p99_us).collect();
            p99s.sort_by(f64::total_cmp);
            p99s
        };
        let (with, without) = (p99s(true), p99s(false));
        Some(Self {
            seconds_with: with.len(),
            seconds_without: without.len(),
            p99_us_with: *with.get(with.len() / 2)?,
            p99_us_without: *without.get(without.len() / 2)?,
        })
    }
}

impl std::fmt::Display for CheckpointReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "p99 of the median second {:.1} us in the {} with a checkpoint, {:.1} us in the {} without: {:.2} times",
            self.p99_us_with,
            self.seconds_with,
            self.p99_us_without,
            self.seconds_without,
            self.p99_us_with / self.p99_us_without.max(0.001)
        )
    }
}

/// Asks the server over a connection of its own, until the measured time is over, and says of each second whether there
/// was a checkpoint in it. A server that does not say has none.
pub fn watch_checkpoints(plan: &Plan, shared: &Shared, start: Instant) -> Result<Vec<bool>, LoadError> {
    let Limit::Time { warmup, measured } = plan.limit else { return Ok(Vec::new()) };
    let mut marked = vec![false; measured.as_secs() as usize];
    let mut asking = Asking::open(plan)?;
    let mut before = asking.ask(plan)?;
    while start.elapsed() < warmup + measured && !shared.stop.load(Ordering::Relaxed) {
        let seen = asking.ask(plan)?;
        let second = start.elapsed().checked_sub(warmup).map(|since| since.as_secs() as usize);
        if let Some(mark) = second.and_then(|second| marked.get_mut(second)) {
            *mark |= seen.is_running || seen.made > before.made;
        }
        before = seen;
        thread::sleep(ASK_EVERY);
    }
    Ok(marked)
}

/// What INFO says of checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Checkpoints {
    is_running: bool,
    /// So far.
    made: u64,
}

impl Checkpoints {
    fn parse(info: &str) -> Self {
        let field = |name: &str| {
            let values = info.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            values.filter_map(|value| value.trim().parse::<u64>().ok()).next().unwrap_or(0)
        };
        Self { is_running: field("rdb_bgsave_in_progress") > 0, made: field("rdb_saves") }
    }
}

/// A connection that asks one question at a time.
struct Asking {
    writer: File,
    reader: BufReader<File>,
}

impl Asking {
    fn open(plan: &Plan) -> Result<Self, LoadError> {
        let greeting = Greeting { resp3: false, ..plan.greeting.clone() };
        let socket = connection::connect(&plan.target, &greeting)?;
        rustix::io::ioctl_fionbio(&socket, false).map_err(LoadError::system("cannot wait for a reply"))?;
        let writer = File::from(socket);
        let reader = writer.try_clone().map_err(|source| LoadError::System { what: "dup", source })?;
        Ok(Self { writer, reader: BufReader::new(reader) })
    }

    fn ask(&mut self, plan: &Plan) -> Result<Checkpoints, LoadError> {
        let mut scanner = Scanner::new(true);
        let asked = self.writer.write_all(b"INFO persistence\r\n");
        let answered = asked.and_then(|()| connection::read_reply(&mut self.reader, &mut scanner));
        answered.map_err(|source: io::Error| LoadError::Connect { target: plan.target.to_string(), source })?;
        Ok(Checkpoints::parse(&String::from_utf8_lossy(scanner.payload())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn replies_count_in_the_second_in_which_they_come() {
        let mut seconds = Seconds::new(500 * MS, 3_700 * MS);
        for (now_ms, latency_ms, count) in [(499, 1, 9), (500, 1, 99), (1_400, 30, 1), (1_500, 7, 2), (3_600, 8, 5)] {
            seconds.record(now_ms * MS, latency_ms * MS, count);
        }
        let mut other = Seconds::new(500 * MS, 3_700 * MS);
        other.record(1_600 * MS, 7 * MS, 1);
        seconds.merge(&other);
        let report = seconds.report(&[false, true, false]);
        let told: Vec<_> = report.iter().map(|second| (second.answered, second.has_checkpoint)).collect();
        assert_eq!(told, [(100, false), (3, true), (0, false)]);
        let us = |value: Option<f64>| value.map(|us| (us / 1000.0).round());
        assert_eq!((us(report[0].p50_us), us(report[0].p99_us)), (Some(1.0), Some(1.0)));
        assert_eq!((us(report[1].p99_us), report[2].p99_us), (Some(7.0), None));
    }

    #[test]
    fn seconds_with_and_without_a_checkpoint_are_set_side_by_side() {
        let second = |p99_us, has_checkpoint| SecondReport { answered: 1, p50_us: None, p99_us, has_checkpoint };
        let quiet =
            [second(Some(30.0), false), second(Some(10.0), false), second(Some(20.0), false), second(None, false)];
        assert_eq!(CheckpointReport::of(&quiet), None);
        let report = CheckpointReport::of(&[&quiet[..], &[second(Some(25.0), true)]].concat()).unwrap();
        let expected =
            CheckpointReport { seconds_with: 1, seconds_without: 3, p99_us_with: 25.0, p99_us_without: 20.0 };
        assert_eq!(report, expected);
        assert!(report.to_string().ends_with("20.0 us in the 3 without: 1.25 times"), "{report}");
    }

    #[test]
    fn info_tells_of_checkpoints() {
        let text = "# Persistence\r\nloading:0\r\nrdb_bgsave_in_progress:1\r\nrdb_saves:17\r\nrdb_saves_x:3\r\n";
        assert_eq!(Checkpoints::parse(text), Checkpoints { is_running: true, made: 17 });
        assert_eq!(Checkpoints::parse("# Persistence\r\n"), Checkpoints::default());
    }
}
