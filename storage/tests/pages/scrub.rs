//! The scrub: silent about what is sound, whatever happens meanwhile; it finds each damaged image that the live maps name and
//! each damaged flush that a start may need. What is in memory becomes sound again, and a damaged log is left behind.

use crate::change::Change;
use crate::disk::Done;
use crate::shard::{LOG, Shard};
use cairn_storage::error::Fault;
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::op::LogRead;
use cairn_storage::pagefile::{ScrubStep, Suspect, Suspicion};
use cairn_storage::pool::Fetched;
use cairn_storage::units::{Lsn, SegmentId};

const ROWS: u32 = 600;

fn put(number: u32, round: u32) -> Change {
    let len = if number.is_multiple_of(60) { 20_000 } else { 700 };
    Change::Put(0, format!("row-{number}").into_bytes(), 0, vec![round as u8; len])
}

/// A shard with two checkpoints, `memory` pages, and nothing in memory.
fn shard(memory: usize) -> Shard {
    let mut shard = Shard::new(23, memory, None);
    for round in 0..3 {
        for number in (0..ROWS).filter(|number| round == 0 || number % 4 == 1) {
            shard.change(put(number, round)).unwrap();
        }
        shard.checkpoint().unwrap();
    }
    shard
}

/// A whole pass, with a turn of the shard between its steps if `between` says so. What it suspects of the page file; the
/// log is sound.
fn pass(shard: &mut Shard, between: impl FnMut(&mut Shard)) -> Vec<Suspicion> {
    let (found, faults) = pass_over(shard, between);
    assert_eq!(faults, []);
    found
}

/// What stands in the log, or an error if the segment is gone.
fn read_log(shard: &mut Shard, LogRead { op, segment, offset, len }: LogRead) -> Option<Fault> {
    let is_there = shard.log.files.contains_key(&segment.0);
    let result = if is_there { shard.log.read(segment, offset, len as usize) } else { Err(2) };
    shard.engine.on_log_read(op, result.as_deref().map_err(|errno| *errno))
}

/// The same. Also what it says of the log.
fn pass_over(shard: &mut Shard, mut between: impl FnMut(&mut Shard)) -> (Vec<Suspicion>, Vec<Fault>) {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    let mut log_read = None;
    shard.engine.begin_scrub();
    while shard.engine.page_file().unwrap().is_scrubbing() || shard.engine.log_scrub().is_passing() {
        let step = shard.engine.scrub_next();
        between(shard);
        log_read = log_read.or(shard.engine.poll_log_read());
        if let Some(read) = log_read.take_if(|_| shard.rng.below(3) > 0) {
            faults.extend(read_log(shard, read));
        }
        shard.pages.take(&mut shard.engine);
        let (reads, count) = (shard.engine.page_file().unwrap().scrub_reads(), shard.pages.flying.len());
        if reads == 0 || count == 0 || (step != ScrubStep::Over && shard.rng.below(3) == 0) {
            continue;
        }
        let at = shard.rng.below(count as u64) as usize;
        match shard.pages.complete(at) {
            Done::Plain(done) => shard.engine.on_page_done(done),
            Done::Forget(done, before) => {
                shard.log.files.retain(|segment, _| *segment >= before.0);
                shard.engine.on_page_done(done);
            }
            Done::Read(op, result) => {
                let fetched = shard.engine.on_page_read(op, result.as_deref().map_err(|errno| *errno));
                if let Fetched::Scrubbed(suspicion) = fetched {
                    found.extend(suspicion);
                }
            }
        }
    }
    (found, faults)
}

#[test]
fn a_sound_shard_is_passed_over_while_it_works() {
    let mut shard = shard(60);
    let mut number = 0;
    for _ in 0..9 {
        let found = pass(&mut shard, |shard| {
            number += 1;
            if number % 3 == 0 {
                // Reads of the scrub that end meanwhile must have found nothing either: `turn_io` panics if so.
                shard.change(put(number * 7 % ROWS, number)).unwrap();
                shard.is_eager = true;
                shard.turn().unwrap();
            }
        });
        assert_eq!(found, []);
    }
    let numbers = shard.engine.page_file().unwrap().scrub_numbers();
    assert!(numbers.passes == 9 && numbers.images > 300 && numbers.damaged == 0, "{numbers:?}");
    assert!(shard.engine.page_file().unwrap().numbers().checkpoints > 8);
    // Segments went while they were read.
    let log = shard.engine.log_scrub().numbers();
    assert!(log.passes >= 9 && log.damaged == 0 && shard.engine.log_needed() > Lsn(LOG.segment_bytes), "{log:?}");
    shard.settle().unwrap();
    shard.reopen().unwrap();
}

