//! The row locks of one shard. Only transactions over several shards hold any: what runs on one shard alone runs with nothing
//! between its commands.
//!
//! A request names all rows that a transaction needs of this shard. It is granted as a whole, and never before an earlier
//! one that it conflicts with. Rows whose heads are equal are locked together.

use crate::unstable::{Heads, place};
use std::collections::VecDeque;

/// A row, and whether it will be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLock {
    pub db: u8,
    pub head: u64,
    pub is_exclusive: bool,
}

/// The holders of a row: one that changes it, or any number that look at it.
#[derive(Clone, Copy, Debug)]
struct Held {
    is_exclusive: bool,
    holders: u32,
}

/// Which rows are locked, and who waits. `Owner` names a transaction.
pub struct Locks<Owner> {
    rows: Heads<Held>,
    waiting: VecDeque<(Owner, Vec<RowLock>)>,
}

impl<Owner> Default for Locks<Owner> {
    fn default() -> Locks<Owner> {
        Locks { rows: Heads::default(), waiting: VecDeque::new() }
    }
}

impl<Owner: Copy + PartialEq> Locks<Owner> {
    /// No row is locked.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether one who holds no lock may look at the row, or change it, now.
    #[inline]
    pub fn admits(&self, db: u8, head: u64, is_write: bool) -> bool {
        self.rows.get(&place(db, head)).is_none_or(|held| !is_write && !held.is_exclusive)
    }

    /// Asks for locks. They are held when [`Locks::grant`] says so. Of several entries for one row the strictest counts.
    pub fn request(&mut self, owner: Owner, rows: Vec<RowLock>) {
        self.waiting.push_back((owner, merged(rows)));
    }

    /// The next request that can be granted, and the rows that it holds from now on.
    pub fn grant(&mut self) -> Option<(Owner, Vec<RowLock>)> {
        let index = (0..self.waiting.len()).find(|index| self.may_be_granted(*index))?;
        let (owner, rows) = self.waiting.remove(index)?;
        self.hold(&rows);
        Some((owner, rows))
    }

    /// Locks rows without asking: of one who has changed them, and what it has changed nobody may see.
    pub fn seize(&mut self, mut rows: Vec<RowLock>) -> Vec<RowLock> {
        rows.iter_mut().for_each(|row| row.is_exclusive = true);
        let rows = merged(rows);
        self.hold(&rows);
        rows
    }

    fn hold(&mut self, rows: &[RowLock]) {
        for row in rows {
            let held = self.rows.entry(place(row.db, row.head)).or_insert(Held { is_exclusive: false, holders: 0 });
            held.is_exclusive |= row.is_exclusive;
            held.holders += 1;
        }
    }

    fn may_be_granted(&self, index: usize) -> bool {
        let rows = &self.waiting[index].1;
        let earlier = || self.waiting.iter().take(index).flat_map(|(_, rows)| rows);
        rows.iter().all(|row| self.admits(row.db, row.head, row.is_exclusive))
            && !earlier().any(|before| rows.iter().any(|row| conflicts(before, row)))
    }

    /// The owner of these locks holds them no longer.
    pub fn release(&mut self, rows: &[RowLock]) {
        for row in rows {
            let place = place(row.db, row.head);
            let held = self.rows.get_mut(&place).expect("who releases a lock holds it");
            held.holders -= 1;
            if held.holders == 0 {
                self.rows.remove(&place);
            }
        }
    }
}

fn conflicts(a: &RowLock, b: &RowLock) -> bool {
    place(a.db, a.head) == place(b.db, b.head) && (a.is_exclusive || b.is_exclusive)
}

/// Each row once, exclusively if it is so anywhere.
fn merged(mut rows: Vec<RowLock>) -> Vec<RowLock> {
    rows.sort_unstable_by_key(|row| (place(row.db, row.head), !row.is_exclusive));
    rows.dedup_by_key(|row| place(row.db, row.head));
    rows
}

#[cfg(test)]
mod tests {
    use super::{Locks, RowLock};

    fn row(head: u64, is_exclusive: bool) -> RowLock {
        RowLock { db: 0, head, is_exclusive }
    }

    fn granted(locks: &mut Locks<u32>) -> Vec<(u32, Vec<RowLock>)> {
        std::iter::from_fn(|| locks.grant()).collect()
    }

    fn names(granted: &[(u32, Vec<RowLock>)]) -> Vec<u32> {
        granted.iter().map(|(owner, _)| *owner).collect()
    }

    #[test]
    fn readers_share_and_writers_do_not() {
        let mut locks = Locks::default();
        locks.request(1, vec![row(5, false), row(6, true)]);
        locks.request(2, vec![row(5, false)]);
        locks.request(3, vec![row(6, false)]);
        let first = granted(&mut locks);
        assert_eq!((names(&first), locks.waiting()), (vec![1, 2], 1));
        assert_eq!([true, false].map(|is_write| locks.admits(0, 5, is_write)), [false, true]);
        assert_eq!([true, false].map(|is_write| locks.admits(0, 6, is_write)), [false, false]);
        assert!(locks.admits(1, 6, true) && locks.admits(0, 7, true));
        locks.release(&first[0].1);
        assert_eq!(names(&granted(&mut locks)), [3]);
        assert!(!locks.admits(0, 5, true), "2 still looks at it");
        locks.release(&first[1].1);
        assert!(locks.admits(0, 5, true) && !locks.is_empty());
    }

    #[test]
    fn nobody_overtakes_one_that_it_conflicts_with() {
        let mut locks = Locks::default();
        locks.request(1, vec![row(1, true)]);
        let first = granted(&mut locks);
        locks.request(2, vec![row(1, true), row(2, true)]);
        locks.request(3, vec![row(2, false)]);
        locks.request(4, vec![row(3, true)]);
        assert_eq!(names(&granted(&mut locks)), [4], "3 waits behind 2 though its row is free");
        locks.release(&first[0].1);
        let second = granted(&mut locks);
        assert_eq!(names(&second), [2]);
        locks.release(&second[0].1);
        assert_eq!(names(&granted(&mut locks)), [3]);
    }

    #[test]
    fn a_row_named_twice_is_locked_once_and_strictly() {
        let mut locks = Locks::default();
        locks.request(1, vec![row(1, false), row(1, true), row(1, false)]);
        let first = granted(&mut locks);
        assert_eq!(first[0].1, [row(1, true)]);
        assert!(!locks.admits(0, 1, false));
        locks.release(&first[0].1);
        assert!(locks.is_empty());
    }
}
