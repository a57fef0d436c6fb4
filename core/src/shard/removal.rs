//! Removal of many elements of a collection that is spread, at once or in slices.
//!
//! What is less is written: those that go are removed, or those that stay get a number of their own, which the row names in their place; then
//! the old ones are removed in the background. Where both are many, the new collection is made in slices ([`super::begun`]): until the row names
//! it nobody sees it, and the old one is as it was. So readers and crashes find all of the change or nothing.

use super::elements::{Change, Edit, Element, RowEdit};
use super::{Kind, Shard, Ttl};
use crate::collection::score::ScoreBytes;
use crate::collection::zset::{by_score, member_of};
use crate::collection::{Spread, order};
use crate::command::Call;
use crate::error::Stop;
use crate::limits::{KEPT_PER_GONE_MAX, SLICE_BYTES};
use cairn_storage::units::CollectionId;
use std::ops::{ControlFlow, Range};

/// Elements that go, by their ranks: those of a sorted set in the order of its scores.
#[derive(Debug)]
pub enum Gone {
    Within(Range<u64>),
    Outside(Range<u64>),
    /// These, which ascend.
    These(Vec<u64>),
}

impl Gone {
    /// The next ranks of so many, from this one on, that stay; or that go.
    fn next(&self, rank: u64, len: u64, goes: bool) -> Option<Range<u64>> {
        let (range, is_range) = match self {
            Gone::Within(range) => (range, goes),
            Gone::Outside(range) => (range, !goes),
            Gone::These(ranks) => return next_of(ranks, rank, len, goes),
        };
        let found = match is_range {
            true => rank.max(range.start)..range.end,
            false if rank < range.start => rank..range.start,
            false => rank.max(range.end)..len,
        };
        (!found.is_empty()).then_some(found)
    }

    /// How many go, of so many.
    fn count(&self, len: u64) -> u64 {
        match self {
            Gone::Within(range) => range.end - range.start,
            Gone::Outside(range) => len - (range.end - range.start),
            Gone::These(ranks) => ranks.len() as u64,
        }
    }
}

fn next_of(ranks: &[u64], rank: u64, len: u64, goes: bool) -> Option<Range<u64>> {
    let mut at = ranks.partition_point(|gone| *gone < rank);
    let start = if goes { *ranks.get(at)? } else { rank };
    let mut end = start;
    while ranks.get(at) == Some(&end) {
        (at, end) = (at + 1, end + 1);
    }
    let found = if goes { start..end } else { end..ranks.get(at).copied().unwrap_or(len) };
    (!found.is_empty()).then_some(found)
}

/// A removal under way.
#[derive(Debug)]
pub struct Removal {
    gone: Gone,
    /// Elements before.
    len: u64,
    /// The new collection, and up to which rank what stays is in it.
    number: Option<CollectionId>,
    rank: u64,
}

impl Removal {
    /// Of a collection of so many elements, some of which stay.
    pub fn new(gone: Gone, len: u64) -> Removal {
        Removal { gone, len, number: None, rank: 0 }
    }
}

/// A collection that is changed.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub key: &'a [u8],
    pub kind: Kind,
    pub spread: Spread<'a>,
    /// The tag that it has in the end.
    pub tag: u8,
}

impl Shard {
    /// Removes elements; what is long is gone on with when the command runs again.
    pub fn remove_ranked(&mut self, call: &Call<'_>, place: &Place<'_>, mut removal: Box<Removal>) -> Result<(), Stop> {
        let change = self.without(call, place, &mut removal);
        let changed = change.and_then(|change| self.edit_several(call, &[change]));
        changed.map_err(|stop| self.rest(removal, stop))
    }

