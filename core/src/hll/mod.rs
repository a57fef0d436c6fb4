//! HyperLogLog: strings that estimate how many different elements were added to them. The bytes are Redis's own, so that what GET answers
//! there can be SET here, and the other way round.
//!
//! ```text
//! 0   "HYLL"
//! 4   encoding: 0 dense, 1 sparse
//! 5   3 bytes, zero
//! 8   the cardinality that was computed last, little endian; bit 63 set: it does not hold any more
//! 16  registers
//! ```
//!
//! There are 16384 registers, each the longest run of zeros, and the one behind it, that a hash of its elements began with: 0 to 51.
//! Dense, register n is six bits from bit 6n on, the lowest bit first, 12288 bytes altogether. Sparse (`sparse.rs`) it is runs.
//!
//! Valid is a string of at least 16 bytes with this magic, one of the encodings, and dense of exactly 12304 bytes. Whether sparse runs
//! come to 16384 registers is seen when they are read.

mod estimate;
mod sparse;

use crate::error::Refusal;

pub use estimate::cardinality;

pub const REGISTERS: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 14;
const HEADER_BYTES: usize = 16;
const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * 6 / 8;
const HASH_SEED: u64 = 0xadc8_3b19;
/// The byte of the header whose highest bit says that the cardinality does not hold.
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;

/// The value of each register.
pub type Registers = [u8; REGISTERS];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Dense,
    Sparse,
}

/// Runs that are not those of all registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupted;

impl Corrupted {
    pub fn refusal(self) -> Refusal {
        Refusal::text("INVALIDOBJ Corrupted HLL object detected")
    }
}

/// The encoding of a string that is one.
pub fn encoding(bytes: &[u8]) -> Result<Encoding, Refusal> {
    let wrong = Refusal::text("WRONGTYPE Key is not a valid HyperLogLog string value.");
    match bytes.get(..HEADER_BYTES) {
        Some([b'H', b'Y', b'L', b'L', 0, ..]) if bytes.len() == DENSE_BYTES => Ok(Encoding::Dense),
        Some([b'H', b'Y', b'L', b'L', 1, ..]) => Ok(Encoding::Sparse),
        _ => Err(wrong),
    }
}

/// An object that can be changed. Its bytes are always valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hll {
    bytes: Vec<u8>,
    encoding: Encoding,
}

impl Hll {
    /// Without elements.
    pub fn empty() -> Hll {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..5].copy_from_slice(b"HYLL\x01");
        sparse::push_zeros(&mut bytes, REGISTERS);
        Hll { bytes, encoding: Encoding::Sparse }
    }

    pub fn of(bytes: &[u8]) -> Result<Hll, Refusal> {
        Ok(Hll { encoding: encoding(bytes)?, bytes: bytes.to_vec() })
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The cardinality in the header does not hold any more.
    pub fn mark_stale(&mut self) {
        self.bytes[STALE_AT] |= STALE;
    }

    /// Adds an element. Whether anything has changed. Sparse, it is at most so many bytes.
    pub fn add(&mut self, element: &[u8], sparse_bytes_max: usize) -> Result<bool, Corrupted> {
        let (register, value) = place(element);
        self.raise(register, value, sparse_bytes_max)
    }

    /// Makes a register at least this. Whether that changes it.
    pub fn raise(&mut self, register: usize, value: u8, sparse_bytes_max: usize) -> Result<bool, Corrupted> {
        if self.encoding == Encoding::Sparse {
            match sparse::raise(&mut self.bytes, register, value, sparse_bytes_max)? {
                sparse::Raised::Not => return Ok(false),
                sparse::Raised::Done => return Ok(true),
                sparse::Raised::NoRoom => self.make_dense()?,
            }
        }
        let registers = &mut self.bytes[HEADER_BYTES..];
        if dense_register(registers, register) >= value {
            return Ok(false);
        }
        set_dense_register(registers, register, value);
        Ok(true)
    }

    pub fn make_dense(&mut self) -> Result<(), Corrupted> {
        if self.encoding == Encoding::Dense {
            return Ok(());
        }
        let mut dense = vec![0; DENSE_BYTES];
        dense[..HEADER_BYTES].copy_from_slice(&self.bytes[..HEADER_BYTES]);
        dense[4] = 0;
        let registers = &mut dense[HEADER_BYTES..];
        for run in sparse::runs(&self.bytes) {
            let run = run?;
            if run.value > 0 {
                (run.first..run.first + run.len).for_each(|at| set_dense_register(registers, at, run.value));
            }
        }
        (self.bytes, self.encoding) = (dense, Encoding::Dense);
        Ok(())
    }
}

/// Raises registers to those of a valid object.
pub fn merge(registers: &mut Registers, bytes: &[u8]) -> Result<(), Refusal> {
    match encoding(bytes)? {
        Encoding::Dense => {
            let dense = &bytes[HEADER_BYTES..];
            registers.iter_mut().enumerate().for_each(|(at, value)| *value = (*value).max(dense_register(dense, at)));
        }
        Encoding::Sparse => {
            for run in sparse::runs(bytes) {
                let run = run.map_err(Corrupted::refusal)?;
                registers[run.first..run.first + run.len].iter_mut().for_each(|value| *value = (*value).max(run.value));
            }
        }
    }
    Ok(())
}

/// The cardinality that stands in the header of a valid object, if it holds.
pub fn noted_cardinality(bytes: &[u8]) -> Option<u64> {
    let noted = bytes[8..HEADER_BYTES].try_into().expect("the header has it");
    (bytes[STALE_AT] & STALE == 0).then(|| u64::from_le_bytes(noted))
}

/// Sparse runs as PFDEBUG DECODE shows them: `Z:16383 v:1,1`.
pub fn decoded(bytes: &[u8]) -> String {
    sparse::decoded(&bytes[HEADER_BYTES..])
}

/// The register of an element, and what it raises it to.
pub fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur(element);
    let rest = hash >> INDEX_BITS | 1 << (64 - INDEX_BITS);
    (hash as usize & (REGISTERS - 1), rest.trailing_zeros() as u8 + 1)
}

fn dense_register(registers: &[u8], at: usize) -> u8 {
    let (byte, shift) = (at * 6 / 8, at * 6 % 8);
    let next = registers.get(byte + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([registers[byte], next]) >> shift) as u8 & 0x3f
}

fn set_dense_register(registers: &mut [u8], at: usize, value: u8) {
    let (byte, shift) = (at * 6 / 8, at * 6 % 8);
    let (mask, bits) = ((0x3fu16 << shift).to_le_bytes(), (u16::from(value) << shift).to_le_bytes());
    registers[byte] = registers[byte] & !mask[0] | bits[0];
    if mask[1] > 0 {
        registers[byte + 1] = registers[byte + 1] & !mask[1] | bits[1];
    }
}

/// MurmurHash64A (Austin Appleby), of little-endian words, with Redis's seed.
fn murmur(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mix = |hash: u64| hash ^ hash >> SHIFT;
    let (words, tail) = bytes.as_chunks::<8>();
    let mut hash = HASH_SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    for word in words {
        let word = mix(u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        let rest = tail.iter().rev().fold(0, |rest, byte| rest << 8 | u64::from(*byte));
        hash = (hash ^ rest).wrapping_mul(MULTIPLIER);
    }
    mix(mix(hash).wrapping_mul(MULTIPLIER))
}

#[cfg(test)]
mod tests;
