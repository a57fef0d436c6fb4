//! The memory of a shard's pages: who has a frame, and where it is. Knows nothing of what is in them.
//!
//! A page that exists may be absent (its image is elsewhere). Asking for it answers [`Missing`] and changes
//! nothing; [`Pool::supply`] brings it back.

mod frames;
mod memo;

#[cfg(test)]
mod tests;

pub use frames::{ChunkHook, Frame};

use crate::error::Missing;
use crate::limits::PAGES_MAX;
use crate::page::{Kind, Page};
use crate::units::PageId;
use core::fmt;
use frames::{Frames, Place};
pub(crate) use memo::Memo;
use memo::Memos;

/// There is no frame for another page. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolFull {
    /// The bound that has been reached.
    pub pages_max: usize,
}

impl fmt::Display for PoolFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "all {} pages of memory are in use", self.pages_max)
    }
}

impl std::error::Error for PoolFull {}

/// What is known of a page outside of it.
#[derive(Clone, Copy)]
struct Entry {
    place: Place,
    /// What the page's count was when it was last noted. Knowing it before the page has been read tells a search
    /// where to look; a wrong one costs time, never correctness.
    count: u16,
}

impl Entry {
    const ABSENT: Entry = Entry { place: Place::ABSENT, count: 0 };
}

/// The pages of a shard. Page 0 is never given out: it stands for "none".
pub struct Pool {
    /// By page id.
    table: Vec<Entry>,
    /// Ids that can be given out again.
    free_ids: Vec<PageId>,
    frames: Frames,
    memos: Memos,
    /// Raised by every release, so that what is remembered of a page can tell that it is stale.
    releases: u64,
}

impl Pool {
    /// At most `pages_max` pages are in memory at once. `on_chunk` is shown each new piece of memory before its
    /// first use, so that a driver can advise the kernel about it; it must leave the bytes as they are.
    pub fn new(pages_max: usize, on_chunk: ChunkHook) -> Pool {
        Pool {
            table: vec![Entry::ABSENT],
            free_ids: Vec::new(),
            frames: Frames::new(pages_max, on_chunk),
            memos: Memos::new(),
            releases: 0,
        }
    }

    /// The page, if it is in memory.
    #[inline(always)]
    pub fn page(&self, page: PageId) -> Result<&Page, Missing> {
        match self.table.get(page.0 as usize).and_then(|entry| self.frames.page(entry.place)) {
            Some(page) => Ok(page),
            None => Err(Missing(page)),
        }
    }

    /// The page, and what its count was when last noted.
    #[inline(always)]
    pub(crate) fn page_and_count(&self, page: PageId) -> Result<(&Page, usize), Missing> {
        match self.table.get(page.0 as usize) {
            Some(entry) => match self.frames.page(entry.place) {
                Some(page) => Ok((page, entry.count as usize)),
                None => Err(Missing(page)),
            },
            None => Err(Missing(page)),
        }
    }

    /// Notes the page's count, for [`Pool::page_and_count`].
    #[inline]
    pub(crate) fn note_count(&mut self, page: PageId) {
        self.table[page.0 as usize].count = self.resident(page).count() as u16;
    }

    /// Remembers where the row with this head is, in the tree with this root.
    #[inline(always)]
    pub(crate) fn remember(&self, root: PageId, head: u64, page: PageId, index: u16) {
        self.memos.of(head).set(Memo { head, root, page, releases: self.releases, index });
    }

    /// The page and the index that were remembered, if they can still be right. The caller compares the key.
    #[inline(always)]
    pub(crate) fn recall(&self, root: PageId, head: u64) -> Option<(&Page, usize)> {
        let memo = self.memos.of(head).get();
        if memo.head != head || memo.root != root || memo.releases != self.releases {
            return None;
        }
        Some((self.page(memo.page).ok()?, memo.index as usize))
    }

    /// The page, to be changed.
    #[inline]
    pub fn page_mut(&mut self, page: PageId) -> Result<&mut Page, Missing> {
        match self.table.get(page.0 as usize).and_then(|entry| self.frames.page_mut(entry.place)) {
            Some(page) => Ok(page),
            None => Err(Missing(page)),
        }
    }

