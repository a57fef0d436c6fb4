//! What the log does when nobody waits for it: records that leave with the next flush, flushes that only prove what is
//! durable. And the numbers that are never used twice, because the openings of a log can be counted.

use super::{LogState, LogWriter};
use crate::log::Record;
use crate::units::Lsn;

/// The lowest bits of a number count within an opening of the log; those above are its incarnation.
const COUNT_BITS: u32 = 42;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

impl LogWriter {
    /// Adds a record that nobody waits for: it causes no flush, and leaves with the next one that something else causes, or
    /// when the log has been quiet for a while ([`Self::seal_idle`]).
    pub fn append_lazy(&mut self, record: &Record<'_>) -> Lsn {
        let before = self.awaited();
        let lsn = self.append(record);
        // It ends in the open buffer, which may have been opened for its end.
        self.open.lazy += 1;
        self.lazy = (lsn, before);
        lsn
    }

    /// From now on nothing is added, until [`Self::unmute`]: what happens meanwhile is taken back.
    pub(crate) fn mute(&mut self) {
        let open = std::mem::take(&mut self.open);
        assert!(self.muted.replace(open).is_none(), "it is muted once");
    }

    pub(crate) fn unmute(&mut self) {
        self.open = self.muted.take().expect("it was muted");
    }

    pub(crate) fn is_muted(&self) -> bool {
        self.muted.is_some()
    }

    /// Whether there are records that somebody waits for and no flush in flight whose end would send them.
    pub fn awaits_seal(&self) -> bool {
        self.open.records > self.open.lazy && self.flights.is_empty() && !self.seal_wanted && self.accepts_writes()
    }

    /// Lazy records are waited for after all: they leave with the next seal.
    pub fn hurry(&mut self) {
        self.open.lazy = 0;
    }

    /// The LSN of the last record that is not lazy, or where this opening began: who waits for everything that others may
    /// have seen waits for this.
    #[inline]
    pub fn awaited(&self) -> Lsn {
        let (last, before) = self.lazy;
        if self.appended == last { before } else { self.appended }
    }

    /// Writes what is lazy; or else one empty flush that proves what is durable, so that damage to the last records is told
    /// from an unfinished write. To be called when the log has been quiet for a while; does nothing, and returns false, if the
    /// log is busy, cannot be written, or has nothing to write and to prove.
    pub fn seal_idle(&mut self) -> bool {
        if self.state() != LogState::Open || !self.finished.is_empty() || !self.flights.is_empty() || self.seal_wanted {
            return false;
        }
        if self.open.records > self.open.lazy {
            return false;
        }
        if self.open.cap > 0 {
            self.hurry();
            self.seal();
            return self.seal_wanted;
        }
        if !self.unproved {
            return false;
        }
        self.open(0);
        self.finish();
        self.unproved = false;
        true
    }

    /// A number that this log hands out once, in all its openings. `None` before the first flush of this opening is durable:
    /// until then a crash could make the next opening one of the same incarnation. And after 2^42 numbers.
    pub fn next_number(&mut self) -> Option<u64> {
        if self.durable <= self.begun || self.numbered == COUNT_MAX {
            return None;
        }
        let incarnation = u64::from(self.incarnation.0);
        if incarnation >= 1 << (u64::BITS - COUNT_BITS) {
            return None;
        }
        self.numbered += 1;
        Some(incarnation << COUNT_BITS | self.numbered)
    }
}

#[cfg(test)]
mod tests {
    use crate::limits::FLUSH_BYTES_MAX;
    use crate::log::{LogConfig, LogWriter, Record, Resume};
    use crate::op::{DiskDone, DiskOp};
    use crate::units::{Epoch, Incarnation, SegmentId, ShardId};

    const DONE: Record<'static> = Record::TxnDone { coordinator: 0, number: 1 };

    fn log() -> LogWriter {
        let config = LogConfig { shard: ShardId(0), segment_bytes: 1 << 20, salt: 0, epoch: Epoch(0), planted: None };
        let prepared = (0..3).map(SegmentId).collect();
        LogWriter::new(config, &Resume { prepared, incarnation: Incarnation(5), ..Resume::empty() })
    }

    /// Performs what the log asks for; answers how many flushes it was.
    fn perform(log: &mut LogWriter) -> usize {
        let mut flushes = 0;
        while let Some(op) = log.poll() {
            let (op, result) = match op {
                DiskOp::Write { op, len, .. } => (op, Ok(len)),
                DiskOp::Prepare { op, .. } => (op, Ok(0)),
            };
            flushes += usize::from(log.on_done(DiskDone { op, result }).is_some());
        }
        flushes
    }

    #[test]
    fn what_nobody_waits_for_causes_no_flush() {
        let mut log = log();
        let first = log.append(&Record::Opened);
        log.seal();
        assert_eq!(perform(&mut log), 1);
        let lazy = log.append_lazy(&DONE);
        assert_eq!((log.appended(), log.awaited()), (lazy, first));
        log.append_lazy(&DONE);
        assert_eq!(log.awaited(), first);
        log.seal();
        assert_eq!(perform(&mut log), 0);
        // Somebody waits for what comes behind.
        let other = log.append(&Record::Opened);
        let last = log.append_lazy(&DONE);
        assert_eq!((log.appended(), log.awaited()), (last, other));
        log.seal();
        assert_eq!(perform(&mut log), 1);
        assert!(log.durable() >= last && log.is_idle());
    }

    #[test]
    fn it_leaves_in_the_end() {
        let mut log = log();
        log.append(&Record::Opened);
        log.seal();
        perform(&mut log);
        let lazy = log.append_lazy(&DONE);
        assert!(log.seal_idle() && !log.seal_idle());
        assert_eq!(perform(&mut log), 1);
        assert!(log.durable() >= lazy && !log.is_proved());
        // Then it is proved.
        assert!(log.seal_idle());
        assert_eq!(perform(&mut log), 1);
        assert!(log.is_proved() && !log.seal_idle());
        // Or when somebody waits for it after all.
        let lazy = log.append_lazy(&DONE);
        log.hurry();
        log.seal();
        assert_eq!(perform(&mut log), 1);
        assert!(log.durable() >= lazy);
        // Or because a flush is full.
        for _ in 0..FLUSH_BYTES_MAX / 20 {
            log.append_lazy(&DONE);
        }
        log.seal();
        assert!(perform(&mut log) > 0 && log.appended() > log.durable());
    }

    #[test]
    fn numbers_wait_until_the_opening_counts() {
        let mut log = log();
        assert_eq!(log.next_number(), None);
        log.append(&Record::Opened);
        log.seal();
        assert_eq!(log.next_number(), None);
        perform(&mut log);
        assert_eq!([log.next_number(), log.next_number()], [Some(5 << 42 | 1), Some(5 << 42 | 2)]);
    }
}
