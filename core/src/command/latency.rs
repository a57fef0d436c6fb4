//! LATENCY: what took long (the monitor), and how long commands take (their histograms).

use super::{Call, Flags, Flow, Run, Spec, help::help};
use crate::command::table;
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::machine::Machine;
use crate::parcel::{Answer, Ask};
use crate::resp::encode::Reply;
use crate::snapshot::Snapshot;
use crate::stats::{CommandStats, LatencyEvent};
use std::collections::BTreeSet;
use std::fmt::Write;

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);
const FAMILY: Spec = Spec { flags: ADMIN, group: "server", since: "2.8.13", ..Spec::DEFAULT };

pub const SPECS: &[Spec] = &[Spec {
    name: "latency",
    arity: -2,
    flags: Flags::NONE,
    run: Run::Container,
    subcommands: SUBCOMMANDS,
    complexity: "Depends on subcommand.",
    summary: "A container for commands about latency.",
    ..FAMILY
}];

const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "latency|doctor",
        arity: 2,
        run: Run::Server(doctor),
        tips: "nondeterministic_output request_policy:all_nodes response_policy:special",
        summary: "Explains the latency events in words.",
        ..FAMILY
    },
    Spec {
        name: "latency|graph",
        arity: 3,
        run: Run::Server(graph),
        tips: "nondeterministic_output request_policy:all_nodes response_policy:special",
        summary: "Draws the samples of a latency event.",
        synopsis: "event",
        ..FAMILY
    },
    Spec {
        name: "latency|help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        run: Run::Server(help),
        summary: "What the subcommands are.",
        ..FAMILY
    },
    Spec {
        name: "latency|histogram",
        arity: -2,
        run: Run::Server(histogram),
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands",
        tips: "nondeterministic_output request_policy:all_nodes response_policy:special",
        summary: "How long commands take: calls by doubling bounds.",
        synopsis: "[command [command ...]]",
        ..FAMILY
    },
    Spec {
        name: "latency|history",
        arity: 3,
        run: Run::Server(history),
        tips: "nondeterministic_output request_policy:all_nodes response_policy:special",
        summary: "The samples of a latency event.",
        synopsis: "event",
        ..FAMILY
    },
    Spec {
        name: "latency|latest",
        arity: 2,
        run: Run::Server(latest),
        tips: "nondeterministic_output request_policy:all_nodes response_policy:special",
        summary: "The newest sample of every latency event.",
        ..FAMILY
    },
    Spec {
        name: "latency|reset",
        arity: -2,
        run: Run::Server(reset),
        tips: "request_policy:all_nodes response_policy:all_succeeded",
        summary: "Forgets the samples of latency events.",
        synopsis: "[event [event ...]]",
        ..FAMILY
    },
];

