//! Keyspace notifications: commands say what they have done to a key, and whoever asks for it hears of it when that is stable. And changes of
//! rows that somebody may have in a cache.

use super::{Shard, is_live};
use crate::command::Call;
use crate::error::Stop;
use crate::limits::HIDDEN_DB;
use crate::notify::Events;
use cairn_storage::engine::RowKey;
use cairn_storage::units::Lsn;

impl Shard {
    /// Something has been done to a key; `event` is its name in Redis. To be called behind the change. Costs one test while nobody asks
    /// for events of that class.
    #[inline]
    pub fn notify(&self, call: &Call<'_>, class: Events, event: &'static str, key: &[u8]) {
        if self.announced.wants(class) {
            self.note_event(call.db, class, event, key);
        }
    }

    /// The same of something that was taken out of a collection: `del` follows if nothing is left of that.
    #[inline]
    pub fn notify_of_removal(&self, call: &Call<'_>, class: Events, event: &'static str, key: &[u8]) {
        self.notify(call, class, event, key);
        if self.announced.wants(Events::GENERIC) && self.peek_bare(call, key).is_ok_and(|row| row.is_none()) {
            self.notify(call, Events::GENERIC, "del", key);
        }
    }

    #[cold]
    pub(super) fn note_event(&self, db: u8, class: Events, event: &'static str, key: &[u8]) {
        if db != HIDDEN_DB {
            self.announced.note_event(db, class, event, key);
            self.announced.raise(self.observed.get());
        }
    }

    /// A row has changed that somebody may have in a cache, or not.
    #[cold]
    pub(super) fn note_tracked(&self, row_key: RowKey<'_>, lsn: Lsn) {
        let is_trial = self.group.as_ref().is_some_and(|group| group.is_trial);
        if row_key.db != HIDDEN_DB && !is_trial && self.tracked.concerns(row_key.key) {
            self.announced.note_changed(row_key.key);
            self.announced.raise(lsn);
        }
    }

    /// Before a row is set, whatever it was: what there will be to say of that.
    #[inline]
    pub(super) fn former(&self, call: &Call<'_>, row_key: RowKey<'_>) -> Result<Former, Stop> {
        if !self.announced.wants(Events::NEW) && !self.announced.wants(Events::EXPIRED) {
            return Ok(Former::There);
        }
        Ok(match self.find_bare(row_key)? {
            Some(found) if is_live(&found, call.now) => Former::There,
            Some(_) => Former::Expired,
            None => Former::None,
        })
    }

    /// The row is set.
    #[inline]
    pub(super) fn notify_of(&self, call: &Call<'_>, row_key: RowKey<'_>, former: Former) {
        if former == Former::Expired {
            self.notify(call, Events::EXPIRED, "expired", row_key.key);
        }
        if former != Former::There {
            self.notify(call, Events::NEW, "new", row_key.key);
        }
    }
}

/// What a row was before it was set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Former {
    None,
    /// Its time was over.
    Expired,
    There,
}
