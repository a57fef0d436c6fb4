//! Commands that change a list elsewhere than at its ends.

use super::look::{OUT_OF_RANGE, rank_of, ranks_of};
use crate::collection::list::{End, List, insert, remove_like, replace, seek, trim};
use crate::command::Call;
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::Shard;
use std::ops::ControlFlow;

pub fn lset(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let list = List::peek(shard, call, key)?.ok_or(Refusal::NoSuchKey)?;
    let index = call.args.integer(2)?;
    let rank = rank_of(index, list.len(shard, call)?).ok_or(Refusal::text("ERR index out of range"))?;
    let change = replace(shard, call, key, rank, &call.args[3])?;
    shard.edit_several(call, &[change])?;
    shard.notify(call, Events::LIST, "lset", key);
    reply.ok();
    Ok(())
}

pub fn linsert(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (key, pivot) = (&call.args[1], &call.args[3]);
    let is_behind = call.args.is(2, "after");
    if !is_behind && !call.args.is(2, "before") {
        return Err(Refusal::Syntax.into());
    }
    let Some(list) = List::peek(shard, call, key)? else {
        reply.integer(0);
        return Ok(());
    };
    let (len, mut rank) = (list.len(shard, call)?, shard.rested::<u64>().unwrap_or_default());
    let (mut ranks, mut at) = (*rank..len, None);
    let looked = seek(shard, call, key, (pivot, End::Left), &mut ranks, |rank| {
        at = Some(rank);
        ControlFlow::Break(())
    });
    *rank = at.unwrap_or(ranks.start);
    match looked {
        Err(stop) => return Err(shard.rest(rank, stop)),
        Ok(false) => return Err(shard.rest(rank, Stop::Long)),
        Ok(true) if at.is_none() => {
            reply.integer(-1);
            return Ok(());
        }
        Ok(true) => {}
    }
    let place = *rank + u64::from(is_behind);
    // What is put there may still want a page.
    shard.keep(rank);
    let changed = insert(shard, call, key, place, &call.args[4])?;
    let len = changed.len;
    shard.edit_several(call, &[changed.change])?;
    shard.notify(call, Events::LIST, "linsert", key);
    reply.integer(len as i64);
    Ok(())
}

pub fn lrem(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let count = call.args.integer(2)?;
    let (end, count) = match count {
        i64::MIN => return Err(Refusal::text(OUT_OF_RANGE).into()),
        0 => (End::Left, u64::MAX),
        1.. => (End::Left, count as u64),
        _ => (End::Right, count.unsigned_abs()),
    };
    let gone = remove_like(shard, call, key, (end, count), &call.args[3])?;
    if gone > 0 {
        shard.notify_of_removal(call, Events::LIST, "lrem", key);
    }
    reply.integer(gone as i64);
    Ok(())
}

pub fn ltrim(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let (start, stop) = (call.args.integer(2)?, call.args.integer(3)?);
    let Some(list) = List::peek(shard, call, key)? else {
        reply.ok();
        return Ok(());
    };
    let len = list.len(shard, call)?;
    let kept = ranks_of(start, stop, len);
    if kept == (0..len) {
        // All of it stays.
    } else if kept.is_empty() {
        shard.remove(call, key)?;
    } else {
        trim(shard, call, key, len, kept)?;
    }
    shard.notify_of_removal(call, Events::LIST, "ltrim", key);
    reply.ok();
    Ok(())
}
