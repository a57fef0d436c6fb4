//! Who judges a run. By the reference model, which knows each reply before it leaves; or by histories, of which only what a client can know
//! is recorded, transactions over several shards included. Or by the model again, in whatever order explains what clients over several shards were told.

use super::across::Across;
use super::checks::{Checked, Checks, Heard, Sent};
use super::clock::unix_ms;
use super::histories::Histories;
use super::network::{End, Wire};
use super::tasks::Task;
use crate::model::Rows;
use cairn_core::event::ConnId;
use cairn_core::machine::Machine;

pub enum Judge {
    Model(Box<Checks>),
    Histories(Box<Histories>),
    Across(Box<Across>),
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
            Judge::Histories(_) | Judge::Across(_) => Ok(Vec::new()),
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
            Judge::Across(across) => {
                let gives_up = across.receive(client, bytes, unix_ms(now_ns))?;
                Ok(if gives_up { Reaction::GivesUp } else { Reaction::Fine })
            }
        }
    }

    /// A wire breaks: its client sees nothing more.
    pub fn broken(&mut self, client: usize) {
        match self {
            Judge::Model(_) => {}
            Judge::Histories(histories) => histories.lose(client),
            Judge::Across(across) => across.lose(client),
        }
    }

    /// The machine has closed a connection.
    pub fn close(&mut self, wire: &Wire) -> Checked {
        match self {
            Judge::Model(checks) => checks.close(wire.id, wire.end),
            Judge::Histories(histories) if wire.end == End::Open => histories.close(wire.client),
            Judge::Across(across) if wire.end == End::Open => across.close(wire.client),
            Judge::Histories(_) | Judge::Across(_) => Ok(()),
        }
    }

    /// A disk will do something else than it was asked for.
    pub fn trouble(&mut self) {
        match self {
            Judge::Model(_) => {}
            Judge::Histories(histories) => histories.is_troubled = true,
            Judge::Across(across) => across.is_troubled = true,
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
            Judge::Across(across) => across.crash(),
        }
    }

    /// A shard has come back with these rows. How many steps more than were acknowledged, if that is known.
    pub fn recover(&mut self, shard: usize, survivors: Rows) -> Checked<u64> {
        match self {
            Judge::Model(checks) => checks.recover(shard, survivors),
            Judge::Histories(_) => Ok(0),
            Judge::Across(across) => {
                across.recover(shard, survivors);
                Ok(0)
            }
        }
    }

    /// All shards have come back.
    pub fn recovered(&mut self, now_ns: u64) -> Checked {
        if let Judge::Across(across) = self { across.recovered(unix_ms(now_ns)) } else { Ok(()) }
    }

    /// Nobody waits for an answer, as far as that is asked.
    pub fn is_idle(&self) -> bool {
        match self {
            Judge::Model(_) => false,
            Judge::Histories(histories) => histories.is_idle(),
            Judge::Across(across) => across.is_idle(),
        }
    }
}
