//! Requests of one connection that were decoded together: what they are, before any of them runs.

use crate::command::Flags;
use crate::command::args::Args;
use crate::command::table::{self, Entry};
use crate::route;

/// Requests that were decoded together. Kept to be used again.
#[derive(Default)]
pub(super) struct Batch {
    pub ranges: Vec<(u32, u32)>,
    pub requests: Vec<Request>,
    /// Of those that are touched.
    pub heads: Vec<u64>,
}

/// One decoded request.
#[derive(Clone, Copy)]
pub(super) struct Request {
    /// Where it begins in the input.
    pub start: usize,
    /// Its arguments among the batch's ranges.
    pub ranges: (u32, u32),
    pub entry: Option<Entry>,
    /// Of its first key.
    pub head: u64,
}

impl Request {
    /// Whether it sets its row without a look at it.
    pub fn is_blind(&self) -> bool {
        let args = (self.ranges.1 - self.ranges.0) as i16;
        self.entry.is_some_and(|entry| entry.spec.flags.has(Flags::BLIND) && args == entry.spec.arity.abs())
    }
}

impl Batch {
    /// Looks a request up that stands at `start` of the input, which begins with it, and takes it in.
    #[inline]
    pub fn push(&mut self, input: &[u8], start: usize, ranges: (u32, u32), hash_seed: u64) {
        let args = Args::new(input, &self.ranges[ranges.0 as usize..ranges.1 as usize]);
        let mut entry = table::first(&args[0]);
        if let Some(Entry { spec, .. }) = entry
            && !spec.subcommands.is_empty()
            && let Some(name) = args.get(1)
        {
            entry = table::subcommand(spec, name).or(entry);
        }
        let head = match entry {
            Some(Entry { spec, .. }) if spec.keys.first > 0 && !spec.flags.has(Flags::PUBSUB) => {
                args.get(spec.keys.first).map_or(0, |key| route::head(route::slot(key), key, hash_seed))
            }
            _ => 0,
        };
        self.requests.push(Request { start, ranges, entry, head });
    }

    /// The arguments of a request.
    pub fn args<'a>(&'a self, input: &'a [u8], request: &Request) -> Args<'a> {
        Args::new(&input[request.start..], &self.ranges[request.ranges.0 as usize..request.ranges.1 as usize])
    }

    /// The heads of the first keys of some requests.
    pub fn heads_of(&self, is_meant: impl Fn(&Request) -> bool) -> impl Iterator<Item = u64> {
        self.requests.iter().filter(move |request| request.head != 0 && is_meant(request)).map(|request| request.head)
    }
}
