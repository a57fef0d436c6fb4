//! COMMAND: the command table, told to clients. Everything is in the rows of the table.

use super::{Call, Flags, Flow, Keys, Run, Spec, help::help, synopsis};
use crate::acl::category::Categories;
use crate::command::args::Args;
use crate::command::table;
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::glob;
use crate::machine::Machine;
use crate::resp::encode::Reply;

const LOADING: Flags = Flags::LOADING.and(Flags::STALE);
const FAMILY: Spec =
    Spec { flags: LOADING, categories: "connection", group: "server", since: "2.8.13", ..Spec::DEFAULT };

pub const SPECS: &[Spec] = &[Spec {
    name: "command",
    arity: -1,
    run: Run::Server(all),
    subcommands: SUBCOMMANDS,
    complexity: "O(N) where N is the number of commands",
    tips: "nondeterministic_output_order",
    summary: "All commands: their arity, flags, keys and categories.",
    ..FAMILY
}];

const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "command|count",
        arity: 2,
        run: Run::Server(count),
        summary: "How many commands there are.",
        ..FAMILY
    },
    Spec {
        name: "command|docs",
        arity: -2,
        run: Run::Server(docs),
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands that are named",
        tips: "nondeterministic_output_order",
        summary: "What commands do, and their arguments.",
        synopsis: "[command-name [command-name ...]]",
        ..FAMILY
    },
    Spec {
        name: "command|getkeys",
        arity: -3,
        run: Run::Server(getkeys),
        complexity: "O(N) where N is the number of arguments",
        summary: "The keys in a command.",
        synopsis: "command [arg [arg ...]]",
        ..FAMILY
    },
    Spec {
        name: "command|getkeysandflags",
        arity: -3,
        run: Run::Server(getkeysandflags),
        since: "7.0.0",
        complexity: "O(N) where N is the number of arguments",
        summary: "The keys in a command, and what it does with them.",
        synopsis: "command [arg [arg ...]]",
        ..FAMILY
    },
    Spec {
        name: "command|help",
        arity: 2,
        run: Run::Server(help),
        since: "5.0.0",
        summary: "What the subcommands are.",
        ..FAMILY
    },
    Spec {
        name: "command|info",
        arity: -2,
        run: Run::Server(info),
        complexity: "O(N) where N is the number of commands that are named",
        tips: "nondeterministic_output_order",
        summary: "Some commands: their arity, flags, keys and categories.",
        synopsis: "[command-name [command-name ...]]",
        ..FAMILY
    },
    Spec {
        name: "command|list",
        arity: -2,
        run: Run::Server(list),
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands",
        tips: "nondeterministic_output_order",
        summary: "The names of the commands.",
        synopsis: "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
        ..FAMILY
    },
];

fn all(_: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    if let Some(name) = call.args.get(1) {
        let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
        return Err(Refusal::text(format!("ERR unknown subcommand '{name}'. Try COMMAND HELP.")).into());
    }
    let specs: Vec<&Spec> = table::commands().collect();
    reply.array(specs.len());
    for spec in specs {
        write_info(spec, reply);
    }
    Ok(Flow::Done)
}

fn count(_: &mut Machine, _: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    reply.integer(table::commands().count() as i64);
    Ok(Flow::Done)
}

fn info(_: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let names = call.args.skip(2);
    if call.args.len() == 2 {
        let specs: Vec<&Spec> = table::commands().collect();
        reply.array(specs.len());
        specs.iter().for_each(|spec| write_info(spec, reply));
        return Ok(Flow::Done);
    }
    reply.array(call.args.len() - 2);
    for name in names.iter() {
        match table::find(name) {
            Some(spec) => write_info(spec, reply),
            None => reply.null(),
        }
    }
    Ok(Flow::Done)
}

const FLAG_NAMES: &[(Flags, &str)] = &[
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::PUBSUB, "pubsub"),
    (Flags::NOSCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (Flags::MOVABLEKEYS, "movablekeys"),
    (Flags::ALLOW_BUSY, "allow_busy"),
    (Flags::NO_MULTI, "no_multi"),
];

fn write_strings(strings: &[&str], reply: &mut Reply<'_>) {
    for string in strings {
        reply.bulk(string.as_bytes());
    }
}

