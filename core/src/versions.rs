//! What rows were at cuts that somebody reads: the first change of a row behind a cut keeps what it was.
//!
//! - **V1** A row is at a cut what the first version of it says whose `until` is that cut or a later one. Without one it is what the
//!   tree has.
//! - **V2** Before a row is changed it has a version up to the newest cut that is read.
//! - **V3** No version is let go of that V1 needs for a cut that is read. What nobody needs any more goes little by little.
//!
//! Why so: `docs/decisions/0024-snapshots.md`.

use crate::collection::order::hash_of;
use crate::event::Now;
use crate::limits::{ELEMENT_VERSION_BYTES, VERSION_BYTES, VERSIONS_FREED_PER_CHANGE};
use crate::tx::CutId;
use crate::unstable::{Heads, place};
use cairn_storage::blob::Blob;
use cairn_storage::engine::{Found, RowKey, Undo, elements};
use cairn_storage::limits::DATABASES;
use cairn_storage::units::CollectionId;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// A row as it was.
#[derive(Clone, Debug)]
pub(crate) struct Former {
    pub kind: u8,
    pub expire_ms: u64,
    pub value: Held,
}

#[derive(Clone, Debug)]
pub(crate) enum Held {
    Own(Box<[u8]>),
    /// It stood in an extent: the same memory.
    Shared(Blob),
}

impl Former {
    pub fn new(kind: u8, expire_ms: u64, value: &[u8], blob: Option<&Blob>) -> Former {
        let value = blob.map_or_else(|| Held::Own(value.into()), |blob| Held::Shared(blob.clone()));
        Former { kind, expire_ms, value }
    }

    pub fn found(&self) -> Found<'_> {
        let value = match &self.value {
            Held::Own(value) => value,
            Held::Shared(blob) => &blob[..],
        };
        Found { kind: self.kind, expire_ms: self.expire_ms, value }
    }

    fn bytes(&self) -> u64 {
        match &self.value {
            Held::Own(value) => value.len() as u64,
            Held::Shared(blob) => blob.memory_bytes(),
        }
    }
}

/// A row up to a cut.
struct Version {
    /// The last cut at which the row was this.
    until: CutId,
    db: u8,
    head: u64,
    key: Box<[u8]>,
    was: Option<Former>,
}

impl Version {
    fn row(&self) -> RowKey<'_> {
        RowKey { db: self.db, head: self.head, key: &self.key }
    }

    fn is_of(&self, row: RowKey<'_>) -> bool {
        self.row() == row
    }

    fn bytes(&self) -> u64 {
        let key = self.key.len() as u64;
        let in_order = if elements::is_elements(self.db) { ELEMENT_VERSION_BYTES + key } else { 0 };
        VERSION_BYTES + key + in_order + self.was.as_ref().map_or(0, Former::bytes)
    }
}

/// Where versions of a row are kept. Elements of one head may be many: all that are put at an end of a list have the same.
fn place_of(row: RowKey<'_>) -> u64 {
    match elements::is_elements(row.db) {
        true => hash_of(row.key, place(row.db, row.head)),
        false => place(row.db, row.head),
    }
}

/// A cut that somebody reads.
struct Open {
    /// When it was drawn here.
    now: Now,
    /// Rows of each database, but for those that come late: see [`cairn_storage::engine::Engine::rows_late`].
    rows: [i64; DATABASES],
    /// Counters of this shard that were split then, as databases and keys.
    splits: Vec<(u8, Vec<u8>)>,
}

/// All versions of a shard.
#[derive(Default)]
pub(crate) struct Versions {
    /// The newest cut that is read, and whether there is one.
    newest: CutId,
    cuts: BTreeMap<CutId, Open>,
    /// By [`place_of`], those of a row in the order of cuts.
    rows: Heads<Vec<Version>>,
    /// Heads of rows that were there, by database: the order in which who looks at all comes by.
    were: [BTreeSet<u64>; DATABASES],
    /// Elements that have versions, in their order: tree, head, key.
    elements: BTreeSet<(u8, u64, Box<[u8]>)>,
    /// The places of versions, by what they reach to.
    ends: BTreeMap<CutId, Vec<u64>>,
    /// Cuts that nobody reads, and up to which there are versions.
    loose: Vec<CutId>,
    bytes: u64,
    pub bytes_max: u64,
    /// The newest cut that elements of a collection have a version up to, by tree.
    changed: HashMap<(u8, CollectionId), CutId>,
    /// Cuts that have been given up for want of memory, or since their rows are gone, until that is told.
    lost: Vec<(CutId, &'static str)>,
}

/// Why a snapshot ends before its transaction.
const NO_MEMORY: &str = "what others have changed since it began is more than txn-snapshot-memory";
const CLEARED: &str = "a database was emptied or exchanged since it began";

impl Versions {
    /// Whether somebody reads a cut: what changes has to be kept.
    #[inline]
    pub fn are_wanted(&self) -> bool {
        self.newest != CutId(0)
    }

