//! Opens a page file: finds the newest checkpoint that reads back and loads its maps. What is read is proportional to
//! the maps, a thousandth of the data; no page of a tree is read.
//!
//! ```text
//!   superblocks ----> maps of the newest ----> what the older one's maps name besides ----> done
//!                         |                                                      ^
//!                         +---- damaged: the older one's instead (P7) -----------+
//! ```

use super::extents::sites_of;
use super::image::{self, MapKind};
use super::map::{MAP_WORDS, Map, crc_of, site_of};
use super::space::{Run, Space};
use super::superblock::{Invalid, MapRoot, Superblock};
use super::{PageFile, PageFileConfig, SUPERBLOCK_SITES};
use crate::error::Fault;
use crate::limits::{OPEN_READS_MAX, PAGE_BYTES};
use crate::log::LogStart;
use crate::units::{Generation, Site};
use std::collections::VecDeque;

/// What opening wants next, or has to say.
#[derive(Debug)]
pub enum OpenStep {
    /// Read `len` bytes at `offset` and answer with [`Opening::supply`] or [`Opening::failed`].
    Read { offset: u64, len: u32 },
    /// [`Opening::finish`] may be called.
    Done,
    /// The file must not be used.
    Refuse(Fault),
}

/// A page file that is being opened.
pub struct Opening {
    config: PageFileConfig,
    sites: u32,
    stage: Stage,
    /// Newest first.
    found: Vec<Superblock>,
    /// What of the newest checkpoint, or of a superblock, does not read back, so that another one is used in its place.
    damage: Option<(u64, &'static str)>,
    opened: Option<Loaded>,
    older: Option<Loaded>,
}

enum Stage {
    Superblock(u32),
    Load(Loader),
    Older(Loader),
    Over(Result<(), Fault>),
}

/// Both maps of a checkpoint.
struct Loaded {
    superblock: Superblock,
    pages: Loading,
    extents: Loading,
}

/// One map, on its way in.
struct Loading {
    words: Vec<u64>,
    directory: Vec<u64>,
    roots: Vec<u64>,
}

struct Task {
    kind: MapKind,
    index: usize,
    word: u64,
}

struct Loader {
    loaded: Loaded,
    tasks: VecDeque<Task>,
    /// Words of map pages of pages and of extents that need not be read.
    known: [Vec<u64>; 2],
}

impl Opening {
    /// Opens a file of `bytes` bytes; 0 if there is none.
    pub fn new(config: PageFileConfig, bytes: u64) -> Opening {
        let sites = (bytes / PAGE_BYTES as u64).min(u64::from(u32::MAX)) as u32;
        let stage = if sites < SUPERBLOCK_SITES { Stage::Over(Ok(())) } else { Stage::Superblock(0) };
        Opening { config, sites, stage, found: Vec::new(), damage: None, opened: None, older: None }
    }

    /// Opens one checkpoint of a file, pinned by somebody: for reading only.
    pub fn of_checkpoint(config: PageFileConfig, superblock: Superblock) -> Opening {
        let sites = superblock.sites;
        let stage = Stage::Load(Loader::new(superblock));
        Opening { config, sites, stage, found: Vec::new(), damage: None, opened: None, older: None }
    }

    /// The next step. After `Done` or `Refuse` it is the same for ever.
    pub fn step(&mut self) -> OpenStep {
        loop {
            let site = match &self.stage {
                Stage::Superblock(site) => *site,
                Stage::Load(loader) | Stage::Older(loader) => match loader.tasks.front() {
                    Some(task) => site_of(task.word).0,
                    None => {
                        self.next_stage();
                        continue;
                    }
                },
                Stage::Over(Ok(())) => return OpenStep::Done,
                Stage::Over(Err(fault)) => return OpenStep::Refuse(fault.clone()),
            };
            return OpenStep::Read { offset: u64::from(site) * PAGE_BYTES as u64, len: PAGE_BYTES as u32 };
        }
    }

