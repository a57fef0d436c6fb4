//! Stop 7 of 10, performed: log writes on the worker's own ring, segment preparation beside it.
//!
//! Reads of the log, while it is written, are the scrub's; they come into buffers of this module.
//!
//! Writes go to segment files opened with `O_DIRECT`, each with `RWF_DSYNC`, from buffers that are registered with the
//! ring where the kernel allows it. How a write ended is handed on as it is, a short one too: the log judges.

use crate::datadir::{hold_writable, segment_name};
use crate::limits::{SEGMENTS_OPEN_MAX, WRITES_MAX};
use crate::pages::Buffer;
use crate::ring::{Op, Ring};
use cairn_core::event::Event;
use cairn_storage::limits::BLOCK_BYTES;
use cairn_storage::op::{DiskDone, LogRead};
use cairn_storage::units::{BufferId, OpId, SegmentId};
use io_uring::{opcode, types};
use rustix::fs::{Mode, OFlags, open};
use slab::Slab;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;

/// A flush, as the log asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    pub op: OpId,
    pub segment: SegmentId,
    pub offset: u64,
    pub buffer: BufferId,
    pub bytes: &'a [u8],
}

/// The log files of one shard.
struct ShardFiles {
    dir: PathBuf,
    /// The most recently opened last. A file that is closed here while a write is in flight lives on until that ends.
    open: Vec<(SegmentId, Rc<OwnedFd>)>,
    /// Where this shard's permanent buffers begin among the registered ones, and how many there are.
    registered: Option<(u16, u16)>,
}

struct Flight {
    shard: u16,
    op: OpId,
    len: u32,
    begun_ns: u64,
    /// Keeps the descriptor from being closed and reused before the submission has named it to the kernel.
    _file: Rc<OwnedFd>,
}

/// A read of a log.
struct Read {
    shard: u16,
    op: OpId,
    len: u32,
    buffer: Buffer,
    /// As above.
    _file: OwnedFd,
}

/// A log write that ended: of which of the worker's shards, how, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub shard: u16,
    pub done: DiskDone,
    pub ns: u64,
}

/// The log files of one worker's shards.
#[derive(Default)]
pub struct Disk {
    shards: Vec<ShardFiles>,
    flights: Slab<Flight>,
    reads: Slab<Read>,
    /// Reads that ended before they were submitted: of which shard, and the errno.
    unread: Vec<(u16, OpId, i32)>,
    /// Writes that ended before they were submitted.
    failed: Vec<Written>,
    has_registered: bool,
}

impl Disk {
    /// One log directory for each of the worker's shards.
    pub fn new(dirs: Vec<PathBuf>) -> Disk {
        let shards = dirs.into_iter().map(|dir| ShardFiles { dir, open: Vec::new(), registered: None }).collect();
        Disk { shards, ..Disk::default() }
    }

    /// Registers the permanent buffers of all shards' logs, in the order of shards and of buffer numbers. Where the
    /// kernel refuses (locked memory), writes work from the same buffers unregistered. Whether it did.
    ///
    /// # Safety
    ///
    /// The buffers must stay where they are until the ring is dropped. Else the kernel, which pins the old pages, would
    /// write to the log what these hold instead of what the new ones do.
    pub unsafe fn register(&mut self, ring: &Ring, logs: &[Vec<&[u8]>]) -> bool {
        assert_eq!(logs.len(), self.shards.len());
        let vectors: Vec<libc::iovec> = logs
            .iter()
            .flatten()
            .map(|buffer| libc::iovec { iov_base: buffer.as_ptr().cast_mut().cast(), iov_len: buffer.len() })
            .collect();
        // SAFETY: the buffers are valid now, and by this function's contract for the life of the ring.
        if vectors.is_empty() || unsafe { ring.submitter().register_buffers(&vectors) }.is_err() {
            return false;
        }
        let mut first = 0;
        for (files, log) in self.shards.iter_mut().zip(logs) {
            let count = u16::try_from(log.len()).expect("a log has few permanent buffers");
            files.registered = Some((first, count));
            first += count;
        }
        self.has_registered = true;
        true
    }

    pub fn has_registered(&self) -> bool {
        self.has_registered
    }

    /// Submits a log write.
    ///
    /// # Safety
    ///
    /// `write.bytes` must stay valid and unchanged until the write's completion was taken; the log promises it of a
    /// buffer in flight. Otherwise other bytes than the acknowledged ones reach the disk.
    pub unsafe fn write(&mut self, ring: &mut Ring, shard: u16, write: Write<'_>, now_ns: u64) -> io::Result<()> {
        let len = write.bytes.len() as u32;
        assert!(write.bytes.len().is_multiple_of(BLOCK_BYTES) && write.offset.is_multiple_of(BLOCK_BYTES as u64));
        assert!((write.bytes.as_ptr() as usize).is_multiple_of(BLOCK_BYTES), "O_DIRECT asks for aligned memory");
        assert!(self.flights.len() < WRITES_MAX);
        let files = &mut self.shards[usize::from(shard)];
        let file = match files.open(write.segment) {
            Ok(file) => file,
            Err(errno) => {
                self.failed.push(Written { shard, done: DiskDone { op: write.op, result: Err(errno) }, ns: 0 });
                return Ok(());
            }
        };
        let fd: RawFd = file.as_raw_fd();
        let flight = self.flights.insert(Flight { shard, op: write.op, len, begun_ns: now_ns, _file: file });
        let word = Op::Write { write: flight as u32 }.encode();
        let address = write.bytes.as_ptr();
        let entry = match files.registered {
            Some((first, count)) if write.buffer.0 < u32::from(count) => {
                opcode::WriteFixed::new(types::Fd(fd), address, len, first + write.buffer.0 as u16)
                    .offset(write.offset)
                    .rw_flags(libc::RWF_DSYNC)
                    .build()
            }
            _ => opcode::Write::new(types::Fd(fd), address, len).offset(write.offset).rw_flags(libc::RWF_DSYNC).build(),
        };
        // SAFETY: by this function's contract.
        unsafe { ring.push(&entry.user_data(word)) }
    }

