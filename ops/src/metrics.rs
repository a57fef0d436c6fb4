//! What `/metrics` shows: counters and gauges through the `metrics` facade, histograms straight from the shards' own.
//!
//! Shards send a snapshot about once a second; the last one of each is kept, and a scrape turns them into text, off
//! the data cores. Histograms do not pass through the recorder, which keeps every single sample with its time: at a
//! million commands a second that would cost a tenth of a core. The shards' histograms have the counts already.
//!
//! Label values are bounded: shards and databases by configuration, commands by the command table, error codes by
//! `ERROR_KINDS_MAX`.

mod pages;

use crate::process::Process;
use cairn_core::command::table;
use cairn_core::snapshot::{LogState, ShardFigures, Snapshot};
use cairn_core::stats::Histogram;
use cairn_net::stats::WorkerStats;
use metrics::{Counter, Label, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const GAUGES: &[(&str, &str)] = &[
    ("cairn_up", "1 while the server serves clients."),
    ("cairn_build_info", "1, with the version of the server."),
    ("cairn_connected_clients", "Connections now."),
    ("cairn_blocked_clients", "Connections that wait in a blocking command now."),
    ("cairn_held_replies", "Replies that wait until what they observed is on stable storage."),
    ("cairn_held_reply_oldest_seconds", "Age of the oldest held reply."),
    ("cairn_log_state", "1 for the state that the shard's log is in: open, full (no space) or failed."),
    ("cairn_log_flights", "Log writes in flight now."),
    ("cairn_log_segments", "Log segments that hold records."),
    (
        "cairn_redo_pending_effects",
        "Effects of the log that a start has left to be applied while clients are served; 0 when redo is over.",
    ),
    (
        "cairn_redo_blocked_effects",
        "Of these, those that cannot be applied because their page is damaged: their rows are refused, and checkpoints carry them.",
    ),
    ("cairn_log_segments_ready", "Log segments that are prepared and wait to be used."),
    ("cairn_rows", "Keys in all databases."),
    ("cairn_database_keys", "Keys of a database."),
    (
        "cairn_database_redo_pending_effects",
        "Effects of the log that a start has left to be applied: the counts of keys may be off by as many.",
    ),
    ("cairn_database_expiring_keys", "Keys of a database that have a time to live."),
    (
        "cairn_memory_bytes",
        "Memory by what it holds: pages, extents, redo, deferred, log_buffers, client_buffers, versions, list_filters.",
    ),
    ("cairn_outbox_messages", "Messages to other shards that their mailboxes have not taken yet."),
    ("cairn_slowlog_entries", "Entries of the slow log."),
    ("cairn_hot_key_rate", "Commands a second on the hottest key of a shard, estimated (HOTKEYS says which it is)."),
    ("cairn_hot_keys", "Keys that are tracked for being hot."),
    ("cairn_split_counters", "Counters that are split over the shards now (HOT key says more of one)."),
    ("cairn_pubsub_clients", "Connections that have subscribed to something."),
    ("cairn_pubsub_subscribed", "Channels, patterns and sharded channels that somebody has subscribed to."),
    ("cairn_pubsub_held_bytes", "What was published and waits until the changes before it are on stable storage."),
    ("cairn_snapshots", "Transactions that read a snapshot now."),
    ("cairn_parcels_waiting", "Parcels for other workers that wait for room in a mailbox."),
    ("cairn_data_free_bytes", "Bytes that this process may still use on the file system of the data directory."),
    (
        "cairn_registered_buffers",
        "1 if log buffers are registered with the kernel, 0 if RLIMIT_MEMLOCK is too low for it.",
    ),
];

const COUNTERS: &[(&str, &str)] = &[
    ("cairn_commands_total", "Commands that were run."),
    ("cairn_commands_failed_total", "Commands that ran and answered an error."),
    ("cairn_commands_rejected_total", "Commands that were refused before they ran."),
    ("cairn_connections_received_total", "Connections that were accepted."),
    ("cairn_connections_taken_total", "Connections that came from another worker, whose core was busier."),
    ("cairn_connections_rejected_total", "Connections that were turned away because of maxclients."),
    ("cairn_clients_closed_total", "Connections that were cut off, by the limit that they exceeded."),
    ("cairn_network_received_bytes_total", "Bytes read from clients."),
    ("cairn_network_sent_bytes_total", "Bytes sent to clients."),
    ("cairn_keyspace_hits_total", "Reads that found their key."),
    ("cairn_keyspace_misses_total", "Reads that did not find their key."),
    ("cairn_expired_keys_total", "Keys that expired."),
    ("cairn_expired_fields_total", "Fields of hashes that expired."),
    ("cairn_errors_total", "Error replies by their first word."),
    ("cairn_transactions_begun_total", "Transactions that EXEC ran or BEGIN began."),
    ("cairn_transactions_committed_total", "Of these, those that happened."),
    ("cairn_transactions_rolled_back_total", "Of these, those that did not."),
    (
        "cairn_transaction_conflicts_total",
        "Transactions that others stood in the way of: a watched key had changed, or a lock was not had in time.",
    ),
    ("cairn_transaction_deadlocks_total", "Transactions that were rolled back to end a deadlock."),
    (
        "cairn_snapshots_too_old_total",
        "Transactions that were rolled back because their snapshot was given up (txn-snapshot-memory).",
    ),
    ("cairn_counter_splits_total", "Times that a hot counter was split over the shards."),
    (
        "cairn_counter_merges_total",
        "Times that a split counter was made whole because somebody wanted more than the sum.",
    ),
    ("cairn_counter_sums_total", "Times that all parts of a split counter were looked at for its sum."),
    ("cairn_counter_local_additions_total", "Blind additions to another shard's counter that this shard did itself."),
    ("cairn_pubsub_published_total", "Messages that were published."),
    ("cairn_pubsub_pushed_total", "Messages that were pushed to subscribers."),
    ("cairn_auth_denied_total", "Authentications that were denied."),
    ("cairn_commands_forwarded_total", "Commands that were sent to the shard that owns their key."),
    ("cairn_commands_foreign_total", "Commands that were run for clients of other shards."),
    (
        "cairn_commands_joined_total",
        "Commands that were done together with others on the same key that a client had sent behind each other.",
    ),
    ("cairn_commands_sliced_total", "Commands whose replies were shown in slices, over several turns."),
    (
        "cairn_collections_begun_total",
        "Collections that transactions over several shards have begun to store piece by piece.",
    ),
    ("cairn_turns_total", "Turns of the workers, with work or without."),
    (
        "cairn_log_appended_bytes_total",
        "Bytes of the log up to which records were appended, since the directory was made.",
    ),
    ("cairn_log_durable_bytes_total", "Bytes of the log up to which records are on stable storage, likewise."),
    ("cairn_ring_enters_total", "System calls of the rings."),
    ("cairn_ring_completions_total", "Completions of the rings."),
    ("cairn_ring_completion_overflows_total", "Completions that found the completion queue full."),
    ("cairn_worker_parks_total", "Times that a worker slept."),
    ("cairn_receives_starved_total", "Receives that found no buffer free."),
    ("cairn_sends_short_total", "Sends that the kernel took only in part."),
    ("cairn_accept_failures_total", "Failures to accept a connection (descriptors, memory)."),
    ("cairn_log_writes_total", "Log writes."),
    ("cairn_log_written_bytes_total", "Bytes of log writes."),
    ("cairn_log_segments_prepared_total", "Log segments that were prepared."),
    ("cairn_reports_dropped_total", "Notices and figures that were dropped because the process did not take them."),
];

const NS: f64 = 1e-9;
const US: f64 = 1e-6;

/// Bounds of durations, in nanoseconds: 1 us to 1 s.
const DURATION_NS: &[u64] = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
];

