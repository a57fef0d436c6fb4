//! A disk in memory that keeps only what was synced: the rest is lost, kept or torn by sectors of 512 bytes.

use cairn_storage::log::flush::{Flush, HEADER_BYTES};
use cairn_storage::log::{LogConfig, LogWriter, SegmentFile};
use cairn_storage::op::{DiskDone, DiskOp};
use cairn_storage::units::{OpId, SegmentId};
use std::collections::BTreeMap;

pub const SECTOR: usize = 512;
pub const EIO: i32 = 5;
pub const ENOSPC: i32 = 28;

#[derive(Default)]
pub struct Disk {
    pub files: BTreeMap<u64, File>,
    pub flying: Vec<Flying>,
    /// After a failed write the device says yes to everything and keeps nothing.
    broken: bool,
    /// Flushes that were completed, in order of completion.
    pub stable: Vec<Flush>,
    /// A segment whose reads fail.
    pub unreadable: Option<u64>,
    /// Segments that the log does not need any more, as they were. The next ones are made of them.
    pub spares: Vec<File>,
}

#[derive(Default)]
pub struct File {
    pub bytes: Vec<u8>,
    /// Sectors that are in the device's cache only.
    cached: BTreeMap<usize, Vec<u8>>,
    /// The length that a power cut leaves.
    stable_len: usize,
}

/// An operation that has not been answered, and the bytes that it was given.
pub struct Flying {
    pub op: DiskOp,
    data: Vec<u8>,
}

/// A small generator of numbers, the same ones for the same seed.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

impl Flying {
    pub fn id(&self) -> OpId {
        match self.op {
            DiskOp::Write { op, .. } | DiskOp::Prepare { op, .. } => op,
        }
    }
}

impl Disk {
    /// Takes all operations that the writer has.
    pub fn take(&mut self, writer: &mut LogWriter) -> Vec<DiskOp> {
        let mut ops = Vec::new();
        while let Some(op) = writer.poll() {
            let data = match op {
                DiskOp::Write { buffer, len, .. } => {
                    let data = writer.buffer(buffer)[..len as usize].to_vec();
                    let payload = u32::from_le_bytes(data[12..16].try_into().unwrap()) as usize;
                    assert!(data[HEADER_BYTES + payload..].iter().all(|byte| *byte == 0), "padding is zeros");
                    data
                }
                DiskOp::Prepare { .. } => Vec::new(),
            };
            self.flying.push(Flying { op, data });
            ops.push(op);
        }
        ops
    }

    /// Performs the operation at `at` in full.
    pub fn complete(&mut self, config: &LogConfig, writer: &LogWriter, at: usize) -> DiskDone {
        let Flying { op, data } = self.flying.remove(at);
        match op {
            DiskOp::Prepare { op, segment, bytes } => {
                let file = self.spares.pop().unwrap_or_else(|| File::zeros(bytes as usize, bytes as usize));
                self.files.insert(segment.0, file);
                DiskDone { op, result: Ok(0) }
            }
            DiskOp::Write { op, segment, offset, buffer, len } => {
                assert_eq!(writer.buffer(buffer)[..len as usize], data, "a buffer in flight does not change");
                if !self.broken {
                    self.file(segment).write(offset as usize, &data);
                    self.stable.extend(Flush::decode(config, &data).ok());
                }
                DiskDone { op, result: Ok(len) }
            }
        }
    }

    /// Fails the operation at `at`; what it wrote may be there or not.
    pub fn fail(&mut self, at: usize, errno: i32, rng: &mut Rng) -> DiskDone {
        let flying = self.flying.remove(at);
        if matches!(flying.op, DiskOp::Write { .. }) {
            self.scatter(&flying, rng, 2);
            self.broken = true;
        }
        DiskDone { op: flying.id(), result: Err(errno) }
    }

    /// Cuts the write at `at` short: its first half arrives.
    pub fn cut_short(&mut self, at: usize) -> DiskDone {
        let Flying { op, data } = self.flying.remove(at);
        let DiskOp::Write { op, segment, offset, len, .. } = op else { panic!("not a write") };
        let half = len as usize / 2 / SECTOR * SECTOR;
        self.file(segment).write(offset as usize, &data[..half]);
        DiskDone { op, result: Ok(half as u32) }
    }

