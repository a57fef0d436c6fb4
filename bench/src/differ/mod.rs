//! `cairn differ`: does Cairn answer what Redis answers? Random sequences of commands, drawn from a seed, are sent to a redis-server and
//! to Cairn with one shard and with several, in so little memory that rows are on disk; every reply is compared.
//!
//! - `families` is the table of what is asked, one line a form of a command; `template` its language, `pools` what arguments are drawn from.
//! - `sequence` draws: over two connections, each of either protocol, one by one or in pipelines; `party` is a server, `play` sends and compares, by `judge`.
//! - `exceptions` is the one list of what Cairn answers otherwise on purpose.
//! - `shrink` leaves out of a sequence that differs what the difference does not need; `run` shows it, with the seed that draws it again.

mod args;
mod exceptions;
mod families;
mod judge;
mod limits;
mod party;
mod play;
mod pools;
mod reply;
mod run;
mod sequence;
mod shrink;
mod template;

pub use args::DifferArgs;
pub use reply::{Reply, shown};
pub use run::run;
