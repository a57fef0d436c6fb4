//! Elements of a spread list that are like one, looked for from an end on. Large lists are learned meanwhile ([`super::filter`]), so that the next one who
//! looks passes over what does not have it.

use super::filter::{Bounds, What};
use super::{End, List};
use crate::collection::{Form, Spread, order};
use crate::command::Call;
use crate::error::Stop;
use crate::limits::{FILTERED_SLICES_MIN, FILTERS_PART};
use crate::shard::Shard;
use crate::shard::elements::Element;
use cairn_storage::engine::elements::order_of;
use cairn_storage::units::CollectionId;
use std::ops::{ControlFlow, Range};

/// Looks for elements like one, from an end on, at those of these ranks, and takes off the range what it has looked at. It finds the ranks of those that
/// are alike, until that breaks. Whether it is over; if not, there is more to look at than may be done now.
pub fn seek(
    shard: &mut Shard,
    call: &Call<'_>,
    key: &[u8],
    (like, end): (&[u8], End),
    ranks: &mut Range<u64>,
    mut found: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<bool, Stop> {
    let list = List::peek(shard, call, key)?.expect("the caller has seen it");
    match list.form {
        Form::Packed(packed) => {
            let mut alike = packed.iter().zip(0..).filter(|(value, rank)| *value == like && ranks.contains(rank));
            _ = match end {
                End::Left => alike.try_for_each(|(_, rank)| found(rank)),
                End::Right => alike.collect::<Vec<_>>().into_iter().rev().try_for_each(|(_, rank)| found(rank)),
            };
            Ok(true)
        }
        Form::Spread(Spread { number, .. }) => {
            let len = shard.element_count(call, number)?;
            Seek { call, number, len, like, end }.run(shard, ranks, found)
        }
    }
}

/// What is looked for in a list that is spread.
pub struct Seek<'a> {
    pub call: &'a Call<'a>,
    pub number: CollectionId,
    /// Elements of the list.
    pub len: u64,
    pub like: &'a [u8],
    /// Where it begins.
    pub end: End,
}

/// Elements of which the same is known.
struct Piece {
    bounds: Bounds,
    ranks: Range<u64>,
}

type Labels = (Vec<u8>, Vec<u8>);

/// Elements that were looked at.
struct Walk {
    ranks: Range<u64>,
    /// Whether that was enough.
    is_over: bool,
    /// Those that are learned.
    hashes: Vec<u64>,
    /// The labels of the first and the last of them, in their order.
    labels: Option<Labels>,
}

