//! Checkpoints on demand. The server makes them by itself; what a write's answer promises does not depend on them. They
//! shorten the next start, and give the log's space back.

use super::{Call, Flags, Flow, Run, Spec};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::machine::{Machine, Merge};
use crate::parcel::{Answer, Ask};
use crate::resp::encode::Reply;

const FAMILY: Spec =
    Spec { flags: Flags::ADMIN.and(Flags::NOSCRIPT), categories: "admin dangerous", group: "server", ..Spec::DEFAULT };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "bgsave",
        arity: -1,
        run: Run::Server(bgsave),
        summary: "Begins a checkpoint on every shard.",
        synopsis: "[SCHEDULE]",
        ..FAMILY
    },
    Spec {
        name: "save",
        arity: 1,
        flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_MULTI),
        run: Run::Server(save),
        complexity: "O(N) where N is the number of pages that changed since the last checkpoint.",
        summary: "Makes a checkpoint on every shard, and answers when all are on stable storage.",
        ..FAMILY
    },
    Spec {
        name: "lastsave",
        arity: 1,
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
        run: Run::Server(lastsave),
        tips: "nondeterministic_output",
        summary: "When the newest checkpoint that every shard has began, in Unix seconds; at least when the server started.",
        ..FAMILY
    },
];

fn bgsave(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    if call.args.len() > 2 || (call.args.len() == 2 && !call.args.is(1, "schedule")) {
        return Err(Refusal::Syntax.into());
    }
    let merge: Merge = Box::new(|_, _, _, reply| reply.simple("Background saving started"));
    machine.ask_all(conn, Ask::Checkpoint, merge)
}

fn save(machine: &mut Machine, conn: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    save_all(machine, conn)
}

/// Makes a checkpoint on every shard.
pub(super) fn save_all(machine: &mut Machine, conn: ConnId) -> Result<Flow, Stop> {
    let merge: Merge = Box::new(|_, _, answers, reply| {
        let refused = answers.into_iter().find_map(|answer| match answer {
            Answer::Refused(line) => Some(line),
            _ => None,
        });
        match refused {
            Some(line) => reply.refusal(&Refusal::text(line)),
            None => reply.simple("OK"),
        }
    });
    machine.ask_all(conn, Ask::Save, merge)
}

fn lastsave(machine: &mut Machine, conn: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let merge: Merge = Box::new(|machine, _, answers, reply| {
        let started_s = (machine.identity.started.unix_us / 1_000_000) as i64;
        let saved = answers.iter().map(|answer| if let Answer::Count(unix_s) = answer { *unix_s } else { 0 }).min();
        // As in Redis: the start counts as one. What was there then was durable, so no later answer is an earlier time.
        reply.integer(saved.map_or(started_s, |unix_s| unix_s.max(started_s)));
    });
    machine.ask_all(conn, Ask::LastSave, merge)
}
