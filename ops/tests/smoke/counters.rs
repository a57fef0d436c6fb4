//! Hot counters over real sockets: increments that are done together, and split counters, through kills; and what a check of the
//! directory makes of them.

use crate::integrity::copy;
use crate::server::{Recipe, Server, run, scratch, until};
use redis::{Connection, cmd, pipe};
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::scope;

const CLIENTS: usize = 6;
const PIPELINE: usize = 16;

/// So many connections are on both cores, but for one case in thousands.
const CONNECTIONS: usize = 16;

fn get(client: &mut Connection) -> i64 {
    cmd("GET").arg("bar").query(client).unwrap()
}

/// What `INCR` answered to a client until the server was gone.
fn increment(server: &Server, answered: &AtomicI64) -> Vec<i64> {
    let mut client = server.client();
    let mut sums = Vec::new();
    loop {
        let mut together = pipe();
        (0..PIPELINE).for_each(|_| _ = together.cmd("INCR").arg("bar"));
        let Ok(replies) = together.query::<Vec<i64>>(&mut client) else { return sums };
        assert!(replies.is_sorted_by(|a, b| a < b), "{replies:?}");
        answered.fetch_add(PIPELINE as i64, Ordering::Relaxed);
        sums.extend(replies);
    }
}

#[test]
fn no_increment_is_answered_twice_or_lost_however_often_the_server_is_killed() {
    for shards in ["1", "2"] {
        let scratch = scratch();
        let recipe = Recipe::new(scratch.path()).with(&["--shards", shards]);
        let (mut sums, mut rounds) = (BTreeSet::new(), 0);
        while rounds < 3 {
            let mut server = recipe.start();
            let answered = AtomicI64::new(0);
            let counted = scope(|scope| {
                let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| increment(&server, &answered))).collect();
                until("a thousand were answered", || answered.load(Ordering::Relaxed) > 1000);
                server.signal(rustix::process::Signal::KILL);
                clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
            });
            server.kill();
            for sum in counted {
                assert!(sums.insert(sum), "{sum} was answered twice");
            }
            rounds += 1;
            let mut server = recipe.start();
            let value = get(&mut server.client());
            let sent_max = (sums.len() + rounds * CLIENTS * PIPELINE) as i64;
            assert!((*sums.last().unwrap()..=sent_max).contains(&value), "{value}");
            server.kill();
        }
        let (status, text) = run(&["check", recipe.dir.join("data").to_str().unwrap()]);
        assert!(status.success(), "{text}");
    }
}

fn promote(client: &mut Connection) {
    cmd("HOT").arg("bar").arg("PROMOTE").arg(2).exec(client).unwrap();
    until("it is split", || state(client) == "split");
}

fn state(client: &mut Connection) -> String {
    let state: Vec<redis::Value> = cmd("HOT").arg("bar").query(client).unwrap();
    redis::from_redis_value(state[1].clone()).unwrap()
}

#[test]
fn who_reads_a_split_counter_sees_it_grow_and_leaves_it_split() {
    let scratch = scratch();
    let recipe = Recipe::new(scratch.path()).with(&["--shards", "2"]);
    let mut server = recipe.start();
    let mut reader = server.client();
    cmd("SET").arg("bar").arg(0).exec(&mut reader).unwrap();
    promote(&mut reader);
    let (begun, done, is_over) = (AtomicI64::new(0), AtomicI64::new(0), AtomicBool::new(false));
    scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = server.client();
                while !is_over.load(Ordering::SeqCst) {
                    let mut together = pipe();
                    (0..PIPELINE).for_each(|_| _ = together.cmd("ADD").arg("bar").arg(1).ignore());
                    begun.fetch_add(PIPELINE as i64, Ordering::SeqCst);
                    together.exec(&mut client).unwrap();
                    done.fetch_add(PIPELINE as i64, Ordering::SeqCst);
                }
            });
        }
        let mut last = 0;
        for _ in 0..300 {
            let before = done.load(Ordering::SeqCst);
            let sum = get(&mut reader);
            assert!((before.max(last)..=begun.load(Ordering::SeqCst)).contains(&sum), "{sum}");
            last = sum;
        }
        is_over.store(true, Ordering::SeqCst);
    });
    assert_eq!((get(&mut reader), &state(&mut reader)[..]), (done.into_inner(), "split"));
    let sum = get(&mut reader);
    server.kill();
    assert_eq!(get(&mut recipe.start().client()), sum);
}

#[test]
fn a_row_at_another_shard_is_a_part_of_a_split_counter_or_damage() {
    for is_saved in [false, true] {
        let scratch = scratch();
        let recipe = Recipe::new(scratch.path()).with(&["--shards", "2"]);
        let mut server = recipe.start();
        cmd("SET").arg("bar").arg(100).exec(&mut server.client()).unwrap();
        server.kill();
        let data = recipe.dir.join("data");
        let (owner, before) = (data.join("shard-0000"), scratch.path().join("before"));
        copy(&owner, &before);
        let mut server = recipe.start();
        let mut clients: Vec<Connection> = (0..CONNECTIONS).map(|_| server.client()).collect();
        promote(&mut clients[0]);
        clients.iter_mut().for_each(|client| cmd("ADD").arg("bar").arg(1).exec(client).unwrap());
        if is_saved {
            cmd("SAVE").exec(&mut clients[0]).unwrap();
        }
        server.kill();
        let check = || run(&["check", data.to_str().unwrap()]);
        let (status, text) = check();
        assert!(status.success(), "{text}");
        // Its owner has never split it.
        fs::remove_dir_all(&owner).unwrap();
        copy(&before, &owner);
        let (status, text) = check();
        assert!(text.contains("another shard's, which has not split it") && text.contains("bar"), "{text}");
        assert_eq!(status.code(), Some(1), "{text}");
    }
}
