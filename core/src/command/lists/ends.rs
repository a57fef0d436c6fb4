//! Commands at the ends of one list.

use crate::collection::list::{End, List, pop_at, push_at};
use crate::command::Call;
use crate::command::args::parse_integer;
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::Shard;

pub fn lpush(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    push(shard, call, reply, End::Left)
}

pub fn rpush(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    push(shard, call, reply, End::Right)
}

pub fn lpushx(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    push_if_there(shard, call, reply, End::Left)
}

pub fn rpushx(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    push_if_there(shard, call, reply, End::Right)
}

fn push_if_there(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, end: End) -> Result<(), Stop> {
    if List::peek(shard, call, &call.args[1])?.is_none() {
        reply.integer(0);
        return Ok(());
    }
    push(shard, call, reply, end)
}

fn push(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, end: End) -> Result<(), Stop> {
    let values = (2..call.args.len()).map(|at| &call.args[at]);
    let changed = push_at(shard, call, &call.args[1], end, values)?;
    let len = changed.len;
    shard.edit_several(call, &[changed.change])?;
    shard.notify(call, Events::LIST, pushed(end), &call.args[1]);
    reply.integer(len as i64);
    Ok(())
}

pub fn lpop(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    pop(shard, call, reply, End::Left)
}

pub fn rpop(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    pop(shard, call, reply, End::Right)
}

fn pop(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, end: End) -> Result<(), Stop> {
    let key = &call.args[1];
    let count = match call.args.len() {
        2 => None,
        3 => Some(count_of(&call.args[2], 0, "ERR value is out of range, must be positive")?),
        _ => return Err(call.arity()),
    };
    let Some(list) = List::peek(shard, call, key)? else {
        if count.is_some() {
            reply.null_array()
        } else {
            reply.null()
        }
        return Ok(());
    };
    if count == Some(0) {
        reply.array(0);
        return Ok(());
    }
    if let Some(count) = count {
        let len = list.len(shard, call)?;
        reply.array(count.min(len) as usize);
    }
    let change = pop_at(shard, call, key, &list, end, count.unwrap_or(1), |value| reply.bulk(value))?;
    shard.edit_several(call, &[change])?;
    shard.notify_of_removal(call, Events::LIST, popped(end), key);
    Ok(())
}

/// What is told of a list that was given something at an end.
pub(super) fn pushed(end: End) -> &'static str {
    match end {
        End::Left => "lpush",
        End::Right => "rpush",
    }
}

/// What is told of one from whose end something was taken.
pub(super) fn popped(end: End) -> &'static str {
    match end {
        End::Left => "lpop",
        End::Right => "rpop",
    }
}

/// A number of at least `min`, or the refusal.
pub(super) fn count_of(text: &[u8], min: i64, refusal: &'static str) -> Result<u64, Refusal> {
    let count = parse_integer(text).filter(|count| *count >= min);
    count.map(|count| count as u64).ok_or(Refusal::text(refusal))
}
