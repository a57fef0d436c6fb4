//! Commands and transactions over several shards, judged by the reference model whatever crashes and fails; and known bugs are found.
//! `cairn sim --across` makes more.
#![allow(clippy::unwrap_used)]

use cairn_bench::sim::across::{self, EXPLAINED, Figures};
use cairn_bench::sim::{Failure, Planted};

/// Seeds that every build runs.
const SEEDS: u64 = 60;

/// Seeds within which a planted bug is found.
const BUG_SEEDS: u64 = 150;

fn check(seed: u64) -> Figures {
    across::run(seed, None, false).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn seeds_pass() {
    let mut sum = Figures::default();
    for seed in 1..=SEEDS {
        sum += check(seed);
    }
    // A simulator in which nothing happens finds nothing.
    let Figures { answered, unjudged, crashes, cut_off, refused, collections, large, .. } = sum;
    assert!(answered > 150 * SEEDS && crashes > 2 * SEEDS && cut_off > SEEDS && refused > SEEDS / 10, "{sum:?}");
    assert!(collections > 20 * SEEDS && large > SEEDS / 3 && unjudged < SEEDS / 10, "{sum:?}");
    let Figures { shutdowns, recoveries_cut, writes_failed, checkpoints, page_reads, .. } = sum;
    assert!(shutdowns > 1 && recoveries_cut > 5 && writes_failed > 5, "{sum:?}");
    assert!(checkpoints > SEEDS && page_reads > SEEDS, "{sum:?}");
}

#[test]
fn a_seed_is_a_run() {
    for seed in 1..=5 {
        assert_eq!(check(seed), check(seed), "seed {seed}");
    }
    assert_ne!(check(1).hash, check(2).hash);
}

/// Seeds that have failed: a look for transactions that wait for each other went round without an end.
#[test]
fn seeds_that_have_failed_pass() {
    check(27);
}

/// The seeds are those that pass without the bug. That an assertion of the product notices it too is not enough.
#[test]
fn planted_bugs_are_found() {
    for bug in Planted::of_across() {
        let found = (1..=BUG_SEEDS).find_map(|seed| {
            let failure = across::run(seed, Some(bug), false).err();
            failure.filter(|failure| failure.what.starts_with(EXPLAINED))
        });
        let Failure { seed, what, .. } = found.unwrap_or_else(|| panic!("{bug} is not found in {BUG_SEEDS} seeds"));
        println!("{bug}: seed {seed}: {what}");
    }
}
