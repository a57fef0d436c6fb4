//! The part that this shard has in transactions over several shards, from the group that is appended to what must be
//! remembered of it. The protocol is the layer above's: `docs/decisions/0015-transactions.md`.
//!
//! ```text
//!   open_txn, changes, close_group       append_done                    forget
//!   ------------------------------> undecided -----------> remembered ----------> gone
//!                                       | undo: all of it
//!                                       v    append_abort
//!                                    undone -------------> gone
//! ```
//!
//! - **T1** While a transaction is undecided, or something is being undone, no checkpoint begins: so the group and what became
//!   of it are both behind a checkpoint's LSN, or both before.
//! - **T2** A checkpoint that begins appends `TxnDone` once more for all that is remembered, and is not durable before these
//!   are: so whoever asks after a crash finds it.
//! - **T3** Nothing but the transaction touches its rows until it is decided: the layer above has them locked. So its group can
//!   be applied where `TxnDone` stands in the log.

use super::Engine;
use super::undo::{Cleared, Image, Undo};
use crate::limits::DATABASES;
use crate::log::Record;
use crate::txn::Bug;
use crate::units::{Lsn, ShardId, TxnId};
use std::collections::BTreeSet;

/// What an engine knows of transactions.
#[derive(Default)]
pub(super) struct Txns {
    /// The transaction whose group is open.
    open: Option<TxnId>,
    /// What the rows were that the open group has changed, the newest change last.
    images: Vec<Image>,
    /// Whether that is kept.
    pub is_keeping: bool,
    /// What databases counted when the group was opened.
    before: [i64; DATABASES],
    /// Of the last group that was closed, until it is taken.
    closed: Option<Undo>,
    undecided: Vec<Undecided>,
    /// Groups that were rolled back and are not undone yet.
    rolling_back: usize,
    /// Databases that were emptied, until that is decided.
    pub cleared: Vec<Cleared>,
    cleared_last: u64,
    /// Committed, and not known to be so in the logs of all participants.
    remembered: BTreeSet<TxnId>,
    /// A bug to have, for tests of the tests.
    planted: Option<Bug>,
}

struct Undecided {
    id: TxnId,
    /// Changes that it has made, and those that are not undone.
    changes: usize,
    left: usize,
}

impl Txns {
    /// Changes of the open group so far.
    pub fn kept(&self) -> usize {
        self.images.len()
    }

    /// Keeps what a row was.
    pub fn push(&mut self, image: Image) {
        self.images.push(image);
    }

    /// Names a database that is emptied.
    pub fn clear(&mut self, cleared: impl FnOnce(u64, Option<TxnId>) -> Cleared) -> u64 {
        self.cleared_last += 1;
        self.cleared.push(cleared(self.cleared_last, self.open));
        self.cleared_last
    }
}

impl Engine {
    /// A name for a transaction that this shard coordinates. `None`: not yet, for nothing that this opening of the log has
    /// written is durable; or, after 2^42 of them, not before the next start.
    pub fn next_txn(&mut self) -> Option<TxnId> {
        let coordinator = self.log.config().shard;
        self.log.next_number().map(|number| TxnId { coordinator, number })
    }

    /// Changes so far of the open group, if it can be undone.
    pub fn group_changes(&self) -> usize {
        self.txns.kept()
    }

    /// As [`Engine::open_group`], of a group that can be undone: by [`Engine::rollback_group`] until it is closed.
    pub fn open_undoable_group(&mut self) {
        self.open_group();
        self.keep_images();
    }

    /// The changes until [`Engine::end_trial`] are only tried: the log knows nothing of them.
    pub fn open_trial(&mut self) {
        assert!(!self.is_in_group, "groups do not nest");
        self.is_in_group = true;
        self.keep_images();
        self.log.mute();
    }

    /// As [`Engine::rollback_group`], of a trial.
    #[must_use = "its rows are as the trial has left them"]
    pub fn end_trial(&mut self) -> Undo {
        self.log.unmute();
        self.end_undone()
    }

