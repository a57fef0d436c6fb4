//! What of the page file is known to be damaged, and which rows that concerns: for replies, messages and figures.

use crate::error::errno_text;
use crate::route;
use cairn_storage::check::TreeName;
use cairn_storage::error::Missing;
use cairn_storage::tree::HeadRange;
use cairn_storage::units::ShardId;
use std::fmt;

/// Why something cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// What was read is not what was written.
    Damaged(&'static str),
    Unreadable {
        errno: i32,
    },
}

/// Something of a page file that cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    pub shard: ShardId,
    pub offset: u64,
    pub trouble: Trouble,
    pub behind: Behind,
}

/// What stands there, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// A page or an extent, and the tree and the heads of the keys that it stands for.
    Rows(Missing, Option<(TreeName, HeadRange)>),
    /// A page of the maps: the next start may need it.
    Map,
    Superblock,
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (missing, range) = match self {
            Behind::Rows(missing, range) => (missing, range),
            Behind::Map => return f.write_str("a page of the maps"),
            Behind::Superblock => return f.write_str("a superblock"),
        };
        match missing {
            Missing::Page(page) | Missing::Astray(page) => write!(f, "page {page}")?,
            Missing::Extent(extent) => write!(f, "extent {extent}, a long value")?,
            Missing::Pending(_) | Missing::Redo | Missing::Deferred => {
                unreachable!("what the log has is not read from the page file")
            }
        }
        let Some((tree, HeadRange { low, high })) = range else { return Ok(()) };
        write!(f, " of {tree}")?;
        if *tree == TreeName::Deadlines {
            return Ok(());
        }
        // Behind the last slot there is nothing.
        let last = high.and_then(route::slot_of).unwrap_or(route::SLOTS - 1);
        let first = route::slot_of(*low).unwrap_or(0);
        write!(f, ", heads from {low:#018x}")?;
        if let Some(high) = high {
            write!(f, " up to {high:#018x}")?;
        }
        write!(f, ", slots {first} to {last}")
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { shard, offset, trouble, behind } = self;
        match trouble {
            Trouble::Damaged(what) => write!(f, "the page file is damaged at offset {offset}: {what}")?,
            Trouble::Unreadable { errno } => {
                write!(f, "the page file cannot be read at offset {offset}: {}", errno_text(*errno))?;
            }
        }
        write!(f, " (shard-{:04}/pages, {behind})", shard.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Behind, Damage, Trouble};
    use cairn_storage::check::TreeName;
    use cairn_storage::error::Missing;
    use cairn_storage::tree::HeadRange;
    use cairn_storage::units::{ExtentId, PageId, ShardId};

    fn check(trouble: Trouble, behind: Behind, expect: &str) {
        assert_eq!(Damage { shard: ShardId(3), offset: 8192, trouble, behind }.to_string(), expect);
    }

    #[test]
    fn damage_says_file_offset_page_and_keys() {
        let range = HeadRange { low: 5 << 48, high: Some(7 << 48 | 1) };
        let rows = Some((TreeName::Rows(2), range));
        check(
            Trouble::Damaged("it burns"),
            Behind::Rows(Missing::Page(PageId(17)), rows),
            "the page file is damaged at offset 8192: it burns (shard-0003/pages, page 17 of database 2, heads from \
             0x0005000000000000 up to 0x0007000000000001, slots 5 to 7)",
        );
        check(
            Trouble::Unreadable { errno: 5 },
            Behind::Rows(Missing::Extent(ExtentId(9)), None),
            "the page file cannot be read at offset 8192: Input/output error (shard-0003/pages, extent 9, a long value)",
        );
    }
}
