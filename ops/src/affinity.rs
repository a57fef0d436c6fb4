//! Keeps the threads beside the data path off the CPUs of the workers, where there are others.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::sync::OnceLock;

static OTHERS: OnceLock<CpuSet> = OnceLock::new();

/// These are the workers' CPUs. To be called once, on a thread that may use all CPUs.
pub fn set_data_cpus(data: &[usize]) {
    let Ok(mut others) = sched_getaffinity(None) else { return };
    data.iter().for_each(|cpu| others.unset(*cpu));
    if others.count() > 0 {
        // Said once: a second server in one process does not exist.
        let _ = OTHERS.set(others);
    }
}

/// Moves this thread, and the threads that it starts later, to the other CPUs.
pub fn leave_data_cpus() {
    if let Some(others) = OTHERS.get() {
        // Where the thread stays it costs the worker some time, no more.
        let _ = sched_setaffinity(None, others);
    }
}
