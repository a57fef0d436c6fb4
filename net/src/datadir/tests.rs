//! Creates data directories, damages them, and looks at who is let in.

use super::{
    DataDir, FORMAT, WRITES_POLL, await_writes, hold_writable, is_segment_size, segment_bytes_for, segment_name,
    segments, shard_of_slot,
};
use crate::error::StartError;
use cairn_storage::checksum::crc32c;
use cairn_storage::units::{SegmentId, ShardId};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

fn open(dir: &tempfile::TempDir, shards: u16) -> Result<DataDir, StartError> {
    DataDir::open(&dir.path().join("data"), shards, 3, 1 << 20)
}

#[test]
fn what_was_created_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(&dir, 0).unwrap();
    assert!(first.is_new());
    let manifest = first.manifest().clone();
    assert_eq!((manifest.shards, manifest.segment_bytes, manifest.node_id.len()), (3, 1 << 20, 40));
    assert!(first.log(ShardId(2)).ends_with("shard-0002/log") && first.log(ShardId(2)).is_dir());
    drop(first);
    let again = open(&dir, 3).unwrap();
    assert!(!again.is_new());
    assert_eq!(*again.manifest(), manifest);
    drop(again);
    assert!(matches!(open(&dir, 2), Err(StartError::ShardsDiffer { stored: 3, asked: 2, .. })));
}

#[test]
fn data_are_their_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(&dir, 0).unwrap();
    for path in [data.path(), &data.log(ShardId(0))] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn a_second_server_is_told_who_has_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(&dir, 0).unwrap();
    let Err(StartError::DirectoryInUse { pid, .. }) = open(&dir, 0) else { panic!("two in one directory") };
    assert_eq!(pid, Some(std::process::id()));
    drop(first);
    assert!(open(&dir, 0).is_ok());
}

#[test]
fn any_changed_byte_of_the_manifest_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir, 0).unwrap());
    let path = dir.path().join("data/manifest");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(open(&dir, 0).is_err(), "byte {at}");
        fs::write(&path, &good[..at]).unwrap();
        assert!(matches!(open(&dir, 0), Err(StartError::ManifestDamaged { .. })), "cut at {at}");
    }
    fs::write(&path, good).unwrap();
    assert!(open(&dir, 0).is_ok());
}

#[test]
fn a_newer_format_is_named_whatever_else_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir, 0).unwrap());
    let text = format!("cairn {}\nsomething new\n", FORMAT + 1);
    fs::write(dir.path().join("data/manifest"), format!("{text}{:08x}", crc32c(&[text.as_bytes()]))).unwrap();
    let Err(StartError::ManifestNewer { format, .. }) = open(&dir, 0) else { panic!("a newer format was opened") };
    assert_eq!(format, FORMAT + 1);
}

#[test]
fn a_log_without_a_manifest_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let made = open(&dir, 0).unwrap();
    let log = made.log(ShardId(2));
    drop(made);
    fs::remove_file(dir.path().join("data/manifest")).unwrap();
    fs::write(log.join(segment_name(SegmentId(0))), b"x").unwrap();
    assert!(matches!(open(&dir, 0), Err(StartError::DirectoryForeign { .. })));
}

#[test]
fn a_creation_that_was_interrupted_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir, 0).unwrap());
    let path = dir.path().join("data/manifest");
    fs::rename(&path, path.with_extension("new")).unwrap();
    fs::remove_dir_all(dir.path().join("data/shard-0001/log")).unwrap();
    assert!(open(&dir, 0).unwrap().is_new());
    assert!(!open(&dir, 0).unwrap().is_new());
}

#[test]
fn a_log_that_was_lost_is_refused() {
    for lost in ["data/shard-0001", "data/shard-0001/log", "data/shard-0001/log/00000000000000000000.seg"] {
        let dir = tempfile::tempdir().unwrap();
        drop(open(&dir, 0).unwrap());
        let path = dir.path().join(lost);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        let Err(StartError::LogAbsent { shard, log }) = open(&dir, 0) else { panic!("{lost}: it starts empty") };
        assert!(shard == 1 && log.ends_with("data/shard-0001/log"));
    }
}

#[test]
fn recovery_waits_for_writes_of_a_process_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(segment_name(SegmentId(7)));
    fs::write(dir.path().join(segment_name(SegmentId(3))), b"").unwrap();
    // Two open files, as that of a segment's preparation and that of its flushes.
    let files = [File::create(&path).unwrap(), File::create(&path).unwrap()];
    files.iter().for_each(|file| hold_writable(file).unwrap());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            await_writes(dir.path()).unwrap();
            assert!(is_over.load(Ordering::SeqCst), "it did not wait");
        });
        for (left, file) in [1, 0].into_iter().zip(files) {
            std::thread::sleep(20 * WRITES_POLL);
            assert!(!waiting.is_finished());
            is_over.store(left == 0, Ordering::SeqCst);
            drop(file);
        }
    });
}

#[test]
fn slots_are_shared_out_in_contiguous_ranges() {
    for shards in [1, 2, 3, 7, 64, 1000] {
        let mut sizes = vec![0_u32; usize::from(shards)];
        let mut last = 0;
        for slot in 0..16384 {
            let ShardId(shard) = shard_of_slot(slot, shards);
            assert!(shard == last || shard == last + 1);
            last = shard;
            sizes[usize::from(shard)] += 1;
        }
        assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{shards} shards");
    }
}

#[test]
fn segments_suit_the_file_system() {
    let mib = |bytes: u64, shards| segment_bytes_for(bytes << 20, shards) >> 20;
    assert_eq!([mib(0, 1), mib(16, 1), mib(40, 2), mib(230, 1), mib(230, 2)], [1, 1, 1, 8, 4]);
    assert_eq!([mib(1023, 1), mib(1024, 1), mib(2048, 2), mib(1 << 40, 1), mib(1 << 20, 1024)], [32, 64, 64, 64, 64]);
    for bytes in (0..4000).map(|n| n * 7_654_321) {
        for shards in [1, 2, 7, 64] {
            assert!(is_segment_size(segment_bytes_for(bytes, shards)));
        }
    }
}

#[test]
fn only_segments_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    for name in [segment_name(SegmentId(12)), segment_name(SegmentId(3)), "7.seg".into(), "notes".into()] {
        fs::write(dir.path().join(name), b"xy").unwrap();
    }
    assert_eq!(segments(dir.path()).unwrap(), [(SegmentId(3), 2), (SegmentId(12), 2)]);
}
