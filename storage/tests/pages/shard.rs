//! A shard on simulated disks, and what its rows ought to be.

use crate::change::{Begun, Change, decode, is_collection, read_row};
use crate::disk::{Done, PageDisk};
use crate::log_disk::{Disk, Rng};
use cairn_storage::engine::elements::elements_of;
use cairn_storage::engine::{Applied, Engine, Redone, Replay, RowKey, Stop};
use cairn_storage::error::{Fault, Missing};
use cairn_storage::limits::{OPEN_READS_MAX, PAGE_BYTES};
use cairn_storage::log::{LogConfig, Record, Recovery, Step};
use cairn_storage::pagefile::{Bounds, Bug, OpenStep, Opening, PageFileConfig};
use cairn_storage::pool::{Fetch, Fetched};
use cairn_storage::txn::Decisions;
use cairn_storage::units::{Epoch, Lsn, ShardId};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const LOG: LogConfig =
    LogConfig { shard: ShardId(3), segment_bytes: 1 << 20, salt: 7, epoch: Epoch(1), planted: None };

/// Database and key; expiry and value.
pub type Model = BTreeMap<(u8, Vec<u8>), (u64, Vec<u8>)>;

/// The power was cut in the middle of something.
#[derive(Debug)]
pub struct Cut;

pub struct Shard {
    pub engine: Engine,
    pub log: Disk,
    pub pages: PageDisk,
    pub rng: Rng,
    memory_bytes: u64,
    planted: Option<Bug>,
    pub bounds: Bounds,
    /// Rows at the last opening, and what happened since, each with the LSN that makes it durable.
    base: Model,
    history: Vec<(Lsn, Change)>,
    pub model: Model,
    /// A collection that no row names yet.
    pub begun: Option<Begun>,
    /// Operations that may still complete before the power is cut.
    pub ops_left: usize,
    pub acknowledged: Lsn,
    /// Whether checkpoints are wanted all the time.
    pub is_eager: bool,
}

pub fn head(key: &[u8]) -> u64 {
    // Few bits, so that keys share heads now and then, spread over the range.
    key.iter()
        .fold(7_u64, |head, byte| head.wrapping_mul(31).wrapping_add(u64::from(*byte)))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        & 0xfff0_0000_0000_0000
}

pub fn row(db: u8, key: &[u8]) -> RowKey<'_> {
    RowKey { db, head: head(key), key }
}

impl Shard {
    pub fn new(seed: u64, memory_pages: usize, planted: Option<Bug>) -> Shard {
        Shard::bounded(seed, memory_pages, planted, Bounds::default())
    }

    /// One whose page file has these bounds.
    pub fn bounded(seed: u64, memory_pages: usize, planted: Option<Bug>, bounds: Bounds) -> Shard {
        let (mut log, mut pages) = (Disk::default(), PageDisk::default());
        let memory_bytes = (memory_pages * PAGE_BYTES) as u64;
        let (engine, _) = open(&mut log, &mut pages, memory_bytes, planted, bounds).unwrap();
        Shard {
            engine,
            log,
            pages,
            rng: Rng(seed),
            memory_bytes,
            planted,
            bounds,
            base: Model::new(),
            history: Vec::new(),
            model: Model::new(),
            begun: None,
            ops_left: usize::MAX,
            acknowledged: Lsn(0),
            is_eager: false,
        }
    }

    /// From the next opening on it has so much memory.
    pub fn set_memory(&mut self, pages: usize) {
        self.memory_bytes = (pages * PAGE_BYTES) as u64;
    }

    /// Makes a change, whatever it takes.
    pub fn change(&mut self, change: Change) -> Result<(), Cut> {
        let lsn = self.run(|engine| change.perform(engine))?;
        change.apply(&mut self.model);
        self.history.push((lsn, change));
        Ok(())
    }

    /// Makes a change unless it is refused.
    pub fn attempt(&mut self, change: Change) -> Result<(), Stop> {
        for _ in 0..10_000 {
            match change.perform(&mut self.engine) {
                Ok(lsn) => {
                    change.apply(&mut self.model);
                    self.history.push((lsn, change));
                    return Ok(());
                }
                Err(Stop::Missing(missing)) => drop(self.engine.fetch(missing)),
                Err(Stop::Crowded) => {}
                Err(stop) => return Err(stop),
            }
            self.engine.log_mut().seal();
            self.engine.work(1, 4 * PAGE_BYTES);
            self.turn_io().expect("nothing cuts the power");
        }
        panic!("a command never ends: {:?}", self.engine.page_file().unwrap().numbers());
    }

