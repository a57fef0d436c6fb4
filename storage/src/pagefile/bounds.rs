//! How large a page file may become, as the one who opens it says. Nothing here knows what happens then.

use crate::limits::{EXTENTS_MAX, NUMBERS_SPARE, PAGES_MAX, SITES_MAX};

/// How large a page file may become: the default, but in tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub sites: u32,
    pub pages: usize,
    pub extents: usize,
    /// Numbers of pages and of extents that are kept for what cannot be refused.
    pub spare: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { sites: SITES_MAX, pages: PAGES_MAX, extents: EXTENTS_MAX, spare: NUMBERS_SPARE }
    }
}
