//! The scrub of the log: while the shard serves, what a start would read of the log is read once in a while and judged as a
//! recovery judges it: headers, checksums, and that each flush and each record continues what is before it.
//!
//! ```text
//!   begin ----> reading, from what the older checkpoint needs up to what was durable then ----> over
//!                 | ^                                                             |
//!   once damaged: | | again from the beginning         twice in the same place:   v
//!                 v |                                                        a suspicion
//! ```
//!
//! Segments may be taken out of the log, and used again as others, while they are read. They are not needed any more
//! before that happens, so what was read of a segment is judged only if it is still needed when it has come.

use super::recovery::{Recovery, Step};
use super::{LogConfig, LogStart};
use crate::error::Fault;
use crate::op::LogRead;
use crate::units::{Lsn, OpId, SegmentId};

/// What a step of the scrub came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogScrubStep {
    /// So many bytes are to be read.
    Read(u32),
    /// Nothing is left to be asked for: a read is under way, or the pass is over.
    Over,
}

/// What scrubs have done since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogScrubNumbers {
    /// Times that the whole of what is needed was found sound.
    pub passes: u64,
    pub bytes: u64,
    pub damaged: u64,
}

/// The scrub of one shard's log.
#[derive(Default)]
pub struct LogScrub {
    /// A pass is to begin, or to begin again.
    is_wanted: bool,
    recovery: Option<Recovery>,
    flight: Option<LogRead>,
    /// Not yet handed to the driver.
    new: Option<LogRead>,
    op_next: u64,
    /// Where the last look found damage: it is looked at once more.
    suspect: Option<(SegmentId, u64)>,
    /// The last damage that was found twice, as long as a start may need that part of the log.
    damage: Option<Lsn>,
    numbers: LogScrubNumbers,
}

impl LogScrub {
    /// A pass begins. Whatever was left of the one before is given up.
    pub fn begin(&mut self) {
        (self.is_wanted, self.recovery, self.suspect) = (true, None, None);
    }

    pub fn is_passing(&self) -> bool {
        self.is_wanted || self.recovery.is_some() || self.flight.is_some()
    }

    /// Reads that are under way.
    pub fn reads(&self) -> usize {
        usize::from(self.flight.is_some())
    }

    pub fn numbers(&self) -> LogScrubNumbers {
        self.numbers
    }

    /// Where the log is known to be damaged, as long as a start may need that part.
    pub fn damage(&self) -> Option<Lsn> {
        self.damage
    }

    /// Goes on with the pass: what is needed now begins at `start`, and up to `durable` everything has been stable.
    pub fn next(&mut self, config: &LogConfig, start: LogStart, durable: Lsn) -> LogScrubStep {
        if self.flight.is_some() {
            return LogScrubStep::Over;
        }
        let needed = start.needed(config.segment_bytes);
        if self.recovery.as_ref().is_some_and(|recovery| recovery.position() < needed) {
            (self.is_wanted, self.recovery) = (true, None);
        }
        if std::mem::take(&mut self.is_wanted) {
            self.recovery = (needed < durable).then(|| Recovery::verify(*config, start, durable));
            self.numbers.passes += u64::from(self.recovery.is_none());
        }
        let Some(recovery) = &mut self.recovery else { return LogScrubStep::Over };
        let Step::Read { segment, offset, len } = recovery.step() else {
            unreachable!("it goes on with a read, or was over when the last one came")
        };
        self.op_next += 1;
        let read = LogRead { op: OpId(self.op_next), segment, offset, len: len as u32 };
        (self.flight, self.new) = (Some(read), Some(read));
        self.numbers.bytes += len as u64;
        LogScrubStep::Read(len as u32)
    }

    /// The next read for the driver.
    pub fn poll(&mut self) -> Option<LogRead> {
        self.new.take()
    }

    /// Takes the answer to a read: its bytes, or the errno. Answers what is damaged for sure, if anything is.
    pub fn on_read(
        &mut self,
        config: &LogConfig,
        start: LogStart,
        op: OpId,
        result: Result<&[u8], i32>,
    ) -> Option<Fault> {
        let flight = self.flight.take().expect("a read is answered once, and was asked for");
        assert_eq!(flight.op, op);
        let needed = start.needed(config.segment_bytes);
        let is_recycled = flight.segment.0 < needed.0 / config.segment_bytes;
        let recovery = self.recovery.as_mut().filter(|_| !is_recycled);
        let Some(recovery) = recovery else {
            // Where a new pass has begun meanwhile there is none.
            self.is_wanted |= self.recovery.take().is_some();
            return None;
        };
        match result {
            Ok(bytes) => recovery.supply(bytes),
            Err(errno) => recovery.failed(errno),
        }
        let fault = match recovery.step() {
            Step::Read { .. } => return None,
            Step::Done(_) => {
                (self.recovery, self.suspect) = (None, None);
                self.numbers.passes += 1;
                return None;
            }
            Step::Refuse(fault) => fault,
            Step::Record { .. } | Step::Sync { .. } => unreachable!("it only verifies"),
        };
        self.recovery = None;
        let place = fault.place(config.segment_bytes).expect("each fault of a log has a place");
        let lsn = Lsn(place.0.0 * config.segment_bytes + place.1);
        if self.suspect != Some(place) || lsn < needed {
            (self.suspect, self.is_wanted) = (Some(place), true);
            return None;
        }
        self.suspect = None;
        self.numbers.damaged += 1;
        self.damage = Some(lsn);
        Some(fault)
    }

    /// Notes from where on the log is needed now. Whether the damage has just become of no importance.
    pub fn forget_damage(&mut self, needed: Lsn) -> bool {
        self.damage.take_if(|damage| *damage < needed).is_some()
    }
}
