//! CLIENT: the connections, seen and steered by one of them.
//!
//! Commands that concern all connections ask every shard, because each core knows only its own; what a shard answers
//! is in `clients.rs`.

use super::help::{help, wrong_subcommand};
use super::{Call, Flags, Flow, Run, Spec, tracking};
use crate::clients;
use crate::command::args::parse_integer;
use crate::command::connection::is_plain;
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::machine::Machine;
use crate::parcel::{Answer, Ask, ClientFilter};
use crate::resp::encode::Reply;
use crate::session::ReplyMode;

const PLAIN: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);
const ADMIN: Flags = PLAIN.and(Flags::ADMIN);

const FAMILY: Spec = Spec { flags: PLAIN, categories: "connection", group: "connection", ..Spec::DEFAULT };

pub const SPECS: &[Spec] = &[Spec {
    name: "client",
    arity: -2,
    flags: Flags::NONE,
    run: Run::Container,
    subcommands: SUBCOMMANDS,
    categories: "",
    since: "2.4.0",
    complexity: "Depends on subcommand.",
    summary: "A container for commands about connections.",
    ..FAMILY
}];

const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "client|caching",
        arity: 3,
        run: Run::Server(tracking::caching),
        since: "6.0.0",
        summary: "Chooses what client-side caching tracks next.",
        synopsis: "<YES | NO>",
        ..FAMILY
    },
    Spec {
        name: "client|durability",
        arity: -2,
        run: Run::Server(super::durability::durability),
        since: "7.2.0",
        summary: "What the connection's replies wait for: nothing, the log on this machine, or standbys too.",
        synopsis: "[MEMORY | LOCAL | STANDBY]",
        ..FAMILY
    },
    Spec {
        name: "client|getname",
        arity: 2,
        run: Run::Server(getname),
        since: "2.6.9",
        summary: "The connection's name.",
        ..FAMILY
    },
    Spec {
        name: "client|getredir",
        arity: 2,
        run: Run::Server(tracking::getredir),
        since: "6.0.0",
        summary: "The connection that gets this one's invalidation messages.",
        ..FAMILY
    },
    Spec {
        name: "client|help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        run: Run::Server(help),
        since: "5.0.0",
        summary: "What the subcommands are.",
        ..FAMILY
    },
    Spec {
        name: "client|id",
        arity: 2,
        run: Run::Server(id),
        since: "5.0.0",
        summary: "The connection's number, unique while the server runs.",
        ..FAMILY
    },
    Spec {
        name: "client|info",
        arity: 2,
        run: Run::Server(info),
        since: "6.2.0",
        tips: "nondeterministic_output",
        summary: "What the server knows of this connection.",
        ..FAMILY
    },
    Spec {
        name: "client|kill",
        arity: -3,
        flags: ADMIN,
        run: Run::Server(kill),
        since: "2.4.0",
        complexity: "O(N) where N is the number of connections",
        summary: "Closes connections.",
        synopsis: "<ip:port | <[ID client-id] | [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] | [USER username] | \
                   [ADDR ip:port] | [LADDR ip:port] | [SKIPME <YES | NO>] [...]>>",
        ..FAMILY
    },
    Spec {
        name: "client|list",
        arity: -2,
        flags: ADMIN,
        run: Run::Server(list),
        since: "2.4.0",
        complexity: "O(N) where N is the number of connections",
        tips: "nondeterministic_output",
        summary: "What the server knows of all connections.",
        synopsis: "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
        ..FAMILY
    },
    Spec {
        name: "client|no-evict",
        arity: 3,
        flags: ADMIN,
        run: Run::Server(no_evict),
        since: "7.0.0",
        summary: "Whether the connection may be closed to save memory.",
        synopsis: "<ON | OFF>",
        ..FAMILY
    },
    Spec {
        name: "client|no-touch",
        arity: 3,
        run: Run::Server(no_touch),
        since: "7.2.0",
        summary: "Whether the connection's reads count as uses of their keys.",
        synopsis: "<ON | OFF>",
        ..FAMILY
    },
    Spec {
        name: "client|pause",
        arity: -3,
        flags: ADMIN,
        run: Run::Server(pause),
        since: "3.0.0",
        summary: "Holds all commands, or all writes, for a time.",
        synopsis: "timeout [WRITE | ALL]",
        ..FAMILY
    },
    Spec {
        name: "client|reply",
        arity: 3,
        run: Run::Server(reply_mode),
        since: "3.2.0",
        summary: "Whether the connection wants replies.",
        synopsis: "<ON | OFF | SKIP>",
        ..FAMILY
    },
    Spec {
        name: "client|setinfo",
        arity: 4,
        run: Run::Server(setinfo),
        since: "7.2.0",
        tips: "request_policy:all_nodes response_policy:all_succeeded",
        summary: "Tells the server which library the client uses.",
        synopsis: "<LIB-NAME libname | LIB-VER libver>",
        ..FAMILY
    },
    Spec {
        name: "client|setname",
        arity: 3,
        run: Run::Server(setname),
        since: "2.6.9",
        tips: "request_policy:all_nodes response_policy:all_succeeded",
        summary: "Names the connection.",
        synopsis: "connection-name",
        ..FAMILY
    },
    Spec {
        name: "client|tracking",
        arity: -3,
        run: Run::Server(tracking::tracking),
        since: "6.0.0",
        summary: "Whether the connection is told what is no longer true of what it has read.",
        synopsis: "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
        ..FAMILY
    },
    Spec {
        name: "client|trackinginfo",
        arity: 2,
        run: Run::Server(tracking::trackinginfo),
        since: "6.2.0",
        summary: "What client-side caching tracks for this connection.",
        ..FAMILY
    },
    Spec {
        name: "client|txn",
        arity: 4,
        run: Run::Server(txn),
        since: "7.2.0",
        summary: "Whether any failing command undoes the connection's transactions as a whole.",
        synopsis: "ROLLBACK <ON | OFF>",
        ..FAMILY
    },
    Spec {
        name: "client|unblock",
        arity: -3,
        flags: ADMIN,
        run: Run::Server(unblock),
        since: "5.0.0",
        complexity: "O(N) where N is the number of connections",
        summary: "Ends the wait of a blocked connection.",
        synopsis: "client-id [TIMEOUT | ERROR]",
        ..FAMILY
    },
    Spec {
        name: "client|unpause",
        arity: 2,
        flags: ADMIN,
        run: Run::Server(unpause),
        since: "6.2.0",
        summary: "Ends a pause.",
        ..FAMILY
    },
];

