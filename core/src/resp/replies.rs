//! Stop 10 of 10: encoded replies that have not left: bytes, and long values that stand between them without a copy.
//!
//! A *place* is an index of the bytes; a long value stands in front of the byte at its place, and never where a reply
//! begins or ends: its length is announced before it, and a line end follows.

use crate::limits::SLICE_APART_BYTES;
use cairn_storage::blob::Blob;
use std::collections::VecDeque;
use std::ops::Deref;

#[derive(Clone, Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    /// Long values and their places, ascending.
    blobs: VecDeque<(usize, Blob)>,
    blob_bytes: usize,
}

impl Replies {
    pub fn with_capacity(bytes: usize) -> Replies {
        Replies { bytes: Vec::with_capacity(bytes), ..Replies::default() }
    }

    /// The place behind the last byte.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes in all, those of long values included.
    #[inline]
    pub fn weight(&self) -> usize {
        self.bytes.len() + self.blob_bytes
    }

    /// The bytes without the long values.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn has_blobs(&self) -> bool {
        !self.blobs.is_empty()
    }

    /// The long values, each with its place.
    pub fn blobs(&self) -> impl Iterator<Item = (usize, &Blob)> {
        self.blobs.iter().map(|(at, blob)| (*at, blob))
    }

    /// Those behind a place.
    pub fn blobs_from(&self, place: usize) -> impl Iterator<Item = &Blob> {
        self.blobs.iter().filter(move |(at, _)| *at >= place).map(|(_, blob)| blob)
    }

    #[inline]
    pub fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A long value follows.
    pub fn push_blob(&mut self, blob: Blob) {
        self.blob_bytes += blob.len();
        self.blobs.push_back((self.bytes.len(), blob));
    }

    /// All bytes, long values in their places.
    pub fn flat(&self) -> Vec<u8> {
        let (mut flat, mut from) = (Vec::with_capacity(self.weight()), 0);
        for (at, blob) in self.blobs() {
            flat.extend_from_slice(&self.bytes[from..at]);
            flat.extend_from_slice(blob);
            from = at;
        }
        flat.extend_from_slice(&self.bytes[from..]);
        flat
    }

    pub fn append(&mut self, replies: Replies) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&replies.bytes);
        self.blobs.extend(replies.blobs.into_iter().map(|(at, blob)| (base + at, blob)));
        self.blob_bytes += replies.blob_bytes;
    }

    /// The same, of replies that stay.
    pub fn copy(&mut self, replies: &Replies) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&replies.bytes);
        self.blobs.extend(replies.blobs.iter().map(|(at, blob)| (base + at, blob.clone())));
        self.blob_bytes += replies.blob_bytes;
    }

    /// The same, of a part of a reply: a long one is not copied. Behind the last part is [`Replies::close`].
    pub fn append_apart(&mut self, part: Replies) {
        if part.len() < SLICE_APART_BYTES || part.has_blobs() || self.is_empty() {
            return self.append(part);
        }
        self.push_blob(Blob::new(part.bytes));
    }

    /// A reply ends here, which no long value does.
    pub fn close(&mut self) {
        let end = self.bytes.len();
        if self.blobs.back().is_some_and(|(at, _)| *at == end)
            && let Some((_, blob)) = self.blobs.pop_back()
        {
            self.blob_bytes -= blob.len();
            self.bytes.extend_from_slice(&blob);
        }
    }

    /// Everything from a place on goes.
    #[inline]
    pub fn truncate(&mut self, place: usize) {
        self.bytes.truncate(place);
        while self.blobs.back().is_some_and(|(at, _)| *at >= place) {
            self.blob_bytes -= self.blobs.pop_back().map_or(0, |(_, blob)| blob.len());
        }
    }

    /// Takes the first `len` bytes into `buffer`, which is empty: all of them by exchange, a part by copy. There is no long
    /// value among them.
    #[inline]
    pub(crate) fn take_bytes(&mut self, len: usize, mut buffer: Vec<u8>) -> Vec<u8> {
        if len == self.bytes.len() {
            std::mem::swap(&mut buffer, &mut self.bytes);
        } else {
            buffer.extend_from_slice(&self.bytes[..len]);
            self.drop_bytes(len);
        }
        buffer
    }

    /// The first `len` bytes are not needed any more.
    pub(crate) fn drop_bytes(&mut self, len: usize) {
        self.bytes.drain(..len);
        self.blobs.iter_mut().for_each(|(at, _)| *at -= len);
    }

    /// The place of the first long value.
    pub(crate) fn blob_place(&self) -> Option<usize> {
        self.blobs.front().map(|(at, _)| *at)
    }

    /// Takes the first long value out.
    pub(crate) fn take_blob(&mut self) -> Option<Blob> {
        let (_, blob) = self.blobs.pop_front()?;
        self.blob_bytes -= blob.len();
        Some(blob)
    }
}

impl From<Vec<u8>> for Replies {
    fn from(bytes: Vec<u8>) -> Replies {
        Replies { bytes, ..Replies::default() }
    }
}

impl Extend<u8> for Replies {
    fn extend<T: IntoIterator<Item = u8>>(&mut self, bytes: T) {
        self.bytes.extend(bytes);
    }
}

/// What one send takes with it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outgoing {
    Bytes(Vec<u8>),
    Blob(Blob),
}

impl Outgoing {
    /// It has been sent, or never will be: nothing of it is needed any more.
    pub fn clear(&mut self) {
        match self {
            Outgoing::Bytes(bytes) => bytes.clear(),
            Outgoing::Blob(_) => *self = Outgoing::default(),
        }
    }
}

impl From<Vec<u8>> for Outgoing {
    fn from(bytes: Vec<u8>) -> Outgoing {
        Outgoing::Bytes(bytes)
    }
}

impl Default for Outgoing {
    fn default() -> Outgoing {
        Outgoing::Bytes(Vec::new())
    }
}

impl Deref for Outgoing {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Outgoing::Bytes(bytes) => bytes,
            Outgoing::Blob(blob) => blob,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_takes_its_long_values_along() {
        let mut replies = Replies::default();
        replies.extend_from_slice(b"+OK\r\n$3\r\n");
        replies.push_blob(Blob::new(b"abc".to_vec()));
        replies.extend_from_slice(b"\r\n");
        let mark = replies.len();
        replies.extend_from_slice(b"$2\r\n");
        replies.push_blob(Blob::new(b"de".to_vec()));
        assert_eq!((replies.len(), replies.weight()), (mark + 4, mark + 9));
        replies.truncate(mark);
        assert_eq!((replies.len(), replies.weight(), replies.blob_place()), (mark, mark + 3, Some(mark - 2)));
        replies.drop_bytes(5);
        assert_eq!(replies.blob_place(), Some(4));
        let mut all = Replies::from(b":1\r\n".to_vec());
        all.append(replies);
        assert_eq!((all.blob_place(), all.weight()), (Some(8), 4 + 6 + 3));
    }
}
