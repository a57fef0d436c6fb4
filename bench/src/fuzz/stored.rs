//! What reads bytes from a disk, in `storage`. Checksums are made to hold, so that what they guard is met too.
//!
//! | target | reads | and goes back |
//! | --- | --- | --- |
//! | `record` | an archive of the log | the record, archived again |
//! | `flush` | a flush's header | the header, encoded again |
//! | `page` | the image of a leaf or a branch, for people and as a tree does | each entry of a leaf whose heads ascend is found |
//! | `map` | a page of the map of pages or of extents | |
//! | `superblock` | what a checkpoint is | the superblock, encoded again |

use super::Target;
use cairn_storage::check::{ShownEntries, entries_of, find_in};
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::log::flush::{Flush, flush_bytes};
use cairn_storage::log::{LogConfig, Record, Removal};
use cairn_storage::page::{Kind, specimen};
use cairn_storage::pagefile::superblock::{seal, unmixed};
use cairn_storage::pagefile::{MapRoot, Superblock, TreeRoot, map_words};
use cairn_storage::units::{Epoch, Incarnation, Lsn, ShardId};

pub fn targets() -> Vec<Target> {
    vec![
        Target { name: "record", corpus: records, run: decode_record },
        Target { name: "flush", corpus: flushes, run: decode_flush },
        Target { name: "page", corpus: pages, run: read_page },
        Target { name: "map", corpus: maps, run: read_map },
        Target { name: "superblock", corpus: superblocks, run: decode_superblock },
    ]
}

fn records() -> Vec<Vec<u8>> {
    let (head, key, db) = (0x1234_5678_9abc, &b"key"[..], 3);
    let records = [
        Record::Put { db, kind: 4, head, expire_ms: 1_700_000_000_000, key, value: &[7; 300] },
        Record::Splice { db, head, offset: 1 << 20, key, bytes: b"bytes" },
        Record::Expire { db, head, expire_ms: 0, key },
        Record::Delete { db, removal: Removal::Expired, head, key },
        Record::Clear { db },
        Record::GroupBegin,
        Record::GroupEnd,
        Record::TxnBegin { coordinator: 1, number: 7, participants: &[1, 0, 2, 0] },
        Record::TxnDone { coordinator: 1, number: 7 },
        Record::Swap { one: 1, other: 2 },
    ];
    records.iter().map(Record::to_archive).collect()
}

fn decode_record(input: &[u8]) {
    // An archive is aligned in the log.
    if let Some(record) = Record::decode(input) {
        let archive = record.to_archive();
        assert_eq!(archive.len(), record.archive_bytes());
        assert_eq!(Record::decode(&archive), Some(record));
    }
}

const LOG: LogConfig = LogConfig { shard: ShardId(1), segment_bytes: 1 << 20, salt: 5, epoch: Epoch(1), planted: None };

fn flushes() -> Vec<Vec<u8>> {
    let flush = |payload: u32, carry| {
        let (lsn, durable) = (Lsn(1 << 20), Lsn(4096));
        let flush =
            Flush { shard: LOG.shard, incarnation: Incarnation(3), epoch: LOG.epoch, lsn, durable, payload, carry };
        let mut buffer = vec![0x5a; flush_bytes(payload as usize)];
        flush.encode(LOG.salt, &mut buffer);
        buffer
    };
    vec![flush(0, 0), flush(100, 0), flush(5000, 17)]
}

fn decode_flush(input: &[u8]) {
    if input.len() >= 4096 {
        let _ = Flush::claim(&LOG, Lsn(1 << 20), 1 << 20, input);
    }
    if let Ok(flush) = Flush::decode(&LOG, input) {
        let mut buffer = input.to_vec();
        buffer.resize(flush_bytes(flush.payload as usize), 0);
        flush.encode(LOG.salt, &mut buffer);
        let again = Flush::decode(&LOG, &buffer).map(|again| (again.lsn, again.payload, again.carry));
        assert_eq!(again, Ok((flush.lsn, flush.payload, flush.carry)));
    }
}

/// Bytes of an input that stand at a page's end: entries' bytes. Those before them stand at its beginning, zeros between.
const HEAP_BYTES: usize = 160;

/// Pages of the tree that a branch is of.
const PAGES: usize = 1000;

fn pages() -> Vec<Vec<u8>> {
    let rows: &[(u64, &[u8], &[u8])] = &[
        (7, b"key", b"\x00value"),
        (7, b"other key", b"\x80\x10\x27\0\0\0\0\0\0with a deadline"),
        (9, b"outside", b"\x40\x05\0\0\0"),
        (1 << 40, b"", b""),
        (u64::MAX, b"last", b"\x21\x01\0\0\0\0\0\0\0"),
    ];
    let children: &[(u64, &[u8], &[u8])] =
        &[(0, b"", &[2, 0, 0, 0]), (9, b"a", &[3, 0, 0, 0]), (9, b"b", &[231, 3, 0, 0])];
    let all =
        [specimen(Kind::Leaf, rows), specimen(Kind::Branch, children), specimen(Kind::Counted, children), bundles()];
    // Header and slots, and the end of the heap.
    all.iter().map(|page| [&page[..32 + 24 * rows.len()], &page[PAGE_BYTES - HEAP_BYTES..]].concat()).collect()
}

