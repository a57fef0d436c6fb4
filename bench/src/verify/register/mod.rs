//! Operations on single keys: is there, for each key, one order of them that explains all results and in which what ended before
//! another began comes before it?
//!
//! The search is that of Wing and Gong with Lowe's cache: take any operation that may come next, go on, go back where nothing fits,
//! and never look twice at the same set of operations with the same value. An operation that was not answered may come at any time after
//! it began, or never.

mod search;
#[cfg(test)]
mod tests;

use super::anomaly::{Anomaly, Kind};
use super::keyed::Keyed;
use super::limits::{ANOMALIES_MAX, REGISTER_STATES_MAX, SHRINK_STATES_MAX, WITNESS_LINES_MAX};
use super::span::Span;
use search::{Found, search};

/// What was done to a key. Values are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOp {
    Get,
    Set(i64),
    GetSet(i64),
    SetNx(i64),
    Incr,
    Del,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There was none.
    Never,
    Ok,
    Nil,
    Number(i64),
}

/// An operation with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub span: Span,
    pub op: RegisterOp,
    pub answer: Answer,
}

/// Operations by key.
#[derive(Debug, Default)]
pub struct RegisterHistory {
    keys: Keyed<Entry>,
}

impl RegisterOp {
    /// What it answers where the key has this value, and the value that it leaves.
    fn apply(self, value: Option<i64>) -> (Answer, Option<i64>) {
        let number = |value: Option<i64>| value.map_or(Answer::Nil, Answer::Number);
        match self {
            RegisterOp::Get => (number(value), value),
            RegisterOp::Set(new) => (Answer::Ok, Some(new)),
            RegisterOp::GetSet(new) => (number(value), Some(new)),
            RegisterOp::SetNx(new) if value.is_none() => (Answer::Number(1), Some(new)),
            RegisterOp::SetNx(_) => (Answer::Number(0), value),
            RegisterOp::Incr => {
                let new = value.unwrap_or(0) + 1;
                (Answer::Number(new), Some(new))
            }
            RegisterOp::Del => (Answer::Number(i64::from(value.is_some())), None),
        }
    }

    fn is_read(self, answer: Answer) -> bool {
        match self {
            RegisterOp::Get => true,
            RegisterOp::SetNx(_) | RegisterOp::Del => answer == Answer::Number(0),
            _ => false,
        }
    }
}

impl Entry {
    fn shown(&self) -> String {
        format!("{:?} = {:?} ({})", self.op, self.answer, self.span)
    }
}

impl RegisterHistory {
    /// A read that was not answered says nothing, and is left out.
    pub fn record(&mut self, key: u32, entry: Entry) {
        if entry.answer == Answer::Never && entry.op == RegisterOp::Get {
            return;
        }
        self.keys.push(key, entry);
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A finding for each key that has no order, or of which that could not be found out.
    pub fn check(&self) -> Vec<Anomaly> {
        let wrong = self.keys.iter().filter_map(|(key, entries)| match search(entries, REGISTER_STATES_MAX) {
            Found::Order => None,
            Found::None => Some(no_order(key, entries)),
            Found::Nothing => Some(Anomaly {
                kind: Kind::Undecided,
                what: format!("key {key}: no order was found in the time given, nor that there is none"),
                witness: Vec::new(),
            }),
        });
        wrong.take(ANOMALIES_MAX).collect()
    }
}

/// The beginning of the history that has no order, up to the answer that takes it away, without the reads that do not matter.
fn no_order(key: usize, entries: &[Entry]) -> Anomaly {
    let mut ends: Vec<u64> =
        entries.iter().map(|entry| entry.span.completed).filter(|end| *end != Span::OPEN).collect();
    ends.sort_unstable();
    // The shorter a beginning, the fewer the reasons against an order: the first without one is found by halving.
    let first = ends.partition_point(|end| search(&until(entries, *end), SHRINK_STATES_MAX) != Found::None);
    let mut least = until(entries, ends[first.min(ends.len() - 1)]);
    let culprit = *least.iter().max_by_key(|entry| answered(entry)).expect("an empty history has an order");
    let mut at = least.len();
    while at > 0 {
        at -= 1;
        let entry = least[at];
        if entry == culprit || !(entry.op.is_read(entry.answer) || entry.answer == Answer::Never) {
            continue;
        }
        least.remove(at);
        if search(&least, SHRINK_STATES_MAX) != Found::None {
            least.insert(at, entry);
        }
    }
    least.sort_by_key(|entry| entry.span.invoked);
    let skipped = least.len().saturating_sub(WITNESS_LINES_MAX);
    let mut witness: Vec<String> = least[skipped..].iter().map(Entry::shown).collect();
    if skipped > 0 {
        witness.insert(0, format!("({skipped} operations before these)"));
    }
    let what = format!("key {key}: nothing explains {}", culprit.shown());
    Anomaly { kind: Kind::NotLinearizable, what, witness }
}

fn answered(entry: &Entry) -> u64 {
    if entry.span.completed == Span::OPEN { 0 } else { entry.span.completed }
}

/// What was known at an instant: later answers are not there yet.
fn until(entries: &[Entry], instant: u64) -> Vec<Entry> {
    let begun = entries.iter().filter(|entry| entry.span.invoked <= instant).copied();
    let known = begun.map(|entry| {
        if entry.span.completed <= instant {
            return entry;
        }
        Entry { span: Span::open(entry.span.client, entry.span.invoked), answer: Answer::Never, ..entry }
    });
    known.filter(|entry| entry.answer != Answer::Never || entry.op != RegisterOp::Get).collect()
}
