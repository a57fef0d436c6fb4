//! The figures of one shard, or of several merged: what INFO, LATENCY and the metrics endpoint are made of.
//!
//! A shard makes one about once a second for the driver and one for every INFO. Owned and `Send`.

use crate::machine::ScrubFigures;
use crate::stats::{CommandStats, Counters, FlushStats, Histogram, LatencyMonitor};
use std::collections::BTreeMap;

/// The rows of one database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatabaseFigures {
    pub rows: u64,
    /// Those that have a time to live.
    pub expiring: u64,
    /// Their mean time to live, estimated.
    pub ttl_ms_mean: u64,
    /// Effects of the log that are not in the trees yet: the other figures may be off by as many rows.
    pub redo_left: u64,
    /// Rows that were set and wait for their pages: the other figures may be off by as many.
    pub deferred: u64,
}

impl DatabaseFigures {
    fn merge(&mut self, other: &DatabaseFigures) {
        let weight = u128::from(self.expiring) + u128::from(other.expiring);
        let sum = u128::from(self.ttl_ms_mean) * u128::from(self.expiring)
            + u128::from(other.ttl_ms_mean) * u128::from(other.expiring);
        self.ttl_ms_mean = sum.checked_div(weight).unwrap_or(0) as u64;
        self.rows += other.rows;
        self.expiring += other.expiring;
        self.redo_left += other.redo_left;
        self.deferred += other.deferred;
    }
}

/// What is known of the log of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFigures {
    pub state: LogState,
    /// Up to here everything is stable.
    pub durable_lsn: u64,
    /// Up to here records are written, stable or not.
    pub appended_lsn: u64,
    pub flights: u64,
    /// Effects of the log that are not in the trees yet: there are some for a while after a start.
    pub redo_left: u64,
    /// Of these, those that cannot be applied now, because their page is damaged.
    pub redo_blocked: u64,
    /// Prepared segments that wait to be used, the current one not counted.
    pub segments_ready: u64,
    /// Segments up to the current one.
    pub segments: u64,
    /// Since the log was opened.
    pub flushes: u64,
    pub bytes: u64,
    pub records: u64,
}

/// May the shard still write?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogState {
    #[default]
    Open,
    /// The next segment could not be prepared.
    Full { errno: i32 },
    /// A write or sync has failed.
    Failed { errno: i32 },
}

impl LogState {
    /// As metrics and INFO have it.
    pub fn name(self) -> &'static str {
        match self {
            LogState::Open => "open",
            LogState::Full { .. } => "full",
            LogState::Failed { .. } => "failed",
        }
    }

    /// What the system said; 0 for an open log.
    pub fn errno(self) -> i32 {
        match self {
            LogState::Open => 0,
            LogState::Full { errno } | LogState::Failed { errno } => errno,
        }
    }
}

/// Bytes of memory, by what they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryFigures {
    /// Tree pages in memory.
    pub pages: u64,
    /// Large values outside the pages.
    pub extents: u64,
    /// Effects of the log that are not in the trees yet.
    pub redo: u64,
    /// Rows that wait for their pages.
    pub deferred: u64,
    /// Log buffers.
    pub log_buffers: u64,
    /// Query and output buffers of the connections.
    pub client_buffers: u64,
    /// The Lua states, and the texts of scripts.
    pub lua: u64,
    pub scripts: u64,
    /// Scripts that are known, at most; those that have made room for others.
    pub scripts_known: u64,
    pub scripts_evicted: u64,
    /// The Lua states of functions, and the texts of libraries; libraries and functions that are known, at most.
    pub lua_functions: u64,
    pub library_bytes: u64,
    pub libraries: u64,
    pub functions: u64,
    /// The largest sum of pages and extents that was seen.
    pub peak: u64,
    /// Keys and values alone: a part of the pages and extents.
    pub dataset: u64,
    /// What rows were that have changed since a snapshot that is read.
    pub versions: u64,
    /// What is known of where the elements of large lists are.
    pub list_filters: u64,
    /// What pages and extents may take.
    pub bytes_max: u64,
}

impl MemoryFigures {
    /// Bytes of all kinds.
    pub fn total(&self) -> u64 {
        self.pages
            + self.extents
            + self.redo
            + self.deferred
            + self.log_buffers
            + self.client_buffers
            + self.lua
            + self.scripts
            + self.lua_functions
            + self.library_bytes
            + self.versions
            + self.list_filters
    }

