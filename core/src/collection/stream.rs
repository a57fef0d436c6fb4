//! Streams: entries in the order of their ids, and consumer groups ([`groups`]). The one kind that may be empty.
//!
//! | form | where | what |
//! | --- | --- | --- |
//! | packed | the first entry | the [`State`] |
//! | | the others | the id (16 bytes), the fields |
//! | spread | beside the elements | the state |
//! | | the elements: order, the id; value, the fields | |
//! | | the elements of the next number | groups, see there |
//!
//! Fields and their values follow each other as packed entries do. A stream that has groups is spread.
//!
//! How many entries there ever were follows from how many there are and how many are gone, and the last id is that of the last entry unless that is
//! gone: so an entry that is added is one row and nothing else. A trim of more rows than [`TRIM_ROWS_MAX`] hides them below an id of the state; what
//! changes the stream later removes as many of them at a time.

mod anew;
pub mod groups;
pub mod id;
mod state;
mod walk;

pub use anew::anew;
pub use state::State;

use self::id::EntryId;
use self::walk::id_of;
use super::packed::{Entries, Packing};
use super::{Form, Spread};
use crate::command::Call;
use crate::error::Stop;
use crate::limits::{PACKED_BYTES_MAX, TRIM_ROWS_MAX};
use crate::shard::elements::{Change, Edit, RowEdit};
use crate::shard::{Kind, Shard, Ttl};
use cairn_storage::units::CollectionId;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// A stream that is read.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    body: Body<'a>,
    pub state: State,
}

#[derive(Clone, Copy, Debug)]
enum Body<'a> {
    Packed(Entries<'a>),
    Spread(CollectionId),
}

/// What a stream is as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub len: u64,
    /// The ids of the first and the last entry; 0-0 if there are none.
    pub first: EntryId,
    pub top: EntryId,
    /// The last id that was given.
    pub last: EntryId,
    /// Entries that there ever were.
    pub added: u64,
    pub max_deleted: EntryId,
}

impl Facts {
    /// Whether entries were deleted from this id on.
    pub fn has_gaps_from(&self, id: EntryId) -> bool {
        self.len > 0 && self.first <= self.max_deleted && id <= self.max_deleted
    }

