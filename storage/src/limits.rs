//! Every bound of this crate, related to the others at compile time.

use crate::pagefile::map::MAP_WORDS;

/// The unit of every log write: flushes start and end on it. What `O_DIRECT` asks for on every common device.
pub const BLOCK_BYTES: usize = 4096;

/// The longest flush. Beyond 64 KiB the project's devices gain nothing in throughput, only in latency.
pub const FLUSH_BYTES_MAX: usize = 256 * 1024;

/// Flush buffers that are allocated (and registered with the ring) when a log opens. More are made when a
/// record, or a turn, is larger than these, and freed once they are written.
pub const FLUSH_BUFFERS: usize = 16;

/// Flushes in flight at once, and how many there are when the configuration says nothing.
pub const FLIGHTS_MAX: usize = 8;
pub const FLIGHTS_DEFAULT: usize = 4;

/// Beside how many flushes none begins that does not have to because its buffer is full; and the share (one of so many) of the
/// records that wait which it carries at least.
pub const FLUSHES_BESIDE_MAX: usize = 2;
pub const FLUSH_BESIDE_SHARE: usize = 3;

/// Each flush forgets one part of so many of the most records that have waited at once: they went away with their clients.
pub const CROWD_FADE_SHARE: usize = 8;

/// The longest archive of a record: key and value at their limits, and the fixed part.
pub const RECORD_BYTES_MAX: usize = 2 * VALUE_BYTES_MAX + 4096;

/// What recovery asks for in one read, and what it holds of the log at most besides one record.
pub const RECOVERY_READ_BYTES: usize = 1024 * 1024;
pub const RECOVERY_WINDOW_BYTES_MAX: usize = RECOVERY_READ_BYTES + FLUSH_BYTES_MAX;

/// The same where a log is verified while the shard serves: as much as delays no flush by much.
pub const SCRUB_LOG_READ_BYTES: usize = 64 * 1024;

/// Effects of the log that a start keeps in memory until they are applied: one part of so many of a shard's memory. What is
/// beyond that is applied before the start goes on.
pub const REDO_SHARE: u64 = 2;

/// The pieces of memory that they are kept in, and where memory is small, one part of so many of what they may have. A
/// longer effect has one of its own.
pub const REDO_CHUNK_BYTES: u64 = 1024 * 1024;
pub const REDO_CHUNK_SHARE: u64 = 32;

/// Page reads that redo has under way at most, and where memory is small, one part of so many of its pages.
pub const REDO_READS_MAX: usize = 64;
pub const REDO_READS_SHARE: usize = 16;

/// Effects that redo looks ahead for pages to read. Each may need another page, so where memory is small it is one part
/// of so many of its pages.
pub const REDO_AHEAD_MAX: usize = 4096;
pub const REDO_AHEAD_SHARE: usize = 8;

/// Effects of one row that are applied at once when somebody looks at it.
pub const REDO_ROW_EFFECTS_MAX: usize = 4096;

/// Rows that wait for their leaves: so many bytes of memory, and of records in the log that are needed for them, which a start keeps.
pub const DEFERRED_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The same where memory is small: so many parts of [`DEFERRED_PARTS`] of it, fewer while more pages are read for those who look
/// at rows than for rows that wait.
pub const DEFERRED_PARTS: u64 = 16;
pub const DEFERRED_PARTS_MIN: u64 = 2;
pub const DEFERRED_PARTS_MAX: u64 = 6;

/// Bytes of rows that wait for one leaf: a leaf with more than that is read.
pub const DEFERRED_LEAF_BYTES_MAX: usize = PAGE_BYTES;

/// Leaves that are being read because rows wait for them, and where memory is small, one part of so many of its pages.
pub const DEFERRED_READS_MAX: usize = 48;
pub const DEFERRED_READS_SHARE: usize = 32;

/// A place in the log from which a recovery can begin is noted once in so many bytes of records; where none can be, for
/// transactions are undecided, rows wait no further than so many bytes behind the last one.
pub const DEFERRED_START_BYTES: u64 = 256 * 1024;
pub const DEFERRED_STARTS_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Records of effects that cannot be applied, which a checkpoint writes to the log once more: with more than so many bytes
/// of them none is made.
pub const CARRIED_BYTES_MAX: usize = LOG_STAGED_BYTES_MAX;

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

