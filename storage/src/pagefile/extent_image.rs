//! An extent's image, judged piece by piece without being kept: for the check and the scrub.

use super::extents::{HEADER_BYTES, decode_header, sites_of};
use super::map::{crc_of, site_of};
use crate::checksum::{crc32c, crc32c_append};
use crate::limits::{OUTPUT_BYTES_MAX, PAGE_BYTES};
use crate::units::{ExtentId, Site};

/// An extent on its way.
#[derive(Debug)]
pub(crate) struct ExtentImage {
    pub id: ExtentId,
    pub word: u64,
    /// Up to its value's end, how much of that was judged, and the checksum so far.
    pub bytes: u64,
    at: u64,
    crc: u32,
}

impl ExtentImage {
    pub(crate) fn new(salt: u32, id: ExtentId, word: u64, bytes: u64) -> ExtentImage {
        ExtentImage { id, word, bytes, at: 0, crc: crc32c(&[&salt.to_le_bytes()]) }
    }

    pub(crate) fn is_new(&self) -> bool {
        self.at == 0
    }

    /// Where its next piece is, and how long that is in whole pages.
    pub(crate) fn next(&self) -> (Site, usize) {
        let end = u64::from(sites_of(self.bytes)) * PAGE_BYTES as u64;
        let first = Site(site_of(self.word).0 + (self.at / PAGE_BYTES as u64) as u32);
        (first, (end - self.at).min(OUTPUT_BYTES_MAX as u64) as usize)
    }

    /// Takes the next piece. Whether it was the last. `has_key`: whether a key has to stand in front of the value, if that
    /// is known.
    pub(crate) fn take(&mut self, piece: &[u8], has_key: Option<bool>) -> Result<bool, &'static str> {
        let used = piece.len().min((self.bytes - self.at) as usize);
        if self.at == 0 {
            if used < HEADER_BYTES {
                return Err("it is too short for its header");
            }
            let (key, value) = decode_header(piece, self.id)?;
            if (HEADER_BYTES + key + value) as u64 != self.bytes {
                return Err("its lengths do not fit");
            }
            if has_key.is_some_and(|has_key| has_key != (key > 0)) {
                return Err("it is not its row's: the key is in the wrong place");
            }
        }
        self.crc = crc32c_append(self.crc, &piece[..used]);
        self.at += piece.len() as u64;
        let is_over = self.at >= self.bytes;
        if is_over && self.crc != crc_of(self.word) {
            return Err("the checksum does not hold");
        }
        Ok(is_over)
    }
}
