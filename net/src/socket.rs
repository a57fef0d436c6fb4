//! The connections of one worker, as the kernel sees them: descriptors, receives, and one send each.
//!
//! ```text
//!         open                 close                      nothing in flight
//!  free --------> open(Receiving?, Sending?) --> closing -----------------> free
//! ```
//!
//! - **S1** At most one receive (multishot) and one send of a connection are with the kernel.
//! - **S2** A descriptor is closed, and its id used again, only when neither is; so no completion is ever taken for a
//!   later connection's. The generation in every completion is the second lock on that door.
//! - **S3** The bytes of a send stay where they are until its last completion.
//! - **S4** A descriptor that is lent to another worker is read and written by that one; here it is only cut off, if somebody here wants that.

use crate::buffer::GROUP;
use crate::limits::SEND_BYTES_MAX;
use crate::listener::cancel;
use crate::ring::op::GENERATION_MASK;
use crate::ring::{Completion, Op, Ring};
use cairn_core::event::ConnId;
use cairn_core::resp::replies::Outgoing;
use io_uring::{opcode, types};
use rustix::net::{Shutdown, shutdown};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

#[derive(Default)]
struct Socket {
    /// `None`: this id is free.
    fd: Option<OwnedFd>,
    generation: u32,
    /// Which of the worker's machines has it.
    machine: u16,
    is_receiving: bool,
    /// A cancellation of the receive is under way.
    is_cancelling: bool,
    is_paused: bool,
    /// The machine has heard that nothing more comes.
    is_hung_up: bool,
    /// Sends fail from now on.
    is_broken: bool,
    is_closing: bool,
    /// Nothing is read, for another worker is to have it.
    is_leaving: bool,
    /// Another worker has it too.
    is_lent: bool,
    /// What is being sent, and how much of it the kernel has.
    sending: Option<Outgoing>,
    sent: usize,
}

/// What a receive's completion means.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Bytes {
        machine: u16,
        conn: ConnId,
        len: usize,
    },
    HungUp {
        machine: u16,
        conn: ConnId,
        is_broken: bool,
    },
    /// All receive buffers were in use. It is armed again at [`Sockets::feed`].
    Starved,
    Nothing,
}

/// What a send's completion means.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    All {
        machine: u16,
        conn: ConnId,
        buffer: Outgoing,
    },
    /// The kernel took so many bytes and got the rest.
    Part {
        machine: u16,
        conn: ConnId,
        bytes: usize,
    },
    HungUp {
        machine: u16,
        conn: ConnId,
    },
    Nothing,
}

/// All connections of a worker.
#[derive(Default)]
pub struct Sockets {
    all: Vec<Socket>,
    free: Vec<u32>,
    /// Receives that found no buffer.
    starved: Vec<u32>,
    /// Connections that were closed and freed since they were last asked for.
    freed: u32,
}

