//! The engine and its page file: checkpoints begin here, room is made here, and what is absent is brought in.

use super::elements;
use super::orphans::Orphans;
use super::{Engine, GROUP_PAGES_A_ROW, Stop, WRITE_PAGES_MAX, pages_max};
use crate::error::Missing;
use crate::extent::Extents;
use crate::limits::{PAGE_BYTES, READS_AHEAD_MAX, READS_AHEAD_SHARE};
use crate::log::LogStart;
use crate::op::{DiskDone, PageOp};
use crate::pagefile::{Arrival, CheckpointState, FileState, PageFile, Pin, Superblock};
use crate::pool::{ChunkHook, Fetch, Fetched, Pool};
use crate::tree::Tree;
use crate::units::{Lsn, OpId};

/// The share of memory that extents may have before they are given up: one part of so many, and while some are being read,
/// for commands that need several at once.
const EXTENTS_SHARE: u64 = 4;
const EXTENTS_SHARE_READING: u64 = 2;

/// The share of memory, as one part of so many, above which extents that no checkpoint has written make writers wait.
const UNSAVED_SHARE: u64 = 2;

/// Frames that are kept free ahead of need, as one part of so many of all, and at most.
const AHEAD_SHARE: usize = 64;
const AHEAD_MAX: usize = 256;

impl Engine {
    /// An engine whose rows are those of a checkpoint, ready for replay from its LSN on.
    pub(super) fn over(
        memory_bytes_max: u64,
        on_chunk: ChunkHook,
        log: crate::log::LogWriter,
        file: PageFile,
        superblock: &Superblock,
    ) -> Engine {
        let extents = Extents::opened(&file);
        let rows = std::array::from_fn(|tree| Tree::opened_as(&superblock.rows[tree], elements::access(tree)));
        Engine {
            orphans: Orphans::of(&rows),
            rows,
            expiring: superblock.expiring,
            outside: superblock.outside,
            deadlines: Tree::opened(&superblock.deadlines),
            spaces: superblock.spaces,
            collection: superblock.collection,
            extents,
            settled: Lsn(superblock.settled),
            ..Engine::in_pool(Pool::over(pages_max(memory_bytes_max), on_chunk, file), memory_bytes_max, log)
        }
    }

    pub fn page_file(&self) -> Option<&PageFile> {
        self.pool.file()
    }

    /// Sees to it that a write which needs `bytes` beside pages can be applied once it is resolved. Keeps E3.
    #[inline]
    pub(super) fn make_room(&mut self, bytes: usize) -> Result<(), Stop> {
        let Some(file) = self.pool.file() else { return Ok(()) };
        let has_room = self.pool.frames_free() >= WRITE_PAGES_MAX && bytes <= PAGE_BYTES && !self.is_short;
        if has_room && !file.is_flooded() {
            return Ok(());
        }
        self.make_room_for(WRITE_PAGES_MAX, bytes)
    }

    /// Before a group that can be undone and changes about so many rows: makes room for it, as far as memory goes.
    #[inline]
    pub fn make_room_for_group(&mut self, rows: usize) -> Result<(), Stop> {
        let Some(file) = self.pool.file() else { return Ok(()) };
        let pages = (WRITE_PAGES_MAX + GROUP_PAGES_A_ROW * rows).min(self.pool.pages_max() / 2);
        if self.pool.frames_free() >= pages && !self.is_short && !file.is_flooded() {
            return Ok(());
        }
        self.make_room_for(pages, 0)
    }

    #[cold]
    pub(super) fn make_room_for(&mut self, pages: usize, bytes: usize) -> Result<(), Stop> {
        if self.is_in_group {
            // The group has made room for all of its writes, and what it has resolved must stay.
            if self.pool.frames_free() >= WRITE_PAGES_MAX {
                return Ok(());
            }
            // What was read or redone meanwhile may have taken some of it: one that can be undone begins again, unless it is
            // itself too much for this memory.
            let pages = WRITE_PAGES_MAX + GROUP_PAGES_A_ROW * self.txns.kept();
            let begins_again = self.txns.is_keeping && 2 * pages <= self.pool.pages_max();
            return Err(if begins_again { Stop::Crowded } else { Stop::Full });
        }
        if self.is_short {
            return Err(Stop::Stuck);
        }
        self.balance(bytes as u64);
        let file = self.pool.file().expect("room is made where there is a page file");
        if file.is_flooded() {
            // What waits for a disk that takes nothing waits until somebody makes room there.
            return Err(if file.is_stuck() { Stop::Stuck } else { Stop::Crowded });
        }
        let is_short_of_sites = file.state() != FileState::Open;
        let Err(_) = self.pool.make_room(pages) else { return Ok(()) };
        if self.pool.file().is_some_and(PageFile::is_stuck) {
            return Err(Stop::Stuck);
        }
        // A checkpoint gives sites back where there are no further ones. Else it is the disk that is waited for.
        self.is_checkpoint_wanted |= is_short_of_sites;
        Err(Stop::Crowded)
    }

