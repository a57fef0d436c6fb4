//! How many elements collections have, for some that were asked for lately: to count them in the tree takes two descents, and a command that
//! changes a collection asks each time.
//!
//! - **E12** A count that is known is that of the tree. Whatever puts or removes an element changes it; whatever changes a tree as a whole forgets all.

use super::elements::is_elements;
use crate::limits::{COUNTS_KNOWN, ORDER_HEAD_BITS};
use crate::units::CollectionId;
use std::cell::Cell;

#[derive(Clone, Copy)]
struct Known {
    tree: u8,
    number: CollectionId,
    count: u64,
}

/// No collection has it.
const NOBODY: Known = Known { tree: 0, number: CollectionId(0), count: 0 };

/// Counts that are known, each in the place of its number.
pub(super) struct Counts {
    known: Box<[Cell<Known>; COUNTS_KNOWN]>,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts { known: Box::new([const { Cell::new(NOBODY) }; COUNTS_KNOWN]) }
    }
}

impl Counts {
    #[inline]
    fn place(&self, number: CollectionId) -> &Cell<Known> {
        &self.known[number.0 as usize % COUNTS_KNOWN]
    }

    /// The elements of a collection of a tree, if they are known.
    #[inline]
    pub fn get(&self, tree: u8, number: CollectionId) -> Option<u64> {
        let known = self.place(number).get();
        (known.number == number && known.tree == tree).then_some(known.count)
    }

    /// They were counted.
    #[inline]
    pub fn set(&self, tree: u8, number: CollectionId, count: u64) {
        self.place(number).set(Known { tree, number, count });
    }

    /// A row of a tree has come, or gone.
    #[inline]
    pub fn note(&self, tree: u8, head: u64, has_come: bool) {
        if !is_elements(tree) {
            return;
        }
        let place = self.place(CollectionId(head >> ORDER_HEAD_BITS));
        let mut known = place.get();
        if known.number.0 == head >> ORDER_HEAD_BITS && known.tree == tree {
            known.count = if has_come { known.count + 1 } else { known.count - 1 };
            place.set(known);
        }
    }

    /// A tree has changed as a whole.
    pub fn forget(&self) {
        self.known.iter().for_each(|known| known.set(NOBODY));
    }

    /// All that are known: tree, number and count.
    pub fn iter(&self) -> impl Iterator<Item = (u8, CollectionId, u64)> {
        let known = self.known.iter().map(Cell::get).filter(|known| known.number != NOBODY.number);
        known.map(|Known { tree, number, count }| (tree, number, count))
    }
}
