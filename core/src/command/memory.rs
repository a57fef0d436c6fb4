//! MEMORY: what takes memory, of a row and of the server.

use super::latency::with_snapshot;
use super::{Call, Flags, Flow, Keys, Run, Spec, help::help};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, ProcessFacts};
use crate::machine::Machine;
use crate::resp::encode::Reply;
use crate::shard::Shard;
use crate::snapshot::Snapshot;
use std::fmt::Write;

const LOADING: Flags = Flags::LOADING.and(Flags::STALE);
const FAMILY: Spec = Spec { group: "server", since: "4.0.0", ..Spec::DEFAULT };

pub const SPECS: &[Spec] = &[Spec {
    name: "memory",
    arity: -2,
    run: Run::Container,
    subcommands: SUBCOMMANDS,
    complexity: "Depends on subcommand.",
    summary: "A container for commands about memory.",
    ..FAMILY
}];

const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "memory|doctor",
        arity: 2,
        run: Run::Server(doctor),
        tips: "nondeterministic_output request_policy:all_shards response_policy:special",
        summary: "Explains the use of memory in words.",
        ..FAMILY
    },
    Spec {
        name: "memory|help",
        arity: 2,
        flags: LOADING,
        run: Run::Server(help),
        summary: "What the subcommands are.",
        ..FAMILY
    },
    Spec {
        name: "memory|malloc-stats",
        arity: 2,
        run: Run::Server(malloc_stats),
        complexity: "O(N) where N is the number of shards",
        tips: "nondeterministic_output request_policy:all_shards response_policy:special",
        summary: "What is known of the allocator.",
        ..FAMILY
    },
    Spec {
        name: "memory|purge",
        arity: 2,
        run: Run::Server(purge),
        tips: "request_policy:all_shards response_policy:all_succeeded",
        summary: "Gives unused memory back: pages are, as soon as they are free.",
        ..FAMILY
    },
    Spec {
        name: "memory|stats",
        arity: 2,
        run: Run::Server(stats),
        complexity: "O(N) where N is the number of shards",
        tips: "nondeterministic_output request_policy:all_shards response_policy:special",
        summary: "The use of memory in figures.",
        ..FAMILY
    },
    Spec {
        name: "memory|usage",
        arity: -3,
        flags: Flags::READONLY,
        keys: Keys { first: 2, last: 2, step: 1 },
        run: Run::Row(usage),
        key_uses: &["RO"],
        summary: "The bytes that a key and its value take.",
        synopsis: "key [SAMPLES count]",
        ..FAMILY
    },
];

/// Elements of a collection that one look at its size samples, as in Redis; 0 are all.
const SAMPLES: u64 = 5;

fn usage(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let mut samples = SAMPLES;
    let mut at = 3;
    while at < call.args.len() {
        if !call.args.is(at, "samples") || at + 1 >= call.args.len() {
            return Err(Refusal::Syntax.into());
        }
        samples = u64::try_from(call.args.integer(at + 1)?).map_err(|_| Refusal::Syntax)?;
        at += 2;
    }
    let elements = match shard.peek(call, &call.args[2])? {
        Some(row) if row.is_spread => shard.spread_bytes(call, &row.form(), samples)?,
        _ => 0,
    };
    match shard.row_bytes(call, &call.args[2])? {
        Some(bytes) => reply.integer((bytes + elements) as i64),
        None => reply.null(),
    }
    Ok(())
}

fn purge(_: &mut Machine, _: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    reply.ok();
    Ok(Flow::Done)
}

fn doctor(machine: &mut Machine, conn: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    with_snapshot(machine, conn, Box::new(|machine, all, reply| reply.verbatim(&diagnosis(all, &machine.facts))))
}

/// Below this an empty server's own needs hide everything else.
const SMALL_BYTES: u64 = 5 << 20;

/// From here on memory is told to be full, and clients' buffers to be a large part of it.
const FILLED_PERCENT: u64 = 90;
const BUFFERS_SHARE: u64 = 10;

fn diagnosis(all: &Snapshot, facts: &ProcessFacts) -> String {
    let used = all.memory.pages + all.memory.extents;
    if used < SMALL_BYTES {
        return "There is too little data for a diagnosis.\n".to_owned();
    }
    let mut out = String::new();
    let percent = |part: u64, whole: u64| (100 * part).checked_div(whole).unwrap_or(0);
    let filled = percent(used, all.memory.bytes_max);
    if filled >= FILLED_PERCENT {
        let max = all.memory.bytes_max;
        writeln!(out, "- {filled}% of the {max} bytes for data are used: what finds no room is read from the disk.")
            .expect("a string grows");
    }
    if all.memory.client_buffers > used / BUFFERS_SHARE {
        let bytes = all.memory.client_buffers;
        writeln!(out, "- Buffers of clients take {bytes} bytes: see the largest `omem` and `qbuf` in CLIENT LIST.")
            .expect("a string grows");
    }
    if facts.rss_bytes > all.memory.total() * 2 {
        let rss = facts.rss_bytes;
        writeln!(out, "- The process has {rss} bytes resident, more than twice what data and buffers take.")
            .expect("a string grows");
    }
    if out.is_empty() { "Nothing in the use of memory is remarkable.\n".to_owned() } else { out }
}

