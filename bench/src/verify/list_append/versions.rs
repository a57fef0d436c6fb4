//! The order of each key's versions, and what is wrong with it without looking at any cycle: elements that are lost, twice there,
//! from nowhere, of a refused transaction or of an unfinished one.

use super::cycles::Step;
use super::graph::Edge;
use super::{ListHistory, Op, is_wanted, shown_list};
use crate::verify::anomaly::{Anomaly, Kind};
use crate::verify::span::{Outcome, Span};
use std::collections::HashMap;

/// No transaction, no position.
pub const NONE: u32 = u32::MAX;

/// Who wrote what, and in which order.
pub struct Versions<'a> {
    /// By element: who appended it.
    pub writer: Vec<u32>,
    /// By element: its place in its key's order; [`NONE`] if nobody has read it.
    pub position: Vec<u32>,
    /// By key: the longest read, which is the order.
    pub order: Vec<&'a [u32]>,
    /// By transaction: committed, or seen to have happened.
    pub is_real: Vec<bool>,
}

impl<'a> Versions<'a> {
    pub fn of(history: &'a ListHistory, anomalies: &mut Vec<Anomaly>) -> Versions<'a> {
        let mut writer = vec![NONE; history.elements as usize];
        for txn in 0..history.txns.len() as u32 {
            for (_, element) in history.appends(txn) {
                assert!(writer[element as usize] == NONE, "an element is appended once");
                writer[element as usize] = txn;
            }
        }
        let mut order: Vec<&[u32]> = vec![&[]; history.keys as usize];
        for (_, key, list) in history.reads() {
            let longest = &mut order[key as usize];
            if list.len() > longest.len() {
                *longest = list;
            }
        }
        let is_real = history.txns.iter().map(|txn| txn.outcome == Outcome::Committed).collect();
        let position = vec![NONE; writer.len()];
        let mut versions = Versions { writer, position, order, is_real };
        versions.place(history, anomalies);
        versions.check_reads(history, anomalies);
        versions.check_inside(history, anomalies);
        versions.check_presence(history, anomalies);
        versions
    }

    pub fn writer(&self, element: u32) -> u32 {
        self.writer.get(element as usize).copied().unwrap_or(NONE)
    }

    /// Numbers the elements of each order, and judges them one by one.
    fn place(&mut self, history: &ListHistory, anomalies: &mut Vec<Anomaly>) {
        let mut aborted = Vec::new();
        for key in 0..self.order.len() {
            for (at, &element) in self.order[key].iter().enumerate() {
                let writer = self.writer(element);
                let is_of_key = || history.appends(writer).any(|append| append == (key as u32, element));
                if writer == NONE || !is_of_key() {
                    if is_wanted(anomalies, Kind::Phantom) {
                        let what =
                            format!("key {key} has element {} that nobody appended to it", shown_list(&[element]));
                        anomalies.push(found(history, Kind::Phantom, what, &[self.reader(history, key, at)]));
                    }
                    continue;
                }
                if self.position[element as usize] != NONE {
                    if is_wanted(anomalies, Kind::Duplicate) {
                        let what = format!("key {key} has element {element} twice");
                        let txns = [writer, self.reader(history, key, at)];
                        anomalies.push(found(history, Kind::Duplicate, what, &txns));
                    }
                    continue;
                }
                self.position[element as usize] = at as u32;
                self.is_real[writer as usize] = true;
                if history.txns[writer as usize].outcome == Outcome::Aborted {
                    aborted.push((writer, key, at));
                }
            }
        }
        for (writer, key, at) in aborted {
            if is_wanted(anomalies, Kind::G1a) {
                let what = format!("key {key} has an element of T{writer}, which was refused");
                let txns = [writer, self.reader(history, key, at)];
                anomalies.push(found(history, Kind::G1a, what, &txns));
            }
        }
    }

    /// Who first read so much of a key that it saw place `at` of its order.
    fn reader(&self, history: &ListHistory, key: usize, at: usize) -> u32 {
        let mut readers = history.reads().filter(|(_, of, list)| *of as usize == key && list.len() > at);
        readers.next().map_or(NONE, |(txn, ..)| txn)
    }

    /// Every read is a beginning of the order, and ends where a transaction had finished with the key.
    fn check_reads(&self, history: &ListHistory, anomalies: &mut Vec<Anomaly>) {
        for (txn, key, list) in history.reads() {
            let order = self.order[key as usize];
            if !order.starts_with(list) {
                if is_wanted(anomalies, Kind::IncompatibleOrder) {
                    let what = format!("key {key} was read as {} and as {}", shown_list(list), shown_list(order));
                    let other = self.reader(history, key as usize, order.len() - 1);
                    anomalies.push(found(history, Kind::IncompatibleOrder, what, &[txn, other]));
                }
                continue;
            }
            let Some(&last) = list.last() else { continue };
            let writer = self.writer(last);
            if writer == NONE || writer == txn {
                continue;
            }
            let finished = history.appends(writer).filter(|(of, _)| *of == key).last();
            if finished.is_some_and(|finished| finished != (key, last)) && is_wanted(anomalies, Kind::G1b) {
                let what = format!("T{txn} read key {key} as T{writer} had it before its last append there");
                anomalies.push(found(history, Kind::G1b, what, &[writer, txn]));
            }
        }
    }

    /// A transaction sees its own appends, behind what it read before.
    fn check_inside(&self, history: &ListHistory, anomalies: &mut Vec<Anomaly>) {
        for txn in 0..history.txns.len() as u32 {
            let ops = history.ops(txn);
            for (at, op) in ops.iter().enumerate() {
                let Op::Read { key, begin, len } = *op else { continue };
                let list = history.list(begin, len);
                let mut own = Vec::new();
                let mut known: Option<&[u32]> = None;
                for before in &ops[..at] {
                    match *before {
                        Op::Append { key: of, element } if of == key => own.push(element),
                        Op::Read { key: of, begin, len } if of == key => {
                            known = Some(history.list(begin, len));
                            own.clear();
                        }
                        _ => {}
                    }
                }
                let is_right = match known {
                    Some(known) => {
                        list.len() == known.len() + own.len() && list.starts_with(known) && list.ends_with(&own)
                    }
                    None => list.ends_with(&own),
                };
                if !is_right && is_wanted(anomalies, Kind::Internal) {
                    let what = format!("T{txn} does not find in key {key} what it has read and appended itself");
                    anomalies.push(found(history, Kind::Internal, what, &[txn]));
                }
            }
        }
    }

    /// What was acknowledged, or is there in part, is there as a whole for those who look later.
    fn check_presence(&self, history: &ListHistory, anomalies: &mut Vec<Anomaly>) {
        // By key: the read that began last.
        let mut last_read: Vec<(u64, u32)> = vec![(0, NONE); self.order.len()];
        for (txn, key, _) in history.reads() {
            let invoked = history.txns[txn as usize].span.invoked;
            let last = &mut last_read[key as usize];
            if last.1 == NONE || invoked > last.0 {
                *last = (invoked, txn);
            }
        }
        let evidence = self.evidence(history);
        for txn in 0..history.txns.len() as u32 {
            if !self.is_real[txn as usize] {
                continue;
            }
            let completed = history.txns[txn as usize].span.completed;
            let known = if completed == Span::OPEN { evidence.get(&txn).copied() } else { Some((completed, txn)) };
            let Some((known, shows)) = known else { continue };
            for (key, element) in history.appends(txn) {
                let (invoked, reader) = last_read[key as usize];
                if self.position[element as usize] != NONE || reader == NONE || invoked <= known {
                    continue;
                }
                let is_lost = shows == txn;
                let kind = if is_lost { Kind::Lost } else { Kind::Torn };
                if is_wanted(anomalies, kind) {
                    let why = if is_lost { "was acknowledged" } else { "is there in part" };
                    let what = format!("T{txn} {why}, and its element {element} is not in key {key}");
                    let txns = if is_lost { vec![txn, reader] } else { vec![txn, shows, reader] };
                    anomalies.push(found(history, kind, what, &txns));
                }
            }
        }
    }

    /// For transactions without an answer of which a part was not seen: when somebody first knew a part, and who.
    fn evidence(&self, history: &ListHistory) -> HashMap<u32, (u64, u32)> {
        let mut parts: HashMap<u32, Vec<(u32, u32)>> = HashMap::new();
        for txn in 0..history.txns.len() as u32 {
            let is_open = history.txns[txn as usize].span.completed == Span::OPEN && self.is_real[txn as usize];
            let is_partial = || history.appends(txn).any(|(_, element)| self.position[element as usize] == NONE);
            if is_open && is_partial() {
                for (key, element) in history.appends(txn) {
                    let position = self.position[element as usize];
                    if position != NONE {
                        parts.entry(key).or_default().push((position, txn));
                    }
                }
            }
        }
        let mut first: HashMap<u32, (u64, u32)> = HashMap::new();
        if parts.is_empty() {
            return first;
        }
        for (reader, key, list) in history.reads() {
            let completed = history.txns[reader as usize].span.completed;
            for &(position, txn) in parts.get(&key).into_iter().flatten() {
                if (position as usize) < list.len() && first.get(&txn).is_none_or(|(known, _)| completed < *known) {
                    first.insert(txn, (completed, reader));
                }
            }
        }
        first
    }

    /// Why one transaction comes before the other.
    pub fn why(&self, history: &ListHistory, step: &Step) -> String {
        let next = |key: u32, at: usize| self.order[key as usize].get(at).copied();
        let is_to = |element: u32| self.writer(element) == step.to;
        let unseen = |key: u32| {
            history.appends(step.to).any(|(of, element)| of == key && self.position[element as usize] == NONE)
        };
        for op in history.ops(step.from) {
            match (*op, step.edge) {
                (Op::Append { key, element }, Edge::Ww) => {
                    let at = self.position[element as usize];
                    let Some(next) = (at != NONE).then(|| next(key, at as usize + 1)) else { continue };
                    match next {
                        Some(next) if is_to(next) => return format!("ww: key {key} has {element}, then {next}"),
                        None if unseen(key) => {
                            return format!("ww: key {key} ended with {element} for all who read it");
                        }
                        _ => {}
                    }
                }
                (Op::Append { key, element }, Edge::Wr) => {
                    let is_read = history.ops(step.to).iter().any(|op| match *op {
                        Op::Read { key: of, begin, len } => {
                            of == key && history.list(begin, len).last() == Some(&element)
                        }
                        Op::Append { .. } => false,
                    });
                    if is_read {
                        return format!("wr: key {key} was read with {element} as its last element");
                    }
                }
                (Op::Read { key, len, .. }, Edge::Rw) => match next(key, len as usize) {
                    Some(next) if is_to(next) => return format!("rw: key {key} was read without {next}"),
                    None if unseen(key) => return format!("rw: key {key} was read without what was appended"),
                    _ => {}
                },
                _ => {}
            }
        }
        "rt: it had ended before the other began".to_owned()
    }
}

fn found(history: &ListHistory, kind: Kind, what: String, txns: &[u32]) -> Anomaly {
    let mut witness: Vec<String> = txns.iter().filter(|txn| **txn != NONE).map(|txn| history.shown(*txn)).collect();
    witness.dedup();
    Anomaly { kind, what, witness }
}
