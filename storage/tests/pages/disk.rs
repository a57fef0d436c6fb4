//! A page file in memory that keeps only what was synced: the rest is lost, kept or torn by sectors of 512 bytes.

use crate::log_disk::{Rng, SECTOR};
use cairn_storage::engine::Engine;
use cairn_storage::op::{DiskDone, PageOp};
use cairn_storage::units::{OpId, SegmentId};
use std::collections::BTreeMap;

#[derive(Clone)]
pub struct PageDisk {
    /// What a power cut leaves; zeros behind its end, up to `len`.
    stable: Vec<u8>,
    /// Sectors that are in the device's cache only.
    cached: BTreeMap<usize, [u8; SECTOR]>,
    /// The file's length.
    pub len: u64,
    pub flying: Vec<Flying>,
    /// Operations of an opening that may still end before the power is cut.
    pub ops_left: usize,
}

impl Default for PageDisk {
    fn default() -> PageDisk {
        let (stable, cached, flying) = Default::default();
        PageDisk { stable, cached, len: 0, flying, ops_left: usize::MAX }
    }
}

/// An operation that has not been answered.
#[derive(Clone)]
pub struct Flying {
    pub op: PageOp,
    data: Vec<u8>,
    /// Of a sync: what was in the cache when it was issued.
    cached: Vec<usize>,
}

/// What an operation came to.
pub enum Done {
    Plain(DiskDone),
    Read(OpId, Result<Vec<u8>, i32>),
    /// The log's segments below this one are to go.
    Forget(DiskDone, SegmentId),
}

impl PageDisk {
    /// Takes all operations that the engine has.
    pub fn take(&mut self, engine: &mut Engine) {
        while let Some(op) = engine.poll_pages() {
            let data = match op {
                PageOp::Write { output, len, .. } | PageOp::WriteStable { output, len, .. } => {
                    engine.page_file().unwrap().output(output)[..len as usize].to_vec()
                }
                _ => Vec::new(),
            };
            if let PageOp::Write { offset, len, .. } | PageOp::WriteStable { offset, len, .. } = op {
                let meets = |flying: &Flying| {
                    matches!(flying.op, PageOp::Read { offset: from, len: bytes, .. }
                        if from < offset + u64::from(len) && offset < from + u64::from(bytes))
                };
                assert!(!self.flying.iter().any(meets), "{op:?} meets a read");
            }
            let cached = self.cached.keys().copied().collect();
            self.flying.push(Flying { op, data, cached });
        }
    }

    /// Performs the operation at `at` in full.
    pub fn complete(&mut self, at: usize) -> Done {
        let Flying { op, data, cached } = self.flying.remove(at);
        let mut result = data.len() as u32;
        match op {
            PageOp::Write { offset, .. } => self.write(offset, &data),
            PageOp::WriteStable { offset, .. } => {
                self.write(offset, &data);
                let sectors = (offset as usize..offset as usize + data.len()).step_by(SECTOR);
                sectors.for_each(|at| self.stabilise(at));
            }
            PageOp::Read { op, offset, len } => return Done::Read(op, Ok(self.read(offset, len as usize))),
            PageOp::Sync { .. } => cached.into_iter().for_each(|at| self.stabilise(at)),
            PageOp::Grow { bytes, .. } => self.len = self.len.max(bytes),
            PageOp::Forget { op, before } => return Done::Forget(DiskDone { op, result: Ok(0) }, before),
        }
        if !matches!(op, PageOp::Write { .. } | PageOp::WriteStable { .. }) {
            result = 0;
        }
        Done::Plain(DiskDone { op: op.op(), result: Ok(result) })
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        assert!(offset + data.len() as u64 <= self.len, "nothing is written beyond the file's end");
        for (at, sector) in data.chunks(SECTOR).enumerate() {
            self.cached.insert(offset as usize + at * SECTOR, sector.try_into().unwrap());
        }
    }

    fn stabilise(&mut self, at: usize) {
        if let Some(sector) = self.cached.remove(&at) {
            if self.stable.len() < at + SECTOR {
                self.stable.resize(at + SECTOR, 0);
            }
            self.stable[at..at + SECTOR].copy_from_slice(&sector);
        }
    }

    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let offset = offset as usize;
        let mut bytes = vec![0; len];
        if offset < self.stable.len() {
            let end = self.stable.len().min(offset + len);
            bytes[..end - offset].copy_from_slice(&self.stable[offset..end]);
        }
        for (at, sector) in self.cached.range(offset..offset + len) {
            bytes[at - offset..][..SECTOR].copy_from_slice(sector);
        }
        bytes
    }

    /// The power fails. What is in the device's cache, or in flight, is kept in part.
    pub fn power_cut(&mut self, rng: &mut Rng) {
        for Flying { op, data, .. } in std::mem::take(&mut self.flying) {
            match op {
                PageOp::Write { offset, .. } | PageOp::WriteStable { offset, .. } => {
                    let odds = rng.below(4);
                    for (at, sector) in data.chunks(SECTOR).enumerate() {
                        if rng.below(3) < odds {
                            self.cached.insert(offset as usize + at * SECTOR, sector.try_into().unwrap());
                        }
                    }
                }
                PageOp::Grow { bytes, .. } if rng.below(2) == 0 => self.len = self.len.max(bytes),
                _ => {}
            }
        }
        let odds = rng.below(4);
        for at in self.cached.keys().copied().collect::<Vec<_>>() {
            if rng.below(3) < odds {
                self.stabilise(at);
            }
        }
        self.cached.clear();
    }

    /// Changes a byte that was synced.
    pub fn flip(&mut self, offset: u64, mask: u8) {
        if let Some(byte) = self.stable.get_mut(offset as usize) {
            *byte ^= mask;
        }
    }

    /// Puts other bytes where something was synced: a write that was lost, or went elsewhere.
    pub fn overwrite(&mut self, offset: u64, bytes: &[u8]) {
        self.stable[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
    }

    pub fn stable_len(&self) -> u64 {
        self.stable.len() as u64
    }
}