fn malloc_stats(machine: &mut Machine, conn: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    with_snapshot(
        machine,
        conn,
        Box::new(|machine, all, reply| {
            let mut out = format!(
                "allocator: mimalloc\nallocated: {}\nresident: {}\n",
                machine.facts.allocated_bytes, machine.facts.rss_bytes
            );
            for shard in &all.shards {
                let memory = &shard.memory;
                writeln!(
                    out,
                    "shard {}: pages {}, extents {}, log buffers {}, client buffers {}",
                    shard.shard, memory.pages, memory.extents, memory.log_buffers, memory.client_buffers
                )
                .expect("a string grows");
            }
            reply.verbatim(&out);
        }),
    )
}

fn stats(machine: &mut Machine, conn: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    with_snapshot(machine, conn, Box::new(|machine, all, reply| write_stats(all, &machine.facts, reply)))
}

fn write_stats(all: &Snapshot, facts: &ProcessFacts, reply: &mut Reply<'_>) {
    let memory = &all.memory;
    let (total, rows) = (memory.total(), all.rows());
    let data = memory.dataset;
    let percent = |part: u64, whole: u64| if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
    let databases: Vec<_> = all.databases.iter().enumerate().filter(|(_, database)| database.rows > 0).collect();
    let integers = [
        ("peak.allocated", memory.peak.max(total)),
        ("total.allocated", total),
        ("startup.allocated", 0),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", memory.client_buffers),
        ("cluster.links", 0),
        ("aof.buffer", memory.log_buffers),
        ("lua.caches", 0),
        ("functions.caches", 0),
        ("overhead.total", total - data.min(total)),
        ("keys.count", rows),
        ("keys.bytes-per-key", data.checked_div(rows).unwrap_or(0)),
        ("dataset.bytes", data),
        ("allocator.allocated", facts.allocated_bytes),
        ("allocator.active", facts.allocated_bytes),
        ("allocator.resident", facts.rss_bytes),
    ];
    let floats = [
        ("dataset.percentage", percent(data, total)),
        ("peak.percentage", percent(total, memory.peak.max(total))),
        ("fragmentation", percent(facts.rss_bytes, total) / 100.0),
    ];
    reply.map(integers.len() + floats.len() + databases.len());
    for (name, value) in integers {
        reply.bulk(name.as_bytes());
        reply.integer(value as i64);
    }
    for (number, database) in databases {
        reply.bulk(format!("db.{number}").as_bytes());
        reply.map(2);
        reply.bulk(b"overhead.hashtable.main");
        reply.integer(0);
        reply.bulk(b"overhead.hashtable.expires");
        reply.integer(database.expiring as i64 * DEADLINE_BYTES);
    }
    for (name, value) in floats {
        reply.bulk(name.as_bytes());
        double(value, reply);
    }
}

/// A row's place among the deadlines: eight bytes each of time and of head.
const DEADLINE_BYTES: i64 = 16;

/// A floating-point reply.
fn double(value: f64, reply: &mut Reply<'_>) {
    let text = zmij::Buffer::new().format(value).to_owned();
    if reply.is_resp3 {
        reply.out.push(b',');
        reply.out.extend_from_slice(text.as_bytes());
        reply.out.extend_from_slice(b"\r\n");
    } else {
        reply.bulk(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::replies::Replies;
    use crate::snapshot::{DatabaseFigures, MemoryFigures};

    #[test]
    fn a_diagnosis_names_what_is_tight() {
        let mut all = Snapshot::default();
        let facts = ProcessFacts::default();
        assert!(diagnosis(&all, &facts).contains("too little"));
        all.memory = MemoryFigures { pages: 95 << 20, bytes_max: 100 << 20, ..MemoryFigures::default() };
        assert!(diagnosis(&all, &facts).starts_with("- 95% of the"));
        all.memory.bytes_max = 1000 << 20;
        assert!(diagnosis(&all, &facts).starts_with("Nothing"));
        all.memory.client_buffers = 50 << 20;
        assert!(diagnosis(&all, &facts).contains("CLIENT LIST"));
    }

    #[test]
    fn figures_agree_with_each_other() {
        let all = Snapshot {
            memory: MemoryFigures { pages: 4000, dataset: 1000, ..MemoryFigures::default() },
            databases: vec![DatabaseFigures { rows: 10, ..DatabaseFigures::default() }],
            ..Snapshot::default()
        };
        let mut out = Replies::default();
        write_stats(&all, &ProcessFacts::default(), &mut Reply::new(&mut out, false));
        let text = String::from_utf8(out.bytes().to_vec()).unwrap();
        assert!(text.contains("keys.bytes-per-key\r\n:100\r\n"), "{text}");
        assert!(text.contains("overhead.total\r\n:3000\r\n"), "{text}");
        assert!(text.contains("dataset.percentage\r\n$4\r\n25.0\r\n"), "{text}");
    }
}
