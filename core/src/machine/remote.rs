//! What shards do for each other: run a command on their rows, answer a question. And commands over keys of several
//! shards, each of which runs its part.
//!
//! A shard answers another one only when what its reply observed is stable, so the asking side never waits for a
//! foreign log.

use super::Machine;
use super::ask::HoleId;
use super::counts::ParkedCounts;
use super::deeds::Deed;
use super::hot::Gate;
use super::parked::Work;
use super::release::HeldReply;
use super::run::Stay;
use crate::answer::Progress;
use crate::command::args::{Args, copied};
use crate::command::table::{self, Entry};
use crate::command::{Call, Flow, Run, Spread};
use crate::error::Stop;
use crate::event::{ConnId, Effect};
use crate::parcel::{Ask, Message, Parcel, RequestId};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::route;
use cairn_storage::blob::Blob;
use cairn_storage::error::Missing;
use cairn_storage::units::{Lsn, ShardId};
use std::ops::Range;
use std::sync::Arc;

/// A command whose keys are on several shards, while its parts run.
pub(super) struct Spreading {
    how: Spread,
    /// For each part, the places of its keys among all keys.
    places: Vec<Vec<usize>>,
    replies: Vec<Option<Replies>>,
}

impl Spreading {
    pub fn new(how: Spread, places: Vec<Vec<usize>>) -> Spreading {
        let replies = places.iter().map(|_| None).collect();
        Spreading { how, places, replies }
    }

    /// The reply of a part is here.
    pub fn set(&mut self, part: usize, reply: Replies) {
        self.replies[part] = Some(reply);
    }
}

impl Machine {
    /// Sends a command to the shard that owns its keys. `out` is the connection's output so far.
    pub(super) fn forward(&mut self, conn: ConnId, call: &Call<'_>, shard: ShardId, out: &Replies) -> Flow {
        let hole = self.open_hole(conn, out, false, call.args.iter().map(<[u8]>::len).sum());
        self.stats.counters.forwarded_commands += 1;
        let request = self.request(hole, 0);
        self.is_counted_later = true;
        if let Some(amount) = self.blind_amount(conn, call) {
            self.is_counted_later = false;
            // The owner is to know that nobody asks for the sum.
            let args: [&[u8]; 3] = [b"ADD", &call.args[1], amount.as_bytes()];
            self.post(shard, request, call, &mut args.into_iter());
        } else if let Some((input, ranges)) = self.shard.borrowed(call.args) {
            let message = Message::RunLong { request, db: call.db, is_resp3: call.is_resp3, input, ranges };
            self.outbox[usize::from(shard.0)].messages.push(message);
        } else {
            self.post(shard, request, call, &mut call.args.iter());
        }
        Flow::Done
    }

    /// A command was dispatched: it is counted, unless that is done where, or when, it has run.
    #[inline]
    pub(super) fn count_dispatched(&mut self, id: u16, ns: u64) {
        if !std::mem::take(&mut self.is_counted_later) {
            self.stats.on_command(id, ns);
        }
    }

    /// Has each shard run the command on its own keys.
    pub(super) fn spread(&mut self, conn: ConnId, call: &Call<'_>, out: &Replies) -> Flow {
        let hole = self.open_hole(conn, out, false, call.args.iter().map(<[u8]>::len).sum());
        self.is_counted_later = true;
        let mut places = vec![Vec::new(); usize::from(self.identity.shards)];
        let first = call.spec.keys.first;
        for (place, at) in call.spec.row_keys(call.args).enumerate() {
            let shard = self.owner(route::slot(&call.args[at]));
            places[usize::from(shard.0)].push(place);
        }
        let shards: Vec<_> =
            (0..self.identity.shards).filter(|&shard| !places[usize::from(shard)].is_empty()).collect();
        places.retain(|places| !places.is_empty());
        self.pending.spreads.insert(hole, Spreading::new(call.spec.spread, places.clone()));
        for (part, (shard, places)) in shards.into_iter().zip(places).enumerate() {
            let keys = places.iter().map(|place| &call.args[first + place]);
            let mut args = std::iter::once(&call.args[0]).chain(keys);
            let request = self.request(hole, part as u32);
            if shard == self.identity.shard.0 {
                let (bytes, ranges) = copied(args);
                let (own, args) = (self.identity.shard, Args::new(&bytes, &ranges));
                if self.has_parked(own, request) {
                    self.park_run(own, request, call.db, call.is_resp3, &args, None);
                } else {
                    self.run_for(own, request, call.db, call.is_resp3, &args);
                }
            } else {
                self.post(ShardId(shard), request, call, &mut args);
            }
        }
        Flow::Done
    }

