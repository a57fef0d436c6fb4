//! Records at the edges of flushes, segments and buffers: one byte less, exactly, one byte more.

use crate::disk::Disk;
use crate::{SEGMENT, Seen, config, open, put, segment_of};
use cairn_storage::blob::Blob;
use cairn_storage::limits::{
    BLOCK_BYTES, FLUSH_BUFFERS, FLUSH_BYTES_MAX, LOG_STAGED_BYTES_MAX, RECOVERY_WINDOW_BYTES_MAX,
};
use cairn_storage::log::flush::{FRAME_BYTES, HEADER_BYTES, PAYLOAD_BYTES_MAX, flush_bytes};
use cairn_storage::log::{LogWriter, Record, Resume};
use cairn_storage::units::{BufferId, Lsn};
use std::sync::Arc;

/// A value with which a record takes `bytes` of payload.
fn value(bytes: usize) -> Vec<u8> {
    let rest = FRAME_BYTES + put(b"k", b"").archive_bytes();
    (0..bytes - rest).map(|at| at as u8).collect()
}

fn drain(disk: &mut Disk, writer: &mut LogWriter) {
    loop {
        disk.take(writer);
        if disk.flying.is_empty() {
            return;
        }
        let done = disk.complete(&config(), writer, 0);
        writer.on_done(done);
    }
}

/// Appends records that take `sizes` bytes of payload, in one turn, and recovers them. It makes no difference whether their
/// values are copied or shared.
fn check(sizes: &[usize]) -> Vec<Lsn> {
    let lsns = check_one_way(sizes, false);
    assert_eq!(check_one_way(sizes, true), lsns);
    lsns
}

fn check_one_way(sizes: &[usize], is_shared: bool) -> Vec<Lsn> {
    let (mut disk, mut writer) = (Disk::default(), LogWriter::new(config(), &Resume::empty()));
    let mut expected = Vec::new();
    for size in sizes {
        let value = value(*size);
        let lsn = if is_shared {
            let blob = Blob::new(value.clone());
            writer.append_blob(&put(b"k", &blob), &blob)
        } else {
            writer.append(&put(b"k", &value))
        };
        expected.push(Seen { lsn, key: b"k".to_vec(), value });
    }
    writer.seal();
    drain(&mut disk, &mut writer);
    assert!(writer.durable() >= writer.appended() && writer.is_idle());
    let opened = open(config(), &mut disk, Lsn(0), usize::MAX);
    assert!(opened.records == expected, "sizes {sizes:?}");
    assert_eq!(opened.outcome.unwrap().unwrap().end, writer.durable());
    // From any record on, the ones after it are handed out, and only those.
    for (at, record) in expected.iter().enumerate() {
        assert!(open(config(), &mut disk, record.lsn, usize::MAX).records == expected[at + 1..]);
    }
    expected.iter().map(|record| record.lsn).collect()
}

#[test]
fn around_the_end_of_a_flush() {
    let full = FLUSH_BYTES_MAX as u64;
    assert_eq!(check(&[PAYLOAD_BYTES_MAX, 50]), [Lsn(full), Lsn(full + HEADER_BYTES as u64 + 50)]);
    assert_eq!(check(&[PAYLOAD_BYTES_MAX - 1, 50])[0], Lsn(full - 1));
    // The last byte goes to the next flush.
    assert_eq!(check(&[PAYLOAD_BYTES_MAX + 1, 50])[0], Lsn(full + HEADER_BYTES as u64 + 1));
    // Room for the frame's length and nothing else; for less than it; for one byte of the archive.
    for left in 0..=FRAME_BYTES + 2 {
        check(&[PAYLOAD_BYTES_MAX - left, 50, 60]);
    }
    for size in [2 * PAYLOAD_BYTES_MAX - 1, 2 * PAYLOAD_BYTES_MAX, 2 * PAYLOAD_BYTES_MAX + 1] {
        check(&[size, 50]);
    }
}

#[test]
fn around_the_end_of_a_block() {
    let block = BLOCK_BYTES - HEADER_BYTES;
    for (payload, blocks) in [(0, 1), (1, 1), (block - 1, 1), (block, 1), (block + 1, 2)] {
        assert_eq!(flush_bytes(payload), blocks * BLOCK_BYTES);
    }
    for size in [block - 1, block, block + 1] {
        check(&[size]);
    }
}

#[test]
fn around_the_end_of_a_segment() {
    let flushes = SEGMENT as usize / FLUSH_BYTES_MAX;
    for last in [PAYLOAD_BYTES_MAX - 1, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX + 1] {
        let mut sizes = vec![PAYLOAD_BYTES_MAX; flushes - 1];
        sizes.extend([last, 50]);
        let lsns = check(&sizes);
        assert_eq!(segment_of(*lsns.last().unwrap()).0, 1);
    }
    // A record over three segments, and one that ends exactly where the second one does.
    check(&[100, 2 * SEGMENT as usize, 100]);
    check(&[2 * flushes * PAYLOAD_BYTES_MAX, 100]);
}

