//! A set or a sorted set that is stored piece by piece.

use super::bag::Bag;
use crate::collection::score::ScoreBytes;
use crate::collection::zset::by_score;
use crate::collection::{Spread, Tally, order};
use crate::command::Call;
use crate::error::Stop;
use crate::notify::Events;
use crate::shard::{Kind, Shard, Ttl};
use cairn_storage::units::CollectionId;

/// Members that become a collection, so many of which are there already.
pub struct Stock {
    kind: Kind,
    number: CollectionId,
    at: usize,
    tally: Tally,
}

impl Stock {
    /// Begins what the command's first key is to have.
    pub fn begin(shard: &mut Shard, call: &Call<'_>, kind: Kind) -> Result<Stock, Stop> {
        let number = shard.begin_collection(call, &call.args[1])?;
        Ok(Stock { kind, number, at: 0, tally: Tally::default() })
    }

    /// Puts so many more; behind the last one the key has all of them. Whether it does.
    pub fn go_on(&mut self, shard: &mut Shard, call: &Call<'_>, found: &Bag, members: u64) -> Result<bool, Stop> {
        let end = found.len().min(self.at.saturating_add(members as usize));
        while self.at < end {
            let (member, score) = found.get(self.at);
            self.put(shard, call, member, score)?;
            self.tally.add(self.kind, member);
            self.at += 1;
        }
        if self.at < found.len() {
            return Ok(false);
        }
        let tag = shard.thresholds.tag_of(self.kind, 0, found.len() as u64, self.tally);
        let spread = Spread { number: self.number, tag, rest: &[] };
        let (key, name) = (&call.args[1], call.spec.name);
        shard.name_begun(call, key, self.kind, spread, Ttl::Clear)?;
        shard.notify(call, if self.kind == Kind::Set { Events::SET } else { Events::ZSET }, name, key);
        Ok(true)
    }

    fn put(&self, shard: &mut Shard, call: &Call<'_>, member: &[u8], score: f64) -> Result<(), Stop> {
        let by_member = order::of_member(member, shard.hash_seed());
        if self.kind == Kind::Set {
            return shard.put_begun(call, self.kind, self.number, &by_member, (&[], 0));
        }
        let score_bytes = ScoreBytes::of(score);
        shard.put_begun(call, self.kind, self.number, &by_member, (score_bytes.as_bytes(), 0))?;
        shard.put_begun(call, self.kind, by_score(self.number), &order::of_score(score, member), (&[], 0))
    }
}
