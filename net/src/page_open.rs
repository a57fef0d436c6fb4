//! The page file while a shard is being opened: its maps, and what replay needs of it, one operation after the other.

use crate::error::StartError;
use crate::pages::{Buffer, open_file};
use cairn_storage::engine::{Applied, Engine, Replay};
use cairn_storage::error::Fault;
use cairn_storage::limits::OUTPUT_BYTES_MAX;
use cairn_storage::log::LogStart;
use cairn_storage::op::{DiskDone, PageOp};
use cairn_storage::pagefile::{OpenStep, Opening, PageFile, PageFileConfig, Superblock};
use cairn_storage::pool::Fetched;
use rustix::fs::{FallocateFlags, fallocate, fdatasync};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An open page file.
pub struct PageSource {
    path: PathBuf,
    file: File,
    buffer: Buffer,
}

impl PageSource {
    /// Opens the page file, or creates it.
    pub fn open(path: &Path) -> io::Result<PageSource> {
        let file = File::from(open_file(path)?);
        Ok(PageSource { path: path.to_owned(), file, buffer: Buffer::new(OUTPUT_BYTES_MAX) })
    }

    /// Finds the newest checkpoint. Answers it, and where the log goes on.
    pub fn find(&mut self, config: PageFileConfig) -> Result<(PageFile, Superblock, LogStart), StartError> {
        let bytes = self.file.metadata().map_err(|error| self.unusable(error))?.len();
        let mut opening = Opening::new(config, bytes);
        loop {
            match opening.step() {
                OpenStep::Read { offset, len } => match self.read(offset, len) {
                    Ok(bytes) => opening.supply(bytes),
                    Err(errno) => opening.failed(errno),
                },
                OpenStep::Done => break,
                OpenStep::Refuse(fault) => return Err(self.refuse(&fault)),
            }
        }
        if let Some((offset, what)) = opening.damage() {
            // A torn superblock is what a power cut while it was written leaves.
            tracing::warn!(
                "{} is damaged at offset {offset}: {what}. The other checkpoint (LSN {}) is used, and the log from there on: \
                 nothing acknowledged is lost. If the power was not cut while the server ran, check the disk",
                self.path.display(),
                opening.log_start().lsn
            );
        }
        let start = opening.log_start();
        let (file, superblock) = opening.finish();
        Ok((file, superblock, start))
    }

    /// Goes through with a step of a replay, whatever it needs of the page file.
    pub fn drive(
        &mut self,
        replay: &mut Replay,
        mut step: impl FnMut(&mut Replay) -> Result<Applied, Fault>,
    ) -> Result<Result<(), Fault>, StartError> {
        loop {
            match step(replay) {
                Ok(Applied::Done) => return Ok(Ok(())),
                Ok(Applied::Missing(missing)) => drop(replay.engine_mut().fetch(missing)),
                // Room is made of what has been written.
                Ok(Applied::Crowded) => replay.engine_mut().work(0, 0),
                Err(fault) => return Ok(Err(fault)),
            }
            self.serve(replay.engine_mut())?;
        }
    }

    /// Performs all that the engine wants of its page file.
    fn serve(&mut self, engine: &mut Engine) -> Result<(), StartError> {
        while let Some(op) = engine.poll_pages() {
            let result = match op {
                PageOp::Read { op, offset, len } => {
                    let fetched = engine.on_page_read(op, self.read(offset, len));
                    match fetched {
                        Fetched::Damaged { offset, what, .. } => return Err(self.damaged(offset, what.to_owned())),
                        Fetched::Failed { offset, errno, .. } => {
                            return Err(self.damaged(offset, io::Error::from_raw_os_error(errno).to_string()));
                        }
                        _ => continue,
                    }
                }
                PageOp::Write { offset, output, len, .. } | PageOp::WriteStable { offset, output, len, .. } => {
                    let file = engine.page_file().expect("it asks for operations");
                    self.file.write_all_at(&file.output(output)[..len as usize], offset).map(|()| len)
                }
                PageOp::Sync { .. } => fdatasync(&self.file).map(|()| 0).map_err(io::Error::from),
                PageOp::Grow { bytes, .. } => {
                    fallocate(&self.file, FallocateFlags::empty(), 0, bytes).map(|()| 0).map_err(io::Error::from)
                }
                // The next checkpoint's turn removes them too.
                PageOp::Forget { .. } => Ok(0),
            };
            let result = result.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO));
            if let (Err(errno), PageOp::Grow { .. } | PageOp::Write { .. }) = (result, op) {
                return Err(self.unusable(io::Error::from_raw_os_error(errno)));
            }
            engine.on_page_done(DiskDone { op: op.op(), result });
        }
        Ok(())
    }

    fn read(&mut self, offset: u64, len: u32) -> Result<&[u8], i32> {
        let bytes = &mut self.buffer.as_bytes_mut()[..len as usize];
        match self.file.read_exact_at(bytes, offset) {
            Ok(()) => Ok(&self.buffer.as_bytes()[..len as usize]),
            Err(error) => Err(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }

    fn unusable(&self, error: io::Error) -> StartError {
        StartError::DirectoryUnusable { dir: self.path.clone(), error }
    }

    fn damaged(&self, offset: u64, what: String) -> StartError {
        StartError::Log { file: self.path.clone(), offset, what }
    }

    fn refuse(&self, fault: &Fault) -> StartError {
        let offset = match fault {
            Fault::PageFile { offset, .. } | Fault::PageFileRead { offset, .. } => *offset,
            _ => 0,
        };
        self.damaged(offset, fault.to_string())
    }
}
