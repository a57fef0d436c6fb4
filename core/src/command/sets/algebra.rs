//! Intersection, union and difference of sets.

use crate::collection::map::MapEdit;
use crate::command::algebra::long::{LongCombination, Shows, Words, show_slice};
use crate::command::algebra::{Combination, Operation, Source};
use crate::command::program::{Here, Steps};
use crate::command::{Call, long, table};
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard, Ttl};
use std::ops::Range;

/// What a command of this family does with the sets at these arguments.
struct Query {
    keys: Range<usize>,
    combination: Combination,
    then: Then,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Answer,
    Count,
    /// The set is the first key's.
    Store,
}

impl Query {
    fn of(call: &Call<'_>) -> Result<Query, Refusal> {
        let (name, len) = (call.spec.name, call.args.len());
        let operation = match &name[..5] {
            "sinte" => Operation::Intersection,
            "sunio" => Operation::Union,
            _ => Operation::Difference,
        };
        let combination = Combination::new(operation);
        if name == "sintercard" {
            return Query::of_count(call, combination);
        }
        let stores = name.ends_with("store");
        let then = if stores { Then::Store } else { Then::Answer };
        Ok(Query { keys: 1 + usize::from(stores)..len, combination, then })
    }

    fn of_count(call: &Call<'_>, combination: Combination) -> Result<Query, Refusal> {
        let args = call.args;
        let count = args.integer(1).ok().filter(|count| *count > 0);
        let count = count.ok_or(Refusal::text("ERR numkeys should be greater than 0"))?;
        let keys = usize::try_from(count).ok().and_then(|count| count.checked_add(2)).filter(|end| *end <= args.len());
        let end = keys.ok_or(Refusal::text("ERR Number of keys can't be greater than number of args"))?;
        let mut limit = u64::MAX;
        let mut at = end;
        while at < args.len() {
            if !args.is(at, "limit") || at + 1 >= args.len() {
                return Err(Refusal::Syntax);
            }
            let negative = || Refusal::text("ERR LIMIT can't be negative");
            let most = args.integer(at + 1).map_err(|_| negative())?;
            limit = u64::try_from(most).map_err(|_| negative())?;
            at += 2;
        }
        let limit = if limit == 0 { u64::MAX } else { limit };
        Ok(Query { keys: 2..end, combination: Combination { limit, ..combination }, then: Then::Count })
    }
}

/// All commands of this family where the keys are on this shard.
pub fn run(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let query = Query::of(call)?;
    let sources: Result<_, Stop> = query.keys.clone().map(|at| Source::set(shard, call, &call.args[at])).collect();
    let sources: Vec<Option<Source<'_>>> = sources?;
    let items = query.combination.items(sources.iter().map(|source| source.as_ref().map_or(0, |source| source.len)));
    if !shard.is_short(items)? {
        return program(call, &mut Here { shard, call }, reply);
    }
    let found = query.combination.of(sources)?;
    match query.then {
        Then::Answer => {
            reply.set(found.len());
            found.iter().for_each(|(member, _)| reply.bulk(member));
            return Ok(());
        }
        Then::Store => store(shard, call, call.spec.name, found.iter().map(|(member, _)| member.as_slice()))?,
        Then::Count => {}
    }
    reply.integer(found.len() as i64);
    Ok(())
}

const WORDS: Words = Words { slice: b"set|slice", among: b"smismember", has_scores: false };

/// The same where they are on several, or are large.
pub fn program(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let query = Query::of(call)?;
    let shows = match query.then {
        Then::Answer => Shows::Set,
        Then::Count => Shows::Nothing,
        Then::Store => Shows::Stored(Kind::Set),
    };
    let work = long::work(steps, || {
        let operands = query.keys.clone().map(|at| (call.args[at].to_vec(), 1.0));
        Ok(LongCombination::new(call, query.combination, WORDS, operands, shows))
    })?;
    if query.then == Then::Answer {
        reply.out.append(work.out);
        return Ok(());
    }
    let count = work.found.len() as i64;
    if query.then == Then::Store && !work.is_stored {
        store_of(call, steps, work)?;
    }
    reply.integer(count);
    Ok(())
}

fn store_of(call: &Call<'_>, steps: &mut dyn Steps, work: Box<LongCombination>) -> Result<(), Stop> {
    long::follow(steps, work, |steps, work| {
        let mut words: Vec<&[u8]> = vec![b"set|store", &call.args[1], call.spec.name.as_bytes()];
        words.extend(work.found.texts());
        steps.run(&words).map(drop)
    })
}

/// A step: `key rank`. A slice of a set.
pub fn slice(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let source = Source::set(shard, call, &call.args[1])?;
    show_slice(shard, source.as_ref(), false, call.args.integer(2)? as u64, reply)
}

/// A step: `key command [member ...]`.
pub fn put(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let event = table::find(&call.args[2]).expect("a command has this step").name;
    store(shard, call, event, call.args.skip(3).iter())?;
    reply.ok();
    Ok(())
}

/// Sets the first key to these members.
fn store<'m>(
    shard: &mut Shard,
    call: &Call<'_>,
    event: &'static str,
    members: impl ExactSizeIterator<Item = &'m [u8]>,
) -> Result<(), Stop> {
    let key = &call.args[1];
    if members.len() == 0 {
        if shard.remove(call, key)? {
            shard.notify(call, Events::GENERIC, "del", key);
        }
        return Ok(());
    }
    let mut edit = MapEdit::anew(Kind::Set);
    for member in members {
        edit.set(shard, call, member, b"")?;
    }
    edit.finish(shard, call, key, Ttl::Clear)?;
    shard.notify(call, Events::SET, event, key);
    Ok(())
}