    /// Whether a write that was told that memory is crowded could go on now, or would be told something else.
    pub fn has_room_again(&self) -> bool {
        let Some(file) = self.pool.file() else { return true };
        let has_room = self.pool.frames_free() >= WRITE_PAGES_MAX
            && self.extents.unsaved_bytes() <= self.memory_bytes_max / UNSAVED_SHARE;
        self.is_short || has_room && !file.is_flooded() || file.is_stuck()
    }

    /// Pages that may be read now though nobody waits for them yet.
    pub fn reads_ahead(&self) -> usize {
        let max = (self.pool.pages_max() / READS_AHEAD_SHARE).min(READS_AHEAD_MAX);
        max.saturating_sub(self.page_reads())
    }

    /// Victims that were written since the last checkpoint began, and how many make the next one due.
    pub fn sites_taken(&self) -> (u64, u64) {
        let (taken, due) = self.pool.file().map_or((0, 1), PageFile::sites_taken);
        (taken.into(), due.into())
    }

    /// Whether nothing may become dirty, for the page file takes nothing and much of memory is dirty.
    pub fn is_stuck(&self) -> bool {
        self.is_short
    }

    /// Whether the page file has no further sites, so that only a checkpoint gives some back.
    pub fn is_short_of_sites(&self) -> bool {
        self.pool.file().is_some_and(|file| file.state() != FileState::Open)
    }

    /// Sees to it that `bytes` which will stand outside the pages can be held: as long as a checkpoint has not written them,
    /// they stay. A single write always can, in the end. With 0 bytes a group asks that only removes rows.
    #[cold]
    pub fn admit(&mut self, bytes: usize) -> Result<(), Stop> {
        if bytes > 0 {
            self.admit_growth()?;
        }
        let unsaved = self.extents.unsaved_bytes();
        let is_crowded = unsaved > 0 && unsaved + bytes as u64 > self.memory_bytes_max / UNSAVED_SHARE;
        let Some(file) = self.pool.file().filter(|_| is_crowded && !self.is_in_group) else { return Ok(()) };
        if file.is_stuck() {
            return Err(Stop::Stuck);
        }
        self.is_checkpoint_wanted = true;
        Err(Stop::Crowded)
    }

    /// Before something is added: whether there are numbers for it. What is removed needs none, and a group has asked before it
    /// began.
    #[inline]
    pub(super) fn admit_growth(&self) -> Result<(), Stop> {
        if self.is_outgrown && !self.is_in_group { Err(Stop::Outgrown) } else { Ok(()) }
    }

    /// Shares memory out to pages and extents, `bytes` of which are about to come.
    fn balance(&mut self, bytes: u64) {
        let parts = if self.page_reads() == 0 { EXTENTS_SHARE } else { EXTENTS_SHARE_READING };
        let share = (self.memory_bytes_max / parts).saturating_sub(bytes);
        if self.extents.bytes() > share
            && let Some(file) = self.pool.file()
        {
            self.extents.drop_some(share, file);
        }
        let others = self.extents.bytes() + self.redo_bytes() + self.deferred.bytes();
        let pages = self.memory_bytes_max.saturating_sub(others) / PAGE_BYTES as u64;
        self.pool.set_pages_max((pages as usize).max(4 * WRITE_PAGES_MAX));
    }

    /// A checkpoint is to be made. Should one be running, another one follows.
    pub fn want_checkpoint(&mut self) {
        self.is_checkpoint_wanted = self.pool.file().is_some();
    }

