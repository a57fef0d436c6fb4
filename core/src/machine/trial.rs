//! A shard's part in a transaction that its client goes on with: rows are locked as commands come, and what a command answers is
//! found out by trying.
//!
//! A *trial* is a change of rows that is taken back at once, before anybody else looks, and of which the log knows nothing. A
//! command that changes rows is tried behind those of the same transaction that it depends on, and kept; COMMIT runs what was
//! kept in earnest, as one group. It does the same again, for its rows are locked meanwhile, and its time and random numbers are
//! those of the trial.

use super::Machine;
use super::exec::error_line;
use super::paging::Absence;
use super::part::Stage;
use super::release::HeldReply;
use super::run::Stay;
use crate::answer::Progress;
use crate::bug::Bug;
use crate::command::keys::target_db;
use crate::command::{Call, Flags, Run};
use crate::error::{Refusal, Stop};
use crate::event::Now;
use crate::notify::Voice;
use crate::resp::replies::Replies;
use crate::tx::{
    After, Age, Before, Command, Databases, Go, Kept, NotDone, Patience, Pin, ToCoordinator, Whole, Work, Worked,
};
use cairn_storage::units::{ShardId, TxnId};
use std::sync::Arc;

/// What this shard has of an open transaction besides its locks.
pub(super) struct OpenPart {
    pub age: Age,
    pub kept: Kept,
    /// How far a look at a whole database has come, and which statement that is.
    pub survey: Option<(u32, Progress)>,
    /// What it waits with, for locks or for memory.
    pub work: Option<Box<Work>>,
}

impl OpenPart {
    pub fn new(age: Age) -> OpenPart {
        OpenPart { age, kept: Kept::default(), survey: None, work: None }
    }
}

/// How work of an open transaction went.
pub(super) enum Tried {
    Done(Result<Worked, NotDone>),
    /// It goes on when its rows are free.
    Waits,
    /// It is to be tried again.
    Later(Stop),
}

const BESIDE_WHOLE: &str =
    "ERR a transaction cannot both store a large collection from several shards and change whole databases";
const LOCKED: &str = "LOCKED another transaction has the row";

impl Machine {
    /// Locks what the work is about and does it.
    pub(super) fn try_work(&mut self, from: ShardId, work: &Work) -> Tried {
        if let Some(view) = &work.view {
            return self.try_view(work, view);
        }
        let txn = work.age.txn;
        self.shard.begin();
        self.parts.open_part(from, work.age);
        if work.is_calm {
            return self.do_work(work);
        }
        if let Some(ask) = &work.ask {
            return if self.lock_for_survey(from, work, ask) { self.do_work(work) } else { Tried::Waits };
        }
        if !work.databases.is_empty() {
            return if self.lock_databases(from, work) { self.do_work(work) } else { Tried::Waits };
        }
        let is_locked = match work.patience {
            Patience::Skip => return Tried::Done(Ok(Worked::Locked(self.lock_free(txn, work)))),
            _ => {
                let mut rows = work.rows.clone();
                if self.planted == Some(Bug::LooksUnlocked) {
                    rows.retain(|row| row.is_exclusive);
                }
                self.parts.locks_mut().try_hold(txn, rows)
            }
        };
        match is_locked {
            Ok(rows) => self.parts.open_part(from, work.age).rows.extend(rows),
            Err(_) if work.patience == Patience::Refuse => {
                self.stats.counters.txn_conflicts += 1;
                return Tried::Done(Err(NotDone::of_commands(&Refusal::text(LOCKED))));
            }
            Err(rows) => {
                self.parts.locks_mut().request(txn, rows, Databases::NONE);
                let asked_ns = self.now.mono_ns;
                self.parts.open_part(from, work.age).asked_ns = asked_ns;
                self.parts.chasing.push(txn);
                return Tried::Waits;
            }
        }
        self.do_work(work)
    }

    /// Locks those rows that nobody stands in the way of. For each, whether it is.
    fn lock_free(&mut self, txn: TxnId, work: &Work) -> Vec<bool> {
        let mut are_locked = Vec::new();
        for row in &work.rows {
            let locked = self.parts.locks_mut().try_hold(txn, vec![*row]);
            are_locked.push(locked.is_ok());
            self.parts.open_part(self.identity.shard, work.age).rows.extend(locked.unwrap_or_default());
        }
        are_locked
    }

