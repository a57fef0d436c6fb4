//! Stop 2 of 10: a connection's input that is not run yet.
//!
//! Once the length of a long request is known, the buffer that it begins gets that length, and what comes behind stands in
//! another one. So a long value is nearly all of its buffer, and that buffer can become the row's value as it is.

use crate::limits::{QUERY_KEEP_BYTES, QUERY_SLACK_BYTES_MAX, QUERY_SLACK_SHARE};

#[derive(Debug, Default)]
pub struct Query {
    bytes: Vec<u8>,
    /// The length, at least, of the request that `bytes` begins with, if that is long; else 0.
    need: usize,
    /// What has come behind that.
    behind: Vec<u8>,
}

impl Query {
    /// Bytes that are here.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.behind.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether it is known that the first request is not all here.
    pub fn is_short(&self) -> bool {
        self.bytes.len() < self.need
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        let room = if self.need == 0 { usize::MAX } else { self.bytes.capacity() - self.bytes.len() };
        let (fits, rest) =
            if self.behind.is_empty() { bytes.split_at(bytes.len().min(room)) } else { (&[][..], bytes) };
        self.bytes.extend_from_slice(fits);
        self.behind.extend_from_slice(rest);
    }

    /// The first request has at least `need` bytes; 0 if that is not known.
    pub fn expect(&mut self, need: usize) {
        // Room for the short arguments that may follow the long one, so that nothing has to move for them.
        let slack = (need / QUERY_SLACK_SHARE).min(QUERY_SLACK_BYTES_MAX);
        self.bytes.reserve_exact((need + slack).saturating_sub(self.bytes.len()));
        self.need = if need > QUERY_KEEP_BYTES { need } else { 0 };
        let behind = std::mem::take(&mut self.behind);
        self.extend(&behind);
    }

    /// Takes what is to be run now.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// What is left of it comes back. `need`, if the request that this begins with is not all here: how many bytes it has at
    /// least, 0 if that is not known. Whether there is more to run now than what came back.
    pub fn give_back(&mut self, rest: Vec<u8>, need: Option<usize>) -> bool {
        let len = rest.len();
        self.bytes = rest;
        if self.bytes.is_empty() {
            if self.bytes.capacity() > QUERY_KEEP_BYTES || !self.behind.is_empty() {
                self.bytes = std::mem::take(&mut self.behind);
            }
            self.need = 0;
        } else if let Some(need) = need {
            self.expect(need);
        } else if self.is_short() {
            // The long request has run, and what stood behind it has to wait for something else than input.
            self.need = 0;
        }
        self.bytes.len() > len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_request_stands_alone() {
        let need = 10 * QUERY_KEEP_BYTES;
        let mut query = Query::default();
        query.extend(b"SET k ");
        query.expect(need);
        let (place, capacity) = (query.bytes.as_ptr(), query.bytes.capacity());
        assert!(capacity >= need && capacity - need <= need / 8);
        while query.is_short() {
            query.extend(&[b'v'; 1000][..1000.min(need - query.len())]);
        }
        query.extend(&vec![b'w'; QUERY_SLACK_BYTES_MAX + 1]);
        assert_eq!((query.bytes.as_ptr(), query.bytes.capacity()), (place, capacity), "it was not moved");
        let len = query.len();
        let input = query.take();
        assert!(!query.behind.is_empty());
        assert!(query.give_back(input[need..].to_vec(), Some(0)));
        assert!(query.len() == len - need && query.behind.is_empty() && query.take().iter().all(|byte| *byte == b'w'));
    }

    #[test]
    fn what_stands_behind_a_long_request_is_not_short() {
        let need = 2 * QUERY_KEEP_BYTES;
        let mut query = Query::default();
        query.expect(need);
        query.extend(&vec![b'v'; need]);
        query.extend(b"PING\r\n");
        let input = query.take();
        assert!(!query.give_back(input, None) && !query.is_short(), "the long one waits");
        let input = query.take();
        assert!(!query.give_back(input[need..].to_vec(), None) && !query.is_short(), "the short one waits");
        assert_eq!(query.take(), b"PING\r\n");
    }

    #[test]
    fn short_requests_stand_together() {
        let mut query = Query::default();
        query.extend(b"PING\r\nPI");
        query.extend(b"NG\r\n");
        let input = query.take();
        assert_eq!(input, b"PING\r\nPING\r\n");
        assert!(!query.give_back(input[6..].to_vec(), None));
        assert!(query.behind.is_empty() && !query.is_short());
        assert_eq!(query.take(), b"PING\r\n");
    }
}
