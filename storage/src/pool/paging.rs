//! Pages on their way out of memory and back in.

use super::clock::Queue;
use super::{Entry, Pool, PoolFull};
use crate::error::Missing;
use crate::page::Page;
use crate::pagefile::{Arrival, PageFile, Suspicion};
use crate::pool::ChunkHook;
use crate::units::{Generation, OpId, PageId};

/// Pages that one search for a victim tries to write in vain before it gives up.
const UNSAVED_MAX: usize = 32;

/// For each page that a checkpoint is to save, it looks at so many at most: of those that have left memory meanwhile nothing
/// is to be done.
const SEEN_SHARE: usize = 16;

/// The memory of when a page left is this fine: so many steps while as many pages leave as there are frames.
const STEPS: u64 = 64;

/// What became of the wish to have a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// It is here.
    Here,
    /// It is being read.
    Underway,
    /// All frames are in use by pages that cannot leave now: ask again later.
    Crowded,
}

/// What a completed read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It is here.
    Here(Missing),
    /// More reads of it are under way.
    Underway,
    /// It changed, or there was no frame for it: whoever still wants it asks again.
    Again(Missing),
    /// Nothing of it is to be used.
    Damaged {
        missing: Missing,
        offset: u64,
        what: &'static str,
    },
    Failed {
        missing: Missing,
        offset: u64,
        errno: i32,
    },
    /// It was a read of the scrub.
    Scrubbed(Option<Suspicion>),
}

impl Pool {
    /// A pool over a page file: its pages are absent. `page_max` is the highest page in use by the file's checkpoint.
    pub fn over(pages_max: usize, on_chunk: ChunkHook, file: PageFile) -> Pool {
        let mut pool = Pool::new(pages_max, on_chunk);
        let words = file.page_words().max(1);
        pool.table = vec![Entry::absent(0); words];
        pool.free_ids = (1..words as u32).rev().map(PageId).filter(|page| !file.has_page(*page)).collect();
        pool.ids_max = file.bounds().pages;
        pool.generation = file.generation();
        let file = pool.file.insert(file);
        file.set_memory(pages_max);
        pool
    }

    pub fn file(&self) -> Option<&PageFile> {
        self.file.as_ref()
    }

    pub fn file_mut(&mut self) -> Option<&mut PageFile> {
        self.file.as_mut()
    }

    /// The page, of this generation, is about to become one of the present generation. Keeps P3 of the page file.
    #[cold]
    pub(super) fn soil(&mut self, page: PageId, generation: Generation) {
        if generation.0 != 0 {
            self.save_before_change(page);
        }
        if self.file.is_some() {
            self.dirty.push(page);
        }
        let present = self.generation;
        self.dirty_pages += 1;
        self.mark(page, present);
    }

    /// A page whose image is damaged is to be written anew, if it is in memory: whether it is.
    pub(crate) fn rewrite(&mut self, page: PageId) -> bool {
        let Some(generation) = self.peek(page).map(Page::generation) else { return false };
        if generation.0 == 0 {
            self.soil(page, generation);
        }
        true
    }

    fn mark(&mut self, page: PageId, generation: Generation) {
        let place = self.table[page.0 as usize].place;
        self.frames.page_mut(place).expect("the page is in memory").set_generation(generation);
    }

    /// The running checkpoint gets the image of a page that it has not saved and that is about to change or go.
    pub(super) fn save_before_change(&mut self, page: PageId) {
        let place = self.table[page.0 as usize].place;
        let node = self.frames.page(place).expect("the page is in memory");
        if let Some(file) = &mut self.file {
            file.save_before_change(page, node);
        }
    }

    fn save_frozen(&mut self, page: PageId) {
        let place = self.table[page.0 as usize].place;
        let node = self.frames.page(place).expect("the page is in memory");
        if let Some(file) = &mut self.file {
            file.save_frozen(page, node);
        }
    }

    /// A checkpoint begins: what is dirty now is its business.
    pub(crate) fn freeze(&mut self) {
        assert!(self.aging.is_empty(), "one checkpoint at a time");
        std::mem::swap(&mut self.aging, &mut self.dirty);
        self.dirty_pages = 0;
        self.generation = Generation(self.generation.0 + 1);
    }

