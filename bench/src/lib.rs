//! Driving Cairn: the load generator and what it shares with the other drivers. Beside the server, not in it.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod load;
pub mod workload;