    /// Begins a collection, goes on with the one that was begun, has a row name it, or gives it up.
    pub fn begin_or_go_on(&mut self, db: u8, key: &[u8]) -> Result<(), Cut> {
        let Some(mut begun) = self.begun.take() else {
            let count = [1, 20, 200][self.rng.below(3) as usize];
            self.begun = Some(self.run(|engine| Begun::begin(engine, db, key, count))?);
            return Ok(());
        };
        let elements = self.rng.below(60) as usize;
        let is_whole = self.run(|engine| begun.go_on(engine, elements))?;
        let gives_up = self.rng.below(12) == 0;
        if !is_whole && !gives_up {
            self.begun = Some(begun);
            return Ok(());
        }
        if is_whole {
            let (lsn, change) = self.run(|engine| begun.name(engine))?;
            change.apply(&mut self.model);
            self.history.push((lsn, change));
        }
        begun.end(&mut self.engine);
        Ok(())
    }

    /// Makes several puts as one.
    pub fn group(&mut self, puts: Vec<(u8, Vec<u8>, Vec<u8>)>) -> Result<(), Cut> {
        self.run(|engine| engine.prepare_group(puts.iter().map(|(db, key, _)| (row(*db, key), 0))))?;
        self.engine.open_group();
        for (db, key, value) in &puts {
            self.engine.put(row(*db, key), 0, 0, value).expect("a group that was prepared goes through");
        }
        let lsn = self.engine.close_group();
        for (db, key, value) in puts {
            let change = Change::Put(db, key, 0, value);
            change.apply(&mut self.model);
            self.history.push((lsn, change));
        }
        Ok(())
    }

    /// Runs a command until it does not stop any more.
    pub fn run<T>(&mut self, mut command: impl FnMut(&mut Engine) -> Result<T, Stop>) -> Result<T, Cut> {
        for _ in 0..10_000 {
            match command(&mut self.engine) {
                Ok(done) => return Ok(done),
                Err(Stop::Missing(missing)) => self.bring(missing)?,
                Err(Stop::Crowded) => {
                    self.engine.log_mut().seal();
                    // No checkpoint begins before redo is over and what was dropped is free.
                    self.redo(1)?;
                    self.free()?;
                    self.engine.work(1, 64 * PAGE_BYTES);
                    self.turn_io()?;
                }
                Err(Stop::Full | Stop::Stuck | Stop::Outgrown) => {
                    panic!("memory is full: {:?}", self.engine.page_file().unwrap().numbers())
                }
            }
        }
        panic!("a command never ends: {:?}", self.engine.page_file().unwrap().numbers());
    }

    /// Reads a row while everything else goes on.
    pub fn look(&mut self, db: u8, key: &[u8]) -> Result<(), Cut> {
        let found = self.run(|engine| Ok(read_row(engine, db, key)?))?;
        assert_eq!(found.as_ref(), self.model.get(&(db, key.to_vec())), "a row is read as it was written");
        Ok(())
    }

    fn bring(&mut self, missing: Missing) -> Result<(), Cut> {
        match self.engine.fetch(missing) {
            Fetch::Here => return Ok(()),
            Fetch::Underway => {}
            Fetch::Crowded => self.engine.work(1, 64 * PAGE_BYTES),
        }
        self.turn_io()
    }

    /// Some of what the log has and the trees have not. Whether that was all.
    fn redo(&mut self, effects: usize) -> Result<bool, Cut> {
        match self.engine.redo_some(effects, [None, Some(8)][effects % 2]) {
            Redone::Over => return Ok(true),
            Redone::More => {}
            Redone::Missing(missing) => self.bring(missing)?,
            Redone::Crowded => {
                self.engine.work(1, 64 * PAGE_BYTES);
                self.turn_io()?;
            }
            stop => panic!("redo does not go on: {stop:?}"),
        }
        Ok(false)
    }

