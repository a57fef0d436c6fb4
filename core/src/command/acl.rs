//! ACL: the users, seen and changed. What a user is stands in `acl`, how a change reaches all cores in `machine/access.rs`.

use super::help::{help, wrong_subcommand};
use super::{Call, Flags, Flow, Run, Spec};
use crate::acl::category::{Categories, NAMES};
use crate::acl::log::{self, Entry as LogEntry};
use crate::acl::{self, Bad, DEFAULT_USER, Fresh, Selector, parse_file};
use crate::command::table;
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, HostAsk, PasswordStep};
use crate::limits::GENPASS_BITS_MAX;
use crate::machine::{KEEPER, Machine};
use crate::parcel::{AclChange, Answer, Ask};
use crate::resp::encode::Reply;

const PLAIN: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);
const ADMIN: Flags = PLAIN.and(Flags::ADMIN);
const FAMILY: Spec = Spec { flags: ADMIN, group: "server", since: "6.0.0", ..Spec::DEFAULT };

pub const SPECS: &[Spec] = &[Spec {
    name: "acl",
    arity: -2,
    flags: Flags::NONE,
    run: Run::Container,
    subcommands: SUBCOMMANDS,
    complexity: "Depends on subcommand.",
    summary: "A container for commands about users and what they may do.",
    ..FAMILY
}];

const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "acl|cat",
        arity: -2,
        flags: PLAIN,
        run: Run::Server(cat),
        complexity: "O(1) since the categories and commands are a fixed set.",
        summary: "The categories of commands, or the commands of one.",
        synopsis: "[category]",
        ..FAMILY
    },
    Spec {
        name: "acl|deluser",
        arity: -3,
        run: Run::Server(deluser),
        complexity: "O(N) where N is the number of connections and users",
        tips: "request_policy:all_nodes response_policy:all_succeeded",
        summary: "Removes users, and cuts off their connections.",
        synopsis: "username [username ...]",
        ..FAMILY
    },
    Spec {
        name: "acl|dryrun",
        arity: -4,
        run: Run::Server(dryrun),
        since: "7.0.0",
        complexity: "O(N) where N is the number of keys and rules",
        summary: "Whether a user may run a command. It is not run.",
        synopsis: "username command [arg [arg ...]]",
        ..FAMILY
    },
    Spec {
        name: "acl|genpass",
        arity: -2,
        flags: PLAIN,
        run: Run::Server(genpass),
        summary: "A random password.",
        synopsis: "[bits]",
        ..FAMILY
    },
    Spec {
        name: "acl|getuser",
        arity: 3,
        run: Run::Server(getuser),
        complexity: "O(N) where N is the number of rules of the user",
        summary: "What a user may do.",
        synopsis: "username",
        ..FAMILY
    },
    Spec {
        name: "acl|help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        run: Run::Server(help),
        summary: "What the subcommands are.",
        ..FAMILY
    },
    Spec {
        name: "acl|list",
        arity: 2,
        run: Run::Server(list),
        complexity: "O(N) where N is the number of users and their rules",
        summary: "All users and their rules, as they stand in the file of users.",
        ..FAMILY
    },
    Spec {
        name: "acl|load",
        arity: 2,
        run: Run::Server(load),
        complexity: "O(N) where N is the number of users",
        summary: "Reads the file of users again.",
        ..FAMILY
    },
    Spec {
        name: "acl|log",
        arity: -2,
        run: Run::Server(show_log),
        complexity: "O(N) where N is the number of entries",
        summary: "What was denied lately.",
        synopsis: "[count | RESET]",
        ..FAMILY
    },
    Spec {
        name: "acl|save",
        arity: 2,
        run: Run::Server(save),
        complexity: "O(N) where N is the number of users",
        tips: "request_policy:all_nodes response_policy:all_succeeded",
        summary: "Writes the users into the file of users.",
        ..FAMILY
    },
    Spec {
        name: "acl|setuser",
        arity: -3,
        run: Run::Server(setuser),
        complexity: "O(N) where N is the number of rules, and the time that a password's hash takes",
        tips: "request_policy:all_nodes response_policy:all_succeeded",
        summary: "Makes a user, or changes one.",
        synopsis: "username [rule [rule ...]]",
        ..FAMILY
    },
    Spec {
        name: "acl|users",
        arity: 2,
        run: Run::Server(users),
        complexity: "O(N) where N is the number of users",
        summary: "The names of all users.",
        ..FAMILY
    },
    Spec {
        name: "acl|whoami",
        arity: 2,
        flags: PLAIN,
        run: Run::Server(whoami),
        summary: "The user of the connection.",
        ..FAMILY
    },
];

