//! The maps of the checkpoints: which image each number has. Those of the newest are held, of the older one only what
//! differs.

use super::{Finding, Flight, PagesCheck, Part, Phase, SUPERBLOCKS, UNREADABLE};
use crate::pagefile::extents::sites_of;
use crate::pagefile::image::{self, MapKind};
use crate::pagefile::map::{MAP_WORDS, crc_of, site_of};
use crate::pagefile::{MapRoot, Superblock};
use crate::units::{ExtentId, PageId, Site};

/// A page of a map that is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapTask {
    kind: MapKind,
    index: usize,
    pub word: u64,
}

/// Words of the newest checkpoint, and those of the older one that differ.
#[derive(Debug, Default)]
pub(super) struct Maps {
    pub pages: Vec<u64>,
    pub extents: Vec<u64>,
    directories: [Vec<u64>; 2],
    roots: [Vec<u64>; 2],
    /// Map pages that could not be read: nothing is known of what they name.
    unknown: Vec<(bool, usize)>,
    pub older_pages: Vec<(PageId, u64)>,
    pub older_extents: Vec<(ExtentId, u64, u64)>,
    /// The older one's are being read.
    is_older: bool,
}

impl Maps {
    /// The word of a page; 0 if it has none.
    pub(super) fn page(&self, page: PageId) -> u64 {
        self.pages.get(page.0 as usize).copied().unwrap_or(0)
    }

    /// Whether it is known where the page stands, if anywhere.
    pub(super) fn is_known(&self, is_extents: bool, word: usize) -> bool {
        let is_here = |at: &(bool, usize)| *at == (is_extents, word / MAP_WORDS);
        self.unknown.is_empty() || !self.unknown.iter().any(is_here)
    }

    /// Whether all of the newest checkpoint's maps could be read.
    pub(super) fn is_whole(&self) -> bool {
        self.unknown.is_empty()
    }

    fn words(&mut self, kind: MapKind) -> &mut Vec<u64> {
        match kind {
            MapKind::Pages => &mut self.pages,
            MapKind::Extents => &mut self.extents,
            MapKind::PagesDirectory => &mut self.directories[0],
            MapKind::ExtentsDirectory => &mut self.directories[1],
        }
    }
}

fn is_extents(kind: MapKind) -> bool {
    matches!(kind, MapKind::Extents | MapKind::ExtentsDirectory)
}

fn is_directory(kind: MapKind) -> bool {
    matches!(kind, MapKind::PagesDirectory | MapKind::ExtentsDirectory)
}

impl PagesCheck {
    /// The superblocks are known: the maps of the newest come next.
    pub(super) fn begin_maps(&mut self) -> Phase {
        self.found.sort_by_key(|superblock| std::cmp::Reverse(superblock.generation));
        for site in 0..SUPERBLOCKS {
            self.used.set(site as usize);
        }
        let Some(newest) = self.found.first().cloned() else { return Phase::Neighbours };
        self.report.generation = newest.generation;
        for (is_second, root) in [(false, &newest.pages), (true, &newest.extents)] {
            let pages = (root.words as usize).div_ceil(MAP_WORDS);
            self.maps.roots[usize::from(is_second)] = root.roots.clone();
            self.maps.directories[usize::from(is_second)] = vec![0; pages];
            *self.maps.words(if is_second { MapKind::Extents } else { MapKind::Pages }) = vec![0; root.words as usize];
        }
        self.ask_roots(&newest, None);
        Phase::Maps
    }

    /// Asks for the pages of both directories, but for those that another checkpoint has too.
    fn ask_roots(&mut self, superblock: &Superblock, but: Option<[Vec<u64>; 2]>) {
        let roots = |root: &MapRoot| root.roots.clone();
        let both = [roots(&superblock.pages), roots(&superblock.extents)];
        for (roots, kind) in both.iter().zip([MapKind::PagesDirectory, MapKind::ExtentsDirectory]) {
            for (index, word) in roots.iter().enumerate() {
                let known = but.as_ref().and_then(|but| but[usize::from(is_extents(kind))].get(index));
                if site_of(*word).0 != 0 && known != Some(word) {
                    self.ask_map(kind, index, *word);
                }
            }
        }
    }

    fn ask_map(&mut self, kind: MapKind, index: usize, word: u64) {
        let part = Part::Map { is_extents: is_extents(kind), is_directory: is_directory(kind), index: index as u32 };
        if self.claim(part, site_of(word), 1) {
            self.ready.push(Flight::Map(MapTask { kind, index, word }));
        } else if !self.maps.is_older {
            self.forget_map(kind, index);
        }
    }

    /// Notes that the checkpoint which is being looked at leads to these sites. `false`: they are not in the file.
    pub(super) fn claim(&mut self, part: Part, first: Site, count: u32) -> bool {
        let is_newest = !self.maps.is_older;
        if u64::from(first.0) + u64::from(count) > u64::from(self.sites) {
            self.note(Finding { is_newest, ..Finding::at(part, Some(first), "its place is beyond the file's end") });
            return false;
        }
        for site in first.0..first.0 + count {
            let at = site as usize;
            let is_taken = match is_newest {
                true => !self.used.set(at),
                false => self.used.has(at) || !self.used_older.set(at),
            };
            if is_taken {
                let what = if is_newest {
                    "its place is another's too"
                } else {
                    "its place was given to another before the next checkpoint allowed it"
                };
                self.note(Finding { is_newest, ..Finding::at(part, Some(Site(site)), what) });
            }
        }
        true
    }

