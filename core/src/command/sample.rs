//! What HRANDFIELD, SRANDMEMBER and ZRANDMEMBER have in common: which ranks are drawn.

use super::Call;
use crate::error::Refusal;
use crate::limits::SAMPLE_COUNT_MAX;
use crate::shard::Shard;
use std::collections::BTreeSet;

/// What is asked for: one, so many different ones, or (negative) so many, whichever come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub count: Option<i64>,
    pub has_values: bool,
}

impl Sample {
    /// `key [count [word]]`
    pub fn parse(call: &Call<'_>, word: &str) -> Result<Sample, Refusal> {
        let args = call.args;
        if args.len() == 2 {
            return Ok(Sample { count: None, has_values: false });
        }
        let count = args.integer(2)?;
        if count == i64::MIN {
            let (low, high) = (-i64::MAX, i64::MAX);
            return Err(Refusal::text(format!("ERR value is out of range, value must between {low} and {high}")));
        }
        let has_values = args.len() > 3;
        if args.len() > 4 || has_values && !args.is(3, word) {
            return Err(Refusal::Syntax);
        }
        let out_of_range = Refusal::text("ERR value is out of range");
        if count < -SAMPLE_COUNT_MAX || has_values && count > i64::MAX / 2 {
            return Err(out_of_range);
        }
        Ok(Sample { count: Some(count), has_values })
    }
}

/// The ranks that are drawn of `len`, which is not 0. Different ones ascend.
pub(super) fn ranks(shard: &mut Shard, sample: &Sample, len: u64) -> Vec<u64> {
    let count = sample.count.unwrap_or(-1);
    if count < 0 {
        return (0..count.unsigned_abs()).map(|_| below(shard, len)).collect();
    }
    let count = count as u64;
    if count >= len {
        return (0..len).collect();
    }
    // Floyd's: each set of ranks is as likely as any other.
    let mut ranks = BTreeSet::new();
    for last in len - count..len {
        let rank = below(shard, last + 1);
        if !ranks.insert(rank) {
            ranks.insert(last);
        }
    }
    ranks.into_iter().collect()
}

/// A number below `len`, each as likely as any other as far as can be seen.
pub(super) fn below(shard: &mut Shard, len: u64) -> u64 {
    ((u128::from(shard.random()) * u128::from(len)) >> 64) as u64
}
