//! A set, a sorted set or a list that is stored piece by piece: where nobody but the shard's own turns does ([`Storing`]), or by a program that has
//! found its members piece by piece before.

use super::bag::Bag;
use crate::collection::list::encoding;
use crate::collection::score::ScoreBytes;
use crate::collection::zset::by_score;
use crate::collection::{Spread, Tally, label, order};
use crate::command::Call;
use crate::error::Stop;
use crate::limits::{PACKED_BYTES_MAX, SLICE_BYTES};
use crate::notify::Events;
use crate::shard::{Kind, Shard, Ttl};
use cairn_storage::units::CollectionId;

/// A key that is to have a collection.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    pub key: &'a [u8],
    pub kind: Kind,
    /// What that is called.
    pub event: &'static str,
}

/// Members that become a collection, so many of which are there already.
pub struct Stock {
    number: CollectionId,
    at: usize,
    tally: Tally,
    /// Of a list: the label of the last one.
    label: Vec<u8>,
}

impl Stock {
    /// Begins what a key is to have.
    pub fn begin(shard: &mut Shard, call: &Call<'_>, key: &[u8]) -> Result<Stock, Stop> {
        let number = shard.begin_collection(call, key)?;
        Ok(Stock { number, at: 0, tally: Tally::default(), label: Vec::new() })
    }

    /// Puts some more; behind the last one the key has all of them. Whether it does.
    pub fn go_on(
        &mut self,
        shard: &mut Shard,
        call: &Call<'_>,
        target: &Target<'_>,
        found: &Bag,
    ) -> Result<bool, Stop> {
        let Target { key, kind, event } = *target;
        let end = found.len().min(self.at.saturating_add(shard.puts_now() as usize));
        let mut bytes = 0;
        while self.at < end && bytes < SLICE_BYTES {
            let (member, score) = found.get(self.at);
            self.put(shard, call, kind, member, score)?;
            self.tally.add(kind, member);
            self.at += 1;
            bytes += member.len();
        }
        if self.at < found.len() {
            return Ok(false);
        }
        let (events, tag) = match kind {
            Kind::List => (Events::LIST, encoding::of_new(shard, found.bytes() as u64, found.len() as u64)),
            Kind::Set => (Events::SET, shard.thresholds.tag_of(kind, 0, found.len() as u64, self.tally)),
            _ => (Events::ZSET, shard.thresholds.tag_of(kind, 0, found.len() as u64, self.tally)),
        };
        let spread = Spread { number: self.number, tag, rest: &[] };
        shard.name_begun(call, key, kind, spread, Ttl::Clear)?;
        shard.notify(call, events, event, key);
        Ok(true)
    }

    fn put(&mut self, shard: &mut Shard, call: &Call<'_>, kind: Kind, member: &[u8], score: f64) -> Result<(), Stop> {
        if kind == Kind::List {
            let next = if self.at == 0 { label::first() } else { label::behind(&self.label, 1).remove(0) };
            shard.put_begun(call, kind, self.number, &next, (member, 0))?;
            self.label = next;
            return Ok(());
        }
        let by_member = order::of_member(member, shard.hash_seed());
        if kind == Kind::Set {
            return shard.put_begun(call, kind, self.number, &by_member, (&[], 0));
        }
        let score_bytes = ScoreBytes::of(score);
        shard.put_begun(call, kind, self.number, &by_member, (score_bytes.as_bytes(), 0))?;
        shard.put_begun(call, kind, by_score(self.number), &order::of_score(score, member), (&[], 0))
    }
}

/// What a command on one shard finds and then stores.
#[derive(Default)]
pub struct Storing {
    pub found: Bag,
    stock: Option<Stock>,
}

impl Storing {
    /// Stores a piece of all that was found. How many there are, when the key has all of them; `None`: they are few, and nothing was done.
    pub fn go_on(&mut self, shard: &mut Shard, call: &Call<'_>, target: &Target<'_>) -> Result<Option<i64>, Stop> {
        let stock = match &mut self.stock {
            Some(stock) => stock,
            None if shard.is_short(self.found.len() as u64)? || self.found.bytes() <= PACKED_BYTES_MAX => {
                return Ok(None);
            }
            None => self.stock.insert(Stock::begin(shard, call, target.key)?),
        };
        match stock.go_on(shard, call, target, &self.found)? {
            true => Ok(Some(self.found.len() as i64)),
            false => Err(Stop::Long),
        }
    }
}
