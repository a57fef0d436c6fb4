//! Transactions that a client goes on with, as the machine of its connection sees them: BEGIN, the commands, COMMIT.
//!
//! ```text
//!             BEGIN            a command               its reply
//!   (none) ----------> open ---------------> working ------------> open
//!                       |  \                    |
//!      COMMIT, ROLLBACK |   \ too long idle,    | deadlock, too long waited
//!                       v    `-----------.      |
//!                    (none)               v     v
//!                       ^---------------- ended: only its end is taken
//!                         COMMIT, ROLLBACK
//! ```
//!
//! A command is worked on by one shard after the other, in ascending order, so a transaction waits at one place at a time. What shards
//! do for it is in `trial`; who waits for each other is found by `deadlock`. Commands that are taken in steps, and scripts: `wide/within`.

use super::Machine;
use super::ask::{Deferred, HoleId};
use super::cuts::TOO_OLD;
use super::form::Form;
use super::participate::locks_of;
use super::place::Place;
use super::plan::Plan;
use super::trial::{Tried, undone};
use super::views::Summing;
use crate::announce::Announcement;
use crate::command::{Call, Flags, Flow, Run, keyspace, script, table};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::limits::{MULTI_BYTES_MAX, SAVEPOINTS_MAX};
use crate::pubsub::Publication;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::route;
use crate::stats::Ended;
use crate::tx::{Age, End, Multi, NotDone, Open, Patience, RowLock, ToParticipant, View, Work, Worked};
use cairn_storage::units::{Lsn, ShardId, TxnId};
use std::collections::VecDeque;
use std::sync::Arc;

/// A command of an open transaction that shards work on.
pub(super) struct Statement {
    /// `None`: a script goes on with its reply.
    hole: Option<HoleId>,
    pub number: u32,
    since_ns: u64,
    /// Who works on it, and those that have.
    pub at: ShardId,
    done: Vec<ShardId>,
    left: VecDeque<Box<Work>>,
    shards: VecDeque<ShardId>,
    replies: Vec<Worked>,
    form: Form,
    /// It waits for what the parts of a split counter had together.
    pub summing: Option<Box<Summing>>,
}

/// A command on its way: the work of each shard, in the order of shards.
pub(super) type Works = VecDeque<(ShardId, Box<Work>)>;

impl Statement {
    /// A script's, on which this shard works first, and then those of `rest`.
    pub fn of_script(number: u32, since_ns: u64, at: ShardId, rest: Works, form: Form) -> Statement {
        let (shards, left) = rest.into_iter().unzip();
        Statement::new(None, number, since_ns, at, left, shards, form)
    }

    fn new(
        hole: Option<HoleId>,
        number: u32,
        since_ns: u64,
        at: ShardId,
        left: VecDeque<Box<Work>>,
        shards: VecDeque<ShardId>,
        form: Form,
    ) -> Statement {
        let (done, replies, summing) = (Vec::new(), Vec::new(), None);
        Statement { hole, number, since_ns, at, done, left, shards, replies, form, summing }
    }

    pub fn since_ns(&self) -> u64 {
        self.since_ns
    }
}

/// What its later commands are answered.
const ENDED: &str = "TXNENDED";

impl Machine {
    /// BEGIN.
    pub fn begin_open(&mut self, conn: ConnId, is_read_only: bool, timeout_ms: Option<u64>) -> Result<Flow, Stop> {
        if self.client(conn).open.is_some() {
            return Err(Refusal::text("ERR a transaction is open already").into());
        }
        let txn = self.name_txn()?;
        let now_ns = self.now.mono_ns;
        let mut open = Box::new(Open::new(Age { begun_ns: now_ns, txn }));
        open.is_read_only = is_read_only;
        open.until_ns = timeout_ms.map(|ms| now_ns.saturating_add(ms.saturating_mul(1_000_000)));
        self.client_mut(conn).open = Some(open);
        self.pending.opens.insert(txn, conn);
        self.stats.counters.txns_begun += 1;
        if is_read_only {
            self.pending.deferred = Some(Deferred::Cut(txn));
            return Ok(Flow::Later);
        }
        Ok(Flow::Done)
    }

