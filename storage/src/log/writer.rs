//! Group commit: gathers records in flush buffers, issues flushes, and knows how far the log is durable.
//!
//! ```text
//!             append                seal, or full                 poll
//!   records ---------> open buffer ---------------> finished ------------> in flight --on_done--> durable
//!
//!          on_done: Prepare failed            retry_prepare, on_done
//!   Open ----------------------------> Full ------------------------> Open
//!   Open, Full --on_done: a write failed or was short--> Failed, for ever
//! ```
//!
//! Any number of finished buffers may wait; at most `flights_max` are in flight. While all flights are busy, records keep
//! gathering in the open buffer, so that a slow disk makes flushes longer, not more numerous.
//!
//! Of a record with long bytes that are shared, the flushes that hold nothing else take a buffer when they are issued: until
//! then they refer to those bytes. Where they stand in the log is known at once, as for any other flush.

mod across;
mod beside;
mod lazy;

use super::buffer::Buffers;
use super::flush::{FRAME_BYTES, Flush, HEADER_BYTES, flush_bytes};
use super::record::Record;
use super::segment::Segments;
use super::{Bug, LogConfig, LogStart, Resume};
use crate::blob::Blob;
use crate::limits::{FLIGHTS_DEFAULT, FLIGHTS_MAX, FLUSH_BYTES_MAX, LOG_STAGED_BYTES_MAX, RECORD_BYTES_MAX};
use crate::op::{DiskDone, DiskOp};
use crate::units::{BufferId, Incarnation, Lsn, OpId, SegmentId};
use across::Across;
use beside::Crowd;
use std::collections::VecDeque;

/// Writes one shard's log.
pub struct LogWriter {
    open: Open,
    /// While nothing is added ([`Self::mute`]): the open buffer. In its place is none, so that [`Self::append`] need not ask.
    muted: Option<Open>,
    buffers: Buffers,
    finished: VecDeque<Finished>,
    /// In the order of their positions. A completed one stays until those before it are completed too.
    flights: VecDeque<Flight>,
    /// Payload bytes in `finished`.
    finished_bytes: usize,
    /// Where the flush after the open one, or if none is open the next one, begins at the earliest.
    next: u64,
    appended: Lsn,
    /// Where the flush begins in which the last record ends.
    appended_flush: Lsn,
    /// Bytes of the archives that were appended since the start.
    archived: u64,
    durable: Lsn,
    /// Where this opening began.
    begun: Lsn,
    /// The last lazy record, and what is before the lazy ones that end with it.
    lazy: (Lsn, Lsn),
    /// Numbers that were handed out since.
    numbered: u64,
    /// The open buffer is to go out as soon as a flight is free.
    seal_wanted: bool,
    /// Records have been written since the last flush that does nothing but prove them stable.
    unproved: bool,
    segments: Segments,
    preparing: Option<OpId>,
    fault: Option<WriteFault>,
    /// A planted bug: a flight that is written once more.
    again: Option<usize>,
    flights_max: usize,
    crowd: Crowd,
    op_next: u64,
    incarnation: Incarnation,
    config: LogConfig,
    numbers: LogNumbers,
}

/// Whether the log takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogState {
    Open,
    /// A segment could not be prepared. What was appended still goes out as far as there is room.
    Full {
        errno: i32,
    },
    /// A write failed. Nothing more becomes durable until the log is opened again.
    Failed(WriteFault),
}

/// A write that did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteFault {
    pub segment: SegmentId,
    pub offset: u64,
    /// The bytes that were to be written.
    pub len: u32,
    /// The bytes that were written, fewer than `len`; or the errno.
    pub result: Result<u32, i32>,
}

/// A flush that was completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushDone {
    pub op: OpId,
    pub lsn: Lsn,
    /// Records that end in this flush.
    pub records: u32,
    /// Bytes written, header and padding included.
    pub bytes: u32,
}

