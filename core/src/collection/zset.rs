//! Sorted sets: members with scores, in the order of (score, member). Read, and changed by a command that may be about several members.
//!
//! Packed, the entries are each member and its score, in that order. Spread, a member is found twice:
//!
//! | number | order | value |
//! | --- | --- | --- |
//! | the row's | that of the member | the score |
//! | the next one | that of (score, member) | none |
//!
//! Of the bytes of a score see [`score`]. What is counted and what has ranks is in the second order.

use super::map::Map;
use super::packed::{Packed, Packing};
use super::score::{self, ScoreBytes};
use super::{Form, Spread, order};
use crate::command::Call;
use crate::error::Stop;
use crate::limits::PACKED_BYTES_MAX;
use crate::shard::elements::{Change, Edit, Element, RowEdit};
use crate::shard::{Kind, Shard, Ttl};
use cairn_storage::engine::elements::ORDER_BYTES_MIN;
use cairn_storage::units::CollectionId;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter;
use std::ops::{ControlFlow, Range};

/// Bytes of a score in an order.
const SCORE_BYTES: usize = 8;

/// A place between members, as the order of scores or that of members has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut<'b> {
    Start,
    BeforeScore(f64),
    AfterScore(f64),
    /// Among members that all have one score.
    BeforeMember(&'b [u8]),
    AfterMember(&'b [u8]),
    End,
}

/// A sorted set that is read.
#[derive(Clone, Copy, Debug)]
pub struct ZSet<'a> {
    form: Form<'a>,
}

impl<'a> ZSet<'a> {
    pub fn new(form: Form<'a>) -> ZSet<'a> {
        ZSet { form }
    }

    /// As a map from members to the bytes of their scores, in no order that means anything.
    pub fn by_member(&self) -> Map<'a> {
        Map::new(self.form, Kind::Hash)
    }

    pub fn score(&self, shard: &'a Shard, call: &Call<'_>, member: &[u8]) -> Result<Option<f64>, Stop> {
        Ok(self.by_member().get(shard, call, member)?.map(score::of_bytes))
    }

    /// Members.
    pub fn len(&self, shard: &Shard, call: &Call<'_>) -> Result<u64, Stop> {
        match self.form {
            Form::Packed(packed) => Ok((packed.count() / 2) as u64),
            Form::Spread(spread) => shard.element_count(call, by_score(spread.number)),
        }
    }

    /// How many members are before this one, and its score.
    pub fn rank(&self, shard: &'a Shard, call: &Call<'_>, member: &[u8]) -> Result<Option<(u64, f64)>, Stop> {
        match self.form {
            Form::Packed(packed) => {
                let mut ranked = (0..).zip(entries(packed));
                Ok(ranked.find(|(_, (found, _))| *found == member).map(|(rank, (_, score))| (rank, score)))
            }
            Form::Spread(spread) => {
                let Some(score) = self.score(shard, call, member)? else { return Ok(None) };
                let order = order::of_score(score, member);
                let (rank, _) = shard.element_rank(call, by_score(spread.number), &order)?;
                Ok(Some((rank, score)))
            }
        }
    }

    /// The ranks between two places; nothing if they are the wrong way round.
    pub fn ranks(&self, shard: &Shard, call: &Call<'_>, from: Cut<'_>, to: Cut<'_>) -> Result<Range<u64>, Stop> {
        let start = self.count_before(shard, call, from, 0)?;
        let end = self.count_before(shard, call, to, start)?;
        Ok(start..end.max(start))
    }

