//! The tree of deadlines: which rows are past their time, without looking at the others.
//!
//! An entry is (deadline, space, head), with no payload. It stands for all rows of that head which expire then:
//! nearly always one. A *space* is what entries know a database by: it goes with the rows when two databases change places.

use super::{Detached, Engine, Stop};
use crate::error::Missing;
use crate::page::Key;
use crate::row::Header;
use std::ops::ControlFlow;

/// The tail of an entry.
pub(super) struct Entry([u8; 9]);

impl Entry {
    pub(super) fn new(space: u8, head: u64) -> Entry {
        let mut tail = [space; 9];
        tail[1..].copy_from_slice(&head.to_be_bytes());
        Entry(tail)
    }

    pub(super) fn key(&self, expire_ms: u64) -> Key<'_> {
        Key::new(expire_ms, &self.0)
    }

    fn decode(tail: &[u8]) -> (u8, u64) {
        let (space, head) = tail.split_first_chunk::<1>().expect("an entry's tail is space and head");
        (space[0], u64::from_be_bytes(*head.first_chunk().expect("an entry's tail is space and head")))
    }
}

impl Engine {
    /// A row's deadline goes from `old_ms` to `new_ms` (0: none). The row itself still has the old one. Pages are
    /// reserved.
    #[inline]
    pub(super) fn move_deadline(&mut self, db: u8, head: u64, old_ms: u64, new_ms: u64) -> Result<(), Stop> {
        if old_ms == new_ms { Ok(()) } else { self.change_deadline(db, head, old_ms, new_ms) }
    }

    #[cold]
    fn change_deadline(&mut self, db: u8, head: u64, old_ms: u64, new_ms: u64) -> Result<(), Stop> {
        let entry = Entry::new(self.spaces.of(db), head);
        let is_shared = self.prepare_deadline(db, head, old_ms, new_ms)?;
        if new_ms != 0 {
            let path = self.deadlines.resolve(&self.pool, entry.key(new_ms))?;
            if !path.is_exact() {
                self.deadlines.insert(&mut self.pool, &path, entry.key(new_ms), &[])?;
            }
            self.expiring[usize::from(db)] += 1;
        }
        if old_ms != 0 {
            // Keeps E1: a neighbour of the same head may need the entry, or a row that may come back.
            let space = self.spaces.of(db);
            if !is_shared && !self.txns.cleared.iter().any(|cleared| cleared.space == space) {
                self.drop_deadline(db, head, old_ms)?;
            }
            self.expiring[usize::from(db)] -= 1;
        }
        Ok(())
    }

    /// A row does not expire any more, and its entry stays until it is due (E1).
    #[cold]
    pub(super) fn leave_deadline(&mut self, db: u8) {
        self.expiring[usize::from(db)] -= 1;
    }

    /// Looks at all that a change of a deadline needs and that may be absent; from then on it stays in memory. Answers
    /// whether another row needs the old entry.
    pub(super) fn prepare_deadline(&self, db: u8, head: u64, old_ms: u64, new_ms: u64) -> Result<bool, Missing> {
        let entry = Entry::new(self.spaces.of(db), head);
        if new_ms != 0 && new_ms != old_ms {
            self.deadlines.resolve(&self.pool, entry.key(new_ms))?;
        }
        if old_ms == 0 || new_ms == old_ms {
            return Ok(false);
        }
        self.deadlines.resolve(&self.pool, entry.key(old_ms))?;
        Ok(self.expiring_at(db, head, old_ms)? > 1)
    }

    /// Rows that expire have gone as a whole. Entries of the tree stay until they are due (E1), unless nothing is left that they
    /// could be of.
    pub(super) fn drop_deadlines(&mut self) {
        if self.txns.cleared.is_empty() && self.expiring.iter().all(|rows| *rows == 0) {
            let rows = self.deadlines.detach();
            self.detached.push(Detached { rows, has_outside: false });
        }
    }

    pub(super) fn drop_deadline(&mut self, db: u8, head: u64, expire_ms: u64) -> Result<(), Missing> {
        let entry = Entry::new(self.spaces.of(db), head);
        let path = self.deadlines.resolve(&self.pool, entry.key(expire_ms))?;
        if path.is_exact() {
            self.deadlines.remove(&mut self.pool, &path);
        }
        Ok(())
    }

    /// How many rows of this head expire at that time.
    fn expiring_at(&self, db: u8, head: u64, expire_ms: u64) -> Result<usize, Missing> {
        let mut count = 0;
        self.rows[usize::from(db)].scan(&self.pool, Key::of_head(head), |key, payload| {
            if key.head != head {
                return ControlFlow::Break(());
            }
            count += usize::from(Header::decode(payload).0.expire_ms == expire_ms);
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// When the first row expires, if any does.
    pub fn deadline_next(&self) -> Result<Option<u64>, Missing> {
        self.await_redo()?;
        Ok(self.deadlines.first(&self.pool)?.map(|(key, _)| key.head))
    }

    /// Keys that are past their time at `now_ms`, at most about `max` of them: database, head and key. Entries that
    /// are past it and stand for no row are dropped.
    pub fn due(&mut self, now_ms: u64, max: usize) -> Result<Vec<(u8, u64, Vec<u8>)>, Missing> {
        let mut heads = Vec::new();
        if !self.txns.cleared.is_empty() {
            // Entries whose rows may come back are not to go.
            return Ok(Vec::new());
        }
        self.deadlines.scan(&self.pool, Key::MIN, |key, _| {
            if key.head > now_ms || heads.len() == max {
                return ControlFlow::Break(());
            }
            heads.push((Entry::decode(key.tail), key.head));
            ControlFlow::Continue(())
        })?;
        let mut due = Vec::new();
        for ((space, head), deadline) in heads {
            let db = self.spaces.database(space);
            let mut is_used = false;
            self.scan_keys(db, head, |at, key, found| {
                let expire_ms = found.expire_ms;
                if at != head {
                    return ControlFlow::Break(());
                }
                is_used |= expire_ms == deadline;
                if expire_ms != 0 && expire_ms <= now_ms {
                    due.push((db, head, key.to_vec()));
                }
                ControlFlow::Continue(())
            })?;
            if !is_used {
                self.drop_deadline(db, head, deadline)?;
            }
        }
        Ok(due)
    }
}