/// Numbers for metrics. The first three count since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogNumbers {
    pub flushes: u64,
    pub bytes: u64,
    pub records: u64,
    /// Flushes issued and not yet known to be durable.
    pub flights: usize,
    /// Segments up to the one that is being written.
    pub segments: u64,
    /// Prepared segments beyond the one that is being written.
    pub segments_ahead: u64,
    /// Flush buffers that exist.
    pub buffers: usize,
}

/// The buffer that records are gathered in. With `cap` 0 there is none.
#[derive(Clone, Copy, Default)]
struct Open {
    buffer: BufferId,
    lsn: u64,
    /// Bytes used, header included.
    len: usize,
    /// Bytes that the flush may have: less than the buffer's length near a segment's end.
    cap: usize,
    carry: u32,
    records: u32,
    /// Of these, those that nobody waits for.
    lazy: u32,
}

struct Finished {
    source: Payload,
    lsn: u64,
    payload: u32,
    carry: u32,
    records: u32,
}

/// Where the payload of a finished flush is.
enum Payload {
    Buffer(BufferId),
    /// In these bytes, from a place on.
    Blob(Blob, usize),
}

struct Flight {
    op: OpId,
    buffer: BufferId,
    lsn: u64,
    bytes: u32,
    records: u32,
    done: bool,
}

impl LogWriter {
    /// Begins to write where recovery ended, or at [`Resume::empty`].
    pub fn new(config: LogConfig, resume: &Resume) -> Self {
        config.assert_sound();
        let first = SegmentId(resume.end.0 / config.segment_bytes);
        for (segment, expected) in resume.prepared.iter().zip(first.0..) {
            assert_eq!(segment.0, expected, "prepared segments have no gaps");
        }
        let unprepared = SegmentId(first.0 + resume.prepared.len() as u64);
        Self {
            open: Open::default(),
            muted: None,
            buffers: Buffers::new(),
            finished: VecDeque::new(),
            flights: VecDeque::with_capacity(FLIGHTS_MAX),
            finished_bytes: 0,
            next: resume.end.0,
            appended: resume.end,
            appended_flush: resume.end,
            archived: 0,
            durable: resume.end,
            begun: resume.end,
            lazy: (Lsn(0), Lsn(0)),
            numbered: 0,
            seal_wanted: false,
            unproved: resume.unproved,
            segments: Segments::new(config.segment_bytes, unprepared),
            preparing: None,
            fault: None,
            again: None,
            flights_max: FLIGHTS_DEFAULT,
            crowd: Crowd::default(),
            op_next: 0,
            incarnation: resume.incarnation,
            config,
            numbers: LogNumbers::default(),
        }
    }

    /// Adds a record. Returns its LSN: it is stable once [`Self::durable`] has reached that.
    #[inline]
    pub fn append(&mut self, record: &Record<'_>) -> Lsn {
        let bytes = record.archive_bytes();
        let (start, end) = (self.open.len, self.open.len + FRAME_BYTES + bytes);
        if end > self.open.cap {
            return self.append_across(record, bytes, None);
        }
        let frame = &mut self.buffers.bytes_mut(self.open.buffer)[start..end];
        frame[..FRAME_BYTES].copy_from_slice(&(bytes as u32).to_le_bytes());
        record.encode(&mut frame[FRAME_BYTES..]);
        self.open.len = end;
        self.open.records += 1;
        self.archived += bytes as u64;
        (self.appended, self.appended_flush) = (Lsn(self.open.lsn + end as u64), Lsn(self.open.lsn));
        self.appended
    }

    /// Adds a record whose longest bytes are `blob`, which is kept until they are written rather than copied.
    pub fn append_blob(&mut self, record: &Record<'_>, blob: &Blob) -> Lsn {
        let bytes = record.archive_bytes();
        if self.open.len + FRAME_BYTES + bytes <= self.open.cap {
            return self.append(record);
        }
        self.append_across(record, bytes, Some(blob))
    }

