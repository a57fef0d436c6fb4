//! The same random operations against a `Vec` and the tree, in both orders, with pages absent at random; the whole
//! structure is checked after every step.

mod paged;
mod shapes;

use super::{CountedTree, Cursor};
use crate::error::Missing;
use crate::limits::ROW_INLINE_BYTES_MAX;
use crate::page::{Key, SPACE_BYTES};
use crate::pool::{Frame, Pool};
use crate::tree::Access;
use crate::units::PageId;
use core::ops::{Bound, ControlFlow};
use proptest::prelude::*;
use std::collections::BTreeMap;

type OwnKey = (u64, Vec<u8>);
type OwnRow = (OwnKey, Vec<u8>);

/// One step of a run. Numbers choose among what is there when the step comes.
#[derive(Clone, Debug)]
enum Step {
    /// Puts a row: by a key, or at a rank.
    Put {
        which: u64,
        len: usize,
    },
    /// Puts many at one end.
    Push {
        is_front: bool,
        rows: usize,
        len: usize,
    },
    Replace {
        which: u64,
        len: usize,
    },
    Remove {
        which: u64,
    },
    RemoveRange {
        which: u64,
        rows: u64,
    },
    /// Reads around a place: at, rank, ranges both ways.
    Read {
        which: u64,
        rows: usize,
    },
    Count {
        from: u64,
        to: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let len = || prop_oneof![4 => 0..300_usize, 1 => 0..ROW_INLINE_BYTES_MAX, 1 => Just(ROW_INLINE_BYTES_MAX)];
    prop_oneof![
        8 => (any::<u64>(), len()).prop_map(|(which, len)| Step::Put { which, len }),
        1 => (any::<bool>(), 1..40_usize, 0..400_usize)
            .prop_map(|(is_front, rows, len)| Step::Push { is_front, rows, len }),
        2 => (any::<u64>(), len()).prop_map(|(which, len)| Step::Replace { which, len }),
        4 => any::<u64>().prop_map(|which| Step::Remove { which }),
        1 => (any::<u64>(), 0..60_u64).prop_map(|(which, rows)| Step::RemoveRange { which, rows }),
        2 => (any::<u64>(), 1..50_usize).prop_map(|(which, rows)| Step::Read { which, rows }),
        1 => (any::<u64>(), any::<u64>()).prop_map(|(from, to)| Step::Count { from, to }),
    ]
}

/// What `which` chooses: keys with equal heads and with tails that share their beginnings, and others.
fn key(which: u64) -> OwnKey {
    let number = which % 600;
    let mut tail = vec![7; (number % 5 * 100) as usize];
    tail.extend(number.to_be_bytes());
    (number % 7 * (u64::MAX / 7), tail)
}

/// Between the keys of rows that are put at an end one after the other.
const STRIDE: u64 = 1 << 20;

/// The key of a row that is gathered.
fn dense(number: u64) -> OwnKey {
    (1 << 40, number.to_be_bytes()[3..].to_vec())
}

fn number(tail: &[u8]) -> u64 {
    tail.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What a payload says: of the first byte of a row in a bundle, which kind it is does not matter.
fn plain(payload: &[u8]) -> Vec<u8> {
    let mut plain = payload.to_vec();
    if let Some(first) = plain.first_mut().filter(|first| (1..32).contains(*first)) {
        *first = 1;
    }
    plain
}

fn as_key(key: &OwnKey) -> Key<'_> {
    Key::new(key.0, &key.1)
}

struct Model {
    pool: Pool,
    tree: CountedTree,
    rows: Vec<OwnRow>,
    images: BTreeMap<u32, Box<Frame>>,
    /// Of a hundred pages, about so many are absent when a step begins.
    absent_percent: u64,
    steps: u64,
    /// Keys and payloads are those of rows that are gathered in bundles.
    is_dense: bool,
}

impl Model {
    fn new(tree: CountedTree, absent_percent: u64) -> Model {
        let pool = Pool::new(20_000, Box::new(|_| {}));
        Model { pool, tree, rows: Vec::new(), images: BTreeMap::new(), absent_percent, steps: 0, is_dense: false }
    }

    fn has_keys(&self) -> bool {
        self.tree.tree.access == Access::KeyAndRank
    }

