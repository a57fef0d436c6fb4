//! Every bound of this crate, related to the others at compile time.

/// Entries of the ring that a shard is opened by.
pub const OPEN_SUBMISSIONS_MAX: u32 = 128;
pub const OPEN_COMPLETIONS_MAX: u32 = 512;

/// Submission entries of a worker's ring. When they are used up within a turn, the turn submits in between.
pub const SUBMISSIONS_MAX: u32 = 2048;

/// Completion entries: several times the submissions, because one multishot receive yields many completions.
pub const COMPLETIONS_MAX: u32 = 16 * 1024;

/// Completions that one turn takes. The rest waits for the next turn, so that replies leave in between.
pub const COMPLETIONS_PER_TURN_MAX: usize = 2048;

/// Completions after which a turn submits what pages they want read, so that the disk is not idle until the turn ends.
pub const COMPLETIONS_PER_READS: usize = 16;

/// Receive buffers of a worker, shared by its connections, and the bytes of one.
pub const RECEIVE_BUFFERS: u16 = 512;
pub const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;

/// Connections that the kernel queues for a listener before anybody accepts them (Redis: `tcp-backlog`).
pub const BACKLOG: i32 = 511;

/// Seconds of silence after which the kernel asks whether a peer is still there (Redis: `tcp-keepalive`).
pub const KEEPALIVE_SECONDS: u64 = 300;

/// Bytes that one send operation is given at most. The limits of output buffers are kept to this precision: what an
/// operation has sent counts when it ends.
pub const SEND_BYTES_MAX: usize = 1 << 20;

/// Parcels that a mailbox between two workers holds.
pub const MAILBOX_PARCELS: usize = 1024;

/// Parcels that one turn takes from one mailbox.
pub const PARCELS_PER_TURN_MAX: usize = 256;

/// Log writes in flight in one worker, over all of its shards.
pub const WRITES_MAX: usize = 1024;

/// Segment files that a shard keeps open.
pub const SEGMENTS_OPEN_MAX: usize = 4;

/// Segment files of a shard that are kept to be used again, at most.
pub const SPARE_SEGMENTS_MAX: usize = 8;

/// Bytes of zeros that are written at once when a segment is prepared.
pub const PREPARE_BYTES: usize = 128 * 1024;

/// The largest segment that a start prepares before it serves.
pub const PREPARE_AT_START_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// While the log is written: for how much of it a piece of preparation waits, as a fraction of that piece.
pub const PREPARE_PACE: (u64, u64) = (1, 2);

/// How long a port may be in use before a start gives up. The kernel ends the operations of a killed process' rings, and
/// with them its listeners, some milliseconds after the process itself.
pub const PORT_WAIT_MS: u64 = 250;

/// How often a machine hears of the time, at least.
pub const TICK_MS: u64 = 50;

/// How often it is looked whose core is busy and whose is not. Cores' times are in hundredths of a second.
pub const BALANCE_MS: u64 = 100;

/// How busy a core is whose worker gives connections away, and by how much less that of the one who gets them.
pub const BALANCE_BUSY_PERMILLE: u64 = 900;
pub const BALANCE_GAP_PERMILLE: u64 = 150;

/// How long a connection that is to go to another worker may take to come to rest.
pub const LEAVING_MS_MAX: u64 = 50;

/// How long accepting pauses when the process is out of descriptors or memory.
pub const ACCEPT_PAUSE_MS: u64 = 100;

/// Descriptors beside those of clients: log files, rings, eventfds, listeners, the log of the process, metrics.
pub const DESCRIPTORS_SPARE: u64 = 256;

/// Workers, and so also shards that run at the same time.
pub const WORKERS_MAX: usize = 1024;

/// Notices, questions and figures that wait for the process around the workers.
pub const REPORTS_MAX: usize = 4096;

/// Threads that read for a check of a page file: as many as a disk serves well at once. And how often it is heard from.
pub const CHECK_READERS: usize = 32;
pub const CHECK_REPORT_BYTES: u64 = 8 * 1024 * 1024;

/// Bytes of a log that an inspection reads at once.
pub const INSPECT_WINDOW_BYTES: usize = 1024 * 1024;

/// What glommio asks of `RLIMIT_MEMLOCK` before it starts.
pub const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

const _: () = assert!(COMPLETIONS_MAX >= 4 * SUBMISSIONS_MAX);
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two() && RECEIVE_BUFFERS <= 1 << 15);
const _: () = assert!(MAILBOX_PARCELS.is_power_of_two());
const _: () = assert!(PREPARE_PACE.0 < PREPARE_PACE.1, "preparation must stay ahead of the log");
const _: () = assert!(PREPARE_BYTES.is_multiple_of(cairn_storage::limits::BLOCK_BYTES));
const _: () = assert!(cairn_storage::limits::SEGMENT_BYTES_MIN.is_multiple_of(PREPARE_BYTES as u64));
const _: () = assert!(TICK_MS <= 100, "core::event::Event::Tick promises 100 ms");
