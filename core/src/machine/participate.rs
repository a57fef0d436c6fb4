//! A shard's part in transactions over several shards: locks, its group of the log, undo.
//!
//! - **X1** From the grant until the transaction is decided here nobody else changes what it has locked; and from the moment on that its
//!   changes are in the tree nobody looks at them: `Machine::is_locked` is asked before every command, and before a row expires.
//! - **X2** What is granted can be done: the log takes writes, and what the rows need has been seen in memory. If it has left
//!   again meanwhile, the part is undone and runs again.
//! - **X3** While somebody waits for a moment without undecided transactions (a look at all rows, a checkpoint) no locks are
//!   granted. What was granted goes on, so the moment comes.

use super::Machine;
use super::exec::error_line;
use super::part::{Part, Stage};
use super::recovered::Recovered;
use super::release::HeldReply;
use super::run::Stay;
use super::trial::OpenPart;
use crate::bug::Bug;
use crate::command::args::Args;
use crate::command::{Call, table};
use crate::error::Stop;
use crate::parcel::Message;
use crate::resp::replies::Replies;
use crate::tx::{Age, Databases, Denial, Go, Granted, Locks, NotDone, RowLock, ToCoordinator, ToParticipant, Watched};
use cairn_storage::engine::{Engine, Undo};
use cairn_storage::units::{Lsn, ShardId, TxnId};
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;

/// All parts that this shard has.
#[derive(Default)]
pub(super) struct Parts {
    locks: Locks<TxnId>,
    pub parts: HashMap<TxnId, Part>,
    /// Parts that try again at the end of each turn: something was not in memory.
    retrying: Vec<TxnId>,
    /// Somebody waits until nothing is undecided.
    is_draining: bool,
    /// The other shards know that.
    is_drain_told: bool,
    /// Other shards of which so much is known.
    pub drains_elsewhere: usize,
    /// Locks were given back since the last grants.
    is_freed: bool,
    /// Of the command that was worked on last: until when what it has seen is so, in Unix milliseconds.
    pub until_ms: u64,
    /// Something was done behind the turn's seal: there is to be another turn.
    pub wants_turn: bool,
    /// Parts of open transactions.
    pub open: usize,
    /// Open transactions that have begun to wait here.
    pub chasing: Vec<TxnId>,
    /// Where the next tick goes on to look for those that wait for each other.
    pub chased: usize,
    /// Looks that have begun here; and since the last tick, by where they began, what they have followed here.
    pub looks: u64,
    pub probed: HashSet<(TxnId, u64, TxnId)>,
    /// Groups of single shards that were rolled back, whose rows, or databases, are still to be put back.
    pub undoing: Vec<(Undo, Vec<RowLock>, Databases)>,
    /// Since the start: what the start has found committed.
    pub recovered: Option<Recovered>,
}

impl Parts {
    /// Of a shard that was opened just now, one of so many.
    pub fn new(engine: &Engine, shards: u16) -> Parts {
        let (txns, lsn) = (engine.remembered().collect(), engine.log().appended());
        let recovered = Recovered { txns, lsn, is_told: false, unheard: usize::from(shards) - 1 };
        Parts { recovered: (shards > 1).then_some(recovered), until_ms: u64::MAX, ..Parts::default() }
    }

    /// Until when what the command has seen that was worked on last is so.
    pub fn take_until(&mut self) -> u64 {
        std::mem::replace(&mut self.until_ms, u64::MAX)
    }

    pub fn locks(&self) -> &Locks<TxnId> {
        &self.locks
    }

    pub fn locks_mut(&mut self) -> &mut Locks<TxnId> {
        &mut self.locks
    }

    pub fn part(&self, txn: TxnId) -> Option<&Part> {
        self.parts.get(&txn)
    }

    pub fn part_mut(&mut self, txn: TxnId) -> Option<&mut Part> {
        self.parts.get_mut(&txn)
    }

    /// The part of an open transaction, from now on.
    pub fn open_part(&mut self, from: ShardId, age: Age) -> &mut Part {
        self.parts.entry(age.txn).or_insert_with(|| {
            self.open += 1;
            Part { is_open: true, ..Part::new(from, 0, Stage::Open(Box::new(OpenPart::new(age)))) }
        })
    }

    /// Locks were given back, or there is something else to be done soon.
    pub fn note_freed(&mut self) {
        self.is_freed = true;
        self.wants_turn = true;
    }

    /// Rows that one held who is no part of anything.
    pub fn give_back(&mut self, txn: TxnId, rows: &[RowLock], are_hidden: bool) {
        self.locks.release(txn, rows, are_hidden);
        self.note_freed();
    }

