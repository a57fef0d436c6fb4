//! DUMP and RESTORE: values as payloads, in the format of Redis; and MOVE, by which a value changes its database.

use super::strings::as_one;
use super::{Call, Flags, Keys, Run, Spec};
use crate::collection::dump;
use crate::command::keys::{database, taken};
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::rdb::{VERSION_MAX, payload};
use crate::resp::encode::Reply;
use crate::shard::{Shard, Ttl};
use cairn_storage::blob::Blob;

fn dump(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let Some(row) = shard.read(call, &call.args[1])? else {
        reply.null();
        return Ok(());
    };
    let payload = dump::dump(shard, call, &row, shard.payload_version)?;
    reply.blob(Blob::new(payload));
    Ok(())
}

/// What may stand behind the payload.
#[derive(Clone, Copy, Default)]
struct Options {
    is_replacing: bool,
    is_absolute: bool,
}

impl Options {
    fn parse(call: &Call<'_>) -> Result<Options, Refusal> {
        let args = call.args;
        let (mut options, mut has_idle, mut has_freq) = (Options::default(), false, false);
        let mut at = 4;
        while at < args.len() {
            let has_more = at + 1 < args.len();
            if args.is(at, "replace") {
                options.is_replacing = true;
            } else if args.is(at, "absttl") {
                options.is_absolute = true;
            } else if args.is(at, "idletime") && has_more && !has_freq {
                // No access times are kept, so it is checked and has no effect; nor has the frequency.
                if args.integer(at + 1)? < 0 {
                    return Err(Refusal::text("ERR Invalid IDLETIME value, must be >= 0"));
                }
                (has_idle, at) = (true, at + 1);
            } else if args.is(at, "freq") && has_more && !has_idle {
                if !(0..=255).contains(&args.integer(at + 1)?) {
                    return Err(Refusal::text("ERR Invalid FREQ value, must be >= 0 and <= 255"));
                }
                (has_freq, at) = (true, at + 1);
            } else {
                return Err(Refusal::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }
}

fn restore(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let options = Options::parse(call)?;
    let key = &call.args[1];
    let is_there = shard.peek_bare(call, key)?.is_some();
    if is_there && !options.is_replacing {
        return Err(Refusal::text("BUSYKEY Target key name already exists.").into());
    }
    let ttl = match u64::try_from(call.args.integer(2)?) {
        Ok(0) => Ttl::Clear,
        Ok(ttl) if options.is_absolute => Ttl::At(ttl),
        Ok(ttl) => Ttl::At(ttl.saturating_add(call.now.unix_ms())),
        Err(_) => return Err(Refusal::text("ERR Invalid TTL value, must be >= 0").into()),
    };
    let body = payload::body(&call.args[3], VERSION_MAX);
    let body = body.map_err(|_| Refusal::text("ERR DUMP payload version or checksum are wrong"))?;
    let value = dump::value_of(shard, body)?;
    if matches!(ttl, Ttl::At(ms) if ms <= call.now.unix_ms()) {
        // Its time is over already: all that is left to do is what REPLACE does.
        if is_there && shard.remove(call, key)? {
            shard.notify(call, Events::GENERIC, "del", key);
        }
    } else {
        dump::restore(shard, call, key, ttl, value)?;
        if is_there {
            shard.notify(call, Events::NEW, "new", key);
        }
        shard.notify(call, Events::GENERIC, "restore", key);
    }
    reply.ok();
    Ok(())
}

/// MOVE: both databases of a key are on its shard.
fn move_key(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let there = Call { db: database(&call.args[2])?, ..*call };
    if there.db == call.db {
        return Err(Refusal::text("ERR source and destination objects are the same").into());
    }
    let Some(row) = shard.peek(call, key)? else {
        reply.integer(0);
        return Ok(());
    };
    if shard.peek_bare(&there, key)?.is_some() {
        reply.integer(0);
        return Ok(());
    }
    if row.is_spread {
        shard.move_spread(call, &there, key)?;
    } else {
        let (kind, ttl, value) = taken(shard, call, key, row)?;
        shard.prepare_move(call, &there, key, ttl)?;
        as_one(shard, value.len(), |shard| {
            shard.write_blob(&there, key, kind, ttl, &value)?;
            shard.remove(call, key).map(drop)
        })?;
    }
    shard.notify(call, Events::GENERIC, "move_from", key);
    shard.notify(&there, Events::GENERIC, "move_to", key);
    reply.integer(1);
    Ok(())
}

const KEY: Spec = Spec { keys: Keys::ONE, categories: "keyspace", group: "generic", since: "2.6.0", ..Spec::DEFAULT };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "dump",
        arity: 2,
        flags: Flags::READONLY,
        run: Run::Row(dump),
        complexity: "O(N) where N is the size of the value.",
        key_uses: &["RO access"],
        tips: "nondeterministic_output",
        summary: "Answers a value as a payload that RESTORE takes.",
        synopsis: "key",
        ..KEY
    },
    Spec {
        name: "move",
        arity: 3,
        flags: Flags::WRITE.and(Flags::FAST),
        run: Run::Row(move_key),
        since: "1.0.0",
        complexity: "O(1), and O(N) for a collection of N elements that is spread.",
        key_uses: &["RW access update"],
        summary: "Moves a key to another database, unless one of its name is there.",
        synopsis: "key db",
        ..KEY
    },
    Spec {
        name: "restore",
        arity: -4,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        run: Run::Row(restore),
        categories: "keyspace dangerous",
        complexity: "O(N*log(N)) where N is the size of the value.",
        key_uses: &["OW update"],
        summary: "Makes a value of a payload of DUMP.",
        synopsis: "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
        ..KEY
    },
];
