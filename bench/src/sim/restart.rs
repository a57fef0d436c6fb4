//! The way back after a crash: recovery as the server drives it, interrupted by further crashes, over honest disks and over
//! damaged ones. What it brings back is judged before anybody sees it.

use super::checks::{Checked, RECOVERY, STRUCTURE};
use super::clock::{MS, US, clock_ns};
use super::disk::{Disk, EIO, HarmKind};
use super::faults::{Fate, Planted};
use super::pages::{Ended, PageDisk};
use super::world::{HASH_SEED, World};
use crate::model::{DATABASES, Row, Rows};
use cairn_core::machine::{Identity, Machine};
use cairn_core::settings::{Settings, Source};
use cairn_storage::engine::{Applied, Engine, Replay};
use cairn_storage::error::Fault;
use cairn_storage::log::{Record, Recovery, Step};
use cairn_storage::op::{DiskDone, PageOp};
use cairn_storage::pagefile::{OpenStep, Opening, PageFileConfig};
use cairn_storage::pool::Fetched;
use cairn_storage::units::{Lsn, SegmentId, ShardId};
use fastrand::Rng;
use std::ops::ControlFlow;
use std::rc::Rc;

/// Memory in which all rows of a run find room.
pub const MEMORY_BYTES: u64 = 256 * 1024 * 1024;

/// How an opening ended.
enum Opened {
    Engine(Box<Engine>, Lsn),
    /// A crash came first.
    Cut,
    Refused(Fault),
}

/// Why an opening did not come to its end.
enum Halt {
    Cut,
    Refused(Fault),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Halt {
        Halt::Refused(fault)
    }
}

/// What goes wrong while a log is opened.
#[derive(Default)]
struct Trouble {
    /// Steps until the crash.
    cut: Option<usize>,
    /// Steps until a read or a sync fails.
    fails: Option<usize>,
}

impl World {
    /// Opens all shards, however many attempts it takes.
    pub(super) fn restart(&mut self) -> Checked {
        self.try_damage()?;
        self.try_page_damage()?;
        for attempt in 0.. {
            let has_trouble = attempt < 4 && !self.faults.is_over;
            let cut = (has_trouble && self.rng.u8(..3) == 0).then(|| self.rng.usize(..30));
            // The first ones are those of the page file's superblocks and maps.
            let fails = (has_trouble && self.faults.recovery_read_fails && self.rng.bool())
                .then(|| if self.rng.bool() { self.rng.usize(1..6) } else { self.rng.usize(1..20) });
            let mut trouble = Trouble { cut, fails };
            if let Some(engines) = self.open_all(&mut trouble)? {
                let machines = engines.into_iter().zip(0..).map(|(engine, shard)| self.machine(shard, engine));
                let machines = machines.collect();
                self.begin(machines);
                return Ok(());
            }
            let is_power_cut = self.rng.bool();
            self.note(format_args!("recovery ends in a {}", if is_power_cut { "power cut" } else { "kill" }));
            self.figures.recoveries_cut += 1;
            self.strike(is_power_cut);
        }
        unreachable!("the fifth attempt meets no trouble");
    }

    /// None if it came to nothing.
    fn open_all(&mut self, trouble: &mut Trouble) -> Checked<Option<Vec<Engine>>> {
        self.epoch += 1;
        let mut engines = Vec::new();
        for shard in 0..self.disks.len() {
            let sound = self.inspect(shard)?;
            match self.open(shard, trouble, self.faults.memory_bytes)? {
                Opened::Engine(mut engine, end) => {
                    self.disks[shard].opened(end);
                    let survivors = self.survivors(shard, &mut engine)?;
                    let Some(survivors) = survivors else {
                        return Err(format!("{STRUCTURE}: shard {shard} cannot read what it has written"));
                    };
                    if sound.is_some_and(|sound| sound != survivors) {
                        return Err(format!("{STRUCTURE}: shard {shard} comes back in two ways"));
                    }
                    let kept = self.checks.recover(shard, survivors)?;
                    self.note(format_args!("shard {shard} is back, ends at {end}, {kept} steps more than told"));
                    engines.push(*engine);
                }
                Opened::Cut => return Ok(None),
                Opened::Refused(fault)
                    if trouble.fails == Some(0) && matches!(fault, Fault::Read { .. } | Fault::PageFileRead { .. }) =>
                {
                    self.note(format_args!("refused: {fault}"));
                    return Ok(None);
                }
                Opened::Refused(fault) => return Err(format!("{RECOVERY}: after an honest crash: {fault}")),
            }
        }
        Ok(Some(engines))
    }

