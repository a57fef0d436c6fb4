//! The scrub's findings, and what memory can do about them.

use super::Engine;
use crate::pagefile::{ScrubStep, Suspect};

impl Engine {
    /// A pass of the scrub begins, if there is a page file.
    pub fn begin_scrub(&mut self) {
        if let Some(file) = self.pool.file_mut() {
            file.begin_scrub();
        }
    }

    /// Has the next image of the pass read.
    pub fn scrub_next(&mut self) -> ScrubStep {
        self.pool.file_mut().map_or(ScrubStep::Over, |file| file.scrub_next())
    }

    /// The image of something is damaged. If it is in memory a checkpoint writes it anew, which is asked for here: whether
    /// it is.
    pub fn heal(&mut self, part: Suspect) -> bool {
        let is_here = match part {
            Suspect::Page(page) => self.pool.rewrite(page),
            Suspect::Extent(id) => self.extents.rewrite(id, self.pool.changes_in()),
            Suspect::Map { is_extents, page } => {
                if let Some(file) = self.pool.file_mut() {
                    file.soil_map(is_extents, page);
                }
                true
            }
            // Each checkpoint writes one, in the place of the older.
            Suspect::Superblock => true,
        };
        if is_here {
            self.want_checkpoint();
        }
        is_here
    }
}
