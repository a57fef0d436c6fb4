//! A page file in memory: only what was synced survives a power cut; the rest is lost, kept or torn by sectors of 512 bytes.

use super::cache::{Cache, SECTOR};
use super::disk::{EIO, ENOSPC};
use super::faults::Fate;
use super::sparse::Sparse;
use super::verdict::Verdict;
use cairn_storage::engine::Engine;
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::op::{DiskDone, PageOp};
use cairn_storage::units::{OpId, SegmentId};
use fastrand::Rng;
use std::rc::Rc;

/// The cache knows one file.
const FILE: u64 = 0;

/// The page file of one shard.
#[derive(Clone, Default)]
pub struct PageDisk {
    /// What a power cut leaves; zeros behind its end, up to the file's.
    stable: Sparse,
    cache: Cache,
    len: u64,
    /// The length that a power cut leaves at least.
    stable_len: u64,
    flying: Vec<Flying>,
    /// After a failed write or sync the device says yes to everything and keeps nothing.
    is_broken: bool,
}

/// An operation that was not answered yet, and the bytes that it was given.
#[derive(Clone)]
struct Flying {
    op: PageOp,
    data: Rc<[u8]>,
    /// Of a sync: what was in the cache when it began, and the file's length then.
    cached: Vec<usize>,
    len: u64,
    fate: Fate,
}

/// What an operation came to.
pub enum Ended {
    Done(DiskDone),
    Read(OpId, Result<Vec<u8>, i32>),
    /// The log's segments below this one go.
    Forget(DiskDone, SegmentId),
}

impl PageDisk {
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The same file without what is in flight.
    pub fn at_rest(&self) -> PageDisk {
        PageDisk { flying: Vec::new(), ..self.clone() }
    }

    /// Takes an operation. `engine` has the bytes to write.
    pub fn begin(&mut self, op: PageOp, engine: &Engine, fate: Fate) {
        let data = match op {
            PageOp::Write { output, len, .. } | PageOp::WriteStable { output, len, .. } => {
                let file = engine.page_file().expect("who asks for its operations has a page file");
                file.output(output)[..len as usize].into()
            }
            _ => Rc::default(),
        };
        if let Some((from, to)) = range(op) {
            let meets = |flying: &Flying| {
                let is_write = !matches!(flying.op, PageOp::Read { .. }) || !matches!(op, PageOp::Read { .. });
                is_write && range(flying.op).is_some_and(|(first, end)| from < end && first < to)
            };
            assert!(!self.flying.iter().any(meets), "{op:?} meets another operation on the same bytes");
        }
        let cached = if matches!(op, PageOp::Sync { .. }) { self.cache.places(FILE) } else { Vec::new() };
        self.flying.push(Flying { op, data, cached, len: self.len, fate });
    }

    /// Ends the operation. Answers how, and whether all that was asked for was done.
    pub fn end(&mut self, op: OpId, engine: &Engine, rng: &mut Rng) -> (Ended, bool) {
        let at = self.flying.iter().position(|flying| flying.op.op() == op).expect("an operation ends once");
        let Flying { op: what, data, cached, len, fate } = self.flying.remove(at);
        if let PageOp::Write { output, .. } | PageOp::WriteStable { output, .. } = what {
            let file = engine.page_file().expect("it asked for operations");
            assert!(file.output(output)[..data.len()] == data[..], "a buffer in flight does not change");
        }
        let result = match what {
            PageOp::Read { op, offset, len } if fate == Fate::Garbled => {
                let bytes = self.read(offset, len as usize, Fate::Done).map(|mut bytes| {
                    bytes[rng.usize(..len as usize)] ^= 1 << rng.u8(..8);
                    bytes
                });
                return (Ended::Read(op, bytes), false);
            }
            PageOp::Read { op, offset, len } => return (Ended::Read(op, self.read(offset, len as usize, fate)), true),
            PageOp::Forget { op, before } => return (Ended::Forget(DiskDone { op, result: Ok(0) }, before), true),
            _ if self.is_broken => Ok(data.len() as u32),
            _ if fate == Fate::NoSpace => Err(ENOSPC),
            PageOp::Grow { .. } if fate != Fate::Done => Err(EIO),
            PageOp::Grow { bytes, .. } => {
                self.len = self.len.max(bytes);
                Ok(0)
            }
            PageOp::Sync { .. } if fate == Fate::Done => {
                cached.into_iter().for_each(|at| self.stabilise(at));
                self.stable_len = self.stable_len.max(len);
                Ok(0)
            }
            PageOp::Sync { .. } => {
                // What could not be written is forgotten.
                self.cache
                    .places(FILE)
                    .into_iter()
                    .filter(|_| rng.bool())
                    .for_each(|at| drop(self.cache.take_one(FILE, at)));
                Err(EIO)
            }
            PageOp::Write { offset, .. } | PageOp::WriteStable { offset, .. } => {
                self.write(offset as usize, &data, matches!(what, PageOp::WriteStable { .. }), fate, rng)
            }
        };
        let is_good = result == Ok(data.len() as u32);
        self.is_broken |= !is_good && result != Err(ENOSPC) && !matches!(what, PageOp::Grow { .. });
        (Ended::Done(DiskDone { op, result }), is_good)
    }

