//! The rows of a shard as they were at a cut.

use super::{Row, ScanEnd, Shard, is_live};
use crate::command::Call;
use crate::command::args::parse_integer;
use crate::error::Stop;
use crate::event::Now;
use crate::tx::{CutId, Sum, View};
use crate::versions::{Former, Held, Versions};
use cairn_storage::blob::Blob;
use cairn_storage::engine::elements::is_elements;
use cairn_storage::engine::{Found, RowKey};
use cairn_storage::error::Missing;
use cairn_storage::limits::DATABASES;
use std::cell::OnceCell;

/// Values longer than this are shared, if they stand outside of the leaves.
const COPIED_BYTES_MAX: usize = 1024;

/// What the running command looks at instead of the rows as they are.
pub(super) struct Look {
    cut: CutId,
    now: Now,
    sums: Vec<(Sum, OnceCell<Former>)>,
}

impl Shard {
    pub(crate) fn versions(&self) -> &Versions {
        &self.versions
    }

    pub(crate) fn versions_mut(&mut self) -> &mut Versions {
        &mut self.versions
    }

    /// Nobody hears of changes from here on until [`Shard::lift_fence`]: not that they were made, and not what they have made.
    pub(crate) fn set_fence(&mut self) {
        self.fence = self.engine.log().appended();
    }

    pub(crate) fn lift_fence(&mut self) {
        self.fence = super::NO_FENCE;
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.fence != super::NO_FENCE
    }

    /// The next command looks at the rows as they were at a cut, until [`Shard::end_look`]. Answers when that was; `None` if it is not
    /// known any more.
    pub(crate) fn begin_look(&mut self, view: &View) -> Option<Now> {
        let now = self.versions.drawn(view.cut)?;
        let sums = view.sums.iter().map(|sum| (sum.clone(), OnceCell::new())).collect();
        self.look = Some(Box::new(Look { cut: view.cut, now, sums }));
        Some(now)
    }

    pub(crate) fn end_look(&mut self) {
        self.look = None;
    }

    /// The cut that the running command looks at, if it does.
    #[inline]
    pub(crate) fn looked_at(&self) -> Option<CutId> {
        self.look.as_ref().map(|look| look.cut)
    }

    /// Rows of each database, but for those that come late.
    pub(crate) fn rows_but_late(&self) -> [i64; DATABASES] {
        std::array::from_fn(|db| self.engine.row_count(db as u8) as i64 - self.engine.rows_late(db as u8))
    }

    /// Rows that a database had at a cut, those past their time but not yet removed included. All that changes them now is left out.
    pub(super) fn row_count_at(&self, cut: CutId, db: u8) -> Result<u64, Stop> {
        self.engine.await_redo()?;
        self.engine.await_deferred()?;
        // Sub-rows of other shards' counters are no keys: there are few.
        let mut hidden = 0;
        for heads in [0..self.own_heads.start, self.own_heads.end..u64::MAX] {
            let mut visit = |_: &[u8], _: Row<'_>| hidden += 1;
            // At that time everything lives.
            if let ScanEnd::Missing { missing, .. } =
                self.scan_heads(Now::default(), db, heads, &mut visit, &mut || true)
            {
                return Err(missing.into());
            }
        }
        Ok(self.row_count_about_at(cut, db).saturating_sub(hidden))
    }

    /// About as many, at any time.
    pub(super) fn row_count_about_at(&self, cut: CutId, db: u8) -> u64 {
        (self.versions.row_count(cut, db) + self.engine.rows_late(db)).max(0) as u64
    }

