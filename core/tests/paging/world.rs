//! Shards in little memory, their disks, and clients that know what they have to be answered.

use cairn_core::event::{ConnId, Effect, Event, Notice, Now, Peer};
use cairn_core::machine::{Identity, Machine};
use cairn_core::settings::Settings;
use cairn_storage::engine::{Applied, Engine, Replay};
use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::log::{LogConfig, Recovery, SegmentFile, Step};
use cairn_storage::op::{DiskDone, DiskOp, PageOp};
use cairn_storage::pagefile::{Bounds, Bug, OpenStep, Opening, PageFileConfig};
use cairn_storage::txn::Decisions;
use cairn_storage::units::{Epoch, SegmentId, ShardId};
use std::collections::BTreeMap;

pub const SEGMENT_BYTES: u64 = 1 << 20;
pub const MEMORY_BYTES: u64 = 112 * PAGE_BYTES as u64;
pub const SHARDS: u16 = 2;
pub const CLIENTS: u32 = 4;
pub const KEYS: u64 = 2000;

pub struct Rng(u64);

impl Rng {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

pub enum Op {
    Log(DiskOp),
    Page(PageOp),
}

#[derive(Default)]
pub struct Disk {
    pub log: BTreeMap<SegmentId, Vec<u8>>,
    pub pages: Vec<u8>,
}

pub struct Node {
    pub machine: Machine,
    pub disk: Disk,
    pub flying: Vec<Op>,
}

pub fn read(bytes: &[u8], offset: u64, len: usize) -> Vec<u8> {
    let there = bytes.get(offset as usize..).unwrap_or_default();
    let mut out = there[..there.len().min(len)].to_vec();
    out.resize(len, 0);
    out
}

pub fn write(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let end = offset as usize + data.len();
    bytes.resize(bytes.len().max(end), 0);
    bytes[offset as usize..end].copy_from_slice(data);
}

/// Does what an engine wants of its page file, one operation.
pub fn perform_page(
    engine: &Engine,
    pages: &mut Vec<u8>,
    log: &mut BTreeMap<SegmentId, Vec<u8>>,
    op: PageOp,
) -> Vec<u8> {
    match op {
        PageOp::Write { offset, output, len, .. } | PageOp::WriteStable { offset, output, len, .. } => {
            write(pages, offset, &engine.page_file().unwrap().output(output)[..len as usize]);
        }
        PageOp::Read { offset, len, .. } => return read(pages, offset, len as usize),
        PageOp::Grow { bytes, .. } => pages.resize(pages.len().max(bytes as usize), 0),
        PageOp::Forget { before, .. } => log.retain(|segment, _| *segment >= before),
        PageOp::Sync { .. } => {}
    }
    Vec::new()
}

pub fn written(op: PageOp) -> u32 {
    match op {
        PageOp::Write { len, .. } | PageOp::WriteStable { len, .. } => len,
        _ => 0,
    }
}

pub fn open((shard, shards): (u16, u16), mut disk: Disk, planted: Option<Bug>) -> Node {
    let shard_id = ShardId(shard);
    let config = LogConfig { shard: shard_id, segment_bytes: SEGMENT_BYTES, salt: 5, epoch: Epoch(1), planted: None };
    let pages = PageFileConfig {
        shard: shard_id,
        salt: 6,
        segment_bytes: SEGMENT_BYTES,
        grow_bytes: 1 << 18,
        bounds: Bounds::default(),
        planted,
    };
    let mut opening = Opening::new(pages, disk.pages.len() as u64);
    while let OpenStep::Read { offset, len } = opening.step() {
        opening.supply(&read(&disk.pages, offset, len as usize));
    }
    let start = opening.log_start();
    let (file, superblock) = opening.finish();
    let mut replay = Replay::over(config, MEMORY_BYTES, Box::new(|_| {}), file, &superblock);
    let files = disk.log.keys().map(|&segment| SegmentFile { segment, bytes: SEGMENT_BYTES }).collect();
    let mut recovery = Recovery::new(config, files, start);
    let resume = loop {
        match recovery.step() {
            Step::Read { segment, offset, len } => recovery.supply(&read(&disk.log[&segment], offset, len)),
            Step::Record { lsn, record, buffer } => loop {
                match replay.feed(lsn, &record, buffer).unwrap() {
                    Applied::Done => break,
                    Applied::Missing(missing) => drop(replay.engine_mut().fetch(missing)),
                    Applied::Crowded => replay.engine_mut().work(0, 0),
                }
                while let Some(op) = replay.engine_mut().poll_pages() {
                    let bytes = perform_page(replay.engine_mut(), &mut disk.pages, &mut disk.log, op);
                    match op {
                        PageOp::Read { op, .. } => drop(replay.engine_mut().on_page_read(op, Ok(&bytes))),
                        _ => replay.engine_mut().on_page_done(DiskDone { op: op.op(), result: Ok(written(op)) }),
                    }
                }
            },
            Step::Sync { .. } => recovery.synced(),
            Step::Done(resume) => break resume,
            Step::Refuse(fault) => panic!("the log is refused: {fault}"),
        }
    };
    let identity = Identity {
        shard: shard_id,
        shards,
        run_id: "0123456789".repeat(4),
        node_id: "abcdefghij".repeat(4),
        process_id: 1,
        tcp_port: 6379,
        executable: String::new(),
        config_file: String::new(),
        started: Now::default(),
        os: String::new(),
        seed: 1,
        hash_seed: 7,
        clock_ns: || 0,
    };
    let engine = replay.finish(config, &resume, &Decisions::none());
    let machine = Machine::new(identity, Settings::default(), engine, Now { mono_ns: 1, unix_us: 1 });
    Node { machine, disk, flying: Vec::new() }
}

/// A client with keys of its own, and what they hold.
#[derive(Default)]
pub struct Client {
    pub rows: BTreeMap<u64, Vec<u8>>,
    pub expected: Vec<u8>,
    pub received: Vec<u8>,
}

pub struct World {
    pub nodes: Vec<Node>,
    pub clients: Vec<Client>,
    pub rng: Rng,
    pub now: Now,
    /// Page files take nothing for the time being; reads go on.
    pub is_holding: bool,
    /// What was said of damage.
    pub damages: Vec<String>,
}

impl World {
    pub fn new(seed: u64) -> World {
        World::of(seed, SHARDS)
    }

