//! Random runs: append, seal, complete in any order, fail, kill, cut the power, recover, damage; then look.
//!
//! What must hold after each recovery: every acknowledged record is there, the records that are there are a prefix of
//! those that were appended, with their LSNs; what is there is there for good. Damage to what was acknowledged, and
//! proved, is refused. And each planted bug must be found.

use crate::disk::{Disk, EIO, ENOSPC, Rng};
use crate::{Opened, Seen, config, open, put, segment_of};
use cairn_storage::blob::Blob;
use cairn_storage::error::Fault;
use cairn_storage::limits::{BLOCK_BYTES, FLIGHTS_MAX};
use cairn_storage::log::flush::{Flush, HEADER_BYTES};
use cairn_storage::log::{Bug, LogConfig, LogState, LogWriter, Resume};
use cairn_storage::op::{DiskDone, DiskOp};
use cairn_storage::units::{Epoch, Lsn, SegmentId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRng, TestRunner};

type Checked = Result<(), String>;

#[derive(Clone, Debug)]
enum Action {
    /// Appends so many records, of lengths drawn from the seed.
    Append(u8, u64),
    Seal,
    /// Completes some operation, chosen among those in flight.
    Complete(u8),
    CompleteAll,
    SealIdle,
    RetryPrepare,
    Flights(u8),
    /// Fails some operation.
    Fail(u8, u64),
    CutShort(u8),
    /// The process dies, or the power fails; then the log is opened, perhaps after openings that were interrupted.
    Crash {
        power: bool,
        interrupted: Vec<u8>,
        checkpoint: bool,
        seed: u64,
    },
    /// As a crash, and a bit of what was stable flips meanwhile.
    Damage(u64),
    /// What is before the middle of what was acknowledged is not needed any more: its segments are used again.
    Recycle,
}

fn action() -> impl Strategy<Value = Action> {
    let crash = (any::<bool>(), prop::collection::vec(0..40u8, 0..3), any::<bool>(), any::<u64>());
    prop_oneof![
        8 => (1..12u8, any::<u64>()).prop_map(|(count, seed)| Action::Append(count, seed)),
        6 => Just(Action::Seal),
        8 => any::<u8>().prop_map(Action::Complete),
        2 => Just(Action::CompleteAll),
        1 => Just(Action::SealIdle),
        1 => Just(Action::RetryPrepare),
        1 => (1..=FLIGHTS_MAX as u8).prop_map(Action::Flights),
        1 => (any::<u8>(), any::<u64>()).prop_map(|(at, seed)| Action::Fail(at, seed)),
        1 => any::<u8>().prop_map(Action::CutShort),
        2 => crash.prop_map(|(power, interrupted, checkpoint, seed)| Action::Crash {
            power,
            interrupted,
            checkpoint,
            seed
        }),
        1 => any::<u64>().prop_map(Action::Damage),
        1 => Just(Action::Recycle),
    ]
}

struct World {
    config: LogConfig,
    disk: Disk,
    writer: LogWriter,
    /// The records of the log, as they were appended.
    appended: Vec<Seen>,
    /// What a client may have been told is there for good.
    acknowledged: Lsn,
    /// A checkpoint holds what is up to here, and segments before it may be others by now.
    base: Lsn,
    next: u64,
}

impl World {
    fn new(planted: Option<Bug>) -> Self {
        let config = LogConfig { planted, ..config() };
        let mut world = Self {
            config,
            disk: Disk::default(),
            writer: LogWriter::new(config, &Resume::empty()),
            appended: Vec::new(),
            acknowledged: Lsn(0),
            base: Lsn(0),
            next: 0,
        };
        world.disk.take(&mut world.writer);
        world
    }

