//! Damage to acknowledged data, byte by byte, and flushes that no writer of this build would write.

use crate::disk::{Disk, Rng};
use crate::{SEGMENT, Seen, config, open, put};
use cairn_storage::error::Fault;
use cairn_storage::limits::{BLOCK_BYTES, SEGMENTS_AHEAD};
use cairn_storage::log::flush::{FORMAT, FRAME_BYTES, Flush, HEADER_BYTES};
use cairn_storage::log::{LogConfig, LogWriter, Resume};
use cairn_storage::op::DiskOp;
use cairn_storage::units::{Epoch, Incarnation, Lsn, SegmentId, ShardId};

/// A log of three turns, all acknowledged, and what recovery says of it.
fn sound() -> (Disk, Vec<Seen>) {
    let (mut disk, mut writer) = (Disk::default(), LogWriter::new(config(), &Resume::empty()));
    let mut expected = Vec::new();
    for key in [b"a", b"b", b"c"] {
        for value in [&[7; 1000][..], &[8; 40]] {
            let lsn = writer.append(&put(key, value));
            expected.push(Seen { lsn, key: key.to_vec(), value: value.to_vec() });
        }
        writer.seal();
        disk.take(&mut writer);
        while !disk.flying.is_empty() {
            let done = disk.complete(&config(), &writer, 0);
            writer.on_done(done);
            disk.take(&mut writer);
        }
    }
    (disk, expected)
}

fn outcome(config: LogConfig, disk: &mut Disk) -> Result<Resume, Fault> {
    open(config, disk, Lsn(0), usize::MAX).outcome.unwrap()
}

