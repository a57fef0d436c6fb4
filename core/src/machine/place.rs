//! Stop 4 of 10: where a command on rows runs.

use super::Machine;
use crate::command::{Call, Spread, sort};
use crate::route;
use cairn_storage::units::ShardId;

/// Within a transaction, what is taken in steps where that cannot be.
pub(super) const CROSSSLOT: &str = "CROSSSLOT Keys in request are on several shards, which is not supported here; give the keys a \
                                     common {hash tag}";

/// Where a command on rows runs.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Here,
    There(ShardId),
    /// Each shard its part.
    Spread,
    /// On several shards, as one change.
    Whole,
    Nowhere,
}

impl Machine {
    /// By the shards that own the command's keys.
    #[inline]
    pub(super) fn place(&self, call: &Call<'_>) -> Place {
        // A list of pairs that lacks a value is refused by the command itself.
        let has_keys = call.spec.keys.first > 0 || call.spec.keynum > 0 || call.spec.streams > 0;
        if self.identity.shards == 1 || !has_keys || call.lacks_value() {
            return Place::Here;
        }
        if sort::looks_up(call) {
            return Place::Whole;
        }
        let mut shards = call.spec.row_keys(call.args).map(|at| self.owner(route::slot(&call.args[at])));
        let Some(first) = shards.next() else { return Place::Here };
        if shards.any(|shard| shard != first) {
            return match call.spec.spread {
                Spread::Refuse => Place::Nowhere,
                Spread::Pairs | Spread::PairsIfNone | Spread::Move { .. } | Spread::Copy | Spread::Program(_) => {
                    Place::Whole
                }
                Spread::Sum | Spread::Place => Place::Spread,
            };
        }
        if first == self.identity.shard { Place::Here } else { Place::There(first) }
    }
}
