//! Stop 6 of 10: a change of rows is a change of the trees and a record of the log, or neither.
//!
//! An engine is the storage of one shard: a tree of rows for each database, a tree of deadlines, extents for what is
//! long, and the log. It knows bytes; what a value means is `cairn-core`'s.
//!
//! Every write resolves what it needs, then applies: when it answers [`Stop`], nothing has changed. Replay
//! ([`replay`]) goes through the same functions, without the log.
//!
//! - **E1** A row that expires has an entry in the tree of deadlines; an entry without such a row may only be left
//!   where two keys of equal head expire at the same time.
//! - **E2** Trees and log agree: what the log replays to is what the trees hold.

mod expiry;
mod read;
mod replay;
mod write;

#[cfg(test)]
mod tests;

pub use read::Found;
pub use replay::Replay;

use crate::error::Missing;
use crate::extent::Extents;
use crate::limits::{DATABASES, LEVELS_MAX, PAGE_BYTES};
use crate::log::LogWriter;
use crate::page::Key;
use crate::pool::{ChunkHook, Pool, PoolFull};
use crate::row::{self, LongTail};
use crate::tree::{DetachedTree, Tree};
use crate::units::Lsn;

/// Why an operation was not done. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A page is absent: read it and ask again.
    Missing(Missing),
    /// Memory is full.
    Full,
}

impl From<Missing> for Stop {
    fn from(missing: Missing) -> Stop {
        Stop::Missing(missing)
    }
}

impl From<PoolFull> for Stop {
    fn from(_: PoolFull) -> Stop {
        Stop::Full
    }
}

/// A key as the layer above names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowKey<'a> {
    pub db: u8,
    /// Its place in the order of rows.
    pub head: u64,
    pub key: &'a [u8],
}

/// Pages that one write may need at most: a split on every level of two trees.
const WRITE_PAGES_MAX: usize = 2 * (LEVELS_MAX + 1);

/// The storage of one shard.
pub struct Engine {
    pool: Pool,
    rows: [Tree; DATABASES],
    /// Rows that expire, by database.
    expiring: [u64; DATABASES],
    deadlines: Tree,
    extents: Extents,
    /// Trees that are gone, whose pages are freed little by little.
    detached: Vec<DetachedTree>,
    memory_bytes_max: u64,
    log: LogWriter,
    is_in_group: bool,
}

impl Engine {
    /// An engine with no rows, ready for [`Replay`]. `memory_bytes_max` bounds pages and extents together.
    pub(crate) fn new(memory_bytes_max: u64, on_chunk: ChunkHook, log: LogWriter) -> Engine {
        Engine {
            pool: Pool::new((memory_bytes_max / PAGE_BYTES as u64) as usize, on_chunk),
            rows: Default::default(),
            expiring: [0; DATABASES],
            deadlines: Tree::new(),
            extents: Extents::default(),
            detached: Vec::new(),
            memory_bytes_max,
            log,
            is_in_group: false,
        }
    }

    pub fn log(&self) -> &LogWriter {
        &self.log
    }

    pub fn log_mut(&mut self) -> &mut LogWriter {
        &mut self.log
    }

    /// Rows of a database, those past their time included.
    pub fn row_count(&self, db: u8) -> u64 {
        self.rows[usize::from(db)].len()
    }

    /// Rows of a database that expire.
    pub fn expiring_count(&self, db: u8) -> u64 {
        self.expiring[usize::from(db)]
    }

    /// Bytes of memory in pages and in extents.
    pub fn memory_bytes(&self) -> (u64, u64) {
        ((self.pool.pages_resident() * PAGE_BYTES) as u64, self.extents.bytes())
    }

    /// Bytes of keys and values.
    pub fn dataset_bytes(&self) -> u64 {
        self.rows.iter().map(Tree::bytes).sum::<u64>() + self.extents.bytes()
    }

    /// Is memory so full that a further write of `bytes` may be refused?
    #[inline]
    pub fn is_full(&self, bytes: usize) -> bool {
        let (pages, extents) = self.memory_bytes();
        let reserve = (WRITE_PAGES_MAX * PAGE_BYTES) as u64;
        pages + extents + reserve + bytes as u64 > self.memory_bytes_max
    }

    pub fn memory_bytes_max(&self) -> u64 {
        self.memory_bytes_max
    }

    /// All changes until [`Engine::close_group`] are one unit: after a crash all of them are there, or none.
    pub fn open_group(&mut self) {
        assert!(!self.is_in_group, "groups do not nest");
        self.is_in_group = true;
        self.log.append(&crate::log::Record::GroupBegin);
    }

    pub fn close_group(&mut self) -> Lsn {
        assert!(self.is_in_group, "only an open group can be closed");
        self.is_in_group = false;
        self.log.append(&crate::log::Record::GroupEnd)
    }

    /// Frees some pages of trees that are gone. Whether there are more.
    pub fn free_some(&mut self, pages: usize) -> Result<bool, Missing> {
        while let Some(tree) = self.detached.last_mut() {
            if !tree.free_some(&mut self.pool, pages)? {
                return Ok(true);
            }
            self.detached.pop();
        }
        Ok(false)
    }

    /// Checks all trees, and that rows, deadlines, extents and counts agree. For tests: time is proportional to the data.
    pub fn check(&self) -> Result<(), String> {
        let (mut extents, mut deadlines) = (0, 0);
        for (db, rows) in self.rows.iter().enumerate() {
            rows.check(&self.pool).map_err(|damage| format!("database {db}: {damage:?}"))?;
            let mut expiring = 0;
            let mut broken = None;
            let visited = rows.scan(&self.pool, Key::MIN, |key, payload| {
                let (header, rest) = row::Header::decode(payload);
                extents += usize::from(header.is_outside);
                if header.is_outside && row::is_long(key.tail) == self.extents.get(row::extent(rest)).key.is_empty() {
                    broken = Some(format!("database {db}: the key of head {:#x} is in the wrong place", key.head));
                }
                if header.expire_ms != 0 {
                    expiring += 1;
                    let entry = expiry::Entry::new(db as u8, key.head);
                    if !matches!(self.deadlines.find(&self.pool, entry.key(header.expire_ms)), Ok(Some(_))) {
                        broken = Some(format!("database {db}: head {:#x} has no deadline", key.head));
                    }
                }
                std::ops::ControlFlow::Continue(())
            });
            visited.map_err(|missing| format!("{missing:?}"))?;
            if expiring != self.expiring[db] {
                broken = Some(format!("database {db}: {expiring} rows expire, {} are counted", self.expiring[db]));
            }
            broken.map_or(Ok(()), Err)?;
            deadlines += expiring;
        }
        self.deadlines.check(&self.pool).map_err(|damage| format!("deadlines: {damage:?}"))?;
        if extents != self.extents.len() || self.deadlines.len() > deadlines {
            return Err(format!(
                "{extents} rows have extents and there are {}; {deadlines} rows expire and there are {} deadlines",
                self.extents.len(),
                self.deadlines.len()
            ));
        }
        Ok(())
    }
}

/// Calls `run` with the key's place in the tree.
#[inline(always)]
fn with_key<T>(row: RowKey<'_>, run: impl FnOnce(Key<'_>) -> T) -> T {
    if row.key.len() <= row::KEY_TAIL_BYTES_MAX {
        run(Key::new(row.head, row.key))
    } else {
        run(Key::new(row.head, LongTail::new(row.key).as_bytes()))
    }
}
