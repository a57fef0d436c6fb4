//! A branch: separators and children. Child `i` holds the keys from separator `i` up to separator `i + 1`; the
//! first separator is (0, empty).

use super::{Key, Page, Slot, Span};
use crate::units::PageId;
use core::hint::select_unpredictable;

impl Page {
    #[inline(always)]
    pub(crate) fn child(&self, index: usize) -> PageId {
        PageId(self.slot(index).word)
    }

    pub(crate) fn set_child(&mut self, index: usize, child: PageId) {
        let slot = self.slot(index);
        self.set_slot(index, Slot { word: child.0, ..slot });
    }

    /// Which child holds `key`: the last whose separator is not above it.
    #[inline(always)]
    pub(crate) fn child_index(&self, key: Key<'_>, span: Span) -> usize {
        let (index, is_exact) = self.seek(key, span);
        // The first separator is below every key but itself, so `index` is 0 only when it is exact.
        select_unpredictable(is_exact, index, index.wrapping_sub(1))
    }

    /// The heads that child `index` can have, those of this branch being in `span`.
    #[inline(always)]
    pub(crate) fn child_span(&self, index: usize, span: Span) -> Span {
        let heads = self.heads();
        let low = if index == 0 { span.low } else { heads[index] };
        let high = if index + 1 == heads.len() { span.high } else { heads[index + 1] };
        Span { low, high }
    }

    /// Whether separator `index` can get a tail of this length.
    pub(crate) fn has_room_for_separator(&self, index: usize, tail: usize) -> bool {
        self.free() + self.slot(index).tail as usize >= tail
    }

    /// Changes a separator. The caller has seen [`Page::has_room_for_separator`].
    pub(crate) fn set_separator(&mut self, index: usize, key: Key<'_>) {
        let child = self.child(index);
        let rows = self.is_counted().then(|| self.rows()[index]);
        self.remove_entry(index);
        self.insert_entry(index, key, child.0);
        if let Some(rows) = rows {
            self.set_rows(index, rows);
        }
    }

    /// Removes a child; the one before it, or else the one after it, takes over its keys.
    pub(crate) fn remove_child(&mut self, index: usize) {
        if index == 0 && self.count() > 1 {
            let next = self.child(1);
            self.set_child(0, next);
            if self.is_counted() {
                self.set_rows(0, self.rows()[1]);
            }
            self.remove_entry(1);
        } else {
            self.remove_entry(index);
        }
    }

    /// Puts all of `right` behind this branch's entries; `separator` is the parent's between the two.
    pub(crate) fn absorb(&mut self, separator: Key<'_>, right: &Page) {
        let middle = self.count();
        self.insert_entry(middle, separator, right.child(0).0);
        if self.is_counted() {
            self.set_rows(middle, right.rows()[0]);
        }
        self.append(right, 1..right.count());
    }

    /// What [`Page::absorb`] needs.
    pub(crate) fn absorb_bytes(separator: Key<'_>, right: &Page) -> usize {
        right.used() + separator.tail.len()
    }
}
