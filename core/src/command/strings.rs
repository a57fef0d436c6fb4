//! The string commands: one row each. What they answer follows Redis 7.2's `t_string.c`, the order of its checks included.
//!
//! A string is its bytes. Whether they are a number is seen when a command asks, not stored.

pub mod counters;
mod get;
mod lcs;
mod many;
mod range;
mod set;

use super::{Call, Flags, Keys, Run, Spec, Spread};
use crate::error::{Refusal, Stop};
use crate::limits::LONG_VALUE_BYTES_MIN;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Row, Shard};
use std::ops::Range;

/// The bytes of a row that must be a string.
#[inline]
fn string(row: Option<Row<'_>>) -> Result<Option<&[u8]>, Stop> {
    match row {
        Some(row) if row.kind != Kind::String => Err(Refusal::WrongType.into()),
        row => Ok(row.map(|row| row.value)),
    }
}

/// Answers the string at a key, which is `value`: a long one without a copy.
#[inline]
fn answer(shard: &Shard, call: &Call<'_>, key: &[u8], value: &[u8], reply: &mut Reply<'_>) -> Result<(), Stop> {
    if value.len() < LONG_VALUE_BYTES_MIN {
        reply.bulk(value);
        return Ok(());
    }
    answer_long(shard, call, key, 0..value.len(), reply)
}

/// Answers a long part of the string at a key.
#[cold]
fn answer_long(
    shard: &Shard,
    call: &Call<'_>,
    key: &[u8],
    range: Range<usize>,
    reply: &mut Reply<'_>,
) -> Result<(), Stop> {
    let blob = shard.blob(call, key)?.expect("what is long stands outside of the leaves");
    reply.blob(blob.part(range));
    Ok(())
}

/// The length of a string that `len` bytes are added to at `offset`, if it may be that long: `proto-max-bulk-len`.
fn grown(shard: &Shard, offset: usize, len: usize) -> Result<usize, Stop> {
    let total = offset.checked_add(len).filter(|&total| total <= shard.string_bytes_max);
    total.ok_or(Stop::Refuse(Refusal::StringTooLong))
}

/// Makes several changes one unit: after a crash all of them are there, or none. What can be found missing or refused has to
/// be found before. `bytes` is about what they need.
pub(crate) fn as_one(
    shard: &mut Shard,
    bytes: usize,
    change: impl FnOnce(&mut Shard) -> Result<(), Stop>,
) -> Result<(), Stop> {
    if shard.is_in_group() {
        return change(shard);
    }
    shard.open_group(bytes)?;
    let result = change(shard);
    shard.close_group();
    result
}

const STRING: Spec = Spec { keys: Keys::ONE, categories: "string", group: "string", ..Spec::DEFAULT };
const WRITE: Flags = Flags::WRITE.and(Flags::DENYOOM);
const WRITE_FAST: Flags = WRITE.and(Flags::FAST);
const COUNTER: Flags = WRITE_FAST.and(Flags::COUNTS);
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);

