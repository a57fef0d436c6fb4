//! Advice to the kernel about memory that the engine owns.

use rustix::mm::{Advice, madvise};

/// Huge pages are aligned to this, and nothing shorter can be one.
const HUGE_BYTES: usize = 2 * 1024 * 1024;

/// Asks for huge pages behind `items` (a chunk of the page pool): a tree descent then misses the address cache less.
/// Advice only: where the kernel does not follow it, everything works as before.
pub fn advise_huge<T>(items: &mut [T]) {
    let range = items.as_mut_ptr_range();
    let start = (range.start as usize).next_multiple_of(HUGE_BYTES);
    let end = range.end as usize / HUGE_BYTES * HUGE_BYTES;
    if start < end {
        // SAFETY: the range lies within `items`, which is borrowed uniquely; this advice does not change contents.
        let _ = unsafe { madvise(start as *mut _, end - start, Advice::LinuxHugepage) };
    }
}

#[cfg(test)]
mod tests {
    use super::{HUGE_BYTES, advise_huge};

    #[test]
    fn contents_stay() {
        let mut bytes = vec![7_u8; 3 * HUGE_BYTES];
        advise_huge(&mut bytes);
        advise_huge(&mut bytes[..10]);
        assert!(bytes.iter().all(|byte| *byte == 7));
    }
}