#[test]
fn every_damaged_flush_is_found_where_it_is() {
    let mut shard = shard(200);
    for number in 0..40 {
        shard.change(put(number, 9)).unwrap();
        shard.engine.log_mut().seal();
        shard.turn().unwrap();
    }
    shard.drain_log().unwrap();
    let (needed, end) = (shard.engine.log_needed(), shard.engine.log().durable());
    let flushes: Vec<_> =
        shard.log.stable.iter().map(|flush| flush.lsn).filter(|lsn| (needed..end).contains(lsn)).collect();
    assert!(flushes.len() > 20, "{flushes:?}");
    let place = |lsn: Lsn| (SegmentId(lsn.0 / LOG.segment_bytes), lsn.0 % LOG.segment_bytes);
    for lsn in flushes {
        for byte in [0, 17, 60] {
            let (segment, offset) = place(lsn);
            shard.log.flip(segment, offset + byte, 4);
            let (_, faults) = pass_over(&mut shard, |_| {});
            shard.log.flip(segment, offset + byte, 4);
            assert!(matches!(faults[..], [Fault::Corrupt { lsn: at, .. }] if at == lsn), "{faults:?} for {lsn}");
        }
    }
    shard.log.unreadable = Some(place(needed).0.0);
    let (_, faults) = pass_over(&mut shard, |_| {});
    assert!(matches!(faults[..], [Fault::Read { errno: 5, .. }]), "{faults:?}");
    shard.log.unreadable = None;
    assert_eq!(pass(&mut shard, |_| {}), []);
}

#[test]
fn a_damaged_log_is_left_behind() {
    let mut shard = shard(200);
    for number in 0..5 {
        shard.change(put(number, 9)).unwrap();
    }
    shard.drain_log().unwrap();
    // The very last flush: a checkpoint at this LSN would need it.
    let lsn = shard.log.stable.last().unwrap().lsn;
    shard.log.flip(SegmentId(lsn.0 / LOG.segment_bytes), lsn.0 % LOG.segment_bytes + 70, 1);
    let (_, faults) = pass_over(&mut shard, |_| {});
    assert!(matches!(faults[..], [Fault::Corrupt { lsn: at, .. }] if at == lsn), "{faults:?}");
    assert_eq!(shard.engine.log_scrub().damage(), Some(lsn));
    let before = shard.engine.page_file().unwrap().durable().generation;
    let mut rounds = 0;
    while !shard.engine.heal_log() {
        shard.settle().unwrap();
        rounds += 1;
        assert!(rounds < 4, "{:?}", shard.engine.log_scrub().damage());
    }
    assert_eq!(shard.engine.page_file().unwrap().durable().generation, before + 2);
    assert_eq!((shard.engine.log_scrub().damage(), shard.engine.heal_log()), (None, false));
    // It is still there, and nobody looks at it.
    shard.reopen().unwrap();
    shard.verify().unwrap();
    assert_eq!(pass(&mut shard, |_| {}), []);
}

#[test]
fn every_damaged_image_is_found_where_it_is() {
    let mut shard = shard(200);
    shard.reopen().unwrap();
    let sound = pass(&mut shard, |_| {});
    let images = shard.engine.page_file().unwrap().scrub_numbers().images;
    assert_eq!(sound, []);
    let (mut pages, mut extents, mut maps, mut superblocks) = (0, 0, 0, 0);
    for site in 0..shard.pages.stable_len() / PAGE_BYTES as u64 {
        let at = site * PAGE_BYTES as u64 + 40;
        shard.pages.flip(at, 8);
        let found = pass(&mut shard, |_| {});
        shard.pages.flip(at, 8);
        assert!(found.len() <= 1, "{found:?}");
        for Suspicion { part, offset, .. } in found {
            assert!(offset == at - 40 || matches!(part, Suspect::Extent(_)), "{part:?} at {offset}, not {at}");
            match part {
                Suspect::Page(_) => pages += 1,
                Suspect::Extent(_) => extents += 1,
                Suspect::Map { .. } => maps += 1,
                Suspect::Superblock => superblocks += 1,
            }
        }
    }
    // Each extent has three sites; a bit of the padding in the last may flip unseen.
    let extents_all = u64::from(ROWS / 60);
    assert!(extents >= 2 * extents_all && maps == 4 && superblocks == 1, "{extents} {maps} {superblocks}");
    assert_eq!(pages + extents_all + maps + superblocks, images);
}

#[test]
fn what_is_in_memory_is_written_anew() {
    let mut shard = shard(4000);
    shard.reopen().unwrap();
    // All rows are looked at, so all of it is in memory.
    shard.verify().unwrap();
    let len = shard.pages.stable_len();
    for at in (2 * PAGE_BYTES as u64..len).step_by(PAGE_BYTES) {
        shard.pages.flip(at + 50, 1);
    }
    let found = pass(&mut shard, |_| {});
    assert!(found.len() > 60, "{}", found.len());
    for suspicion in &found {
        assert!(shard.engine.heal(suspicion.part), "{suspicion:?}");
    }
    shard.settle().unwrap();
    // The older checkpoint has its damage until the next one takes its place.
    assert_eq!(pass(&mut shard, |_| {}), []);
    shard.reopen().unwrap();
}
