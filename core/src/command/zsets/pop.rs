//! Commands that take the first or the last members of a sorted set.

use crate::collection::zset::{ZSet, ZSetEdit};
use crate::command::Call;
use crate::command::args::Args;
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard, Ttl};

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
    let Some(form) = shard.peek_collection(call, key, Kind::ZSet)? else { return Ok(None) };
    let zset = ZSet::new(form);
    let len = zset.len(shard, call)?;
    let count = count.min(len);
    let ranks = if end == End::Max { len - count..len } else { 0..count };
    let mut taken = Vec::new();
    zset.visit_ranks(shard, call, ranks, end == End::Max, |member, score| taken.push((member.to_vec(), score)))?;
    if count == len {
        shard.remove(call, key)?;
    } else if count > 0 {
        let mut edit = ZSetEdit::begin(shard, call, key)?;
        taken.iter().for_each(|(member, score)| edit.remove_seen(member, *score));
        edit.finish(shard, call, key, Ttl::Keep)?;
    }
    if count > 0 {
        let event = if end == End::Max { "zpopmax" } else { "zpopmin" };
        shard.notify_of_removal(call, Events::ZSET, event, key);
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
    let taken = take(shard, call, &args[1], end, count.unwrap_or(1))?.unwrap_or_default();
    let is_nested = reply.is_resp3 && count.is_some();
    reply.array(if is_nested { taken.len() } else { 2 * taken.len() });
    for (member, score) in &taken {
        if is_nested {
            reply.array(2);
        }
        reply.bulk(member);
        reply.double(*score);
    }
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

/// What was taken of a key, as ZMPOP answers it.
pub fn answer_of(key: &[u8], taken: &Taken, reply: &mut Reply<'_>) {
    reply.array(2);
    reply.bulk(key);
    reply.array(taken.len());
    for (member, score) in taken {
        reply.array(2);
        reply.bulk(member);
        reply.double(*score);
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
        if let Some(taken) = take(shard, call, key, end, count)? {
            answer_of(key, &taken, reply);
            return Ok(());
        }
    }
    reply.null_array();
    Ok(())
}
