//! One page against its rules: searching, growing in place, compaction, the heap's accounting.

use super::{ENTRY_BYTES, HEADER_BYTES, Key, Kind, Page, SPACE_BYTES, Slot, Span, judge, lower_bound};
use crate::limits::PAGE_BYTES;
use crate::units::PageId;
use bytemuck::Zeroable;

fn leaf() -> Page {
    let mut page = Page::zeroed();
    page.format(PageId(1), Kind::Leaf);
    page
}

fn put(page: &mut Page, head: u64, tail: &[u8], payload: &[u8]) {
    let (index, is_exact) = page.seek(Key::new(head, tail), Span::ALL);
    assert!(!is_exact);
    page.insert_entry(index, Key::new(head, tail), payload.len() as u32);
    page.payload_mut(index).copy_from_slice(payload);
}

/// Whatever the span says, and wherever the heads are.
#[test]
fn lower_bound_counts_what_is_below() {
    let check = |heads: &[u64], head: u64| {
        let below = heads.iter().filter(|other| **other < head).count();
        let [low, high] = [heads.first(), heads.last()].map(|head| head.copied().unwrap_or(0));
        let spans = [(low, high), (0, u64::MAX), (high, low), (low.wrapping_sub(1), high / 2), (high, high), (0, 0)];
        for (low, high) in spans {
            assert_eq!(lower_bound(heads, head, Span { low, high }), below, "{head} of {heads:?} in {low}..{high}");
        }
    };
    for len in 0..70_u64 {
        let even: Vec<u64> = (0..len).map(|index| index / 2 * 10 + 5).collect();
        (0..len * 5 + 20).for_each(|head| check(&even, head));
        let steep: Vec<u64> = (0..len).map(|index| 1 << (index * 63 / 70)).collect();
        steep.iter().for_each(|head| [head - 1, *head, head + 1].iter().for_each(|head| check(&steep, *head)));
        let high: Vec<u64> = (0..len).map(|index| u64::MAX - 2 * (len - 1 - index)).collect();
        high.iter().for_each(|head| [head - 1, *head].iter().for_each(|head| check(&high, *head)));
    }
    check(&[u64::MAX; 40], u64::MAX);
    check(&[0; 40], 1);
}

#[test]
fn rows_are_found_by_head_and_tail() {
    let mut page = leaf();
    for (head, tail) in [(5, "b"), (5, "a"), (5, ""), (9, "zz"), (1, "q"), (5, "ab"), (u64::MAX, "x")] {
        put(&mut page, head, tail.as_bytes(), format!("{head}{tail}").as_bytes());
    }
    assert_eq!(page.heads(), [1, 5, 5, 5, 5, 9, u64::MAX]);
    assert_eq!(page.find(Key::new(5, b"ab"), Span::ALL), Some(&b"5ab"[..]));
    assert_eq!(page.find(Key::new(9, b"zz"), Span::ALL), Some(&b"9zz"[..]));
    assert_eq!(page.find(Key::new(9, b"z"), Span::ALL), None);
    assert_eq!(page.find(Key::new(5, b"c"), Span::ALL), None);
    assert_eq!(page.seek(Key::new(5, b"aa"), Span::ALL), (3, false));
    assert_eq!(page.seek(Key::new(9, b"zzz"), Span::ALL), (6, false));
    page.remove_entry(3);
    assert_eq!(page.find(Key::new(5, b"ab"), Span::ALL), None);
    assert_eq!(page.find(Key::new(5, b"b"), Span::ALL), Some(&b"5b"[..]));
}

#[test]
fn a_page_takes_rows_to_its_last_byte() {
    let mut page = leaf();
    let rows = SPACE_BYTES / 136 - 1;
    for head in 0..rows as u64 {
        put(&mut page, head, &[1; 16], &[2; 104]);
    }
    let rest = SPACE_BYTES - rows * 136 - ENTRY_BYTES;
    put(&mut page, 1000, &[], &vec![3; rest]);
    assert_eq!((page.free(), page.used()), (0, SPACE_BYTES));
    assert!(!page.has_room_for(0, 105));
    // A shorter payload makes room that a longer one elsewhere can use, after compaction.
    page.resize_payload(7, 4);
    assert_eq!(page.free(), 100);
    assert!(page.has_room_for(3, 204) && !page.has_room_for(3, 205));
    page.resize_payload(3, 204);
    page.payload_mut(3).fill(9);
    assert_eq!(page.free(), 0);
    for head in 0..rows {
        assert_eq!(page.tail(head), [1; 16]);
        let expect = match head {
            3 => vec![9; 204],
            7 => vec![2; 4],
            _ => vec![2; 104],
        };
        assert_eq!(page.payload(head), expect, "row {head}");
    }
}