    /// How many entries there ever were up to this id, if that can be told.
    pub fn added_up_to(&self, id: EntryId) -> Option<u64> {
        if self.added == 0 {
            return Some(0);
        }
        if self.len == 0 && id <= self.last || id == self.last {
            return Some(self.added);
        }
        let is_whole = self.max_deleted == EntryId::MIN || self.max_deleted < self.first;
        if id > self.last || !is_whole {
            return None;
        }
        let before = self.added.wrapping_sub(self.len);
        match id.cmp(&self.first) {
            std::cmp::Ordering::Less => Some(before),
            std::cmp::Ordering::Equal => Some(before.wrapping_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }
}

impl<'a> Stream<'a> {
    pub fn new(form: Form<'a>) -> Stream<'a> {
        match form {
            Form::Packed(packed) => {
                let mut entries = packed.iter();
                let state = State::decode(entries.next().expect("a packed stream has a state"));
                Stream { body: Body::Packed(entries), state }
            }
            Form::Spread(Spread { number, rest, .. }) => {
                Stream { body: Body::Spread(number), state: State::decode(rest) }
            }
        }
    }

    /// The number of what its groups have, if it can have any.
    pub fn groups_number(&self) -> Option<CollectionId> {
        match self.body {
            Body::Packed(_) => None,
            Body::Spread(number) => Some(groups::number_of(number)),
        }
    }

    /// How many rows are hidden.
    fn hidden(&self, shard: &Shard, call: &Call<'_>) -> Result<u64, Stop> {
        match self.body {
            Body::Spread(number) if self.state.from != EntryId::MIN => {
                Ok(shard.element_rank(call, number, &self.state.from.bytes())?.0)
            }
            _ => Ok(0),
        }
    }

    pub fn len(&self, shard: &Shard, call: &Call<'_>) -> Result<u64, Stop> {
        match self.body {
            Body::Packed(entries) => Ok(entries.count() as u64),
            Body::Spread(number) => Ok(shard.element_count(call, number)? - self.hidden(shard, call)?),
        }
    }

    /// The id of the last entry.
    pub fn top(&self, shard: &Shard, call: &Call<'_>) -> Result<Option<EntryId>, Stop> {
        match self.body {
            Body::Packed(entries) => Ok(entries.last().map(|entry| EntryId::split(entry).0)),
            Body::Spread(number) => {
                let mut top = None;
                shard.elements_back(call, number, |element| {
                    top = Some(id_of(&element));
                    ControlFlow::Break(())
                })?;
                Ok(top.filter(|top| *top >= self.state.from))
            }
        }
    }

    /// The last id that was given.
    pub fn last(&self, shard: &Shard, call: &Call<'_>) -> Result<EntryId, Stop> {
        Ok(self.top(shard, call)?.unwrap_or_default().max(self.state.last))
    }

    pub fn facts(&self, shard: &Shard, call: &Call<'_>) -> Result<Facts, Stop> {
        let len = self.len(shard, call)?;
        let top = self.top(shard, call)?.unwrap_or_default();
        let mut first = EntryId::MIN;
        self.visit(shard, call, EntryId::MIN, EntryId::MAX, |id, _| {
            first = id;
            ControlFlow::Break(())
        })?;
        let State { removed, last, max_deleted, .. } = self.state;
        Ok(Facts { len, first, top, last: top.max(last), added: removed.wrapping_add(len), max_deleted })
    }

    /// The fields of an entry.
    pub fn find(&self, shard: &'a Shard, call: &Call<'_>, id: EntryId) -> Result<Option<&'a [u8]>, Stop> {
        match self.body {
            Body::Packed(mut entries) => Ok(entries.find_map(|entry| {
                let (found, fields) = EntryId::split(entry);
                (found == id).then_some(fields)
            })),
            Body::Spread(_) if id < self.state.from => Ok(None),
            Body::Spread(number) => Ok(shard.element(call, number, &id.bytes())?.map(|element| element.value)),
        }
    }

    /// Entries from one id to another, both included.
    pub fn count_between(&self, shard: &Shard, call: &Call<'_>, from: EntryId, to: EntryId) -> Result<u64, Stop> {
        let from = from.max(self.state.from);
        if from > to {
            return Ok(0);
        }
        match self.body {
            Body::Packed(mut entries) => {
                let is_within = |entry: &&[u8]| (from..=to).contains(&EntryId::split(entry).0);
                Ok(entries.by_ref().filter(is_within).count() as u64)
            }
            Body::Spread(number) => {
                let (start, _) = shard.element_rank(call, number, &from.bytes())?;
                let (end, is_there) = shard.element_rank(call, number, &to.bytes())?;
                Ok(end + u64::from(is_there) - start)
            }
        }
    }
}

/// Which entries a trim leaves.
#[derive(Clone, Copy, Debug)]
pub enum Keep {
    /// So many, the last ones.
    Last(u64),
    /// From this id on.
    From(EntryId),
}

/// What a trim removes.
#[derive(Clone, Copy, Debug)]
pub struct Trim {
    pub keep: Keep,
    /// Only whole nodes, as Redis has them, and not more entries than that (0: any number).
    pub approximate: Option<u64>,
}

/// A stream that a command changes: nothing is written before [`StreamEdit::finish`].
pub struct StreamEdit {
    pub state: State,
    was: State,
    body: EditBody,
    /// It was there before.
    is_old: bool,
    /// The last id that was given.
    pub last: EntryId,
}

enum EditBody {
    /// With the state in front as it was.
    Packed {
        packing: Packing,
        is_changed: bool,
    },
    Spread {
        number: CollectionId,
        is_new: bool,
        added: Option<EntryId>,
        edits: Vec<Edit>,
    },
}

impl StreamEdit {
    /// Of what is at the key, or of nothing.
    pub fn begin(shard: &Shard, call: &Call<'_>, key: &[u8]) -> Result<StreamEdit, Stop> {
        let Some(form) = shard.peek_collection(call, key, Kind::Stream)? else {
            let mut packing = Packing::new(0);
            packing.push(&[]);
            let body = EditBody::Packed { packing, is_changed: true };
            let (state, last) = (State::default(), EntryId::MIN);
            return Ok(StreamEdit { state, was: state, body, is_old: false, last });
        };
        let stream = Stream::new(form);
        let body = match form {
            Form::Packed(packed) => EditBody::Packed { packing: Packing::of(packed), is_changed: false },
            Form::Spread(Spread { number, .. }) => {
                EditBody::Spread { number, is_new: false, added: None, edits: Vec::new() }
            }
        };
        let (state, last) = (stream.state, stream.last(shard, call)?);
        Ok(StreamEdit { state, was: state, body, is_old: true, last })
    }

    pub fn is_old(&self) -> bool {
        self.is_old
    }

    /// The stream as it was before.
    fn before(&self) -> Option<Stream<'_>> {
        match &self.body {
            EditBody::Spread { number, is_new: false, .. } => {
                Some(Stream { body: Body::Spread(*number), state: self.state })
            }
            _ => None,
        }
    }

    /// Adds an entry, whose id is above [`StreamEdit::last`].
    pub fn append(&mut self, shard: &mut Shard, id: EntryId, fields: Vec<u8>) -> Result<(), Stop> {
        assert!(id > self.last, "ids only grow");
        self.last = id;
        match &mut self.body {
            EditBody::Packed { packing, is_changed } => {
                packing.push(&[&id.bytes()[..], &fields].concat());
                *is_changed = true;
                if packing.len() > PACKED_BYTES_MAX { self.spread(shard) } else { Ok(()) }
            }
            EditBody::Spread { number, added, edits, .. } => {
                edits.push(Edit::put(*number, id.bytes().to_vec(), fields));
                *added = Some(id);
                Ok(())
            }
        }
    }

    /// Its entries will be rows of their own. The number of what its groups have.
    pub fn spread_for_groups(&mut self, shard: &mut Shard) -> Result<CollectionId, Stop> {
        self.spread(shard)?;
        let EditBody::Spread { number, .. } = &self.body else { unreachable!("it is spread now") };
        Ok(groups::number_of(*number))
    }

    fn spread(&mut self, shard: &mut Shard) -> Result<(), Stop> {
        let EditBody::Packed { packing, .. } = &self.body else { return Ok(()) };
        let number = shard.next_collection()?;
        let entries = packing.packed().iter().skip(1).map(EntryId::split);
        let edits = entries.map(|(id, fields)| Edit::put(number, id.bytes().to_vec(), fields.to_vec())).collect();
        self.body = EditBody::Spread { number, is_new: true, added: None, edits };
        Ok(())
    }

    /// Removes entries from the beginning. How many.
    pub fn trim(&mut self, shard: &Shard, call: &Call<'_>, trim: Trim) -> Result<u64, Stop> {
        let (len, before) = match (&self.body, self.before()) {
            (EditBody::Spread { added, .. }, Some(stream)) => {
                let added = u64::from(added.is_some());
                let len = stream.len(shard, call)? + added;
                let before = match trim.keep {
                    Keep::Last(_) => 0,
                    Keep::From(id) => {
                        let below = id.previous().map(|last| stream.count_between(shard, call, EntryId::MIN, last));
                        below.transpose()?.unwrap_or(0) + u64::from(added > 0 && self.last < id)
                    }
                };
                (len, before)
            }
            _ => {
                let ids = self.own_ids();
                let before = match trim.keep {
                    Keep::Last(_) => 0,
                    Keep::From(from) => ids.iter().filter(|id| **id < from).count() as u64,
                };
                (ids.len() as u64, before)
            }
        };
        let count = match trim.keep {
            Keep::Last(kept) => len.saturating_sub(kept),
            Keep::From(_) => before,
        };
        let count = match trim.approximate {
            None => count,
            Some(limit) => whole_nodes(count, len, shard.thresholds.stream_node_entries, self.state.removed, limit),
        };
        self.drop_front(shard, call, count, count == len)?;
        Ok(count)
    }

    /// Removes some of the rows that are hidden. Once a change, and not beside [`StreamEdit::trim`], which does it too.
    pub fn tidy(&mut self, shard: &Shard, call: &Call<'_>) -> Result<(), Stop> {
        match &mut self.body {
            EditBody::Spread { number, is_new: false, edits, .. } if self.state.from != EntryId::MIN => {
                sweep(shard, call, &mut self.state, *number, 0, edits)
            }
            _ => Ok(()),
        }
    }

    /// The ids of what is packed, or was just spread.
    fn own_ids(&self) -> Vec<EntryId> {
        match &self.body {
            EditBody::Packed { packing, .. } => {
                packing.packed().iter().skip(1).map(|entry| EntryId::split(entry).0).collect()
            }
            EditBody::Spread { edits, .. } => edits.iter().map(|edit| EntryId::split(&edit.order).0).collect(),
        }
    }

    fn drop_front(&mut self, shard: &Shard, call: &Call<'_>, count: u64, are_all: bool) -> Result<(), Stop> {
        self.state.removed = self.state.removed.wrapping_add(count);
        if count > 0 && are_all {
            self.state.last = self.last;
        }
        match &mut self.body {
            EditBody::Packed { .. } if count == 0 => {}
            EditBody::Packed { packing, is_changed } => {
                let mut entries = packing.packed().iter();
                entries.next();
                let start = entries.at();
                (0..count).for_each(|_| _ = entries.next());
                let range = start..entries.at();
                packing.replace(range, &[]);
                *is_changed = true;
            }
            EditBody::Spread { is_new: true, edits, .. } => drop(edits.drain(..count as usize)),
            EditBody::Spread { number, added, edits, .. } => {
                let mut count = count;
                if count > 0 && are_all && added.take().is_some() {
                    edits.clear();
                    count -= 1;
                }
                sweep(shard, call, &mut self.state, *number, count, edits)?;
            }
        }
        Ok(())
    }

    /// Removes entries with these ids. How many there were.
    pub fn remove(&mut self, shard: &Shard, call: &Call<'_>, ids: &BTreeSet<EntryId>) -> Result<u64, Stop> {
        let mut gone = Vec::new();
        match &mut self.body {
            EditBody::Packed { packing, is_changed } => {
                let mut kept = Packing::new(packing.packed().tag);
                let mut entries = packing.packed().iter();
                kept.push(entries.next().expect("a packed stream has a state"));
                for entry in entries {
                    match EntryId::split(entry).0 {
                        id if ids.contains(&id) => gone.push(id),
                        _ => kept.push(entry),
                    }
                }
                *is_changed |= !gone.is_empty();
                *packing = kept;
            }
            EditBody::Spread { .. } => {
                let stream = self.before().expect("nothing was added to it");
                for id in ids {
                    if stream.find(shard, call, *id)?.is_some() {
                        gone.push(*id);
                    }
                }
                if gone.is_empty() {
                    return Ok(0);
                }
                let EditBody::Spread { number, edits, .. } = &mut self.body else { unreachable!("it was just now") };
                edits.extend(gone.iter().map(|id| Edit::remove(*number, id.bytes().to_vec())));
                sweep(shard, call, &mut self.state, *number, 0, edits)?;
            }
        }
        if let Some(last) = gone.last() {
            self.state.removed = self.state.removed.wrapping_add(gone.len() as u64);
            self.state.max_deleted = self.state.max_deleted.max(*last);
            // It may be that of the last entry.
            self.state.last = self.last;
        }
        Ok(gone.len() as u64)
    }

    /// Writes what has changed, and these elements too.
    pub fn finish(self, shard: &mut Shard, call: &Call<'_>, key: &[u8], others: Vec<Edit>) -> Result<(), Stop> {
        match self.into_change(key, others) {
            Some(change) => shard.edit_several(call, &[change]),
            None => Ok(()),
        }
    }

    /// What is to be written, if anything is.
    pub fn into_change(self, key: &[u8], others: Vec<Edit>) -> Option<Change<'_>> {
        let StreamEdit { state, was, body, .. } = self;
        let change = |edits, row| Some(Change { key, kind: Kind::Stream, edits, row });
        match body {
            EditBody::Packed { mut packing, is_changed } => {
                assert!(others.is_empty(), "a stream with groups is spread");
                if state != was {
                    let mut entries = packing.packed().iter();
                    entries.next();
                    let range = 0..entries.at();
                    packing.replace(range, &[&state.encode()]);
                }
                let is_changed = is_changed || state != was;
                is_changed.then(|| change(Vec::new(), RowEdit::Packed(packing.into_value(), Ttl::Keep)))?
            }
            EditBody::Spread { number, is_new, mut edits, .. } => {
                edits.extend(others);
                let value = || Spread { number, tag: 0, rest: &state.encode() }.encode();
                let row = match is_new {
                    true => RowEdit::Names(number, value(), Ttl::Keep),
                    false if state != was => RowEdit::Becomes(value()),
                    false => RowEdit::Stays,
                };
                if edits.is_empty() && matches!(row, RowEdit::Stays) { None } else { change(edits, row) }
            }
        }
    }
}

