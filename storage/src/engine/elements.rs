//! Elements of collections. A collection that is too large for its row has a *number*, which its row names; its elements are rows of a tree
//! that all collections of a database share, in the order of (number, order): `docs/decisions/0030-collections.md`.
//!
//! | head | tail | payload |
//! | --- | --- | --- |
//! | 0 | a number, 8 bytes, big-endian | none: its elements are to be removed, since no row names it |
//! | 1 | a number | the row that names it: its head (8 bytes, little-endian), its key |
//! | number, 40 bits; the first 3 bytes of the order | the rest of the order | an element's value |
//!
//! So an element is a row like any other: in the log, in checkpoints, in redo, in what undoes a group. The tree counts, so that elements are
//! found by rank too. Each collection has two numbers that follow each other, for those that need two orders.
//!
//! - **E10** While redo and groups are done with: a number that a row names has the key of that row beside it (head 1). A number without such a row is
//!   an *orphan*: on the list of these or, from a checkpoint on, in the tree (head 0), until its elements are gone.
//!   What is on the list need not be an orphan: it is looked at before anything is removed, and nothing is removed during a replay, where a row may
//!   be between two keys. A collection that is *begun* is made before its row names it: it is known as an orphan that is not removed yet, so that it is
//!   one after a crash; what replays a log takes all numbers that were given to rows for such.
//! - **E11** No number is given twice, and an element's head says which was.

use super::read::Found;
use super::write::Value;
use super::{Engine, RowKey, Stop, with_key};
use crate::counted::Cursor;
use crate::error::Missing;
use crate::limits::{COLLECTIONS_MAX, DATABASES, ORDER_HEAD_BITS, RECLAIMED_PER_TURN};
use crate::log::Record;
use crate::page::Key;
use crate::row::{self, Header};
use crate::tree::{Access, Tree};
use crate::units::CollectionId;
use std::ops::ControlFlow;

/// The bytes of an order that are part of the head: it has at least so many.
pub const ORDER_BYTES_MIN: usize = ORDER_HEAD_BITS as usize / 8;

const MARKERS: u64 = 0;
const OWNERS: u64 = 1;
/// The first number: its elements come behind [`MARKERS`] and [`OWNERS`].
const FIRST: u64 = 2;
/// Numbers of one collection.
const NUMBERS: u64 = 2;

/// The kinds of elements' rows: what comes behind it is found by rank or by order and read in order, so it may stand in a bundle
/// ([`crate::tree`]); or it stands by itself. One that has been in a bundle may have any kind but the latter.
pub const BUNDLED: u8 = 1;
pub const ALONE: u8 = 0;

/// Whether an element of this kind, with so long a value, may stand in a bundle.
#[inline]
pub const fn may_be_bundled(kind: u8, len: usize) -> bool {
    kind != ALONE && len < crate::tree::BUNDLED_BYTES_MAX
}

/// Whether a number is the first one of its collection.
pub const fn is_first_number(number: CollectionId) -> bool {
    number.0.is_multiple_of(NUMBERS)
}

/// The tree of the elements of a database's collections.
pub const fn elements_of(db: u8) -> u8 {
    db + DATABASES as u8
}

/// The database whose collections a tree has the elements of.
pub const fn database_of(tree: u8) -> u8 {
    tree - DATABASES as u8
}

/// Whether a tree is one of elements.
pub const fn is_elements(tree: u8) -> bool {
    tree as usize >= DATABASES
}

/// The trees of a shard, empty.
pub(super) fn trees<const N: usize>() -> [Tree; N] {
    std::array::from_fn(|tree| Tree::with_access(access(tree)))
}

/// What the rows of a tree are found by.
pub(super) fn access(tree: usize) -> Access {
    if tree < DATABASES { Access::Key } else { Access::KeyAndRank }
}

/// The row of an element. Orders are compared as bytes, up to their first 483.
pub fn element(db: u8, number: CollectionId, order: &[u8]) -> RowKey<'_> {
    let (first, rest) = order.split_first_chunk::<ORDER_BYTES_MIN>().expect("an order has its shortest length");
    let first = u64::from(first[0]) << 16 | u64::from(first[1]) << 8 | u64::from(first[2]);
    RowKey { db: elements_of(db), head: number.0 << ORDER_HEAD_BITS | first, key: rest }
}

