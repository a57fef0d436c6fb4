//! Shapes and edges: what splits and joins leave behind, the greatest rows, a full pool, dropping.

use super::{Random, pool};
use crate::error::Missing;
use crate::limits::{KEY_INLINE_BYTES_MAX, LEVELS_MAX, ROW_INLINE_BYTES_MAX};
use crate::page::{ENTRY_BYTES, Key, Kind, SPACE_BYTES};
use crate::pool::{Pool, PoolFull};
use crate::tree::{DetachedTree, HeadRange, Tree, row_fits};
use crate::units::PageId;
use std::ops::ControlFlow;

/// Rows of this payload are 16 to a page, less 16 bytes.
pub(super) const SIXTEENTH: usize = SPACE_BYTES / 16 - ENTRY_BYTES;

pub(super) fn put(pool: &mut Pool, tree: &mut Tree, head: u64, len: usize) {
    let key = Key::of_head(head);
    let path = tree.resolve(pool, key).unwrap();
    let payload = vec![head as u8; len];
    if path.is_exact() {
        tree.replace(pool, &path, &payload).unwrap();
    } else {
        tree.insert(pool, &path, key, &payload).unwrap();
    }
}

pub(super) fn remove(pool: &mut Pool, tree: &mut Tree, head: u64) {
    let path = tree.resolve(pool, Key::of_head(head)).unwrap();
    tree.remove(pool, &path);
}

/// The heads of each leaf as `first-last`, leaves of one branch joined by spaces, branches in parentheses.
fn shape(pool: &Pool, tree: &Tree) -> String {
    fn draw(pool: &Pool, page: PageId) -> String {
        let node = pool.page(page).unwrap();
        match node.kind().unwrap() {
            Kind::Leaf => format!("{}-{}", node.heads()[0], node.heads()[node.count() - 1]),
            Kind::Branch | Kind::Counted => {
                let children: Vec<String> = (0..node.count()).map(|index| draw(pool, node.child(index))).collect();
                format!("({})", children.join(" "))
            }
        }
    }
    if tree.is_empty() { "nothing".to_owned() } else { draw(pool, tree.root) }
}

/// Runs a script: `put FIRST-LAST`, `drop FIRST-LAST`, `grow HEAD`, `away HEAD` (its leaf is absent during the next
/// line). After each line the tree has the shape that stands behind the colon.
fn check(script: &str) {
    let (mut pool, mut tree) = (pool(1000), Tree::new());
    let mut away = None;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (command, expect) = line.split_once(" : ").unwrap();
        let (verb, range) = command.trim().split_once(' ').unwrap();
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
        let heads: Vec<u64> = if first <= last { (first..=last).collect() } else { (last..=first).rev().collect() };
        let was_away = away.take();
        for head in heads {
            match verb {
                "put" => put(&mut pool, &mut tree, head, SIXTEENTH),
                "drop" => remove(&mut pool, &mut tree, head),
                "grow" => put(&mut pool, &mut tree, head, 3 * SIXTEENTH),
                "away" => {
                    let leaf = tree.resolve(&pool, Key::of_head(head)).unwrap().leaf().page;
                    away = Some((leaf, pool.evict(leaf).unwrap()));
                }
                _ => panic!("{line}"),
            }
        }
        if let Some((page, image)) = was_away {
            pool.supply(page, &image).unwrap();
        }
        if away.is_none() {
            assert_eq!(shape(&pool, &tree), expect, "after {command}");
            pool.check(&tree.check(&pool).unwrap().pages).unwrap();
        }
    }
}

#[test]
fn ascending_rows_leave_full_leaves() {
    check(
        "put 1-16  : 1-16
         put 17-17 : (1-16 17-17)
         put 18-40 : (1-16 17-32 33-40)",
    );
}

#[test]
fn a_full_leaf_splits_in_the_middle_and_hands_over_before_it_splits_again() {
    check(
        "put 20-35 : 20-35
         put 19-19 : (19-27 28-35)
         put 18-12 : (12-27 28-35)
         put 11-11 : (11-23 24-35)
         put 10-9  : (9-23 24-35)
         put 8-8   : (8-23 24-35)
         put 7-7   : (7-15 16-23 24-35)",
    );
}

