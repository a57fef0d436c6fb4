//! Effects of the log that are not in the trees yet: a copy of each, found by row, in the log's order for each row.
//!
//! They are gathered in the order of the log, then sorted, and then each is taken once: in the order of rows, or
//! earlier when somebody looks at the row. Knows nothing of trees.
//!
//! | at | bytes | a copy (little-endian) |
//! | --- | --- | --- |
//! | 0 | 1 | bit 7: there is a number; bits 0 to 6: put, splice, expire, delete |
//! | 1 | 4 | length of the key |
//! | 5 | 4 | length of what follows it |
//! | 9 | 8 | only if it is not 0: the number, a deadline or an offset |
//! | .. | | the key; of a put the row's header and value, as a leaf has them, of a splice its bytes |

use super::elements::is_elements;
use crate::limits::{ORDER_HEAD_BITS, TREES};
use crate::log::{Record, Removal};
use crate::row::{self, Header};
use crate::tree::row_fits;
use crate::units::PendingId;
use std::cell::Cell;
use std::ops::Range;

const PUT: u8 = 0;
const SPLICE: u8 = 1;
const EXPIRE: u8 = 2;
const DELETE: u8 = 3;
const HAS_NUMBER: u8 = 1 << 7;
const HEADER_BYTES: usize = 9;
const NUMBER_BYTES: usize = 8;

/// The place of a copy that is not needed any more.
const DONE: u64 = u64::MAX;

/// A [`PendingId`] has so many bits for the place in the list of a database.
const INDEX_BITS: u32 = 26;
/// Effects of one database that can be pending.
const LIST_MAX: usize = 1 << INDEX_BITS;

/// An effect: its row's head, and where its copy is, chunk and offset. Places ascend with the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    head: u64,
    at: u64,
}

/// Effects that wait to be applied.
pub(super) struct Pending {
    chunks: Vec<Vec<u8>>,
    chunk_bytes: u64,
    lists: [Vec<Entry>; TREES],
    /// Those that are not done, and of these, those of each database.
    left: usize,
    left_in: [usize; TREES],
    is_sorted: bool,
    /// Copies before this place are of effects that the trees may have.
    settled_end: u64,
    /// What comes next in the order of rows, and how far pages have been read ahead: database and place in its list.
    next: (usize, usize),
    ahead: (usize, usize),
    /// Something before `next` could not be applied.
    has_skipped: bool,
    /// Nothing but what was skipped is left: bytes of the records that would say it once more.
    blocked_bytes: Option<usize>,
    /// What is to be applied once more at the end: a planted bug.
    twice: Vec<(PendingId, u64)>,
    /// Of databases that were emptied, until that is decided.
    set_aside: Vec<(u64, Aside)>,
    /// Of one database, a run of places whose effects are done: first, and behind the last.
    done_run: Cell<(usize, usize, usize)>,
}

impl Default for Pending {
    fn default() -> Pending {
        Pending {
            chunks: Vec::new(),
            chunk_bytes: 0,
            lists: [const { Vec::new() }; TREES],
            left: 0,
            left_in: [0; TREES],
            is_sorted: false,
            settled_end: 0,
            next: (0, 0),
            ahead: (0, 0),
            has_skipped: false,
            blocked_bytes: None,
            twice: Vec::new(),
            set_aside: Vec::new(),
            done_run: Cell::default(),
        }
    }
}

/// The effects of a database, and how many of them are to be applied.
struct Aside {
    list: Vec<Entry>,
    left: usize,
}

impl Pending {
    /// Effects that are to be applied.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The same of one database.
    pub fn left_in(&self, db: u8) -> usize {
        self.left_in[usize::from(db)]
    }

    /// Memory that they take.
    pub fn bytes(&self) -> u64 {
        let entries: usize = self.lists.iter().map(Vec::capacity).sum();
        self.chunk_bytes + (entries * size_of::<Entry>()) as u64
    }

    /// Memory that one more takes, lists aside.
    pub fn bytes_of(record: &Record<'_>) -> u64 {
        (Copy::of(record).bytes() + size_of::<Entry>()) as u64
    }

