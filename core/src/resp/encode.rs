//! Stop 10 of 10: replies, written in place at the end of a connection's output.
//!
//! Follows the RESP specification: RESP3 types are used when the client has said `HELLO 3`, their RESP2
//! counterparts otherwise.

use crate::error::Refusal;
use crate::number::double;
use crate::resp::replies::Replies;
use cairn_storage::blob::Blob;

/// Writes the reply of one command.
pub struct Reply<'a> {
    pub out: &'a mut Replies,
    pub is_resp3: bool,
}

impl<'a> Reply<'a> {
    pub fn new(out: &'a mut Replies, is_resp3: bool) -> Reply<'a> {
        Reply { out, is_resp3 }
    }

    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string. It must not hold line ends.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']));
        self.out.push(b'+');
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    pub fn integer(&mut self, value: i64) {
        self.line(b':', value);
    }

    pub fn bool(&mut self, value: bool) {
        match (self.is_resp3, value) {
            (true, true) => self.out.extend_from_slice(b"#t\r\n"),
            (true, false) => self.out.extend_from_slice(b"#f\r\n"),
            (false, _) => self.integer(i64::from(value)),
        }
    }

    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.line(b'$', bytes.len() as i64);
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// The same of a long value, which is sent from where it is.
    pub fn blob(&mut self, blob: Blob) {
        self.line(b'$', blob.len() as i64);
        self.out.push_blob(blob);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A double: in RESP2 its text.
    #[inline]
    pub fn double(&mut self, value: f64) {
        let text = double::format(value);
        if !self.is_resp3 {
            return self.bulk(text.as_bytes());
        }
        self.out.push(b',');
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// A number that was written before: in RESP2 a text like any.
    pub fn long_double(&mut self, text: &str) {
        if !self.is_resp3 {
            return self.bulk(text.as_bytes());
        }
        self.out.push(b',');
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// The null of a single value.
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.is_resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// The null of an array: in RESP2 it differs from that of a value.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.is_resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    pub fn array(&mut self, len: usize) {
        self.line(b'*', len as i64);
    }

    /// A map of `pairs` pairs; in RESP2 an array of twice as many.
    pub fn map(&mut self, pairs: usize) {
        if self.is_resp3 { self.line(b'%', pairs as i64) } else { self.line(b'*', 2 * pairs as i64) }
    }

    pub fn set(&mut self, len: usize) {
        self.line(if self.is_resp3 { b'~' } else { b'*' }, len as i64);
    }

    /// What is said about the value behind it, in so many pairs. RESP3 alone has that.
    pub fn attribute(&mut self, pairs: usize) {
        self.line(b'|', pairs as i64);
    }

    /// An integer of any length: in RESP2 its text.
    pub fn big_number(&mut self, digits: &str) {
        if !self.is_resp3 {
            return self.bulk(digits.as_bytes());
        }
        self.out.push(b'(');
        self.out.extend_from_slice(digits.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    pub fn push(&mut self, len: usize) {
        self.line(if self.is_resp3 { b'>' } else { b'*' }, len as i64);
    }

    /// A text that a person reads, such as INFO: verbatim in RESP3, bulk in RESP2.
    pub fn verbatim(&mut self, text: &str) {
        if !self.is_resp3 {
            return self.bulk(text.as_bytes());
        }
        self.line(b'=', text.len() as i64 + 4);
        self.out.extend_from_slice(b"txt:");
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// A number that is not whole, in the shortest digits: a double in RESP3, bulk in RESP2.
    pub fn decimal(&mut self, value: f64) {
        let text = value.to_string();
        if !self.is_resp3 {
            return self.bulk(text.as_bytes());
        }
        self.out.push(b',');
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    pub fn refusal(&mut self, refusal: &Refusal) {
        self.error(&refusal.line());
    }

    /// An error: its code and text, without the leading `-`. Line ends in it become spaces.
    pub fn error(&mut self, line: &str) {
        // What a client has sent may end it.
        let line = line.trim_end_matches(['\r', '\n']);
        self.out.push(b'-');
        self.out.extend(line.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
        self.out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn line(&mut self, kind: u8, value: i64) {
        self.out.push(kind);
        // One digit is the common case: lengths of small arrays, counts, flags.
        if (0..10).contains(&value) {
            self.out.push(b'0' + value as u8);
        } else {
            self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        }
        self.out.extend_from_slice(b"\r\n");
    }
}
