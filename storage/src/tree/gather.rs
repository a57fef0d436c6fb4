//! Rows become bundles and are rows again: what a tree that counts does so that many small rows in ascending order take little more than their bytes.
//!
//! ```text
//!   rows ----their leaf is full: gather----> a bundle
//!   a bundle ----a row comes between its rows: open----> two bundles
//!   a bundle ----a row goes: take----> the same, with a row marked as gone
//!   a bundle ----a row at an end goes: spill----> a bundle, and some rows at that end; if there is no room, two bundles
//! ```
//!
//! What happens is within a leaf but for opening, which puts an entry more into it. Who looks at rows, or changes them, sees none of it: keys, ranks and counts
//! stay what they are. So the log knows nothing of bundles.

use super::bundle::{self, Bundle, Found, Gathered, Part};
use super::descend::{Path, Step};
use super::{Access, Tree, row_bytes};
use crate::limits::LEVELS_MAX;
use crate::page::{ENTRY_BYTES, Key, Page, Slot, Span};
use crate::pool::{Pool, PoolFull};
use core::ops::{ControlFlow, Range};

/// So many rows that could be gathered are worth a look at the whole leaf.
pub(super) const GATHERED_MIN: usize = 8;

/// A bundle that has lost a row at an end keeps so many rows there, and the others become a bundle of their own.
const END_ROWS: usize = 6;

/// So many rows at that end are no bundle any more, if there is room.
const SPILLED_ROWS: usize = 16;

/// So many bytes of rows that are gone stay at the front of a bundle.
const GONE_BYTES_MAX: usize = 128;

impl Page {
    /// The bundle of an entry of this leaf, if it is one.
    #[inline(always)]
    pub(crate) fn bundle(&self, index: usize) -> Option<Bundle<'_>> {
        (self.slot(index).bundled() > 0).then(|| Bundle::of(self.key(index), self.payload(index)))
    }

    /// The payload of the row of this leaf that has this key, be it in a bundle or not.
    pub(crate) fn find_row(&self, key: Key<'_>, span: Span) -> Option<&[u8]> {
        let (index, is_exact) = self.seek(key, span);
        let entry = if is_exact { index } else { index.wrapping_sub(1) };
        let bundle = (entry < self.count()).then(|| self.bundle(entry)).flatten();
        match bundle {
            None => is_exact.then(|| self.payload(index)),
            Some(bundle) => match bundle.seek(key) {
                Found::At(position) => Some(bundle.payload_of(&bundle.at(position).0)),
                Found::Before(_) | Found::Behind => None,
            },
        }
    }

    /// Visits the rows of an entry of this leaf, from a rank among them on.
    #[inline(always)]
    pub(crate) fn visit_entry(
        &self,
        index: usize,
        rank: usize,
        mut visit: impl FnMut(Key<'_>, &[u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self.bundle(index) {
            None => visit(self.key(index), self.payload(index)),
            Some(bundle) => bundle.live().skip(rank).try_for_each(|place| bundle.show(&place, &mut visit)),
        }
    }

    /// The same backwards: the first so many of them, the last of these first.
    pub(crate) fn visit_entry_back(
        &self,
        index: usize,
        rows: usize,
        mut visit: impl FnMut(Key<'_>, &[u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self.bundle(index) {
            None => visit(self.key(index), self.payload(index)),
            Some(bundle) => {
                let mut places = Vec::with_capacity(self.slot(index).bundled().min(rows));
                places.extend(bundle.live().take(rows));
                places.iter().rev().try_for_each(|place| bundle.show(place, &mut visit))
            }
        }
    }

    /// What the entries count in [`Tree::bytes`].
    fn entries_bytes(&self) -> u64 {
        (self.used() - (ENTRY_BYTES - 8) * self.count()) as u64
    }

    /// Puts a row at a place. The caller has seen that it fits.
    fn put_row(&mut self, index: usize, key: Key<'_>, payload: &[u8]) {
        self.insert_entry(index, key, Slot::word_of(payload.len(), 0));
        self.payload_mut(index).copy_from_slice(payload);
    }

    /// Puts a bundle at a place. The caller has seen that it fits.
    fn put_bundle(&mut self, index: usize, part: &Part) {
        self.insert_entry(index, part.key.key(), Slot::word_of(part.payload.len(), part.rows));
        self.payload_mut(index).copy_from_slice(&part.payload);
    }
}

