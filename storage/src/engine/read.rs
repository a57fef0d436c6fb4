//! Rows as they are.

use super::{Engine, RowKey, with_key};
use crate::blob::Blob;
use crate::error::Missing;
use crate::page::Key;
use crate::row::{self, Header};
use crate::tree::row_bytes;
use crate::units::ExtentId;
use std::ops::ControlFlow;

/// A row that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    pub kind: u8,
    /// Unix milliseconds, 0 for never.
    pub expire_ms: u64,
    pub value: &'a [u8],
}

impl Engine {
    /// A row as its leaf has it, or will have it.
    #[inline]
    pub(super) fn payload(&self, row: RowKey<'_>) -> Result<Option<&[u8]>, Missing> {
        if let Err(missing) = self.await_row(row) {
            return self.pending_payload(missing, row);
        }
        match with_key(&row, |key| self.rows[usize::from(row.db)].find(&self.pool, key)) {
            Err(missing) => self.deferred_payload(missing, row),
            Ok(found) if self.settling.is_overlaid() => self.overlaid_payload(row, found),
            found => found,
        }
    }

    /// The row of a key, be it past its time or not.
    #[inline]
    pub fn get(&self, row: RowKey<'_>) -> Result<Option<Found<'_>>, Missing> {
        match self.payload(row)? {
            Some(payload) => self.found(payload).map(Some),
            None => Ok(None),
        }
    }

    /// The same without its value, which need not be in memory: that of [`Found`] is empty.
    pub fn get_bare(&self, row: RowKey<'_>) -> Result<Option<Found<'_>>, Missing> {
        Ok(self.payload(row)?.map(bare))
    }

    /// The value of a row, shared, if it stands outside the leaves.
    pub fn blob(&self, row: RowKey<'_>) -> Result<Option<Blob>, Missing> {
        let Some(id) = self.payload(row)?.and_then(row::extent) else { return Ok(None) };
        Ok(Some(self.extents.get(id)?.value.clone()))
    }

    /// The value of an extent, if it is in memory: the row that it belonged to when it was asked for may be gone.
    pub fn extent_here(&self, id: ExtentId) -> Option<Blob> {
        self.extents.find(id).map(|extent| extent.value.clone())
    }

    #[inline]
    pub(super) fn found<'a>(&'a self, payload: &'a [u8]) -> Result<Found<'a>, Missing> {
        let (header, rest) = Header::decode(payload);
        let value = if header.is_outside { &self.extents.get(row::extent_of(rest))?.value[..] } else { rest };
        Ok(Found { kind: header.kind, expire_ms: header.expire_ms, value })
    }

    /// Reads ahead for a batch of keys (see [`crate::tree::Tree::touch`]). `absent` is told what a read of these keys
    /// would miss.
    pub fn touch(&self, db: u8, heads: &[u64], absent: impl FnMut(Missing)) {
        self.rows[usize::from(db)].touch(&self.pool, heads, absent);
    }

    /// Visits the rows of a database from `head` on, in the order of heads. `visit` gets head, key and row.
    pub fn scan(
        &self,
        db: u8,
        head: u64,
        mut visit: impl FnMut(u64, &[u8], Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), Missing> {
        self.scan_rows(db, head, |key, payload| {
            let full = self.full_key(key.tail, payload)?;
            Ok(visit(key.head, full, self.found(payload)?))
        })
    }

    /// The same without the values, which need not be in memory: that of [`Found`] is empty.
    pub fn scan_keys(
        &self,
        db: u8,
        head: u64,
        mut visit: impl FnMut(u64, &[u8], Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), Missing> {
        self.scan_rows(db, head, |key, payload| Ok(visit(key.head, self.full_key(key.tail, payload)?, bare(payload))))
    }

    /// Visits the rows of a database as the tree has them, until one says stop or needs what is absent.
    fn scan_rows(
        &self,
        db: u8,
        head: u64,
        mut visit: impl FnMut(Key<'_>, &[u8]) -> Result<ControlFlow<()>, Missing>,
    ) -> Result<(), Missing> {
        self.await_redo()?;
        self.await_overlaid()?;
        let mut missing = None;
        self.rows[usize::from(db)].scan(&self.pool, Key::of_head(head), |key, payload| {
            visit(key, payload).unwrap_or_else(|absent| {
                missing = Some(absent);
                ControlFlow::Break(())
            })
        })?;
        missing.map_or(Ok(()), Err)
    }

    /// A row of a database, chosen by 64 random bits: its key and itself, without its value.
    pub fn random(&self, db: u8, random: u64) -> Result<Option<(&[u8], Found<'_>)>, Missing> {
        self.await_redo()?;
        match self.rows[usize::from(db)].random(&self.pool, random)? {
            Some((key, payload)) => Ok(Some((self.full_key(key.tail, payload)?, bare(payload)))),
            None => Ok(None),
        }
    }

    pub(super) fn full_key<'a>(&'a self, tail: &'a [u8], payload: &[u8]) -> Result<&'a [u8], Missing> {
        if !row::is_long(tail) {
            return Ok(tail);
        }
        Ok(&self.extents.get(row::extent(payload).expect("a long key stands outside"))?.key)
    }

    /// Bytes of memory that a row takes: its share of a page, and its extent.
    pub fn row_bytes(&self, row: RowKey<'_>) -> Result<Option<u64>, Missing> {
        let Some(payload) = self.payload(row)? else { return Ok(None) };
        let outside = match row::extent(payload) {
            Some(id) => self.extents.get(id)?.memory_bytes(),
            None => 0,
        };
        Ok(Some(inside(row, payload) + outside))
    }
}

/// A row without its value.
fn bare(payload: &[u8]) -> Found<'_> {
    let header = Header::decode(payload).0;
    Found { kind: header.kind, expire_ms: header.expire_ms, value: &[] }
}

fn inside(row: RowKey<'_>, payload: &[u8]) -> u64 {
    (row_bytes(row.key.len().min(row::KEY_TAIL_BYTES_MAX + 1), payload.len()) + crate::page::ENTRY_BYTES) as u64
}