    /// Runs a command of a connection whose transaction is open. `None`: it has nothing to do with that.
    #[cold]
    pub(super) fn run_in_open(
        &mut self,
        conn: ConnId,
        call: &Call<'_>,
        out: &mut Replies,
    ) -> Option<Result<Flow, Stop>> {
        let spec = call.spec;
        let is_on_rows = matches!(spec.run, Run::Row(_));
        let now_ns = self.now.mono_ns;
        let bytes_max = self.settings.client_query_buffer_limit.min(MULTI_BYTES_MAX);
        let open = self.client_mut(conn).open.as_mut().expect("the caller has seen it");
        open.active_ns = now_ns;
        let is_write = spec.flags.has(Flags::WRITE);
        let is_data = is_write || spec.flags.has(Flags::READONLY) || spec.flags.has(Flags::MOVABLEKEYS);
        let is_script = script::is_script(spec);
        let is_survey = keyspace::is_survey(spec);
        let is_whole = matches!(spec.run, Run::Databases { .. });
        let is_keyless = !is_on_rows && !is_script && !is_survey && !is_whole;
        let is_other = is_keyless && (is_data || matches!(spec.name, "multi" | "watch"));
        let bytes = call.args.iter().map(<[u8]>::len).sum::<usize>();
        let refusal = if is_keyless && (!is_other || spec.name == "lock") {
            return None;
        } else if let Some(end) = &open.ended {
            ended(end)
        } else if is_other {
            Refusal::text(format!("ERR '{}' is not allowed between BEGIN and COMMIT", spec.name))
        } else if is_write && open.is_read_only {
            Refusal::text("READONLY You can't write in a transaction that began with READ ONLY.")
        } else if is_write && open.bytes + bytes > bytes_max || open.statements >= open.statements_max() {
            too_much(open.statements_max(), bytes_max)
        } else if is_whole {
            return Some(self.run_databases_in_open(conn, call, out));
        } else if is_survey {
            return Some(self.run_survey_in_open(conn, call, out));
        } else if is_script || self.is_in_steps_locked(call) {
            return Some(self.run_within(conn, call, is_script, out));
        } else {
            return Some(self.run_rows_in_open(conn, call, out));
        };
        Some(Err(refusal.into()))
    }

    fn run_rows_in_open(&mut self, conn: ConnId, call: &Call<'_>, out: &mut Replies) -> Result<Flow, Stop> {
        let mut works = Works::new();
        let mut form = Form::Single;
        if let Place::Here = self.place(call) {
            let mut commands = Multi::default();
            let entry = table::entry_of(call.spec);
            commands.push(entry, call.db, call.head, call.args.iter());
            let rows = locks_of(self, call);
            works.push_back((self.identity.shard, self.work(conn, rows, commands, Patience::Wait)));
        } else {
            let mut plan = Plan::new(self);
            plan.add(call);
            let (parts, of_parts) = plan.into_works()?;
            form = of_parts;
            for (shard, rows, commands) in parts {
                works.push_back((shard, self.work(conn, rows, commands, Patience::Wait)));
            }
        }
        let is_single = matches!(form, Form::Single);
        let flow = self.begin_statement(conn, works, form, out)?;
        self.is_counted_later = is_single;
        Ok(flow)
    }

    fn run_survey_in_open(&mut self, conn: ConnId, call: &Call<'_>, out: &mut Replies) -> Result<Flow, Stop> {
        let work = self.work(conn, Vec::new(), Multi::default(), Patience::Wait);
        match self.survey_of(call, &work, out)? {
            None => Ok(Flow::Done),
            Some((works, form)) => self.begin_statement(conn, works, form, out),
        }
    }

    fn run_databases_in_open(&mut self, conn: ConnId, call: &Call<'_>, out: &mut Replies) -> Result<Flow, Stop> {
        let work = self.work(conn, Vec::new(), Multi::default(), Patience::Wait);
        let (works, form) = self.works_on_databases(call, &work)?;
        self.begin_statement(conn, works, form, out)
    }

    pub(super) fn work(&self, conn: ConnId, rows: Vec<RowLock>, commands: Multi, patience: Patience) -> Box<Work> {
        let client = self.client(conn);
        let open = client.open.as_ref().expect("its transaction is open");
        let (view, is_resp3) = (self.view_of(open.age.txn), client.is_resp3);
        let work = Work::of(open.age, open.statements + 1);
        Box::new(Work { rows, patience, commands, is_resp3, view, ..work })
    }

