//! What a command costs in a machine, without sockets and without a disk: nanoseconds a GET and a SET, by pipeline depth.
//!
//! `cargo run --release -p cairn-core --example machine_cost [keys]`

use cairn_core::event::{ConnId, Effect, Event, Now, Peer};
use cairn_core::machine::{Identity, Machine};
use cairn_core::settings::Settings;
use cairn_storage::engine::Replay;
use cairn_storage::log::{LogConfig, Resume};
use cairn_storage::op::{DiskDone, DiskOp};
use cairn_storage::txn::Decisions;
use cairn_storage::units::{Epoch, ShardId};
use std::sync::LazyLock;
use std::time::Instant;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn clock_ns() -> u64 {
    START.elapsed().as_nanos() as u64
}

fn now() -> Now {
    Now { mono_ns: clock_ns(), unix_us: 1_700_000_000_000_000 }
}

fn machine() -> Machine {
    let config = LogConfig { shard: ShardId(0), segment_bytes: 64 << 20, salt: 1, epoch: Epoch(0), planted: None };
    let engine = Replay::new(config, 4 << 30, Box::new(|_| {})).finish(config, &Resume::empty(), &Decisions::none());
    let identity = Identity {
        shard: ShardId(0),
        shards: 1,
        run_id: "0".repeat(40),
        node_id: "0".repeat(40),
        process_id: 1,
        tcp_port: 0,
        executable: String::new(),
        config_file: String::new(),
        started: now(),
        os: String::new(),
        seed: 1,
        hash_seed: 42,
        clock_ns,
    };
    Machine::new(identity, Settings::default(), engine, now())
}

/// One turn: the requests of one connection, and everything that follows from them.
fn turn(machine: &mut Machine, bytes: &[u8]) -> usize {
    let conn = ConnId(0);
    machine.handle(now(), Event::Received { conn, bytes });
    let mut replied = 0;
    loop {
        machine.end_turn(now());
        let mut is_idle = true;
        while let Some(effect) = machine.poll() {
            is_idle = false;
            match effect {
                Effect::Send { conn, buffer } => {
                    replied += buffer.len();
                    machine.handle(now(), Event::Sent { conn, buffer });
                }
                Effect::Disk(DiskOp::Write { op, len, .. }) => {
                    machine.handle(now(), Event::Disk(DiskDone { op, result: Ok(len) }));
                }
                Effect::Disk(DiskOp::Prepare { op, .. }) => {
                    machine.handle(now(), Event::Disk(DiskDone { op, result: Ok(0) }));
                }
                Effect::Close { .. } => panic!("the connection was closed"),
                _ => {}
            }
        }
        if is_idle {
            return replied;
        }
    }
}

fn key(number: u64) -> String {
    format!("key:{number:012}")
}

fn request(out: &mut Vec<u8>, args: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        out.extend_from_slice(format!("${}\r\n{arg}\r\n", arg.len()).as_bytes());
    }
}

fn main() {
    let keys: u64 = std::env::args().nth(1).map_or(1_000_000, |keys| keys.parse().expect("a number of keys"));
    let mut machine = machine();
    let peer = Peer { is_local: true, ..Peer::default() };
    machine.handle(now(), Event::Accepted { conn: ConnId(0), peer });
    let value = "v".repeat(100);
    let mut random = 1u64;
    for chunk in 0..keys / 64 {
        let mut bytes = Vec::new();
        (0..64).for_each(|i| request(&mut bytes, &["SET", &key(chunk * 64 + i), &value]));
        assert_eq!(turn(&mut machine, &bytes), 64 * 5);
    }
    for depth in [1, 16, 64] {
        for name in ["GET", "SET"] {
            let batches: Vec<Vec<u8>> = (0..20_000 / depth * 16)
                .map(|_| {
                    let mut bytes = Vec::new();
                    for _ in 0..depth {
                        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                        let key = key((random >> 33) % keys);
                        let args: &[&str] = if name == "GET" { &["GET", &key] } else { &["SET", &key, &value] };
                        request(&mut bytes, args);
                    }
                    bytes
                })
                .collect();
            let mut best = f64::MAX;
            for _ in 0..3 {
                let start = Instant::now();
                batches.iter().for_each(|bytes| assert!(turn(&mut machine, bytes) > 0));
                best = best.min(start.elapsed().as_nanos() as f64 / (batches.len() * depth) as f64);
            }
            println!("{name} {depth:>2} a turn: {best:6.1} ns");
        }
    }
}