/// The head of elements whose order begins so.
pub fn head_of(number: CollectionId, place: u64) -> u64 {
    number.0 << ORDER_HEAD_BITS | place
}

/// The order of the element that has this head and key.
pub fn order_of(head: u64, key: &[u8]) -> Vec<u8> {
    [&head.to_be_bytes()[8 - ORDER_BYTES_MIN..], key].concat()
}

/// The collection that an element's row is of; `None` if it is another row.
pub fn collection_of(row: RowKey<'_>) -> Option<CollectionId> {
    let number = row.head >> ORDER_HEAD_BITS;
    (is_elements(row.db) && number >= FIRST).then_some(CollectionId(number))
}

/// The row that says which row names a number: `tail` is [`owner_tail`].
pub fn owner(db: u8, tail: &[u8; 8]) -> RowKey<'_> {
    RowKey { db: elements_of(db), head: OWNERS, key: tail }
}

/// The key of [`owner`].
pub fn owner_tail(number: CollectionId) -> [u8; 8] {
    number.0.to_be_bytes()
}

fn marker(db: u8, tail: &[u8; 8]) -> RowKey<'_> {
    RowKey { db: elements_of(db), head: MARKERS, key: tail }
}

/// The number that a row's value names, if its kind says that it does.
#[inline]
pub fn number_of(kind: u8, value: &[u8]) -> Option<CollectionId> {
    if kind & row::OWNS == 0 {
        return None;
    }
    value.first_chunk().map(|number| CollectionId(u64::from_le_bytes(*number)))
}

impl Engine {
    /// A number for a new collection, and the next one. The caller writes the row that names it in the same group, and
    /// [`Engine::put_owner`].
    pub fn next_collection(&mut self) -> Result<CollectionId, Stop> {
        let number = self.collection.max(FIRST);
        if number > COLLECTIONS_MAX - NUMBERS {
            return Err(Stop::Outgrown);
        }
        self.collection = number + NUMBERS;
        Ok(CollectionId(number))
    }

    /// The same of a collection whose elements are put before its row names it, each by itself: nobody finds them before. Followed by
    /// [`Engine::end_collection`], whatever becomes of it; what is begun at a crash is an orphan.
    pub fn begin_collection(&mut self, row: RowKey<'_>) -> Result<CollectionId, Stop> {
        let number = self.next_collection()?;
        self.put_owner(row, number)?;
        self.orphans.begin((row.db, number));
        Ok(number)
    }

    /// A collection that was begun is named by its row, or never will be.
    pub fn end_collection(&mut self, db: u8, number: CollectionId) {
        self.orphans.end((db, number));
    }

    /// Collections that were begun, and not ended.
    pub fn collections_begun(&self) -> usize {
        self.orphans.begun.len()
    }

    pub fn is_begun(&self, db: u8, number: CollectionId) -> bool {
        self.orphans.begun.contains(&(db, number))
    }

    /// Notes which row names a collection: the row of [`owner`]. Keeps E10.
    pub fn put_owner(&mut self, row: RowKey<'_>, number: CollectionId) -> Result<(), Stop> {
        let value = [&row.head.to_le_bytes(), row.key].concat();
        self.put(owner(row.db, &owner_tail(number)), 0, 0, &value).map(drop)
    }

    /// What a record that is replayed says of numbers. Keeps E10 and E11.
    #[inline]
    pub(super) fn note_number(&mut self, record: &Record<'_>) {
        let Record::Put { db, head, key, .. } = record else { return };
        if !is_elements(*db) {
            return;
        }
        let number = match (*head, key.first_chunk()) {
            (OWNERS, Some(number)) => u64::from_be_bytes(*number),
            (MARKERS | OWNERS, _) => return,
            (element, _) => element >> ORDER_HEAD_BITS,
        };
        self.collection = self.collection.max(number - number % NUMBERS + NUMBERS);
        if *head == OWNERS {
            // It may have been begun and no more.
            self.orphans.add((database_of(*db), CollectionId(number)), false);
        }
    }

