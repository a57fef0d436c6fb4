//! Frames, allocated in chunks that only grow in number.

use super::PoolFull;
use crate::limits::{CHUNK_FRAMES_FIRST, CHUNK_FRAMES_MAX};
use crate::page::Page;
use bytemuck::{Pod, Zeroable};

/// Is shown each new chunk of memory.
pub type ChunkHook = Box<dyn FnMut(&mut [Frame]) + Send>;

/// The memory of one page, aligned as direct I/O wants it.
///
/// Never a local variable: rustc 1.95 loses the prologue of functions whose locals are aligned to 4096 bytes
/// or more. What is copied to the stack is a [`Page`].
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(4096))]
pub struct Frame {
    pub page: Page,
}

impl Frame {
    /// A frame of its own, outside the pool, with this page.
    pub fn boxed(page: &Page) -> Box<Frame> {
        let mut frame = bytemuck::zeroed_box::<Frame>();
        frame.page = *page;
        frame
    }
}

/// A frame's place: a chunk and an index in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    chunk: u16,
    index: u16,
}

impl Place {
    /// No chunk has this number, so that looking it up fails by itself.
    pub(super) const ABSENT: Place = Place { chunk: u16::MAX, index: 0 };
}

const _: () = assert!(CHUNK_FRAMES_MAX <= 1 << 16);

pub(super) struct Frames {
    chunks: Vec<Box<[Frame]>>,
    /// By chunk: frames in the chunks before it.
    before: Vec<u32>,
    /// Frames that were in use before.
    unused: Vec<Place>,
    /// Frames of the last chunk that have never been in use begin here.
    fresh: usize,
    in_use: usize,
    /// Frames that pages which are being read will need.
    promised: usize,
    max: usize,
    on_chunk: ChunkHook,
}

impl Frames {
    pub(super) fn new(max: usize, on_chunk: ChunkHook) -> Frames {
        let (chunks, before, unused) = (Vec::new(), Vec::new(), Vec::new());
        Frames { chunks, before, unused, fresh: 0, in_use: 0, promised: 0, max, on_chunk }
    }

    #[inline(always)]
    pub(super) fn page(&self, place: Place) -> Option<&Page> {
        Some(&self.chunks.get(place.chunk as usize)?.get(place.index as usize)?.page)
    }

    #[inline(always)]
    pub(super) fn page_mut(&mut self, place: Place) -> Option<&mut Page> {
        Some(&mut self.chunks.get_mut(place.chunk as usize)?.get_mut(place.index as usize)?.page)
    }

    /// The frame's number among all.
    pub(super) fn number(&self, place: Place) -> u32 {
        self.before[usize::from(place.chunk)] + u32::from(place.index)
    }

    pub(super) fn in_use(&self) -> usize {
        self.in_use
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Frames that the bound leaves, beside those that are promised.
    #[inline]
    pub(super) fn free(&self) -> usize {
        self.max.saturating_sub(self.in_use + self.promised)
    }

    /// Keeps a frame for a page that is about to be read. The caller has seen that one is free.
    pub(super) fn promise(&mut self) {
        self.promised += 1;
    }

    /// The page has come, or will not.
    pub(super) fn redeem(&mut self) {
        self.promised -= 1;
    }

    fn fresh_left(&self) -> usize {
        self.chunks.last().map_or(0, |chunk| chunk.len() - self.fresh)
    }

    /// Sees to it that the next `frames` calls of [`Frames::take`] succeed.
    #[inline]
    pub(super) fn reserve(&mut self, frames: usize) -> Result<(), PoolFull> {
        if self.free() < frames {
            return Err(PoolFull { pages_max: self.max });
        }
        while self.unused.len() + self.fresh_left() < frames {
            self.grow()?;
        }
        Ok(())
    }

    #[cold]
    fn grow(&mut self) -> Result<(), PoolFull> {
        // What is left of the last chunk goes to the free list: `fresh` is of one chunk only.
        if let Some(last) = self.chunks.len().checked_sub(1) {
            let left = self.fresh..self.chunks[last].len();
            self.fresh = left.end;
            self.unused.extend(left.map(|index| Place { chunk: last as u16, index: index as u16 }));
        }
        let full = PoolFull { pages_max: self.chunks.iter().map(|chunk| chunk.len()).sum() };
        let frames = (CHUNK_FRAMES_FIRST << self.chunks.len().min(16)).min(CHUNK_FRAMES_MAX);
        let frames = frames.min(self.max.saturating_sub(full.pages_max));
        if frames == 0 {
            return Err(full);
        }
        if self.chunks.len() >= usize::from(Place::ABSENT.chunk) {
            return Err(full);
        }
        // The system's memory may end before our bound does.
        let mut chunk = bytemuck::try_zeroed_slice_box::<Frame>(frames).map_err(|()| full)?;
        (self.on_chunk)(&mut chunk);
        self.before.push(full.pages_max as u32);
        self.chunks.push(chunk);
        self.fresh = 0;
        Ok(())
    }

    pub(super) fn take(&mut self) -> Place {
        self.in_use += 1;
        self.unused.pop().unwrap_or_else(|| {
            let index = self.fresh;
            assert!(self.fresh_left() > 0, "a frame is taken only after it was reserved");
            self.fresh += 1;
            Place { chunk: self.chunks.len() as u16 - 1, index: index as u16 }
        })
    }

    pub(super) fn give_back(&mut self, place: Place) {
        self.in_use -= 1;
        self.unused.push(place);
    }
}

const _: () = assert!(size_of::<Frame>() == crate::limits::PAGE_BYTES);
