//! DEBUG: what tests of servers and of clients ask for, behind `enable-debug-command`. As in Redis the subcommands are no rows of the
//! table.

pub mod rows;

use super::help::wrong_subcommand;
use super::save::save_all;
use super::{Call, Flags, Flow, Run, Spec};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, Effect, Level, Notice, Peer};
use crate::limits::SLEEP_SECONDS_MAX;
use crate::machine::Machine;
use crate::parcel::{Ask, Switch};
use crate::resp::encode::Reply;
use crate::settings::Guard;

pub const SPECS: &[Spec] = &[Spec {
    name: "debug",
    arity: -2,
    flags: Flags::LOADING.and(Flags::STALE).and(Flags::ADMIN).and(Flags::NOSCRIPT),
    run: Run::Server(debug),
    complexity: "Depends on subcommand.",
    group: "server",
    summary: "What tests ask for.",
    synopsis: "subcommand [argument [argument ...]]",
    ..Spec::DEFAULT
}];

/// Refuses DEBUG to those whom `enable-debug-command` does not allow it.
pub fn check_guard(spec: &Spec, guard: Guard, peer: &Peer) -> Result<(), Refusal> {
    if spec.name != "debug" || guard.allows(peer) {
        return Ok(());
    }
    Err(Refusal::text(
        "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, \
         otherwise you need to set this option in the configuration file, and then restart the server.",
    ))
}

const HELP: [&str; 32] = [
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DIGEST",
    "    Answers a digest of all databases, which is Redis's.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Answers the digests of values.",
    "ERROR <string>",
    "    Answers this error.",
    "LOADAOF",
    "    As RELOAD.",
    "LOG <message>",
    "    Writes the message to the server's log.",
    "OBJECT <key>",
    "    What a value is. There are no addresses: that is always 0.",
    "PAUSE-CRON <0|1>",
    "    Accepted, without effect: nothing runs by a clock that could be stopped.",
    "PROTOCOL <type>",
    "    Answers a value of a type of the protocol: string, integer, double, bignum, null, array, set, map,",
    "    attrib, push, verbatim, true or false.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Accepted, without effect: lists have no plain nodes.",
    "RELOAD",
    "    Makes a checkpoint. What is in memory stays.",
    "REPLYBUFFER <option> <value>",
    "    Accepted, without effect: what is sent is not copied to a buffer of a client first.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Whether rows whose time is over are removed before somebody writes them.",
    "SET-DISABLE-DENY-SCRIPTS <0|1>",
    "    Whether scripts may run commands that are denied to them.",
    "SLEEP <seconds>",
    "    Stops the connection's core for a time, with decimals.",
    "HELP",
    "    Prints this help.",
];

fn debug(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let args = call.args;
    let is = |word: &str, argc: usize| args.len() == argc && args.is(1, word);
    let is_on = || args.integer(2).unwrap_or(0) != 0;
    match () {
        () if is("sleep", 3) => {
            let text = std::str::from_utf8(&args[2]).unwrap_or_default();
            // Redis reads it with `strtod`, for which what is no number is zero.
            let seconds: f64 = text.parse().unwrap_or(0.0);
            let us = (seconds.clamp(0.0, SLEEP_SECONDS_MAX) * 1e6) as u64;
            machine.effect(Effect::Sleep { us });
            machine.slept_ns += us * 1000;
            // Who is served behind it in this turn is served when it is over.
            machine.now.unix_us += us;
            reply.ok();
        }
        () if is("error", 3) => reply.error(&String::from_utf8_lossy(&args[2])),
        () if is("log", 3) => {
            let text = format!("DEBUG LOG: {}", String::from_utf8_lossy(&args[2]));
            machine.notice(Notice::Script { level: Level::Warning, text });
            reply.ok();
        }
        () if is("protocol", 3) => protocol(call, reply)?,
        () if is("object", 3) => return rows::run_object(machine, conn, call),
        () if is("digest", 2) => return rows::run_all(machine, conn),
        () if args.is(1, "digest-value") => return rows::run_values(machine, conn, call),
        () if is("quicklist-packed-threshold", 3) || is("pause-cron", 3) || is("replybuffer", 4) => reply.ok(),
        () if is("reload", 2) || is("loadaof", 2) => return save_all(machine, conn),
        () if args.is(1, "reload") => return Err(Refusal::text(NO_RELOAD).into()),
        () if is("set-active-expire", 3) => return switch(machine, conn, Switch::ActiveExpire, is_on()),
        () if is("set-disable-deny-scripts", 3) => return switch(machine, conn, Switch::FreeScripts, is_on()),
        () if is("help", 2) => {
            reply.array(HELP.len());
            HELP.iter().for_each(|line| reply.simple(line));
        }
        () => return Err(wrong_subcommand(call).into()),
    }
    Ok(Flow::Done)
}

const NO_RELOAD: &str = "ERR DEBUG RELOAD makes a checkpoint here and takes no options";

/// All shards switch something.
fn switch(machine: &mut Machine, conn: ConnId, switch: Switch, is_on: bool) -> Result<Flow, Stop> {
    machine.ask_all(conn, Ask::Switch(switch, is_on), Box::new(|_, _, _, reply| reply.ok()))
}

/// Redis's, which is not meant as pi.
#[allow(clippy::approx_constant)]
const DOUBLE: f64 = 3.141;

/// A value of each of the protocol's types, the same ones that Redis gives.
fn protocol(call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let is = |word: &str| call.args.is(2, word);
    match () {
        () if is("string") => reply.bulk(b"Hello World"),
        () if is("integer") => reply.integer(12345),
        () if is("double") => reply.double(DOUBLE),
        () if is("bignum") => reply.big_number("1234567999999999999999999999999999999"),
        () if is("null") => reply.null(),
        () if is("array") || is("set") => {
            if is("set") {
                reply.set(3)
            } else {
                reply.array(3)
            }
            (0..3).for_each(|number| reply.integer(number));
        }
        () if is("map") => {
            reply.map(3);
            for number in 0..3 {
                reply.integer(number);
                reply.bool(number == 1);
            }
        }
        () if is("attrib") => {
            if reply.is_resp3 {
                reply.attribute(1);
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        () if is("push") => {
            if !reply.is_resp3 {
                return Err(Refusal::text("ERR RESP2 is not supported by this command"));
            }
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            reply.bulk(b"Some real reply following the push reply");
        }
        () if is("true") || is("false") => reply.bool(is("true")),
        () if is("verbatim") => reply.verbatim("This is a verbatim\nstring"),
        () => {
            return Err(Refusal::text(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}
