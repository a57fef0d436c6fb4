//! Collections: hashes, lists, sets, sorted sets, streams. A small one is *packed* in its row; a large one is *spread*: its row names a
//! number, and its elements are rows of their own (`cairn_storage::engine::elements`), in the order that its kind gives them.
//! `docs/decisions/0030-collections.md`.
//!
//! | form | value of the row |
//! | --- | --- |
//! | packed | the tag (1 byte), the entries ([`packed`]) |
//! | spread | the number (8 bytes, little-endian), the tag, what the kind keeps beside its elements |
//!
//! The *tag* is which of Redis's encodings the collection would have there (OBJECT ENCODING), which never goes back; what it means is the
//! kind's business. How a collection stands here does not follow from it, but from its bytes alone: beyond
//! [`PACKED_BYTES_MAX`](crate::limits::PACKED_BYTES_MAX) it is spread, and stays so. No collection is empty: what would be goes.

pub mod digest;
pub mod dump;
pub mod label;
pub mod list;
pub mod map;
pub mod order;
pub mod packed;
pub mod score;
pub mod stream;
pub mod zset;

use self::packed::Packed;
use crate::command::args::parse_integer;
use crate::shard::Kind;
use cairn_storage::units::CollectionId;

/// How a collection stands.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    Packed(Packed<'a>),
    Spread(Spread<'a>),
}

/// A collection whose elements are rows of their own.
#[derive(Clone, Copy, Debug)]
pub struct Spread<'a> {
    pub number: CollectionId,
    pub tag: u8,
    /// What the kind keeps beside its elements.
    pub rest: &'a [u8],
}

const NUMBER_BYTES: usize = 8;

impl Form<'_> {
    /// The form of a row's value.
    pub fn of(is_spread: bool, value: &[u8]) -> Form<'_> {
        if !is_spread {
            return Form::Packed(Packed::of(value));
        }
        Form::Spread(Spread::decode(value))
    }

    pub fn tag(&self) -> u8 {
        match self {
            Form::Packed(packed) => packed.tag,
            Form::Spread(spread) => spread.tag,
        }
    }
}

impl<'a> Spread<'a> {
    /// Of the value of a row.
    pub fn decode(value: &'a [u8]) -> Spread<'a> {
        let (number, rest) =
            value.split_first_chunk::<NUMBER_BYTES>().expect("a row that stands for elements names them");
        let (tag, rest) = rest.split_first().expect("a collection has a tag");
        Spread { number: CollectionId(u64::from_le_bytes(*number)), tag: *tag, rest }
    }

    /// The value of the row.
    pub fn encode(&self) -> Vec<u8> {
        [&self.number.0.to_le_bytes()[..], &[self.tag], self.rest].concat()
    }
}

/// When Redis gives up the smaller encodings: `hash-max-listpack-entries` and its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    pub hash: Threshold,
    pub set: Threshold,
    pub intset_entries: u64,
    pub zset: Threshold,
    /// As Redis has it: from -1 to -5 sizes of a node, else its entries.
    pub list_size: i64,
    /// Entries that Redis has in a node of a stream: what an approximate trim removes together. 0: as many as there is room for.
    pub stream_node_entries: u64,
    /// `hll-sparse-max-bytes`.
    pub hll_sparse_bytes: usize,
}

/// The most entries of a packed encoding, and the longest of them, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    pub entries: u64,
    pub value_bytes: u64,
}

/// What there is among entries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Bytes of the longest.
    longest: u64,
    /// Whether one of them is no integer.
    has_text: bool,
}

impl Tally {
    pub fn add(&mut self, kind: Kind, entry: &[u8]) {
        self.longest = self.longest.max(entry.len() as u64);
        self.has_text |= kind != Kind::Set || parse_integer(entry).is_none();
    }
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        let threshold = |entries| Threshold { entries, value_bytes: 64 };
        Thresholds {
            hash: threshold(512),
            set: threshold(128),
            intset_entries: 512,
            zset: threshold(128),
            list_size: -2,
            stream_node_entries: 100,
            hll_sparse_bytes: 3000,
        }
    }
}

impl Thresholds {
    /// The tag of a collection with so many members that had `old`, and has these entries among others.
    pub fn tag<'a>(&self, kind: Kind, old: u8, count: u64, entries: impl Iterator<Item = &'a [u8]>) -> u8 {
        if self.is_last(kind, old) {
            return old;
        }
        let mut tally = Tally::default();
        entries.for_each(|entry| tally.add(kind, entry));
        self.tag_of(kind, old, count, tally)
    }

    /// The same, of entries that were counted one by one.
    pub fn tag_of(&self, kind: Kind, old: u8, count: u64, tally: Tally) -> u8 {
        let Tally { longest, has_text } = tally;
        let fits = |threshold: Threshold| count <= threshold.entries && longest <= threshold.value_bytes;
        let new = match kind {
            Kind::Hash => u8::from(!fits(self.hash)),
            Kind::Set if old == 0 && !has_text && count <= self.intset_entries => 0,
            Kind::Set => 1 + u8::from(!fits(self.set)),
            Kind::ZSet => u8::from(!fits(self.zset)),
            Kind::String | Kind::List | Kind::Stream => old,
        };
        new.max(old)
    }

    /// Whether a tag is the last one of its kind.
    pub fn is_last(&self, kind: Kind, tag: u8) -> bool {
        usize::from(tag) + 1 >= encodings(kind).len()
    }
}

/// The encoding that OBJECT ENCODING names.
pub fn encoding(kind: Kind, tag: u8) -> &'static str {
    let names = encodings(kind);
    names[usize::from(tag).min(names.len() - 1)]
}

fn encodings(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::String => unreachable!("a string has no tag"),
        Kind::Hash => &["listpack", "hashtable"],
        Kind::Set => &["intset", "listpack", "hashtable"],
        Kind::ZSet => &["listpack", "skiplist"],
        Kind::List => &["listpack", "quicklist"],
        Kind::Stream => &["stream"],
    }
}
