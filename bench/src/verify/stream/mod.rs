//! Streams that some add to, and others read, by themselves and as consumers of groups. Each entry has a number that is so once; so it can be
//! told what became of it.
//!
//! - `entries`: what was acknowledged is there, ids grow, and who reads on from an id gets what is behind it.
//! - `group`: each entry is given to one consumer of a group, and to others only if they claim it; it is pending until it is acknowledged, and not
//!   given again then.
//! - Here: what is recorded.

mod entries;
mod group;
#[cfg(test)]
mod tests;

use super::anomaly::{Anomaly, Kind};
use super::limits::ANOMALIES_MAX;
use super::span::{Outcome, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The id of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    pub ms: u64,
    pub sequence: u64,
}

impl EntryId {
    pub fn parse(bytes: &[u8]) -> Option<EntryId> {
        let (ms, sequence) = str::from_utf8(bytes).ok()?.split_once('-')?;
        Some(EntryId { ms: ms.parse().ok()?, sequence: sequence.parse().ok()? })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.sequence)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub id: EntryId,
    pub number: u32,
}

/// A group of consumers of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    pub key: u32,
    pub number: u8,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {} of stream {}", self.number, self.key)
    }
}

/// An entry was added.
#[derive(Clone, Copy, Debug)]
pub struct Add {
    pub span: Span,
    pub outcome: Outcome,
    pub key: u32,
    pub number: u32,
    /// If it was answered.
    pub id: Option<EntryId>,
}

/// From where on a stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Id(EntryId),
    /// What comes from now on.
    Now,
}

/// What XREAD answered of a stream. If that is nothing, so it answered of all its streams.
#[derive(Clone, Debug)]
pub struct Read {
    pub span: Span,
    pub key: u32,
    pub after: After,
    pub is_patient: bool,
    pub count_max: usize,
    pub found: Vec<Entry>,
}

/// What a consumer wants. It is known by its client's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// What the group was not given yet.
    New { is_patient: bool },
    /// All that it was given and has not acknowledged.
    Own,
    /// What anybody was given and has not acknowledged, from an id on; up to another one, if not to the end.
    Claim { start: EntryId, end: Option<EntryId> },
}

/// A consumer was given something.
#[derive(Clone, Debug)]
pub struct Give {
    pub span: Span,
    pub group: Group,
    pub want: Want,
    pub count_max: usize,
    /// `None`: it was never answered. Nothing that is new: so it was answered of all its streams.
    pub given: Option<Vec<Entry>>,
}

/// What XACK of one entry answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acked {
    Done,
    NotPending,
    /// It was never answered.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub struct Ack {
    pub span: Span,
    pub group: Group,
    pub id: EntryId,
    pub acked: Acked,
    /// What was added by the same transaction.
    pub with: Option<u32>,
}

/// A stream in the end, and what is pending in each of its groups, for whom.
#[derive(Clone, Debug, Default)]
pub struct Last {
    pub entries: Vec<Entry>,
    pub pending: Vec<BTreeMap<EntryId, u32>>,
}

/// The history of all streams.
#[derive(Debug, Default)]
pub struct StreamHistory {
    adds: Vec<Add>,
    reads: Vec<Read>,
    gives: Vec<Give>,
    acks: Vec<Ack>,
    /// When it was answered that a group is there.
    created: BTreeMap<Group, u64>,
    /// Who was told that one of these groups is not there.
    missing: Vec<(Span, Vec<Group>)>,
    last: BTreeMap<u32, Last>,
    /// As in [`super::queue::QueueHistory`].
    patience_ns: Option<u64>,
}

impl StreamHistory {
    pub fn new(patience_ns: Option<u64>) -> StreamHistory {
        StreamHistory { patience_ns, ..StreamHistory::default() }
    }

    pub fn add(&mut self, add: Add) {
        self.adds.push(add);
    }

    pub fn read(&mut self, read: Read) {
        self.reads.push(read);
    }

    pub fn give(&mut self, give: Give) {
        self.gives.push(give);
    }

    pub fn ack(&mut self, ack: Ack) {
        self.acks.push(ack);
    }

    pub fn create(&mut self, span: Span, group: Group) {
        let since = self.created.entry(group).or_insert(span.completed);
        *since = span.completed.min(*since);
    }

    pub fn miss(&mut self, span: Span, groups: Vec<Group>) {
        self.missing.push((span, groups));
    }

    pub fn last(&mut self, key: u32, last: Last) {
        self.last.insert(key, last);
    }

    pub fn check(&self) -> Vec<Anomaly> {
        let mut anomalies = self.missed();
        let by_key = entries::by_key(self);
        for entries in by_key.values() {
            anomalies.extend(entries.check(self.patience_ns));
        }
        let groups: BTreeSet<Group> = self.gives.iter().map(|give| give.group).collect();
        for group in groups {
            if let Some(entries) = by_key.get(&group.key) {
                anomalies.extend(group::Course::new(self, group, entries).check());
            }
        }
        anomalies.extend(self.torn());
        anomalies.truncate(ANOMALIES_MAX);
        anomalies
    }

    /// Groups that were there and are not.
    fn missed(&self) -> Vec<Anomaly> {
        let was_there = |span: &Span, group: &Group| self.created.get(group).is_some_and(|since| *since < span.invoked);
        let wrong = self.missing.iter().filter(|(span, groups)| groups.iter().all(|group| was_there(span, group)));
        wrong
            .map(|(span, groups)| Anomaly {
                kind: Kind::Lost,
                what: format!("somebody was told that there is no {}, and there was", groups[0]),
                witness: vec![format!("asked {span}")],
            })
            .collect()
    }

    /// Transactions that acknowledge and add, of which nobody was told what became of them: both, or neither.
    fn torn(&self) -> Vec<Anomaly> {
        let there: BTreeSet<u32> =
            self.last.values().flat_map(|last| &last.entries).map(|entry| entry.number).collect();
        let added: BTreeMap<u32, u32> = self.adds.iter().map(|add| (add.number, add.key)).collect();
        let mut anomalies = Vec::new();
        for ack in self.acks.iter().filter(|ack| ack.acked == Acked::Unknown) {
            let Some(number) = ack.with else { continue };
            let Some(last) = self.last.get(&ack.group.key) else { continue };
            let is_added = there.contains(&number);
            if !is_added && !self.last.contains_key(&added[&number]) {
                continue;
            }
            let is_same = |other: &&Ack| other.group == ack.group && other.id == ack.id && !std::ptr::eq(*other, ack);
            let is_alone = self.acks.iter().filter(is_same).all(|other| other.acked == Acked::NotPending);
            let is_pending = last.pending[usize::from(ack.group.number)].contains_key(&ack.id);
            if is_added && is_pending || !is_added && !is_pending && is_alone {
                let [did, not] = if is_added { ["added", "acknowledged"] } else { ["acknowledged", "added"] };
                let what = format!(
                    "{number} was to be added and {} of {} acknowledged: {did}, and not {not}",
                    ack.id, ack.group
                );
                anomalies.push(Anomaly { kind: Kind::Torn, what, witness: vec![format!("asked {}", ack.span)] });
            }
        }
        anomalies
    }
}
