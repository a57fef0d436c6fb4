//! Counters that are split over several shards: who may add to which part, and how they are split and merged. The states are
//! `hot/split.rs`'s, the reasons `docs/decisions/0019-split-counters.md`'s.

mod ask;
mod gate;

pub(super) use gate::Gate;

use super::Machine;
use super::ask::HoleId;
use super::deeds::Deed;
use super::paging::Absence;
use super::plan::Plan;
use super::whole::{Base, Look};
use crate::bug::Bug;
use crate::command::args::parse_integer;
use crate::command::strings::counters;
use crate::command::{Call, Flags, RowRun, table};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::hot::registry;
use crate::hot::split::{Addition, Bounds, Load, Phase, Split, SubRow};
use crate::notify::Voice;
use crate::parcel::{HotMessage, Message};
use crate::resp::replies::Replies;
use crate::session::ReplyMode;
use crate::tx::RowLock;
use crate::unstable::place;
use cairn_storage::log::Removal;
use cairn_storage::units::ShardId;

/// When a merge that was refused is tried again.
const RETRY_NS: u64 = 100_000_000;

const SECOND_NS: u64 = 1_000_000_000;

impl Machine {
    /// Whether the shard is about to learn which of its counters are split. Nobody is served before.
    #[inline]
    pub(super) fn looks_for_splits(&self) -> bool {
        self.splits.load == Load::Pending
    }

    /// What who wants a row is told if that cannot be known.
    #[inline]
    pub(crate) fn unlisted(&mut self) -> Option<Refusal> {
        match &self.splits.load {
            Load::Pending | Load::Done => None,
            Load::Unusable(line) => {
                let refusal = Refusal::text(line.clone());
                self.is_unusable = true;
                self.note_deed(Deed::Unusable);
                Some(refusal)
            }
        }
    }

    /// A command on rows runs: it may be one of those that are looked at.
    #[inline]
    pub(super) fn note_hot(&mut self, call: &Call<'_>) -> Result<(), Refusal> {
        if self.hot.is_due() {
            self.hot.note(call, |key| self.shard.head(key));
        }
        self.unlisted().map_or(Ok(()), Err)
    }

    #[inline]
    pub(super) fn is_any_split(&self) -> bool {
        !self.splits.own.is_empty()
    }

    /// What an increment adds whose answer nobody is told.
    #[inline]
    pub(super) fn blind_amount(&self, conn: ConnId, call: &Call<'_>) -> Option<String> {
        if !call.spec.flags.has(Flags::COUNTS) || !self.is_silent(conn) {
            return None;
        }
        let addition = Addition::of(call, true).filter(|addition| addition.min.is_none())?;
        Some(addition.amount.to_string())
    }

    /// Whether nobody is told what the connection's command answers.
    fn is_silent(&self, conn: ConnId) -> bool {
        matches!(self.session(conn).client.reply_mode, ReplyMode::Off | ReplyMode::Skip)
    }

    /// Runs a command on a row of this shard, some counters of which are split.
    #[cold]
    pub(super) fn run_beside_splits(
        &mut self,
        conn: ConnId,
        run: RowRun,
        call: &Call<'_>,
        mark: usize,
        out: &mut Replies,
    ) -> Result<(), Stop> {
        let is_silent = self.is_silent(conn);
        match self.gate_own(call, is_silent) {
            Gate::Closed if self.is_locked(call) => Err(Stop::Locked),
            Gate::Closed => self.run_row(run, call, mark, out),
            Gate::Wait => Err(Stop::Locked),
            Gate::Refuse(refusal) => Err(refusal.into()),
            Gate::Sum(more) => self.run_sum(call, more, mark, out),
            Gate::Add => {
                let ran = self.run_row(run, call, mark, out);
                if ran.is_ok() {
                    self.note_added(call, is_silent);
                }
                ran
            }
        }
    }

