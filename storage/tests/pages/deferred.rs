//! Rows that wait for their leaves (E7 to E9): they are there for everybody, through crashes, damage and disks that take nothing.

use crate::change::Change;
use crate::shard::{Shard, row};
use cairn_storage::engine::Stop;
use cairn_storage::error::Missing;
use cairn_storage::limits::{
    DEFERRED_LEAF_BYTES_MAX, DEFERRED_PARTS, DEFERRED_PARTS_MAX, DEFERRED_PARTS_MIN, PAGE_BYTES,
};
use cairn_storage::op::{DiskDone, PageOp};
use cairn_storage::pool::Fetched;
use std::ops::ControlFlow;

const ROWS: u64 = 4000;
const MEMORY_PAGES: usize = 160;
const EIO: i32 = 5;

fn key(number: u64) -> Vec<u8> {
    format!("key-{number:08}").into_bytes()
}

/// A shard whose rows are about five times its memory, none of which wait.
fn shard() -> Shard {
    let mut shard = Shard::new(77, MEMORY_PAGES, None);
    for number in 0..ROWS {
        put(&mut shard, number, 1000);
        shard.engine.work(1, 4 * PAGE_BYTES);
    }
    shard.apply_deferred().unwrap();
    shard.checkpoint().unwrap();
    shard
}

fn put(shard: &mut Shard, number: u64, len: usize) {
    shard.change(Change::Put(0, key(number), 0, vec![number as u8; len])).unwrap();
}

/// Sets rows that are not in memory until so many wait.
fn defer(shard: &mut Shard, rows: u64) {
    for number in (0..ROWS).map(|number| number * 1237 % ROWS) {
        if shard.engine.deferred_rows() >= rows {
            return;
        }
        put(shard, number, 990);
    }
    panic!("{} rows wait", shard.engine.deferred_rows());
}

/// A row whose page is not in memory.
fn absent(shard: &Shard) -> u64 {
    (0..ROWS).find(|number| shard.engine.get(row(0, &key(*number))).is_err()).expect("most rows are absent")
}

fn reads(shard: &Shard) -> u64 {
    shard.engine.page_file().unwrap().numbers().reads
}

#[test]
fn a_row_is_set_and_read_back_without_its_page() {
    let mut shard = shard();
    let before = reads(&shard);
    defer(&mut shard, 20);
    for number in 0..ROWS {
        if shard.engine.deferred_rows() == 20 && shard.engine.get(row(0, &key(number))).is_err() {
            continue;
        }
        shard.look(0, &key(number)).unwrap();
    }
    assert_eq!(reads(&shard), before, "a page was read");
    assert_eq!(shard.engine.await_deferred(), Err(Missing::Deferred));
    shard.verify().unwrap();
    assert_eq!(shard.engine.await_deferred(), Ok(()));
}

#[test]
fn rows_of_one_page_are_applied_together() {
    let mut shard = shard();
    defer(&mut shard, 60);
    let before = reads(&shard);
    shard.apply_deferred().unwrap();
    let (leaves, rows) = shard.engine.deferred_applied();
    assert!(rows > leaves && reads(&shard) - before <= leaves, "{rows} rows of {leaves} pages");
}

#[test]
fn a_time_to_live_a_long_value_and_a_group_wait_for_nothing() {
    let mut shard = shard();
    let number = absent(&shard);
    assert!(matches!(shard.engine.put(row(0, &key(number)), 0, 5000, b"v"), Err(Stop::Missing(_))));
    let long = vec![1; 3000];
    assert!(matches!(shard.engine.put(row(0, &key(number)), 0, 0, &long), Err(Stop::Missing(_))));
    shard.engine.open_group();
    assert!(matches!(shard.engine.put(row(0, &key(number)), 0, 0, b"v"), Err(Stop::Missing(_))));
    shard.engine.close_group();
    assert_eq!(shard.engine.deferred_rows(), 0);
    put(&mut shard, number, 10);
    assert_eq!(shard.engine.deferred_rows(), 1);
}

#[test]
fn a_page_is_read_when_too_much_waits_for_it() {
    let mut shard = shard();
    let number = absent(&shard);
    // Their heads are the same, so that one leaf has them all.
    let head = row(0, &key(number)).head;
    let mut keys =
        (0_u64..).map(|like| format!("like-{number}-{like}").into_bytes()).filter(|key| row(0, key).head == head);
    let mut bytes = 0;
    loop {
        let key = keys.next().unwrap();
        let value = [9; 500];
        match shard.engine.put(row(0, &key), 0, 0, &value) {
            Ok(_) => bytes += 12 + key.len() + 1 + value.len(),
            Err(stop) => {
                assert!(matches!(stop, Stop::Missing(Missing::Page(_))), "{stop:?}");
                break;
            }
        }
        assert!(bytes <= DEFERRED_LEAF_BYTES_MAX, "{bytes} wait");
    }
    assert!(bytes + 1200 > DEFERRED_LEAF_BYTES_MAX, "{bytes} wait");
}

