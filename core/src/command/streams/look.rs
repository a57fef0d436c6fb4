//! Commands that look at the entries of a stream.

use crate::collection::stream::id::EntryId;
use crate::command::Call;
use crate::error::{Refusal, Stop};
use crate::resp::encode::Reply;
use crate::shard::Shard;

pub fn xlen(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let len = match super::read(shard, call, &call.args[1])? {
        Some(stream) => stream.len(shard, call)?,
        None => 0,
    };
    reply.integer(len as i64);
    Ok(())
}

pub fn xrange(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    range(shard, call, reply, false)
}

pub fn xrevrange(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    range(shard, call, reply, true)
}

fn range(shard: &Shard, call: &Call<'_>, reply: &mut Reply<'_>, is_reverse: bool) -> Result<(), Stop> {
    let args = call.args;
    let (start, end) = if is_reverse { (3, 2) } else { (2, 3) };
    let (start, end) = (EntryId::parse_start(&args[start])?, EntryId::parse_end(&args[end])?);
    let mut count = u64::MAX;
    let mut at = 4;
    while at < args.len() {
        if !args.is(at, "count") || at + 1 == args.len() {
            return Err(Refusal::Syntax.into());
        }
        count = u64::try_from(args.integer(at + 1)?).unwrap_or(0);
        at += 2;
    }
    let Some(stream) = super::read(shard, call, &args[1])? else {
        reply.array(0);
        return Ok(());
    };
    if count == 0 {
        reply.null_array();
        return Ok(());
    }
    let count = count.min(stream.count_between(shard, call, start, end)?);
    let mut slice = shard.slice(count)?;
    if slice.is_first() {
        reply.array(count as usize);
    }
    let from = slice.from();
    let visit = |id: EntryId, fields: &[u8]| {
        super::write_entry(reply, id, fields);
        slice.next(reply)
    };
    match is_reverse {
        _ if count == 0 => {}
        false => stream.visit_behind(shard, call, (start, end), from, visit)?,
        true => stream.visit_back(shard, call, (start, end), from, visit)?,
    }
    shard.end_slice(&slice)
}
