//! Every bound of this crate, with Redis's name where Redis has one.

/// Bytes of the commands between MULTI and EXEC, if `client-query-buffer-limit` allows more.
pub const MULTI_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Empty queues of commands that a shard keeps to be used again, and bytes of one.
pub const SPARE_QUEUES_MAX: usize = 256;
pub const SPARE_QUEUE_BYTES_MAX: usize = 4096;

/// Keys that one connection watches.
pub const WATCHED_KEYS_MAX: usize = 64 * 1024;

/// Commands between BEGIN and COMMIT, the same where it only reads (so many that they can be numbered), and savepoints.
pub const TXN_STATEMENTS_MAX: u32 = 64 * 1024;
pub const SNAPSHOT_STATEMENTS_MAX: u32 = u32::MAX - 2 * TXN_STATEMENTS_MAX;
pub const SAVEPOINTS_MAX: usize = 1024;

/// Bytes of rows, and of one row's value, that a shard remembers as a transaction of several requests has left them.
pub const AFTERS_BYTES_MAX: usize = 4 * 1024 * 1024;
pub const AFTER_ROW_BYTES_MAX: usize = 64 * 1024;

/// Transactions over several shards that a core has lock shard by shard after one that has asked all shards at once met others.
pub const TRIES_SKIPPED: u32 = 32;

/// What a row that has changed takes beside its key and value, as long as a snapshot may ask for what it was, and what an element takes besides for its
/// place in the order; and how many such rows a change, and a turn, lets go of that nobody asks for any more.
pub const VERSION_BYTES: u64 = 128;
pub const ELEMENT_VERSION_BYTES: u64 = 64;
pub const VERSIONS_FREED_PER_CHANGE: usize = 4;
pub const VERSIONS_FREED_PER_TURN: usize = 1024;

/// Shards that a look for transactions which wait for each other goes through, transactions that it meets at one of them,
/// waiting ones that look again at a tick, and what all looks follow at a shard between two ticks. What is beyond that ends with `txn-lock-timeout`.
pub const PROBE_HOPS_MAX: u32 = 64;
pub const PROBE_NODES_MAX: usize = 256;
pub const CHASED_PER_TICK_MAX: usize = 16;
pub const PROBES_MAX: usize = 4096;

/// Connections that a shard remembers to have read one key, and prefixes that one connection wants to be told of: client-side caching.
pub const TRACKERS_PER_KEY_MAX: usize = 64 * 1024;
pub const TRACKING_PREFIXES_MAX: usize = 4096;

/// Where connections of RESP2 are told what is no longer true of others' caches. Redis's name.
pub const TRACKING_CHANNEL: &[u8] = b"__redis__:invalidate";

/// Channels and patterns that one connection has subscribed to.
pub const SUBSCRIPTIONS_MAX: usize = 1024 * 1024;

/// Bytes that one command, transaction or script publishes, one message more; and bytes of all that waits for a shard's log until it is
/// told, above which those who publish wait.
pub const ANNOUNCED_BYTES_MAX: usize = 64 * 1024 * 1024;
pub const ANNOUNCEMENTS_HELD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Keys that DEBUG DIGEST looks for at a time.
pub const DIGEST_KEYS_MAX: usize = 256;

/// Arguments of one command (Redis: 1024 * 1024).
pub const ARGS_MAX: usize = 1024 * 1024;

/// The longest inline request, and the longest line that announces an array or a bulk string.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;

/// `proto-max-bulk-len`: its default, and the most it can be set to here (a row's limit).
pub const BULK_BYTES_MAX: usize = 512 * 1024 * 1024;

/// A query buffer larger than this is given back when it is empty, and a request longer than this has a buffer of its own: of
/// its length, and one part of so many of that, at most so many bytes, for what may follow its longest argument.
pub const QUERY_KEEP_BYTES: usize = 64 * 1024;
pub const QUERY_SLACK_SHARE: usize = 16;
pub const QUERY_SLACK_BYTES_MAX: usize = 32 * 1024;

/// A value of at least so many bytes becomes a row's in the buffer that it was received in, and is sent from where it is.
pub const LONG_VALUE_BYTES_MIN: usize = 64 * 1024;

