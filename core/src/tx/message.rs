//! What coordinator and participants of a transaction over several shards tell each other. The protocol:
//! `docs/decisions/0015-transactions.md`.
//!
//! ```text
//!   coordinator                participant
//!       Try ------------------------->        to all at once: Lock and Go where nobody stands in the way
//!        <--------------------------- Ran     its group is stable; if all say so, Finish is next
//!        <--------------------------- Locked  it is not done: if somebody stands in the way all is undone, and begins again
//!
//!       Calm ------------------------>        to all at once, where whole databases are to be locked
//!        <--------------------------- Calm
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

use super::{Databases, Multi, Pin, Probe, RowLock, Watched, Work, Worked};
use crate::error::Refusal;
use crate::event::Now;
use crate::notify::Voice;
use crate::resp::replies::Replies;
use crate::shard::Kind;
use std::sync::Arc;

/// Rows that are looked at: the database and key of each, and what is to be told of it.
pub type RowKeys = Vec<(u8, Vec<u8>, Told)>;

/// What is told of a row that is looked at, beside its kind and when it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Nothing,
    /// A string's value.
    String,
    /// The same, and of a collection its payload.
    Payload,
}

/// What a participant does, and what for.
#[derive(Debug)]
pub enum ToParticipant {
    /// Have your counters whole, and keep them so until the transaction ends.
    Calm,
    /// Lock these rows and databases once they and the pages they need are here. Refuse if what is watched was changed or, where rows are
    /// to be changed, if the log takes nothing.
    Lock {
        rows: Vec<RowLock>,
        databases: Databases,
        watched: Vec<Watched>,
    },
    /// Lock these rows now, if nobody stands in the way, and do that. Refuse as above, or because somebody does.
    Try {
        rows: Vec<RowLock>,
        go: Arc<Go>,
    },
    /// Tell what these rows are. They are locked.
    Look(RowKeys),
    Go(Arc<Go>),
    /// Of an open transaction: lock rows, run a command.
    Work(Box<Work>),
    /// The statements from this one on never were. The rows stay locked.
    GoBack {
        statement: u32,
    },
    /// Do what was kept, in earnest. `writers` as in [`Go`].
    Commit {
        writers: Vec<u16>,
    },
    /// The transaction waits here: for whom?
    Probe(Probe),
    /// It is over, whatever state it is in here.
    Finish {
        is_committed: bool,
    },
    Forget,
}

/// A participant's part.
#[derive(Debug)]
pub struct Go {
    pub commands: Multi,
    pub is_resp3: bool,
    /// What time it is.
    pub now: Now,
    /// The statistics count its commands: they are a client's own.
    pub is_counted: bool,
    /// An error of any command undoes all. Then all participants are writers: who only looks says in its log too that it could.
    pub rolls_back: bool,
    /// What others hear of what they do.
    pub voice: Voice,
    /// What its commands depend on, if they have run before.
    pub pins: Vec<Pin>,
    /// The shards that have a group in their logs, ascending: more than one, or this one's part is a group like any other.
    pub writers: Vec<u16>,
}

/// What a participant answers.
#[derive(Debug)]
pub enum ToCoordinator {
    Calm,
    Locked(Result<(), Denial>),
    /// The rows, in the order asked for.
    Seen(Result<Vec<Option<SeenRow>>, NotDone>),
    /// Each command's reply, encoded; or why there is none, and never will be.
    Ran(Result<Vec<Replies>, NotDone>),
    /// A command of a part that rolls back has failed: its number among those of the part, and the line of its error. The
    /// part is as if it had never been.
    Failed {
        number: usize,
        line: String,
    },
    Learned,
    /// Of an open transaction, the statement of that number.
    Worked {
        statement: u32,
        result: Result<Worked, NotDone>,
        /// Until when what it has seen is so, in Unix milliseconds: then a row is past its time.
        until_ms: u64,
    },
    /// Somebody waits for the transaction: for whom does it wait?
    Probe(Probe),
    /// It is the youngest of those that wait for each other, as far as it still waits in this statement.
    Deadlock {
        statement: u32,
    },
}

/// A live row, as a participant saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRow {
    pub kind: Kind,
    /// Unix milliseconds.
    pub expire_ms: Option<u64>,
    /// What is told of it.
    pub value: Vec<u8>,
    /// It is too large for that.
    pub is_large: bool,
}

/// Why rows are not locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// What is watched was changed.
    Touched,
    /// Of rows that were to be locked at once: somebody stands in the way. Nothing has been done.
    Busy,
    Refused(NotDone),
}

/// Why a participant does not do its part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDone {
    /// The line of an error.
    pub line: String,
    /// The shard's log takes nothing. Other shards may go on, so the connection is closed: what it has sent behind the
    /// transaction would be done without it.
    pub is_of_log: bool,
}

impl NotDone {
    pub fn of_log(refusal: &Refusal) -> NotDone {
        NotDone { line: refusal.line().into_owned(), is_of_log: true }
    }

    pub fn of_commands(refusal: &Refusal) -> NotDone {
        NotDone { line: refusal.line().into_owned(), is_of_log: false }
    }
}
