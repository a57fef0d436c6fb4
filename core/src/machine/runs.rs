//! Runs: commands on one key that follow each other in what a connection has sent, and that are done together, each answered as if it had been done
//! by itself. Increments are in [`super::counts`]; here is what they have in common with the others, which are a command with the arguments of all
//! of them ([`Joined`]).
//!
//! Nothing stands between them, so no one can tell. What is not as simple as that (the row is locked, or not in memory; somebody waits for it, or hears
//! of what is done to it; the connection is in a transaction) is left to `run`, which does them one by one. `docs/decisions/0040-runs.md`.

use super::Machine;
use super::batch::{Batch, Request};
use super::place::Place;
use crate::bug::Bug;
use crate::command::args::Args;
use crate::command::table::Entry;
use crate::command::{Call, Flags, Joined};
use crate::event::ConnId;
use crate::limits::{JOINED_ARGS_MAX, JOINED_BYTES_MAX};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::session::ReplyMode;
use cairn_storage::units::Lsn;

/// What a batch's replies go to, and what they wait for.
pub(super) struct Replying<'a> {
    pub out: &'a mut Replies,
    pub held: &'a mut Lsn,
    /// When the command before ended.
    pub clock_ns: &'a mut u64,
}

/// What stands together at a place of a batch, as far as can be seen at once.
#[derive(Clone, Copy)]
pub(super) enum Together {
    Counts,
    Joined(Joined),
}

/// Commands that are joined. Kept to be used again.
#[derive(Default)]
pub(super) struct Join {
    /// Name, key, and the further arguments of each, within the input.
    ranges: Vec<(u32, u32)>,
    /// How many of these each has.
    parts: Vec<usize>,
}

impl Join {
    /// The last one has the arguments of the one before.
    #[cold]
    fn forget_last(&mut self) {
        let (len, own) = (self.ranges.len(), self.parts.last().copied().unwrap_or(0));
        if len >= 2 + 2 * own {
            self.ranges.copy_within(len - 2 * own..len - own, len - own);
        }
    }
}

impl Machine {
    /// Does the commands of one key that stand at `at` and behind it. `Ok`: so many. `Err`: so many are to be done one by one.
    pub(super) fn run_together(
        &mut self,
        conn: ConnId,
        input: &[u8],
        (batch, at): (&Batch, usize),
        together: Together,
        to: &mut Replying<'_>,
    ) -> Result<usize, usize> {
        let joined = match together {
            Together::Counts => return self.count_together(conn, input, batch, at, to),
            Together::Joined(joined) => joined,
        };
        let mut join = std::mem::take(&mut self.join);
        batch.join(input, at, joined, &mut join);
        let len = join.parts.len();
        if self.planted == Some(Bug::RunForgotten) {
            join.forget_last();
        }
        let done = if len > 1 { self.run_joined(conn, input, (batch, at), joined, &join, to) } else { None };
        self.join = join;
        done.map_or(Err(len.max(1)), |()| Ok(len))
    }

    /// `None`: nothing has happened.
    fn run_joined(
        &mut self,
        conn: ConnId,
        input: &[u8],
        (batch, at): (&Batch, usize),
        joined: Joined,
        join: &Join,
        to: &mut Replying<'_>,
    ) -> Option<()> {
        let Join { ranges, parts } = join;
        let requests = &batch.requests[at..at + parts.len()];
        let args = Args::new(input, ranges);
        let call = self.admit_run(conn, &requests[0], &args, to)?;
        let is_seen = self.shard.announced.hears_of_events() || self.shard.waits.has((call.db, call.head));
        let is_here = matches!(self.place(&call), Place::Here) && !self.is_any_split() && !self.is_locked(&call);
        if is_seen || !is_here || self.session(conn).client.tracking.is_some() {
            return None;
        }
        let (mark, counts) = (to.out.len(), self.shard.read_counts());
        self.shard.begin();
        let ran = (joined.run)(&mut self.shard, &call, parts, &mut Reply::new(to.out, call.is_resp3));
        if ran.is_err() {
            // Whatever it is, the first of them meets it.
            to.out.truncate(mark);
            self.shard.restore_counts(counts);
            return None;
        }
        self.hot.note_run(&call, parts.len() as u32);
        self.end_run(conn, input, batch, requests, (&call, mark), to);
        Some(())
    }

