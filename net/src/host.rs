//! The host of a worker's thread: glommio, and nothing of it outside this file.
//!
//! Used of it: a `LocalExecutor` pinned to a CPU, a task queue for background work with few shares, its file I/O in
//! that queue, and its wait on an eventfd. Sockets, log writes, timers and messages between cores are not its business
//! (docs/decisions/0001-glommio.md).

use crate::datadir::{hold_writable, segment_name};
use crate::limits::PREPARE_BYTES;
use cairn_storage::units::SegmentId;
use glommio::io::{Directory, DmaFile, OpenOptions};
use glommio::{ExecutorJoinHandle, Latency, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// Shares of the worker's turns and of its background work.
const SHARES_TURNS: usize = 1000;
const SHARES_BACKGROUND: usize = 50;

/// Background work shares the executor's buffers; segment preparation needs two.
const DMA_BYTES: usize = 4 * PREPARE_BYTES;

/// Operations that the executor has in flight at most.
const RING_DEPTH: usize = 64;

/// A worker's thread.
pub struct Thread(ExecutorJoinHandle<()>);

impl Thread {
    /// Starts a thread on a CPU and runs there what `work` makes, to its end. Fails with a text if the executor cannot
    /// be made.
    pub fn start<F, W>(name: &str, cpu: usize, work: W) -> Result<Thread, String>
    where
        W: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let run = move || async move {
            // The turns wait on an eventfd that others write: without `Matters` they would be seen only when glommio
            // next looks for work of its own accord.
            let latency = Latency::Matters(Duration::from_millis(1));
            let queue = glommio::executor().create_task_queue(Shares::Static(SHARES_TURNS), latency, "turns");
            let turns = glommio::spawn_local_into(work(), queue).expect("the queue was made on this executor");
            turns.await;
        };
        LocalExecutorBuilder::new(Placement::Fixed(cpu))
            .name(name)
            .io_memory(DMA_BYTES)
            .ring_depth(RING_DEPTH)
            .spawn(run)
            .map(Thread)
            .map_err(|error| error.to_string())
    }

    /// Waits for the end of its work.
    pub fn join(self) -> Result<(), String> {
        self.0.join().map_err(|error| error.to_string())
    }
}

/// Lets the executor and its background work have their turn.
pub async fn yield_now() {
    glommio::executor().yield_task_queue_now().await;
}

/// An eventfd that is waited for through the executor.
pub struct HostedEvent {
    file: glommio::io::BufferedFile,
}

impl HostedEvent {
    pub fn new(eventfd: OwnedFd) -> HostedEvent {
        // SAFETY: the descriptor is open and owned; it is given up here and belongs to the file from now on.
        let file = unsafe { glommio::io::BufferedFile::from_raw_fd(eventfd.into_raw_fd()) };
        HostedEvent { file }
    }

    /// Until somebody has written the eventfd. Resets it.
    pub async fn wait(&self) -> io::Result<()> {
        self.file.read_at(0, 8).await.map(drop).map_err(io::Error::from)
    }

    /// Makes the present or the next wait end.
    pub fn signal(&self) {
        let fd = self.file.as_raw_fd();
        // SAFETY: the descriptor is open as long as `self.file`.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        // Only an overflowing counter fails, and then a wake-up is pending already.
        let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
    }
}

/// Work beside the turns of one worker.
pub struct Background {
    queue: TaskQueueHandle,
    running: Rc<Cell<usize>>,
    prepared: Rc<RefCell<Vec<Prepared>>>,
    event: Rc<HostedEvent>,
}

/// A segment's preparation ended.
pub struct Prepared {
    /// What the caller named it by.
    pub tag: (u16, u64),
    /// The errno if it failed.
    pub result: Result<(), i32>,
}

impl Background {
    /// On the executor of the calling thread. `event` is signalled when something is finished.
    pub fn new(event: Rc<HostedEvent>) -> Background {
        let latency = Latency::NotImportant;
        let queue = glommio::executor().create_task_queue(Shares::Static(SHARES_BACKGROUND), latency, "background");
        Background { queue, running: Rc::default(), prepared: Rc::default(), event }
    }

    /// Whether anything is under way, so that the executor must get its turns.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.running.get() > 0
    }

    /// What was finished since the last call.
    pub fn finished(&self) -> Vec<Prepared> {
        if self.prepared.borrow().is_empty() { Vec::new() } else { self.prepared.take() }
    }

    pub fn has_finished(&self) -> bool {
        !self.prepared.borrow().is_empty()
    }

    /// Prepares a segment file in the directory `log`: `bytes` zeros, written, with its entry, on stable storage.
    pub fn prepare(&self, log: PathBuf, segment: SegmentId, bytes: u64, tag: (u16, u64)) {
        let running = Rc::clone(&self.running);
        let prepared = Rc::clone(&self.prepared);
        let event = Rc::clone(&self.event);
        running.set(running.get() + 1);
        let task = async move {
            let result = prepare(log, segment, bytes).await.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO));
            running.set(running.get() - 1);
            prepared.borrow_mut().push(Prepared { tag, result });
            event.signal();
        };
        glommio::spawn_local_into(task, self.queue).expect("the queue was made on this executor").detach();
    }
}

/// Creates the segment, allocates its blocks at once, and then writes zeros over them: a log write into it afterwards
/// changes neither its length nor the state of its extents, so that one device flush makes it stable.
async fn prepare(log: PathBuf, segment: SegmentId, bytes: u64) -> io::Result<()> {
    let path = log.join(segment_name(segment));
    let file: DmaFile = OpenOptions::new().create(true).write(true).truncate(true).dma_open(&path).await?;
    let result = match hold(&file) {
        Ok(()) => fill(&file, bytes).await,
        Err(error) => Err(error),
    };
    let closed = file.close().await.map_err(io::Error::from);
    result.and(closed)?;
    let dir = Directory::open(&log).await?;
    dir.sync().await?;
    dir.close().await?;
    Ok(())
}

fn hold(file: &DmaFile) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file`.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(file.as_raw_fd()) };
    Ok(hold_writable(fd)?)
}

async fn fill(file: &DmaFile, bytes: u64) -> io::Result<()> {
    file.pre_allocate(bytes, false).await?;
    let mut zeros = file.alloc_dma_buffer(PREPARE_BYTES);
    zeros.as_bytes_mut().fill(0);
    let zeros = Rc::new(zeros);
    let mut at = 0;
    while at < bytes {
        let written = file.write_rc_at(Rc::clone(&zeros), at).await?;
        if written != PREPARE_BYTES {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        at += PREPARE_BYTES as u64;
        // A little at a time: what the device's cache holds when it is flushed, the flushes of the log wait for.
        file.fdatasync().await?;
        glommio::executor().yield_if_needed().await;
    }
    Ok(())
}
