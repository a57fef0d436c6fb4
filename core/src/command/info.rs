//! INFO: the server's figures as `field:value` lines. The sections and fields that exporters and clients read.
//!
//! Everything is counted over all shards. What belongs to features that are not there has the value that Redis shows
//! when they are not used.

use super::connection::REDIS_VERSION;
use super::latency::with_snapshot;
use super::{Call, Flags, Flow, Run, Spec};
use crate::command::args::Args;
use crate::command::table;
use crate::error::Stop;
use crate::event::ConnId;
use crate::machine::Machine;
use crate::resp::encode::Reply;
use crate::snapshot::{LogState, PageFigures, Snapshot};
use std::fmt::{Display, Write};

pub const SPECS: &[Spec] = &[Spec {
    name: "info",
    arity: -1,
    flags: Flags::LOADING.and(Flags::STALE),
    run: Run::Server(info),
    categories: "dangerous",
    group: "server",
    complexity: "O(N) where N is the number of commands and shards",
    tips: "nondeterministic_output request_policy:all_shards response_policy:special",
    summary: "The server's figures.",
    synopsis: "[section [section ...]]",
    ..Spec::DEFAULT
}];

/// Writes one section.
type Section = fn(&mut Page<'_>);

/// The sections in their order, and whether they are shown when none is named.
const SECTIONS: &[(&str, bool, Section)] = &[
    ("server", true, server),
    ("clients", true, clients),
    ("memory", true, memory),
    ("persistence", true, persistence),
    ("stats", true, stats),
    ("replication", true, replication),
    ("cpu", true, cpu),
    ("modules", true, modules),
    ("commandstats", false, commandstats),
    ("errorstats", true, errorstats),
    ("latencystats", false, latencystats),
    ("cluster", true, cluster),
    ("keyspace", true, keyspace),
    ("shards", false, shards),
    ("wal", false, wal),
    ("transactions", false, transactions),
];

/// A text that grows, and what it tells of.
struct Page<'a> {
    out: String,
    machine: &'a Machine,
    all: &'a Snapshot,
}

impl Page<'_> {
    fn field(&mut self, name: &str, value: impl Display) {
        write!(self.out, "{name}:{value}\r\n").expect("a string grows");
    }

    /// The same value as bytes and for people.
    fn bytes(&mut self, name: &str, value: u64) {
        self.field(name, value);
        self.field(&format!("{name}_human"), human(value));
    }

    fn zeros(&mut self, names: &[&str]) {
        for name in names {
            self.field(name, 0);
        }
    }
}

fn info(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let wanted = wanted(call.args);
    with_snapshot(machine, conn, Box::new(move |machine, all, reply| reply.verbatim(&render(machine, all, &wanted))))
}

/// Which sections are asked for, by their place.
fn wanted(args: &Args<'_>) -> Vec<bool> {
    let is_named = |name: &str| args.skip(1).iter().any(|arg| arg.eq_ignore_ascii_case(name.as_bytes()));
    let is_all = is_named("all") || is_named("everything");
    let is_default = args.len() == 1 || is_named("default");
    SECTIONS.iter().map(|(name, shown, _)| is_all || (is_default && *shown) || is_named(name)).collect()
}

fn render(machine: &Machine, all: &Snapshot, wanted: &[bool]) -> String {
    let mut page = Page { out: String::new(), machine, all };
    for ((name, _, section), is_wanted) in SECTIONS.iter().zip(wanted) {
        if *is_wanted {
            let space = if page.out.is_empty() { "" } else { "\r\n" };
            write!(page.out, "{space}# {}\r\n", heading(name)).expect("a string grows");
            section(&mut page);
        }
    }
    page.out
}

fn heading(name: &str) -> String {
    if name == "cpu" {
        return "CPU".to_owned();
    }
    let (first, rest) = name.split_at(1);
    first.to_ascii_uppercase() + rest
}

