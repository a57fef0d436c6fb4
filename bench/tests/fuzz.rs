//! Hostile input: a fixed number of inputs for each target, by fixed seeds. `cairn fuzz` has more of them.
#![allow(clippy::unwrap_used)]

use cairn_bench::fuzz::{fuzz, targets};
use rustix::process::{Resource, Rlimit, setrlimit};

const EXECUTIONS: u64 = 200_000;

/// Addresses that the process may have: an allocation that inputs of 64 KiB talk it into fails here.
const MEMORY_BYTES: u64 = 2 << 30;

#[test]
fn whatever_reads_bytes_of_others_bears_all_of_them() {
    setrlimit(Resource::As, Rlimit { current: Some(MEMORY_BYTES), maximum: Some(MEMORY_BYTES) }).unwrap();
    for target in targets() {
        fuzz(&target, EXECUTIONS, 1).unwrap_or_else(|failure| panic!("{failure}"));
    }
}
