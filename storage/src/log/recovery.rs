//! Opens a log: hands out its records in order, finds its end, or refuses it. Decides what [`super`] calls valid,
//! continuing and proved; performs nothing.
//!
//! ```text
//!   Chain ----valid flush, continuing----> Frames ----payload used up----> Chain
//!   Chain ----anything else: the end?----> Scan: looks at every block behind for a proof of the contrary
//!   Scan  ----nothing left to look at----> Sync: what reads back is made stable -------> Over (done)
//!   Chain, Frames, Scan ---- damage, a failed read, a later format --------------------> Over (refused)
//! ```
//!
//! One pass, bounded memory: a window of about a megabyte, and the one record that spans flushes.

use super::flush::{FRAME_BYTES, Flush, HEADER_BYTES, Invalid};
use super::reader::{Ask, At, Window};
use super::record::Record;
use super::{Bug, LogConfig, LogStart, Resume};
use crate::error::Fault;
use crate::limits::{BLOCK_BYTES, RECORD_BYTES_MAX, RECOVERY_READ_BYTES, SCRUB_LOG_READ_BYTES};
use crate::units::{Epoch, Incarnation, Lsn, SegmentId};
use std::sync::Arc;

/// A segment file that is there, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    pub segment: SegmentId,
    pub bytes: u64,
}

/// What recovery wants next, or has to say.
#[derive(Debug)]
pub enum Step<'a> {
    /// Read `len` bytes at `offset` and answer with [`Recovery::supply`] or [`Recovery::failed`]. Both numbers are
    /// multiples of [`BLOCK_BYTES`], and the file is that long.
    Read { segment: SegmentId, offset: u64, len: usize },
    /// The next record. A long one stands in a buffer of its own, which whoever wants to keep of it may keep.
    Record { lsn: Lsn, record: Record<'a>, buffer: Option<&'a Arc<Vec<u8>>> },
    /// Make the file's contents and length stable (`fdatasync`) and answer with [`Recovery::synced`] or
    /// [`Recovery::failed`].
    Sync { segment: SegmentId },
    /// There are no more records; the log can be written.
    Done(Resume),
    /// The log must not be used. Records that were handed out before mean nothing.
    Refuse(Fault),
}

/// Recovery of one shard's log.
pub struct Recovery {
    config: LogConfig,
    /// Ordered by segment.
    files: Vec<SegmentFile>,
    start: Lsn,
    window: Window,
    phase: Phase,
    /// The beginning of a record that spans flushes, or all of one that was just handed out.
    spanning: Arc<Vec<u8>>,
    partial: Option<Partial>,
    /// The incarnation of the last flush of the log, and the highest seen anywhere.
    incarnation: Incarnation,
    incarnation_max: Incarnation,
    epoch: Epoch,
    /// Everything before this is known to have been acknowledged.
    proved: Lsn,
    /// The LSN of the last record.
    last: Lsn,
    /// The log is only verified, up to here: it is known to go on so far. No record is handed out.
    until: Option<Lsn>,
    /// What is before the beginning is damaged: a record that ends in the first flush is passed over.
    is_midway: bool,
}

enum Phase {
    Chain(Lsn),
    Frames { flush: Flush, at: usize },
    Scan { end: End, at: Lsn },
    Sync { end: Lsn, segment: SegmentId },
    Over(Result<Resume, Fault>),
}

/// Why the beginning of a record can be added to.
const UNFINISHED: &str = "nobody is shown a record before it is whole";

/// Where the log seems to end, and why it does not go on.
#[derive(Clone, Copy)]
struct End {
    lsn: Lsn,
    what: &'static str,
}

/// A record whose beginning is in `spanning`.
#[derive(Clone, Copy)]
struct Partial {
    bytes: usize,
    /// Of these, what has been seen.
    seen: usize,
    incarnation: Incarnation,
}

/// What [`Recovery::advance`] came upon.
enum Found {
    Ask(Ask),
    /// A record in one piece: its LSN, and its archive, the `len` bytes that end there.
    Whole(Lsn, usize),
    /// A record in several pieces, now in `spanning`.
    Spanning(Lsn),
    Sync(SegmentId),
    Over,
}

