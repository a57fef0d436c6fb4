//! What machines and clients say to each other on the way: sends, deliveries, pauses and broken wires.

use super::checks::Checked;
use super::judge::Reaction;
use super::network::{Arrival, End, Wire, WireId};
use super::reply;
use super::trace::digest;
use super::world::{Happening, World};
use cairn_core::event::{ConnId, Event};
use cairn_core::resp::replies::Outgoing;

impl World {
    pub(super) fn send(&mut self, shard: usize, conn: ConnId, buffer: Outgoing) -> Checked {
        let wire = self.network.of_conn(shard, conn);
        let Wire { id, client, end, .. } = *self.network.get(wire).expect("it is open");
        if end == End::Broken {
            return Ok(());
        }
        let (shown, digest) = (reply::shown(&buffer), digest(&buffer));
        self.note(format_args!("shard {shard} -> client {id} {shown} #{digest:016x}"));
        match self.judge.sent((id, client), self.clock.now_ns(), &buffer)? {
            Reaction::Model(sent) if self.clients[client].wire == Some(wire) => self.clients[client].on_replies(sent),
            Reaction::Model(_) | Reaction::Fine => {}
            Reaction::GivesUp => self.clock.after(0, Happening::Break { wire }),
        }
        let delay = self.faults.packet_delay(&mut self.rng);
        if buffer.len() > 1 && self.rng.u8(..8) == 0 {
            self.clock.after(delay / 2, Happening::SentPart { wire, bytes: self.rng.usize(1..buffer.len()) });
        }
        self.clock.after(delay, Happening::Sent { wire, buffer });
        if self.disks[shard].is_writing() && self.faults.crashes_at_send(&mut self.rng) {
            self.is_dying = true;
        }
        Ok(())
    }

    pub(super) fn on_sent(&mut self, wire: WireId, buffer: Outgoing) -> Checked {
        let Some(Some((shard, conn, client))) = self
            .network
            .get(wire)
            .map(|wire| (wire.end != End::Broken).then_some((wire.shard, wire.conn, wire.client)))
        else {
            return Ok(());
        };
        let at = self.faults.packet_delay(&mut self.rng);
        self.clock.after(at, Happening::Act { client });
        self.tell(shard, Event::Sent { conn, buffer })
    }

    pub(super) fn pause(&mut self, shard: usize, conn: ConnId, is_paused: bool) -> Checked {
        let id = self.network.of_conn(shard, conn);
        self.network.get_mut(id).expect("it is open").is_paused = is_paused;
        self.note(format_args!("shard {shard} {} connection {}", if is_paused { "pauses" } else { "resumes" }, conn.0));
        self.plan_delivery(id);
        Ok(())
    }

    pub(super) fn plan_delivery(&mut self, id: WireId) {
        let Some(wire) = self.network.get_mut(id) else { return };
        if wire.has_more() && !std::mem::replace(&mut wire.is_planned, true) {
            let delay = self.faults.packet_delay(&mut self.rng);
            self.clock.after(delay, Happening::Deliver { wire: id });
        }
    }

    pub(super) fn deliver(&mut self, id: WireId) -> Checked {
        let bytes_max = self.faults.packet_bytes(&mut self.rng);
        let Some(wire) = self.network.get_mut(id) else { return Ok(()) };
        let (shard, conn, client) = (wire.shard, wire.conn, wire.id);
        let is_paused = wire.is_paused;
        match wire.arrive(bytes_max, &mut self.rng) {
            Arrival::Nothing => return Ok(()),
            Arrival::Bytes(bytes) => {
                self.note(format_args!("shard {shard} <- client {client}: {} bytes", bytes.len()));
                self.tell(shard, Event::Received { conn, bytes: &bytes })?;
            }
            Arrival::HungUp => {
                self.note(format_args!("shard {shard} <- client {client}: end"));
                self.tell(shard, Event::HungUp { conn, is_broken: false })?;
            }
        }
        if !is_paused {
            self.plan_delivery(id);
        }
        Ok(())
    }

    /// Now and then, in some seeds, a connection that is at rest goes to another core.
    pub(super) fn hand_over(&mut self, shard: usize) -> Checked {
        let Some(rng) = self.moves.as_mut().filter(|_| self.nodes.len() > 1) else { return Ok(()) };
        if rng.u8(..8) > 0 {
            return Ok(());
        }
        let wires = self.network.of_shard(shard);
        let to = (shard + rng.usize(1..self.nodes.len())) % self.nodes.len();
        let Some(wire) = rng.choice(&wires).copied() else { return Ok(()) };
        let Wire { id, conn, .. } = *self.network.get(wire).expect("it is open");
        let Some(handover) = self.nodes[shard].machine.offer(conn) else { return Ok(()) };
        if !self.nodes[to].machine.may_adopt(&handover) {
            self.nodes[shard].machine.keep(conn);
            return Ok(());
        }
        let there = self.network.rehome(wire, to);
        self.note(format_args!("client {id} goes from shard {shard} to shard {to} as connection {}", there.0));
        self.nodes[to].machine.adopt(there, *handover);
        assert!(self.nodes[shard].machine.left(conn), "nobody has cut it off");
        self.figures.handovers += 1;
        Ok(())
    }

    /// A wire breaks: the machine hears of it, the client sees nothing more.
    pub(super) fn break_off(&mut self, id: WireId) -> Checked {
        let Some(wire) = self.network.get_mut(id) else { return Ok(()) };
        if std::mem::replace(&mut wire.end, End::Broken) == End::Broken {
            return Ok(());
        }
        let (shard, conn, client) = (wire.shard, wire.conn, wire.id);
        self.judge.broken(wire.client);
        self.note(format_args!("client {client} is cut off"));
        self.tell(shard, Event::HungUp { conn, is_broken: true })
    }
}
