//! A nameless file and a ring of its own, driven as the log and the tree drive theirs: what `cairn disk` measures with.
//!
//! Beside the data path. Owns the descriptor, the buffers and what is in flight; knows nothing of clocks and figures.

use crate::ring::{Op, Ring};
use cairn_storage::limits::BLOCK_BYTES;
use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, fsync, open, unlink};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Transfers that one file has in flight at most.
pub const DEPTH_MAX: usize = 64;

/// A transfer has a submission or two, all of them made within one turn.
const SUBMISSIONS: u32 = 256;

const _: () = assert!(2 * DEPTH_MAX as u32 <= SUBMISSIONS, "a chain of two must not be cut by a full queue");

/// What a transfer does; its end is the end of all it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// A write that may still be in the device's cache when it ends.
    Write,
    /// A write with `RWF_DSYNC`, as the log makes it.
    WriteDsync,
    /// A write, and when it has ended an `fdatasync`.
    WriteThenSync,
    Read,
}

/// A file of random bytes, open for direct transfers, gone from the file system when this value or the process ends.
pub struct ProbeFile {
    ring: Ring,
    file: OwnedFd,
    file_bytes: u64,
    slots: Vec<Slot>,
    /// Completions that the kernel still owes.
    owed: usize,
}

/// A buffer, and the transfer that uses it.
struct Slot {
    blocks: Vec<Block>,
    /// Bytes of the transfer in flight.
    len: u32,
    /// Completions that the transfer still waits for.
    owed: u8,
}

#[derive(Clone)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK_BYTES]);

const _: () = assert!(size_of::<Block>() == BLOCK_BYTES && align_of::<Block>() == BLOCK_BYTES);

impl ProbeFile {
    /// A new nameless file in `dir`, `file_bytes` long, allocated but not written, and `depth` buffers of `slot_bytes`
    /// that `fill` fills block by block. `EINVAL` means that the file system has no `O_DIRECT`.
    pub fn create(
        dir: &Path,
        file_bytes: u64,
        depth: usize,
        slot_bytes: usize,
        mut fill: impl FnMut(&mut [u8]),
    ) -> io::Result<ProbeFile> {
        assert!((1..=DEPTH_MAX).contains(&depth));
        assert!(slot_bytes > 0 && slot_bytes.is_multiple_of(BLOCK_BYTES) && file_bytes >= slot_bytes as u64);
        let ring = Ring::with_sizes(SUBMISSIONS, 2 * SUBMISSIONS)?;
        let file = open_nameless(dir)?;
        match fallocate(&file, FallocateFlags::empty(), 0, file_bytes) {
            // Where space cannot be had in advance, writing the file takes it.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut slots = Vec::with_capacity(depth);
        for _ in 0..depth {
            let mut blocks = vec![Block([0; BLOCK_BYTES]); slot_bytes / BLOCK_BYTES];
            blocks.iter_mut().for_each(|block| fill(&mut block.0));
            slots.push(Slot { blocks, len: 0, owed: 0 });
        }
        Ok(ProbeFile { ring, file, file_bytes, slots, owed: 0 })
    }

    /// Begins a transfer from or to the slot's buffer. The slot is free, and offset and length are of whole blocks
    /// inside the file. It is submitted by the next [`ProbeFile::wait`].
    pub fn start(&mut self, slot: usize, transfer: Transfer, offset: u64, len: usize) -> io::Result<()> {
        let used = &mut self.slots[slot];
        assert!(used.owed == 0, "slot {slot} is in use");
        assert!(len > 0 && len.is_multiple_of(BLOCK_BYTES) && len / BLOCK_BYTES <= used.blocks.len());
        assert!(offset.is_multiple_of(BLOCK_BYTES as u64) && offset + len as u64 <= self.file_bytes);
        let fd = types::Fd(self.file.as_raw_fd());
        let address = used.blocks.as_mut_ptr().cast::<u8>();
        used.len = len as u32;
        let write = |flags| opcode::Write::new(fd, address, len as u32).offset(offset).rw_flags(flags).build();
        let (first, then): (Entry, Option<Entry>) = match transfer {
            Transfer::Write => (write(0), None),
            Transfer::WriteDsync => (write(libc::RWF_DSYNC), None),
            Transfer::Read => (opcode::Read::new(fd, address, len as u32).offset(offset).build(), None),
            Transfer::WriteThenSync => {
                let sync = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build();
                (write(0).flags(Flags::IO_LINK), Some(sync))
            }
        };
        for (entry, is_sync) in [(Some(first), false), (then, true)] {
            let Some(entry) = entry else { continue };
            let entry = entry.user_data(Op::Write { write: (slot as u32) << 1 | u32::from(is_sync) }.encode());
            // SAFETY: the buffer belongs to `self.slots`, whose vectors are never resized; nobody touches it while its
            // slot owes a completion (asserted above, and no method lends it), and dropping `self` waits for all
            // completions or leaks it. Else the kernel would read or write memory of others.
            unsafe { self.ring.push(&entry) }?;
            self.slots[slot].owed += 1;
            self.owed += 1;
        }
        Ok(())
    }

    /// Submits what was begun, waits until something ends and adds the slots of the ended transfers to `ended`; none
    /// when a signal came first. A transfer that failed or was short is an error.
    pub fn wait(&mut self, ended: &mut Vec<usize>) -> io::Result<()> {
        self.ring.enter_and_wait()?;
        let mut failure = None;
        while let Some(completion) = self.ring.next_completion() {
            let Op::Write { write } = completion.op else { unreachable!("this ring is given writes only") };
            let (index, is_sync) = ((write >> 1) as usize, write & 1 == 1);
            let slot = &mut self.slots[index];
            slot.owed -= 1;
            self.owed -= 1;
            match completion.result {
                // The sync after a write that failed: that write told why.
                result if result == -libc::ECANCELED && is_sync => {
                    failure.get_or_insert_with(|| io::Error::from_raw_os_error(libc::ECANCELED));
                }
                result if result < 0 => failure = Some(io::Error::from_raw_os_error(-result)),
                result if !is_sync && result as u32 != slot.len => {
                    failure = Some(io::Error::new(io::ErrorKind::UnexpectedEof, "a short transfer"));
                }
                _ if slot.owed == 0 => ended.push(index),
                _ => {}
            }
        }
        self.ring.release_completions();
        failure.map_or(Ok(()), Err)
    }

    /// Transfers, or parts of them, that have not ended.
    pub fn has_in_flight(&self) -> bool {
        self.owed > 0
    }

    /// Everything written, and the file's metadata, on stable storage.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fsync(&self.file)?)
    }

    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    pub fn depth(&self) -> usize {
        self.slots.len()
    }
}

