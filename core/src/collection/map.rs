//! Hashes and sets: collections whose elements are found by their member, with a value or without. Read, and changed by a command that may be about
//! several members.
//!
//! Packed, an entry is the member, and one more its value if there are values. Spread, the order is that of the member.

use super::packed::{Packed, Packing};
use super::{Form, Spread, order};
use crate::command::Call;
use crate::error::Stop;
use crate::limits::PACKED_BYTES_MAX;
use crate::shard::elements::{Change, Edit, Element, RowEdit};
use crate::shard::{Kind, Shard, Ttl};
use cairn_storage::engine::elements::ORDER_BYTES_MIN;
use cairn_storage::units::CollectionId;
use std::collections::BTreeMap;
use std::iter;
use std::ops::{ControlFlow, Range};

/// A map that is read.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a> {
    pub form: Form<'a>,
    has_values: bool,
}

impl<'a> Map<'a> {
    pub fn new(form: Form<'a>, kind: Kind) -> Map<'a> {
        Map { form, has_values: kind == Kind::Hash }
    }

    /// The value of a member; of a set's the empty one.
    pub fn get(&self, shard: &'a Shard, call: &Call<'_>, member: &[u8]) -> Result<Option<&'a [u8]>, Stop> {
        match self.form {
            Form::Packed(packed) => Ok(find(packed, self.has_values, member).map(|(_, value)| value)),
            Form::Spread(spread) => {
                let order = order::of_member(member, shard.hash_seed());
                Ok(shard.element(call, spread.number, &order)?.map(|element| element.value))
            }
        }
    }

    /// Members.
    pub fn len(&self, shard: &Shard, call: &Call<'_>) -> Result<u64, Stop> {
        match self.form {
            Form::Packed(packed) => Ok((packed.count() / self.stride()) as u64),
            Form::Spread(spread) => shard.element_count(call, spread.number),
        }
    }

    fn stride(&self) -> usize {
        1 + usize::from(self.has_values)
    }

    /// Visits members and values, from the member of a rank on.
    pub fn visit(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        rank: u64,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        match self.form {
            Form::Packed(packed) => {
                let mut entries = packed.iter().skip(rank as usize * self.stride());
                while let Some(member) = entries.next() {
                    let value = if self.has_values { entries.next().unwrap_or_default() } else { &[] };
                    if visit(member, value).is_break() {
                        break;
                    }
                }
                Ok(())
            }
            Form::Spread(spread) => {
                shard.elements_from(call, spread.number, rank, |element| visit(element.rest, element.value))
            }
        }
    }

    /// Visits members and values from a place on, at least `count` if there are as many; answers the place to go on from, 0 at the end. Members
    /// of one place are not separated.
    pub fn scan(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        place: u64,
        count: u64,
        mut visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<u64, Stop> {
        let Form::Spread(spread) = self.form else {
            // What is packed is answered at once, as in Redis.
            self.visit(shard, call, 0, |member, value| {
                visit(member, value);
                ControlFlow::Continue(())
            })?;
            return Ok(0);
        };
        if place >= order::PLACES {
            return Ok(0);
        }
        let (rank, _) = shard.element_rank(call, spread.number, &order::of_place(place))?;
        let (mut seen, mut last, mut next) = (0, None, 0);
        shard.elements_from(call, spread.number, rank, |Element { head, rest, value, .. }| {
            let at = head % order::PLACES;
            if seen >= count && last != Some(at) {
                next = at;
                return ControlFlow::Break(());
            }
            (seen, last) = (seen + 1, Some(at));
            visit(rest, value);
            ControlFlow::Continue(())
        })?;
        Ok(next)
    }
}

const _: () = assert!(ORDER_BYTES_MIN == 3, "a place is the lowest bits of an element's head");

/// A packed member: where it stands, and its value.
fn find<'a>(packed: Packed<'a>, has_values: bool, member: &[u8]) -> Option<(Range<usize>, &'a [u8])> {
    let mut entries = packed.iter();
    loop {
        let start = entries.at();
        let found = entries.next()?;
        let value = if has_values { entries.next()? } else { &[] };
        if found == member {
            return Some((start..entries.at(), value));
        }
    }
}