fn write_info(spec: &Spec, reply: &mut Reply<'_>) {
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.integer(i64::from(spec.arity));
    let flags: Vec<&str> = FLAG_NAMES.iter().filter(|(flag, _)| spec.flags.has(*flag)).map(|(_, name)| *name).collect();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    reply.integer(spec.keys.first as i64);
    reply.integer(spec.keys.last as i64);
    reply.integer(if spec.keys.first == 0 { 0 } else { spec.keys.step as i64 });
    let categories: Vec<&str> = Categories::of(spec).names().collect();
    reply.set(categories.len());
    categories.iter().for_each(|name| reply.simple(&format!("@{name}")));
    write_tips(spec, reply);
    write_key_specs(spec, reply);
    reply.array(spec.subcommands.len());
    spec.subcommands.iter().for_each(|sub| write_info(sub, reply));
}

/// Hints for clients of a whole cluster.
fn write_tips(spec: &Spec, reply: &mut Reply<'_>) {
    let tips: Vec<&str> = spec.tips.split_whitespace().collect();
    reply.array(tips.len());
    write_strings(&tips, reply);
}

/// A set of flags from their words.
fn write_flags(words: &str, reply: &mut Reply<'_>) {
    reply.set(words.split_whitespace().count());
    words.split_whitespace().for_each(|flag| reply.simple(flag));
}

fn write_key_specs(spec: &Spec, reply: &mut Reply<'_>) {
    let uses = spec.key_uses();
    reply.array(uses.len() + spec.key_words.len().saturating_sub(1));
    for (at, words) in uses.iter().enumerate() {
        // Either one entry stands for all keys, or each key has its own, those that follow their number one together.
        let keys = match uses.len() {
            _ if at > 0 && !spec.key_words.is_empty() => {
                spec.key_words.iter().for_each(|word| write_key_word(spec, word, words, reply));
                continue;
            }
            specs if spec.keynum > 0 && at + 1 == specs => Keys { first: spec.keynum, last: 0, step: 0 },
            1 => spec.keys,
            // The last entry is that of all keys from there on.
            len if at + 1 == len && spec.keys.last < 0 => Keys { first: spec.keys.first + at, ..spec.keys },
            _ => Keys { first: spec.keys.first + at, last: (spec.keys.first + at) as isize, step: 1 },
        };
        write_key_spec(keys, spec.streams, words, reply);
    }
}

/// A key that follows a word.
fn write_key_word(spec: &Spec, word: &str, flags: &str, reply: &mut Reply<'_>) {
    reply.map(3);
    reply.bulk(b"flags");
    write_flags(flags, reply);
    reply.bulk(b"begin_search");
    reply.map(2);
    write_strings(&["type", "keyword", "spec"], reply);
    reply.map(2);
    write_strings(&["keyword", word, "startfrom"], reply);
    reply.integer(i64::from(spec.arity.unsigned_abs()));
    reply.bulk(b"find_keys");
    reply.map(2);
    write_range(0, 1, 0, reply);
}

/// `streams`: from which argument on the word STREAMS may stand in front of them.
fn write_key_spec(keys: Keys, streams: usize, flags: &str, reply: &mut Reply<'_>) {
    reply.map(3);
    reply.bulk(b"flags");
    write_flags(flags, reply);
    reply.bulk(b"begin_search");
    reply.map(2);
    if streams > 0 {
        write_strings(&["type", "keyword", "spec"], reply);
        reply.map(2);
        write_strings(&["keyword", "STREAMS", "startfrom"], reply);
        reply.integer(streams as i64);
    } else {
        write_strings(&["type", "index", "spec"], reply);
        reply.map(1);
        reply.bulk(b"index");
        reply.integer(keys.first as i64);
    }
    reply.bulk(b"find_keys");
    reply.map(2);
    if streams > 0 {
        // As many ids follow.
        return write_range(-1, 1, 2, reply);
    }
    if keys.step == 0 {
        write_strings(&["type", "keynum", "spec"], reply);
        reply.map(3);
        for (name, value) in [("keynumidx", 0), ("firstkey", 1), ("keystep", 1)] {
            reply.bulk(name.as_bytes());
            reply.integer(value);
        }
        return;
    }
    // Counted from the first key on, unless it counts from the end.
    let last = if keys.last < 0 { keys.last } else { keys.last - keys.first as isize };
    write_range(last as i64, keys.step as i64, 0, reply);
}

