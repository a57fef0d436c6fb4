//! A superblock: what a checkpoint is, in one page.
//!
//! | at | bytes | little-endian |
//! | --- | --- | --- |
//! | 0 | 4 | CRC32C of the salt and of all bytes from 4 to the end of the spaces |
//! | 4 | 4 | magic `CRNP` |
//! | 8 | 2 | format version |
//! | 10 | 2 | shard |
//! | 12 | 4 | page size |
//! | 16 | 4 | length of the archive |
//! | 20 | 8 | where the flush of the log begins in which the record of the checkpoint's LSN ends |
//! | 28 | 8 | the LSN up to which the trees hold records, where it is behind the checkpoint's |
//! | 36 | 8 | the number of the next collection |
//! | 44 | | the archive of a [`Superblock`] |
//! | .. | 34 | the [`Spaces`]: one byte a tree of rows, then zeros up to the page's end |
//!
//! Formats 1 to 5 have no collections: their archives, at 36, have half of the trees. Formats 1 to 3 have no spaces (database n has space n), and their trees hold nothing
//! behind the checkpoint's LSN. Their archives are at 28, of format 1 at 20, which does not say where the flush begins. Formats 1 and 2 have one
//! database less. Trees of formats 1 to 6 have no bundles. They are read, and not written. There is no format 4.
//!
//! From the archive on format 7 is mixed with a sequence of numbers that begins with the checksum ([`mix`]), so that two superblocks have no sector behind the first in common. Else one
//! that a power cut has torn, and another one that was torn over it, could make the first whole again: and lead to sites that have other images by then.
//!
//! **Valid** is one with the magic, of this shard, page size and format, whose checksum holds and whose archive is one.
//! It stands at site `generation % 2`.

use crate::checksum::crc32c;
use crate::limits::{BLOCK_BYTES, COLLECTIONS_MAX, DATABASES, DIRECTORY_WORDS_MAX, LEVELS_MAX, PAGE_BYTES, TREES};
use crate::log::LogStart;
use crate::spaces::Spaces;
use crate::units::{Generation, Incarnation, Lsn, PageId, ShardId};
use rkyv::rancor::Failure;
use rkyv::with::Skip;
use rkyv::{Archive, Deserialize, Serialize};

const MAGIC: [u8; 4] = *b"CRNP";
pub const FORMAT: u16 = 7;
const FLUSH_AT: usize = 20;
const SETTLED_AT: usize = 28;
const COLLECTION_AT: usize = 36;
const ARCHIVE_AT: usize = 44;

/// The earlier formats, and where their archives are.
const FORMAT_1: u16 = 1;
const ARCHIVE_AT_1: usize = 20;
const FORMAT_2: u16 = 2;
const FORMAT_3: u16 = 3;
const ARCHIVE_AT_2: usize = 28;
const FORMAT_5: u16 = 5;
const ARCHIVE_AT_5: usize = 36;
const FORMAT_6: u16 = 6;

/// The flush is not known.
const UNKNOWN: u64 = u64::MAX;

/// A tree, without its pages.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeRoot {
    pub root: u32,
    pub levels: u8,
    pub rows: u64,
    pub bytes: u64,
    pub pages: u64,
}

impl TreeRoot {
    pub fn page(&self) -> PageId {
        PageId(self.root)
    }
}

/// A map: its length in words, and the words of its directory's pages.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct MapRoot {
    pub words: u32,
    pub roots: Vec<u64>,
}

/// A checkpoint.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    pub generation: u32,
    /// The trees hold the effect of every record up to this LSN.
    pub lsn: u64,
    /// And of some later ones, of none behind this LSN: applied once more in order, they change nothing in the end.
    #[rkyv(with = Skip)]
    pub settled: u64,
    /// Where the flush of the log begins in which this record ends, if it is known.
    #[rkyv(with = Skip)]
    pub flush: Option<u64>,
    /// Of the log, when this was written.
    pub incarnation: u32,
    /// Sites of the file.
    pub sites: u32,
    /// When the checkpoint began, in microseconds of Unix time.
    pub unix_us: u64,
    pub pages: MapRoot,
    pub extents: MapRoot,
    /// Of the databases, and behind them of their collections' elements.
    pub rows: [TreeRoot; TREES],
    /// Rows that expire, by tree.
    pub expiring: [u64; TREES],
    /// Rows with extents, by tree.
    pub outside: [u64; TREES],
    pub deadlines: TreeRoot,
    #[rkyv(with = Skip)]
    pub spaces: Spaces,
    /// The number of the next collection.
    #[rkyv(with = Skip)]
    pub collection: u64,
}

