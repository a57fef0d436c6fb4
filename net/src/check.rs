//! Drives the check of a shard at rest: performs the reads that [`PagesCheck`] and [`LogCheck`] ask for.
//!
//! Many reads of the page file are under way at once, each on a thread of its own that does nothing else; what they bring is
//! judged on the calling thread. The log is read from its beginning to its end.

use crate::limits::{CHECK_READERS, CHECK_REPORT_BYTES};
use crate::offline::{Offline, Source, open_to_read, read_exact};
use crate::pages::Buffer;
use cairn_core::hot::audit::Audit;
use cairn_storage::check::{CheckStep, LogCheck, LogCheckStep, LogReport, PagesCheck, PagesReport, RecordHook, RowAt};
use cairn_storage::limits::OUTPUT_BYTES_MAX;
use cairn_storage::log::{LogStart, Record};
use cairn_storage::units::{Lsn, SegmentId, ShardId};
use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What both halves of a check tell of rows that are not of their shard's slots.
pub type SharedAudit = Arc<Mutex<Audit>>;

fn locked(audit: &SharedAudit) -> MutexGuard<'_, Audit> {
    audit.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far a check is: bytes that were read, and how many it will be, of one shard's file or log.
#[derive(Clone, Copy, Debug)]
pub struct CheckProgress {
    pub bytes: u64,
    pub bytes_max: u64,
}

struct Job {
    number: u32,
    offset: u64,
    len: usize,
    buffer: Buffer,
}

struct Answer {
    number: u32,
    len: usize,
    buffer: Buffer,
    result: Result<(), i32>,
}

/// Checks a shard's page file. Answers also from where on its log is needed. Fails if the file cannot be opened.
pub fn check_pages(
    offline: &Offline,
    shard: ShardId,
    audit: &SharedAudit,
    mut tell: impl FnMut(CheckProgress),
) -> io::Result<(PagesReport, LogStart)> {
    let rows = Arc::clone(audit);
    let is_place = move |row: RowAt<'_>| locked(&rows).on_row(row.db, row.head, row.key, row.value);
    let file = match open_to_read(&offline.page_path(shard)) {
        Ok(file) => Some(file),
        // Then there is no checkpoint, and the log has to begin at its beginning.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let bytes = file.as_ref().map_or(Ok(0), |file| file.metadata().map(|metadata| metadata.len()))?;
    let mut check = PagesCheck::new(offline.page_file_config(shard), bytes, Box::new(is_place));
    if let Some(file) = &file {
        let (jobs, asked) = channel::<Job>();
        let (answers, answered) = channel();
        let asked = Mutex::new(asked);
        std::thread::scope(|scope| {
            for _ in 0..CHECK_READERS {
                let (asked, answers) = (&asked, answers.clone());
                scope.spawn(move || read_some(file, asked, &answers));
            }
            drive(&mut check, &jobs, &answered, &mut tell);
            // The readers end when nobody can ask them any more.
            drop(jobs);
        });
    }
    assert!(check.step() == CheckStep::Done, "without a file there is nothing to read");
    let start = check.log_start();
    Ok((check.finish(), start))
}

fn read_some(file: &File, asked: &Mutex<Receiver<Job>>, answers: &Sender<Answer>) {
    loop {
        let next = asked.lock().map(|asked| asked.recv());
        let Ok(Ok(Job { number, offset, len, mut buffer })) = next else { return };
        let result = read_exact(file, &mut buffer.as_bytes_mut()[..len], offset);
        if answers.send(Answer { number, len, buffer, result }).is_err() {
            return;
        }
    }
}

fn drive(
    check: &mut PagesCheck,
    jobs: &Sender<Job>,
    answered: &Receiver<Answer>,
    tell: &mut impl FnMut(CheckProgress),
) {
    let mut spare: Vec<Buffer> = Vec::new();
    let mut told = 0;
    loop {
        match check.step() {
            CheckStep::Read { number, offset, len } => {
                let buffer = spare.pop().unwrap_or_else(|| Buffer::new(OUTPUT_BYTES_MAX));
                let job = Job { number, offset, len: len as usize, buffer };
                jobs.send(job).expect("the readers wait for jobs as long as this end is open");
            }
            CheckStep::Wait => {
                let answer = answered.recv().expect("each job is answered");
                let bytes = &answer.buffer.as_bytes()[..answer.len];
                check.supply(answer.number, answer.result.map(|()| bytes));
                spare.push(answer.buffer);
                let (bytes, bytes_max) = check.progress();
                if bytes - told >= CHECK_REPORT_BYTES {
                    told = bytes;
                    tell(CheckProgress { bytes, bytes_max });
                }
            }
            CheckStep::Done => return,
        }
    }
}

/// Checks a shard's log as far as a checkpoint needs it; the rows were walked of the one at `newest`. Fails if its directory
/// cannot be listed.
pub fn check_log(
    offline: &Offline,
    shard: ShardId,
    (start, newest): (LogStart, LogStart),
    audit: &SharedAudit,
    mut tell: impl FnMut(CheckProgress),
) -> io::Result<LogReport> {
    let config = offline.log_config(shard);
    let files = offline.segment_files(shard)?;
    let end = files.iter().map(|file| file.segment.0 * config.segment_bytes + file.bytes).max().unwrap_or(0);
    let begin = start.needed(config.segment_bytes).0;
    let bytes_max = end.saturating_sub(begin);
    let mut check = LogCheck::new(config, files, start, follow(audit, newest.lsn));
    let mut current: Option<(SegmentId, Source)> = None;
    loop {
        let LogCheckStep::Read { segment, offset, len } = check.step() else { return Ok(check.finish()) };
        if current.as_ref().is_none_or(|(open, _)| *open != segment) {
            current = Source::open(&offline.segment_path(shard, segment)).ok().map(|source| (segment, source));
        }
        let read = match &mut current {
            Some((_, source)) => source.read(offset, len),
            None => Err(libc::EIO),
        };
        match read {
            Ok(bytes) => check.supply(bytes),
            Err(errno) => check.failed(errno),
        }
        tell(CheckProgress { bytes: check.position().0.saturating_sub(begin), bytes_max });
    }
}

/// Tells an audit what the log has behind a checkpoint.
fn follow(audit: &SharedAudit, checkpoint: Lsn) -> RecordHook {
    let audit = Arc::clone(audit);
    Box::new(move |lsn, record| {
        if lsn < checkpoint {
            return;
        }
        match *record {
            Record::Put { db, head, key, value, .. } => locked(&audit).on_put(db, head, key, value),
            Record::Delete { db, head, key, .. } => locked(&audit).on_delete(db, head, key),
            Record::Clear { db } => locked(&audit).on_clear(db),
            _ => {}
        }
    })
}
