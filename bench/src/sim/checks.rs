//! What must be true, and the bookkeeping that tells: every command is run on the reference model when the machine runs
//! it, so each reply is known before it leaves, and with it the steps that the client is told of.
//!
//! - Replies come in the order of requests, byte for byte those of the model.
//! - What a reply tells of survives every crash after it (see [`crate::history`]): what was written, and what was read.
//! - A shard whose log cannot be written refuses writes, with MISCONF.
//! - A walk with SCAN returns every key that was there throughout, once.

use super::answer::{Answer, Join, Part};
use super::network::End;
use super::reply;
use super::scan::{self, Walk};
use super::tasks::Task;
use crate::history::History;
use crate::model::{self, Change, DATABASES, Rows};
use cairn_core::command::Flags;
use cairn_core::command::table;
use cairn_core::event::ConnId;
use cairn_core::machine::Machine;
use cairn_core::parcel::Ask;
use cairn_core::route::{self, CURSOR_DROPPED_BITS, SLOTS};
use cairn_storage::log::LogState;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub type Checked<T = ()> = Result<T, String>;
pub type Args = Vec<Vec<u8>>;

/// The names of checks, as failures show them.
pub const REPLIES: &str = "replies are the model's, in order";
pub const ONE_REPLY: &str = "one reply a request";
pub const SCAN: &str = "SCAN is exact";
pub const READ_ONLY: &str = "a failed log acknowledges nothing and refuses writes";
pub const LIVENESS: &str = "every request is answered";
pub const RECOVERY: &str = "recovery refuses damage and nothing else";
pub const BOUNDS: &str = "every queue is bounded";
pub const STRUCTURE: &str = "trees are sound";

/// To the model all pauses are one: commands wait, and are then run as ever.
const PAUSE: Ask = Ask::ClientPause { until_unix_ms: 0, writes_only: false };

const MISCONF: &[u8] = b"-MISCONF Errors writing to the AOF file: ";

/// All shards and all connections.
pub struct Checks {
    shards: Vec<Shard>,
    /// By CLIENT ID.
    clients: BTreeMap<u64, Client>,
    hash_seed: u64,
    /// Commands that were run.
    pub commands: u64,
}

#[derive(Default)]
struct Shard {
    rows: Rows,
    history: History,
    /// Commands that the machine has refused before they began.
    rejected: u64,
    has_failed: bool,
    /// Clients were made to wait, and some may still do so.
    is_paused: bool,
}

struct Client {
    shard: usize,
    conn: ConnId,
    addr: String,
    db: u8,
    /// Sent, not yet run.
    waiting: VecDeque<Args>,
    /// Run, not yet answered.
    answers: VecDeque<Answer>,
    holes: u64,
    /// Commands that were seen to run.
    counted: u64,
    partial: Vec<u8>,
    walk: Option<Walk>,
}

/// What a send has brought to its client.
#[derive(Debug, Default)]
pub struct Sent {
    pub replies: usize,
    /// The cursor that a SCAN has answered; 0 if it is over, or was refused.
    pub cursor: Option<u64>,
}

/// What a machine was told.
#[derive(Default)]
pub struct Heard {
    /// An event of this client's connection: nobody else goes on.
    pub only: Option<u64>,
    /// Those of the parcels that it has opened. At a turn's end it opens them after all else.
    pub tasks: Vec<Task>,
    pub is_turn_end: bool,
}

/// The state of the machine that commands have just met.
#[derive(Clone, Copy)]
struct Met {
    shard: usize,
    now_ms: u64,
    accepts_writes: bool,
}

impl Checks {
    pub fn new(shards: usize, hash_seed: u64) -> Checks {
        let shards = (0..shards).map(|_| Shard::default()).collect();
        Checks { shards, clients: BTreeMap::new(), hash_seed, commands: 0 }
    }

    pub fn accept(&mut self, id: u64, shard: usize, conn: ConnId, addr: String) {
        let client = Client {
            shard,
            conn,
            addr,
            db: 0,
            waiting: VecDeque::new(),
            answers: VecDeque::new(),
            holes: 0,
            counted: 0,
            partial: Vec::new(),
            walk: None,
        };
        self.clients.insert(id, client);
    }