    pub fn is_list_full(&self, db: u8) -> bool {
        self.lists[usize::from(db)].len() == LIST_MAX
    }

    /// Keeps a copy of what a record does to its row, in a piece of memory of `chunk_bytes` if it fits. It is of the end of
    /// what is known of the log.
    pub fn push(&mut self, db: u8, head: u64, record: &Record<'_>, chunk_bytes: usize) {
        assert!(!self.is_sorted, "what comes later would be applied earlier");
        let copy = Copy::of(record);
        let len = copy.bytes();
        if self.chunks.last().is_none_or(|chunk| chunk.capacity() - chunk.len() < len) {
            let chunk = Vec::with_capacity(chunk_bytes.max(len));
            self.chunk_bytes += chunk.capacity() as u64;
            self.chunks.push(chunk);
        }
        let number_of_chunk = self.chunks.len() as u64 - 1;
        let chunk = self.chunks.last_mut().expect("there is one at the latest now");
        let at = number_of_chunk << 32 | chunk.len() as u64;
        copy.write(chunk);
        self.lists[usize::from(db)].push(Entry { head, at });
        self.left += 1;
        self.left_in[usize::from(db)] += 1;
    }

    /// All that has been kept so far is of effects that the trees may have, and later ones too.
    pub fn note_settled(&mut self) {
        let chunk = self.chunks.last().map_or(0, Vec::len) as u64;
        self.settled_end = (self.chunks.len() as u64).saturating_sub(1) << 32 | chunk;
    }

    /// Whether the trees may have this effect, and later ones on its row.
    pub fn is_settled(&self, pending: PendingId) -> bool {
        let (db, index) = place(pending);
        self.lists[db][index].at < self.settled_end
    }

    /// Nothing of this database is to be applied any more.
    pub fn cancel(&mut self, db: u8) {
        self.lists[usize::from(db)] = Vec::new();
        self.done_run = Cell::default();
        self.left -= std::mem::take(&mut self.left_in[usize::from(db)]);
        self.twice.retain(|(pending, _)| place(*pending).0 != usize::from(db));
        for place in [&mut self.next, &mut self.ahead].into_iter().filter(|place| place.0 == usize::from(db)) {
            place.1 = 0;
        }
    }

    /// Nothing of this database is to be applied, unless [`Pending::take_back`] is told this number.
    pub fn set_aside(&mut self, db: u8, number: u64) {
        let (list, left) =
            (std::mem::take(&mut self.lists[usize::from(db)]), std::mem::take(&mut self.left_in[usize::from(db)]));
        self.twice.retain(|(pending, _)| place(*pending).0 != usize::from(db));
        self.set_aside.push((number, Aside { list, left }));
        self.rewind();
    }

    /// What was set aside is of this database.
    pub fn take_back(&mut self, db: u8, number: u64) {
        let Some(at) = self.set_aside.iter().position(|(known, _)| *known == number) else { return };
        let (_, Aside { list, left }) = self.set_aside.swap_remove(at);
        (self.lists[usize::from(db)], self.left_in[usize::from(db)]) = (list, left);
        self.rewind();
    }

    /// What was set aside is not to be applied.
    pub fn forget_aside(&mut self, number: u64) {
        self.left -= self.set_aside.extract_if(.., |(known, _)| *known == number).map(|(_, it)| it.left).sum::<usize>();
    }

    /// Whether it may have to be applied after all.
    pub fn has_aside(&self) -> bool {
        !self.set_aside.is_empty()
    }

    /// Two databases change places.
    pub fn swap(&mut self, one: u8, other: u8) {
        let (one, other) = (usize::from(one), usize::from(other));
        self.lists.swap(one, other);
        self.left_in.swap(one, other);
        for (pending, _) in &mut self.twice {
            let (db, index) = place(*pending);
            let db = if db == one {
                other
            } else if db == other {
                one
            } else {
                db
            };
            *pending = id(db, index);
        }
        self.rewind();
    }