/// How many of `count` entries that could go, of `len`, go with whole nodes of so many. The first one lacks what was removed before, the
/// last one what was not added yet.
fn whole_nodes(count: u64, len: u64, node: u64, removed: u64, limit: u64) -> u64 {
    let node = if node == 0 { NODE_ENTRIES } else { node };
    let limit = if limit == 0 { u64::MAX } else { limit };
    if count == len && len <= limit {
        return len;
    }
    let first = node - removed % node;
    count.min(limit).checked_sub(first).map_or(0, |behind| first + behind / node * node)
}

const NODE_ENTRIES: u64 = 100;

/// Removes `count` entries from the beginning, and rows that are hidden there, as many as may be removed at once. What is left is hidden.
fn sweep(
    shard: &Shard,
    call: &Call<'_>,
    state: &mut State,
    number: CollectionId,
    count: u64,
    edits: &mut Vec<Edit>,
) -> Result<(), Stop> {
    let stream = Stream { body: Body::Spread(number), state: *state };
    let hidden = stream.hidden(shard, call)? + count;
    if hidden == 0 {
        state.from = EntryId::MIN;
        return Ok(());
    }
    let mut left = TRIM_ROWS_MAX;
    shard.elements_from(call, number, 0, |element| {
        if left == 0 || (TRIM_ROWS_MAX - left) as u64 == hidden {
            return ControlFlow::Break(());
        }
        left -= 1;
        edits.push(Edit::remove(number, element.order()));
        ControlFlow::Continue(())
    })?;
    if hidden <= TRIM_ROWS_MAX as u64 {
        state.from = EntryId::MIN;
    } else if count > 0 {
        let mut last = EntryId::MIN;
        shard.elements_from(call, number, hidden - 1, |element| {
            last = id_of(&element);
            ControlFlow::Break(())
        })?;
        match last.next() {
            Some(from) => state.from = from,
            None => {
                // Nothing is above the last id there can be: its row goes at once.
                state.from = last;
                edits.push(Edit::remove(number, last.bytes().to_vec()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
