//! BITFIELD and BITFIELD_RO: integers of 1 to 64 bits anywhere in a string.
//!
//! Operations are read first, all of them. Then they are done on the bytes that they are about, which are copied out of the string; what
//! has changed goes back as one splice, or, where operations are far from each other, as some.

use super::{bit_offset, overwrite, string};
use crate::command::Call;
use crate::command::args::parse_integer;
use crate::command::strings::as_one;
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::Shard;
use std::collections::BTreeMap;

/// What becomes of a value that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

/// An integer in the string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    offset: u64,
    bits: u32,
    is_signed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    field: Field,
    action: Action,
    overflow: Overflow,
}

pub fn bitfield(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let operations = parse(shard, call)?;
    run(shard, call, &operations, reply)
}

pub fn bitfield_ro(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let operations = parse(shard, call)?;
    if operations.iter().any(|operation| operation.action != Action::Get) {
        return Err(Refusal::text("ERR BITFIELD_RO only supports the GET subcommand").into());
    }
    run(shard, call, &operations, reply)
}

fn parse(shard: &Shard, call: &Call<'_>) -> Result<Vec<Operation>, Refusal> {
    let args = call.args;
    let (mut operations, mut overflow, mut at) = (Vec::new(), Overflow::Wrap, 2);
    while at < args.len() {
        let left = args.len() - at - 1;
        if args.is(at, "overflow") && left >= 1 {
            let names = [("wrap", Overflow::Wrap), ("sat", Overflow::Saturate), ("fail", Overflow::Fail)];
            let named = names.iter().find(|(name, _)| args.is(at + 1, name));
            overflow = named.ok_or(Refusal::text("ERR Invalid OVERFLOW type specified"))?.1;
            at += 2;
            continue;
        }
        let is_get = args.is(at, "get") && left >= 2;
        let is_change = (args.is(at, "set") || args.is(at, "incrby")) && left >= 3;
        if !is_get && !is_change {
            return Err(Refusal::Syntax);
        }
        let (is_signed, bits) = encoding(&args[at + 1])?;
        let offset = bit_offset(shard, &args[at + 2], Some(bits.into()))?;
        let field = Field { offset, bits, is_signed };
        let action = match is_get {
            true => Action::Get,
            false if args.is(at, "set") => Action::Set(args.integer(at + 3)?),
            false => Action::Add(args.integer(at + 3)?),
        };
        if is_change && field.end() > shard.string_bytes_max {
            return Err(Refusal::text("ERR bit offset is not an integer or out of range"));
        }
        operations.push(Operation { field, action, overflow });
        at += if is_get { 3 } else { 4 };
    }
    Ok(operations)
}

/// `i64` or `u63`: signed or not, and how many bits.
fn encoding(text: &[u8]) -> Result<(bool, u32), Refusal> {
    let wrong = Refusal::text(
        "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
    );
    let (is_signed, most, digits) = match text {
        [b'i', digits @ ..] => (true, 64, digits),
        [b'u', digits @ ..] => (false, 63, digits),
        _ => return Err(wrong),
    };
    let bits = parse_integer(digits).filter(|bits| (1..=most).contains(bits)).ok_or(wrong)?;
    Ok((is_signed, bits as u32))
}