fn cat(_: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let names: Vec<&str> = match call.args.get(2) {
        None => NAMES.to_vec(),
        Some(_) if call.args.len() > 3 => return Err(wrong_subcommand(call).into()),
        Some(name) => {
            let wanted = Categories::named(name).ok_or_else(|| {
                let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
                Refusal::text(format!("ERR Unknown category '{name}'"))
            })?;
            let every = table::commands().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
            every.filter(|spec| Categories::of(spec).meet(wanted)).map(|spec| spec.name).collect()
        }
    };
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(Flow::Done)
}

fn deluser(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let names: Vec<Vec<u8>> = call.args.skip(2).iter().map(<[u8]>::to_vec).collect();
    if names.iter().any(|name| name == DEFAULT_USER) {
        return Err(Refusal::text("ERR The 'default' user cannot be removed").into());
    }
    change(machine, conn, AclChange::Delete { names })
}

/// Has the keeper of the users change them, and answers when all cores have that.
fn change(machine: &mut Machine, conn: ConnId, change: AclChange) -> Result<Flow, Stop> {
    machine.ask_one(
        conn,
        KEEPER,
        Ask::AclChange(change),
        Box::new(|_, _, answers, reply| match answers.first() {
            Some(Answer::Count(count)) => reply.integer(*count),
            Some(Answer::Refused(line)) => reply.error(line),
            _ => reply.ok(),
        }),
    )
}

fn dryrun(machine: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let shown = |at: usize| String::from_utf8_lossy(&call.args[at]).into_owned();
    let Some(user) = machine.acl.user(&call.args[2]) else {
        return Err(Refusal::text(format!("ERR User '{}' not found", shown(2))).into());
    };
    let command = call.args.skip(3);
    let Some(entry) = table::lookup(&command) else {
        return Err(Refusal::text(format!("ERR Command '{}' not found", shown(3))).into());
    };
    if !entry.spec.takes(command.len()) {
        return Err(Refusal::Arity(entry.spec.name.into()).into());
    }
    match user.check(entry, &command) {
        Ok(()) => reply.ok(),
        Err(denial) => reply.bulk(denial.text(user, Some(&command[denial.at])).as_bytes()),
    }
    Ok(Flow::Done)
}

fn genpass(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let bits = match call.args.len() {
        2 => 256,
        3 => call.args.integer(2)?,
        _ => return Err(wrong_subcommand(call).into()),
    };
    if !(1..=GENPASS_BITS_MAX).contains(&bits) {
        return Err(Refusal::text(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             {GENPASS_BITS_MAX}"
        ))
        .into());
    }
    let digits = (bits as usize).div_ceil(4);
    machine.ask_host(
        conn,
        HostAsk::Random { bytes: digits.div_ceil(2) },
        Box::new(move |_, _, result, reply| match result {
            Ok(random) => reply.bulk(&random.as_bytes()[..digits]),
            Err(why) => reply.error(&format!("ERR {why}")),
        }),
    )
}

fn getuser(machine: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let Some(user) = machine.acl.user(&call.args[2]) else {
        reply.null();
        return Ok(Flow::Done);
    };
    reply.map(6);
    reply.bulk(b"flags");
    let flags = user.flags();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(user.passwords.len());
    user.passwords.iter().for_each(|hash| reply.bulk(hash.as_bytes()));
    write_selector(&user.root, reply);
    reply.bulk(b"selectors");
    reply.array(user.others.len());
    for selector in &user.others {
        reply.map(3);
        write_selector(selector, reply);
    }
    Ok(Flow::Done)
}

