//! Ranks: down the tree by the branches' counts, and up from a key by adding them.

use crate::error::Missing;
use crate::page::{Key, Page};
use crate::pool::Pool;
use crate::tree::{Path, Step, Tree};
use crate::units::PageId;
use core::ops::{Bound, ControlFlow};

impl Tree {
    /// Shows the row of this rank; the first has rank 0.
    #[inline]
    pub fn at<T>(
        &self,
        pool: &Pool,
        rank: u64,
        mut show: impl FnMut(Key<'_>, &[u8]) -> T,
    ) -> Result<Option<T>, Missing> {
        if rank >= self.len() {
            return Ok(None);
        }
        let (node, below) = self.leaf_of_rank(pool, rank)?;
        let (index, within) = node.entry_of_rank(below);
        let mut shown = None;
        let visited = node.visit_entry(index, within, |key, payload| {
            shown = Some(show(key, payload));
            ControlFlow::Break(())
        });
        assert!(visited.is_break(), "an entry has the rows that its slot says");
        Ok(shown)
    }

    /// The leaf of the row of this rank, which is there, and the row's rank in it.
    #[inline]
    pub(super) fn leaf_of_rank<'a>(&self, pool: &'a Pool, rank: u64) -> Result<(&'a Page, u64), Missing> {
        let mut node = pool.page(self.root)?;
        let mut rest = rank;
        for _ in 1..self.levels() {
            let (index, below) = node.child_of_rank(rest);
            node = pool.page(node.child(index))?;
            rest = below;
        }
        Ok((node, rest))
    }

    /// Finds the place of a rank: the path to its row, or, for a rank that is the tree's length, to its end. No rank
    /// beyond is anything's. Changes nothing.
    pub fn resolve_rank(&self, pool: &Pool, rank: u64) -> Result<Path, Missing> {
        assert!(rank <= self.len());
        let levels = self.levels();
        let mut path = Path { is_exact: rank < self.len(), ..self.no_path() };
        if levels == 0 {
            return Ok(path);
        }
        let mut page = self.root;
        let mut rest = rank;
        for step in &mut path.steps[..levels - 1] {
            let node = pool.page(page)?;
            let (index, below) = node.child_of_rank(rest);
            *step = Step { page, index: index as u16 };
            page = node.child(index);
            rest = below;
        }
        let node = pool.page(page)?;
        let (index, within) = node.entry_of_rank(rest);
        path.steps[levels - 1] = Step { page, index: index as u16 };
        let bundle = (index < node.count()).then(|| node.bundle(index)).flatten();
        path.within = bundle.map(|bundle| bundle.position_of(within) as u16);
        Ok(path)
    }

    /// How many rows are below this key, which is the rank that it has or would have; and whether it is there.
    pub fn rank(&self, pool: &Pool, key: Key<'_>) -> Result<(u64, bool), Missing> {
        let path = self.resolve(pool, key)?;
        Ok((self.rank_of(pool, &path), path.is_exact()))
    }

    /// The rank of what a fresh path leads to.
    pub fn rank_of(&self, pool: &Pool, path: &Path) -> u64 {
        assert!(path.changes == self.changes, "the path is fresh");
        if path.levels == 0 {
            return 0;
        }
        let before = |step: &Step| pool.resident(step.page).rows()[..step.index as usize].iter().sum::<u64>();
        let leaf = path.leaf();
        let within = pool.resident(leaf.page).rows_before(leaf.index as usize) + self.rank_within(pool, path) as u64;
        path.above().iter().map(before).sum::<u64>() + within
    }

    /// How many rows have a key between these bounds.
    pub fn count_between(&self, pool: &Pool, from: Bound<Key<'_>>, to: Bound<Key<'_>>) -> Result<u64, Missing> {
        let from = match from {
            Bound::Unbounded => 0,
            Bound::Included(key) => self.rank(pool, key)?.0,
            Bound::Excluded(key) => self.rank_behind(pool, key)?,
        };
        let to = match to {
            Bound::Unbounded => self.len(),
            Bound::Included(key) => self.rank_behind(pool, key)?,
            Bound::Excluded(key) => self.rank(pool, key)?.0,
        };
        Ok(to.saturating_sub(from))
    }

    /// How many rows are not above this key.
    fn rank_behind(&self, pool: &Pool, key: Key<'_>) -> Result<u64, Missing> {
        let (rank, is_there) = self.rank(pool, key)?;
        Ok(rank + u64::from(is_there))
    }

    /// Tells `absent` of the pages that reading the rows from `rank` up to `end` would miss, as far as the branches in
    /// memory say so: the caller may have all of them read at once. At most `pages` of them.
    pub fn absent_between(&self, pool: &Pool, rank: u64, end: u64, pages: usize, mut absent: impl FnMut(PageId)) {
        let end = end.min(self.len());
        if rank >= end {
            return;
        }
        let mut left = pages;
        let mut stack = vec![(self.root, self.levels(), rank, end)];
        while let Some((page, levels, from, to)) = stack.pop() {
            if left == 0 {
                return;
            }
            let Some(node) = pool.peek(page) else {
                absent(page);
                left -= 1;
                continue;
            };
            if levels == 1 {
                continue;
            }
            let mut start = 0;
            let first = stack.len();
            for (index, rows) in node.rows().iter().enumerate() {
                let (low, high) = (from.max(start), to.min(start + rows));
                if low < high && stack.len() - first <= pages {
                    stack.push((node.child(index), levels - 1, low - start, high - start));
                }
                start += rows;
            }
            stack[first..].reverse();
        }
    }
}
