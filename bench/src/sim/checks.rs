//! What must be true, and the bookkeeping that tells: every command is run on the reference model when the machine runs
//! it, so each reply is known before it leaves, and with it the steps that the client is told of.
//!
//! - Replies come in the order of requests, byte for byte those of the model.
//! - What a reply tells of survives every crash after it (see [`crate::history`]): what was written, and what was read.
//! - A shard whose log cannot be written refuses writes, with MISCONF.
//! - LASTSAVE is the time of the newest checkpoint that every shard has, or of the start if that is later. It never goes back,
//!   and behind a SAVE it is not before that, unless the clock was set back meanwhile.
//! - A walk with SCAN returns every key that was there throughout, once.

mod run;

use super::answer::{Answer, Join, Part};
use super::network::End;
use super::reply::{self, Frame};
use super::scan::{self, Walk};
use super::tasks::Task;
use crate::history::History;
use crate::model::{Change, Row, Rows};
use cairn_core::command::Flags;
use cairn_core::command::table;
use cairn_core::event::ConnId;
use cairn_core::machine::{Deed, Machine, Noted};
use cairn_core::parcel::{Ask, RequestId};
use cairn_core::route::SLOTS;
use cairn_storage::log::LogState;
use cairn_storage::pagefile::FileState;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What was found; or which check is broken: its name, and what was seen.
pub type Checked<T = ()> = Result<T, String>;
/// A request, the name first.
pub type Args = Vec<Vec<u8>>;

/// The names of checks, as failures show them.
pub const REPLIES: &str = "replies are the model's, in order";
pub const ONE_REPLY: &str = "one reply a request";
pub const LASTSAVE: &str = "LASTSAVE is that of the newest checkpoint of all";
pub const SCAN: &str = "SCAN is exact";
pub const READ_ONLY: &str = "a failed log acknowledges nothing and refuses writes";
pub const LIVENESS: &str = "every request is answered";
pub const RECOVERY: &str = "recovery refuses damage and nothing else";
pub const BOUNDS: &str = "every queue is bounded";
pub const STRUCTURE: &str = "trees are sound";

/// To the model all pauses are one: commands wait, and are then run as ever.
const PAUSE: Ask = Ask::ClientPause { until_unix_ms: 0, writes_only: false };

/// A page could not be read, or was not what was written. Nothing has changed.
const UNUSABLE: &[u8] = b"-ERR the page file ";

/// The page file takes nothing, and memory is full of what ought to go there.
const STUCK: &[u8] = b"-MISCONF The page file cannot be written";

/// A checkpoint that SAVE has waited for came to nothing.
const SAVE_FAILED: &[u8] = b"-ERR the checkpoint failed";

const MISCONF: &[u8] = b"-MISCONF Errors writing to the AOF file: ";

/// All shards and all connections.
#[derive(Default)]
pub struct Checks {
    shards: Vec<Shard>,
    /// By CLIENT ID.
    clients: BTreeMap<u64, Client>,
    hash_seed: u64,
    /// Commands that were run.
    pub commands: u64,
    /// Of these, refused because a page could not be had.
    pub unusable: u64,
    /// Of these, refused because memory was full of what the page file did not take.
    pub stuck: u64,
    /// SAVEs that were answered with OK, and those that were refused; LASTSAVEs that told of a checkpoint.
    pub saves: u64,
    pub saves_failed: u64,
    pub lastsaves: u64,
    /// How often the clock was set.
    jumps: u64,
}

#[derive(Default)]
struct Shard {
    rows: Rows,
    history: History,
    /// Commands that the machine has refused before they began.
    rejected: u64,
    has_failed: bool,
    /// Of its page file: the newest durable checkpoint; whether a write has found no room, or failed.
    durable: u32,
    /// When it began; and when the machine was started.
    saved_us: u64,
    started_us: u64,
    is_page_file_bad: bool,
    /// Commands of connections that its slow log has had.
    recorded: u64,
    /// What it was given to do and has not done, by client, hole and part.
    tasks: BTreeMap<(u64, u64, u32), (Work, Live)>,
}

