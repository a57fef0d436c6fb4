//! A driver for golden scripts: machines, clients and disks in one place, with a clock that only a script moves.
//!
//! Effects are performed at once and in order, until nothing is left to do. Only disk operations can be held back.

pub mod show;

use cairn_core::event::{Carried, ConnId, Effect, Event, HostAsk, Migration, Now, PasswordStep, Peer, Ticket};
use cairn_core::machine::{Handover, Identity, Machine};
use cairn_core::parcel::Parcel;
use cairn_core::resp::replies::Outgoing;
use cairn_core::settings::{Settings, Source};
use cairn_core::stats::Counters;
use cairn_storage::engine::{Applied, Engine, Replay};
use cairn_storage::log::{LogConfig, Recovery, Resume, SegmentFile, Step};
use cairn_storage::op::{DiskDone, DiskOp};
use cairn_storage::txn::{Decisions, Tail};
use cairn_storage::units::{Epoch, Lsn, SegmentId, ShardId};
use std::collections::{BTreeMap, VecDeque};

/// When every script begins: 14 November 2023, 22:13:20 UTC.
const BEGIN_UNIX_US: u64 = 1_700_000_000_000_000;

const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
const MEMORY_BYTES: u64 = 256 * 1024 * 1024;
const HASH_SEED: u64 = 7;

/// A hash that this driver takes for the password behind its last `$`.
pub const PASSWORD_HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$";

/// Numbers that look random, and are the same in each run.
pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// One shard with its disk.
struct Node {
    machine: Machine,
    /// What is stable, by segment; zeros beyond the end of each.
    disk: BTreeMap<SegmentId, Vec<u8>>,
    /// Operations that are held back.
    held: VecDeque<DiskOp>,
}

#[derive(Default)]
struct Client {
    shard: usize,
    conn: Option<ConnId>,
    is_paused: bool,
    /// Sent while the machine did not read.
    unread: Vec<u8>,
    received: Vec<u8>,
    /// It does not read: sends to it do not end.
    is_lazy: bool,
    unsent: Option<Outgoing>,
    /// It is to go to another core.
    offered: Option<Box<Handover>>,
}

pub struct World {
    nodes: Vec<Node>,
    clients: BTreeMap<u32, Client>,
    conns: u32,
    settings: Settings,
    now: Now,
    pub is_disk_held: bool,
    /// What shards send each other does not arrive.
    pub is_mail_held: bool,
    mail: VecDeque<(usize, Box<Parcel>)>,
    /// What shards have sent each other so far.
    pub messages: usize,
    /// What commands take: nothing, unless it is said.
    clock_ns: fn() -> u64,
    /// The most turns that follow something; `None`: as many as there is something to do in.
    pub turns_max: Option<u32>,
    /// Questions to the process are not answered.
    pub is_host_held: bool,
    questions: VecDeque<(usize, Ticket, HostAsk)>,
    /// What the process was asked for, or told.
    pub notes: Vec<String>,
    /// The file of users.
    users: String,
}

impl World {
    pub fn new(shards: u16, settings: &[Vec<String>]) -> World {
        World::with_clock(shards, settings, || 0)
    }

    /// With a clock that says how long commands take.
    pub fn with_clock(shards: u16, settings: &[Vec<String>], clock_ns: fn() -> u64) -> World {
        let mut parsed = Settings::default();
        for words in settings {
            let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
            parsed.set(Source::File, &words[0], &args).unwrap_or_else(|error| panic!("setting {words:?}: {error:?}"));
        }
        let mut world = World {
            nodes: Vec::new(),
            clients: BTreeMap::new(),
            conns: 0,
            settings: parsed,
            now: Now { mono_ns: 1_000_000_000, unix_us: BEGIN_UNIX_US },
            is_disk_held: false,
            is_mail_held: false,
            mail: VecDeque::new(),
            messages: 0,
            clock_ns,
            turns_max: None,
            is_host_held: false,
            questions: VecDeque::new(),
            notes: Vec::new(),
            users: String::new(),
        };
        world.open((0..shards).map(|_| BTreeMap::new()).collect());
        world.settle();
        world
    }

