//! One shard and the connections of one core: events in, effects out.

use crate::command::Flow;
use crate::error::Stop;
use crate::event::{ConnId, Effect, Event, HostAsk, Now, ProcessFacts};
use crate::parcel::{Answer, Ask};
use crate::resp::encode::Reply;
use crate::session::Client;
use crate::settings::Settings;
use crate::shard::Shard;
use crate::slowlog::Slowlog;
use crate::stats::Stats;
use cairn_storage::units::ShardId;

/// What finishes a server command when the answers of all the shards it asked are in. Answers are in the order of shards.
pub type Merge = Box<dyn FnOnce(&mut Machine, ConnId, Vec<Answer>, &mut Reply<'_>) + Send>;

/// What finishes a server command when the process around the shards has answered.
pub type HostThen = Box<dyn FnOnce(&mut Machine, ConnId, Result<String, String>, &mut Reply<'_>) + Send>;

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Identity {
    pub shard: ShardId,
    pub shards: u16,
    /// 40 hexadecimal digits, new at every start.
    pub run_id: String,
    /// 40 hexadecimal digits, of the data directory.
    pub node_id: String,
    pub process_id: u32,
    pub tcp_port: u16,
    pub executable: String,
    pub config_file: String,
    pub started: Now,
    /// From `uname`, for INFO.
    pub os: String,
    /// Seeds this shard's random numbers.
    pub seed: u64,
    /// A monotonic clock in nanoseconds, read between commands for their latency.
    pub clock_ns: fn() -> u64,
}

/// CLIENT PAUSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    pub until_unix_ms: u64,
    pub writes_only: bool,
}

pub struct Machine {
    pub identity: Identity,
    pub settings: Settings,
    pub shard: Shard,
    pub stats: Stats,
    pub slowlog: Slowlog,
    pub facts: ProcessFacts,
    pub pause: Option<Pause>,
    pub now: Now,
}

#[expect(unused_variables, reason = "the bodies follow with the sessions")]
impl Machine {
    pub fn handle(&mut self, now: Now, event: Event<'_>) {
        unimplemented!()
    }

    /// The end of a turn: the log batch is sealed, replies that are stable are released, parcels leave.
    pub fn end_turn(&mut self, now: Now) {
        unimplemented!()
    }

    /// The next effect to perform.
    pub fn poll(&mut self) -> Option<Effect> {
        unimplemented!()
    }

    /// After [`Event::Drain`]: nothing is in flight and nothing unacknowledged is left.
    pub fn is_drained(&self) -> bool {
        unimplemented!()
    }

    pub fn client(&self, conn: ConnId) -> &Client {
        unimplemented!()
    }

    pub fn client_mut(&mut self, conn: ConnId) -> &mut Client {
        unimplemented!()
    }

    /// All connections of this core.
    pub fn clients(&self) -> Box<dyn Iterator<Item = (ConnId, &Client)> + '_> {
        unimplemented!()
    }

    /// Query buffer bytes, and output bytes that are not yet sent, of a connection.
    pub fn buffered(&self, conn: ConnId) -> (usize, usize) {
        unimplemented!()
    }

    /// Closes a connection of this core once what it has to get is sent (`at_once`: now).
    pub fn close(&mut self, conn: ConnId, at_once: bool) {
        unimplemented!()
    }

    /// Asks every shard (this one too) and finishes the command with `merge`.
    pub fn ask_all(&mut self, conn: ConnId, ask: Ask, merge: Merge) -> Result<Flow, Stop> {
        unimplemented!()
    }

    /// Asks one shard.
    pub fn ask_one(&mut self, conn: ConnId, shard: ShardId, ask: Ask, merge: Merge) -> Result<Flow, Stop> {
        unimplemented!()
    }

    /// Has the process do something and finishes the command with `then`.
    pub fn ask_host(&mut self, conn: ConnId, ask: HostAsk, then: HostThen) -> Result<Flow, Stop> {
        unimplemented!()
    }

    /// The shard that owns a slot.
    pub fn owner(&self, slot: u16) -> ShardId {
        unimplemented!()
    }

    pub fn effect(&mut self, effect: Effect) {
        unimplemented!()
    }
}