    /// GET of a split counter. Keeps S5.
    pub(super) fn run_sum(&mut self, call: &Call<'_>, more: i64, mark: usize, out: &mut Replies) -> Result<(), Stop> {
        self.run_row(|shard, call, reply| counters::get_sum(shard, call, reply, more), call, mark, out)
    }

    pub(super) fn run_at_sub_row(
        &mut self,
        conn: ConnId,
        run: RowRun,
        call: &Call<'_>,
        mark: usize,
        out: &mut Replies,
    ) -> Result<(), Stop> {
        let is_silent = self.is_silent(conn);
        let addition = Addition::of(call, is_silent).expect("it was one");
        let run = if addition.min.is_some() { counters::spend } else { run };
        self.run_row(run, call, mark, out)?;
        self.stats.counters.hot_local += 1;
        let row = self.splits.sub_row(call.db, call.head, &call.args[1]).expect("it was there before");
        row.value += addition.amount;
        row.additions += 1;
        row.is_there = true;
        Ok(())
    }

    /// The end of a turn: split counters go on.
    pub(super) fn work_splits(&mut self) {
        if self.splits.load == Load::Pending {
            self.load_splits();
        }
        if self.splits.own.is_empty() && !self.splits.is_list_old {
            return self.tell_settled();
        }
        for missed in self.parts.locks_mut().take_missed() {
            for split in self.splits.own.iter_mut().filter(|split| split.place() == missed) {
                split.is_wanted = true;
            }
        }
        for at in 0..self.splits.own.len() {
            self.go_on_split(at);
        }
        self.splits.own.retain(|split| split.phase != Phase::Resting || !split.is_ending);
        self.write_list();
        self.tell_settled();
    }

    fn go_on_split(&mut self, at: usize) {
        let (now_ns, stable) = (self.now.mono_ns, self.shard.stable());
        let split = &mut self.splits.own[at];
        let is_wanted = split.is_wanted;
        match split.phase {
            // Nobody has got a sub-row.
            Phase::Noting(_) if is_wanted => self.end_split(at),
            Phase::Noting(Some(lsn)) if lsn <= stable => {
                // Some of it may have been taken meanwhile. Keeps S4.
                split.allowance = split.floor.map_or(0, |floor| (split.value - floor) / i64::from(split.parts));
                match split.allowance {
                    0 => self.open_split(at),
                    _ => self.share_out(at),
                }
            }
            Phase::Open if is_wanted => {
                let recall = |db, key| HotMessage::Recall { db, key };
                self.tell_parts(at, recall);
                self.merge_split(at);
            }
            Phase::Open if split.is_asked => self.look_split(at),
            Phase::Apart { from_ns, .. } if from_ns <= now_ns => self.merge_split(at),
            _ => {}
        }
    }

    /// All others that have a part are told.
    fn tell_parts(&mut self, at: usize, message: impl Fn(u8, Vec<u8>) -> HotMessage) {
        let split = &self.splits.own[at];
        for shard in self.others(split.parts) {
            let split = &self.splits.own[at];
            let message = Message::Hot(message(split.db, split.key.clone()));
            self.outbox[usize::from(shard.0)].messages.push(message);
        }
    }

    /// The shards that have sub-rows of a counter of this one with so many parts.
    fn others(&self, parts: u16) -> Vec<ShardId> {
        let own = self.identity.shard;
        (0..self.identity.shards).map(ShardId).filter(|shard| *shard != own).take(usize::from(parts) - 1).collect()
    }

    /// The base's part in what follows has a lock of its own, as the row's is held already.
    fn plan_split(&self, at: usize) -> (Plan<'_>, Vec<ShardId>) {
        let (split, own) = (&self.splits.own[at], self.identity.shard);
        let (db, head) = (split.db, split.head);
        // What a start has found may have been split otherwise than now.
        let others = self.others(self.identity.shards);
        let mut plan = Plan::new(self);
        plan.lock(own, vec![RowLock { db, head: registry::shadow(head), is_exclusive: true }]);
        for shard in &others {
            plan.lock(*shard, vec![RowLock { db, head, is_exclusive: true }]);
        }
        plan.answer(|reply| reply.ok());
        (plan, others)
    }

