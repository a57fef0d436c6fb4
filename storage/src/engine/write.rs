//! Changes of rows: resolve, then apply to the trees and append to the log.

use super::elements::{self, elements_of};
use super::read::Found;
use super::{Detached, Engine, RowKey, Stop, WRITE_PAGES_MAX, with_key};
use crate::blob::Blob;
use crate::error::Missing;
use crate::extent::Extent;
use crate::limits::PAGE_BYTES;
use crate::log::{Record, Removal};
use crate::page::Key;
use crate::row::{self, Header};
use crate::tree::{Path, row_fits};
use crate::units::{CollectionId, ExtentId, Lsn, PageId};
use std::sync::Arc;

/// A row that is about to be changed: where it is or would be, and what it is.
struct Resolved {
    path: Path,
    /// The header, the extent's number if it has one, and else the value's length.
    old: Option<(Header, Option<ExtentId>, usize)>,
}

impl Resolved {
    /// The row's kind says that it names a collection.
    #[inline]
    fn owns(&self) -> bool {
        self.old.is_some_and(|(header, ..)| header.kind & row::OWNS != 0)
    }
}

/// What a row is set to.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Bytes(&'a [u8]),
    /// What stands outside is this memory, not a copy.
    Shared(&'a Blob),
}

impl Value<'_> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Value::Bytes(bytes) => bytes,
            Value::Shared(blob) => blob,
        }
    }

    fn to_blob(self) -> Blob {
        match self {
            Value::Bytes(bytes) => Blob::new(bytes.to_vec()),
            Value::Shared(blob) => blob.clone(),
        }
    }
}

/// What becomes of the entry of the tree of deadlines that a row had.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entries {
    Moved,
    /// It stays until it is due (E1), if it is not in memory.
    MayStay,
}

impl Engine {
    /// The row is this from now on, whatever it was.
    #[inline]
    pub fn put(&mut self, row: RowKey<'_>, kind: u8, expire_ms: u64, value: &[u8]) -> Result<Lsn, Stop> {
        if value.len() > PAGE_BYTES {
            return self.put_long(row, kind, expire_ms, Value::Bytes(value));
        }
        self.await_row(row)?;
        self.admit_growth()?;
        self.make_room(value.len())?;
        self.keep(row)?;
        match self.apply_put(&row, kind, expire_ms, Value::Bytes(value)) {
            Err(Stop::Missing(missing)) if self.defer(missing, row, kind, expire_ms, value) => {}
            applied => applied?,
        }
        Ok(self.log.append(&Record::Put { db: row.db, kind, head: row.head, expire_ms, key: row.key, value }))
    }

    /// The same, of a value that becomes the row's without a copy.
    pub fn put_blob(&mut self, row: RowKey<'_>, kind: u8, expire_ms: u64, value: &Blob) -> Result<Lsn, Stop> {
        if value.len() <= PAGE_BYTES {
            return self.put(row, kind, expire_ms, value);
        }
        self.put_long(row, kind, expire_ms, Value::Shared(value))
    }

    #[cold]
    fn put_long(&mut self, row: RowKey<'_>, kind: u8, expire_ms: u64, value: Value<'_>) -> Result<Lsn, Stop> {
        let len = value.bytes().len();
        self.await_row(row)?;
        self.admit_growth()?;
        self.make_room(len)?;
        self.admit(len)?;
        self.keep(row)?;
        let blob = value.to_blob();
        self.apply_put(&row, kind, expire_ms, Value::Shared(&blob))?;
        let record = Record::Put { db: row.db, kind, head: row.head, expire_ms, key: row.key, value: &blob };
        Ok(self.log.append_blob(&record, &blob))
    }

