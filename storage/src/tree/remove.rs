//! Rows go. An empty page is freed at once; one that is less than half full joins a neighbour, if one is in memory
//! that has room.

use super::descend::Path;
use super::{KeyCopy, Tree, row_bytes};
use crate::limits::NEIGHBOUR_SPACE_PERCENT_MAX;
use crate::page::{Key, Page, SPACE_BYTES};
use crate::pool::Pool;
use crate::units::PageId;
use core::ops::ControlFlow;

impl Tree {
    /// Removes the row that an exact path leads to.
    pub fn remove(&mut self, pool: &mut Pool, path: &Path) {
        self.expect_whole(path);
        let leaf = path.leaf();
        let node = pool.resident_mut(leaf.page);
        let slot = node.slot(leaf.index as usize);
        if slot.rows() > 1 {
            self.take(pool, path);
            if pool.resident(leaf.page).used() < SPACE_BYTES / 2 {
                self.thin(pool, path);
            }
            return;
        }
        node.remove_entry(leaf.index as usize);
        let is_sparse = node.used() < SPACE_BYTES / 2;
        pool.note_count(leaf.page);
        self.count_rows(pool, path.above(), |node, index| node.subtract_rows(index, 1));
        self.rows -= 1;
        self.bytes -= row_bytes(slot.tail as usize, slot.len()) as u64;
        self.changes = self.changes.wrapping_add(1);
        self.last = None;
        let is_thinner = is_sparse && self.thin(pool, path);
        if self.follows && !is_thinner {
            self.last = Some(Path { changes: self.changes, ..*path });
        }
    }

    /// Removes up to `rows` rows of one leaf: the one that an exact path leads to and those behind it there. Answers how
    /// many. `show` sees each before it goes.
    pub fn remove_run(
        &mut self,
        pool: &mut Pool,
        path: &Path,
        rows: usize,
        mut show: impl FnMut(Key<'_>, &[u8]),
    ) -> usize {
        self.expect_whole(path);
        let leaf = path.leaf();
        let start = leaf.index as usize;
        let own = pool.resident(leaf.page).slot(start).rows();
        if self.rank_within(pool, path) > 0 || own > rows {
            return self.take_run(pool, path, rows, &mut show);
        }
        let node = pool.resident_mut(leaf.page);
        let old = *node;
        let (mut end, mut gone) = (start, 0);
        while end < old.count() && gone + old.slot(end).rows() <= rows {
            _ = old.visit_entry(end, 0, |key, payload| {
                show(key, payload);
                ControlFlow::Continue(())
            });
            self.bytes -= row_bytes(old.tail(end).len(), old.payload(end).len()) as u64;
            gone += old.slot(end).rows();
            end += 1;
        }
        node.clear();
        node.append(&old, 0..start);
        node.append(&old, end..old.count());
        pool.note_count(leaf.page);
        self.count_rows(pool, path.above(), |node, index| node.subtract_rows(index, gone as u64));
        self.rows -= gone as u64;
        self.changes = self.changes.wrapping_add(1);
        self.thin(pool, path);
        gone
    }

    /// Frees or joins the sparse pages of the path, from the leaf up. Whether there are any fewer.
    fn thin(&mut self, pool: &mut Pool, path: &Path) -> bool {
        let pages = self.pages;
        for level in (1..path.levels as usize).rev() {
            let step = path.steps[level];
            let parent = path.steps[level - 1];
            let node = pool.resident(step.page);
            if node.count() == 0 {
                self.release(pool, step.page);
                pool.resident_mut(parent.page).remove_child(parent.index as usize);
            } else if node.used() >= SPACE_BYTES / 2 || !self.join(pool, parent.page, parent.index as usize) {
                break;
            }
        }
        self.lower_root(pool);
        self.pages < pages
    }

    /// Joins child `index` of `parent` with a neighbour; answers whether it did.
    fn join(&mut self, pool: &mut Pool, parent: PageId, index: usize) -> bool {
        let branch = pool.resident(parent);
        let pairs = [index.checked_sub(1), (index + 1 < branch.count()).then_some(index)];
        let Some(left) = pairs.into_iter().flatten().find(|left| can_join(pool, branch, *left)) else {
            return false;
        };
        let (left_page, right_page) = (branch.child(left), branch.child(left + 1));
        let separator = KeyCopy::new(branch.key(left + 1));
        let right = *pool.resident(right_page);
        let node = pool.resident_mut(left_page);
        if right.is_leaf() {
            node.append(&right, 0..right.count());
        } else {
            node.absorb(separator.key(), &right);
        }
        pool.note_count(left_page);
        pool.resident_mut(parent).remove_child(left + 1);
        self.recount(pool, parent, left);
        pool.note_count(parent);
        self.release(pool, right_page);
        true
    }

    /// Drops roots that have no choice to offer.
    fn lower_root(&mut self, pool: &mut Pool) {
        while let Ok(node) = pool.page(self.root) {
            let root = match (node.count(), node.is_leaf()) {
                (0, _) => PageId::default(),
                (1, false) => node.child(0),
                _ => return,
            };
            let is_empty = node.count() == 0;
            self.release(pool, self.root);
            self.root = root;
            self.levels = if is_empty { 0 } else { self.levels - 1 };
        }
    }

    fn release(&mut self, pool: &mut Pool, page: PageId) {
        self.pages -= 1;
        pool.release(page);
    }
}

/// Whether children `left` and `left + 1` are in memory, and fit into one page with some room to spare.
fn can_join(pool: &Pool, branch: &Page, left: usize) -> bool {
    let (Ok(first), Ok(second)) = (pool.page(branch.child(left)), pool.page(branch.child(left + 1))) else {
        return false;
    };
    let separator = branch.key(left + 1);
    let bytes = if second.is_leaf() { second.used() } else { Page::absorb_bytes(separator, second) };
    first.used() + bytes <= SPACE_BYTES * NEIGHBOUR_SPACE_PERCENT_MAX / 100
}
