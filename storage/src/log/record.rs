//! What the log says: the effect of a command on rows, never the command.
//!
//! Replay, standbys, change streams and point-in-time restore all read these. A record is an rkyv archive; its
//! framing in the log belongs to [`super`].
//!
//! The archive is the record's byte strings in the order of the fields, then the fixed part, which refers back to
//! them. So its length is known before it is written ([`Record::archive_bytes`]) and it is written in one pass, with
//! no scratch memory.

use crate::units::{ShardId, TxnId};
use core::mem::size_of;
use rkyv::rancor::{Failure, Panic, Source};
use rkyv::ser::allocator::SubAllocator;
use rkyv::ser::{Positional, Serializer, Writer};
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
    Clear {
        db: u8,
    },
    /// The log was opened: a group that was begun before and has no end never happened.
    Opened,
    /// The records up to [`Record::GroupEnd`] are one unit.
    GroupBegin,
    GroupEnd,
    /// The same as [`Record::GroupBegin`], of the part that a transaction over several shards has here: the group counts from
    /// its [`Record::TxnDone`] on. `participants` are the shards that take part, this one included: ascending, 2 bytes each,
    /// little-endian.
    TxnBegin {
        coordinator: u16,
        number: u64,
        #[rkyv(with = InlineAsBox)]
        participants: &'a [u8],
    },
    /// The transaction is committed: the groups of all participants are stable.
    TxnDone {
        coordinator: u16,
        number: u64,
    },
    /// The transaction never happened.
    TxnAbort {
        coordinator: u16,
        number: u64,
    },
    /// In place of [`Record::GroupEnd`]: the records of the group never happened.
    GroupAbort,
    /// Two databases change places, with all their rows.
    Swap {
        one: u8,
        other: u8,
    },
}

