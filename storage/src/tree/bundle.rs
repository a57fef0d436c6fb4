//! Bundles: entries of a leaf that stand for several rows, in trees that count them ([`super::gather`] makes them).
//!
//! The entry's key is that of the first row. All rows have its head, and tails of its length, at most [`TAIL_BYTES_MAX`]: numbers, big-endian. The
//! entry's payload:
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | 0: each row but the first has its tail; 1: each tail is that of the row before and a stride |
//! | 1 + s | with a stride only: s, shifted by 4, and its zero bytes at the end; its s other bytes, big-endian |
//! | .. | the rows in the order of their keys, at most [`ROWS_MAX`] |
//!
//! A row:
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 + n | without a stride, not of the first row: bytes at the end that differ from the row before, shifted by 4, and how many of these, at the end, are zero; the n others |
//! | 1 | 1 to 31: the bytes of the payload, this one included |
//! | or 2 | 0x40 and the high bits, the low bits: the bytes of the payload |
//! | .. | the payload; a short one's first byte is the one that says its length |
//!
//! A payload's first byte is a header ([`crate::row`]) of a row that neither expires nor stands outside, whose kind is 1 to 31: which of these is of no
//! meaning, so in a short one it is the length. A row that is gone has bit 7 of its length set, and keeps its bytes until the bundle is cut there.
//! **Valid** is a bundle whose rows fill its bytes, whose tails ascend, and which has as many rows that are not gone as its slot says, at least one.

use super::KeyCopy;
use crate::limits::PAGE_BYTES;
use crate::page::Key;
use core::ops::Range;

/// The longest tail of a row in a bundle.
pub(super) const TAIL_BYTES_MAX: usize = 15;

/// The most rows of a bundle, those that are gone included.
pub(super) const ROWS_MAX: usize = 128;

/// The most bytes of a bundle's payload.
pub(super) const BUNDLE_BYTES_MAX: usize = 1000;

/// The longest payload of a row in a bundle.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 256;

const _: () = assert!(BUNDLE_BYTES_MAX < crate::limits::ROW_INLINE_BYTES_MAX && PAGE_BYTES < 1 << 14);

const APART: u8 = 0;
const STRIDE: u8 = 1;

const GONE: u8 = 0x80;
const LONG: u8 = 0x40;
const SHORT_MAX: usize = 31;

/// What a row of a bundle has for a first byte if its own length does not say it.
const KIND: u8 = 1;

/// Whether a row with this tail and payload may stand in a bundle: its owner says so by the header.
#[inline]
pub(super) fn may_join(tail: &[u8], payload: &[u8]) -> bool {
    let is_kind = payload.first().is_some_and(|first| (1..=SHORT_MAX as u8).contains(first));
    is_kind && tail.len() <= TAIL_BYTES_MAX && payload.len() <= PAYLOAD_BYTES_MAX
}

/// A tail as a number.
#[inline]
pub(super) fn number(tail: &[u8]) -> u128 {
    tail.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// The bundle of an entry.
#[derive(Clone, Copy)]
pub(crate) struct Bundle<'a> {
    /// The entry's.
    key: Key<'a>,
    payload: &'a [u8],
}

/// A row of a bundle, be it gone or not.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    tail: u128,
    /// Where in the bundle's payload its bytes begin, what follows its tail, its own payload, and where that ends.
    start: u16,
    entry: u16,
    from: u16,
    end: u16,
    pub is_live: bool,
}

impl Place {
    /// Its tail as a number.
    pub(super) fn number(&self) -> u128 {
        self.tail
    }

    /// Where its bytes begin.
    pub(super) fn start(&self) -> usize {
        self.start.into()
    }

    /// Where its payload is in the bundle's.
    pub(super) fn range(&self) -> Range<usize> {
        self.from.into()..self.end.into()
    }

    /// Marks it as gone.
    pub(super) fn mark_gone(&self, payload: &mut [u8]) {
        payload[usize::from(self.entry)] |= GONE;
    }
}

