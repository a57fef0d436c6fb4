//! One opening of a shard, as the server does it, over disks on which a crash or an error may meet any of its steps.

use super::checks::{Checked, RECOVERY, STRUCTURE};
use super::clock::{MS, US};
use super::disk::{Disk, EIO};
use super::faults::{Fate, Planted};
use super::pages::{Ended, PageDisk};
use super::restart::MEMORY_BYTES;
use super::stored::{self, Elements};
use super::world::World;
use crate::model::{DATABASES, Rows};
use cairn_storage::engine::elements::{elements_of, is_elements};
use cairn_storage::engine::{Applied, Engine, Found, Replay};
use cairn_storage::error::Fault;
use cairn_storage::log::{LogConfig, LogStart, Record, Recovery, Resume, Step};
use cairn_storage::op::{DiskDone, PageOp};
use cairn_storage::pagefile::{Bounds, OpenStep, Opening, PageFileConfig, Superblock};
use cairn_storage::pool::{Fetch, Fetched};
use cairn_storage::txn::{Decisions, Tail};
use cairn_storage::units::{Lsn, SegmentId};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// How often in a row what is absent may be asked for in vain, where memory is enough for everything: writes that are under way
/// may have to end first. Whoever asks on asks for ever.
const VAIN_MAX: u32 = 8;

/// How an opening ended.
pub(super) enum Opened {
    Engine(Box<Engine>, Lsn),
    /// A crash came first.
    Cut,
    Refused(Fault),
}

/// Why an opening did not come to its end.
pub(super) enum Halt {
    Cut,
    Refused(Fault),
    /// It breaks a check.
    Broken(String),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Halt {
        Halt::Refused(fault)
    }
}

/// A shard whose log has been read.
pub(super) struct Scanned {
    replay: Replay,
    resume: Resume,
}

impl Scanned {
    /// What it has of transactions over several shards.
    pub(super) fn tail(&mut self) -> &Tail {
        self.replay.tail()
    }
}

/// What goes wrong while a log is opened.
#[derive(Default)]
pub(super) struct Trouble {
    /// Steps until the crash.
    pub cut: Option<usize>,
    /// Steps that change nothing on the disk do not count for it.
    pub cuts_at_changes: bool,
    /// Steps until a read or a sync fails; or, if it is a read of the page file, brings something else.
    pub fails: Option<usize>,
    pub garbles: bool,
}

/// What a shard is opened from.
pub(super) struct Files<'a> {
    pub config: LogConfig,
    pub planted: Option<Planted>,
    /// Nothing goes wrong any more.
    pub must_prepare: bool,
    pub disk: &'a mut Disk,
    /// If shards have page files.
    pub pages: Option<&'a mut PageDisk>,
    pub rng: &'a mut Rng,
    /// The time that it has taken.
    pub took_ns: u64,
}

