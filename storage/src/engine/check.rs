//! The check of a whole shard: for tests, the simulator and offline inspection.

use super::{Engine, expiry};
use crate::error::Missing;
use crate::limits::DATABASES;
use crate::page::Key;
use crate::row::{self, Header};
use crate::units::PageId;
use std::ops::ControlFlow;

impl Engine {
    /// What has to be brought in before [`Engine::check`] can look at everything. Not all of it may be known at first:
    /// ask again until there is nothing.
    pub fn absent(&self) -> Vec<Missing> {
        if self.redo.is_some() {
            return vec![Missing::Redo];
        }
        if !self.deferred.is_empty() {
            return vec![Missing::Deferred];
        }
        let trees = self.rows.iter().chain([&self.deadlines]);
        trees.flat_map(|tree| tree.absent(&self.pool)).map(Missing::Page).collect()
    }

    /// Checks all trees, that rows, deadlines, extents and counts agree, that there are no pages beside those of the trees,
    /// and that every site of the page file has one use. All pages must be in memory. Time is proportional to the data.
    pub fn check(&self) -> Result<(), String> {
        if self.redo.is_some() {
            return Err("redo is not over".into());
        }
        if !self.deferred.is_empty() {
            return Err("rows wait for their leaves".into());
        }
        let mut pages = Vec::new();
        let mut extents = 0;
        for db in 0..self.rows.len() {
            extents += self.check_rows(db, &mut pages)?;
        }
        let census = self.deadlines.check(&self.pool).map_err(|damage| format!("deadlines: {damage:?}"))?;
        pages.extend(census.pages);
        if !self.detached.is_empty() || !self.txns.cleared.is_empty() {
            return Ok(());
        }
        if self.undecided() == 0 {
            (0..DATABASES as u8).try_for_each(|db| self.check_elements(db))?;
        }
        if extents != self.extents.len() {
            return Err(format!("{extents} rows have extents and there are {}", self.extents.len()));
        }
        self.pool.check(&pages)?;
        self.pool.file().map_or(Ok(()), |file| file.check())
    }

    /// Checks the rows of a database; answers how many have extents.
    fn check_rows(&self, db: usize, pages: &mut Vec<PageId>) -> Result<usize, String> {
        let rows = &self.rows[db];
        let census = rows.check(&self.pool).map_err(|damage| format!("database {db}: {damage:?}"))?;
        pages.extend(census.pages);
        let (mut expiring, mut outside) = (0, 0);
        let mut broken = None;
        let visited = rows.scan(&self.pool, Key::MIN, |key, payload| {
            let (header, rest) = Header::decode(payload);
            outside += u64::from(header.is_outside);
            let extent = header.is_outside.then(|| self.extents.get(row::extent_of(rest)));
            if let Some(Ok(extent)) = extent
                && row::is_long(key.tail) == extent.key.is_empty()
            {
                broken = Some(format!("database {db}: the key of head {:#x} is in the wrong place", key.head));
            }
            if header.expire_ms != 0 {
                expiring += 1;
                let entry = expiry::Entry::new(self.spaces.of(db as u8), key.head);
                if !matches!(self.deadlines.find(&self.pool, entry.key(header.expire_ms)), Ok(Some(_))) {
                    broken = Some(format!("database {db}: head {:#x} has no deadline", key.head));
                }
            }
            ControlFlow::Continue(())
        });
        visited.map_err(|missing| format!("{missing:?}"))?;
        if (expiring, outside) != (self.expiring[db], self.outside[db]) {
            broken = Some(format!("database {db}: {expiring} rows expire and {outside} have extents, not as counted"));
        }
        broken.map_or(Ok(outside as usize), Err)
    }
}