impl Seek<'_> {
    /// As [`seek`].
    pub fn run(
        &self,
        shard: &mut Shard,
        ranks: &mut Range<u64>,
        mut found: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<bool, Stop> {
        let (room, mut left) = (shard.lists.room as u64, shard.items_now());
        let is_filtered = self.len / FILTERED_SLICES_MIN >= room && shard.looked_at().is_none();
        // Keeps F1 of the filters: what is done in a group may be undone.
        let learns = is_filtered && !shard.is_in_group();
        let hash = order::hash_of(self.like, shard.hash_seed());
        let mut place = if is_filtered { self.place(shard, ranks)? } else { None };
        while !ranks.is_empty() {
            let piece = if is_filtered { self.piece(shard, place.as_deref(), hash)? } else { self.whole() };
            let own = piece.ranks.start.clamp(ranks.start, ranks.end)..piece.ranks.end.clamp(ranks.start, ranks.end);
            self.pass(ranks, self.front(&own));
            if learns && piece.bounds.what == What::Worn {
                shard.lists.forget_stretch(self.number, &piece.bounds.low);
                continue;
            }
            let is_learned = learns && piece.bounds.what == What::Unknown;
            let most = if is_learned { left.min(room) } else { left };
            let (walk, walked) = self.walk(shard, self.part(own, most), is_learned, &mut found);
            self.pass(ranks, self.back(&walk.ranks));
            left = left.saturating_sub(walk.ranks.end - walk.ranks.start);
            let (low, high) = bounds_of(piece, &walk.ranks, walk.labels);
            if is_learned && let (Some(low), Some(high)) = (&low, &high) {
                let bytes_max = shard.engine().memory_bytes_max() / FILTERS_PART;
                shard.lists.learn(self.number, (low, high), &walk.hashes, bytes_max as usize);
            }
            walked?;
            if walk.is_over || left == 0 {
                return Ok(walk.is_over || ranks.is_empty());
            }
            place = if self.end == End::Left { high } else { low };
        }
        Ok(true)
    }

    /// Where it meets these ranks first.
    fn front(&self, ranks: &Range<u64>) -> u64 {
        if self.end == End::Left { ranks.start } else { ranks.end }
    }

    /// Where it leaves them.
    fn back(&self, ranks: &Range<u64>) -> u64 {
        if self.end == End::Left { ranks.end } else { ranks.start }
    }

    /// It has come there.
    fn pass(&self, ranks: &mut Range<u64>, rank: u64) {
        let front = if self.end == End::Left { &mut ranks.start } else { &mut ranks.end };
        *front = rank;
    }

    /// So many of these ranks that come first.
    fn part(&self, ranks: Range<u64>, most: u64) -> Range<u64> {
        match self.end {
            End::Left => ranks.start..ranks.end.min(ranks.start.saturating_add(most)),
            End::Right => ranks.start.max(ranks.end.saturating_sub(most))..ranks.end,
        }
    }

    /// The label where a look at these ranks begins: from there on, or before it. `None`: at the list's end.
    fn place(&self, shard: &Shard, ranks: &Range<u64>) -> Result<Option<Vec<u8>>, Stop> {
        // A stretch that was looked at on the way there ends at the same label.
        let rank = match self.end {
            End::Left => ranks.start.checked_sub(1),
            End::Right => Some(ranks.end).filter(|end| *end < self.len),
        };
        let mut label = None;
        if let Some(rank) = rank {
            shard.elements_from(self.call, self.number, rank, |element| {
                label = Some(if self.end == End::Left { behind(&element.order()) } else { element.order() });
                ControlFlow::Break(())
            })?;
        }
        Ok(label)
    }

    /// All of it, of which nothing is known.
    fn whole(&self) -> Piece {
        Piece { bounds: Bounds { low: Vec::new(), high: None, what: What::Unknown }, ranks: 0..self.len }
    }

    /// What is to be looked at next, from a place on.
    fn piece(&self, shard: &mut Shard, place: Option<&[u8]>, hash: u64) -> Result<Piece, Stop> {
        let bounds = match self.end {
            End::Left => shard.lists.next(self.number, place.unwrap_or_default(), hash),
            End::Right => shard.lists.previous(self.number, place, hash),
        };
        let rank = |label: &[u8]| Ok::<_, Stop>(shard.element_rank(self.call, self.number, label)?.0);
        let start = if bounds.low.is_empty() { 0 } else { rank(&bounds.low)? };
        let end = bounds.high.as_deref().map_or(Ok(self.len), rank)?;
        Ok(Piece { bounds, ranks: start..end })
    }

    /// Looks at elements. If it stops it has looked at some.
    fn walk(
        &self,
        shard: &Shard,
        ranks: Range<u64>,
        is_learned: bool,
        found: &mut impl FnMut(u64) -> ControlFlow<()>,
    ) -> (Walk, Result<(), Stop>) {
        let (count, seed) = (ranks.end - ranks.start, shard.hash_seed());
        let (mut seen, mut is_over, mut hashes) = (0, false, Vec::new());
        let (mut first, mut last) = (Vec::new(), (0, Vec::new()));
        let look = |element: Element<'_>| {
            if is_learned {
                if seen == 0 {
                    first = element.order();
                }
                last.0 = element.head;
                last.1.clear();
                last.1.extend_from_slice(element.rest);
                hashes.push(order::hash_of(element.value, seed));
            }
            let rank = if self.end == End::Left { ranks.start + seen } else { ranks.end - 1 - seen };
            seen += 1;
            if element.value == self.like && found(rank).is_break() {
                is_over = true;
            }
            if is_over || seen == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let walked = match self.end {
            _ if count == 0 => Ok(()),
            End::Left => shard.elements_from(self.call, self.number, ranks.start, look),
            End::Right => shard.elements_before(self.call, self.number, ranks.end, look),
        };
        let last = order_of(last.0, &last.1);
        let (ranks, labels) = match self.end {
            End::Left => (ranks.start..ranks.start + seen, (first, last)),
            End::Right => (ranks.end - seen..ranks.end, (last, first)),
        };
        (Walk { ranks, is_over, labels: (!hashes.is_empty()).then_some(labels), hashes }, walked)
    }
}

/// The labels between which the elements that were looked at are all there are, as far as that is known. Empty: there is nothing before them.
fn bounds_of(piece: Piece, walked: &Range<u64>, labels: Option<Labels>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let (first, last) = labels.unzip();
    let low = match piece.bounds.low {
        low if !low.is_empty() && walked.start == piece.ranks.start => Some(low),
        _ => first,
    };
    let high = match piece.bounds.high {
        Some(high) if walked.end == piece.ranks.end => Some(high),
        _ => last.as_deref().map(behind),
    };
    (low, high)
}

/// What comes next behind a label: there is no label between the two.
fn behind(label: &[u8]) -> Vec<u8> {
    [label, &[0]].concat()
}
