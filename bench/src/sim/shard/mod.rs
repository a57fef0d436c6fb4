//! One shard by itself: an engine over simulated disks, changes of its rows one after the other, and a ledger that knows what
//! must survive. Without machines, sessions and clocks it is opened in a millisecond, so that each operation of a run can
//! meet every crash (`images`) and every fault (`injected`).

mod course;
pub mod images;
pub mod injected;
mod ledger;
mod lists;
mod steps;
pub mod txns;

pub use course::ImageId;
pub use injected::RoundId;
pub use lists::{run_across, run_faults, run_histories, run_images, run_transactions};

use super::disk::Disk;
use super::faults::{Fate, Planted};
use super::opening::{Files, Halt, Trouble};
use super::pages::{Ended, PageDisk};
use super::restart::MEMORY_BYTES;
use super::verdict::{Keep, Verdict};
use super::world::strike;
use crate::model::{Change, Row, Rows};
use cairn_storage::engine::{Engine, Redone, RowKey, Stop};
use cairn_storage::error::Missing;
use cairn_storage::limits::{PAGE_BYTES, SEGMENT_BYTES_MIN};
use cairn_storage::log::{LogConfig, LogState};
use cairn_storage::op::{DiskOp, PageOp};
use cairn_storage::pagefile::{CheckpointState, FileState, Pin};
use cairn_storage::pool::Fetched;
use cairn_storage::units::{Epoch, Lsn, ShardId};
use course::Images;
use fastrand::Rng;
use injected::Plan;
use ledger::Ledger;
use std::cell::RefCell;
use std::rc::Rc;
use steps::Taste;

/// Why a run does not go on.
#[derive(Debug)]
pub enum Stopped {
    /// It has done what it was for.
    Enough,
    /// A check is broken.
    Broken(String),
}

/// What kinds of operation there are, as figures name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    LogWrite,
    Prepare,
    PageWrite,
    Superblock,
    Sync,
    Grow,
    Remove,
    Read,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::LogWrite,
        Kind::Prepare,
        Kind::PageWrite,
        Kind::Superblock,
        Kind::Sync,
        Kind::Grow,
        Kind::Remove,
        Kind::Read,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::LogWrite => "log writes",
            Kind::Prepare => "segment preparations",
            Kind::PageWrite => "page writes",
            Kind::Superblock => "superblocks",
            Kind::Sync => "syncs",
            Kind::Grow => "growths",
            Kind::Remove => "segment removals",
            Kind::Read => "page reads",
        }
    }
}

/// An operation that was handed to the disks.
#[derive(Clone, Copy)]
pub enum Flying {
    Log(DiskOp),
    Page(PageOp),
}

impl Flying {
    fn kind(self) -> Kind {
        match self {
            Flying::Log(DiskOp::Write { .. }) => Kind::LogWrite,
            Flying::Log(DiskOp::Prepare { .. }) => Kind::Prepare,
            Flying::Page(PageOp::Write { .. }) => Kind::PageWrite,
            Flying::Page(PageOp::WriteStable { .. }) => Kind::Superblock,
            Flying::Page(PageOp::Sync { .. }) => Kind::Sync,
            Flying::Page(PageOp::Grow { .. }) => Kind::Grow,
            Flying::Page(PageOp::Forget { .. }) => Kind::Remove,
            Flying::Page(PageOp::Read { .. }) => Kind::Read,
        }
    }
}

/// What stands on the disks of a shard.
#[derive(Clone, Default)]
pub struct Media {
    disk: Disk,
    pages: PageDisk,
}

/// A shard that runs.
pub struct Shard {
    engine: Engine,
    media: Media,
    rng: Rng,
    ledger: Ledger,
    taste: Taste,
    planted: Option<Planted>,
    flying: Vec<Flying>,
    /// A checkpoint that is to stay as it is, and its rows.
    pinned: Option<(Pin, Rows)>,
    /// Looks at every crash that could come now.
    images: Option<Rc<RefCell<Images<images::Figures>>>>,
    /// What goes wrong.
    plan: Plan,
}

fn config(planted: Option<Planted>) -> LogConfig {
    LogConfig {
        shard: ShardId(0),
        segment_bytes: SEGMENT_BYTES_MIN,
        salt: 5,
        epoch: Epoch(1),
        planted: planted.and_then(Planted::log),
    }
}

impl Media {
    fn files<'a>(&'a mut self, planted: Option<Planted>, rng: &'a mut Rng) -> Files<'a> {
        let Media { disk, pages } = self;
        let config = config(planted);
        Files { config, planted, must_prepare: false, disk, pages: Some(pages), rng, took_ns: 0 }
    }

