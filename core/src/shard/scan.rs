//! Rows of a database in their order, and one by chance: as they are, or as they were at a cut.

use super::{Row, Shard, is_live, row};
use crate::error::Stop;
use crate::event::Now;
use crate::limits::RANDOM_TRIES_MAX;
use crate::route::CURSOR_DROPPED_BITS;
use crate::tx::CutId;
use cairn_storage::engine::RowKey;
use cairn_storage::error::Missing;
use std::cell::Cell;
use std::iter::Peekable;
use std::ops::{ControlFlow, Range};

/// How a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// The head to go on from, 0 at the end.
    At(u64),
    /// Everything below the head `from` was visited, and some rows from there on, which will be visited again.
    Missing { missing: Missing, from: u64 },
}

/// Where a scan is in the order of heads.
struct Steps<'a> {
    /// The last group of rows that a cursor cannot tell apart.
    last: Option<u64>,
    /// Where it has been stopped.
    next: u64,
    go_on: &'a mut dyn FnMut() -> bool,
}

impl Steps<'_> {
    /// A row with this head comes next: is it visited?
    fn enter(&mut self, at: u64) -> ControlFlow<()> {
        let group = at >> CURSOR_DROPPED_BITS;
        if self.last.is_some_and(|last| last != group) && !(self.go_on)() {
            self.next = group << CURSOR_DROPPED_BITS;
            return ControlFlow::Break(());
        }
        self.last = Some(group);
        ControlFlow::Continue(())
    }
}

/// Heads of rows with versions that a scan comes by.
struct Formers<I: Iterator<Item = u64>> {
    cut: CutId,
    heads: Peekable<I>,
}