    /// The row that names it, or none, is what `old` was, and `new` is. Keeps E10.
    #[cold]
    pub(super) fn note_owned(&mut self, db: u8, old: Option<CollectionId>, new: Option<CollectionId>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.orphans.add((db, old), false);
        }
    }

    /// Keeps E4 for the elements of a collection.
    #[inline]
    fn await_elements(&self, db: u8, number: CollectionId) -> Result<(), Missing> {
        match &self.redo {
            None => Ok(()),
            Some(pending) => {
                let heads = number.0 << ORDER_HEAD_BITS..(number.0 + 1) << ORDER_HEAD_BITS;
                pending.find_between(elements_of(db), heads).map_or(Ok(()), |first| Err(Missing::Pending(first)))
            }
        }
    }

    /// How many elements of a collection are before this order, and whether it is one's.
    pub fn element_rank(&self, db: u8, number: CollectionId, order: &[u8]) -> Result<(u64, bool), Missing> {
        self.await_elements(db, number)?;
        let tree = &self.rows[usize::from(elements_of(db))];
        let (rank, is_there) = with_key(&element(db, number, order), |key| tree.rank(&self.pool, key))?;
        Ok((rank - self.element_first(db, number)?, is_there))
    }

    /// Elements of a collection.
    pub fn element_count(&self, db: u8, number: CollectionId) -> Result<u64, Missing> {
        self.await_elements(db, number)?;
        if let Some(count) = self.counts.get(elements_of(db), number) {
            return Ok(count);
        }
        let first = self.element_first(db, number)?;
        let count = self.element_first(db, CollectionId(number.0 + 1))? - first;
        self.counts.set(elements_of(db), number, count);
        Ok(count)
    }

    /// The rank in its tree that the first element of a number has, or would have.
    fn element_first(&self, db: u8, number: CollectionId) -> Result<u64, Missing> {
        let tree = &self.rows[usize::from(elements_of(db))];
        Ok(tree.rank(&self.pool, Key::of_head(number.0 << ORDER_HEAD_BITS))?.0)
    }

    /// Visits the elements of a collection from a rank on, in order: order's head, the rest of the order, and the element. When something is
    /// missing some may have been visited: the call begins anew.
    pub fn elements_from(
        &self,
        db: u8,
        number: CollectionId,
        rank: u64,
        mut visit: impl FnMut(u64, &[u8], Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), Missing> {
        self.await_elements(db, number)?;
        let tree = &self.rows[usize::from(elements_of(db))];
        let mut missing = None;
        if rank == 0 {
            let first = Key::of_head(number.0 << ORDER_HEAD_BITS);
            tree.scan(&self.pool, first, |key, payload| self.show(number, key, payload, &mut missing, &mut visit))?;
            return missing.map_or(Ok(()), Err);
        }
        let mut cursor = Cursor::new(self.element_first(db, number)? + rank);
        tree.forward(&self.pool, &mut cursor, |key, payload| {
            self.show(number, key, payload, &mut missing, &mut visit)
        })?;
        missing.map_or(Ok(()), Err)
    }

    /// The same in the other direction, from the element before `rank` on.
    pub fn elements_before(
        &self,
        db: u8,
        number: CollectionId,
        rank: u64,
        mut visit: impl FnMut(u64, &[u8], Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), Missing> {
        if self.counts.get(elements_of(db), number) == Some(rank) {
            return self.elements_back(db, number, visit);
        }
        self.await_elements(db, number)?;
        let mut cursor = Cursor::new(self.element_first(db, number)? + rank);
        let tree = &self.rows[usize::from(elements_of(db))];
        let mut missing = None;
        tree.backward(&self.pool, &mut cursor, |key, payload| {
            self.show(number, key, payload, &mut missing, &mut visit)
        })?;
        missing.map_or(Ok(()), Err)
    }

    /// The same from the last element on.
    pub fn elements_back(
        &self,
        db: u8,
        number: CollectionId,
        mut visit: impl FnMut(u64, &[u8], Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), Missing> {
        self.await_elements(db, number)?;
        let tree = &self.rows[usize::from(elements_of(db))];
        let mut missing = None;
        let behind = Key::of_head((number.0 + 1) << ORDER_HEAD_BITS);
        tree.scan_back(&self.pool, behind, |key, payload| self.show(number, key, payload, &mut missing, &mut visit))?;
        missing.map_or(Ok(()), Err)
    }

    fn show(
        &self,
        number: CollectionId,
        key: Key<'_>,
        payload: &[u8],
        missing: &mut Option<Missing>,
        visit: &mut impl FnMut(u64, &[u8], Found<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if key.head >> ORDER_HEAD_BITS != number.0 {
            return ControlFlow::Break(());
        }
        let shown = self.full_key(key.tail, payload).and_then(|full| Ok((full, self.found(payload)?)));
        match shown {
            Ok((full, found)) => visit(key.head, full, found),
            Err(absent) => {
                *missing = Some(absent);
                ControlFlow::Break(())
            }
        }
    }

    /// Collections that are gone, as far as is known, and whose elements are not.
    pub fn collections_gone(&self) -> usize {
        self.orphans.queue.len() + self.orphans.unread.len()
    }

    /// Whether somebody may look at elements of collections that are gone: they stay as long.
    pub fn hold_elements(&mut self, are_held: bool) {
        self.orphans.are_held = are_held;
    }

    /// Removes some elements of collections that are gone. Whether there are more that can go now.
    pub(super) fn reclaim_some(&mut self) -> Result<bool, Missing> {
        if self.redo.is_some() || self.is_in_group || self.undecided() > 0 || self.orphans.are_held {
            return Ok(false);
        }
        if let Some(&db) = self.orphans.unread.last() {
            self.read_markers(db)?;
            self.orphans.unread.pop();
            return Ok(true);
        }
        let mut left = RECLAIMED_PER_TURN;
        while let Some(&(db, number)) = self.orphans.queue.front() {
            let tail = owner_tail(number);
            let is_over = match self.is_owned(db, number)? {
                true => true,
                false => match self.reclaim(db, number, &mut left) {
                    Ok(is_over) => is_over && self.drop_element(owner(db, &tail))?,
                    Err(Stop::Missing(missing)) => return Err(missing),
                    // Others free memory first.
                    Err(_) => return Ok(false),
                },
            };
            if !is_over || !self.drop_element(marker(db, &tail))? {
                return Ok(left == 0);
            }
            self.orphans.pop();
            left = left.saturating_sub(1);
            if left == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes from the tree what a checkpoint has said.
    fn read_markers(&mut self, db: u8) -> Result<(), Missing> {
        let mut numbers = Vec::new();
        self.rows[usize::from(elements_of(db))].scan(&self.pool, Key::of_head(MARKERS), |key, _| {
            if key.head != MARKERS {
                return ControlFlow::Break(());
            }
            numbers.extend(key.tail.first_chunk().map(|number| CollectionId(u64::from_be_bytes(*number))));
            ControlFlow::Continue(())
        })?;
        numbers.into_iter().for_each(|number| self.orphans.add((db, number), true));
        Ok(())
    }

    /// Whether a row names this number.
    fn is_owned(&self, db: u8, number: CollectionId) -> Result<bool, Missing> {
        Ok(self.owner_of(db, number)?.is_some_and(|(_, names)| names))
    }

    /// The row that names a number, or did, and whether it does.
    pub fn owner_of(&self, db: u8, number: CollectionId) -> Result<Option<(RowKey<'_>, bool)>, Missing> {
        let Some(found) = self.get(owner(db, &owner_tail(number)))? else { return Ok(None) };
        let Some((head, key)) = found.value.split_first_chunk() else { return Ok(None) };
        let row = RowKey { db, head: u64::from_le_bytes(*head), key };
        let named = self.get(row)?;
        Ok(Some((row, named.is_some_and(|found| number_of(found.kind, found.value) == Some(number)))))
    }

    /// Removes some elements, at most about `most`. Whether none are left.
    fn reclaim(&mut self, db: u8, number: CollectionId, most: &mut u64) -> Result<bool, Stop> {
        self.make_room(0)?;
        let at = usize::from(elements_of(db));
        let (first, behind) =
            (self.element_first(db, number)?, self.element_first(db, CollectionId(number.0 + NUMBERS))?);
        let mut left = behind - first;
        while left > 0 && *most > 0 {
            let (mut extents, mut expiring) = (Vec::new(), 0);
            let path = self.rows[at].resolve_rank(&self.pool, first)?;
            let rows = usize::try_from(left).unwrap_or(usize::MAX);
            let gone = self.rows[at].remove_run(&mut self.pool, &path, rows, |_, payload| {
                let header = Header::decode(payload).0;
                extents.extend(row::extent(payload));
                // What stands for them among the deadlines goes when it is due (E1).
                expiring += u64::from(header.expire_ms != 0);
            });
            self.expiring[at] -= expiring;
            self.outside[at] -= extents.len() as u64;
            extents.into_iter().for_each(|extent| self.drop_extent(extent));
            left -= gone as u64;
            *most = most.saturating_sub(gone as u64);
        }
        self.counts.forget();
        Ok(left == 0)
    }

    /// Removes a row of a tree of elements without the log. `false`: not now.
    fn drop_element(&mut self, row: RowKey<'_>) -> Result<bool, Missing> {
        match self.make_room(0).and_then(|()| self.apply_delete(&row)) {
            Ok(_) => Ok(true),
            Err(Stop::Missing(missing)) => Err(missing),
            Err(_) => Ok(false),
        }
    }

    /// A checkpoint is wanted: the trees say what the list does. Whether they do. Keeps E10.
    pub(super) fn mark_orphans(&mut self) -> bool {
        while let Some(&(db, number)) = self.orphans.unmarked.last() {
            let tail = owner_tail(number);
            let is_known = self.orphans.known.contains_key(&(db, number));
            let put = match is_known {
                true => self.make_room(0).and_then(|()| self.apply_put(&marker(db, &tail), 0, 0, Value::Bytes(&[]))),
                // It has gone meanwhile.
                false => Ok(()),
            };
            match put {
                Ok(()) => {
                    self.orphans.known.entry((db, number)).and_modify(|is_marked| *is_marked = true);
                    self.orphans.unmarked.pop();
                }
                Err(Stop::Missing(missing)) => {
                    self.orphans.missing = Some(missing);
                    return false;
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// Checks E10 for the elements of a database, which are all in memory.
    pub(super) fn check_elements(&self, db: u8) -> Result<(), String> {
        let mut numbers = Vec::new();
        let tree = &self.rows[usize::from(elements_of(db))];
        let visited = tree.scan(&self.pool, Key::MIN, |key, _| {
            let number = key.head >> ORDER_HEAD_BITS;
            if number >= FIRST && numbers.last() != Some(&(number - number % NUMBERS)) {
                numbers.push(number - number % NUMBERS);
            }
            ControlFlow::Continue(())
        });
        visited.map_err(|missing| format!("{missing:?}"))?;
        for (tree, number, count) in self.counts.iter().filter(|(tree, ..)| *tree == elements_of(db)) {
            let rank =
                |number: u64| self.element_first(db, CollectionId(number)).map_err(|missing| format!("{missing:?}"));
            if rank(number.0 + 1)? - rank(number.0)? != count {
                return Err(format!(
                    "tree {tree}: collection {number} has not {count} elements, as is said to be known (E12)"
                ));
            }
        }
        for number in numbers.into_iter().map(CollectionId) {
            let is_marked = self.get(marker(db, &owner_tail(number))).is_ok_and(|found| found.is_some());
            let is_orphan = self.orphans.known.contains_key(&(db, number));
            let is_owned = match self.is_owned(db, number) {
                // A long key stands outside, and need not be in memory.
                Err(Missing::Extent(_)) => true,
                owned => owned.map_err(|missing| format!("{missing:?}"))?,
            };
            if !is_owned && !is_marked && !is_orphan {
                return Err(format!("elements of database {db}: nothing names collection {number}"));
            }
            if number.0 >= self.collection {
                return Err(format!("elements of database {db}: collection {number} may be given again"));
            }
        }
        Ok(())
    }
}
