//! Streams.
//!
//! | part | |
//! | --- | --- |
//! | nodes | their number, and each as two strings: the id of its master (16 bytes), a listpack |
//! | facts | entries, the last id; from type 19 on the first id, the largest deleted one, and entries that there ever were |
//! | groups | their number, and each: name, last id, from type 19 on entries read (-1: not known), pending, consumers |
//! | pending | their number, and each: id (16 bytes), when it was delivered (8), how often (a length) |
//! | consumers | their number, and each: name, when it was seen (8), from type 21 on when it was active (8, -1: never), the number of what is pending at it, and the ids (16 bytes each) |
//!
//! Times are Unix milliseconds, little-endian; ids in 16 bytes are as [`EntryId::bytes`] has them, others are two lengths.
//!
//! | listpack of a node | |
//! | --- | --- |
//! | the master | live entries, deleted ones, its number of fields, these fields, 0 |
//! | each entry | flags, the distance of its id from the master's (milliseconds, number), its fields, how many elements it has before this one |
//! | its fields | flag 2: the master's, and only values stand here; else their number, and fields and values in turn |
//!
//! Flag 1: it was deleted.

use super::listpack::{Item, Listpack, Packing};
use super::{Input, Invalid, Version, What, write};
use crate::collection::packed::{self, Entries};
use crate::collection::stream::Facts;
use crate::collection::stream::groups::{Consumer, Pending};
use crate::collection::stream::id::EntryId;
use crate::limits::{RDB_NODE_BYTES_MAX, RDB_NODE_ENTRIES_MAX};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A stream as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stream {
    /// As a packed stream has them: of each the id and the fields.
    pub entries: Vec<u8>,
    pub facts: Facts,
    pub groups: Vec<Group>,
}

/// A consumer group. Its consumers' numbers are their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: Vec<u8>,
    pub last: EntryId,
    pub read: Option<i64>,
    pub consumers: Vec<(Vec<u8>, Consumer)>,
    pub pending: Vec<(EntryId, Pending)>,
}

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;
const NEVER: i64 = -1;

/// Which parts a type has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    First,
    /// Type 19.
    Second,
    /// Type 21.
    Third,
}

/// What has been read of the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub count: u64,
    pub first: EntryId,
    pub last: EntryId,
}

/// Reads a node, appends its entries, and notes them.
pub fn read_node(input: &mut Input<'_>, seen: &mut Seen, out: &mut Vec<u8>) -> Result<u64, Invalid> {
    let broken = input.invalid(What::Stream);
    let master = input.string()?;
    let master = EntryId::of_bytes(master.as_ref().try_into().map_err(|_| broken.clone())?);
    let place = input.place();
    let bytes = input.string()?;
    let mut listpack = Listpack::new(input.within(&bytes, place), bytes.len())?;
    let mut node = *seen;
    let before = node.count;
    let (live, deleted, count) = (listpack.integer()?, listpack.integer()?, listpack.integer()?);
    let mut fields = Vec::new();
    for _ in 0..count {
        fields.push(listpack.item()?);
    }
    if listpack.integer()? != 0 || count < 0 {
        return Err(broken);
    }
    let (mut gone, start) = (0, out.len());
    while let Some(flags) = listpack.advance()? {
        match read_entry(&mut listpack, flags, master, &fields, &mut node, out) {
            Ok(true) => {}
            Ok(false) => gone += 1,
            Err(invalid) => {
                out.truncate(start);
                return Err(invalid);
            }
        }
    }
    if (node.count - before) as i64 != live || gone != deleted {
        out.truncate(start);
        return Err(broken);
    }
    *seen = node;
    Ok(node.count - before)
}

