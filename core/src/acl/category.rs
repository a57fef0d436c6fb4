//! Categories of commands: what ACL CAT lists, and rules such as `+@read` name.
//!
//! A command is in those of its row of the table, and in those that follow from its flags.

use crate::command::{Flags, Spec};

/// Redis 7.2's, in its order. A set of categories has the bit `n` for number `n`.
pub const NAMES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// A set of categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Categories(u32);

impl Categories {
    /// The category of that name, in any case.
    pub fn named(name: &[u8]) -> Option<Categories> {
        let number = NAMES.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(name))?;
        Some(Categories(1 << number))
    }

    /// Those of a command.
    pub fn of(spec: &Spec) -> Categories {
        let flags = spec.flags;
        let mut set = Categories::default();
        for name in spec.categories.split_whitespace() {
            set.add(name);
        }
        // What a script does it does by the commands that it calls.
        let is_script = set.meet(Categories::named(b"scripting").unwrap_or_default());
        let implied = [
            (flags.has(Flags::WRITE), "write"),
            (flags.has(Flags::READONLY) && !is_script, "read"),
            (flags.has(Flags::ADMIN), "admin"),
            (flags.has(Flags::ADMIN), "dangerous"),
            (flags.has(Flags::PUBSUB), "pubsub"),
            (flags.has(Flags::BLOCKING), "blocking"),
            (flags.has(Flags::FAST), "fast"),
            (!flags.has(Flags::FAST), "slow"),
        ];
        implied.iter().filter(|(is_in, _)| *is_in).for_each(|(_, name)| set.add(name));
        set
    }

    fn add(&mut self, name: &str) {
        self.0 |= Categories::named(name.as_bytes()).expect("a row names categories that there are").0;
    }

    /// Whether both have one in common.
    pub fn meet(self, other: Categories) -> bool {
        self.0 & other.0 != 0
    }

    /// In Redis's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(number, _)| self.0 & 1 << number != 0).map(|(_, name)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    #[test]
    fn every_row_names_categories_that_there_are() {
        for spec in table::commands().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands)) {
            let categories: Vec<&str> = Categories::of(spec).names().collect();
            assert!(categories.contains(&"fast") != categories.contains(&"slow"), "{}", spec.name);
        }
        assert_eq!(Categories::named(b"nosuch"), None);
    }

    #[test]
    fn categories_follow_from_flags() {
        let of = |name: &[u8]| Categories::of(table::find(name).unwrap()).names().collect::<Vec<_>>().join(" ");
        assert_eq!(of(b"get"), "read string fast");
        assert_eq!(of(b"config|set"), "admin slow dangerous");
        assert_eq!(of(b"eval_ro"), "slow scripting");
    }
}
