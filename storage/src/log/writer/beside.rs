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
