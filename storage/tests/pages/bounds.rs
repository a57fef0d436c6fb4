//! Page files that may not become larger: who adds something is told so, everything that is there stays, can be read and removed,
//! and then there is room again.

use crate::change::Change;
use crate::shard::{Shard, row};
use cairn_storage::engine::Stop;
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::pagefile::{Bounds, FileState};
use cairn_storage::units::Lsn;

const EFBIG: i32 = 27;

fn key(number: u64) -> Vec<u8> {
    format!("row-{number:06}").into_bytes()
}

/// Puts a row, unless that is refused, and has a turn end.
fn put(shard: &mut Shard, number: u64, len: usize) -> Result<(), Stop> {
    let done = shard.attempt(Change::Put(0, key(number), 0, vec![number as u8; len]));
    shard.engine.log_mut().seal();
    shard.engine.work(1, 4 * PAGE_BYTES);
    shard.turn_io().unwrap();
    done
}

/// Numbers of pages, or of extents, that are not in use.
fn left(shard: &Shard, bounds: Bounds, is_long: bool) -> usize {
    if is_long {
        return bounds.extents - shard.model.values().filter(|(_, value)| value.len() > 2048).count();
    }
    bounds.pages - shard.engine.page_counts().0 as usize
}

#[test]
fn who_adds_rows_is_refused_before_the_numbers_of_pages_or_extents_end() {
    for (is_long, len) in [(false, 1000), (true, 5000)] {
        let bounds = Bounds { pages: 150, extents: 90, spare: 40, ..Bounds::default() };
        let mut shard = Shard::bounded(61, 400, None, bounds);
        let mut rows = 0;
        // As long as the spare numbers are whole, one below the bound and at it, each row is taken.
        while left(&shard, bounds, is_long) >= bounds.spare {
            put(&mut shard, rows, len).unwrap_or_else(|stop| panic!("{stop:?} at {rows}"));
            rows += 1;
        }
        assert_eq!(left(&shard, bounds, is_long), bounds.spare - 1);
        for number in [0, rows] {
            assert_eq!(put(&mut shard, number, len), Err(Stop::Outgrown));
        }
        assert_eq!(shard.engine.splice(row(0, &key(0)), 10, b"more", None), Err(Stop::Outgrown));
        assert_eq!(shard.engine.admit(1), Err(Stop::Outgrown), "so is a group that adds something");
        assert_eq!(shard.engine.admit(0), Ok(()), "and one that does not is not");
        // What is there is there, also after a checkpoint and a crash.
        shard.verify().unwrap();
        shard.checkpoint().unwrap();
        shard.crash().unwrap();
        shard.settle().unwrap();
        assert_eq!(put(&mut shard, rows, len), Err(Stop::Outgrown));
        // Removing goes on, and gives numbers back.
        let mut removed = 0;
        while left(&shard, bounds, is_long) < bounds.spare {
            shard.change(Change::Delete(0, key(removed))).unwrap();
            removed += 1;
        }
        shard.engine.work(1, 0);
        put(&mut shard, rows, len).unwrap();
        shard.drain_log().unwrap();
        shard.crash().unwrap();
        shard.verify().unwrap();
    }
}

#[test]
fn a_file_at_its_bound_is_a_full_one() {
    let bounds = Bounds { sites: 333, ..Bounds::default() };
    let mut shard = Shard::bounded(62, 200, None, bounds);
    let stop = (0..5000).find_map(|number| put(&mut shard, number, 1000).err());
    assert_eq!(stop, Some(Stop::Stuck), "memory is full of what there is no site for");
    let file = shard.engine.page_file().unwrap();
    assert_eq!((file.state(), file.numbers().sites), (FileState::Full { errno: EFBIG }, 333));
    assert!(shard.pages.len <= 333 * PAGE_BYTES as u64);
    shard.verify().unwrap();
    shard.drain_log().unwrap();
    assert!(shard.acknowledged > Lsn(0));
    // A start may find no room for what the log has: all rows are read, and nothing is written, until there is some.
    shard.crash().unwrap();
    shard.verify().unwrap();
    assert_eq!(put(&mut shard, 6000, 1000), Err(Stop::Stuck));
    shard.bounds = Bounds::default();
    shard.reopen().unwrap();
    shard.checkpoint().unwrap();
    shard.verify().unwrap();
    assert_eq!(shard.engine.await_redo(), Ok(()));
    put(&mut shard, 0, 1000).unwrap();
}
