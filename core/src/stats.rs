//! What one shard counts: plain integers, bumped on the data path and read once a second or when INFO asks.
//!
//! A command's counters are found by its id, its place in the command table. Histograms have two significant digits,
//! as Redis has them; a command's is made when the command first runs.

mod histogram;
mod monitor;
mod rate;

pub use histogram::Histogram;
pub use monitor::{LatencyEvent, LatencyMonitor};
pub use rate::Rate;

use crate::command::{Flags, table};
use crate::event::Now;
use crate::limits::{
    ERROR_KIND_BYTES_MAX, ERROR_KINDS_MAX, FLUSH_BYTES_TOLD_MAX, FLUSH_RECORDS_TOLD_MAX, LATENCY_NS_MAX,
};
use crate::settings::Settings;
use std::cell::Cell;

/// What is counted of one command.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    pub calls: u64,
    pub ns: u64,
    /// Refused before it ran: wrong number of arguments, no permission, out of memory.
    pub rejected: u64,
    /// It ran and answered an error.
    pub failed: u64,
    /// Durations in nanoseconds.
    pub latency: Option<Box<Histogram>>,
}

impl CommandStats {
    pub fn merge(&mut self, other: &CommandStats) {
        self.calls += other.calls;
        self.ns += other.ns;
        self.rejected += other.rejected;
        self.failed += other.failed;
        match (&mut self.latency, &other.latency) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine @ None, Some(theirs)) => *mine = Some(theirs.clone()),
            (_, None) => {}
        }
    }

    /// Was there anything to count?
    pub fn is_used(&self) -> bool {
        self.calls + self.rejected + self.failed > 0
    }
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Committed,
    RolledBack,
    /// Rolled back, for others stood in its way.
    Conflict,
    Deadlock,
}

/// Counters that only grow, until CONFIG RESETSTAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub commands: u64,
    pub connections_received: u64,
    /// Turned away because of `maxclients`.
    pub connections_rejected: u64,
    /// Closed because of their output buffer, their query buffer or their time.
    pub output_limit_closed: u64,
    pub query_limit_closed: u64,
    pub idle_closed: u64,
    pub net_in_bytes: u64,
    pub net_out_bytes: u64,
    pub keyspace_hits: u64,
    pub keyspace_misses: u64,
    pub expired: u64,
    pub expired_fields: u64,
    pub error_replies: u64,
    pub unexpected_error_replies: u64,
    pub auth_denied: u64,
    pub access_denied_command: u64,
    pub access_denied_key: u64,
    pub access_denied_channel: u64,
    /// Commands that this shard ran for clients of other shards, and those it sent to others.
    pub foreign_commands: u64,
    pub forwarded_commands: u64,
    /// Commands that were done together with others behind or before them.
    pub joined_commands: u64,
    /// Commands whose replies were shown in slices.
    pub sliced_commands: u64,
    /// Collections that transactions over several shards have begun to store piece by piece.
    pub begun_collections: u64,
    pub turns: u64,
    /// Transactions that EXEC ran, or BEGIN began; what became of them; and the same of those that others stood in the way of: a key
    /// that was watched had changed, LOCK NOWAIT did not get it, a lock took too long.
    pub txns_begun: u64,
    pub txns_committed: u64,
    pub txns_rolled_back: u64,
    pub txn_conflicts: u64,
    pub txn_deadlocks: u64,
    /// Transactions whose snapshot was given up.
    pub txn_snapshots_too_old: u64,
    /// Counters that were split, and merged; additions to sub-rows of other shards' counters.
    pub hot_splits: u64,
    pub hot_merges: u64,
    /// Looks at all parts of a split counter.
    pub hot_sums: u64,
    pub hot_local: u64,
    /// Messages that were published, and messages that were pushed to connections.
    pub published: u64,
    pub pushed: u64,
}

