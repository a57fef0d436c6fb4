//! The scrub: silent about what is sound, whatever happens meanwhile; it finds each damaged image that the live maps name, and
//! what is in memory becomes sound again.

use crate::disk::Done;
use crate::shard::{Change, Shard};
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::pagefile::{ScrubStep, Suspect, Suspicion};
use cairn_storage::pool::Fetched;

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

/// A whole pass, with a turn of the shard between its steps if `between` says so. What it suspects.
fn pass(shard: &mut Shard, mut between: impl FnMut(&mut Shard)) -> Vec<Suspicion> {
    let mut found = Vec::new();
    shard.engine.begin_scrub();
    while shard.engine.page_file().unwrap().is_scrubbing() {
        let step = shard.engine.scrub_next();
        between(shard);
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
    found
}

#[test]
fn a_sound_shard_is_passed_over_while_it_works() {
    let mut shard = shard(60);
    let mut number = 0;
    for _ in 0..6 {
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
    assert!(numbers.passes == 6 && numbers.images > 300 && numbers.damaged == 0, "{numbers:?}");
    assert!(shard.engine.page_file().unwrap().numbers().checkpoints > 8);
    shard.settle().unwrap();
    shard.reopen().unwrap();
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
