//! Commands that count.

use super::string;
use crate::command::Call;
use crate::command::args::parse_integer;
use crate::error::{Refusal, Stop};
use crate::notify::Events;
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

/// ADD.
pub fn add_blindly(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let increment = call.args.integer(2)?;
    change(shard, call, |before| before.checked_add(increment).ok_or(Refusal::Overflow).map(Some))?;
    notify(shard, call, 1);
    reply.ok();
    Ok(())
}

/// DECRMIN: 1 if it was done, 0 if there is not enough. The integer itself is not answered, as nobody who takes from a stock
/// has to see what others have left of it.
pub fn decrmin(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (decrement, min) = (call.args.integer(2)?, call.args.integer(3)?);
    if decrement < 0 {
        return Err(Refusal::text("ERR value is out of range, must be positive").into());
    }
    // What is at least `min` after it does not overflow.
    let taken = |before: i64| before.checked_sub(decrement).filter(|after| *after >= min);
    let after = change(shard, call, |before| Ok(taken(before)))?;
    notify(shard, call, usize::from(after.is_some()));
    reply.integer(i64::from(after.is_some()));
    Ok(())
}

/// DECRMIN at a sub-row of a split counter, which has what is taken: the machine has seen that.
pub fn spend(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let decrement = call.args.integer(2)?;
    change(shard, call, |before| before.checked_sub(decrement).ok_or(Refusal::Overflow).map(Some))?;
    notify(shard, call, 1);
    reply.integer(1);
    Ok(())
}

#[inline]
fn add(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, increment: i64) -> Result<(), Stop> {
    let after = change(shard, call, |before| before.checked_add(increment).ok_or(Refusal::Overflow).map(Some))?;
    notify(shard, call, 1);
    reply.integer(after.expect("whatever can be added is"));
    Ok(())
}

/// Says that the integer was changed, so many times.
#[inline]
fn notify(shard: &Shard, call: &Call<'_>, times: usize) {
    (0..times).for_each(|_| shard.notify(call, Events::STRING, "incrby", &call.args[1]));
}

/// One of several increments of an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The command, by its number in the table.
    pub id: u16,
    pub amount: i64,
    /// It is answered OK, not with the sum.
    pub is_blind: bool,
}

/// Increments one after the other, with one look at the row and one write. Each is answered as if it had been done by itself. The
/// commands of those that would have left the range of integers, and have changed nothing. `forgets_last`: a bug to have.
pub fn add_steps(
    shard: &mut Shard,
    call: &Call<'_>,
    steps: &[Step],
    forgets_last: bool,
    reply: &mut Reply<'_>,
) -> Result<Vec<u16>, Stop> {
    let mut failed = Vec::new();
    change(shard, call, |mut value| {
        let mut kept = value;
        for step in steps {
            let Some(after) = value.checked_add(step.amount) else {
                failed.push(step.id);
                reply.refusal(&Refusal::Overflow);
                continue;
            };
            kept = if forgets_last { value } else { after };
            value = after;
            if step.is_blind { reply.ok() } else { reply.integer(after) }
        }
        Ok((failed.len() < steps.len()).then_some(kept))
    })?;
    notify(shard, call, steps.len() - failed.len());
    Ok(failed)
}

/// GET of an integer that is so much more than its row has.
pub fn get_sum(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, more: i64) -> Result<(), Stop> {
    let row = shard.read(call, &call.args[1])?;
    let base = parse_integer(string(row)?.unwrap_or(b"0")).ok_or(Refusal::NotInteger)?;
    let sum = base.checked_add(more).ok_or(Refusal::Overflow)?;
    reply.bulk(itoa::Buffer::new().format(sum).as_bytes());
    Ok(())
}

/// Sets an integer to what follows from it, or leaves it as it is. What it is then, if it was set.
#[inline]
fn change(
    shard: &mut Shard,
    call: &Call<'_>,
    follow: impl FnOnce(i64) -> Result<Option<i64>, Refusal>,
) -> Result<Option<i64>, Stop> {
    let key = &call.args[1];
    let row = shard.peek(call, key)?;
    let ttl = kept(row);
    let before = match string(row)? {
        Some(value) => parse_integer(value).ok_or(Refusal::NotInteger)?,
        None => 0,
    };
    let Some(after) = follow(before)? else { return Ok(None) };
    shard.write(call, key, Kind::String, ttl, itoa::Buffer::new().format(after).as_bytes())?;
    Ok(Some(after))
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
    shard.notify(call, Events::STRING, "incrbyfloat", key);
    reply.bulk(after.as_bytes());
    Ok(())
}

/// The time to live that a row has, so that the write need not look for it again.
#[inline]
fn kept(row: Option<Row<'_>>) -> Ttl {
    row.and_then(|row| row.expire_ms).map_or(Ttl::Clear, Ttl::At)
}
