//! What a check finds: where, what, and which keys it concerns.

use crate::engine::elements::{elements_of, is_elements};
use crate::limits::DATABASES;
use crate::page::Key;
use crate::units::{ExtentId, PageId, Site};
use core::fmt;

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub part: Part,
    /// Where in the page file.
    pub site: Option<Site>,
    pub what: &'static str,
    /// Why it cannot be read.
    pub errno: Option<i32>,
    /// What a count is said to be, and what it is.
    pub counts: Option<(u64, u64)>,
    /// The keys that stand there, as far as the pages above say.
    pub range: Option<Box<KeyRange>>,
    /// It belongs to the checkpoint that a start opens, and not only to the one before.
    pub is_newest: bool,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Superblock,
    /// A page of a map, or of its directory.
    Map {
        is_extents: bool,
        is_directory: bool,
        index: u32,
    },
    /// `None`: no tree led to it.
    Page {
        tree: Option<TreeName>,
        page: PageId,
    },
    Extent(ExtentId),
    /// A tree as a whole.
    Tree(TreeName),
    /// A place in the file.
    Place,
}

/// One of a shard's trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeName {
    /// The rows of a database, or of the elements of its collections.
    Rows(u8),
    Deadlines,
}

/// A range of keys in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The lowest that can stand there.
    pub low: KeyBuf,
    /// All are below this; `None`: it is the end of the tree.
    pub high: Option<KeyBuf>,
    /// The last key of the leaf before, and the first of the leaf behind, where these are sound and of the same parent.
    pub before: Option<KeyBuf>,
    pub after: Option<KeyBuf>,
}

/// A key that outlives its page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyBuf {
    pub head: u64,
    pub tail: Box<[u8]>,
}

impl KeyBuf {
    pub(super) fn new(key: Key<'_>) -> KeyBuf {
        KeyBuf { head: key.head, tail: key.tail.into() }
    }

    pub(super) fn key(&self) -> Key<'_> {
        Key::new(self.head, &self.tail)
    }
}

impl Finding {
    pub(super) fn at(part: Part, site: Option<Site>, what: &'static str) -> Finding {
        Finding { part, site, what, errno: None, counts: None, range: None, is_newest: true }
    }
}

impl fmt::Display for TreeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeName::Rows(tree) if is_elements(*tree) => write!(f, "elements of database {}", tree - elements_of(0)),
            TreeName::Rows(db) if usize::from(*db) == DATABASES - 1 => f.write_str("hidden rows"),
            TreeName::Rows(db) => write!(f, "database {db}"),
            TreeName::Deadlines => f.write_str("deadlines"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Superblock => f.write_str("superblock"),
            Part::Map { is_extents, is_directory, index } => {
                let of = if *is_extents { "extents" } else { "pages" };
                let level = if *is_directory { "directory" } else { "map" };
                write!(f, "{level} page {index} of the {of}")
            }
            Part::Page { tree: Some(tree), page } => write!(f, "page {page} of {tree}"),
            Part::Page { tree: None, page } => write!(f, "page {page}"),
            Part::Extent(extent) => write!(f, "extent {extent}"),
            Part::Tree(tree) => write!(f, "tree of {tree}"),
            Part::Place => f.write_str("place in the file"),
        }
    }
}