    /// Overwrites bytes of a row's value, which grows, with zeros before `offset`, where it must. The row is there. `blob` is
    /// `bytes`, if they are shared.
    pub fn splice(&mut self, row: RowKey<'_>, offset: usize, bytes: &[u8], blob: Option<&Blob>) -> Result<Lsn, Stop> {
        self.await_row(row)?;
        self.admit_growth()?;
        self.make_room(bytes.len())?;
        if offset + bytes.len() > PAGE_BYTES {
            let len = self.get(row)?.map_or(0, |found| found.value.len());
            self.admit((offset + bytes.len()).saturating_sub(len))?;
        }
        self.keep(row)?;
        self.apply_splice(row, offset, bytes)?;
        let (RowKey { db, head, key }, offset) = (row, offset as u64);
        let record = Record::Splice { db, head, offset, key, bytes };
        Ok(match blob {
            None => self.log.append(&record),
            Some(blob) => self.log.append_blob(&record, blob),
        })
    }

    /// Changes when the row expires (0: never). Whether there is such a row; `None` if not.
    pub fn set_expiry(&mut self, row: RowKey<'_>, expire_ms: u64) -> Result<Option<Lsn>, Stop> {
        self.await_row(row)?;
        self.admit_growth()?;
        self.make_room(0)?;
        self.keep(row)?;
        if !self.apply_expiry(row, expire_ms)? {
            return Ok(None);
        }
        let RowKey { db, head, key } = row;
        Ok(Some(self.log.append(&Record::Expire { db, head, expire_ms, key })))
    }

    /// Removes the row; `None` if there is none.
    pub fn delete(&mut self, row: RowKey<'_>, removal: Removal) -> Result<Option<Lsn>, Stop> {
        self.await_row(row)?;
        self.make_room(0)?;
        self.keep(row)?;
        if !self.apply_delete(&row)? {
            return Ok(None);
        }
        let RowKey { db, head, key } = row;
        Ok(Some(self.log.append(&Record::Delete { db, removal, head, key })))
    }

    /// Removes all rows of a database, in constant time; what they took is freed by [`Engine::free_some`]. In a group that can
    /// be undone that waits for its decision, and nobody else may write to the database.
    pub fn clear(&mut self, db: u8) -> Result<Lsn, Stop> {
        if self.txns.is_keeping {
            self.clear_undoably(db);
        } else {
            self.cancel_redo(db);
            self.cancel_deferred(db);
            self.apply_clear(db);
        }
        Ok(self.log.append(&Record::Clear { db }))
    }

    /// Whether the elements of a database that are changed next stand beside each other: then they are not searched for one by one.
    #[inline]
    pub fn follow(&mut self, db: u8, follows: bool) {
        self.rows[usize::from(elements_of(db))].follow(follows);
    }

    /// In a group that can be undone: a row is about to change.
    #[inline]
    fn keep(&mut self, row: RowKey<'_>) -> Result<(), Stop> {
        if self.txns.is_keeping { self.keep_image(row) } else { Ok(()) }
    }

    fn resolve(&self, db: u8, key: Key<'_>) -> Result<Resolved, Stop> {
        let path = self.rows[usize::from(db)].resolve(&self.pool, key)?;
        Ok(self.resolved(db, path))
    }

    #[inline]
    fn resolved(&self, db: u8, path: Path) -> Resolved {
        let rows = &self.rows[usize::from(db)];
        let old = path.is_exact().then(|| {
            let (header, rest) = Header::decode(rows.payload(&self.pool, &path));
            let extent = header.is_outside.then(|| row::extent_of(rest));
            (header, extent, rest.len())
        });
        Resolved { path, old }
    }

    /// The number that a row names whose kind says that it does.
    #[cold]
    fn named(&self, db: u8, resolved: &Resolved) -> Result<Option<CollectionId>, Missing> {
        if !resolved.owns() {
            return Ok(None);
        }
        let found = self.found(self.rows[usize::from(db)].payload(&self.pool, &resolved.path))?;
        Ok(elements::number_of(found.kind, found.value))
    }

    /// Sees that what a write of this row needs is in memory.
    pub(super) fn prepare_write(&self, row: RowKey<'_>, expire_ms: u64) -> Result<(), Stop> {
        with_key(&row, |key| {
            let resolved = self.resolve(row.db, key)?;
            self.named(row.db, &resolved)?;
            let old_ms = resolved.old.map_or(0, |(header, ..)| header.expire_ms);
            Ok(self.prepare_deadline(row.db, row.head, old_ms, expire_ms).map(drop)?)
        })
    }