    /// All shards over what their disks hold: what became of transactions they find out together.
    fn open(&mut self, disks: Vec<BTreeMap<SegmentId, Vec<u8>>>) {
        let shards = disks.len() as u16;
        let mut read: Vec<_> = (0..).zip(&disks).map(|(shard, disk)| self.read(shard, disk)).collect();
        let tails: Vec<Tail> = read.iter_mut().map(|(_, replay, _)| replay.tail().clone()).collect();
        let decisions = Decisions::of(&tails, shards).unwrap();
        let open = |(shard, ((config, mut replay, resume), disk)): (u16, ((LogConfig, Replay, Resume), _))| {
            assert_eq!(replay.settle(&decisions).unwrap(), Applied::Done, "without a page file nothing is absent");
            let engine = replay.finish(config, &resume, &decisions);
            let machine = Machine::new(self.identity(shard, shards), self.settings.clone(), engine, self.now);
            Node { machine, disk, held: VecDeque::new() }
        };
        self.nodes = (0..).zip(read.into_iter().zip(disks)).map(open).collect();
    }

    /// What is in a shard's log.
    fn read(&self, shard: u16, disk: &BTreeMap<SegmentId, Vec<u8>>) -> (LogConfig, Replay, Resume) {
        let config =
            LogConfig { shard: ShardId(shard), segment_bytes: SEGMENT_BYTES, salt: 5, epoch: Epoch(1), planted: None };
        let files = disk.keys().map(|&segment| SegmentFile { segment, bytes: SEGMENT_BYTES }).collect();
        let mut recovery = Recovery::new(config, files, Lsn(0));
        let mut replay = Replay::new(config, MEMORY_BYTES, Box::new(|_| {}));
        let resume = loop {
            match recovery.step() {
                Step::Read { segment, offset, len } => {
                    let mut bytes = vec![0; len];
                    let written = disk[&segment].get(offset as usize..).unwrap_or_default();
                    let there = written.len().min(len);
                    bytes[..there].copy_from_slice(&written[..there]);
                    recovery.supply(&bytes);
                }
                Step::Record { lsn, record, .. } => replay.apply(lsn, &record).unwrap(),
                Step::Sync { .. } => recovery.synced(),
                Step::Done(resume) => break resume,
                Step::Refuse(fault) => panic!("the log is refused: {fault}"),
            }
        };
        (config, replay, resume)
    }

    fn identity(&self, shard: u16, shards: u16) -> Identity {
        Identity {
            shard: ShardId(shard),
            shards,
            run_id: "0123456789".repeat(4),
            node_id: "abcdefghij".repeat(4),
            process_id: 1,
            tcp_port: 6379,
            executable: "/usr/bin/cairn".into(),
            config_file: String::new(),
            started: self.now,
            os: "Linux 6.1.0 x86_64".into(),
            seed: u64::from(shard) + 1,
            hash_seed: HASH_SEED,
            clock_ns: self.clock_ns,
        }
    }

    /// Sends bytes for a client, which connects first if it has to: client n to shard n - 1, wrapped around.
    pub fn send(&mut self, client: u32, bytes: &[u8]) {
        if !self.clients.contains_key(&client) {
            self.connect(client);
        }
        let end = self.clients.get_mut(&client).unwrap();
        if end.is_paused {
            end.unread.extend_from_slice(bytes);
        } else if let Some(conn) = end.conn {
            let shard = end.shard;
            self.nodes[shard].machine.handle(self.now, Event::Received { conn, bytes });
        }
        self.settle();
    }

    fn connect(&mut self, client: u32) {
        let shard = (client as usize - 1) % self.nodes.len();
        let conn = ConnId(self.conns);
        self.conns += 1;
        let peer = Peer {
            addr: format!("127.0.0.1:{}", 50_000 + client),
            laddr: "127.0.0.1:6379".into(),
            is_local: true,
            fd: 8 + client as i32,
        };
        self.clients.insert(client, Client { shard, conn: Some(conn), ..Client::default() });
        self.nodes[shard].machine.handle(self.now, Event::Accepted { conn, peer });
    }

    /// Commands that a shard has done together with others.
    pub fn joined(&self, shard: usize) -> u64 {
        self.nodes[shard].machine.stats.counters.joined_commands
    }

    pub fn counters(&self, shard: usize) -> &Counters {
        &self.nodes[shard].machine.stats.counters
    }

    pub fn engine(&self, shard: usize) -> &Engine {
        self.nodes[shard].machine.shard.engine()
    }

    /// Rows of a shard's first database.
    pub fn rows(&self, shard: usize) -> u64 {
        self.nodes[shard].machine.shard.engine().row_count(0)
    }

