//! What happened in a run: its last lines, and a hash over all of them that tells whether two runs are the same.

use std::collections::VecDeque;
use std::fmt::{self, Write};

/// Lines that are kept.
const LINES_MAX: usize = 60;

/// FNV-1a.
const HASH_BEGIN: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_PRIME: u64 = 0x100_0000_01b3;

pub struct Trace {
    lines: VecDeque<String>,
    hash: u64,
    count: u64,
    /// Each line is printed too.
    is_verbose: bool,
}

impl Trace {
    pub fn new(is_verbose: bool) -> Trace {
        Trace { lines: VecDeque::with_capacity(LINES_MAX), hash: HASH_BEGIN, count: 0, is_verbose }
    }

    /// Adds a line.
    pub fn add(&mut self, now_ns: u64, what: fmt::Arguments<'_>) {
        let mut line = if self.lines.len() == LINES_MAX { self.lines.pop_front() } else { None }.unwrap_or_default();
        line.clear();
        let (ms, us) = (now_ns / 1_000_000, now_ns / 1000 % 1000);
        write!(line, "{ms:>6}.{us:03} {what}").expect("a string takes everything");
        self.hash = hash(self.hash, line.as_bytes());
        self.count += 1;
        if self.is_verbose {
            println!("{line}");
        }
        self.lines.push_back(line);
    }

    /// The same for two runs only if all their lines are.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The last lines.
    pub fn tail(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Goes on with a hash over some bytes.
fn hash(before: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(before, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(HASH_PRIME))
}

/// The hash of some bytes alone: how a trace names what is too long for it.
pub fn digest(bytes: &[u8]) -> u64 {
    hash(HASH_BEGIN, bytes)
}