    /// A completion of a log write.
    pub fn on_write(&mut self, write: u32, result: i32, now_ns: u64) -> Written {
        let flight = self.flights.remove(write as usize);
        let result = if result >= 0 { Ok(result as u32) } else { Err(-result) };
        assert!(result.is_ok_and(|written| written <= flight.len) || result.is_err());
        Written {
            shard: flight.shard,
            done: DiskDone { op: flight.op, result },
            ns: now_ns.saturating_sub(flight.begun_ns),
        }
    }

    /// Writes that failed before the kernel saw them.
    pub fn take_failed(&mut self) -> Vec<Written> {
        std::mem::take(&mut self.failed)
    }

    pub fn has_failed(&self) -> bool {
        !self.failed.is_empty() || !self.unread.is_empty()
    }

    /// Writes with the kernel.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Submits a read of a log. The file may be gone: then it has failed.
    pub fn read(&mut self, ring: &mut Ring, shard: u16, read: LogRead) -> io::Result<()> {
        let LogRead { op, segment, offset, len } = read;
        let path = self.shards[usize::from(shard)].dir.join(segment_name(segment));
        let file = match open(path, OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => file,
            Err(errno) => {
                self.unread.push((shard, op, errno.raw_os_error()));
                return Ok(());
            }
        };
        let fd = file.as_raw_fd();
        let mut buffer = Buffer::new(len as usize);
        let address = buffer.as_bytes_mut().as_mut_ptr();
        let flight = self.reads.insert(Read { shard, op, len, buffer, _file: file });
        let entry = opcode::Read::new(types::Fd(fd), address, len).offset(offset).build();
        // SAFETY: the buffer is on the heap and belongs to the read, which stays in the slab until the completion was taken.
        // The slab outlives the ring, the first field of the worker.
        unsafe { ring.push(&entry.user_data(Op::LogRead { read: flight as u32 }.encode())) }
    }

    /// The completion of a read: hands the event that it means, and whose it is, to `tell`.
    pub fn on_read(&mut self, read: u32, result: i32, tell: impl FnOnce(u16, Event<'_>)) {
        let Read { shard, op, len, buffer, .. } = self.reads.remove(read as usize);
        let result = match result {
            all if all == len as i32 => Ok(&buffer.as_bytes()[..len as usize]),
            errno if errno < 0 => Err(-errno),
            // The file is shorter than it was.
            _ => Err(libc::EIO),
        };
        tell(shard, Event::LogRead { op, result });
    }

    /// Reads that failed before the kernel saw them.
    pub fn take_unread(&mut self) -> Vec<(u16, OpId, i32)> {
        std::mem::take(&mut self.unread)
    }

    /// Reads with the kernel.
    pub fn reads_in_flight(&self) -> usize {
        self.reads.len()
    }

    /// The log directory of a shard.
    pub fn dir(&self, shard: u16) -> PathBuf {
        self.shards[usize::from(shard)].dir.clone()
    }
}

impl ShardFiles {
    /// The segment's file, open for direct writes; or the errno.
    fn open(&mut self, segment: SegmentId) -> Result<Rc<OwnedFd>, i32> {
        if let Some((_, file)) = self.open.iter().rev().find(|(open, _)| *open == segment) {
            return Ok(Rc::clone(file));
        }
        let path = self.dir.join(segment_name(segment));
        let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = open(path, flags, Mode::empty()).map_err(rustix::io::Errno::raw_os_error)?;
        hold_writable(&file).map_err(rustix::io::Errno::raw_os_error)?;
        let file = Rc::new(file);
        if self.open.len() == SEGMENTS_OPEN_MAX {
            self.open.remove(0);
        }
        self.open.push((segment, Rc::clone(&file)));
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::{SEGMENTS_OPEN_MAX, SegmentId, ShardFiles, segment_name};
    use rustix::io::Errno;
    use std::fs;
    use std::rc::Rc;

    #[test]
    fn so_many_segments_are_open_and_the_one_opened_first_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = ShardFiles { dir: dir.path().to_owned(), open: Vec::new(), registered: None };
        let numbers = |files: &ShardFiles| files.open.iter().map(|(segment, _)| segment.0).collect::<Vec<_>>();
        let segments = 0..SEGMENTS_OPEN_MAX as u64 + 1;
        for segment in segments.clone() {
            fs::write(dir.path().join(segment_name(SegmentId(segment))), [0; 4096]).unwrap();
        }
        let first = files.open(SegmentId(0)).unwrap();
        for segment in segments.clone() {
            let file = files.open(SegmentId(segment)).unwrap();
            let kept = numbers(&files);
            assert!(kept.len() <= SEGMENTS_OPEN_MAX && kept.last() == Some(&segment), "{kept:?}");
            assert_eq!(kept.contains(&0), segment < SEGMENTS_OPEN_MAX as u64, "{kept:?}");
            // What is open is not opened again.
            assert!(Rc::ptr_eq(&file, &files.open(SegmentId(segment)).unwrap()));
        }
        // Who has a write in flight to the one that went still has it, and it is opened anew for the next.
        assert_eq!(rustix::fs::fstat(&*first).unwrap().st_size, 4096);
        let again = files.open(SegmentId(0)).unwrap();
        assert!(!Rc::ptr_eq(&first, &again) && numbers(&files) == [2, 3, 4, 0]);
        assert_eq!(files.open(SegmentId(99)).err(), Some(Errno::NOENT.raw_os_error()));
    }
}
