//! A reply that is expected: what each shard contributes to it, and how the parts become one.

use super::checks::Args;
use super::reply::{self, Frame};
use std::collections::BTreeSet;

/// A reply that is expected.
pub struct Answer {
    pub args: Args,
    /// The number of the hole that waits for other shards' parts; 0 for none.
    pub hole: u64,
    pub join: Join,
    pub shards: Vec<usize>,
    pub parts: Vec<Option<Part>>,
}

/// How the parts of a reply become one.
pub enum Join {
    Only,
    Sum,
    /// The least of all, or this, if that is more.
    Oldest {
        least: i64,
    },
    /// For each part the places of its elements.
    Places(Vec<Vec<usize>>),
    /// The last part's reply: they are all alike.
    Alike,
    Scan,
}

/// What one shard contributes, and the step that it tells of.
pub struct Part {
    pub reply: Vec<u8>,
    pub step: u64,
    /// For SCAN: the keys that were there.
    pub live: BTreeSet<Vec<u8>>,
}

impl Answer {
    /// The reply, once all parts are there. Of a refused write only the beginning.
    pub fn join(&self) -> Option<Vec<u8>> {
        let parts: Vec<&Part> = self.parts.iter().map(Option::as_ref).collect::<Option<_>>()?;
        if let Some(refused) = parts.iter().find(|part| part.reply.starts_with(b"-")) {
            return Some(refused.reply.clone());
        }
        Some(match &self.join {
            Join::Only | Join::Alike | Join::Scan => parts.last()?.reply.clone(),
            Join::Sum => format!(":{}\r\n", parts.iter().map(integer).sum::<i64>()).into_bytes(),
            Join::Oldest { least } => {
                let oldest = parts.iter().map(integer).min()?;
                format!(":{}\r\n", oldest.max(*least)).into_bytes()
            }
            Join::Places(places) => {
                let mut elements = vec![&b""[..]; places.iter().map(Vec::len).sum()];
                for (part, places) in parts.iter().zip(places) {
                    for (element, place) in reply::elements(&part.reply).into_iter().zip(places) {
                        elements[*place] = element;
                    }
                }
                let mut out = format!("*{}\r\n", elements.len()).into_bytes();
                elements.iter().for_each(|element| out.extend_from_slice(element));
                out
            }
        })
    }
}

fn integer(part: &&Part) -> i64 {
    match reply::parse(&part.reply) {
        Some(Frame::Integer(number)) => number,
        other => panic!("{other:?} is no number"),
    }
}

impl Part {
    /// One that tells of no row.
    pub fn plain(reply: &[u8]) -> Part {
        Part { reply: reply.to_vec(), step: 0, live: BTreeSet::new() }
    }
}
