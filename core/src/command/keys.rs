//! Commands on keys whatever their values are: one shard's rows. What spans all shards is in `keyspace`.

use super::strings::as_one;
use super::{Call, Flags, Keys, Run, Spec, Spread, help};
use crate::collection;
use crate::collection::list::{self, List};
use crate::collection::map;
use crate::command::args::parse_integer;
use crate::error::{Refusal, Stop};
use crate::limits::DATABASES_MAX;
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Row, Shard, Ttl};
use cairn_storage::blob::Blob;

/// DEL and UNLINK: memory is given back in the background either way.
fn del(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    if call.args.len() == 2 {
        let is_removed = remove(shard, call, &call.args[1])?;
        reply.integer(i64::from(is_removed));
        return Ok(());
    }
    // Finds all of them before the first is removed.
    for key in call.args.skip(1).iter() {
        shard.peek_bare(call, key)?;
    }
    let mut removed = 0;
    for key in call.args.skip(1).iter() {
        removed += i64::from(remove(shard, call, key)?);
    }
    reply.integer(removed);
    Ok(())
}

fn remove(shard: &mut Shard, call: &Call<'_>, key: &[u8]) -> Result<bool, Stop> {
    let is_removed = shard.remove(call, key)?;
    if is_removed {
        shard.notify(call, Events::GENERIC, "del", key);
    }
    Ok(is_removed)
}

/// EXISTS and TOUCH: a key that is named twice counts twice. No access times are kept, so there is nothing to touch.
fn exists(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let mut found = 0;
    for key in call.args.skip(1).iter() {
        found += i64::from(shard.read_bare(call, key)?.is_some());
    }
    reply.integer(found);
    Ok(())
}

fn kind(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let row = shard.read_bare(call, &call.args[1])?;
    reply.simple(row.map_or("none", |row| row.kind.name()));
    Ok(())
}

/// Where COPY copies to.
pub struct CopyTo {
    pub db: u8,
    pub is_replacing: bool,
}

impl CopyTo {
    pub fn parse(call: &Call<'_>) -> Result<CopyTo, Refusal> {
        let args = call.args;
        let mut to = CopyTo { db: call.db, is_replacing: false };
        let mut at = 3;
        while at < args.len() {
            if args.is(at, "replace") {
                to.is_replacing = true;
            } else if args.is(at, "db") && at + 1 < args.len() {
                at += 1;
                to.db = database(&args[at])?;
            } else {
                return Err(Refusal::Syntax);
            }
            at += 1;
        }
        if to.db == call.db && args[1] == args[2] {
            return Err(Refusal::text("ERR source and destination objects are the same"));
        }
        Ok(to)
    }
}

/// The database that COPY and MOVE put something into.
pub fn target_db(call: &Call<'_>) -> Option<u8> {
    match call.spec.name {
        "copy" => CopyTo::parse(call).ok().map(|to| to.db),
        "move" => database(&call.args[2]).ok(),
        _ => None,
    }
}

fn copy(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let CopyTo { db, is_replacing } = CopyTo::parse(call)?;
    let (source, target) = (&call.args[1], &call.args[2]);
    let there = Call { db, ..*call };
    let Some(row) = shard.read(call, source)? else {
        reply.integer(0);
        return Ok(());
    };
    let is_there = shard.peek_bare(&there, target)?.is_some();
    if is_there && !is_replacing {
        reply.integer(0);
        return Ok(());
    }
    if row.is_spread {
        shard.copy_spread(call, source, &there, target)?;
    } else {
        let (kind, ttl, value) = taken(shard, call, source, row)?;
        shard.write_blob(&there, target, kind, ttl, &value)?;
    }
    if is_there {
        shard.notify(&there, Events::NEW, "new", target);
    }
    shard.notify(&there, Events::GENERIC, "copy_to", target);
    reply.integer(1);
    Ok(())
}

pub(super) fn database(text: &[u8]) -> Result<u8, Refusal> {
    let db = parse_integer(text).ok_or(Refusal::NotInteger)?;
    if i32::try_from(db).is_err() {
        let (low, high) = (i32::MIN, i32::MAX);
        return Err(Refusal::text(format!("ERR value is out of range, value must between {low} and {high}")));
    }
    u8::try_from(db).ok().filter(|&db| db < DATABASES_MAX).ok_or(Refusal::text("ERR DB index is out of range"))
}

/// What a row takes along to another key.
pub(super) fn taken(shard: &Shard, call: &Call<'_>, key: &[u8], row: Row<'_>) -> Result<(Kind, Ttl, Blob), Stop> {
    let value = shard.blob(call, key)?.unwrap_or_else(|| Blob::new(row.value.to_vec()));
    Ok((row.kind, row.expire_ms.map_or(Ttl::Clear, Ttl::At), value))
}