    /// What an open transaction reads, if it only does that.
    pub(super) fn view_of(&self, txn: TxnId) -> Option<View> {
        let open = self.client(*self.pending.opens.get(&txn)?).open.as_ref()?;
        open.cut.map(|cut| View { cut, sums: open.sums.clone() })
    }

    /// LOCK.
    pub fn lock_keys(
        &mut self,
        conn: ConnId,
        keys: Vec<Vec<u8>>,
        is_exclusive: bool,
        patience: Patience,
        out: &mut Replies,
    ) -> Result<Flow, Stop> {
        let client = self.client(conn);
        let db = client.db;
        match client.open.as_ref().map(|open| &open.ended) {
            None => return Err(Refusal::text("ERR LOCK without BEGIN").into()),
            Some(Some(end)) => return Err(ended(end).into()),
            Some(None) if client.open.as_ref().is_some_and(|open| open.is_read_only) => {
                return Err(Refusal::text("READONLY A transaction that began with READ ONLY locks nothing.").into());
            }
            Some(None) => {}
        }
        let mut by_shard: Vec<Vec<(usize, Vec<u8>)>> = vec![Vec::new(); usize::from(self.identity.shards)];
        for (place, key) in keys.into_iter().enumerate() {
            by_shard[usize::from(self.owner(route::slot(&key)).0)].push((place, key));
        }
        let mut works = Works::new();
        for (shard, keys) in by_shard.iter().enumerate().filter(|(_, keys)| !keys.is_empty()) {
            let row = |(_, key): &(usize, Vec<u8>)| RowLock { db, head: self.shard.head(key), is_exclusive };
            let rows = keys.iter().map(row).collect();
            works.push_back((ShardId(shard as u16), self.work(conn, rows, Multi::default(), patience)));
        }
        by_shard.retain(|keys| !keys.is_empty());
        let form = Form::Lock { keys: by_shard, is_told: patience == Patience::Skip };
        self.begin_statement(conn, works, form, out)
    }

    /// Has the shards work on a command. If only this one has to, and nobody stands in the way, it is done at once.
    fn begin_statement(&mut self, conn: ConnId, mut works: Works, form: Form, out: &mut Replies) -> Result<Flow, Stop> {
        let own = self.identity.shard;
        let is_single = works.len() == 1;
        let is_write = works.iter().any(|(_, work)| work.commands.writes > 0);
        let (first, work) = works.pop_front().expect("a command has rows");
        let Work { age, statement, .. } = *work;
        let (mut is_kept, mut apart) = (false, None);
        if is_single && first == own {
            let tried = self.try_work(own, &work);
            let open = self.client_mut(conn).open.as_mut().expect("its transaction is open");
            open.note_part(own, is_write);
            match tried {
                Tried::Done(Ok(worked @ Worked::Apart { .. })) => apart = Some(worked),
                Tried::Done(result) => {
                    open.statements = statement;
                    open.bytes += if is_write { work.commands.bytes() } else { 0 };
                    let worked = vec![result.map_err(|why| Refusal::text(why.line))?];
                    out.append(form.write(self, worked));
                    return Ok(Flow::Done);
                }
                Tried::Later(stop) => return Err(stop),
                Tried::Waits => is_kept = true,
            }
        }
        let bytes = works.iter().map(|(_, work)| work.commands.bytes()).sum::<usize>() + work.commands.bytes();
        let hole = self.open_hole(conn, out, true, bytes);
        let open = self.client_mut(conn).open.as_mut().expect("its transaction is open");
        open.statements = statement;
        open.bytes += if is_write { bytes } else { 0 };
        open.note_part(first, is_write);
        let (shards, left) = works.into_iter().unzip();
        let number = statement;
        let statement = Statement::new(Some(hole), number, self.now.mono_ns, first, left, shards, form);
        self.pending.statements.insert(age.txn, statement);
        match () {
            () if let Some(apart) = apart => self.on_worked(age.txn, number, Ok(apart)),
            () if is_kept => self.keep_work(work),
            // Not before the turn's end: its connection's output is in use.
            () if first == own => self.pending.works.push((age.txn, work)),
            () => self.tell(first, age.txn, ToParticipant::Work(work)),
        }
        Ok(Flow::Done)
    }

