//! What stands in which stretch of a large list, roughly: who looks for a value passes over the stretches that do not have it.
//! `docs/decisions/0044-list-filters.md`.
//!
//! - **F1** Every element whose label is in a stretch is in that stretch's filter. What has gone stays in it: a filter says "no", or "perhaps".
//!
//! So whoever puts an element says so ([`Filters::put`]). Nothing is said when one goes, nor when it comes back because its removal is undone: it was
//! in the filter before. Hence no stretch is learned while a change may still be undone.
//!
//! A filter is a split block Bloom filter (Parquet's format specification, "Bloom filter": a value has one bit in each of the eight words of
//! one block). They are in memory only: a stretch is learned when somebody looks through it.

use cairn_storage::units::CollectionId;
use hashbrown::HashMap;

/// So about one value in 10,000 may be where it is not.
const BITS_PER_ELEMENT: usize = 24;

/// A block has so many words of 32 bits.
const WORDS: usize = 8;

/// Odd numbers, one for each word: Parquet's.
const SALTS: [u32; WORDS] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// Of the elements that a stretch has room for: fewer do not get one.
const LEARNED_PART: usize = 4;

/// Labels from one up to another, and what may be there.
#[derive(Debug)]
struct Stretch {
    low: Vec<u8>,
    /// Not a part of it.
    high: Vec<u8>,
    blocks: Box<[[u32; WORDS]]>,
    /// Elements that were put into it, and for how many it is made.
    count: usize,
    room: usize,
}

impl Stretch {
    fn new(low: &[u8], high: &[u8], room: usize) -> Stretch {
        let blocks = vec![[0; WORDS]; blocks_for(room)].into();
        Stretch { low: low.to_vec(), high: high.to_vec(), blocks, count: 0, room }
    }

    /// The block of a value, and its bit in each word.
    fn place(&self, hash: u64) -> (usize, [u32; WORDS]) {
        let at = ((hash >> 32) * self.blocks.len() as u64) >> 32;
        (at as usize, SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27)))
    }

    fn put(&mut self, hash: u64) {
        let (at, bits) = self.place(hash);
        self.blocks[at].iter_mut().zip(bits).for_each(|(word, bit)| *word |= bit);
        self.count += 1;
    }

    fn may_have(&self, hash: u64) -> bool {
        let (at, bits) = self.place(hash);
        self.blocks[at].iter().zip(bits).all(|(word, bit)| word & bit != 0)
    }

    fn has_room(&self, count: usize) -> bool {
        self.count + count <= self.room
    }

    fn bytes(&self) -> usize {
        bytes_for(self.room)
    }
}

/// Blocks of a stretch that has room for so many elements.
fn blocks_for(room: usize) -> usize {
    (room * BITS_PER_ELEMENT).div_ceil(32 * WORDS)
}

/// Bytes of memory that it takes, but for its labels.
fn bytes_for(room: usize) -> usize {
    size_of::<Stretch>() + size_of::<[u32; WORDS]>() * blocks_for(room)
}

/// Labels that are to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Empty: from the first element on.
    pub low: Vec<u8>,
    /// `None`: to the last one.
    pub high: Option<Vec<u8>>,
    pub what: What,
}

/// What is known of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing: whoever looks may say what is there.
    Unknown,
    /// The value may be there.
    Perhaps,
    /// The same; but so much has come since, or has gone, that it ought to be learned anew.
    Worn,
}

/// The stretches of one list that were learned, ascending.
#[derive(Debug, Default)]
struct Filter {
    stretches: Vec<Stretch>,
    /// When it was last asked.
    used: u64,
}

impl Filter {
    /// The first stretch that ends behind a label.
    fn at(&self, label: &[u8]) -> usize {
        self.stretches.partition_point(|stretch| *stretch.high <= *label)
    }

    fn bounds(&self, at: usize) -> Bounds {
        let Stretch { low, high, count, room, .. } = &self.stretches[at];
        let what = if *count > 2 * room { What::Worn } else { What::Perhaps };
        Bounds { low: low.clone(), high: Some(high.clone()), what }
    }

