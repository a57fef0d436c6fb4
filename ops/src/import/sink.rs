//! The server that data goes to: requests are sent many at a time, and their replies are read while the next ones are made.

use crate::link::{Address, Link, request};
use cairn_bench::differ::{Reply, shown};
use std::collections::VecDeque;
use std::io::{self, Write};

/// What is sent at once, about.
const BATCH_BYTES: usize = 256 * 1024;
const BATCH_REQUESTS: usize = 1000;

/// Refusals that are told one by one; the others are counted.
const REFUSALS_TOLD: usize = 10;

/// What a reply is the reply of.
#[derive(Debug)]
enum Sent {
    /// A key's value, or a part of it.
    Value { db: u64, key: Vec<u8> },
    /// Anything else: its words, the first ones, and where it stood.
    Command { shown: String },
}

/// A pipeline to a server.
pub struct Sink {
    link: Link,
    db: u64,
    batch: Vec<u8>,
    /// Requests in the batch, and those that are on their way.
    sent: VecDeque<Sent>,
    in_batch: usize,
    /// Requests about keys that were not done.
    pub refused: u64,
    pub refusals: Vec<String>,
    /// The first command that was refused.
    pub failed: Option<String>,
}

impl Sink {
    pub fn open(address: &Address) -> io::Result<Sink> {
        Ok(Sink {
            link: Link::open(address)?,
            db: 0,
            batch: Vec::new(),
            sent: VecDeque::new(),
            in_batch: 0,
            refused: 0,
            refusals: Vec::new(),
            failed: None,
        })
    }

    /// What follows is of this database.
    pub fn select(&mut self, db: u64) -> io::Result<()> {
        if db != self.db {
            self.db = db;
            self.command(&[b"SELECT", db.to_string().as_bytes()], "")?;
        }
        Ok(())
    }

    pub fn db(&self) -> u64 {
        self.db
    }

    /// A request that is about a key. A refusal is counted, and the others go on.
    pub fn value(&mut self, key: &[u8], words: &[&[u8]]) -> io::Result<()> {
        let sent = Sent::Value { db: self.db, key: key.to_vec() };
        self.push(sent, words)
    }

    /// Any other request. A refusal is a failure.
    pub fn command(&mut self, words: &[&[u8]], place: &str) -> io::Result<()> {
        let shown: Vec<String> = words.iter().take(3).map(|word| shown(word)).collect();
        self.push(Sent::Command { shown: format!("{}{place}", shown.join(" ")) }, words)
    }

    fn push(&mut self, sent: Sent, words: &[&[u8]]) -> io::Result<()> {
        request(&mut self.batch, words.iter().copied());
        self.sent.push_back(sent);
        self.in_batch += 1;
        if self.batch.len() >= BATCH_BYTES || self.in_batch >= BATCH_REQUESTS {
            let before = self.sent.len() - self.in_batch;
            self.send()?;
            self.read(before)?;
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        self.link.writer.write_all(&self.batch)?;
        self.batch.clear();
        // One long value does not keep its room.
        self.batch.shrink_to(2 * BATCH_BYTES);
        self.in_batch = 0;
        Ok(())
    }

    /// Reads so many replies.
    fn read(&mut self, count: usize) -> io::Result<()> {
        for sent in self.sent.drain(..count) {
            let reply = Reply::read(&mut self.link.reader)?;
            let is_refused = reply.is_error() || reply.items().is_some_and(|items| items.iter().any(Reply::is_error));
            match sent {
                // SET with NX has found a key.
                Sent::Value { db, key } if is_refused || matches!(reply, Reply::Bulk { bytes: None, .. }) => {
                    self.refused += 1;
                    if self.refusals.len() < REFUSALS_TOLD {
                        self.refusals.push(refusal(db, &key, is_refused.then_some(&reply)));
                    }
                }
                Sent::Command { shown } if is_refused && self.failed.is_none() => {
                    self.failed = Some(format!("{shown}: {reply}"));
                }
                _ => {}
            }
        }
        match &self.failed {
            Some(why) => Err(io::Error::other(why.clone())),
            None => Ok(()),
        }
    }

    /// Until all that was sent is answered.
    pub fn drain(&mut self) -> io::Result<()> {
        self.send()?;
        self.read(self.sent.len())
    }

    /// A request of its own, when all before is answered.
    pub fn ask(&mut self, words: &[&[u8]]) -> io::Result<Reply> {
        self.drain()?;
        request(&mut self.batch, words.iter().copied());
        self.send()?;
        Reply::read(&mut self.link.reader)
    }

    /// A key is passed over, because it is there, or for what was answered about it.
    pub fn refuse(&mut self, key: &[u8], reply: &Reply) {
        self.refused += 1;
        if self.refusals.len() < REFUSALS_TOLD {
            self.refusals.push(refusal(self.db, key, reply.is_error().then_some(reply)));
        }
    }

    pub fn link(&mut self) -> io::Result<&mut Link> {
        self.drain()?;
        Ok(&mut self.link)
    }
}

fn refusal(db: u64, key: &[u8], error: Option<&Reply>) -> String {
    let why = error.map_or_else(|| "the key is there".to_string(), Reply::to_string);
    format!("database {db}, key \"{}\": {why}", shown(key))
}
