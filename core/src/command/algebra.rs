//! Union, intersection and difference of sets and sorted sets, wherever they are.

pub mod long;

use super::Call;
use crate::collection::map::Map;
use crate::collection::score;
use crate::collection::zset::ZSet;
use crate::error::{Refusal, Stop};
use crate::shard::{Kind, Shard};
use std::cmp::Ordering;
use std::ops::ControlFlow;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Union,
    Intersection,
    Difference,
}

/// How the scores of one member become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
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

/// Members and scores.
pub type Scored = Vec<(Vec<u8>, f64)>;

/// What is operated on: a sorted set, or a set, whose members all have the score 1.
pub struct Source<'a> {
    members: Members<'a>,
    pub weight: f64,
    pub len: u64,
}

enum Members<'a> {
    /// Of a row of this shard.
    Row { shard: &'a Shard, call: &'a Call<'a>, map: Map<'a>, has_scores: bool },
    /// Of a row somewhere, by member.
    Sent(Scored),
}

impl<'a> Source<'a> {
    /// The set at a key of this shard.
    pub fn set(shard: &'a Shard, call: &'a Call<'a>, key: &[u8]) -> Result<Option<Source<'a>>, Stop> {
        let form = shard.read_collection(call, key, Kind::Set)?;
        form.map(|form| Source::of_row(shard, call, Map::new(form, Kind::Set), false)).transpose()
    }

    /// The same; a sorted set will do as well.
    pub fn zset(shard: &'a Shard, call: &'a Call<'a>, key: &[u8]) -> Result<Option<Source<'a>>, Stop> {
        let Some(row) = shard.read(call, key)? else { return Ok(None) };
        let (map, has_scores) = match row.kind {
            Kind::ZSet => (ZSet::new(row.form()).by_member(), true),
            Kind::Set => (Map::new(row.form(), Kind::Set), false),
            _ => return Err(Refusal::WrongType.into()),
        };
        Source::of_row(shard, call, map, has_scores).map(Some)
    }

    fn of_row(shard: &'a Shard, call: &'a Call<'a>, map: Map<'a>, has_scores: bool) -> Result<Source<'a>, Stop> {
        let len = map.len(shard, call)?;
        Ok(Source { members: Members::Row { shard, call, map, has_scores }, weight: 1.0, len })
    }

    fn of_members(mut members: Scored) -> Option<Source<'a>> {
        members.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let len = members.len() as u64;
        (len > 0).then_some(Source { members: Members::Sent(members), weight: 1.0, len })
    }

    /// Whether its members come in no order that means anything.
    fn is_packed(&self) -> bool {
        matches!(&self.members, Members::Row { map, .. } if map.is_packed())
    }

    pub fn score(&self, member: &[u8]) -> Result<Option<f64>, Stop> {
        match &self.members {
            Members::Row { shard, call, map, has_scores } => {
                Ok(map.get(shard, call, member)?.map(|value| if *has_scores { score::of_bytes(value) } else { 1.0 }))
            }
            Members::Sent(members) => {
                let found = members.binary_search_by(|(known, _)| known.as_slice().cmp(member));
                Ok(found.ok().map(|at| members[at].1))
            }
        }
    }

    /// Visits members and scores, without their weight. One that stops stops all.
    pub fn visit(&self, visit: impl FnMut(&[u8], f64) -> Result<ControlFlow<()>, Stop>) -> Result<(), Stop> {
        self.visit_from(0, visit)
    }

    /// The same, from the member of that rank on.
    fn visit_from(
        &self,
        rank: u64,
        mut visit: impl FnMut(&[u8], f64) -> Result<ControlFlow<()>, Stop>,
    ) -> Result<(), Stop> {
        let mut stop = None;
        let mut show = |member: &[u8], score| {
            visit(member, score).unwrap_or_else(|other| {
                stop = Some(other);
                ControlFlow::Break(())
            })
        };
        match &self.members {
            Members::Row { shard, call, map, has_scores } => map.visit(shard, call, rank, |member, value| {
                show(member, if *has_scores { score::of_bytes(value) } else { 1.0 })
            })?,
            Members::Sent(members) => {
                let _ = members.iter().skip(rank as usize).try_for_each(|(member, score)| show(member, *score));
            }
        }
        stop.map_or(Ok(()), Err)
    }
}

/// How sources become one.
#[derive(Clone, Copy, Debug)]
pub struct Combination {
    pub operation: Operation,
    pub aggregate: Aggregate,
    /// The most members that an intersection has.
    pub limit: u64,
}

impl Combination {
    pub fn new(operation: Operation) -> Combination {
        Combination { operation, aggregate: Aggregate::Sum, limit: u64::MAX }
    }

    /// What it takes, in members that are looked at, of sets with so many.
    pub fn items(self, lens: impl Iterator<Item = u64>) -> u64 {
        let (count, sum, least, first) = lens.fold((0, 0, u64::MAX, None), |(count, sum, least, first), len| {
            (count + 1, sum + len, least.min(len), first.or(Some(len)))
        });
        match self.operation {
            Operation::Union => sum,
            Operation::Intersection => least.saturating_mul(count),
            Operation::Difference => first.unwrap_or(0).saturating_mul(count),
        }
    }