impl Recovery {
    /// `files` are the segment files that are there, in any order. Their directory has been synced, and no write of an
    /// earlier opening can still arrive, those of a process that was killed included. Segments before the one that `start`
    /// needs first need not be there.
    pub fn new(config: LogConfig, mut files: Vec<SegmentFile>, start: impl Into<LogStart>) -> Self {
        config.assert_sound();
        files.sort_unstable_by_key(|file| file.segment);
        let start = start.into();
        let begin = start.needed(config.segment_bytes);
        let LogStart { lsn: start, incarnation, proved, .. } = start;
        assert!(begin <= start && begin.0.is_multiple_of(BLOCK_BYTES as u64));
        Self {
            config,
            files,
            start,
            window: Window::new(RECOVERY_READ_BYTES, u64::MAX),
            phase: Phase::Chain(begin),
            spanning: Arc::default(),
            partial: None,
            incarnation,
            incarnation_max: incarnation,
            epoch: Epoch(0),
            proved: start.max(proved),
            last: Lsn(0),
            until: None,
            is_midway: false,
        }
    }

    /// Goes on in a later segment of a log that is damaged before: only to find what else is.
    pub fn midway(config: LogConfig, files: Vec<SegmentFile>, segment: SegmentId) -> Self {
        let start = Lsn(segment.0 * config.segment_bytes);
        Self { is_midway: true, ..Self::new(config, files, start) }
    }

    /// Verifies a log that is being written: everything from `start` up to `until`, the end of a flush, has been stable. Its
    /// segments are there.
    pub fn verify(config: LogConfig, start: LogStart, until: Lsn) -> Self {
        let begin = start.needed(config.segment_bytes);
        assert!(begin < until && until.0.is_multiple_of(BLOCK_BYTES as u64));
        let segments = begin.0 / config.segment_bytes..=(until.0 - 1) / config.segment_bytes;
        let full = |segment| SegmentFile { segment: SegmentId(segment), bytes: config.segment_bytes };
        let window = Window::new(SCRUB_LOG_READ_BYTES, until.0);
        Self { until: Some(until), window, ..Self::new(config, segments.map(full).collect(), start) }
    }

