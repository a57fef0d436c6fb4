//! Commands that look at a hash.

use crate::collection::map::Map;
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
    reply.map(hash.len(shard, call)? as usize);
    hash.visit(shard, call, 0, |field, value| {
        reply.bulk(field);
        reply.bulk(value);
        ControlFlow::Continue(())
    })
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
    reply.array(hash.len(shard, call)? as usize);
    hash.visit(shard, call, 0, |field, value| {
        reply.bulk(choose(field, value));
        ControlFlow::Continue(())
    })
}

pub fn hrandfield(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let sample = Sample::parse(call, "withvalues")?;
    let len = match hash(shard, call)? {
        Some(hash) => hash.len(shard, call)?,
        None if sample.count.is_some() => {
            reply.array(0);
            return Ok(());
        }
        None => {
            reply.null();
            return Ok(());
        }
    };
    let ranks = ranks(shard, &sample, len);
    let hash = hash(shard, call)?.expect("it was there just now");
    let has_pairs = sample.has_values && reply.is_resp3;
    if sample.count.is_some() {
        reply.array(if sample.has_values && !has_pairs { 2 * ranks.len() } else { ranks.len() });
    }
    for rank in ranks {
        hash.visit(shard, call, rank, |field, value| {
            if has_pairs {
                reply.array(2);
            }
            reply.bulk(field);
            if sample.has_values {
                reply.bulk(value);
            }
            ControlFlow::Break(())
        })?;
    }
    Ok(())
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
