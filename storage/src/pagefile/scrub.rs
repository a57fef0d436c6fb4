//! The scrub: while the shard serves, every image that the live maps name is read once in a while, and judged as a normal
//! read is (P6). What is read goes nowhere: no page enters memory or leaves it.
//!
//! A pass goes over pages, extents, and the maps' own pages by their numbers, and ends with the superblock. An image that
//! stands in an output buffer, or changes while it is read, is passed over: it is younger than the pass. What does not read
//! back is read a second time before anything is said.
//!
//! Sites that are being read are not given away (P1 holds for them as for a pinned checkpoint), so no write meets a read.

use super::extent_image::ExtentImage;
use super::image::{self, MapKind};
use super::map::{MAP_WORDS, crc_of, site_of};
use super::superblock::Superblock;
use super::{PAGE_OP_BIT, PageFile, SUPERBLOCK_SITES};
use crate::limits::PAGE_BYTES;
use crate::op::PageOp;
use crate::units::{ExtentId, Generation, OpId, PageId, Site};
use std::collections::VecDeque;

/// Numbers that one step looks at before it answers.
const LOOKS_MAX: u32 = 256;

/// The scrub of one page file.
#[derive(Default)]
pub(super) struct Scrub {
    hand: Option<Hand>,
    flights: Vec<Flight>,
    /// Pieces of extents, and what has to be read once more.
    more: VecDeque<(What, bool)>,
    numbers: ScrubNumbers,
}

/// What scrubs have done since the page file was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubNumbers {
    pub passes: u64,
    /// Pages of any kind, and extents.
    pub images: u64,
    pub bytes: u64,
    pub damaged: u64,
}

/// What is looked at next.
#[derive(Clone, Copy)]
enum Hand {
    Page(u32),
    Extent(u32),
    Map(MapKind, u32),
    Superblock,
}

#[derive(Debug)]
enum What {
    Page { page: PageId, word: u64 },
    Extent(ExtentImage),
    Map { kind: MapKind, index: u32, word: u64 },
    Superblock { generation: u32 },
}

struct Flight {
    op: OpId,
    what: What,
    is_second: bool,
    /// Of what changed when it was issued.
    generation: Generation,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrubStep {
    /// So many bytes are being read.
    Read(u32),
    /// There was nothing to read, so far.
    Passed,
    /// Nothing is left to be read in this pass.
    Over,
}

/// Something whose image is not sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    pub part: Suspect,
    pub offset: u64,
    pub what: &'static str,
    /// It could not be read at all.
    pub errno: Option<i32>,
}

/// What an image that the scrub found damaged belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspect {
    Page(PageId),
    Extent(ExtentId),
    /// A page of a map, or of its directory: the number of a map page that has to be written anew.
    Map {
        is_extents: bool,
        page: usize,
    },
    Superblock,
}

impl PageFile {
    /// A pass begins. Whatever was left of the one before is given up.
    pub fn begin_scrub(&mut self) {
        self.scrub.hand = Some(Hand::Page(0));
        self.scrub.more.clear();
    }

    /// Whether a pass is under way.
    pub fn is_scrubbing(&self) -> bool {
        self.scrub.hand.is_some() || !self.scrub.flights.is_empty() || !self.scrub.more.is_empty()
    }

    /// Reads of the scrub that are under way.
    pub fn scrub_reads(&self) -> usize {
        self.scrub.flights.len()
    }

    pub fn scrub_numbers(&self) -> ScrubNumbers {
        self.scrub.numbers
    }

    /// Has the next image of the pass read.
    pub fn scrub_next(&mut self) -> ScrubStep {
        if let Some((what, is_second)) = self.scrub.more.pop_front() {
            return self.issue_scrub(what, is_second);
        }
        for _ in 0..LOOKS_MAX {
            let Some(hand) = self.scrub.hand else { return ScrubStep::Over };
            let (found, next) = self.look(hand);
            if next.is_none() {
                self.scrub.numbers.passes += 1;
            }
            self.scrub.hand = next;
            if let Some(what) = found {
                return self.issue_scrub(what, false);
            }
        }
        ScrubStep::Passed
    }

