//! What one shard was told to change, with the LSN that makes each change durable: so it is known what every crash must leave.

use crate::model::{Change, DATABASES, Rows};
use cairn_storage::units::Lsn;
use std::rc::Rc;

/// The changes of one shard since it was opened, in order.
#[derive(Clone, Default)]
pub struct Ledger {
    /// The rows at the last opening.
    base: Rows,
    opened: Lsn,
    since: Vec<(Lsn, Change)>,
    /// With all that was done.
    rows: Rows,
    /// Up to here somebody was told.
    acknowledged: Lsn,
}

impl Ledger {
    /// The rows, with all that was done.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    pub fn note(&mut self, lsn: Lsn, change: Change) {
        self.rows.apply(&change);
        self.since.push((lsn, change));
    }

    pub fn acknowledge(&mut self, lsn: Lsn) {
        self.acknowledged = self.acknowledged.max(lsn);
    }

    /// Whether it is known what the rows were at this position.
    pub fn knows(&self, lsn: Lsn) -> bool {
        lsn >= self.opened
    }

    /// What a log leaves that ends at `end`.
    pub fn rows_at(&self, end: Lsn) -> Rows {
        let mut rows = self.base.clone();
        self.since.iter().filter(|(lsn, _)| *lsn <= end).for_each(|(_, change)| rows.apply(change));
        rows
    }

    /// Judges what has come back: these rows, from a log that ends at `end`.
    pub fn judge(&self, end: Lsn, found: &Rows) -> Result<(), String> {
        let Ledger { acknowledged, .. } = *self;
        if end < acknowledged {
            return Err(format!(
                "acknowledged implies present: up to {acknowledged} was acknowledged, {end} is the end"
            ));
        }
        let expected = self.rows_at(end);
        if *found == expected {
            return Ok(());
        }
        let is_other = |db: u8, key: &Rc<[u8]>| expected.get(db, key) != found.get(db, key);
        let keys = (0..DATABASES).flat_map(|db| {
            expected.iter(db).chain(found.iter(db)).map(move |(key, _)| (db, key)).find(|(db, key)| is_other(*db, key))
        });
        let (db, key) = keys.into_iter().next().expect("they differ somewhere");
        let shown = |rows: &Rows| {
            let row = rows.get(db, key);
            row.map_or("nothing".to_owned(), |row| format!("{} bytes until {}", row.value.len(), row.expire_ms))
        };
        let (key, found, expected) = (String::from_utf8_lossy(key), shown(found), shown(&expected));
        Err(format!(
            "survivors are what was done up to {end}: {db}/{key:.20}: {found} in place of {expected} (acknowledged: \
             {acknowledged})"
        ))
    }

    /// A crash has left what was done up to `end`, and from now on anybody may have seen it.
    pub fn reopen(&mut self, end: Lsn) {
        self.base = self.rows_at(end);
        self.rows = self.base.clone();
        self.since.clear();
        (self.acknowledged, self.opened) = (end, end);
    }
}
