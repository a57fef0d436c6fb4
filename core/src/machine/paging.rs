//! What is not in memory: who waits for which page, and what the page file does in the background.
//!
//! A command that meets an absent page has changed nothing. It is put back: a connection's own command stays in its
//! input, one that another shard has sent is parked here. The read is issued, everybody else goes on, and when the page
//! has come the command runs again from its beginning. Commands of one connection stay in their order; those of others
//! do not wait.

use super::Deed;
use super::Machine;
use super::release::HeldReply;
use crate::command::args::Args;
use crate::command::{Call, Flags, Spec};
use crate::damage::{Behind, Damage, Trouble};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, Effect, Notice};
use crate::limits::{CHECKPOINT_SECONDS, CHECKPOINT_TURN_BYTES_MAX, DAMAGES_MAX, checkpoint_log_bytes};
use crate::parcel::{Answer, RequestId};
use crate::session::Stall;
use cairn_storage::error::Missing;
use cairn_storage::limits::TOUCH_KEYS_MAX;
use cairn_storage::op::{DiskDone, PageOp};
use cairn_storage::pagefile::{CheckpointState, FileState};
use cairn_storage::pool::{Fetch, Fetched};
use cairn_storage::units::{Lsn, OpId, PageId, ShardId};
use hashbrown::HashMap;

/// A checkpoint that runs is done when the log has grown by half of what makes one due, or so much time has passed,
/// whichever is first.
const SPREAD_NS: u64 = 10 * 1_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// Requests that are decoded together at least, after one has met an absent page.
const BATCH_MISSED_MIN: usize = 8;

/// Everything that waits for the page file.
#[derive(Default)]
pub(super) struct Paging {
    /// Connections whose next command waits for something.
    waiting: HashMap<Missing, Vec<ConnId>>,
    /// What the running batch has asked to be read.
    ahead: Vec<Missing>,
    /// What was found damaged or unreadable a short while ago, and what to say of it.
    unusable: Vec<(Missing, Refusal)>,
    unusable_since_ns: u64,
    /// What is known to be damaged, until it is rewritten or reads back after all.
    damaged: Vec<(Missing, Damage)>,
    file_state: Option<FileState>,
    pace: Pace,
    /// Pages of what was dropped as a whole cannot be had, so that no checkpoint begins.
    is_freeing_barred: bool,
    /// Somebody waits until no row waits for its page.
    awaits_deferred: bool,
    /// Commands that clients had had a second ago.
    commands: u64,
    /// SAVE waits for a checkpoint of this generation.
    saves: Vec<(u32, ShardId, RequestId)>,
}

/// How far the running checkpoint ought to be.
#[derive(Default)]
struct Pace {
    /// Where log and clock were at the last turn, and how many victims had been written; and when the last checkpoint began.
    log: u64,
    ns: u64,
    victims: u64,
    begun_log: u64,
    begun_ns: u64,
    /// Bytes that the checkpoint has to save.
    total: u64,
    /// Bytes it may go on by.
    credit: u64,
    is_urgent: bool,
    /// It could have gone on by more than one turn may do.
    is_behind: bool,
}

