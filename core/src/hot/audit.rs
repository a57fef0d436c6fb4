//! Which rows that are not of their shard's slots may be there: for a check of a data directory at rest.
//!
//! What stands beside a shard's slots is a sub-row of another shard's split counter, so the owner's list has its key (S1 of decision
//! 0019). Checkpoints of two shards are not of one moment: the sub-row may be gone by the log, and the list as the log
//! has it names what that of the checkpoint does not. So a row is a *stranger* if no list of its owner names it, neither that of the checkpoint nor
//! one of the log behind it, and nothing in its shard's log removes it.

use super::registry;
use crate::limits::{HIDDEN_DB, SPLITS_MAX};
use crate::route;
use cairn_storage::units::ShardId;
use std::collections::{BTreeMap, BTreeSet};

/// Rows that are remembered beyond those that there may be: what is found to be wrong is named.
const STRANGERS_MAX: usize = 1000;

/// Database, key.
type Counter = (u8, Vec<u8>);

/// What one shard's checkpoint and log say.
#[derive(Debug)]
pub struct Audit {
    shard: u16,
    shards: u16,
    seed: u64,
    /// Not of the shard's slots: their heads.
    beside: BTreeMap<Counter, u64>,
    removed: BTreeSet<Counter>,
    cleared: BTreeSet<u8>,
    listed: BTreeSet<Counter>,
    /// Something that it has not seen may say otherwise.
    is_partial: bool,
}

/// A row that ought not to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    pub shard: ShardId,
    pub db: u8,
    pub head: u64,
    pub key: Vec<u8>,
}

impl Audit {
    pub fn new(shard: ShardId, shards: u16, seed: u64) -> Audit {
        Audit {
            shard: shard.0,
            shards,
            seed,
            beside: BTreeMap::new(),
            removed: BTreeSet::new(),
            cleared: BTreeSet::new(),
            listed: BTreeSet::new(),
            is_partial: false,
        }
    }

    /// Not all of the shard could be read.
    pub fn note_partial(&mut self) {
        self.is_partial = true;
    }

    /// A row of the checkpoint, or of a collection's elements, which may be anywhere. Whether it can be in its place. `key`: not of a long one; `value`: not of one that stands outside its leaf.
    pub fn on_row(&mut self, db: u8, head: u64, key: Option<&[u8]>, value: Option<&[u8]>) -> bool {
        if db >= HIDDEN_DB {
            if (head, key) == (registry::ROW.head, Some(registry::ROW.key)) {
                self.note_list(value);
            }
            return true;
        }
        let is_own = self.owner(head) == Some(self.shard);
        let Some(key) = key else { return is_own };
        if route::head(route::slot(key), key, self.seed) != head {
            return false;
        }
        is_own || self.note_beside(db, head, key)
    }

    /// The log behind the checkpoint sets a row.
    pub fn on_put(&mut self, db: u8, head: u64, key: &[u8], value: &[u8]) {
        if (db, head, key) == (registry::ROW.db, registry::ROW.head, registry::ROW.key) {
            self.note_list(Some(value));
        } else if db < HIDDEN_DB && self.owner(head) != Some(self.shard) {
            self.note_beside(db, head, key);
        }
    }

    /// It removes one.
    pub fn on_delete(&mut self, db: u8, head: u64, key: &[u8]) {
        if db < HIDDEN_DB && self.owner(head) != Some(self.shard) {
            self.removed.insert((db, key.to_vec()));
        }
    }

    pub fn on_clear(&mut self, db: u8) {
        self.cleared.insert(db);
    }

    /// `None`: no slot has such a head.
    fn owner(&self, head: u64) -> Option<u16> {
        Some(route::owner(route::slot_of(head)?, self.shards))
    }

    fn note_list(&mut self, value: Option<&[u8]>) {
        match value.and_then(registry::decode) {
            Some(list) => self.listed.extend(list),
            None => self.is_partial = true,
        }
    }

