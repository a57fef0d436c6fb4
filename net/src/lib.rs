//! Stops 1 and 10 of 10: touching the kernel. Rings, sockets, disks, threads, mailboxes.
//!
//! Knows nothing of what a command means: bytes go into a [`cairn_core::machine::Machine`] as events, and what comes
//! out of it as effects is performed. The only crate with unsafe code; each block says its contract.
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![deny(unsafe_op_in_unsafe_fn)]

pub mod background;
pub mod balance;
mod buffer;
pub mod check;
pub mod clock;
pub mod datadir;
pub mod disk;
pub mod disk_probe;
pub mod error;
pub mod exchange;
pub mod facts;
pub mod host;
pub mod inspect;
pub mod limits;
pub mod listener;
pub mod memory;
pub mod mesh;
pub mod offline;
pub mod open;
pub mod page_open;
pub mod pages;
pub mod probe;
mod readahead;
pub mod report;
pub mod ring;
pub mod server;
pub mod socket;
pub mod stats;
pub mod worker;