    /// The client has sent a request, or will have.
    pub fn request(&mut self, id: u64, args: Args) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.waiting.push_back(args);
        }
    }

    /// The machine has closed the connection. It has no reason to while the client is there, and of a client that has
    /// only ended its own side, all that was asked must be answered first. But for a log that has failed.
    pub fn close(&mut self, id: u64, end: End) -> Checked {
        let Some(client) = self.clients.remove(&id) else { return Ok(()) };
        if end == End::Broken || self.shards[client.shard].has_failed {
            return Ok(());
        }
        let left = client.waiting.front().or(client.answers.front().map(|answer| &answer.args));
        match left {
            Some(args) => Err(format!("{ONE_REPLY}: client {id} was closed without an answer to {}", shown(args))),
            None if end == End::Open => Err(format!("{ONE_REPLY}: client {id} was closed for no reason")),
            None => Ok(()),
        }
    }

    /// Requests without an answer.
    pub fn unanswered(&self) -> Option<(u64, &Args)> {
        self.clients.iter().find_map(|(id, client)| {
            let args = client.waiting.front().or(client.answers.front().map(|answer| &answer.args))?;
            Some((*id, args))
        })
    }

    /// The machine has handled an event, or ended its turn. Answers connections of which it cannot be told what has become
    /// of their writes: the caller breaks them at once.
    pub fn handled(&mut self, shard: usize, machine: &Machine, heard: Heard) -> Checked<Vec<ConnId>> {
        let log = machine.shard.engine().log();
        let met = Met { shard, now_ms: machine.now.unix_ms(), accepts_writes: log.accepts_writes() };
        self.shards[shard].has_failed |= matches!(log.state(), LogState::Failed(_));
        let rejected: u64 = if met.accepts_writes {
            self.shards[shard].rejected
        } else {
            machine.stats.commands().iter().map(|command| command.rejected).sum()
        };
        let mut refused = rejected - std::mem::replace(&mut self.shards[shard].rejected, rejected);
        let mut ran = BTreeMap::new();
        for (_, client) in machine.clients() {
            let Some(known) = self.clients.get_mut(&client.id) else { continue };
            if client.commands > known.counted {
                ran.insert(client.id, client.commands - known.counted);
                known.counted = client.commands;
            }
        }
        let mut order = self.order(machine, ran)?;
        self.shards[shard].is_paused |= machine.pause.is_some();
        if !heard.is_turn_end {
            self.perform(met, &heard.tasks, &mut order, &mut refused)?;
        }
        for (id, count) in std::mem::take(&mut order) {
            self.run_waiting(met, id, count, &mut refused)?;
        }
        if heard.is_turn_end {
            self.perform(met, &heard.tasks, &mut order, &mut refused)?;
            self.shards[shard].is_paused = machine.pause.is_some();
        }
        self.attribute(met, heard.only, refused)
    }

    /// In which order clients have run how many commands. If there are several, the slow log, in which everything stands,
    /// tells.
    fn order(&self, machine: &Machine, ran: BTreeMap<u64, u64>) -> Checked<VecDeque<(u64, u64)>> {
        if ran.len() <= 1 {
            return Ok(ran.into_iter().collect());
        }
        let mut order: VecDeque<(u64, u64)> = VecDeque::new();
        let entries = machine.slowlog.latest(ran.values().sum::<u64>() as usize);
        for entry in entries.iter().rev() {
            let found = self.clients.iter().find(|(_, client)| client.addr == entry.addr).map(|(id, _)| *id);
            let id = found.ok_or_else(|| format!("{ONE_REPLY}: {} ran a command and is not connected", entry.addr))?;
            match order.back_mut() {
                Some((last, count)) if *last == id => *count += 1,
                _ => order.push_back((id, 1)),
            }
        }
        Ok(order)
    }

    /// What the parcels brought, in its order, and in between what it made clients go on with.
    fn perform(&mut self, met: Met, tasks: &[Task], order: &mut VecDeque<(u64, u64)>, refused: &mut u64) -> Checked {
        let mut wakes: BTreeMap<u64, usize> = BTreeMap::new();
        for task in tasks {
            if let Task::Wake { client } = task {
                *wakes.entry(*client).or_default() += 1;
            }
        }
        for task in tasks {
            match task {
                Task::Run { client, hole, part, db, args } => {
                    let answered = self.run_row(met, *db, args, true);
                    self.fill(*client, *hole, *part, answered);
                }
                Task::Ask { client, hole, part, ask } => {
                    let answered = self.answer(met, ask);
                    self.fill(*client, *hole, *part, answered);
                }
                Task::Wake { client } => {
                    let left = wakes.get_mut(client).expect("it was counted");
                    *left -= 1;
                    // A command that waited for answers goes on at the last one; one that waited for the end of a pause, at
                    // the first.
                    let goes_on = *left == 0 || self.shards[met.shard].is_paused;
                    while let Some((id, count)) = order.front().copied().filter(|(id, _)| goes_on && id == client) {
                        order.pop_front();
                        self.run_waiting(met, id, count, refused)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A client has run `count` commands. Writes in front of them were refused, if writes are.
    fn run_waiting(&mut self, met: Met, id: u64, mut count: u64, refused: &mut u64) -> Checked {
        while count > 0 {
            let client = self.clients.get_mut(&id).expect("it is connected");
            let Some(args) = client.waiting.pop_front() else {
                return Err(format!("{ONE_REPLY}: client {id} has run a command that it did not send"));
            };
            if !met.accepts_writes && is_write(&args) {
                self.refuse(id, args, refused)?;
            } else {
                self.execute(met, id, args);
                count -= 1;
            }
        }
        Ok(())
    }

    /// A write was refused before it began.
    fn refuse(&mut self, id: u64, args: Args, refused: &mut u64) -> Checked {
        if *refused == 0 {
            return Err(format!("{READ_ONLY}: client {id}: {} ran although the log takes no writes", shown(&args)));
        }
        *refused -= 1;
        let client = self.clients.get_mut(&id).expect("it is connected");
        let part = Part::plain(MISCONF);
        let (hole, shards) = (0, vec![client.shard]);
        client.answers.push_back(Answer { args, hole, join: Join::Only, shards, parts: vec![Some(part)] });
        Ok(())
    }

    /// The refusals that are left belong to connections which have run nothing.
    fn attribute(&mut self, met: Met, only: Option<u64>, mut refused: u64) -> Checked<Vec<ConnId>> {
        if refused == 0 {
            return Ok(Vec::new());
        }
        let writes_next = |client: &Client| client.shard == met.shard && client.waiting.front().is_some_and(is_write);
        let candidates: Vec<u64> = self
            .clients
            .iter()
            .filter(|(id, client)| only.is_none_or(|only| only == **id) && writes_next(client))
            .map(|(id, _)| *id)
            .collect();
        if let [id] = candidates[..] {
            while refused > 0 {
                let client = self.clients.get_mut(&id).expect("it is connected");
                match client.waiting.pop_front() {
                    Some(args) if is_write(&args) => self.refuse(id, args, &mut refused)?,
                    _ => return Err(format!("{READ_ONLY}: client {id}: something was refused that is not a write")),
                }
            }
            return Ok(Vec::new());
        }
        if candidates.is_empty() {
            return Err(format!("{ONE_REPLY}: a command was refused that nobody sent"));
        }
        Ok(candidates.iter().map(|id| self.clients[id].conn).collect())
    }

    /// Runs a command of a client on the model, as far as its machine does.
    fn execute(&mut self, met: Met, id: u64, args: Args) {
        self.commands += 1;
        let (name, db) = (args[0].to_ascii_lowercase(), self.clients[&id].db);
        let answer = match name.as_slice() {
            b"ping" => self.local(met, args, b"+PONG\r\n".to_vec()),
            b"select" => {
                let db = String::from_utf8_lossy(&args[1]).parse().expect("it was made here");
                self.clients.get_mut(&id).expect("it is connected").db = db;
                self.local(met, args, b"+OK\r\n".to_vec())
            }
            b"flushall" => self.ask_all(met, id, args, &Ask::Clear { db: None }, Join::Alike),
            b"flushdb" => self.ask_all(met, id, args, &Ask::Clear { db: Some(db) }, Join::Alike),
            b"client" => self.ask_all(met, id, args, &PAUSE, Join::Alike),
            b"dbsize" => self.ask_all(met, id, args, &Ask::RowCount { db }, Join::Sum),
            b"scan" => self.scan(met, id, args),
            _ => self.row(met, id, args),
        };
        self.clients.get_mut(&id).expect("it is connected").answers.push_back(answer);
    }

    fn local(&self, met: Met, args: Args, reply: Vec<u8>) -> Answer {
        let part = Part::plain(&reply);
        Answer { args, hole: 0, join: Join::Only, shards: vec![met.shard], parts: vec![Some(part)] }
    }

    fn hole(&mut self, id: u64) -> u64 {
        let client = self.clients.get_mut(&id).expect("it is connected");
        client.holes += 1;
        client.holes
    }

    fn ask_all(&mut self, met: Met, id: u64, args: Args, ask: &Ask, join: Join) -> Answer {
        let hole = if self.shards.len() > 1 { self.hole(id) } else { 0 };
        let shards: Vec<usize> = (0..self.shards.len()).collect();
        let parts = shards.iter().map(|shard| (*shard == met.shard).then(|| self.answer(met, ask))).collect();
        Answer { args, hole, join, shards, parts }
    }

    fn scan(&mut self, met: Met, id: u64, args: Args) -> Answer {
        let cursor: u64 = String::from_utf8_lossy(&args[1]).parse().expect("it was made here");
        let db = self.clients[&id].db;
        if cursor == 0 {
            let walk = Walk::new(db, self.shards.iter().map(|shard| &shard.rows));
            self.clients.get_mut(&id).expect("it is connected").walk = Some(walk);
        }
        let head = cursor.saturating_sub(1) << CURSOR_DROPPED_BITS;
        let Some(slot) = route::slot_of(head) else {
            return self.local(met, args, b"*2\r\n$1\r\n0\r\n*0\r\n".to_vec());
        };
        let shard = self.owner(slot);
        let ask = Ask::Scan { db, cursor: head, count: 0, pattern: None, kind: None };
        let is_here = shard == met.shard;
        let hole = if is_here { 0 } else { self.hole(id) };
        let parts = vec![is_here.then(|| self.answer(met, &ask))];
        Answer { args, hole, join: Join::Scan, shards: vec![shard], parts }
    }

    /// A command on rows: here, there, or on several shards.
    fn row(&mut self, met: Met, id: u64, args: Args) -> Answer {
        let keys = keys(&args);
        let owners: Vec<usize> = keys.iter().map(|at| self.owner(route::slot(&args[*at]))).collect();
        let shards: BTreeSet<usize> = owners.iter().copied().collect();
        let db = self.clients[&id].db;
        if shards.len() == 1 {
            let shard = owners[0];
            let is_here = shard == met.shard;
            let hole = if is_here { 0 } else { self.hole(id) };
            let parts = vec![is_here.then(|| self.run_row(met, db, &args, false))];
            return Answer { args, hole, join: Join::Only, shards: vec![shard], parts };
        }
        let hole = self.hole(id);
        let (mut places, mut parts) = (Vec::new(), Vec::new());
        for &shard in &shards {
            let mine: Vec<usize> = (0..owners.len()).filter(|place| owners[*place] == shard).collect();
            parts.push((shard == met.shard).then(|| {
                let mut part = vec![args[0].clone()];
                part.extend(mine.iter().map(|place| args[keys[*place]].clone()));
                self.run_row(met, db, &part, true)
            }));
            places.push(mine);
        }
        let join = if args[0].eq_ignore_ascii_case(b"mget") { Join::Places(places) } else { Join::Sum };
        Answer { args, hole, join, shards: shards.into_iter().collect(), parts }
    }

    /// Runs a command on the rows of the shard. One that comes from elsewhere may find that there are no writes now.
    fn run_row(&mut self, met: Met, db: u8, args: &Args, is_admitted_here: bool) -> Part {
        if is_admitted_here && !met.accepts_writes && is_write(args) {
            return Part::plain(MISCONF);
        }
        let shard = &mut self.shards[met.shard];
        let outcome = model::run(&mut shard.rows, met.now_ms, db, args);
        for step in outcome.steps {
            note(&mut self.clients, &step);
            shard.history.push(step);
        }
        let step = outcome.seen.iter().map(|(db, key)| shard.history.seen(*db, key)).max().unwrap_or(0);
        Part { reply: outcome.reply, step, live: BTreeSet::new() }
    }

    /// Answers a question about the whole shard.
    fn answer(&mut self, met: Met, ask: &Ask) -> Part {
        let shard = &mut self.shards[met.shard];
        let (mut reply, mut live) = (b"+OK\r\n".to_vec(), BTreeSet::new());
        match ask {
            Ask::Clear { .. } if !met.accepts_writes => return Part::plain(MISCONF),
            Ask::Clear { db } => {
                for db in db.map_or(0..DATABASES, |db| db..db + 1) {
                    let step = vec![Change::Clear { db }];
                    shard.rows.apply(&step[0]);
                    note(&mut self.clients, &step);
                    shard.history.push(step);
                }
            }
            Ask::RowCount { db } => reply = format!(":{}\r\n", shard.rows.len(*db)).into_bytes(),
            Ask::Scan { db, .. } => {
                let keys = shard.rows.iter(*db).map(|(key, _)| key.to_vec());
                live.extend(keys.filter(|key| shard.rows.live(met.now_ms, *db, key).is_some()));
            }
            // Tells nothing of any row.
            Ask::ClientPause { .. } => return Part::plain(&reply),
            other => panic!("nobody asks {other:?}"),
        }
        Part { reply, step: shard.history.last_step(), live }
    }

    fn fill(&mut self, id: u64, hole: u64, part: u32, filled: Part) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Some(answer) = client.answers.iter_mut().find(|answer| answer.hole == hole) {
            answer.parts[part as usize] = Some(filled);
        }
    }

    /// The end of a turn at which the machine removes rows past their time: all of them, in the order of their times.
    pub fn expire(&mut self, shard: usize, now_ms: u64) {
        let Shard { rows, history, .. } = &mut self.shards[shard];
        let mut due = Vec::new();
        for db in 0..DATABASES {
            for (key, row) in rows.iter(db).filter(|(_, row)| row.expire_ms != 0 && row.expire_ms < now_ms) {
                due.push((row.expire_ms, db, route::head(route::slot(key), key, self.hash_seed), key.clone()));
            }
        }
        due.sort();
        for (_, db, _, key) in due {
            let step = vec![Change::Delete { db, key }];
            rows.apply(&step[0]);
            note(&mut self.clients, &step);
            history.push(step);
        }
    }

    /// These bytes leave for a client: whatever they tell counts as acknowledged from now on.
    pub fn sent(&mut self, id: u64, bytes: &[u8]) -> Checked<Sent> {
        let client =
            self.clients.get_mut(&id).ok_or_else(|| format!("{ONE_REPLY}: client {id} is gone and gets an answer"))?;
        client.partial.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut client.partial);
        let (mut at, mut sent) = (0, Sent::default());
        while let Some(len) = reply::frame_len(&buffer[at..])? {
            let frame = &buffer[at..at + len];
            at += len;
            sent.replies += 1;
            let client = self.clients.get_mut(&id).expect("it is connected");
            let answer = client.answers.pop_front();
            let answer =
                answer.ok_or_else(|| format!("{ONE_REPLY}: client {id} gets {} for nothing", reply::shown(frame)))?;
            if answer.args[0].eq_ignore_ascii_case(b"scan") {
                sent.cursor = Some(0);
            }
            if let Some(cursor) = self.compare(id, &answer, frame)? {
                sent.cursor = Some(cursor);
            }
        }
        self.clients.get_mut(&id).expect("it is connected").partial = buffer[at..].to_vec();
        Ok(sent)
    }

    fn compare(&mut self, id: u64, answer: &Answer, frame: &[u8]) -> Checked<Option<u64>> {
        let home = self.clients[&id].shard;
        let wrong = |check: &str, what: &str| {
            let expect = answer.join().map_or("nothing yet".to_owned(), |expect| reply::shown(&expect));
            let (args, got) = (shown(&answer.args), reply::shown(frame));
            format!("{check}: {what}: client {id}: {args} answers {got}, expected {expect}")
        };
        if frame.starts_with(MISCONF) {
            let is_expected = answer.join().is_some_and(|expect| expect.starts_with(MISCONF));
            let has_failed = answer.shards.iter().chain([&home]).any(|shard| self.shards[*shard].has_failed);
            self.clients.get_mut(&id).expect("it is connected").walk = None;
            return if is_expected || has_failed { Ok(None) } else { Err(wrong(REPLIES, "no log has failed")) };
        }
        let Some(expect) = answer.join() else { return Err(wrong(REPLIES, "it was not run")) };
        let mut cursor = None;
        if let Join::Scan = answer.join {
            let live = &answer.parts[0].as_ref().expect("it was run").live;
            let walk = &mut self.clients.get_mut(&id).expect("it is connected").walk;
            cursor = Some(match walk {
                Some(walk) => walk.take(live, frame).map_err(|what| wrong(SCAN, &what))?,
                None => scan::parse(frame).map_err(|what| wrong(SCAN, &what))?.0,
            });
            if cursor == Some(0) {
                *walk = None;
            }
        } else if expect != frame {
            return Err(wrong(REPLIES, "another reply"));
        }
        let by = || format!("client {id}: {} -> {}", shown(&answer.args), reply::shown(frame));
        for (shard, part) in answer.shards.iter().zip(&answer.parts) {
            let step = part.as_ref().expect("it was run").step;
            self.shards[*shard].history.acknowledge(step, is_write(&answer.args), by);
        }
        Ok(cursor)
    }

    /// The machines have stopped in good order: all that was done must survive, but where a log has failed.
    pub fn stopped(&mut self) {
        for shard in self.shards.iter_mut().filter(|shard| !shard.has_failed) {
            let last = shard.history.last_step();
            shard.history.acknowledge(last, true, || "an orderly stop".to_owned());
        }
    }

    /// Everything has stopped: connections are gone.
    pub fn crash(&mut self) {
        self.clients.clear();
    }

    /// A shard has come back with these rows. How many steps more than were acknowledged.
    pub fn recover(&mut self, shard: usize, survivors: Rows) -> Checked<u64> {
        let state = &mut self.shards[shard];
        let kept = state.history.recover(&survivors).map_err(|what| format!("shard {shard}: {what}"))?;
        (state.rows, state.rejected, state.has_failed, state.is_paused) = (survivors, 0, false, false);
        Ok(kept)
    }

    fn owner(&self, slot: u16) -> usize {
        usize::from(slot) * self.shards.len() / usize::from(SLOTS)
    }
}

fn note(clients: &mut BTreeMap<u64, Client>, step: &[Change]) {
    clients.values_mut().filter_map(|client| client.walk.as_mut()).for_each(|walk| walk.note(step));
}

fn is_write(args: &Args) -> bool {
    table::find(&args[0]).is_some_and(|spec| spec.flags.has(Flags::WRITE))
}

fn keys(args: &Args) -> Vec<usize> {
    table::find(&args[0]).map_or_else(Vec::new, |spec| spec.keys.positions(args.len()).collect())
}

/// A request for people.
pub fn shown(args: &Args) -> String {
    let words = args.iter().map(|arg| {
        let head = String::from_utf8_lossy(&arg[..arg.len().min(24)]);
        if arg.len() > 24 { format!("{head}...({})", arg.len()) } else { head.into_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}
