//! A page: the unit of memory, of disk and of checksum. Owns its format; knows nothing of trees or of where
//! pages live.
//!
//! # Format (little-endian)
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..4 | CRC32C of the page file's salt and of bytes 4..[`PAGE_BYTES`]; set when the page is written to disk |
//! | 4..8 | the page's own id: a misdirected read or write shows |
//! | 8..16 | the LSN that the log had when this image was made |
//! | 16 | kind: 1 leaf, 2 branch, 8 counted branch (3 to 7 are the page file's own) |
//! | 17 | version of this format: 1 |
//! | 18..20 | count of entries `n` |
//! | 20..22 | first byte of the heap, which ends with the page |
//! | 22..24 | garbage: bytes of the heap that no entry uses |
//! | 24..28 | zero on disk; in memory the generation of the last change, 0 while the page is as on disk |
//! | 28..30 | in a leaf: how many of its entries are bundles; else zero |
//! | 30..32 | in a leaf: how many rows its entries are, less the entries; else zero |
//! | 32..32+8n | heads: the search array, ascending |
//! | 32+8n..32+16n | slots, one for each head: offset u16, tail length u16, word u32 |
//! | 32+16n..32+24n | in a counted branch only: the rows below each child, u64 |
//! | heap | for each slot its tail, and in a leaf the payload right behind it |
//!
//! The word of a slot is the child's page id in a branch, counted or not. In a leaf its low half is the payload's length, its high half 0 if the
//! entry is a row, and if it is a bundle ([`crate::tree`]) how many rows that has.
//!
//! Valid: the kind and version are known; entries ascend strictly by (head, tail), but for a branch's first, which
//! is (0, empty) and stands for whatever lower bound the parent knows; every slot's bytes lie in the heap and
//! overlap no other's; they and the garbage fill the heap exactly. In a tree that is ordered by position alone every entry
//! is (0, empty) instead.

mod branch;
mod counted;
mod leaf;
mod search;
mod slotted;

#[cfg(test)]
mod tests;

pub(crate) use search::{Span, lower_bound};
pub(crate) use slotted::Slot;

use crate::limits::PAGE_BYTES;
use crate::tree::Bundle;
use crate::units::{Generation, PageId};
use bytemuck::{Pod, Zeroable};

/// Bytes of a page before its heads.
pub const HEADER_BYTES: usize = size_of::<Header>();

/// What one entry of a leaf or a branch costs besides the bytes of its tail and payload.
pub const ENTRY_BYTES: usize = 16;

/// The same of a counted branch.
pub const COUNTED_ENTRY_BYTES: usize = 24;

/// What entries, tails and payloads may fill.
pub const SPACE_BYTES: usize = PAGE_BYTES - HEADER_BYTES;

const WORDS: usize = SPACE_BYTES / 8;
const VERSION: u8 = 1;
const COUNTED: u8 = 8;

const _: () = assert!(HEADER_BYTES == 32);
const _: () = assert!(size_of::<Page>() == PAGE_BYTES && PAGE_BYTES <= 32 * 1024);
const _: () = assert!(cfg!(target_endian = "little"), "pages are little-endian and are used as they are");

/// Whether an image can be used as a page without looking outside it: its kind is known, it has entries, their bytes stand in its
/// heap, and what a branch leads to is a page below `pages`. That it is the page that belongs in its place only its tree
/// can tell; [`crate::check`] does.
pub(crate) fn judge(image: &[u8], pages: usize) -> Result<(), &'static str> {
    let short = |at: usize| usize::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let (count, heap) = (short(18), short(20));
    let (is_leaf, entry_bytes) = match (image[16], image[17]) {
        (1, VERSION) => (true, ENTRY_BYTES),
        (2, VERSION) => (false, ENTRY_BYTES),
        (COUNTED, VERSION) => (false, COUNTED_ENTRY_BYTES),
        _ => return Err("it is not a page of a tree"),
    };
    if count == 0 {
        return Err("it is empty");
    }
    if HEADER_BYTES + entry_bytes * count > heap || heap > PAGE_BYTES {
        return Err("its heap begins in its slots");
    }
    let slots = image[HEADER_BYTES + 8 * count..HEADER_BYTES + 16 * count].chunks_exact(8);
    let slots = slots.map(|slot| Slot::unpack(u64::from_le_bytes(slot.try_into().expect("eight bytes"))));
    let (is_sound, bundles, beyond) = slots.fold((true, 0, 0), |(is_sound, bundles, beyond), slot| {
        let (offset, word) = (usize::from(slot.offset), slot.word as usize);
        let end = offset + usize::from(slot.tail) + if is_leaf { slot.len() } else { 0 };
        let is_within = (offset >= heap || offset == end) & (end <= PAGE_BYTES);
        let is_sound = is_sound & is_within & (is_leaf || word != 0 && word < pages);
        (is_sound, bundles + usize::from(slot.bundled() > 0), beyond + slot.rows() - 1)
    });
    if is_leaf && (short(28), short(30)) != (bundles, beyond) {
        return Err("its bundles are miscounted");
    }
    if is_leaf && is_sound && bundles > 0 {
        judge_bundles(image, count)?;
    }
    if is_sound { Ok(()) } else { Err("an entry leads out of it") }
}

