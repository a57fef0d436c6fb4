//! What one CPU core computes: commands on one shard, and the sessions of the connections that a core accepted.
//!
//! Pure: no system call, no thread, no file, no clock of its own. [`event::Event`]s go into a
//! [`machine::Machine`], [`event::Effect`]s come out; the worker of `cairn-net` and the simulator perform them.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod ack;
pub mod acl;
pub mod announce;
mod answer;
pub mod bug;
pub mod clients;
pub mod collection;
pub mod command;
pub mod damage;
pub mod error;
pub mod event;
pub mod glob;
mod hidden;
pub mod hll;
pub mod hot;
pub mod limits;
pub mod machine;
pub mod notify;
pub mod number;
pub mod parcel;
pub mod pubsub;
pub mod query;
pub mod rdb;
pub mod resp;
pub mod route;
pub mod script;
pub mod session;
pub mod settings;
pub mod shard;
pub mod slowlog;
pub mod snapshot;
pub mod stats;
pub mod tracking;
pub mod tx;
mod unstable;
mod versions;
pub mod waits;
