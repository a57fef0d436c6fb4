//! What is not in memory: who waits for which page, and what the page file does in the background.
//!
//! A command that meets an absent page has changed nothing. It is put back: a connection's own command stays in its
//! input, one that another shard has sent is parked here. The read is issued, everybody else goes on, and when the page
//! has come the command runs again from its beginning. Commands of one connection stay in their order; those of others
//! do not wait.

use super::Machine;
use super::deeds::Deed;
use super::release::HeldReply;
use crate::answer::Progress;
use crate::command::{Call, Flags};
use crate::damage::{Behind, Damage, Trouble};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, Effect, Notice};
use crate::limits::{CHECKPOINT_LOG_BYTES, CHECKPOINT_SECONDS, CHECKPOINT_TURN_BYTES_MAX, DAMAGES_MAX};
use crate::parcel::{Answer, Ask, RequestId};
use crate::session::Stall;
use cairn_storage::error::Missing;
use cairn_storage::op::DiskDone;
use cairn_storage::pagefile::{CheckpointState, FileState};
use cairn_storage::pool::{Fetch, Fetched};
use cairn_storage::units::{Lsn, OpId, ShardId};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// A checkpoint that runs is done when the log has grown by so much, or so much time has passed, whichever is first.
const SPREAD_LOG_BYTES: u64 = CHECKPOINT_LOG_BYTES / 2;
const SPREAD_NS: u64 = 10 * 1_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// Everything that waits for the page file.
#[derive(Default)]
pub(super) struct Paging {
    /// Connections whose next command waits for something.
    waiting: HashMap<Missing, Vec<ConnId>>,
    parked: VecDeque<Parked>,
    /// What was found damaged or unreadable a short while ago, and what to say of it.
    unusable: Vec<(Missing, Refusal)>,
    unusable_since_ns: u64,
    /// What is known to be damaged, until it is rewritten or reads back after all.
    damaged: Vec<(Missing, Damage)>,
    file_state: Option<FileState>,
    pace: Pace,
    /// SAVE waits for a checkpoint of this generation.
    saves: Vec<(u32, ShardId, RequestId)>,
}

/// How far the running checkpoint ought to be.
#[derive(Default)]
struct Pace {
    /// Where log and clock were at the last turn, and when the last checkpoint began.
    log: u64,
    ns: u64,
    begun_log: u64,
    begun_ns: u64,
    /// Bytes that the checkpoint has to save.
    total: u64,
    /// Bytes it may go on by.
    credit: u64,
    is_urgent: bool,
}

/// Something that another shard wants, or a part of a command of this one's connections.
pub(super) struct Parked {
    pub from: ShardId,
    pub request: RequestId,
    pub work: Work,
    /// What it waits for; `None` if it may run.
    missing: Option<Missing>,
}

pub(super) enum Work {
    Run { db: u8, is_resp3: bool, bytes: Vec<u8>, ranges: Vec<(u32, u32)> },
    Ask(Box<Ask>, Progress),
}

/// What to do about something missing.
pub(crate) enum Absence {
    /// It is here now: run again.
    Over,
    /// It is being read.
    Wait,
    /// There is no frame for it now, and nothing will tell when there is one: run again later.
    Crowded,
    /// It cannot be had.
    Unusable(Refusal),
}

impl Machine {
    /// Has what is missing brought in.
    #[cold]
    pub(crate) fn fetch(&mut self, missing: Missing) -> Absence {
        if let Some((_, refusal)) = self.paging.unusable.iter().find(|(unusable, _)| *unusable == missing) {
            return Absence::Unusable(refusal.clone());
        }
        match self.shard.engine_mut().fetch(missing) {
            Fetch::Here => Absence::Over,
            Fetch::Underway => Absence::Wait,
            Fetch::Crowded => Absence::Crowded,
        }
    }

    /// Before a command of several keys runs: all of them are to be in memory, for after its first change nothing may be
    /// missing. Where nothing is absent and there is room, there is nothing to do.
    #[inline]
    pub(super) fn prepare(&mut self, call: &Call<'_>) -> Result<(), Stop> {
        if !call.spec.flags.has(Flags::WRITE) || call.spec.keys.is_single() {
            return Ok(());
        }
        self.shard.prepare(call)
    }

