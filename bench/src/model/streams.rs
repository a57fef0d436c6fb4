//! Streams and their consumer groups in the reference model. Ids are named by who asks, and times of deliveries are not kept: what depends on the clock is
//! not asked for.

use super::collections::Collection;
use super::{Command, Refused, integer};
use std::collections::{BTreeMap, BTreeSet};

/// Milliseconds, and a number within them.
pub type Id = (u64, u64);

/// Entries and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Fields and values in turn.
    pub entries: BTreeMap<Id, Vec<Vec<u8>>>,
    /// The last id that was given, how many entries there ever were, and the largest id that XDEL has removed.
    pub last: Id,
    pub added: u64,
    pub max_deleted: Id,
    pub groups: BTreeMap<Vec<u8>, Group>,
}

/// A consumer group, by what its consumers are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub last: Id,
    pub consumers: BTreeSet<Vec<u8>>,
    /// Whose it is, and how often it was delivered.
    pub pending: BTreeMap<Id, (Vec<u8>, i64)>,
}

impl Stream {
    fn keep_last(&mut self, count: usize) -> usize {
        let before = self.entries.len();
        while self.entries.len() > count {
            self.entries.pop_first();
        }
        before - self.entries.len()
    }
}

fn id(text: &[u8]) -> Result<Id, Refused> {
    const INVALID: Refused = "ERR Invalid stream ID specified as stream command argument";
    let text = std::str::from_utf8(text).map_err(|_| INVALID)?;
    let (ms, number) = text.split_once('-').unwrap_or((text, "0"));
    Ok((ms.parse().map_err(|_| INVALID)?, number.parse().map_err(|_| INVALID)?))
}

fn shown((ms, number): Id) -> Vec<u8> {
    format!("{ms}-{number}").into_bytes()
}

