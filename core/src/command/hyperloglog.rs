//! The HyperLogLog commands, as Redis 7.2's `hyperloglog.c` has them; [`crate::hll`] has the object.
//!
//! PFCOUNT does not note what it has counted in the object, as reads change nothing here: an object that Redis has counted is answered
//! from what it has noted, one that was changed since is counted each time, which takes some microseconds.

use super::bitmaps::string;
use super::program::Steps;
use super::strings::as_one;
use super::{Call, Flags, Flow, Keys, Run, Spec, Spread};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::hll::{self, Corrupted, Encoding, Hll, REGISTERS, Registers};
use crate::machine::Machine;
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::resp::read::Reader;
use crate::shard::{Kind, Shard, Ttl};

fn pfadd(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let bytes_max = shard.thresholds.hll_sparse_bytes;
    let before = string(shard.peek(call, key)?)?;
    let is_new = before.is_none();
    let mut hll = before.map_or_else(|| Ok(Hll::empty()), Hll::of)?;
    let mut has_changed = is_new;
    for element in call.args.skip(2).iter() {
        has_changed |= hll.add(element, bytes_max).map_err(Corrupted::refusal)?;
    }
    if has_changed {
        hll.mark_stale();
        let after = hll.into_bytes();
        let changes = changes(before.unwrap_or_default(), &after);
        keep(shard, call, key, &after, changes)?;
        shard.notify(call, Events::STRING, "pfadd", key);
    }
    reply.integer(i64::from(has_changed));
    Ok(())
}

/// Changes of an object that are kept one by one, and bytes between two of them up to which they are one.
const CHANGES_MAX: usize = 8;
const GAP_BYTES_MAX: usize = 64;

/// Where two objects of one length differ, if those are few places.
fn changes(before: &[u8], after: &[u8]) -> Option<Vec<(usize, Vec<u8>)>> {
    if before.len() != after.len() {
        return None;
    }
    let mut changes: Vec<(usize, Vec<u8>)> = Vec::new();
    for at in (0..after.len()).filter(|at| before[*at] != after[*at]) {
        let is_full = changes.len() == CHANGES_MAX;
        match changes.last_mut() {
            Some((begin, bytes)) if at - (*begin + bytes.len()) <= GAP_BYTES_MAX => {
                bytes.extend_from_slice(&after[*begin + bytes.len()..=at]);
            }
            _ if is_full => return None,
            _ => changes.push((at, vec![after[at]])),
        }
    }
    Some(changes)
}

/// Makes an object that of a key: by its changes, or whole.
fn keep(
    shard: &mut Shard,
    call: &Call<'_>,
    key: &[u8],
    after: &[u8],
    changes: Option<Vec<(usize, Vec<u8>)>>,
) -> Result<(), Stop> {
    match changes.as_deref() {
        None => shard.write(call, key, Kind::String, Ttl::Keep, after),
        Some([]) => Ok(()),
        Some([(at, bytes)]) => shard.splice(call, key, *at, bytes),
        Some(changes) => as_one(shard, changes.iter().map(|(_, bytes)| bytes.len()).sum(), |shard| {
            changes.iter().try_for_each(|(at, bytes)| shard.splice(call, key, *at, bytes))
        }),
    }
}

fn pfcount(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let mut registers = Box::new([0; REGISTERS]);
    for key in call.args.skip(1).iter() {
        let Some(bytes) = string(shard.read(call, key)?)? else { continue };
        hll::encoding(bytes)?;
        if call.args.len() == 2
            && let Some(noted) = hll::noted_cardinality(bytes)
        {
            reply.integer(noted as i64);
            return Ok(());
        }
        hll::merge(&mut registers, bytes)?;
    }
    reply.integer(hll::cardinality(&registers) as i64);
    Ok(())
}

fn pfmerge(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let mut union = Union::new();
    for key in call.args.skip(1).iter() {
        if let Some(bytes) = string(shard.peek(call, key)?)? {
            union.add(bytes)?;
        }
    }
    let key = &call.args[1];
    let target = string(shard.peek(call, key)?)?;
    let after = union.into_target(target, shard.thresholds.hll_sparse_bytes)?;
    let changes = changes(target.unwrap_or_default(), &after);
    keep(shard, call, key, &after, changes)?;
    shard.notify(call, Events::STRING, "pfadd", key);
    reply.ok();
    Ok(())
}

