//! The orders of elements: bytes that sort as a kind wants its elements, of at least [`ORDER_BYTES_MIN`] bytes.

use cairn_storage::engine::elements::ORDER_BYTES_MIN;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Where nobody sees the order (hashes, sets, the members of sorted sets): the beginning of the member's hash, then the member. `seed` is the data
/// directory's own.
#[inline]
pub fn of_member(member: &[u8], seed: u64) -> Vec<u8> {
    let mut order = Vec::with_capacity(ORDER_BYTES_MIN + member.len());
    order.extend_from_slice(&hash_of(member, seed).to_be_bytes()[..ORDER_BYTES_MIN]);
    order.extend_from_slice(member);
    order
}

/// Where a member stands among others: those of one place by their bytes.
pub fn place_of(member: &[u8], seed: u64) -> u64 {
    hash_of(member, seed) >> (64 - 8 * ORDER_BYTES_MIN)
}

/// What places and the filters of lists are computed from.
#[inline]
pub fn hash_of(member: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(member, seed)
}

/// The places that [`of_member`] has: a SCAN's cursor is one of them, and members of one place are answered together.
pub const PLACES: u64 = 1 << (8 * ORDER_BYTES_MIN);

/// The beginning of all orders of this place.
pub fn of_place(place: u64) -> [u8; ORDER_BYTES_MIN] {
    let [.., a, b, c] = place.to_be_bytes();
    [a, b, c]
}

/// By score, then by member: a sorted set. Not a number has no place.
pub fn of_score(score: f64, member: &[u8]) -> Vec<u8> {
    let mut order = Vec::with_capacity(8 + member.len());
    order.extend_from_slice(&score_bytes(score));
    order.extend_from_slice(member);
    order
}

/// Bytes that sort as the scores do; -0 is 0.
pub fn score_bytes(score: f64) -> [u8; 8] {
    let bits = (score + 0.0).to_bits();
    let sortable = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    sortable.to_be_bytes()
}

/// The score that has these bytes.
pub fn score_of(bytes: [u8; 8]) -> f64 {
    let sortable = u64::from_be_bytes(bytes);
    f64::from_bits(if sortable >> 63 == 1 { sortable & !(1 << 63) } else { !sortable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_sort_as_their_bytes_and_read_back() {
        let scores =
            [f64::NEG_INFINITY, f64::MIN, -1.5, -f64::MIN_POSITIVE, 0.0, 5e-324, 1.0, 1.5, f64::MAX, f64::INFINITY];
        assert!(scores.windows(2).all(|pair| score_bytes(pair[0]) < score_bytes(pair[1])));
        assert!(scores.iter().all(|score| score_of(score_bytes(*score)) == *score));
        assert_eq!(score_bytes(-0.0), score_bytes(0.0));
        assert!(of_score(1.0, b"b") < of_score(1.0, b"ba") && of_score(1.0, b"z") < of_score(2.0, b"a"));
    }

    #[test]
    fn a_place_is_the_beginning_of_its_orders() {
        let order = of_member(b"member", 7);
        let place = u64::from_be_bytes([0, 0, 0, 0, 0, order[0], order[1], order[2]]);
        assert_eq!(of_place(place), order[..3]);
        assert!(place < PLACES && &order[3..] == b"member" && place == place_of(b"member", 7));
    }
}
