//! The same piece by piece ([`crate::command::long`]), wherever the sets are: what is large is not sent as a whole, and nobody waits for all of it.
//!
//! Of each set its first slice is asked for. If these are all there is, they are combined on the spot. Else a union goes along all sets at once: their slices
//! come in the order of their members' places, so that one walk finds what is in several. An intersection or a difference goes along one of them, and asks
//! the others for the members of each slice.

use super::{Combination, Operation, Scored, Source, number_or_zero};
use crate::collection::order;
use crate::command::Call;
use crate::command::long::Long;
use crate::command::long::bag::{Bag, Runs};
use crate::command::long::stock::{Stock, Target, is_large};
use crate::command::program::Steps;
use crate::command::zsets::range::{begin_members, put_member};
use crate::error::Stop;
use crate::limits::SLICE_BYTES;
use crate::number::double;
use crate::resp::encode::Reply;
use crate::resp::read::{Item, Reader};
use crate::resp::replies::Replies;
use crate::shard::{Kind, Shard};
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// The steps of a family.
#[derive(Clone, Copy)]
pub struct Words {
    /// `key rank`: the members from that rank on, as [`show_slice`] shows them.
    pub slice: &'static [u8],
    /// `key member [member ...]`: what is there of each: 0 or 1, a score or a null.
    pub among: &'static [u8],
    /// Whether slices have scores; if not they are all 1.
    pub has_scores: bool,
}

/// What is answered of the members that result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// Their number at most, or nothing.
    Nothing,
    Set,
    /// By score.
    Members {
        has_scores: bool,
    },
    /// Their number: the key is to have them, as a collection of this kind.
    Stored(Kind),
}

/// One of the sets.
struct Operand {
    key: Vec<u8>,
    weight: f64,
    /// Members in all.
    total: u64,
    /// A slice of them, the next one of it, and where that stands if it is there.
    here: Bag,
    at: usize,
    place: u64,
    /// The rank of the next slice; `None`: this is the last one.
    next: Option<u64>,
}

impl Operand {
    /// Asks for the next slice.
    fn advance(&mut self, words: Words, steps: &mut dyn Steps) -> Result<(), Stop> {
        let rank = self.next.expect("there is one").to_string();
        let answer = steps.run(&[words.slice, &self.key, rank.as_bytes()])?;
        let mut reader = Reader::new(&answer);
        let items = reader.array();
        let mut integer = || if let Some(Item::Integer(integer)) = reader.next() { integer } else { -1 };
        (self.total, self.next) = (integer() as u64, u64::try_from(integer()).ok());
        self.here.clear();
        self.at = 0;
        for _ in 0..items.saturating_sub(2) / if words.has_scores { 2 } else { 1 } {
            let member = reader.text();
            let score = if words.has_scores { reader.text().and_then(double::parse) } else { Some(1.0) };
            let (Some(member), Some(score)) = (member, score) else { break };
            self.here.push(member, score);
        }
        Ok(())
    }

    /// The next member is that of this number.
    fn step_to(&mut self, at: usize, seed: u64) {
        self.at = at;
        self.place = self.head().map_or(u64::MAX, |(member, _)| order::place_of(member, seed));
    }

    /// The next member, if it is here, and its score.
    fn head(&self) -> Option<(&[u8], f64)> {
        (self.at < self.here.len()).then(|| self.here.get(self.at))
    }

    /// Takes what is here.
    fn source(&mut self) -> Option<Source<'static>> {
        let members = (0..self.here.len()).map(|at| self.here.get(at)).map(|(text, score)| (text.to_vec(), score));
        let source = Source::of_members(members.collect());
        source.map(|source| Source { weight: self.weight, ..source })
    }
}

enum Phase {
    /// The first slice of this operand comes next.
    Begins(usize),
    Union,
    /// The first operand's slice is looked for in the operand of this number. These are left of it.
    Filter(usize, Bag),
    /// All is found. So many are shown.
    Shows(usize),
    /// It is stored.
    Stores(Box<Stock>, Kind),
    Done,
}