fn write_selector(selector: &Selector, reply: &mut Reply<'_>) {
    reply.bulk(b"commands");
    reply.bulk(selector.commands_text().as_bytes());
    reply.bulk(b"keys");
    reply.bulk(&selector.keys_text());
    reply.bulk(b"channels");
    reply.bulk(&selector.channels_text());
}

fn list(machine: &mut Machine, _: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    reply.array(machine.acl.users().len());
    machine.acl.users().for_each(|user| reply.bulk(&user.line()));
    Ok(Flow::Done)
}

fn users(machine: &mut Machine, _: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    reply.array(machine.acl.users().len());
    machine.acl.users().for_each(|user| reply.bulk(&user.name));
    Ok(Flow::Done)
}

fn whoami(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    reply.bulk(&machine.client(conn).user.name);
    Ok(Flow::Done)
}

/// Where the file of users is, unless there is none.
fn needs_file(machine: &Machine) -> Result<String, Refusal> {
    match machine.settings.aclfile.as_str() {
        "" => Err(Refusal::text(
            "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
             command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in \
             the Redis configuration.",
        )),
        path => Ok(path.to_owned()),
    }
}

fn load(machine: &mut Machine, conn: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let (path, fresh) = (needs_file(machine)?, machine.settings.fresh());
    machine.ask_host(
        conn,
        HostAsk::ReadUsers { fresh },
        Box::new(move |machine, conn, result, reply| {
            let no_clear = &mut |_: &[u8]| Err(Bad::ClearPassword.to_string());
            let parsed = result.and_then(|lines| {
                parse_file(lines.as_bytes(), &path, fresh, no_clear).map_err(|error| error.to_string())
            });
            match parsed {
                // The reply is left to what is asked for now.
                Ok(users) => drop(change(machine, conn, AclChange::Load { users })),
                Err(text) => reply.error(&format!("ERR {text}")),
            }
        }),
    )
}

fn save(machine: &mut Machine, conn: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    needs_file(machine)?;
    let lines = machine.acl.users().map(|user| user.line()).collect();
    machine.ask_host(
        conn,
        HostAsk::WriteUsers { lines },
        Box::new(|_, _, result, reply| match result {
            Ok(_) => reply.ok(),
            Err(_) => reply.error(
                "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
            ),
        }),
    )
}

fn show_log(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    const DEFAULT_COUNT: usize = 10;
    let count = match call.args.len() {
        2 => DEFAULT_COUNT,
        3 if call.args.is(2, "reset") => {
            return machine.ask_all(conn, Ask::AclLogReset, Box::new(|_, _, _, reply| reply.ok()));
        }
        3 => usize::try_from(call.args.integer(2)?).unwrap_or(0),
        _ => return Err(wrong_subcommand(call).into()),
    };
    machine.ask_all(
        conn,
        Ask::AclLog { count: machine.settings.acllog_max_len },
        Box::new(move |machine, _, answers, reply| {
            let entries = answers.into_iter().filter_map(|answer| match answer {
                Answer::AclLog(entries) => Some(entries),
                _ => None,
            });
            let entries = log::merged(entries.flatten().collect(), count.min(machine.settings.acllog_max_len));
            let now_ms = machine.now.unix_ms();
            reply.array(entries.len());
            entries.iter().for_each(|entry| write_entry(entry, now_ms, reply));
        }),
    )
}