// Archives of format 1 are read as well: no kind may need a longer fixed part than the longest had then.
const _: () = assert!(size_of::<ArchivedRecord<'static>>() == 35);

impl<'a> Record<'a> {
    /// The database that it is about, if it is one.
    pub fn db(&self) -> Option<u8> {
        match self {
            Record::Put { db, .. }
            | Record::Splice { db, .. }
            | Record::Expire { db, .. }
            | Record::Delete { db, .. }
            | Record::Clear { db } => Some(*db),
            _ => None,
        }
    }

    /// The row that it is about: its place and its key.
    pub fn row(&self) -> Option<(u64, &'a [u8])> {
        match self {
            Record::Put { head, key, .. }
            | Record::Splice { head, key, .. }
            | Record::Expire { head, key, .. }
            | Record::Delete { head, key, .. } => Some((*head, key)),
            _ => None,
        }
    }

    /// The transaction that it is about, if it is about one rather than about rows.
    pub fn txn(&self) -> Option<TxnId> {
        match *self {
            Record::TxnBegin { coordinator, number, .. }
            | Record::TxnDone { coordinator, number }
            | Record::TxnAbort { coordinator, number } => Some(TxnId { coordinator: ShardId(coordinator), number }),
            _ => None,
        }
    }

    /// The length of the record's archive.
    #[inline]
    pub fn archive_bytes(&self) -> usize {
        let strings = match self {
            Record::Put { key, value, .. } => key.len() + value.len(),
            Record::Splice { key, bytes, .. } => key.len() + bytes.len(),
            Record::Expire { key, .. } | Record::Delete { key, .. } => key.len(),
            Record::TxnBegin { participants, .. } => participants.len(),
            Record::Clear { .. }
            | Record::Opened
            | Record::GroupBegin
            | Record::GroupEnd
            | Record::TxnDone { .. }
            | Record::TxnAbort { .. }
            | Record::GroupAbort
            | Record::Swap { .. } => 0,
        };
        size_of::<ArchivedRecord<'static>>() + strings
    }

    /// The archive on its own, for one who has to keep it.
    pub fn to_archive(&self) -> Vec<u8> {
        let mut out = vec![0; self.archive_bytes()];
        self.encode(&mut out);
        out
    }

    /// Writes the archive to `out`, which is [`Record::archive_bytes`] long.
    ///
    /// The kinds that nearly all records are are put where they belong field by field. rkyv makes the fixed part elsewhere and copies it: a wide load
    /// of what narrow stores have just written has to wait until these, and all before them, have left for the cache.
    #[inline]
    pub(super) fn encode(&self, out: &mut [u8]) {
        let len = out.len();
        let written = match *self {
            Record::Put { db, kind, head, expire_ms, key, value } => {
                let mut archive = InPlace { out, len: 0 };
                let (key, value) = (archive.string(key), archive.string(value));
                archive.put([PUT, db, kind]);
                archive.put(head.to_le_bytes());
                archive.put(expire_ms.to_le_bytes());
                archive.refer(key);
                archive.refer(value);
                archive.len
            }
            Record::Delete { db, removal, head, key } => {
                let mut archive = InPlace { out, len: 0 };
                let key = archive.string(key);
                archive.put([DELETE, db, removal as u8]);
                archive.put(head.to_le_bytes());
                archive.refer(key);
                // The fixed part of each kind is as long as the longest.
                archive.put([0; 16]);
                archive.len
            }
            _ => self.encode_to(Slice { out, len: 0 }).len,
        };
        assert_eq!(written, len, "an archive is as long as announced");
    }

    /// Writes the archive to `writer` piece by piece, and hands the writer back.
    #[inline]
    pub(super) fn encode_to<W: Writer<Panic>>(&self, writer: W) -> W {
        // Byte strings need no scratch memory, so an allocator that has none never fails.
        let mut serializer = Serializer::new(writer, SubAllocator::empty(), ());
        let Ok(_) = rkyv::api::serialize_using::<_, Panic>(self, &mut serializer);
        serializer.into_writer()
    }

    /// Reads an archive. Nothing about the bytes is trusted; `None` if they are not a record.
    #[inline]
    pub fn decode(archive: &'a [u8]) -> Option<Record<'a>> {
        let archived = rkyv::access::<ArchivedRecord<'a>, Failure>(archive).ok()?;
        Some(match archived {
            ArchivedRecord::Put { db, kind, head, expire_ms, key, value } => Record::Put {
                db: *db,
                kind: *kind,
                head: head.to_native(),
                expire_ms: expire_ms.to_native(),
                key,
                value,
            },
            ArchivedRecord::Splice { db, head, offset, key, bytes } => {
                Record::Splice { db: *db, head: head.to_native(), offset: offset.to_native(), key, bytes }
            }
            ArchivedRecord::Expire { db, head, expire_ms, key } => {
                Record::Expire { db: *db, head: head.to_native(), expire_ms: expire_ms.to_native(), key }
            }
            ArchivedRecord::Delete { db, removal, head, key } => Record::Delete {
                db: *db,
                removal: match removal {
                    ArchivedRemoval::Deleted => Removal::Deleted,
                    ArchivedRemoval::Expired => Removal::Expired,
                },
                head: head.to_native(),
                key,
            },
            ArchivedRecord::Clear { db } => Record::Clear { db: *db },
            ArchivedRecord::Opened => Record::Opened,
            ArchivedRecord::GroupBegin => Record::GroupBegin,
            ArchivedRecord::GroupEnd => Record::GroupEnd,
            ArchivedRecord::TxnBegin { coordinator, number, participants } => {
                Record::TxnBegin { coordinator: coordinator.to_native(), number: number.to_native(), participants }
            }
            ArchivedRecord::TxnDone { coordinator, number } => {
                Record::TxnDone { coordinator: coordinator.to_native(), number: number.to_native() }
            }
            ArchivedRecord::TxnAbort { coordinator, number } => {
                Record::TxnAbort { coordinator: coordinator.to_native(), number: number.to_native() }
            }
            ArchivedRecord::GroupAbort => Record::GroupAbort,
            ArchivedRecord::Swap { one, other } => Record::Swap { one: *one, other: *other },
        })
    }
}

/// What the archives of two kinds begin their fixed part with: their places among the kinds.
const PUT: u8 = 0;
const DELETE: u8 = 3;

/// An archive that is written where it belongs, as rkyv would have it.
struct InPlace<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl InPlace<'_> {
    /// A byte string: where it begins, and how long it is.
    #[inline(always)]
    fn string(&mut self, bytes: &[u8]) -> (usize, usize) {
        let start = self.len;
        self.out[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        (start, bytes.len())
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.out[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }

    /// A reference to a byte string: how far it is from here, and its length.
    #[inline(always)]
    fn refer(&mut self, (start, len): (usize, usize)) {
        let distance = start as i32 - self.len as i32;
        self.put(distance.to_le_bytes());
        self.put((len as u32).to_le_bytes());
    }
}

/// Writes into a slice that is known to be long enough.
struct Slice<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Positional for Slice<'_> {
    #[inline]
    fn pos(&self) -> usize {
        self.len
    }
}

impl<E: Source> Writer<E> for Slice<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.out[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Record, Removal, Slice};

    fn check(record: &Record<'_>) {
        let mut archive = vec![0xa5; record.archive_bytes()];
        record.encode(&mut archive);
        assert_eq!(Record::decode(&archive).as_ref(), Some(record));
        let mut by_rkyv = vec![0x5a; archive.len()];
        record.encode_to(Slice { out: &mut by_rkyv, len: 0 });
        assert_eq!(archive, by_rkyv, "{record:?}");
        // Unaligned archives are read as well as aligned ones.
        let mut shifted = vec![0];
        shifted.extend_from_slice(&archive);
        assert_eq!(Record::decode(&shifted[1..]).as_ref(), Some(record));
        // Nothing shorter than the fixed part is a record, and no cut makes the reader panic.
        for cut in 0..archive.len() {
            let decoded = Record::decode(&archive[..cut]);
            assert!(decoded.is_none() || cut >= Record::Clear { db: 0 }.archive_bytes());
        }
    }

    #[test]
    fn every_kind_reads_back() {
        let long = vec![7; 70_000];
        check(&Record::Put { db: 15, kind: 3, head: u64::MAX, expire_ms: 1 << 50, key: b"key", value: &long });
        check(&Record::Put { db: 0, kind: 0, head: 0, expire_ms: 0, key: b"", value: b"" });
        check(&Record::Splice { db: 1, head: 9, offset: 1 << 33, key: b"k", bytes: b"patch" });
        check(&Record::Expire { db: 2, head: 10, expire_ms: 5, key: b"k" });
        check(&Record::Delete { db: 3, removal: Removal::Deleted, head: 11, key: b"gone" });
        check(&Record::Delete { db: 3, removal: Removal::Expired, head: 12, key: b"late" });
        check(&Record::Clear { db: 4 });
        check(&Record::Opened);
        check(&Record::GroupBegin);
        check(&Record::GroupEnd);
        check(&Record::TxnBegin { coordinator: 3, number: 1 << 60, participants: &[0, 0, 3, 0, 1, 2] });
        check(&Record::TxnDone { coordinator: u16::MAX, number: u64::MAX });
        check(&Record::TxnAbort { coordinator: 0, number: 1 });
        check(&Record::GroupAbort);
        check(&Record::Swap { one: 0, other: 15 });
    }
}
