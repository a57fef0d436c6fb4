//! Rows that somebody waits for, as the shard that changes them knows them: which they are, and which have changed. Who waits, and what for, is the
//! machine's business (`machine/queues.rs`). While nobody waits this costs a look at a length.

use hashbrown::HashMap;

/// A database, and a row's head there.
pub type RowId = (u8, u64);

/// What a shard knows of those who wait.
#[derive(Debug, Default)]
pub struct Waits {
    /// How many wait for each.
    rows: HashMap<RowId, usize>,
    /// Those that have changed since somebody looked, each once or more.
    changed: Vec<RowId>,
}

impl Waits {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn has(&self, row: RowId) -> bool {
        self.rows.contains_key(&row)
    }

    pub fn add(&mut self, row: RowId) {
        *self.rows.entry(row).or_default() += 1;
    }

    pub fn remove(&mut self, row: RowId) {
        if let Some(count) = self.rows.get_mut(&row) {
            *count -= 1;
            if *count == 0 {
                self.rows.remove(&row);
            }
        }
    }

    /// A row has changed.
    pub fn note(&mut self, row: RowId) {
        if self.rows.contains_key(&row) && self.changed.last() != Some(&row) {
            self.changed.push(row);
        }
    }

    /// A whole database has.
    pub fn note_database(&mut self, db: u8) {
        let mut rows: Vec<RowId> = self.rows.keys().filter(|row| row.0 == db).copied().collect();
        // In an order that does not hang on the table's.
        rows.sort_unstable();
        self.changed.extend(rows);
    }

    #[inline]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Whether a row has changed since somebody looked.
    pub fn is_changed(&self, row: RowId) -> bool {
        self.changed.contains(&row)
    }

    pub fn take_changed(&mut self) -> Vec<RowId> {
        std::mem::take(&mut self.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_that_somebody_waits_for_are_noted() {
        let mut waits = Waits::default();
        waits.note((0, 1));
        assert!(waits.is_empty() && !waits.has_changed());
        waits.add((0, 1));
        waits.add((0, 1));
        waits.add((3, 9));
        waits.note((0, 1));
        waits.note((0, 1));
        waits.note((0, 2));
        assert!(waits.is_changed((0, 1)) && !waits.is_changed((3, 9)));
        assert_eq!(waits.take_changed(), [(0, 1)]);
        waits.remove((0, 1));
        assert!(waits.has((0, 1)));
        waits.remove((0, 1));
        waits.note((0, 1));
        assert!(!waits.has((0, 1)) && !waits.has_changed());
        waits.note_database(3);
        assert_eq!(waits.take_changed(), [(3, 9)]);
    }
}
