//! Rows as they are.

use super::{Engine, RowKey, with_key};
use crate::error::Missing;
use crate::page::Key;
use crate::row::{self, Header};
use crate::tree::row_bytes;
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
    /// The row of a key, be it past its time or not.
    #[inline]
    pub fn get(&self, row: RowKey<'_>) -> Result<Option<Found<'_>>, Missing> {
        let payload = with_key(row, |key| self.rows[usize::from(row.db)].find(&self.pool, key))?;
        Ok(payload.map(|payload| self.found(payload)))
    }

    #[inline]
    pub(super) fn found<'a>(&'a self, payload: &'a [u8]) -> Found<'a> {
        let (header, rest) = Header::decode(payload);
        let value = if header.is_outside { &self.extents.get(row::extent(rest)).value[..] } else { rest };
        Found { kind: header.kind, expire_ms: header.expire_ms, value }
    }

    /// Reads ahead for a batch of keys (see [`crate::tree::Tree::touch`]).
    pub fn touch(&self, db: u8, heads: &[u64]) {
        self.rows[usize::from(db)].touch(&self.pool, heads, |_| {});
    }

    /// Visits the rows of a database from `head` on, in the order of heads. `visit` gets head, key and row.
    pub fn scan(
        &self,
        db: u8,
        head: u64,
        mut visit: impl FnMut(u64, &[u8], Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), Missing> {
        self.rows[usize::from(db)].scan(&self.pool, Key::of_head(head), |key, payload| {
            visit(key.head, self.full_key(key.tail, payload), self.found(payload))
        })
    }

    /// A row of a database, chosen by 64 random bits: its key and itself.
    pub fn random(&self, db: u8, random: u64) -> Result<Option<(&[u8], Found<'_>)>, Missing> {
        let chosen = self.rows[usize::from(db)].random(&self.pool, random)?;
        Ok(chosen.map(|(key, payload)| (self.full_key(key.tail, payload), self.found(payload))))
    }

    fn full_key<'a>(&'a self, tail: &'a [u8], payload: &[u8]) -> &'a [u8] {
        if row::is_long(tail) { &self.extents.get(row::extent(Header::decode(payload).1)).key } else { tail }
    }

    /// Bytes of memory that a row takes: its share of a page, and its extent.
    pub fn row_bytes(&self, row: RowKey<'_>) -> Result<Option<u64>, Missing> {
        let payload = with_key(row, |key| self.rows[usize::from(row.db)].find(&self.pool, key))?;
        Ok(payload.map(|payload| {
            let (header, rest) = Header::decode(payload);
            let outside =
                if header.is_outside { self.extents.get(row::extent(rest)) } else { return inside(row, payload) };
            inside(row, payload) + (outside.key.len() + outside.value.capacity()) as u64
        }))
    }
}

fn inside(row: RowKey<'_>, payload: &[u8]) -> u64 {
    (row_bytes(row.key.len().min(row::KEY_TAIL_BYTES_MAX + 1), payload.len()) + crate::page::ENTRY_BYTES) as u64
}
