//! Connections that wait until a key has something for them (BLPOP and its like). Where the keys are, they stand in queues (`queues`, which has the
//! protocol); here is who waits, for how long, and which of several offers it takes.
//!
//! ```text
//!            Wait to all owners            no offer among the answers
//!   asking -------------------> answered -----------------------------> waiting ---> over: time, CLIENT UNBLOCK, gone
//!     ^                            |  the best offer: Accept               |  Offer: Accept
//!     |                            v                                      |
//!     +-------------------------- served <--------------------------------+
//!            Nothing                 |  Ran
//!                                    v
//!                                 answered to the client; Leave to all other owners
//! ```

use super::ask::HoleId;
use super::place::Place;
use super::queues::{Offer, WaitKey, WaitMessage, Waits, is_nil};
use super::{Bug, Machine, ScriptRun};
use crate::command::args::{Args, KeptArgs, copied};
use crate::command::blocking::Wait;
use crate::command::{Call, Flow, RowRun, Spec, table};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::parcel::RequestId;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::route;
use crate::session::Stall;
use crate::waits::RowId;
use cairn_storage::units::ShardId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A client that waits.
struct Waiter {
    spec: &'static Spec,
    /// The request as it came.
    args: KeptArgs,
    /// What is asked of each shard that has some of its keys.
    asked: Vec<(ShardId, Vec<WaitKey>)>,
    db: u8,
    is_resp3: bool,
    /// Other keys of it are elsewhere: it is a program, which runs here.
    is_wide: bool,
    since_ns: u64,
    deadline_ns: Option<u64>,
    /// The command has not run yet.
    is_new: bool,
    /// How often it has begun to wait.
    round: u32,
    /// The rows that it waits for at each shard.
    rows: Vec<(ShardId, Vec<RowId>)>,
    state: State,
}

enum State {
    Asking {
        left: usize,
        best: Option<(ShardId, Offer)>,
    },
    Waiting,
    /// A shard takes what is there for it.
    Served,
}

/// Everybody of this core who waits.
#[derive(Default)]
pub(super) struct Waiting {
    /// By client and hole.
    waiters: BTreeMap<(u64, u64, u32), Waiter>,
    /// Those that have not begun: their connection's output was in use.
    begun: Vec<HoleId>,
}

type Id = (u64, u64, u32);

fn id_of(hole: HoleId) -> Id {
    (hole.client, hole.hole, hole.conn)
}

fn hole_of((client, hole, conn): Id) -> HoleId {
    HoleId { client, conn, hole }
}

impl Waiter {
    /// The command, over several shards.
    fn program(&self) -> Box<ScriptRun> {
        let args = Args::new(&self.args.0, &self.args.1);
        let (spec, db, is_resp3) = (self.spec, self.db, self.is_resp3);
        Machine::program_of(spec, &args, db, is_resp3)
    }
}

impl Machine {
    /// Runs a command that waits if there is nothing for it.
    #[cold]
    pub(super) fn run_blocking(
        &mut self,
        conn: ConnId,
        (id, run): (u16, RowRun),
        call: &Call<'_>,
        mark: usize,
        out: &mut Replies,
    ) -> Result<Option<Flow>, Stall> {
        let Some(blocks) = call.spec.blocks else { return Ok(None) };
        let wait = match (blocks.parse)(call.args) {
            Ok(Some(wait)) => wait,
            // It does not wait, or says itself what is wrong.
            Ok(None) => return Ok(None),
            Err(refusal) => return Ok(Some(self.finish_row(id, Err(refusal.into()), mark, call.is_resp3, out))),
        };
        let mut is_new = true;
        match self.place(call) {
            Place::Here if !blocks.takes || !self.is_any_awaited(call, &wait.keys) => {
                if self.is_anything_parked() && self.has_parked_of(conn) {
                    self.client_mut(conn).commands -= 1;
                    return Err(Stall::Holes);
                }
                let ran = if self.is_locked(call) { Err(Stop::Locked) } else { self.run_row(run, call, mark, out) };
                match ran {
                    Ok(()) if is_nil(&out.bytes()[mark..]) => {
                        out.truncate(mark);
                        is_new = false;
                    }
                    Err(stop) if stop.is_passing() => return Err(self.put_back(conn, stop, call)),
                    ran => return Ok(Some(self.finish_row(id, ran, mark, call.is_resp3, out))),
                }
            }
            // It would take its place in front of what other shards do for earlier commands.
            _ if self.session(conn).output.has_open_holes() => {
                self.client_mut(conn).commands -= 1;
                return Err(Stall::Holes);
            }
            _ => {}
        }
        self.begin_waiting(conn, wait, is_new, call, out);
        Ok(Some(Flow::Later))
    }

