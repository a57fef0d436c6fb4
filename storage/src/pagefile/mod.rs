//! The page file of one shard: where the images of pages stand, which of them a checkpoint consists of, and which
//! places are free. Owns what is on disk beside the log; knows nothing of trees, rows or commands. Performs nothing:
//! operations leave as [`PageOp`] and come back as [`DiskDone`]. The choice of this shape is in
//! `docs/decisions/0010-page-file.md`.
//!
//! The file is an array of *sites*, each as long as a page. Sites 0 and 1 are the superblocks. Everything else is an
//! *image*: of a page of a tree ([`crate::page`]), of a map page ([`map`], [`image`]), or, over several sites, of an
//! extent ([`extents`]).
//!
//! ```text
//!   superblock --> directory pages --> map pages --> pages, extents
//! ```
//!
//! Each arrow is a *word*: the site and the checksum of what it leads to. So an image is valid only if the one above it
//! says so: besides damage, a write that was lost or went elsewhere shows.
//!
//! A *checkpoint* is everything that one superblock leads to: the rows at its LSN. *Generation* g is what changed between
//! the beginnings of checkpoints g-1 and g.
//!
//! - **P1** Nothing that a superblock on disk leads to is overwritten. An image goes to a site that is free; a site
//!   given up in generation g (checkpoint g does not lead to it, an earlier one may) is free when superblock g+1 is
//!   durable, for then both superblocks are of checkpoints that do not lead to it; and not before every pinned
//!   checkpoint older than g is unpinned.
//! - **P2** A superblock is written when everything that it leads to was written and then synced, and when the log is
//!   durable up to its LSN, and behind that up to what the checkpoint carries ([`crate::engine`], E6).
//! - **P3** A page of a generation that the running checkpoint has not yet saved is copied before it is changed or freed.
//! - **P4** What the checkpoint has to save fits into free sites that were counted when it began, so that no change of a
//!   page ever waits for space.
//! - **P5** An image stands in an output buffer until its write was answered, and is read from there meanwhile. So no
//!   read is issued for a site with a write in flight, and a page may be evicted once its image is made.
//! - **P6** No image is used unless its checksum, its number and the word that leads to it agree.
//! - **P7** The log is kept from the flush on in which the record of the older superblock's LSN ends. So if the newer one
//!   does not read back, the older one and the log give everything that was acknowledged.

pub mod bug;
pub mod superblock;

mod bounds;
mod check;
mod checkpoint;
pub(crate) mod extent_image;
pub(crate) mod extents;
pub(crate) mod image;
pub(crate) mod map;
mod opening;
mod output;
mod read;
mod scrub;
mod space;

#[cfg(test)]
mod tests;

pub use bounds::Bounds;
pub use bug::Bug;
pub use checkpoint::CheckpointState;
pub use image::map_words;
pub use opening::{OpenStep, Opening};
pub use read::Arrival;
pub use scrub::{ScrubNumbers, ScrubStep, Suspect, Suspicion};
pub use space::Run;
pub use superblock::{MapRoot, Superblock, TreeRoot};

use crate::limits::{
    CHECKPOINT_FILE_BYTES_MIN, CHECKPOINT_FILE_SHARE, CLONES_OUTPUTS_MIN, CLONES_SHARE, OUTPUT_FLIGHT_PAGES_MAX,
    OUTPUT_FLIGHTS_MAX, OUTPUT_PAGES, OUTPUTS_MAX, OUTPUTS_MIN, OUTPUTS_SHARE, PAGE_BYTES,
};
use crate::log::LogStart;
use crate::op::{DiskDone, PageOp};
use crate::page::Page;
use crate::units::{Generation, Lsn, OpId, OutputId, PageId, SegmentId, ShardId, Site};
use checkpoint::{Building, Phase};
use extents::ExtentJob;
use image::Stamp;
use map::{Map, Side, site_of, word};
use output::Output;
use read::Reads;
use scrub::Scrub;
use space::Space;
use std::collections::VecDeque;

/// What a page file is told when it opens. All but the last two is the same for the life of a data directory.
#[derive(Clone, Copy, Debug)]
pub struct PageFileConfig {
    pub shard: ShardId,
    /// A secret number, drawn when the data directory is created.
    pub salt: u32,
    /// Of the log's segments.
    pub segment_bytes: u64,
    /// Bytes that the file grows by at least, when it has to: [`crate::limits::GROW_BYTES`] but in tests.
    pub grow_bytes: u64,
    pub bounds: Bounds,
    /// A bug to have, for tests of the tests.
    pub planted: Option<Bug>,
}

