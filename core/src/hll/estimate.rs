//! The cardinality that registers stand for: the improved estimator of Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog
//! sketches", arXiv:1702.01284, algorithm 6, as Redis uses it.

use super::{REGISTERS, Registers};

/// Bits of a hash behind those that choose the register; a register is at most one more.
const RANK_BITS: usize = 50;
/// 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;

pub fn cardinality(registers: &Registers) -> u64 {
    let mut counts = [0u32; 64];
    registers.iter().for_each(|value| counts[usize::from(value & 0x3f)] += 1);
    let m = REGISTERS as f64;
    let mut z = m * tau((m - f64::from(counts[RANK_BITS + 1])) / m);
    for rank in (1..=RANK_BITS).rev() {
        z = (z + f64::from(counts[rank])) * 0.5;
    }
    z += m * sigma(f64::from(counts[0]) / m);
    (ALPHA * m * m / z).round() as u64
}

/// The sum of x to the power of 2^k, times 2^(k-1), from k = 1 on, and x.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
