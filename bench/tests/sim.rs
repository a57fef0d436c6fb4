//! The simulator on fixed seeds: the product passes, the same seed is the same run, and known bugs are found.
//! `cairn sim` runs more.
#![allow(clippy::unwrap_used)]

mod seeds;

use cairn_bench::sim::{Figures, Planted, run};
use seeds::{check, check_finds, check_is_a_run, check_until};

/// Seeds that every build runs.
const SEEDS: u64 = 300;

/// Seeds within which a planted bug is found.
const BUG_SEEDS: u64 = 300;

#[test]
fn seeds_pass() {
    let sum = check_until(run, |seed, _| seed == SEEDS);
    // A simulator in which nothing happens finds nothing.
    let Figures { crashes, shutdowns, recoveries_cut, writes_failed, space_lost, harms, floods, .. } = sum;
    assert!(sum.collections > 10 * SEEDS && sum.large > SEEDS / 2, "{sum:?}");
    let Figures { rots, rots_found, rots_mended, .. } = sum;
    assert!(rots > SEEDS / 4 && rots_found > SEEDS / 30 && rots_mended > 0, "{sum:?}");
    assert!(sum.pages_rotten > SEEDS / 4 && sum.redos_blocked > SEEDS / 20, "{sum:?}");
    let Figures { stuck, saves, saves_failed, lastsaves, .. } = sum;
    assert!(stuck > SEEDS / 10 && saves > SEEDS / 3 && saves_failed > 0 && lastsaves > SEEDS / 5, "{sum:?}");
    let Figures { checkpoints, page_reads, page_writes_failed, pages_reported, unusable, redos, .. } = sum;
    let least = [crashes / 4, shutdowns, recoveries_cut, writes_failed, space_lost, harms, 10 * floods];
    let pages = [checkpoints / 4, page_reads / 10, 2 * page_writes_failed, 2 * pages_reported, 2 * unusable, redos / 4];
    assert!(pages.iter().all(|count| *count > SEEDS / 10), "{sum:?}");
    assert!(sum.commands > 200 * SEEDS && least.iter().all(|count| *count > SEEDS / 10), "{sum:?}");
}

/// 7680: a page that could not be had kept a checkpoint from beginning, and SAVE waited for it for ever. 1439: a page that a checkpoint had waited for
/// was gone before it was asked for. 30039: the model took HSETEX of fields that are not there, with a time that is over, for a change.
#[test]
fn seeds_that_have_failed_pass() {
    check(run, 7680);
    check(run, 1439);
    check(run, 30_039);
}

#[test]
fn a_seed_is_a_run() {
    check_is_a_run(run, 20);
}

/// The seeds are those that pass without the bug.
#[test]
fn planted_bugs_are_found() {
    check_finds(run, Planted::of_model(), BUG_SEEDS, "");
}
