//! Ranges by rank, either way, a leaf at a time.

use crate::error::Missing;
use crate::page::{Key, Page};
use crate::pool::Pool;
use crate::tree::Tree;
use crate::units::PageId;
use core::ops::ControlFlow;

/// A place between two rows. It stays where it is when a page is missing and when rows come or go: it is a rank, and what
/// has that rank by then is next. So a read goes on where it stopped, as often as it likes.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    /// Rows in front of it.
    rank: u64,
    /// The leaf that it was in last, and the rank of that leaf's first row; page 0 for none.
    leaf: PageId,
    first: u64,
    /// The tree's, when that was so.
    changes: u32,
}

impl Cursor {
    /// In front of the row of this rank, behind the row before it.
    pub fn new(rank: u64) -> Cursor {
        Cursor { rank, leaf: PageId(0), first: 0, changes: 0 }
    }

    /// Rows in front of it.
    pub fn rank(&self) -> u64 {
        self.rank
    }
}

impl Tree {
    /// Visits the rows behind the cursor, in order, until `visit` breaks or the tree ends. The cursor is then behind the
    /// last row that was visited. When a page is missing the call can be repeated, and goes on there.
    pub fn forward(
        &self,
        pool: &Pool,
        cursor: &mut Cursor,
        mut visit: impl FnMut(Key<'_>, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Missing> {
        while cursor.rank < self.len() {
            let (node, below) = self.leaf_at(pool, cursor, cursor.rank)?;
            let (start, mut within) = node.entry_of_rank(below);
            for index in start..node.count() {
                let visit = |key: Key<'_>, payload: &[u8]| {
                    cursor.rank += 1;
                    visit(key, payload)
                };
                if node.visit_entry(index, std::mem::take(&mut within), visit).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Visits the rows in front of the cursor, last first, until `visit` breaks or the tree ends. The cursor is then in
    /// front of the last row that was visited. When a page is missing the call can be repeated, and goes on there.
    pub fn backward(
        &self,
        pool: &Pool,
        cursor: &mut Cursor,
        mut visit: impl FnMut(Key<'_>, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Missing> {
        cursor.rank = cursor.rank.min(self.len());
        while cursor.rank > 0 {
            let (node, below) = self.leaf_at(pool, cursor, cursor.rank - 1)?;
            let (start, within) = node.entry_of_rank(below);
            let mut rows = within + 1;
            for index in (0..=start).rev() {
                let visit = |key: Key<'_>, payload: &[u8]| {
                    cursor.rank -= 1;
                    visit(key, payload)
                };
                if node.visit_entry_back(index, std::mem::replace(&mut rows, usize::MAX), visit).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The leaf of the row of this rank, which is there, and the row's rank in it. The cursor remembers the leaf.
    fn leaf_at<'a>(&self, pool: &'a Pool, cursor: &mut Cursor, rank: u64) -> Result<(&'a Page, u64), Missing> {
        if cursor.leaf.0 != 0 && cursor.changes == self.changes {
            let node = pool.page(cursor.leaf)?;
            if let Some(below) = rank.checked_sub(cursor.first)
                && below < node.weight()
            {
                return Ok((node, below));
            }
        }
        let (node, below) = self.leaf_of_rank(pool, rank)?;
        *cursor = Cursor { leaf: node.id(), first: rank - below, changes: self.changes, ..*cursor };
        Ok((node, below))
    }
}
