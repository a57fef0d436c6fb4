//! Collections whose elements are rows: found in order, gone with their row, and back with it.

use super::super::elements::{ORDER_BYTES_MIN, element, elements_of, order_of};
use super::*;
use crate::limits::{COLLECTIONS_MAX, RECLAIMED_PER_TURN};
use crate::row::OWNS;
use crate::units::CollectionId;

const KIND: u8 = 3 | OWNS;

/// A collection of so many elements under a key of database 0.
fn fill(engine: &mut Engine, key: &[u8], elements: u32) -> CollectionId {
    engine.open_group();
    let number = engine.next_collection().unwrap();
    for at in 0..elements {
        engine.put(element(0, number, &order(at)), 0, 0, b"value").unwrap();
    }
    engine.put_owner(row(0, key), number).unwrap();
    engine.put(row(0, key), KIND, 0, &number.0.to_le_bytes()).unwrap();
    engine.close_group();
    number
}

fn order(at: u32) -> [u8; 6] {
    let mut order = [0; 6];
    order[..4].copy_from_slice(&(at << 8).to_be_bytes());
    order
}

fn orders(engine: &Engine, db: u8, number: CollectionId, rank: u64, is_forward: bool) -> Vec<Vec<u8>> {
    let mut orders = Vec::new();
    let visit = |head, key: &[u8], found: Found<'_>| {
        assert_eq!(found.value, b"value");
        orders.push(order_of(head, key));
        ControlFlow::Continue(())
    };
    match is_forward {
        true => engine.elements_from(db, number, rank, visit).unwrap(),
        false => engine.elements_before(db, number, rank, visit).unwrap(),
    }
    orders
}

fn elements(engine: &Engine, db: u8) -> u64 {
    engine.row_count(elements_of(db))
}

#[test]
fn elements_are_found_by_order_and_by_rank_and_neighbours_are_not_theirs() {
    let mut engine = engine(64 << 20);
    let numbers = [fill(&mut engine, b"one", 10), fill(&mut engine, b"two", 1000), fill(&mut engine, b"three", 3)];
    for (number, count) in numbers.into_iter().zip([10, 1000, 3]) {
        assert_eq!(engine.element_count(0, number), Ok(u64::from(count)));
        let all: Vec<_> = (0..count).map(|at| order(at).to_vec()).collect();
        assert_eq!(orders(&engine, 0, number, 0, true), all);
        assert!(orders(&engine, 0, number, u64::from(count), false).iter().eq(all.iter().rev()));
        assert_eq!(orders(&engine, 0, number, u64::from(count) - 1, true), all[count as usize - 1..]);
        assert_eq!(engine.element_rank(0, number, &order(2)), Ok((2, true)));
        assert_eq!(engine.element_rank(0, number, &[0, 0, 0, 0, 1]), Ok((1, false)));
        assert_eq!(engine.element_rank(0, number, &[0xff; ORDER_BYTES_MIN]), Ok((u64::from(count), false)));
        assert_eq!(engine.element_count(0, CollectionId(number.0 + 1)), Ok(0));
    }
    engine.check().unwrap();
}

#[test]
fn elements_go_with_the_row_that_names_them_and_not_at_once() {
    let mut engine = engine(64 << 20);
    let number = fill(&mut engine, b"gone", 3 * RECLAIMED_PER_TURN as u32);
    let kept = fill(&mut engine, b"kept", 50);
    engine.delete(row(0, b"gone"), Removal::Deleted).unwrap();
    assert_eq!(engine.element_count(0, number), Ok(3 * RECLAIMED_PER_TURN));
    engine.check().unwrap();
    engine.hold_elements(true);
    assert!(!engine.free_some(1).unwrap());
    engine.hold_elements(false);
    let mut turns = 0;
    while engine.free_some(1).unwrap() {
        turns += 1;
        engine.check().unwrap();
    }
    assert!((2..9).contains(&turns), "{turns}");
    // Elements and the owner's mention.
    assert_eq!((elements(&engine, 0), engine.element_count(0, kept)), (51, Ok(50)));
    // Whatever takes the row's place.
    engine.put(row(0, b"kept"), 0, 0, b"text").unwrap();
    while engine.free_some(1).unwrap() {}
    assert_eq!(elements(&engine, 0), 0);
    engine.check().unwrap();
}

