//! The search for an order of one key's operations. Invocations and answers stand in a list in the order of time; an operation that is put
//! in the order is taken out of it, and comes back when that leads nowhere.
//!
//! What was not answered may come at any time after it began, or never. So it is put in the order as late as can be: where an answered
//! operation does not fit, and would fit behind it. Of two states that differ only in what was not answered, the one that has used up more
//! of it can do nothing that the other cannot.

use super::{Answer, Entry, RegisterOp};
use crate::verify::span::Span;
use std::collections::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is an order.
    Order,
    /// There is none.
    None,
    /// The search was given up.
    Nothing,
}

/// An invocation or an answer. The list begins with a node that is neither.
#[derive(Clone, Copy, Debug)]
struct Node {
    entry: usize,
    is_answer: bool,
    before: usize,
    after: usize,
}

const HEAD: usize = 0;
const END: usize = usize::MAX;

struct List {
    nodes: Vec<Node>,
    /// By entry: its invocation, and its answer if it has one.
    places: Vec<(usize, usize)>,
}

impl List {
    fn of(entries: &[Entry]) -> List {
        // At one instant invocations come first: whoever ends then is not before whoever begins then.
        let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(entries.len() * 2);
        for (number, entry) in entries.iter().enumerate() {
            events.push((entry.span.invoked, false, number));
            if entry.span.completed != Span::OPEN {
                events.push((entry.span.completed, true, number));
            }
        }
        events.sort_unstable();
        let mut nodes = vec![Node { entry: END, is_answer: false, before: END, after: END }];
        let mut places = vec![(END, END); entries.len()];
        for (_, is_answer, entry) in events {
            let at = nodes.len();
            nodes[at - 1].after = at;
            nodes.push(Node { entry, is_answer, before: at - 1, after: END });
            let place = &mut places[entry];
            if is_answer { place.1 = at } else { place.0 = at }
        }
        List { nodes, places }
    }

    fn unlink(&mut self, at: usize) {
        let Node { before, after, .. } = self.nodes[at];
        self.nodes[before].after = after;
        if after != END {
            self.nodes[after].before = before;
        }
    }

    /// Undoes the last `unlink` that is not undone.
    fn relink(&mut self, at: usize) {
        let Node { before, after, .. } = self.nodes[at];
        self.nodes[before].after = at;
        if after != END {
            self.nodes[after].before = at;
        }
    }

    fn take(&mut self, entry: usize) {
        let (invocation, answer) = self.places[entry];
        self.unlink(invocation);
        if answer != END {
            self.unlink(answer);
        }
    }

    fn put_back(&mut self, entry: usize) {
        let (invocation, answer) = self.places[entry];
        if answer != END {
            self.relink(answer);
        }
        self.relink(invocation);
    }
}

impl List {
    /// Whether an operation that was not answered, and makes `left` of `value`, has a part in making some answered operation fit that may
    /// come next, and does not yet. `used`: those that are in the order.
    fn is_needed(&self, entries: &[Entry], used: &Set, made: (usize, Option<i64>, Option<i64>)) -> bool {
        let (entry, value, left) = made;
        let others = |op: fn(&RegisterOp) -> Option<i64>| {
            let unused = entries
                .iter()
                .enumerate()
                .filter(move |(at, other)| *at != entry && other.answer == Answer::Never && !used.has(*at));
            unused.filter_map(move |(_, other)| op(&other.op))
        };
        let increments = others(|op| matches!(op, RegisterOp::Incr).then_some(1)).count() as i64;
        let is_near = |from: i64, to: i64| (0..=increments).contains(&(to - from));
        let mut at = self.nodes[HEAD].after;
        while left != value && at != END && !self.nodes[at].is_answer {
            let Entry { op, answer, .. } = entries[self.nodes[at].entry];
            at = self.nodes[at].after;
            if answer == Answer::Never || op.apply(value).0 == answer {
                continue;
            }
            let wanted = match (op, answer) {
                (RegisterOp::Incr, Answer::Number(number)) => Some(number - 1),
                (RegisterOp::Get | RegisterOp::GetSet(_), Answer::Number(number)) => Some(number),
                _ => None,
            };
            let is_on_the_way = |wanted: i64| match left {
                Some(left) => is_near(left, wanted),
                // From nothing, SETNX and INCR go on.
                None => {
                    let mut news = others(|op| if let RegisterOp::SetNx(new) = op { Some(*new) } else { None });
                    is_near(0, wanted) || news.any(|new| is_near(new, wanted))
                }
            };
            if op.apply(left).0 == answer || wanted.is_some_and(is_on_the_way) {
                return true;
            }
        }
        false
    }
}