    /// The end of a turn, with some of the background work and some operations ending.
    pub fn turn(&mut self) -> Result<(), Cut> {
        if self.rng.below(4) == 0 {
            self.engine.log_mut().seal();
        }
        if self.is_eager {
            self.engine.want_checkpoint();
        }
        let bytes = self.rng.below(8) as usize * PAGE_BYTES;
        let effects = self.rng.below(3) as usize;
        self.redo(effects)?;
        self.free()?;
        self.engine.work(1, bytes);
        for _ in 0..self.rng.below(3) {
            self.turn_io()?;
        }
        Ok(())
    }

    pub fn free(&mut self) -> Result<(), Cut> {
        if let Err(missing) = self.engine.free_some(64) {
            self.bring(missing)?;
        }
        Ok(())
    }

    /// One operation ends, if one is under way.
    pub fn turn_io(&mut self) -> Result<(), Cut> {
        self.log.take(self.engine.log_mut());
        self.pages.take(&mut self.engine);
        let count = self.log.flying.len() + self.pages.flying.len();
        if count == 0 {
            self.engine.log_mut().seal();
            return Ok(());
        }
        if self.ops_left == 0 {
            return Err(Cut);
        }
        self.ops_left -= 1;
        let at = self.rng.below(count as u64) as usize;
        if at < self.log.flying.len() {
            let done = self.log.complete(&LOG, self.engine.log(), at);
            self.engine.log_mut().on_done(done);
            self.acknowledged = self.engine.log().durable();
            return Ok(());
        }
        match self.pages.complete(at - self.log.flying.len()) {
            Done::Plain(done) => self.engine.on_page_done(done),
            Done::Forget(done, before) => {
                self.log.files.retain(|segment, _| *segment >= before.0);
                self.engine.on_page_done(done);
            }
            Done::Read(op, result) => match self.engine.on_page_read(op, result.as_deref().map_err(|errno| *errno)) {
                Fetched::Damaged { what, .. } => panic!("a read found damage: {what}"),
                Fetched::Failed { errno, .. } => panic!("a read failed: {errno}"),
                Fetched::Scrubbed(Some(suspicion)) => panic!("the scrub found damage: {suspicion:?}"),
                _ => {}
            },
        }
        Ok(())
    }

    /// Makes the log durable, and lets the page file do what it does meanwhile.
    pub fn drain_log(&mut self) -> Result<(), Cut> {
        while !self.engine.log().is_idle() {
            self.engine.log_mut().seal();
            self.turn_io()?;
        }
        Ok(())
    }

    /// Makes everything durable, and a checkpoint if one is wanted.
    pub fn settle(&mut self) -> Result<(), Cut> {
        while !self.redo(64)? {}
        loop {
            self.engine.log_mut().seal();
            self.free()?;
            self.engine.work(1, 64 * PAGE_BYTES);
            self.log.take(self.engine.log_mut());
            self.pages.take(&mut self.engine);
            let is_idle = self.log.flying.is_empty() && self.pages.flying.is_empty();
            let state = self.engine.checkpoint_state();
            if is_idle && !self.engine.is_checkpoint_wanted() && state == cairn_storage::pagefile::CheckpointState::Idle
            {
                return Ok(());
            }
            self.turn_io()?;
        }
    }

    /// Has all rows applied that wait for their leaves.
    pub fn apply_deferred(&mut self) -> Result<(), Cut> {
        self.run(|engine| Ok(engine.await_deferred()?))
    }

    pub fn checkpoint(&mut self) -> Result<(), Cut> {
        self.engine.want_checkpoint();
        self.settle()
    }

    /// The power fails, and comes back. The rows have to be those of a moment at or after the last acknowledged one.
    pub fn crash(&mut self) -> Result<(), String> {
        self.log.power_cut(&mut self.rng);
        self.pages.power_cut(&mut self.rng);
        self.reopen()
    }

    /// Opens the shard again from what is on its disks.
    pub fn reopen(&mut self) -> Result<(), String> {
        let (planted, bounds) = (self.planted, self.bounds);
        let (engine, end) =
            open(&mut self.log, &mut self.pages, self.memory_bytes, planted, bounds).map_err(|it| it.to_string())?;
        self.engine = engine;
        self.begun = None;
        self.ops_left = usize::MAX;
        if end < self.acknowledged {
            return Err(format!("acknowledged up to {}, recovered up to {end}", self.acknowledged));
        }
        let history = std::mem::take(&mut self.history);
        for (_, change) in history.iter().filter(|(lsn, _)| *lsn <= end) {
            change.apply(&mut self.base);
        }
        self.model = self.base.clone();
        self.acknowledged = self.engine.log().durable();
        self.check(true)?;
        // Most of the time it goes on with a part of the effects pending.
        match self.rng.below(3) {
            0 => self.verify(),
            1 => self.verify_some(),
            _ => Ok(()),
        }
    }