    /// The members that result, in an order that hangs on nothing but the sources. `None` among these: nothing is there.
    pub fn of(self, mut sources: Vec<Option<Source<'_>>>) -> Result<Scored, Stop> {
        if self.operation != Operation::Difference {
            // In this order scores are added up, too.
            sources.sort_by_key(|source| source.as_ref().map_or(0, |source| source.len));
        }
        match self.operation {
            Operation::Union => self.union(&sources),
            Operation::Intersection => self.intersection(sources),
            Operation::Difference => difference(sources),
        }
    }

    fn union(self, sources: &[Option<Source<'_>>]) -> Result<Scored, Stop> {
        let mut members: Scored = Vec::new();
        for source in sources.iter().flatten() {
            source.visit(|member, score| {
                members.push((member.to_vec(), number_or_zero(source.weight * score)));
                Ok(ControlFlow::Continue(()))
            })?;
        }
        // A stable sort: the scores of a member stay in the order of the sources.
        members.sort_by(|(one, _), (other, _)| one.cmp(other));
        members.dedup_by(|next, first| {
            let is_same = next.0 == first.0;
            if is_same {
                first.1 = self.aggregate.join(first.1, next.1);
            }
            is_same
        });
        Ok(members)
    }

    fn intersection(self, sources: Vec<Option<Source<'_>>>) -> Result<Scored, Stop> {
        let mut members = Vec::new();
        let Some(sources) = sources.into_iter().collect::<Option<Vec<_>>>() else { return Ok(members) };
        let Some((smallest, others)) = sources.split_first() else { return Ok(members) };
        smallest.visit(|member, score| {
            let mut sum = number_or_zero(smallest.weight * score);
            for other in others {
                let Some(score) = other.score(member)? else { return Ok(ControlFlow::Continue(())) };
                sum = self.aggregate.join(sum, other.weight * score);
            }
            members.push((member.to_vec(), sum));
            let is_enough = members.len() as u64 >= self.limit;
            Ok(if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(members)
    }
}

fn difference(sources: Vec<Option<Source<'_>>>) -> Result<Scored, Stop> {
    let mut members = Vec::new();
    let mut sources = sources.into_iter();
    let Some(first) = sources.next().flatten() else { return Ok(members) };
    let others: Vec<Source<'_>> = sources.flatten().collect();
    first.visit(|member, score| {
        for other in &others {
            if other.score(member)?.is_some() {
                return Ok(ControlFlow::Continue(()));
            }
        }
        members.push((member.to_vec(), score));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(members)
}

/// The order of members that are answered with their scores.
pub fn by_score(one: &(Vec<u8>, f64), other: &(Vec<u8>, f64)) -> Ordering {
    crate::collection::zset::compare((&one.0, one.1), (&other.0, other.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(members: &[(&str, f64)]) -> Option<Source<'static>> {
        Source::of_members(members.iter().map(|(member, score)| (member.as_bytes().to_vec(), *score)).collect())
    }

    fn is(combination: Combination, sources: Vec<Option<Source<'_>>>, expect: &[(&str, f64)]) {
        let members = combination.of(sources).unwrap();
        let members: Vec<(&str, f64)> =
            members.iter().map(|(member, score)| (std::str::from_utf8(member).unwrap(), *score)).collect();
        assert_eq!(members, expect, "{combination:?}");
    }

    #[test]
    fn scores_become_one() {
        let sources = || vec![sent(&[("b", 2.0), ("a", 1.0)]), sent(&[("c", 5.0), ("b", 3.0), ("d", 0.5)]), None];
        let union = Combination::new(Operation::Union);
        is(union, sources(), &[("a", 1.0), ("b", 5.0), ("c", 5.0), ("d", 0.5)]);
        is(
            Combination { aggregate: Aggregate::Min, ..union },
            sources(),
            &[("a", 1.0), ("b", 2.0), ("c", 5.0), ("d", 0.5)],
        );
        is(Combination::new(Operation::Intersection), sources(), &[]);
        let both = || sources().into_iter().filter(Option::is_some).collect();
        is(
            Combination { aggregate: Aggregate::Max, ..Combination::new(Operation::Intersection) },
            both(),
            &[("b", 3.0)],
        );
        is(Combination::new(Operation::Difference), sources(), &[("a", 1.0)]);
    }

    #[test]
    fn infinities_and_weights() {
        let weighted = |score: f64, weight: f64| {
            let mut source = sent(&[("m", score)]).unwrap();
            source.weight = weight;
            Some(source)
        };
        let union = Combination::new(Operation::Union);
        is(union, vec![weighted(f64::INFINITY, 1.0), weighted(f64::NEG_INFINITY, 1.0)], &[("m", 0.0)]);
        is(union, vec![weighted(f64::INFINITY, 0.0)], &[("m", 0.0)]);
        is(union, vec![weighted(2.0, -1.5), weighted(1.0, 10.0)], &[("m", 7.0)]);
    }
}
