//! Stop 6 of 10: a change of rows is a change of the trees and a record of the log, or neither.
//!
//! An engine is the storage of one shard: a tree of rows for each database, a tree of deadlines, extents for what is
//! long, and the log. It knows bytes; what a value means is `cairn-core`'s.
//!
//! Every write resolves what it needs, then applies: when it answers [`Stop`], nothing has changed. Replay
//! ([`replay`]) goes through the same functions, without the log.
//!
//! - **E1** A row that expires has an entry in the tree of deadlines. An entry without such a row may be left where two
//!   keys of equal head expire at the same time, after all rows of a database went at once, and after a deferred row has
//!   replaced one; it goes when it is due.
//! - **E2** Trees and log agree: what the log replays to, from the beginning or from a checkpoint on, is what the trees
//!   hold.
//! - **E3** Room is made before a write resolves, never between that and its applying: what was resolved stays in memory.
//! - **E10**, **E11**: [`elements`]. **E4**, **E5**, **E6**: [`redo`]. **E7**, **E8**, **E9**: [`defer`]. **T1**, **T2**, **T3**: [`txn`].

mod check;
mod checkpoint;
mod counts;
mod defer;
mod deferred;
pub mod elements;
mod expiry;
mod locate;
mod orphans;
mod pending;
mod read;
mod redo;
mod replay;
mod scrub;
mod swap;
mod txn;
mod undo;
mod write;

#[cfg(test)]
mod tests;

pub use read::Found;
pub use redo::Redone;
pub(crate) use redo::judge;
pub use replay::{Applied, Replay};
pub use undo::{Former, Undo};

use crate::error::Missing;
use crate::extent::Extents;
use crate::limits::{LEVELS_MAX, PAGE_BYTES, TREES, VALUE_BYTES_MAX};
use crate::log::{LogScrub, LogWriter, Record};
use crate::page::Key;
use crate::pool::{ChunkHook, Pool, PoolFull};
use crate::row::{self, LongTail};
use crate::spaces::Spaces;
use crate::tree::{DetachedTree, Tree};
use crate::units::{ExtentId, Lsn};
use counts::Counts;
use defer::Settling;
use deferred::Deferred;
use orphans::Orphans;
use pending::Pending;
use txn::Txns;

/// Why an operation was not done. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A page is absent: read it and ask again.
    Missing(Missing),
    /// Memory is full.
    Full,
    /// Memory is full until some of it has been written to the page file: ask again later.
    Crowded,
    /// Memory is full, and the page file takes nothing: it has no room, or has failed.
    Stuck,
    /// There are as many pages, or extents, as the page file can lead to.
    Outgrown,
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

/// Pages that a row of a group needs beside these: a split now and then.
const GROUP_PAGES_A_ROW: usize = 2;

/// Of rows that stand beside each other at least so many bytes are in a page that was split.
const SPLIT_BYTES_MIN: usize = crate::limits::PAGE_BYTES / 4;

/// A tree that is gone, and whether its rows have extents.
struct Detached {
    rows: DetachedTree,
    has_outside: bool,
}

/// The storage of one shard.
pub struct Engine {
    pool: Pool,
    /// Of the databases, and behind them of their collections' elements.
    rows: [Tree; TREES],
    /// Rows that expire, by tree.
    expiring: [u64; TREES],
    /// Rows with extents, by tree.
    outside: [u64; TREES],
    /// Rows that have come late, by tree: see [`Engine::rows_late`].
    late: [i64; TREES],
    deadlines: Tree,
    spaces: Spaces,
    /// The number of the next collection.
    collection: u64,
    orphans: Orphans,
    counts: Counts,
    extents: Extents,
    /// Trees that are gone, whose pages are freed little by little.
    detached: Vec<Detached>,
    is_checkpoint_wanted: bool,
    /// The page file cannot be written and half of memory is dirty: the rest is for reads.
    is_short: bool,
    /// Behind the record of the last swap of databases.
    swapped: Lsn,
    /// Nearly all numbers of pages, or of extents, are in use: nothing is to be added.
    is_outgrown: bool,
    memory_bytes_max: u64,
    log: LogWriter,
    log_scrub: LogScrub,
    is_in_group: bool,
    txns: Txns,
    /// Effects of the log that are not in the trees yet.
    redo: Option<Box<Pending>>,
    /// All of them are in the trees, and their memory goes.
    redone: Option<Box<Pending>>,
    /// Rows that wait for their leaves.
    deferred: Deferred,
    settling: Settling,
    /// Of the checkpoint that the start has found: what it knows of the log behind its LSN.
    settled: Lsn,
}

/// How many pages the memory of a shard holds.
fn pages_max(memory_bytes_max: u64) -> usize {
    (memory_bytes_max / PAGE_BYTES as u64) as usize
}

impl Engine {
    /// An engine with no rows, ready for [`Replay`]. `memory_bytes_max` bounds pages and extents together.
    fn new(memory_bytes_max: u64, on_chunk: ChunkHook, log: LogWriter) -> Engine {
        Engine::in_pool(Pool::new(pages_max(memory_bytes_max), on_chunk), memory_bytes_max, log)
    }

