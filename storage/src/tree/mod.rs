//! A tree of rows, ordered by key. Stop 5 of 10, between the engine and the pool.
//!
//! Several trees share one pool. A tree resolves, then applies: [`Tree::resolve`] finds the place of a key, may
//! answer [`Missing`] and changes nothing; [`Tree::insert`], [`Tree::replace`] and [`Tree::remove`] use the
//! resolved [`Path`] and need no other page than those on it and fresh ones. Neighbours take part in
//! balancing when they happen to be in memory.
//!
//! Rows are ordered by key. In trees of collections the branches count rows besides, and a list has no keys, only ranks
//! ([`Access`]): these are [`crate::counted`]'s, which adds the finding by rank. They grow and shrink by the same code.
//!
//! Invariants, seen to by [`check`]:
//!
//! - I1: all leaves are on the same level; only they hold rows.
//! - I2: every key of child `i` is in `[separator i, separator i + 1)`. Without keys, all keys and separators are
//!   [`Key::MIN`].
//! - I3: no leaf and no branch is empty. A tree without rows has no pages.
//! - I4: every page has one parent, or is the root.
//! - I5: a counted branch has for each child the number of rows below it. Where rows move between two children, both
//!   numbers are taken from the children anew; where a row comes or goes they change by one up to the root.
//! - I6: an entry of a leaf is a row, or, in a tree that counts, a bundle of several ([`bundle`]); all of these are in front of the next entry, and of
//!   the next leaf's separator. Who uses a tree sees rows.

mod bundle;
mod check;
mod cursor;
mod descend;
mod detach;
mod gather;
mod insert;
mod locate;
mod remove;
mod touch;

#[cfg(test)]
mod tests;

pub(crate) use bundle::{Bundle, PAYLOAD_BYTES_MAX as BUNDLED_BYTES_MAX};
pub use check::{Census, Damage};
pub(crate) use check::{check_bundle, check_heap};
pub use descend::Path;
pub(crate) use descend::Step;
pub use detach::DetachedTree;
pub use locate::HeadRange;

use crate::limits::{KEY_INLINE_BYTES_MAX, ROW_INLINE_BYTES_MAX};
use crate::page::{Key, Kind, Page};
use crate::pagefile::TreeRoot;
use crate::pool::Pool;
use crate::units::PageId;

/// What the rows of a tree are found by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    Key,
    KeyAndRank,
    Rank,
}

/// A tree: its root, and what is known of the whole. The pages are in the pool.
#[derive(Debug, Default)]
pub struct Tree {
    /// Page 0 when the tree has no rows.
    pub(crate) root: PageId,
    /// Levels, leaves included; 0 when the tree has no rows.
    levels: u8,
    pub(crate) access: Access,
    /// Raised by every change that moves rows, so that a path can tell that it is stale.
    pub(crate) changes: u32,
    /// Rows that change one after the other stand beside each other, until further notice: see [`Tree::beside`].
    follows: bool,
    /// Then, where the last row came, or went (exact).
    last: Option<Path>,
    rows: u64,
    bytes: u64,
    pages: u64,
    /// The next handing over forgets the counts: a bug to have, for tests of the tests.
    #[cfg(test)]
    pub(crate) is_forgetful: bool,
}

impl Tree {
    pub fn new() -> Tree {
        Tree::default()
    }

    pub(crate) fn with_access(access: Access) -> Tree {
        Tree { access, ..Tree::default() }
    }

    /// A tree that a checkpoint says is in the page file.
    pub(crate) fn opened(root: &TreeRoot) -> Tree {
        Tree::opened_as(root, Access::Key)
    }

    pub(crate) fn opened_as(root: &TreeRoot, access: Access) -> Tree {
        let TreeRoot { levels, rows, bytes, pages, .. } = *root;
        Tree { root: root.page(), levels, rows, bytes, pages, access, ..Tree::default() }
    }

    /// The tree as a checkpoint says it.
    pub(crate) fn root(&self) -> TreeRoot {
        let Tree { root, levels, rows, bytes, pages, .. } = *self;
        TreeRoot { root: root.0, levels, rows, bytes, pages }
    }

    fn is_counted(&self) -> bool {
        self.access != Access::Key
    }

    /// The kind of this tree's branches.
    fn branch(&self) -> Kind {
        if self.is_counted() { Kind::Counted } else { Kind::Branch }
    }

    /// Changes the counts of a path's uppermost branches by what came or went below. Keeps I5.
    #[inline]
    fn count_rows(&self, pool: &mut Pool, steps: &[Step], change: impl Fn(&mut Page, usize)) {
        if self.is_counted() {
            for step in steps {
                change(pool.resident_mut(step.page), step.index as usize);
            }
        }
    }

    /// Takes the count of a branch's child from the child. Keeps I5.
    fn recount(&self, pool: &mut Pool, branch: PageId, index: usize) {
        if self.is_counted() {
            let child = pool.resident(branch).child(index);
            let rows = pool.resident(child).weight();
            pool.resident_mut(branch).set_rows(index, rows);
        }
    }

    /// Whether rows that change one after the other stand beside each other, from now on.
    #[inline]
    pub(crate) fn follow(&mut self, follows: bool) {
        (self.follows, self.last) = (follows, None);
    }

    /// Rows.
    pub fn len(&self) -> u64 {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes of all rows: heads, tails and payloads.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Pages, resident or not.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Levels, leaves included; 0 when the tree has no rows.
    pub fn levels(&self) -> usize {
        self.levels as usize
    }
}

/// What a row counts in [`Tree::bytes`] and against [`ROW_INLINE_BYTES_MAX`].
pub const fn row_bytes(tail: usize, payload: usize) -> usize {
    8 + tail + payload
}

/// Whether a row with a tail and a payload of these lengths may stand in a tree.
pub const fn row_fits(tail: usize, payload: usize) -> bool {
    tail <= KEY_INLINE_BYTES_MAX && row_bytes(tail, payload) <= ROW_INLINE_BYTES_MAX
}

/// A key on the stack, to outlive the pages that it is taken from.
#[derive(Clone, Copy)]
pub(crate) struct KeyCopy {
    head: u64,
    len: u16,
    tail: [u8; KEY_INLINE_BYTES_MAX],
}

impl KeyCopy {
    fn new(key: Key<'_>) -> KeyCopy {
        let mut tail = [0; KEY_INLINE_BYTES_MAX];
        tail[..key.tail.len()].copy_from_slice(key.tail);
        KeyCopy { head: key.head, len: key.tail.len() as u16, tail }
    }

    /// The shortest key that is above `left` and not above `right`.
    fn between(left: Key<'_>, right: Key<'_>) -> KeyCopy {
        assert!(left < right);
        if left.head < right.head {
            return KeyCopy::new(Key::of_head(right.head));
        }
        let shared = left.tail.iter().zip(right.tail).take_while(|(a, b)| a == b).count();
        KeyCopy::new(Key::new(right.head, &right.tail[..shared + 1]))
    }

    pub(crate) fn key(&self) -> Key<'_> {
        Key::new(self.head, &self.tail[..self.len as usize])
    }
}
