//! Transactions over several shards by themselves: two or three shards (engine, log and page file each) on disks that crash
//! and fail, driven by the protocol of `docs/decisions/0015-transactions.md` in its simplest form, and a truth that knows what
//! every crash must leave.
//!
//! ```text
//!   begin: locks, shard by shard     go: a group each      all stable: told       TxnDone each      all learned: forgotten
//!   Waiting -----------------> Locked ----------> Gone ----------------> (decided) ------> Done --------------------> Over
//!                                                  | a log has failed: undo, TxnAbort, told when one of them is stable
//!                                                  +-------------------------------------> Aborted -----------------> Over
//! ```
//!
//! Some transactions are about whole databases: they empty one, and write to it, or have two change places.
//!
//! - *Images*: before each write, sync, superblock, growth, preparation or removal on any disk ends, all disks are copied; what is
//!   not stable is kept or lost in several ways, all shards are recovered together, and recovery itself is cut.
//! - *The run's own crashes* are gone on from: what has come back is what there is. One log in some lives fails for ever.
//!
//! After each recovery: a transaction is on all of its shards or on none, what was acknowledged is there, what somebody knows
//! to be aborted is not, and the rows beside are right.

mod driver;
mod recovery;
mod truth;

use super::course::Images;
use super::{Flying, ImageId, Media, Stopped};
use crate::sim::faults::Planted;
use crate::sim::opening::{Halt, Trouble};
use crate::sim::verdict::Keep;
use cairn_storage::engine::{Engine, RowKey};
use cairn_storage::limits::{PAGE_BYTES, SEGMENT_BYTES_MIN};
use cairn_storage::log::LogConfig;
use cairn_storage::txn::Decisions;
use cairn_storage::units::{Epoch, Lsn, ShardId};
use driver::Txn;
use fastrand::Rng;
use recovery::{open, strike};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use truth::Truth;

/// Steps of a run between two of its own crashes, and how many crashes there are.
const STEPS: usize = 300;
const ROUNDS: usize = 4;

/// Rows that each shard may have: keys of two databases, numbered through.
const KEYS: u8 = 8;
const ROWS: u8 = 2 * KEYS;
static KEY_BYTES: [u8; KEYS as usize] = [0, 1, 2, 3, 4, 5, 6, 7];

const MEMORY_BYTES: u64 = 400 * PAGE_BYTES as u64;

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub images: u64,
    /// Of these, those cut while an earlier one was being recovered.
    pub in_recovery: u64,
    pub operations: u64,
    pub runs: u64,
    /// What clients were told.
    pub committed: u64,
    pub aborted: u64,
    /// What recoveries have decided.
    pub found_committed: u64,
    pub found_aborted: u64,
    pub checkpoints: u64,
    pub logs_failed: u64,
}

impl Figures {
    fn decide(&mut self, decisions: &Decisions) {
        let (committed, aborted) = decisions.counts();
        self.found_committed += committed as u64;
        self.found_aborted += aborted as u64;
    }
}

/// A shard that runs.
struct Part {
    engine: Engine,
    flying: Vec<Flying>,
    /// Locked rows, and the transactions that have them.
    locks: BTreeMap<u8, u64>,
}

/// All shards, and what goes on between them.
struct World {
    parts: Vec<Part>,
    media: Vec<Media>,
    txns: Vec<Txn>,
    truth: Truth,
    number_last: u64,
    /// The log of this shard fails with one of its next writes.
    failing: Option<(usize, u32)>,
    images: Rc<RefCell<Images<Figures>>>,
    planted: Option<Planted>,
    rng: Rng,
}

fn config(shard: usize) -> LogConfig {
    let shard = ShardId(shard as u16);
    LogConfig { shard, segment_bytes: SEGMENT_BYTES_MIN, salt: 5, epoch: Epoch(1), planted: None }
}

/// The place of a row.
fn place(row: u8) -> RowKey<'static> {
    let key = row % KEYS;
    RowKey { db: row / KEYS, head: u64::from(key) << 56, key: &KEY_BYTES[usize::from(key)..=usize::from(key)] }
}

