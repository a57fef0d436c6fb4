//! Connections go from a worker whose core is busy to one whose core is not ([`crate::balance`]).
//!
//! ```text
//! this worker                                          the other one
//! hold still .. at rest -> lend the descriptor ------> adopt, read
//!               forget    <--------------------------- it is taken
//! ```

use super::*;
use crate::limits::{BALANCE_MS, LEAVING_MS_MAX};
use crate::mesh::Visit;

/// A connection that is to go.
pub(super) struct Leaving {
    conn: ConnId,
    generation: u32,
    to: u16,
    /// Until then it has to be at rest.
    until_ns: u64,
}

impl Worker {
    pub(super) fn inbox(&self) -> &Inbox {
        &self.inboxes[usize::from(self.stats.worker)]
    }

    /// Another worker is to have so many of the connections that were busy of late; not all of them, for whoever takes all is as busy as this one was.
    pub(super) fn share(&mut self, to: u16, permille: u16) -> io::Result<()> {
        let is_wanted = self.machines[0].settings.balance_connections;
        if self.state != State::Serving || !is_wanted || !self.leaving.is_empty() {
            return Ok(());
        }
        let since_ns = self.now.mono_ns.saturating_sub(BALANCE_MS * 1_000_000);
        let busy: Vec<ConnId> = self.machines.iter().flat_map(|machine| machine.movable(since_ns)).collect();
        let count = (busy.len() * usize::from(permille)).div_ceil(1000).min(busy.len().saturating_sub(1));
        let until_ns = self.now.mono_ns + LEAVING_MS_MAX * 1_000_000;
        for conn in busy.into_iter().take(count) {
            self.sockets.hold_still(&mut self.ring, conn)?;
            let generation = self.sockets.generation(conn);
            self.leaving.push(Leaving { conn, generation, to, until_ns });
        }
        Ok(())
    }

    /// Lets those go that are at rest by now.
    pub(super) fn let_go(&mut self) -> io::Result<()> {
        if self.leaving.is_empty() {
            return Ok(());
        }
        for leaving in std::mem::take(&mut self.leaving) {
            let Leaving { conn, generation, to, until_ns } = leaving;
            let Some(is_still) = self.sockets.is_still(conn, generation) else { continue };
            let machine = usize::from(self.sockets.machine(conn));
            let handover = if is_still { self.machines[machine].offer(conn) } else { None };
            match handover {
                Some(handover) => match self.sockets.lend(conn) {
                    Ok(fd) => {
                        let visit = Visit { from: self.stats.worker, conn, generation, fd, handover: *handover };
                        self.inboxes[usize::from(to)].post(Letter::Come(Box::new(visit)));
                    }
                    // There is no descriptor for it.
                    Err(_) => self.stay(conn)?,
                },
                None if self.now.mono_ns < until_ns => self.leaving.push(leaving),
                None => self.sockets.stay(&mut self.ring, conn)?,
            }
        }
        Ok(())
    }

    /// A connection comes from another worker.
    pub(super) fn on_come(&mut self, visit: Visit) -> io::Result<()> {
        let Visit { from, conn: there, generation, fd, mut handover } = visit;
        let machine = self.machine_next;
        let is_taken = self.state == State::Serving && self.machines[usize::from(machine)].may_adopt(&handover);
        if is_taken {
            self.machine_next = (self.machine_next + 1) % self.machines.len() as u16;
            handover.client.peer.fd = fd.as_raw_fd();
            let conn = self.sockets.open(&mut self.ring, fd, machine)?;
            self.machines[usize::from(machine)].adopt(conn, handover);
            self.stats.taken += 1;
        }
        self.inboxes[usize::from(from)].post(Letter::Went { conn: there, generation, is_taken });
        Ok(())
    }

    /// What became of a connection that was to go. It may have been cut off meanwhile.
    pub(super) fn on_went(&mut self, conn: ConnId, generation: u32, is_taken: bool) -> io::Result<()> {
        if self.sockets.is_still(conn, generation).is_none() {
            // It is counted where it is closed last.
            self.shared.clients.fetch_sub(u32::from(!is_taken), Ordering::Relaxed);
            return Ok(());
        }
        if !is_taken {
            return self.stay(conn);
        }
        if self.machines[usize::from(self.sockets.machine(conn))].left(conn) {
            self.sockets.release(conn);
        }
        Ok(())
    }

    fn stay(&mut self, conn: ConnId) -> io::Result<()> {
        self.machines[usize::from(self.sockets.machine(conn))].keep(conn);
        self.sockets.stay(&mut self.ring, conn)
    }
}
