//! Redo beside the clients: what the log has and the trees have not since the start is applied a little in every turn, and
//! at once where a command looks at it (see `cairn_storage::engine::Redone`).
//!
//! A command on rows meets `Missing::Pending`: the row's effects are applied and it runs again, or it waits for a page like
//! any other. A command about many rows meets `Missing::Redo` and waits for the end. A page that cannot be had holds up
//! its own rows only: the others go on, and what is left is tried again, and carried from checkpoint to checkpoint.

use super::Machine;
use super::paging::Absence;
use crate::error::Refusal;
use crate::event::Notice;
use crate::limits::{REDO_AHEAD_BUSY, REDO_EFFECTS_PER_BUSY_TURN, REDO_EFFECTS_PER_TURN, REDO_RETRY_SECONDS};
use crate::shard::PAGE_FILE_STUCK;
use cairn_storage::engine::Redone;
use cairn_storage::error::Missing;

/// Rows that one turn skips at most.
const SKIPS_PER_TURN_MAX: usize = 64;

/// How far redo is.
pub(super) struct Redo {
    /// Effects that one turn applies at most.
    pub effects_per_turn: usize,
    /// Effects that there were when the machine began, until they are applied.
    effects: u64,
    begun_ns: u64,
    /// Another turn would go on at once.
    is_eager: bool,
    /// What is left cannot be applied now: since when, and why.
    blocked: Option<(u64, Refusal)>,
    /// Commands that clients had had when it went on last.
    commands: u64,
    /// Why the last row was skipped.
    skipped: Option<Refusal>,
    /// So many effects were blocked when that was said last.
    told: u64,
}

impl Redo {
    pub fn new(effects: u64, begun_ns: u64) -> Redo {
        let effects_per_turn = REDO_EFFECTS_PER_TURN;
        Redo {
            effects_per_turn,
            effects,
            begun_ns,
            is_eager: false,
            blocked: None,
            commands: 0,
            skipped: None,
            told: 0,
        }
    }
}

impl Machine {
    /// Whether another turn would do something though nothing happens until then.
    #[inline]
    pub fn wants_redo(&self) -> bool {
        self.redo.is_eager
    }

    /// Effects that one turn applies at most: for one who wants to see what happens in between.
    pub fn set_redo_effects_per_turn(&mut self, effects: usize) {
        self.redo.effects_per_turn = effects;
    }

    /// A turn's part.
    #[inline]
    pub(super) fn redo(&mut self) {
        if self.redo.effects > 0 {
            self.go_on_with_redo();
        }
    }

    #[cold]
    fn go_on_with_redo(&mut self) {
        self.redo.is_eager = false;
        if let Some((since_ns, _)) = self.redo.blocked {
            if self.now.mono_ns.saturating_sub(since_ns) < REDO_RETRY_SECONDS * super::SECOND_NS {
                return;
            }
            self.redo.blocked = None;
            self.shard.engine_mut().retry_redo();
        }
        let (effects, ahead) = self.redo_share();
        for _ in 0..SKIPS_PER_TURN_MAX {
            match self.shard.engine_mut().redo_some(effects, ahead) {
                Redone::Over => return self.end_redo(),
                Redone::More => break,
                Redone::Missing(missing) => match self.fetch(missing) {
                    Absence::Over => {}
                    // Both have an event at their end.
                    Absence::Wait(_) | Absence::Crowded => return,
                    Absence::Unusable(refusal) => self.skip_redo(refusal),
                },
                Redone::Crowded => return,
                Redone::Stuck => return self.block_redo(Refusal::text(PAGE_FILE_STUCK)),
                Redone::Senseless(what) => self.skip_redo(senseless(what)),
                Redone::Blocked => {
                    let refusal = self.redo.skipped.take().expect("what is left was skipped");
                    return self.block_redo(refusal);
                }
            }
        }
        self.redo.is_eager = true;
    }

    /// What a turn may apply, and have read: little while clients have commands.
    fn redo_share(&mut self) -> (usize, Option<usize>) {
        let commands = self.stats.counters.commands;
        let is_busy = std::mem::replace(&mut self.redo.commands, commands) != commands || self.are_clients_waiting();
        let effects = self.redo.effects_per_turn;
        if is_busy { (effects.min(REDO_EFFECTS_PER_BUSY_TURN), Some(REDO_AHEAD_BUSY)) } else { (effects, None) }
    }

    fn skip_redo(&mut self, refusal: Refusal) {
        self.shard.engine_mut().skip_redo();
        self.redo.skipped = Some(refusal);
    }

    /// Who waits for the end is told why it does not come.
    fn block_redo(&mut self, refusal: Refusal) {
        let (shard, effects) = (self.identity.shard, self.shard.engine().redo_left());
        if std::mem::replace(&mut self.redo.told, effects) != effects {
            let is_carried = !self.shard.engine().is_redo_too_much();
            self.notice(Notice::RedoBlocked { shard, effects, why: refusal.line().into_owned(), is_carried });
            // It carries them, and the next start has less to do.
            self.shard.engine_mut().want_checkpoint();
        }
        self.redo.blocked = Some((self.now.mono_ns, refusal));
        self.arrived(Missing::Redo);
    }

    fn end_redo(&mut self) {
        let ms = self.now.mono_ns.saturating_sub(self.redo.begun_ns) / 1_000_000;
        let effects = std::mem::take(&mut self.redo.effects);
        self.notice(Notice::Redone { shard: self.identity.shard, effects, ms });
        // The next start is to have less to do.
        self.shard.engine_mut().want_checkpoint();
        self.arrived(Missing::Redo);
    }

    /// Effects that cannot be applied now.
    pub(crate) fn redo_blocked(&self) -> u64 {
        if self.redo.blocked.is_some() { self.shard.engine().redo_left() } else { 0 }
    }

    /// Has done what a command waits for that looks at what redo has not come to.
    pub(super) fn fetch_redo(&mut self, missing: Missing) -> Absence {
        let Missing::Pending(row) = missing else {
            return match &self.redo.blocked {
                _ if self.shard.engine().await_redo().is_ok() => Absence::Over,
                Some((_, refusal)) => Absence::Unusable(refusal.clone()),
                None => Absence::Wait(missing),
            };
        };
        loop {
            return match self.shard.engine_mut().redo_row(row) {
                Redone::Over => Absence::Over,
                Redone::Missing(missing) => match self.fetch(missing) {
                    Absence::Over => continue,
                    absence => absence,
                },
                // It goes on in the next turn.
                Redone::More | Redone::Crowded => Absence::Crowded,
                Redone::Stuck => Absence::Unusable(Refusal::text(PAGE_FILE_STUCK)),
                Redone::Senseless(what) => Absence::Unusable(senseless(what)),
                Redone::Blocked => unreachable!("nothing is skipped of a row"),
            };
        }
    }
}

fn senseless(what: &'static str) -> Refusal {
    Refusal::text(format!("ERR the log has a record of this key that cannot be understood: {what}"))
}
