//! The log's files of one shard, on a disk in memory: only what was synced survives a power cut; the rest is lost, kept or torn
//! by sectors of 512 bytes. Segments that the log does not need any more become the next ones, with what is in them.

use super::cache::{Cache, SECTOR};
use super::faults::{Fate, Planted};
use super::sparse::Sparse;
use super::verdict::Verdict;
use cairn_storage::log::flush::{Flush, HEADER_BYTES};
use cairn_storage::log::{LogConfig, LogWriter, SegmentFile};
use cairn_storage::op::{DiskDone, DiskOp};
use cairn_storage::units::{Lsn, OpId, SegmentId};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::rc::Rc;

pub const ENOENT: i32 = 2;
pub const EIO: i32 = 5;
pub const ENOSPC: i32 = 28;

/// The disk of one shard.
#[derive(Clone, Default)]
pub struct Disk {
    files: BTreeMap<u64, File>,
    flying: Vec<Flying>,
    /// After a failed write the device says yes to everything and keeps nothing.
    is_broken: bool,
    /// Flushes that were completed, in the order of completion.
    completed: Vec<Flush>,
    /// Files that were removed, as long as their directory was not synced.
    removed: BTreeMap<u64, File>,
    /// What is in the segments that wait to be used again.
    spares: Vec<Sparse>,
    cache: Cache,
}

/// Spare segments that are kept.
const SPARES_MAX: usize = 3;

#[derive(Clone, Default)]
struct File {
    bytes: Sparse,
    /// The length that a power cut leaves.
    stable_len: usize,
    /// Its directory entry was synced.
    is_entered: bool,
}

/// An operation that was not answered yet, and the bytes that it was given.
#[derive(Clone)]
struct Flying {
    op: DiskOp,
    data: Rc<[u8]>,
    fate: Fate,
}

/// What goes wrong in something that was stable, and that a later flush proves to have been.
#[derive(Clone, Copy, Debug)]
pub struct Harm {
    pub segment: SegmentId,
    /// Where the flush begins that it is in.
    pub offset: u64,
    pub kind: HarmKind,
}

/// What has become of a stable flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HarmKind {
    /// A bit of the flush.
    Bit { byte: u64, mask: u8 },
    /// A bit behind its payload, which no checksum covers: recovery must not care.
    Padding { byte: u64, mask: u8 },
    /// The flush was never written.
    Zeros { bytes: u64 },
    /// A write went astray and overwrote it.
    Astray { from: u64, bytes: u64 },
    /// The segment's file is gone.
    Lost,
    /// The file ends early.
    Cut { bytes: u64 },
}

impl Harm {
    /// What it is, as figures name it.
    pub fn name(&self) -> &'static str {
        match self.kind {
            HarmKind::Bit { .. } => "a flipped bit",
            HarmKind::Padding { .. } => "a flipped bit behind the payload",
            HarmKind::Zeros { .. } => "a lost write",
            HarmKind::Astray { .. } => "another write in its place",
            HarmKind::Lost => "a lost segment",
            HarmKind::Cut { .. } => "a segment that ends early",
        }
    }

    pub fn is_flip(&self) -> bool {
        matches!(self.kind, HarmKind::Bit { .. })
    }
}

/// The files as they were before one was harmed.
pub struct Sound(BTreeMap<u64, File>, Cache);

fn id(op: DiskOp) -> OpId {
    match op {
        DiskOp::Write { op, .. } | DiskOp::Prepare { op, .. } => op,
    }
}

impl Disk {
    /// Takes an operation. `log` has the bytes to write.
    pub fn begin(&mut self, op: DiskOp, log: &LogWriter, fate: Fate) -> OpId {
        let data = match op {
            DiskOp::Write { buffer, len, .. } => log.buffer(buffer)[..len as usize].into(),
            DiskOp::Prepare { .. } => Rc::default(),
        };
        self.flying.push(Flying { op, data, fate });
        id(op)
    }

    pub fn is_writing(&self) -> bool {
        self.flying.iter().any(|flying| matches!(flying.op, DiskOp::Write { .. }))
    }