impl Part {
    fn entry_bytes(&self) -> usize {
        ENTRY_BYTES + self.key.key().tail.len() + self.payload.len()
    }
}

impl Tree {
    /// Corrects the path to a gap, or to an entry, of a leaf that has bundles: its key may be within one.
    #[inline]
    pub(super) fn seek_within(node: &Page, key: Key<'_>, path: &mut Path) {
        let leaf = path.levels as usize - 1;
        let index = path.steps[leaf].index as usize;
        let entry = if path.is_exact { index } else { index.wrapping_sub(1) };
        if !node.has_bundles() || entry >= node.count() {
            return;
        }
        let Some(bundle) = node.bundle(entry) else { return };
        let position = match bundle.seek(key) {
            Found::At(position) => {
                path.is_exact = true;
                position
            }
            Found::Before(position) => {
                path.is_exact = false;
                position
            }
            Found::Behind => return,
        };
        path.steps[leaf].index = entry as u16;
        path.within = Some(position as u16);
    }

    /// The row of an exact path within a bundle.
    #[inline]
    pub(super) fn payload_within(node: &Page, index: usize, position: u16) -> &[u8] {
        let bundle = node.bundle(index).expect("a path within a bundle leads to one");
        bundle.payload_of(&bundle.at(usize::from(position)).0)
    }

    /// A leaf is full: rows beside each other become bundles, but for those on different sides of entry `gap`. Where that entry is then; `None`: nothing was
    /// gained.
    pub(super) fn gather(&mut self, pool: &mut Pool, path: &Path) -> Option<usize> {
        if self.access != Access::KeyAndRank {
            return None;
        }
        let (page, gap) = (path.leaf().page, path.leaf().index as usize);
        let old = pool.resident(page);
        let near = gap.saturating_sub(1).min(old.count() - 1);
        if !is_row(old, near) && !is_row(old, gap.min(old.count() - 1)) {
            return None;
        }
        if (0..old.count()).filter(|index| is_row(old, *index)).count() < GATHERED_MIN {
            return None;
        }
        let old = *old;
        let node = pool.resident_mut(page);
        node.clear();
        let (mut new_gap, mut at) = (0, 0);
        while at < old.count() {
            let end = if at < gap { gap } else { old.count() };
            let range = neighbours(&old, at..end);
            append_gathered(node, &old, range.clone());
            at = range.end;
            if at == gap {
                new_gap = node.count();
            }
        }
        self.bytes = self.bytes + node.entries_bytes() - old.entries_bytes();
        pool.note_count(page);
        Some(new_gap)
    }

    /// A row is to come between the rows of a bundle, or in the place of one that is gone: the bundle makes way. The path to the gap, or to the row.
    #[cold]
    pub(super) fn open(&mut self, pool: &mut Pool, path: &Path, key: Key<'_>) -> Result<Path, PoolFull> {
        let position = usize::from(path.within.expect("the path is within a bundle"));
        pool.reserve(LEVELS_MAX + 1)?;
        let leaf = path.leaf();
        let index = leaf.index as usize;
        let node = pool.resident(leaf.page);
        let parts = node.bundle(index).expect("a path within a bundle leads to one").cut(position);
        self.put_parts(pool, path, parts)?;
        self.changes = self.changes.wrapping_add(1);
        Ok(self.resolve(pool, key).expect("the pages of a path are in memory"))
    }

