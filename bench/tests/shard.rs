//! Crash images and injected faults of single shards, as many as every build has time for, and the bugs that they find.
//! `cairn sim --crash-images` and `cairn sim --faults` make more.
#![allow(clippy::unwrap_used)]

use cairn_bench::sim::Planted;
use cairn_bench::sim::shard::{RoundId, images, injected};
use cairn_storage::{log, pagefile};

/// Of each run.
const IMAGES: u64 = 500;
const FAULTS: u64 = 1500;

/// Runs: each kind of workload twice.
const RUNS: u64 = 10;

#[test]
fn every_crash_image_comes_back_right() {
    for seed in 1..=RUNS {
        let figures = images::run(seed, None, None, IMAGES).unwrap_or_else(|(id, what)| panic!("image {id}: {what}"));
        assert!(figures.images > IMAGES / 2 && figures.recoveries >= figures.images, "{figures:?}");
    }
}

#[test]
fn every_injected_fault_is_told_and_loses_nothing() {
    for seed in 1..=RUNS {
        let figures = injected::run(seed, None, None, FAULTS).unwrap_or_else(|(id, what)| panic!("round {id}: {what}"));
        assert!(figures.count() > FAULTS / 2, "{figures:?}");
    }
}

/// In how many runs, images or rounds first, a bug is found.
const BUG_RUNS: u64 = 10;

/// The bugs that show in a shard by itself. The others are those of drivers that answer too early, and of failed writes.
#[test]
fn planted_bugs_are_found_in_images() {
    for bug in [
        Planted::Log(log::Bug::AcknowledgeBeforeFlush),
        Planted::Log(log::Bug::AcknowledgeOutOfOrder),
        Planted::WriteWithoutSync,
        Planted::RecoverWithoutSync,
        Planted::DirectoryUnsynced,
        Planted::Pages(pagefile::Bug::SuperblockBeforePages),
        Planted::Pages(pagefile::Bug::SuperblockBeforeLog),
        Planted::Pages(pagefile::Bug::ReuseTooEarly),
        Planted::Pages(pagefile::Bug::MissingClone),
    ] {
        let found = (1..=BUG_RUNS).find_map(|seed| images::run(seed, Some(bug), None, 4 * IMAGES).err());
        let (id, what) = found.unwrap_or_else(|| panic!("{bug} is not found"));
        println!("{bug}: image {id}: {what}");
    }
}

#[test]
fn planted_bugs_are_found_by_faults() {
    for bug in [
        Planted::Log(log::Bug::IgnoreShortWrite),
        Planted::Log(log::Bug::RetryAfterFailedSync),
        Planted::Log(log::Bug::TruncateAtDamage),
        Planted::Log(log::Bug::ChecksumUnchecked),
        Planted::Pages(pagefile::Bug::ReadUnchecked),
    ] {
        let found = (1..=BUG_RUNS).find_map(|seed| injected::run(seed, Some(bug), None, FAULTS).err());
        let (id, what) = found.unwrap_or_else(|| panic!("{bug} is not found"));
        println!("{bug}: round {id}: {what}");
    }
}

/// Rounds that have failed: a database that was emptied while redo went on.
#[test]
fn rounds_that_have_failed_pass() {
    for round in ["21:49", "27:152"] {
        let id: RoundId = round.parse().unwrap();
        injected::run(id.seed, None, Some(id), u64::MAX).unwrap_or_else(|(id, what)| panic!("round {id}: {what}"));
    }
}
