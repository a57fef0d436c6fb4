//! Those who were never answered: what they have moved is found where it went, and whatever is gone one of them must have taken. What one has
//! moved is not gone: it is where it was moved to, unless another one has taken it from there.

use super::fate::Fates;
use super::{Element, Key, Order, Push, QueueHistory, Taken};
use crate::verify::anomaly::{Anomaly, Kind};
use crate::verify::span::{Outcome, Span};
use std::collections::{BTreeMap, BTreeSet};

/// How many elements of a key they can have taken, and where these are then.
type Room = BTreeMap<(Key, Option<Key>), usize>;

fn room(history: &QueueHistory) -> Room {
    let mut room = Room::new();
    for pop in history.pops.iter().filter(|pop| pop.taken == Taken::Unknown) {
        pop.keys.iter().for_each(|key| *room.entry((*key, pop.to)).or_default() += pop.count_max);
    }
    room
}

/// Where each element was pushed, but for those to whom it was moved.
fn origins(history: &QueueHistory) -> BTreeMap<u32, &Push> {
    let pushes = history.pushes.iter().filter(|push| push.key.order != Order::Moved);
    pushes.flat_map(|push| push.elements.iter().map(move |element| (element.number, push))).collect()
}

/// What they have pushed where they moved it to, as far as somebody has seen it there.
pub fn arrivals(history: &QueueHistory) -> Vec<Push> {
    let moved = history.pushes.iter().filter(|push| push.key.order == Order::Moved);
    let known: BTreeSet<(Key, u32)> =
        moved.flat_map(|push| push.elements.iter().map(|element| (push.key, element.number))).collect();
    let given = history.pops.iter().filter_map(|pop| match &pop.taken {
        Taken::From(key, elements) => Some((*key, elements)),
        _ => None,
    });
    let left = history.last.iter().map(|(key, elements)| (*key, elements));
    let seen = given.chain(left).filter(|(key, _)| key.order == Order::Moved);
    let seen: BTreeSet<(Key, u32)> =
        seen.flat_map(|(key, elements)| elements.iter().map(move |element| (key, *element))).collect();
    let (mut room, origins) = (room(history), origins(history));
    let mut arrivals = Vec::new();
    for (key, number) in seen.difference(&known).copied() {
        let Some(origin) = origins.get(&number) else { continue };
        let Some(left) = room.get_mut(&(origin.key, Some(key))).filter(|left| **left > 0) else { continue };
        *left -= 1;
        let moves = history.pops.iter().filter(|pop| pop.taken == Taken::Unknown && pop.to == Some(key));
        let first = moves.min_by_key(|pop| pop.span.invoked).expect("there is one, for there is room");
        let span = Span::open(first.span.client, first.span.invoked);
        let outcome = if origin.outcome == Outcome::Aborted { Outcome::Aborted } else { Outcome::Unknown };
        arrivals.push(Push { span, outcome, key, elements: vec![Element { number, score: 0 }] });
    }
    arrivals
}

/// Whether what they have moved is in one place, and whether they can have taken what is gone.
pub fn check(fates: &Fates<'_>, arrivals: &[Push]) -> Vec<Anomaly> {
    let origins = origins(fates.history);
    let mut room = room(fates.history);
    let mut anomalies = Vec::new();
    let mut arrived = BTreeSet::new();
    for arrival in arrivals {
        let (number, from) = (arrival.elements[0].number, origins[&arrival.elements[0].number].key);
        *room.get_mut(&(from, Some(arrival.key))).expect("there was room for it") -= 1;
        let is_elsewhere = fates.of(from).any(|fate| fate.element.number == number && fate.is_seen());
        if is_elsewhere || !arrived.insert(number) {
            let what = format!("{number} of {from} was moved to {}, and is or was elsewhere too", arrival.key);
            anomalies.push(Anomaly { kind: Kind::Duplicate, what, witness: Vec::new() });
        }
    }
    let mut flow = Flow { room, passed: BTreeMap::new(), history: fates.history };
    let (moved, others): (Vec<Key>, Vec<Key>) = fates.keys().into_iter().partition(|key| key.order == Order::Moved);
    for key in moved.into_iter().chain(others).filter(|key| fates.history.last.contains_key(key)) {
        let gone = fates.gone(key).filter(|fate| !arrived.contains(&fate.element.number) || key.order == Order::Moved);
        let lost: Vec<_> = gone.filter(|_| !flow.take(key)).collect();
        if let Some(first) = lost.first() {
            let what = format!(
                "{} elements of {key} are gone, one of them {}, and nobody can have taken them unseen",
                lost.len(),
                first.element.number
            );
            let shown =
                |fate: &&super::fate::Fate<'_>| format!("{} was pushed {}", fate.element.number, fate.push.span);
            anomalies.push(Anomaly { kind: Kind::Lost, what, witness: lost.iter().take(4).map(shown).collect() });
        }
    }
    anomalies
}

/// Who has taken what is gone: each of those who were never answered has taken what it can have taken at most. What is moved has to be
/// taken once more (a maximum flow, found by augmenting paths).
struct Flow<'a> {
    /// What is left.
    room: Room,
    /// What was moved and taken then: from here to there.
    passed: BTreeMap<(Key, Key), usize>,
    history: &'a QueueHistory,
}

impl Flow<'_> {
    /// Whether one more element of this key can have been taken.
    fn take(&mut self, key: Key) -> bool {
        self.take_here(key) || self.pass(key, &mut BTreeSet::new())
    }

    fn take_here(&mut self, key: Key) -> bool {
        // Nobody has looked there in the end.
        if !self.history.last.contains_key(&key) {
            return true;
        }
        let Some(left) = self.room.get_mut(&(key, None)).filter(|left| **left > 0) else { return false };
        *left -= 1;
        true
    }

    /// Whether it can have been moved, and taken where it came.
    fn pass(&mut self, from: Key, tried: &mut BTreeSet<Key>) -> bool {
        let of_key = (from, Some(Key { order: Order::First, number: 0 }))
            ..=(from, Some(Key { order: Order::Moved, number: u32::MAX }));
        let ways: Vec<Key> =
            self.room.range(of_key).filter(|(_, left)| **left > 0).filter_map(|((_, to), _)| *to).collect();
        for to in ways {
            if tried.insert(to) && (self.take_here(to) || self.give_way(to, tried)) {
                *self.room.get_mut(&(from, Some(to))).expect("it was there just now") -= 1;
                *self.passed.entry((from, to)).or_default() += 1;
                return true;
            }
        }
        false
    }

    /// Whether one that was moved here can have gone another way.
    fn give_way(&mut self, to: Key, tried: &mut BTreeSet<Key>) -> bool {
        let passed = self.passed.iter().filter(|((_, way), count)| *way == to && **count > 0);
        let others: Vec<Key> = passed.map(|((from, _), _)| *from).collect();
        for from in others {
            if self.take_here(from) || self.pass(from, tried) {
                *self.passed.get_mut(&(from, to)).expect("it was there just now") -= 1;
                *self.room.entry((from, Some(to))).or_default() += 1;
                return true;
            }
        }
        false
    }
}
