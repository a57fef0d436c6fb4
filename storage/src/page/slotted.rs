//! Entries of a page: heads and slots in front, tails and payloads in the heap behind.
//!
//! Leaves and branches have the same shape; a counted branch has one array more. What a slot's word means is theirs
//! ([`super::leaf`], [`super::branch`], [`super::counted`]).

use super::{HEADER_BYTES, Key, Page, SPACE_BYTES, Span, lower_bound};
use crate::limits::PAGE_BYTES;
use core::cmp::Ordering;
use core::ops::Range;

/// Where an entry's bytes stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// First byte of the tail, counted from the page's.
    pub offset: u16,
    /// Bytes of the tail.
    pub tail: u16,
    /// Bytes of the payload and what it is a bundle of (leaf), or the child's page id (branch).
    pub word: u32,
}

impl Slot {
    /// The word of a leaf's entry: of one row, or, where `bundled` is not 0, of so many.
    #[inline(always)]
    pub(crate) fn word_of(len: usize, bundled: usize) -> u32 {
        debug_assert!(len <= PAGE_BYTES && bundled <= usize::from(u16::MAX));
        len as u32 | (bundled as u32) << 16
    }

    /// Bytes of a leaf's payload.
    #[inline(always)]
    pub(crate) fn len(self) -> usize {
        self.word as u16 as usize
    }

    /// The rows of a bundle; 0 for an entry that is one row.
    #[inline(always)]
    pub(crate) fn bundled(self) -> usize {
        (self.word >> 16) as usize
    }

    /// The rows of a leaf's entry.
    #[inline(always)]
    pub(crate) fn rows(self) -> usize {
        self.bundled().max(1)
    }

    #[inline(always)]
    pub(super) fn with_len(self, len: usize) -> Slot {
        Slot { word: Slot::word_of(len, self.bundled()), ..self }
    }

    #[inline(always)]
    pub(crate) fn unpack(word: u64) -> Slot {
        Slot { offset: word as u16, tail: (word >> 16) as u16, word: (word >> 32) as u32 }
    }

    #[inline(always)]
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.offset) | u64::from(self.tail) << 16 | u64::from(self.word) << 32
    }
}

impl Page {
    #[inline(always)]
    pub(crate) fn slot(&self, index: usize) -> Slot {
        let count = self.count();
        assert!(index < count);
        Slot::unpack(self.words[count + index])
    }

    pub(super) fn set_slot(&mut self, index: usize, slot: Slot) {
        let count = self.count();
        assert!(index < count);
        self.words[count + index] = slot.pack();
    }

    /// A bundle of one row is a row from now on, whose payload is undefined.
    pub(crate) fn unbundle(&mut self, index: usize) {
        let slot = self.slot(index);
        assert!(self.is_leaf() && slot.bundled() == 1);
        self.count_bundle(slot, false);
        self.set_slot(index, Slot { word: Slot::word_of(slot.len(), 0), ..slot });
    }

    /// How many rows a bundle has.
    pub(crate) fn set_bundled(&mut self, index: usize, rows: usize) {
        let slot = self.slot(index);
        assert!(self.is_leaf() && slot.bundled() > 0 && rows > 0);
        let new = Slot { word: Slot::word_of(slot.len(), rows), ..slot };
        self.count_bundle(slot, false);
        self.count_bundle(new, true);
        self.set_slot(index, new);
    }

    #[inline(always)]
    pub(crate) fn tail(&self, index: usize) -> &[u8] {
        let slot = self.slot(index);
        &self.as_bytes()[slot.offset as usize..slot.offset as usize + slot.tail as usize]
    }

