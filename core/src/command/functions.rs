//! FCALL, FCALL_RO and FUNCTION. How functions run is in `machine/script.rs`, how libraries are kept in `machine/functions.rs`.

use super::script::{EVAL, EVAL_RO, FAMILY, eval};
use super::{Call, Flags, Flow, Run, Spec, help};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::glob;
use crate::machine::{Change, Machine, Policy};
use crate::resp::encode::Reply;
use crate::script::library::Library;
use crate::script::payload;

const FUNCTIONS: Spec = Spec { since: "7.0.0", ..FAMILY };
const SUBCOMMAND: Spec = Spec { flags: Flags::NOSCRIPT, complexity: "O(1)", ..FUNCTIONS };
const CHANGE: Spec = Spec {
    flags: Flags::WRITE.and(Flags::NOSCRIPT),
    tips: "request_policy:all_shards response_policy:all_succeeded",
    ..SUBCOMMAND
};

pub const SPECS: &[Spec] = &[
    Spec {
        name: "fcall",
        arity: -3,
        flags: EVAL,
        keynum: 2,
        run: Run::Server(eval),
        complexity: "Depends on the function that is executed.",
        summary: "Calls a function of a library, as one change.",
        synopsis: "function numkeys [key [key ...]] [arg [arg ...]]",
        ..FUNCTIONS
    },
    Spec {
        name: "fcall_ro",
        arity: -3,
        flags: EVAL_RO,
        keynum: 2,
        run: Run::Server(eval),
        complexity: "Depends on the function that is executed.",
        summary: "Calls a function of a library that changes nothing.",
        synopsis: "function numkeys [key [key ...]] [arg [arg ...]]",
        ..FUNCTIONS
    },
    Spec {
        name: "function",
        arity: -2,
        categories: "",
        complexity: "Depends on subcommand.",
        summary: "A container for commands about libraries of functions.",
        subcommands: &[
            Spec {
                name: "function|delete",
                arity: 3,
                run: Run::Server(delete),
                summary: "Deletes a library and its functions.",
                synopsis: "library-name",
                ..CHANGE
            },
            Spec {
                name: "function|dump",
                arity: 2,
                run: Run::Server(dump),
                complexity: "O(N) where N is the number of functions",
                summary: "Answers all libraries as one string of bytes, for RESTORE.",
                ..SUBCOMMAND
            },
            Spec {
                name: "function|flush",
                arity: -2,
                run: Run::Server(flush),
                complexity: "O(N) where N is the number of functions deleted",
                summary: "Deletes all libraries.",
                synopsis: "[ASYNC | SYNC]",
                ..CHANGE
            },
            Spec {
                name: "function|help",
                arity: 2,
                flags: Flags::LOADING.and(Flags::STALE),
                run: Run::Server(help::help),
                summary: "Explains the subcommands.",
                ..SUBCOMMAND
            },
            Spec {
                name: "function|kill",
                arity: 2,
                flags: Flags::NOSCRIPT.and(Flags::ALLOW_BUSY),
                run: Run::Server(kill),
                tips: "request_policy:all_shards response_policy:one_succeeded",
                summary: "Would end a function that runs; one that runs too long is ended without it.",
                ..SUBCOMMAND
            },
            Spec {
                name: "function|list",
                arity: -2,
                run: Run::Server(list),
                complexity: "O(N) where N is the number of functions",
                tips: "nondeterministic_output_order",
                summary: "Tells of all libraries.",
                synopsis: "[LIBRARYNAME library-name-pattern] [WITHCODE]",
                ..SUBCOMMAND
            },
            Spec {
                name: "function|load",
                arity: -3,
                flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::NOSCRIPT),
                run: Run::Server(load),
                complexity: "O(1) (considering compilation time is redundant)",
                summary: "Makes a library. Its name.",
                synopsis: "[REPLACE] function-code",
                ..CHANGE
            },
            Spec {
                name: "function|restore",
                arity: -3,
                flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::NOSCRIPT),
                run: Run::Server(restore),
                complexity: "O(N) where N is the number of functions on the payload",
                summary: "Makes libraries of what DUMP has answered.",
                synopsis: "serialized-value [FLUSH | APPEND | REPLACE]",
                ..CHANGE
            },
            Spec {
                name: "function|stats",
                arity: 2,
                flags: Flags::NOSCRIPT.and(Flags::ALLOW_BUSY),
                run: Run::Server(stats),
                tips: "nondeterministic_output request_policy:all_shards response_policy:special",
                summary: "Counts libraries and functions.",
                ..SUBCOMMAND
            },
        ],
        ..FUNCTIONS
    },
];

