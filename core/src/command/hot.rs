//! HOTKEYS: the keys that are asked for most, over all shards.

use super::{Call, Flags, Flow, Run, Spec};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::hot::{self, HotKey};
use crate::machine::Machine;
use crate::parcel::{Answer, Ask};
use crate::resp::encode::Reply;

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);

/// Keys that are answered when no count is given.
const COUNT: usize = 10;

pub const SPECS: &[Spec] = &[Spec {
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
}];

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
        reply.map(7);
        reply.bulk(b"key");
        reply.bulk(&hot.key);
        let numbers = [
            ("db", u64::from(hot.db)),
            ("shard", u64::from(hot.shard)),
            ("rate", hot.rate()),
            ("reads", hot.reads),
            ("writes", hot.writes),
            ("increments", hot.counts),
        ];
        for (name, number) in numbers {
            reply.bulk(name.as_bytes());
            reply.integer(number as i64);
        }
    }
}
