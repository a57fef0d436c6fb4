//! The memory of a shard's pages: who has a frame, and where it is. Knows nothing of what is in them.
//!
//! A page that exists may be absent: its image is in the page file. Asking for it answers [`Missing`] and changes
//! nothing; [`Pool::fetch`] has it read, [`Pool::on_read`] brings it in ([`paging`]). Which pages leave memory is said in
//! [`clock`]. A page leaves only between commands, never between a command's resolving and its applying.
//!
//! A page in memory carries the generation of its last change (0: none since its image was made). To change a page of
//! another generation than the present one is the one place where a change meets the page file: the page joins the list
//! of what the next checkpoint writes, and what the running one still needs is copied first (invariant P3 there).

mod clock;
mod frames;
mod memo;
mod paging;

#[cfg(test)]
mod tests;

pub use frames::{ChunkHook, Frame};
pub use paging::{Fetch, Fetched};

use crate::error::Missing;
use crate::limits::PAGES_MAX;
use crate::page::{Kind, Page};
use crate::pagefile::PageFile;
use crate::units::{Generation, PageId};
use clock::{Clock, Queue};
use core::cell::Cell;
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
#[derive(Clone)]
struct Entry {
    place: Place,
    /// What the page's count was when it was last noted. Knowing it before the page has been read tells a search
    /// where to look; a wrong one costs time, never correctness. Of an absent page: when it left.
    count: u16,
    /// It was used since the clock last looked.
    is_used: Cell<bool>,
}

impl Entry {
    fn absent(left: u16) -> Entry {
        Entry { place: Place::ABSENT, count: left, is_used: Cell::new(false) }
    }

    fn present(place: Place, count: u16) -> Entry {
        Entry { place, count, is_used: Cell::new(false) }
    }

    /// The test spares a store, and so the line's way back to memory, to nearly all uses.
    #[inline(always)]
    fn note_use(&self) {
        if !self.is_used.get() {
            self.is_used.set(true);
        }
    }
}

/// The pages of a shard. Page 0 is never given out: it stands for "none".
pub struct Pool {
    /// By page id.
    table: Vec<Entry>,
    /// Ids that can be given out again, and how many there may be in all.
    free_ids: Vec<PageId>,
    ids_max: usize,
    frames: Frames,
    clock: Clock,
    file: Option<PageFile>,
    /// Of what changes now.
    generation: Generation,
    /// Pages that were changed in this generation, some of them more than once, some gone again.
    dirty: Vec<PageId>,
    /// How many of them are dirty and in memory.
    dirty_pages: usize,
    /// Those of the generation before, as far as the running checkpoint has not looked at them.
    aging: Vec<PageId>,
    /// Pages that have left memory.
    evictions: u64,
    memos: Memos,
    /// Raised by every release, so that what is remembered of a page can tell that it is stale.
    releases: u64,
}

impl Pool {
    /// At most `pages_max` pages are in memory at once. `on_chunk` is shown each new piece of memory before its
    /// first use, so that a driver can advise the kernel about it; it must leave the bytes as they are.
    pub fn new(pages_max: usize, on_chunk: ChunkHook) -> Pool {
        Pool {
            table: vec![Entry::absent(0)],
            free_ids: Vec::new(),
            ids_max: PAGES_MAX,
            frames: Frames::new(pages_max, on_chunk),
            clock: Clock::new(),
            file: None,
            generation: Generation(1),
            dirty: Vec::new(),
            dirty_pages: 0,
            aging: Vec::new(),
            evictions: 0,
            memos: Memos::new(),
            releases: 0,
        }
    }

    /// The page, if it is in memory.
    #[inline(always)]
    pub fn page(&self, page: PageId) -> Result<&Page, Missing> {
        match self.table.get(page.0 as usize) {
            Some(entry) => match self.frames.page(entry.place) {
                Some(page) => {
                    entry.note_use();
                    Ok(page)
                }
                None => Err(Missing::Page(page)),
            },
            None => Err(Missing::Page(page)),
        }
    }

    /// The page, if it is in memory, without noting that it was used.
    #[inline]
    pub(crate) fn peek(&self, page: PageId) -> Option<&Page> {
        self.frames.page(self.table.get(page.0 as usize)?.place)
    }