impl Sockets {
    /// Ids in use, those being closed included.
    pub fn count(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// Connections whose descriptors were closed since the last call.
    pub fn take_freed(&mut self) -> u32 {
        std::mem::take(&mut self.freed)
    }

    /// A new connection, from which is read at once.
    pub fn open(&mut self, ring: &mut Ring, fd: OwnedFd, machine: u16) -> io::Result<ConnId> {
        let conn = self.free.pop().unwrap_or_else(|| {
            self.all.push(Socket::default());
            self.all.len() as u32 - 1
        });
        let socket = &mut self.all[conn as usize];
        assert!(socket.fd.is_none(), "a free id has no descriptor");
        let generation = (socket.generation + 1) & GENERATION_MASK;
        *socket = Socket { fd: Some(fd), generation, machine, ..Socket::default() };
        socket.receive(ring, conn)?;
        Ok(ConnId(conn))
    }

    /// A completion of a receive.
    pub fn on_receive(
        &mut self,
        ring: &mut Ring,
        conn: u32,
        generation: u32,
        done: Completion,
    ) -> io::Result<Received> {
        let socket = &mut self.all[conn as usize];
        assert!(socket.fd.is_some() && socket.generation == generation, "S2");
        if !done.has_more() {
            socket.is_receiving = false;
            socket.is_cancelling = false;
        }
        let (machine, id) = (socket.machine, ConnId(conn));
        let received = match done.result {
            1.. if socket.is_closing => Received::Nothing,
            1.. => Received::Bytes { machine, conn: id, len: done.result as usize },
            _ if socket.is_closing || socket.is_hung_up => Received::Nothing,
            0 => {
                socket.is_hung_up = true;
                Received::HungUp { machine, conn: id, is_broken: false }
            }
            _ => match -done.result {
                libc::ENOBUFS => {
                    self.starved.push(conn);
                    return Ok(Received::Starved);
                }
                libc::ECANCELED | libc::EINTR | libc::EAGAIN => Received::Nothing,
                _ => {
                    socket.is_hung_up = true;
                    socket.is_broken = true;
                    Received::HungUp { machine, conn: id, is_broken: true }
                }
            },
        };
        socket.receive(ring, conn)?;
        self.settle(conn);
        Ok(received)
    }

    /// Arms the receives that found no buffer: after buffers were given back.
    pub fn feed(&mut self, ring: &mut Ring) -> io::Result<()> {
        while let Some(conn) = self.starved.pop() {
            self.all[conn as usize].receive(ring, conn)?;
            self.settle(conn);
        }
        Ok(())
    }

    /// Sends the buffer. If it is sent at once (it is empty, or the connection is broken) it is returned.
    pub fn send(&mut self, ring: &mut Ring, conn: ConnId, buffer: Outgoing) -> io::Result<Option<Outgoing>> {
        let socket = &mut self.all[conn.0 as usize];
        assert!(socket.fd.is_some() && !socket.is_closing && socket.sending.is_none(), "S1");
        if buffer.is_empty() || socket.is_broken {
            return Ok(Some(buffer));
        }
        socket.sending = Some(buffer);
        socket.sent = 0;
        socket.transmit(ring, conn.0)?;
        Ok(None)
    }

    /// A completion of a send.
    pub fn on_send(&mut self, ring: &mut Ring, conn: u32, generation: u32, result: i32) -> io::Result<Sent> {
        let socket = &mut self.all[conn as usize];
        assert!(socket.fd.is_some() && socket.generation == generation, "S2");
        let mut buffer = socket.sending.take().expect("S1: a send that completes was begun");
        let (machine, id) = (socket.machine, ConnId(conn));
        let is_retry = matches!(-result, libc::EINTR | libc::EAGAIN);
        socket.sent += result.max(0) as usize;
        if !socket.is_closing && socket.sent < buffer.len() && (result > 0 || is_retry) {
            socket.sending = Some(buffer);
            socket.transmit(ring, conn)?;
            return Ok(Sent::Part { machine, conn: id, bytes: result.max(0) as usize });
        }
        let is_whole = socket.sent == buffer.len();
        socket.is_broken |= !is_whole;
        let sent = if socket.is_closing {
            Sent::Nothing
        } else if is_whole || socket.is_hung_up {
            // Who has hung up hears of it once. What could not be sent to such a one is as good as sent.
            buffer.clear();
            Sent::All { machine, conn: id, buffer }
        } else {
            socket.is_hung_up = true;
            Sent::HungUp { machine, conn: id }
        };
        self.settle(conn);
        Ok(sent)
    }

    /// Stops reading. What the kernel has begun to hand over still comes.
    pub fn pause(&mut self, ring: &mut Ring, conn: ConnId) -> io::Result<()> {
        let socket = &mut self.all[conn.0 as usize];
        socket.is_paused = true;
        socket.cancel_receive(ring, conn.0)
    }

    pub fn resume(&mut self, ring: &mut Ring, conn: ConnId) -> io::Result<()> {
        let socket = &mut self.all[conn.0 as usize];
        socket.is_paused = false;
        if self.starved.contains(&conn.0) {
            return Ok(());
        }
        socket.receive(ring, conn.0)
    }

    /// Closes as soon as nothing is in flight, and makes that soon.
    pub fn close(&mut self, ring: &mut Ring, conn: ConnId) -> io::Result<()> {
        let socket = &mut self.all[conn.0 as usize];
        assert!(!socket.is_closing, "a connection is closed once");
        socket.is_closing = true;
        if socket.is_receiving || socket.sending.is_some() || socket.is_lent {
            let fd = socket.fd.as_ref().expect("only open connections are closed");
            // It fails if the peer is gone, and then nothing hangs either.
            let _ = shutdown(fd, Shutdown::Both);
            socket.cancel_receive(ring, conn.0)?;
        }
        self.settle(conn.0);
        Ok(())
    }

    /// Reads nothing more: another worker is to have it, once it [is still](Sockets::is_still).
    pub fn hold_still(&mut self, ring: &mut Ring, conn: ConnId) -> io::Result<()> {
        let socket = &mut self.all[conn.0 as usize];
        socket.is_leaving = true;
        socket.cancel_receive(ring, conn.0)
    }

    /// Reads on.
    pub fn stay(&mut self, ring: &mut Ring, conn: ConnId) -> io::Result<()> {
        let socket = &mut self.all[conn.0 as usize];
        (socket.is_leaving, socket.is_lent) = (false, false);
        socket.receive(ring, conn.0)
    }

    /// Whether a connection of that generation is held still, and nothing of it is with the kernel. `None`: it is not there any more, or comes to its end.
    pub fn is_still(&self, conn: ConnId, generation: u32) -> Option<bool> {
        let socket =
            self.all.get(conn.0 as usize).filter(|socket| socket.fd.is_some() && socket.generation == generation)?;
        let is_ending = socket.is_closing || socket.is_hung_up || socket.is_broken;
        (!is_ending).then_some(socket.is_leaving && !socket.is_receiving && socket.sending.is_none())
    }

    pub fn generation(&self, conn: ConnId) -> u32 {
        self.all[conn.0 as usize].generation
    }

    /// The descriptor for another worker. Keeps S4.
    pub fn lend(&mut self, conn: ConnId) -> io::Result<OwnedFd> {
        let socket = &mut self.all[conn.0 as usize];
        let fd = socket.fd.as_ref().expect("only open connections are lent").try_clone()?;
        socket.is_lent = true;
        Ok(fd)
    }

    /// Another worker has it: it is not here any more, and goes on there.
    pub fn release(&mut self, conn: ConnId) {
        let socket = &mut self.all[conn.0 as usize];
        assert!(socket.is_lent && !socket.is_receiving && socket.sending.is_none(), "S4");
        socket.is_closing = true;
        self.settle(conn.0);
    }

    /// Which of the worker's machines has a connection.
    pub fn machine(&self, conn: ConnId) -> u16 {
        self.all[conn.0 as usize].machine
    }

    /// All open connections that are not being closed.
    pub fn open_ids(&self) -> impl Iterator<Item = ConnId> + '_ {
        let is_open = |socket: &Socket| socket.fd.is_some() && !socket.is_closing;
        self.all.iter().enumerate().filter(move |(_, socket)| is_open(socket)).map(|(conn, _)| ConnId(conn as u32))
    }