    /// A command has met something that is not there: has it read, together with all else that the command needs.
    #[cold]
    pub(super) fn fetch_for(&mut self, missing: Missing, call: &Call<'_>) -> Absence {
        let absence = self.fetch(missing);
        if matches!(absence, Absence::Wait) {
            for missing in self.shard.absent(call) {
                // Only the first one decides what becomes of the command.
                let _ = self.fetch(missing);
            }
        }
        absence
    }

    /// A connection's command was not run after all: why it has to wait.
    #[cold]
    pub(super) fn put_back(&mut self, conn: ConnId, stop: Stop) -> Stall {
        self.session_mut(conn).client.commands -= 1;
        match stop {
            Stop::Missing(missing) => {
                self.wait_for(conn, missing);
                Stall::Absent
            }
            _ => Stall::Crowded,
        }
    }

    /// The connection's next command waits for something that is being read.
    fn wait_for(&mut self, conn: ConnId, missing: Missing) {
        let waiting = self.paging.waiting.entry(missing).or_default();
        if !waiting.contains(&conn) {
            waiting.push(conn);
        }
    }

    /// Keeps what another shard wants until it can be done. `missing` is `None` if it only has to wait its turn.
    pub(super) fn park(&mut self, from: ShardId, request: RequestId, work: Work, missing: Option<Missing>) {
        self.note_deed(Deed::Parked { from, request });
        self.paging.parked.push_back(Parked { from, request, work, missing });
    }

    pub(super) fn is_anything_parked(&self) -> bool {
        !self.paging.parked.is_empty()
    }

    /// Whether something of this client is parked, so that what comes later has to wait behind it.
    #[inline]
    pub(super) fn has_parked(&self, from: ShardId, request: RequestId) -> bool {
        !self.paging.parked.is_empty() && self.paging.parked.iter().any(|parked| parked.is_behind(from, request))
    }

    /// The same, of a connection of this core.
    #[cold]
    pub(super) fn has_parked_of(&self, conn: ConnId) -> bool {
        let client = self.session(conn).client.id;
        self.has_parked(self.identity.shard, RequestId { client, conn: conn.0, hole: 0, part: 0 })
    }

    pub(super) fn on_page_read(&mut self, op: OpId, result: Result<&[u8], i32>) {
        let missing = match self.shard.engine_mut().on_page_read(op, result) {
            Fetched::Underway => return,
            Fetched::Here(missing) => {
                self.paging.damaged.retain(|(damaged, _)| *damaged != missing);
                missing
            }
            Fetched::Again(missing) => missing,
            Fetched::Damaged { missing, offset, what } => {
                let damage = self.note_damage(missing, offset, Trouble::Damaged(what));
                self.note_unusable(missing, format!("ERR {damage}"));
                missing
            }
            Fetched::Failed { missing, offset, errno } => {
                let damage = self.note_damage(missing, offset, Trouble::Unreadable { errno });
                self.note_unusable(missing, format!("ERR {damage}"));
                missing
            }
        };
        self.arrived(missing);
    }

    /// Remembers what cannot be had, and says so the first time.
    #[cold]
    fn note_damage(&mut self, missing: Missing, offset: u64, trouble: Trouble) -> Damage {
        let known = self.paging.damaged.iter().find(|(known, damage)| *known == missing && damage.offset == offset);
        if let Some((_, damage)) = known {
            return *damage;
        }
        let behind = Behind::Rows(missing, self.shard.engine().locate(missing));
        let damage = Damage { shard: self.identity.shard, offset, trouble, behind };
        self.notice(Notice::PageDamaged(damage));
        self.paging.damaged.retain(|(known, _)| *known != missing);
        if self.paging.damaged.len() < DAMAGES_MAX {
            self.paging.damaged.push((missing, damage));
        }
        damage
    }

    /// Pages and extents that are known to be damaged.
    pub fn damages(&self) -> usize {
        self.paging.damaged.len()
    }

