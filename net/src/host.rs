//! The host of a worker's thread: glommio, and nothing of it outside this file.
//!
//! Used of it: a `LocalExecutor` pinned to a CPU, and a task queue with few shares for background work. Nothing of the
//! data path waits for it, and it never sleeps: sockets, files, timers, sleep and messages between cores are not its
//! business (docs/decisions/0001-glommio.md).

use glommio::{ExecutorJoinHandle, Latency, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle};
use std::future::Future;

/// Shares of the worker's turns and of its background work.
const SHARES_TURNS: usize = 1000;
const SHARES_BACKGROUND: usize = 50;

/// Memory for the executor's own file I/O, of which there is none, and operations that it has in flight at most.
const IO_MEMORY_BYTES: usize = 64 * 1024;
const RING_DEPTH: usize = 8;

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
            let shares = Shares::Static(SHARES_TURNS);
            let queue = glommio::executor().create_task_queue(shares, Latency::NotImportant, "turns");
            let turns = glommio::spawn_local_into(work(), queue).expect("the queue was made on this executor");
            turns.await;
        };
        LocalExecutorBuilder::new(Placement::Fixed(cpu))
            .name(name)
            .io_memory(IO_MEMORY_BYTES)
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

/// A queue of the calling thread's executor, for tasks that run when the turns yield, and then not for long.
#[derive(Clone, Copy)]
pub struct Queue(TaskQueueHandle);

impl Queue {
    #[allow(clippy::new_without_default, reason = "it works on that thread only")]
    pub fn new() -> Queue {
        let latency = Latency::NotImportant;
        Queue(glommio::executor().create_task_queue(Shares::Static(SHARES_BACKGROUND), latency, "background"))
    }

    pub fn spawn(self, task: impl Future<Output = ()> + 'static) {
        glommio::spawn_local_into(task, self.0).expect("the queue was made on this executor").detach();
    }
}