    pub fn is_resident(&self, page: PageId) -> bool {
        self.page(page).is_ok()
    }

    /// A page on a resolved path, or one that has just been seen to be here.
    #[inline]
    pub(crate) fn resident(&self, page: PageId) -> &Page {
        self.page(page).expect("the pages of a resolved path stay in memory until it is applied")
    }

    #[inline]
    pub(crate) fn resident_mut(&mut self, page: PageId) -> &mut Page {
        self.page_mut(page).expect("the pages of a resolved path stay in memory until it is applied")
    }

    /// Sees to it that the next `pages` allocations succeed.
    pub fn reserve(&mut self, pages: usize) -> Result<(), PoolFull> {
        let ids = self.free_ids.len() + (PAGES_MAX - self.table.len());
        if ids < pages {
            return Err(PoolFull { pages_max: PAGES_MAX });
        }
        self.frames.reserve(pages)
    }

    /// A new, empty page. The caller has reserved it.
    pub fn allocate(&mut self, kind: Kind) -> PageId {
        let page = self.free_ids.pop().unwrap_or_else(|| {
            assert!(self.table.len() < PAGES_MAX);
            self.table.push(Entry::ABSENT);
            PageId(self.table.len() as u32 - 1)
        });
        let place = self.frames.take();
        self.table[page.0 as usize] = Entry { place, count: 0 };
        self.resident_mut(page).format(page, kind);
        page
    }

    /// Gives a page up, be it resident or not.
    pub fn release(&mut self, page: PageId) {
        assert!(page.0 != 0);
        self.releases += 1;
        let freed = core::mem::replace(&mut self.table[page.0 as usize], Entry::ABSENT);
        if freed.place != Place::ABSENT {
            self.frames.give_back(freed.place);
        }
        self.free_ids.push(page);
    }

    /// Makes a page absent and hands out its image.
    pub fn evict(&mut self, page: PageId) -> Result<Box<Frame>, Missing> {
        let image = Frame::boxed(self.page(page)?);
        let entry = core::mem::replace(&mut self.table[page.0 as usize], Entry::ABSENT);
        self.frames.give_back(entry.place);
        Ok(image)
    }

    /// Makes an absent page resident again.
    pub fn supply(&mut self, page: PageId, image: &Frame) -> Result<(), PoolFull> {
        assert!(!self.is_resident(page) && image.page.id() == page);
        self.frames.reserve(1)?;
        let place = self.frames.take();
        self.table[page.0 as usize] = Entry { place, count: image.page.count() as u16 };
        *self.resident_mut(page) = image.page;
        Ok(())
    }

    /// Pages that exist, resident or not.
    pub fn pages(&self) -> usize {
        self.table.len() - 1 - self.free_ids.len()
    }

    /// Pages in memory.
    pub fn pages_resident(&self) -> usize {
        self.frames.in_use()
    }

    pub fn pages_max(&self) -> usize {
        self.frames.max()
    }

    /// Whether exactly these pages exist: a page too many has leaked, one too few is used twice or after its
    /// release. Time is proportional to the pool; for tests and offline checks.
    pub fn check(&self, pages: &[PageId]) -> Result<(), String> {
        let mut is_known = vec![false; self.table.len()];
        for page in &self.free_ids {
            if core::mem::replace(&mut is_known[page.0 as usize], true) {
                return Err(format!("page {page} is twice in the free list"));
            }
            if self.is_resident(*page) {
                return Err(format!("page {page} is free, yet has a frame"));
            }
        }
        for page in pages {
            match is_known.get_mut(page.0 as usize) {
                Some(is_known) if !*is_known => *is_known = true,
                _ => return Err(format!("page {page} is used twice, or is used and free")),
            }
        }
        match is_known.iter().skip(1).position(|is_known| !is_known) {
            Some(page) => Err(format!("page {} has leaked", page + 1)),
            None => Ok(()),
        }
    }
}
