//! The way back: reads a shard's log and rebuilds its engine, as [`cairn_storage::log::Recovery`] asks for it. What the log
//! has behind the checkpoint is gathered here; the shard applies it while it serves.
//!
//! Runs on the shard's own worker, before any connection is accepted. The log is read ahead of need ([`crate::readahead`]).

use crate::datadir::{await_writes, hold_writable, page_file, segment_name, segments, sync_dir};
use crate::error::StartError;
use crate::limits::{PREPARE_AT_START_BYTES_MAX, PREPARE_BYTES};
use crate::memory::advise_huge;
use crate::page_open::PageSource;
use crate::readahead::ReadAhead;
use cairn_storage::checksum::crc32c;
use cairn_storage::engine::{Engine, Replay};
use cairn_storage::error::Fault;
use cairn_storage::limits::GROW_BYTES;
use cairn_storage::log::recovery::{Recovery, SegmentFile, Step};
use cairn_storage::log::{LogConfig, Resume};
use cairn_storage::pagefile::{Bounds, PageFileConfig};
use cairn_storage::txn::{Decisions, Tail};
use cairn_storage::units::{Lsn, SegmentId, ShardId};
use rustix::fs::{Advice, FallocateFlags, Mode, OFlags, fadvise, fallocate, fdatasync, open};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How far recovery has come, over all shards. Shared with whoever reports it.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    bytes_max: AtomicU64,
    records: AtomicU64,
    pending: AtomicU64,
}

impl Progress {
    /// Effects of the log that are left to be applied while clients are served.
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Bytes of log looked at, bytes there are to look at at most, and records found.
    pub fn now(&self) -> (u64, u64, u64) {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (load(&self.bytes), load(&self.bytes_max), load(&self.records))
    }
}

/// A shard whose log has been read.
pub struct Scanned {
    dir: PathBuf,
    config: LogConfig,
    pages: PageSource,
    replay: Replay,
    resume: Resume,
}

/// Reads the log of the shard whose log is in `dir`. `memory_bytes` bounds its rows in memory.
pub fn scan(dir: &Path, config: LogConfig, memory_bytes: u64, progress: &Progress) -> Result<Scanned, StartError> {
    let unusable = |error| StartError::DirectoryUnusable { dir: dir.to_owned(), error };
    let begun = Instant::now();
    await_writes(dir)?;
    // What a crash left half-created is there for good from now on, or not at all.
    sync_dir(dir).map_err(unusable)?;
    let files: Vec<SegmentFile> =
        segments(dir).map_err(unusable)?.into_iter().map(|(segment, bytes)| SegmentFile { segment, bytes }).collect();
    let path = page_file(dir);
    let mut pages = PageSource::open(&path).map_err(unusable)?;
    sync_dir(path.parent().expect("a page file is in its shard's directory")).map_err(unusable)?;
    let (file, superblock, start) = pages.find(page_file_config(&config))?;
    let found = begun.elapsed();
    let mut replay = Replay::over(config, memory_bytes, Box::new(advise_huge), file, &superblock);
    let begin = start.needed(config.segment_bytes);
    let (mut resume, pages) = {
        let (first, offset) = (SegmentId(begin.0 / config.segment_bytes), begin.0 % config.segment_bytes);
        let wanted: Vec<SegmentFile> = files.iter().filter(|file| file.segment >= first).copied().collect();
        let bytes = wanted.iter().map(|file| file.bytes).sum::<u64>().saturating_sub(offset);
        progress.bytes_max.fetch_add(bytes, Ordering::Relaxed);
        let log = ReadAhead::new(dir.to_owned(), wanted, offset).map_err(unusable)?;
        let mut source = Source { dir, config, pages, log, buffer: Vec::new(), progress, reported: begin };
        (source.read(Recovery::new(config, files, start), &mut replay)?, source.pages)
    };
    tracing::info!(
        "Shard {}: checkpoint found after {:.3} seconds, log read after {:.3} seconds: {} records from {} bytes behind it",
        config.shard.0,
        found.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
        replay.records(),
        resume.end.0 - begin.0
    );
    // The first one stays, whatever is in it: a log without segments is one that was lost.
    for segment in resume.useless.iter().filter(|segment| segment.0 > 0) {
        std::fs::remove_file(dir.join(segment_name(*segment))).map_err(unusable)?;
    }
    if !resume.useless.is_empty() {
        sync_dir(dir).map_err(unusable)?;
    }
    if resume.prepared.is_empty() && config.segment_bytes <= PREPARE_AT_START_BYTES_MAX {
        let first = SegmentId(resume.end.0 / config.segment_bytes);
        // If it cannot be done, the log asks for it again, and says to those who write why they must wait.
        if prepare(dir, first, config.segment_bytes).is_ok() {
            resume.prepared.push(first);
        }
    }
    Ok(Scanned { dir: dir.to_owned(), config, pages, replay, resume })
}

