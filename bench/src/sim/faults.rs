//! What goes wrong in one run, drawn from its seed; and the bugs that can be planted.

use super::clock::{MS, SECOND, US};
use super::restart::MEMORY_BYTES;
use cairn_core::bug::Bug;
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::log;
use cairn_storage::op::PageOp;
use cairn_storage::pagefile;
use cairn_storage::txn;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use fastrand::Rng;

/// A known bug, to show that the simulator finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    Log(log::Bug),
    Pages(pagefile::Bug),
    /// The bugs of the driver have variants of their own.
    WriteWithoutSync,
    RecoverWithoutSync,
    AnswerBeforeWrite,
    DirectoryUnsynced,
    FieldsForever,
    /// Those of transactions are found by [`super::shard::txns`], by [`super::histories`] and by [`super::across`].
    Txn(txn::Bug),
    Machine(Bug),
    AcknowledgeEarly,
    UnlockEarly,
    HalfFlush,
}

impl std::fmt::Display for Planted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.told().0)
    }
}

impl Planted {
    const OF_DRIVER: [Planted; 5] = [
        Planted::WriteWithoutSync,
        Planted::RecoverWithoutSync,
        Planted::AnswerBeforeWrite,
        Planted::DirectoryUnsynced,
        Planted::FieldsForever,
    ];

    pub fn all() -> impl Iterator<Item = Planted> {
        let log = log::Bug::ALL.iter().copied().map(Planted::Log);
        log.chain(Planted::OF_DRIVER).chain(pagefile::Bug::ALL.iter().copied().map(Planted::Pages))
    }

    /// All, and those of the machine that show where the model judges single shards.
    pub fn of_model() -> impl Iterator<Item = Planted> {
        Planted::all().chain([Bug::FieldServed, Bug::RunForgotten].map(Planted::Machine))
    }

    /// Those of transactions over several shards.
    pub fn of_transactions() -> impl Iterator<Item = Planted> {
        let of_driver = [Planted::AcknowledgeEarly, Planted::UnlockEarly, Planted::HalfFlush];
        txn::Bug::ALL.iter().copied().map(Planted::Txn).chain(of_driver)
    }

    /// Those that show in histories.
    pub fn of_histories() -> impl Iterator<Item = Planted> {
        // Those of other runs.
        let is_other = |bug: &Bug| {
            matches!(
                bug,
                Bug::PartForgotten
                    | Bug::RenameHalf
                    | Bug::FieldServed
                    | Bug::RunForgotten
                    | Bug::BegunKept
                    | Bug::FlushUnseen
                    | Bug::StepTimes
            )
        };
        let machines = Bug::ALL.iter().copied().filter(move |bug| !is_other(bug));
        machines.map(Planted::Machine).chain([Planted::Txn(txn::Bug::DecideAlone)])
    }

    /// Those that show where the model judges several shards.
    pub fn of_across() -> impl Iterator<Item = Planted> {
        let of_histories = [Bug::ReplyUnstable, Bug::UnlockUndecided, Bug::FlushAlone, Bug::LooksUnlocked];
        let machines =
            [Bug::PartForgotten, Bug::RenameHalf, Bug::FlushUnseen, Bug::StepTimes].into_iter().chain(of_histories);
        machines.map(Planted::Machine).chain([Planted::Txn(txn::Bug::DecideAlone)])
    }

    /// Its name on a command line, and what is done wrong.
    fn told(self) -> (&'static str, &'static str) {
        match self {
            Planted::Log(bug) => (bug.name(), bug.meaning()),
            Planted::Pages(bug) => (bug.name(), bug.meaning()),
            Planted::Txn(bug) => (bug.name(), bug.meaning()),
            Planted::Machine(bug) => (bug.name(), bug.meaning()),
            Planted::AcknowledgeEarly => {
                ("acknowledge-early", "A transaction is acknowledged when it is stable at one of its participants")
            }
            Planted::UnlockEarly => {
                ("unlock-early", "A transaction gives its locks back before the log says that it is done")
            }
            Planted::HalfFlush => ("half-flush", "What is done to whole databases is no part of its transaction"),
            Planted::WriteWithoutSync => {
                ("write-without-sync", "The driver writes to the disk's cache and says that it is stable")
            }
            Planted::RecoverWithoutSync => {
                ("recover-without-sync", "The driver does not make stable what recovery has read")
            }
            Planted::AnswerBeforeWrite => {
                ("answer-before-write", "The driver answers for a disk operation that it has just begun")
            }
            Planted::FieldsForever => {
                ("fields-forever", "Recovery does not take what records say of deadlines of fields")
            }
            Planted::DirectoryUnsynced => (
                "directory-unsynced",
                "The driver prepares a segment and does not sync the directory that it stands in",
            ),
        }
    }