    /// The leaf that a row stands in, or would; and when it expires. An empty tree has no leaf.
    pub(super) fn leaf_of(&self, row: RowKey<'_>) -> Result<(Option<PageId>, u64), Stop> {
        with_key(&row, |key| {
            let Resolved { path, old } = self.resolve(row.db, key)?;
            let leaf = (path.levels > 0).then(|| path.leaf().page);
            Ok((leaf, old.map_or(0, |(header, ..)| header.expire_ms)))
        })
    }

    #[inline]
    pub(super) fn apply_put(
        &mut self,
        row: &RowKey<'_>,
        kind: u8,
        expire_ms: u64,
        value: Value<'_>,
    ) -> Result<(), Stop> {
        self.apply_put_over(row, kind, expire_ms, value, Entries::Moved)
    }

    #[inline(always)]
    pub(super) fn apply_put_over(
        &mut self,
        row: &RowKey<'_>,
        kind: u8,
        expire_ms: u64,
        value: Value<'_>,
        entries: Entries,
    ) -> Result<(), Stop> {
        with_key(row, |key| {
            let mut header = Header { kind, expire_ms, is_outside: false };
            let len = header.bytes() + value.bytes().len();
            let is_inside = row_fits(key.tail.len(), len) && !row::is_long(key.tail);
            let resolved = if is_inside {
                self.resolved(row.db, self.rows[usize::from(row.db)].resolve_replacement(&self.pool, key, len)?)
            } else {
                self.resolve(row.db, key)?
            };
            let is_owner = kind & row::OWNS != 0 || resolved.owns();
            let named = if is_owner { self.named(row.db, &resolved)? } else { None };
            let Resolved { path, old } = resolved;
            self.pool.reserve(WRITE_PAGES_MAX)?;
            let (old_expire_ms, old_extent) = old.map_or((0, None), |(header, extent, _)| (header.expire_ms, extent));
            // Keeps E1. The deadlines are another tree, so the path stays good.
            match self.move_deadline(row.db, row.head, old_expire_ms, expire_ms) {
                Err(Stop::Missing(_)) if entries == Entries::MayStay => self.leave_deadline(row.db),
                moved => moved?,
            }
            let db = usize::from(row.db);
            let number;
            if let Some(extent) = old_extent {
                self.remove_extent(row.db, extent);
            }
            let body = if is_inside {
                value.bytes()
            } else {
                header.is_outside = true;
                number = self.store_outside(*row, key, value).0.to_le_bytes();
                &number
            };
            let fill = |payload: &mut [u8]| header.encode(payload).copy_from_slice(body);
            let len = header.bytes() + body.len();
            if path.is_exact() {
                self.rows[db].replace_with(&mut self.pool, &path, len, fill)?;
            } else {
                self.rows[db].insert_with(&mut self.pool, &path, key, len, fill)?;
                self.counts.note(row.db, row.head, true);
            }
            if is_owner {
                self.note_owned(row.db, named, elements::number_of(kind, value.bytes()));
            }
            Ok(())
        })
    }

    #[cold]
    fn store_outside(&mut self, row: RowKey<'_>, key: Key<'_>, value: Value<'_>) -> ExtentId {
        let key = if row::is_long(key.tail) { row.key.into() } else { Arc::default() };
        self.outside[usize::from(row.db)] += 1;
        self.extents.insert(Extent { key, value: value.to_blob() }, self.pool.changes_in())
    }

    #[cold]
    fn remove_extent(&mut self, db: u8, extent: ExtentId) {
        self.outside[usize::from(db)] -= 1;
        self.drop_extent(extent);
    }

