//! Counters that are split over several shards: what their owner knows of them, and what a shard knows that has sub-rows of
//! others. The rules S1 to S4, and why they are right: `docs/decisions/0019-split-counters.md`.
//!
//! ```text
//!                                                                       .---. looked at: Looking, and Open again
//!            promote             the list is stable          shared out  v   |
//!   (whole) ---------> Noting ------------------> Sharing -----------> Open
//!      ^                  |                          |                   |  somebody is turned away,
//!      | not wanted so    | somebody is turned away  | refused           |  or it is to end
//!      | any more         v                          v       merged      v
//!   Resting <---------- (lock given back) <---------------- Merging <---'
//!      | next tick                                     |  ^
//!      '------> Noting                         refused v  | a little later, or a start has found it
//!                                                    Apart
//! ```
//!
//! `machine/hot.rs` has the functions behind the arrows.

use crate::command::Call;
use crate::command::args::Args;
use crate::command::strings::counters::Step;
use crate::tx::RowLock;
use crate::unstable::{Heads, place};
use cairn_storage::units::Lsn;

/// What a base may be at most, up or down, for its counter to be split, and what all sub-rows together may.
pub const SUM_MAX: i64 = 1 << 61;

/// Merges that may follow each other quickly before a counter is no longer split again; each second makes up for one.
const MERGES_MAX: u32 = 16;

/// What a blind addition adds, and what it may not go below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addition {
    pub amount: i64,
    pub min: Option<i64>,
}

impl Addition {
    /// What the command adds, if who has sent it does not ask for the sum: because it never says so, or because nobody is
    /// answered (`is_silent`).
    pub fn of(call: &Call<'_>, is_silent: bool) -> Option<Addition> {
        Addition::parse(call.spec.name, call.args, is_silent)
    }

    /// The same of a command of that name.
    pub fn parse(name: &str, args: &Args<'_>, is_silent: bool) -> Option<Addition> {
        let plain = |amount| Some(Addition { amount, min: None });
        match name {
            "add" => plain(args.integer(2).ok()?),
            "decrmin" => {
                let (decrement, min) = (args.integer(2).ok()?, args.integer(3).ok()?);
                (decrement >= 0).then_some(Addition { amount: -decrement, min: Some(min) })
            }
            _ if !is_silent => None,
            "incr" => plain(1),
            "decr" => plain(-1),
            "incrby" => plain(args.integer(2).ok()?),
            "decrby" => plain(args.integer(2).ok()?.checked_neg()?),
            _ => None,
        }
    }
}

/// What a part of a counter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub low: i64,
    pub high: i64,
    /// What the whole counter never goes below.
    pub floor: Option<i64>,
}

impl Bounds {
    /// Of the base.
    pub fn of_base(floor: Option<i64>) -> Bounds {
        Bounds { low: floor.unwrap_or(-2 * SUM_MAX), high: 2 * SUM_MAX, floor }
    }

    /// Of each of so many sub-rows.
    pub fn of_sub_row(floor: Option<i64>, count: u16) -> Bounds {
        let high = SUM_MAX / i64::from(count.max(1));
        Bounds { low: if floor.is_some() { 0 } else { -high }, high, floor }
    }

    /// What the part is after the addition, if it may be that. Keeps S4.
    pub fn admit(&self, value: i64, addition: Addition) -> Option<i64> {
        if let Some(min) = addition.min
            && self.floor.is_none_or(|floor| min > floor)
        {
            return None;
        }
        value.checked_add(addition.amount).filter(|after| (self.low..=self.high).contains(after))
    }

    /// The same after several additions, each of which may be done where it stands.
    pub fn admit_all(&self, value: i64, steps: &[Step]) -> Option<i64> {
        steps.iter().try_fold(value, |value, step| self.admit(value, Addition { amount: step.amount, min: None }))
    }
}

/// How far a split counter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The list names it up to here; `None`: the list is to be written.
    Noting(Option<Lsn>),
    /// Allowances are being shared out.
    Sharing,
    Open,
    /// The sub-rows are being looked at, and are locked meanwhile.
    Looking,
    Merging,
    /// It was to be merged, or a start has found it: from then on it is tried, and `line` is what those are told who want it
    /// meanwhile.
    Apart {
        from_ns: u64,
        line: Option<String>,
    },
    /// It is whole, and will be split again.
    Resting,
}

/// A counter of this shard.
pub struct Split {
    pub id: u64,
    pub db: u8,
    pub head: u64,
    pub key: Vec<u8>,
    /// Shards that have a part, the owner included.
    pub parts: u16,
    /// What those who take from it want to be left, and whether it is kept: not where there is less already.
    pub min: Option<i64>,
    pub floor: Option<i64>,
    pub phase: Phase,
    /// What the base is while it takes blind additions.
    pub value: i64,
    /// What each sub-row was given.
    pub allowance: i64,
    /// While it is not whole.
    pub locked: Vec<RowLock>,
    /// Somebody wants the whole.
    pub is_wanted: bool,
    /// Somebody wants to know the sum.
    pub is_asked: bool,
    /// The sum of the sub-rows, as long as they are locked and this shard has not told them otherwise.
    pub sub_sum: Option<i64>,
    /// It is not split again.
    pub is_ending: bool,
    /// A client has asked for it.
    pub is_manual: bool,
    pub merges: u32,
    /// Blind additions since the last second, and seconds in a row that had too few.
    pub additions: u64,
    pub cool_seconds: u64,
}

