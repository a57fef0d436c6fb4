//! Who judges a run. By the reference model, which knows each reply before it leaves; or by histories, of which only what a client can know
//! is recorded, transactions over several shards included.

use super::checks::{Checked, Checks, Heard, Sent};
use super::histories::Histories;
use super::network::{End, Wire};
use super::tasks::Task;
use crate::model::Rows;
use cairn_core::event::ConnId;
use cairn_core::machine::Machine;

pub enum Judge {
    Model(Box<Checks>),
    Histories(Box<Histories>),
}

/// What a client makes of what was sent to it.
pub enum Reaction {
    Model(Sent),
    /// It goes on.
    Fine,
    /// It gives its connection up.
    GivesUp,
}

impl Judge {
    /// The machine is given these tasks.
    pub fn expect(&mut self, shard: usize, tasks: Vec<Task>) {
        if let Judge::Model(checks) = self {
            checks.expect(shard, tasks);
        }
    }

    /// The machine has handled an event, or ended its turn. Answers connections to be broken at once.
    pub fn handled(&mut self, shard: usize, machine: &Machine, heard: Heard) -> Checked<Vec<ConnId>> {
        match self {
            Judge::Model(checks) => checks.handled(shard, machine, heard),
            Judge::Histories(_) => Ok(Vec::new()),
        }
    }

    /// These bytes leave for the client of a wire.
    pub fn sent(&mut self, wire: (u64, usize), now_ns: u64, bytes: &[u8]) -> Checked<Reaction> {
        let (id, client) = wire;
        match self {
            Judge::Model(checks) => checks.sent(id, bytes).map(Reaction::Model),
            Judge::Histories(histories) => {
                let gives_up = histories.receive(client, now_ns, bytes)?;
                Ok(if gives_up { Reaction::GivesUp } else { Reaction::Fine })
            }
        }
    }

    /// A wire breaks: its client sees nothing more.
    pub fn broken(&mut self, client: usize) {
        if let Judge::Histories(histories) = self {
            histories.lose(client);
        }
    }

    /// The machine has closed a connection.
    pub fn close(&mut self, wire: &Wire) -> Checked {
        match self {
            Judge::Model(checks) => checks.close(wire.id, wire.end),
            Judge::Histories(histories) if wire.end == End::Open => histories.close(wire.client),
            Judge::Histories(_) => Ok(()),
        }
    }

    /// A disk will do something else than it was asked for.
    pub fn trouble(&mut self) {
        if let Judge::Histories(histories) = self {
            histories.is_troubled = true;
        }
    }

    /// The clock was set.
    pub fn clock_set(&mut self) {
        if let Judge::Model(checks) = self {
            checks.clock_set();
        }
    }

    /// The machines have stopped in good order.
    pub fn stopped(&mut self) {
        if let Judge::Model(checks) = self {
            checks.stopped();
        }
    }

    /// Everything has stopped.
    pub fn crash(&mut self) {
        match self {
            Judge::Model(checks) => checks.crash(),
            Judge::Histories(histories) => histories.crash(),
        }
    }

    /// A shard has come back with these rows. How many steps more than were acknowledged, if that is known.
    pub fn recover(&mut self, shard: usize, survivors: Rows) -> Checked<u64> {
        match self {
            Judge::Model(checks) => checks.recover(shard, survivors),
            Judge::Histories(_) => Ok(0),
        }
    }
}
