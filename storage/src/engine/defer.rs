//! Deferred rows: a row that is set without a look at what it was need not wait until its leaf has been read.
//!
//! ```text
//!   put: the leaf is absent ---> deferred, and in the log like any other
//!        somebody looks at the row ----------------> answered from there
//!        the leaf comes into memory, for anybody --> all rows that wait for it are in the tree
//!        too many wait, or the log is needed from too far back ---> the leaf that has waited longest is read
//! ```
//!
//! So a leaf is read and written once for several rows, and nobody waits for the read. What a command needs to know of the old
//! row it reads as ever, so that only rows wait here of which nobody had to know anything. While there are some:
//!
//! - **E7** A leaf in memory has no rows that wait: where these cannot all be applied when it comes, it is not taken in. But when the
//!   page file takes nothing and half of memory is dirty, no page may become dirty for a read: then leaves are *overlaid*, a row is looked for among those
//!   that wait first, and nothing is written until the page file takes something again.
//! - **E8** A checkpoint's LSN is before all that waits, outside of groups and transactions. What the trees have of the log behind
//!   it, up to [`crate::pagefile::Superblock::settled`], a start applies once more, which changes nothing in the end: each
//!   effect says what becomes of its row. Rows of a leaf that cannot be had are carried, as redo's are (E6).
//! - **E9** Whoever counts rows, or empties a database so that it can be undone, is told [`Missing::Deferred`] until none wait.

use super::deferred::Start;
use super::elements::is_elements;
use super::write::{Entries, Value};
use super::{Engine, RowKey, WRITE_PAGES_MAX, with_key};
use crate::error::Missing;
use crate::limits::{
    CARRIED_BYTES_MAX, DEFERRED_BYTES_MAX, DEFERRED_LEAF_BYTES_MAX, DEFERRED_PARTS, DEFERRED_PARTS_MAX,
    DEFERRED_PARTS_MIN, DEFERRED_READS_MAX, DEFERRED_READS_SHARE, DEFERRED_START_BYTES, DEFERRED_STARTS_BYTES_MAX,
};
use crate::log::Record;
use crate::pagefile::{Bug, FileState, PageFile};
use crate::pool::{Fetch, Fetched};
use crate::row::{self, Header};
use crate::tree::row_fits;
use crate::units::PageId;

/// Pages that the rows of one leaf may need beside what one write does: it is split into a few.
const LEAF_PAGES_MAX: usize = 2 * DEFERRED_LEAF_BYTES_MAX / crate::limits::PAGE_BYTES + 2;

/// How the rows that wait come into the trees.
pub(super) struct Settling {
    /// Leaves that are being read for rows that wait, and those that are to be asked for again.
    reading: Vec<PageId>,
    again: Vec<PageId>,
    /// The number of the leaf that was asked for last.
    ahead: u64,
    /// Leaves up to this number are read though nothing presses.
    until: u64,
    /// Somebody waits until no row waits: no further one does.
    is_wanted: bool,
    /// Leaves in memory that rows wait for.
    overlaid: Vec<PageId>,
    /// Leaves, and rows, that are done.
    applied: (u64, u64),
    /// Parts of memory that rows may wait in.
    parts: u64,
    /// Leaves that were done, and pages that were read for anybody, when that was settled last.
    seen: (u64, u64),
}

impl Default for Settling {
    fn default() -> Settling {
        Settling {
            reading: Vec::new(),
            again: Vec::new(),
            ahead: 0,
            until: 0,
            is_wanted: false,
            overlaid: Vec::new(),
            applied: (0, 0),
            parts: DEFERRED_PARTS_MAX,
            seen: (0, 0),
        }
    }
}

impl Settling {
    #[inline(always)]
    pub(super) fn is_overlaid(&self) -> bool {
        !self.overlaid.is_empty()
    }

    fn asked(&self) -> usize {
        self.reading.len() + self.again.len()
    }
}

