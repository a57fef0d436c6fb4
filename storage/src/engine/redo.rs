//! Redo: a start answers before what the log has behind the checkpoint is in the trees, and applies it while it serves.
//!
//! ```text
//!   Replay::feed ----a copy of each effect----> pending ----Replay::finish: sorted----> the engine serves
//!   pending ----somebody looks at a row: redo_row----> applied      \
//!   pending ----in the order of rows: redo_some------> applied      / the last one ----> redo is over
//! ```
//!
//! Rows do not depend on each other, so that each may be brought up to date at its own time; in the order of rows each page
//! is read once. While effects are pending, an engine keeps
//!
//! - **E4** Whoever changes a row finds the effects on it applied, or is told [`Missing::Pending`]. So does whoever looks at it, unless one effect says
//!   all that it will be: then no page is needed, and none need become dirty, for the page file may take nothing. Whoever looks at many rows, or counts them, is told [`Missing::Redo`] until redo is over.
//! - **E5** An effect is applied once, and after all earlier ones on its row.
//! - **E6** No checkpoint begins as long as effects can be applied: its superblock would stand for effects that are not in its
//!   pages. So a crash finds the checkpoint that this start found, and a longer log. What is left when all else has been
//!   applied cannot be applied for a long time, perhaps: its page is damaged. Then a checkpoint *carries* it: it is written to
//!   the log once more, right behind the checkpoint's LSN, and the superblock waits until that is durable. So whichever
//!   checkpoint a start finds, the log behind it has all that its pages lack, in order, for nobody changes such a row
//!   meanwhile (E4). A start from the older checkpoint meets these effects twice, which is the same as once: the second time
//!   they are in the same order, and each says what becomes of the row, not how it differs.

use super::elements::{elements_of, is_elements};
use super::pending::Pending;
use super::write::Value;
use super::{Engine, RowKey, Stop};
use crate::blob::Blob;
use crate::error::Missing;
use crate::limits::{
    CARRIED_BYTES_MAX, DATABASES, PAGE_BYTES, REDO_AHEAD_MAX, REDO_AHEAD_SHARE, REDO_CHUNK_BYTES, REDO_CHUNK_SHARE,
    REDO_READS_MAX, REDO_READS_SHARE, REDO_ROW_EFFECTS_MAX, REDO_SHARE, TOUCH_KEYS_MAX, TREES,
};
use crate::log::Record;
use crate::pagefile::Bug;
use crate::pool::Fetch;
use crate::row::{Header, KIND_MAX, OWNS};
use crate::units::PendingId;
use std::sync::Arc;

/// How far redo has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redone {
    /// There is more to do.
    More,
    /// This has to be brought in first. What comes next is being read too.
    Missing(Missing),
    /// Memory is full until some of it has been written to the page file, or it is to be decided whether what is left is still
    /// to be applied.
    Crowded,
    /// Memory is full, and the page file takes nothing.
    Stuck,
    /// The record cannot be understood: written by another version, or a bug.
    Senseless(&'static str),
    /// What is left was skipped.
    Blocked,
    /// All of it has been applied.
    Over,
}