    pub fn is_undoing(&self) -> bool {
        !self.undoing.is_empty()
    }

    pub fn retry(&mut self, txn: TxnId) {
        self.retrying.push(txn);
    }

    /// Whether no locks are granted for the moment. Keeps X3.
    pub fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Whether a transaction over several shards has to wait before it has groups in their logs.
    pub fn is_draining_anywhere(&self) -> bool {
        self.is_draining || self.drains_elsewhere > 0
    }
}

impl Machine {
    /// What a coordinator wants.
    pub(super) fn on_participant(&mut self, from: ShardId, txn: TxnId, message: ToParticipant) {
        match message {
            ToParticipant::Calm => {
                self.hold_splits();
                self.add_part(from, txn, true, Stage::Calming);
                self.try_calm(txn);
            }
            ToParticipant::Lock { rows, databases, watched } => {
                self.parts.locks.request(txn, rows, databases);
                match self.parts.parts.get_mut(&txn) {
                    Some(part) => {
                        assert!(part.is_calm, "a transaction locks once at a shard");
                        (part.asked_ns, part.stage) = (self.now.mono_ns, Stage::Locking(watched));
                    }
                    None => self.add_part(from, txn, false, Stage::Locking(watched)),
                }
                self.grant_locks();
            }
            ToParticipant::Try { rows, go } => self.try_part(from, txn, rows, go),
            ToParticipant::Look(rows) => self.look_at(txn, rows),
            ToParticipant::Go(go) => self.run_part(txn, go),
            ToParticipant::Work(work) => self.work_for(from, work),
            ToParticipant::GoBack { statement } => self.go_back_here(txn, statement),
            ToParticipant::Commit { writers } => self.commit_part(txn, writers),
            ToParticipant::Probe(probe) => self.chase(txn, probe),
            ToParticipant::Finish { is_committed } => self.settle_part(txn, is_committed),
            ToParticipant::Forget => self.shard.engine_mut().forget(txn),
        }
    }

    pub(super) fn add_part(&mut self, from: ShardId, txn: TxnId, is_calm: bool, stage: Stage) {
        let part = Part { is_calm, ..Part::new(from, self.now.mono_ns, stage) };
        let before = self.parts.parts.insert(txn, part);
        assert!(before.is_none(), "a transaction has one part at a shard");
    }

    /// Whether a row may not be looked at, or changed, now.
    #[inline]
    pub(super) fn is_row_locked(&self, db: u8, head: u64, is_write: bool) -> bool {
        !self.parts.locks.is_empty() && !self.parts.locks.admits(db, head, is_write)
    }

    /// Whether a command's rows are locked against it.
    #[inline]
    pub(super) fn is_locked(&self, call: &Call<'_>) -> bool {
        !self.parts.locks.is_empty() && self.is_any_locked(call)
    }

    #[cold]
    fn is_any_locked(&self, call: &Call<'_>) -> bool {
        locks_of(self, call).iter().any(|row| self.is_row_locked(row.db, row.head, row.is_exclusive))
    }

    /// Whether one who looks at all rows has to wait. If so, the moment will come.
    pub(crate) fn awaits_decisions(&mut self) -> bool {
        let waits = self.shard.engine().undecided() > 0;
        self.parts.is_draining |= waits;
        waits
    }

    /// Grants what can be granted.
    fn grant_locks(&mut self) {
        if self.parts.is_draining {
            return;
        }
        self.parts.is_freed = false;
        while let Some(Granted { owner: txn, rows, databases, is_shared }) = self.parts.locks.grant() {
            let part = self.parts.parts.get_mut(&txn).expect("who asks for locks has a part");
            part.rows.extend(rows);
            part.note_databases(databases, is_shared);
            let waited_us = self.now.mono_ns.saturating_sub(part.asked_ns) / 1000;
            if waited_us > 0 {
                self.stats.lock_wait_us.record(waited_us);
            }
            match part.stage {
                Stage::Open(_) => self.work_on(txn),
                _ => self.try_locked(txn),
            }
        }
    }

    /// Grants what can be granted since locks were given back: at the end of a turn, for then no command is running.
    pub(super) fn grant_freed(&mut self) {
        if self.parts.is_freed {
            self.grant_locks();
        }
    }

    /// The end of a turn begins: what is done from now on may have missed its seal.
    pub(super) fn begin_afterwork(&mut self) {
        self.parts.wants_turn = false;
    }

    pub(super) fn parts_want_turn(&self) -> bool {
        self.parts.wants_turn
    }