/// A map that a command changes: nothing is written before [`MapEdit::finish`].
pub struct MapEdit {
    kind: Kind,
    state: State,
}

enum State {
    Packed { packing: Packing, is_changed: bool },
    Spread(Changes),
}

/// What has changed of a map that is spread, or will be.
#[derive(Default)]
struct Changes {
    /// `None`: it has none yet, and all that it has is here.
    number: Option<CollectionId>,
    tag: u8,
    /// By member.
    members: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// How many more members there are than before.
    added: i64,
}

impl Changes {
    fn get<'a>(&'a self, shard: &'a Shard, call: &Call<'_>, member: &[u8]) -> Result<Option<&'a [u8]>, Stop> {
        match (self.members.get(member), self.number) {
            (Some(value), _) => Ok(value.as_deref()),
            (None, None) => Ok(None),
            (None, Some(number)) => {
                let found = shard.element(call, number, &order::of_member(member, shard.hash_seed()))?;
                Ok(found.map(|element| element.value))
            }
        }
    }
}

impl MapEdit {
    /// Of what is at the key, or of nothing.
    pub fn begin(shard: &Shard, call: &Call<'_>, key: &[u8], kind: Kind) -> Result<MapEdit, Stop> {
        let state = match shard.peek_collection(call, key, kind)? {
            None => State::Packed { packing: Packing::new(0), is_changed: false },
            Some(Form::Packed(packed)) => State::Packed { packing: Packing::of(packed), is_changed: false },
            Some(Form::Spread(Spread { number, tag, .. })) => {
                State::Spread(Changes { number: Some(number), tag, ..Changes::default() })
            }
        };
        Ok(MapEdit { kind, state })
    }

    /// Of nothing: what is at the key will be replaced.
    pub fn anew(kind: Kind) -> MapEdit {
        MapEdit { kind, state: State::Packed { packing: Packing::new(0), is_changed: true } }
    }

    fn has_values(&self) -> bool {
        self.kind == Kind::Hash
    }