    /// With a page file: opens a copy of the shard in memory enough for everything, and checks all its structures. Answers
    /// its rows.
    fn inspect(&mut self, shard: usize) -> Checked<Option<Rows>> {
        if !self.has_pages {
            return Ok(None);
        }
        let before = (self.disks[shard].clone(), self.pages[shard].clone());
        let opened = self.open(shard, &mut Trouble::default(), MEMORY_BYTES);
        let rows = match opened? {
            Opened::Engine(mut engine, _) => {
                if !self.bring_in(shard, &mut engine)? {
                    return Err(format!("{STRUCTURE}: shard {shard} has damaged pages after an honest crash"));
                }
                engine.check().map_err(|what| format!("{STRUCTURE}: shard {shard}: {what}"))?;
                self.survivors(shard, &mut engine)?
            }
            Opened::Refused(fault) => return Err(format!("{RECOVERY}: after an honest crash: {fault}")),
            Opened::Cut => unreachable!("nothing goes wrong"),
        };
        (self.disks[shard], self.pages[shard]) = before;
        Ok(rows)
    }

    /// Has all pages brought in. Whether all of them are sound.
    fn bring_in(&mut self, shard: usize, engine: &mut Engine) -> Checked<bool> {
        loop {
            // Pages of trees that are gone may be absent too.
            while let Err(missing) = engine.free_some(usize::MAX) {
                engine.fetch(missing);
                if !self.serve(shard, engine)? {
                    return Ok(false);
                }
            }
            let absent = engine.absent();
            if absent.is_empty() {
                return Ok(true);
            }
            for missing in absent {
                engine.fetch(missing);
            }
            if !self.serve(shard, engine)? {
                return Ok(false);
            }
        }
    }

    fn serve(&mut self, shard: usize, engine: &mut Engine) -> Checked<bool> {
        let mut files = Files {
            shard: ShardId(shard as u16),
            disk: &mut self.disks[shard],
            pages: &mut self.pages[shard],
            rng: &mut self.rng,
        };
        match files.serve(engine, &mut Trouble::default()) {
            Ok(()) => Ok(true),
            Err(Halt::Refused(Fault::PageFile { .. })) => Ok(false),
            Err(Halt::Refused(fault)) => Err(format!("{RECOVERY}: {fault}")),
            Err(Halt::Cut) => unreachable!("nothing goes wrong"),
        }
    }

