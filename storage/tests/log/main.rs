//! The log from outside: scripts, limits, damage, and random runs with crashes, on a disk in memory.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod damage;
mod disk;
mod golden;
mod limits;
mod random;
mod recycled;

use cairn_storage::error::Fault;
use cairn_storage::limits::FLUSH_BYTES_MAX;
use cairn_storage::log::{LogConfig, Record, Recovery, Resume, Step};
use cairn_storage::units::{Epoch, Lsn, SegmentId, ShardId};
use disk::Disk;

pub const SEGMENT: u64 = 1 << 20;

pub fn config() -> LogConfig {
    LogConfig { shard: ShardId(3), segment_bytes: SEGMENT, salt: 0x5eed, epoch: Epoch(1), planted: None }
}

pub fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Record<'a> {
    Record::Put { db: 0, kind: 0, head: 0, expire_ms: 0, key, value }
}

/// A record as recovery handed it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub lsn: Lsn,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// What one opening came to. `None` as the outcome: it was interrupted.
pub struct Opened {
    pub records: Vec<Seen>,
    pub outcome: Option<Result<Resume, Fault>>,
}

/// Recovers the log on `disk`, giving up after `steps` steps.
pub fn open(config: LogConfig, disk: &mut Disk, start: Lsn, mut steps: usize) -> Opened {
    let mut recovery = Recovery::new(config, disk.list(), start);
    let mut records = Vec::new();
    loop {
        if steps == 0 {
            return Opened { records, outcome: None };
        }
        steps -= 1;
        match recovery.step() {
            Step::Read { segment, offset, len } => match disk.read(segment, offset, len) {
                Ok(bytes) => recovery.supply(&bytes),
                Err(errno) => recovery.failed(errno),
            },
            Step::Sync { segment } => match disk.sync(segment) {
                Ok(()) => recovery.synced(),
                Err(errno) => recovery.failed(errno),
            },
            Step::Record { lsn, record: Record::Put { key, value, .. }, buffer } => {
                // What is longer than a flush has a buffer of its own, and no longer one than it needs.
                assert!(value.len() < FLUSH_BYTES_MAX || buffer.is_some());
                assert!(buffer.is_none_or(|buffer| buffer.capacity() < value.len() + 200));
                records.push(Seen { lsn, key: key.to_vec(), value: value.to_vec() });
            }
            Step::Record { record, .. } => panic!("nobody wrote {record:?}"),
            Step::Done(resume) => return Opened { records, outcome: Some(Ok(resume)) },
            Step::Refuse(fault) => return Opened { records, outcome: Some(Err(fault)) },
        }
    }
}

pub fn segment_of(lsn: Lsn) -> SegmentId {
    SegmentId(lsn.0 / SEGMENT)
}
