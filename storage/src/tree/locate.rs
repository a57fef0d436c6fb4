//! Which keys a page is for, by what the branches in memory say: to tell an operator what is behind damage. Rare, and
//! proportional to the branches in memory.

use super::Tree;
use crate::pool::Pool;
use crate::units::PageId;

/// Heads of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadRange {
    pub low: u64,
    /// Of the first key behind; `None`: it goes on to the end of the tree.
    pub high: Option<u64>,
}

impl Tree {
    /// The heads of the keys that a page stands for; `None` if it is not of this tree, or nothing in memory leads to it.
    pub fn locate(&self, pool: &Pool, page: PageId) -> Option<HeadRange> {
        let everything = HeadRange { low: 0, high: None };
        let mut stack = Vec::from_iter((self.levels > 0).then_some((self.root, self.levels, everything)));
        // More than there are would be the same ones again.
        let mut left = self.pages;
        while let Some((at, levels, range)) = stack.pop() {
            if at == page {
                return Some(range);
            }
            let Some(branch) = pool.peek(at).filter(|_| levels > 1) else { continue };
            left = left.checked_sub(1)?;
            for index in 0..branch.count() {
                let low = if index == 0 { range.low } else { branch.heads()[index] };
                let high = branch.heads().get(index + 1).copied().or(range.high);
                let child = HeadRange { low, high };
                match branch.child(index) {
                    found if found == page => return Some(child),
                    below if levels > 2 => stack.push((below, levels - 1, child)),
                    _ => {}
                }
            }
        }
        None
    }
}
