//! Commands that change a hash.

use crate::collection::map::MapEdit;
use crate::command::args::parse_integer;
use crate::command::{Call, Joined};
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::number::Extended;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard, Ttl};

pub fn hset(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    set_pairs(shard, call, &[call.args.len() - 2], |added| reply.integer(added))
}

pub const HSETS: Joined =
    Joined::with_arguments(|shard, call, parts, reply| set_pairs(shard, call, parts, |added| reply.integer(added)));

pub fn hmset(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    set_pairs(shard, call, &[call.args.len() - 2], |_| reply.ok())
}

/// Sets fields and values, so many of both at a time; `answer` how many of the fields are new.
fn set_pairs(shard: &mut Shard, call: &Call<'_>, parts: &[usize], mut answer: impl FnMut(i64)) -> Result<(), Stop> {
    if parts.iter().any(|part| part % 2 == 1) {
        return Err(call.arity());
    }
    let mut edit = MapEdit::begin(shard, call, &call.args[1], Kind::Hash)?;
    let mut at = 2;
    for part in parts {
        let mut added = 0;
        for field in (at..at + part).step_by(2) {
            added += i64::from(edit.set(shard, call, &call.args[field], &call.args[field + 1])?);
        }
        answer(added);
        at += part;
    }
    edit.finish(shard, call, &call.args[1], Ttl::Keep)?;
    shard.notify(call, Events::HASH, "hset", &call.args[1]);
    Ok(())
}

pub fn hsetnx(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (key, field) = (&call.args[1], &call.args[2]);
    let mut edit = MapEdit::begin(shard, call, key, Kind::Hash)?;
    let is_new = edit.get(shard, call, field)?.is_none();
    if is_new {
        edit.set(shard, call, field, &call.args[3])?;
        edit.finish(shard, call, key, Ttl::Keep)?;
        shard.notify(call, Events::HASH, "hset", key);
    }
    reply.integer(i64::from(is_new));
    Ok(())
}

pub fn hdel(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let mut edit = MapEdit::begin(shard, call, key, Kind::Hash)?;
    let mut removed = 0;
    for field in call.args.skip(2).iter() {
        removed += i64::from(edit.remove(shard, call, field)?);
    }
    if removed > 0 {
        edit.finish(shard, call, key, Ttl::Keep)?;
        shard.notify_of_removal(call, Events::HASH, "hdel", key);
    }
    reply.integer(removed);
    Ok(())
}

pub fn hincrby(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (key, field, increment) = (&call.args[1], &call.args[2], call.args.integer(3)?);
    let mut edit = MapEdit::begin(shard, call, key, Kind::Hash)?;
    let before = match edit.get(shard, call, field)? {
        Some(value) => parse_integer(value).ok_or(Refusal::text("ERR hash value is not an integer"))?,
        None => 0,
    };
    let after = before.checked_add(increment).ok_or(Refusal::Overflow)?;
    edit.update(shard, call, field, itoa::Buffer::new().format(after).as_bytes())?;
    edit.finish(shard, call, key, Ttl::Keep)?;
    shard.notify(call, Events::HASH, "hincrby", key);
    reply.integer(after);
    Ok(())
}

pub fn hincrbyfloat(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (key, field) = (&call.args[1], &call.args[2]);
    let increment = Extended::parse(&call.args[3]).ok_or(Refusal::NotFloat)?;
    if !increment.is_finite() {
        return Err(Refusal::text("ERR value is NaN or Infinity").into());
    }
    let mut edit = MapEdit::begin(shard, call, key, Kind::Hash)?;
    let before = edit.get(shard, call, field)?.unwrap_or(b"0");
    let before = Extended::parse(before).ok_or(Refusal::text("ERR hash value is not a float"))?;
    let after = before.plus(increment).ok_or(Refusal::text("ERR increment would produce NaN or Infinity"))?.format();
    edit.update(shard, call, field, after.as_bytes())?;
    edit.finish(shard, call, key, Ttl::Keep)?;
    shard.notify(call, Events::HASH, "hincrbyfloat", key);
    reply.bulk(after.as_bytes());
    Ok(())
}
