//! `cairn export` beside clients that write: the file is of one moment, or there is none and it says why.

use crate::server::{Recipe, Server, has_program, run, scratch};
use redis::{Connection, RedisResult, Value, cmd, pipe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// More than are asked for at once.
const ACCOUNTS: usize = 1500;
/// So many that each is a row of its own.
const FIELDS: usize = 500;
const EACH: i64 = 100;

fn ask<T: redis::FromRedisValue>(client: &mut Connection, line: &str) -> RedisResult<T> {
    let mut words = line.split(' ');
    let mut command = cmd(words.next().unwrap());
    words.for_each(|word| _ = command.arg(word));
    command.query(client)
}

/// Accounts of their own in two databases, and accounts that are fields of a large hash.
fn fill(client: &mut Connection) {
    for db in [0, 3] {
        ask::<Value>(client, &format!("SELECT {db}")).unwrap();
        let mut filling = pipe();
        for at in 0..ACCOUNTS {
            filling.cmd("SET").arg(format!("account:{at}")).arg(EACH);
        }
        for at in 0..FIELDS {
            filling.cmd("HSET").arg("book").arg(format!("field:{at}")).arg(EACH);
        }
        filling.exec(client).unwrap();
    }
}

/// What all accounts have together.
fn sum(client: &mut Connection) -> i64 {
    let mut sum = 0;
    for db in [0, 3] {
        ask::<Value>(client, &format!("SELECT {db}")).unwrap();
        let mut keys = cmd("MGET");
        (0..ACCOUNTS).for_each(|at| _ = keys.arg(format!("account:{at}")));
        sum += keys.query::<Vec<i64>>(client).unwrap().iter().sum::<i64>();
        sum += ask::<Vec<i64>>(client, "HVALS book").unwrap().iter().sum::<i64>();
    }
    sum
}

/// Moves amounts between any two accounts until it is over: of keys on all shards, fields, and both databases.
fn transfer(server: &Server, seed: usize, is_over: &AtomicBool) {
    let (mut client, mut at) = (server.client(), seed);
    while !is_over.load(Ordering::Relaxed) {
        at = at.wrapping_mul(25_214_903_917).wrapping_add(11) % (1 << 40);
        let (from, to, amount) = (at >> 7, at >> 11, (at >> 5) % 50);
        let mut moving = pipe();
        moving.atomic().cmd("SELECT").arg(if at & 1 == 0 { 0 } else { 3 });
        moving.cmd("DECRBY").arg(format!("account:{}", from % ACCOUNTS)).arg(amount);
        moving.cmd("SELECT").arg(if at & 2 == 0 { 0 } else { 3 });
        match to % 3 {
            0 => moving.cmd("HINCRBY").arg("book").arg(format!("field:{}", to % FIELDS)).arg(amount),
            _ => moving.cmd("INCRBY").arg(format!("account:{}", to % ACCOUNTS)).arg(amount),
        };
        moving.exec(&mut client).unwrap();
    }
}

/// Exports and reads the file back. What all accounts have together in it.
fn exported(dir: &Path, server: &Server, other: &Server, args: &[&str]) -> i64 {
    let [from, to] = [server, other].map(|server| format!("redis://127.0.0.1:{}", server.port));
    let file = dir.join("dump.rdb");
    let (status, text) = run(&[&["export", file.to_str().unwrap(), "--from", &from], args].concat());
    let expect = format!("{} keys were written", 2 * (ACCOUNTS + 1));
    assert!(status.success() && text.contains(&expect), "{text}");
    assert_eq!(text.contains("at one moment"), args.is_empty(), "{text}");
    let (status, text) = run(&["import", file.to_str().unwrap(), "--to", &to, "--flush"]);
    assert!(status.success(), "{text}");
    std::fs::remove_file(file).unwrap();
    sum(&mut other.client())
}

#[test]
fn a_file_is_of_one_moment() {
    for shards in ["1", "2"] {
        let (dir, other_dir) = (scratch(), scratch());
        let server = Recipe::new(dir.path()).with(&["--shards", shards]).start();
        let other = Recipe::new(other_dir.path()).start();
        fill(&mut server.client());
        let total = sum(&mut server.client());
        let is_over = AtomicBool::new(false);
        let sums: Vec<i64> = thread::scope(|scope| {
            for seed in 1..4 {
                let (server, is_over) = (&server, &is_over);
                scope.spawn(move || transfer(server, seed, is_over));
            }
            let sums = (0..4).map(|_| exported(dir.path(), &server, &other, &[])).collect();
            // Where each key is of its own moment, what comes from one that has been read to one that has not is there twice.
            let is_torn = (0..20).any(|_| exported(dir.path(), &server, &other, &["--each-key"]) != total);
            is_over.store(true, Ordering::Relaxed);
            assert!(is_torn, "it makes no difference");
            sums
        });
        assert_eq!(sums, [total; 4], "{shards} shards");
        assert_eq!(sum(&mut server.client()), total);
    }
}

/// An export beside somebody who does that again and again: it ends, says why, and leaves nothing.
fn check_refused(settings: &[&str], deed: impl Fn(&mut Connection, u64) + Sync, expect: &[&str]) {
    let dir = scratch();
    let server = Recipe::new(dir.path()).with(&["--shards", "2"]).with(settings).start();
    fill(&mut server.client());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (server, is_over, deed) = (&server, &is_over, &deed);
        scope.spawn(move || {
            let mut client = server.client();
            (0..).take_while(|_| !is_over.load(Ordering::Relaxed)).for_each(|number| deed(&mut client, number));
        });
        let (file, from) = (dir.path().join("dump.rdb"), format!("redis://127.0.0.1:{}", server.port));
        let (status, text) = run(&["export", file.to_str().unwrap(), "--from", &from]);
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(status.code(), Some(1), "{text}");
        for expect in expect {
            assert!(text.contains(expect), "{text}");
        }
        assert!(!file.exists() && !dir.path().join("dump.rdb.part").exists());
    });
    let info: String = ask(&mut server.client(), "INFO transactions").unwrap();
    assert!(info.contains("txn_snapshots:0"), "{info}");
}