/// Whether the page file can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    Open,
    /// It could not grow, or there was no room for a write. Nothing is lost; [`PageFile::retry`] tries again.
    Full {
        errno: i32,
    },
    /// A write or a sync failed: no checkpoint succeeds until the next start, and none of the log is given up.
    Failed {
        offset: u64,
        /// `None`: a short write.
        errno: Option<i32>,
    },
}

/// Numbers of a page file since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileNumbers {
    /// Checkpoints that became durable.
    pub checkpoints: u64,
    /// Images of pages that were written, for checkpoints and as victims.
    pub pages_written: u64,
    /// Of these, those written so that their frames could be used for other pages.
    pub victims_written: u64,
    /// Of these, those copied because they were about to change.
    pub pages_cloned: u64,
    pub bytes_written: u64,
    pub reads: u64,
    pub damaged_reads: u64,
    /// Openings that had to go back to another checkpoint than the newest: 0 or 1.
    pub fallbacks: u64,
    pub sites: u64,
    pub sites_free: u64,
    /// Sites that become free with a later checkpoint.
    pub sites_held: u64,
    pub outputs: u64,
}

enum Flight {
    Write(OutputId),
    Superblock,
    Sync,
    Grow { sites: u32 },
    Forget { before: SegmentId },
}

/// A pinned checkpoint: what it leads to stays as it is until [`PageFile::unpin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    number: u64,
    pub superblock: Superblock,
}

/// Runs of sites that become free in one turn.
const RELEASES_PER_TURN: usize = 256;

/// Operations of page files are told from the log's by this bit.
pub const PAGE_OP_BIT: u64 = 1 << 63;

const SUPERBLOCK_SITES: u32 = 2;

const EFBIG: i32 = 27;
const ENOSPC: i32 = 28;

/// One shard's page file.
pub struct PageFile {
    config: PageFileConfig,
    space: Space,
    pages: Map,
    extents: Map,
    output: Output,
    /// Buffers above which no victim is written.
    outputs_max: usize,
    /// Buffers above which nothing is changed that has to be copied first.
    clones_max: usize,
    extent_jobs: VecDeque<ExtentJob>,
    flights: Vec<(OpId, Flight)>,
    reads: Reads,
    /// Reads that were asked for and not yet handed to the driver.
    reads_new: VecDeque<PageOp>,
    scrub: Scrub,
    op_next: u64,
    /// Of what changes now.
    generation: Generation,
    phase: Phase,
    /// Sites that the running checkpoint may still need.
    reserved: u32,
    /// Victims that were written since the last checkpoint began.
    taken: u32,
    /// Sites that the file ought to have.
    sites_wanted: u32,
    /// The file is full, but only for what needs further sites.
    is_growth_refused: bool,
    building: Building,
    durable: Superblock,
    /// From here on the log is needed; segments below the second are gone, as far as is known.
    log_start: LogStart,
    segments_gone: SegmentId,
    pins: Vec<(u64, Generation)>,
    pin_next: u64,
    state: FileState,
    stamp: Stamp,
    numbers: FileNumbers,
}

impl PageFile {
    /// A page file in which nothing stands yet. It may not exist.
    pub fn empty(config: PageFileConfig) -> PageFile {
        PageFile {
            config,
            space: Space::default(),
            pages: Map::default(),
            extents: Map::default(),
            output: Output::default(),
            outputs_max: OUTPUTS_MAX,
            clones_max: usize::MAX,
            extent_jobs: VecDeque::new(),
            flights: Vec::new(),
            reads: Reads::default(),
            reads_new: VecDeque::new(),
            scrub: Scrub::default(),
            op_next: 0,
            generation: Generation(1),
            phase: Phase::Idle,
            reserved: 0,
            taken: 0,
            sites_wanted: 0,
            is_growth_refused: false,
            building: Building::default(),
            durable: Superblock::default(),
            log_start: LogStart::default(),
            segments_gone: SegmentId(0),
            pins: Vec::new(),
            pin_next: 0,
            state: FileState::Open,
            stamp: Stamp { salt: config.salt, lsn: 0 },
            numbers: FileNumbers::default(),
        }
    }