    fn begin_waiting(&mut self, conn: ConnId, wait: Wait, is_new: bool, call: &Call<'_>, out: &Replies) {
        let asked = self.asked(&wait.keys, call);
        let (bytes, ranges) = copied(call.args.iter());
        let hole = self.open_hole(conn, out, true, bytes.len());
        let since_ns = self.now.mono_ns;
        let deadline_ns = wait.timeout_ms.map(|ms| since_ns.saturating_add(ms.saturating_mul(1_000_000)));
        let waiter = Waiter {
            spec: call.spec,
            args: (Arc::new(bytes), ranges),
            asked,
            db: call.db,
            is_resp3: call.is_resp3,
            is_wide: call.spec.blocks.is_some_and(|blocks| blocks.narrow.is_none())
                && matches!(self.place(call), Place::Whole),
            since_ns,
            deadline_ns,
            is_new,
            round: 0,
            rows: Vec::new(),
            state: State::Waiting,
        };
        self.waiting.waiters.insert(id_of(hole), waiter);
        self.waiting.begun.push(hole);
        self.client_mut(conn).is_blocked = true;
        self.is_counted_later = true;
    }

    /// What is asked of the shards that have the keys.
    fn asked(&mut self, keys: &[usize], call: &Call<'_>) -> Vec<(ShardId, Vec<WaitKey>)> {
        let blocks = call.spec.blocks.expect("it waits");
        let mut owners: Vec<(ShardId, Vec<(u32, usize)>)> = Vec::new();
        for (place, at) in keys.iter().enumerate() {
            let owner = self.owner(route::slot(&call.args[*at]));
            match owners.iter_mut().find(|(shard, _)| *shard == owner) {
                Some((_, keys)) => keys.push((place as u32, *at)),
                None => owners.push((owner, vec![(place as u32, *at)])),
            }
        }
        let narrowed = |keys: &[usize]| {
            let (bytes, ranges) = match blocks.narrow {
                Some(narrow) => copied(narrow(call.args, keys).iter().map(Vec::as_slice)),
                None => copied(call.args.iter()),
            };
            (Arc::new(bytes), ranges)
        };
        let mut asked = Vec::with_capacity(owners.len());
        for (shard, places) in owners {
            let mut joint = blocks.is_joint.then(|| narrowed(&places.iter().map(|(_, at)| *at).collect::<Vec<_>>()));
            if let Some(args) = joint.as_mut().filter(|_| shard == self.identity.shard)
                && let Ok(Some(settled)) =
                    self.settle_args(call.spec, (call.db, call.is_resp3), &call.args[places[0].1], args)
            {
                // Nothing that comes in this turn is missed.
                *args = settled;
            }
            let mut keys: Vec<WaitKey> = Vec::with_capacity(places.len());
            for (place, at) in places {
                let key = call.args[at].to_vec();
                // A key that is named twice is waited for once.
                if keys.iter().all(|known| known.key != key) {
                    let args = joint.clone().unwrap_or_else(|| narrowed(&[at]));
                    keys.push(WaitKey { place, key, args });
                }
            }
            asked.push((shard, keys));
        }
        asked
    }

    /// The end of a turn: those that have begun to wait in it take their places.
    pub(super) fn queue_begun(&mut self) {
        for hole in std::mem::take(&mut self.waiting.begun) {
            self.take_places(hole);
        }
        if self.shard.waits.has_changed() || self.has_held_up() {
            self.serve_waiting();
        }
        self.go_on_filled();
    }

    fn take_places(&mut self, hole: HoleId) {
        let base = self.request(hole, 0);
        let Some(waiter) = self.waiting.waiters.get_mut(&id_of(hole)) else { return };
        let request = RequestId { part: waiter.round, ..base };
        let (since_ns, db, is_resp3, is_new) = (waiter.since_ns, waiter.db, waiter.is_resp3, waiter.is_new);
        waiter.state = State::Asking { left: waiter.asked.len(), best: None };
        waiter.is_new = false;
        let rows = |keys: &[WaitKey]| keys.iter().map(|wanted| (db, self.shard.head(&wanted.key))).collect();
        waiter.rows = waiter.asked.iter().map(|(shard, keys)| (*shard, rows(keys))).collect();
        let command = crate::command::table::id(waiter.spec);
        for (shard, keys) in waiter.asked.clone() {
            let waits = Waits { request, since_ns, db, is_resp3, command, is_new, keys };
            self.tell_wait(shard, WaitMessage::Wait(Box::new(waits)));
        }
    }

