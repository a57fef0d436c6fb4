//! Union, intersection and difference of sorted sets and sets that are all on one shard.

use super::range::{begin_members, put_member, store};
use crate::collection::map::Map;
use crate::collection::zset::{ZSet, compare, score_of};
use crate::command::Call;
use crate::command::args::Args;
use crate::error::{Refusal, Stop};
use crate::number::double;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard};
use hashbrown::HashMap;
use std::cmp::Ordering;
use std::ops::{ControlFlow, Range};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// How the scores of one member become one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn join(self, score: f64, other: f64) -> f64 {
        match self {
            // Infinities of both signs are nothing together.
            Aggregate::Sum => number_or_zero(score + other),
            Aggregate::Min if other < score => other,
            Aggregate::Max if other > score => other,
            Aggregate::Min | Aggregate::Max => score,
        }
    }
}

fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// What is operated on: a sorted set, or a set whose members all have the score 1.
#[derive(Clone, Copy)]
struct Source<'a> {
    map: Map<'a>,
    has_scores: bool,
    weight: f64,
    len: u64,
}

impl Source<'_> {
    fn score(&self, shard: &Shard, call: &Call<'_>, member: &[u8]) -> Result<Option<f64>, Stop> {
        Ok(self.map.get(shard, call, member)?.map(|value| self.score_in(value)))
    }

    fn score_in(&self, value: &[u8]) -> f64 {
        if self.has_scores { score_of(value) } else { 1.0 }
    }

    /// Visits members and scores, without their weight. One that stops stops all.
    fn visit(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        mut visit: impl FnMut(&[u8], f64) -> Result<ControlFlow<()>, Stop>,
    ) -> Result<(), Stop> {
        let mut stop = None;
        self.map.visit(shard, call, 0, |member, value| {
            visit(member, self.score_in(value)).unwrap_or_else(|other| {
                stop = Some(other);
                ControlFlow::Break(())
            })
        })?;
        stop.map_or(Ok(()), Err)
    }
}

/// `numkeys key [key ...]` and options.
struct Query<'a> {
    /// `None`: nothing is there.
    sources: Vec<Option<Source<'a>>>,
    aggregate: Aggregate,
    has_scores: bool,
    /// The most members that are counted.
    limit: u64,
}

/// What of the options a command has.
#[derive(Clone, Copy)]
struct Takes {
    weights: bool,
    scores: bool,
    limit: bool,
}