impl Command<'_> {
    pub(super) fn run_stream(&mut self, name: &[u8], args: &[&[u8]]) -> Result<bool, Refused> {
        match name {
            b"xgroup" => self.xgroup(args)?,
            b"xreadgroup" => self.xreadgroup(args)?,
            b"xautoclaim" => self.xautoclaim(args)?,
            _ => return self.run_entries(name, args),
        }
        Ok(true)
    }

    fn run_entries(&mut self, name: &[u8], args: &[&[u8]]) -> Result<bool, Refused> {
        let key = args[1];
        let mut stream = self.stream(key);
        match name {
            b"xlen" => self.integer(stream.entries.len() as i64),
            b"xrange" => {
                let all: Vec<Id> = stream.entries.keys().copied().collect();
                self.entries(&stream, &all);
            }
            b"xadd" => self.xadd(args, stream)?,
            b"xdel" => {
                let ids = args[2..].iter().map(|text| id(text)).collect::<Result<Vec<Id>, _>>()?;
                let gone: Vec<Id> = ids.into_iter().filter(|id| stream.entries.remove(id).is_some()).collect();
                stream.max_deleted = gone.iter().copied().fold(stream.max_deleted, Id::max);
                self.keep(key, Collection::Stream(stream), !gone.is_empty());
                self.integer(gone.len() as i64);
            }
            b"xtrim" => {
                let gone = match args[2].to_ascii_lowercase().as_slice() {
                    b"maxlen" => stream.keep_last(integer(args[4])? as usize),
                    _ => {
                        let (from, before) = (id(args[4])?, stream.entries.len());
                        stream.entries.retain(|id, _| *id >= from);
                        before - stream.entries.len()
                    }
                };
                self.keep(key, Collection::Stream(stream), gone > 0);
                self.integer(gone as i64);
            }
            b"xack" => {
                let ids = args[3..].iter().map(|text| id(text)).collect::<Result<Vec<Id>, _>>()?;
                let pending = stream.groups.get_mut(args[2]).map(|group| &mut group.pending);
                let gone = pending.map_or(0, |pending| ids.iter().filter(|id| pending.remove(id).is_some()).count());
                self.keep(key, Collection::Stream(stream), gone > 0);
                self.integer(gone as i64);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// XADD key [MAXLEN = count] id field value ...
    fn xadd(&mut self, args: &[&[u8]], mut stream: Stream) -> Result<(), Refused> {
        let (kept, at) = if args[2].eq_ignore_ascii_case(b"maxlen") { (Some(integer(args[4])?), 5) } else { (None, 2) };
        let new = id(args[at])?;
        if new <= stream.last {
            return Err("ERR The ID specified in XADD is equal or smaller than the target stream top item");
        }
        stream.entries.insert(new, args[at + 1..].iter().map(|field| field.to_vec()).collect());
        (stream.last, stream.added) = (new, stream.added + 1);
        if let Some(kept) = kept {
            stream.keep_last(kept as usize);
        }
        self.keep(args[1], Collection::Stream(stream), true);
        self.bulk(Some(&shown(new)));
        Ok(())
    }

    /// XGROUP CREATE key group id MKSTREAM, XGROUP DESTROY key group, XGROUP DELCONSUMER key group consumer
    fn xgroup(&mut self, args: &[&[u8]]) -> Result<(), Refused> {
        let (key, name) = (args[2], args[3].to_vec());
        let mut stream = self.stream(key);
        let is_there = self.rows.live(self.now_ms, self.db, key).is_some();
        match args[1].to_ascii_lowercase().as_slice() {
            b"create" if stream.groups.contains_key(&name) => {
                return Err("BUSYGROUP Consumer Group name already exists");
            }
            b"create" => {
                let last = if args[4] == b"$" { stream.last } else { id(args[4])? };
                stream.groups.insert(name, Group { last, ..Group::default() });
                self.keep(key, Collection::Stream(stream), true);
                self.simple("OK");
            }
            _ if !is_there => {
                return Err(
                    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
                );
            }
            b"destroy" => {
                let gone = stream.groups.remove(&name).is_some();
                self.keep(key, Collection::Stream(stream), gone);
                self.integer(i64::from(gone));
            }
            other => panic!("the model does not know XGROUP {}", String::from_utf8_lossy(other)),
        }
        Ok(())
    }

    /// XREADGROUP GROUP group consumer COUNT count STREAMS key >
    fn xreadgroup(&mut self, args: &[&[u8]]) -> Result<(), Refused> {
        let (name, consumer, count, key) = (args[2], args[3], integer(args[5])? as usize, args[7]);
        let mut stream = self.stream(key);
        let Some(group) = stream.groups.get_mut(name) else {
            let (key, name) = (String::from_utf8_lossy(key), String::from_utf8_lossy(name));
            self.error(&format!(
                "NOGROUP No such key '{key}' or consumer group '{name}' in XREADGROUP with GROUP option"
            ));
            return Ok(());
        };
        let new = stream.entries.keys().filter(|id| **id > group.last).take(count).copied().collect::<Vec<Id>>();
        let is_first = group.consumers.insert(consumer.to_vec());
        for id in &new {
            group.last = *id;
            group.pending.insert(*id, (consumer.to_vec(), 1));
        }
        if new.is_empty() {
            self.out.reply.extend_from_slice(b"*-1\r\n");
        } else {
            self.array(1);
            self.array(2);
            self.bulk(Some(key));
            self.entries(&stream, &new);
        }
        self.keep(key, Collection::Stream(stream), is_first || !new.is_empty());
        Ok(())
    }

    /// XAUTOCLAIM key group consumer 0 start COUNT count
    fn xautoclaim(&mut self, args: &[&[u8]]) -> Result<(), Refused> {
        let (key, name, consumer) = (args[1], args[2], args[3]);
        let (start, count) = (id(args[5])?, integer(args[7])? as usize);
        let mut stream = self.stream(key);
        let Some(group) = stream.groups.get_mut(name) else {
            let (key, name) = (String::from_utf8_lossy(key), String::from_utf8_lossy(name));
            self.error(&format!("NOGROUP No such key '{key}' or consumer group '{name}'"));
            return Ok(());
        };
        let is_first = group.consumers.insert(consumer.to_vec());
        let mut met = group.pending.range(start..).map(|(id, _)| *id);
        let taken: Vec<Id> = met.by_ref().take(count).collect();
        let next = met.next().unwrap_or_default();
        let (found, gone): (Vec<Id>, Vec<Id>) = taken.iter().partition(|id| stream.entries.contains_key(id));
        gone.iter().for_each(|id| _ = group.pending.remove(id));
        for (id, pending) in &mut group.pending {
            if found.contains(id) {
                *pending = (consumer.to_vec(), pending.1 + 1);
            }
        }
        self.array(3);
        self.bulk(Some(&shown(next)));
        self.entries(&stream, &found);
        self.array(gone.len());
        gone.iter().for_each(|id| self.bulk(Some(&shown(*id))));
        self.keep(key, Collection::Stream(stream), is_first || !taken.is_empty());
        Ok(())
    }

    fn entries(&mut self, stream: &Stream, ids: &[Id]) {
        self.array(ids.len());
        for id in ids {
            let fields = &stream.entries[id];
            self.array(2);
            self.bulk(Some(&shown(*id)));
            self.array(fields.len());
            fields.iter().for_each(|field| self.bulk(Some(field)));
        }
    }

    fn error(&mut self, line: &str) {
        self.out.reply.extend_from_slice(format!("-{line}\r\n").as_bytes());
    }
}
