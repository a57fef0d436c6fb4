//! What has become stable leaves, what never will is refused. Stop 9 of 10, the machine's part.

use super::Machine;
use super::clients::QUERY_PAUSE_BYTES;
use super::run::Stay;
use crate::announce::Announcement;
use crate::error::{Refusal, errno_text};
use crate::event::{ConnId, Effect, Notice};
use crate::limits::UNAUTHENTICATED_QUERY_BYTES_MAX;
use crate::parcel::{Answer, Message, PubSubMessage, RequestId};
use crate::query::Query;
use crate::resp::encode::Reply;
use crate::resp::replies::{Outgoing, Replies};
use crate::session::{Durability, ReplyMode, Stall};
use crate::tx::{CutId, Denial, NotDone, ToCoordinator};
use cairn_storage::log::LogState;
use cairn_storage::op::DiskDone;
use cairn_storage::units::{Lsn, ShardId, TxnId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// A connection with a closed gate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Waiter {
    lsn: Lsn,
    conn: ConnId,
    client: u64,
    since_ns: u64,
}

/// What waits for the log.
#[derive(Default)]
pub(super) struct Held {
    waiters: BinaryHeap<Reverse<Waiter>>,
    /// Replies and answers for other shards (or for this one's own questions), in the order of their LSNs.
    foreign: BTreeMap<(Lsn, u64), (ShardId, HeldReply)>,
    foreign_last: u64,
}

/// What is held for another shard.
pub(super) enum HeldReply {
    Ran {
        request: RequestId,
        reply: Replies,
        /// Of so many commands.
        commands: usize,
    },
    Answer {
        request: RequestId,
        answer: Box<Answer>,
    },
    /// To the coordinator of a transaction.
    Txn {
        txn: TxnId,
        message: ToCoordinator,
    },
    /// What a script has announced whose reply comes next.
    Relayed(Vec<Announcement>),
    /// To the maker of a cut: what is before it is stable.
    Cut(CutId),
}

/// What a writer is told when the log cannot be written.
pub(super) fn log_refusal(errno: Option<i32>) -> Refusal {
    let error = errno_text(errno.unwrap_or(0));
    Refusal::text(format!("MISCONF Errors writing to the AOF file: {error}"))
}

impl Machine {
    /// Replies that wait until what they observed is stable, and the age of the oldest in microseconds.
    pub fn held_figures(&self) -> (u64, u64) {
        let oldest_ns = self.held.waiters.peek().map_or(self.now.mono_ns, |Reverse(waiter)| waiter.since_ns);
        let count = self.held.waiters.len() + self.held.foreign.len();
        (count as u64, self.now.mono_ns.saturating_sub(oldest_ns) / 1000)
    }

    /// The reply that was just written waits for `lsn`.
    pub(super) fn gate(&mut self, conn: ConnId, id: u16, mark: usize, lsn: Lsn, out: &mut Replies, held: &mut Lsn) {
        if let LogState::Failed(fault) = self.shard.engine().log().state() {
            // Nobody may see what will never be stable.
            out.truncate(mark);
            let refusal = super::release::log_refusal(fault.result.err());
            self.count_error(Some(id), &refusal);
            Reply::new(out, false).refusal(&refusal);
            return;
        }
        if self.client(conn).durability == Durability::Memory && !self.shard.is_fenced() {
            return;
        }
        self.session_mut(conn).output.gate(mark, out, lsn);
        *held = (*held).max(lsn);
    }

    /// What CLIENT REPLY wants of the reply behind `mark`.
    #[inline]
    pub(super) fn silence(&mut self, conn: ConnId, mode_before: ReplyMode, mark: usize, out: &mut Replies) {
        let client = &mut self.session_mut(conn).client;
        match (mode_before, client.reply_mode) {
            (ReplyMode::On, ReplyMode::On) => {}
            (_, ReplyMode::SkipNext) => {
                client.reply_mode = ReplyMode::Skip;
                out.truncate(mark);
            }
            (ReplyMode::Skip, ReplyMode::Skip) => {
                client.reply_mode = ReplyMode::On;
                out.truncate(mark);
            }
            (_, ReplyMode::Off | ReplyMode::Skip) => out.truncate(mark),
            // CLIENT REPLY ON itself is answered.
            (ReplyMode::Off | ReplyMode::Skip | ReplyMode::SkipNext, ReplyMode::On) => {}
        }
    }

