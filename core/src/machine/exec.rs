//! EXEC and WATCH. The commands of a transaction run one after the other with nothing between them, and what they change is one
//! group of the log.
//!
//! What a command meets that is not in memory undoes what those before it have changed; all of them run again when it is here.

use super::Machine;
use super::ask::Deferred;
use super::deeds::Deed;
use super::parked::Work;
use super::release::HeldReply;
use super::run::Stay;
use super::trial::undone;
use crate::bug::Bug;
use crate::command::args::Args;
use crate::command::table::Entry;
use crate::command::{Call, Flags, Flow, Run, Spec, sort};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::limits::{DATABASES_MAX, MULTI_BYTES_MAX, SPARE_QUEUE_BYTES_MAX, SPARE_QUEUES_MAX};
use crate::parcel::{Message, RequestId};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::route;
use crate::shard::is_out_of_memory;
use crate::stats::Ended;
use crate::tx::{Command, Databases, Go, Multi, Reach, Watched};
use cairn_storage::limits::TOUCH_KEYS_MAX;
use cairn_storage::units::{Lsn, ShardId};

/// A transaction that another shard runs.
#[derive(Debug)]
pub struct Transaction {
    pub db: u8,
    pub is_resp3: bool,
    pub multi: Box<Multi>,
    pub watched: Vec<Watched>,
}

/// What serves again from one transaction to the next.
#[derive(Default)]
pub(super) struct Execs {
    /// Queues that are empty: their buffers go from shard to shard.
    #[expect(clippy::vec_box, reason = "they come and go in their boxes")]
    spares: Vec<Box<Multi>>,
    heads: Vec<u64>,
    /// Commands on no rows run at the end of a transaction over several shards.
    pub is_ending: bool,
}

/// Room for one command's reply.
const REPLY_BYTES: usize = 16;

impl Execs {
    pub fn queue(&mut self, place: u64, rolls_back: bool) -> Box<Multi> {
        let mut multi = self.spares.pop().unwrap_or_default();
        (multi.place, multi.rolls_back) = (place, rolls_back);
        multi
    }

    fn give_back(&mut self, mut multi: Box<Multi>) {
        if self.spares.len() < SPARE_QUEUES_MAX && multi.memory_bytes() <= SPARE_QUEUE_BYTES_MAX {
            multi.clear();
            self.spares.push(multi);
        }
    }
}

impl Machine {
    /// Begins to queue what a connection sends.
    pub fn begin_multi(&mut self, conn: ConnId, rolls_back: bool, out: &Replies) {
        let place = self.session(conn).output.place(out.len());
        self.client_mut(conn).multi = Some(self.execs.queue(place, rolls_back));
    }

    /// Warms the caches for the rows of transactions that come one after the other, as far as that may be. Answers how many of `rest`
    /// that were. What is absent is read.
    pub(super) fn touch_transactions(&mut self, first: &Transaction, rest: &[Message]) -> usize {
        let mut heads = std::mem::take(&mut self.execs.heads);
        heads.clear();
        heads.extend(first.multi.heads());
        let mut count = 0;
        for message in rest {
            let Message::Transaction { transaction, .. } = message else { break };
            if transaction.db != first.db || heads.len() >= TOUCH_KEYS_MAX {
                break;
            }
            heads.extend(transaction.multi.heads());
            count += 1;
        }
        let mut absent = Vec::new();
        self.shard.engine().touch(first.db, &heads, |missing| absent.push(missing));
        self.fetch_ahead(absent);
        self.execs.heads = heads;
        count
    }