    /// The call of the first of them, if they may be done together. `args` are its own, or those of all of them.
    pub(super) fn admit_run<'a>(
        &mut self,
        conn: ConnId,
        request: &Request,
        args: &'a Args<'a>,
        to: &Replying<'_>,
    ) -> Option<Call<'a>> {
        if self.session(conn).client.is_restricted {
            // Each of them is checked by itself.
            return None;
        }
        let spec = self.admit(conn, request, args, to.out.weight()).ok()?.spec;
        let client = &self.session(conn).client;
        let is_plain = client.multi.is_none() && client.open.is_none();
        let is_told = matches!(client.reply_mode, ReplyMode::On | ReplyMode::Off);
        if !is_plain || !is_told || self.splits.is_unusable() || self.is_anything_parked() && self.has_parked_of(conn) {
            return None;
        }
        let (db, is_resp3) = (client.db, client.is_resp3);
        Some(Call { spec, args, db, is_resp3, now: self.now, head: request.head })
    }

    /// They have been done: they are counted as the commands that they are, and their replies, from `mark` on, wait until all is stable.
    pub(super) fn end_run(
        &mut self,
        conn: ConnId,
        input: &[u8],
        batch: &Batch,
        requests: &[Request],
        (call, mark): (&Call<'_>, usize),
        to: &mut Replying<'_>,
    ) {
        let now_ns = (self.identity.clock_ns)();
        let ns = now_ns.saturating_sub(*to.clock_ns) / requests.len() as u64;
        *to.clock_ns = now_ns;
        let is_counted_later = std::mem::take(&mut self.is_counted_later);
        let entry_of = |request: &Request| request.entry.expect("what is done has been looked up");
        for request in requests {
            let Entry { id, spec, .. } = entry_of(request);
            if !is_counted_later {
                self.stats.on_command(id, ns);
            }
            let call = Call { spec, args: &batch.args(input, request), ..*call };
            self.note_if_slow(conn, ns, &call);
            if self.is_monitored() {
                self.show_command(conn, &call, 0);
            }
        }
        let client = &mut self.session_mut(conn).client;
        client.commands += requests.len() as u64;
        client.last_command = entry_of(&requests[requests.len() - 1]).spec.name;
        let mode = client.reply_mode;
        self.stats.counters.joined_commands += requests.len() as u64;
        self.silence(conn, mode, mark, to.out);
        let lsn = self.shard.observed();
        if lsn > self.shard.stable() && to.out.len() > mark {
            self.gate(conn, entry_of(&requests[0]).id, mark, lsn, to.out, to.held);
        }
    }
}

impl Batch {
    /// Whether the request at `at` and the one behind it may be done together: it costs hardly anything to ask.
    #[inline]
    pub fn together(&self, at: usize) -> Option<Together> {
        let [first, second, ..] = &self.requests[at..] else { return None };
        if first.head != second.head || first.head == 0 {
            return None;
        }
        let (first, second) = (first.entry?, second.entry?);
        if first.id == second.id
            && let Some(joined) = first.spec.joined
        {
            return Some(Together::Joined(joined));
        }
        let counts = |entry: Entry| entry.spec.flags.has(Flags::COUNTS);
        (counts(first) && counts(second)).then_some(Together::Counts)
    }

