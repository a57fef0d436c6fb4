//! A device's cache: sectors that were written and are not stable. A sync makes them stable; a power cut keeps what it likes.

use super::verdict::Verdict;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The unit in which writes are torn.
pub const SECTOR: usize = 512;

/// Sectors, by the file that they are of and where, each with the number of its write.
#[derive(Clone, Default)]
pub struct Cache {
    sectors: BTreeMap<(u64, usize), (u64, Sector)>,
    write_last: u64,
}

pub type Sector = Rc<[u8; SECTOR]>;

impl Cache {
    /// Puts those sectors of a write in the cache that are wanted.
    pub fn write(&mut self, file: u64, offset: usize, data: &[u8], mut is_wanted: impl FnMut(usize) -> bool) {
        self.write_last += 1;
        for (at, sector) in data.chunks(SECTOR).enumerate().filter(|(at, _)| is_wanted(*at)) {
            let sector: [u8; SECTOR] = sector.try_into().expect("writes are of whole sectors");
            self.sectors.insert((file, offset + at * SECTOR), (self.write_last, Rc::new(sector)));
        }
    }

    /// Lays what is in the cache over what was read of the disk.
    pub fn read(&self, file: u64, offset: usize, into: &mut [u8]) {
        for ((_, at), (_, sector)) in self.sectors.range((file, offset)..(file, offset + into.len())) {
            into[at - offset..][..SECTOR].copy_from_slice(&sector[..]);
        }
    }

    /// What stands there was written to the disk itself.
    pub fn overwritten(&mut self, file: u64, offset: usize, len: usize) {
        let gone: Vec<_> = self.sectors.range((file, offset)..(file, offset + len)).map(|(place, _)| *place).collect();
        gone.iter().for_each(|place| drop(self.sectors.remove(place)));
    }

    pub fn forget(&mut self, file: u64) {
        self.overwritten(file, 0, usize::MAX);
    }

    /// Where there are sectors of a file.
    pub fn places(&self, file: u64) -> Vec<usize> {
        self.sectors.range((file, 0)..=(file, usize::MAX)).map(|((_, at), _)| *at).collect()
    }

    /// Takes one sector out.
    pub fn take_one(&mut self, file: u64, at: usize) -> Option<Sector> {
        self.sectors.remove(&(file, at)).map(|(_, sector)| sector)
    }

    /// Takes all sectors of a file out.
    pub fn take(&mut self, file: u64, mut write: impl FnMut(usize, &[u8])) {
        for at in self.places(file) {
            write(at, &self.take_one(file, at).expect("it was there just now")[..]);
        }
    }

    /// Takes everything out.
    pub fn flush(&mut self, mut write: impl FnMut(u64, usize, &[u8])) {
        for ((file, at), (_, sector)) in std::mem::take(&mut self.sectors) {
            write(file, at, &sector[..]);
        }
    }

    /// The power fails: each write that is in the cache is kept, lost or torn.
    pub fn settle(&mut self, verdict: &mut Verdict<'_>, mut write: impl FnMut(u64, usize, &[u8])) {
        let sectors = std::mem::take(&mut self.sectors);
        let mut all: Vec<_> =
            sectors.into_iter().map(|((file, at), (number, sector))| (number, file, at, sector)).collect();
        all.sort_unstable_by_key(|(number, file, at, _)| (*number, *file, *at));
        for one in all.chunk_by(|one, next| one.0 == next.0) {
            verdict.next(one.len());
            for (place, (_, file, at, sector)) in one.iter().enumerate() {
                if verdict.keeps(place) {
                    write(*file, *at, &sector[..]);
                }
            }
        }
    }
}