impl Counters {
    pub fn add(&mut self, other: &Counters) {
        self.commands += other.commands;
        self.connections_received += other.connections_received;
        self.connections_rejected += other.connections_rejected;
        self.output_limit_closed += other.output_limit_closed;
        self.query_limit_closed += other.query_limit_closed;
        self.idle_closed += other.idle_closed;
        self.net_in_bytes += other.net_in_bytes;
        self.net_out_bytes += other.net_out_bytes;
        self.keyspace_hits += other.keyspace_hits;
        self.keyspace_misses += other.keyspace_misses;
        self.expired += other.expired;
        self.expired_fields += other.expired_fields;
        self.error_replies += other.error_replies;
        self.unexpected_error_replies += other.unexpected_error_replies;
        self.auth_denied += other.auth_denied;
        self.access_denied_command += other.access_denied_command;
        self.access_denied_key += other.access_denied_key;
        self.access_denied_channel += other.access_denied_channel;
        self.foreign_commands += other.foreign_commands;
        self.forwarded_commands += other.forwarded_commands;
        self.joined_commands += other.joined_commands;
        self.sliced_commands += other.sliced_commands;
        self.begun_collections += other.begun_collections;
        self.turns += other.turns;
        self.txns_begun += other.txns_begun;
        self.txns_committed += other.txns_committed;
        self.txns_rolled_back += other.txns_rolled_back;
        self.txn_conflicts += other.txn_conflicts;
        self.txn_deadlocks += other.txn_deadlocks;
        self.txn_snapshots_too_old += other.txn_snapshots_too_old;
        self.hot_splits += other.hot_splits;
        self.hot_merges += other.hot_merges;
        self.hot_sums += other.hot_sums;
        self.hot_local += other.hot_local;
        self.published += other.published;
        self.pushed += other.pushed;
    }
}

/// How commands come together in flushes, and how long replies wait for them.
#[derive(Clone, Debug)]
pub struct FlushStats {
    /// Microseconds from the submission of a flush to its completion.
    pub us: Histogram,
    pub records: Histogram,
    pub bytes: Histogram,
    /// Microseconds that a reply was held until what it observed was stable.
    pub held_us: Histogram,
}

impl Default for FlushStats {
    fn default() -> FlushStats {
        FlushStats {
            us: Histogram::up_to(LATENCY_NS_MAX / 1000),
            records: Histogram::up_to(FLUSH_RECORDS_TOLD_MAX),
            bytes: Histogram::up_to(FLUSH_BYTES_TOLD_MAX),
            held_us: Histogram::up_to(LATENCY_NS_MAX / 1000),
        }
    }
}

impl FlushStats {
    pub fn merge(&mut self, other: &FlushStats) {
        self.us.merge(&other.us);
        self.records.merge(&other.records);
        self.bytes.merge(&other.bytes);
        self.held_us.merge(&other.held_us);
    }
}

/// All that one shard counts.
#[derive(Clone, Debug)]
pub struct Stats {
    pub counters: Counters,
    /// Bumped by reads, which hold the shard shared. Part of [`Stats::counters`] once read through [`Stats::totals`].
    pub keyspace_hits: Cell<u64>,
    pub keyspace_misses: Cell<u64>,
    pub flushes: FlushStats,
    /// Microseconds that transactions waited for locks, those that had to.
    pub lock_wait_us: Histogram,
    /// Nanoseconds of a turn that had work.
    pub turn_ns: Histogram,
    pub monitor: LatencyMonitor,
    pub ops_rate: Rate,
    pub in_rate: Rate,
    pub out_rate: Rate,
    pub memory_peak_bytes: u64,
    /// `latency-tracking`: whether commands get histograms.
    is_tracking: bool,
    /// `latency-monitor-threshold`: what takes as long is an event. `u64::MAX`: nothing does.
    event_ns_min: u64,
    /// At the last tick.
    unix_s: u64,
    commands: Vec<CommandStats>,
    errors: Vec<(Box<str>, u64)>,
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            counters: Counters::default(),
            keyspace_hits: Cell::new(0),
            keyspace_misses: Cell::new(0),
            flushes: FlushStats::default(),
            lock_wait_us: Histogram::up_to(LATENCY_NS_MAX / 1000),
            turn_ns: Histogram::up_to(LATENCY_NS_MAX),
            monitor: LatencyMonitor::default(),
            ops_rate: Rate::default(),
            in_rate: Rate::default(),
            out_rate: Rate::default(),
            memory_peak_bytes: 0,
            is_tracking: true,
            event_ns_min: u64::MAX,
            unix_s: 0,
            commands: Vec::new(),
            errors: Vec::new(),
        }
    }
}

impl Stats {
    pub fn new(settings: &Settings, now: Now) -> Stats {
        let mut stats = Stats { unix_s: now.unix_us / 1_000_000, ..Stats::default() };
        stats.configure(settings);
        stats
    }