    pub fn is_checkpoint_wanted(&self) -> bool {
        self.is_checkpoint_wanted
    }

    pub fn checkpoint_state(&self) -> CheckpointState {
        self.pool.file().map_or(CheckpointState::Idle, PageFile::checkpoint_state)
    }

    /// Whether a write of so many rows at once has to be prepared: something is absent, or room is scarce.
    #[inline]
    pub fn needs_preparation(&self, rows: usize) -> bool {
        self.pool.file().is_some()
            && (self.redo.is_some()
                || self.pool.pages() > self.pool.pages_resident()
                || self.pool.frames_free() < super::WRITE_PAGES_MAX + super::GROUP_PAGES_A_ROW * rows)
    }

    /// Bytes that the running checkpoint has to save yet, pages only.
    pub fn checkpoint_bytes(&self) -> u64 {
        (self.pool.aging_max() * PAGE_BYTES) as u64
    }

    /// Pages that exist, pages in memory, and how many have left it since the start.
    pub fn page_counts(&self) -> (u64, u64, u64) {
        (self.pool.pages() as u64, self.pool.pages_resident() as u64, self.pool.evictions())
    }

    /// Whether anything has changed since the last checkpoint began.
    pub fn is_dirty(&self) -> bool {
        self.pool.is_dirty() || self.extents.dirty_max() > 0
    }

    /// Whether so much of memory has changed since the last checkpoint that there is little else to give up.
    pub fn is_mostly_dirty(&self) -> bool {
        self.pool.dirty_pages() + self.pool.aging_max() > self.pool.pages_max() / 2
    }

    /// Whether extents that no checkpoint has written will make writers wait soon.
    pub fn has_many_unsaved(&self) -> bool {
        self.extents.unsaved_bytes() > self.memory_bytes_max / (2 * UNSAVED_SHARE)
    }

    /// Whether images may be made for the running checkpoint, or too many wait for the disk.
    pub fn has_output_room(&self) -> bool {
        self.pool.file().is_some_and(PageFile::has_output_room)
    }

    /// Background work, to be called between commands: begins the checkpoint that is wanted, goes on with the running one
    /// by about `bytes`, and keeps some frames free. `unix_us` is noted as the time of a checkpoint that begins.
    pub fn work(&mut self, unix_us: u64, bytes: usize) {
        if self.pool.file().is_none() || self.is_in_group {
            return;
        }
        self.balance(0);
        self.file_mut().release_some();
        if self.settling.is_overlaid() {
            self.end_overlay();
        }
        self.is_short = self.pool.file().is_some_and(PageFile::is_stuck) && {
            self.pool.tidy_dirty();
            self.is_mostly_dirty() || self.settling.is_overlaid()
        };
        let bounds = self.file_mut().bounds();
        self.is_outgrown =
            self.pool.ids_left() < bounds.spare || self.extents.numbers_left(bounds.extents) < bounds.spare;
        let ahead = (self.pool.pages_max() / AHEAD_SHARE).clamp(2 * WRITE_PAGES_MAX, AHEAD_MAX);
        // If it cannot be done now, a write that needs it asks again.
        let _ = self.pool.make_room(ahead);
        self.shrink_redo();
        self.settle_some();
        if self.is_checkpoint_due() && self.may_pass_txns() && self.has_settled_swaps() && self.mark_orphans() {
            self.begin_checkpoint(unix_us);
        }
        if self.checkpoint_state() != CheckpointState::Idle {
            let are_saved = self.pool.save_some(bytes.div_ceil(PAGE_BYTES));
            self.file_mut().work(bytes, are_saved);
        }
    }

    /// Whether a checkpoint begins, as far as transactions let it. Keeps E6.
    pub(super) fn is_checkpoint_due(&self) -> bool {
        self.is_checkpoint_wanted
            && self.checkpoint_state() == CheckpointState::Idle
            && self.detached.is_empty()
            && self.can_carry_redo()
            && self.can_carry_deferred()
    }