fn run(shard: &mut Shard, call: &Call<'_>, operations: &[Operation], reply: &mut Reply<'_>) -> Result<(), Stop> {
    let needed = operations.iter().filter(|operation| operation.action != Action::Get).map(|it| it.field.end()).max();
    let key = &call.args[1];
    let row = if needed.is_some() { shard.peek(call, key)? } else { shard.read(call, key)? };
    let value = string(row)?;
    let len = value.map(<[u8]>::len);
    let mut patch = Patch { value: value.unwrap_or_default(), changed: BTreeMap::new() };
    let answers: Vec<Option<i64>> = operations.iter().map(|operation| operation.run(&mut patch)).collect();
    // The string is made as long as its changes might want it, even if all of them failed.
    if let Some(needed) = needed.filter(|needed| *needed > len.unwrap_or(0)) {
        patch.changed.entry(needed - 1).or_insert(0);
    }
    let runs = patch.runs();
    match &runs[..] {
        [] => {}
        [(at, bytes)] => overwrite(shard, call, len, *at, bytes)?,
        // The last one first: it makes the string as long as it gets.
        runs => as_one(shard, runs.iter().map(|(_, bytes)| bytes.len()).sum(), |shard| {
            let mut len = len;
            for (at, bytes) in runs.iter().rev() {
                overwrite(shard, call, len, *at, bytes)?;
                len = len.max(Some(at + bytes.len()));
            }
            Ok(())
        })?,
    }
    if !runs.is_empty() {
        shard.notify(call, Events::STRING, "setbit", key);
    }
    reply.array(answers.len());
    for answer in answers {
        match answer {
            Some(value) => reply.integer(value),
            None => reply.null(),
        }
    }
    Ok(())
}

/// A string with some of its bytes changed, and as many zeros behind it as anybody wants.
struct Patch<'a> {
    value: &'a [u8],
    changed: BTreeMap<usize, u8>,
}

/// Bytes between two changes, up to which they go back together.
const GAP_BYTES_MAX: usize = 64;

impl Patch<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.changed.get(&at).copied().unwrap_or_else(|| self.value.get(at).copied().unwrap_or(0))
    }

    /// What goes back, by where it begins; nothing that is as it was.
    fn runs(&self) -> Vec<(usize, Vec<u8>)> {
        let mut runs: Vec<(usize, Vec<u8>)> = Vec::new();
        for (&at, &byte) in self.changed.iter().filter(|(at, byte)| self.value.get(**at) != Some(*byte)) {
            match runs.last_mut() {
                Some((begin, bytes)) if at - (*begin + bytes.len()) <= GAP_BYTES_MAX => {
                    bytes.extend((*begin + bytes.len()..at).map(|at| self.byte(at)));
                    bytes.push(byte);
                }
                _ => runs.push((at, vec![byte])),
            }
        }
        runs
    }
}

impl Field {
    /// The bytes that a string needs to have it.
    fn end(&self) -> usize {
        ((self.offset + u64::from(self.bits) - 1) / 8 + 1) as usize
    }

    /// The least and the greatest value.
    fn bounds(&self) -> (i128, i128) {
        match self.is_signed {
            true => (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1),
            false => (0, (1 << self.bits) - 1),
        }
    }

    /// Of its lowest bits.
    fn value_of(&self, bits: u128) -> i128 {
        let bits = (bits & ((1 << self.bits) - 1)) as i128;
        if bits > self.bounds().1 { bits - (1 << self.bits) } else { bits }
    }

    /// Where it begins: a byte, and bits behind it when all of up to nine bytes are one number.
    fn place(&self) -> (usize, u32) {
        ((self.offset / 8) as usize, 72 - (self.offset % 8) as u32 - self.bits)
    }

    fn get(&self, patch: &Patch<'_>) -> i128 {
        let (at, shift) = self.place();
        let window = (0..9).fold(0u128, |window, index| window << 8 | u128::from(patch.byte(at + index)));
        self.value_of(window >> shift)
    }

    fn set(&self, patch: &mut Patch<'_>, value: i128) {
        let (at, shift) = self.place();
        let mask = ((1u128 << self.bits) - 1) << shift;
        let bits = (value as u128) << shift & mask;
        for index in 0..self.end() - at {
            let part = |window: u128| (window >> (8 * (8 - index))) as u8;
            let byte = patch.byte(at + index) & !part(mask) | part(bits);
            patch.changed.insert(at + index, byte);
        }
    }
}

