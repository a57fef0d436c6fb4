//! Collections as commands see them: packed in their row, or spread over rows of elements.

use super::{Kind, Row, Shard, Ttl};
use crate::collection::{Form, Spread, order};
use crate::command::Call;
use crate::command::strings::as_one;
use crate::error::{Refusal, Stop};
use crate::event::Now;
use cairn_storage::engine::elements::{self, element};
use cairn_storage::engine::{Found, RowKey};
use cairn_storage::limits::ROW_INLINE_BYTES_MAX;
use cairn_storage::log::Removal;
use cairn_storage::row::OWNS;
use cairn_storage::units::CollectionId;
use std::ops::ControlFlow;

/// What becomes of an element.
#[derive(Clone, Debug)]
pub struct Edit {
    pub number: CollectionId,
    pub order: Vec<u8>,
    /// `None`: it goes, or, if there is a deadline, only gets that.
    pub value: Option<Vec<u8>>,
    /// Unix milliseconds; 0: never.
    pub expire_ms: u64,
}

impl Edit {
    pub fn put(number: CollectionId, order: Vec<u8>, value: Vec<u8>) -> Edit {
        Edit { number, order, value: Some(value), expire_ms: 0 }
    }

    pub fn remove(number: CollectionId, order: Vec<u8>) -> Edit {
        Edit { number, order, value: None, expire_ms: 0 }
    }
}

/// What becomes of a collection's row when its elements change.
#[derive(Clone, Debug)]
pub enum RowEdit {
    Stays,
    Goes,
    /// Its value changes, and it names the same number.
    Becomes(Vec<u8>),
    /// It names a new number, which is `CollectionId`; this is its value.
    Names(CollectionId, Vec<u8>, Ttl),
    /// It is a packed collection: a tag and entries.
    Packed(Vec<u8>, Ttl),
}

impl RowEdit {
    /// The number that it begins to name.
    fn names(&self) -> Option<CollectionId> {
        if let RowEdit::Names(number, ..) = self { Some(*number) } else { None }
    }

    /// The length of the row's new value.
    fn len(&self) -> usize {
        match self {
            RowEdit::Stays | RowEdit::Goes => 0,
            RowEdit::Becomes(value) | RowEdit::Packed(value, _) | RowEdit::Names(_, value, _) => value.len(),
        }
    }

    fn expire_ms(&self) -> u64 {
        match self {
            RowEdit::Names(.., Ttl::At(ms)) | RowEdit::Packed(_, Ttl::At(ms)) => *ms,
            _ => 0,
        }
    }
}

/// What becomes of one collection.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    pub key: &'a [u8],
    pub kind: Kind,
    pub edits: Vec<Edit>,
    pub row: RowEdit,
}

impl Change<'_> {
    /// Rows that it changes.
    fn rows(&self) -> usize {
        let own = match self.row {
            RowEdit::Stays => 0,
            RowEdit::Goes | RowEdit::Becomes(_) | RowEdit::Packed(..) => 1,
            RowEdit::Names(..) => 2,
        };
        self.edits.len() + own
    }

    fn bytes(&self) -> usize {
        let elements = self.edits.iter().map(|edit| edit.order.len() + edit.value.as_ref().map_or(0, Vec::len));
        self.row.len() + elements.sum::<usize>()
    }
}

/// An element that was found: the head of its row and the rest of its order, when it expires, and its value.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    pub head: u64,
    pub rest: &'a [u8],
    pub expire_ms: u64,
    pub may_be_bundled: bool,
    pub value: &'a [u8],
}

impl Element<'_> {
    /// Whether it is not past its time.
    #[inline]
    pub fn is_live(&self, now: Now) -> bool {
        self.expire_ms == 0 || self.expire_ms >= now.unix_ms()
    }

    /// Its order.
    pub fn order(&self) -> Vec<u8> {
        elements::order_of(self.head, self.rest)
    }
}