    /// All has been gathered: from now on it is found by row. What a later effect of the row makes pointless goes.
    pub fn sort(&mut self) {
        if std::mem::replace(&mut self.is_sorted, true) {
            return;
        }
        self.left = 0;
        for db in 0..TREES {
            let mut list = std::mem::take(&mut self.lists[db]);
            list.sort_unstable();
            for row in list.chunk_by_mut(|one, other| one.head == other.head).filter(|row| row.len() > 1) {
                self.drop_replaced(db as u8, row);
            }
            list.retain(|entry| entry.at != DONE);
            self.left += list.len();
            self.left_in[db] = list.len();
            self.lists[db] = list;
        }
    }

    /// Of the effects on one head, those go that a later one on the same key replaces.
    fn drop_replaced(&self, db: u8, row: &mut [Entry]) {
        let mut replaced: Option<&[u8]> = None;
        for entry in row.iter_mut().rev() {
            let record = self.record(db, *entry);
            let key = record.row().map(|(_, key)| key);
            // Whose elements they are is to be known when a collection is gone.
            let is_owner = matches!(record, Record::Put { kind, .. } if kind & row::OWNS != 0);
            if key == replaced && !is_owner {
                entry.at = DONE;
            } else if matches!(record, Record::Put { .. } | Record::Delete { .. }) {
                replaced = key;
            }
        }
    }

    /// The first effect of a row that is to be applied.
    pub fn find(&self, db: u8, head: u64) -> Option<PendingId> {
        let list = &self.lists[usize::from(db)];
        let first = list.partition_point(|entry| entry.head < head);
        if !self.has_skipped
            && (usize::from(db), first) < self.next
            && list.get(self.next.1).is_none_or(|next| next.head != head)
        {
            return None;
        }
        self.first_of(usize::from(db), first, head)
    }

    /// The first effect that is to be applied of the rows with these heads.
    pub fn find_between(&self, db: u8, heads: Range<u64>) -> Option<PendingId> {
        let at = usize::from(db);
        let list = &self.lists[at];
        let first = list.partition_point(|entry| entry.head < heads.start);
        let done = self.done_run.get();
        let is_known = done.0 == at && (done.1..done.2).contains(&first);
        let from = if is_known { done.2 } else { first };
        let mut more = list[from..].iter().take_while(|entry| entry.head < heads.end);
        let skipped = more.clone().take_while(|entry| entry.at == DONE).count();
        self.done_run.set((at, if is_known { done.1 } else { first }, from + skipped));
        more.nth(skipped).map(|_| id(at, from + skipped))
    }

    /// What a row will be, as a leaf has it, if one effect alone says so. `first` is the first one on its head.
    pub fn outcome(&self, first: PendingId, key: &[u8]) -> Option<Option<&[u8]>> {
        let (db, index) = place(first);
        let list = &self.lists[db][index..];
        let of_head = list.iter().take_while(|entry| entry.head == list[0].head).filter(|entry| entry.at != DONE);
        let mut of_key = of_head.map(|entry| self.copy(*entry)).filter(|copy| copy.key == key);
        let only = of_key.next().filter(|_| of_key.next().is_none())?;
        match only.tag {
            PUT if row_fits(key.len(), only.rest.len()) && !row::is_long(key) => Some(Some(only.rest)),
            DELETE => Some(None),
            _ => None,
        }
    }

    /// The first effect from a place on, if it is of this row.
    fn first_of(&self, db: usize, from: usize, head: u64) -> Option<PendingId> {
        let row = self.lists[db][from..].iter().take_while(|entry| entry.head == head);
        let at = row.enumerate().find(|(_, entry)| entry.at != DONE)?.0;
        Some(id(db, from + at))
    }

    /// The first effect that is to be applied of the row that `id` is or was of; of an element's, of all elements of its collection.
    pub fn again(&self, pending: PendingId) -> Option<PendingId> {
        let (db, index) = place(pending);
        let head = self.lists[db].get(index)?.head;
        if is_elements(db as u8) {
            let number = head >> ORDER_HEAD_BITS;
            let of_number = self.lists[db][index..].iter().take_while(|entry| entry.head >> ORDER_HEAD_BITS == number);
            let at = of_number.enumerate().find(|(_, entry)| entry.at != DONE)?.0;
            return Some(id(db, index + at));
        }
        self.first_of(db, index, head)
    }