    /// All rows that an engine holds, those past their time included. `None`: not all of them can be read.
    fn survivors(&mut self, shard: usize, engine: &mut Engine) -> Checked<Option<Rows>> {
        if !self.has_pages {
            engine.check().map_err(|what| format!("{STRUCTURE}: {what}"))?;
        }
        let mut rows = Rows::default();
        for db in 0..DATABASES {
            let mut from = 0;
            loop {
                let start = from;
                let visit = |head, key: &[u8], found: cairn_storage::engine::Found<'_>| {
                    from = head;
                    rows.put(db, key.into(), Row { value: Rc::new(found.value.to_vec()), expire_ms: found.expire_ms });
                    ControlFlow::Continue(())
                };
                let Err(missing) = engine.scan(db, start, visit) else { break };
                engine.fetch(missing);
                // So that there is room for what comes.
                engine.work(0, 0);
                if !self.serve(shard, engine)? {
                    return Ok(None);
                }
            }
        }
        Ok(Some(rows))
    }

    /// Recovers one shard, as the server does.
    fn open(&mut self, shard: usize, trouble: &mut Trouble, memory_bytes: u64) -> Checked<Opened> {
        let config = self.config(shard);
        let page_config = self.page_config(shard);
        let must_prepare = self.faults.is_over;
        let has_pages = self.has_pages;
        let recovers_unsynced = self.planted == Some(Planted::RecoverWithoutSync);
        let mut files = Files {
            shard: ShardId(shard as u16),
            disk: &mut self.disks[shard],
            pages: &mut self.pages[shard],
            rng: &mut self.rng,
        };
        files.disk.sync_dir();
        let (mut replay, start) = if has_pages {
            match files.find(page_config, trouble) {
                Ok(opening) => {
                    let start = opening.log_start();
                    let (file, superblock) = opening.finish();
                    (Replay::over(config, memory_bytes, Box::new(|_| {}), file, &superblock), start)
                }
                Err(halt) => return Ok(halt.into()),
            }
        } else {
            (Replay::new(config, memory_bytes, Box::new(|_| {})), Lsn(0))
        };
        let mut recovery = Recovery::new(config, files.disk.list(), start);
        let mut buffer = Vec::new();
        let mut resume = loop {
            let step = recovery.step();
            let is_disk = matches!(step, Step::Read { .. } | Step::Sync { .. });
            if is_disk && count_down(&mut trouble.cut) {
                return Ok(Opened::Cut);
            }
            let fails = is_disk && count_down(&mut trouble.fails);
            match step {
                Step::Read { .. } | Step::Sync { .. } if fails => recovery.failed(EIO),
                Step::Read { segment, offset, len } => {
                    buffer.resize(len, 0);
                    files.disk.read(segment, offset, &mut buffer);
                    self.clock.pass(50 * US);
                    recovery.supply(&buffer);
                }
                Step::Record { lsn, record } => {
                    if lsn < start {
                        return Err(format!("{RECOVERY}: a record at {lsn} is replayed over a checkpoint at {start}"));
                    }
                    match files.apply(&mut replay, lsn, &record, trouble) {
                        Ok(()) => {}
                        Err(Halt::Refused(fault @ (Fault::Record { .. } | Fault::MemoryFull { .. }))) => {
                            return Err(format!("{RECOVERY}: {fault}"));
                        }
                        Err(halt) => return Ok(halt.into()),
                    }
                }
                Step::Sync { segment } => {
                    if !recovers_unsynced {
                        files.disk.sync(segment);
                    }
                    self.clock.pass(MS);
                    recovery.synced();
                }
                Step::Done(resume) => break resume,
                Step::Refuse(fault) => return Ok(Opened::Refused(fault)),
            }
        };
        // The first one stays, whatever is in it: a log without segments is one that was lost.
        for segment in resume.useless.iter().filter(|segment| segment.0 > 0) {
            files.disk.remove(*segment);
            if count_down(&mut trouble.cut) {
                return Ok(Opened::Cut);
            }
        }
        files.disk.sync_dir();
        let first = SegmentId(resume.end.0 / config.segment_bytes);
        if resume.prepared.is_empty() && files.disk.prepare(first, config.segment_bytes, must_prepare, files.rng) {
            resume.prepared.push(first);
        }
        if count_down(&mut trouble.cut) {
            return Ok(Opened::Cut);
        }
        Ok(Opened::Engine(Box::new(replay.finish(config, &resume)), resume.end))
    }

    fn page_config(&self, shard: usize) -> PageFileConfig {
        let config = self.config(shard);
        PageFileConfig {
            shard: config.shard,
            salt: config.salt,
            segment_bytes: config.segment_bytes,
            grow_bytes: 1 << 18,
            planted: self.planted.and_then(Planted::pages),
        }
    }

    /// From where on the log is read at the next start, if nothing is damaged.
    fn log_start(&mut self, shard: usize) -> Lsn {
        let page_config = self.page_config(shard);
        let mut files = Files {
            shard: ShardId(shard as u16),
            disk: &mut self.disks[shard],
            pages: &mut self.pages[shard],
            rng: &mut self.rng,
        };
        files.find(page_config, &mut Trouble::default()).map_or(Lsn(0), |opening| opening.log_start())
    }

    /// Now and then a bit goes wrong in what a page file has synced: nothing of it is ever served.
    fn try_page_damage(&mut self) -> Checked {
        let shard = self.rng.usize(..self.disks.len());
        if !self.has_pages || !self.faults.has_harm || self.faults.is_over {
            return Ok(());
        }
        let before = (self.disks[shard].clone(), self.pages[shard].clone());
        let Some(expected) = self.inspect(shard)? else { return Ok(()) };
        if let Some(at) = self.pages[shard].flip(&mut self.rng) {
            self.note(format_args!("shard {shard}: a bit of byte {at} of the page file flips"));
            match self.open(shard, &mut Trouble::default(), self.faults.memory_bytes)? {
                Opened::Engine(mut engine, _) => {
                    let found = self.survivors(shard, &mut engine)?;
                    self.figures.pages_reported += u64::from(found.is_none());
                    if found.is_some_and(|found| found != expected) {
                        return Err(format!("{RECOVERY}: shard {shard}: a flipped bit at {at} is served"));
                    }
                }
                Opened::Refused(Fault::PageFile { .. }) => self.figures.pages_reported += 1,
                Opened::Refused(fault) => {
                    return Err(format!(
                        "{RECOVERY}: shard {shard}: a bit at {at} was refused for something else: {fault}"
                    ));
                }
                Opened::Cut => unreachable!("nothing else goes wrong"),
            }
        }
        (self.disks[shard], self.pages[shard]) = before;
        Ok(())
    }

    /// Now and then something that was stable goes wrong. Recovery must refuse it by name; what no checksum covers must
    /// not matter to it. Then it is put right again.
    fn try_damage(&mut self) -> Checked {
        let shard = self.rng.usize(..self.disks.len());
        if !self.faults.has_harm || self.faults.is_over {
            return Ok(());
        }
        let config = self.config(shard);
        let start = if self.has_pages { self.log_start(shard) } else { Lsn(0) };
        let Some(harm) = self.disks[shard].choose_harm(&config, start, &mut self.rng) else { return Ok(()) };
        self.note(format_args!("shard {shard}: {harm:?}"));
        self.figures.harms += 1;
        let pages = self.pages[shard].clone();
        let sound = self.disks[shard].harm(harm);
        let outcome = self.open(shard, &mut Trouble::default(), self.faults.memory_bytes);
        self.disks[shard].mend(sound);
        self.pages[shard] = pages;
        let is_named = match (outcome?, harm.kind) {
            (Opened::Engine(..), HarmKind::Padding { .. }) => return Ok(()),
            (Opened::Engine(_, end), _) => {
                return Err(format!("{RECOVERY}: shard {shard}: {harm:?} was taken for the log's end ({end})"));
            }
            (Opened::Refused(Fault::SegmentAbsent { segment, .. }), HarmKind::Lost) => segment == harm.segment,
            (Opened::Refused(Fault::Corrupt { segment, offset, .. }), HarmKind::Cut { bytes }) => {
                (segment, offset) == (harm.segment, bytes)
            }
            (Opened::Refused(Fault::Corrupt { segment, offset, .. }), _) => {
                (segment, offset) == (harm.segment, harm.offset) && !matches!(harm.kind, HarmKind::Padding { .. })
            }
            (Opened::Refused(_), _) => false,
            (Opened::Cut, _) => unreachable!("nothing else goes wrong"),
        };
        if is_named {
            Ok(())
        } else {
            Err(format!("{RECOVERY}: shard {shard}: {harm:?} was refused for something else"))
        }
    }

    fn machine(&self, shard: usize, engine: Engine) -> Machine {
        let mut settings = Settings::default();
        // The slow log then has every command, in the order in which they ran: what the checks go by.
        for (name, value) in [("slowlog-log-slower-than", "0"), ("slowlog-max-len", "5000")] {
            settings.set(Source::File, name, &[value]).expect("these are known");
        }
        let identity = Identity {
            shard: ShardId(shard as u16),
            shards: self.disks.len() as u16,
            run_id: "0123456789".repeat(4),
            node_id: "abcdefghij".repeat(4),
            process_id: 1,
            tcp_port: 6379,
            executable: "/usr/bin/cairn".into(),
            config_file: String::new(),
            started: self.clock.now(),
            os: "Simulation".into(),
            seed: shard as u64 + 1,
            hash_seed: HASH_SEED,
            clock_ns,
        };
        let mut machine = Machine::new(identity, settings, engine, self.clock.now());
        machine.watch();
        machine
    }
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

