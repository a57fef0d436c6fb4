//! Owns what a driven client asks for: which key (uniform, Zipf, sequential) and which value bytes.
//! Knows nothing of sockets or of the protocol. Everything is repeatable from a seed.

use core::fmt;
use core::str::FromStr;

/// How key numbers are drawn from `0..count`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeyDistribution {
    /// Every key equally often.
    Uniform,
    /// Key of rank `r` with a frequency proportional to `1 / r^theta`; ranks are scattered over the key space.
    Zipf { theta: f64 },
    /// 0, 1, 2, ... and from the start again.
    Sequential,
}

impl FromStr for KeyDistribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "uniform" => Ok(Self::Uniform),
            "sequential" => Ok(Self::Sequential),
            "zipf" => Ok(Self::Zipf { theta: 0.99 }),
            other => {
                let theta = other.strip_prefix("zipf:").and_then(|t| t.parse::<f64>().ok());
                match theta {
                    Some(theta) if theta > 0.0 && theta <= THETA_MAX => Ok(Self::Zipf { theta }),
                    Some(theta) => Err(format!("theta {theta} is not in (0, {THETA_MAX}]")),
                    None => Err("expected uniform, sequential or zipf:THETA".to_owned()),
                }
            }
        }
    }
}

impl fmt::Display for KeyDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf { theta } => write!(f, "zipf:{theta}"),
            Self::Sequential => f.write_str("sequential"),
        }
    }
}

/// Beyond this skew practically every request meets the first key.
pub const THETA_MAX: f64 = 10.0;

/// A stream of key numbers.
#[derive(Clone, Debug)]
pub enum Keys {
    Uniform { count: u64 },
    Zipf(Zipf),
    Sequential { next: u64, stride: u64, count: u64 },
}

impl Keys {
    /// A stream over `0..count`. Of `streams` parallel sequential streams, number `stream` takes every
    /// `streams`-th key, so that together they visit each key once a round.
    #[must_use]
    pub fn new(distribution: KeyDistribution, count: u64, stream: u64, streams: u64) -> Self {
        assert!(count > 0 && streams > 0 && stream < streams, "key stream {stream} of {streams} over {count} keys");
        match distribution {
            KeyDistribution::Uniform => Self::Uniform { count },
            KeyDistribution::Zipf { theta } => Self::Zipf(Zipf::new(count, theta)),
            KeyDistribution::Sequential => Self::Sequential { next: stream % count, stride: streams, count },
        }
    }

    /// The next key number.
    #[inline]
    pub fn draw(&mut self, rng: &mut fastrand::Rng) -> u64 {
        match self {
            Self::Uniform { count } => rng.u64(0..*count),
            Self::Zipf(zipf) => zipf.draw(rng),
            Self::Sequential { next, stride, count } => {
                let drawn = *next;
                *next += *stride;
                if *next >= *count {
                    *next %= *count;
                }
                drawn
            }
        }
    }
}

/// Zipf-distributed numbers without a table, by rejection-inversion (W. Hörmann and G. Derflinger, "Rejection-inversion
/// to generate variates from monotone discrete distributions", 1996): any theta above 0, constant time and memory.
#[derive(Clone, Debug)]
pub struct Zipf {
    count: u64,
    theta: f64,
    /// The integral of the density's hat at the left end of rank 1, at the right end of the last rank.
    area_first: f64,
    area_last: f64,
    /// Points closer than this to their rank are accepted without evaluating the density.
    squeeze: f64,
    multiplier: u64,
}

impl Zipf {
    /// # Panics
    /// If `count` is 0 or `theta` is not positive.
    #[must_use]
    pub fn new(count: u64, theta: f64) -> Self {
        assert!(count > 0 && theta > 0.0, "zipf over {count} keys with theta {theta}");
        let mut zipf = Self { count, theta, area_first: 0.0, area_last: 0.0, squeeze: 0.0, multiplier: 1 };
        zipf.area_first = zipf.area(1.5) - 1.0;
        zipf.area_last = zipf.area(count as f64 + 0.5);
        zipf.squeeze = 2.0 - zipf.area_inverse(zipf.area(2.5) - zipf.density(2.0));
        zipf.multiplier = scatter_multiplier(count);
        zipf
    }