/// Where a key is in a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The row at this position.
    At(usize),
    /// In front of the row at this position, or in the place of one that is gone.
    Before(usize),
    Behind,
}

impl<'a> Bundle<'a> {
    pub fn of(key: Key<'a>, payload: &'a [u8]) -> Bundle<'a> {
        Bundle { key, payload }
    }

    /// The stride, and where the rows begin.
    #[inline]
    fn opening(&self) -> Option<(Option<u128>, usize)> {
        match *self.payload {
            [APART, ..] => Some((None, 1)),
            [STRIDE, sizes, ..] => {
                let (len, zeros) = (usize::from(sizes >> 4), usize::from(sizes & 15));
                let bytes = self.payload.get(2..2 + len)?;
                (len + zeros <= TAIL_BYTES_MAX).then(|| (Some(number(bytes) << (8 * zeros)), 2 + len))
            }
            _ => None,
        }
    }

    /// All rows, be they gone or not. Of one that is not valid, those up to where that shows.
    #[inline]
    pub fn places(&self) -> Places<'a> {
        let (stride, at) = self.opening().unwrap_or((None, self.payload.len()));
        Places { payload: self.payload, stride, at, is_first: true, tail: number(self.key.tail) }
    }

    /// The rows that are there.
    #[inline]
    pub fn live(&self) -> impl Iterator<Item = Place> + use<'a> {
        self.places().filter(|place| place.is_live)
    }

    /// The row at a position, and how many rows that are there are in front of it.
    #[inline]
    pub fn at(&self, position: usize) -> (Place, usize) {
        let (mut places, mut rank) = (self.places(), 0);
        for place in places.by_ref().take(position) {
            rank += usize::from(place.is_live);
        }
        (places.next().expect("a path leads to what is there"), rank)
    }

    /// The position of the row with so many rows in front of it that are there.
    pub fn position_of(&self, rank: usize) -> usize {
        let mut live = self.places().enumerate().filter(|(_, place)| place.is_live);
        live.nth(rank).expect("a slot says how many rows are there").0
    }

    /// How many rows that are there are in front of a position.
    pub fn rank_of(&self, position: usize) -> usize {
        self.places().take(position).filter(|place| place.is_live).count()
    }

    pub fn key_of(&self, place: &Place) -> KeyCopy {
        self.show(place, |key, _| KeyCopy::new(key))
    }

    pub fn payload_of(&self, place: &Place) -> &'a [u8] {
        &self.payload[place.range()]
    }

    /// Shows the key and the payload of a row.
    #[inline]
    pub fn show<T>(&self, place: &Place, show: impl FnOnce(Key<'_>, &[u8]) -> T) -> T {
        let bytes = place.tail.to_be_bytes();
        let tail = &bytes[size_of::<u128>() - self.key.tail.len().min(size_of::<u128>())..];
        show(Key::new(self.key.head, tail), self.payload_of(place))
    }

    /// Where a key is that is not in front of the first row.
    pub fn seek(&self, key: Key<'_>) -> Found {
        if key.head != self.key.head {
            return Found::Behind;
        }
        let len = self.key.tail.len();
        let cut = &key.tail[..key.tail.len().min(len)];
        let wanted = number(cut) << (8 * (len - cut.len()));
        // A longer tail is behind the one that it begins with, a shorter one in front of it.
        for (position, place) in self.places().enumerate() {
            if place.tail < wanted || place.tail == wanted && key.tail.len() > len {
                continue;
            }
            let is_it = place.tail == wanted && key.tail.len() == len && place.is_live;
            return if is_it { Found::At(position) } else { Found::Before(position) };
        }
        Found::Behind
    }

    /// Whether it is valid, having so many rows that are there.
    pub fn judge(&self, rows: usize) -> Result<(), &'static str> {
        if self.key.tail.len() > TAIL_BYTES_MAX {
            return Err("a bundle's rows have tails that are too long");
        }
        let (mut all, mut live, mut last, mut end) = (0, 0, None, 0);
        for place in self.places() {
            if last.is_some_and(|last| last >= place.tail) || place.tail >> (8 * self.key.tail.len()) != 0 {
                return Err("the rows of a bundle do not ascend");
            }
            (all, live) = (all + 1, live + usize::from(place.is_live));
            (last, end) = (Some(place.tail), usize::from(place.end));
        }
        match end == self.payload.len() && live == rows && live > 0 && all <= ROWS_MAX {
            true => Ok(()),
            false => Err("a bundle has not the rows that it should have"),
        }
    }

    /// The two bundles that it becomes when it is cut in front of a position: without the rows that are gone at their ends. `None` for one without
    /// rows.
    pub fn cut(&self, position: usize) -> [Option<Part>; 2] {
        let (stride, start) = self.opening().expect("it is valid");
        let opening = if stride.is_some() { &self.payload[..start] } else { &[APART] };
        let mut places = self.places();
        let mut part = |rows: usize| {
            let mut live = places.by_ref().take(rows).filter(|place| place.is_live);
            let first = live.next()?;
            let (mut end, mut count) = (first.end, 1);
            live.for_each(|place| (end, count) = (place.end, count + 1));
            let own = &self.payload[usize::from(first.entry)..usize::from(end)];
            Some(Part { key: self.key_of(&first), payload: [opening, own].concat(), rows: count })
        };
        [part(position), part(usize::MAX)]
    }
}

