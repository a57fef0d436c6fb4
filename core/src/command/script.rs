//! EVAL, EVALSHA, their read-only forms, and SCRIPT. How scripts run is in `machine/script.rs`.

use super::args::parse_integer;
use super::{Call, Flags, Flow, Run, Spec, help};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::machine::{Code, Machine, NO_SCRIPT, Task};
use crate::parcel::{Answer, Ask};
use crate::resp::encode::Reply;
use crate::script::Sha;

pub(super) const EVAL: Flags = Flags::NOSCRIPT
    .and(Flags::STALE)
    .and(Flags::SKIP_MONITOR)
    .and(Flags::MAY_WRITE)
    .and(Flags::NO_MANDATORY_KEYS)
    .and(Flags::MOVABLEKEYS);
pub(super) const EVAL_RO: Flags = Flags::NOSCRIPT
    .and(Flags::STALE)
    .and(Flags::SKIP_MONITOR)
    .and(Flags::NO_MANDATORY_KEYS)
    .and(Flags::MOVABLEKEYS)
    .and(Flags::READONLY);
pub(super) const FAMILY: Spec = Spec {
    categories: "scripting",
    group: "scripting",
    since: "2.6.0",
    complexity: "Depends on the script that is executed.",
    ..Spec::DEFAULT
};
const SUBCOMMAND: Spec = Spec { flags: Flags::NOSCRIPT, complexity: "O(1)", ..FAMILY };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "eval",
        arity: -3,
        flags: EVAL,
        keynum: 2,
        run: Run::Server(eval),
        summary: "Runs a Lua script, as one change.",
        synopsis: "script numkeys [key [key ...]] [arg [arg ...]]",
        ..FAMILY
    },
    Spec {
        name: "eval_ro",
        arity: -3,
        flags: EVAL_RO,
        keynum: 2,
        run: Run::Server(eval),
        since: "7.0.0",
        summary: "Runs a Lua script that changes nothing.",
        synopsis: "script numkeys [key [key ...]] [arg [arg ...]]",
        ..FAMILY
    },
    Spec {
        name: "evalsha",
        arity: -3,
        flags: EVAL,
        keynum: 2,
        run: Run::Server(eval),
        summary: "Runs a Lua script that is known, by its SHA-1.",
        synopsis: "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        ..FAMILY
    },
    Spec {
        name: "evalsha_ro",
        arity: -3,
        flags: EVAL_RO,
        keynum: 2,
        run: Run::Server(eval),
        since: "7.0.0",
        summary: "Runs a Lua script that is known and changes nothing, by its SHA-1.",
        synopsis: "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        ..FAMILY
    },
    Spec {
        name: "script",
        arity: -2,
        categories: "",
        summary: "A container for commands about scripts.",
        subcommands: &[
            Spec {
                name: "script|exists",
                arity: -3,
                run: Run::Server(exists),
                complexity: "O(N) with N being the number of scripts to check",
                summary: "Tells which scripts are known.",
                synopsis: "sha1 [sha1 ...]",
                tips: "request_policy:all_shards response_policy:agg_logical_and",
                ..SUBCOMMAND
            },
            Spec {
                name: "script|flush",
                arity: -2,
                run: Run::Server(flush),
                complexity: "O(N) with N being the number of scripts in cache",
                summary: "Forgets all scripts.",
                synopsis: "[ASYNC | SYNC]",
                tips: "request_policy:all_nodes response_policy:all_succeeded",
                ..SUBCOMMAND
            },
            Spec {
                name: "script|help",
                arity: 2,
                flags: Flags::LOADING.and(Flags::STALE),
                run: Run::Server(help::help),
                since: "5.0.0",
                summary: "Explains the subcommands.",
                ..SUBCOMMAND
            },
            Spec {
                name: "script|kill",
                arity: 2,
                flags: Flags::NOSCRIPT.and(Flags::ALLOW_BUSY),
                run: Run::Server(kill),
                summary: "Would end a script that runs; one that runs too long is ended without it.",
                tips: "request_policy:all_shards response_policy:one_succeeded",
                ..SUBCOMMAND
            },
            Spec {
                name: "script|load",
                arity: 3,
                flags: Flags::NOSCRIPT.and(Flags::STALE),
                run: Run::Server(load),
                complexity: "O(N) with N being the length in bytes of the script body.",
                summary: "Makes a script known. Its SHA-1.",
                synopsis: "script",
                tips: "request_policy:all_nodes response_policy:all_succeeded",
                ..SUBCOMMAND
            },
        ],
        ..FAMILY
    },
];

