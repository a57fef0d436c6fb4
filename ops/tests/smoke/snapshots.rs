//! Transactions that only read, on one shard and on two: all that they read is of one moment, they wait for nobody, and nobody waits for them.

use crate::server::{Recipe, Server, scratch};
use redis::{Connection, RedisResult, Value};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// On different shards of two.
const KEYS: [&str; 2] = ["foo", "bar"];

fn ask(connection: &mut Connection, line: &str) -> RedisResult<Option<String>> {
    let mut command = redis::Cmd::new();
    for word in line.split(' ') {
        command.arg(word);
    }
    command.query::<Value>(connection).and_then(|value| Ok(redis::from_redis_value(value)?))
}

fn ok(connection: &mut Connection, line: &str) {
    assert_eq!(ask(connection, line).unwrap().as_deref(), Some("OK"), "{line}");
}

fn numbers(connection: &mut Connection) -> [Option<i64>; 2] {
    KEYS.map(|key| redis::cmd("GET").arg(key).query(connection).unwrap())
}

/// On one shard, and on two.
fn check(course: impl Fn(&Server)) {
    for shards in ["1", "2"] {
        let dir = scratch();
        let server = Recipe::new(dir.path()).with(&["--shards", shards]).start();
        course(&server);
    }
}

#[test]
fn no_anomaly_in_a_snapshot() {
    check(|server| {
        let (mut reader, mut writer, mut other) = (server.client(), server.client(), server.client());
        ok(&mut writer, "MSET foo 50 bar 50");
        // A change that is not committed: no dirty read, and no waiting.
        ok(&mut writer, "BEGIN");
        ok(&mut writer, "SET foo 0");
        ok(&mut writer, "SET ghost 1");
        ok(&mut reader, "BEGIN READ ONLY");
        assert_eq!(ask(&mut reader, "GET foo").unwrap().as_deref(), Some("50"));
        // It is committed between two reads: no read skew, no phantom, the same again.
        ok(&mut writer, "SET bar 100");
        ok(&mut writer, "COMMIT");
        assert_eq!(numbers(&mut reader), [Some(50), Some(50)]);
        assert_eq!(ask(&mut reader, "GET ghost").unwrap(), None);
        for command in ["SET foo 1", "DEL ghost", "LOCK foo SHARED"] {
            let refused = ask(&mut reader, command).unwrap_err();
            assert_eq!(refused.code(), Some("READONLY"), "{command}");
        }
        // Two that write, each of which relies on what the other changes, are in the order that they have; who only reads is behind one of them.
        ok(&mut other, "BEGIN READ ONLY");
        assert_eq!(ask(&mut writer, "DECRBY bar 100").unwrap().as_deref(), Some("0"));
        assert_eq!(numbers(&mut other), [Some(0), Some(100)]);
        assert_eq!(numbers(&mut reader), [Some(50), Some(50)]);
        ok(&mut reader, "COMMIT");
        ok(&mut other, "ROLLBACK");
        assert_eq!(numbers(&mut reader), [Some(0), Some(0)]);
    });
}

#[test]
fn long_values_stay_as_they_were() {
    check(|server| {
        let (mut reader, mut writer) = (server.client(), server.client());
        let long = |byte: u8| vec![byte; 3_000_000];
        let set = |client: &mut Connection, key: &str, value: Vec<u8>| {
            redis::cmd("SET").arg(key).arg(value).exec(client).unwrap();
        };
        let get = |client: &mut Connection, key: &str| redis::cmd("GET").arg(key).query::<Vec<u8>>(client).unwrap();
        KEYS.iter().for_each(|key| set(&mut writer, key, long(b'a')));
        ok(&mut reader, "BEGIN READ ONLY");
        set(&mut writer, KEYS[0], long(b'b'));
        redis::cmd("SETRANGE").arg(KEYS[1]).arg(1_000_000).arg("here").exec(&mut writer).unwrap();
        redis::cmd("APPEND").arg(KEYS[1]).arg("there").exec(&mut writer).unwrap();
        redis::cmd("DEL").arg(KEYS[0]).exec(&mut writer).unwrap();
        for key in KEYS {
            assert!(get(&mut reader, key) == long(b'a'), "{key}");
        }
        ok(&mut reader, "COMMIT");
        assert_eq!(get(&mut reader, KEYS[0]), b"");
        assert_eq!(get(&mut reader, KEYS[1]).len(), 3_000_005);
    });
}

#[test]
fn what_has_too_many_changes_behind_it_ends_and_lets_go() {
    check(|server| {
        let (mut reader, mut writer) = (server.client(), server.client());
        ok(&mut writer, "CONFIG SET txn-snapshot-memory 100kb");
        ok(&mut writer, "MSET foo 1 bar 1");
        ok(&mut reader, "BEGIN READ ONLY");
        for number in 0..4000 {
            redis::cmd("SET").arg(format!("key:{number}")).arg("x").exec(&mut writer).unwrap();
        }
        let ended = ask(&mut reader, "GET foo").unwrap_err();
        assert_eq!(ended.code(), Some("SNAPSHOTTOOOLD"));
        assert_eq!(ask(&mut reader, "GET bar").unwrap_err().code(), Some("SNAPSHOTTOOOLD"));
        ok(&mut reader, "ROLLBACK");
        ok(&mut reader, "BEGIN READ ONLY");
        assert_eq!(numbers(&mut reader), [Some(1), Some(1)]);
        ok(&mut reader, "COMMIT");
        let info: String = redis::cmd("INFO").arg("transactions").query(&mut reader).unwrap();
        for line in ["txn_snapshots:0", "txn_snapshot_bytes:0", "txn_snapshots_too_old:1"] {
            assert!(info.lines().any(|it| it == line), "{line} is not in {info}");
        }
    });
}

/// Totals are whole in every snapshot, while clients move amounts between rows.
#[test]
fn snapshots_beside_transfers() {
    check(|server| {
        let keys: Vec<String> = (0..16).map(|key| format!("account:{key}")).collect();
        let mut client = server.client();
        keys.iter().for_each(|key| redis::cmd("SET").arg(key).arg(100).exec(&mut client).unwrap());
        let (is_over, moved) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            for seed in 0..3_usize {
                let (keys, is_over, moved) = (&keys, &is_over, &moved);
                scope.spawn(move || {
                    let mut client = server.client();
                    let mut at = seed;
                    while !is_over.load(Ordering::Relaxed) {
                        at += 7;
                        let (from, to) = (&keys[at % 16], &keys[(at * 5 + 3) % 16]);
                        let mut transfer = redis::pipe();
                        transfer.atomic().cmd("DECRBY").arg(from).arg(3).cmd("INCRBY").arg(to).arg(3);
                        transfer.exec(&mut client).unwrap();
                        moved.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let mut changed = 0;
            for _ in 0..100 {
                ok(&mut client, "BEGIN READ ONLY");
                let read = |client: &mut Connection| -> Vec<i64> {
                    keys.iter().map(|key| redis::cmd("GET").arg(key).query(client).unwrap()).collect()
                };
                let before = moved.load(Ordering::Relaxed);
                let first = read(&mut client);
                assert_eq!(first.iter().sum::<i64>(), 1600, "{first:?}");
                assert_eq!(read(&mut client), first);
                changed += u64::from(moved.load(Ordering::Relaxed) > before);
                ok(&mut client, "COMMIT");
            }
            is_over.store(true, Ordering::Relaxed);
            assert!(changed > 10, "transfers went on beside {changed} of 100 snapshots only");
        });
    });
}
