//! What a check of a page file comes to.

use super::finding::{Finding, TreeName};
use crate::log::LogStart;
use crate::pagefile::Superblock;

/// What stands where a superblock ought to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Found {
    /// Nothing was ever written.
    #[default]
    Empty,
    Sound(Box<Superblock>),
    Damaged(&'static str),
    /// Of a later format than this build's.
    Version(u16),
    Unreadable(i32),
}

/// One tree, as it was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeReport {
    pub tree: TreeName,
    pub levels: u8,
    pub pages: u64,
    pub leaves: u64,
    pub rows: u64,
    /// Of rows: heads, tails and payloads.
    pub bytes: u64,
    /// Rows that expire, and rows with extents.
    pub expiring: u64,
    pub outside: u64,
}

/// What was found in a page file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PagesReport {
    /// Of the file.
    pub bytes: u64,
    pub sites: u64,
    /// By site.
    pub superblocks: [Found; 2],
    /// The generation of the checkpoint whose trees were looked at: the newest one that reads back; 0 if there is none.
    pub generation: u32,
    /// The older one's too, if it reads back: only what differs from the newest was looked at.
    pub generation_older: u32,
    pub trees: Vec<TreeReport>,
    pub extents: u64,
    pub extent_bytes: u64,
    /// Sites that the newest checkpoint leads to, superblocks included; sites that only the older one leads to; and the others.
    pub sites_used: u64,
    pub sites_older: u64,
    pub sites_free: u64,
    /// Pages and extents that are in the maps, and in no tree.
    pub orphans: u64,
    /// Pages, maps' pages and pieces of extents whose images were looked at.
    pub images: u64,
    pub bytes_read: u64,
    pub findings: Vec<Finding>,
    /// Findings beyond [`crate::limits::CHECK_FINDINGS_MAX`].
    pub findings_left_out: u64,
}

impl PagesReport {
    /// Where a start begins to read the log: what the newest checkpoint needs that reads back.
    pub fn log_start(&self) -> LogStart {
        let sound = self.superblocks.iter().filter_map(|found| match found {
            Found::Sound(superblock) => Some(superblock.start()),
            _ => None,
        });
        sound.max_by_key(|start| start.lsn).unwrap_or_default()
    }
}