impl Scanned {
    /// What its log has of transactions over several shards.
    pub fn tail(&mut self) -> Tail {
        self.replay.tail().clone()
    }

    /// The engine, once it is known what has become of these.
    pub fn finish(self, decisions: &Decisions, progress: &Progress) -> Result<Engine, StartError> {
        let Scanned { dir, config, mut pages, mut replay, resume } = self;
        let settled = pages.drive(&mut replay, |replay| replay.settle(decisions))?;
        settled.map_err(|fault| refuse(&dir, &config, &fault))?;
        let engine = replay.finish(config, &resume, decisions);
        progress.pending.fetch_add(engine.redo_left(), Ordering::Relaxed);
        Ok(engine)
    }
}

/// Prepares the segment that the log goes on with, where there is none and it is small: without it the first writes would
/// wait. Larger ones, for which the start would wait as long as these writes, and later ones are prepared beside the data path ([`crate::background`]), and in the same way.
fn prepare(dir: &Path, segment: SegmentId, bytes: u64) -> io::Result<()> {
    let path = dir.join(segment_name(segment));
    let mut file = File::options().create(true).write(true).truncate(true).open(path)?;
    hold_writable(&file)?;
    let result = fill(&mut file, bytes);
    if result.is_err() {
        // As there: what it could not use is given back.
        let _ = file.set_len(0);
    }
    result?;
    sync_dir(dir)
}

fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    fallocate(&*file, FallocateFlags::empty(), 0, bytes)?;
    let zeros = vec![0; PREPARE_BYTES];
    for _ in 0..bytes / PREPARE_BYTES as u64 {
        file.write_all(&zeros)?;
    }
    fdatasync(&*file)?;
    // Else each direct write would have to throw out the pages that it replaces.
    Ok(fadvise(file, 0, None::<NonZeroU64>, Advice::DontNeed)?)
}

struct Source<'a> {
    dir: &'a Path,
    config: LogConfig,
    pages: PageSource,
    log: ReadAhead,
    buffer: Vec<u8>,
    progress: &'a Progress,
    /// How far `progress` knows of.
    reported: Lsn,
}

