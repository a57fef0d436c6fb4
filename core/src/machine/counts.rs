//! Runs of increments ([`super::runs`]): one look at the row, one write and one record. Those for another shard go there as one message.

use super::Machine;
use super::batch::{Batch, Request};
use super::deeds::Deed;
use super::hot::Gate;
use super::paging::Absence;
use super::parked::Work;
use super::place::Place;
use super::release::HeldReply;
use super::run::Stay;
use super::runs::Replying;
use crate::bug::Bug;
use crate::command::args::Args;
use crate::command::strings::counters::{self, Step};
use crate::command::{Call, Flags, table};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::hot::split::Addition;
use crate::parcel::{Message, RequestId};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::session::ReplyMode;
use cairn_storage::log::LogState;
use cairn_storage::units::ShardId;

/// Increments for another shard that wait there.
pub(super) struct ParkedCounts {
    pub db: u8,
    pub is_silent: bool,
    pub bytes: Vec<u8>,
    pub ranges: [(u32, u32); 2],
    pub steps: Vec<Step>,
}

/// What becomes of increments that are to be done together.
enum Way {
    Here,
    Base,
    SubRow,
    There(ShardId),
}

impl Machine {
    /// Does the increments of one key that stand at `at` and behind it. `Ok`: so many. `Err`: so many are to be done one by one.
    pub(super) fn count_together(
        &mut self,
        conn: ConnId,
        input: &[u8],
        batch: &Batch,
        at: usize,
        to: &mut Replying<'_>,
    ) -> Result<usize, usize> {
        let mut steps = std::mem::take(&mut self.steps);
        steps.clear();
        batch.steps(input, at, &mut steps);
        let done = if steps.len() > 1 { self.count_steps(conn, input, batch, at, &steps, to) } else { None };
        let len = steps.len().max(1);
        self.steps = steps;
        done.map_or(Err(len), |()| Ok(len))
    }

    /// `None`: nothing has happened.
    fn count_steps(
        &mut self,
        conn: ConnId,
        input: &[u8],
        batch: &Batch,
        at: usize,
        steps: &[Step],
        to: &mut Replying<'_>,
    ) -> Option<()> {
        let requests = &batch.requests[at..at + steps.len()];
        let args = batch.args(input, &requests[0]);
        let call = self.admit_run(conn, &requests[0], &args, to)?;
        let mode = self.session(conn).client.reply_mode;
        let is_silent = mode == ReplyMode::Off;
        let way = self.way_of(conn, &call, steps, is_silent)?;
        let mark = to.out.len();
        self.shard.begin();
        if let Way::There(shard) = way {
            self.forward_counts(conn, &call, steps, is_silent, shard, to.out);
        } else {
            self.count_here(&call, steps, &way, is_silent, to.out).inspect_err(|_| to.out.truncate(mark)).ok()?;
        }
        self.end_run(conn, input, batch, requests, (&call, mark), to);
        Some(())
    }

    fn way_of(&mut self, conn: ConnId, call: &Call<'_>, steps: &[Step], is_silent: bool) -> Option<Way> {
        match self.place(call) {
            Place::Here => {
                // A log that has failed is for those who do them one by one: each is told.
                if self.shard.engine().log().state() != LogState::Open {
                    return None;
                }
                match self.gate_steps(call, steps, is_silent) {
                    Gate::Add => Some(Way::Base),
                    Gate::Closed if !self.is_locked(call) => Some(Way::Here),
                    Gate::Closed | Gate::Wait | Gate::Sum(_) | Gate::Refuse(_) => None,
                }
            }
            Place::There(_) if self.sub_row_takes(conn, call, steps, is_silent) => Some(Way::SubRow),
            Place::There(shard) if self.shard.borrowed(call.args).is_none() => Some(Way::There(shard)),
            Place::There(_) | Place::Spread | Place::Whole | Place::Nowhere => None,
        }
    }

    fn count_here(
        &mut self,
        call: &Call<'_>,
        steps: &[Step],
        way: &Way,
        is_silent: bool,
        out: &mut Replies,
    ) -> Result<(), Stop> {
        self.prepare(call)?;
        let failed = self.add_steps(call, steps, out)?;
        self.count_failed(&failed);
        self.hot.note_steps(call, steps, is_silent);
        match way {
            Way::Base => self.note_steps_added(call, steps),
            Way::SubRow => self.note_sub_row_added(call, steps),
            Way::Here | Way::There(_) => {}
        }
        Ok(())
    }

    fn add_steps(&mut self, call: &Call<'_>, steps: &[Step], out: &mut Replies) -> Result<Vec<u16>, Stop> {
        let forgets_last = self.planted == Some(Bug::CountForgotten);
        counters::add_steps(&mut self.shard, call, steps, forgets_last, &mut Reply::new(out, call.is_resp3))
    }

    fn count_failed(&mut self, failed: &[u16]) {
        failed.iter().for_each(|id| self.count_error(Some(*id), &Refusal::Overflow));
    }

    /// One message for all of them, and one place for their replies.
    fn forward_counts(
        &mut self,
        conn: ConnId,
        call: &Call<'_>,
        steps: &[Step],
        is_silent: bool,
        shard: ShardId,
        out: &Replies,
    ) {
        let key = &call.args[1];
        let asked_bytes = size_of_val(steps) + key.len();
        let hole = self.open_holes(conn, out, steps.len() as u64, asked_bytes);
        self.stats.counters.forwarded_commands += steps.len() as u64;
        self.is_counted_later = true;
        let request = self.request(hole, 0);
        let parcel = &mut self.outbox[usize::from(shard.0)];
        let (bytes_start, steps_start) = (parcel.bytes.len() as u32, parcel.steps.len() as u32);
        parcel.bytes.extend_from_slice(key);
        parcel.steps.extend_from_slice(steps);
        parcel.messages.push(Message::Count {
            request,
            db: call.db,
            is_silent,
            key: bytes_start..parcel.bytes.len() as u32,
            steps: steps_start..parcel.steps.len() as u32,
        });
    }