    /// As it is, without what is in flight.
    fn at_rest(&self) -> Media {
        Media { pages: self.pages.at_rest(), ..self.clone() }
    }

    /// A crash: what was not stable is kept as `verdict` says.
    fn strike(&mut self, is_power_cut: bool, verdict: &mut Verdict<'_>) {
        strike(&mut self.disk, &mut self.pages, is_power_cut, verdict);
    }

    /// Opens the shard, and answers also where its log ends.
    fn open(
        &mut self,
        planted: Option<Planted>,
        memory_bytes: u64,
        trouble: &mut Trouble,
        rng: &mut Rng,
    ) -> Result<(Engine, Lsn), Halt> {
        self.files(planted, rng).open(trouble, memory_bytes)
    }

    /// Opens the shard in memory enough for everything, and checks all its structures. Answers its rows.
    fn inspect(&mut self, planted: Option<Planted>, rng: &mut Rng) -> Result<(Rows, Lsn), Halt> {
        let mut files = self.files(planted, rng);
        let (mut engine, end) = files.open(&mut Trouble::default(), MEMORY_BYTES)?;
        files.bring_in(&mut engine)?;
        engine.check().map_err(|what| Halt::Broken(format!("trees are sound: {what}")))?;
        let mut rows = Rows::default();
        files.read_all(&mut engine, &mut rows)?;
        Ok((rows, end))
    }
}

/// What an opening that should have gone well came to.
fn told(halt: Halt) -> String {
    match halt {
        Halt::Cut => unreachable!("nothing cuts it"),
        Halt::Refused(fault) => format!("recovery refuses damage and nothing else: {fault}"),
        Halt::Broken(what) => what,
    }
}

impl Shard {
    /// A shard with no rows.
    fn new(taste: Taste, planted: Option<Planted>, seed: u64) -> Result<Shard, Stopped> {
        Shard::open(Media::default(), Ledger::default(), taste, planted, Rng::with_seed(seed))
    }

    /// Goes on from what a crash has left.
    fn open(
        mut media: Media,
        mut ledger: Ledger,
        taste: Taste,
        planted: Option<Planted>,
        mut rng: Rng,
    ) -> Result<Shard, Stopped> {
        let opened = media.open(planted, taste.memory_bytes(), &mut Trouble::default(), &mut rng);
        let (engine, end) = opened.map_err(|halt| Stopped::Broken(told(halt)))?;
        media.disk.opened(end);
        ledger.reopen(end);
        Ok(Shard {
            engine,
            media,
            rng,
            ledger,
            taste,
            planted,
            flying: Vec::new(),
            pinned: None,
            images: None,
            plan: Plan::default(),
        })
    }

    /// A change of the rows, whatever it takes. `None`: it is refused, and has changed nothing.
    fn change(&mut self, change: &Change) -> Result<Option<()>, Stopped> {
        let lsn = self.run(|engine| match change {
            Change::Put { db, key, row } => engine.put(place(*db, key), 0, row.expire_ms, &row.value).map(Some),
            Change::Delete { db, key } => engine.delete(place(*db, key), cairn_storage::log::Removal::Deleted),
            Change::Clear { db } => engine.clear(*db).map(Some),
            Change::Swap { one, other } => Ok(Some(engine.swap(*one, *other))),
        })?;
        if let Some(Some(lsn)) = lsn {
            self.ledger.note(lsn, change.clone());
        }
        Ok(lsn.map(drop))
    }

    /// Several puts as one.
    fn group(&mut self, puts: &[(u8, Rc<[u8]>, Row)]) -> Result<Option<()>, Stopped> {
        let rows = || puts.iter().map(|(db, key, row)| (place(*db, key), row.expire_ms));
        if self.run(|engine| engine.prepare_group(rows()))?.is_none() {
            return Ok(None);
        }
        self.engine.open_group();
        for (db, key, row) in puts {
            let put = self.engine.put(place(*db, key), 0, row.expire_ms, &row.value);
            put.expect("a group that was prepared goes through");
        }
        let lsn = self.engine.close_group();
        for (db, key, row) in puts {
            self.ledger.note(lsn, Change::Put { db: *db, key: key.clone(), row: row.clone() });
        }
        Ok(Some(()))
    }