    /// Adds a record that does not fit in the open buffer, or meets none.
    #[cold]
    fn append_across(&mut self, record: &Record<'_>, bytes: usize, blob: Option<&Blob>) -> Lsn {
        assert!(bytes <= RECORD_BYTES_MAX);
        if self.muted.is_some() {
            return self.awaited();
        }
        if self.open.cap - self.open.len < FRAME_BYTES {
            self.finish();
            self.open(0);
        }
        let start = self.open.len;
        self.buffers.bytes_mut(self.open.buffer)[start..start + FRAME_BYTES]
            .copy_from_slice(&(bytes as u32).to_le_bytes());
        self.open.len += FRAME_BYTES;
        let across = record.encode_to(Across { log: self, written: 0, bytes, blob });
        assert_eq!(across.written, bytes, "an archive is as long as announced");
        self.open.records += 1;
        self.archived += bytes as u64;
        (self.appended, self.appended_flush) = (Lsn(self.open.lsn + self.open.len as u64), Lsn(self.open.lsn));
        self.appended
    }

    /// Takes a buffer for the next flush, whose payload begins with the last `rest` bytes of a record.
    fn open(&mut self, rest: usize) {
        assert_eq!(self.open.cap, 0);
        let cap = self.cap();
        self.open = Open {
            buffer: self.buffers.take(),
            lsn: self.next,
            len: HEADER_BYTES,
            cap,
            carry: rest.min(cap - HEADER_BYTES) as u32,
            ..Open::default()
        };
    }

    /// The bytes that the flush at `next` may have.
    fn cap(&self) -> usize {
        let left = self.segments.bytes - self.next % self.segments.bytes;
        left.min(FLUSH_BYTES_MAX as u64) as usize
    }

    /// A flush that holds nothing but bytes of a record that was begun before and goes on behind it.
    fn finish_blob(&mut self, blob: Blob, at: usize, payload: usize) {
        assert_eq!(self.open.cap, 0);
        let (lsn, carry) = (self.next, payload as u32);
        self.push_finished(Finished { source: Payload::Blob(blob, at), lsn, payload: carry, carry, records: 0 });
    }

    fn push_finished(&mut self, finished: Finished) {
        let payload = finished.payload as usize;
        self.next = finished.lsn + flush_bytes(payload) as u64;
        self.finished_bytes += payload;
        self.finished.push_back(finished);
    }

    /// Closes the open buffer, if there is one. From here on the position of the next flush is known.
    fn finish(&mut self) {
        let Open { buffer, lsn, len, cap, carry, records, .. } = core::mem::take(&mut self.open);
        if cap == 0 {
            return;
        }
        let payload = (len - HEADER_BYTES) as u32;
        self.push_finished(Finished { source: Payload::Buffer(buffer), lsn, payload, carry, records });
    }

    /// Ends a turn: what was appended goes out as soon as a flight is free, together with what is appended until then. Lazy
    /// records alone stay ([`Self::append_lazy`]).
    pub fn seal(&mut self) {
        self.seal_wanted |= self.open.records > self.open.lazy;
        if self.config.planted == Some(Bug::AcknowledgeBeforeFlush) {
            self.durable = self.durable.max(self.appended);
        }
    }

    /// Whether a flush that proves the records before it to be stable has been made, or there are none.
    pub fn is_proved(&self) -> bool {
        !self.unproved
    }

    /// The next operation for the driver, if there is one now.
    pub fn poll(&mut self) -> Option<DiskOp> {
        if let Some(at) = self.again.take() {
            return Some(self.write(at));
        }
        // Keeps I2: after a failed write nothing is written any more.
        if self.fault.is_some() {
            return None;
        }
        if let Some(segment) = self.segments.ask(self.position()) {
            let op = self.op();
            self.preparing = Some(op);
            return Some(DiskOp::Prepare { op, segment, bytes: self.segments.bytes });
        }
        if self.flights.len() >= self.flights_max {
            return None;
        }
        let lsn = match self.finished.front() {
            Some(finished) => finished.lsn,
            None if self.seal_wanted => self.open.lsn,
            None => return None,
        };
        // Keeps I3.
        if !self.segments.is_prepared(self.segments.of(lsn)) {
            return None;
        }
        if self.finished.is_empty() {
            self.finish();
            self.seal_wanted = false;
        }
        let finished = self.finished.pop_front().expect("one was finished at the latest just now");
        Some(self.issue(finished))
    }

