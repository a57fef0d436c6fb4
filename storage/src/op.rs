//! The closed lists of disk operations that a shard's log and its page file ask for, and their completions.
//!
//! Log and page file decide, a driver performs. A driver may perform operations in any order and several at once; it
//! answers each exactly once.

use crate::units::{BufferId, OpId, OutputId, SegmentId};

/// What a driver is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Write the first `len` bytes of the log's flush buffer `buffer` at `offset` of a prepared segment, and answer
    /// when they are on stable storage (`RWF_DSYNC` or the like). `offset` and `len` are multiples of
    /// [`crate::limits::BLOCK_BYTES`]. The buffer does not change until the answer.
    Write { op: OpId, segment: SegmentId, offset: u64, buffer: BufferId, len: u32 },
    /// Create a segment of `bytes` zeros, on stable storage together with its directory entry. It may take as
    /// long as it likes: the log asks ahead of need. A file of that name that is there already and was never
    /// written to (a crash during preparation) is replaced.
    Prepare { op: OpId, segment: SegmentId, bytes: u64 },
}

/// A read of the log that a driver is asked for while the log is written: `len` bytes at `offset` of a segment, multiples of
/// [`crate::limits::BLOCK_BYTES`]. The file may be gone by then: the answer is an errno, as for any other failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRead {
    pub op: OpId,
    pub segment: SegmentId,
    pub offset: u64,
    pub len: u32,
}

/// What a driver is asked to do with a shard's page file. Offsets and lengths are multiples of
/// [`crate::limits::BLOCK_BYTES`]. The answer to a `Read` comes with its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageOp {
    /// Write the first `len` bytes of the output buffer `output` at `offset`, not necessarily to stable storage. The
    /// buffer does not change until the answer.
    Write { op: OpId, offset: u64, output: OutputId, len: u32 },
    /// The same, to stable storage (`RWF_DSYNC`): a superblock.
    WriteStable { op: OpId, offset: u64, output: OutputId, len: u32 },
    /// Read `len` bytes at `offset`.
    Read { op: OpId, offset: u64, len: u32 },
    /// Make all that was written before stable (`fdatasync`).
    Sync { op: OpId },
    /// Make the file at least `bytes` long, with its blocks allocated.
    Grow { op: OpId, bytes: u64 },
    /// Remove the log's segments below this one, the lowest first: no checkpoint needs them any more.
    Forget { op: OpId, before: SegmentId },
}

impl PageOp {
    pub fn op(self) -> OpId {
        match self {
            PageOp::Write { op, .. }
            | PageOp::WriteStable { op, .. }
            | PageOp::Read { op, .. }
            | PageOp::Sync { op }
            | PageOp::Grow { op, .. }
            | PageOp::Forget { op, .. } => op,
        }
    }
}

/// How an operation ended: the bytes written or read (0 for the others), or the errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskDone {
    pub op: OpId,
    pub result: Result<u32, i32>,
}
