//! The log of one shard: records in, flushes out, and back.

pub mod record;