    /// As [`Engine::open_group`], of the part that a transaction has here. `participants`: the shards that take part, this one
    /// included, ascending. Once it is closed ([`Engine::close_group`]) and its undo taken ([`Engine::take_undo`]) it is
    /// undecided, until [`Engine::append_done`] or [`Engine::append_abort`].
    pub fn open_txn(&mut self, id: TxnId, participants: &[ShardId]) {
        assert!(!self.is_in_group, "groups do not nest");
        assert!(participants.is_sorted_by(|one, other| one < other) && participants.contains(&self.log.config().shard));
        assert!(!self.knows_txn(id), "a transaction has one group a shard");
        assert!(self.txns.closed.is_none(), "the undo of the group before was taken");
        let bytes: Vec<u8> = participants.iter().flat_map(|shard| shard.0.to_le_bytes()).collect();
        let TxnId { coordinator, number } = id;
        self.is_in_group = true;
        self.keep_images();
        self.txns.open = Some(id);
        self.log.append(&Record::TxnBegin { coordinator: coordinator.0, number, participants: &bytes });
    }

    fn knows_txn(&self, id: TxnId) -> bool {
        self.txns.undecided.iter().any(|undecided| undecided.id == id) || self.txns.remembered.contains(&id)
    }

    fn keep_images(&mut self) {
        self.txns.is_keeping = true;
        self.txns.before = self.counted();
    }

    /// Rows of all databases, without those that have come late.
    pub(super) fn counted(&self) -> [i64; DATABASES] {
        std::array::from_fn(|db| self.rows[db].len() as i64 - self.late[db])
    }

    pub(super) fn grown_since(&self, before: &[i64; DATABASES]) -> [i64; DATABASES] {
        let now = self.counted();
        std::array::from_fn(|db| now[db] - before[db])
    }

    /// The group is closed: what it has kept becomes its undo, or is of no use.
    pub(super) fn close_txn(&mut self) {
        let images = std::mem::take(&mut self.txns.images);
        self.txns.is_keeping = false;
        let Some(id) = self.txns.open.take() else { return self.drop_cleared(None) };
        self.txns.undecided.push(Undecided { id, changes: images.len(), left: images.len() });
        self.txns.closed = Some(Undo { txn: Some(id), images, grown: self.grown_since(&self.txns.before) });
    }

    /// What it takes to undo the transaction whose group was closed just now. It is dropped if the transaction commits.
    pub fn take_undo(&mut self) -> Undo {
        self.txns.closed.take().expect("the group of a transaction was closed")
    }

    /// Ends the open group, undoable or a transaction's, as if it had never been: in the log at once, in the trees when
    /// [`Engine::undo`] has gone through. Until then its rows are nobody's to see, and it counts as undecided.
    #[must_use = "its rows are as the group has left them"]
    pub fn rollback_group(&mut self) -> Undo {
        self.log.append(&Record::GroupAbort);
        self.end_undone()
    }

    fn end_undone(&mut self) -> Undo {
        assert!(self.is_in_group && self.txns.is_keeping, "only a group that can be undone is rolled back");
        self.is_in_group = false;
        self.txns.is_keeping = false;
        self.txns.open = None;
        let images = std::mem::take(&mut self.txns.images);
        self.txns.rolling_back += usize::from(!images.is_empty());
        Undo { txn: None, images, grown: self.grown_since(&self.txns.before) }
    }

    /// Some of a group is undone: so many changes are left.
    pub(super) fn on_undone(&mut self, txn: Option<TxnId>, left: usize) {
        match txn {
            None => self.txns.rolling_back -= usize::from(left == 0),
            Some(id) => {
                let undecided = self.txns.undecided.iter_mut().find(|undecided| undecided.id == id);
                undecided.expect("what is decided is not undone").left = left;
            }
        }
    }