    fn post(&mut self, shard: ShardId, request: RequestId, call: &Call<'_>, args: &mut dyn Iterator<Item = &[u8]>) {
        let parcel = &mut self.outbox[usize::from(shard.0)];
        let (args_start, bytes_start) = (parcel.args.len() as u32, parcel.bytes.len() as u32);
        for arg in args {
            parcel.bytes.extend_from_slice(arg);
            parcel.args.push(parcel.bytes.len() as u32);
        }
        parcel.messages.push(Message::Run {
            request,
            db: call.db,
            is_resp3: call.is_resp3,
            args: args_start..parcel.args.len() as u32,
            bytes: bytes_start..parcel.bytes.len() as u32,
        });
    }

    /// Hands what has gathered for other shards to the driver.
    pub(super) fn send_parcels(&mut self) {
        for (shard, parcel) in self.outbox.iter_mut().enumerate() {
            if !parcel.messages.is_empty() {
                let empty = Parcel { from: self.identity.shard.0, ..Parcel::default() };
                let parcel = Box::new(std::mem::replace(parcel, empty));
                self.effects.push_back(Effect::Parcel { to: ShardId(shard as u16), parcel });
            }
        }
    }

    pub(super) fn on_parcel(&mut self, parcel: Box<Parcel>) {
        self.inbox.push_back(parcel);
        self.take_inbox();
    }

    /// Does what other shards want, as long as the log has room for it. Answers are taken at once: nothing waits
    /// behind them.
    pub(super) fn take_inbox(&mut self) {
        while !self.looks_for_splits() && !self.inbox.is_empty() && !matches!(self.admit_write(), Err(Stay::Wait(_))) {
            if let Some(parcel) = self.inbox.pop_front() {
                self.gather_filled();
                self.open_parcel(*parcel);
                self.go_on_filled();
            }
        }
        self.settle_counts();
    }

    fn open_parcel(&mut self, parcel: Parcel) {
        let Parcel { from, messages, args: ends, bytes, steps } = parcel;
        let from = ShardId(from);
        let mut messages = messages.into_iter();
        let mut touched = 0;
        while let Some(message) = messages.next() {
            let (client, announced) = (message.client(), self.shard.announced.mark());
            match message {
                Message::Run { request, db, is_resp3, args, bytes: at } => {
                    let ranges = ranges(&ends[args.start as usize..args.end as usize], at);
                    self.run_next_for(from, request, db, is_resp3, &Args::new(&bytes, &ranges));
                }
                Message::RunLong { request, db, is_resp3, input, ranges } => {
                    self.stats.counters.foreign_commands += 1;
                    self.lending(&input, |machine| {
                        let args = Args::new(&input, &ranges);
                        if machine.has_parked(from, request) {
                            machine.park_run(from, request, db, is_resp3, &args, None);
                        } else {
                            machine.run_for(from, request, db, is_resp3, &args);
                        }
                    });
                }
                Message::Count { request, db, is_silent, key, steps: which } => {
                    let key = &bytes[key.start as usize..key.end as usize];
                    let steps = &steps[which.start as usize..which.end as usize];
                    self.stats.counters.foreign_commands += steps.len() as u64;
                    self.count_for(from, request, ParkedCounts::new(db, is_silent, key, steps));
                }
                Message::ToParticipant { txn, message } => self.on_participant(from, txn, message),
                Message::ToCoordinator { txn, message } => {
                    self.on_coordinator(from, txn, message);
                }
                Message::Transaction { request, transaction } => {
                    match touched {
                        0 => touched = self.touch_transactions(&transaction, messages.as_slice()),
                        _ => touched -= 1,
                    }
                    self.transact_for(from, request, transaction);
                }
                Message::Script { request, run } => self.run_script_for(from, request, run),
                Message::ScriptIsWide { request, run } => self.pending.wides_new.push((HoleId::from(request), run)),
                Message::WantScript(sha) => self.on_want_script(from, sha),
                Message::HaveScript(sha, script) => self.on_have_script(sha, script),
                Message::Recovered => self.on_recovered(),
                Message::Hot(message) => self.on_hot(from, message),
                Message::Cut(message) => self.on_cut(from, message),
                Message::Wait(message) => self.on_wait_message(from, message),
                Message::PubSub(message) => self.on_pubsub(message),
                Message::Tracking(message) => self.on_tracking(message),
                Message::Monitored(lines) => self.push_monitored(&lines),
                Message::Acl(acl) => self.on_acl(from, &acl),
                Message::AclTaken { version } => self.on_acl_taken(from, version),
                Message::Draining { is_on } => self.on_drain_elsewhere(is_on),
                Message::Unwatch { db, head } => {
                    self.shard.watches.unwatch(db, head);
                }
                Message::Ran { request, bytes: at } => {
                    self.on_ran(request, bytes[at.start as usize..at.end as usize].to_vec().into());
                }
                Message::RanLong { request, reply } => self.on_ran(request, *reply),
                Message::Ask { request, ask } => self.answer_later(from, request, &ask, Progress::default()),
                Message::Answer { request, answer } => self.on_answer(request, *answer),
            }
            self.announce_by(client, announced);
        }
    }

