//! How a row stands in a leaf: its key as the tree's tail, and the rest as the tree's payload.
//!
//! | at | bytes | payload (little-endian) |
//! | --- | --- | --- |
//! | 0 | 1 | bit 7: it expires; bit 6: key and value are in an extent; bits 0 to 5: the kind of value ([`OWNS`]) |
//! | 1 | 8 | only if it expires: when, in Unix milliseconds |
//! | .. | | the value, or the extent's number (4 bytes) |
//!
//! The tail is the key. A key beyond [`KEY_TAIL_BYTES_MAX`] has its first 480 bytes and its SHA-256 for a tail: that
//! has a length no other key's tail has, so two keys never share a tail.

use crate::limits::KEY_INLINE_BYTES_MAX;
use crate::units::ExtentId;
use sha2::{Digest, Sha256};

const EXPIRES: u8 = 1 << 7;
const OUTSIDE: u8 = 1 << 6;
/// In a kind of value: the row stands for rows of elements, and its value begins with the number of their collection (8 bytes,
/// little-endian).
pub const OWNS: u8 = 1 << 5;
/// The highest kind of value.
pub const KIND_MAX: u8 = OUTSIDE - 1;

const DIGEST_BYTES: usize = 32;

/// The longest key that is its own tail.
pub const KEY_TAIL_BYTES_MAX: usize = KEY_INLINE_BYTES_MAX - 1;

/// The tail of a key that is longer than [`KEY_TAIL_BYTES_MAX`].
pub struct LongTail([u8; KEY_INLINE_BYTES_MAX]);

impl LongTail {
    #[cold]
    pub fn new(key: &[u8]) -> LongTail {
        let mut tail = [0; KEY_INLINE_BYTES_MAX];
        let (beginning, digest) = tail.split_at_mut(KEY_INLINE_BYTES_MAX - DIGEST_BYTES);
        beginning.copy_from_slice(&key[..beginning.len()]);
        digest.copy_from_slice(&Sha256::digest(key));
        LongTail(tail)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Is this tail the beginning and digest of a longer key?
pub fn is_long(tail: &[u8]) -> bool {
    tail.len() > KEY_TAIL_BYTES_MAX
}

/// What stands in front of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: u8,
    /// Unix milliseconds, 0 for never.
    pub expire_ms: u64,
    pub is_outside: bool,
}

impl Header {
    #[inline]
    pub fn bytes(self) -> usize {
        if self.expire_ms == 0 { 1 } else { 9 }
    }

    /// Writes itself to the beginning of a payload; answers the rest of it.
    #[inline]
    pub fn encode(self, payload: &mut [u8]) -> &mut [u8] {
        debug_assert!(self.kind <= KIND_MAX);
        let outside = if self.is_outside { OUTSIDE } else { 0 };
        if self.expire_ms == 0 {
            payload[0] = self.kind | outside;
            return &mut payload[1..];
        }
        payload[0] = self.kind | outside | EXPIRES;
        payload[1..9].copy_from_slice(&self.expire_ms.to_le_bytes());
        &mut payload[9..]
    }

    /// The header of a payload, and what follows it.
    #[inline]
    pub fn decode(payload: &[u8]) -> (Header, &[u8]) {
        let flags = payload[0];
        let (expire_ms, rest) = match payload[1..].split_first_chunk::<8>() {
            Some((expire_ms, rest)) if flags & EXPIRES != 0 => (u64::from_le_bytes(*expire_ms), rest),
            _ => (0, &payload[1..]),
        };
        (Header { kind: flags & KIND_MAX, expire_ms, is_outside: flags & OUTSIDE != 0 }, rest)
    }
}

/// The extent that a payload refers to, if it does.
pub fn extent(payload: &[u8]) -> Option<ExtentId> {
    let (header, rest) = Header::decode(payload);
    header.is_outside.then(|| extent_of(rest))
}

/// The same, from what follows the header of a payload that does.
pub fn extent_of(rest: &[u8]) -> ExtentId {
    ExtentId(u32::from_le_bytes(*rest.first_chunk().expect("a row with an extent names it")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back() {
        for (kind, expire_ms, is_outside) in [(0, 0, false), (KIND_MAX, 1, true), (5, u64::MAX, false), (0, 0, true)] {
            let header = Header { kind, expire_ms, is_outside };
            let mut payload = vec![0; header.bytes() + 3];
            header.encode(&mut payload).copy_from_slice(b"abc");
            assert_eq!(Header::decode(&payload), (header, &b"abc"[..]));
        }
    }

    #[test]
    fn tails_of_long_keys_are_apart() {
        let key = vec![b'k'; KEY_TAIL_BYTES_MAX + 1];
        let mut other = key.clone();
        *other.last_mut().expect("it is not empty") = b'x';
        let (tail, other) = (LongTail::new(&key), LongTail::new(&other));
        assert!(is_long(tail.as_bytes()) && tail.as_bytes() != other.as_bytes());
        assert!(!is_long(&key[..KEY_TAIL_BYTES_MAX]));
    }
}
