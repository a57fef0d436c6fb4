//! Which segments are prepared, and which ones to ask for. Knows nothing of what is written to them.
//!
//! Segments are prepared strictly in order, one at a time, so "prepared" is one number: everything below it.

use crate::limits::SEGMENTS_AHEAD;
use crate::units::SegmentId;

/// What is known of the segments of a log at and after its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segments {
    pub bytes: u64,
    /// The first segment that is not prepared.
    unprepared: SegmentId,
    preparing: bool,
    /// Why the last preparation failed, until one succeeds.
    full: Option<i32>,
    retry: bool,
}

impl Segments {
    pub fn new(bytes: u64, unprepared: SegmentId) -> Self {
        Self { bytes, unprepared, preparing: false, full: None, retry: false }
    }

    /// The segment that holds a position.
    #[inline]
    pub fn of(&self, position: u64) -> SegmentId {
        SegmentId(position / self.bytes)
    }

    #[inline]
    pub fn is_prepared(&self, segment: SegmentId) -> bool {
        segment < self.unprepared
    }

    /// Prepared segments beyond the one that holds `position`.
    pub fn ahead(&self, position: u64) -> u64 {
        self.unprepared.0.saturating_sub(self.of(position).0 + 1)
    }

    /// The segment to prepare next, now that the log is gathered up to `position`.
    pub fn ask(&mut self, position: u64) -> Option<SegmentId> {
        let wanted = self.of(position).0 + SEGMENTS_AHEAD as u64;
        let held_back = self.full.is_some() && !self.retry;
        if self.preparing || held_back || self.unprepared.0 > wanted {
            return None;
        }
        self.preparing = true;
        self.retry = false;
        Some(self.unprepared)
    }

    /// A preparation ended.
    pub fn on_prepared(&mut self, result: Result<(), i32>) {
        assert!(self.preparing, "one preparation at a time");
        self.preparing = false;
        match result {
            Ok(()) => {
                self.unprepared.0 += 1;
                self.full = None;
            }
            Err(errno) => self.full = Some(errno),
        }
    }

    /// Asks again after a failure. The log stays full until that succeeds.
    pub fn retry(&mut self) {
        self.retry = self.full.is_some() && !self.preparing;
    }

    pub fn full(&self) -> Option<i32> {
        self.full
    }
}