    /// The end of a turn: this shard does its part of commands that came in it.
    pub(super) fn work_begun(&mut self) {
        for (txn, work) in std::mem::take(&mut self.pending.works) {
            if self.pending.statements.contains_key(&txn) {
                self.work_for(self.identity.shard, work);
            }
        }
    }

    /// A shard has worked on a command, or cannot.
    pub(super) fn on_worked(&mut self, txn: TxnId, number: u32, result: Result<Worked, NotDone>) {
        let Some(result) = self.take_sums(txn, number, result) else { return };
        let Some(statement) = self.pending.statements.get_mut(&txn) else { return };
        statement.done.push(statement.at);
        let is_calm = matches!(result, Ok(Worked::Calm));
        let failed = match result {
            Ok(worked) => {
                let line = worked.error_line();
                if !matches!(worked, Worked::Calm) {
                    statement.replies.push(worked);
                }
                line
            }
            Err(why) => Some(why.line),
        };
        if failed.is_none()
            && let Some((shard, work)) = statement.shards.pop_front().zip(statement.left.pop_front())
        {
            statement.at = shard;
            let is_write = work.commands.writes > 0;
            if is_calm
                && !work.is_calm
                && let Some(open) = self.open_of(txn)
            {
                open.is_calm = true;
            }
            self.note_open_part(txn, shard, is_write);
            return self.tell(shard, txn, ToParticipant::Work(work));
        }
        let Statement { hole, done, replies, form, .. } =
            self.pending.statements.remove(&txn).expect("it was just there");
        let now_ns = self.now.mono_ns;
        if let Some(open) = self.open_of(txn) {
            open.active_ns = now_ns;
        }
        let Some(line) = failed else {
            let replies = form.write(self, replies);
            return self.answer_statement(txn, hole, replies);
        };
        // What the shards before this one have kept of it never was.
        for shard in done {
            self.tell(shard, txn, ToParticipant::GoBack { statement: number });
        }
        let mut replies = Replies::default();
        Reply::new(&mut replies, false).error(&line);
        self.answer_statement(txn, hole, replies);
    }

    fn answer_statement(&mut self, txn: TxnId, hole: Option<HoleId>, replies: Replies) {
        match hole {
            Some(hole) => self.fill_hole(hole, replies),
            None => self.on_wide_reply(txn, replies),
        }
    }

    pub(super) fn note_open_part(&mut self, txn: TxnId, shard: ShardId, is_write: bool) {
        self.note_wide_part(txn, shard, is_write);
        if let Some(open) = self.open_of(txn) {
            open.note_part(shard, is_write);
        }
    }

    pub(super) fn open_of(&mut self, txn: TxnId) -> Option<&mut Open> {
        let conn = *self.pending.opens.get(&txn)?;
        self.client_mut(conn).open.as_deref_mut()
    }

    /// Where an open transaction waits, and in which of its statements.
    pub(super) fn working_at(&self, txn: TxnId) -> Option<(ShardId, u32)> {
        self.pending.statements.get(&txn).map(|statement| (statement.at, statement.number))
    }