    /// The client's connection is to go to another core. Whether it is at rest.
    pub fn offer(&mut self, client: u32) -> bool {
        let Client { shard, conn: Some(conn), .. } = self.clients[&client] else { panic!("it has no connection") };
        let machine = &mut self.nodes[shard].machine;
        let may_move = machine.movable(0).contains(&conn);
        let offered = machine.offer(conn);
        assert!(may_move || offered.is_none(), "what is at rest may move");
        self.clients.get_mut(&client).unwrap().offered = offered;
        self.clients[&client].offered.is_some()
    }

    /// It goes to the next shard's, if that takes it.
    pub fn hand_over(&mut self, client: u32) -> bool {
        let to = (self.clients[&client].shard + 1) % self.nodes.len();
        let own = self.clients.get_mut(&client).unwrap();
        let (Some(offered), Some(conn)) = (own.offered.take(), own.conn) else { return false };
        let is_taken = self.nodes[to].machine.may_adopt(&offered);
        if is_taken {
            (own.shard, own.conn) = (to, Some(ConnId(self.conns)));
            let from = (to + self.nodes.len() - 1) % self.nodes.len();
            self.nodes[to].machine.adopt(ConnId(self.conns), *offered);
            assert!(self.nodes[from].machine.left(conn), "nobody has cut it off");
            self.conns += 1;
        } else {
            self.nodes[own.shard].machine.keep(conn);
        }
        self.settle();
        is_taken
    }

    /// The client goes away in good order.
    pub fn hang_up(&mut self, client: u32) {
        self.end(client, false);
    }

    /// The same of one that takes no reply any more.
    pub fn break_off(&mut self, client: u32) {
        self.end(client, true);
    }

    fn end(&mut self, client: u32, is_broken: bool) {
        let end = self.clients.remove(&client).expect("only a client that is there goes away");
        if let Some(conn) = end.conn {
            self.nodes[end.shard].machine.handle(self.now, Event::HungUp { conn, is_broken });
        }
        self.settle();
    }

    /// What a client has received since it was last asked, and whether its connection was closed.
    pub fn receive(&mut self, client: u32) -> (Vec<u8>, bool) {
        let Some(end) = self.clients.get_mut(&client) else { return (Vec::new(), false) };
        let received = std::mem::take(&mut end.received);
        let is_closed = end.conn.is_none();
        if is_closed {
            self.clients.remove(&client);
        }
        (received, is_closed)
    }

    /// Lets time pass, with a tick every 100 ms or a hundred ticks, whichever are fewer.
    pub fn advance(&mut self, ms: u64) {
        let steps = ms.div_ceil(100).clamp(1, 100);
        for step in 0..steps {
            let part = ms * (step + 1) / steps - ms * step / steps;
            self.pass(part * 1000);
            for node in &mut self.nodes {
                node.machine.handle(self.now, Event::Tick);
            }
            self.settle();
        }
    }

    fn pass(&mut self, us: u64) {
        self.now = Now { mono_ns: self.now.mono_ns + us * 1000, unix_us: self.now.unix_us + us };
    }

    /// Performs the disk operations that were held back.
    pub fn release_disks(&mut self) {
        for shard in 0..self.nodes.len() {
            while let Some(op) = self.nodes[shard].held.pop_front() {
                self.perform_disk(shard, op);
            }
        }
        self.settle();
    }

    /// Performs the first disk operation of each shard that was held back.
    pub fn release_one(&mut self) {
        for shard in 0..self.nodes.len() {
            if let Some(op) = self.nodes[shard].held.pop_front() {
                self.perform_disk(shard, op);
            }
        }
        self.settle();
    }

    /// Fails the disk operations that were held back.
    pub fn fail_disks(&mut self, errno: i32) {
        for shard in 0..self.nodes.len() {
            while let Some(DiskOp::Write { op, .. } | DiskOp::Prepare { op, .. }) = self.nodes[shard].held.pop_front() {
                self.nodes[shard].machine.handle(self.now, Event::Disk(DiskDone { op, result: Err(errno) }));
            }
        }
        self.settle();
    }

    /// What was sent meanwhile arrives, in its order.
    pub fn release_mail(&mut self) {
        while let Some((to, parcel)) = self.mail.pop_front() {
            self.nodes[to].machine.handle(self.now, Event::Parcel(parcel));
        }
        self.settle();
    }

    /// Answers what the process was asked meanwhile.
    pub fn release_host(&mut self) {
        while let Some((shard, ticket, ask)) = self.questions.pop_front() {
            let result = self.answer(ask);
            self.nodes[shard].machine.handle(self.now, Event::HostAnswer { ticket, result });
        }
        self.settle();
    }

