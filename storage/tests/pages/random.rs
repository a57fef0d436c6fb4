//! Random changes with checkpoints going on all the time, in a memory that holds a part of them; the power fails
//! anywhere.

use crate::change::{Change, is_collection};
use crate::shard::{Cut, Shard};
use cairn_storage::pagefile::Bug;

/// What a run is like.
#[derive(Clone, Copy)]
pub struct Taste {
    pub keys: u64,
    pub value_max: u64,
    /// One in so many values is long.
    pub long_one_in: u64,
    pub memory_pages: usize,
}

pub const SMALL: Taste = Taste { keys: 400, value_max: 300, long_one_in: 40, memory_pages: 150 };
pub const LARGE: Taste = Taste { keys: 3000, value_max: 2000, long_one_in: 200, memory_pages: 150 };
pub const LONG: Taste = Taste { keys: 60, value_max: 600, long_one_in: 3, memory_pages: 400 };

fn key(shard: &mut Shard, taste: Taste) -> (u8, Vec<u8>) {
    let number = shard.rng.below(taste.keys);
    let len = if number.is_multiple_of(50) { 700 } else { 12 };
    ((number % 3 / 2) as u8, format!("{number:0len$}").into_bytes())
}

fn value(shard: &mut Shard, taste: Taste) -> Vec<u8> {
    let max = if shard.rng.below(taste.long_one_in) == 0 { 60_000 } else { taste.value_max };
    let len = shard.rng.below(max) as usize;
    let first = shard.rng.next() as u8;
    (0..len).map(|at| first.wrapping_add(at as u8)).collect()
}

/// One random change, and a turn.
pub fn step(shard: &mut Shard, taste: Taste) -> Result<(), Cut> {
    let (db, key) = key(shard, taste);
    let expire_ms = [0, 0, 1000, 2000][shard.rng.below(4) as usize];
    let is_there = shard.model.contains_key(&(db, key.clone()));
    let is_collection = shard.model.get(&(db, key.clone())).is_some_and(|row| is_collection(&row.1));
    let what = shard.rng.below(100);
    match what {
        0..10 if is_there => shard.change(Change::Delete(db, key))?,
        10..16 if is_there => shard.change(Change::Expire(db, key, expire_ms))?,
        16..24 if is_there && !is_collection => {
            let (offset, bytes) = (shard.rng.below(500) as usize, value(shard, Taste { value_max: 50, ..taste }));
            shard.change(Change::Splice(db, key, offset, bytes))?;
        }
        24..28 => {
            let puts = (0..3).map(|_| {
                let (db, key) = self::key(shard, taste);
                (db, key, value(shard, taste))
            });
            let puts = puts.collect();
            shard.group(puts)?;
        }
        30..33 => {
            let count = [1, 20, 200][shard.rng.below(3) as usize];
            shard.change(Change::Collect(db, key, count))?;
        }
        33..50 if is_collection => {
            let at = shard.rng.below(220) as u32;
            let value = (shard.rng.below(3) > 0).then(|| value(shard, Taste { value_max: 200, ..taste }));
            shard.change(Change::Element(db, key, at, value))?;
        }
        50..53 if is_collection => {
            let (_, other) = self::key(shard, taste);
            if other != key {
                shard.change(Change::Rename(db, key, other))?;
            }
        }
        53..60 => shard.begin_or_go_on(db, &key)?,
        // Who has begun a collection keeps its database where it is.
        28 | 29 if shard.begun.is_some() => {}
        28 if shard.rng.below(40) == 0 => shard.change(Change::Clear(1))?,
        29 if shard.rng.below(8) == 0 => shard.change(Change::Swap(0, 1))?,
        _ => {
            let value = value(shard, taste);
            shard.change(Change::Put(db, key, expire_ms, value))?;
        }
    }
    shard.turn()?;
    let (db, key) = self::key(shard, taste);
    shard.look(db, &key)
}

/// Runs for some changes, with a power cut after so many operations.
fn until_cut(shard: &mut Shard, taste: Taste, steps: usize, ops: usize) -> Result<(), Cut> {
    shard.ops_left = ops;
    for _ in 0..steps {
        step(shard, taste)?;
    }
    Err(Cut)
}

pub fn crashes(seed: u64, taste: Taste, rounds: usize, planted: Option<Bug>) -> Result<(), String> {
    let mut shard = Shard::new(seed, taste.memory_pages, planted);
    for round in 0..rounds {
        // After a round with no checkpoint an opening has much to redo.
        shard.is_eager = round % 3 != 1;
        let ops = 1 + shard.rng.below(1500) as usize;
        let Err(Cut) = until_cut(&mut shard, taste, 600, ops) else { unreachable!("every run is cut") };
        shard.crash().map_err(|what| format!("seed {seed}, round {round}: {what}"))?;
    }
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost_and_the_whole_shard_is_sound_after_every_crash() {
    for seed in 0..8 {
        crashes(seed, SMALL, 12, None).unwrap();
    }
    for seed in 8..12 {
        crashes(seed, LONG, 8, None).unwrap();
    }
    for seed in 12..14 {
        crashes(seed, LARGE, 12, None).unwrap();
    }
}