    /// Runs a command for another shard, or keeps it behind others of its connection that wait.
    fn run_next_for(&mut self, from: ShardId, request: RequestId, db: u8, is_resp3: bool, args: &Args<'_>) {
        self.stats.counters.foreign_commands += 1;
        if !self.has_parked(from, request) {
            return self.run_for(from, request, db, is_resp3, args);
        }
        if let Some(Entry { spec, .. }) = entry(args) {
            self.read_ahead_for(db, spec, args);
        }
        self.park_run(from, request, db, is_resp3, args, None);
    }

    /// Runs a command on rows of this shard for another one.
    pub(super) fn run_for(&mut self, from: ShardId, request: RequestId, db: u8, is_resp3: bool, args: &Args<'_>) {
        let Some(Entry { id, spec, .. }) = entry(args) else { unreachable!("only known commands are sent on") };
        let Run::Row(run) = spec.run else { unreachable!("only commands on rows are sent on") };
        let head = args.get(spec.keys.first).map_or(0, |key| self.shard.head(key));
        let call = Call { spec, args, db, is_resp3, now: self.now, head };
        let mut reply = Replies::default();
        self.hot.is_silent = false;
        let start_ns = (self.identity.clock_ns)();
        let gate = self.gate_own(&call, false);
        if let Gate::Refuse(refusal) = gate {
            self.count_error(Some(id), &refusal);
            Reply::new(&mut reply, is_resp3).refusal(&refusal);
            return self.hold_foreign(from, Lsn(0), HeldReply::Ran { request, reply, commands: 1 });
        }
        if gate == Gate::Wait || gate == Gate::Closed && self.is_locked(&call) {
            return self.park_run(from, request, db, is_resp3, args, None);
        }
        self.shard.begin();
        let ran = match self.admit_write() {
            Err(Stay::Refuse(refusal)) if spec.flags.has(crate::command::Flags::WRITE) => Err(refusal.into()),
            _ if let Gate::Sum(more) = gate => self.run_sum(&call, more, 0, &mut reply),
            _ => self.run_short(run, &call, 0, &mut reply),
        };
        if gate == Gate::Add && ran.is_ok() {
            self.note_added(&call, false);
        }
        match ran {
            Err(Stop::Missing(missing)) => return self.park_run(from, request, db, is_resp3, args, Some(missing)),
            Err(Stop::Crowded | Stop::Locked) => return self.park_run(from, request, db, is_resp3, args, None),
            Err(Stop::Long) => return self.begin_slices(from, request, &call),
            _ => {}
        }
        if let Err(stop) = ran {
            reply.truncate(0);
            let refusal = stop.into_refusal();
            self.count_error(Some(id), &refusal);
            Reply::new(&mut reply, is_resp3).refusal(&refusal);
        }
        if request.part == 0 {
            self.stats.on_command(id, (self.identity.clock_ns)().saturating_sub(start_ns));
        }
        self.note_deed(Deed::Ran { from, request });
        self.hold_foreign(from, self.shard.observed(), HeldReply::Ran { request, reply, commands: 1 });
    }

    /// Keeps a command for another shard until it can run.
    #[cold]
    fn park_run(
        &mut self,
        from: ShardId,
        request: RequestId,
        db: u8,
        is_resp3: bool,
        args: &Args<'_>,
        missing: Option<Missing>,
    ) {
        let (input, ranges) = self.shard.borrowed(args).unwrap_or_else(|| {
            let (bytes, ranges) = copied(args.iter());
            (Arc::new(bytes), ranges)
        });
        let entry = entry(args).filter(|_| missing.is_some());
        let held = entry.map_or(Vec::new(), |Entry { spec, .. }| self.shard.long_values(db, spec, args));
        self.park(from, request, Work::Run { db, is_resp3, input, ranges, held }, missing);
    }