    /// The rows are locked. Keeps X2: sees that all that is needed is here.
    fn try_locked(&mut self, txn: TxnId) {
        let Some(part) = self.parts.parts.get_mut(&txn) else { return };
        let Stage::Locking(watched) = &mut part.stage else { unreachable!("it has just got its locks") };
        let (watched, from) = (std::mem::take(watched), part.from);
        let is_write = !part.databases.is_empty() || part.rows.iter().any(|row| row.is_exclusive);
        let result = match self.admit_write() {
            _ if let Some(why) = self.refusal_of_part(is_write) => Err(Denial::Refused(why)),
            Err(Stay::Wait(_)) if is_write => return self.retry_part(txn, Stage::Locking(watched)),
            _ if self.planted == Some(Bug::WatchDeaf) && from != self.identity.shard => Ok(()),
            _ => match self.is_any_touched(&watched) {
                Ok(true) => Err(Denial::Touched),
                Ok(false) => Ok(()),
                Err(Stop::Refuse(refusal)) => Err(Denial::Refused(NotDone::of_commands(&refusal))),
                Err(_) => return self.retry_part(txn, Stage::Locking(watched)),
            },
        };
        // Whether something was touched is seen by a client.
        let observed = self.shard.observed();
        if let Some(part) = self.parts.parts.get_mut(&txn) {
            part.stage = Stage::Locked;
            self.hold_foreign(from, observed, HeldReply::Txn { txn, message: ToCoordinator::Locked(result) });
        }
    }

