//! The locks of one shard: of rows, and of databases as a whole, which are locks of all their rows. Transactions over several shards hold some, and those that a client goes on with over several
//! requests; what runs on one shard at once runs with nothing between its commands.
//!
//! A request is granted as a whole, and never before an earlier one that it conflicts with; except on rows that its owner holds
//! already and wants more of, and in a database that the earlier one wants as a whole and its owner holds something of: the earlier one
//! waits for that owner anyway. Rows whose heads are equal are locked together.
//!
//! A row that is locked exclusively may still be looked at by one who holds no lock, as long as its changes are elsewhere. From
//! the moment on that they stand in the tree, and are not decided, it is *hidden*. The same goes for a whole database.

use super::Databases;
use crate::unstable::{Heads, place};
use cairn_storage::limits::DATABASES;
use std::cell::RefCell;
use std::collections::VecDeque;

/// Rows that somebody was turned away from and that are remembered.
const MISSED_MAX: usize = 256;

/// A row, and whether it will be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLock {
    pub db: u8,
    pub head: u64,
    pub is_exclusive: bool,
}

/// The holders of a row: one that changes it, or any number that look at it.
#[derive(Debug)]
struct Held<Owner> {
    is_exclusive: bool,
    /// Reasons why nobody may look at it.
    hidden: u32,
    /// Those of nobody.
    seized: u32,
    /// Of rows: the databases that they are of. Rows of two may share an entry.
    databases: Databases,
    /// Mostly there is one.
    first: Option<Owner>,
    others: Vec<Owner>,
}

struct Request<Owner> {
    owner: Owner,
    rows: Vec<RowLock>,
    databases: Databases,
    /// It only looks at the databases.
    is_shared: bool,
}

/// What a request was granted: rows that its owner has not held before, and databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted<Owner> {
    pub owner: Owner,
    pub rows: Vec<RowLock>,
    pub databases: Databases,
    /// It only looks at the databases.
    pub is_shared: bool,
}

/// Which rows are locked, and who waits. `Owner` names a transaction.
pub struct Locks<Owner> {
    rows: Heads<Held<Owner>>,
    /// Locks of rows, by database.
    rows_in: [usize; DATABASES],
    wholes: [Held<Owner>; DATABASES],
    /// Those of them that somebody holds.
    wholes_held: usize,
    waiting: VecDeque<Request<Owner>>,
    /// Seized rows that somebody was turned away from, by [`place`].
    missed: RefCell<Vec<u64>>,
}

impl<Owner> Default for Locks<Owner> {
    fn default() -> Locks<Owner> {
        Locks {
            rows: Heads::default(),
            rows_in: [0; DATABASES],
            wholes: Default::default(),
            wholes_held: 0,
            waiting: VecDeque::new(),
            missed: RefCell::default(),
        }
    }
}

impl<Owner> Default for Held<Owner> {
    fn default() -> Held<Owner> {
        let databases = Databases::NONE;
        Held { is_exclusive: false, hidden: 0, seized: 0, databases, first: None, others: Vec::new() }
    }
}

impl<Owner: Copy + PartialEq> Held<Owner> {
    fn owners(&self) -> impl Iterator<Item = Owner> {
        self.first.iter().chain(&self.others).copied()
    }

    fn is_free(&self) -> bool {
        self.seized == 0 && self.first.is_none()
    }

    fn has(&self, owner: Owner) -> bool {
        self.owners().any(|held| held == owner)
    }

    /// Whether this owner may have it beside those that do.
    fn admits(&self, owner: Owner, is_exclusive: bool) -> bool {
        let is_shared = !is_exclusive && !self.is_exclusive;
        self.seized == 0 && (is_shared || self.owners().all(|held| held == owner))
    }

    fn add(&mut self, owner: Owner) {
        match self.first {
            None => self.first = Some(owner),
            Some(_) => self.others.push(owner),
        }
    }

