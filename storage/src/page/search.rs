//! Searching a sorted array of heads: the inner loop of every command.

use core::hint::select_unpredictable;

/// How many of `heads` are below `head`. No branch depends on the data: a mispredicted one costs more than the
/// whole search.
#[inline(always)]
pub(crate) fn lower_bound(heads: &[u64], head: u64) -> usize {
    let mut base = 0;
    let mut len = heads.len();
    if len == 0 {
        return 0;
    }
    while len > 1 {
        let half = len / 2;
        base = select_unpredictable(heads[base + half - 1] < head, base + half, base);
        len -= half;
    }
    base + usize::from(heads[base] < head)
}

/// About where `head` stands in `heads`, if they are spread evenly between the first and the last.
#[inline(always)]
pub(crate) fn guess(heads: &[u64], head: u64) -> usize {
    let (Some(&first), Some(&last)) = (heads.first(), heads.last()) else { return 0 };
    if head <= first || last <= first {
        return 0;
    }
    let ratio = (head - first) as f64 / (last - first) as f64;
    ((ratio * (heads.len() - 1) as f64) as usize).min(heads.len() - 1)
}
