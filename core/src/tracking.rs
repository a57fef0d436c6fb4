//! Client-side caching: what a connection wants to be told (CLIENT TRACKING), and which connections have read which keys.
//!
//! The shard that owns a key has the connections that may have it in their caches, of all cores ([`Tracked`]). A connection is noted before
//! its command is run, so what is told of the key from then on stands behind the command's reply. Keys are those of all databases, as in Redis.
//! `docs/decisions/0033-client-side-caching.md`.

use crate::event::ConnId;
use crate::limits::{TRACKERS_PER_KEY_MAX, TRACKING_CHANNEL};
use crate::resp::encode::Reply;
use cairn_storage::units::ShardId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// A connection, on whatever core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tracker {
    /// CLIENT ID.
    pub client: u64,
    /// That of its core.
    pub shard: ShardId,
    pub conn: ConnId,
}

/// Keys that are no longer what they were; `None`: all of them.
pub type Invalid = Option<Arc<[Vec<u8>]>>;

/// Changed keys and who has changed each, 0 if that was nobody or several.
pub type Changes = BTreeMap<Vec<u8>, u64>;

/// What a connection has asked for.
#[derive(Clone, Debug, Default)]
pub struct Tracking {
    /// Who is told in its place.
    pub redirect: Option<Tracker>,
    /// It is told of all keys that begin with one of `prefixes`, whatever it has read.
    pub is_broadcast: bool,
    pub is_opt_in: bool,
    pub is_opt_out: bool,
    /// It is not told of what it has changed itself.
    pub is_no_loop: bool,
    /// CLIENT CACHING was said: the next command is the exception.
    pub is_caching: bool,
    /// Who was to be told is gone.
    pub is_broken: bool,
    pub prefixes: BTreeSet<Vec<u8>>,
}

impl Tracking {
    /// Is what it reads now noted?
    pub fn notes_reads(&self) -> bool {
        !self.is_broadcast && (!self.is_opt_in || self.is_caching) && (!self.is_opt_out || !self.is_caching)
    }

    /// As CLIENT TRACKINGINFO shows it.
    pub fn flags(&self) -> Vec<&'static str> {
        let all = [
            (true, "on"),
            (self.is_broadcast, "bcast"),
            (self.is_opt_in, "optin"),
            (self.is_opt_in && self.is_caching, "caching-yes"),
            (self.is_opt_out, "optout"),
            (self.is_opt_out && self.is_caching, "caching-no"),
            (self.is_no_loop, "noloop"),
            (self.is_broken, "broken_redirect"),
        ];
        all.iter().filter(|(holds, _)| *holds).map(|(_, name)| *name).collect()
    }
}

/// The keys of one shard that somebody may have in a cache, and who.
#[derive(Debug, Default)]
pub struct Tracked {
    keys: BTreeMap<Vec<u8>, Vec<Tracker>>,
    /// Connections, counted once for each of their keys.
    items: usize,
    /// `tracking-table-max-keys`, this shard's share; 0: no limit.
    keys_max: usize,
    /// Where the search for a key to give up goes on.
    hand: Vec<u8>,
    /// Somebody on any core wants to be told of keys by prefix.
    has_prefixes: bool,
    /// Connections of this core that want to be told anything.
    trackers: usize,
    is_on: bool,
}

impl Tracked {
    /// Whether anybody may have to be told of a change.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether somebody is to be told that this key has changed.
    pub fn concerns(&self, key: &[u8]) -> bool {
        self.has_prefixes || self.has(key)
    }

    /// Whether somebody may have this key in a cache, having read it.
    pub fn has(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }

    pub fn keys_len(&self) -> usize {
        self.keys.len()
    }

    pub fn items_len(&self) -> usize {
        self.items
    }

    pub fn set_prefixes(&mut self, has_prefixes: bool) {
        self.has_prefixes = has_prefixes;
        self.look();
    }

    pub fn set_trackers(&mut self, trackers: usize) {
        self.trackers = trackers;
        self.look();
    }

    /// `tracking-table-max-keys` of all shards together.
    pub fn configure(&mut self, keys_max: u64, shards: u16) {
        self.keys_max = usize::try_from(keys_max.div_ceil(u64::from(shards))).unwrap_or(usize::MAX);
    }

    fn look(&mut self) {
        self.is_on = !self.keys.is_empty() || self.has_prefixes || self.trackers > 0;
    }

    /// A connection may have the key in its cache from now on. What is answered is given up for it: nobody may, any more.
    #[must_use]
    pub fn note(&mut self, key: &[u8], tracker: Tracker) -> Vec<Tracker> {
        let mut given_up = Vec::new();
        let trackers = match self.keys.get_mut(key) {
            Some(trackers) => trackers,
            None => self.keys.entry(key.to_vec()).or_default(),
        };
        if let Err(at) = trackers.binary_search(&tracker) {
            if trackers.len() >= TRACKERS_PER_KEY_MAX {
                self.items -= trackers.len();
                given_up = std::mem::take(trackers);
                trackers.push(tracker);
            } else {
                trackers.insert(at, tracker);
            }
            self.items += 1;
        }
        self.look();
        given_up
    }

    /// A key has changed: who has to be told. They do not have it any more.
    pub fn take(&mut self, key: &[u8]) -> Vec<Tracker> {
        let trackers = self.keys.remove(key).unwrap_or_default();
        self.items -= trackers.len();
        self.look();
        trackers
    }