#[test]
fn leaves_of_small_rows_in_random_order_are_fuller_than_neighbours_alone_would_make_them() {
    let (mut pool, mut tree, mut random) = (pool(1000), Tree::new(), Random(1));
    let (mut rows, mut filled) = (0, 0.0);
    while rows < 60_000 {
        let (head, tail) = (random.next(), [7; 16]);
        let path = tree.resolve(&pool, Key::new(head, &tail)).unwrap();
        tree.insert(&mut pool, &path, Key::new(head, &tail), &[1]).unwrap();
        rows += 1;
        // Not at one moment: all leaves are split at about the same time.
        if rows > 20_000 && rows % 1000 == 0 {
            let used = rows * (ENTRY_BYTES + tail.len() + 1);
            filled += used as f64 / (tree.pages() as usize * SPACE_BYTES) as f64 / 40.0;
        }
    }
    pool.check(&tree.check(&pool).unwrap().pages).unwrap();
    assert!((0.85..0.9).contains(&filled), "{filled}");
}

#[test]
fn a_neighbour_that_is_absent_is_left_alone() {
    check(
        "put 20-35  : 20-35
         put 19-12  : (12-27 28-35)
         away 30    : -
         put 11-11  : (11-19 20-27 28-35)
         away 20    : -
         drop 19-12 : (11-11 20-27 28-35)
         drop 20-20 : (11-27 28-35)",
    );
}

#[test]
fn sparse_leaves_join_and_empty_ones_go() {
    check(
        "put 1-40   : (1-16 17-32 33-40)
         drop 40-35 : (1-16 17-32 33-34)
         drop 17-20 : (1-16 21-32 33-34)
         drop 34-34 : (1-16 21-33)
         drop 33-21 : 1-16
         drop 1-16  : nothing",
    );
}

#[test]
fn a_row_that_outgrows_its_leaf_moves_with_half_of_it() {
    check(
        "put 1-16 : 1-16
         grow 8   : (1-8 9-16)
         grow 1   : (1-8 9-16)",
    );
}

#[test]
fn rows_up_to_the_limits_and_not_beyond() {
    assert!(row_fits(KEY_INLINE_BYTES_MAX, ROW_INLINE_BYTES_MAX - 8 - KEY_INLINE_BYTES_MAX));
    assert!(!row_fits(KEY_INLINE_BYTES_MAX, ROW_INLINE_BYTES_MAX - 7 - KEY_INLINE_BYTES_MAX));
    assert!(!row_fits(KEY_INLINE_BYTES_MAX + 1, 0));
    let (mut pool, mut tree) = (pool(2000), Tree::new());
    // One head: only the last byte of the longest tails tells the rows apart, so separators are as long as they get.
    let key_of = |number: u32| {
        let mut tail = [7; KEY_INLINE_BYTES_MAX];
        tail[KEY_INLINE_BYTES_MAX - 4..].copy_from_slice(&number.to_be_bytes());
        tail
    };
    let mut random = Random(5);
    for step in 0..900_u64 {
        let tail = key_of(random.below(500) as u32);
        let longest = ROW_INLINE_BYTES_MAX - 8 - tail.len();
        let payload = vec![step as u8; longest - (random.below(4) as usize) / 2 * random.below(300) as usize];
        let key = Key::new(1, &tail);
        let path = tree.resolve(&pool, key).unwrap();
        if path.is_exact() {
            tree.replace(&mut pool, &path, &payload).unwrap();
        } else {
            tree.insert(&mut pool, &path, key, &payload).unwrap();
        }
        assert_eq!(tree.find(&pool, key).unwrap(), Some(&payload[..]));
        tree.check(&pool).unwrap();
    }
    assert!(tree.levels() >= 3, "separators of the greatest length fill a branch");
}

#[test]
#[should_panic = "row_fits"]
fn a_row_beyond_the_limit_is_a_bug() {
    let (mut pool, mut tree) = (pool(10), Tree::new());
    put(&mut pool, &mut tree, 1, ROW_INLINE_BYTES_MAX - 7);
}

#[test]
#[should_panic = "fresh"]
fn a_stale_path_is_a_bug() {
    let (mut pool, mut tree) = (pool(10), Tree::new());
    let stale = tree.resolve(&pool, Key::of_head(2)).unwrap();
    put(&mut pool, &mut tree, 1, 10);
    let _ = tree.insert(&mut pool, &stale, Key::of_head(2), b"");
}

