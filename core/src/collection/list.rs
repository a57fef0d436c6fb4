//! Lists: collections whose elements are found by where they stand. Read, and changed at their ends or within.
//!
//! Packed, the entries stand in order. Spread, an element's order is its label ([`label`]): the ends are found as the first and the last element,
//! any other by its rank. Where a label would be longer than [`LABEL_BYTES_MAX`] a window of neighbours gets new ones in the same change; it is
//! as small as short labels allow, so an insertion costs a few changed elements on average, however unluckily its place is chosen.

pub use turn::{peek_end, rotate};

use super::packed::{Packed, Packing, push};
use super::{Form, Spread, label};
use crate::command::Call;
use crate::error::Stop;
use crate::limits::{LABEL_BYTES_MAX, LABEL_BYTES_NEW_MAX, PACKED_BYTES_MAX, RELABELED_MIN};
use crate::shard::elements::{Change, Edit, Element, RowEdit};
use crate::shard::{Kind, Shard, Ttl};
use cairn_storage::units::CollectionId;
use std::ops::{ControlFlow, Range};

mod anew;
pub mod encoding;
mod turn;

pub use anew::anew;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Left,
    Right,
}

/// A list that is read.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    pub form: Form<'a>,
}

/// A change of one list, and how many elements it has then.
pub struct Changed<'a> {
    pub change: Change<'a>,
    pub len: u64,
}