    /// The settings have changed.
    pub fn configure(&mut self, settings: &Settings) {
        self.is_tracking = settings.latency_tracking;
        if !self.is_tracking {
            for command in &mut self.commands {
                command.latency = None;
            }
        }
        self.event_ns_min = match settings.latency_monitor_threshold_ms {
            0 => u64::MAX,
            ms => ms.saturating_mul(1_000_000),
        };
    }

    /// A command has run for `ns` nanoseconds.
    #[inline]
    pub fn on_command(&mut self, id: u16, ns: u64) {
        self.counters.commands += 1;
        if ns >= self.event_ns_min {
            self.on_slow_command(id, ns);
        }
        if let Some(command) = self.commands.get_mut(usize::from(id))
            && let Some(latency) = &mut command.latency
            && self.is_tracking
        {
            command.calls += 1;
            command.ns += ns;
            latency.record(ns);
            return;
        }
        self.on_command_first(id, ns);
    }

    #[cold]
    fn on_slow_command(&mut self, id: u16, ns: u64) {
        let is_fast = table::spec(id).flags.has(Flags::FAST);
        let event = if is_fast { "fast-command" } else { "command" };
        self.monitor.record(event, self.unix_s, ns / 1_000_000);
    }

    #[cold]
    fn on_command_first(&mut self, id: u16, ns: u64) {
        let is_tracking = self.is_tracking;
        let command = self.command_mut(id);
        command.calls += 1;
        command.ns += ns;
        if is_tracking {
            command.latency.get_or_insert_with(|| Box::new(Histogram::up_to(LATENCY_NS_MAX))).record(ns);
        }
    }

    /// A command has run and answered an error.
    pub fn on_failed(&mut self, id: u16) {
        self.command_mut(id).failed += 1;
    }

    /// A command was refused before it ran.
    pub fn on_rejected(&mut self, id: u16) {
        self.command_mut(id).rejected += 1;
    }

    /// An error was answered; `code` is its first word.
    pub fn on_error(&mut self, code: &str) {
        self.counters.error_replies += 1;
        if let Some((_, count)) = self.errors.iter_mut().find(|(known, _)| **known == *code) {
            *count += 1;
        } else if self.errors.len() < ERROR_KINDS_MAX && code.len() <= ERROR_KIND_BYTES_MAX {
            self.errors.push((code.into(), 1));
        }
    }

    /// A transaction that had been begun has ended; or with EXEC.
    pub fn on_ended(&mut self, how: Ended) {
        let counters = &mut self.counters;
        match how {
            Ended::Committed => counters.txns_committed += 1,
            Ended::RolledBack => counters.txns_rolled_back += 1,
            Ended::Conflict => {
                counters.txns_rolled_back += 1;
                counters.txn_conflicts += 1;
            }
            Ended::Deadlock => {
                counters.txns_rolled_back += 1;
                counters.txn_deadlocks += 1;
            }
        }
    }

    pub fn on_exec(&mut self, how: Ended) {
        self.counters.txns_begun += 1;
        self.on_ended(how);
    }

    /// A read has found its row, or not.
    #[inline]
    pub fn on_read(&self, is_hit: bool) {
        let counter = if is_hit { &self.keyspace_hits } else { &self.keyspace_misses };
        counter.set(counter.get() + 1);
    }

    /// A flush of the log has completed.
    pub fn on_flush(&mut self, us: u64, records: u64, bytes: u64) {
        self.flushes.us.record(us);
        if us.saturating_mul(1000) >= self.event_ns_min {
            self.monitor.record("aof-write", self.unix_s, us / 1000);
        }
        self.flushes.records.record(records);
        self.flushes.bytes.record(bytes);
    }

    /// A reply that had waited for the log is released.
    #[inline]
    pub fn on_released(&mut self, held_us: u64) {
        self.flushes.held_us.record(held_us);
    }

    /// A turn that had work took `ns`.
    #[inline]
    pub fn on_turn(&mut self, ns: u64) {
        self.counters.turns += 1;
        self.turn_ns.record(ns);
    }

    /// Takes the samples behind the `instantaneous_` figures, at most every 100 ms.
    pub fn on_tick(&mut self, now: Now, memory_bytes: u64) {
        self.unix_s = now.unix_us / 1_000_000;
        self.ops_rate.sample(now.mono_ns, self.counters.commands);
        self.in_rate.sample(now.mono_ns, self.counters.net_in_bytes);
        self.out_rate.sample(now.mono_ns, self.counters.net_out_bytes);
        self.memory_peak_bytes = self.memory_peak_bytes.max(memory_bytes);
    }

