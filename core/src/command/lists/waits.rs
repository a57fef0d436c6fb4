//! Commands on lists that wait: what each is while it does not (as in MULTI), and what it says of itself for those that do.

use super::ends::popped;
use super::moves::{Pops, end_of, move_element, pop_of_first};
use crate::collection::list::{End, List, pop_at};
use crate::command::Call;
use crate::command::args::Args;
use crate::command::blocking::{
    Awaited, Blocks, Wait, is_of, narrow_counted, narrow_listed, parse_listed, timeout_seconds,
};
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard};

pub const POP: Blocks = Blocks::taking(parse_listed, is_list, Some(narrow_listed));
pub const MPOP: Blocks = Blocks::taking(parse_mpop, is_list, Some(narrow_counted));
pub const MOVE: Blocks = Blocks::taking(parse_move, is_list, None);
pub const POP_PUSH: Blocks = Blocks::taking(parse_pop_push, is_list, None);

fn is_list(_: &Shard, _: &Call<'_>, row: Awaited<'_>) -> Result<bool, Stop> {
    Ok(is_of(Kind::List, row))
}

fn parse_mpop(args: &Args<'_>) -> Result<Option<Wait>, Refusal> {
    let pops = Pops::parse(args, 2)?;
    let timeout_ms = timeout_seconds(&args[1])?;
    Ok(Some(Wait { timeout_ms, keys: (pops.first..pops.first + pops.keys).collect() }))
}

fn parse_move(args: &Args<'_>) -> Result<Option<Wait>, Refusal> {
    end_of(args, 3)?;
    end_of(args, 4)?;
    Ok(Some(Wait { timeout_ms: timeout_seconds(&args[5])?, keys: vec![1] }))
}

fn parse_pop_push(args: &Args<'_>) -> Result<Option<Wait>, Refusal> {
    Ok(Some(Wait { timeout_ms: timeout_seconds(&args[3])?, keys: vec![1] }))
}

pub fn blpop(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    pop(shard, call, reply, End::Left)
}

pub fn brpop(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    pop(shard, call, reply, End::Right)
}

fn pop(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, end: End) -> Result<(), Stop> {
    parse_listed(call.args)?;
    for at in 1..call.args.len() - 1 {
        let key = &call.args[at];
        let Some(list) = List::peek(shard, call, key)? else { continue };
        reply.array(2);
        reply.bulk(key);
        let change = pop_at(shard, call, key, &list, end, 1, |value| reply.bulk(value))?;
        shard.edit_several(call, &[change])?;
        shard.notify_of_removal(call, Events::LIST, popped(end), key);
        return Ok(());
    }
    reply.null_array();
    Ok(())
}

pub fn blmpop(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    parse_mpop(call.args)?;
    pop_of_first(shard, call, reply, &Pops::parse(call.args, 2)?)
}

pub fn blmove(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    parse_move(call.args)?;
    move_element(shard, call, reply, end_of(call.args, 3)?, end_of(call.args, 4)?)
}

pub fn brpoplpush(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    parse_pop_push(call.args)?;
    move_element(shard, call, reply, End::Right, End::Left)
}
