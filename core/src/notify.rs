//! Keyspace notifications: what `notify-keyspace-events` asks for. How a command tells what it has done: [`crate::shard::Shard::notify`].

use std::borrow::Cow;

/// Classes of events, and in which of two forms they are told. Redis's letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u32);

impl Events {
    pub const NONE: Events = Events(0);
    /// `K`: the event is told to who listens to the key.
    pub const KEYSPACE: Events = Events(1);
    /// `E`: the key is told to who listens to the event.
    pub const KEYEVENT: Events = Events(1 << 1);
    pub const GENERIC: Events = Events(1 << 2);
    pub const STRING: Events = Events(1 << 3);
    pub const LIST: Events = Events(1 << 4);
    pub const SET: Events = Events(1 << 5);
    pub const HASH: Events = Events(1 << 6);
    pub const ZSET: Events = Events(1 << 7);
    pub const EXPIRED: Events = Events(1 << 8);
    pub const EVICTED: Events = Events(1 << 9);
    pub const STREAM: Events = Events(1 << 10);
    pub const MISS: Events = Events(1 << 11);
    pub const MODULE: Events = Events(1 << 12);
    pub const NEW: Events = Events(1 << 13);
    /// `A`: all but misses and new keys.
    pub const ALL: Events = Events(0b1_0111_1111 << 2 | 1 << 9 | 1 << 10 | 1 << 12);

    #[inline]
    pub const fn has_any(self, other: Events) -> bool {
        self.0 & other.0 != 0
    }

    const fn has_all(self, other: Events) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is to be noted: nothing if it would be told in no form.
    pub fn effective(self) -> Events {
        let is_told = self.has_any(Events::KEYSPACE) || self.has_any(Events::KEYEVENT);
        if is_told { self } else { Events::NONE }
    }

    pub fn parse(letters: &str) -> Result<Events, Cow<'static, str>> {
        let mut events = Events::NONE;
        for letter in letters.chars() {
            let known = LETTERS.iter().find(|(known, _)| *known == letter).map(|(_, bits)| *bits);
            let bits = if letter == 'A' { Some(Events::ALL) } else { known };
            events.0 |= bits.ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?.0;
        }
        Ok(events)
    }

    /// As CONFIG GET shows it: in Redis's order, where `A` hides `n`.
    pub fn show(self) -> String {
        let is_all = self.has_all(Events::ALL);
        let head = if is_all { "A" } else { "" };
        let shown = LETTERS.iter().filter(|(letter, bits)| {
            let is_class = !matches!(letter, 'K' | 'E' | 'm');
            self.has_any(*bits) && !(is_all && is_class)
        });
        head.chars().chain(shown.map(|(letter, _)| *letter)).collect()
    }
}

const LETTERS: [(char, Events); 14] = [
    ('g', Events::GENERIC),
    ('$', Events::STRING),
    ('l', Events::LIST),
    ('s', Events::SET),
    ('h', Events::HASH),
    ('z', Events::ZSET),
    ('x', Events::EXPIRED),
    ('e', Events::EVICTED),
    ('t', Events::STREAM),
    ('d', Events::MODULE),
    ('n', Events::NEW),
    ('K', Events::KEYSPACE),
    ('E', Events::KEYEVENT),
    ('m', Events::MISS),
];

/// What commands on rows are that a shard is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Voice {
    /// A client's own.
    #[default]
    Plain,
    /// Parts of RENAME over several shards: the row is set here, and deleted there.
    Renames,
    /// A part of COPY.
    Copies,
    /// The server's own: nobody hears of them.
    Silent,
}

impl Voice {
    /// What an event is called.
    pub fn name(self, class: Events, event: &'static str) -> Option<(Events, &'static str)> {
        match (self, event) {
            (Voice::Plain, _) | (Voice::Renames | Voice::Copies, "new") => Some((class, event)),
            (Voice::Renames, "del") => Some((Events::GENERIC, "rename_from")),
            (Voice::Renames, "set" | "restore") => Some((Events::GENERIC, "rename_to")),
            (Voice::Copies, "set" | "restore") => Some((Events::GENERIC, "copy_to")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_shown_as_redis_shows_them() {
        // Each compared with redis-server 7.0.15.
        for (set, shown) in [
            ("AKE", "AKE"),
            ("AKEn", "AKE"),
            ("KEA", "AKE"),
            ("g$K", "g$K"),
            ("En", "nE"),
            ("Km", "Km"),
            ("AKEmn", "AKEm"),
            ("KEd", "dKE"),
            ("Elshzxetm", "lshzxetEm"),
            ("gg", "g"),
            ("", ""),
            ("x", "x"),
            ("g$lshzxetdK", "AK"),
        ] {
            let events = Events::parse(set).unwrap();
            assert_eq!(events.show(), shown, "{set}");
        }
        let text = "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
        assert_eq!(Events::parse("q").unwrap_err(), text);
        assert_eq!(Events::parse("K q").unwrap_err(), text);
    }

    #[test]
    fn all_are_all_but_misses_and_new_keys() {
        let all = Events::parse("g$lshzxetd").unwrap();
        assert_eq!(all, Events::ALL);
        assert!(!Events::ALL.has_any(Events::MISS) && !Events::ALL.has_any(Events::NEW));
        assert!(!Events::ALL.has_any(Events::KEYSPACE) && !Events::ALL.has_any(Events::KEYEVENT));
    }

    #[test]
    fn without_a_form_nothing_is_noted() {
        assert_eq!(Events::parse("A").unwrap().effective(), Events::NONE);
        assert!(Events::parse("AE").unwrap().effective().has_any(Events::GENERIC));
    }
}
