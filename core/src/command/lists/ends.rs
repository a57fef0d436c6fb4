//! Commands at the ends of one list.

use crate::collection::Form;
use crate::collection::list::{End, List, pop_at, push_at, trim};
use crate::command::args::parse_integer;
use crate::command::{Call, Joined};
use crate::error::{Refusal, Stop};
use crate::limits::JOINED_BYTES_MAX;
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
    push_joined(shard, call, &[call.args.len() - 2], reply, end)
}

pub const LPUSHES: Joined =
    Joined::with_arguments(|shard, call, parts, reply| push_joined(shard, call, parts, reply, End::Left));

pub const RPUSHES: Joined =
    Joined::with_arguments(|shard, call, parts, reply| push_joined(shard, call, parts, reply, End::Right));

fn push_joined(
    shard: &mut Shard,
    call: &Call<'_>,
    parts: &[usize],
    reply: &mut Reply<'_>,
    end: End,
) -> Result<(), Stop> {
    let values = (2..call.args.len()).map(|at| &call.args[at]);
    let mut len = values.len();
    let changed = push_at(shard, call, &call.args[1], end, values)?;
    len = changed.len as usize - len;
    shard.edit_several(call, &[changed.change])?;
    shard.notify(call, Events::LIST, pushed(end), &call.args[1]);
    for part in parts {
        len += part;
        reply.integer(len as i64);
    }
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
    match count {
        None => {
            let change = pop_at(shard, call, key, &list, end, 1, |value| reply.bulk(value))?;
            shard.edit_several(call, &[change])?;
            shard.notify_of_removal(call, Events::LIST, popped(end), key);
            Ok(())
        }
        Some(count) => pop_several(shard, call, reply, key, (end, count), |_| {}),
    }
}

pub const LPOPS: Joined = Joined::bare(|shard, call, parts, reply| pop_joined(shard, call, parts, reply, End::Left));

pub const RPOPS: Joined = Joined::bare(|shard, call, parts, reply| pop_joined(shard, call, parts, reply, End::Right));

fn pop_joined(
    shard: &mut Shard,
    call: &Call<'_>,
    parts: &[usize],
    reply: &mut Reply<'_>,
    end: End,
) -> Result<(), Stop> {
    let key = &call.args[1];
    let (mut left, mut bytes) = (parts.len(), 0);
    if let Some(list) = List::peek(shard, call, key)? {
        let change = pop_at(shard, call, key, &list, end, parts.len() as u64, |value| {
            bytes += value.len();
            if bytes <= JOINED_BYTES_MAX {
                left -= 1;
                reply.bulk(value);
            }
        })?;
        if bytes > JOINED_BYTES_MAX {
            return Err(Stop::Long);
        }
        shard.edit_several(call, &[change])?;
        shard.notify_of_removal(call, Events::LIST, popped(end), key);
    }
    (0..left).for_each(|_| reply.null());
    Ok(())
}

/// Takes up to `count` elements, at least one, from an end of a list that is there, and answers them as an array. Many are shown in slices, and go
/// when all have been. `begin`: what is answered before them.
pub(super) fn pop_several(
    shard: &mut Shard,
    call: &Call<'_>,
    reply: &mut Reply<'_>,
    key: &[u8],
    (end, count): (End, u64),
    begin: impl FnOnce(&mut Reply<'_>),
) -> Result<(), Stop> {
    let list = List::peek(shard, call, key)?.expect("the caller has seen it");
    let len = list.len(shard, call)?;
    let gone = count.min(len);
    let mut slice = match list.form {
        Form::Spread(_) if !shard.takes_at_once(gone) => shard.slice(gone)?,
        _ => {
            begin(reply);
            reply.array(gone as usize);
            let change = pop_at(shard, call, key, &list, end, count, |value| reply.bulk(value))?;
            shard.edit_several(call, &[change])?;
            shard.notify_of_removal(call, Events::LIST, popped(end), key);
            return Ok(());
        }
    };
    if slice.is_first() {
        begin(reply);
        reply.array(gone as usize);
    }
    if !slice.is_empty() {
        let from = slice.from();
        let show = |value: &[u8]| {
            reply.bulk(value);
            slice.next(reply)
        };
        match end {
            End::Left => list.visit(shard, call, from, show)?,
            End::Right => list.visit_back(shard, call, len - from, show)?,
        }
    }
    if !shard.has_shown(&slice)? {
        return Ok(());
    }
    if gone == len {
        shard.remove(call, key)?;
    } else {
        trim(shard, call, key, len, if end == End::Left { gone..len } else { 0..len - gone })?;
    }
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
