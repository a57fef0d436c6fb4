//! Extents: each is read from its first byte to its last, piece by piece, several at once.

use super::{Finding, Flight, PagesCheck, Part, UNREADABLE};
use crate::pagefile::extent_image::ExtentImage;
use crate::pagefile::map::site_of;
use crate::units::ExtentId;

/// An extent on its way.
pub(super) struct ExtentLook {
    pub image: ExtentImage,
    is_newest: bool,
}

impl ExtentLook {
    pub(super) fn new(salt: u32, id: ExtentId, word: u64, bytes: u64, is_newest: bool) -> ExtentLook {
        ExtentLook { image: ExtentImage::new(salt, id, word, bytes), is_newest }
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
        self.report.images += u64::from(look.image.is_new());
        let at = look.image.id.0 as usize;
        let is_referred = look.is_newest && self.trees.referred.has(at);
        let has_key = is_referred.then(|| self.trees.is_long.has(at));
        let taken = match piece {
            Ok(piece) => look.image.take(piece, has_key).map_err(|what| (what, None)),
            Err(errno) => Err((UNREADABLE, Some(errno))),
        };
        match taken {
            Ok(true) => {}
            Ok(false) => self.ready.push(Flight::Extent(look)),
            Err((what, errno)) => {
                let (part, site) = (Part::Extent(look.image.id), Some(site_of(look.image.word)));
                self.note(Finding { errno, is_newest: look.is_newest, ..Finding::at(part, site, what) });
            }
        }
    }
}
