//! CONFIG: parameters, read and set while the server runs. What they are is in `settings.rs`.
//!
//! A SET is checked whole on a copy first; then every shard takes it. So it is all or nothing, and no shard can refuse
//! what another one has taken.

use super::{Call, Flags, Flow, Run, Spec, help::help};
use crate::command::args::Args;
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, Effect, HostAsk, Notice};
use crate::glob;
use crate::machine::{KEEPER, Machine};
use crate::parcel::{AclChange, Answer, Ask};
use crate::resp::encode::Reply;
use crate::settings::{self, SettingError, Settings, Source};

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);
const FAMILY: Spec = Spec { flags: ADMIN, group: "server", since: "2.0.0", ..Spec::DEFAULT };

pub const SPECS: &[Spec] = &[Spec {
    name: "config",
    arity: -2,
    flags: Flags::NONE,
    run: Run::Container,
    subcommands: SUBCOMMANDS,
    complexity: "Depends on subcommand.",
    summary: "A container for commands about parameters.",
    ..FAMILY
}];

const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "config|get",
        arity: -3,
        run: Run::Server(get),
        complexity: "O(N) where N is the number of parameters",
        summary: "The values of the parameters that match a pattern.",
        synopsis: "parameter [parameter ...]",
        ..FAMILY
    },
    Spec {
        name: "config|help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        run: Run::Server(help),
        since: "5.0.0",
        summary: "What the subcommands are.",
        ..FAMILY
    },
    Spec {
        name: "config|resetstat",
        arity: 2,
        run: Run::Server(resetstat),
        tips: "request_policy:all_nodes response_policy:all_succeeded",
        summary: "Begins the counters of INFO anew.",
        ..FAMILY
    },
    Spec {
        name: "config|rewrite",
        arity: 2,
        run: Run::Server(rewrite),
        since: "2.8.0",
        tips: "request_policy:all_nodes response_policy:all_succeeded",
        summary: "Writes what was set into the configuration file.",
        ..FAMILY
    },
    Spec {
        name: "config|set",
        arity: -4,
        run: Run::Server(set),
        complexity: "O(N) where N is the number of parameters",
        tips: "request_policy:all_nodes response_policy:all_succeeded",
        summary: "Sets parameters, all or none.",
        synopsis: "parameter value [parameter value ...]",
        ..FAMILY
    },
];

fn get(machine: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let patterns = call.args.skip(2);
    let found =
        machine.settings.matching(|name| patterns.iter().any(|glob| glob::is_match_nocase(glob, name.as_bytes())));
    reply.map(found.len());
    for (name, value) in found {
        // A name without wildcards is answered as it was asked for.
        let asked = patterns.iter().find(|word| word.eq_ignore_ascii_case(name.as_bytes()));
        reply.bulk(asked.unwrap_or(name.as_bytes()));
        reply.bulk(value.as_bytes());
    }
    Ok(Flow::Done)
}

