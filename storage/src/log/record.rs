//! What the log says: the effect of a command on rows, never the command.
//!
//! Replay, standbys, change streams and point-in-time restore all read these. A record is an rkyv archive; its
//! framing in the log belongs to [`super`].

use rkyv::with::InlineAsBox;
use rkyv::{Archive, Serialize};

/// Why a row went away. Replay does not care; change streams and notifications do.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum Removal {
    Deleted,
    Expired,
}

/// The effect of a command on the rows of one shard.
///
/// `head` is the place of the key in the keyspace's order (slot and hash), as the layer above computes it;
/// `expire_ms` is a Unix time in milliseconds, 0 for none.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The row is this now, whatever it was.
    Put {
        db: u8,
        kind: u8,
        head: u64,
        expire_ms: u64,
        #[rkyv(with = InlineAsBox)]
        key: &'a [u8],
        #[rkyv(with = InlineAsBox)]
        value: &'a [u8],
    },
    /// These bytes of the row's value are overwritten; the value grows, with zeros before `offset`, where it must.
    Splice {
        db: u8,
        head: u64,
        offset: u64,
        #[rkyv(with = InlineAsBox)]
        key: &'a [u8],
        #[rkyv(with = InlineAsBox)]
        bytes: &'a [u8],
    },
    /// The row's time to live changes, nothing else.
    Expire {
        db: u8,
        head: u64,
        expire_ms: u64,
        #[rkyv(with = InlineAsBox)]
        key: &'a [u8],
    },
    /// The row goes.
    Delete {
        db: u8,
        removal: Removal,
        head: u64,
        #[rkyv(with = InlineAsBox)]
        key: &'a [u8],
    },
    /// All rows of a database go.
    Clear { db: u8 },
}