fn load(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let last = call.args.len() - 1;
    for at in 2..last {
        if !call.args.is(at, "replace") {
            let word = String::from_utf8_lossy(&call.args[at]);
            return Err(Refusal::text(format!("ERR Unknown option given: {word}")).into());
        }
    }
    let change = Change::Load { text: call.args[last].to_vec(), is_replacing: last > 2 };
    machine.change_functions(conn, change, call, reply)
}

fn delete(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.change_functions(conn, Change::Delete(call.args[2].to_vec()), call, reply)
}

fn flush(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    if call.args.len() > 3 {
        return Err(help::wrong_subcommand(call).into());
    }
    if call.args.len() == 3 && !call.args.is(2, "sync") && !call.args.is(2, "async") {
        return Err(Refusal::text("ERR FUNCTION FLUSH only supports SYNC|ASYNC option").into());
    }
    machine.change_functions(conn, Change::Flush, call, reply)
}

fn restore(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let policy = match call.args.len() {
        3 => Policy::Append,
        4 if call.args.is(3, "append") => Policy::Append,
        4 if call.args.is(3, "replace") => Policy::Replace,
        4 if call.args.is(3, "flush") => Policy::Flush,
        4 => {
            let text = "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.";
            return Err(Refusal::text(text).into());
        }
        _ => return Err(help::wrong_subcommand(call).into()),
    };
    let texts = payload::decode(&call.args[2]).map_err(|why| Refusal::text(format!("ERR {}", why.text())))?;
    machine.change_functions(conn, Change::Restore { texts, policy }, call, reply)
}

fn dump(machine: &mut Machine, _: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.refresh_functions()?;
    reply.bulk(&machine.functions.libraries().payload(machine.settings.dump_payload_version));
    Ok(Flow::Done)
}

/// Whoever asks is on a core where no function runs.
fn kill(_: &mut Machine, _: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    Err(Refusal::text("NOTBUSY No scripts in execution right now.").into())
}

fn stats(machine: &mut Machine, _: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.refresh_functions()?;
    let libraries = machine.functions.libraries();
    reply.map(2);
    reply.bulk(b"running_script");
    reply.null();
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.integer(libraries.iter().len() as i64);
    reply.bulk(b"functions_count");
    reply.integer(libraries.functions() as i64);
    Ok(Flow::Done)
}

fn list(machine: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let (mut pattern, mut with_code) = (None, false);
    let mut at = 2;
    while at < call.args.len() {
        if !with_code && call.args.is(at, "withcode") {
            with_code = true;
        } else if pattern.is_none() && call.args.is(at, "libraryname") {
            at += 1;
            let given = call.args.get(at).ok_or(Refusal::text("ERR library name argument was not given"))?;
            pattern = Some(given.to_ascii_lowercase());
        } else {
            let word = String::from_utf8_lossy(&call.args[at]);
            return Err(Refusal::text(format!("ERR Unknown argument {word}")).into());
        }
        at += 1;
    }
    machine.refresh_functions()?;
    let is_wanted = |library: &Library| {
        pattern.as_ref().is_none_or(|pattern| glob::is_match(pattern, library.name.to_ascii_lowercase().as_bytes()))
    };
    let all: Vec<_> = machine.functions.libraries().iter().filter(|library| is_wanted(library)).collect();
    reply.array(all.len());
    all.into_iter().for_each(|library| write_library(library, with_code, reply));
    Ok(Flow::Done)
}

fn write_library(library: &Library, with_code: bool, reply: &mut Reply<'_>) {
    reply.map(if with_code { 4 } else { 3 });
    reply.bulk(b"library_name");
    reply.bulk(library.name.as_bytes());
    reply.bulk(b"engine");
    reply.bulk(b"LUA");
    reply.bulk(b"functions");
    reply.array(library.functions.len());
    for function in &library.functions {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(function.name.as_bytes());
        reply.bulk(b"description");
        match &function.description {
            Some(description) => reply.bulk(description),
            None => reply.null(),
        }
        reply.bulk(b"flags");
        let names = function.flags.names();
        reply.set(names.len());
        names.iter().for_each(|name| reply.simple(name));
    }
    if with_code {
        reply.bulk(b"library_code");
        reply.bulk(&library.text);
    }
}
