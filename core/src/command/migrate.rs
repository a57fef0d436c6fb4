//! MIGRATE: keys go to another server. It is a program ([`super::program`]): the keys are locked and looked at, the process sends them
//! ([`HostAsk::Migrate`]), and those that were acknowledged there are removed here, all in one transaction. So nobody changes a key between the look and
//! its removal, and no core waits for the other server. After a crash a key may be on both, never on none.

use super::program::Steps;
use super::{Call, Flags, Keys, Run, Spec, Spread};
use crate::collection::dump;
use crate::command::args::Args;
use crate::error::{Refusal, Stop};
use crate::event::{Carried, ConnId, HostAsk, Migration};
use crate::machine::Machine;
use crate::resp::encode::Reply;
use crate::resp::read::{Item, Reader};
use crate::shard::Shard;
use cairn_storage::blob::Blob;
use std::ops::Range;

/// Milliseconds, where the command says 0 or less.
const TIMEOUT_MS_DEFAULT: u64 = 1000;

/// Where the options begin.
const OPTIONS: usize = 6;

pub const SPECS: &[Spec] = &[Spec {
    name: "migrate",
    arity: -6,
    flags: Flags::WRITE.and(Flags::NOSCRIPT).and(Flags::NO_MULTI).and(Flags::MOVABLEKEYS),
    keys: Keys { first: 3, last: 3, step: 1 },
    keys_of: Some(keys),
    key_uses: &["RW access delete"],
    run: Run::Server(begin),
    spread: Spread::Program(migrate),
    categories: "keyspace dangerous",
    tips: "nondeterministic_output",
    group: "generic",
    since: "2.6.0",
    complexity: "O(N) where N is the size of the values, here and on the other server.",
    summary: "Moves keys to another server.",
    synopsis: "host port <key | \"\"> destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password] [KEYS key [key ...]]",
    ..Spec::DEFAULT
}];

/// Its step: locks a key for a change, and answers its payload and the milliseconds that it has left (0: it lives for ever).
pub const STEPS: &[Spec] = &[Spec {
    name: "migrate|look",
    flags: Flags::WRITE,
    keys: Keys::ONE,
    run: Run::Row(look),
    group: "generic",
    ..Spec::DEFAULT
}];

/// What the command asks for.
struct Options {
    is_copy: bool,
    is_replacing: bool,
    user: Option<Vec<u8>>,
    password: Option<Vec<u8>>,
    keys: Range<usize>,
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Options, Refusal> {
        let keys = 3..4;
        let mut options = Options { is_copy: false, is_replacing: false, user: None, password: None, keys };
        let mut at = OPTIONS;
        while at < args.len() {
            let left = args.len() - at - 1;
            match () {
                () if args.is(at, "copy") => options.is_copy = true,
                () if args.is(at, "replace") => options.is_replacing = true,
                () if args.is(at, "auth") && left >= 1 => {
                    options.password = Some(args[at + 1].to_vec());
                    at += 1;
                }
                () if args.is(at, "auth2") && left >= 2 => {
                    (options.user, options.password) = (Some(args[at + 1].to_vec()), Some(args[at + 2].to_vec()));
                    at += 2;
                }
                () if args.is(at, "keys") => {
                    if !args[3].is_empty() {
                        let text =
                            "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string";
                        return Err(Refusal::text(text));
                    }
                    options.keys = at + 1..args.len();
                    break;
                }
                () => return Err(Refusal::Syntax),
            }
            at += 1;
        }
        Ok(options)
    }
}

/// The places of the keys.
fn keys(args: &Args<'_>) -> Range<usize> {
    Options::parse(args).map_or(3..4, |options| options.keys)
}

fn begin(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<super::Flow, Stop> {
    Options::parse(call.args)?;
    number(call, 5)?;
    number(call, 4)?;
    machine.take_steps(conn, call)
}

fn number(call: &Call<'_>, at: usize) -> Result<i64, Refusal> {
    call.args.integer(at)
}

fn look(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let Some(row) = shard.peek(call, &call.args[1])? else {
        reply.null();
        return Ok(());
    };
    let left_ms = row.expire_ms.map_or(0, |ms| ms.saturating_sub(call.now.unix_ms()).max(1));
    let payload = dump::dump(shard, call, &row, shard.payload_version)?;
    reply.array(2);
    reply.blob(Blob::new(payload));
    reply.integer(left_ms as i64);
    Ok(())
}

fn number_of(reader: &mut Reader<'_>) -> Option<u64> {
    if let Some(Item::Integer(number)) = reader.next() { u64::try_from(number).ok() } else { None }
}

fn migrate(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let args = call.args;
    let Options { is_copy, is_replacing, user, password, keys } = Options::parse(args)?;
    let timeout_ms = u64::try_from(number(call, 5)?).ok().filter(|ms| *ms > 0).unwrap_or(TIMEOUT_MS_DEFAULT);
    let mut carried: Vec<Carried> = Vec::new();
    for at in keys {
        let key = &args[at];
        if carried.iter().any(|known| known.key == key) {
            continue;
        }
        let found = steps.run(&[b"migrate|look", key])?;
        let mut found = Reader::new(&found);
        if found.array() == 2
            && let (Some(payload), Some(left_ms)) = (found.text().map(<[u8]>::to_vec), number_of(&mut found))
        {
            carried.push(Carried { key: key.to_vec(), left_ms, payload });
        }
    }
    if carried.is_empty() {
        reply.simple("NOKEY");
        return Ok(());
    }
    let keys: Vec<Vec<u8>> = carried.iter().map(|one| one.key.clone()).collect();
    let (host, port) = (String::from_utf8_lossy(&args[1]).into_owned(), String::from_utf8_lossy(&args[2]).into_owned());
    let db = number(call, 4)?;
    let migration = Migration { host, port, db, timeout_ms, user, password, is_replacing, carried };
    let told = steps.ask_host(HostAsk::Migrate(Box::new(migration)))?;
    let mut failed = None;
    for (key, outcome) in keys.iter().zip(told.split('\n')) {
        match outcome {
            "" if is_copy => {}
            "" => drop(steps.run(&[b"del", key])?),
            why => failed = failed.or(Some(why)),
        }
    }
    match failed {
        None => reply.ok(),
        Some(why) => reply.error(why),
    }
    Ok(())
}