fn write_range(last: i64, step: i64, limit: i64, reply: &mut Reply<'_>) {
    write_strings(&["type", "range", "spec"], reply);
    reply.map(3);
    for (name, value) in [("lastkey", last), ("keystep", step), ("limit", limit)] {
        reply.bulk(name.as_bytes());
        reply.integer(value);
    }
}

fn docs(_: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let specs: Vec<&Spec> = if call.args.len() == 2 {
        table::commands().collect()
    } else {
        call.args.skip(2).iter().filter_map(table::find).collect()
    };
    reply.map(specs.len());
    specs.iter().for_each(|spec| write_docs(spec, reply));
    Ok(Flow::Done)
}

fn write_docs(spec: &Spec, reply: &mut Reply<'_>) {
    let arguments = synopsis::parse(spec.synopsis);
    reply.bulk(spec.name.as_bytes());
    reply.map(4 + usize::from(!arguments.is_empty()) + usize::from(!spec.subcommands.is_empty()));
    for (name, text) in
        [("summary", spec.summary), ("since", spec.since), ("group", spec.group), ("complexity", spec.complexity)]
    {
        write_strings(&[name, text], reply);
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        synopsis::write(&arguments, spec.key_uses().len(), reply);
    }
    if !spec.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(spec.subcommands.len());
        spec.subcommands.iter().for_each(|sub| write_docs(sub, reply));
    }
}

/// The command that follows COMMAND GETKEYS, with its arguments and the places of its keys.
fn keys_of<'a>(args: &Args<'a>) -> Result<(&'static Spec, Vec<&'a [u8]>), Refusal> {
    let command = args.skip(2);
    let mut spec = table::find(&command[0]).ok_or(Refusal::text("ERR Invalid command specified"))?;
    if let Some(name) = command.get(1).filter(|_| !spec.subcommands.is_empty()) {
        spec = table::subcommand(spec, name).ok_or(Refusal::text("ERR Invalid command specified"))?.spec;
    }
    if !spec.has_keys() {
        return Err(Refusal::text("ERR The command has no key arguments"));
    }
    if !spec.takes(command.len()) {
        return Err(Refusal::text("ERR Invalid number of arguments specified for command"));
    }
    let wrong = || Refusal::text("ERR Invalid arguments specified for command");
    let positions = spec.key_positions(&command).ok_or_else(wrong)?;
    let keys = positions.into_iter().map(|at| args.get(at + 2).expect("it is among the arguments"));
    Ok((spec, keys.collect()))
}

fn getkeys(_: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let (_, keys) = keys_of(call.args)?;
    reply.array(keys.len());
    keys.iter().for_each(|key| reply.bulk(key));
    Ok(Flow::Done)
}

fn getkeysandflags(_: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let (spec, keys) = keys_of(call.args)?;
    reply.array(keys.len());
    for (at, key) in keys.iter().enumerate() {
        reply.array(2);
        reply.bulk(key);
        write_flags(spec.key_use(at, &call.args.skip(2)), reply);
    }
    Ok(Flow::Done)
}

fn list(_: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let args = call.args;
    let every = table::commands().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    let names: Vec<&str> = match args.len() {
        2 => every.map(|spec| spec.name).collect(),
        5 if args.is(2, "filterby") && args.is(3, "module") => Vec::new(),
        5 if args.is(2, "filterby") && args.is(3, "aclcat") => {
            let wanted = Categories::named(&args[4]).unwrap_or_default();
            every.filter(|spec| Categories::of(spec).meet(wanted)).map(|spec| spec.name).collect()
        }
        5 if args.is(2, "filterby") && args.is(3, "pattern") => {
            every.map(|spec| spec.name).filter(|name| glob::is_match_nocase(&args[4], name.as_bytes())).collect()
        }
        _ => return Err(Refusal::Syntax.into()),
    };
    reply.array(names.len());
    write_strings(&names, reply);
    Ok(Flow::Done)
}