impl<'a> List<'a> {
    /// The list at a key, for a command that reads.
    pub fn read(shard: &'a Shard, call: &Call<'_>, key: &[u8]) -> Result<Option<List<'a>>, Stop> {
        Ok(shard.read_collection(call, key, Kind::List)?.map(|form| List { form }))
    }

    /// The same for a command that will change it.
    pub fn peek(shard: &'a Shard, call: &Call<'_>, key: &[u8]) -> Result<Option<List<'a>>, Stop> {
        Ok(shard.peek_collection(call, key, Kind::List)?.map(|form| List { form }))
    }

    /// Elements.
    pub fn len(&self, shard: &Shard, call: &Call<'_>) -> Result<u64, Stop> {
        match self.form {
            Form::Packed(packed) => Ok(packed.count() as u64),
            Form::Spread(spread) => shard.element_count(call, spread.number),
        }
    }

    /// Visits elements from a rank on.
    pub fn visit(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        rank: u64,
        mut visit: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        match self.form {
            Form::Packed(packed) => {
                _ = packed.iter().skip(rank as usize).try_for_each(visit);
                Ok(())
            }
            Form::Spread(spread) => shard.elements_from(call, spread.number, rank, |element| visit(element.value)),
        }
    }

    /// The same towards the first, from the one before `rank` on.
    pub fn visit_back(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        rank: u64,
        mut visit: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        match self.form {
            Form::Packed(packed) => {
                let entries: Vec<&[u8]> = packed.iter().take(rank as usize).collect();
                _ = entries.into_iter().rev().try_for_each(visit);
                Ok(())
            }
            Form::Spread(spread) => shard.elements_before(call, spread.number, rank, |element| visit(element.value)),
        }
    }

    /// The elements of a range of ranks, which are there.
    pub fn range(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        range: Range<u64>,
        mut visit: impl FnMut(&[u8]),
    ) -> Result<(), Stop> {
        let mut left = range.end - range.start;
        if left == 0 {
            return Ok(());
        }
        self.visit(shard, call, range.start, |value| {
            visit(value);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    /// The same from the last to the first.
    pub fn range_back(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        range: Range<u64>,
        mut visit: impl FnMut(&[u8]),
    ) -> Result<(), Stop> {
        let mut left = range.end - range.start;
        if left == 0 {
            return Ok(());
        }
        self.visit_back(shard, call, range.end, |value| {
            visit(value);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }
}

/// Puts elements at an end, one after the other, of a list that may not be there yet.
pub fn push_at<'a, 'v>(
    shard: &mut Shard,
    call: &Call<'_>,
    key: &'a [u8],
    end: End,
    values: impl DoubleEndedIterator<Item = &'v [u8]> + Clone,
) -> Result<Changed<'a>, Stop> {
    let count = values.clone().count();
    let list = List::peek(shard, call, key)?;
    let spread = match list.map(|list| list.form) {
        None => return become_list(shard, key, Packing::new(0), encoding::SMALL, end, values),
        Some(Form::Packed(packed)) => {
            let tag = packed.tag;
            return become_list(shard, key, Packing::of(packed), tag, end, values);
        }
        Some(Form::Spread(spread)) => spread,
    };
    let before = shard.element_count(call, spread.number)?;
    let last = end_of(shard, call, spread.number, end)?;
    let labels = match end {
        End::Left => label::before(&last, count),
        End::Right => label::behind(&last, count),
    };
    let len = before + count as u64;
    let added = values.clone().map(<[u8]>::len).sum();
    let tag = encoding::grown(shard, call, &spread, before, len, added)?;
    let row = row_of(&spread, tag);
    if labels.iter().any(|label| label.len() > LABEL_BYTES_MAX) {
        // The end of all labels: as within the list.
        let values = in_order(values, end);
        let rank = if end == End::Left { 0 } else { before };
        let edits = place(shard, call, spread.number, rank, before, values)?;
        return Ok(Changed { change: Change { key, kind: Kind::List, edits, row }, len });
    }
    let edits = labels.into_iter().zip(in_order(values, end));
    let edits = edits.map(|(label, value)| Edit::put(spread.number, label, value)).collect();
    Ok(Changed { change: Change { key, kind: Kind::List, edits, row }, len })
}

/// The values that are pushed one after the other, as they stand then.
fn in_order<'v>(values: impl DoubleEndedIterator<Item = &'v [u8]>, end: End) -> Vec<Vec<u8>> {
    match end {
        End::Left => values.rev().map(<[u8]>::to_vec).collect(),
        End::Right => values.map(<[u8]>::to_vec).collect(),
    }
}

/// The label of the first or last element.
fn end_of(shard: &Shard, call: &Call<'_>, number: CollectionId, end: End) -> Result<Vec<u8>, Stop> {
    let mut label = Vec::new();
    let take = |element: Element<'_>| {
        label = element.order();
        ControlFlow::Break(())
    };
    match end {
        End::Left => shard.elements_from(call, number, 0, take)?,
        End::Right => shard.elements_back(call, number, take)?,
    }
    Ok(label)
}

fn row_of(spread: &Spread<'_>, tag: u8) -> RowEdit {
    match tag == spread.tag {
        true => RowEdit::Stays,
        false => RowEdit::Becomes(Spread { tag, ..*spread }.encode()),
    }
}

/// A packed list that elements are pushed to: it stays packed, or is spread.
fn become_list<'a, 'v>(
    shard: &mut Shard,
    key: &'a [u8],
    mut packing: Packing,
    tag: u8,
    end: End,
    values: impl DoubleEndedIterator<Item = &'v [u8]> + Clone,
) -> Result<Changed<'a>, Stop> {
    let before = packing.packed();
    let tag = encoding::grown_packed(shard, before, tag, values.clone());
    match end {
        End::Right => values.for_each(|value| packing.push(value)),
        End::Left => {
            let mut entries = Vec::new();
            values.rev().for_each(|value| push(&mut entries, value));
            packing.insert_bytes(0, &entries);
        }
    }
    packing.set_tag(tag);
    finish_packing(shard, key, packing)
}

/// What a packed list is from now on: packed if it is small enough.
fn finish_packing<'a>(shard: &mut Shard, key: &'a [u8], packing: Packing) -> Result<Changed<'a>, Stop> {
    let kind = Kind::List;
    let packed = packing.packed();
    let len = packed.count() as u64;
    if len == 0 {
        return Ok(Changed { change: Change { key, kind, edits: Vec::new(), row: RowEdit::Goes }, len });
    }
    if packing.len() <= PACKED_BYTES_MAX {
        let row = RowEdit::Packed(packing.into_value(), Ttl::Keep);
        return Ok(Changed { change: Change { key, kind, edits: Vec::new(), row }, len });
    }
    let number = shard.next_collection()?;
    let first = label::first();
    let labels = std::iter::once(first.clone()).chain(label::behind(&first, len as usize - 1));
    let edits = labels.zip(packed.iter()).map(|(label, value)| Edit::put(number, label, value.to_vec())).collect();
    let row = RowEdit::Names(number, Spread { number, tag: packed.tag, rest: &[] }.encode(), Ttl::Keep);
    Ok(Changed { change: Change { key, kind, edits, row }, len })
}

