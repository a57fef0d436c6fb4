//! Where the newest image of each numbered thing stands: words in an array, and the array's own pages on disk.
//!
//! A word is a site (low 32 bits, 0 for none) and a checksum (high 32 bits). The array is cut into *map pages*; where
//! these stand is said by the words of the *directory*, which is cut into pages too; their words are in the superblock.
//!
//! While a checkpoint runs there are two versions of the array: the live one, and the checkpoint's. They are one array
//! and the few words in which the checkpoint's differs (`frozen`).

use super::superblock::MapRoot;
use crate::limits::PAGE_BYTES;
use crate::page::HEADER_BYTES;
use crate::units::Site;
use hashbrown::HashMap;

/// Words in one page of a map.
pub const MAP_WORDS: usize = (PAGE_BYTES - HEADER_BYTES) / 8;

/// Whose version of the map a change belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// What the running checkpoint writes, and so also the live version.
    Checkpoint,
    /// What happened after the checkpoint's beginning, or while none runs.
    Live,
}

#[inline]
pub(crate) fn word(site: Site, crc: u32) -> u64 {
    u64::from(site.0) | u64::from(crc) << 32
}

#[inline]
pub(crate) fn site_of(word: u64) -> Site {
    Site(word as u32)
}

#[inline]
pub(crate) fn crc_of(word: u64) -> u32 {
    (word >> 32) as u32
}

const DIRTY_LIVE: u8 = 1;
const DIRTY_FROZEN: u8 = 2;

/// One map.
#[derive(Debug, Default)]
pub(crate) struct Map {
    words: Vec<u64>,
    /// Words as they were when the running checkpoint began, where they are others now.
    frozen: HashMap<u32, u64>,
    /// By map page: what changed since it was written.
    dirty: Vec<u8>,
    /// Words of map pages, and words of the pages of that array.
    directory: Vec<u64>,
    roots: Vec<u64>,
    is_running: bool,
}

impl Map {
    /// What was read from disk.
    pub(crate) fn opened(words: Vec<u64>, directory: Vec<u64>, roots: Vec<u64>) -> Map {
        let dirty = vec![0; words.len().div_ceil(MAP_WORDS)];
        assert!(directory.len() == dirty.len() && roots.len() == dirty.len().div_ceil(MAP_WORDS));
        Map { words, dirty, directory, roots, ..Map::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// The live word; 0 beyond the end.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> u64 {
        self.words.get(index as usize).copied().unwrap_or(0)
    }

    /// Changes a word and answers the one before.
    pub(crate) fn set(&mut self, index: u32, word: u64, side: Side) -> u64 {
        let at = index as usize;
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
            self.dirty.resize(self.words.len().div_ceil(MAP_WORDS), 0);
        }
        let old = std::mem::replace(&mut self.words[at], word);
        match side {
            Side::Checkpoint => {
                assert!(self.is_running && !self.frozen.contains_key(&index), "a checkpoint's word is set first");
                self.dirty[at / MAP_WORDS] |= DIRTY_FROZEN;
            }
            Side::Live => {
                if self.is_running {
                    self.frozen.entry(index).or_insert(old);
                }
                self.dirty[at / MAP_WORDS] |= DIRTY_LIVE;
            }
        }
        old
    }

    /// Sets a word of the checkpoint's version that may have changed in the live one since. Answers the word before, and
    /// whether the live version has the new one too.
    pub(crate) fn set_frozen(&mut self, index: u32, word: u64) -> (u64, bool) {
        match self.frozen.get_mut(&index) {
            None => (self.set(index, word, Side::Checkpoint), true),
            Some(frozen) => {
                self.dirty[index as usize / MAP_WORDS] |= DIRTY_FROZEN;
                (std::mem::replace(frozen, word), false)
            }
        }
    }

    /// A checkpoint begins: what is there now is its version.
    pub(crate) fn freeze(&mut self) {
        assert!(!self.is_running);
        self.is_running = true;
        for dirty in &mut self.dirty {
            assert!(*dirty & DIRTY_FROZEN == 0);
            *dirty <<= 1;
        }
    }

    /// The checkpoint is durable: its version is not needed any more.
    pub(crate) fn thaw(&mut self) {
        self.is_running = false;
        self.frozen.clear();
    }

    /// Pages that the checkpoint will have written at most, if `words` of its words are still to be set.
    pub(crate) fn pages_max(&self, words: usize) -> usize {
        let is_dirty = |dirty: &&u8| **dirty != 0;
        let pages = self.dirty.iter().filter(is_dirty).count() + words.min(self.dirty.len() + words / MAP_WORDS + 1);
        pages + pages.min(self.dirty.len() / MAP_WORDS + 2)
    }

    /// The next map page that the checkpoint has to write, from `from` on.
    pub(crate) fn next_dirty(&self, from: usize) -> Option<usize> {
        (from..self.dirty.len()).find(|page| self.dirty[*page] & DIRTY_FROZEN != 0)
    }

    /// The checkpoint's words of a map page.
    pub(crate) fn frozen_words(&self, page: usize) -> impl Iterator<Item = u64> {
        let start = page * MAP_WORDS;
        let end = (start + MAP_WORDS).min(self.words.len());
        let live = self.words[start..end].iter().zip(start as u32..);
        live.map(|(word, index)| self.frozen.get(&index).copied().unwrap_or(*word))
    }

    /// A map page has been written. Answers the word it had before.
    pub(crate) fn page_written(&mut self, page: usize, word: u64) -> u64 {
        self.dirty[page] &= !DIRTY_FROZEN;
        if self.directory.len() <= page {
            self.directory.resize(page + 1, 0);
        }
        std::mem::replace(&mut self.directory[page], word)
    }

    /// The words of a page of the directory.
    pub(crate) fn directory_words(&self, page: usize) -> impl Iterator<Item = u64> {
        self.directory[page * MAP_WORDS..].iter().copied().take(MAP_WORDS)
    }

    /// A page of the directory has been written. Answers the word it had before.
    pub(crate) fn root_written(&mut self, page: usize, word: u64) -> u64 {
        if self.roots.len() <= page {
            self.roots.resize(page + 1, 0);
        }
        std::mem::replace(&mut self.roots[page], word)
    }

    /// What the superblock says of this map.
    pub(crate) fn root(&self) -> MapRoot {
        MapRoot { words: self.words.len() as u32, roots: self.roots.clone() }
    }

    /// The word of one of the map's own pages, or of its directory's; `None`: there are not so many.
    pub(crate) fn own_word(&self, is_directory: bool, page: usize) -> Option<u64> {
        let words = if is_directory { &self.roots } else { &self.directory };
        words.get(page).copied()
    }

    /// The next checkpoint writes this map page, though nothing of it has changed.
    pub(crate) fn soil(&mut self, page: usize) {
        if let Some(dirty) = self.dirty.get_mut(page) {
            *dirty |= DIRTY_LIVE;
        }
    }

    /// Every word that names a site: of the array, of the directory, of the superblock.
    pub(crate) fn own_words(&self) -> impl Iterator<Item = u64> {
        self.directory.iter().chain(&self.roots).copied().filter(|word| site_of(*word).0 != 0)
    }
}