    fn waiter(&mut self, request: RequestId) -> Option<&mut Waiter> {
        let waiter = self.waiting.waiters.get_mut(&id_of(HoleId::from(request)))?;
        (waiter.round == request.part).then_some(waiter)
    }

    /// An owner has put it in its queues.
    pub(super) fn on_wait_answer(
        &mut self,
        from: ShardId,
        request: RequestId,
        offer: Option<Offer>,
        settled: Option<Box<KeptArgs>>,
    ) {
        let Some(waiter) = self.waiter(request) else { return };
        if let Some(settled) = settled {
            let asked = waiter.asked.iter_mut().filter(|(shard, _)| *shard == from);
            asked.flat_map(|(_, keys)| keys).for_each(|wanted| wanted.args.clone_from(&settled));
        }
        let State::Asking { left, .. } = &mut waiter.state else { return };
        *left -= 1;
        if let Some(offer) = offer {
            self.consider(from, request, offer);
        }
        self.choose(request);
    }

    /// Among the first offers the one of the key that is named first is taken.
    fn consider(&mut self, from: ShardId, request: RequestId, offer: Offer) {
        let Some(waiter) = self.waiter(request) else { return };
        let State::Asking { best, .. } = &mut waiter.state else { return };
        let worse = match best {
            Some((_, known)) if known.place < offer.place => Some((from, offer)),
            _ => best.replace((from, offer)),
        };
        if let Some((shard, Offer { row, .. })) = worse {
            self.tell_wait(shard, WaitMessage::Decline { request, row });
        }
    }

    fn choose(&mut self, request: RequestId) {
        let Some(waiter) = self.waiter(request) else { return };
        let State::Asking { left: 0, best } = waiter.state else { return };
        match best {
            Some((shard, Offer { row, .. })) => self.accept(shard, request, row),
            None => waiter.state = State::Waiting,
        }
    }

    /// Has a shard take what it offers, unless the rules have changed and the client may not have that any more.
    fn accept(&mut self, shard: ShardId, request: RequestId, row: RowId) {
        let Some(waiter) = self.waiter(request) else { return };
        waiter.state = State::Served;
        let (conn, id, args) = (ConnId(request.conn), table::id(waiter.spec), waiter.args.clone());
        if self.find_session(conn).is_some_and(|session| session.client.is_restricted) {
            let args = Args::new(&args.0, &args.1);
            if let Err(refusal) = self.check_access(conn, table::numbered(id), &args) {
                self.tell_wait(shard, WaitMessage::Decline { request, row });
                self.stats.on_rejected(id);
                self.count_error(None, &refusal);
                return self.answer_waiter(HoleId::from(request), Some(&refusal.line())).map_or((), drop);
            }
        }
        match self.waiter(request).filter(|waiter| waiter.is_wide) {
            Some(waiter) => {
                let run = waiter.program();
                self.pending.wides_new.push((HoleId::from(request), run));
            }
            None => self.tell_wait(shard, WaitMessage::Accept { request, row }),
        }
    }

    /// A command over several shards that has waited has run. Whether it was in vain: then it waits again.
    #[cold]
    fn has_run_in_vain(&mut self, hole: HoleId, reply: &Replies) -> bool {
        let base = self.request(hole, 0);
        let Some(waiter) = self.waiting.waiters.get(&id_of(hole)).filter(|waiter| waiter.is_wide) else { return false };
        let (round, id) = (waiter.round, table::id(waiter.spec));
        if is_nil(reply.bytes()) || self.planted == Some(Bug::WaitsAgain) {
            self.on_nothing(RequestId { part: round, ..base });
            return true;
        }
        self.stats.on_command(id, 0);
        false
    }

    pub(super) fn on_offer(&mut self, from: ShardId, request: RequestId, offer: Offer) {
        let row = offer.row;
        let accepts_twice = self.planted == Some(Bug::OfferTwice);
        let Some(waiter) = self.waiter(request) else {
            // It has gone, or been served: so it is told that it leaves.
            return self.tell_wait(from, WaitMessage::Leave { request, rows: vec![row] });
        };
        match waiter.state {
            State::Asking { .. } => self.consider(from, request, offer),
            State::Waiting => self.accept(from, request, row),
            State::Served if accepts_twice => {
                self.tell_wait(from, WaitMessage::Accept { request, row });
            }
            State::Served => self.tell_wait(from, WaitMessage::Decline { request, row }),
        }
    }

