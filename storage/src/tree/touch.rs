//! Reads ahead for a batch of keys, so that the finds that follow meet warm caches.
//!
//! A find is a chain of loads, each waiting for the one before. Walking many keys level by level gives the
//! processor independent loads to overlap: the batch waits about as long as one key would. The loads are plain
//! ones, folded into a value that is kept, because safe Rust has no prefetch.

use super::Tree;
use crate::limits::TOUCH_KEYS_MAX;
use crate::page::{Key, Page, guess, lower_bound};
use crate::pool::Pool;
use crate::units::PageId;
use core::hint::black_box;

impl Tree {
    /// Touches what finding rows with these heads will read: up to [`TOUCH_KEYS_MAX`] of them, the rest is left
    /// alone. `absent` is told of each page that a find would miss; reading these ahead is the caller's choice.
    pub fn touch(&self, pool: &Pool, heads: &[u64], mut absent: impl FnMut(PageId)) {
        if self.levels == 0 {
            return;
        }
        let heads = &heads[..heads.len().min(TOUCH_KEYS_MAX)];
        let mut pages = [self.root; TOUCH_KEYS_MAX];
        let mut nodes: [Option<&Page>; TOUCH_KEYS_MAX] = [None; TOUCH_KEYS_MAX];
        let mut sum = 0;
        for level in (0..self.levels).rev() {
            for (node, page) in nodes[..heads.len()].iter_mut().zip(pages) {
                *node = pool.page(page).ok();
                if let Some(node) = node {
                    sum += node.count() as u64;
                } else if page != PageId::default() {
                    absent(page);
                }
            }
            let lanes = nodes.iter().zip(heads).filter_map(|(node, head)| Some(((*node)?, *head)));
            for (node, head) in lanes {
                sum += touch_heads(node, head);
            }
            if level > 0 {
                for ((page, node), head) in pages.iter_mut().zip(nodes).zip(heads) {
                    *page = node.map_or(PageId::default(), |node| node.child(node.child_index(Key::of_head(*head))));
                }
            }
        }
        for (node, head) in nodes.iter().zip(heads) {
            if let Some(node) = node {
                sum += touch_row(node, *head);
            }
        }
        black_box(sum);
    }
}

/// The part of the search array, and the slot, where the head probably is.
#[inline(always)]
fn touch_heads(node: &Page, head: u64) -> u64 {
    let heads = node.heads();
    if heads.is_empty() {
        return 0;
    }
    let guess = guess(heads, head);
    heads[guess] + u64::from(node.slot(guess).offset)
}

/// The lines of the row that a find of the head ends at.
#[inline(always)]
fn touch_row(node: &Page, head: u64) -> u64 {
    let index = lower_bound(node.heads(), head);
    if index == node.count() {
        return 0;
    }
    let slot = node.slot(index);
    let start = slot.offset as usize;
    let end = start + slot.tail as usize + slot.word as usize;
    let lines = node.as_bytes()[start..end].iter().step_by(64).take(4);
    lines.fold(0, |sum, byte| sum + u64::from(*byte))
}
