//! What no tree of the newest checkpoint has led to: pages behind damage, pages that have leaked, and what only the older
//! checkpoint leads to. Their images are to be sound.

use super::extents::ExtentLook;
use super::{Finding, Flight, Look, PagesCheck, Part, UNREADABLE};
use crate::limits::CHECK_LEAVES_MAX;
use crate::pagefile::image;
use crate::pagefile::map::{crc_of, site_of};
use crate::units::{ExtentId, PageId};

impl PagesCheck {
    /// The next pages that have an image and that no tree led to.
    pub(super) fn next_unreached(&mut self) -> Option<Flight> {
        let mut looks = Vec::new();
        while (self.hand as usize) < self.maps.pages.len() && looks.len() < CHECK_LEAVES_MAX {
            let page = PageId(self.hand);
            self.hand += 1;
            let word = self.maps.page(page);
            if site_of(word).0 != 0 && !self.trees.reached.has(page.0 as usize) {
                self.note_orphan(Part::Page { tree: None, page }, word);
                looks.push((site_of(word), Look::Image { page, word, is_newest: true }));
            }
        }
        self.read_sorted(looks);
        self.ready.pop()
    }

    /// Where damage hides what leads there, nothing can be said of it.
    fn note_orphan(&mut self, part: Part, word: u64) {
        if self.trees.is_whole() && self.maps.is_whole() {
            self.report.orphans += 1;
            self.note(Finding::at(part, Some(site_of(word)), "it is in the map, and nothing leads to it"));
        }
    }

    /// Extents that no row refers to; they were read as all others.
    pub(super) fn note_unreferred(&mut self) {
        for id in (0..self.maps.extents.len() as u32 / 2).map(ExtentId) {
            let word = self.extent_word(id);
            if word != 0 && !self.trees.referred.has(id.0 as usize) {
                self.note_orphan(Part::Extent(id), word);
            }
        }
    }

    /// The next images that only the older checkpoint leads to.
    pub(super) fn next_older(&mut self) -> Option<Flight> {
        if let Some((id, word, bytes)) = self.maps.older_extents.pop() {
            return Some(Flight::Extent(ExtentLook::new(self.config.salt, id, word, bytes, false)));
        }
        let count = self.maps.older_pages.len();
        let some = self.maps.older_pages.split_off(count.saturating_sub(CHECK_LEAVES_MAX));
        let looks = some.into_iter().map(|(page, word)| (site_of(word), Look::Image { page, word, is_newest: false }));
        let looks = looks.collect();
        self.read_sorted(looks);
        self.ready.pop()
    }

    pub(super) fn on_image(&mut self, page: PageId, word: u64, is_newest: bool, image: Result<&[u8], i32>) {
        self.report.images += 1;
        let (what, errno) = match image {
            Ok(image) => match image::verify(image, self.config.salt, page.0, crc_of(word)) {
                Ok(()) => return,
                Err(what) => (what, None),
            },
            Err(errno) => (UNREADABLE, Some(errno)),
        };
        let part = Part::Page { tree: None, page };
        self.note(Finding { errno, is_newest, ..Finding::at(part, Some(site_of(word)), what) });
    }
}
