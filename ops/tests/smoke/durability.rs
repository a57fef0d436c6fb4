//! No acknowledged write is lost: the server is killed under load, again and again.

use crate::server::{Recipe, Server, exchange, scratch};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const ROUNDS: u64 = 25;
const CLIENTS: u64 = 4;
const PIPELINE: u64 = 8;

/// What one client was told in one round.
#[derive(Clone, Copy, Debug)]
struct Ledger {
    round: u64,
    client: u64,
    /// Batches of SETs that were sent, and those that were acknowledged, each with one INCR of the client's counter.
    sent: u64,
    acked: u64,
    /// The counter, as far as its replies came.
    counter: u64,
}

fn key(round: u64, client: u64, n: u64) -> String {
    format!("r{round}:c{client}:{n}")
}

fn value(round: u64, client: u64, n: u64) -> String {
    let length = (round * 7 + client * 131 + n * 17) % 300;
    format!("{round}.{client}.{n}.{}", "x".repeat(length as usize))
}

/// Sends batches until the connection breaks.
fn load(mut socket: TcpStream, round: u64, client: u64, is_loaded: &AtomicBool) -> Ledger {
    let mut ledger = Ledger { round, client, sent: 0, acked: 0, counter: 0 };
    loop {
        let mut request = String::new();
        for n in ledger.sent * PIPELINE..(ledger.sent + 1) * PIPELINE {
            let (key, value) = (key(round, client, n), value(round, client, n));
            request += &format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len());
        }
        request += &format!("INCR counter:{client}\r\n");
        ledger.sent += 1;
        if socket.write_all(request.as_bytes()).is_err() {
            return ledger;
        }
        let Some(counter) = read_batch(&mut socket) else { return ledger };
        ledger.acked += 1;
        assert!(counter > ledger.counter, "a counter that was read goes back");
        ledger.counter = counter;
        if ledger.acked > 20 {
            is_loaded.store(true, Ordering::Relaxed);
        }
    }
}

/// Reads `+OK` for each SET and then the integer. Nothing when the connection breaks before.
fn read_batch(socket: &mut TcpStream) -> Option<u64> {
    let mut reply = Vec::new();
    let mut chunk = [0; 1024];
    while reply.iter().filter(|&&byte| byte == b'\n').count() <= PIPELINE as usize {
        match socket.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(count) => reply.extend_from_slice(&chunk[..count]),
        }
    }
    let text = String::from_utf8(reply).unwrap();
    let mut lines = text.lines();
    for _ in 0..PIPELINE {
        assert_eq!(lines.next(), Some("+OK"), "{text}");
    }
    Some(lines.next().unwrap()[1..].parse().unwrap())
}

/// Every acknowledged write of the ledger is there; what was not acknowledged is there as it was sent, or not at all.
fn verify(client: &mut redis::Connection, ledger: &Ledger) {
    let numbers: Vec<u64> = (0..ledger.sent * PIPELINE).collect();
    for part in numbers.chunks(500) {
        let mut mget = redis::cmd("MGET");
        for n in part {
            mget.arg(key(ledger.round, ledger.client, *n));
        }
        let found: Vec<Option<String>> = mget.query(client).unwrap();
        for (n, found) in part.iter().zip(found) {
            match found {
                Some(found) => assert_eq!(found, value(ledger.round, ledger.client, *n), "{ledger:?}"),
                None => assert!(*n >= ledger.acked * PIPELINE, "write {n} is lost: {ledger:?}"),
            }
        }
    }
}

fn verify_counter(client: &mut redis::Connection, ledgers: &[Ledger], number: u64) {
    let own = || ledgers.iter().filter(|ledger| ledger.client == number);
    let counter: Option<u64> = redis::cmd("GET").arg(format!("counter:{number}")).query(client).unwrap();
    let counter = counter.unwrap_or(0);
    let told = own().map(|ledger| ledger.counter).max().unwrap_or(0);
    let sent: u64 = own().map(|ledger| ledger.sent).sum();
    assert!((told..=sent).contains(&counter), "counter {number} is {counter}: told {told}, sent {sent}");
}

fn kill_round(server: &mut Server, round: u64) -> Vec<Ledger> {
    let is_loaded = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (socket, is_loaded) = (server.socket(), &is_loaded);
                scope.spawn(move || load(socket, round, client, is_loaded))
            })
            .collect();
        crate::server::until("the load runs", || is_loaded.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_millis(round * 37 % 100));
        server.kill();
        loads.into_iter().map(|load| load.join().unwrap()).collect()
    })
}

#[test]
fn acknowledged_writes_survive_kill() {
    let dir = scratch();
    let recipe = Recipe::new(dir.path()).with(&["--shards", "2"]);
    let mut ledgers: Vec<Ledger> = Vec::new();
    for round in 0..ROUNDS {
        let mut server = recipe.start();
        let begin = ledgers.len();
        let fresh = kill_round(&mut server, round);
        assert!(fresh.iter().map(|ledger| ledger.acked).sum::<u64>() > 20, "a round without load proves nothing");
        ledgers.extend(fresh);
        let mut server = recipe.start();
        let mut client = server.client();
        ledgers[begin..].iter().for_each(|ledger| verify(&mut client, ledger));
        (0..CLIENTS).for_each(|number| verify_counter(&mut client, &ledgers, number));
        server.kill();
    }
    let server = recipe.start();
    let mut client = server.client();
    ledgers.iter().for_each(|ledger| verify(&mut client, ledger));
    let acked: u64 = ledgers.iter().map(|ledger| ledger.acked * PIPELINE).sum();
    println!("{acked} acknowledged writes in {ROUNDS} rounds, none lost");
}

#[test]
fn a_damaged_log_is_refused_by_name() {
    let dir = scratch();
    let recipe = Recipe::new(dir.path());
    let mut server = recipe.start();
    let mut socket = server.socket();
    for n in 0..200 {
        let request = format!("SET k{n} {}\r\n", "v".repeat(500));
        assert_eq!(exchange(&mut socket, request.as_bytes(), b"\r\n"), "+OK\r\n");
    }
    server.kill();
    let log = dir.path().join("data/shard-0000/log");
    let mut segments: Vec<_> = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    let at = bytes.windows(4).position(|window| window == b"vvvv").unwrap() + 100;
    bytes[at] ^= 1;
    std::fs::write(&segments[0], bytes).unwrap();
    let said = recipe.refused();
    let name = segments[0].file_name().unwrap().to_str().unwrap();
    assert!(said.contains(name) && said.contains("offset"), "{said}");
}