    /// A page of a map cannot be used: what it names is not known.
    fn forget_map(&mut self, kind: MapKind, index: usize) {
        let of_extents = is_extents(kind);
        if is_directory(kind) {
            let pages = self.maps.directories[usize::from(of_extents)].len();
            let named = index * MAP_WORDS..((index + 1) * MAP_WORDS).min(pages);
            self.maps.unknown.extend(named.map(|page| (of_extents, page)));
        } else {
            self.maps.unknown.push((of_extents, index));
        }
    }

    pub(super) fn on_map(&mut self, task: &MapTask, result: Result<&[u8], i32>) {
        let MapTask { kind, index, word } = *task;
        let is_newest = !self.maps.is_older;
        self.report.images += 1;
        let read = result.map_err(|errno| (UNREADABLE, Some(errno))).and_then(|bytes| {
            let verified = image::verify(bytes, self.config.salt, index as u32, crc_of(word));
            let words = verified.and_then(|()| Ok(image::words(bytes, kind)?.collect::<Vec<u64>>()));
            words.map_err(|what| (what, None))
        });
        match read {
            Ok(words) if is_newest => self.take_words(kind, index, &words),
            Ok(words) => self.compare_words(kind, index, &words),
            Err((what, errno)) => {
                let part =
                    Part::Map { is_extents: is_extents(kind), is_directory: is_directory(kind), index: index as u32 };
                self.note(Finding { errno, is_newest, ..Finding::at(part, Some(site_of(word)), what) });
                if is_newest {
                    self.forget_map(kind, index);
                }
            }
        }
    }

    fn take_words(&mut self, kind: MapKind, index: usize, words: &[u64]) {
        let start = index * MAP_WORDS;
        let target = self.maps.words(kind);
        let end = (start + words.len()).min(target.len());
        let words = &words[..end.saturating_sub(start)];
        target[start.min(end)..end].copy_from_slice(words);
        match kind {
            MapKind::PagesDirectory => self.ask_words(MapKind::Pages, start, words),
            MapKind::ExtentsDirectory => self.ask_words(MapKind::Extents, start, words),
            MapKind::Pages => {
                for (word, page) in words.iter().zip(start as u32..).filter(|(word, _)| site_of(**word).0 != 0) {
                    let part = Part::Page { tree: None, page: PageId(page) };
                    if !self.claim(part, site_of(*word), 1) {
                        self.maps.pages[page as usize] = 0;
                    }
                }
            }
            MapKind::Extents => {
                for (pair, id) in words.chunks_exact(2).zip(start as u32 / 2..) {
                    if site_of(pair[0]).0 != 0
                        && !self.claim(Part::Extent(ExtentId(id)), site_of(pair[0]), sites_of(pair[1]))
                    {
                        self.maps.extents[2 * id as usize] = 0;
                    }
                }
            }
        }
    }

    fn ask_words(&mut self, kind: MapKind, start: usize, words: &[u64]) {
        for (at, word) in words.iter().enumerate().filter(|(_, word)| site_of(**word).0 != 0) {
            self.ask_map(kind, start + at, *word);
        }
    }

    /// The newest checkpoint's maps are there: the older one's come next, as far as they differ.
    pub(super) fn begin_older(&mut self) -> Phase {
        let Some(older) = self.found.get(1).cloned() else { return self.begin_trees() };
        self.maps.is_older = true;
        self.report.generation_older = older.generation;
        let known = self.maps.roots.clone();
        self.ask_roots(&older, Some(known));
        Phase::OlderMaps
    }

    fn compare_words(&mut self, kind: MapKind, index: usize, words: &[u64]) {
        let start = index * MAP_WORDS;
        let differs = |known: &[u64], at: usize| known.get(start + at) != Some(&words[at]);
        match kind {
            MapKind::PagesDirectory | MapKind::ExtentsDirectory => {
                let below = if kind == MapKind::PagesDirectory { MapKind::Pages } else { MapKind::Extents };
                let known = &self.maps.directories[usize::from(is_extents(kind))];
                let asked: Vec<usize> =
                    (0..words.len()).filter(|at| site_of(words[*at]).0 != 0 && differs(known, *at)).collect();
                asked.into_iter().for_each(|at| self.ask_map(below, start + at, words[at]));
            }
            MapKind::Pages => {
                let known = &self.maps.pages;
                let others: Vec<usize> =
                    (0..words.len()).filter(|at| site_of(words[*at]).0 != 0 && differs(known, *at)).collect();
                for at in others {
                    let page = PageId((start + at) as u32);
                    if self.claim(Part::Page { tree: None, page }, site_of(words[at]), 1) {
                        self.maps.older_pages.push((page, words[at]));
                    }
                }
            }
            MapKind::Extents => {
                for (at, pair) in words.chunks_exact(2).enumerate() {
                    let is_same = self.maps.extents.get(start + 2 * at..start + 2 * at + 2) == Some(pair);
                    let id = ExtentId((start / 2 + at) as u32);
                    if site_of(pair[0]).0 != 0
                        && !is_same
                        && self.claim(Part::Extent(id), site_of(pair[0]), sites_of(pair[1]))
                    {
                        self.maps.older_extents.push((id, pair[0], pair[1]));
                    }
                }
            }
        }
    }

    /// The numbers of the sites, once all is known.
    pub(super) fn conclude(&mut self) {
        let (used, older) = (self.used.count() as u64, self.used_older.count() as u64);
        self.report.sites_used = used;
        self.report.sites_older = older;
        self.report.sites_free = self.report.sites - (used + older).min(self.report.sites);
    }
}
