//! Several shards on several workers give the same answers as one.

use crate::server::{Recipe, Server, scratch};
use std::collections::BTreeMap;

/// Connections that work at the same time.
const CLIENTS: u64 = 8;
const BATCHES: u64 = 12;
const BATCH: u64 = 120;

/// Keys that all of them count on.
const TOTALS: u64 = 5;

/// One batch of a client, the same at every run: commands over its own keys, whatever shards these are on, and now and
/// then over a counter of all.
fn batch(client: u64, batch: u64) -> redis::Pipeline {
    let mut random = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(client * BATCHES + batch + 1);
    let mut next = |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    let mut pipe = redis::pipe();
    pipe.ignore_errors();
    for _ in 0..BATCH {
        let (a, b, c) = (next(60), next(60), next(60));
        let key = |n: u64| format!("{client}:{n}");
        match next(14) {
            0 | 1 => pipe.cmd("SET").arg(key(a)).arg(b),
            2 => pipe.cmd("INCRBY").arg(key(a)).arg(c),
            3 => pipe.cmd("APPEND").arg(key(a)).arg(b),
            4 => pipe.cmd("GET").arg(key(a)),
            5 => pipe.cmd("MGET").arg(key(a)).arg(key(b)).arg(key(c)).arg(key(a)),
            6 => pipe.cmd("DEL").arg(key(a)).arg(key(b)),
            7 => pipe.cmd("EXISTS").arg(key(a)).arg(key(b)).arg(key(c)).arg(key(a)),
            8 => pipe.cmd("SET").arg(key(a)).arg("text").arg("NX").arg("GET"),
            9 => pipe.cmd("GETDEL").arg(key(a)),
            10 => pipe.cmd("PEXPIREAT").arg(key(a)).arg(4_000_000_000_000 + b),
            11 => pipe.cmd("PERSIST").arg(key(a)),
            12 => pipe.cmd("UNLINK").arg(key(a)).arg(key(b)).arg(key(c)),
            // What it answers depends on the others; what is there in the end does not.
            _ => pipe.cmd("INCRBY").arg(format!("total:{}", a % TOTALS)).arg(b).ignore(),
        };
    }
    pipe
}

/// All clients at once. What each of them is answered.
fn work(server: &Server) -> Vec<Vec<String>> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let mut client = server.client();
                scope.spawn(move || {
                    let replies = (0..BATCHES)
                        .flat_map(|n| -> Vec<redis::Value> { batch(number, n).query(&mut client).unwrap() });
                    replies.map(|reply| format!("{reply:?}")).collect()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

/// What is there: value, type and deadline of every key.
fn contents(server: &Server) -> BTreeMap<String, (String, String, i64)> {
    let client = &mut server.client();
    let mut keys = Vec::new();
    let mut cursor = 0u64;
    loop {
        let (next, batch): (u64, Vec<String>) =
            redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(7).query(client).unwrap();
        keys.extend(batch);
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    let size: usize = redis::cmd("DBSIZE").query(client).unwrap();
    assert_eq!(keys.len(), size, "SCAN returns every key once");
    keys.into_iter()
        .map(|key| {
            let mut pipe = redis::pipe();
            pipe.cmd("GET").arg(&key).cmd("TYPE").arg(&key).cmd("PEXPIRETIME").arg(&key);
            let row = pipe.query(client).unwrap();
            (key, row)
        })
        .collect()
}

/// The same work on one shard and on `shards`: each client is answered the same, and the same is there afterwards, also
/// after a kill and a restart on one CPU.
fn answer_as_one(shards: &str) {
    let (one_dir, many_dir) = (scratch(), scratch());
    let one = Recipe::new(one_dir.path()).start();
    let mut many = Recipe::new(many_dir.path()).with(&["--shards", shards]).start();
    let (expect, found) = (work(&one), work(&many));
    for (client, (found, expect)) in found.iter().zip(&expect).enumerate() {
        assert_eq!(found.len(), expect.len());
        for (n, (found, expect)) in found.iter().zip(expect).enumerate() {
            assert_eq!(found, expect, "client {client}, reply {n}");
        }
    }
    let expect = contents(&one);
    assert!(expect.len() > 100 && expect.values().any(|(_, _, deadline)| *deadline > 0), "{expect:?}");
    assert_eq!(contents(&many), expect);
    many.kill();
    let many = Recipe::new(many_dir.path()).with(&["--shards", shards, "--cpus", "0"]).start();
    assert_eq!(contents(&many), expect, "after a restart on one CPU");
}

#[test]
fn two_shards_answer_as_one() {
    answer_as_one("2");
}

#[test]
fn five_shards_on_fewer_cpus_answer_as_one() {
    answer_as_one("5");
}

#[test]
fn a_directory_keeps_its_number_of_shards() {
    let dir = scratch();
    let mut server = Recipe::new(dir.path()).with(&["--shards", "2"]).start();
    server.kill();
    let said = Recipe::new(dir.path()).with(&["--shards", "3"]).refused();
    assert!(said.contains('2') && said.contains('3') && said.contains("shards"), "{said}");
}

#[test]
fn one_cpu_can_run_two_shards() {
    let dir = scratch();
    let server = Recipe::new(dir.path()).with(&["--shards", "2", "--cpus", "0"]).start();
    let mut client = server.client();
    for n in 0..50 {
        let _: () = redis::cmd("SET").arg(n).arg(n).query(&mut client).unwrap();
    }
    assert_eq!(contents(&server).len(), 50);
}
