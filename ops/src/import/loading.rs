//! What is found in an RDB file, as requests: a value at once, or a large collection piece by piece.

use super::sink::Sink;
use cairn_core::collection::packed::Entries;
use cairn_core::collection::stream::Facts;
use cairn_core::collection::stream::id::EntryId;
use cairn_core::number::double;
use cairn_core::rdb::file::Found;
use cairn_core::rdb::read::Step;
use cairn_core::rdb::stream::{Group, Stream};
use cairn_core::rdb::{Value, Version, deadline_of, payload};
use cairn_core::shard::Kind;
use std::collections::BTreeMap;
use std::io;

/// A collection is sent as one payload up to so many bytes and elements, beyond that in pieces of about so many bytes.
const WHOLE_BYTES_MAX: usize = 8 * 1024 * 1024;
const WHOLE_ELEMENTS_MAX: u64 = 128 * 1024;

/// Elements of one request that adds to a large collection. Each may belong to another page, and all of these are in memory at once: a server with little
/// of that takes no more.
const PIECE_ELEMENTS: usize = 128;

/// What was sent.
#[derive(Default)]
pub struct Counts {
    /// By database and kind.
    pub keys: BTreeMap<u64, [u64; Kind::ALL.len()]>,
    /// Whose time was over.
    pub expired: u64,
    pub libraries: u64,
    /// Modules that have left data beside the keys.
    pub modules: Vec<String>,
}

impl Counts {
    pub fn total(&self) -> u64 {
        self.keys.values().flatten().sum()
    }
}

/// Sends what is found.
pub struct Loader {
    pub sink: Sink,
    pub counts: Counts,
    /// What is there is overwritten.
    is_replacing: bool,
    now_ms: u64,
    current: Option<Current>,
}

/// The key whose value is being read.
struct Current {
    key: Vec<u8>,
    kind: Kind,
    /// A hash whose fields come with deadlines.
    is_timed: bool,
    expire_ms: Option<u64>,
    count: u64,
    facts: Facts,
    groups: Vec<Group>,
    /// It goes in pieces, and the first one has gone.
    is_in_pieces: bool,
    /// It is passed over: its time is over, or the key is there.
    is_skipped: bool,
}

impl Loader {
    pub fn new(sink: Sink, is_replacing: bool, now_ms: u64) -> Loader {
        Loader { sink, counts: Counts::default(), is_replacing, now_ms, current: None }
    }

    /// The key that is being read, for an error.
    pub fn key(&self) -> Option<&[u8]> {
        self.current.as_ref().map(|current| &current.key[..])
    }

    /// Takes what a step has found; `out` is what it has read of a value, and is taken as far as it is sent.
    pub fn take(&mut self, found: Found, out: &mut Vec<u8>) -> io::Result<()> {
        match found {
            Found::Database(db) => self.sink.select(db)?,
            Found::Function(text) => {
                self.counts.libraries += 1;
                let words: &[&[u8]] = &[b"FUNCTION", b"LOAD", b"REPLACE", &text];
                let plain: &[&[u8]] = &[b"FUNCTION", b"LOAD", &text];
                self.sink.command(if self.is_replacing { words } else { plain }, "")?;
            }
            Found::ModuleAux { name } => {
                if !self.counts.modules.contains(&name) {
                    self.counts.modules.push(name);
                }
            }
            Found::Key { key, kind, is_timed, expire_ms } => {
                let is_skipped = expire_ms.is_some_and(|ms| ms <= self.now_ms);
                self.counts.expired += u64::from(is_skipped);
                let (facts, groups) = (Facts::default(), Vec::new());
                let (count, is_in_pieces) = (0, false);
                let current =
                    Current { key, kind, is_timed, expire_ms, count, facts, groups, is_in_pieces, is_skipped };
                self.current = Some(current);
            }
            Found::Piece(Step::End) => {
                let current = self.current.take().expect("a piece is of a key");
                let bytes = std::mem::take(out);
                if !current.is_skipped {
                    self.finish(current, bytes)?;
                }
            }
            Found::Piece(step) => self.piece(step, out)?,
            Found::Header { .. } | Found::Aux { .. } | Found::Sizes { .. } | Found::End { .. } => {}
        }
        Ok(())
    }