    /// Runs a command until it goes through. `None`: it is refused, for a reason that the state names.
    fn run<T>(&mut self, mut command: impl FnMut(&mut Engine) -> Result<T, Stop>) -> Result<Option<T>, Stopped> {
        let mut last = None;
        for _ in 0..10_000 {
            if !self.engine.log().accepts_writes() {
                let is_named = matches!(self.engine.log().state(), LogState::Failed(_) | LogState::Full { .. });
                assert!(is_named, "who takes no writes says why");
                return Ok(None);
            }
            let done = command(&mut self.engine);
            last = done.as_ref().err().copied();
            match done {
                Ok(done) => return Ok(Some(done)),
                Err(Stop::Missing(missing)) => {
                    if self.bring(missing)?.is_none() {
                        return Ok(None);
                    }
                }
                Err(Stop::Crowded) => {
                    // Until redo is over no checkpoint gives room.
                    self.redo(16)?;
                    self.engine.work(1, 64 * PAGE_BYTES);
                    self.turn_io()?;
                }
                Err(stop @ (Stop::Full | Stop::Stuck | Stop::Outgrown)) => {
                    let state = self.engine.page_file().expect("it has one").state();
                    return match state {
                        FileState::Open => Err(Stopped::Broken(format!("a write is refused ({stop:?}) for no reason"))),
                        FileState::Full { .. } | FileState::Failed { .. } => Ok(None),
                    };
                }
            }
        }
        let (file, checkpoint) = (self.engine.page_file().expect("it has one"), self.engine.checkpoint_state());
        Err(Stopped::Broken(format!(
            "every request is answered: a command never ends: {last:?}, page file {:?}, checkpoint {checkpoint:?}, log {:?}, {} effects left, {:?}",
            file.state(),
            self.engine.log().state(),
            self.engine.redo_left(),
            file.numbers()
        )))
    }

    /// Has something brought in. `None`: it cannot be had, for now.
    fn bring(&mut self, missing: Missing) -> Result<Option<()>, Stopped> {
        let failed = self.plan.reads_failed;
        if self.engine.fetch(missing) != cairn_storage::pool::Fetch::Here {
            self.turn_io()?;
        }
        Ok((self.plan.reads_failed == failed).then_some(()))
    }

    /// Whether a row can be read, and then whether it is the right one.
    fn check_row(&mut self, db: u8, key: &Rc<[u8]>) -> Result<Option<bool>, Stopped> {
        for _ in 0..10_000 {
            let missing = match self.engine.get(place(db, key)) {
                Ok(found) => {
                    let expected = self.ledger.rows().get(db, key).map(|row| (row.expire_ms, &row.value[..]));
                    return Ok(Some(found.map(|found| (found.expire_ms, found.value)) == expected));
                }
                Err(missing) => missing,
            };
            if self.bring(missing)?.is_none() {
                return Ok(None);
            }
            self.engine.work(1, 0);
        }
        Err(Stopped::Broken("every request is answered: a read never ends".to_owned()))
    }

    /// The end of a turn: some of the background work is done, and some operations end.
    fn turn(&mut self) -> Result<(), Stopped> {
        if self.rng.u8(..4) == 0 {
            self.engine.log_mut().seal();
        }
        if self.taste.is_eager {
            self.engine.want_checkpoint();
        }
        if let Err(missing) = self.engine.free_some(64) {
            self.bring(missing)?;
        }
        let effects = self.rng.usize(..3);
        self.redo(effects)?;
        let bytes = self.rng.usize(..8) * PAGE_BYTES;
        self.engine.work(1, bytes);
        for _ in 0..self.rng.u32(..3) {
            self.turn_io()?;
        }
        Ok(())
    }

    /// Some of what the log had at the start goes to the trees.
    fn redo(&mut self, effects: usize) -> Result<(), Stopped> {
        if let Redone::Missing(missing) = self.engine.redo_some(effects, [None, Some(8)][effects % 2]) {
            self.bring(missing)?;
        }
        Ok(())
    }

    /// Hands to the disks what the engine wants of them.
    fn take(&mut self) {
        while let Some(op) = self.engine.log_mut().poll() {
            let fate = self.plan.fate(Flying::Log(op), &mut self.rng);
            let is_cached = self.planted == Some(Planted::WriteWithoutSync) && matches!(op, DiskOp::Write { .. });
            let fate = if is_cached { Fate::Cached } else { fate };
            self.media.disk.begin(op, self.engine.log(), fate);
            self.flying.push(Flying::Log(op));
        }
        while let Some(op) = self.engine.poll_pages() {
            let fate = self.plan.fate(Flying::Page(op), &mut self.rng);
            self.media.pages.begin(op, &self.engine, fate);
            self.flying.push(Flying::Page(op));
        }
    }

    /// One operation ends, if one is under way.
    fn turn_io(&mut self) -> Result<(), Stopped> {
        self.take();
        if self.flying.is_empty() {
            self.engine.log_mut().seal();
            return Ok(());
        }
        let at = self.rng.usize(..self.flying.len());
        let kind = self.flying[at].kind();
        if kind != Kind::Read {
            self.look(kind)?;
        }
        match self.flying.swap_remove(at) {
            Flying::Log(op) => self.end_log(op),
            Flying::Page(op) => self.end_page(op),
        }
    }

