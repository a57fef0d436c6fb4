//! Virtual time: what happens next, and what every clock of the simulated machine shows.

use cairn_core::event::Now;
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// 14 November 2023, 22:13:20 UTC.
const BEGIN_UNIX_US: u64 = 1_700_000_000_000_000;

pub const US: u64 = 1_000;
pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000_000_000;

thread_local! {
    static NOW_NS: Cell<u64> = const { Cell::new(0) };
}

/// The monotonic clock of the simulated machine on this thread.
pub fn clock_ns() -> u64 {
    NOW_NS.get()
}

/// Unix milliseconds, as long as they have not jumped.
pub fn unix_ms(now_ns: u64) -> u64 {
    (BEGIN_UNIX_US + now_ns / US) / 1000
}

/// What is to happen, in the order of time; what is to happen at the same time, in the order of planning.
pub struct Clock<T> {
    now_ns: u64,
    /// How far Unix time is off.
    skew_us: i64,
    planned: BinaryHeap<Reverse<(u64, u64, Slot<T>)>>,
    planned_last: u64,
}

/// Not compared: its place in the heap is decided before.
struct Slot<T>(T);

impl<T> PartialEq for Slot<T> {
    fn eq(&self, _: &Slot<T>) -> bool {
        true
    }
}

impl<T> Eq for Slot<T> {}

impl<T> PartialOrd for Slot<T> {
    fn partial_cmp(&self, other: &Slot<T>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Slot<T> {
    fn cmp(&self, _: &Slot<T>) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl<T> Clock<T> {
    pub fn new() -> Clock<T> {
        NOW_NS.set(SECOND);
        Clock { now_ns: SECOND, skew_us: 0, planned: BinaryHeap::new(), planned_last: 0 }
    }

    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    pub fn now(&self) -> Now {
        let unix_us = (BEGIN_UNIX_US + self.now_ns / US).saturating_add_signed(self.skew_us);
        Now { mono_ns: self.now_ns, unix_us }
    }

    /// Unix time jumps.
    pub fn skew(&mut self, us: i64) {
        self.skew_us += us;
    }

    pub fn at(&mut self, at_ns: u64, what: T) {
        self.planned_last += 1;
        self.planned.push(Reverse((at_ns.max(self.now_ns), self.planned_last, Slot(what))));
    }

    pub fn after(&mut self, ns: u64, what: T) {
        self.at(self.now_ns + ns, what);
    }

    /// What happens next. Time goes on to it.
    pub fn next(&mut self) -> Option<T> {
        let Reverse((at_ns, _, Slot(what))) = self.planned.pop()?;
        self.now_ns = at_ns;
        NOW_NS.set(at_ns);
        Some(what)
    }

    /// Nothing of what was planned will happen.
    pub fn clear(&mut self) {
        self.planned.clear();
    }

    /// Time passes in which nothing happens.
    pub fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        NOW_NS.set(self.now_ns);
    }
}
