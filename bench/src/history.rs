//! What one shard has done, step by step, and how much of it clients have been told: the judge of what a crash leaves.
//!
//! Steps are numbered from 1. What has been *acknowledged* is a number too: some client has been told of that step, so it
//! and all before it must survive every crash. After a crash the survivors must be the rows after some step, the
//! acknowledged one or a later one; from then on all that survived counts as acknowledged, since anybody may read it.

use crate::model::{Change, Rows, Step};
use std::collections::{BTreeMap, BTreeSet};

/// The steps of one shard.
#[derive(Debug, Default)]
pub struct History {
    /// The rows after the last crash, and the number of the step that they are.
    base: Rows,
    base_step: u64,
    /// The steps since.
    steps: Vec<Step>,
    acknowledged: u64,
    /// What acknowledged more than anything before it.
    tellings: Vec<Telling>,
    /// The last step of each row, and of each database as a whole.
    last: BTreeMap<(u8, Vec<u8>), u64>,
    cleared: BTreeMap<u8, u64>,
}

/// A reply that told a client of a step.
#[derive(Debug)]
struct Telling {
    step: u64,
    by: String,
    is_write: bool,
}

impl History {
    pub fn last_step(&self) -> u64 {
        self.base_step + self.steps.len() as u64
    }

    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Adds a step.
    pub fn push(&mut self, step: Step) -> u64 {
        let number = self.last_step() + 1;
        for change in &step {
            match change {
                Change::Put { db, key, .. } | Change::Delete { db, key } => {
                    self.last.insert((*db, key.to_vec()), number);
                }
                Change::Clear { db } => {
                    self.cleared.insert(*db, number);
                }
                Change::Swap { one, other } => {
                    self.cleared.extend([(*one, number), (*other, number)]);
                }
            }
        }
        self.steps.push(step);
        number
    }

    /// The last step that a reader of this row has seen something of.
    pub fn seen(&self, db: u8, key: &[u8]) -> u64 {
        let cleared = self.cleared.get(&db).copied().unwrap_or(0);
        self.last.get(&(db, key.to_vec())).copied().unwrap_or(0).max(cleared)
    }

    /// A client was told of this step, by a reply to a write or to a read.
    pub fn acknowledge(&mut self, step: u64, is_write: bool, by: impl FnOnce() -> String) {
        assert!(step <= self.last_step(), "only what was done can be acknowledged");
        if step > self.acknowledged {
            self.acknowledged = step;
            self.tellings.push(Telling { step, by: by(), is_write });
        }
    }

    /// A crash has left `survivors`. Answers how many steps behind the acknowledged one survived, and goes on from there.
    pub fn recover(&mut self, survivors: &Rows) -> Result<u64, String> {
        let mut rows = self.base.clone();
        let mut differing = differences(&rows, survivors);
        let (mut step, mut before) = (self.base_step, None);
        while !differing.is_empty() || step < self.acknowledged {
            if differing.is_empty() {
                before = Some(step);
            }
            let Some(changes) = self.steps.get((step - self.base_step) as usize) else {
                return Err(self.explain(before, survivors));
            };
            step += 1;
            for change in changes {
                rows.apply(change);
                match change {
                    Change::Clear { .. } | Change::Swap { .. } => differing = differences(&rows, survivors),
                    Change::Put { db, key, .. } | Change::Delete { db, key } => {
                        let place = (*db, key.to_vec());
                        if rows.get(*db, key) == survivors.get(*db, key) {
                            differing.remove(&place);
                        } else {
                            differing.insert(place);
                        }
                    }
                }
            }
        }
        let kept = step - self.acknowledged;
        (self.base, self.base_step, self.acknowledged) = (rows, step, step);
        self.steps.clear();
        self.tellings.clear();
        self.last.retain(|_, last| *last <= step);
        self.cleared.retain(|_, last| *last <= step);
        Ok(kept)
    }

