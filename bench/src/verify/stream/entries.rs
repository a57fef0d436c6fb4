//! The entries of a stream: each stands once, at the id that XADD has answered, and ids grow; and who reads gets all that is behind an id.

use super::{Add, After, Entry, EntryId, Last, Read, StreamHistory};
use crate::verify::anomaly::{Anomaly, Kind};
use crate::verify::span::{Outcome, Span};
use std::collections::BTreeMap;

/// All that is known of a stream.
#[derive(Default)]
pub struct Entries<'a> {
    key: u32,
    /// By number.
    adds: BTreeMap<u32, &'a Add>,
    reads: Vec<&'a Read>,
    last: Option<&'a Last>,
    /// What somebody was given, and when.
    seen: Vec<(Entry, Span)>,
    /// As far as it is known.
    ids: BTreeMap<u32, EntryId>,
}

pub fn by_key(history: &StreamHistory) -> BTreeMap<u32, Entries<'_>> {
    let mut by_key = BTreeMap::<u32, Entries<'_>>::new();
    for add in &history.adds {
        let entries = by_key.entry(add.key).or_default();
        assert!(entries.adds.insert(add.number, add).is_none(), "an entry is added once");
        entries.ids.extend(add.id.map(|id| (add.number, id)));
    }
    for read in &history.reads {
        let entries = by_key.entry(read.key).or_default();
        entries.reads.push(read);
        entries.seen.extend(read.found.iter().map(|entry| (*entry, read.span)));
    }
    for give in &history.gives {
        let seen = give.given.iter().flatten().map(|entry| (*entry, give.span));
        by_key.entry(give.group.key).or_default().seen.extend(seen);
    }
    for (key, last) in &history.last {
        let entries = by_key.entry(*key).or_default();
        entries.last = Some(last);
        entries.seen.extend(last.entries.iter().map(|entry| (*entry, Span::open(0, u64::MAX))));
    }
    for (key, entries) in &mut by_key {
        entries.key = *key;
        for (entry, _) in &entries.seen {
            entries.ids.entry(entry.number).or_insert(entry.id);
        }
    }
    by_key
}

