//! HOTKEYS: the keys that are asked for most, over all shards. HOT: counters that are split over the shards.

use super::{Call, Flags, Flow, Keys, Run, Spec};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::hot::{self, HotKey};
use crate::machine::Machine;
use crate::parcel::{Answer, Ask, HotDo, HotState};
use crate::resp::encode::Reply;
use crate::route;

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);

/// Keys that are answered when no count is given.
const COUNT: usize = 10;

pub const SPECS: &[Spec] = &[
    Spec {
        name: "hot",
        arity: -2,
        flags: Flags::WRITE.and(Flags::NOSCRIPT).and(Flags::NO_MULTI),
        keys: Keys::ONE,
        key_uses: &["RW access"],
        run: Run::Server(hot),
        group: "string",
        complexity: "O(1)",
        summary: "How a counter is, or split it so that each core adds to a part of its own, or make it whole.",
        synopsis: "key [PROMOTE parts [MIN minimum] | DEMOTE]",
        ..Spec::DEFAULT
    },
    Spec {
        name: "hotkeys",
        arity: -1,
        flags: ADMIN,
        run: Run::Server(hotkeys),
        group: "server",
        tips: "request_policy:all_nodes response_policy:special nondeterministic_output",
        complexity: "O(N) where N is the number of keys that are tracked, 128 a shard",
        summary: "The keys that are asked for most, how often in a second, and for what.",
        synopsis: "[COUNT count] [RESET]",
        ..Spec::DEFAULT
    },
];

fn hot(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let (args, shards) = (call.args, machine.identity.shards);
    let what = match args.len() {
        2 => HotDo::Tell,
        3 if args.is(2, "demote") => HotDo::Demote,
        4 if args.is(2, "promote") => HotDo::Promote { parts: parts(call, shards)?, min: None },
        6 if args.is(2, "promote") && args.is(4, "min") => {
            HotDo::Promote { parts: parts(call, shards)?, min: Some(args.integer(5)?) }
        }
        _ => return Err(Refusal::Syntax.into()),
    };
    let shard = machine.owner(route::slot(&args[1]));
    let ask = Ask::Hot { db: call.db, key: args[1].to_vec(), what };
    machine.ask_one(
        conn,
        shard,
        ask,
        Box::new(|_, _, answers, reply| match answers.into_iter().next() {
            Some(Answer::Refused(line)) => reply.error(&line),
            Some(Answer::HotState(state)) => write_state(&state, reply),
            _ => reply.ok(),
        }),
    )
}

fn parts(call: &Call<'_>, shards: u16) -> Result<u16, Refusal> {
    if shards == 1 {
        return Err(Refusal::text("ERR there is one shard: a counter cannot be split"));
    }
    let parts = u16::try_from(call.args.integer(3)?).ok().filter(|parts| (2..=shards).contains(parts));
    parts.ok_or_else(|| Refusal::text(format!("ERR a counter has 2 to {shards} parts: one a shard at most")))
}

fn write_state(state: &HotState, reply: &mut Reply<'_>) {
    reply.map(5);
    reply.bulk(b"state");
    reply.bulk(state.state.as_bytes());
    reply.bulk(b"shard");
    reply.integer(i64::from(state.shard));
    reply.bulk(b"parts");
    reply.integer(i64::from(state.parts));
    reply.bulk(b"minimum");
    match state.min {
        Some(min) => reply.integer(min),
        None => reply.null(),
    }
    reply.bulk(b"promoted");
    let by = match state.state {
        "whole" => "no",
        _ if state.is_manual => "manually",
        _ => "automatically",
    };
    reply.bulk(by.as_bytes());
}

fn hotkeys(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let (mut count, mut resets) = (COUNT, false);
    let mut at = 1;
    while at < call.args.len() {
        if call.args.is(at, "reset") {
            resets = true;
            at += 1;
        } else if call.args.is(at, "count") && at + 1 < call.args.len() {
            let wrong = || Refusal::text("ERR COUNT should be greater than 0");
            let given = call.args.integer(at + 1).map_err(|_| wrong())?;
            count = usize::try_from(given).ok().filter(|&count| count > 0).ok_or_else(wrong)?;
            at += 2;
        } else {
            return Err(Refusal::Syntax.into());
        }
    }
    machine.ask_all(
        conn,
        Ask::HotKeys { count, resets },
        Box::new(move |_, _, answers, reply| {
            let lists = answers.into_iter().filter_map(|answer| match answer {
                Answer::Hot(keys) => Some(keys),
                _ => None,
            });
            write(&hot::merge(lists, count), reply);
        }),
    )
}

fn write(keys: &[HotKey], reply: &mut Reply<'_>) {
    reply.array(keys.len());
    for hot in keys {
        reply.map(8);
        reply.bulk(b"key");
        reply.bulk(&hot.key);
        let numbers = [
            ("db", u64::from(hot.db)),
            ("shard", u64::from(hot.shard)),
            ("rate", hot.rate()),
            ("reads", hot.reads),
            ("writes", hot.writes),
            ("increments", hot.counts),
            ("blind", hot.blind),
        ];
        for (name, number) in numbers {
            reply.bulk(name.as_bytes());
            reply.integer(number as i64);
        }
    }
}