    /// Ends the operation. Answers how, and whether a write has done all that was asked. If the log is known to reuse
    /// buffers too early (`planted`), that is not looked at.
    pub fn end(
        &mut self,
        op: OpId,
        config: &LogConfig,
        log: &LogWriter,
        planted: Option<Planted>,
        rng: &mut Rng,
    ) -> (DiskDone, bool) {
        let at = self.flying.iter().position(|flying| id(flying.op) == op).expect("an operation ends once");
        let Flying { op: what, data, fate } = self.flying.remove(at);
        match what {
            DiskOp::Prepare { segment, bytes, .. } if fate == Fate::NoSpace => {
                let len = rng.usize(..bytes as usize);
                self.create(segment, len, rng.usize(..=len));
                (DiskDone { op, result: Err(ENOSPC) }, true)
            }
            DiskOp::Prepare { .. } if fate != Fate::Done => (DiskDone { op, result: Err(EIO) }, true),
            DiskOp::Prepare { segment, bytes, .. } => {
                let spare = if rng.bool() { self.spares.pop() } else { None };
                self.create(segment, bytes as usize, bytes as usize);
                if let Some(old) = spare.filter(|old| old.len() as u64 == bytes) {
                    self.file(segment).bytes = old;
                }
                self.file(segment).is_entered |= planted != Some(Planted::DirectoryUnsynced);
                (DiskDone { op, result: Ok(0) }, true)
            }
            DiskOp::Write { segment, offset, buffer, len, .. } => {
                let is_same = planted.is_some() || log.buffer(buffer)[..len as usize] == data[..];
                assert!(is_same, "a buffer in flight does not change");
                let is_kept = !self.is_broken && fate == Fate::Done;
                let result = self.write(segment, offset as usize, &data, fate, rng);
                if is_kept {
                    self.completed.extend(Flush::decode(config, &data).ok());
                }
                (DiskDone { op, result }, result == Ok(len))
            }
        }
    }

    /// Prepares a segment at once, or, unless it must succeed, a part of it. Whether it did.
    pub fn prepare(&mut self, segment: SegmentId, bytes: u64, must_succeed: bool, rng: &mut Rng) -> bool {
        let is_done = must_succeed || rng.u8(..8) > 0;
        let len = if is_done { bytes as usize } else { rng.usize(..bytes as usize) };
        self.create(segment, len, if is_done { len } else { rng.usize(..=len) });
        if is_done {
            self.sync_dir();
        }
        is_done
    }

    /// A file of zeros, in place of what is there; its entry is as stable as it was.
    fn create(&mut self, segment: SegmentId, len: usize, stable_len: usize) {
        let is_entered = self.files.get(&segment.0).is_some_and(|file| file.is_entered);
        self.cache.forget(segment.0);
        self.files.insert(segment.0, File { bytes: Sparse::zeros(len), stable_len, is_entered });
    }

    fn write(&mut self, segment: SegmentId, offset: usize, data: &[u8], fate: Fate, rng: &mut Rng) -> Result<u32, i32> {
        if self.is_broken {
            return Ok(data.len() as u32);
        }
        match fate {
            Fate::NoSpace => Err(ENOSPC),
            Fate::Done | Fate::Garbled => {
                self.write_stable(segment, offset, data);
                Ok(data.len() as u32)
            }
            Fate::Cached => {
                self.cache.write(segment.0, offset, data, |_| true);
                Ok(data.len() as u32)
            }
            Fate::Short => {
                let sectors = rng.usize(..data.len() / SECTOR);
                self.write_stable(segment, offset, &data[..sectors * SECTOR]);
                Ok((sectors * SECTOR) as u32)
            }
            Fate::Fails => {
                let odds = rng.u64(..4);
                self.cache.write(segment.0, offset, data, |_| rng.u64(..3) < odds);
                self.is_broken = true;
                Err(EIO)
            }
        }
    }

    /// The process dies. What was in flight reaches the device's cache in part.
    pub fn kill(&mut self, verdict: &mut Verdict<'_>) {
        for Flying { op, data, .. } in std::mem::take(&mut self.flying) {
            match op {
                DiskOp::Write { .. } if self.is_broken => {}
                DiskOp::Write { segment, offset, .. } => {
                    verdict.next(data.len() / SECTOR);
                    self.cache.write(segment.0, offset as usize, &data, |at| verdict.keeps(at));
                }
                DiskOp::Prepare { segment, bytes, .. } => self.prepare_in_part(segment, bytes as usize, verdict),
            }
        }
        self.is_broken = false;
    }