/// Before authentication: arguments, bytes of one, bytes of a whole request, unread reply bytes, seconds.
pub const UNAUTHENTICATED_ARGS_MAX: usize = 10;
pub const UNAUTHENTICATED_BULK_BYTES_MAX: usize = 16 * 1024;
pub const UNAUTHENTICATED_QUERY_BYTES_MAX: usize = 64 * 1024;
pub const UNAUTHENTICATED_OUTPUT_BYTES_MAX: usize = 1024;
pub const UNAUTHENTICATED_SECONDS_MAX: u64 = 10;

/// Reply bytes of one connection that are not yet handed to a send, above which its commands wait, and then its socket is
/// not read.
pub const OUTPUT_PAUSE_BYTES: usize = 1024 * 1024;

/// Commands of one connection that wait for other shards, above which its next ones wait.
pub const HOLES_MAX: usize = 4096;

/// Bytes of these commands, above which its next ones wait. One command may exceed it by its own size.
pub const ASKED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Messages to one other shard that were not yet taken over by the mailbox, above which connections wait.
pub const OUTBOX_MESSAGES_MAX: usize = 64 * 1024;

/// Rows that active expiry removes in one turn.
pub const EXPIRE_ROWS_PER_TURN_MAX: usize = 256;

/// Effects of the log that a turn applies after a start: about a tenth of a millisecond.
pub const REDO_EFFECTS_PER_TURN: usize = 128;

/// The same while clients are waiting, and how many effects ahead it has pages read then: a turn's part is about a tenth of
/// what the clients' part takes, and its reads are a few beside theirs.
pub const REDO_EFFECTS_PER_BUSY_TURN: usize = 16;
pub const REDO_AHEAD_BUSY: usize = 64;

/// How long redo leaves alone what it could not apply.
pub const REDO_RETRY_SECONDS: u64 = 10;

/// A checkpoint is made when the log has grown by so much, or so much time has passed, since the last one began: it bounds
/// what a start has to replay.
pub const CHECKPOINT_LOG_BYTES: u64 = 256 * 1024 * 1024;
pub const CHECKPOINT_SECONDS: u64 = 60;

/// Where a shard's memory is small it is less: a start keeps in memory what the log has behind the checkpoint, up to half
/// as much again, and what rows that wait for their pages need of it. With data beyond memory each page is written about once
/// for each change of it anyway.
pub fn checkpoint_log_bytes(memory_bytes: u64) -> u64 {
    (memory_bytes / 8).clamp(CHECKPOINT_LOG_BYTES_MIN, CHECKPOINT_LOG_BYTES)
}

pub const CHECKPOINT_LOG_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// What the checkpoint at the end of a server may take; or half of `shutdown-timeout`, if that is less.
pub const SHUTDOWN_CHECKPOINT_SECONDS: u64 = 4;

/// What a checkpoint goes on by in one turn at most: copying and checksumming that much takes some tens of microseconds.
pub const CHECKPOINT_TURN_BYTES_MAX: u64 = 128 * 1024;

/// The scrub's reads under way, its steps in one turn, and when its first pass begins at the latest. A start has other things
/// to do at first.
pub const SCRUB_READS_MAX: usize = 4;
pub const SCRUB_STEPS_PER_TURN: usize = 16;
pub const SCRUB_FIRST_SECONDS: u64 = 600;

/// What the commands of one connection may take of a turn, if it has sent many: then others have their turn. One command may exceed it.
pub const TURN_SHARE_NS: u64 = 1_000_000;

/// Arguments of commands that follow each other and are done together, name and key included: what goes beyond is done by itself.
pub const JOINED_ARGS_MAX: usize = 512;

/// Bytes of the requests that are done together, and of the elements that they take: where there would be more they are done one by one.
pub const JOINED_BYTES_MAX: usize = 64 * 1024;

/// The most that `slice-items` may be.
pub const SLICE_ITEMS_MAX: i64 = 1 << 20;

/// An element that is put, in items of a slice: what is looked at takes so much less time.
pub const PUT_ITEMS: u64 = 8;

/// Elements of a collection that are put anew for each one that goes, where many go and many stay: where more would be, those that go do so at once.
pub const KEPT_PER_GONE_MAX: u64 = 16;

