//! Extents: each is read from its first byte to its last, piece by piece, several at once.

use super::{Finding, Flight, PagesCheck, Part, UNREADABLE};
use crate::checksum::{crc32c, crc32c_append};
use crate::limits::{OUTPUT_BYTES_MAX, PAGE_BYTES};
use crate::pagefile::extents::{HEADER_BYTES, decode_header, sites_of};
use crate::pagefile::map::{crc_of, site_of};
use crate::units::{ExtentId, Site};

/// An extent on its way.
pub(super) struct ExtentLook {
    id: ExtentId,
    word: u64,
    /// Up to its value's end, how much of that was read, and the checksum so far.
    bytes: u64,
    at: u64,
    crc: u32,
    is_newest: bool,
}

impl ExtentLook {
    pub(super) fn new(salt: u32, id: ExtentId, word: u64, bytes: u64, is_newest: bool) -> ExtentLook {
        ExtentLook { id, word, bytes, at: 0, crc: crc32c(&[&salt.to_le_bytes()]), is_newest }
    }

    /// Where its next piece is, and how long that is in whole pages.
    pub(super) fn next(&self) -> (Site, usize) {
        let end = u64::from(sites_of(self.bytes)) * PAGE_BYTES as u64;
        let first = Site(site_of(self.word).0 + (self.at / PAGE_BYTES as u64) as u32);
        (first, (end - self.at).min(OUTPUT_BYTES_MAX as u64) as usize)
    }

    /// Takes a piece. Whether it was the last.
    fn take(&mut self, piece: &[u8], has_key: Option<bool>) -> Result<bool, &'static str> {
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

impl PagesCheck {
    /// The first word of an extent; 0 if the map does not have it.
    pub(super) fn extent_word(&self, id: ExtentId) -> u64 {
        self.maps.extents.get(2 * id.0 as usize).map_or(0, |word| if site_of(*word).0 == 0 { 0 } else { *word })
    }

    /// The next extent of the newest checkpoint, in the order of their numbers.
    pub(super) fn next_extent(&mut self) -> Option<Flight> {
        while (self.hand as usize) < self.maps.extents.len() / 2 {
            let id = ExtentId(self.hand);
            self.hand += 1;
            let (word, bytes) = (self.extent_word(id), self.maps.extents[2 * id.0 as usize + 1]);
            if word != 0 {
                self.report.extents += 1;
                self.report.extent_bytes += bytes;
                return Some(Flight::Extent(ExtentLook::new(self.config.salt, id, word, bytes, true)));
            }
        }
        None
    }

    pub(super) fn on_extent(&mut self, mut look: ExtentLook, piece: Result<&[u8], i32>) {
        self.report.images += u64::from(look.at == 0);
        let at = look.id.0 as usize;
        let is_referred = look.is_newest && self.trees.referred.has(at);
        let has_key = is_referred.then(|| self.trees.is_long.has(at));
        let taken = match piece {
            Ok(piece) => look.take(piece, has_key).map_err(|what| (what, None)),
            Err(errno) => Err((UNREADABLE, Some(errno))),
        };
        match taken {
            Ok(true) => {}
            Ok(false) => self.ready.push(Flight::Extent(look)),
            Err((what, errno)) => {
                let (part, site) = (Part::Extent(look.id), Some(site_of(look.word)));
                self.note(Finding { errno, is_newest: look.is_newest, ..Finding::at(part, site, what) });
            }
        }
    }
}