impl Source<'_> {
    fn read(&mut self, mut recovery: Recovery, replay: &mut Replay) -> Result<Resume, StartError> {
        let mut records = 0;
        loop {
            match recovery.step() {
                Step::Record { lsn, record, buffer } => {
                    let fed = self.pages.drive(replay, |replay| replay.feed(lsn, &record, buffer))?;
                    fed.map_err(|fault| self.refuse(&fault))?;
                    records += 1;
                }
                Step::Read { segment, offset, len } => {
                    self.buffer.resize(len, 0);
                    match self.log.read(segment, offset, &mut self.buffer) {
                        Ok(()) => recovery.supply(&self.buffer),
                        Err(errno) => recovery.failed(errno),
                    }
                    self.progress.records.fetch_add(std::mem::take(&mut records), Ordering::Relaxed);
                    self.report(recovery.position());
                }
                Step::Sync { segment } => match self.sync(segment) {
                    Ok(()) => recovery.synced(),
                    Err(errno) => recovery.failed(errno.raw_os_error()),
                },
                Step::Done(resume) => {
                    self.report(resume.end);
                    self.progress.records.fetch_add(records, Ordering::Relaxed);
                    return Ok(resume);
                }
                Step::Refuse(fault) => return Err(self.refuse(&fault)),
            }
        }
    }

    /// The log has been looked at up to here.
    fn report(&mut self, position: Lsn) {
        self.progress.bytes.fetch_add(position.0.saturating_sub(self.reported.0), Ordering::Relaxed);
        self.reported = self.reported.max(position);
    }

    fn sync(&self, segment: SegmentId) -> Result<(), Errno> {
        fdatasync(open(self.path(segment), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn path(&self, segment: SegmentId) -> PathBuf {
        self.dir.join(segment_name(segment))
    }

    fn refuse(&self, fault: &Fault) -> StartError {
        refuse(self.dir, &self.config, fault)
    }
}

/// Names the file and the place in it that a fault is about.
fn refuse(dir: &Path, config: &LogConfig, fault: &Fault) -> StartError {
    let (segment, offset) = match *fault {
        Fault::Corrupt { segment, offset, .. } | Fault::Read { segment, offset, .. } => (segment, offset),
        Fault::Record { lsn, .. } => (SegmentId(lsn.0 / config.segment_bytes), lsn.0 % config.segment_bytes),
        _ => return StartError::Log { file: dir.to_owned(), offset: 0, what: fault.to_string() },
    };
    StartError::Log { file: dir.join(segment_name(segment)), offset, what: fault.to_string() }
}

/// How the page file beside a log is opened.
pub fn page_file_config(log: &LogConfig) -> PageFileConfig {
    PageFileConfig {
        shard: log.shard,
        salt: crc32c(&[b"pages", &log.salt.to_le_bytes()]),
        segment_bytes: log.segment_bytes,
        grow_bytes: GROW_BYTES,
        bounds: Bounds::default(),
        planted: None,
    }
}

/// How the log of a shard is opened, from what its data directory is.
pub fn log_config(shard: ShardId, manifest: &crate::datadir::Manifest) -> LogConfig {
    LogConfig {
        shard,
        segment_bytes: manifest.segment_bytes,
        salt: crc32c(&[b"log", &manifest.seed.to_le_bytes()]),
        epoch: cairn_storage::units::Epoch(0),
        planted: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Progress, prepare, scan};
    use crate::datadir::{segment_name, segments};
    use cairn_storage::log::LogConfig;
    use cairn_storage::op::DiskOp;
    use cairn_storage::txn::Decisions;
    use cairn_storage::units::{Epoch, SegmentId, ShardId};
    use std::fs::{self, File};
    use std::path::{Path, PathBuf};

    const BYTES: u64 = 1 << 20;

    /// A directory whose log is in a directory of its own, as a shard's is.
    fn log() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let log = dir.path().join("log");
        fs::create_dir(&log).unwrap();
        (dir, log)
    }

    fn next_prepared(log: &Path) -> SegmentId {
        let config = LogConfig { shard: ShardId(0), segment_bytes: BYTES, salt: 7, epoch: Epoch(0), planted: None };
        let mut scanned = scan(log, config, 1 << 30, &Progress::default()).unwrap();
        let decisions = Decisions::of(&[scanned.tail()], 1).unwrap();
        let mut engine = scanned.finish(&decisions, &Progress::default()).unwrap();
        let Some(DiskOp::Prepare { segment, .. }) = engine.log_mut().poll() else { panic!("it prepares nothing") };
        segment
    }

    #[test]
    fn the_first_writes_need_not_wait_for_a_segment() {
        let (_dir, log) = log();
        File::create(log.join(segment_name(SegmentId(0)))).unwrap();
        assert_eq!(next_prepared(&log), SegmentId(1));
        assert_eq!(segments(&log).unwrap(), [(SegmentId(0), BYTES)]);
        assert_eq!(fs::read(log.join(segment_name(SegmentId(0)))).unwrap(), vec![0; BYTES as usize]);
        assert_eq!(next_prepared(&log), SegmentId(1), "what is prepared is used as it is");
    }

    #[test]
    fn a_segment_that_cannot_be_prepared_is_left_to_the_log() {
        let (_dir, log) = log();
        fs::create_dir(log.join(segment_name(SegmentId(1)))).unwrap();
        assert!(prepare(&log, SegmentId(1), BYTES).is_err());
        assert!(prepare(&log, SegmentId(2), u64::MAX / 2 / BYTES * BYTES).is_err());
        assert_eq!(fs::metadata(log.join(segment_name(SegmentId(2)))).unwrap().len(), 0);
    }
}