/// A bundle that is to be an entry.
pub(crate) struct Part {
    pub key: KeyCopy,
    pub payload: Vec<u8>,
    pub rows: usize,
}

/// Goes through the rows of a bundle.
pub(crate) struct Places<'a> {
    payload: &'a [u8],
    stride: Option<u128>,
    at: usize,
    is_first: bool,
    tail: u128,
}

impl Iterator for Places<'_> {
    type Item = Place;

    #[inline]
    fn next(&mut self) -> Option<Place> {
        let payload = self.payload;
        let (start, mut at) = (self.at, self.at);
        if !std::mem::take(&mut self.is_first) {
            match self.stride {
                Some(stride) => self.tail = self.tail.wrapping_add(stride),
                None => {
                    let sizes = *payload.get(at)?;
                    let (len, zeros) = (usize::from(sizes >> 4), usize::from(sizes & 15));
                    let bytes = payload.get(at + 1..at + 1 + len.checked_sub(zeros)?)?;
                    let end = number(bytes) << (8 * zeros);
                    self.tail = self.tail >> (8 * len) << (8 * len) | end;
                    at += 1 + len - zeros;
                }
            }
        }
        let entry = at;
        let first = *payload.get(at)?;
        let (from, len) = match first & !GONE {
            len if (1..=SHORT_MAX as u8).contains(&len) => (at, usize::from(len)),
            high if high < LONG => return None,
            high => (at + 2, usize::from(high & !LONG) << 8 | usize::from(*payload.get(at + 1)?)),
        };
        self.at = from + len;
        if self.at > payload.len() {
            return None;
        }
        let [start, entry, from, end] = [start, entry, from, self.at].map(|place| place as u16);
        Some(Place { tail: self.tail, start, entry, from, end, is_live: first & GONE == 0 })
    }
}

/// Rows that stand behind each other, ascending, to be made a bundle.
pub(super) struct Gathered<'a> {
    pub head: u64,
    pub tail_len: usize,
    pub rows: Vec<(u128, &'a [u8])>,
}

/// So many rows with one stride are a bundle of their own.
const STRIDE_ROWS_MIN: usize = 6;