/// Levels of a tree, leaves included. A branch holds at least 15 separators of the greatest length, so that a tree
/// would need more rows than there are pages to grow beyond.
pub const LEVELS_MAX: usize = 12;

/// Neighbouring pages are joined if they are then at most this full: what they get right after must not undo it.
pub const NEIGHBOUR_SPACE_PERCENT_MAX: usize = 90;

/// Neighbouring leaves share their rows if each has then room for so many more, within these bounds.
pub const SHARED_ROOM_ROWS: usize = 9;
pub const SHARED_ROOM_BYTES_MIN: usize = PAGE_BYTES / 30;
pub const SHARED_ROOM_BYTES_MAX: usize = PAGE_BYTES / 10;

/// Keys that one call of `Tree::touch` serves. Their lines fit into a first-level cache.
pub const TOUCH_KEYS_MAX: usize = 64;

/// Places that the pool remembers from touched batches; a power of two, and more than a batch, so that few collide.
pub const MEMOS: usize = 4 * TOUCH_KEYS_MAX;

/// Pages of a shard, resident or not, and extents: as many as the directories of their maps lead to. With fewer than so many
/// numbers left, writes are refused that may need further ones: what one turn takes, and what takes a change back, still
/// finds some.
pub const PAGES_MAX: usize = DIRECTORY_PAGES_WORDS * MAP_WORDS * MAP_WORDS;
pub const EXTENTS_MAX: usize = (DIRECTORY_WORDS_MAX - DIRECTORY_PAGES_WORDS) * MAP_WORDS * MAP_WORDS / 2;
pub const NUMBERS_SPARE: usize = 64 * 1024;

/// Sites of a page file: what a word can name, and one less, so that more can be wanted.
pub const SITES_MAX: u32 = u32::MAX - 1;

/// Frames are allocated in chunks, each twice as large as the one before, up to 64 MiB.
pub const CHUNK_FRAMES_FIRST: usize = 2 * 1024 * 1024 / PAGE_BYTES;
pub const CHUNK_FRAMES_MAX: usize = 64 * 1024 * 1024 / PAGE_BYTES;

/// The longest write of the page file.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Pages in one output buffer.
pub const OUTPUT_PAGES: usize = OUTPUT_BYTES_MAX / PAGE_BYTES;

/// Output buffers that are kept for their next use: 4 MiB, and while checkpoints run up to 64 MiB.
pub const OUTPUTS_SPARE: usize = 16;
pub const OUTPUTS_SPARE_SAVING: usize = 256;

/// Output buffers above which no further victim is written: memory for images that wait for the disk.
pub const OUTPUTS_MAX: usize = 64;

/// The same bound where memory is small: one part of so many of it, and at least so many buffers.
pub const OUTPUTS_SHARE: usize = 16;
pub const OUTPUTS_MIN: usize = 8;

/// Output buffers above which writers wait, as one part of so many of memory: a running checkpoint copies what is about to
/// change. At least so many times the bound for victims.
pub const CLONES_SHARE: usize = 8;
pub const CLONES_OUTPUTS_MIN: usize = 4;

/// Writes of the page file in flight at once, in pages and in number: few, so that the log's flushes do not queue behind
/// them, and more where free space is in short runs.
pub const OUTPUT_FLIGHT_PAGES_MAX: usize = 4 * OUTPUT_PAGES;
pub const OUTPUT_FLIGHTS_MAX: usize = 32;

/// Reads of pages that nobody waits for yet: as many in flight as keep a fast device busy, and at most one part of so many
/// of all frames, so that what was read is still here when it is needed.
pub const READS_AHEAD_MAX: usize = 256;
pub const READS_AHEAD_SHARE: usize = 32;

/// A checkpoint is made when so many victims were written since the last one began: one part of so many of what is live in
/// the page file, and at least so many bytes. What they replaced is still held: it bounds the file.
pub const CHECKPOINT_FILE_SHARE: u32 = 4;
pub const CHECKPOINT_FILE_BYTES_MIN: usize = 32 * 1024 * 1024;

/// Bytes that the page file grows by at least, when it has to.
pub const GROW_BYTES: u64 = 16 * 1024 * 1024;

