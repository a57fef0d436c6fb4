//! The clients: each keeps some requests under way, and now and then walks through its database with SCAN.

use super::checks::{self, Args, Checked, Sent};
use super::clock::US;
use super::judge::Judge;
use super::network::{End, WireId};
use super::workload::{self, Workload};
use super::world::{Happening, World};
use cairn_core::event::{Event, Peer};
use fastrand::Rng;

/// A walk begins once in so many commands.
const WALK_IN: u32 = 40;

/// One client.
#[derive(Default)]
pub struct Client {
    /// None while it is not connected.
    pub wire: Option<WireId>,
    /// Requests that were not answered yet.
    pub outstanding: usize,
    db: u8,
    walk: Walk,
}

#[derive(Clone, Copy, Default)]
enum Walk {
    #[default]
    None,
    /// The next step is due.
    At(u64),
    /// A step is under way.
    Asked,
}

impl Client {
    /// What it asks next.
    pub fn next(&mut self, workload: &mut Workload, rng: &mut Rng, now_ms: u64) -> Args {
        self.outstanding += 1;
        if matches!(self.walk, Walk::None) && rng.u32(..WALK_IN) == 0 {
            self.walk = Walk::At(0);
        }
        if let Walk::At(cursor) = self.walk {
            self.walk = Walk::Asked;
            return workload.scan(rng, cursor);
        }
        let mut args = workload.command(rng, self.db, now_ms);
        if args[0] == b"SELECT" {
            // A walk stays in its database.
            if matches!(self.walk, Walk::Asked) {
                return vec![b"PING".to_vec()];
            }
            self.db = String::from_utf8_lossy(&args[1]).parse().expect("it was made from a number");
            args[0] = b"select".to_vec();
        }
        args
    }

    pub fn on_replies(&mut self, sent: Sent) {
        self.outstanding -= sent.replies;
        if let Some(cursor) = sent.cursor {
            self.walk = if cursor == 0 { Walk::None } else { Walk::At(cursor) };
        }
    }
}

impl World {
    pub(super) fn start_clients(&mut self) {
        let (clients, commands_max) = match &self.judge {
            Judge::Model(_) | Judge::Across(_) => (self.workload.clients, self.workload.commands_max),
            Judge::Histories(histories) => (histories.clients(), histories.operations_a_life()),
        };
        self.commands_left = commands_max;
        self.is_dying = false;
        self.clients = (0..clients).map(|_| Client::default()).collect();
        for client in 0..self.clients.len() {
            let at = self.rng.u64(..200 * US);
            self.clock.after(at, Happening::Act { client });
        }
    }

    /// A client connects, asks, or goes away.
    pub(super) fn act(&mut self, client: usize) -> Checked {
        let Some(wire) = self.clients[client].wire else { return self.connect(client) };
        let Some(state) = self.network.get(wire) else { return Ok(()) };
        if state.end != End::Open {
            return Ok(());
        }
        let id = state.id;
        match self.judge {
            Judge::Histories(_) => return self.ask_for_history(client, wire),
            Judge::Across(_) => return self.ask_across(client, wire),
            Judge::Model(_) => {}
        }
        let now_ms = self.clock.now().unix_ms();
        let room = self.workload.pipeline_max.saturating_sub(self.clients[client].outstanding);
        let mut count = if room == 0 { 0 } else { self.rng.usize(1..=room) };
        if self.is_quiet {
            count = 0;
        }
        let mut bytes = Vec::new();
        for _ in 0..count.min(self.commands_left as usize) {
            self.commands_left -= 1;
            let args = self.clients[client].next(&mut self.workload, &mut self.rng, now_ms);
            workload::encode(&args, &mut bytes);
            self.note(format_args!("client {id}: {}", checks::shown(&args)));
            if let Judge::Model(checks) = &mut self.judge {
                checks.request(id, args);
            }
        }
        let wire_state = self.network.get_mut(wire).expect("it is open");
        wire_state.send(&bytes);
        if self.faults.hangs_up(&mut self.rng) {
            if self.rng.bool() {
                wire_state.end = End::Half;
            } else {
                let at = self.rng.u64(..200 * US);
                self.clock.after(at, Happening::Break { wire });
            }
        }
        self.plan_delivery(wire);
        Ok(())
    }

    fn connect(&mut self, client: usize) -> Checked {
        if self.is_quiet {
            return Ok(());
        }
        let shard = if self.workload.is_one_sided { 0 } else { self.rng.usize(..self.nodes.len()) };
        let wire = self.network.open(client, shard);
        let conn = self.network.get(wire).expect("it was just opened").conn;
        let addr = format!("10.0.0.1:{}", 1024 + wire.0);
        let peer = Peer { addr: addr.clone(), laddr: "10.0.0.2:6379".into(), is_local: true, fd: conn.0 as i32 };
        self.tell(shard, Event::Accepted { conn, peer })?;
        let id = self.nodes[shard].machine.client(conn).id;
        self.note(format_args!("client {id} connects to shard {shard} as connection {}", conn.0));
        self.network.get_mut(wire).expect("it was just opened").id = id;
        match &mut self.judge {
            Judge::Model(checks) => checks.accept(id, shard, conn, addr),
            Judge::Histories(histories) => histories.connect(client),
            Judge::Across(across) => across.connect(client),
        }
        self.clients[client].wire = Some(wire);
        self.act(client)
    }
}
