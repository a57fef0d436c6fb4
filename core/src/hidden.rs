//! Rows that no client's command looks at: the server's own data, in a database behind those of clients. They are rows like any other in
//! all else: in the log, in checkpoints, in transactions. FLUSHALL leaves them.
//!
//! | key | on which shards | value |
//! | --- | --- | --- |
//! | `functions` | all, the same | a version (8 bytes, little-endian), and what FUNCTION DUMP answers |
//! | `splits` | all | the keys of the shard's split counters: `crate::hot::registry` |
//! | `i` and a key | that of the key's slot | the record of IDEMPOTENT: digest (20 bytes), 1 if RESP3, the reply; it expires |

use crate::limits::HIDDEN_DB;
use crate::resp::replies::Replies;
use crate::route;
use crate::tx::RowLock;

/// The row of libraries.
pub const FUNCTIONS: &[u8] = b"functions";

/// The place of [`FUNCTIONS`]: the same on all shards, and in no slot of clients' interest.
pub fn functions_head(hash_seed: u64) -> u64 {
    route::head(0, FUNCTIONS, hash_seed)
}

/// The record of an idempotency key.
pub fn record_key(key: &[u8]) -> Vec<u8> {
    [b"i", key].concat()
}

/// Its place: in the key's own slot, but not where a row of clients that has this key is.
pub fn record_head(slot: u16, key: &[u8], hash_seed: u64) -> u64 {
    route::head(slot, &record_key(key), hash_seed)
}

/// A lock of a hidden row.
pub fn lock(head: u64, is_exclusive: bool) -> RowLock {
    RowLock { db: HIDDEN_DB, head, is_exclusive }
}

/// The bytes of an encoded bulk string; `None` if it is a null.
pub fn bulk_of(reply: &Replies) -> Option<Vec<u8>> {
    let bytes = reply.bytes();
    assert_eq!(bytes.first(), Some(&b'$'), "a row's value is a bulk string");
    if let Some((_, blob)) = reply.blobs().next() {
        return Some(blob.to_vec());
    }
    let line = memchr::memchr(b'\n', bytes).expect("a reply's line has an end") + 1;
    (bytes[1] != b'-').then(|| bytes[line..bytes.len() - 2].to_vec())
}