/// Takes up to `count` elements from an end, at least one, and shows them in the order in which they go.
pub fn pop_at<'a>(
    shard: &Shard,
    call: &Call<'_>,
    key: &'a [u8],
    list: &List<'_>,
    end: End,
    count: u64,
    mut show: impl FnMut(&[u8]),
) -> Result<Change<'a>, Stop> {
    let kind = Kind::List;
    let goes = Change { key, kind, edits: Vec::new(), row: RowEdit::Goes };
    let spread = match list.form {
        Form::Packed(packed) => {
            let len = packed.count() as u64;
            let gone = count.min(len);
            let range = if end == End::Left { 0..gone } else { len - gone..len };
            match end {
                End::Left => list.range(shard, call, range.clone(), &mut show)?,
                End::Right => list.range_back(shard, call, range.clone(), &mut show)?,
            }
            return Ok(without(shard, key, packed, len, range));
        }
        Form::Spread(spread) => spread,
    };
    let (mut edits, mut is_more) = (Vec::new(), false);
    let take = |element: Element<'_>| {
        if edits.len() as u64 == count {
            is_more = true;
            return ControlFlow::Break(());
        }
        show(element.value);
        edits.push(Edit::remove(spread.number, element.order()));
        ControlFlow::Continue(())
    };
    match end {
        End::Left => shard.elements_from(call, spread.number, 0, take)?,
        End::Right => shard.elements_back(call, spread.number, take)?,
    }
    if !is_more {
        return Ok(goes);
    }
    let row = row_of(&spread, encoding::popped(shard, call, &spread, &edits)?);
    Ok(Change { key, kind, edits, row })
}

/// A packed list without these elements.
fn without<'a>(shard: &Shard, key: &'a [u8], packed: Packed<'_>, len: u64, range: Range<u64>) -> Change<'a> {
    let kind = Kind::List;
    if range.end - range.start == len {
        return Change { key, kind, edits: Vec::new(), row: RowEdit::Goes };
    }
    let (start, end) = (packed.place(range.start as usize), packed.place(range.end as usize));
    let mut packing = Packing::of(packed);
    packing.replace(start..end, &[]);
    packing.set_tag(encoding::shrunk_packed(shard, packing.packed()));
    Change { key, kind, edits: Vec::new(), row: RowEdit::Packed(packing.into_value(), Ttl::Keep) }
}

/// Takes the first and the last elements away: what is left is this range, which is neither empty nor all.
pub fn trim<'a>(
    shard: &mut Shard,
    call: &Call<'_>,
    key: &'a [u8],
    len: u64,
    kept: Range<u64>,
) -> Result<Change<'a>, Stop> {
    let kind = Kind::List;
    let list = List::peek(shard, call, key)?.expect("the caller has seen it");
    let spread = match list.form {
        Form::Packed(packed) => {
            let (start, end) = (packed.place(kept.start as usize), packed.place(kept.end as usize));
            let mut packing = Packing::new(packed.tag);
            packing.insert_bytes(0, &packed.bytes()[start..end]);
            packing.set_tag(encoding::shrunk_packed(shard, packing.packed()));
            return Ok(Change { key, kind, edits: Vec::new(), row: RowEdit::Packed(packing.into_value(), Ttl::Keep) });
        }
        Form::Spread(Spread { number, tag, .. }) => Spread { number, tag, rest: &[] },
    };
    let left = kept.end - kept.start;
    let mut edits = Vec::new();
    if left >= len / 2 {
        let mut remove = |range: Range<u64>| {
            visit_range(shard, call, spread.number, range, |element| {
                edits.push(Edit::remove(spread.number, element.order()));
            })
        };
        remove(0..kept.start)?;
        remove(kept.end..len)?;
        let tag = encoding::shrunk(shard, call, &spread, kept)?;
        return Ok(Change { key, kind, edits, row: row_of(&spread, tag) });
    }
    // What stays is less than what goes: it gets a number of its own, and all of the old one goes in the background.
    let tag = encoding::shrunk(shard, call, &spread, kept.clone())?;
    let number = shard.next_collection()?;
    visit_range(shard, call, spread.number, kept, |element| {
        edits.push(Edit::put(number, element.order(), element.value.to_vec()));
    })?;
    let row = RowEdit::Names(number, Spread { number, tag, rest: &[] }.encode(), Ttl::Keep);
    Ok(Change { key, kind, edits, row })
}