    /// The page, and what its count was when last noted.
    #[inline(always)]
    pub(crate) fn page_and_count(&self, page: PageId) -> Result<(&Page, usize), Missing> {
        match self.table.get(page.0 as usize) {
            Some(entry) => match self.frames.page(entry.place) {
                Some(page) => {
                    entry.note_use();
                    Ok((page, entry.count as usize))
                }
                None => Err(Missing::Page(page)),
            },
            None => Err(Missing::Page(page)),
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
        let Some(place) = self.table.get(page.0 as usize).map(|entry| entry.place) else {
            return Err(Missing::Page(page));
        };
        let generation = match self.frames.page(place) {
            Some(node) => node.generation(),
            None => return Err(Missing::Page(page)),
        };
        if generation != self.generation {
            self.soil(page, generation);
        }
        Ok(self.frames.page_mut(place).expect("it was there just now"))
    }

    pub fn is_resident(&self, page: PageId) -> bool {
        self.peek(page).is_some()
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

    /// Pages that there may be beside those that exist. Page 0 is none of them.
    #[inline]
    pub(crate) fn ids_left(&self) -> usize {
        self.free_ids.len() + (self.ids_max + 1).saturating_sub(self.table.len())
    }

    /// Sees to it that the next `pages` allocations succeed.
    pub fn reserve(&mut self, pages: usize) -> Result<(), PoolFull> {
        if self.ids_left() < pages {
            return Err(PoolFull { pages_max: self.ids_max });
        }
        self.frames.reserve(pages)
    }

    /// A new, empty page. The caller has reserved it.
    pub fn allocate(&mut self, kind: Kind) -> PageId {
        let page = self.free_ids.pop().unwrap_or_else(|| {
            assert!(self.table.len() <= self.ids_max, "it was seen before that there is a number");
            self.table.push(Entry::absent(0));
            PageId(self.table.len() as u32 - 1)
        });
        let place = self.frames.take();
        self.table[page.0 as usize] = Entry::present(place, 0);
        self.clock.push(Queue::Protected, self.frames.number(place), page);
        let generation = self.generation;
        let node = self.frames.page_mut(place).expect("it was taken just now");
        node.format(page, kind);
        node.set_generation(generation);
        self.dirty_pages += 1;
        if self.file.is_some() {
            self.dirty.push(page);
        }
        page
    }

    /// Gives a page up, be it resident or not.
    pub fn release(&mut self, page: PageId) {
        assert!(page.0 != 0);
        self.releases += 1;
        if let Some(node) = self.peek(page) {
            let generation = node.generation();
            if generation != self.generation && generation.0 != 0 {
                self.save_before_change(page);
            }
            self.drop_frame(page, 0);
        }
        if let Some(file) = &mut self.file {
            file.forget_page(page);
        }
        self.free_ids.push(page);
    }

    /// The page's frame is free for another page.
    fn drop_frame(&mut self, page: PageId, left: u16) {
        let entry = core::mem::replace(&mut self.table[page.0 as usize], Entry::absent(left));
        let node = self.frames.page(entry.place).expect("who has a frame is in memory");
        self.dirty_pages -= usize::from(node.generation() == self.generation);
        self.clock.remove(self.frames.number(entry.place));
        self.frames.give_back(entry.place);
    }

    /// Makes a page absent and hands out its image.
    #[cfg(test)]
    pub(crate) fn evict(&mut self, page: PageId) -> Result<Box<Frame>, Missing> {
        let image = Frame::boxed(self.page(page)?);
        self.drop_frame(page, 0);
        Ok(image)
    }

    /// Makes an absent page resident again.
    #[cfg(test)]
    pub(crate) fn supply(&mut self, page: PageId, image: &Frame) -> Result<(), PoolFull> {
        assert!(!self.is_resident(page) && image.page.id() == page);
        self.frames.reserve(1)?;
        self.bring_in(page, image.page.as_bytes(), Queue::Protected);
        Ok(())
    }

    /// The generation that a change of an extent belongs to; 0 if nobody writes generations.
    pub(crate) fn changes_in(&self) -> Generation {
        if self.file.is_some() { self.generation } else { Generation(0) }
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

    /// Changes how many pages may be in memory. If there are more they leave as room is made.
    pub(crate) fn set_pages_max(&mut self, pages_max: usize) {
        self.frames.set_max(pages_max);
    }

    /// Frames that the bound leaves.
    #[inline]
    pub fn frames_free(&self) -> usize {
        self.frames.free()
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