    /// Bytes of records that say once more what is left, if nothing is left but what was skipped.
    pub fn blocked_bytes(&self) -> Option<usize> {
        self.blocked_bytes
    }

    /// Notes that nothing is left but what was skipped.
    pub fn block(&mut self) {
        let bytes = self.records().map(|record| record.archive_bytes()).sum();
        self.blocked_bytes = Some(bytes);
    }

    /// All that is left, in the log's order for each row.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let lists = self.lists.iter().zip(0..);
        let left =
            lists.flat_map(|(list, db)| list.iter().filter(|entry| entry.at != DONE).map(move |entry| (db, entry)));
        left.map(|(db, entry)| self.record(db, *entry))
    }

    /// The next effect in the order of rows. `None`: there is none, or nothing but what was skipped.
    pub fn next(&mut self) -> Option<PendingId> {
        if self.left == self.twice.len() {
            for (pending, at) in std::mem::take(&mut self.twice) {
                let (db, index) = place(pending);
                self.lists[db][index].at = at;
                self.rewind();
            }
        }
        loop {
            let (db, index) = self.next;
            match self.lists.get(db)?.get(index) {
                Some(entry) if entry.at != DONE => return Some(id(db, index)),
                Some(_) => self.next.1 += 1,
                None => self.next = (db + 1, 0),
            }
        }
    }

    /// The row of the next effect cannot be had now: the others come first.
    pub fn skip(&mut self) {
        let (db, index) = self.next;
        let Some(head) = self.lists.get(db).and_then(|list| list.get(index)).map(|entry| entry.head) else { return };
        let row = self.lists[db][index..].iter().take_while(|entry| entry.head == head).count();
        self.next.1 += row;
        self.has_skipped = true;
    }

    /// Begins again with what was skipped.
    pub fn rewind(&mut self) {
        (self.next, self.ahead, self.has_skipped) = ((0, 0), (0, 0), false);
        self.done_run = Cell::default();
        self.blocked_bytes = None;
    }

    /// The effect as the log has it, and its row.
    pub fn get(&self, pending: PendingId) -> Record<'_> {
        let (db, index) = place(pending);
        self.record(db as u8, self.lists[db][index])
    }

    /// It has been applied.
    pub fn done(&mut self, pending: PendingId) {
        self.take(pending);
        self.left -= 1;
        self.left_in[place(pending).0] -= 1;
    }

    /// It has been applied, and will be once more: a planted bug.
    pub fn done_once(&mut self, pending: PendingId) {
        let at = self.take(pending);
        self.twice.push((pending, at));
    }

    fn take(&mut self, pending: PendingId) -> u64 {
        let (db, index) = place(pending);
        let at = std::mem::replace(&mut self.lists[db][index].at, DONE);
        assert!(at != DONE, "an effect is applied once");
        at
    }

    fn copy(&self, Entry { at, .. }: Entry) -> Copy<'_> {
        Copy::read(&self.chunks[(at >> 32) as usize][at as u32 as usize..])
    }

    fn record(&self, db: u8, entry: Entry) -> Record<'_> {
        let (Copy { tag, number, key, rest, .. }, head) = (self.copy(entry), entry.head);
        match tag {
            PUT => {
                let (Header { kind, expire_ms, .. }, value) = Header::decode(rest);
                Record::Put { db, kind, head, expire_ms, key, value }
            }
            SPLICE => Record::Splice { db, head, offset: number, key, bytes: rest },
            EXPIRE => Record::Expire { db, head, expire_ms: number, key },
            DELETE => Record::Delete { db, removal: Removal::Deleted, head, key },
            _ => unreachable!("there are four kinds of copies"),
        }
    }

    /// Up to `heads.len()` heads of effects that follow what was read ahead, at most `max` effects from the next one: the
    /// database, and how many.
    pub fn heads_ahead(&mut self, heads: &mut [u64], max: usize) -> (u8, usize) {
        self.ahead = self.ahead.max(self.next);
        let (db, index) = self.ahead;
        let Some(list) = self.lists.get(db) else { return (0, 0) };
        let base = if self.next.0 == db { self.next.1 } else { 0 };
        let end = list.len().min(base + max).min(index + heads.len()).max(index);
        for (head, entry) in heads.iter_mut().zip(&list[index..end]) {
            *head = entry.head;
        }
        self.ahead.1 = end;
        (db as u8, end - index)
    }

    /// Pages are to be read ahead from the next effect on once more.
    pub fn look_again(&mut self) {
        self.ahead = self.next;
    }

    /// Hands back a piece of the memory, when all has been applied. Whether there is more.
    pub fn shrink(&mut self) -> bool {
        assert_eq!(self.left, 0, "what is pending is needed");
        self.lists = [const { Vec::new() }; TREES];
        if let Some(chunk) = self.chunks.pop() {
            self.chunk_bytes -= chunk.capacity() as u64;
        }
        !self.chunks.is_empty()
    }
}

