//! WAIT and WAITAOF: until others have a connection's writes. There are no replicas yet, so a wait for one ends by time.

use super::client::timeout_ms;
use super::{Call, Flags, Flow, Run, Spec};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::machine::Machine;
use crate::resp::encode::Reply;

const FAMILY: Spec = Spec { categories: "connection", group: "generic", ..Spec::DEFAULT };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "wait",
        arity: 3,
        flags: Flags::BLOCKING,
        run: Run::Server(wait),
        since: "3.0.0",
        tips: "request_policy:all_shards response_policy:agg_min",
        summary: "Waits until replicas have the connection's writes.",
        synopsis: "numreplicas timeout",
        ..FAMILY
    },
    Spec {
        name: "waitaof",
        arity: 4,
        flags: Flags::BLOCKING,
        run: Run::Server(waitaof),
        since: "7.2.0",
        tips: "request_policy:all_shards response_policy:agg_min",
        summary: "Waits until the connection's writes are on stable storage here and on replicas.",
        synopsis: "numlocal numreplicas timeout",
        ..FAMILY
    },
];

/// Nanoseconds until the end of a wait whose timeout is given in milliseconds; 0 waits for ever.
fn wait_ns(call: &Call<'_>, index: usize) -> Result<u64, Refusal> {
    let ms = timeout_ms(&call.args[index])?;
    // A wait for ever ends when the connection does, or by CLIENT UNBLOCK: a century is as long.
    const CENTURY_MS: u64 = 100 * 365 * 24 * 3600 * 1000;
    Ok(if ms == 0 { CENTURY_MS } else { ms.min(CENTURY_MS) } * 1_000_000)
}

fn wait(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let replicas = call.args.integer(1)?;
    let ns = wait_ns(call, 2)?;
    if replicas <= 0 {
        reply.integer(0);
        return Ok(Flow::Done);
    }
    let then = |_: &mut Machine, _: ConnId, result: Result<String, String>, reply: &mut Reply<'_>| match result {
        Ok(_) => reply.integer(0),
        Err(line) => reply.error(&line),
    };
    machine.reply_after(conn, ns, Box::new(then))
}

fn waitaof(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let local = ranged(call, 1, 1)?;
    let replicas = ranged(call, 2, i64::MAX)?;
    let ns = wait_ns(call, 3)?;
    // What this connection wrote before is stable: its replies were.
    let write = |reply: &mut Reply<'_>| {
        reply.array(2);
        reply.integer(1);
        reply.integer(0);
    };
    debug_assert!(local <= 1);
    if replicas == 0 {
        write(reply);
        return Ok(Flow::Done);
    }
    let then = move |_: &mut Machine, _: ConnId, result: Result<String, String>, reply: &mut Reply<'_>| match result {
        Ok(_) => write(reply),
        Err(line) => reply.error(&line),
    };
    machine.reply_after(conn, ns, Box::new(then))
}

/// A number from 0 to `max`.
fn ranged(call: &Call<'_>, index: usize, max: i64) -> Result<i64, Refusal> {
    let value = call.args.integer(index)?;
    if (0..=max).contains(&value) {
        return Ok(value);
    }
    Err(Refusal::text(if max == i64::MAX {
        "ERR value is out of range, must be positive".to_owned()
    } else {
        format!("ERR value is out of range, value must between 0 and {max}")
    }))
}
