//! What is done to the rows of one shard, drawn from a seed.

use super::{Shard, Stopped};
use crate::model::{Change, Row};
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::units::Lsn;
use fastrand::Rng;
use std::rc::Rc;

/// What a run is like.
#[derive(Clone, Copy, Debug)]
pub struct Taste {
    keys: u32,
    value_max: usize,
    /// One in so many values is up to `long_max` bytes.
    long_in: u32,
    long_max: usize,
    memory_pages: usize,
    /// All keys are written before the run, and saved by a checkpoint.
    is_filled: bool,
    /// A checkpoint is wanted all the time.
    pub is_eager: bool,
}

/// A few rows, all in memory: many small checkpoints.
const SMALL: Taste = Taste {
    keys: 120,
    value_max: 400,
    long_in: 40,
    long_max: 30_000,
    memory_pages: 400,
    is_filled: false,
    is_eager: true,
};

/// Values beyond the leaves.
const LONG: Taste = Taste { keys: 25, value_max: 600, long_in: 3, long_max: 50_000, ..SMALL };

/// The log comes to its next segment every few steps, and the old ones go.
const SEGMENTS: Taste = Taste { keys: 12, long_in: 4, long_max: 500_000, ..SMALL };

/// Twice as many rows as find room in memory: pages are evicted, written ahead and read back, by recovery too.
pub const TIGHT: Taste =
    Taste { keys: 1000, value_max: 2000, long_in: 200, memory_pages: 112, is_filled: true, ..SMALL };

impl Taste {
    pub fn of(seed: u64) -> Taste {
        [SMALL, LONG, SMALL, SEGMENTS, TIGHT][(seed % 5) as usize]
    }

    pub fn memory_bytes(self) -> u64 {
        (self.memory_pages * PAGE_BYTES) as u64
    }

    pub fn is_tight(self) -> bool {
        self.memory_pages < SMALL.memory_pages
    }

    fn key(self, rng: &mut Rng) -> (u8, Rc<[u8]>) {
        self.numbered(rng.u32(..self.keys))
    }

    fn numbered(self, number: u32) -> (u8, Rc<[u8]>) {
        // Now and then longer than a key may be in a leaf.
        let len = if number % 60 == 7 { 700 } else { 12 };
        ((number % 3 / 2) as u8, format!("{number:0len$}").into_bytes().into())
    }

    fn row(self, rng: &mut Rng) -> Row {
        let max = if rng.u32(..self.long_in) == 0 { self.long_max } else { self.value_max };
        let (len, first) = (rng.usize(..max), rng.u8(..));
        let value = (0..len).map(|at| first.wrapping_add(at as u8)).collect();
        Row { value: Rc::new(value), collection: None, expire_ms: [0, 0, 1000, 2000][rng.usize(..4)] }
    }

    fn put(self, rng: &mut Rng) -> (u8, Rc<[u8]>, Row) {
        let (db, key) = self.key(rng);
        (db, key, self.row(rng))
    }
}

impl Shard {
    /// What there is before the run.
    pub fn fill(&mut self) -> Result<(), Stopped> {
        let taste = self.taste;
        if !taste.is_filled {
            return Ok(());
        }
        for number in 0..taste.keys {
            let (db, key) = taste.numbered(number);
            let row = taste.row(&mut self.rng);
            self.change(&Change::Put { db, key, row })?;
            self.engine.work(1, 4 * PAGE_BYTES);
        }
        self.checkpoint()
    }

