//! Superblocks read back, whatever wrote them, or say what is wrong.

use super::{
    ARCHIVE_AT_1, ARCHIVE_AT_2, ARCHIVE_AT_5, DATABASES_2, Earlier, FLUSH_AT, FORMAT_1, FORMAT_2, FORMAT_3, FORMAT_5,
    FORMAT_6, MAGIC, SETTLED_AT, UNKNOWN,
};
use super::{FORMAT, Invalid, MapRoot, Superblock, TreeRoot, seal, unmixed};
use crate::checksum::crc32c;
use crate::limits::{DATABASES, DIRECTORY_WORDS_MAX, LEVELS_MAX, PAGE_BYTES, TREES};
use crate::spaces::Spaces;
use crate::units::ShardId;
use rkyv::rancor::Failure;

fn largest() -> Superblock {
    let levels = LEVELS_MAX as u8;
    let tree = TreeRoot { root: u32::MAX, levels, rows: u64::MAX, bytes: u64::MAX, pages: u64::MAX };
    Superblock {
        generation: 7,
        lsn: u64::MAX,
        settled: u64::MAX,
        flush: Some(u64::MAX / 8192 * 8192),
        rows: [tree; TREES],
        collection: 5,
        spaces: swapped(),
        pages: MapRoot { words: 9, roots: vec![u64::MAX; DIRECTORY_WORDS_MAX] },
        ..Superblock::default()
    }
}

fn swapped() -> Spaces {
    let mut spaces = Spaces::default();
    spaces.swap(0, TREES as u8 - 1);
    spaces
}

#[test]
fn two_databases_with_one_space_are_damage() {
    let mut page = vec![0; PAGE_BYTES];
    largest().encode(ShardId(0), 0, &mut page);
    let mut page = unmixed(0, &page);
    let spaces_at = super::ARCHIVE_AT + super::u32_at(&page, 16) as usize;
    page[spaces_at] = 1;
    seal(0, &mut page);
    let damaged = Err(Invalid::Damaged("two databases share a space"));
    assert_eq!(Superblock::decode(ShardId(0), 0, &page), damaged);
}

#[test]
fn the_largest_fits_and_reads_back_and_no_flipped_bit_does() {
    let superblock = largest();
    let mut page = vec![0xa5; PAGE_BYTES];
    superblock.encode(ShardId(3), 9, &mut page);
    assert_eq!(Superblock::decode(ShardId(3), 9, &page), Ok(superblock));
    assert!(Superblock::decode(ShardId(4), 9, &page).is_err() && Superblock::decode(ShardId(3), 8, &page).is_err());
    let used = PAGE_BYTES - page.iter().rev().take_while(|byte| **byte == 0).count();
    for at in 0..used {
        page[at] ^= 0x10;
        assert!(Superblock::decode(ShardId(3), 9, &page).is_err(), "byte {at}");
        page[at] ^= 0x10;
    }
}

/// What a power cut leaves of one, and a failed write of another one over it, is neither.
#[test]
fn two_of_them_have_no_sector_in_common() {
    let of = |generation| {
        let mut page = vec![0; PAGE_BYTES];
        Superblock { generation, ..largest() }.encode(ShardId(0), 0, &mut page);
        page
    };
    let (one, other) = (of(1), of(3));
    let used = PAGE_BYTES - one.iter().rev().take_while(|byte| **byte == 0).count();
    assert!(used > 3 * 512);
    for at in (0..used).step_by(512) {
        assert_ne!(one[at..at + 512], other[at..at + 512], "the sector at {at}");
    }
}

#[test]
fn a_tree_that_no_path_could_go_through_is_damage() {
    let mut page = vec![0; PAGE_BYTES];
    for (levels, is_sound) in [(LEVELS_MAX - 1, true), (LEVELS_MAX, true), (LEVELS_MAX + 1, false)] {
        let mut superblock = largest();
        superblock.deadlines.levels = levels as u8;
        superblock.encode(ShardId(0), 0, &mut page);
        assert_eq!(Superblock::decode(ShardId(0), 0, &page).is_ok(), is_sound, "{levels} levels");
    }
}