/// A combination under way.
pub struct LongCombination {
    combination: Combination,
    words: Words,
    operands: Vec<Operand>,
    /// The key that is to have what results, and what that is called.
    target: Vec<u8>,
    event: &'static str,
    /// Of the hashes that members stand by.
    seed: u64,
    shows: Shows,
    is_resp3: bool,
    phase: Phase,
    /// The members that result, and their scores.
    pub found: Bag,
    runs: Runs,
    /// Whether the first key has them by now.
    pub is_stored: bool,
    /// What is answered.
    pub out: Replies,
}

impl LongCombination {
    /// Of a command. `operands`: keys and weights.
    pub fn new(
        call: &Call<'_>,
        combination: Combination,
        words: Words,
        operands: impl Iterator<Item = (Vec<u8>, f64)>,
        shows: Shows,
    ) -> LongCombination {
        let target = if let Shows::Stored(_) = shows { call.args[1].to_vec() } else { Vec::new() };
        let begun =
            |(key, weight)| Operand { key, weight, total: 0, here: Bag::default(), at: 0, place: 0, next: Some(0) };
        LongCombination {
            combination,
            words,
            operands: operands.map(begun).collect(),
            target,
            event: call.spec.name,
            seed: 0,
            shows,
            is_resp3: call.is_resp3,
            phase: Phase::Begins(0),
            found: Bag::default(),
            runs: Runs::default(),
            is_stored: false,
            out: Replies::default(),
        }
    }

    /// Gets first slices, from that of this operand on. Behind the last one it is known how the combination goes.
    fn begin(&mut self, steps: &mut dyn Steps, mut at: usize, items: u64) -> Result<(), Stop> {
        self.seed = steps.shard().hash_seed();
        let mut here = 0;
        while at < self.operands.len() && here < items {
            self.operands[at].advance(self.words, steps)?;
            here += self.operands[at].here.len() as u64;
            at += 1;
            self.phase = Phase::Begins(at);
        }
        if at < self.operands.len() {
            return Ok(());
        }
        if self.operands.iter().all(|operand| operand.next.is_none()) {
            let sources = self.operands.iter_mut().map(Operand::source).collect();
            for (member, score) in self.combination.of(sources)? {
                self.found.push(&member, score);
            }
            self.end_walk();
            return Ok(());
        }
        if self.combination.operation != Operation::Difference {
            // As in a combination on the spot.
            self.operands.sort_by_key(|operand| operand.total);
        }
        let is_nothing = match self.combination.operation {
            Operation::Union => false,
            // The least of them; the first one.
            Operation::Intersection | Operation::Difference => self.operands[0].total == 0,
        };
        match self.combination.operation {
            _ if is_nothing => self.end_walk(),
            Operation::Union => {
                // Those of one that is packed are in no order.
                for operand in &mut self.operands {
                    if operand.next.is_none() {
                        sort_by_place(&mut operand.here, self.seed);
                    }
                    operand.step_to(0, self.seed);
                }
                self.phase = Phase::Union;
            }
            Operation::Intersection | Operation::Difference => self.filter(),
        }
        Ok(())
    }

    /// All members are found.
    fn end_walk(&mut self) {
        self.end_run();
        self.phase = if self.shows == Shows::Nothing { Phase::Done } else { Phase::Shows(0) };
    }

    /// What was found in this piece is in order by itself.
    fn end_run(&mut self) {
        if let Shows::Members { .. } = self.shows {
            let found = &self.found;
            self.runs.push(found.len(), |one, other| by_score(found, one, other));
        }
    }