/// Bounds of durations, in microseconds: 25 us to 2.5 s.
const DURATION_US: &[u64] = &[
    25, 50, 75, 100, 150, 200, 300, 500, 750, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000,
];
const RECORDS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 16_384, 65_536];
const BYTES: &[u64] =
    &[4_096, 8_192, 16_384, 32_768, 65_536, 131_072, 262_144, 524_288, 1_048_576, 4_194_304, 16_777_216];

/// A family of histograms: its name, help, bounds in the unit of the shards, that unit, and where it is.
struct Family {
    name: &'static str,
    help: &'static str,
    bounds: &'static [u64],
    unit: f64,
    of: fn(&Snapshot) -> &Histogram,
}

const HISTOGRAMS: &[Family] = &[
    Family {
        name: "cairn_log_flush_duration_seconds",
        help: "Time from the submission of a log write to its completion on stable storage.",
        bounds: DURATION_US,
        unit: US,
        of: |snapshot| &snapshot.flushes.us,
    },
    Family {
        name: "cairn_log_flush_records",
        help: "Records that one log write made durable.",
        bounds: RECORDS,
        unit: 1.0,
        of: |snapshot| &snapshot.flushes.records,
    },
    Family {
        name: "cairn_log_flush_bytes",
        help: "Bytes of one log write.",
        bounds: BYTES,
        unit: 1.0,
        of: |snapshot| &snapshot.flushes.bytes,
    },
    Family {
        name: "cairn_held_reply_age_seconds",
        help: "Time that replies were held until what they observed was on stable storage.",
        bounds: DURATION_US,
        unit: US,
        of: |snapshot| &snapshot.flushes.held_us,
    },
    Family {
        name: "cairn_transaction_lock_wait_seconds",
        help: "Time that transactions waited for locks, those that had to.",
        bounds: DURATION_US,
        unit: US,
        of: |snapshot| &snapshot.lock_wait_us,
    },
];

