//! TIME, ROLE, SHUTDOWN, WAIT and their like: the server as one thing.

use super::connection::REDIS_VERSION;
use super::help::help;
use super::{Call, Flags, Flow, Run, Spec};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, HostAsk};
use crate::machine::Machine;
use crate::resp::encode::Reply;

const LOADING: Flags = Flags::LOADING.and(Flags::STALE);
const ADMIN: Flags = LOADING.and(Flags::ADMIN).and(Flags::NOSCRIPT);
const FAST: Flags = LOADING.and(Flags::FAST);

const FAMILY: Spec = Spec { group: "server", ..Spec::DEFAULT };
const CONTAINER: Spec = Spec { arity: -2, complexity: "Depends on subcommand.", group: "server", ..Spec::DEFAULT };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "time",
        arity: 1,
        flags: FAST,
        run: Run::Server(time),
        since: "2.6.0",
        tips: "nondeterministic_output",
        summary: "The server's clock: Unix seconds, and microseconds within the second.",
        ..FAMILY
    },
    Spec {
        name: "role",
        arity: 1,
        flags: FAST.and(Flags::NOSCRIPT),
        run: Run::Server(role),
        since: "2.8.12",
        categories: "admin dangerous",
        summary: "The server's part in replication.",
        ..FAMILY
    },
    Spec {
        name: "shutdown",
        arity: -1,
        flags: ADMIN.and(Flags::ALLOW_BUSY).and(Flags::NO_MULTI),
        run: Run::Server(shutdown),
        summary: "Stops the server in good order.",
        synopsis: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
        ..FAMILY
    },
    Spec {
        name: "monitor",
        arity: 1,
        flags: ADMIN,
        run: Run::Server(monitor),
        summary: "Shows the connection all commands that are run, as they are run.",
        ..FAMILY
    },
    Spec {
        name: "lolwut",
        arity: -1,
        flags: Flags::READONLY.and(Flags::FAST),
        run: Run::Server(lolwut),
        since: "5.0.0",
        summary: "The server's version.",
        synopsis: "[VERSION version]",
        ..FAMILY
    },
    Spec {
        name: "module",
        subcommands: MODULE,
        since: "4.0.0",
        summary: "A container for commands about modules.",
        ..CONTAINER
    },
];

const MODULE: &[Spec] = &[
    Spec {
        name: "module|help",
        arity: 2,
        flags: LOADING,
        run: Run::Server(help),
        since: "5.0.0",
        summary: "What the subcommands are.",
        ..FAMILY
    },
    Spec {
        name: "module|list",
        arity: 2,
        flags: Flags::ADMIN.and(Flags::NOSCRIPT),
        run: Run::Server(module_list),
        since: "4.0.0",
        tips: "nondeterministic_output_order",
        summary: "The modules that are loaded: there are none.",
        ..FAMILY
    },
];

fn time(_: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let us = call.now.unix_us;
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(us / 1_000_000).as_bytes());
    reply.bulk(itoa::Buffer::new().format(us % 1_000_000).as_bytes());
    Ok(Flow::Done)
}

fn role(_: &mut Machine, _: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(0);
    reply.array(0);
    Ok(Flow::Done)
}

fn shutdown(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let (mut save, mut nosave, mut now, mut is_forced, mut abort) = (false, false, false, false, false);
    for at in 1..call.args.len() {
        match () {
            () if call.args.is(at, "save") => save = true,
            () if call.args.is(at, "nosave") => nosave = true,
            // There are no replicas whose lag one could wait for: NOW is how it is.
            () if call.args.is(at, "now") => now = true,
            () if call.args.is(at, "force") => is_forced = true,
            () if call.args.is(at, "abort") => abort = true,
            () => return Err(Refusal::Syntax.into()),
        }
    }
    if (abort && (save || nosave || now || is_forced)) || (save && nosave) {
        return Err(Refusal::Syntax.into());
    }
    if abort {
        return Err(Refusal::text("ERR No shutdown in progress.").into());
    }
    machine.ask_host(
        conn,
        HostAsk::Shutdown { is_forced, saves: !nosave },
        Box::new(|_, _, result, reply| match result {
            Ok(_) => reply.ok(),
            Err(_) => reply.error("ERR Errors trying to SHUTDOWN. Check logs."),
        }),
    )
}

fn monitor(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.begin_monitor(conn, reply)?;
    Ok(Flow::Done)
}

fn lolwut(_: &mut Machine, _: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let version = env!("CARGO_PKG_VERSION");
    reply.verbatim(&format!("Cairn ver. {version}, compatible with Redis ver. {REDIS_VERSION}\n"));
    Ok(Flow::Done)
}

fn module_list(_: &mut Machine, _: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    reply.array(0);
    Ok(Flow::Done)
}