#[test]
fn what_waits_has_a_bound_and_goes_on_without() {
    let mut shard = shard();
    let bytes_max = (MEMORY_PAGES * PAGE_BYTES) as u64 / DEFERRED_PARTS * DEFERRED_PARTS_MAX;
    let mut seen = 0;
    // Without background work nothing makes room.
    for number in (0..ROWS).map(|number| number * 1237 % ROWS) {
        put(&mut shard, number, 980);
        seen = seen.max(shard.engine.deferred_bytes());
        assert!(shard.engine.deferred_bytes() <= bytes_max);
    }
    assert!(seen > bytes_max - 2000, "{seen} of {bytes_max}");
    // While others look at rows they get the memory.
    for second in 0..20 {
        for number in 0..300 {
            shard.look(0, &key((second * 300 + number) * 577 % ROWS)).unwrap();
        }
        shard.engine.share_deferred();
        for _ in 0..200 {
            shard.turn().unwrap();
        }
    }
    let bytes_min = (MEMORY_PAGES * PAGE_BYTES) as u64 / DEFERRED_PARTS * DEFERRED_PARTS_MIN;
    assert!(shard.engine.deferred_bytes() <= bytes_min, "{} of {bytes_min}", shard.engine.deferred_bytes());
    shard.verify().unwrap();
}

#[test]
fn a_checkpoint_leaves_the_log_that_waiting_rows_need() {
    let mut shard = shard();
    defer(&mut shard, 40);
    for _ in 0..3 {
        shard.checkpoint().unwrap();
    }
    assert!(shard.engine.deferred_rows() > 0);
    let durable = shard.engine.page_file().unwrap().durable().clone();
    assert!(durable.lsn < durable.settled, "{} and {}", durable.lsn, durable.settled);
    shard.crash().unwrap();
    shard.verify().unwrap();
}

#[test]
fn rows_of_a_damaged_page_are_carried_and_read() {
    let mut shard = shard();
    defer(&mut shard, 1);
    let number = (0..ROWS).find(|number| shard.model[&(0, key(*number))].1.len() == 990).unwrap();
    let mut neighbours = (0..ROWS).filter(|other| other != &number);
    // A row of the same page that does not wait.
    let leaf = |shard: &Shard, number: u64| shard.engine.get(row(0, &key(number))).err();
    let place = |shard: &Shard, missing: Missing| {
        let Missing::Page(page) = missing else { panic!("{missing:?}") };
        shard.engine.page_file().unwrap().offset_of(page).unwrap()
    };
    shard.engine.want_settled();
    shard.engine.work(1, 0);
    shard.pages.take(&mut shard.engine);
    let flying = shard.pages.flying.iter().find_map(|flying| match flying.op {
        PageOp::Read { op, offset, .. } => Some((op, offset)),
        _ => None,
    });
    let (op, offset) = flying.expect("its page is being read");
    let other = neighbours.find(|other| leaf(&shard, *other).is_some_and(|missing| place(&shard, missing) == offset));
    let other = other.expect("a page has several rows");
    let at = shard.pages.flying.iter().position(|flying| flying.op.op() == op).unwrap();
    shard.pages.flying.remove(at);
    assert!(matches!(shard.engine.on_page_read(op, Err(EIO)), Fetched::Failed { .. }));
    assert!(shard.engine.is_settling_barred());
    // It is there, and stays through checkpoints that shorten the log.
    shard.look(0, &key(number)).unwrap();
    let before = shard.engine.log().appended();
    shard.checkpoint().unwrap();
    shard.checkpoint().unwrap();
    let durable = shard.engine.page_file().unwrap().durable().lsn;
    assert!(durable > before.0, "the row was carried");
    shard.look(0, &key(number)).unwrap();
    shard.engine.retry_pages();
    shard.look(0, &key(other)).unwrap();
    assert_eq!(shard.engine.deferred_rows(), 0);
    shard.verify().unwrap();
}

