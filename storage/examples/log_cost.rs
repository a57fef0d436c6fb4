//! What the log costs one core, without a disk: nanoseconds per appended record (checksums and turns included), and
//! recovery in bytes per second and nanoseconds per record.
//!
//! `cargo run --release -p cairn-storage --example log_cost`

use cairn_storage::log::{LogConfig, LogWriter, Record, Recovery, Resume, SegmentFile, Step};
use cairn_storage::op::{DiskDone, DiskOp};
use cairn_storage::units::{Epoch, Lsn, SegmentId, ShardId};
use std::hint::black_box;
use std::time::{Duration, Instant};

const SEGMENT: usize = 64 * 1024 * 1024;
const CONFIG: LogConfig =
    LogConfig { shard: ShardId(0), segment_bytes: SEGMENT as u64, salt: 1, epoch: Epoch(1), planted: None };

fn main() {
    println!(" value   turn  ns/append   MB/s appended  ns/recovered   MB/s recovered");
    for (value, turn) in [(100, 16), (100, 64), (100, 800), (16, 800), (1_000, 200), (10_000, 20), (1_000_000, 1)] {
        let records = 2_000_000.min(400_000_000 / (value + 80));
        let (mut append, mut recover) = (Duration::MAX, Duration::MAX);
        let mut image = Vec::new();
        for _ in 0..3 {
            append = append.min(write(value, turn, records, |_, _| {}));
        }
        write(value, turn, records, |at, flush| {
            image.resize(at + flush.len(), 0);
            image[at..].copy_from_slice(flush);
        });
        let bytes = image.len() as f64;
        image.resize(image.len().next_multiple_of(SEGMENT), 0);
        for _ in 0..3 {
            recover = recover.min(read(&image, records));
        }
        println!(
            "{value:>6} {turn:>6} {:>10.1} {:>15.0} {:>13.1} {:>16.0}",
            append.as_nanos() as f64 / records as f64,
            bytes / append.as_secs_f64() / 1e6,
            recover.as_nanos() as f64 / records as f64,
            bytes / recover.as_secs_f64() / 1e6,
        );
    }
}

/// Appends in turns; a flush is answered one turn after it was issued. `disk` is given each flush and its place.
fn write(value: usize, turn: usize, records: usize, mut disk: impl FnMut(usize, &[u8])) -> Duration {
    let mut writer = LogWriter::new(CONFIG, &Resume::empty());
    let value = vec![7; value];
    let mut answers: Vec<DiskDone> = Vec::new();
    let begin = Instant::now();
    let mut appended = 0;
    while appended < records || !writer.is_idle() {
        for answer in answers.drain(..) {
            writer.on_done(answer);
        }
        let count = turn.min(records - appended);
        for at in appended..appended + count {
            let key = (at as u128).to_le_bytes();
            let record = Record::Put { db: 0, kind: 0, head: at as u64, expire_ms: 0, key: &key, value: &value };
            black_box(writer.append(black_box(&record)));
        }
        appended += count;
        writer.seal();
        while let Some(op) = writer.poll() {
            answers.push(match op {
                DiskOp::Prepare { op, .. } => DiskDone { op, result: Ok(0) },
                DiskOp::Write { op, segment, offset, buffer, len } => {
                    disk(segment.0 as usize * SEGMENT + offset as usize, &writer.buffer(buffer)[..len as usize]);
                    DiskDone { op, result: Ok(len) }
                }
            });
        }
    }
    begin.elapsed()
}

fn read(image: &[u8], records: usize) -> Duration {
    let files = (0..image.len() / SEGMENT)
        .map(|id| SegmentFile { segment: SegmentId(id as u64), bytes: SEGMENT as u64 })
        .collect();
    let begin = Instant::now();
    let mut recovery = Recovery::new(CONFIG, files, Lsn(0));
    let mut seen = 0;
    loop {
        match recovery.step() {
            Step::Read { segment, offset, len } => {
                let at = segment.0 as usize * SEGMENT + offset as usize;
                recovery.supply(&image[at..at + len]);
            }
            Step::Record { record, .. } => {
                black_box(record);
                seen += 1;
            }
            Step::Sync { .. } => recovery.synced(),
            Step::Done(_) => break,
            Step::Refuse(fault) => panic!("{fault}"),
        }
    }
    assert_eq!(seen, records);
    begin.elapsed()
}
