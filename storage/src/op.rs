//! The closed list of disk operations that a shard's log asks for, and their completions.
//!
//! The log decides, a driver performs. A driver may perform operations in any order and several at once; it
//! answers each exactly once.

use crate::units::{BufferId, OpId, SegmentId};

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

/// How an operation ended: the bytes written (0 for `Prepare`), or the errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskDone {
    pub op: OpId,
    pub result: Result<u32, i32>,
}