    /// Queues a command behind MULTI, and says so.
    #[cold]
    pub(super) fn queue(
        &mut self,
        conn: ConnId,
        entry: Entry,
        head: u64,
        args: &Args<'_>,
        out: &mut Replies,
    ) -> Result<(), Refusal> {
        let limit = self.settings.client_query_buffer_limit.min(MULTI_BYTES_MAX);
        let is_look = entry.spec.flags.has(Flags::MAY_WRITE) && self.is_said_to_look(entry.spec, args);
        let client = self.client_mut(conn);
        let mode = client.reply_mode;
        let multi = client.multi.as_mut().expect("the caller has seen it");
        let bytes = multi.bytes() + args.iter().map(<[u8]>::len).sum::<usize>();
        let refusal = if entry.spec.flags.has(Flags::NO_MULTI) {
            Refusal::text("ERR Command not allowed inside a transaction")
        } else if multi.rolls_back && !Multi::is_undoable(entry) {
            Refusal::text(format!(
                "ERR '{}' cannot be undone, so it is not allowed in a transaction that rolls back: only commands on keys and SELECT are",
                entry.spec.name
            ))
        } else if multi.token.is_some() && !matches!(entry.spec.run, Run::Row(_)) {
            super::idempotent::not_idempotent(entry.spec)
        } else if bytes > limit {
            Refusal::text(format!(
                "ERR the commands of a transaction are longer than {limit} bytes (client-query-buffer-limit)"
            ))
        } else {
            // SELECT may come before it: the database is known when it runs.
            multi.push(entry, 0, head, args.iter());
            multi.writes -= usize::from(is_look);
            self.note_reach(conn, entry, head, args);
            let mark = out.len();
            Reply::new(out, false).simple("QUEUED");
            self.silence(conn, mode, mark, out);
            return Ok(());
        };
        multi.is_aborted = true;
        self.stats.on_rejected(entry.id);
        Err(refusal)
    }

    /// A command was refused before it ran. Between MULTI and EXEC that spoils the transaction; if it was EXEC, ends it, and says so even
    /// if there is none. COMMIT ends what BEGIN has begun.
    pub(super) fn spoil(&mut self, conn: ConnId, entry: Option<Entry>, refusal: Refusal) -> Refusal {
        if let Some(multi) = &mut self.client_mut(conn).multi {
            multi.is_aborted = true;
        }
        match entry.map_or("", |entry| entry.spec.name) {
            "exec" => {
                self.client_mut(conn).multi = None;
                self.unwatch(conn);
                discarded(&refusal.line())
            }
            "commit" if self.roll_back_open(conn) => undone(&refusal.line()),
            _ => refusal,
        }
    }

    /// EXEC.
    pub fn exec(&mut self, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
        let Some(mut multi) = self.client_mut(conn).multi.take() else {
            return Err(Refusal::text("ERR EXEC without MULTI").into());
        };
        self.session_mut(conn).output.note_lead(multi.place, reply.out);
        if multi.is_aborted {
            self.unwatch(conn);
            return Err(Refusal::text("EXECABORT Transaction discarded because of previous errors.").into());
        }
        if self.client(conn).is_restricted {
            self.check_multi(conn, &mut multi)?;
        }
        if let Some(token) = multi.token.clone() {
            return self.exec_once(conn, token, multi, call, reply);
        }
        match self.reach_of(conn, &multi) {
            // Scripts may have keys elsewhere.
            Reach::None | Reach::One(_) if !multi.is_on_rows() && self.is_any_in_steps(call, &multi) => {
                return self.exec_over(conn, call, multi);
            }
            Reach::None => {}
            Reach::One(shard) if shard == self.identity.shard => {}
            Reach::One(shard) if multi.is_on_rows() => {
                if self.is_monitored() {
                    self.show_queued(conn, call.db, &multi);
                }
                let watched = std::mem::take(&mut self.client_mut(conn).watched);
                let transaction = Transaction { db: call.db, is_resp3: call.is_resp3, multi, watched };
                self.pending.deferred = Some(Deferred::Transaction { shard, transaction });
                return Ok(Flow::Later);
            }
            _ => return self.exec_over(conn, call, multi),
        }
        let watched = std::mem::take(&mut self.client_mut(conn).watched);
        let ran = self.transact(Some(conn), call, &multi, &watched, reply.out);
        self.client_mut(conn).watched = watched;
        if ran.as_ref().is_err_and(Stop::is_passing) {
            self.client_mut(conn).multi = Some(multi);
        } else {
            self.unwatch(conn);
            if self.is_monitored() {
                self.show_queued(conn, call.db, &multi);
            }
            self.execs.give_back(multi);
        }
        ran.map(|()| Flow::Done)
    }