    fn next(&self, from: &[u8], hash: u64) -> Bounds {
        let mut from = from;
        for at in self.at(from)..self.stretches.len() {
            let stretch = &self.stretches[at];
            if *from < *stretch.low {
                let high = Some(stretch.low.clone());
                return Bounds { low: from.to_vec(), high, what: What::Unknown };
            }
            if stretch.may_have(hash) {
                return Bounds { low: from.to_vec(), ..self.bounds(at) };
            }
            from = &stretch.high;
        }
        Bounds { low: from.to_vec(), high: None, what: What::Unknown }
    }

    fn previous(&self, to: Option<&[u8]>, hash: u64) -> Bounds {
        let count = to.map_or(self.stretches.len(), |to| self.stretches.partition_point(|stretch| *stretch.low < *to));
        let mut to = to;
        for at in (0..count).rev() {
            let stretch = &self.stretches[at];
            if to.is_none_or(|to| *stretch.high < *to) {
                let high = to.map(<[u8]>::to_vec);
                return Bounds { low: stretch.high.clone(), high, what: What::Unknown };
            }
            if stretch.may_have(hash) {
                return Bounds { high: to.map(<[u8]>::to_vec), ..self.bounds(at) };
            }
            to = Some(&stretch.low);
        }
        Bounds { low: Vec::new(), high: to.map(<[u8]>::to_vec), what: What::Unknown }
    }

    fn put(&mut self, label: &[u8], hash: u64) {
        let at = self.at(label);
        if let Some(stretch) = self.stretches.get_mut(at)
            && *stretch.low <= *label
        {
            stretch.put(hash);
        }
    }

    /// Labels between stretches become a part of one beside them, or a stretch, or stay unknown if there is little.
    fn learn(&mut self, (low, high): (&[u8], &[u8]), hashes: &[u64], room: usize) {
        let at = self.at(low);
        let (before, behind) = self.stretches.split_at_mut(at);
        let into = match (before.last_mut(), behind.first_mut()) {
            (Some(before), _) if *before.high == *low && before.has_room(hashes.len()) => {
                before.high = high.to_vec();
                before
            }
            (_, Some(behind)) if *behind.low == *high && behind.has_room(hashes.len()) => {
                behind.low = low.to_vec();
                behind
            }
            _ if hashes.len() < room.div_ceil(LEARNED_PART) => return,
            _ => {
                self.stretches.insert(at, Stretch::new(low, high, room));
                &mut self.stretches[at]
            }
        };
        hashes.iter().for_each(|hash| into.put(*hash));
    }

    fn forget(&mut self, low: &[u8]) {
        let at = self.at(low);
        if self.stretches.get(at).is_some_and(|stretch| *stretch.low <= *low) {
            self.stretches.remove(at);
        }
    }

    fn bytes(&self) -> usize {
        self.stretches.iter().map(Stretch::bytes).sum()
    }
}

/// The filters of a shard's lists.
#[derive(Debug)]
pub struct Filters {
    /// Elements that a stretch has room for: `slice-items`.
    pub room: usize,
    lists: HashMap<CollectionId, Filter>,
    bytes: usize,
    asked: u64,
}

impl Default for Filters {
    fn default() -> Filters {
        Filters { room: usize::MAX, lists: HashMap::new(), bytes: 0, asked: 0 }
    }
}

impl Filters {
    /// Bytes of memory that they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first labels, from this one on, where a value may be.
    pub fn next(&mut self, number: CollectionId, from: &[u8], hash: u64) -> Bounds {
        match self.asked(number) {
            Some(filter) => filter.next(from, hash),
            None => Bounds { low: from.to_vec(), high: None, what: What::Unknown },
        }
    }

    /// The last ones before this label, or before the list's end.
    pub fn previous(&mut self, number: CollectionId, to: Option<&[u8]>, hash: u64) -> Bounds {
        match self.asked(number) {
            Some(filter) => filter.previous(to, hash),
            None => Bounds { low: Vec::new(), high: to.map(<[u8]>::to_vec), what: What::Unknown },
        }
    }

    fn asked(&mut self, number: CollectionId) -> Option<&Filter> {
        self.asked += 1;
        let filter = self.lists.get_mut(&number)?;
        filter.used = self.asked;
        Some(filter)
    }

