//! The end of a worker: nothing stays in flight.

use super::*;

impl Worker {
    /// Says whether nothing is left to do. It may change back while other workers still ask this one's shards.
    pub(super) fn check_drained(&self) {
        let is_drained = self.machines.iter().all(Machine::is_drained)
            && self.disk.in_flight() + self.disk.reads_in_flight() + self.pages.in_flight() == 0
            && self.local.is_empty()
            && self.receivers.iter().all(Receiver::is_empty)
            && self.senders.iter().flatten().all(|sender| sender.backlog() == 0);
        self.shared.is_drained[usize::from(self.stats.worker)].store(is_drained, Ordering::Release);
    }

    /// Ends everything that is in flight, so that the memory behind it can go.
    pub(super) fn close_all(&mut self) -> io::Result<()> {
        let begun_ns = clock::mono_ns();
        self.listeners.stop(&mut self.ring)?;
        let open: Vec<ConnId> = self.sockets.open_ids().collect();
        for conn in open {
            self.sockets.close(&mut self.ring, conn)?;
        }
        let is_done = |worker: &Worker| {
            let on_disk = worker.disk.in_flight() + worker.disk.reads_in_flight() + worker.pages.in_flight();
            worker.sockets.count() + on_disk == 0 && worker.listeners.is_idle()
        };
        while !is_done(self) && clock::mono_ns() - begun_ns < HALT_NS {
            // The tick, still armed, ends each wait.
            self.ring.enter_and_wait()?;
            while let Some(done) = self.ring.next_completion() {
                match done.op {
                    Op::Receive { conn, generation } => {
                        self.sockets.on_receive(&mut self.ring, conn, generation, done)?;
                    }
                    Op::Send { conn, generation } => {
                        self.sockets.on_send(&mut self.ring, conn, generation, done.result)?;
                    }
                    Op::Write { write } => {
                        self.disk.on_write(write, done.result, begun_ns);
                    }
                    Op::Accept { listener } => {
                        self.listeners.on_accept(listener, done.result, done.has_more(), u64::MAX);
                    }
                    Op::Tick => self.arm_tick()?,
                    Op::LogRead { read } => self.disk.on_read(read, done.result, |_, _| {}),
                    Op::Page { flight } => self.pages.on_done(flight, done.result, |_, _| {}),
                    Op::Background { .. } | Op::Doorbell | Op::Cancel => {}
                }
            }
            self.ring.release_completions();
        }
        self.shared.clients.fetch_sub(self.sockets.take_freed(), Ordering::Relaxed);
        cancel(&mut self.ring, Op::Doorbell)?;
        cancel(&mut self.ring, Op::Tick)?;
        self.ring.enter()
    }
}