    fn merge_split(&mut self, at: usize) {
        let txn = match self.name_txn() {
            Ok(txn) => txn,
            Err(stop) => return self.put_apart(at, Some(stop)),
        };
        let (plan, others) = self.plan_split(at);
        let split = &self.splits.own[at];
        let base = Base { shard: self.identity.shard, db: split.db, head: split.head, key: split.key.clone() };
        let hole = hole_of(split.id);
        let mut exec = plan.finish(false, false, Some(Look::of_split(base, &others)));
        exec.rolls_back = true;
        self.splits.own[at].phase = Phase::Merging;
        self.begin_exec(txn, hole, exec);
    }

    /// Has the sub-rows looked at, and locked until this shard knows all of them.
    fn look_split(&mut self, at: usize) {
        // It is tried again in the next turn.
        let Ok(txn) = self.name_txn() else { return self.parts.note_freed() };
        let split = &self.splits.own[at];
        let (db, head, others) = (split.db, split.head, self.others(split.parts));
        let mut plan = Plan::new(self);
        for shard in &others {
            plan.lock(*shard, vec![RowLock { db, head, is_exclusive: false }]);
        }
        let (hole, look) = (hole_of(split.id), Look::of_sub_rows(db, &split.key, &others));
        let exec = plan.finish(false, false, Some(look));
        let split = &mut self.splits.own[at];
        (split.phase, split.is_asked) = (Phase::Looking, false);
        self.begin_exec(txn, hole, exec);
    }

    /// What was seen of sub-rows in this turn holds until its end: then these learn that they were.
    pub(super) fn end_looks(&mut self) {
        for split in self.splits.own.iter_mut().filter(|split| split.phase == Phase::Looking && split.sub_sum.is_some())
        {
            split.phase = Phase::Open;
            if self.planted != Some(Bug::SumStale) {
                split.sub_sum = None;
            }
        }
    }

    /// The base gives each sub-row an allowance.
    fn share_out(&mut self, at: usize) {
        let Ok(txn) = self.name_txn() else { return };
        let (plan, _) = self.plan_split(at);
        let split = &self.splits.own[at];
        let mut exec = plan.finish(false, false, None);
        (exec.rolls_back, exec.voice) = (true, Voice::Silent);
        let entry = table::entry(b"incrby").expect("it is in the table");
        let others = self.others(split.parts);
        let mut give = |shard, amount: i64| {
            let amount = amount.to_string();
            exec.give(shard, entry, split.db, split.head, &[b"INCRBY", &split.key, amount.as_bytes()]);
        };
        give(self.identity.shard, -split.allowance * others.len() as i64);
        others.iter().for_each(|shard| give(*shard, split.allowance));
        let hole = hole_of(split.id);
        self.splits.own[at].phase = Phase::Sharing;
        self.begin_exec(txn, hole, exec);
    }

    /// A merge has ended, or a look, or the sharing out of allowances.
    pub(super) fn on_split_exec(&mut self, id: u64, replies: &Replies) {
        let Some(at) = self.splits.own.iter().position(|split| split.id == id) else { return };
        let error = super::exec::error_line(replies, 0);
        match (&self.splits.own[at].phase, error) {
            (Phase::Looking, None) => {
                let digits = replies.bytes().strip_prefix(b":").and_then(|line| line.strip_suffix(b"\r\n"));
                let sum = digits.and_then(parse_integer).expect("a look answers an integer");
                let split = &mut self.splits.own[at];
                (split.sub_sum, split.is_asked) = (Some(sum), false);
                self.stats.counters.hot_sums += 1;
            }
            // A merge says why not.
            (Phase::Looking, Some(_)) => {
                let split = &mut self.splits.own[at];
                (split.phase, split.is_wanted) = (Phase::Open, true);
            }
            (_, Some(line)) => self.put_apart(at, Some(Refusal::text(line).into())),
            (Phase::Sharing, None) => {
                let split = &mut self.splits.own[at];
                split.value -= split.allowance * (i64::from(split.parts) - 1);
                self.open_split(at);
            }
            (_, None) => {
                self.stats.counters.hot_merges += 1;
                self.tell_merged(at);
                self.end_split(at);
            }
        }
        self.parts.note_freed();
    }

