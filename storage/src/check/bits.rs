//! A set of small numbers, one bit each.

#[derive(Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    count: usize,
}

impl Bits {
    pub(super) fn new(len: usize) -> Bits {
        Bits { words: vec![0; len.div_ceil(64)], count: 0 }
    }

    /// Whether it is in the set; what is beyond the end is not.
    pub(super) fn has(&self, at: usize) -> bool {
        self.words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Puts it into the set. `false`: it was there before, or is beyond the end.
    pub(super) fn set(&mut self, at: usize) -> bool {
        if self.has(at) {
            return false;
        }
        let Some(word) = self.words.get_mut(at / 64) else { return false };
        *word |= 1 << (at % 64);
        self.count += 1;
        true
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }
}
