//! Two databases change places: their trees do, with all that is counted of them, in constant time. What knows rows by their
//! database from elsewhere follows: effects that are still to be applied ([`super::pending`]), and deadlines and rows that wait for their
//! leaves ([`super::deferred`]), by [`crate::spaces`].

use super::Engine;
use super::elements::elements_of;
use super::undo::Image;
use crate::log::Record;
use crate::units::Lsn;

impl Engine {
    /// Two databases change places, in constant time.
    pub fn swap(&mut self, one: u8, other: u8) -> Lsn {
        self.apply_swap(one, other);
        if self.txns.is_keeping {
            self.txns.push(Image::Swap(one, other));
        }
        let lsn = self.log.append(&Record::Swap { one, other });
        if !self.log.is_muted() {
            self.swapped = lsn;
        }
        lsn
    }

    pub(super) fn apply_swap(&mut self, one: u8, other: u8) {
        self.swap_trees(one, other);
        self.swap_trees(elements_of(one), elements_of(other));
        self.orphans.swap(one, other);
    }

    fn swap_trees(&mut self, one: u8, other: u8) {
        let (at, with) = (usize::from(one), usize::from(other));
        self.rows.swap(at, with);
        self.counts.forget();
        self.expiring.swap(at, with);
        self.outside.swap(at, with);
        self.spaces.swap(one, other);
        if let Some(pending) = &mut self.redo {
            pending.swap(one, other);
        }
    }
}
