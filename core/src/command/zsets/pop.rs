//! Commands that take the first or the last members of a sorted set.

use super::change::remove_ranks;
use crate::collection::Form;
use crate::collection::zset::ZSet;
use crate::command::args::Args;
use crate::command::{Call, Joined};
use crate::error::{Refusal, Stop};
use crate::limits::JOINED_BYTES_MAX;
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard};

/// Which end is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Min,
    Max,
}

/// Members that were taken, in the order in which they were, and their scores.
pub type Taken = Vec<(Vec<u8>, f64)>;

/// Takes at most `count` members of the sorted set at a key. `None`: nothing is there.
pub fn take(shard: &mut Shard, call: &Call<'_>, key: &[u8], end: End, count: u64) -> Result<Option<Taken>, Stop> {
    take_at_most(shard, call, key, end, (count, usize::MAX))
}

/// The same of members that have so many bytes at most: if they have more, it is long.
fn take_at_most(
    shard: &mut Shard,
    call: &Call<'_>,
    key: &[u8],
    end: End,
    (count, bytes_max): (u64, usize),
) -> Result<Option<Taken>, Stop> {
    let Some(form) = shard.peek_collection(call, key, Kind::ZSet)? else { return Ok(None) };
    let zset = ZSet::new(form);
    let len = zset.len(shard, call)?;
    let count = count.min(len);
    let ranks = if end == End::Max { len - count..len } else { 0..count };
    let (mut taken, mut bytes) = (Vec::new(), 0);
    zset.visit_ranks(shard, call, ranks, end == End::Max, |member, score| {
        bytes += member.len();
        if bytes <= bytes_max {
            taken.push((member.to_vec(), score));
        }
    })?;
    if bytes > bytes_max {
        return Err(Stop::Long);
    }
    if count > 0 {
        remove_end(shard, call, key, end, (count, len))?;
    }
    Ok(Some(taken))
}

pub fn zpopmin(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    pop(shard, call, reply, End::Min)
}

pub fn zpopmax(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    pop(shard, call, reply, End::Max)
}

fn pop(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, end: End) -> Result<(), Stop> {
    let args = call.args;
    if args.len() > 3 {
        return Err(Refusal::Syntax.into());
    }
    let count = match args.get(2) {
        None => None,
        Some(_) => {
            let count = args.integer(2).ok().and_then(|count| u64::try_from(count).ok());
            Some(count.ok_or(Refusal::text("ERR value is out of range, must be positive"))?)
        }
    };
    let is_nested = reply.is_resp3 && count.is_some();
    let begin = |count: u64, reply: &mut Reply<'_>| reply.array(count as usize * if is_nested { 1 } else { 2 });
    if !pop_several(shard, call, reply, &args[1], (end, count.unwrap_or(1)), begin, is_nested)? {
        reply.array(0);
    }
    Ok(())
}

pub const ZPOPMINS: Joined = Joined::bare(|shard, call, parts, reply| pop_joined(shard, call, parts, reply, End::Min));

pub const ZPOPMAXES: Joined = Joined::bare(|shard, call, parts, reply| pop_joined(shard, call, parts, reply, End::Max));

fn pop_joined(
    shard: &mut Shard,
    call: &Call<'_>,
    parts: &[usize],
    reply: &mut Reply<'_>,
    end: End,
) -> Result<(), Stop> {
    let most = (parts.len() as u64, JOINED_BYTES_MAX);
    let taken = take_at_most(shard, call, &call.args[1], end, most)?.unwrap_or_default();
    for (member, score) in &taken {
        reply.array(2);
        put(reply, member, *score, false);
    }
    (taken.len()..parts.len()).for_each(|_| reply.array(0));
    Ok(())
}

fn put(reply: &mut Reply<'_>, member: &[u8], score: f64, is_nested: bool) {
    if is_nested {
        reply.array(2);
    }
    reply.bulk(member);
    reply.double(score);
}

