//! Who waits for rows of this shard, in the order in which they came, and how they are served. The other half, where the connections are, is
//! `waiting`; the protocol and why it is like that: `docs/decisions/0031-blocking.md`.
//!
//! ```text
//!   connection's shard              owner of a key
//!       Wait ------------------------>        stand in the queues of these keys
//!        <--------------------------- Answer  this one has something; or none has
//!        <--------------------------- Offer   this one has something now
//!       Accept ---------------------->        run the command
//!        <--------------------------- Ran     its reply, which is stable
//!        <--------------------------- Nothing somebody else was faster: nothing has happened
//!       Decline --------------------->        another shard was faster: offer it to the next one
//!       Leave ----------------------->        forget me
//! ```
//!
//! Numbered invariants:
//! - Q1: a queue stands in the order of arrival at the servers: a moment, and the client's number.
//! - Q2: of those of a queue who take something one at a time is offered what there is; who only reads is offered it beside them. Entries that have
//!   declined are passed over.
//! - Q3: an element goes only when its waiter has accepted, and each waiter accepts one offer at a time: so nothing is given twice, and nothing is
//!   taken for nobody who waits.

use super::release::HeldReply;
use super::run::Stay;
use super::{Bug, Machine};
use crate::command::args::{Args, KeptArgs, copied};
use crate::command::blocking::{Awaited, Blocks};
use crate::command::{Call, Flags, Run, Spec, table};
use crate::error::Stop;
use crate::parcel::{Message, RequestId};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::shard::Shard;
use crate::waits::RowId;
use cairn_storage::units::ShardId;
use hashbrown::HashMap;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

/// About those who wait. `part` of a request is the round: what is about an earlier one is too late.
#[derive(Debug)]
pub enum WaitMessage {
    Wait(Box<Waits>),
    Accept { request: RequestId, row: RowId },
    Decline { request: RequestId, row: RowId },
    Leave { request: RequestId, rows: Vec<RowId> },
    Answer { request: RequestId, offer: Option<Offer>, settled: Option<Box<KeptArgs>> },
    Offer { request: RequestId, offer: Offer },
    Nothing { request: RequestId },
}

/// One who waits for keys of a shard.
#[derive(Debug)]
pub struct Waits {
    pub request: RequestId,
    /// When the client came, on the clock that all cores have.
    pub since_ns: u64,
    pub db: u8,
    pub is_resp3: bool,
    pub command: u16,
    /// The command has not run yet.
    pub is_new: bool,
    pub keys: Vec<WaitKey>,
}

/// A key that is waited for.
#[derive(Clone, Debug)]
pub struct WaitKey {
    /// Less is preferred.
    pub place: u32,
    pub key: Vec<u8>,
    /// The command about this key, or about all of its shard.
    pub args: KeptArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub place: u32,
    pub row: RowId,
}

/// One in a queue.
struct Entry {
    from: ShardId,
    request: RequestId,
    since_ns: u64,
    spec: &'static Spec,
    db: u8,
    is_resp3: bool,
    place: u32,
    key: Vec<u8>,
    args: KeptArgs,
    /// The command has not run yet.
    is_new: bool,
    is_offered: bool,
    has_declined: bool,
}

impl Entry {
    fn is_of(&self, from: ShardId, request: RequestId) -> bool {
        let of = |request: &RequestId| (request.client, request.conn, request.hole, request.part);
        self.from == from && of(&self.request) == of(&request)
    }

    fn blocks(&self) -> &'static Blocks {
        self.spec.blocks.expect("who waits has a command that does")
    }
}

/// All queues of a shard.
#[derive(Default)]
pub(super) struct Queues {
    rows: HashMap<RowId, VecDeque<Entry>>,
    /// Who has accepted and cannot be served before something is here or unlocked.
    accepted: Vec<Entry>,
    /// Who cannot stand in line before it is settled what the command means.
    unsettled: Vec<(ShardId, Waits)>,
}

impl Queues {
    fn find(&mut self, from: ShardId, request: RequestId, row: RowId) -> Option<&mut Entry> {
        self.rows.get_mut(&row)?.iter_mut().find(|entry| entry.is_of(from, request))
    }
}