impl<'a> Entries<'a> {
    /// All whose ids are known, in their order, with how they were added.
    pub fn known(&self) -> BTreeMap<EntryId, &'a Add> {
        self.ids.iter().filter_map(|(number, id)| Some((*id, *self.adds.get(number)?))).collect()
    }

    pub fn last(&self) -> Option<&'a Last> {
        self.last
    }

    pub fn check(&self, patience_ns: Option<u64>) -> Vec<Anomaly> {
        let mut anomalies = self.foreign();
        anomalies.extend(self.lost());
        anomalies.extend(self.disordered());
        anomalies.extend(self.reads.iter().filter_map(|read| self.misread(read, patience_ns)));
        anomalies
    }

    fn find(&self, kind: Kind, what: String, spans: &[Span]) -> Anomaly {
        let witness = spans.iter().map(Span::to_string).collect();
        Anomaly { kind, what: format!("stream {}: {what}", self.key), witness }
    }

    /// What nobody has added, or not there, or not yet.
    fn foreign(&self) -> Vec<Anomaly> {
        let judge = |(entry, span): &(Entry, Span)| {
            let Entry { id, number } = entry;
            let Some(add) = self.adds.get(number) else {
                return Some(self.find(Kind::Phantom, format!("{number} was given, which nobody has added"), &[*span]));
            };
            let spans = [*span, add.span];
            match () {
                () if self.ids[number] != *id => {
                    let what = format!("{number} has the ids {id} and {}", self.ids[number]);
                    Some(self.find(Kind::Duplicate, what, &spans))
                }
                () if add.outcome == Outcome::Aborted => {
                    Some(self.find(Kind::G1a, format!("{number} was given, and was refused"), &spans))
                }
                () if span.is_before(&add.span) => {
                    Some(self.find(Kind::Phantom, format!("{number} was given before it was added"), &spans))
                }
                () => None,
            }
        };
        self.seen.iter().filter_map(judge).collect()
    }

    /// What was acknowledged, or seen, and is not there in the end.
    fn lost(&self) -> Vec<Anomaly> {
        let Some(last) = self.last else { return Vec::new() };
        let mut anomalies = Vec::new();
        for (number, add) in &self.adds {
            let is_there = last.entries.iter().any(|entry| entry.number == *number);
            if !is_there && (add.outcome == Outcome::Committed || self.ids.contains_key(number)) {
                anomalies.push(self.find(Kind::Lost, format!("{number} is gone"), &[add.span]));
            }
        }
        anomalies
    }

    /// Ids that do not grow.
    fn disordered(&self) -> Vec<Anomaly> {
        let mut anomalies = Vec::new();
        let all = self.reads.iter().map(|read| &read.found).chain(self.last.map(|last| &last.entries));
        for found in all {
            if let Some(pair) = found.windows(2).find(|pair| pair[0].id >= pair[1].id) {
                let what = format!("{} stands before {}", pair[0].id, pair[1].id);
                anomalies.push(self.find(Kind::IncompatibleOrder, what, &[]));
            }
        }
        // By the end of what was added: the greatest id so far, of which everything that begins later has a greater one.
        let mut ended: Vec<(&Add, EntryId)> =
            self.adds.values().filter_map(|add| Some((*add, *self.ids.get(&add.number)?))).collect();
        let mut begun = ended.clone();
        ended.sort_by_key(|(add, _)| add.span.completed);
        begun.sort_by_key(|(add, _)| add.span.invoked);
        let (mut ended, mut greatest) = (ended.into_iter().peekable(), None::<(&Add, EntryId)>);
        for (later, id) in begun {
            while let Some((add, of)) = ended.next_if(|(add, _)| add.span.is_before(&later.span)) {
                if greatest.is_none_or(|(_, known)| of > known) {
                    greatest = Some((add, of));
                }
            }
            if let Some((earlier, of)) = greatest.filter(|(_, of)| *of >= id) {
                let what = format!("{id} was given to what was added after {of}");
                anomalies.push(self.find(Kind::Stale, what, &[earlier.span, later.span]));
            }
        }
        anomalies
    }

    /// Whether something was passed over, or given that was not asked for.
    fn misread(&self, read: &Read, patience_ns: Option<u64>) -> Option<Anomaly> {
        let known = self.known();
        let find = |kind, id: EntryId, what: &str| {
            let of = known.get(&id).map(|add| add.span);
            Some(self.find(
                kind,
                format!("{id} {what}"),
                &[Some(read.span), of].into_iter().flatten().collect::<Vec<_>>(),
            ))
        };
        for entry in &read.found {
            let is_asked = match read.after {
                After::Id(after) => entry.id > after,
                After::Now => known.get(&entry.id).is_none_or(|add| !add.span.is_before(&read.span)),
            };
            if !is_asked {
                return find(Kind::Stale, entry.id, "was read, and stands before what was asked for");
            }
        }
        let Some(patience_ns) = (if read.is_patient { patience_ns } else { Some(0) }) else {
            return self.passed_over(read).and_then(|id| find(Kind::Lost, id, "was there, and was passed over"));
        };
        if read.found.is_empty() {
            // Who waits may be told that there is nothing while what has just come is on its way.
            let was_there = |add: &Add| match read.after {
                After::Id(_) if !read.is_patient => add.span.is_before(&read.span),
                After::Id(_) => add.span.completed.saturating_add(patience_ns) <= read.span.completed,
                After::Now => {
                    read.is_patient
                        && read.span.invoked.saturating_add(patience_ns) < add.span.invoked
                        && add.span.completed.saturating_add(patience_ns) <= read.span.completed
                }
            };
            let from = if let After::Id(after) = read.after { after } else { EntryId::default() };
            let mut there = known.iter().filter(|(id, add)| **id > from && was_there(add));
            return there.next().and_then(|(id, _)| find(Kind::Unserved, *id, "was there, and nothing was answered"));
        }
        self.passed_over(read).and_then(|id| find(Kind::Lost, id, "was there, and was passed over"))
    }

    /// What was there before it was read, and stands between what was asked for and what was answered.
    fn passed_over(&self, read: &Read) -> Option<EntryId> {
        let (After::Id(after), Some(end)) = (read.after, read.found.last()) else { return None };
        let is_full = read.found.len() >= read.count_max;
        let known = self.known();
        let mut missing = known.iter().filter(|(id, add)| {
            let is_asked = **id > after && (!is_full || **id < end.id);
            is_asked && add.span.is_before(&read.span) && !read.found.iter().any(|entry| entry.id == **id)
        });
        missing.next().map(|(id, _)| *id)
    }
}
