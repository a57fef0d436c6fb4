//! What became of each element in each of its lists: it is delivered at most once, and is not there any more then; and nothing is delivered
//! that was not pushed.

use super::{Element, Key, Order, Pop, Push, QueueHistory, Taken};
use crate::verify::anomaly::{Anomaly, Kind};
use crate::verify::span::{Outcome, Span};
use std::collections::{BTreeMap, BTreeSet};

/// What became of an element.
#[derive(Debug)]
pub struct Fate<'a> {
    pub element: Element,
    pub push: &'a Push,
    /// Its place among those that were pushed with it.
    pub place: usize,
    /// Who was given it, and its place among what was given.
    pub given: Vec<(&'a Pop, usize)>,
    /// Its places in the end.
    pub left: Vec<usize>,
}

impl Fate<'_> {
    pub fn is_seen(&self) -> bool {
        !(self.given.is_empty() && self.left.is_empty())
    }

    /// Whether it was there all the time of an operation that has not got it.
    pub fn is_there(&self, span: &Span) -> bool {
        let is_left = match &self.given[..] {
            [] => !self.left.is_empty(),
            given => given.iter().all(|(pop, _)| span.is_before(&pop.span)),
        };
        self.push.outcome == Outcome::Committed && self.push.span.is_before(span) && is_left
    }
}

/// The fates of all elements of a history.
pub struct Fates<'a> {
    pub history: &'a QueueHistory,
    of: BTreeMap<(Key, u32), Fate<'a>>,
    /// What was given or is there and nobody pushed, or not there.
    foreign: Vec<(Key, u32)>,
}

impl<'a> Fates<'a> {
    /// `arrivals`: what was pushed by those who were never answered, as far as it was seen later.
    pub fn new(history: &'a QueueHistory, arrivals: &'a [Push]) -> Fates<'a> {
        let mut fates = Fates { history, of: BTreeMap::new(), foreign: Vec::new() };
        for push in history.pushes.iter().chain(arrivals) {
            for (place, element) in push.elements.iter().enumerate() {
                let fate = Fate { element: *element, push, place, given: Vec::new(), left: Vec::new() };
                let known = fates.of.insert((push.key, element.number), fate);
                // Two have moved it there: the list that it came from tells.
                assert!(known.is_none() || push.key.order == Order::Moved, "an element is pushed once");
            }
        }
        for pop in &history.pops {
            let Taken::From(key, elements) = &pop.taken else { continue };
            for (place, number) in elements.iter().enumerate() {
                match fates.of.get_mut(&(*key, *number)) {
                    Some(fate) => fate.given.push((pop, place)),
                    None => fates.foreign.push((*key, *number)),
                }
            }
        }
        for (key, elements) in &history.last {
            for (place, number) in elements.iter().enumerate() {
                match fates.of.get_mut(&(*key, *number)) {
                    Some(fate) => fate.left.push(place),
                    None => fates.foreign.push((*key, *number)),
                }
            }
        }
        fates
    }

    /// Those of a key.
    pub fn of(&self, key: Key) -> impl Iterator<Item = &Fate<'a>> {
        self.of.range((key, 0)..=(key, u32::MAX)).map(|(_, fate)| fate)
    }

    pub fn keys(&self) -> BTreeSet<Key> {
        self.of.keys().map(|(key, _)| *key).collect()
    }

    /// Acknowledged elements of a key that are nowhere.
    pub fn gone(&self, key: Key) -> impl Iterator<Item = &Fate<'a>> {
        let is_gone =
            |fate: &&Fate<'_>| fate.push.outcome == Outcome::Committed && fate.given.is_empty() && fate.left.is_empty();
        self.of(key).filter(is_gone)
    }

    pub fn check(&self) -> Vec<Anomaly> {
        let mut anomalies = Vec::new();
        for (key, number) in &self.foreign {
            let what = format!("{key} has or had {number}, which nobody has pushed there");
            anomalies.push(Anomaly { kind: Kind::Phantom, what, witness: Vec::new() });
        }
        for fate in self.of.values() {
            let name = format!("{} of {}", fate.element.number, fate.push.key);
            let mut find = |kind, what: &str| {
                let mut witness = vec![format!("pushed {}", fate.push.span)];
                witness.extend(fate.given.iter().map(|(pop, _)| format!("given to {}", pop.span)));
                anomalies.push(Anomaly { kind, what: format!("{name} {what}"), witness });
            };
            match (fate.given.len(), fate.left.len()) {
                (2.., _) => find(Kind::Duplicate, "was given to two clients"),
                (1, 1..) => find(Kind::Duplicate, "was given to a client, and is there in the end"),
                (_, 2..) => find(Kind::Duplicate, "is there twice"),
                _ => {}
            }
            if fate.is_seen() && fate.push.outcome == Outcome::Aborted {
                find(Kind::G1a, "was seen, and its push was refused");
            }
            if fate.given.iter().any(|(pop, _)| pop.span.is_before(&fate.push.span)) {
                find(Kind::Phantom, "was given to a client before it was pushed");
            }
        }
        anomalies
    }
}