    /// Whether the client reads.
    pub fn set_lazy(&mut self, client: u32, is_lazy: bool) {
        let end = self.clients.get_mut(&client).expect("only a client that is there reads");
        end.is_lazy = is_lazy;
        let (shard, unsent) = (end.shard, if is_lazy { None } else { end.unsent.take() });
        if let Some((conn, buffer)) = end.conn.zip(unsent) {
            end.received.extend_from_slice(&buffer);
            self.nodes[shard].machine.handle(self.now, Event::Sent { conn, buffer });
        }
        self.settle();
    }

    /// A client that does not read takes so many bytes all the same.
    pub fn take_some(&mut self, client: u32, bytes: usize) {
        let end = self.clients.get_mut(&client).expect("only a client that is there reads");
        assert!(end.unsent.as_ref().is_some_and(|unsent| unsent.len() > bytes), "less than that is in flight");
        let conn = end.conn.expect("it is connected");
        self.nodes[end.shard].machine.handle(self.now, Event::SentPart { conn, bytes });
        self.settle();
    }

    /// Everything stops at once; what is stable is recovered. All connections are gone.
    pub fn crash(&mut self) {
        let disks: Vec<_> = self.nodes.drain(..).map(|node| node.disk).collect();
        self.clients.clear();
        self.open(disks);
        self.settle();
    }

    /// Turns of all machines until none has an effect.
    fn settle(&mut self) {
        for _ in 0..self.turns_max.unwrap_or(u32::MAX) {
            let mut is_busy = false;
            for shard in 0..self.nodes.len() {
                self.nodes[shard].machine.end_turn(self.now);
                is_busy |= self.nodes[shard].machine.wants_turn();
                while let Some(effect) = self.nodes[shard].machine.poll() {
                    is_busy = true;
                    self.perform(shard, effect);
                }
            }
            if !is_busy {
                return;
            }
        }
    }

    fn perform(&mut self, shard: usize, effect: Effect) {
        match effect {
            Effect::LogRead(read) => unreachable!("{read:?}: without a page file nothing is scrubbed"),
            Effect::Send { conn, buffer } => {
                if let Some(client) = self.client_of(shard, conn) {
                    if client.is_lazy {
                        client.unsent = Some(buffer);
                        return;
                    }
                    client.received.extend_from_slice(&buffer);
                }
                self.nodes[shard].machine.handle(self.now, Event::Sent { conn, buffer });
            }
            Effect::Pause { conn } => {
                if let Some(client) = self.client_of(shard, conn) {
                    client.is_paused = true;
                }
            }
            Effect::Resume { conn } => {
                let Some(client) = self.client_of(shard, conn) else { return };
                client.is_paused = false;
                let unread = std::mem::take(&mut client.unread);
                if !unread.is_empty() {
                    self.nodes[shard].machine.handle(self.now, Event::Received { conn, bytes: &unread });
                }
            }
            Effect::Close { conn } => {
                if let Some(client) = self.client_of(shard, conn) {
                    client.conn = None;
                }
            }
            Effect::Page(_) => unreachable!("its shards have no page file"),
            Effect::Disk(op) if self.is_disk_held => self.nodes[shard].held.push_back(op),
            Effect::Disk(op) => self.perform_disk(shard, op),
            Effect::Parcel { to, parcel } => {
                self.messages += parcel.messages.len();
                match self.is_mail_held {
                    true => self.mail.push_back((usize::from(to.0), parcel)),
                    false => self.nodes[usize::from(to.0)].machine.handle(self.now, Event::Parcel(parcel)),
                }
            }
            Effect::HostAsk { ticket, ask } if self.is_host_held => self.questions.push_back((shard, ticket, ask)),
            Effect::HostAsk { ticket, ask } => {
                let result = self.answer(ask);
                self.nodes[shard].machine.handle(self.now, Event::HostAnswer { ticket, result });
            }
            Effect::Notice(notice) => self.notes.push(format!("notice {notice}")),
            Effect::Snapshot(_) => {}
            Effect::Sleep { us } => self.pass(us),
        }
    }

