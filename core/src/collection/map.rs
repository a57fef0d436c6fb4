//! Hashes and sets: collections whose elements are found by their member, with a value or without. Read, and changed by a command that may be about
//! several members.
//!
//! Packed, an entry is the member, and one more its value if there are values. Spread, the order is that of the member. A hash some of whose fields
//! have deadlines is spread, at any size, and stays so: a deadline is that of the field's row, and what the row of the hash keeps beside its elements is
//! [`DEADLINES`], from the first one on. What is past its deadline is not there, except that it is counted until it is removed.
//! `docs/decisions/0034-field-deadlines.md`.

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

/// What the row of a hash keeps beside its elements if some of them have, or had, deadlines.
pub const DEADLINES: &[u8] = &[1];

/// Whether members of a map may have deadlines.
pub fn has_deadlines(form: &Form<'_>) -> bool {
    matches!(form, Form::Spread(spread) if spread.rest == DEADLINES)
}

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
                let kept = shard.kept_element(call, spread.number, &order)?;
                Ok(kept.filter(|element| shard.is_served(element, call)).map(|element| element.value))
            }
        }
    }

    /// When a member goes, if it is there (0: never).
    pub fn deadline(&self, shard: &Shard, call: &Call<'_>, member: &[u8]) -> Result<Option<u64>, Stop> {
        match self.form {
            Form::Spread(spread) => {
                let order = order::of_member(member, shard.hash_seed());
                let kept = shard.kept_element(call, spread.number, &order)?;
                Ok(kept.filter(|element| shard.is_served(element, call)).map(|element| element.expire_ms))
            }
            Form::Packed(_) => Ok(self.get(shard, call, member)?.map(|_| 0)),
        }
    }

    /// Members, those that are past their time and not removed yet included.
    pub fn len(&self, shard: &Shard, call: &Call<'_>) -> Result<u64, Stop> {
        match self.form {
            Form::Packed(packed) => Ok((packed.count() / self.stride()) as u64),
            Form::Spread(spread) => shard.element_count(call, spread.number),
        }
    }

    fn stride(&self) -> usize {
        1 + usize::from(self.has_values)
    }

    /// Visits members and values, from the member of a rank on; not those that are past their time.
    pub fn visit(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        rank: u64,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        self.visit_kept(shard, call, rank, |element| match element.is_live(call.now) {
            true => visit(element.rest, element.value),
            false => ControlFlow::Continue(()),
        })
    }

    /// Whether it stands in its row: then its members have no order.
    pub fn is_packed(&self) -> bool {
        matches!(self.form, Form::Packed(_))
    }

    /// Visits all that is kept: members stand where an element has the rest of its order.
    pub fn visit_kept(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        rank: u64,
        mut visit: impl FnMut(Element<'_>) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        match self.form {
            Form::Packed(packed) => {
                let mut entries = packed.iter().skip(rank as usize * self.stride());
                while let Some(member) = entries.next() {
                    let value = if self.has_values { entries.next().unwrap_or_default() } else { &[] };
                    if visit(Element { head: 0, rest: member, expire_ms: 0, may_be_bundled: false, value }).is_break() {
                        break;
                    }
                }
                Ok(())
            }
            Form::Spread(spread) => shard.elements_from(call, spread.number, rank, visit),
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
        shard.elements_from(call, spread.number, rank, |element| {
            let at = element.head % order::PLACES;
            if seen >= count && last != Some(at) {
                next = at;
                return ControlFlow::Break(());
            }
            (seen, last) = (seen + 1, Some(at));
            if element.is_live(call.now) {
                visit(element.rest, element.value);
            }
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
    /// Some have deadlines; and so it was before.
    has_deadlines: bool,
    had_deadlines: bool,
    /// By member.
    members: BTreeMap<Vec<u8>, Fate>,
    /// How many more members there are than before, those past their time included.
    added: i64,
}

/// What becomes of a member.
enum Fate {
    Is {
        value: Vec<u8>,
        /// 0: never.
        expire_ms: u64,
    },
    /// It keeps its value, and has this deadline.
    Expires(u64),
    Goes,
}

/// A member as it is by now.
struct Now<'a> {
    value: &'a [u8],
    expire_ms: u64,
    is_live: bool,
}

impl Changes {
    /// The member, be it past its time or not.
    fn find<'a>(&'a self, shard: &'a Shard, call: &Call<'_>, member: &[u8]) -> Result<Option<Now<'a>>, Stop> {
        let new_ms = match (self.members.get(member), self.number) {
            (Some(Fate::Is { value, expire_ms }), _) => {
                return Ok(Some(Now { value, expire_ms: *expire_ms, is_live: true }));
            }
            (Some(Fate::Goes), _) | (None, None) => return Ok(None),
            (Some(Fate::Expires(ms)), _) => Some(*ms),
            (None, Some(_)) => None,
        };
        let number = self.number.expect("what keeps its value stands in the tree");
        let found = shard.kept_element(call, number, &order::of_member(member, shard.hash_seed()))?;
        Ok(found.map(|element| Now {
            value: element.value,
            expire_ms: new_ms.unwrap_or(element.expire_ms),
            is_live: new_ms.is_some() || shard.is_served(&element, call),
        }))
    }

    fn live<'a>(&'a self, shard: &'a Shard, call: &Call<'_>, member: &[u8]) -> Result<Option<Now<'a>>, Stop> {
        Ok(self.find(shard, call, member)?.filter(|now| now.is_live))
    }
}

