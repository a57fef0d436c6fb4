//! The check of a whole structure: for tests, the simulator and offline inspection.

use super::{Access, Tree};
use crate::page::{HEADER_BYTES, Key, Kind, Page};
use crate::pool::Pool;
use crate::units::PageId;
use core::fmt;

/// What is wrong with a tree, and in which page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub page: PageId,
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}: {}", self.page, self.what)
    }
}

impl std::error::Error for Damage {}

/// What a check has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Every page of the tree, for [`Pool::check`].
    pub pages: Vec<PageId>,
    pub leaves: u64,
    pub rows: u64,
    /// Of all rows.
    pub bytes: u64,
    /// Bytes in use in all leaves.
    pub used: u64,
}

/// The bounds of a page's keys: from the first (inclusive) to the second, or to the end.
type Bounds<'a> = (Key<'a>, Option<Key<'a>>);

impl Tree {
    /// Checks every page of the tree (I1 to I5, the pages' own rules, the counts). An absent page is damage.
    pub fn check(&self, pool: &Pool) -> Result<Census, Damage> {
        let mut census = Census::default();
        if self.levels > 0 {
            self.check_page(pool, self.root, self.levels, (Key::MIN, None), &mut census)?;
        }
        let counts = (census.rows, census.bytes, census.pages.len() as u64);
        ensure(counts == (self.rows, self.bytes, self.pages), self.root, "the tree's counts are not its pages'")?;
        ensure((self.levels == 0) == (self.rows == 0), self.root, "an empty tree has pages")?;
        Ok(census)
    }

    /// Pages that have to be brought in before [`Tree::check`] can look at everything: those which pages in memory lead to.
    pub fn absent(&self, pool: &Pool) -> Vec<PageId> {
        let mut absent = Vec::new();
        let mut stack = Vec::from_iter((self.levels > 0).then_some((self.root, self.levels)));
        // More than there are would be the same ones again, which [`Tree::check`] says.
        let mut left = self.pages;
        while let Some((page, levels)) = stack.pop() {
            if left == 0 {
                break;
            }
            left -= 1;
            match pool.peek(page) {
                None => absent.push(page),
                Some(node) if levels > 1 => {
                    stack.extend((0..node.count()).map(|index| (node.child(index), levels - 1)));
                }
                Some(_) => {}
            }
        }
        absent
    }

    fn check_page(
        &self,
        pool: &Pool,
        page: PageId,
        levels: u8,
        bounds: Bounds<'_>,
        census: &mut Census,
    ) -> Result<(), Damage> {
        let Ok(node) = pool.page(page) else { return Err(Damage { page, what: "absent" }) };
        let kind = if levels == 1 { Kind::Leaf } else { self.branch() };
        ensure(node.id() == page, page, "carries another page's id")?;
        ensure(node.kind() == Some(kind), page, "is of the wrong kind for its level")?;
        ensure(node.count() > 0, page, "is empty")?;
        check_heap(node).map_err(|what| Damage { page, what })?;
        ensure((census.pages.len() as u64) < self.pages, page, "is one more than the tree has")?;
        census.pages.push(page);
        for index in 0..node.count() {
            let key = node.key(index);
            let is_open = kind != Kind::Leaf && index == 0;
            ensure(!is_open || key == Key::MIN, page, "its first separator is not (0, empty)")?;
            if self.access == Access::Rank {
                ensure(key == Key::MIN, page, "has a key in a tree that has none")?;
            } else {
                ensure(index == 0 || node.key(index - 1) < key, page, "its keys do not ascend")?;
                ensure(is_open || bounds.0 <= key, page, "has a key below its parent's separator")?;
                ensure(bounds.1.is_none_or(|end| key < end), page, "has a key beyond its parent's next separator")?;
            }
            if kind != Kind::Leaf {
                let before = census.rows;
                let low = if index == 0 { bounds.0 } else { key };
                let high = if index + 1 < node.count() { Some(node.key(index + 1)) } else { bounds.1 };
                self.check_page(pool, node.child(index), levels - 1, (low, high), census)?;
                let is_right = kind != Kind::Counted || node.rows()[index] == census.rows - before;
                ensure(is_right, page, "miscounts the rows below it")?;
            } else {
                census.rows += node.slot(index).rows() as u64;
                census.bytes += (8 + key.tail.len() + node.payload(index).len()) as u64;
                let high = if index + 1 < node.count() { Some(node.key(index + 1)) } else { bounds.1 };
                self.check_bundle(node, index, high)?;
            }
        }
        if kind == Kind::Leaf {
            census.leaves += 1;
            census.used += node.used() as u64;
        }
        Ok(())
    }
}

impl Tree {
    /// Keeps I6: what an entry is a bundle of is in front of `high`.
    fn check_bundle(&self, node: &Page, index: usize, high: Option<Key<'_>>) -> Result<(), Damage> {
        let page = node.id();
        ensure(self.access == Access::KeyAndRank || node.slot(index).bundled() == 0, page, "has a bundle")?;
        check_bundle(node, index, high).map_err(|what| Damage { page, what })
    }
}

/// Whether an entry of a leaf is valid if it is a bundle, and all its rows are in front of `high`.
pub(crate) fn check_bundle(node: &Page, index: usize, high: Option<Key<'_>>) -> Result<(), &'static str> {
    let Some(bundle) = node.bundle(index) else { return Ok(()) };
    bundle.judge(node.slot(index).bundled())?;
    let last = bundle.places().last().map(|place| bundle.key_of(&place));
    let is_within = high.is_none_or(|high| last.is_none_or(|last| last.key() < high));
    if is_within { Ok(()) } else { Err("a bundle has rows beyond the next entry") }
}

fn ensure(holds: bool, page: PageId, what: &'static str) -> Result<(), Damage> {
    if holds { Ok(()) } else { Err(Damage { page, what }) }
}

/// Every slot's bytes lie in the heap, overlap no other's, and fill it together with the garbage; a leaf has as many bundles and rows as it says. Nothing about the page
/// is trusted but its length.
pub(crate) fn check_heap(node: &Page) -> Result<(), &'static str> {
    let sound = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    let (heap, bytes) = (node.heap(), node.as_bytes().len());
    let front = HEADER_BYTES + node.front_bytes() * node.count();
    sound(front <= heap && heap <= bytes, "its heap begins in its slots")?;
    let mut ranges: Vec<(usize, usize)> = Vec::with_capacity(node.count());
    for slot in (0..node.count()).map(|index| node.slot(index)) {
        let (start, end) = (slot.offset as usize, slot.offset as usize + node.heap_len(slot));
        sound(end <= bytes && (start >= heap || start == end), "an entry is outside its heap")?;
        if start < end {
            ranges.push((start, end));
        }
    }
    ranges.sort_unstable();
    sound(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "two entries overlap")?;
    let used: usize = ranges.iter().map(|(start, end)| end - start).sum();
    sound(heap + used + node.garbage() == bytes, "its garbage is miscounted")?;
    let slots = || (0..node.count()).map(|index| node.slot(index));
    let (bundles, rows) =
        (slots().filter(|slot| slot.bundled() > 0).count(), slots().map(|slot| slot.rows() as u64).sum());
    sound(!node.is_leaf() || (node.bundles(), node.weight()) == (bundles, rows), "its bundles are miscounted")
}