    /// The commands of one key that stand at `at` and behind it, as far as their number of arguments is right.
    fn join(&self, input: &[u8], at: usize, joined: Joined, join: &mut Join) {
        let Join { ranges, parts } = join;
        ranges.clear();
        parts.clear();
        let first = &self.requests[at];
        let key = self.args(input, first);
        let mut bytes = 0;
        for request in &self.requests[at..] {
            let args = self.args(input, request);
            let is_alike = request.head == first.head
                && request
                    .entry
                    .zip(first.entry)
                    .is_some_and(|(one, other)| one.id == other.id && one.spec.takes(args.len()))
                && args.get(1) == key.get(1)
                && (joined.has_arguments || args.len() == 2);
            let Ok(start) = u32::try_from(request.start) else { return };
            let named = if parts.is_empty() { 0 } else { 2 };
            if !is_alike || ranges.len() + args.len() - named > JOINED_ARGS_MAX {
                return;
            }
            let own = &self.ranges[request.ranges.0 as usize + named..request.ranges.1 as usize];
            let len = self.ranges[request.ranges.1 as usize - 1].1;
            bytes += len as usize;
            if bytes > JOINED_BYTES_MAX || start.checked_add(len).is_none() {
                return;
            }
            ranges.extend(own.iter().map(|(from, to)| (start + from, start + to)));
            parts.push(args.len() - 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    fn joined(requests: &[&[&str]]) -> (Vec<usize>, Vec<String>) {
        let (mut input, mut batch) = (Vec::new(), Batch::default());
        for request in requests {
            let (start, first) = (input.len(), batch.ranges.len() as u32);
            for arg in *request {
                let from = input.len() - start;
                input.extend_from_slice(arg.as_bytes());
                batch.ranges.push((from as u32, (input.len() - start) as u32));
            }
            let ranges = (first, batch.ranges.len() as u32);
            batch.push(&input[start..], start, ranges, 7);
        }
        let joined = table::first(requests[0][0].as_bytes()).unwrap().spec.joined.unwrap();
        let mut join = Join::default();
        batch.join(&input, 0, joined, &mut join);
        let args = Args::new(&input, &join.ranges);
        (join.parts, args.iter().map(|arg| String::from_utf8(arg.to_vec()).unwrap()).collect())
    }

    #[test]
    fn what_is_alike_is_joined_up_to_what_is_not() {
        let (parts, args) = joined(&[&["rpush", "k", "a"], &["RPUSH", "k", "b", "c"], &["rpush", "j", "d"]]);
        assert_eq!((parts, args), (vec![1, 2], ["rpush", "k", "a", "b", "c"].map(String::from).to_vec()));
        for other in [&["lpush", "k", "a"][..], &["rpush", "k"], &["rpush", "kk", "a"], &["rpush"], &["ping"]] {
            assert_eq!(joined(&[&["rpush", "k", "a"], &["rpush", "k", "a"], other]).0, [1, 1], "{other:?}");
        }
        assert_eq!(joined(&[&["lpop", "k"], &["lpop", "k"], &["lpop", "k", "2"], &["lpop", "k"]]).0, [0, 0]);
    }

    #[test]
    fn joined_args_are_bounded() {
        for (beyond, count) in [(0, 3), (1, 3), (2, 2)] {
            // Name, key, and three others stand in front.
            let long = ["x"].repeat(JOINED_ARGS_MAX - 1 - 5 + beyond);
            let third = [&["rpush", "k"], &long[..]].concat();
            let (parts, _) = joined(&[&["rpush", "k", "a"], &["rpush", "k", "b", "c"], &third]);
            assert_eq!(parts.len(), count, "{beyond}");
        }
    }

    #[test]
    fn joined_bytes_are_bounded() {
        for (beyond, count) in [(0, 2), (1, 2), (2, 1)] {
            let long = "x".repeat(JOINED_BYTES_MAX - 1 - "rpushkarpushk".len() + beyond);
            assert_eq!(joined(&[&["rpush", "k", "a"], &["rpush", "k", &long]]).0.len(), count, "{beyond}");
        }
    }
}