    fn remove(&mut self, owner: Owner) {
        if self.first == Some(owner) {
            self.first = self.others.pop();
        } else {
            let at = self.others.iter().position(|held| *held == owner);
            self.others.swap_remove(at.expect("who releases a lock holds it"));
        }
    }
}

impl<Owner: Copy + PartialEq> Locks<Owner> {
    /// Nothing is locked.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.wholes_held == 0
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Who waits, in the order of requests.
    pub fn waiters(&self) -> impl Iterator<Item = Owner> {
        self.waiting.iter().map(|request| request.owner)
    }

    /// Whether one who holds no lock may look at the row, or change it, now.
    #[inline]
    pub fn admits(&self, db: u8, head: u64, is_write: bool) -> bool {
        let whole = &self.wholes[usize::from(db)];
        if !whole.is_free() && (is_write || whole.hidden > 0) {
            return false;
        }
        let place = place(db, head);
        let Some(held) = self.rows.get(&place) else { return true };
        if held.seized > 0 {
            self.note_missed(place);
        }
        !is_write && held.hidden == 0
    }

    /// Whether nobody holds anything of these databases.
    pub fn admits_databases(&self, databases: Databases) -> bool {
        databases.iter().map(usize::from).all(|db| self.rows_in[db] == 0 && self.wholes[db].is_free())
    }

    /// Whether the row is locked in any way.
    pub fn is_held(&self, db: u8, head: u64) -> bool {
        self.rows.contains_key(&place(db, head)) || !self.wholes[usize::from(db)].is_free()
    }

    #[cold]
    fn note_missed(&self, place: u64) {
        let mut missed = self.missed.borrow_mut();
        if missed.len() < MISSED_MAX && !missed.contains(&place) {
            missed.push(place);
        }
    }

    pub fn has_missed(&self) -> bool {
        !self.missed.borrow().is_empty()
    }

    /// Seized rows that somebody was turned away from since this was asked last, by [`place`]. Of very many some are left out:
    /// who still waits for them misses them again.
    pub fn take_missed(&mut self) -> Vec<u64> {
        std::mem::take(self.missed.get_mut())
    }

    /// Whether the owner holds the row at least so.
    pub fn holds(&self, owner: Owner, row: &RowLock) -> bool {
        let held = self.rows.get(&place(row.db, row.head));
        held.is_some_and(|held| held.has(owner) && (held.is_exclusive || !row.is_exclusive))
    }

    /// Whether the row is held by one who changes it.
    pub fn is_exclusive(&self, row: &RowLock) -> bool {
        self.rows.get(&place(row.db, row.head)).is_some_and(|held| held.is_exclusive)
    }

    /// Asks for locks. They are held when [`Locks::grant`] says so. Of several entries for one row the strictest counts. Who wants
    /// a whole database asks for no row of it.
    pub fn request(&mut self, owner: Owner, rows: Vec<RowLock>, databases: Databases) {
        let mut rows = merged(rows);
        rows.retain(|row| !databases.has(row.db));
        self.waiting.push_back(Request { owner, rows, databases, is_shared: false });
    }

    /// The same of one who looks at whole databases: none of their rows changes, comes or goes. It may hold rows of them, and others may look at
    /// them too.
    pub fn request_share(&mut self, owner: Owner, databases: Databases) {
        self.waiting.push_back(Request { owner, rows: Vec::new(), databases, is_shared: true });
    }

    /// Locks whole databases now for one who looks at them, if nobody stands in the way. Whether it holds them.
    pub fn try_share(&mut self, owner: Owner, databases: Databases) -> bool {
        let is_held = databases.iter().all(|db| self.wholes[usize::from(db)].has(owner));
        let may_hold = is_held || self.may_share(owner, databases, self.waiting.len());
        if !is_held && may_hold {
            self.hold_databases(owner, databases, true);
        }
        may_hold
    }

