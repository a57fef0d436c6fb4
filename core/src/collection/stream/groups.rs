//! Consumer groups of a stream: elements of its second number. A group and a consumer have numbers of their own, which are not used twice, so that
//! what is pending does not repeat their names.
//!
//! | order | value |
//! | --- | --- |
//! | 1, 0, 0, the group's name | its number (4), the last id that it was given (16), entries read (8), the next consumer's number (4) |
//! | 2, group, 1, the consumer's name | its number (4), when it was seen (8) and active (8) |
//! | 2, group, 2, consumer | its name |
//! | 2, group, 3, id | pending: its consumer (4), when it was delivered (8), how often (8) |
//! | 2, group, 4, consumer, id | nothing: it is pending at this consumer |
//!
//! Groups and consumers in orders have 4 bytes, big-endian; ids are as among the entries; integers in values are little-endian, times Unix
//! milliseconds, -1 for never.

use super::id::EntryId;
use crate::command::Call;
use crate::error::{Refusal, Stop};
use crate::shard::Shard;
use crate::shard::elements::{Edit, Element};
use cairn_storage::units::CollectionId;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// The number of what the groups of a stream have.
pub fn number_of(stream: CollectionId) -> CollectionId {
    CollectionId(stream.0 + 1)
}

/// A group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub number: u32,
    /// Of the last entry that it was given.
    pub last: EntryId,
    /// How many of all entries that there ever were it has read; `None` if that cannot be told.
    pub read: Option<i64>,
    /// The number of its next consumer.
    pub consumers: u32,
}

/// A consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumer {
    pub number: u32,
    /// When it last asked for something, and when it last got something.
    pub seen_ms: i64,
    pub active_ms: Option<i64>,
}

/// An entry that was delivered and is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub consumer: u32,
    pub delivered_ms: i64,
    pub count: i64,
}

const NAMES: [u8; 3] = [1, 0, 0];
const NAMES_END: [u8; 3] = [1, 0, 1];

/// What is behind the group in an order.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Part {
    Consumers = 1,
    Labels = 2,
    Pending = 3,
    Owned = 4,
    End = 5,
}

fn group_order(name: &[u8]) -> Vec<u8> {
    [&NAMES, name].concat()
}

fn part_order(group: u32, part: Part, rest: &[u8]) -> Vec<u8> {
    let mut order = Vec::with_capacity(6 + rest.len());
    order.push(2);
    order.extend_from_slice(&group.to_be_bytes());
    order.push(part as u8);
    order.extend_from_slice(rest);
    order
}

fn owned_order(group: u32, consumer: u32, rest: &[u8]) -> Vec<u8> {
    part_order(group, Part::Owned, &[&consumer.to_be_bytes(), rest].concat())
}

/// The place behind what a consumer has.
fn owned_end(group: u32, consumer: u32) -> Vec<u8> {
    match consumer.checked_add(1) {
        Some(next) => owned_order(group, next, &[]),
        None => part_order(group, Part::End, &[]),
    }
}

/// Takes a fixed number of bytes from the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (first, rest) = bytes.split_first_chunk().expect("what a group has is complete");
    *bytes = rest;
    *first
}

impl Group {
    pub fn new(number: u32, last: EntryId, read: Option<i64>) -> Group {
        Group { number, last, read, consumers: 0 }
    }

    fn decode(mut bytes: &[u8]) -> Group {
        let bytes = &mut bytes;
        Group {
            number: u32::from_le_bytes(take(bytes)),
            last: EntryId::of_bytes(take(bytes)),
            read: known(i64::from_le_bytes(take(bytes))),
            consumers: u32::from_le_bytes(take(bytes)),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let Group { number, last, read, consumers } = self;
        let read = read.unwrap_or(NEVER).to_le_bytes();
        [&number.to_le_bytes()[..], &last.bytes(), &read, &consumers.to_le_bytes()].concat()
    }
}

const NEVER: i64 = -1;

fn known(value: i64) -> Option<i64> {
    (value != NEVER).then_some(value)
}

impl Consumer {
    fn decode(mut bytes: &[u8]) -> Consumer {
        let bytes = &mut bytes;
        Consumer {
            number: u32::from_le_bytes(take(bytes)),
            seen_ms: i64::from_le_bytes(take(bytes)),
            active_ms: known(i64::from_le_bytes(take(bytes))),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let active = self.active_ms.unwrap_or(NEVER).to_le_bytes();
        [&self.number.to_le_bytes()[..], &self.seen_ms.to_le_bytes(), &active].concat()
    }
}

impl Pending {
    fn decode(mut bytes: &[u8]) -> Pending {
        let bytes = &mut bytes;
        Pending {
            consumer: u32::from_le_bytes(take(bytes)),
            delivered_ms: i64::from_le_bytes(take(bytes)),
            count: i64::from_le_bytes(take(bytes)),
        }
    }

