//! Requests of one connection that were decoded together: what they are, before any of them runs.

use super::Machine;
use crate::command::Flags;
use crate::command::args::Args;
use crate::command::table::{self, Entry};
use crate::event::ConnId;
use crate::route;
use cairn_storage::engine::elements::elements_of;
use cairn_storage::limits::TOUCH_KEYS_MAX;

/// Requests that were decoded together. Kept to be used again.
#[derive(Default)]
pub(super) struct Batch {
    pub ranges: Vec<(u32, u32)>,
    pub requests: Vec<Request>,
    /// The heads of keys whose number a command says: those of scripts, of unions.
    pub counted: Vec<u64>,
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
            Some(Entry { spec, .. }) if spec.keynum > 0 => {
                let keys = spec.counted(&args).unwrap_or_default().map(|at| &args[at]);
                let heads = keys.take(TOUCH_KEYS_MAX).map(|key| route::head(route::slot(key), key, hash_seed));
                self.counted.extend(heads);
                0
            }
            _ => 0,
        };
        self.requests.push(Request { start, ranges, entry, head });
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.ranges.clear();
        self.requests.clear();
        self.counted.clear();
    }

    /// The arguments of a request.
    pub fn args<'a>(&'a self, input: &'a [u8], request: &Request) -> Args<'a> {
        Args::new(&input[request.start..], &self.ranges[request.ranges.0 as usize..request.ranges.1 as usize])
    }

    /// The heads of the first keys of some requests, and all that are counted.
    pub fn heads_of(&self, is_meant: impl Fn(&Request) -> bool) -> impl Iterator<Item = u64> {
        let first = self.requests.iter().filter(move |request| request.head != 0 && is_meant(request));
        first.map(|request| request.head).chain(self.counted.iter().copied())
    }
}

impl Machine {
    /// Warms the caches for the batch's rows. Rows of other shards are not there, which does no harm. What is absent is read,
    /// as far as it may be.
    pub(super) fn touch(&mut self, conn: ConnId, input: &[u8], batch: &Batch) {
        let mut heads = std::mem::take(&mut self.batch.heads);
        heads.clear();
        heads.extend(batch.heads_of(|_| true));
        let mut absent = Vec::new();
        self.shard.engine().touch(self.session(conn).client.db, &heads, |missing| absent.push(missing));
        if !absent.is_empty() {
            if self.shard.engine().defers() && !self.shard.versions().are_wanted() {
                // Rows that are only set wait for their pages.
                heads.clear();
                heads.extend(batch.heads_of(|request| !request.is_blind()));
                absent.clear();
                self.shard.engine().touch(self.session(conn).client.db, &heads, |missing| absent.push(missing));
            }
            self.fetch_ahead(absent);
        }
        self.touch_elements(conn, input, batch, &mut heads);
        self.batch.heads = heads;
    }

    /// The same of elements of large collections that the batch looks for.
    fn touch_elements(&mut self, conn: ConnId, input: &[u8], batch: &Batch, heads: &mut Vec<u64>) {
        heads.clear();
        let db = self.session(conn).client.db;
        let mut last = (0, None);
        for request in &batch.requests {
            let Some(Entry { spec, .. }) = request.entry else { continue };
            if spec.member == 0 {
                continue;
            }
            let args = batch.args(input, request);
            let Some(member) = args.get(spec.member) else { continue };
            if last.0 != request.head {
                last = (request.head, self.shard.number_at(db, request.head, &args[spec.keys.first]));
            }
            heads.extend(last.1.map(|number| self.shard.element_head(number, member)));
        }
        if heads.len() > 1 {
            self.shard.engine().touch(elements_of(db), heads, drop);
        }
    }
}
