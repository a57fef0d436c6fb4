//! Stop 7 of 10: the log of one shard. Owns the order of records on disk; knows nothing of rows, commands or peers.
//!
//! The log is one stream of bytes, cut into segment files of equal size. An LSN is a position in that stream: byte
//! `lsn % segment_bytes` of segment `lsn / segment_bytes`. The stream is a sequence of *flushes*, each written with one
//! operation, each beginning on a block of 4096 bytes where the one before ended, none crossing a segment's end.
//!
//! | at | bytes | a flush (little-endian) |
//! | --- | --- | --- |
//! | 0 | 4 | magic `CRNL` |
//! | 4 | 2 | format version |
//! | 6 | 2 | shard |
//! | 8 | 4 | incarnation: counts the openings of the log |
//! | 12 | 4 | payload length |
//! | 16 | 8 | LSN: where this flush begins |
//! | 24 | 8 | epoch |
//! | 32 | 8 | durable LSN: when this was issued, everything before it was on stable storage |
//! | 40 | 4 | carry: leading bytes of the payload that continue a record of the flush before |
//! | 44 | 4 | CRC32C of the log's salt, of bytes 0 to 43 and of the payload |
//! | 48 | | payload, then zeros up to the next block |
//!
//! The payload is a sequence of frames: the length of an archive (4 bytes, never parted), then the archive of a
//! [`record::Record`]. An archive may go on in the next flush, whatever its segment. A record's LSN is the position after
//! its last byte; it is stable when the durable LSN has reached that.
//!
//! The salt is a secret of the data directory. Values are chosen by clients; without it, one could look like a flush.
//!
//! **Valid** is a flush that says it is where it is, of this shard and format, whose checksum holds. It **continues the
//! log** if no flush before it has a higher incarnation. The log **ends** at the first position X that no flush continues,
//! unless a valid flush anywhere behind X has a durable LSN above X: then X had been acknowledged, and is damaged.
//!
//! A prepared segment is filled with zeros, or with what it held as an earlier segment: flushes that say they are elsewhere.
//!
//! What makes this sound:
//!
//! - **I1** An opening of the log writes each position once, each flush where the one before ends.
//! - **I2** The durable LSN covers completed flushes with nothing uncompleted before them. A failed or short write ends
//!   its progress until the log is opened again.
//! - **I3** Flushes are issued in order, each to a prepared segment, and segments are prepared in order. So a segment
//!   that is absent or short though a valid flush is in it or behind it has been damaged.
//! - **I4** An opening takes an incarnation above that of every valid flush that reads back, those behind the end
//!   included, and its first flush has no carry.
//! - **I5** Where an opening found the end, a flush of an earlier opening never continues the log again: what is there
//!   was invalid or of a lower incarnation than a flush before it, and is overwritten only by later openings. So leftovers
//!   behind the end never join the log, and a record whose end was lost is never joined to later bytes.
//! - **I6** An opening makes stable what reads back before it reports the end. So the end never moves back, and the
//!   durable LSN of later flushes is true of what earlier openings wrote too.
//! - **I7** Leftovers behind the end have durable LSNs at or below it (else I2 or the disk is broken, and the log is
//!   refused), and the end never moves back: they never accuse a later log of damage.

pub mod bug;
pub mod flush;
pub mod record;
pub mod recovery;
pub mod writer;

mod buffer;
mod reader;
mod scrub;
mod segment;

pub use bug::Bug;
pub use record::{Record, Removal};
pub use recovery::{Recovery, SegmentFile, Step};
pub use scrub::{LogScrub, LogScrubNumbers, LogScrubStep};
pub use writer::{FlushDone, LogNumbers, LogState, LogWriter, WriteFault};

use crate::limits::{BLOCK_BYTES, SEGMENT_BYTES_MIN};
use crate::units::{Epoch, Incarnation, Lsn, SegmentId, ShardId};

/// What a log is told when it opens. All but `epoch` and `planted` are the same for the life of a data directory.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    pub shard: ShardId,
    /// The size of a segment file: a multiple of [`BLOCK_BYTES`], at least [`SEGMENT_BYTES_MIN`].
    pub segment_bytes: u64,
    /// A secret number, drawn when the data directory is created.
    pub salt: u32,
    pub epoch: Epoch,
    /// A bug to have, for tests of the tests.
    pub planted: Option<Bug>,
}

impl LogConfig {
    fn assert_sound(&self) {
        assert!(self.segment_bytes >= SEGMENT_BYTES_MIN && self.segment_bytes.is_multiple_of(BLOCK_BYTES as u64));
    }
}

/// Where a recovery begins: what the checkpoint says of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStart {
    /// The LSN of a record, or 0: the records up to it are not wanted (the checkpoint has them), and it was acknowledged.
    pub lsn: Lsn,
    /// Where the flush begins in which that record ends: nothing before it is read. `None`: it is not known, and reading
    /// begins with the segment.
    pub flush: Option<Lsn>,
    /// An incarnation that what is read has at least.
    pub incarnation: Incarnation,
    /// Everything up to here was acknowledged, if that is further: a log that ends before it has lost something.
    pub proved: Lsn,
}

impl LogStart {
    /// Nothing before this position is needed.
    pub fn needed(&self, segment_bytes: u64) -> Lsn {
        // No flush crosses a segment's beginning, so one begins there.
        self.flush.unwrap_or(Lsn(self.lsn.0 / segment_bytes * segment_bytes))
    }
}

impl From<Lsn> for LogStart {
    fn from(lsn: Lsn) -> LogStart {
        LogStart { lsn, ..LogStart::default() }
    }
}

/// Where a log goes on: what recovery found, and what a writer begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The log's end: everything before it is stable.
    pub end: Lsn,
    /// The incarnation of this opening.
    pub incarnation: Incarnation,
    /// The highest epoch of the log's flushes.
    pub epoch: Epoch,
    /// The segments, in order and without gaps from the one that holds `end`, that are there in full length. The writer
    /// uses them as they are.
    pub prepared: Vec<SegmentId>,
    /// Segments that are there and of no use: behind a gap, or short. The writer asks for them to be prepared when it
    /// comes to them, or a driver deletes them before it starts the writer.
    pub useless: Vec<SegmentId>,
    /// Whether the log has records which no later flush proves to be stable.
    pub unproved: bool,
}

impl Resume {
    /// Where a log without a single segment begins.
    pub fn empty() -> Self {
        Self {
            end: Lsn(0),
            incarnation: Incarnation(1),
            epoch: Epoch(0),
            prepared: Vec::new(),
            useless: Vec::new(),
            unproved: false,
        }
    }
}