#[test]
fn an_export_whose_snapshot_ends_says_why_and_leaves_nothing() {
    let set = |client: &mut Connection, number: u64| {
        let mut setting = pipe();
        (0..100).for_each(|at| _ = setting.cmd("SET").arg(format!("key:{number}:{at}")).arg("x"));
        setting.exec(client).unwrap();
    };
    let expect =
        ["txn-snapshot-memory: 100000 bytes", "CONFIG SET txn-snapshot-memory", "--each-key", "SNAPSHOTTOOOLD"];
    check_refused(&["--txn-snapshot-memory", "100000"], set, &expect);
    let flush = |client: &mut Connection, _: u64| {
        ask::<Value>(client, "SELECT 9").unwrap();
        ask::<Value>(client, "FLUSHDB").unwrap();
    };
    check_refused(&[], flush, &["FLUSHALL, FLUSHDB or SWAPDB", "Begin it again", "SNAPSHOTTOOOLD"]);
}

#[test]
fn a_server_without_snapshots_is_exported_key_by_key() {
    if !has_program("redis-server") {
        return;
    }
    let dir = scratch();
    let redis = crate::rdb::Redis::start(dir.path(), &[]);
    ask::<Value>(&mut redis.client(), "SET key value").unwrap();
    let (file, from) = (dir.path().join("file.rdb"), format!("redis://127.0.0.1:{}", redis.port));
    let (status, text) = run(&["export", file.to_str().unwrap(), "--from", &from]);
    assert!(status.success() && text.contains("1 keys were written"), "{text}");
    assert!(text.contains("has no snapshots") && text.contains("each as it was when its turn came"), "{text}");
}
