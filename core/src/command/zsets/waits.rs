//! Commands on sorted sets that wait: what each is while it does not (as in MULTI), and what it says of itself for those that do.

use super::pop::{End, Several, pop_of_first, take};
use crate::command::Call;
use crate::command::args::Args;
use crate::command::blocking::{
    Awaited, Blocks, Wait, is_of, narrow_counted, narrow_listed, parse_listed, timeout_seconds,
};
use crate::error::{Refusal, Stop};
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard};

pub const ONE: Blocks = Blocks::taking(parse_listed, is_zset, Some(narrow_listed));
pub const SEVERAL: Blocks = Blocks::taking(parse_several, is_zset, Some(narrow_counted));

fn is_zset(_: &Shard, _: &Call<'_>, row: Awaited<'_>) -> Result<bool, Stop> {
    Ok(is_of(Kind::ZSet, row))
}

fn parse_several(args: &Args<'_>) -> Result<Option<Wait>, Refusal> {
    let several = Several::parse(args, 2)?;
    let timeout_ms = timeout_seconds(&args[1])?;
    Ok(Some(Wait { timeout_ms, keys: (several.first..several.first + several.keys).collect() }))
}

pub fn bzpopmin(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    pop(shard, call, reply, End::Min)
}

pub fn bzpopmax(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    pop(shard, call, reply, End::Max)
}

fn pop(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, end: End) -> Result<(), Stop> {
    for at in parse_listed(call.args)?.into_iter().flat_map(|wait| wait.keys) {
        let key = &call.args[at];
        let Some(taken) = take(shard, call, key, end, 1)? else { continue };
        reply.array(3);
        reply.bulk(key);
        for (member, score) in &taken {
            reply.bulk(member);
            reply.double(*score);
        }
        return Ok(());
    }
    reply.null_array();
    Ok(())
}

pub fn bzmpop(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    parse_several(call.args)?;
    pop_of_first(shard, call, reply, Several::parse(call.args, 2)?)
}
