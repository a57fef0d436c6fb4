//! The simulator on fixed seeds: the product passes, the same seed is the same run, and known bugs are found.
//! `cairn sim` runs more.
#![allow(clippy::unwrap_used)]

use cairn_bench::sim::{self, Failure, Figures, Planted};
use clap::ValueEnum;

/// Seeds that every build runs.
const SEEDS: u64 = 400;

/// Seeds within which a planted bug is found.
const BUG_SEEDS: u64 = 100;

/// Seeds that once broke a check, and what the product then did.
const REMEMBERED: &[(u64, &str)] = &[
    (31, "FLUSHDB emptied another shard whose log took no writes"),
    (67, "the same"),
    (82, "the same"),
    (144, "the same"),
];

fn check(seed: u64) -> Figures {
    sim::run(seed, None, false).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn seeds_pass() {
    let mut sum = Figures::default();
    for seed in 1..=SEEDS {
        sum += check(seed);
    }
    // A simulator in which nothing happens finds nothing.
    let least = [sum.crashes / 2, sum.recoveries_cut, sum.writes_failed, sum.space_lost, sum.flips];
    assert!(sum.commands > 200 * SEEDS && least.iter().all(|count| *count > SEEDS / 20), "{sum:?}");
}

#[test]
fn what_was_found_once_stays_mended() {
    for (seed, what) in REMEMBERED {
        sim::run(*seed, None, false).unwrap_or_else(|failure| panic!("{failure}\n(once {what})"));
    }
}

#[test]
fn a_seed_is_a_run() {
    for seed in 1..=20 {
        assert_eq!(check(seed), check(seed), "seed {seed}");
    }
    assert_ne!(check(1).hash, check(2).hash);
}

/// The seeds are those that pass without the bug.
#[test]
fn planted_bugs_are_found() {
    for bug in Planted::value_variants() {
        let found = (1..=BUG_SEEDS).find_map(|seed| sim::run(seed, Some(*bug), false).err());
        let Failure { seed, what, .. } = found.unwrap_or_else(|| panic!("{bug} is not found in {BUG_SEEDS} seeds"));
        println!("{bug}: seed {seed}: {what}");
    }
}
