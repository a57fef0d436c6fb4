//! Commands on whole databases: FLUSHALL, FLUSHDB, SWAPDB. On one shard they are a change like any other; over several each is a
//! transaction that locks the databases at all shards.
//!
//! Counters that are split have rows on shards that their owner's lock does not reach. So all shards first have theirs whole, and
//! split none until the transaction is over; only then is anything locked, since a merge locks rows too.

use super::Machine;
use super::ask::Deferred;
use super::part::Stage;
use super::plan::Plan;
use super::release::HeldReply;
use super::run::Stay;
use crate::command::{Call, Run};
use crate::error::Stop;
use crate::event::ConnId;
use crate::resp::replies::Replies;
use crate::tx::{Databases, ToCoordinator};
use cairn_storage::units::{Lsn, TxnId};

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

    /// A coordinator is to lock whole databases here: it is told when no counter is split, or if that does not matter.
    pub(super) fn try_calm(&mut self, txn: TxnId) {
        let is_refused = matches!(self.admit_write(), Err(Stay::Refuse(_)));
        if !is_refused && self.awaits_merges() {
            return self.retry_part(txn, Stage::Calming);
        }
        let part = self.parts.part_mut(txn).expect("it has just become a part");
        part.stage = Stage::Locked;
        let from = part.from;
        self.hold_foreign(from, Lsn(0), HeldReply::Txn { txn, message: ToCoordinator::Calm });
    }
}