    /// The transaction is committed: the groups of all participants are stable. What follows in the log may be about its
    /// rows. Causes no flush of its own. Keep [`Engine::forget`] in mind.
    pub fn append_done(&mut self, id: TxnId) -> Lsn {
        let Undecided { changes, left, .. } = self.decide(id);
        assert_eq!(changes, left, "what is committed is not undone");
        self.drop_cleared(Some(id));
        self.txns.remembered.insert(id);
        self.log.append_lazy(&done(id))
    }

    /// The transaction never happened: it is undone here. Who reads its rows waits for this LSN.
    pub fn append_abort(&mut self, id: TxnId) -> Lsn {
        assert_eq!(self.decide(id).left, 0, "what is aborted is undone before");
        let TxnId { coordinator, number } = id;
        self.log.append(&Record::TxnAbort { coordinator: coordinator.0, number })
    }

    fn decide(&mut self, id: TxnId) -> Undecided {
        let at = self.txns.undecided.iter().position(|undecided| undecided.id == id);
        self.txns.undecided.swap_remove(at.expect("a transaction is decided once"))
    }

    /// Transactions whose group is in the log and not decided, and groups that are being undone. As long as there are any no
    /// checkpoint begins.
    pub fn undecided(&self) -> usize {
        self.txns.undecided.len() + self.txns.rolling_back
    }

    /// A checkpoint that is wanted waits for decisions, and for nothing else: who grants locks for transactions over several
    /// shards grants none meanwhile, or it would wait for ever.
    pub fn is_checkpoint_held_up(&self) -> bool {
        self.undecided() > 0 && self.is_checkpoint_due()
    }

    /// `TxnDone` is stable in the logs of all participants: nobody will ask for it any more.
    pub fn forget(&mut self, id: TxnId) {
        self.txns.remembered.remove(&id);
    }

    /// Committed transactions that some participant may still ask for after a crash.
    pub fn remembered(&self) -> impl ExactSizeIterator<Item = TxnId> {
        self.txns.remembered.iter().copied()
    }

    /// What recovery has found to be committed, and some participant may not have in its log.
    pub(super) fn remember(&mut self, id: TxnId) {
        self.txns.remembered.insert(id);
    }

    /// A checkpoint begins at what the log has now. Keeps T1 and T2: answers what must be durable before it is.
    pub(super) fn pass_txns(&mut self) -> Lsn {
        let planted = self.txns.planted;
        assert!(self.undecided() == 0 || planted == Some(Bug::CheckpointPasses), "checkpoints wait for decisions");
        if planted != Some(Bug::DoneForgotten) {
            for id in &self.txns.remembered {
                self.log.append(&done(*id));
            }
        }
        self.log.hurry();
        if planted == Some(Bug::CheckpointAhead) { Lsn(0) } else { self.log.appended() }
    }

    /// Whether a checkpoint may begin. Keeps T1.
    pub(super) fn may_pass_txns(&self) -> bool {
        self.undecided() == 0 || self.txns.planted == Some(Bug::CheckpointPasses)
    }

    /// For tests of the tests.
    pub fn plant(&mut self, bug: Option<Bug>) {
        self.txns.planted = bug;
    }

    /// The databases that a transaction, or a group that is no transaction's, has emptied stay empty.
    fn drop_cleared(&mut self, txn: Option<TxnId>) {
        let mut at = 0;
        let mut were_expiring = false;
        while at < self.txns.cleared.len() {
            if self.txns.cleared[at].txn == txn {
                let mut cleared = self.txns.cleared.swap_remove(at);
                self.detach(&mut cleared.rows, cleared.outside > 0);
                were_expiring |= cleared.expiring > 0;
                if let Some(pending) = &mut self.redo {
                    pending.forget_aside(cleared.number);
                }
                self.deferred.forget_aside(cleared.number);
                self.orphans.forget_aside(cleared.number);
            } else {
                at += 1;
            }
        }
        if were_expiring {
            self.drop_deadlines();
        }
    }
}

fn done(id: TxnId) -> Record<'static> {
    Record::TxnDone { coordinator: id.coordinator.0, number: id.number }
}