    /// Puts the parts of a bundle in its place. There are pages for it.
    fn put_parts(&mut self, pool: &mut Pool, path: &Path, parts: [Option<Part>; 2]) -> Result<(), PoolFull> {
        let leaf = path.leaf();
        let index = leaf.index as usize;
        let node = pool.resident_mut(leaf.page);
        let before = node.entries_bytes();
        node.remove_entry(index);
        let (first, second) = match parts {
            [Some(left), Some(right)] => (left, Some(right)),
            [left, right] => (left.or(right).expect("a bundle has rows"), None),
        };
        node.put_bundle(index, &first);
        let Some(second) = second else {
            self.bytes = self.bytes + node.entries_bytes() - before;
            pool.note_count(leaf.page);
            return Ok(());
        };
        if node.free() >= second.entry_bytes() {
            node.put_bundle(index + 1, &second);
            self.bytes = self.bytes + node.entries_bytes() - before;
            pool.note_count(leaf.page);
            return Ok(());
        }
        self.bytes = self.bytes + node.entries_bytes() - before;
        self.bytes += row_bytes(second.key.key().tail.len(), second.payload.len()) as u64;
        pool.note_count(leaf.page);
        let rows = second.rows as u64;
        self.count_rows(pool, path.above(), |node, index| node.subtract_rows(index, rows));
        let mut behind = *path;
        behind.steps[path.levels as usize - 1].index += 1;
        let word = Slot::word_of(second.payload.len(), second.rows);
        let place = self.insert_space(pool, &behind, second.key.key(), word)?;
        pool.resident_mut(place.page).payload_mut(place.index).copy_from_slice(&second.payload);
        Ok(())
    }

    /// Removes the row that an exact path within a bundle leads to. There are others in it.
    pub(super) fn take(&mut self, pool: &mut Pool, path: &Path) {
        let position = usize::from(path.within.expect("the path is within a bundle"));
        let Step { page, index } = path.leaf();
        let index = index as usize;
        let node = pool.resident_mut(page);
        let rows = node.slot(index).bundled();
        let bundle = node.bundle(index).expect("a path within a bundle leads to one");
        let (place, before) = bundle.at(position);
        let behind = rows - before - 1;
        place.mark_gone(node.payload_mut(index));
        node.set_bundled(index, rows - 1);
        self.rows -= 1;
        self.count_rows(pool, path.above(), |node, index| node.subtract_rows(index, 1));
        self.changes = self.changes.wrapping_add(1);
        if before > 0 && behind > 0 || self.spill(pool, path, behind == 0) {
            return;
        }
        let cut = match behind {
            0 if before > 2 * END_ROWS => position - END_ROWS,
            1.. if position >= END_ROWS || place.start() >= GONE_BYTES_MAX => position,
            _ => return,
        };
        let node = pool.resident(page);
        let parts = node.bundle(index).expect("it was just now").cut(cut);
        let bytes: usize = parts.iter().flatten().map(Part::entry_bytes).sum();
        if bytes <= node.free() + node.entry_bytes(index) {
            self.put_parts(pool, path, parts).expect("it is within the leaf");
        }
    }

    /// A row has gone from an end of a bundle, so others will follow: some there are rows again, if the leaf has room. Whether it had.
    fn spill(&mut self, pool: &mut Pool, path: &Path, is_last: bool) -> bool {
        let Step { page, index } = path.leaf();
        let index = index as usize;
        let node = pool.resident_mut(page);
        let bundle = node.bundle(index).expect("a path within a bundle leads to one");
        let rows = node.slot(index).bundled();
        let spilled = rows.min(SPILLED_ROWS);
        let [left, right] = bundle.cut(match (rows == spilled, is_last) {
            (true, _) => 0,
            (false, true) => bundle.position_of(rows - spilled),
            (false, false) => bundle.position_of(spilled),
        });
        let (kept, part) = if is_last || rows == spilled { (left, right) } else { (right, left) };
        let part = part.expect("some rows are there");
        let own = Bundle::of(part.key.key(), &part.payload);
        let row_bytes = |place| ENTRY_BYTES + part.key.key().tail.len() + own.payload_of(&place).len();
        let bytes = own.live().map(row_bytes).sum::<usize>() + kept.as_ref().map_or(0, Part::entry_bytes);
        if bytes > node.free() + node.entry_bytes(index) {
            return false;
        }
        let before = node.entries_bytes();
        node.remove_entry(index);
        let mut at = index;
        if let Some(kept) = kept {
            node.put_bundle(index, &kept);
            at += usize::from(is_last);
        }
        for place in own.live() {
            own.show(&place, |key, payload| node.put_row(at, key, payload));
            at += 1;
        }
        self.bytes = self.bytes + node.entries_bytes() - before;
        pool.note_count(page);
        true
    }

