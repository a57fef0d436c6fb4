//! The bytes of a simulated file: zeros take no room, and copies of a file share what is the same in both.

use std::rc::Rc;

/// The unit that copies share.
const CHUNK: usize = 4096;

type Chunk = Rc<[u8; CHUNK]>;

/// Bytes at places from 0 to its length.
#[derive(Clone, Debug, Default)]
pub struct Sparse {
    /// `None`: zeros.
    chunks: Vec<Option<Chunk>>,
    len: usize,
}

impl Sparse {
    pub fn zeros(len: usize) -> Sparse {
        Sparse { chunks: vec![None; len.div_ceil(CHUNK)], len }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Cuts off what is behind `len`, or adds zeros up to it.
    pub fn set_len(&mut self, len: usize) {
        let cut = len % CHUNK;
        if len < self.len && cut > 0 {
            let end = CHUNK.min(self.len - (len - cut));
            self.write(len, &[0; CHUNK][..end - cut]);
        }
        self.chunks.resize(len.div_ceil(CHUNK), None);
        self.len = len;
    }

    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.set_len(len);
        }
    }

    /// Reads what stands at `at`; zeros behind the end.
    pub fn read(&self, at: usize, into: &mut [u8]) {
        each(at, into.len(), |chunk, inside, range| match self.chunks.get(chunk) {
            Some(Some(bytes)) => into[range.clone()].copy_from_slice(&bytes[inside..inside + range.len()]),
            _ => into[range].fill(0),
        });
    }

    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.len, "a write does not lengthen a file");
        each(at, bytes.len(), |chunk, inside, range| {
            let chunk = self.chunks[chunk].get_or_insert_with(|| Rc::new([0; CHUNK]));
            Rc::make_mut(chunk)[inside..inside + range.len()].copy_from_slice(&bytes[range]);
        });
    }

    pub fn flip(&mut self, at: usize, mask: u8) {
        let mut byte = [0];
        self.read(at, &mut byte);
        self.write(at, &[byte[0] ^ mask]);
    }

    /// Copies `len` bytes from one place to another.
    pub fn copy_within(&mut self, from: usize, len: usize, to: usize) {
        let mut bytes = vec![0; len];
        self.read(from, &mut bytes);
        self.write(to, &bytes);
    }
}

/// Calls `visit` for each part of a range that lies in one chunk: the chunk, the place in it, the part of the range.
fn each(at: usize, len: usize, mut visit: impl FnMut(usize, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < len {
        let (chunk, inside) = ((at + done) / CHUNK, (at + done) % CHUNK);
        let part = (CHUNK - inside).min(len - done);
        visit(chunk, inside, done..done + part);
        done += part;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The same changes to a file and to plain bytes; copies keep what was there.
    #[test]
    fn it_is_what_plain_bytes_are() {
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut file, mut plain) = (Sparse::zeros(20_000), vec![0_u8; 20_000]);
        let mut before = (file.clone(), plain.clone());
        for step in 0..3000 {
            let (at, len) = (rng.usize(..plain.len()), rng.usize(..9000));
            let len = len.min(plain.len() - at);
            match rng.u32(..8) {
                0 => {
                    let len = rng.usize(1..40_000);
                    file.set_len(len);
                    plain.resize(len, 0);
                }
                1 => {
                    file.flip(at, 4);
                    plain[at] ^= 4;
                }
                2 => {
                    let to = rng.usize(..=plain.len() - len);
                    file.copy_within(at, len, to);
                    plain.copy_within(at..at + len, to);
                }
                _ => {
                    file.write(at, &vec![step as u8; len]);
                    plain[at..at + len].fill(step as u8);
                }
            }
            let mut read = vec![1; plain.len() + 10];
            file.read(0, &mut read);
            assert!(read[..plain.len()] == plain && read[plain.len()..] == [0; 10] && file.len() == plain.len());
            let mut read = vec![1; before.1.len()];
            before.0.read(0, &mut read);
            assert!(read == before.1, "a copy stays as it is");
            if rng.u32(..10) == 0 {
                before = (file.clone(), plain.clone());
            }
        }
    }
}