/// Whether it was a live one, which it appends.
fn read_entry(
    listpack: &mut Listpack<'_>,
    flags: Item<'_>,
    master: EntryId,
    fields: &[Item<'_>],
    seen: &mut Seen,
    out: &mut Vec<u8>,
) -> Result<bool, Invalid> {
    let broken = Invalid { what: What::Stream, at: listpack.place() };
    let Item::Integer(flags) = flags else { return Err(broken) };
    let (ms, seq) = (listpack.integer()?, listpack.integer()?);
    let id = EntryId { ms: master.ms.wrapping_add_signed(ms), seq: master.seq.wrapping_add_signed(seq) };
    let mut entry = id.bytes().to_vec();
    let elements = if flags & SAME_FIELDS == 0 {
        let count = listpack.integer()?;
        for _ in 0..count {
            listpack.item()?.push(&mut entry);
            listpack.item()?.push(&mut entry);
        }
        count.wrapping_mul(2).wrapping_add(4)
    } else {
        for field in fields {
            field.push(&mut entry);
            listpack.item()?.push(&mut entry);
        }
        fields.len() as i64 + 3
    };
    if listpack.integer()? != elements {
        return Err(broken);
    }
    if flags & DELETED != 0 {
        return Ok(false);
    }
    if seen.count > 0 && id <= seen.last {
        return Err(broken);
    }
    if seen.count == 0 {
        seen.first = id;
    }
    (seen.count, seen.last) = (seen.count + 1, id);
    packed::push(out, &entry);
    Ok(true)
}

fn read_id(input: &mut Input<'_>) -> Result<EntryId, Invalid> {
    Ok(EntryId { ms: input.length()?, seq: input.length()? })
}

/// Reads what a stream is besides its entries, which have been read.
pub fn read_facts(input: &mut Input<'_>, form: Form, seen: &Seen) -> Result<Facts, Invalid> {
    let broken = input.invalid(What::Stream);
    let (len, last) = (input.length()?, read_id(input)?);
    let mut facts = Facts { len, first: seen.first, top: seen.last, last, added: len, max_deleted: EntryId::MIN };
    if form >= Form::Second {
        read_id(input)?;
        (facts.max_deleted, facts.added) = (read_id(input)?, input.length()?);
    }
    if len != seen.count || last < seen.last || facts.added < len {
        return Err(broken);
    }
    Ok(facts)
}

/// Reads a group.
pub fn read_group(input: &mut Input<'_>, form: Form, facts: &Facts) -> Result<Group, Invalid> {
    let name = input.string()?.into_owned();
    let last = read_id(input)?;
    let read = match form {
        Form::First => facts.added_up_to(last).map(|read| read as i64),
        _ => Some(input.length()? as i64).filter(|read| *read != NEVER),
    };
    let mut pending = BTreeMap::new();
    for _ in 0..input.length()? {
        let broken = input.invalid(What::Stream);
        let id = EntryId::of_bytes(input.array()?);
        let (delivered_ms, count) = (i64::from_le_bytes(input.array()?), input.length()? as i64);
        if pending.insert(id, (Pending { consumer: 0, delivered_ms, count }, false)).is_some() {
            return Err(broken);
        }
    }
    let mut consumers: Vec<(Vec<u8>, Consumer)> = Vec::new();
    let mut names = hashbrown::HashSet::new();
    for number in 0..input.length()? {
        let broken = input.invalid(What::Stream);
        let number = u32::try_from(number).map_err(|_| broken.clone())?;
        let name = input.string()?.into_owned();
        let seen_ms = i64::from_le_bytes(input.array()?);
        let active_ms = match form {
            Form::Third => Some(i64::from_le_bytes(input.array()?)).filter(|ms| *ms != NEVER),
            _ => Some(seen_ms),
        };
        if !names.insert(name.clone()) {
            return Err(broken);
        }
        consumers.push((name, Consumer { number, seen_ms, active_ms }));
        for _ in 0..input.length()? {
            let broken = input.invalid(What::Stream);
            match pending.get_mut(&EntryId::of_bytes(input.array()?)) {
                Some((pending, is_owned @ false)) => (pending.consumer, *is_owned) = (number, true),
                _ => return Err(broken),
            }
        }
    }
    if pending.values().any(|(_, is_owned)| !is_owned) {
        return Err(input.invalid(What::Stream));
    }
    let pending = pending.into_iter().map(|(id, (pending, _))| (id, pending)).collect();
    Ok(Group { name, last, read, consumers, pending })
}

/// Writes the nodes of a stream, entry by entry.
#[derive(Default)]
pub struct Nodes {
    out: Vec<u8>,
    count: u64,
    node: Option<Node>,
}

/// The node that entries are added to.
struct Node {
    master: EntryId,
    fields: Vec<Vec<u8>>,
    count: u64,
    /// Its entries alone; the master, which says how many there are, comes in front.
    entries: Vec<Entry>,
    bytes: usize,
}

/// An entry: its id, and its fields as a packed stream has them.
type Entry = (EntryId, Vec<u8>);

impl Nodes {
    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.out.len() + self.node.as_ref().map_or(0, |node| node.bytes)
    }

    pub fn add(&mut self, id: EntryId, fields: &[u8]) {
        let is_full =
            |node: &Node| node.count == RDB_NODE_ENTRIES_MAX || node.bytes + fields.len() > RDB_NODE_BYTES_MAX;
        if self.node.as_ref().is_some_and(is_full) {
            self.close();
        }
        let node = self.node.get_or_insert_with(|| Node {
            master: id,
            fields: Entries::of(fields).step_by(2).map(<[u8]>::to_vec).collect(),
            count: 0,
            entries: Vec::new(),
            bytes: 0,
        });
        node.count += 1;
        node.bytes += fields.len();
        node.entries.push((id, fields.to_vec()));
    }

    fn close(&mut self) {
        let Some(node) = self.node.take() else { return };
        let mut listpack = Packing::default();
        for value in [node.count as i64, 0, node.fields.len() as i64] {
            listpack.push_integer(value);
        }
        node.fields.iter().for_each(|field| listpack.push(field));
        listpack.push_integer(0);
        for (id, fields) in &node.entries {
            let has_same = Entries::of(fields).step_by(2).eq(node.fields.iter().map(Vec::as_slice));
            let count = Entries::of(fields).count() as i64;
            listpack.push_integer(if has_same { SAME_FIELDS } else { 0 });
            listpack.push_integer(id.ms.wrapping_sub(node.master.ms) as i64);
            listpack.push_integer(id.seq.wrapping_sub(node.master.seq) as i64);
            let elements = if has_same {
                Entries::of(fields).skip(1).step_by(2).for_each(|value| listpack.push(value));
                count / 2 + 3
            } else {
                listpack.push_integer(count / 2);
                Entries::of(fields).for_each(|entry| listpack.push(entry));
                count + 4
            };
            listpack.push_integer(elements);
        }
        write::string(&mut self.out, &node.master.bytes());
        write::string(&mut self.out, &listpack.finish());
        self.count += 1;
    }

    /// Appends the nodes to a payload.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.close();
        write::length(out, self.count);
        out.append(&mut self.out);
    }
}