    /// The connection's last gate waits for `lsn`.
    pub(super) fn hold(&mut self, conn: ConnId, lsn: Lsn) {
        let client = self.session(conn).client.id;
        self.held.waiters.push(Reverse(Waiter { lsn, conn, client, since_ns: self.now.mono_ns }));
    }

    /// A reply for another shard waits for `lsn`, or leaves at once.
    pub(super) fn hold_foreign(&mut self, to: ShardId, lsn: Lsn, reply: HeldReply) {
        if lsn <= self.shard.stable() {
            return self.deliver(to, reply);
        }
        if matches!(self.log_state, LogState::Failed(_)) {
            return self.refuse_foreign(to, reply);
        }
        if let HeldReply::Ran { request, .. } | HeldReply::Answer { request, .. } = &reply
            && request.is_early
            && !self.shard.is_fenced()
        {
            return self.deliver(to, reply);
        }
        self.held.foreign_last += 1;
        self.held.foreign.insert((lsn, self.held.foreign_last), (to, reply));
    }

    fn deliver(&mut self, to: ShardId, reply: HeldReply) {
        let is_own = to == self.identity.shard;
        match reply {
            HeldReply::Ran { request, reply, .. } if is_own => self.on_ran(request, reply),
            HeldReply::Answer { request, answer } if is_own => self.on_answer(request, *answer),
            HeldReply::Relayed(list) if is_own => self.tell_when_stable(Lsn(0), list),
            HeldReply::Relayed(list) => {
                let message = Message::PubSub(PubSubMessage::Relayed(list));
                self.outbox[usize::from(to.0)].messages.push(message);
            }
            HeldReply::Cut(cut) => self.tell_stable(to, cut, Ok(())),
            HeldReply::Txn { txn, message } if is_own => self.on_coordinator(to, txn, message),
            HeldReply::Txn { txn, message } => {
                self.outbox[usize::from(to.0)].messages.push(Message::ToCoordinator { txn, message });
            }
            HeldReply::Ran { request, reply, .. } => {
                let parcel = &mut self.outbox[usize::from(to.0)];
                if reply.has_blobs() {
                    return parcel.messages.push(Message::RanLong { request, reply: Box::new(reply) });
                }
                let start = parcel.bytes.len() as u32;
                parcel.bytes.extend_from_slice(reply.bytes());
                parcel.messages.push(Message::Ran { request, bytes: start..parcel.bytes.len() as u32 });
            }
            HeldReply::Answer { request, answer } => {
                self.outbox[usize::from(to.0)].messages.push(Message::Answer { request, answer });
            }
        }
    }

    fn refuse_foreign(&mut self, to: ShardId, reply: HeldReply) {
        let refusal = log_refusal(self.log_errno());
        let refused = match reply {
            HeldReply::Txn { txn, message } => {
                let message = match message {
                    ToCoordinator::Ran(_) | ToCoordinator::Failed { .. } => {
                        ToCoordinator::Ran(Err(NotDone::of_log(&refusal)))
                    }
                    ToCoordinator::Seen(_) => ToCoordinator::Seen(Err(NotDone::of_log(&refusal))),
                    ToCoordinator::Locked(_) => ToCoordinator::Locked(Err(Denial::Refused(NotDone::of_log(&refusal)))),
                    ToCoordinator::Worked { statement, .. } => {
                        ToCoordinator::Worked { statement, result: Err(NotDone::of_log(&refusal)), until_ms: u64::MAX }
                    }
                    ToCoordinator::Calm | ToCoordinator::Probe(_) | ToCoordinator::Deadlock { .. } => {
                        unreachable!("these wait for nothing")
                    }
                    // It stays remembered until the next start.
                    ToCoordinator::Learned => return,
                };
                HeldReply::Txn { txn, message }
            }
            // It is told to nobody.
            HeldReply::Relayed(_) => return,
            HeldReply::Cut(cut) => return self.tell_stable(to, cut, Err(refusal.line().into_owned())),
            HeldReply::Ran { request, commands, .. } => {
                let mut reply = Replies::default();
                (0..commands).for_each(|_| Reply::new(&mut reply, false).refusal(&refusal));
                HeldReply::Ran { request, reply, commands }
            }
            HeldReply::Answer { request, .. } => {
                HeldReply::Answer { request, answer: Box::new(Answer::Refused(refusal.line().into_owned())) }
            }
        };
        self.deliver(to, refused);
    }

