//! What a command may do with a split counter: add to its base, or to a sub-row, be answered with the sum, or wait.

use crate::bug::Bug;
use crate::command::strings::counters::Step;
use crate::command::{Call, Flags};
use crate::error::Refusal;
use crate::event::ConnId;
use crate::hot::split::{Addition, Bounds, Phase, Split};
use crate::machine::Machine;

/// What becomes of a command on a row of this shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::machine) enum Gate {
    /// The row is no split counter, or the command wants the whole: locks decide.
    Closed,
    /// It adds to the base.
    Add,
    /// It is answered with the sum: so much beside the base.
    Sum(i64),
    /// It will, when allowances have been shared out or the counter is whole.
    Wait,
    Refuse(Refusal),
}

impl Machine {
    /// What a command that is not answered if `is_silent` may do with a row that may be a split counter.
    pub(in crate::machine) fn gate_own(&mut self, call: &Call<'_>, is_silent: bool) -> Gate {
        if self.splits.own.is_empty() || !call.spec.is_single() || call.spec.keys.first == 0 {
            return Gate::Closed;
        }
        let Some(split) = self.splits.find(call.db, call.head, &call.args[call.spec.keys.first]) else {
            return Gate::Closed;
        };
        // Who keeps it in a cache is told of changes by its owner, which has to make them then.
        if call.spec.name == "get" && !self.shard.tracked.has(&call.args[1]) {
            return gate_look(split);
        }
        let addition = Addition::of(call, is_silent);
        let fits = |bounds: Bounds, value| addition.is_some_and(|addition| bounds.admit(value, addition).is_some());
        gate_split(split, addition.is_some(), fits)
    }

    /// The same of several increments of one key.
    pub(in crate::machine) fn gate_steps(&mut self, call: &Call<'_>, steps: &[Step], is_silent: bool) -> Gate {
        if self.splits.own.is_empty() {
            return Gate::Closed;
        }
        let Some(split) = self.splits.find(call.db, call.head, &call.args[1]) else { return Gate::Closed };
        let is_blind = is_silent || steps.iter().all(|step| step.is_blind);
        gate_split(split, is_blind, |bounds, value| bounds.admit_all(value, steps).is_some())
    }

    /// Additions to a base were done.
    pub(in crate::machine) fn note_steps_added(&mut self, call: &Call<'_>, steps: &[Step]) {
        let split = self.splits.find(call.db, call.head, &call.args[1]).expect("it was let through");
        split.value = Bounds::of_base(split.floor).admit_all(split.value, steps).expect("it was let through");
        split.additions += steps.len() as u64;
    }

    /// Whether several increments of a key of another shard are added to a sub-row of this one.
    #[inline]
    pub(in crate::machine) fn sub_row_takes(
        &mut self,
        conn: ConnId,
        call: &Call<'_>,
        steps: &[Step],
        is_silent: bool,
    ) -> bool {
        if self.splits.sub_rows.is_empty() || self.is_sub_row_closed(conn, call) {
            return false;
        }
        let is_blind = is_silent || steps.iter().all(|step| step.is_blind);
        let row = self.splits.sub_row(call.db, call.head, &call.args[1]).filter(|_| is_blind);
        row.is_some_and(|row| row.bounds.admit_all(row.value, steps).is_some())
    }

    /// They were.
    pub(in crate::machine) fn note_sub_row_added(&mut self, call: &Call<'_>, steps: &[Step]) {
        self.stats.counters.hot_local += steps.len() as u64;
        let row = self.splits.sub_row(call.db, call.head, &call.args[1]).expect("it was there before");
        row.value = row.bounds.admit_all(row.value, steps).expect("it was let through");
        row.additions += steps.len() as u64;
        row.is_there = true;
    }

    /// An addition to a base was done.
    pub(in crate::machine) fn note_added(&mut self, call: &Call<'_>, is_silent: bool) {
        let addition = Addition::of(call, is_silent).expect("it was one");
        let split = self.splits.find(call.db, call.head, &call.args[1]).expect("it was let through");
        split.value += addition.amount;
        split.additions += 1;
    }

    /// Whether a command on a row of another shard adds to a sub-row of this one. What the connection has sent before must not
    /// be on its way: it would come later.
    #[inline]
    pub(in crate::machine) fn is_sub_row(&mut self, conn: ConnId, call: &Call<'_>) -> bool {
        !self.splits.sub_rows.is_empty() && self.admits_sub_row(conn, call)
    }

    /// The owner is to do what the connection adds: it may not overtake what is on its way there, nor change what is looked at.
    /// Keeps S5.
    fn is_sub_row_closed(&self, conn: ConnId, call: &Call<'_>) -> bool {
        self.planted != Some(Bug::SplitUnrecalled) && self.is_locked(call) || self.session(conn).output.has_open_holes()
    }

    fn admits_sub_row(&mut self, conn: ConnId, call: &Call<'_>) -> bool {
        if !call.spec.flags.has(Flags::COUNTS) || self.is_sub_row_closed(conn, call) {
            return false;
        }
        let Some(addition) = Addition::of(call, self.is_silent(conn)) else { return false };
        let row = self.splits.sub_row(call.db, call.head, &call.args[1]);
        row.is_some_and(|row| row.bounds.admit(row.value, addition).is_some())
    }
}

/// Whether a blind addition may be made to the base of a split counter that has what `fits` says of bounds and value.
fn gate_split(split: &Split, is_blind: bool, fits: impl FnOnce(Bounds, i64) -> bool) -> Gate {
    match &split.phase {
        Phase::Apart { line: Some(line), .. } => Gate::Refuse(Refusal::text(line.clone())),
        _ if is_blind && split.takes_additions() && fits(Bounds::of_base(split.floor), split.value) => Gate::Add,
        Phase::Sharing | Phase::Merging if is_blind => Gate::Wait,
        _ => Gate::Closed,
    }
}

/// Whether a GET of a split counter may be answered now.
fn gate_look(split: &mut Split) -> Gate {
    match &split.phase {
        Phase::Apart { line: Some(line), .. } => Gate::Refuse(Refusal::text(line.clone())),
        // Nobody has got a sub-row.
        Phase::Noting(_) => Gate::Sum(0),
        Phase::Open | Phase::Looking => match split.sub_sum {
            Some(sum) => Gate::Sum(sum),
            None => {
                split.is_asked = true;
                Gate::Wait
            }
        },
        Phase::Sharing | Phase::Merging => Gate::Wait,
        Phase::Apart { line: None, .. } | Phase::Resting => Gate::Closed,
    }
}