    /// How many members are before a place. Where they do not have one score, places among members are searched from rank `start` on.
    fn count_before(&self, shard: &Shard, call: &Call<'_>, cut: Cut<'_>, start: u64) -> Result<u64, Stop> {
        match self.form {
            Form::Packed(packed) => {
                let is_before = |member: &[u8], score: f64| match cut {
                    Cut::Start => false,
                    Cut::BeforeScore(bound) => score < bound,
                    Cut::AfterScore(bound) => score <= bound,
                    Cut::BeforeMember(bound) => member < bound,
                    Cut::AfterMember(bound) => member <= bound,
                    Cut::End => true,
                };
                let rest = entries(packed).skip(start as usize);
                Ok(start + rest.take_while(|(member, score)| is_before(member, *score)).count() as u64)
            }
            Form::Spread(spread) => {
                let number = by_score(spread.number);
                let (order, is_after) = match cut {
                    Cut::Start => return Ok(0),
                    Cut::End => return self.len(shard, call),
                    Cut::BeforeScore(score) => (order::score_bytes(score).to_vec(), false),
                    // Nothing is between a score and the next one.
                    Cut::AfterScore(score) => {
                        let next = u64::from_be_bytes(order::score_bytes(score)) + 1;
                        (next.to_be_bytes().to_vec(), false)
                    }
                    Cut::BeforeMember(member) => (order::of_score(self.score_at(shard, call, start)?, member), false),
                    Cut::AfterMember(member) => (order::of_score(self.score_at(shard, call, start)?, member), true),
                };
                let (rank, is_there) = shard.element_rank(call, number, &order)?;
                Ok(rank + u64::from(is_after && is_there))
            }
        }
    }