fn visit_range(
    shard: &Shard,
    call: &Call<'_>,
    number: CollectionId,
    range: Range<u64>,
    mut visit: impl FnMut(&Element<'_>),
) -> Result<(), Stop> {
    let mut left = range.end - range.start;
    if left == 0 {
        return Ok(());
    }
    shard.elements_from(call, number, range.start, |element| {
        visit(&element);
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

/// Puts another element in the place of one.
pub fn replace<'a>(
    shard: &mut Shard,
    call: &Call<'_>,
    key: &'a [u8],
    rank: u64,
    value: &[u8],
) -> Result<Change<'a>, Stop> {
    let list = List::peek(shard, call, key)?.expect("the caller has seen it");
    let spread = match list.form {
        Form::Packed(packed) => {
            let tag = encoding::replaced_packed(shard, packed, value);
            let (start, end) = (packed.place(rank as usize), packed.place(rank as usize + 1));
            let mut packing = Packing::of(packed);
            packing.replace(start..end, &[value]);
            packing.set_tag(tag);
            return finish_packing(shard, key, packing).map(|changed| changed.change);
        }
        Form::Spread(spread) => spread,
    };
    let mut edits = Vec::new();
    visit_range(shard, call, spread.number, rank..rank + 1, |element| {
        edits.push(Edit::put(spread.number, element.order(), value.to_vec()));
    })?;
    let tag = encoding::replaced(shard, call, &spread, value.len())?;
    Ok(Change { key, kind: Kind::List, edits, row: row_of(&spread, tag) })
}

/// Puts an element before the one that has this rank, or behind all.
pub fn insert<'a>(
    shard: &mut Shard,
    call: &Call<'_>,
    key: &'a [u8],
    rank: u64,
    value: &[u8],
) -> Result<Changed<'a>, Stop> {
    let list = List::peek(shard, call, key)?.expect("the caller has seen it");
    let spread = match list.form {
        Form::Packed(packed) => {
            let tag = encoding::grown_packed(shard, packed, packed.tag, std::iter::once(value));
            let at = packed.place(rank as usize);
            let mut packing = Packing::of(packed);
            packing.replace(at..at, &[value]);
            packing.set_tag(tag);
            return finish_packing(shard, key, packing);
        }
        Form::Spread(spread) => spread,
    };
    let before = shard.element_count(call, spread.number)?;
    let tag = encoding::grown(shard, call, &spread, before, before + 1, value.len())?;
    let row = row_of(&spread, tag);
    let edits = place(shard, call, spread.number, rank, before, vec![value.to_vec()])?;
    Ok(Changed { change: Change { key, kind: Kind::List, edits, row }, len: before + 1 })
}

/// Finds labels for elements before the one of this rank, of so many. Gives neighbours new ones where there is no room.
fn place(
    shard: &Shard,
    call: &Call<'_>,
    number: CollectionId,
    rank: u64,
    count: u64,
    values: Vec<Vec<u8>>,
) -> Result<Vec<Edit>, Stop> {
    let put = |(label, value)| Edit::put(number, label, value);
    let (mut window, mut bytes_max) = (0, LABEL_BYTES_MAX);
    loop {
        let range = rank.saturating_sub(window / 2)..rank.saturating_add(window / 2).min(count);
        let (low, old, high) = neighbours(shard, call, number, range.clone(), count)?;
        let labels = if low.is_none() && high.is_none() {
            middle_out(old.len() + values.len())
        } else {
            label::between(low.as_deref(), high.as_deref(), old.len() + values.len())
        };
        let is_short = labels.iter().all(|label| label.len() <= bytes_max);
        if is_short || range == (0..count) {
            let mut edits: Vec<Edit> = old.iter().map(|(label, _)| Edit::remove(number, label.clone())).collect();
            let mut all: Vec<Vec<u8>> = old.into_iter().map(|(_, value)| value).collect();
            let at = (rank - range.start) as usize;
            all.splice(at..at, values);
            edits.extend(labels.into_iter().zip(all).map(put));
            return Ok(edits);
        }
        (window, bytes_max) = ((2 * window).max(RELABELED_MIN), LABEL_BYTES_NEW_MAX);
    }
}

