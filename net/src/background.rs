//! Work beside the turns of one worker: tasks of the host's background queue, whose file operations travel on the
//! worker's own ring.
//!
//! ```text
//!   task -- awaits --> queued --submit--> the ring --on_done--> answered -- yield --> task goes on
//! ```
//!
//! The worker yields to the executor when, and only when, a task can go on ([`Background::is_runnable`]), so no task waits
//! for a poll of the executor's and no turn pays for one.

use crate::datadir::{hold_writable, segment_name, segments, spare_name, spares};
use crate::host::Queue;
use crate::limits::{PREPARE_BYTES, PREPARE_PACE, SPARE_SEGMENTS_MAX};
use crate::ring::{Op, Ring};
use cairn_storage::limits::BLOCK_BYTES;
use cairn_storage::units::SegmentId;
use io_uring::squeue::Entry;
use io_uring::{opcode, types};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::CString;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// What segments are filled with.
#[repr(align(4096))]
struct Zeros([u8; PREPARE_BYTES]);

static ZEROS: Zeros = Zeros([0; PREPARE_BYTES]);

const _: () = assert!(align_of::<Zeros>() == BLOCK_BYTES);

/// A segment's preparation, or the removal of segments, ended.
pub struct Prepared {
    /// What the caller named it by.
    pub tag: (u16, u64),
    /// The errno if it failed.
    pub result: Result<(), i32>,
}

/// The background work of one worker.
pub struct Background {
    queue: Queue,
    desk: Rc<Desk>,
}

/// Where tasks leave their wishes and find the answers.
#[derive(Default)]
struct Desk {
    /// Tasks that have not ended.
    running: Cell<usize>,
    /// Tasks that have not begun, and answers that were not seen yet.
    runnable: Cell<usize>,
    operations: RefCell<Slab<Operation>>,
    /// Not submitted yet.
    queued: RefCell<VecDeque<(u32, Entry)>>,
    /// Who waits for the log to get ahead.
    paced: RefCell<Vec<Paced>>,
    /// Bytes of log writes that were completed.
    written: Cell<u64>,
    halts: Cell<bool>,
    prepared: RefCell<Vec<Prepared>>,
}

/// An operation from its wish to the moment its answer is seen.
struct Operation {
    state: State,
    /// Stays open while the kernel may look at it.
    _file: Option<Rc<OwnedFd>>,
    /// Stay in place while the kernel may look at them.
    _paths: Vec<CString>,
}

enum State {
    /// Nobody has asked yet.
    New,
    Awaited(Waker),
    Answered(i32),
}

struct Paced {
    /// May go on when the log has written so much.
    written: u64,
    waker: Waker,
}

impl Background {
    /// On the executor of the calling thread.
    #[allow(clippy::new_without_default, reason = "it works on that thread only")]
    pub fn new() -> Background {
        Background { queue: Queue::new(), desk: Rc::default() }
    }

    /// Whether any task has not ended.
    pub fn is_busy(&self) -> bool {
        self.desk.running.get() > 0
    }

    /// Whether a task could go on if the worker yielded.
    #[inline]
    pub fn is_runnable(&self) -> bool {
        self.desk.runnable.get() > 0
    }

    /// Whether operations wait for [`Self::submit`].
    #[inline]
    pub fn has_queued(&self) -> bool {
        !self.desk.queued.borrow().is_empty()
    }

    /// Puts what the tasks have wished for in the ring.
    #[inline]
    pub fn submit(&self, ring: &mut Ring) -> io::Result<()> {
        while let Some((operation, entry)) = self.desk.queued.borrow_mut().pop_front() {
            let entry = entry.user_data(Op::Background { operation }.encode());
            // SAFETY: what the entry points to is a static or belongs to the operation, which stays in the slab until the
            // completion was taken. The slab outlives the ring, the first field of the worker.
            unsafe { ring.push(&entry)? };
        }
        Ok(())
    }

    /// The completion of an operation.
    pub fn on_done(&self, operation: u32, result: i32) {
        let mut operations = self.desk.operations.borrow_mut();
        let state = std::mem::replace(&mut operations[operation as usize].state, State::Answered(result));
        self.desk.runnable.update(|runnable| runnable + 1);
        if let State::Awaited(waker) = state {
            waker.wake();
        }
    }

    /// After a turn: the log has written `written` bytes in all, and whether it writes more. Lets tasks go on that must
    /// not get in its way.
    #[inline]
    pub fn pace(&self, written: u64, is_writing: bool) {
        self.desk.written.set(written);
        if !self.desk.paced.borrow().is_empty() {
            self.desk.release(|paced| !is_writing || paced.written <= written);
        }
    }

    /// Makes the tasks end soon: what they prepare fails.
    pub fn halt(&self) {
        self.desk.halts.set(true);
        self.desk.release(|_| true);
    }