    fn merge(&mut self, other: &MemoryFigures) {
        self.pages += other.pages;
        self.extents += other.extents;
        self.redo += other.redo;
        self.deferred += other.deferred;
        self.log_buffers += other.log_buffers;
        self.client_buffers += other.client_buffers;
        self.lua += other.lua;
        self.scripts += other.scripts;
        self.scripts_known = self.scripts_known.max(other.scripts_known);
        self.scripts_evicted += other.scripts_evicted;
        self.lua_functions += other.lua_functions;
        self.library_bytes += other.library_bytes;
        self.versions += other.versions;
        self.list_filters += other.list_filters;
        self.libraries = self.libraries.max(other.libraries);
        self.functions = self.functions.max(other.functions);
        // Shards peak at different times: the sum of their peaks is an upper bound.
        self.peak += other.peak;
        self.dataset += other.dataset;
        self.bytes_max += other.bytes_max;
    }
}

/// The connections of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientFigures {
    pub connected: u64,
    pub blocked: u64,
    /// Those of them whose wait ends by a time.
    pub timed: u64,
    /// Keys of this shard that connections of any core wait for, and those whose removal would end a wait too.
    pub awaited: u64,
    pub awaited_gone: u64,
    /// The largest query buffer and the largest output buffer among them.
    pub input_bytes_max: u64,
    pub output_bytes_max: u64,
    /// Replies that wait until what they observed is stable, and the age of the oldest.
    pub held_replies: u64,
    pub held_us_oldest: u64,
}

impl ClientFigures {
    fn merge(&mut self, other: &ClientFigures) {
        self.connected += other.connected;
        self.blocked += other.blocked;
        self.timed += other.timed;
        self.awaited += other.awaited;
        self.awaited_gone += other.awaited_gone;
        self.input_bytes_max = self.input_bytes_max.max(other.input_bytes_max);
        self.output_bytes_max = self.output_bytes_max.max(other.output_bytes_max);
        self.held_replies += other.held_replies;
        self.held_us_oldest = self.held_us_oldest.max(other.held_us_oldest);
    }
}

/// Publish and subscribe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PubSubFigures {
    /// Connections of this core that have subscribed to something.
    pub clients: u64,
    /// Names that somebody has subscribed to, on any core.
    pub channels: u64,
    pub patterns: u64,
    pub shard_channels: u64,
    /// What was published and waits for the log.
    pub held_bytes: u64,
    /// Client-side caching: connections of this core, the shard's keys and who has each, prefixes that anybody wants.
    pub trackers: u64,
    pub tracked_keys: u64,
    pub tracked_items: u64,
    pub tracked_prefixes: u64,
}

impl PubSubFigures {
    fn merge(&mut self, other: &PubSubFigures) {
        self.clients += other.clients;
        // Each core knows all of them.
        self.channels = self.channels.max(other.channels);
        self.patterns = self.patterns.max(other.patterns);
        self.shard_channels = self.shard_channels.max(other.shard_channels);
        self.held_bytes += other.held_bytes;
        self.trackers += other.trackers;
        self.tracked_keys += other.tracked_keys;
        self.tracked_items += other.tracked_items;
        self.tracked_prefixes = self.tracked_prefixes.max(other.tracked_prefixes);
    }
}

/// The page file of a shard, and the memory before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageFigures {
    /// Pages that exist, and those in memory.
    pub pages: u64,
    pub pages_resident: u64,
    /// Pages that have left memory since the start.
    pub evictions: u64,
    /// Durable ones since the start.
    pub checkpoints: u64,
    pub is_checkpointing: bool,
    /// When the last durable checkpoint began, in seconds of Unix time; 0 if there is none.
    pub saved_unix_s: u64,
    /// Reads of the file since the start, and those that brought something else than was written.
    pub reads: u64,
    pub damaged_reads: u64,
    /// Pages and extents that are known to be damaged now.
    pub damaged: u64,
    /// 1 if the start had to go back to another checkpoint than the newest.
    pub fallbacks: u64,
    pub scrub: ScrubFigures,
    /// Pages written since the start; of these, to make room in memory; and pages copied because they changed while a
    /// checkpoint had yet to write them.
    pub pages_written: u64,
    pub victims_written: u64,
    pub pages_cloned: u64,
    /// Bytes written since the start, maps and superblocks included, and bytes of the file.
    pub bytes_written: u64,
    pub file_bytes: u64,
    /// Of these, free now, and free after a later checkpoint.
    pub free_bytes: u64,
    pub held_bytes: u64,
    /// Rows that were set and wait for their pages now; pages that were brought in for such rows since the start, and the rows.
    pub deferred_rows: u64,
    pub settled_pages: u64,
    pub settled_rows: u64,
    /// Something damaged stands in the way of checkpoints, so that the log grows.
    pub is_checkpoint_barred: bool,
    /// Its last operation failed: no checkpoint succeeds.
    pub has_failed: bool,
}

