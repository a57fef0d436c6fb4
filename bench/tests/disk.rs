//! The disk probe on the disk of this build: every measurement made, nothing left behind, and what it refuses.

#![allow(clippy::unwrap_used)]

use cairn_bench::disk_probe::{DiskArgs, DiskError, Report, measure};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: DiskArgs,
}

fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn probe(dir: &Path, more: &[&str], is_stopped: bool) -> Result<Report, DiskError> {
    let words = ["disk", dir.to_str().unwrap(), "--quick", "-q", "--seconds", "0.02"];
    let args = <Cli as clap::Parser>::try_parse_from(words.iter().chain(more)).unwrap().args;
    measure(&args, &AtomicBool::new(is_stopped))
}

#[test]
fn everything_is_measured_and_nothing_is_left() {
    let dir = scratch();
    let report = probe(dir.path(), &["--file-size", "8"], false).unwrap();
    assert_eq!((report.flushes.len(), report.reads.len()), (8, 9));
    for row in report.flushes.iter().chain(&report.reads) {
        let l = &row.latency_us;
        assert!(row.transfers > 0 && row.per_second > 0.0, "{row:?}");
        assert!(l.min > 0.0 && l.min <= l.p50 && l.p50 <= l.p99 && l.p99 <= l.max, "{row:?}");
    }
    assert!(report.meaning.commits.iter().all(|commits| commits.per_second > 0.0));
    assert!(report.device.file_system.is_some());
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let dir = scratch();
    let refused = |dir: &Path, more: &[&str]| probe(dir, more, false).unwrap_err().to_string();
    let none = dir.path().join("none");
    assert_eq!(
        refused(&none, &[]),
        format!("{} does not exist: name a directory on the disk to measure", none.display())
    );
    let file = dir.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(refused(&file, &[]).contains("is not a directory"));
    let said = refused(dir.path(), &["--file-size", "16777216"]);
    assert!(said.contains("has too little space: needs 16777216 MiB, has "), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    assert_eq!(dir.path().read_dir().unwrap().count(), 1);
}

#[test]
fn a_measurement_can_be_stopped() {
    let dir = scratch();
    assert!(matches!(probe(dir.path(), &["--file-size", "8"], true), Err(DiskError::Interrupted)));
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}
