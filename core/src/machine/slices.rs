//! Long replies in slices (`shard/slices.rs`): who runs the command again for each slice, and holds its rows meanwhile.
//!
//! A command that has found its reply long is parked, in front of what comes later from its client. At the end of each turn it shows a slice. Before the first
//! one it locks its rows, shared, like an open transaction that has read them: so what it shows is of one moment, and who wants to change those
//! rows waits; all others go on. It waits for nothing but pages while it holds them, so it is in no deadlock. Rows that it looks at besides: [`looks`].

mod looks;

use super::Machine;
use super::deeds::Deed;
use super::parked::Work;
use super::participate::locks_of;
use super::release::HeldReply;
use super::run::Stay;
use crate::command::args::{Args, KeptArgs, copied};
use crate::command::program::Kept;
use crate::command::{Call, Flags, Flow, RowRun, Run, sort, table};
use crate::error::Stop;
use crate::event::{ConnId, Now};
use crate::limits::SLICE_TRIES_MAX;
use crate::parcel::RequestId;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::shard::slices::Slicing;
use cairn_storage::units::{CollectionId, Lsn, ShardId};
use looks::{Held, Looks};
use std::sync::Arc;

/// A command that shows its items slice by slice.
pub(super) struct Sliced {
    command: u16,
    args: KeptArgs,
    db: u8,
    is_resp3: bool,
    /// Of its first slice: what lived then is shown to the end.
    now: Now,
    /// Until when all that it has seen alive is, in Unix milliseconds.
    until_ms: u64,
    /// The next item.
    at: u64,
    /// What it has come to, if that is more than a number.
    state: Option<Kept>,
    /// A collection that it has begun, and its database.
    begun: Option<(u8, CollectionId)>,
    out: Replies,
    /// What it holds.
    held: Option<Held>,
    /// How it sees what it does not hold.
    looks: Looks,
    /// How often it could not get that.
    tries: u32,
    observed: Lsn,
    /// Time that it has taken.
    ns: u64,
}

impl Sliced {
    /// Whether nothing keeps it from going on.
    pub fn goes_on(&self) -> bool {
        self.held.is_some()
    }

    /// What it sees is of the time at which it runs.
    fn has_no_cut(&self) -> bool {
        matches!(self.looks, Looks::None | Looks::Lost)
    }

    fn has_seen_nothing(&self) -> bool {
        self.at == 0 && self.state.is_none()
    }
}

impl Machine {
    /// As [`Machine::run_row`]; what is too long for one turn is stopped.
    #[inline]
    pub(super) fn run_short(
        &mut self,
        run: RowRun,
        call: &Call<'_>,
        mark: usize,
        out: &mut Replies,
    ) -> Result<(), Stop> {
        self.shard.slices.how.set(Slicing::Short);
        let ran = self.run_row(run, call, mark, out);
        self.shard.slices.how.set(Slicing::Whole);
        ran
    }

    /// A command of one of this core's connections has found its reply long.
    #[cold]
    pub(super) fn begin_slices_here(&mut self, conn: ConnId, call: &Call<'_>, out: &Replies) -> Flow {
        let hole = self.open_hole(conn, out, false, call.args.iter().map(<[u8]>::len).sum());
        let request = self.request(hole, 0);
        self.begin_slices(self.identity.shard, request, call);
        Flow::Done
    }

    /// The same of any client.
    pub(super) fn begin_slices(&mut self, from: ShardId, request: RequestId, call: &Call<'_>) {
        let sliced = Sliced {
            command: table::id(call.spec),
            args: kept(call.args),
            db: call.db,
            is_resp3: call.is_resp3,
            now: call.now,
            until_ms: u64::MAX,
            at: 0,
            state: None,
            begun: None,
            out: Replies::default(),
            held: None,
            looks: Looks::None,
            tries: 0,
            observed: Lsn(0),
            ns: 0,
        };
        self.stats.counters.sliced_commands += 1;
        self.parking.sliced += 1;
        self.park(from, request, Work::Sliced(Box::new(sliced)), None);
    }