/// The page of an earlier format with that archive, and what follows it.
fn earlier(archive: &[u8], version: u16, flush: u64, spaces: &[u8]) -> Vec<u8> {
    let archive_at = match version {
        FORMAT_1 => ARCHIVE_AT_1,
        FORMAT_5 => ARCHIVE_AT_5,
        _ => ARCHIVE_AT_2,
    };
    let end = archive_at + archive.len();
    let mut page = vec![0; PAGE_BYTES];
    page[4..8].copy_from_slice(&MAGIC);
    page[8..10].copy_from_slice(&version.to_le_bytes());
    page[10..12].copy_from_slice(&3u16.to_le_bytes());
    page[12..16].copy_from_slice(&(PAGE_BYTES as u32).to_le_bytes());
    page[16..20].copy_from_slice(&(archive.len() as u32).to_le_bytes());
    page[FLUSH_AT..FLUSH_AT + 8].copy_from_slice(&flush.to_le_bytes());
    page[SETTLED_AT..SETTLED_AT + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    page[archive_at..end].copy_from_slice(archive);
    page[end..end + spaces.len()].copy_from_slice(spaces);
    let crc = crc32c(&[&9u32.to_le_bytes(), &page[4..end + spaces.len()]]);
    page[..4].copy_from_slice(&crc.to_le_bytes());
    page
}

/// The archive of the largest checkpoint with so many trees of rows, and what is read from it.
fn earlier_largest<const N: usize>() -> (Vec<u8>, Superblock) {
    let mut expect = Superblock { flush: None, spaces: Spaces::default(), collection: 0, ..largest() };
    expect.rows[N..].fill(TreeRoot::default());
    expect.expiring[..N].fill(5);
    expect.outside[..N].fill(6);
    let old = Earlier::<N> {
        generation: expect.generation,
        lsn: expect.lsn,
        incarnation: expect.incarnation,
        sites: expect.sites,
        unix_us: expect.unix_us,
        pages: expect.pages.clone(),
        extents: expect.extents.clone(),
        rows: *expect.rows.first_chunk().unwrap(),
        expiring: *expect.expiring.first_chunk().unwrap(),
        outside: *expect.outside.first_chunk().unwrap(),
        deadlines: expect.deadlines,
    };
    (rkyv::to_bytes::<Failure>(&old).unwrap().to_vec(), expect)
}

#[test]
fn the_earlier_formats_are_read() {
    let (old, expect) = earlier_largest::<DATABASES>();
    let mut spaces: [u8; DATABASES] = std::array::from_fn(|db| db as u8);
    let page = earlier(&old, FORMAT_3, UNKNOWN, &[]);
    assert_eq!(Superblock::decode(ShardId(3), 9, &page), Ok(expect.clone()));
    spaces.swap(0, 16);
    let mut swapped = Spaces::default();
    swapped.swap(0, 16);
    let page = earlier(&old, FORMAT_5, UNKNOWN, &spaces);
    assert_eq!(Superblock::decode(ShardId(3), 9, &page), Ok(Superblock { spaces: swapped, ..expect }));
    let (old, expect) = earlier_largest::<DATABASES_2>();
    let page = earlier(&old, FORMAT_1, 0, &[]);
    assert_eq!(Superblock::decode(ShardId(3), 9, &page), Ok(expect.clone()));
    let page = earlier(&old, FORMAT_2, UNKNOWN, &[]);
    assert_eq!(Superblock::decode(ShardId(3), 9, &page), Ok(expect.clone()));
    let page = earlier(&old, FORMAT_2, 8192, &[]);
    assert_eq!(Superblock::decode(ShardId(3), 9, &page), Ok(Superblock { flush: Some(8192), ..expect }));
}

/// It says what today's does, of trees without bundles.
#[test]
fn format_6_is_read() {
    let mut page = vec![0; PAGE_BYTES];
    largest().encode(ShardId(3), 9, &mut page);
    let mut page = unmixed(9, &page);
    page[8..10].copy_from_slice(&FORMAT_6.to_le_bytes());
    let end = super::ARCHIVE_AT + super::u32_at(&page, 16) as usize + TREES;
    let crc = crc32c(&[&9u32.to_le_bytes(), &page[4..end]]);
    page[..4].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(Superblock::decode(ShardId(3), 9, &page), Ok(largest()));
}

#[test]
fn the_trees_hold_what_is_before_the_lsn() {
    let mut page = vec![0; PAGE_BYTES];
    for (settled, is_sound) in [(99, false), (100, true), (101, true)] {
        Superblock { lsn: 100, settled, flush: None, ..largest() }.encode(ShardId(0), 0, &mut page);
        assert_eq!(Superblock::decode(ShardId(0), 0, &page).is_ok(), is_sound, "{settled}");
    }
}

#[test]
fn nothing_and_a_later_format_are_told_from_damage() {
    assert_eq!(Superblock::decode(ShardId(0), 0, &vec![0; PAGE_BYTES]), Err(Invalid::Empty));
    let mut page = vec![0; PAGE_BYTES];
    largest().encode(ShardId(0), 0, &mut page);
    page[8..10].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    let end = super::ARCHIVE_AT + super::u32_at(&page, 16) as usize + TREES;
    let crc = crate::checksum::crc32c(&[&[0; 4], &page[4..end]]);
    page[..4].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(Superblock::decode(ShardId(0), 0, &page), Err(Invalid::Version(FORMAT + 1)));
}
