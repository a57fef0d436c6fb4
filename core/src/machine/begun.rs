//! What transactions over several shards store piece by piece: collections that a part has begun, and that a step of it, tried like any other, is to name.
//!
//! Their elements are put at once, outside of the transaction: nobody sees them. The part owns their numbers until it ends, whatever ends it ([`Machine::end_part`]), or
//! until the statements that have begun them never were. Then those that a row names stay, and the others go, which the engine finds out when nothing is undecided. A
//! crash makes orphans of all, which a start looks at when it knows what has become of groups that were aside.

use super::Machine;
use super::part::Part;
use crate::bug::Bug;
use crate::command::{Call, Run};
use crate::error::Stop;
use crate::resp::replies::Replies;
use crate::tx::{Command, Work};
use cairn_storage::units::{CollectionId, TxnId};

/// A collection that a part has begun, of a database, and in which statement.
pub(super) struct Begun {
    statement: u32,
    db: u8,
    number: CollectionId,
}

impl Machine {
    /// Does a step that is no part of the transaction, whose row it has locked.
    pub(super) fn do_beside(&mut self, work: &Work) -> Result<Replies, Stop> {
        let Command { entry, db, head, args } = work.commands.command(0);
        let Run::Row(run) = entry.spec.run else { unreachable!("a shard is given commands on rows only") };
        let call = Call { spec: entry.spec, args: &args, db, is_resp3: work.is_resp3, now: self.time_of(work), head };
        self.shard.begin();
        let start_ns = (self.identity.clock_ns)();
        let mut reply = Replies::default();
        let ran = self.run_row(run, &call, 0, &mut reply);
        if let Some((db, number)) = self.shard.slices.begun.take() {
            let part = self.parts.part_mut(work.age.txn).expect("who works has a part");
            self.stats.counters.begun_collections += 1;
            part.begun.push(Begun { statement: work.statement, db, number });
        }
        if ran.as_ref().is_err_and(Stop::is_passing) {
            return Err(ran.expect_err("it has stopped"));
        }
        self.finish_row(entry.id, ran, 0, work.is_resp3, &mut reply);
        self.stats.on_command(entry.id, (self.identity.clock_ns)().saturating_sub(start_ns));
        Ok(reply)
    }

    /// A part has ended.
    pub(super) fn end_begun_of(&mut self, part: &Part) {
        if self.planted != Some(Bug::BegunKept) {
            self.give_up_begun(part.begun.iter());
        }
    }

    /// The statements of a part from this one on never were.
    pub(super) fn end_begun_from(&mut self, txn: TxnId, statement: u32) {
        let Some(part) = self.parts.part_mut(txn) else { return };
        let gone: Vec<Begun> = part.begun.extract_if(.., |begun| begun.statement >= statement).collect();
        self.give_up_begun(gone.iter());
    }

    /// What nobody owns any more has been given up.
    pub(super) fn check_begun(&self) {
        let is_owned = self.has_parts() || self.parking.sliced > 0;
        assert!(is_owned || self.shard.engine().collections_begun() == 0, "who has begun a collection ends it");
    }

    fn give_up_begun<'b>(&mut self, begun: impl Iterator<Item = &'b Begun>) {
        begun.for_each(|begun| self.shard.engine_mut().end_collection(begun.db, begun.number));
    }
}