/// The objects of PFMERGE as one.
struct Union {
    registers: Box<Registers>,
    has_dense: bool,
}

impl Union {
    fn new() -> Union {
        Union { registers: Box::new([0; REGISTERS]), has_dense: false }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.has_dense |= hll::encoding(bytes)? == Encoding::Dense;
        hll::merge(&mut self.registers, bytes)
    }

    /// The object that was `target`, with all that was added.
    fn into_target(self, target: Option<&[u8]>, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
        let mut after = target.map_or_else(|| Ok(Hll::empty()), Hll::of)?;
        if self.has_dense {
            after.make_dense().map_err(Corrupted::refusal)?;
        }
        for (register, &value) in self.registers.iter().enumerate().filter(|(_, value)| **value > 0) {
            after.raise(register, value, bytes_max).map_err(Corrupted::refusal)?;
        }
        after.mark_stale();
        Ok(after.into_bytes())
    }
}

/// All objects at a command's keys, which are on several shards, as one, and what is at the first key.
fn union_over(call: &Call<'_>, steps: &mut dyn Steps) -> Result<(Union, Option<Vec<u8>>), Stop> {
    let (mut union, mut first) = (Union::new(), None);
    for (number, key) in call.args.skip(1).iter().enumerate() {
        let reply = steps.run(&[b"get", key])?;
        let Some(bytes) = Reader::new(&reply).text() else { continue };
        union.add(bytes)?;
        if number == 0 {
            first = Some(bytes.to_vec());
        }
    }
    Ok((union, first))
}

fn count_over(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (union, _) = union_over(call, steps)?;
    reply.integer(hll::cardinality(&union.registers) as i64);
    Ok(())
}

fn merge_over(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (union, target) = union_over(call, steps)?;
    let after = union.into_target(target.as_deref(), steps.shard().thresholds.hll_sparse_bytes)?;
    steps.answer(&[b"pf|store", &call.args[1], &after], reply)
}

/// A step of PFMERGE: `key object`.
fn store(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    shard.write(call, &call.args[1], Kind::String, Ttl::Keep, &call.args[2])?;
    shard.notify(call, Events::STRING, "pfadd", &call.args[1]);
    reply.ok();
    Ok(())
}

/// Steps of commands on several objects.
pub const STEPS: &[Spec] = &[Spec { name: "pf|store", flags: WRITE, keys: Keys::ONE, run: Run::Row(store), ..HLL }];

/// PFDEBUG DECODE, ENCODING, GETREG and TODENSE; the last two make the object dense.
fn pfdebug(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (args, key) = (call.args, &call.args[2]);
    let bytes = string(shard.peek(call, key)?)?.ok_or(Refusal::text("ERR The specified key does not exist"))?;
    let mut hll = Hll::of(bytes)?;
    let encoding = hll.encoding();
    let names = ["getreg", "decode", "encoding", "todense"];
    let word = String::from_utf8_lossy(&args[1]).into_owned();
    if !names.iter().any(|name| args.is(1, name)) {
        return Err(Refusal::text(format!("ERR Unknown PFDEBUG subcommand '{word}'")).into());
    }
    if args.len() != 3 {
        return Err(Refusal::text(format!("ERR Wrong number of arguments for the '{word}' subcommand")).into());
    }
    if args.is(1, "decode") {
        if encoding != Encoding::Sparse {
            return Err(Refusal::text("ERR HLL encoding is not sparse").into());
        }
        reply.bulk(hll::decoded(bytes).as_bytes());
        return Ok(());
    }
    if args.is(1, "encoding") {
        reply.simple(if encoding == Encoding::Dense { "dense" } else { "sparse" });
        return Ok(());
    }
    if encoding == Encoding::Sparse {
        hll.make_dense().map_err(Corrupted::refusal)?;
        shard.write(call, key, Kind::String, Ttl::Keep, &hll.clone().into_bytes())?;
    }
    if args.is(1, "todense") {
        reply.integer(i64::from(encoding == Encoding::Sparse));
        return Ok(());
    }
    let mut registers: Box<Registers> = Box::new([0; REGISTERS]);
    hll::merge(&mut registers, &hll.into_bytes())?;
    reply.array(REGISTERS);
    registers.iter().for_each(|value| reply.integer((*value).into()));
    Ok(())
}