    /// The value that a member has by now.
    pub fn get<'a>(&'a self, shard: &'a Shard, call: &Call<'_>, member: &[u8]) -> Result<Option<&'a [u8]>, Stop> {
        match &self.state {
            State::Packed { packing, .. } => {
                Ok(find(packing.packed(), self.has_values(), member).map(|(_, value)| value))
            }
            State::Spread(changes) => changes.get(shard, call, member),
        }
    }

    /// Sets a member's value. Whether it is new.
    pub fn set(&mut self, shard: &Shard, call: &Call<'_>, member: &[u8], value: &[u8]) -> Result<bool, Stop> {
        let has_values = self.has_values();
        match &mut self.state {
            State::Packed { packing, is_changed } => {
                let found = find(packing.packed(), has_values, member).map(|(range, old)| (range, old == value));
                let is_new = found.is_none();
                match found {
                    Some((_, true)) => return Ok(false),
                    Some((range, false)) => packing.replace(range, &[member, value]),
                    None => {
                        packing.push(member);
                        if has_values {
                            packing.push(value);
                        }
                    }
                }
                *is_changed = true;
                self.spread_if_large();
                Ok(is_new)
            }
            State::Spread(changes) => {
                let is_new = changes.get(shard, call, member)?.is_none();
                changes.added += i64::from(is_new);
                if is_new || has_values {
                    changes.members.insert(member.to_vec(), Some(value.to_vec()));
                }
                Ok(is_new)
            }
        }
    }

    /// Removes a member. Whether it was there.
    pub fn remove(&mut self, shard: &Shard, call: &Call<'_>, member: &[u8]) -> Result<bool, Stop> {
        let has_values = self.has_values();
        match &mut self.state {
            State::Packed { packing, is_changed } => {
                let Some((range, _)) = find(packing.packed(), has_values, member) else { return Ok(false) };
                packing.replace(range, &[]);
                *is_changed = true;
                Ok(true)
            }
            State::Spread(changes) => {
                let is_there = changes.get(shard, call, member)?.is_some();
                if is_there {
                    changes.members.insert(member.to_vec(), None);
                    changes.added -= 1;
                }
                Ok(is_there)
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
        let mut entries = packed.iter();
        while let Some(member) = entries.next() {
            let value = if self.has_values() { entries.next().unwrap_or_default() } else { &[] };
            changes.members.insert(member.to_vec(), Some(value.to_vec()));
            changes.added += 1;
        }
        self.state = State::Spread(changes);
    }

    /// Writes what has changed, as the row at `key`. Its time to live is what `ttl` says.
    pub fn finish(self, shard: &mut Shard, call: &Call<'_>, key: &[u8], ttl: Ttl) -> Result<(), Stop> {
        match self.into_change(shard, call, key, ttl)? {
            Some(change) => shard.edit_several(call, &[change]),
            None => Ok(()),
        }
    }

    /// What is to be written, if anything is, to be done with other changes by [`Shard::edit_several`].
    pub fn into_change<'a>(
        self,
        shard: &mut Shard,
        call: &Call<'_>,
        key: &'a [u8],
        ttl: Ttl,
    ) -> Result<Option<Change<'a>>, Stop> {
        let kind = self.kind;
        let change = |row| Some(Change { key, kind, edits: Vec::new(), row });
        match self.state {
            State::Packed { is_changed: false, .. } => Ok(None),
            State::Packed { packing, .. } if packing.is_empty() => Ok(change(RowEdit::Goes)),
            State::Packed { mut packing, .. } => {
                let packed = packing.packed();
                let count = packed.count() / if kind == Kind::Hash { 2 } else { 1 };
                let tag = shard.thresholds.tag(kind, packed.tag, count as u64, packed.iter());
                packing.set_tag(tag);
                Ok(change(RowEdit::Packed(packing.into_value(), ttl)))
            }
            State::Spread(changes) => changes.into_change(shard, call, kind, key, ttl),
        }
    }
}

impl Changes {
    fn into_change<'a>(
        self,
        shard: &mut Shard,
        call: &Call<'_>,
        kind: Kind,
        key: &'a [u8],
        ttl: Ttl,
    ) -> Result<Option<Change<'a>>, Stop> {
        let Changes { number, tag: old_tag, members, added } = self;
        let before = match number {
            Some(number) if added < 0 || !shard.thresholds.is_last(kind, old_tag) => {
                shard.element_count(call, number)?
            }
            _ => 0,
        };
        let count = (before as i64 + added) as u64;
        if added < 0 && count == 0 {
            return Ok(Some(Change { key, kind, edits: Vec::new(), row: RowEdit::Goes }));
        }
        let tag = {
            let entries = members.iter().filter_map(|(member, value)| Some((&member[..], value.as_deref()?)));
            let value_of = |value| (kind == Kind::Hash).then_some(value);
            let entries = entries.flat_map(|(member, value)| iter::once(member).chain(value_of(value)));
            shard.thresholds.tag(kind, old_tag, count, entries)
        };
        let (id, is_new) = match number {
            Some(number) => (number, false),
            None => (shard.next_collection()?, true),
        };
        let seed = shard.hash_seed();
        let members = members.into_iter().filter(|(_, value)| !is_new || value.is_some());
        let edits: Vec<Edit> = members
            .map(|(member, value)| Edit { number: id, order: order::of_member(&member, seed), value, expire_ms: 0 })
            .collect();
        let value = Spread { number: id, tag, rest: &[] }.encode();
        let row = match is_new {
            true => RowEdit::Names(id, value, ttl),
            false if tag != old_tag => RowEdit::Becomes(value),
            false => RowEdit::Stays,
        };
        let is_change = !edits.is_empty() || !matches!(row, RowEdit::Stays);
        Ok(is_change.then_some(Change { key, kind, edits, row }))
    }
}