    fn encode(&self) -> Vec<u8> {
        [&self.consumer.to_le_bytes()[..], &self.delivered_ms.to_le_bytes(), &self.count.to_le_bytes()].concat()
    }
}

/// Groups as a command looks at them.
#[derive(Clone, Copy)]
pub struct Groups<'a> {
    pub shard: &'a Shard,
    pub call: &'a Call<'a>,
    pub number: CollectionId,
}

impl<'a> Groups<'a> {
    pub fn find(&self, name: &[u8]) -> Result<Option<Group>, Stop> {
        let found = self.shard.element(self.call, self.number, &group_order(name))?;
        Ok(found.map(|element| Group::decode(element.value)))
    }

    pub fn count(&self) -> Result<u64, Stop> {
        self.between(&NAMES, &NAMES_END)
    }

    /// All groups, by name.
    pub fn all(&self) -> Result<Vec<(Vec<u8>, Group)>, Stop> {
        let mut all = Vec::new();
        self.visit(&NAMES, &NAMES_END, |element, order| {
            all.push((order[NAMES.len()..].to_vec(), Group::decode(element.value)));
            ControlFlow::Continue(())
        })?;
        Ok(all)
    }

    pub fn consumer(&self, group: u32, name: &[u8]) -> Result<Option<Consumer>, Stop> {
        let order = part_order(group, Part::Consumers, name);
        let found = self.shard.element(self.call, self.number, &order)?;
        Ok(found.map(|element| Consumer::decode(element.value)))
    }

    pub fn consumer_count(&self, group: u32) -> Result<u64, Stop> {
        self.between(&part_order(group, Part::Consumers, &[]), &part_order(group, Part::Labels, &[]))
    }

    /// The consumers of a group, by name.
    pub fn consumers(&self, group: u32) -> Result<Vec<(Vec<u8>, Consumer)>, Stop> {
        let start = part_order(group, Part::Consumers, &[]);
        let mut all = Vec::new();
        self.visit(&start, &part_order(group, Part::Labels, &[]), |element, order| {
            all.push((order[start.len()..].to_vec(), Consumer::decode(element.value)));
            ControlFlow::Continue(())
        })?;
        Ok(all)
    }

    /// The name of a consumer.
    pub fn name(&self, group: u32, consumer: u32) -> Result<&'a [u8], Stop> {
        let order = part_order(group, Part::Labels, &consumer.to_be_bytes());
        let found = self.shard.element(self.call, self.number, &order)?;
        Ok(found.expect("what has a number has a name").value)
    }

    pub fn pending(&self, group: u32, id: EntryId) -> Result<Option<Pending>, Stop> {
        let order = part_order(group, Part::Pending, &id.bytes());
        let found = self.shard.element(self.call, self.number, &order)?;
        Ok(found.map(|element| Pending::decode(element.value)))
    }

    pub fn pending_count(&self, group: u32) -> Result<u64, Stop> {
        self.between(&part_order(group, Part::Pending, &[]), &part_order(group, Part::Owned, &[]))
    }

    /// How many are pending at a consumer.
    pub fn owned_count(&self, group: u32, consumer: u32) -> Result<u64, Stop> {
        self.between(&owned_order(group, consumer, &[]), &owned_end(group, consumer))
    }

    /// The last id that is pending.
    pub fn pending_last(&self, group: u32) -> Result<Option<EntryId>, Stop> {
        let (start, end) = (part_order(group, Part::Pending, &[]), part_order(group, Part::Owned, &[]));
        let (rank, _) = self.shard.element_rank(self.call, self.number, &end)?;
        let mut last = None;
        self.shard.elements_before(self.call, self.number, rank, |element| {
            let order = element.order();
            if order.starts_with(&start) {
                last = Some(EntryId::split(&order[start.len()..]).0);
            }
            ControlFlow::Break(())
        })?;
        Ok(last)
    }

    /// Visits what is pending in a group from an id on.
    pub fn visit_pending(
        &self,
        group: u32,
        from: EntryId,
        mut visit: impl FnMut(EntryId, Pending) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        let (start, end) = (part_order(group, Part::Pending, &from.bytes()), part_order(group, Part::Owned, &[]));
        self.visit(&start, &end, |element, order| {
            let (id, _) = EntryId::split(&order[order.len() - EntryId::BYTES..]);
            visit(id, Pending::decode(element.value))
        })
    }

