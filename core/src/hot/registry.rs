//! The list of a shard's split counters, as it stands in its tree and its log: one of the rows that no client sees
//! (`crate::hidden`).
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | 1, the version of this format |
//! | 1 | a database |
//! | 2 | the length of a key, big-endian |
//! | ... | the key; database, length and key repeat to the end |
//!
//! Valid: every length fits, and the end is the end of a key.

use crate::limits::HIDDEN_DB;
use cairn_storage::engine::RowKey;

const VERSION: u8 = 1;

/// Where the list stands.
pub const ROW: RowKey<'static> = RowKey { db: HIDDEN_DB, head: 0, key: b"splits" };

/// Behind the last head that a key can have.
const BEHIND: u64 = 1 << 62;

/// A place of its own for a key beside that of its row: for locks of what is about the key and not about the row.
pub fn shadow(head: u64) -> u64 {
    head | BEHIND
}

/// Databases and keys as the row has them. Keys have at most [`crate::limits::HOT_KEY_BYTES_MAX`] bytes.
pub fn encode<'a>(counters: impl Iterator<Item = (u8, &'a [u8])>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for (db, key) in counters {
        bytes.push(db);
        bytes.extend((key.len() as u16).to_be_bytes());
        bytes.extend(key);
    }
    bytes
}

/// `None`: that is no such list.
pub fn decode(bytes: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut rest = bytes.strip_prefix(&[VERSION])?;
    let mut counters = Vec::new();
    while let Some((&[db, high, low], behind)) = rest.split_first_chunk() {
        let (key, behind) = behind.split_at_checked(u16::from_be_bytes([high, low]).into())?;
        counters.push((db, key.to_vec()));
        rest = behind;
    }
    rest.is_empty().then_some(counters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_refused() {
        let counters = [(0u8, &b"a"[..]), (15, b""), (3, &[b'k'; 256])];
        let bytes = encode(counters.into_iter());
        let read = decode(&bytes).unwrap();
        assert!(read.iter().map(|(db, key)| (*db, key.as_slice())).eq(counters));
        let whole = [1, 5, 8];
        for len in 0..bytes.len() {
            let is_whole = decode(&bytes[..len]).is_some();
            assert_eq!(is_whole, whole.contains(&len), "{len}");
        }
        assert_eq!(decode(&[2]), None);
    }
}