    pub fn of(seed: u64, shards: u16) -> World {
        let nodes = (0..shards).map(|shard| open((shard, shards), Disk::default(), None)).collect();
        let clients = (0..CLIENTS).map(|_| Client::default()).collect();
        World {
            nodes,
            clients,
            rng: Rng(seed),
            now: Now { mono_ns: 1, unix_us: 1 },
            is_holding: false,
            damages: Vec::new(),
        }
    }

    fn node_of(&self, client: u32) -> usize {
        client as usize % self.nodes.len()
    }

    pub fn connect(&mut self) {
        for client in 0..CLIENTS {
            let event = Event::Accepted { conn: ConnId(client), peer: Peer { is_local: true, ..Peer::default() } };
            let node = self.node_of(client);
            self.nodes[node].machine.handle(self.now, event);
        }
    }

    /// Sends a few random commands for a client, and adds the right replies to what it expects.
    pub fn send(&mut self, client: u32) {
        let mut out = Vec::new();
        for _ in 0..1 + self.rng.below(6) {
            let words = self.command(client);
            out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
            for word in words {
                out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                out.extend_from_slice(&word);
                out.extend_from_slice(b"\r\n");
            }
        }
        let node = self.node_of(client);
        self.nodes[node].machine.handle(self.now, Event::Received { conn: ConnId(client), bytes: &out });
    }