    /// Visits the ids of what is pending at a consumer from an id on.
    pub fn visit_owned(
        &self,
        group: u32,
        consumer: u32,
        from: EntryId,
        mut visit: impl FnMut(EntryId) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        let (start, end) = (owned_order(group, consumer, &from.bytes()), owned_end(group, consumer));
        self.visit(&start, &end, |_, order| visit(EntryId::split(&order[order.len() - EntryId::BYTES..]).0))
    }

    fn between(&self, start: &[u8], end: &[u8]) -> Result<u64, Stop> {
        let rank = |order| Ok(self.shard.element_rank(self.call, self.number, order)?.0);
        let (start, end): (u64, u64) = (rank(start)?, rank(end).map_err(|stop: Stop| stop)?);
        Ok(end - start)
    }

    fn visit(
        &self,
        start: &[u8],
        end: &[u8],
        mut visit: impl FnMut(Element<'_>, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        let (rank, _) = self.shard.element_rank(self.call, self.number, start)?;
        self.shard.elements_from(self.call, self.number, rank, |element| {
            let order = element.order();
            if &order[..] >= end { ControlFlow::Break(()) } else { visit(element, &order) }
        })
    }

    /// All rows of a group but its own go.
    pub fn removals(&self, group: u32) -> Result<Vec<Edit>, Stop> {
        let (start, end) = (part_order(group, Part::Consumers, &[]), part_order(group, Part::End, &[]));
        let mut edits = Vec::new();
        self.visit(&start, &end, |_, order| {
            edits.push(Edit::remove(self.number, order.to_vec()));
            ControlFlow::Continue(())
        })?;
        Ok(edits)
    }
}

/// The change that makes a group, or removes its own row.
pub fn group_edit(number: CollectionId, name: &[u8], group: Option<&Group>) -> Edit {
    Edit { number, order: group_order(name), value: group.map(Group::encode), expire_ms: 0 }
}

/// All rows of a new group: its own, those of its consumers and of what is pending at them.
pub fn edits_of(
    number: CollectionId,
    name: &[u8],
    group: &Group,
    consumers: &[(Vec<u8>, Consumer)],
    pending: &[(EntryId, Pending)],
) -> Vec<Edit> {
    let mut edits = vec![group_edit(number, name, Some(group))];
    let mut put = |order, value| edits.push(Edit::put(number, order, value));
    for (name, consumer) in consumers {
        put(part_order(group.number, Part::Consumers, name), consumer.encode());
        put(part_order(group.number, Part::Labels, &consumer.number.to_be_bytes()), name.clone());
    }
    for (id, one) in pending {
        put(part_order(group.number, Part::Pending, &id.bytes()), one.encode());
        put(owned_order(group.number, one.consumer, &id.bytes()), Vec::new());
    }
    // What stands beside each other is prepared together.
    edits.sort_unstable_by(|one, other| one.order.cmp(&other.order));
    edits
}

/// A group that a command changes: what it will be, beside what it is.
pub struct GroupEdit {
    number: CollectionId,
    name: Vec<u8>,
    pub group: Group,
    was: Group,
    /// Those that are new or have changed, with their names.
    consumers: Vec<(Vec<u8>, Consumer)>,
    /// Those that are new among them.
    new_consumers: Vec<u32>,
    removed: Vec<Edit>,
    /// What was pending at an id, and what will be.
    pending: BTreeMap<EntryId, (Option<Pending>, Option<Pending>)>,
}

impl GroupEdit {
    pub fn begin(groups: &Groups<'_>, name: &[u8]) -> Result<Option<GroupEdit>, Stop> {
        let group = groups.find(name)?;
        Ok(group.map(|group| GroupEdit {
            number: groups.number,
            name: name.to_vec(),
            group,
            was: group,
            consumers: Vec::new(),
            new_consumers: Vec::new(),
            removed: Vec::new(),
            pending: BTreeMap::new(),
        }))
    }

    /// The consumer of this name, and whether it is new.
    pub fn consumer(&mut self, groups: &Groups<'_>, name: &[u8]) -> Result<(Consumer, bool), Stop> {
        if let Some((_, consumer)) = self.consumers.iter().find(|(known, _)| known == name) {
            return Ok((*consumer, false));
        }
        if let Some(consumer) = groups.consumer(self.group.number, name)? {
            return Ok((consumer, false));
        }
        let number = self.group.consumers;
        self.group.consumers =
            number.checked_add(1).ok_or(Refusal::text("ERR the group has had as many consumers as it can have"))?;
        let consumer = Consumer { number, seen_ms: groups.call.now.unix_ms() as i64, active_ms: None };
        self.new_consumers.push(number);
        self.consumers.push((name.to_vec(), consumer));
        Ok((consumer, true))
    }