/// A leaf whose second entry is a bundle of three rows.
fn bundles() -> Vec<u8> {
    let three = [1, 0x12, 0x10, 3, b'a', b'b', 3, b'a', b'b', 0x83, b'a', b'b', 3, b'a', b'b'];
    let entries: &[(u64, &[u8], &[u8])] = &[(5, b"", b"\x01"), (7, b"key\0\0", &three), (9, b"b", b"\x01")];
    let mut page = specimen(Kind::Leaf, entries);
    // Of the second slot's word the high half; and both sums.
    page[32 + 8 * 3 + 8 + 6] = 3;
    page[28..32].copy_from_slice(&[1, 0, 2, 0]);
    page
}

fn page_of(input: &[u8]) -> Vec<u8> {
    let input = &input[..input.len().min(PAGE_BYTES)];
    let (front, heap) = input.split_at(input.len().saturating_sub(HEAP_BYTES));
    let mut page = front.to_vec();
    page.resize(PAGE_BYTES - heap.len(), 0);
    page.extend_from_slice(heap);
    page
}

fn read_page(input: &[u8]) {
    let _ = (entries_of(input, |_| None), find_in(input, PAGES, 7, b"key"));
    let page = page_of(input);
    for (head, tail) in [(0, &b""[..]), (7, b"key"), (9, b"b"), (u64::MAX, &[0xff; 40])] {
        let _ = find_in(&page, PAGES, head, tail);
    }
    let Ok((entries, used)) = entries_of(&page, |_| None) else { return };
    assert!(used <= PAGE_BYTES);
    let ShownEntries::Rows(rows) = entries else { return };
    let heads: Vec<u64> = rows.iter().map(|row| row.key.head).collect();
    if heads.windows(2).all(|pair| pair[0] < pair[1]) {
        for row in &rows {
            assert!(matches!(find_in(&page, PAGES, row.key.head, &row.key.tail), Ok(Some(_))), "{row:?}");
        }
    }
}

fn maps() -> Vec<Vec<u8>> {
    let page = |kind: u8, count: u16| {
        let mut page = vec![0x5a; 32 + 8 * usize::from(count)];
        page[16..18].copy_from_slice(&[kind, 1]);
        page[18..20].copy_from_slice(&count.to_le_bytes());
        page
    };
    vec![page(3, 4), page(4, 0), page(3, 1020)]
}

fn read_map(input: &[u8]) {
    let mut page = input.to_vec();
    page.resize(PAGE_BYTES, 0);
    for is_of_extents in [false, true] {
        let _ = map_words(input, is_of_extents);
        if let Ok(words) = map_words(&page, is_of_extents) {
            assert!(8 * words.len() <= PAGE_BYTES);
        }
    }
}

const SALT: u32 = 5;

fn superblocks() -> Vec<Vec<u8>> {
    let tree = TreeRoot { root: 3, levels: 2, rows: 1000, bytes: 70_000, pages: 12 };
    let map = MapRoot { words: 2000, roots: vec![1 << 33, 2 << 33] };
    let mut full =
        Superblock { generation: 9, lsn: 1 << 20, settled: 1 << 21, flush: Some(1 << 19), ..Superblock::default() };
    (full.pages, full.deadlines, full.collection) = (map, tree, 77);
    full.rows[0] = tree;
    [Superblock::default(), full]
        .iter()
        .map(|superblock| {
            let mut page = vec![0; PAGE_BYTES];
            superblock.encode(LOG.shard, SALT, &mut page);
            let mut page = unmixed(SALT, &page);
            // Zeros behind it say nothing.
            page.truncate(PAGE_BYTES - page.iter().rev().take_while(|byte| **byte == 0).count());
            page
        })
        .collect()
}

fn decode_superblock(input: &[u8]) {
    let mut page = input.to_vec();
    page.resize(PAGE_BYTES, 0);
    let _ = Superblock::decode(LOG.shard, SALT, &page);
    seal(SALT, &mut page);
    if let Ok(superblock) = Superblock::decode(LOG.shard, SALT, &page) {
        let mut again = vec![0; PAGE_BYTES];
        superblock.encode(LOG.shard, SALT, &mut again);
        assert_eq!(Superblock::decode(LOG.shard, SALT, &again), Ok(superblock));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_corpora_have_is_taken() {
        for page in pages().iter().map(|input| page_of(input)) {
            assert!(entries_of(&page, |_| None).is_ok() && find_in(&page, PAGES, 9, b"b").is_ok());
        }
        for mut page in superblocks() {
            page.resize(PAGE_BYTES, 0);
            seal(SALT, &mut page);
            assert!(Superblock::decode(LOG.shard, SALT, &page).is_ok());
        }
        for mut page in maps() {
            page.resize(PAGE_BYTES, 0);
            assert!(map_words(&page, page[16] == 4).is_ok());
        }
        assert!(records().iter().all(|archive| Record::decode(archive).is_some()));
        assert!(flushes().iter().all(|flush| Flush::decode(&LOG, flush).is_ok()));
    }
}