    #[inline(always)]
    pub(crate) fn key(&self, index: usize) -> Key<'_> {
        Key { head: self.heads()[index], tail: self.tail(index) }
    }

    /// The bytes that an entry has in the heap.
    pub(crate) fn heap_len(&self, slot: Slot) -> usize {
        slot.tail as usize + if self.is_leaf() { slot.len() } else { 0 }
    }

    /// An entry has come, or gone.
    #[inline(always)]
    fn count_bundle(&mut self, slot: Slot, has_come: bool) {
        if slot.bundled() == 0 || !self.is_leaf() {
            return;
        }
        let (bundles, beyond) = (&mut self.header.bundles, &mut self.header.beyond);
        let more = slot.rows() as u16 - 1;
        (*bundles, *beyond) = if has_come { (*bundles + 1, *beyond + more) } else { (*bundles - 1, *beyond - more) };
    }

    /// What an entry costs in all.
    pub(crate) fn entry_bytes(&self, index: usize) -> usize {
        self.front_bytes() + self.heap_len(self.slot(index))
    }

    /// First byte of the heap.
    pub(crate) fn heap(&self) -> usize {
        self.header.heap as usize
    }

    pub(crate) fn garbage(&self) -> usize {
        self.header.garbage as usize
    }

    fn free_contiguous(&self) -> usize {
        self.heap() - HEADER_BYTES - self.front_bytes() * self.count()
    }

    /// Bytes that new entries may take, some after compaction.
    #[inline]
    pub(crate) fn free(&self) -> usize {
        self.free_contiguous() + self.garbage()
    }

    /// Bytes that entries take, of [`SPACE_BYTES`].
    pub(crate) fn used(&self) -> usize {
        SPACE_BYTES - self.free()
    }

    /// What the page itself says of its span: the heads of its first and last entries.
    #[inline(always)]
    pub(crate) fn span(&self) -> Span {
        let heads = self.heads();
        let first = heads.get(usize::from(!self.is_leaf())).copied().unwrap_or(0);
        Span { low: first, high: heads.last().copied().unwrap_or(0).max(first) }
    }

    /// The first entry that is not below `key`, and whether it is `key`.
    #[inline(always)]
    pub(crate) fn seek(&self, key: Key<'_>, span: Span) -> (usize, bool) {
        let heads = self.heads();
        let first = lower_bound(heads, key.head, span);
        if first == heads.len() || heads[first] != key.head {
            return (first, false);
        }
        if first + 1 == heads.len() || heads[first + 1] != key.head {
            return match self.tail(first).cmp(key.tail) {
                Ordering::Less => (first + 1, false),
                Ordering::Equal => (first, true),
                Ordering::Greater => (first, false),
            };
        }
        self.seek_tail(first, key)
    }

    /// [`Page::seek`] among several entries with the same head, the first of which is `first`.
    #[cold]
    fn seek_tail(&self, first: usize, key: Key<'_>) -> (usize, bool) {
        let heads = self.heads();
        let mut low = first;
        let mut high = first + heads[first..].partition_point(|head| *head == key.head);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.tail(middle).cmp(key.tail) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return (middle, true),
                Ordering::Greater => high = middle,
            }
        }
        (low, false)
    }

    /// Takes `len` bytes of the heap. The caller has seen that [`Page::free`] allows it.
    pub(super) fn take(&mut self, len: usize) -> u16 {
        if self.free_contiguous() < len {
            self.compact();
        }
        assert!(self.free_contiguous() >= len);
        self.header.heap -= len as u16;
        self.header.heap
    }

    pub(super) fn discard(&mut self, len: usize) {
        self.header.garbage += len as u16;
    }

    /// Puts an entry at `index`. The caller has seen that [`Page::front_bytes`] and the lengths fit; the payload's bytes,
    /// if it is a leaf, are the caller's to fill. A counted branch has no rows below the new entry yet.
    pub(crate) fn insert_entry(&mut self, index: usize, key: Key<'_>, word: u32) {
        let slot = Slot { offset: 0, tail: key.tail.len() as u16, word };
        let len = self.heap_len(slot);
        let front = self.front_bytes();
        assert!(self.free() >= front + len);
        let count = self.count();
        assert!(index <= count);
        if self.free_contiguous() < front + len {
            self.compact();
        }
        let offset = self.take(len);
        if self.is_counted() {
            self.words.copy_within(2 * count + index..3 * count, 2 * count + index + 3);
            self.words.copy_within(count + index..2 * count + index, count + index + 2);
            self.words[2 * count + index + 2] = 0;
        } else {
            self.words.copy_within(count + index..2 * count, count + index + 2);
        }
        self.words.copy_within(index..count + index, index + 1);
        self.words[index] = key.head;
        self.words[count + 1 + index] = Slot { offset, ..slot }.pack();
        self.header.count += 1;
        self.count_bundle(slot, true);
        let offset = offset as usize;
        self.as_bytes_mut()[offset..offset + key.tail.len()].copy_from_slice(key.tail);
    }

    pub(crate) fn remove_entry(&mut self, index: usize) {
        let slot = self.slot(index);
        let len = self.heap_len(slot);
        let count = self.count();
        self.words.copy_within(index + 1..count + index, index);
        if self.is_counted() {
            self.words.copy_within(count + index + 1..2 * count + index, count + index - 1);
            self.words.copy_within(2 * count + index + 1..3 * count, 2 * count + index - 2);
        } else {
            self.words.copy_within(count + index + 1..2 * count, count + index - 1);
        }
        self.header.count -= 1;
        self.count_bundle(slot, false);
        if slot.offset == self.header.heap {
            self.header.heap += len as u16;
        } else {
            self.discard(len);
        }
        if count == 1 {
            self.header.heap = PAGE_BYTES as u16;
            self.header.garbage = 0;
        }
    }

    /// Appends entries of another page of the same kind. The caller has seen that they fit.
    pub(crate) fn append(&mut self, from: &Page, range: Range<usize>) {
        let (old, add) = (self.count(), range.len());
        let bytes: usize = range.clone().map(|index| from.heap_len(from.slot(index))).sum();
        let front = self.front_bytes() * add;
        assert!(self.free() >= front + bytes && self.header.kind == from.header.kind);
        if self.free_contiguous() < front + bytes {
            self.compact();
        }
        if self.is_counted() {
            let place = 2 * (old + add);
            self.words.copy_within(2 * old..3 * old, place);
            self.words[place + old..place + old + add].copy_from_slice(&from.rows()[range.clone()]);
        }
        self.words.copy_within(old..2 * old, old + add);
        self.words[old..old + add].copy_from_slice(&from.heads()[range.clone()]);
        self.header.count += add as u16;
        let mut heap = self.heap();
        // What has been appended before stands together: it is copied together.
        let mut run = 0..0;
        for (place, index) in (old..).zip(range) {
            let slot = from.slot(index);
            let (start, len) = (slot.offset as usize, from.heap_len(slot));
            if start + len != run.start {
                self.copy_heap(heap, from, run);
                run = start + len..start + len;
            }
            run.start = start;
            heap -= len;
            self.words[old + add + place] = Slot { offset: heap as u16, ..slot }.pack();
            self.count_bundle(slot, true);
        }
        self.copy_heap(heap, from, run);
        self.header.heap = heap as u16;
    }

    fn copy_heap(&mut self, to: usize, from: &Page, range: Range<usize>) {
        self.as_bytes_mut()[to..to + range.len()].copy_from_slice(&from.as_bytes()[range]);
    }

    /// Moves the heap's bytes together, so that the garbage is free again.
    #[cold]
    pub(super) fn compact(&mut self) {
        if self.header.garbage == 0 {
            return;
        }
        let from = *self;
        self.clear();
        self.append(&from, 0..from.count());
    }

    /// Removes all entries.
    pub(crate) fn clear(&mut self) {
        let kind = self.kind().expect("a page in use is of a known kind");
        let generation = self.generation();
        self.format(self.id(), kind);
        self.set_generation(generation);
    }
}