    /// The page file of a pool of so many pages: its buffers are to be a small part of them.
    pub(crate) fn set_memory(&mut self, pages_max: usize) {
        let outputs = pages_max / OUTPUT_PAGES;
        self.outputs_max = (outputs / OUTPUTS_SHARE).clamp(OUTPUTS_MIN, OUTPUTS_MAX);
        self.clones_max = (outputs / CLONES_SHARE).max(CLONES_OUTPUTS_MIN * self.outputs_max);
    }

    /// The generation of what changes now.
    #[inline]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether an image of this page exists, newer than any that is absent from the file or its output.
    pub(crate) fn has_page(&self, page: PageId) -> bool {
        site_of(self.pages.get(page.0)).0 != 0
    }

    /// Page ids below this one may have images.
    pub(crate) fn page_words(&self) -> usize {
        self.pages.len()
    }

    /// Whether a checkpoint is being made that still needs pages. After a failure none is.
    pub(crate) fn is_saving(&self) -> bool {
        self.phase.is_saving() && self.can_save()
    }

    /// Whether what is dirty has to stay in memory: the file has failed, or it is full and nothing that runs gives room back.
    pub(crate) fn is_stuck(&self) -> bool {
        match self.state {
            FileState::Open => false,
            FileState::Full { .. } => {
                let goes_on = self.is_growth_refused && self.extent_jobs.is_empty();
                matches!(self.phase, Phase::Idle) || !goes_on
            }
            FileState::Failed { .. } => true,
        }
    }

    /// Whether images can still get to the file.
    pub(crate) fn can_save(&self) -> bool {
        !matches!(self.state, FileState::Failed { .. })
    }

    /// The same as [`PageFile::save_frozen`], for a page that is about to change or go. Keeps P3.
    pub(crate) fn save_before_change(&mut self, id: PageId, page: &Page) {
        if self.config.planted != Some(Bug::MissingClone) {
            self.numbers.pages_cloned += 1;
            self.save_frozen(id, page);
        }
    }

    /// Makes the image of a page as it was when the running checkpoint began. Keeps P4: there is a site.
    pub(crate) fn save_frozen(&mut self, id: PageId, page: &Page) {
        if !self.is_saving() {
            // The checkpoint has failed for good: nobody needs the image.
            return;
        }
        self.reserved = self.reserved.saturating_sub(1);
        self.save(id, page, Side::Checkpoint).expect("the sites of a checkpoint are counted when it begins");
    }

    /// Makes the image of a page as it is now, so that it can leave memory. `false`: there is no room for it now.
    pub(crate) fn save_victim(&mut self, id: PageId, page: &Page) -> bool {
        if !self.has_room_for_victim() || self.save(id, page, Side::Live).is_none() {
            return false;
        }
        self.numbers.victims_written += 1;
        true
    }

    /// Whether a dirty page may be written ahead of a checkpoint. When sites get few, more are asked for.
    pub(crate) fn has_room_for_victim(&mut self) -> bool {
        let ahead = (self.config.grow_bytes / PAGE_BYTES as u64) as u32 / 2;
        if self.free_sites() <= self.reserved + ahead {
            self.release_some();
            let free = self.free_sites();
            if free <= self.reserved + ahead {
                self.want_sites(self.reserved + ahead + 1 - free);
            }
            if free <= self.reserved {
                return false;
            }
        }
        self.output.count() <= self.outputs_max
    }

    /// Whether few enough buffers wait for the disk that a checkpoint may go on. More than victims may fill, so that these
    /// do not hold it up.
    pub(crate) fn has_output_room(&self) -> bool {
        self.output.count() <= 2 * self.outputs_max
    }

    /// Whether so many buffers wait for the disk that nothing is to be changed of which the checkpoint needs a copy.
    #[inline]
    pub(crate) fn is_flooded(&self) -> bool {
        self.output.count() > self.clones_max && self.is_saving()
    }

    /// Victims that were written since the last checkpoint began, and how many make the next one due: what they replaced is
    /// held until the checkpoint after that. So the file has, beside what is live, three times the second number and three
    /// times what is dirty in memory at most.
    pub(crate) fn sites_taken(&self) -> (u32, u32) {
        let live = self.space.sites() - self.space.free_sites() - self.space.held_sites();
        let due = (live / CHECKPOINT_FILE_SHARE).max((CHECKPOINT_FILE_BYTES_MIN / PAGE_BYTES) as u32);
        (self.taken, due)
    }

    fn save(&mut self, id: PageId, page: &Page, side: Side) -> Option<()> {
        assert!(page.id() == id);
        let (site, out) = self.output.place(&mut self.space)?;
        let crc = image::of_page(page, self.stamp, out);
        self.numbers.pages_written += 1;
        self.taken += u32::from(side == Side::Live);
        let old = self.pages.set(id.0, word(site, crc), side);
        self.give_up(site_of(old), 1, side);
        Some(())
    }

