//! Transactions over several shards that ask all of them at once to lock rows and run their parts. Where one of them cannot yet the others undo,
//! and it begins again, shard by shard: `docs/decisions/0026-tried-transactions.md`.

use super::Machine;
use super::coordinate::Running;
use super::part::Stage;
use super::release::HeldReply;
use super::run::Stay;
use crate::error::Stop;
use crate::limits::TRIES_SKIPPED;
use crate::resp::replies::Replies;
use crate::tx::{Denial, Go, NotDone, RowLock, ToCoordinator, ToParticipant};
use cairn_storage::units::{Lsn, ShardId, TxnId};
use std::sync::Arc;

impl Machine {
    /// All shards are asked at once, unless somebody has stood in the way of late.
    pub(super) fn begin_locking(&mut self, txn: TxnId) {
        let exec = self.pending.execs.get_mut(&txn).expect("it is under way");
        if !exec.can_be_tried() {
            return self.lock_next(txn);
        }
        if self.pending.tries_skipped > 0 {
            self.pending.tries_skipped -= 1;
            return self.lock_next(txn);
        }
        let tries = exec.tries(self.now);
        exec.stage = Running::of(tries.len());
        for (shard, rows, go) in tries {
            self.tell(shard, txn, ToParticipant::Try { rows, go });
        }
    }

    /// Locks rows and runs the part, if that can be done at once: who waited here might hold what others wait for in the order of
    /// shards. Otherwise nothing stays of it.
    pub(super) fn try_part(&mut self, from: ShardId, txn: TxnId, rows: Vec<RowLock>, go: Arc<Go>) {
        let is_write = rows.iter().any(|row| row.is_exclusive);
        let denial = match self.refusal_of_part(is_write) {
            Some(why) => Denial::Refused(why),
            None if self.parts.is_draining() => Denial::Busy,
            None => match self.parts.locks_mut().try_hold(txn, rows) {
                Ok(rows) => {
                    self.add_part(from, txn, false, Stage::Locked);
                    self.parts.part_mut(txn).expect("it was just added").rows = rows;
                    return self.run_part(txn, go);
                }
                Err(_) => Denial::Busy,
            },
        };
        self.hold_foreign(from, Lsn(0), HeldReply::Txn { txn, message: ToCoordinator::Locked(Err(denial)) });
    }

    /// Why this shard can have no part in a transaction, which changes rows or not.
    pub(super) fn refusal_of_part(&mut self, is_write: bool) -> Option<NotDone> {
        if let Some(refusal) = self.unlisted() {
            return Some(NotDone::of_commands(&refusal));
        }
        match self.admit_write() {
            Err(Stay::Refuse(refusal)) if is_write => Some(NotDone::of_log(&refusal)),
            _ => None,
        }
    }

    /// A part that was to be tried was not begun. That it is not in its shard's log decides on the whole, so those that were are undone.
    pub(super) fn give_up_trying(&mut self, txn: TxnId, denial: Denial) {
        let mut exec = self.pending.execs.remove(&txn).expect("it is under way");
        for part in exec.parts.iter().filter(|part| !part.is_denied) {
            self.tell(part.shard, txn, ToParticipant::Finish { is_committed: false });
        }
        // Under another name: what the logs have of this one is that it was undone.
        let why = match (denial, self.name_txn()) {
            (Denial::Refused(why), _) => why,
            (_, Ok(next)) => {
                exec.is_to_lock();
                self.pending.tries_skipped = TRIES_SKIPPED;
                self.pending.execs.insert(next, exec);
                return self.lock_next(next);
            }
            (_, Err(Stop::Refuse(refusal))) => NotDone::of_log(&refusal),
            (_, Err(_)) => unreachable!("this opening of the log counts, for it has given a name"),
        };
        let mut replies = Replies::default();
        self.refuse_exec(&exec, &why, &mut replies);
        self.answer_exec(exec.hole, replies);
    }
}
