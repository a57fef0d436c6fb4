//! What stays in memory and what does not; pinned checkpoints.

use crate::change::Change;
use crate::shard::{LOG, Model, Shard, row};
use cairn_storage::engine::{Engine, Replay, RowKey};
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::pagefile::{Bounds, CheckpointState, OpenStep, Opening, PageFileConfig};
use std::ops::ControlFlow;

fn key(number: u64) -> Vec<u8> {
    format!("row-{number:06}").into_bytes()
}

/// A shard with about ten times as many pages as fit into its memory, all of them on disk.
fn ten_times_memory() -> Shard {
    let mut shard = Shard::new(21, 200, None);
    for number in 0..9000 {
        shard.change(Change::Put(0, key(number), 0, vec![number as u8; 1500])).unwrap();
        shard.engine.work(1, 4 * PAGE_BYTES);
        if number % 1000 == 0 {
            shard.checkpoint().unwrap();
        }
    }
    // What the tests look at is not to be changed by what waits.
    shard.apply_deferred().unwrap();
    shard.checkpoint().unwrap();
    shard
}

fn reads(shard: &Shard) -> u64 {
    shard.engine.page_file().unwrap().numbers().reads
}

fn get(shard: &mut Shard, number: u64) {
    let key = key(number);
    let found = shard.run(|engine| Ok(engine.get(row(0, &key))?.is_some())).unwrap();
    assert!(found);
}