impl Drop for ProbeFile {
    fn drop(&mut self) {
        while self.owed > 0 {
            if self.ring.enter_and_wait().is_err() {
                // The kernel may still use the buffers: they must not become other memory.
                std::mem::forget(std::mem::take(&mut self.slots));
                return;
            }
            while self.ring.next_completion().is_some() {
                self.owed -= 1;
            }
            self.ring.release_completions();
        }
    }
}

/// A file without a name, so that it cannot outlive the process; where the file system has no such files, one that loses
/// its name at once. An existing file is never opened.
fn open_nameless(dir: &Path) -> io::Result<OwnedFd> {
    let mode = Mode::from_raw_mode(0o600);
    let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC | OFlags::EXCL;
    match open(dir, flags | OFlags::TMPFILE, mode) {
        // EINVAL may be meant of either flag; opening by name tells which.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
        result => return Ok(result?),
    }
    let path = dir.join(format!(".cairn-disk-{}", std::process::id()));
    let result = open(&path, flags | OFlags::CREATE, mode);
    match result {
        Ok(file) => {
            unlink(&path)?;
            Ok(file)
        }
        Err(Errno::INVAL) => {
            // It was created, since EXCL did not complain, before O_DIRECT was refused.
            let _ = unlink(&path);
            Err(Errno::INVAL.into())
        }
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{ProbeFile, Transfer};
    use cairn_storage::limits::BLOCK_BYTES;
    use std::io;
    use std::path::Path;

    fn file(dir: &Path, blocks: usize, depth: usize, fill: u8) -> io::Result<ProbeFile> {
        ProbeFile::create(dir, (blocks * BLOCK_BYTES) as u64, depth, 2 * BLOCK_BYTES, |block| block.fill(fill))
    }

    fn finish(file: &mut ProbeFile) -> Vec<usize> {
        let mut ended = Vec::new();
        while file.has_in_flight() {
            file.wait(&mut ended).unwrap();
        }
        ended.sort_unstable();
        ended
    }

    #[test]
    fn every_transfer_ends_once_and_carries_the_bytes() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let mut file = file(dir.path(), 8, 4, 7).unwrap();
        for (slot, transfer) in [Transfer::Write, Transfer::WriteDsync, Transfer::WriteThenSync].into_iter().enumerate()
        {
            file.start(slot, transfer, (slot * 2 * BLOCK_BYTES) as u64, 2 * BLOCK_BYTES).unwrap();
        }
        assert_eq!(finish(&mut file), [0, 1, 2]);
        file.sync().unwrap();
        for (block, byte) in [(0, 7), (3, 7), (5, 7), (6, 0)] {
            file.start(3, Transfer::Read, block * BLOCK_BYTES as u64, BLOCK_BYTES).unwrap();
            assert_eq!(finish(&mut file), [3]);
            assert!(file.slots[3].blocks[0].0.iter().all(|is| *is == byte), "block {block}");
        }
        // The file has no name, and goes while transfers are in flight.
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        file.start(0, Transfer::WriteThenSync, 0, BLOCK_BYTES).unwrap();
        file.start(1, Transfer::Read, 0, BLOCK_BYTES).unwrap();
        drop(file);
    }

    #[test]
    fn where_no_file_can_be_made_the_error_says_so() {
        assert_eq!(file(Path::new("/no/such/place"), 8, 1, 0).err().unwrap().kind(), io::ErrorKind::NotFound);
        assert!(file(Path::new("/proc/self"), 8, 1, 0).is_err());
    }
}
