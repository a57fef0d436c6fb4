//! Spaces: the numbers by which the tree of deadlines knows the rows of databases, so that two databases can change places without
//! a look at their deadlines. A superblock has them.

use crate::limits::DATABASES;

/// The space of each database: one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spaces([u8; DATABASES]);

impl Default for Spaces {
    fn default() -> Spaces {
        Spaces(std::array::from_fn(|db| db as u8))
    }
}

impl Spaces {
    /// `None` if they are not one for each database.
    pub fn from_bytes(bytes: [u8; DATABASES]) -> Option<Spaces> {
        let is_whole = (0..DATABASES).all(|space| bytes.contains(&(space as u8)));
        is_whole.then_some(Spaces(bytes))
    }

    pub fn as_bytes(&self) -> &[u8; DATABASES] {
        &self.0
    }

    #[inline]
    pub fn of(&self, db: u8) -> u8 {
        self.0[usize::from(db)]
    }

    pub fn database(&self, space: u8) -> u8 {
        self.0.iter().position(|known| *known == space).expect("each database has a space") as u8
    }

    pub fn swap(&mut self, one: u8, other: u8) {
        self.0.swap(usize::from(one), usize::from(other));
    }
}

#[cfg(test)]
mod tests {
    use super::Spaces;
    use crate::limits::DATABASES;

    #[test]
    fn each_database_has_one_space() {
        let mut spaces = Spaces::default();
        spaces.swap(0, 3);
        spaces.swap(3, 5);
        assert_eq!([0, 3, 5, 7].map(|db| spaces.of(db)), [3, 5, 0, 7]);
        assert!((0..DATABASES as u8).all(|db| spaces.database(spaces.of(db)) == db));
        assert_eq!(Spaces::from_bytes(*spaces.as_bytes()), Some(spaces));
        let mut bytes = *spaces.as_bytes();
        bytes[0] = 5;
        assert_eq!(Spaces::from_bytes(bytes), None);
    }
}