    /// Reads a name on a command line; its help has them all.
    pub fn parser() -> impl TypedValueParser<Value = Planted> {
        let machines = || Bug::ALL.iter().copied().map(Planted::Machine);
        let known = move || Planted::all().chain(Planted::of_transactions()).chain(machines());
        let values = known().map(|bug| PossibleValue::new(bug.told().0).help(bug.told().1));
        PossibleValuesParser::new(values).map(move |name| {
            known().find(|bug| bug.told().0 == name).expect("the parser lets only these names through")
        })
    }

    /// The log's part of the bug.
    pub fn log(self) -> Option<log::Bug> {
        if let Planted::Log(bug) = self { Some(bug) } else { None }
    }

    /// The machine's part.
    pub fn machine(self) -> Option<Bug> {
        if let Planted::Machine(bug) = self { Some(bug) } else { None }
    }

    /// The part of transactions.
    pub fn txn(self) -> Option<txn::Bug> {
        if let Planted::Txn(bug) = self { Some(bug) } else { None }
    }

    /// The page file's part of it.
    pub fn pages(self) -> Option<pagefile::Bug> {
        if let Planted::Pages(bug) = self { Some(bug) } else { None }
    }
}

/// How a disk operation will end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Done,
    /// It is said to be stable, and is only in the device's cache: a planted bug.
    Cached,
    Fails,
    Short,
    NoSpace,
    /// A read brings something else.
    Garbled,
}

/// The faults of one run. Probabilities are in a million.
#[derive(Clone, Debug)]
pub struct Faults {
    pub crashes: u32,
    pub write_fails: u32,
    pub write_short: u32,
    pub no_space: u32,
    pub hang_up: u32,
    /// Crash right after something was sent while a write was in flight.
    pub crash_at_send: u32,
    /// Crash right after an operation on the page file.
    pub crash_at_page: u32,
    /// Memory of each shard for rows.
    pub memory_bytes: u64,
    /// A checkpoint begins at a tick.
    pub checkpoint: u32,
    /// A write or a sync of the page file fails, or there is no room for it.
    pub page_fails: u32,
    pub page_no_space: u32,
    /// A read of it fails, or brings something else, once.
    pub page_read_fails: u32,
    pub has_harm: bool,
    pub recovery_read_fails: bool,
    pub clock_jumps: bool,
    /// The usual time of a disk write.
    pub write_ns: u64,
    /// A write in so many is much slower.
    pub slow_write_in: u32,
    /// The usual time of a packet.
    pub packet_ns: u64,
    /// Packets are cut to at most so many bytes, now and then.
    pub packet_bytes_max: usize,
    /// Until when there is no space, once it ran out.
    pub space_back_ns: u64,
    pub is_over: bool,
}

