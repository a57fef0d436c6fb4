//! Commands that finish later: they ask other shards, or the process, or wait for a time.
//!
//! A command says what it needs with one of the `ask_...` methods and answers `Flow::Later`. If all it needs is here,
//! it is finished at once; else a hole is left in the connection's output, commands behind it wait, and the answers
//! find the hole by its number. What finishes a command may ask again, in the same way.

use super::interact::Statement;
use super::plan::Exec;
use super::{Machine, ScriptRun, Transaction};
use crate::answer::Progress;
use crate::command::{Call, Flow};
use crate::error::Stop;
use crate::event::{ConnId, Effect, HostAsk, Ticket};
use crate::parcel::{Answer, Ask, Message, RequestId};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::session::{Durability, ReplyMode, Session, Stall};
use crate::tx::Work;
use cairn_storage::units::{ShardId, TxnId};
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// What finishes a command when the answers of the shards it asked are in, in the order of shards.
pub type Merge = Box<dyn FnOnce(&mut Machine, ConnId, Vec<Answer>, &mut Reply<'_>) + Send>;

/// What finishes a command when the process around the shards has answered.
pub type HostThen = Box<dyn FnOnce(&mut Machine, ConnId, Result<String, String>, &mut Reply<'_>) + Send>;

/// What a command needs to finish.
pub(super) enum Deferred {
    Shards {
        shards: Vec<ShardId>,
        ask: Ask,
        merge: Merge,
    },
    Host {
        ask: HostAsk,
        then: HostThen,
    },
    Time {
        ns: u64,
        then: HostThen,
    },
    /// Another shard runs it.
    Transaction {
        shard: ShardId,
        transaction: Transaction,
    },
    Script {
        shard: ShardId,
        run: Box<ScriptRun>,
    },
    /// Several shards do.
    Wide(Box<ScriptRun>),
    /// Several shards do.
    Exec {
        txn: TxnId,
        exec: Box<Exec>,
    },
    /// A transaction begins that only reads: it waits for its cut.
    Cut(TxnId),
}

/// A place in a connection's output. The client's number tells it from a later user of the connection's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct HoleId {
    pub client: u64,
    pub conn: u32,
    pub hole: u64,
}

impl From<RequestId> for HoleId {
    fn from(request: RequestId) -> HoleId {
        HoleId { client: request.client, conn: request.conn, hole: request.hole }
    }
}

/// Answers that are being gathered.
pub(super) struct Gathering {
    answers: Vec<Option<Answer>>,
    merge: Merge,
}

/// Everything that commands wait for.
#[derive(Default)]
pub(super) struct Pending {
    /// What the running command has just said that it needs.
    pub deferred: Option<Deferred>,
    gatherings: HashMap<HoleId, Gathering>,
    /// By ticket.
    hosts: HashMap<u64, (HoleId, HostThen)>,
    /// The same of scripts over several shards.
    hosts_of_wides: HashMap<u64, TxnId>,
    ticket_last: u64,
    timers: Vec<(u64, HoleId, HostThen)>,
    /// Commands that run on several shards at once (see `remote`).
    pub spreads: HashMap<HoleId, super::remote::Spreading>,
    /// Transactions over several shards that this core coordinates, and those that have not begun to.
    pub execs: HashMap<TxnId, Box<Exec>>,
    /// Transactions that clients of this core go on with; what their shards work on; and what this one is to.
    pub opens: BTreeMap<TxnId, ConnId>,
    pub statements: BTreeMap<TxnId, Statement>,
    pub works: Vec<(TxnId, Box<Work>)>,
    pub begun: Vec<TxnId>,
    /// So many that begin lock shard by shard, since one that did not has met others.
    pub tries_skipped: u32,
    /// Scripts over several shards: under way, those that can go on, and those that have no name yet.
    pub wides: BTreeMap<TxnId, Box<super::wide::Wide>>,
    pub wides_ready: Vec<TxnId>,
    pub wides_new: Vec<(HoleId, Box<ScriptRun>)>,
    /// Connections whose holes were filled, while these are gathered.
    filled: Option<Vec<ConnId>>,
}

impl Machine {
    /// Asks every shard (this one too) and finishes the command with `merge`.
    pub fn ask_all(&mut self, _conn: ConnId, ask: Ask, merge: Merge) -> Result<Flow, Stop> {
        let shards = (0..self.identity.shards).map(ShardId).collect();
        self.pending.deferred = Some(Deferred::Shards { shards, ask, merge });
        Ok(Flow::Later)
    }

    /// Asks every other shard.
    pub fn ask_others(&mut self, ask: Ask, merge: Merge) {
        let others = (0..self.identity.shards).map(ShardId).filter(|shard| *shard != self.identity.shard).collect();
        self.pending.deferred = Some(Deferred::Shards { shards: others, ask, merge });
    }

    /// Asks one shard.
    pub fn ask_one(&mut self, _conn: ConnId, shard: ShardId, ask: Ask, merge: Merge) -> Result<Flow, Stop> {
        self.pending.deferred = Some(Deferred::Shards { shards: vec![shard], ask, merge });
        Ok(Flow::Later)
    }

    /// Has the process do something and finishes the command with `then`.
    pub fn ask_host(&mut self, _conn: ConnId, ask: HostAsk, then: HostThen) -> Result<Flow, Stop> {
        self.pending.deferred = Some(Deferred::Host { ask, then });
        Ok(Flow::Later)
    }

    /// Finishes the command with `then` after `ns` nanoseconds, to the precision of a tick. It is given `Ok("")`.
    pub fn reply_after(&mut self, _conn: ConnId, ns: u64, then: HostThen) -> Result<Flow, Stop> {
        self.pending.deferred = Some(Deferred::Time { ns, then });
        Ok(Flow::Later)
    }

    /// Begins what the command needs. `out` is the connection's output so far.
    pub(super) fn start_deferred(&mut self, conn: ConnId, deferred: Deferred, call: &Call<'_>, out: &mut Replies) {
        match deferred {
            Deferred::Shards { shards, ask, merge } => {
                // Whatever this shard can answer at once needs no hole.
                let is_own = shards.iter().all(|shard| *shard == self.identity.shard)
                    && !matches!(ask, Ask::Save | Ask::AclChange(_));
                // What is long has its own place.
                let mut progress = Progress { rows_max: Some(self.settings.slice_items), ..Progress::default() };
                if is_own && let Ok(answer) = self.answer(&ask, &mut progress) {
                    merge(self, conn, vec![answer], &mut Reply::new(out, call.is_resp3));
                    if let Some(next) = self.pending.deferred.take() {
                        self.start_deferred(conn, next, call, out);
                    }
                    return;
                }
                let hole = self.open_hole(conn, out, true, 0);
                self.ask_for(hole, Deferred::Shards { shards, ask, merge });
            }
            Deferred::Host { .. } => {
                let hole = self.open_hole(conn, out, true, 0);
                self.ask_for(hole, deferred);
            }
            Deferred::Transaction { shard, transaction } => {
                let hole = self.open_hole(conn, out, false, transaction.multi.bytes());
                let request = self.request(hole, 0);
                self.outbox[usize::from(shard.0)].messages.push(Message::Transaction { request, transaction });
            }
            Deferred::Script { shard, run } => {
                let hole = self.open_hole(conn, out, true, run.bytes.len());
                let request = self.request(hole, 0);
                self.outbox[usize::from(shard.0)].messages.push(Message::Script { request, run });
            }
            Deferred::Wide(run) => {
                let hole = self.open_hole(conn, out, true, run.bytes.len());
                // Not before the turn's end: its connection's output is in use.
                self.pending.wides_new.push((hole, run));
            }
            Deferred::Exec { txn, exec } => {
                let hole = self.open_hole(conn, out, true, exec.bytes());
                self.begin_exec(txn, hole, exec);
            }
            Deferred::Cut(txn) => {
                let hole = self.open_hole(conn, out, true, 0);
                self.want_cut(txn, hole);
            }
            Deferred::Time { ns, then } => {
                let hole = self.open_hole(conn, out, true, 0);
                self.pending.timers.push((self.now.mono_ns + ns, hole, then));
            }
        }
    }

    /// Tells all other shards something. What is written behind `out` waits until they know it.
    pub(super) fn inform_others(&mut self, conn: ConnId, ask: &Ask, out: Option<&Replies>) {
        let own = self.identity.shard;
        // No connection has that id, so that the answers find nobody.
        let mut request = RequestId { client: 0, conn: u32::MAX, hole: 0, part: 0, is_early: false };
        if let Some(out) = out {
            let hole = self.open_hole(conn, out, true, 0);
            request = self.request(hole, 0);
            let answers = (1..self.identity.shards).map(|_| None).collect();
            self.pending.gatherings.insert(hole, Gathering { answers, merge: Box::new(|_, _, _, _| {}) });
        }
        for shard in (0..self.identity.shards).filter(|shard| *shard != own.0) {
            let message = Message::Ask { request, ask: Box::new(ask.clone()) };
            self.outbox[usize::from(shard)].messages.push(message);
            request.part += 1;
        }
    }

    /// Asks shards or the process on behalf of a command that has its hole.
    fn ask_for(&mut self, hole: HoleId, deferred: Deferred) {
        match deferred {
            Deferred::Shards { shards, ask, merge } => {
                let answers = shards.iter().map(|_| None).collect();
                self.pending.gatherings.insert(hole, Gathering { answers, merge });
                for (part, shard) in shards.into_iter().enumerate() {
                    let request = self.request(hole, part as u32);
                    if shard == self.identity.shard {
                        self.answer_later(shard, request, &ask, Progress::default());
                    } else {
                        let message = Message::Ask { request, ask: Box::new(ask.clone()) };
                        self.outbox[usize::from(shard.0)].messages.push(message);
                    }
                }
            }
            Deferred::Host { ask, then } => {
                self.pending.ticket_last += 1;
                self.pending.hosts.insert(self.pending.ticket_last, (hole, then));
                self.effect(Effect::HostAsk { ticket: Ticket(self.pending.ticket_last), ask });
            }
            _ => unreachable!("what has asked once asks shards or the process"),
        }
    }

    /// Has the process do something for a script over several shards.
    pub(super) fn ask_host_for(&mut self, txn: TxnId, ask: HostAsk) {
        self.pending.ticket_last += 1;
        self.pending.hosts_of_wides.insert(self.pending.ticket_last, txn);
        self.effect(Effect::HostAsk { ticket: Ticket(self.pending.ticket_last), ask });
    }

    /// What is asked of another shard, or done for it, so that a hole can be filled.
    pub(super) fn request(&self, hole: HoleId, part: u32) -> RequestId {
        let HoleId { client, conn, hole } = hole;
        let session = self.sessions.get(conn as usize).and_then(Option::as_deref);
        let is_early = session.is_some_and(|session| session.client.durability == Durability::Memory);
        RequestId { client, conn, hole, part, is_early }
    }

    /// Leaves a hole behind what is written, for the reply to a request of which other shards get so many bytes.
    pub(super) fn open_hole(&mut self, conn: ConnId, out: &Replies, is_barrier: bool, asked_bytes: usize) -> HoleId {
        let session = self.session_mut(conn);
        let is_silent = session.client.reply_mode != ReplyMode::On;
        let hole = session.output.open_hole(out, is_barrier, is_silent, asked_bytes);
        HoleId { client: session.client.id, conn: conn.0, hole }
    }

    /// The same for the replies to so many requests, which come together.
    pub(super) fn open_holes(&mut self, conn: ConnId, out: &Replies, requests: u64, asked_bytes: usize) -> HoleId {
        let hole = self.open_hole(conn, out, false, asked_bytes);
        self.session_mut(conn).output.skip_holes(requests - 1);
        hole
    }

    /// An answer of a shard is in.
    pub(super) fn on_answer(&mut self, request: RequestId, answer: Answer) {
        let hole = HoleId::from(request);
        let Some(gathering) = self.pending.gatherings.get_mut(&hole) else {
            // The client is gone.
            if let Answer::Watched(watched) = answer {
                self.forget_watched(watched);
            }
            return;
        };
        gathering.answers[request.part as usize] = Some(answer);
        if gathering.answers.iter().any(Option::is_none) {
            return;
        }
        let Gathering { answers, merge } = self.pending.gatherings.remove(&hole).expect("it was just there");
        let answers = answers.into_iter().flatten().collect();
        self.finish(hole, |machine, conn, reply| merge(machine, conn, answers, reply));
    }

    pub(super) fn on_host_answer(&mut self, ticket: Ticket, result: Result<String, String>) {
        if let Some(txn) = self.pending.hosts_of_wides.remove(&ticket.0) {
            return self.on_wide_told(txn, result);
        }
        let Some((hole, then)) = self.pending.hosts.remove(&ticket.0) else { return };
        self.finish(hole, |machine, conn, reply| then(machine, conn, result, reply));
    }

    pub(super) fn fire_timers(&mut self) {
        let now_ns = self.now.mono_ns;
        let due = self.pending.timers.extract_if(.., |(at_ns, ..)| *at_ns <= now_ns).collect::<Vec<_>>();
        for (_, hole, then) in due {
            self.finish(hole, |machine, conn, reply| then(machine, conn, Ok(String::new()), reply));
        }
    }

    /// Ends the waiting of a client's timed command before its time (CLIENT UNBLOCK). Whether it waited.
    pub fn finish_timer(&mut self, client: u64, result: Result<String, String>) -> bool {
        let Some(index) = self.pending.timers.iter().position(|(_, hole, _)| hole.client == client) else {
            return false;
        };
        let (_, hole, then) = self.pending.timers.swap_remove(index);
        self.finish(hole, |machine, conn, reply| then(machine, conn, result, reply));
        true
    }

    /// Clients whose command waits: for a time, for a key, or for the end of CLIENT PAUSE.
    pub fn blocked_clients(&self) -> usize {
        let is_paused = |session: &&Session| session.stall == Some(Stall::Paused);
        let paused = self.sessions.iter().flatten().map(Box::as_ref).filter(is_paused).count();
        self.pending.timers.len() + self.waiters() + paused
    }

    /// Those of them whose wait ends by a time.
    pub fn timed_clients(&self) -> usize {
        self.pending.timers.len() + self.timed_waiters()
    }

    /// Writes the reply that a hole waits for, unless its client is gone.
    fn finish(&mut self, hole: HoleId, write: impl FnOnce(&mut Machine, ConnId, &mut Reply<'_>)) {
        let conn = ConnId(hole.conn);
        let Some(session) = self.find_session(conn).filter(|session| session.client.id == hole.client) else { return };
        let is_resp3 = session.client.is_resp3;
        let mut out = Replies::default();
        write(self, conn, &mut Reply::new(&mut out, is_resp3));
        if let Some(next) = self.pending.deferred.take() {
            // Its command has more to ask.
            return self.ask_for(hole, next);
        }
        if let Some(line) = out.bytes().strip_prefix(b"-") {
            let code = line.split(|byte| matches!(byte, b' ' | b'\r')).next().unwrap_or_default();
            self.stats.on_error(&String::from_utf8_lossy(code));
        }
        self.fill_hole(hole, out);
    }

    /// Fills a hole, unless its client is gone, and goes on with the connection.
    pub(super) fn fill_hole(&mut self, hole: HoleId, reply: Replies) {
        if super::hot::is_own(hole) {
            return self.on_split_exec(hole.hole, &reply);
        }
        let conn = ConnId(hole.conn);
        let Some(session) = self.find_session(conn).filter(|session| session.client.id == hole.client) else { return };
        session.output.fill_hole(hole.hole, reply);
        match &mut self.pending.filled {
            Some(filled) if filled.last() == Some(&conn) => {}
            Some(filled) => filled.push(conn),
            None => {
                self.wake(conn);
                self.after_run(conn);
            }
        }
    }

    /// From now on connections whose holes are filled go on when [`Machine::go_on_filled`] says so: many replies come at once.
    pub(super) fn gather_filled(&mut self) {
        self.pending.filled.get_or_insert_default();
    }

    pub(super) fn go_on_filled(&mut self) {
        for conn in self.pending.filled.take().into_iter().flatten() {
            self.wake(conn);
            self.after_run(conn);
        }
    }

    /// A gone client's answers are not waited for.
    pub(super) fn forget_pending(&mut self, client: u64) {
        self.pending.gatherings.retain(|hole, _| hole.client != client);
        self.pending.hosts.retain(|_, (hole, _)| hole.client != client);
        self.pending.timers.retain(|(_, hole, _)| hole.client != client);
        self.pending.spreads.retain(|hole, _| hole.client != client);
        self.forget_waits_of(client);
    }
}