/// Of a SCAN that is answered little by little: keys that were there meanwhile.
type Live = BTreeSet<Vec<u8>>;

/// What a shard does for a client of this or another one.
enum Work {
    Run(u8, Args),
    Ask(Ask),
    /// SAVE, asked for when this was the newest durable checkpoint.
    Save(u32),
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
    partial: Vec<u8>,
    walk: Option<Walk>,
    /// No LASTSAVE that it sends from now on is answered with an earlier time.
    saved_s: i64,
    /// For each SAVE under way: when it was run, and how often the clock had been set.
    saving: VecDeque<(i64, u64)>,
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
    /// What it did besides.
    pub deeds: Vec<Noted>,
}

/// What a machine has done of a command before it was noted.
#[derive(Clone, Copy)]
struct Own<'a> {
    /// The shard's own parts; and whether each was refused because a page cannot be had.
    deeds: &'a [(Deed, bool)],
    /// The command itself was.
    is_unusable: bool,
}

/// The state of the machine that commands have just met.
#[derive(Clone, Copy)]
struct Met {
    shard: usize,
    now_ms: u64,
    accepts_writes: bool,
    has_pages: bool,
}

impl Checks {
    pub fn new(shards: usize, hash_seed: u64) -> Checks {
        let shards = (0..shards).map(|_| Shard::default()).collect();
        Checks { shards, hash_seed, ..Checks::default() }
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
            partial: Vec::new(),
            walk: None,
            saved_s: 0,
            saving: VecDeque::new(),
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
        let has_pages = machine.shard.engine().page_file().is_some();
        let met = Met { shard, now_ms: machine.now.unix_ms(), accepts_writes: log.accepts_writes(), has_pages };
        self.shards[shard].started_us = machine.identity.started.unix_us;
        self.shards[shard].has_failed |= matches!(log.state(), LogState::Failed(_));
        if let Some(file) = machine.shard.engine().page_file() {
            self.shards[shard].durable = file.durable().generation;
            self.shards[shard].saved_us = file.durable().unix_us;
            self.shards[shard].is_page_file_bad |= file.state() != FileState::Open || machine.damages() > 0;
        }
        let rejected: u64 = if met.accepts_writes {
            self.shards[shard].rejected
        } else {
            machine.stats.commands().iter().map(|command| command.rejected).sum()
        };
        let mut refused = rejected - std::mem::replace(&mut self.shards[shard].rejected, rejected);
        let recorded = machine.slowlog.recorded();
        let first = std::mem::replace(&mut self.shards[shard].recorded, recorded);
        let entries = machine.slowlog.latest((recorded - first) as usize);
        let mut deeds = heard.deeds.into_iter().peekable();
        for (at, entry) in (first..).zip(entries.iter().rev()) {
            let found = self.clients.iter().find(|(_, client)| client.addr == entry.addr).map(|(id, _)| *id);
            let id = found.ok_or_else(|| format!("{ONE_REPLY}: {} ran a command and is not connected", entry.addr))?;
            let mut own = Vec::new();
            let mut is_unusable = false;
            while let Some(Noted { deed, .. }) = deeds.next_if(|noted| noted.after <= at) {
                if deed == Deed::Unusable {
                    is_unusable = true;
                } else if self.is_first_part(met, id, deed) {
                    own.push((deed, std::mem::take(&mut is_unusable)));
                } else {
                    self.do_deed(met, deed, std::mem::take(&mut is_unusable))?;
                }
            }
            self.run_waiting(met, id, Own { deeds: &own, is_unusable }, &mut refused)?;
        }
        let mut is_unusable = false;
        for Noted { deed, .. } in deeds {
            if deed == Deed::Unusable {
                is_unusable = true;
            } else {
                self.do_deed(met, deed, std::mem::take(&mut is_unusable))?;
            }
        }
        self.attribute(met, heard.only, refused)
    }

