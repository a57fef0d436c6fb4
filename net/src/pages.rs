//! The page files of one worker's shards: reads, writes and syncs on the worker's own ring, and before it has one, on that of the
//! start ([`crate::page_open`]).
//!
//! Files are opened with `O_DIRECT`. Writes go out from the page file's output buffers, which do not change meanwhile;
//! reads come into buffers of this module, and the shard copies what it has checked. How an operation ended is handed on
//! as it is: the shard judges.

use crate::datadir::hold_writable;
use crate::ring::{Op, Ring};
use cairn_core::event::Event;
use cairn_core::machine::Machine;
use cairn_storage::limits::{BLOCK_BYTES, OUTPUT_BYTES_MAX, PAGE_BYTES};
use cairn_storage::op::{DiskDone, PageOp};
use cairn_storage::pagefile::PageFile;
use cairn_storage::units::OpId;
use io_uring::{opcode, types};
use rustix::fs::{Mode, OFlags, open};
use slab::Slab;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Memory as direct I/O wants it.
#[derive(Clone, Copy)]
#[repr(align(4096))]
struct Block {
    #[allow(dead_code, reason = "what is in it is seen through `Buffer` only")]
    bytes: [u8; BLOCK_BYTES],
}

/// A buffer for direct reads.
pub struct Buffer(Box<[Block]>);

impl Buffer {
    pub fn new(bytes: usize) -> Buffer {
        Buffer(vec![Block { bytes: [0; BLOCK_BYTES] }; bytes.div_ceil(BLOCK_BYTES)].into())
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: a block is exactly its bytes: its size is a multiple of its alignment, so there is no padding, and the slice
        // is as long as the box.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.bytes()) }
    }

    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and any bytes are a block.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.bytes()) }
    }
}

const _: () = assert!(size_of::<Block>() == BLOCK_BYTES);

struct Flight {
    machine: u16,
    op: OpId,
    len: u32,
    /// What a read comes into.
    buffer: Option<Buffer>,
}

/// The page files of one worker.
#[derive(Default)]
pub struct Pages {
    files: Vec<OwnedFd>,
    flights: Slab<Flight>,
    /// Page-sized buffers that are free.
    spare: Vec<Buffer>,
}

/// Page-sized buffers that are kept for their next use.
const SPARE_MAX: usize = 256;

/// Opens the page file of a shard, or creates it, for direct reads and writes.
pub fn open_file(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::DIRECT | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::RUSR | Mode::WUSR)?)
}

impl Pages {
    /// One page file for each of the worker's shards, in their order.
    pub fn new(paths: &[PathBuf]) -> io::Result<Pages> {
        let mut files = Vec::new();
        for path in paths {
            let file = open_file(path)?;
            hold_writable(&file)?;
            files.push(file);
        }
        Ok(Pages { files, ..Pages::default() })
    }

