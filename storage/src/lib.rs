//! Bytes that survive: the tree, the log and the engine that joins them, for one shard.
//!
//! Pure: no clock, no file, no socket, no thread. Disk operations leave as [`op::DiskOp`] and [`op::PageOp`] and come back
//! as [`op::DiskDone`]; a driver (the worker of `cairn-net`, or the simulator) performs them.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod blob;
mod bug;
pub mod check;
pub mod checksum;
pub mod counted;
pub mod engine;
pub mod error;
pub mod extent;
pub mod limits;
pub mod log;
pub mod op;
pub mod page;
pub mod pagefile;
pub mod pool;
pub mod row;
pub mod spaces;
pub mod tree;
pub mod txn;
pub mod units;
