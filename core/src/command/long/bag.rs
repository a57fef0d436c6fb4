//! Many short texts, each with a number, in one place; and an order of them that is made piece by piece.

use std::cmp::Ordering;

/// Texts and numbers. It grows, and goes, by parts: neither takes long at any time.
#[derive(Debug, Default)]
pub struct Bag {
    parts: Vec<Part>,
}

#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    /// Where each one ends, and its number.
    ends: Vec<(usize, f64)>,
}

/// Texts of a part. All parts but the last one have so many.
const PART_TEXTS: usize = 4096;

impl Bag {
    pub fn len(&self) -> usize {
        let last = self.parts.last().map_or(0, |part| part.ends.len());
        self.parts.len().saturating_sub(1) * PART_TEXTS + last
    }

    /// Bytes of all texts.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub fn push(&mut self, text: &[u8], number: f64) {
        if self.parts.last().is_none_or(|part| part.ends.len() == PART_TEXTS) {
            self.parts.push(Part::default());
        }
        let part = self.parts.last_mut().expect("there is one by now");
        part.bytes.extend_from_slice(text);
        part.ends.push((part.bytes.len(), number));
    }

    /// The text and the number that were put in after `at` others.
    pub fn get(&self, at: usize) -> (&[u8], f64) {
        let (part, at) = (&self.parts[at / PART_TEXTS], at % PART_TEXTS);
        let start = if at == 0 { 0 } else { part.ends[at - 1].0 };
        let (end, number) = part.ends[at];
        (&part.bytes[start..end], number)
    }

    pub fn set_number(&mut self, at: usize, number: f64) {
        self.parts[at / PART_TEXTS].ends[at % PART_TEXTS].1 = number;
    }

    pub fn text(&self, at: usize) -> &[u8] {
        self.get(at).0
    }

    pub fn texts(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|at| self.text(at))
    }

    /// Takes out all but the first so many.
    pub fn truncate(&mut self, len: usize) {
        self.parts.truncate(len.div_ceil(PART_TEXTS));
        if let Some(part) = self.parts.last_mut().filter(|_| !len.is_multiple_of(PART_TEXTS)) {
            part.ends.truncate(len % PART_TEXTS);
            part.bytes.truncate(part.ends.last().map_or(0, |(end, _)| *end));
        }
    }

    pub fn clear(&mut self) {
        self.parts.clear();
    }
}

/// Puts numbers in order: in runs, each sorted by itself, which are then merged. What is equal stays in the order of its numbers.
#[derive(Debug, Default)]
pub struct Runs {
    /// All numbers, run behind run.
    numbers: Vec<u32>,
    /// Of each run: its next number's place, and its end. While they are merged a heap, that with the least number first.
    runs: Vec<(usize, usize)>,
    is_heap: bool,
}

impl Runs {
    /// A run of the numbers from the last one's end up to `end`.
    pub fn push(&mut self, end: usize, mut order: impl FnMut(usize, usize) -> Ordering) {
        let start = self.numbers.len();
        self.numbers.extend(start as u32..end as u32);
        self.numbers[start..].sort_by(|one, other| order(*one as usize, *other as usize));
        self.runs.push((start, end));
    }

    /// The least of the numbers that are left; there is one.
    pub fn next(&mut self, mut order: impl FnMut(usize, usize) -> Ordering) -> usize {
        let numbers = &self.numbers;
        let mut is_before = |one: (usize, usize), other: (usize, usize)| {
            let (one, other) = (numbers[one.0], numbers[other.0]);
            order(one as usize, other as usize).then(one.cmp(&other)).is_lt()
        };
        if !std::mem::replace(&mut self.is_heap, true) {
            self.runs.retain(|(start, end)| start < end);
            (0..self.runs.len() / 2).rev().for_each(|at| sink(&mut self.runs, at, &mut is_before));
        }
        let (at, end) = self.runs[0];
        match at + 1 < end {
            true => self.runs[0].0 += 1,
            false => drop(self.runs.swap_remove(0)),
        }
        sink(&mut self.runs, 0, &mut is_before);
        numbers[at] as usize
    }
}

/// Moves an element of a heap down to where it belongs.
fn sink<T: Copy>(heap: &mut [T], mut at: usize, is_before: &mut impl FnMut(T, T) -> bool) {
    loop {
        let mut least = at;
        for child in [2 * at + 1, 2 * at + 2] {
            if child < heap.len() && is_before(heap[child], heap[least]) {
                least = child;
            }
        }
        if least == at {
            return;
        }
        heap.swap(at, least);
        at = least;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bag_gives_back_what_was_put_in() {
        let mut bag = Bag::default();
        for (text, number) in [("", 1.0), ("abc", -2.5), ("", 0.0), ("d", 7.0)] {
            bag.push(text.as_bytes(), number);
        }
        assert_eq!((bag.len(), bag.get(0), bag.get(1)), (4, (&b""[..], 1.0), (&b"abc"[..], -2.5)));
        assert_eq!(bag.texts().collect::<Vec<_>>(), [&b""[..], b"abc", b"", b"d"]);
        for at in 4..2 * PART_TEXTS + 2 {
            bag.push(at.to_string().as_bytes(), 0.0);
            bag.set_number(at, at as f64);
            assert_eq!(bag.len(), at + 1);
        }
        for at in [4, PART_TEXTS - 1, PART_TEXTS, PART_TEXTS + 1, 2 * PART_TEXTS + 1] {
            assert_eq!(bag.get(at), (at.to_string().as_bytes(), at as f64));
        }
        for len in [2 * PART_TEXTS + 2, 2 * PART_TEXTS, 2 * PART_TEXTS - 1, PART_TEXTS + 1, PART_TEXTS, 4, 0] {
            bag.truncate(len);
            assert_eq!((bag.len(), bag.is_empty()), (len, len == 0));
            if len > 4 {
                assert_eq!(bag.get(len - 1), ((len - 1).to_string().as_bytes(), (len - 1) as f64));
            }
        }
    }

    #[test]
    fn runs_are_merged_as_one_stable_sort_would_have_it() {
        let mut state = 7_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..200 {
            let values: Vec<usize> = (0..random(200)).map(|_| random(20)).collect();
            let order = |one: usize, other: usize| values[one].cmp(&values[other]);
            let mut runs = Runs::default();
            let mut end = 0;
            while end < values.len() {
                end = (end + random(9)).min(values.len());
                runs.push(end, order);
            }
            let merged: Vec<usize> = values.iter().map(|_| runs.next(order)).collect();
            let mut expect: Vec<usize> = (0..values.len()).collect();
            expect.sort_by_key(|at| values[*at]);
            assert_eq!(merged, expect);
        }
    }
}
