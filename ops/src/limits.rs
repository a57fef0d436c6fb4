//! Every bound of this crate.

/// How deep `include` may nest. Redis has no bound and recurses until the stack ends.
pub const INCLUDE_DEPTH_MAX: usize = 16;

/// Bytes of one configuration file.
pub const CONFIG_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Passwords that were found right lately and need no slow hash again.
pub const KNOWN_PASSWORDS_MAX: usize = 64;

/// Passwords that wait for their slow hash. One takes some 20 ms, so the last of them waits about a second.
pub const PASSWORD_QUEUE_MAX: usize = 64;

/// MIGRATE commands that are under way at the same time, each on a thread of its own.
pub const MIGRATIONS_MAX: usize = 16;

/// Scrapes of the metrics endpoint at the same time.
pub const SCRAPES_MAX: usize = 8;

/// Bytes of a request to the metrics endpoint, line and headers.
pub const HTTP_REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Time that a client of the metrics endpoint has for its request, and to take the answer.
pub const HTTP_SECONDS_MAX: u64 = 5;

const _: () = assert!(PASSWORD_QUEUE_MAX <= 1024);