#[test]
fn a_page_file_that_takes_nothing_leaves_all_rows_readable() {
    let mut shard = shard();
    defer(&mut shard, 60);
    shard.engine.want_checkpoint();
    loop {
        shard.engine.work(1, 16 * PAGE_BYTES);
        shard.pages.take(&mut shard.engine);
        if let Some(at) = shard.pages.flying.iter().position(|flying| matches!(flying.op, PageOp::Write { .. })) {
            let flying = shard.pages.flying.remove(at);
            shard.engine.on_page_done(DiskDone { op: flying.op.op(), result: Err(EIO) });
            break;
        }
        shard.turn_io().unwrap();
    }
    // Rows are set to what they are until half of memory is dirty.
    let rows: Vec<_> = shard.model.iter().map(|((_, key), (_, value))| (key.clone(), value.clone())).collect();
    let mut rows = rows.iter().cycle();
    let mut next = rows.next().unwrap();
    loop {
        match shard.engine.put(row(0, &next.0), 0, 0, &next.1) {
            Ok(_) => next = rows.next().unwrap(),
            Err(Stop::Stuck) => break,
            Err(Stop::Missing(missing)) => drop(shard.engine.fetch(missing)),
            Err(stop) => assert_eq!(stop, Stop::Crowded),
        }
        shard.engine.work(1, 0);
        shard.turn_io().unwrap();
    }
    let waiting = shard.engine.deferred_rows();
    for number in 0..ROWS {
        shard.look(0, &key(number)).unwrap();
    }
    assert!(waiting > 0 && shard.engine.deferred_rows() == waiting, "they wait until the page file takes them");
    let scanned = shard.engine.scan_keys(0, 0, |_, _, _| ControlFlow::Continue(()));
    assert!(matches!(scanned, Err(Missing::Deferred | Missing::Page(_))));
    assert!(shard.engine.is_settling_barred());
    // What can still be written is written to the log; a start has it.
    assert!(matches!(shard.engine.put(row(0, &key(1)), 0, 0, b"refused"), Err(Stop::Stuck)));
    shard.drain_log().unwrap();
    shard.crash().unwrap();
    shard.verify().unwrap();
}

#[test]
fn a_start_reads_a_row_that_was_set_without_its_page() {
    let mut shard = shard();
    defer(&mut shard, 60);
    let number = absent(&shard);
    shard.change(Change::Delete(0, key(number))).unwrap();
    shard.change(Change::Put(0, key(number + ROWS), 77, vec![3; 10])).unwrap();
    let spliced = key(absent(&shard));
    shard.change(Change::Splice(0, spliced.clone(), 5, vec![4; 10])).unwrap();
    shard.drain_log().unwrap();
    // A start goes on with all, some or none of it pending.
    while shard.engine.redo_left() < 60 {
        shard.crash().unwrap();
    }
    let left = shard.engine.redo_left();
    let before = reads(&shard);
    for (key, row) in [(number, None), (number + ROWS, Some(77))] {
        let key = self::key(key);
        assert_eq!(shard.engine.get(self::row(0, &key)).unwrap().map(|found| found.expire_ms), row);
        shard.look(0, &key).unwrap();
    }
    let set = shard.model.iter().filter(|(_, (_, value))| value.len() == 990).map(|((_, key), _)| key.clone());
    for key in set.filter(|key| *key != spliced).collect::<Vec<_>>() {
        shard.look(0, &key).unwrap();
    }
    assert_eq!(
        (reads(&shard), shard.engine.redo_left()),
        (before, left),
        "looks have read pages, or applied something"
    );
    // What does not say all that a row will be is applied first.
    assert!(matches!(shard.engine.get(row(0, &spliced)), Err(Missing::Pending(_))));
    shard.look(0, &spliced).unwrap();
    shard.verify().unwrap();
}

#[test]
fn rows_that_wait_go_where_their_database_goes() {
    let mut shard = shard();
    defer(&mut shard, 60);
    shard.change(Change::Swap(0, 2)).unwrap();
    assert_eq!((shard.engine.deferred_rows_in(0), shard.engine.deferred_rows_in(2)), (0, 60));
    for number in (0..ROWS).map(key) {
        if shard.engine.get(row(2, &number)).is_ok() {
            shard.look(2, &number).unwrap();
        }
    }
    // No checkpoint has the log needed from before the swap.
    let swapped = shard.engine.log().appended();
    shard.checkpoint().unwrap();
    assert!(shard.engine.page_file().unwrap().durable().lsn >= swapped.0);
    shard.crash().unwrap();
    shard.verify().unwrap();
}

#[test]
fn rows_that_wait_come_back_with_a_database_whose_emptying_is_undone() {
    for is_kept in [false, true] {
        let mut shard = shard();
        defer(&mut shard, 60);
        shard.engine.open_undoable_group();
        shard.engine.clear(0).unwrap();
        assert_eq!(shard.engine.deferred_rows(), 0);
        assert_eq!(shard.engine.get(row(0, &key(1))), Ok(None));
        if is_kept {
            shard.engine.close_group();
            assert_eq!(shard.engine.deferred_rows(), 0);
            continue;
        }
        let mut undo = shard.engine.rollback_group();
        shard.engine.undo(&mut undo).unwrap();
        assert_eq!((shard.engine.deferred_rows(), shard.engine.deferred_rows_in(0)), (60, 60));
        for number in 0..ROWS {
            shard.look(0, &key(number)).unwrap();
        }
        shard.verify().unwrap();
        shard.checkpoint().unwrap();
        shard.crash().unwrap();
        shard.verify().unwrap();
    }
}