    /// Looks at one row in four, so that the others stay as they are.
    fn verify_some(&mut self) -> Result<(), String> {
        let rows: Vec<_> = self.model.iter().map(|(id, row)| (id.clone(), row.clone())).collect();
        for (id, row) in rows {
            if self.rng.below(4) == 0 {
                self.verify_row(&id, &row)?;
            }
        }
        Ok(())
    }

    fn verify_row(&mut self, (db, key): &(u8, Vec<u8>), expected: &(u64, Vec<u8>)) -> Result<(), String> {
        let found = self.read(|engine| read_row(engine, *db, key))?;
        if found.as_ref() != Some(expected) {
            return Err(format!("the row {} differs", String::from_utf8_lossy(key)));
        }
        Ok(())
    }

    /// Compares all rows with the model's, and checks the whole shard.
    pub fn verify(&mut self) -> Result<(), String> {
        let model = std::mem::take(&mut self.model);
        for (id, row) in &model {
            self.verify_row(id, row)?;
        }
        // Where the page file takes nothing, what waits goes on waiting.
        self.read(|engine| if engine.is_stuck() { Ok(()) } else { engine.await_redo() })?;
        self.read(|engine| if engine.is_settling_barred() { Ok(()) } else { engine.await_deferred() })?;
        let is_counted = self.engine.await_redo().is_ok() && self.engine.await_deferred().is_ok();
        self.read(|engine| {
            while engine.free_some(64)? {}
            Ok(())
        })?;
        let is_reclaimed = self.engine.collections_gone() == 0 && self.begun.is_none();
        for db in (0..3).filter(|_| is_counted) {
            let count = model.keys().filter(|id| id.0 == db).count() as u64;
            let collections = model.iter().filter(|(id, row)| id.0 == db && is_collection(&row.1));
            // Each element, and what says whose they are.
            let elements: usize = collections.map(|(_, row)| decode(&row.1).len() + 1).sum();
            let kept = self.engine.row_count(elements_of(db));
            if kept < elements as u64 || is_reclaimed && kept > elements as u64 {
                return Err(format!("database {db}: {kept} elements for {elements}"));
            }
            if self.engine.row_count(db) != count {
                return Err(format!("database {db}: {} rows for {count}", self.engine.row_count(db)));
            }
        }
        self.model = model;
        self.check(false)
    }

    /// A read that is answered at once by the disk, without a turn of anything else.
    fn read<T>(&mut self, mut command: impl FnMut(&mut Engine) -> Result<T, Missing>) -> Result<T, String> {
        loop {
            match command(&mut self.engine) {
                Ok(done) => return Ok(done),
                Err(missing) => {
                    if self.engine.fetch(missing) == Fetch::Crowded {
                        self.engine.work(1, 0);
                    }
                    serve(&mut self.engine, &mut self.log, &mut self.pages)?;
                }
            }
        }
    }

    /// Opens a copy with all memory in the world and looks at every page, and if the disks have everything, at every row.
    fn check(&mut self, has_rows: bool) -> Result<(), String> {
        let mut pages = self.pages.clone();
        if !self.pages.flying.is_empty() || !self.log.flying.is_empty() {
            return Ok(());
        }
        let mut log = Disk::default();
        for (segment, file) in &self.log.files {
            let copy = log.files.entry(*segment).or_default();
            copy.bytes.clone_from(&file.bytes);
        }
        let (mut engine, _) =
            open(&mut log, &mut pages, 1 << 30, None, self.bounds).map_err(|fault| fault.to_string())?;
        while let Err(missing) | Ok(Some(missing)) =
            engine.free_some(64).map(|more| more.then_some(Missing::Page(Default::default())))
        {
            if missing != Missing::Page(Default::default()) {
                engine.fetch(missing);
                serve(&mut engine, &mut log, &mut pages)?;
            }
        }
        for ((db, key), expected) in self.model.iter().filter(|_| has_rows) {
            let found = loop {
                match read_row(&engine, *db, key) {
                    Ok(found) => break found,
                    Err(missing) => engine.fetch(missing),
                };
                serve(&mut engine, &mut log, &mut pages)?;
            };
            if found.as_ref() != Some(expected) {
                return Err(format!("the row {} differs in a copy", String::from_utf8_lossy(key)));
            }
        }
        loop {
            let absent = engine.absent();
            if absent.is_empty() {
                break;
            }
            for missing in absent {
                engine.fetch(missing);
            }
            serve(&mut engine, &mut log, &mut pages)?;
        }
        let rows: u64 = (0..3).map(|db| engine.row_count(db)).sum();
        if has_rows && rows != self.model.len() as u64 {
            return Err(format!("a copy has {rows} rows for {}", self.model.len()));
        }
        engine.check()
    }
}