    /// Bytes of memory that they take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// From here on changes are behind this cut.
    pub fn open(&mut self, cut: CutId, now: Now, rows: [i64; DATABASES], splits: Vec<(u8, Vec<u8>)>) {
        assert!(cut > self.newest, "cuts are drawn in their order");
        self.newest = cut;
        self.cuts.insert(cut, Open { now, rows, splits });
    }

    /// When a cut was drawn, if it is read.
    pub fn drawn(&self, cut: CutId) -> Option<Now> {
        self.cuts.get(&cut).map(|open| open.now)
    }

    /// Rows of a database at a cut that is read, but for those that come late.
    pub fn row_count(&self, cut: CutId, db: u8) -> i64 {
        self.cuts[&cut].rows[usize::from(db)]
    }

    /// Whether this was a split counter of the shard at the cut.
    pub fn was_split(&self, cut: CutId, db: u8, key: &[u8]) -> bool {
        self.cuts.get(&cut).is_some_and(|open| open.splits.iter().any(|split| split.0 == db && split.1 == key))
    }

    /// Nobody reads the cut any more.
    pub fn close(&mut self, cut: CutId) {
        if self.cuts.remove(&cut).is_some() {
            self.newest = self.cuts.last_key_value().map_or(CutId(0), |(cut, _)| *cut);
            self.loose.extend(self.ends.contains_key(&cut).then_some(cut));
        }
    }

    /// The rows of a database are gone, and with them what they were.
    pub fn lose_all(&mut self) {
        while let Some((&cut, _)) = self.cuts.first_key_value() {
            self.lose(cut, CLEARED);
        }
    }

    fn lose(&mut self, cut: CutId, why: &'static str) {
        if self.cuts.contains_key(&cut) {
            self.close(cut);
            self.lost.push((cut, why));
        }
    }

    /// Cuts that were given up since this was asked last, and why.
    pub fn take_lost(&mut self) -> Vec<(CutId, &'static str)> {
        std::mem::take(&mut self.lost)
    }

    /// Whether a row that is about to change has no version up to the newest cut.
    pub fn misses(&self, row: RowKey<'_>) -> bool {
        let versions = self.rows.get(&place_of(row)).map_or(&[][..], |versions| versions);
        let last = versions.iter().rfind(|version| version.is_of(row));
        last.is_none_or(|version| version.until < self.newest)
    }

    /// A row was this up to the newest cut. Keeps V2.
    pub fn keep(&mut self, row: RowKey<'_>, was: Option<Former>) {
        let version = Version { until: self.newest, db: row.db, head: row.head, key: row.key.into(), was };
        if let Some(number) = elements::collection_of(row) {
            self.changed.insert((row.db, number), self.newest);
            self.elements.insert((row.db, row.head, row.key.into()));
        }
        if version.was.is_some()
            && let Some(were) = self.were.get_mut(usize::from(row.db))
        {
            were.insert(row.head);
        }
        let place = place_of(row);
        self.bytes += version.bytes();
        self.rows.entry(place).or_default().push(version);
        self.ends.entry(self.newest).or_default().push(place);
        while self.bytes > self.bytes_max {
            if self.has_loose() {
                self.free_some(VERSIONS_FREED_PER_CHANGE);
                return;
            }
            let Some((&oldest, _)) = self.cuts.first_key_value() else { return };
            self.lose(oldest, NO_MEMORY);
        }
    }

    /// Changes that are not in a cut that is being drawn, though they were made before: what the rows were, and how many.
    pub fn exclude(&mut self, cut: CutId, undo: &Undo) {
        self.keep_undo(undo);
        if let Some(open) = self.cuts.get_mut(&cut) {
            open.rows.iter_mut().zip(undo.grown()).for_each(|(rows, grown)| *rows -= grown);
        }
    }

    /// What rows were before changes that may be taken back little by little.
    pub fn keep_undo(&mut self, undo: &Undo) {
        for former in undo.rows() {
            match former {
                None => self.lose(self.newest, CLEARED),
                Some(former) if self.are_wanted() && self.misses(former.row) => {
                    let was =
                        former.was.map(|(kind, expire_ms, value, blob)| Former::new(kind, expire_ms, value, blob));
                    self.keep(former.row, was);
                }
                Some(_) => {}
            }
        }
    }