    /// The next request that can be granted.
    pub fn grant(&mut self) -> Option<Granted<Owner>> {
        let may = |(before, request): (usize, &Request<Owner>)| {
            let Request { owner, rows, databases, is_shared } = request;
            match is_shared {
                true => self.may_share(*owner, *databases, before),
                false => self.may_hold(*owner, rows, before) && self.may_hold_databases(*owner, *databases, before),
            }
        };
        let index = self.waiting.iter().enumerate().position(may)?;
        let Request { owner, rows, databases, is_shared } = self.waiting.remove(index)?;
        self.hold_databases(owner, databases, is_shared);
        Some(Granted { owner, rows: self.hold(owner, rows), databases, is_shared })
    }

    /// Locks whole databases now for one who changes them, if nobody stands in the way. Whether it holds them. It may hold rows of them, and they may be
    /// shared with it already.
    pub fn try_databases(&mut self, owner: Owner, databases: Databases) -> bool {
        let may_hold = self.may_hold_databases(owner, databases, self.waiting.len());
        if may_hold {
            self.hold_databases(owner, databases, false);
        }
        may_hold
    }

    /// Whether nobody stands in the way of one who wants whole databases, of the requests only the first `before`.
    fn may_hold_databases(&self, owner: Owner, databases: Databases, before: usize) -> bool {
        let is_before = |request: &Request<Owner>| databases.iter().any(|db| self.meets_before(request, owner, db));
        databases.iter().all(|db| self.is_whole_free(owner, db, true))
            && !self.waiting.iter().take(before).any(is_before)
    }

    /// Whether an earlier request keeps the owner from changing a whole database.
    fn meets_before(&self, request: &Request<Owner>, owner: Owner, db: u8) -> bool {
        request.conflicts_with(db) && !self.holds_some(owner, db)
    }

    /// Whether nobody but the owner holds a database, or rows of it, so that it may not have it as a whole.
    fn is_whole_free(&self, owner: Owner, db: u8, is_exclusive: bool) -> bool {
        self.wholes[usize::from(db)].admits(owner, is_exclusive)
            && self.rows_of(db).all(|(place, held)| {
                if held.seized > 0 {
                    self.note_missed(*place);
                }
                held.admits(owner, is_exclusive)
            })
    }

    fn hold_databases(&mut self, owner: Owner, databases: Databases, is_shared: bool) {
        for db in databases.iter() {
            let whole = &mut self.wholes[usize::from(db)];
            self.wholes_held += usize::from(whole.is_free());
            whole.is_exclusive |= !is_shared;
            if !whole.has(owner) {
                whole.add(owner);
            }
        }
    }

    /// Whether nobody stands in the way of one who looks at whole databases, of the requests only the first `before`.
    fn may_share(&self, owner: Owner, databases: Databases, before: usize) -> bool {
        let is_before = |request: &Request<Owner>| databases.iter().any(|db| self.changes_before(request, owner, db));
        databases.iter().all(|db| self.is_whole_free(owner, db, false))
            && !self.waiting.iter().take(before).any(is_before)
    }

    /// Whether an earlier request keeps the owner from looking at a whole database.
    fn changes_before(&self, request: &Request<Owner>, owner: Owner, db: u8) -> bool {
        let changes_row = || request.rows.iter().any(|row| row.db == db && row.is_exclusive);
        let changes = request.databases.has(db) && !request.is_shared || changes_row();
        changes && request.owner != owner && !self.holds_some(owner, db)
    }

    /// Rows that are locked in a database, by [`place`].
    fn rows_of(&self, db: u8) -> impl Iterator<Item = (&u64, &Held<Owner>)> {
        let is_any = self.rows_in[usize::from(db)] > 0;
        let rows = is_any.then(|| self.rows.iter()).into_iter().flatten();
        rows.filter(move |(_, held)| held.databases.has(db))
    }

    /// Locks rows now, if nobody stands in the way: those that the owner has not held before.
    pub fn try_hold(&mut self, owner: Owner, rows: Vec<RowLock>) -> Result<Vec<RowLock>, Vec<RowLock>> {
        let rows = merged(rows);
        if self.may_hold(owner, &rows, self.waiting.len()) { Ok(self.hold(owner, rows)) } else { Err(rows) }
    }

