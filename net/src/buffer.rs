//! Receive buffers that the kernel picks from: one pool for all connections of a worker (a provided-buffer ring).
//!
//! A buffer is with the kernel, or, between a completion and [`ReceiveBuffers::give`], with the worker.

use crate::ring::Ring;
use io_uring::types::BufRingEntry;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// The only buffer group of a ring.
pub const GROUP: u16 = 0;

/// The pool: all of its buffers are of one size.
pub struct ReceiveBuffers {
    /// The ring of entries that the kernel reads: `count` of them, in their own pages.
    entries: Mapping,
    /// The buffers, one after the other.
    bytes: Mapping,
    count: u16,
    buffer_bytes: usize,
    /// Entries ever handed to the kernel, modulo 2^16.
    tail: u16,
}

impl ReceiveBuffers {
    /// Registers `count` (a power of two) buffers with the ring. They must outlive the ring's receives: the owner drops
    /// the ring first.
    pub fn new(ring: &Ring, count: u16, buffer_bytes: usize) -> io::Result<ReceiveBuffers> {
        assert!(count.is_power_of_two() && buffer_bytes > 0);
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let bytes = Mapping::new(usize::from(count) * buffer_bytes)?;
        // SAFETY: the mapping is page-aligned, long enough for `count` entries and lives as long as `self`; the kernel
        // pins its pages, so that even a ring that outlives it reads no foreign memory.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(entries.start.as_ptr() as u64, count, GROUP, 0)?;
        }
        let mut buffers = ReceiveBuffers { entries, bytes, count, buffer_bytes, tail: 0 };
        for id in 0..count {
            buffers.give(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// What was received into a buffer that the kernel has handed out.
    #[inline]
    pub fn bytes(&self, id: u16, len: usize) -> &[u8] {
        assert!(id < self.count && len <= self.buffer_bytes);
        // SAFETY: the range is inside the mapping by the assertion. The kernel writes a buffer only between `give` and
        // its completion; the worker asks for the bytes only between the completion and `give`, so nobody writes now.
        unsafe {
            let start = self.bytes.start.as_ptr().add(usize::from(id) * self.buffer_bytes);
            std::slice::from_raw_parts(start, len)
        }
    }

    /// Hands a buffer back to the kernel, which sees it after [`ReceiveBuffers::publish`].
    #[inline]
    pub fn give(&mut self, id: u16) {
        assert!(id < self.count);
        let at = usize::from(self.tail & (self.count - 1));
        let address = self.bytes.start.as_ptr() as u64 + (usize::from(id) * self.buffer_bytes) as u64;
        // SAFETY: `at` is below `count`, so the entry is inside the mapping; the kernel reads an entry only after the
        // tail has passed it, and there are never more than `count` buffers, so it does not read this one now. The
        // tail itself lies in the first entry's reserved field, which these setters do not touch.
        unsafe {
            let entry = &mut *self.entries.start.as_ptr().cast::<BufRingEntry>().add(at);
            entry.set_addr(address);
            entry.set_len(self.buffer_bytes as u32);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see what was given.
    #[inline]
    pub fn publish(&self) {
        // SAFETY: the tail field lies in the first entry of a live mapping, is aligned for u16, and the kernel reads it
        // with acquire semantics; on our side only this thread writes it.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.start.as_ptr().cast::<BufRingEntry>());
            (*tail.cast::<AtomicU16>()).store(self.tail, Ordering::Release);
        }
    }
}

/// Anonymous zeroed pages.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Mapping> {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let start = unsafe {
            mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?
        };
        let start = NonNull::new(start.cast()).expect("mmap without MAP_FIXED does not answer address 0");
        Ok(Mapping { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped, owned by this value alone. If it cannot be unmapped it leaks.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}
