//! Commands that count.

use super::string;
use crate::command::Call;
use crate::command::args::parse_integer;
use crate::error::{Refusal, Stop};
use crate::number::Extended;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Row, Shard, Ttl};

pub fn incr(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    add(shard, call, reply, 1)
}

pub fn decr(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    add(shard, call, reply, -1)
}

pub fn incrby(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    add(shard, call, reply, call.args.integer(2)?)
}

pub fn decrby(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let decrement = call.args.integer(2)?;
    let increment = decrement.checked_neg().ok_or(Refusal::text("ERR decrement would overflow"))?;
    add(shard, call, reply, increment)
}

#[inline]
fn add(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, increment: i64) -> Result<(), Stop> {
    let key = &call.args[1];
    let row = shard.peek(call, key)?;
    let ttl = kept(row);
    let before = match string(row)? {
        Some(value) => parse_integer(value).ok_or(Refusal::NotInteger)?,
        None => 0,
    };
    let after = before.checked_add(increment).ok_or(Refusal::Overflow)?;
    shard.write(call, key, Kind::String, ttl, itoa::Buffer::new().format(after).as_bytes())?;
    reply.integer(after);
    Ok(())
}

pub fn incrbyfloat(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let row = shard.peek(call, key)?;
    let ttl = kept(row);
    let value = string(row)?.unwrap_or(b"0");
    let before = Extended::parse(value).ok_or(Refusal::NotFloat)?;
    let increment = Extended::parse(&call.args[2]).ok_or(Refusal::NotFloat)?;
    let after = before.plus(increment).ok_or(Refusal::text("ERR increment would produce NaN or Infinity"))?.format();
    shard.write(call, key, Kind::String, ttl, after.as_bytes())?;
    reply.bulk(after.as_bytes());
    Ok(())
}

/// The time to live that a row has, so that the write need not look for it again.
#[inline]
fn kept(row: Option<Row<'_>>) -> Ttl {
    row.and_then(|row| row.expire_ms).map_or(Ttl::Clear, Ttl::At)
}