impl Engine {
    /// Rows that wait for their leaves.
    pub fn deferred_rows(&self) -> u64 {
        self.deferred.rows()
    }

    /// The same of one database: until they are in the tree its count may be off by as many.
    pub fn deferred_rows_in(&self, db: u8) -> u64 {
        self.deferred.rows_in(self.spaces.of(db))
    }

    /// Memory that they take.
    pub fn deferred_bytes(&self) -> u64 {
        self.deferred.bytes()
    }

    /// Leaves that were brought in for rows that waited, and how many rows were applied to them, since the start.
    pub fn deferred_applied(&self) -> (u64, u64) {
        self.settling.applied
    }

    fn deferred_bytes_max(&self) -> u64 {
        (self.memory_bytes_max() / DEFERRED_PARTS * self.settling.parts).min(DEFERRED_BYTES_MAX)
    }

    /// Keeps E9.
    #[inline]
    pub fn await_deferred(&self) -> Result<(), Missing> {
        if self.deferred.is_empty() { Ok(()) } else { Err(Missing::Deferred) }
    }

    /// Whoever looks at many rows waits until leaves in memory have all of theirs.
    pub(super) fn await_overlaid(&self) -> Result<(), Missing> {
        if self.settling.is_overlaid() { Err(Missing::Deferred) } else { Ok(()) }
    }

    /// Whether a row of an absent leaf may be set now without reading it. Not while the page file lacks space: a start would have to find
    /// room for all that waits.
    pub fn defers(&self) -> bool {
        self.pool.file().is_some_and(|file| file.state() == FileState::Open)
            && !self.is_in_group
            && self.redo.is_none()
            && !self.settling.is_wanted
            && self.deferred.bytes() < self.deferred_bytes_max()
    }

    /// A row is set, and `missing` stops it: whether it waits for its leaf, as if it had been applied.
    #[inline(never)]
    pub(super) fn defer(&mut self, missing: Missing, row: RowKey<'_>, kind: u8, expire_ms: u64, value: &[u8]) -> bool {
        let header = Header { kind, expire_ms, is_outside: false };
        let len = header.bytes() + value.len();
        // A time to live is the business of the tree of deadlines too.
        let is_plain = !is_elements(row.db) && kind & row::OWNS == 0;
        let may_wait = self.defers() && is_plain && expire_ms == 0 && row.key.len() <= row::KEY_TAIL_BYTES_MAX;
        let Missing::Page(leaf) = missing else { return false };
        if !may_wait || !row_fits(row.key.len(), len) {
            return false;
        }
        let found = with_key(&row, |key| self.rows[usize::from(row.db)].leaf_of(&self.pool, key));
        if found != Ok(leaf) {
            return false;
        }
        let bytes = super::deferred::Deferred::bytes_of(row.key, len);
        if self.deferred.bytes() + bytes > self.deferred_bytes_max()
            || self.deferred.bytes_in(leaf) + bytes as usize > DEFERRED_LEAF_BYTES_MAX
            || !self.deferred.holds(leaf) && !self.has_start()
        {
            return false;
        }
        self.deferred.put(leaf, self.spaces.of(row.db), row.head, row.key, header, value);
        true
    }

    /// Sees that a place in the log is noted that is not far back, from which a recovery can begin. Keeps E8.
    fn has_start(&mut self) -> bool {
        let back = self.deferred.start_last().map_or(u64::MAX, |start| self.log.archived() - start.archived);
        if back < DEFERRED_START_BYTES {
            return true;
        }
        if self.undecided() == 0 {
            self.note_start();
            return true;
        }
        back < DEFERRED_STARTS_BYTES_MAX
    }

    fn note_start(&mut self) {
        self.deferred.note_start(Start { log: self.log.start(), archived: self.log.archived() });
    }