    /// What it has accepted is gone: it waits again, where it stood. Another key may have something, so it asks again even if its time is over.
    pub(super) fn on_nothing(&mut self, request: RequestId) {
        let hole = HoleId::from(request);
        let Some(waiter) = self.waiter(request) else { return };
        let rows = std::mem::take(&mut waiter.rows);
        waiter.round += 1;
        waiter.state = State::Waiting;
        self.leave_queues(request, rows);
        self.waiting.begun.push(hole);
    }

    fn leave_queues(&mut self, request: RequestId, rows: Vec<(ShardId, Vec<RowId>)>) {
        for (shard, rows) in rows {
            self.tell_wait(shard, WaitMessage::Leave { request, rows });
        }
    }

    /// The reply to a hole is here: if somebody has waited for it, the wait is over.
    #[inline]
    pub(super) fn serve_hole(&mut self, hole: HoleId, reply: Replies) {
        if !self.waiting.waiters.is_empty() {
            if self.has_run_in_vain(hole, &reply) {
                return;
            }
            self.forget_waiter(hole);
        }
        self.fill_hole(hole, reply);
    }

    /// It waits no longer. Whether it did.
    fn forget_waiter(&mut self, hole: HoleId) -> Option<Waiter> {
        let base = self.request(hole, 0);
        let mut waiter = self.waiting.waiters.remove(&id_of(hole))?;
        let rows = std::mem::take(&mut waiter.rows);
        self.leave_queues(RequestId { part: waiter.round, ..base }, rows);
        let conn = ConnId(hole.conn);
        let session = self.find_session(conn).filter(|session| session.client.id == hole.client);
        if session.map(|session| session.client.is_blocked = false).is_some() {
            let Waiter { spec, db, is_resp3, .. } = waiter;
            let args = Args::new(&waiter.args.0, &waiter.args.1);
            // It has done nothing but wait, which does not count.
            self.note_if_slow(conn, 0, &Call { spec, args: &args, db, is_resp3, now: self.now, head: 0 });
        }
        Some(waiter)
    }

    /// Ends a wait in vain.
    fn end_wait(&mut self, hole: HoleId, error: Option<&str>) {
        let Some(id) = self.answer_waiter(hole, error) else { return };
        self.stats.on_command(id, 0);
        if let Some(line) = error {
            self.count_error(Some(id), &Refusal::text(line.to_owned()));
        }
    }

    /// Answers nil, or an error. The command that has waited.
    fn answer_waiter(&mut self, hole: HoleId, error: Option<&str>) -> Option<u16> {
        let waiter = self.forget_waiter(hole)?;
        let mut out = Replies::default();
        let mut reply = Reply::new(&mut out, waiter.is_resp3);
        match error {
            Some(line) => reply.error(line),
            None => reply.null_array(),
        }
        self.fill_hole(hole, out);
        Some(table::id(waiter.spec))
    }

    /// Those whose time is over. Who is being served is not asked any more, and who has just come is told what the owners say, however short its time is.
    pub(super) fn end_waits(&mut self) {
        let now_ns = self.now.mono_ns;
        let is_over = |waiter: &Waiter| {
            waiter.deadline_ns.is_some_and(|deadline| deadline <= now_ns) && matches!(waiter.state, State::Waiting)
        };
        let waiters = self.waiting.waiters.iter();
        // Who has not asked yet, or is about to ask again, is told first what there is.
        let has_asked = |id: Id| !self.waiting.begun.contains(&hole_of(id));
        let over: Vec<Id> =
            waiters.filter(|(id, waiter)| is_over(waiter) && has_asked(**id)).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.end_wait(hole_of(id), None));
    }

    /// CLIENT UNBLOCK of a client that waits for keys. Whether it did.
    pub(crate) fn unblock_waiter(&mut self, client: u64, error: Option<&str>) -> bool {
        let mut own = self.waiting.waiters.range((client, 0, 0)..(client + 1, 0, 0));
        let Some((&id, _)) = own.find(|(_, waiter)| !matches!(waiter.state, State::Served)) else { return false };
        self.end_wait(hole_of(id), error);
        true
    }

    /// A client is gone.
    pub(super) fn forget_waits_of(&mut self, client: u64) {
        let own: Vec<Id> = self.waiting.waiters.range((client, 0, 0)..(client + 1, 0, 0)).map(|(id, _)| *id).collect();
        own.into_iter().for_each(|id| drop(self.forget_waiter(hole_of(id))));
    }

    /// Those of them that do not wait for ever.
    pub(super) fn timed_waiters(&self) -> usize {
        self.waiting.waiters.values().filter(|waiter| waiter.deadline_ns.is_some()).count()
    }

    /// Clients that wait for keys.
    pub(super) fn waiters(&self) -> usize {
        self.waiting.waiters.len()
    }
}
