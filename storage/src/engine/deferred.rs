//! Rows that were set while their leaf was absent: the newest of each, by leaf, the leaf that has waited longest first.
//!
//! Knows nothing of trees; what the rows wait for is [`super::defer`]'s. Databases go by their spaces here ([`crate::spaces`]).
//!
//! | at | bytes | a row (little-endian) |
//! | --- | --- | --- |
//! | 0 | 8 | head |
//! | 8 | 2 | length of the key |
//! | 10 | 2 | length of the payload |
//! | 12 | | key, payload: a row's header and its value |

use crate::limits::TREES;
use crate::log::LogStart;
use crate::row::Header;
use crate::units::PageId;
use hashbrown::HashMap;
use std::collections::VecDeque;

const HEADER_BYTES: usize = 12;

/// About what a leaf takes beside its rows: its place in the map and in the order, and what the allocator adds.
const LEAF_BYTES: u64 = 96;

/// Rows of one leaf.
pub(super) struct Leaf {
    pub space: u8,
    /// Ascends with the time at which the first of its rows came.
    number: u64,
    count: u32,
    rows: Vec<u8>,
    /// The leaf cannot be had now.
    is_barred: bool,
}

/// A place in the log from which a recovery can begin, and how many bytes of records had been appended before it.
#[derive(Clone, Copy)]
pub(super) struct Start {
    pub log: LogStart,
    pub archived: u64,
}

/// A row that waits.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub head: u64,
    pub key: &'a [u8],
    pub payload: &'a [u8],
}

pub(super) struct Deferred {
    leaves: HashMap<PageId, Leaf>,
    /// Leaves in the order of their numbers. Those that are not in the map under this number are gone.
    order: VecDeque<(u64, PageId)>,
    /// From the leaf of a number on, the log is needed from there.
    starts: VecDeque<(u64, Start)>,
    number_last: u64,
    bytes: u64,
    rows: u64,
    rows_in: [u64; TREES],
    barred: usize,
    /// Leaves of databases that were emptied, which may have to be undone: each with the number of that.
    aside: Vec<(u64, Vec<(PageId, Leaf)>)>,
}

impl Default for Deferred {
    fn default() -> Deferred {
        Deferred {
            leaves: HashMap::default(),
            order: VecDeque::new(),
            starts: VecDeque::new(),
            number_last: 0,
            bytes: 0,
            rows: 0,
            rows_in: [0; TREES],
            barred: 0,
            aside: Vec::new(),
        }
    }
}

impl Leaf {
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let mut rest = &self.rows[..];
        std::iter::from_fn(move || {
            let (row, after) = split_row(rest)?;
            rest = after;
            Some(row)
        })
    }

    fn place_of(&self, head: u64, key: &[u8]) -> Option<(usize, usize)> {
        let mut at = 0;
        for row in self.rows() {
            let len = HEADER_BYTES + row.key.len() + row.payload.len();
            if row.head == head && row.key == key {
                return Some((at, len));
            }
            at += len;
        }
        None
    }
}

impl Deferred {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Rows that wait.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The same of one space.
    pub fn rows_in(&self, space: u8) -> u64 {
        self.rows_in[usize::from(space)]
    }

    pub fn leaves(&self) -> usize {
        self.leaves.len()
    }

    /// Those of them that cannot be had now.
    pub fn barred(&self) -> usize {
        self.barred
    }

    /// Memory that they take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The most memory that one more takes.
    pub fn bytes_of(key: &[u8], payload: usize) -> u64 {
        (HEADER_BYTES + key.len() + payload) as u64 + LEAF_BYTES
    }

    #[inline]
    pub fn holds(&self, leaf: PageId) -> bool {
        self.leaves.contains_key(&leaf)
    }

    /// Bytes of a leaf's rows.
    pub fn bytes_in(&self, leaf: PageId) -> usize {
        self.leaves.get(&leaf).map_or(0, |leaf| leaf.rows.len())
    }

    /// The payload of a row, if it waits.
    pub fn find(&self, leaf: PageId, head: u64, key: &[u8]) -> Option<&[u8]> {
        let mut rows = self.leaves.get(&leaf)?.rows();
        rows.find(|row| row.head == head && row.key == key).map(|row| row.payload)
    }

