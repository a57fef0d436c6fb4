//! SLOWLOG: the slow logs of all shards as one.

use super::client::sum;
use super::help::{help, wrong_subcommand};
use super::{Call, Flags, Flow, Run, Spec};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::machine::Machine;
use crate::parcel::{Answer, Ask, SlowEntry};
use crate::resp::encode::Reply;
use crate::slowlog;

const ADMIN: Flags = Flags::ADMIN.and(Flags::LOADING).and(Flags::STALE);
const FAMILY: Spec = Spec { flags: ADMIN, group: "server", since: "2.2.12", ..Spec::DEFAULT };

/// Entries that GET answers when no count is given.
const COUNT: usize = 10;

pub const SPECS: &[Spec] = &[Spec {
    name: "slowlog",
    arity: -2,
    flags: Flags::NONE,
    run: Run::Container,
    subcommands: SUBCOMMANDS,
    complexity: "Depends on subcommand.",
    summary: "A container for commands about the slow log.",
    ..FAMILY
}];

const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "slowlog|get",
        arity: -2,
        run: Run::Server(get),
        complexity: "O(N) where N is the number of entries that are answered",
        tips: "request_policy:all_nodes nondeterministic_output",
        summary: "The newest entries of the slow log.",
        synopsis: "[count]",
        ..FAMILY
    },
    Spec {
        name: "slowlog|help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        run: Run::Server(help),
        since: "6.2.0",
        summary: "What the subcommands are.",
        ..FAMILY
    },
    Spec {
        name: "slowlog|len",
        arity: 2,
        run: Run::Server(len),
        tips: "request_policy:all_nodes response_policy:agg_sum nondeterministic_output",
        summary: "How many entries the slow log has.",
        ..FAMILY
    },
    Spec {
        name: "slowlog|reset",
        arity: 2,
        run: Run::Server(reset),
        complexity: "O(N) where N is the number of entries",
        tips: "request_policy:all_nodes response_policy:all_succeeded",
        summary: "Empties the slow log.",
        ..FAMILY
    },
];

fn get(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let count = match call.args.len() {
        2 => COUNT,
        3 => {
            let wrong = || Refusal::text("ERR count should be greater than or equal to -1");
            match call.args.integer(2).map_err(|_| wrong())? {
                -1 => usize::MAX,
                count => usize::try_from(count).map_err(|_| wrong())?,
            }
        }
        _ => return Err(wrong_subcommand(call).into()),
    };
    machine.ask_all(
        conn,
        Ask::SlowlogGet { count },
        Box::new(move |machine, _, answers, reply| {
            // Each shard keeps as many as one server would: together they show no more than that.
            let shown = count.min(machine.settings.slowlog_max_len);
            let logs = answers.into_iter().filter_map(|answer| match answer {
                Answer::Slow(entries) => Some(entries),
                _ => None,
            });
            write(&slowlog::merge(logs, shown), reply);
        }),
    )
}

fn write(entries: &[SlowEntry], reply: &mut Reply<'_>) {
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        reply.integer(entry.id as i64);
        reply.integer(entry.unix_s as i64);
        reply.integer(entry.us as i64);
        reply.array(entry.args.len());
        for arg in &entry.args {
            reply.bulk(arg);
        }
        reply.bulk(entry.addr.as_bytes());
        reply.bulk(entry.name.as_bytes());
    }
}

fn len(machine: &mut Machine, conn: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.ask_all(
        conn,
        Ask::SlowlogLen,
        Box::new(|machine, _, answers, reply| {
            reply.integer(sum(&answers).min(machine.settings.slowlog_max_len as i64));
        }),
    )
}

fn reset(machine: &mut Machine, conn: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.ask_all(conn, Ask::SlowlogReset, Box::new(|_, _, _, reply| reply.ok()))
}
