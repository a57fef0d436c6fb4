//! When a flush begins beside one that is in flight.
//!
//! A flush costs the core 10 us and more whatever it carries. Clients that wait for each other's flushes come back one by one:
//! without a rule the first of them gets a flush of its own, and the rest wait for that. With too few flushes in flight, on the
//! other hand, everybody waits for the flush before his own. So a second one begins when it carries a fair share of those who
//! wait.

use super::LogWriter;
use crate::limits::{CROWD_FADE_SHARE, FLUSH_BESIDE_SHARE, FLUSHES_BESIDE_MAX};

/// How many records have waited at once of late.
#[derive(Default)]
pub(super) struct Crowd(usize);

impl Crowd {
    fn note(&mut self, records: usize) {
        self.0 = self.0.max(records);
    }

    /// A flush begins: who went away is forgotten by and by.
    pub fn fade(&mut self) {
        self.0 -= self.0.div_ceil(CROWD_FADE_SHARE);
    }
}

impl LogWriter {
    /// Whether of late more records have waited at once than do now: some of those who wrote them come back at any moment.
    pub fn expects_crowd(&self) -> bool {
        let ahead: u32 = self.flights.iter().map(|it| it.records).sum();
        ((self.open.records + ahead) as usize) < self.crowd.0
    }

    /// Whether what is gathered is to go out at the end of this turn. If not, a flush is in flight, whose end is an event: there is
    /// a turn after it in which this is true.
    pub fn is_flush_due(&mut self) -> bool {
        let gathered = self.open.records as usize;
        let ahead =
            self.finished.iter().map(|finished| finished.records).chain(self.flights.iter().map(|it| it.records));
        self.crowd.note(gathered + ahead.sum::<u32>() as usize);
        match self.flights.len() {
            0 => true,
            FLUSHES_BESIDE_MAX.. => false,
            _ => gathered * FLUSH_BESIDE_SHARE >= self.crowd.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LogConfig, Record, Resume};
    use crate::op::{DiskDone, DiskOp};
    use crate::units::{Epoch, OpId, SegmentId, ShardId};

    /// Seals, and issues the flush.
    fn issue(log: &mut LogWriter) -> (OpId, u32) {
        log.seal();
        let Some(DiskOp::Write { op, len, .. }) = log.poll() else { panic!("no flush") };
        (op, len)
    }

    #[test]
    fn a_flush_begins_beside_another_with_its_share_of_what_waits() {
        let config = LogConfig { shard: ShardId(0), segment_bytes: 1 << 20, salt: 0, epoch: Epoch(0), planted: None };
        let mut log = LogWriter::new(config, &Resume { prepared: (0..3).map(SegmentId).collect(), ..Resume::empty() });
        let append = |log: &mut LogWriter, records: usize| {
            for _ in 0..records {
                log.append(&Record::Opened);
            }
        };
        append(&mut log, 6);
        assert!(log.is_flush_due(), "nothing is in flight");
        let (first, first_bytes) = issue(&mut log);
        let mut gathered = 0;
        while !log.is_flush_due() {
            append(&mut log, 1);
            gathered += 1;
        }
        // Three of nine.
        assert_eq!(gathered, 3);
        issue(&mut log);
        append(&mut log, 100);
        assert!(!log.is_flush_due(), "two are in flight");
        log.on_done(DiskDone { op: first, result: Ok(first_bytes) });
        assert!(log.is_flush_due());
    }

    #[test]
    fn who_writes_alone_is_no_part_of_a_crowd() {
        let config = LogConfig { shard: ShardId(0), segment_bytes: 1 << 20, salt: 0, epoch: Epoch(0), planted: None };
        let mut log = LogWriter::new(config, &Resume { prepared: (0..3).map(SegmentId).collect(), ..Resume::empty() });
        let flush = |log: &mut LogWriter, records: usize| {
            (0..records).for_each(|_| {
                log.append(&Record::Opened);
            });
            assert!(log.is_flush_due());
            let (op, bytes) = issue(log);
            let expects_crowd = log.expects_crowd();
            log.on_done(DiskDone { op, result: Ok(bytes) });
            expects_crowd
        };
        // A command each time, or a transaction.
        assert!((0..9).all(|_| !flush(&mut log, 1)));
        assert!((0..9).all(|_| !flush(&mut log, 4)));
        assert!(!flush(&mut log, 50));
        assert!((0..9).all(|_| flush(&mut log, 1)), "49 others were there a moment ago");
        assert!((0..20).any(|_| !flush(&mut log, 1)), "they are gone");
    }

    #[test]
    fn a_crowd_that_goes_away_is_forgotten() {
        let mut crowd = Crowd::default();
        crowd.note(50);
        for _ in 0..40 {
            crowd.fade();
            crowd.note(1);
        }
        assert_eq!(crowd.0, 1);
    }
}
