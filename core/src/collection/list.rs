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
use crate::shard::removal::{Gone, Place, Removal};
use crate::shard::{Kind, Shard, Ttl};
use cairn_storage::units::CollectionId;
use std::ops::{ControlFlow, Range};

mod anew;
pub mod encoding;
pub mod filter;
mod seek;
mod turn;

pub use anew::anew;
use seek::Seek;
pub use seek::seek;

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
pub fn trim(shard: &mut Shard, call: &Call<'_>, key: &[u8], len: u64, kept: Range<u64>) -> Result<(), Stop> {
    let kind = Kind::List;
    let list = List::peek(shard, call, key)?.expect("the caller has seen it");
    let spread = match list.form {
        Form::Packed(packed) => {
            let (start, end) = (packed.place(kept.start as usize), packed.place(kept.end as usize));
            let mut packing = Packing::new(packed.tag);
            packing.insert_bytes(0, &packed.bytes()[start..end]);
            packing.set_tag(encoding::shrunk_packed(shard, packing.packed()));
            let row = RowEdit::Packed(packing.into_value(), Ttl::Keep);
            return shard.edit(call, key, kind, Vec::new(), row);
        }
        Form::Spread(Spread { number, tag, .. }) => Spread { number, tag, rest: &[] },
    };
    let tag = encoding::shrunk(shard, call, &spread, kept.clone())?;
    let removal = shard.rested().unwrap_or_else(|| Box::new(Removal::new(Gone::Outside(kept), len)));
    shard.remove_ranked(call, &Place { key, kind, spread, tag }, removal)
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

/// Elements that are looked for, and then removed.
struct Search {
    /// Those that have not been looked at.
    ranks: Range<u64>,
    /// The ranks of those that were found.
    found: Vec<u64>,
    removal: Option<Removal>,
}

/// Removes elements that are like this one: so many, from an end, or all. How many go.
pub fn remove_like(
    shard: &mut Shard,
    call: &Call<'_>,
    key: &[u8],
    (end, count): (End, u64),
    like: &[u8],
) -> Result<u64, Stop> {
    let Some(list) = List::peek(shard, call, key)? else { return Ok(0) };
    let spread = match list.form {
        Form::Packed(packed) => {
            let (gone, row) = without_like(shard, packed, (end, count), like);
            if gone > 0 {
                shard.edit(call, key, Kind::List, Vec::new(), row)?;
            }
            return Ok(gone);
        }
        Form::Spread(Spread { number, tag, .. }) => Spread { number, tag, rest: &[] },
    };
    let len = shard.element_count(call, spread.number)?;
    let begun = || Box::new(Search { ranks: 0..len, found: Vec::new(), removal: None });
    let mut search = shard.rested::<Search>().unwrap_or_else(begun);
    let seek = Seek { call, number: spread.number, len, like, end };
    let removed = remove_found(shard, key, &spread, &mut search, &seek, count);
    removed.map_err(|stop| shard.rest(search, stop))
}

/// A packed list without elements that are like this one, and how many there were.
fn without_like(shard: &Shard, packed: Packed<'_>, (end, count): (End, u64), like: &[u8]) -> (u64, RowEdit) {
    let entries: Vec<&[u8]> = packed.iter().collect();
    let matches = || (0..entries.len()).filter(|at| entries[*at] == like);
    let gone: Vec<usize> = match end {
        End::Left => matches().take(count as usize).collect(),
        End::Right => matches().rev().take(count as usize).collect(),
    };
    let mut packing = Packing::new(packed.tag);
    let stays = |at: &usize| if end == End::Left { gone.binary_search(at).is_err() } else { !gone.contains(at) };
    (0..entries.len()).filter(stays).for_each(|at| packing.push(entries[at]));
    if packing.is_empty() {
        return (gone.len() as u64, RowEdit::Goes);
    }
    packing.set_tag(encoding::shrunk_packed(shard, packing.packed()));
    (gone.len() as u64, RowEdit::Packed(packing.into_value(), Ttl::Keep))
}

/// The same of one that is spread: it is gone on with where it has come to.
fn remove_found(
    shard: &mut Shard,
    key: &[u8],
    spread: &Spread<'_>,
    search: &mut Search,
    seek: &Seek<'_>,
    count: u64,
) -> Result<u64, Stop> {
    let Seek { call, len, .. } = *seek;
    let found = &mut search.found;
    if (found.len() as u64) < count {
        let is_over = seek.run(shard, &mut search.ranks, |rank| {
            found.push(rank);
            if found.len() as u64 == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if !is_over {
            return Err(Stop::Long);
        }
    }
    let gone = search.found.len() as u64;
    if gone == 0 {
        return Ok(0);
    }
    if gone == len {
        shard.remove(call, key)?;
        return Ok(gone);
    }
    // Which ones go does not matter much for how large it is then.
    let tag = encoding::shrunk(shard, call, spread, 0..len - gone)?;
    let removal = search.removal.get_or_insert_with(|| {
        let mut ranks = search.found.clone();
        ranks.sort_unstable();
        Removal::new(Gone::These(ranks), len)
    });
    let change = shard.without(call, &Place { key, kind: Kind::List, spread: *spread, tag }, removal)?;
    shard.edit_several(call, &[change])?;
    Ok(gone)
}
