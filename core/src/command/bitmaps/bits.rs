//! SETBIT, GETBIT, BITCOUNT, BITPOS.

use super::{bit_offset, overwrite, string};
use crate::command::Call;
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::Shard;

pub fn setbit(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let offset = bit_offset(shard, &call.args[2], None)?;
    let bit = match &call.args[3] {
        b"0" => false,
        b"1" => true,
        _ => return Err(Refusal::text("ERR bit is not an integer or out of range").into()),
    };
    let (at, mask) = place(offset);
    let value = string(shard.peek(call, &call.args[1])?)?;
    let (len, byte) = (value.map(<[u8]>::len), value.and_then(|value| value.get(at).copied()));
    let before = byte.unwrap_or(0) & mask != 0;
    // What is there and stays is no change; zeros that make the string longer are.
    if byte.is_none() || before != bit {
        let byte = byte.unwrap_or(0) & !mask | if bit { mask } else { 0 };
        overwrite(shard, call, len, at, &[byte])?;
        shard.notify(call, Events::STRING, "setbit", &call.args[1]);
    }
    reply.integer(i64::from(before));
    Ok(())
}

pub fn getbit(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (at, mask) = place(bit_offset(shard, &call.args[2], None)?);
    let value = string(shard.read(call, &call.args[1])?)?.unwrap_or_default();
    reply.integer(i64::from(value.get(at).is_some_and(|byte| byte & mask != 0)));
    Ok(())
}

/// The byte of a bit, and which of its bits it is.
fn place(offset: u64) -> (usize, u8) {
    ((offset / 8) as usize, 0x80 >> (offset % 8))
}

pub fn bitcount(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let args = call.args;
    // A key that is not there is answered before the arguments are looked at.
    let Some(value) = string(shard.read(call, &args[1])?)? else {
        reply.integer(0);
        return Ok(());
    };
    let range = match args.len() {
        2 => None,
        4 | 5 => {
            let (start, end) = (args.integer(2)?, args.integer(3)?);
            // Nothing is between them, whatever the unit is.
            if start < 0 && end < 0 && start > end {
                reply.integer(0);
                return Ok(());
            }
            Some((start, Some(end), is_by_bits(call, 4)?))
        }
        _ => return Err(Refusal::Syntax.into()),
    };
    let count = Bits::of(value, range).map_or(0, |bits| bits.count());
    reply.integer(count as i64);
    Ok(())
}

pub fn bitpos(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let args = call.args;
    let bit = match args.integer(2)? {
        0 => false,
        1 => true,
        _ => return Err(Refusal::text("ERR The bit argument must be 1 or 0.").into()),
    };
    let Some(value) = string(shard.read(call, &args[1])?)? else {
        // As many zeros as one wants.
        reply.integer(if bit { -1 } else { 0 });
        return Ok(());
    };
    let range = match args.len() {
        3 => None,
        4 => Some((args.integer(3)?, None, false)),
        5 | 6 => {
            let start = args.integer(3)?;
            // The unit is looked at before the end.
            let is_by_bits = is_by_bits(call, 5)?;
            Some((start, Some(args.integer(4)?), is_by_bits))
        }
        _ => return Err(Refusal::Syntax.into()),
    };
    let has_end = range.is_some_and(|(_, end, _)| end.is_some());
    let found = Bits::of(value, range).and_then(|bits| match bits.position(bit) {
        // Behind a string whose end is not named there are zeros.
        None if !bit && !has_end => Some(value.len() as u64 * 8),
        found => found,
    });
    reply.integer(found.map_or(-1, |at| at as i64));
    Ok(())
}

/// Whether positions are those of bits: the word at `at`, if it is there.
fn is_by_bits(call: &Call<'_>, at: usize) -> Result<bool, Refusal> {
    match call.args.get(at) {
        None => Ok(false),
        Some(_) if call.args.is(at, "bit") => Ok(true),
        Some(_) if call.args.is(at, "byte") => Ok(false),
        Some(_) => Err(Refusal::Syntax),
    }
}

/// Some bits of a string that follow each other, at least one.
struct Bits<'a> {
    value: &'a [u8],
    first: u64,
    last: u64,
}

