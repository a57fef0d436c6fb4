//! Who listens: the connections of this core, and how many of each other core.
//!
//! Two things hold of every name between two commands of the core:
//!
//! - Each other core has been sent how many connections of this one have subscribed to it, in the order in which that changed.
//! - A name that nobody anywhere has subscribed to is not in the table.

use super::{CLASSES, Class, Publication};
use crate::event::ConnId;
use crate::glob;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};

/// Those who have subscribed to one name.
#[derive(Debug, Default)]
pub struct Audience {
    here: BTreeSet<ConnId>,
    /// Of other shards that have any, how many: ascending.
    elsewhere: Vec<(u16, u32)>,
}

impl Audience {
    /// The connections of this core.
    pub fn here(&self) -> &BTreeSet<ConnId> {
        &self.here
    }

    pub fn len(&self) -> u64 {
        self.here.len() as u64 + self.elsewhere.iter().map(|(_, count)| u64::from(*count)).sum::<u64>()
    }

    pub fn is_empty(&self) -> bool {
        self.here.is_empty() && self.elsewhere.is_empty()
    }

    /// The other shards that have any.
    pub fn shards(&self) -> impl Iterator<Item = u16> {
        self.elsewhere.iter().map(|(shard, _)| *shard)
    }

    fn set(&mut self, shard: u16, count: u32) {
        match (self.elsewhere.binary_search_by_key(&shard, |(shard, _)| *shard), count) {
            (Ok(at), 0) => drop(self.elsewhere.remove(at)),
            (Ok(at), count) => self.elsewhere[at].1 = count,
            (Err(_), 0) => {}
            (Err(at), count) => self.elsewhere.insert(at, (shard, count)),
        }
    }
}

/// All audiences that this core knows of.
#[derive(Debug, Default)]
pub struct Audiences {
    channels: HashMap<Vec<u8>, Audience>,
    sharded: HashMap<Vec<u8>, Audience>,
    /// In an order, for all of them are tried with every publication.
    patterns: BTreeMap<Vec<u8>, Audience>,
    /// Of keys, for client-side caching.
    prefixes: BTreeMap<Vec<u8>, Audience>,
}

impl Audiences {
    pub fn find(&self, class: Class, name: &[u8]) -> Option<&Audience> {
        match class {
            Class::Channel => self.channels.get(name),
            Class::Shard => self.sharded.get(name),
            Class::Pattern => self.patterns.get(name),
            Class::Prefix => self.prefixes.get(name),
        }
    }

    /// How many names of a class somebody has subscribed to.
    pub fn names_len(&self, class: Class) -> usize {
        match class {
            Class::Channel => self.channels.len(),
            Class::Shard => self.sharded.len(),
            Class::Pattern => self.patterns.len(),
            Class::Prefix => self.prefixes.len(),
        }
    }

    /// The names of channels that match, in their order.
    pub fn names(&self, is_sharded: bool, pattern: Option<&[u8]>) -> Vec<&[u8]> {
        let table = if is_sharded { &self.sharded } else { &self.channels };
        let names = table.keys().map(Vec::as_slice);
        let mut names: Vec<&[u8]> = names.filter(|name| pattern.is_none_or(|it| glob::is_match(it, name))).collect();
        names.sort_unstable();
        names
    }