/// What to do about something missing.
pub(crate) enum Absence {
    /// It is here now: run again.
    Over,
    /// This is being read, or done: then run again.
    Wait(Missing),
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
        if let Missing::Astray(page) = missing {
            return self.refuse_astray(page);
        }
        if matches!(missing, Missing::Pending(_) | Missing::Redo) {
            return self.fetch_redo(missing);
        }
        if missing == Missing::Deferred {
            return self.fetch_deferred();
        }
        match self.shard.engine_mut().fetch(missing) {
            Fetch::Here => Absence::Over,
            Fetch::Underway => Absence::Wait(missing),
            Fetch::Crowded => Absence::Crowded,
        }
    }

    /// A page is no leaf where one belongs: damage that no checksum shows. It is reported like any other, and only who needs what
    /// is behind it is refused.
    fn refuse_astray(&mut self, page: PageId) -> Absence {
        let offset = self.shard.engine().page_file().and_then(|file| file.offset_of(page)).unwrap_or(0);
        let damage =
            self.note_damage(Missing::Astray(page), offset, Trouble::Damaged("a branch is where a leaf belongs"));
        Absence::Unusable(Refusal::text(format!("ERR {damage}")))
    }

    /// Has all rows applied that wait for their pages: somebody counts them.
    fn fetch_deferred(&mut self) -> Absence {
        let engine = self.shard.engine_mut();
        if engine.await_deferred().is_ok() {
            return Absence::Over;
        }
        if engine.is_settling_barred() {
            let why = "ERR the page file has a page that cannot be read or kept now, and rows wait for it. Please check the server logs for details";
            return Absence::Unusable(Refusal::text(why));
        }
        engine.want_settled();
        self.paging.awaits_deferred = true;
        Absence::Wait(Missing::Deferred)
    }

    /// Those who wait for that go on when it is done, or cannot be.
    #[inline]
    fn end_deferred(&mut self) {
        let engine = self.shard.engine();
        if self.paging.awaits_deferred && (engine.await_deferred().is_ok() || engine.is_settling_barred()) {
            self.paging.awaits_deferred = false;
            self.arrived(Missing::Deferred);
        }
    }

    /// The same for one who can only go on or stop.
    pub(super) fn fetch_or_stop(&mut self, missing: Missing) -> Result<(), Stop> {
        match self.fetch(missing) {
            Absence::Over => Ok(()),
            Absence::Wait(missing) => Err(missing.into()),
            Absence::Crowded => Err(Stop::Crowded),
            Absence::Unusable(refusal) => {
                self.note_deed(Deed::Unusable);
                Err(refusal.into())
            }
        }
    }

    /// Before a command of several keys runs: all of them are to be in memory, for after its first change nothing may be
    /// missing. Where nothing is absent and there is room, there is nothing to do.
    #[inline]
    pub(super) fn prepare(&mut self, call: &Call<'_>) -> Result<(), Stop> {
        if call.spec.is_single() {
            return Ok(());
        }
        self.shard.touch(call);
        if !call.spec.flags.has(Flags::WRITE) {
            return Ok(());
        }
        self.shard.prepare(call)
    }

    /// A command has met something that is not there: has it read, together with all else that the command needs.
    #[cold]
    pub(super) fn fetch_for(&mut self, missing: Missing, call: &Call<'_>) -> Absence {
        let absence = self.fetch(missing);
        if matches!(absence, Absence::Wait(_)) {
            // Only the first one decides what becomes of the command.
            let absent = self.shard.absent(call);
            self.fetch_ahead(absent);
        }
        absence
    }

    /// How many requests of a connection are decoded together: if one has met an absent page, not many more than can be read
    /// ahead now, for the others are decoded again later.
    #[inline]
    pub(super) fn batch_max(&mut self, conn: ConnId) -> usize {
        if !std::mem::take(&mut self.session_mut(conn).has_missed) {
            return TOUCH_KEYS_MAX;
        }
        self.shard.engine().reads_ahead().clamp(BATCH_MISSED_MIN, TOUCH_KEYS_MAX)
    }

    /// A batch begins: it has asked for nothing.
    #[inline]
    pub(super) fn begin_ahead(&mut self) {
        self.paging.ahead.clear();
    }

    /// Whether any connection waits for a page of its own.
    pub(super) fn are_clients_waiting(&self) -> bool {
        // Who waits for the end of redo is not helped by waiting for others.
        self.paging.waiting.keys().any(|missing| !matches!(missing, Missing::Redo | Missing::Deferred))
    }

    /// Has the pages read that a command for another shard will need when its turn has come.
    pub(super) fn read_ahead_for(&mut self, db: u8, spec: &Spec, args: &Args<'_>) {
        let heads: Vec<u64> = spec.row_keys(args).map(|at| self.shard.head(&args[at])).collect();
        let mut absent = Vec::new();
        self.shard.engine().touch(db, &heads, |missing| absent.push(missing));
        self.fetch_ahead(absent);
    }

    /// Has things read that nobody waits for yet, as many as may be.
    pub(super) fn fetch_ahead(&mut self, absent: Vec<Missing>) {
        for missing in absent {
            if self.shard.engine().reads_ahead() == 0 {
                return;
            }
            if let Absence::Wait(missing) = self.fetch(missing) {
                self.paging.ahead.push(missing);
            }
        }
    }

    /// A connection's command was not run after all: why it has to wait.
    #[cold]
    pub(super) fn put_back(&mut self, conn: ConnId, stop: Stop, call: &Call<'_>) -> Stall {
        self.session_mut(conn).client.commands -= 1;
        match stop {
            Stop::Missing(missing) => {
                let held = self.shard.long_values(call.db, call.spec, call.args);
                let session = self.session_mut(conn);
                session.held.extend(held);
                (session.absent, session.has_missed) = (0, true);
                self.wait_for(conn, missing);
                self.wait_for_all(conn);
                Stall::Absent
            }
            Stop::Locked => Stall::Locked,
            _ => Stall::Crowded,
        }
    }

    /// The connection's next command waits for something that is being read.
    fn wait_for(&mut self, conn: ConnId, missing: Missing) {
        let waiting = self.paging.waiting.entry(missing).or_default();
        if !waiting.contains(&conn) {
            waiting.push(conn);
        }
        self.session_mut(conn).absent += 1;
    }

    /// It goes on when all is here that was asked for on its behalf: else it would be looked at for each page.
    fn wait_for_all(&mut self, conn: ConnId) {
        let ahead = std::mem::take(&mut self.paging.ahead);
        for missing in &ahead {
            if !self.paging.waiting.get(missing).is_some_and(|waiting| waiting.contains(&conn)) {
                self.wait_for(conn, *missing);
            }
        }
        self.paging.ahead = ahead;
    }

    pub(super) fn on_page_read(&mut self, op: OpId, result: Result<&[u8], i32>) {
        let missing = match self.shard.engine_mut().on_page_read(op, result) {
            Fetched::Underway => return,
            Fetched::Scrubbed(found) => return self.on_scrubbed(found),
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
    pub(super) fn note_damage(&mut self, missing: Missing, offset: u64, trouble: Trouble) -> Damage {
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

    pub(super) fn arrived(&mut self, missing: Missing) {
        let blob = match missing {
            Missing::Extent(id) => self.shard.engine().extent_here(id),
            _ => None,
        };
        for conn in self.paging.waiting.remove(&missing).unwrap_or_default() {
            let Some(session) = self.find_session(conn) else { continue };
            session.absent = session.absent.saturating_sub(1);
            if session.absent > 0 {
                // What else it needs is still to come.
                session.held.extend(blob.clone());
            }
            if session.absent == 0 && session.stall == Some(Stall::Absent) {
                self.wake(conn);
                self.after_run(conn);
            }
        }
        self.run_parked_for(missing);
    }

    pub(super) fn on_page_done(&mut self, done: DiskDone) {
        self.shard.engine_mut().on_page_done(done);
        self.watch_page_file();
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
        // A snapshot may still show a collection that is gone.
        let are_held = self.shard.versions().are_wanted();
        self.shard.engine_mut().hold_elements(are_held);
        let Err(missing) = self.shard.engine_mut().free_some(super::FREE_PAGES_PER_TURN) else {
            self.paging.is_freeing_barred = false;
            return;
        };
        // It is tried again at the end of each turn.
        if let Absence::Unusable(refusal) = self.fetch(missing)
            && !std::mem::replace(&mut self.paging.is_freeing_barred, true)
        {
            let shard = self.identity.shard;
            self.notice(Notice::CheckpointBarred { shard, why: refusal.line().into_owned() });
        }
    }

    /// Whether no checkpoint can begin, and why that will end is not known: something that is damaged stands in its way.
    pub(crate) fn is_checkpoint_barred(&self) -> bool {
        self.paging.is_freeing_barred || self.shard.engine().is_redo_too_much()
    }

    /// The end of a turn: the checkpoint goes on as far as it ought to, and operations leave.
    pub(super) fn work_pages(&mut self) {
        if self.shard.engine().page_file().is_none() {
            return;
        }
        self.work_scrub();
        let bytes = self.pace();
        let engine = self.shard.engine_mut();
        // A clock that was set back does not make LASTSAVE go back.
        let unix_us = engine.page_file().map_or(0, |file| file.durable().unix_us).max(self.now.unix_us);
        let was_idle = engine.checkpoint_state() == CheckpointState::Idle;
        engine.work(unix_us, bytes);
        self.end_deferred();
        let engine = self.shard.engine_mut();
        if was_idle && engine.checkpoint_state() != CheckpointState::Idle {
            let total = engine.checkpoint_bytes();
            let pace = &mut self.paging.pace;
            (pace.begun_log, pace.begun_ns, pace.total, pace.credit) = (pace.log, pace.ns, total, 0);
        }
        while let Some(op) = self.shard.engine_mut().poll_pages() {
            self.effects.push_back(Effect::Page(op));
        }
        while let Some(read) = self.shard.engine_mut().poll_log_read() {
            self.effects.push_back(Effect::LogRead(read));
        }
        if self.shard.engine().is_short_of_sites() {
            self.watch_page_file();
        }
    }

    /// The next read of the page file: it need not wait for the end of a long turn.
    #[inline]
    pub fn poll_read(&mut self) -> Option<PageOp> {
        self.shard.engine_mut().poll_page_read()
    }

    /// How many bytes the running checkpoint may go on by in this turn. Asks for the next one when it is due.
    fn pace(&mut self) -> usize {
        let engine = self.shard.engine();
        let (log, ns) = (engine.log().appended().0, self.now.mono_ns);
        let is_idle = engine.checkpoint_state() == CheckpointState::Idle && !engine.is_checkpoint_wanted();
        let is_dirty = engine.is_dirty();
        // Where the file has no further sites a checkpoint gives some back, and extents leave memory after one only.
        let is_crowded = engine.is_short_of_sites() && engine.is_mostly_dirty() || engine.has_many_unsaved();
        let has_room = engine.has_output_room();
        let goes_on = matches!(engine.checkpoint_state(), CheckpointState::Saving | CheckpointState::Composing);
        let (taken, taken_max) = engine.sites_taken();
        let victims = engine.page_file().map_or(0, |file| file.numbers().victims_written);
        let log_bytes = checkpoint_log_bytes(engine.memory_bytes_max());
        let pace = &mut self.paging.pace;
        pace.is_behind = false;
        if pace.ns == 0 {
            (pace.begun_log, pace.begun_ns, pace.log) = (log, ns, log);
        }
        let (grown, passed) = (log.saturating_sub(pace.log), ns.saturating_sub(pace.ns).min(SECOND_NS));
        let written = victims.saturating_sub(pace.victims);
        (pace.log, pace.ns, pace.victims) = (log, ns, victims);
        if is_idle {
            let is_due = log.saturating_sub(pace.begun_log) >= log_bytes
                || ns.saturating_sub(pace.begun_ns) >= CHECKPOINT_SECONDS * SECOND_NS
                || taken >= taken_max
                || is_crowded;
            if is_due && is_dirty {
                self.shard.engine_mut().want_checkpoint();
            }
            return 0;
        }
        // Whatever made it begin, it is over when half as much of that has come again.
        let share = |part: u64, whole: u64| (u128::from(pace.total) * u128::from(part) / u128::from(whole)) as u64;
        let earned = share(grown, log_bytes / 2) + share(passed, SPREAD_NS) + share(written, taken_max.div_ceil(2));
        pace.credit = pace.credit.saturating_add(earned);
        if !has_room {
            return 0;
        }
        let wanted = if pace.is_urgent || is_crowded { u64::MAX } else { pace.credit.max(8 * 1024) };
        let bytes = wanted.min(CHECKPOINT_TURN_BYTES_MAX);
        pace.is_behind = goes_on && wanted > bytes;
        pace.credit = pace.credit.saturating_sub(bytes);
        bytes as usize
    }

    /// Whether there is work for a turn though nothing has happened: a checkpoint that ought to be further, or redo.
    #[inline]
    pub fn wants_turn(&self) -> bool {
        self.paging.pace.is_behind
            || self.wants_redo()
            || self.parts_want_turn()
            || self.splits_want_turn()
            || self.wides_want_turn()
            || self.parked_want_turn()
            || self.has_shares
            || self.cuts_want_turn()
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
        self.shard.engine_mut().share_deferred();
        let commands = self.stats.counters.commands;
        if std::mem::replace(&mut self.paging.commands, commands) == commands {
            self.shard.engine_mut().settle_idle();
        }
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

    /// Makes a checkpoint, and answers another shard, or this one, when it is durable: never before the turn's end, when the
    /// connection that asks has its output back.
    pub(super) fn save_for(&mut self, from: ShardId, request: RequestId) {
        let generation = self.checkpoint().unwrap_or(0);
        self.paging.saves.push((generation, from, request));
    }

    /// Answers those whose checkpoint is durable, or has failed.
    pub(super) fn finish_saves(&mut self) {
        let engine = self.shard.engine();
        if engine.checkpoint_state() == CheckpointState::Idle && !engine.is_checkpoint_wanted() {
            self.paging.pace.is_urgent = false;
        }
        if self.paging.saves.is_empty() {
            return;
        }
        // Without a page file there is nothing to wait for.
        let file = engine.page_file();
        let durable = file.map_or(u32::MAX, |file| file.durable().generation);
        let is_idle = engine.checkpoint_state() == CheckpointState::Idle;
        let has_failed = file.is_some_and(|file| matches!(file.state(), FileState::Failed { .. }))
            || is_idle && self.is_checkpoint_barred();
        for (generation, from, request) in std::mem::take(&mut self.paging.saves) {
            let answer = if durable >= generation {
                Answer::Done
            } else if has_failed {
                Answer::Refused("ERR the checkpoint failed; see the log of the server".into())
            } else {
                self.paging.saves.push((generation, from, request));
                continue;
            };
            self.note_deed(Deed::Answered { from, request });
            self.hold_foreign(from, Lsn(0), HeldReply::Answer { request, answer: Box::new(answer) });
        }
    }
}