    fn issue(&mut self, finished: Finished) -> DiskOp {
        let Finished { source, lsn, payload, carry, records } = finished;
        self.finished_bytes -= payload as usize;
        let buffer = match source {
            Payload::Buffer(buffer) => buffer,
            Payload::Blob(blob, at) => self.fill(&blob[at..at + payload as usize]),
        };
        self.unproved |= payload > 0;
        let durable = if self.config.planted.is_some() { self.durable.min(Lsn(lsn)) } else { self.durable };
        assert!(durable.0 <= lsn);
        let flush = Flush {
            shard: self.config.shard,
            incarnation: self.incarnation,
            epoch: self.config.epoch,
            lsn: Lsn(lsn),
            durable,
            payload,
            carry,
        };
        let bytes = flush.encode(self.config.salt, self.buffers.bytes_mut(buffer)) as u32;
        // Keeps I1.
        assert!(self.flights.back().is_none_or(|before| before.lsn + u64::from(before.bytes) == lsn));
        self.crowd.fade();
        let op = self.op();
        self.flights.push_back(Flight { op, buffer, lsn, bytes, records, done: false });
        self.write(self.flights.len() - 1)
    }

    /// A buffer with this payload.
    #[cold]
    fn fill(&mut self, payload: &[u8]) -> BufferId {
        let buffer = self.buffers.take();
        self.buffers.bytes_mut(buffer)[HEADER_BYTES..HEADER_BYTES + payload.len()].copy_from_slice(payload);
        buffer
    }

    fn write(&self, flight: usize) -> DiskOp {
        let Flight { op, buffer, lsn, bytes, .. } = self.flights[flight];
        DiskOp::Write { op, segment: self.segments.of(lsn), offset: lsn % self.segments.bytes, buffer, len: bytes }
    }

    /// Takes the answer to an operation. Returns what was flushed, if it was a flush that succeeded.
    pub fn on_done(&mut self, done: DiskDone) -> Option<FlushDone> {
        if self.preparing == Some(done.op) {
            self.preparing = None;
            self.segments.on_prepared(done.result.map(|_| ()));
            return None;
        }
        let at = self.flights.iter().position(|flight| flight.op == done.op && !flight.done);
        let at = at.expect("an operation is answered once, and was asked for");
        if !self.is_complete(at, done.result) {
            return self.on_failed(at, done.result);
        }
        let Flight { op, buffer, lsn, bytes, records, .. } = self.flights[at];
        self.buffers.give(buffer);
        if self.fault.is_some() {
            self.flights.remove(at);
            return None;
        }
        self.flights[at].done = true;
        self.advance();
        if self.config.planted == Some(Bug::AcknowledgeOutOfOrder) {
            self.durable = self.durable.max(Lsn(lsn + u64::from(bytes)));
        }
        self.numbers.flushes += 1;
        self.numbers.bytes += u64::from(bytes);
        self.numbers.records += u64::from(records);
        Some(FlushDone { op, lsn: Lsn(lsn), records, bytes })
    }

    fn is_complete(&self, at: usize, result: Result<u32, i32>) -> bool {
        match result {
            Ok(written) => written == self.flights[at].bytes || self.config.planted == Some(Bug::IgnoreShortWrite),
            Err(_) => false,
        }
    }

    /// The longest stretch of completed flushes from the front becomes durable. Keeps I2.
    fn advance(&mut self) {
        while self.flights.front().is_some_and(|flight| flight.done) {
            let flight = self.flights.pop_front().expect("it was there just now");
            let end = Lsn(flight.lsn + u64::from(flight.bytes));
            assert!(end > self.durable || self.config.planted.is_some());
            self.durable = self.durable.max(end);
        }
    }

