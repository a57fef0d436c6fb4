//! The bitmap commands: strings as bits, the highest bit of the first byte the first. They follow Redis 7.2's `bitops.c`, the order of its
//! checks included.
//!
//! A change is a splice of the bytes that it is about, in the log too, however long the string is. What counts or searches goes over
//! the string once, by words of eight bytes, and does nothing else meanwhile.

mod bits;
mod combine;
mod field;

use super::{Call, Flags, Keys, Run, Spec, Spread};
use crate::command::args::parse_integer;
use crate::error::{Refusal, Stop};
use crate::shard::{Kind, Row, Shard, Ttl};
use cairn_storage::blob::Blob;

/// The bytes of a row that must be a string.
pub(super) fn string(row: Option<Row<'_>>) -> Result<Option<&[u8]>, Stop> {
    match row {
        Some(row) if row.kind != Kind::String => Err(Refusal::WrongType.into()),
        row => Ok(row.map(|row| row.value)),
    }
}

/// A place of a bit: `#n` is `n` times `width`, where there is one.
fn bit_offset(shard: &Shard, text: &[u8], width: Option<u64>) -> Result<u64, Refusal> {
    let wrong = Refusal::text("ERR bit offset is not an integer or out of range");
    let (text, unit) = match (text, width) {
        ([b'#', rest @ ..], Some(width)) => (rest, width),
        _ => (text, 1),
    };
    let offset = parse_integer(text).and_then(|offset| u64::try_from(offset).ok()?.checked_mul(unit));
    offset.filter(|offset| offset / 8 < shard.string_bytes_max as u64).ok_or(wrong)
}

/// Overwrites bytes of a string that has `len` of them, or is not there.
fn overwrite(shard: &mut Shard, call: &Call<'_>, len: Option<usize>, at: usize, bytes: &[u8]) -> Result<(), Stop> {
    let key = &call.args[1];
    if len.is_some() {
        return shard.splice(call, key, at, bytes);
    }
    let mut value = vec![0; at + bytes.len()];
    value[at..].copy_from_slice(bytes);
    shard.write_blob(call, key, Kind::String, Ttl::Clear, &Blob::new(value))
}

const BITMAP: Spec = Spec { keys: Keys::ONE, categories: "bitmap", group: "bitmap", ..Spec::DEFAULT };
const WRITE: Flags = Flags::WRITE.and(Flags::DENYOOM);

pub const SPECS: &[Spec] = &[
    Spec {
        name: "bitcount",
        arity: -2,
        flags: Flags::READONLY,
        run: Run::Row(bits::bitcount),
        since: "2.6.0",
        complexity: "O(N) where N is the number of bytes that are looked at.",
        summary: "Counts the bits of a string that are set.",
        synopsis: "key [start end [BYTE | BIT]]",
        ..BITMAP
    },
    Spec {
        name: "bitfield",
        arity: -2,
        flags: WRITE,
        run: Run::Row(field::bitfield),
        since: "3.2.0",
        complexity: "O(1) for each operation.",
        key_uses: &["RW access update variable_flags"],
        summary: "Reads and changes integers of any width within a string.",
        synopsis: "key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset \
                   increment>]",
        ..BITMAP
    },
    Spec {
        name: "bitfield_ro",
        arity: -2,
        flags: Flags::READONLY.and(Flags::FAST),
        run: Run::Row(field::bitfield_ro),
        since: "6.0.0",
        complexity: "O(1) for each operation.",
        summary: "Reads integers of any width within a string.",
        synopsis: "key [GET encoding offset [GET encoding offset ...]]",
        ..BITMAP
    },
    Spec {
        name: "bitop",
        arity: -4,
        flags: WRITE,
        keys: Keys { first: 2, last: -1, step: 1 },
        spread: Spread::Program(combine::program),
        run: Run::Row(combine::bitop),
        since: "2.6.0",
        complexity: "O(N) where N is the number of bytes of all strings.",
        key_uses: &["OW update", "RO access"],
        summary: "Combines the bits of several strings and keeps the result at a key.",
        synopsis: "<AND | OR | XOR | NOT> destkey key [key ...]",
        ..BITMAP
    },
    Spec {
        name: "bitpos",
        arity: -3,
        flags: Flags::READONLY,
        run: Run::Row(bits::bitpos),
        since: "2.8.7",
        complexity: "O(N) where N is the number of bytes that are looked at.",
        summary: "Finds the first bit of a string that is set, or that is not.",
        synopsis: "key bit [start [end [BYTE | BIT]]]",
        ..BITMAP
    },
    Spec {
        name: "getbit",
        arity: 3,
        flags: Flags::READONLY.and(Flags::FAST),
        run: Run::Row(bits::getbit),
        since: "2.2.0",
        summary: "Answers one bit of a string.",
        synopsis: "key offset",
        ..BITMAP
    },
    Spec {
        name: "setbit",
        arity: 4,
        flags: WRITE,
        run: Run::Row(bits::setbit),
        since: "2.2.0",
        key_uses: &["RW access update"],
        summary: "Sets or clears one bit of a string, and answers what it was.",
        synopsis: "key offset value",
        ..BITMAP
    },
];
