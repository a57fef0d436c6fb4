//! The search for an order of one key's operations. Invocations and answers stand in a list in the order of time; an operation that is put
//! in the order is taken out of it, and comes back when that leads nowhere.

use super::{Answer, Entry};
use crate::verify::span::Span;
use std::collections::HashSet;

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

/// Operations that are in the order.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Set(Box<[u64]>);

impl Set {
    fn flip(&mut self, entry: usize) {
        self.0[entry / 64] ^= 1 << (entry % 64);
    }
}

/// Looks for an order of these operations of a key that has no value at first, and gives up after so many states.
pub fn search(entries: &[Entry], states_max: usize) -> Found {
    let mut list = List::of(entries);
    let mut unanswered = entries.iter().filter(|entry| entry.answer != Answer::Never).count();
    let mut done = Set(vec![0; entries.len().div_ceil(64)].into());
    let mut seen: HashSet<(Set, Option<i64>)> = HashSet::new();
    // What is in the order, each with the value before it.
    let mut order: Vec<(usize, Option<i64>)> = Vec::new();
    let mut value = None;
    let mut at = list.nodes[HEAD].after;
    while unanswered > 0 {
        if at == END || list.nodes[at].is_answer {
            // Nobody can come before this answer but those that were tried.
            let Some((entry, before)) = order.pop() else { return Found::None };
            value = before;
            unanswered += usize::from(entries[entry].answer != Answer::Never);
            done.flip(entry);
            list.put_back(entry);
            at = list.nodes[list.places[entry].0].after;
            continue;
        }
        let Node { entry, after, .. } = list.nodes[at];
        let Entry { op, answer, .. } = entries[entry];
        let (would, left) = op.apply(value);
        at = after;
        if answer != Answer::Never && answer != would {
            continue;
        }
        done.flip(entry);
        if !seen.insert((done.clone(), left)) {
            done.flip(entry);
            continue;
        }
        if seen.len() > states_max {
            return Found::Nothing;
        }
        order.push((entry, value));
        value = left;
        unanswered -= usize::from(answer != Answer::Never);
        list.take(entry);
        at = list.nodes[HEAD].after;
    }
    Found::Order
}
