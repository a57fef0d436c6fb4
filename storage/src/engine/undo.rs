//! What the rows were before a group changed them, and the way back. The log is not told: it has the group, and what says that
//! it never happened.

use super::elements::{access, elements_of};
use super::write::Value;
use super::{Detached, Engine, RowKey, Stop, WRITE_PAGES_MAX};
use crate::blob::Blob;
use crate::error::Missing;
use crate::limits::DATABASES;
use crate::pagefile::PageFile;
use crate::row::{self, Header};
use crate::tree::Tree;
use crate::units::TxnId;

/// What undoes a group: the rows as they were, the newest change last. Dropped if the group is committed.
#[derive(Debug)]
pub struct Undo {
    pub(super) txn: Option<TxnId>,
    pub(super) images: Vec<Image>,
    pub(super) grown: [i64; DATABASES],
}

impl Undo {
    /// Changes that are to be undone.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// By how many rows each database has grown (or shrunk: below zero) by what is not undone of the group.
    pub fn grown(&self) -> &[i64; DATABASES] {
        &self.grown
    }

    /// The rows that are to be put back, each as it was before one of its changes, the oldest change first. `None`: the rows of
    /// whole databases.
    pub fn rows(&self) -> impl Iterator<Item = Option<Former<'_>>> {
        self.images.iter().map(|image| match image {
            Image::Row { db, head, key, was } => {
                let was = was.as_ref().map(|was| (was.kind, was.expire_ms, was.value.bytes(), was.value.blob()));
                Some(Former { row: RowKey { db: *db, head: *head, key }, was })
            }
            Image::Rows(_) | Image::Swap(..) => None,
        })
    }
}

/// A row before it was changed.
#[derive(Clone, Copy, Debug)]
pub struct Former<'a> {
    pub row: RowKey<'a>,
    /// Its kind, its deadline in Unix milliseconds (0: none), its value, and that as it is shared if it stood outside the leaves.
    /// `None`: it was not there.
    pub was: Option<(u8, u64, &'a [u8], Option<&'a Blob>)>,
}

/// What was there before a change.
#[derive(Debug)]
pub(super) enum Image {
    Row {
        db: u8,
        head: u64,
        key: Box<[u8]>,
        was: Option<Was>,
    },
    /// The rows of a whole database: [`Cleared::number`].
    Rows(u64),
    /// Two databases in each other's places.
    Swap(u8, u8),
}

#[derive(Debug)]
pub(super) struct Was {
    kind: u8,
    expire_ms: u64,
    value: Held,
}

#[derive(Debug)]
enum Held {
    Own(Box<[u8]>),
    /// It stood in an extent: the same memory.
    Shared(Blob),
}

impl Held {
    fn bytes(&self) -> &[u8] {
        match self {
            Held::Own(bytes) => bytes,
            Held::Shared(blob) => blob,
        }
    }

    fn blob(&self) -> Option<&Blob> {
        match self {
            Held::Own(_) => None,
            Held::Shared(blob) => Some(blob),
        }
    }
}

/// A database that was emptied, until that is decided.
pub(super) struct Cleared {
    pub number: u64,
    pub txn: Option<TxnId>,
    pub db: u8,
    /// In which the deadlines of its rows are.
    pub space: u8,
    pub rows: Tree,
    pub expiring: u64,
    pub outside: u64,
}

impl Engine {
    /// What a row is goes to the undo of the open group: it is about to change.
    #[cold]
    pub(super) fn keep_image(&mut self, row: RowKey<'_>) -> Result<(), Stop> {
        let was = match self.payload(row)?.map(Header::decode) {
            None => None,
            Some((Header { kind, expire_ms, is_outside }, rest)) => {
                let value = match is_outside {
                    true => Held::Shared(self.extents.get(row::extent_of(rest))?.value.clone()),
                    false => Held::Own(rest.into()),
                };
                Some(Was { kind, expire_ms, value })
            }
        };
        self.txns.push(Image::Row { db: row.db, head: row.head, key: row.key.into(), was });
        Ok(())
    }