    /// Where the reads stand that come next, as far as they are known, that of [`Opening::step`] first: a driver may have them
    /// under way at once. Each is of a page; a later one is not asked for if an earlier one is damaged.
    pub fn ahead(&self) -> impl Iterator<Item = u64> {
        let (superblocks, tasks) = match &self.stage {
            Stage::Superblock(site) => (*site..SUPERBLOCK_SITES, None),
            Stage::Load(loader) | Stage::Older(loader) => (0..0, Some(&loader.tasks)),
            Stage::Over(_) => (0..0, None),
        };
        let maps = tasks.into_iter().flatten().map(|task| site_of(task.word).0);
        superblocks.chain(maps).take(OPEN_READS_MAX).map(|site| u64::from(site) * PAGE_BYTES as u64)
    }

    /// Answers [`OpenStep::Read`].
    pub fn supply(&mut self, bytes: &[u8]) {
        assert_eq!(bytes.len(), PAGE_BYTES, "all that was asked for, and only that");
        match &mut self.stage {
            Stage::Superblock(site) => match Superblock::decode(self.config.shard, self.config.salt, bytes) {
                Ok(superblock) => self.on_superblock(Some(superblock)),
                Err(Invalid::Empty) => self.on_superblock(None),
                Err(Invalid::Damaged(what)) => {
                    // It may be the newer one, or the older; which, nobody knows.
                    self.damage = Some((u64::from(*site) * PAGE_BYTES as u64, what));
                    self.on_superblock(None);
                }
                Err(Invalid::Version(found)) => {
                    let (shard, known) = (self.config.shard, super::superblock::FORMAT);
                    self.stage = Stage::Over(Err(Fault::PageFileVersion { shard, found, known }));
                }
            },
            Stage::Load(loader) | Stage::Older(loader) => {
                if let Err(what) = loader.supply(self.config.salt, bytes) {
                    self.on_damage(what);
                }
            }
            Stage::Over(_) => panic!("nothing was asked for"),
        }
    }

    /// Answers [`OpenStep::Read`]: it could not be done.
    pub fn failed(&mut self, errno: i32) {
        match &self.stage {
            // It may be readable the next time. Whoever went on from the older one meanwhile would have used sites that this
            // one leads to.
            Stage::Superblock(site) => {
                let (shard, offset) = (self.config.shard, u64::from(*site) * PAGE_BYTES as u64);
                self.stage = Stage::Over(Err(Fault::PageFileRead { shard, offset, errno }));
            }
            Stage::Load(loader) => {
                let site = loader.tasks.front().map_or(Site(0), |task| site_of(task.word));
                let (shard, offset) = (self.config.shard, u64::from(site.0) * PAGE_BYTES as u64);
                self.stage = Stage::Over(Err(Fault::PageFileRead { shard, offset, errno }));
            }
            _ => self.on_damage("it cannot be read"),
        }
    }

    fn on_superblock(&mut self, superblock: Option<Superblock>) {
        let Stage::Superblock(site) = self.stage else { panic!("no superblock was asked for") };
        // One that stands in the other's place was written there by mistake.
        self.found.extend(superblock.filter(|superblock| superblock.generation % SUPERBLOCK_SITES == site));
        self.stage = Stage::Superblock(site + 1);
        if site + 1 == SUPERBLOCK_SITES {
            self.found.sort_by_key(|superblock| std::cmp::Reverse(superblock.generation));
            self.stage = match self.found.first() {
                Some(newest) => Stage::Load(Loader::new(newest.clone())),
                None => Stage::Over(Ok(())),
            };
        }
    }

