//! Damage to what was synced is found, named, and never served; what is not damaged is served on.

use crate::change::Change;
use crate::shard::{LOG, Shard, open, row};
use cairn_storage::engine::Engine;
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::pagefile::{Bounds, Bug};
use cairn_storage::pool::{Fetch, Fetched};
use std::collections::BTreeSet;

const ROWS: u32 = 600;

fn key(number: u32) -> Vec<u8> {
    format!("row-{number}").into_bytes()
}

fn value(number: u32, round: u8) -> Vec<u8> {
    let len = if number.is_multiple_of(60) { 20_000 } else { 1000 };
    (0..len).map(|at| (number + at) as u8 ^ round).collect()
}

/// A shard with a few checkpoints behind it, everything settled, opened again so that nothing is in memory.
fn shard(planted: Option<Bug>) -> Shard {
    let mut shard = Shard::new(5, 120, planted);
    for round in 0..3 {
        for number in 0..ROWS {
            if round == 0 || number % 3 == 0 {
                shard.change(Change::Put(0, key(number), 0, value(number, round))).unwrap();
            }
        }
        shard.apply_deferred().unwrap();
        shard.checkpoint().unwrap();
    }
    shard.reopen().unwrap();
    shard
}

/// Reads all rows; answers how many could not be read because of damage. A wrong value is an error.
fn read_all(shard: &mut Shard, engine: &mut Engine) -> Result<u32, String> {
    let mut refused = 0;
    for number in 0..ROWS {
        let expected = &shard.model[&(0, key(number))].1;
        let is_right = loop {
            let missing = match engine.get(row(0, &key(number))) {
                Ok(found) => break found.is_some_and(|found| found.value == expected),
                Err(missing) => missing,
            };
            if engine.fetch(missing) == Fetch::Here {
                continue;
            }
            let mut is_damaged = false;
            while let Some(cairn_storage::op::PageOp::Read { op, offset, len }) = engine.poll_pages() {
                let bytes = shard.pages.read(offset, len as usize);
                is_damaged |= matches!(engine.on_page_read(op, Ok(&bytes)), Fetched::Damaged { .. });
            }
            if is_damaged {
                refused += 1;
                break true;
            }
        };
        if !is_right {
            return Err(format!("row {number} is wrong"));
        }
    }
    Ok(refused)
}

/// Opens the damaged shard and reads everything. `Err`: a wrong answer, a lost row, a panic.
fn look(shard: &mut Shard, planted: Option<Bug>) -> Result<u32, String> {
    let mut log = crate::log_disk::Disk::default();
    for (segment, file) in &shard.log.files {
        log.files.entry(*segment).or_default().bytes.clone_from(&file.bytes);
    }
    let mut pages = shard.pages.clone();
    let memory_bytes = 120 * PAGE_BYTES as u64;
    match open(&mut log, &mut pages, memory_bytes, planted, Bounds::default()) {
        Ok((mut engine, _)) => read_all(shard, &mut engine),
        // To refuse to open is right too; it names the place.
        Err(fault) => fault.to_string().contains("damage").then_some(ROWS).ok_or(fault.to_string()),
    }
}

#[test]
fn a_flipped_bit_anywhere_is_never_served() {
    let mut shard = shard(None);
    let (mut unharmed, mut refused_some) = (0, 0);
    let len = shard.pages.stable_len();
    for at in (0..len).step_by(PAGE_BYTES / 2 + 13) {
        shard.pages.flip(at, 0x20);
        let refused = look(&mut shard, None).unwrap_or_else(|what| panic!("byte {at}: {what}"));
        shard.pages.flip(at, 0x20);
        unharmed += u32::from(refused == 0);
        refused_some += u32::from(refused > 0 && refused < ROWS);
    }
    // A page that is damaged does not take the others with it.
    assert!(unharmed > 10 && refused_some > 10, "{unharmed} {refused_some}");
}

#[test]
fn a_lost_or_misdirected_write_is_never_served() {
    let mut shard = shard(None);
    let sites = shard.pages.stable_len() / PAGE_BYTES as u64;
    let mut refused = 0;
    for site in (2..sites).step_by(3) {
        let offset = site * PAGE_BYTES as u64;
        let good = shard.pages.read(offset, PAGE_BYTES);
        // A sound image of something else, or of another time.
        let other = shard.pages.read((site * 7 % sites) * PAGE_BYTES as u64, PAGE_BYTES);
        shard.pages.overwrite(offset, &other);
        refused += look(&mut shard, None).unwrap_or_else(|what| panic!("site {site}: {what}"));
        shard.pages.overwrite(offset, &good);
    }
    assert!(refused > 0);
}

#[test]
fn reads_that_are_not_checked_are_found() {
    let mut shard = shard(Some(Bug::ReadUnchecked));
    let len = shard.pages.stable_len();
    let is_found = (0..len).step_by(PAGE_BYTES / 2 + 13).any(|at| {
        shard.pages.flip(at, 0x20);
        let looked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(&mut shard, Some(Bug::ReadUnchecked))));
        shard.pages.flip(at, 0x20);
        !matches!(looked, Ok(Ok(_)))
    });
    assert!(is_found);
}

#[test]
fn a_damaged_superblock_falls_back_to_the_other_and_loses_nothing() {
    let mut shard = shard(None);
    for number in 0..50 {
        shard.change(Change::Put(0, key(number), 0, value(number, 9))).unwrap();
    }
    shard.settle().unwrap();
    let newest = shard.engine.page_file().unwrap().durable().generation;
    let at = |generation: u32| u64::from(generation % 2) * PAGE_BYTES as u64 + 100;
    // The older one is not needed while the newer one is sound.
    shard.pages.flip(at(newest - 1), 1);
    shard.reopen().unwrap();
    assert_eq!(shard.engine.page_file().unwrap().durable().generation, newest);
    shard.pages.flip(at(newest - 1), 1);
    shard.pages.flip(at(newest), 1);
    shard.reopen().unwrap();
    assert_eq!(shard.engine.page_file().unwrap().durable().generation, newest - 1);
    // Going on from the older one writes the damaged one anew.
    for number in 0..200 {
        shard.change(Change::Put(0, key(number), 0, value(number, 10))).unwrap();
    }
    shard.checkpoint().unwrap();
    assert_eq!(shard.engine.page_file().unwrap().durable().generation, newest);
    shard.reopen().unwrap();
}

#[test]
fn two_damaged_superblocks_are_refused_when_the_log_is_not_complete() {
    let mut shard = Shard::new(6, 120, None);
    // Enough for segments to go.
    for round in 0..4 {
        for number in 0..ROWS {
            shard.change(Change::Put(0, key(number), 0, value(number, round))).unwrap();
        }
        shard.checkpoint().unwrap();
    }
    assert!(!shard.log.files.contains_key(&0), "the log was not shortened");
    shard.pages.flip(100, 1);
    shard.pages.flip(PAGE_BYTES as u64 + 100, 1);
    let refused = shard.reopen().unwrap_err();
    assert_eq!(refused, format!("the log of shard {} lacks segment 0", LOG.shard));
}

#[test]
fn the_log_is_enough_while_it_is_complete() {
    let mut shard = Shard::new(7, 120, None);
    let numbers: BTreeSet<u32> = (0..200).collect();
    for number in &numbers {
        shard.change(Change::Put(0, key(*number), 0, value(*number, 0))).unwrap();
    }
    shard.checkpoint().unwrap();
    shard.pages = Default::default();
    shard.reopen().unwrap();
    assert_eq!(shard.engine.row_count(0), numbers.len() as u64);
}
