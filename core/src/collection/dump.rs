//! Values as payloads of DUMP, and rows made of them.

use super::list::List;
use super::map::{Map, MapEdit, has_deadlines};
use super::packed::Entries;
use super::stream::groups::{Consumer, Groups, Pending};
use super::stream::id::EntryId;
use super::stream::{self, Stream};
use super::zset::{ZSet, ZSetEdit};
use super::{Form, list, score};
use crate::command::Call;
use crate::error::{Refusal, Stop};
use crate::limits::RESTORE_ELEMENTS_MAX;
use crate::rdb::stream::{Group, Nodes, write_facts, write_group};
use crate::rdb::{self, Value, Version, payload, write};
use crate::shard::{Kind, Row, Shard, Ttl};
use cairn_storage::blob::Blob;
use hashbrown::HashSet;
use std::ops::ControlFlow;

const BAD_FORMAT: &str = "ERR Bad data format";

/// What a value becomes as a payload: at most so many bytes.
struct Body {
    out: Vec<u8>,
    bytes_max: usize,
}

impl Body {
    fn flow(&self, more: usize) -> ControlFlow<()> {
        match self.out.len() + more > self.bytes_max {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        write::string(&mut self.out, bytes);
        self.flow(0)
    }

    fn refuse_large(&self, more: usize) -> Result<(), Stop> {
        if self.flow(more).is_continue() {
            return Ok(());
        }
        let bytes_max = self.bytes_max + payload::FOOTER_BYTES;
        let text = format!("ERR the value takes more than {bytes_max} bytes as a payload (proto-max-bulk-len)");
        Err(Refusal::text(text).into())
    }
}

/// The payload of a row, which the caller has just seen at this key.
pub fn dump(shard: &Shard, call: &Call<'_>, row: &Row<'_>, version: Version) -> Result<Vec<u8>, Stop> {
    let bytes_max = shard.string_bytes_max.saturating_sub(payload::FOOTER_BYTES);
    if row.kind == Kind::Hash
        && let Some(earliest_ms) = earliest(shard, call, row)?
    {
        return dump_timed(shard, call, row, earliest_ms, bytes_max);
    }
    let mut body = Body { out: payload::begin(row.kind, version), bytes_max };
    match row.kind {
        Kind::String => {
            body.refuse_large(row.value.len())?;
            _ = body.push(row.value);
        }
        Kind::List => {
            let list = List { form: row.form() };
            write::length(&mut body.out, list.len(shard, call)?);
            list.visit(shard, call, 0, |value| body.push(value))?;
        }
        Kind::Set | Kind::Hash => {
            let map = Map::new(row.form(), row.kind);
            write::length(&mut body.out, map.len(shard, call)?);
            let has_values = row.kind == Kind::Hash;
            map.visit(shard, call, 0, |member, value| {
                _ = body.push(member);
                if has_values { body.push(value) } else { body.flow(0) }
            })?;
        }
        Kind::ZSet => {
            let zset = ZSet::new(row.form());
            write::length(&mut body.out, zset.len(shard, call)?);
            zset.visit(shard, call, 0, |member, score| {
                _ = body.push(member);
                body.out.extend_from_slice(&score.to_le_bytes());
                body.flow(0)
            })?;
        }
        Kind::Stream => dump_stream(shard, call, row.form(), version, &mut body)?,
    }
    body.refuse_large(0)?;
    Ok(payload::seal(body.out, version))
}

/// The earliest deadline of a hash's fields, if any has one.
fn earliest(shard: &Shard, call: &Call<'_>, row: &Row<'_>) -> Result<Option<u64>, Stop> {
    if !has_deadlines(&row.form()) {
        return Ok(None);
    }
    let mut earliest = None;
    Map::new(row.form(), row.kind).visit_kept(shard, call, 0, |element| {
        let deadline = (element.expire_ms != 0).then_some(element.expire_ms);
        earliest = earliest.into_iter().chain(deadline).min();
        ControlFlow::Continue(())
    })?;
    Ok(earliest)
}

/// A hash whose fields expire. Those past their time, if they are not removed yet, are in it: so it is never empty.
fn dump_timed(
    shard: &Shard,
    call: &Call<'_>,
    row: &Row<'_>,
    earliest_ms: u64,
    bytes_max: usize,
) -> Result<Vec<u8>, Stop> {
    let map = Map::new(row.form(), row.kind);
    let (out, version) = payload::begin_timed();
    let mut body = Body { out, bytes_max };
    body.out.extend_from_slice(&earliest_ms.to_le_bytes());
    write::length(&mut body.out, map.len(shard, call)?);
    map.visit_kept(shard, call, 0, |element| {
        write::timed_field(&mut body.out, earliest_ms, element.expire_ms);
        _ = body.push(element.rest);
        body.push(element.value)
    })?;
    body.refuse_large(0)?;
    Ok(payload::seal(body.out, version))
}

fn dump_stream(shard: &Shard, call: &Call<'_>, form: Form<'_>, version: Version, body: &mut Body) -> Result<(), Stop> {
    let stream = Stream::new(form);
    let mut nodes = Nodes::default();
    stream.visit(shard, call, EntryId::MIN, EntryId::MAX, |id, fields| {
        nodes.add(id, fields);
        body.flow(nodes.bytes())
    })?;
    body.refuse_large(nodes.bytes())?;
    nodes.finish(&mut body.out);
    write_facts(&mut body.out, &stream.facts(shard, call)?);
    let Some(number) = stream.groups_number() else {
        write::length(&mut body.out, 0);
        return Ok(());
    };
    let groups = Groups { shard, call, number };
    let all = groups.all()?;
    write::length(&mut body.out, all.len() as u64);
    for (name, group) in all {
        let consumers: Vec<(Vec<u8>, Consumer)> = groups.consumers(group.number)?;
        let mut pending: Vec<(EntryId, Pending)> = Vec::new();
        groups.visit_pending(group.number, EntryId::MIN, |id, one| {
            pending.push((id, one));
            body.flow(pending.len() * EntryId::BYTES)
        })?;
        write_group(&mut body.out, &Group { name, last: group.last, read: group.read, consumers, pending }, version);
        body.refuse_large(0)?;
    }
    Ok(())
}

/// The value of the body of a payload.
pub fn value_of(shard: &Shard, body: &[u8]) -> Result<Value, Refusal> {
    let value = payload::decode(body, shard.string_bytes_max as u64).map_err(|_| Refusal::text(BAD_FORMAT))?;
    if is_repeated(&value) {
        return Err(Refusal::text(BAD_FORMAT));
    }
    if is_large(&value, RESTORE_ELEMENTS_MAX) {
        let text = format!("ERR the payload has more than {RESTORE_ELEMENTS_MAX} elements, please add them in pieces");
        return Err(Refusal::text(text));
    }
    Ok(value)
}

/// Whether a member or a field stands there twice, or a group.
fn is_repeated(value: &Value) -> bool {
    let mut seen = HashSet::new();
    match value {
        Value::String(_) | Value::Entries { kind: Kind::List, .. } => false,
        Value::Entries { kind, bytes, .. } => {
            let per = if *kind == Kind::Set { 1 } else { 2 };
            !Entries::of(bytes).step_by(per).all(|member| seen.insert(member))
        }
        Value::Timed { bytes, .. } => !Entries::of(bytes).step_by(3).all(|field| seen.insert(field)),
        Value::Stream(stream) => !stream.groups.iter().all(|group| seen.insert(&group.name)),
    }
}

/// Whether a value has more elements than may come at once.
fn is_large(value: &Value, elements_max: u64) -> bool {
    let count = match value {
        Value::String(_) => 0,
        Value::Entries { count, .. } | Value::Timed { count, .. } => *count,
        Value::Stream(stream) => {
            let of_groups = stream.groups.iter().map(|group| group.pending.len() + group.consumers.len() + 1);
            stream.facts.len + of_groups.sum::<usize>() as u64
        }
    };
    count > elements_max
}

/// Makes a value of [`value_of`] the row of a key, in place of whatever was there.
pub fn restore(shard: &mut Shard, call: &Call<'_>, key: &[u8], ttl: Ttl, value: Value) -> Result<(), Stop> {
    match value {
        Value::String(bytes) => shard.write_blob(call, key, Kind::String, ttl, &Blob::new(bytes)),
        Value::Entries { kind: Kind::List, bytes, .. } => {
            let change = list::anew(shard, key, Entries::of(&bytes), ttl)?;
            shard.edit_several(call, &[change])
        }
        Value::Entries { kind: Kind::ZSet, bytes, .. } => {
            let mut entries = Entries::of(&bytes);
            let mut members = Vec::new();
            while let (Some(member), Some(score)) = (entries.next(), entries.next()) {
                members.push((member.to_vec(), score::of_bytes(score)));
            }
            ZSetEdit::of(members).finish(shard, call, key, ttl)
        }
        Value::Entries { kind, bytes, .. } => {
            let mut edit = MapEdit::anew(kind);
            let mut entries = Entries::of(&bytes);
            while let Some(member) = entries.next() {
                let value = if kind == Kind::Hash { entries.next().unwrap_or_default() } else { &[] };
                edit.set(shard, call, member, value)?;
            }
            edit.finish(shard, call, key, ttl)
        }
        Value::Timed { bytes, .. } => {
            let mut edit = MapEdit::anew(Kind::Hash);
            let mut entries = Entries::of(&bytes);
            while let (Some(field), Some(value), Some(deadline)) = (entries.next(), entries.next(), entries.next()) {
                edit.set_until(shard, call, field, value, rdb::deadline_of(deadline))?;
            }
            edit.finish(shard, call, key, ttl)
        }
        Value::Stream(stream) => {
            let rdb::stream::Stream { entries, facts, groups } = *stream;
            let change = stream::anew(shard, key, &entries, &facts, &groups, ttl)?;
            shard.edit_several(call, &[change])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_may_have_so_many_elements_and_no_more() {
        let value = |count| Value::Entries { kind: Kind::List, bytes: Vec::new(), count };
        assert!(!is_large(&value(RESTORE_ELEMENTS_MAX - 1), RESTORE_ELEMENTS_MAX));
        assert!(!is_large(&value(RESTORE_ELEMENTS_MAX), RESTORE_ELEMENTS_MAX));
        assert!(is_large(&value(RESTORE_ELEMENTS_MAX + 1), RESTORE_ELEMENTS_MAX));
        let consumer = (Vec::new(), Consumer { number: 0, seen_ms: 0, active_ms: None });
        let pending = (EntryId::MIN, Pending { consumer: 0, delivered_ms: 0, count: 0 });
        let group = Group {
            name: Vec::new(),
            last: EntryId::MIN,
            read: None,
            consumers: vec![consumer],
            pending: vec![pending],
        };
        let facts = stream::Facts { len: 5, ..stream::Facts::default() };
        let stream = Value::Stream(Box::new(rdb::stream::Stream { entries: Vec::new(), facts, groups: vec![group] }));
        assert!(!is_large(&stream, 8) && is_large(&stream, 7));
    }
}
