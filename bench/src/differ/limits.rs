//! The bounds of a comparison.

/// Connections that draw commands; what one of them watches another one changes.
pub const CLIENTS: usize = 2;
/// Databases that commands are drawn for; the ballast is elsewhere.
pub const DATABASES: u8 = 4;
/// Where the ballast is: rows that push others out of memory.
pub const BALLAST_DB: u8 = 15;
pub const BALLAST_ROWS: usize = 8_000;
pub const BALLAST_ROW_BYTES: usize = 1_000;
/// Rows of the ballast that are read between two bursts now and then.
pub const STIRRED_ROWS: usize = 100;
/// Commands that are sent before their replies are read, and bytes of them, the last one not counted.
pub const BURST_COMMANDS_MAX: usize = 256;
pub const BURST_BYTES_MAX: usize = 32 * 1024;
/// Requests of one iteration by cursor. Whoever needs more does not come to an end.
pub const SCAN_REQUESTS_MAX: usize = 100_000;
/// A reply that has not come by then never will.
pub const ANSWER_SECONDS_MAX: u64 = 30;
/// How long a server may take to start.
pub const START_SECONDS_MAX: u64 = 30;
/// Bytes of a reply or an argument that are shown.
pub const SHOWN_BYTES_MAX: usize = 300;
/// For how long a sequence is made smaller.
pub const SHRINK_SECONDS_MAX: u64 = 20;
/// How often something in a template is repeated.
pub const REPEATS_MAX: usize = 4;
/// Aggregates within aggregates in a reply.
pub const DEPTH_MAX: usize = 64;

const _: () = assert!(BALLAST_DB >= DATABASES);
