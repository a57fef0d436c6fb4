//! Histories of a simulated server, transactions over several shards included, are strictly serializable whatever crashes and fails; and
//! known bugs show in them. `cairn sim --histories` makes more.
#![allow(clippy::unwrap_used)]

use cairn_bench::sim::histories::{self, Figures, SERIALIZABLE};
use cairn_bench::sim::{Failure, Planted};

/// Operations that every build makes histories of.
const OPERATIONS: u64 = 100_000;

fn count(figures: &Figures) -> u64 {
    figures.committed + figures.aborted + figures.unknown
}

fn check(seed: u64) -> Figures {
    histories::run(seed, None, false).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn histories_are_strictly_serializable() {
    let mut sum = Figures::default();
    for seed in 1.. {
        sum += check(seed);
        if count(&sum) >= OPERATIONS {
            break;
        }
    }
    // Where nothing happens nothing is found.
    let Figures { across, aborted, unknown, refused, cut_off, crashes, shutdowns, .. } = sum;
    let Figures { recoveries_cut, writes_failed, space_lost, checkpoints, page_reads, .. } = sum;
    assert!(across > OPERATIONS / 5 && aborted > OPERATIONS / 50 && unknown > OPERATIONS / 200, "{sum:?}");
    assert!(refused > 20 && cut_off > 500 && crashes > 200 && shutdowns > 5 && recoveries_cut > 20, "{sum:?}");
    assert!(writes_failed > 10 && space_lost > 0 && checkpoints > 500 && page_reads > 500, "{sum:?}");
}

#[test]
fn a_seed_is_a_run() {
    for seed in 1..=5 {
        assert_eq!(check(seed), check(seed), "seed {seed}");
    }
    assert_ne!(check(1).hash, check(2).hash);
}

/// Seeds within which a planted bug shows in a history.
const BUG_SEEDS: u64 = 150;

/// The seeds are those that pass without the bug. That an assertion of the product notices it too is not enough.
#[test]
fn planted_bugs_show_in_histories() {
    for bug in Planted::of_histories() {
        let found = (1..=BUG_SEEDS).find_map(|seed| {
            let failure = histories::run(seed, Some(bug), false).err();
            failure.filter(|failure| failure.what.starts_with(SERIALIZABLE))
        });
        let Failure { seed, what, .. } = found.unwrap_or_else(|| panic!("{bug} is not found in {BUG_SEEDS} seeds"));
        println!("{bug}: seed {seed}: {what}");
    }
}