    /// Whether the log would be needed from this far back on, if another leaf came: `None` if no start has been noted.
    pub fn start_last(&self) -> Option<Start> {
        self.starts.back().map(|(_, start)| *start)
    }

    /// From the next leaf on, what comes is behind this place in the log.
    pub fn note_start(&mut self, start: Start) {
        self.starts.push_back((self.number_last + 1, start));
    }

    /// Keeps a row instead of what was kept of it. If its leaf is new, a start has been noted.
    pub fn put(&mut self, page: PageId, space: u8, head: u64, key: &[u8], header: Header, value: &[u8]) {
        let leaf = self.leaves.entry(page).or_insert_with(|| {
            assert!(!self.starts.is_empty(), "it is known where the log is needed from");
            self.number_last += 1;
            self.order.push_back((self.number_last, page));
            self.bytes += LEAF_BYTES;
            Leaf { space, number: self.number_last, count: 0, rows: Vec::new(), is_barred: false }
        });
        assert_eq!(leaf.space, space, "a leaf is one tree's");
        let payload = header.bytes() + value.len();
        let capacity = leaf.rows.capacity();
        match leaf.place_of(head, key) {
            Some((at, len)) if len == HEADER_BYTES + key.len() + payload => {
                let row = &mut leaf.rows[at + len - payload..at + len];
                header.encode(row).copy_from_slice(value);
                return;
            }
            Some((at, len)) => drop(leaf.rows.drain(at..at + len)),
            None => {
                leaf.count += 1;
                self.rows += 1;
                self.rows_in[usize::from(space)] += 1;
            }
        }
        leaf.rows.reserve_exact(HEADER_BYTES + key.len() + payload);
        leaf.rows.extend_from_slice(&head.to_le_bytes());
        leaf.rows.extend_from_slice(&(key.len() as u16).to_le_bytes());
        leaf.rows.extend_from_slice(&(payload as u16).to_le_bytes());
        leaf.rows.extend_from_slice(key);
        let at = leaf.rows.len();
        leaf.rows.resize(at + payload, 0);
        header.encode(&mut leaf.rows[at..]).copy_from_slice(value);
        self.bytes += (leaf.rows.capacity() - capacity) as u64;
    }

    /// The rows of a leaf are not kept any more.
    pub fn take(&mut self, page: PageId) -> Option<Leaf> {
        let leaf = self.leaves.remove(&page)?;
        self.bytes -= leaf.rows.capacity() as u64 + LEAF_BYTES;
        self.rows -= u64::from(leaf.count);
        self.rows_in[usize::from(leaf.space)] -= u64::from(leaf.count);
        self.barred -= usize::from(leaf.is_barred);
        Some(leaf)
    }

    /// Nothing of a space waits from now on.
    pub fn clear(&mut self, space: u8) {
        drop(self.take_all(space));
    }

    fn take_all(&mut self, space: u8) -> Vec<(PageId, Leaf)> {
        if self.rows_in(space) == 0 {
            return Vec::new();
        }
        let of_space = self.leaves.iter().filter(|(_, leaf)| leaf.space == space);
        let pages: Vec<PageId> = of_space.map(|(page, _)| *page).collect();
        pages.into_iter().map(|page| (page, self.take(page).expect("it was there just now"))).collect()
    }

    /// The same, unless [`Deferred::take_back`] is told this number.
    pub fn set_aside(&mut self, space: u8, number: u64) {
        let leaves = self.take_all(space);
        if !leaves.is_empty() {
            self.aside.push((number, leaves));
        }
    }

    /// What was set aside under this number. It is to be kept again, by [`Deferred::keep`].
    pub fn take_back(&mut self, number: u64) -> Vec<(PageId, Leaf)> {
        let at = self.aside.iter().position(|(known, _)| *known == number);
        at.map_or_else(Vec::new, |at| self.aside.swap_remove(at).1)
    }

