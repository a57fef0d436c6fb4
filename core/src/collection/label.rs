//! Labels: what the elements of a spread list are found by. Bytes that sort as the elements stand.
//!
//! A label is a fraction: its first [`HEAD_BYTES`] bytes, big-endian, then as many more as it takes to be unlike its neighbours, the last of them
//! not zero. So labels sort as bytes as the fractions do. The first element of a list has the middle of the range, and who is put at an end goes
//! a step beyond it: there is room for 2^43 at each. Between two neighbours a label is as short as can be; where labels become too long the
//! list gives a window of neighbours new ones ([`crate::collection::list`]).

/// The bytes that every label has.
const HEAD_BYTES: usize = 8;

/// Between neighbours that were put at an end one after the other.
const STEP: u64 = 1 << 20;

/// The label of a list's first element.
const MIDDLE: u64 = 1 << 63;

/// A label in the middle of so much room: what numbers are computed with.
const WORDS: usize = 6;
const WIDE_BYTES: usize = 8 * WORDS;

/// A label as a number of [`WIDE_BYTES`] bytes, the highest word first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wide([u64; WORDS]);

impl Wide {
    const ZERO: Wide = Wide([0; WORDS]);
    const MAX: Wide = Wide([u64::MAX; WORDS]);

    fn of(label: &[u8]) -> Wide {
        let mut bytes = [0; WIDE_BYTES];
        let len = label.len().min(WIDE_BYTES);
        bytes[..len].copy_from_slice(&label[..len]);
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*bytes);
        }
        Wide(words)
    }

    fn bytes(self) -> [u8; WIDE_BYTES] {
        let mut bytes = [0; WIDE_BYTES];
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *chunk = word.to_be_bytes();
        }
        bytes
    }

    fn plus(self, other: Wide) -> Wide {
        let (mut words, mut carry) = ([0; WORDS], 0);
        for at in (0..WORDS).rev() {
            let sum = u128::from(self.0[at]) + u128::from(other.0[at]) + carry;
            (words[at], carry) = (sum as u64, sum >> 64);
        }
        Wide(words)
    }

    /// `self` is not less.
    fn minus(self, other: Wide) -> Wide {
        let (mut words, mut borrow) = ([0; WORDS], false);
        for at in (0..WORDS).rev() {
            let (part, first) = self.0[at].overflowing_sub(other.0[at]);
            let (part, second) = part.overflowing_sub(u64::from(borrow));
            (words[at], borrow) = (part, first || second);
        }
        Wide(words)
    }

    fn divided(self, by: u64) -> Wide {
        let (mut words, mut rest) = ([0; WORDS], 0u128);
        for (word, own) in words.iter_mut().zip(self.0) {
            let part = rest << 64 | u128::from(own);
            (*word, rest) = ((part / u128::from(by)) as u64, part % u128::from(by));
        }
        Wide(words)
    }

    /// Bytes before the first that is not zero.
    fn leading_zero_bytes(self) -> usize {
        self.bytes().iter().take_while(|byte| **byte == 0).count()
    }
}

/// The label of a list's first element.
pub fn first() -> Vec<u8> {
    MIDDLE.to_be_bytes().to_vec()
}

fn head(label: &[u8]) -> u64 {
    u64::from_be_bytes(*label.first_chunk::<HEAD_BYTES>().expect("a label has its first bytes"))
}

/// So many labels behind one, ascending.
pub fn behind(last: &[u8], count: usize) -> Vec<Vec<u8>> {
    let start = head(last);
    match STEP.checked_mul(count as u64).and_then(|room| start.checked_add(room)) {
        Some(_) => (1..=count as u64).map(|at| (start + at * STEP).to_be_bytes().to_vec()).collect(),
        None => between(Some(last), None, count),
    }
}

/// So many labels before one, ascending.
pub fn before(first: &[u8], count: usize) -> Vec<Vec<u8>> {
    let start = head(first);
    match STEP.checked_mul(count as u64).filter(|room| *room < start) {
        Some(_) => (1..=count as u64).rev().map(|at| (start - at * STEP).to_be_bytes().to_vec()).collect(),
        None => between(None, Some(first), count),
    }
}