    /// Does increments for another shard, all of them or none yet.
    pub(super) fn count_for(&mut self, from: ShardId, request: RequestId, counts: ParkedCounts) {
        if self.has_parked(from, request) {
            return self.park(from, request, Work::Count(Box::new(counts)), None);
        }
        self.retry_counts(from, request, counts);
    }

    /// The same, of increments whose turn it is.
    pub(super) fn retry_counts(&mut self, from: ShardId, request: RequestId, counts: ParkedCounts) {
        let start_ns = (self.identity.clock_ns)();
        let mut reply = Replies::default();
        self.is_unusable = false;
        let ran = self.count_parked(&counts, &mut reply);
        let missing = match ran {
            Err(Stop::Missing(missing)) => Some(Some(missing)),
            Err(Stop::Crowded | Stop::Locked | Stop::Long) => Some(None),
            Ok(()) | Err(Stop::Refuse(_)) => None,
        };
        if let Some(missing) = missing {
            return self.park(from, request, Work::Count(Box::new(counts)), missing);
        }
        let is_unusable = self.is_unusable;
        if let Err(stop) = ran {
            reply.truncate(0);
            let refusal = stop.into_refusal();
            for step in &counts.steps {
                self.count_error(Some(step.id), &refusal);
                Reply::new(&mut reply, false).refusal(&refusal);
            }
        }
        let ns = (self.identity.clock_ns)().saturating_sub(start_ns) / counts.steps.len() as u64;
        for (place, step) in counts.steps.iter().enumerate() {
            self.stats.on_command(step.id, ns);
            if is_unusable {
                self.note_deed(Deed::Unusable);
            }
            self.note_deed(Deed::Ran { from, request: RequestId { hole: request.hole + place as u64, ..request } });
        }
        self.hold_foreign(from, self.shard.observed(), HeldReply::Ran { request, reply, commands: counts.steps.len() });
    }

    fn count_parked(&mut self, counts: &ParkedCounts, reply: &mut Replies) -> Result<(), Stop> {
        let args = Args::new(&counts.bytes, &counts.ranges);
        let (spec, steps) = (table::spec(counts.steps[0].id), &counts.steps[..]);
        let head = self.shard.head(&args[1]);
        let call = Call { spec, args: &args, db: counts.db, is_resp3: false, now: self.now, head };
        self.shard.begin();
        if let Some(refusal) = self.unlisted() {
            return Err(refusal.into());
        }
        let way = match self.gate_steps(&call, steps, counts.is_silent) {
            Gate::Refuse(refusal) => return Err(refusal.into()),
            Gate::Wait | Gate::Sum(_) => return Err(Stop::Locked),
            Gate::Closed if self.is_locked(&call) => return Err(Stop::Locked),
            Gate::Closed => Way::Here,
            Gate::Add => Way::Base,
        };
        if let Err(Stay::Refuse(refusal)) = self.admit_write() {
            return Err(refusal.into());
        }
        loop {
            let ran = self.count_here(&call, steps, &way, counts.is_silent, reply);
            if ran.as_ref().is_err_and(crate::shard::is_stuck) {
                self.is_unusable = true;
            }
            let Err(Stop::Missing(missing)) = ran else { return ran };
            reply.truncate(0);
            match self.fetch_for(missing, &call) {
                Absence::Over => {}
                Absence::Wait(missing) => return Err(Stop::Missing(missing)),
                Absence::Crowded => return Err(Stop::Crowded),
                Absence::Unusable(refusal) => {
                    self.is_unusable = true;
                    return Err(refusal.into());
                }
            }
        }
    }
}

impl ParkedCounts {
    /// `key` and `steps` as a message has them.
    pub fn new(db: u8, is_silent: bool, key: &[u8], steps: &[Step]) -> ParkedCounts {
        // The command's name is not asked for any more, but it has its place.
        let ranges = [(0, 0), (0, key.len() as u32)];
        ParkedCounts { db, is_silent, bytes: key.to_vec(), ranges, steps: steps.to_vec() }
    }
}

impl Batch {
    /// The increments of one key that stand at `at` and behind it, as far as they are well-formed.
    fn steps(&self, input: &[u8], at: usize, steps: &mut Vec<Step>) {
        let (first, head) = (self.args(input, &self.requests[at]), self.requests[at].head);
        for request in self.requests[at..].iter().take_while(|request| request.head == head) {
            let args = self.args(input, request);
            match self.step(request, &args) {
                Some(step) if args.get(1) == first.get(1) => steps.push(step),
                _ => return,
            }
        }
    }

    fn step(&self, request: &Request, args: &Args<'_>) -> Option<Step> {
        let entry =
            request.entry.filter(|entry| entry.spec.flags.has(Flags::COUNTS) && entry.spec.takes(args.len()))?;
        let addition = Addition::parse(entry.spec.name, args, true)?;
        // Who minds a minimum does not always add.
        addition.min.is_none().then_some(Step {
            id: entry.id,
            amount: addition.amount,
            is_blind: entry.spec.name == "add",
        })
    }
}
