//! The check of a log: what a recovery would find, without a recovery's writes, and what stands behind the end.

use crate::engine::judge;
use crate::error::Fault;
use crate::limits::{BLOCK_BYTES, LOG_FAULTS_MAX, RECOVERY_READ_BYTES};
use crate::log::flush::Flush;
use crate::log::{LogConfig, LogStart, Record, Recovery, Resume, SegmentFile, Step};
use crate::txn::Tail;
use crate::units::{Lsn, SegmentId};

/// What the check wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogCheckStep {
    /// Read `len` bytes at `offset` and answer with [`LogCheck::supply`] or [`LogCheck::failed`].
    Read { segment: SegmentId, offset: u64, len: usize },
    /// [`LogCheck::finish`] may be called.
    Done,
}

/// Is told each record behind a checkpoint, with its LSN, as long as the log is sound.
pub type RecordHook = Box<dyn FnMut(Lsn, &Record<'_>) + Send>;

/// What was found in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    /// Files, and their bytes.
    pub segments: u64,
    pub bytes: u64,
    /// Where reading began: what is before is in the checkpoint.
    pub start: Lsn,
    pub records: u64,
    /// The log ends here: a start goes on from there.
    pub end: Lsn,
    /// Bytes before the end that no later flush proves to have been acknowledged. They are kept.
    pub unproved_bytes: u64,
    /// Bytes behind the end, up to the last flush that claims to be where it is: writes that were under way when a server
    /// ended, never acknowledged. A start drops them. What a segment holds from its time as another one is not counted.
    pub tail_bytes: u64,
    /// What it has of transactions over several shards.
    pub tail: Tail,
    /// The first damage, and what else is damaged behind it: in each segment the first that is found, and not all of many.
    pub fault: Option<Fault>,
    pub faults_behind: Vec<Fault>,
    /// There were [`crate::limits::LOG_FAULTS_MAX`] of the latter: what is behind the last one was not looked at.
    pub is_cut_short: bool,
}

/// The check of one log.
pub struct LogCheck {
    config: LogConfig,
    files: Vec<SegmentFile>,
    recovery: Recovery,
    on_record: RecordHook,
    /// Behind the end: which file, and where in the log; and the end of what claims to be there.
    behind: Option<(usize, u64)>,
    last: Lsn,
    report: LogReport,
    is_over: bool,
}

impl LogCheck {
    /// Checks a log as far as a checkpoint needs it.
    pub fn new(
        config: LogConfig,
        mut files: Vec<SegmentFile>,
        start: impl Into<LogStart>,
        on_record: RecordHook,
    ) -> LogCheck {
        let start = start.into();
        files.sort_unstable_by_key(|file| file.segment);
        let recovery = Recovery::new(config, files.clone(), start);
        let (segments, bytes) = (files.len() as u64, files.iter().map(|file| file.bytes).sum());
        let tail = Tail::new(config.shard);
        let report = LogReport { segments, bytes, start: start.lsn, tail, ..LogReport::default() };
        LogCheck { config, files, recovery, on_record, behind: None, last: Lsn(0), report, is_over: false }
    }

    /// The next step. After `Done` it is the same for ever.
    pub fn step(&mut self) -> LogCheckStep {
        loop {
            if self.is_over {
                return LogCheckStep::Done;
            }
            if self.behind.is_some() {
                match self.look_behind() {
                    Some(step) => return step,
                    None => continue,
                }
            }
            let fault = match self.recovery.step() {
                Step::Read { segment, offset, len } => return LogCheckStep::Read { segment, offset, len },
                Step::Record { lsn, record, .. } => {
                    self.report.records += 1;
                    // Behind damage the log says nothing of transactions as a whole.
                    let is_sound = self.report.fault.is_none();
                    if is_sound {
                        (self.on_record)(lsn, &record);
                    }
                    let senseless = if is_sound { self.report.tail.note(&record).err() } else { None };
                    match judge(&record).err().or(senseless) {
                        None => continue,
                        Some(what) => Fault::Record { shard: self.config.shard, lsn, what },
                    }
                }
                // Nothing is written here, so nothing has to be made stable.
                Step::Sync { .. } => {
                    self.recovery.synced();
                    continue;
                }
                Step::Done(resume) => {
                    self.on_end(&resume);
                    continue;
                }
                Step::Refuse(fault) => fault,
            };
            self.on_fault(fault);
        }
    }

