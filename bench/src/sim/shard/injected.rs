//! Injected faults: operations of a shard fail, fall short or bring something else, while it runs, makes checkpoints and
//! recovers; bits and flushes that were synced go bad. After each the promise is checked: nothing acknowledged is lost, nothing
//! wrong is answered, and the state, or the refused start, says what is wrong and where.
//!
//! A run makes a shard once. Each *round* begins with a copy of it, so that a round can be repeated without the others.

use super::ledger::Ledger;
use super::steps::Taste;
use super::{Flying, Kind, Media, Shard, Stopped, told};
use crate::model::{DATABASES, Rows};
use crate::sim::damage;
use crate::sim::disk::Harm;
use crate::sim::faults::{Fate, Planted};
use crate::sim::opening::{Halt, Opened, Trouble};
use crate::sim::verdict::{Keep, Verdict};
use cairn_storage::error::Fault;
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::log::LogState;
use cairn_storage::pagefile::FileState;
use fastrand::Rng;
use std::collections::BTreeMap;

/// Steps before the copies are made, and of each round.
const STEPS_BEFORE: usize = 60;
const STEPS: usize = 24;

/// Operations of a round that are each made to fail.
const OPERATIONS: u64 = 60;

/// Rounds of the kinds that draw where a fault is.
const SEVERAL_ROUNDS: u64 = 40;
const READ_ROUNDS: u64 = 30;
const SPACE_ROUNDS: u64 = 40;
const OPENING_ROUNDS: u64 = 120;
const LOG_ROUNDS: u64 = 300;
const PAGE_ROUNDS: u64 = 500;

/// Where a fault is, and what it is, as figures name it.
pub type FaultName = (&'static str, &'static str);

/// A kind of round: it is told its number among those of its kind.
type Round = fn(&mut Injected, u64, &mut Rng) -> Result<(), String>;

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub faults: BTreeMap<FaultName, u64>,
    pub rounds: u64,
    pub recoveries: u64,
    pub rows: u64,
    /// Commands that were refused because of a fault.
    pub refused: u64,
    /// Openings that were refused because of one.
    pub refused_starts: u64,
}

impl Figures {
    pub fn count(&self) -> u64 {
        self.faults.values().sum()
    }

    fn add(&mut self, name: FaultName) {
        *self.faults.entry(name).or_default() += 1;
    }
}

/// A round: of which run, and which of its rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundId {
    pub seed: u64,
    pub round: u64,
}

impl std::fmt::Display for RoundId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seed, self.round)
    }
}

impl std::str::FromStr for RoundId {
    type Err = String;

    fn from_str(text: &str) -> Result<RoundId, String> {
        let numbers = text.split_once(':').and_then(|(seed, round)| Some((seed.parse().ok()?, round.parse().ok()?)));
        let (seed, round) = numbers.ok_or("a round is named by two numbers, as 17:230")?;
        Ok(RoundId { seed, round })
    }
}

/// What goes wrong with the operations of a shard that runs.
#[derive(Default)]
pub struct Plan {
    /// Operations that fail, counted from the opening on.
    strikes: Vec<u64>,
    /// Reads that fail, and operations that find no room, in a hundred.
    read_odds: u32,
    space_odds: u32,
    operations: u64,
    /// Reads that brought nothing, or something else.
    pub reads_failed: u64,
    injected: Vec<FaultName>,
}

impl Plan {
    pub fn expects_bad_reads(&self) -> bool {
        self.read_odds > 0 || !self.strikes.is_empty()
    }

    /// How this operation ends.
    pub fn fate(&mut self, op: Flying, rng: &mut Rng) -> Fate {
        self.operations += 1;
        let kind = op.kind();
        let fate = if self.strikes.contains(&self.operations) {
            strike(kind, rng)
        } else if kind == Kind::Read && rng.u32(..100) < self.read_odds {
            [Fate::Fails, Fate::Garbled, Fate::Short][rng.usize(..3)]
        } else if matches!(kind, Kind::Prepare | Kind::Grow | Kind::PageWrite) && rng.u32(..100) < self.space_odds {
            Fate::NoSpace
        } else {
            Fate::Done
        };
        let what = match fate {
            Fate::Done | Fate::Cached => return Fate::Done,
            Fate::Fails => "EIO",
            Fate::NoSpace => "ENOSPC",
            Fate::Short if kind == Kind::Read => "short read",
            Fate::Short => "short write",
            Fate::Garbled => "a flipped bit on the way",
        };
        self.injected.push((kind.name(), what));
        fate
    }
}