/// So many labels between two, or an end and one, ascending: far from each other, and as short as that allows.
pub fn between(low: Option<&[u8]>, high: Option<&[u8]>, count: usize) -> Vec<Vec<u8>> {
    let low = low.map_or(Wide::ZERO, Wide::of);
    let high = high.map_or(Wide::MAX, Wide::of);
    assert!(low < high, "neighbours have different labels, in their order");
    let step = high.minus(low).divided(count as u64 + 1);
    // What is cut off is less than a step, so what is left is behind the one before.
    let len = (step.leading_zero_bytes() + 1 + 1).clamp(HEAD_BYTES, WIDE_BYTES);
    assert!(step > Wide::ZERO, "labels are much shorter than what is computed with");
    let mut at = low;
    let labels = (0..count).map(|_| {
        at = at.plus(step);
        let bytes = at.bytes();
        let end =
            bytes[HEAD_BYTES..len].iter().rposition(|byte| *byte != 0).map_or(HEAD_BYTES, |last| HEAD_BYTES + last + 1);
        bytes[..end].to_vec()
    });
    labels.collect()
}

/// Which of the steps from the middle a label is, for what is to be done once in a while.
pub fn step_of(label: &[u8]) -> u64 {
    head(label) / STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(low: Option<&[u8]>, high: Option<&[u8]>, count: usize) -> usize {
        let labels = between(low, high, count);
        assert_eq!(labels.len(), count);
        let all: Vec<&[u8]> = low.into_iter().chain(labels.iter().map(Vec::as_slice)).chain(high).collect();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{low:x?} {high:x?} {count}: {labels:x?}");
        assert!(
            labels
                .iter()
                .all(|label| label.len() == HEAD_BYTES || label.len() > HEAD_BYTES && label.last() != Some(&0))
        );
        labels.iter().map(Vec::len).max().unwrap_or(0)
    }

    #[test]
    fn ends_have_room_for_ever() {
        let start = first();
        assert_eq!(
            behind(&start, 2),
            [(MIDDLE + STEP).to_be_bytes().to_vec(), (MIDDLE + 2 * STEP).to_be_bytes().to_vec()]
        );
        assert_eq!(
            before(&start, 2),
            [(MIDDLE - 2 * STEP).to_be_bytes().to_vec(), (MIDDLE - STEP).to_be_bytes().to_vec()]
        );
        let (mut last, mut first) = ((u64::MAX - 3).to_be_bytes().to_vec(), 3u64.to_be_bytes().to_vec());
        for count in [1, 7, 100, 3] {
            let (more, less) = (behind(&last, count), before(&first, count));
            assert!(more[0] > last && less[count - 1] < first);
            assert!(more.is_sorted() && less.is_sorted());
            (last, first) = (more[count - 1].clone(), less[0].clone());
        }
    }

    #[test]
    fn labels_between_neighbours_are_in_order_and_short() {
        let (low, high) = (first(), behind(&first(), 1).remove(0));
        assert_eq!(check(Some(&low), Some(&high), 1), 8);
        assert_eq!(check(Some(&low), Some(&high), 1000), 8);
        let next = (MIDDLE + 1).to_be_bytes();
        assert_eq!(check(Some(&low), Some(&next), 1), 9);
        assert_eq!(check(Some(&low), Some(&next), 5000), 11);
        check(None, Some(&low), 3);
        check(Some(&low), None, 3);
        check(None, None, 100_000);
    }

    #[test]
    fn always_at_the_same_place_a_label_grows_by_a_byte_for_eight() {
        for is_low in [true, false] {
            let (mut low, mut high) = (first(), behind(&first(), 1).remove(0));
            for round in 0..200 {
                let label = between(Some(&low), Some(&high), 1).remove(0);
                assert!(low < label && label < high, "round {round}");
                assert!(label.len() <= HEAD_BYTES + 1 + round / 8, "round {round}: {}", label.len());
                if is_low { high = label } else { low = label }
            }
        }
    }
}