    /// What is wrong with the survivors, if they are the rows after step `before`, or after none.
    fn explain(&self, before: Option<u64>, survivors: &Rows) -> String {
        let (acknowledged, last) = (self.acknowledged, self.last_step());
        let mut text = match before {
            Some(before) => {
                let lost = self.tellings.iter().find(|telling| telling.step > before);
                let Telling { step, by, is_write } = lost.expect("what is acknowledged was told by somebody");
                let what = if *is_write { "acknowledged implies present" } else { "a read is never taken back" };
                format!("{what}: {by} told of step {step}, and only {before} of {last} steps survived")
            }
            None => format!(
                "survivors are a prefix: no step up to {last} explains what survived ({acknowledged} are acknowledged)"
            ),
        };
        let at = |step: u64| {
            let mut rows = self.base.clone();
            self.steps[..(step - self.base_step) as usize].iter().flatten().for_each(|change| rows.apply(change));
            rows
        };
        let (told, end) = (at(acknowledged), at(last));
        for (db, key) in differences(&told, survivors).iter().take(3) {
            text += &format!(
                "\n  {db}/{}: survived {}; when acknowledged {}; in the end {}",
                key.escape_ascii(),
                shown(survivors, *db, key),
                shown(&told, *db, key),
                shown(&end, *db, key)
            );
        }
        text
    }
}

/// The rows, by database and key, that are not the same.
pub fn differences(a: &Rows, b: &Rows) -> BTreeSet<(u8, Vec<u8>)> {
    let mut differing = BTreeSet::new();
    for db in 0..crate::model::DATABASES {
        let keys = a.iter(db).chain(b.iter(db)).map(|(key, _)| key);
        differing.extend(keys.filter(|key| a.get(db, key) != b.get(db, key)).map(|key| (db, key.to_vec())));
    }
    differing
}

/// A row for people.
pub fn shown(rows: &Rows, db: u8, key: &[u8]) -> String {
    const SHOWN_BYTES: usize = 24;
    let Some(row) = rows.get(db, key) else { return "nothing".to_owned() };
    if let Some(collection) = &row.collection {
        return format!("a {} of {} (until {})", collection.name(), collection.len(), row.expire_ms);
    }
    let head = row.value[..row.value.len().min(SHOWN_BYTES)].escape_ascii();
    format!("\"{head}\" ({} bytes, until {})", row.value.len(), row.expire_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Row;
    use std::rc::Rc;

    fn put(key: &str, value: &str) -> Change {
        Change::Put {
            db: 0,
            key: key.as_bytes().into(),
            row: Row { value: Rc::new(value.into()), collection: None, expire_ms: 0 },
        }
    }

    fn rows(changes: &[Change]) -> Rows {
        let mut rows = Rows::default();
        changes.iter().for_each(|change| rows.apply(change));
        rows
    }

    fn history() -> History {
        let mut history = History::default();
        history.push(vec![put("a", "1")]);
        history.push(vec![put("b", "1"), put("c", "1")]);
        history.push(vec![put("a", "2")]);
        history
    }

    #[test]
    fn survivors_are_a_prefix_of_steps() {
        let [a1, b1, c1, a2] = [put("a", "1"), put("b", "1"), put("c", "1"), put("a", "2")];
        let check = |survivors: &[Change], expect: Option<u64>| {
            assert_eq!(history().recover(&rows(survivors)).ok(), expect, "{survivors:?}");
        };
        check(&[], Some(0));
        check(std::slice::from_ref(&a1), Some(1));
        check(&[a1.clone(), b1.clone(), c1.clone()], Some(2));
        check(&[a2.clone(), b1.clone(), c1], Some(3));
        // Half a step, and a step without those before it.
        check(&[a1, b1], None);
        check(&[a2], None);
    }

    #[test]
    fn what_was_acknowledged_must_be_there() {
        for (is_write, name) in [(true, "acknowledged implies present"), (false, "a read is never taken back")] {
            let mut acknowledged = history();
            acknowledged.acknowledge(2, is_write, || "somebody".into());
            let lost = acknowledged.recover(&rows(&[put("a", "1")])).unwrap_err();
            assert!(lost.starts_with(name), "{lost}");
        }
        let mut acknowledged = history();
        assert_eq!((acknowledged.seen(0, b"a"), acknowledged.seen(0, b"c")), (3, 2));
        acknowledged.acknowledge(2, true, || "somebody".into());
        let survivors = rows(&[put("a", "1"), put("b", "1"), put("c", "1")]);
        assert_eq!(acknowledged.recover(&survivors).ok(), Some(0));
        assert_eq!((acknowledged.seen(0, b"a"), acknowledged.last_step()), (0, 2));
    }
}