    fn write(&mut self, offset: usize, data: &[u8], is_stable: bool, fate: Fate, rng: &mut Rng) -> Result<u32, i32> {
        assert!(offset as u64 + data.len() as u64 <= self.len, "nothing is written beyond the file's end");
        match fate {
            Fate::Fails => {
                let odds = rng.u64(..4);
                self.cache.write(FILE, offset, data, |_| rng.u64(..3) < odds);
                Err(EIO)
            }
            Fate::Short => {
                let bytes = rng.usize(..data.len() / SECTOR) * SECTOR;
                self.cache.write(FILE, offset, &data[..bytes], |_| true);
                Ok(bytes as u32)
            }
            _ => {
                self.cache.write(FILE, offset, data, |_| true);
                if is_stable {
                    (offset..offset + data.len()).step_by(SECTOR).for_each(|at| self.stabilise(at));
                }
                Ok(data.len() as u32)
            }
        }
    }

    fn stabilise(&mut self, at: usize) {
        if let Some(sector) = self.cache.take_one(FILE, at) {
            write_stable(&mut self.stable, at, &sector[..]);
        }
    }

    /// What stands there, or the errno if it cannot be read.
    pub fn read(&self, offset: u64, len: usize, fate: Fate) -> Result<Vec<u8>, i32> {
        if fate != Fate::Done || offset + len as u64 > self.len {
            return Err(EIO);
        }
        let mut bytes = vec![0; len];
        self.stable.read(offset as usize, &mut bytes);
        self.cache.read(FILE, offset as usize, &mut bytes);
        Ok(bytes)
    }

    /// The process dies. What was in flight reaches the device's cache in part. Answers how far the removal of segments
    /// may have come.
    pub fn kill(&mut self, verdict: &mut Verdict<'_>) -> Option<SegmentId> {
        let mut forgotten = None;
        for Flying { op, data, .. } in std::mem::take(&mut self.flying) {
            match op {
                PageOp::Write { offset, .. } | PageOp::WriteStable { offset, .. } if !self.is_broken => {
                    verdict.next(data.len() / SECTOR);
                    self.cache.write(FILE, offset as usize, &data, |at| verdict.keeps(at));
                }
                PageOp::Grow { bytes, .. } if verdict.keeps_next() => self.len = self.len.max(bytes),
                PageOp::Forget { before, .. } => forgotten = Some(before),
                _ => {}
            }
        }
        self.is_broken = false;
        forgotten
    }

    /// The power fails: of what is in the device's cache a part is kept, and of what was in flight.
    pub fn power_cut(&mut self, verdict: &mut Verdict<'_>) -> Option<SegmentId> {
        self.cache.settle(verdict, |_, at, sector| write_stable(&mut self.stable, at, sector));
        let forgotten = self.kill(verdict);
        self.cache.flush(|_, at, sector| write_stable(&mut self.stable, at, sector));
        if self.len > self.stable_len && !verdict.keeps_next() {
            self.len = self.stable_len;
            self.stable.truncate(self.len as usize);
        }
        forgotten
    }

    /// A bit of the page at `offset` goes wrong, if it was synced. Answers the page as it was, and as it is.
    pub fn rot(&mut self, offset: u64, rng: &mut Rng) -> Option<(Vec<u8>, Vec<u8>)> {
        let at = offset as usize + rng.usize(..PAGE_BYTES);
        let sound = self.read(offset, PAGE_BYTES, Fate::Done).ok().filter(|_| at < self.stable.len())?;
        let mask = 1 << rng.u8(..8);
        self.stable.flip(at, mask);
        let rotten = self.read(offset, PAGE_BYTES, Fate::Done).ok()?;
        if sound == rotten {
            self.stable.flip(at, mask);
            return None;
        }
        Some((sound, rotten))
    }

    /// Puts a page right again, unless something else stands there by now.
    pub fn mend(&mut self, offset: u64, sound: &[u8], rotten: &[u8]) {
        if self.read(offset, PAGE_BYTES, Fate::Done).is_ok_and(|now| now == rotten) {
            self.stable.write(offset as usize, sound);
        }
    }

    /// A bit goes wrong in what was synced, if anything was. Answers where.
    pub fn flip(&mut self, rng: &mut Rng) -> Option<usize> {
        let at = rng.usize(..self.stable.len().max(1));
        (at < self.stable.len()).then(|| {
            self.stable.flip(at, 1 << rng.u8(..8));
            at
        })
    }
}

fn write_stable(stable: &mut Sparse, at: usize, sector: &[u8]) {
    if stable.len() < at + sector.len() {
        stable.set_len(at + sector.len());
    }
    stable.write(at, sector);
}

/// The bytes that an operation reads or writes.
fn range(op: PageOp) -> Option<(u64, u64)> {
    match op {
        PageOp::Write { offset, len, .. }
        | PageOp::WriteStable { offset, len, .. }
        | PageOp::Read { offset, len, .. } => Some((offset, offset + u64::from(len))),
        PageOp::Sync { .. } | PageOp::Grow { .. } | PageOp::Forget { .. } => None,
    }
}
