//! HELLO, AUTH, PING, ECHO, QUIT, RESET, SELECT: what a client says first, and about itself.

use super::{Call, Flags, Flow, Run, Spec};
use crate::acl::{DEFAULT_USER, User};
use crate::command::args::{Args, parse_integer};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, HostAsk};
use crate::machine::Machine;
use crate::resp::encode::Reply;
use crate::session::{Durability, ReplyMode};
use std::sync::Arc;

/// The version of Redis whose behaviour clients can expect.
pub const REDIS_VERSION: &str = "7.2.4";
/// The same, a byte for each part.
pub const REDIS_VERSION_NUMBER: i64 = 0x0007_0204;

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD_SET: &str = "ERR AUTH <password> called without any password configured for the default user. \
     Are you sure your configuration is correct?";
const HELLO_NEEDS_AUTH: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
     <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
     the same time";
const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

const EARLY: Flags =
    Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST).and(Flags::NO_AUTH).and(Flags::ALLOW_BUSY);
const PLAIN: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::FAST);

pub const SPECS: &[Spec] = &[
    Spec {
        name: "hello",
        arity: -1,
        flags: EARLY,
        run: Run::Server(hello),
        since: "6.0.0",
        summary: "Greets the server: chooses the protocol version, logs in and names the connection.",
        synopsis: "[protover [AUTH username password] [SETNAME clientname]]",
        ..FAMILY
    },
    Spec {
        name: "auth",
        arity: -2,
        flags: EARLY,
        run: Run::Server(auth),
        complexity: "O(1); the password is checked off the data cores",
        summary: "Logs the connection in.",
        synopsis: "[username] password",
        ..FAMILY
    },
    Spec {
        name: "ping",
        arity: -1,
        flags: Flags::FAST,
        run: Run::Server(ping),
        tips: "request_policy:all_shards response_policy:all_succeeded",
        summary: "Answers PONG, or what it was sent.",
        synopsis: "[message]",
        ..FAMILY
    },
    Spec {
        name: "echo",
        arity: 2,
        flags: PLAIN,
        run: Run::Server(echo),
        summary: "Answers what it was sent.",
        synopsis: "message",
        ..FAMILY
    },
    Spec {
        name: "quit",
        arity: -1,
        flags: EARLY.and(Flags::UNQUEUED),
        run: Run::Server(quit),
        summary: "Closes the connection once what it asked before is answered.",
        ..FAMILY
    },
    Spec {
        name: "reset",
        arity: 1,
        flags: EARLY.and(Flags::UNQUEUED),
        run: Run::Server(reset),
        since: "6.2.0",
        summary: "Puts the connection back to how it began.",
        ..FAMILY
    },
    Spec {
        name: "select",
        arity: 2,
        flags: PLAIN,
        run: Run::Server(select),
        summary: "Chooses the database of the connection.",
        synopsis: "index",
        ..FAMILY
    },
];

const FAMILY: Spec = Spec { categories: "connection", group: "connection", ..Spec::DEFAULT };

/// What HELLO was asked to do.
#[derive(Default)]
struct Hello<'a> {
    is_resp3: Option<bool>,
    login: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

