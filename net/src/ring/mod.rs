//! One `io_uring` of one thread: submissions gathered in a turn, one system call, completions.
//!
//! Set up with `SINGLE_ISSUER | DEFER_TASKRUN | SUBMIT_ALL | TASKRUN_FLAG` and a registered descriptor: the kernel does
//! completion work only inside [`Ring::enter`], and says in a flag that there is some, so that spinning costs no call.

pub mod op;

pub use op::Op;

use crate::limits::{COMPLETIONS_MAX, SUBMISSIONS_MAX};
use io_uring::squeue::Entry;
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// What the kernel says of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    pub op: Op,
    /// As the system call would answer: a count or a descriptor, or minus the errno.
    pub result: i32,
    pub flags: u32,
}

impl Completion {
    /// A multishot operation goes on: more completions follow.
    #[inline]
    pub fn has_more(&self) -> bool {
        io_uring::cqueue::more(self.flags)
    }

    /// The provided buffer that was filled.
    #[inline]
    pub fn buffer(&self) -> Option<u16> {
        io_uring::cqueue::buffer_select(self.flags)
    }
}

/// Calls and losses since the ring was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct RingCounts {
    pub enters: u64,
    pub submissions: u64,
    pub completions: u64,
    /// Turns that found completions which had not fitted in the queue. The kernel keeps those; none is lost.
    pub overflows: u64,
}

/// The queues of one `io_uring`, shared with the kernel.
pub struct Ring {
    sq: SubmissionQueue<'static>,
    cq: CompletionQueue<'static>,
    submitter: Submitter<'static>,
    counts: RingCounts,
    // The last field: dropped after the queues, which refer to it.
    memory: Memory,
}

