//! Where the rows of a touched batch were, so that the finds that follow need not descend again.
//!
//! A memo is only a hint: the row that it leads to is compared with the key in full. A page that has not been
//! released since is still of the tree that it was of, and a key stands only once in a tree, so a row that
//! compares equal is the one.

use crate::limits::MEMOS;
use crate::units::PageId;
use core::cell::Cell;

#[derive(Clone, Copy, Default)]
pub(crate) struct Memo {
    pub head: u64,
    /// Names the tree.
    pub root: PageId,
    pub page: PageId,
    /// Of the pool, when the memo was made.
    pub releases: u64,
    pub index: u16,
}

pub(super) struct Memos(Box<[Cell<Memo>]>);

impl Memos {
    pub(super) fn new() -> Memos {
        Memos(vec![Cell::default(); MEMOS].into())
    }

    #[inline(always)]
    pub(super) fn of(&self, head: u64) -> &Cell<Memo> {
        let mixed = head.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - MEMOS.ilog2());
        &self.0[mixed as usize % MEMOS]
    }
}