    fn prepare_in_part(&mut self, segment: SegmentId, bytes: usize, verdict: &mut Verdict<'_>) {
        if !verdict.keeps_next() {
            return;
        }
        if let Some(old) = self.spares.last().filter(|old| old.len() == bytes && verdict.rng.bool()).cloned() {
            self.create(segment, bytes, bytes);
            self.file(segment).bytes = old;
            return;
        }
        let len = [0, bytes / 3, bytes][verdict.extent(3)];
        let stable_len = verdict.extent(len + 1);
        self.create(segment, len, stable_len);
    }

    /// The power fails: of what is in the device's cache a part is kept, and of what was in flight.
    pub fn power_cut(&mut self, verdict: &mut Verdict<'_>) {
        let files = &mut self.files;
        self.cache.settle(verdict, |segment, at, sector| {
            if let Some(file) = files.get_mut(&segment) {
                file.bytes.write(at, sector);
            }
        });
        self.kill(verdict);
        // What it was decided to keep of this is in the cache.
        self.cache.flush(|segment, at, sector| {
            self.files.get_mut(&segment).expect("it is in flight").bytes.write(at, sector)
        });
        for file in self.files.values_mut() {
            let open = file.bytes.len().saturating_sub(file.stable_len);
            if open > 0 {
                verdict.next(1);
                file.bytes.truncate(file.stable_len + verdict.extent(open + 1));
                file.stable_len = file.bytes.len();
            }
        }
        // Entries that were not synced are there or not.
        self.files.retain(|_, file| file.is_entered || verdict.keeps_next());
        for (segment, file) in std::mem::take(&mut self.removed) {
            if !verdict.keeps_next() {
                self.files.entry(segment).or_insert(file);
            }
        }
        self.sync_dir();
    }

    /// Makes the directory's entries stable.
    pub fn sync_dir(&mut self) {
        self.files.values_mut().for_each(|file| file.is_entered = true);
        self.removed.clear();
    }

    pub fn remove(&mut self, segment: SegmentId) {
        let file = self.files.remove(&segment.0).expect("only what is there is removed");
        self.cache.forget(segment.0);
        if file.is_entered {
            self.removed.insert(segment.0, file);
        }
    }

    /// Takes the segments below one out of the log, the lowest first, to be used again; `verdict`: as far as it came.
    pub fn forget(&mut self, before: SegmentId, verdict: Option<&mut Verdict<'_>>) {
        let mut old: Vec<u64> = self.files.range(..before.0).map(|(segment, _)| *segment).collect();
        if let Some(verdict) = verdict {
            verdict.next(1);
            old.truncate(verdict.extent(old.len() + 1));
        }
        for segment in old {
            if self.spares.len() < SPARES_MAX {
                self.spares.push(self.files[&segment].bytes.clone());
            }
            self.remove(SegmentId(segment));
        }
    }

    /// Writes to stable storage.
    fn write_stable(&mut self, segment: SegmentId, offset: usize, data: &[u8]) {
        self.cache.overwritten(segment.0, offset, data.len());
        let file = self.file(segment);
        file.bytes.write(offset, data);
        file.stable_len = file.bytes.len();
    }

    pub fn list(&self) -> Vec<SegmentFile> {
        let files = self.files.iter();
        files.map(|(id, file)| SegmentFile { segment: SegmentId(*id), bytes: file.bytes.len() as u64 }).collect()
    }

    /// Reads into `into`.
    pub fn read(&self, segment: SegmentId, offset: u64, into: &mut [u8]) {
        self.files[&segment.0].bytes.read(offset as usize, into);
        self.cache.read(segment.0, offset as usize, into);
    }

    pub fn sync(&mut self, segment: SegmentId) {
        let file = self.files.get_mut(&segment.0).expect("only what is there is synced");
        self.cache.take(segment.0, |at, sector| file.bytes.write(at, sector));
        file.stable_len = file.bytes.len();
    }