    /// Its rows are locked.
    fn do_work(&mut self, work: &Work) -> Tried {
        if work.is_calm {
            return self.calm_open(work.age.txn);
        }
        if work.commands.is_empty() && work.ask.is_none() {
            return Tried::Done(Ok(Worked::Locked(vec![true; work.rows.len()])));
        }
        let txn = work.age.txn;
        let part = self.parts.part_mut(txn).expect("who works has a part");
        let Stage::Open(mut open) = std::mem::replace(&mut part.stage, Stage::Locked) else {
            unreachable!("its client goes on with it")
        };
        let tried = match &work.ask {
            Some(ask) => self.survey(work, ask, &mut open).map(Worked::Answer),
            None => self.try_command(work, &mut open.kept).map(Worked::Reply),
        };
        self.parts.part_mut(txn).expect("it has a part").stage = Stage::Open(open);
        match tried {
            Ok(worked) => Tried::Done(Ok(worked)),
            Err(Stop::Refuse(refusal)) => Tried::Done(Err(NotDone::of_commands(&refusal))),
            Err(stop) => Tried::Later(stop),
        }
    }

    /// Runs a command as if those before it had happened. If it changes rows it is kept.
    fn try_command(&mut self, work: &Work, kept: &mut Kept) -> Result<Replies, Stop> {
        let Command { entry, db, head, args } = work.commands.command(0);
        let is_write = entry.spec.flags.has(Flags::WRITE);
        if self.parts.is_undoing() {
            // It may be its own trial that is not taken back yet.
            return Err(Stop::Crowded);
        }
        if is_write {
            self.admit_in_earnest()?;
        }
        let is_beside = entry.spec.flags.has(Flags::BESIDE);
        let part = self.parts.part(work.age.txn).expect("who works has a part");
        // What is put beside the transaction stands in the tree as it is, and not as it will be.
        if is_beside && !part.databases.is_empty() || !work.databases.is_empty() && !part.begun.is_empty() {
            return Err(Refusal::text(BESIDE_WHOLE).into());
        }
        if is_beside {
            return self.do_beside(work);
        }
        self.shard.begin();
        // What a database is emptied of, or changes places with, says nothing of the reply.
        let before = if work.databases.is_empty() { kept.before(&work.rows) } else { Before::Commands(Vec::new()) };
        let now = self.time_of(work);
        let call = Call { spec: entry.spec, args: &args, db, is_resp3: work.is_resp3, now, head };
        let start_ns = (self.identity.clock_ns)();
        let counts = self.shard.read_counts();
        let is_trial = is_write || !before.is_empty();
        if is_trial {
            let (kept, own) = (&kept.commands, &work.commands);
            self.shard.open_trial(kept.bytes() + own.bytes(), kept.row_writes() + own.row_writes())?;
        }
        let mut reply = Replies::default();
        let mut ran = match &before {
            Before::Rows(_, rows) if self.planted == Some(Bug::FlushUnseen) => {
                rows.iter().try_for_each(|after| self.put_after(after))
            }
            Before::Rows(wholes, rows) => {
                self.try_again(kept, wholes).and_then(|()| rows.iter().try_for_each(|after| self.put_after(after)))
            }
            Before::Commands(numbers) => self.try_again(kept, numbers),
        };
        self.shard.restore_counts(counts);
        if ran.is_ok() && matches!(before, Before::Commands(_)) {
            self.note_afters(kept, &call);
        }
        let seed = self.shard.seed();
        if ran.is_ok() {
            ran = self.run_watched(work, kept, &call, &mut reply);
        }
        let is_kept = is_write && ran.is_ok() && error_line(&reply, 0).is_none();
        if is_kept {
            self.note_afters(kept, &call);
        }
        if is_trial {
            self.roll_back();
        }
        if let Err(stop) = ran.as_ref()
            && stop.is_passing()
        {
            return Err(ran.expect_err("it has stopped"));
        }
        self.finish_row(entry.id, ran, 0, work.is_resp3, &mut reply);
        self.stats.on_command(entry.id, (self.identity.clock_ns)().saturating_sub(start_ns));
        if is_kept {
            let pin = Pin::new(work.statement, now, seed, &work.rows, whole_of(work, &call));
            kept.push(work.commands.command(0), pin);
        }
        Ok(reply)
    }

