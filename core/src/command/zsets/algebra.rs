//! Union, intersection and difference of sorted sets and sets.

use super::range::{begin_members, put_member, store};
use crate::command::Call;
use crate::command::algebra::long::{LongCombination, Shows, Words, show_slice};
use crate::command::algebra::{Aggregate, Combination, Operation, Source, by_score};
use crate::command::args::Args;
use crate::command::long;
use crate::command::program::{Here, Steps};
use crate::error::{Refusal, Stop};
use crate::number::double;
use crate::resp::encode::Reply;
use crate::shard::{self, Shard};
use std::ops::Range;

/// `numkeys key [key ...]` and options.
struct Query {
    keys: Range<usize>,
    /// Of each key.
    weights: Vec<f64>,
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

    fn query(self, call: &Call<'_>) -> Result<Query, Refusal> {
        let keys = self.keys(call)?;
        let (weights, combination) = (vec![1.0; keys.len()], Combination::new(self.operation));
        Ok(Query { keys, weights, combination, has_scores: false })
    }
}

impl Query {
    fn parse_options(&mut self, args: &Args<'_>, takes: Takes) -> Result<(), Refusal> {
        let keys = self.keys.clone();
        let mut at = keys.end;
        while at < args.len() {
            let left = args.len() - at;
            if takes.weights && left > keys.len() && args.is(at, "weights") {
                for (number, weight) in self.weights.iter_mut().enumerate() {
                    let said = double::parse(&args[at + 1 + number]);
                    *weight = said.ok_or(Refusal::text("ERR weight value is not a float"))?;
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
    let mut query = kind.query(call)?;
    let sources: Result<_, Stop> = query.keys.clone().map(|at| Source::zset(shard, call, &call.args[at])).collect();
    let mut sources: Vec<Option<Source<'_>>> = sources?;
    // As in Redis, the types of the keys come first.
    query.parse_options(call.args, kind.takes)?;
    let items = query.combination.items(sources.iter().map(|source| source.as_ref().map_or(0, |source| source.len)));
    if !shard.is_short(items)? {
        return program(call, &mut Here { shard, call }, reply);
    }
    for (source, weight) in sources.iter_mut().zip(&query.weights) {
        source.iter_mut().for_each(|source| source.weight = *weight);
    }
    let mut found = query.combination.of(sources)?;
    if kind.keynum == 2 {
        let stored = store(shard, call, &call.args[1], found, call.spec.name)?;
        reply.integer(stored);
    } else if kind.takes.limit {
        reply.integer(found.len() as i64);
    } else {
        found.sort_unstable_by(by_score);
        begin_members(reply, found.len(), query.has_scores);
        found.iter().for_each(|(member, score)| put_member(reply, member, *score, query.has_scores));
    }
    Ok(())
}

const WORDS: Words = Words { slice: b"zset|slice", among: b"zset|scores", has_scores: true };

/// The same where they are on several, or are large.
pub fn program(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let kind = Kind::of(call);
    let mut query = kind.query(call)?;
    let options = query.parse_options(call.args, kind.takes);
    let (answers, has_scores) = (kind.keynum == 1 && !kind.takes.limit, query.has_scores);
    let shows = match kind.keynum {
        2 => Shows::Stored(shard::Kind::ZSet),
        _ if answers => Shows::Members { has_scores },
        _ => Shows::Nothing,
    };
    let work = long::work(steps, || {
        let operands = query.keys.clone().zip(&query.weights).map(|(at, weight)| (call.args[at].to_vec(), *weight));
        Ok(LongCombination::new(call, query.combination, WORDS, operands, shows))
    })?;
    options?;
    if answers {
        reply.out.append(work.out);
    } else if kind.takes.limit || work.is_stored {
        reply.integer(work.found.len() as i64);
    } else {
        store_of(call, steps, work, reply)?;
    }
    Ok(())
}

fn store_of(
    call: &Call<'_>,
    steps: &mut dyn Steps,
    work: Box<LongCombination>,
    reply: &mut Reply<'_>,
) -> Result<(), Stop> {
    long::follow(steps, work, |steps, work| {
        super::steps::store(steps, &call.args[1], call.spec.name, &work.found, reply)
    })
}

/// A step: `key rank`. A slice of a sorted set, or of a set.
pub fn slice(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let source = Source::zset(shard, call, &call.args[1])?;
    show_slice(shard, source.as_ref(), true, call.args.integer(2)? as u64, reply)
}

/// A step: `key member [member ...]`. Their scores in a sorted set, or in a set.
pub fn scores(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let source = Source::zset(shard, call, &call.args[1])?;
    let members = call.args.skip(2);
    reply.array(members.len());
    for member in members.iter() {
        match source.as_ref().map_or(Ok(None), |source| source.score(member))? {
            Some(score) => reply.double(score),
            None => reply.null(),
        }
    }
    Ok(())
}