    /// The page does not exist any more. If the running checkpoint needed its image, that has been saved.
    pub(crate) fn forget_page(&mut self, page: PageId) {
        if self.has_page(page) {
            let old = self.pages.set(page.0, 0, Side::Live);
            self.give_up(site_of(old), 1, Side::Live);
        }
    }

    /// Nothing of this side's generation leads to these sites any more. Keeps P1.
    fn give_up(&mut self, first: Site, count: u32, side: Side) {
        if first.0 == 0 {
            return;
        }
        let run = Run { first, count };
        if self.config.planted == Some(Bug::ReuseTooEarly) {
            return self.space.give_back(run);
        }
        let generation = match side {
            Side::Checkpoint => Generation(self.generation.0 - 1),
            Side::Live => self.generation,
        };
        self.space.hold(generation, run);
    }

    /// What became unused before checkpoint `durable`, and is not pinned, is free. Keeps P1.
    fn release(&mut self) {
        let last = self.durable.generation.saturating_sub(1);
        let pins = self.pins.iter().map(|(_, generation)| generation.0);
        let pinned = pins.chain(self.scrub_pins()).min().unwrap_or(u32::MAX);
        self.space.release(Generation(last.min(pinned)));
    }

    /// Makes some of the sites free that may be. To be called every turn.
    pub(crate) fn release_some(&mut self) {
        self.space.release_some(RELEASES_PER_TURN);
    }

    fn want_sites(&mut self, more: u32) {
        self.sites_wanted = self.sites_wanted.max(self.space.sites().saturating_add(more));
    }

    /// Asks for operations until it answers `None`.
    pub fn poll(&mut self) -> Option<PageOp> {
        if let Some(read) = self.reads_new.pop_front() {
            return Some(read);
        }
        // Where only growth was refused, what has its sites goes on: it may give back more than was asked for.
        if self.state != FileState::Open && !(self.can_save() && self.is_growth_refused) {
            return None;
        }
        if let Some(op) = self.poll_grow().or_else(|| self.poll_forget()) {
            return Some(op);
        }
        if self.may_write()
            && let Some(output) = self.output.next()
        {
            let op = self.fly(Flight::Write(output));
            let (offset, len) = (self.offset(self.output.run(output).first), self.output.bytes(output).len() as u32);
            self.numbers.bytes_written += u64::from(len);
            return Some(PageOp::Write { op, offset, output, len });
        }
        self.poll_checkpoint()
    }

    fn may_write(&self) -> bool {
        let writes = self.flights.iter().filter_map(|(_, flight)| match flight {
            Flight::Write(output) => Some(self.output.run(*output).count as usize),
            _ => None,
        });
        let (count, pages) = writes.fold((0, 0), |(count, pages), run| (count + 1, pages + run));
        count < OUTPUT_FLIGHTS_MAX && pages < OUTPUT_FLIGHT_PAGES_MAX
    }

    fn poll_grow(&mut self) -> Option<PageOp> {
        let is_growing = self.flights.iter().any(|(_, flight)| matches!(flight, Flight::Grow { .. }));
        if is_growing || self.is_growth_refused || self.sites_wanted <= self.space.sites() {
            return None;
        }
        let sites_max = self.config.bounds.sites;
        if self.space.sites() >= sites_max {
            self.refuse_growth(EFBIG);
            return None;
        }
        let chunk = (self.config.grow_bytes / PAGE_BYTES as u64).max(1) as u32;
        let sites = self.sites_wanted.checked_next_multiple_of(chunk).unwrap_or(sites_max).min(sites_max);
        let op = self.fly(Flight::Grow { sites });
        Some(PageOp::Grow { op, bytes: u64::from(sites) * PAGE_BYTES as u64 })
    }

    /// Keeps P7: what is wholly before what the older superblock needs goes.
    fn poll_forget(&mut self) -> Option<PageOp> {
        let before = SegmentId(self.log_needed().0 / self.config.segment_bytes);
        let is_underway = self.flights.iter().any(|(_, flight)| matches!(flight, Flight::Forget { .. }));
        if is_underway || before <= self.segments_gone {
            return None;
        }
        let op = self.fly(Flight::Forget { before });
        Some(PageOp::Forget { op, before })
    }