    /// One random change, and a turn. Whether it was taken.
    pub fn step(&mut self) -> Result<bool, Stopped> {
        let taste = self.taste;
        let (db, key) = taste.key(&mut self.rng);
        let before = self.ledger.rows().get(db, &key).cloned();
        let taken = match (self.rng.u32(..100), before) {
            (0..10, Some(_)) => self.change(&Change::Delete { db, key })?,
            (10..16, Some(row)) => {
                let expire_ms = [0, 1000, 3000][self.rng.usize(..3)];
                self.expire(db, key, Row { expire_ms, ..row })?
            }
            (16..24, Some(row)) => self.splice(db, key, row)?,
            (24..28, _) => {
                // A group names each row once.
                let mut puts: Vec<_> = (0..3).map(|_| taste.put(&mut self.rng)).collect();
                puts.sort_by(|(db, key, _), (other_db, other, _)| (db, key).cmp(&(other_db, other)));
                puts.dedup_by(|one, other| (one.0, &one.1) == (other.0, &other.1));
                self.group(&puts)?
            }
            (28, _) if self.rng.u32(..30) == 0 => self.change(&Change::Clear { db: 1 })?,
            (28, _) if self.rng.u32(..10) == 0 => self.change(&Change::Swap { one: 0, other: 1 })?,
            (36..38, _) => self.pin_or_unpin()?,
            (29..36, _) => self.read(db, &key)?,
            _ => {
                let row = taste.row(&mut self.rng);
                self.change(&Change::Put { db, key, row })?
            }
        };
        self.turn()?;
        Ok(taken.is_some())
    }

    /// Reads a row. `None`: it cannot be had; a wrong one breaks a check.
    pub fn read(&mut self, db: u8, key: &Rc<[u8]>) -> Result<Option<()>, Stopped> {
        match self.check_row(db, key)? {
            Some(false) => Err(Stopped::Broken(format!("a wrong answer: {db}/{:.20}", String::from_utf8_lossy(key)))),
            found => Ok(found.map(drop)),
        }
    }

    /// Pins the newest checkpoint; or looks at the one that is pinned, which must be as it was, and lets it go.
    fn pin_or_unpin(&mut self) -> Result<Option<()>, Stopped> {
        let Some((pin, rows)) = self.pinned.take() else {
            if let Some(pin) = self.engine.pin() {
                let lsn = Lsn(pin.superblock.lsn);
                // Else rows that waited are in the log only.
                if pin.superblock.is_whole() && self.ledger.knows(lsn) {
                    self.pinned = Some((pin, self.ledger.rows_at(lsn)));
                } else {
                    self.engine.unpin(pin);
                }
            }
            return Ok(Some(()));
        };
        let found = self.media.at_rest().files(self.planted, &mut self.rng).snapshot(&pin.superblock);
        if found.map_err(|halt| Stopped::Broken(super::told(halt)))? != rows {
            let generation = pin.superblock.generation;
            return Err(Stopped::Broken(format!("a pinned checkpoint stays as it was: {generation} does not")));
        }
        self.engine.unpin(pin);
        Ok(Some(()))
    }

    fn expire(&mut self, db: u8, key: Rc<[u8]>, row: Row) -> Result<Option<()>, Stopped> {
        let lsn = self.run(|engine| engine.set_expiry(super::place(db, &key), row.expire_ms))?;
        if let Some(Some(lsn)) = lsn {
            self.ledger.note(lsn, Change::Put { db, key, row });
        }
        Ok(lsn.map(drop))
    }

    /// Bytes in the middle of a value, or behind it.
    fn splice(&mut self, db: u8, key: Rc<[u8]>, row: Row) -> Result<Option<()>, Stopped> {
        let (offset, len) = (self.rng.usize(..500), self.rng.usize(1..50));
        let bytes = vec![self.rng.u8(..); len];
        let Some(lsn) = self.run(|engine| engine.splice(super::place(db, &key), offset, &bytes, None))? else {
            return Ok(None);
        };
        let mut value = row.value.to_vec();
        value.resize(value.len().max(offset + len), 0);
        value[offset..offset + len].copy_from_slice(&bytes);
        self.ledger.note(lsn, Change::Put { db, key, row: Row { value: Rc::new(value), ..row } });
        Ok(Some(()))
    }
}