    /// Keys of all shards, and how many effects may still change that: as INFO has them, and as the shards do.
    pub fn count(&mut self) -> (u64, u64) {
        self.clients[0].received.clear();
        let event = Event::Received { conn: ConnId(0), bytes: b"INFO keyspace\r\n" };
        self.nodes[0].machine.handle(self.now, event);
        while !self.clients[0].received.ends_with(b"\r\n") {
            self.turn();
        }
        let info = String::from_utf8(std::mem::take(&mut self.clients[0].received)).unwrap();
        let fields = info.lines().find_map(|line| line.strip_prefix("db0:")).unwrap_or_default();
        let field = |name: &str| fields.split(',').find_map(|field| field.strip_prefix(name)?.parse().ok());
        let told = (field("keys=").unwrap_or(0), field("redo_pending=").unwrap_or(0));
        let engines = self.nodes.iter().map(|node| node.machine.shard.engine());
        let counts = engines.map(|engine| (engine.row_count(0), engine.redo_left_in(0)));
        assert_eq!(told, counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)), "{info}");
        assert_eq!(fields.contains("redo_pending"), told.1 > 0, "{info}");
        told
    }

    /// All that there are.
    pub fn rows(&self) -> u64 {
        self.clients.iter().map(|client| client.rows.len() as u64).sum()
    }

    /// After a start what INFO says of keys says how far off it may be, as long as it may.
    pub fn check_counts(&mut self) -> bool {
        let rows = self.rows();
        self.nodes.iter_mut().for_each(|node| node.machine.set_redo_effects_per_turn(0));
        let (keys, pending) = self.count();
        assert!(keys.abs_diff(rows) <= pending, "{keys} keys for {rows}, {pending} effects left");
        self.nodes.iter_mut().for_each(|node| node.machine.set_redo_effects_per_turn(128));
        while self.nodes.iter().any(|node| node.machine.shard.engine().redo_left() > 0) {
            self.turn();
        }
        assert_eq!(self.count(), (rows, 0));
        keys != rows
    }

    pub fn command(&mut self, client: u32) -> Vec<Vec<u8>> {
        let numbers: Vec<u64> = (0..3).map(|_| self.rng.below(KEYS)).collect();
        let key = |number: u64| format!("key:{client}:{number}").into_bytes();
        let long = if self.rng.below(40) == 0 { 9000 } else { 1900 };
        let value = vec![b'a' + self.rng.below(26) as u8; self.rng.below(long) as usize];
        let Client { rows, expected, .. } = &mut self.clients[client as usize];
        let number = numbers[0];
        let bulk = |expected: &mut Vec<u8>, value: Option<&Vec<u8>>| match value {
            Some(value) => {
                expected.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
                expected.extend_from_slice(value);
                expected.extend_from_slice(b"\r\n");
            }
            None => expected.extend_from_slice(b"$-1\r\n"),
        };
        match self.rng.below(10) {
            0..4 => {
                rows.insert(number, value.clone());
                expected.extend_from_slice(b"+OK\r\n");
                vec![b"SET".to_vec(), key(number), value]
            }
            4..7 => {
                bulk(expected, rows.get(&number));
                vec![b"GET".to_vec(), key(number)]
            }
            7 => {
                expected.extend_from_slice(b"*3\r\n");
                numbers.iter().for_each(|number| bulk(expected, rows.get(number)));
                let keys = numbers.iter().map(|number| key(*number));
                std::iter::once(b"MGET".to_vec()).chain(keys).collect()
            }
            8 => {
                let gone = numbers.iter().filter(|number| rows.remove(number).is_some()).count();
                expected.extend_from_slice(format!(":{gone}\r\n").as_bytes());
                let keys = numbers.iter().map(|number| key(*number));
                std::iter::once(b"DEL".to_vec()).chain(keys).collect()
            }
            _ => {
                let row = rows.entry(number).or_default();
                row.extend_from_slice(b"more");
                expected.extend_from_slice(format!(":{}\r\n", row.len()).as_bytes());
                vec![b"APPEND".to_vec(), key(number), b"more".to_vec()]
            }
        }
    }

    /// A turn of every machine; some operations end. Whether anything is under way.
    pub fn turn(&mut self) -> bool {
        self.now.mono_ns += 1_000_000;
        let mut is_busy = false;
        for node in 0..self.nodes.len() {
            self.nodes[node].machine.end_turn(self.now);
            while let Some(effect) = self.nodes[node].machine.poll() {
                is_busy = true;
                self.perform(node, effect);
            }
            for _ in 0..self.rng.below(4) {
                self.complete(node);
            }
            is_busy |= !self.nodes[node].flying.is_empty();
        }
        is_busy
    }

    pub fn perform(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Send { conn, buffer } => {
                self.clients[conn.0 as usize].received.extend_from_slice(&buffer);
                self.nodes[node].machine.handle(self.now, Event::Sent { conn, buffer });
            }
            Effect::Disk(op) => self.nodes[node].flying.push(Op::Log(op)),
            Effect::Page(op) => self.nodes[node].flying.push(Op::Page(op)),
            Effect::Parcel { to, parcel } => {
                self.nodes[usize::from(to.0)].machine.handle(self.now, Event::Parcel(parcel));
            }
            Effect::Notice(Notice::Redone { .. } | Notice::ConfigSet { .. }) => {}
            Effect::Notice(Notice::PageDamaged(damage)) => self.damages.push(damage.to_string()),
            Effect::Notice(notice) => panic!("{notice}"),
            _ => {}
        }
    }

    pub fn complete(&mut self, node: usize) {
        let Node { machine, disk, flying } = &mut self.nodes[node];
        let is_held = |op: &Op| matches!(op, Op::Page(op) if !matches!(op, PageOp::Read { .. }));
        let free = |op: &Op| !self.is_holding || !is_held(op);
        let free: Vec<usize> = (0..flying.len()).filter(|at| free(&flying[*at])).collect();
        if free.is_empty() {
            return;
        }
        let event = match flying.swap_remove(free[self.rng.below(free.len() as u64) as usize]) {
            Op::Log(DiskOp::Prepare { op, segment, .. }) => {
                disk.log.insert(segment, Vec::new());
                Event::Disk(DiskDone { op, result: Ok(0) })
            }
            Op::Log(DiskOp::Write { op, segment, offset, buffer, len }) => {
                let bytes = &machine.shard.engine().log().buffer(buffer)[..len as usize];
                write(disk.log.get_mut(&segment).unwrap(), offset, bytes);
                Event::Disk(DiskDone { op, result: Ok(len) })
            }
            Op::Page(op) => {
                let bytes = perform_page(machine.shard.engine(), &mut disk.pages, &mut disk.log, op);
                match op {
                    PageOp::Read { op, .. } => {
                        return machine.handle(self.now, Event::PageRead { op, result: Ok(&bytes) });
                    }
                    _ => Event::Page(DiskDone { op: op.op(), result: Ok(written(op)) }),
                }
            }
        };
        machine.handle(self.now, event);
    }

    fn say(&mut self, client: u32, words: &[&str]) {
        let request = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect::<String>();
        let bytes = format!("*{}\r\n{request}", words.len());
        let node = self.node_of(client);
        self.nodes[node].machine.handle(self.now, Event::Received { conn: ConnId(client), bytes: bytes.as_bytes() });
    }

    /// What a client is answered while others are busy.
    pub fn ask_amid(&mut self, client: u32, words: &[&str]) -> String {
        self.say(client, words);
        let mut last = 0;
        for turn in 0..20_000 {
            if turn % 50 == 0 {
                self.nodes.iter_mut().for_each(|node| node.machine.handle(self.now, Event::Tick));
            }
            self.turn();
            let received = &mut self.clients[client as usize].received;
            // Nothing more follows for some turns.
            if turn % 20 == 0 && std::mem::replace(&mut last, received.len()) == received.len() && last > 0 {
                return String::from_utf8(std::mem::take(received)).unwrap();
            }
        }
        panic!("{words:?} is not answered");
    }

    /// What a client is answered.
    pub fn ask(&mut self, client: u32, words: &[&str]) -> String {
        self.say(client, words);
        for _ in 0..1000 {
            let is_busy = self.turn();
            let received = &mut self.clients[client as usize].received;
            if !is_busy && !received.is_empty() {
                return String::from_utf8(std::mem::take(received)).unwrap();
            }
        }
        panic!("{words:?} is not answered");
    }

    /// An orderly stop.
    pub fn drain(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.machine.handle(self.now, Event::Drain { saves: true }));
        for _ in 0..20_000 {
            self.turn();
            if self.nodes.iter().all(|node| node.machine.is_drained() && node.flying.is_empty()) {
                return;
            }
        }
        panic!("it never ends");
    }

    pub fn settle(&mut self) {
        for turn in 0..20_000 {
            if turn % 50 == 0 {
                self.nodes.iter_mut().for_each(|node| node.machine.handle(self.now, Event::Tick));
            }
            let is_busy = self.turn();
            if !is_busy && self.clients.iter().all(|client| client.received.len() >= client.expected.len()) {
                break;
            }
        }
        assert_eq!(self.damages, [""; 0]);
        for (number, client) in self.clients.iter_mut().enumerate() {
            let same = client.received.iter().zip(&client.expected).take_while(|(a, b)| a == b).count();
            let show = |bytes: &[u8]| {
                String::from_utf8_lossy(&bytes[same.min(bytes.len())..bytes.len().min(same + 60)]).into_owned()
            };
            let (received, expected) = (show(&client.received), show(&client.expected));
            assert!(client.received == client.expected, "client {number}: {received:?} for {expected:?}");
            client.received.clear();
            client.expected.clear();
        }
    }
}
