//! No acknowledged write is lost, and nothing that was shown: the server is killed under load, again and again.

use crate::ledger::{Ledger, Op, Seen};
use crate::server::{Recipe, Server, exchange, scratch, until};
use redis::{Connection, Value, cmd};
use std::collections::BTreeMap;
use std::fs::DirEntry;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const ROUNDS: u64 = 25;
const CLIENTS: u64 = 4;
const WATCHERS: u64 = 2;

/// Operations that a client sends at once, at most.
const PIPELINE_MAX: u64 = 24;

/// Keys of a client that change often, and their kinds: texts and counters.
const KEYS: u64 = 12;

/// Acknowledged operations before a kill: a round without load proves nothing.
const ACKED_MIN: u64 = 60;

/// Numbers that are the same at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A client: what it sends, what it was told, what it was shown.
struct Client {
    number: u64,
    random: Random,
    /// Makes values differ.
    serial: u64,
    ledger: Ledger,
    seen: Seen,
}

impl Client {
    fn new(number: u64) -> Client {
        let random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number + 1));
        Client { number, random, serial: 0, ledger: Ledger::default(), seen: Seen::new() }
    }

    fn op(&mut self) -> Op {
        self.serial += 1;
        let (number, serial) = (self.number, self.serial);
        let text = |random: &mut Random| format!("{number}:text:{}", random.below(KEYS));
        let random = &mut self.random;
        match random.below(20) {
            0..=5 => {
                // Written once and never again.
                let value = format!("{serial}{}", "x".repeat(random.below(600) as usize));
                Op::Set { key: format!("{number}:once:{serial}"), value }
            }
            6..=8 => Op::Set { key: text(random), value: format!("{serial}.") },
            9..=11 => Op::Append { key: text(random), text: format!("{serial}.") },
            12..=14 => Op::Incr { key: format!("{number}:counter:{}", random.below(3)) },
            15 => Op::Del { keys: vec![text(random)] },
            16 => {
                let (first, second) = (random.below(KEYS), random.below(KEYS - 1));
                let second = (first + 1 + second) % KEYS;
                Op::Del { keys: [first, second].map(|key| format!("{number}:text:{key}")).into() }
            }
            17 => Op::ExpireAt { key: text(random), unix_s: 4_000_000_000 + serial },
            18 => Op::Persist { key: text(random) },
            _ => {
                let other = (number + 1 + random.below(CLIENTS - 1)) % CLIENTS;
                let counters = (0..3).map(|key| format!("{other}:counter:{key}"));
                let texts = (0..2).map(|_| format!("{other}:text:{}", random.below(KEYS)));
                Op::Look { keys: counters.chain(texts).collect() }
            }
        }
    }

    /// Sends and listens until the connection breaks.
    fn load(&mut self, connection: &mut Connection, acked: &AtomicU64) {
        loop {
            let ops: Vec<Op> = (0..=self.random.below(PIPELINE_MAX)).map(|_| self.op()).collect();
            let expected: Vec<Option<Value>> = ops.iter().map(|op| self.ledger.on_sent(op)).collect();
            let request: Vec<u8> = ops.iter().flat_map(Op::packed).collect();
            if connection.send_packed_command(&request).is_err() {
                return;
            }
            for (op, expected) in ops.iter().zip(expected) {
                match connection.recv_response() {
                    Ok(reply) => self.on_reply(op, expected, reply),
                    Err(error) if error.is_io_error() => return,
                    Err(error) => panic!("{op:?}: {error}"),
                }
                acked.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn on_reply(&mut self, op: &Op, expected: Option<Value>, reply: Value) {
        if let Some(expected) = expected {
            assert_eq!(reply, expected, "{op:?}");
        }
        if let Op::Look { keys } = op {
            let values: Vec<Option<String>> = redis::from_redis_value(reply).unwrap();
            let shown = keys.iter().zip(values);
            self.seen.extend(shown.filter_map(|(key, value)| Some((key.clone(), value?))));
        }
        self.ledger.on_acked(op);
    }
}

/// Looks at keys that others change, one after the other and without a pipeline, until the connection breaks. What it is
/// shown, so soon after it was written, must be as safe as if its writer had been told.
fn watch(connection: &mut Connection, number: u64) -> Seen {
    let mut seen = Seen::new();
    for n in 0.. {
        let client = (n + number) % CLIENTS;
        let keys: Vec<String> = (0..3).map(|key| format!("{client}:counter:{key}")).collect();
        let values: redis::RedisResult<Vec<Option<String>>> = cmd("MGET").arg(&keys).query(connection);
        match values {
            Ok(values) => {
                let shown = keys.into_iter().zip(values);
                seen.extend(shown.filter_map(|(key, value)| Some((key, value?))));
            }
            Err(error) if error.is_io_error() => break,
            Err(error) => panic!("{error}"),
        }
    }
    // The last look at each key implies the others: counters only grow.
    let mut last = BTreeMap::new();
    last.extend(seen);
    last.into_iter().collect()
}

/// Asks for one checkpoint after the other, until the connection breaks: kills meet every state of one.
fn checkpoint(connection: &mut Connection, round: u64) {
    while cmd("BGSAVE").query::<String>(connection).is_ok() {
        std::thread::sleep(Duration::from_millis(1 + round * 7 % 20));
    }
}

/// Loads the server, and kills it at a moment that differs from round to round. What watchers were shown.
fn kill_under_load(server: &mut Server, clients: &mut [Client], round: u64) -> Seen {
    let acked = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let watchers: Vec<_> = (0..WATCHERS)
            .map(|number| {
                let mut connection = server.client();
                scope.spawn(move || watch(&mut connection, number))
            })
            .collect();
        for client in clients {
            let (mut connection, acked) = (server.client(), &acked);
            scope.spawn(move || client.load(&mut connection, acked));
        }
        // In the other rounds the log is all there is since the last one.
        if !round.is_multiple_of(4) {
            let mut connection = server.client();
            scope.spawn(move || checkpoint(&mut connection, round));
        }
        until("the load runs", || acked.load(Ordering::Relaxed) >= ACKED_MIN);
        std::thread::sleep(Duration::from_millis(round * 37 % 100));
        server.kill();
        watchers.into_iter().flat_map(|watcher| watcher.join().unwrap()).collect()
    })
}