    /// Pages that a checkpoint which began now would have to save.
    pub fn dirty_pages(&self) -> usize {
        self.dirty_pages
    }

    /// Whether anything has changed in this generation.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Drops from the list of dirty pages what is on it twice or has gone, where no checkpoint ends it.
    pub(crate) fn tidy_dirty(&mut self) {
        if self.dirty.len() > 2 * self.frames.in_use() {
            let mut dirty = std::mem::take(&mut self.dirty);
            dirty.sort_unstable();
            dirty.dedup();
            dirty.retain(|page| self.peek(*page).is_some_and(|node| node.generation() == self.generation));
            self.dirty = dirty;
        }
    }

    /// Pages that the running checkpoint has not looked at, at most.
    pub fn aging_max(&self) -> usize {
        self.aging.len().min(self.frames.in_use())
    }

    /// Saves up to `pages` pages for the running checkpoint. Whether none is left.
    pub(crate) fn save_some(&mut self, pages: usize) -> bool {
        if !self.file.as_ref().is_some_and(PageFile::can_save) {
            // Without an image a page must not pass for saved: it could leave memory, and an older image come back.
            return self.aging.is_empty();
        }
        let (mut saved, mut seen) = (0, 0);
        while saved < pages
            && seen < SEEN_SHARE * pages
            && let Some(page) = self.aging.pop()
        {
            seen += 1;
            let Some(generation) = self.peek(page).map(Page::generation) else { continue };
            if generation.0 != 0 && generation != self.generation {
                self.save_frozen(page);
                self.mark(page, Generation(0));
                saved += 1;
            }
        }
        self.aging.is_empty()
    }

    /// Sees to it that `frames` frames are free, by giving up pages. Not to be called between resolving and applying.
    #[inline]
    pub fn make_room(&mut self, frames: usize) -> Result<(), PoolFull> {
        if self.frames.free() >= frames {
            return Ok(());
        }
        self.evict_until(frames)
    }

    #[cold]
    fn evict_until(&mut self, frames: usize) -> Result<(), PoolFull> {
        while self.frames.free() < frames {
            if self.file.is_none() || !self.evict_one() {
                return Err(PoolFull { pages_max: self.frames.max() });
            }
        }
        Ok(())
    }

    /// Gives up the page that is least worth keeping. `false`: of those that it came by, none can leave now.
    fn evict_one(&mut self) -> bool {
        let mut unsaved = 0;
        // Once around everything, each page may be in use; then it is not any more.
        for _ in 0..2 * self.frames.in_use() {
            let queue = self.queue_to_shrink();
            let Some((frame, page)) = self.clock.front(queue) else { return false };
            let is_used = self.table[page.0 as usize].is_used.replace(false);
            let next = match queue {
                Queue::Fresh if self.clock.len(Queue::Fresh) > 1 => Queue::Probation,
                Queue::Probation | Queue::Protected if is_used => Queue::Protected,
                _ if self.save_victim(page) => {
                    self.evictions += 1;
                    let left = self.step();
                    self.drop_frame(page, left);
                    return true;
                }
                queue => {
                    unsaved += 1;
                    // Where none of the dirty can leave for long, they must not stand before the clean.
                    let is_stuck = self.file.as_ref().is_some_and(PageFile::is_stuck);
                    if is_stuck && queue == Queue::Probation { Queue::Protected } else { queue }
                }
            };
            if unsaved > UNSAVED_MAX {
                return false;
            }
            self.clock.remove(frame);
            self.clock.push(next, frame, page);
        }
        false
    }

    fn queue_to_shrink(&self) -> Queue {
        let share = self.frames.max() / 16;
        let len = |queue| self.clock.len(queue);
        if len(Queue::Fresh) > share {
            Queue::Fresh
        } else if len(Queue::Probation) > share {
            Queue::Probation
        } else if len(Queue::Protected) > 0 {
            Queue::Protected
        } else if len(Queue::Probation) > 0 {
            Queue::Probation
        } else {
            Queue::Fresh
        }
    }

    /// When something leaves, as its entry remembers it.
    fn step(&self) -> u16 {
        (self.evictions * STEPS / self.frames.max().max(1) as u64) as u16
    }