/// Why an effect was not applied. Nothing has changed.
pub(super) enum Unapplied {
    Stop(Stop),
    Senseless(&'static str),
}

impl From<Stop> for Unapplied {
    fn from(stop: Stop) -> Unapplied {
        Unapplied::Stop(stop)
    }
}

/// Whether a record makes sense as far as can be told without its row: what is wrong with it.
pub(crate) fn judge(record: &Record<'_>) -> Result<(), &'static str> {
    let databases = if record.row().is_some() { TREES } else { DATABASES };
    if record.db().is_some_and(|db| usize::from(db) >= databases) {
        return Err("no such database");
    }
    match record {
        Record::Swap { one, other } if usize::from(*one.max(other)) >= DATABASES => Err("no such database"),
        Record::Put { kind, .. } if *kind > KIND_MAX => Err("no such kind of value"),
        Record::Put { kind, value, .. } if kind & OWNS != 0 && value.len() < 8 => Err("no collection is named"),
        _ => Ok(()),
    }
}

impl Engine {
    /// Effects of the log that are still to be applied.
    pub fn redo_left(&self) -> u64 {
        self.redo.as_ref().map_or(0, |pending| pending.left() as u64)
    }

    /// The same of one database: until they are applied its counts may be off by as many.
    pub fn redo_left_in(&self, db: u8) -> u64 {
        self.redo.as_ref().map_or(0, |pending| pending.left_in(db) as u64)
    }

    /// Memory that they take.
    pub fn redo_bytes(&self) -> u64 {
        self.redo.iter().chain(&self.redone).map(|pending| pending.bytes()).sum()
    }

    /// Keeps E4 for a row.
    #[inline(always)]
    pub(super) fn await_row(&self, row: RowKey<'_>) -> Result<(), Missing> {
        match &self.redo {
            None => Ok(()),
            Some(pending) => self.pending_of(pending, row),
        }
    }

    #[cold]
    fn pending_of(&self, pending: &Pending, row: RowKey<'_>) -> Result<(), Missing> {
        match pending.find(row.db, row.head) {
            Some(first) if !self.has_planted(Bug::ReadBeforeRedo) => Err(Missing::Pending(first)),
            _ => Ok(()),
        }
    }

    /// A row of which something is pending, if no more is needed to know what it will be. Keeps E4.
    #[cold]
    pub(super) fn pending_payload(&self, missing: Missing, row: RowKey<'_>) -> Result<Option<&[u8]>, Missing> {
        let (Some(pending), Missing::Pending(first)) = (&self.redo, missing) else { return Err(missing) };
        pending.outcome(first, row.key).ok_or(missing)
    }

    /// Keeps E4 for what is about many rows.
    #[inline]
    pub fn await_redo(&self) -> Result<(), Missing> {
        if self.redo.is_some() { Err(Missing::Redo) } else { Ok(()) }
    }

    /// Applies an effect to its row, without the log. A value that is most of `buffer`, in which it stands, is not copied.
    /// `is_settled`: the trees may have this effect, and later ones on its row.
    pub(super) fn apply_effect(
        &mut self,
        record: &Record<'_>,
        buffer: Option<&Arc<Vec<u8>>>,
        is_settled: bool,
    ) -> Result<(), Unapplied> {
        judge(record).map_err(Unapplied::Senseless)?;
        if is_settled && record.db().is_some_and(is_elements) && record.row().is_some() {
            // No element ever waits for its leaf: the tree has it, or what came later.
            return Ok(());
        }
        self.make_room(record.archive_bytes())?;
        match *record {
            Record::Put { db, kind, head, expire_ms, key, value } => {
                if is_settled && self.stands(RowKey { db, head, key }, kind, expire_ms, value).map_err(Stop::from)? {
                    return Ok(());
                }
                let blob = buffer.and_then(|buffer| Blob::within(buffer, value));
                let value = blob.as_ref().map_or(Value::Bytes(value), Value::Shared);
                self.apply_put(&RowKey { db, head, key }, kind, expire_ms, value)?;
            }
            Record::Splice { db, head, offset, key, bytes } => {
                let row = RowKey { db, head, key };
                if self.get(row).is_ok_and(|found| found.is_none()) {
                    if is_settled {
                        // A later effect has removed it.
                        return Ok(());
                    }
                    return Err(Unapplied::Senseless("it changes a row that is not there"));
                }
                self.apply_splice(row, offset as usize, bytes)?;
            }
            Record::Expire { db, head, expire_ms, key } => {
                self.apply_expiry(RowKey { db, head, key }, expire_ms)?;
            }
            Record::Delete { db, head, key, .. } => {
                self.apply_delete(&RowKey { db, head, key })?;
            }
            Record::Clear { db } => self.apply_clear(db),
            Record::Swap { one, other } => self.apply_swap(one, other),
            Record::Opened
            | Record::GroupBegin
            | Record::GroupEnd
            | Record::TxnBegin { .. }
            | Record::TxnDone { .. }
            | Record::TxnAbort { .. }
            | Record::GroupAbort => {}
        }
        Ok(())
    }

    /// Whether a leaf has this very row: no page becomes dirty for it then.
    fn stands(&self, row: RowKey<'_>, kind: u8, expire_ms: u64, value: &[u8]) -> Result<bool, Missing> {
        let found = self.payload(row)?.map(Header::decode);
        Ok(found == Some((Header { kind, expire_ms, is_outside: false }, value)))
    }

    /// Has an effect wait. `false`: there is no room for it before others have been applied.
    pub(super) fn keep_effect(&mut self, record: &Record<'_>, is_settled: bool) -> bool {
        let bytes_max = self.memory_bytes_max() / REDO_SHARE;
        let (Some(db), Some((head, _))) = (record.db(), record.row()) else { unreachable!("it is an effect on a row") };
        let pending = self.redo.get_or_insert_default();
        if pending.bytes() + Pending::bytes_of(record) > bytes_max || pending.is_list_full(db) {
            return false;
        }
        let chunk_bytes = (bytes_max / REDO_CHUNK_SHARE).clamp(PAGE_BYTES as u64, REDO_CHUNK_BYTES);
        pending.push(db, head, record, chunk_bytes as usize);
        if is_settled {
            pending.note_settled();
        }
        true
    }

    /// Everything has been kept: from now on it can be applied.
    pub(super) fn sort_redo(&mut self) {
        let Some(mut pending) = self.redo.take() else { return };
        pending.sort();
        self.put_back(pending);
    }

    /// Nothing of this database is to be applied any more: all its rows go.
    pub(super) fn cancel_redo(&mut self, db: u8) {
        if let Some(pending) = &mut self.redo {
            pending.cancel(db);
            pending.cancel(elements_of(db));
        }
    }

    /// Applies what is pending of the row that a [`Missing::Pending`] was about. `Over`: all of that.
    #[cold]
    pub fn redo_row(&mut self, row: PendingId) -> Redone {
        let Some(mut pending) = self.redo.take() else { return Redone::Over };
        let mut redone = Redone::More;
        let mut last = row;
        for _ in 0..REDO_ROW_EFFECTS_MAX {
            let Some(next) = pending.again(last) else {
                redone = Redone::Over;
                break;
            };
            last = next;
            if let Err(stop) = self.redo_one(&pending, next) {
                redone = stop;
                break;
            }
            if self.has_planted(Bug::RedoTwice) { pending.done_once(next) } else { pending.done(next) }
        }
        self.put_back(pending);
        redone
    }

    /// Applies up to `effects` of what is pending in the order of rows, and has pages read that the next ones need: as many as
    /// keep the disk busy, or with `ahead`, those of so many effects, whatever else is being read.
    pub fn redo_some(&mut self, effects: usize, ahead: Option<usize>) -> Redone {
        let Some(mut pending) = self.redo.take() else { return Redone::Over };
        let redone = self.redo_next(&mut pending, effects);
        if let Redone::Missing(missing) = redone
            && !self.pool.file().is_some_and(|file| file.is_reading(missing))
        {
            pending.look_again();
        }
        self.read_ahead(&mut pending, ahead);
        self.put_back(pending);
        if self.redo.is_none() { Redone::Over } else { redone }
    }

    fn redo_next(&mut self, pending: &mut Pending, effects: usize) -> Redone {
        for _ in 0..effects {
            let Some(next) = pending.next() else {
                if pending.has_aside() {
                    return Redone::Crowded;
                }
                pending.block();
                return Redone::Blocked;
            };
            if let Err(stop) = self.redo_one(pending, next) {
                return stop;
            }
            pending.done(next);
        }
        Redone::More
    }

    /// The caller notes that it is done. Keeps E5.
    fn redo_one(&mut self, pending: &Pending, next: PendingId) -> Result<(), Redone> {
        self.leave_room_for_reads()?;
        let (record, is_settled) = (pending.get(next), pending.is_settled(next));
        let db = record.db().expect("it is an effect on a row");
        self.lately(db, |engine| engine.apply_effect(&record, None, is_settled)).map_err(|unapplied| match unapplied {
            Unapplied::Stop(Stop::Missing(missing)) => Redone::Missing(missing),
            Unapplied::Stop(Stop::Crowded) => Redone::Crowded,
            // The room that a group has made is for its own writes: it has to begin again when redo has come further.
            Unapplied::Stop(Stop::Full) if self.is_in_group => Redone::Crowded,
            Unapplied::Stop(Stop::Full | Stop::Stuck | Stop::Outgrown) => Redone::Stuck,
            Unapplied::Senseless(what) => Redone::Senseless(what),
        })
    }

    /// More than half of memory becomes dirty only as long as it can be written: reads go on if the page file takes nothing.
    fn leave_room_for_reads(&mut self) -> Result<(), Redone> {
        let is_mostly_dirty = self.is_mostly_dirty();
        let Some(file) = self.pool.file_mut().filter(|_| is_mostly_dirty) else { return Ok(()) };
        if file.has_room_for_victim() {
            return Ok(());
        }
        Err(if file.is_stuck() { Redone::Stuck } else { Redone::Crowded })
    }

    pub(super) fn has_planted(&self, bug: Bug) -> bool {
        self.pool.file().is_some_and(|file| file.planted() == Some(bug))
    }

    fn put_back(&mut self, pending: Box<Pending>) {
        if pending.left() > 0 {
            self.redo = Some(pending);
        } else {
            self.redone = Some(pending);
        }
    }

    /// What stands first in the order of rows cannot be had now: the others go on.
    pub fn skip_redo(&mut self) {
        if let Some(pending) = &mut self.redo {
            pending.skip();
        }
    }

    /// Whether a checkpoint may begin as far as redo is concerned. Keeps E6.
    pub(super) fn can_carry_redo(&self) -> bool {
        match &self.redo {
            None => true,
            Some(pending) => {
                let is_little = pending.blocked_bytes().is_some_and(|bytes| bytes <= CARRIED_BYTES_MAX);
                is_little && self.log.accepts_writes() && self.log.has_room()
            }
        }
    }

    /// Whether what is left of redo cannot be applied now, and is too much to be carried by checkpoints.
    pub fn is_redo_too_much(&self) -> bool {
        self.redo.as_ref().and_then(|pending| pending.blocked_bytes()).is_some_and(|bytes| bytes > CARRIED_BYTES_MAX)
    }

    /// A checkpoint of all records so far begins: what the trees lack is written to the log once more. The superblock waits
    /// until all that is appended then is durable. Keeps E6.
    pub(super) fn carry_redo(&mut self) {
        if let Some(pending) = &self.redo
            && !self.has_planted(Bug::RedoNotCarried)
        {
            for record in pending.records() {
                self.log.append(&record);
            }
        }
    }

    /// Tries again what was skipped.
    pub fn retry_redo(&mut self) {
        if let Some(pending) = &mut self.redo {
            pending.rewind();
        }
    }

    /// Memory of what has been applied goes back little by little: a large piece would take its time.
    pub(super) fn shrink_redo(&mut self) {
        if self.redone.as_mut().is_some_and(|redone| !redone.shrink()) {
            self.redone = None;
        }
    }

    /// Has pages read that the next effects need.
    fn read_ahead(&mut self, pending: &mut Pending, ahead: Option<usize>) {
        let pages_max = self.pool.pages_max();
        let reads_max = (pages_max / REDO_READS_SHARE).clamp(1, REDO_READS_MAX);
        let effects_max = (pages_max / REDO_AHEAD_SHARE).clamp(1, REDO_AHEAD_MAX.min(ahead.unwrap_or(usize::MAX)));
        // Many at a time: the disk is kept busy by what is left until then.
        if ahead.is_none() && self.page_reads() > reads_max / 2 {
            return;
        }
        let mut heads = [0; TOUCH_KEYS_MAX];
        let mut absent = Vec::new();
        while ahead.is_some() || self.page_reads() < reads_max {
            let (db, count) = pending.heads_ahead(&mut heads[..reads_max], effects_max);
            if count == 0 {
                return;
            }
            self.touch(db, &heads[..count], |missing| absent.push(missing));
            absent.dedup();
            for missing in absent.drain(..) {
                // Whoever needs it finds out what has become of it.
                let _ = self.fetch(missing);
            }
        }
    }

    /// For one who has no better idea: has done what [`Missing::Pending`] or [`Missing::Redo`] waits for, as far as goes.
    pub(super) fn fetch_redo(&mut self, missing: Missing) -> Fetch {
        let redone = match missing {
            Missing::Pending(row) => self.redo_row(row),
            _ => self.redo_some(TOUCH_KEYS_MAX, None),
        };
        match redone {
            Redone::More | Redone::Over => Fetch::Here,
            Redone::Missing(missing) => self.fetch(missing),
            Redone::Crowded | Redone::Stuck | Redone::Senseless(_) | Redone::Blocked => Fetch::Crowded,
        }
    }
}
