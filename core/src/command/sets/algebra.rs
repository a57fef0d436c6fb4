//! Intersection, union and difference of sets that are all on one shard.

use crate::collection::map::{Map, MapEdit};
use crate::command::Call;
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard, Ttl};
use hashbrown::HashSet;
use std::ops::ControlFlow;

/// The sets at these arguments. `None`: nothing is there.
fn sets<'a>(
    shard: &'a Shard,
    call: &Call<'_>,
    keys: impl Iterator<Item = usize>,
) -> Result<Vec<Option<Map<'a>>>, Stop> {
    keys.map(|at| {
        let form = shard.read_collection(call, &call.args[at], Kind::Set)?;
        Ok(form.map(|form| Map::new(form, Kind::Set)))
    })
    .collect()
}

type Members = Vec<Vec<u8>>;

/// The members that all sets have, at most `limit` of them.
fn intersection(shard: &Shard, call: &Call<'_>, sets: Vec<Option<Map<'_>>>, limit: usize) -> Result<Members, Stop> {
    let Some(sets) = sets.into_iter().collect::<Option<Vec<_>>>() else { return Ok(Vec::new()) };
    let mut sized = Vec::with_capacity(sets.len());
    for set in sets {
        sized.push((set.len(shard, call)?, set));
    }
    sized.sort_by_key(|(len, _)| *len);
    let Some(((_, smallest), others)) = sized.split_first() else { return Ok(Vec::new()) };
    let mut members = Vec::new();
    let mut stop = None;
    smallest.visit(shard, call, 0, |member, _| {
        for (_, other) in others {
            match other.get(shard, call, member) {
                Ok(Some(_)) => {}
                Ok(None) => return ControlFlow::Continue(()),
                Err(other) => {
                    stop = Some(other);
                    return ControlFlow::Break(());
                }
            }
        }
        members.push(member.to_vec());
        if members.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    stop.map_or(Ok(members), Err)
}

fn union(shard: &Shard, call: &Call<'_>, sets: Vec<Option<Map<'_>>>) -> Result<Members, Stop> {
    let mut members: HashSet<Vec<u8>> = HashSet::new();
    for set in sets.into_iter().flatten() {
        set.visit(shard, call, 0, |member, _| {
            if !members.contains(member) {
                members.insert(member.to_vec());
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(members.into_iter().collect())
}

fn difference(shard: &Shard, call: &Call<'_>, sets: Vec<Option<Map<'_>>>) -> Result<Members, Stop> {
    let mut sets = sets.into_iter();
    let Some(first) = sets.next().flatten() else { return Ok(Vec::new()) };
    let others: Vec<Map<'_>> = sets.flatten().collect();
    let mut members = Vec::new();
    let mut stop = None;
    first.visit(shard, call, 0, |member, _| {
        for other in &others {
            match other.get(shard, call, member) {
                Ok(None) => {}
                Ok(Some(_)) => return ControlFlow::Continue(()),
                Err(other) => {
                    stop = Some(other);
                    return ControlFlow::Break(());
                }
            }
        }
        members.push(member.to_vec());
        ControlFlow::Continue(())
    })?;
    stop.map_or(Ok(members), Err)
}

fn answer(members: &Members, reply: &mut Reply<'_>) {
    reply.set(members.len());
    members.iter().for_each(|member| reply.bulk(member));
}

/// Sets the first key to these members, and answers how many they are.
fn store(shard: &mut Shard, call: &Call<'_>, members: &Members, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    if members.is_empty() {
        if shard.remove(call, key)? {
            shard.notify(call, Events::GENERIC, "del", key);
        }
    } else {
        let mut edit = MapEdit::anew(Kind::Set);
        for member in members {
            edit.set(shard, call, member, b"")?;
        }
        edit.finish(shard, call, key, Ttl::Clear)?;
        shard.notify(call, Events::SET, call.spec.name, key);
    }
    reply.integer(members.len() as i64);
    Ok(())
}

pub fn sinter(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let members = intersection(shard, call, sets(shard, call, 1..call.args.len())?, usize::MAX)?;
    answer(&members, reply);
    Ok(())
}

pub fn sinterstore(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let members = intersection(shard, call, sets(shard, call, 2..call.args.len())?, usize::MAX)?;
    store(shard, call, &members, reply)
}

pub fn sintercard(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let args = call.args;
    let count = args.integer(1).ok().filter(|count| *count > 0);
    let count = count.ok_or(Refusal::text("ERR numkeys should be greater than 0"))?;
    let keys = usize::try_from(count).ok().and_then(|count| count.checked_add(2)).filter(|end| *end <= args.len());
    let end = keys.ok_or(Refusal::text("ERR Number of keys can't be greater than number of args"))?;
    let mut limit = usize::MAX;
    let mut at = end;
    while at < args.len() {
        if !args.is(at, "limit") || at + 1 >= args.len() {
            return Err(Refusal::Syntax.into());
        }
        let negative = || Refusal::text("ERR LIMIT can't be negative");
        let most = args.integer(at + 1).map_err(|_| negative())?;
        limit = usize::try_from(most).map_err(|_| negative())?;
        at += 2;
    }
    let limit = if limit == 0 { usize::MAX } else { limit };
    let members = intersection(shard, call, sets(shard, call, 2..end)?, limit)?;
    reply.integer(members.len() as i64);
    Ok(())
}

pub fn sunion(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let members = union(shard, call, sets(shard, call, 1..call.args.len())?)?;
    answer(&members, reply);
    Ok(())
}

pub fn sunionstore(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let members = union(shard, call, sets(shard, call, 2..call.args.len())?)?;
    store(shard, call, &members, reply)
}

pub fn sdiff(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let members = difference(shard, call, sets(shard, call, 1..call.args.len())?)?;
    answer(&members, reply);
    Ok(())
}

pub fn sdiffstore(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let members = difference(shard, call, sets(shard, call, 2..call.args.len())?)?;
    store(shard, call, &members, reply)
}