    /// Sees to it that the page's image is in the page file. Whether it is.
    fn save_victim(&mut self, page: PageId) -> bool {
        let place = self.table[page.0 as usize].place;
        let node = self.frames.page(place).expect("a page in a queue is in memory");
        let file = self.file.as_mut().expect("pages leave only for a page file");
        match node.generation() {
            Generation(0) => true,
            generation if generation == self.generation => file.save_victim(page, node),
            _ if file.is_flooded() => false,
            _ => {
                file.save_frozen(page, node);
                file.is_saving()
            }
        }
    }

    /// Has an absent page or extent brought in. Extents are the engine's: it is told when there is no read of one. Whoever is
    /// told that a read is under way can rely on a frame for what it brings.
    pub fn fetch(&mut self, page: PageId) -> Fetch {
        if self.is_resident(page) {
            return Fetch::Here;
        }
        let file = self.file.as_ref().expect("pages are absent only if there is a page file");
        if file.is_reading(Missing::Page(page)) {
            return Fetch::Underway;
        }
        if self.make_room(1).and_then(|()| self.frames.reserve(1)).is_err() {
            return Fetch::Crowded;
        }
        let file = self.file.as_mut().expect("it was there just now");
        let Some(image) = file.unwritten(page) else {
            file.read_page(page);
            self.frames.promise();
            return Fetch::Underway;
        };
        let image = image.to_vec();
        let queue = self.queue_of(page);
        self.bring_in(page, &image, queue);
        Fetch::Here
    }

    /// Takes the answer to a read of a page.
    pub(crate) fn on_read(&mut self, op: OpId, result: Result<&[u8], i32>) -> Result<Fetched, Arrival> {
        let file = self.file.as_mut().expect("reads are the page file's");
        let (page, fetched) = match file.on_read(op, result, self.table.len()) {
            Arrival::Page(page) => (Some(page), Fetched::Here(Missing::Page(page))),
            Arrival::Underway => return Ok(Fetched::Underway),
            Arrival::Stale(missing) => (None, Fetched::Again(missing)),
            Arrival::Damaged { missing, offset, what } => (None, Fetched::Damaged { missing, offset, what }),
            Arrival::Failed { missing, offset, errno } => (None, Fetched::Failed { missing, offset, errno }),
            Arrival::Scrubbed(found) => return Ok(Fetched::Scrubbed(found)),
            extent @ Arrival::Extent(..) => return Err(extent),
        };
        if let Fetched::Here(missing)
        | Fetched::Again(missing)
        | Fetched::Damaged { missing, .. }
        | Fetched::Failed { missing, .. } = fetched
            && matches!(missing, Missing::Page(_))
        {
            self.frames.redeem();
        }
        let Some(page) = page else { return Ok(fetched) };
        // Memory may have become smaller since the frame was promised.
        let is_crowded = self.make_room(1).and_then(|()| self.frames.reserve(1)).is_err();
        if is_crowded || self.is_resident(page) {
            return Ok(Fetched::Again(Missing::Page(page)));
        }
        let queue = self.queue_of(page);
        self.bring_in(page, result.expect("it was sound"), queue);
        Ok(fetched)
    }

    /// A page that has just been brought in leaves again.
    pub(crate) fn send_back(&mut self, page: PageId) {
        if self.is_resident(page) {
            self.drop_frame(page, 0);
        }
    }

    /// Where a page that comes from disk begins: what left a short while ago has been missed too early.
    fn queue_of(&self, page: PageId) -> Queue {
        let left = self.table[page.0 as usize].count;
        let is_recent = left != 0 && self.step().wrapping_sub(left) < STEPS as u16;
        if is_recent { Queue::Protected } else { Queue::Fresh }
    }

    /// Gives an absent page a frame, which was reserved, and its content.
    pub(super) fn bring_in(&mut self, page: PageId, image: &[u8], queue: Queue) {
        let place = self.frames.take();
        let node = self.frames.page_mut(place).expect("it was taken just now");
        node.as_bytes_mut().copy_from_slice(image);
        let count = node.count() as u16;
        self.dirty_pages += usize::from(node.generation() == self.generation);
        self.table[page.0 as usize] = Entry::present(place, count);
        self.clock.push(queue, self.frames.number(place), page);
    }

    /// Pages that have left memory since the start.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }
}
