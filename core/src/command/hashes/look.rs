//! Commands that look at a hash.

use crate::collection::map::{Map, has_deadlines};
use crate::command::Call;
use crate::command::sample::{Sample, ranks};
use crate::command::scan::{ScanOptions, parse_cursor};
use crate::error::{Refusal, Stop};
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard};
use std::ops::ControlFlow;

fn hash<'a>(shard: &'a Shard, call: &Call<'_>) -> Result<Option<Map<'a>>, Stop> {
    let form = shard.read_collection(call, &call.args[1], Kind::Hash)?;
    Ok(form.map(|form| Map::new(form, Kind::Hash)))
}

/// The same behind [`hash`], without another hit.
fn hash_again<'a>(shard: &'a Shard, call: &Call<'_>) -> Result<Option<Map<'a>>, Stop> {
    let form = shard.peek_collection(call, &call.args[1], Kind::Hash)?;
    Ok(form.map(|form| Map::new(form, Kind::Hash)))
}

fn field<'a>(shard: &'a Shard, call: &Call<'_>) -> Result<Option<&'a [u8]>, Stop> {
    match hash(shard, call)? {
        Some(hash) => hash.get(shard, call, &call.args[2]),
        None => Ok(None),
    }
}

pub fn hget(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    match field(shard, call)? {
        Some(value) => reply.bulk(value),
        None => reply.null(),
    }
    Ok(())
}

pub fn hexists(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let is_there = field(shard, call)?.is_some();
    reply.integer(i64::from(is_there));
    Ok(())
}

pub fn hstrlen(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let len = field(shard, call)?.map_or(0, <[u8]>::len);
    reply.integer(len as i64);
    Ok(())
}

pub fn hmget(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let hash = hash(shard, call)?;
    reply.array(call.args.len() - 2);
    for field in call.args.skip(2).iter() {
        let value = match &hash {
            Some(hash) => hash.get(shard, call, field)?,
            None => None,
        };
        match value {
            Some(value) => reply.bulk(value),
            None => reply.null(),
        }
    }
    Ok(())
}

pub fn hlen(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let len = match hash(shard, call)? {
        Some(hash) => hash.len(shard, call)?,
        None => 0,
    };
    reply.integer(len as i64);
    Ok(())
}

pub fn hgetall(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let Some(hash) = hash(shard, call)? else {
        reply.map(0);
        return Ok(());
    };
    let mut slice = shard.slice(hash.len(shard, call)?)?;
    if slice.is_first() {
        reply.map(hash.live_len(shard, call)? as usize);
    }
    hash.visit_kept(shard, call, slice.from(), |field| {
        if field.is_live(call.now) {
            reply.bulk(field.rest);
            reply.bulk(field.value);
        }
        slice.next(reply)
    })?;
    shard.end_slice(&slice)
}

pub fn hkeys(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    all(shard, call, reply, |field, _| field)
}

pub fn hvals(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    all(shard, call, reply, |_, value| value)
}

fn all(
    shard: &Shard,
    call: &Call<'_>,
    reply: &mut Reply<'_>,
    choose: for<'a> fn(&'a [u8], &'a [u8]) -> &'a [u8],
) -> Result<(), Stop> {
    let Some(hash) = hash(shard, call)? else {
        reply.array(0);
        return Ok(());
    };
    let mut slice = shard.slice(hash.len(shard, call)?)?;
    if slice.is_first() {
        reply.array(hash.live_len(shard, call)? as usize);
    }
    hash.visit_kept(shard, call, slice.from(), |field| {
        if field.is_live(call.now) {
            reply.bulk(choose(field.rest, field.value));
        }
        slice.next(reply)
    })?;
    shard.end_slice(&slice)
}

pub fn hrandfield(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let sample = Sample::parse(call, "withvalues")?;
    let has_pairs = sample.has_values && reply.is_resp3;
    let begin = |reply: &mut Reply<'_>, count| {
        reply.array(if sample.has_values && !has_pairs { 2 * count } else { count });
    };
    let put = |reply: &mut Reply<'_>, field: &[u8], value: &[u8]| {
        if has_pairs {
            reply.array(2);
        }
        reply.bulk(field);
        if sample.has_values {
            reply.bulk(value);
        }
    };
    // Those that expire may have to be looked at all of them, to know how many there are.
    let len = match hash(shard, call)? {
        Some(hash) if !has_deadlines(&hash.form) => Some(hash.len(shard, call)?),
        Some(_) => None,
        None => Some(0),
    };
    if let Some(len) = len.filter(|len| *len > 0)
        && !sample.is_short(shard, len)?
    {
        return sample.show_some(shard, reply, len, begin, |shard, rank, reply, step| {
            let hash = hash_again(shard, call)?.expect("it was there just now");
            hash.visit(shard, call, rank, |field, value| step(reply, &|reply| put(reply, field, value)))
        });
    }
    let ranks = if len == Some(0) { Vec::new() } else { live_ranks(shard, call, &sample)? };
    if ranks.is_empty() && sample.count.is_none() {
        reply.null();
        return Ok(());
    }
    if sample.count.is_some() {
        begin(reply, ranks.len());
    }
    let Some(hash) = hash_again(shard, call)? else { return Ok(()) };
    for rank in ranks {
        hash.visit(shard, call, rank, |field, value| {
            put(reply, field, value);
            ControlFlow::Break(())
        })?;
    }
    Ok(())
}

/// The ranks of fields that are chosen at random, none of which is past its time.
fn live_ranks(shard: &mut Shard, call: &Call<'_>, sample: &Sample) -> Result<Vec<u64>, Stop> {
    let Some(hash) = hash_again(shard, call)? else { return Ok(Vec::new()) };
    let (len, may_expire) = (hash.len(shard, call)?, has_deadlines(&hash.form));
    let chosen = ranks(shard, sample, len);
    let Some(hash) = hash_again(shard, call)?.filter(|_| may_expire) else { return Ok(chosen) };
    let mut are_live = true;
    for rank in &chosen {
        hash.visit_kept(shard, call, *rank, |element| {
            are_live &= element.is_live(call.now);
            ControlFlow::Break(())
        })?;
        if !are_live {
            break;
        }
    }
    if are_live {
        return Ok(chosen);
    }
    // Some are about to be removed: only now is it worth a look at all of them.
    let (mut live, mut rank) = (Vec::new(), 0);
    hash.visit_kept(shard, call, 0, |element| {
        live.extend(element.is_live(call.now).then_some(rank));
        rank += 1;
        ControlFlow::Continue(())
    })?;
    let chosen = if live.is_empty() { Vec::new() } else { ranks(shard, sample, live.len() as u64) };
    Ok(chosen.into_iter().map(|at| live[at as usize]).collect())
}

pub fn hscan(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let cursor = parse_cursor(&call.args[2]).ok_or(Refusal::text("ERR invalid cursor"))?;
    let found = hash(shard, call)?;
    let options = ScanOptions::parse(call, 3, false)?;
    let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let next = match found {
        None => 0,
        Some(hash) => hash.scan(shard, call, cursor, options.count as u64, |field, value| {
            if options.wants(field) {
                entries.push((field.to_vec(), value.to_vec()));
            }
        })?,
    };
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(2 * entries.len());
    for (field, value) in &entries {
        reply.bulk(field);
        reply.bulk(value);
    }
    Ok(())
}
