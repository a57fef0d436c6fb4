//! The lives of a run whose clients go on until a crash ends them, and the last one, in which nothing goes wrong; and what happened in them.

use super::checks::{Checked, LIVENESS};
use super::clock::{MS, SECOND};
use super::world::{ANSWERED_NS, Happening, World};
use std::fmt;

/// What happened in lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lives {
    pub crashes: u64,
    pub shutdowns: u64,
    pub recoveries_cut: u64,
    pub writes_failed: u64,
    pub space_lost: u64,
    pub checkpoints: u64,
    pub page_reads: u64,
    /// Collections that transactions over several shards have begun to store piece by piece.
    pub begun: u64,
    /// Connections that went to another core.
    pub handovers: u64,
    pub events: u64,
    /// Tells whether two runs were the same.
    pub hash: u64,
}

impl std::ops::AddAssign for Lives {
    fn add_assign(&mut self, other: Lives) {
        self.crashes += other.crashes;
        self.shutdowns += other.shutdowns;
        self.recoveries_cut += other.recoveries_cut;
        self.writes_failed += other.writes_failed;
        self.space_lost += other.space_lost;
        self.checkpoints += other.checkpoints;
        self.page_reads += other.page_reads;
        self.begun += other.begun;
        self.handovers += other.handovers;
        self.events += other.events;
        // Of all runs, whatever their order.
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

impl fmt::Display for Lives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lives { crashes, shutdowns, recoveries_cut, writes_failed, space_lost, .. } = self;
        let Lives { checkpoints, page_reads, begun, handovers, events, hash, .. } = self;
        writeln!(f, "{crashes:>9}  crashes, {shutdowns} after a shutdown, and {recoveries_cut} in recovery")?;
        writeln!(f, "{writes_failed:>9}  failed writes of logs, {space_lost} segments without space")?;
        writeln!(f, "{handovers:>9}  connections that went to another core")?;
        writeln!(f, "{begun:>9}  collections begun by transactions over several shards")?;
        writeln!(f, "{checkpoints:>9}  checkpoints, {page_reads} page reads; {events} events, hash {hash:016x}")
    }
}

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
    /// What happened so far.
    pub(super) fn lived(&self) -> Lives {
        Lives {
            crashes: self.figures.crashes,
            shutdowns: self.figures.shutdowns,
            recoveries_cut: self.figures.recoveries_cut,
            writes_failed: self.figures.writes_failed,
            space_lost: self.figures.space_lost,
            checkpoints: self.figures.checkpoints,
            page_reads: self.figures.page_reads,
            begun: self.figures.begun,
            handovers: self.figures.handovers,
            events: self.trace.count(),
            hash: self.trace.hash(),
        }
    }
}
