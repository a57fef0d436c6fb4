//! Rows of a database in their order, and one by chance.

use super::{Row, Shard, is_live, row};
use crate::error::Stop;
use crate::event::Now;
use crate::limits::RANDOM_TRIES_MAX;
use crate::route::CURSOR_DROPPED_BITS;
use cairn_storage::error::Missing;
use std::cell::Cell;
use std::ops::ControlFlow;

/// How a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// The head to go on from, 0 at the end.
    At(u64),
    /// Everything below the head `from` was visited, and some rows from there on, which will be visited again.
    Missing { missing: Missing, from: u64 },
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
        self.observe_all();
        let (mut last, mut next) = (None, 0);
        let head = head.max(self.own_heads.start);
        let scanned = self.engine.scan_keys(db, head, |at, key, found| {
            if at >= self.own_heads.end {
                return ControlFlow::Break(());
            }
            let group = at >> CURSOR_DROPPED_BITS;
            if last.is_some_and(|last| last != group) && !go_on() {
                next = group << CURSOR_DROPPED_BITS;
                return ControlFlow::Break(());
            }
            last = Some(group);
            if is_live(&found, now) {
                visit(key, row(found));
            }
            ControlFlow::Continue(())
        });
        match scanned {
            Ok(()) => ScanEnd::At(next),
            Err(missing) => {
                // Whether more rows of the last group follow is not known.
                let from = last.map_or(head, |group| (group << CURSOR_DROPPED_BITS).max(head));
                ScanEnd::Missing { missing, from }
            }
        }
    }

    /// Forgets keys of a scan that [`ScanEnd::Missing`] comes to again.
    pub fn forget_from(&self, keys: &mut Vec<Vec<u8>>, from: u64) {
        while keys.last().is_some_and(|key| self.head(key) >= from) {
            keys.pop();
        }
    }

    /// A live row of a database, chosen at random, if there is one.
    pub fn random_key(&mut self, now: Now, db: u8) -> Result<Option<Vec<u8>>, Stop> {
        // Rows past their time go away within a tick; a few tries find a live one unless nearly all are such.
        for _ in 0..RANDOM_TRIES_MAX {
            let random = self.random();
            self.observe_all();
            match self.engine.random(db, random)? {
                None => return Ok(None),
                Some((key, found)) if is_live(&found, now) && self.own_heads.contains(&self.head(key)) => {
                    return Ok(Some(key.to_vec()));
                }
                Some(_) => {}
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

    /// 64 bits from the shard's own seeded generator (SplitMix64).
    pub fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