    /// The payload of a row whose page is absent, if it waits.
    #[cold]
    pub(super) fn deferred_payload(&self, missing: Missing, row: RowKey<'_>) -> Result<Option<&[u8]>, Missing> {
        let Missing::Page(leaf) = missing else { return Err(missing) };
        let found = self.deferred.find(leaf, row.head, row.key);
        found.map_or(Err(missing), |payload| Ok(Some(payload)))
    }

    /// Before a leaf is brought in: whether there will be room for what waits for it. Keeps E7.
    pub(super) fn can_settle(&mut self, leaf: PageId) -> bool {
        !self.deferred.holds(leaf)
            || self.may_overlay()
            || self.pool.make_room(1 + WRITE_PAGES_MAX + LEAF_PAGES_MAX).is_ok()
    }

    /// A page has come into memory: what waits for it is applied. `false`: it cannot be, and the page has left again. Keeps E7.
    pub(super) fn settle_leaf(&mut self, page: PageId) -> bool {
        if !self.deferred.holds(page) {
            return true;
        }
        if self.settling.overlaid.contains(&page) {
            return true;
        }
        if self.may_overlay() {
            self.settling.overlaid.push(page);
            return true;
        }
        let can = self.pool.make_room(WRITE_PAGES_MAX + LEAF_PAGES_MAX).is_ok()
            && self.pool.reserve(WRITE_PAGES_MAX + LEAF_PAGES_MAX).is_ok()
            && self.pool.is_resident(page)
            && self.deferred_is_whole(page);
        if !can {
            self.pool.send_back(page);
            return false;
        }
        let leaf = self.deferred.take(page).expect("rows wait for it");
        self.settling.applied.0 += 1;
        let db = self.spaces.database(leaf.space);
        self.lately(db, |engine| {
            for row in leaf.rows() {
                let (header, value) = Header::decode(row.payload);
                let row = RowKey { db, head: row.head, key: row.key };
                let applied = engine.apply_put_over(&row, header.kind, 0, Value::Bytes(value), Entries::MayStay);
                applied.expect("the path is in memory, and there is room");
                engine.settling.applied.1 += 1;
            }
        });
        true
    }

    /// Whether rows are to go on waiting though their leaf is in memory. Keeps E7.
    fn may_overlay(&self) -> bool {
        !self.is_in_group && self.is_short
    }

