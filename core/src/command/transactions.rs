//! MULTI, EXEC, DISCARD, WATCH, UNWATCH: what EXEC does is in `machine/exec.rs`. BEGIN, COMMIT, ROLLBACK, SAVEPOINT, LOCK: what they do
//! is in `machine/interact.rs`.

use super::{Call, Flags, Flow, Keys, Run, Spec};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::machine::Machine;
use crate::resp::encode::Reply;
use crate::shard::Shard;
use crate::tx::{Patience, Watched};
use cairn_storage::units::ShardId;

const PLAIN: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST).and(Flags::ALLOW_BUSY);
const AT_ONCE: Flags = PLAIN.and(Flags::UNQUEUED);
const OPEN: Flags = Flags::NOSCRIPT.and(Flags::NO_MULTI).and(Flags::FAST);
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
    Spec {
        name: "begin",
        arity: -1,
        flags: OPEN,
        run: Run::Server(begin),
        since: "7.2.0",
        summary: "Begins a transaction whose commands run as they come, until COMMIT or ROLLBACK; READ ONLY ones read a snapshot and lock nothing.",
        synopsis: "[READ ONLY] [ISOLATION <SERIALIZABLE | SNAPSHOT>] [TIMEOUT milliseconds]",
        ..FAMILY
    },
    Spec {
        name: "commit",
        arity: 1,
        flags: OPEN,
        run: Run::Server(Machine::commit_open),
        since: "7.2.0",
        complexity: "O(N), when N is the number of commands that change something",
        summary: "Makes what was changed since BEGIN last, as one change.",
        ..FAMILY
    },
    Spec {
        name: "rollback",
        arity: -1,
        flags: OPEN,
        run: Run::Server(rollback),
        since: "7.2.0",
        summary: "Ends the transaction as if it had never been, or goes back to a savepoint.",
        synopsis: "[TO savepoint]",
        ..FAMILY
    },
    Spec {
        name: "savepoint",
        arity: 2,
        flags: OPEN,
        run: Run::Server(savepoint),
        since: "7.2.0",
        summary: "Names a place in the transaction that ROLLBACK TO goes back to.",
        synopsis: "savepoint",
        ..FAMILY
    },
    Spec {
        name: "lock",
        arity: -2,
        flags: OPEN.and(Flags::MOVABLEKEYS),
        keys: Keys::ONE,
        key_uses: &["RO"],
        run: Run::Server(lock),
        since: "7.2.0",
        complexity: "O(N), when N is the number of keys",
        summary: "Locks keys until the transaction ends, exclusively or shared.",
        synopsis: "key [key ...] [SHARED] [NOWAIT | SKIPLOCKED]",
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
    machine.begin_multi(conn, rolls_back, reply.out);
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

fn begin(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let args = call.args;
    let (mut is_read_only, mut timeout_ms) = (false, None);
    let mut at = 1;
    while at < args.len() {
        if args.is(at, "read") && args.is(at + 1, "only") && !is_read_only {
            is_read_only = true;
        } else if args.is(at, "timeout") && timeout_ms.is_none() {
            let ms = args.integer(at + 1)?;
            let ms = u64::try_from(ms).ok().filter(|ms| *ms > 0);
            timeout_ms = Some(ms.ok_or(Refusal::text("ERR TIMEOUT is a number of milliseconds above 0"))?);
        } else if !args.is(at, "isolation") || !(args.is(at + 1, "serializable") || args.is(at + 1, "snapshot")) {
            // What is serializable is more than a snapshot promises.
            return Err(Refusal::Syntax.into());
        }
        at += 2;
    }
    let flow = machine.begin_open(conn, is_read_only, timeout_ms)?;
    if flow == Flow::Done {
        reply.ok();
    }
    Ok(flow)
}

fn rollback(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    match call.args.len() {
        1 if machine.roll_back_open(conn) => {}
        1 => return Err(Refusal::text("ERR ROLLBACK without BEGIN").into()),
        3 if call.args.is(1, "to") => machine.go_back_open(conn, &call.args[2])?,
        _ => return Err(Refusal::Syntax.into()),
    }
    reply.ok();
    Ok(Flow::Done)
}

fn savepoint(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.save_open(conn, &call.args[1])?;
    reply.ok();
    Ok(Flow::Done)
}

fn lock(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let args = call.args;
    let (mut is_exclusive, mut patience) = (true, Patience::Wait);
    let mut end = args.len();
    // The first key may have any name.
    while end > 2 {
        match () {
            () if args.is(end - 1, "shared") && is_exclusive => is_exclusive = false,
            () if args.is(end - 1, "nowait") && patience == Patience::Wait => patience = Patience::Refuse,
            () if args.is(end - 1, "skiplocked") && patience == Patience::Wait => patience = Patience::Skip,
            () => break,
        }
        end -= 1;
    }
    let keys = (1..end).map(|at| args[at].to_vec()).collect();
    machine.lock_keys(conn, keys, is_exclusive, patience, reply.out)
}

/// A step of EXEC: `key version was-live swaps`. Whether a watched row is not what it was.
pub const STEPS: &[Spec] = &[Spec {
    name: "exec|watched",
    flags: Flags::READONLY,
    keys: Keys::ONE,
    run: Run::Row(is_touched),
    group: "transactions",
    ..Spec::DEFAULT
}];

fn is_touched(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let number = |at: usize| call.args.integer(at).map(|number| number as u64);
    let (key, head) = (call.args[1].to_vec(), shard.head(&call.args[1]));
    let (version, was_live, swaps) = (number(2)?, number(3)? == 1, number(4)?);
    // Of which shard it is nobody asks here.
    let watched = Watched { shard: ShardId(0), db: call.db, head, key, version, was_live, swaps };
    reply.integer(i64::from(shard.is_touched(call, &watched)?));
    Ok(())
}
