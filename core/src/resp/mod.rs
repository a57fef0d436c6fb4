//! The Redis protocol: RESP2 and RESP3, and inline requests. Stops 2 and 10 of the data path.

pub mod decode;
pub mod encode;
pub mod read;
pub mod replies;
pub mod translate;
