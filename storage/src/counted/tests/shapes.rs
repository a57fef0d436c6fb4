//! Edges: what rows at an end leave behind, a full pool, dropping in slices, stale paths, large ranks.

use super::super::{CountedTree, Cursor};
use crate::error::Missing;
use crate::limits::ROW_INLINE_BYTES_MAX;
use crate::page::{COUNTED_ENTRY_BYTES, Key, Kind, Page, SPACE_BYTES};
use crate::pool::{Pool, PoolFull};
use crate::units::PageId;
use bytemuck::Zeroable;
use std::ops::ControlFlow;

fn pool(pages_max: usize) -> Pool {
    Pool::new(pages_max, Box::new(|_| {}))
}

fn push(pool: &mut Pool, tree: &mut CountedTree, rank: u64, payload: &[u8]) -> Result<(), PoolFull> {
    let path = tree.resolve_rank(pool, rank).unwrap();
    tree.insert_at(pool, &path, payload)
}

fn list(pool: &mut Pool, rows: u64, len: usize) -> CountedTree {
    let mut tree = CountedTree::by_rank();
    for number in 0..rows {
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(len, 0);
        push(pool, &mut tree, number, &payload).unwrap();
    }
    tree
}

/// A queue's pages are full, whichever end it grows at.
#[test]
fn rows_at_either_end_leave_full_leaves() {
    for is_front in [false, true] {
        let (mut pool, mut tree) = (pool(1000), CountedTree::by_rank());
        for number in 0..5000 {
            let rank = if is_front { 0 } else { number };
            push(&mut pool, &mut tree, rank, &[1; 100]).unwrap();
        }
        let census = tree.check(&pool).unwrap();
        assert!(census.used * 100 > census.leaves * SPACE_BYTES as u64 * 95, "{census:?}");
    }
}

#[test]
fn an_empty_tree_answers() {
    let (mut pool, mut tree) = (pool(10), CountedTree::by_key());
    assert_eq!(tree.at(&pool, 0, |_, _| ()), Ok(None));
    assert_eq!(tree.rank(&pool, Key::of_head(5)), Ok((0, false)));
    assert_eq!(tree.remove_range(&mut pool, 0, 10, |_, _| unreachable!()), Ok(0));
    tree.forward(&pool, &mut Cursor::new(0), |_, _| unreachable!()).unwrap();
    tree.backward(&pool, &mut Cursor::new(3), |_, _| unreachable!()).unwrap();
    assert!(!tree.resolve_rank(&pool, 0).unwrap().is_exact());
    assert!(tree.detach().free_some(&mut pool, 1, None).unwrap());
}

/// What does not fit into the pool has changed nothing, the counts included.
#[test]
fn a_full_pool_refuses_and_changes_nothing() {
    let mut pool = pool(12);
    let mut tree = CountedTree::by_rank();
    let payload = vec![3; ROW_INLINE_BYTES_MAX - 8];
    let mut refusals = 0;
    for number in 0..200_u64 {
        let rank = number * 7 % (tree.len() + 1);
        let (len, bytes) = (tree.len(), tree.bytes());
        if push(&mut pool, &mut tree, rank, &payload).is_err() {
            refusals += 1;
            assert_eq!((tree.len(), tree.bytes()), (len, bytes));
        }
        pool.check(&tree.check(&pool).unwrap().pages).unwrap();
    }
    assert!(refusals > 0 && tree.len() > 20);
    // A row that grows moves, or stays as it is.
    let mut tree = list(&mut self::pool(1000), 0, 0);
    let mut pool = self::pool(3);
    (0..3 * (SPACE_BYTES as u64 / 60)).try_for_each(|number| push(&mut pool, &mut tree, number, &[1; 40])).unwrap_err();
    let path = tree.resolve_rank(&pool, 3).unwrap();
    assert!(tree.replace(&mut pool, &path, &payload).is_err());
    tree.check(&pool).unwrap();
    assert_eq!(tree.at(&pool, 3, |_, payload| payload.to_vec()), Ok(Some(vec![1; 40])));
}

#[test]
fn dropping_is_done_in_slices() {
    let mut pool = pool(2000);
    let mut tree = list(&mut pool, 20_000, 60);
    let pages = tree.pages();
    let mut detached = tree.detach();
    assert_eq!((tree.len(), tree.pages(), pool.pages() as u64), (0, 0, pages));
    // The tree is of use at once.
    push(&mut pool, &mut tree, 0, b"new").unwrap();
    let (mut slices, mut rows) = (0, 0);
    let mut show = |_: &[u8]| rows += 1;
    while !detached.free_some(&mut pool, 16, Some(&mut show)).unwrap() {
        slices += 1;
    }
    assert_eq!((rows, slices), (20_000, (pages - 1) / 16));
    pool.check(&tree.check(&pool).unwrap().pages).unwrap();
}