fn id(db: usize, index: usize) -> PendingId {
    PendingId((db as u32) << INDEX_BITS | index as u32)
}

fn place(pending: PendingId) -> (usize, usize) {
    ((pending.0 >> INDEX_BITS) as usize, pending.0 as usize % LIST_MAX)
}

/// An effect as it is kept.
struct Copy<'a> {
    tag: u8,
    /// Of the row, if it is a put.
    header: Option<Header>,
    number: u64,
    key: &'a [u8],
    /// What follows the key; when it is to be written, behind the header.
    rest: &'a [u8],
}

impl<'a> Copy<'a> {
    fn of(record: &Record<'a>) -> Copy<'a> {
        let (tag, header, number, key, rest) = match *record {
            Record::Put { kind, expire_ms, key, value, .. } => {
                (PUT, Some(Header { kind, expire_ms, is_outside: false }), 0, key, value)
            }
            Record::Splice { offset, key, bytes, .. } => (SPLICE, None, offset, key, bytes),
            Record::Expire { expire_ms, key, .. } => (EXPIRE, None, expire_ms, key, &[][..]),
            Record::Delete { key, .. } => (DELETE, None, 0, key, &[][..]),
            _ => unreachable!("it is no effect on a row"),
        };
        Copy { tag, header, number, key, rest }
    }

    fn rest_bytes(&self) -> usize {
        self.header.map_or(0, |header| header.bytes()) + self.rest.len()
    }

    fn bytes(&self) -> usize {
        HEADER_BYTES + if self.number == 0 { 0 } else { NUMBER_BYTES } + self.key.len() + self.rest_bytes()
    }

    fn write(&self, chunk: &mut Vec<u8>) {
        chunk.push(self.tag | if self.number == 0 { 0 } else { HAS_NUMBER });
        chunk.extend_from_slice(&(self.key.len() as u32).to_le_bytes());
        chunk.extend_from_slice(&(self.rest_bytes() as u32).to_le_bytes());
        if self.number != 0 {
            chunk.extend_from_slice(&self.number.to_le_bytes());
        }
        chunk.extend_from_slice(self.key);
        if let Some(header) = self.header {
            let at = chunk.len();
            chunk.resize(at + header.bytes(), 0);
            header.encode(&mut chunk[at..]);
        }
        chunk.extend_from_slice(self.rest);
    }

    fn read(copy: &'a [u8]) -> Copy<'a> {
        let length = |at: usize| u32::from_le_bytes(copy[at..at + 4].try_into().expect("four bytes")) as usize;
        let (tag, key_len, rest_len) = (copy[0] & !HAS_NUMBER, length(1), length(5));
        let mut rest = &copy[HEADER_BYTES..];
        let mut number = 0;
        if copy[0] & HAS_NUMBER != 0 {
            let (bytes, after) = rest.split_at(NUMBER_BYTES);
            number = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
            rest = after;
        }
        let (key, rest) = rest[..key_len + rest_len].split_at(key_len);
        Copy { tag, header: None, number, key, rest }
    }
}

const _: () = assert!(TREES << INDEX_BITS <= 1 << 32);
