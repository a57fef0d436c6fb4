//! Dropping a whole tree at once for the caller, page by page for the pool.

use super::Tree;
use super::descend::expect_leaf;
use crate::error::Missing;
use crate::pool::Pool;
use crate::units::PageId;

/// The pages of a tree that is gone. They count as used until [`DetachedTree::free_some`] has released them all.
#[must_use = "its pages leak unless they are freed"]
#[derive(Debug)]
pub struct DetachedTree {
    /// Roots of subtrees that are still to be freed, with their levels.
    stack: Vec<(PageId, u8)>,
}

/// Is shown the payloads of rows that go.
pub type ShowPayload<'a> = &'a mut dyn FnMut(&[u8]);

impl Tree {
    /// Empties the tree in constant time.
    pub fn detach(&mut self) -> DetachedTree {
        let stack = if self.levels == 0 { Vec::new() } else { vec![(self.root, self.levels)] };
        *self = Tree { changes: self.changes.wrapping_add(1), access: self.access, ..Tree::default() };
        DetachedTree { stack }
    }

    /// Empties the tree and frees its pages: time is proportional to them. The branches must be resident; if one
    /// is not, the rest is handed back to be freed later.
    pub fn clear(&mut self, pool: &mut Pool) -> Result<(), (DetachedTree, Missing)> {
        let mut detached = self.detach();
        match detached.free_some(pool, usize::MAX, None) {
            Ok(_) => Ok(()),
            Err(missing) => Err((detached, missing)),
        }
    }
}

impl DetachedTree {
    /// Releases up to `pages` pages; answers whether all are released now. Who has a use for the rows is shown their
    /// payloads; otherwise a leaf need not be resident. When a page that is needed is not, it stays as it was and the call
    /// can be repeated.
    pub fn free_some(
        &mut self,
        pool: &mut Pool,
        pages: usize,
        mut show: Option<ShowPayload<'_>>,
    ) -> Result<bool, Missing> {
        for _ in 0..pages {
            let Some(&(page, levels)) = self.stack.last() else { break };
            let mut children = Vec::new();
            if levels > 1 {
                let branch = pool.page(page)?;
                children.extend((0..branch.count()).map(|index| (branch.child(index), levels - 1)));
            } else if let Some(show) = &mut show {
                let leaf = pool.page(page)?;
                expect_leaf(leaf)?;
                // What is in a bundle stands inside: nobody has a use for it.
                let rows = (0..leaf.count()).filter(|index| leaf.slot(*index).bundled() == 0);
                rows.for_each(|index| show(leaf.payload(index)));
            }
            self.stack.pop();
            self.stack.extend(children);
            pool.release(page);
        }
        Ok(self.stack.is_empty())
    }
}