    /// What time it is to the work.
    pub(super) fn time_of(&self, work: &Work) -> Now {
        work.now.filter(|_| self.planted != Some(Bug::StepTimes)).unwrap_or(self.now)
    }

    /// The same. Of the rows that a program or a script sees alive it is noted until when they are; those that its transaction has touched are its own.
    fn run_watched(&mut self, work: &Work, kept: &Kept, call: &Call<'_>, reply: &mut Replies) -> Result<(), Stop> {
        if work.now.is_none() {
            return self.run_tried(call, reply);
        }
        self.shard.watch_deadlines();
        let ran = self.run_tried(call, reply);
        let seen = self.shard.seen_deadlines().into_iter().filter(|seen| !kept.has_touched(seen.db, seen.head));
        let until_ms = seen.map(|seen| seen.ms).min().unwrap_or(u64::MAX);
        self.parts.until_ms = until_ms;
        ran
    }

    /// A command of a transaction that is open, in a trial.
    fn run_tried(&mut self, call: &Call<'_>, reply: &mut Replies) -> Result<(), Stop> {
        match call.spec.run {
            Run::Row(run) => self.run_row(run, call, 0, reply),
            Run::Databases { .. } => self.run_databases(call, 0, reply),
            Run::Server(_) | Run::Container => unreachable!("a shard is given commands on rows and databases only"),
        }
    }

    /// The rows of the command are now what those will find that come behind it.
    fn note_afters(&mut self, kept: &mut Kept, call: &Call<'_>) {
        let other = target_db(call).filter(|db| *db != call.db);
        for at in call.spec.row_keys(call.args) {
            let key = &call.args[at];
            let head = self.shard.head(key);
            for db in [call.db].into_iter().chain(other) {
                kept.afters.note(db, head, self.shard.after(db, head, key));
            }
        }
    }

    /// A row becomes what the transaction has left.
    fn put_after(&mut self, after: &After) -> Result<(), Stop> {
        loop {
            match self.shard.put_after(after) {
                Err(Stop::Missing(missing)) => match self.fetch(missing) {
                    Absence::Over => {}
                    Absence::Wait(missing) => return Err(missing.into()),
                    Absence::Crowded => return Err(Stop::Crowded),
                    Absence::Unusable(refusal) => return Err(refusal.into()),
                },
                put => return put,
            }
        }
    }

    /// Has kept commands do what they did.
    pub(super) fn try_again(&mut self, kept: &Kept, numbers: &[usize]) -> Result<(), Stop> {
        for &number in numbers {
            let Command { entry, db, head, args } = kept.commands.command(number);
            let pin = &kept.pins[number];
            let call = Call { spec: entry.spec, args: &args, db, is_resp3: false, now: pin.now, head };
            let seed = self.shard.reseed(pin.seed);
            let ran = self.run_tried(&call, &mut Replies::default());
            self.shard.reseed(seed);
            ran?;
        }
        Ok(())
    }

    /// Whether the log takes what is to be committed.
    pub(super) fn admit_in_earnest(&self) -> Result<(), Stop> {
        match self.admit_write() {
            Ok(()) => Ok(()),
            Err(Stay::Refuse(refusal)) => Err(refusal.into()),
            Err(Stay::Wait(_)) => Err(Stop::Crowded),
        }
    }

    /// The coordinator wants work done.
    pub(super) fn work_for(&mut self, from: ShardId, work: Box<Work>) {
        // Who has given locks back and comes again is not served before those that have waited for them.
        self.grant_freed();
        let tried = self.try_work(from, &work);
        self.after_work(from, work, tried);
    }

    /// Work that waited has its locks, or may find in memory what it has missed.
    pub(super) fn work_on(&mut self, txn: TxnId) {
        let Some(part) = self.parts.part_mut(txn) else { return };
        let from = part.from;
        let Stage::Open(open) = &mut part.stage else { unreachable!("its client goes on with it") };
        let Some(work) = open.work.take() else { return };
        let tried = self.do_work(&work);
        self.after_work(from, work, tried);
    }

