//! Owns which flushes are measured: as the log makes them, against the same with `fdatasync`.

use cairn_net::disk_probe::Transfer;

use super::measure::Case;

const KIB: usize = 1 << 10;

/// Bytes of a flush: one block, and what group commit makes of many commits.
pub const SIZES: [usize; 4] = [4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB];
/// Flushes in flight.
pub const DEPTHS: [usize; 4] = [1, 2, 4, 8];

/// The measurements in order: by method, size, depth.
pub fn cases(is_quick: bool) -> Vec<Case> {
    let (sizes, depths) = if is_quick { (&SIZES[..3], &[1, 4][..]) } else { (&SIZES[..], &DEPTHS[..]) };
    let mut cases = Vec::new();
    for transfer in [Transfer::WriteDsync, Transfer::WriteThenSync] {
        // A quick look compares the methods at the size that matters most.
        let sizes = if is_quick && transfer == Transfer::WriteThenSync { &sizes[..1] } else { sizes };
        for &bytes in sizes {
            cases.extend(depths.iter().map(|&depth| Case { transfer, bytes, depth }));
        }
    }
    cases
}
