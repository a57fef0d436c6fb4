//! Every bound of this crate, related to the others at compile time.

/// The unit of every log write: flushes start and end on it. What `O_DIRECT` asks for on every common device.
pub const BLOCK_BYTES: usize = 4096;

/// The longest flush. Beyond 64 KiB the project's devices gain nothing in throughput, only in latency.
pub const FLUSH_BYTES_MAX: usize = 256 * 1024;

/// Flush buffers that are allocated (and registered with the ring) when a log opens. More are made when a
/// record, or a turn, is larger than these, and freed once they are written.
pub const FLUSH_BUFFERS: usize = 16;

/// Flushes in flight at once.
pub const FLIGHTS_MAX: usize = 8;

/// Bytes of records that wait for a flush, above which a shard takes no further writes until some are written.
/// One command may exceed it by its own size.
pub const LOG_STAGED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The size of a segment file when a data directory is created.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
pub const SEGMENT_BYTES_MIN: u64 = 1024 * 1024;

/// Segments that are kept ready ahead of the one being written.
pub const SEGMENTS_AHEAD: usize = 2;

/// A page of a tree.
pub const PAGE_BYTES: usize = 8192;

/// The longest key that stands in a leaf as it is. A longer one stands as its beginning and its SHA-256.
pub const KEY_INLINE_BYTES_MAX: usize = 512;

/// The longest row (key, head and value) that stands in a leaf. A longer value goes to an extent.
pub const ROW_INLINE_BYTES_MAX: usize = PAGE_BYTES / 4;

/// The longest value of a row, and the longest key: Redis's own limit for a string.
pub const VALUE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Databases in each shard.
pub const DATABASES: usize = 16;

const _: () = assert!(FLUSH_BYTES_MAX.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(FLUSH_BUFFERS > FLIGHTS_MAX);
const _: () = assert!(SEGMENT_BYTES_MIN >= 4 * FLUSH_BYTES_MAX as u64);
const _: () = assert!(SEGMENT_BYTES >= SEGMENT_BYTES_MIN);
const _: () = assert!(KEY_INLINE_BYTES_MAX * 2 <= ROW_INLINE_BYTES_MAX);