    /// What a row was at a cut that is read; `None` if it still is that. Keeps V1.
    pub fn find(&self, cut: CutId, row: RowKey<'_>) -> Option<Option<&Former>> {
        let versions = self.rows.get(&place_of(row))?;
        let version = versions.iter().find(|version| version.until >= cut && version.is_of(row))?;
        Some(version.was.as_ref())
    }

    /// From a head on, those of rows of a database that were there at some cut, and have versions.
    pub fn heads_from(&self, db: u8, head: u64) -> impl Iterator<Item = u64> {
        self.were[usize::from(db)].range(head..).copied()
    }

    /// How many heads these are in all.
    pub fn heads(&self, db: u8) -> u64 {
        self.were[usize::from(db)].len() as u64
    }

    /// Rows of a head that were there at a cut that is read, as far as they have versions: all others are what the tree has.
    pub fn were_at(&self, cut: CutId, db: u8, head: u64) -> impl Iterator<Item = (&[u8], &Former)> {
        let versions = self.rows.get(&place(db, head)).map_or(&[][..], |versions| versions);
        let reaching = versions.iter().enumerate().filter(move |(_, version)| version.db == db && version.until >= cut);
        let first = reaching.filter(move |(at, version)| {
            !versions[..*at].iter().any(|earlier| earlier.until >= cut && earlier.is_of(version.row()))
        });
        first.filter_map(|(_, version)| Some((&*version.key, version.was.as_ref()?)))
    }

    /// Elements of a collection that have versions, in their order, within bounds of head and key.
    pub fn elements(
        &self,
        tree: u8,
        number: CollectionId,
        from: Bound<RowKey<'_>>,
        to: Bound<RowKey<'_>>,
    ) -> impl DoubleEndedIterator<Item = RowKey<'_>> {
        let first = |number| (tree, elements::head_of(number, 0), Box::default());
        let owned = |row: RowKey<'_>| (tree, row.head, row.key.into());
        let from = if from == Bound::Unbounded { Bound::Included(first(number)) } else { from.map(owned) };
        let behind = CollectionId(number.0 + 1);
        let to = if to == Bound::Unbounded { Bound::Excluded(first(behind)) } else { to.map(owned) };
        self.elements.range((from, to)).map(|(db, head, key)| RowKey { db: *db, head: *head, key })
    }

    /// Whether elements of a collection have changed behind a cut that is read.
    pub fn has_changed(&self, cut: CutId, tree: u8, number: CollectionId) -> bool {
        self.changed.get(&(tree, number)).is_some_and(|until| *until >= cut)
    }

    /// Whether there are versions that may go.
    pub fn has_loose(&self) -> bool {
        !self.loose.is_empty()
    }

    /// Lets go of some versions that nobody needs any more. Keeps V3.
    pub fn free_some(&mut self, mut count: usize) {
        while let Some(&cut) = self.loose.last() {
            let Some(at) = self.ends.get_mut(&cut).and_then(Vec::pop) else {
                self.ends.remove(&cut);
                self.loose.pop();
                continue;
            };
            if count == 0 {
                self.ends.entry(cut).or_default().push(at);
                return;
            }
            count -= 1;
            self.settle(at, cut);
        }
        if self.rows.is_empty() && self.rows.capacity() > 0 {
            self.changed = HashMap::default();
            self.rows = Heads::default();
        }
    }

    /// The versions of a place that reach up to a cut which nobody reads reach to an earlier one that is read, or go.
    fn settle(&mut self, at: u64, cut: CutId) {
        let Some(versions) = self.rows.get_mut(&at) else { return };
        let mut index = 0;
        while index < versions.len() {
            let version = &versions[index];
            if version.until != cut {
                index += 1;
                continue;
            }
            let before = versions[..index].iter().rfind(|earlier| earlier.is_of(version.row()));
            let from = before.map_or(CutId(0), |earlier| earlier.until);
            match self.cuts.range(CutId(from.0 + 1)..=cut).next_back() {
                Some((&needed, _)) => {
                    versions[index].until = needed;
                    self.ends.entry(needed).or_default().push(at);
                    index += 1;
                }
                None => {
                    let gone = versions.remove(index);
                    self.bytes -= gone.bytes();
                    let is_left = |version: &Version| version.db == gone.db && version.was.is_some();
                    if let Some(were) = self.were.get_mut(usize::from(gone.db)) {
                        if !versions.iter().any(is_left) {
                            were.remove(&gone.head);
                        }
                    } else if !versions.iter().any(|version| version.is_of(gone.row())) {
                        self.elements.remove(&(gone.db, gone.head, gone.key));
                    }
                }
            }
        }
        if versions.is_empty() {
            self.rows.remove(&at);
        }
    }
}

#[cfg(test)]
mod tests;
