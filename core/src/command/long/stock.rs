//! A set, a sorted set or a list that is stored piece by piece, by the steps of [`super::made`], by who has found its members before.

use super::bag::Bag;
use super::made::{self, Piece};
use crate::collection::list::encoding;
use crate::collection::score::ScoreBytes;
use crate::collection::{Spread, Tally, label, order};
use crate::command::Call;
use crate::command::program::{Here, Steps};
use crate::error::Stop;
use crate::limits::{PACKED_BYTES_MAX, PUT_ITEMS, SLICE_BYTES};
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
#[derive(Default)]
pub struct Stock {
    number: Option<CollectionId>,
    at: usize,
    tally: Tally,
    /// Of a list: the label of the last one.
    label: Vec<u8>,
    /// The elements that are being put, and how many members are there then.
    piece: Piece,
    end: usize,
}

impl Stock {
    /// Puts some more; behind the last one the key has all of them. Whether it does.
    pub fn go_on(&mut self, steps: &mut dyn Steps, target: &Target<'_>, found: &Bag, items: u64) -> Result<bool, Stop> {
        let Target { key, kind, event } = *target;
        let Some(number) = self.number else {
            self.number = Some(made::begin(steps, key)?);
            return Ok(false);
        };
        if self.at < found.len() {
            // Who asks again asks the same, however many it may put by then.
            if self.piece.is_empty() {
                self.fill(kind, found, (items / PUT_ITEMS).max(1) as usize, steps.shard().hash_seed());
            }
            made::put(steps, key, (kind, number), &self.piece)?;
            self.piece.clear();
            self.at = self.end;
            return Ok(false);
        }
        let shard = steps.shard();
        let tag = match kind {
            Kind::List => encoding::of_new(shard, found.bytes() as u64, found.len() as u64),
            _ => shard.thresholds.tag_of(kind, 0, found.len() as u64, self.tally),
        };
        made::name(steps, key, kind, Spread { number, tag, rest: &[] }, Ttl::Clear, event)?;
        Ok(true)
    }

    fn fill(&mut self, kind: Kind, found: &Bag, most: usize, hash_seed: u64) {
        self.end = self.at;
        while self.end < found.len().min(self.at.saturating_add(most)) && self.piece.bytes() < SLICE_BYTES {
            let (member, score) = found.get(self.end);
            self.tally.add(kind, member);
            self.put(kind, member, score, hash_seed);
            self.end += 1;
        }
    }

    fn put(&mut self, kind: Kind, member: &[u8], score: f64, hash_seed: u64) {
        if kind == Kind::List {
            let next = if self.end == 0 { label::first() } else { label::behind(&self.label, 1).remove(0) };
            self.piece.push(0, &next, (member, 0));
            self.label = next;
            return;
        }
        let by_member = order::of_member(member, hash_seed);
        if kind == Kind::Set {
            return self.piece.push(0, &by_member, (&[], 0));
        }
        self.piece.push(0, &by_member, (ScoreBytes::of(score).as_bytes(), 0));
        self.piece.push(1, &order::of_score(score, member), (&[], 0));
    }
}

/// What a command finds and then stores.
#[derive(Default)]
pub struct Storing {
    pub found: Bag,
    stock: Option<Stock>,
}

impl Storing {
    /// Stores a piece of all that was found. How many there are, when the key has all of them; `None`: they are few, and nothing was done.
    pub fn go_on(&mut self, steps: &mut dyn Steps, target: &Target<'_>) -> Result<Option<i64>, Stop> {
        let items = steps.items();
        if self.stock.is_none() && !(steps.rests() && is_large(&self.found, items)) {
            return Ok(None);
        }
        match self.stock.get_or_insert_default().go_on(steps, target, &self.found, items)? {
            true => Ok(Some(self.found.len() as i64)),
            false => Err(Stop::Long),
        }
    }

    /// The same of a command all of whose rows are on this shard, which stops if that is long.
    pub fn go_on_here(&mut self, shard: &mut Shard, call: &Call<'_>, target: &Target<'_>) -> Result<Option<i64>, Stop> {
        match shard.is_short(self.found.len() as u64)? {
            true => Ok(None),
            false => self.go_on(&mut Here { shard, call }, target),
        }
    }
}

/// Whether what was found is stored piece by piece, where that can be: so many items are done at once.
pub fn is_large(found: &Bag, items: u64) -> bool {
    found.len() as u64 > items && found.bytes() > PACKED_BYTES_MAX
}