    /// The next step. After `Done` or `Refuse` it is the same for ever.
    pub fn step(&mut self) -> Step<'_> {
        let found = self.advance();
        let Self { window, spanning, phase, config, .. } = self;
        let (lsn, archive, buffer) = match found {
            Found::Ask(Ask { segment, offset, len }) => return Step::Read { segment, offset, len },
            Found::Sync(segment) => return Step::Sync { segment },
            Found::Whole(lsn, len) => (lsn, &window.from(Lsn(lsn.0 - len as u64))[..len], None),
            Found::Spanning(lsn) => (lsn, &spanning[..], Some(&*spanning)),
            Found::Over => match phase {
                Phase::Over(Ok(resume)) => return Step::Done(resume.clone()),
                Phase::Over(Err(fault)) => return Step::Refuse(fault.clone()),
                _ => unreachable!("it is over"),
            },
        };
        match Record::decode(archive) {
            Some(record) => Step::Record { lsn, record, buffer },
            None => {
                let fault = Fault::Record { shard: config.shard, lsn, what: "its archive is not a record's" };
                *phase = Phase::Over(Err(fault.clone()));
                Step::Refuse(fault)
            }
        }
    }

    /// Answers [`Step::Read`].
    pub fn supply(&mut self, bytes: &[u8]) {
        self.window.supply(bytes);
    }

    /// Answers [`Step::Sync`].
    pub fn synced(&mut self) {
        let Phase::Sync { segment, .. } = &mut self.phase else { panic!("nothing was to be synced") };
        segment.0 += 1;
    }

    /// Answers [`Step::Read`] or [`Step::Sync`]: it could not be done. The log is refused.
    pub fn failed(&mut self, errno: i32) {
        let (segment, offset) = match (&self.phase, self.window.asked()) {
            (Phase::Sync { segment, .. }, _) => (*segment, 0),
            (_, Some(lsn)) => (self.segment(lsn), lsn.0 % self.config.segment_bytes),
            _ => panic!("nothing was asked for"),
        };
        self.refuse(Fault::Read { shard: self.config.shard, segment, offset, errno });
    }

    /// Everything before this is known to have been acknowledged, as far as the log has been looked at.
    pub fn proved(&self) -> Lsn {
        self.proved
    }

    /// How far the log has been looked at.
    pub fn position(&self) -> Lsn {
        match &self.phase {
            Phase::Chain(lsn) | Phase::Frames { flush: Flush { lsn, .. }, .. } | Phase::Scan { at: lsn, .. } => *lsn,
            Phase::Sync { end, .. } | Phase::Over(Ok(Resume { end, .. })) => *end,
            Phase::Over(Err(_)) => self.last,
        }
    }

    fn advance(&mut self) -> Found {
        if self.partial.is_none() && !self.spanning.is_empty() {
            // The record has been handed out; it may have been long.
            self.spanning = Arc::default();
        }
        loop {
            let found = match self.phase {
                Phase::Chain(lsn) => self.chain(lsn),
                Phase::Frames { flush, at } => self.frame(flush, at),
                Phase::Scan { end, at } => self.scan(end, at),
                Phase::Sync { end, segment } => self.sync(end, segment),
                Phase::Over(_) => Some(Found::Over),
            };
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Looks for the flush that continues the log at `lsn`.
    fn chain(&mut self, lsn: Lsn) -> Option<Found> {
        if self.until.is_some_and(|until| lsn >= until) {
            self.phase = Phase::Over(Ok(Resume { end: lsn, ..Resume::empty() }));
            return None;
        }
        let Some(file) = self.file(self.segment(lsn)) else {
            self.end(lsn, "the segment is absent");
            return None;
        };
        match self.window.at(&self.config, &file, lsn) {
            At::Ask(ask) => return Some(Found::Ask(ask)),
            At::Invalid(Invalid::Version(found)) => self.refuse_version(lsn, found),
            At::Invalid(Invalid::Damaged(what)) => self.end(lsn, what),
            At::Flush(flush) if flush.incarnation < self.incarnation => {
                self.end(lsn, "the flush is a leftover of an earlier opening");
            }
            // Keeps I3.
            At::Cut => self.refuse_short(file, lsn),
            At::Flush(_) if file.bytes < self.config.segment_bytes => self.refuse_short(file, lsn),
            At::Flush(flush) => {
                self.incarnation = flush.incarnation;
                self.incarnation_max = self.incarnation_max.max(flush.incarnation);
                self.epoch = self.epoch.max(flush.epoch);
                self.proved = self.proved.max(flush.durable);
                return self.carry(flush);
            }
        }
        None
    }

    /// Joins the beginning of a flush to the record that the flush before it left unfinished. Keeps I4: where there is
    /// no carry, an unfinished record of an earlier opening is dropped.
    fn carry(&mut self, flush: Flush) -> Option<Found> {
        let carry = flush.carry as usize;
        self.phase = Phase::Frames { flush, at: carry };
        let lsn = Lsn(flush.lsn.0 + (HEADER_BYTES + carry) as u64);
        // A long record fills whole flushes before it ends.
        let was_midway = self.is_midway;
        self.is_midway &= carry == flush.payload as usize;
        match self.partial {
            None if carry == 0 => {}
            None if lsn <= self.start || was_midway => self.last = lsn,
            None => self.refuse_record(lsn, "its beginning is not there"),
            Some(partial) if carry == 0 => {
                self.partial = None;
                self.spanning = Arc::default();
                if partial.incarnation == flush.incarnation {
                    self.refuse_record(flush.lsn, "its end is not there");
                }
            }
            Some(partial) => {
                let rest = partial.bytes - partial.seen;
                if partial.incarnation != flush.incarnation || carry != rest.min(flush.payload as usize) {
                    self.refuse_record(lsn, "its pieces do not fit");
                    return None;
                }
                if self.until.is_none() {
                    let piece = &self.window.from(flush.lsn)[HEADER_BYTES..HEADER_BYTES + carry];
                    Arc::get_mut(&mut self.spanning).expect(UNFINISHED).extend_from_slice(piece);
                }
                self.partial = Some(Partial { seen: partial.seen + carry, ..partial });
                if carry == rest {
                    self.partial = None;
                    self.last = lsn;
                    if self.hands_out(lsn) {
                        return Some(Found::Spanning(lsn));
                    }
                    self.spanning = Arc::default();
                }
            }
        }
        None
    }

    /// Takes the next frame of a flush's payload, from `at`.
    fn frame(&mut self, flush: Flush, at: usize) -> Option<Found> {
        let payload = &self.window.from(flush.lsn)[HEADER_BYTES..HEADER_BYTES + flush.payload as usize];
        let Some((frame, rest)) = payload[at..].split_first_chunk::<FRAME_BYTES>() else {
            if at == payload.len() {
                self.phase = Phase::Chain(flush.end());
            } else {
                self.refuse_record(Lsn(flush.lsn.0 + (HEADER_BYTES + at) as u64), "bytes without a frame");
            }
            return None;
        };
        let len = u32::from_le_bytes(*frame) as usize;
        let begin = at + FRAME_BYTES;
        let lsn = Lsn(flush.lsn.0 + (HEADER_BYTES + begin + len) as u64);
        if len == 0 || len > RECORD_BYTES_MAX {
            self.refuse_record(lsn, "its length is impossible");
        } else if len <= rest.len() {
            self.phase = Phase::Frames { flush, at: begin + len };
            self.last = lsn;
            if self.hands_out(lsn) {
                return Some(Found::Whole(lsn, len));
            }
        } else {
            let seen = rest.len();
            if self.until.is_none() {
                let spanning = Arc::get_mut(&mut self.spanning).expect(UNFINISHED);
                // At once: a buffer that grows is copied into a longer one.
                spanning.reserve_exact(len);
                spanning.extend_from_slice(rest);
            }
            self.partial = Some(Partial { bytes: len, seen, incarnation: flush.incarnation });
            self.phase = Phase::Chain(flush.end());
        }
        None
    }

    fn hands_out(&self, lsn: Lsn) -> bool {
        lsn > self.start && self.until.is_none()
    }

    /// The log does not go on at `lsn`. Begins to look for what proves that it did.
    fn end(&mut self, lsn: Lsn, what: &'static str) {
        let end = End { lsn, what };
        if let Some(until) = self.until {
            return self.refuse_end(end, until);
        }
        if lsn < self.start && !self.truncates() {
            return self.refuse_end(end, self.start);
        }
        self.phase = Phase::Scan { end, at: Lsn(lsn.0 + BLOCK_BYTES as u64) };
    }

    /// Looks at the block at `at`, behind the end.
    fn scan(&mut self, end: End, at: Lsn) -> Option<Found> {
        let next = self.files.partition_point(|file| file.segment < self.segment(at));
        let Some(file) = self.files.get(next).copied() else {
            // Everything that reads back, and every segment that will be used, is made stable.
            let first = self.segment(self.proved.min(end.lsn));
            self.phase = Phase::Sync { end: end.lsn, segment: first };
            return None;
        };
        let begin = Lsn(file.segment.0 * self.config.segment_bytes);
        let at = at.max(begin);
        if at.0 + BLOCK_BYTES as u64 > begin.0 + file.bytes {
            self.phase = Phase::Scan { end, at: Lsn(begin.0 + self.config.segment_bytes) };
            return None;
        }
        match self.window.at(&self.config, &file, at) {
            At::Ask(ask) => return Some(Found::Ask(ask)),
            At::Invalid(Invalid::Version(found)) => self.refuse_version(at, found),
            At::Cut if !self.truncates() => self.refuse_short(file, at),
            At::Cut | At::Invalid(Invalid::Damaged(_)) => {
                self.phase = Phase::Scan { end, at: Lsn(at.0 + BLOCK_BYTES as u64) };
            }
            At::Flush(flush) => {
                self.incarnation_max = self.incarnation_max.max(flush.incarnation);
                self.phase = Phase::Scan { end, at: Lsn(at.0 + BLOCK_BYTES as u64) };
                if !self.truncates() {
                    self.judge(end, flush);
                }
            }
        }
        None
    }

    /// A valid flush behind the end: is it a leftover, or does it prove damage?
    fn judge(&mut self, end: End, flush: Flush) {
        // Keeps I3.
        for segment in self.segment(end.lsn).0..=self.segment(flush.lsn).0 {
            match self.file(SegmentId(segment)) {
                None => {
                    let shard = self.config.shard;
                    return self.refuse(Fault::SegmentAbsent { shard, segment: SegmentId(segment) });
                }
                Some(file) if file.bytes < self.config.segment_bytes => {
                    return self.refuse_short(file, flush.lsn);
                }
                Some(_) => {}
            }
        }
        if flush.durable > end.lsn {
            self.refuse_end(end, flush.lsn);
        }
    }

    /// Asks for the next segment to be synced, or is done.
    fn sync(&mut self, end: Lsn, segment: SegmentId) -> Option<Found> {
        let first = self.segment(end);
        let full = |file: &&SegmentFile| file.bytes >= self.config.segment_bytes;
        let behind = || self.files.iter().filter(|file| file.segment >= first);
        let prepared: Vec<SegmentId> = behind()
            .filter(full)
            .zip(first.0..)
            .take_while(|(file, expected)| file.segment.0 == *expected)
            .map(|(file, _)| file.segment)
            .collect();
        let last = SegmentId(first.0 + prepared.len() as u64);
        let next = self.files.iter().map(|file| file.segment).find(|there| *there >= segment && *there < last);
        if let Some(next) = next {
            self.phase = Phase::Sync { end, segment: next };
            return Some(Found::Sync(next));
        }
        let Some(incarnation) = self.incarnation_max.0.checked_add(1) else {
            self.refuse_record(end, "no incarnation is left");
            return None;
        };
        let useless = behind().map(|file| file.segment).filter(|there| *there >= last).collect();
        self.phase = Phase::Over(Ok(Resume {
            end,
            incarnation: Incarnation(incarnation),
            epoch: self.epoch,
            prepared,
            useless,
            unproved: self.last > self.proved,
        }));
        None
    }

    fn refuse(&mut self, fault: Fault) {
        self.phase = Phase::Over(Err(fault));
    }

    fn refuse_record(&mut self, lsn: Lsn, what: &'static str) {
        self.refuse(Fault::Record { shard: self.config.shard, lsn, what });
    }

    fn refuse_version(&mut self, lsn: Lsn, found: u16) {
        let (shard, segment, offset) = (self.config.shard, self.segment(lsn), lsn.0 % self.config.segment_bytes);
        self.refuse(Fault::Version { shard, segment, offset, found, known: super::flush::FORMAT });
    }

    /// The log does not go on at `end`, although it did.
    fn refuse_end(&mut self, end: End, proof: Lsn) {
        let (shard, segment) = (self.config.shard, self.segment(end.lsn));
        let offset = end.lsn.0 % self.config.segment_bytes;
        self.refuse(match self.file(segment) {
            None => Fault::SegmentAbsent { shard, segment },
            Some(_) => Fault::Corrupt { shard, segment, offset, lsn: end.lsn, what: end.what, proof },
        });
    }

    /// A file is too short although there is a valid flush in it or behind it.
    fn refuse_short(&mut self, file: SegmentFile, proof: Lsn) {
        self.refuse(Fault::Corrupt {
            shard: self.config.shard,
            segment: file.segment,
            offset: file.bytes,
            lsn: Lsn(file.segment.0 * self.config.segment_bytes + file.bytes),
            what: "the segment file is too short",
            proof,
        });
    }

    fn truncates(&self) -> bool {
        self.config.planted == Some(Bug::TruncateAtDamage)
    }

    fn segment(&self, lsn: Lsn) -> SegmentId {
        SegmentId(lsn.0 / self.config.segment_bytes)
    }

    fn file(&self, segment: SegmentId) -> Option<SegmentFile> {
        let at = self.files.binary_search_by_key(&segment, |file| file.segment).ok()?;
        Some(self.files[at])
    }
}