/// Takes at most `count` members of the sorted set at a key, and answers them. Many are shown in slices, and go when all have been. `begin` answers what
/// stands before so many. Whether there is a sorted set.
fn pop_several(
    shard: &mut Shard,
    call: &Call<'_>,
    reply: &mut Reply<'_>,
    key: &[u8],
    (end, count): (End, u64),
    begin: impl FnOnce(u64, &mut Reply<'_>),
    is_nested: bool,
) -> Result<bool, Stop> {
    let Some(form) = shard.peek_collection(call, key, Kind::ZSet)? else { return Ok(false) };
    let zset = ZSet::new(form);
    let len = zset.len(shard, call)?;
    let count = count.min(len);
    let mut slice = match form {
        Form::Spread(_) if !shard.takes_at_once(count) => shard.slice(count)?,
        _ => {
            let taken = take(shard, call, key, end, count)?.unwrap_or_default();
            begin(count, reply);
            taken.iter().for_each(|(member, score)| put(reply, member, *score, is_nested));
            return Ok(true);
        }
    };
    if slice.is_first() {
        begin(count, reply);
    }
    if !slice.is_empty() {
        let from = slice.from();
        let show = |member: &[u8], score| {
            put(reply, member, score, is_nested);
            slice.next(reply)
        };
        match end {
            End::Min => zset.visit(shard, call, from, show)?,
            End::Max => zset.visit_back(shard, call, len - from, show)?,
        }
    }
    if shard.has_shown(&slice)? {
        remove_end(shard, call, key, end, (count, len))?;
    }
    Ok(true)
}

/// Removes so many of so many members.
fn remove_end(shard: &mut Shard, call: &Call<'_>, key: &[u8], end: End, (count, len): (u64, u64)) -> Result<(), Stop> {
    remove_ranks(shard, call, key, if end == End::Max { len - count..len } else { 0..count })?;
    let event = if end == End::Max { "zpopmax" } else { "zpopmin" };
    shard.notify_of_removal(call, Events::ZSET, event, key);
    Ok(())
}

/// `numkeys key [key ...] <MIN | MAX> [COUNT count]`, from an argument on.
pub struct Several {
    /// Where the first key is, and how many there are.
    pub first: usize,
    pub keys: usize,
    pub end: End,
    pub count: u64,
}

impl Several {
    pub fn parse(args: &Args<'_>, at: usize) -> Result<Several, Refusal> {
        let positive = |at: usize, text: &'static str| {
            let number = args.integer(at).ok().and_then(|number| u64::try_from(number).ok());
            number.filter(|number| *number > 0).ok_or(Refusal::text(text))
        };
        let keys = positive(at, "ERR numkeys should be greater than 0")?;
        let first = at + 1;
        let place = usize::try_from(keys).ok().and_then(|keys| keys.checked_add(first)).ok_or(Refusal::Syntax)?;
        let end = match () {
            () if args.is(place, "min") => End::Min,
            () if args.is(place, "max") => End::Max,
            () => return Err(Refusal::Syntax),
        };
        let mut count = None;
        let mut option = place + 1;
        while option < args.len() {
            if count.is_some() || !args.is(option, "count") || option + 1 == args.len() {
                return Err(Refusal::Syntax);
            }
            count = Some(positive(option + 1, "ERR count should be greater than 0")?);
            option += 2;
        }
        Ok(Several { first, keys: keys as usize, end, count: count.unwrap_or(1) })
    }
}

pub fn zmpop(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    pop_of_first(shard, call, reply, Several::parse(call.args, 1)?)
}

/// Takes members of the first sorted set that there is.
pub fn pop_of_first(
    shard: &mut Shard,
    call: &Call<'_>,
    reply: &mut Reply<'_>,
    Several { first, keys, end, count }: Several,
) -> Result<(), Stop> {
    for at in first..first + keys {
        let key = &call.args[at];
        let begin = |count: u64, reply: &mut Reply<'_>| {
            reply.array(2);
            reply.bulk(key);
            reply.array(count as usize);
        };
        if pop_several(shard, call, reply, key, (end, count), begin, true)? {
            return Ok(());
        }
    }
    reply.null_array();
    Ok(())
}