    /// A row that was found in a leaf, or the one that waits.
    #[cold]
    pub(super) fn overlaid_payload<'a>(
        &'a self,
        row: RowKey<'_>,
        found: Option<&'a [u8]>,
    ) -> Result<Option<&'a [u8]>, Missing> {
        let leaf = with_key(&row, |key| self.rows[usize::from(row.db)].leaf_of(&self.pool, key))?;
        Ok(self.deferred.find(leaf, row.head, row.key).or(found))
    }

    /// The page file may take something again: rows of leaves in memory are applied as elsewhere.
    pub(super) fn end_overlay(&mut self) {
        if self.pool.file().is_some_and(PageFile::is_stuck) {
            return;
        }
        self.settling.ahead = 0;
        for page in std::mem::take(&mut self.settling.overlaid) {
            // A leaf that was given up meanwhile, or for want of room now, is absent like others.
            if self.pool.is_resident(page) {
                self.settle_leaf(page);
            }
        }
    }

    /// Whether the path to a leaf that has just come is in memory as a whole. The rows of one leaf have one path.
    fn deferred_is_whole(&self, page: PageId) -> bool {
        let (space, row) = self.deferred.first_row(page).expect("rows wait for it");
        let db = self.spaces.database(space);
        let row = RowKey { db, head: row.head, key: row.key };
        with_key(&row, |key| self.rows[usize::from(db)].resolve(&self.pool, key)).is_ok()
    }

    /// No row waits for its leaf from now on, and those that do are applied as soon as can be: somebody waits for that.
    pub fn want_settled(&mut self) {
        self.settling.is_wanted = !self.deferred.is_empty();
    }

    /// All that wait now are applied in time, though nothing presses: there is nothing better to do.
    pub fn settle_idle(&mut self) {
        self.settling.until = self.deferred.number_last();
    }

    /// Background work: the leaves that have waited longest are read, if they have to be.
    pub(super) fn settle_some(&mut self) {
        if self.deferred.is_empty() {
            (self.settling.is_wanted, self.settling.ahead) = (false, 0);
            self.settling.again.clear();
            return;
        }
        for page in std::mem::take(&mut self.settling.again) {
            self.ask_leaf(page);
        }
        let reads_max = (self.pool.pages_max() / DEFERRED_READS_SHARE).clamp(1, DEFERRED_READS_MAX);
        while self.settling.asked() < reads_max && self.is_settling_due() {
            let Some((number, page)) = self.deferred.next_behind(self.settling.ahead) else { return };
            self.settling.ahead = number;
            if !self.settling.reading.contains(&page) && !self.ask_leaf(page) {
                return;
            }
        }
    }

    /// Whether another leaf is to be read beside those that are.
    fn is_settling_due(&mut self) -> bool {
        let leaves = self.deferred.leaves();
        let is_stuck = self.pool.file().is_some_and(PageFile::is_stuck);
        if leaves == 0 || self.is_short || is_stuck && !self.settling.is_wanted {
            return false;
        }
        let left = leaves.saturating_sub(self.settling.asked());
        let bytes = self.deferred.bytes() / leaves as u64 * left as u64;
        let bytes_max = self.deferred_bytes_max();
        self.settling.is_wanted
            || bytes > bytes_max - bytes_max / 8
            || self.settling.ahead < self.settling.until
            || self.deferred.start().is_some_and(|start| self.log.archived() - start.archived > bytes_max)
    }

    /// Has a leaf read that rows wait for, or what leads to it. `false`: nothing can be brought in now.
    fn ask_leaf(&mut self, page: PageId) -> bool {
        while let Some((space, row)) = self.deferred.first_row(page) {
            let db = self.spaces.database(space);
            let row = RowKey { db, head: row.head, key: row.key };
            let found = with_key(&row, |key| self.rows[usize::from(db)].resolve(&self.pool, key));
            // It may be overlaid.
            let Err(missing) = found else { return true };
            if let Missing::Astray(_) = missing {
                self.deferred.bar(page);
                return true;
            }
            match self.fetch(missing) {
                Fetch::Here => {}
                Fetch::Underway if missing == Missing::Page(page) => {
                    self.settling.reading.push(page);
                    return true;
                }
                fetch => {
                    self.settling.again.push(page);
                    return fetch == Fetch::Underway;
                }
            }
        }
        true
    }

    /// A read of a page has ended: what waits for it is applied, or goes on waiting.
    #[inline]
    pub(super) fn on_leaf_read(&mut self, fetched: Fetched) -> Fetched {
        if self.deferred.is_empty() && self.settling.reading.is_empty() {
            return fetched;
        }
        let (fetched, page) = match fetched {
            Fetched::Here(missing @ Missing::Page(page)) if !self.settle_leaf(page) => (Fetched::Again(missing), page),
            Fetched::Here(Missing::Page(page)) | Fetched::Again(Missing::Page(page)) => (fetched, page),
            Fetched::Damaged { missing: Missing::Page(page), .. }
            | Fetched::Failed { missing: Missing::Page(page), .. } => {
                // Rows wait until it can be had, and checkpoints carry them.
                self.deferred.bar(page);
                (fetched, page)
            }
            _ => return fetched,
        };
        if let Some(at) = self.settling.reading.iter().position(|reading| *reading == page) {
            self.settling.reading.swap_remove(at);
            if self.deferred.holds(page) && !self.deferred.is_barred(page) {
                self.settling.again.push(page);
            }
        }
        fetched
    }

    /// Once a second: memory is shared out between rows that wait and pages that are looked at.
    pub fn share_deferred(&mut self) {
        let reads = self.pool.file().map_or(0, |file| file.numbers().reads);
        let leaves = self.settling.applied.0;
        let (leaves_before, reads_before) = std::mem::replace(&mut self.settling.seen, (leaves, reads));
        let settled = leaves - leaves_before;
        let looked_at = (reads - reads_before).saturating_sub(settled);
        let parts = &mut self.settling.parts;
        if looked_at > settled {
            *parts = (*parts - 1).max(DEFERRED_PARTS_MIN);
        } else if settled > 0 {
            *parts = (*parts + 1).min(DEFERRED_PARTS_MAX);
        }
    }

    /// What could not be had is tried again.
    pub(super) fn retry_deferred(&mut self) {
        if self.deferred.unbar() {
            self.settling.ahead = 0;
        }
    }

    /// Whether rows wait that cannot be applied for now: their leaves cannot be had, or the page file takes nothing.
    pub fn is_settling_barred(&self) -> bool {
        !self.deferred.is_empty() && (self.deferred.barred() == self.deferred.leaves() || self.may_overlay())
    }

    /// Whether a checkpoint may begin as far as rows are concerned that cannot be applied. Keeps E8.
    pub(super) fn can_carry_deferred(&self) -> bool {
        self.deferred.barred() == 0 || {
            let bytes: usize = self.deferred.barred_rows().map(|(_, row)| put_of(0, row).archive_bytes()).sum();
            bytes <= CARRIED_BYTES_MAX && self.log.accepts_writes() && self.log.has_room()
        }
    }

    /// A checkpoint begins at what the log has now: what it carries is appended. What comes later does not need the log from
    /// further back than the checkpoint does. Keeps E8.
    pub(super) fn carry_deferred(&mut self) {
        self.note_start();
        for (space, row) in self.deferred.barred_rows() {
            self.log.append(&put_of(self.spaces.database(space), row));
        }
        self.deferred.renew_barred();
    }

    /// Where a checkpoint that begins now has the log needed from on, if rows wait. Keeps E8.
    pub(super) fn deferred_start(&mut self) -> Option<crate::log::LogStart> {
        if self.has_planted(Bug::DeferredForgotten) { None } else { self.deferred.start().map(|start| start.log) }
    }

    /// Nothing of this database waits any more: all its rows go.
    pub(super) fn cancel_deferred(&mut self, db: u8) {
        self.deferred.clear(self.spaces.of(db));
    }

    /// What waited for leaves of a database that was emptied waits again.
    pub(super) fn take_back_deferred(&mut self, number: u64) {
        for (page, leaf) in self.deferred.take_back(number) {
            // It may have come meanwhile, asked for before. Keeps E7.
            self.pool.send_back(page);
            self.deferred.keep(page, leaf);
        }
        self.settling.ahead = 0;
    }

    /// Whether nothing waits that the log has before a swap of databases: what a start applies of the log has the names of then, but it finds the
    /// trees swapped. If something does, it is applied soon. Keeps E8.
    pub(super) fn has_settled_swaps(&mut self) -> bool {
        let has = self.deferred.start().is_none_or(|start| start.log.lsn >= self.swapped);
        if !has {
            self.want_settled();
        }
        has
    }

    /// For one who has no better idea: has done what [`Missing::Deferred`] waits for, as far as goes.
    pub(super) fn fetch_deferred(&mut self) -> Fetch {
        self.want_settled();
        self.settle_some();
        if self.deferred.is_empty() {
            Fetch::Here
        } else if self.page_reads() == 0 {
            Fetch::Crowded
        } else {
            Fetch::Underway
        }
    }
}

fn put_of(db: u8, row: super::deferred::Row<'_>) -> Record<'_> {
    let (header, value) = Header::decode(row.payload);
    Record::Put { db, kind: header.kind, head: row.head, expire_ms: header.expire_ms, key: row.key, value }
}
