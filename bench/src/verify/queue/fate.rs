//! What became of each element: it is delivered at most once, and is not there any more then; it is delivered, there in the end, or taken by
//! one of those who were never answered; and nothing is delivered that was not pushed.

use super::{Element, Key, Pop, Push, QueueHistory, Taken};
use crate::verify::anomaly::{Anomaly, Kind};
use crate::verify::span::{Outcome, Span};
use std::collections::BTreeMap;

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
    history: &'a QueueHistory,
    of: BTreeMap<u32, Fate<'a>>,
    by_key: BTreeMap<Key, Vec<u32>>,
    /// What was given or is there and nobody pushed, or not there.
    foreign: Vec<(Key, u32)>,
}

impl<'a> Fates<'a> {
    pub fn new(history: &'a QueueHistory) -> Fates<'a> {
        let (mut of, mut by_key) = (BTreeMap::new(), BTreeMap::<Key, Vec<u32>>::new());
        for push in &history.pushes {
            for (place, element) in push.elements.iter().enumerate() {
                let fate = Fate { element: *element, push, place, given: Vec::new(), left: Vec::new() };
                assert!(of.insert(element.number, fate).is_none(), "an element is pushed once");
                by_key.entry(push.key).or_default().push(element.number);
            }
        }
        let mut fates = Fates { history, of, by_key, foreign: Vec::new() };
        for pop in &history.pops {
            let Taken::From(key, elements) = &pop.taken else { continue };
            for (place, number) in elements.iter().enumerate() {
                match fates.of.get_mut(number).filter(|fate| fate.push.key == *key) {
                    Some(fate) => fate.given.push((pop, place)),
                    None => fates.foreign.push((*key, *number)),
                }
            }
        }
        for (key, elements) in &history.last {
            for (place, number) in elements.iter().enumerate() {
                match fates.of.get_mut(number).filter(|fate| fate.push.key == *key) {
                    Some(fate) => fate.left.push(place),
                    None => fates.foreign.push((*key, *number)),
                }
            }
        }
        fates
    }

    /// Those of a key.
    pub fn of(&self, key: Key) -> impl Iterator<Item = &Fate<'a>> {
        self.by_key.get(&key).into_iter().flatten().map(|number| &self.of[number])
    }

    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.by_key.keys().copied()
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
            let is_seen = !(fate.given.is_empty() && fate.left.is_empty());
            match (fate.given.len(), fate.left.len()) {
                (2.., _) => find(Kind::Duplicate, "was given to two clients"),
                (1, 1..) => find(Kind::Duplicate, "was given to a client, and is there in the end"),
                (_, 2..) => find(Kind::Duplicate, "is there twice"),
                _ => {}
            }
            if is_seen && fate.push.outcome == Outcome::Aborted {
                find(Kind::G1a, "was seen, and its push was refused");
            }
            if fate.given.iter().any(|(pop, _)| pop.span.is_before(&fate.push.span)) {
                find(Kind::Phantom, "was given to a client before it was pushed");
            }
        }
        anomalies.extend(self.history.last.keys().filter_map(|key| self.lost(*key)));
        anomalies
    }

    /// Elements of a key that are nowhere, and more than those who were never answered can have taken.
    fn lost(&self, key: Key) -> Option<Anomaly> {
        let is_gone =
            |fate: &&Fate<'_>| fate.push.outcome == Outcome::Committed && fate.given.is_empty() && fate.left.is_empty();
        let gone: Vec<&Fate<'_>> = self.of(key).filter(is_gone).collect();
        if gone.is_empty() {
            return None;
        }
        let pops = self.history.pops.iter().filter(|pop| pop.taken == Taken::Unknown && pop.keys.contains(&key));
        let taken_max: usize = pops.map(|pop| pop.count_max).sum();
        (gone.len() > taken_max).then(|| Anomaly {
            kind: Kind::Lost,
            what: format!(
                "{} elements of {key} are gone, and {taken_max} at most can have been taken unseen",
                gone.len()
            ),
            witness: gone
                .iter()
                .take(4)
                .map(|fate| format!("{} was pushed {}", fate.element.number, fate.push.span))
                .collect(),
        })
    }
}
