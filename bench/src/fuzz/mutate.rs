//! An input: one of a corpus, changed.

use fastrand::Rng;

/// Bytes of an input at most, where changes make it longer.
const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Changes of one input.
const CHANGES_MAX: usize = 5;

/// What lengths and counts are read from, at their bounds.
const INTERESTING: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x0000_ffff_ffff_fffe,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

pub fn input(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = corpus[rng.usize(..corpus.len())].clone();
    for _ in 0..rng.usize(1..=CHANGES_MAX) {
        change(&mut input, corpus, rng);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    if input.is_empty() {
        return input.push(rng.u8(..));
    }
    let at = rng.usize(..input.len());
    let end = rng.usize(at..=input.len().min(at + 32));
    match rng.u8(..10) {
        0 => input[at] = rng.u8(..),
        1 => input[at] ^= 1 << rng.u8(..8),
        2 => input.truncate(at),
        3 => input.insert(at, rng.u8(..)),
        4 => drop(input.drain(at..end)),
        5 => {
            let again = input[at..end].to_vec();
            input.splice(at..at, again);
        }
        6 => {
            let other = &corpus[rng.usize(..corpus.len())];
            let from = rng.usize(..=other.len());
            input.splice(at..end, other[from..].iter().copied());
        }
        7 => {
            let bytes = 1 << rng.u8(..4);
            let word = INTERESTING[rng.usize(..INTERESTING.len())].to_le_bytes();
            let end = input.len().min(at + bytes);
            input.splice(at..end, word[..bytes].iter().copied());
        }
        8 => {
            let text = INTERESTING[rng.usize(..INTERESTING.len())].to_string();
            input.splice(at..end, text.bytes());
        }
        _ => {
            let other = rng.usize(..input.len());
            input.swap(at, other);
        }
    }
}