#[test]
fn a_full_pool_refuses_and_changes_nothing() {
    let (mut pool, mut tree) = (pool(4), Tree::new());
    let mut head = 0;
    let refused = loop {
        let key = Key::of_head(head);
        let path = tree.resolve(&pool, key).unwrap();
        match tree.insert(&mut pool, &path, key, &[1; SIXTEENTH]) {
            Ok(()) => head += 1,
            Err(full) => break full,
        }
    };
    assert_eq!(refused, PoolFull { pages_max: 4 });
    // A split could need a page on every level, and the room for all is asked for beforehand.
    assert_eq!(tree.len(), head);
    let census = tree.check(&pool).unwrap();
    pool.check(&census.pages).unwrap();
    // Growth is refused in the same way; what fits where it is, is not.
    let path = tree.resolve(&pool, Key::of_head(3)).unwrap();
    assert_eq!(tree.replace(&mut pool, &path, &[2; 4 * SIXTEENTH]), Err(refused));
    assert_eq!(tree.find(&pool, Key::of_head(3)).unwrap(), Some(&[1; SIXTEENTH][..]));
    tree.replace(&mut pool, &path, &[2; SIXTEENTH]).unwrap();
    assert_eq!(tree.find(&pool, Key::of_head(3)).unwrap(), Some(&[2; SIXTEENTH][..]));
    assert_eq!(tree.check(&pool).unwrap(), census);
}

#[test]
fn a_detached_tree_is_freed_in_slices_even_when_pages_are_absent() {
    let (mut pool, mut tree, mut other) = (pool(1000), Tree::new(), Tree::new());
    for head in 0..3000 {
        put(&mut pool, &mut tree, head, 200);
        put(&mut pool, &mut other, head, 200);
    }
    let leaf = tree.resolve(&pool, Key::of_head(700)).unwrap().leaf().page;
    pool.evict(leaf).unwrap();
    let root = tree.root;
    let pages = tree.pages();
    let mut detached: DetachedTree = tree.detach();
    assert_eq!((tree.len(), tree.bytes(), tree.pages(), tree.levels()), (0, 0, 0, 0));
    let image = pool.evict(root).unwrap();
    assert_eq!(detached.free_some(&mut pool, 10, None), Err(Missing::Page(root)));
    pool.supply(root, &image).unwrap();
    let mut slices = 1;
    while !detached.free_some(&mut pool, 10, None).unwrap() {
        slices += 1;
    }
    assert_eq!(slices, pages.div_ceil(10));
    pool.check(&other.check(&pool).unwrap().pages).unwrap();
    other.clear(&mut pool).unwrap();
    assert_eq!(pool.pages(), 0);
}

#[test]
fn random_rows_are_fair_enough() {
    let (mut pool, mut tree) = (pool(1000), Tree::new());
    assert!(tree.random(&pool, 7).unwrap().is_none());
    let mut random = Random(1);
    for _ in 0..2000 {
        put(&mut pool, &mut tree, random.next(), 100);
    }
    let mut hits = std::collections::HashMap::<u64, u32>::new();
    for _ in 0..100_000 {
        let (key, _) = tree.random(&pool, random.next()).unwrap().unwrap();
        *hits.entry(key.head).or_default() += 1;
    }
    assert_eq!(hits.len(), 2000, "every row is met");
    // Fair would be 50 each; the pages' unevenness and chance together stay within these.
    assert!(hits.values().all(|hits| (15..150).contains(hits)), "{:?}", hits.values().max());
}

#[test]
fn a_scan_stops_at_an_absent_page_and_can_go_on() {
    let (mut pool, mut tree) = (pool(1000), Tree::new());
    for head in 0..500 {
        put(&mut pool, &mut tree, head, 200);
    }
    let leaf = tree.resolve(&pool, Key::of_head(300)).unwrap().leaf().page;
    let image = pool.evict(leaf).unwrap();
    let mut seen = Vec::new();
    let mut from = 0;
    let mut visits = |tree: &Tree, pool: &Pool, from: u64| {
        tree.scan(pool, Key::of_head(from), |key, _| {
            seen.push(key.head);
            ControlFlow::Continue(())
        })
        .map_err(|missing| (missing, seen.len() as u64))
    };
    if let Err((missing, next)) = visits(&tree, &pool, from) {
        assert_eq!(missing, Missing::Page(leaf));
        pool.supply(leaf, &image).unwrap();
        from = next;
    }
    assert!(from > 0);
    visits(&tree, &pool, from).unwrap();
    assert_eq!(seen, (0..500).collect::<Vec<u64>>());
}

