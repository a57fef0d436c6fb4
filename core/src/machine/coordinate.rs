//! Transactions over several shards, as the machine of their connection sees them: it asks all shards at once to lock rows and run their
//! parts; or, where that cannot be or has not worked, shard by shard it has rows locked, and then all run their parts. When all parts are
//! stable the client is answered.

use super::Machine;
use super::ask::HoleId;
use super::exec::{discarded, rolled_back};
use super::plan::{Exec, Slot};
use super::trial::undone;
use super::whole::Instead;
use crate::command::args::Args;
use crate::command::{Call, Flags, Run, table};
use crate::error::Stop;
use crate::event::ConnId;
use crate::parcel::Message;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::stats::Ended;
use crate::tx::{Command, Denial, NotDone, SeenRow, ToCoordinator, ToParticipant};
use cairn_storage::log::LogState;
use cairn_storage::units::{Lsn, ShardId, TxnId};

/// How far a transaction is.
pub(super) enum Stage {
    /// So many parts may have split counters.
    Calming(usize),
    /// So many parts are locked.
    Locking(usize),
    /// Its shards look at rows.
    Looking,
    Running(Running),
    /// So many writers may not have `TxnDone` in their logs.
    Learning(usize),
}

/// What is known of the parts that run.
#[derive(Default)]
pub(super) struct Running {
    /// So many have not answered.
    left: usize,
    /// Why one that was to lock at once has not.
    denied: Option<Denial>,
    /// What one says that cannot do its part.
    refused: Option<NotDone>,
    /// The first command that has failed where that undoes all, with the line of its error.
    failed: Option<(usize, String)>,
}

impl Running {
    pub(super) fn of(left: usize) -> Stage {
        Stage::Running(Running { left, ..Running::default() })
    }
}

const UNFINISHED: &str = "ERR this command cannot be part of a transaction over several shards";

impl Machine {
    /// Where a transaction waits for locks, if it does.
    pub(super) fn locking_at(&self, txn: TxnId) -> Option<ShardId> {
        let exec = self.pending.execs.get(&txn)?;
        let Stage::Locking(locked) = exec.stage else { return None };
        Some(exec.parts.get(locked)?.shard)
    }

    /// Begins a transaction, whose reply `hole` waits for.
    pub(super) fn begin_exec(&mut self, txn: TxnId, hole: HoleId, mut exec: Box<Exec>) {
        exec.hole = hole;
        self.pending.execs.insert(txn, exec);
        // Not before the turn's end: its connection's output is in use.
        self.pending.begun.push(txn);
    }

    /// The end of a turn: what was begun in it asks for its first locks.
    pub(super) fn lock_begun(&mut self) {
        for txn in std::mem::take(&mut self.pending.begun) {
            let exec = &self.pending.execs[&txn];
            if !exec.is_commit {
                self.calm(txn);
            } else if exec.writers().len() > 1 && self.parts.is_draining_anywhere() {
                // It has all its locks, so it would not wait for that moment, but put it off.
                self.pending.begun.push(txn);
            } else {
                self.go_on_to_commit(txn);
            }
        }
    }

    /// Its shards have what it does already.
    fn go_on_to_commit(&mut self, txn: TxnId) {
        let exec = self.pending.execs.get_mut(&txn).expect("it is under way");
        let writers = exec.writers();
        exec.stage = Running::of(writers.len());
        for &shard in &writers {
            self.tell(ShardId(shard), txn, ToParticipant::Commit { writers: writers.clone() });
        }
    }

    /// A name for a transaction. None can be had before the log's first flush is stable.
    pub(super) fn name_txn(&mut self) -> Result<TxnId, Stop> {
        match (self.shard.engine_mut().next_txn(), self.shard.engine().log().state()) {
            (Some(txn), _) => Ok(txn),
            (None, LogState::Failed(fault)) => Err(super::release::log_refusal(fault.result.err()).into()),
            (None, _) => Err(Stop::Locked),
        }
    }

    /// Where whole databases are to be locked, no counter may be split.
    fn calm(&mut self, txn: TxnId) {
        let exec = self.pending.execs.get_mut(&txn).expect("it is under way");
        if exec.databases.is_empty() {
            return self.begin_locking(txn);
        }
        exec.stage = Stage::Calming(exec.parts.len());
        let shards: Vec<ShardId> = exec.parts.iter().map(|part| part.shard).collect();
        for shard in shards {
            self.tell(shard, txn, ToParticipant::Calm);
        }
    }