    fn in_pool(pool: Pool, memory_bytes_max: u64, log: LogWriter) -> Engine {
        Engine {
            pool,
            rows: elements::trees(),
            expiring: [0; TREES],
            outside: [0; TREES],
            late: [0; TREES],
            deadlines: Tree::new(),
            spaces: Spaces::default(),
            collection: 0,
            orphans: Orphans::default(),
            counts: Counts::default(),
            extents: Extents::default(),
            detached: Vec::new(),
            is_checkpoint_wanted: false,
            is_short: false,
            swapped: Lsn(0),
            is_outgrown: false,
            memory_bytes_max,
            log,
            log_scrub: LogScrub::default(),
            is_in_group: false,
            txns: Txns::default(),
            redo: None,
            redone: None,
            deferred: Deferred::default(),
            settling: Settling::default(),
            settled: Lsn(0),
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

    /// By how many rows a database has grown, since the start, for changes that were made before the tree had them: of the log behind the checkpoint,
    /// and of rows that waited for their leaves. What else its count changes by is the doing of those who change rows then.
    pub fn rows_late(&self, db: u8) -> i64 {
        self.late[usize::from(db)]
    }

    /// Has a tree changed by what comes late.
    fn lately<T>(&mut self, db: u8, change: impl FnOnce(&mut Engine) -> T) -> T {
        let before = self.row_count(db) as i64;
        let changed = change(self);
        self.late[usize::from(db)] += self.row_count(db) as i64 - before;
        changed
    }

    /// The numbers by which deadlines know databases.
    pub fn spaces(&self) -> Spaces {
        self.spaces
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
        if self.pool.file().is_some() {
            return bytes as u64 > (self.memory_bytes_max / 2).max(VALUE_BYTES_MAX as u64);
        }
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
        self.log.append(&Record::GroupBegin);
    }

    pub fn close_group(&mut self) -> Lsn {
        assert!(self.is_in_group, "only an open group can be closed");
        self.is_in_group = false;
        if self.txns.is_keeping {
            self.close_txn();
        }
        self.log.append(&Record::GroupEnd)
    }

    /// Frees some pages of trees that are gone, and of collections. Whether there are more. What is missing may also be what a checkpoint waits for before
    /// it begins.
    pub fn free_some(&mut self, pages: usize) -> Result<bool, Missing> {
        if self.free_detached(pages)? {
            return Ok(true);
        }
        let has_more = self.reclaim_some()?;
        // What was missing in an earlier turn may be gone by now.
        let missing = self.orphans.missing.take().filter(|missing| !self.is_gone(missing));
        missing.map_or(Ok(has_more), Err)
    }

    /// Whether a page that was missing is no page any more.
    fn is_gone(&self, missing: &Missing) -> bool {
        let Missing::Page(page) = missing else { return false };
        self.page_file().is_some_and(|file| file.offset_of(*page).is_none())
    }

    /// Frees some pages of trees that are gone. Whether there are more.
    fn free_detached(&mut self, pages: usize) -> Result<bool, Missing> {
        while let Some(Detached { rows, has_outside }) = self.detached.last_mut() {
            let mut extents = Vec::new();
            let mut show = |payload: &[u8]| {
                extents.extend(row::extent(payload));
            };
            let freed = rows.free_some(&mut self.pool, pages, has_outside.then_some(&mut show));
            for extent in extents {
                self.drop_extent(extent);
            }
            if !freed? {
                return Ok(true);
            }
            self.detached.pop();
        }
        Ok(false)
    }

    fn drop_extent(&mut self, extent: ExtentId) {
        self.extents.remove(extent);
        if let Some(file) = self.pool.file_mut() {
            file.forget_extent(extent);
        }
    }

    /// All changes of a group must be possible once it is open: makes room for them, and sees that what they need is in
    /// memory. `rows` are the rows that the group changes, each with its new time to live.
    pub fn prepare_group<'a>(&mut self, rows: impl Iterator<Item = (RowKey<'a>, u64)> + Clone) -> Result<(), Stop> {
        let pages = GROUP_PAGES_A_ROW * rows.clone().count();
        self.prepare_pages(rows, pages)
    }

    /// The same of rows of which most stand beside each other, in this order: those of one leaf need its pages once, and what all of them have, in
    /// bytes, new ones.
    pub fn prepare_neighbours<'a>(
        &mut self,
        rows: impl Iterator<Item = (RowKey<'a>, u64)> + Clone,
        bytes: usize,
    ) -> Result<(), Stop> {
        if self.pool.file().is_none() {
            return self.prepare_group(rows);
        }
        let (mut leaves, mut last) = (0, None);
        for (row, expire_ms) in rows.clone() {
            self.await_row(row)?;
            let (leaf, old_ms) = self.leaf_of(row)?;
            let is_other = last != Some((row.db, leaf)) || expire_ms != 0 || old_ms != 0;
            (leaves, last) = (leaves + usize::from(is_other), Some((row.db, leaf)));
        }
        self.prepare_pages(rows, GROUP_PAGES_A_ROW * leaves + bytes.div_ceil(SPLIT_BYTES_MIN))
    }

    /// `pages`: what the rows need beside a first one.
    fn prepare_pages<'a>(
        &mut self,
        rows: impl Iterator<Item = (RowKey<'a>, u64)> + Clone,
        pages: usize,
    ) -> Result<(), Stop> {
        let pages = WRITE_PAGES_MAX + pages;
        if self.pool.file().is_some() {
            // Each may need to be in memory beside the new ones.
            if 2 * pages > self.pool.pages_max() {
                return Err(Stop::Full);
            }
            self.make_room_for(pages, 0)?;
        }
        for (row, expire_ms) in rows {
            self.await_row(row)?;
            self.prepare_write(row, expire_ms)?;
        }
        Ok(())
    }
}

/// Calls `run` with the key's place in the tree.
#[inline(always)]
fn with_key<T>(row: &RowKey<'_>, run: impl FnOnce(Key<'_>) -> T) -> T {
    if row.key.len() <= row::KEY_TAIL_BYTES_MAX {
        run(Key::new(row.head, row.key))
    } else {
        run(Key::new(row.head, LongTail::new(row.key).as_bytes()))
    }
}
