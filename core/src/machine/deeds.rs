//! What a machine did besides running the commands of its connections, in order: for one who checks it.
//!
//! The slow log has the commands of connections. Each deed says how many of them stood there before it, so both together are
//! the order of everything that has changed or looked at rows.

use super::Machine;
use crate::bug::Bug;
use crate::parcel::RequestId;
use crate::shard::Faded;
use cairn_storage::units::ShardId;

/// Something that has been done, or put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A command, or its part, was run for a shard, this one or another.
    Ran { from: ShardId, request: RequestId },
    /// A question was answered.
    Answered { from: ShardId, request: RequestId },
    /// One of both met something that is not in memory, and waits. A question may have been answered in part.
    Parked { from: ShardId, request: RequestId },
    /// What is done next (the next deed but these, or the next command of a connection) is refused: a page that it needs
    /// cannot be had, or the page file takes nothing of what memory is full of.
    Unusable,
    /// So many rows past their time were removed: the earliest ones.
    Expired { rows: u64 },
    /// A field past its time was removed from the hash with this head: its place ([`crate::collection::order::place_of`]).
    FieldExpired { db: u8, head: u64, place: u64 },
    /// The hash with this head was, of which nothing was left but fields past their time.
    HashExpired { db: u8, head: u64 },
}

/// A deed, and how many commands of connections had been noted in the slow log before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    pub after: u64,
    pub deed: Deed,
}

impl Machine {
    /// From now on it has a bug, if any.
    pub fn plant(&mut self, bug: Option<Bug>) {
        self.planted = bug;
        self.shard.planted = bug;
    }

    /// From now on deeds are noted.
    pub fn watch(&mut self) {
        self.deeds.get_or_insert_default();
        self.shard.faded.get_or_insert_default();
    }

    /// What has expired at a turn's end: rows, then fields.
    pub(super) fn note_expired(&mut self, rows: u64) {
        if rows > 0 {
            self.note_deed(Deed::Expired { rows });
        }
        for Faded { db, head, place } in self.shard.faded.as_mut().map(std::mem::take).unwrap_or_default() {
            self.note_deed(match place {
                Some(place) => Deed::FieldExpired { db, head, place },
                None => Deed::HashExpired { db, head },
            });
        }
    }

    /// What was noted since the last time.
    pub fn take_deeds(&mut self) -> Vec<Noted> {
        self.deeds.as_mut().map(std::mem::take).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn note_deed(&mut self, deed: Deed) {
        if let Some(deeds) = &mut self.deeds {
            deeds.push(Noted { after: self.slowlog.recorded(), deed });
        }
    }
}