    /// The next slice.
    pub(super) fn go_on_slices(&mut self, from: ShardId, request: RequestId, mut sliced: Box<Sliced>) {
        if from == self.identity.shard && !self.is_client(request) {
            return self.end_slices(&mut sliced);
        }
        let spec = table::spec(sliced.command);
        let Run::Row(run) = spec.run else { unreachable!("only commands on rows show items") };
        let kept = std::mem::take(&mut sliced.args);
        let args = Args::new(&kept.0, &kept.1);
        let head = self.shard.head(&args[spec.keys.first]);
        let call = Call { spec, args: &args, db: sliced.db, is_resp3: sliced.is_resp3, now: sliced.now, head };
        let is_held = self.hold_for_slices(&mut sliced, &call);
        let is_late = spec.flags.has(Flags::WRITE) && sliced.until_ms < self.now.unix_ms();
        if sliced.has_no_cut() && (is_late || sliced.has_seen_nothing()) {
            self.begin_anew(&mut sliced);
        }
        let call = Call { now: sliced.now, ..call };
        let is_at_once = !is_held && sliced.tries > SLICE_TRIES_MAX && !self.is_locked(&call);
        let is_whole = is_at_once || self.has_lost_looks(&mut sliced);
        if !is_held && !is_whole {
            sliced.args = kept;
            return self.park(from, request, Work::Sliced(sliced), None);
        }
        let start_ns = (self.identity.clock_ns)();
        let mut reply = Replies::default();
        let admitted = if spec.flags.has(Flags::WRITE) { self.admit_write() } else { Ok(()) };
        let ran = match admitted {
            Ok(()) => self.run_slice(&mut sliced, run, is_whole, &call, &mut reply),
            Err(Stay::Refuse(refusal)) => Err(refusal.into()),
            // The log has no room.
            Err(Stay::Wait(_)) => Err(Stop::Crowded),
        };
        sliced.ns += (self.identity.clock_ns)().saturating_sub(start_ns);
        let next = self.shard.slices.next.take();
        match ran {
            Err(Stop::Missing(missing)) => {
                sliced.args = kept;
                return self.park(from, request, Work::Sliced(sliced), Some(missing));
            }
            Err(stop) if stop.is_passing() => {
                sliced.args = kept;
                return self.park(from, request, Work::Sliced(sliced), None);
            }
            Err(stop) => {
                let refusal = stop.into_refusal();
                self.count_error(Some(sliced.command), &refusal);
                sliced.out = Replies::default();
                Reply::new(&mut sliced.out, sliced.is_resp3).refusal(&refusal);
            }
            Ok(()) => {
                sliced.out.append_apart(reply);
                if let Some(next) = next {
                    (sliced.at, sliced.args) = (next, kept);
                    return self.park(from, request, Work::Sliced(sliced), None);
                }
            }
        }
        sliced.out.close();
        self.end_slices(&mut sliced);
        if from == self.identity.shard {
            self.note_if_slow(ConnId(request.conn), sliced.ns, &call);
        }
        self.note_deed(Deed::Ran { from, request });
        let reply = std::mem::take(&mut sliced.out);
        self.hold_foreign(from, sliced.observed, HeldReply::Ran { request, reply, commands: 1 });
    }

    fn run_slice(
        &mut self,
        sliced: &mut Sliced,
        run: RowRun,
        is_whole: bool,
        call: &Call<'_>,
        reply: &mut Replies,
    ) -> Result<(), Stop> {
        // Those that show something at the same time share a turn's part.
        let items = self.settings.slice_items;
        self.shard.slices.items.set((items / self.parking.sliced.max(1) as u64).max(1));
        self.shard.slices.how.set(if is_whole { Slicing::Whole } else { Slicing::From(sliced.at) });
        self.shard.begin();
        let counts = self.shard.read_counts();
        let is_first = sliced.at == 0 && sliced.state.is_none();
        self.shard.slices.kept.replace(sliced.state.take());
        self.shard.slices.begun.set(sliced.begun.take());
        self.shard.slices.cut.set(sliced.looks.cut());
        self.shard.watch_deadlines();
        let ran = self.run_row(run, call, 0, reply);
        let seen = self.shard.seen_deadlines();
        sliced.until_ms = seen.iter().map(|seen| seen.ms).fold(sliced.until_ms, u64::min);
        sliced.state = self.shard.slices.kept.take();
        sliced.begun = self.shard.slices.begun.take();
        if self.shard.slices.cut.take().is_none() {
            self.close_looks(&mut sliced.looks);
        }
        if !is_first {
            self.shard.restore_counts(counts);
        }
        self.shard.slices.how.set(Slicing::Whole);
        self.shard.slices.items.set(items);
        sliced.observed = sliced.observed.max(self.shard.observed());
        ran
    }

    /// Whether its rows are held for it. One that others hold it waits for, also if they only look: so those that change it have their turn.
    fn hold_for_slices(&mut self, sliced: &mut Sliced, call: &Call<'_>) -> bool {
        if sliced.held.is_some() {
            return true;
        }
        let looks_up = sort::looks_up(call);
        if looks_up && self.parking.stores_looked {
            return false;
        }
        sliced.tries += 1;
        let rows = locks_of(self, call);
        let is_free = !rows.iter().any(|row| self.parts.locks().is_held(row.db, row.head));
        if is_free
            && let Ok(txn) = self.name_txn()
            && let Ok(rows) = self.parts.locks_mut().try_hold(txn, rows)
        {
            sliced.held = Some(Held::new(txn, rows));
            if looks_up {
                self.begin_looks(sliced);
            }
        }
        sliced.held.is_some()
    }

    /// It begins, with this time. What changes rows does so at its end: if a row that it has seen alive is past its time by then, which others may have
    /// seen, it begins anew, without that row.
    fn begin_anew(&mut self, sliced: &mut Sliced) {
        self.end_begun(sliced);
        (sliced.at, sliced.state, sliced.out) = (0, None, Replies::default());
        (sliced.now, sliced.until_ms) = (self.now, u64::MAX);
    }

    /// All has been shown, or nobody wants it any more.
    fn end_slices(&mut self, sliced: &mut Sliced) {
        self.parking.sliced -= 1;
        self.end_begun(sliced);
        self.finish_looks(sliced);
        if let Some(held) = &sliced.held {
            self.parts.give_back(held.txn, &held.rows, held.is_hidden);
        }
    }

    /// What it has begun and no row names goes.
    fn end_begun(&mut self, sliced: &mut Sliced) {
        if let Some((db, number)) = sliced.begun.take() {
            self.shard.engine_mut().end_collection(db, number);
        }
    }

    /// Whether who asked is still there.
    fn is_client(&self, request: RequestId) -> bool {
        let session = self.sessions.get(request.conn as usize).and_then(Option::as_deref);
        session.is_some_and(|session| session.client.id == request.client)
    }
}

fn kept(args: &Args<'_>) -> KeptArgs {
    let (bytes, ranges) = copied(args.iter());
    (Arc::new(bytes), ranges)
}