    /// A key number; the popular ones are spread over the key space.
    #[inline]
    pub fn draw(&self, rng: &mut fastrand::Rng) -> u64 {
        let rank = self.rank(rng);
        (u128::from(rank) * u128::from(self.multiplier) % u128::from(self.count)) as u64
    }

    /// A rank from 0 (most popular) to `count - 1`.
    #[inline]
    pub fn rank(&self, rng: &mut fastrand::Rng) -> u64 {
        loop {
            let u = self.area_last + rng.f64() * (self.area_first - self.area_last);
            let x = self.area_inverse(u);
            let k = (x + 0.5).floor().clamp(1.0, self.count as f64);
            if k - x <= self.squeeze || u >= self.area(k + 0.5) - self.density(k) {
                return k as u64 - 1;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.theta * x.ln()).exp()
    }

    /// The integral of the density, `(x^(1-theta) - 1) / (1 - theta)`, stable around theta = 1.
    fn area(&self, x: f64) -> f64 {
        let log = x.ln();
        exp_m1_over((1.0 - self.theta) * log) * log
    }

    fn area_inverse(&self, area: f64) -> f64 {
        // Rounding must not leave the domain of the logarithm.
        let t = (area * (1.0 - self.theta)).max(-1.0);
        (ln_1p_over(t) * area).exp()
    }
}

/// `(e^x - 1) / x`.
fn exp_m1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

/// `ln(1 + x) / x`.
fn ln_1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}

/// A number without a common divisor with `count`, so that multiplying by it permutes `0..count`.
fn scatter_multiplier(count: u64) -> u64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let mut candidate = ((count as f64 * GOLDEN) as u64).max(1);
    while common_divisor(candidate, count) != 1 {
        candidate += 1;
    }
    candidate
}

fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The length of a value in bytes: fixed, or uniform between two bounds, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueSize {
    pub min: usize,
    pub max: usize,
}

impl ValueSize {
    #[must_use]
    pub fn fixed(bytes: usize) -> Self {
        Self { min: bytes, max: bytes }
    }

    #[inline]
    pub fn draw(self, rng: &mut fastrand::Rng) -> usize {
        if self.min == self.max { self.min } else { rng.usize(self.min..=self.max) }
    }
}

impl FromStr for ValueSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |t: &str| t.trim().parse::<usize>().map_err(|e| format!("{t:?}: {e}"));
        let size = match text.split_once('-') {
            Some((min, max)) => Self { min: number(min)?, max: number(max)? },
            None => Self::fixed(number(text)?),
        };
        if size.min > size.max {
            return Err(format!("the range {text} is empty"));
        }
        if size.max > VALUE_BYTES_MAX {
            return Err(format!("{} is above the largest value of {VALUE_BYTES_MAX} bytes", size.max));
        }
        Ok(size)
    }
}

impl fmt::Display for ValueSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{}-{}", self.min, self.max) }
    }
}

/// The protocol's own limit (`proto-max-bulk-len`).
pub const VALUE_BYTES_MAX: usize = 512 << 20;

/// A pool from which values are cut: random printable bytes, so that a server that compresses gains little.
#[derive(Clone, Debug)]
pub struct ValuePool {
    bytes: Vec<u8>,
    offset_max: usize,
}

/// Small enough to stay in a core's second-level cache beside everything else.
const POOL_SPREAD_BYTES: usize = 64 << 10;

impl ValuePool {
    /// A pool for values of up to `value_bytes_max`. A larger pool begins as a smaller one does, so that values
    /// can be checked against any pool that is large enough.
    #[must_use]
    pub fn new(value_bytes_max: usize) -> Self {
        let mut rng = fastrand::Rng::with_seed(0x706f_6f6c);
        let bytes = (0..POOL_SPREAD_BYTES + value_bytes_max).map(|_| rng.u8(b'!'..=b'~')).collect();
        Self { bytes, offset_max: POOL_SPREAD_BYTES }
    }