    /// A write failed or was short. What is on the disk now is unknown, and asking again could not tell.
    fn on_failed(&mut self, at: usize, result: Result<u32, i32>) -> Option<FlushDone> {
        if self.config.planted == Some(Bug::RetryAfterFailedSync) && self.again.is_none() {
            self.flights[at].op = self.op();
            self.again = Some(at);
            return None;
        }
        let Flight { buffer, lsn, bytes: len, .. } = self.flights[at];
        self.buffers.give(buffer);
        self.flights.remove(at);
        self.flights.retain(|flight| !flight.done);
        self.fault.get_or_insert(WriteFault {
            segment: self.segments.of(lsn),
            offset: lsn % self.segments.bytes,
            len,
            result,
        });
        None
    }

    /// Tries again to prepare the segment that could not be prepared. To be called now and then while the log is
    /// [`LogState::Full`]; it stays so until that succeeds.
    pub fn retry_prepare(&mut self) {
        self.segments.retry();
    }

    pub fn state(&self) -> LogState {
        match (self.fault, self.segments.full()) {
            (Some(fault), _) => LogState::Failed(fault),
            (None, Some(errno)) => LogState::Full { errno },
            (None, None) => LogState::Open,
        }
    }

    /// Whether new writes may be appended at all. What is appended otherwise may never become durable.
    #[inline]
    pub fn accepts_writes(&self) -> bool {
        self.fault.is_none() && self.segments.full().is_none()
    }

    /// Whether the records that wait are within [`LOG_STAGED_BYTES_MAX`]. If not, take writes again later.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.staged_bytes() < LOG_STAGED_BYTES_MAX
    }

    /// Bytes of records that are not in flight yet.
    #[inline]
    pub fn staged_bytes(&self) -> usize {
        self.finished_bytes + self.open.len.saturating_sub(HEADER_BYTES)
    }

    /// Everything before this position is on stable storage.
    #[inline]
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// The LSN of the last record, or where this opening began.
    #[inline]
    pub fn appended(&self) -> Lsn {
        self.appended
    }

    /// Bytes of the records that were appended since the start: about what they would take as pending effects.
    pub fn archived(&self) -> u64 {
        self.archived
    }

    /// Where a recovery begins that wants what is appended from now on.
    pub fn start(&self) -> LogStart {
        LogStart { lsn: self.appended, flush: Some(self.appended_flush), incarnation: self.incarnation, proved: Lsn(0) }
    }

    /// Whether nothing is gathered and nothing in flight: every record is durable, unless the log has failed.
    pub fn is_idle(&self) -> bool {
        self.open.cap == 0 && self.finished.is_empty() && self.flights.is_empty()
    }

    /// How many flushes may be in flight, from 1 to [`FLIGHTS_MAX`].
    pub fn set_flights_max(&mut self, flights: usize) {
        assert!((1..=FLIGHTS_MAX).contains(&flights));
        self.flights_max = flights;
    }

    /// The buffers that live as long as the writer, at fixed addresses, in the order of their [`BufferId`]s from 0. Any
    /// other id names a buffer that goes away with its write.
    pub fn buffers(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.buffers.permanent()
    }

    /// The buffer of a [`DiskOp::Write`] that has not been answered.
    pub fn buffer(&self, id: BufferId) -> &[u8] {
        self.buffers.bytes(id)
    }

    pub fn numbers(&self) -> LogNumbers {
        LogNumbers {
            flights: self.flights.len(),
            segments: self.position() / self.segments.bytes + 1,
            segments_ahead: self.segments.ahead(self.position()),
            buffers: self.buffers.count(),
            ..self.numbers
        }
    }

    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// How far the log is gathered.
    fn position(&self) -> u64 {
        if self.open.cap > 0 { self.open.lsn + self.open.len as u64 } else { self.next }
    }

    fn op(&mut self) -> OpId {
        self.op_next += 1;
        OpId(self.op_next)
    }
}
