//! What stands in one page of a checkpoint, for people: decoded with nothing trusted. [`crate::pagefile::Opening`] has found
//! the checkpoint and its maps.

use super::finding::KeyBuf;
use crate::page::{Key, Kind, Page, judge};
use crate::pagefile::PageFile;
use crate::pool::Frame;
use crate::row::{self, Header};
use crate::tree::{check_bundle, check_heap};
use crate::units::{ExtentId, PageId};
use core::ops::ControlFlow;

/// A page of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownPage {
    pub page: PageId,
    /// Where its image begins in the page file.
    pub offset: u64,
    /// What the log's LSN was when the image was made.
    pub lsn: u64,
    /// Bytes that its entries take.
    pub used: usize,
    pub entries: ShownEntries,
}

/// What a page holds: rows if it is a leaf, else children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShownEntries {
    Rows(Vec<ShownRow>),
    /// The lowest key of each child, and the child.
    Children(Vec<(KeyBuf, PageId)>),
}

/// A row of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownRow {
    pub key: KeyBuf,
    /// The kind of value; `None`: the payload is not a row's, as in the tree of deadlines.
    pub kind: Option<u8>,
    /// Unix milliseconds, 0 for never.
    pub expire_ms: u64,
    pub value: ShownValue,
}

/// The value of a row, or where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShownValue {
    Inline(Box<[u8]>),
    /// It is in an extent, with this many bytes of key and value, if the map has it.
    Extent(ExtentId, Option<u64>),
}

impl PageFile {
    /// Where a page's newest image begins; `None` if the page does not exist.
    pub fn page_offset(&self, page: PageId) -> Option<u64> {
        self.page_place(page).map(|(offset, _)| offset)
    }

    /// Reads a page's image, whose offset [`PageFile::page_offset`] says.
    pub fn show(&self, page: PageId, image: &[u8]) -> Result<ShownPage, &'static str> {
        let (offset, _) = self.page_place(page).ok_or("there is no such page")?;
        self.verify_page(page, image)?;
        let lsn = u64::from_le_bytes(image[8..16].try_into().expect("eight bytes"));
        let (entries, used) = entries_of(image, |id| self.extent_bytes(id))?;
        Ok(ShownPage { page, offset, lsn, used, entries })
    }
}

/// What an image of a tree's page holds, and the bytes that its entries take. `extent_bytes`: how long an extent is. Nothing is trusted, not even that it is as
/// long as an image: that is an error.
pub fn entries_of(
    image: &[u8],
    extent_bytes: impl Fn(ExtentId) -> Option<u64>,
) -> Result<(ShownEntries, usize), &'static str> {
    let scratch = scratch(image)?;
    let node = &scratch[0].page;
    let kind = node.kind().ok_or("it is of no kind that is known")?;
    check_heap(node)?;
    let entries = match kind {
        Kind::Leaf => ShownEntries::Rows(show_rows(node, &extent_bytes)?),
        Kind::Branch | Kind::Counted => {
            let child = |index| (KeyBuf::new(node.key(index)), node.child(index));
            ShownEntries::Children((0..node.count()).map(child).collect())
        }
    };
    Ok((entries, node.used()))
}

/// Looks for a key in an image as a tree does: it is judged as when it comes into memory, and then searched. The payload of a leaf, the child's number of a
/// branch of a tree with so many pages.
pub fn find_in(image: &[u8], pages: usize, head: u64, tail: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let scratch = scratch(image)?;
    judge(image, pages)?;
    let (node, key) = (&scratch[0].page, Key::new(head, tail));
    if node.is_leaf() {
        return Ok(node.find_row(key, node.span()).map(<[u8]>::to_vec));
    }
    let child = node.child_index(key, node.span());
    Ok((child < node.count()).then(|| node.child(child).0.to_le_bytes().to_vec()))
}

/// A copy of an image that is aligned as pages are.
fn scratch(image: &[u8]) -> Result<Box<[Frame]>, &'static str> {
    let mut scratch: Box<[Frame]> = bytemuck::zeroed_slice_box(1);
    let bytes = bytemuck::cast_slice_mut::<Frame, u8>(&mut scratch);
    if bytes.len() != image.len() {
        return Err("it has not the length of a page");
    }
    bytes.copy_from_slice(image);
    Ok(scratch)
}

fn show_rows(node: &Page, extent_bytes: &impl Fn(ExtentId) -> Option<u64>) -> Result<Vec<ShownRow>, &'static str> {
    let mut rows = Vec::with_capacity(node.count());
    for index in 0..node.count() {
        check_bundle(node, index, None)?;
        _ = node.visit_entry(index, 0, |key, payload| {
            rows.push(show_row(KeyBuf::new(key), payload, extent_bytes));
            ControlFlow::Continue(())
        });
    }
    Ok(rows)
}

fn show_row(key: KeyBuf, payload: &[u8], extent_bytes: &impl Fn(ExtentId) -> Option<u64>) -> ShownRow {
    if payload.is_empty() {
        let value = ShownValue::Inline(Box::default());
        return ShownRow { key, kind: None, expire_ms: 0, value };
    }
    let (Header { kind, expire_ms, is_outside }, rest) = Header::decode(payload);
    let value = if is_outside && rest.len() == 4 {
        let id = row::extent_of(rest);
        ShownValue::Extent(id, extent_bytes(id))
    } else {
        ShownValue::Inline(rest.into())
    };
    ShownRow { key, kind: Some(kind), expire_ms, value }
}