impl World {
    pub(super) fn files(&mut self, shard: usize) -> Files<'_> {
        Files {
            config: self.config(shard),
            planted: self.planted,
            must_prepare: self.faults.is_over,
            disk: &mut self.disks[shard],
            pages: if self.has_pages { Some(&mut self.pages[shard]) } else { None },
            rng: &mut self.rng,
            took_ns: 0,
        }
    }

    /// Recovers one shard, as the server does, to be looked at.
    pub(super) fn open(&mut self, shard: usize, trouble: &mut Trouble, memory_bytes: u64) -> Checked<Opened> {
        let scanned = self.scan(shard, trouble, memory_bytes)?;
        let finished = match scanned {
            Err(halt) => Err(halt),
            Ok(mut scanned) => {
                // Where nothing waits for the others, they need not be asked.
                let tail = scanned.tail().clone();
                let is_alone = tail.limbo().len() == 0;
                let decisions = if is_alone { Decisions::none() } else { self.decisions_with(tail)? };
                self.finish(shard, scanned, &decisions, trouble)?
            }
        };
        Ok(match finished {
            Ok((engine, end)) => Opened::Engine(Box::new(engine), end),
            Err(Halt::Cut) => Opened::Cut,
            Err(Halt::Refused(fault)) => Opened::Refused(fault),
            Err(Halt::Broken(what)) => return Err(what),
        })
    }

    /// Reads one shard's log.
    pub(super) fn scan(
        &mut self,
        shard: usize,
        trouble: &mut Trouble,
        memory_bytes: u64,
    ) -> Checked<Result<Scanned, Halt>> {
        let mut files = self.files(shard);
        let scanned = files.scan(trouble, memory_bytes);
        let took_ns = files.took_ns;
        self.clock.pass(took_ns);
        sound(scanned)
    }

    /// The engine of a shard whose log was read, and where that ends.
    pub(super) fn finish(
        &mut self,
        shard: usize,
        scanned: Scanned,
        decisions: &Decisions,
        trouble: &mut Trouble,
    ) -> Checked<Result<(Engine, Lsn), Halt>> {
        let mut files = self.files(shard);
        let finished = files.finish(scanned, decisions, trouble);
        let took_ns = files.took_ns;
        self.clock.pass(took_ns);
        sound(finished)
    }

    /// What all shards together say, with this one's tail: the others are read and left as they are.
    fn decisions_with(&mut self, tail: Tail) -> Checked<Decisions> {
        let mut tails = Vec::new();
        for shard in (0..self.disks.len()).filter(|shard| *shard != usize::from(tail.shard().0)) {
            let before = (self.disks[shard].clone(), self.pages[shard].clone());
            let scanned = self.scan(shard, &mut Trouble::default(), MEMORY_BYTES)?;
            (self.disks[shard], self.pages[shard]) = before;
            match scanned {
                Ok(mut scanned) => tails.push(scanned.tail().clone()),
                Err(Halt::Refused(fault)) => {
                    return Err(format!("{RECOVERY}: shard {shard} is not to be read: {fault}"));
                }
                Err(_) => unreachable!("nothing goes wrong"),
            }
        }
        tails.push(tail);
        Decisions::of(&tails, tails.len() as u16).map_err(|fault| format!("{RECOVERY}: {fault}"))
    }

    /// From where on the log is read at the next start, if nothing is damaged.
    pub(super) fn log_start(&mut self, shard: usize) -> Lsn {
        self.files(shard).log_start()
    }
}