impl Split {
    pub fn place(&self) -> u64 {
        place(self.db, self.head)
    }

    /// Whether the base takes blind additions.
    pub fn takes_additions(&self) -> bool {
        matches!(self.phase, Phase::Noting(_) | Phase::Open | Phase::Looking)
    }

    /// A second has passed: whether it is still worth it, where `rate_min` additions a second are.
    pub fn on_second(&mut self, rate_min: u64, seconds_max: u64) -> bool {
        let additions = std::mem::take(&mut self.additions);
        self.cool_seconds = if additions >= rate_min { 0 } else { self.cool_seconds + 1 };
        let is_disturbed = self.merges > MERGES_MAX;
        self.merges = self.merges.saturating_sub(1);
        self.is_manual || !is_disturbed && self.cool_seconds < seconds_max
    }
}

/// A sub-row of another shard's counter, here.
pub struct SubRow {
    pub db: u8,
    pub head: u64,
    pub key: Vec<u8>,
    pub owner: u16,
    pub bounds: Bounds,
    pub value: i64,
    /// There is a row.
    pub is_there: bool,
    /// It takes additions.
    pub is_open: bool,
    pub additions: u64,
}

/// Whether the list has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Load {
    #[default]
    Pending,
    Done,
    /// It cannot be: what who wants a row is told.
    Unusable(String),
}

/// All split counters that concern a shard.
#[derive(Default)]
pub struct Splits {
    pub load: Load,
    /// This shard's own.
    pub own: Vec<Split>,
    pub(crate) sub_rows: Heads<SubRow>,
    pub id_last: u64,
    /// The list in the tree is not that of `own`.
    pub is_list_old: bool,
    /// Counters that the start has found, and that are not merged yet.
    pub left_of_start: usize,
    /// The others know that there are none (any more).
    pub is_settled_told: bool,
    /// Other shards that have not told so.
    pub unsettled: u16,
    /// Transactions that are to change whole databases: as long as there are any nothing is split.
    pub holds: u32,
    pub second_ns: u64,
    /// When the owners of sub-rows were last asked for a merge of all.
    pub recalled_ns: u64,
}

impl Splits {
    pub fn new(shards: u16, now_ns: u64) -> Splits {
        let load = if shards == 1 { Load::Done } else { Load::Pending };
        let is_settled_told = shards == 1;
        Splits { load, is_settled_told, unsettled: shards - 1, second_ns: now_ns, ..Splits::default() }
    }

    pub fn find(&mut self, db: u8, head: u64, key: &[u8]) -> Option<&mut Split> {
        self.own.iter_mut().find(|split| split.head == head && split.db == db && split.key == key)
    }

    pub fn find_id(&mut self, id: u64) -> Option<&mut Split> {
        self.own.iter_mut().find(|split| split.id == id)
    }

    /// The sub-row that an addition may go to.
    pub fn sub_row(&mut self, db: u8, head: u64, key: &[u8]) -> Option<&mut SubRow> {
        self.sub_rows.get_mut(&place(db, head)).filter(|row| row.is_open && row.db == db && row.key == key)
    }

    /// Nobody can say which counters are split.
    pub fn is_unusable(&self) -> bool {
        matches!(self.load, Load::Unusable(_))
    }

    /// Rows of a database that no client sees.
    pub fn hidden(&self, db: u8) -> u64 {
        self.sub_rows.values().filter(|row| row.db == db && row.is_there).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_within_their_bounds_have_a_sum_that_is_none_too_small_or_large() {
        for floor in [None, Some(-5), Some(10)] {
            for count in [1u16, 2, 1023] {
                let (base, sub) = (Bounds::of_base(floor), Bounds::of_sub_row(floor, count));
                let sum = |base: i64, sub: i64| i128::from(base) + i128::from(sub) * i128::from(count);
                assert!(sum(base.high, sub.high) <= i64::MAX.into());
                assert!(sum(base.low, sub.low) >= i64::MIN.into());
                if let Some(floor) = floor {
                    assert!(sum(base.low, sub.low) >= floor.into());
                }
            }
        }
    }

    #[test]
    fn what_is_taken_stays_above_the_floor_that_was_asked_for() {
        let take = |amount: i64, min| Addition { amount: -amount, min: Some(min) };
        let sub = Bounds::of_sub_row(Some(10), 2);
        assert_eq!(sub.admit(5, take(5, 10)), Some(0));
        assert_eq!(sub.admit(5, take(6, 10)), None);
        assert_eq!(sub.admit(5, take(1, 11)), None, "the others may be at their floor");
        assert_eq!(sub.admit(5, take(1, -3)), Some(4));
        assert_eq!(Bounds::of_sub_row(None, 2).admit(5, take(1, 0)), None);
        let base = Bounds::of_base(Some(10));
        assert_eq!((base.admit(12, take(2, 10)), base.admit(12, take(3, 10))), (Some(10), None));
        assert_eq!(base.admit(12, Addition { amount: i64::MAX, min: None }), None);
    }
}
