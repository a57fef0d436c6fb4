//! What a worker counts about itself. Plain numbers of one thread, copied out about once a second.

use hdrhistogram::Histogram;

/// Counts since the worker began, and the present state where it says so.
#[derive(Clone, Debug)]
pub struct WorkerStats {
    /// The worker, and the CPU it is pinned to.
    pub worker: u16,
    pub cpu: u16,
    pub turns: u64,
    /// System calls of the ring.
    pub enters: u64,
    pub submissions: u64,
    pub completions: u64,
    /// Sleeps.
    pub parks: u64,
    /// Spins that met work, and spins that did not.
    pub spins_won: u64,
    pub spins_lost: u64,
    pub completion_overflows: u64,
    /// Receives that found no buffer free.
    pub receives_starved: u64,
    pub receives: u64,
    pub sends: u64,
    /// Sends that the kernel took only in part.
    pub sends_short: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub accepted: u64,
    /// Connections that came from other workers.
    pub taken: u64,
    /// Refused because of `maxclients`.
    pub refused: u64,
    /// Failures to accept (descriptors, memory).
    pub accept_failures: u64,
    /// Connections now.
    pub connections: u64,
    pub parcels_in: u64,
    pub parcels_out: u64,
    /// Parcels that wait for room in a mailbox now.
    pub parcels_waiting: u64,
    /// Doorbells that took a system call.
    pub doorbells: u64,
    pub log_writes: u64,
    pub log_write_bytes: u64,
    /// Whether log buffers are registered with the kernel (else `RLIMIT_MEMLOCK` was too low).
    pub has_registered_buffers: bool,
    pub segments_prepared: u64,
    /// Reports to the process that were dropped because it did not take them.
    pub reports_dropped: u64,
    /// Nanoseconds that turns took which did something.
    pub turn_ns: Histogram<u64>,
    /// Nanoseconds from submitting a log write to its completion.
    pub flush_ns: Histogram<u64>,
}

impl WorkerStats {
    pub fn new(worker: u16, cpu: u16) -> WorkerStats {
        // One second at most, two digits: 16 KiB.
        let histogram = || {
            let mut histogram = Histogram::new_with_bounds(1, 1_000_000_000, 2).expect("the bounds are sound");
            histogram.auto(false);
            histogram
        };
        WorkerStats {
            worker,
            cpu,
            turns: 0,
            enters: 0,
            submissions: 0,
            completions: 0,
            parks: 0,
            spins_won: 0,
            spins_lost: 0,
            completion_overflows: 0,
            receives_starved: 0,
            receives: 0,
            sends: 0,
            sends_short: 0,
            bytes_in: 0,
            bytes_out: 0,
            accepted: 0,
            taken: 0,
            refused: 0,
            accept_failures: 0,
            connections: 0,
            parcels_in: 0,
            parcels_out: 0,
            parcels_waiting: 0,
            doorbells: 0,
            log_writes: 0,
            log_write_bytes: 0,
            has_registered_buffers: false,
            segments_prepared: 0,
            reports_dropped: 0,
            turn_ns: histogram(),
            flush_ns: histogram(),
        }
    }
}
