//! Every bound of this crate.

/// Standbys of one shard.
pub const STANDBYS_MAX: usize = 16;
