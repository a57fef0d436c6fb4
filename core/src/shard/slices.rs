//! Long replies in slices: a command that shows many items shows some of them in each of several turns, so that others need not wait for all.
//!
//! Such a command asks which of its items it is to show ([`Shard::slice`]), shows them, and says so ([`Shard::end_slice`]). It is run again for the
//! next ones, and finds them by their number: so its rows must not change meanwhile, which who runs it sees to (`machine/slices.rs`).

use super::Shard;
use crate::command::program::Kept;
use crate::error::Stop;
use crate::limits::{PUT_ITEMS, SLICE_BYTES};
use crate::resp::encode::Reply;
use crate::tx::{CutId, View};
use cairn_storage::units::CollectionId;
use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;

/// How a command that shows items runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Slicing {
    /// It shows all.
    #[default]
    Whole,
    /// It shows all, unless they are too many for one slice: then it stops ([`Stop::Long`]).
    Short,
    /// It shows some, from the one with this number on.
    From(u64),
}

/// What commands are told about slices, and tell.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    pub how: Cell<Slicing>,
    /// The most items of a slice: `slice-items`.
    pub items: Cell<u64>,
    /// Where the next slice begins; `None`: there is none.
    pub next: Cell<Option<u64>>,
    /// What the command has come to, if that is more than a number.
    pub kept: RefCell<Option<Kept>>,
    /// A collection that the command has begun, and its database.
    pub begun: Cell<Option<(u8, CollectionId)>>,
    /// What it looks at without a lock it sees as it was at this cut.
    pub cut: Cell<Option<CutId>>,
}

/// Items that a command shows now.
#[derive(Debug)]
pub struct Slice {
    total: u64,
    from: u64,
    count: u64,
    shown: u64,
    bytes_max: usize,
    /// The weight of the reply before the first item.
    before: Option<usize>,
}

impl Shard {
    /// Which of so many items, in the order in which they are shown, the running command shows now.
    pub fn slice(&self, total: u64) -> Result<Slice, Stop> {
        let items = self.slices.items.get();
        let (from, count, bytes_max) = match self.slices.how.get() {
            Slicing::Whole => (0, total, usize::MAX),
            Slicing::Short if total > items => return Err(Stop::Long),
            Slicing::Short => (0, total, SLICE_BYTES),
            Slicing::From(from) => (from, total.saturating_sub(from).min(items), SLICE_BYTES),
        };
        Ok(Slice { total, from, count, shown: 0, bytes_max, before: None })
    }

    /// Whether so much work is done at once; if not, the running command goes on as a program that rests now and then, or stops to become one.
    pub fn is_short(&self, items: u64) -> Result<bool, Stop> {
        match self.slices.how.get() {
            Slicing::Whole => Ok(true),
            Slicing::Short if items > self.slices.items.get() => Err(Stop::Long),
            Slicing::Short => Ok(true),
            Slicing::From(_) => Ok(false),
        }
    }

    /// The items that the running command may look at before it rests.
    pub fn items_now(&self) -> u64 {
        match self.slices.how.get() {
            Slicing::Whole => u64::MAX,
            Slicing::Short | Slicing::From(_) => self.slices.items.get(),
        }
    }

    /// The same of elements that it puts: each takes as long as several that are looked at.
    pub fn puts_now(&self) -> u64 {
        (self.items_now() / PUT_ITEMS).max(1)
    }

    /// Whether a command that shows so many elements and removes them does both at once.
    pub fn takes_at_once(&self, items: u64) -> bool {
        !matches!(self.slices.how.get(), Slicing::From(_)) && items <= self.puts_now()
    }

    /// What the running command has come to before, if it has rested.
    pub fn rested<T: 'static>(&self) -> Option<Box<T>> {
        let kept = self.slices.kept.take()?;
        Some(kept.downcast().expect("a command has one kind of work"))
    }

    /// The running command stops, and goes on from there; if it has not been long until now, it begins anew.
    pub fn rest(&self, kept: Kept, stop: Stop) -> Stop {
        self.keep(kept);
        stop
    }

    /// If the running command stops after this it goes on from there.
    pub fn keep(&self, kept: Kept) {
        if let Slicing::From(_) = self.slices.how.get() {
            self.slices.kept.replace(Some(kept));
        }
    }

    /// Runs a command whose reply is needed as a whole.
    pub fn shown_whole<T>(&mut self, run: impl FnOnce(&mut Shard) -> T) -> T {
        let how = self.slices.how.replace(Slicing::Whole);
        let ran = run(self);
        self.slices.how.set(how);
        ran
    }

    /// Looks at rows that are not locked while the running command goes on: it sees them as they were when it began.
    pub fn as_begun<T>(&mut self, look: impl FnOnce(&mut Shard) -> T) -> T {
        let Some(cut) = self.slices.cut.get() else { return look(self) };
        self.begin_look(&View { cut, sums: Vec::new() }).expect("who runs the command has seen that it is kept");
        let looked = look(self);
        self.end_look();
        looked
    }

    /// The command has looked at all such rows.
    pub fn end_looks(&self) {
        self.slices.cut.set(None);
    }

    /// The command has shown them.
    pub fn end_slice(&self, slice: &Slice) -> Result<(), Stop> {
        let at = slice.from + slice.shown;
        match self.slices.how.get() {
            Slicing::Short if slice.shown < slice.count => return Err(Stop::Long),
            Slicing::From(_) => self.slices.next.set((at < slice.total).then_some(at)),
            Slicing::Whole | Slicing::Short => {}
        }
        Ok(())
    }

    /// The same of a command that does something when it has shown all: whether it does that now.
    pub fn has_shown(&self, slice: &Slice) -> Result<bool, Stop> {
        match self.slices.how.get() {
            Slicing::From(_) if !slice.is_empty() => {
                self.slices.next.set(Some(slice.from + slice.shown));
                Ok(false)
            }
            _ => self.end_slice(slice).map(|()| true),
        }
    }
}

impl Slice {
    /// Whether what stands before all items is shown now.
    pub fn is_first(&self) -> bool {
        self.from == 0
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of its first item.
    pub fn from(&self) -> u64 {
        self.from
    }

    /// An item has been shown: does another one follow?
    #[inline]
    pub fn next(&mut self, reply: &Reply<'_>) -> ControlFlow<()> {
        self.shown += 1;
        let weight = reply.out.weight();
        let before = *self.before.get_or_insert(weight);
        match self.shown == self.count || weight - before >= self.bytes_max {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