    /// For a while it is not read again.
    fn note_unusable(&mut self, missing: Missing, text: String) {
        self.paging.unusable_since_ns = self.now.mono_ns;
        self.paging.unusable.push((missing, Refusal::text(text)));
    }

    fn arrived(&mut self, missing: Missing) {
        for parked in self.paging.parked.iter_mut().filter(|parked| parked.missing == Some(missing)) {
            parked.missing = None;
        }
        for conn in self.paging.waiting.remove(&missing).unwrap_or_default() {
            self.wake(conn);
            self.after_run(conn);
        }
        self.run_parked();
    }

    /// Does what was parked and can be done now, each client's in order.
    pub(super) fn run_parked(&mut self) {
        if self.paging.parked.iter().all(|parked| parked.missing.is_some()) {
            return;
        }
        let parked = std::mem::take(&mut self.paging.parked);
        for Parked { from, request, work, missing } in parked {
            // What is parked again stands before what comes later.
            if missing.is_some() || self.has_parked(from, request) {
                self.park(from, request, work, missing);
                continue;
            }
            match work {
                Work::Run { db, is_resp3, bytes, ranges } => {
                    self.run_for(from, request, db, is_resp3, &crate::command::args::Args::new(&bytes, &ranges));
                }
                Work::Ask(ask, progress) => self.answer_later(from, request, &ask, progress),
            }
        }
        self.settle_counts();
    }

    pub(super) fn on_page_done(&mut self, done: DiskDone) {
        self.shard.engine_mut().on_page_done(done);
        self.watch_page_file();
        self.finish_saves();
    }

    /// Notes, once, when the page file fails, is full, or has room again.
    fn watch_page_file(&mut self) {
        let Some(state) = self.shard.engine().page_file().map(|file| file.state()) else { return };
        if self.paging.file_state == Some(state) {
            return;
        }
        let before = self.paging.file_state.replace(state);
        let shard = self.identity.shard;
        match state {
            FileState::Failed { offset, errno } => {
                self.notice(Notice::PageFileFailed { shard, offset, errno: errno.unwrap_or(0) });
            }
            FileState::Full { errno } if !matches!(before, Some(FileState::Full { .. })) => {
                self.notice(Notice::PageFileFull { shard, errno });
            }
            _ => {}
        }
    }

    /// Pages of what was dropped as a whole become free little by little.
    pub(super) fn free_dropped(&mut self) {
        if let Err(missing) = self.shard.engine_mut().free_some(super::FREE_PAGES_PER_TURN) {
            // It is tried again at the end of each turn.
            let _ = self.fetch(missing);
        }
    }

    /// The end of a turn: the checkpoint goes on as far as it ought to, and operations leave.
    pub(super) fn work_pages(&mut self) {
        if self.shard.engine().page_file().is_none() {
            return;
        }
        let bytes = self.pace();
        let unix_us = self.now.unix_us;
        let engine = self.shard.engine_mut();
        let was_idle = engine.checkpoint_state() == CheckpointState::Idle;
        engine.work(unix_us, bytes);
        if was_idle && engine.checkpoint_state() != CheckpointState::Idle {
            let total = engine.checkpoint_bytes();
            let pace = &mut self.paging.pace;
            (pace.begun_log, pace.begun_ns, pace.total, pace.credit) = (pace.log, pace.ns, total, 0);
        }
        while let Some(op) = self.shard.engine_mut().poll_pages() {
            self.effects.push_back(Effect::Page(op));
        }
    }

