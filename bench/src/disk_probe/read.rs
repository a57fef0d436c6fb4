//! Owns which reads are measured: of random pages, as a tree reads what is not in memory.

use cairn_net::disk_probe::Transfer;

use super::measure::Case;

const KIB: usize = 1 << 10;

/// Sizes of a page.
pub const SIZES: [usize; 3] = [4 * KIB, 8 * KIB, 16 * KIB];
/// Reads in flight.
pub const DEPTHS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// The measurements in order: by size, depth.
pub fn cases(is_quick: bool) -> Vec<Case> {
    let depths = if is_quick { &[1, 8, 64][..] } else { &DEPTHS[..] };
    let of_size = |&bytes: &usize| depths.iter().map(move |&depth| Case { transfer: Transfer::Read, bytes, depth });
    SIZES.iter().flat_map(of_size).collect()
}
