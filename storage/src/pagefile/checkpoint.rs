//! From "the trees as they are at this LSN" to a durable superblock.
//!
//! ```text
//!         begin            work: all saved     work: maps       written, and log      on_done      on_done
//!   Idle -------> Saving ----------------> Composing -----> Settling --------> Syncing -----> Sealing -----> Idle
//! ```
//!
//! Saving and Composing advance only in [`PageFile::work`], with as many bytes as the driver's pace allows; the others
//! advance by completions. Nothing in the foreground waits for any of it.

use super::image::{self, MapKind};
use super::map::{Side, site_of, word};
use super::{Bug, Flight, PageFile, Site, Superblock};
use crate::limits::{DIRECTORY_WORDS_MAX, PAGE_BYTES};
use crate::op::PageOp;
use crate::pool::Frame;
use crate::units::{Generation, Lsn, OutputId};
use std::collections::BTreeSet;

/// Names the superblock's buffer.
pub(super) const SUPERBLOCK_OUTPUT: OutputId = OutputId(u32::MAX);

/// Sites that a checkpoint leaves free for victims when it begins.
const SITES_SPARE: usize = 64;

pub(super) enum Phase {
    Idle,
    Saving,
    Composing(Composing),
    /// Everything is in output buffers up to this one.
    Settling(u64),
    Syncing,
    Synced,
    Sealing,
}

/// What is being composed: which map, where in it, and the pages of the directory that have changed.
#[derive(Default)]
pub(super) struct Composing {
    is_second: bool,
    next: usize,
    touched: BTreeSet<usize>,
}

/// How far a checkpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointState {
    /// None runs.
    Idle,
    /// Pages are to be saved.
    Saving,
    /// The maps are to be written.
    Composing,
    /// Operations are under way.
    Finishing,
}

impl Phase {
    pub(super) fn is_saving(&self) -> bool {
        matches!(self, Phase::Saving)
    }
}

/// What a page file holds of the checkpoint that it is making.
pub(super) struct Building {
    pub superblock: Superblock,
    pub page: Box<[Frame]>,
    pub log_durable: Lsn,
    /// The log must be durable up to here before the superblock is.
    pub log_wanted: Lsn,
}

impl Default for Building {
    fn default() -> Building {
        Building {
            superblock: Superblock::default(),
            page: bytemuck::zeroed_slice_box(1),
            log_durable: Lsn(0),
            log_wanted: Lsn(0),
        }
    }
}

impl PageFile {
    pub fn checkpoint_state(&self) -> CheckpointState {
        match self.phase {
            Phase::Idle => CheckpointState::Idle,
            Phase::Saving => CheckpointState::Saving,
            Phase::Composing(_) => CheckpointState::Composing,
            _ => CheckpointState::Finishing,
        }
    }

    /// Whether a checkpoint can begin that has to save so many pages. If sites are missing, they are asked for. Keeps P4.
    pub(crate) fn can_begin(&mut self, dirty_pages: usize, dirty_extents: usize) -> bool {
        if !matches!(self.phase, Phase::Idle) || self.state != super::FileState::Open && !self.is_growth_refused {
            return false;
        }
        let need = self.sites_needed(dirty_pages, dirty_extents) + SITES_SPARE;
        if (self.free_sites() as usize) < need {
            self.space.release_some(need);
        }
        let free = self.free_sites() as usize;
        if free < need {
            self.want_sites((need - free) as u32 + if self.space.sites() == 0 { super::SUPERBLOCK_SITES } else { 0 });
        }
        free >= need
    }

    fn sites_needed(&self, dirty_pages: usize, dirty_extents: usize) -> usize {
        dirty_pages + self.pages.pages_max(dirty_pages) + self.extents.pages_max(2 * dirty_extents)
    }

    pub(super) fn free_sites(&self) -> u32 {
        self.space.free_sites() + self.output.open_sites()
    }

    /// Begins a checkpoint of the trees as they are now. Its `superblock` says everything but what is the file's
    /// to say. It waits until the log is durable up to its own LSN and up to `behind`. The caller has seen
    /// [`PageFile::can_begin`], and saves all that is of the generation which ends now.
    pub(crate) fn begin(&mut self, superblock: Superblock, dirty_pages: usize, dirty_extents: usize, behind: Lsn) {
        assert!(matches!(self.phase, Phase::Idle));
        self.reserved = self.sites_needed(dirty_pages, dirty_extents) as u32;
        assert!(self.free_sites() >= self.reserved, "sites were counted before");
        self.stamp.lsn = superblock.lsn;
        self.building.log_wanted = behind.max(Lsn(superblock.settled));
        self.building.superblock = Superblock { generation: self.generation.0, ..superblock };
        self.generation = Generation(self.generation.0 + 1);
        self.pages.freeze();
        self.extents.freeze();
        self.phase = Phase::Saving;
        self.taken = 0;
    }