fn getname(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    match &machine.client(conn).name[..] {
        [] => reply.null(),
        name => reply.bulk(name),
    }
    Ok(Flow::Done)
}

fn id(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    reply.integer(machine.client(conn).id as i64);
    Ok(Flow::Done)
}

fn info(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let line = clients::line(machine, conn);
    reply.verbatim(&line);
    Ok(Flow::Done)
}

fn kill(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    if call.args.len() == 3 {
        let addr = String::from_utf8_lossy(&call.args[2]).into_owned();
        return kill_all(machine, conn, ClientFilter { addr: Some(addr), ..ClientFilter::default() }, false, true);
    }
    let (filter, skip_me) = kill_filter(machine, call)?;
    kill_all(machine, conn, filter, skip_me, false)
}

/// The options of CLIENT KILL, and whether the caller is spared.
fn kill_filter(machine: &Machine, call: &Call<'_>) -> Result<(ClientFilter, bool), Refusal> {
    let args = call.args;
    let (mut filter, mut skip_me) = (ClientFilter::default(), true);
    let mut at = 2;
    while at < args.len() {
        let Some(value) = args.get(at + 1) else { return Err(Refusal::Syntax) };
        let text = String::from_utf8_lossy(value).into_owned();
        if args.is(at, "id") {
            let id = parse_integer(value).filter(|id| *id > 0);
            filter.ids = vec![id.ok_or(Refusal::text("ERR client-id should be greater than 0"))? as u64];
        } else if args.is(at, "type") {
            filter.kind = Some(kind(&text)?);
        } else if args.is(at, "user") {
            if machine.acl.user(value).is_none() {
                return Err(Refusal::text(format!("ERR No such user '{text}'")));
            }
            filter.user = Some(value.to_vec());
        } else if args.is(at, "addr") {
            filter.addr = Some(text);
        } else if args.is(at, "laddr") {
            filter.laddr = Some(text);
        } else if args.is(at, "skipme") && args.is(at + 1, "yes") {
            skip_me = true;
        } else if args.is(at, "skipme") && args.is(at + 1, "no") {
            skip_me = false;
        } else {
            return Err(Refusal::Syntax);
        }
        at += 2;
    }
    Ok((filter, skip_me))
}

/// A type of client, as Redis names it.
fn kind(text: &str) -> Result<String, Refusal> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "normal" | "master" | "pubsub" => Ok(lower),
        "slave" | "replica" => Ok("replica".to_owned()),
        _ => Err(Refusal::text(format!("ERR Unknown client type '{text}'"))),
    }
}

fn kill_all(
    machine: &mut Machine,
    conn: ConnId,
    filter: ClientFilter,
    skip_me: bool,
    is_old_form: bool,
) -> Result<Flow, Stop> {
    // The caller itself goes last, once it has its reply.
    let kills_me = !skip_me && clients::is_meant(machine.client(conn), &filter);
    let skip = Some(machine.client(conn).id);
    machine.ask_all(
        conn,
        Ask::ClientKill { filter, skip },
        Box::new(move |machine, conn, answers, reply| {
            let killed = sum(&answers) + i64::from(kills_me);
            match (is_old_form, killed) {
                (true, 0) => reply.error("ERR No such client"),
                (true, _) => reply.ok(),
                (false, killed) => reply.integer(killed),
            }
            if kills_me {
                machine.close(conn, false);
            }
        }),
    )
}

/// The sum of what the shards have counted.
pub fn sum(answers: &[Answer]) -> i64 {
    answers.iter().map(|answer| if let Answer::Count(count) = answer { *count } else { 0 }).sum()
}

