//! Rows in order.

use super::Tree;
use super::descend::{Path, expect_leaf};
use crate::error::Missing;
use crate::limits::LEVELS_MAX;
use crate::page::Key;
use crate::pool::Pool;
use core::ops::ControlFlow;

impl Tree {
    /// Visits the rows from `from` on (inclusive), in order, until `visit` breaks or the tree ends. When a page is
    /// absent, rows before it have been visited already: the caller goes on from the last one's successor, or
    /// begins anew.
    pub fn scan(
        &self,
        pool: &Pool,
        from: Key<'_>,
        mut visit: impl FnMut(Key<'_>, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Missing> {
        if self.levels == 0 {
            return Ok(());
        }
        let leaf = self.levels as usize - 1;
        let path = self.resolve(pool, from)?;
        let mut steps = path.steps;
        let mut rank = self.rank_within(pool, &path);
        loop {
            let node = pool.page(steps[leaf].page)?;
            expect_leaf(node)?;
            for index in steps[leaf].index as usize..node.count() {
                if node.visit_entry(index, std::mem::take(&mut rank), &mut visit).is_break() {
                    return Ok(());
                }
            }
            // Up to the nearest branch with a further child, then down its left edge.
            let mut level = leaf;
            let mut page = loop {
                if level == 0 {
                    return Ok(());
                }
                level -= 1;
                let node = pool.page(steps[level].page)?;
                let next = steps[level].index as usize + 1;
                if next < node.count() {
                    steps[level].index = next as u16;
                    break node.child(next);
                }
            };
            for step in &mut steps[level + 1..leaf] {
                *step = super::descend::Step { page, index: 0 };
                page = pool.page(page)?.child(0);
            }
            steps[leaf] = super::descend::Step { page, index: 0 };
        }
    }

    /// How many rows of the bundle that a fresh path leads into are in front of its place.
    #[inline]
    pub(crate) fn rank_within(&self, pool: &Pool, path: &Path) -> usize {
        let Some(position) = path.within else { return 0 };
        let leaf = path.leaf();
        let bundle = pool.resident(leaf.page).bundle(leaf.index as usize);
        bundle.expect("a path within a bundle leads to one").rank_of(usize::from(position))
    }

    /// Visits the rows in front of `behind`, the last one first, until `visit` breaks or the tree ends. What is said of [`Tree::scan`] holds here.
    pub fn scan_back(
        &self,
        pool: &Pool,
        behind: Key<'_>,
        mut visit: impl FnMut(Key<'_>, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Missing> {
        if self.levels == 0 {
            return Ok(());
        }
        let leaf = self.levels as usize - 1;
        let path = self.resolve(pool, behind)?;
        let mut steps = path.steps;
        let rank = self.rank_within(pool, &path);
        if rank > 0 {
            let node = pool.page(steps[leaf].page)?;
            if node.visit_entry_back(steps[leaf].index as usize, rank, &mut visit).is_break() {
                return Ok(());
            }
        }
        loop {
            let node = pool.page(steps[leaf].page)?;
            expect_leaf(node)?;
            for index in (0..steps[leaf].index as usize).rev() {
                if node.visit_entry_back(index, usize::MAX, &mut visit).is_break() {
                    return Ok(());
                }
            }
            // Up to the nearest branch with a child before, then down its right edge.
            let mut level = leaf;
            let mut page = loop {
                if level == 0 {
                    return Ok(());
                }
                level -= 1;
                let step = &mut steps[level];
                if step.index > 0 {
                    step.index -= 1;
                    break pool.page(step.page)?.child(step.index as usize);
                }
            };
            for step in &mut steps[level + 1..leaf] {
                let node = pool.page(page)?;
                *step = super::descend::Step { page, index: node.count() as u16 - 1 };
                page = node.child(node.count() - 1);
            }
            steps[leaf] = super::descend::Step { page, index: pool.page(page)?.count() as u16 };
        }
    }
}

const _: () = assert!(LEVELS_MAX <= u8::MAX as usize);
