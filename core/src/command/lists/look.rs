//! Commands that look at a list.

use super::ends::count_of;
use crate::collection::list::{End, List, seek};
use crate::command::Call;
use crate::command::args::Args;
use crate::error::{Refusal, Stop};
use crate::resp::encode::Reply;
use crate::shard::Shard;
use std::ops::{ControlFlow, Range};

pub fn llen(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let len = match List::read(shard, call, &call.args[1])? {
        Some(list) => list.len(shard, call)?,
        None => 0,
    };
    reply.integer(len as i64);
    Ok(())
}

pub fn lindex(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let Some(list) = List::read(shard, call, &call.args[1])? else {
        reply.null();
        return Ok(());
    };
    let index = call.args.integer(2)?;
    let len = list.len(shard, call)?;
    let Some(rank) = rank_of(index, len) else {
        reply.null();
        return Ok(());
    };
    list.range(shard, call, rank..rank + 1, |value| reply.bulk(value))
}

/// The rank of the element that an index means, if there is one: negative ones count from the end.
pub(super) fn rank_of(index: i64, len: u64) -> Option<u64> {
    let rank = if index < 0 { len.checked_sub(index.unsigned_abs())? } else { index as u64 };
    (rank < len).then_some(rank)
}

/// The ranks from one index to another, both included.
pub(super) fn ranks_of(start: i64, stop: i64, len: u64) -> Range<u64> {
    let place = |index: i64| if index < 0 { len.saturating_sub(index.unsigned_abs()) } else { (index as u64).min(len) };
    let end = if stop < 0 && stop.unsigned_abs() > len { 0 } else { place(stop).saturating_add(1).min(len) };
    let start = place(start);
    if start < end { start..end } else { 0..0 }
}

pub fn lrange(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (start, stop) = (call.args.integer(2)?, call.args.integer(3)?);
    let Some(list) = List::read(shard, call, &call.args[1])? else {
        reply.array(0);
        return Ok(());
    };
    let ranks = ranks_of(start, stop, list.len(shard, call)?);
    let mut slice = shard.slice(ranks.end - ranks.start)?;
    if slice.is_first() {
        reply.array((ranks.end - ranks.start) as usize);
    }
    if !slice.is_empty() {
        list.visit(shard, call, ranks.start + slice.from(), |value| {
            reply.bulk(value);
            slice.next(reply)
        })?;
    }
    shard.end_slice(&slice)
}

/// What LPOS looks for.
struct Position {
    /// Not 0; negative: from the end.
    rank: i64,
    count: Option<u64>,
    len_max: u64,
}

impl Position {
    fn parse(args: &Args<'_>) -> Result<Position, Refusal> {
        let mut position = Position { rank: 1, count: None, len_max: 0 };
        let mut at = 3;
        while at < args.len() {
            let value = args.get(at + 1);
            match value {
                Some(_) if args.is(at, "rank") => {
                    position.rank = args.integer(at + 1)?;
                    if position.rank == i64::MIN {
                        return Err(Refusal::text(OUT_OF_RANGE));
                    }
                    if position.rank == 0 {
                        return Err(Refusal::text(
                            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
                             negative to start from the end of the list",
                        ));
                    }
                }
                Some(value) if args.is(at, "count") => {
                    position.count = Some(count_of(value, 0, "ERR COUNT can't be negative")?);
                }
                Some(value) if args.is(at, "maxlen") => {
                    position.len_max = count_of(value, 0, "ERR MAXLEN can't be negative")?;
                }
                _ => return Err(Refusal::Syntax),
            }
            at += 2;
        }
        Ok(position)
    }
}

pub(super) const OUT_OF_RANGE: &str =
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";

pub fn lpos(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let Position { rank, count, len_max } = Position::parse(call.args)?;
    let wanted = &call.args[2];
    let Some(list) = List::read(shard, call, &call.args[1])? else {
        if count.is_some() {
            reply.array(0)
        } else {
            reply.null()
        }
        return Ok(());
    };
    let len = list.len(shard, call)?;
    let looked = if len_max > 0 { len.min(len_max) } else { len };
    let (end, ranks) = if rank > 0 { (End::Left, 0..looked) } else { (End::Right, len - looked..len) };
    let begun = || Box::new(Search { ranks, skipped: rank.unsigned_abs() - 1, found: Vec::new() });
    let mut search = shard.rested().unwrap_or_else(begun);
    // 0 is all of them.
    let found_max = count.map_or(1, |count| if count == 0 { u64::MAX } else { count });
    let Search { ranks, skipped, found } = &mut *search;
    let looked = seek(shard, call, &call.args[1], (wanted, end), ranks, |rank| {
        match skipped {
            0 => found.push(rank),
            _ => *skipped -= 1,
        }
        if found.len() as u64 == found_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match looked {
        Err(stop) => return Err(shard.rest(search, stop)),
        Ok(false) => return Err(shard.rest(search, Stop::Long)),
        Ok(true) => {}
    }
    if count.is_some() {
        reply.array(search.found.len());
        search.found.into_iter().for_each(|index| reply.integer(index as i64));
    } else {
        match search.found.first() {
            Some(index) => reply.integer(*index as i64),
            None => reply.null(),
        }
    }
    Ok(())
}

/// How far LPOS has come.
struct Search {
    /// Elements that it has not looked at.
    ranks: Range<u64>,
    /// Those like the one that is wanted which do not count yet.
    skipped: u64,
    found: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_at_the_extremes() {
        for (index, expect) in [(0, Some(0)), (2, Some(2)), (3, None), (-1, Some(2)), (-3, Some(0)), (-4, None)] {
            assert_eq!(rank_of(index, 3), expect, "{index}");
        }
        assert_eq!((rank_of(i64::MIN, 3), rank_of(i64::MAX, 3)), (None, None));
        let ranges = [
            (0, -1, 0..3),
            (0, 0, 0..1),
            (1, 1, 1..2),
            (-2, -1, 1..3),
            (-100, 100, 0..3),
            (2, 1, 0..0),
            (3, 5, 0..0),
            (0, -4, 0..0),
            (0, -3, 0..1),
            (i64::MIN, i64::MAX, 0..3),
            (i64::MAX, i64::MIN, 0..0),
            (i64::MIN, i64::MIN, 0..0),
            (i64::MAX, i64::MAX, 0..0),
        ];
        for (start, stop, expect) in ranges {
            assert_eq!(ranks_of(start, stop, 3), expect, "{start} {stop}");
        }
    }
}
