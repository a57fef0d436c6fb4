//! Who waits for each other? Edge chasing after Chandy, Misra and Haas, with the waiting at one shard followed at once.
//!
//! An open transaction that begins to wait has its shard look for whom it waits, for whom these wait there, and so on. Those of
//! them that do not wait at this shard may do so at another: their coordinators are asked, and they have the shard where their
//! transaction waits go on. If that comes back to where it began, the youngest open transaction on the way is ended. A cycle always has one,
//! since transactions with declared keys lock in the order of shards.
//!
//! Of one look each transaction is followed once at a shard: where a cycle does not lead back to where the look began, it would go round for ever, and
//! double wherever two wait for one.
//!
//! A cycle is closed by one that begins to wait. If that has declared keys nobody looks at once, so those that wait look again at
//! each tick, some at a time.

use super::Machine;
use super::part::Stage;
use crate::limits::{CHASED_PER_TICK_MAX, PROBE_HOPS_MAX, PROBE_NODES_MAX, PROBES_MAX};
use crate::parcel::Message;
use crate::tx::{Age, Probe, ToCoordinator, ToParticipant};
use cairn_storage::units::{ShardId, TxnId};

impl Machine {
    /// The end of a turn: those that have begun to wait look for whom.
    pub(super) fn chase_begun(&mut self) {
        for txn in std::mem::take(&mut self.parts.chasing) {
            self.chase_from(txn);
        }
    }

    /// A tick: some of those that wait look again.
    pub(super) fn chase_again(&mut self) {
        self.parts.probed.clear();
        if self.parts.open == 0 || self.parts.locks().waiting() == 0 {
            return;
        }
        let waiters: Vec<TxnId> = self.parts.locks().waiters().collect();
        let first = self.parts.chased % waiters.len();
        let count = waiters.len().min(CHASED_PER_TICK_MAX);
        self.parts.chased = first + count;
        (first..first + count).for_each(|at| self.chase_from(waiters[at % waiters.len()]));
    }

    fn chase_from(&mut self, txn: TxnId) {
        if let Some(youngest) = self.waiting_open(txn) {
            self.parts.looks += 1;
            let look = self.parts.looks;
            self.chase(txn, Probe { origin: txn, look, youngest, hops: 0 });
        }
    }

    /// An open transaction that waits here, and in which of its statements.
    fn waiting_open(&self, txn: TxnId) -> Option<(Age, u32)> {
        let Stage::Open(open) = &self.parts.part(txn)?.stage else { return None };
        Some((open.age, open.work.as_ref()?.statement))
    }

    /// Follows the waiting of a transaction here.
    pub(super) fn chase(&mut self, from: TxnId, probe: Probe) {
        let is_known =
            self.parts.probed.len() >= PROBES_MAX || !self.parts.probed.insert((probe.origin, probe.look, from));
        if probe.hops >= PROBE_HOPS_MAX || is_known {
            return;
        }
        // Each with the youngest on the way to it.
        let youngest = self.waiting_open(from).map_or(probe.youngest, |own| probe.youngest.max(own));
        let mut met: Vec<(TxnId, (Age, u32))> = vec![(from, youngest)];
        let mut at = 0;
        while at < met.len() && met.len() < PROBE_NODES_MAX {
            let (txn, youngest) = met[at];
            at += 1;
            let Some(blockers) = self.parts.locks().blockers(txn) else {
                if at > 1 {
                    let probe = Probe { youngest, hops: probe.hops + 1, ..probe };
                    self.ask_coordinator(txn, ToCoordinator::Probe(probe));
                }
                continue;
            };
            for blocker in blockers {
                if blocker == probe.origin {
                    let (age, statement) = youngest;
                    return self.ask_coordinator(age.txn, ToCoordinator::Deadlock { statement });
                }
                if met.iter().any(|(known, _)| *known == blocker) {
                    continue;
                }
                let youngest = self.waiting_open(blocker).map_or(youngest, |other| youngest.max(other));
                met.push((blocker, youngest));
            }
        }
    }

    fn ask_coordinator(&mut self, txn: TxnId, message: ToCoordinator) {
        let to = txn.coordinator;
        if to == self.identity.shard {
            self.on_coordinator(to, txn, message);
        } else {
            self.outbox[usize::from(to.0)].messages.push(Message::ToCoordinator { txn, message });
        }
    }

    /// Somebody waits for this transaction: it may itself wait somewhere.
    pub(super) fn on_probe(&mut self, txn: TxnId, probe: Probe) {
        let at: Option<ShardId> = match self.working_at(txn) {
            Some((shard, _)) => Some(shard),
            None => self.locking_at(txn),
        };
        if let Some(shard) = at {
            self.tell(shard, txn, ToParticipant::Probe(probe));
        }
    }

    /// It is to die, unless it has gone on meanwhile.
    pub(super) fn on_deadlock(&mut self, txn: TxnId, statement: u32) {
        if self.working_at(txn).is_some_and(|(_, number)| number == statement) {
            self.restart_wide(txn);
            self.end_open(txn, "DEADLOCK", "it and others have waited for each other's locks");
        }
    }
}
