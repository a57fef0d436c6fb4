//! Fields of a hash that are not past their time, where some of them expire: how many there are only a look at all tells, which is taken piece by piece
//! where they are many; and HRANDFIELD of them. While that goes on the hash is locked, so none of them is removed, and the time is that of its beginning.

use super::look::{Shows, hash_again};
use crate::collection::map::{Map, has_deadlines};
use crate::command::Call;
use crate::command::sample::{Sample, Walk};
use crate::error::Stop;
use crate::resp::encode::Reply;
use crate::shard::Shard;
use std::ops::ControlFlow;

/// What has been found so far.
#[derive(Debug, Default)]
struct Living {
    /// Fields that were looked at.
    passed: u64,
    live: u64,
    /// The ranks of those that live, if they are asked for.
    ranks: Vec<u64>,
}

impl Living {
    /// Looks at some more. Whether that is all.
    fn look_on(&mut self, shard: &Shard, call: &Call<'_>, hash: &Map<'_>, with_ranks: bool) -> Result<bool, Stop> {
        let len = hash.len(shard, call)?;
        let end = len.min(self.passed.saturating_add(shard.items_now()));
        if self.passed == end {
            return Ok(true);
        }
        let (mut rank, live, found) = (self.passed, self.live, self.ranks.len());
        let looked = hash.visit_kept(shard, call, rank, |field| {
            if field.is_live(call.now) {
                self.live += 1;
                self.ranks.extend(with_ranks.then_some(rank));
            }
            rank += 1;
            if rank == end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if looked.is_err() {
            // It is gone through once more.
            self.live = live;
            self.ranks.truncate(found);
        }
        looked?;
        self.passed = end;
        Ok(end == len)
    }
}

/// How many fields of a hash are not past their time.
pub(super) fn live_len(shard: &Shard, call: &Call<'_>, hash: &Map<'_>) -> Result<u64, Stop> {
    if !has_deadlines(&hash.form) {
        return hash.len(shard, call);
    }
    let mut living = shard.rested::<Living>().unwrap_or_default();
    match living.look_on(shard, call, hash, false) {
        Ok(true) => {
            let live = living.live;
            shard.keep(living);
            Ok(live)
        }
        Ok(false) => Err(shard.rest(living, Stop::Long)),
        Err(stop) => Err(shard.rest(living, stop)),
    }
}

/// A draw under way.
#[derive(Default)]
struct Drawing {
    living: Living,
    walk: Walk,
}

/// HRANDFIELD: finds all that may be drawn, and then draws, both piece by piece.
pub(super) fn draw(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, shows: &Shows) -> Result<(), Stop> {
    let mut drawing = shard.rested::<Drawing>().unwrap_or_default();
    match draw_on(shard, call, reply, shows, &mut drawing) {
        Ok(()) => {
            shard.keep(drawing);
            Ok(())
        }
        Err(stop) => Err(shard.rest(drawing, stop)),
    }
}

fn draw_on(
    shard: &mut Shard,
    call: &Call<'_>,
    reply: &mut Reply<'_>,
    shows: &Shows,
    drawing: &mut Drawing,
) -> Result<(), Stop> {
    let Drawing { living, walk } = drawing;
    let hash = hash_again(shard, call)?.expect("it was there just now");
    if !living.look_on(shard, call, &hash, true)? {
        return Err(Stop::Long);
    }
    let ranks = &living.ranks;
    if ranks.is_empty() {
        shows.nothing(reply);
        return Ok(());
    }
    // One that is asked for without a count may be any.
    let sample = Sample { count: Some(shows.sample.count.unwrap_or(-1)), ..shows.sample };
    let begin = |reply: &mut Reply<'_>, count| shows.begin(reply, count);
    sample.show_on(shard, reply, ranks.len() as u64, walk, begin, |shard, at, reply, step| {
        let hash = hash_again(shard, call)?.expect("it was there just now");
        let mut left = shard.items_now();
        hash.visit_kept(shard, call, ranks[at as usize], |field| {
            left -= 1;
            let flow = match field.is_live(call.now) {
                true => step(reply, &|reply| shows.put(reply, field.rest, field.value)),
                false => ControlFlow::Continue(()),
            };
            if left == 0 { ControlFlow::Break(()) } else { flow }
        })
    })
}
