//! Streams that some add to, and others read, wait for, and work through as consumers of groups: XADD, XREAD, XREADGROUP, XACK, XAUTOCLAIM, also
//! in transactions that acknowledge here and add there. A client is one consumer of each group, whatever connections it has.

use super::{Request, Tally, Turnover, Workload, executed, is_across, unexpected, wait_ms_max};
use crate::sim::reply::Frame;
use crate::verify::anomaly::Anomaly;
use crate::verify::span::{Outcome, Span};
use crate::verify::stream::{Ack, Acked, Add, After, Entry, EntryId, Give, Group, Last, Read, StreamHistory, Want};
use fastrand::Rng;
use std::collections::BTreeMap;

/// How often a key is used until another one takes its place.
const USES_MAX: u32 = 60;
const KEYS_MAX: usize = 3;
const GROUPS: u8 = 2;
const COUNT_MAX: usize = 4;
/// Entries that a client remembers to acknowledge.
const HELD_MAX: usize = 40;

/// Streams and those who use them.
pub struct Streams {
    rng: Rng,
    shards: u16,
    wait_ms_max: u32,
    keys: Turnover,
    number_last: u32,
    /// By client: what it was given and has not acknowledged, and what it has read last of each stream.
    held: Vec<Vec<(Group, EntryId)>>,
    read: Vec<BTreeMap<u32, EntryId>>,
    under_way: Vec<Option<Doing>>,
    history: StreamHistory,
    tally: Tally,
}

/// What a client is about.
#[derive(Clone)]
struct Doing {
    since: u64,
    what: What,
}

#[derive(Clone)]
enum What {
    Adding(Vec<(u32, u32)>),
    Reading {
        streams: Vec<(u32, After)>,
        is_patient: bool,
        count_max: usize,
    },
    Giving {
        groups: Vec<Group>,
        want: Want,
        count_max: usize,
    },
    /// Something is acknowledged, and perhaps something added.
    Acknowledging {
        group: Group,
        id: EntryId,
        with: Option<(u32, u32)>,
    },
    Creating(Group),
    Ending(u32),
}

fn name(key: u32) -> String {
    format!("s:{key}")
}

impl Streams {
    pub fn new(seed: u64, clients: u32, keys: u32, shards: u16, patience_ns: Option<u64>) -> Streams {
        let clients = clients as usize;
        Streams {
            rng: Rng::with_seed(seed ^ 0x73),
            shards,
            wait_ms_max: wait_ms_max(patience_ns),
            keys: Turnover::new(keys, USES_MAX),
            number_last: 0,
            held: vec![Vec::new(); clients],
            read: vec![BTreeMap::new(); clients],
            under_way: vec![None; clients],
            history: StreamHistory::new(patience_ns),
            tally: Tally::default(),
        }
    }

    fn key(&mut self) -> u32 {
        let key = self.keys.any(&mut self.rng);
        self.keys.note_use(key);
        key
    }

