//! RENAME, RENAMENX, COPY and MSETNX of keys on several shards as programs ([`super::program`]): within transactions and scripts. By themselves
//! they are one change with less ado (`machine/whole.rs`).

mod moving;

use super::args::parse_integer;
use super::keys::CopyTo;
use super::program::{Program, Steps};
use super::{Call, Flags, Keys, Run, Spec, Spread, long};
use crate::collection::dump;
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::rdb::{VERSION_MAX, Version, payload};
use crate::resp::encode::Reply;
use crate::resp::read::{Item, Reader};
use crate::shard::{Kind, Shard, Ttl};
use moving::Moving;

impl Spec {
    /// What its steps are, where it is taken in steps: over several shards within a transaction or a script, if not always.
    pub fn program(&self) -> Option<Program> {
        match self.spread {
            Spread::Program(program) => Some(program),
            Spread::PairsIfNone => Some(set_if_none),
            Spread::Move { .. } => Some(rename),
            Spread::Copy => Some(copy),
            Spread::Refuse | Spread::Sum | Spread::Place | Spread::Pairs => None,
        }
    }
}

/// Their steps.
pub const STEPS: &[Spec] = &[
    Spec { name: "row|there", keys: Keys::ALL, spread: Spread::Sum, run: Run::Row(are_there), ..LOOK },
    Spec { name: "row|take", run: Run::Row(take), ..LOOK },
    Spec { name: "row|hold", flags: Flags::WRITE.and(Flags::BESIDE), run: Run::Row(hold), ..LOOK },
    Spec { name: "row|slice", run: Run::Row(moving::slice), ..LOOK },
    Spec { name: "row|put", flags: Flags::WRITE.and(Flags::DENYOOM), run: Run::Row(put), ..LOOK },
    Spec { name: "row|drop", flags: Flags::WRITE, run: Run::Row(drop_source), ..LOOK },
];
const LOOK: Spec = Spec { flags: Flags::READONLY, keys: Keys::ONE, group: "generic", ..Spec::DEFAULT };

fn set_if_none(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    if call.lacks_value() {
        return Err(call.arity());
    }
    let mut words: Vec<&[u8]> = vec![b"row|there"];
    words.extend(call.spec.row_keys(call.args).map(|at| &call.args[at]));
    let is_free = integer(&steps.run(&words)?) == 0;
    if is_free {
        let mut words: Vec<&[u8]> = vec![b"mset"];
        words.extend(call.args.skip(1).iter());
        steps.run(&words)?;
    }
    reply.integer(i64::from(is_free));
    Ok(())
}

fn rename(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let Spread::Move { is_replacing } = call.spec.spread else { unreachable!("its row says so") };
    let to = CopyTo { db: call.db, is_replacing };
    let work = long::work(steps, || Ok(Moving::new(call, to, true)))?;
    match work.is_moved {
        None => return Err(Refusal::NoSuchKey.into()),
        Some(_) if is_replacing => reply.ok(),
        Some(is_moved) => reply.integer(i64::from(is_moved)),
    }
    Ok(())
}

fn copy(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let to = CopyTo::parse(call)?;
    let work = long::work(steps, || Ok(Moving::new(call, to, false)))?;
    reply.integer(i64::from(work.is_moved == Some(true)));
    Ok(())
}

fn integer(answer: &[u8]) -> i64 {
    match Reader::new(answer).next() {
        Some(Item::Integer(integer)) => integer,
        other => unreachable!("a step that counts answered {other:?}"),
    }
}

/// How many of the keys are there.
fn are_there(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let mut count = 0;
    for key in call.args.skip(1).iter() {
        count += i64::from(shard.peek_bare(call, key)?.is_some());
    }
    reply.integer(count);
    Ok(())
}

const STRING: &[u8] = b"string";
const PAYLOAD: &[u8] = b"payload";
/// A collection of which its elements are asked for: its kind, and the row's value.
const LARGE: &[u8] = b"large";

/// The row is locked to be changed.
fn hold(_: &mut Shard, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    reply.ok();
    Ok(())
}

/// `key read|peek [pieces]`: what a row is; an empty array if there is none. `pieces`: what is large is moved piece by piece.
fn take(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let row = if call.args.is(2, "read") { shard.read(call, key)? } else { shard.peek(call, key)? };
    let Some(row) = row else {
        reply.array(0);
        return Ok(());
    };
    let payload;
    let (form, value) = match row.kind {
        Kind::String => (STRING, row.value),
        _ if call.args.len() > 3 && shard.is_large(call, &row)? => {
            payload = [&[row.kind as u8], row.value].concat();
            (LARGE, &payload[..])
        }
        _ => {
            payload = dump::dump(shard, call, &row, Version::Eleven)?;
            (PAYLOAD, &payload[..])
        }
    };
    reply.array(3);
    reply.bulk(form);
    reply.bulk(row.expire_ms.unwrap_or(0).to_string().as_bytes());
    reply.bulk(value);
    Ok(())
}

/// `key event replace|"" form expire-ms value`: 1 if the row is this now, 0 if something else is there.
fn put(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (args, key) = (call.args, &call.args[1]);
    let is_there = shard.peek_bare(call, key)?.is_some();
    if is_there && !args.is(3, "replace") {
        reply.integer(0);
        return Ok(());
    }
    let ttl = match parse_integer(&args[5]) {
        Some(ms) if ms > 0 => Ttl::At(ms as u64),
        _ => Ttl::Clear,
    };
    if args[4] == *STRING {
        shard.write(call, key, Kind::String, ttl, &args[6])?;
    } else {
        let body = payload::body(&args[6], VERSION_MAX);
        let body = body.map_err(|_| Refusal::text("ERR DUMP payload version or checksum are wrong"))?;
        let value = dump::value_of(shard, body)?;
        dump::restore(shard, call, key, ttl, value)?;
    }
    if is_there {
        shard.notify(call, Events::NEW, "new", key);
    }
    shard.notify(call, Events::GENERIC, if args.is(2, "copy_to") { "copy_to" } else { "rename_to" }, key);
    reply.integer(1);
    Ok(())
}

/// The source of a row that has moved.
fn drop_source(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    shard.remove(call, &call.args[1])?;
    shard.notify(call, Events::GENERIC, "rename_from", &call.args[1]);
    reply.ok();
    Ok(())
}
