//! Commands that look at one set.

use crate::collection::map::Map;
use crate::command::Call;
use crate::command::sample::{Sample, ranks};
use crate::command::scan::{ScanOptions, parse_cursor};
use crate::error::{Refusal, Stop};
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard};
use std::ops::ControlFlow;

fn set<'a>(shard: &'a Shard, call: &Call<'_>) -> Result<Option<Map<'a>>, Stop> {
    let form = shard.read_collection(call, &call.args[1], Kind::Set)?;
    Ok(form.map(|form| Map::new(form, Kind::Set)))
}

pub fn scard(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let len = match set(shard, call)? {
        Some(set) => set.len(shard, call)?,
        None => 0,
    };
    reply.integer(len as i64);
    Ok(())
}

pub fn sismember(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let is_member = match set(shard, call)? {
        Some(set) => set.get(shard, call, &call.args[2])?.is_some(),
        None => false,
    };
    reply.integer(i64::from(is_member));
    Ok(())
}

pub fn smismember(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let set = set(shard, call)?;
    reply.array(call.args.len() - 2);
    for member in call.args.skip(2).iter() {
        let is_member = match &set {
            Some(set) => set.get(shard, call, member)?.is_some(),
            None => false,
        };
        reply.integer(i64::from(is_member));
    }
    Ok(())
}

pub fn smembers(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let Some(set) = set(shard, call)? else {
        reply.set(0);
        return Ok(());
    };
    let len = set.len(shard, call)?;
    let mut slice = shard.slice(len)?;
    if slice.is_first() {
        reply.set(len as usize);
    }
    set.visit(shard, call, slice.from(), |member, _| {
        reply.bulk(member);
        slice.next(reply)
    })?;
    shard.end_slice(&slice)
}

pub fn srandmember(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    if call.args.len() > 3 {
        return Err(Refusal::Syntax.into());
    }
    let sample = Sample::parse(call, "")?;
    let len = match set(shard, call)? {
        Some(set) => set.len(shard, call)?,
        None if sample.count.is_some() => {
            reply.array(0);
            return Ok(());
        }
        None => {
            reply.null();
            return Ok(());
        }
    };
    if !sample.is_short(shard, len)? {
        let begin = |reply: &mut Reply<'_>, count| reply.array(count);
        return sample.show_some(shard, reply, len, begin, |shard, rank, reply, step| {
            let form = shard.peek_collection(call, &call.args[1], Kind::Set)?.expect("it was there just now");
            Map::new(form, Kind::Set).visit(shard, call, rank, |member, _| step(reply, &|reply| reply.bulk(member)))
        });
    }
    let ranks = ranks(shard, &sample, len);
    let set = set(shard, call)?.expect("it was there just now");
    if sample.count.is_some() {
        reply.array(ranks.len());
    }
    for rank in ranks {
        set.visit(shard, call, rank, |member, _| {
            reply.bulk(member);
            ControlFlow::Break(())
        })?;
    }
    Ok(())
}

pub fn sscan(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let cursor = parse_cursor(&call.args[2]).ok_or(Refusal::text("ERR invalid cursor"))?;
    let found = set(shard, call)?;
    let options = ScanOptions::parse(call, 3, false)?;
    let mut members: Vec<Vec<u8>> = Vec::new();
    let next = match found {
        None => 0,
        Some(set) => set.scan(shard, call, cursor, options.count as u64, |member, _| {
            if options.wants(member) {
                members.push(member.to_vec());
            }
        })?,
    };
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(members.len());
    members.iter().for_each(|member| reply.bulk(member));
    Ok(())
}