impl Machine {
    pub(super) fn tell_wait(&mut self, to: ShardId, message: WaitMessage) {
        if to == self.identity.shard {
            self.on_wait_message(to, message);
        } else {
            self.outbox[usize::from(to.0)].messages.push(Message::Wait(message));
        }
    }

    pub(super) fn on_wait_message(&mut self, from: ShardId, message: WaitMessage) {
        match message {
            WaitMessage::Wait(waits) => self.enqueue(from, *waits),
            WaitMessage::Accept { request, row } => self.on_accept(from, request, row),
            WaitMessage::Decline { request, row } => self.on_decline(from, request, row),
            WaitMessage::Leave { request, rows } => self.on_leave(from, request, rows),
            WaitMessage::Answer { request, offer, settled } => self.on_wait_answer(from, request, offer, settled),
            WaitMessage::Offer { request, offer } => self.on_offer(from, request, offer),
            WaitMessage::Nothing { request } => self.on_nothing(request),
        }
    }

    /// Whether somebody is being given, or is about to be offered, what is at one of a command's keys, all of this shard: who wants it too stands in
    /// line.
    pub(super) fn is_any_awaited(&self, call: &Call<'_>, keys: &[usize]) -> bool {
        !(self.shard.waits.is_empty() && self.queues.accepted.is_empty())
            && keys.iter().any(|at| self.is_awaited((call.db, self.shard.head(&call.args[*at]))))
    }

    fn is_awaited(&self, row: RowId) -> bool {
        let is_offered = |queue: &VecDeque<Entry>| queue.iter().any(|entry| entry.is_offered && entry.blocks().takes);
        let is_accepted = |entry: &Entry| (entry.db, self.shard.head(&entry.key)) == row;
        self.shard.waits.is_changed(row)
            || self.queues.rows.get(&row).is_some_and(is_offered)
            || self.queues.accepted.iter().any(is_accepted)
    }

    /// Somebody waits for keys of this shard.
    fn enqueue(&mut self, from: ShardId, mut waits: Waits) {
        let spec = crate::command::table::spec(waits.command);
        let settled = match self.settle(spec, &waits) {
            Ok(settled) => settled,
            Err(()) => return self.queues.unsettled.push((from, waits)),
        };
        if let Some(args) = &settled {
            waits.keys.iter_mut().for_each(|key| key.args.clone_from(args));
        }
        let Waits { request, since_ns, db, is_resp3, is_new, keys, .. } = waits;
        let (mut best, mut rows): (Option<Offer>, Vec<RowId>) = (None, Vec::new());
        for WaitKey { place, key, args } in keys {
            let row = (db, self.shard.head(&key));
            let (is_offered, has_declined) = (false, false);
            let entry = Entry {
                from,
                request,
                since_ns,
                spec,
                db,
                is_resp3,
                place,
                key,
                args,
                is_new,
                is_offered,
                has_declined,
            };
            let is_first = !entry.blocks().takes || !self.is_awaited(row);
            if best.is_none() && is_first && self.is_worth_a_try(&entry) {
                best = Some(Offer { place, row });
            }
            let queue = self.queues.rows.entry(row).or_default();
            // Keeps Q1.
            let stamp = |entry: &Entry| (entry.since_ns, entry.request.client);
            let at = queue.partition_point(|other| stamp(other) <= stamp(&entry));
            queue.insert(at, entry);
            self.shard.waits.add(row);
            if !is_first {
                // Those before it may have declined.
                self.shard.waits.note(row);
            }
            rows.push(row);
        }
        for row in rows {
            if let Some(entry) = self.queues.find(from, request, row) {
                entry.is_offered = best.is_some_and(|offer| offer.row == row);
                entry.is_new = entry.is_offered && is_new;
            }
        }
        self.tell_wait(from, WaitMessage::Answer { request, offer: best, settled: settled.map(Box::new) });
    }

    /// The arguments as they are from now on, if that is not how they are. It has to wait otherwise.
    fn settle(&mut self, spec: &'static Spec, waits: &Waits) -> Result<Option<KeptArgs>, ()> {
        match waits.keys.first() {
            Some(WaitKey { key, args, .. }) => self.settle_args(spec, (waits.db, waits.is_resp3), key, args),
            None => Ok(None),
        }
    }