    fn piece(&mut self, step: Step, out: &mut Vec<u8>) -> io::Result<()> {
        let current = self.current.as_mut().expect("a piece is of a key");
        match step {
            Step::Entries(count) => current.count += count,
            Step::Facts(facts) => current.facts = facts,
            Step::Group(group) => current.groups.push(group),
            Step::String | Step::End => return Ok(()),
        }
        if current.is_skipped {
            out.clear();
            return Ok(());
        }
        if current.is_in_pieces || out.len() > WHOLE_BYTES_MAX || current.count > WHOLE_ELEMENTS_MAX {
            let mut current = self.current.take().expect("it was just now");
            self.begin_pieces(&mut current)?;
            if !current.is_skipped {
                self.add(&current, out)?;
            }
            out.clear();
            self.current = Some(current);
        }
        Ok(())
    }

    /// The first piece of a collection is about to go.
    fn begin_pieces(&mut self, current: &mut Current) -> io::Result<()> {
        if std::mem::replace(&mut current.is_in_pieces, true) {
            return Ok(());
        }
        if self.is_replacing {
            return self.sink.value(&current.key, &[b"DEL", &current.key]);
        }
        let reply = self.sink.ask(&[b"EXISTS", &current.key])?;
        if reply.integer() != Some(0) {
            current.is_skipped = true;
            self.sink.refuse(&current.key, &reply);
        }
        Ok(())
    }

    /// Adds elements to a large collection.
    fn add(&mut self, current: &Current, packed: &[u8]) -> io::Result<()> {
        let key = &current.key[..];
        let (name, per) = match current.kind {
            Kind::List => (&b"RPUSH"[..], 1),
            Kind::Set => (&b"SADD"[..], 1),
            Kind::Hash if current.is_timed => return self.add_timed(key, packed),
            Kind::Hash => (&b"HSET"[..], 2),
            Kind::ZSet => (&b"ZADD"[..], 2),
            Kind::Stream => return self.add_entries(key, packed),
            Kind::String => unreachable!("a string has no elements"),
        };
        let entries: Vec<&[u8]> = Entries::of(packed).collect();
        for piece in entries.chunks(PIECE_ELEMENTS * per) {
            let mut words = vec![name, key];
            let scores: Vec<Vec<u8>> = match current.kind {
                Kind::ZSet => piece.iter().skip(1).step_by(2).map(|score| text_of(score)).collect(),
                _ => Vec::new(),
            };
            if current.kind == Kind::ZSet {
                piece.iter().step_by(2).zip(&scores).for_each(|(member, score)| words.extend([&score[..], member]));
            } else {
                words.extend(piece);
            }
            self.sink.value(key, &words)?;
        }
        Ok(())
    }

    /// Adds fields with deadlines to a large hash: those of one deadline at once.
    fn add_timed(&mut self, key: &[u8], packed: &[u8]) -> io::Result<()> {
        let entries: Vec<&[u8]> = Entries::of(packed).collect();
        for piece in entries.chunks(PIECE_ELEMENTS * 3) {
            let mut by_deadline: BTreeMap<u64, Vec<&[u8]>> = BTreeMap::new();
            for field in piece.chunks(3) {
                by_deadline.entry(deadline_of(field[2])).or_default().extend(&field[..2]);
            }
            for (deadline, fields) in by_deadline {
                let (ms, number) = (deadline.to_string(), (fields.len() / 2).to_string());
                let mut words: Vec<&[u8]> = match deadline {
                    0 => vec![b"HSET", key],
                    _ => vec![b"HSETEX", key, b"PXAT", ms.as_bytes(), b"FIELDS", number.as_bytes()],
                };
                words.extend(fields);
                self.sink.value(key, &words)?;
            }
        }
        Ok(())
    }