    fn evict(&mut self) {
        self.steps += 1;
        for page in 1..=self.pool.pages() as u32 + 50 {
            let random = (self.steps << 32 | u64::from(page)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            if random % 100 < self.absent_percent && self.pool.is_resident(PageId(page)) {
                self.images.insert(page, self.pool.evict(PageId(page)).unwrap());
            }
        }
    }

    fn supply(&mut self, missing: Missing) {
        let Missing::Page(page) = missing else { panic!("a tree has only pages") };
        let image = self.images.remove(&page.0).expect("only evicted pages are missing");
        self.pool.supply(page, &image).unwrap();
    }

    /// Asks as the engine does: again and again, until nothing is missing.
    fn ask<T>(&mut self, question: impl Fn(&CountedTree, &Pool) -> Result<T, Missing>) -> T {
        loop {
            match question(&self.tree, &self.pool) {
                Ok(answer) => return answer,
                Err(missing) => self.supply(missing),
            }
        }
    }

    /// What `which` chooses of keys. Dense ones have the strides of rows at an end, and others between them.
    fn key(&self, which: u64) -> OwnKey {
        match (self.is_dense, self.rows.first()) {
            (false, _) => key(which),
            (true, None) => dense(1 << 38),
            (true, Some(((_, first), _))) => {
                let steps = which % (self.rows.len() as u64 + 2);
                let mut key = dense(number(first) + steps * STRIDE - STRIDE / 2 * (which >> 40 & 1));
                if which >> 41 & 15 == 0 {
                    key.1.push((which >> 48) as u8 | 1);
                }
                key
            }
        }
    }

    /// Of so many bytes, or, if such rows are gathered, as many as they have.
    fn payload(&self, len: usize) -> Vec<u8> {
        let mut payload = vec![self.steps as u8; if self.is_dense { 1 + len % 40 } else { len }];
        if self.is_dense {
            payload[0] = 1;
        }
        payload
    }

    fn rank(&self, which: u64) -> usize {
        (which % self.rows.len().max(1) as u64) as usize
    }

    fn put(&mut self, rank: usize, key: OwnKey, len: usize) {
        let len = len.min(ROW_INLINE_BYTES_MAX - 8 - key.1.len());
        let payload = self.payload(len);
        if self.has_keys() {
            let path = self.ask(|tree, pool| tree.resolve(pool, as_key(&key)));
            let place = self.rows.binary_search_by(|(other, _)| other.cmp(&key));
            assert_eq!(path.is_exact(), place.is_ok());
            assert_eq!(self.tree.rank_of(&self.pool, &path), place.unwrap_or_else(|place| place) as u64);
            match place {
                Ok(place) => {
                    assert_eq!(plain(self.tree.payload(&self.pool, &path)), self.rows[place].1);
                    self.tree.replace(&mut self.pool, &path, &payload).unwrap();
                    self.rows[place].1 = plain(&payload);
                }
                Err(place) => {
                    self.tree.insert(&mut self.pool, &path, as_key(&key), &payload).unwrap();
                    self.rows.insert(place, (key, plain(&payload)));
                }
            }
        } else {
            let path = self.ask(|tree, pool| tree.resolve_rank(pool, rank as u64));
            self.tree.insert_at(&mut self.pool, &path, &payload).unwrap();
            self.rows.insert(rank, ((0, Vec::new()), plain(&payload)));
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Put { which, len } => self.put((which % (self.rows.len() as u64 + 1)) as usize, self.key(which), len),
            Step::Push { is_front, rows, len } => {
                for _ in 0..rows {
                    let edge = if is_front { self.rows.first() } else { self.rows.last() };
                    if self.is_dense {
                        let last = edge.map_or(1 << 38, |((_, tail), _)| number(tail));
                        let next = if is_front { last - STRIDE } else { last + STRIDE };
                        self.put(if is_front { 0 } else { self.rows.len() }, dense(next), len);
                        continue;
                    }
                    let edge = edge.map_or(u64::MAX / 2, |((head, _), _)| *head);
                    let head = if is_front { edge.saturating_sub(1) } else { edge.saturating_add(1) };
                    self.put(if is_front { 0 } else { self.rows.len() }, (head, vec![1]), len);
                }
            }
            Step::Replace { which, len } if !self.rows.is_empty() => {
                let rank = self.rank(which);
                let path = self.ask(|tree, pool| tree.resolve_rank(pool, rank as u64));
                assert_eq!(self.tree.rank_of(&self.pool, &path), rank as u64);
                let payload = self.payload(len.min(ROW_INLINE_BYTES_MAX - 8 - self.rows[rank].0.1.len()));
                self.tree.replace(&mut self.pool, &path, &payload).unwrap();
                self.rows[rank].1 = plain(&payload);
            }
            Step::Remove { which } if !self.rows.is_empty() => {
                let rank = self.rank(which);
                let key = self.rows[rank].0.clone();
                let path = if self.has_keys() && which % 2 == 0 {
                    self.ask(|tree, pool| tree.resolve(pool, as_key(&key)))
                } else {
                    self.ask(|tree, pool| tree.resolve_rank(pool, rank as u64))
                };
                self.tree.remove(&mut self.pool, &path);
                self.rows.remove(rank);
            }
            Step::RemoveRange { which, rows } => self.remove_range(self.rank(which), rows),
            Step::Read { which, rows } => self.read(self.rank(which), rows, which),
            Step::Count { from, to } if self.has_keys() => self.count(self.key(from), self.key(to), from),
            _ => {}
        }
        // Releasing an absent page makes its image void.
        self.images.retain(|page, _| !self.pool.is_resident(PageId(*page)));
    }

    fn remove_range(&mut self, rank: usize, rows: u64) {
        let end = self.rows.len().min(rank + rows as usize);
        let mut shown = Vec::new();
        while shown.len() < end - rank {
            let (len, left) = (self.tree.len(), (end - rank - shown.len()) as u64);
            let show = |key: Key<'_>, payload: &[u8]| shown.push(((key.head, key.tail.to_vec()), plain(payload)));
            match self.tree.remove_range(&mut self.pool, rank as u64, left, show) {
                Ok(gone) => assert!(gone > 0 && self.tree.len() + gone == len),
                Err(missing) => {
                    assert_eq!(self.tree.len(), len);
                    self.supply(missing);
                }
            }
        }
        assert_eq!(self.rows.drain(rank..end).collect::<Vec<_>>(), shown);
    }

    /// Reads `rows` rows behind `rank` and as many before it, stopping now and then.
    fn read(&mut self, rank: usize, rows: usize, which: u64) {
        let own = |key: Key<'_>, payload: &[u8]| ((key.head, key.tail.to_vec()), plain(payload));
        let found = self.ask(|tree, pool| tree.at(pool, rank as u64, own));
        assert_eq!(found.as_ref(), self.rows.get(rank));
        if self.has_keys() {
            let key = self.key(which);
            let below = self.rows.partition_point(|(other, _)| *other < key) as u64;
            let is_there = self.rows.iter().any(|(other, _)| *other == key);
            assert_eq!(self.ask(|tree, pool| tree.rank(pool, as_key(&key))), (below, is_there));
        }
        let end = self.rows.len().min(rank + rows);
        for is_forward in [true, false] {
            let mut read = Vec::new();
            let mut cursor = Cursor::new(if is_forward { rank } else { end } as u64);
            while read.len() < end - rank {
                let visit = |key: Key<'_>, payload: &[u8]| {
                    read.push(own(key, payload));
                    let is_pause = read.len() % 5 == 0 || read.len() == end - rank;
                    if is_pause { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                };
                let result = if is_forward {
                    self.tree.forward(&self.pool, &mut cursor, visit)
                } else {
                    self.tree.backward(&self.pool, &mut cursor, visit)
                };
                match result {
                    Ok(()) => {}
                    Err(missing) => {
                        let mut absent = Vec::new();
                        let next = if is_forward { cursor.rank() } else { cursor.rank() - 1 };
                        self.tree.absent_between(&self.pool, next, next + 1, 1, |page| absent.push(page));
                        assert_eq!([missing], *absent.into_iter().map(Missing::Page).collect::<Vec<_>>());
                        self.supply(missing);
                    }
                }
            }
            assert_eq!(cursor.rank() as usize, if is_forward { end } else { rank });
            if !is_forward {
                read.reverse();
            }
            assert_eq!(read, self.rows[rank.min(end)..end]);
        }
    }

    fn count(&mut self, from: OwnKey, to: OwnKey, which: u64) {
        let bound = |kind: u64, key: &OwnKey| match kind % 3 {
            0 => Bound::Included(key.clone()),
            1 => Bound::Excluded(key.clone()),
            _ => Bound::Unbounded,
        };
        let bounds = (bound(which, &from), bound(which / 3, &to));
        let is_between = |key: &OwnKey| std::ops::RangeBounds::contains(&bounds, key);
        let expect = self.rows.iter().filter(|(key, _)| is_between(key)).count() as u64;
        let (from, to) = (bounds.0.as_ref().map(as_key), bounds.1.as_ref().map(as_key));
        assert_eq!(self.ask(|tree, pool| tree.count_between(pool, from, to)), expect);
    }

    /// The whole structure, every page of it in memory again.
    fn check(&mut self) -> Result<(), crate::tree::Damage> {
        while let Some((page, image)) = self.images.pop_first() {
            self.pool.supply(PageId(page), &image).unwrap();
        }
        let census = self.tree.check(&self.pool)?;
        self.pool.check(&census.pages).unwrap();
        assert_eq!((self.tree.len(), census.rows), (self.rows.len() as u64, self.rows.len() as u64));
        if self.absent_percent == 0 && census.leaves > 8 {
            assert!(census.used > census.leaves * SPACE_BYTES as u64 / 4, "the leaves are nearly empty");
        }
        Ok(())
    }

    fn check_rows(&mut self) {
        let rows = self.rows.len();
        self.read(0, rows, 0);
        let reopened = CountedTree::opened(
            if self.has_keys() { CountedTree::by_key() } else { CountedTree::by_rank() },
            &self.tree.root(),
        );
        assert_eq!(reopened.check(&self.pool), self.tree.check(&self.pool));
    }

    fn run(mut self, rows: u64, steps: &[Step]) {
        for number in 0..rows {
            let which = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8;
            self.step(&Step::Put { which, len: (which % 2000) as usize });
        }
        for step in steps {
            self.evict();
            self.step(step);
            self.check().unwrap();
        }
        self.check_rows();
        while !self.rows.is_empty() {
            self.evict();
            self.remove_range(self.rows.len() / 2, 7.min(self.rows.len() as u64));
            self.images.retain(|page, _| !self.pool.is_resident(PageId(*page)));
            self.check().unwrap();
        }
        assert_eq!((self.tree.pages(), self.tree.bytes(), self.pool.pages()), (0, 0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn rows_by_key(
        rows in 0..900_u64,
        steps in prop::collection::vec(step(), 50..200),
        absent_percent in prop_oneof![Just(0), 1..60_u64],
    ) {
        Model::new(CountedTree::by_key(), absent_percent).run(rows, &steps);
    }

    #[test]
    fn rows_in_bundles(
        rows in 0..2500_usize,
        is_front in any::<bool>(),
        len in 0..60_usize,
        steps in prop::collection::vec(step(), 50..200),
        absent_percent in prop_oneof![Just(0), 1..60_u64],
    ) {
        let mut model = Model { is_dense: true, ..Model::new(CountedTree::by_key(), absent_percent) };
        model.step(&Step::Push { is_front, rows, len });
        model.check().unwrap();
        model.run(0, &steps);
    }

    #[test]
    fn rows_by_rank(
        rows in 0..900_u64,
        steps in prop::collection::vec(step(), 50..200),
        absent_percent in prop_oneof![Just(0), 1..60_u64],
    ) {
        Model::new(CountedTree::by_rank(), absent_percent).run(rows, &steps);
    }
}

/// Branches above branches split, join and go.
#[test]
fn deep_trees() {
    for tree in [CountedTree::by_key(), CountedTree::by_rank()] {
        let mut model = Model::new(tree, 0);
        let mut levels_max = 0;
        for step in 0..9000_u64 {
            let random = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8;
            let has_grown = step > 4500;
            if has_grown && step % 4 != 0 {
                model.step(&Step::Remove { which: random });
            } else if model.has_keys() {
                let mut tail = vec![7; 470];
                tail.extend(random.to_be_bytes());
                model.put(0, (random % 3, tail), ROW_INLINE_BYTES_MAX);
            } else {
                let len = ROW_INLINE_BYTES_MAX - (random % 64) as usize;
                model.step(&Step::Put { which: random, len });
            }
            levels_max = levels_max.max(model.tree.levels());
            if step % 8 == 0 {
                model.check().unwrap();
            }
        }
        assert!(levels_max >= 3 && (!model.has_keys() || levels_max >= 4));
        model.run(0, &[]);
    }
}

/// The same at the ends, where pages are split unevenly.
#[test]
fn deep_trees_grow_at_their_ends() {
    for is_front in [true, false] {
        let mut model = Model::new(CountedTree::by_key(), 0);
        for step in 0..5000_u64 {
            let mut tail = vec![7; 470];
            tail.extend(if is_front { !step } else { step }.to_be_bytes());
            model.put(0, (0, tail), ROW_INLINE_BYTES_MAX);
            if step % 8 == 0 {
                model.check().unwrap();
            }
        }
        assert!(model.tree.levels() >= 4);
        model.run(0, &[]);
    }
}

/// A handing over that leaves the counts as they were is seen by the next check.
#[test]
fn forgotten_counts_show() {
    for (tree, is_forgetful) in [
        (CountedTree::by_key(), true),
        (CountedTree::by_rank(), true),
        (CountedTree::by_key(), false),
        (CountedTree::by_rank(), false),
    ] {
        let mut model = Model::new(tree, 0);
        model.tree.tree.is_forgetful = is_forgetful;
        let mut damage = None;
        for which in 0..600_u64 {
            model.step(&Step::Put { which: which.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8, len: 200 });
            let checked = model.check();
            damage = damage.or(checked.err().map(|damage| damage.what));
            if damage.is_some() {
                break;
            }
        }
        assert_eq!(damage, is_forgetful.then_some("miscounts the rows below it"));
    }
}
