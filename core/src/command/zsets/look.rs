//! Commands that look at a sorted set.

use super::range::{Interval, begin_members, parse_members, parse_scores, put_member};
use crate::collection::score;
use crate::collection::zset::ZSet;
use crate::command::Call;
use crate::command::sample::{Sample, ranks};
use crate::command::scan::{ScanOptions, parse_cursor};
use crate::error::{Refusal, Stop};
use crate::number::double;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard};
use std::ops::ControlFlow;

pub fn zset<'a>(shard: &'a Shard, call: &Call<'_>) -> Result<Option<ZSet<'a>>, Stop> {
    Ok(shard.read_collection(call, &call.args[1], Kind::ZSet)?.map(ZSet::new))
}

pub fn zcard(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let len = match zset(shard, call)? {
        Some(zset) => zset.len(shard, call)?,
        None => 0,
    };
    reply.integer(len as i64);
    Ok(())
}

pub fn zscore(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let score = match zset(shard, call)? {
        Some(zset) => zset.score(shard, call, &call.args[2])?,
        None => None,
    };
    put_score(reply, score);
    Ok(())
}

fn put_score(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

pub fn zmscore(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let zset = zset(shard, call)?;
    reply.array(call.args.len() - 2);
    for member in call.args.skip(2).iter() {
        let score = match &zset {
            Some(zset) => zset.score(shard, call, member)?,
            None => None,
        };
        put_score(reply, score);
    }
    Ok(())
}

pub fn zrank(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    rank(shard, call, reply, false)
}

pub fn zrevrank(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    rank(shard, call, reply, true)
}

fn rank(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, is_reverse: bool) -> Result<(), Stop> {
    let args = call.args;
    if args.len() > 4 {
        return Err(call.arity());
    }
    let has_score = args.len() > 3;
    if has_score && !args.is(3, "withscore") {
        return Err(Refusal::Syntax.into());
    }
    let zset = zset(shard, call)?;
    let found = match &zset {
        Some(zset) => zset.rank(shard, call, &args[2])?,
        None => None,
    };
    let (Some((before, score)), Some(zset)) = (found, zset) else {
        if has_score {
            reply.null_array()
        } else {
            reply.null()
        }
        return Ok(());
    };
    let rank = if is_reverse { zset.len(shard, call)? - 1 - before } else { before };
    if has_score {
        reply.array(2);
    }
    reply.integer(rank as i64);
    if has_score {
        reply.double(score);
    }
    Ok(())
}

pub fn zcount(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let interval = parse_scores(&call.args[2], &call.args[3])?;
    count(shard, call, reply, interval)
}

pub fn zlexcount(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let interval = parse_members(&call.args[2], &call.args[3])?;
    count(shard, call, reply, interval)
}

fn count(shard: &Shard, call: &Call<'_>, reply: &mut Reply<'_>, interval: Interval<'_>) -> Result<(), Stop> {
    let ranks = match zset(shard, call)? {
        Some(zset) => interval.ranks(&zset, shard, call, false)?,
        None => 0..0,
    };
    reply.integer((ranks.end - ranks.start) as i64);
    Ok(())
}

pub fn zrandmember(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let sample = Sample::parse(call, "withscores")?;
    let len = match zset(shard, call)? {
        Some(zset) => zset.len(shard, call)?,
        None if sample.count.is_some() => {
            reply.array(0);
            return Ok(());
        }
        None => {
            reply.null();
            return Ok(());
        }
    };
    let has_scores = sample.has_values;
    if !sample.is_short(shard, len)? {
        let begin = |reply: &mut Reply<'_>, count| begin_members(reply, count, has_scores);
        return sample.show_some(shard, reply, len, begin, |shard, rank, reply, step| {
            let form = shard.peek_collection(call, &call.args[1], Kind::ZSet)?.expect("it was there just now");
            ZSet::new(form).visit(shard, call, rank, |member, score| {
                step(reply, &|reply| put_member(reply, member, score, has_scores))
            })
        });
    }
    let ranks = ranks(shard, &sample, len);
    let zset = zset(shard, call)?.expect("it was there just now");
    if sample.count.is_some() {
        begin_members(reply, ranks.len(), has_scores);
    }
    for rank in ranks {
        zset.visit(shard, call, rank, |member, score| {
            put_member(reply, member, score, has_scores);
            ControlFlow::Break(())
        })?;
    }
    Ok(())
}

pub fn zscan(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let cursor = parse_cursor(&call.args[2]).ok_or(Refusal::text("ERR invalid cursor"))?;
    let found = zset(shard, call)?;
    let options = ScanOptions::parse(call, 3, false)?;
    let mut members: Vec<(Vec<u8>, f64)> = Vec::new();
    let next = match found {
        None => 0,
        Some(zset) => zset.by_member().scan(shard, call, cursor, options.count as u64, |member, score| {
            if options.wants(member) {
                members.push((member.to_vec(), score::of_bytes(score)));
            }
        })?,
    };
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(2 * members.len());
    for (member, score) in &members {
        reply.bulk(member);
        reply.bulk(double::format(*score).as_bytes());
    }
    Ok(())
}
