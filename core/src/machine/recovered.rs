//! What a start has found committed, until all shards have it in their logs.

use super::Machine;
use crate::parcel::Message;
use cairn_storage::units::{Lsn, TxnId};

/// What recovery has found committed is remembered until its `TxnDone` is stable in the logs of all shards: each has written
/// those of its own when it was opened.
pub(super) struct Recovered {
    pub txns: Vec<TxnId>,
    /// Where this shard's log has them.
    pub lsn: Lsn,
    pub is_told: bool,
    /// Other shards that have not told that theirs are stable.
    pub unheard: usize,
}

impl Machine {
    /// What this shard's start has found committed is stable here: the others are told.
    pub(super) fn tell_recovered(&mut self) {
        let stable = self.shard.stable();
        let Some(recovered) = self.parts.recovered.as_mut().filter(|it| !it.is_told && it.lsn <= stable) else {
            return;
        };
        recovered.is_told = true;
        let own = usize::from(self.identity.shard.0);
        let others = self.outbox.iter_mut().enumerate().filter(|(shard, _)| *shard != own);
        others.for_each(|(_, parcel)| parcel.messages.push(Message::Recovered));
        self.forget_recovered();
    }

    /// Another shard has told so.
    pub(super) fn on_recovered(&mut self) {
        let recovered = self.parts.recovered.as_mut().expect("each shard tells once");
        recovered.unheard -= 1;
        self.forget_recovered();
    }

    fn forget_recovered(&mut self) {
        if let Some(recovered) = self.parts.recovered.take_if(|it| it.is_told && it.unheard == 0) {
            recovered.txns.into_iter().for_each(|txn| self.shard.engine_mut().forget(txn));
        }
    }
}
