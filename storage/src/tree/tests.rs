//! The same random operations against `BTreeMap` and the tree, the whole structure checked after every step.

mod beside;
mod shapes;
mod touch;

use super::{Path, Tree};
use crate::error::Missing;
use crate::limits::ROW_INLINE_BYTES_MAX;
use crate::page::Key;
use crate::pool::{Frame, Pool};
use crate::units::PageId;
use core::ops::ControlFlow;
use std::collections::BTreeMap;

type Row = ((u64, Vec<u8>), Vec<u8>);

/// SplitMix64.
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

pub(super) fn pool(pages_max: usize) -> Pool {
    Pool::new(pages_max, Box::new(|_| {}))
}

/// How a run chooses keys and sizes.
#[derive(Clone, Copy)]
struct Taste {
    heads: u64,
    tails: u64,
    tail_max: u64,
    payload_max: u64,
    /// Of 100 operations on a key, about so many insert, and as many remove when the other half is due.
    insert_percent: u64,
}

struct Model {
    pool: Pool,
    tree: Tree,
    rows: BTreeMap<(u64, Vec<u8>), Vec<u8>>,
    images: BTreeMap<u32, Box<Frame>>,
    random: Random,
}

impl Model {
    fn new(seed: u64, pages_max: usize) -> Model {
        Model {
            pool: pool(pages_max),
            // Where nothing follows that is beside the last row it is as without.
            tree: Tree { follows: seed % 2 == 1, ..Tree::new() },
            rows: BTreeMap::new(),
            images: BTreeMap::new(),
            random: Random(seed),
        }
    }

    fn key(&mut self, taste: Taste) -> (u64, Vec<u8>) {
        let head = self.random.below(taste.heads).wrapping_mul(u64::MAX / taste.heads);
        let which = self.random.below(taste.tails);
        let mut tail = Random(which).bytes((which % (taste.tail_max + 1)) as usize);
        // Long shared beginnings make separators long.
        let shared = tail.len() * 3 / 4;
        tail[..shared].fill(7);
        (head, tail)
    }

    fn payload(&mut self, taste: Taste, tail: usize) -> Vec<u8> {
        let len = match self.random.below(10) {
            0 => 0,
            1 => taste.payload_max,
            _ => self.random.below(taste.payload_max + 1),
        };
        let len = (len as usize).min(ROW_INLINE_BYTES_MAX - 8 - tail);
        self.random.bytes(len)
    }

    fn supply(&mut self, missing: Missing) {
        let Missing::Page(page) = missing else { panic!("a tree has only pages") };
        let image = self.images.remove(&page.0).expect("only evicted pages are missing");
        self.pool.supply(page, &image).unwrap();
    }

    /// Resolves as the engine does: again and again, until nothing is missing.
    fn resolve(&mut self, key: &(u64, Vec<u8>)) -> Path {
        loop {
            match self.tree.resolve(&self.pool, Key::new(key.0, &key.1)) {
                Ok(path) => return path,
                Err(missing) => {
                    assert_eq!(self.tree.find(&self.pool, Key::new(key.0, &key.1)), Err(missing));
                    self.supply(missing);
                }
            }
        }
    }

    fn evict_some(&mut self) {
        let pages: Vec<u32> = (1..200).filter(|page| self.pool.is_resident(PageId(*page))).collect();
        for _ in 0..3 {
            let Some(page) = pages.get(self.random.below(pages.len().max(1) as u64) as usize) else { return };
            if self.pool.is_resident(PageId(*page)) {
                self.images.insert(*page, self.pool.evict(PageId(*page)).unwrap());
            }
        }
    }

    fn supply_all(&mut self) {
        while let Some((page, image)) = self.images.pop_first() {
            self.pool.supply(PageId(page), &image).unwrap();
        }
    }

    fn step(&mut self, taste: Taste) {
        let key = self.key(taste);
        let payload = self.payload(taste, key.1.len());
        let path = self.resolve(&key);
        assert_eq!(path.is_exact(), self.rows.contains_key(&key));
        let wants_more = self.random.below(100) < taste.insert_percent;
        match (path.is_exact(), wants_more) {
            (false, true) => {
                self.tree.insert(&mut self.pool, &path, Key::new(key.0, &key.1), &payload).unwrap();
                self.rows.insert(key.clone(), payload);
            }
            (true, true) => {
                assert_eq!(self.tree.payload(&self.pool, &path), self.rows[&key]);
                self.tree.replace(&mut self.pool, &path, &payload).unwrap();
                self.rows.insert(key.clone(), payload);
            }
            (true, false) => {
                self.tree.remove(&mut self.pool, &path);
                self.rows.remove(&key);
            }
            (false, false) => {}
        }
        // Releasing an absent page makes its image void.
        self.images.retain(|page, _| !self.pool.is_resident(PageId(*page)));
        let found = loop {
            match self.tree.find(&self.pool, Key::new(key.0, &key.1)) {
                Ok(found) => break found.map(<[u8]>::to_vec),
                Err(missing) => self.supply(missing),
            }
        };
        assert_eq!(found.as_ref(), self.rows.get(&key));
    }

