//! The bounds of the load generator.

/// Connections of one run, all groups together.
pub const CLIENTS_MAX: u32 = 60_000;
/// Requests in flight on one connection.
pub const PIPELINE_MAX: u32 = 100_000;
pub const THREADS_MAX: u32 = 256;
/// Requests a second of one group; more than a server of many cores takes.
pub const RATE_MAX: f64 = 1e7;
pub const GROUPS_MAX: usize = 64;
/// Commands of one group's mix.
pub const COMMANDS_MAX: usize = 1024;
/// A weight of one command in a mix.
pub const WEIGHT_MAX: u32 = 1_000_000;
/// One line of a reply: a simple string, an error, a number.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// One bulk string of a reply.
pub const BULK_BYTES_MAX: u64 = 1 << 32;
/// Arrays within arrays of a reply.
pub const DEPTH_MAX: usize = 64;
/// Latencies above this count as this: 1,000 seconds.
pub const LATENCY_NS_MAX: u64 = 1_000_000_000_000;
/// Seconds that a timeline has at most; one has 17 KiB for each group and thread.
pub const TIMELINE_SECONDS_MAX: u64 = 3600;
/// How long the end of a run waits for the replies that are still under way.
pub const DRAIN_NS_MAX: u64 = 2_000_000_000;
/// Bytes taken from a socket at once.
pub const RECV_BYTES: usize = 256 << 10;

const _: () = assert!(LINE_BYTES_MAX < RECV_BYTES);
