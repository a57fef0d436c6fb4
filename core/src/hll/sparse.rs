//! Registers as runs of equal values, Redis's opcodes:
//!
//! ```text
//! 00nnnnnn             n + 1 registers of 0                  (zero, 1 to 64)
//! 01nnnnnn nnnnnnnn    n + 1 registers of 0, high byte first (xzero, 1 to 16384)
//! 1vvvvvnn             n + 1 registers of v + 1              (val, 1 to 4 of 1 to 32)
//! ```
//!
//! How a run is split, and which neighbours become one again, is as in Redis: the same additions give the same bytes.

use super::{Corrupted, HEADER_BYTES, REGISTERS};

const VALUE_MAX: u8 = 32;
const VALUES_MAX: usize = 4;
const ZEROS_MAX: usize = 64;
/// Opcodes that are looked at, from the one before a change on, for neighbours to join.
const JOINED_MAX: usize = 5;

/// Registers that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub first: usize,
    pub len: usize,
    /// 0 to 32.
    pub value: u8,
}

pub enum Raised {
    /// It is that already.
    Not,
    Done,
    /// Only a dense one can have it.
    NoRoom,
}

/// One opcode: how many registers, of which value, and its bytes.
fn opcode(bytes: &[u8]) -> Option<(usize, u8, usize)> {
    let first = *bytes.first()?;
    Some(match first >> 6 {
        0 => (usize::from(first & 0x3f) + 1, 0, 1),
        1 => (usize::from(first & 0x3f) << 8 | usize::from(*bytes.get(1)?), 0, 2),
        _ => (usize::from(first & 3) + 1, (first >> 2 & 0x1f) + 1, 1),
    })
    .map(|(len, value, bytes)| if bytes == 2 { (len + 1, value, bytes) } else { (len, value, bytes) })
}

/// The runs of an object; at last an error if they are not those of all registers.
pub fn runs(bytes: &[u8]) -> impl Iterator<Item = Result<Run, Corrupted>> {
    let (mut at, mut first, mut has_ended) = (HEADER_BYTES, 0, false);
    std::iter::from_fn(move || {
        if has_ended {
            return None;
        }
        if at == bytes.len() && first == REGISTERS {
            return None;
        }
        let Some((len, value, taken)) = opcode(&bytes[at..]).filter(|(len, ..)| first + len <= REGISTERS) else {
            has_ended = true;
            return Some(Err(Corrupted));
        };
        let run = Run { first, len, value };
        at += taken;
        first += len;
        Some(Ok(run))
    })
}

pub fn push_zeros(bytes: &mut Vec<u8>, len: usize) {
    match len {
        0 => {}
        1..=ZEROS_MAX => bytes.push((len - 1) as u8),
        _ => bytes.extend([0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]),
    }
}

fn push_values(bytes: &mut Vec<u8>, value: u8, len: usize) {
    if len > 0 {
        bytes.push(values(value, len));
    }
}

fn values(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

/// Makes a register at least `value`, in at most so many bytes.
pub fn raise(bytes: &mut Vec<u8>, register: usize, value: u8, bytes_max: usize) -> Result<Raised, Corrupted> {
    if value > VALUE_MAX {
        return Ok(Raised::NoRoom);
    }
    // The opcode that has the register, and where the one before it begins.
    let (mut before, mut at, mut first) = (HEADER_BYTES, HEADER_BYTES, 0);
    let (len, old, taken) = loop {
        let found = opcode(&bytes[at..]).ok_or(Corrupted)?;
        if register < first + found.0 {
            break found;
        }
        (before, at, first) = (at, at + found.2, first + found.0);
    };
    if old >= value {
        return Ok(Raised::Not);
    }
    let mut new = Vec::with_capacity(5);
    let (front, back) = (register - first, first + len - 1 - register);
    if old == 0 {
        push_zeros(&mut new, front);
        push_values(&mut new, value, 1);
        push_zeros(&mut new, back);
    } else {
        push_values(&mut new, old, front);
        push_values(&mut new, value, 1);
        push_values(&mut new, old, back);
    }
    if new.len() > taken && bytes.len() + new.len() - taken > bytes_max {
        return Ok(Raised::NoRoom);
    }
    bytes.splice(at..at + taken, new);
    join(bytes, before);
    Ok(Raised::Done)
}

/// Joins neighbours of one value.
fn join(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOINED_MAX {
        let Some((len, value, taken)) = opcode(&bytes[at.min(bytes.len())..]) else { return };
        if value > 0
            && let Some((more, same, _)) = opcode(&bytes[at + 1..])
            && same == value
            && len + more <= VALUES_MAX
        {
            bytes[at + 1] = values(value, len + more);
            bytes.remove(at);
            continue;
        }
        at += taken;
    }
}

/// For people, as far as it can be read.
pub fn decoded(mut bytes: &[u8]) -> String {
    let mut words = Vec::new();
    while let Some((len, value, taken)) = opcode(bytes) {
        words.push(match (value, taken) {
            (0, 1) => format!("z:{len}"),
            (0, _) => format!("Z:{len}"),
            _ => format!("v:{value},{len}"),
        });
        bytes = &bytes[taken..];
    }
    words.join(" ")
}
