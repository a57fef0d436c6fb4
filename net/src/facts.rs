//! What only the process knows of itself, gathered every second on a thread of its own and posted to all workers.

use crate::mesh::{Inbox, Letter};
use cairn_core::event::ProcessFacts;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Gathers until it is dropped.
pub struct Collector {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    pub fn start(inboxes: Vec<Arc<Inbox>>, allocated_bytes: fn() -> u64) -> Collector {
        let (stop, stopped) = channel();
        let gather_all = move || loop {
            let facts = gather(allocated_bytes());
            for inbox in &inboxes {
                inbox.post(Letter::Facts(facts.clone()));
            }
            match stopped.recv_timeout(Duration::from_secs(1)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        // Without facts INFO shows zeros; the server itself does not need them.
        let thread = std::thread::Builder::new().name("cairn-facts".into()).spawn(gather_all).ok();
        Collector { stop: Some(stop), thread }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic; and at the end nobody would care.
            let _ = thread.join();
        }
    }
}

/// The facts now.
pub fn gather(allocated_bytes: u64) -> ProcessFacts {
    let (cpu_user_us, cpu_sys_us) = cpu_us();
    ProcessFacts {
        rss_bytes: rss_bytes(),
        cpu_sys_us,
        cpu_user_us,
        memory_total_bytes: memory_total_bytes(),
        allocated_bytes,
    }
}

/// Memory of the machine, or of the container if that has less.
pub fn memory_total_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = info.totalram as u64 * u64::from(info.mem_unit);
    let container = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    machine.min(container.unwrap_or(u64::MAX))
}

fn rss_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// CPU time of the process in microseconds: user and system.
fn cpu_us() -> (u64, u64) {
    // SAFETY: the structure is plain numbers, valid when zeroed, and the call writes no further than it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let us = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    (us(usage.ru_utime), us(usage.ru_stime))
}

#[cfg(test)]
mod tests {
    use super::gather;

    #[test]
    fn facts_are_of_this_process() {
        let mut sum = 0_u64;
        while gather(0).cpu_user_us + gather(0).cpu_sys_us == 0 {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        let facts = gather(7);
        assert!(facts.rss_bytes > 100_000 && facts.memory_total_bytes > facts.rss_bytes && facts.allocated_bytes == 7);
    }
}
