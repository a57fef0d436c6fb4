//! Spaces: the numbers by which the tree of deadlines knows the trees of rows, so that two databases can change places without
//! a look at their deadlines. A superblock has them.

use crate::limits::TREES;

/// The space of each tree of rows: one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spaces([u8; TREES]);

impl Default for Spaces {
    fn default() -> Spaces {
        Spaces(std::array::from_fn(|db| db as u8))
    }
}

impl Spaces {
    /// Those of the first trees; the others have their own number. `None` if two have the same.
    pub fn from_bytes(bytes: &[u8]) -> Option<Spaces> {
        let mut spaces = Spaces::default();
        spaces.0.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let is_whole = (0..TREES).all(|space| spaces.0.contains(&(space as u8)));
        is_whole.then_some(spaces)
    }

    pub fn as_bytes(&self) -> &[u8; TREES] {
        &self.0
    }

    #[inline]
    pub fn of(&self, db: u8) -> u8 {
        self.0[usize::from(db)]
    }

    pub fn database(&self, space: u8) -> u8 {
        self.0.iter().position(|known| *known == space).expect("each tree has a space") as u8
    }

    pub fn swap(&mut self, one: u8, other: u8) {
        self.0.swap(usize::from(one), usize::from(other));
    }
}

#[cfg(test)]
mod tests {
    use super::Spaces;
    use crate::limits::TREES;

    #[test]
    fn each_database_has_one_space() {
        let mut spaces = Spaces::default();
        spaces.swap(0, 3);
        spaces.swap(3, 5);
        assert_eq!([0, 3, 5, 7].map(|db| spaces.of(db)), [3, 5, 0, 7]);
        assert!((0..TREES as u8).all(|db| spaces.database(spaces.of(db)) == db));
        assert_eq!(Spaces::from_bytes(spaces.as_bytes()), Some(spaces));
        let mut bytes = *spaces.as_bytes();
        bytes[0] = 5;
        assert_eq!(Spaces::from_bytes(&bytes), None);
        assert_eq!(Spaces::from_bytes(&[1, 0]).map(|spaces| [0, 1, 2].map(|db| spaces.of(db))), Some([1, 0, 2]));
    }
}
