//! Disks that are full or fail: what the page file says, and that nothing is lost.

use crate::change::Change;
use crate::shard::{Shard, row};
use cairn_storage::engine::Stop;
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::op::{DiskDone, PageOp};
use cairn_storage::pagefile::{CheckpointState, FileState};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

fn filled() -> Shard {
    let mut shard = Shard::new(11, 400, None);
    for number in 0..300 {
        let key = format!("row-{number}").into_bytes();
        shard.change(Change::Put(0, key, 0, vec![number as u8; 1000])).unwrap();
    }
    shard.settle().unwrap();
    shard
}

/// Has a checkpoint made in which the first operation of a kind ends in `result`. Whether there was one.
fn fail_first(shard: &mut Shard, is_it: fn(&PageOp) -> bool, result: Result<u32, i32>) -> bool {
    shard.engine.want_checkpoint();
    for _ in 0..1000 {
        shard.engine.work(1, 16 * PAGE_BYTES);
        shard.pages.take(&mut shard.engine);
        if let Some(at) = shard.pages.flying.iter().position(|flying| is_it(&flying.op)) {
            let flying = shard.pages.flying.remove(at);
            shard.engine.on_page_done(DiskDone { op: flying.op.op(), result });
            return true;
        }
        shard.turn_io().unwrap();
    }
    false
}

#[test]
fn a_full_disk_stops_checkpoints_until_there_is_space() {
    for is_it in [(|op: &PageOp| matches!(op, PageOp::Grow { .. })) as fn(&PageOp) -> bool, |op| {
        matches!(op, PageOp::Write { .. })
    }] {
        let mut shard = filled();
        assert!(fail_first(&mut shard, is_it, Err(ENOSPC)));
        let file = shard.engine.page_file().unwrap();
        assert_eq!(file.state(), FileState::Full { errno: ENOSPC });
        // The rows are there, can be read, and can be changed as long as the log has room.
        shard.verify().unwrap();
        shard.change(Change::Put(0, b"meanwhile".to_vec(), 0, vec![1; 10])).unwrap();
        shard.engine.retry_pages();
        shard.settle().unwrap();
        assert_eq!(shard.engine.page_file().unwrap().durable().generation, 1);
        shard.crash().unwrap();
    }
}

#[test]
fn a_failed_write_sync_or_superblock_ends_checkpoints_and_loses_nothing() {
    for is_it in [
        (|op: &PageOp| matches!(op, PageOp::Write { .. })) as fn(&PageOp) -> bool,
        |op| matches!(op, PageOp::Sync { .. }),
        |op| matches!(op, PageOp::WriteStable { .. }),
    ] {
        for result in [Err(EIO), Ok(512)] {
            let mut shard = filled();
            shard.checkpoint().unwrap();
            for number in 0..100 {
                let key = format!("row-{number}").into_bytes();
                shard.change(Change::Put(0, key, 0, vec![number as u8; 500])).unwrap();
            }
            let needed = shard.engine.log_needed();
            if is_it(&PageOp::Sync { op: Default::default() }) && result.is_ok() {
                continue;
            }
            assert!(fail_first(&mut shard, is_it, result));
            assert!(matches!(shard.engine.page_file().unwrap().state(), FileState::Failed { .. }));
            for number in 0..150 {
                let key = format!("row-{number}").into_bytes();
                shard.change(Change::Put(0, key, 0, vec![number as u8; 600])).unwrap();
                shard.engine.work(1, 4 * PAGE_BYTES);
            }
            assert_eq!(shard.engine.log_needed(), needed);
            shard.engine.log_mut().seal();
            while !shard.engine.log().is_idle() {
                shard.turn_io().unwrap();
            }
            shard.verify().unwrap();
            shard.crash().unwrap();
            shard.checkpoint().unwrap();
            shard.crash().unwrap();
        }
    }
}

/// A shard with twice as many pages as fit into its memory, a few of them changed since the last checkpoint.
fn changed() -> Shard {
    let mut shard = Shard::new(13, 150, None);
    for number in 0..1500 {
        shard.change(Change::Put(0, row_key(number), 0, vec![number as u8; 1000])).unwrap();
        shard.engine.work(1, 4 * PAGE_BYTES);
    }
    shard.apply_deferred().unwrap();
    shard.checkpoint().unwrap();
    for number in 0..40 {
        shard.change(Change::Put(0, row_key(number), 0, vec![number as u8; 900])).unwrap();
    }
    shard
}