impl Shard {
    /// Visits live rows, without their values, in the order of (slot, hash) from `head` on, until `go_on` says stop; answers the
    /// head to go on from, 0 at the end. Rows whose heads a cursor cannot tell apart are never separated: `go_on` is only
    /// asked between such.
    pub fn scan(
        &self,
        now: Now,
        db: u8,
        head: u64,
        visit: &mut dyn FnMut(&[u8], Row<'_>),
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<u64, Stop> {
        match self.scan_part(now, db, head, visit, go_on) {
            ScanEnd::At(next) => Ok(next),
            ScanEnd::Missing { missing, .. } => Err(missing.into()),
        }
    }

    /// The same, for one who can go on later from where something was missing.
    pub fn scan_part(
        &self,
        now: Now,
        db: u8,
        head: u64,
        visit: &mut dyn FnMut(&[u8], Row<'_>),
        go_on: &mut dyn FnMut() -> bool,
    ) -> ScanEnd {
        let heads = head.max(self.own_heads.start)..self.own_heads.end;
        self.scan_heads(now, db, heads, visit, go_on)
    }

    /// The same, of these heads. Where the running command looks at a cut, rows with versions stand where they stood then: what the tree has of them is passed
    /// by.
    pub(super) fn scan_heads(
        &self,
        now: Now,
        db: u8,
        heads: Range<u64>,
        visit: &mut dyn FnMut(&[u8], Row<'_>),
        go_on: &mut dyn FnMut() -> bool,
    ) -> ScanEnd {
        let cut = self.looked_at();
        if cut.is_none() {
            self.observe_all();
        }
        let mut steps = Steps { last: None, next: 0, go_on };
        let mut formers = cut.map(|cut| Formers { cut, heads: self.versions.heads_from(db, heads.start).peekable() });
        let scanned = self.engine.scan_keys(db, heads.start, |at, key, found| {
            if at >= heads.end {
                return ControlFlow::Break(());
            }
            if let Some(formers) = &mut formers {
                self.visit_formers(formers, now, db, at + 1, visit, &mut steps)?;
            }
            steps.enter(at)?;
            let has_version = cut.is_some_and(|cut| self.versions.find(cut, RowKey { db, head: at, key }).is_some());
            if !has_version && is_live(&found, now) {
                visit(key, row(found));
            }
            ControlFlow::Continue(())
        });
        match scanned {
            Ok(()) => {
                if let Some(formers) = &mut formers
                    && steps.next == 0
                {
                    // Where it stops is noted.
                    let _ = self.visit_formers(formers, now, db, heads.end, visit, &mut steps);
                }
                ScanEnd::At(steps.next)
            }
            Err(missing) => {
                // Whether more rows of the last group follow is not known.
                let from = steps.last.map_or(heads.start, |group| (group << CURSOR_DROPPED_BITS).max(heads.start));
                ScanEnd::Missing { missing, from }
            }
        }
    }

    /// Visits rows as they were at a cut, as far as there are versions of them and their heads are below `end`.
    fn visit_formers(
        &self,
        formers: &mut Formers<impl Iterator<Item = u64>>,
        now: Now,
        db: u8,
        end: u64,
        visit: &mut dyn FnMut(&[u8], Row<'_>),
        steps: &mut Steps<'_>,
    ) -> ControlFlow<()> {
        while let Some(&head) = formers.heads.peek().filter(|head| **head < end) {
            steps.enter(head)?;
            formers.heads.next();
            for (key, former) in self.versions.were_at(formers.cut, db, head) {
                if is_live(&former.found(), now) {
                    visit(key, row(former.found()));
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Forgets keys of a scan that [`ScanEnd::Missing`] comes to again.
    pub fn forget_from(&self, keys: &mut Vec<Vec<u8>>, from: u64) {
        while keys.last().is_some_and(|key| self.head(key) >= from) {
            keys.pop();
        }
    }

    /// A live row of a database, chosen at random, if there is one.
    pub fn random_key(&mut self, now: Now, db: u8) -> Result<Option<Vec<u8>>, Stop> {
        let cut = self.looked_at();
        // Rows past their time go away within a tick; a few tries find a live one unless nearly all are such.
        for _ in 0..RANDOM_TRIES_MAX {
            let random = self.random();
            let Some(cut) = cut else {
                self.observe_all();
                match self.engine.random(db, random)? {
                    None => return Ok(None),
                    Some((key, found)) if is_live(&found, now) && self.own_heads.contains(&self.head(key)) => {
                        return Ok(Some(key.to_vec()));
                    }
                    Some(_) => {}
                }
                continue;
            };
            if let Some(key) = self.random_former(cut, now, db, random)? {
                return Ok(Some(key));
            }
        }
        let mut found = None;
        let is_found = Cell::new(false);
        self.scan(
            now,
            db,
            0,
            &mut |key, _| {
                found.get_or_insert_with(|| key.to_vec());
                is_found.set(true);
            },
            &mut || !is_found.get(),
        )?;
        Ok(found)
    }

    /// A row as it was at a cut, by these random bits: one that has versions, or one that has none and is as the tree has it. `None`: they have led to none.
    fn random_former(&mut self, cut: CutId, now: Now, db: u8, random: u64) -> Result<Option<Vec<u8>>, Stop> {
        let with_versions = self.versions.heads(db);
        let choice = self.random() % (with_versions + self.engine.row_count(db)).max(1);
        if choice >= with_versions {
            let Some((key, found)) = self.engine.random(db, random)? else { return Ok(None) };
            let head = self.head(key);
            let is_former = self.versions.find(cut, RowKey { db, head, key }).is_some();
            let is_meant = !is_former && is_live(&found, now) && self.own_heads.contains(&head);
            return Ok(is_meant.then(|| key.to_vec()));
        }
        let Range { start, end } = self.own_heads;
        let head = self.versions.heads_from(db, start + random % (end - start)).next().filter(|head| *head < end);
        let mut were = head.into_iter().flat_map(|head| self.versions.were_at(cut, db, head));
        Ok(were.find(|(_, former)| is_live(&former.found(), now)).map(|(key, _)| key.to_vec()))
    }

    /// 64 bits from the shard's own seeded generator (SplitMix64).
    pub fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
