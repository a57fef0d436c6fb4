//! Intervals of a sorted set, by rank, by score and by member, and the commands that answer or store what is in one.

use crate::collection::zset::{Cut, ZSet, ZSetEdit};
use crate::command::Call;
use crate::command::long::bag::Bag;
use crate::command::long::stock::{Storing, Target};
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::number::double;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard, Ttl};
use std::ops::Range;

/// Which members are meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interval<'b> {
    /// Both are included; negative ones count from the end.
    Ranks {
        first: i64,
        last: i64,
    },
    Between {
        from: Cut<'b>,
        to: Cut<'b>,
    },
}

impl Interval<'_> {
    /// The ranks that are meant, in ascending order, whichever direction those of [`Interval::Ranks`] are counted in.
    pub fn ranks(&self, zset: &ZSet<'_>, shard: &Shard, call: &Call<'_>, is_reverse: bool) -> Result<Range<u64>, Stop> {
        match *self {
            Interval::Between { from, to } => zset.ranks(shard, call, from, to),
            Interval::Ranks { first, last } => {
                let len = zset.len(shard, call)?;
                let counted = |rank: i64| if rank < 0 { rank.saturating_add(len as i64) } else { rank };
                let (first, last) = (counted(first).max(0) as u64, counted(last));
                if last < 0 || first > last as u64 || first >= len {
                    return Ok(0..0);
                }
                let (start, end) = (first, (last as u64).min(len - 1) + 1);
                Ok(if is_reverse { len - end..len - start } else { start..end })
            }
        }
    }
}

/// `min max` of scores; `(` in front excludes one.
pub fn parse_scores<'b>(min: &[u8], max: &[u8]) -> Result<Interval<'b>, Refusal> {
    let bound = |text: &[u8]| {
        let (is_open, number) = text.strip_prefix(b"(").map_or((false, text), |number| (true, number));
        let score = double::parse_bound(number).ok_or(Refusal::text("ERR min or max is not a float"))?;
        Ok((is_open, score))
    };
    let from = match bound(min)? {
        (false, score) => Cut::BeforeScore(score),
        (true, score) => Cut::AfterScore(score),
    };
    let to = match bound(max)? {
        (false, score) => Cut::AfterScore(score),
        (true, score) => Cut::BeforeScore(score),
    };
    Ok(Interval::Between { from, to })
}

/// `min max` of members: `[` or `(` in front, or `-` and `+`.
pub fn parse_members<'b>(min: &'b [u8], max: &'b [u8]) -> Result<Interval<'b>, Refusal> {
    let bound = |text: &'b [u8], is_max: bool| match text {
        b"-" => Ok(Cut::Start),
        b"+" => Ok(Cut::End),
        [b'[', member @ ..] if is_max => Ok(Cut::AfterMember(member)),
        [b'[', member @ ..] => Ok(Cut::BeforeMember(member)),
        [b'(', member @ ..] if is_max => Ok(Cut::BeforeMember(member)),
        [b'(', member @ ..] => Ok(Cut::AfterMember(member)),
        _ => Err(Refusal::text("ERR min or max not valid string range item")),
    };
    Ok(Interval::Between { from: bound(min, false)?, to: bound(max, true)? })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Member,
}

/// What a command of this family asks for.
struct Query<'b> {
    interval: Interval<'b>,
    is_reverse: bool,
    has_scores: bool,
    /// Members that are passed over; negative: all of them.
    offset: i64,
    /// The most members; negative: no limit.
    limit: i64,
}