    /// COMMIT.
    pub fn commit_open(&mut self, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
        let Some(mut open) = self.client_mut(conn).open.take() else {
            return Err(Refusal::text("ERR COMMIT without BEGIN").into());
        };
        self.leave_cut(&mut open);
        if let Some(End { why, .. }) = &open.ended {
            return Err(undone(why).into());
        }
        let own = self.identity.shard;
        let (age, txn) = (open.age, open.age.txn);
        let writers: Vec<ShardId> =
            open.parts.iter().filter(|(_, is_write)| *is_write).map(|(shard, _)| *shard).collect();
        if !matches!(writers[..], [] | [ShardId(_)]) || writers.first().is_some_and(|writer| *writer != own) {
            self.pending.opens.remove(&txn);
            let mut done = Replies::default();
            Reply::new(&mut done, false).ok();
            let mut exec = self.plan_commit(call.is_resp3, &open.parts, done);
            exec.announced = open.take_published();
            self.pending.deferred = Some(Deferred::Exec { txn, exec });
            return Ok(Flow::Later);
        }
        let committed = if writers.is_empty() { Ok(()) } else { self.commit_here(age) };
        if committed.as_ref().is_err_and(Stop::is_passing) {
            self.client_mut(conn).open = Some(open);
            return committed.map(|()| Flow::Done);
        }
        self.pending.opens.remove(&txn);
        self.stats.on_ended(if committed.is_ok() { Ended::Committed } else { Ended::RolledBack });
        for (shard, _) in open.parts.iter().filter(|(shard, _)| writers.is_empty() || *shard != own) {
            self.tell(*shard, txn, ToParticipant::Finish { is_committed: committed.is_ok() });
        }
        committed?;
        open.take_published().into_iter().for_each(|published| self.shard.announced.push(published));
        self.shard.announced.raise(self.session(conn).output.last_gate().unwrap_or(Lsn(0)));
        reply.ok();
        Ok(Flow::Done)
    }

    /// PUBLISH between BEGIN and COMMIT: it is told when that is.
    pub(super) fn publish_in_open(&mut self, conn: ConnId, publication: Arc<Publication>) -> Result<(), Refusal> {
        let bytes_max = self.settings.client_query_buffer_limit.min(MULTI_BYTES_MAX);
        let open = self.client_mut(conn).open.as_mut().expect("the caller has seen it");
        if let Some(end) = &open.ended {
            return Err(ended(end));
        }
        let announcement = Announcement::Published(publication);
        if open.statements >= open.statements_max() || open.bytes + announcement.weight() > bytes_max {
            return Err(too_much(open.statements_max(), bytes_max));
        }
        // A statement that no shard hears of.
        open.statements += 1;
        open.bytes += announcement.weight();
        open.published.push((open.statements, announcement));
        Ok(())
    }

    /// ROLLBACK. Whether there was a transaction.
    pub fn roll_back_open(&mut self, conn: ConnId) -> bool {
        let open = self.client_mut(conn).open.take();
        let is_there = open.is_some();
        self.drop_open(open);
        is_there
    }

    /// An open transaction is nobody's any more: its shards forget it.
    pub(super) fn drop_open(&mut self, open: Option<Box<Open>>) {
        let Some(mut open) = open else { return };
        self.leave_cut(&mut open);
        let txn = open.age.txn;
        if self.pending.opens.remove(&txn).is_some() {
            self.stats.on_ended(Ended::RolledBack);
        }
        self.pending.statements.remove(&txn);
        self.pending.wides.remove(&txn);
        self.pending.works.retain(|(of, _)| *of != txn);
        self.leave_parts(txn, &open);
    }

    fn leave_parts(&mut self, txn: TxnId, open: &Open) {
        for &(shard, _) in &open.parts {
            // This shard's work may not have begun.
            if shard != self.identity.shard || self.parts.part(txn).is_some() {
                self.tell(shard, txn, ToParticipant::Finish { is_committed: false });
            }
        }
    }

    /// The server ends a transaction: its client is told now, or with its next command.
    pub(super) fn end_open(&mut self, txn: TxnId, code: &str, why: &str) {
        let Some(conn) = self.pending.opens.remove(&txn) else { return };
        let Some(mut open) = self.client_mut(conn).open.take() else { return };
        self.stats.on_ended(match code {
            "DEADLOCK" => Ended::Deadlock,
            "LOCKTIMEOUT" => Ended::Conflict,
            _ => Ended::RolledBack,
        });
        self.pending.works.retain(|(of, _)| *of != txn);
        self.leave_cut(&mut open);
        self.leave_parts(txn, &open);
        open.parts.clear();
        let later = if code == TOO_OLD { TOO_OLD } else { ENDED };
        open.ended = Some(End { code: later, why: why.to_owned() });
        self.client_mut(conn).open = Some(open);
        let statement = self.pending.statements.remove(&txn);
        let within = self.pending.wides.remove(&txn);
        if let Some(hole) = statement.and_then(|it| it.hole).or(within.map(|wide| wide.hole())) {
            let mut replies = Replies::default();
            Reply::new(&mut replies, false).error(&format!("{code} the transaction was rolled back: {why}"));
            self.stats.on_error(code);
            self.fill_hole(hole, replies);
        }
    }

