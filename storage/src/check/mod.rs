//! The check of a shard at rest: everything that its page file and its log lead to, looked at in bounded memory. Reads
//! leave as [`CheckStep::Read`], many at once and in any order, and come back with [`PagesCheck::supply`]; nothing is ever
//! written. Not on the data path.
//!
//! ```text
//!   superblocks -> maps of the newest -> maps of the older one -> trees -> extents -> what no tree led to -> neighbours -> over
//! ```
//!
//! What it sees to, beyond the checksums (P6 of [`crate::pagefile`]):
//!
//! - each site has one use in the newest checkpoint, and what only the older one leads to is still there (P1);
//! - the trees' own invariants (I1 to I4 of [`crate::tree`]), and that rows, bytes, pages, expiring rows and rows with
//!   extents are as many as the superblock says;
//! - each page and each extent that the maps know is reached exactly once.
//!
//! Memory: two words for each 8 KiB page of the newest map, a bit for each site, and some megabytes. The order of leaves on
//! disk is that of their sites, not of their keys: leaves are looked at in batches, each in the order of the file. Their
//! parents' separators say which keys may stand in a leaf, so the order of looking does not matter.

mod bits;
mod extents;
mod finding;
mod log;
mod maps;
mod report;
mod show;
mod sweep;
mod walk;

pub use finding::{Finding, KeyBuf, KeyRange, Part, TreeName};
pub use log::{LogCheck, LogCheckStep, LogReport, RecordHook};
pub use report::{Found, PagesReport, TreeReport};
pub use show::{ShownEntries, ShownPage, ShownRow, ShownValue, entries_of, find_in};

use crate::limits::{CHECK_FINDINGS_MAX, CHECK_READS_MAX, OUTPUT_PAGES, PAGE_BYTES};
use crate::pagefile::map::site_of;
use crate::pagefile::superblock::Invalid;
use crate::pagefile::{PageFileConfig, Superblock};
use crate::units::{PageId, Site};
use bits::Bits;
use extents::ExtentLook;
use maps::{MapTask, Maps};
use walk::{Node, Trees};

/// A row of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct RowAt<'a> {
    pub db: u8,
    pub head: u64,
    /// `None`: it is long, and stands outside the leaf.
    pub key: Option<&'a [u8]>,
    /// The same.
    pub value: Option<&'a [u8]>,
}

/// Whether a row may be where it is, as the layer above has it.
pub type PlaceHook = Box<dyn FnMut(RowAt<'_>) -> bool + Send>;

/// What the check wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckStep {
    /// Read `len` bytes at `offset` and answer with [`PagesCheck::supply`]. Whole pages, at most
    /// [`crate::limits::OUTPUT_BYTES_MAX`] bytes.
    Read { number: u32, offset: u64, len: u32 },
    /// Answers to reads are wanted.
    Wait,
    /// [`PagesCheck::finish`] may be called.
    Done,
}

/// The check of one page file.
pub struct PagesCheck {
    config: PageFileConfig,
    is_place: PlaceHook,
    /// Of the file.
    sites: u32,
    phase: Phase,
    flights: Vec<Option<Flight>>,
    flights_free: Vec<u32>,
    /// What is to be read next, the last one first.
    ready: Vec<Flight>,
    found: Vec<Superblock>,
    maps: Maps,
    /// Sites that the newest checkpoint leads to, and those that only the older one does.
    used: Bits,
    used_older: Bits,
    trees: Trees,
    /// Where the extents' and the sweep's hand is.
    hand: u32,
    report: PagesReport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Superblocks,
    Maps,
    OlderMaps,
    Trees,
    Extents,
    Sweep,
    SweepOlder,
    Neighbours,
    Over,
}

/// A read, and what is to be done with it.
enum Flight {
    Superblock(u32),
    Map(MapTask),
    /// Pages at neighbouring sites.
    Pages {
        first: Site,
        looks: Vec<Look>,
    },
    Extent(ExtentLook),
    Neighbour {
        finding: usize,
        is_before: bool,
        page: PageId,
    },
}