    /// The patterns that a channel's name matches, each with who has subscribed to it.
    pub fn matching<'a>(&'a self, channel: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a Audience)> {
        let all = self.patterns.iter().map(|(pattern, audience)| (&pattern[..], audience));
        all.filter(move |(pattern, _)| glob::is_match(pattern, channel))
    }

    /// How many get it, on all cores. Who has subscribed to several patterns that match is counted as often.
    pub fn receivers(&self, is_sharded: bool, channel: &[u8]) -> u64 {
        let class = if is_sharded { Class::Shard } else { Class::Channel };
        let direct = self.find(class, channel).map_or(0, Audience::len);
        let by_pattern = if is_sharded { 0 } else { self.matching(channel).map(|(_, audience)| audience.len()).sum() };
        direct + by_pattern
    }

    /// The other shards that have somebody who gets it, none twice.
    pub fn shards_of(&self, publication: &Publication, shards: &mut Vec<u16>) {
        let class = if publication.is_sharded { Class::Shard } else { Class::Channel };
        shards.extend(self.find(class, &publication.channel).into_iter().flat_map(Audience::shards));
        if !publication.is_sharded {
            shards.extend(self.matching(&publication.channel).flat_map(|(_, audience)| audience.shards()));
        }
        shards.sort_unstable();
        shards.dedup();
    }

    /// A connection of this core has subscribed, or does so no longer. How many of this core have now.
    pub fn note_here(&mut self, class: Class, name: &[u8], conn: ConnId, is_on: bool) -> u32 {
        self.change(class, name, |audience| {
            if is_on {
                audience.here.insert(conn);
            } else {
                audience.here.remove(&conn);
            }
            audience.here.len() as u32
        })
    }

    /// Another shard has so many now.
    pub fn note_elsewhere(&mut self, class: Class, name: &[u8], shard: u16, count: u32) {
        self.change(class, name, |audience| audience.set(shard, count));
    }

    fn change<T>(&mut self, class: Class, name: &[u8], change: impl FnOnce(&mut Audience) -> T) -> T {
        let table = match class {
            Class::Channel => &mut self.channels,
            Class::Shard => &mut self.sharded,
            Class::Pattern => return change_sorted(&mut self.patterns, name, change),
            Class::Prefix => return change_sorted(&mut self.prefixes, name, change),
        };
        let audience = match table.get_mut(name) {
            Some(audience) => audience,
            None => table.entry(name.to_vec()).or_default(),
        };
        let changed = change(audience);
        if audience.is_empty() {
            table.remove(name);
        }
        changed
    }

    /// The prefixes of keys that connections of this core want to be told of, and which these are.
    pub fn prefixes_here(&self) -> Vec<(Vec<u8>, Vec<ConnId>)> {
        let here = self.prefixes.iter().filter(|(_, audience)| !audience.here.is_empty());
        here.map(|(prefix, audience)| (prefix.clone(), audience.here.iter().copied().collect())).collect()
    }

    /// The other shards that want to be told of prefixes, none twice.
    pub fn shards_of_prefixes(&self, is_meant: impl Fn(&[u8]) -> bool) -> BTreeSet<u16> {
        let meant = self.prefixes.iter().filter(|(prefix, _)| is_meant(prefix));
        meant.flat_map(|(_, audience)| audience.shards()).collect()
    }

    /// Names of all classes that somebody has subscribed to.
    pub fn is_empty(&self) -> bool {
        CLASSES.iter().all(|class| self.names_len(*class) == 0)
    }
}

fn change_sorted<T>(
    table: &mut BTreeMap<Vec<u8>, Audience>,
    name: &[u8],
    change: impl FnOnce(&mut Audience) -> T,
) -> T {
    let audience = table.entry(name.to_vec()).or_default();
    let changed = change(audience);
    if audience.is_empty() {
        table.remove(name);
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_storage::blob::Blob;

    #[test]
    fn receivers_are_counted_over_all_cores() {
        let mut audiences = Audiences::default();
        assert_eq!(audiences.note_here(Class::Channel, b"news", ConnId(1), true), 1);
        assert_eq!(audiences.note_here(Class::Channel, b"news", ConnId(1), true), 1, "once is enough");
        assert_eq!(audiences.note_here(Class::Channel, b"news", ConnId(2), true), 2);
        audiences.note_elsewhere(Class::Channel, b"news", 3, 5);
        audiences.note_elsewhere(Class::Pattern, b"n*", 1, 2);
        audiences.note_here(Class::Pattern, b"*s", ConnId(1), true);
        audiences.note_here(Class::Pattern, b"x*", ConnId(1), true);
        audiences.note_here(Class::Shard, b"news", ConnId(1), true);
        assert_eq!(audiences.receivers(false, b"news"), 2 + 5 + 2 + 1);
        assert_eq!(audiences.receivers(true, b"news"), 1);
        let publication = |is_sharded| Publication { is_sharded, channel: b"news".to_vec(), payload: Blob::default() };
        let mut shards = Vec::new();
        audiences.shards_of(&publication(false), &mut shards);
        assert_eq!(shards, [1, 3]);
        shards.clear();
        audiences.shards_of(&publication(true), &mut shards);
        assert!(shards.is_empty());
    }

    #[test]
    fn a_name_without_subscribers_is_forgotten() {
        let mut audiences = Audiences::default();
        for class in CLASSES {
            audiences.note_here(class, b"a", ConnId(1), true);
            audiences.note_elsewhere(class, b"a", 2, 1);
            assert_eq!(audiences.note_here(class, b"a", ConnId(1), false), 0);
            assert_eq!(audiences.names_len(class), 1);
            audiences.note_elsewhere(class, b"a", 2, 0);
            assert_eq!(audiences.names_len(class), 0);
            assert_eq!(audiences.note_here(class, b"a", ConnId(1), false), 0, "it has not subscribed");
        }
        assert!(audiences.is_empty());
    }

    #[test]
    fn channels_are_listed_in_their_order() {
        let mut audiences = Audiences::default();
        for name in [&b"b1"[..], b"a", b"b0", b""] {
            audiences.note_here(Class::Channel, name, ConnId(1), true);
        }
        audiences.note_elsewhere(Class::Shard, b"s", 1, 1);
        assert_eq!(audiences.names(false, None), [&b""[..], b"a", b"b0", b"b1"]);
        assert_eq!(audiences.names(false, Some(b"b?")), [&b"b0"[..], b"b1"]);
        assert_eq!(audiences.names(true, None), [b"s"]);
    }
}
