//! Rows come and grow. A full leaf first hands rows to a neighbour that is in memory and has room, and is split
//! only when there is none: leaves stay fuller, and the tree smaller, than by splitting alone.

use super::descend::{Path, Step};
use super::gather::GATHERED_MIN;
use super::{Access, KeyCopy, Tree, row_bytes, row_fits};
use crate::limits::{KEY_INLINE_BYTES_MAX, LEVELS_MAX, SHARED_ROOM_BYTES_MAX, SHARED_ROOM_BYTES_MIN, SHARED_ROOM_ROWS};
use crate::page::{ENTRY_BYTES, Key, Kind, Page, SPACE_BYTES, Slot};
use crate::pool::{Pool, PoolFull};
use crate::units::PageId;

/// A row's place.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub page: PageId,
    pub index: usize,
}

impl Tree {
    /// Inserts a row where `path`, which [`Tree::resolve`] found for `key` and which is not exact, leads to.
    /// The row has to fit ([`row_fits`]). When the pool is full nothing has changed.
    pub fn insert(&mut self, pool: &mut Pool, path: &Path, key: Key<'_>, payload: &[u8]) -> Result<(), PoolFull> {
        self.insert_with(pool, path, key, payload.len(), |place| place.copy_from_slice(payload))
    }

    /// The same, for a payload that the caller writes in its place. `fill` must write all of its slice: what it
    /// finds there is undefined.
    #[inline]
    pub fn insert_with(
        &mut self,
        pool: &mut Pool,
        path: &Path,
        key: Key<'_>,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), PoolFull> {
        assert!(!path.is_exact && path.changes == self.changes, "the path is to a gap, and fresh");
        assert!(row_fits(key.tail.len(), len));
        let opened;
        let path = match path.within {
            None => path,
            Some(_) => {
                opened = self.open(pool, path, key)?;
                &opened
            }
        };
        let place = self.insert_space(pool, path, key, Slot::word_of(len, 0))?;
        fill(pool.resident_mut(place.page).payload_mut(place.index));
        self.changes = self.changes.wrapping_add(1);
        if let Some(last) = &mut self.last {
            last.changes = self.changes;
        }
        self.rows += 1;
        self.bytes += row_bytes(key.tail.len(), len) as u64;
        Ok(())
    }

    /// Gives the row of an exact path another payload. When the pool is full nothing has changed.
    pub fn replace(&mut self, pool: &mut Pool, path: &Path, payload: &[u8]) -> Result<(), PoolFull> {
        self.replace_with(pool, path, payload.len(), |place| place.copy_from_slice(payload))
    }

    /// The same, for a payload that the caller writes in its place. `fill` must write all of its slice: what it
    /// finds there is undefined. With the old length the path stays good.
    #[inline]
    pub fn replace_with(
        &mut self,
        pool: &mut Pool,
        path: &Path,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), PoolFull> {
        self.expect_exact(path);
        if path.within.is_some() {
            return self.replace_bundled(pool, path, len, fill);
        }
        let leaf = path.leaf();
        let mut place = Place { page: leaf.page, index: leaf.index as usize };
        let node = pool.resident_mut(place.page);
        let old = node.slot(place.index);
        if old.len() != len {
            assert!(row_fits(old.tail as usize, len));
            if node.has_room_for(place.index, len) {
                node.resize_payload(place.index, len);
            } else {
                place = self.move_row(pool, path, len)?;
            }
            self.changes = self.changes.wrapping_add(1);
            self.bytes = self.bytes + len as u64 - old.len() as u64;
        }
        fill(pool.resident_mut(place.page).payload_mut(place.index));
        Ok(())
    }

    /// Replaces a row of a bundle, which it leaves.
    #[cold]
    fn replace_bundled(
        &mut self,
        pool: &mut Pool,
        path: &Path,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), PoolFull> {
        let leaf = path.leaf();
        let (node, index) = (pool.resident(leaf.page), leaf.index as usize);
        let position = path.within.expect("the path is within a bundle");
        let bundle = node.bundle(index).expect("it leads to one");
        let key = bundle.key_of(&bundle.at(usize::from(position)).0);
        let first = self.open(pool, path, key.key())?;
        let behind = first.within.map(|position| position + 1);
        let mut alone = self.open(pool, &Path { within: behind, ..first }, key.key())?;
        pool.resident_mut(alone.leaf().page).unbundle(alone.leaf().index as usize);
        alone.within = None;
        self.replace_with(pool, &alone, len, fill)
    }