fn write_id(out: &mut Vec<u8>, id: EntryId) {
    write::length(out, id.ms);
    write::length(out, id.seq);
}

/// Writes what a stream is besides its entries.
pub fn write_facts(out: &mut Vec<u8>, facts: &Facts) {
    write::length(out, facts.len);
    for id in [facts.last, facts.first, facts.max_deleted] {
        write_id(out, id);
    }
    write::length(out, facts.added);
}

/// Writes a group.
pub fn write_group(out: &mut Vec<u8>, group: &Group, version: Version) {
    write::string(out, &group.name);
    write_id(out, group.last);
    write::length(out, group.read.unwrap_or(NEVER) as u64);
    write::length(out, group.pending.len() as u64);
    let mut owned: BTreeMap<u32, Vec<EntryId>> = BTreeMap::new();
    for (id, pending) in &group.pending {
        out.extend_from_slice(&id.bytes());
        out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
        write::length(out, pending.count as u64);
        owned.entry(pending.consumer).or_default().push(*id);
    }
    write::length(out, group.consumers.len() as u64);
    for (name, consumer) in &group.consumers {
        write::string(out, name);
        out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
        if version >= Version::Eleven {
            out.extend_from_slice(&consumer.active_ms.unwrap_or(NEVER).to_le_bytes());
        }
        let owned = owned.get(&consumer.number).map_or(&[][..], Vec::as_slice);
        write::length(out, owned.len() as u64);
        owned.iter().for_each(|id| out.extend_from_slice(&id.bytes()));
    }
}

impl Stream {
    /// Visits ids and fields in order.
    pub fn visit(&self, mut visit: impl FnMut(EntryId, &[u8]) -> ControlFlow<()>) {
        for entry in Entries::of(&self.entries) {
            let (id, fields) = EntryId::split(entry);
            if visit(id, fields).is_break() {
                return;
            }
        }
    }
}
