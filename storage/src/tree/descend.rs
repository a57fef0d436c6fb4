//! From the root to a key: the read, and the path that a change is applied to.

use super::Tree;
use crate::error::Missing;
use crate::limits::LEVELS_MAX;
use crate::page::{Key, Page};
use crate::pool::Pool;
use crate::units::PageId;
use core::hint::black_box;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    pub page: PageId,
    /// The child that the path goes on to, or the row's place in the leaf.
    pub index: u16,
}

/// Where a key is, or where it would be. Good until the next [`Tree::insert`], [`Tree::remove`], or
/// [`Tree::replace`] with another length, of the same tree, and until one of its pages is evicted.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    pub(crate) steps: [Step; LEVELS_MAX],
    pub(crate) levels: u8,
    pub(crate) is_exact: bool,
    /// The entry that it leads to is a bundle: the row's position there, or that of the row that the gap is in front of.
    pub(crate) within: Option<u16>,
    pub(crate) changes: u32,
}

impl Path {
    /// Whether the key is there.
    pub fn is_exact(&self) -> bool {
        self.is_exact
    }

    pub(crate) fn leaf(&self) -> Step {
        self.steps[self.levels as usize - 1]
    }

    /// The steps through branches, the root's first.
    pub(crate) fn above(&self) -> &[Step] {
        &self.steps[..(self.levels as usize).saturating_sub(1)]
    }
}

impl Tree {
    /// The payload of a row: the fastest read.
    #[inline]
    pub fn find<'a>(&self, pool: &'a Pool, key: Key<'_>) -> Result<Option<&'a [u8]>, Missing> {
        if self.levels == 0 {
            return Ok(None);
        }
        if let Some((node, index)) = pool.recall(self.root, key.head)
            && index < node.count()
            && node.key(index) == key
            && !node.has_bundles()
        {
            return Ok(Some(node.payload(index)));
        }
        let mut node = pool.page(self.root)?;
        let mut span = node.span();
        for _ in 1..self.levels {
            let index = node.child_index(key, span);
            span = node.child_span(index, span);
            let (child, count) = pool.page_and_count(node.child(index))?;
            // The search reads these one after the other; asked for together they arrive together.
            black_box(child.touch_window(count, key.head, span));
            node = child;
        }
        expect_leaf(node)?;
        if node.has_bundles() {
            return Ok(node.find_row(key, span));
        }
        Ok(node.find(key, span))
    }

    /// Finds the place of a key. Changes nothing.
    #[inline]
    pub fn resolve(&self, pool: &Pool, key: Key<'_>) -> Result<Path, Missing> {
        if self.follows
            && let Some(path) = self.beside(pool, key)
        {
            return Ok(path);
        }
        let mut path = self.no_path();
        if self.levels == 0 {
            return Ok(path);
        }
        let leaf = self.levels as usize - 1;
        let mut page = self.root;
        let mut node = pool.page(page)?;
        let mut span = node.span();
        for step in &mut path.steps[..leaf] {
            let index = node.child_index(key, span);
            *step = Step { page, index: index as u16 };
            span = node.child_span(index, span);
            page = node.child(index);
            let (child, count) = pool.page_and_count(page)?;
            black_box(child.touch_window(count, key.head, span));
            node = child;
        }
        expect_leaf(node)?;
        let (index, is_exact) = node.seek(key, span);
        path.steps[leaf] = Step { page, index: index as u16 };
        path.is_exact = is_exact;
        if self.is_counted() {
            Tree::seek_within(node, key, &mut path);
        }
        Ok(path)
    }

    /// The leaf of a key, be it in memory or not.
    pub fn leaf_of(&self, pool: &Pool, key: Key<'_>) -> Result<PageId, Missing> {
        let (mut page, mut span) = (self.root, None);
        for _ in 1..self.levels {
            let node = pool.page(page)?;
            let within = span.unwrap_or_else(|| node.span());
            let index = node.child_index(key, within);
            span = Some(node.child_span(index, within));
            page = node.child(index);
        }
        Ok(page)
    }

    /// Where the key is if that is beside the row that came or went last, and nothing else has changed since: in the gap behind the one that came,
    /// or in the place of the one that went, or before that. Rows that follow each other are not searched for.
    pub(super) fn beside(&self, pool: &Pool, key: Key<'_>) -> Option<Path> {
        let last = self.last.as_ref().filter(|last| last.changes == self.changes)?;
        let (leaf, above) = (last.leaf(), last.above());
        let node = pool.page(leaf.page).ok()?;
        let at = leaf.index as usize;
        let is_alone = |index: usize| index < node.count() && node.slot(index).bundled() == 0;
        let index = if last.is_exact {
            let is_it = |index: &usize| is_alone(*index) && node.key(*index) == key;
            [Some(at), at.checked_sub(1)].into_iter().flatten().find(is_it)?
        } else {
            let next = at + 1;
            let is_behind = is_alone(at) && node.key(at) < key;
            let is_before = next < node.count() && key < node.key(next);
            if !is_behind || !is_before && (next < node.count() || !ends_behind(pool, above, key)) {
                return None;
            }
            next
        };
        // The path is changed along: its pages are to be in memory.
        above.iter().try_for_each(|step| pool.page(step.page).map(drop)).ok()?;
        let mut path = Path { within: None, ..*last };
        path.steps[path.levels as usize - 1].index = index as u16;
        Some(path)
    }