/// What a shard is opened from.
struct Files<'a> {
    shard: ShardId,
    disk: &'a mut Disk,
    pages: &'a mut PageDisk,
    rng: &'a mut Rng,
}

impl Files<'_> {
    /// Finds the newest checkpoint.
    fn find(&mut self, config: PageFileConfig, trouble: &mut Trouble) -> Result<Opening, Halt> {
        let mut opening = Opening::new(config, self.pages.len());
        loop {
            match opening.step() {
                OpenStep::Read { offset, len } => {
                    let fate = fate(trouble)?;
                    match self.pages.read(offset, len as usize, fate) {
                        Ok(bytes) => opening.supply(&bytes),
                        Err(errno) => opening.failed(errno),
                    }
                }
                OpenStep::Done => return Ok(opening),
                OpenStep::Refuse(fault) => return Err(fault.into()),
            }
        }
    }

    /// Applies a record, whatever it needs of the page file.
    fn apply(&mut self, replay: &mut Replay, lsn: Lsn, record: &Record<'_>, trouble: &mut Trouble) -> Result<(), Halt> {
        loop {
            match replay.feed(lsn, record)? {
                Applied::Done => return Ok(()),
                Applied::Missing(missing) => drop(replay.engine_mut().fetch(missing)),
                // Room is made of what has been written.
                Applied::Crowded => replay.engine_mut().work(0, 0),
            }
            self.serve(replay.engine_mut(), trouble)?;
        }
    }

    /// Performs all that the engine wants of its page file.
    fn serve(&mut self, engine: &mut Engine, trouble: &mut Trouble) -> Result<(), Halt> {
        while let Some(op) = engine.poll_pages() {
            let fate = match op {
                PageOp::Read { .. } => fate(trouble)?,
                _ if count_down(&mut trouble.cut) => {
                    // As it was begun, a part of it may be done.
                    self.pages.begin(op, engine, Fate::Done);
                    return Err(Halt::Cut);
                }
                _ => Fate::Done,
            };
            self.pages.begin(op, engine, fate);
            let (ended, _) = self.pages.end(op.op(), engine, self.rng);
            match ended {
                Ended::Done(done) => engine.on_page_done(done),
                // The next checkpoint's turn removes them too.
                Ended::Forget(DiskDone { op, .. }, _) => engine.on_page_done(DiskDone { op, result: Ok(0) }),
                Ended::Read(op, bytes) => {
                    let shard = self.shard;
                    match engine.on_page_read(op, bytes.as_deref().map_err(|errno| *errno)) {
                        Fetched::Damaged { offset, what, .. } => {
                            return Err(Fault::PageFile { shard, offset, what }.into());
                        }
                        Fetched::Failed { offset, errno, .. } => {
                            return Err(Fault::PageFileRead { shard, offset, errno }.into());
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }
}

/// How a read of an opening ends.
fn fate(trouble: &mut Trouble) -> Result<Fate, Halt> {
    if count_down(&mut trouble.cut) {
        return Err(Halt::Cut);
    }
    Ok(if count_down(&mut trouble.fails) { Fate::Fails } else { Fate::Done })
}

impl From<Halt> for Opened {
    fn from(halt: Halt) -> Opened {
        match halt {
            Halt::Cut => Opened::Cut,
            Halt::Refused(fault) => Opened::Refused(fault),
        }
    }
}