impl Files<'_> {
    /// The engine of a shard that is alone, and where its log ends.
    pub(super) fn open(&mut self, trouble: &mut Trouble, memory_bytes: u64) -> Result<(Engine, Lsn), Halt> {
        let mut scanned = self.scan(trouble, memory_bytes)?;
        let decisions = Decisions::of(&[scanned.tail().clone()], 1)?;
        self.finish(scanned, &decisions, trouble)
    }

    /// Reads the log behind the checkpoint.
    pub(super) fn scan(&mut self, trouble: &mut Trouble, memory_bytes: u64) -> Result<Scanned, Halt> {
        self.disk.sync_dir();
        let (mut replay, start) = match self.find(trouble)? {
            Some(opening) => {
                let start = opening.log_start();
                let (file, superblock) = opening.finish();
                (Replay::over(self.config, memory_bytes, Box::new(|_| {}), file, &superblock), start)
            }
            None => (Replay::new(self.config, memory_bytes, Box::new(|_| {})), LogStart::default()),
        };
        let mut resume = self.replay(&mut replay, start, trouble)?;
        self.prepare(&mut resume, trouble)?;
        Ok(Scanned { replay, resume })
    }

    /// The engine of a shard whose log was read, and where that ends.
    pub(super) fn finish(
        &mut self,
        scanned: Scanned,
        decisions: &Decisions,
        trouble: &mut Trouble,
    ) -> Result<(Engine, Lsn), Halt> {
        let Scanned { mut replay, resume } = scanned;
        self.drive(&mut replay, trouble, |replay| replay.settle(decisions))?;
        Ok((replay.finish(self.config, &resume, decisions), resume.end))
    }

    /// From where on the log is read, if nothing is damaged.
    pub(super) fn log_start(&mut self) -> Lsn {
        match self.find(&mut Trouble::default()) {
            Ok(Some(opening)) => opening.log_start().lsn,
            _ => Lsn(0),
        }
    }

    fn page_config(&self) -> PageFileConfig {
        PageFileConfig {
            shard: self.config.shard,
            salt: self.config.salt,
            segment_bytes: self.config.segment_bytes,
            grow_bytes: 1 << 18,
            bounds: Bounds::default(),
            planted: self.planted.and_then(Planted::pages),
        }
    }

    /// Finds the newest checkpoint, if there is a page file.
    fn find(&mut self, trouble: &mut Trouble) -> Result<Option<Opening>, Halt> {
        let config = self.page_config();
        let Some(pages) = &self.pages else { return Ok(None) };
        let opening = Opening::new(config, pages.len());
        self.step(opening, trouble).map(Some)
    }

    /// The rows of a checkpoint.
    pub(super) fn snapshot(&mut self, superblock: &Superblock) -> Result<Rows, Halt> {
        let opening = Opening::of_checkpoint(self.page_config(), superblock.clone());
        let (file, superblock) = self.step(opening, &mut Trouble::default())?.finish();
        let mut replay = Replay::over(self.config, MEMORY_BYTES, Box::new(|_| {}), file, &superblock);
        let mut rows = Rows::default();
        self.read_all(replay.engine_mut(), &mut rows)?;
        Ok(rows)
    }

    fn step(&mut self, mut opening: Opening, trouble: &mut Trouble) -> Result<Opening, Halt> {
        let pages = self.pages.as_ref().expect("there is a page file");
        loop {
            match opening.step() {
                OpenStep::Read { offset, len } => {
                    let fate = fate(trouble)?;
                    let is_garbled = fate == Fate::Garbled;
                    match pages.read(offset, len as usize, if is_garbled { Fate::Done } else { fate }) {
                        Ok(mut bytes) => {
                            if is_garbled {
                                bytes[self.rng.usize(..len as usize)] ^= 1 << self.rng.u8(..8);
                            }
                            opening.supply(&bytes);
                        }
                        Err(errno) => opening.failed(errno),
                    }
                }
                OpenStep::Done => return Ok(opening),
                OpenStep::Refuse(fault) => return Err(fault.into()),
            }
        }
    }

    /// Reads all rows, those past their time included.
    pub(super) fn read_all(&mut self, engine: &mut Engine, rows: &mut Rows) -> Result<(), Halt> {
        rows.set_spaces(engine.spaces());
        for db in 0..DATABASES {
            let (mut found, mut elements) = (BTreeMap::new(), Elements::default());
            self.read_tree(engine, db, |_, key, row| {
                found.insert(key.to_vec(), (row.kind, row.expire_ms, row.value.to_vec()));
            })?;
            self.read_tree(engine, elements_of(db), |head, key, row| {
                elements.put(head, key, row.value, row.expire_ms);
            })?;
            for (key, (kind, expire_ms, value)) in found {
                let row = stored::row(kind, &value, expire_ms, &elements);
                let row = row.map_err(|what| Halt::Broken(format!("{STRUCTURE}: {}: {what}", key.escape_ascii())))?;
                rows.put(db, key.into(), row);
            }
        }
        Ok(())
    }

    /// Reads all rows of a tree; some of them more than once.
    fn read_tree(
        &mut self,
        engine: &mut Engine,
        tree: u8,
        mut take: impl FnMut(u64, &[u8], Found<'_>),
    ) -> Result<(), Halt> {
        let mut from = 0;
        loop {
            let start = from;
            let visit = |head, key: &[u8], found: Found<'_>| {
                from = head;
                take(head, key, found);
                ControlFlow::Continue(())
            };
            let Err(missing) = engine.scan(tree, start, visit) else { return Ok(()) };
            engine.fetch(missing);
            // So that there is room for what comes.
            engine.work(0, 0);
            self.serve(engine, &mut Trouble::default())?;
        }
    }

    /// Has all pages brought in.
    pub(super) fn bring_in(&mut self, engine: &mut Engine) -> Result<(), Halt> {
        let mut vain = 0;
        loop {
            // Pages of trees that are gone may be absent too.
            while let Err(missing) = engine.free_some(usize::MAX) {
                engine.fetch(missing);
                self.serve(engine, &mut Trouble::default())?;
            }
            let absent = engine.absent();
            if absent.is_empty() {
                return Ok(());
            }
            let left = engine.redo_left();
            let is_vain =
                absent.into_iter().fold(true, |vain, missing| vain & (engine.fetch(missing) == Fetch::Crowded));
            self.serve(engine, &mut Trouble::default())?;
            vain = if is_vain && engine.redo_left() == left { vain + 1 } else { 0 };
            if vain > VAIN_MAX {
                return Err(Halt::Broken(format!("{RECOVERY}: {left} effects of the log do not fit the pages")));
            }
        }
    }

    /// Replays the log behind a checkpoint.
    fn replay(&mut self, replay: &mut Replay, start: LogStart, trouble: &mut Trouble) -> Result<Resume, Halt> {
        let mut recovery = Recovery::new(self.config, self.disk.list(), start);
        let mut buffer = Vec::new();
        loop {
            let step = recovery.step();
            match step {
                Step::Read { .. } => trouble.read()?,
                Step::Sync { .. } => trouble.change()?,
                _ => {}
            }
            let is_disk = matches!(step, Step::Read { .. } | Step::Sync { .. });
            let fails = is_disk && count_down(&mut trouble.fails);
            match step {
                Step::Read { .. } | Step::Sync { .. } if fails => recovery.failed(EIO),
                Step::Read { segment, offset, len } => {
                    buffer.resize(len, 0);
                    self.disk.read(segment, offset, &mut buffer);
                    self.took_ns += 50 * US;
                    recovery.supply(&buffer);
                }
                Step::Record { lsn, .. } if lsn <= start.lsn => {
                    let what = format!("{RECOVERY}: a record at {lsn} is replayed over a checkpoint at {}", start.lsn);
                    return Err(Halt::Broken(what));
                }
                Step::Record { lsn, record, buffer } => {
                    let record = forgotten(self.planted, record);
                    let fed = self.drive(replay, trouble, |replay| replay.feed(lsn, &record, buffer));
                    fed.map_err(|halt| match halt {
                        Halt::Refused(fault @ (Fault::Record { .. } | Fault::MemoryFull { .. })) => {
                            Halt::Broken(format!("{RECOVERY}: {fault}"))
                        }
                        halt => halt,
                    })?;
                }
                Step::Sync { segment } => {
                    if self.planted != Some(Planted::RecoverWithoutSync) {
                        self.disk.sync(segment);
                    }
                    self.took_ns += MS;
                    recovery.synced();
                }
                Step::Done(resume) => return Ok(resume),
                Step::Refuse(fault) => return Err(fault.into()),
            }
        }
    }

    /// Makes the directory what the log goes on with: nothing of no use, and a segment to write to.
    fn prepare(&mut self, resume: &mut Resume, trouble: &mut Trouble) -> Result<(), Halt> {
        // The first one stays, whatever is in it: a log without segments is one that was lost.
        for segment in resume.useless.iter().filter(|segment| segment.0 > 0) {
            self.disk.remove(*segment);
            trouble.change()?;
        }
        self.disk.sync_dir();
        let bytes = self.config.segment_bytes;
        let first = SegmentId(resume.end.0 / bytes);
        if resume.prepared.is_empty() && self.disk.prepare(first, bytes, self.must_prepare, self.rng) {
            resume.prepared.push(first);
        }
        trouble.change()
    }

    /// Goes through with a step of a replay, whatever it needs of the page file.
    fn drive(
        &mut self,
        replay: &mut Replay,
        trouble: &mut Trouble,
        mut step: impl FnMut(&mut Replay) -> Result<Applied, Fault>,
    ) -> Result<(), Halt> {
        loop {
            match step(replay)? {
                Applied::Done => return Ok(()),
                Applied::Missing(missing) => drop(replay.engine_mut().fetch(missing)),
                // Room is made of what has been written.
                Applied::Crowded => replay.engine_mut().work(0, 0),
            }
            self.serve(replay.engine_mut(), trouble)?;
        }
    }

    /// Performs all that the engine wants of its page file.
    pub(super) fn serve(&mut self, engine: &mut Engine, trouble: &mut Trouble) -> Result<(), Halt> {
        let shard = self.config.shard;
        let Some(pages) = &mut self.pages else { return Ok(()) };
        while let Some(op) = engine.poll_pages() {
            let fate = match op {
                PageOp::Read { .. } => fate(trouble)?,
                _ => {
                    if let Err(cut) = trouble.change() {
                        // As it was begun, a part of it may be done.
                        pages.begin(op, engine, Fate::Done);
                        return Err(cut);
                    }
                    Fate::Done
                }
            };
            pages.begin(op, engine, fate);
            let (ended, _) = pages.end(op.op(), engine, self.rng);
            match ended {
                Ended::Done(done) => engine.on_page_done(done),
                // The next checkpoint's turn removes them too.
                Ended::Forget(DiskDone { op, .. }, _) => engine.on_page_done(DiskDone { op, result: Ok(0) }),
                Ended::Read(op, bytes) => match engine.on_page_read(op, bytes.as_deref().map_err(|errno| *errno)) {
                    Fetched::Damaged { offset, what, .. } => {
                        return Err(Fault::PageFile { shard, offset, what }.into());
                    }
                    Fetched::Failed { offset, errno, .. } => {
                        return Err(Fault::PageFileRead { shard, offset, errno }.into());
                    }
                    _ => {}
                },
            }
        }
        Ok(())
    }
}

