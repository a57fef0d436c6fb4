//! MULTI, EXEC, DISCARD, WATCH, UNWATCH. What EXEC does is in `machine/exec.rs`.

use super::{Call, Flags, Flow, Keys, Run, Spec};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::machine::Machine;
use crate::resp::encode::Reply;
use crate::tx::Multi;

const PLAIN: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST).and(Flags::ALLOW_BUSY);
const AT_ONCE: Flags = PLAIN.and(Flags::UNQUEUED);
const FAMILY: Spec = Spec { categories: "transaction", group: "transactions", ..Spec::DEFAULT };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "multi",
        arity: -1,
        flags: AT_ONCE,
        run: Run::Server(multi),
        since: "1.2.0",
        summary: "Begins a transaction: commands are queued until EXEC.",
        synopsis: "[ROLLBACK]",
        ..FAMILY
    },
    Spec {
        name: "exec",
        arity: 1,
        flags: Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::SKIP_SLOWLOG).and(Flags::UNQUEUED),
        run: Run::Server(Machine::exec),
        since: "1.2.0",
        complexity: "Depends on commands in the transaction",
        summary: "Runs all queued commands as one change, also over a crash.",
        ..FAMILY
    },
    Spec {
        name: "discard",
        arity: 1,
        flags: AT_ONCE,
        run: Run::Server(discard),
        since: "2.0.0",
        complexity: "O(N), when N is the number of queued commands",
        summary: "Forgets what was queued, and what is watched.",
        ..FAMILY
    },
    Spec {
        name: "watch",
        arity: -2,
        flags: AT_ONCE,
        keys: Keys::ALL,
        key_uses: &["RO"],
        run: Run::Server(watch),
        since: "2.2.0",
        complexity: "O(1) for every key.",
        summary: "Lets the next EXEC do nothing if one of the keys is changed before.",
        synopsis: "key [key ...]",
        ..FAMILY
    },
    Spec {
        name: "unwatch",
        arity: 1,
        flags: PLAIN,
        run: Run::Server(unwatch),
        since: "2.2.0",
        summary: "Forgets what is watched.",
        ..FAMILY
    },
];

fn multi(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let client = machine.client_mut(conn);
    let is_asked = call.args.len() == 2 && call.args.is(1, "rollback");
    if call.args.len() > 1 && !is_asked {
        client.multi.iter_mut().for_each(|multi| multi.is_aborted = true);
        return Err(call.arity());
    }
    if client.multi.is_some() {
        return Err(Refusal::text("ERR MULTI calls can not be nested").into());
    }
    let rolls_back = is_asked || client.rolls_back;
    client.multi = Some(Box::new(Multi::new(rolls_back)));
    reply.ok();
    Ok(Flow::Done)
}

fn discard(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    if machine.client_mut(conn).multi.take().is_none() {
        return Err(Refusal::text("ERR DISCARD without MULTI").into());
    }
    machine.unwatch(conn);
    reply.ok();
    Ok(Flow::Done)
}

fn watch(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    if machine.client_mut(conn).multi.is_some() {
        return Err(Refusal::text("ERR WATCH inside MULTI is not allowed").into());
    }
    let flow = machine.watch_keys(conn, call)?;
    if flow == Flow::Done {
        reply.ok();
    }
    Ok(flow)
}

fn unwatch(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.unwatch(conn);
    reply.ok();
    Ok(Flow::Done)
}