    fn fly(&mut self, flight: Flight) -> OpId {
        let op = self.op();
        self.flights.push((op, flight));
        op
    }

    fn op(&mut self) -> OpId {
        self.op_next += 1;
        OpId(self.op_next | PAGE_OP_BIT)
    }

    fn offset(&self, site: Site) -> u64 {
        u64::from(site.0) * PAGE_BYTES as u64
    }

    /// Takes the answer to an operation that is no read.
    pub fn on_done(&mut self, done: DiskDone) {
        let at = self.flights.iter().position(|(op, _)| *op == done.op);
        let (_, flight) = self.flights.swap_remove(at.expect("an operation is answered once, and was asked for"));
        match (flight, done.result) {
            (Flight::Write(output), Ok(written)) if written as usize == self.output.bytes(output).len() => {
                self.output.done(output);
            }
            (Flight::Write(output), result) => {
                // It went to a free site and was not synced: writing it again is sound.
                let offset = self.offset(self.output.run(output).first);
                self.output.again(output);
                self.fail(offset, result);
            }
            (Flight::Sync, Ok(_)) => self.on_synced(),
            (Flight::Superblock, Ok(written)) if written as usize == PAGE_BYTES => self.on_sealed(),
            (Flight::Grow { sites }, Ok(_)) => self.on_grown(sites),
            // If it failed, the next checkpoint's turn removes them too.
            (Flight::Forget { before }, _) => self.segments_gone = before,
            (Flight::Grow { .. }, Err(errno)) if self.can_save() => self.refuse_growth(errno),
            (Flight::Grow { .. }, Err(_)) => {}
            (Flight::Sync | Flight::Superblock, result) => {
                let errno = result.err();
                self.state = FileState::Failed { offset: 0, errno };
            }
        }
    }

    fn refuse_growth(&mut self, errno: i32) {
        self.state = FileState::Full { errno };
        self.is_growth_refused = true;
        // Whoever still needs more then asks again.
        self.sites_wanted = 0;
    }

    fn on_grown(&mut self, sites: u32) {
        if self.space.sites() == 0 {
            self.space = Space::new(&[true; SUPERBLOCK_SITES as usize]);
        }
        self.space.grow(sites);
    }

    fn fail(&mut self, offset: u64, result: Result<u32, i32>) {
        if matches!(self.state, FileState::Failed { .. }) {
            return;
        }
        self.state = match result {
            Err(ENOSPC) => {
                self.is_growth_refused = false;
                FileState::Full { errno: ENOSPC }
            }
            result => FileState::Failed { offset, errno: result.err() },
        };
    }

    /// Tries again what there was no room for.
    pub fn retry(&mut self) {
        if matches!(self.state, FileState::Full { .. }) {
            self.state = FileState::Open;
            self.is_growth_refused = false;
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.config.bounds
    }

    pub(crate) fn planted(&self) -> Option<Bug> {
        self.config.planted
    }

    pub fn state(&self) -> FileState {
        self.state
    }

    /// The output buffer of an operation in flight.
    pub fn output(&self, output: OutputId) -> &[u8] {
        if output == checkpoint::SUPERBLOCK_OUTPUT { self.superblock_bytes() } else { self.output.bytes(output) }
    }

    /// The newest durable checkpoint; of generation 0 if there is none.
    pub fn durable(&self) -> &Superblock {
        &self.durable
    }

    /// The log is needed from here on. Keeps P7.
    pub fn log_needed(&self) -> Lsn {
        self.log_start.needed(self.config.segment_bytes)
    }

    /// The same, as a recovery of the older checkpoint begins.
    pub fn log_start(&self) -> LogStart {
        self.log_start
    }

    /// Keeps the newest durable checkpoint as it is; `None` if there is none.
    pub fn pin(&mut self) -> Option<Pin> {
        if self.durable.generation == 0 {
            return None;
        }
        self.pin_next += 1;
        self.pins.push((self.pin_next, self.durable.generation()));
        Some(Pin { number: self.pin_next, superblock: self.durable.clone() })
    }

    pub fn unpin(&mut self, pin: Pin) {
        self.pins.retain(|(number, _)| *number != pin.number);
        self.release();
    }

    pub fn numbers(&self) -> FileNumbers {
        FileNumbers {
            sites: u64::from(self.space.sites()),
            sites_free: u64::from(self.space.free_sites()),
            sites_held: u64::from(self.space.held_sites()),
            outputs: self.output.count() as u64,
            ..self.numbers
        }
    }
}
