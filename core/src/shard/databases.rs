//! Changes of whole databases.

use super::Shard;
use crate::error::Stop;
use crate::tx::Databases;
use cairn_storage::units::Lsn;

impl Shard {
    /// Removes all rows of a database.
    pub fn clear(&mut self, db: u8) -> Result<(), Stop> {
        let lsn = self.engine.clear(db)?;
        if self.tracked.is_on() {
            self.announced.note_emptied();
            self.announced.raise(lsn);
        }
        self.note_database(db, lsn);
        Ok(())
    }

    /// Two databases change places.
    pub fn swap(&mut self, one: u8, other: u8) -> Result<(), Stop> {
        let lsn = self.engine.swap(one, other);
        for db in [one, other] {
            if !self.is_trying() {
                self.watches.note_swap(db);
            }
            self.note_database(db, lsn);
        }
        Ok(())
    }

    /// What changes now is taken back before anybody else looks.
    fn is_trying(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.is_trial)
    }

    /// A whole database has changed.
    fn note_database(&mut self, db: u8, lsn: Lsn) {
        if let Some(group) = &mut self.group {
            group.databases = group.databases.and(Databases::of(db));
        }
        if self.is_trying() {
            return;
        }
        // What their rows were is not kept.
        self.versions.lose_all();
        self.waits.note_database(db);
        self.unstable.note_clear(db, lsn);
        self.observe(lsn);
    }
}