/// How many of the arguments from `at` on are keys.
fn key_count(call: &Call<'_>, at: usize) -> Result<usize, Refusal> {
    let count = call.args.integer(at)?;
    match usize::try_from(count) {
        Err(_) => Err(Refusal::text("ERR Number of keys can't be negative")),
        Ok(count) if count > call.args.len() - at - 1 => {
            Err(Refusal::text("ERR Number of keys can't be greater than number of args"))
        }
        Ok(count) => Ok(count),
    }
}

/// Whether a command runs a script or a function.
pub fn is_script(spec: &Spec) -> bool {
    matches!(spec.name, "eval" | "eval_ro" | "evalsha" | "evalsha_ro" | "fcall" | "fcall_ro")
}

/// What such a command runs.
pub fn code_of(machine: &mut Machine, call: &Call<'_>) -> Result<Code, Stop> {
    let code = match call.spec.name {
        "fcall" | "fcall_ro" => {
            let function = machine.find_function(&call.args[1])?;
            if parse_integer(&call.args[2]).is_none() {
                return Err(Refusal::text("ERR Bad number of keys provided").into());
            }
            Code::Function(function)
        }
        "eval" | "eval_ro" => {
            key_count(call, 2)?;
            Code::Script(machine.script_of(&call.args[1], false)?)
        }
        _ => {
            let no_script = || Refusal::text(NO_SCRIPT);
            if call.args[1].len() != 40 {
                return Err(no_script().into());
            }
            key_count(call, 2)?;
            Code::Script(machine.find_script(Sha::parse(&call.args[1]).ok_or_else(no_script)?)?)
        }
    };
    key_count(call, 2)?;
    Ok(code)
}

/// What that is given, keys and arguments.
pub fn task_of<'a>(call: &Call<'a>, code: &'a Code) -> Result<Task<'a>, Refusal> {
    let (keys, args) = call.args.skip(3).split(key_count(call, 2)?);
    let is_readonly = call.spec.flags.has(Flags::READONLY);
    Ok(Task { code, keys, args, db: call.db, is_readonly, now: call.now, subject: None, tracker: None })
}

/// All six of them.
pub(super) fn eval(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let code = code_of(machine, call)?;
    machine.run_script(conn, &task_of(call, &code)?, reply)
}

fn load(machine: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let script = machine.script_of(&call.args[2], true)?;
    reply.bulk(script.sha.hex().as_bytes());
    Ok(Flow::Done)
}

fn exists(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let shas: Vec<Option<Sha>> = call.args.skip(2).iter().map(Sha::parse).collect();
    let count = shas.len();
    machine.ask_all(
        conn,
        Ask::ScriptsExist { shas },
        Box::new(move |_, _, answers, reply| {
            reply.array(count);
            for at in 0..count {
                let knows = |answer: &Answer| matches!(answer, Answer::Text(text) if text.as_bytes()[at] == b'1');
                reply.integer(i64::from(answers.iter().any(knows)));
            }
        }),
    )
}

fn flush(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let is_fine =
        call.args.len() == 2 || (call.args.len() == 3 && (call.args.is(2, "sync") || call.args.is(2, "async")));
    if !is_fine {
        return Err(Refusal::text("ERR SCRIPT FLUSH only support SYNC|ASYNC option").into());
    }
    machine.ask_all(conn, Ask::ScriptFlush, Box::new(|_, _, _, reply| reply.ok()))
}

/// Whoever asks is on a core where no script runs.
fn kill(_: &mut Machine, _: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    Err(Refusal::text("NOTBUSY No scripts in execution right now.").into())
}