/// Elements of the test: a few milliseconds' work.
const TESTED: u32 = 50_000;

/// Whether counting works here: both encodings agree, and neither is far off.
fn pfselftest(machine: &mut Machine, _: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let (mut small, mut dense) = (Hll::empty(), Hll::empty());
    dense.make_dense().map_err(Corrupted::refusal)?;
    let bytes_max = machine.shard.thresholds.hll_sparse_bytes;
    let mut next = 10;
    for number in 1..=TESTED {
        small.add(&number.to_le_bytes(), bytes_max).map_err(Corrupted::refusal)?;
        dense.add(&number.to_le_bytes(), bytes_max).map_err(Corrupted::refusal)?;
        if number == next || number == TESTED {
            next *= 10;
            let (mut one, mut other) = (Union::new(), Union::new());
            one.add(&small.clone().into_bytes())?;
            other.add(&dense.clone().into_bytes())?;
            if one.registers != other.registers {
                return Err(Refusal::text("ERR TESTFAILED dense/sparse disagree").into());
            }
            let count = hll::cardinality(&one.registers);
            // Six times the standard error, which is 1.04 of the square root of the registers' number.
            if count.abs_diff(number.into()) * 20 > u64::from(number) + 20 {
                return Err(Refusal::text(format!(
                    "ERR TESTFAILED Too big error. card:{number} is counted as {count}"
                ))
                .into());
            }
        }
    }
    reply.ok();
    Ok(Flow::Done)
}

const HLL: Spec = Spec { categories: "hyperloglog", group: "hyperloglog", since: "2.8.9", ..Spec::DEFAULT };
const WRITE: Flags = Flags::WRITE.and(Flags::DENYOOM);

pub const SPECS: &[Spec] = &[
    Spec {
        name: "pfadd",
        arity: -2,
        flags: WRITE.and(Flags::FAST),
        keys: Keys::ONE,
        run: Run::Row(pfadd),
        complexity: "O(1) for each element.",
        key_uses: &["RW insert"],
        summary: "Adds elements to what counts how many different ones there are.",
        synopsis: "key [element [element ...]]",
        ..HLL
    },
    Spec {
        name: "pfcount",
        arity: -2,
        flags: Flags::READONLY.and(Flags::MAY_REPLICATE),
        keys: Keys::ALL,
        spread: Spread::Program(count_over),
        run: Run::Row(pfcount),
        complexity: "O(N) where N is the number of keys, each of some microseconds.",
        key_uses: &["RO access"],
        summary: "Estimates how many different elements were added, to one key or to several together.",
        synopsis: "key [key ...]",
        ..HLL
    },
    Spec {
        name: "pfdebug",
        arity: 3,
        flags: WRITE.and(Flags::ADMIN),
        keys: Keys { first: 2, last: 2, step: 1 },
        run: Run::Row(pfdebug),
        complexity: "O(1)",
        key_uses: &["RW access"],
        summary: "Shows how a HyperLogLog is kept.",
        synopsis: "<GETREG | DECODE | ENCODING | TODENSE> key",
        ..HLL
    },
    Spec {
        name: "pfmerge",
        arity: -2,
        flags: WRITE,
        keys: Keys::ALL,
        spread: Spread::Program(merge_over),
        run: Run::Row(pfmerge),
        complexity: "O(N) where N is the number of keys, each of some microseconds.",
        key_uses: &["RW access insert", "RO access"],
        summary: "Adds to a key what was added to others.",
        synopsis: "destkey [sourcekey [sourcekey ...]]",
        ..HLL
    },
    Spec {
        name: "pfselftest",
        arity: 1,
        flags: Flags::ADMIN,
        run: Run::Server(pfselftest),
        complexity: "O(1)",
        summary: "Tests that HyperLogLogs count.",
        synopsis: "",
        ..HLL
    },
];