    fn log_errno(&self) -> Option<i32> {
        match self.log_state {
            LogState::Failed(fault) => fault.result.err(),
            LogState::Full { errno } => Some(errno),
            LogState::Open => None,
        }
    }

    pub(super) fn on_disk(&mut self, done: DiskDone) {
        if let Some(flush) = self.shard.engine_mut().log_mut().on_done(done) {
            let issued = self.flush_issued.iter().position(|(op, _)| *op == flush.op);
            if let Some((_, at_ns)) = issued.and_then(|index| self.flush_issued.remove(index)) {
                let us = self.now.mono_ns.saturating_sub(at_ns) / 1000;
                self.stats.on_flush(us, u64::from(flush.records), u64::from(flush.bytes));
            }
        }
        self.shard.advance();
        self.release();
        self.watch_log();
    }

    /// Lets everything leave that is stable by now.
    pub(super) fn release(&mut self) {
        let stable = self.shard.stable();
        while let Some(Reverse(waiter)) = self.held.waiters.peek().copied() {
            if waiter.lsn > stable {
                break;
            }
            self.held.waiters.pop();
            self.stats.on_released(self.now.mono_ns.saturating_sub(waiter.since_ns) / 1000);
            if self.find_session(waiter.conn).is_some_and(|session| session.client.id == waiter.client) {
                self.flush_output(waiter.conn);
            }
        }
        self.release_announced();
        self.gather_filled();
        while let Some(entry) = self.held.foreign.first_entry() {
            if entry.key().0 > stable {
                break;
            }
            let (to, reply) = entry.remove();
            self.deliver(to, reply);
        }
        self.go_on_filled();
    }

    /// Notes, once, when the log fails, is full, or has room again.
    fn watch_log(&mut self) {
        let state = self.shard.engine().log().state();
        if state == self.log_state {
            return;
        }
        let (shard, before) = (self.identity.shard, self.log_state);
        self.log_state = state;
        match state {
            LogState::Failed(fault) => {
                let errno = fault.result.err().unwrap_or(0);
                let (segment, offset) = (fault.segment.0, fault.offset);
                self.notice(Notice::LogFailed { shard, segment, offset, errno });
                self.refuse_unstable();
            }
            LogState::Full { errno } => self.notice(Notice::LogFull { shard, errno }),
            LogState::Open if matches!(before, LogState::Full { .. }) => self.notice(Notice::LogSpaceBack { shard }),
            LogState::Open => {}
        }
    }

    /// The log has failed: what waits for it is never acknowledged. Whether it survived is unknown, so the connection is
    /// told, and closed.
    fn refuse_unstable(&mut self) {
        let stable = self.shard.stable();
        let refusal = log_refusal(self.log_errno());
        let conns: Vec<ConnId> = self.live_sessions().map(|(conn, _)| conn).collect();
        for conn in conns {
            let session = self.session_mut(conn);
            if session.output.cut_unstable(stable) {
                Reply::new(&mut session.output.out, false).refusal(&refusal);
                session.is_closing = true;
                self.count_error(None, &refusal);
                self.flush_output(conn);
            }
        }
        for (_, (to, reply)) in std::mem::take(&mut self.held.foreign) {
            self.refuse_foreign(to, reply);
        }
        self.held.waiters.clear();
        self.forget_announced();
    }

