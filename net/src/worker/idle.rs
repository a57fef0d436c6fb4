//! A worker that has nothing to do: it looks a little longer, or sleeps.

use super::*;

impl Worker {
    /// Looks for work a little longer, if a single reply waits for a single flush, and not many have done so of late: that client
    /// has nothing else under way, and to be woken would cost it a fifth of its time. Where there are others the CPU is theirs.
    /// Whether there is some.
    pub(super) fn spin(&mut self) -> bool {
        let held = |worker: &Worker| worker.machines.iter().map(|machine| machine.held_figures().0).sum::<u64>();
        let expects_crowd =
            |worker: &Worker| worker.machines.iter().any(|machine| machine.shard.engine().log().expects_crowd());
        if self.spin_ns == 0 || self.disk.in_flight() != 1 || held(self) != 1 || expects_crowd(self) {
            return false;
        }
        let begun_ns = clock::mono_ns();
        loop {
            for _ in 0..8 {
                std::hint::spin_loop();
            }
            if self.has_work() {
                self.stats.spins_won += 1;
                return true;
            }
            if clock::mono_ns() - begun_ns >= self.spin_ns {
                self.stats.spins_lost += 1;
                return false;
            }
        }
    }

    /// Until there is work.
    pub(super) fn sleep(&mut self) -> io::Result<()> {
        let doorbell = Arc::clone(&self.doorbell);
        if !doorbell.lie_down(|| self.has_mail()) {
            return Ok(());
        }
        self.stats.parks += 1;
        self.ring.enter_and_wait()?;
        doorbell.get_up();
        Ok(())
    }
}
