//! Segments that are used again: what an earlier use left in them is never taken for the log's, wherever a crash cuts.

use crate::disk::{Disk, Rng};
use crate::{SEGMENT, Seen, config, open, put, segment_of};
use cairn_storage::limits::BLOCK_BYTES;
use cairn_storage::log::flush::{FRAME_BYTES, Flush, HEADER_BYTES};
use cairn_storage::log::{LogWriter, Resume};
use cairn_storage::op::DiskOp;
use cairn_storage::units::{Lsn, SegmentId};

/// Segments that a history goes through: the later half of them is made of the earlier ones.
const SEGMENTS: u64 = 7;

/// A log that was written up to some operation.
struct History {
    disk: Disk,
    writer: LogWriter,
    appended: Vec<Seen>,
    /// A checkpoint holds what is up to here.
    start: Lsn,
    operations: usize,
    reused: usize,
}

impl History {
    fn new() -> History {
        let writer = LogWriter::new(config(), &Resume::empty());
        History { disk: Disk::default(), writer, appended: Vec::new(), start: Lsn(0), operations: 0, reused: 0 }
    }

    /// Writes flushes of these lengths in turn, each of one record, up to the end of the last segment or until so many
    /// operations were completed. What was taken is in flight then.
    fn write(&mut self, flush_bytes: &[usize], operations_max: usize) {
        let overhead = HEADER_BYTES + FRAME_BYTES + put(&[0; 8], b"").archive_bytes();
        for number in 0_u64.. {
            let bytes = flush_bytes[number as usize % flush_bytes.len()];
            let room = (SEGMENT - self.writer.appended().0 % SEGMENT) as usize;
            // A flush that ends with its segment is cut there; here each is one record.
            let value = vec![number as u8; bytes.min(room.next_multiple_of(BLOCK_BYTES)) - overhead];
            let key = number.to_le_bytes();
            let lsn = self.writer.append(&put(&key, &value));
            self.appended.push(Seen { lsn, key: key.to_vec(), value });
            self.writer.seal();
            self.disk.take(&mut self.writer);
            if segment_of(lsn).0 >= SEGMENTS {
                return;
            }
            // Two flushes stay in flight, so that a crash finds more than one. Without a segment none is.
            let waits = |disk: &Disk| matches!(disk.flying[0].op, DiskOp::Prepare { .. });
            while self.disk.flying.len() > 2 || !self.disk.flying.is_empty() && waits(&self.disk) {
                if self.operations == operations_max {
                    return;
                }
                self.complete();
            }
        }
    }

    fn complete(&mut self) {
        self.operations += 1;
        let is_reuse = matches!(self.disk.flying[0].op, DiskOp::Prepare { .. }) && !self.disk.spares.is_empty();
        self.reused += usize::from(is_reuse);
        let done = self.disk.complete(&config(), &self.writer, 0);
        self.writer.on_done(done);
        // A checkpoint once a segment, of what was durable a segment ago.
        let durable = self.writer.durable();
        let before = SegmentId((durable.0 / SEGMENT).saturating_sub(1));
        if let Some(first) = self.appended.iter().find(|record| segment_of(record.lsn) >= before)
            && first.lsn < durable
        {
            self.start = self.start.max(first.lsn);
            self.disk.forget(segment_of(Lsn(self.start.0 / SEGMENT * SEGMENT)));
        }
        self.disk.take(&mut self.writer);
    }

    /// Opens what a power cut leaves. Whether a sound flush of an earlier use stands right where the log ends.
    fn cut(mut self, seed: u64) -> bool {
        let acknowledged = self.writer.durable();
        self.disk.power_cut(&mut Rng(seed));
        let opened = open(config(), &mut self.disk, self.start, usize::MAX);
        let what = format!("after {} operations, seed {seed}", self.operations);
        let resume = opened.outcome.unwrap().unwrap_or_else(|fault| panic!("{what}: {fault}"));
        let skipped = self.appended.partition_point(|record| record.lsn <= self.start);
        let expected = &self.appended[skipped..];
        assert!(opened.records.len() <= expected.len(), "{what}: there is more than was written");
        assert!(opened.records == expected[..opened.records.len()], "{what}: something else than was written is there");
        assert!(resume.end >= acknowledged, "{what}: the log ends at {}, {acknowledged} was durable", resume.end);
        let is_there = expected.get(opened.records.len()).is_none_or(|lost| lost.lsn > acknowledged);
        assert!(is_there, "{what}: an acknowledged record is lost");
        let Some(file) = self.disk.files.get(&segment_of(resume.end).0) else { return false };
        let behind = &file.bytes[(resume.end.0 % SEGMENT) as usize..];
        Flush::decode(&config(), behind).is_ok_and(|flush| flush.lsn != resume.end)
    }
}

fn check(flush_bytes: &[usize]) {
    let mut leftovers = 0;
    for operations in 0.. {
        for seed in 0..2 {
            let mut history = History::new();
            history.write(flush_bytes, operations);
            if history.operations < operations {
                assert!(history.reused >= 2, "segments are used again: {}", history.reused);
                assert!(leftovers >= 3, "where the log ends a leftover stands: {leftovers} times");
                return;
            }
            leftovers += usize::from(history.cut(seed));
        }
    }
}

/// The leftovers begin exactly where the next flush will.
#[test]
fn flushes_of_one_length() {
    check(&[128 * 1024]);
}

#[test]
fn flushes_of_several_lengths() {
    check(&[192 * 1024, 128 * 1024, 128 * 1024, 4096, 60 * 1024]);
}