    /// Looks at what is behind the damage, from the next segment on: there a flush begins.
    fn on_fault(&mut self, fault: Fault) {
        let place = fault.place(self.config.segment_bytes);
        let is_later = matches!(fault, Fault::Version { .. });
        if self.report.fault.is_none() {
            self.report.end = self.recovery.position();
            self.report.fault = Some(fault);
        } else {
            self.report.faults_behind.push(fault);
        }
        let next = place.map(|(segment, _)| SegmentId(segment.0 + 1)).filter(|_| !is_later);
        let files = |next| self.files.iter().filter(move |file| file.segment >= next).copied().collect::<Vec<_>>();
        match next.map(|next| (next, files(next))) {
            Some((_, files)) if !files.is_empty() && self.report.faults_behind.len() >= LOG_FAULTS_MAX => {
                self.report.is_cut_short = true;
                self.is_over = true;
            }
            Some((next, files)) if !files.is_empty() => {
                self.recovery = Recovery::midway(self.config, files, next);
            }
            _ => self.is_over = true,
        }
    }

    fn on_end(&mut self, resume: &Resume) {
        if self.report.fault.is_some() {
            self.is_over = true;
            return;
        }
        self.report.end = resume.end;
        self.report.tail.close();
        if resume.unproved {
            self.report.unproved_bytes = resume.end.0 - self.recovery.proved().0.min(resume.end.0);
        }
        let segment = SegmentId(resume.end.0 / self.config.segment_bytes);
        let first = self.files.partition_point(|file| file.segment < segment);
        self.behind = Some((first, resume.end.0));
    }

    /// The next piece behind the end.
    fn look_behind(&mut self) -> Option<LogCheckStep> {
        let (file, lsn) = self.behind?;
        let Some(SegmentFile { segment, bytes }) = self.files.get(file).copied() else {
            self.report.tail_bytes = self.last.0.saturating_sub(self.report.end.0);
            self.is_over = true;
            return None;
        };
        let begin = segment.0 * self.config.segment_bytes;
        let offset = lsn.max(begin) - begin;
        let end = bytes.min(self.config.segment_bytes) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        if offset >= end {
            self.behind = Some((file + 1, 0));
            return None;
        }
        let len = (end - offset).min(RECOVERY_READ_BYTES as u64) as usize;
        self.behind = Some((file, begin + offset));
        Some(LogCheckStep::Read { segment, offset, len })
    }

    /// Answers [`LogCheckStep::Read`].
    pub fn supply(&mut self, bytes: &[u8]) {
        let Some((file, lsn)) = self.behind else { return self.recovery.supply(bytes) };
        for (block, at) in bytes.chunks_exact(BLOCK_BYTES).zip((lsn..).step_by(BLOCK_BYTES)) {
            let room = self.config.segment_bytes - at % self.config.segment_bytes;
            if let Ok(len) = Flush::claim(&self.config, Lsn(at), room, block) {
                self.last = self.last.max(Lsn(at + len as u64));
            }
        }
        self.behind = Some((file, lsn + bytes.len() as u64));
    }

    /// The same: it could not be read.
    pub fn failed(&mut self, errno: i32) {
        let Some((file, lsn)) = self.behind else { return self.recovery.failed(errno) };
        let SegmentFile { segment, .. } = self.files[file];
        let offset = lsn - segment.0 * self.config.segment_bytes;
        self.report.fault = Some(Fault::Read { shard: self.config.shard, segment, offset, errno });
        self.is_over = true;
    }

    /// How far the log has been looked at.
    pub fn position(&self) -> Lsn {
        self.behind.map_or(self.recovery.position(), |(_, lsn)| Lsn(lsn))
    }

    /// What was found, once it is done.
    pub fn finish(self) -> LogReport {
        assert!(self.is_over);
        self.report
    }
}
