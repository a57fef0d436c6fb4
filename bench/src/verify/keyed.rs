//! What was recorded, by the key that it is of.

/// Entries of each key, in the order in which they came. Keys are small numbers: memory goes by the largest.
#[derive(Debug)]
pub struct Keyed<T> {
    keys: Vec<Vec<T>>,
}

impl<T> Default for Keyed<T> {
    fn default() -> Keyed<T> {
        Keyed { keys: Vec::new() }
    }
}

impl<T> Keyed<T> {
    pub fn push(&mut self, key: u32, entry: T) {
        let keys = self.keys.len().max(key as usize + 1);
        self.keys.resize_with(keys, Vec::new);
        self.keys[key as usize].push(entry);
    }

    /// Each key with its entries.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[T])> {
        self.keys.iter().map(Vec::as_slice).enumerate()
    }

    /// Entries of all keys.
    pub fn len(&self) -> usize {
        self.keys.iter().map(Vec::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