    /// An element of a list is put. Keeps F1.
    #[inline]
    pub fn put(&mut self, number: CollectionId, label: &[u8], hash: impl FnOnce() -> u64) {
        if !self.lists.is_empty()
            && let Some(filter) = self.lists.get_mut(&number)
        {
            filter.put(label, hash());
        }
    }

    /// All elements of these labels, of which nothing was known, have these hashes. Others than this list's are forgotten if there is no room, those
    /// first that were not asked for longest.
    pub fn learn(&mut self, number: CollectionId, bounds: (&[u8], &[u8]), hashes: &[u64], bytes_max: usize) {
        let room = self.room;
        let most = bytes_for(room);
        while self.bytes + most > bytes_max {
            let oldest = self.lists.iter().filter(|(other, _)| **other != number).min_by_key(|(_, filter)| filter.used);
            let Some((oldest, _)) = oldest else { return };
            let oldest = *oldest;
            self.forget(oldest);
        }
        self.asked += 1;
        let filter = self.lists.entry(number).or_default();
        filter.used = self.asked;
        let stretches = filter.stretches.len();
        filter.learn(bounds, hashes, room);
        if filter.stretches.len() > stretches {
            self.bytes += most;
        } else if filter.stretches.is_empty() {
            self.lists.remove(&number);
        }
    }

    /// Nothing is known any more of the stretch that has this label.
    pub fn forget_stretch(&mut self, number: CollectionId, low: &[u8]) {
        if let Some(filter) = self.lists.get_mut(&number) {
            self.bytes -= filter.bytes();
            filter.forget(low);
            self.bytes += filter.bytes();
        }
    }