    /// Replaces a row whose leaf is too full for its new length.
    #[cold]
    fn move_row(&mut self, pool: &mut Pool, path: &Path, len: usize) -> Result<Place, PoolFull> {
        self.expect_whole(path);
        pool.reserve(LEVELS_MAX + 1)?;
        let leaf = path.leaf();
        let node = pool.resident_mut(leaf.page);
        let key = KeyCopy::new(node.key(leaf.index as usize));
        node.remove_entry(leaf.index as usize);
        self.count_rows(pool, path.above(), |node, index| node.subtract_rows(index, 1));
        self.insert_space(pool, path, key.key(), Slot::word_of(len, 0))
    }

    /// Makes an entry with this word; the payload's bytes are undefined.
    #[inline]
    pub(super) fn insert_space(
        &mut self,
        pool: &mut Pool,
        path: &Path,
        key: Key<'_>,
        word: u32,
    ) -> Result<Place, PoolFull> {
        if path.levels == 0 {
            pool.reserve(1)?;
            self.root = self.allocate(pool, Kind::Leaf);
            self.levels = 1;
            pool.resident_mut(self.root).insert_entry(0, key, word);
            return Ok(Place { page: self.root, index: 0 });
        }
        let leaf = path.leaf();
        let place = Place { page: leaf.page, index: leaf.index as usize };
        let node = pool.resident_mut(place.page);
        let slot = Slot { offset: 0, tail: key.tail.len() as u16, word };
        self.last = None;
        if node.free() >= ENTRY_BYTES + node.heap_len(slot) {
            self.insert_entry(pool, path, place, key, word);
            if self.follows {
                self.last = Some(*path);
            }
            return Ok(place);
        }
        self.insert_into_full(pool, path, key, word)
    }

    /// Puts an entry into a leaf that has room for it.
    #[inline(always)]
    fn insert_entry(&self, pool: &mut Pool, path: &Path, place: Place, key: Key<'_>, word: u32) {
        pool.resident_mut(place.page).insert_entry(place.index, key, word);
        pool.note_count(place.page);
        let rows = rows_of(word);
        self.count_rows(pool, path.above(), |node, index| node.add_rows(index, rows));
    }

    #[cold]
    fn insert_into_full(&mut self, pool: &mut Pool, path: &Path, key: Key<'_>, word: u32) -> Result<Place, PoolFull> {
        let slot = Slot { offset: 0, tail: 0, word };
        let new = New { key, word, bytes: ENTRY_BYTES + key.tail.len() + slot.len(), rows: 0 };
        let mut path = *path;
        let leaf = path.leaf().page;
        // The parts of a bundle that was opened stay as they are.
        if slot.bundled() == 0
            && let Some(index) = self.gather(pool, &path)
        {
            path.steps[path.levels as usize - 1].index = index as u16;
            if pool.resident(leaf).free() >= new.bytes {
                let place = Place { page: leaf, index };
                self.insert_entry(pool, &path, place, key, word);
                return Ok(place);
            }
        }
        let path = &path;
        let level = path.levels as usize - 1;
        let index = path.steps[level].index as usize;
        let edge =
            self.beyond(pool, path, level, index).or_else(|| beside_bundles(pool.resident(leaf), key.head, index));
        if edge.is_none() {
            let mut handed = self.hand_over(pool, path, new);
            if handed.is_none() && self.make_room(pool, path, new) {
                handed = self.hand_over(pool, path, new);
            }
            if let Some(place) = handed {
                return Ok(place);
            }
        }
        // Each level may be split, and the root get a parent.
        pool.reserve(path.levels as usize + 1)?;
        let (separator, right, place) = self.split(pool, path.leaf().page, path.leaf().index as usize, new, edge);
        self.insert_child(pool, path, (separator, right), rows_of(word));
        Ok(place)
    }

    /// Splits a full page, `new` being put at `index` of it.
    fn split(
        &mut self,
        pool: &mut Pool,
        left: PageId,
        index: usize,
        new: New<'_>,
        edge: Option<Edge>,
    ) -> (KeyCopy, PageId, Place) {
        let old = *pool.resident(left);
        let deal = Deal { left: &old, right: None, new: Some((index, new)) };
        // What is put at an end will be followed by more of its kind: the page stays as full as it is.
        let cut = match edge {
            None => None,
            // A branch's first child stays first, and what is new goes behind it: both are on the left, because the first
            // separator is the shortest, and another in its place might not fit on the right.
            Some(Edge::Front) => Some(index + 1),
            Some(Edge::Back) => Some(index),
        };
        let cut = cut.filter(|cut| deal.fits(deal.left_of(*cut))).unwrap_or_else(|| deal.middle().0);
        let separator = self.separator(&deal, cut);
        let right = self.allocate(pool, old.kind().expect("a page of a tree has a kind"));
        let place = deal.perform(pool, left, right, cut).expect("it has a new entry");
        (separator, right, place)
    }