    /// Whether a consumer has come.
    pub fn has_new_consumer(&self) -> bool {
        !self.new_consumers.is_empty()
    }

    /// A consumer is this now.
    pub fn set_consumer(&mut self, name: &[u8], consumer: Consumer) {
        match self.consumers.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = consumer,
            None => self.consumers.push((name.to_vec(), consumer)),
        }
    }

    /// A consumer goes, and all that is pending at it. How many these were.
    pub fn remove_consumer(&mut self, groups: &Groups<'_>, name: &[u8]) -> Result<u64, Stop> {
        let group = self.group.number;
        let Some(consumer) = groups.consumer(group, name)? else { return Ok(0) };
        let (mut removed, mut count) = (Vec::new(), 0);
        groups.visit_owned(group, consumer.number, EntryId::MIN, |id| {
            removed.push(part_order(group, Part::Pending, &id.bytes()));
            removed.push(owned_order(group, consumer.number, &id.bytes()));
            count += 1;
            ControlFlow::Continue(())
        })?;
        removed.push(part_order(group, Part::Consumers, name));
        removed.push(part_order(group, Part::Labels, &consumer.number.to_be_bytes()));
        self.removed.extend(removed.into_iter().map(|order| Edit::remove(self.number, order)));
        Ok(count)
    }

    /// What is pending at an id by now.
    pub fn pending(&self, groups: &Groups<'_>, id: EntryId) -> Result<Option<Pending>, Stop> {
        match self.pending.get(&id) {
            Some((_, now)) => Ok(*now),
            None => groups.pending(self.group.number, id),
        }
    }

    /// Sets what is pending at an id.
    pub fn set_pending(&mut self, groups: &Groups<'_>, id: EntryId, now: Option<Pending>) -> Result<(), Stop> {
        if let Some((_, known)) = self.pending.get_mut(&id) {
            *known = now;
            return Ok(());
        }
        let was = groups.pending(self.group.number, id)?;
        self.pending.insert(id, (was, now));
        Ok(())
    }

    /// What is pending at a consumer by now from an id on, at most so many.
    pub fn owned(&self, groups: &Groups<'_>, consumer: u32, from: EntryId, count: usize) -> Result<Vec<EntryId>, Stop> {
        let changed = self.pending.range(from..);
        let mut ids: Vec<EntryId> = changed
            .filter(|(_, (_, now))| now.is_some_and(|now| now.consumer == consumer))
            .map(|(id, _)| *id)
            .collect();
        let mut found = 0;
        groups.visit_owned(self.group.number, consumer, from, |id| {
            if found == count {
                return ControlFlow::Break(());
            }
            if !self.pending.contains_key(&id) {
                ids.push(id);
                found += 1;
            }
            ControlFlow::Continue(())
        })?;
        ids.sort_unstable();
        ids.truncate(count);
        Ok(ids)
    }

    /// What is to be written.
    pub fn into_edits(self) -> Vec<Edit> {
        let GroupEdit { number, name, group, was, consumers, new_consumers, removed, pending } = self;
        let mut edits = removed;
        if group != was {
            edits.push(group_edit(number, &name, Some(&group)));
        }
        for (name, consumer) in consumers {
            if new_consumers.contains(&consumer.number) {
                let order = part_order(group.number, Part::Labels, &consumer.number.to_be_bytes());
                edits.push(Edit::put(number, order, name.clone()));
            }
            edits.push(Edit::put(number, part_order(group.number, Part::Consumers, &name), consumer.encode()));
        }
        for (id, (was, now)) in pending {
            if was == now {
                continue;
            }
            let order = part_order(group.number, Part::Pending, &id.bytes());
            edits.push(Edit { number, order, value: now.as_ref().map(Pending::encode), expire_ms: 0 });
            let [from, to] = [was, now].map(|pending| pending.map(|pending| pending.consumer));
            if from != to {
                let owned = |consumer| owned_order(group.number, consumer, &id.bytes());
                edits.extend(from.map(|consumer| Edit::remove(number, owned(consumer))));
                edits.extend(to.map(|consumer| Edit::put(number, owned(consumer), Vec::new())));
            }
        }
        // No order is there twice, and what stands beside each other is prepared together.
        edits.sort_unstable_by(|one, other| one.order.cmp(&other.order));
        edits
    }
}