impl Default for Superblock {
    fn default() -> Superblock {
        Superblock {
            generation: 0,
            lsn: 0,
            settled: 0,
            flush: None,
            incarnation: 0,
            sites: 0,
            unix_us: 0,
            pages: MapRoot::default(),
            extents: MapRoot::default(),
            rows: [TreeRoot::default(); TREES],
            expiring: [0; TREES],
            outside: [0; TREES],
            deadlines: TreeRoot::default(),
            spaces: Spaces::default(),
            collection: 0,
        }
    }
}

/// Databases of formats 1 and 2.
const DATABASES_2: usize = 16;

/// A checkpoint, as the earlier formats have it: the fields of a [`Superblock`], with `N` trees of rows.
#[derive(Archive, Serialize, Deserialize)]
struct Earlier<const N: usize> {
    generation: u32,
    lsn: u64,
    incarnation: u32,
    sites: u32,
    unix_us: u64,
    pages: MapRoot,
    extents: MapRoot,
    rows: [TreeRoot; N],
    expiring: [u64; N],
    outside: [u64; N],
    deadlines: TreeRoot,
}

impl<const N: usize> From<Earlier<N>> for Superblock {
    fn from(old: Earlier<N>) -> Superblock {
        let mut new = Superblock {
            generation: old.generation,
            lsn: old.lsn,
            flush: None,
            incarnation: old.incarnation,
            sites: old.sites,
            unix_us: old.unix_us,
            pages: old.pages,
            extents: old.extents,
            deadlines: old.deadlines,
            ..Superblock::default()
        };
        new.rows[..N].copy_from_slice(&old.rows);
        new.expiring[..N].copy_from_slice(&old.expiring);
        new.outside[..N].copy_from_slice(&old.outside);
        new
    }
}

/// Why a page is not a superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Nothing was ever written here.
    Empty,
    Damaged(&'static str),
    Version(u16),
}

impl Superblock {
    pub fn generation(&self) -> Generation {
        Generation(self.generation)
    }

    pub fn lsn(&self) -> Lsn {
        Lsn(self.lsn)
    }

    /// Whether the trees are those of a moment: they hold nothing behind the LSN.
    pub fn is_whole(&self) -> bool {
        self.settled == self.lsn
    }

    /// From where on a recovery reads the log.
    pub fn start(&self) -> LogStart {
        // Where reading begins with the segment, what it begins with may be older.
        let incarnation = Incarnation(self.flush.map_or(0, |_| self.incarnation));
        LogStart { lsn: self.lsn(), flush: self.flush.map(Lsn), incarnation, proved: Lsn(self.settled) }
    }

