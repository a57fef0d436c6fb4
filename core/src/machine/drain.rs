//! The end of a shard: what was begun is finished and acknowledged, then a last checkpoint leaves the next start nothing to do.
//!
//! ```text
//!   serving --Drain--> finishing ----settled----> applying ----no row waits, too slow----> last checkpoint
//!                          last checkpoint ----durable, too slow, not possible----> drained
//! ```

use super::Machine;
use crate::limits::SHUTDOWN_CHECKPOINT_SECONDS;
use cairn_storage::log::LogState;
use cairn_storage::pagefile::FileState;

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    /// There is none.
    Serving,
    /// `saves`: a checkpoint follows.
    Finishing { saves: bool },
    /// Rows that wait for their pages are applied, since then.
    Applying { since_ns: u64 },
    /// A checkpoint of this generation is being made, since then.
    Saving { generation: u32, since_ns: u64 },
    /// Nothing is begun any more.
    Finished,
}

impl Machine {
    pub(super) fn on_drain(&mut self, saves: bool) {
        if self.drain == Drain::Serving {
            self.drain = Drain::Finishing { saves };
            self.end_opens();
        }
    }

    #[inline]
    pub(super) fn is_draining(&self) -> bool {
        self.drain != Drain::Serving
    }

    /// The end of a turn while the shard is draining.
    #[cold]
    pub(super) fn go_on_draining(&mut self) {
        match self.drain {
            Drain::Finishing { saves } if self.is_settled() => {
                let applies = saves && self.can_save_last();
                self.drain = if applies { Drain::Applying { since_ns: self.now.mono_ns } } else { Drain::Finished };
                self.shard.engine_mut().want_settled();
            }
            Drain::Applying { since_ns } => {
                let engine = self.shard.engine();
                let is_over = engine.await_deferred().is_ok() || engine.is_settling_barred();
                // The next start applies what is left.
                if !is_over && !self.has_drained_for(since_ns, 2) {
                    return;
                }
                let generation = if self.can_save_last() { self.checkpoint() } else { None };
                self.drain = match generation {
                    Some(generation) => Drain::Saving { generation, since_ns: self.now.mono_ns },
                    None => Drain::Finished,
                };
            }
            Drain::Saving { generation, since_ns } => {
                // A start that has more to read is better than a stop that takes long.
                let is_late = self.has_drained_for(since_ns, 1);
                let durable = self.shard.engine().page_file().map_or(u32::MAX, |file| file.durable().generation);
                if durable >= generation || is_late || !self.can_save_last() {
                    self.drain = Drain::Finished;
                }
            }
            _ => {}
        }
    }

    /// Whether one part of so many of the time has passed that the end may take.
    fn has_drained_for(&self, since_ns: u64, parts: u64) -> bool {
        let seconds_max = SHUTDOWN_CHECKPOINT_SECONDS.min(self.settings.shutdown_timeout_s / 2);
        self.now.mono_ns.saturating_sub(since_ns) >= seconds_max * super::SECOND_NS / parts
    }

    /// Whether a checkpoint can be made, and is worth it.
    fn can_save_last(&self) -> bool {
        let engine = self.shard.engine();
        let Some(file) = engine.page_file() else { return false };
        // What redo has not come to would have to be read first.
        let can = file.state() == FileState::Open && engine.log().accepts_writes() && engine.redo_left() == 0;
        can && !self.is_checkpoint_barred()
    }

    /// Nothing is in flight and nothing unacknowledged is left.
    fn is_settled(&self) -> bool {
        let log = self.shard.engine().log();
        let is_written = match log.state() {
            LogState::Open => log.is_idle() && log.is_proved(),
            LogState::Full { .. } => log.is_idle(),
            LogState::Failed(_) => true,
        };
        self.is_draining()
            && is_written
            && self.effects.is_empty()
            && self.inbox.is_empty()
            && !self.is_anything_parked()
            && !self.has_parts()
            && self.execs_undecided() == 0
            && self.pending.wides.is_empty()
            && self.outbox.iter().all(|parcel| parcel.messages.is_empty())
            && self.sessions.iter().flatten().all(|session| session.output.is_empty() || session.output.is_at_barrier())
    }

    /// After [`Event::Drain`](crate::event::Event::Drain): nothing is left to be done, or will be in time.
    pub fn is_drained(&self) -> bool {
        self.drain == Drain::Finished && self.is_settled()
    }
}