    /// How many bytes the running checkpoint may go on by in this turn. Asks for the next one when it is due.
    fn pace(&mut self) -> usize {
        let engine = self.shard.engine();
        let (log, ns) = (engine.log().appended().0, self.now.mono_ns);
        let is_idle = engine.checkpoint_state() == CheckpointState::Idle && !engine.is_checkpoint_wanted();
        let is_dirty = engine.is_dirty();
        let is_crowded = engine.is_mostly_dirty();
        let has_room = engine.has_output_room();
        let pace = &mut self.paging.pace;
        if pace.ns == 0 {
            (pace.begun_log, pace.begun_ns, pace.log) = (log, ns, log);
        }
        let (grown, passed) = (log.saturating_sub(pace.log), ns.saturating_sub(pace.ns).min(SECOND_NS));
        (pace.log, pace.ns) = (log, ns);
        if is_idle {
            let is_due = log.saturating_sub(pace.begun_log) >= CHECKPOINT_LOG_BYTES
                || ns.saturating_sub(pace.begun_ns) >= CHECKPOINT_SECONDS * SECOND_NS
                || is_crowded;
            if is_due && is_dirty {
                self.shard.engine_mut().want_checkpoint();
            }
            return 0;
        }
        let share = |part: u64, whole: u64| (u128::from(pace.total) * u128::from(part) / u128::from(whole)) as u64;
        pace.credit = pace.credit.saturating_add(share(grown, SPREAD_LOG_BYTES) + share(passed, SPREAD_NS));
        if !has_room {
            return 0;
        }
        let wanted = if pace.is_urgent || is_crowded { u64::MAX } else { pace.credit.max(8 * 1024) };
        let bytes = wanted.min(CHECKPOINT_TURN_BYTES_MAX);
        pace.credit = pace.credit.saturating_sub(bytes);
        bytes as usize
    }

    /// Once a second: what was unusable may be tried again, and what there was no room for too.
    pub(super) fn retry_pages(&mut self) {
        let is_old = self.now.mono_ns.saturating_sub(self.paging.unusable_since_ns) >= SECOND_NS;
        if is_old {
            self.paging.unusable.clear();
        }
        if let Some(file) = self.shard.engine().page_file() {
            self.paging.damaged.retain(|(missing, damage)| file.stands_at(*missing, damage.offset));
        }
        self.shard.engine_mut().retry_pages();
    }

    /// A checkpoint is made as soon as can be. Answers its generation, if there is a page file.
    pub fn checkpoint(&mut self) -> Option<u32> {
        let engine = self.shard.engine_mut();
        let durable = engine.page_file()?.durable().generation;
        let is_running = engine.checkpoint_state() != CheckpointState::Idle;
        engine.want_checkpoint();
        self.paging.pace.is_urgent = true;
        Some(durable + 1 + u32::from(is_running))
    }

    /// Whether a checkpoint is being made, or about to be.
    pub fn is_checkpointing(&self) -> bool {
        let engine = self.shard.engine();
        engine.checkpoint_state() != CheckpointState::Idle || engine.is_checkpoint_wanted()
    }

    /// Makes a checkpoint, and answers another shard, or this one, when it is durable.
    pub(super) fn save_for(&mut self, from: ShardId, request: RequestId) {
        let Some(generation) = self.checkpoint() else {
            let answer = Box::new(Answer::Done);
            return self.hold_foreign(from, Lsn(0), HeldReply::Answer { request, answer });
        };
        self.paging.saves.push((generation, from, request));
        self.finish_saves();
    }

    fn finish_saves(&mut self) {
        let Some(file) = self.shard.engine().page_file() else { return };
        let (durable, has_failed) = (file.durable().generation, matches!(file.state(), FileState::Failed { .. }));
        if self.shard.engine().checkpoint_state() == CheckpointState::Idle
            && !self.shard.engine().is_checkpoint_wanted()
        {
            self.paging.pace.is_urgent = false;
        }
        if self.paging.saves.is_empty() {
            return;
        }
        for (generation, from, request) in std::mem::take(&mut self.paging.saves) {
            let answer = if durable >= generation {
                Answer::Done
            } else if has_failed {
                Answer::Refused("ERR the checkpoint failed; see the log of the server".into())
            } else {
                self.paging.saves.push((generation, from, request));
                continue;
            };
            self.hold_foreign(from, Lsn(0), HeldReply::Answer { request, answer: Box::new(answer) });
        }
    }
}

impl Parked {
    fn is_behind(&self, from: ShardId, request: RequestId) -> bool {
        self.from == from && self.request.conn == request.conn && self.request.client == request.client
    }
}
