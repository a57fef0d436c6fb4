//! The lives of a run whose clients go on until a crash ends them, and the last one, in which nothing goes wrong.

use super::checks::{Checked, LIVENESS};
use super::clock::{MS, SECOND};
use super::world::{ANSWERED_NS, Happening, World};

impl World {
    /// All lives, each ended by a crash.
    pub(super) fn lives(&mut self) -> Checked {
        for _ in 0..self.faults.crashes {
            let span = [MS, 20 * MS, 300 * MS, 3 * SECOND][self.rng.usize(..4)];
            let at = self.rng.u64(..span);
            self.clock.after(at, Happening::Crash);
            self.work(u64::MAX)?;
            if !self.is_dying && self.rng.u8(..4) == 0 {
                self.shut_down()?;
            }
            self.crash();
            self.restart()?;
        }
        // From here on nothing goes wrong, and everything that was asked must be answered.
        self.faults.is_over = true;
        self.work(self.clock.now_ns() + ANSWERED_NS)?;
        self.must_be_idle()?;
        self.crash();
        self.restart()
    }

    /// The clients ask what they have to ask in a life.
    pub(super) fn work(&mut self, end_ns: u64) -> Checked {
        self.start_clients();
        if self.faults.clock_jumps {
            let (at, us) = (self.rng.u64(..20 * MS), self.rng.i64(-800_000..800_000));
            self.clock.after(at, Happening::ClockJump { us });
        }
        // Nobody has begun yet.
        self.go_on_until(end_ns.min(self.clock.now_ns() + MS), |_| false)?;
        if self.is_dying {
            Ok(())
        } else {
            self.go_on_until(end_ns, |world| world.commands_left == 0 && world.judge.is_idle())
        }
    }

    pub(super) fn must_be_idle(&self) -> Checked {
        if self.judge.is_idle() {
            Ok(())
        } else {
            Err(format!("{LIVENESS}: a client has no answer after {} s", ANSWERED_NS / SECOND))
        }
    }
}
