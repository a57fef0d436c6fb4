//! Commands that look at a hash.

use super::living;
use super::living::live_len;
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
pub(super) fn hash_again<'a>(shard: &'a Shard, call: &Call<'_>) -> Result<Option<Map<'a>>, Stop> {
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
        reply.map(live_len(shard, call, &hash)? as usize);
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
        reply.array(live_len(shard, call, &hash)? as usize);
    }
    hash.visit_kept(shard, call, slice.from(), |field| {
        if field.is_live(call.now) {
            reply.bulk(choose(field.rest, field.value));
        }
        slice.next(reply)
    })?;
    shard.end_slice(&slice)
}

/// What HRANDFIELD is to show.
pub(super) struct Shows {
    pub sample: Sample,
    /// Fields and values are arrays of two.
    has_pairs: bool,
}

impl Shows {
    pub fn begin(&self, reply: &mut Reply<'_>, count: usize) {
        if self.sample.count.is_some() {
            reply.array(if self.sample.has_values && !self.has_pairs { 2 * count } else { count });
        }
    }

    pub fn put(&self, reply: &mut Reply<'_>, field: &[u8], value: &[u8]) {
        if self.has_pairs {
            reply.array(2);
        }
        reply.bulk(field);
        if self.sample.has_values {
            reply.bulk(value);
        }
    }

    /// There is no field.
    pub fn nothing(&self, reply: &mut Reply<'_>) {
        match self.sample.count {
            Some(_) => reply.array(0),
            None => reply.null(),
        }
    }
}

pub fn hrandfield(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let sample = Sample::parse(call, "withvalues")?;
    let shows = Shows { sample, has_pairs: sample.has_values && reply.is_resp3 };
    let Some(hash) = hash(shard, call)? else {
        shows.nothing(reply);
        return Ok(());
    };
    let (len, may_expire) = (hash.len(shard, call)?, has_deadlines(&hash.form));
    if !sample.is_short(shard, len)? {
        if may_expire {
            return living::draw(shard, call, reply, &shows);
        }
        let begin = |reply: &mut Reply<'_>, count| shows.begin(reply, count);
        return sample.show_some(shard, reply, len, begin, |shard, rank, reply, step| {
            let hash = hash_again(shard, call)?.expect("it was there just now");
            hash.visit(shard, call, rank, |field, value| step(reply, &|reply| shows.put(reply, field, value)))
        });
    }
    let drawn = ranks(shard, &sample, len);
    if may_expire && !are_live(shard, call, &drawn)? {
        // Some are about to be removed: only now is it worth a look at all of them.
        shard.is_short(len)?;
        return living::draw(shard, call, reply, &shows);
    }
    shows.begin(reply, drawn.len());
    let hash = hash_again(shard, call)?.expect("it was there just now");
    for rank in drawn {
        hash.visit(shard, call, rank, |field, value| {
            shows.put(reply, field, value);
            ControlFlow::Break(())
        })?;
    }
    Ok(())
}

/// Whether none of the fields of these ranks is past its time.
fn are_live(shard: &Shard, call: &Call<'_>, ranks: &[u64]) -> Result<bool, Stop> {
    let hash = hash_again(shard, call)?.expect("it was there just now");
    let mut are_live = true;
    for rank in ranks {
        hash.visit_kept(shard, call, *rank, |field| {
            are_live &= field.is_live(call.now);
            ControlFlow::Break(())
        })?;
        if !are_live {
            break;
        }
    }
    Ok(are_live)
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