/// Bytes of a slice of a long reply, above which the next one follows; `slice-items` bounds its items. One item may exceed it by its own size.
pub const SLICE_BYTES: usize = 256 * 1024;

/// A slice of at least so many bytes is sent as it is, and not copied behind the others.
pub const SLICE_APART_BYTES: usize = 16 * 1024;

/// Turns that a long reply waits for its rows, which others hold one after the other. Then it is shown at once.
pub const SLICE_TRIES_MAX: u32 = 10_000;

/// Rows that RANDOMKEY looks at in search of a live one, before it looks at all.
pub const RANDOM_TRIES_MAX: usize = 100;

/// Damaged pages and extents of a shard that are remembered one by one.
pub const DAMAGES_MAX: usize = 1000;

/// What DEBUG SLEEP stops a core for at most.
pub const SLEEP_SECONDS_MAX: f64 = 3600.0;

/// The most records and bytes of a flush that its histograms tell from more.
pub const FLUSH_RECORDS_TOLD_MAX: u64 = 1 << 20;
pub const FLUSH_BYTES_TOLD_MAX: u64 = 1 << 32;

/// What a core shows in one turn to those who monitor; the rest is counted.
pub const MONITOR_TURN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bits of the longest password that ACL GENPASS makes.
pub const GENPASS_BITS_MAX: i64 = 4096;

/// An entry of the slow log: arguments, bytes of one (Redis: SLOWLOG_ENTRY_MAX_ARGC, SLOWLOG_ENTRY_MAX_STRING).
pub const SLOWLOG_ARGS_MAX: usize = 32;
pub const SLOWLOG_ARG_BYTES_MAX: usize = 128;

/// Keys of a shard that are tracked for being hot, and bytes of each that are kept.
pub const HOT_KEYS_MAX: usize = 128;
pub const HOT_KEY_BYTES_MAX: usize = 256;

/// Counters of a shard that are split at a time.
pub const SPLITS_MAX: usize = 64;

/// Kinds of errors that INFO errorstats counts one by one, and bytes of a kind's name. Scripts could invent any number.
pub const ERROR_KINDS_MAX: usize = 128;
pub const ERROR_KIND_BYTES_MAX: usize = 64;

/// The longest time that a latency histogram tells from longer ones, in nanoseconds (68 s).
pub const LATENCY_NS_MAX: u64 = 1 << 36;

/// Samples that the latency monitor keeps of one event (Redis: LATENCY_TS_LEN).
pub const LATENCY_SAMPLES_MAX: usize = 160;

/// What the Lua state of a shard takes at least, whatever `script-memory` says, and what a script takes of time at most, whatever
/// `busy-reply-threshold` says. How often a script's time is looked at.
pub const SCRIPT_BYTES_MIN: usize = 1024 * 1024;
pub const SCRIPT_MS_MAX: u64 = 60_000;
pub const SCRIPT_HOOK_INSTRUCTIONS: u32 = 10_000;

/// How often a program or script over several shards begins again because a row that it has seen alive is past its time at its end. Then it ends as it
/// is: somebody sets that row anew all the time, with less to live than it takes.
pub const LATES_MAX: u32 = 8;

/// How often a script over several shards begins again because it and others have waited for each other.
pub const SCRIPT_RESTARTS_MAX: u32 = 1000;

/// Scripts that only EVAL has brought and that are kept (Redis 7.4: LRU_LIST_LENGTH), and bytes of all that are.
pub const SCRIPTS_EVALED_MAX: usize = 500;
pub const SCRIPT_CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of the texts of all libraries of functions, and how long one may take to register its functions (Redis: LOAD_TIMEOUT_MS).
pub const FUNCTIONS_BYTES_MAX: usize = 64 * 1024 * 1024;
pub const FUNCTION_LOAD_MS_MAX: u64 = 500;

/// Bytes of an idempotency key, how long its record may stay (30 days), and bytes of a reply that is kept.
pub const IDEMPOTENT_KEY_BYTES_MAX: usize = 1024;
pub const IDEMPOTENT_MS_MAX: i64 = 30 * 24 * 3600 * 1000;
pub const IDEMPOTENT_REPLY_BYTES_MAX: usize = 1024 * 1024;

