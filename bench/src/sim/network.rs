//! The wires between clients and machines: bytes arrive in pieces, late, or not at all.
//!
//! What a machine sends counts as received the moment it lets it go; how long that takes on the wire only delays what
//! the client does next.

use cairn_core::event::ConnId;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A wire's number. Never reused, unlike the machine's number of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WireId(pub u32);

/// Who has ended a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    /// The client sends nothing more, and reads on.
    Half,
    /// Nothing goes either way.
    Broken,
}

/// What a wire has for its machine.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    Bytes(Vec<u8>),
    HungUp,
    Nothing,
}

/// One connection.
pub struct Wire {
    /// Whose it is.
    pub client: usize,
    pub shard: usize,
    pub conn: ConnId,
    /// CLIENT ID.
    pub id: u64,
    pub end: End,
    /// The machine does not read.
    pub is_paused: bool,
    /// A delivery is planned.
    pub is_planned: bool,
    /// Sent by the client and not yet delivered.
    up: VecDeque<u8>,
    has_hung_up: bool,
}

impl Wire {
    /// The client sends.
    pub fn send(&mut self, bytes: &[u8]) {
        assert_eq!(self.end, End::Open);
        self.up.extend(bytes);
    }

    /// What arrives now, at most so many bytes. A paused wire keeps what it has, but for what had already left.
    pub fn arrive(&mut self, bytes_max: usize, rng: &mut Rng) -> Arrival {
        self.is_planned = false;
        if self.end == End::Broken || (self.is_paused && rng.u8(..4) > 0) {
            return Arrival::Nothing;
        }
        if self.up.is_empty() {
            let is_end = self.end == End::Half && !self.has_hung_up;
            self.has_hung_up |= is_end;
            return if is_end { Arrival::HungUp } else { Arrival::Nothing };
        }
        let len = self.up.len().min(bytes_max);
        let len = if rng.bool() { len } else { rng.usize(1..=len) };
        Arrival::Bytes(self.up.drain(..len).collect())
    }

    /// Whether anything is left to deliver.
    pub fn has_more(&self) -> bool {
        !self.up.is_empty() || (self.end == End::Half && !self.has_hung_up)
    }
}

/// All wires.
#[derive(Default)]
pub struct Network {
    wires: BTreeMap<WireId, Wire>,
    last: u32,
    /// By shard and connection.
    by_conn: BTreeMap<(usize, u32), WireId>,
    /// Connection numbers that are free again, by shard.
    free: BTreeMap<usize, BTreeSet<u32>>,
}

impl Network {
    /// A new wire to a shard. Its CLIENT ID is not known yet.
    pub fn open(&mut self, client: usize, shard: usize) -> WireId {
        self.last += 1;
        let wire = WireId(self.last);
        let conn = self.conn_of(shard);
        let opened = Wire {
            client,
            shard,
            conn,
            id: 0,
            end: End::Open,
            is_paused: false,
            is_planned: false,
            up: VecDeque::new(),
            has_hung_up: false,
        };
        self.by_conn.insert((shard, conn.0), wire);
        self.wires.insert(wire, opened);
        wire
    }

    pub fn get(&self, wire: WireId) -> Option<&Wire> {
        self.wires.get(&wire)
    }

    pub fn get_mut(&mut self, wire: WireId) -> Option<&mut Wire> {
        self.wires.get_mut(&wire)
    }

    pub fn of_conn(&self, shard: usize, conn: ConnId) -> WireId {
        self.by_conn[&(shard, conn.0)]
    }

    /// The open wires of a shard that it reads.
    pub fn of_shard(&self, shard: usize) -> Vec<WireId> {
        let wires = self.by_conn.range((shard, 0)..(shard + 1, 0)).map(|(_, wire)| *wire);
        wires.filter(|wire| matches!(self.wires[wire], Wire { end: End::Open, is_paused: false, .. })).collect()
    }

    /// A wire goes to another shard, and has a number there.
    pub fn rehome(&mut self, wire: WireId, shard: usize) -> ConnId {
        let conn = self.conn_of(shard);
        let moved = self.wires.get_mut(&wire).expect("it is open");
        self.by_conn.remove(&(moved.shard, moved.conn.0));
        self.free.entry(moved.shard).or_default().insert(moved.conn.0);
        (moved.shard, moved.conn) = (shard, conn);
        self.by_conn.insert((shard, conn.0), wire);
        conn
    }

    fn conn_of(&mut self, shard: usize) -> ConnId {
        let reused = self.free.entry(shard).or_default().pop_first();
        ConnId(reused.unwrap_or_else(|| self.by_conn.range((shard, 0)..(shard + 1, 0)).count() as u32))
    }

    /// The machine has said its last word.
    pub fn close(&mut self, wire: WireId) -> Wire {
        let closed = self.wires.remove(&wire).expect("a wire is closed once");
        self.by_conn.remove(&(closed.shard, closed.conn.0));
        self.free.entry(closed.shard).or_default().insert(closed.conn.0);
        closed
    }

    /// The server is gone, and with it all wires.
    pub fn clear(&mut self) {
        *self = Network { last: self.last, ..Network::default() };
    }
}