impl MapEdit {
    /// Of what is at the key, or of nothing.
    pub fn begin(shard: &Shard, call: &Call<'_>, key: &[u8], kind: Kind) -> Result<MapEdit, Stop> {
        let state = match shard.peek_collection(call, key, kind)? {
            None => State::Packed { packing: Packing::new(0), is_changed: false },
            Some(Form::Packed(packed)) => State::Packed { packing: Packing::of(packed), is_changed: false },
            Some(form @ Form::Spread(Spread { number, tag, .. })) => {
                let has = has_deadlines(&form);
                let (has_deadlines, had_deadlines) = (has, has);
                let number = Some(number);
                State::Spread(Changes { number, tag, has_deadlines, had_deadlines, ..Changes::default() })
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
            State::Spread(changes) => Ok(changes.live(shard, call, member)?.map(|now| now.value)),
        }
    }

    /// When a member goes, if it is there by now (0: never).
    pub fn deadline(&self, shard: &Shard, call: &Call<'_>, member: &[u8]) -> Result<Option<u64>, Stop> {
        match &self.state {
            State::Packed { .. } => Ok(self.get(shard, call, member)?.map(|_| 0)),
            State::Spread(changes) => Ok(changes.live(shard, call, member)?.map(|now| now.expire_ms)),
        }
    }

    /// Sets a member's value. Whether it is new. It has no deadline from now on.
    pub fn set(&mut self, shard: &Shard, call: &Call<'_>, member: &[u8], value: &[u8]) -> Result<bool, Stop> {
        self.set_until(shard, call, member, value, 0)
    }

    /// The same, of a member that goes at that time (0: never).
    pub fn set_until(
        &mut self,
        shard: &Shard,
        call: &Call<'_>,
        member: &[u8],
        value: &[u8],
        expire_ms: u64,
    ) -> Result<bool, Stop> {
        if expire_ms != 0 {
            self.keep_deadlines();
        }
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
                let found = changes.find(shard, call, member)?;
                let is_new = !found.as_ref().is_some_and(|now| now.is_live);
                let is_added = found.is_none();
                changes.added += i64::from(is_added);
                if is_new || has_values {
                    changes.members.insert(member.to_vec(), Fate::Is { value: value.to_vec(), expire_ms });
                }
                Ok(is_new)
            }
        }
    }

    /// Sets a member's value, and lets it have the deadline that it has.
    pub fn update(&mut self, shard: &Shard, call: &Call<'_>, member: &[u8], value: &[u8]) -> Result<bool, Stop> {
        let expire_ms = self.deadline(shard, call, member)?.unwrap_or(0);
        self.set_until(shard, call, member, value, expire_ms)
    }

    /// Lets a member that is there go at that time (0: never).
    pub fn set_deadline(&mut self, shard: &Shard, call: &Call<'_>, member: &[u8], expire_ms: u64) -> Result<(), Stop> {
        if expire_ms != 0 {
            self.keep_deadlines();
        }
        let State::Spread(changes) = &mut self.state else { return Ok(()) };
        if let Some(Fate::Is { expire_ms: old_ms, .. }) = changes.members.get_mut(member) {
            *old_ms = expire_ms;
            return Ok(());
        }
        let fate = match expire_ms {
            0 => {
                let Some(Now { value, .. }) = changes.find(shard, call, member)? else { return Ok(()) };
                Fate::Is { value: value.to_vec(), expire_ms }
            }
            ms => Fate::Expires(ms),
        };
        changes.members.insert(member.to_vec(), fate);
        Ok(())
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
                let is_there = changes.live(shard, call, member)?.is_some();
                if is_there {
                    changes.members.insert(member.to_vec(), Fate::Goes);
                    changes.added -= 1;
                }
                Ok(is_there)
            }
        }
    }

    /// What is too large for a row will be spread.
    fn spread_if_large(&mut self) {
        if let State::Packed { packing, .. } = &self.state
            && packing.len() > PACKED_BYTES_MAX
        {
            self.spread();
        }
    }

    /// Members may have deadlines from now on.
    fn keep_deadlines(&mut self) {
        self.spread();
        if let State::Spread(changes) = &mut self.state {
            changes.has_deadlines = true;
        }
    }

    fn spread(&mut self) {
        let State::Packed { packing, .. } = &self.state else { return };
        let packed = packing.packed();
        let mut changes = Changes { tag: packed.tag, ..Changes::default() };
        let mut entries = packed.iter();
        while let Some(member) = entries.next() {
            let value = if self.has_values() { entries.next().unwrap_or_default() } else { &[] };
            changes.members.insert(member.to_vec(), Fate::Is { value: value.to_vec(), expire_ms: 0 });
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
        let Changes { number, tag: old_tag, has_deadlines, had_deadlines, members, added } = self;
        let before = match number {
            Some(number) if added < 0 || !shard.thresholds.is_last(kind, old_tag) => {
                shard.element_count(call, number)?
            }
            _ => 0,
        };
        let count = (before as i64 + added) as u64;
        if count == 0 && (added < 0 || number.is_none()) {
            return Ok(Some(Change { key, kind, edits: Vec::new(), row: RowEdit::Goes }));
        }
        let tag = {
            let entries = members.iter().filter_map(|(member, fate)| match fate {
                Fate::Is { value, .. } => Some((&member[..], &value[..])),
                Fate::Expires(_) | Fate::Goes => None,
            });
            let value_of = |value| (kind == Kind::Hash).then_some(value);
            let entries = entries.flat_map(|(member, value)| iter::once(member).chain(value_of(value)));
            shard.thresholds.tag(kind, old_tag, count, entries)
        };
        let (id, is_new) = match number {
            Some(number) => (number, false),
            None => (shard.next_collection()?, true),
        };
        let seed = shard.hash_seed();
        let members = members.into_iter().filter(|(_, fate)| !is_new || !matches!(fate, Fate::Goes));
        let edit = |(member, fate): (Vec<u8>, Fate)| {
            let (value, expire_ms) = match fate {
                Fate::Is { value, expire_ms } => (Some(value), expire_ms),
                Fate::Expires(ms) => (None, ms),
                Fate::Goes => (None, 0),
            };
            Edit { number: id, order: order::of_member(&member, seed), value, expire_ms }
        };
        let edits: Vec<Edit> = members.map(edit).collect();
        let rest = if has_deadlines { DEADLINES } else { &[] };
        let value = Spread { number: id, tag, rest }.encode();
        let row = match is_new {
            true => RowEdit::Names(id, value, ttl),
            false if tag != old_tag || has_deadlines != had_deadlines => RowEdit::Becomes(value),
            false => RowEdit::Stays,
        };
        let is_change = !edits.is_empty() || !matches!(row, RowEdit::Stays);
        Ok(is_change.then_some(Change { key, kind, edits, row }))
    }
}