impl Faults {
    pub fn draw(rng: &mut Rng, has_pages: bool, is_wide: bool) -> Faults {
        let mut sometimes = |odds: u32, per_million: u32| if rng.u32(..odds) == 0 { per_million } else { 0 };
        let (write_fails, write_short) = (sometimes(3, 8_000), sometimes(3, 8_000));
        let (no_space, hang_up) = (sometimes(3, 250_000), sometimes(2, 4_000));
        let crash_at_send = sometimes(2, 4_000);
        let (page_fails, page_no_space) = (sometimes(2, 100_000), sometimes(2, 100_000));
        let page_read_fails = sometimes(2, 120_000);
        let crash_at_page = sometimes(2, 10_000);
        let is_small = has_pages && is_wide;
        let memory_bytes = if is_small { rng.u64(110..180) * PAGE_BYTES as u64 } else { MEMORY_BYTES };
        Faults {
            crash_at_page,
            page_read_fails,
            memory_bytes,
            checkpoint: [20_000, 200_000, 600_000][rng.usize(..3)],
            page_fails,
            page_no_space,
            crashes: rng.u32(1..5),
            write_fails,
            write_short,
            no_space,
            hang_up,
            crash_at_send,
            has_harm: rng.bool(),
            recovery_read_fails: rng.u8(..4) == 0,
            clock_jumps: rng.u8(..4) == 0,
            write_ns: [30 * US, 100 * US, 400 * US, 2 * MS][rng.usize(..4)],
            slow_write_in: [20, 100, 1000][rng.usize(..3)],
            packet_ns: [5 * US, 50 * US, 500 * US][rng.usize(..3)],
            packet_bytes_max: [1, 7, 100, 4096, 1 << 20][rng.usize(..5)],
            space_back_ns: 0,
            is_over: false,
        }
    }

    fn happens(&self, rng: &mut Rng, per_million: u32) -> bool {
        !self.is_over && rng.u32(..1_000_000) < per_million
    }

    pub fn hangs_up(&self, rng: &mut Rng) -> bool {
        self.happens(rng, self.hang_up)
    }

    pub fn crashes_at_send(&self, rng: &mut Rng) -> bool {
        self.crashes > 0 && self.happens(rng, self.crash_at_send)
    }

    pub fn write_fate(&self, rng: &mut Rng) -> Fate {
        if self.happens(rng, self.write_fails) {
            Fate::Fails
        } else if self.happens(rng, self.write_short) {
            Fate::Short
        } else {
            Fate::Done
        }
    }

    /// An operation on the page file.
    pub fn page_fate(&self, rng: &mut Rng, op: PageOp) -> Fate {
        match op {
            PageOp::Read { .. } if self.happens(rng, self.page_read_fails) => {
                [Fate::Fails, Fate::Garbled][rng.usize(..2)]
            }
            PageOp::Read { .. } | PageOp::Forget { .. } => Fate::Done,
            PageOp::Sync { .. } | PageOp::WriteStable { .. } if self.happens(rng, self.page_fails) => Fate::Fails,
            PageOp::Write { .. } if self.happens(rng, self.page_fails) => [Fate::Fails, Fate::Short][rng.usize(..2)],
            PageOp::Write { .. } | PageOp::Grow { .. } if self.happens(rng, self.page_no_space) => Fate::NoSpace,
            _ => Fate::Done,
        }
    }

    /// A read of a log that is being written goes wrong, once.
    pub fn misreads(&self, rng: &mut Rng) -> bool {
        self.happens(rng, self.page_read_fails)
    }

    pub fn crashes_at_page(&self, rng: &mut Rng) -> bool {
        self.crashes > 0 && self.happens(rng, self.crash_at_page)
    }

    pub fn begins_checkpoint(&self, rng: &mut Rng) -> bool {
        rng.u32(..1_000_000) < self.checkpoint
    }

    /// Space that has run out stays away for a while.
    pub fn prepare_fate(&mut self, rng: &mut Rng, now_ns: u64) -> Fate {
        if self.is_over {
            return Fate::Done;
        }
        if now_ns >= self.space_back_ns && self.happens(rng, self.no_space) {
            self.space_back_ns = now_ns + rng.u64(MS..3 * SECOND);
        }
        if now_ns < self.space_back_ns { Fate::NoSpace } else { Fate::Done }
    }

    pub fn write_delay(&self, rng: &mut Rng) -> u64 {
        let usual = rng.u64(self.write_ns / 4..2 * self.write_ns);
        if !self.is_over && rng.u32(..self.slow_write_in) == 0 { usual * rng.u64(5..100) } else { usual }
    }

    /// How many bytes arrive at once at most.
    pub fn packet_bytes(&self, rng: &mut Rng) -> usize {
        if rng.u8(..4) == 0 { self.packet_bytes_max } else { 1 << 18 }
    }

    pub fn packet_delay(&self, rng: &mut Rng) -> u64 {
        let usual = rng.u64(self.packet_ns / 4..2 * self.packet_ns);
        if rng.u8(..50) == 0 { usual * rng.u64(2..50) } else { usual }
    }
}