impl<'a> Query<'a> {
    /// `at`: where the number of keys is.
    fn parse(shard: &'a Shard, call: &Call<'_>, at: usize, takes: Takes) -> Result<Query<'a>, Stop> {
        let args = call.args;
        let count = args.integer(at)?;
        if count < 1 {
            let name = call.spec.name;
            return Err(Refusal::text(format!("ERR at least 1 input key is needed for '{name}' command")).into());
        }
        let keys = usize::try_from(count).ok().filter(|count| *count < args.len() - at).ok_or(Refusal::Syntax)?;
        let keys = at + 1..at + 1 + keys;
        let sources = sources(shard, call, keys.clone())?;
        let mut query = Query { sources, aggregate: Aggregate::Sum, has_scores: false, limit: u64::MAX };
        query.parse_options(args, keys, takes)?;
        Ok(query)
    }

    fn parse_options(&mut self, args: &Args<'_>, keys: Range<usize>, takes: Takes) -> Result<(), Refusal> {
        let mut at = keys.end;
        while at < args.len() {
            let left = args.len() - at;
            if takes.weights && left > keys.len() && args.is(at, "weights") {
                for (number, source) in self.sources.iter_mut().enumerate() {
                    let weight = double::parse(&args[at + 1 + number]);
                    let weight = weight.ok_or(Refusal::text("ERR weight value is not a float"))?;
                    source.iter_mut().for_each(|source| source.weight = weight);
                }
                at += 1 + keys.len();
            } else if takes.weights && left >= 2 && args.is(at, "aggregate") {
                self.aggregate = match () {
                    () if args.is(at + 1, "sum") => Aggregate::Sum,
                    () if args.is(at + 1, "min") => Aggregate::Min,
                    () if args.is(at + 1, "max") => Aggregate::Max,
                    () => return Err(Refusal::Syntax),
                };
                at += 2;
            } else if takes.scores && args.is(at, "withscores") {
                self.has_scores = true;
                at += 1;
            } else if takes.limit && left >= 2 && args.is(at, "limit") {
                let limit = args.integer(at + 1).ok().and_then(|limit| u64::try_from(limit).ok());
                let limit = limit.ok_or(Refusal::text("ERR LIMIT can't be negative"))?;
                self.limit = if limit == 0 { u64::MAX } else { limit };
                at += 2;
            } else {
                return Err(Refusal::Syntax);
            }
        }
        Ok(())
    }

    fn members(mut self, shard: &Shard, call: &Call<'_>, operation: Operation) -> Result<Vec<(Vec<u8>, f64)>, Stop> {
        if operation != Operation::Difference {
            // In this order scores are added up, too.
            self.sources.sort_by_key(|source| source.map_or(0, |source| source.len));
        }
        match operation {
            Operation::Union => self.union(shard, call),
            Operation::Intersection => self.intersection(shard, call),
            Operation::Difference => self.difference(shard, call),
        }
    }

    fn union(self, shard: &Shard, call: &Call<'_>) -> Result<Vec<(Vec<u8>, f64)>, Stop> {
        let mut members: HashMap<Vec<u8>, f64> = HashMap::new();
        for source in self.sources.iter().flatten() {
            source.visit(shard, call, |member, score| {
                let score = number_or_zero(source.weight * score);
                match members.get_mut(member) {
                    Some(sum) => *sum = self.aggregate.join(*sum, score),
                    None => drop(members.insert(member.to_vec(), score)),
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(members.into_iter().collect())
    }

    fn intersection(self, shard: &Shard, call: &Call<'_>) -> Result<Vec<(Vec<u8>, f64)>, Stop> {
        let mut members = Vec::new();
        let Some(sources) = self.sources.into_iter().collect::<Option<Vec<_>>>() else { return Ok(members) };
        let Some((smallest, others)) = sources.split_first() else { return Ok(members) };
        smallest.visit(shard, call, |member, score| {
            let mut sum = number_or_zero(smallest.weight * score);
            for other in others {
                let Some(score) = other.score(shard, call, member)? else { return Ok(ControlFlow::Continue(())) };
                sum = self.aggregate.join(sum, other.weight * score);
            }
            members.push((member.to_vec(), sum));
            let is_enough = members.len() as u64 >= self.limit;
            Ok(if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(members)
    }

    fn difference(self, shard: &Shard, call: &Call<'_>) -> Result<Vec<(Vec<u8>, f64)>, Stop> {
        let mut members = Vec::new();
        let mut sources = self.sources.into_iter();
        let Some(first) = sources.next().flatten() else { return Ok(members) };
        let others: Vec<Source<'_>> = sources.flatten().collect();
        first.visit(shard, call, |member, score| {
            for other in &others {
                if other.score(shard, call, member)?.is_some() {
                    return Ok(ControlFlow::Continue(()));
                }
            }
            members.push((member.to_vec(), score));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(members)
    }
}

fn sources<'a>(shard: &'a Shard, call: &Call<'_>, keys: Range<usize>) -> Result<Vec<Option<Source<'a>>>, Stop> {
    let mut sources = Vec::with_capacity(keys.len());
    for at in keys {
        let Some(row) = shard.read(call, &call.args[at])? else {
            sources.push(None);
            continue;
        };
        let (map, has_scores) = match row.kind {
            Kind::ZSet => (ZSet::new(row.form()).by_member(), true),
            Kind::Set => (Map::new(row.form(), Kind::Set), false),
            _ => return Err(Refusal::WrongType.into()),
        };
        sources.push(Some(Source { map, has_scores, weight: 1.0, len: map.len(shard, call)? }));
    }
    Ok(sources)
}

fn answer(shard: &Shard, call: &Call<'_>, reply: &mut Reply<'_>, operation: Operation) -> Result<(), Stop> {
    let takes = Takes { weights: operation != Operation::Difference, scores: true, limit: false };
    let query = Query::parse(shard, call, 1, takes)?;
    let has_scores = query.has_scores;
    let mut members = query.members(shard, call, operation)?;
    members.sort_unstable_by(order);
    begin_members(reply, members.len(), has_scores);
    members.iter().for_each(|(member, score)| put_member(reply, member, *score, has_scores));
    Ok(())
}

fn order(one: &(Vec<u8>, f64), other: &(Vec<u8>, f64)) -> Ordering {
    compare((&one.0, one.1), (&other.0, other.1))
}

fn store_at_first(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, operation: Operation) -> Result<(), Stop> {
    let takes = Takes { weights: operation != Operation::Difference, scores: false, limit: false };
    let members = Query::parse(shard, call, 2, takes)?.members(shard, call, operation)?;
    let stored = store(shard, call, &call.args[1], members, call.spec.name)?;
    reply.integer(stored);
    Ok(())
}

pub fn zunion(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    answer(shard, call, reply, Operation::Union)
}

pub fn zinter(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    answer(shard, call, reply, Operation::Intersection)
}

pub fn zdiff(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    answer(shard, call, reply, Operation::Difference)
}

pub fn zunionstore(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    store_at_first(shard, call, reply, Operation::Union)
}

pub fn zinterstore(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    store_at_first(shard, call, reply, Operation::Intersection)
}

pub fn zdiffstore(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    store_at_first(shard, call, reply, Operation::Difference)
}

pub fn zintercard(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let query = Query::parse(shard, call, 1, Takes { weights: false, scores: false, limit: true })?;
    let members = query.members(shard, call, Operation::Intersection)?;
    reply.integer(members.len() as i64);
    Ok(())
}