/// Reads of maps that opening a page file has under way: as many as a disk serves well at once.
pub const OPEN_READS_MAX: usize = 64;

/// Words of the directories that a superblock holds, and how many of them are for pages; the others are for extents, which have
/// two words each. One stands for a page of words of map pages.
pub const DIRECTORY_WORDS_MAX: usize = 740;
pub const DIRECTORY_PAGES_WORDS: usize = 400;

/// Reads that a check of a page file has under way, leaves that it gathers before it reads them in the order of the file,
/// and findings that it lists; and of a log, damage behind the first one.
pub const CHECK_READS_MAX: usize = 64;
pub const CHECK_LEAVES_MAX: usize = 16 * 1024;
pub const CHECK_FINDINGS_MAX: usize = 1000;
pub const LOG_FAULTS_MAX: usize = 100;

/// The longest value of a row, and the longest key: Redis's own limit for a string.
pub const VALUE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Databases in each shard: those of clients, and behind them one for what the layer above keeps beside them.
pub const DATABASES: usize = 17;

/// Trees of rows in each shard: those of the databases, and behind them, in the same order, those of the elements of their
/// collections.
pub const TREES: usize = 2 * DATABASES;

/// Numbers of collections that a shard gives away before there are no more: what an element's head has room for. A number is never
/// given twice.
pub const COLLECTIONS_MAX: u64 = 1 << (u64::BITS - ORDER_HEAD_BITS);

/// Bits of an element's head that are the beginning of its order; those in front are the number of its collection.
pub const ORDER_HEAD_BITS: u32 = 24;

/// Elements of collections that are gone which one piece of background work removes.
pub const RECLAIMED_PER_TURN: u64 = 512;

/// Collections whose number of elements is known without a look.
pub const COUNTS_KNOWN: usize = 256;

const _: () = assert!(DEFERRED_PARTS_MIN <= DEFERRED_PARTS_MAX && DEFERRED_PARTS_MAX < DEFERRED_PARTS);
const _: () = assert!(FLUSH_BYTES_MAX.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(FLUSH_BUFFERS > FLIGHTS_MAX);
const _: () = assert!(FLIGHTS_DEFAULT <= FLIGHTS_MAX);
const _: () = assert!(RECORD_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(RECOVERY_READ_BYTES.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(SCRUB_LOG_READ_BYTES.is_multiple_of(BLOCK_BYTES) && SCRUB_LOG_READ_BYTES <= RECOVERY_READ_BYTES);
const _: () = assert!(SEGMENT_BYTES_MIN >= 4 * FLUSH_BYTES_MAX as u64);
const _: () = assert!(SEGMENT_BYTES >= SEGMENT_BYTES_MIN);
const _: () = assert!(KEY_INLINE_BYTES_MAX * 2 <= ROW_INLINE_BYTES_MAX);
const _: () = assert!(ROW_INLINE_BYTES_MAX <= PAGE_BYTES / 4);
const _: () = assert!(MEMOS.is_power_of_two());
const _: () = assert!(NEIGHBOUR_SPACE_PERCENT_MAX < 100);
const _: () = assert!(OUTPUT_BYTES_MAX.is_multiple_of(PAGE_BYTES));
const _: () = assert!(OUTPUTS_MIN * OUTPUT_PAGES > OUTPUT_FLIGHT_PAGES_MAX && OUTPUTS_MIN <= OUTPUTS_MAX);
const _: () = assert!(OUTPUT_FLIGHT_PAGES_MAX >= OUTPUT_PAGES && CLONES_OUTPUTS_MIN > 1);
const _: () = assert!(GROW_BYTES.is_multiple_of(OUTPUT_BYTES_MAX as u64));
const _: () = assert!(8 * DIRECTORY_WORDS_MAX + 2048 <= PAGE_BYTES, "a superblock fits into a page");
const _: () = assert!(PAGES_MAX < u32::MAX as usize, "page ids have 32 bits");
const _: () = assert!(2 * EXTENTS_MAX < u32::MAX as usize, "numbers of words have 32 bits");
const _: () = assert!(NUMBERS_SPARE < PAGES_MAX / 1000 && NUMBERS_SPARE < EXTENTS_MAX / 1000);