    /// A row as the running command sees it.
    #[inline]
    pub(super) fn find(&self, row: RowKey<'_>) -> Result<Option<Found<'_>>, Missing> {
        match &self.look {
            None => self.engine.get(row),
            Some(look) => self.find_at(look, row),
        }
    }

    /// The same, without the value if that need not be in memory.
    #[inline]
    pub(super) fn find_bare(&self, row: RowKey<'_>) -> Result<Option<Found<'_>>, Missing> {
        match &self.look {
            None => self.engine.get_bare(row),
            Some(look) => self.find_at(look, row),
        }
    }

    #[cold]
    fn find_at<'a>(&'a self, look: &'a Look, row: RowKey<'_>) -> Result<Option<Found<'a>>, Missing> {
        if let Some((sum, whole)) = look.sums.iter().find(|(sum, _)| sum.db == row.db && sum.key == row.key) {
            if whole.get().is_none() {
                let base = self.find_part(look.cut, row)?.filter(|base| is_live(base, look.now));
                match joined(base, sum.amount) {
                    Some(former) => drop(whole.set(former)),
                    None => return Ok(base),
                }
            }
            return Ok(whole.get().map(Former::found));
        }
        self.find_part(look.cut, row)
    }

    fn find_part(&self, cut: CutId, row: RowKey<'_>) -> Result<Option<Found<'_>>, Missing> {
        match self.versions.find(cut, row) {
            Some(was) => Ok(was.map(Former::found)),
            None => self.engine.get(row),
        }
    }

    /// The value of a row as the running command sees it, shared, if it stands, or stood, outside of the leaves.
    pub(super) fn find_blob(&self, row: RowKey<'_>) -> Result<Option<Blob>, Missing> {
        match self.look.as_ref().and_then(|look| self.versions.find(look.cut, row)) {
            None => self.engine.blob(row),
            Some(Some(Former { value: Held::Shared(blob), .. })) => Ok(Some(blob.clone())),
            Some(_) => Ok(None),
        }
    }

    /// Bytes of memory that a row takes, as well as they can be told (MEMORY USAGE).
    pub fn row_bytes(&self, call: &Call<'_>, key: &[u8]) -> Result<Option<u64>, Stop> {
        let Some(row) = self.peek(call, key)? else { return Ok(None) };
        if self.look.is_some() {
            // Where it stands now tells nothing of what it was.
            return Ok(Some((key.len() + row.value.len()) as u64));
        }
        Ok(self.engine.row_bytes(self.row_key(call, key))?)
    }

    /// Before a row changes: what it was at the cuts that are read.
    #[inline]
    pub(super) fn keep_former(&mut self, row: RowKey<'_>) -> Result<(), Stop> {
        if self.versions.are_wanted() { self.keep_version(row, false) } else { Ok(()) }
    }

    /// The same, before it is removed if it is there.
    #[inline]
    pub(super) fn keep_removed(&mut self, row: RowKey<'_>) -> Result<(), Stop> {
        if self.versions.are_wanted() { self.keep_version(row, true) } else { Ok(()) }
    }

    #[cold]
    fn keep_version(&mut self, row: RowKey<'_>, is_removal: bool) -> Result<(), Stop> {
        // What is only tried is taken back before anybody looks.
        if self.group.as_ref().is_some_and(|group| group.is_trial) {
            return Ok(());
        }
        if !self.versions.misses(row) {
            if self.group.is_none() && !is_elements(row.db) {
                // If it began to wait for its leaf now it would be counted as one that has come late.
                self.engine.get_bare(row)?;
            }
            return Ok(());
        }
        let was = match self.engine.get(row)? {
            None if is_removal => return Ok(()),
            None => None,
            Some(Found { kind, expire_ms, value }) => {
                let blob = if value.len() > COPIED_BYTES_MAX { self.engine.blob(row)? } else { None };
                Some(Former::new(kind, expire_ms, value, blob.as_ref()))
            }
        };
        self.versions.keep(row, was);
        Ok(())
    }
}

/// A counter's base with what its sub-rows have; `None` if that is the base.
fn joined(base: Option<Found<'_>>, amount: i64) -> Option<Former> {
    if amount == 0 {
        return None;
    }
    let (kind, expire_ms, value) = base.map_or((0, 0, 0), |found| {
        let value = parse_integer(found.value).expect("the base of a split counter is a number");
        (found.kind, found.expire_ms, value)
    });
    Some(Former::new(kind, expire_ms, itoa::Buffer::new().format(value + amount).as_bytes(), None))
}
