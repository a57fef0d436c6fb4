//! Changes of rows: resolve, then apply to the trees and append to the log.

use super::read::Found;
use super::{Engine, RowKey, Stop, WRITE_PAGES_MAX, with_key};
use crate::extent::Extent;
use crate::log::{Record, Removal};
use crate::page::Key;
use crate::row::{self, Header};
use crate::tree::{Path, row_fits};
use crate::units::{ExtentId, Lsn};

/// A row that is about to be changed: where it is or would be, and what it is.
struct Resolved {
    path: Path,
    /// The header, the extent's number if it has one, and the value's length.
    old: Option<(Header, Option<ExtentId>, usize)>,
}

impl Engine {
    /// The row is this from now on, whatever it was.
    #[inline]
    pub fn put(&mut self, row: RowKey<'_>, kind: u8, expire_ms: u64, value: &[u8]) -> Result<Lsn, Stop> {
        self.apply_put(row, kind, expire_ms, value)?;
        Ok(self.log.append(&Record::Put { db: row.db, kind, head: row.head, expire_ms, key: row.key, value }))
    }

    /// Overwrites bytes of a row's value, which grows, with zeros before `offset`, where it must. The row is there.
    pub fn splice(&mut self, row: RowKey<'_>, offset: usize, bytes: &[u8]) -> Result<Lsn, Stop> {
        self.apply_splice(row, offset, bytes)?;
        let (RowKey { db, head, key }, offset) = (row, offset as u64);
        Ok(self.log.append(&Record::Splice { db, head, offset, key, bytes }))
    }

    /// Changes when the row expires (0: never). Whether there is such a row; `None` if not.
    pub fn set_expiry(&mut self, row: RowKey<'_>, expire_ms: u64) -> Result<Option<Lsn>, Stop> {
        if !self.apply_expiry(row, expire_ms)? {
            return Ok(None);
        }
        let RowKey { db, head, key } = row;
        Ok(Some(self.log.append(&Record::Expire { db, head, expire_ms, key })))
    }

    /// Removes the row; `None` if there is none.
    pub fn delete(&mut self, row: RowKey<'_>, removal: Removal) -> Result<Option<Lsn>, Stop> {
        if !self.apply_delete(row)? {
            return Ok(None);
        }
        let RowKey { db, head, key } = row;
        Ok(Some(self.log.append(&Record::Delete { db, removal, head, key })))
    }

    /// Removes all rows of a database. Time is proportional to the rows that expire and those with extents.
    pub fn clear(&mut self, db: u8) -> Result<Lsn, Stop> {
        self.apply_clear(db)?;
        Ok(self.log.append(&Record::Clear { db }))
    }

    fn resolve(&self, db: u8, key: Key<'_>) -> Result<Resolved, Stop> {
        let rows = &self.rows[usize::from(db)];
        let path = rows.resolve(&self.pool, key)?;
        let old = path.is_exact().then(|| {
            let (header, rest) = Header::decode(rows.payload(&self.pool, &path));
            let extent = header.is_outside.then(|| row::extent(rest));
            let len = extent.map_or(rest.len(), |extent| self.extents.get(extent).value.len());
            (header, extent, len)
        });
        Ok(Resolved { path, old })
    }

    #[inline]
    pub(super) fn apply_put(&mut self, row: RowKey<'_>, kind: u8, expire_ms: u64, value: &[u8]) -> Result<(), Stop> {
        with_key(row, |key| {
            let Resolved { path, old } = self.resolve(row.db, key)?;
            self.pool.reserve(WRITE_PAGES_MAX)?;
            let (old_expire_ms, old_extent) = old.map_or((0, None), |(header, extent, _)| (header.expire_ms, extent));
            // Keeps E1. The deadlines are another tree, so the path stays good.
            self.move_deadline(row.db, row.head, old_expire_ms, expire_ms)?;
            let mut header = Header { kind, expire_ms, is_outside: false };
            let is_inside = row_fits(key.tail.len(), header.bytes() + value.len()) && !row::is_long(key.tail);
            let db = usize::from(row.db);
            let number;
            let body = if is_inside {
                if let Some(extent) = old_extent {
                    self.extents.remove(extent);
                }
                value
            } else {
                header.is_outside = true;
                number = self.store_outside(row, key, old_extent, value).0.to_le_bytes();
                &number
            };
            let fill = |payload: &mut [u8]| header.encode(payload).copy_from_slice(body);
            let len = header.bytes() + body.len();
            if path.is_exact() {
                self.rows[db].replace_with(&mut self.pool, &path, len, fill)?;
            } else {
                self.rows[db].insert_with(&mut self.pool, &path, key, len, fill)?;
            }
            Ok(())
        })
    }

