//! Elements that are pushed to lists and sorted sets and taken from them, by clients that wait until there is one. Each element is pushed once, so
//! its fate can be told: it was given to one client, or is there in the end; or somebody took it who was never answered. Whoever was told that
//! there is nothing was told so rightly. What is moved is taken from one list and pushed to another one, both or neither: it has a fate in each.
//!
//! - `fate`: what became of each element, and whether that can be.
//! - `unseen`: what those who were never answered have moved, and whether they can have taken what is gone.
//! - `order`: whether the first ones came first.
//! - Here: what is recorded, and who was told that there is nothing.

mod fate;
mod order;
#[cfg(test)]
mod tests;
mod unseen;

use super::anomaly::{Anomaly, Kind};
use super::limits::ANOMALIES_MAX;
use super::span::{Outcome, Span};
use fate::{Fate, Fates};
use std::collections::BTreeMap;
use std::fmt;

/// In which order a key's elements are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// Pushed at one end, taken at the other.
    First,
    /// At both ends.
    Any,
    /// The least score first.
    Least,
    /// As `First`, at the other ends: only what is moved comes here.
    Moved,
}

impl Order {
    /// Whether elements come in the order in which they were pushed.
    pub fn is_of_arrival(self) -> bool {
        matches!(self, Order::First | Order::Moved)
    }
}

/// A list or a sorted set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub order: Order,
    pub number: u32,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.order {
            Order::First => "first",
            Order::Any => "any",
            Order::Least => "least",
            Order::Moved => "moved",
        };
        write!(f, "q:{name}:{}", self.number)
    }
}

/// Something that was pushed, which is so once, and its score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    pub number: u32,
    pub score: i64,
}

/// Elements that were pushed together, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    pub span: Span,
    pub outcome: Outcome,
    pub key: Key,
    pub elements: Vec<Element>,
}

/// Somebody took what one of these keys had, or wanted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pop {
    pub span: Span,
    pub keys: Vec<Key>,
    /// So many at most.
    pub count_max: usize,
    /// It waits if there is nothing.
    pub is_patient: bool,
    /// What it takes is pushed there. What is known to have been is recorded as a push, too.
    pub to: Option<Key>,
    pub taken: Taken,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    Nothing,
    From(Key, Vec<u32>),
    /// It was never answered.
    Unknown,
    /// It was a part of a transaction that was refused.
    Refused,
}

/// The history of all keys.
#[derive(Debug, Default)]
pub struct QueueHistory {
    pushes: Vec<Push>,
    pops: Vec<Pop>,
    /// What keys have in the end, if that was seen.
    last: BTreeMap<Key, Vec<u32>>,
    /// So long before who waits is told that there is nothing others may still have been offered what there is, or may have held it. `None`: nobody
    /// knows, for the server may not have run meanwhile.
    patience_ns: Option<u64>,
}

impl QueueHistory {
    pub fn new(patience_ns: Option<u64>) -> QueueHistory {
        QueueHistory { patience_ns, ..QueueHistory::default() }
    }

    pub fn push(&mut self, push: Push) {
        self.pushes.push(push);
    }

    pub fn pop(&mut self, pop: Pop) {
        self.pops.push(pop);
    }

    pub fn last(&mut self, key: Key, elements: Vec<u32>) {
        self.last.insert(key, elements);
    }

    pub fn check(&self) -> Vec<Anomaly> {
        let arrivals = unseen::arrivals(self);
        let fates = Fates::new(self, &arrivals);
        let mut anomalies = fates.check();
        anomalies.extend(unseen::check(&fates, &arrivals));
        anomalies.extend(order::check(&fates));
        anomalies.extend(self.unserved(&fates));
        anomalies.truncate(ANOMALIES_MAX);
        anomalies
    }

    /// Pops by the keys that they name.
    fn pops_by_key(&self) -> BTreeMap<Key, Vec<&Pop>> {
        let mut by_key = BTreeMap::<Key, Vec<&Pop>>::new();
        for pop in &self.pops {
            for key in &pop.keys {
                let pops = by_key.entry(*key).or_default();
                if !pops.last().is_some_and(|last| std::ptr::eq(*last, pop)) {
                    pops.push(pop);
                }
            }
        }
        by_key
    }

    /// Those who were told that there is nothing though an element was there all the time.
    fn unserved(&self, fates: &Fates<'_>) -> Vec<Anomaly> {
        let by_key = self.pops_by_key();
        let mut anomalies = Vec::new();
        for pop in self.pops.iter().filter(|pop| pop.taken == Taken::Nothing) {
            let Some(patience_ns) = (if pop.is_patient { self.patience_ns } else { Some(0) }) else { continue };
            for key in &pop.keys {
                // Who does not wait is offered nothing; and who is offered something takes it, at once or when it can.
                let may_hold = |other: &Pop| match &other.taken {
                    Taken::Nothing => false,
                    Taken::From(of, _) => of == key,
                    Taken::Unknown | Taken::Refused => true,
                };
                let is_held = |other: &Pop| {
                    let until = other.span.completed.saturating_add(patience_ns);
                    !std::ptr::eq(other, pop)
                        && other.is_patient
                        && may_hold(other)
                        && other.span.invoked < pop.span.completed
                        && until > pop.span.completed
                };
                if pop.is_patient && by_key[key].iter().any(|other| is_held(other)) {
                    continue;
                }
                let was_there = |fate: &&Fate<'_>| {
                    let since = fate.push.span.completed.saturating_add(patience_ns);
                    since <= pop.span.completed && fate.is_there(&pop.span)
                };
                let Some(fate) = fates.of(*key).find(was_there) else { continue };
                let what = format!(
                    "{key} had {} all the time, and who asked was told that there is nothing",
                    fate.element.number
                );
                let witness = vec![format!("asked {}", pop.span), format!("pushed {}", fate.push.span)];
                anomalies.push(Anomaly { kind: Kind::Unserved, what, witness });
            }
        }
        anomalies
    }
}