    /// Different keys.
    fn some_keys(&mut self) -> Vec<u32> {
        let mut keys: Vec<u32> = (0..self.rng.usize(1..=KEYS_MAX)).map(|_| self.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        self.rng.shuffle(&mut keys);
        keys
    }

    fn say_add(&mut self, key: u32, request: &mut Request) -> (u32, u32) {
        self.number_last += 1;
        request.say(&format!("XADD {} * n {}", name(key), self.number_last));
        (key, self.number_last)
    }

    fn add(&mut self, request: &mut Request) -> What {
        let keys = if self.rng.u8(..3) == 0 { self.some_keys() } else { vec![self.key()] };
        let is_single = keys.len() == 1;
        if !is_single {
            request.say("MULTI");
        }
        let added = keys.into_iter().map(|key| self.say_add(key, request)).collect();
        if !is_single {
            request.say("EXEC");
        }
        What::Adding(added)
    }

    /// Whether it waits, and what it says of that.
    fn wait(&mut self) -> (bool, String) {
        let is_patient = self.rng.u8(..4) > 0;
        (is_patient, if is_patient { format!(" BLOCK {}", self.rng.u32(1..=self.wait_ms_max)) } else { String::new() })
    }

    fn read(&mut self, client: usize, request: &mut Request) -> What {
        let (keys, count_max, (is_patient, block)) = (self.some_keys(), self.rng.usize(1..=COUNT_MAX), self.wait());
        let after = |streams: &mut Streams, key: &u32| match streams.rng.u8(..4) {
            0 if is_patient => After::Now,
            1 => After::Id(EntryId::default()),
            _ => After::Id(streams.read[client].get(key).copied().unwrap_or_default()),
        };
        let streams: Vec<(u32, After)> = keys.iter().map(|key| (*key, after(self, key))).collect();
        let names: Vec<String> = keys.into_iter().map(name).collect();
        let said = |(_, after): &(u32, After)| match after {
            After::Id(id) => id.to_string(),
            After::Now => "$".to_owned(),
        };
        let ids: Vec<String> = streams.iter().map(said).collect();
        request.say(&format!("XREAD COUNT {count_max}{block} STREAMS {} {}", names.join(" "), ids.join(" ")));
        What::Reading { streams, is_patient, count_max }
    }

    fn take(&mut self, client: u32, request: &mut Request) -> What {
        let number = self.rng.u8(..GROUPS);
        let (keys, count_max, (is_patient, block)) = (self.some_keys(), self.rng.usize(1..=COUNT_MAX), self.wait());
        let names: Vec<String> = keys.iter().copied().map(name).collect();
        let ids = vec![">"; keys.len()].join(" ");
        let names = names.join(" ");
        request.say(&format!("XREADGROUP GROUP g{number} c{client} COUNT {count_max}{block} STREAMS {names} {ids}"));
        let groups = keys.into_iter().map(|key| Group { key, number }).collect();
        What::Giving { groups, want: Want::New { is_patient }, count_max }
    }

    /// What the client has, or what all have.
    fn look(&mut self, client: u32, request: &mut Request) -> What {
        let group = Group { key: self.key(), number: self.rng.u8(..GROUPS) };
        let (key, number) = (name(group.key), group.number);
        let groups = vec![group];
        if self.rng.bool() {
            request.say(&format!("XREADGROUP GROUP g{number} c{client} STREAMS {key} 0"));
            return What::Giving { groups, want: Want::Own, count_max: usize::MAX };
        }
        let mut held = self.held[client as usize].iter().filter(|(of, _)| *of == group);
        let start = held.next().filter(|_| self.rng.bool()).map(|(_, id)| *id).unwrap_or_default();
        let count_max = self.rng.usize(1..=COUNT_MAX);
        request.say(&format!("XAUTOCLAIM {key} g{number} c{client} 0 {start} COUNT {count_max}"));
        What::Giving { groups, want: Want::Claim { start, end: None }, count_max }
    }

    fn acknowledge(&mut self, client: u32, request: &mut Request) -> What {
        let held = &mut self.held[client as usize];
        if held.is_empty() {
            return self.take(client, request);
        }
        let (group, id) = held.swap_remove(self.rng.usize(..held.len()));
        let ack = format!("XACK {} g{} {id}", name(group.key), group.number);
        if self.rng.bool() {
            request.say(&ack);
            return What::Acknowledging { group, id, with: None };
        }
        request.say("MULTI");
        request.say(&ack);
        let key = self.key();
        let with = Some(self.say_add(key, request));
        request.say("EXEC");
        What::Acknowledging { group, id, with }
    }

    fn end(&mut self, keys: impl Iterator<Item = u32>, outcome: Outcome) {
        self.tally.note(outcome);
        self.tally.across += u64::from(is_across(keys.map(name), self.shards));
    }

    fn added(&mut self, span: Span, added: &[(u32, u32)], outcome: Outcome, ids: &[EntryId]) {
        for (at, (key, number)) in added.iter().enumerate() {
            self.history.add(Add { span, outcome, key: *key, number: *number, id: ids.get(at).copied() });
        }
    }

    fn were_read(&mut self, client: u32, span: Span, what: What, found: Vec<(u32, Vec<Entry>)>) {
        let is_nothing = found.is_empty();
        let mut found: BTreeMap<u32, Vec<Entry>> = found.into_iter().collect();
        let outcome = if is_nothing { Outcome::Aborted } else { Outcome::Committed };
        match what {
            What::Reading { streams, is_patient, count_max } => {
                self.end(streams.iter().map(|(key, _)| *key), outcome);
                for (key, after) in streams {
                    let found = found.remove(&key).unwrap_or_default();
                    if let Some(last) = found.last() {
                        self.read[client as usize].insert(key, last.id);
                    }
                    if is_nothing || !found.is_empty() {
                        self.history.read(Read { span, key, after, is_patient, count_max, found });
                    }
                }
            }
            What::Giving { groups, want, count_max } => {
                self.end(groups.iter().map(|group| group.key), outcome);
                for group in groups {
                    let given = found.remove(&group.key).unwrap_or_default();
                    let held = &mut self.held[client as usize];
                    held.extend(given.iter().map(|entry| (group, entry.id)));
                    held.sort_unstable();
                    held.dedup();
                    held.truncate(HELD_MAX);
                    if is_nothing || !given.is_empty() {
                        self.history.give(Give { span, group, want, count_max, given: Some(given) });
                    }
                }
            }
            _ => unreachable!("nothing was read"),
        }
    }

    /// What is answered for groups: what was given, or that one is not there.
    fn were_given(
        &mut self,
        client: u32,
        span: Span,
        what: What,
        frame: &Frame,
        request: &mut Request,
    ) -> Result<(), String> {
        let What::Giving { groups, want, count_max } = &what else { unreachable!("something was to be given") };
        if let Frame::Line(line) = frame
            && line.starts_with(b"-NOGROUP ")
        {
            self.history.miss(span, groups.clone());
            let group = groups[self.rng.usize(..groups.len())];
            request.say(&format!("XGROUP CREATE {} g{} 0 MKSTREAM", name(group.key), group.number));
            self.under_way[client as usize] = Some(Doing { since: span.completed, what: What::Creating(group) });
            return Ok(());
        }
        if let Want::Claim { start, .. } = *want {
            let wrong = || unexpected("what was claimed", frame);
            let Frame::Array(parts) = frame else { return Err(wrong()) };
            let [Frame::Bulk(end), Frame::Array(all), Frame::Array(gone)] = &parts[..] else { return Err(wrong()) };
            if !gone.is_empty() {
                return Err(wrong());
            }
            let end = EntryId::parse(end).ok_or_else(wrong)?;
            let want = Want::Claim { start, end: Some(end).filter(|end| *end != EntryId::default()) };
            let given = all.iter().map(entry).collect::<Result<_, _>>()?;
            let what = What::Giving { groups: groups.clone(), want, count_max: *count_max };
            self.were_read(client, span, what, vec![(groups[0].key, given)]);
        } else {
            let found = streams(frame)?;
            self.were_read(client, span, what, found);
        }
        Ok(())
    }
}

/// An id, as XADD answers it.
fn id(frame: &Frame) -> Result<EntryId, String> {
    let id = if let Frame::Bulk(bytes) = frame { EntryId::parse(bytes) } else { None };
    id.ok_or_else(|| unexpected("no id", frame))
}

/// An entry, with its only field.
fn entry(frame: &Frame) -> Result<Entry, String> {
    let Frame::Array(parts) = frame else { return Err(unexpected("no entry", frame)) };
    let [of, Frame::Array(fields)] = &parts[..] else { return Err(unexpected("no entry", frame)) };
    let number = match &fields[..] {
        [Frame::Bulk(b"n"), value] => super::number(value)?.and_then(|number| u32::try_from(number).ok()),
        _ => None,
    };
    Ok(Entry { id: id(of)?, number: number.ok_or_else(|| unexpected("no entry", frame))? })
}

/// Entries by stream.
fn streams(frame: &Frame) -> Result<Vec<(u32, Vec<Entry>)>, String> {
    let of_stream = |frame: &Frame| {
        let wrong = || unexpected("no stream", frame);
        let Frame::Array(parts) = frame else { return Err(wrong()) };
        let [Frame::Bulk(name), Frame::Array(entries)] = &parts[..] else { return Err(wrong()) };
        let key = str::from_utf8(name).ok().and_then(|name| name.strip_prefix("s:")?.parse().ok());
        Ok((key.ok_or_else(wrong)?, entries.iter().map(entry).collect::<Result<_, _>>()?))
    };
    match frame {
        Frame::Null => Ok(Vec::new()),
        Frame::Array(all) => all.iter().map(of_stream).collect(),
        _ => Err(unexpected("no streams", frame)),
    }
}

/// Who has what is pending, as XPENDING lists it; nothing where there is no group.
fn pending(frame: &Frame) -> Result<BTreeMap<EntryId, u32>, String> {
    let wrong = || unexpected("what is pending", frame);
    let all = match frame {
        Frame::Array(all) => all,
        Frame::Line(line) if line.starts_with(b"-NOGROUP ") => return Ok(BTreeMap::new()),
        _ => return Err(wrong()),
    };
    let of_entry = |frame: &Frame| {
        let Frame::Array(parts) = frame else { return Err(wrong()) };
        let [of, Frame::Bulk(consumer), ..] = &parts[..] else { return Err(wrong()) };
        let owner = str::from_utf8(consumer).ok().and_then(|name| name.strip_prefix('c')?.parse().ok());
        Ok((id(of)?, owner.ok_or_else(wrong)?))
    };
    all.iter().map(of_entry).collect()
}

impl Workload for Streams {
    fn name(&self) -> &'static str {
        "stream"
    }

