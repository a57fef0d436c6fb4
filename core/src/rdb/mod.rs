//! The format of Redis's RDB files and of the payloads of DUMP: read from versions 1 to 12, written for Redis 7.0 and later. Pure: bytes in, values
//! out.
//!
//! | bytes of a file | |
//! | --- | --- |
//! | 9 | `REDIS` and the version in four digits |
//! | .. | items: each a byte that says what it is ([`opcode`], or the type of a key's value, [`kind`]), and what belongs to it ([`file`]) |
//! | 9 | 255, and the CRC64 (Jones) of all before, little-endian; 0: not known |
//!
//! | bytes of a payload | |
//! | --- | --- |
//! | .. | a type ([`kind`]) and a value |
//! | 10 | the version and the CRC64 of all before, little-endian ([`payload`]) |
//!
//! | item | how it stands |
//! | --- | --- |
//! | a length | the upper two bits of its first byte: 0, 6 bits; 1, 14 bits; the bytes 128 and 129, 32 and 64 bits behind them; big-endian |
//! | a string | a length and its bytes; or 192, 193, 194 and an integer of 8, 16, 32 bits; or 195, two lengths, and bytes packed by LZF ([`lzf`]) |
//! | a list, a set | their number, and each as a string |
//! | a hash | the number of fields, and each field and value as strings |
//! | a hash whose fields expire | the earliest deadline (8 bytes, little-endian, Unix milliseconds); the number of fields; each: a length that is 0, or 1 more than its deadline is behind the earliest one; field and value |
//! | a sorted set | the number of members, each as a string and the score: 8 bytes, little-endian; in type 3 a length byte and text |
//! | the smaller encodings | one string that holds all: [`listpack`], and what was there before it in [`ziplist`] |
//! | a stream | [`stream`] |
//!
//! **Valid** is what is of a known version and type, has all its bytes and lengths that agree with them, and is not empty. Whatever is not is
//! named with its place ([`Invalid`]): nothing about the bytes is trusted, nothing panics, and nothing is allocated that they do not back.
//!
//! Members that stand twice are for those to refuse who build the value.

mod crc;
pub mod file;
mod input;
pub mod listpack;
mod lzf;
pub mod payload;
pub mod read;
pub mod stream;
pub mod write;
mod ziplist;

pub use self::crc::Crc64;
pub use self::input::Input;

use crate::shard::Kind;
use std::fmt;
use std::ops::RangeInclusive;

/// The highest version that is read.
pub const VERSION_MAX: u16 = 12;

/// The versions that `dump-payload-version` may be: those that every value can be written in.
pub const VERSIONS_WRITTEN: RangeInclusive<u16> = Version::Ten as u16..=Version::Eleven as u16;

/// A version that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Redis 7.0 and later read it.
    Ten = 10,
    /// From 7.2 on: with the times at which consumers of streams were active.
    #[default]
    Eleven = 11,
    /// From 7.4 on. A payload of a hash whose fields expire is of this one, whatever was asked for.
    Twelve = 12,
}

/// The types of values.
pub mod kind {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    pub const ZSET_TEXT: u8 = 3;
    pub const HASH: u8 = 4;
    pub const ZSET: u8 = 5;
    pub const MODULE_OLD: u8 = 6;
    pub const MODULE: u8 = 7;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const ZSET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const LIST_QUICKLIST: u8 = 14;
    pub const STREAM: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    pub const LIST_QUICKLIST_2: u8 = 18;
    pub const STREAM_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM_3: u8 = 21;
    /// Hashes whose fields expire: as release candidates of 7.4 wrote them, and as they are written since.
    pub const HASH_TIMED_FIRST: u8 = 22;
    pub const HASH_TIMED_LISTPACK_FIRST: u8 = 23;
    pub const HASH_TIMED: u8 = 24;
    pub const HASH_TIMED_LISTPACK: u8 = 25;
}

/// What is no value in a file.
pub mod opcode {
    pub const SLOT: u8 = 244;
    pub const FUNCTION: u8 = 245;
    pub const FUNCTION_OLD: u8 = 246;
    pub const MODULE_AUX: u8 = 247;
    pub const IDLE: u8 = 248;
    pub const FREQ: u8 = 249;
    pub const AUX: u8 = 250;
    pub const SIZES: u8 = 251;
    pub const EXPIRE_MS: u8 = 252;
    pub const EXPIRE_S: u8 = 253;
    pub const DATABASE: u8 = 254;
    pub const END: u8 = 255;
}