    pub(super) fn apply_splice(&mut self, row: RowKey<'_>, offset: usize, bytes: &[u8]) -> Result<(), Stop> {
        let end = offset + bytes.len();
        let grown = with_key(&row, |key| {
            let Resolved { path, old } = self.resolve(row.db, key)?;
            let (_, extent, len) = old.expect("only a row that is there is spliced");
            if let Some(extent) = extent {
                let len = self.extents.get(extent)?.value.len();
                self.extents.update(extent, self.pool.changes_in(), len.max(end), |value| {
                    value.resize(len.max(end), 0);
                    value[offset..end].copy_from_slice(bytes);
                });
                return Ok(None);
            }
            let payload = self.rows[usize::from(row.db)].payload_mut(&mut self.pool, &path);
            let start = payload.len() - len;
            if end <= len {
                payload[start + offset..start + end].copy_from_slice(bytes);
                return Ok(None);
            }
            let mut value = Vec::with_capacity(end);
            value.extend_from_slice(&payload[start..]);
            value.resize(end, 0);
            value[offset..].copy_from_slice(bytes);
            Ok::<_, Stop>(Some(value))
        })?;
        let Some(value) = grown else { return Ok(()) };
        let Found { kind, expire_ms, .. } = self.get(row)?.expect("it was there");
        let value = Blob::new(value);
        self.apply_put(&row, kind, expire_ms, Value::Shared(&value))
    }

    pub(super) fn apply_expiry(&mut self, row: RowKey<'_>, expire_ms: u64) -> Result<bool, Stop> {
        with_key(&row, |key| {
            let Resolved { path, old } = self.resolve(row.db, key)?;
            let Some((header, extent, len)) = old else { return Ok(false) };
            let new = Header { expire_ms, ..header };
            let db = usize::from(row.db);
            let body_len = if extent.is_some() { 4 } else { len };
            if !row_fits(key.tail.len(), new.bytes() + body_len) {
                // The value stood at the limit; with a time to live it has to stand outside.
                let value = self.rows[db].payload(&self.pool, &path)[header.bytes()..].to_vec();
                self.apply_put(&row, header.kind, expire_ms, Value::Bytes(&value))?;
                return Ok(true);
            }
            self.pool.reserve(WRITE_PAGES_MAX)?;
            self.move_deadline(row.db, row.head, header.expire_ms, expire_ms)?;
            if new.bytes() == header.bytes() {
                new.encode(self.rows[db].payload_mut(&mut self.pool, &path));
            } else {
                let body = self.rows[db].payload(&self.pool, &path)[header.bytes()..].to_vec();
                let fill = |payload: &mut [u8]| new.encode(payload).copy_from_slice(&body);
                self.rows[db].replace_with(&mut self.pool, &path, new.bytes() + body.len(), fill)?;
            }
            Ok(true)
        })
    }

    pub(super) fn apply_delete(&mut self, row: &RowKey<'_>) -> Result<bool, Stop> {
        with_key(row, |key| {
            let resolved = self.resolve(row.db, key)?;
            let named = if resolved.owns() { self.named(row.db, &resolved)? } else { None };
            let Resolved { path, old } = resolved;
            let Some((header, extent, _)) = old else { return Ok(false) };
            self.move_deadline(row.db, row.head, header.expire_ms, 0)?;
            if let Some(extent) = extent {
                self.remove_extent(row.db, extent);
            }
            self.rows[usize::from(row.db)].remove(&mut self.pool, &path);
            self.counts.note(row.db, row.head, false);
            if named.is_some() {
                self.note_owned(row.db, named, None);
            }
            Ok(true)
        })
    }

    pub(super) fn apply_clear(&mut self, db: u8) {
        self.detach_tree(db);
        self.detach_tree(elements_of(db));
        self.orphans.clear(db);
    }

    fn detach_tree(&mut self, tree: u8) {
        let db = usize::from(tree);
        let rows = self.rows[db].detach();
        self.counts.forget();
        let has_outside = std::mem::take(&mut self.outside[db]) > 0;
        self.detached.push(Detached { rows, has_outside });
        if std::mem::take(&mut self.expiring[db]) > 0 {
            self.drop_deadlines();
        }
    }
}