    /// Whether nobody stands in the way of the owner, of the requests only the first `before`.
    fn may_hold(&self, owner: Owner, rows: &[RowLock], before: usize) -> bool {
        rows.iter().all(|row| {
            let held = self.rows.get(&place(row.db, row.head));
            if held.is_some_and(|held| held.seized > 0) {
                self.note_missed(place(row.db, row.head));
            }
            held.is_none_or(|held| held.admits(owner, row.is_exclusive))
                && self.wholes[usize::from(row.db)].admits(owner, row.is_exclusive)
                && (before == 0
                    || held.is_some_and(|held| held.has(owner))
                    || !self.waiting.iter().take(before).any(|request| self.stands_before(request, owner, row)))
        })
    }

    /// Whether an earlier request keeps the owner from a row. Who wants the whole database waits for those that hold rows of it
    /// anyway, and who wants a row for those that hold the whole database.
    fn stands_before(&self, request: &Request<Owner>, owner: Owner, row: &RowLock) -> bool {
        let is_about = request.databases.has(row.db) && (row.is_exclusive || !request.is_shared);
        let is_before = request.conflicts(row) && !self.wholes[usize::from(row.db)].has(owner);
        is_before || is_about && !self.holds_some(owner, row.db)
    }

    fn holds_some(&self, owner: Owner, db: u8) -> bool {
        self.wholes[usize::from(db)].has(owner) || self.rows_of(db).any(|(_, held)| held.has(owner))
    }

    fn hold(&mut self, owner: Owner, mut rows: Vec<RowLock>) -> Vec<RowLock> {
        rows.retain(|row| {
            let held = self.rows.entry(place(row.db, row.head)).or_default();
            held.is_exclusive |= row.is_exclusive;
            held.databases = held.databases.and(Databases::of(row.db));
            let is_new = !held.has(owner);
            if is_new {
                held.add(owner);
                self.rows_in[usize::from(row.db)] += 1;
            }
            is_new
        });
        rows
    }

    /// From now on nobody looks at those of these rows that are exclusively their holder's.
    pub fn hide(&mut self, rows: &[RowLock]) {
        for row in rows {
            if let Some(held) = self.rows.get_mut(&place(row.db, row.head)).filter(|held| held.is_exclusive) {
                held.hidden += 1;
            }
        }
    }

    /// The same of whole databases.
    pub fn hide_databases(&mut self, databases: Databases) {
        databases.iter().for_each(|db| self.wholes[usize::from(db)].hidden += 1);
    }

    /// Locks rows without asking, and hides them: of one who has changed them, and what it has changed nobody may see.
    pub fn seize(&mut self, mut rows: Vec<RowLock>) -> Vec<RowLock> {
        rows.iter_mut().for_each(|row| row.is_exclusive = true);
        let rows = merged(rows);
        for row in &rows {
            let held = self.rows.entry(place(row.db, row.head)).or_default();
            held.seized += 1;
            held.hidden += 1;
            held.databases = held.databases.and(Databases::of(row.db));
            self.rows_in[usize::from(row.db)] += 1;
        }
        rows
    }

    /// The same of whole databases.
    pub fn seize_databases(&mut self, databases: Databases) {
        for db in databases.iter() {
            let whole = &mut self.wholes[usize::from(db)];
            self.wholes_held += usize::from(whole.is_free());
            whole.seized += 1;
            whole.hidden += 1;
        }
    }

    /// What was seized is as it was.
    pub fn give_back(&mut self, rows: &[RowLock]) {
        for row in rows {
            let place = place(row.db, row.head);
            let held = self.rows.get_mut(&place).expect("what was seized is held");
            held.seized -= 1;
            held.hidden -= 1;
            self.rows_in[usize::from(row.db)] -= 1;
            if held.is_free() {
                self.rows.remove(&place);
            }
        }
    }

