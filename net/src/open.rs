//! The way back: reads a shard's log and rebuilds its engine, as [`cairn_storage::log::Recovery`] asks for it.
//!
//! Runs on the shard's own worker, before any connection is accepted. Reads go through the page cache, ahead of need.

use crate::datadir::{await_writes, segment_name, segments, sync_dir};
use crate::error::StartError;
use crate::memory::advise_huge;
use cairn_storage::checksum::crc32c;
use cairn_storage::engine::{Engine, Replay};
use cairn_storage::error::Fault;
use cairn_storage::log::recovery::{Recovery, SegmentFile, Step};
use cairn_storage::log::{LogConfig, Resume};
use cairn_storage::units::{Lsn, SegmentId, ShardId};
use rustix::fs::{Advice, Mode, OFlags, fadvise, fdatasync, open};
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How far recovery has come, over all shards. Shared with whoever reports it.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    bytes_max: AtomicU64,
    records: AtomicU64,
}

impl Progress {
    /// Bytes of log looked at, bytes there are to look at at most, and records applied.
    pub fn now(&self) -> (u64, u64, u64) {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (load(&self.bytes), load(&self.bytes_max), load(&self.records))
    }
}

/// Recovers the shard whose log is in `dir`. `memory_bytes` bounds its rows in memory.
pub fn recover(dir: &Path, config: LogConfig, memory_bytes: u64, progress: &Progress) -> Result<Engine, StartError> {
    let unusable = |error| StartError::DirectoryUnusable { dir: dir.to_owned(), error };
    await_writes(dir)?;
    // What a crash left half-created is there for good from now on, or not at all.
    sync_dir(dir).map_err(unusable)?;
    let files: Vec<SegmentFile> =
        segments(dir).map_err(unusable)?.into_iter().map(|(segment, bytes)| SegmentFile { segment, bytes }).collect();
    progress.bytes_max.fetch_add(files.iter().map(|file| file.bytes).sum(), Ordering::Relaxed);
    let mut replay = Replay::new(config, memory_bytes, Box::new(advise_huge));
    let resume = {
        let mut source = Source { dir, config, current: None, buffer: Vec::new(), progress };
        source.read(Recovery::new(config, files, Lsn(0)), &mut replay)?
    };
    // The first one stays, whatever is in it: a log without segments is one that was lost.
    for segment in resume.useless.iter().filter(|segment| segment.0 > 0) {
        std::fs::remove_file(dir.join(segment_name(*segment))).map_err(unusable)?;
    }
    if !resume.useless.is_empty() {
        sync_dir(dir).map_err(unusable)?;
    }
    Ok(replay.finish(config, &resume))
}

struct Source<'a> {
    dir: &'a Path,
    config: LogConfig,
    current: Option<(SegmentId, OwnedFd)>,
    buffer: Vec<u8>,
    progress: &'a Progress,
}

impl Source<'_> {
    fn read(&mut self, mut recovery: Recovery, replay: &mut Replay) -> Result<Resume, StartError> {
        let mut records = 0;
        let mut reported = 0;
        loop {
            match recovery.step() {
                Step::Record { lsn, record } => {
                    replay.apply(lsn, &record).map_err(|fault| self.refuse(&fault))?;
                    records += 1;
                }
                Step::Read { segment, offset, len } => {
                    let result = self.pread(segment, offset, len);
                    match result {
                        Ok(()) => recovery.supply(&self.buffer),
                        Err(error) => recovery.failed(error.raw_os_error().unwrap_or(libc::EIO)),
                    }
                    self.progress.records.fetch_add(std::mem::take(&mut records), Ordering::Relaxed);
                    let position = recovery.position().0;
                    self.progress.bytes.fetch_add(position.saturating_sub(reported), Ordering::Relaxed);
                    reported = reported.max(position);
                }
                Step::Sync { segment } => match self.file(segment).and_then(|file| Ok(fdatasync(file)?)) {
                    Ok(()) => recovery.synced(),
                    Err(error) => recovery.failed(error.raw_os_error().unwrap_or(libc::EIO)),
                },
                Step::Done(resume) => {
                    self.progress.records.fetch_add(records, Ordering::Relaxed);
                    return Ok(resume);
                }
                Step::Refuse(fault) => return Err(self.refuse(&fault)),
            }
        }
    }

    /// Reads exactly `len` bytes into the buffer.
    fn pread(&mut self, segment: SegmentId, offset: u64, len: usize) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(len, 0);
        let file = self.file(segment)?;
        let mut at = 0;
        while at < len {
            match rustix::io::pread(file, &mut buffer[at..], offset + at as u64) {
                // The file is shorter than it was when it was listed.
                Ok(0) => return Err(io::Error::from_raw_os_error(libc::EIO)),
                Ok(read) => at += read,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    fn file(&mut self, segment: SegmentId) -> io::Result<&OwnedFd> {
        if self.current.as_ref().is_none_or(|(current, _)| *current != segment) {
            let file = open(self.path(segment), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
            // Advice only.
            let _ = fadvise(&file, 0, None::<NonZeroU64>, Advice::Sequential);
            self.current = Some((segment, file));
        }
        Ok(&self.current.as_ref().expect("it was just opened").1)
    }

    fn path(&self, segment: SegmentId) -> PathBuf {
        self.dir.join(segment_name(segment))
    }

    /// Names the file and the place in it that a fault is about.
    fn refuse(&self, fault: &Fault) -> StartError {
        let (segment, offset) = match *fault {
            Fault::Corrupt { segment, offset, .. } | Fault::Read { segment, offset, .. } => (segment, offset),
            Fault::Record { lsn, .. } => {
                let bytes = self.config.segment_bytes;
                (SegmentId(lsn.0 / bytes), lsn.0 % bytes)
            }
            _ => return StartError::Log { file: self.dir.to_owned(), offset: 0, what: fault.to_string() },
        };
        StartError::Log { file: self.path(segment), offset, what: fault.to_string() }
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
