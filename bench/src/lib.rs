//! Driving Cairn: the load generator, the disk probe, the simulator, and what they share. Beside the server, not in it.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod differ;
pub mod disk_probe;
pub mod fuzz;
pub mod history;
pub mod latency;
pub mod load;
pub mod model;
mod picture;
pub mod sim;
pub mod verify;
pub mod workload;