    /// Before a group that can be undone, beside [`Engine::prepare_group`]: sees that what its rows are is in memory, values
    /// that stand outside the leaves too.
    pub fn prepare_undo<'a>(&self, rows: impl Iterator<Item = RowKey<'a>>) -> Result<(), Missing> {
        for row in rows {
            if let Some(id) = self.payload(row)?.and_then(row::extent) {
                self.extents.get(id)?;
            }
        }
        Ok(())
    }

    /// Empties a database so that it can be undone.
    pub(super) fn clear_undoably(&mut self, db: u8) {
        let number = self.clear_tree_undoably(db);
        self.clear_tree_undoably(elements_of(db));
        self.orphans.set_aside(db, number);
    }

    fn clear_tree_undoably(&mut self, db: u8) -> u64 {
        let at = usize::from(db);
        let rows = std::mem::replace(&mut self.rows[at], Tree::with_access(access(at)));
        self.counts.forget();
        let (expiring, outside) = (std::mem::take(&mut self.expiring[at]), std::mem::take(&mut self.outside[at]));
        let space = self.spaces.of(db);
        let number = self.txns.clear(|number, txn| Cleared { number, txn, db, space, rows, expiring, outside });
        self.txns.push(Image::Rows(number));
        if let Some(pending) = &mut self.redo {
            pending.set_aside(db, number);
        }
        self.deferred.set_aside(space, number);
        number
    }

    /// A tree's pages are freed little by little.
    pub(super) fn detach(&mut self, rows: &mut Tree, has_outside: bool) {
        let rows = rows.detach();
        self.detached.push(Detached { rows, has_outside });
    }

    /// Puts back what the rows were, the newest change first, without the log. Where it stops, `undo` is what is left: have
    /// done what it waits for, and call again. `Crowded` and `Stuck` pass when others free memory, or the page file takes
    /// something again; meanwhile the rows are nobody's to see.
    pub fn undo(&mut self, undo: &mut Undo) -> Result<(), Stop> {
        if undo.images.is_empty() {
            return Ok(());
        }
        let before = self.counted();
        let undone = self.undo_some(&mut undo.images);
        // Rows that go back: the database shrinks by as many as it had grown.
        (undo.grown.iter_mut().zip(self.grown_since(&before))).for_each(|(grown, undone)| *grown += undone);
        self.on_undone(undo.txn, undo.images.len());
        undone
    }

    fn undo_some(&mut self, images: &mut Vec<Image>) -> Result<(), Stop> {
        while let Some(image) = images.last() {
            match image {
                Image::Row { db, head, key, was } => {
                    self.make_room_to_undo()?;
                    self.put_back_row(RowKey { db: *db, head: *head, key }, was.as_ref())?;
                }
                Image::Rows(number) => self.put_back_rows(*number),
                Image::Swap(one, other) => self.apply_swap(*one, *other),
            }
            images.pop();
        }
        Ok(())
    }

    fn put_back_row(&mut self, row: RowKey<'_>, was: Option<&Was>) -> Result<(), Stop> {
        let Some(Was { kind, expire_ms, value }) = was else { return self.apply_delete(&row).map(drop) };
        let value = match value {
            Held::Own(value) => Value::Bytes(value),
            Held::Shared(blob) => Value::Shared(blob),
        };
        self.apply_put(&row, *kind, *expire_ms, value)
    }

    fn put_back_rows(&mut self, number: u64) {
        let at = self.txns.cleared.iter().position(|cleared| cleared.number == number);
        let Cleared { db, space, rows, expiring, outside, .. } =
            self.txns.cleared.swap_remove(at.expect("it is kept until it is decided"));
        assert_eq!(self.spaces.of(db), space, "what has changed places since is where it was");
        if let Some(pending) = &mut self.redo {
            pending.take_back(db, number);
        }
        let at = usize::from(db);
        assert!(self.rows[at].is_empty(), "only the group has written to what it had emptied");
        self.rows[at] = rows;
        self.counts.forget();
        (self.expiring[at], self.outside[at]) = (expiring, outside);
        self.take_back_deferred(number);
        self.orphans.take_back(number);
    }

    /// Nobody can be told that there is no room to take something back: it takes what is otherwise kept for reads.
    fn make_room_to_undo(&mut self) -> Result<(), Stop> {
        if self.pool.file().is_none() || self.pool.frames_free() >= WRITE_PAGES_MAX {
            return Ok(());
        }
        let Err(_) = self.pool.make_room(WRITE_PAGES_MAX) else { return Ok(()) };
        Err(if self.pool.file().is_some_and(PageFile::is_stuck) { Stop::Stuck } else { Stop::Crowded })
    }
}