/// Owns the ring that the queues of [`Ring`] refer to.
struct Memory(*mut IoUring);

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::into_raw` in `Ring::new` and is freed only here. Everything that refers
        // to it is a field of `Ring` declared before this one, hence dropped already; else they would dangle.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

impl Ring {
    /// A ring for the calling thread: only that thread may use it. Fails with the kernel's error where it lacks the
    /// features (before 6.1) or forbids io_uring.
    pub fn new() -> io::Result<Ring> {
        Ring::with_sizes(SUBMISSIONS_MAX, COMPLETIONS_MAX)
    }

    pub fn with_sizes(submissions: u32, completions: u32) -> io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(completions)
            .dontfork()
            .build(submissions)?;
        let memory = Memory(Box::into_raw(Box::new(ring)));
        // SAFETY: the box is alive until `memory` is dropped and nothing else refers to it, so a unique reference may be
        // made; its claimed lifetime ends in truth with `memory`, which outlives the three parts made from it.
        let ring: &'static mut IoUring = unsafe { &mut *memory.0 };
        let (mut submitter, sq, cq) = ring.split();
        submitter.register_ring_fd()?;
        Ok(Ring { sq, cq, submitter, counts: RingCounts::default(), memory })
    }

    /// Queues an operation. When the queue is full it is submitted first.
    ///
    /// # Safety
    ///
    /// Everything the entry points to (buffers, addresses) must stay valid and, if the kernel writes to it, untouched
    /// until the operation's last completion. Otherwise the kernel reads or writes memory that belongs to others.
    #[inline]
    pub unsafe fn push(&mut self, entry: &Entry) -> io::Result<()> {
        // SAFETY: passed on to the caller of this function.
        while unsafe { self.sq.push(entry) }.is_err() {
            self.submit()?;
        }
        Ok(())
    }

    /// Submits what is queued and lets the kernel finish what it can, without waiting.
    #[inline]
    pub fn enter(&mut self) -> io::Result<()> {
        self.call(0, EnterFlags::GETEVENTS)
    }

    /// Submits what is queued and waits for at least one completion.
    pub fn enter_and_wait(&mut self) -> io::Result<()> {
        self.call(1, EnterFlags::GETEVENTS)
    }

    /// Submits what is queued.
    pub fn submit(&mut self) -> io::Result<()> {
        self.call(0, EnterFlags::empty())
    }

    #[inline]
    fn call(&mut self, want: u32, flags: EnterFlags) -> io::Result<()> {
        self.sq.sync();
        self.counts.overflows += u64::from(self.sq.cq_overflow());
        let queued = self.sq.len() as u32;
        self.counts.enters += 1;
        self.counts.submissions += u64::from(queued);
        // SAFETY: no argument structure is passed, so there is nothing to be kept valid; the entries were pushed under
        // the contract of `push`.
        let result = unsafe { self.submitter.enter::<()>(queued, want, flags.bits(), None) };
        self.sq.sync();
        self.cq.sync();
        match result {
            Ok(_) => Ok(()),
            // Interrupted by a signal, short of memory for the moment, or too many unreaped completions: what was not
            // submitted is still queued, and the next call submits it.
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Whether an [`Ring::enter`] would do something: entries are queued, or the kernel has work to finish.
    #[inline]
    pub fn has_work(&mut self) -> bool {
        !self.sq.is_empty() || self.has_arrivals()
    }

    /// Whether completions are there, or would be after [`Ring::enter`]. Reads memory only.
    #[inline]
    pub fn has_arrivals(&mut self) -> bool {
        self.cq.sync();
        !self.cq.is_empty() || self.sq.taskrun() || self.sq.cq_overflow()
    }

    /// Completions that can be taken now.
    #[inline]
    pub fn ready(&self) -> usize {
        self.cq.len()
    }

    #[inline]
    pub fn next_completion(&mut self) -> Option<Completion> {
        let entry = self.cq.next()?;
        self.counts.completions += 1;
        Some(Completion { op: Op::decode(entry.user_data()), result: entry.result(), flags: entry.flags() })
    }

    /// Tells the kernel which completions were taken, so that their places are free.
    #[inline]
    pub fn release_completions(&mut self) {
        self.cq.sync();
    }

    pub fn submitter(&self) -> &Submitter<'static> {
        &self.submitter
    }

    pub fn counts(&self) -> RingCounts {
        self.counts
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        // SAFETY: `memory` owns a live ring as long as `self` exists, and only its descriptor is read.
        unsafe { (*self.memory.0).as_raw_fd() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Op, Ring};
    use io_uring::opcode;

    #[test]
    fn more_operations_than_entries_are_all_completed() {
        let mut ring = Ring::with_sizes(8, 64).unwrap();
        let mut seen = 0;
        for write in 0..40 {
            let entry = opcode::Nop::new().build().user_data(Op::Write { write }.encode());
            // SAFETY: a no-op points to nothing.
            unsafe { ring.push(&entry) }.unwrap();
        }
        while seen < 40 {
            ring.enter_and_wait().unwrap();
            while let Some(completion) = ring.next_completion() {
                assert_eq!(completion.op, Op::Write { write: seen });
                assert_eq!(completion.result, 0);
                seen += 1;
            }
        }
        assert!(!ring.has_arrivals());
        assert!(ring.counts().enters >= 5);
    }

    #[test]
    fn completions_beyond_the_queue_are_kept_by_the_kernel_and_counted() {
        let mut ring = Ring::with_sizes(8, 16).unwrap();
        for write in 0..64 {
            let entry = opcode::Nop::new().build().user_data(Op::Write { write }.encode());
            // SAFETY: a no-op points to nothing.
            unsafe { ring.push(&entry) }.unwrap();
        }
        let mut seen = Vec::new();
        while seen.len() < 64 {
            ring.enter().unwrap();
            while let Some(completion) = ring.next_completion() {
                seen.push(completion.op);
            }
            ring.release_completions();
        }
        assert_eq!(seen, (0..64).map(|write| Op::Write { write }).collect::<Vec<_>>());
        assert!(ring.counts().overflows > 0);
    }
}