    /// EXEC of a transaction over several shards.
    fn exec_over(&mut self, conn: ConnId, call: &Call<'_>, multi: Box<Multi>) -> Result<Flow, Stop> {
        if self.is_any_in_steps(call, &multi) {
            if self.is_monitored() {
                self.show_queued(conn, call.db, &multi);
            }
            self.pending.deferred = Some(self.exec_in_steps(conn, call, multi)?);
            return Ok(Flow::Later);
        }
        let txn = match self.name_txn() {
            Ok(txn) => txn,
            Err(stop) => {
                if stop.is_passing() {
                    self.client_mut(conn).multi = Some(multi);
                } else {
                    self.unwatch(conn);
                }
                return Err(stop);
            }
        };
        let watched = std::mem::take(&mut self.client_mut(conn).watched);
        let exec = self.plan_exec(call, &multi, watched).map_err(|(refusal, watched)| {
            self.forget_watched(watched);
            refusal
        })?;
        if self.is_monitored() {
            self.show_queued(conn, call.db, &multi);
        }
        self.execs.give_back(multi);
        self.pending.deferred = Some(Deferred::Exec { txn, exec });
        Ok(Flow::Later)
    }

    /// The rules may have changed since its commands were queued. Refused, and over, if it is one that is done once.
    #[cold]
    fn check_multi(&mut self, conn: ConnId, multi: &mut Multi) -> Result<(), Refusal> {
        multi.denied.clear();
        let mut denied = Vec::new();
        for (number, Command { entry, args, .. }) in multi.commands().enumerate() {
            if let Err(line) = self.check_queued(conn, entry, &args) {
                denied.push((number, line));
            }
        }
        if multi.token.is_some() && !denied.is_empty() {
            self.unwatch(conn);
            return Err(Refusal::text(denied.swap_remove(0).1));
        }
        multi.denied = denied;
        Ok(())
    }

    /// The transaction of a connection is about the rows of a command too.
    fn note_reach(&mut self, conn: ConnId, entry: Entry, head: u64, args: &Args<'_>) {
        let keys = entry.spec.keys;
        if let Run::Databases { .. } = entry.spec.run
            && self.identity.shards > 1
        {
            let multi = self.client_mut(conn).multi.as_mut().expect("it was queued just now");
            return multi.reach.join(Reach::Several);
        }
        if self.identity.shards == 1 || !matches!(entry.spec.run, Run::Row(_)) {
            return;
        }
        let is_undeclared = entry.spec.flags.has(Flags::UNDECLARED) && sort::undeclared(args).is_some();
        let mut reach = if is_undeclared { Reach::Several } else { Reach::None };
        for at in entry.spec.row_keys(args) {
            let slot = if at == keys.first { route::slot_of(head) } else { None };
            reach.meet(self.owner(slot.unwrap_or_else(|| route::slot(&args[at]))));
        }
        let multi = self.client_mut(conn).multi.as_mut().expect("it was queued just now");
        multi.reach.join(reach);
    }

    /// The shards that a transaction of a connection is about.
    fn reach_of(&self, conn: ConnId, multi: &Multi) -> Reach {
        let mut reach = multi.reach;
        if self.identity.shards > 1 {
            self.client(conn).watched.iter().for_each(|watched| reach.meet(watched.shard));
        }
        reach
    }

    /// Whether a command that is not on rows need not wait for what its connection has under way at other shards: it is queued, or
    /// it is about a transaction whose rows are all on one shard. There that is done behind what was sent to it before, as any
    /// command on rows is.
    #[cold]
    pub(super) fn passes_holes(&self, conn: ConnId, spec: &Spec) -> bool {
        let multi = match (&self.client(conn).multi, spec.name) {
            (None, name) => return name == "multi",
            (Some(_), _) if !spec.flags.has(Flags::UNQUEUED) => return true,
            (Some(multi), "exec") => multi,
            _ => return false,
        };
        // A part of an earlier command that was spread may wait for a page here.
        let is_behind = || self.is_anything_parked() && self.has_parked_of(conn);
        multi.is_aborted || multi.is_on_rows() && self.reach_of(conn, multi) != Reach::Several && !is_behind()
    }