    fn answer(&mut self, ask: HostAsk) -> Result<String, String> {
        match ask {
            HostAsk::CheckPassword { hashes, password } => {
                let is_right = hashes.iter().any(|hash| is_hash_of(hash, &password));
                if is_right { Ok(String::new()) } else { Err(String::new()) }
            }
            HostAsk::SettlePasswords { hashes, steps } => Ok(settle(hashes, steps).join("\n")),
            HostAsk::Random { bytes } => Ok("4d".repeat(bytes)),
            HostAsk::ReadUsers { .. } if self.users.is_empty() => Err("there is no such file".into()),
            HostAsk::ReadUsers { .. } => Ok(self.users.clone()),
            HostAsk::WriteUsers { lines } => {
                self.users = String::from_utf8(lines.join(&b'\n')).unwrap();
                self.notes.extend(self.users.lines().map(str::to_owned));
                Ok(String::new())
            }
            HostAsk::HashPassword { password } => Ok(format!("{PASSWORD_HASH}{}", String::from_utf8_lossy(&password))),
            HostAsk::RewriteConfig { users, .. } => {
                self.notes.push("rewrite".into());
                self.notes.extend(users);
                Ok(String::new())
            }
            HostAsk::Migrate(migration) => Ok(self.carry(*migration)?.join("\n")),
            HostAsk::Shutdown { is_forced, .. } => {
                self.notes.push(format!("shutdown forced={is_forced}"));
                Err("it goes on, for the script's sake".into())
            }
        }
    }

    /// Another server: one on port 1 does not answer, one on port 2 takes what does not begin with `no`, one on port 3 breaks off behind the first key.
    fn carry(&mut self, migration: Migration) -> Result<Vec<String>, String> {
        let Migration { host, port, db, timeout_ms, user, password, is_replacing, carried } = migration;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let who = user.map(text).into_iter().chain(password.map(text)).collect::<Vec<_>>().join("/");
        self.notes.push(format!("to {host}:{port} db={db} timeout={timeout_ms} as={who} replace={is_replacing}"));
        if port == "1" {
            return Err("IOERR error or timeout connecting to the client".into());
        }
        let mut outcomes = Vec::new();
        for (at, Carried { key, left_ms, payload }) in carried.into_iter().enumerate() {
            self.notes.push(format!("  {} left={left_ms} bytes={}", text(key.clone()), payload.len()));
            outcomes.push(match port.as_str() {
                "3" if at > 0 => "IOERR error or timeout reading to target instance".into(),
                _ if key.starts_with(b"no") => {
                    "ERR Target instance replied with error: BUSYKEY Target key name already exists.".into()
                }
                _ => String::new(),
            });
        }
        Ok(outcomes)
    }

    fn perform_disk(&mut self, shard: usize, op: DiskOp) {
        let Node { machine, disk, .. } = &mut self.nodes[shard];
        let done = match op {
            DiskOp::Prepare { op, segment, .. } => {
                disk.insert(segment, Vec::new());
                DiskDone { op, result: Ok(0) }
            }
            DiskOp::Write { op, segment, offset, buffer, len } => {
                let bytes = &machine.shard.engine().log().buffer(buffer)[..len as usize];
                let file = disk.get_mut(&segment).expect("only prepared segments are written");
                let end = offset as usize + bytes.len();
                file.resize(file.len().max(end), 0);
                file[offset as usize..end].copy_from_slice(bytes);
                DiskDone { op, result: Ok(len) }
            }
        };
        machine.handle(self.now, Event::Disk(done));
    }

    fn client_of(&mut self, shard: usize, conn: ConnId) -> Option<&mut Client> {
        self.clients.values_mut().find(|client| client.shard == shard && client.conn == Some(conn))
    }
}

fn is_hash_of(hash: &str, password: &[u8]) -> bool {
    hash.rsplit('$').next().unwrap_or_default().as_bytes() == password
}

/// What becomes of passwords.
fn settle(mut hashes: Vec<String>, steps: Vec<PasswordStep>) -> Vec<String> {
    let mut lines = Vec::new();
    for step in steps {
        match step {
            PasswordStep::Clear => hashes.clear(),
            PasswordStep::AddHash(hash) => hashes.push(hash),
            PasswordStep::RemoveHash(hash) => hashes.retain(|known| *known != hash),
            PasswordStep::Add(password) => {
                lines.push(format!("{PASSWORD_HASH}{}", String::from_utf8_lossy(&password)));
                hashes.extend(lines.last().cloned());
            }
            PasswordStep::Remove(password) => {
                let at = hashes.iter().position(|hash| is_hash_of(hash, &password));
                lines.push(at.map_or(String::new(), |at| hashes.remove(at)));
            }
        }
    }
    lines
}