impl Shard {
    /// The collection at a key, for a command that reads: counts as a hit or a miss.
    pub fn read_collection(&self, call: &Call<'_>, key: &[u8], kind: Kind) -> Result<Option<Form<'_>>, Stop> {
        form(self.read(call, key)?, kind)
    }

    /// The same for a command that will write it.
    pub fn peek_collection(&self, call: &Call<'_>, key: &[u8], kind: Kind) -> Result<Option<Form<'_>>, Stop> {
        form(self.peek(call, key)?, kind)
    }

    /// The number of the collection that is spread at a key, if that can be seen now. Observes nothing.
    pub(crate) fn number_at(&self, db: u8, head: u64, key: &[u8]) -> Option<CollectionId> {
        let found = self.engine.get(RowKey { db, head, key }).ok()??;
        elements::number_of(found.kind, found.value)
    }

    /// Where the row of a member, or a field, stands among those of elements.
    pub(crate) fn element_head(&self, number: CollectionId, member: &[u8]) -> u64 {
        elements::head_of(number, order::place_of(member, self.hash_seed))
    }

    /// The number of a collection that is about to be spread.
    pub fn next_collection(&mut self) -> Result<CollectionId, Stop> {
        Ok(self.engine.next_collection()?)
    }

    /// An element of the collection that the row of the running command names.
    pub fn element(&self, call: &Call<'_>, number: CollectionId, order: &[u8]) -> Result<Option<Element<'_>>, Stop> {
        Ok(self.kept_element(call, number, order)?.filter(|element| element.is_live(call.now)))
    }

    /// The same, be it past its time or not.
    pub fn kept_element(
        &self,
        call: &Call<'_>,
        number: CollectionId,
        order: &[u8],
    ) -> Result<Option<Element<'_>>, Stop> {
        let row = element(call.db, number, order);
        Ok(self.find(row)?.map(|found| shown(row.head, &[], found)))
    }

    /// How many elements are before this order, and whether it is one's.
    pub fn element_rank(&self, call: &Call<'_>, number: CollectionId, order: &[u8]) -> Result<(u64, bool), Stop> {
        match self.past(call.db, number) {
            Some(past) => Ok(past.rank(order)?),
            None => Ok(self.engine.element_rank(call.db, number, order)?),
        }
    }

    /// Elements of a collection.
    pub fn element_count(&self, call: &Call<'_>, number: CollectionId) -> Result<u64, Stop> {
        match self.past(call.db, number) {
            Some(past) => Ok(past.count()?),
            None => Ok(self.engine.element_count(call.db, number)?),
        }
    }

    /// Visits elements from a rank on, in order. When it stops some may have been visited: a command that runs again begins anew.
    pub fn elements_from(
        &self,
        call: &Call<'_>,
        number: CollectionId,
        rank: u64,
        mut visit: impl FnMut(Element<'_>) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        let mut visit = |head, rest: &[u8], found: Found<'_>| visit(shown(head, rest, found));
        match self.past(call.db, number) {
            Some(past) => Ok(past.from(rank, &mut visit)?),
            None => Ok(self.engine.elements_from(call.db, number, rank, visit)?),
        }
    }

    /// The same in the other direction, from the element before `rank` on.
    pub fn elements_before(
        &self,
        call: &Call<'_>,
        number: CollectionId,
        rank: u64,
        mut visit: impl FnMut(Element<'_>) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        let mut visit = |head, rest: &[u8], found: Found<'_>| visit(shown(head, rest, found));
        match self.past(call.db, number) {
            Some(past) => Ok(past.before(rank, &mut visit)?),
            None => Ok(self.engine.elements_before(call.db, number, rank, visit)?),
        }
    }

    /// The same from the last element on.
    pub fn elements_back(
        &self,
        call: &Call<'_>,
        number: CollectionId,
        mut visit: impl FnMut(Element<'_>) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        let mut visit = |head, rest: &[u8], found: Found<'_>| visit(shown(head, rest, found));
        match self.past(call.db, number) {
            Some(past) => Ok(past.before(past.count()?, &mut visit)?),
            None => Ok(self.engine.elements_back(call.db, number, visit)?),
        }
    }

    /// Changes elements of one collection and its row, as one unit. All that can be refused has been checked.
    pub fn edit(
        &mut self,
        call: &Call<'_>,
        key: &[u8],
        kind: Kind,
        edits: Vec<Edit>,
        row: RowEdit,
    ) -> Result<(), Stop> {
        self.edit_several(call, &[Change { key, kind, edits, row }])
    }

    /// The same of several collections: all of it is one unit.
    pub fn edit_several(&mut self, call: &Call<'_>, changes: &[Change<'_>]) -> Result<(), Stop> {
        let bytes = changes.iter().map(Change::bytes).sum();
        self.refuse_if_full(bytes)?;
        let rows: usize = changes.iter().map(Change::rows).sum();
        if rows <= 1 || self.is_in_group() {
            return changes.iter().try_for_each(|change| self.make(call, change));
        }
        self.prepare_edits(call, changes, rows, None)?;
        self.open_group(bytes)?;
        let made = changes.iter().try_for_each(|change| self.make(call, change));
        self.close_group();
        made
    }

    /// Sees that after the first change nothing can be missing; nor of a row `beside` them.
    fn prepare_edits(
        &mut self,
        call: &Call<'_>,
        changes: &[Change<'_>],
        rows: usize,
        beside: Option<RowKey<'_>>,
    ) -> Result<(), Stop> {
        let own: Vec<RowKey<'_>> = changes.iter().map(|change| self.row_key(call, change.key)).collect();
        let tails: Vec<[u8; 8]> =
            changes.iter().filter_map(|change| change.row.names()).map(elements::owner_tail).collect();
        let elements = changes.iter().flat_map(|change| &change.edits);
        let elements = elements.map(|edit| (element(call.db, edit.number, &edit.order), edit.expire_ms));
        let own = own.iter().zip(changes).map(|(row, change)| (*row, change.row.expire_ms()));
        let tails = tails.iter().map(|tail| (elements::owner(call.db, tail), 0));
        let all = elements.chain(own).chain(tails).chain(beside.map(|row| (row, 0)));
        if self.versions.are_wanted() {
            self.engine.prepare_undo(all.clone().map(|(row, _)| row))?;
        }
        if self.engine.needs_preparation(rows) {
            // What stands outside the leaves is a reference there.
            let inside = |value: &Vec<u8>| value.len().min(ROW_INLINE_BYTES_MAX);
            let bytes_of = |kind: Kind, edit: &Edit| {
                let own = if element_kind(kind, edit.number) == elements::ALONE {
                    ELEMENT_BYTES as usize
                } else {
                    OPENED_BYTES
                };
                edit.order.len() + own + edit.value.as_ref().map_or(0, inside)
            };
            let bytes = changes.iter().flat_map(|change| change.edits.iter().map(|edit| bytes_of(change.kind, edit)));
            // A kind with two orders changes both by turns.
            let mut all: Vec<(RowKey<'_>, u64)> = all.collect();
            all.sort_unstable_by_key(|(row, _)| (row.db, row.head, row.key));
            self.engine.prepare_neighbours(all.into_iter(), bytes.sum())?;
        }
        Ok(())
    }

    fn make(&mut self, call: &Call<'_>, change: &Change<'_>) -> Result<(), Stop> {
        let Change { key, kind, edits, row } = change;
        let follows = matches!(kind, Kind::List | Kind::Stream) && edits.len() > 1;
        if follows {
            self.engine.follow(call.db, true);
        }
        let made = self.make_edits(call, change);
        if follows {
            self.engine.follow(call.db, false);
        }
        made?;
        match row {
            RowEdit::Stays => Ok(()),
            RowEdit::Goes => self.remove(call, key).map(drop),
            RowEdit::Packed(value, ttl) => self.write(call, key, *kind, *ttl, value),
            RowEdit::Becomes(value) => self.write_spread(call, key, *kind, Ttl::Keep, value),
            RowEdit::Names(number, value, ttl) => {
                let owner = self.row_key(call, key);
                self.engine.put_owner(owner, *number)?;
                self.write_spread(call, key, *kind, *ttl, value)
            }
        }
    }

    fn make_edits(&mut self, call: &Call<'_>, Change { key, kind, edits, .. }: &Change<'_>) -> Result<(), Stop> {
        let owner = self.row_key(call, key);
        for edit in edits {
            let at = element(call.db, edit.number, &edit.order);
            let lsn = match &edit.value {
                Some(value) => {
                    if *kind == Kind::List {
                        self.lists.put(edit.number, &edit.order, || order::hash_of(value, self.hash_seed));
                    }
                    self.keep_former(at)?;
                    Some(self.engine.put(at, element_kind(*kind, edit.number), edit.expire_ms, value)?)
                }
                None if edit.expire_ms != 0 => {
                    self.keep_former(at)?;
                    self.engine.set_expiry(at, edit.expire_ms)?
                }
                None => {
                    self.keep_removed(at)?;
                    self.engine.delete(at, Removal::Deleted)?
                }
            };
            if let Some(lsn) = lsn {
                self.note(owner, lsn);
            }
        }
        Ok(())
    }

    /// Sets a row to a collection that is spread.
    fn write_spread(&mut self, call: &Call<'_>, key: &[u8], kind: Kind, ttl: Ttl, value: &[u8]) -> Result<(), Stop> {
        let expire_ms = self.deadline(call, key, ttl)?;
        let row_key = self.row_key(call, key);
        let former = self.former(call, row_key)?;
        self.keep_former(row_key)?;
        let lsn = self.engine.put(row_key, kind as u8 | OWNS, expire_ms, value)?;
        self.note(row_key, lsn);
        self.notify_of(call, row_key, former);
        Ok(())
    }

    /// A collection that is spread has another key from now on, in the same database, in place of whatever was there.
    pub(crate) fn rename_spread(&mut self, call: &Call<'_>, source: &[u8], target: &[u8]) -> Result<(), Stop> {
        let row = self.peek(call, source)?.expect("the caller has found it");
        let Form::Spread(spread) = row.form() else { unreachable!("the caller has seen that it is spread") };
        let (kind, ttl, number, value) =
            (row.kind, row.expire_ms.map_or(Ttl::Clear, Ttl::At), spread.number, spread.encode());
        let (from, to) = (self.row_key(call, source), self.row_key(call, target));
        let tail = elements::owner_tail(number);
        if !self.is_in_group() {
            let expire_ms = row.expire_ms.unwrap_or(0);
            if self.versions.are_wanted() {
                self.engine.prepare_undo([from, to].into_iter())?;
            }
            let rows = [(from, 0), (to, expire_ms), (elements::owner(call.db, &tail), 0)];
            self.engine.prepare_group(rows.into_iter())?;
        }
        as_one(self, value.len(), |shard| {
            shard.remove(call, source)?;
            shard.engine.put_owner(to, number)?;
            shard.write_spread(call, target, kind, ttl, &value)
        })
    }

    /// A collection that is spread is at another key, of the same shard, too, in place of whatever was there.
    pub(crate) fn copy_spread(
        &mut self,
        call: &Call<'_>,
        source: &[u8],
        there: &Call<'_>,
        target: &[u8],
    ) -> Result<(), Stop> {
        let change = self.copied(call, source, there, target)?;
        self.edit_several(there, &[change])
    }

    /// A collection that is spread is in another database from now on, in place of whatever was there.
    pub(crate) fn move_spread(&mut self, call: &Call<'_>, there: &Call<'_>, key: &[u8]) -> Result<(), Stop> {
        let change = self.copied(call, key, there, key)?;
        let (bytes, rows) = (change.bytes(), change.rows() + 1);
        if !self.is_in_group() {
            let row = self.row_key(call, key);
            self.prepare_edits(there, std::slice::from_ref(&change), rows, Some(row))?;
        }
        as_one(self, bytes, |shard| {
            shard.make(there, &change)?;
            shard.remove(call, key).map(drop)
        })
    }

    /// Sees that nothing can be missing when a row that is packed, or a string, changes its database.
    pub(crate) fn prepare_move(&mut self, call: &Call<'_>, there: &Call<'_>, key: &[u8], ttl: Ttl) -> Result<(), Stop> {
        if self.is_in_group() {
            return Ok(());
        }
        let rows =
            [(self.row_key(call, key), 0), (self.row_key(there, key), if let Ttl::At(ms) = ttl { ms } else { 0 })];
        if self.versions.are_wanted() {
            self.engine.prepare_undo(rows.iter().map(|(row, _)| *row))?;
        }
        Ok(self.engine.prepare_group(rows.into_iter())?)
    }

    /// What makes a key a copy of a collection that is spread. What is large is copied piece by piece: its elements are there in the end.
    fn copied<'a>(
        &mut self,
        call: &Call<'_>,
        source: &[u8],
        there: &Call<'_>,
        target: &'a [u8],
    ) -> Result<Change<'a>, Stop> {
        let row = self.peek(call, source)?.expect("the caller has found it");
        let Form::Spread(spread) = row.form() else { unreachable!("the caller has seen that it is spread") };
        let (kind, ttl) = (row.kind, row.expire_ms.map_or(Ttl::Clear, Ttl::At));
        let Spread { number, tag, rest } = spread;
        let rest = rest.to_vec();
        let mut edits = Vec::new();
        let elements = self.element_count(call, number)? + self.element_count(call, CollectionId(number.0 + 1))?;
        let new = match self.is_short(elements)? {
            false => self.copy_elements(call, number, there, (target, kind))?,
            true => {
                let new = self.engine.next_collection()?;
                for at in [0, 1] {
                    self.elements_from(call, CollectionId(number.0 + at), 0, |element| {
                        let (number, value) = (CollectionId(new.0 + at), Some(element.value.to_vec()));
                        edits.push(Edit { number, order: element.order(), value, expire_ms: element.expire_ms });
                        ControlFlow::Continue(())
                    })?;
                }
                new
            }
        };
        let value = Spread { number: new, tag, rest: &rest }.encode();
        Ok(Change { key: target, kind, edits, row: RowEdit::Names(new, value, ttl) })
    }

    /// What a collection's row and elements take of memory, as well as it can be told from some of them.
    pub(crate) fn spread_bytes(&self, call: &Call<'_>, form: &Form<'_>, samples: u64) -> Result<u64, Stop> {
        let Form::Spread(Spread { number, .. }) = *form else { return Ok(0) };
        let mut bytes = 0;
        for number in [number, CollectionId(number.0 + 1)] {
            let count = self.element_count(call, number)?;
            let (mut seen, mut seen_bytes) = (0, 0);
            self.elements_from(call, number, 0, |element| {
                seen += 1;
                seen_bytes += element_bytes(&element);
                if seen < samples || samples == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            bytes += (seen_bytes * count).checked_div(seen).unwrap_or(0);
        }
        Ok(bytes)
    }
}

/// What an element takes of memory: mostly those that may be in a bundle are.
fn element_bytes(element: &Element<'_>) -> u64 {
    let value = element.value.len() as u64;
    match element.may_be_bundled {
        true => value + BUNDLED_BYTES,
        false => value + element.rest.len() as u64 + ELEMENT_BYTES,
    }
}

/// What one takes in a bundle beside its value: its length, and its share of what the bundle has.
const BUNDLED_BYTES: u64 = 2;

/// The kind of the row of an element. Those of lists and streams are many, small, and come in order.
pub(super) fn element_kind(kind: Kind, number: CollectionId) -> u8 {
    match kind {
        Kind::List | Kind::Stream if elements::is_first_number(number) => elements::BUNDLED,
        _ => elements::ALONE,
    }
}

/// What a row of an element takes beside its order and value: head, header, its place in the leaf.
const ELEMENT_BYTES: u64 = 8 + 1 + cairn_storage::page::ENTRY_BYTES as u64;

/// What an element needs that comes: its row, and that of what is behind it in the bundle where it comes.
const OPENED_BYTES: usize = 3 * ELEMENT_BYTES as usize;

fn form(row: Option<Row<'_>>, kind: Kind) -> Result<Option<Form<'_>>, Stop> {
    match row {
        None => Ok(None),
        Some(row) if row.kind != kind => Err(Refusal::WrongType.into()),
        Some(row) => Ok(Some(row.form())),
    }
}

fn shown<'a>(head: u64, rest: &'a [u8], found: Found<'a>) -> Element<'a> {
    let may_be_bundled = elements::may_be_bundled(found.kind, found.value.len());
    Element { head, rest, expire_ms: found.expire_ms, may_be_bundled, value: found.value }
}