/// What to do with a page.
enum Look {
    /// It is a page of a tree: all of it is to be right.
    Node(Node),
    /// Its image is to be sound, no more.
    Image { page: PageId, word: u64, is_newest: bool },
}

impl PagesCheck {
    /// Checks a file of `bytes` bytes. `is_place` is asked about each row.
    pub fn new(config: PageFileConfig, bytes: u64, is_place: PlaceHook) -> PagesCheck {
        let sites = (bytes / PAGE_BYTES as u64).min(u64::from(u32::MAX)) as u32;
        let is_empty = sites < SUPERBLOCKS;
        let phase = if is_empty { Phase::Neighbours } else { Phase::Superblocks };
        PagesCheck {
            config,
            is_place,
            sites,
            phase,
            flights: Vec::new(),
            flights_free: Vec::new(),
            ready: if is_empty { Vec::new() } else { (0..SUPERBLOCKS).rev().map(Flight::Superblock).collect() },
            found: Vec::new(),
            maps: Maps::default(),
            used: Bits::new(sites as usize),
            used_older: Bits::new(sites as usize),
            trees: Trees::default(),
            hand: 0,
            report: PagesReport { bytes, sites: u64::from(sites), ..PagesReport::default() },
        }
    }

    /// The next step. After `Done` it is the same for ever.
    pub fn step(&mut self) -> CheckStep {
        loop {
            if self.in_flight() < CHECK_READS_MAX
                && let Some(flight) = self.next()
            {
                return self.fly(flight);
            }
            if self.in_flight() > 0 {
                return CheckStep::Wait;
            }
            match self.phase {
                Phase::Over => return CheckStep::Done,
                phase => self.end(phase),
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.flights.len() - self.flights_free.len()
    }

    fn fly(&mut self, flight: Flight) -> CheckStep {
        let (site, bytes) = match &flight {
            Flight::Superblock(site) => (Site(*site), PAGE_BYTES),
            Flight::Map(task) => (site_of(task.word), PAGE_BYTES),
            Flight::Pages { first, looks } => (*first, looks.len() * PAGE_BYTES),
            Flight::Extent(look) => look.image.next(),
            Flight::Neighbour { page, .. } => (site_of(self.maps.page(*page)), PAGE_BYTES),
        };
        let number = self.flights_free.pop().unwrap_or_else(|| {
            self.flights.push(None);
            self.flights.len() as u32 - 1
        });
        self.flights[number as usize] = Some(flight);
        self.report.bytes_read += bytes as u64;
        CheckStep::Read { number, offset: offset(site), len: bytes as u32 }
    }

    /// What is to be read next in this phase, if it is known now.
    fn next(&mut self) -> Option<Flight> {
        if let Some(flight) = self.ready.pop() {
            return Some(flight);
        }
        match self.phase {
            Phase::Trees => self.next_node(),
            Phase::Extents => self.next_extent(),
            Phase::Sweep => self.next_unreached(),
            Phase::SweepOlder => self.next_older(),
            Phase::Superblocks | Phase::Maps | Phase::OlderMaps | Phase::Neighbours | Phase::Over => None,
        }
    }

    /// Nothing is left to read in this phase.
    fn end(&mut self, phase: Phase) {
        self.phase = match phase {
            Phase::Superblocks => self.begin_maps(),
            Phase::Maps => self.begin_older(),
            Phase::OlderMaps => self.begin_trees(),
            Phase::Trees => {
                self.compare_counts();
                Phase::Extents
            }
            Phase::Extents => {
                self.hand = 0;
                self.note_unreferred();
                Phase::Sweep
            }
            Phase::Sweep => Phase::SweepOlder,
            Phase::SweepOlder => self.begin_neighbours(),
            Phase::Neighbours | Phase::Over => {
                self.conclude();
                Phase::Over
            }
        };
    }

    /// Answers [`CheckStep::Read`]: the bytes, or the errno.
    pub fn supply(&mut self, number: u32, result: Result<&[u8], i32>) {
        let flight = self.flights[number as usize].take().expect("a read is answered once, and was asked for");
        self.flights_free.push(number);
        match flight {
            Flight::Superblock(site) => self.on_superblock(site, result),
            Flight::Map(task) => self.on_map(&task, result),
            Flight::Pages { first, looks } => self.on_pages(first, looks, result),
            Flight::Extent(look) => self.on_extent(look, result),
            Flight::Neighbour { finding, is_before, page } => self.on_neighbour(finding, is_before, page, result),
        }
    }

    fn on_superblock(&mut self, site: u32, result: Result<&[u8], i32>) {
        let found = match result {
            Err(errno) => Found::Unreadable(errno),
            Ok(bytes) => match Superblock::decode(self.config.shard, self.config.salt, bytes) {
                Ok(superblock) if superblock.generation % SUPERBLOCKS == site => {
                    self.found.push(superblock.clone());
                    Found::Sound(Box::new(superblock))
                }
                Ok(_) => Found::Damaged("it stands in the other one's place"),
                Err(Invalid::Empty) => Found::Empty,
                Err(Invalid::Damaged(what)) => Found::Damaged(what),
                Err(Invalid::Version(version)) => Found::Version(version),
            },
        };
        let trouble = match found {
            Found::Damaged(what) => Some((what, None)),
            Found::Unreadable(errno) => Some((UNREADABLE, Some(errno))),
            Found::Version(_) => Some(("it is of a later format than this build reads", None)),
            Found::Sound(_) | Found::Empty => None,
        };
        if let Some((what, errno)) = trouble {
            self.note(Finding { errno, ..Finding::at(Part::Superblock, Some(Site(site)), what) });
        }
        self.report.superblocks[site as usize] = found;
    }

    fn on_pages(&mut self, first: Site, looks: Vec<Look>, result: Result<&[u8], i32>) {
        if result.is_err() && looks.len() > 1 {
            // Which of them cannot be read shows when each is read alone.
            for (at, look) in looks.into_iter().enumerate() {
                self.ready.push(Flight::Pages { first: Site(first.0 + at as u32), looks: vec![look] });
            }
            return;
        }
        for (at, look) in looks.into_iter().enumerate() {
            let image = result.map(|bytes| &bytes[at * PAGE_BYTES..][..PAGE_BYTES]);
            match look {
                Look::Node(node) => self.on_node(node, image),
                Look::Image { page, word, is_newest } => self.on_image(page, word, is_newest, image),
            }
        }
    }

    /// Sorts pages by their place in the file and has them read, neighbours together.
    fn read_sorted(&mut self, mut looks: Vec<(Site, Look)>) {
        looks.sort_unstable_by_key(|(site, _)| std::cmp::Reverse(*site));
        // From the last one on, for the last one of `ready` is read first.
        let mut runs: Vec<Flight> = Vec::new();
        while let Some((first, look)) = looks.pop() {
            let mut run = vec![look];
            while run.len() < OUTPUT_PAGES
                && let Some((_, look)) = looks.pop_if(|(site, _)| site.0 == first.0 + run.len() as u32)
            {
                run.push(look);
            }
            runs.push(Flight::Pages { first, looks: run });
        }
        self.ready.extend(runs.into_iter().rev());
    }

    fn note(&mut self, finding: Finding) {
        if self.report.findings.len() < CHECK_FINDINGS_MAX {
            self.report.findings.push(finding);
        } else {
            self.report.findings_left_out += 1;
        }
    }

    /// Bytes that were asked for, and how many it will be at most.
    pub fn progress(&self) -> (u64, u64) {
        let used = (self.used.count() + self.used_older.count()) as u64;
        (self.report.bytes_read, self.report.bytes_read.max(used * PAGE_BYTES as u64))
    }

    /// From here on the log is needed: by the oldest checkpoint that a start may have to go back to.
    pub fn log_start(&self) -> crate::log::LogStart {
        self.found.iter().min_by_key(|found| found.lsn()).map(Superblock::start).unwrap_or_default()
    }

    /// What was found, once it is done.
    pub fn finish(self) -> PagesReport {
        assert!(self.phase == Phase::Over);
        self.report
    }
}

/// They are the first sites.
const SUPERBLOCKS: u32 = 2;

const UNREADABLE: &str = "it cannot be read";

fn offset(site: Site) -> u64 {
    u64::from(site.0) * PAGE_BYTES as u64
}