    /// Puts a new child into the parent of the path's leaf, splitting what is full on the way up.
    fn insert_child(&mut self, pool: &mut Pool, path: &Path, new: (KeyCopy, PageId), added: u64) {
        let (mut separator, mut child) = new;
        for level in (0..path.levels as usize - 1).rev() {
            let step = path.steps[level];
            let index = step.index as usize + 1;
            self.recount(pool, step.page, index - 1);
            let rows = if self.is_counted() { pool.resident(child).weight() } else { 0 };
            let node = pool.resident_mut(step.page);
            let bytes = node.front_bytes() + separator.key().tail.len();
            if node.free() >= bytes {
                node.insert_entry(index, separator.key(), child.0);
                pool.note_count(step.page);
                self.recount(pool, step.page, index);
                self.count_rows(pool, &path.steps[..level], |node, index| node.add_rows(index, added));
                return;
            }
            let old = separator;
            let new = New { key: old.key(), word: child.0, bytes, rows };
            let edge = self.beyond(pool, path, level, index);
            let (up, right, _) = self.split(pool, step.page, index, new, edge);
            (separator, child) = (up, right);
            pool.resident_mut(right).set_separator(0, Key::MIN);
        }
        assert!((self.levels as usize) < LEVELS_MAX);
        let old = self.root;
        self.root = self.allocate(pool, self.branch());
        self.levels += 1;
        let node = pool.resident_mut(self.root);
        node.insert_entry(0, Key::MIN, old.0);
        node.insert_entry(1, separator.key(), child.0);
        self.recount(pool, self.root, 0);
        self.recount(pool, self.root, 1);
    }

    /// Whether an entry at `index` on `level` of the path is beyond everything that is in the tree. The front is looked
    /// at only where rows are likely to come in descending order.
    fn beyond(&self, pool: &Pool, path: &Path, level: usize, index: usize) -> Option<Edge> {
        let above = &path.steps[..level];
        let is_last = |step: &Step| step.index as usize + 1 == pool.resident(step.page).count();
        if index == pool.resident(path.steps[level].page).count() && above.iter().all(is_last) {
            return Some(Edge::Back);
        }
        // A split at the very front puts the new child behind the one that was first.
        let front = usize::from(level + 1 < path.levels as usize);
        let is_front = index == front && self.is_counted() && above.iter().all(|step| step.index == 0);
        is_front.then_some(Edge::Front)
    }

    /// Deals the rows of the path's full leaf and of a neighbour evenly to both, and the new row with them. `None`
    /// when no neighbour is in memory and has room.
    fn hand_over(&self, pool: &mut Pool, path: &Path, new: New<'_>) -> Option<Place> {
        let parent = path.steps[(path.levels as usize).checked_sub(2)?];
        let own = parent.index as usize;
        let (used, neighbour) = neighbours(pool, parent.page, own).min()?;
        if pool.resident(path.leaf().page).used() + new.bytes + used > 2 * (SPACE_BYTES - new.room()) {
            return None;
        }
        let index = path.leaf().index as usize;
        let index =
            if neighbour < own { index + pool.resident(child(pool, parent.page, neighbour)).count() } else { index };
        let place = self.deal(pool, parent.page, neighbour.min(own), Some((index, new)))?;
        #[cfg(test)]
        if self.is_forgetful {
            return place;
        }
        let above = path.above();
        let added = rows_of(new.word);
        self.count_rows(pool, &above[..above.len() - 1], |node, index| node.add_rows(index, added));
        place
    }

    /// Has a neighbour of the path's full leaf hand rows to the one behind it, so that it has room for some of the leaf's. Whether one did. Only where
    /// rows are small: of larger ones so few fit into what is gained that their moves cost more than it is worth.
    fn make_room(&self, pool: &mut Pool, path: &Path, new: New<'_>) -> bool {
        let Some(level) = (path.levels as usize).checked_sub(2).filter(|_| new.room() < SHARED_ROOM_BYTES_MAX) else {
            return false;
        };
        let parent = path.steps[level];
        let own = parent.index as usize;
        let leaf_used = pool.resident(path.leaf().page).used() + new.bytes;
        let best = neighbours(pool, parent.page, own).flat_map(|(used, neighbour)| {
            let behind = neighbours(pool, parent.page, neighbour).filter(|(_, index)| *index != own);
            behind.map(move |(behind_used, behind)| (used + behind_used, neighbour.min(behind)))
        });
        let Some((used, left)) = best.min() else { return false };
        // What they have together, dealt to both, leaves room for the leaf's.
        if used / 2 + leaf_used > 2 * (SPACE_BYTES - new.room()) {
            return false;
        }
        self.deal(pool, parent.page, left, None).is_some()
    }