    /// A piece of a union.
    fn unite(&mut self, steps: &mut dyn Steps, items: u64) -> Result<(), Stop> {
        for _ in 0..items {
            for operand in &mut self.operands {
                if operand.at == operand.here.len() && operand.next.is_some() {
                    operand.advance(self.words, steps)?;
                    operand.step_to(0, self.seed);
                }
            }
            let heads = self.operands.iter().filter_map(|operand| Some((operand.place, operand.head()?.0)));
            let Some((place, least)) = heads.min() else {
                self.end_walk();
                return Ok(());
            };
            let mut sum: Option<f64> = None;
            for operand in &self.operands {
                if operand.place == place
                    && let Some((member, score)) = operand.head()
                    && member == least
                {
                    let score = number_or_zero(operand.weight * score);
                    sum = Some(sum.map_or(score, |sum| self.combination.aggregate.join(sum, score)));
                }
            }
            self.found.push(least, sum.expect("it is somebody's"));
            let least = self.found.text(self.found.len() - 1);
            for operand in &mut self.operands {
                if operand.place == place && operand.head().is_some_and(|(member, _)| member == least) {
                    operand.step_to(operand.at + 1, self.seed);
                }
            }
        }
        self.end_run();
        Ok(())
    }

    /// The slice of the first operand is looked for in the others.
    fn filter(&mut self) {
        let first = &mut self.operands[0];
        let weight = if self.combination.operation == Operation::Difference { 1.0 } else { first.weight };
        let mut left = Bag::default();
        while let Some((member, score)) = first.head() {
            left.push(member, number_or_zero(weight * score));
            first.at += 1;
        }
        self.phase = Phase::Filter(1, left);
    }

    /// A piece of an intersection or a difference.
    fn look_among(&mut self, steps: &mut dyn Steps, other: usize) -> Result<(), Stop> {
        let Phase::Filter(_, left) = &self.phase else { unreachable!("the caller has seen it") };
        let Some(operand) = self.operands.get(other).filter(|_| !left.is_empty()) else {
            return self.end_slice(steps);
        };
        let mut words: Vec<&[u8]> = vec![self.words.among, &operand.key];
        words.extend(left.texts());
        let answer = steps.run(&words)?;
        let mut reader = Reader::new(&answer);
        reader.array();
        let mut kept = Bag::default();
        for (at, item) in reader.take(left.len()).enumerate() {
            let there = match item {
                Item::Integer(is_there) => (is_there == 1).then_some(1.0),
                Item::Text(score) => double::parse(score),
                _ => None,
            };
            let (member, score) = left.get(at);
            match (self.combination.operation, there) {
                (Operation::Difference, None) => kept.push(member, score),
                (Operation::Difference, Some(_)) | (_, None) => {}
                (_, Some(there)) => {
                    kept.push(member, self.combination.aggregate.join(score, operand.weight * there));
                }
            }
        }
        self.phase = Phase::Filter(other + 1, kept);
        Ok(())
    }

    /// What is left of the slice results.
    fn end_slice(&mut self, steps: &mut dyn Steps) -> Result<(), Stop> {
        let Phase::Filter(_, left) = &self.phase else { unreachable!("the caller has seen it") };
        let room = self.combination.limit.saturating_sub(self.found.len() as u64);
        let is_last = self.operands[0].next.is_none() || left.len() as u64 >= room;
        if !is_last {
            self.operands[0].advance(self.words, steps)?;
        }
        for at in 0..left.len().min(usize::try_from(room).unwrap_or(usize::MAX)) {
            let (member, score) = left.get(at);
            self.found.push(member, score);
        }
        if is_last {
            self.end_walk();
            return Ok(());
        }
        self.end_run();
        self.filter();
        Ok(())
    }