    /// The same as [`Tree::resolve`], for a row that is about to get a payload of `len` bytes. If [`Tree::touch`] has found the row, and its
    /// leaf has room for that, the path is the leaf alone: good for [`Tree::payload`] and [`Tree::replace`], not for more.
    #[inline]
    pub fn resolve_replacement(&self, pool: &Pool, key: Key<'_>, len: usize) -> Result<Path, Missing> {
        if let Some((node, index)) = pool.recall(self.root, key.head)
            && index < node.count()
            && node.key(index) == key
            && !node.has_bundles()
            && node.has_room_for(index, len)
        {
            let mut path = Path { levels: 1, is_exact: true, ..self.no_path() };
            path.steps[0] = Step { page: node.id(), index: index as u16 };
            return Ok(path);
        }
        self.resolve(pool, key)
    }

    /// The payload of the row that an exact path leads to.
    pub fn payload<'a>(&self, pool: &'a Pool, path: &Path) -> &'a [u8] {
        self.expect_exact(path);
        let leaf = path.leaf();
        let (node, index) = (pool.resident(leaf.page), leaf.index as usize);
        match path.within {
            None => node.payload(index),
            Some(position) => Tree::payload_within(node, index, position),
        }
    }

    /// The same, to be changed in place but for the header of a row in a bundle. The path stays good.
    pub fn payload_mut<'a>(&mut self, pool: &'a mut Pool, path: &Path) -> &'a mut [u8] {
        self.expect_exact(path);
        let leaf = path.leaf();
        let (node, index) = (pool.resident_mut(leaf.page), leaf.index as usize);
        let Some(position) = path.within else { return node.payload_mut(index) };
        let bundle = node.bundle(index).expect("a path within a bundle leads to one");
        let range = bundle.at(usize::from(position)).0.range();
        &mut node.payload_mut(index)[range]
    }

    pub(crate) fn expect_exact(&self, path: &Path) {
        assert!(path.is_exact && path.changes == self.changes, "the path is of a row, and fresh");
    }

    /// The same, for a change that may reach beyond the leaf.
    pub(crate) fn expect_whole(&self, path: &Path) {
        self.expect_exact(path);
        assert!(path.levels == self.levels, "the path begins at the root");
    }

    /// A path that leads nowhere yet.
    pub(crate) fn no_path(&self) -> Path {
        let (steps, changes) = ([Step::default(); LEVELS_MAX], self.changes);
        Path { steps, levels: self.levels, is_exact: false, within: None, changes }
    }

    /// The first row. Not of a tree that counts.
    pub fn first<'a>(&self, pool: &'a Pool) -> Result<Option<(Key<'a>, &'a [u8])>, Missing> {
        self.edge(pool, |_| 0)
    }

    /// The last row.
    pub fn last<'a>(&self, pool: &'a Pool) -> Result<Option<(Key<'a>, &'a [u8])>, Missing> {
        self.edge(pool, |node| node.count() - 1)
    }

    /// A row chosen by `random`, 64 random bits: on each level every entry of the node is as likely as every
    /// other. Rows of nodes with fewer entries than their siblings are chosen more often in proportion: with
    /// hashed heads a row's chance differs from the fair one by a factor below 2 a level, typically 1.2 in all.
    pub fn random<'a>(&self, pool: &'a Pool, random: u64) -> Result<Option<(Key<'a>, &'a [u8])>, Missing> {
        let mut state = random;
        self.edge(pool, |node| {
            // The multiplication's high half is the choice, its low half is as random as before.
            let wide = u128::from(state) * node.count() as u128;
            state = wide as u64;
            (wide >> 64) as usize
        })
    }

    fn edge<'a>(
        &self,
        pool: &'a Pool,
        mut choose: impl FnMut(&Page) -> usize,
    ) -> Result<Option<(Key<'a>, &'a [u8])>, Missing> {
        assert!(!self.is_counted(), "an entry may be a bundle");
        if self.levels == 0 {
            return Ok(None);
        }
        let mut page = self.root;
        for _ in 1..self.levels {
            let node = pool.page(page)?;
            page = node.child(choose(node));
        }
        let node = pool.page(page)?;
        expect_leaf(node)?;
        let index = choose(node);
        Ok(Some((node.key(index), node.payload(index))))
    }
}

/// Whether the node that these branches lead to may have this key as far as what follows it is concerned.
fn ends_behind(pool: &Pool, above: &[Step], key: Key<'_>) -> bool {
    for step in above.iter().rev() {
        let Ok(branch) = pool.page(step.page) else { return false };
        let next = step.index as usize + 1;
        if next < branch.count() {
            return key < branch.key(next);
        }
    }
    true
}

/// A path ends at a leaf. Branches that lead back to one above them make a tree in which it does not: images whose checksums hold,
/// that were never a tree together. Each path is as long as the tree is high, so it ends there, and must not take the branch
/// for rows.
#[inline(always)]
pub(super) fn expect_leaf(node: &Page) -> Result<(), Missing> {
    if node.is_leaf() { Ok(()) } else { Err(astray(node)) }
}

#[cold]
fn astray(node: &Page) -> Missing {
    Missing::Astray(node.id())
}