    pub(super) fn lock_next(&mut self, txn: TxnId) {
        let exec = self.pending.execs.get_mut(&txn).expect("it is under way");
        let Stage::Locking(locked) = exec.stage else { unreachable!("it gets its locks first") };
        match exec.parts.get_mut(locked) {
            Some(part) => {
                let (rows, watched) = (std::mem::take(&mut part.rows), std::mem::take(&mut part.watched));
                let (shard, databases) = (part.shard, exec.databases);
                self.tell(shard, txn, ToParticipant::Lock { rows, databases, watched });
            }
            None => self.look(txn),
        }
    }

    /// All rows are locked: the shards look at what decides on their parts.
    fn look(&mut self, txn: TxnId) {
        let exec = self.pending.execs.get_mut(&txn).expect("it is under way");
        let Some(look) = &mut exec.look else { return self.go(txn) };
        exec.stage = Stage::Looking;
        let mut asked: Vec<_> = look.asked.iter_mut().map(|(shard, rows)| (*shard, std::mem::take(rows))).collect();
        // This shard may refuse at once, and then nobody is asked any more.
        asked.sort_by_key(|(shard, _)| *shard == self.identity.shard);
        for (shard, rows) in asked {
            self.tell(shard, txn, ToParticipant::Look(rows));
        }
    }

    /// A shard has looked.
    fn on_seen(&mut self, from: ShardId, txn: TxnId, result: Result<Vec<Option<SeenRow>>, NotDone>) {
        let Some(mut exec) = self.pending.execs.remove(&txn) else { return };
        let rows = match result {
            Ok(rows) => rows,
            Err(why) => {
                let mut replies = Replies::default();
                self.refuse_exec(&exec, &why, &mut replies);
                return self.leave(txn, &exec, exec.parts.len(), replies);
            }
        };
        if exec.look.as_mut().is_some_and(|look| look.note(from, rows)) {
            match self.after_look(&mut exec) {
                Ok(()) => {
                    self.pending.execs.insert(txn, exec);
                    return self.go(txn);
                }
                Err(Instead::Answer(replies)) => return self.leave(txn, &exec, exec.parts.len(), replies),
                Err(Instead::Steps(run)) => {
                    self.leave_locks(txn, &exec, exec.parts.len());
                    return self.pending.wides_new.push((exec.hole, run));
                }
            }
        }
        self.pending.execs.insert(txn, exec);
    }

    /// All rows are locked: all parts run.
    fn go(&mut self, txn: TxnId) {
        let exec = self.pending.execs.get_mut(&txn).expect("it is under way");
        if exec.parts.is_empty() {
            // Its commands were refused, all of them, when it was planned.
            exec.stage = Running::of(0);
            return self.decide(txn);
        }
        let goes = exec.goes(self.now);
        exec.stage = Running::of(goes.len());
        for (shard, go) in goes {
            self.tell(shard, txn, ToParticipant::Go(go));
        }
    }

    pub(super) fn tell(&mut self, shard: ShardId, txn: TxnId, message: ToParticipant) {
        if shard == self.identity.shard {
            self.on_participant(shard, txn, message);
        } else {
            self.outbox[usize::from(shard.0)].messages.push(Message::ToParticipant { txn, message });
        }
    }

    /// What a participant answers.
    pub(super) fn on_coordinator(&mut self, from: ShardId, txn: TxnId, message: ToCoordinator) {
        let message = match message {
            ToCoordinator::Worked { statement, result, until_ms } => {
                self.note_until(txn, until_ms);
                return self.on_worked(txn, statement, result);
            }
            ToCoordinator::Probe(probe) => return self.on_probe(txn, probe),
            ToCoordinator::Deadlock { statement } => return self.on_deadlock(txn, statement),
            message => message,
        };
        let Some(exec) = self.pending.execs.get_mut(&txn) else {
            // Another one's look has ended it.
            return assert!(matches!(message, ToCoordinator::Seen(_)), "a participant answers while it is waited for");
        };
        match (message, &mut exec.stage) {
            (ToCoordinator::Seen(result), Stage::Looking) => self.on_seen(from, txn, result),
            (ToCoordinator::Calm, Stage::Calming(left)) => {
                *left -= 1;
                if *left == 0 {
                    exec.stage = Stage::Locking(0);
                    self.lock_next(txn);
                }
            }
            (ToCoordinator::Locked(Ok(())), Stage::Locking(locked)) => {
                *locked += 1;
                self.lock_next(txn);
            }
            (ToCoordinator::Locked(Err(denial)), Stage::Locking(locked)) => {
                let locked = *locked + 1;
                self.deny(txn, locked, denial);
            }
            (message, Stage::Running(_)) => self.on_part(from, txn, message),
            (ToCoordinator::Learned, Stage::Learning(left)) => {
                *left -= 1;
                if *left == 0 {
                    let exec = self.pending.execs.remove(&txn).expect("it is under way");
                    for shard in exec.writers() {
                        self.tell(ShardId(shard), txn, ToParticipant::Forget);
                    }
                }
            }
            _ => unreachable!("a participant answers what it was asked"),
        }
    }

