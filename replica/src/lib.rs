//! The same log elsewhere: what standbys have, and what that allows the primary to acknowledge.
//!
//! Pure: no socket, no file, no clock. Speaks of records' positions, peers and epochs; knows nothing of commands and
//! pages. The streams themselves come with the replication step; the primary's gate already asks here what is stable.
#![forbid(unsafe_code)]

pub mod limits;
pub mod watermark;