pub const SPECS: &[Spec] = &[
    Spec {
        name: "add",
        arity: 3,
        flags: COUNTER,
        run: Run::Row(counters::add_blindly),
        summary: "Adds a number to an integer and answers OK: who does not ask for the sum does not wait for others that add.",
        synopsis: "key increment",
        ..STRING
    },
    Spec {
        name: "append",
        arity: 3,
        flags: WRITE_FAST,
        run: Run::Row(range::append),
        since: "2.0.0",
        complexity: "O(N) where N is the length of the resulting string.",
        key_uses: &["RW insert"],
        summary: "Adds bytes to the end of a string, which begins empty if it is not there.",
        synopsis: "key value",
        ..STRING
    },
    Spec {
        name: "decr",
        arity: 2,
        flags: COUNTER,
        run: Run::Row(counters::decr),
        key_uses: &["RW access update"],
        summary: "Subtracts one from an integer; a key that is not there counts as 0.",
        synopsis: "key",
        ..STRING
    },
    Spec {
        name: "decrby",
        arity: 3,
        flags: COUNTER,
        run: Run::Row(counters::decrby),
        key_uses: &["RW access update"],
        summary: "Subtracts a number from an integer; a key that is not there counts as 0.",
        synopsis: "key decrement",
        ..STRING
    },
    Spec {
        name: "decrmin",
        arity: 4,
        flags: COUNTER,
        run: Run::Row(counters::decrmin),
        key_uses: &["RW access update"],
        summary: "Subtracts a number from an integer, unless that would leave less than a minimum. Answers whether it was done.",
        synopsis: "key decrement minimum",
        ..STRING
    },
    Spec {
        name: "get",
        arity: 2,
        flags: READ_FAST,
        run: Run::Row(get::get),
        summary: "Answers the string at a key.",
        synopsis: "key",
        ..STRING
    },
    Spec {
        name: "getdel",
        arity: 2,
        flags: Flags::WRITE.and(Flags::FAST),
        run: Run::Row(get::getdel),
        since: "6.2.0",
        key_uses: &["RW access delete"],
        summary: "Answers the string at a key and deletes the key.",
        synopsis: "key",
        ..STRING
    },
    Spec {
        name: "getex",
        arity: -2,
        flags: Flags::WRITE.and(Flags::FAST),
        run: Run::Row(get::getex),
        since: "6.2.0",
        key_uses: &["RW access update"],
        summary: "Answers the string at a key and changes how long the key lives.",
        synopsis: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
        ..STRING
    },
    Spec {
        name: "getrange",
        arity: 4,
        flags: Flags::READONLY,
        run: Run::Row(range::getrange),
        since: "2.4.0",
        complexity: "O(N) where N is the length of the answer.",
        summary: "Answers the part of a string between two positions, both included.",
        synopsis: "key start end",
        ..STRING
    },
    Spec {
        name: "getset",
        arity: 3,
        flags: WRITE_FAST,
        run: Run::Row(set::getset),
        key_uses: &["RW access update"],
        summary: "Sets a string and answers the one before it.",
        synopsis: "key value",
        ..STRING
    },
    Spec {
        name: "incr",
        arity: 2,
        flags: COUNTER,
        run: Run::Row(counters::incr),
        key_uses: &["RW access update"],
        summary: "Adds one to an integer; a key that is not there counts as 0.",
        synopsis: "key",
        ..STRING
    },
    Spec {
        name: "incrby",
        arity: 3,
        flags: COUNTER,
        run: Run::Row(counters::incrby),
        key_uses: &["RW access update"],
        summary: "Adds a number to an integer; a key that is not there counts as 0.",
        synopsis: "key increment",
        ..STRING
    },
    Spec {
        name: "incrbyfloat",
        arity: 3,
        flags: WRITE_FAST,
        run: Run::Row(counters::incrbyfloat),
        since: "2.6.0",
        key_uses: &["RW access update"],
        summary: "Adds a number with a fraction to a number; a key that is not there counts as 0.",
        synopsis: "key increment",
        ..STRING
    },
    Spec {
        name: "lcs",
        arity: -3,
        flags: Flags::READONLY,
        keys: Keys::TWO,
        spread: Spread::Program(lcs::lcs_over),
        run: Run::Row(lcs::lcs),
        since: "7.0.0",
        complexity: "O(N*M) where N and M are the lengths of the two strings.",
        summary: "Finds the longest common subsequence of two strings.",
        synopsis: "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        ..STRING
    },
    Spec {
        name: "mget",
        arity: -2,
        flags: READ_FAST,
        keys: Keys::ALL,
        spread: Spread::Place,
        run: Run::Row(get::mget),
        complexity: "O(N) where N is the number of keys.",
        tips: "request_policy:multi_shard",
        summary: "Answers the strings at several keys.",
        synopsis: "key [key ...]",
        ..STRING
    },
    Spec {
        name: "mset",
        arity: -3,
        flags: WRITE,
        keys: Keys::PAIRS,
        spread: Spread::Pairs,
        run: Run::Row(many::mset),
        since: "1.0.1",
        complexity: "O(N) where N is the number of keys.",
        key_uses: &["OW update"],
        tips: "request_policy:multi_shard response_policy:all_succeeded",
        summary: "Sets several strings, all of them or none.",
        synopsis: "key value [key value ...]",
        ..STRING
    },
    Spec {
        name: "msetnx",
        arity: -3,
        flags: WRITE,
        keys: Keys::PAIRS,
        spread: Spread::PairsIfNone,
        run: Run::Row(many::msetnx),
        since: "1.0.1",
        complexity: "O(N) where N is the number of keys.",
        key_uses: &["OW insert"],
        summary: "Sets several strings if none of their keys is there yet.",
        synopsis: "key value [key value ...]",
        ..STRING
    },
    Spec {
        name: "psetex",
        arity: 4,
        flags: WRITE,
        run: Run::Row(set::psetex),
        since: "2.6.0",
        key_uses: &["OW update"],
        summary: "Sets a string that lives for some milliseconds.",
        synopsis: "key milliseconds value",
        ..STRING
    },
    Spec {
        name: "set",
        arity: -3,
        flags: WRITE.and(Flags::BLIND),
        run: Run::Row(set::set),
        key_uses: &["RW access update variable_flags"],
        summary: "Sets a string, whatever was at its key.",
        synopsis: "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds \
                   | KEEPTTL]",
        ..STRING
    },
    Spec {
        name: "setex",
        arity: 4,
        flags: WRITE,
        run: Run::Row(set::setex),
        since: "2.0.0",
        key_uses: &["OW update"],
        summary: "Sets a string that lives for some seconds.",
        synopsis: "key seconds value",
        ..STRING
    },
    Spec {
        name: "setnx",
        arity: 3,
        flags: WRITE_FAST,
        run: Run::Row(set::setnx),
        key_uses: &["OW insert"],
        summary: "Sets a string if its key is not there yet.",
        synopsis: "key value",
        ..STRING
    },
    Spec {
        name: "setrange",
        arity: 4,
        flags: WRITE,
        run: Run::Row(range::setrange),
        since: "2.2.0",
        complexity: "O(N) where N is the length of the resulting string.",
        summary: "Overwrites bytes of a string from an offset on, with zeros in front where it is too short.",
        synopsis: "key offset value",
        ..STRING
    },
    Spec {
        name: "strlen",
        arity: 2,
        flags: READ_FAST,
        run: Run::Row(get::strlen),
        since: "2.2.0",
        key_uses: &["RO"],
        summary: "Answers how many bytes a string has.",
        synopsis: "key",
        ..STRING
    },
    Spec {
        name: "substr",
        arity: 4,
        flags: Flags::READONLY,
        run: Run::Row(range::getrange),
        complexity: "O(N) where N is the length of the answer.",
        summary: "The old name of GETRANGE.",
        synopsis: "key start end",
        ..STRING
    },
];