    fn run(&mut self, action: &Action) -> Checked {
        match action {
            Action::Append(count, seed) => self.append(*count, &mut Rng(*seed)),
            Action::Seal => self.writer.seal(),
            Action::SealIdle => drop(self.writer.seal_idle()),
            Action::RetryPrepare => self.writer.retry_prepare(),
            Action::Flights(flights) => self.writer.set_flights_max(usize::from(*flights)),
            Action::Complete(at) => self.complete(*at)?,
            Action::CompleteAll => {
                while !self.disk.flying.is_empty() {
                    self.complete(0)?;
                }
            }
            Action::Fail(at, seed) if !self.disk.flying.is_empty() => {
                let at = usize::from(*at) % self.disk.flying.len();
                let errno = if matches!(self.disk.flying[at].op, DiskOp::Write { .. }) { EIO } else { ENOSPC };
                let done = self.disk.fail(at, errno, &mut Rng(*seed));
                self.fault(done)?;
            }
            Action::CutShort(at) if !self.disk.flying.is_empty() => {
                let at = usize::from(*at) % self.disk.flying.len();
                if matches!(self.disk.flying[at].op, DiskOp::Write { .. }) {
                    let done = self.disk.cut_short(at);
                    self.fault(done)?;
                }
            }
            Action::Fail(..) | Action::CutShort(_) => {}
            Action::Crash { power, interrupted, checkpoint, seed } => {
                let start = if *checkpoint { self.checkpoint() } else { self.base };
                return self.crash(*power, interrupted, start, &mut Rng(*seed));
            }
            Action::Damage(seed) => return self.damage(&mut Rng(*seed)),
            Action::Recycle => {
                self.base = self.checkpoint();
                self.disk.forget(segment_of(self.base));
            }
        }
        self.disk.take(&mut self.writer);
        self.acknowledge()
    }

    fn append(&mut self, count: u8, rng: &mut Rng) {
        for _ in 0..count {
            if !self.writer.accepts_writes() || !self.writer.has_room() {
                return;
            }
            let len = match rng.below(40) {
                0 => rng.below(700_000),
                1..4 => rng.below(100_000),
                4..8 => 0,
                _ => rng.below(300),
            };
            let key = self.next.to_le_bytes();
            self.next += 1;
            let value = vec![rng.next() as u8; len as usize];
            let lsn = if rng.below(2) == 0 {
                self.writer.append(&put(&key, &value))
            } else {
                let blob = Blob::new(value.clone());
                self.writer.append_blob(&put(&key, &blob), &blob)
            };
            self.appended.push(Seen { lsn, key: key.to_vec(), value });
        }
    }

    fn complete(&mut self, at: u8) -> Checked {
        if self.disk.flying.is_empty() {
            return Ok(());
        }
        let at = usize::from(at) % self.disk.flying.len();
        let done = self.disk.complete(&self.config, &self.writer, at);
        self.writer.on_done(done);
        self.disk.take(&mut self.writer);
        self.acknowledge()
    }

    fn fault(&mut self, done: DiskDone) -> Checked {
        let before = self.writer.durable();
        self.writer.on_done(done);
        if self.config.planted.is_some() {
            // A planted bug is to be found by what it does to the records.
            return Ok(());
        }
        if self.writer.state() == LogState::Open {
            return Err("a failed operation goes unnoticed".into());
        }
        if self.writer.durable() != before {
            return Err("a failed operation makes something durable".into());
        }
        Ok(())
    }

    fn acknowledge(&mut self) -> Checked {
        if self.writer.durable() < self.acknowledged {
            return Err("the durable LSN goes back".into());
        }
        self.acknowledged = self.writer.durable();
        Ok(())
    }

    /// The LSN of an acknowledged record in the middle.
    fn checkpoint(&self) -> Lsn {
        let acknowledged = self.appended.partition_point(|record| record.lsn <= self.acknowledged);
        self.appended[..acknowledged].get(acknowledged / 2).map_or(self.base, |record| record.lsn.max(self.base))
    }

    fn crash(&mut self, power: bool, interrupted: &[u8], start: Lsn, rng: &mut Rng) -> Checked {
        self.die(power, rng);
        for steps in interrupted {
            open(self.config, &mut self.disk, start, usize::from(*steps));
            self.die(true, rng);
        }
        let Opened { records, outcome } = open(self.config, &mut self.disk, start, usize::MAX);
        let resume = outcome.expect("it was not interrupted").map_err(|fault| format!("refused: {fault}"))?;
        self.check(&records, start, &resume)?;
        self.resume(&resume);
        Ok(())
    }

    fn die(&mut self, power: bool, rng: &mut Rng) {
        if power {
            self.disk.power_cut(rng);
        } else {
            self.disk.kill(rng);
        }
    }