    /// What stands at the hand, if it is to be read, and where the hand goes on.
    fn look(&self, hand: Hand) -> (Option<What>, Option<Hand>) {
        match hand {
            Hand::Page(page) if (page as usize) < self.pages.len() => {
                let word = self.pages.get(page);
                let is_there = site_of(word).0 != 0;
                (is_there.then_some(What::Page { page: PageId(page), word }), Some(Hand::Page(page + 1)))
            }
            Hand::Page(_) => (None, Some(Hand::Extent(0))),
            Hand::Extent(id) if (id as usize) < self.extent_numbers() => {
                let (word, bytes) = (self.extents.get(2 * id), self.extents.get(2 * id + 1));
                let image = || What::Extent(ExtentImage::new(self.config.salt, ExtentId(id), word, bytes));
                ((site_of(word).0 != 0).then(image), Some(Hand::Extent(id + 1)))
            }
            Hand::Extent(_) => (None, Some(Hand::Map(MapKind::Pages, 0))),
            Hand::Map(kind, index) => match self.map_word(kind, index) {
                Some(word) => {
                    let is_there = site_of(word).0 != 0;
                    (is_there.then_some(What::Map { kind, index, word }), Some(Hand::Map(kind, index + 1)))
                }
                None => (None, Some(after(kind).map_or(Hand::Superblock, |kind| Hand::Map(kind, 0)))),
            },
            Hand::Superblock => {
                let generation = self.durable.generation;
                ((generation > 0).then_some(What::Superblock { generation }), None)
            }
        }
    }

    /// Where a page of a map stands; `None`: there are not so many.
    fn map_word(&self, kind: MapKind, index: u32) -> Option<u64> {
        let map = if is_extents(kind) { &self.extents } else { &self.pages };
        map.own_word(is_directory(kind), index as usize)
    }

    fn issue_scrub(&mut self, what: What, is_second: bool) -> ScrubStep {
        let (first, bytes) = match &what {
            What::Page { word, .. } | What::Map { word, .. } => (site_of(*word), PAGE_BYTES),
            What::Extent(image) => image.next(),
            What::Superblock { generation } => (Site(generation % SUPERBLOCK_SITES), PAGE_BYTES),
        };
        let is_unwritten = match &what {
            What::Superblock { .. } => false,
            What::Extent(image) => self.extent_run(image.id).is_none_or(|run| self.output.holds_any(run)),
            _ => self.output.find(first).is_some(),
        };
        // Keeps P5.
        if is_unwritten || !self.is_current(&what) {
            return ScrubStep::Passed;
        }
        let (op, offset) = (self.op(), self.offset(first));
        self.reads_new.push_back(PageOp::Read { op, offset, len: bytes as u32 });
        let generation = self.generation;
        self.scrub.flights.push(Flight { op, what, is_second, generation });
        self.scrub.numbers.bytes += bytes as u64;
        ScrubStep::Read(bytes as u32)
    }

    /// Whether the live maps still say what they said when the look began.
    fn is_current(&self, what: &What) -> bool {
        match what {
            What::Page { page, word } => self.pages.get(page.0) == *word,
            What::Extent(image) => {
                let at = 2 * image.id.0;
                (self.extents.get(at), self.extents.get(at + 1)) == (image.word, image.bytes)
            }
            What::Map { kind, index, word } => self.map_word(*kind, *index) == Some(*word),
            What::Superblock { generation } => self.durable.generation == *generation,
        }
    }

    /// What is given up from this generation on is being read. Keeps P1.
    pub(super) fn scrub_pins(&self) -> Option<u32> {
        self.scrub.flights.iter().map(|flight| flight.generation.0.saturating_sub(2)).min()
    }

