//! A data directory that is looked at and not used: opened for reading only, and not one byte of it is changed.
//!
//! Files are read past the page cache (`O_DIRECT`), so that what is read is what the device has.

use crate::datadir::{Manifest, await_writes, log_dir, page_file, segment_name, segments};
use crate::error::StartError;
use crate::open::{log_config, page_file_config};
use crate::pages::Buffer;
use cairn_core::hot::audit::Audit;
use cairn_storage::log::{LogConfig, SegmentFile};
use cairn_storage::pagefile::PageFileConfig;
use cairn_storage::units::{SegmentId, ShardId};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A data directory.
#[derive(Debug)]
pub struct Offline {
    dir: PathBuf,
    manifest: Manifest,
    /// Keeps servers out as long as it is open.
    lock: Option<File>,
    /// A server has the directory, and this process: what is known of it.
    pid: Option<u32>,
}

impl Offline {
    /// Opens a directory that no server has, and keeps servers out of it.
    pub fn open(dir: &Path) -> Result<Offline, StartError> {
        let mut offline = Offline::look(dir)?;
        if offline.is_in_use() {
            return Err(StartError::DirectoryInUse { dir: offline.dir, pid: offline.pid });
        }
        // The lock was free just now; whoever wants it meanwhile is told so.
        offline.lock = lock(&offline.dir)?.0;
        for shard in 0..offline.manifest.shards {
            let log = offline.log(ShardId(shard));
            if log.is_dir() {
                await_writes(&log)?;
            }
        }
        Ok(offline)
    }

    /// Opens a directory whether or not a server has it.
    pub fn look(dir: &Path) -> Result<Offline, StartError> {
        let unusable = |error| StartError::DirectoryUnusable { dir: dir.to_owned(), error };
        let dir = fs::canonicalize(dir).map_err(unusable)?;
        let path = dir.join("manifest");
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                unusable(io::Error::other("there is no manifest in it, so it is not a data directory"))
            }
            _ => StartError::DirectoryUnusable { dir: path.clone(), error },
        })?;
        let manifest = Manifest::decode(&bytes, &path)?;
        let (lock, pid) = match lock(&dir) {
            Ok((lock, _)) => (lock, None),
            Err(StartError::DirectoryInUse { pid, .. }) => {
                return Ok(Offline { dir, manifest, lock: None, pid: pid.or(Some(0)) });
            }
            Err(error) => return Err(error),
        };
        // Only who checks everything keeps servers out.
        drop(lock);
        Ok(Offline { dir, manifest, lock: None, pid })
    }

    /// Whether a server had it when it was opened.
    pub fn is_in_use(&self) -> bool {
        self.pid.is_some()
    }

    /// Whether servers are kept out: not if there is no `LOCK`, as in a copy of a directory.
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The directory of a shard's log segments.
    pub fn log(&self, shard: ShardId) -> PathBuf {
        log_dir(&self.dir, shard)
    }

    pub fn log_config(&self, shard: ShardId) -> LogConfig {
        log_config(shard, &self.manifest)
    }

    pub fn page_file_config(&self, shard: ShardId) -> PageFileConfig {
        page_file_config(&self.log_config(shard))
    }

    /// The segment files that are there; none if the directory is gone.
    pub fn segment_files(&self, shard: ShardId) -> io::Result<Vec<SegmentFile>> {
        match segments(&self.log(shard)) {
            Ok(found) => Ok(found.into_iter().map(|(segment, bytes)| SegmentFile { segment, bytes }).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    pub fn segment_path(&self, shard: ShardId, segment: SegmentId) -> PathBuf {
        self.log(shard).join(segment_name(segment))
    }

    /// The file that holds a shard's pages.
    pub fn page_path(&self, shard: ShardId) -> PathBuf {
        page_file(&self.log(shard))
    }

    /// What is found of a shard's rows that are not of its slots: nothing yet.
    pub fn audit(&self, shard: ShardId) -> Audit {
        Audit::new(shard, self.manifest.shards, self.manifest.seed)
    }
}

/// Takes the directory's lock, as far as it has one, and writes nothing into it.
fn lock(dir: &Path) -> Result<(Option<File>, Option<u32>), StartError> {
    let unusable = |error| StartError::DirectoryUnusable { dir: dir.to_owned(), error };
    let path = dir.join("LOCK");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
        Err(error) => return Err(unusable(error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok((Some(file), None)),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            Err(StartError::DirectoryInUse { dir: dir.to_owned(), pid })
        }
        Err(errno) => Err(unusable(errno.into())),
    }
}

/// A file that is only read.
pub struct Source {
    file: File,
    buffer: Buffer,
}

impl Source {
    pub fn open(path: &Path) -> io::Result<Source> {
        Ok(Source { file: open_to_read(path)?, buffer: Buffer::new(1) })
    }

    /// The file's length.
    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads exactly so many bytes, or answers the errno.
    pub fn read(&mut self, offset: u64, len: usize) -> Result<&[u8], i32> {
        if self.buffer.bytes() < len {
            self.buffer = Buffer::new(len);
        }
        read_exact(&self.file, &mut self.buffer.as_bytes_mut()[..len], offset)?;
        Ok(&self.buffer.as_bytes()[..len])
    }
}

/// Opens a file to be read past the page cache, where the file system can do that.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    match open(path, flags | OFlags::DIRECT, Mode::empty()) {
        Err(rustix::io::Errno::INVAL) => Ok(File::from(open(path, flags, Mode::empty())?)),
        opened => Ok(File::from(opened?)),
    }
}

/// Fills `bytes`; a file that is shorter is an error of the device's kind.
pub fn read_exact(file: &File, bytes: &mut [u8], offset: u64) -> Result<(), i32> {
    file.read_exact_at(bytes, offset).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
}
