//! The bounds of redo: one below each, at it, and one above.

use super::super::redo::Redone;
use super::*;
use crate::limits::{CARRIED_BYTES_MAX, REDO_ROW_EFFECTS_MAX, REDO_SHARE};
use crate::pagefile::{Bounds, PageFile, PageFileConfig, Superblock};

/// A replay over a page file in which nothing stands.
fn replay(memory_bytes: u64) -> Replay {
    let config = PageFileConfig {
        shard: ShardId(0),
        salt: 5,
        segment_bytes: CONFIG.segment_bytes,
        grow_bytes: 1 << 18,
        bounds: Bounds::default(),
        planted: None,
    };
    Replay::over(CONFIG, memory_bytes, Box::new(|_| {}), PageFile::empty(config), &Superblock::default())
}

fn put(value: &[u8]) -> Record<'_> {
    Record::Put { db: 0, kind: 0, head: 1, expire_ms: 0, key: b"k", value }
}

#[test]
fn effects_are_kept_in_their_share_of_memory_and_one_more_is_not() {
    const MEMORY: u64 = 8 << 20;
    let max = MEMORY / REDO_SHARE;
    let fixed = Pending::bytes_of(&put(b""));
    for (bytes, is_kept) in [(max - 1, true), (max, true), (max + 1, false)] {
        let value = vec![7; (bytes - fixed) as usize];
        assert_eq!(Pending::bytes_of(&put(&value)), bytes);
        assert_eq!(replay(MEMORY).engine_mut().keep_effect(&put(&value), false), is_kept, "{bytes} of {max} bytes");
        // Either way the row is there in the end: who is not kept is applied before the start goes on.
        let mut engine = replay_of(replay(MEMORY), &put(&value));
        assert_eq!(engine.redo_left(), u64::from(is_kept));
        while engine.await_redo().is_err() {
            assert!(!matches!(engine.redo_some(9, None), Redone::Stuck | Redone::Senseless(_)));
        }
        let row = RowKey { db: 0, head: 1, key: b"k" };
        assert!(engine.get(row).unwrap().unwrap().value == value);
    }
}

/// Feeds one record and ends the replay.
fn replay_of(mut replay: Replay, record: &Record<'_>) -> Engine {
    while replay.feed(Lsn(1), record, None).unwrap() != replay::Applied::Done {}
    replay.finish(CONFIG, &Resume::empty(), &Decisions::none())
}

#[test]
fn a_row_with_many_effects_is_brought_up_to_date_in_several_steps() {
    for (effects, steps) in [
        (REDO_ROW_EFFECTS_MAX - 1, vec![(Redone::Over, 0)]),
        (REDO_ROW_EFFECTS_MAX, vec![(Redone::More, 0)]),
        (REDO_ROW_EFFECTS_MAX + 1, vec![(Redone::More, 1), (Redone::Over, 0)]),
    ] {
        let mut replay = replay(64 << 20);
        let row = RowKey { db: 0, head: 1, key: b"k" };
        assert_eq!(replay.feed(Lsn(1), &put(b"value"), None).unwrap(), replay::Applied::Done);
        for number in 1..effects {
            let offset = (number % 1000) as u64;
            let bytes = &[number as u8];
            let splice = Record::Splice { db: 0, head: 1, offset, key: b"k", bytes };
            assert_eq!(replay.feed(Lsn(1), &splice, None).unwrap(), replay::Applied::Done);
        }
        let mut engine = replay.finish(CONFIG, &Resume::empty(), &Decisions::none());
        assert_eq!(engine.redo_left(), effects as u64);
        for (redone, left) in steps {
            let Err(Missing::Pending(first)) = engine.get(row).map(drop) else { panic!("the row has effects") };
            assert_eq!((engine.redo_row(first), engine.redo_left()), (redone, left), "{effects} effects");
        }
        let value = engine.get(row).unwrap().unwrap().value;
        let last = |at: usize| (0..effects).rev().find(|number| number % 1000 == at).unwrap();
        assert!(value.iter().enumerate().skip(1).all(|(at, byte)| *byte == last(at) as u8));
    }
}

#[test]
fn a_checkpoint_carries_what_cannot_be_applied_up_to_its_bound() {
    let empty = put(b"").archive_bytes();
    for (bytes, is_carried) in
        [(CARRIED_BYTES_MAX - 1, true), (CARRIED_BYTES_MAX, true), (CARRIED_BYTES_MAX + 1, false)]
    {
        let value = vec![7; bytes - empty];
        assert_eq!(put(&value).archive_bytes(), bytes);
        let mut engine = replay_of(replay(1 << 30), &put(&value));
        assert!(!engine.can_carry_redo(), "it may be applied yet");
        assert!(!engine.is_redo_too_much());
        engine.skip_redo();
        assert_eq!(engine.redo_some(1, None), Redone::Blocked);
        assert_eq!((engine.can_carry_redo(), engine.is_redo_too_much()), (is_carried, !is_carried), "{bytes} bytes");
        // It is not lost: when it can be applied it is.
        engine.retry_redo();
        while engine.await_redo().is_err() {
            engine.redo_some(1, None);
        }
        let row = RowKey { db: 0, head: 1, key: b"k" };
        assert!(engine.get(row).unwrap().unwrap().value == value);
        assert!(!engine.is_redo_too_much() && engine.can_carry_redo());
    }
}

/// Applies all that is pending.
fn end_redo(engine: &mut Engine) {
    for _ in 0..100 {
        if engine.redo_some(9, None) == Redone::Over {
            return;
        }
    }
    panic!("redo does not end");
}

#[test]
fn what_is_pending_of_a_database_goes_with_it_and_comes_back_with_it() {
    let row = |db| RowKey { db, head: 1, key: b"k" };
    for is_kept in [false, true] {
        let mut engine = replay_of(replay(64 << 20), &put(b"value"));
        engine.open_undoable_group();
        engine.clear(0).unwrap();
        engine.swap(0, 3);
        assert_eq!((engine.get(row(0)), engine.get(row(3))), (Ok(None), Ok(None)));
        assert_eq!(engine.redo_some(9, None), Redone::Crowded, "it may come back");
        assert!(engine.await_redo().is_err());
        if is_kept {
            engine.close_group();
        } else {
            let mut undo = engine.rollback_group();
            engine.undo(&mut undo).unwrap();
            assert_eq!(engine.redo_left_in(0), 1);
        }
        end_redo(&mut engine);
        let found = engine.get(row(0)).unwrap().map(|found| found.value.to_vec());
        assert_eq!(found, (!is_kept).then(|| b"value".to_vec()));
        engine.check().unwrap();
    }
}

#[test]
fn what_is_pending_of_a_database_changes_places_with_it() {
    let row = |db| RowKey { db, head: 1, key: b"k" };
    // In the log, and while it is served.
    let mut replay = replay(64 << 20);
    assert_eq!(replay.feed(Lsn(1), &put(b"value"), None).unwrap(), replay::Applied::Done);
    let mut engine = replay_of(replay, &Record::Swap { one: 0, other: 3 });
    assert_eq!((engine.get(row(0)), engine.redo_left_in(3)), (Ok(None), 1));
    engine.swap(3, 5);
    assert_eq!((engine.get(row(3)), engine.redo_left_in(5)), (Ok(None), 1));
    end_redo(&mut engine);
    assert_eq!(engine.get(row(5)).unwrap().unwrap().value, b"value");
    engine.check().unwrap();
}