#[test]
fn one_scan_of_everything_does_not_evict_the_hot_set() {
    let mut shard = ten_times_memory();
    let hot: Vec<u64> = (0..60).map(|number| number * 131).collect();
    for _ in 0..6 {
        for number in &hot {
            get(&mut shard, *number);
        }
        // Other pages come and go meanwhile, so that what stays has been missed or met again.
        for _ in 0..60 {
            let number = shard.rng.below(9000);
            get(&mut shard, number);
        }
    }
    let before = reads(&shard);
    for number in &hot {
        get(&mut shard, *number);
    }
    assert!(reads(&shard) - before < 6, "the hot set is in memory: {} reads", reads(&shard) - before);
    // As SCAN does it: a few rows at a time, so that each page is met several times in a row.
    let (mut from, mut seen, mut lost) = (0, 0, 0);
    for number in hot.iter().cycle() {
        let before = reads(&shard);
        get(&mut shard, *number);
        lost += reads(&shard) - before;
        let (next, count) = shard
            .run(|engine| {
                let (mut next, mut count, mut last) = (None, 0, None);
                engine.scan(0, from, |head, _, _| {
                    if count >= 3 && last != Some(head) {
                        next = Some(head);
                        return ControlFlow::Break(());
                    }
                    last = Some(head);
                    count += 1;
                    ControlFlow::Continue(())
                })?;
                Ok((next, count))
            })
            .unwrap();
        seen += count;
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(seen, 9000);
    assert!(lost <= hot.len() as u64 / 10, "the scan evicted {lost} of {}", hot.len());
    assert!(shard.engine.memory_bytes().0 <= 200 * PAGE_BYTES as u64);
}

#[test]
fn reads_of_one_page_are_joined_and_those_of_several_do_not_wait_for_each_other() {
    let mut shard = ten_times_memory();
    shard.reopen().unwrap();
    for number in 0..40 {
        get(&mut shard, number * 223);
    }
    let absent: Vec<_> = (0..100).filter_map(|number| shard.engine.get(row(0, &key(number * 20))).err()).collect();
    let mut pages: Vec<_> = absent.clone();
    pages.sort_by_key(|missing| format!("{missing:?}"));
    pages.dedup();
    assert!(!pages.is_empty());
    for missing in absent.iter().chain(&absent) {
        shard.engine.fetch(*missing);
    }
    shard.pages.take(&mut shard.engine);
    assert_eq!(shard.pages.flying.len(), pages.len());
    shard.settle().unwrap();
}

#[test]
fn a_pinned_checkpoint_stays_as_it_was() {
    let mut shard = Shard::new(31, 150, None);
    for number in 0..800 {
        shard.change(Change::Put(0, key(number), 0, vec![number as u8; 1200])).unwrap();
    }
    // What waits is in the log only.
    shard.apply_deferred().unwrap();
    shard.checkpoint().unwrap();
    let pin = shard.engine.pin().unwrap();
    let then = shard.model.clone();
    shard.is_eager = true;
    for number in 0..4000 {
        let key = key(shard.rng.below(1000));
        shard.change(Change::Put(0, key, 0, vec![number as u8; 1300])).unwrap();
        shard.turn().unwrap();
    }
    shard.is_eager = false;
    shard.settle().unwrap();
    assert!(shard.engine.page_file().unwrap().durable().generation > pin.superblock.generation + 3);
    assert!(snapshot(&mut shard, &pin.superblock) == then);
    let held = shard.engine.page_file().unwrap().numbers().sites_held;
    shard.engine.unpin(pin);
    (0..100).for_each(|_| shard.engine.work(0, 0));
    assert!(shard.engine.page_file().unwrap().numbers().sites_held < held / 2);
    shard.crash().unwrap();
}

/// All rows of a pinned checkpoint, read beside the shard that goes on.
fn snapshot(shard: &mut Shard, superblock: &cairn_storage::pagefile::Superblock) -> Model {
    let config = PageFileConfig {
        shard: LOG.shard,
        salt: LOG.salt,
        segment_bytes: LOG.segment_bytes,
        grow_bytes: 1 << 18,
        bounds: Bounds::default(),
        planted: None,
    };
    let mut opening = Opening::of_checkpoint(config, superblock.clone());
    loop {
        match opening.step() {
            OpenStep::Read { offset, len } => opening.supply(&shard.pages.read(offset, len as usize)),
            OpenStep::Done => break,
            OpenStep::Refuse(fault) => panic!("{fault}"),
        }
    }
    let (file, superblock) = opening.finish();
    let mut replay = Replay::over(LOG, 64 << 20, Box::new(|_| {}), file, &superblock);
    let engine = replay.engine_mut();
    loop {
        let mut rows = Model::new();
        let scanned = engine.scan(0, 0, |_, key, found| {
            rows.insert((0, key.to_vec()), (found.expire_ms, found.value.to_vec()));
            ControlFlow::Continue(())
        });
        let Err(missing) = scanned else { return rows };
        engine.fetch(missing);
        while let Some(cairn_storage::op::PageOp::Read { op, offset, len }) = engine.poll_pages() {
            engine.on_page_read(op, Ok(&shard.pages.read(offset, len as usize)));
        }
    }
}

#[test]
fn values_longer_than_their_share_of_memory_are_read_and_given_up() {
    let mut shard = Shard::new(41, 200, None);
    // Each is longer than a quarter of memory, all together longer than all of it.
    for number in 0..8 {
        shard.change(Change::Put(0, key(number), 0, vec![number as u8; 500_000])).unwrap();
        shard.checkpoint().unwrap();
    }
    shard.reopen().unwrap();
    for number in (0..8).chain(0..8) {
        get(&mut shard, number);
        shard.engine.work(0, 0);
        shard.engine.work(0, 0);
        assert!(shard.engine.memory_bytes().1 <= 1_000_000, "{:?}", shard.engine.memory_bytes());
    }
}

#[test]
fn a_group_that_memory_cannot_hold_is_refused_before_it_begins() {
    let mut shard = ten_times_memory();
    let keys: Vec<Vec<u8>> = (0..9000).map(key).collect();
    let rows = keys.iter().map(|key| (RowKey { ..row(0, key) }, 0));
    let mut refused = 0;
    for _ in 0..3 {
        refused += u32::from(shard.engine.prepare_group(rows.clone()).is_err());
        shard.settle().unwrap();
    }
    assert_eq!(refused, 3);
    shard.verify().unwrap();
}

/// The position of the log is not known before the end of replay: a checkpoint that began there would lead to wrong rows.
#[test]
fn replay_of_more_than_memory_holds_wants_no_checkpoint() {
    let mut shard = Shard::new(51, 1000, None);
    for len in [1500, 1400] {
        for number in 0..2000 {
            shard.change(Change::Put(0, key(number), 0, vec![number as u8; len])).unwrap();
        }
        if len == 1500 {
            shard.checkpoint().unwrap();
        }
    }
    shard.drain_log().unwrap();
    shard.set_memory(150);
    shard.crash().unwrap();
    assert!(shard.engine.page_file().unwrap().numbers().victims_written > 500);
    assert!(!shard.engine.is_checkpoint_wanted());
    assert_eq!(shard.engine.checkpoint_state(), CheckpointState::Idle);
    shard.checkpoint().unwrap();
    shard.crash().unwrap();
}

#[test]
fn values_that_no_checkpoint_has_written_make_writers_wait() {
    const VALUE_BYTES: usize = 20 * PAGE_BYTES;
    let mut shard = Shard::new(33, 400, None);
    let memory = 400 * PAGE_BYTES as u64;
    let mut most = 0;
    for number in 0..200 {
        shard.change(Change::Put(0, key(number % 50), 0, vec![number as u8; VALUE_BYTES])).unwrap();
        most = most.max(shard.engine.memory_bytes().1);
        shard.turn().unwrap();
    }
    assert!(shard.engine.page_file().unwrap().numbers().checkpoints > 5, "nothing else makes room");
    assert!(most <= memory / 2 + VALUE_BYTES as u64, "{most} bytes of extents in {memory} bytes of memory");
    shard.verify().unwrap();
}

#[test]
fn one_value_may_be_longer_than_memory() {
    let mut shard = Shard::new(34, 200, None);
    let value = |fill: u8| vec![fill; 300 * PAGE_BYTES];
    for round in 0..6 {
        shard.change(Change::Put(0, key(round % 3), 0, value(round as u8))).unwrap();
        shard.change(Change::Put(0, key(100 + round), 0, vec![7; 300])).unwrap();
    }
    for number in 0..3 {
        let key = key(number);
        let read = |engine: &mut Engine| Ok(engine.get(row(0, &key))?.map(|found| found.value.to_vec()));
        assert!(shard.run(read).unwrap() == Some(value(number as u8 + 3)));
    }
    shard.checkpoint().unwrap();
    shard.settle().unwrap();
    shard.engine.work(1, PAGE_BYTES);
    assert!(shard.engine.memory_bytes().1 < 2 * 300 * PAGE_BYTES as u64, "what is written can leave");
    shard.crash().unwrap();
    shard.verify().unwrap();
}

#[test]
fn a_group_may_name_a_row_more_than_once() {
    let mut shard = Shard::new(29, 120, None);
    for number in 0..1200_u32 {
        shard.change(Change::Put(0, format!("row-{number}").into_bytes(), 0, vec![1; 900])).unwrap();
    }
    for round in 0..40_u32 {
        shard.checkpoint().unwrap();
        if round % 4 == 0 {
            // Nothing is in memory, and some of the log is left to be applied.
            shard.crash().unwrap();
        }
        let length = |at: u32| [10, 1800, 20_000][((round + at) % 3) as usize];
        let puts = (0..9).map(|at| {
            let key = format!("row-{}", (round * 7 + at % 3 * 130) % 1230).into_bytes();
            (0, key, vec![(round + at) as u8; length(at)])
        });
        shard.group(puts.collect()).unwrap();
        for at in 0..3 {
            shard.look(0, format!("row-{}", (round * 7 + at * 130) % 1230).as_bytes()).unwrap();
        }
        shard.turn().unwrap();
    }
    shard.drain_log().unwrap();
    shard.crash().unwrap();
    shard.verify().unwrap();
}
