//! The engine against a map, and replay against the engine.

use super::*;
use crate::error::Fault;
use crate::log::{LogConfig, Record, Removal, Resume};
use crate::txn::{Decisions, Tail};
use crate::units::{Epoch, ShardId};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

mod elements;
mod redo;
mod txn;

const CONFIG: LogConfig =
    LogConfig { shard: ShardId(0), segment_bytes: 1 << 20, salt: 7, epoch: Epoch(1), planted: None };

fn engine(memory_bytes_max: u64) -> Engine {
    Replay::new(CONFIG, memory_bytes_max, Box::new(|_| {})).finish(CONFIG, &Resume::empty(), &Decisions::none())
}

/// The model of a row: when it expires, and its value.
type Model = BTreeMap<(u8, Vec<u8>), (u64, Vec<u8>)>;

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *state >> 33
}

/// A head with few bits, so that keys share them.
fn row(db: u8, key: &[u8]) -> RowKey<'_> {
    RowKey { db, head: key.iter().map(|&byte| u64::from(byte)).sum::<u64>() % 5, key }
}

fn key_of(number: u64) -> Vec<u8> {
    let len = [1, 16, row::KEY_TAIL_BYTES_MAX, row::KEY_TAIL_BYTES_MAX + 1, 3000][number as usize % 5];
    format!("{number:0len$}").into_bytes()
}

/// One random change, to the engine, to a replay of the same records, and to the model.
fn step(state: &mut u64, engine: &mut Engine, replay: &mut Replay, model: &mut Model) {
    let (db, key) = ((random(state) % 2) as u8, key_of(random(state) % 40));
    let (at, id) = (row(db, &key), (db, key.clone()));
    let (head, key) = (at.head, &key[..]);
    let expire_ms = [0, 100, 200][random(state) as usize % 3];
    let value = vec![b'v'; [0, 1, 100, 1500, 2040, 5000][random(state) as usize % 6]];
    let record = match random(state) % 10 {
        0..5 => {
            engine.put(at, 0, expire_ms, &value).unwrap();
            model.insert(id, (expire_ms, value.clone()));
            Record::Put { db, kind: 0, head, expire_ms, key, value: &value }
        }
        5 => {
            let was = model.remove(&id);
            assert_eq!(engine.delete(at, Removal::Deleted).unwrap().is_some(), was.is_some());
            Record::Delete { db, removal: Removal::Deleted, head, key }
        }
        6 => {
            let is_there = model.get_mut(&id).map(|row| row.0 = expire_ms).is_some();
            assert_eq!(engine.set_expiry(at, expire_ms).unwrap().is_some(), is_there);
            Record::Expire { db, head, expire_ms, key }
        }
        7 if random(state).is_multiple_of(10) => {
            engine.clear(db).unwrap();
            model.retain(|row, _| row.0 != db);
            while engine.free_some(1).unwrap() {}
            Record::Clear { db }
        }
        8 if random(state).is_multiple_of(8) => {
            engine.swap(0, 1);
            swap(model);
            Record::Swap { one: 0, other: 1 }
        }
        _ => {
            let Some((_, old)) = model.get_mut(&id) else { return };
            let offset = random(state) as usize % 3000;
            engine.splice(at, offset, &value[..value.len().min(50)], None).unwrap();
            let bytes = &value[..value.len().min(50)];
            old.resize(old.len().max(offset + bytes.len()), 0);
            old[offset..offset + bytes.len()].copy_from_slice(bytes);
            let record = Record::Splice { db, head, offset: offset as u64, key, bytes };
            replay.apply(Lsn(1), &record).unwrap();
            return;
        }
    };
    replay.apply(Lsn(1), &record).unwrap();
}

/// What was in database 0 is in 1, and the other way round.
fn swap(model: &mut Model) {
    *model = std::mem::take(model).into_iter().map(|((db, key), row)| ((1 - db, key), row)).collect();
}