/// What finishes a command that needs the figures of all shards.
type WithSnapshot = Box<dyn FnOnce(&mut Machine, &Snapshot, &mut Reply<'_>) + Send>;

/// Gathers the figures of all shards and finishes the command with them.
pub fn with_snapshot(machine: &mut Machine, conn: ConnId, then: WithSnapshot) -> Result<Flow, Stop> {
    machine.ask_all(
        conn,
        Ask::Snapshot,
        Box::new(|machine, _, answers, reply| {
            let mut all = Snapshot::default();
            for answer in &answers {
                if let Answer::Snapshot(one) = answer {
                    all.merge(one);
                }
            }
            then(machine, &all, reply);
        }),
    )
}

fn doctor(machine: &mut Machine, conn: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    with_snapshot(
        machine,
        conn,
        Box::new(|machine, all, reply| {
            reply.verbatim(&diagnosis(all, machine.settings.latency_monitor_threshold_ms));
        }),
    )
}

fn diagnosis(all: &Snapshot, threshold_ms: u64) -> String {
    let mut out = String::new();
    for (name, event) in all.monitor.events() {
        let count = event.samples.len() as u64;
        let sum: u64 = event.samples.iter().map(|(_, ms)| ms).sum();
        let mean = sum.checked_div(count).unwrap_or(0);
        let max = event.max_ms;
        writeln!(out, "- {name}: {count} spikes, {mean} ms on average, {max} ms at worst.").expect("a string grows");
    }
    if !out.is_empty() {
        out.insert_str(0, "Latency spikes were seen.\n\n");
        out.push_str("\nSLOWLOG GET names the commands that took long; `aof-write` is the disk's part.\n");
    } else if threshold_ms == 0 {
        out.push_str(
            "Latency monitoring is disabled. Enable it with \"CONFIG SET latency-monitor-threshold <milliseconds>\".\n",
        );
    } else {
        out.push_str("No latency spike was seen since the monitor was enabled or reset.\n");
    }
    out
}

fn no_samples(event: &str) -> Refusal {
    Refusal::text(format!("ERR No samples available for event '{event}'"))
}

fn event_name(call: &Call<'_>) -> String {
    String::from_utf8_lossy(&call.args[2]).into_owned()
}

fn graph(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let name = event_name(call);
    with_snapshot(
        machine,
        conn,
        Box::new(move |machine, all, reply| match all.monitor.event(&name) {
            Some(event) => reply.verbatim(&draw(&name, event, machine.now.unix_us / 1_000_000)),
            None => reply.refusal(&no_samples(&name)),
        }),
    )
}

/// One column a sample, four lines high, with the age of each sample written downwards.
fn draw(name: &str, event: &LatencyEvent, now_s: u64) -> String {
    const COLUMNS: usize = 80;
    const MARKS: [char; 4] = ['_', 'o', '#', '#'];
    const LINES: u64 = 4;
    let skipped = event.samples.len().saturating_sub(COLUMNS);
    let samples: Vec<(u64, u64)> = event.samples.iter().skip(skipped).copied().collect();
    let high = samples.iter().map(|(_, ms)| *ms).max().unwrap_or(0);
    let low = samples.iter().map(|(_, ms)| *ms).min().unwrap_or(0);
    let mut out = format!("{name} - high {high} ms, low {low} ms (all time high {} ms)\n", event.max_ms);
    out.push_str(&"-".repeat(COLUMNS));
    out.push('\n');
    // Where a sample stands between low and high, in steps of which a line has four.
    let steps = LINES * MARKS.len() as u64 - 1;
    let height = |ms: u64| ((ms - low) * steps).checked_div(high - low).unwrap_or(steps);
    for line in (0..LINES).rev() {
        let bottom = line * MARKS.len() as u64;
        let row: String = samples
            .iter()
            .map(|(_, ms)| match height(*ms).checked_sub(bottom) {
                Some(above) if above < MARKS.len() as u64 => MARKS[above as usize],
                Some(_) => '|',
                None => ' ',
            })
            .collect();
        out.push_str(row.trim_end());
        out.push('\n');
    }
    let labels: Vec<String> = samples.iter().map(|(unix_s, _)| age(now_s.saturating_sub(*unix_s))).collect();
    for at in 0..labels.iter().map(String::len).max().unwrap_or(0) {
        let row: String = labels.iter().map(|label| label.chars().nth(at).unwrap_or(' ')).collect();
        out.push('\n');
        out.push_str(row.trim_end());
    }
    out.push('\n');
    out
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

fn history(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let name = event_name(call);
    with_snapshot(
        machine,
        conn,
        Box::new(move |_, all, reply| {
            let none = LatencyEvent::default();
            let samples = &all.monitor.event(&name).unwrap_or(&none).samples;
            reply.array(samples.len());
            for (unix_s, ms) in samples {
                reply.array(2);
                reply.integer(*unix_s as i64);
                reply.integer(*ms as i64);
            }
        }),
    )
}

fn latest(machine: &mut Machine, conn: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    with_snapshot(
        machine,
        conn,
        Box::new(|_, all, reply| {
            let events: Vec<_> = all
                .monitor
                .events()
                .filter_map(|(name, event)| Some((name, event.samples.back()?, event.max_ms)))
                .collect();
            reply.array(events.len());
            for (name, (unix_s, ms), max_ms) in events {
                reply.array(4);
                reply.bulk(name.as_bytes());
                reply.integer(*unix_s as i64);
                reply.integer(*ms as i64);
                reply.integer(max_ms as i64);
            }
        }),
    )
}

fn reset(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let events = call.args.skip(2).iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
    machine.ask_all(
        conn,
        Ask::LatencyReset { events },
        Box::new(|_, _, answers, reply| {
            let names: BTreeSet<&str> = answers
                .iter()
                .flat_map(|answer| {
                    if let Answer::Text(names) = answer { names.split_whitespace() } else { "".split_whitespace() }
                })
                .collect();
            reply.integer(names.len() as i64);
        }),
    )
}

fn histogram(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let wanted = wanted_ids(call);
    with_snapshot(
        machine,
        conn,
        Box::new(move |_, all, reply| {
            let none = CommandStats::default();
            let found: Vec<(u16, &CommandStats)> = wanted
                .into_iter()
                .map(|id| (id, all.commands.get(usize::from(id)).unwrap_or(&none)))
                .filter(|(_, stats)| stats.latency.as_ref().is_some_and(|latency| latency.count() > 0))
                .collect();
            reply.map(found.len());
            for (id, stats) in found {
                write_histogram(table::spec(id), stats, reply);
            }
        }),
    )
}

/// The commands that are named (a container stands for its subcommands), or all.
fn wanted_ids(call: &Call<'_>) -> Vec<u16> {
    if call.args.len() == 2 {
        return (0..table::count() as u16).collect();
    }
    let rest = call.args.skip(2);
    let named = rest.iter().filter_map(table::entry);
    let mut ids: Vec<u16> =
        named.flat_map(|entry| std::iter::once(entry.id).chain(entry.spec.subcommands.iter().map(table::id))).collect();
    ids.dedup();
    ids
}

/// Redis's first bound is 1024 ns, which it shows as 1 us.
const FIRST_BOUND_NS: u64 = 1024;

fn write_histogram(spec: &Spec, stats: &CommandStats, reply: &mut Reply<'_>) {
    let latency = stats.latency.as_ref().expect("it was chosen for having one");
    let bins = latency.doubling(FIRST_BOUND_NS);
    reply.bulk(spec.name.as_bytes());
    reply.map(2);
    reply.bulk(b"calls");
    reply.integer(latency.count() as i64);
    reply.bulk(b"histogram_usec");
    reply.map(bins.len());
    for (bound_ns, count) in bins {
        reply.integer((bound_ns / 1000) as i64);
        reply.integer(count as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_has_a_column_a_sample() {
        let event = LatencyEvent { samples: [(100, 10), (130, 40), (4000, 20)].into(), max_ms: 90 };
        let drawn = draw("command", &event, 4005);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines[0], "command - high 40 ms, low 10 ms (all time high 90 ms)");
        assert_eq!(&lines[2..6], [" #", " |", " |o", "_||"]);
        assert_eq!(&lines[7..9], ["115", "hhs"], "{drawn}");
    }

    #[test]
    fn equal_samples_are_drawn_too() {
        let event = LatencyEvent { samples: [(1, 5), (2, 5)].into(), max_ms: 5 };
        assert!(draw("x", &event, 3).contains("##"), "{}", draw("x", &event, 3));
    }
}
