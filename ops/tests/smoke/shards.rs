//! Two shards on two workers give the same answers as one.

use crate::server::{Recipe, scratch};
use std::collections::BTreeMap;

/// A history of commands, the same at every run: what a client would see of them.
fn history(client: &mut redis::Connection, round: u64) -> Vec<String> {
    let mut random = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(round + 1);
    let mut next = |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    let mut pipe = redis::pipe();
    pipe.ignore_errors();
    for _ in 0..500 {
        let (a, b, c) = (next(60), next(60), next(60));
        let key = |n: u64| format!("key:{n}");
        match next(9) {
            0 => pipe.cmd("SET").arg(key(a)).arg(b),
            1 => pipe.cmd("INCRBY").arg(key(a)).arg(c),
            2 => pipe.cmd("APPEND").arg(key(a)).arg(b),
            3 => pipe.cmd("GET").arg(key(a)),
            4 => pipe.cmd("MGET").arg(key(a)).arg(key(b)).arg(key(c)),
            5 => pipe.cmd("DEL").arg(key(a)).arg(key(b)),
            6 => pipe.cmd("EXISTS").arg(key(a)).arg(key(b)).arg(key(c)).arg(key(a)),
            7 => pipe.cmd("SET").arg(key(a)).arg("text").arg("NX").arg("GET"),
            _ => pipe.cmd("GETDEL").arg(key(a)),
        };
    }
    let replies: Vec<redis::Value> = pipe.query(client).unwrap();
    replies.iter().map(|reply| format!("{reply:?}")).collect()
}

fn contents(client: &mut redis::Connection) -> BTreeMap<String, String> {
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
            let value = redis::cmd("GET").arg(&key).query(client).unwrap();
            (key, value)
        })
        .collect()
}

#[test]
fn two_shards_answer_as_one() {
    let (one_dir, two_dir) = (scratch(), scratch());
    let one = Recipe::new(one_dir.path()).start();
    let recipe = Recipe::new(two_dir.path()).with(&["--shards", "2"]);
    let mut two = recipe.start();
    let (mut to_one, mut to_two) = (one.client(), two.client());
    for round in 0..6 {
        // Connections are on one core or the other: their answers are the same.
        let mut other = two.client();
        let expect = history(&mut to_one, round);
        let found = history(if round % 2 == 0 { &mut to_two } else { &mut other }, round);
        for (n, (found, expect)) in found.iter().zip(&expect).enumerate() {
            assert_eq!(found, expect, "round {round}, command {n}");
        }
        assert_eq!(contents(&mut to_two), contents(&mut to_one));
    }
    let before = contents(&mut to_one);
    two.kill();
    let two = recipe.start();
    assert_eq!(contents(&mut two.client()), before, "after a restart");
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
    assert_eq!(contents(&mut client).len(), 50);
}
