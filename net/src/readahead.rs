//! Reads a shard's log from a position on, ahead of the recovery that asks for it: a thread of its own keeps the disk
//! busy while records are looked at. Reads go past the page cache, which nobody would look at again.

use crate::datadir::segment_name;
use crate::pages::Buffer;
use cairn_storage::limits::{BLOCK_BYTES, RECOVERY_READ_BYTES};
use cairn_storage::log::recovery::SegmentFile;
use cairn_storage::units::SegmentId;
use rustix::fs::{Mode, OFlags, open};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

/// Pieces that are read ahead.
const PIECES: usize = 8;

/// A piece of a segment.
struct Piece {
    segment: SegmentId,
    offset: u64,
    buffer: Buffer,
    len: Result<usize, i32>,
}

/// The log, as it comes from the disk.
pub struct ReadAhead {
    pieces: Option<Receiver<Piece>>,
    /// Buffers go back to be used again.
    used: Option<Sender<Buffer>>,
    piece: Option<Piece>,
    thread: Option<JoinHandle<()>>,
}

impl ReadAhead {
    /// `files` are those of the log in `dir`, in order, from the one on that is wanted first; of that one the bytes from
    /// `offset` on, the beginning of a block.
    pub fn new(dir: PathBuf, files: Vec<SegmentFile>, offset: u64) -> io::Result<ReadAhead> {
        let (sender, pieces) = sync_channel(PIECES);
        let (used, free) = channel();
        for _ in 0..PIECES {
            // The receiver is here.
            let _ = used.send(Buffer::new(RECOVERY_READ_BYTES));
        }
        let thread = std::thread::Builder::new().name("cairn-log-read".into());
        let thread = thread.spawn(move || read_all(&dir, &files, offset, &sender, &free))?;
        Ok(ReadAhead { pieces: Some(pieces), used: Some(used), piece: None, thread: Some(thread) })
    }

    /// Copies what stands at `offset` into `out`. Positions are asked for in ascending order, within files.
    pub fn read(&mut self, segment: SegmentId, offset: u64, out: &mut [u8]) -> Result<(), i32> {
        let mut at = 0;
        while at < out.len() {
            let offset = offset + at as u64;
            let piece = self.piece_at(segment, offset)?;
            let len = piece.len?;
            let from = (offset - piece.offset) as usize;
            let count = (len - from).min(out.len() - at);
            out[at..at + count].copy_from_slice(&piece.buffer.as_bytes()[from..from + count]);
            at += count;
        }
        Ok(())
    }

    fn piece_at(&mut self, segment: SegmentId, offset: u64) -> Result<&Piece, i32> {
        loop {
            // A piece that could not be read is as long as it should have been.
            let end = |piece: &Piece| piece.offset + piece.len.unwrap_or(RECOVERY_READ_BYTES) as u64;
            let is_past = |piece: &Piece| (piece.segment, end(piece)) <= (segment, offset);
            if let Some(piece) = self.piece.take_if(|piece| is_past(piece))
                && let Some(used) = &self.used
            {
                let _ = used.send(piece.buffer);
            }
            if self.piece.is_none() {
                // The file is shorter than it was when it was listed.
                let next = self.pieces.as_ref().and_then(|pieces| pieces.recv().ok()).ok_or(libc::EIO)?;
                self.piece = Some(next);
                continue;
            }
            let piece = self.piece.as_ref().expect("it is there");
            let is_here = piece.segment == segment && piece.offset <= offset;
            return if is_here { Ok(piece) } else { Err(libc::EIO) };
        }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        // The thread finds nobody to read for.
        (self.pieces, self.used) = (None, None);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read_all(dir: &Path, files: &[SegmentFile], first: u64, sender: &SyncSender<Piece>, free: &Receiver<Buffer>) {
    let mut offset = first;
    for SegmentFile { segment, bytes } in files.iter().copied() {
        let opened =
            open(dir.join(segment_name(segment)), OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty());
        let end = bytes / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        while offset < end {
            let Ok(mut buffer) = free.recv() else { return };
            let wanted = ((end - offset) as usize).min(RECOVERY_READ_BYTES);
            let len = match &opened {
                Ok(file) => read(file, offset, &mut buffer.as_bytes_mut()[..wanted]).map(|()| wanted),
                Err(errno) => Err(errno.raw_os_error()),
            };
            if sender.send(Piece { segment, offset, buffer, len }).is_err() {
                return;
            }
            offset += wanted as u64;
        }
        offset = 0;
    }
}

/// Reads exactly as much as `out` takes.
fn read(file: &OwnedFd, offset: u64, out: &mut [u8]) -> Result<(), i32> {
    let mut at = 0;
    while at < out.len() {
        match rustix::io::pread(file, &mut out[at..], offset + at as u64) {
            // The file is shorter than it was when it was listed.
            Ok(0) => return Err(libc::EIO),
            Ok(count) => at += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.raw_os_error()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::ReadAhead;
    use crate::datadir::segment_name;
    use cairn_storage::limits::RECOVERY_READ_BYTES;
    use cairn_storage::log::recovery::SegmentFile;
    use cairn_storage::units::SegmentId;
    use std::fs;

    fn content(segment: u64, len: usize) -> Vec<u8> {
        (0..len).map(|at| (at / 512) as u8 ^ segment as u8).collect()
    }

    #[test]
    fn what_is_asked_for_comes_whatever_was_left_out() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let len = 2 * RECOVERY_READ_BYTES + 8192;
        let mut files = Vec::new();
        for segment in [3, 4, 6] {
            fs::write(dir.path().join(segment_name(SegmentId(segment))), content(segment, len + 100)).unwrap();
            files.push(SegmentFile { segment: SegmentId(segment), bytes: len as u64 + 100 });
        }
        let mut log = ReadAhead::new(dir.path().to_owned(), files.clone(), 4096).unwrap();
        let mut check = |segment: u64, offset: usize, count: usize| {
            let mut out = vec![0; count];
            let result = log.read(SegmentId(segment), offset as u64, &mut out);
            assert!(result.is_err() || out == content(segment, len)[offset..offset + count]);
            result
        };
        assert_eq!(check(3, 4096, 8192), Ok(()));
        assert_eq!(check(3, 12288, RECOVERY_READ_BYTES), Ok(()), "over the end of a piece");
        assert_eq!(check(4, 2 * RECOVERY_READ_BYTES, 8192), Ok(()), "pieces are left out");
        assert_eq!(check(6, 0, 4096), Ok(()));
        assert_eq!(check(6, len - 4096, 8192), Err(libc::EIO), "beyond the last whole block");
        let mut log = ReadAhead::new(dir.path().to_owned(), files, 8192).unwrap();
        let mut out = vec![0; 4096];
        assert_eq!(log.read(SegmentId(3), 4096, &mut out), Err(libc::EIO), "before what is wanted first");
        assert_eq!(log.read(SegmentId(3), 8192, &mut out), Ok(()));
        assert_eq!(out, content(3, len)[8192..12288]);
    }
}