fn assert_same(engine: &mut Engine, model: &Model) {
    engine.check().unwrap();
    for db in 0..2 {
        let mut rows = Model::new();
        engine
            .scan(db, 0, |_, key, found| {
                rows.insert((db, key.to_vec()), (found.expire_ms, found.value.to_vec()));
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        assert!(rows.iter().eq(model.iter().filter(|(id, _)| id.0 == db)), "database {db} differs");
    }
    let mut due: Vec<_> = engine.due(100, usize::MAX).unwrap().into_iter().map(|(db, _, key)| (db, key)).collect();
    due.sort();
    due.dedup();
    let expected: Vec<_> = model.iter().filter(|(_, row)| row.0 == 100).map(|(id, _)| id.clone()).collect();
    assert_eq!(due, expected);
}

#[test]
fn engine_replay_and_map_agree_after_every_step() {
    for seed in 0..6 {
        let (mut state, mut model) = (seed, Model::new());
        let mut live = engine(64 << 20);
        let mut replay = Replay::new(CONFIG, 64 << 20, Box::new(|_| {}));
        for n in 0..1500 {
            step(&mut state, &mut live, &mut replay, &mut model);
            if n % 25 == 0 {
                assert_same(&mut live, &model);
            }
        }
        assert_same(&mut live, &model);
        assert_same(&mut replay.finish(CONFIG, &Resume::empty(), &Decisions::none()), &model);
    }
}

#[test]
fn a_group_without_its_end_never_happened() {
    let put = |key| Record::Put { db: 0, kind: 0, head: 1, expire_ms: 0, key, value: b"v" };
    let mut replay = Replay::new(CONFIG, 64 << 20, Box::new(|_| {}));
    for record in [
        Record::GroupBegin,
        put(b"a"),
        put(b"b"),
        Record::GroupEnd,
        Record::GroupBegin,
        put(b"c"),
        // The end was lost in a crash. What the next opening writes does not complete the group.
        Record::Opened,
        put(b"d"),
        Record::GroupEnd,
    ] {
        replay.apply(Lsn(1), &record).unwrap();
    }
    let engine = replay.finish(CONFIG, &Resume::empty(), &Decisions::none());
    let is_there = |key| engine.get(RowKey { db: 0, head: 1, key }).unwrap().is_some();
    assert_eq!([b"a", b"b", b"c", b"d"].map(|key| is_there(key)), [true, true, false, true]);
}

#[test]
fn a_full_memory_refuses_and_changes_nothing() {
    let mut engine = engine(4 << 20);
    let mut written = 0;
    while engine.put(row(0, &key_of(5 * written)), 0, 0, &[b'v'; 1500]).is_ok() {
        written += 1;
    }
    assert!(written > 1000 && engine.is_full(0));
    assert_eq!(engine.row_count(0), written);
    engine.check().unwrap();
    assert!(engine.delete(row(0, &key_of(0)), Removal::Deleted).unwrap().is_some());
}

/// Alone, and in a group, which is kept until it is whole.
#[test]
fn a_long_value_stays_in_the_buffer_that_recovery_has_read_it_into() {
    let value = vec![b'v'; 100_000];
    let record = Record::Put { db: 0, kind: 0, head: 1, expire_ms: 0, key: b"k", value: &value };
    for is_group in [false, true] {
        let mut replay = Replay::new(CONFIG, 1 << 24, Box::new(|_| {}));
        let buffer = Arc::new(record.to_archive());
        let there = Record::decode(&buffer).unwrap();
        let mut feed = |record: &Record<'_>, buffer| {
            assert_eq!(replay.feed(Lsn(1), record, buffer).unwrap(), replay::Applied::Done);
        };
        if is_group {
            feed(&Record::GroupBegin, None);
            feed(&there, Some(&buffer));
            feed(&Record::GroupEnd, None);
        } else {
            feed(&there, Some(&buffer));
        }
        assert_eq!(Arc::strong_count(&buffer), 2, "the row has it, and nobody else has a copy");
        let engine = replay.finish(CONFIG, &Resume::empty(), &Decisions::none());
        let at = RowKey { db: 0, head: 1, key: b"k" };
        assert!(engine.get(at).unwrap().unwrap().value == value);
    }
}