    /// Whether a superblock is being read.
    pub(super) fn is_scrubbing_superblock(&self) -> bool {
        self.scrub.flights.iter().any(|flight| matches!(flight.what, What::Superblock { .. }))
    }

    /// Takes the answer to a read, if it is the scrub's.
    pub(super) fn on_scrub_read(&mut self, op: OpId, result: Result<&[u8], i32>) -> Option<Option<Suspicion>> {
        debug_assert!(op.0 & PAGE_OP_BIT != 0);
        let at = self.scrub.flights.iter().position(|flight| flight.op == op)?;
        let Flight { mut what, is_second, .. } = self.scrub.flights.swap_remove(at);
        self.release();
        if !self.is_current(&what) {
            return Some(None);
        }
        let (problem, errno) = match result {
            Err(errno) => ("it cannot be read", Some(errno)),
            Ok(bytes) => match self.judge(&mut what, bytes) {
                Ok(true) => {
                    self.scrub.numbers.images += 1;
                    return Some(None);
                }
                Ok(false) => {
                    self.scrub.more.push_back((what, is_second));
                    return Some(None);
                }
                Err(problem) => (problem, None),
            },
        };
        if !is_second {
            self.scrub.more.push_front((self.anew(what), true));
            return Some(None);
        }
        self.scrub.numbers.damaged += 1;
        Some(Some(self.suspicion(&what, problem, errno)))
    }

    /// Whether that was all of it.
    fn judge(&self, what: &mut What, bytes: &[u8]) -> Result<bool, &'static str> {
        let salt = self.config.salt;
        match what {
            What::Page { page, word } => image::verify(bytes, salt, page.0, crc_of(*word))?,
            What::Extent(image) => return image.take(bytes, None),
            What::Map { kind, index, word } => {
                image::verify(bytes, salt, *index, crc_of(*word))?;
                image::words(bytes, *kind).map(drop)?;
            }
            What::Superblock { .. } => match Superblock::decode(self.config.shard, salt, bytes) {
                Ok(found) if found == self.durable => {}
                _ => return Err("the superblock does not read back"),
            },
        }
        Ok(true)
    }

    fn anew(&self, what: What) -> What {
        match what {
            What::Extent(ExtentImage { id, word, bytes, .. }) => {
                What::Extent(ExtentImage::new(self.config.salt, id, word, bytes))
            }
            what => what,
        }
    }

    fn suspicion(&self, what: &What, problem: &'static str, errno: Option<i32>) -> Suspicion {
        let (part, site) = match what {
            What::Page { page, word } => (Suspect::Page(*page), site_of(*word)),
            What::Extent(image) => (Suspect::Extent(image.id), site_of(image.word)),
            What::Map { kind, index, word } => {
                let index = *index as usize;
                let page = if is_directory(*kind) { index * MAP_WORDS } else { index };
                (Suspect::Map { is_extents: is_extents(*kind), page }, site_of(*word))
            }
            What::Superblock { generation } => (Suspect::Superblock, Site(generation % SUPERBLOCK_SITES)),
        };
        Suspicion { part, offset: self.offset(site), what: problem, errno }
    }

    /// The next checkpoint writes this map page anew, and with it what leads there.
    pub(crate) fn soil_map(&mut self, is_extents: bool, page: usize) {
        let map = if is_extents { &mut self.extents } else { &mut self.pages };
        map.soil(page);
    }
}

fn is_extents(kind: MapKind) -> bool {
    matches!(kind, MapKind::Extents | MapKind::ExtentsDirectory)
}

fn is_directory(kind: MapKind) -> bool {
    matches!(kind, MapKind::PagesDirectory | MapKind::ExtentsDirectory)
}

fn after(kind: MapKind) -> Option<MapKind> {
    match kind {
        MapKind::Pages => Some(MapKind::PagesDirectory),
        MapKind::PagesDirectory => Some(MapKind::Extents),
        MapKind::Extents => Some(MapKind::ExtentsDirectory),
        MapKind::ExtentsDirectory => None,
    }
}
