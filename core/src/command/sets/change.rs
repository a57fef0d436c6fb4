//! Commands that change sets.

use crate::collection::map::{Map, MapEdit};
use crate::collection::{Form, Spread};
use crate::command::program::Steps;
use crate::command::sample::{Sample, Walk, below, ranks};
use crate::command::{Call, Joined};
use crate::error::{Refusal, Stop};
use crate::limits::JOINED_BYTES_MAX;
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::removal::{Gone, Place, Removal, goes_at_once};
use crate::shard::{Kind, Shard, Ttl};
use std::ops::ControlFlow;

pub fn sadd(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    sadd_joined(shard, call, &[call.args.len() - 2], reply)
}

pub const SADDS: Joined = Joined::with_arguments(sadd_joined);

fn sadd_joined(shard: &mut Shard, call: &Call<'_>, parts: &[usize], reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let mut edit = MapEdit::begin(shard, call, key, Kind::Set)?;
    let mut all = 0;
    let members = call.args.skip(2);
    let mut members = members.iter();
    for part in parts {
        let mut added = 0;
        for member in members.by_ref().take(*part) {
            added += i64::from(edit.set(shard, call, member, b"")?);
        }
        reply.integer(added);
        all += added;
    }
    edit.finish(shard, call, key, Ttl::Keep)?;
    if all > 0 {
        shard.notify(call, Events::SET, "sadd", key);
    }
    Ok(())
}

pub fn srem(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let mut edit = MapEdit::begin(shard, call, key, Kind::Set)?;
    let mut removed = 0;
    for member in call.args.skip(2).iter() {
        removed += i64::from(edit.remove(shard, call, member)?);
    }
    edit.finish(shard, call, key, Ttl::Keep)?;
    if removed > 0 {
        shard.notify_of_removal(call, Events::SET, "srem", key);
    }
    reply.integer(removed);
    Ok(())
}

pub fn smove(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (source, target, member) = (&call.args[1], &call.args[2], &call.args[3]);
    if shard.peek_bare(call, source)?.is_none() {
        reply.integer(0);
        return Ok(());
    }
    let mut from = MapEdit::begin(shard, call, source, Kind::Set)?;
    let mut to = MapEdit::begin(shard, call, target, Kind::Set)?;
    let is_there = if source == target {
        from.get(shard, call, member)?.is_some()
    } else {
        let is_there = from.remove(shard, call, member)?;
        if is_there {
            let is_new = to.set(shard, call, member, b"")?;
            let from = from.into_change(shard, call, source, Ttl::Keep)?;
            let to = to.into_change(shard, call, target, Ttl::Keep)?;
            let changes: Vec<_> = from.into_iter().chain(to).collect();
            shard.edit_several(call, &changes)?;
            shard.notify_of_removal(call, Events::SET, "srem", source);
            if is_new {
                shard.notify(call, Events::SET, "sadd", target);
            }
        }
        is_there
    };
    reply.integer(i64::from(is_there));
    Ok(())
}

/// The same where the keys are on two shards.
pub fn smove_over(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (source, target, member) = (&call.args[1], &call.args[2], &call.args[3]);
    // A source that is not there comes before a target of another kind.
    let is_there = match steps.run(&[b"exists", source])?.as_slice() {
        b":0\r\n" => false,
        _ => {
            let is_there = steps.run(&[b"sismember", source, member])? == b":1\r\n";
            steps.run(&[b"scard", target])?;
            is_there
        }
    };
    if is_there {
        steps.run(&[b"sadd", target, member])?;
        steps.run(&[b"srem", source, member])?;
    }
    reply.integer(i64::from(is_there));
    Ok(())
}

pub fn spop(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let count = match call.args.len() {
        2 => None,
        3 => {
            let out_of_range = || Refusal::text("ERR value is out of range, must be positive");
            let count = call.args.integer(2).map_err(|_| out_of_range())?;
            Some(u64::try_from(count).map_err(|_| out_of_range())?)
        }
        _ => return Err(Refusal::Syntax.into()),
    };
    let Some(form) = shard.peek_collection(call, key, Kind::Set)? else {
        if count.is_some() {
            reply.set(0)
        } else {
            reply.null()
        }
        return Ok(());
    };
    let len = Map::new(form, Kind::Set).len(shard, call)?;
    let gone = count.map_or(1, |count| count.min(len));
    if let Form::Spread(Spread { number, tag, .. }) = form
        && !pops_at_once(shard, gone, len)?
    {
        let place = Place { key, kind: Kind::Set, spread: Spread { number, tag, rest: &[] }, tag };
        return pop_many(shard, call, reply, &place, (gone, len));
    }
    let ranks = match count {
        None => vec![below(shard, len)],
        Some(count) => ranks(shard, &Sample { count: Some(count.min(len) as i64), has_values: false }, len),
    };
    let members = members_at(shard, call, key, &ranks)?;
    take_out(shard, call, key, &members)?;
    if count.is_some() {
        reply.set(members.len());
    }
    members.iter().for_each(|member| reply.bulk(member));
    Ok(())
}