    fn begin_checkpoint(&mut self, unix_us: u64) {
        let (pages, extents) = (self.pool.dirty_pages(), self.extents.dirty_max());
        if !self.file_mut().can_begin(pages, extents) {
            return;
        }
        self.is_checkpoint_wanted = false;
        let generation = self.pool.changes_in();
        let settled = self.log.appended();
        let start = self.log.start();
        self.carry_deferred();
        let LogStart { lsn, flush, incarnation, .. } = self.deferred_start().unwrap_or(start);
        let superblock = Superblock {
            lsn: lsn.0,
            settled: settled.0,
            flush: flush.map(|flush| flush.0),
            incarnation: incarnation.0,
            unix_us,
            rows: self.rows.each_ref().map(Tree::root),
            expiring: self.expiring,
            outside: self.outside,
            deadlines: self.deadlines.root(),
            spaces: self.spaces,
            collection: self.collection,
            ..Superblock::default()
        };
        self.carry_redo();
        let behind = self.pass_txns();
        let frozen = self.extents.freeze(generation);
        self.file_mut().begin(superblock, pages, extents, behind);
        for (id, extent) in frozen {
            self.file_mut().save_extent(id, extent);
        }
        self.pool.freeze();
    }

    fn file_mut(&mut self) -> &mut PageFile {
        self.pool.file_mut().expect("the caller has seen that there is a page file")
    }

    /// The next operation on the page file, if there is one now.
    pub fn poll_pages(&mut self) -> Option<PageOp> {
        let durable = self.log.durable();
        let file = self.pool.file_mut()?;
        file.set_log_durable(durable);
        file.poll()
    }

    /// The next read of the page file. [`Engine::poll_pages`] answers these too; this is for a driver in the middle of a turn.
    #[inline]
    pub fn poll_page_read(&mut self) -> Option<PageOp> {
        self.pool.file_mut()?.poll_read()
    }

    /// Takes the answer to an operation on the page file that was no read.
    pub fn on_page_done(&mut self, done: DiskDone) {
        self.file_mut().on_done(done);
        if self.checkpoint_state() == CheckpointState::Idle {
            self.extents.settle();
        }
    }

    /// Takes the answer to a read of the page file: its bytes, or the errno.
    pub fn on_page_read(&mut self, op: OpId, result: Result<&[u8], i32>) -> Fetched {
        match self.pool.on_read(op, result) {
            Ok(fetched) => self.on_leaf_read(fetched),
            Err(Arrival::Extent(id, extent)) => {
                self.extents.supply(id, extent);
                Fetched::Here(Missing::Extent(id))
            }
            Err(_) => unreachable!("only an extent is not the pool's"),
        }
    }

    /// Has what is missing brought in.
    pub fn fetch(&mut self, missing: Missing) -> Fetch {
        match missing {
            Missing::Page(page) if !self.can_settle(page) => Fetch::Crowded,
            Missing::Page(page) => match self.pool.fetch(page) {
                Fetch::Here if !self.settle_leaf(page) => Fetch::Crowded,
                fetched => fetched,
            },
            Missing::Astray(_) => Fetch::Here,
            Missing::Pending(_) | Missing::Redo => self.fetch_redo(missing),
            Missing::Deferred => self.fetch_deferred(),
            Missing::Extent(id) if self.extents.is_here(id) || self.extents.recall(id) => Fetch::Here,
            Missing::Extent(id) => {
                let file = self.file_mut();
                if !file.is_reading(missing) {
                    file.read_extent(id);
                }
                Fetch::Underway
            }
        }
    }

    /// The log is needed from here on; what is wholly before may go.
    pub fn log_needed(&self) -> Lsn {
        self.pool.file().map_or(Lsn(0), PageFile::log_needed)
    }

    /// Tries again what the page file had no room for.
    pub fn retry_pages(&mut self) {
        self.retry_deferred();
        if let Some(file) = self.pool.file_mut() {
            file.retry();
        }
    }

    /// Keeps the newest durable checkpoint as it is, until it is unpinned. `None` if there is none. If rows waited for their
    /// leaves it is not the rows of a moment ([`Superblock::is_whole`]): what follows its LSN in the log makes it so.
    pub fn pin(&mut self) -> Option<Pin> {
        self.pool.file_mut()?.pin()
    }

    pub fn unpin(&mut self, pin: Pin) {
        if let Some(file) = self.pool.file_mut() {
            file.unpin(pin);
        }
    }

    /// Reads of the page file that are under way.
    pub fn page_reads(&self) -> usize {
        self.pool.file().map_or(0, PageFile::reads_in_flight)
    }
}