    /// The log was opened and ends at `end`: of the completed flushes, those before it are its own.
    pub fn opened(&mut self, end: Lsn) {
        self.completed.retain(|flush| flush.end() <= end);
    }

    /// Chooses what goes wrong in the log from `start` on.
    pub fn choose_harm(&self, config: &LogConfig, start: Lsn, rng: &mut Rng) -> Option<Harm> {
        let place = |lsn: Lsn| (lsn.0 / config.segment_bytes, lsn.0 % config.segment_bytes);
        let proved = self.completed.iter().map(|flush| flush.durable).max()?;
        let flushes: Vec<&Flush> =
            self.completed.iter().filter(|flush| flush.lsn >= start && flush.end() <= proved).collect();
        let flush = rng.choice(&flushes)?;
        let (segment, offset) = place(flush.lsn);
        let bytes = flush.end().0 - flush.lsn.0;
        let used = HEADER_BYTES as u64 + u64::from(flush.payload);
        let mask = 1 << rng.u8(..8);
        let kind = match rng.u32(..8) {
            0 if used < bytes => HarmKind::Padding { byte: rng.u64(used..bytes), mask },
            1 => HarmKind::Zeros { bytes },
            2 => {
                let others: Vec<&&Flush> = flushes.iter().filter(|other| place(other.lsn).0 == segment).collect();
                let other = rng.choice(&others).filter(|other| other.lsn != flush.lsn)?;
                HarmKind::Astray { from: place(other.lsn).1, bytes: bytes.min(other.end().0 - other.lsn.0) }
            }
            // What is behind the segment must prove that it was there.
            3 | 4 if self.completed.iter().any(|last| last.durable >= flush.end() && place(last.lsn).0 > segment) => {
                HarmKind::Lost
            }
            5 if offset + bytes < config.segment_bytes => {
                HarmKind::Cut { bytes: rng.u64(offset + bytes..config.segment_bytes) }
            }
            _ => HarmKind::Bit { byte: rng.u64(..used), mask },
        };
        Some(Harm { segment: SegmentId(segment), offset, kind })
    }

    /// Does harm. Answers what mends it.
    pub fn harm(&mut self, harm: Harm) -> Sound {
        let sound = Sound(self.files.clone(), self.cache.clone());
        let file = self.files.get_mut(&harm.segment.0).expect("what is harmed is there");
        let at = harm.offset as usize;
        match harm.kind {
            HarmKind::Bit { byte, mask } | HarmKind::Padding { byte, mask } => {
                file.bytes.flip(at + byte as usize, mask)
            }
            HarmKind::Zeros { bytes } => file.bytes.write(at, &vec![0; bytes as usize]),
            HarmKind::Astray { from, bytes } => file.bytes.copy_within(from as usize, bytes as usize, at),
            HarmKind::Lost => drop(self.files.remove(&harm.segment.0)),
            HarmKind::Cut { bytes } => {
                file.bytes.truncate(bytes as usize);
                self.cache.overwritten(harm.segment.0, bytes as usize, usize::MAX / 2);
            }
        }
        sound
    }

    /// Flips a bit, or flips it back.
    pub fn flip(&mut self, harm: Harm) {
        let HarmKind::Bit { byte, mask } = harm.kind else { panic!("it is no bit") };
        self.file(harm.segment).bytes.flip((harm.offset + byte) as usize, mask);
    }

    pub fn has(&self, segment: SegmentId) -> bool {
        self.files.contains_key(&segment.0)
    }

    /// Reads while the log is written: the file may be gone, or not be prepared.
    pub fn read_back(&self, segment: SegmentId, offset: u64, len: usize) -> Result<Vec<u8>, i32> {
        let file = self.files.get(&segment.0).ok_or(ENOENT)?;
        if offset as usize + len > file.bytes.len() {
            return Err(EIO);
        }
        let mut bytes = vec![0; len];
        self.read(segment, offset, &mut bytes);
        Ok(bytes)
    }

    /// Puts everything back.
    pub fn mend(&mut self, Sound(files, cache): Sound) {
        (self.files, self.cache) = (files, cache);
        self.removed.clear();
    }

    fn file(&mut self, segment: SegmentId) -> &mut File {
        self.files.get_mut(&segment.0).expect("only prepared segments are used")
    }
}
