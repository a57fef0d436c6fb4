//! Transactions of appends to lists and reads of whole lists: are they strictly serializable?
//!
//! Every element is appended once, so a read says who wrote what it sees, and in which order: the longest read of a key is the
//! order of its versions. From it follow the dependencies, as in Elle (Kingsbury and Alvaro, 2020):
//!
//! | edge | from | to |
//! | --- | --- | --- |
//! | ww | who appended an element | who appended the next one |
//! | wr | who appended the last element of a read | the reader |
//! | rw | the reader | who appended what comes after that |
//! | rt | who ended | who began later |
//!
//! A cycle of them has no serial order. `versions` finds the order and what is wrong without any cycle, `graph` the edges, `cycles` the
//! cycles and their names. Everything is linear in the history, but for the search of a small witness once there is one.

mod cycles;
mod graph;
#[cfg(test)]
mod tests;
mod versions;

use super::anomaly::Anomaly;
use super::limits::{ANOMALIES_MAX, LIST_SHOWN_MAX};
use super::span::{Outcome, Span};
use std::fmt::Write;
use std::ops::Range;
use versions::Versions;

/// An operation of a transaction, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListOp {
    /// No two appends of a history have the same element. Elements and keys are small numbers: memory goes by the largest.
    Append { key: u32, element: u32 },
    /// What was read. Elements that are no numbers are [`ListHistory::FOREIGN`].
    Read { key: u32, list: Vec<u32> },
}

/// Transactions with their results.
#[derive(Debug, Default)]
pub struct ListHistory {
    txns: Vec<Txn>,
    ops: Vec<Op>,
    /// What all reads saw, one after the other.
    lists: Vec<u32>,
    keys: u32,
    elements: u32,
}

#[derive(Debug)]
struct Txn {
    span: Span,
    outcome: Outcome,
    ops: Range<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Append { key: u32, element: u32 },
    Read { key: u32, begin: u32, len: u32 },
}

impl ListHistory {
    /// Stands for what nobody appends.
    pub const FOREIGN: u32 = u32::MAX;

    /// Adds a transaction. Of one that was aborted or not answered the reads are left out.
    pub fn record(&mut self, span: Span, outcome: Outcome, ops: impl IntoIterator<Item = ListOp>) {
        let begin = self.ops.len() as u32;
        for op in ops {
            match op {
                ListOp::Append { key, element } => {
                    assert!(element < Self::FOREIGN, "an element is a small number");
                    self.keys = self.keys.max(key + 1);
                    self.elements = self.elements.max(element + 1);
                    self.ops.push(Op::Append { key, element });
                }
                ListOp::Read { key, list } if outcome == Outcome::Committed => {
                    self.keys = self.keys.max(key + 1);
                    let begin = u32::try_from(self.lists.len()).expect("a history has fewer than 2^32 elements read");
                    self.lists.extend_from_slice(&list);
                    self.ops.push(Op::Read { key, begin, len: list.len() as u32 });
                }
                ListOp::Read { .. } => {}
            }
        }
        self.txns.push(Txn { span, outcome, ops: begin..self.ops.len() as u32 });
    }

    pub fn len(&self) -> usize {
        self.txns.len()
    }

    pub fn is_empty(&self) -> bool {
        self.txns.is_empty()
    }

    /// What is wrong with it, the plainest first; empty if it is strictly serializable as far as its reads tell.
    pub fn check(&self) -> Vec<Anomaly> {
        let mut anomalies = Vec::new();
        let versions = Versions::of(self, &mut anomalies);
        let graph = graph::of(self, &versions);
        for cycle in cycles::find(&graph) {
            anomalies.push(self.cycle_anomaly(&versions, &cycle));
        }
        anomalies.sort_by_key(|anomaly| anomaly.kind);
        anomalies
    }

    fn ops(&self, txn: u32) -> &[Op] {
        let Range { start, end } = self.txns[txn as usize].ops;
        &self.ops[start as usize..end as usize]
    }

    fn list(&self, begin: u32, len: u32) -> &[u32] {
        &self.lists[begin as usize..(begin + len) as usize]
    }

    /// Every read with its reader.
    fn reads(&self) -> impl Iterator<Item = (u32, u32, &[u32])> {
        (0..self.txns.len() as u32).flat_map(move |txn| {
            self.ops(txn).iter().filter_map(move |op| match *op {
                Op::Read { key, begin, len } => Some((txn, key, self.list(begin, len))),
                Op::Append { .. } => None,
            })
        })
    }

    fn appends(&self, txn: u32) -> impl Iterator<Item = (u32, u32)> {
        self.ops(txn).iter().filter_map(|op| match *op {
            Op::Append { key, element } => Some((key, element)),
            Op::Read { .. } => None,
        })
    }

    /// A transaction for people.
    fn shown(&self, txn: u32) -> String {
        let Txn { span, outcome, .. } = &self.txns[txn as usize];
        let mut text = format!("T{txn} ({span}");
        match outcome {
            Outcome::Committed => text.push_str("):"),
            Outcome::Aborted => text.push_str(", refused):"),
            Outcome::Unknown => text.push_str("):"),
        }
        for op in self.ops(txn) {
            // Writing to a string does not fail.
            let _ = match *op {
                Op::Append { key, element } => write!(text, " append {key} <- {element};"),
                Op::Read { key, begin, len } => write!(text, " read {key} = {};", shown_list(self.list(begin, len))),
            };
        }
        text
    }

    fn cycle_anomaly(&self, versions: &Versions, cycle: &cycles::Cycle) -> Anomaly {
        let mut witness: Vec<String> = cycle.steps.iter().map(|step| self.shown(step.from)).collect();
        for step in &cycle.steps {
            witness.push(format!("T{} before T{}: {}", step.from, step.to, versions.why(self, step)));
        }
        let what = format!("{} transactions, each of which must come before the next", cycle.steps.len());
        Anomaly { kind: cycle.kind, what, witness }
    }
}

/// The end of a list is where things happen.
fn shown_list(list: &[u32]) -> String {
    let skipped = list.len().saturating_sub(LIST_SHOWN_MAX);
    let shown = list[skipped..].iter().map(|element| match *element {
        ListHistory::FOREIGN => "?".to_owned(),
        element => element.to_string(),
    });
    let shown = shown.collect::<Vec<_>>().join(" ");
    if skipped > 0 { format!("[({skipped} more) {shown}]") } else { format!("[{shown}]") }
}

/// Whether another finding of this kind is worth its words.
fn is_wanted(anomalies: &[Anomaly], kind: super::anomaly::Kind) -> bool {
    anomalies.iter().filter(|anomaly| anomaly.kind == kind).count() < ANOMALIES_MAX
}
