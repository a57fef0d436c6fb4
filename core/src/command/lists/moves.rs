//! Commands on several lists: from one to another, or from the first that has something.

use super::ends::{count_of, pop_several, popped, pushed};
use crate::collection::list::{End, List, peek_end, pop_at, push_at, rotate};
use crate::command::Call;
use crate::command::args::Args;
use crate::command::program::{Steps, first_of};
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::resp::read::Reader;
use crate::shard::Shard;

pub fn lmove(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (from, to) = (end_of(call.args, 3)?, end_of(call.args, 4)?);
    move_element(shard, call, reply, from, to)
}

pub fn rpoplpush(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    move_element(shard, call, reply, End::Right, End::Left)
}

/// LMOVE, RPOPLPUSH, and those of them that wait, where the keys are on two shards.
pub fn move_over(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (from, to) = match call.spec.name {
        "lmove" | "blmove" => (end_of(call.args, 3)?, end_of(call.args, 4)?),
        _ => (End::Right, End::Left),
    };
    let (source, target) = (&call.args[1], &call.args[2]);
    let (index, pop): (&[u8], &[u8]) = if from == End::Left { (b"0", b"lpop") } else { (b"-1", b"rpop") };
    let push: &[u8] = if to == End::Left { b"lpush" } else { b"rpush" };
    let found = steps.run(&[b"lindex", source, index])?;
    let Some(value) = Reader::new(&found).text() else {
        reply.null();
        return Ok(());
    };
    steps.run(&[push, target, value])?;
    steps.run(&[pop, source])?;
    reply.bulk(value);
    Ok(())
}

/// LMPOP where they are on several.
pub fn lmpop_over(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let pops = Pops::parse(call.args, 1)?;
    first_of(call, steps, pops.first..pops.first + pops.keys, reply)
}

/// LEFT or RIGHT.
pub(super) fn end_of(args: &Args<'_>, at: usize) -> Result<End, Refusal> {
    match () {
        () if args.is(at, "left") => Ok(End::Left),
        () if args.is(at, "right") => Ok(End::Right),
        () => Err(Refusal::Syntax),
    }
}

pub(super) fn move_element(
    shard: &mut Shard,
    call: &Call<'_>,
    reply: &mut Reply<'_>,
    from: End,
    to: End,
) -> Result<(), Stop> {
    let (source, target) = (&call.args[1], &call.args[2]);
    let Some(list) = List::peek(shard, call, source)? else {
        reply.null();
        return Ok(());
    };
    if source == target {
        let value = peek_end(shard, call, &list, from)?;
        let change = rotate(shard, call, source, from, to, &value)?;
        shard.edit_several(call, &[change])?;
        tell_move(shard, call, from, to);
        reply.bulk(&value);
        return Ok(());
    }
    List::peek(shard, call, target)?;
    let mut value = Vec::new();
    let taken = pop_at(shard, call, source, &list, from, 1, |found| value = found.to_vec())?;
    let given = push_at(shard, call, target, to, std::iter::once(&value[..]))?;
    shard.edit_several(call, &[taken, given.change])?;
    tell_move(shard, call, from, to);
    reply.bulk(&value);
    Ok(())
}

fn tell_move(shard: &Shard, call: &Call<'_>, from: End, to: End) {
    shard.notify(call, Events::LIST, pushed(to), &call.args[2]);
    shard.notify_of_removal(call, Events::LIST, popped(from), &call.args[1]);
}

/// What LMPOP and BLMPOP take, behind the place of the number of keys.
pub(super) struct Pops {
    /// The place of the first key, and how many there are.
    pub first: usize,
    pub keys: usize,
    pub end: End,
    pub count: u64,
}

impl Pops {
    pub fn parse(args: &Args<'_>, keynum: usize) -> Result<Pops, Refusal> {
        let keys = count_of(&args[keynum], 1, "ERR numkeys should be greater than 0")?;
        let first = keynum + 1;
        let behind = usize::try_from(keys).ok().and_then(|keys| first.checked_add(keys));
        let behind = behind.filter(|behind| *behind < args.len()).ok_or(Refusal::Syntax)?;
        let mut pops = Pops { first, keys: behind - first, end: end_of(args, behind)?, count: 1 };
        let (mut at, mut is_counted) = (behind + 1, false);
        while at < args.len() {
            match args.get(at + 1) {
                Some(count) if !is_counted && args.is(at, "count") => {
                    pops.count = count_of(count, 1, "ERR count should be greater than 0")?;
                    is_counted = true;
                }
                _ => return Err(Refusal::Syntax),
            }
            at += 2;
        }
        Ok(pops)
    }
}

pub fn lmpop(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    pop_of_first(shard, call, reply, &Pops::parse(call.args, 1)?)
}

/// Takes elements of the first list that is there.
pub(super) fn pop_of_first(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, pops: &Pops) -> Result<(), Stop> {
    for at in pops.first..pops.first + pops.keys {
        let key = &call.args[at];
        if List::peek(shard, call, key)?.is_some() {
            let begin = |reply: &mut Reply<'_>| {
                reply.array(2);
                reply.bulk(key);
            };
            return pop_several(shard, call, reply, key, (pops.end, pops.count), begin);
        }
    }
    reply.null_array();
    Ok(())
}
