//! A window on the log for recovery: holds the bytes around a position, and says what to read next. Knows the layout of
//! flushes, nothing of what they mean together.

use super::LogConfig;
use super::flush::{Flush, Invalid};
use super::recovery::SegmentFile;
use crate::limits::{BLOCK_BYTES, FLUSH_BYTES_MAX, RECOVERY_WINDOW_BYTES_MAX};
use crate::units::{Lsn, SegmentId};

/// Part of one segment, in memory.
pub(super) struct Window {
    bytes: Vec<u8>,
    /// The position of the first byte of `bytes`.
    lsn: u64,
    /// What was asked for and has not come: it follows `bytes`.
    asked: Option<usize>,
    /// The most that is read at once.
    read_bytes: usize,
    /// Nothing is read from here on.
    limit: u64,
}

/// Bytes to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub segment: SegmentId,
    pub offset: u64,
    pub len: usize,
}

/// What stands at a position.
pub(super) enum At {
    Ask(Ask),
    Flush(Flush),
    /// The beginning of a flush, in a file that is too short for it.
    Cut,
    Invalid(Invalid),
}

impl Window {
    pub fn new(read_bytes: usize, limit: u64) -> Self {
        let bytes = Vec::with_capacity(read_bytes + FLUSH_BYTES_MAX);
        Self { bytes, lsn: 0, asked: None, read_bytes, limit }
    }

    /// Looks for a flush at `lsn`, which is in `file`. Positions are asked for in ascending order.
    pub fn at(&mut self, config: &LogConfig, file: &SegmentFile, lsn: Lsn) -> At {
        let begin = file.segment.0 * config.segment_bytes;
        // Only whole blocks are read: a file that ends within one was never prepared.
        let end = begin + (file.bytes / BLOCK_BYTES as u64 * BLOCK_BYTES as u64).min(config.segment_bytes);
        assert!(lsn.0 >= begin && lsn.0 < begin + config.segment_bytes);
        if lsn.0 >= end {
            return At::Invalid(Invalid::Damaged("the segment file is too short"));
        }
        if let Some(ask) = self.need(lsn.0, BLOCK_BYTES, begin, end.min(self.limit), file.segment) {
            return At::Ask(ask);
        }
        let end = end.min(self.limit);
        let room = (begin + config.segment_bytes).min(self.limit) - lsn.0;
        let bytes = match Flush::claim(config, lsn, room, self.from(lsn)) {
            Ok(bytes) if lsn.0 + bytes as u64 > end => return At::Cut,
            Ok(bytes) => bytes,
            Err(invalid) => return At::Invalid(invalid),
        };
        if let Some(ask) = self.need(lsn.0, bytes, begin, end, file.segment) {
            return At::Ask(ask);
        }
        match Flush::decode(config, self.from(lsn)) {
            Ok(flush) => At::Flush(flush),
            Err(invalid) => At::Invalid(invalid),
        }
    }

    /// What has to be read before `len` bytes from `lsn` are here. `begin..end` is the segment's file.
    fn need(&mut self, lsn: u64, len: usize, begin: u64, end: u64, segment: SegmentId) -> Option<Ask> {
        assert!(len <= FLUSH_BYTES_MAX && lsn + len as u64 <= end);
        let here = self.lsn + self.bytes.len() as u64;
        if lsn >= self.lsn && lsn + len as u64 <= here {
            return None;
        }
        if self.asked.is_none() {
            if lsn >= self.lsn && lsn < here {
                self.bytes.drain(..(lsn - self.lsn) as usize);
            } else {
                self.bytes.clear();
            }
            self.lsn = lsn;
        }
        let at = self.lsn + self.bytes.len() as u64;
        let len = *self.asked.get_or_insert(((end - at) as usize).min(self.read_bytes));
        Some(Ask { segment, offset: at - begin, len })
    }

    /// Takes what was asked for.
    pub fn supply(&mut self, bytes: &[u8]) {
        assert_eq!(self.asked.take(), Some(bytes.len()), "all that was asked for, and only that");
        self.bytes.extend_from_slice(bytes);
        debug_assert!(self.lsn + self.bytes.len() as u64 <= self.limit);
        assert!(self.bytes.len() <= RECOVERY_WINDOW_BYTES_MAX);
    }

    /// The position of what was asked for and has not come.
    pub fn asked(&self) -> Option<Lsn> {
        self.asked.map(|_| Lsn(self.lsn + self.bytes.len() as u64))
    }

    /// The bytes from `lsn` on, as far as they are here.
    pub fn from(&self, lsn: Lsn) -> &[u8] {
        &self.bytes[(lsn.0 - self.lsn) as usize..]
    }
}