    pub(super) fn settle_args(
        &mut self,
        spec: &'static Spec,
        (db, is_resp3): (u8, bool),
        key: &[u8],
        (bytes, ranges): &KeptArgs,
    ) -> Result<Option<KeptArgs>, ()> {
        let Some(settle) = spec.blocks.and_then(|blocks| blocks.settle) else { return Ok(None) };
        let args = Args::new(bytes, ranges);
        let call = Call { spec, args: &args, db, is_resp3, now: self.now, head: self.shard.head(key) };
        if self.is_locked(&call) {
            return Err(());
        }
        let words = RefCell::new(None);
        let run = |shard: &mut Shard, call: &Call<'_>, _: &mut Reply<'_>| {
            *words.borrow_mut() = settle(shard, call)?;
            Ok(())
        };
        match self.run_row(run, &call, 0, &mut Replies::default()) {
            // What is refused is refused when the command runs.
            Ok(()) | Err(Stop::Refuse(_)) => {}
            Err(_) => return Err(()),
        }
        let copy = |words: Vec<Vec<u8>>| {
            let (bytes, ranges) = copied(words.iter().map(Vec::as_slice));
            (Arc::new(bytes), ranges)
        };
        Ok(words.into_inner().map(copy))
    }

    /// Whether there may be something for one who waits.
    fn is_worth_a_try(&self, entry: &Entry) -> bool {
        let (bytes, ranges) = &entry.args;
        let args = Args::new(bytes, ranges);
        let call = entry_call(entry, &args, self);
        let row = self.shard.peek_bare(&call, &entry.key);
        let kind = row.map(|row| row.map(|row| row.kind));
        let is_ready = |kind| {
            let row = Awaited { key: &entry.key, kind, is_new: entry.is_new };
            (entry.blocks().is_ready)(&self.shard, &call, row)
        };
        // Else it is known when it has been read.
        kind.and_then(is_ready).unwrap_or(true)
    }

    /// Offers what has come to those who wait for it.
    pub(super) fn serve_waiting(&mut self) {
        self.gather_filled();
        for (from, waits) in std::mem::take(&mut self.queues.unsettled) {
            self.enqueue(from, waits);
        }
        for entry in std::mem::take(&mut self.queues.accepted) {
            self.serve(entry);
        }
        let mut rounds = 0;
        while self.shard.waits.has_changed() && rounds < ROUNDS_MAX {
            rounds += 1;
            for row in self.shard.waits.take_changed() {
                self.offer_next(row);
            }
        }
    }

    /// Keeps Q2.
    fn offer_next(&mut self, row: RowId) {
        let Some(queue) = self.queues.rows.get(&row) else { return };
        let mut is_taken = queue.iter().any(|entry| entry.is_offered && entry.blocks().takes);
        let mut chosen = Vec::new();
        for (at, entry) in queue.iter().enumerate() {
            let takes = entry.blocks().takes;
            let takes = takes || self.planted == Some(Bug::ReadAlone);
            let is_passed = entry.is_offered || entry.has_declined || takes && is_taken;
            if !is_passed && self.is_worth_a_try(entry) {
                is_taken |= takes;
                chosen.push(at);
            }
        }
        let queue = self.queues.rows.get_mut(&row).expect("it was there just now");
        let mut offers = Vec::with_capacity(chosen.len());
        for at in chosen {
            let entry = &mut queue[at];
            entry.is_offered = true;
            offers.push((entry.from, entry.request, Offer { place: entry.place, row }));
        }
        for (from, request, offer) in offers {
            self.tell_wait(from, WaitMessage::Offer { request, offer });
        }
    }

    /// Takes one out of a queue. The next one may have what it was offered.
    fn leave_queue(&mut self, from: ShardId, request: RequestId, row: RowId) -> Option<Entry> {
        let queue = self.queues.rows.get_mut(&row)?;
        let at = queue.iter().position(|entry| entry.is_of(from, request))?;
        let entry = queue.remove(at);
        if queue.is_empty() {
            self.queues.rows.remove(&row);
        }
        self.shard.waits.remove(row);
        if entry.as_ref().is_some_and(|entry| entry.is_offered && entry.blocks().takes) {
            self.shard.waits.note(row);
        }
        entry
    }