    /// Deals the rows of child `left` of a branch and of the next one evenly to both, and a new row with them, whose place it answers. `None` when that
    /// cannot be.
    fn deal(
        &self,
        pool: &mut Pool,
        parent: PageId,
        left: usize,
        new: Option<(usize, New<'_>)>,
    ) -> Option<Option<Place>> {
        let (left_page, right_page) = (child(pool, parent, left), child(pool, parent, left + 1));
        let (first, second) = (*pool.resident(left_page), *pool.resident(right_page));
        let deal = Deal { left: &first, right: Some(&second), new };
        let (cut, left_bytes) = deal.middle();
        if !deal.fits(left_bytes) {
            return None;
        }
        let separator = self.separator(&deal, cut);
        if !pool.resident(parent).has_room_for_separator(left + 1, separator.len as usize) {
            return None;
        }
        pool.resident_mut(parent).set_separator(left + 1, separator.key());
        let place = deal.perform(pool, left_page, right_page, cut);
        #[cfg(test)]
        if self.is_forgetful {
            return Some(place);
        }
        self.recount(pool, parent, left);
        self.recount(pool, parent, left + 1);
        Some(place)
    }

    /// The separator of two pages if the left one gets `cut` entries.
    fn separator(&self, deal: &Deal<'_>, cut: usize) -> KeyCopy {
        if self.access == Access::Rank { KeyCopy::new(Key::MIN) } else { deal.separator(cut) }
    }

    fn allocate(&mut self, pool: &mut Pool, kind: Kind) -> PageId {
        self.pages += 1;
        pool.allocate(kind)
    }
}

/// Whether a row with this head that is put at `index` will be followed by more of its kind: it is at an end of rows with its head, of which some
/// are in bundles.
fn beside_bundles(node: &Page, head: u64, index: usize) -> Option<Edge> {
    let (heads, count) = (node.heads(), node.count());
    let has_bundle = |entries: &mut dyn Iterator<Item = usize>| {
        let mut own = entries.take(GATHERED_MIN).take_while(|entry| heads[*entry] == head);
        own.any(|entry| node.slot(entry).bundled() > 0)
    };
    let (before, behind) = (index > 0 && heads[index - 1] == head, index < count && heads[index] == head);
    if before && !behind && has_bundle(&mut (0..index).rev()) {
        return Some(if index == count { Edge::Back } else { Edge::Front });
    }
    if behind && !before && has_bundle(&mut (index..count)) {
        return Some(if index == 0 { Edge::Front } else { Edge::Back });
    }
    None
}

/// The rows of an entry of a leaf with this word.
fn rows_of(word: u32) -> u64 {
    Slot { offset: 0, tail: 0, word }.rows() as u64
}

/// The neighbours of a branch's child that are in memory: the bytes that they use, and which they are.
fn neighbours(pool: &Pool, branch: PageId, index: usize) -> impl Iterator<Item = (usize, usize)> {
    let node = pool.resident(branch);
    let all = [index.checked_sub(1), (index + 1 < node.count()).then_some(index + 1)];
    all.into_iter().flatten().filter_map(move |index| Some((pool.page(node.child(index)).ok()?.used(), index)))
}

fn child(pool: &Pool, branch: PageId, index: usize) -> PageId {
    pool.resident(branch).child(index)
}

/// An end of the tree, or of what belongs together in it.
#[derive(Clone, Copy)]
enum Edge {
    /// What is new stays with what is in front of it.
    Front,
    /// What is new goes with what is behind it.
    Back,
}

/// An entry that is about to be put into a full page.
#[derive(Clone, Copy)]
struct New<'a> {
    key: Key<'a>,
    word: u32,
    bytes: usize,
    /// Below a child that a counted branch gets.
    rows: u64,
}

impl New<'_> {
    /// The room that two leaves have each at least when they have shared their rows: what they get right after must not fill them again.
    fn room(&self) -> usize {
        (SHARED_ROOM_ROWS * self.bytes).clamp(SHARED_ROOM_BYTES_MIN, SHARED_ROOM_BYTES_MAX)
    }
}

/// The entries of one or two neighbouring pages, and mostly a new one, to be dealt anew to two pages.
struct Deal<'a> {
    left: &'a Page,
    right: Option<&'a Page>,
    /// Where the new entry goes, counted from the left page's first entry.
    new: Option<(usize, New<'a>)>,
}