fn list(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let args = call.args;
    let mut filter = ClientFilter::default();
    if args.len() == 4 && args.is(2, "type") {
        filter.kind = Some(kind(&String::from_utf8_lossy(&args[3]))?);
    } else if args.len() > 3 && args.is(2, "id") {
        for arg in args.skip(3).iter() {
            let id = parse_integer(arg).ok_or(Refusal::text("ERR Invalid client ID"))?;
            filter.ids.push(id as u64);
        }
    } else if args.len() > 2 {
        return Err(Refusal::Syntax.into());
    }
    machine.ask_all(
        conn,
        Ask::ClientList { filter },
        Box::new(|_, _, answers, reply| {
            let mut text = String::new();
            for answer in &answers {
                if let Answer::Text(lines) = answer {
                    text.push_str(lines);
                }
            }
            reply.verbatim(&text);
        }),
    )
}

/// ON or OFF as the third argument.
fn on_off(call: &Call<'_>, at: usize) -> Result<bool, Refusal> {
    match () {
        () if call.args.is(at, "on") => Ok(true),
        () if call.args.is(at, "off") => Ok(false),
        () => Err(Refusal::Syntax),
    }
}

fn no_evict(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.client_mut(conn).no_evict = on_off(call, 2)?;
    reply.ok();
    Ok(Flow::Done)
}

fn no_touch(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.client_mut(conn).no_touch = on_off(call, 2)?;
    reply.ok();
    Ok(Flow::Done)
}

fn txn(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    if !call.args.is(2, "rollback") {
        return Err(Refusal::Syntax.into());
    }
    machine.client_mut(conn).rolls_back = on_off(call, 3)?;
    reply.ok();
    Ok(Flow::Done)
}

fn pause(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let writes_only = match call.args.len() {
        3 => false,
        4 if call.args.is(3, "write") => true,
        4 if call.args.is(3, "all") => false,
        4 => return Err(Refusal::text("ERR CLIENT PAUSE mode must be WRITE or ALL").into()),
        _ => return Err(wrong_subcommand(call).into()),
    };
    let ms = timeout_ms(&call.args[2])?;
    pause_all(machine, conn, call.now.unix_ms().saturating_add(ms), writes_only)
}

/// Milliseconds of a timeout.
pub fn timeout_ms(text: &[u8]) -> Result<u64, Refusal> {
    let ms = parse_integer(text).ok_or(Refusal::text("ERR timeout is not an integer or out of range"))?;
    u64::try_from(ms).map_err(|_| Refusal::text("ERR timeout is negative"))
}

fn unpause(machine: &mut Machine, conn: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    pause_all(machine, conn, 0, false)
}

fn pause_all(machine: &mut Machine, conn: ConnId, until_unix_ms: u64, writes_only: bool) -> Result<Flow, Stop> {
    machine.ask_all(conn, Ask::ClientPause { until_unix_ms, writes_only }, Box::new(|_, _, _, reply| reply.ok()))
}

fn reply_mode(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let client = machine.client_mut(conn);
    if call.args.is(2, "on") {
        client.reply_mode = ReplyMode::On;
        reply.ok();
    } else if call.args.is(2, "off") {
        client.reply_mode = ReplyMode::Off;
    } else if call.args.is(2, "skip") {
        // A client that has switched replies off wants none anyway.
        if client.reply_mode != ReplyMode::Off {
            client.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(Refusal::Syntax.into());
    }
    Ok(Flow::Done)
}

fn setinfo(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let option = String::from_utf8_lossy(&call.args[2]).into_owned();
    let value = &call.args[3];
    let is_name = call.args.is(2, "lib-name");
    if !is_name && !call.args.is(2, "lib-ver") {
        return Err(Refusal::text(format!("ERR Unrecognized option '{option}'")).into());
    }
    if !is_plain(value) {
        let field = if is_name { "lib-name" } else { "lib-ver" };
        return Err(Refusal::text(format!("ERR {field} cannot contain spaces, newlines or special characters.")).into());
    }
    let client = machine.client_mut(conn);
    *(if is_name { &mut client.lib_name } else { &mut client.lib_ver }) = value.to_vec();
    reply.ok();
    Ok(Flow::Done)
}

fn setname(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    if !is_plain(&call.args[2]) {
        let text = "ERR Client names cannot contain spaces, newlines or special characters.";
        return Err(Refusal::text(text).into());
    }
    machine.client_mut(conn).name = call.args[2].to_vec();
    reply.ok();
    Ok(Flow::Done)
}

fn unblock(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let with_error = match call.args.len() {
        3 => false,
        4 if call.args.is(3, "timeout") => false,
        4 if call.args.is(3, "error") => true,
        4 => return Err(Refusal::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR").into()),
        _ => return Err(wrong_subcommand(call).into()),
    };
    let id = call.args.integer(2)? as u64;
    machine.ask_all(
        conn,
        Ask::ClientUnblock { id, with_error },
        Box::new(|_, _, answers, reply| reply.integer(sum(&answers))),
    )
}