    /// The process dies. What was in flight reaches the device's cache in part.
    pub fn kill(&mut self, rng: &mut Rng) {
        for flying in core::mem::take(&mut self.flying) {
            match flying.op {
                DiskOp::Write { .. } => {
                    let odds = rng.below(4);
                    self.scatter(&flying, rng, odds);
                }
                // A name is the old one or the new one.
                DiskOp::Prepare { segment, .. } if !self.spares.is_empty() => {
                    if rng.below(2) > 0 {
                        let spare = self.spares.pop().expect("there is one");
                        self.files.insert(segment.0, spare);
                    }
                }
                DiskOp::Prepare { segment, bytes, .. } => {
                    let len = [0, bytes / 3, bytes][rng.below(3) as usize] as usize;
                    let stable_len = rng.below(len as u64 + 1) as usize;
                    if rng.below(4) > 0 {
                        self.files.insert(segment.0, File::zeros(len, stable_len));
                    }
                }
            }
        }
        self.broken = false;
    }

    /// The power fails. What is in the device's cache, or in flight, is kept in part.
    pub fn power_cut(&mut self, rng: &mut Rng) {
        self.kill(rng);
        for file in self.files.values_mut() {
            let odds = rng.below(4);
            for (at, sector) in core::mem::take(&mut file.cached) {
                if rng.below(3) < odds {
                    file.bytes[at..at + SECTOR].copy_from_slice(&sector);
                }
            }
            file.bytes.truncate(file.stable_len);
        }
    }

    /// Takes segments before this one out of the log: they will be used again.
    pub fn forget(&mut self, before: SegmentId) {
        let kept = self.files.split_off(&before.0);
        let old = std::mem::replace(&mut self.files, kept);
        self.spares
            .extend(old.into_values().filter(|file| file.stable_len == file.bytes.len() && !file.bytes.is_empty()));
    }

    /// Puts some sectors of a write in the cache: all of them with odds of 3, none with 0.
    fn scatter(&mut self, flying: &Flying, rng: &mut Rng, odds: u64) {
        let DiskOp::Write { segment, offset, .. } = flying.op else { panic!("not a write") };
        for (at, sector) in flying.data.chunks(SECTOR).enumerate() {
            if rng.below(3) < odds {
                self.file(segment).cached.insert(offset as usize + at * SECTOR, sector.to_vec());
            }
        }
    }

    /// Loses all that is in flight but the writes whose numbers are given, which arrive in full.
    pub fn crash_keeping(&mut self, keep: &[u64]) {
        for Flying { op, data } in core::mem::take(&mut self.flying) {
            if let DiskOp::Write { op, segment, offset, .. } = op
                && keep.contains(&op.0)
            {
                self.file(segment).write(offset as usize, &data);
            }
        }
    }

    pub fn list(&self) -> Vec<SegmentFile> {
        self.files
            .iter()
            .map(|(id, file)| SegmentFile { segment: SegmentId(*id), bytes: file.bytes.len() as u64 })
            .collect()
    }

    pub fn read(&self, segment: SegmentId, offset: u64, len: usize) -> Result<Vec<u8>, i32> {
        if self.unreadable == Some(segment.0) {
            return Err(EIO);
        }
        let file = &self.files[&segment.0];
        let range = offset as usize..offset as usize + len;
        let mut bytes = file.bytes[range.clone()].to_vec();
        for (at, sector) in file.cached.range(range) {
            bytes[at - offset as usize..][..SECTOR].copy_from_slice(sector);
        }
        Ok(bytes)
    }

    pub fn sync(&mut self, segment: SegmentId) -> Result<(), i32> {
        let file = self.file(segment);
        for (at, sector) in core::mem::take(&mut file.cached) {
            file.bytes[at..at + SECTOR].copy_from_slice(&sector);
        }
        file.stable_len = file.bytes.len();
        Ok(())
    }

    /// Whether a power cut leaves the file as it is.
    pub fn is_stable(&self, segment: SegmentId) -> bool {
        let file = &self.files[&segment.0];
        file.cached.is_empty() && file.stable_len == file.bytes.len()
    }

    pub fn flip(&mut self, segment: SegmentId, offset: u64, mask: u8) {
        self.file(segment).bytes[offset as usize] ^= mask;
    }

    fn file(&mut self, segment: SegmentId) -> &mut File {
        self.files.get_mut(&segment.0).expect("only prepared segments are used")
    }
}

impl File {
    fn zeros(len: usize, stable_len: usize) -> File {
        File { bytes: vec![0; len], stable_len, ..File::default() }
    }

    /// Writes to stable storage.
    fn write(&mut self, offset: usize, data: &[u8]) {
        self.bytes[offset..offset + data.len()].copy_from_slice(data);
        for at in (0..data.len()).step_by(SECTOR) {
            self.cached.remove(&(offset + at));
        }
        self.stable_len = self.bytes.len();
    }
}