    fn add_entries(&mut self, key: &[u8], packed: &[u8]) -> io::Result<()> {
        for entry in Entries::of(packed) {
            let (id, fields) = EntryId::split(entry);
            let id = id.to_string();
            let words: Vec<&[u8]> = [&b"XADD"[..], key, id.as_bytes()].into_iter().chain(Entries::of(fields)).collect();
            self.sink.value(key, &words)?;
        }
        Ok(())
    }

    /// All of a value has been read.
    fn finish(&mut self, current: Current, bytes: Vec<u8>) -> io::Result<()> {
        let Current { key, kind, is_timed, expire_ms, count, facts, groups, is_in_pieces, .. } = current;
        self.counts.keys.entry(self.sink.db()).or_default()[kind as usize] += 1;
        let ms = expire_ms.map(|ms| ms.to_string());
        let ms = ms.as_deref().map(str::as_bytes);
        if is_in_pieces {
            if kind == Kind::Stream {
                self.finish_stream(&key, &facts, &groups)?;
            }
            return match ms {
                Some(ms) => self.sink.value(&key, &[b"PEXPIREAT", &key, ms]),
                None => Ok(()),
            };
        }
        let value = match kind {
            Kind::String => {
                // As large as a request may be: a payload of it would be larger.
                let mut words: Vec<&[u8]> = vec![b"SET", &key, &bytes];
                words.extend(ms.iter().flat_map(|ms| [&b"PXAT"[..], ms]));
                words.extend((!self.is_replacing).then_some(&b"NX"[..]));
                return self.sink.value(&key, &words);
            }
            Kind::Stream => Value::Stream(Box::new(Stream { entries: bytes, facts, groups })),
            Kind::Hash if is_timed => Value::Timed { bytes, count },
            kind => Value::Entries { kind, bytes, count },
        };
        let payload = payload::encode(&value, Version::Eleven);
        let mut words: Vec<&[u8]> = vec![b"RESTORE", &key, ms.unwrap_or(b"0"), &payload, b"ABSTTL"];
        words.extend(self.is_replacing.then_some(&b"REPLACE"[..]));
        self.sink.value(&key, &words)
    }

    /// What a large stream is besides its entries. What is pending though its entry is gone is not kept: XCLAIM does not take it.
    fn finish_stream(&mut self, key: &[u8], facts: &Facts, groups: &[Group]) -> io::Result<()> {
        let (last, deleted, added) = (facts.last.to_string(), facts.max_deleted.to_string(), facts.added.to_string());
        let words = ["XSETID", "", &last, "ENTRIESADDED", &added, "MAXDELETEDID", &deleted];
        self.send(key, &words)?;
        for group in groups {
            let name = &group.name[..];
            let (last, read) = (group.last.to_string(), group.read.unwrap_or(-1).to_string());
            let create: [&[u8]; 7] =
                [b"XGROUP", b"CREATE", key, name, last.as_bytes(), b"ENTRIESREAD", read.as_bytes()];
            self.sink.value(key, &create)?;
            for (consumer, _) in &group.consumers {
                self.sink.value(key, &[b"XGROUP", b"CREATECONSUMER", key, name, consumer])?;
            }
            for (id, pending) in &group.pending {
                let (consumer, _) = &group.consumers[pending.consumer as usize];
                let (id, time, count) = (id.to_string(), pending.delivered_ms.to_string(), pending.count.to_string());
                let claim: [&[u8]; 12] = [
                    b"XCLAIM",
                    key,
                    name,
                    consumer,
                    b"0",
                    id.as_bytes(),
                    b"TIME",
                    time.as_bytes(),
                    b"RETRYCOUNT",
                    count.as_bytes(),
                    b"FORCE",
                    b"JUSTID",
                ];
                self.sink.value(key, &claim)?;
            }
        }
        Ok(())
    }

    /// A request whose second word is the key.
    fn send(&mut self, key: &[u8], words: &[&str]) -> io::Result<()> {
        let mut words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        words[1] = key;
        self.sink.value(key, &words)
    }
}

/// A score as ZADD takes it.
fn text_of(score: &[u8]) -> Vec<u8> {
    let score = f64::from_le_bytes(score.try_into().expect("a score has its length"));
    double::format(score).as_bytes().to_vec()
}