    /// A pool of one byte only, for values that compress perfectly.
    #[must_use]
    pub fn constant(byte: u8, value_bytes_max: usize) -> Self {
        Self { bytes: vec![byte; POOL_SPREAD_BYTES + value_bytes_max], offset_max: POOL_SPREAD_BYTES }
    }

    /// The longest value that can be cut from the pool.
    #[must_use]
    pub fn value_bytes_max(&self) -> usize {
        self.bytes.len() - self.offset_max
    }

    /// Random bytes into `slot`.
    #[inline]
    pub fn fill(&self, slot: &mut [u8], rng: &mut fastrand::Rng) {
        let offset = rng.usize(0..self.offset_max);
        slot.copy_from_slice(&self.bytes[offset..offset + slot.len()]);
    }

    /// The `len` bytes that belong to `mark`: the same for the same mark and length.
    #[inline]
    #[must_use]
    pub fn marked(&self, mark: u64, len: usize) -> &[u8] {
        let offset = (mark.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % self.offset_max;
        &self.bytes[offset..offset + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank_share(theta: f64, count: u64, rank: u64) -> (f64, f64) {
        let zipf = Zipf::new(count, theta);
        let mut rng = fastrand::Rng::with_seed(7);
        let draws = 200_000;
        let hits = (0..draws).filter(|_| zipf.rank(&mut rng) == rank).count();
        let zeta: f64 = (1..=count).map(|i| (i as f64).powf(-theta)).sum();
        (hits as f64 / f64::from(draws), ((rank + 1) as f64).powf(-theta) / zeta)
    }

    #[test]
    fn zipf_frequencies_follow_the_law() {
        for theta in [0.2, 0.8, 0.99, 1.0, 1.2, 2.5] {
            for rank in [0, 1, 9] {
                let (seen, expected) = rank_share(theta, 1000, rank);
                let spread = 5.0 * (expected / 200_000.0).sqrt();
                assert!((seen - expected).abs() < spread, "theta {theta} rank {rank}: {seen} for {expected}");
            }
        }
    }

    #[test]
    fn zipf_scatter_is_a_permutation_and_stays_in_range() {
        for count in [1, 2, 10, 97, 1000, 4096] {
            let zipf = Zipf::new(count, 0.99);
            let mut seen: Vec<u64> = (0..count).map(|r| r * zipf.multiplier % count).collect();
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..count), "count {count}");
            let mut rng = fastrand::Rng::with_seed(1);
            assert!((0..1000).all(|_| zipf.draw(&mut rng) < count));
        }
    }

    #[test]
    fn parallel_sequential_streams_visit_each_key_once() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut seen = Vec::new();
        for stream in 0..3 {
            let mut keys = Keys::new(KeyDistribution::Sequential, 10, stream, 3);
            let share = (stream..10).step_by(3).count();
            seen.extend((0..share).map(|_| keys.draw(&mut rng)));
        }
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..10), "{seen:?}");
    }

    #[test]
    fn distributions_and_sizes_parse() {
        assert_eq!("zipf:1.1".parse(), Ok(KeyDistribution::Zipf { theta: 1.1 }));
        assert!("zipf:0".parse::<KeyDistribution>().is_err());
        assert!("zipf:11".parse::<KeyDistribution>().is_err());
        assert!("gauss".parse::<KeyDistribution>().is_err());
        assert_eq!("7".parse(), Ok(ValueSize { min: 7, max: 7 }));
        assert_eq!("5-9".parse(), Ok(ValueSize { min: 5, max: 9 }));
        assert!("9-5".parse::<ValueSize>().is_err());
        assert!("536870912".parse::<ValueSize>().is_ok());
        assert!("536870913".parse::<ValueSize>().is_err());
    }
}
