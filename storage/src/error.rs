//! Why a shard cannot go on. A fault stops the shard or its start; it is never a reply to a bad command.

use crate::units::{ExtentId, Lsn, PageId, PendingId, SegmentId, ShardId, TxnId};
use core::fmt;

/// What is not in memory. Not an error: the caller has changed nothing, has it read and asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    Page(PageId),
    /// The page is here, and is a branch where a path has to end at a leaf: images whose checksums hold, that were never a
    /// tree together. To read it again changes nothing.
    Astray(PageId),
    Extent(ExtentId),
    /// Effects that the log has for the row have not been applied to the trees since the start: this is the first.
    Pending(PendingId),
    /// Some effects of the log have not been applied since the start, and the question is about many rows.
    Redo,
    /// Rows wait for their leaves, and the question is how many rows there are.
    Deferred,
}

/// What is wrong with the log or the page file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bytes that had been stable do not read back. `proof` is the LSN of a later flush, or of a checkpoint, which
    /// says so.
    Corrupt { shard: ShardId, segment: SegmentId, offset: u64, lsn: Lsn, what: &'static str, proof: Lsn },
    /// A segment between the first and the last one is not there.
    SegmentAbsent { shard: ShardId, segment: SegmentId },
    /// A record whose checksum holds, yet which makes no sense: written by another version, or a bug.
    Record { shard: ShardId, lsn: Lsn, what: &'static str },
    /// What the logs of several shards say of a transaction cannot be: something that was stable is gone.
    Transaction { shard: ShardId, id: TxnId, what: &'static str },
    /// A flush of a later format than this build reads.
    Version { shard: ShardId, segment: SegmentId, offset: u64, found: u16, known: u16 },
    /// The rows do not fit into the memory that the shard may use.
    MemoryFull { shard: ShardId, bytes_max: u64 },
    /// A segment could not be read, or what was read could not be made stable.
    Read { shard: ShardId, segment: SegmentId, offset: u64, errno: i32 },
    /// What stands in the page file is not what was written there.
    PageFile { shard: ShardId, offset: u64, what: &'static str },
    /// The page file is of a later format than this build reads.
    PageFileVersion { shard: ShardId, found: u16, known: u16 },
    /// Something of the page file could not be read.
    PageFileRead { shard: ShardId, offset: u64, errno: i32 },
}

impl Fault {
    /// Where in the log it is: the segment, and the offset in its file.
    pub fn place(&self, segment_bytes: u64) -> Option<(SegmentId, u64)> {
        match *self {
            Fault::Corrupt { segment, offset, .. }
            | Fault::Read { segment, offset, .. }
            | Fault::Version { segment, offset, .. } => Some((segment, offset)),
            Fault::SegmentAbsent { segment, .. } => Some((segment, 0)),
            Fault::Record { lsn, .. } => Some((SegmentId(lsn.0 / segment_bytes), lsn.0 % segment_bytes)),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Corrupt { shard, segment, offset, lsn, what, proof } => write!(
                f,
                "the log of shard {shard} is damaged: segment {segment}, offset {offset} (LSN {lsn}): {what}, although \
                 LSN {proof} proves that it was sound once"
            ),
            Fault::SegmentAbsent { shard, segment } => {
                write!(f, "the log of shard {shard} lacks segment {segment}")
            }
            Fault::Record { shard, lsn, what } => {
                write!(f, "the log of shard {shard} has a record at LSN {lsn} that cannot be understood: {what}")
            }
            Fault::Transaction { shard, id, what } => write!(
                f,
                "the logs disagree on transaction {id}, which shard {shard} takes part in: {what}. One of them has lost what \
                 was stable"
            ),
            Fault::Version { shard, segment, offset, found, known } => write!(
                f,
                "the log of shard {shard} has format {found} in segment {segment}, offset {offset}; this build reads \
                 format {known} and no later one"
            ),
            Fault::MemoryFull { shard, bytes_max } => {
                write!(
                    f,
                    "the rows of shard {shard} do not fit into its {bytes_max} bytes of memory: start with more (--memory)"
                )
            }
            Fault::PageFile { shard, offset, what } => {
                write!(f, "the page file of shard {shard} is damaged at offset {offset}: {what}")
            }
            Fault::PageFileVersion { shard, found, known } => write!(
                f,
                "the page file of shard {shard} has format {found}; this build reads format {known} and no later one"
            ),
            Fault::PageFileRead { shard, offset, errno } => {
                write!(f, "the page file of shard {shard} cannot be read at offset {offset}: errno {errno}")
            }
            Fault::Read { shard, segment, offset, errno } => {
                write!(f, "the log of shard {shard} cannot be read: segment {segment}, offset {offset}: errno {errno}")
            }
        }
    }
}

impl std::error::Error for Fault {}