    /// The same of whole databases.
    pub fn give_back_databases(&mut self, databases: Databases) {
        for db in databases.iter() {
            let whole = &mut self.wholes[usize::from(db)];
            whole.seized -= 1;
            whole.hidden -= 1;
            self.wholes_held -= usize::from(whole.is_free());
        }
    }

    /// The owner of these rows holds them no longer. `is_hidden`: it had them hidden.
    pub fn release(&mut self, owner: Owner, rows: &[RowLock], is_hidden: bool) {
        for row in rows {
            let place = place(row.db, row.head);
            let held = self.rows.get_mut(&place).expect("who releases a lock holds it");
            held.remove(owner);
            if std::mem::take(&mut held.is_exclusive) {
                held.hidden -= u32::from(is_hidden);
            }
            self.rows_in[usize::from(row.db)] -= 1;
            if held.is_free() {
                self.rows.remove(&place);
            }
        }
    }

    /// The same of whole databases.
    pub fn release_databases(&mut self, owner: Owner, databases: Databases, is_hidden: bool) {
        for db in databases.iter() {
            let whole = &mut self.wholes[usize::from(db)];
            whole.remove(owner);
            whole.is_exclusive = false;
            whole.hidden -= u32::from(is_hidden);
            self.wholes_held -= usize::from(whole.is_free());
        }
    }

    /// The owner's request, if it waits, is none any more.
    pub fn cancel(&mut self, owner: Owner) {
        self.waiting.retain(|request| request.owner != owner);
    }

    /// Whom the owner waits for here; `None` if it does not wait. Each may be named more than once.
    pub fn blockers(&self, owner: Owner) -> Option<Vec<Owner>> {
        let index = self.waiting.iter().position(|request| request.owner == owner)?;
        let mut blockers = Vec::new();
        let Request { databases, is_shared, .. } = self.waiting[index];
        for db in databases.iter() {
            let whole = &self.wholes[usize::from(db)];
            let held = self.rows_of(db).map(|(_, held)| held).chain([whole]);
            let held = held.filter(|held| !is_shared || !held.admits(owner, false));
            blockers.extend(held.flat_map(Held::owners).filter(|held| *held != owner));
            let earlier = self.waiting.iter().take(index).filter(|request| match is_shared {
                true => self.changes_before(request, owner, db),
                false => self.meets_before(request, owner, db),
            });
            blockers.extend(earlier.map(|request| request.owner));
        }
        for row in &self.waiting[index].rows {
            let whole = &self.wholes[usize::from(row.db)];
            if !whole.admits(owner, row.is_exclusive) {
                blockers.extend(whole.owners().filter(|held| *held != owner));
            }
            let held = self.rows.get(&place(row.db, row.head));
            if let Some(held) = held.filter(|held| !held.admits(owner, row.is_exclusive)) {
                blockers.extend(held.owners().filter(|held| *held != owner));
            }
            if held.is_none_or(|held| !held.has(owner)) {
                let earlier = self.waiting.iter().take(index);
                let earlier = earlier.filter(|request| self.stands_before(request, owner, row));
                blockers.extend(earlier.map(|request| request.owner));
            }
        }
        Some(blockers)
    }
}

impl<Owner> Request<Owner> {
    fn conflicts(&self, row: &RowLock) -> bool {
        let place_of_row = place(row.db, row.head);
        let conflicts =
            |mine: &RowLock| place(mine.db, mine.head) == place_of_row && (mine.is_exclusive || row.is_exclusive);
        self.rows.iter().any(conflicts)
    }

    fn conflicts_with(&self, db: u8) -> bool {
        self.databases.has(db) || self.rows.iter().any(|row| row.db == db)
    }
}

/// Each row once, exclusively if it is so anywhere.
fn merged(mut rows: Vec<RowLock>) -> Vec<RowLock> {
    rows.sort_unstable_by_key(|row| (place(row.db, row.head), !row.is_exclusive));
    rows.dedup_by_key(|row| place(row.db, row.head));
    rows
}

#[cfg(test)]
mod tests;