    /// Whether the deed is the shard's own part of a command that it is just beginning.
    fn is_first_part(&self, met: Met, id: u64, deed: Deed) -> bool {
        let Some((from, request)) = asked(deed) else { return false };
        let is_known = self.shards[met.shard].tasks.contains_key(&place(request));
        from == met.shard && request.client == id && !is_known
    }

    /// Something was done that is no command of a connection.
    fn do_deed(&mut self, met: Met, deed: Deed, is_unusable: bool) -> Checked {
        let request = match deed {
            Deed::Expired { rows } => return self.expire(met, rows),
            Deed::FieldExpired { db, head, place } => return self.expire_field(met, db, head, Some(place)),
            Deed::HashExpired { db, head } => return self.expire_field(met, db, head, None),
            Deed::Parked { request, .. } => {
                let Shard { rows, tasks, .. } = &mut self.shards[met.shard];
                if let Some((Work::Ask(Ask::Scan { db, .. }), live)) = tasks.get_mut(&place(request)) {
                    live.extend(live_keys(rows, met.now_ms, *db));
                }
                return Ok(());
            }
            Deed::Ran { request, .. } | Deed::Answered { request, .. } => request,
            Deed::Unusable => unreachable!("it was said of another deed"),
        };
        let Some((work, live)) = self.shards[met.shard].tasks.remove(&place(request)) else {
            return Err(format!("{ONE_REPLY}: shard {} does what it was not told: {request:?}", met.shard));
        };
        let mut part = match work {
            _ if is_unusable => Part::plain(UNUSABLE),
            Work::Run(db, args) => self.run_row(met, db, &args, true),
            Work::Ask(ask) => self.answer(met, &ask),
            Work::Save(before) => self.save(met, before)?,
        };
        part.live.extend(live);
        self.fill(request.client, request.hole, request.part, part);
        Ok(())
    }

    /// The machine is given these tasks.
    pub fn expect(&mut self, shard: usize, tasks: Vec<Task>) {
        for task in tasks {
            let (place, work) = match task {
                Task::Run { client, hole, part, db, args } => ((client, hole, part), Work::Run(db, args)),
                Task::Ask { client, hole, part, ask: Ask::Save } => {
                    ((client, hole, part), Work::Save(self.shards[shard].durable))
                }
                Task::Ask { client, hole, part, ask } => ((client, hole, part), Work::Ask(ask)),
            };
            self.shards[shard].tasks.insert(place, (work, BTreeSet::new()));
        }
    }

    /// A client has run a command, of which `own` are the shard's own parts. Writes in front were refused, if writes are.
    fn run_waiting(&mut self, met: Met, id: u64, own: Own<'_>, refused: &mut u64) -> Checked {
        loop {
            let client = self.clients.get_mut(&id).expect("it is connected");
            let Some(args) = client.waiting.pop_front() else {
                return Err(format!("{ONE_REPLY}: client {id} has run a command that it did not send"));
            };
            if met.accepts_writes || !is_write(&args) {
                return self.execute(met, id, args, own);
            }
            self.refuse(id, args, refused)?;
        }
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
        if self.is_unusable(answer, frame) {
            self.clients.get_mut(&id).expect("it is connected").walk = None;
            *if frame.starts_with(STUCK) { &mut self.stuck } else { &mut self.unusable } += 1;
            return Ok(None);
        }
        let Some(expect) = answer.join() else { return Err(wrong(REPLIES, "it was not run")) };
        let saved = self.compare_time(id, answer, frame);
        // The checkpoint that was running when it was asked for may be durable, and the one that it waited for not.
        if frame.starts_with(SAVE_FAILED) && answer.shards.iter().any(|at| self.shards[*at].is_page_file_bad) {
            return Ok(None);
        }
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
        saved?;
        let by = || format!("client {id}: {} -> {}", shown(&answer.args), reply::shown(frame));
        for (shard, part) in answer.shards.iter().zip(&answer.parts) {
            let step = part.as_ref().expect("it was run").step;
            self.shards[*shard].history.acknowledge(step, is_write(&answer.args), by);
        }
        Ok(cursor)
    }