/// A tree in which every child of a branch is that branch again, as high as a tree can be: whoever went to each child would
/// never be done.
fn circle() -> (Pool, Tree, PageId) {
    let (mut pool, mut tree) = (pool(1500), Tree::new());
    (0..9000).for_each(|head| put(&mut pool, &mut tree, head, SIXTEENTH));
    assert_eq!(tree.levels(), 3);
    let branch = pool.page(tree.root).unwrap().child(0);
    for index in 0..pool.page(branch).unwrap().count() {
        pool.page_mut(branch).unwrap().set_child(index, branch);
    }
    tree.levels = LEVELS_MAX as u8;
    (pool, tree, branch)
}

#[test]
fn a_circle_is_damage_and_walks_through_it_end() {
    let (pool, tree, branch) = circle();
    assert_eq!(tree.check(&pool).unwrap_err().page, branch);
    assert_eq!(tree.absent(&pool), []);
    let nowhere = PageId(u32::MAX);
    assert_eq!(tree.locate(&pool, nowhere), None);
    let mut heads = [0; 64];
    heads.iter_mut().zip(0..).for_each(|(head, at)| *head = at);
    tree.touch(&pool, &heads, |missing| panic!("{missing:?}"));
}

#[test]
fn a_search_through_a_circle_ends_and_names_the_page() {
    let (pool, tree, branch) = circle();
    let astray = Missing::Astray(branch);
    let key = Key::of_head(1);
    assert_eq!(tree.find(&pool, key), Err(astray));
    assert_eq!(tree.resolve(&pool, key).err(), Some(astray));
    assert_eq!(tree.resolve_replacement(&pool, key, 9).err(), Some(astray));
    assert_eq!(tree.first(&pool).err(), Some(astray));
    assert_eq!(tree.scan(&pool, Key::MIN, |_, _| panic!("there are no rows")), Err(astray));
}

/// Another branch's image is where one leaf belongs: the rows beside it can be had.
#[test]
fn a_branch_in_a_leafs_place_keeps_nobody_from_the_other_leaves() {
    let (mut pool, mut tree) = (pool(100), Tree::new());
    for head in 0..400 {
        let key = Key::of_head(head);
        let path = tree.resolve(&pool, key).unwrap();
        tree.insert(&mut pool, &path, key, &[1; SIXTEENTH]).unwrap();
    }
    assert_eq!(tree.levels, 2);
    let root = pool.page(tree.root).unwrap();
    let (leaf, low) = (root.child(3), root.heads()[3]);
    let high = root.heads()[4];
    let mut image = *pool.page(tree.root).unwrap();
    image.as_bytes_mut()[4..8].copy_from_slice(&leaf.0.to_le_bytes());
    *pool.resident_mut(leaf) = image;
    for head in 0..400 {
        let found = tree.find(&pool, Key::of_head(head));
        let is_behind = head >= low && head < high;
        assert_eq!(found, if is_behind { Err(Missing::Astray(leaf)) } else { Ok(Some(&[1; SIXTEENTH][..])) });
    }
    let mut rows = 0;
    let count = |from, rows: &mut u64| {
        tree.scan(&pool, Key::of_head(from), |_, _| {
            *rows += 1;
            ControlFlow::Continue(())
        })
    };
    assert_eq!(count(0, &mut rows), Err(Missing::Astray(leaf)));
    assert_eq!((rows, count(high, &mut rows), rows), (low, Ok(()), low + 400 - high));
    assert_eq!(tree.locate(&pool, leaf), Some(HeadRange { low, high: Some(high) }));
    // Nor is what stands there taken for rows when the tree goes.
    let mut detached = tree.detach();
    let show = &mut |payload: &[u8]| assert_eq!(payload, &[1; SIXTEENTH]);
    assert_eq!(detached.free_some(&mut pool, usize::MAX, Some(show)), Err(Missing::Astray(leaf)));
}