/// A value that says its number all over, now and then one that stands outside the leaves.
fn value_of(number: u64) -> Vec<u8> {
    let len = if number.is_multiple_of(9) { 5000 } else { 8 + number as usize % 300 };
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

fn number_of(value: &[u8]) -> Result<u64, String> {
    let number = value.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let is_whole = value == value_of(number);
    is_whole.then_some(number).ok_or_else(|| format!("a value of {} bytes that nobody wrote", value.len()))
}

/// What an opening has left, or what it broke.
fn opened<T>(outcome: Result<T, Halt>) -> Result<Option<T>, Stopped> {
    match outcome {
        Ok(opened) => Ok(Some(opened)),
        Err(Halt::Cut) => Ok(None),
        Err(halt) => Err(Stopped::Broken(super::told(halt))),
    }
}

impl World {
    fn new(seed: u64, planted: Option<Planted>, images: Rc<RefCell<Images<Figures>>>) -> Result<World, Stopped> {
        let shards = 2 + seed as usize % 2;
        let mut world = World {
            parts: Vec::new(),
            media: vec![Media::default(); shards],
            txns: Vec::new(),
            truth: Truth::new(shards),
            number_last: 0,
            failing: None,
            images,
            planted,
            rng: Rng::with_seed(seed),
        };
        world.restart()?;
        Ok(world)
    }

    /// Opens all shards, however many attempts it takes: each begins with what the one before has left.
    fn restart(&mut self) -> Result<(), Stopped> {
        for attempt in 0.. {
            let cut = (attempt < 3 && self.rng.bool()).then(|| self.rng.usize(1..20));
            let mut trouble = Trouble { cut, ..Trouble::default() };
            let outcome = open(&mut self.media, MEMORY_BYTES, &mut trouble, self.planted, &mut self.rng);
            let Some((engines, ends, decisions)) = opened(outcome)? else {
                strike(&mut self.media, self.rng.bool(), Keep::Chance, &mut self.rng);
                continue;
            };
            let looked = recovery::inspect(&mut self.media.clone(), self.planted, &mut self.rng);
            let (found, ends_again, _) = looked.map_err(Stopped::Broken)?;
            assert_eq!(ends, ends_again, "what was opened and not written to ends where it did");
            self.truth.judge(&ends, &found).map_err(Stopped::Broken)?;
            self.truth.reopen(&ends, &found);
            self.images.borrow_mut().figures.decide(&decisions);
            let parts = engines.into_iter();
            self.parts = parts.map(|engine| Part { engine, flying: Vec::new(), locks: BTreeMap::new() }).collect();
            self.txns.clear();
            let shard = self.rng.usize(..self.parts.len());
            self.failing = self.rng.bool().then(|| (shard, self.rng.u32(1..9)));
            return Ok(());
        }
        unreachable!("the fourth attempt meets no trouble");
    }

    /// A crash of the run itself.
    fn crash(&mut self) -> Result<(), Stopped> {
        self.note_checkpoints();
        let is_power_cut = self.rng.bool();
        strike(&mut self.media, is_power_cut, Keep::Chance, &mut self.rng);
        self.restart()
    }

    fn note_checkpoints(&mut self) {
        let files = self.parts.iter().filter_map(|part| part.engine.page_file());
        self.images.borrow_mut().figures.checkpoints += files.map(|file| file.numbers().checkpoints).sum::<u64>();
    }

    fn durable(&self, shard: usize) -> Lsn {
        self.parts[shard].engine.log().durable()
    }
}

/// The images of one run, at most so many, or only one.
pub fn run(
    seed: u64,
    planted: Option<Planted>,
    only: Option<ImageId>,
    left: u64,
) -> Result<Figures, (ImageId, String)> {
    let figures = Figures { runs: 1, ..Figures::default() };
    Images::new(seed, planted, only, left, figures).of(|images| drive(seed, planted, images))
}

fn drive(seed: u64, planted: Option<Planted>, images: &Rc<RefCell<Images<Figures>>>) -> Result<(), Stopped> {
    let mut world = World::new(seed, planted, Rc::clone(images))?;
    for _ in 0..ROUNDS {
        for _ in 0..STEPS {
            world.step()?;
        }
        world.crash()?;
    }
    Ok(())
}