/// Labels of a list that gets new ones as a whole.
fn middle_out(count: usize) -> Vec<Vec<u8>> {
    let first = label::first();
    let mut labels = label::before(&first, count / 2);
    let rest = count - labels.len();
    if rest > 0 {
        labels.extend(label::behind(&first, rest - 1));
        labels.insert(count / 2, first);
    }
    labels
}

type Labeled = (Vec<u8>, Vec<u8>);

/// The elements of a range with their labels, and the labels before and behind it.
#[expect(clippy::type_complexity, reason = "low, elements, high")]
fn neighbours(
    shard: &Shard,
    call: &Call<'_>,
    number: CollectionId,
    range: Range<u64>,
    count: u64,
) -> Result<(Option<Vec<u8>>, Vec<Labeled>, Option<Vec<u8>>), Stop> {
    let (start, end) = (range.start.saturating_sub(1), (range.end + 1).min(count));
    let (mut at, mut low, mut high, mut old) = (start, None, None, Vec::new());
    visit_range(shard, call, number, start..end, |element| {
        match at {
            _ if at < range.start => low = Some(element.order()),
            _ if at < range.end => old.push((element.order(), element.value.to_vec())),
            _ => high = Some(element.order()),
        }
        at += 1;
    })?;
    Ok((low, old, high))
}

/// How far one that removes elements has come.
#[derive(Default)]
struct Removal {
    looked: u64,
    edits: Vec<Edit>,
}

/// Removes elements that are like this one: so many, from an end, or all. `None`: there are none. How many go, and what becomes of the list.
pub fn remove_like<'a>(
    shard: &Shard,
    call: &Call<'_>,
    key: &'a [u8],
    list: &List<'_>,
    (end, count): (End, u64),
    like: &[u8],
) -> Result<Option<(u64, Change<'a>)>, Stop> {
    let kind = Kind::List;
    let change = |edits, row| Change { key, kind, edits, row };
    let (gone, change) = match list.form {
        Form::Packed(packed) => {
            let entries: Vec<&[u8]> = packed.iter().collect();
            let matches = || (0..entries.len()).filter(|at| entries[*at] == like);
            let gone: Vec<usize> = match end {
                End::Left => matches().take(count as usize).collect(),
                End::Right => matches().rev().take(count as usize).collect(),
            };
            let mut packing = Packing::new(packed.tag);
            let stays =
                |at: &usize| if end == End::Left { gone.binary_search(at).is_err() } else { !gone.contains(at) };
            (0..entries.len()).filter(stays).for_each(|at| packing.push(entries[at]));
            if packing.is_empty() {
                (gone.len(), change(Vec::new(), RowEdit::Goes))
            } else {
                packing.set_tag(encoding::shrunk_packed(shard, packing.packed()));
                (gone.len(), change(Vec::new(), RowEdit::Packed(packing.into_value(), Ttl::Keep)))
            }
        }
        Form::Spread(spread) => {
            let before = shard.element_count(call, spread.number)?;
            let mut removal = shard.rested::<Removal>().unwrap_or_default();
            let rests_at = removal.looked.saturating_add(shard.items_now()).min(before);
            let looked = removal.looked;
            let take = |element: Element<'_>| {
                removal.looked += 1;
                if element.value == like {
                    removal.edits.push(Edit::remove(spread.number, element.order()));
                }
                let is_over = removal.edits.len() as u64 == count || removal.looked == rests_at;
                if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let taken = match end {
                End::Left => shard.elements_from(call, spread.number, looked, take),
                End::Right => shard.elements_before(call, spread.number, before - looked, take),
            };
            let is_over = removal.edits.len() as u64 == count || removal.looked == before;
            if taken.is_err() || !is_over {
                return Err(shard.rest(removal, taken.err().unwrap_or(Stop::Long)));
            }
            let edits = removal.edits;
            if edits.len() as u64 == before {
                (edits.len(), change(Vec::new(), RowEdit::Goes))
            } else {
                let tag = encoding::popped(shard, call, &spread, &edits)?;
                (edits.len(), change(edits, row_of(&spread, tag)))
            }
        }
    };
    Ok((gone > 0).then_some((gone as u64, change)))
}
