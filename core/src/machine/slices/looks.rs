//! Rows that a command in slices looks at and that only others of its rows tell: SORT with BY or GET of a pattern, of the only shard (of several, it is
//! a transaction). There may be a million of them, and they are not locked: it sees them as they were at a cut, which is drawn when it gets the locks of
//! the rows that it names.
//!
//! So it happens at its cut. What it stores is there only later, and nobody may see both the row before that and a change behind the cut, which would
//! have it happen before and after. So until it has stored
//!
//! - who looks at the row waits ([`crate::tx::Locks::hide`]);
//! - no other command that looks at a cut begins;
//! - and if a transaction begins that reads a cut of its own, all is done anew, in one turn. So it is if what others change is more than is kept for it.

use super::Sliced;
use crate::machine::Machine;
use crate::tx::{CutId, RowLock};
use cairn_storage::units::TxnId;

/// Rows that a command in slices holds, as a transaction of that number would.
pub(super) struct Held {
    pub txn: TxnId,
    pub rows: Vec<RowLock>,
    /// Nobody looks at those that it changes.
    pub is_hidden: bool,
}

impl Held {
    pub fn new(txn: TxnId, rows: Vec<RowLock>) -> Held {
        Held { txn, rows, is_hidden: false }
    }

    fn changes(&self) -> bool {
        self.rows.iter().any(|row| row.is_exclusive)
    }
}

/// How a command in slices sees rows that it does not hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Looks {
    /// It looks at none.
    None,
    At(CutId),
    /// It has looked at all of them, at this cut.
    Over(CutId),
    /// The cut does not serve any more: it is all done in one turn.
    Lost,
}

impl Looks {
    pub fn cut(self) -> Option<CutId> {
        if let Looks::At(cut) = self { Some(cut) } else { None }
    }
}

impl Machine {
    /// It has locked the rows that it names.
    pub(super) fn begin_looks(&mut self, sliced: &mut Sliced) {
        let held = sliced.held.as_mut().expect("it holds them by now");
        if held.changes() {
            self.parts.locks_mut().hide(&held.rows);
            (held.is_hidden, self.parking.stores_looked) = (true, true);
        }
        sliced.looks = Looks::At(self.draw_own());
        // All of them are of one moment.
        sliced.now = self.now;
        sliced.observed = self.shard.engine().log().awaited();
    }

    /// Whether the cut does not serve any more. Then nothing is left of what it has come to.
    pub(super) fn has_lost_looks(&mut self, sliced: &mut Sliced) -> bool {
        let is_hidden = sliced.held.as_ref().is_some_and(|held| held.is_hidden);
        let is_last = |cut| !is_hidden || self.last_cut() == cut;
        let is_lost = match sliced.looks {
            Looks::None => false,
            Looks::At(cut) => self.shard.versions().drawn(cut).is_none() || !is_last(cut),
            Looks::Over(cut) => !is_last(cut),
            Looks::Lost => return true,
        };
        if is_lost {
            self.close_looks(&mut sliced.looks);
            self.end_begun(sliced);
            (sliced.looks, sliced.state, sliced.at) = (Looks::Lost, None, 0);
        }
        is_lost
    }

    /// It looks at no such row any more: what they were at the cut is not kept for it.
    pub(super) fn close_looks(&mut self, looks: &mut Looks) {
        if let Looks::At(cut) = *looks {
            self.shard.versions_mut().close(cut);
            *looks = Looks::Over(cut);
        }
    }

    /// It is over.
    pub(super) fn finish_looks(&mut self, sliced: &mut Sliced) {
        self.close_looks(&mut sliced.looks);
        if sliced.held.as_ref().is_some_and(|held| held.is_hidden) {
            self.parking.stores_looked = false;
        }
    }
}
