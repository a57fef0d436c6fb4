//! Each planted bug has to be found by the runs that find none without it.

use crate::random::{LARGE, SMALL, crashes};
use cairn_storage::pagefile::Bug;
use std::panic::catch_unwind;

/// What is read unchecked needs damage to be found: `damage.rs`. What is not carried does so too: the simulator finds it.
#[test]
fn every_planted_bug_is_found() {
    for &bug in Bug::ALL.iter().filter(|bug| !matches!(bug, Bug::ReadUnchecked | Bug::RedoNotCarried)) {
        // Rows wait only for leaves that are not in memory.
        let taste = if bug == Bug::DeferredForgotten { LARGE } else { SMALL };
        let is_found = |seed| !matches!(catch_unwind(|| crashes(seed, taste, 6, Some(bug))), Ok(Ok(())));
        assert!((100..140).any(is_found), "{bug:?} was not found");
    }
}