    /// A key that is more than may be kept, the keys being taken in turn.
    pub fn excess(&mut self) -> Option<Vec<u8>> {
        if self.keys_max == 0 || self.keys.len() <= self.keys_max {
            return None;
        }
        let behind = (Bound::Excluded(&self.hand[..]), Bound::Unbounded);
        let next = self.keys.range::<[u8], _>(behind).next().or_else(|| self.keys.iter().next());
        let key = next.map(|(key, _)| key.clone());
        self.hand.clone_from(key.as_ref()?);
        key
    }

    /// Connections of this shard's core have been told that all keys have changed.
    pub fn forget_own(&mut self, shard: ShardId) {
        let mut items = 0;
        self.keys.retain(|_, trackers| {
            trackers.retain(|tracker| tracker.shard != shard);
            items += trackers.len();
            !trackers.is_empty()
        });
        self.items = items;
        self.look();
    }
}

/// What a connection is told: a push, or, in RESP2, a message to whom it has itself redirected to.
pub fn invalidation(reply: &mut Reply<'_>, keys: &Invalid) {
    if reply.is_resp3 {
        reply.push(2);
        reply.bulk(b"invalidate");
    } else {
        reply.push(3);
        reply.bulk(b"message");
        reply.bulk(TRACKING_CHANNEL);
    }
    match keys {
        Some(keys) => {
            reply.array(keys.len());
            keys.iter().for_each(|key| reply.bulk(key));
        }
        None => reply.null(),
    }
}

/// The keys that begin with a prefix, those left out that the connection itself has changed, if that is wanted.
pub fn beginning_with(changes: &Changes, prefix: &[u8], but_of: Option<u64>) -> Vec<Vec<u8>> {
    let from = changes.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
    let all = from.take_while(|(key, _)| key.starts_with(prefix));
    all.filter(|(_, writer)| but_of != Some(**writer)).map(|(key, _)| key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker(client: u64) -> Tracker {
        Tracker { client, shard: ShardId(client as u16 % 2), conn: ConnId(client as u32) }
    }

    #[test]
    fn a_key_is_told_of_once() {
        let mut tracked = Tracked::default();
        assert!(!tracked.is_on());
        for client in [2, 1, 2] {
            assert!(tracked.note(b"k", tracker(client)).is_empty());
        }
        assert_eq!((tracked.keys_len(), tracked.items_len()), (1, 2));
        assert!(tracked.is_on() && tracked.concerns(b"k") && !tracked.concerns(b"l"));
        assert_eq!(tracked.take(b"k"), [tracker(1), tracker(2)]);
        assert_eq!(tracked.take(b"k"), []);
        assert_eq!((tracked.items_len(), tracked.is_on()), (0, false));
        tracked.set_prefixes(true);
        assert!(tracked.is_on() && tracked.concerns(b"l") && !tracked.has(b"l"));
    }

    #[test]
    fn keys_beyond_the_limit_are_given_up_in_turn() {
        let mut tracked = Tracked::default();
        tracked.configure(5, 2);
        for key in [b"a", b"b"] {
            assert!(tracked.note(key, tracker(1)).is_empty());
        }
        assert_eq!(tracked.excess(), None, "one less than may be");
        assert!(tracked.note(b"c", tracker(1)).is_empty());
        assert_eq!(tracked.excess(), None, "as many as may be");
        let mut given_up = Vec::new();
        for key in [b"d", b"e", b"a", b"f", b"g"] {
            assert!(tracked.note(key, tracker(1)).is_empty());
            while let Some(key) = tracked.excess() {
                tracked.take(&key);
                given_up.push(key);
            }
        }
        assert_eq!(given_up, [b"a", b"b", b"c", b"d", b"e"], "one more than may be, each time");
        tracked.configure(0, 2);
        assert!(tracked.note(b"z", tracker(1)).is_empty());
        assert_eq!(tracked.excess(), None, "0 is no limit");
    }

    #[test]
    fn a_key_has_so_many_connections_at_most() {
        let mut tracked = Tracked::default();
        for client in 1..=TRACKERS_PER_KEY_MAX as u64 {
            assert!(tracked.note(b"k", tracker(client)).is_empty());
        }
        assert_eq!(tracked.items_len(), TRACKERS_PER_KEY_MAX);
        assert_eq!(tracked.note(b"k", tracker(u64::MAX)).len(), TRACKERS_PER_KEY_MAX);
        assert_eq!((tracked.keys_len(), tracked.items_len()), (1, 1));
    }

    #[test]
    fn who_was_told_of_all_keys_has_none() {
        let mut tracked = Tracked::default();
        for client in 1..=4 {
            assert!(tracked.note(b"k", tracker(client)).is_empty());
        }
        assert!(tracked.note(b"l", tracker(3)).is_empty());
        tracked.forget_own(ShardId(1));
        assert_eq!((tracked.keys_len(), tracked.items_len()), (1, 2));
        assert_eq!(tracked.take(b"k"), [tracker(2), tracker(4)]);
    }

    #[test]
    fn prefixes_choose_keys() {
        let changes: Changes = [("a", 1), ("u:1", 1), ("u:2", 2), ("v", 1)].map(|(key, by)| (key.into(), by)).into();
        assert_eq!(beginning_with(&changes, b"u:", None), [b"u:1", b"u:2"]);
        assert_eq!(beginning_with(&changes, b"u:", Some(1)), [b"u:2"]);
        assert_eq!(beginning_with(&changes, b"", None).len(), 4);
        assert!(beginning_with(&changes, b"w", None).is_empty());
    }
}