    fn tell_merged(&mut self, at: usize) {
        let parts = std::mem::replace(&mut self.splits.own[at].parts, self.identity.shards);
        self.tell_parts(at, |db, key| HotMessage::Merged { db, key });
        self.splits.own[at].parts = parts;
    }

    /// It is to be merged a little later.
    fn put_apart(&mut self, at: usize, stop: Option<Stop>) {
        let line = stop.filter(|stop| !stop.is_passing()).map(|stop| stop.into_refusal().line().into_owned());
        // What can be done at once is tried in the next turn.
        let from_ns = self.now.mono_ns + if line.is_some() { RETRY_NS } else { 0 };
        self.splits.own[at].phase = Phase::Apart { from_ns, line };
        self.parts.note_freed();
    }

    /// The others may have sub-rows.
    fn open_split(&mut self, at: usize) {
        let split = &mut self.splits.own[at];
        split.phase = Phase::Open;
        let (bounds, value) = (Bounds::of_sub_row(split.floor, split.parts - 1), split.allowance);
        self.tell_parts(at, |db, key| HotMessage::Open { db, key, bounds, value });
        self.stats.counters.hot_splits += 1;
    }

    /// The counter is whole again, or has never been otherwise.
    fn end_split(&mut self, at: usize) {
        let split = &mut self.splits.own[at];
        split.phase = Phase::Resting;
        (split.is_wanted, split.is_asked) = (false, false);
        split.merges += 1;
        let locked = std::mem::take(&mut split.locked);
        self.parts.locks_mut().give_back(&locked);
        self.parts.note_freed();
        self.splits.is_list_old = true;
        self.splits.left_of_start = self.splits.left_of_start.saturating_sub(1);
    }

    /// Reads the list of what is split, and begins to merge it.
    fn load_splits(&mut self) {
        let counters = loop {
            match self.shard.engine().get(registry::ROW) {
                _ if self.planted == Some(Bug::SplitForgotten) => break Some(Vec::new()),
                Ok(None) => break Some(Vec::new()),
                Ok(Some(found)) => break registry::decode(found.value),
                Err(missing) => match self.fetch(missing) {
                    Absence::Over => {}
                    Absence::Wait(_) | Absence::Crowded => return,
                    Absence::Unusable(refusal) => {
                        self.splits.load = Load::Unusable(refusal.line().into_owned());
                        return;
                    }
                },
            }
        };
        let Some(counters) = counters else {
            self.splits.load = Load::Unusable("ERR the list of split counters cannot be read".into());
            return;
        };
        self.splits.left_of_start = counters.len();
        for (db, key) in counters {
            let phase = Phase::Apart { from_ns: self.now.mono_ns, line: None };
            let head = self.shard.head(&key);
            self.add_split(db, head, key, self.identity.shards, phase);
            self.splits.own.last_mut().expect("it was added").is_ending = true;
        }
        self.splits.load = Load::Done;
    }