    /// Removes up to `rows` of the rows of one bundle, the one that an exact path leads to and those behind it. `show` sees each before it goes.
    pub(super) fn take_run(
        &mut self,
        pool: &mut Pool,
        path: &Path,
        rows: usize,
        show: &mut impl FnMut(Key<'_>, &[u8]),
    ) -> usize {
        let position = usize::from(path.within.expect("the path is within a bundle"));
        let Step { page, index } = path.leaf();
        let index = index as usize;
        let node = pool.resident_mut(page);
        let all = node.slot(index).bundled();
        let mut marks = Vec::new();
        let bundle = node.bundle(index).expect("a path within a bundle leads to one");
        for place in bundle.places().skip(position).filter(|place| place.is_live).take(rows.min(all - 1)) {
            bundle.show(&place, &mut *show);
            marks.push(place);
        }
        let gone = marks.len();
        marks.iter().for_each(|place| place.mark_gone(node.payload_mut(index)));
        node.set_bundled(index, all - gone);
        let parts = node.bundle(index).expect("it was just now").cut(0);
        self.rows -= gone as u64;
        self.count_rows(pool, path.above(), |node, index| node.subtract_rows(index, gone as u64));
        self.put_parts(pool, path, parts).expect("it has become smaller");
        self.changes = self.changes.wrapping_add(1);
        gone
    }
}

/// Whether an entry is a row that could be in a bundle.
#[inline]
fn is_row(node: &Page, index: usize) -> bool {
    node.slot(index).bundled() == 0 && bundle::may_join(node.tail(index), node.payload(index))
}

/// The same, or whether it is a bundle that could be part of a larger one.
fn is_loose(node: &Page, index: usize) -> bool {
    let slot = node.slot(index);
    let is_small = |value: usize, max: usize| value <= max / 4 * 3;
    match slot.bundled() {
        0 => is_row(node, index),
        rows => is_small(rows, bundle::ROWS_MAX) && is_small(slot.len(), bundle::BUNDLE_BYTES_MAX),
    }
}

/// The first entries of a range that belong together: rows for bundles, or others.
fn neighbours(node: &Page, range: Range<usize>) -> Range<usize> {
    let start = range.start;
    if start == range.end {
        return range;
    }
    let is_first_loose = is_loose(node, start);
    let of = |index: usize| (node.heads()[index], node.tail(index).len());
    let belongs =
        |index: &usize| is_loose(node, *index) == is_first_loose && (!is_first_loose || of(*index) == of(start));
    let len = range.take_while(belongs).count();
    start..start + len
}

/// Appends entries that belong together, as bundles if they are rows for that.
fn append_gathered(node: &mut Page, old: &Page, range: Range<usize>) {
    if !is_loose(old, range.start) || range.len() == 1 {
        return node.append(old, range);
    }
    let mut rows = Vec::with_capacity(2 * range.len());
    for index in range.clone() {
        match old.bundle(index) {
            None => rows.push((bundle::number(old.tail(index)), old.payload(index))),
            Some(bundle) => rows.extend(bundle.live().map(|place| (place.number(), bundle.payload_of(&place)))),
        }
    }
    let gathered = Gathered { head: old.heads()[range.start], tail_len: old.tail(range.start).len(), rows };
    gathered.parts(|rows, part| match part {
        Some(part) => node.put_bundle(node.count(), &part),
        None => {
            let (key, payload) = gathered.row(rows.start);
            node.put_row(node.count(), key.key(), payload);
        }
    });
}