#[test]
fn a_flush_is_shorter_where_the_segment_ends() {
    let (mut disk, mut writer) = (Disk::default(), LogWriter::new(config(), &Resume::empty()));
    writer.append(&put(b"a", b"1"));
    writer.seal();
    drain(&mut disk, &mut writer);
    // One block is taken, so the fourth flush of the segment has one block less.
    for size in [PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX - BLOCK_BYTES] {
        writer.append(&put(b"k", &value(size)));
    }
    assert_eq!(writer.appended(), Lsn(SEGMENT));
    writer.append(&put(b"b", b"2"));
    writer.seal();
    drain(&mut disk, &mut writer);
    assert_eq!(open(config(), &mut disk, Lsn(0), usize::MAX).records.len(), 6);
}

#[test]
fn more_buffers_are_made_and_freed_again() {
    let (mut disk, mut writer) = (Disk::default(), LogWriter::new(config(), &Resume::empty()));
    let addresses: Vec<usize> = writer.buffers().map(|buffer| buffer.as_ptr() as usize).collect();
    assert!(addresses.iter().all(|address| address % BLOCK_BYTES == 0));
    let long = value(3 * FLUSH_BUFFERS * FLUSH_BYTES_MAX);
    let lsn = writer.append(&put(b"k", &long));
    assert_eq!(writer.numbers().buffers, 3 * FLUSH_BUFFERS + 1);
    assert_eq!(writer.buffer(BufferId(FLUSH_BUFFERS as u32)).as_ptr() as usize % BLOCK_BYTES, 0);
    writer.seal();
    drain(&mut disk, &mut writer);
    assert!(writer.durable() >= lsn);
    assert_eq!(writer.numbers().buffers, FLUSH_BUFFERS);
    assert!(addresses.iter().eq(writer.buffers().map(|buffer| buffer.as_ptr() as usize).collect::<Vec<_>>().iter()));
    let opened = open(config(), &mut disk, Lsn(0), usize::MAX);
    assert!(long.len() > 4 * RECOVERY_WINDOW_BYTES_MAX);
    assert!(opened.records == [Seen { lsn, key: b"k".to_vec(), value: long }]);
}

#[test]
fn a_shared_value_needs_no_further_buffers() {
    let (mut disk, mut writer) = (Disk::default(), LogWriter::new(config(), &Resume::empty()));
    let long = value(3 * FLUSH_BUFFERS * FLUSH_BYTES_MAX);
    let buffer = Arc::new(long.clone());
    let blob = Blob::within(&buffer, &buffer).unwrap();
    writer.append(&put(b"a", b"1"));
    let lsn = writer.append_blob(&put(b"k", &blob), &blob);
    drop(blob);
    assert!(writer.staged_bytes() > long.len());
    writer.seal();
    disk.take(&mut writer);
    assert!(Arc::strong_count(&buffer) > 1, "the log needs it");
    assert_eq!(writer.numbers().buffers, FLUSH_BUFFERS);
    drain(&mut disk, &mut writer);
    assert!(writer.durable() >= lsn);
    assert_eq!((Arc::strong_count(&buffer), writer.numbers().buffers), (1, FLUSH_BUFFERS));
    let opened = open(config(), &mut disk, Lsn(0), usize::MAX);
    assert!(opened.records[1..] == [Seen { lsn, key: b"k".to_vec(), value: long }]);
}

#[test]
fn room_ends_at_its_bound() {
    let mut writer = LogWriter::new(config(), &Resume::empty());
    let fill = value(LOG_STAGED_BYTES_MAX - 1);
    writer.append(&put(b"k", &fill));
    assert_eq!(writer.staged_bytes(), LOG_STAGED_BYTES_MAX - 1);
    assert!(writer.has_room());
    writer.append(&Record::Clear { db: 0 });
    assert!(!writer.has_room());
}

#[test]
fn an_empty_flush_is_written_once() {
    let (mut disk, mut writer) = (Disk::default(), LogWriter::new(config(), &Resume::empty()));
    assert!(!writer.seal_idle(), "nothing was written, so there is nothing to prove");
    writer.append(&put(b"k", b"v"));
    assert!(!writer.seal_idle(), "the log is busy");
    writer.seal();
    assert!(!writer.seal_idle(), "the log is busy");
    drain(&mut disk, &mut writer);
    assert!(writer.seal_idle());
    drain(&mut disk, &mut writer);
    assert!(!writer.seal_idle());
    // Neither does the next opening repeat it.
    let resume = open(config(), &mut disk, Lsn(0), usize::MAX).outcome.unwrap().unwrap();
    assert!(!LogWriter::new(config(), &resume).seal_idle());
}