    /// The score of the member at a rank, or of the last one.
    fn score_at(&self, shard: &Shard, call: &Call<'_>, rank: u64) -> Result<f64, Stop> {
        let mut found = 0.0;
        let rank = rank.min(self.len(shard, call)?.saturating_sub(1));
        self.visit(shard, call, rank, |_, score| {
            found = score;
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Visits members and scores from a rank on.
    pub fn visit(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        rank: u64,
        mut visit: impl FnMut(&[u8], f64) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        match self.form {
            Form::Packed(packed) => {
                _ = entries(packed).skip(rank as usize).try_for_each(|(member, score)| visit(member, score));
                Ok(())
            }
            Form::Spread(spread) => shard.elements_from(call, by_score(spread.number), rank, |element| {
                let (member, score) = member_of(&element);
                visit(member, score)
            }),
        }
    }

    /// The same in the other direction, from the member before `rank` on.
    pub fn visit_back(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        rank: u64,
        mut visit: impl FnMut(&[u8], f64) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        match self.form {
            Form::Packed(packed) => {
                let all: Vec<(&[u8], f64)> = entries(packed).take(rank as usize).collect();
                _ = all.into_iter().rev().try_for_each(|(member, score)| visit(member, score));
                Ok(())
            }
            Form::Spread(spread) => shard.elements_before(call, by_score(spread.number), rank, |element| {
                let (member, score) = member_of(&element);
                visit(member, score)
            }),
        }
    }

    /// Visits the members at these ranks, in their order or backwards.
    pub fn visit_ranks(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        ranks: Range<u64>,
        is_reverse: bool,
        mut visit: impl FnMut(&[u8], f64),
    ) -> Result<(), Stop> {
        let mut left = ranks.end - ranks.start;
        if left == 0 {
            return Ok(());
        }
        let visit = |member: &[u8], score| {
            visit(member, score);
            left -= 1;
            if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        match is_reverse {
            false => self.visit(shard, call, ranks.start, visit),
            true => self.visit_back(shard, call, ranks.end, visit),
        }
    }
}

/// The order of (score, member).
pub fn compare(one: (&[u8], f64), other: (&[u8], f64)) -> Ordering {
    let by_score = one.1.partial_cmp(&other.1).expect("not a number is no score");
    by_score.then_with(|| one.0.cmp(other.0))
}

/// The number of the second order.
pub fn by_score(number: CollectionId) -> CollectionId {
    CollectionId(number.0 + 1)
}

/// Members and scores of a packed one.
fn entries(packed: Packed<'_>) -> impl Iterator<Item = (&[u8], f64)> {
    let mut entries = packed.iter();
    iter::from_fn(move || Some((entries.next()?, score::of_bytes(entries.next()?))))
}

/// A member and its score, of an element of the second order.
pub fn member_of<'a>(element: &Element<'a>) -> (&'a [u8], f64) {
    let (low, member) = element.rest.split_at(SCORE_BYTES - ORDER_BYTES_MIN);
    let mut bytes = [0; SCORE_BYTES];
    bytes[..ORDER_BYTES_MIN].copy_from_slice(&element.head.to_be_bytes()[SCORE_BYTES - ORDER_BYTES_MIN..]);
    bytes[ORDER_BYTES_MIN..].copy_from_slice(low);
    (member, order::score_of(bytes))
}

const _: () = assert!(size_of::<u64>() == SCORE_BYTES, "a head's last bytes are an order's first");

/// A sorted set that a command changes: nothing is written before [`ZSetEdit::finish`].
pub struct ZSetEdit {
    state: State,
}

enum State {
    Packed { packing: Packing, is_changed: bool },
    Spread(Changes),
}

/// What has changed of a sorted set that is spread, or will be.
#[derive(Default)]
struct Changes {
    /// `None`: it has none yet, and all that it has is here.
    number: Option<CollectionId>,
    tag: u8,
    members: BTreeMap<Vec<u8>, Scores>,
    /// How many more members there are than before.
    added: i64,
}

/// The score that a member has in the tree, and the one that it will have.
#[derive(Clone, Copy, Debug)]
struct Scores {
    old: Option<f64>,
    new: Option<f64>,
}

impl Changes {
    fn scores(&self, shard: &Shard, call: &Call<'_>, member: &[u8]) -> Result<Scores, Stop> {
        match (self.members.get(member), self.number) {
            (Some(scores), _) => Ok(*scores),
            (None, None) => Ok(Scores { old: None, new: None }),
            (None, Some(number)) => {
                let found = shard.element(call, number, &order::of_member(member, shard.hash_seed()))?;
                let score = found.map(|element| score::of_bytes(element.value));
                Ok(Scores { old: score, new: score })
            }
        }
    }

    fn set(&mut self, member: &[u8], scores: Scores, new: Option<f64>) {
        self.added += i64::from(new.is_some()) - i64::from(scores.new.is_some());
        self.members.insert(member.to_vec(), Scores { new, ..scores });
    }
}

impl ZSetEdit {
    /// Of what is at the key, or of nothing.
    pub fn begin(shard: &Shard, call: &Call<'_>, key: &[u8]) -> Result<ZSetEdit, Stop> {
        let state = match shard.peek_collection(call, key, Kind::ZSet)? {
            None => State::Packed { packing: Packing::new(0), is_changed: false },
            Some(Form::Packed(packed)) => State::Packed { packing: Packing::of(packed), is_changed: false },
            Some(Form::Spread(Spread { number, tag, .. })) => {
                State::Spread(Changes { number: Some(number), tag, ..Changes::default() })
            }
        };
        Ok(ZSetEdit { state })
    }

    /// Of these members, which differ: what is at the key will be replaced.
    pub fn of(mut members: Vec<(Vec<u8>, f64)>) -> ZSetEdit {
        members.iter_mut().for_each(|(_, score)| *score += 0.0);
        members.sort_unstable_by(|one, other| compare((&one.0, one.1), (&other.0, other.1)));
        let mut packing = Packing::new(0);
        for (member, score) in &members {
            packing.push(member);
            packing.push(ScoreBytes::of(*score).as_bytes());
            if packing.len() > PACKED_BYTES_MAX {
                let added = members.len() as i64;
                let members =
                    members.into_iter().map(|(member, score)| (member, Scores { old: None, new: Some(score) }));
                return ZSetEdit {
                    state: State::Spread(Changes { added, members: members.collect(), ..Changes::default() }),
                };
            }
        }
        ZSetEdit { state: State::Packed { packing, is_changed: true } }
    }

    /// Gives a member the score that `decide` makes of the one it has, or leaves it as it is. Both, as they were and as they are.
    pub fn change(
        &mut self,
        shard: &Shard,
        call: &Call<'_>,
        member: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Result<(Option<f64>, Option<f64>), Stop> {
        match &mut self.state {
            State::Packed { packing, is_changed } => {
                let found = find(packing.packed(), member);
                let old = found.as_ref().map(|(_, score)| *score);
                let Some(new) = decide(old).map(|new| new + 0.0).filter(|new| old != Some(*new)) else {
                    return Ok((old, old));
                };
                if let Some((range, _)) = found {
                    packing.replace(range, &[]);
                }
                let at = place(packing.packed(), (member, new));
                packing.replace(at..at, &[member, ScoreBytes::of(new).as_bytes()]);
                *is_changed = true;
                self.spread_if_large();
                Ok((old, Some(new)))
            }
            State::Spread(changes) => {
                let scores = changes.scores(shard, call, member)?;
                let old = scores.new;
                let Some(new) = decide(old).map(|new| new + 0.0).filter(|new| old != Some(*new)) else {
                    return Ok((old, old));
                };
                changes.set(member, scores, Some(new));
                Ok((old, Some(new)))
            }
        }
    }

    /// Removes a member. Whether it was there.
    pub fn remove(&mut self, shard: &Shard, call: &Call<'_>, member: &[u8]) -> Result<bool, Stop> {
        match &mut self.state {
            State::Packed { packing, is_changed } => {
                let Some((range, _)) = find(packing.packed(), member) else { return Ok(false) };
                packing.replace(range, &[]);
                *is_changed = true;
                Ok(true)
            }
            State::Spread(changes) => {
                let scores = changes.scores(shard, call, member)?;
                if scores.new.is_some() {
                    changes.set(member, scores, None);
                }
                Ok(scores.new.is_some())
            }
        }
    }

    /// What is too large for a row will be spread.
    fn spread_if_large(&mut self) {
        let State::Packed { packing, .. } = &self.state else { return };
        if packing.len() <= PACKED_BYTES_MAX {
            return;
        }
        let packed = packing.packed();
        let mut changes = Changes { tag: packed.tag, ..Changes::default() };
        for (member, score) in entries(packed) {
            changes.set(member, Scores { old: None, new: None }, Some(score));
        }
        self.state = State::Spread(changes);
    }

    /// Writes what has changed, as the row at `key`. Its time to live is what `ttl` says.
    pub fn finish(self, shard: &mut Shard, call: &Call<'_>, key: &[u8], ttl: Ttl) -> Result<(), Stop> {
        let change = |row| Change { key, kind: Kind::ZSet, edits: Vec::new(), row };
        let change = match self.state {
            State::Packed { is_changed: false, .. } => return Ok(()),
            State::Packed { packing, .. } if packing.is_empty() => change(RowEdit::Goes),
            State::Packed { mut packing, .. } => {
                let packed = packing.packed();
                let members = entries(packed).map(|(member, _)| member);
                let tag = shard.thresholds.tag(Kind::ZSet, packed.tag, (packed.count() / 2) as u64, members);
                packing.set_tag(tag);
                change(RowEdit::Packed(packing.into_value(), ttl))
            }
            State::Spread(changes) => match changes.into_change(shard, call, key, ttl)? {
                Some(change) => change,
                None => return Ok(()),
            },
        };
        shard.edit_several(call, &[change])
    }
}

impl Changes {
    fn into_change<'a>(
        self,
        shard: &mut Shard,
        call: &Call<'_>,
        key: &'a [u8],
        ttl: Ttl,
    ) -> Result<Option<Change<'a>>, Stop> {
        let Changes { number, tag: old_tag, members, added } = self;
        let before = match number {
            Some(number) if added < 0 || !shard.thresholds.is_last(Kind::ZSet, old_tag) => {
                shard.element_count(call, number)?
            }
            _ => 0,
        };
        let count = (before as i64 + added) as u64;
        if added < 0 && count == 0 {
            return Ok(Some(Change { key, kind: Kind::ZSet, edits: Vec::new(), row: RowEdit::Goes }));
        }
        let new = members.iter().filter(|(_, scores)| scores.new.is_some()).map(|(member, _)| &member[..]);
        let tag = shard.thresholds.tag(Kind::ZSet, old_tag, count, new);
        let (id, is_new) = match number {
            Some(number) => (number, false),
            None => (shard.next_collection()?, true),
        };
        let seed = shard.hash_seed();
        let mut edits = Vec::with_capacity(2 * members.len());
        for (member, Scores { old, new }) in members {
            if old == new {
                continue;
            }
            let by_member = order::of_member(&member, seed);
            edits.extend(old.map(|old| Edit::remove(by_score(id), order::of_score(old, &member))));
            let Some(new) = new else {
                edits.push(Edit::remove(id, by_member));
                continue;
            };
            edits.push(Edit::put(id, by_member, ScoreBytes::of(new).as_bytes().to_vec()));
            edits.push(Edit::put(by_score(id), order::of_score(new, &member), Vec::new()));
        }
        let value = Spread { number: id, tag, rest: &[] }.encode();
        let row = match is_new {
            true => RowEdit::Names(id, value, ttl),
            false if tag != old_tag => RowEdit::Becomes(value),
            false => RowEdit::Stays,
        };
        let is_change = !edits.is_empty() || !matches!(row, RowEdit::Stays);
        Ok(is_change.then_some(Change { key, kind: Kind::ZSet, edits, row }))
    }
}

/// A packed member: where it and its score stand, and the score.
fn find(packed: Packed<'_>, member: &[u8]) -> Option<(Range<usize>, f64)> {
    let mut entries = packed.iter();
    loop {
        let start = entries.at();
        let found = entries.next()?;
        let score = entries.next()?;
        if found == member {
            return Some((start..entries.at(), score::of_bytes(score)));
        }
    }
}

/// Where a member with its score belongs.
fn place(packed: Packed<'_>, new: (&[u8], f64)) -> usize {
    let mut entries = packed.iter();
    loop {
        let at = entries.at();
        let (Some(member), Some(score)) = (entries.next(), entries.next()) else { return at };
        if compare(new, (member, score::of_bytes(score))).is_lt() {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What earlier versions wrote has 8 bytes a score, and may stand beside what is written today.
    #[test]
    fn members_of_all_versions_are_read() {
        let row = [
            &[0][..],
            &[1, b'a', 8, 0, 0, 0, 0, 0, 0, 0xf8, 0xbf],
            &[1, b'b', 0],
            &[1, b'c', 8, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
            &[1, b'd', 1, 2],
            &[1, b'e', 8, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x02, 0x40],
            &[1, b'f', 2, 0x10, 0x27],
        ]
        .concat();
        let packed = Packed::of(&row);
        let members = [(&b"a"[..], -1.5), (b"b", 0.0), (b"c", 1.0), (b"d", 2.0), (b"e", 2.3), (b"f", 10_000.0)];
        assert!(entries(packed).eq(members));
        assert!(find(packed, b"c").is_some_and(|(_, score)| score == 1.0));
        let mut packing = Packing::of(packed);
        for (member, score) in members {
            let (range, _) = find(packing.packed(), member).expect("it is there");
            packing.replace(range, &[]);
            let at = place(packing.packed(), (member, score));
            packing.replace(at..at, &[member, ScoreBytes::of(score).as_bytes()]);
        }
        assert!(entries(packing.packed()).eq(members));
        assert_eq!(packing.len(), row.len() - 7);
    }
}
