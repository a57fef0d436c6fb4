//! Commands on whole databases: FLUSHALL, FLUSHDB, SWAPDB. On one shard they are a change like any other; over several each is a
//! transaction that locks the databases at all shards. Of a transaction that is open, a script over several shards too, each is a statement: all shards
//! lock the databases and try it (`trial`).
//!
//! Counters that are split have rows on shards that their owner's lock does not reach. So all shards first have theirs whole, and
//! split none until the transaction is over; only then is anything locked, since a merge locks rows too.

use super::Machine;
use super::ask::Deferred;
use super::form::Form;
use super::interact::Works;
use super::part::{Part, Stage};
use super::plan::Plan;
use super::release::HeldReply;
use super::run::Stay;
use super::trial::Tried;
use crate::command::{Call, Run};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::resp::replies::Replies;
use crate::tx::{Databases, ToCoordinator, Work, Worked};
use cairn_storage::units::{Lsn, ShardId, TxnId};

impl Machine {
    /// Begins a command on whole databases; where there is one shard only it is run.
    #[cold]
    pub(super) fn begin_databases(
        &mut self,
        conn: ConnId,
        call: &Call<'_>,
        mark: usize,
        out: &mut Replies,
    ) -> Result<(), Stop> {
        let databases = self.databases_of(call)?;
        if self.identity.shards == 1 {
            self.admit_databases(databases)?;
            return self.run_databases(call, mark, out);
        }
        let mut plan = Plan::new(self);
        plan.add_databases(call);
        let exec = plan.finish(call.is_resp3, false, None);
        let txn = self.name_txn()?;
        self.start_deferred(conn, Deferred::Exec { txn, exec }, call, out);
        Ok(())
    }

    /// The databases that a command is about.
    pub(super) fn databases_of(&self, call: &Call<'_>) -> Result<Databases, Stop> {
        let Run::Databases { which, .. } = call.spec.run else { unreachable!("it is about whole databases") };
        Ok(which(call, self.settings.databases)?)
    }

    /// Whether nobody else has locked anything of these databases here.
    pub(super) fn admit_databases(&self, databases: Databases) -> Result<(), Stop> {
        if self.parts.locks().admits_databases(databases) { Ok(()) } else { Err(Stop::Locked) }
    }

    /// Runs it on what this shard has of them. Nobody stands in the way.
    pub(super) fn run_databases(&mut self, call: &Call<'_>, mark: usize, out: &mut Replies) -> Result<(), Stop> {
        self.databases_of(call)?;
        let Run::Databases { run, .. } = call.spec.run else { unreachable!("it is about whole databases") };
        self.run_row(run, call, mark, out)
    }

    /// What the shards do for such a command of an open transaction, each with work like this: all have their counters whole, and then each locks the
    /// databases and tries the command.
    pub(super) fn works_on_databases(&mut self, call: &Call<'_>, work: &Work) -> Result<(Works, Form), Refusal> {
        let databases = self.databases_of(call).map_err(Stop::into_refusal)?;
        let mut plan = Plan::new(self);
        plan.add_databases(call);
        let (parts, form) = plan.into_works()?;
        let mut works = self.works_before(work);
        let work = |commands| Box::new(Work { databases, commands, ..work.clone() });
        works.extend(parts.into_iter().map(|(shard, _, commands)| (shard, work(commands))));
        Ok((works, form))
    }

    /// What comes before whole databases are locked: all shards have their counters whole, unless they have already. A script by itself has that before
    /// it begins.
    pub(super) fn works_before(&mut self, work: &Work) -> Works {
        let is_calm = self.open_of(work.age.txn).is_none_or(|open| open.is_calm || open.is_read_only);
        match self.identity.shards > 1 && !is_calm {
            true => self.works_of_calm(work),
            false => Works::new(),
        }
    }

    /// All shards have their counters whole.
    pub(super) fn works_of_calm(&self, work: &Work) -> Works {
        let shards = (0..self.identity.shards).map(ShardId);
        shards.map(|shard| (shard, Box::new(Work { is_calm: true, ..work.clone() }))).collect()
    }

    /// Locks the databases that a command of an open transaction changes. Whether it has.
    pub(super) fn lock_databases(&mut self, from: ShardId, work: &Work) -> bool {
        self.hold_databases(from, work, work.databases, false)
    }

    /// Locks databases as a whole for an open transaction, to look at them if it `is_shared`, or stands in line for them. Whether it has them.
    pub(super) fn hold_databases(&mut self, from: ShardId, work: &Work, databases: Databases, is_shared: bool) -> bool {
        let (txn, now_ns) = (work.age.txn, self.now.mono_ns);
        let locks = self.parts.locks_mut();
        let is_held = match is_shared {
            true => locks.try_share(txn, databases),
            false => locks.try_databases(txn, databases),
        };
        if !is_held {
            match is_shared {
                true => locks.request_share(txn, databases),
                false => locks.request(txn, Vec::new(), databases),
            }
            self.parts.chasing.push(txn);
        }
        let part = self.parts.open_part(from, work.age);
        match is_held {
            true => part.note_databases(databases, is_shared),
            false => part.asked_ns = now_ns,
        }
        is_held
    }

    /// From now on, until it ends, an open transaction wants counters to be whole here: whether they are. A merge that waits for somebody who waits for the
    /// transaction is found by nobody but the lock's timeout.
    pub(super) fn calm_open(&mut self, txn: TxnId) -> Tried {
        let part = self.parts.part_mut(txn).expect("who works has a part");
        if !std::mem::replace(&mut part.is_calm, true) {
            self.hold_splits();
        }
        match self.awaits_calm() {
            true => Tried::Later(Stop::Crowded),
            false => Tried::Done(Ok(Worked::Calm)),
        }
    }

    /// A coordinator is to lock whole databases here: it is told when no counter is split, or if that does not matter.
    pub(super) fn try_calm(&mut self, txn: TxnId) {
        if self.awaits_calm() {
            return self.retry_part(txn, Stage::Calming);
        }
        let part = self.parts.part_mut(txn).expect("it has just become a part");
        part.stage = Stage::Locked;
        let from = part.from;
        self.hold_foreign(from, Lsn(0), HeldReply::Txn { txn, message: ToCoordinator::Calm });
    }

    /// Whether counters are to be made whole yet. Where nothing may be changed they stay as they are.
    fn awaits_calm(&mut self) -> bool {
        !matches!(self.admit_write(), Err(Stay::Refuse(_))) && self.awaits_merges()
    }
}

impl Part {
    /// It has locked these as a whole, to look at them if `is_shared`.
    pub fn note_databases(&mut self, databases: Databases, is_shared: bool) {
        if !is_shared {
            self.databases = self.databases.and(databases);
        }
        self.surveyed = self.surveyed.and(databases).without(self.databases);
    }
}