impl Operation {
    /// What it answers; `None` if it has failed.
    fn run(&self, patch: &mut Patch<'_>) -> Option<i64> {
        let before = self.field.get(patch);
        let wanted = match self.action {
            Action::Get => return Some(before as i64),
            // A negative number for a field without a sign is a very large one.
            Action::Set(value) if !self.field.is_signed => i128::from(value as u64),
            Action::Set(value) => value.into(),
            Action::Add(increment) => before + i128::from(increment),
        };
        let (low, high) = self.field.bounds();
        let after = match self.overflow {
            _ if (low..=high).contains(&wanted) => wanted,
            Overflow::Wrap => self.field.value_of(wanted as u128),
            Overflow::Saturate => wanted.clamp(low, high),
            Overflow::Fail => return None,
        };
        self.field.set(patch, after);
        Some(if let Action::Set(_) = self.action { before as i64 } else { after as i64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(offset: u64, bits: u32, is_signed: bool) -> Field {
        Field { offset, bits, is_signed }
    }

    #[test]
    fn what_is_set_is_got_at_any_place_and_width() {
        for is_signed in [false, true] {
            for bits in 1..=if is_signed { 64 } else { 63 } {
                for offset in 0..17 {
                    let field = field(offset, bits, is_signed);
                    let (low, high) = field.bounds();
                    for background in [0, 0xff, 0xa5] {
                        let value = [background; 12];
                        for wanted in [low, high, 0, low + (high - low) / 3] {
                            let mut patch = Patch { value: &value, changed: BTreeMap::new() };
                            field.set(&mut patch, wanted);
                            assert_eq!(field.get(&patch), wanted, "{field:?}");
                            // Nothing beside it has changed.
                            for at in (0..96).filter(|at| !(offset..offset + u64::from(bits)).contains(at)) {
                                let bit = |byte: u8| byte & (0x80 >> (at % 8)) != 0;
                                assert_eq!(bit(patch.byte(at as usize / 8)), bit(background), "{field:?} {at}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_wrapped_kept_at_the_bound_or_refused() {
        let check = |bits, is_signed, action, expect: [Option<i64>; 3]| {
            for (overflow, expect) in [Overflow::Wrap, Overflow::Saturate, Overflow::Fail].into_iter().zip(expect) {
                let field = field(3, bits, is_signed);
                let mut patch = Patch { value: b"", changed: BTreeMap::new() };
                field.set(&mut patch, 1);
                let operation = Operation { field, action, overflow };
                let answer = operation.run(&mut patch).map(|_| field.get(&patch) as i64);
                assert_eq!(answer, expect, "{operation:?}");
            }
        };
        check(8, true, Action::Add(127), [Some(-128), Some(127), None]);
        check(8, true, Action::Add(-130), [Some(127), Some(-128), None]);
        check(8, false, Action::Add(255), [Some(0), Some(255), None]);
        check(8, false, Action::Add(-2), [Some(255), Some(0), None]);
        check(8, false, Action::Set(-1), [Some(255), Some(255), None]);
        check(64, true, Action::Add(i64::MAX), [Some(i64::MIN), Some(i64::MAX), None]);
        check(63, false, Action::Add(i64::MAX), [Some(0), Some(i64::MAX), None]);
        check(63, false, Action::Add(i64::MIN), [Some(1), Some(0), None]);
        check(1, true, Action::Set(i64::MIN), [Some(0), Some(-1), None]);
    }

    #[test]
    fn changes_that_are_near_each_other_go_back_together() {
        let mut patch = Patch { value: &[7; 200], changed: BTreeMap::new() };
        for at in [3, 5, 150] {
            patch.changed.insert(at, 1);
        }
        patch.changed.insert(160, 7);
        assert_eq!(patch.runs(), [(3, vec![1, 7, 1]), (150, vec![1])]);
    }

    #[test]
    fn encodings_have_their_bounds() {
        for (text, expect) in [("i64", Some((true, 64))), ("u63", Some((false, 63))), ("u1", Some((false, 1)))] {
            assert_eq!(encoding(text.as_bytes()).ok(), expect);
        }
        for text in ["u64", "i65", "i0", "u", "", "x8", "I8", "i08", "i-1", "u 8"] {
            assert!(encoding(text.as_bytes()).is_err(), "{text}");
        }
    }
}