#[test]
fn every_byte_of_an_acknowledged_flush_counts() {
    let (mut disk, expected) = sound();
    let used = HEADER_BYTES + disk.stable[1].payload as usize;
    for at in 0..BLOCK_BYTES {
        for mask in [1, 0x80] {
            disk.flip(SegmentId(0), (BLOCK_BYTES + at) as u64, mask);
            let opened = open(config(), &mut disk, Lsn(0), usize::MAX);
            disk.flip(SegmentId(0), (BLOCK_BYTES + at) as u64, mask);
            match opened.outcome.unwrap() {
                // Padding says nothing.
                Ok(_) => assert!(at >= used && opened.records == expected, "byte {at}"),
                Err(Fault::Corrupt { shard, segment, offset, lsn, .. }) => {
                    assert!(at < used, "byte {at}");
                    assert_eq!((shard, segment, offset), (ShardId(3), SegmentId(0), BLOCK_BYTES as u64));
                    assert_eq!(lsn, Lsn(BLOCK_BYTES as u64));
                    assert!(opened.records == expected[..2]);
                }
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
    }
}

#[test]
fn lost_and_misplaced_blocks_are_refused() {
    for other in [None, Some(0), Some(2)] {
        let (mut disk, _) = sound();
        let bytes = &mut disk.files.get_mut(&0).unwrap().bytes;
        match other {
            None => bytes[BLOCK_BYTES..2 * BLOCK_BYTES].fill(0),
            Some(block) => {
                bytes.copy_within(block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES, BLOCK_BYTES);
            }
        }
        let fault = outcome(config(), &mut disk).unwrap_err();
        assert!(matches!(fault, Fault::Corrupt { offset: 4096, proof: Lsn(8192), .. }), "{fault}");
    }
}

#[test]
fn another_log_is_not_this_one() {
    let (mut disk, _) = sound();
    for config in [LogConfig { salt: 1, ..config() }, LogConfig { shard: ShardId(4), ..config() }] {
        assert_eq!(outcome(config, &mut disk).unwrap().end, Lsn(0));
    }
    assert_eq!(outcome(LogConfig { epoch: Epoch(9), ..config() }, &mut disk).unwrap().epoch, Epoch(1));
}

/// Puts a flush behind those of [`sound`], of a later opening, and opens the log.
fn with(payload: &[u8], carry: u32, edit: impl FnOnce(&mut [u8])) -> Result<Resume, Fault> {
    let (mut disk, _) = sound();
    let lsn = Lsn(3 * BLOCK_BYTES as u64);
    let flush = Flush {
        shard: ShardId(3),
        incarnation: Incarnation(2),
        epoch: Epoch(1),
        lsn,
        durable: lsn,
        payload: payload.len() as u32,
        carry,
    };
    let block = &mut disk.files.get_mut(&0).unwrap().bytes[3 * BLOCK_BYTES..4 * BLOCK_BYTES];
    block[HEADER_BYTES..HEADER_BYTES + payload.len()].copy_from_slice(payload);
    flush.encode(config().salt, block);
    edit(block);
    outcome(config(), &mut disk)
}

fn frame(archive: &[u8]) -> Vec<u8> {
    [&(archive.len() as u32).to_le_bytes()[..], archive].concat()
}

#[test]
fn sense_is_asked_for_behind_a_checksum_that_holds() {
    let good = with(&[], 0, |_| {}).unwrap();
    assert_eq!((good.end, good.incarnation), (Lsn(4 * BLOCK_BYTES as u64), Incarnation(3)));
    for (payload, carry) in [
        (frame(b"no record"), 0),
        (frame(&[0xff; 100]), 0),
        (frame(b""), 0),
        (vec![1, 0], 0),
        (u32::MAX.to_le_bytes().to_vec(), 0),
        (vec![0; 9], 9),
    ] {
        let fault = with(&payload, carry, |_| {}).unwrap_err();
        assert!(matches!(fault, Fault::Record { .. }), "{payload:?}: {fault}");
    }
}

/// Sets the checksum of a block that was edited.
fn seal(block: &mut [u8], used: usize) {
    let crc_at = HEADER_BYTES - 4;
    let parts = [&config().salt.to_le_bytes()[..], &block[..crc_at], &block[HEADER_BYTES..used]];
    let crc = cairn_storage::checksum::crc32c(&parts);
    block[crc_at..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_later_format_is_named() {
    let later = (FORMAT + 1).to_le_bytes();
    let fault = with(&[], 0, |block| {
        block[4..6].copy_from_slice(&later);
        seal(block, HEADER_BYTES);
    })
    .unwrap_err();
    let offset = 3 * BLOCK_BYTES as u64;
    let expected =
        Fault::Version { shard: ShardId(3), segment: SegmentId(0), offset, found: FORMAT + 1, known: FORMAT };
    assert_eq!(fault, expected);
    // If its checksum does not hold it is an unfinished write, whatever it says.
    let resume = with(&[], 0, |block| block[4..6].copy_from_slice(&later)).unwrap();
    assert_eq!(resume.end.0, offset);
}

#[test]
fn a_flush_that_is_cut_off_is_not_read() {
    let (disk, _) = sound();
    let used = HEADER_BYTES + disk.stable[0].payload as usize;
    for len in 0..BLOCK_BYTES {
        let decoded = Flush::decode(&config(), &disk.files[&0].bytes[..len]);
        assert_eq!(decoded.ok(), (len >= used).then_some(disk.stable[0]), "{len} bytes");
    }
}

#[test]
fn headers_that_contradict_themselves_are_not_flushes() {
    // A durable LSN beyond the flush itself; a carry beyond the payload.
    for at in [32, 40] {
        let resume = with(&[], 0, |block| {
            block[at + 3] = 1;
            seal(block, HEADER_BYTES);
        });
        assert_eq!(resume.unwrap().end, Lsn(3 * BLOCK_BYTES as u64));
    }
}

#[test]
fn a_value_that_looks_like_a_flush_is_not_one() {
    // It knows everything but the salt, and stands where the log will end.
    let (mut disk, mut writer) = (Disk::default(), LogWriter::new(config(), &Resume::empty()));
    disk.take(&mut writer);
    let prepared = disk.complete(&config(), &writer, 0);
    writer.on_done(prepared);
    let lsn = Lsn(BLOCK_BYTES as u64);
    let fake = Flush {
        shard: ShardId(3),
        incarnation: Incarnation(99),
        epoch: Epoch(1),
        lsn,
        durable: lsn,
        payload: 0,
        carry: 0,
    };
    let mut block = vec![0; BLOCK_BYTES];
    fake.encode(0, &mut block);
    let begin = HEADER_BYTES + FRAME_BYTES + 1;
    let value = [vec![0; BLOCK_BYTES - begin], block].concat();
    writer.append(&put(b"k", &value));
    writer.seal();
    let ops = disk.take(&mut writer);
    assert!(matches!(ops[..], [DiskOp::Prepare { .. }, DiskOp::Write { op: _, len: 12288, .. }]));
    disk.crash_keeping(&[3]);
    // The flush is torn: its first block is lost, and the fake stands behind the end.
    disk.files.get_mut(&0).unwrap().bytes[..BLOCK_BYTES].fill(0);
    assert_eq!(&disk.files[&0].bytes[BLOCK_BYTES..BLOCK_BYTES + 4], b"CRNL");
    let resume = outcome(config(), &mut disk).unwrap();
    assert_eq!((resume.end, resume.incarnation), (Lsn(0), Incarnation(1)));
}

#[test]
fn an_unreadable_segment_behind_the_end_is_refused() {
    let (mut disk, _) = sound();
    disk.unreadable = Some(1);
    let fault = outcome(config(), &mut disk).unwrap_err();
    assert!(matches!(fault, Fault::Read { segment: SegmentId(1), offset: 0, errno: 5, .. }), "{fault}");
}

#[test]
fn segments_are_prepared_ahead() {
    let (mut disk, expected) = sound();
    disk.power_cut(&mut Rng(1));
    let resume = outcome(config(), &mut disk).unwrap();
    assert_eq!(resume.prepared, (0..=SEGMENTS_AHEAD as u64).map(SegmentId).collect::<Vec<_>>());
    assert!(expected.last().unwrap().lsn.0 < SEGMENT);
}
