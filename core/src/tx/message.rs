//! What coordinator and participants of a transaction over several shards tell each other. The protocol:
//! `docs/decisions/0015-transactions.md`.
//!
//! ```text
//!   coordinator                participant
//!       Lock ------------------------>        shard by shard
//!        <--------------------------- Locked
//!       Look ------------------------>        where that decides what is done
//!        <--------------------------- Seen
//!       Go -------------------------->        to all at once
//!        <--------------------------- Ran     its group is stable
//!       Finish ---------------------->        committed, or not
//!        <--------------------------- Learned `TxnDone` is stable; only if several shards have changes
//!       Forget ---------------------->
//! ```

use super::{Multi, RowLock, Watched};
use crate::resp::replies::Replies;

/// Keys of rows, each with its database.
pub type RowKeys = Vec<(u8, Vec<u8>)>;

/// What a participant does, and what for.
#[derive(Debug)]
pub enum ToParticipant {
    /// Lock these rows once they and the pages they need are here. Refuse if what is watched was changed or, where rows are
    /// to be changed, if the log takes nothing.
    Lock {
        rows: Vec<RowLock>,
        watched: Vec<Watched>,
    },
    /// Tell what these rows are. They are locked.
    Look(RowKeys),
    Go(Box<Go>),
    /// It is over, whatever state it is in here.
    Finish {
        is_committed: bool,
    },
    Forget,
}

/// A participant's part.
#[derive(Clone, Debug)]
pub struct Go {
    pub commands: Multi,
    pub is_resp3: bool,
    /// The statistics count its commands: they are a client's own.
    pub is_counted: bool,
    /// The shards that have changes, ascending: more than one, or this one's part is a group like any other.
    pub writers: Vec<u16>,
}

/// What a participant answers.
#[derive(Debug)]
pub enum ToCoordinator {
    Locked(Result<(), Denial>),
    /// The rows, in the order asked for; or the line of an error.
    Seen(Result<Vec<Option<SeenRow>>, String>),
    /// Each command's reply, encoded; or why there is none, and never will be: the line of an error.
    Ran(Result<Vec<Replies>, String>),
    Learned,
}

/// A live row, as a participant saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRow {
    /// Unix milliseconds.
    pub expire_ms: Option<u64>,
    pub value: Vec<u8>,
}

/// Why rows are not locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// What is watched was changed.
    Touched,
    /// The line of an error.
    Refused(String),
}
