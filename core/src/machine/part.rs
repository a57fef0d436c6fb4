//! What this shard has of one transaction over several shards: how far that has come, what it has locked, and what it has begun.

use super::begun::Begun;
use super::trial::OpenPart;
use crate::announce::Announcement;
use crate::tx::{Databases, Go, RowKeys, RowLock, Watched};
use cairn_storage::engine::Undo;
use cairn_storage::units::ShardId;
use std::sync::Arc;

pub(super) struct Part {
    /// Whose transaction it is.
    pub from: ShardId,
    pub rows: Vec<RowLock>,
    /// What it has locked as a whole.
    pub databases: Databases,
    /// What it looks at as a whole: those of an open transaction.
    pub surveyed: Databases,
    /// As long as it is there no counter is split here.
    pub is_calm: bool,
    /// What it changes stands in the tree, so that nobody looks at it.
    pub is_hidden: bool,
    /// It is an open transaction's, or was.
    pub is_open: bool,
    /// When it has asked for the locks that it waits for.
    pub asked_ns: u64,
    /// Collections that it has begun.
    pub begun: Vec<Begun>,
    pub stage: Stage,
}

impl Part {
    pub fn new(from: ShardId, asked_ns: u64, stage: Stage) -> Part {
        Part {
            from,
            rows: Vec::new(),
            databases: Databases::NONE,
            surveyed: Databases::NONE,
            is_calm: false,
            is_hidden: false,
            is_open: false,
            asked_ns,
            begun: Vec::new(),
            stage,
        }
    }
}

pub(super) enum Stage {
    /// Its client goes on with it.
    Open(Box<OpenPart>),
    /// It waits until no counter is split.
    Calming,
    /// It waits for its locks, or has them and waits for memory.
    Locking(Vec<Watched>),
    Locked,
    /// It waits for memory.
    Looking(RowKeys),
    /// It waits for memory.
    Running(Arc<Go>),
    /// Its group is in the log.
    Ran {
        undo: Option<Undo>,
        /// What it tells others if it is committed.
        announced: Vec<Announcement>,
    },
    /// It is decided: never.
    Undoing(Undo),
}
