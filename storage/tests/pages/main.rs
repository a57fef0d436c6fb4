//! A shard's engine over its page file and its log, on disks in memory that lose, tear and reorder what was not synced.
#![allow(clippy::unwrap_used)]

mod bounds;
mod bugs;
mod change;
mod check;
mod damage;
mod deferred;
mod disk;
mod every;
mod eviction;
mod faults;
#[allow(dead_code)]
#[path = "../log/disk.rs"]
mod log_disk;
mod random;
mod scrub;
mod shard;
