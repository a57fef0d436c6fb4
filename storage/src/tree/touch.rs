//! Reads ahead for a batch of keys, so that the finds that follow meet warm caches.
//!
//! A find is a chain of loads, each waiting for the one before. Walking many keys level by level gives the
//! processor independent loads to overlap: the batch waits about as long as one key would. The loads are plain
//! ones, folded into a value that is kept, because safe Rust has no prefetch.

use super::Tree;
use crate::error::Missing;
use crate::limits::TOUCH_KEYS_MAX;
use crate::page::{Key, Page, Span, lower_bound};
use crate::pool::Pool;
use crate::units::PageId;
use core::hint::black_box;

/// A key on its way down.
#[derive(Clone, Copy)]
struct Lane<'a> {
    node: &'a Page,
    /// What the pool believes the node's count to be.
    count: usize,
    span: Span,
    head: u64,
    /// The child that the search led to.
    child: PageId,
}

impl Lane<'_> {
    #[inline(always)]
    fn touch_window(&self) -> u64 {
        self.node.count() as u64 ^ self.node.touch_window(self.count, self.head, self.span)
    }

    #[inline(always)]
    fn choose_child(&mut self) {
        let index = self.node.child_index(Key::of_head(self.head), self.span);
        self.child = self.node.child(index);
        self.span = self.node.child_span(index, self.span);
    }
}

impl Tree {
    /// Touches what finding rows with these heads will read: up to [`TOUCH_KEYS_MAX`] of them, the rest is left
    /// alone. `absent` is told of each page that a find would miss; reading these ahead is the caller's choice.
    pub fn touch(&self, pool: &Pool, heads: &[u64], mut absent: impl FnMut(Missing)) {
        if self.levels == 0 {
            return;
        }
        let root = match pool.page(self.root) {
            Ok(root) => root,
            Err(missing) => return absent(missing),
        };
        let start = Lane { node: root, count: root.count(), span: root.span(), head: 0, child: self.root };
        let mut lanes = [start; TOUCH_KEYS_MAX];
        let mut count = heads.len().min(TOUCH_KEYS_MAX);
        for (lane, head) in lanes.iter_mut().zip(heads) {
            lane.head = *head;
        }
        // Each pass is a short loop of independent loads; what it waits for, it waits for once.
        for level in 1..self.levels {
            // The root's lines are warm.
            if level > 1 {
                black_box(lanes[..count].iter().fold(0, |sum, lane| sum ^ lane.touch_window()));
            }
            lanes[..count].iter_mut().for_each(Lane::choose_child);
            // Lanes whose page is absent end here: the others close up.
            let mut kept = 0;
            for index in 0..count {
                let lane = lanes[index];
                match pool.page_and_count(lane.child) {
                    Ok((node, count)) => {
                        lanes[kept] = Lane { node, count, ..lane };
                        kept += 1;
                    }
                    Err(missing) => absent(missing),
                }
            }
            count = kept;
        }
        let lanes = &lanes[..count];
        black_box(lanes.iter().fold(0, |sum, lane| sum ^ lane.touch_window()));
        let mut ranges = [(0, 1); TOUCH_KEYS_MAX];
        for (range, lane) in ranges.iter_mut().zip(lanes) {
            let index = lower_bound(lane.node.heads(), lane.head, lane.span);
            *range = lane.node.row_range(index);
            pool.remember(self.root, lane.head, lane.child, index as u16);
        }
        black_box(lanes.iter().zip(&ranges).fold(0, |sum, (lane, range)| sum ^ lane.node.touch_row(*range)));
    }
}