fn write_entry(entry: &LogEntry, now_ms: u64, reply: &mut Reply<'_>) {
    let age_ms = now_ms.saturating_sub(entry.updated_ms);
    let texts: [(&str, &[u8]); 5] = [
        ("reason", entry.what.name().as_bytes()),
        ("context", entry.context.name().as_bytes()),
        ("object", &entry.object),
        ("username", &entry.user),
        ("client-info", entry.client.as_bytes()),
    ];
    reply.map(10);
    reply.bulk(b"count");
    reply.integer(entry.count as i64);
    for (name, text) in &texts[..4] {
        reply.bulk(name.as_bytes());
        reply.bulk(text);
    }
    reply.bulk(b"age-seconds");
    reply.decimal(age_ms as f64 / 1000.0);
    let (name, text) = texts[4];
    reply.bulk(name.as_bytes());
    reply.bulk(text);
    for (name, value) in
        [("entry-id", entry.id), ("timestamp-created", entry.created_ms), ("timestamp-last-updated", entry.updated_ms)]
    {
        reply.bulk(name.as_bytes());
        reply.integer(value as i64);
    }
}

fn setuser(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let name = call.args[2].to_vec();
    if acl::has_blanks(&name) {
        return Err(Refusal::text("ERR Usernames can't contain spaces or null characters").into());
    }
    let mut rules = acl::merge(call.args.skip(3).iter()).map_err(|first| {
        let first = String::from_utf8_lossy(&first);
        Refusal::text(format!("ERR Unmatched parenthesis in acl selector starting at '{first}'."))
    })?;
    if !rules.iter().any(|rule| acl::is_clear(rule)) {
        return change(machine, conn, AclChange::Set { name, rules });
    }
    let (hashes, steps) = password_steps(machine, &name, &rules, machine.settings.fresh())?;
    machine.ask_host(
        conn,
        HostAsk::SettlePasswords { hashes, steps },
        Box::new(move |machine, conn, result, reply| {
            let settled = result.map_err(|why| format!("ERR {why}")).and_then(|lines| take_hashes(&mut rules, &lines));
            match settled {
                // The reply is left to what is asked for now.
                Ok(()) => drop(change(machine, conn, AclChange::Set { name, rules })),
                Err(line) => reply.error(&line),
            }
        }),
    )
}

fn refused(rule: &[u8], bad: Bad) -> String {
    format!("ERR Error in ACL SETUSER modifier '{}': {bad}", String::from_utf8_lossy(rule))
}

/// The passwords that a user has, and what rules do with them. All other rules are tried.
fn password_steps(
    machine: &Machine,
    name: &[u8],
    rules: &[Vec<u8>],
    fresh: Fresh,
) -> Result<(Vec<String>, Vec<PasswordStep>), Refusal> {
    let hashes = machine.acl.user(name).map_or_else(Vec::new, |user| user.passwords.clone());
    let known: Vec<Vec<u8>> = rules.iter().filter(|rule| !acl::is_clear(rule)).cloned().collect();
    match machine.acl.changed(name, &known, fresh) {
        // Whether it is there depends on the others.
        Ok(_) | Err((_, Bad::NoSuchPassword)) => {}
        Err((rule, bad)) => return Err(Refusal::text(refused(rule, bad))),
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let steps = rules.iter().filter_map(|rule| match rule.as_slice() {
        [b'>', password @ ..] => Some(PasswordStep::Add(password.to_vec())),
        [b'<', password @ ..] => Some(PasswordStep::Remove(password.to_vec())),
        [b'#', hash @ ..] => Some(PasswordStep::AddHash(text(hash))),
        [b'!', hash @ ..] => Some(PasswordStep::RemoveHash(text(hash))),
        rule => {
            let is_reset =
                ["nopass", "resetpass", "reset"].iter().any(|word| rule.eq_ignore_ascii_case(word.as_bytes()));
            is_reset.then_some(PasswordStep::Clear)
        }
    });
    Ok((hashes, steps.collect()))
}

/// Puts the hashes in the place of the passwords.
fn take_hashes(rules: &mut [Vec<u8>], lines: &str) -> Result<(), String> {
    for (rule, hash) in rules.iter_mut().filter(|rule| acl::is_clear(rule)).zip(lines.split('\n')) {
        if hash.is_empty() {
            // Passwords stay out of sight.
            return Err(refused(b"<(hidden)", Bad::NoSuchPassword));
        }
        let sign = if rule.starts_with(b">") { '#' } else { '!' };
        *rule = format!("{sign}{hash}").into_bytes();
    }
    Ok(())
}