    /// Runs a transaction on this shard. `conn` is its connection, if that is on this core. A stop has changed nothing.
    fn transact(
        &mut self,
        conn: Option<ConnId>,
        call: &Call<'_>,
        multi: &Multi,
        watched: &[Watched],
        out: &mut Replies,
    ) -> Result<(), Stop> {
        if !self.parts.locks().is_empty() && self.is_any_row_locked(call, multi, watched) {
            return Err(Stop::Locked);
        }
        for watched in watched {
            if self.is_touched(call, watched)? {
                Reply::new(out, call.is_resp3).null_array();
                self.stats.on_exec(Ended::Conflict);
                return Ok(());
            }
        }
        let counts = self.shard.read_counts();
        // A single command is one unit anyway.
        let is_group = multi.writes > 0 && multi.len() > 1;
        if is_group {
            self.shard.open_undoable_group(multi.bytes(), multi.row_writes())?;
        }
        let client = conn.map(|conn| (conn, self.client(conn).db, self.client(conn).is_resp3));
        Reply::new(out, call.is_resp3).array(multi.len());
        let announced = self.shard.announced.mark();
        let ran = self.run_queued(conn, call, multi, out);
        match ran {
            Ok(()) if is_group => self.shard.close_group(),
            Ok(()) => {}
            Err(_) => {
                self.shard.announced.truncate(announced);
                self.shard.restore_counts(counts);
                if let Some((conn, db, is_resp3)) = client {
                    let client = self.client_mut(conn);
                    (client.db, client.is_resp3) = (db, is_resp3);
                }
                if is_group {
                    self.roll_back();
                }
            }
        }
        match &ran {
            Ok(()) => self.stats.on_exec(Ended::Committed),
            Err(stop) if stop.is_passing() => {}
            Err(_) => self.stats.on_exec(Ended::RolledBack),
        }
        ran
    }

    #[cold]
    fn is_any_row_locked(&self, call: &Call<'_>, multi: &Multi, watched: &[Watched]) -> bool {
        let mut commands = multi.commands().filter(|it| matches!(it.entry.spec.run, Run::Row(_)));
        watched.iter().any(|watched| self.is_row_locked(watched.db, watched.head, false))
            || multi.databases > 0 && self.admit_databases(Databases::first(DATABASES_MAX)).is_err()
            || commands.any(|Command { entry, args, head, .. }| {
                // SELECT may come between: a row of that place in any database will do.
                let is_locked = |db| self.is_locked(&Call { spec: entry.spec, args: &args, db, head, ..*call });
                (0..self.settings.databases).any(is_locked)
            })
    }

    /// [`crate::shard::Shard::is_touched`], as often as what it misses is here by then.
    pub(super) fn is_touched(&mut self, call: &Call<'_>, watched: &Watched) -> Result<bool, Stop> {
        loop {
            match self.shard.is_touched(call, watched) {
                Err(Stop::Missing(missing)) => self.fetch_or_stop(missing)?,
                touched => return touched,
            }
        }
    }

    /// Whether a transaction cannot go on behind this command: it runs again, or what it needs cannot be had. That is no
    /// error of the command's own, which the others would not care about.
    fn ends_transaction(&mut self, ran: &Result<(), Stop>) -> bool {
        let is_unusable = std::mem::take(&mut self.is_unusable);
        ran.as_ref().is_err_and(|stop| stop.is_passing() || is_unusable || is_out_of_memory(stop))
    }

    /// Runs commands on rows, a part of a transaction; keeps the reply of each. If the part rolls back the last one may be an
    /// error: then those behind it have not run.
    pub(super) fn run_commands(&mut self, go: &Go, replies: &mut Vec<Replies>) -> Result<(), Stop> {
        let before = self.shard.announced.speak(go.voice);
        let ran = self.run_all(go, replies);
        self.shard.announced.speak(before);
        ran
    }