    /// What was finished since the last call.
    pub fn finished(&self) -> Vec<Prepared> {
        if self.desk.prepared.borrow().is_empty() { Vec::new() } else { self.desk.prepared.take() }
    }

    pub fn has_finished(&self) -> bool {
        !self.desk.prepared.borrow().is_empty()
    }

    /// Takes the segment files below `before` out of the log in the directory `log`, the lowest first: they are kept to be
    /// used again, as many as were freed at once, or removed.
    pub fn forget(&self, log: PathBuf, before: SegmentId, tag: (u16, u64)) {
        let desk = Rc::clone(&self.desk);
        self.spawn(tag, async move { desk.forget(&log, before).await });
    }

    /// Prepares a segment file in the directory `log`, on stable storage with its entry: one that is used again, or `bytes`
    /// zeros.
    pub fn prepare(&self, log: PathBuf, segment: SegmentId, bytes: u64, tag: (u16, u64)) {
        let desk = Rc::clone(&self.desk);
        self.spawn(tag, async move { desk.prepare(&log, segment, bytes).await });
    }

    /// Begins a task, which is counted until it ends and then tells by `tag` how.
    fn spawn(&self, tag: (u16, u64), work: impl Future<Output = io::Result<()>> + 'static) {
        let desk = Rc::clone(&self.desk);
        desk.running.update(|running| running + 1);
        desk.runnable.update(|runnable| runnable + 1);
        self.queue.spawn(async move {
            desk.runnable.update(|runnable| runnable - 1);
            let result = work.await.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO));
            desk.running.update(|running| running - 1);
            desk.prepared.borrow_mut().push(Prepared { tag, result });
        });
    }
}

impl Desk {
    fn release(&self, may_go_on: impl Fn(&Paced) -> bool) {
        self.paced.borrow_mut().retain(|paced| {
            let goes_on = may_go_on(paced);
            if goes_on {
                self.runnable.update(|runnable| runnable + 1);
                paced.waker.wake_by_ref();
            }
            !goes_on
        });
    }

    /// Lists the directory on the worker's thread, as [`Desk::prepare`] does: the ring cannot. It is once a checkpoint, and there once a
    /// segment, of a directory of a dozen files: 30 us, one time in a hundred 0.3 ms beside compilers on all CPUs. A turn with a
    /// command of a long value takes longer.
    async fn forget(&self, log: &Path, before: SegmentId) -> io::Result<()> {
        let old: Vec<_> = segments(log)?.into_iter().filter(|(segment, _)| *segment < before).collect();
        let spare = spares(log)?;
        let (spare_kept, old_kept) = kept(spare.len(), old.len());
        for (segment, _) in &spare[spare_kept..] {
            self.unlink(&log.join(spare_name(*segment))).await?;
        }
        for (at, (segment, _)) in old.into_iter().enumerate() {
            let path = log.join(segment_name(segment));
            if at < old_kept {
                self.rename(&path, &log.join(spare_name(segment))).await?;
            } else {
                self.unlink(&path).await?;
            }
        }
        Ok(())
    }

