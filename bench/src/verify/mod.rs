//! `cairn verify`: is what a server answers possible? Clients work on it over real connections, what they asked and were answered is recorded
//! with its times, the server is killed and started again meanwhile, and in the end checkers judge the histories. Beside the server: all
//! that it knows of it is what a client can know.
//!
//! - `list_append`, `register`, `bank`, `write_skew`, `counter`, `queue`, `stream` are the checkers: pure, over histories with spans (`span`), with findings (`anomaly`).
//! - `workload` asks, and records. `exchange` is what one client says and hears. The simulator drives these too: `crate::sim::histories`.
//! - `window` cuts long runs into parts whose histories are checked one after the other; `left` is what one leaves to the next.
//! - `drive`, `server`, `run` touch the world: sockets, a clock, a process.

pub mod anomaly;
mod args;
pub mod bank;
pub mod counter;
mod drive;
pub(crate) mod exchange;
pub mod keyed;
mod left;
mod limits;
pub mod list_append;
pub mod queue;
pub mod register;
mod run;
mod server;
pub mod span;
pub mod stream;
pub mod window;
pub mod workload;
pub mod write_skew;

pub use args::{Choice, VerifyArgs};
pub use run::run;