/// How deep arrays in a script's reply may be nested, and JSON and MessagePack values. The stack of a worker has room for it.
pub const SCRIPT_REPLY_DEPTH_MAX: usize = 1000;
pub const SCRIPT_NESTING_MAX: usize = 1000;

/// Values that a function gives a script at once: Lua's stack has so much room (LUAI_MAXCSTACK).
pub const SCRIPT_VALUES_MAX: usize = 7000;

/// Lines that one script writes to the server's log.
pub const SCRIPT_LOG_LINES_MAX: usize = 100;

/// What `math.random` divides by (Redis: REDIS_LRAND48_MAX).
pub const SCRIPT_RANDOM_MAX: u64 = i32::MAX as u64;

/// Databases (SELECT 0 to 15).
pub const DATABASES_MAX: u8 = 16;

/// The longest packed collection, in bytes of its row's value: what stands in a leaf beside others, and what one change of it writes. Beyond it
/// its elements are rows of their own.
pub const PACKED_BYTES_MAX: usize = 1024;

/// The longest label of an element of a list. Where one would be longer, at least so many neighbours get new ones of at most so many bytes.
pub const LABEL_BYTES_MAX: usize = 32;
pub const LABEL_BYTES_NEW_MAX: usize = 20;
pub const RELABELED_MIN: u64 = 64;

/// Slices of elements that a list has at least if what stands in its stretches is remembered: `slice-items` at the most in each. And the part of the shard's memory
/// for pages, so many times less, that all of this may take beside that.
pub const FILTERED_SLICES_MIN: u64 = 4;
pub const FILTERS_PART: u64 = 16;

/// Entries of a stream that are removed at once because it is trimmed; what is beyond that is hidden, and goes with later changes.
pub const TRIM_ROWS_MAX: usize = 64;

/// Entries that an approximate trim removes at most if it is not told (Redis: in `streamParseAddOrTrimArgsOrReply`); what XAUTOCLAIM takes as COUNT at
/// most, and pending entries that it looks at for each.
pub const STREAM_LIMIT_MAX: u64 = 1_000_000;
pub const AUTOCLAIM_COUNT_MAX: i64 = i64::MAX / 16;
pub const AUTOCLAIM_TRIES: i64 = 10;

/// Members that one command draws at most where a member may be drawn twice: a reply of that many is held in memory.
pub const SAMPLE_COUNT_MAX: i64 = 16 * 1024 * 1024;

/// What is read of a value of an RDB file at once, one element more. Entries, and bytes of fields, in a node of a stream that is written (Redis:
/// `stream-node-max-entries`, `stream-node-max-bytes`).
pub const RDB_STEP_BYTES: usize = 64 * 1024;
pub const RDB_NODE_ENTRIES_MAX: u64 = 100;
pub const RDB_NODE_BYTES_MAX: usize = 4096;

/// Elements that RESTORE makes at once: all of them are in memory beside the payload.
pub const RESTORE_ELEMENTS_MAX: u64 = 4 * 1024 * 1024;

/// The latest deadline of a field, in Unix milliseconds: what Redis takes.
pub const FIELD_DEADLINE_MS_MAX: u64 = 0xffff_ffff_fffe >> 2;

/// The database behind them, for the server's own rows.
pub const HIDDEN_DB: u8 = DATABASES_MAX;

/// Shards of one server.
pub const SHARDS_MAX: u16 = 1024;

const _: () = assert!(LABEL_BYTES_NEW_MAX < LABEL_BYTES_MAX);
const _: () = assert!(HIDDEN_DB as usize + 1 == cairn_storage::limits::DATABASES);
const _: () = assert!(UNAUTHENTICATED_BULK_BYTES_MAX <= UNAUTHENTICATED_QUERY_BYTES_MAX);
const _: () = assert!(LONG_VALUE_BYTES_MIN > cairn_storage::limits::PAGE_BYTES, "it stands outside of the leaves");
const _: () = assert!(BULK_BYTES_MAX <= cairn_storage::limits::VALUE_BYTES_MAX);