    /// The same of the whole list.
    pub fn forget(&mut self, number: CollectionId) {
        if let Some(filter) = self.lists.remove(&number) {
            self.bytes -= filter.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: CollectionId = CollectionId(2);
    const ROOM: usize = 8;
    const FREE: usize = 1 << 30;

    fn empty() -> Filters {
        Filters { room: ROOM, ..Filters::default() }
    }

    fn hash(value: u64) -> u64 {
        value.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ value << 32
    }

    fn label(at: u64) -> Vec<u8> {
        at.to_be_bytes().to_vec()
    }

    /// Labels 10, 20 and so on, each with its value.
    fn learn(filters: &mut Filters, list: CollectionId, from: u64, to: u64, bytes_max: usize) {
        let hashes: Vec<u64> = (from..to).map(hash).collect();
        filters.learn(list, (&label(from * 10), &label(to * 10)), &hashes, bytes_max);
    }

    fn next(filters: &mut Filters, from: u64, value: u64) -> (u64, Option<u64>, What) {
        shown(filters.next(LIST, &label(from), hash(value)))
    }

    fn previous(filters: &mut Filters, to: u64, value: u64) -> (u64, Option<u64>, What) {
        shown(filters.previous(LIST, Some(&label(to)), hash(value)))
    }

    fn shown(Bounds { low, high, what }: Bounds) -> (u64, Option<u64>, What) {
        let number = |label: Vec<u8>| label.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        (number(low), high.map(number), what)
    }

    #[test]
    fn what_is_not_there_is_passed_over() {
        use What::{Perhaps, Unknown};
        let mut filters = empty();
        assert_eq!(next(&mut filters, 5, 1), (5, None, Unknown));
        assert_eq!(previous(&mut filters, 5, 1), (0, Some(5), Unknown));
        learn(&mut filters, LIST, 0, 8, FREE);
        learn(&mut filters, LIST, 8, 16, FREE);
        learn(&mut filters, LIST, 20, 28, FREE);
        for (from, value, expect) in [
            (0, 3, (0, Some(80), Perhaps)),
            (35, 3, (35, Some(80), Perhaps)),
            (0, 9, (80, Some(160), Perhaps)),
            (0, 27, (160, Some(200), Unknown)),
            (170, 27, (170, Some(200), Unknown)),
            (200, 27, (200, Some(280), Perhaps)),
            (200, 9, (280, None, Unknown)),
            (300, 9, (300, None, Unknown)),
        ] {
            assert_eq!(next(&mut filters, from, value), expect, "{value} from {from}");
        }
        for (to, value, expect) in [
            (300, 3, (280, Some(300), Unknown)),
            (280, 27, (200, Some(280), Perhaps)),
            (250, 27, (200, Some(250), Perhaps)),
            (250, 9, (160, Some(200), Unknown)),
            (160, 9, (80, Some(160), Perhaps)),
            (160, 3, (0, Some(80), Perhaps)),
        ] {
            assert_eq!(previous(&mut filters, to, value), expect, "{value} before {to}");
        }
        // Whatever is put is found.
        filters.put(LIST, &label(85), || hash(99));
        filters.put(LIST, &label(165), || hash(99));
        assert_eq!(next(&mut filters, 0, 99), (80, Some(160), Perhaps));
        assert_eq!(next(&mut filters, 160, 99), (160, Some(200), Unknown));
    }

    #[test]
    fn what_is_little_belongs_to_what_is_beside_it() {
        let mut filters = empty();
        learn(&mut filters, LIST, 10, 11, FREE);
        assert_eq!(filters.bytes(), 0);
        learn(&mut filters, LIST, 10, 12, FREE);
        let one = filters.bytes();
        learn(&mut filters, LIST, 12, 15, FREE);
        learn(&mut filters, LIST, 8, 10, FREE);
        assert_eq!((filters.bytes(), next(&mut filters, 80, 14)), (one, (80, Some(150), What::Perhaps)));
        learn(&mut filters, LIST, 15, 17, FREE);
        assert_eq!(filters.bytes(), 2 * one, "it has room for one");
        // Twice as many as it has room for come, and one more.
        for at in 0..=9 {
            assert_eq!(next(&mut filters, 80, 14).2, What::Perhaps, "{at}");
            filters.put(LIST, &label(145), || hash(100 + at));
        }
        assert_eq!(next(&mut filters, 80, 14).2, What::Worn);
        filters.forget_stretch(LIST, &label(90));
        assert_eq!((filters.bytes(), next(&mut filters, 80, 14)), (one, (80, Some(150), What::Unknown)));
    }

    #[test]
    fn bytes_are_bounded_and_the_oldest_goes_first() {
        let mut filters = empty();
        learn(&mut filters, LIST, 0, 8, FREE);
        let one = filters.bytes();
        for (max, lists) in
            [(2 * one - 1, [false, true, false]), (2 * one, [true, true, false]), (2 * one + 1, [true, true, false])]
        {
            let mut filters = empty();
            learn(&mut filters, LIST, 0, 8, max);
            learn(&mut filters, CollectionId(4), 0, 8, max);
            assert_eq!([2, 4, 6].map(|list| filters.lists.contains_key(&CollectionId(list))), lists, "{max}");
            assert!(filters.bytes() <= max);
        }
        let mut filters = empty();
        learn(&mut filters, LIST, 0, 8, 2 * one);
        learn(&mut filters, CollectionId(4), 0, 8, 2 * one);
        next(&mut filters, 0, 1);
        learn(&mut filters, CollectionId(6), 0, 8, 2 * one);
        assert_eq!([2, 4, 6].map(|list| filters.lists.contains_key(&CollectionId(list))), [true, false, true]);
        // Alone it stays as it is.
        learn(&mut filters, LIST, 8, 16, one);
        assert_eq!((filters.bytes(), next(&mut filters, 80, 9)), (one, (80, None, What::Unknown)));
        learn(&mut filters, LIST, 8, 16, 0);
        assert_eq!(filters.bytes(), one);
    }

    #[test]
    fn few_values_are_thought_to_be_where_they_are_not() {
        let mut stretch = Stretch::new(&[], &[], 4096);
        (0..4096).for_each(|value| stretch.put(hash(value)));
        assert!((0..4096).all(|value| stretch.may_have(hash(value))));
        let wrong = (0..1_000_000u64).filter(|value| stretch.may_have(hash(value + (1 << 40)))).count();
        assert!(wrong < 500, "{wrong} of a million");
    }
}