    /// The counters, with what reads have counted.
    pub fn totals(&self) -> Counters {
        let mut totals = self.counters;
        totals.keyspace_hits += self.keyspace_hits.get();
        totals.keyspace_misses += self.keyspace_misses.get();
        totals
    }

    /// By command id.
    pub fn commands(&self) -> &[CommandStats] {
        &self.commands
    }

    pub fn errors(&self) -> impl Iterator<Item = (&str, u64)> {
        self.errors.iter().map(|(code, count)| (&**code, *count))
    }

    /// CONFIG RESETSTAT: all counters start again. The peak of memory and the latency monitor stay, as in Redis.
    pub fn reset(&mut self) {
        *self = Stats {
            memory_peak_bytes: self.memory_peak_bytes,
            is_tracking: self.is_tracking,
            event_ns_min: self.event_ns_min,
            unix_s: self.unix_s,
            monitor: std::mem::take(&mut self.monitor),
            ..Stats::default()
        };
    }

    fn command_mut(&mut self, id: u16) -> &mut CommandStats {
        let place = usize::from(id);
        if place >= self.commands.len() {
            self.commands.resize_with(place + 1, CommandStats::default);
        }
        &mut self.commands[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Source;

    #[test]
    fn commands_are_counted_by_id() {
        let mut stats = Stats::default();
        stats.on_command(3, 1_500);
        stats.on_command(3, 2_500);
        stats.on_failed(3);
        stats.on_rejected(1);
        let command = &stats.commands()[3];
        assert_eq!((command.calls, command.ns, command.failed, command.rejected), (2, 4_000, 1, 0));
        assert_eq!(command.latency.as_ref().unwrap().count(), 2);
        assert_eq!(stats.commands()[1].rejected, 1);
        assert_eq!(stats.counters.commands, 2);
        stats.is_tracking = false;
        stats.on_command(3, 1);
        assert_eq!((stats.commands()[3].calls, stats.commands()[3].latency.as_ref().unwrap().count()), (3, 2));
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let mut stats = Stats::default();
        for round in 0..2 {
            for kind in 0..ERROR_KINDS_MAX + 1 {
                stats.on_error(&format!("E{kind}"));
            }
            assert_eq!(stats.errors().count(), ERROR_KINDS_MAX, "{round}");
        }
        stats.on_error(&"X".repeat(ERROR_KIND_BYTES_MAX + 1));
        assert_eq!(stats.errors().count(), ERROR_KINDS_MAX);
        assert_eq!(stats.counters.error_replies, 2 * (ERROR_KINDS_MAX as u64 + 1) + 1);
        assert!(stats.errors().all(|(_, count)| count == 2));
    }

    #[test]
    fn what_takes_long_is_an_event() {
        let mut settings = Settings::default();
        let id = table::id(table::find(b"get").unwrap());
        let mut stats = Stats::new(&settings, Now { mono_ns: 0, unix_us: 5_000_000 });
        stats.on_command(id, 1 << 60);
        assert_eq!(stats.monitor.events().count(), 0);
        settings.set(Source::Runtime, "latency-monitor-threshold", &["10"]).unwrap();
        stats.configure(&settings);
        for ns in [9_999_999, 10_000_000, 30_000_000] {
            stats.on_command(id, ns);
        }
        stats.on_flush(9_999, 1, 1);
        stats.on_flush(10_000, 1, 1);
        assert_eq!(stats.monitor.event("fast-command").unwrap().samples, [(5, 30)]);
        assert_eq!(stats.monitor.event("aof-write").unwrap().samples, [(5, 10)]);
    }

    #[test]
    fn reset_keeps_the_peak() {
        let mut stats = Stats::default();
        stats.on_tick(Now { mono_ns: 1, unix_us: 1 }, 77);
        stats.on_read(true);
        stats.on_read(false);
        stats.on_command(0, 5);
        assert_eq!((stats.totals().keyspace_hits, stats.totals().keyspace_misses), (1, 1));
        stats.reset();
        assert_eq!((stats.totals(), stats.memory_peak_bytes), (Counters::default(), 77));
        assert!(stats.commands().is_empty());
    }
}