    /// Writes the superblock to a page.
    /// Writes itself into a page.
    pub fn encode(&self, shard: ShardId, salt: u32, out: &mut [u8]) {
        assert!(self.pages.roots.len() + self.extents.roots.len() <= DIRECTORY_WORDS_MAX);
        let archive = rkyv::to_bytes::<Failure>(self).expect("memory is the only thing that it needs");
        let end = ARCHIVE_AT + archive.len();
        out.fill(0);
        out[4..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        out[10..12].copy_from_slice(&shard.0.to_le_bytes());
        out[12..16].copy_from_slice(&(PAGE_BYTES as u32).to_le_bytes());
        out[16..20].copy_from_slice(&(archive.len() as u32).to_le_bytes());
        out[FLUSH_AT..SETTLED_AT].copy_from_slice(&self.flush.unwrap_or(UNKNOWN).to_le_bytes());
        out[SETTLED_AT..COLLECTION_AT].copy_from_slice(&self.settled.to_le_bytes());
        out[COLLECTION_AT..ARCHIVE_AT].copy_from_slice(&self.collection.to_le_bytes());
        out[ARCHIVE_AT..end].copy_from_slice(&archive);
        out[end..end + TREES].copy_from_slice(self.spaces.as_bytes());
        seal(salt, out);
    }

    /// Reads a superblock. Nothing about the bytes is trusted.
    pub fn decode(shard: ShardId, salt: u32, bytes: &[u8]) -> Result<Superblock, Invalid> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(Invalid::Empty);
        }
        if bytes[4..8] != MAGIC {
            return Err(Invalid::Damaged("it is not a superblock"));
        }
        let plain = unmixed(salt, bytes);
        let bytes = &plain[..];
        let Layout { version, archive_at, len, spaces_bytes } = Layout::of(bytes);
        let Some(used) = bytes.get(4..archive_at + len + spaces_bytes) else {
            return Err(Invalid::Damaged("its length is impossible"));
        };
        if crc32c(&[&salt.to_le_bytes(), used]) != u32_at(bytes, 0) {
            return Err(Invalid::Damaged("the checksum does not hold"));
        }
        if !matches!(version, FORMAT | FORMAT_6 | FORMAT_5 | FORMAT_3 | FORMAT_2 | FORMAT_1) {
            return Err(Invalid::Version(version));
        }
        if u16::from_le_bytes([bytes[10], bytes[11]]) != shard.0 {
            return Err(Invalid::Damaged("it is another shard's"));
        }
        if u32_at(bytes, 12) as usize != PAGE_BYTES {
            return Err(Invalid::Damaged("it has another page size"));
        }
        let flush = u64_at(bytes, FLUSH_AT);
        let flush = (version != FORMAT_1 && flush != UNKNOWN).then_some(flush);
        let archive = &bytes[archive_at..archive_at + len];
        let superblock = match version {
            FORMAT | FORMAT_6 => rkyv::from_bytes::<Superblock, Failure>(archive),
            FORMAT_5 | FORMAT_3 => rkyv::from_bytes::<Earlier<DATABASES>, Failure>(archive).map(Superblock::from),
            _ => rkyv::from_bytes::<Earlier<DATABASES_2>, Failure>(archive).map(Superblock::from),
        };
        let superblock = superblock.map_err(|_| Invalid::Damaged("its archive is not one"))?;
        if flush.is_some_and(|flush| flush > superblock.lsn || !flush.is_multiple_of(BLOCK_BYTES as u64)) {
            return Err(Invalid::Damaged("its place in the log is impossible"));
        }
        let mut trees = superblock.rows.iter().chain([&superblock.deadlines]);
        if trees.any(|tree| usize::from(tree.levels) > LEVELS_MAX) {
            return Err(Invalid::Damaged("a tree has more levels than one can have"));
        }
        let spaces = Spaces::from_bytes(&bytes[archive_at + len..][..spaces_bytes]);
        let spaces = spaces.ok_or(Invalid::Damaged("two databases share a space"))?;
        let settled = if version >= FORMAT_5 { u64_at(bytes, SETTLED_AT) } else { superblock.lsn };
        let collection = if version >= FORMAT_6 { u64_at(bytes, COLLECTION_AT) } else { 0 };
        if collection > COLLECTIONS_MAX {
            return Err(Invalid::Damaged("there are more collections than can be"));
        }
        if settled < superblock.lsn {
            return Err(Invalid::Damaged("its place in the log is impossible"));
        }
        Ok(Superblock { flush, settled, spaces, collection, ..superblock })
    }
}

/// What stands where.
struct Layout {
    version: u16,
    archive_at: usize,
    /// Of the archive.
    len: usize,
    spaces_bytes: usize,
}

impl Layout {
    fn of(bytes: &[u8]) -> Layout {
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        let archive_at = match version {
            FORMAT_1 => ARCHIVE_AT_1,
            FORMAT_2 | FORMAT_3 => ARCHIVE_AT_2,
            FORMAT_5 => ARCHIVE_AT_5,
            _ => ARCHIVE_AT,
        };
        let spaces_bytes = match version {
            ..=FORMAT_3 => 0,
            FORMAT_5 => DATABASES,
            _ => TREES,
        };
        Layout { version, archive_at, len: u32_at(bytes, 16) as usize, spaces_bytes }
    }
}

/// Gives a page, whose bytes are not mixed, the checksum that they want, if their length is possible; and mixes them.
pub fn seal(salt: u32, page: &mut [u8]) {
    let Layout { archive_at, len, spaces_bytes, .. } = Layout::of(page);
    if let Some(used) = page.get(4..archive_at + len + spaces_bytes) {
        let crc = crc32c(&[&salt.to_le_bytes(), used]);
        page[..4].copy_from_slice(&crc.to_le_bytes());
        mix(salt, page);
    }
}

/// A page as it was before it was sealed, but for its checksum.
pub fn unmixed(salt: u32, page: &[u8]) -> Vec<u8> {
    let mut plain = page.to_vec();
    mix(salt, &mut plain);
    plain
}

/// Mixes what stands behind the header of a page of today's format, or undoes that. The numbers are those of SplitMix64.
fn mix(salt: u32, page: &mut [u8]) {
    let Layout { version, archive_at, len, spaces_bytes } = Layout::of(page);
    let mut state = u64::from(salt) << 32 | u64::from(u32_at(page, 0));
    let Some(mixed) = page.get_mut(archive_at..archive_at + len + spaces_bytes).filter(|_| version == FORMAT) else {
        return;
    };
    for word in mixed.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = (number ^ number >> 31).to_le_bytes();
        word.iter_mut().zip(number).for_each(|(byte, number)| *byte ^= number);
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests;
