//! Databases as a whole: those that a command empties, or that change places.

use cairn_storage::limits::DATABASES;

/// A set of databases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Databases(u32);

const _: () = assert!(DATABASES <= u32::BITS as usize);

impl Databases {
    pub const NONE: Databases = Databases(0);

    pub const fn of(db: u8) -> Databases {
        Databases(1 << db)
    }

    /// The first so many.
    pub const fn first(count: u8) -> Databases {
        Databases((1 << count) - 1)
    }

    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub const fn has(self, db: u8) -> bool {
        self.0 >> db & 1 == 1
    }

    pub const fn and(self, others: Databases) -> Databases {
        Databases(self.0 | others.0)
    }

    /// Those that are not among the others.
    pub const fn without(self, others: Databases) -> Databases {
        Databases(self.0 & !others.0)
    }

    pub const fn meets(self, others: Databases) -> bool {
        self.0 & others.0 != 0
    }

    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..DATABASES as u8).filter(move |db| self.has(*db))
    }
}

#[cfg(test)]
mod tests {
    use super::Databases;

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let set = Databases::of(3).and(Databases::of(16));
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 16]);
        assert!(set.has(3) && !set.has(4) && !set.is_empty() && Databases::NONE.is_empty());
        assert!(set.meets(Databases::first(4)) && !set.meets(Databases::first(3)));
        assert_eq!(set.without(Databases::first(4)), Databases::of(16));
        assert_eq!(Databases::first(16).iter().count(), 16);
    }
}