    fn after_work(&mut self, from: ShardId, work: Box<Work>, tried: Tried) {
        let (txn, statement) = (work.age.txn, work.statement);
        match tried {
            Tried::Done(result) => {
                let observed = self.shard.observed();
                let until_ms = self.parts.take_until();
                let message = ToCoordinator::Worked { statement, result, until_ms };
                self.hold_foreign(from, observed, HeldReply::Txn { txn, message });
            }
            Tried::Waits => self.keep_work(work),
            Tried::Later(_) if work.view.is_some() => self.cuts.reading.push((from, work)),
            Tried::Later(_) => {
                self.keep_work(work);
                self.parts.retry(txn);
            }
        }
    }

    /// Work that waits for its locks.
    pub(super) fn keep_work(&mut self, work: Box<Work>) {
        let part = self.parts.part_mut(work.age.txn).expect("who works has a part");
        let Stage::Open(open) = &mut part.stage else { unreachable!("its client goes on with it") };
        open.work = Some(work);
    }

    /// The statements from this one on never were.
    pub(super) fn go_back_here(&mut self, txn: TxnId, statement: u32) {
        if let Some(part) = self.parts.part_mut(txn)
            && let Stage::Open(open) = &mut part.stage
        {
            open.kept.go_back(statement);
        }
        self.end_begun_from(txn, statement);
    }

    /// What was kept is done in earnest, beside the parts of other shards.
    pub(super) fn commit_part(&mut self, txn: TxnId, writers: Vec<u16>) {
        let (go, _) = self.take_kept(txn, writers);
        self.run_part(txn, Arc::new(go));
    }

    /// What it does, and what else was kept of it.
    fn take_kept(&mut self, txn: TxnId, writers: Vec<u16>) -> (Go, Kept) {
        let part = self.parts.part_mut(txn).expect("who commits has a part");
        let Stage::Open(open) = std::mem::replace(&mut part.stage, Stage::Locked) else {
            unreachable!("it is committed once")
        };
        let mut kept = open.kept;
        let (commands, pins) = (std::mem::take(&mut kept.commands), std::mem::take(&mut kept.pins));
        let (is_resp3, is_counted, rolls_back, voice) = (false, false, true, Voice::Plain);
        let now = self.now;
        (Go { commands, is_resp3, now, is_counted, rolls_back, voice, pins, writers }, kept)
    }

    /// The same, of a transaction that no other shard has changes of. What stops it may pass: then it is open as before.
    pub(super) fn commit_here(&mut self, age: Age) -> Result<(), Stop> {
        let txn = age.txn;
        if self.parts.is_undoing() {
            return Err(Stop::Crowded);
        }
        let (go, kept) = self.take_kept(txn, Vec::new());
        let committed = self.run_kept(&go);
        if committed.as_ref().is_err_and(Stop::is_passing) {
            let mut open = OpenPart::new(age);
            open.kept = Kept { commands: go.commands, pins: go.pins, ..kept };
            self.parts.part_mut(txn).expect("it has a part").stage = Stage::Open(Box::new(open));
            return committed;
        }
        self.end_part(txn);
        committed
    }

    fn run_kept(&mut self, go: &Go) -> Result<(), Stop> {
        if go.commands.is_empty() {
            return Ok(());
        }
        self.admit_in_earnest()?;
        self.shard.open_undoable_group(go.commands.bytes(), go.commands.row_writes())?;
        let mut replies = Vec::new();
        let ran = self.run_commands(go, &mut replies);
        let failed = replies.last().and_then(|reply| error_line(reply, 0));
        if ran.is_err() || failed.is_some() {
            self.roll_back();
        } else {
            self.shard.close_group();
        }
        match failed {
            Some(line) => Err(undone(&line).into()),
            None => ran,
        }
    }
}

/// What its command does to whole databases, if it is about these.
fn whole_of(work: &Work, call: &Call<'_>) -> Option<Whole> {
    let mut databases = work.databases.iter();
    let first = databases.next()?;
    Some(match call.spec.name {
        "swapdb" => Whole::Swapped(first, databases.next().unwrap_or(first)),
        _ => Whole::Emptied(work.databases),
    })
}

/// What COMMIT answers if its transaction has not happened.
pub(super) fn undone(why: &str) -> Refusal {
    Refusal::text(format!("EXECABORT Transaction rolled back: {why}"))
}