    /// Goes on with the running checkpoint by about `bytes`. `are_pages_saved`: no page of its generation is left to save.
    pub(crate) fn work(&mut self, bytes: usize, are_pages_saved: bool) {
        let mut left = bytes;
        if matches!(self.phase, Phase::Saving) {
            let (done, are_extents_saved) = self.work_extents(left);
            left = left.saturating_sub(done);
            if !are_pages_saved || !are_extents_saved {
                return;
            }
            self.phase = Phase::Composing(Composing::default());
        }
        if let Phase::Composing(composing) = &mut self.phase {
            let mut composing = std::mem::take(composing);
            self.phase = match self.compose(&mut composing, left) {
                true => self.settle(),
                false => Phase::Composing(composing),
            };
        }
    }

    /// Makes images of map pages, about `bytes` of them. Whether both maps are done.
    fn compose(&mut self, composing: &mut Composing, bytes: usize) -> bool {
        for _ in 0..bytes.div_ceil(PAGE_BYTES) {
            let is_second = composing.is_second;
            let (kind, directory_kind) = kinds(is_second);
            let map = if is_second { &self.extents } else { &self.pages };
            if let Some(page) = map.next_dirty(composing.next) {
                composing.next = page + 1;
                composing.touched.insert(page / super::map::MAP_WORDS);
                self.write_map_page(kind, page);
            } else if let Some(page) = composing.touched.pop_first() {
                self.write_map_page(directory_kind, page);
            } else if is_second {
                return true;
            } else {
                *composing = Composing { is_second: true, ..Composing::default() };
            }
        }
        false
    }

    fn write_map_page(&mut self, kind: MapKind, page: usize) {
        let is_second = matches!(kind, MapKind::Extents | MapKind::ExtentsDirectory);
        let map = if is_second { &mut self.extents } else { &mut self.pages };
        self.reserved = self.reserved.saturating_sub(1);
        let (site, out) =
            self.output.place(&mut self.space).expect("the sites of a checkpoint are counted when it begins");
        let old = match kind {
            MapKind::Pages | MapKind::Extents => {
                let crc = image::of_words(kind, page, map.frozen_words(page), self.stamp, out);
                map.page_written(page, word(site, crc))
            }
            MapKind::PagesDirectory | MapKind::ExtentsDirectory => {
                let crc = image::of_words(kind, page, map.directory_words(page), self.stamp, out);
                map.root_written(page, word(site, crc))
            }
        };
        self.give_up(site_of(old), 1, Side::Checkpoint);
    }

    /// Everything is in output buffers: the superblock can be made.
    fn settle(&mut self) -> Phase {
        self.reserved = 0;
        self.output.close(&mut self.space);
        let building = &mut self.building;
        building.superblock.sites = self.space.sites();
        building.superblock.pages = self.pages.root();
        building.superblock.extents = self.extents.root();
        let out = bytemuck::cast_slice_mut(&mut building.page);
        building.superblock.encode(self.config.shard, self.config.salt, out);
        Phase::Settling(self.output.number_last())
    }

    /// The log is durable up to here. Superblocks wait for it.
    pub fn set_log_durable(&mut self, lsn: Lsn) {
        self.building.log_durable = lsn;
    }

    /// The next operation of the running checkpoint. Keeps P2.
    pub(super) fn poll_checkpoint(&mut self) -> Option<PageOp> {
        match self.phase {
            Phase::Settling(_) if self.config.planted == Some(Bug::SuperblockBeforePages) => {}
            Phase::Settling(last) => {
                let is_logged = self.building.log_durable >= self.building.log_wanted
                    || self.config.planted == Some(Bug::SuperblockBeforeLog);
                if !self.output.is_written(last) || !is_logged {
                    return None;
                }
                self.phase = Phase::Syncing;
                let op = self.fly(Flight::Sync);
                return Some(PageOp::Sync { op });
            }
            // No write meets a read: the scrub may be looking at a superblock.
            Phase::Synced if self.is_scrubbing_superblock() => return None,
            Phase::Synced => {}
            _ => return None,
        }
        self.phase = Phase::Sealing;
        let op = self.fly(Flight::Superblock);
        let offset = self.offset(Site(self.building.superblock.generation % super::SUPERBLOCK_SITES));
        Some(PageOp::WriteStable { op, offset, output: SUPERBLOCK_OUTPUT, len: PAGE_BYTES as u32 })
    }

    pub(super) fn on_synced(&mut self) {
        assert!(matches!(self.phase, Phase::Syncing));
        self.phase = Phase::Synced;
    }

    /// The superblock is durable. Keeps P1 and P7.
    pub(super) fn on_sealed(&mut self) {
        assert!(matches!(self.phase, Phase::Sealing));
        self.phase = Phase::Idle;
        self.log_start = self.durable.start();
        self.durable = self.building.superblock.clone();
        self.pages.thaw();
        self.extents.thaw();
        self.output.trim();
        self.release();
        self.numbers.checkpoints += 1;
    }

    pub(super) fn superblock_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.building.page)
    }
}

fn kinds(is_second: bool) -> (MapKind, MapKind) {
    if is_second { (MapKind::Extents, MapKind::ExtentsDirectory) } else { (MapKind::Pages, MapKind::PagesDirectory) }
}

const _: () = assert!(DIRECTORY_WORDS_MAX >= 2);