    /// A piece of the reply.
    fn show(&mut self, shown: usize, items: u64) {
        let (found, runs) = (&self.found, &mut self.runs);
        let mut part = Replies::default();
        let mut reply = Reply::new(&mut part, self.is_resp3);
        if shown == 0 {
            match self.shows {
                Shows::Members { has_scores } => begin_members(&mut reply, found.len(), has_scores),
                Shows::Set | Shows::Nothing | Shows::Stored(_) => reply.set(found.len()),
            }
        }
        let end = found.len().min(shown.saturating_add(items as usize));
        for at in shown..end {
            match self.shows {
                Shows::Members { has_scores } => {
                    let (member, score) = found.get(runs.next(|one, other| by_score(found, one, other)));
                    put_member(&mut reply, member, score, has_scores);
                }
                Shows::Set | Shows::Nothing | Shows::Stored(_) => reply.bulk(found.text(at)),
            }
        }
        self.out.append_apart(part);
        self.phase = Phase::Shows(end);
        if end == found.len() {
            self.out.close();
            self.phase = Phase::Done;
        }
    }
}

impl LongCombination {
    /// What is large is stored piece by piece, where that can be; the rest by who has asked for it.
    fn begin_store(&mut self, kind: Kind, steps: &mut dyn Steps, items: u64) {
        let is_piece_by_piece = steps.rests() && is_large(&self.found, items);
        self.phase = if is_piece_by_piece { Phase::Stores(Box::default(), kind) } else { Phase::Done };
    }
}

impl Long for LongCombination {
    fn piece(&mut self, steps: &mut dyn Steps, items: u64) -> Result<bool, Stop> {
        match self.phase {
            Phase::Begins(at) => self.begin(steps, at, items)?,
            Phase::Union => self.unite(steps, items)?,
            Phase::Filter(other, _) => self.look_among(steps, other)?,
            Phase::Shows(shown) => match self.shows {
                Shows::Stored(kind) => self.begin_store(kind, steps, items),
                _ => self.show(shown, items),
            },
            Phase::Stores(ref mut stock, kind) => {
                let target = Target { key: &self.target, kind, event: self.event };
                if stock.go_on(steps, &target, &self.found, items)? {
                    (self.is_stored, self.phase) = (true, Phase::Done);
                }
            }
            Phase::Done => {}
        }
        Ok(matches!(self.phase, Phase::Done))
    }
}

fn by_score(found: &Bag, one: usize, other: usize) -> Ordering {
    crate::collection::zset::compare(found.get(one), found.get(other))
}

/// Members as a walk over a set that is spread comes by them.
fn sort_by_place(bag: &mut Bag, seed: u64) {
    let mut members: Scored =
        (0..bag.len()).map(|at| bag.get(at)).map(|(text, score)| (text.to_vec(), score)).collect();
    members.sort_by_cached_key(|(member, _)| (order::place_of(member, seed), member.clone()));
    bag.clear();
    members.iter().for_each(|(member, score)| bag.push(member, *score));
}

/// A step shows a slice of a set: how many members it has, the rank of the next slice or -1, then members, and their scores if
/// it has some.
pub fn show_slice(
    shard: &Shard,
    source: Option<&Source<'_>>,
    has_scores: bool,
    rank: u64,
    reply: &mut Reply<'_>,
) -> Result<(), Stop> {
    let (mut bag, mut bytes) = (Bag::default(), 0);
    let items = shard.slices.items.get() as usize;
    let total = source.map_or(0, |source| source.len);
    if let Some(source) = source {
        source.visit_from(rank, |member, score| {
            bag.push(member, score);
            bytes += member.len();
            // One that is packed is short, and has its members as they came.
            let is_full = !source.is_packed() && (bag.len() >= items || bytes >= SLICE_BYTES);
            Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    let next = rank + bag.len() as u64;
    reply.array(2 + bag.len() * if has_scores { 2 } else { 1 });
    reply.integer(total as i64);
    reply.integer(if next < total && !bag.is_empty() { next as i64 } else { -1 });
    for (member, score) in (0..bag.len()).map(|at| bag.get(at)) {
        reply.bulk(member);
        if has_scores {
            reply.double(score);
        }
    }
    Ok(())
}