    /// A map page of the checkpoint that is being loaded is not what it should be.
    fn on_damage(&mut self, what: &'static str) {
        let loader = match std::mem::replace(&mut self.stage, Stage::Over(Ok(()))) {
            Stage::Load(loader) => loader,
            // The older checkpoint is of no use any more, and nothing needs it.
            Stage::Older(_) => return,
            _ => panic!("no map page was asked for"),
        };
        let site = loader.tasks.front().map_or(Site(0), |task| site_of(task.word));
        let offset = u64::from(site.0) * PAGE_BYTES as u64;
        let next = self.found.get(1).cloned();
        let is_newest = self.found.first().is_some_and(|first| first.generation == loader.loaded.superblock.generation);
        self.stage = match next {
            Some(older) if is_newest => {
                self.damage = Some((offset, what));
                Stage::Load(Loader::new(older))
            }
            _ => Stage::Over(Err(Fault::PageFile { shard: self.config.shard, offset, what })),
        };
    }

    fn next_stage(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Over(Ok(()))) {
            Stage::Load(loader) => {
                let older = self.found.get(1).filter(|older| older.generation < loader.loaded.superblock.generation);
                if let Some(older) = older {
                    self.stage = Stage::Older(Loader::besides(older.clone(), &loader.loaded));
                }
                self.opened = Some(loader.loaded);
            }
            Stage::Older(loader) => self.older = Some(loader.loaded),
            _ => unreachable!("only loading has an end of its own"),
        }
    }

    /// The newest checkpoint, or one superblock, was damaged and the other is used: where and how.
    pub fn damage(&self) -> Option<(u64, &'static str)> {
        self.damage
    }

    /// The page file, and the checkpoint that the trees begin with; one of generation 0 if there is none: then the log
    /// must be there from its beginning.
    pub fn finish(self) -> (PageFile, Superblock) {
        assert!(matches!(self.stage, Stage::Over(Ok(()))));
        let mut file = PageFile::empty(self.config);
        file.numbers.fallbacks = u64::from(self.damage.is_some());
        let mut is_used = vec![false; self.sites as usize];
        is_used.iter_mut().take(SUPERBLOCK_SITES as usize).for_each(|used| *used = true);
        let Some(opened) = self.opened else {
            if self.sites >= SUPERBLOCK_SITES {
                file.space = Space::new(&is_used);
            }
            return (file, Superblock::default());
        };
        let superblock = opened.superblock.clone();
        for run in opened.runs() {
            mark(&mut is_used, run);
        }
        let older: Vec<Run> = self.older.iter().flat_map(|older| older.runs().collect::<Vec<_>>()).collect();
        let mut held = Vec::new();
        for run in older {
            for site in run.first.0..run.first.0 + run.count {
                if !std::mem::replace(&mut is_used[site as usize], true) {
                    held.push(Run { first: Site(site), count: 1 });
                }
            }
        }
        file.space = Space::new(&is_used);
        for run in held {
            // Keeps P1: the older checkpoint leads here and may still be needed.
            file.space.hold(superblock.generation(), run);
        }
        let oldest = self.older.as_ref().map_or(&superblock, |older| &older.superblock);
        file.log_start = oldest.start();
        file.pages = Map::opened(opened.pages.words, opened.pages.directory, opened.pages.roots);
        file.extents = Map::opened(opened.extents.words, opened.extents.directory, opened.extents.roots);
        file.generation = Generation(superblock.generation + 1);
        file.durable = superblock.clone();
        (file, superblock)
    }

    /// Where the log has to be read from, once opening is done.
    pub fn log_start(&self) -> LogStart {
        self.opened.as_ref().map_or(LogStart::default(), |opened| opened.superblock.start())
    }
}

fn mark(is_used: &mut Vec<bool>, run: Run) {
    let end = (run.first.0 + run.count) as usize;
    if is_used.len() < end {
        // The file was cut short; reading what is missing will say so.
        is_used.resize(end, false);
    }
    is_used[run.first.0 as usize..end].fill(true);
}

impl Loading {
    fn new(root: &MapRoot) -> Loading {
        let words = root.words as usize;
        let pages = words.div_ceil(MAP_WORDS);
        let mut roots = root.roots.clone();
        roots.resize(pages.div_ceil(MAP_WORDS), 0);
        Loading { words: vec![0; words], directory: vec![0; pages], roots }
    }
}