/// A fault that an operation of this kind can meet. The removal of segments has none that matters: it is done again.
fn strike(kind: Kind, rng: &mut Rng) -> Fate {
    let fates: &[Fate] = match kind {
        Kind::LogWrite | Kind::PageWrite | Kind::Superblock => &[Fate::Fails, Fate::Short, Fate::NoSpace],
        Kind::Prepare | Kind::Sync | Kind::Grow => &[Fate::Fails, Fate::NoSpace],
        Kind::Read => &[Fate::Fails, Fate::Garbled, Fate::Short],
        Kind::Remove => &[Fate::Done],
    };
    fates[rng.usize(..fates.len())]
}

/// The rounds of one run.
pub struct Injected {
    planted: Option<Planted>,
    taste: Taste,
    /// What every round begins with: after a crash, after an orderly stop.
    media: Media,
    ledger: Ledger,
    pub figures: Figures,
    pub now: RoundId,
}

impl Injected {
    fn new(seed: u64, planted: Option<Planted>) -> Result<Injected, String> {
        let stopped = |stopped| match stopped {
            Stopped::Broken(what) => what,
            Stopped::Enough => unreachable!("nothing is counted"),
        };
        let mut shard = Shard::new(Taste::of(seed), planted, seed).map_err(stopped)?;
        let prepare = |shard: &mut Shard| {
            shard.fill()?;
            for step in 0..STEPS_BEFORE {
                shard.step()?;
                if step == STEPS_BEFORE / 2 {
                    shard.checkpoint()?;
                }
            }
            shard.taste.is_eager = false;
            shard.settle()?;
            // The log has something that no checkpoint has.
            for _ in 0..STEPS {
                shard.step()?;
            }
            shard.settle()?;
            // As a quiet log does: what is in it is proved to be stable.
            shard.engine.log_mut().seal_idle();
            shard.settle()
        };
        prepare(&mut shard).map_err(stopped)?;
        shard.media.strike(seed.is_multiple_of(2), &mut Verdict::new(Keep::Chance, &mut shard.rng));
        let Shard { mut media, ledger, mut rng, .. } = shard;
        // A further opening writes what it writes; from then on the copies are alike.
        let (rows, end) = media.inspect(planted, &mut rng).map_err(told)?;
        ledger.judge(end, &rows)?;
        let now = RoundId { seed, round: 0 };
        Ok(Injected { planted, taste: Taste::of(seed), media, ledger, figures: Figures::default(), now })
    }

