//! Commands that change a sorted set's scores and members.

use super::range::{Interval, parse_members, parse_scores};
use crate::collection::zset::{ZSet, ZSetEdit};
use crate::collection::{Form, Spread};
use crate::command::args::Args;
use crate::command::{Call, Joined};
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::number::double;
use crate::resp::encode::Reply;
use crate::shard::removal::{Gone, Place, Removal};
use crate::shard::{Kind, Shard, Ttl};
use std::ops::Range;

/// What ZADD is told beside scores and members.
#[derive(Clone, Copy, Default)]
struct Options {
    only_new: bool,
    only_old: bool,
    only_greater: bool,
    only_less: bool,
    /// Updated members are counted too.
    counts_changed: bool,
    is_increment: bool,
}

impl Options {
    /// Reads options from the third argument on; answers where the first score is.
    fn parse(args: &Args<'_>, is_increment: bool) -> Result<(Options, usize), Refusal> {
        let mut options = Options { is_increment, ..Options::default() };
        let mut at = 2;
        while at < args.len() {
            let option = match &args[at] {
                word if word.eq_ignore_ascii_case(b"nx") => &mut options.only_new,
                word if word.eq_ignore_ascii_case(b"xx") => &mut options.only_old,
                word if word.eq_ignore_ascii_case(b"gt") => &mut options.only_greater,
                word if word.eq_ignore_ascii_case(b"lt") => &mut options.only_less,
                word if word.eq_ignore_ascii_case(b"ch") => &mut options.counts_changed,
                word if word.eq_ignore_ascii_case(b"incr") => &mut options.is_increment,
                _ => break,
            };
            *option = true;
            at += 1;
        }
        let Options { only_new, only_old, only_greater, only_less, is_increment, .. } = options;
        let left = args.len() - at;
        if left == 0 || left % 2 == 1 {
            return Err(Refusal::Syntax);
        }
        if only_new && only_old {
            return Err(Refusal::text("ERR XX and NX options at the same time are not compatible"));
        }
        if only_new && (only_greater || only_less) || only_greater && only_less {
            return Err(Refusal::text("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if is_increment && left > 2 {
            return Err(Refusal::text("ERR INCR option supports a single increment-element pair"));
        }
        Ok((options, at))
    }

    /// The score of a member that has `old` and is given `given`; `None`: it stays as it is. Not a number: that is to be refused.
    fn decide(&self, old: Option<f64>, given: f64) -> Option<f64> {
        let Some(old) = old else { return (!self.only_old).then_some(given) };
        if self.only_new {
            return None;
        }
        let new = if self.is_increment { old + given } else { given };
        let is_kept = self.only_less && new >= old || self.only_greater && new <= old;
        (!is_kept).then_some(new)
    }
}

pub fn zadd(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    add(shard, call, reply, false)
}

pub fn zincrby(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    add(shard, call, reply, true)
}

fn add(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, is_increment: bool) -> Result<(), Stop> {
    let (args, key) = (call.args, &call.args[1]);
    let (options, first) = Options::parse(args, is_increment)?;
    let given = |at: usize| double::parse(&args[at]).ok_or(Refusal::NotFloat);
    // A single one is read where it is needed.
    if args.len() > first + 2 {
        (first..args.len()).step_by(2).try_for_each(|at| given(at).map(drop))?;
    } else {
        given(first)?;
    }
    let mut edit = ZSetEdit::begin(shard, call, key)?;
    let Added { added, changed, answer } = add_some(shard, call, &mut edit, options, first..args.len())?;
    if changed > 0 {
        edit.finish(shard, call, key, Ttl::Keep)?;
        shard.notify(call, Events::ZSET, if options.is_increment { "zincr" } else { "zadd" }, key);
    }
    match (options.is_increment, answer) {
        (true, Some(score)) => reply.double(score),
        (true, None) => reply.null(),
        (false, _) => reply.integer(if options.counts_changed { changed } else { added }),
    }
    Ok(())
}

/// What became of members that were added.
struct Added {
    added: i64,
    changed: i64,
    /// The last one's score, if it was given one.
    answer: Option<f64>,
}

/// Adds the members of some of the arguments.
fn add_some(
    shard: &Shard,
    call: &Call<'_>,
    edit: &mut ZSetEdit,
    options: Options,
    range: Range<usize>,
) -> Result<Added, Stop> {
    let mut all = Added { added: 0, changed: 0, answer: None };
    for at in range.step_by(2) {
        let score = double::parse(&call.args[at]).ok_or(Refusal::NotFloat)?;
        let (mut chosen, mut is_nan) = (None, false);
        let (old, new) = edit.change(shard, call, &call.args[at + 1], |old| {
            chosen = options.decide(old, score);
            is_nan = chosen.is_some_and(f64::is_nan);
            chosen.filter(|chosen| !chosen.is_nan())
        })?;
        if is_nan {
            return Err(Refusal::text("ERR resulting score is not a number (NaN)").into());
        }
        all.added += i64::from(old.is_none() && new.is_some());
        all.changed += i64::from(old != new);
        all.answer = chosen;
    }
    Ok(all)
}

pub const ZADDS: Joined = Joined::with_arguments(zadd_joined);

/// Of those without options: the word of one is no score.
fn zadd_joined(shard: &mut Shard, call: &Call<'_>, parts: &[usize], reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let mut edit = ZSetEdit::begin(shard, call, key)?;
    let (mut at, mut all) = (2, 0);
    for part in parts {
        if part % 2 == 1 {
            return Err(Refusal::Syntax.into());
        }
        let Added { added, changed, .. } = add_some(shard, call, &mut edit, Options::default(), at..at + part)?;
        reply.integer(added);
        (at, all) = (at + part, all + changed);
    }
    if all > 0 {
        edit.finish(shard, call, key, Ttl::Keep)?;
        shard.notify(call, Events::ZSET, "zadd", key);
    }
    Ok(())
}

pub fn zrem(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let mut edit = ZSetEdit::begin(shard, call, key)?;
    let mut removed = 0;
    for member in call.args.skip(2).iter() {
        removed += i64::from(edit.remove(shard, call, member)?);
    }
    if removed > 0 {
        edit.finish(shard, call, key, Ttl::Keep)?;
        shard.notify_of_removal(call, Events::ZSET, "zrem", key);
    }
    reply.integer(removed);
    Ok(())
}

pub fn zremrangebyrank(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (first, last) = (call.args.integer(2)?, call.args.integer(3)?);
    remove_interval(shard, call, reply, Interval::Ranks { first, last })
}

pub fn zremrangebyscore(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let interval = parse_scores(&call.args[2], &call.args[3])?;
    remove_interval(shard, call, reply, interval)
}

pub fn zremrangebylex(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let interval = parse_members(&call.args[2], &call.args[3])?;
    remove_interval(shard, call, reply, interval)
}

fn remove_interval(
    shard: &mut Shard,
    call: &Call<'_>,
    reply: &mut Reply<'_>,
    interval: Interval<'_>,
) -> Result<(), Stop> {
    let key = &call.args[1];
    let Some(form) = shard.peek_collection(call, key, Kind::ZSet)? else {
        reply.integer(0);
        return Ok(());
    };
    let zset = ZSet::new(form);
    let ranks = interval.ranks(&zset, shard, call, false)?;
    let removed = ranks.end - ranks.start;
    if removed > 0 {
        remove_ranks(shard, call, key, ranks)?;
        shard.notify_of_removal(call, Events::ZSET, call.spec.name, key);
    }
    reply.integer(removed as i64);
    Ok(())
}

/// Removes the members at these ranks, at least one, of a sorted set that is there.
pub(super) fn remove_ranks(shard: &mut Shard, call: &Call<'_>, key: &[u8], ranks: Range<u64>) -> Result<(), Stop> {
    let form = shard.peek_collection(call, key, Kind::ZSet)?.expect("the caller has seen it");
    let zset = ZSet::new(form);
    let len = zset.len(shard, call)?;
    if ranks == (0..len) {
        return shard.remove(call, key).map(drop);
    }
    match form {
        Form::Packed(_) => {
            let mut members = Vec::new();
            zset.visit_ranks(shard, call, ranks, false, |member, _| members.push(member.to_vec()))?;
            let mut edit = ZSetEdit::begin(shard, call, key)?;
            for member in &members {
                edit.remove(shard, call, member)?;
            }
            edit.finish(shard, call, key, Ttl::Keep)
        }
        Form::Spread(Spread { number, tag, .. }) => {
            let spread = Spread { number, tag, rest: &[] };
            let removal = shard.rested().unwrap_or_else(|| Box::new(Removal::new(Gone::Within(ranks), len)));
            shard.remove_ranked(call, &Place { key, kind: Kind::ZSet, spread, tag }, removal)
        }
    }
}