    #[cold]
    fn store_outside(&mut self, row: RowKey<'_>, key: Key<'_>, old: Option<ExtentId>, value: &[u8]) -> ExtentId {
        if let Some(extent) = old {
            self.extents.update(extent, |old| value.clone_into(old));
            return extent;
        }
        let key = if row::is_long(key.tail) { row.key.into() } else { Box::default() };
        self.extents.insert(Extent { key, value: value.to_vec() })
    }

    pub(super) fn apply_splice(&mut self, row: RowKey<'_>, offset: usize, bytes: &[u8]) -> Result<(), Stop> {
        let end = offset + bytes.len();
        let grown = with_key(row, |key| {
            let Resolved { path, old } = self.resolve(row.db, key)?;
            let (_, extent, len) = old.expect("only a row that is there is spliced");
            if let Some(extent) = extent {
                self.extents.update(extent, |value| {
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
        self.apply_put(row, kind, expire_ms, &value)
    }

    pub(super) fn apply_expiry(&mut self, row: RowKey<'_>, expire_ms: u64) -> Result<bool, Stop> {
        with_key(row, |key| {
            let Resolved { path, old } = self.resolve(row.db, key)?;
            let Some((header, extent, len)) = old else { return Ok(false) };
            let new = Header { expire_ms, ..header };
            let db = usize::from(row.db);
            let body_len = if extent.is_some() { 4 } else { len };
            if !row_fits(key.tail.len(), new.bytes() + body_len) {
                // The value stood at the limit; with a time to live it has to stand outside.
                let value = self.rows[db].payload(&self.pool, &path)[header.bytes()..].to_vec();
                self.apply_put(row, header.kind, expire_ms, &value)?;
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

    pub(super) fn apply_delete(&mut self, row: RowKey<'_>) -> Result<bool, Stop> {
        with_key(row, |key| {
            let Resolved { path, old } = self.resolve(row.db, key)?;
            let Some((header, extent, _)) = old else { return Ok(false) };
            self.move_deadline(row.db, row.head, header.expire_ms, 0)?;
            if let Some(extent) = extent {
                self.extents.remove(extent);
            }
            self.rows[usize::from(row.db)].remove(&mut self.pool, &path);
            Ok(true)
        })
    }

    pub(super) fn apply_clear(&mut self, db: u8) -> Result<(), Stop> {
        let (mut deadlines, mut extents) = (Vec::new(), Vec::new());
        let has_outside = !self.extents.is_empty();
        if has_outside || self.expiring_count(db) > 0 {
            self.rows[usize::from(db)].scan(&self.pool, Key::MIN, |key, payload| {
                let (header, rest) = Header::decode(payload);
                if header.expire_ms != 0 {
                    deadlines.push((key.head, header.expire_ms));
                }
                if header.is_outside {
                    extents.push(row::extent(rest));
                }
                std::ops::ControlFlow::Continue(())
            })?;
        }
        for (head, expire_ms) in deadlines {
            self.drop_deadline(db, head, expire_ms)?;
        }
        for extent in extents {
            self.extents.remove(extent);
        }
        let gone = self.rows[usize::from(db)].detach();
        self.detached.push(gone);
        self.expiring[usize::from(db)] = 0;
        Ok(())
    }
}
