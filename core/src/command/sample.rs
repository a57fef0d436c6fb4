//! What HRANDFIELD, SRANDMEMBER and ZRANDMEMBER have in common: which ranks are drawn.

use super::Call;
use crate::error::{Refusal, Stop};
use crate::limits::SAMPLE_COUNT_MAX;
use crate::resp::encode::Reply;
use crate::shard::Shard;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// What is asked for: one, so many different ones, or (negative) so many, whichever come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub count: Option<i64>,
    pub has_values: bool,
}

impl Sample {
    /// `key [count [word]]`
    pub fn parse(call: &Call<'_>, word: &str) -> Result<Sample, Refusal> {
        let args = call.args;
        if args.len() == 2 {
            return Ok(Sample { count: None, has_values: false });
        }
        let count = args.integer(2)?;
        if count == i64::MIN {
            let (low, high) = (-i64::MAX, i64::MAX);
            return Err(Refusal::text(format!("ERR value is out of range, value must between {low} and {high}")));
        }
        let has_values = args.len() > 3;
        if args.len() > 4 || has_values && !args.is(3, word) {
            return Err(Refusal::Syntax);
        }
        let out_of_range = Refusal::text("ERR value is out of range");
        if count < -SAMPLE_COUNT_MAX || has_values && count > i64::MAX / 2 {
            return Err(out_of_range);
        }
        Ok(Sample { count: Some(count), has_values })
    }
}

/// The ranks that are drawn of `len`, which is not 0. Different ones ascend.
pub(super) fn ranks(shard: &mut Shard, sample: &Sample, len: u64) -> Vec<u64> {
    let count = sample.count.unwrap_or(-1);
    if count < 0 {
        return (0..count.unsigned_abs()).map(|_| below(shard, len)).collect();
    }
    let count = count as u64;
    if count >= len {
        return (0..len).collect();
    }
    // Floyd's: each set of ranks is as likely as any other.
    let mut ranks = BTreeSet::new();
    for last in len - count..len {
        let rank = below(shard, last + 1);
        if !ranks.insert(rank) {
            ranks.insert(last);
        }
    }
    ranks.into_iter().collect()
}

/// Different ranks that are drawn slice by slice, while a walk comes by them.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The next rank.
    at: u64,
    /// How many of those before it were drawn.
    drawn: u64,
}

/// A slice of a walk.
#[derive(Debug)]
pub(super) struct Draw {
    ranks: Vec<u64>,
    shown: usize,
    at: u64,
    end: u64,
}

impl Walk {
    pub fn is_first(&self) -> bool {
        self.at == 0
    }

    pub fn at(&self) -> u64 {
        self.at
    }

    /// Which of the next ranks are drawn, if `count` are of `len`: each set of ranks is as likely as any other.
    pub fn draw(&self, shard: &mut Shard, count: u64, len: u64) -> Draw {
        let end = len.min(self.at.saturating_add(shard.items_now()));
        let mut ranks = Vec::new();
        for rank in self.at..end {
            if below(shard, len - rank) < count - self.drawn - ranks.len() as u64 {
                ranks.push(rank);
            }
        }
        Draw { ranks, shown: 0, at: self.at, end }
    }

    /// It goes on behind what was shown.
    pub fn go_on(&mut self, draw: &Draw) {
        (self.at, self.drawn) = (draw.at, self.drawn + draw.shown as u64);
    }
}

impl Draw {
    /// The walk comes by an element, which is shown if it is drawn: does another one follow?
    #[inline]
    pub fn pass(&mut self, show: impl FnOnce() -> ControlFlow<()>) -> ControlFlow<()> {
        let is_drawn = self.ranks.get(self.shown) == Some(&self.at);
        self.at += 1;
        let mut flow = ControlFlow::Continue(());
        if is_drawn {
            self.shown += 1;
            flow = show();
        }
        if self.at == self.end { ControlFlow::Break(()) } else { flow }
    }

    /// Those that were shown.
    pub fn shown(&self) -> &[u64] {
        &self.ranks[..self.shown]
    }
}

/// An element that a walk comes by, and what shows it: does another one follow?
pub(super) type Step<'s> = dyn FnMut(&mut Reply<'_>, &dyn Fn(&mut Reply<'_>)) -> ControlFlow<()> + 's;

impl Sample {
    /// Whether so few of so many elements are drawn that all are at once.
    pub fn is_short(&self, shard: &Shard, len: u64) -> Result<bool, Stop> {
        match self.count {
            None => Ok(true),
            Some(count) if count < 0 => shard.is_short(count.unsigned_abs()),
            Some(count) => shard.is_short(len.min(count as u64)),
        }
    }

    /// Draws and shows a slice. `begin` shows what stands before so many; `along` goes along the elements from a rank on.
    pub fn show_some(
        &self,
        shard: &mut Shard,
        reply: &mut Reply<'_>,
        len: u64,
        begin: impl FnOnce(&mut Reply<'_>, usize),
        along: impl Fn(&Shard, u64, &mut Reply<'_>, &mut Step<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut walk = shard.rested::<Walk>().unwrap_or_default();
        match self.show_on(shard, reply, len, &mut walk, begin, along) {
            Ok(()) => {
                shard.keep(walk);
                Ok(())
            }
            Err(stop) => Err(shard.rest(walk, stop)),
        }
    }

    /// The same for one who keeps how far the walk has come.
    pub fn show_on(
        &self,
        shard: &mut Shard,
        reply: &mut Reply<'_>,
        len: u64,
        walk: &mut Walk,
        begin: impl FnOnce(&mut Reply<'_>, usize),
        along: impl Fn(&Shard, u64, &mut Reply<'_>, &mut Step<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let count = self.count.unwrap_or(1);
        if count < 0 {
            let mut slice = shard.slice(count.unsigned_abs())?;
            if slice.is_first() {
                begin(reply, count.unsigned_abs() as usize);
            }
            // Each of them is looked for from the root on.
            let mut flow = ControlFlow::Continue(());
            for _ in 0..shard.puts_now() {
                let rank = below(shard, len);
                along(shard, rank, reply, &mut |reply, show| {
                    show(reply);
                    flow = slice.next(reply);
                    ControlFlow::Break(())
                })?;
                if flow.is_break() {
                    break;
                }
            }
            return shard.end_slice(&slice);
        }
        let drawn = len.min(count as u64);
        let mut slice = shard.slice(drawn)?;
        if walk.is_first() {
            begin(reply, drawn as usize);
        }
        let mut draw = walk.draw(shard, drawn, len);
        along(shard, walk.at(), reply, &mut |reply, show| {
            draw.pass(|| {
                show(reply);
                slice.next(reply)
            })
        })?;
        walk.go_on(&draw);
        shard.end_slice(&slice)
    }
}

/// A number below `len`, each as likely as any other as far as can be seen.
pub(super) fn below(shard: &mut Shard, len: u64) -> u64 {
    ((u128::from(shard.random()) * u128::from(len)) >> 64) as u64
}