    fn check(&mut self, records: &[Seen], start: Lsn, resume: &Resume) -> Checked {
        let skipped = self.appended.partition_point(|record| record.lsn <= start);
        let expected = &self.appended[skipped..];
        if records.len() > expected.len() || records != &expected[..records.len()] {
            return Err("what is there is not a prefix of what was appended".into());
        }
        let survivors = skipped + records.len();
        if let Some(lost) = self.appended.get(survivors)
            && lost.lsn <= self.acknowledged
        {
            return Err(format!("the acknowledged record at {} is lost", lost.lsn));
        }
        if resume.end < self.acknowledged || !resume.end.0.is_multiple_of(BLOCK_BYTES as u64) {
            return Err(format!("the log ends at {} although {} was durable", resume.end, self.acknowledged));
        }
        if !resume.prepared.iter().all(|segment| self.disk.is_stable(*segment)) {
            return Err("the log goes on where it is not stable".into());
        }
        self.appended.truncate(survivors);
        // Clients may see from now on whatever recovery found.
        self.acknowledged = resume.end;
        Ok(())
    }

    fn resume(&mut self, resume: &Resume) {
        // A driver may or may not delete what is of no use.
        if resume.end.0.is_multiple_of(3) {
            resume.useless.iter().for_each(|segment| drop(self.disk.files.remove(&segment.0)));
        }
        self.disk.stable.retain(|flush| flush.end() <= resume.end);
        self.config.epoch = Epoch(self.config.epoch.0 + 1);
        self.writer = LogWriter::new(self.config, resume);
        self.disk.take(&mut self.writer);
    }

    /// Flips a bit of a flush that a later stable flush proves to be stable. The log must be refused, and named; with
    /// the bit as it was, it must open.
    fn damage(&mut self, rng: &mut Rng) -> Checked {
        let proved = self.disk.stable.iter().map(|flush| flush.durable).max().unwrap_or_default();
        let here = |flush: &&Flush| flush.end() <= proved && segment_of(flush.lsn) >= segment_of(self.base);
        let flushes: Vec<_> = self.disk.stable.iter().filter(here).copied().collect();
        if flushes.is_empty() {
            return Ok(());
        }
        let flush = flushes[rng.below(flushes.len() as u64) as usize];
        let segment = SegmentId(flush.lsn.0 / self.config.segment_bytes);
        let offset = flush.lsn.0 % self.config.segment_bytes;
        let used = HEADER_BYTES as u64 + u64::from(flush.payload);
        let (at, mask) = (offset + rng.below(used), 1 << rng.below(8));
        self.die(false, rng);
        self.disk.flip(segment, at, mask);
        let refused = open(self.config, &mut self.disk, self.base, usize::MAX).outcome;
        self.disk.flip(segment, at, mask);
        match refused.expect("it was not interrupted") {
            Err(Fault::Corrupt { segment: named, offset: place, lsn, .. })
                if (named, place, lsn) == (segment, offset, flush.lsn) => {}
            other => return Err(format!("damage at {} came to {other:?}", flush.lsn)),
        }
        self.crash(false, &[], self.base, rng)
    }
}

fn run(planted: Option<Bug>, actions: &[Action]) -> Checked {
    let mut world = World::new(planted);
    for action in actions {
        world.run(action)?;
    }
    world.run(&Action::Crash { power: true, interrupted: Vec::new(), checkpoint: false, seed: 1 })
}

/// Runs `cases` random histories, the same ones each time.
fn runs(planted: Option<Bug>, cases: u32) -> Result<(), TestError<Vec<Action>>> {
    let shrink = if planted.is_some() { 0 } else { 2000 };
    let config = Config { cases, failure_persistence: None, max_shrink_iters: shrink, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(Default::default()));
    runner.run(&prop::collection::vec(action(), 1..80), |actions| run(planted, &actions).map_err(TestCaseError::fail))
}

#[test]
fn acknowledged_records_survive() {
    if let Err(error) = runs(None, 1500) {
        panic!("{error}");
    }
}

#[test]
fn every_planted_bug_is_found() {
    for &bug in Bug::ALL {
        match runs(Some(bug), 1500) {
            Err(TestError::Fail(reason, _)) => println!("{bug:?}: {reason}"),
            other => panic!("{bug:?} was not found: {other:?}"),
        }
    }
}