    /// Submits an operation, all but [`PageOp::Forget`].
    ///
    /// # Safety
    ///
    /// The machine that asks must be `machine`, live until the ring is dropped, and keep the output buffer of a write
    /// where it is, and unchanged, until the completion was taken; the page file promises it. Otherwise the kernel would
    /// write something else than the image.
    pub unsafe fn submit(&mut self, ring: &mut Ring, asker: &Machine, machine: u16, op: PageOp) -> io::Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { self.submit_of(ring, asker.shard.engine().page_file(), machine, op) }
    }

    /// The same for who has no machine yet. Without a page file there is nothing to write.
    ///
    /// # Safety
    ///
    /// As of [`Pages::submit`], of the page file in the machine's stead.
    pub unsafe fn submit_of(
        &mut self,
        ring: &mut Ring,
        asker: Option<&PageFile>,
        machine: u16,
        op: PageOp,
    ) -> io::Result<()> {
        let fd = types::Fd(self.files[usize::from(machine)].as_raw_fd());
        let mut flight = Flight { machine, op: op.op(), len: 0, buffer: None };
        let entry = match op {
            PageOp::Write { offset, output, len, .. } | PageOp::WriteStable { offset, output, len, .. } => {
                let file = asker.expect("who asks for its writes has a page file");
                let bytes = &file.output(output)[..len as usize];
                assert!((bytes.as_ptr() as usize).is_multiple_of(BLOCK_BYTES), "O_DIRECT asks for aligned memory");
                let flags = if matches!(op, PageOp::WriteStable { .. }) { libc::RWF_DSYNC } else { 0 };
                opcode::Write::new(fd, bytes.as_ptr(), len).offset(offset).rw_flags(flags).build()
            }
            PageOp::Read { offset, len, .. } => {
                flight.len = len;
                let is_page = len as usize == PAGE_BYTES;
                let spare = if is_page { self.spare.pop() } else { None };
                let bytes = if is_page { PAGE_BYTES } else { OUTPUT_BYTES_MAX.max(len as usize) };
                let buffer = flight.buffer.insert(spare.unwrap_or_else(|| Buffer::new(bytes)));
                opcode::Read::new(fd, buffer.as_bytes_mut().as_mut_ptr(), len).offset(offset).build()
            }
            PageOp::Sync { .. } => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
            PageOp::Grow { bytes, .. } => opcode::Fallocate::new(fd, bytes).build(),
            PageOp::Forget { .. } => unreachable!("segments are removed in the background"),
        };
        let flight = self.flights.insert(flight) as u32;
        // SAFETY: an output buffer stays by this function's contract; a read's buffer is on the heap, belongs to the flight,
        // and so stays until the completion was taken. The flights outlive the ring, the first field of the worker.
        unsafe { ring.push(&entry.user_data(Op::Page { flight }.encode())) }
    }

    /// In the middle of a turn: submits the reads that machines want by now, so that the disk has them before the turn ends.
    ///
    /// # Safety
    ///
    /// As of [`Pages::submit`].
    pub unsafe fn submit_reads(&mut self, ring: &mut Ring, machines: &mut [Machine]) -> io::Result<()> {
        let mut has_any = false;
        for (index, machine) in machines.iter_mut().enumerate() {
            while let Some(op) = machine.poll_read() {
                has_any = true;
                // SAFETY: passed on to the caller.
                unsafe { self.submit(ring, machine, index as u16, op)? }
            }
        }
        if has_any { ring.submit() } else { Ok(()) }
    }

    /// A completion: hands the event that it means, and whose it is, to `tell`.
    pub fn on_done(&mut self, flight: u32, result: i32, tell: impl FnOnce(u16, Event<'_>)) {
        let Flight { machine, op, len, buffer } = self.flights.remove(flight as usize);
        let result = if result >= 0 { Ok(result as u32) } else { Err(-result) };
        let Some(buffer) = buffer else { return tell(machine, Event::Page(DiskDone { op, result })) };
        let bytes = match result {
            Ok(read) if read == len => Ok(&buffer.as_bytes()[..len as usize]),
            // The file is shorter than it was.
            Ok(_) => Err(libc::EIO),
            Err(errno) => Err(errno),
        };
        tell(machine, Event::PageRead { op, result: bytes });
        if buffer.bytes() == PAGE_BYTES && self.spare.len() < SPARE_MAX {
            self.spare.push(buffer);
        }
    }

    /// Operations with the kernel.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Buffer;
    use cairn_storage::limits::BLOCK_BYTES;

    #[test]
    fn buffers_are_aligned_and_as_long_as_asked() {
        let mut buffer = Buffer::new(BLOCK_BYTES + 1);
        assert_eq!(buffer.bytes(), 2 * BLOCK_BYTES);
        buffer.as_bytes_mut()[2 * BLOCK_BYTES - 1] = 7;
        assert_eq!(buffer.as_bytes()[2 * BLOCK_BYTES - 1], 7);
        assert!((buffer.as_bytes().as_ptr() as usize).is_multiple_of(BLOCK_BYTES));
    }
}