    /// Time has passed: who has waited, or done nothing, for too long?
    pub(super) fn watch_opens(&mut self) {
        let now_ns = self.now.mono_ns;
        let (lock_ms, idle_ms) = (self.settings.txn_lock_timeout_ms, self.settings.txn_idle_timeout_ms);
        let is_over =
            |since_ns: u64, ms: u64| ms > 0 && now_ns.saturating_sub(since_ns) >= ms.saturating_mul(1_000_000);
        let opens: Vec<(TxnId, ConnId)> = self.pending.opens.iter().map(|(txn, conn)| (*txn, *conn)).collect();
        for (txn, conn) in opens {
            let Some(open) = &self.client(conn).open else { continue };
            let (until_ns, active_ns, is_read_only) = (open.until_ns, open.active_ns, open.is_read_only);
            let waits_since_ns = self.pending.statements.get(&txn).map(|statement| statement.since_ns);
            let is_idle = waits_since_ns.is_none() && !self.pending.wides.contains_key(&txn);
            if until_ns.is_some_and(|until_ns| until_ns <= now_ns) {
                self.end_open(txn, "TXNTIMEOUT", "its TIMEOUT is over");
            } else if !is_read_only && waits_since_ns.is_some_and(|since_ns| is_over(since_ns, lock_ms)) {
                let why = format!("it has waited for a lock for {lock_ms} ms (txn-lock-timeout)");
                self.end_open(txn, "LOCKTIMEOUT", &why);
            } else if is_idle && is_over(active_ns, idle_ms) {
                let why = format!("it was idle for {idle_ms} ms (txn-idle-timeout)");
                self.end_open(txn, "TXNTIMEOUT", &why);
            }
        }
    }

    /// The server stops: nobody goes on with anything.
    pub(super) fn end_opens(&mut self) {
        while let Some((txn, _)) = self.pending.opens.first_key_value() {
            self.end_open(*txn, "TXNTIMEOUT", "the server stops");
        }
    }

    /// SAVEPOINT, and ROLLBACK TO.
    pub fn save_open(&mut self, conn: ConnId, name: &[u8]) -> Result<(), Refusal> {
        let open = self.client_mut(conn).open.as_mut().ok_or(Refusal::text("ERR SAVEPOINT without BEGIN"))?;
        if let Some(end) = &open.ended {
            return Err(ended(end));
        }
        if open.savepoints.len() >= SAVEPOINTS_MAX {
            return Err(Refusal::text(format!("ERR a transaction has {SAVEPOINTS_MAX} savepoints at most")));
        }
        open.savepoints.push((name.to_vec(), open.statements + 1));
        Ok(())
    }

    pub fn go_back_open(&mut self, conn: ConnId, name: &[u8]) -> Result<(), Refusal> {
        let open = self.client_mut(conn).open.as_mut().ok_or(Refusal::text("ERR ROLLBACK without BEGIN"))?;
        if let Some(end) = &open.ended {
            return Err(ended(end));
        }
        let Some(at) = open.savepoints.iter().rposition(|(known, _)| known == name) else {
            return Err(Refusal::text(format!("ERR no such savepoint '{}'", String::from_utf8_lossy(name))));
        };
        open.savepoints.truncate(at + 1);
        let statement = open.savepoints[at].1;
        open.published.retain(|(at, _)| *at < statement);
        let (txn, parts) = (open.age.txn, open.parts.clone());
        for (shard, _) in parts {
            self.tell(shard, txn, ToParticipant::GoBack { statement });
        }
        Ok(())
    }
}

pub(super) fn too_much(statements_max: u32, bytes_max: usize) -> Refusal {
    Refusal::text(format!(
        "ERR a transaction has {statements_max} commands at most, and {bytes_max} bytes of those that write"
    ))
}

/// What one hears who goes on with a transaction that the server has ended.
fn ended(End { code, why }: &End) -> Refusal {
    Refusal::text(format!("{code} the transaction was rolled back: {why}. ROLLBACK, then begin it again"))
}
