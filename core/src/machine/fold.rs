//! Commands that make one thing of rows which are on several shards: BITOP, PFCOUNT, PFMERGE. The rows are locked and looked at, and the
//! connection's shard does the rest; what is kept becomes the row of the first key.

use super::Machine;
use super::participate::locks_of;
use super::plan::{Exec, Plan, Slot};
use super::whole::{Look, entry, integer, refused};
use crate::command::args::{Args, copied};
use crate::command::{Call, Fold, Folded, Spec};
use crate::event::Now;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::route;
use crate::tx::{RowKeys, SeenRow, Told};
use cairn_storage::units::ShardId;

/// A command that waits for its rows.
pub(super) struct Folding {
    fold: Fold,
    spec: &'static Spec,
    bytes: Vec<u8>,
    ranges: Vec<(u32, u32)>,
    db: u8,
    now: Now,
    /// For each key, which shard was asked for it, and where it is in the answer.
    places: Vec<(usize, usize)>,
}

impl Machine {
    pub(super) fn plan_fold(&self, plan: &mut Plan<'_>, call: &Call<'_>, fold: Fold) -> Look {
        let (mut asked, mut places): (Vec<(ShardId, RowKeys)>, _) = (Vec::new(), Vec::new());
        for (at, lock) in call.spec.keys.positions(call.args.len()).zip(locks_of(self, call)) {
            let key = &call.args[at];
            let shard = self.owner(route::slot(key));
            plan.lock(shard, vec![lock]);
            let of_shard = asked.iter().position(|(known, _)| *known == shard).unwrap_or_else(|| {
                asked.push((shard, Vec::new()));
                asked.len() - 1
            });
            places.push((of_shard, asked[of_shard].1.len()));
            asked[of_shard].1.push((call.db, key.to_vec(), Told::String));
        }
        let (bytes, ranges) = copied(call.args.iter());
        Look::of_fold(asked, Folding { fold, spec: call.spec, bytes, ranges, db: call.db, now: call.now, places })
    }

    /// The rows are there: what follows becomes a part of the transaction, or is answered at once.
    pub(super) fn fold(
        &self,
        exec: &mut Exec,
        seen: &mut [Option<Vec<Option<SeenRow>>>],
        folding: &Folding,
    ) -> Result<(), Replies> {
        let row = |&(shard, at): &(usize, usize)| seen[shard].as_mut()?.get_mut(at)?.take();
        let rows: Vec<Option<SeenRow>> = folding.places.iter().map(row).collect();
        let args = Args::new(&folding.bytes, &folding.ranges);
        let Folding { spec, db, now, .. } = *folding;
        let call = Call { spec, args: &args, db, is_resp3: false, now, head: 0 };
        let (value, keeps_ttl, number) = match (folding.fold)(&self.shard, &call, &rows).map_err(refused)? {
            Folded::Integer(number) => return Err(integer(number)),
            Folded::Stored { value, keeps_ttl, reply } => (value, keeps_ttl, reply),
        };
        let key = &args[spec.keys.first];
        let (shard, head) = (self.owner(route::slot(key)), self.shard.head(key));
        let words: Vec<&[u8]> = match &value {
            None => vec![b"DEL", key],
            Some(value) if keeps_ttl => vec![b"SET", key, value, b"KEEPTTL"],
            Some(value) => vec![b"SET", key, value],
        };
        exec.give(shard, entry(if value.is_some() { "set" } else { "del" }), db, head, &words);
        let mut replies = Replies::default();
        let mut reply = Reply::new(&mut replies, false);
        match number {
            Some(number) => reply.integer(number),
            None => reply.ok(),
        }
        exec.slots = vec![Slot::Reply(replies)];
        Ok(())
    }
}