impl Trouble {
    /// A step that changes nothing.
    fn read(&mut self) -> Result<(), Halt> {
        if !self.cuts_at_changes && count_down(&mut self.cut) { Err(Halt::Cut) } else { Ok(()) }
    }

    /// A step that changes what is on the disk.
    fn change(&mut self) -> Result<(), Halt> {
        if count_down(&mut self.cut) { Err(Halt::Cut) } else { Ok(()) }
    }
}

/// What breaks a check ends the run.
fn sound<T>(outcome: Result<T, Halt>) -> Checked<Result<T, Halt>> {
    match outcome {
        Err(Halt::Broken(what)) => Err(what),
        outcome => Ok(outcome),
    }
}

/// How a read of an opening ends.
fn fate(trouble: &mut Trouble) -> Result<Fate, Halt> {
    trouble.read()?;
    Ok(match count_down(&mut trouble.fails) {
        true if trouble.garbles => Fate::Garbled,
        true => Fate::Fails,
        false => Fate::Done,
    })
}

/// Whether the count reaches its end with this step.
fn count_down(left: &mut Option<usize>) -> bool {
    match left {
        Some(count) if *count > 1 => {
            *count -= 1;
            false
        }
        Some(count) => std::mem::replace(count, 0) == 1,
        None => false,
    }
}

/// What recovery takes a record for: a bug has it forget when fields expire.
fn forgotten(planted: Option<Planted>, record: Record<'_>) -> Record<'_> {
    match record {
        Record::Put { db, kind, head, key, value, .. }
            if planted == Some(Planted::FieldsForever) && is_elements(db) =>
        {
            Record::Put { db, kind, head, expire_ms: 0, key, value }
        }
        Record::Expire { db, head, key, .. } if planted == Some(Planted::FieldsForever) && is_elements(db) => {
            Record::Expire { db, head, expire_ms: 0, key }
        }
        record => record,
    }
}