    fn is_any_touched(&mut self, watched: &[Watched]) -> Result<bool, Stop> {
        let (name, spec) = (Args::new(b"exec", &[(0, 4)]), table::find(b"exec").expect("it is in the table"));
        let call = Call { spec, args: &name, db: 0, is_resp3: false, now: self.now, head: 0 };
        self.shard.begin();
        for watched in watched {
            if self.is_touched(&call, watched)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// It goes on at the end of a later turn.
    pub(super) fn retry_part(&mut self, txn: TxnId, stage: Stage) {
        if let Some(part) = self.parts.parts.get_mut(&txn) {
            part.stage = stage;
            self.parts.retrying.push(txn);
        }
    }

    /// Runs a part whose rows are locked, and appends its group to the log.
    pub(super) fn run_part(&mut self, txn: TxnId, go: Arc<Go>) {
        let Some(part) = self.parts.parts.get_mut(&txn) else { unreachable!("what goes has locked before") };
        let from = part.from;
        if !std::mem::replace(&mut part.is_hidden, true) {
            // Keeps X1.
            self.parts.locks.hide(&part.rows);
            self.parts.locks.hide_databases(part.databases);
        }
        if !self.parts.undoing.is_empty() {
            // It may be its own first try.
            return self.retry_part(txn, Stage::Running(go));
        }
        let is_write = go.writers.contains(&self.identity.shard.0);
        if is_write {
            match self.admit_write() {
                Err(Stay::Refuse(refusal)) => {
                    return self.refuse_part(from, txn, NotDone::of_log(&refusal));
                }
                Err(Stay::Wait(_)) => return self.retry_part(txn, Stage::Running(go)),
                Ok(()) => {}
            }
        }
        self.shard.begin();
        let is_numbered = is_write && go.writers.len() > 1 && !self.flushes_alone(&go);
        if is_write {
            let opened = match is_numbered {
                true => self.shard.open_txn(go.commands.bytes(), go.commands.row_writes(), txn, &go.writers),
                false => self.shard.open_undoable_group(go.commands.bytes(), go.commands.row_writes()),
            };
            match opened {
                Ok(()) => {}
                Err(Stop::Refuse(refusal)) => {
                    return self.refuse_part(from, txn, NotDone::of_commands(&refusal));
                }
                Err(_) => return self.retry_part(txn, Stage::Running(go)),
            }
        }
        let mut replies = Vec::new();
        let mark = self.shard.announced.mark();
        let ran = self.run_commands(&go, &mut replies);
        let (mut undo, mut announced) = (None, Vec::new());
        let failed = replies.last().filter(|_| go.rolls_back).and_then(|reply| error_line(reply, 0));
        match ran {
            Ok(()) if let Some(line) = failed => {
                if is_write {
                    self.roll_back();
                }
                let (observed, number) = (self.shard.observed(), replies.len() - 1);
                let message = ToCoordinator::Failed { number, line };
                return self.hold_foreign(from, observed, HeldReply::Txn { txn, message });
            }
            Ok(()) if is_write && self.forgets_part(from) => self.roll_back(),
            Ok(()) if is_write => {
                self.shard.close_group();
                if is_numbered {
                    undo = Some(self.shard.engine_mut().take_undo());
                    announced = self.shard.announced.split_off(mark);
                }
            }
            Ok(()) => {}
            Err(stop) => {
                if is_write {
                    self.roll_back();
                }
                let Stop::Refuse(refusal) = stop else { return self.retry_part(txn, Stage::Running(go)) };
                return self.refuse_part(from, txn, NotDone::of_commands(&refusal));
            }
        }
        self.note_ran(from, txn, Stage::Ran { undo, announced }, replies);
    }

    fn flushes_alone(&self, go: &Go) -> bool {
        self.planted == Some(Bug::FlushAlone) && go.commands.databases > 0
    }

    fn forgets_part(&self, from: ShardId) -> bool {
        self.planted == Some(Bug::PartForgotten) && from != self.identity.shard
    }

    /// The part has run: it answers when that is stable, and keeps its locks until all are.
    fn note_ran(&mut self, from: ShardId, txn: TxnId, ran: Stage, replies: Vec<Replies>) {
        let observed = if self.planted == Some(Bug::ReplyUnstable) { Lsn(0) } else { self.shard.observed() };
        if let Some(part) = self.parts.parts.get_mut(&txn) {
            part.stage = ran;
            if self.planted == Some(Bug::UnlockUndecided) {
                let (rows, databases) = (std::mem::take(&mut part.rows), std::mem::take(&mut part.databases));
                let is_hidden = std::mem::take(&mut part.is_hidden);
                self.parts.locks.release(txn, &rows, is_hidden);
                self.parts.locks.release_databases(txn, databases, is_hidden);
                self.parts.is_freed = true;
            }
        }
        self.hold_foreign(from, observed, HeldReply::Txn { txn, message: ToCoordinator::Ran(Ok(replies)) });
    }

    fn refuse_part(&mut self, from: ShardId, txn: TxnId, why: NotDone) {
        self.hold_foreign(from, Lsn(0), HeldReply::Txn { txn, message: ToCoordinator::Ran(Err(why)) });
    }

    /// The transaction is decided, or was never begun in earnest.
    pub(super) fn finish_part(&mut self, txn: TxnId, is_committed: bool) {
        let Some(part) = self.parts.parts.get_mut(&txn) else { unreachable!("a transaction ends once") };
        match std::mem::replace(&mut part.stage, Stage::Locked) {
            Stage::Ran { undo: Some(_), announced } if is_committed => {
                let from = part.from;
                self.tell_when_stable(Lsn(0), announced);
                let lsn = self.shard.engine_mut().append_done(txn);
                self.end_part(txn);
                self.hold_foreign(from, lsn, HeldReply::Txn { txn, message: ToCoordinator::Learned });
            }
            Stage::Ran { undo: Some(undo), .. } => self.undo_part(txn, undo),
            Stage::Open(_)
            | Stage::Calming
            | Stage::Locking(_)
            | Stage::Locked
            | Stage::Looking(_)
            | Stage::Running(_)
            | Stage::Ran { undo: None, .. } => self.end_part(txn),
            Stage::Undoing(_) => unreachable!("a transaction is decided once"),
        }
    }

    fn undo_part(&mut self, txn: TxnId, mut undo: Undo) {
        if !self.undo(&mut undo) {
            return self.retry_part(txn, Stage::Undoing(undo));
        }
        let lsn = self.shard.engine_mut().append_abort(txn);
        let part = &self.parts.parts[&txn];
        // Who reads them sees that it never happened, which must not be taken back.
        for row in part.rows.iter().filter(|row| self.parts.locks.is_exclusive(row)) {
            self.shard.note_abort(row.db, row.head, lsn);
        }
        part.databases.iter().for_each(|db| self.shard.note_database_abort(db, lsn));
        self.end_part(txn);
    }

    /// Gives the locks back.
    pub(super) fn end_part(&mut self, txn: TxnId) {
        let part = self.parts.parts.remove(&txn).expect("a transaction ends once");
        self.parts.retrying.retain(|retrying| *retrying != txn);
        self.end_begun_of(&part);
        if part.is_open {
            self.parts.open -= 1;
            self.parts.locks.cancel(txn);
        }
        self.parts.locks.release(txn, &part.rows, part.is_hidden);
        self.parts.locks.release_databases(txn, part.databases, part.is_hidden);
        self.parts.locks.release_databases(txn, part.surveyed, false);
        if part.is_calm {
            self.let_split();
        }
        self.parts.is_freed = true;
        self.parts.wants_turn = true;
    }

    /// Takes back what the open group has changed. Where that cannot be done at once its rows, and the databases that it has
    /// changed as a whole, are locked until it is.
    pub(super) fn roll_back(&mut self) {
        let (mut undo, rows, databases) = self.shard.rollback_group();
        if !self.undo(&mut undo) {
            // Of what was only tried nothing has been kept.
            self.shard.versions_mut().keep_undo(&undo);
            let rows = rows.into_iter().map(|(db, head)| RowLock { db, head, is_exclusive: true }).collect();
            let rows = self.parts.locks.seize(rows);
            self.parts.locks.seize_databases(databases);
            self.parts.undoing.push((undo, rows, databases));
        }
    }

    /// Goes on with an undo. Whether it is done.
    fn undo(&mut self, undo: &mut Undo) -> bool {
        loop {
            match self.shard.engine_mut().undo(undo).map_err(Stop::from) {
                Ok(()) => return true,
                Err(Stop::Missing(missing)) => {
                    if self.fetch_or_stop(missing).is_err() {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
    }

    /// The end of a turn: what has waited for memory, or for a moment without undecided transactions, goes on.
    pub(super) fn work_parts(&mut self) {
        self.tell_recovered();
        let is_undecided = self.shard.engine().undecided() > 0;
        if self.shard.engine().is_checkpoint_held_up() {
            self.parts.is_draining = true;
        }
        if self.parts.is_draining && !is_undecided {
            self.parts.is_draining = false;
            self.parts.is_freed = true;
        }
        for (mut undo, rows, databases) in std::mem::take(&mut self.parts.undoing) {
            if self.undo(&mut undo) {
                self.parts.locks.give_back(&rows);
                self.parts.locks.give_back_databases(databases);
                self.parts.is_freed = true;
            } else {
                self.parts.undoing.push((undo, rows, databases));
            }
        }
        for txn in std::mem::take(&mut self.parts.retrying) {
            let Some(part) = self.parts.parts.get_mut(&txn) else { continue };
            match std::mem::replace(&mut part.stage, Stage::Locked) {
                Stage::Locking(watched) => {
                    part.stage = Stage::Locking(watched);
                    self.try_locked(txn);
                }
                Stage::Calming => self.try_calm(txn),
                Stage::Looking(rows) => self.look_at(txn, rows),
                Stage::Running(go) => self.run_part(txn, go),
                Stage::Undoing(undo) => self.undo_part(txn, undo),
                Stage::Open(open) => {
                    part.stage = Stage::Open(open);
                    self.work_on(txn);
                }
                Stage::Locked | Stage::Ran { .. } => unreachable!("these wait for a message"),
            }
        }
        self.check_begun();
        self.grant_freed();
        self.tell_drain();
        let is_freed = self.parts.is_freed && !self.parts.is_draining;
        self.parts.wants_turn |= is_freed || self.shard.engine().log().awaits_seal();
    }

    /// The other shards are told when this one begins, or ends, to wait for a moment without undecided transactions.
    fn tell_drain(&mut self) {
        let is_draining = self.parts.is_draining;
        if std::mem::replace(&mut self.parts.is_drain_told, is_draining) == is_draining {
            return;
        }
        let own = usize::from(self.identity.shard.0);
        let others = self.outbox.iter_mut().enumerate().filter(|(shard, _)| *shard != own);
        others.for_each(|(_, parcel)| parcel.messages.push(Message::Draining { is_on: is_draining }));
    }

    /// Another shard has told so.
    pub(super) fn on_drain_elsewhere(&mut self, is_on: bool) {
        let drains = &mut self.parts.drains_elsewhere;
        *drains = if is_on { *drains + 1 } else { *drains - 1 };
    }

    /// Whether a part is under way.
    pub(super) fn has_parts(&self) -> bool {
        !self.parts.parts.is_empty() || !self.parts.undoing.is_empty()
    }
}

/// The rows of a command, as one who runs it locks them.
pub(super) fn locks_of(machine: &Machine, call: &Call<'_>) -> Vec<RowLock> {
    let is_exclusive = call.spec.flags.has(crate::command::Flags::WRITE);
    let keys = call.spec.row_keys(call.args);
    let mut rows: Vec<RowLock> =
        keys.map(|at| RowLock { db: call.db, head: machine.shard.head(&call.args[at]), is_exclusive }).collect();
    // COPY and MOVE may name another database for their target. No other command reaches beyond its own.
    if matches!(call.spec.name, "copy" | "move")
        && let Some(&target) = rows.last()
    {
        rows.extend((0..machine.settings.databases).map(|db| RowLock { db, ..target }));
    }
    rows
}