const TURN_DURATION: (&str, &str) = ("cairn_turn_duration_seconds", "Length of the turns of a worker that had work.");

const COMMAND_DURATION: (&str, &str) =
    ("cairn_command_duration_seconds", "Time that commands took to run, without waiting.");

/// The figures of the process and of all shards.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// The data directory.
    dir: PathBuf,
    latest: Mutex<Latest>,
}

/// Counters by name and labels, and what each was set to last: CONFIG RESETSTAT takes the shards' back, never ours.
type Counted = HashMap<(&'static str, Vec<Label>), (Counter, u64)>;

#[derive(Default)]
struct Latest {
    shards: BTreeMap<u16, Box<Snapshot>>,
    workers: BTreeMap<u16, Box<WorkerStats>>,
    /// Databases that have had keys: they are shown from then on, for what was shown once stays as it was.
    databases: BTreeSet<usize>,
    counted: Counted,
}

const METADATA: metrics::Metadata<'static> = metrics::Metadata::new("cairn", metrics::Level::INFO, None);

impl Metrics {
    pub fn new(dir: &Path) -> Metrics {
        let recorder = PrometheusBuilder::new().build_recorder();
        for (name, help) in GAUGES.iter().chain(pages::GAUGES) {
            recorder.describe_gauge((*name).into(), None, (*help).into());
        }
        for (name, help) in COUNTERS.iter().chain(pages::COUNTERS) {
            recorder.describe_counter((*name).into(), None, (*help).into());
        }
        let handle = recorder.handle();
        let metrics = Metrics { recorder, handle, dir: dir.to_path_buf(), latest: Mutex::default() };
        metrics.gauge("cairn_build_info", vec![Label::new("version", env!("CARGO_PKG_VERSION"))], 1.0);
        metrics.set_up(false);
        metrics
    }

    /// Clients are served, or not (yet, any more).
    pub fn set_up(&self, is_up: bool) {
        self.gauge("cairn_up", Vec::new(), f64::from(u8::from(is_up)));
    }

    /// Keeps the newest figures of a shard.
    pub fn on_snapshot(&self, snapshot: Box<Snapshot>) {
        if let Some(shard) = snapshot.shards.first().map(|figures| figures.shard) {
            self.lock().shards.insert(shard, snapshot);
        }
    }

    /// Keeps the newest figures of a worker.
    pub fn on_worker(&self, stats: Box<WorkerStats>) {
        self.lock().workers.insert(stats.worker, stats);
    }

    /// Which shard takes no writes until the next start, because a write of its log failed.
    pub fn failed_log(&self) -> Option<String> {
        let latest = self.lock();
        let mut figures = latest.shards.values().flat_map(|snapshot| &snapshot.shards);
        let failed = figures.find(|figures| matches!(figures.log.state, LogState::Failed { .. }))?;
        Some(format!("shard {}: a write of its log failed; it is read-only until the next start", failed.shard))
    }

    /// The exposition, in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut latest = self.lock();
        let Latest { shards, workers, databases, counted } = &mut *latest;
        for snapshot in shards.values() {
            self.publish_shard(snapshot, counted);
        }
        for stats in workers.values() {
            self.publish_worker(stats, counted);
        }
        let mut all = Snapshot::default();
        for snapshot in shards.values() {
            all.merge(snapshot);
        }
        self.publish_whole(&all, databases, counted);
        if let Ok(stat) = rustix::fs::statvfs(&self.dir) {
            self.gauge("cairn_data_free_bytes", Vec::new(), (stat.f_bavail * stat.f_frsize) as f64);
        }
        let mut text = self.handle.render();
        for family in HISTOGRAMS {
            write_head(&mut text, family.name, family.help, "histogram");
            for (shard, snapshot) in shards.iter() {
                let labels = format!("shard=\"{shard}\"");
                write_histogram(&mut text, family.name, &labels, (family.of)(snapshot), family.bounds, family.unit);
            }
        }
        let (name, help) = TURN_DURATION;
        write_head(&mut text, name, help, "histogram");
        for stats in workers.values() {
            write_turns(&mut text, name, stats);
        }
        let (name, help) = COMMAND_DURATION;
        write_head(&mut text, name, help, "histogram");
        for (id, command) in all.commands.iter().enumerate() {
            if let Some(latency) = &command.latency {
                let labels = format!("cmd=\"{}\"", command_name(id));
                write_histogram(&mut text, name, &labels, latency, DURATION_NS, NS);
            }
        }
        Process::read().write_metrics(&mut text);
        text
    }

    /// Hot keys, and counters that are split.
    fn publish_hot(&self, figures: &ShardFigures, shard: Label, counted: &mut Counted) {
        let gauges = [
            ("cairn_hot_key_rate", figures.hot_key_rate),
            ("cairn_hot_keys", figures.hot_keys),
            ("cairn_split_counters", figures.split_counters),
        ];
        self.gauges(vec![shard.clone()], &gauges);
        let counters = [
            ("cairn_counter_splits_total", figures.counters.hot_splits),
            ("cairn_counter_merges_total", figures.counters.hot_merges),
            ("cairn_counter_sums_total", figures.counters.hot_sums),
            ("cairn_counter_local_additions_total", figures.counters.hot_local),
        ];
        self.counts(counted, vec![shard], &counters);
    }

    /// Publish and subscribe.
    fn publish_pubsub(&self, snapshot: &Snapshot, shard: Label, counted: &mut Counted) {
        let figures = snapshot.pubsub;
        let gauges = [("cairn_pubsub_clients", figures.clients), ("cairn_pubsub_held_bytes", figures.held_bytes)];
        self.gauges(vec![shard.clone()], &gauges);
        let of = &snapshot.counters;
        let counters = [("cairn_pubsub_published_total", of.published), ("cairn_pubsub_pushed_total", of.pushed)];
        self.counts(counted, vec![shard], &counters);
    }

    /// Transactions, and those that read snapshots.
    fn publish_transactions(&self, figures: &ShardFigures, shard: Label, counted: &mut Counted) {
        let gauges = [("cairn_snapshots", figures.snapshot_readers)];
        self.gauges(vec![shard.clone()], &gauges);
        let of = &figures.counters;
        let counters = [
            ("cairn_transactions_begun_total", of.txns_begun),
            ("cairn_transactions_committed_total", of.txns_committed),
            ("cairn_transactions_rolled_back_total", of.txns_rolled_back),
            ("cairn_transaction_conflicts_total", of.txn_conflicts),
            ("cairn_transaction_deadlocks_total", of.txn_deadlocks),
            ("cairn_snapshots_too_old_total", of.txn_snapshots_too_old),
        ];
        self.counts(counted, vec![shard], &counters);
    }

    fn publish_shard(&self, snapshot: &Snapshot, counted: &mut Counted) {
        let Some(figures) = snapshot.shards.first() else { return };
        let shard = figures.shard.to_string();
        let label = || Label::new("shard", shard.clone());
        let with = |name: &'static str, value: &'static str| vec![label(), Label::new(name, value)];
        self.gauges(
            vec![label()],
            &[
                ("cairn_connected_clients", snapshot.clients.connected),
                ("cairn_blocked_clients", snapshot.clients.blocked),
                ("cairn_held_replies", snapshot.clients.held_replies),
                ("cairn_log_flights", figures.log.flights),
                ("cairn_log_segments", figures.log.segments),
                ("cairn_log_segments_ready", figures.log.segments_ready),
                ("cairn_redo_pending_effects", figures.log.redo_left),
                ("cairn_redo_blocked_effects", figures.log.redo_blocked),
                ("cairn_rows", figures.rows),
                ("cairn_outbox_messages", figures.outbox_messages),
                ("cairn_slowlog_entries", figures.slowlog_len),
            ],
        );
        let oldest = seconds(snapshot.clients.held_us_oldest, US);
        self.gauge("cairn_held_reply_oldest_seconds", vec![label()], oldest);
        for state in [LogState::Open, LogState::Full { errno: 0 }, LogState::Failed { errno: 0 }] {
            let is_state = figures.log.state.name() == state.name();
            self.gauge("cairn_log_state", with("state", state.name()), f64::from(u8::from(is_state)));
        }
        self.publish_memory(&snapshot.memory, &shard);
        let counters = &snapshot.counters;
        self.counts(
            counted,
            vec![label()],
            &[
                ("cairn_connections_received_total", counters.connections_received),
                ("cairn_connections_rejected_total", counters.connections_rejected),
                ("cairn_network_received_bytes_total", counters.net_in_bytes),
                ("cairn_network_sent_bytes_total", counters.net_out_bytes),
                ("cairn_keyspace_hits_total", counters.keyspace_hits),
                ("cairn_keyspace_misses_total", counters.keyspace_misses),
                ("cairn_expired_keys_total", counters.expired),
                ("cairn_expired_fields_total", counters.expired_fields),
                ("cairn_auth_denied_total", counters.auth_denied),
                ("cairn_commands_forwarded_total", counters.forwarded_commands),
                ("cairn_commands_foreign_total", counters.foreign_commands),
                ("cairn_commands_joined_total", counters.joined_commands),
                ("cairn_commands_sliced_total", counters.sliced_commands),
                ("cairn_collections_begun_total", counters.begun_collections),
                ("cairn_log_appended_bytes_total", figures.log.appended_lsn),
                ("cairn_log_durable_bytes_total", figures.log.durable_lsn),
            ],
        );
        self.publish_pages(&figures.pages, &shard, counted);
        self.publish_transactions(figures, label(), counted);
        self.publish_hot(figures, label(), counted);
        self.publish_pubsub(snapshot, label(), counted);
        let cut = [
            ("output_buffer", counters.output_limit_closed),
            ("query_buffer", counters.query_limit_closed),
            ("idle", counters.idle_closed),
        ];
        for (limit, value) in cut {
            self.count(counted, "cairn_clients_closed_total", with("limit", limit), value);
        }
        for (id, command) in snapshot.commands.iter().enumerate().filter(|(_, command)| command.is_used()) {
            let labels = || vec![Label::new("cmd", command_name(id)), label()];
            self.count(counted, "cairn_commands_total", labels(), command.calls);
            self.count(counted, "cairn_commands_failed_total", labels(), command.failed);
            self.count(counted, "cairn_commands_rejected_total", labels(), command.rejected);
        }
    }

    fn publish_worker(&self, stats: &WorkerStats, counted: &mut Counted) {
        let label = || vec![Label::new("worker", stats.worker.to_string())];
        self.gauge("cairn_parcels_waiting", label(), stats.parcels_waiting as f64);
        self.gauge("cairn_registered_buffers", label(), f64::from(u8::from(stats.has_registered_buffers)));
        self.counts(
            counted,
            label(),
            &[
                ("cairn_turns_total", stats.turns),
                ("cairn_ring_enters_total", stats.enters),
                ("cairn_ring_completions_total", stats.completions),
                ("cairn_ring_completion_overflows_total", stats.completion_overflows),
                ("cairn_worker_parks_total", stats.parks),
                ("cairn_receives_starved_total", stats.receives_starved),
                ("cairn_sends_short_total", stats.sends_short),
                ("cairn_accept_failures_total", stats.accept_failures),
                ("cairn_connections_taken_total", stats.taken),
                ("cairn_log_writes_total", stats.log_writes),
                ("cairn_log_written_bytes_total", stats.log_write_bytes),
                ("cairn_log_segments_prepared_total", stats.segments_prepared),
                ("cairn_reports_dropped_total", stats.reports_dropped),
            ],
        );
    }

    fn publish_whole(&self, all: &Snapshot, shown: &mut BTreeSet<usize>, counted: &mut Counted) {
        let used = all.databases.iter().enumerate();
        shown.extend(used.filter(|(db, it)| *db == 0 || it.rows + it.redo_left > 0).map(|(db, _)| db));
        for (db, figures) in all.databases.iter().enumerate().filter(|(db, _)| shown.contains(db)) {
            let label = || vec![Label::new("db", db.to_string())];
            self.gauge("cairn_database_keys", label(), figures.rows as f64);
            self.gauge("cairn_database_expiring_keys", label(), figures.expiring as f64);
            self.gauge("cairn_database_redo_pending_effects", label(), figures.redo_left as f64);
        }
        let of = &all.pubsub;
        for (kind, value) in [("channel", of.channels), ("pattern", of.patterns), ("shardchannel", of.shard_channels)] {
            self.gauge("cairn_pubsub_subscribed", vec![Label::new("kind", kind)], value as f64);
        }
        for (code, count) in &all.errors {
            self.count(counted, "cairn_errors_total", vec![Label::new("code", code.clone())], *count);
        }
    }

    fn gauge(&self, name: &'static str, labels: Vec<Label>, value: f64) {
        self.recorder.register_gauge(&metrics::Key::from_parts(name, labels), &METADATA).set(value);
    }

    /// Several under the same labels.
    fn gauges(&self, labels: Vec<Label>, figures: &[(&'static str, u64)]) {
        for (name, value) in figures {
            self.gauge(name, labels.clone(), *value as f64);
        }
    }

    /// Several under the same labels; see [`Metrics::count`].
    fn counts(&self, counted: &mut Counted, labels: Vec<Label>, figures: &[(&'static str, u64)]) {
        for (name, value) in figures {
            self.count(counted, name, labels.clone(), *value);
        }
    }

    /// Brings a counter to `value`; if that is less than before, it was reset and began again.
    fn count(&self, counted: &mut Counted, name: &'static str, labels: Vec<Label>, value: u64) {
        let (counter, last) = counted.entry((name, labels)).or_insert_with_key(|(name, labels)| {
            let key = metrics::Key::from_parts(*name, labels.clone());
            (self.recorder.register_counter(&key, &METADATA), 0)
        });
        counter.increment(if value < *last { value } else { value - *last });
        *last = value;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Latest> {
        self.latest.lock().expect("nothing panics while it holds this lock")
    }
}

fn command_name(id: usize) -> &'static str {
    table::spec(u16::try_from(id).expect("ids are u16")).name
}

pub fn write_head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn write_histogram(text: &mut String, name: &str, labels: &str, histogram: &Histogram, bounds: &[u64], unit: f64) {
    for (bound, count) in bounds.iter().zip(histogram.cumulative(bounds)) {
        let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{}\"}} {count}", seconds(*bound, unit));
    }
    let count = histogram.count();
    let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
    let _ = writeln!(text, "{name}_sum{{{labels}}} {}", seconds(histogram.sum(), unit));
    let _ = writeln!(text, "{name}_count{{{labels}}} {count}");
}

/// The turns of a worker, whose histogram is hdrhistogram's own.
fn write_turns(text: &mut String, name: &str, stats: &WorkerStats) {
    let (worker, turns) = (stats.worker, &stats.turn_ns);
    let mut values = turns.iter_recorded().peekable();
    let mut count = 0;
    for bound in DURATION_NS {
        while let Some(value) = values.next_if(|value| value.value_iterated_to() <= *bound) {
            count += value.count_since_last_iteration();
        }
        let _ = writeln!(text, "{name}_bucket{{worker=\"{worker}\",le=\"{}\"}} {count}", seconds(*bound, NS));
    }
    let all = turns.len();
    let sum_ns = turns.mean() * all as f64;
    let _ = writeln!(text, "{name}_bucket{{worker=\"{worker}\",le=\"+Inf\"}} {all}");
    let _ = writeln!(text, "{name}_sum{{worker=\"{worker}\"}} {}", seconds(sum_ns as u64, NS));
    let _ = writeln!(text, "{name}_count{{worker=\"{worker}\"}} {all}");
}

/// A number of small units as a decimal number, without the binary rounding of a product (2500 ns are 0.0000025 s).
fn seconds(value: u64, unit: f64) -> f64 {
    value as f64 / (1.0 / unit).round()
}

#[cfg(test)]
mod tests;