/// A page of these entries, in their order, as it is on disk but for its checksum: for who tests what reads one. The payload of a branch begins with the
/// child's number.
pub fn specimen(kind: Kind, entries: &[(u64, &[u8], &[u8])]) -> Vec<u8> {
    let mut page = Page::zeroed();
    page.format(PageId(1), kind);
    for (index, (head, tail, payload)) in entries.iter().enumerate() {
        let key = Key::new(*head, tail);
        if page.is_leaf() {
            page.insert_entry(index, key, payload.len() as u32);
            page.payload_mut(index).copy_from_slice(payload);
        } else {
            let child = u32::from_le_bytes(*payload.first_chunk().expect("a child's number"));
            page.insert_entry(index, key, child);
        }
    }
    page.as_bytes().to_vec()
}

/// Judges the bundles of a leaf whose entries are within it.
fn judge_bundles(image: &[u8], count: usize) -> Result<(), &'static str> {
    let slots = image[HEADER_BYTES + 8 * count..HEADER_BYTES + 16 * count].chunks_exact(8);
    let slots = slots.map(|slot| Slot::unpack(u64::from_le_bytes(slot.try_into().expect("eight bytes"))));
    for slot in slots.filter(|slot| slot.bundled() > 0) {
        let start = usize::from(slot.offset);
        let (tail, payload) = image[start..start + usize::from(slot.tail) + slot.len()].split_at(slot.tail.into());
        Bundle::of(Key::new(0, tail), payload).judge(slot.bundled())?;
    }
    Ok(())
}

/// A row's place in a tree: by head, then by tail, bytewise.
///
/// What the head is (slot and hash, a score, a deadline) is the business of the tree's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key<'a> {
    pub head: u64,
    pub tail: &'a [u8],
}

impl<'a> Key<'a> {
    pub const MIN: Key<'static> = Key { head: 0, tail: &[] };

    pub const fn new(head: u64, tail: &'a [u8]) -> Key<'a> {
        Key { head, tail }
    }

    /// The lower bound of all keys with this head.
    pub const fn of_head(head: u64) -> Key<'static> {
        Key { head, tail: &[] }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Leaf,
    Branch,
    /// A branch that says how many rows are below each child.
    Counted,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    crc: u32,
    page: u32,
    lsn: u64,
    kind: u8,
    version: u8,
    count: u16,
    heap: u16,
    garbage: u16,
    generation: u32,
    bundles: u16,
    beyond: u16,
}

/// A page, as it is on disk.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Page {
    header: Header,
    words: [u64; WORDS],
}

impl Page {
    /// Makes this an empty page.
    pub(crate) fn format(&mut self, id: PageId, kind: Kind) {
        let kind = match kind {
            Kind::Leaf => 1,
            Kind::Branch => 2,
            Kind::Counted => COUNTED,
        };
        self.header = Header { page: id.0, kind, version: VERSION, heap: PAGE_BYTES as u16, ..Header::zeroed() };
    }

    pub fn id(&self) -> PageId {
        PageId(self.header.page)
    }

    /// The generation of the last change; 0 while the page is as it is on disk.
    #[inline(always)]
    pub(crate) fn generation(&self) -> Generation {
        Generation(self.header.generation)
    }

    #[inline]
    pub(crate) fn set_generation(&mut self, generation: Generation) {
        self.header.generation = generation.0;
    }

    /// `None`: not a page of this format.
    pub fn kind(&self) -> Option<Kind> {
        match (self.header.kind, self.header.version) {
            (1, VERSION) => Some(Kind::Leaf),
            (2, VERSION) => Some(Kind::Branch),
            (COUNTED, VERSION) => Some(Kind::Counted),
            _ => None,
        }
    }

    #[inline(always)]
    pub(crate) fn is_leaf(&self) -> bool {
        self.header.kind == 1
    }

    #[inline(always)]
    pub(crate) fn is_counted(&self) -> bool {
        self.header.kind == COUNTED
    }

    /// What one entry costs besides the bytes of its tail and payload.
    #[inline(always)]
    pub(crate) fn front_bytes(&self) -> usize {
        if self.is_counted() { COUNTED_ENTRY_BYTES } else { ENTRY_BYTES }
    }

    /// Entries of the page.
    #[inline(always)]
    pub fn count(&self) -> usize {
        self.header.count as usize
    }

    /// The search array.
    #[inline(always)]
    pub fn heads(&self) -> &[u64] {
        &self.words[..self.count()]
    }

    /// The page as it is on disk.
    #[inline(always)]
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }

    #[inline(always)]
    pub(crate) fn as_bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::bytes_of_mut(self)
    }
}
