//! Elements of a collection as they were at the cut that the running command looks at: those that have changed since are found among the versions, all others
//! in the tree, and both in one order.
//!
//! The tree finds by rank what is there now. An element that has come or gone since moves all that are behind it, so who asks for a rank goes through the
//! elements with versions that are before it.

use super::Shard;
use crate::tx::CutId;
use cairn_storage::engine::elements::{element, elements_of, order_of};
use cairn_storage::engine::{Engine, Found, RowKey};
use cairn_storage::error::Missing;
use cairn_storage::units::CollectionId;
use std::ops::{Bound, ControlFlow};

/// A collection some of whose elements have changed since the cut.
pub(super) struct Past<'a> {
    engine: &'a Engine,
    shard: &'a Shard,
    cut: CutId,
    db: u8,
    number: CollectionId,
}

/// Between which elements a rank is.
struct Place<'a> {
    /// Elements of the tree before it.
    rank: u64,
    /// The first element with versions behind it, or the last one before it; unbounded before all of them.
    from: Bound<RowKey<'a>>,
}

impl Shard {
    /// `None`: the tree has all elements as the running command sees them.
    #[inline]
    pub(super) fn past(&self, db: u8, number: CollectionId) -> Option<Past<'_>> {
        let cut = self.looked_at()?;
        let has_changed = self.versions.has_changed(cut, elements_of(db), number);
        has_changed.then_some(Past { engine: &self.engine, shard: self, cut, db, number })
    }
}

impl<'a> Past<'a> {
    /// How many elements there were.
    pub fn count(&self) -> Result<u64, Missing> {
        let now = self.engine.element_count(self.db, self.number)?;
        Ok(now.saturating_add_signed(self.more(Bound::Unbounded)?))
    }

    /// How many elements were before this order, and whether it was one's.
    pub fn rank(&self, order: &[u8]) -> Result<(u64, bool), Missing> {
        let row = element(self.db, self.number, order);
        let (now, is_there) = self.engine.element_rank(self.db, self.number, order)?;
        Ok((now.saturating_add_signed(self.more(Bound::Excluded(row))?), self.was_there(row, is_there)))
    }

    /// Visits elements from a rank on, in order.
    pub fn from(&self, rank: u64, visit: &mut Show<'_>) -> Result<(), Missing> {
        let Place { rank, from } = self.place(rank)?;
        let formers = self.shard.versions.elements(elements_of(self.db), self.number, from, Bound::Unbounded);
        let drive = |show: &mut Show<'_>| self.engine.elements_from(self.db, self.number, rank, show);
        self.merge(formers, |one, other| one < other, drive, visit)
    }

    /// The same in the other direction, from the element before `rank` on.
    pub fn before(&self, rank: u64, visit: &mut Show<'_>) -> Result<(), Missing> {
        let Place { rank, from } = self.place(rank)?;
        let to = match from {
            Bound::Included(row) => Bound::Excluded(row),
            Bound::Excluded(row) => Bound::Included(row),
            Bound::Unbounded => Bound::Excluded(element(self.db, self.number, &[0; 3])),
        };
        let formers = self.shard.versions.elements(elements_of(self.db), self.number, Bound::Unbounded, to);
        let drive = |show: &mut Show<'_>| self.engine.elements_before(self.db, self.number, rank, show);
        self.merge(formers.rev(), |one, other| one > other, drive, visit)
    }

    /// How many more there were than there are, of those before a bound.
    fn more(&self, to: Bound<RowKey<'_>>) -> Result<i64, Missing> {
        let mut more = 0;
        for row in self.shard.versions.elements(elements_of(self.db), self.number, Bound::Unbounded, to) {
            let is_there = self.engine.get_bare(row)?.is_some();
            more += i64::from(self.was_there(row, is_there)) - i64::from(is_there);
        }
        Ok(more)
    }

    fn place(&self, rank: u64) -> Result<Place<'a>, Missing> {
        let (mut more, mut place) = (0, Place { rank, from: Bound::Unbounded });
        let all = (Bound::Unbounded, Bound::Unbounded);
        for row in self.shard.versions.elements(elements_of(self.db), self.number, all.0, all.1) {
            let (now, is_there) = self.engine.element_rank(self.db, self.number, &order_of(row.head, row.key))?;
            let at = now.saturating_add_signed(more);
            if at > rank {
                break;
            }
            let was_there = self.was_there(row, is_there);
            more += i64::from(was_there) - i64::from(is_there);
            place = match was_there && at == rank {
                true => Place { rank: now, from: Bound::Included(row) },
                false => Place { rank: rank.saturating_add_signed(-more), from: Bound::Excluded(row) },
            };
        }
        Ok(place)
    }

    /// Whether an element was there that is now, or is not.
    fn was_there(&self, row: RowKey<'_>, is_there: bool) -> bool {
        self.shard.versions.find(self.cut, row).map_or(is_there, |was| was.is_some())
    }

    /// Visits what `drive` finds in the tree as far as it has not changed, and what was there beside it.
    fn merge(
        &self,
        formers: impl Iterator<Item = RowKey<'a>>,
        is_ahead: impl Fn((u64, &[u8]), (u64, &[u8])) -> bool,
        drive: impl FnOnce(&mut Show<'_>) -> Result<(), Missing>,
        visit: &mut Show<'_>,
    ) -> Result<(), Missing> {
        let versions = &self.shard.versions;
        let mut formers = formers.peekable();
        let mut flow = ControlFlow::Continue(());
        let was = |row: RowKey<'a>, visit: &mut Show<'_>| match versions.find(self.cut, row) {
            Some(Some(former)) => visit(row.head, row.key, former.found()),
            _ => ControlFlow::Continue(()),
        };
        drive(&mut |head, rest, found| {
            while let Some(row) = formers.next_if(|row| is_ahead((row.head, row.key), (head, rest)))
                && flow.is_continue()
            {
                flow = was(row, visit);
            }
            let row = RowKey { db: elements_of(self.db), head, key: rest };
            if flow.is_continue() && versions.find(self.cut, row).is_none() {
                flow = visit(head, rest, found);
            }
            flow
        })?;
        while flow.is_continue()
            && let Some(row) = formers.next()
        {
            flow = was(row, visit);
        }
        Ok(())
    }
}

/// Takes an element: head and rest of its order, and what it is.
type Show<'a> = dyn FnMut(u64, &[u8], Found<'_>) -> ControlFlow<()> + 'a;
