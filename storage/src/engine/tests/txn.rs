//! Groups that are undone, and groups that wait for their decision.

use super::*;
use crate::units::TxnId;

const ID: TxnId = TxnId { coordinator: ShardId(1), number: 7 };
const BOTH: [ShardId; 2] = [ShardId(0), ShardId(1)];

/// One random change of an engine, as far as it is possible.
fn change(state: &mut u64, engine: &mut Engine, model: &mut Model) {
    let (db, key) = ((random(state) % 2) as u8, key_of(random(state) % 40));
    let (at, id) = (row(db, &key), (db, key.clone()));
    let expire_ms = [0, 100, 200][random(state) as usize % 3];
    let value = vec![b'a' + (random(state) % 20) as u8; [0, 1, 100, 1500, 2040, 5000][random(state) as usize % 6]];
    match random(state) % 20 {
        0..8 => {
            engine.put(at, 0, expire_ms, &value).unwrap();
            model.insert(id, (expire_ms, value));
        }
        8..11 => {
            let was = model.remove(&id);
            assert_eq!(engine.delete(at, Removal::Deleted).unwrap().is_some(), was.is_some());
        }
        11..14 => {
            let is_there = model.get_mut(&id).map(|row| row.0 = expire_ms).is_some();
            assert_eq!(engine.set_expiry(at, expire_ms).unwrap().is_some(), is_there);
        }
        14 => {
            engine.clear(db).unwrap();
            model.retain(|row, _| row.0 != db);
        }
        15 => {
            engine.swap(0, 1);
            swap(model);
        }
        _ => {
            let Some((_, old)) = model.get_mut(&id) else { return };
            let (offset, bytes) = (random(state) as usize % 3000, &value[..value.len().min(50)]);
            engine.splice(at, offset, bytes, None).unwrap();
            old.resize(old.len().max(offset + bytes.len()), 0);
            old[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }
}

#[test]
fn what_is_undone_never_was() {
    for seed in 0..40 {
        let (mut state, mut model) = (seed, Model::new());
        let mut live = engine(64 << 20);
        for n in 0..60 {
            let before = model.clone();
            let count = random(&mut state) % 30;
            let how = random(&mut state) % 4;
            let id = TxnId { number: n, ..ID };
            match how {
                0 => live.open_group(),
                1 => live.open_undoable_group(),
                _ => live.open_txn(id, &BOTH),
            }
            (0..count).for_each(|_| change(&mut state, &mut live, &mut model));
            if how > 0 && random(&mut state).is_multiple_of(3) {
                let mut undo = live.rollback_group();
                live.undo(&mut undo).unwrap();
                assert!(undo.is_empty());
                model = before;
            } else {
                live.close_group();
                if how > 1 {
                    let mut undo = live.take_undo();
                    assert_eq!(live.undecided(), 1);
                    if how == 2 {
                        live.undo(&mut undo).unwrap();
                        live.append_abort(id);
                        model = before;
                    } else {
                        live.append_done(id);
                        assert_eq!(live.remembered().collect::<Vec<_>>(), [id]);
                        live.forget(id);
                    }
                }
            }
            assert_eq!((live.undecided(), live.remembered().len()), (0, 0));
            while live.free_some(usize::MAX).unwrap() {}
            assert_same(&mut live, &model);
        }
    }
}

/// What a replay of these records has at the log's end, if the other participant says this of its own.
fn replay(records: &[Record<'_>], others: &[Record<'_>]) -> Result<(Vec<u8>, Vec<TxnId>), Fault> {
    let mut replay = Replay::new(CONFIG, 64 << 20, Box::new(|_| {}));
    for record in records {
        replay.apply(Lsn(1), record)?;
    }
    let mut other = Replay::new(LogConfig { shard: ShardId(1), ..CONFIG }, 64 << 20, Box::new(|_| {}));
    for record in others {
        other.apply(Lsn(1), record)?;
    }
    let decisions = Decisions::of(&[other.tail().clone(), replay.tail().clone()], 2)?;
    assert_eq!(replay.settle(&decisions)?, Applied::Done);
    let engine = replay.finish(CONFIG, &Resume::empty(), &decisions);
    let keys = (b'a'..=b'e').filter(|key| engine.get(RowKey { db: 0, head: 1, key: &[*key] }).unwrap().is_some());
    Ok((keys.collect(), engine.remembered().collect()))
}

#[test]
fn a_transaction_is_what_all_logs_together_say() {
    let put = |key| Record::Put { db: 0, kind: 0, head: 1, expire_ms: 0, key, value: b"v" };
    let TxnId { coordinator, number } = ID;
    let coordinator = coordinator.0;
    let begin = Record::TxnBegin { coordinator, number, participants: &[0, 0, 1, 0] };
    let (done, abort) = (Record::TxnDone { coordinator, number }, Record::TxnAbort { coordinator, number });
    let group = [put(b"a"), begin, put(b"b"), Record::GroupEnd, put(b"c")];
    let with = |record| [&group[..], &[record]].concat();
    let whole = [begin, Record::GroupEnd];
    let check = |records: &[Record<'_>], others: &[Record<'_>], keys: &[u8], is_remembered| {
        let remembered = if is_remembered { vec![ID] } else { Vec::new() };
        assert_eq!(replay(records, others), Ok((keys.to_vec(), remembered)), "{records:?} {others:?}");
    };
    check(&group, &whole, b"abc", true);
    check(&group, &[done], b"abc", true);
    check(&group, &[], b"ac", false);
    check(&group, &[begin], b"ac", false);
    check(&group, &[whole[0], whole[1], abort], b"ac", false);
    check(&group, &[abort], b"ac", false);
    check(&with(done), &whole, b"abc", true);
    check(&with(done), &[], b"abc", false);
    check(&with(abort), &whole, b"ac", false);
    check(&with(Record::Opened), &whole, b"abc", true);
    check(&[begin, put(b"b"), Record::Opened, put(b"d"), Record::GroupEnd], &whole, b"d", false);
    check(&[begin, put(b"b"), Record::GroupAbort, put(b"d")], &whole, b"d", false);
    check(&[Record::GroupBegin, put(b"b"), Record::GroupAbort, put(b"d")], &[], b"d", false);
    // What is done twice happened once.
    check(
        &[&with(done)[..], &[Record::Delete { db: 0, removal: Removal::Deleted, head: 1, key: b"b" }, done]].concat(),
        &[done],
        b"ac",
        false,
    );
    let is_refused = |records: &[Record<'_>], others: &[Record<'_>]| {
        matches!(replay(records, others), Err(Fault::Transaction { id: ID, .. }))
    };
    assert!(is_refused(&with(abort), &[done]), "it cannot be both");
    assert!(is_refused(
        &[Record::TxnBegin { coordinator, number, participants: &[0, 0, 2, 0] }, Record::GroupEnd],
        &[]
    ));
    assert!(is_refused(&[Record::TxnBegin { coordinator, number, participants: &[0, 0] }, Record::GroupEnd], &whole));
    assert!(replay(&[&group[..], &group[..]].concat(), &whole).is_err(), "a transaction has one group a shard");
    for participants in [&[0][..], &[], &[1, 0], &[1, 0, 0, 0], &[0, 0, 0, 0]] {
        assert!(replay(&[Record::TxnBegin { coordinator, number, participants }], &[]).is_err(), "{participants:?}");
    }
}

#[test]
fn what_one_has_forgotten_the_others_may_not_ask_for() {
    let TxnId { coordinator, number } = ID;
    let coordinator = coordinator.0;
    let begin = Record::TxnBegin { coordinator, number, participants: &[0, 0, 1, 0, 2, 0] };
    let tails: Vec<Tail> = [&[begin, Record::GroupEnd][..], &[Record::TxnDone { coordinator, number }], &[]]
        .iter()
        .zip(0..)
        .map(|(records, shard)| {
            let mut replay = Replay::new(LogConfig { shard: ShardId(shard), ..CONFIG }, 64 << 20, Box::new(|_| {}));
            records.iter().for_each(|record| replay.apply(Lsn(1), record).unwrap());
            replay.tail().clone()
        })
        .collect();
    let lost = Decisions::of(&tails, 3);
    assert!(matches!(lost, Err(Fault::Transaction { shard: ShardId(2), id: ID, .. })), "{lost:?}");
}

#[test]
#[should_panic(expected = "each shard has said what it has")]
fn nobody_decides_alone() {
    let _ = Decisions::of(&[Tail::new(ShardId(0))], 2);
}