#[test]
fn a_collection_may_change_its_row() {
    let mut engine = engine(64 << 20);
    let number = fill(&mut engine, b"before", 50);
    for is_first in [true, false] {
        let (from, to) = if is_first { (b"before", b"after!") } else { (b"after!", b"before") };
        engine.open_group();
        if is_first {
            engine.delete(row(0, from), Removal::Deleted).unwrap();
        }
        engine.put(row(0, to), KIND, 0, &number.0.to_le_bytes()).unwrap();
        engine.put_owner(row(0, to), number).unwrap();
        if !is_first {
            engine.delete(row(0, from), Removal::Deleted).unwrap();
        }
        engine.close_group();
        while engine.free_some(1).unwrap() {}
        assert_eq!(engine.element_count(0, number), Ok(50));
        engine.check().unwrap();
    }
}

#[test]
fn what_is_undone_has_its_elements() {
    let mut engine = engine(64 << 20);
    let number = fill(&mut engine, b"key", 50);
    for how in 0..3 {
        engine.open_undoable_group();
        match how {
            0 => drop(engine.delete(row(0, b"key"), Removal::Deleted).unwrap()),
            1 => drop(engine.delete(element(0, number, &order(7)), Removal::Deleted).unwrap()),
            _ => drop(engine.clear(0).unwrap()),
        }
        let mut undo = engine.rollback_group();
        assert!(!engine.free_some(1).unwrap());
        engine.undo(&mut undo).unwrap();
        while engine.free_some(1).unwrap() {}
        assert_eq!(engine.element_count(0, number), Ok(50), "{how}");
        engine.check().unwrap();
    }
    engine.swap(0, 5);
    assert_eq!((elements(&engine, 0), orders(&engine, 5, number, 0, true).len()), (0, 50));
    engine.check().unwrap();
    engine.clear(5).unwrap();
    while engine.free_some(1).unwrap() {}
    assert_eq!(elements(&engine, 5), 0);
    engine.check().unwrap();
}

#[test]
fn no_number_is_given_twice() {
    let mut engine = engine(1 << 20);
    let mut replay = Replay::new(CONFIG, 1 << 20, Box::new(|_| {}));
    let numbers = [engine.next_collection().unwrap(), engine.next_collection().unwrap()];
    assert_eq!(numbers[1].0, numbers[0].0 + 2);
    for second in [0, 1] {
        let order = order(1);
        let RowKey { db, head, key } = element(0, CollectionId(numbers[1].0 + second), &order);
        replay.apply(Lsn(1), &Record::Put { db, kind: 0, head, expire_ms: 0, key, value: b"" }).unwrap();
    }
    let mut replayed = replay.finish(CONFIG, &Resume::empty(), &Decisions::none());
    assert_eq!(replayed.next_collection(), engine.next_collection());
    for (next, is_given) in [(COLLECTIONS_MAX - 3, true), (COLLECTIONS_MAX - 2, true), (COLLECTIONS_MAX - 1, false)] {
        engine.collection = next;
        assert_eq!(engine.next_collection().is_ok(), is_given, "{next}");
    }
}

#[test]
fn a_replay_removes_nothing_of_a_row_that_changes_its_key() {
    let mut replay = Replay::new(CONFIG, 1 << 20, Box::new(|_| {}));
    let number = CollectionId(2);
    let value = number.0.to_le_bytes();
    let put = |at: RowKey<'_>, kind, value: &[u8], replay: &mut Replay| {
        let RowKey { db, head, key } = at;
        replay.apply(Lsn(1), &Record::Put { db, kind, head, expire_ms: 0, key, value }).unwrap();
    };
    let [old, new] = [row(0, b"old"), row(0, b"newer")];
    let named = |at: RowKey<'_>| [&at.head.to_le_bytes(), at.key].concat();
    let tail = number.0.to_be_bytes();
    let owner = RowKey { db: elements_of(0), head: 1, key: &tail };
    put(element(0, number, &order(1)), 0, b"value", &mut replay);
    put(owner, 0, &named(old), &mut replay);
    put(old, KIND, &value, &mut replay);
    replay.apply(Lsn(1), &Record::Delete { db: 0, removal: Removal::Deleted, head: old.head, key: old.key }).unwrap();
    put(owner, 0, &named(new), &mut replay);
    put(new, KIND, &value, &mut replay);
    let mut engine = replay.finish(CONFIG, &Resume::empty(), &Decisions::none());
    while engine.free_some(1).unwrap() {}
    assert_eq!(engine.element_count(0, number), Ok(1));
    engine.check().unwrap();
}
