//! What coordinator and participants of a transaction over several shards tell each other. The protocol:
//! `docs/decisions/0015-transactions.md`.
//!
//! ```text
//!   coordinator                participant
//!       Lock ------------------------>        shard by shard
//!        <--------------------------- Locked
//!       Go -------------------------->        to all at once
//!        <--------------------------- Ran     its group is stable
//!       Finish ---------------------->        committed, or not
//!        <--------------------------- Learned `TxnDone` is stable; only if several shards have changes
//!       Forget ---------------------->
//! ```

use super::{Multi, RowLock, Watched};
use crate::resp::replies::Replies;

/// What a participant does, and what for.
#[derive(Debug)]
pub enum ToParticipant {
    /// Lock these rows once they and the pages they need are here. Refuse if what is watched was changed or, where rows are
    /// to be changed, if the log takes nothing.
    Lock {
        rows: Vec<RowLock>,
        watched: Vec<Watched>,
    },
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
    /// The shards that have changes, ascending: more than one, or this one's part is a group like any other.
    pub writers: Vec<u16>,
}

/// What a participant answers.
#[derive(Debug)]
pub enum ToCoordinator {
    Locked(Result<(), Denial>),
    /// Each command's reply, encoded; or why there is none, and never will be: the line of an error.
    Ran(Result<Vec<Replies>, String>),
    Learned,
}

/// Why rows are not locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// What is watched was changed.
    Touched,
    /// The line of an error.
    Refused(String),
}
