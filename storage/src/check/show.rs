//! What stands in one page of a checkpoint, for people: decoded with nothing trusted. [`crate::pagefile::Opening`] has found
//! the checkpoint and its maps.

use super::finding::KeyBuf;
use crate::page::{Kind, Page};
use crate::pagefile::PageFile;
use crate::pool::Frame;
use crate::row::{self, Header};
use crate::tree::check_heap;
use crate::units::{ExtentId, PageId};

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
        let mut scratch: Box<[Frame]> = bytemuck::zeroed_slice_box(1);
        bytemuck::cast_slice_mut::<Frame, u8>(&mut scratch).copy_from_slice(image);
        let node = &scratch[0].page;
        let kind = node.kind().ok_or("it is of no kind that is known")?;
        check_heap(node)?;
        let lsn = u64::from_le_bytes(image[8..16].try_into().expect("eight bytes"));
        let entries = match kind {
            Kind::Leaf => ShownEntries::Rows((0..node.count()).map(|index| self.show_row(node, index)).collect()),
            Kind::Branch | Kind::Counted => {
                let child = |index| (KeyBuf::new(node.key(index)), node.child(index));
                ShownEntries::Children((0..node.count()).map(child).collect())
            }
        };
        Ok(ShownPage { page, offset, lsn, used: node.used(), entries })
    }

    fn show_row(&self, node: &Page, index: usize) -> ShownRow {
        let (key, payload) = (KeyBuf::new(node.key(index)), node.payload(index));
        if payload.is_empty() {
            let value = ShownValue::Inline(Box::default());
            return ShownRow { key, kind: None, expire_ms: 0, value };
        }
        let (Header { kind, expire_ms, is_outside }, rest) = Header::decode(payload);
        let value = if is_outside && rest.len() == 4 {
            let id = row::extent_of(rest);
            ShownValue::Extent(id, self.extent_bytes(id))
        } else {
            ShownValue::Inline(rest.into())
        };
        ShownRow { key, kind: Some(kind), expire_ms, value }
    }
}