impl<'b> Query<'b> {
    /// `key min max` from argument `at` on, and options. What is `None` may be said by them.
    fn parse(
        call: &Call<'b>,
        at: usize,
        stores: bool,
        by: Option<By>,
        is_reverse: Option<bool>,
    ) -> Result<Query<'b>, Refusal> {
        let args = call.args;
        let (mut said_by, mut said_reverse) = (by, is_reverse);
        let (mut has_scores, mut offset, mut limit) = (false, 0, -1);
        let mut option = at + 3;
        while option < args.len() {
            if !stores && args.is(option, "withscores") {
                has_scores = true;
            } else if args.is(option, "limit") && args.len() - option > 2 {
                (offset, limit) = (args.integer(option + 1)?, args.integer(option + 2)?);
                option += 2;
            } else if is_reverse.is_none() && args.is(option, "rev") {
                said_reverse = Some(true);
            } else if said_by.is_none() && args.is(option, "bylex") {
                said_by = Some(By::Member);
            } else if said_by.is_none() && args.is(option, "byscore") {
                said_by = Some(By::Score);
            } else {
                return Err(Refusal::Syntax);
            }
            option += 1;
        }
        let (by, is_reverse) = (said_by.unwrap_or(By::Rank), said_reverse.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(Refusal::text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if has_scores && by == By::Member {
            return Err(Refusal::text("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        let (first, second) = (args.get(at + 1), args.get(at + 2));
        let (first, second) = (first.expect("its arity says so"), second.expect("its arity says so"));
        let (min, max) = if is_reverse { (second, first) } else { (first, second) };
        let interval = match by {
            By::Rank => Interval::Ranks { first: args.integer(at + 1)?, last: args.integer(at + 2)? },
            By::Score => parse_scores(min, max)?,
            By::Member => parse_members(min, max)?,
        };
        Ok(Query { interval, is_reverse, has_scores, offset, limit })
    }

    /// The ranks that are answered.
    fn ranks(&self, zset: &ZSet<'_>, shard: &Shard, call: &Call<'_>) -> Result<Range<u64>, Stop> {
        let all = self.interval.ranks(zset, shard, call, self.is_reverse)?;
        if let Interval::Ranks { .. } = self.interval {
            return Ok(all);
        }
        let len = all.end - all.start;
        let passed = u64::try_from(self.offset).unwrap_or(u64::MAX).min(len);
        let taken = u64::try_from(self.limit).unwrap_or(u64::MAX).min(len - passed);
        Ok(match self.is_reverse {
            false => all.start + passed..all.start + passed + taken,
            true => all.end - passed - taken..all.end - passed,
        })
    }

    /// Of these ranks so many at most, behind those that are known.
    fn part(&self, ranks: &Range<u64>, known: u64, most: u64) -> Range<u64> {
        let part = (ranks.end - ranks.start).saturating_sub(known).min(most);
        match self.is_reverse {
            false => ranks.start + known..ranks.start + known + part,
            true => ranks.end - known - part..ranks.end - known,
        }
    }
}

/// Announces members, with or without their scores.
pub fn begin_members(reply: &mut Reply<'_>, count: usize, has_scores: bool) {
    reply.array(if has_scores && !reply.is_resp3 { 2 * count } else { count });
}

/// Writes one of them. In RESP3 a member and its score are an array.
pub fn put_member(reply: &mut Reply<'_>, member: &[u8], score: f64, has_scores: bool) {
    if !has_scores {
        return reply.bulk(member);
    }
    if reply.is_resp3 {
        reply.array(2);
    }
    reply.bulk(member);
    reply.double(score);
}

fn answer(shard: &Shard, call: &Call<'_>, reply: &mut Reply<'_>, query: &Query<'_>) -> Result<(), Stop> {
    let Some(form) = shard.read_collection(call, &call.args[1], Kind::ZSet)? else {
        reply.array(0);
        return Ok(());
    };
    let zset = ZSet::new(form);
    let ranks = query.ranks(&zset, shard, call)?;
    let count = ranks.end - ranks.start;
    let mut slice = shard.slice(count)?;
    if slice.is_first() {
        begin_members(reply, count as usize, query.has_scores);
    }
    let from = slice.from();
    let mut show = |member: &[u8], score| {
        put_member(reply, member, score, query.has_scores);
        slice.next(reply)
    };
    match query.is_reverse {
        _ if count == 0 => {}
        false => zset.visit(shard, call, ranks.start + from, &mut show)?,
        true => zset.visit_back(shard, call, ranks.end - from, &mut show)?,
    }
    shard.end_slice(&slice)
}

pub fn zrange(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    answer(shard, call, reply, &Query::parse(call, 1, false, None, None)?)
}

pub fn zrevrange(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    answer(shard, call, reply, &Query::parse(call, 1, false, Some(By::Rank), Some(true))?)
}

pub fn zrangebyscore(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    answer(shard, call, reply, &Query::parse(call, 1, false, Some(By::Score), Some(false))?)
}

pub fn zrevrangebyscore(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    answer(shard, call, reply, &Query::parse(call, 1, false, Some(By::Score), Some(true))?)
}

pub fn zrangebylex(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    answer(shard, call, reply, &Query::parse(call, 1, false, Some(By::Member), Some(false))?)
}

pub fn zrevrangebylex(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    answer(shard, call, reply, &Query::parse(call, 1, false, Some(By::Member), Some(true))?)
}

pub fn zrangestore(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let query = Query::parse(call, 2, true, None, None)?;
    let (zset, ranks) = match shard.read_collection(call, &call.args[2], Kind::ZSet)? {
        Some(form) => (Some(ZSet::new(form)), query.ranks(&ZSet::new(form), shard, call)?),
        None => (None, 0..0),
    };
    let count = ranks.end - ranks.start;
    let is_short = shard.is_short(count)?;
    let mut storing = shard.rested::<Storing>().unwrap_or_default();
    let gathered = storing.found.len() as u64;
    let mut gathers = Ok(());
    if let Some(zset) = zset.filter(|_| gathered < count) {
        let part = query.part(&ranks, gathered, if is_short { u64::MAX } else { shard.items_now() });
        let found = &mut storing.found;
        gathers = zset.visit_ranks(shard, call, part, query.is_reverse, |member, score| found.push(member, score));
    }
    if gathers.is_err() {
        // It may have begun with this part.
        storing.found.truncate(gathered as usize);
    }
    let stored = gathers.and_then(|()| match storing.found.len() as u64 == count {
        true => store_found(shard, call, (&call.args[1], call.spec.name), &mut storing),
        false => Err(Stop::Long),
    });
    reply.integer(stored.map_err(|stop| shard.rest(storing, stop))?);
    Ok(())
}

/// Stores all that was found, what is large piece by piece. `event` is what is told of it. How many there are.
pub fn store_found(
    shard: &mut Shard,
    call: &Call<'_>,
    (key, event): (&[u8], &'static str),
    storing: &mut Storing,
) -> Result<i64, Stop> {
    match storing.go_on_here(shard, call, &Target { key, kind: Kind::ZSet, event })? {
        Some(stored) => Ok(stored),
        None => store(shard, call, key, all(&storing.found).collect(), event),
    }
}

fn all(members: &Bag) -> impl Iterator<Item = (Vec<u8>, f64)> {
    (0..members.len()).map(|at| members.get(at)).map(|(member, score)| (member.to_vec(), score))
}

/// A step of it, with the same arguments, but in place of the first key so many that are known: how many there are, and some more of what is stored.
pub fn of_store(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let query = Query::parse(call, 2, true, None, None)?;
    let (mut found, mut count) = (Bag::default(), 0);
    if let Some(form) = shard.read_collection(call, &call.args[2], Kind::ZSet)? {
        let zset = ZSet::new(form);
        let ranks = query.ranks(&zset, shard, call)?;
        count = ranks.end - ranks.start;
        let part = query.part(&ranks, call.args.integer(1)? as u64, shard.slices.items.get());
        zset.visit_ranks(shard, call, part, query.is_reverse, |member, score| found.push(member, score))?;
    }
    reply.array(1 + 2 * found.len());
    reply.integer(count as i64);
    all(&found).for_each(|(member, score)| put_member(reply, &member, score, true));
    Ok(())
}

/// Sets a key to a sorted set of these members, and answers how many they are. `event`: what that is called.
pub fn store(
    shard: &mut Shard,
    call: &Call<'_>,
    key: &[u8],
    members: Vec<(Vec<u8>, f64)>,
    event: &'static str,
) -> Result<i64, Stop> {
    let count = members.len() as i64;
    if members.is_empty() {
        if shard.remove(call, key)? {
            shard.notify(call, Events::GENERIC, "del", key);
        }
    } else {
        ZSetEdit::of(members).finish(shard, call, key, Ttl::Clear)?;
        shard.notify(call, Events::ZSET, event, key);
    }
    Ok(count)
}