    fn scan(&self, from: &(u64, Vec<u8>), rows_max: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        let visit = |key: Key<'_>, payload: &[u8]| {
            rows.push(((key.head, key.tail.to_vec()), payload.to_vec()));
            if rows.len() < rows_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        self.tree.scan(&self.pool, Key::new(from.0, &from.1), visit).unwrap();
        rows
    }

    /// The rows before a key, backwards.
    fn scan_back(&self, behind: &(u64, Vec<u8>), rows_max: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        let visit = |key: Key<'_>, payload: &[u8]| {
            rows.push(((key.head, key.tail.to_vec()), payload.to_vec()));
            if rows.len() < rows_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        self.tree.scan_back(&self.pool, Key::new(behind.0, &behind.1), visit).unwrap();
        rows
    }

    /// The whole structure, and all rows.
    fn check(&self) {
        let census = self.tree.check(&self.pool).unwrap();
        self.pool.check(&census.pages).unwrap();
        assert_eq!(self.tree.len(), self.rows.len() as u64);
    }

    fn check_rows(&mut self, taste: Taste) {
        let all: Vec<Row> = self.rows.iter().map(|(key, payload)| (key.clone(), payload.clone())).collect();
        assert_eq!(self.scan(&(0, Vec::new()), usize::MAX), all);
        let from = self.key(taste);
        let some: Vec<Row> = self.rows.range(from.clone()..).take(20).map(|(k, p)| (k.clone(), p.clone())).collect();
        assert_eq!(self.scan(&from, 20), some);
        let before = self.rows.range(..from.clone()).rev().map(|(k, p)| (k.clone(), p.clone()));
        let before: Vec<Row> = before.collect();
        assert_eq!(self.scan_back(&from, usize::MAX), before);
        assert_eq!(self.scan_back(&from, 20), before[..before.len().min(20)]);
        let first = self.tree.first(&self.pool).unwrap().map(|(key, _)| (key.head, key.tail.to_vec()));
        let last = self.tree.last(&self.pool).unwrap().map(|(key, _)| (key.head, key.tail.to_vec()));
        assert_eq!(first.as_ref(), self.rows.keys().next());
        assert_eq!(last.as_ref(), self.rows.keys().next_back());
        let bytes: usize = all.iter().map(|((_, tail), payload)| 8 + tail.len() + payload.len()).sum();
        assert_eq!(self.tree.bytes(), bytes as u64);
    }
}

fn run(taste: Taste, steps: usize, does_evict: bool) {
    for seed in 0..4 {
        let mut model = Model::new(seed, 1000);
        for step in 0..steps {
            // Growth and decline take turns, so that joins are met as often as splits.
            let declines = step / (steps / 4) % 2 == 1;
            let insert_percent = if declines { 100 - taste.insert_percent } else { taste.insert_percent };
            if does_evict {
                model.evict_some();
            }
            model.step(Taste { insert_percent, ..taste });
            if does_evict {
                if step % 16 == 0 {
                    model.supply_all();
                    model.check();
                }
            } else {
                model.check();
            }
            if step % 64 == 0 {
                model.supply_all();
                model.check_rows(taste);
            }
        }
        model.supply_all();
        while let Some(key) = model.rows.keys().next().cloned() {
            let path = model.resolve(&key);
            model.tree.remove(&mut model.pool, &path);
            model.rows.remove(&key);
            model.check();
        }
        assert_eq!((model.tree.pages(), model.pool.pages()), (0, 0));
    }
}

const HASHED: Taste = Taste { heads: 1 << 40, tails: 60, tail_max: 20, payload_max: 300, insert_percent: 80 };
const CROWDED: Taste = Taste { heads: 3, tails: 2000, tail_max: 511, payload_max: 200, insert_percent: 75 };
const BULKY: Taste = Taste { heads: 300, tails: 3, tail_max: 40, payload_max: 2040, insert_percent: 70 };
const SMALL: Taste = Taste { heads: 1 << 14, tails: 4, tail_max: 8, payload_max: 4, insert_percent: 95 };

#[test]
fn small_rows() {
    run(SMALL, 8000, false);
}

#[test]
fn hashed_heads() {
    // Few of so many heads are met twice: draw from a pool of 400.
    run(Taste { heads: 400, ..HASHED }, 2400, false);
}

#[test]
fn many_rows_with_one_head_and_long_tails() {
    run(CROWDED, 2400, false);
}

#[test]
fn large_rows() {
    run(BULKY, 1200, false);
}

#[test]
fn absent_pages() {
    run(Taste { heads: 400, ..HASHED }, 2400, true);
    run(CROWDED, 2400, true);
    run(BULKY, 1200, true);
    run(SMALL, 8000, true);
}
