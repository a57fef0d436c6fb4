//! The integers that mean something, one type each. Used on every stop of the data path.

use core::fmt;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

unit!(
    /// A position in a shard's log, in bytes since the log's beginning. Never reused.
    Lsn(u64)
);
unit!(
    /// A segment file of a shard's log: it holds the LSNs `[id * segment_bytes, (id + 1) * segment_bytes)`.
    SegmentId(u64)
);
unit!(
    /// A page of a shard's trees.
    PageId(u32)
);
unit!(
    /// A shard: a contiguous range of hash slots with its own trees and log.
    ShardId(u16)
);
unit!(
    /// Counts the openings of a log. A flush is part of the log only if no flush before it has a higher one, so
    /// that what an earlier opening left beyond its end can never be taken for a continuation.
    Incarnation(u32)
);
unit!(
    /// The fencing number of a replication stream: promotion raises it.
    Epoch(u64)
);
unit!(
    /// One of the log's flush buffers.
    BufferId(u32)
);
unit!(
    /// Names a disk operation in flight, so that its completion finds it again.
    OpId(u64)
);
unit!(
    /// A value that stands outside the tree.
    ExtentId(u32)
);
unit!(
    /// A place of one page in a shard's page file: byte `site * PAGE_BYTES`. Sites 0 and 1 hold the superblocks.
    Site(u32)
);
unit!(
    /// Counts the checkpoints of a shard. What changes between the beginnings of checkpoints g-1 and g is of
    /// generation g.
    Generation(u32)
);
unit!(
    /// An effect of the log that is not in the trees yet (see `engine::redo`).
    PendingId(u32)
);
unit!(
    /// A collection whose elements are rows of their own (see `engine::elements`).
    CollectionId(u64)
);
unit!(
    /// One of the page file's output buffers.
    OutputId(u32)
);

/// A transaction over several shards. Never used twice: see [`crate::log::LogWriter::next_number`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId {
    /// The shard that coordinates it, which need not take part.
    pub coordinator: ShardId,
    pub number: u64,
}

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.coordinator, self.number)
    }
}