impl Gathered<'_> {
    /// Makes bundles of these rows, in their order; a single row is none.
    pub fn parts(&self, mut part: impl FnMut(Range<usize>, Option<Part>)) {
        let mut at = 0;
        while at < self.rows.len() {
            let with_stride = self.stride_end(at);
            let is_worth = with_stride - at >= STRIDE_ROWS_MIN || with_stride == self.rows.len();
            let (end, bundle) = match is_worth && with_stride - at >= 2 {
                true => (with_stride, Some(self.with_stride(at..with_stride))),
                false => self.apart(at),
            };
            part(at..end, bundle);
            at = end;
        }
    }

    fn row_bytes(payload: &[u8]) -> usize {
        payload.len() + if payload.len() > SHORT_MAX { 2 } else { 0 }
    }

    /// Behind the last row that goes on with the stride of the first two, as far as a bundle has room.
    fn stride_end(&self, start: usize) -> usize {
        let rows = &self.rows[start..];
        let Some(stride) = rows.get(1).map(|next| next.0 - rows[0].0) else { return start + 1 };
        let mut bytes = 2 + TAIL_BYTES_MAX;
        let mut len = 0;
        while let Some((tail, payload)) = rows.get(len)
            && len < ROWS_MAX
            && (len == 0 || tail - rows[len - 1].0 == stride)
        {
            bytes += Self::row_bytes(payload);
            if bytes > BUNDLE_BYTES_MAX {
                break;
            }
            len += 1;
        }
        start + len
    }

    fn with_stride(&self, range: Range<usize>) -> Part {
        let rows = &self.rows[range];
        let stride = rows[1].0 - rows[0].0;
        let zeros = stride.trailing_zeros() / 8;
        let bytes = (stride >> (8 * zeros)).to_be_bytes();
        let len = bytes.len() - bytes.iter().take_while(|byte| **byte == 0).count();
        let mut payload = vec![STRIDE, (len as u8) << 4 | zeros as u8];
        payload.extend_from_slice(&bytes[bytes.len() - len..]);
        rows.iter().for_each(|(_, row)| push_row(&mut payload, row));
        self.part(rows, payload)
    }

    /// A bundle of rows that have their tails, up to some that have a stride.
    fn apart(&self, start: usize) -> (usize, Option<Part>) {
        let mut payload = vec![APART];
        let mut end = start;
        while end < self.rows.len() && end - start < ROWS_MAX {
            if end > start + 1 && self.stride_end(end) - end >= STRIDE_ROWS_MIN {
                break;
            }
            let (tail, row) = self.rows[end];
            if payload.len() + 1 + self.tail_len + Self::row_bytes(row) > BUNDLE_BYTES_MAX {
                break;
            }
            if end > start {
                push_tail(&mut payload, self.rows[end - 1].0, tail);
            }
            push_row(&mut payload, row);
            end += 1;
        }
        let rows = &self.rows[start..end];
        (end, (rows.len() > 1).then(|| self.part(rows, payload)))
    }

    fn part(&self, rows: &[(u128, &[u8])], payload: Vec<u8>) -> Part {
        Part { key: self.key(rows[0].0), payload, rows: rows.len() }
    }

    fn key(&self, tail: u128) -> KeyCopy {
        let bytes = tail.to_be_bytes();
        KeyCopy::new(Key::new(self.head, &bytes[bytes.len() - self.tail_len..]))
    }

    /// A row that is in no bundle.
    pub fn row(&self, at: usize) -> (KeyCopy, &[u8]) {
        (self.key(self.rows[at].0), self.rows[at].1)
    }
}

fn push_tail(out: &mut Vec<u8>, before: u128, tail: u128) {
    let len = size_of::<u128>() - (before ^ tail).leading_zeros() as usize / 8;
    let bytes = &tail.to_be_bytes()[size_of::<u128>() - len..];
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    out.push((len as u8) << 4 | zeros as u8);
    out.extend_from_slice(&bytes[..len - zeros]);
}

fn push_row(out: &mut Vec<u8>, row: &[u8]) {
    if row.len() <= SHORT_MAX {
        out.push(row.len() as u8);
    } else {
        out.extend_from_slice(&[LONG | (row.len() >> 8) as u8, row.len() as u8, KIND]);
    }
    out.extend_from_slice(&row[1..]);
}

#[cfg(test)]
mod tests;
