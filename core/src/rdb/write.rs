//! Writes values, and what stands between them in a file. Strings are written unpacked, and collections in the form that every version reads: who reads them
//! chooses smaller encodings by itself.

use super::stream::{Nodes, write_facts, write_group};
use super::{Crc64, Value, Version, deadline_of, kind, opcode};
use crate::collection::packed::Entries;
use crate::shard::Kind;
use std::ops::ControlFlow;

pub fn length(out: &mut Vec<u8>, len: u64) {
    match len {
        0..0x40 => out.push(len as u8),
        0x40..0x4000 => out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
        _ => match u32::try_from(len) {
            Ok(len) => {
                out.push(0x80);
                out.extend_from_slice(&len.to_be_bytes());
            }
            Err(_) => {
                out.push(0x81);
                out.extend_from_slice(&len.to_be_bytes());
            }
        },
    }
}

pub fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The type of a value that is written here.
pub fn type_of(kind: Kind, version: Version) -> u8 {
    match (kind, version) {
        (Kind::String, _) => kind::STRING,
        (Kind::List, _) => kind::LIST,
        (Kind::Set, _) => kind::SET,
        (Kind::ZSet, _) => kind::ZSET,
        (Kind::Hash, _) => kind::HASH,
        (Kind::Stream, Version::Ten) => kind::STREAM_2,
        (Kind::Stream, Version::Eleven | Version::Twelve) => kind::STREAM_3,
    }
}

/// A value, behind its type.
pub fn value(out: &mut Vec<u8>, value: &Value, version: Version) {
    match value {
        Value::String(bytes) => string(out, bytes),
        Value::Entries { kind, bytes, count } => {
            length(out, *count);
            entries(out, *kind, bytes);
        }
        Value::Timed { bytes, count } => timed(out, bytes, *count),
        Value::Stream(stream) => {
            let mut nodes = Nodes::default();
            stream.visit(|id, fields| {
                nodes.add(id, fields);
                ControlFlow::Continue(())
            });
            nodes.finish(out);
            write_facts(out, &stream.facts);
            length(out, stream.groups.len() as u64);
            stream.groups.iter().for_each(|group| write_group(out, group, version));
        }
    }
}

/// Elements of a collection that is no stream, as it stands packed.
pub fn entries(out: &mut Vec<u8>, kind: Kind, packed: &[u8]) {
    for (at, entry) in Entries::of(packed).enumerate() {
        match kind == Kind::ZSet && at % 2 == 1 {
            true => out.extend_from_slice(entry),
            false => string(out, entry),
        }
    }
}

/// Fields with their values and deadlines, as [`Value::Timed`] has them.
fn timed(out: &mut Vec<u8>, packed: &[u8], count: u64) {
    let deadlines = Entries::of(packed).skip(2).step_by(3).map(deadline_of);
    let earliest_ms = deadlines.filter(|ms| *ms != 0).min().unwrap_or(0);
    out.extend_from_slice(&earliest_ms.to_le_bytes());
    length(out, count);
    let mut entries = Entries::of(packed);
    while let (Some(field), Some(value), Some(deadline)) = (entries.next(), entries.next(), entries.next()) {
        timed_field(out, earliest_ms, deadline_of(deadline));
        string(out, field);
        string(out, value);
    }
}

/// What stands in front of a field: its deadline, as it is to the earliest one.
pub fn timed_field(out: &mut Vec<u8>, earliest_ms: u64, expire_ms: u64) {
    length(out, if expire_ms == 0 { 0 } else { expire_ms - earliest_ms + 1 });
}

/// The beginning of a file.
pub fn header(out: &mut Vec<u8>, version: u16) {
    out.extend_from_slice(format!("REDIS{version:04}").as_bytes());
}

pub fn aux(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.push(opcode::AUX);
    string(out, name.as_bytes());
    string(out, value);
}

/// What follows is of this database, which has so many keys, some of them with a time to live.
pub fn database(out: &mut Vec<u8>, db: u8, keys: u64, expiring: u64) {
    out.push(opcode::DATABASE);
    length(out, db.into());
    out.push(opcode::SIZES);
    length(out, keys);
    length(out, expiring);
}

pub fn function(out: &mut Vec<u8>, text: &[u8]) {
    out.push(opcode::FUNCTION);
    string(out, text);
}

/// A key, up to its value: `typed` is the type and the value, as a payload has them.
pub fn key(out: &mut Vec<u8>, key: &[u8], expire_ms: Option<u64>, typed: &[u8]) {
    if let Some(ms) = expire_ms {
        out.push(opcode::EXPIRE_MS);
        out.extend_from_slice(&ms.to_le_bytes());
    }
    let (of_type, value) = typed.split_at(1);
    out.extend_from_slice(of_type);
    string(out, key);
    out.extend_from_slice(value);
}

/// The end of a file; `crc` has seen all that is before.
pub fn end(out: &mut Vec<u8>, mut crc: Crc64) {
    crc.add(out);
    crc.add(&[opcode::END]);
    out.push(opcode::END);
    out.extend_from_slice(&crc.value().to_le_bytes());
}
