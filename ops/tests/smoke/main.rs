//! Drives the real binary, as a user would: starts it, talks to it, kills it, looks at what it says and does.
//!
//! Every server has a port, a directory and a process of its own, and ends with its test.
#![allow(clippy::unwrap_used)]

mod access;
mod anomalies;
mod configuration;
mod counters;
mod disk_full;
mod durability;
mod exports;
mod hidden;
mod inspect;
mod integrity;
mod ledger;
mod limits;
mod migrate;
mod operation;
mod powercut;
mod rdb;
mod scrub;
mod server;
mod shards;
mod snapshots;
mod start;
mod tools;
mod verify;
