//! Each planted bug has to be found by the runs that find none without it.

use crate::random::{SMALL, crashes};
use cairn_storage::pagefile::Bug;
use std::panic::catch_unwind;

fn is_found(bug: Bug) -> bool {
    (100..140).any(|seed| !matches!(catch_unwind(|| crashes(seed, SMALL, 6, Some(bug))), Ok(Ok(()))))
}

#[test]
fn a_superblock_before_its_pages_is_found() {
    assert!(is_found(Bug::SuperblockBeforePages));
}

#[test]
fn a_superblock_before_its_log_is_found() {
    assert!(is_found(Bug::SuperblockBeforeLog));
}

#[test]
fn a_site_that_is_used_again_too_early_is_found() {
    assert!(is_found(Bug::ReuseTooEarly));
}

#[test]
fn a_missing_clone_is_found() {
    assert!(is_found(Bug::MissingClone));
}

#[test]
fn a_row_that_is_read_without_what_the_log_has_for_it_is_found() {
    assert!(is_found(Bug::ReadBeforeRedo));
}

#[test]
fn an_effect_that_is_applied_twice_is_found() {
    assert!(is_found(Bug::RedoTwice));
}
