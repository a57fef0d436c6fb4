//! A set or a sorted set that is stored piece by piece: where nobody but the shard's own turns does ([`Storing`]), or by a program that has found its
//! members piece by piece before.

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

    /// Puts some more; behind the last one the key has all of them. Whether it does.
    pub fn go_on(&mut self, shard: &mut Shard, call: &Call<'_>, found: &Bag) -> Result<bool, Stop> {
        let end = found.len().min(self.at.saturating_add(shard.puts_now() as usize));
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

/// What a command on one shard stores that has found all of it.
pub struct Storing {
    found: Bag,
    stock: Stock,
}

impl Storing {
    /// Begins what the command's first key is to have, in the command's first slice.
    pub fn begin(shard: &mut Shard, call: &Call<'_>, kind: Kind, found: Bag) -> Result<Storing, Stop> {
        Ok(Storing { found, stock: Stock::begin(shard, call, kind)? })
    }

    /// Stores a piece. How many there are, when the key has all of them.
    pub fn go_on(mut self: Box<Storing>, shard: &mut Shard, call: &Call<'_>) -> Result<i64, Stop> {
        match self.stock.go_on(shard, call, &self.found) {
            Ok(true) => Ok(self.found.len() as i64),
            Ok(false) => Err(shard.rest(self, Stop::Long)),
            Err(stop) => Err(shard.rest(self, stop)),
        }
    }
}
