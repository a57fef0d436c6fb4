//! Union, intersection and difference of sorted sets and sets.

use super::range::{begin_members, put_member, store};
use crate::command::Call;
use crate::command::algebra::{Aggregate, Combination, Operation, Scored, Source, by_score};
use crate::command::args::Args;
use crate::command::program::Steps;
use crate::error::{Refusal, Stop};
use crate::number::double;
use crate::resp::encode::Reply;
use crate::shard::Shard;
use std::ops::{ControlFlow, Range};

/// `numkeys key [key ...]` and options.
struct Query<'a> {
    /// `None`: nothing is there.
    sources: Vec<Option<Source<'a>>>,
    combination: Combination,
    has_scores: bool,
}

/// What of the options a command has.
#[derive(Clone, Copy)]
struct Takes {
    weights: bool,
    scores: bool,
    limit: bool,
}

/// What a command of this family does.
#[derive(Clone, Copy)]
struct Kind {
    operation: Operation,
    takes: Takes,
    /// The place of the number of keys. 2: the first key gets what results.
    keynum: usize,
}

impl Kind {
    fn of(call: &Call<'_>) -> Kind {
        let name = call.spec.name;
        let operation = match &name[..3] {
            "zun" => Operation::Union,
            "zin" => Operation::Intersection,
            _ => Operation::Difference,
        };
        let (stores, counts) = (name.ends_with("store"), name == "zintercard");
        let weights = operation != Operation::Difference && !counts;
        let takes = Takes { weights, scores: !stores && !counts, limit: counts };
        Kind { operation, takes, keynum: 1 + usize::from(stores) }
    }

    /// The places of the keys.
    fn keys(self, call: &Call<'_>) -> Result<Range<usize>, Refusal> {
        let (args, at) = (call.args, self.keynum);
        let count = args.integer(at)?;
        if count < 1 {
            let name = call.spec.name;
            return Err(Refusal::text(format!("ERR at least 1 input key is needed for '{name}' command")));
        }
        let keys = usize::try_from(count).ok().filter(|count| *count < args.len() - at).ok_or(Refusal::Syntax)?;
        Ok(at + 1..at + 1 + keys)
    }

    /// What results from these sources, and whether scores are answered.
    fn result(
        self,
        call: &Call<'_>,
        keys: Range<usize>,
        sources: Vec<Option<Source<'_>>>,
    ) -> Result<(Scored, bool), Stop> {
        let mut query = Query { sources, combination: Combination::new(self.operation), has_scores: false };
        query.parse_options(call.args, keys, self.takes)?;
        Ok((query.combination.of(query.sources)?, query.has_scores))
    }
}

impl Query<'_> {
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
                self.combination.aggregate = match () {
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
                self.combination.limit = if limit == 0 { u64::MAX } else { limit };
                at += 2;
            } else {
                return Err(Refusal::Syntax);
            }
        }
        Ok(())
    }
}

/// All commands of this family where the keys are on this shard.
pub fn run(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let kind = Kind::of(call);
    let keys = kind.keys(call)?;
    let sources: Result<_, Stop> = keys.clone().map(|at| Source::zset(shard, call, &call.args[at])).collect();
    let (members, has_scores) = kind.result(call, keys, sources?)?;
    if kind.keynum == 2 {
        let stored = store(shard, call, &call.args[1], members, call.spec.name)?;
        reply.integer(stored);
    } else {
        answer(kind, members, has_scores, reply);
    }
    Ok(())
}

/// The same where they are on several.
pub fn program(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let kind = Kind::of(call);
    let keys = kind.keys(call)?;
    let sources: Result<_, Stop> = keys.clone().map(|at| Source::zset_of(steps, &call.args[at])).collect();
    let (members, has_scores) = kind.result(call, keys, sources?)?;
    if kind.keynum == 2 {
        return super::steps::store(steps, &call.args[1], call.spec.name, &members, reply);
    }
    answer(kind, members, has_scores, reply);
    Ok(())
}

fn answer(kind: Kind, mut members: Scored, has_scores: bool, reply: &mut Reply<'_>) {
    if kind.takes.limit {
        return reply.integer(members.len() as i64);
    }
    members.sort_unstable_by(by_score);
    begin_members(reply, members.len(), has_scores);
    members.iter().for_each(|(member, score)| put_member(reply, member, *score, has_scores));
}

/// A step: `key`. Members and scores of a sorted set, or of a set.
pub fn members(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let source = Source::zset(shard, call, &call.args[1])?;
    let Some(source) = source else {
        reply.array(0);
        return Ok(());
    };
    begin_members(reply, source.len as usize, true);
    source.visit(|member, score| {
        put_member(reply, member, score, true);
        Ok(ControlFlow::Continue(()))
    })
}