    fn prepare(&self, _: &mut Request) {}

    fn begin(&mut self, client: u32, now: u64, request: &mut Request) {
        let what = match self.rng.u8(..20) {
            0..6 => self.add(request),
            6..9 => self.read(client as usize, request),
            9..14 => self.take(client, request),
            14..17 => self.acknowledge(client, request),
            _ => self.look(client, request),
        };
        self.under_way[client as usize] = Some(Doing { since: now, what });
    }

    fn begin_last(&mut self, client: u32, now: u64, request: &mut Request) -> bool {
        let Some(key) = self.keys.next_last() else { return false };
        request.say("MULTI");
        request.say(&format!("XRANGE {} - +", name(key)));
        (0..GROUPS).for_each(|group| request.say(&format!("XPENDING {} g{group} - + 1000000", name(key))));
        request.say("EXEC");
        self.under_way[client as usize] = Some(Doing { since: now, what: What::Ending(key) });
        true
    }

    fn on_replies(&mut self, client: u32, now: u64, replies: &[Frame], request: &mut Request) -> Result<(), String> {
        let Doing { since, what } =
            self.under_way[client as usize].clone().expect("a client that is answered has asked");
        let span = Span { client, invoked: since, completed: now };
        match what {
            What::Adding(added) => {
                let all = if added.len() == 1 { replies } else { executed(replies)?.ok_or("EXEC answers nil")? };
                let ids = all.iter().map(id).collect::<Result<Vec<_>, _>>()?;
                self.added(span, &added, Outcome::Committed, &ids);
                self.end(added.iter().map(|(key, _)| *key), Outcome::Committed);
            }
            What::Reading { .. } => {
                let found = streams(&replies[0])?;
                self.were_read(client, span, what, found);
            }
            What::Giving { .. } => {
                self.were_given(client, span, what, &replies[0], request)?;
                if request.replies > 0 {
                    return Ok(());
                }
            }
            What::Acknowledging { group, id: of, with } => {
                let all = if with.is_none() { replies } else { executed(replies)?.ok_or("EXEC answers nil")? };
                let acked = match all[0] {
                    Frame::Integer(1) => Acked::Done,
                    Frame::Integer(0) => Acked::NotPending,
                    ref wrong => return Err(unexpected("XACK", wrong)),
                };
                if let Some(added) = with {
                    self.added(span, &[added], Outcome::Committed, &[id(&all[1])?]);
                }
                self.history.ack(Ack { span, group, id: of, acked, with: with.map(|(_, number)| number) });
                self.end(with.map(|(key, _)| key).into_iter().chain([group.key]), Outcome::Committed);
            }
            What::Creating(group) => {
                match replies[0] {
                    Frame::Line(b"+OK") => {}
                    Frame::Line(line) if line.starts_with(b"-BUSYGROUP ") => {}
                    ref wrong => return Err(unexpected("XGROUP", wrong)),
                }
                self.history.create(span, group);
                self.end([group.key].into_iter(), Outcome::Committed);
            }
            What::Ending(key) => {
                let all = executed(replies)?.ok_or("EXEC answers nil")?;
                let Frame::Array(entries) = &all[0] else { return Err(unexpected("all of it", &all[0])) };
                let entries = entries.iter().map(entry).collect::<Result<_, _>>()?;
                let pending = all[1..].iter().map(pending).collect::<Result<_, _>>()?;
                self.history.last(key, Last { entries, pending });
                self.tally.committed += 1;
            }
        }
        self.under_way[client as usize] = None;
        Ok(())
    }

    fn on_lost(&mut self, client: u32) {
        let Some(Doing { since, what }) = self.under_way[client as usize].take() else { return };
        let span = Span::open(client, since);
        match what {
            What::Adding(added) => {
                self.added(span, &added, Outcome::Unknown, &[]);
                self.end(added.iter().map(|(key, _)| *key), Outcome::Unknown);
            }
            What::Giving { groups, want, count_max } => {
                self.end(groups.iter().map(|group| group.key), Outcome::Unknown);
                for group in groups {
                    self.history.give(Give { span, group, want, count_max, given: None });
                }
            }
            What::Acknowledging { group, id, with } => {
                self.added(span, with.as_slice(), Outcome::Unknown, &[]);
                let number = with.map(|(_, number)| number);
                self.history.ack(Ack { span, group, id, acked: Acked::Unknown, with: number });
                self.end(with.map(|(key, _)| key).into_iter().chain([group.key]), Outcome::Unknown);
            }
            What::Reading { .. } | What::Creating(_) => self.tally.unknown += 1,
            What::Ending(key) => self.keys.read_again(key),
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn check(&self) -> Vec<Anomaly> {
        self.history.check()
    }
}
