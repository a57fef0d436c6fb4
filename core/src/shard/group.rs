//! Changes of a shard that are one unit: groups, parts of transactions, and what is only tried.

use super::Shard;
use crate::error::Stop;
use crate::tx::{After, AfterRow, Databases};
use cairn_storage::engine::{Engine, Found, RowKey, Undo};
use cairn_storage::log::Removal;
use cairn_storage::row::OWNS;
use cairn_storage::units::{Lsn, ShardId, TxnId};

/// What is open.
pub(super) struct Group {
    /// Rows that it has changed: none of them is stable before all of them are.
    pub rows: Vec<(u8, u64)>,
    /// The same of whole databases.
    pub databases: Databases,
    /// What it announces is behind this mark.
    pub announced: usize,
    /// It is taken back in any case: nobody sees it, so nobody waits for it.
    pub is_trial: bool,
}

impl Group {
    fn new(is_trial: bool, announced: usize) -> Option<Group> {
        Some(Group { rows: Vec::new(), databases: Databases::NONE, announced, is_trial })
    }
}

impl Shard {
    /// Whether a group is open, so that what comes is a part of it.
    pub fn is_in_group(&self) -> bool {
        self.group.is_some()
    }

    /// The changes until [`Shard::close_group`] are one atomic unit, also over a crash. Between the two nothing may be
    /// refused: whatever can be must be checked before. `bytes` is about what they need.
    pub fn open_group(&mut self, bytes: usize) -> Result<(), Stop> {
        self.begin_group(bytes, false, Engine::open_group)
    }

    /// The same, of changes that only empty whole databases: no want of room stands in their way.
    pub fn open_removal(&mut self) {
        self.engine.open_group();
        self.group = Group::new(false, self.announced.mark());
    }

    fn begin_group(&mut self, bytes: usize, is_trial: bool, open: impl FnOnce(&mut Engine)) -> Result<(), Stop> {
        self.refuse_if_full(bytes)?;
        self.engine.admit(bytes)?;
        open(&mut self.engine);
        self.group = Group::new(is_trial, self.announced.mark());
        Ok(())
    }

    pub fn close_group(&mut self) {
        let lsn = self.engine.close_group();
        self.observe(lsn);
        let Some(Group { rows, databases, announced, .. }) = self.group.take() else { return };
        if self.announced.mark() > announced {
            self.announced.raise(lsn);
        }
        for (db, head) in rows {
            self.unstable.note(db, head, lsn);
        }
        databases.iter().for_each(|db| self.unstable.note_clear(db, lsn));
    }

    /// The same, of about so many changes of rows that [`Shard::rollback_group`] can take back.
    pub fn open_undoable_group(&mut self, bytes: usize, changes: usize) -> Result<(), Stop> {
        self.begin_undoable_group(bytes, changes, Engine::open_undoable_group)
    }

    fn begin_undoable_group(
        &mut self,
        bytes: usize,
        changes: usize,
        open: impl FnOnce(&mut Engine),
    ) -> Result<(), Stop> {
        if changes == 0 {
            // What is at most about whole databases adds nothing, so no want of room stands in its way.
            open(&mut self.engine);
            self.group = Group::new(false, self.announced.mark());
            return Ok(());
        }
        self.engine.make_room_for_group(changes)?;
        self.begin_group(bytes, false, open)
    }

    /// The same, of this shard's part in a transaction of which `writers` have parts.
    pub fn open_txn(&mut self, bytes: usize, changes: usize, txn: TxnId, writers: &[u16]) -> Result<(), Stop> {
        let writers: Vec<ShardId> = writers.iter().copied().map(ShardId).collect();
        self.begin_undoable_group(bytes, changes, |engine| engine.open_txn(txn, &writers))
    }

    /// The changes until [`Shard::rollback_group`] are only tried. Nobody is told of them. Where none of them is one of rows, no want of room stands in
    /// the way.
    pub fn open_trial(&mut self, bytes: usize, changes: usize) -> Result<(), Stop> {
        if changes == 0 {
            self.engine.open_trial();
            self.group = Group::new(true, self.announced.mark());
            return Ok(());
        }
        self.begin_group(bytes, true, Engine::open_trial)
    }

    /// The changes since a group, or a trial, was opened will be taken back by what is answered first; then follow their rows,
    /// databases and heads, and whole databases, which nobody may look at before.
    pub fn rollback_group(&mut self) -> (Undo, Vec<(u8, u64)>, Databases) {
        let Group { rows, databases, announced, is_trial } = self.group.take().expect("what is open is rolled back");
        self.announced.truncate(announced);
        let undo = if is_trial { self.engine.end_trial() } else { self.engine.rollback_group() };
        (undo, rows, databases)
    }

    /// What a row is now, for those who come later; `None` if that cannot be seen.
    pub fn after(&self, db: u8, head: u64, key: &[u8]) -> Option<After> {
        let found = self.engine.get(RowKey { db, head, key }).ok()?;
        // A collection that is spread is more than its row.
        if found.is_some_and(|found| found.kind & OWNS != 0) {
            return None;
        }
        let row = found.map(|Found { kind, expire_ms, value, .. }| AfterRow { kind, expire_ms, value: value.to_vec() });
        Some(After { db, head, key: key.to_vec(), row })
    }

    /// In a trial: the row is this again.
    pub fn put_after(&mut self, after: &After) -> Result<(), Stop> {
        let row = RowKey { db: after.db, head: after.head, key: &after.key };
        let lsn = match &after.row {
            Some(AfterRow { kind, expire_ms, value }) => Some(self.engine.put(row, *kind, *expire_ms, value)?),
            None => self.engine.delete(row, Removal::Deleted)?,
        };
        if let Some(lsn) = lsn {
            self.note(row, lsn);
        }
        Ok(())
    }

    /// Where the random numbers of the next command begin; what comes now begins where another one's did. Whoever runs a
    /// command again has it draw the same.
    pub fn reseed(&mut self, seed: u64) -> u64 {
        std::mem::replace(&mut self.random, seed)
    }

    pub fn seed(&self) -> u64 {
        self.random
    }

    /// A transaction's change of a row is undone, which readers know from this LSN on.
    pub fn note_abort(&mut self, db: u8, head: u64, lsn: Lsn) {
        self.unstable.note(db, head, lsn);
        self.watches.note(db, head);
        self.waits.note((db, head));
    }

    /// The same, of a whole database.
    pub fn note_database_abort(&mut self, db: u8, lsn: Lsn) {
        self.unstable.note_clear(db, lsn);
        self.waits.note_database(db);
    }
}
