//! Long bytes that several hold at once and nobody copies: the buffer that they were received in, an extent, the log until
//! it has written them, a checkpoint, a reply on its way out.
//!
//! What others hold is never changed: who wants to change it makes a copy first.

use std::ops::{Deref, Range};
use std::sync::{Arc, Weak};

/// A part of a buffer that is shared. A clone is the same memory.
#[derive(Clone, Debug, Default)]
pub struct Blob {
    buffer: Arc<Vec<u8>>,
    start: usize,
    end: usize,
}

/// The rest of a buffer, as one part of so many of it, above which a part is copied rather than keep all of it.
const WASTE_SHARE: usize = 8;

impl Blob {
    pub fn new(bytes: Vec<u8>) -> Blob {
        let end = bytes.len();
        Blob { buffer: Arc::new(bytes), start: 0, end }
    }

    /// `part`, kept by keeping the buffer that it stands in. `None` if it does not stand there, or is too small a part of it.
    pub fn within(buffer: &Arc<Vec<u8>>, part: &[u8]) -> Option<Blob> {
        let start = (part.as_ptr() as usize).checked_sub(buffer.as_ptr() as usize)?;
        let end = start.checked_add(part.len())?;
        let is_worth_it = buffer.capacity() - buffer.capacity() / WASTE_SHARE <= part.len();
        (end <= buffer.len() && is_worth_it).then(|| Blob { buffer: Arc::clone(buffer), start, end })
    }

    /// A part of this, which keeps all of it.
    pub fn part(&self, range: Range<usize>) -> Blob {
        assert!(range.start <= range.end && range.end <= self.len());
        Blob { buffer: Arc::clone(&self.buffer), start: self.start + range.start, end: self.start + range.end }
    }

    /// Where `rest` begins, if it is what this ends with: the same memory, not only the same bytes.
    pub fn position_of(&self, rest: &[u8]) -> Option<usize> {
        let at = self.len().checked_sub(rest.len())?;
        std::ptr::eq(&raw const self[at..], rest).then_some(at)
    }

    /// Changes the bytes, in place if nobody else holds them. `len` is how long they will be, as far as that is known.
    pub fn change(&mut self, len: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let Some(bytes) = Arc::get_mut(&mut self.buffer) else {
            let mut bytes = Vec::with_capacity(len.max(self.len()));
            bytes.extend_from_slice(self);
            change(&mut bytes);
            *self = Blob::new(bytes);
            return;
        };
        bytes.truncate(self.end);
        bytes.drain(..self.start);
        change(bytes);
        (self.start, self.end) = (0, bytes.len());
    }

    /// Whether somebody else holds it, or another part of its buffer.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.buffer) > 1
    }

    /// The way back to it, which keeps nothing.
    pub(crate) fn downgrade(&self) -> WeakBlob {
        WeakBlob { buffer: Arc::downgrade(&self.buffer), start: self.start, end: self.end }
    }

    /// Bytes of memory that it keeps.
    pub fn memory_bytes(&self) -> u64 {
        self.buffer.capacity() as u64
    }
}

/// A blob, as long as somebody else holds it.
#[derive(Debug)]
pub(crate) struct WeakBlob {
    buffer: Weak<Vec<u8>>,
    start: usize,
    end: usize,
}

impl WeakBlob {
    pub(crate) fn upgrade(&self) -> Option<Blob> {
        Some(Blob { buffer: self.buffer.upgrade()?, start: self.start, end: self.end })
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.buffer.strong_count() > 0
    }
}

impl Deref for Blob {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Blob) -> bool {
        **self == **other
    }
}

impl Eq for Blob {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_buffer_is_kept_without_a_copy() {
        let buffer = Arc::new([&b"SET k "[..], &[b'v'; 94]].concat());
        let value = &buffer[6..];
        let blob = Blob::within(&buffer, value).unwrap();
        assert!(std::ptr::eq(&raw const *blob, value));
        assert_eq!(blob.position_of(&value[10..]), Some(10));
        assert_eq!(blob.position_of(&value[..10]), None, "it ends elsewhere");
        assert_eq!(blob.position_of(&[b'v'; 84]), None, "other memory");
        assert_eq!(Blob::within(&buffer, &buffer[50..]), None, "half of it would be kept for nothing");
        assert_eq!(Blob::within(&buffer, &[b'v'; 94]), None, "it stands elsewhere");
        assert!(std::ptr::eq(&raw const *blob.part(10..20), &raw const buffer[16..26]));
    }

    #[test]
    fn what_others_hold_does_not_change() {
        let buffer = Arc::new([&b"SET k "[..], &[b'v'; 94]].concat());
        let mut blob = Blob::within(&buffer, &buffer[6..]).unwrap();
        drop(buffer);
        let before = blob.as_ptr();
        let other = blob.clone();
        blob.change(95, |bytes| bytes.push(b'w'));
        assert_eq!((&other[..], &blob[..94], blob[94]), (&[b'v'; 94][..], &[b'v'; 94][..], b'w'));
        assert_eq!(other.as_ptr(), before);
        // Alone, it is changed where it is.
        let mut alone = other;
        alone.change(94, |bytes| bytes[0] = b'w');
        assert_eq!((alone.len(), alone[0], alone[1], alone.memory_bytes()), (94, b'w', b'v', 100));
    }
}