    /// The row is locked from now on. Keeps S3.
    fn add_split(&mut self, db: u8, head: u64, key: Vec<u8>, parts: u16, phase: Phase) {
        let locked = self.parts.locks_mut().seize(vec![RowLock { db, head, is_exclusive: true }]);
        self.splits.id_last += 1;
        self.splits.own.push(Split {
            id: self.splits.id_last,
            db,
            head,
            key,
            parts,
            min: None,
            floor: None,
            phase,
            value: 0,
            allowance: 0,
            locked,
            is_wanted: false,
            is_asked: false,
            sub_sum: None,
            is_ending: false,
            is_manual: false,
            merges: 0,
            additions: 0,
            cool_seconds: 0,
        });
    }

    /// Keeps S1: the list has what is not whole.
    fn write_list(&mut self) {
        if !self.splits.is_list_old || self.admit_write().is_err() {
            return;
        }
        let apart = self.splits.own.iter().filter(|split| split.phase != Phase::Resting);
        let list = registry::encode(apart.clone().map(|split| (split.db, &split.key[..])));
        let is_empty = apart.count() == 0;
        let written = match is_empty {
            true => self.shard.engine_mut().delete(registry::ROW, Removal::Deleted),
            false => self.shard.engine_mut().put(registry::ROW, 0, 0, &list).map(Some),
        };
        match written.map_err(Stop::from) {
            Ok(lsn) => {
                self.splits.is_list_old = false;
                let appended = self.shard.engine().log().appended();
                for split in &mut self.splits.own {
                    if split.phase == Phase::Noting(None) {
                        split.phase = Phase::Noting(lsn.or(Some(appended)));
                    }
                }
            }
            Err(Stop::Missing(missing)) => drop(self.fetch(missing)),
            Err(_) => {}
        }
    }

    /// The others are told when what the start has found is whole.
    fn tell_settled(&mut self) {
        let is_open = self.splits.load == Load::Pending || self.splits.left_of_start > 0;
        if is_open || std::mem::replace(&mut self.splits.is_settled_told, true) {
            return;
        }
        self.tell_others(|| HotMessage::Settled);
    }

    fn tell_others(&mut self, message: impl Fn() -> HotMessage) {
        let own = usize::from(self.identity.shard.0);
        let others = self.outbox.iter_mut().enumerate().filter(|(shard, _)| *shard != own);
        others.for_each(|(_, parcel)| parcel.messages.push(Message::Hot(message())));
    }

    /// What another shard says.
    pub(super) fn on_hot(&mut self, from: ShardId, message: HotMessage) {
        match message {
            HotMessage::Open { db, key, bounds, value } => {
                let head = self.shard.head(&key);
                let (is_there, owner) = (value != 0, from.0);
                let row = SubRow { db, head, key, owner, bounds, value, is_there, is_open: true, additions: 0 };
                // Two keys of one head would share an entry: the second has its additions done by the owner.
                self.splits.sub_rows.entry(place(db, head)).or_insert(row);
            }
            HotMessage::Recall { .. } if self.planted == Some(Bug::SplitUnrecalled) => {}
            HotMessage::Recall { db, key } => {
                let head = self.shard.head(&key);
                if let Some(row) = self.splits.sub_row(db, head, &key) {
                    row.is_open = false;
                }
            }
            HotMessage::Merged { db, key } => {
                let place = place(db, self.shard.head(&key));
                if self.splits.sub_rows.get(&place).is_some_and(|row| row.db == db && row.key == key) {
                    self.splits.sub_rows.remove(&place);
                }
            }
            HotMessage::Additions { db, key, count } => {
                let head = self.shard.head(&key);
                if let Some(split) = self.splits.find(db, head, &key) {
                    split.additions += count;
                }
            }
            HotMessage::MergeAll => self.splits.own.iter_mut().for_each(|split| split.is_wanted = true),
            HotMessage::Settled => self.splits.unsettled -= 1,
        }
    }
}

/// Where a split counter's transactions answer: no client has this number.
fn hole_of(id: u64) -> HoleId {
    HoleId { client: 0, conn: u32::MAX, hole: id }
}

/// Whether that is such a place.
pub(super) fn is_own(hole: HoleId) -> bool {
    hole.client == 0
}