    /// The change that removes them. Who stops with [`Stop::Long`], or after it, keeps the removal and goes on with it.
    pub fn without<'a>(
        &mut self,
        call: &Call<'_>,
        place: &Place<'a>,
        removal: &mut Removal,
    ) -> Result<Change<'a>, Stop> {
        let Place { key, kind, spread, tag } = *place;
        let gone = removal.gone.count(removal.len);
        let kept = removal.len - gone;
        if removal.number.is_none() {
            let is_small = gone.min(kept) <= self.puts_now() || goes_at_once(gone, kept);
            if is_small || self.is_short(u64::MAX)? {
                return self.without_at_once(call, place, removal, kept < gone);
            }
        }
        let number = match removal.number {
            Some(number) => number,
            None => self.begin_collection(call, key)?,
        };
        removal.number = Some(number);
        if !self.keep_some(call, place, number, removal)? {
            return Err(Stop::Long);
        }
        let row = RowEdit::Names(number, Spread { number, tag, rest: spread.rest }.encode(), Ttl::Keep);
        Ok(Change { key, kind, edits: Vec::new(), row })
    }

    fn without_at_once<'a>(
        &mut self,
        call: &Call<'_>,
        place: &Place<'a>,
        removal: &Removal,
        is_anew: bool,
    ) -> Result<Change<'a>, Stop> {
        let Place { key, kind, spread, tag } = *place;
        let number = if is_anew { self.next_collection()? } else { spread.number };
        let (seed, mut edits, mut rank) = (self.hash_seed(), Vec::new(), 0);
        while let Some(range) = removal.gone.next(rank, removal.len, !is_anew) {
            let mut left = range.end - range.start;
            self.elements_from(call, walked(kind, spread.number), range.start, |element| {
                for mut edit in rows_of(kind, number, &element, seed) {
                    if !is_anew {
                        (edit.value, edit.expire_ms) = (None, 0);
                    }
                    edits.push(edit);
                }
                left -= 1;
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            rank = range.end;
        }
        let value = || Spread { number, tag, rest: spread.rest }.encode();
        let row = match is_anew {
            true => RowEdit::Names(number, value(), Ttl::Keep),
            false if tag == spread.tag => RowEdit::Stays,
            false => RowEdit::Becomes(value()),
        };
        Ok(Change { key, kind, edits, row })
    }

    /// Puts a slice of what stays. Whether all of it is there.
    fn keep_some(
        &mut self,
        call: &Call<'_>,
        place: &Place<'_>,
        number: CollectionId,
        removal: &mut Removal,
    ) -> Result<bool, Stop> {
        let (kind, seed) = (place.kind, self.hash_seed());
        let (mut left, mut bytes) = (self.puts_now(), 0);
        while let Some(range) = removal.gone.next(removal.rank, removal.len, false) {
            if left == 0 || bytes >= SLICE_BYTES {
                return Ok(false);
            }
            let most = left.min(range.end - range.start);
            let (mut seen, mut edits) = (0, Vec::new());
            self.elements_from(call, walked(kind, place.spread.number), range.start, |element| {
                edits.extend(rows_of(kind, number, &element, seed));
                bytes += element.rest.len() + element.value.len();
                seen += 1;
                if seen < most && bytes < SLICE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            for Edit { number, order, value, expire_ms } in &edits {
                let value = value.as_deref().unwrap_or_default();
                self.put_begun(call, kind, *number, order, (value, *expire_ms))?;
            }
            (removal.rank, left) = (range.start + seen, left - seen);
        }
        Ok(true)
    }
}

/// Whether so much more stays than goes that it is not put anew.
pub fn goes_at_once(gone: u64, kept: u64) -> bool {
    kept > gone.saturating_mul(KEPT_PER_GONE_MAX)
}

/// The number whose elements have the ranks.
fn walked(kind: Kind, number: CollectionId) -> CollectionId {
    if kind == Kind::ZSet { by_score(number) } else { number }
}

/// The rows that an element, found by its rank, has under a number.
fn rows_of(kind: Kind, number: CollectionId, element: &Element<'_>, seed: u64) -> impl Iterator<Item = Edit> {
    let value = Some(element.value.to_vec());
    let own = Edit { number: walked(kind, number), order: element.order(), value, expire_ms: element.expire_ms };
    let by_member = (kind == Kind::ZSet).then(|| {
        let (member, score) = member_of(element);
        Edit::put(number, order::of_member(member, seed), ScoreBytes::of(score).as_bytes().to_vec())
    });
    std::iter::once(own).chain(by_member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_go_at_once_where_very_many_stay() {
        let max = 100 * KEPT_PER_GONE_MAX;
        assert_eq!([max - 1, max, max + 1].map(|kept| goes_at_once(100, kept)), [false, false, true]);
    }

    #[test]
    fn what_stays_and_what_goes_are_all_there_is() {
        let cases = [
            (Gone::Within(0..4), "gggg......"),
            (Gone::Within(3..9), "...gggggg."),
            (Gone::Within(9..10), ".........g"),
            (Gone::Outside(0..4), "....gggggg"),
            (Gone::Outside(3..9), "ggg......g"),
            (Gone::Outside(9..10), "ggggggggg."),
            (Gone::These(vec![0, 1, 5, 9]), "gg...g...g"),
            (Gone::These(vec![2, 4, 6, 7, 8]), "..g.g.ggg."),
            (Gone::These(vec![]), ".........."),
        ];
        for (gone, expect) in cases {
            for (goes, sign) in [(false, b'.'), (true, b'g')] {
                for from in 0..=10 {
                    let (mut rank, mut found) = (from, Vec::new());
                    while let Some(range) = gone.next(rank, 10, goes) {
                        rank = range.end;
                        found.extend(range);
                    }
                    let expect = (from..10).filter(|rank| expect.as_bytes()[*rank as usize] == sign);
                    assert!(found.into_iter().eq(expect), "{gone:?} {goes} from {from}");
                }
            }
            assert_eq!(gone.count(10), expect.matches('g').count() as u64);
        }
    }
}
