//! Commands and transactions over several shards, judged by the reference model whatever crashes and fails; and known bugs are found.
//! `cairn sim --across` makes more.
#![allow(clippy::unwrap_used)]

mod seeds;

use cairn_bench::sim::across::{EXPLAINED, Figures, run};
use cairn_bench::sim::{Lives, Planted};
use cairn_core::bug::Bug;
use seeds::{check, check_finds, check_is_a_run, check_until};

/// Seeds that every build runs.
const SEEDS: u64 = 60;

/// Seeds within which a planted bug is found.
const BUG_SEEDS: u64 = 500;

#[test]
fn seeds_pass() {
    let sum = check_until(run, |seed, _| seed == SEEDS);
    // A simulator in which nothing happens finds nothing.
    let Figures { answered, unjudged, cut_off, refused, collections, large, .. } = sum;
    let Lives { crashes, shutdowns, recoveries_cut, writes_failed, checkpoints, page_reads, begun, .. } = sum.lives;
    assert!(answered > 150 * SEEDS && crashes > 2 * SEEDS && cut_off > SEEDS && refused > SEEDS / 10, "{sum:?}");
    assert!(collections > 20 * SEEDS && large > SEEDS / 3 && unjudged < SEEDS / 2, "{sum:?}");
    assert!(shutdowns > 1 && recoveries_cut > 5 && writes_failed > 5, "{sum:?}");
    assert!(checkpoints > SEEDS && page_reads > SEEDS && begun > SEEDS, "{sum:?}");
}

#[test]
fn a_seed_is_a_run() {
    check_is_a_run(run, 5);
}

/// Seeds that have failed: a look for transactions that wait for each other went round without an end; RENAME of a large hash that its transaction had
/// made found it empty.
#[test]
fn seeds_that_have_failed_pass() {
    check(run, 27);
    check(run, 5565);
}

/// The seeds are those that pass without the bug.
#[test]
fn planted_bugs_are_found() {
    check_finds(run, Planted::of_across(), BUG_SEEDS, EXPLAINED);
}

/// A collection that is begun and never ended is seen by its machine alone: a start removes it.
#[test]
fn what_is_begun_and_kept_is_noticed() {
    let noticed = "it panics: who has begun a collection ends it";
    check_finds(run, [Planted::Machine(Bug::BegunKept)], BUG_SEEDS, noticed);
}