    /// Every round, or one; until there were so many faults.
    fn run(&mut self, only: Option<RoundId>, left: u64) -> Result<(), String> {
        let kinds: [(u64, Round); 7] = [
            (OPERATIONS * 2, Injected::one_operation),
            (SEVERAL_ROUNDS, Injected::several_operations),
            (SPACE_ROUNDS, Injected::space),
            (OPENING_ROUNDS, Injected::opening),
            (LOG_ROUNDS, Injected::log_damage),
            (PAGE_ROUNDS, Injected::page_damage),
            (READ_ROUNDS, Injected::reads),
        ];
        for (rounds, round) in kinds {
            for number in 0..rounds {
                self.now.round += 1;
                if only.is_some_and(|only| only != self.now) {
                    continue;
                }
                let RoundId { seed, round: now } = self.now;
                round(self, number, &mut Rng::with_seed(seed << 32 ^ now))?;
                self.figures.rounds += 1;
                if self.figures.count() >= left {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The n-th operation after an opening fails, for all n.
    fn one_operation(&mut self, number: u64, rng: &mut Rng) -> Result<(), String> {
        self.running(Plan { strikes: vec![number % OPERATIONS + 1], ..Plan::default() }, rng)
    }

    fn several_operations(&mut self, _: u64, rng: &mut Rng) -> Result<(), String> {
        let strikes = (0..rng.u32(2..6)).map(|_| rng.u64(1..=OPERATIONS)).collect();
        self.running(Plan { strikes, read_odds: 5, space_odds: 5, ..Plan::default() }, rng)
    }

    /// Most reads fail, each in its turn until one succeeds.
    fn reads(&mut self, _: u64, rng: &mut Rng) -> Result<(), String> {
        self.running(Plan { read_odds: 85, ..Plan::default() }, rng)
    }

    /// There is no room, again and again.
    fn space(&mut self, _: u64, rng: &mut Rng) -> Result<(), String> {
        self.running(Plan { space_odds: 60, ..Plan::default() }, rng)
    }

    /// A shard runs and meets the faults of a plan; then it crashes and is recovered.
    fn running(&mut self, plan: Plan, rng: &mut Rng) -> Result<(), String> {
        let (media, ledger) = (self.media.clone(), self.ledger.clone());
        let mut refused = 0;
        let mut injected = Vec::new();
        let drive = || {
            let seeded = Rng::with_seed(rng.u64(..));
            let mut shard = Shard::open(media, ledger, self.taste, self.planted, seeded)?;
            shard.plan = plan;
            shard.taste.is_eager = rng.bool();
            for step in 0..STEPS {
                refused += u64::from(!shard.step()?);
                if step % 4 == 3 {
                    shard.engine.retry_pages();
                    shard.engine.log_mut().retry_prepare();
                }
            }
            refused += shard.check_all()?;
            shard.go_on_without_faults()?;
            injected = std::mem::take(&mut shard.plan.injected);
            Ok(shard)
        };
        let mut shard = match drive() {
            Ok(shard) => shard,
            Err(Stopped::Broken(what)) => return Err(what),
            Err(Stopped::Enough) => unreachable!("nothing is counted"),
        };
        injected.into_iter().for_each(|name| self.figures.add(name));
        self.figures.refused += refused;
        shard.media.strike(rng.bool(), &mut Verdict::new(Keep::Chance, rng));
        self.judge(shard.media, &shard.ledger, rng)
    }

    fn judge(&mut self, mut media: Media, ledger: &Ledger, rng: &mut Rng) -> Result<(), String> {
        let (rows, end) = media.inspect(self.planted, rng).map_err(told)?;
        self.figures.recoveries += 1;
        self.figures.rows += (0..DATABASES).map(|db| rows.len(db) as u64).sum::<u64>();
        ledger.judge(end, &rows)
    }

    /// The n-th read or sync of an opening fails, for all n; or a read of the page file brings something else.
    fn opening(&mut self, number: u64, rng: &mut Rng) -> Result<(), String> {
        let mut media = self.media.clone();
        let garbles = number % 2 == 1;
        let nth = number as usize / 2 % 40 + 1;
        let mut trouble = Trouble { fails: Some(nth), garbles, ..Trouble::default() };
        let opened = media.open(self.planted, self.taste.memory_bytes(), &mut trouble, rng);
        if trouble.fails != Some(0) {
            // The opening had fewer.
            return Ok(());
        }
        self.figures.add(("recovery", if garbles { "a flipped bit on the way" } else { "EIO" }));
        match opened {
            Err(Halt::Refused(Fault::Read { .. } | Fault::PageFileRead { .. } | Fault::PageFile { .. })) => {
                self.figures.refused_starts += 1;
                // Nothing has become worse: the next start finds everything.
                let ledger = self.ledger.clone();
                self.judge(media, &ledger, rng)
            }
            // A superblock that cannot be read has another one beside it.
            Ok((mut engine, end)) => {
                let mut rows = Rows::default();
                media.files(self.planted, rng).read_all(&mut engine, &mut rows).map_err(told)?;
                self.ledger.judge(end, &rows)
            }
            Err(halt) => Err(told(halt)),
        }
    }

    /// What was stable in the log goes wrong.
    fn log_damage(&mut self, number: u64, rng: &mut Rng) -> Result<(), String> {
        let mut media = self.media.clone();
        let start = media.files(self.planted, rng).log_start();
        let config = super::config(self.planted);
        let Some(harm) = media.disk.choose_harm(&config, start, rng) else { return Ok(()) };
        media.disk.harm(harm);
        if number % 4 == 3 && harm.is_flip() {
            // Several at a time: the first one is named.
            let further: Vec<_> = (0..2).filter_map(|_| media.disk.choose_harm(&config, start, rng)).collect();
            let behind = |other: &Harm| (other.segment, other.offset) > (harm.segment, harm.offset);
            for other in further.into_iter().filter(behind).filter(|other| other.is_flip()) {
                media.disk.harm(other);
                self.figures.add(("stable log", other.name()));
            }
        }
        self.figures.add(("stable log", harm.name()));
        let opened = media.open(self.planted, self.taste.memory_bytes(), &mut Trouble::default(), rng);
        let opened: Opened = match opened {
            Ok((engine, end)) => Opened::Engine(Box::new(engine), end),
            Err(Halt::Refused(fault)) => {
                self.figures.refused_starts += 1;
                Opened::Refused(fault)
            }
            Err(halt) => return Err(told(halt)),
        };
        damage::judge(harm, &opened)
    }

    /// Bits that were stable in the page file flip: whatever needs them is refused, all else is right.
    fn page_damage(&mut self, number: u64, rng: &mut Rng) -> Result<(), String> {
        let mut media = self.media.clone();
        for _ in 0..[1, 1, 1, 3][number as usize % 4] {
            if media.pages.flip(rng).is_some() {
                self.figures.add(("stable page file", "a flipped bit"));
            }
        }
        let opened = media.open(self.planted, self.taste.memory_bytes(), &mut Trouble::default(), rng);
        let (engine, _) = match opened {
            Ok(opened) => opened,
            Err(Halt::Refused(Fault::PageFile { .. })) => {
                self.figures.refused_starts += 1;
                return Ok(());
            }
            Err(halt) => return Err(told(halt)),
        };
        let plan = Plan { strikes: vec![0], ..Plan::default() };
        let (ledger, taste, planted) = (self.ledger.clone(), self.taste, self.planted);
        let (rng, flying) = (Rng::with_seed(rng.u64(..)), Vec::new());
        let (pinned, images) = (None, None);
        let mut shard = Shard { engine, media, rng, ledger, taste, planted, flying, pinned, images, plan };
        match shard.check_all() {
            Ok(refused) => self.figures.refused += refused,
            Err(Stopped::Broken(what)) => return Err(what),
            Err(Stopped::Enough) => unreachable!("nothing is counted"),
        }
        self.figures.rows += (0..DATABASES).map(|db| shard.ledger.rows().len(db) as u64).sum::<u64>();
        Ok(())
    }
}

impl Shard {
    /// Reads all rows. How many of them cannot be read; a wrong one breaks a check.
    fn check_all(&mut self) -> Result<u64, Stopped> {
        let mut refused = 0;
        for db in 0..3 {
            let keys: Vec<_> = self.ledger.rows().iter(db).map(|(key, _)| key.clone()).collect();
            for key in keys {
                refused += u64::from(self.read(db, &key)?.is_none());
            }
        }
        Ok(refused)
    }

    /// Once there is room and nothing fails any more, what has not failed for good goes on by itself.
    fn go_on_without_faults(&mut self) -> Result<(), Stopped> {
        self.plan.read_odds = 0;
        self.plan.space_odds = 0;
        self.plan.strikes = vec![0];
        for _ in 0..200 {
            if self.flying.is_empty() {
                break;
            }
            self.turn_io()?;
        }
        let file = |shard: &Shard| shard.engine.page_file().expect("it has one").state();
        let has_failed = |shard: &Shard| {
            matches!(shard.engine.log().state(), LogState::Failed(_)) || matches!(file(shard), FileState::Failed { .. })
        };
        if has_failed(self) {
            return Ok(());
        }
        self.engine.retry_pages();
        self.engine.log_mut().retry_prepare();
        self.engine.work(1, 16 * PAGE_BYTES);
        self.checkpoint()?;
        if !self.engine.log().accepts_writes() || file(self) != FileState::Open {
            let states = (self.engine.log().state(), file(self));
            return Err(Stopped::Broken(format!("there is room again, and it says {states:?}")));
        }
        Ok(())
    }
}

/// The rounds of one run, or one of them, until there were so many faults.
pub fn run(
    seed: u64,
    planted: Option<Planted>,
    only: Option<RoundId>,
    left: u64,
) -> Result<Figures, (RoundId, String)> {
    let mut injected = None;
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        injected.insert(Injected::new(seed, planted)?).run(only, left)
    }));
    let now = injected.as_ref().map_or(RoundId { seed, round: 0 }, |injected| injected.now);
    match ran {
        Ok(Ok(())) => Ok(injected.map_or_else(Figures::default, |injected| injected.figures)),
        Ok(Err(what)) => Err((now, what)),
        Err(panic) => Err((now, crate::sim::said(&*panic))),
    }
}
