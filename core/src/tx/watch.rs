//! WATCH: has a row been changed since a connection looked at it?
//!
//! The shard that owns a row counts its changes while somebody watches it. Rows whose heads are equal are watched
//! together: a change of one looks like a change of the other.

use crate::unstable::{Heads, place};
use cairn_storage::limits::DATABASES;
use cairn_storage::units::ShardId;

/// A row that a connection watches.
#[derive(Clone, Debug)]
pub struct Watched {
    pub shard: ShardId,
    pub db: u8,
    pub head: u64,
    pub key: Vec<u8>,
    /// Of [`Watches`], when the watching began.
    pub version: u64,
    /// There was a live row. If there is none at EXEC it has gone or expired, which counts as a change, as in Redis.
    pub was_live: bool,
    /// How often its database had changed places with another one.
    pub swaps: u64,
}

/// The rows of one shard that are watched.
#[derive(Default)]
pub struct Watches {
    rows: Heads<Counted>,
    /// How often each database has changed places with another one.
    swaps: [u64; DATABASES],
}

#[derive(Default)]
struct Counted {
    watchers: u32,
    version: u64,
}

impl Watches {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Rows that are watched.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// One more watches the row. Its version.
    pub fn watch(&mut self, db: u8, head: u64) -> u64 {
        let row = self.rows.entry(place(db, head)).or_default();
        row.watchers += 1;
        row.version
    }

    /// One of them does no longer.
    pub fn unwatch(&mut self, db: u8, head: u64) {
        let place = place(db, head);
        let row = self.rows.get_mut(&place).expect("who stops watching has begun to");
        row.watchers -= 1;
        if row.watchers == 0 {
            self.rows.remove(&place);
        }
    }

    /// The row was changed.
    #[inline]
    pub fn note(&mut self, db: u8, head: u64) {
        if let Some(row) = self.rows.get_mut(&place(db, head)) {
            row.version += 1;
        }
    }

    /// The database has changed places with another one.
    pub fn note_swap(&mut self, db: u8) {
        self.swaps[usize::from(db)] += 1;
    }

    pub fn swaps(&self, db: u8) -> u64 {
        self.swaps[usize::from(db)]
    }

    /// Whether the row was changed since, if there is a live one now, or none.
    pub fn is_touched(&self, watched: &Watched, is_live: bool) -> bool {
        // A swap is a change of those keys that are in either database. What was there between two swaps nobody knows.
        let is_swapped = match self.swaps(watched.db) - watched.swaps {
            0 => false,
            1 => watched.was_live || is_live,
            _ => true,
        };
        is_swapped || self.version(watched.db, watched.head) != watched.version || (watched.was_live && !is_live)
    }

    /// Whether anybody watches the row.
    pub fn is_watched(&self, db: u8, head: u64) -> bool {
        self.rows.contains_key(&place(db, head))
    }

    /// The version of a row that is watched.
    pub fn version(&self, db: u8, head: u64) -> u64 {
        self.rows.get(&place(db, head)).expect("the asker watches it").version
    }
}

#[cfg(test)]
mod tests {
    use super::Watches;

    #[test]
    fn changes_are_counted_while_somebody_watches() {
        let mut watches = Watches::default();
        watches.note(0, 1);
        assert!(watches.is_empty());
        assert_eq!(watches.watch(0, 1), 0);
        watches.note(0, 1);
        watches.note(1, 1);
        watches.note(0, 2);
        assert_eq!(watches.watch(0, 1), 1);
        watches.unwatch(0, 1);
        watches.note(0, 1);
        assert_eq!((watches.version(0, 1), watches.len()), (2, 1));
        watches.unwatch(0, 1);
        assert!(watches.is_empty());
    }
}
