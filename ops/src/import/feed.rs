//! An RDB file that is read from wherever it comes, in bounded memory.

use cairn_core::limits::BULK_BYTES_MAX;
use cairn_core::rdb::file::{Found, Walk};
use cairn_core::rdb::{Invalid, What};
use std::io::{self, Read};

/// What is read at once, at least.
const CHUNK_BYTES: usize = 256 * 1024;

/// A file and the bytes of it that have been read ahead: as many as the longest string takes.
pub struct Feed<R> {
    input: R,
    bytes: Vec<u8>,
    start: usize,
    walk: Walk,
}

impl<R: Read> Feed<R> {
    pub fn new(input: R) -> Feed<R> {
        Feed { input, bytes: Vec::new(), start: 0, walk: Walk::new(BULK_BYTES_MAX as u64) }
    }

    /// What comes next; what is read of a value is appended to `out`.
    pub fn step(&mut self, out: &mut Vec<u8>) -> io::Result<Found> {
        loop {
            match self.walk.step(&self.bytes[self.start..], out) {
                Ok((taken, found)) => {
                    self.start += taken;
                    return Ok(found);
                }
                Err(Invalid { what: What::Short(missing), at }) => {
                    if !self.fill(missing)? {
                        let short = Invalid { what: What::Short(missing), at };
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, short));
                    }
                }
                Err(invalid) => return Err(io::Error::new(io::ErrorKind::InvalidData, invalid)),
            }
        }
    }

    /// Reads so many bytes more, if there are as many. Whether there were any.
    fn fill(&mut self, missing: u64) -> io::Result<bool> {
        self.bytes.drain(..std::mem::take(&mut self.start));
        let wanted = missing.max(1);
        let mut read = 0;
        // Nothing is trusted that says how much there will be: room is made as bytes come.
        while read < wanted {
            let end = self.bytes.len();
            self.bytes.resize(end + CHUNK_BYTES, 0);
            let count = self.input.read(&mut self.bytes[end..])?;
            self.bytes.truncate(end + count);
            if count == 0 {
                break;
            }
            read += count as u64;
        }
        Ok(read > 0)
    }

    /// Bytes of the file that have been used.
    pub fn taken(&self) -> u64 {
        self.walk.taken()
    }

    /// What was read beyond the end, and where more comes from.
    pub fn into_rest(self) -> (Vec<u8>, R) {
        (self.bytes[self.start..].to_vec(), self.input)
    }
}
