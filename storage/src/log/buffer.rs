//! The memory that flushes are gathered in and written from: aligned for `O_DIRECT`, at fixed addresses.
//!
//! [`FLUSH_BUFFERS`] buffers live as long as the log, so that a driver can register them with its ring. More are made
//! when those do not suffice, and freed when they come back. A buffer is with one owner at a time: free, or taken.

use crate::limits::{BLOCK_BYTES, FLUSH_BUFFERS, FLUSH_BYTES_MAX};
use crate::units::BufferId;
use bytemuck::{Pod, Zeroable};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK_BYTES]);

/// The buffers of one log.
pub(super) struct Buffers {
    /// The permanent buffers first, then the extra ones; `None` where an extra one was freed.
    all: Vec<Option<Box<[Block]>>>,
    /// Permanent buffers that nobody has taken.
    free: Vec<BufferId>,
    /// Places in `all` that hold no buffer.
    vacant: Vec<BufferId>,
}

impl Buffers {
    pub fn new() -> Self {
        let free = (0..FLUSH_BUFFERS as u32).rev().map(BufferId).collect();
        Self { all: (0..FLUSH_BUFFERS).map(|_| Some(allocate())).collect(), free, vacant: Vec::new() }
    }

    /// Takes a buffer. Its contents are those of its last use.
    pub fn take(&mut self) -> BufferId {
        if let Some(id) = self.free.pop() {
            return id;
        }
        match self.vacant.pop() {
            Some(id) => {
                self.all[id.0 as usize] = Some(allocate());
                id
            }
            None => {
                let id = u32::try_from(self.all.len()).expect("memory ends before buffer numbers do");
                self.all.push(Some(allocate()));
                BufferId(id)
            }
        }
    }

    /// Gives a taken buffer back.
    pub fn give(&mut self, id: BufferId) {
        if (id.0 as usize) < FLUSH_BUFFERS {
            assert!(!self.free.contains(&id), "a buffer comes back once");
            self.free.push(id);
        } else {
            assert!(self.all[id.0 as usize].take().is_some(), "a buffer comes back once");
            self.vacant.push(id);
        }
    }

    #[inline]
    pub fn bytes(&self, id: BufferId) -> &[u8] {
        bytemuck::must_cast_slice(self.all[id.0 as usize].as_deref().expect("the buffer is taken"))
    }

    #[inline]
    pub fn bytes_mut(&mut self, id: BufferId) -> &mut [u8] {
        bytemuck::must_cast_slice_mut(self.all[id.0 as usize].as_deref_mut().expect("the buffer is taken"))
    }

    /// The permanent buffers, in the order of their numbers.
    pub fn permanent(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..FLUSH_BUFFERS as u32).map(|id| self.bytes(BufferId(id)))
    }

    /// Buffers that exist, taken or not.
    pub fn count(&self) -> usize {
        self.all.len() - self.vacant.len()
    }
}

fn allocate() -> Box<[Block]> {
    bytemuck::zeroed_slice_box(FLUSH_BYTES_MAX / BLOCK_BYTES)
}