    /// A part has run, or has not.
    fn on_part(&mut self, from: ShardId, txn: TxnId, message: ToCoordinator) {
        let exec = self.pending.execs.get_mut(&txn).expect("it is under way");
        let Stage::Running(running) = &mut exec.stage else { unreachable!("its parts run") };
        let part = exec.parts.iter_mut().find(|part| part.shard == from).expect("only participants answer");
        running.left -= 1;
        let is_last = running.left == 0;
        match message {
            ToCoordinator::Failed { number, line } => {
                let slot = part.places.get(number).map_or(0, |(slot, _)| *slot);
                if running.failed.as_ref().is_none_or(|(first, _)| slot < *first) {
                    running.failed = Some((slot, line));
                }
            }
            ToCoordinator::Locked(Err(denial)) => {
                part.is_denied = true;
                if running.denied.as_ref().is_none_or(|before| *before == Denial::Busy) {
                    running.denied = Some(denial);
                }
            }
            ToCoordinator::Ran(Err(why)) => running.refused = Some(why),
            ToCoordinator::Ran(Ok(replies)) => exec.note_replies(from, replies),
            _ => unreachable!("a participant answers what it was asked"),
        }
        if is_last {
            self.decide_soon(txn);
        }
    }

    /// One of the shards does not lock: those that have, and that one, end it.
    fn deny(&mut self, txn: TxnId, locked: usize, denial: Denial) {
        let exec = self.pending.execs.remove(&txn).expect("it is under way");
        let mut replies = Replies::default();
        match denial {
            Denial::Touched => self.refuse_touched(&exec, &mut replies),
            Denial::Busy => unreachable!("who waits for locks gets them"),
            Denial::Refused(why) => self.refuse_exec(&exec, &why, &mut replies),
        }
        self.leave(txn, &exec, locked, replies);
    }

    /// Nothing comes of it: the first `locked` parts give their locks back.
    fn leave(&mut self, txn: TxnId, exec: &Exec, locked: usize, replies: Replies) {
        self.leave_locks(txn, exec, locked);
        self.answer_exec(exec.hole, replies);
    }

    fn leave_locks(&mut self, txn: TxnId, exec: &Exec, locked: usize) {
        // With whole databases all are parts from the outset.
        let parts = if exec.databases.is_empty() { locked } else { exec.parts.len() };
        for part in &exec.parts[..parts] {
            self.tell(part.shard, txn, ToParticipant::Finish { is_committed: false });
        }
        self.forget_watched(exec.watched.clone());
    }