/// Has a checkpoint begin; most pages are still to be saved then.
fn begin_checkpoint(shard: &mut Shard) {
    shard.engine.want_checkpoint();
    for _ in 0..100 {
        shard.engine.work(1, PAGE_BYTES);
        if shard.engine.checkpoint_state() == CheckpointState::Saving {
            return;
        }
        // The file has to grow first.
        shard.turn_io().unwrap();
    }
    panic!("no checkpoint begins");
}

fn row_key(number: u64) -> Vec<u8> {
    format!("row-{number}").into_bytes()
}

#[test]
fn what_a_failed_checkpoint_did_not_save_is_not_taken_for_saved() {
    let mut shard = changed();
    begin_checkpoint(&mut shard);
    // A victim's write, while most pages are still to be saved.
    let victim = |op: &PageOp| matches!(op, PageOp::Write { .. });
    while !shard.pages.flying.iter().any(|flying| victim(&flying.op)) {
        let number = shard.rng.below(1500);
        shard.run(|engine| Ok(engine.get(row(0, &row_key(number)))?.is_some())).unwrap();
        shard.engine.work(1, 0);
        shard.pages.take(&mut shard.engine);
    }
    let at = shard.pages.flying.iter().position(|flying| victim(&flying.op)).unwrap();
    let flying = shard.pages.flying.remove(at);
    shard.engine.on_page_done(DiskDone { op: flying.op.op(), result: Err(EIO) });
    for _ in 0..100 {
        shard.engine.work(1, 16 * PAGE_BYTES);
    }
    shard.verify().unwrap();
}

/// Puts rows until one is refused. How many went through.
fn put_until_stuck(shard: &mut Shard) -> u64 {
    for number in 0..5000 {
        let key = row_key(number * 7 % 1500);
        loop {
            match shard.engine.put(row(0, &key), 0, 0, &[3; 950]) {
                Ok(_) => break,
                Err(Stop::Stuck) => return number,
                Err(Stop::Missing(missing)) => drop(shard.engine.fetch(missing)),
                Err(stop) => assert_eq!(stop, Stop::Crowded),
            }
            shard.engine.work(1, 4 * PAGE_BYTES);
            shard.turn_io().unwrap();
        }
        shard.engine.work(1, 4 * PAGE_BYTES);
    }
    panic!("nothing is refused");
}

#[test]
fn writers_are_refused_before_memory_has_no_room_for_reads() {
    let mut shard = changed();
    assert!(fail_first(&mut shard, |op| matches!(op, PageOp::Write { .. }), Err(EIO)));
    assert!(put_until_stuck(&mut shard) > 10);
    let reads = |shard: &Shard| shard.engine.page_file().unwrap().numbers().reads;
    let before = reads(&shard);
    for number in (0..1500).chain(0..1500) {
        shard.run(|engine| Ok(engine.get(row(0, &row_key(number)))?.is_some())).unwrap();
    }
    assert!(reads(&shard) - before <= 2 * 3000, "what was read has a place: {} reads", reads(&shard) - before);
}

#[test]
fn a_checkpoint_that_has_its_sites_ends_though_the_file_cannot_grow() {
    let mut shard = changed();
    begin_checkpoint(&mut shard);
    let before = shard.engine.page_file().unwrap().durable().generation;
    // Victims take the sites that are left, until more are asked for.
    let mut refused = 0;
    for number in 0..3000 {
        let key = row_key(number * 7 % 1500);
        match shard.engine.put(row(0, &key), 0, 0, &[3; 950]) {
            Err(Stop::Missing(missing)) => drop(shard.engine.fetch(missing)),
            Ok(_) | Err(Stop::Crowded | Stop::Stuck) => {}
            Err(stop) => panic!("{stop:?}"),
        }
        shard.engine.log_mut().seal();
        shard.engine.work(1, 2 * PAGE_BYTES);
        shard.pages.take(&mut shard.engine);
        if let Some(at) = shard.pages.flying.iter().position(|flying| matches!(flying.op, PageOp::Grow { .. })) {
            let flying = shard.pages.flying.remove(at);
            shard.engine.on_page_done(DiskDone { op: flying.op.op(), result: Err(ENOSPC) });
            refused += 1;
        }
        shard.turn_io().unwrap();
        shard.turn_io().unwrap();
    }
    assert_eq!(refused, 1, "it is asked for again when the driver says so");
    assert!(shard.engine.page_file().unwrap().durable().generation > before);
    shard.engine.retry_pages();
    shard.settle().unwrap();
}