fn rename(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    move_row(shard, call, true)?;
    reply.ok();
    Ok(())
}

fn renamenx(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let is_moved = move_row(shard, call, false)?;
    reply.integer(i64::from(is_moved));
    Ok(())
}

/// Whether the row has moved: not to its own key, and to a key that has a row only if `is_replacing`.
fn move_row(shard: &mut Shard, call: &Call<'_>, is_replacing: bool) -> Result<bool, Stop> {
    let (source, target) = (&call.args[1], &call.args[2]);
    let row = shard.peek(call, source)?.ok_or(Refusal::NoSuchKey)?;
    let is_there = shard.peek_bare(call, target)?.is_some();
    if source == target || (is_there && !is_replacing) {
        return Ok(false);
    }
    if row.is_spread {
        shard.rename_spread(call, source, target)?;
        notify_of_move(shard, call, is_there);
        return Ok(true);
    }
    let (kind, ttl, value) = taken(shard, call, source, row)?;
    as_one(shard, value.len(), |shard| {
        shard.write_blob(call, target, kind, ttl, &value)?;
        shard.remove(call, source)?;
        notify_of_move(shard, call, is_there);
        Ok(())
    })?;
    Ok(true)
}

/// What was at the target is gone, so what is there now is new.
fn notify_of_move(shard: &Shard, call: &Call<'_>, is_there: bool) {
    if is_there {
        shard.notify(call, Events::NEW, "new", &call.args[2]);
    }
    shard.notify(call, Events::GENERIC, "rename_from", &call.args[1]);
    shard.notify(call, Events::GENERIC, "rename_to", &call.args[2]);
}

/// The longest string that Redis keeps in one allocation with its object.
const EMBEDDED_BYTES_MAX: usize = 44;

/// The encoding that Redis would choose for a value that was just set. A string's follows from the value alone: Redis
/// says `raw` for a short string too once APPEND or SETRANGE have touched it.
fn object_encoding(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let Some(row) = shard.read(call, &call.args[2])? else {
        reply.null();
        return Ok(());
    };
    reply.bulk(encoding_of(shard, call, &row)?.as_bytes());
    Ok(())
}

/// That of a row, which the caller has just seen.
pub fn encoding_of(shard: &Shard, call: &Call<'_>, row: &Row<'_>) -> Result<&'static str, Stop> {
    Ok(match row.value {
        _ if row.kind == Kind::List => {
            let tag = list::encoding::tag_of(shard, call, &List { form: row.form() })?;
            collection::encoding(row.kind, tag)
        }
        _ if row.kind == Kind::Hash && map::has_deadlines(&row.form()) && row.form().tag() == 0 => "listpackex",
        _ if row.kind != Kind::String => collection::encoding(row.kind, row.form().tag()),
        value if parse_integer(value).is_some() => "int",
        value if value.len() <= EMBEDDED_BYTES_MAX => "embstr",
        _ => "raw",
    })
}

/// Rows are never shared: 1. (Redis shares small integers and shows 2147483647 for those.)
fn object_refcount(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    match shard.read_bare(call, &call.args[2])? {
        Some(_) => reply.integer(1),
        None => reply.null(),
    }
    Ok(())
}

/// No access times are kept, as they would make every read a write. A row counts as just used: 0.
fn object_idletime(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    match shard.read_bare(call, &call.args[2])? {
        Some(_) => reply.integer(0),
        None => reply.null(),
    }
    Ok(())
}

/// There is no LFU policy, so this answers what Redis answers without one.
fn object_freq(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    if shard.read_bare(call, &call.args[2])?.is_some() {
        let text = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                    switching between policies at runtime LRU and LFU data will take some time to adjust.";
        return Err(Refusal::text(text).into());
    }
    reply.null();
    Ok(())
}

const KEY: Spec = Spec { keys: Keys::ONE, categories: "keyspace", group: "generic", ..Spec::DEFAULT };
const OBJECT: Spec =
    Spec { arity: 3, flags: Flags::READONLY, keys: Keys { first: 2, last: 2, step: 1 }, synopsis: "key", ..KEY };
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);

