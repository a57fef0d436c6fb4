//! What is asked in a run of `cairn verify`, and what is recorded of it: one workload for each checker. A workload knows its clients by number
//! and nothing of connections: it is told when a client may ask, what came back, and when nothing will.

mod bank;
mod counters;
mod list_append;
pub mod once;
mod pairs;
mod queues;
mod register;
mod streams;
#[cfg(test)]
mod tests;
mod turnover;

pub use bank::Bank;
pub use counters::Counters;
pub use list_append::Lists;
pub use pairs::Pairs;
pub use queues::Queues;
pub use register::Registers;
pub use streams::Streams;

use super::anomaly::Anomaly;
use super::span::Outcome;
use crate::sim::reply::{Frame, shown};
use cairn_core::route::{SLOTS, slot};
use turnover::Turnover;

/// Commands that are sent together, and how many replies they get.
#[derive(Debug, Default)]
pub struct Request {
    pub bytes: Vec<u8>,
    pub replies: usize,
}

impl Request {
    /// Adds a command. Its words stand between blanks.
    pub fn say(&mut self, command: &str) {
        self.words(&command.split(' ').collect::<Vec<_>>());
    }

    /// Adds a command of these words.
    pub fn words(&mut self, words: &[&str]) {
        self.bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        self.replies += 1;
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.replies = 0;
    }
}

/// What a workload has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub committed: u64,
    pub aborted: u64,
    pub unknown: u64,
    /// Of all: over several shards.
    pub across: u64,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.committed += other.committed;
        self.aborted += other.aborted;
        self.unknown += other.unknown;
        self.across += other.across;
    }

    pub fn note(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Committed => self.committed += 1,
            Outcome::Aborted => self.aborted += 1,
            Outcome::Unknown => self.unknown += 1,
        }
    }
}

/// The clients of one checker.
pub trait Workload {
    fn name(&self) -> &'static str;

    /// What must be done once, and answered, before anything else.
    fn prepare(&self, request: &mut Request);

    /// Begins an operation of a client that has none under way.
    fn begin(&mut self, client: u32, now: u64, request: &mut Request);

    /// The same, where only what was written is still to be read; false once all that is under way or over.
    fn begin_last(&mut self, client: u32, now: u64, request: &mut Request) -> bool;

    /// All replies to what the client asked last. If it asks on, the operation is not over. An error says which reply should not be:
    /// then nothing was recorded, and `on_lost` has to follow.
    fn on_replies(&mut self, client: u32, now: u64, replies: &[Frame], request: &mut Request) -> Result<(), String>;

    /// What is under way will not be answered.
    fn on_lost(&mut self, client: u32);

    fn tally(&self) -> Tally;

    /// Whether the history is one that there may be.
    fn check(&self) -> Vec<Anomaly>;
}

/// The number of the shard that a key is on, if there are so many.
pub fn shard_of(key: &str, shards: u16) -> u32 {
    u32::from(slot(key.as_bytes())) * u32::from(shards) / u32::from(SLOTS)
}

/// How long those who wait do so at most. Where nobody judges who is told that there is nothing they do not hold up the others for long.
fn wait_ms_max(patience_ns: Option<u64>) -> u32 {
    if patience_ns.is_some() { 400 } else { 40 }
}

/// Whether they are on several.
pub fn is_across(mut keys: impl Iterator<Item = String>, shards: u16) -> bool {
    let first = keys.next().map(|key| shard_of(&key, shards));
    keys.any(|key| Some(shard_of(&key, shards)) != first)
}

/// A reply that should not be.
fn unexpected(what: &str, frame: &Frame) -> String {
    match frame {
        Frame::Line(line) => format!("{what}: {}", shown(line)),
        other => format!("{what}: {other:?}"),
    }
}

/// What EXEC answered: the replies of its commands, `None` if a watched key had changed.
fn executed<'f, 'b>(replies: &'f [Frame<'b>]) -> Result<Option<&'f [Frame<'b>]>, String> {
    let (last, before) = replies.split_last().expect("EXEC has a reply");
    if let Some(wrong) = before.iter().find(|frame| !matches!(frame, Frame::Line(b"+OK" | b"+QUEUED"))) {
        return Err(unexpected("before EXEC", wrong));
    }
    match last {
        // MULTI was answered too.
        Frame::Array(frames) if frames.len() == before.len() - 1 => Ok(Some(frames)),
        Frame::Null => Ok(None),
        other => Err(unexpected("EXEC", other)),
    }
}

/// A number that may be missing.
fn number(frame: &Frame) -> Result<Option<i64>, String> {
    match frame {
        Frame::Null => Ok(None),
        Frame::Integer(number) => Ok(Some(*number)),
        Frame::Bulk(bytes) => {
            let number = str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
            number.map(Some).ok_or_else(|| unexpected("no number", frame))
        }
        other => Err(unexpected("no number", other)),
    }
}

fn is_ok(frame: &Frame) -> Result<(), String> {
    if *frame == Frame::Line(b"+OK") { Ok(()) } else { Err(unexpected("no OK", frame)) }
}
