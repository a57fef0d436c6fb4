//! Histories of a simulated server, transactions over several shards included, are strictly serializable whatever crashes and fails; and
//! known bugs show in them. `cairn sim --histories` makes more.
#![allow(clippy::unwrap_used)]

mod seeds;

use cairn_bench::sim::histories::{Figures, SERIALIZABLE, run};
use cairn_bench::sim::{Lives, Planted};
use seeds::{check_finds, check_is_a_run, check_until};

/// Operations that every build makes histories of.
const OPERATIONS: u64 = 100_000;

fn count(figures: &Figures) -> u64 {
    figures.committed + figures.aborted + figures.unknown
}

#[test]
fn histories_are_strictly_serializable() {
    let sum = check_until(run, |_, sum| count(sum) >= OPERATIONS);
    // Where nothing happens nothing is found.
    let Figures { across, aborted, unknown, refused, cut_off, .. } = sum;
    let Lives { crashes, shutdowns, recoveries_cut, writes_failed, space_lost, checkpoints, page_reads, .. } =
        sum.lives;
    assert!(across > OPERATIONS / 5 && aborted > OPERATIONS / 50 && unknown > OPERATIONS / 200, "{sum:?}");
    assert!(refused > 20 && cut_off > 500 && crashes > 200 && shutdowns > 5 && recoveries_cut > 20, "{sum:?}");
    assert!(writes_failed > 10 && space_lost > 0 && checkpoints > 500 && page_reads > 500, "{sum:?}");
}

#[test]
fn a_seed_is_a_run() {
    check_is_a_run(run, 5);
}

/// Seeds within which a planted bug shows in a history.
const BUG_SEEDS: u64 = 300;

/// The seeds are those that pass without the bug.
#[test]
fn planted_bugs_show_in_histories() {
    check_finds(run, Planted::of_histories(), BUG_SEEDS, SERIALIZABLE);
}