/// A cursor stays between its rows when other rows go.
#[test]
fn a_cursor_goes_on_after_changes() {
    let mut pool = pool(1000);
    let mut tree = list(&mut pool, 3000, 50);
    let mut cursor = Cursor::new(1000);
    let one = |tree: &CountedTree, pool: &Pool, cursor: &mut Cursor| {
        let mut number = None;
        let visit = |_: Key<'_>, payload: &[u8]| {
            number = payload.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
            ControlFlow::Break(())
        };
        tree.forward(pool, cursor, visit).unwrap();
        number
    };
    assert_eq!(one(&tree, &pool, &mut cursor), Some(1000));
    let mut left = 500;
    while left > 0 {
        left -= tree.remove_range(&mut pool, 1001, left, |_, _| {}).unwrap();
    }
    assert_eq!((one(&tree, &pool, &mut cursor), cursor.rank()), (Some(1501), 1002));
    // What goes in front of the cursor's leaf moves everything up.
    tree.remove_range(&mut pool, 0, 10, |_, _| {}).unwrap();
    assert_eq!((one(&tree, &pool, &mut cursor), cursor.rank()), (Some(1512), 1003));
    while tree.remove_range(&mut pool, 500, u64::MAX, |_, _| {}).unwrap() > 0 {}
    assert_eq!((one(&tree, &pool, &mut cursor), tree.len()), (None, 500));
}

/// Pages to read ahead are those that the read would miss, in its order.
#[test]
fn a_range_knows_what_it_will_miss() {
    let mut pool = pool(1000);
    let tree = list(&mut pool, 2000, 100);
    let leaf = |pool: &Pool, rank| tree.resolve_rank(pool, rank).unwrap().leaf().page;
    let mut expect: Vec<PageId> = (300..900).map(|rank| leaf(&pool, rank)).collect();
    expect.dedup();
    let images: Vec<_> = expect.iter().map(|page| (*page, pool.evict(*page).unwrap())).collect();
    let absent = |pool: &Pool, pages| {
        let mut absent = Vec::new();
        tree.absent_between(pool, 300, 900, pages, |page| absent.push(page));
        absent
    };
    assert_eq!(absent(&pool, 1000), expect);
    assert_eq!(absent(&pool, 3), expect[..3]);
    assert_eq!(tree.at(&pool, 300, |_, _| ()), Err(Missing::Page(expect[0])));
    images.iter().for_each(|(page, image)| pool.supply(*page, image).unwrap());
    assert!(absent(&pool, 1000).is_empty());
}

#[test]
#[should_panic = "fresh"]
fn a_stale_path_is_refused() {
    let mut pool = pool(100);
    let mut tree = list(&mut pool, 10, 10);
    let path = tree.resolve_rank(&pool, 5).unwrap();
    tree.remove(&mut pool, &path);
    tree.remove(&mut pool, &path);
}

#[test]
#[should_panic = "fresh"]
fn a_path_from_before_a_range_went_is_refused() {
    let mut pool = pool(100);
    let mut tree = list(&mut pool, 10, 10);
    let path = tree.resolve_rank(&pool, 5).unwrap();
    tree.remove_range(&mut pool, 1, 2, |_, _| {}).unwrap();
    tree.payload(&pool, &path);
}

/// One branch against a plain list of counts, beyond what a test's tree can hold.
#[test]
fn a_branch_finds_by_rank() {
    let mut page = Page::zeroed();
    page.format(PageId(1), Kind::Counted);
    let mut counts: Vec<u64> = Vec::new();
    for number in 0..(SPACE_BYTES / COUNTED_ENTRY_BYTES) as u64 {
        let index = (number * 7 % (number + 1)) as usize;
        page.insert_entry(index, Key::MIN, number as u32);
        page.set_rows(index, number % 5 * (1 << 40) + number % 3);
        counts.insert(index, number % 5 * (1 << 40) + number % 3);
    }
    assert!(page.free() < COUNTED_ENTRY_BYTES);
    for _ in 0..2 {
        assert_eq!(page.rows(), counts);
        let mut start = 0;
        for (index, count) in counts.iter().enumerate() {
            if *count > 0 {
                assert_eq!(page.child_of_rank(start), (index, 0));
                assert_eq!(page.child_of_rank(start + count - 1), (index, count - 1));
            }
            start += count;
        }
        assert_eq!(page.weight(), start);
        let last = counts.len() - 1;
        assert_eq!(page.child_of_rank(start + 9), (last, counts[last] + 9));
        // And after removals.
        for index in [last, 0, 0, 30, 7] {
            page.remove_entry(index);
            counts.remove(index);
        }
    }
}

/// The elements of a list, put at an end or in the middle of the tree: they take little more than their bytes, and so when some have gone and come.
#[test]
fn rows_in_bundles_take_little() {
    for (is_front, is_last) in [(false, true), (true, true), (false, false), (true, false)] {
        let (mut pool, mut tree) = (pool(2000), CountedTree::by_key());
        let key = |number: u64| ((1 << 40) + (number << 20)).to_be_bytes();
        let payload = [&[1][..], &[b'x'; 16]].concat();
        let put = |pool: &mut Pool, tree: &mut CountedTree, head: u64, number: u64| {
            let bytes = key(number);
            let key = Key::new(head, &bytes[3..]);
            let path = tree.resolve(pool, key).unwrap();
            tree.insert(pool, &path, key, &payload).unwrap();
        };
        if !is_last {
            (0..1000).for_each(|number| [4, 6].iter().for_each(|head| put(&mut pool, &mut tree, *head, number)));
        }
        let before = tree.pages();
        let rows = 50_000;
        (0..rows).for_each(|at| put(&mut pool, &mut tree, 5, if is_front { rows - at } else { rows + at }));
        let bytes_a_row = (tree.pages() - before) as f64 * 8192.0 / rows as f64;
        assert!(bytes_a_row < 18.4, "{is_front} {is_last}: {bytes_a_row}");
        pool.check(&tree.check(&pool).unwrap().pages).unwrap();
    }
}