impl Bits<'_> {
    /// Positions from `start` to `end`, both included, of bytes or of bits; negative ones count from the end. All without a range.
    fn of(value: &[u8], range: Option<(i64, Option<i64>, bool)>) -> Option<Bits<'_>> {
        let (start, end, is_by_bits) = range.unwrap_or((0, None, false));
        let unit = if is_by_bits { 8 } else { 1 };
        let len = value.len() as i64 * unit;
        let position = |index: i64| if index < 0 { (len + index).max(0) } else { index };
        let (start, end) = (position(start), end.map_or(len - 1, position).min(len - 1));
        if start > end {
            return None;
        }
        // In bits at last.
        let (first, last) = match is_by_bits {
            true => (start, end),
            false => (start * 8, end * 8 + 7),
        };
        Some(Bits { value, first: first as u64, last: last as u64 })
    }

    /// The bytes that they are in, and which bits of the first and of the last of these are not among them.
    fn bytes(&self) -> (&[u8], u8, u8) {
        let bytes = &self.value[(self.first / 8) as usize..=(self.last / 8) as usize];
        let front = !(0xff >> (self.first % 8));
        let back = 0x7f_u8.checked_shr((self.last % 8) as u32).unwrap_or(0);
        (bytes, front, back)
    }

    /// Those that are set.
    fn count(&self) -> u64 {
        let (bytes, front, back) = self.bytes();
        let outside = (bytes[0] & front).count_ones() + (bytes[bytes.len() - 1] & back).count_ones();
        count_ones(bytes) - u64::from(outside)
    }

    /// Where the first one that is `bit` is in the string.
    fn position(&self, bit: bool) -> Option<u64> {
        let (bytes, front, back) = self.bytes();
        let skipped = if bit { 0 } else { 0xff };
        // What is outside is made what is not looked for.
        let edge = |at: usize| {
            let mut byte = bytes[at] ^ skipped;
            byte &= if at == 0 { !front } else { 0xff };
            byte & if at + 1 == bytes.len() { !back } else { 0xff }
        };
        let in_byte =
            |at: usize| Some(edge(at)).filter(|byte| *byte != 0).map(|byte| at * 8 + byte.leading_zeros() as usize);
        let middle = 1..(bytes.len() - 1).max(1);
        let at = in_byte(0)
            .or_else(|| first_other(&bytes[middle], skipped).and_then(|at| in_byte(at + 1)))
            .or_else(|| in_byte(bytes.len() - 1))?;
        Some(self.first / 8 * 8 + at as u64)
    }
}

fn count_ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let (groups, single) = words.as_chunks::<64>();
    // Sums of 64 words fit a byte for each of their bytes' places several times over: the compiler keeps them in vectors.
    let of_group = |group: &[[u8; 8]; 64]| group.iter().map(|word| u64::from_le_bytes(*word).count_ones()).sum::<u32>();
    let of_words: u64 = groups.iter().map(|group| u64::from(of_group(group))).sum();
    let of_single: u64 = single.iter().map(|word| u64::from(u64::from_le_bytes(*word).count_ones())).sum();
    of_words + of_single + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// The place of the first byte that is not `skipped`.
fn first_other(bytes: &[u8], skipped: u8) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    let word = words.iter().position(|word| *word != [skipped; 8]);
    let from = word.unwrap_or(words.len()) * 8;
    let within = if word.is_some() { &bytes[from..from + 8] } else { rest };
    within.iter().position(|byte| *byte != skipped).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bit(value: &[u8], at: usize) -> bool {
        value[at / 8] & (0x80 >> (at % 8)) != 0
    }

    /// All ranges of some strings, against a look at each bit.
    #[test]
    fn counts_and_positions_are_those_of_single_bits() {
        let mut long = vec![0; 40];
        long[17] = 0x10;
        for value in [&b"a"[..], b"\xff\xff", b"\0\0\0", b"foobar", &long, &[0xff; 30]] {
            let bits = value.len() as i64 * 8;
            for start in 0..bits {
                for end in start..bits {
                    let range = Bits::of(value, Some((start, Some(end), true))).unwrap();
                    let within = start as usize..=end as usize;
                    let count = within.clone().filter(|at| bit(value, *at)).count();
                    assert_eq!(range.count(), count as u64, "{value:?} {within:?}");
                    for wanted in [false, true] {
                        let found = within.clone().find(|at| bit(value, *at) == wanted);
                        assert_eq!(range.position(wanted), found.map(|at| at as u64), "{value:?} {within:?} {wanted}");
                    }
                }
            }
        }
    }

    #[test]
    fn positions_outside_are_moved_inside() {
        let ends = |start, end, is_by_bits| {
            Bits::of(b"foobar", Some((start, Some(end), is_by_bits))).map(|bits| (bits.first, bits.last))
        };
        assert_eq!(ends(0, -1, false), Some((0, 47)));
        assert_eq!(ends(i64::MIN, i64::MAX, true), Some((0, 47)));
        assert_eq!(ends(1, 1, false), Some((8, 15)));
        assert_eq!(ends(-2, -2, true), Some((46, 46)));
        assert_eq!(ends(6, 9, false), None);
        assert_eq!(ends(i64::MAX, i64::MAX, false), None);
        assert!(Bits::of(b"", None).is_none() && Bits::of(b"", Some((0, Some(-1), false))).is_none());
    }

    #[test]
    fn all_lengths_are_counted() {
        for len in 0..1200 {
            let bytes: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
            assert_eq!(count_ones(&bytes), bytes.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>(), "{len}");
        }
    }
}
