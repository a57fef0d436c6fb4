//! Collections whose elements no row names, or none yet ([`super::elements`], E10): what is known of them beside the tree.

use super::elements::elements_of;
use crate::error::Missing;
use crate::limits::DATABASES;
use crate::tree::Tree;
use crate::units::CollectionId;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

/// A number that no row may name: of a database.
pub(super) type Orphan = (u8, CollectionId);

/// Collections whose elements are to go.
#[derive(Default)]
pub(super) struct Orphans {
    /// In the order in which they go.
    pub(super) queue: VecDeque<Orphan>,
    /// The same, and whether the tree says so too.
    pub(super) known: BTreeMap<Orphan, bool>,
    /// Those of which the tree does not.
    pub(super) unmarked: Vec<Orphan>,
    /// Those that are known, and not in the queue: a row is to name them.
    pub(super) begun: Vec<Orphan>,
    /// Of databases that were emptied, until that is decided.
    set_aside: Vec<(u64, Orphan, bool)>,
    /// Databases whose markers have not been read since the start.
    pub(super) unread: Vec<u8>,
    /// Somebody may look at elements of collections that are gone.
    pub(super) are_held: bool,
    /// What an attempt to mark them wanted, for a checkpoint.
    pub(super) missing: Option<Missing>,
}

impl Orphans {
    /// After a start from a checkpoint with these trees.
    pub(super) fn of(rows: &[Tree]) -> Orphans {
        let unread = (0..DATABASES as u8).filter(|db| !rows[usize::from(elements_of(*db))].is_empty()).collect();
        Orphans { unread, ..Orphans::default() }
    }

    pub(super) fn add(&mut self, orphan: Orphan, is_marked: bool) {
        match self.known.entry(orphan) {
            Entry::Occupied(mut known) => *known.get_mut() |= is_marked,
            Entry::Vacant(vacant) => {
                vacant.insert(is_marked);
                self.queue.push_back(orphan);
                self.unmarked.extend((!is_marked).then_some(orphan));
            }
        }
    }

    /// A row is to name it: it does not go before [`Orphans::end`].
    pub(super) fn begin(&mut self, orphan: Orphan) {
        self.known.insert(orphan, false);
        self.unmarked.push(orphan);
        self.begun.push(orphan);
    }

    pub(super) fn end(&mut self, orphan: Orphan) {
        let begun = self.begun.len();
        self.begun.retain(|other| *other != orphan);
        if self.begun.len() < begun {
            self.queue.push_back(orphan);
        }
    }

    /// The first one is gone.
    pub(super) fn pop(&mut self) {
        if let Some(orphan) = self.queue.pop_front() {
            self.known.remove(&orphan);
        }
    }

    /// Keeps those that are wanted, under the names that they have then.
    fn retain(&mut self, keep: impl Fn(Orphan) -> Option<Orphan>) {
        let known = std::mem::take(&mut self.known);
        let queue = std::mem::take(&mut self.queue);
        self.unmarked.clear();
        for orphan in queue {
            if let Some(kept) = keep(orphan) {
                self.add(kept, known[&orphan]);
            }
        }
        for orphan in std::mem::take(&mut self.begun) {
            if let Some(kept) = keep(orphan) {
                self.begin(kept);
            }
        }
    }

    /// All rows of a database go, and its elements with them.
    pub(super) fn clear(&mut self, db: u8) {
        self.retain(|orphan| (orphan.0 != db).then_some(orphan));
        self.unread.retain(|unread| *unread != db);
    }

    /// The same, unless [`Orphans::take_back`] is told this number.
    pub(super) fn set_aside(&mut self, db: u8, cleared: u64) {
        let aside = self.queue.iter().filter(|orphan| orphan.0 == db);
        self.set_aside.extend(aside.map(|orphan| (cleared, *orphan, self.known[orphan])));
        self.retain(|orphan| (orphan.0 != db).then_some(orphan));
    }

    pub(super) fn take_back(&mut self, cleared: u64) {
        let back: Vec<_> = self.set_aside.extract_if(.., |(of, ..)| *of == cleared).collect();
        back.into_iter().for_each(|(_, orphan, is_marked)| self.add(orphan, is_marked));
    }

    pub(super) fn forget_aside(&mut self, cleared: u64) {
        self.set_aside.retain(|(of, ..)| *of != cleared);
    }

    pub(super) fn swap(&mut self, one: u8, other: u8) {
        let swapped = |db: u8| match db {
            db if db == one => other,
            db if db == other => one,
            db => db,
        };
        self.retain(|(db, number)| Some((swapped(db), number)));
        self.unread.iter_mut().for_each(|db| *db = swapped(*db));
    }
}