    fn note_beside(&mut self, db: u8, head: u64, key: &[u8]) -> bool {
        if self.beside.len() >= SPLITS_MAX * usize::from(self.shards) + STRANGERS_MAX {
            return false;
        }
        self.beside.insert((db, key.to_vec()), head);
        true
    }
}

/// Rows that are in a shard's place for no reason. `audits`: of all shards, in their order.
pub fn strangers(audits: &[Audit]) -> Vec<Stranger> {
    let mut strangers = Vec::new();
    for audit in audits.iter().filter(|audit| !audit.is_partial) {
        for (counter, head) in &audit.beside {
            let owner = audit.owner(*head).map(|owner| &audits[usize::from(owner)]);
            let is_named = owner.is_some_and(|owner| owner.is_partial || owner.listed.contains(counter));
            let is_gone = audit.removed.contains(counter) || audit.cleared.contains(&counter.0);
            if !is_gone && !is_named {
                let (db, key) = counter.clone();
                strangers.push(Stranger { shard: ShardId(audit.shard), db, head: *head, key });
            }
        }
    }
    strangers
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 7;

    /// `bar` belongs to shard 0 of two, `foo` to shard 1.
    fn audits() -> Vec<Audit> {
        (0..2).map(|shard| Audit::new(ShardId(shard), 2, SEED)).collect()
    }

    fn head(key: &[u8]) -> u64 {
        route::head(route::slot(key), key, SEED)
    }

    fn row(audit: &mut Audit, key: &[u8]) -> bool {
        audit.on_row(0, head(key), Some(key), Some(b"1"))
    }

    fn list(keys: &[&[u8]]) -> Vec<u8> {
        registry::encode(keys.iter().map(|key| (0, *key)))
    }

    fn names(audits: &[Audit]) -> Vec<Vec<u8>> {
        strangers(audits).into_iter().map(|stranger| stranger.key).collect()
    }

    #[test]
    fn a_row_beside_its_shards_slots_is_a_sub_row_or_a_stranger() {
        let mut audits = audits();
        assert!(row(&mut audits[0], b"bar") && row(&mut audits[1], b"foo") && row(&mut audits[1], b"bar"));
        assert_eq!(names(&audits), [b"bar"]);
        // The owner's list names it: that of the checkpoint, or a later one.
        audits[0].on_row(HIDDEN_DB, 0, Some(b"splits"), Some(&list(&[b"x", b"bar"])));
        assert_eq!(names(&audits), Vec::<Vec<u8>>::new());
        assert!(row(&mut audits[0], b"foo"));
        assert_eq!(names(&audits), [b"foo"]);
        audits[1].on_put(HIDDEN_DB, 0, b"splits", &list(&[b"foo"]));
        assert_eq!(names(&audits), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn what_the_log_removes_or_nobody_can_say_is_no_stranger() {
        for how in 0..4 {
            let mut audits = audits();
            row(&mut audits[1], b"bar");
            match how {
                0 => audits[1].on_delete(0, head(b"bar"), b"bar"),
                1 => audits[1].on_clear(0),
                2 => audits[0].note_partial(),
                _ => _ = audits[0].on_row(HIDDEN_DB, 0, Some(b"splits"), None),
            }
            assert_eq!(names(&audits), Vec::<Vec<u8>>::new(), "{how}");
        }
        let mut audits = audits();
        audits[1].on_put(0, head(b"bar"), b"bar", b"2");
        assert_eq!(names(&audits), [b"bar"]);
    }

    #[test]
    fn a_row_under_another_head_and_a_long_key_beside_the_slots_are_wrong_at_once() {
        let mut audits = audits();
        assert!(!audits[0].on_row(0, head(b"bar") + 1, Some(b"bar"), Some(b"1")));
        assert!(audits[0].on_row(0, head(b"bar"), None, None));
        assert!(!audits[0].on_row(0, head(b"foo"), None, None));
        // What the server has for itself stands where it likes.
        assert!(audits[1].on_row(HIDDEN_DB, 3, Some(b"any"), None));
    }
}