/// Operations that are in the order.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Set(Box<[u64]>);

impl Set {
    fn of(entries: usize) -> Set {
        Set(vec![0; entries.div_ceil(64)].into())
    }

    fn flip(&mut self, entry: usize) {
        self.0[entry / 64] ^= 1 << (entry % 64);
    }

    fn has(&self, entry: usize) -> bool {
        self.0[entry / 64] & 1 << (entry % 64) != 0
    }

    fn is_within(&self, other: &Set) -> bool {
        self.0.iter().zip(&other.0).all(|(own, other)| own & !other == 0)
    }
}

/// Where the search has been: for the answered operations that are in the order, and the value then, what else was in it.
#[derive(Default)]
struct Seen {
    places: HashMap<(Set, Option<i64>), Vec<Set>>,
    states: usize,
}

impl Seen {
    /// Whether the search has not been there.
    fn insert(&mut self, answered: &Set, others: &Set, value: Option<i64>) -> bool {
        let known = self.places.entry((answered.clone(), value)).or_default();
        if known.iter().any(|known| known.is_within(others)) {
            return false;
        }
        known.push(others.clone());
        self.states += 1;
        true
    }
}

/// Looks for an order of these operations of a key that has no value at first, and gives up after so many states.
pub fn search(entries: &[Entry], states_max: usize) -> Found {
    let mut list = List::of(entries);
    let mut unanswered = entries.iter().filter(|entry| entry.answer != Answer::Never).count();
    // What is in the order: those that were answered, and the others.
    let (mut done, mut used) = (Set::of(entries.len()), Set::of(entries.len()));
    let mut seen = Seen::default();
    // The same in its order, each with the value before it.
    let mut order: Vec<(usize, Option<i64>)> = Vec::new();
    let mut value = None;
    let mut at = list.nodes[HEAD].after;
    // First those that were answered are tried, then the others.
    let mut is_first_round = true;
    while unanswered > 0 {
        if at == END || list.nodes[at].is_answer {
            if std::mem::replace(&mut is_first_round, false) {
                at = list.nodes[HEAD].after;
                continue;
            }
            // Nobody can come before this answer but those that were tried.
            let Some((entry, before)) = order.pop() else { return Found::None };
            value = before;
            is_first_round = entries[entry].answer != Answer::Never;
            unanswered += usize::from(is_first_round);
            if is_first_round {
                done.flip(entry)
            } else {
                used.flip(entry)
            }
            list.put_back(entry);
            at = list.nodes[list.places[entry].0].after;
            continue;
        }
        let Node { entry, after, .. } = list.nodes[at];
        let Entry { op, answer, .. } = entries[entry];
        let is_answered = answer != Answer::Never;
        let (would, left) = op.apply(value);
        at = after;
        if is_answered != is_first_round || is_answered && answer != would {
            continue;
        }
        if !is_answered && !list.is_needed(entries, &used, (entry, value, left)) {
            continue;
        }
        let set = if is_answered { &mut done } else { &mut used };
        set.flip(entry);
        if !seen.insert(&done, &used, left) {
            let set = if is_answered { &mut done } else { &mut used };
            set.flip(entry);
            continue;
        }
        if seen.states > states_max {
            return Found::Nothing;
        }
        order.push((entry, value));
        value = left;
        unanswered -= usize::from(is_answered);
        list.take(entry);
        at = list.nodes[HEAD].after;
        is_first_round = true;
    }
    Found::Order
}