/// Completes everything that the page file wants.
fn serve(engine: &mut Engine, log: &mut Disk, pages: &mut PageDisk) -> Result<(), String> {
    loop {
        pages.take(engine);
        if pages.flying.is_empty() {
            return Ok(());
        }
        if pages.ops_left == 0 {
            return Err("the power is cut".to_string());
        }
        pages.ops_left -= 1;
        match pages.complete(0) {
            Done::Plain(done) => engine.on_page_done(done),
            Done::Forget(done, before) => {
                log.files.retain(|segment, _| *segment >= before.0);
                engine.on_page_done(done);
            }
            Done::Read(op, result) => match engine.on_page_read(op, result.as_deref().map_err(|errno| *errno)) {
                Fetched::Damaged { offset, what, .. } => return Err(format!("damage at {offset}: {what}")),
                Fetched::Failed { errno, .. } => return Err(format!("a read failed: {errno}")),
                _ => {}
            },
        }
    }
}

/// Opens a shard. Answers also where its log ended.
pub fn open(
    log: &mut Disk,
    pages: &mut PageDisk,
    memory_bytes: u64,
    planted: Option<Bug>,
    bounds: Bounds,
) -> Result<(Engine, Lsn), Fault> {
    let config = PageFileConfig {
        shard: LOG.shard,
        salt: LOG.salt,
        segment_bytes: LOG.segment_bytes,
        grow_bytes: 1 << 18,
        bounds,
        planted,
    };
    let mut opening = Opening::new(config, pages.len);
    loop {
        match opening.step() {
            OpenStep::Read { offset, len } => {
                // A driver that reads ahead begins with what is asked for, and is not told of more than it may have under way.
                assert_eq!(opening.ahead().next(), Some(offset));
                assert!(opening.ahead().count() <= OPEN_READS_MAX);
                opening.supply(&pages.read(offset, len as usize));
            }
            OpenStep::Done => break,
            OpenStep::Refuse(fault) => return Err(fault),
        }
    }
    let start = opening.log_start();
    let (file, superblock) = opening.finish();
    let mut replay = Replay::over(LOG, memory_bytes, Box::new(|_| {}), file, &superblock);
    let mut recovery = Recovery::new(LOG, log.list(), start);
    loop {
        match recovery.step() {
            Step::Read { segment, offset, len } => match log.read(segment, offset, len) {
                Ok(bytes) => recovery.supply(&bytes),
                Err(errno) => recovery.failed(errno),
            },
            Step::Record { lsn, record, buffer } => apply(&mut replay, log, pages, lsn, &record, buffer)?,
            Step::Sync { segment } => {
                log.sync(segment).unwrap();
                recovery.synced();
            }
            Step::Done(resume) => {
                let engine = replay.finish(LOG, &resume, &Decisions::none());
                return Ok((engine, resume.end));
            }
            Step::Refuse(fault) => return Err(fault),
        }
    }
}

fn apply(
    replay: &mut Replay,
    log: &mut Disk,
    pages: &mut PageDisk,
    lsn: Lsn,
    record: &Record<'_>,
    buffer: Option<&Arc<Vec<u8>>>,
) -> Result<(), Fault> {
    let damaged = |_| Fault::PageFile { shard: LOG.shard, offset: 0, what: "damage met while replaying" };
    loop {
        match replay.feed(lsn, record, buffer)? {
            Applied::Done => return Ok(()),
            Applied::Missing(missing) => {
                replay.engine_mut().fetch(missing);
            }
            Applied::Crowded => replay.engine_mut().work(0, 0),
        }
        serve(replay.engine_mut(), log, pages).map_err(damaged)?;
    }
}