    fn on_leave(&mut self, from: ShardId, request: RequestId, rows: Vec<RowId>) {
        let id = |request: &RequestId| (request.client, request.conn, request.hole, request.part);
        self.queues.unsettled.retain(|(of, waits)| *of != from || id(&waits.request) != id(&request));
        for row in rows {
            match self.leave_queue(from, request, row) {
                Some(gone) if gone.is_offered && self.planted == Some(Bug::ServeGone) => self.serve(gone),
                _ => {}
            }
        }
    }

    fn on_decline(&mut self, from: ShardId, request: RequestId, row: RowId) {
        if let Some(entry) = self.queues.find(from, request, row) {
            (entry.is_new, entry.is_offered, entry.has_declined) = (false, false, true);
            if self.planted != Some(Bug::NextForgotten) {
                self.shard.waits.note(row);
            }
        }
    }

    fn on_accept(&mut self, from: ShardId, request: RequestId, row: RowId) {
        match self.leave_queue(from, request, row) {
            Some(entry) => self.serve(entry),
            None => self.tell_wait(from, WaitMessage::Nothing { request }),
        }
    }

    /// Runs the command of one who has accepted: keeps Q3.
    fn serve(&mut self, entry: Entry) {
        let (bytes, ranges) = &entry.args;
        let bytes = Arc::clone(bytes);
        let args = Args::new(&bytes, ranges);
        let call = entry_call(&entry, &args, self);
        let is_read = call.spec.flags.has(Flags::READONLY);
        let refused = match if is_read { Ok(()) } else { self.admit_write() } {
            Err(Stay::Refuse(refusal)) => Some(refusal),
            Err(Stay::Wait(_)) => return self.queues.accepted.push(entry),
            Ok(()) if self.is_locked(&call) => return self.queues.accepted.push(entry),
            Ok(()) => None,
        };
        let (from, request, row) = (entry.from, entry.request, (entry.db, self.shard.head(&entry.key)));
        self.shard.begin();
        let (id, start_ns) = (table::id(entry.spec), (self.identity.clock_ns)());
        let mut reply = Replies::default();
        let Run::Row(run) = entry.spec.run else { unreachable!("who waits is on rows") };
        let is_there = self.is_worth_a_try(&entry);
        let ran = match refused {
            Some(refusal) if is_there => Err(refusal.into()),
            _ if is_there => self.run_row(run, &call, 0, &mut reply),
            _ => Ok(()),
        };
        match ran {
            Err(Stop::Refuse(refusal)) => {
                reply.truncate(0);
                self.count_error(Some(id), &refusal);
                Reply::new(&mut reply, entry.is_resp3).refusal(&refusal);
            }
            Err(_) => return self.queues.accepted.push(entry),
            Ok(()) => {}
        }
        if entry.blocks().takes {
            // Who comes next may have what is left.
            self.shard.waits.note(row);
        }
        if !is_there || is_nil(reply.bytes()) {
            return self.tell_wait(from, WaitMessage::Nothing { request });
        }
        self.stats.on_command(id, (self.identity.clock_ns)().saturating_sub(start_ns));
        self.hold_foreign(from, self.shard.observed(), HeldReply::Ran { request, reply, commands: 1 });
    }

    /// Keys that are waited for, and those whose removal would end a wait.
    pub(crate) fn awaited_keys(&self) -> (u64, u64) {
        let ends = |queue: &&VecDeque<Entry>| queue.iter().any(|entry| entry.blocks().ends_with_key);
        let rows = self.queues.rows.values();
        (rows.len() as u64, rows.filter(ends).count() as u64)
    }

    /// Whether somebody could not go on in an earlier turn.
    pub(super) fn has_held_up(&self) -> bool {
        !self.queues.accepted.is_empty() || !self.queues.unsettled.is_empty()
    }
}

/// Rows that become ready because others are served, in one turn.
const ROUNDS_MAX: usize = 1024;

fn entry_call<'a>(entry: &Entry, args: &'a Args<'a>, machine: &Machine) -> Call<'a> {
    let head = machine.shard.head(&entry.key);
    Call { spec: entry.spec, args, db: entry.db, is_resp3: entry.is_resp3, now: machine.now, head }
}

/// Whether a command that waits has had nothing.
pub(super) fn is_nil(reply: &[u8]) -> bool {
    matches!(reply, b"*-1\r\n" | b"$-1\r\n" | b"_\r\n")
}