    /// Whether the reply is a refusal that was expected: of a page that cannot be had, or by a page file that takes nothing.
    fn is_unusable(&self, answer: &Answer, frame: &[u8]) -> bool {
        let is_stuck = || frame.starts_with(STUCK) && answer.shards.iter().any(|at| self.shards[*at].is_page_file_bad);
        (frame.starts_with(UNUSABLE) || is_stuck()) && answer.join().is_some_and(|expect| expect.starts_with(UNUSABLE))
    }

    /// The clock was set.
    pub fn clock_set(&mut self) {
        self.jumps += 1;
    }

    /// What LASTSAVE and SAVE say of time, in the order in which one client is told.
    fn compare_time(&mut self, id: u64, answer: &Answer, frame: &[u8]) -> Checked {
        let client = self.clients.get_mut(&id).expect("it is connected");
        if answer.args[0].eq_ignore_ascii_case(b"save") {
            let (asked_s, jumps) = client.saving.pop_front().expect("it was run");
            if frame == b"+OK\r\n" && jumps == self.jumps && self.shards[client.shard].durable > 0 {
                client.saved_s = client.saved_s.max(asked_s);
            }
        }
        let Some(Frame::Integer(saved_s)) = reply::parse(frame) else { return Ok(()) };
        if answer.args[0].eq_ignore_ascii_case(b"lastsave") {
            let least = std::mem::replace(&mut client.saved_s, saved_s);
            if saved_s < least {
                return Err(format!("{LASTSAVE}: client {id} is told {saved_s} and knows of {least}"));
            }
            self.lastsaves += u64::from(self.shards.iter().all(|shard| shard.saved_us > 0));
        }
        Ok(())
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
        (state.rows, state.rejected, state.has_failed, state.recorded) = (survivors, 0, false, 0);
        state.is_page_file_bad = false;
        state.tasks.clear();
        Ok(kept)
    }

    fn owner(&self, slot: u16) -> usize {
        usize::from(slot) * self.shards.len() / usize::from(SLOTS)
    }
}

/// For whom something was done.
fn asked(deed: Deed) -> Option<(usize, RequestId)> {
    match deed {
        Deed::Ran { from, request } | Deed::Answered { from, request } | Deed::Parked { from, request } => {
            Some((usize::from(from.0), request))
        }
        Deed::Expired { .. } | Deed::FieldExpired { .. } | Deed::HashExpired { .. } | Deed::Unusable => None,
    }
}

fn place(request: RequestId) -> (u64, u64, u32) {
    (request.client, request.hole, request.part)
}

fn live_keys(rows: &Rows, now_ms: u64, db: u8) -> impl Iterator<Item = Vec<u8>> {
    let live = move |row: &Row| row.expire_ms == 0 || row.expire_ms >= now_ms;
    rows.iter(db).filter(move |(_, row)| live(row)).map(|(key, _)| key.to_vec())
}

fn note(clients: &mut BTreeMap<u64, Client>, step: &[Change]) {
    clients.values_mut().filter_map(|client| client.walk.as_mut()).for_each(|walk| walk.note(step));
}

/// Whether a command may change rows.
pub fn is_write(args: &Args) -> bool {
    // A name that has commands below it says nothing of them.
    args[0] == b"XGROUP" || table::find(&args[0]).is_some_and(|spec| spec.flags.has(Flags::WRITE))
}

/// Where a command's keys stand.
pub fn keys(args: &Args) -> Vec<usize> {
    match args[0].as_slice() {
        b"XGROUP" => vec![2],
        b"XREADGROUP" => vec![7],
        // Its sources follow their number.
        b"ZUNIONSTORE" => (1..args.len()).filter(|at| *at != 2).collect(),
        name => table::find(name).map_or_else(Vec::new, |spec| spec.keys.positions(args.len()).collect()),
    }
}

/// A request for people.
pub fn shown(args: &Args) -> String {
    let words = args.iter().map(|arg| {
        let head = String::from_utf8_lossy(&arg[..arg.len().min(24)]);
        if arg.len() > 24 { format!("{head}...({})", arg.len()) } else { head.into_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}