    /// Sends what may leave; closes the connection if that was all it waited for.
    pub(super) fn flush_output(&mut self, conn: ConnId) {
        let stable = self.shard.stable();
        let Some(session) = self.find_session(conn) else { return };
        if let Some(buffer) = session.output.take_sendable(stable) {
            session.client.bytes_out += buffer.len() as u64;
            self.stats.counters.net_out_bytes += buffer.len() as u64;
            self.effects.push_back(Effect::Send { conn, buffer });
        } else if session.is_closing && session.output.is_empty() {
            self.drop_session(conn);
        }
    }

    pub(super) fn on_sent(&mut self, conn: ConnId, buffer: Outgoing) {
        let Some(session) = self.find_session(conn) else { return };
        session.output.on_sent(buffer);
        self.flush_output(conn);
        self.wake(conn);
        self.after_run(conn);
    }

    /// After commands have run, or could have: sends, closes, and reads on or not.
    pub(super) fn after_run(&mut self, conn: ConnId) {
        let Some(session) = self.find_session(conn) else { return };
        if session.is_hung_up && session.stall.is_none() {
            // What is left of the input is an incomplete request: its rest will not come.
            session.is_closing = true;
        }
        if session.is_closing {
            session.query = Query::default();
        }
        let is_stranger = !session.client.is_authenticated;
        let pause_bytes = if is_stranger { UNAUTHENTICATED_QUERY_BYTES_MAX } else { QUERY_PAUSE_BYTES };
        let is_flooded = session.stall.is_some() && session.query.len() > pause_bytes;
        if is_flooded != session.is_paused && !session.is_closing && !session.is_hung_up {
            session.is_paused = is_flooded;
            self.effects.push_back(if is_flooded { Effect::Pause { conn } } else { Effect::Resume { conn } });
        }
        self.enforce_buffer_limits(conn);
        self.flush_output(conn);
    }

    pub(super) fn stall(&mut self, conn: ConnId, stall: Stall) {
        self.session_mut(conn).stall = Some(stall);
        self.has_shares |= stall == Stall::Share;
        if stall.has_no_event() {
            self.list_stalled(conn);
        }
    }

    /// Has a connection looked at when the turn ends.
    pub(super) fn list_stalled(&mut self, conn: ConnId) {
        if !std::mem::replace(&mut self.session_mut(conn).is_listed, true) {
            self.stalled.push(conn);
        }
    }

    /// Goes on with a connection if what it waits for has come.
    pub(super) fn wake(&mut self, conn: ConnId) {
        let Some(session) = self.find_session(conn) else { return };
        let Some(stall) = session.stall else { return };
        let waits = match stall {
            Stall::Barrier => session.output.has_barrier(),
            Stall::Holes => session.output.has_open_holes(),
            Stall::Output => session.output.unsent_bytes() > session.output_bytes_max(),
            Stall::LogRoom => matches!(self.admit_write(), Err(Stay::Wait(_))),
            Stall::Paused => self.pause.is_some(),
            // To run again is the only way to know.
            Stall::Outbox | Stall::Locked | Stall::Share => false,
            Stall::Absent => session.absent > 0,
            Stall::Crowded => !self.shard.engine().has_room_again(),
            Stall::Draining => true,
        };
        if waits {
            return;
        }
        let session = self.session_mut(conn);
        session.stall = None;
        let held = std::mem::take(&mut session.held);
        if session.is_runnable() && !session.query.is_empty() {
            self.run_query(conn);
        }
        // It was needed until now.
        drop(held);
    }

    /// Looks at the sessions, and at the parcels of other shards, that wait for something which has no event of its own.
    /// Whether there were any.
    pub(super) fn wake_stalled(&mut self) -> bool {
        if self.stalled.is_empty() && self.inbox.is_empty() {
            return false;
        }
        self.has_shares = false;
        for conn in std::mem::take(&mut self.stalled) {
            let Some(session) = self.find_session(conn) else { continue };
            session.is_listed = false;
            self.wake(conn);
            if self.find_session(conn).is_some_and(|session| session.stall.is_some_and(Stall::has_no_event)) {
                self.list_stalled(conn);
            }
            self.after_run(conn);
        }
        self.take_inbox();
        true
    }
}