    /// A leaf that was set aside has its place again.
    pub fn keep(&mut self, page: PageId, leaf: Leaf) {
        self.bytes += leaf.rows.capacity() as u64 + LEAF_BYTES;
        self.rows += u64::from(leaf.count);
        self.rows_in[usize::from(leaf.space)] += u64::from(leaf.count);
        self.barred += usize::from(leaf.is_barred);
        let before = self.leaves.insert(page, leaf);
        assert!(before.is_none(), "nobody writes to what is set aside");
    }

    /// What was set aside under this number is not needed any more.
    pub fn forget_aside(&mut self, number: u64) {
        self.aside.retain(|(known, _)| *known != number);
    }

    /// The first leaf behind a number that can be had, and its number.
    pub fn next_behind(&self, number: u64) -> Option<(u64, PageId)> {
        let from = self.order.partition_point(|(other, _)| *other <= number);
        self.order.range(from..).copied().find(|place| self.is_at(place))
    }

    /// Whether a leaf is here, under its number, and can be had.
    fn is_at(&self, (number, page): &(u64, PageId)) -> bool {
        self.leaves.get(page).is_some_and(|leaf| leaf.number == *number && !leaf.is_barred)
    }

    /// A row of a leaf, and its space.
    pub fn first_row(&self, page: PageId) -> Option<(u8, Row<'_>)> {
        let leaf = self.leaves.get(&page)?;
        Some((leaf.space, leaf.rows().next().expect("a leaf is here for a row")))
    }

    /// Where the log is needed from on for the sake of those that wait, barred ones aside.
    pub fn start(&mut self) -> Option<Start> {
        self.forget_gone();
        let (oldest, _) = *self.order.iter().find(|place| self.is_at(place))?;
        let start = self.starts.iter().rev().find(|(number, _)| *number <= oldest);
        Some(start.expect("a start was noted before the first leaf").1)
    }

    fn forget_gone(&mut self) {
        if !self.aside.is_empty() {
            // They may need their places in the order, and their starts.
            return;
        }
        while let Some((number, page)) = self.order.front()
            && self.leaves.get(page).is_none_or(|leaf| leaf.number != *number)
        {
            self.order.pop_front();
        }
        let oldest = self.order.front().map_or(self.number_last + 1, |(number, _)| *number);
        while self.starts.get(1).is_some_and(|(number, _)| *number <= oldest) {
            self.starts.pop_front();
        }
    }

    /// The number of the leaf that came last.
    pub fn number_last(&self) -> u64 {
        self.number_last
    }

    pub fn is_barred(&self, page: PageId) -> bool {
        self.leaves.get(&page).is_some_and(|leaf| leaf.is_barred)
    }

    /// A leaf cannot be had now.
    pub fn bar(&mut self, page: PageId) {
        if let Some(leaf) = self.leaves.get_mut(&page) {
            self.barred += usize::from(!std::mem::replace(&mut leaf.is_barred, true));
        }
    }

    /// What could not be had is tried again: whether there is any.
    pub fn unbar(&mut self) -> bool {
        if self.barred == 0 {
            return false;
        }
        self.leaves.values_mut().for_each(|leaf| leaf.is_barred = false);
        self.barred = 0;
        true
    }

    /// The rows of leaves that cannot be had.
    pub fn barred_rows(&self) -> impl Iterator<Item = (u8, Row<'_>)> {
        let barred = self.leaves.values().filter(|leaf| leaf.is_barred);
        barred.flat_map(|leaf| leaf.rows().map(|row| (leaf.space, row)))
    }

    /// These are in the log once more, behind the start that was noted last: as if they had come now.
    pub fn renew_barred(&mut self) {
        for (page, leaf) in self.leaves.iter_mut().filter(|(_, leaf)| leaf.is_barred) {
            self.number_last += 1;
            leaf.number = self.number_last;
            self.order.push_back((leaf.number, *page));
        }
    }
}

/// The first row of some, and the others.
fn split_row(rows: &[u8]) -> Option<(Row<'_>, &[u8])> {
    let (header, rest) = rows.split_first_chunk::<HEADER_BYTES>()?;
    let length = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let head = u64::from_le_bytes(*header.first_chunk().expect("a header begins with eight bytes"));
    let (key, rest) = rest.split_at(length(8));
    let (payload, rest) = rest.split_at(length(10));
    Some((Row { head, key, payload }, rest))
}
