//! Transactions over several shards, crashed at every operation, as many as every build has time for; and the bugs that this
//! finds. `cairn sim --transactions` makes more.
#![allow(clippy::unwrap_used)]

use cairn_bench::sim::Planted;
use cairn_bench::sim::shard::txns::{self, Figures};

const RUNS: u64 = 8;

/// Of each run, at most.
const IMAGES: u64 = 1000;

#[test]
fn a_transaction_is_on_all_shards_or_on_none() {
    let mut sum = [0; 6];
    for seed in 1..=RUNS {
        let figures = txns::run(seed, None, None, IMAGES).unwrap_or_else(|(id, what)| panic!("image {id}: {what}"));
        let Figures { images, committed, aborted, found_committed, found_aborted, checkpoints, .. } = figures;
        let counts = [images, committed, aborted, found_committed, found_aborted, checkpoints];
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    // Where nothing happens nothing is found.
    assert!(sum.iter().all(|count| *count > 5), "{sum:?}");
}

/// Runs in which a bug is found.
const BUG_RUNS: u64 = 20;

#[test]
fn planted_bugs_are_found() {
    for bug in Planted::of_transactions() {
        let found = (1..=BUG_RUNS).find_map(|seed| txns::run(seed, Some(bug), None, IMAGES).err());
        let (id, what) = found.unwrap_or_else(|| panic!("{bug} is not found"));
        println!("{bug}: image {id}: {what}");
    }
}