/// What is told shard by shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardFigures {
    pub shard: u16,
    pub rows: u64,
    pub log: LogFigures,
    pub pages: PageFigures,
    pub memory: MemoryFigures,
    pub clients: ClientFigures,
    pub counters: Counters,
    pub flushes: u64,
    /// Microseconds that 99 of 100 flushes took at most.
    pub flush_us_p99: u64,
    /// Messages to other shards that wait for the turn's end.
    pub outbox_messages: u64,
    pub slowlog_len: u64,
    /// Commands a second on the hottest key, estimated; and keys that are tracked.
    pub hot_key_rate: u64,
    pub hot_keys: u64,
    /// Counters that are split now.
    pub split_counters: u64,
    /// Transactions of this core that read a snapshot.
    pub snapshot_readers: u64,
}

/// The figures of one shard, or of several: [`Snapshot::merge`].
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// In the order of shards.
    pub shards: Vec<ShardFigures>,
    pub counters: Counters,
    pub clients: ClientFigures,
    pub memory: MemoryFigures,
    pub pubsub: PubSubFigures,
    /// By number of the database.
    pub databases: Vec<DatabaseFigures>,
    /// By command id.
    pub commands: Vec<CommandStats>,
    pub errors: BTreeMap<String, u64>,
    pub flushes: FlushStats,
    pub lock_wait_us: Histogram,
    pub turn_ns: Histogram,
    pub monitor: LatencyMonitor,
    pub ops_per_second: u64,
    pub in_bytes_per_second: u64,
    pub out_bytes_per_second: u64,
}

impl Snapshot {
    /// Adds the figures of other shards to these.
    pub fn merge(&mut self, other: &Snapshot) {
        self.shards.extend_from_slice(&other.shards);
        self.shards.sort_by_key(|shard| shard.shard);
        self.counters.add(&other.counters);
        self.clients.merge(&other.clients);
        self.memory.merge(&other.memory);
        self.pubsub.merge(&other.pubsub);
        grow(&mut self.databases, other.databases.len());
        for (mine, theirs) in self.databases.iter_mut().zip(&other.databases) {
            mine.merge(theirs);
        }
        grow(&mut self.commands, other.commands.len());
        for (mine, theirs) in self.commands.iter_mut().zip(&other.commands) {
            mine.merge(theirs);
        }
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
        self.flushes.merge(&other.flushes);
        self.lock_wait_us.merge(&other.lock_wait_us);
        self.turn_ns.merge(&other.turn_ns);
        self.monitor.merge(&other.monitor);
        self.ops_per_second += other.ops_per_second;
        self.in_bytes_per_second += other.in_bytes_per_second;
        self.out_bytes_per_second += other.out_bytes_per_second;
    }

    /// Rows of all databases.
    pub fn rows(&self) -> u64 {
        self.databases.iter().map(|database| database.rows).sum()
    }

    /// The worst state that a shard's log is in.
    pub fn log_state(&self) -> LogState {
        let rank = |state: &LogState| match state {
            LogState::Open => 0,
            LogState::Full { .. } => 1,
            LogState::Failed { .. } => 2,
        };
        self.shards.iter().map(|shard| shard.log.state).max_by_key(rank).unwrap_or_default()
    }
}

fn grow<T: Default>(list: &mut Vec<T>, len: usize) {
    if list.len() < len {
        list.resize_with(len, T::default);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(shard: u16, rows: u64, ttl_ms_mean: u64) -> Snapshot {
        let mut latency = Histogram::default();
        latency.record(1000 * (u64::from(shard) + 1));
        Snapshot {
            shards: vec![ShardFigures { shard, rows, ..ShardFigures::default() }],
            databases: vec![DatabaseFigures { rows, expiring: rows, ttl_ms_mean, redo_left: 3, deferred: 1 }],
            commands: vec![CommandStats { calls: 1, latency: Some(Box::new(latency)), ..CommandStats::default() }],
            errors: [("ERR".to_owned(), 2)].into(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn shards_add_up_in_order() {
        let mut all = Snapshot::default();
        all.merge(&one(1, 30, 100));
        all.merge(&one(0, 10, 500));
        assert_eq!(all.shards.iter().map(|shard| shard.shard).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(
            all.databases,
            [DatabaseFigures { rows: 40, expiring: 40, ttl_ms_mean: 200, redo_left: 6, deferred: 2 }]
        );
        assert_eq!((all.commands[0].calls, all.commands[0].latency.as_ref().unwrap().count()), (2, 2));
        assert_eq!((all.errors["ERR"], all.rows()), (4, 40));
    }

    #[test]
    fn the_worst_log_state_shows() {
        let mut all = one(0, 1, 1);
        assert_eq!(all.log_state(), LogState::Open);
        for (shard, state) in
            [(1, LogState::Full { errno: 28 }), (2, LogState::Failed { errno: 5 }), (3, LogState::Open)]
        {
            let mut other = one(shard, 1, 1);
            other.shards[0].log.state = state;
            all.merge(&other);
        }
        assert_eq!((all.log_state().name(), all.log_state().errno()), ("failed", 5));
    }
}
