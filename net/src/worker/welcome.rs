//! A connection comes in: to the next machine, or away.

use super::*;

impl Worker {
    pub(super) fn on_accept(&mut self, listener: u32, done: Completion) -> io::Result<()> {
        let pause_ns = self.now.mono_ns + ACCEPT_PAUSE_MS * 1_000_000;
        match self.listeners.on_accept(listener, done.result, done.has_more(), pause_ns) {
            Accepted::Connection { fd, peer } => {
                self.has_told_exhaustion = false;
                self.welcome(fd, peer)?;
            }
            Accepted::Nobody => {}
            Accepted::Exhausted(errno) => {
                self.stats.accept_failures += 1;
                if !std::mem::replace(&mut self.has_told_exhaustion, true) {
                    let error = io::Error::from_raw_os_error(errno);
                    tracing::warn!(
                        "connections cannot be accepted for the moment: {error}. Raise ulimit -n, or lower maxclients"
                    );
                }
            }
        }
        self.listeners.arm(&mut self.ring, self.now.mono_ns)
    }

    /// A new connection goes to the next machine, or is told that there are too many.
    pub(super) fn welcome(&mut self, fd: OwnedFd, peer: Peer) -> io::Result<()> {
        if self.state != State::Serving {
            return Ok(());
        }
        let clients = self.shared.clients.fetch_add(1, Ordering::Relaxed);
        if clients >= self.machines[0].settings.maxclients {
            self.shared.clients.fetch_sub(1, Ordering::Relaxed);
            self.stats.refused += 1;
            let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
            // Who cannot even take this line is closed without it.
            let _ = rustix::net::send(&fd, b"-ERR max number of clients reached\r\n", flags);
            return Ok(());
        }
        let machine = self.machine_next;
        self.machine_next = (self.machine_next + 1) % self.machines.len() as u16;
        let conn = self.sockets.open(&mut self.ring, fd, machine)?;
        self.stats.accepted += 1;
        self.tell(machine, Event::Accepted { conn, peer });
        Ok(())
    }
}
