//! What the rows of an open transaction are after the commands that were kept, as far as that is remembered: who tries the
//! next command on them need not do all that came before it again.

use super::RowLock;
use crate::limits::{AFTER_ROW_BYTES_MAX, AFTERS_BYTES_MAX};
use crate::unstable::{Heads, place};

/// A row as a transaction has left it. `None`: it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    pub db: u8,
    pub head: u64,
    pub key: Vec<u8>,
    pub row: Option<AfterRow>,
}

/// What stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfterRow {
    pub kind: u8,
    /// 0: never.
    pub expire_ms: u64,
    pub value: Vec<u8>,
}

impl After {
    fn bytes(&self) -> usize {
        size_of::<After>() + self.key.len() + self.row.as_ref().map_or(0, |row| row.value.len())
    }
}

/// By the places of rows. What is not here was not touched; `None`: it was, and only the commands say what it is.
#[derive(Clone, Debug, Default)]
pub struct Afters {
    rows: Heads<Option<After>>,
    bytes: usize,
}

impl Afters {
    /// A row is this now; `None`: it cannot be said.
    pub fn note(&mut self, db: u8, head: u64, after: Option<After>) {
        let place = place(db, head);
        let known = self.rows.remove(&place);
        let before = known.as_ref().and_then(Option::as_ref);
        self.bytes -= before.map_or(0, After::bytes);
        // Of two keys with one head nobody knows which was touched.
        let is_other = |after: &After| before.is_some_and(|before| before.key != after.key);
        let after = after.filter(|after| {
            let len = after.row.as_ref().map_or(0, |row| row.value.len());
            len <= AFTER_ROW_BYTES_MAX && self.bytes + after.bytes() <= AFTERS_BYTES_MAX && !is_other(after)
        });
        self.bytes += after.as_ref().map_or(0, After::bytes);
        self.rows.insert(place, after);
    }

    /// What is known of a place is known no more.
    pub fn forget(&mut self, place: u64) {
        if let Some(known) = self.rows.get_mut(&place) {
            self.bytes -= known.take().as_ref().map_or(0, After::bytes);
        }
    }

    /// A row was touched, and only the commands say what it is.
    pub fn note_touched(&mut self, place: u64) {
        self.forget(place);
        self.rows.entry(place).or_default();
    }

    /// What those of the rows are that were touched; `None` if that is not known of all.
    pub fn of(&self, rows: &[RowLock]) -> Option<Vec<&After>> {
        let touched = rows.iter().filter_map(|row| self.rows.get(&place(row.db, row.head)));
        touched.map(Option::as_ref).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(head: u64, key: &str, len: usize) -> Option<After> {
        let row = AfterRow { kind: 0, expire_ms: 0, value: vec![b'x'; len] };
        Some(After { db: 0, head, key: key.into(), row: Some(row) })
    }

    fn lens(afters: &Afters, heads: &[u64]) -> Option<Vec<usize>> {
        let rows: Vec<RowLock> = heads.iter().map(|head| RowLock { db: 0, head: *head, is_exclusive: true }).collect();
        let known = afters.of(&rows)?;
        Some(known.iter().map(|after| after.row.as_ref().map_or(0, |row| row.value.len())).collect())
    }

    #[test]
    fn what_is_not_known_of_all_rows_is_not_said_of_any() {
        let mut afters = Afters::default();
        afters.note(0, 1, after(1, "a", 10));
        afters.note(0, 2, after(2, "b", 20));
        assert_eq!(lens(&afters, &[1, 2, 3]), Some(vec![10, 20]));
        afters.note(0, 1, after(1, "a", 11));
        assert_eq!(lens(&afters, &[1]), Some(vec![11]));
        afters.forget(place(0, 1));
        afters.forget(place(0, 9));
        assert_eq!((lens(&afters, &[1, 2]), lens(&afters, &[2, 9])), (None, Some(vec![20])));
        // What the commands have said since is known again.
        afters.note(0, 1, after(1, "a", 12));
        assert_eq!(lens(&afters, &[1]), Some(vec![12]));
    }

    #[test]
    fn long_values_many_rows_and_two_keys_of_one_head_are_not_remembered() {
        let mut afters = Afters::default();
        afters.note(0, 1, after(1, "a", AFTER_ROW_BYTES_MAX));
        assert_eq!(lens(&afters, &[1]), Some(vec![AFTER_ROW_BYTES_MAX]));
        afters.note(0, 1, after(1, "a", AFTER_ROW_BYTES_MAX + 1));
        assert_eq!((lens(&afters, &[1]), afters.bytes), (None, 0));
        afters.note(0, 2, after(2, "a", 1));
        afters.note(0, 2, after(2, "b", 1));
        assert_eq!(lens(&afters, &[2]), None);
        let count = (AFTERS_BYTES_MAX / AFTER_ROW_BYTES_MAX) as u64;
        (10..10 + count).for_each(|head| afters.note(0, head, after(head, "k", AFTER_ROW_BYTES_MAX)));
        assert!(afters.bytes <= AFTERS_BYTES_MAX);
        assert_eq!((lens(&afters, &[10]).is_some(), lens(&afters, &[9 + count])), (true, None));
    }
}