    async fn unlink(&self, path: &Path) -> io::Result<()> {
        let path = c_path(path)?;
        let entry = opcode::UnlinkAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).build();
        self.run(entry, None, vec![path]).await.map(drop)
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (c_path(from)?, c_path(to)?);
        let here = types::Fd(libc::AT_FDCWD);
        let entry = opcode::RenameAt::new(here, from.as_ptr(), here, to.as_ptr()).build();
        self.run(entry, None, vec![from, to]).await.map(drop)
    }

    /// A segment that the log does not need any more becomes this one: what is in it says that it belongs elsewhere.
    /// Where there is none, the segment is created.
    async fn prepare(&self, log: &Path, segment: SegmentId, bytes: u64) -> io::Result<()> {
        let path = log.join(segment_name(segment));
        match spares(log)?.iter().find(|(_, spare_bytes)| *spare_bytes == bytes) {
            Some((spare, _)) => self.rename(&log.join(spare_name(*spare)), &path).await?,
            None => self.create(&path, bytes).await?,
        }
        let dir = self.open(log, libc::O_RDONLY | libc::O_DIRECTORY).await?;
        self.sync(&dir, types::FsyncFlags::empty()).await
    }

    /// Creates a segment, allocates its blocks at once, and then writes zeros over them: a log write into it afterwards
    /// changes neither its length nor the state of its extents, so that one device flush makes it stable.
    async fn create(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let flags = libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY | libc::O_DIRECT;
        let file = self.open(path, flags).await?;
        hold_writable(&*file)?;
        let filled = self.fill(&file, bytes).await;
        if filled.is_err() && !self.halts.get() {
            // What it could not use is given back; if that fails too, the next attempt begins with it.
            let _ = rustix::fs::ftruncate(&*file, 0);
        }
        filled
    }

    async fn fill(&self, file: &Rc<OwnedFd>, bytes: u64) -> io::Result<()> {
        let fd = types::Fd(file.as_raw_fd());
        self.run(opcode::Fallocate::new(fd, bytes).build(), Some(file), vec![]).await?;
        let mut at = 0;
        while at < bytes {
            let zeros = opcode::Write::new(fd, ZEROS.0.as_ptr(), PREPARE_BYTES as u32).offset(at).build();
            if self.run(zeros, Some(file), vec![]).await? != PREPARE_BYTES as i32 {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            at += PREPARE_BYTES as u64;
            self.keep_pace().await?;
        }
        // At the end only: while the log is written, its own flushes empty the device's cache of what came in between.
        self.sync(file, types::FsyncFlags::DATASYNC).await
    }

    async fn open(&self, path: &Path, flags: i32) -> io::Result<Rc<OwnedFd>> {
        let path = c_path(path)?;
        let here = types::Fd(libc::AT_FDCWD);
        let entry = opcode::OpenAt::new(here, path.as_ptr()).flags(flags | libc::O_CLOEXEC).mode(0o600).build();
        let fd = self.run(entry, None, vec![path]).await?;
        // SAFETY: the kernel has just opened it for this operation, and nobody else knows the number.
        Ok(Rc::new(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    async fn sync(&self, file: &Rc<OwnedFd>, flags: types::FsyncFlags) -> io::Result<()> {
        let entry = opcode::Fsync::new(types::Fd(file.as_raw_fd())).flags(flags).build();
        self.run(entry, Some(file), vec![]).await.map(drop)
    }

    /// An operation, to its end. What its entry points to is static, or in `file` and `paths`.
    async fn run(&self, entry: Entry, file: Option<&Rc<OwnedFd>>, paths: Vec<CString>) -> io::Result<i32> {
        let operation = Operation { state: State::New, _file: file.cloned(), _paths: paths };
        let operation = self.operations.borrow_mut().insert(operation);
        self.queued.borrow_mut().push_back((operation as u32, entry));
        let result = poll_fn(|context| {
            let state = &mut self.operations.borrow_mut()[operation].state;
            if let State::Answered(result) = *state {
                return Poll::Ready(result);
            }
            *state = State::Awaited(context.waker().clone());
            Poll::Pending
        })
        .await;
        self.runnable.update(|runnable| runnable - 1);
        self.operations.borrow_mut().remove(operation);
        if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
    }

    /// Between two pieces of a preparation. While the log is written, preparation is only that much faster than the log
    /// that it stays ahead: what the device's cache holds when it is flushed, the flushes of the log wait for.
    async fn keep_pace(&self) -> io::Result<()> {
        let written = self.written.get() + (PREPARE_BYTES as u64 * PREPARE_PACE.0) / PREPARE_PACE.1;
        let mut is_asked = false;
        poll_fn(|context| {
            if std::mem::replace(&mut is_asked, true) {
                self.runnable.update(|runnable| runnable - 1);
                return Poll::Ready(());
            }
            if self.halts.get() {
                return Poll::Ready(());
            }
            self.paced.borrow_mut().push(Paced { written, waker: context.waker().clone() });
            Poll::Pending
        })
        .await;
        if self.halts.get() { Err(io::Error::from_raw_os_error(libc::ECANCELED)) } else { Ok(()) }
    }
}

/// How many of the segments that wait to be used again, and of the `old` ones that are free now, are kept: in all as many as one
/// checkpoint frees, which is about what the log needs until the next one does.
fn kept(spare: usize, old: usize) -> (usize, usize) {
    let all = old.min(SPARE_SEGMENTS_MAX);
    let spare = spare.min(all);
    (spare, all - spare)
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::{SPARE_SEGMENTS_MAX, kept};

    #[test]
    fn as_many_segments_are_kept_as_one_checkpoint_frees_and_no_more_than_the_bound() {
        const MAX: usize = SPARE_SEGMENTS_MAX;
        for (spare, old, expect) in [
            (0, 0, (0, 0)),
            (3, 0, (0, 0)),
            (3, 5, (3, 2)),
            (5, 3, (3, 0)),
            (0, MAX - 1, (0, MAX - 1)),
            (0, MAX, (0, MAX)),
            (0, MAX + 1, (0, MAX)),
            (MAX - 1, MAX, (MAX - 1, 1)),
            (MAX, MAX, (MAX, 0)),
            (MAX + 1, MAX + 1, (MAX, 0)),
        ] {
            assert_eq!(kept(spare, old), expect, "{spare} spare, {old} old");
        }
    }
}