    /// What could a crash leave now?
    fn look(&mut self, kind: Kind) -> Result<(), Stopped> {
        let Some(images) = &self.images else { return Ok(()) };
        images.borrow_mut().look(&self.media, &self.ledger, self.taste, kind)
    }

    fn end_log(&mut self, op: DiskOp) -> Result<(), Stopped> {
        let (config, planted) = (config(self.planted), self.planted);
        let (DiskOp::Write { op: id, .. } | DiskOp::Prepare { op: id, .. }) = op;
        let before = self.engine.log().durable();
        let (done, is_good) = self.media.disk.end(id, &config, self.engine.log(), planted, &mut self.rng);
        let has_failed = matches!(self.engine.log().state(), LogState::Failed(_));
        self.engine.log_mut().on_done(done);
        let log = self.engine.log();
        let now_failed = matches!(log.state(), LogState::Failed(_));
        if planted.is_none() && !is_good && (!now_failed || log.accepts_writes()) {
            return Err(Stopped::Broken(format!(
                "a failed log refuses writes: {:?} after {:?}",
                log.state(),
                done.result
            )));
        }
        if planted.is_none() && (has_failed || now_failed) && log.durable() != before {
            return Err(Stopped::Broken("a failed log acknowledges nothing: the durable LSN goes on".to_owned()));
        }
        if let (DiskOp::Prepare { .. }, Err(errno)) = (op, done.result)
            && !now_failed
            && log.state() != (LogState::Full { errno })
        {
            return Err(Stopped::Broken(format!("no room for a segment: the log says {:?}", log.state())));
        }
        self.ledger.acknowledge(log.durable());
        Ok(())
    }

    fn end_page(&mut self, op: PageOp) -> Result<(), Stopped> {
        let (ended, is_good) = self.media.pages.end(op.op(), &self.engine, &mut self.rng);
        match ended {
            Ended::Done(done) => {
                self.engine.on_page_done(done);
                let state = self.engine.page_file().expect("it has one").state();
                if !is_good && state == FileState::Open {
                    return Err(Stopped::Broken(format!("{op:?} failed ({:?}), and nobody says so", done.result)));
                }
            }
            Ended::Forget(done, before) => {
                self.media.disk.forget(before, None);
                self.engine.on_page_done(done);
            }
            Ended::Read(op, bytes) => {
                let fetched = self.engine.on_page_read(op, bytes.as_deref().map_err(|errno| *errno));
                let is_refused = matches!(fetched, Fetched::Damaged { .. } | Fetched::Failed { .. });
                if is_refused && !self.plan.expects_bad_reads() {
                    return Err(Stopped::Broken(format!("a sound page cannot be read: {fetched:?}")));
                }
                self.plan.reads_failed += u64::from(is_refused);
            }
        }
        Ok(())
    }

    /// Makes everything durable, and a checkpoint if one is wanted.
    fn settle(&mut self) -> Result<(), Stopped> {
        for _ in 0..100_000 {
            self.engine.log_mut().seal();
            if let Err(missing) = self.engine.free_some(64) {
                self.bring(missing)?;
            }
            self.redo(64)?;
            self.engine.work(1, 64 * PAGE_BYTES);
            self.take();
            let is_done =
                self.engine.checkpoint_state() == CheckpointState::Idle && !self.engine.is_checkpoint_wanted();
            if self.flying.is_empty() && is_done {
                return Ok(());
            }
            self.turn_io()?;
        }
        Err(Stopped::Broken("a checkpoint never ends".to_owned()))
    }

    fn checkpoint(&mut self) -> Result<(), Stopped> {
        self.engine.want_checkpoint();
        self.settle()
    }

    /// A crash of the run itself, after which it goes on with what is there.
    fn crash(mut self) -> Result<Shard, Stopped> {
        let is_power_cut = self.rng.bool();
        self.media.strike(is_power_cut, &mut Verdict::new(Keep::Chance, &mut self.rng));
        let Shard { media, ledger, taste, planted, rng, images, .. } = self;
        let shard = Shard::open(media, ledger, taste, planted, rng)?;
        Ok(Shard { images, ..shard })
    }
}

/// The place of a row: few heads, so that keys share them now and then, spread over the range.
fn place(db: u8, key: &[u8]) -> RowKey<'_> {
    let mixed = key.iter().fold(7_u64, |head, byte| head.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    RowKey { db, head: mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) & 0xfff0_0000_0000_0000, key }
}