impl<'a> Hello<'a> {
    fn parse(args: &Args<'a>) -> Result<Hello<'a>, Refusal> {
        let mut hello = Hello::default();
        let Some(version) = args.get(1) else { return Ok(hello) };
        hello.is_resp3 = match parse_integer(version) {
            Some(2) => Some(false),
            Some(3) => Some(true),
            Some(_) => return Err(Refusal::text("NOPROTO unsupported protocol version")),
            None => return Err(Refusal::text("ERR Protocol version is not an integer or out of range")),
        };
        let mut at = 2;
        while let Some(option) = args.get(at) {
            if args.is(at, "auth") && at + 2 < args.len() {
                hello.login = args.get(at + 1).zip(args.get(at + 2));
                at += 3;
            } else if args.is(at, "setname") && at + 1 < args.len() {
                let name = args.get(at + 1).filter(|name| is_plain(name)).ok_or(Refusal::text(BAD_NAME))?;
                hello.name = Some(name);
                at += 2;
            } else {
                let option = String::from_utf8_lossy(option);
                return Err(Refusal::text(format!("ERR Syntax error in HELLO option '{option}'")));
            }
        }
        Ok(hello)
    }
}

fn hello(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let hello = Hello::parse(call.args)?;
    let is_resp3 = hello.is_resp3.unwrap_or(call.is_resp3);
    let name = hello.name.map(<[u8]>::to_vec);
    if let Some((user, password)) = hello.login {
        match login(machine, user, password) {
            Login::Granted(user) => grant(machine, conn, &user),
            Login::Check(ask) => {
                return machine.ask_host(
                    conn,
                    ask,
                    Box::new({
                        let (command, user) = (String::from_utf8_lossy(&call.args[0]).into_owned(), user.to_vec());
                        move |machine, conn, result, reply| {
                            if settle(machine, conn, &command, &user, result.is_ok(), reply) {
                                greet(machine, conn, is_resp3, name, reply);
                            }
                        }
                    }),
                );
            }
        }
    }
    if !machine.client(conn).is_authenticated {
        return Err(Refusal::text(HELLO_NEEDS_AUTH).into());
    }
    greet(machine, conn, is_resp3, name, reply);
    Ok(Flow::Done)
}

fn greet(machine: &mut Machine, conn: ConnId, is_resp3: bool, name: Option<Vec<u8>>, reply: &mut Reply<'_>) {
    let client = machine.client_mut(conn);
    client.is_resp3 = is_resp3;
    if let Some(name) = name {
        client.name = name;
    }
    reply.is_resp3 = is_resp3;
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(if is_resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(client.id as i64);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
}

/// What a pair of user and password needs.
enum Login {
    Granted(Arc<User>),
    /// The host compares the password with hashes, off the data cores.
    Check(HostAsk),
}

fn login(machine: &Machine, user: &[u8], password: &[u8]) -> Login {
    let check = |hashes| Login::Check(HostAsk::CheckPassword { hashes, password: password.to_vec() });
    match machine.acl.user(user).filter(|user| user.is_on) {
        Some(user) if user.is_nopass => Login::Granted(Arc::clone(user)),
        Some(user) => check(user.passwords.clone()),
        // Strangers cannot tell by the time whether there is such a user.
        None => check(Vec::new()),
    }
}

fn grant(machine: &mut Machine, conn: ConnId, user: &Arc<User>) {
    let client = machine.client_mut(conn);
    client.is_authenticated = true;
    client.become_user(user);
}

/// The password was compared. Writes the refusal if it was wrong; whether it was right.
fn settle(
    machine: &mut Machine,
    conn: ConnId,
    command: &str,
    user: &[u8],
    is_right: bool,
    reply: &mut Reply<'_>,
) -> bool {
    // Meanwhile the user may have gone.
    match machine.acl.user(user).filter(|user| is_right && user.is_on).cloned() {
        Some(user) => {
            grant(machine, conn, &user);
            true
        }
        None => {
            machine.note_failed_login(conn, user, command);
            reply.error(WRONG_PASSWORD);
            false
        }
    }
}

fn auth(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let (user, password) = match call.args.len() {
        2 if machine.acl.default_user().is_nopass => return Err(Refusal::text(NO_PASSWORD_SET).into()),
        2 => (DEFAULT_USER, &call.args[1]),
        3 => (&call.args[1], &call.args[2]),
        _ => return Err(Refusal::Syntax.into()),
    };
    match login(machine, user, password) {
        Login::Granted(user) => {
            grant(machine, conn, &user);
            reply.ok();
            Ok(Flow::Done)
        }
        Login::Check(ask) => {
            let (command, user) = (String::from_utf8_lossy(&call.args[0]).into_owned(), user.to_vec());
            machine.ask_host(
                conn,
                ask,
                Box::new(move |machine, conn, result, reply| {
                    if settle(machine, conn, &command, &user, result.is_ok(), reply) {
                        reply.ok();
                    }
                }),
            )
        }
    }
}

fn ping(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    match call.args.len() {
        1 | 2 if machine.only_listens(conn) => {
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(call.args.get(1).unwrap_or_default());
        }
        1 => reply.simple("PONG"),
        2 => reply.bulk(&call.args[1]),
        _ => return Err(call.arity()),
    }
    Ok(Flow::Done)
}

fn echo(_: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    reply.bulk(&call.args[1]);
    Ok(Flow::Done)
}

fn quit(_: &mut Machine, _: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    reply.ok();
    Ok(Flow::Close)
}

fn reset(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let (is_open, user) = (machine.acl.is_open(), Arc::clone(machine.acl.default_user()));
    machine.unwatch(conn);
    machine.roll_back_open(conn);
    machine.unsubscribe_all(conn, reply.out);
    let tracking = machine.client_mut(conn).tracking.take();
    machine.end_tracking(conn, tracking);
    if std::mem::take(&mut machine.client_mut(conn).is_monitor) {
        machine.end_monitor(conn);
    }
    let client = machine.client_mut(conn);
    client.multi = None;
    client.db = 0;
    client.name.clear();
    client.is_resp3 = false;
    client.is_authenticated = is_open;
    client.become_user(&user);
    client.reply_mode = ReplyMode::On;
    client.no_evict = false;
    client.no_touch = false;
    client.is_readonly = false;
    client.rolls_back = false;
    client.durability = Durability::Local;
    reply.is_resp3 = false;
    reply.simple("RESET");
    Ok(Flow::Done)
}

fn select(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.client_mut(conn).db = selected(call.args, machine.settings.databases)?;
    reply.ok();
    Ok(Flow::Done)
}

/// The database that SELECT names.
pub fn selected(args: &Args<'_>, databases: u8) -> Result<u8, Refusal> {
    let index = int32(args, 1)?;
    if !(0..i64::from(databases)).contains(&index) {
        return Err(Refusal::text("ERR DB index is out of range"));
    }
    Ok(index as u8)
}

/// An argument that Redis reads into a C `int`.
fn int32(args: &Args<'_>, index: usize) -> Result<i64, Refusal> {
    let value = args.integer(index)?;
    if i32::try_from(value).is_err() {
        let (min, max) = (i32::MIN, i32::MAX);
        return Err(Refusal::text(format!("ERR value is out of range, value must between {min} and {max}")));
    }
    Ok(value)
}

/// Can it stand in a line of CLIENT LIST? Printable ASCII without spaces.
pub fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::args::copied;

    /// Version, password and name.
    type Parsed = (Option<bool>, Option<String>, Option<String>);

    fn parse(line: &str) -> Result<Parsed, String> {
        let (bytes, ranges) = copied(line.split(' ').map(str::as_bytes));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Hello::parse(&Args::new(&bytes, &ranges))
            .map(|hello| (hello.is_resp3, hello.login.map(|(_, password)| text(password)), hello.name.map(text)))
            .map_err(|refusal| refusal.line().into_owned())
    }

    #[test]
    fn hello_reads_its_options_in_any_case_and_order() {
        assert_eq!(parse("hello"), Ok((None, None, None)));
        assert_eq!(parse("HELLO 3"), Ok((Some(true), None, None)));
        let both = Ok((Some(false), Some("pw".into()), Some("me".into())));
        assert_eq!(parse("hello 2 AUTH default pw SetName me"), both);
        assert_eq!(parse("hello 2 setname me auth default pw"), both);
    }

    #[test]
    fn hello_refuses_as_redis_does() {
        for (line, text) in [
            ("hello 1", "NOPROTO unsupported protocol version"),
            ("hello 4", "NOPROTO unsupported protocol version"),
            ("hello x", "ERR Protocol version is not an integer or out of range"),
            ("hello 3 auth a", "ERR Syntax error in HELLO option 'auth'"),
            ("hello 3 setname", "ERR Syntax error in HELLO option 'setname'"),
            ("hello 3 foo", "ERR Syntax error in HELLO option 'foo'"),
            ("hello 3 setname a\tb", BAD_NAME),
        ] {
            assert_eq!(parse(line), Err(text.to_owned()), "{line}");
        }
    }

    #[test]
    fn plain_texts_have_no_blanks() {
        assert!(is_plain(b"") && is_plain(b"!~aZ9"));
        for text in [&b" "[..], b"a b", b"\n", b"\x7f", "\u{e9}".as_bytes()] {
            assert!(!is_plain(text), "{text:?}");
        }
    }
}