/// A value as a whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    String(Vec<u8>),
    /// What a collection has, as it stands packed ([`crate::collection`]): elements, members, fields and values in turn, members and scores in
    /// turn.
    Entries {
        kind: Kind,
        bytes: Vec<u8>,
        /// Elements; fields, and members with scores, are one.
        count: u64,
    },
    /// A hash whose fields expire: fields, values and deadlines ([`deadline_bytes`]) in turn.
    Timed {
        bytes: Vec<u8>,
        count: u64,
    },
    Stream(Box<stream::Stream>),
}

/// The latest deadline of a field that is read, in Unix milliseconds.
pub const DEADLINE_MS_MAX: u64 = 0xffff_ffff_fffe;

/// A field's deadline beside it: Unix milliseconds, 0 for never.
pub fn deadline_bytes(expire_ms: u64) -> [u8; 8] {
    expire_ms.to_le_bytes()
}

/// The deadline that stands there.
pub fn deadline_of(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

impl Value {
    pub fn kind(&self) -> Kind {
        match self {
            Value::String(_) => Kind::String,
            Value::Entries { kind, .. } => *kind,
            Value::Timed { .. } => Kind::Hash,
            Value::Stream(_) => Kind::Stream,
        }
    }
}

/// Why bytes are not valid, and where that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub what: What,
    /// From the beginning of the file or payload.
    pub at: u64,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// So many more bytes ought to be there, at least.
    Short(u64),
    Magic,
    Version(u64),
    Checksum {
        expect: u64,
        found: u64,
    },
    /// There is no such type.
    Type(u8),
    /// The value of a module, by its name.
    Module(String),
    /// No deadline of a field.
    Deadline,
    /// A library of functions in the form of a release candidate of 7.0.
    FunctionOld,
    Length,
    StringForm(u8),
    Lzf,
    /// More than may be in one value.
    Large(u64),
    Empty,
    Score,
    Container(u64),
    Listpack,
    Ziplist,
    Zipmap,
    Intset,
    Stream,
    ModuleAux(u64),
    /// There is more behind the value.
    Rest,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at;
        match &self.what {
            What::Short(count) => write!(f, "it ends at byte {at}, and {count} more ought to follow"),
            What::Magic => write!(f, "it does not begin with REDIS and a version"),
            What::Version(version) => write!(f, "version {version} of the format is not known (up to {VERSION_MAX})"),
            What::Checksum { expect, found } => {
                write!(f, "the checksum at byte {at} is {expect:016x}, that of the bytes before it {found:016x}")
            }
            What::Type(kind) => write!(f, "no known type at byte {at}: {kind}"),
            What::Module(name) => {
                write!(f, "a value of the module type {name} at byte {at}: modules are not supported")
            }
            What::Deadline => write!(f, "no time at which a field expires at byte {at}"),
            What::FunctionOld => write!(f, "functions in the form of a release candidate of Redis 7.0 at byte {at}"),
            What::Length => write!(f, "no length at byte {at}"),
            What::StringForm(form) => write!(f, "no known form of a string at byte {at}: {form}"),
            What::Lzf => write!(f, "bytes that do not unpack at byte {at}"),
            What::Large(max) => write!(f, "at byte {at} a value is longer than {max} bytes"),
            What::Empty => write!(f, "an empty collection at byte {at}"),
            What::Score => write!(f, "a score that is no number at byte {at}"),
            What::Container(form) => write!(f, "no known form of a list's node at byte {at}: {form}"),
            What::Listpack => write!(f, "a broken listpack at byte {at}"),
            What::Ziplist => write!(f, "a broken ziplist at byte {at}"),
            What::Zipmap => write!(f, "a broken zipmap at byte {at}"),
            What::Intset => write!(f, "a broken set of integers at byte {at}"),
            What::Stream => write!(f, "a broken stream at byte {at}"),
            What::ModuleAux(form) => write!(f, "no known part of a module's data at byte {at}: {form}"),
            What::Rest => write!(f, "there is more behind the value at byte {at}"),
        }
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod tests;
