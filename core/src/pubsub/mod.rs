//! Publish and subscribe: what is published, who has subscribed to what, and how it is told.
//!
//! A core has the subscriptions of its own connections, and of each other core how many it has ([`audiences`]). So who publishes knows
//! without asking how many will get it, and sends it to the cores that have somebody, once to each. What goes from one core to another
//! arrives in order, so what one connection publishes does too.

pub mod audiences;
pub mod encode;

use cairn_storage::blob::Blob;
use std::collections::BTreeSet;

/// What is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Channel,
    /// All channels whose names match.
    Pattern,
    /// A channel that belongs to its slot's shard in a cluster: a name space of its own, without patterns.
    Shard,
    /// Not subscribed to: keys that begin so, for client-side caching.
    Prefix,
}

/// All that is subscribed to.
pub const CLASSES: [Class; 3] = [Class::Channel, Class::Pattern, Class::Shard];

impl Class {
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// A message to all who have subscribed to a channel.
#[derive(Clone, Debug)]
pub struct Publication {
    /// To a sharded channel.
    pub is_sharded: bool,
    pub channel: Vec<u8>,
    pub payload: Blob,
}

impl Publication {
    /// Bytes of memory, about.
    pub fn weight(&self) -> usize {
        size_of::<Publication>() + self.channel.len() + self.payload.len()
    }
}

/// What one connection has subscribed to.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    names: [BTreeSet<Vec<u8>>; 3],
}

impl Subscriptions {
    pub fn of(&self, class: Class) -> &BTreeSet<Vec<u8>> {
        &self.names[class.index()]
    }

    pub fn of_mut(&mut self, class: Class) -> &mut BTreeSet<Vec<u8>> {
        &mut self.names[class.index()]
    }

    /// All of them.
    pub fn len(&self) -> usize {
        self.names.iter().map(BTreeSet::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.names.iter().all(BTreeSet::is_empty)
    }

    /// What a confirmation counts: sharded channels by themselves, all others together.
    pub fn counted(&self, class: Class) -> usize {
        match class {
            Class::Shard => self.of(Class::Shard).len(),
            _ => self.of(Class::Channel).len() + self.of(Class::Pattern).len(),
        }
    }
}
