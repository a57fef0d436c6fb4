//! Searching a sorted array of heads: the inner loop of every command.
//!
//! Heads are hashes more often than not, and then evenly spread: where a head stands follows from the page's
//! bounds, which the parent knows, to within a few entries. Those are two or three cache lines, read at once; a
//! binary search reads more, one after the other. Where the heads are not even, the binary search decides.

use super::{Page, WORDS};
use crate::limits::PAGE_BYTES;
use core::hint::select_unpredictable;

/// Entries that are searched around the guess.
const WINDOW: usize = 16;

/// What is known of a page's heads before it is read. A wrong span costs time, never correctness.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub low: u64,
    pub high: u64,
}

impl Span {
    #[cfg(test)]
    pub(crate) const ALL: Span = Span { low: 0, high: u64::MAX };

    /// Where the window around `head`'s probable place begins, in a page of more than [`WINDOW`] entries.
    #[inline(always)]
    fn window(self, count: usize, head: u64) -> usize {
        let span = self.high.wrapping_sub(self.low) | 1;
        // 32 bits of precision are enough, and leave room for the multiplication.
        let shift = 32 - span.leading_zeros().min(32);
        let offset = head.wrapping_sub(self.low) >> shift;
        let guess = ((offset & 0xffff_ffff) * count as u64 / ((span >> shift) + 1)) as usize;
        guess.saturating_sub(WINDOW / 2).min(count - WINDOW)
    }
}

/// How many of `heads` are below `head`.
#[inline(always)]
pub(crate) fn lower_bound(heads: &[u64], head: u64, span: Span) -> usize {
    if heads.len() > WINDOW {
        let start = span.window(heads.len(), head);
        let window = &heads[start..start + WINDOW];
        let below = window.iter().map(|other| usize::from(*other < head)).sum::<usize>();
        // The place is in the window if an entry on either side of it is, or if the array ends there.
        let is_bounded = (below > 0 || start == 0) && (below < WINDOW || start + WINDOW == heads.len());
        if is_bounded {
            return start + below;
        }
    }
    halve(heads, head)
}

/// The binary search. No branch depends on the data: a mispredicted one costs more than the whole search.
#[inline]
fn halve(heads: &[u64], head: u64) -> usize {
    let mut base = 0;
    let mut len = heads.len();
    if len == 0 {
        return 0;
    }
    while len > 1 {
        let half = len / 2;
        base = select_unpredictable(heads[base + half - 1] < head, base + half, base);
        len -= half;
    }
    base + usize::from(heads[base] < head)
}

impl Page {
    /// Loads the lines that a search for `head` will look at, and the slots that it probably leads to, all at
    /// once.
    /// `count` is a belief about the page's count: a wrong one costs time.
    #[inline(always)]
    pub(crate) fn touch_window(&self, count: usize, head: u64, span: Span) -> u64 {
        let start = if count > WINDOW { span.window(count, head) } else { 0 };
        // All of these are within the page for any count that a page can have.
        let word = |index: usize| self.words[index.min(WORDS - 1)];
        let slots = word(count + start + WINDOW / 4) ^ word(count + start + 3 * WINDOW / 4);
        word(start) ^ word(start + WINDOW / 2) ^ word(start + WINDOW - 1) ^ slots
    }

    /// Where the bytes of row `index` begin and end; some byte of the page if there is no such row.
    #[inline(always)]
    pub(crate) fn row_range(&self, index: usize) -> (usize, usize) {
        if index == self.count() {
            return (0, 1);
        }
        let slot = self.slot(index);
        let start = slot.offset as usize;
        (start, start + slot.tail as usize + slot.len())
    }

    /// Loads the first lines of a row.
    #[inline(always)]
    pub(crate) fn touch_row(&self, (start, end): (usize, usize)) -> u64 {
        let bytes = self.as_bytes();
        // No branch, so that many rows are under way at once.
        let line = |index: usize| u64::from(bytes[(start + 64 * index).min(end - 1) % PAGE_BYTES]);
        line(0) ^ line(1) ^ line(2)
    }
}