impl Deal<'_> {
    /// Entries, the new one included.
    fn count(&self) -> usize {
        self.left.count() + self.right.map_or(0, Page::count) + usize::from(self.new.is_some())
    }

    /// The new entry, if it is the one with this index.
    fn new_at(&self, index: usize) -> Option<New<'_>> {
        self.new.filter(|(at, _)| *at == index).map(|(_, new)| new)
    }

    /// An entry with this index that is not new.
    fn old_at(&self, index: usize) -> (&Page, usize) {
        self.old(index - usize::from(self.new.is_some_and(|(at, _)| index > at)))
    }

    /// The page that holds an old entry, and the entry's index in it.
    fn old(&self, index: usize) -> (&Page, usize) {
        match self.right {
            Some(right) if index >= self.left.count() => (right, index - self.left.count()),
            _ => (self.left, index),
        }
    }

    fn bytes(&self, index: usize) -> usize {
        if let Some(new) = self.new_at(index) {
            return new.bytes;
        }
        let (node, index) = self.old_at(index);
        node.entry_bytes(index)
    }

    fn key(&self, index: usize) -> Key<'_> {
        if let Some(new) = self.new_at(index) {
            return new.key;
        }
        let (node, index) = self.old_at(index);
        node.key(index)
    }

    fn is_bundle(&self, index: usize) -> bool {
        if let Some(new) = self.new_at(index) {
            return new.word >> 16 != 0;
        }
        let (node, index) = self.old_at(index);
        node.slot(index).bundled() > 0
    }

    /// Bytes of all entries.
    fn all(&self) -> usize {
        self.left.used() + self.right.map_or(0, Page::used) + self.new.map_or(0, |(_, new)| new.bytes)
    }

    /// How many entries the left page gets so that both are about equally full, and their bytes: the fuller one has at most half of
    /// all bytes and half of the largest entry, which always fits if there was one page.
    fn middle(&self) -> (usize, usize) {
        let (all, mut left) = (self.all(), 0);
        for index in 0..self.count() {
            let bytes = self.bytes(index);
            if 2 * left + bytes > all && index > 0 {
                return (index, left);
            }
            left += bytes;
        }
        let last = self.count() - 1;
        (last, left - self.bytes(last))
    }

    /// Bytes of the left page if it gets `cut` entries.
    fn left_of(&self, cut: usize) -> usize {
        (0..cut).map(|index| self.bytes(index)).sum()
    }

    /// Whether both pages can hold what they get, if that is so much for the left one.
    fn fits(&self, left_bytes: usize) -> bool {
        left_bytes <= SPACE_BYTES && self.all() - left_bytes <= SPACE_BYTES
    }

    /// The separator of the two pages if the left one gets `cut` entries. In branches it moves up as it is.
    fn separator(&self, cut: usize) -> KeyCopy {
        let right = self.key(cut);
        let left = self.key(cut - 1);
        // Behind all rows of a bundle, which have one head, is the next entry's key; what is between the two may not be.
        let is_short = self.left.is_leaf() && (!self.is_bundle(cut - 1) || left.head < right.head);
        if is_short { KeyCopy::between(left, right) } else { KeyCopy::new(right) }
    }

    /// Fills both pages; answers where the new entry is.
    fn perform(&self, pool: &mut Pool, left: PageId, right: PageId, cut: usize) -> Option<Place> {
        let cut_old = cut - usize::from(self.new.is_some_and(|(index, _)| index < cut));
        let count_old = self.count() - usize::from(self.new.is_some());
        let place = self.new.map(|(index, new)| match index < cut {
            true => (Place { page: left, index }, new),
            false => (Place { page: right, index: index - cut }, new),
        });
        for (page, range) in [(left, 0..cut_old), (right, cut_old..count_old)] {
            let middle = self.left.count();
            let node = pool.resident_mut(page);
            node.clear();
            node.append(self.left, range.start.min(middle)..range.end.min(middle));
            if let Some(old) = self.right {
                node.append(old, range.start.max(middle) - middle..range.end.max(middle) - middle);
            }
            if let Some((place, new)) = place.filter(|(place, _)| place.page == page) {
                node.insert_entry(place.index, new.key, new.word);
                if node.is_counted() {
                    node.set_rows(place.index, new.rows);
                }
            }
            pool.note_count(page);
        }
        place.map(|(place, _)| place)
    }
}

const _: () = assert!(KEY_INLINE_BYTES_MAX <= u16::MAX as usize);