/// The pairs of a SET, checked against a copy of the settings.
fn check(settings: &Settings, args: &Args<'_>) -> Result<Vec<(String, String)>, Refusal> {
    if !args.len().is_multiple_of(2) {
        return Err(Refusal::Syntax);
    }
    let text = |index: usize| String::from_utf8_lossy(&args[index]).into_owned();
    let pairs: Vec<(String, String)> = (2..args.len()).step_by(2).map(|at| (text(at), text(at + 1))).collect();
    // As in Redis, names are checked before any value is.
    for (at, (name, _)) in pairs.iter().enumerate() {
        let parameter = settings::parameter(name).filter(|parameter| !parameter.is_hidden);
        let Some(parameter) = parameter else {
            return Err(Refusal::text(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'")));
        };
        if !parameter.is_mutable {
            return Err(failed(name, &SettingError::Immutable));
        }
        // A parameter's older name counts as another one, as in Redis: the last of both wins.
        if pairs[..at].iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            return Err(failed(name, &SettingError::Invalid("duplicate parameter".into())));
        }
    }
    let mut copy = settings.clone();
    for (name, value) in &pairs {
        if !is_clear_password(name, value) {
            copy.set(Source::Runtime, name, &[value]).map_err(|error| failed(name, &error))?;
        }
    }
    Ok(pairs)
}

fn failed(name: &str, error: &SettingError) -> Refusal {
    Refusal::text(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {error}"))
}

/// A password that has to be hashed before it may be kept.
fn is_clear_password(name: &str, value: &str) -> bool {
    is_password(name) && !value.is_empty() && !settings::is_hashed(value)
}

fn set(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let mut pairs = check(&machine.settings, call.args)?;
    let Some(password) = pairs.iter().position(|(name, value)| is_clear_password(name, value)) else {
        let has_password = pairs.iter().any(|(name, _)| is_password(name));
        return if has_password { set_with_password(machine, conn, pairs) } else { set_all(machine, conn, pairs) };
    };
    let ask = HostAsk::HashPassword { password: std::mem::take(&mut pairs[password].1).into_bytes() };
    machine.ask_host(
        conn,
        ask,
        Box::new(move |machine, conn, result, reply| match result {
            Ok(hash) => {
                pairs[password].1 = hash;
                drop(set_with_password(machine, conn, pairs));
            }
            Err(text) => reply.refusal(&failed("requirepass", &SettingError::Invalid(text.into()))),
        }),
    )
}

/// The default user's password is a matter of the keeper of the users; the rest comes behind it.
fn set_with_password(machine: &mut Machine, conn: ConnId, pairs: Vec<(String, String)>) -> Result<Flow, Stop> {
    let (_, hash) = pairs.iter().rfind(|(name, _)| is_password(name)).expect("the caller has seen it");
    let change = AclChange::DefaultPassword { hash: Some(hash.clone()).filter(|hash| !hash.is_empty()) };
    machine.ask_one(
        conn,
        KEEPER,
        Ask::AclChange(change),
        Box::new(move |machine, conn, answers, reply| match answers.first() {
            Some(Answer::Refused(line)) => reply.error(line),
            // It says what it waits for to the machine, not to the command, which has been left.
            _ => drop(set_all(machine, conn, pairs)),
        }),
    )
}

fn is_password(name: &str) -> bool {
    name.eq_ignore_ascii_case("requirepass")
}

fn set_all(machine: &mut Machine, conn: ConnId, pairs: Vec<(String, String)>) -> Result<Flow, Stop> {
    machine.ask_all(
        conn,
        Ask::ConfigSet { pairs: pairs.clone() },
        Box::new(move |machine, _, answers, reply| {
            match answers.iter().find_map(|answer| if let Answer::Refused(line) = answer { Some(line) } else { None }) {
                Some(line) => reply.error(line),
                None => {
                    announce(machine, &pairs);
                    reply.ok();
                }
            }
        }),
    )
}

/// For the process and its log.
fn announce(machine: &mut Machine, pairs: &[(String, String)]) {
    for (name, value) in pairs {
        let name = name.to_ascii_lowercase();
        let value = if settings::is_secret(&name) { "(hidden)".into() } else { value.clone() };
        machine.effect(Effect::Notice(Notice::ConfigSet { name, value }));
    }
}

fn resetstat(machine: &mut Machine, conn: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.ask_all(conn, Ask::ResetStat, Box::new(|_, _, _, reply| reply.ok()))
}

fn rewrite(machine: &mut Machine, conn: ConnId, _: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    if machine.identity.config_file.is_empty() {
        return Err(Refusal::text("ERR The server is running without a config file").into());
    }
    let parameters =
        machine.settings.changed().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    // With a file of users they are in there.
    let users = match machine.settings.aclfile.as_str() {
        "" => machine.acl.users().map(|user| String::from_utf8_lossy(&user.line()).into_owned()).collect(),
        _ => Vec::new(),
    };
    machine.ask_host(
        conn,
        HostAsk::RewriteConfig { parameters, users },
        Box::new(|_, _, result, reply| match result {
            Ok(_) => reply.ok(),
            Err(text) => reply.error(&format!("ERR Rewriting config file: {text}")),
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::args::copied;

    fn check_line(words: &[&str]) -> Result<Vec<(String, String)>, String> {
        let (bytes, ranges) = copied(words.iter().map(|word| word.as_bytes()));
        check(&Settings::default(), &Args::new(&bytes, &ranges)).map_err(|refusal| refusal.line().into_owned())
    }

    #[test]
    fn refusals_are_those_of_redis() {
        for (line, text) in [
            (vec!["maxclients", "5", "timeout"], "ERR syntax error"),
            (vec!["foo", "1"], "ERR Unknown option or number of arguments for CONFIG SET - 'foo'"),
            (vec!["maxclients", "x", "foo", "1"], "ERR Unknown option or number of arguments for CONFIG SET - 'foo'"),
            (
                vec!["maxclients", "5", "MAXCLIENTS", "6"],
                "ERR CONFIG SET failed (possibly related to argument 'MAXCLIENTS') - duplicate parameter",
            ),
            (
                vec!["databases", "3"],
                "ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
            ),
            (
                vec!["timeout", "7", "maxclients", "0"],
                "ERR CONFIG SET failed (possibly related to argument 'maxclients') - argument must be between 1 and \
                 4294967295 inclusive",
            ),
        ] {
            let words: Vec<&str> = ["config", "set"].into_iter().chain(line).collect();
            assert_eq!(check_line(&words), Err(text.to_owned()));
        }
    }

    #[test]
    fn a_password_in_clear_text_is_left_to_be_hashed() {
        let pairs = check_line(&["config", "set", "requirepass", "secret", "timeout", "3"]).unwrap();
        assert_eq!(pairs.len(), 2);
        assert!(is_clear_password("RequirePass", "secret"));
        assert!(!is_clear_password("requirepass", "") && !is_clear_password("requirepass", "$argon2id$v=19$x"));
    }
}
