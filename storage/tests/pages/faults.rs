//! Disks that are full or fail: what the page file says, and that nothing is lost.

use crate::shard::{Change, Shard};
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::op::{DiskDone, PageOp};
use cairn_storage::pagefile::FileState;

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