impl Loader {
    fn new(superblock: Superblock) -> Loader {
        let pages = Loading::new(&superblock.pages);
        let extents = Loading::new(&superblock.extents);
        let loaded = Loaded { superblock, pages, extents };
        let mut loader = Loader { loaded, tasks: VecDeque::new(), known: Default::default() };
        for kind in [MapKind::PagesDirectory, MapKind::ExtentsDirectory] {
            let roots = loader.loading(kind).roots.clone();
            loader.ask(kind, 0, &roots);
        }
        loader
    }

    /// Loads what differs from a newer checkpoint: the rest names the same sites.
    fn besides(superblock: Superblock, newer: &Loaded) -> Loader {
        let mut loader = Loader::new(superblock);
        for task in std::mem::take(&mut loader.tasks) {
            let same = newer.of(task.kind).roots.get(task.index) == Some(&task.word);
            if !same {
                loader.tasks.push_back(task);
            }
        }
        loader.known = [newer.pages.directory.clone(), newer.extents.directory.clone()];
        loader
    }

    fn loading(&mut self, kind: MapKind) -> &mut Loading {
        match kind {
            MapKind::Pages | MapKind::PagesDirectory => &mut self.loaded.pages,
            MapKind::Extents | MapKind::ExtentsDirectory => &mut self.loaded.extents,
        }
    }

    /// Queues the pages that words lead to, `first` being the number of the first.
    fn ask(&mut self, kind: MapKind, first: usize, words: &[u64]) {
        for (at, word) in words.iter().enumerate() {
            let index = first + at;
            let known = match kind {
                MapKind::Pages => self.known[0].get(index),
                MapKind::Extents => self.known[1].get(index),
                MapKind::PagesDirectory | MapKind::ExtentsDirectory => None,
            };
            if site_of(*word).0 != 0 && known != Some(word) {
                self.tasks.push_back(Task { kind, index, word: *word });
            }
        }
    }

    fn supply(&mut self, salt: u32, bytes: &[u8]) -> Result<(), &'static str> {
        let Task { kind, index, word } = *self.tasks.front().expect("something was asked for");
        image::verify(bytes, salt, index as u32, crc_of(word))?;
        let words: Vec<u64> = image::words(bytes, kind)?.collect();
        let loading = self.loading(kind);
        let target = match kind {
            MapKind::Pages | MapKind::Extents => &mut loading.words,
            MapKind::PagesDirectory | MapKind::ExtentsDirectory => &mut loading.directory,
        };
        let start = index * MAP_WORDS;
        let end = (start + words.len()).min(target.len());
        target[start.min(end)..end].copy_from_slice(&words[..end.saturating_sub(start)]);
        match kind {
            MapKind::PagesDirectory => self.ask(MapKind::Pages, start, &words),
            MapKind::ExtentsDirectory => self.ask(MapKind::Extents, start, &words),
            MapKind::Pages | MapKind::Extents => {}
        }
        self.tasks.pop_front();
        Ok(())
    }
}

impl Loaded {
    fn of(&self, kind: MapKind) -> &Loading {
        match kind {
            MapKind::Pages | MapKind::PagesDirectory => &self.pages,
            MapKind::Extents | MapKind::ExtentsDirectory => &self.extents,
        }
    }

    /// All sites that the checkpoint leads to.
    fn runs(&self) -> impl Iterator<Item = Run> {
        let maps = [&self.pages, &self.extents].into_iter();
        let own = maps.flat_map(|map| map.directory.iter().chain(&map.roots));
        let single = self.pages.words.iter().chain(own).map(|word| Run { first: site_of(*word), count: 1 });
        let extents = self.extents.words.chunks_exact(2);
        let extents = extents.map(|words| Run { first: site_of(words[0]), count: sites_of(words[1]) });
        single.chain(extents).filter(|run| run.first.0 != 0)
    }
}
