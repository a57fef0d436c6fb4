//! A tree whose rows are found by rank too: what a large hash, set, sorted set, stream or list consists of. Stop 5 of
//! 10, beside the keyspace's tree.
//!
//! It is the keyspace's tree ([`crate::tree`]: pages, paths, growing and shrinking, the rule that resolving may answer
//! [`Missing`] and changes nothing while applying never waits) with branches that count the rows below each child (I5).
//! Here is what the counts are for: [`rank`] finds by rank, [`cursor`] reads ranges.
//!
//! Two orders:
//!
//! - by key ([`CountedTree::by_key`]). A [`Key`] is a number and bytes, so the usual orders need no encoding: a sorted
//!   set's head is its score as a number that sorts alike and the member its tail; a stream id is head and tail; a hash or a
//!   set, whose order nobody sees, takes a hash for the head and the field for the tail. Bytes alone are a head of 0.
//! - by position ([`CountedTree::by_rank`]): a list. Rows have no keys; all are [`Key::MIN`].
//!
//! What a payload says, and that a large one is the number of an extent, is the owner's business, as it is in the
//! keyspace ([`crate::row`]): a row has to fit ([`crate::tree::row_fits`]), and what goes is shown to the owner.

mod cursor;
mod rank;

#[cfg(test)]
mod tests;

pub use cursor::Cursor;

use crate::error::Missing;
use crate::page::Key;
use crate::pagefile::TreeRoot;
use crate::pool::{Pool, PoolFull};
use crate::tree::{Access, Census, Damage, DetachedTree, Path, Tree};
use crate::units::PageId;
use core::ops::Deref;

/// A tree with counts: its root, and what is known of the whole. The pages are in the pool.
#[derive(Debug)]
pub struct CountedTree {
    tree: Tree,
}

impl Deref for CountedTree {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        &self.tree
    }
}

impl CountedTree {
    /// An empty tree in the order of keys.
    pub fn by_key() -> CountedTree {
        CountedTree { tree: Tree::with_access(Access::KeyAndRank) }
    }

    /// An empty tree in the order in which rows are put.
    pub fn by_rank() -> CountedTree {
        CountedTree { tree: Tree::with_access(Access::Rank) }
    }

    /// This tree, empty so far, is the one that a checkpoint says is in the page file.
    #[must_use]
    pub fn opened(self, root: &TreeRoot) -> CountedTree {
        assert!(self.is_empty());
        CountedTree { tree: Tree::opened_as(root, self.tree.access) }
    }

    /// The tree as a checkpoint, or the row that it belongs to, says it.
    pub fn root(&self) -> TreeRoot {
        self.tree.root()
    }

    /// Rows.
    pub fn len(&self) -> u64 {
        self.tree.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Bytes of all rows: heads, tails and payloads.
    pub fn bytes(&self) -> u64 {
        self.tree.bytes()
    }

    /// Pages, resident or not.
    pub fn pages(&self) -> u64 {
        self.tree.pages()
    }

    /// Levels, leaves included; 0 when the tree has no rows.
    pub fn levels(&self) -> usize {
        self.tree.levels()
    }

    /// The payload of the row with this key.
    #[inline]
    pub fn find<'a>(&self, pool: &'a Pool, key: Key<'_>) -> Result<Option<&'a [u8]>, Missing> {
        self.expect_keys();
        self.tree.find(pool, key)
    }

    /// Finds the place of a key. Changes nothing.
    #[inline]
    pub fn resolve(&self, pool: &Pool, key: Key<'_>) -> Result<Path, Missing> {
        self.expect_keys();
        self.tree.resolve(pool, key)
    }

    /// The payload of the row that an exact path leads to.
    pub fn payload<'a>(&self, pool: &'a Pool, path: &Path) -> &'a [u8] {
        self.tree.payload(pool, path)
    }

    /// Inserts a row where `path`, which [`CountedTree::resolve`] found for `key` and which is not exact, leads to. The
    /// row has to fit. When the pool is full nothing has changed.
    pub fn insert(&mut self, pool: &mut Pool, path: &Path, key: Key<'_>, payload: &[u8]) -> Result<(), PoolFull> {
        self.expect_keys();
        self.tree.insert(pool, path, key, payload)
    }

    /// Inserts a row in front of the one that `path`, from [`CountedTree::resolve_rank`], leads to, or at the end. The
    /// row has to fit. When the pool is full nothing has changed.
    pub fn insert_at(&mut self, pool: &mut Pool, path: &Path, payload: &[u8]) -> Result<(), PoolFull> {
        assert!(self.tree.access == Access::Rank, "where a row with a key stands is said by its key");
        let gap = Path { is_exact: false, ..*path };
        self.tree.insert(pool, &gap, Key::MIN, payload)
    }

    /// Gives the row of an exact path another payload. When the pool is full nothing has changed. With the old length the
    /// path stays good.
    pub fn replace(&mut self, pool: &mut Pool, path: &Path, payload: &[u8]) -> Result<(), PoolFull> {
        self.tree.replace(pool, path, payload)
    }

    /// Removes the row that an exact path leads to.
    pub fn remove(&mut self, pool: &mut Pool, path: &Path) {
        self.tree.remove(pool, path);
    }

    /// Removes up to `rows` rows from `rank` on, all of one leaf: a slice of a range's removal, with as much work as a
    /// page has bytes. Answers how many went; the caller goes on at the same rank. `show` sees each before it goes.
    pub fn remove_range(
        &mut self,
        pool: &mut Pool,
        rank: u64,
        rows: u64,
        show: impl FnMut(Key<'_>, &[u8]),
    ) -> Result<u64, Missing> {
        let path = self.resolve_rank(pool, rank)?;
        if !path.is_exact() || rows == 0 {
            return Ok(0);
        }
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        Ok(self.tree.remove_run(pool, &path, rows, show) as u64)
    }

    /// Empties the tree in constant time. Its pages are freed by [`DetachedTree::free_some`], in slices.
    pub fn detach(&mut self) -> DetachedTree {
        self.tree.detach()
    }

    /// Checks every page of the tree: order, counts, levels, heaps. An absent page is damage.
    pub fn check(&self, pool: &Pool) -> Result<Census, Damage> {
        self.tree.check(pool)
    }

    /// Pages that have to be brought in before [`CountedTree::check`] can look at everything: those which pages in memory
    /// lead to.
    pub fn absent(&self, pool: &Pool) -> Vec<PageId> {
        self.tree.absent(pool)
    }

    fn expect_keys(&self) {
        assert!(self.tree.access == Access::KeyAndRank, "a list's rows have no keys");
    }
}
