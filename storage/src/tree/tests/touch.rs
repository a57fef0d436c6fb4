//! Touching a batch: it names absent pages, and what it remembers never answers for another row.

use super::shapes::{SIXTEENTH, put, remove};
use super::{Random, pool};
use crate::error::Missing;
use crate::limits::TOUCH_KEYS_MAX;
use crate::page::Key;
use crate::tree::Tree;
use std::collections::BTreeMap;

#[test]
fn touch_names_the_pages_that_a_find_would_miss() {
    let (mut pool, mut tree) = (pool(1000), Tree::new());
    tree.touch(&pool, &[1, 2, 3], |_| unreachable!());
    for head in 0..2000 {
        put(&mut pool, &mut tree, head, 200);
    }
    let heads: Vec<u64> = (0..2000).step_by(20).collect();
    let mut absent = Vec::new();
    tree.touch(&pool, &heads, |page| absent.push(page));
    assert_eq!(absent, []);
    let leaf = tree.resolve(&pool, Key::of_head(600)).unwrap().leaf().page;
    pool.evict(leaf).unwrap();
    tree.touch(&pool, &[1, 600, 1999, u64::MAX], |page| absent.push(page));
    assert_eq!(absent, [Missing::Page(leaf)]);
    // Beyond the bound nothing is touched.
    let many = vec![600; TOUCH_KEYS_MAX + 10];
    absent.clear();
    tree.touch(&pool, &many, |page| absent.push(page));
    assert_eq!(absent, vec![Missing::Page(leaf); TOUCH_KEYS_MAX]);
    pool.evict(tree.root).unwrap();
    absent.clear();
    tree.touch(&pool, &heads, |page| absent.push(page));
    assert_eq!(absent, [Missing::Page(tree.root)]);
}

/// Two trees with the same keys in one pool. Between touching and finding, rows move, go and come back, pages are
/// freed by one tree and taken by the other, pages are absent for a while.
#[test]
fn finds_after_a_touch_are_those_without() {
    let mut pool = pool(1000);
    let mut trees = [Tree::new(), Tree::new()];
    let mut models: [BTreeMap<u64, usize>; 2] = [BTreeMap::new(), BTreeMap::new()];
    let mut random = Random(11);
    for step in 0..3000 {
        let touched: Vec<u64> = (0..TOUCH_KEYS_MAX).map(|_| random.below(600)).collect();
        for tree in &trees {
            tree.touch(&pool, &touched, |_| unreachable!());
        }
        for _ in 0..random.below(4) {
            let which = random.below(2) as usize;
            let head = touched[random.below(20) as usize];
            let (tree, model) = (&mut trees[which], &mut models[which]);
            let is_growing = step / 500 % 2 == 0;
            if random.below(4) == 0 && model.contains_key(&head) {
                let len = 100 + random.below(900) as usize;
                let path = tree.resolve_replacement(&pool, Key::of_head(head), len).unwrap();
                tree.replace(&mut pool, &path, &vec![head as u8; len]).unwrap();
                model.insert(head, len);
            } else if random.below(3) > u64::from(is_growing) && model.contains_key(&head) {
                remove(&mut pool, tree, head);
                model.remove(&head);
            } else {
                let len = 100 + random.below(900) as usize;
                put(&mut pool, tree, head, len);
                model.insert(head, len);
            }
        }
        if random.below(300) == 0 {
            let which = random.below(2) as usize;
            trees[which].clear(&mut pool).unwrap();
            models[which].clear();
        }
        let mut away = None;
        if random.below(3) == 0 && !trees[0].is_empty() {
            let leaf = trees[0].resolve(&pool, Key::of_head(touched[0])).unwrap().leaf().page;
            away = Some((leaf, pool.evict(leaf).unwrap()));
        }
        for head in &touched {
            for (tree, model) in trees.iter().zip(&models) {
                match tree.find(&pool, Key::of_head(*head)) {
                    Ok(found) => {
                        assert_eq!(found.map(<[u8]>::len), model.get(head).copied());
                        assert!(found.is_none_or(|payload| payload.iter().all(|byte| *byte == *head as u8)));
                    }
                    Err(missing) => assert_eq!(Some(missing), away.as_ref().map(|(page, _)| Missing::Page(*page))),
                }
                // The same head with another tail is another key.
                assert!(matches!(tree.find(&pool, Key::new(*head, b"x")), Ok(None) | Err(_)));
            }
        }
        if let Some((page, image)) = away {
            pool.supply(page, &image).unwrap();
        }
    }
}

/// What a touch has found is replaced without a descent as long as the leaf has room, to the last byte of it.
#[test]
fn a_replacement_that_fits_needs_the_leaf_alone() {
    let (mut pool, mut tree) = (pool(10), Tree::new());
    for head in 1..=80 {
        put(&mut pool, &mut tree, head, SIXTEENTH);
    }
    let levels_of = |tree: &Tree, pool: &_, len| {
        let path = tree.resolve_replacement(pool, Key::of_head(35), len).unwrap();
        assert_eq!(path.leaf().page, tree.resolve(pool, Key::of_head(35)).unwrap().leaf().page);
        path.levels
    };
    assert_eq!(levels_of(&tree, &pool, SIXTEENTH), 2, "nothing was touched");
    tree.touch(&pool, &[35], |_| unreachable!());
    let leaf = tree.resolve(&pool, Key::of_head(35)).unwrap().leaf();
    let old = tree.find(&pool, Key::of_head(35)).unwrap().unwrap().len();
    let room = old + pool.page(leaf.page).unwrap().free();
    assert_eq!(levels_of(&tree, &pool, room - 1), 1);
    assert_eq!(levels_of(&tree, &pool, room), 1);
    assert_eq!(levels_of(&tree, &pool, room + 1), 2);
}

#[test]
#[should_panic(expected = "the path begins at the root")]
fn a_path_that_is_the_leaf_alone_removes_nothing() {
    let (mut pool, mut tree) = (pool(10), Tree::new());
    (1..=80).for_each(|head| put(&mut pool, &mut tree, head, SIXTEENTH));
    tree.touch(&pool, &[35], |_| unreachable!());
    let path = tree.resolve_replacement(&pool, Key::of_head(35), 1).unwrap();
    tree.remove(&mut pool, &path);
}

/// The page that the memo of row 35 names is freed by one tree and taken by the other, for a row 35 in the same place.
#[test]
fn what_is_remembered_of_a_page_ends_with_its_release() {
    let (mut pool, mut tree, mut other) = (pool(10), Tree::new(), Tree::new());
    for head in 1..=80 {
        put(&mut pool, &mut tree, head, SIXTEENTH);
    }
    let leaf = tree.resolve(&pool, Key::of_head(35)).unwrap().leaf();
    let first = 35 - u64::from(leaf.index);
    tree.touch(&pool, &[35], |_| unreachable!());
    assert!(tree.find(&pool, Key::of_head(35)).unwrap().is_some());
    let count = pool.page(leaf.page).unwrap().count() as u64;
    (first..first + count).for_each(|head| remove(&mut pool, &mut tree, head));
    (first..first + count).for_each(|head| put(&mut pool, &mut other, head, SIXTEENTH));
    let taken = other.resolve(&pool, Key::of_head(35)).unwrap().leaf();
    assert_eq!((taken.page, taken.index), (leaf.page, leaf.index));
    assert_eq!(tree.find(&pool, Key::of_head(35)), Ok(None));
}