    fn run_all(&mut self, go: &Go, replies: &mut Vec<Replies>) -> Result<(), Stop> {
        let Go { commands, is_resp3, is_counted, rolls_back, pins, .. } = go;
        let is_resp3 = *is_resp3;
        // One time for all shards, unless a row here has come past its own meanwhile: others may have seen that.
        let now = if self.shard.are_all_live(go.now, self.now) { go.now } else { self.now };
        self.is_unusable = false;
        for (number, Command { entry, db, head, args }) in commands.commands().enumerate() {
            let pin = pins.get(number);
            let now = pin.map_or(now, |pin| pin.now);
            let call = Call { spec: entry.spec, args: &args, db, is_resp3, now, head };
            let start_ns = (self.identity.clock_ns)();
            let mut reply = Replies::default();
            let seed = pin.map(|pin| self.shard.reseed(pin.seed));
            let ran = match entry.spec.run {
                Run::Row(run) => self.run_row(run, &call, 0, &mut reply),
                Run::Databases { .. } => self.run_databases(&call, 0, &mut reply),
                Run::Server(_) | Run::Container => unreachable!("a part is on rows and databases only"),
            };
            seed.map(|seed| self.shard.reseed(seed));
            if self.ends_transaction(&ran) {
                return ran;
            }
            self.finish_row(entry.id, ran, 0, is_resp3, &mut reply);
            if *is_counted {
                self.stats.on_command(entry.id, (self.identity.clock_ns)().saturating_sub(start_ns));
            }
            replies.push(reply);
            if *rolls_back && replies.last().is_some_and(|reply| error_line(reply, 0).is_some()) {
                break;
            }
        }
        Ok(())
    }

    fn run_queued(
        &mut self,
        conn: Option<ConnId>,
        exec: &Call<'_>,
        multi: &Multi,
        out: &mut Replies,
    ) -> Result<(), Stop> {
        let mut clock_ns = (self.identity.clock_ns)();
        self.is_unusable = false;
        for (number, Command { entry: Entry { id, spec, .. }, head, args, .. }) in multi.commands().enumerate() {
            // A command before it may have changed both; not on another shard, where there is none but on rows.
            let (db, is_resp3) = conn.map_or((exec.db, exec.is_resp3), |conn| {
                let client = self.client(conn);
                (client.db, client.is_resp3)
            });
            let call = Call { spec, args: &args, db, is_resp3, now: exec.now, head };
            let mark = out.len();
            let denied = multi.denied(number).map(|line| Err(Refusal::text(line.to_owned()).into()));
            match spec.run {
                _ if let Some(ran) = denied => {
                    self.finish_row(id, ran, mark, is_resp3, out);
                }
                Run::Row(run) => {
                    let ran = self.run_row(run, &call, mark, out);
                    if self.ends_transaction(&ran) {
                        return ran;
                    }
                    self.finish_row(id, ran, mark, is_resp3, out);
                }
                Run::Databases { .. } => {
                    let ran = self.run_databases(&call, mark, out);
                    if self.ends_transaction(&ran) {
                        return ran;
                    }
                    self.finish_row(id, ran, mark, is_resp3, out);
                }
                Run::Server(run) => {
                    let conn = conn.expect("a transaction for another shard is on rows only");
                    self.run_queued_server(conn, id, run, &call, out)?;
                }
                Run::Container => unreachable!("a container's subcommand was looked up"),
            }
            let now_ns = (self.identity.clock_ns)();
            let ns = now_ns.saturating_sub(clock_ns) + std::mem::take(&mut self.slept_ns);
            clock_ns = now_ns;
            self.stats.on_command(id, ns);
            if let Some(conn) = conn {
                self.note_if_slow(conn, ns, &call);
            }
            if multi.rolls_back
                && let Some(line) = error_line(out, mark)
            {
                return Err(rolled_back(number, spec, &line).into());
            }
        }
        Ok(())
    }