/// Removes members that were drawn.
fn take_out(shard: &mut Shard, call: &Call<'_>, key: &[u8], members: &[Vec<u8>]) -> Result<(), Stop> {
    let mut edit = MapEdit::begin(shard, call, key, Kind::Set)?;
    for member in members {
        edit.remove(shard, call, member)?;
    }
    edit.finish(shard, call, key, Ttl::Keep)?;
    if !members.is_empty() {
        shard.notify_of_removal(call, Events::SET, "spop", key);
    }
    Ok(())
}

pub const SPOPS: Joined = Joined::bare(spop_joined);

fn spop_joined(shard: &mut Shard, call: &Call<'_>, parts: &[usize], reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let mut members = Vec::new();
    if let Some(form) = shard.peek_collection(call, key, Kind::Set)? {
        let len = Map::new(form, Kind::Set).len(shard, call)?;
        let count = len.min(parts.len() as u64) as usize;
        // In the order in which they are drawn, not in that of the set.
        let mut ranks = Vec::with_capacity(count);
        while ranks.len() < count {
            let rank = below(shard, len);
            if !ranks.contains(&rank) {
                ranks.push(rank);
            }
        }
        let mut bytes = 0;
        for rank in &ranks {
            members.append(&mut members_at(shard, call, key, std::slice::from_ref(rank))?);
            bytes += members.last().map_or(0, Vec::len);
            if bytes > JOINED_BYTES_MAX {
                return Err(Stop::Long);
            }
        }
        take_out(shard, call, key, &members)?;
    }
    members.iter().for_each(|member| reply.bulk(member));
    (members.len()..parts.len()).for_each(|_| reply.null());
    Ok(())
}

/// Whether so many members of so many are drawn, shown and removed at once.
fn pops_at_once(shard: &Shard, gone: u64, len: u64) -> Result<bool, Stop> {
    let items = if goes_at_once(gone, len - gone) { gone } else { u64::MAX };
    Ok(shard.takes_at_once(gone) || shard.is_short(items)?)
}

/// An SPOP of very many.
#[derive(Default)]
struct Popping {
    walk: Walk,
    /// Those that were drawn, and shown.
    ranks: Vec<u64>,
    removal: Option<Removal>,
}

/// Shows them in slices, and removes them when all have been.
fn pop_many(
    shard: &mut Shard,
    call: &Call<'_>,
    reply: &mut Reply<'_>,
    place: &Place<'_>,
    (gone, len): (u64, u64),
) -> Result<(), Stop> {
    let mut popping = shard.rested::<Popping>().unwrap_or_default();
    match pop_some(shard, call, reply, place, &mut popping, (gone, len)) {
        Ok(true) => shard.notify_of_removal(call, Events::SET, "spop", place.key),
        Ok(false) => shard.keep(popping),
        Err(stop) => return Err(shard.rest(popping, stop)),
    }
    Ok(())
}

/// A slice of it. Whether they are gone.
fn pop_some(
    shard: &mut Shard,
    call: &Call<'_>,
    reply: &mut Reply<'_>,
    place: &Place<'_>,
    popping: &mut Popping,
    (gone, len): (u64, u64),
) -> Result<bool, Stop> {
    let Popping { walk, ranks, removal } = popping;
    let mut slice = shard.slice(gone)?;
    if walk.is_first() {
        reply.set(gone as usize);
    }
    if !slice.is_empty() {
        let mut draw = walk.draw(shard, gone, len);
        Map::new(Form::Spread(place.spread), Kind::Set).visit(shard, call, walk.at(), |member, _| {
            draw.pass(|| {
                reply.bulk(member);
                slice.next(reply)
            })
        })?;
        walk.go_on(&draw);
        ranks.extend(draw.shown());
    }
    if !shard.has_shown(&slice)? {
        return Ok(false);
    }
    if gone == len {
        shard.remove(call, place.key)?;
        return Ok(true);
    }
    let removal = removal.get_or_insert_with(|| Removal::new(Gone::These(std::mem::take(ranks)), len));
    let change = shard.without(call, place, removal)?;
    shard.edit_several(call, &[change])?;
    Ok(true)
}

/// The members of a set that is there which have these ranks.
fn members_at(shard: &Shard, call: &Call<'_>, key: &[u8], ranks: &[u64]) -> Result<Vec<Vec<u8>>, Stop> {
    let form = shard.peek_collection(call, key, Kind::Set)?.expect("it was there just now");
    let set = Map::new(form, Kind::Set);
    let mut members = Vec::with_capacity(ranks.len());
    for rank in ranks {
        set.visit(shard, call, *rank, |member, _| {
            members.push(member.to_vec());
            ControlFlow::Break(())
        })?;
    }
    Ok(members)
}
