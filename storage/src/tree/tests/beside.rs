//! Rows that come or go one beside the other: they are found where a search from the root finds them.

use super::{Random, pool};
use crate::page::Key;
use crate::pool::Pool;
use crate::tree::{Access, Path, Tree};
use std::collections::BTreeSet;

/// What a path says.
fn told(path: &Path) -> String {
    format!("{:?} {} {:?} {}", &path.steps[..path.levels as usize], path.is_exact, path.within, path.changes)
}

struct Runs {
    pool: Pool,
    tree: Tree,
    rows: BTreeSet<(u64, u64)>,
    random: Random,
    /// Rows that were found beside the last one.
    beside: u64,
}

impl Runs {
    fn resolve(&mut self, key: Key<'_>) -> Path {
        self.tree.follows = true;
        self.beside += u64::from(self.tree.beside(&self.pool, key).is_some());
        let path = self.tree.resolve(&self.pool, key).unwrap();
        self.tree.follows = false;
        let searched = self.tree.resolve(&self.pool, key).unwrap();
        self.tree.follows = true;
        assert_eq!(told(&path), told(&searched));
        path
    }

    fn change(&mut self, head: u64, number: u64, comes: bool) {
        let tail = number.to_be_bytes();
        let key = Key::new(head, &tail);
        let path = self.resolve(key);
        assert_eq!(path.is_exact(), self.rows.contains(&(head, number)));
        if comes && !path.is_exact() {
            // Of a kind that stands in bundles.
            let mut payload = vec![1; 1 + self.random.below(30) as usize];
            payload.extend_from_slice(&tail);
            self.tree.insert(&mut self.pool, &path, key, &payload).unwrap();
            self.rows.insert((head, number));
        } else if !comes && path.is_exact() {
            self.tree.remove(&mut self.pool, &path);
            self.rows.remove(&(head, number));
        }
    }

    /// A run from a random place on, upwards or downwards, of which some rows are there and others are not.
    fn run(&mut self, comes: bool) {
        let (head, from) = (self.random.below(3), 1000 + self.random.below(4000));
        let (stride, is_down) = (1 + self.random.below(3), self.random.below(3) == 0);
        for at in 0..self.random.below(60) {
            let number = if is_down { from - at * stride } else { from + at * stride };
            self.change(head, number, comes);
        }
    }
}

#[test]
fn rows_beside_the_last_one_are_found_where_they_are() {
    for seed in 0..6 {
        let tree = Tree::with_access(Access::KeyAndRank);
        let mut runs = Runs { pool: pool(1000), tree, rows: BTreeSet::new(), random: Random(seed), beside: 0 };
        for step in 0..1200 {
            let declines = step / 200 % 2 == 1;
            let comes = runs.random.below(10) < if declines { 2 } else { 8 };
            runs.run(comes);
            let census = runs.tree.check(&runs.pool).unwrap();
            runs.pool.check(&census.pages).unwrap();
            assert_eq!(runs.tree.len(), runs.rows.len() as u64);
        }
        assert!(runs.beside > 4000, "{}", runs.beside);
    }
}
