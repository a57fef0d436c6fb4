//! ACL LOG: what was denied lately, on one core. The logs of all cores are put together when somebody asks.

use super::Denied;
use std::collections::VecDeque;

/// Where it was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    Toplevel,
    Multi,
    Script,
}

impl Context {
    pub fn name(self) -> &'static str {
        match self {
            Context::Toplevel => "toplevel",
            Context::Multi => "multi",
            Context::Script => "lua",
        }
    }
}

/// Denials that are alike are one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: u64,
    pub count: u64,
    pub what: Denied,
    pub context: Context,
    pub object: Vec<u8>,
    pub user: Vec<u8>,
    /// The line of CLIENT LIST of the client that was denied last.
    pub client: String,
    pub created_ms: u64,
    pub updated_ms: u64,
}

/// How much later another denial is one of the same entry, and how many entries are looked at for that.
const ALIKE_MS_MAX: u64 = 60_000;
const LOOKS_MAX: usize = 10;

impl Entry {
    fn is_alike(&self, other: &Entry) -> bool {
        self.what == other.what
            && self.context == other.context
            && self.updated_ms.abs_diff(other.updated_ms) <= ALIKE_MS_MAX
            && self.object == other.object
            && self.user == other.user
    }

    /// Takes a later one of its kind in.
    fn take(&mut self, later: Entry) {
        self.count += later.count;
        self.client = later.client;
        self.updated_ms = later.updated_ms;
    }
}

/// The log of one core.
#[derive(Debug)]
pub struct AclLog {
    /// The latest first.
    entries: VecDeque<Entry>,
    id_next: u64,
    id_step: u64,
}

impl AclLog {
    pub fn new(shard: u16, shards: u16) -> AclLog {
        AclLog { entries: VecDeque::new(), id_next: u64::from(shard), id_step: u64::from(shards) }
    }

    /// Notes a denial, and keeps so many entries. Its id is given here.
    pub fn note(&mut self, len_max: usize, mut entry: Entry) {
        self.entries.truncate(len_max);
        if len_max == 0 {
            return;
        }
        let alike = self.entries.iter().take(LOOKS_MAX).position(|known| known.is_alike(&entry));
        if let Some(mut known) = alike.and_then(|at| self.entries.remove(at)) {
            known.take(entry);
            self.entries.push_front(known);
            return;
        }
        entry.id = self.id_next;
        self.id_next += self.id_step;
        self.entries.push_front(entry);
        self.entries.truncate(len_max);
    }

    pub fn reset(&mut self) {
        self.entries.clear();
    }

    /// The latest ones.
    pub fn latest(&self, count: usize) -> Vec<Entry> {
        self.entries.iter().take(count).cloned().collect()
    }
}

/// The logs of all cores in one, the latest first.
pub fn merged(mut entries: Vec<Entry>, count: usize) -> Vec<Entry> {
    entries.sort_by_key(|entry| (entry.updated_ms, entry.id));
    let mut out: Vec<Entry> = Vec::new();
    for entry in entries {
        let lately = out.len().saturating_sub(LOOKS_MAX);
        match out[lately..].iter().position(|known| known.is_alike(&entry)) {
            Some(at) => {
                let mut known = out.remove(lately + at);
                known.take(entry);
                out.push(known);
            }
            None => out.push(entry),
        }
    }
    out.reverse();
    out.truncate(count);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(object: &str, ms: u64) -> Entry {
        Entry {
            id: 0,
            count: 1,
            what: Denied::Key,
            context: Context::Toplevel,
            object: object.into(),
            user: b"u".to_vec(),
            client: format!("at {ms}"),
            created_ms: ms,
            updated_ms: ms,
        }
    }

    fn shown(entries: &[Entry]) -> Vec<String> {
        let show = |it: &Entry| {
            format!(
                "{} {}*{} {}..{}",
                it.id,
                String::from_utf8_lossy(&it.object),
                it.count,
                it.created_ms,
                it.updated_ms
            )
        };
        entries.iter().map(show).collect()
    }

    #[test]
    fn denials_that_are_alike_are_one_entry_for_a_minute() {
        let mut log = AclLog::new(0, 1);
        for (object, ms) in [("a", 0), ("b", 1), ("a", 50_000), ("a", 110_000), ("a", 170_001)] {
            log.note(10, entry(object, ms));
        }
        assert_eq!(shown(&log.latest(10)), ["2 a*1 170001..170001", "0 a*3 0..110000", "1 b*1 1..1"]);
        assert_eq!(log.latest(1).len(), 1);
        log.note(2, entry("c", 200_000));
        assert_eq!(shown(&log.latest(10)), ["3 c*1 200000..200000", "2 a*1 170001..170001"]);
        log.note(0, entry("c", 200_000));
        assert!(log.latest(10).is_empty());
    }

    #[test]
    fn the_logs_of_two_cores_are_one() {
        let (mut one, mut two) = (AclLog::new(0, 2), AclLog::new(1, 2));
        for (ms, log) in [(1, &mut one), (2, &mut two)] {
            log.note(10, entry("a", ms));
            log.note(10, entry(if ms == 1 { "b" } else { "c" }, ms + 10));
        }
        let all = merged([one.latest(10), two.latest(10)].concat(), 10);
        assert_eq!(shown(&all), ["3 c*1 12..12", "2 b*1 11..11", "0 a*2 1..2"]);
    }
}