    /// What finishes later leaves a hole among the replies. What would block does not.
    fn run_queued_server(
        &mut self,
        conn: ConnId,
        id: u16,
        run: crate::command::ServerRun,
        call: &Call<'_>,
        out: &mut Replies,
    ) -> Result<(), Stop> {
        let mark = out.len();
        self.scripts.is_in_exec = true;
        let ran = run(self, conn, call, &mut Reply::new(out, call.is_resp3));
        self.scripts.is_in_exec = false;
        match ran {
            // A script has done something by half.
            Err(stop) if stop.is_passing() || std::mem::take(&mut self.is_unusable) => return Err(stop),
            _ => {}
        }
        if let Some(Deferred::Time { then, .. }) =
            self.pending.deferred.take_if(|it| matches!(it, Deferred::Time { .. }))
        {
            then(self, conn, Ok(String::new()), &mut Reply::new(out, call.is_resp3));
            return Ok(());
        }
        let observed = self.shard.observed();
        let flow = self.finish_server(conn, id, ran, call, mark, out);
        self.shard.observe_only(observed);
        if flow == Flow::Close {
            self.session_mut(conn).is_closing = true;
        }
        Ok(())
    }

    /// Runs a transaction for a connection of another core.
    pub(super) fn transact_for(&mut self, from: ShardId, request: RequestId, transaction: Transaction) {
        if self.has_parked(from, request) {
            return self.park(from, request, Work::Transaction(transaction), None);
        }
        let Transaction { db, is_resp3, multi, watched } = &transaction;
        let name = Args::new(b"exec", &[(0, 4)]);
        let spec = crate::command::table::find(b"exec").expect("it is in the table");
        let call = Call { spec, args: &name, db: *db, is_resp3: *is_resp3, now: self.now, head: 0 };
        let mut bytes = Replies::with_capacity(REPLY_BYTES * (multi.len() + 1));
        self.shard.begin();
        let ran = match self.admit_write() {
            Err(Stay::Refuse(refusal)) if multi.writes > 0 => Err(discarded(&refusal.line()).into()),
            _ => self.transact(None, &call, multi, watched, &mut bytes),
        };
        match ran {
            Err(Stop::Missing(missing)) => {
                return self.park(from, request, Work::Transaction(transaction), Some(missing));
            }
            Err(Stop::Crowded | Stop::Locked | Stop::Long) => {
                return self.park(from, request, Work::Transaction(transaction), None);
            }
            Err(Stop::Refuse(refusal)) => {
                bytes.truncate(0);
                self.count_error(None, &refusal);
                Reply::new(&mut bytes, false).refusal(&refusal);
            }
            Ok(()) => {}
        }
        for watched in watched {
            self.shard.watches.unwatch(watched.db, watched.head);
        }
        self.execs.give_back(transaction.multi);
        self.note_deed(Deed::Ran { from, request });
        let observed = if self.planted == Some(Bug::ForeignUnstable) { Lsn(0) } else { self.shard.observed() };
        self.hold_foreign(from, observed, HeldReply::Ran { request, reply: bytes, commands: 1 });
    }
}

/// The line of an error that was answered from `mark` on.
pub(super) fn error_line(replies: &Replies, mark: usize) -> Option<String> {
    let line = replies.bytes()[mark..].strip_prefix(b"-")?;
    let end = line.iter().position(|byte| *byte == b'\r').unwrap_or(line.len());
    Some(String::from_utf8_lossy(&line[..end]).into_owned())
}

/// What EXEC answers that was not begun, for this reason.
pub(super) fn discarded(line: &str) -> Refusal {
    let why = line.strip_prefix("ERR ").unwrap_or(line);
    Refusal::text(format!("EXECABORT Transaction discarded because of: {why}"))
}

/// What a transaction that rolls back answers when a command of it fails, counted from 0.
pub(super) fn rolled_back(number: usize, spec: &Spec, line: &str) -> Refusal {
    let (position, name) = (number + 1, spec.name);
    Refusal::text(format!("EXECABORT Transaction rolled back: command {position} ('{name}') failed: {line}"))
}