#[test]
fn removed_rows_leave_nothing_behind() {
    let mut page = leaf();
    let payload = vec![7; SPACE_BYTES / 40 - ENTRY_BYTES - 4];
    for head in 0..40 {
        put(&mut page, head, b"tail", &payload);
    }
    for index in [39, 0, 10, 10, 5] {
        page.remove_entry(index);
    }
    assert_eq!(page.used(), 35 * (ENTRY_BYTES + 4 + payload.len()));
    while page.count() > 0 {
        page.remove_entry(page.count() / 2);
    }
    assert_eq!((page.used(), page.garbage()), (0, 0));
}

#[test]
fn separators_choose_children() {
    let mut page = Page::zeroed();
    page.format(PageId(1), Kind::Branch);
    page.insert_entry(0, Key::MIN, 10);
    page.insert_entry(1, Key::new(100, b""), 11);
    page.insert_entry(2, Key::new(100, b"m"), 12);
    page.insert_entry(3, Key::new(200, b""), 13);
    let child = |page: &Page, head, tail: &[u8]| page.child(page.child_index(Key::new(head, tail), Span::ALL)).0;
    for (head, tail, expect) in [
        (0, "", 10),
        (0, "a", 10),
        (99, "z", 10),
        (100, "", 11),
        (100, "l", 11),
        (100, "m", 12),
        (100, "mm", 12),
        (199, "", 12),
        (200, "", 13),
        (u64::MAX, "z", 13),
    ] {
        assert_eq!(child(&page, head, tail.as_bytes()), expect, "{head} {tail}");
    }
    page.set_separator(2, Key::new(100, b"longer"));
    assert_eq!(child(&page, 100, b"longe"), 11);
    page.remove_child(0);
    assert_eq!((child(&page, 0, b""), page.count()), (11, 3));
    let mut left = Page::zeroed();
    left.format(PageId(2), Kind::Branch);
    left.insert_entry(0, Key::MIN, 5);
    left.absorb(Key::new(50, b"sep"), &page);
    assert_eq!(child(&left, 50, b"se"), 5);
    assert_eq!(child(&left, 50, b"sep"), 11);
    assert_eq!(child(&left, 100, b"longer"), 12);
}

/// Whatever stands in an image whose checksum holds, nothing looks outside it, and nothing goes to a page that there is not.
#[test]
fn an_image_that_is_no_page_is_not_used() {
    let mut leaf = leaf();
    (0..20_u64).for_each(|head| put(&mut leaf, head, b"tail", &[7; 30]));
    let mut branch = Page::zeroed();
    branch.format(PageId(2), Kind::Branch);
    branch.insert_entry(0, Key::MIN, 3);
    branch.insert_entry(1, Key::new(9, b"from"), 8);
    let mut counted = Page::zeroed();
    counted.format(PageId(4), Kind::Counted);
    counted.insert_entry(0, Key::MIN, 5);
    for page in [&leaf, &branch, &counted] {
        assert_eq!(judge(page.as_bytes(), 9), Ok(()), "{:?}", page.kind());
    }
    assert_eq!(judge(branch.as_bytes(), 8), Err("an entry leads out of it"), "its last child is page 8");
    branch.set_child(1, PageId(0));
    assert!(judge(branch.as_bytes(), 9).is_err(), "page 0 is none");

    let with = |at: usize, bytes: &[u8]| {
        let mut image = leaf.as_bytes().to_vec();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        judge(&image, 9)
    };
    let heap = leaf.heap() as u16;
    assert_eq!(with(16, &[3]), Err("it is not a page of a tree"), "a map page");
    assert_eq!(with(17, &[2]), Err("it is not a page of a tree"), "a later version");
    assert_eq!(with(18, &[0, 0]), Err("it is empty"));
    assert_eq!(with(18, &u16::MAX.to_le_bytes()), Err("its heap begins in its slots"));
    assert_eq!(with(20, &(PAGE_BYTES as u16 + 1).to_le_bytes()), Err("its heap begins in its slots"));
    let slot = HEADER_BYTES + 8 * 20;
    let last = Slot::unpack(leaf.words[20]);
    assert_eq!(last.offset as usize + 34, PAGE_BYTES, "the first that was put stands at the end");
    for (slot_at, slot_with, is_sound) in [
        (slot, last, true),
        (slot, Slot { word: last.word + 1, ..last }, false),
        (slot, Slot { tail: last.tail + 1, ..last }, false),
        (slot, Slot { word: u32::MAX, ..last }, false),
        (slot, Slot { offset: heap - 1, ..last }, false),
        (slot, Slot { offset: heap, ..last }, true),
    ] {
        assert_eq!(with(slot_at, &slot_with.pack().to_le_bytes()).is_ok(), is_sound, "{slot_with:?}");
    }
}