pub const SPECS: &[Spec] = &[
    Spec {
        name: "copy",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::TWO,
        spread: Spread::Copy,
        run: Run::Row(copy),
        since: "6.2.0",
        complexity: "O(N) where N is the size of the value.",
        key_uses: &["RO access", "OW update"],
        summary: "Copies a value and its time to live to another key.",
        synopsis: "source destination [DB destination-db] [REPLACE]",
        ..KEY
    },
    Spec {
        name: "del",
        arity: -2,
        flags: Flags::WRITE,
        keys: Keys::ALL,
        spread: Spread::Sum,
        run: Run::Row(del),
        complexity: "O(N) where N is the number of keys.",
        key_uses: &["RM delete"],
        tips: "request_policy:multi_shard response_policy:agg_sum",
        summary: "Deletes keys and answers how many there were.",
        synopsis: "key [key ...]",
        ..KEY
    },
    Spec {
        name: "exists",
        arity: -2,
        flags: READ_FAST,
        keys: Keys::ALL,
        spread: Spread::Sum,
        run: Run::Row(exists),
        complexity: "O(N) where N is the number of keys.",
        key_uses: &["RO"],
        tips: "request_policy:multi_shard response_policy:agg_sum",
        summary: "Counts those of the given keys that are there.",
        synopsis: "key [key ...]",
        ..KEY
    },
    Spec {
        name: "object",
        arity: -2,
        keys: Keys::NONE,
        run: Run::Container,
        subcommands: OBJECT_SUBCOMMANDS,
        categories: "",
        since: "2.2.3",
        complexity: "Depends on subcommand.",
        summary: "Tells how a value is kept.",
        ..KEY
    },
    Spec {
        name: "rename",
        arity: 3,
        flags: Flags::WRITE,
        keys: Keys::TWO,
        spread: Spread::Move { is_replacing: true },
        run: Run::Row(rename),
        key_uses: &["RW access delete", "OW update"],
        summary: "Gives a key another name, in place of whatever had it.",
        synopsis: "key newkey",
        ..KEY
    },
    Spec {
        name: "renamenx",
        arity: 3,
        flags: WRITE_FAST,
        keys: Keys::TWO,
        spread: Spread::Move { is_replacing: false },
        run: Run::Row(renamenx),
        key_uses: &["RW access delete", "OW insert"],
        summary: "Gives a key another name if nothing has it yet.",
        synopsis: "key newkey",
        ..KEY
    },
    Spec {
        name: "touch",
        arity: -2,
        flags: READ_FAST,
        keys: Keys::ALL,
        spread: Spread::Sum,
        run: Run::Row(exists),
        since: "3.2.1",
        complexity: "O(N) where N is the number of keys.",
        key_uses: &["RO"],
        tips: "request_policy:multi_shard response_policy:agg_sum",
        summary: "Counts those of the given keys that are there, as used just now.",
        synopsis: "key [key ...]",
        ..KEY
    },
    Spec {
        name: "type",
        arity: 2,
        flags: READ_FAST,
        run: Run::Row(kind),
        key_uses: &["RO"],
        summary: "Tells what kind of value is at a key.",
        synopsis: "key",
        ..KEY
    },
    Spec {
        name: "unlink",
        arity: -2,
        flags: WRITE_FAST,
        keys: Keys::ALL,
        spread: Spread::Sum,
        run: Run::Row(del),
        since: "4.0.0",
        complexity: "O(N) where N is the number of keys.",
        key_uses: &["RM delete"],
        tips: "request_policy:multi_shard response_policy:agg_sum",
        summary: "Deletes keys; their memory is given back in the background.",
        synopsis: "key [key ...]",
        ..KEY
    },
];

const OBJECT_SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "object|encoding",
        run: Run::Row(object_encoding),
        since: "2.2.3",
        key_uses: &["RO"],
        tips: "nondeterministic_output",
        summary: "Tells how Redis would encode the value at a key.",
        ..OBJECT
    },
    Spec {
        name: "object|freq",
        run: Run::Row(object_freq),
        since: "4.0.0",
        key_uses: &["RO"],
        tips: "nondeterministic_output",
        summary: "Tells how often a key is used, under an LFU policy.",
        ..OBJECT
    },
    Spec {
        name: "object|help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        keys: Keys::NONE,
        run: Run::Server(help::help),
        since: "6.2.0",
        summary: "Lists the subcommands.",
        synopsis: "",
        ..OBJECT
    },
    Spec {
        name: "object|idletime",
        run: Run::Row(object_idletime),
        since: "2.2.3",
        key_uses: &["RO"],
        tips: "nondeterministic_output",
        summary: "Tells how long ago a key was used.",
        ..OBJECT
    },
    Spec {
        name: "object|refcount",
        run: Run::Row(object_refcount),
        since: "2.2.3",
        key_uses: &["RO"],
        tips: "nondeterministic_output",
        summary: "Tells how many references the value at a key has.",
        ..OBJECT
    },
];