    /// Answers a question about this shard once what the answer says is stable.
    pub(super) fn answer_later(&mut self, from: ShardId, request: RequestId, ask: &Ask, mut progress: Progress) {
        match ask {
            Ask::Save => return self.save_for(from, request),
            Ask::AclChange(change) => return self.change_acl(from, request, change),
            _ => {}
        }
        self.shard.begin();
        progress.rows_max = Some(self.settings.slice_items);
        let answer = match self.answer(ask, &mut progress) {
            Ok(answer) => answer,
            Err(missing) => {
                // What was observed so far counts for the answer, whenever it comes.
                progress.observed = progress.observed.max(self.shard.observed());
                return self.park(from, request, Work::Ask(Box::new(ask.clone()), progress), missing);
            }
        };
        let observed = self.shard.observed().max(progress.observed);
        let answer = Box::new(answer);
        self.note_deed(Deed::Answered { from, request });
        self.hold_foreign(from, observed, HeldReply::Answer { request, answer });
    }

    /// The reply of a command that another shard has run, or of this one's part of it.
    pub(super) fn on_ran(&mut self, request: RequestId, reply: Replies) {
        let hole = HoleId::from(request);
        let Some(spreading) = self.pending.spreads.get_mut(&hole) else {
            return self.serve_hole(hole, reply);
        };
        spreading.set(request.part as usize, reply);
        if spreading.replies.iter().all(Option::is_some) {
            let spreading = self.pending.spreads.remove(&hole).expect("it was just there");
            self.fill_hole(hole, spreading.join());
        }
    }
}

/// The command of a message, a container's subcommand included.
fn entry(args: &Args<'_>) -> Option<Entry> {
    let entry = table::entry(args.get(0)?)?;
    match (entry.spec.run, args.get(1)) {
        (Run::Container, Some(name)) => table::subcommand(entry.spec, name),
        _ => Some(entry),
    }
}

/// The arguments' ranges from their ends, within a parcel's bytes.
fn ranges(ends: &[u32], at: Range<u32>) -> Vec<(u32, u32)> {
    let starts = std::iter::once(at.start).chain(ends.iter().copied());
    starts.zip(ends.iter().copied()).collect()
}

impl Spreading {
    /// One reply from those of the parts.
    pub fn join(self) -> Replies {
        let mut replies: Vec<Replies> = self.replies.into_iter().flatten().collect();
        if let Some(at) = replies.iter().position(|reply| reply.bytes().starts_with(b"-")) {
            return replies.swap_remove(at);
        }
        let mut out = Replies::default();
        let mut reply = Reply::new(&mut out, false);
        match self.how {
            Spread::Sum => {
                let count = |reply: &Replies| {
                    let digits = reply.bytes().strip_prefix(b":").and_then(|line| line.strip_suffix(b"\r\n"));
                    digits.and_then(crate::command::args::parse_integer).expect("a sum's parts answer integers")
                };
                reply.integer(replies.iter().map(count).sum());
            }
            Spread::Place => {
                let len = self.places.iter().map(Vec::len).sum();
                let mut elements: Vec<Element<'_>> = vec![(b"", None); len];
                for (reply, places) in replies.iter().zip(&self.places) {
                    for (element, place) in elements_of(reply).into_iter().zip(places) {
                        elements[*place] = element;
                    }
                }
                reply.array(len);
                for (bytes, blob) in elements {
                    let (head, end) = bytes.split_at(bytes.len() - if blob.is_some() { LINE_END_BYTES } else { 0 });
                    out.extend_from_slice(head);
                    if let Some(blob) = blob {
                        out.push_blob(blob.clone());
                    }
                    out.extend_from_slice(end);
                }
            }
            // Each part has done its own.
            Spread::Pairs => reply.ok(),
            Spread::Refuse | Spread::PairsIfNone | Spread::Move { .. } | Spread::Copy | Spread::Program(_) => {
                unreachable!("such a command does not run on several shards")
            }
        }
        out
    }
}

/// An element of an array: its bytes, and what stands in front of its last line end, if that is a long value.
type Element<'a> = (&'a [u8], Option<&'a Blob>);

const LINE_END_BYTES: usize = 2;

/// The elements of an encoded array of bulk strings and nulls.
fn elements_of(reply: &Replies) -> Vec<Element<'_>> {
    let line_end = |bytes: &[u8]| memchr::memchr(b'\n', bytes).expect("a reply's lines have ends") + 1;
    let bytes = reply.bytes();
    let mut blobs = reply.blobs().peekable();
    let mut rest = &bytes[line_end(bytes)..];
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let line = line_end(rest);
        let place = bytes.len() - rest.len() + line;
        let blob = blobs.next_if(|(at, _)| *at == place).map(|(_, blob)| blob);
        let len = match rest[0] {
            _ if blob.is_some() => line + LINE_END_BYTES,
            b'$' if rest[1] != b'-' => {
                let len = crate::command::args::parse_integer(&rest[1..line - 2]).expect("a bulk string has a length");
                line + len as usize + LINE_END_BYTES
            }
            _ => line,
        };
        let (element, after) = rest.split_at(len);
        elements.push((element, blob));
        rest = after;
    }
    elements
}