/// Bytes as Redis writes them for people.
fn human(bytes: u64) -> String {
    const UNITS: [char; 5] = ['K', 'M', 'G', 'T', 'P'];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn server(page: &mut Page<'_>) {
    let identity = &page.machine.identity;
    let now = page.machine.now;
    let uptime_s = now.mono_ns.saturating_sub(identity.started.mono_ns) / 1_000_000_000;
    let hz = page.machine.settings.get("hz").unwrap_or("10").to_owned();
    page.field("redis_version", REDIS_VERSION);
    page.field("cairn_version", env!("CARGO_PKG_VERSION"));
    page.field("redis_git_sha1", "00000000");
    page.field("redis_git_dirty", 0);
    page.field("redis_build_id", "0");
    page.field("redis_mode", "standalone");
    page.field("os", &identity.os);
    page.field("arch_bits", usize::BITS);
    page.field("monotonic_clock", "POSIX clock_gettime");
    page.field("multiplexing_api", "io_uring");
    page.field("process_id", identity.process_id);
    page.field("process_supervised", "no");
    page.field("run_id", &identity.run_id);
    page.field("tcp_port", identity.tcp_port);
    page.field("server_time_usec", now.unix_us);
    page.field("uptime_in_seconds", uptime_s);
    page.field("uptime_in_days", uptime_s / 86_400);
    page.field("hz", &hz);
    page.field("configured_hz", &hz);
    page.field("lru_clock", now.unix_us / 1_000_000 % (1 << 24));
    page.field("executable", &identity.executable);
    page.field("config_file", &identity.config_file);
    page.field("io_threads_active", 0);
    page.field("shards", identity.shards);
}

fn clients(page: &mut Page<'_>) {
    let clients = page.all.clients;
    page.field("connected_clients", clients.connected);
    page.field("cluster_connections", 0);
    page.field("maxclients", page.machine.settings.maxclients);
    page.field("client_recent_max_input_buffer", clients.input_bytes_max);
    page.field("client_recent_max_output_buffer", clients.output_bytes_max);
    page.field("blocked_clients", clients.blocked);
    page.field("tracking_clients", page.all.pubsub.trackers);
    page.field("pubsub_clients", page.all.pubsub.clients);
    page.field("clients_in_timeout_table", clients.timed);
    page.field("total_blocking_keys", clients.awaited);
    page.field("total_blocking_keys_on_nokey", clients.awaited_gone);
    page.zeros(&["watching_clients", "total_watched_keys"]);
}

fn memory(page: &mut Page<'_>) {
    let memory = page.all.memory;
    let facts = &page.machine.facts;
    let (used, rss) = (memory.total(), facts.rss_bytes);
    let (allocated, machine_total) = (facts.allocated_bytes, facts.memory_total_bytes);
    let peak = memory.peak.max(used);
    let overhead = used - memory.dataset.min(used);
    let maxmemory = page.machine.settings.maxmemory;
    page.bytes("used_memory", used);
    page.bytes("used_memory_rss", rss);
    page.bytes("used_memory_peak", peak);
    page.field("used_memory_peak_perc", format_args!("{:.2}%", 100.0 * ratio(used, peak)));
    page.field("used_memory_overhead", overhead);
    page.field("used_memory_startup", 0);
    page.field("used_memory_dataset", memory.dataset);
    page.field("used_memory_dataset_perc", format_args!("{:.2}%", 100.0 * ratio(memory.dataset, used)));
    page.field("allocator_allocated", allocated);
    page.field("allocator_active", allocated);
    page.field("allocator_resident", rss);
    page.bytes("total_system_memory", machine_total);
    page.bytes("used_memory_lua", memory.lua);
    page.field("used_memory_vm_eval", memory.lua);
    page.field("used_memory_scripts_eval", memory.scripts);
    page.field("number_of_cached_scripts", memory.scripts_known);
    page.field("number_of_functions", memory.functions);
    page.field("number_of_libraries", memory.libraries);
    page.field("used_memory_vm_functions", memory.lua_functions);
    page.bytes("used_memory_vm_total", memory.lua + memory.lua_functions);
    page.field("used_memory_functions", memory.library_bytes);
    page.bytes("used_memory_scripts", memory.scripts + memory.library_bytes);
    page.bytes("maxmemory", maxmemory);
    page.field("maxmemory_policy", "noeviction");
    page.field("allocator_frag_ratio", "1.00");
    page.field("allocator_frag_bytes", 0);
    page.field("allocator_rss_ratio", format_args!("{:.2}", ratio(rss, allocated)));
    page.field("allocator_rss_bytes", rss.saturating_sub(allocated));
    page.field("rss_overhead_ratio", "1.00");
    page.field("rss_overhead_bytes", 0);
    page.field("mem_fragmentation_ratio", format_args!("{:.2}", ratio(rss, used)));
    page.field("mem_fragmentation_bytes", rss as i64 - used as i64);
    page.zeros(&["mem_not_counted_for_evict", "mem_replication_backlog", "mem_total_replication_buffers"]);
    page.zeros(&["mem_clients_slaves"]);
    page.field("mem_clients_normal", memory.client_buffers);
    page.field("mem_cluster_links", 0);
    page.field("mem_aof_buffer", memory.log_buffers);
    page.field("mem_allocator", "mimalloc");
    page.zeros(&["active_defrag_running", "lazyfree_pending_objects", "lazyfreed_objects"]);
    page.field("used_memory_pages", memory.pages);
    page.field("used_memory_extents", memory.extents);
    page.field("used_memory_list_filters", memory.list_filters);
    page.field("data_memory_max", memory.bytes_max);
}

fn persistence(page: &mut Page<'_>) {
    let started_s = page.machine.identity.started.unix_us / 1_000_000;
    let status = if page.all.log_state() == LogState::Open { "ok" } else { "err" };
    let appended: u64 = page.all.shards.iter().map(|shard| shard.log.appended_lsn).sum();
    page.zeros(&["loading", "async_loading", "current_cow_peak", "current_cow_size", "current_cow_size_age"]);
    page.field("current_fork_perc", "0.00");
    page.zeros(&["current_save_keys_processed", "current_save_keys_total"]);
    // The log is durable at every moment: nothing is ever unsaved.
    page.field("rdb_changes_since_last_save", 0);
    let pages: Vec<PageFigures> = page.all.shards.iter().map(|shard| shard.pages).collect();
    let saved_s = pages.iter().map(|shard| shard.saved_unix_s).min().unwrap_or(0);
    let has_failed = pages.iter().any(|shard| shard.has_failed);
    page.field("rdb_bgsave_in_progress", u8::from(pages.iter().any(|shard| shard.is_checkpointing)));
    page.field("rdb_last_save_time", saved_s.max(started_s));
    page.field("rdb_last_bgsave_status", if has_failed { "err" } else { "ok" });
    page.field("rdb_last_bgsave_time_sec", -1);
    page.field("rdb_current_bgsave_time_sec", -1);
    page.field("rdb_saves", pages.iter().map(|shard| shard.checkpoints).min().unwrap_or(0));
    page.zeros(&["rdb_last_cow_size", "rdb_last_load_keys_expired", "rdb_last_load_keys_loaded"]);
    page.field("aof_enabled", 1);
    page.zeros(&["aof_rewrite_in_progress", "aof_rewrite_scheduled"]);
    page.field("aof_last_rewrite_time_sec", -1);
    page.field("aof_current_rewrite_time_sec", -1);
    page.field("aof_last_bgrewrite_status", "ok");
    page.zeros(&["aof_rewrites", "aof_rewrites_consecutive_failures"]);
    page.field("aof_last_write_status", status);
    page.field("aof_last_cow_size", 0);
    page.zeros(&["module_fork_in_progress", "module_fork_last_cow_size"]);
    page.field("aof_current_size", appended);
    page.field("aof_base_size", 0);
    page.zeros(&["aof_pending_rewrite", "aof_buffer_length", "aof_pending_bio_fsync", "aof_delayed_fsync"]);
    let sum = |figure: fn(&PageFigures) -> u64| pages.iter().map(figure).sum::<u64>();
    page.field("cairn_pages", sum(|shard| shard.pages));
    page.field("cairn_pages_in_memory", sum(|shard| shard.pages_resident));
    page.field("cairn_pages_evicted", sum(|shard| shard.evictions));
    page.field("cairn_page_reads", sum(|shard| shard.reads));
    page.field("cairn_page_reads_damaged", sum(|shard| shard.damaged_reads));
    page.field("cairn_pages_damaged", sum(|shard| shard.damaged));
    page.field("cairn_checkpoint_fallbacks", sum(|shard| shard.fallbacks));
    page.field("cairn_checkpoints_barred", sum(|shard| u64::from(shard.is_checkpoint_barred)));
    page.field("cairn_scrub_in_progress", u8::from(pages.iter().any(|shard| shard.scrub.is_passing)));
    page.field("cairn_scrub_passes", pages.iter().map(|shard| shard.scrub.passes).min().unwrap_or(0));
    page.field("cairn_scrub_pages", sum(|shard| shard.scrub.images));
    page.field("cairn_scrub_bytes", sum(|shard| shard.scrub.bytes));
    page.field("cairn_scrub_damaged", sum(|shard| shard.scrub.damaged));
    page.field("cairn_scrub_log_bytes", sum(|shard| shard.scrub.log_bytes));
    page.field("cairn_scrub_log_damaged", sum(|shard| shard.scrub.log_damaged));
    page.field("cairn_log_damaged", sum(|shard| u64::from(shard.scrub.is_log_damaged)));
    page.field("cairn_scrub_last_begin_time", pages.iter().map(|shard| shard.scrub.begun_unix_s).max().unwrap_or(0));
    page.field("cairn_scrub_last_end_time", pages.iter().map(|shard| shard.scrub.ended_unix_s).min().unwrap_or(0));
    page.field("cairn_pages_written", sum(|shard| shard.pages_written));
    page.field("cairn_pages_written_early", sum(|shard| shard.victims_written));
    page.field("cairn_pages_cloned", sum(|shard| shard.pages_cloned));
    page.field("cairn_rows_deferred", sum(|shard| shard.deferred_rows));
    page.field("cairn_rows_settled", sum(|shard| shard.settled_rows));
    page.field("cairn_pages_settled", sum(|shard| shard.settled_pages));
    page.field("cairn_page_file_bytes", sum(|shard| shard.file_bytes));
    page.field("cairn_page_file_bytes_written", sum(|shard| shard.bytes_written));
    page.field("cairn_page_file_bytes_free", sum(|shard| shard.free_bytes));
    page.field("cairn_page_file_bytes_held", sum(|shard| shard.held_bytes));
}

fn stats(page: &mut Page<'_>) {
    let all = page.all;
    let counters = all.counters;
    let kbps = |bytes: u64| bytes as f64 / 1024.0;
    page.field("total_connections_received", counters.connections_received);
    page.field("total_commands_processed", counters.commands);
    page.field("instantaneous_ops_per_sec", all.ops_per_second);
    page.field("total_net_input_bytes", counters.net_in_bytes);
    page.field("total_net_output_bytes", counters.net_out_bytes);
    page.zeros(&["total_net_repl_input_bytes", "total_net_repl_output_bytes"]);
    page.field("instantaneous_input_kbps", format_args!("{:.2}", kbps(all.in_bytes_per_second)));
    page.field("instantaneous_output_kbps", format_args!("{:.2}", kbps(all.out_bytes_per_second)));
    page.field("instantaneous_input_repl_kbps", "0.00");
    page.field("instantaneous_output_repl_kbps", "0.00");
    page.field("rejected_connections", counters.connections_rejected);
    page.zeros(&["sync_full", "sync_partial_ok", "sync_partial_err"]);
    page.field("expired_subkeys", counters.expired_fields);
    page.field("expired_keys", counters.expired);
    page.field("expired_stale_perc", "0.00");
    page.zeros(&["expired_time_cap_reached_count", "expire_cycle_cpu_milliseconds", "evicted_keys", "evicted_clients"]);
    page.field("evicted_scripts", all.memory.scripts_evicted);
    page.zeros(&["total_eviction_exceeded_time", "current_eviction_exceeded_time"]);
    page.field("keyspace_hits", counters.keyspace_hits);
    page.field("keyspace_misses", counters.keyspace_misses);
    page.field("pubsub_channels", all.pubsub.channels);
    page.field("pubsub_patterns", all.pubsub.patterns);
    page.field("pubsubshard_channels", all.pubsub.shard_channels);
    page.zeros(&["latest_fork_usec", "total_forks"]);
    page.zeros(&["migrate_cached_sockets", "slave_expires_tracked_keys", "active_defrag_hits", "active_defrag_misses"]);
    page.zeros(&["active_defrag_key_hits", "active_defrag_key_misses", "total_active_defrag_time"]);
    page.field("current_active_defrag_time", 0);
    page.field("tracking_total_keys", all.pubsub.tracked_keys);
    page.field("tracking_total_items", all.pubsub.tracked_items);
    page.field("tracking_total_prefixes", all.pubsub.tracked_prefixes);
    page.field("unexpected_error_replies", counters.unexpected_error_replies);
    page.field("total_error_replies", counters.error_replies);
    page.field("dump_payload_sanitizations", 0);
    page.field("total_reads_processed", counters.turns);
    page.field("total_writes_processed", counters.turns);
    page.zeros(&["io_threaded_reads_processed", "io_threaded_writes_processed"]);
    page.field("client_query_buffer_limit_disconnections", counters.query_limit_closed);
    page.field("client_output_buffer_limit_disconnections", counters.output_limit_closed);
    page.zeros(&["reply_buffer_shrinks", "reply_buffer_expands"]);
    page.field("eventloop_cycles", counters.turns);
    page.field("eventloop_duration_sum", all.turn_ns.sum() / 1000);
    page.field("acl_access_denied_auth", counters.auth_denied);
    page.field("acl_access_denied_cmd", counters.access_denied_command);
    page.field("acl_access_denied_key", counters.access_denied_key);
    page.field("acl_access_denied_channel", counters.access_denied_channel);
}

fn replication(page: &mut Page<'_>) {
    let run_id = page.machine.identity.run_id.clone();
    page.field("role", "master");
    page.field("connected_slaves", 0);
    page.field("master_failover_state", "no-failover");
    page.field("master_replid", run_id);
    page.field("master_replid2", "0".repeat(40));
    page.field("master_repl_offset", 0);
    page.field("second_repl_offset", -1);
    page.field("repl_backlog_active", 0);
    let size = page.machine.settings.get("repl-backlog-size").unwrap_or("0").to_owned();
    page.field("repl_backlog_size", size);
    page.zeros(&["repl_backlog_first_byte_offset", "repl_backlog_histlen"]);
}

fn cpu(page: &mut Page<'_>) {
    let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    let (sys, user) = (seconds(page.machine.facts.cpu_sys_us), seconds(page.machine.facts.cpu_user_us));
    page.field("used_cpu_sys", &sys);
    page.field("used_cpu_user", &user);
    page.field("used_cpu_sys_children", "0.000000");
    page.field("used_cpu_user_children", "0.000000");
}

fn modules(_: &mut Page<'_>) {}

fn commandstats(page: &mut Page<'_>) {
    for (id, stats) in page.all.commands.iter().enumerate().filter(|(_, stats)| stats.is_used()) {
        let us = stats.ns / 1000;
        let each = if stats.calls == 0 { 0.0 } else { stats.ns as f64 / 1000.0 / stats.calls as f64 };
        let name = table::spec(id as u16).name;
        page.field(
            &format!("cmdstat_{name}"),
            format_args!(
                "calls={},usec={us},usec_per_call={each:.2},rejected_calls={},failed_calls={}",
                stats.calls, stats.rejected, stats.failed
            ),
        );
    }
}

fn errorstats(page: &mut Page<'_>) {
    for (code, count) in &page.all.errors {
        page.field(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn latencystats(page: &mut Page<'_>) {
    let percentiles = page.machine.settings.latency_tracking_info_percentiles.clone();
    for (id, stats) in page.all.commands.iter().enumerate() {
        let Some(latency) = stats.latency.as_ref().filter(|latency| latency.count() > 0) else { continue };
        let list: Vec<String> = percentiles
            .iter()
            .map(|percent| format!("p{percent}={:.3}", latency.percentile(*percent) as f64 / 1000.0))
            .collect();
        page.field(&format!("latency_percentiles_usec_{}", table::spec(id as u16).name), list.join(","));
    }
}

fn cluster(page: &mut Page<'_>) {
    page.field("cluster_enabled", 0);
}

fn keyspace(page: &mut Page<'_>) {
    for (number, database) in page.all.databases.iter().enumerate() {
        let (name, redo_left) = (format!("db{number}"), database.redo_left);
        let figures = format!("keys={},expires={},avg_ttl={}", database.rows, database.expiring, database.ttl_ms_mean);
        // The counts are not those of the rows that clients see yet, and say so.
        if redo_left > 0 {
            page.field(&name, format_args!("{figures},redo_pending={redo_left}"));
        } else if database.deferred > 0 {
            page.field(&name, format_args!("{figures},deferred={}", database.deferred));
        } else if database.rows > 0 {
            page.field(&name, figures);
        }
    }
}

fn shards(page: &mut Page<'_>) {
    for shard in &page.all.shards {
        page.field(
            &format!("shard{}", shard.shard),
            format_args!(
                "keys={},clients={},commands={},foreign={},forwarded={},pages_bytes={},extents_bytes={},held_replies={},\
                 held_us_oldest={}",
                shard.rows,
                shard.clients.connected,
                shard.counters.commands,
                shard.counters.foreign_commands,
                shard.counters.forwarded_commands,
                shard.memory.pages,
                shard.memory.extents,
                shard.clients.held_replies,
                shard.clients.held_us_oldest
            ),
        );
    }
}

fn transactions(page: &mut Page<'_>) {
    let (counters, waits) = (page.all.counters, &page.all.lock_wait_us);
    page.field("txn_begun", counters.txns_begun);
    page.field("txn_committed", counters.txns_committed);
    page.field("txn_rolled_back", counters.txns_rolled_back);
    page.field("txn_conflicts", counters.txn_conflicts);
    page.field("txn_deadlocks", counters.txn_deadlocks);
    page.field("txn_snapshots", page.all.shards.iter().map(|shard| shard.snapshot_readers).sum::<u64>());
    page.field("txn_snapshot_bytes", page.all.memory.versions);
    page.field("txn_snapshots_too_old", counters.txn_snapshots_too_old);
    page.field("txn_lock_waits", waits.count());
    for percent in [50, 99] {
        page.field(&format!("txn_lock_wait_us_p{percent}"), waits.percentile(f64::from(percent)));
    }
    page.field("txn_lock_wait_us_max", waits.max());
}

fn wal(page: &mut Page<'_>) {
    let all = page.all;
    page.field("wal_state", all.log_state().name());
    page.field("wal_errno", all.log_state().errno());
    page.field("wal_redo_pending", all.shards.iter().map(|shard| shard.log.redo_left).sum::<u64>());
    page.field("wal_redo_blocked", all.shards.iter().map(|shard| shard.log.redo_blocked).sum::<u64>());
    let flushes = &all.flushes;
    page.field("wal_flushes", flushes.us.count());
    for (name, histogram) in [
        ("flush_us", &flushes.us),
        ("flush_records", &flushes.records),
        ("flush_bytes", &flushes.bytes),
        ("held_us", &flushes.held_us),
    ] {
        for percent in [50, 99] {
            page.field(&format!("wal_{name}_p{percent}"), histogram.percentile(f64::from(percent)));
        }
        page.field(&format!("wal_{name}_max"), histogram.max());
    }
    for shard in &all.shards {
        let log = &shard.log;
        page.field(
            &format!("wal_shard{}", shard.shard),
            format_args!(
                "state={},errno={},durable_lsn={},appended_lsn={},flights={},redo_pending={},segments_ready={},flushes={},bytes={},\
                 records={},flush_us_p99={}",
                log.state.name(),
                log.state.errno(),
                log.durable_lsn,
                log.appended_lsn,
                log.flights,
                log.redo_left,
                log.segments_ready,
                log.flushes,
                log.bytes,
                log.records,
                shard.flush_us_p99
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::args::copied;

    #[test]
    fn bytes_are_written_for_people_as_redis_does() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (1_980_136, "1.89M"),
            (25_276_510_208, "23.54G"),
            (1 << 40, "1.00T"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn sections_are_chosen_by_any_of_their_names() {
        let names = |line: &str| {
            let (bytes, ranges) = copied(line.split(' ').map(str::as_bytes));
            let wanted = wanted(&Args::new(&bytes, &ranges));
            let chosen = SECTIONS.iter().zip(wanted).filter(|(_, wanted)| *wanted);
            chosen.map(|((name, ..), _)| *name).collect::<Vec<_>>().join(" ")
        };
        let default = "server clients memory persistence stats replication cpu modules errorstats cluster keyspace";
        assert_eq!(names("info"), default);
        assert_eq!(names("info default"), default);
        assert_eq!(names("info KEYSPACE Server"), "server keyspace");
        assert_eq!(names("info everything").split(' ').count(), SECTIONS.len());
        assert_eq!(names("info all"), names("info everything"));
        assert_eq!(names("info nothing"), "");
        assert_eq!(names("info default commandstats"), default.replace("modules", "modules commandstats"));
    }
}
