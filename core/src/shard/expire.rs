//! What is past its time goes: rows, and fields of hashes, which are rows of elements. At the end of a turn, some at a time, each a record of the log.
//!
//! A hash of which nothing is left goes with its last field. Until then what is left of it makes no unit with what goes: whoever looks does not see fields
//! past their time, whether they are removed or not.

use super::Shard;
use super::elements::Element;
use crate::bug::Bug;
use crate::collection::order::PLACES;
use crate::command::Call;
use crate::error::Stop;
use crate::event::Now;
use crate::notify::Events;
use cairn_storage::engine::RowKey;
use cairn_storage::engine::elements::{collection_of, database_of, elements_of, is_elements};
use cairn_storage::log::Removal;
use cairn_storage::units::{CollectionId, Lsn};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

/// Elements past their time, by head and the rest of their order.
type Due = BTreeSet<(u64, Vec<u8>)>;

/// A field that was removed from the hash with this head, by its place; or all of the hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faded {
    pub db: u8,
    pub head: u64,
    pub place: Option<u64>,
}

/// The rows that commands have seen alive and that have a deadline, as long as somebody wants to know.
#[derive(Default)]
pub(super) struct Deadlines {
    are_wanted: Cell<bool>,
    seen: RefCell<Vec<Deadline>>,
}

/// A row's deadline in Unix milliseconds, with its database and head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub db: u8,
    pub head: u64,
    pub ms: u64,
}

impl Shard {
    /// Rows of a database that have a time to live.
    pub fn expiring_count(&self, db: u8) -> u64 {
        self.engine.expiring_count(db)
    }

    /// Whether no row that is there is past its time at either of two times, so that to rows they are the same.
    pub(crate) fn are_all_live(&self, one: Now, other: Now) -> bool {
        let now_ms = one.unix_ms().max(other.unix_ms());
        self.engine.deadline_next().is_ok_and(|next| next.is_none_or(|deadline| deadline >= now_ms))
    }

    /// From now on, until [`Shard::seen_deadlines`], those of rows that are seen alive are noted.
    pub(crate) fn watch_deadlines(&self) {
        self.deadlines.are_wanted.set(true);
    }

    pub(crate) fn seen_deadlines(&self) -> Vec<Deadline> {
        self.deadlines.are_wanted.set(false);
        self.deadlines.seen.take()
    }

    #[cold]
    pub(super) fn note_deadline(&self, row: RowKey<'_>, ms: u64) {
        if self.deadlines.are_wanted.get() {
            self.deadlines.seen.borrow_mut().push(Deadline { db: row.db, head: row.head, ms });
        }
    }

    /// Removes rows and fields that are past their time, at most about `max`. Whether there may be more.
    pub(crate) fn expire(&mut self, now: Now, max: usize, is_locked: impl Fn(u8, u64) -> bool) -> Result<bool, Stop> {
        if self.engine.deadline_next()?.is_none_or(|deadline| deadline >= now.unix_ms()) {
            return Ok(false);
        }
        let due = self.engine.due(now.unix_ms() - 1, max)?;
        let is_full = due.len() >= max;
        let mut fields: BTreeMap<(u8, CollectionId), Due> = BTreeMap::new();
        for (db, head, key) in due {
            if is_elements(db) {
                let number = collection_of(RowKey { db, head, key: &key }).expect("only elements have deadlines");
                fields.entry((database_of(db), number)).or_default().insert((head, key));
            } else if !is_locked(db, head) {
                self.expire_row(RowKey { db, head, key: &key })?;
            }
        }
        for ((db, number), due) in fields {
            self.expire_fields(db, number, &due, &is_locked)?;
        }
        Ok(is_full)
    }

    fn expire_row(&mut self, row_key: RowKey<'_>) -> Result<(), Stop> {
        self.keep_removed(row_key)?;
        if let Some(lsn) = self.engine.delete(row_key, Removal::Expired)? {
            self.unstable.note(row_key.db, row_key.head, lsn);
            if self.tracked.is_on() {
                self.note_tracked(row_key, lsn);
            }
            self.counts.expired.set(self.counts.expired.get() + 1);
            self.announce_expiry(row_key, Events::EXPIRED, "expired", lsn);
        }
        Ok(())
    }

    /// Removes fields of one hash, and the hash if these are all that is left of it.
    fn expire_fields(
        &mut self,
        db: u8,
        number: CollectionId,
        due: &Due,
        is_locked: impl Fn(u8, u64) -> bool,
    ) -> Result<(), Stop> {
        let owner = self.engine.owner_of(db, number)?;
        // What no row names any more is not seen, but it stands in the way of what is due.
        let (owner, is_named) =
            owner.map_or((None, false), |(row, is_named)| (Some((row.head, row.key.to_vec())), is_named));
        if owner.as_ref().is_some_and(|(head, _)| is_locked(db, *head)) {
            return Ok(());
        }
        let Some((head, key)) = owner.filter(|_| is_named) else {
            return self.remove_elements(db, due, None).map(drop);
        };
        let row_key = RowKey { db, head, key: &key };
        let is_last = self.engine.element_count(db, number)? <= due.len() as u64;
        let lsn = match is_last {
            true => {
                self.keep_removed(row_key)?;
                let lsn = self.engine.delete(row_key, Removal::Expired)?;
                self.note_faded(db, head, None);
                lsn
            }
            false => self.remove_elements(db, due, Some(head))?,
        };
        let Some(lsn) = lsn else { return Ok(()) };
        self.counts.expired_fields.set(self.counts.expired_fields.get() + due.len() as u64);
        self.unstable.note(db, head, lsn);
        self.note_watched(row_key);
        if self.tracked.is_on() {
            self.note_tracked(row_key, lsn);
        }
        self.announce_expiry(row_key, Events::HASH, "hexpired", lsn);
        if is_last {
            self.announce_expiry(row_key, Events::GENERIC, "del", lsn);
        }
        Ok(())
    }

    /// The last change, if there was one. `owner`: the head of the hash, if they have one.
    fn remove_elements(&mut self, db: u8, due: &Due, owner: Option<u64>) -> Result<Option<Lsn>, Stop> {
        let mut last = None;
        for (head, rest) in due {
            let row_key = RowKey { db: elements_of(db), head: *head, key: rest };
            self.keep_removed(row_key)?;
            last = self.engine.delete(row_key, Removal::Expired)?.or(last);
            if let Some(owner) = owner {
                self.note_faded(db, owner, Some(head % PLACES));
            }
        }
        Ok(last)
    }

    /// Whether an element is not past its time.
    pub(crate) fn is_served(&self, element: &Element<'_>, call: &Call<'_>) -> bool {
        element.is_live(call.now) || self.planted == Some(Bug::FieldServed)
    }

    fn note_faded(&mut self, db: u8, head: u64, place: Option<u64>) {
        if let Some(faded) = &mut self.faded {
            faded.push(Faded { db, head, place });
        }
    }

    fn announce_expiry(&self, row_key: RowKey<'_>, class: Events, event: &'static str, lsn: Lsn) {
        if self.announced.wants(class) {
            self.note_event(row_key.db, class, event, row_key.key);
            self.announced.raise(lsn);
        }
    }
}
