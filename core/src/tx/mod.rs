//! Transactions: what a connection has queued, what it watches.
//!
//! How they commit and recover over several shards: `docs/decisions/0015-transactions.md`. The machine's part is
//! `machine/exec.rs`, the commands are `command/transactions.rs`.

mod after;
mod cut;
mod databases;
mod locks;
mod message;
mod multi;
mod open;
mod watch;

pub use after::{After, AfterRow, Afters};
pub use cut::{CutId, CutMessage, Sum, View};
pub use databases::Databases;
pub use locks::{Granted, Locks, RowLock};
pub use message::{Denial, Go, NotDone, RowKeys, SeenRow, ToCoordinator, ToParticipant, Told};
pub use multi::{Command, Multi, Reach};
pub use open::{Age, Before, End, Kept, Open, Patience, Pin, Probe, Whole, Work, Worked};
pub use watch::{Watched, Watches};