    /// Frees a closing connection once nothing of it is in flight. Keeps S2.
    fn settle(&mut self, conn: u32) {
        let socket = &mut self.all[conn as usize];
        if socket.is_closing && !socket.is_receiving && socket.sending.is_none() && socket.fd.is_some() {
            if let Some(at) = self.starved.iter().position(|starved| *starved == conn) {
                self.starved.swap_remove(at);
            }
            socket.fd = None;
            self.free.push(conn);
            self.freed += u32::from(!socket.is_lent);
        }
    }
}

impl Socket {
    /// Arms the receive if it should be and is not.
    fn receive(&mut self, ring: &mut Ring, conn: u32) -> io::Result<()> {
        if self.is_receiving || self.is_paused || self.is_hung_up || self.is_closing || self.is_leaving {
            return Ok(());
        }
        let fd = self.fd.as_ref().expect("only open connections receive").as_raw_fd();
        let op = Op::Receive { conn, generation: self.generation };
        let entry = opcode::RecvMulti::new(types::Fd(fd), GROUP).build().user_data(op.encode());
        // SAFETY: the kernel picks a provided buffer itself; the entry points to nothing.
        unsafe { ring.push(&entry)? };
        self.is_receiving = true;
        Ok(())
    }

    fn cancel_receive(&mut self, ring: &mut Ring, conn: u32) -> io::Result<()> {
        if self.is_receiving && !self.is_cancelling {
            self.is_cancelling = true;
            cancel(ring, Op::Receive { conn, generation: self.generation })?;
        }
        Ok(())
    }

    /// Gives the kernel what is left of the send.
    fn transmit(&mut self, ring: &mut Ring, conn: u32) -> io::Result<()> {
        let fd = self.fd.as_ref().expect("only open connections send").as_raw_fd();
        let rest = &self.sending.as_ref().expect("the caller has set it")[self.sent..];
        let len = rest.len().min(SEND_BYTES_MAX) as u32;
        let op = Op::Send { conn, generation: self.generation };
        let entry = opcode::Send::new(types::Fd(fd), rest.as_ptr(), len)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .user_data(op.encode());
        // SAFETY: the bytes are on the heap, and stay there unchanged until this send's completion takes them out of
        // `sending` (S3): a vector has no other owner, and what a blob shares is not changed as long as it does. If the
        // table itself is dropped, the worker has dropped the ring, and with it the operation, before.
        unsafe { ring.push(&entry) }
    }
}

#[cfg(test)]
#[path = "socket/tests.rs"]
mod tests;