    /// All parts have answered.
    pub(super) fn decide(&mut self, txn: TxnId) {
        let exec = self.pending.execs.get_mut(&txn).expect("it is under way");
        let Stage::Running(running) = &mut exec.stage else { unreachable!("its parts ran") };
        let Running { denied, refused, failed, .. } = std::mem::take(running);
        if let Some(denial) = denied {
            return self.give_up_trying(txn, denial);
        }
        let failed = failed.map(|(slot, line)| match exec.names.get(slot) {
            Some(spec) => NotDone::of_commands(&rolled_back(slot, spec, &line)),
            None => NotDone::of_commands(&undone(&line)),
        });
        let refused = refused.or(failed);
        let is_committed = refused.is_none();
        let ended = if is_committed { Ended::Committed } else { Ended::RolledBack };
        if exec.is_exec || exec.is_commit {
            self.stats.counters.txns_begun += u64::from(exec.is_exec);
            self.stats.on_ended(ended);
        }
        let shards: Vec<ShardId> = exec.parts.iter().map(|part| part.shard).collect();
        let writers = exec.writers().len();
        exec.stage = Stage::Learning(writers);
        let mut bytes = Replies::default();
        let mut exec = self.pending.execs.remove(&txn).expect("it is under way");
        match refused {
            // What the failed log has of it is known after the next start.
            Some(why) => {
                Reply::new(&mut bytes, exec.is_resp3).error(&why.line);
                self.close_behind(exec.hole, &why);
            }
            None => {
                self.tell_when_stable(Lsn(0), std::mem::take(&mut exec.announced));
                self.write_replies(&mut exec, &mut bytes);
                self.announce();
            }
        }
        self.forget_watched(std::mem::take(&mut exec.watched));
        let hole = exec.hole;
        if is_committed && writers > 1 {
            self.pending.execs.insert(txn, exec);
        }
        for shard in shards {
            self.tell(shard, txn, ToParticipant::Finish { is_committed });
        }
        self.answer_exec(hole, bytes);
    }

    pub(super) fn refuse_exec(&mut self, exec: &Exec, why: &NotDone, replies: &mut Replies) {
        let mut reply = Reply::new(replies, exec.is_resp3);
        if exec.is_exec {
            reply.refusal(&discarded(&why.line));
        } else {
            reply.error(&why.line);
        }
        self.close_behind(exec.hole, why);
    }

    /// Nothing runs behind a transaction whose connection relied on a log that takes nothing.
    fn close_behind(&mut self, hole: HoleId, why: &NotDone) {
        let conn = ConnId(hole.conn);
        if why.is_of_log && self.find_session(conn).is_some_and(|session| session.client.id == hole.client) {
            self.session_mut(conn).is_closing = true;
        }
    }

    pub(super) fn answer_exec(&mut self, hole: HoleId, bytes: Replies) {
        if let Some(line) = bytes.bytes().strip_prefix(b"-") {
            let code = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            self.stats.on_error(&String::from_utf8_lossy(code));
        }
        self.serve_hole(hole, bytes);
    }

    /// The replies of all commands; those on no rows run now.
    fn write_replies(&mut self, exec: &mut Exec, bytes: &mut Replies) {
        let conn = ConnId(exec.hole.conn);
        let slots = std::mem::take(&mut exec.slots);
        if exec.is_exec {
            Reply::new(bytes, exec.is_resp3).array(slots.len());
        }
        for slot in slots {
            match slot {
                Slot::Reply(reply) => bytes.append(reply),
                Slot::Parts(spreading) => bytes.append(spreading.join()),
                Slot::Server(commands) => {
                    let is_here = self.find_session(conn).is_some_and(|session| session.client.id == exec.hole.client);
                    for Command { entry, args, .. } in commands.commands().filter(|_| is_here) {
                        self.run_server_at_end(conn, entry.id, &args, bytes);
                    }
                }
            }
        }
    }

    fn run_server_at_end(&mut self, conn: ConnId, id: u16, args: &Args<'_>, bytes: &mut Replies) {
        let client = self.client(conn);
        let spec = table::spec(id);
        let call = Call { spec, args, db: client.db, is_resp3: client.is_resp3, now: self.now, head: 0 };
        let Run::Server(run) = spec.run else { unreachable!("commands on rows ran on their shards") };
        let mark = bytes.len();
        if spec.flags.has(Flags::MAY_WRITE) || spec.keynum > 0 {
            // It would run behind the transaction, not in it.
            return Reply::new(bytes, false).error(UNFINISHED);
        }
        self.execs.is_ending = true;
        let ran = run(self, conn, &call, &mut Reply::new(bytes, call.is_resp3));
        self.execs.is_ending = false;
        if self.pending.deferred.take().is_some() {
            bytes.truncate(mark);
            Reply::new(bytes, false).error(UNFINISHED);
        } else if let Err(Stop::Refuse(refusal)) = ran {
            bytes.truncate(mark);
            self.count_error(Some(id), &refusal);
            Reply::new(bytes, false).refusal(&refusal);
        }
        self.stats.on_command(id, 0);
    }

    /// Transactions that this core coordinates and that are not decided.
    pub(super) fn execs_undecided(&self) -> usize {
        self.pending.execs.values().filter(|exec| !matches!(exec.stage, Stage::Learning(_))).count()
    }
}