/// Starts the server and kills it before it is ready, a little later each time.
fn kill_during_recovery(recipe: &Recipe) {
    for ms in [0, 5, 15, 40] {
        let mut server = recipe.spawn();
        std::thread::sleep(Duration::from_millis(ms));
        server.kill();
    }
}

fn verify(server: &Server, clients: &mut [Client], mut shown: Seen, all: bool) {
    let mut connection = server.client();
    shown.extend(clients.iter_mut().flat_map(|client| std::mem::take(&mut client.seen)));
    for client in clients {
        let own: Seen = shown.iter().filter(|(key, _)| client.ledger.owns(key)).cloned().collect();
        client.ledger.verify(&mut connection, &own, all);
    }
}

fn survive_kills(shards: &str) {
    let dir = scratch();
    // Less than there is to hold: pages leave and come back meanwhile.
    let recipe = Recipe::new(dir.path()).with(&["--shards", shards, "--memory", "2mb"]);
    let mut clients: Vec<Client> = (0..CLIENTS).map(Client::new).collect();
    let mut server = recipe.start();
    for round in 0..ROUNDS {
        let shown = kill_under_load(&mut server, &mut clients, round);
        if round % 5 == 4 {
            kill_during_recovery(&recipe);
        }
        server = recipe.start();
        verify(&server, &mut clients, shown, false);
    }
    verify(&server, &mut clients, Seen::new(), true);
    server.kill();
    // The same on fewer CPUs: one worker has all shards.
    let server = Recipe::new(dir.path()).with(&["--shards", shards, "--cpus", "0"]).start();
    verify(&server, &mut clients, Seen::new(), true);
    let acked: u64 = clients.iter().map(|client| client.ledger.acked).sum();
    println!("{shards} shards: {acked} acknowledged changes in {ROUNDS} rounds, none lost");
}

#[test]
fn acknowledged_writes_survive_kill() {
    survive_kills("1");
}

#[test]
fn acknowledged_writes_survive_kill_on_two_shards() {
    survive_kills("2");
}

/// The inodes of a log's segments, by name. One that goes or gets its new name meanwhile is left out.
fn inodes(log: &Path) -> BTreeMap<String, u64> {
    let entries = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap());
    let inode = |entry: DirEntry| Some((entry.file_name().into_string().unwrap(), entry.metadata().ok()?.ino()));
    entries.filter_map(inode).collect()
}

#[test]
fn segments_are_used_again() {
    const VALUE_BYTES: usize = 1 << 20;
    let dir = scratch();
    let recipe = Recipe::new(dir.path()).with(&["--shards", "1"]);
    let mut server = recipe.start();
    let log = dir.path().join("data/shard-0000/log");
    let mut connection = server.client();
    let fill = |connection: &mut Connection, round: usize| {
        for n in 0..80 {
            let value = vec![b'a' + (round % 26) as u8; VALUE_BYTES];
            cmd("SET").arg(format!("k{}", n % 8)).arg(value).exec(connection).unwrap();
        }
        cmd("SAVE").exec(connection).unwrap();
    };

    let (mut round, mut seen) = (0, inodes(&log));
    let again = loop {
        fill(&mut connection, round);
        round += 1;
        let now = inodes(&log);
        let again = now.iter().any(|(name, inode)| {
            name.ends_with(".seg") && seen.iter().any(|(other, there)| other != name && there == inode)
        });
        if again || round == 12 {
            break again;
        }
        seen.extend(now.into_iter().filter(|(name, _)| name.ends_with(".seg")));
    };
    assert!(again, "no segment was used again: {:?}", inodes(&log));
    // What is in it behind the log's end is not the log's.
    cmd("SET").arg("last").arg(round).exec(&mut connection).unwrap();
    server.kill();
    let server = recipe.start();
    let mut connection = server.client();
    assert_eq!(cmd("GET").arg("last").query::<usize>(&mut connection).unwrap(), round);
    for n in 0..8 {
        let value: Vec<u8> = cmd("GET").arg(format!("k{n}")).query(&mut connection).unwrap();
        assert!(value.len() == VALUE_BYTES && value.iter().all(|byte| *byte == b'a' + (round - 1) as u8));
    }
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
