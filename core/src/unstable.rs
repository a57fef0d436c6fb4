//! Which keys have changes that are not stable yet, and up to where each has to wait. Part of stop 9.
//!
//! A reader of a key waits for the key's last change, not for the whole log. Changes are noted in *generations*, one
//! for the records between two flushes, so that a generation is forgotten as a whole when its flush is stable: no key is
//! ever removed on its own.

use cairn_storage::limits::DATABASES;
use cairn_storage::units::Lsn;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};

/// Generations at once. Beyond that the newest one grows.
const GENERATIONS_MAX: usize = 10;

/// Heads are hashes already: they only need their entropy moved to where the map looks for it.
#[derive(Default)]
pub(crate) struct HeadHasher(u64);

impl Hasher for HeadHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("heads are written as one integer");
    }

    #[inline]
    fn write_u64(&mut self, head: u64) {
        self.0 = head.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(20);
    }
}

/// By [`place`].
pub(crate) type Heads<T> = HashMap<u64, T, BuildHasherDefault<HeadHasher>>;

/// Changes that are not stable.
#[derive(Default)]
pub struct Unstable {
    /// Oldest first; each with the LSN of its last change.
    generations: VecDeque<(Lsn, Heads<Lsn>)>,
    is_sealed: bool,
    spare: Vec<Heads<Lsn>>,
    /// The last removal of all rows, by database.
    cleared: [Lsn; DATABASES],
}

/// Keys of one head in several databases are told apart; keys of one head in one database wait together.
#[inline]
pub(crate) fn place(db: u8, head: u64) -> u64 {
    head ^ u64::from(db) << 60
}

impl Unstable {
    /// A key was changed by the record that ends at `lsn`.
    #[inline]
    pub fn note(&mut self, db: u8, head: u64, lsn: Lsn) {
        if self.is_sealed || self.generations.is_empty() {
            self.open_generation();
        }
        let (last, heads) = self.generations.back_mut().expect("one was opened");
        *last = lsn;
        heads.insert(place(db, head), lsn);
    }

    fn open_generation(&mut self) {
        self.is_sealed = false;
        if self.generations.len() < GENERATIONS_MAX {
            self.generations.push_back((Lsn(0), self.spare.pop().unwrap_or_default()));
        }
    }

    pub fn note_clear(&mut self, db: u8, lsn: Lsn) {
        self.cleared[usize::from(db)] = lsn;
    }

    /// The next change belongs to another flush.
    pub fn seal(&mut self) {
        self.is_sealed = true;
    }

    /// What a reader of the key has to wait for. May be stable already.
    #[inline]
    pub fn lsn(&self, db: u8, head: u64) -> Lsn {
        let mut lsn = self.cleared[usize::from(db)];
        for (_, heads) in self.generations.iter().rev() {
            if let Some(&found) = heads.get(&place(db, head)) {
                lsn = lsn.max(found);
                break;
            }
        }
        lsn
    }

    /// Everything up to `stable` is stable.
    pub fn forget(&mut self, stable: Lsn) {
        while self.generations.front().is_some_and(|(last, _)| *last <= stable) {
            if let Some((_, mut heads)) = self.generations.pop_front() {
                heads.clear();
                self.spare.push(heads);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_waits_for_the_last_change_of_its_key() {
        let mut unstable = Unstable::default();
        unstable.note(0, 1, Lsn(10));
        unstable.note(0, 2, Lsn(20));
        unstable.seal();
        unstable.note(0, 1, Lsn(30));
        let waits = |unstable: &Unstable| [(0, 1), (0, 2), (0, 3), (1, 1)].map(|(db, head)| unstable.lsn(db, head).0);
        assert_eq!(waits(&unstable), [30, 20, 0, 0]);
        unstable.forget(Lsn(19));
        assert_eq!(waits(&unstable), [30, 20, 0, 0]);
        unstable.forget(Lsn(20));
        assert_eq!(waits(&unstable), [30, 0, 0, 0]);
        unstable.note_clear(1, Lsn(40));
        assert_eq!(waits(&unstable), [30, 0, 0, 40]);
    }

    #[test]
    fn generations_are_bounded() {
        let mut unstable = Unstable::default();
        for lsn in 1..100 {
            unstable.note(0, lsn, Lsn(lsn));
            unstable.seal();
        }
        assert_eq!(unstable.generations.len(), GENERATIONS_MAX);
        assert_eq!((unstable.lsn(0, 1), unstable.lsn(0, 99)), (Lsn(1), Lsn(99)));
        unstable.forget(Lsn(99));
        assert_eq!(unstable.lsn(0, 99), Lsn(0));
    }
}
