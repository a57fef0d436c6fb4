//! Stop 2 of 10: one connection: what it has said about itself, its input that is not yet run, and its output.
//!
//! A session decides nothing; the machine runs its commands (`machine/run.rs`) and it is stalled where a command
//! has to wait:
//!
//! ```text
//!                     Received                      Sent, stable, answered
//!   idle  ----------------------------> running ------------------------------> idle
//!                                         |  ^
//!        a command must wait (`stall`)    v  |   `Machine::wake` finds the reason gone
//!                                       stalled
//! ```

use crate::ack::Output;
use crate::acl::User;
use crate::event::{Now, Peer};
use crate::limits::{OUTPUT_PAUSE_BYTES, UNAUTHENTICATED_OUTPUT_BYTES_MAX};
use crate::pubsub::Subscriptions;
use crate::query::Query;
use crate::resp::decode::Decoder;
use crate::resp::replies::Replies;
use crate::tracking::Tracking;
use crate::tx::{Multi, Open, Watched};
use cairn_storage::blob::Blob;
use std::sync::Arc;

/// What CLIENT REPLY has set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// This command (CLIENT REPLY SKIP itself) is silent, and so is the next one.
    SkipNext,
    Skip,
}

/// What a connection's replies wait for: CLIENT DURABILITY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: what it was answered may be lost in a crash.
    Memory,
    /// All that it has observed is on stable storage here, and on as many standbys as are wanted.
    #[default]
    Local,
}

impl Durability {
    pub fn name(self) -> &'static str {
        match self {
            Durability::Memory => "memory",
            Durability::Local => "local",
        }
    }
}

/// What a connection has said about itself, and what it may do.
#[derive(Debug)]
pub struct Client {
    /// CLIENT ID: unique in the process, ascending within a shard.
    pub id: u64,
    pub peer: Peer,
    pub name: Vec<u8>,
    pub lib_name: Vec<u8>,
    pub lib_ver: Vec<u8>,
    pub db: u8,
    pub is_resp3: bool,
    pub is_authenticated: bool,
    /// What it wants to do is checked first.
    pub is_restricted: bool,
    pub user: Arc<User>,
    pub reply_mode: ReplyMode,
    /// MONITOR.
    pub is_monitor: bool,
    pub no_evict: bool,
    pub no_touch: bool,
    pub is_readonly: bool,
    pub accepted: Now,
    pub last_active: Now,
    /// Another connection may have it told what it has asked for: CLIENT TRACKING REDIRECT.
    pub is_told: bool,
    /// It waits until a key has something for it.
    pub is_blocked: bool,
    /// The last command's full name.
    pub last_command: &'static str,
    pub commands: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// CLIENT TXN ROLLBACK: its transactions are undone as a whole if any command fails, said or not.
    pub rolls_back: bool,
    pub durability: Durability,
    /// What it has queued since MULTI.
    pub multi: Option<Box<Multi>>,
    /// The transaction that it goes on with.
    pub open: Option<Box<Open>>,
    /// What it watches.
    pub watched: Vec<Watched>,
    /// What it has subscribed to, if anything.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// What it wants to be told of keys that it may have in a cache.
    pub tracking: Option<Box<Tracking>>,
}

impl Client {
    pub fn new(id: u64, peer: Peer, user: Arc<User>, now: Now) -> Client {
        Client {
            id,
            peer,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_ver: Vec::new(),
            db: 0,
            is_resp3: false,
            is_authenticated: user.is_nopass && user.is_on,
            is_restricted: !user.is_unrestricted(),
            user,
            reply_mode: ReplyMode::On,
            is_monitor: false,
            no_evict: false,
            no_touch: false,
            is_readonly: false,
            accepted: now,
            last_active: now,
            is_told: false,
            is_blocked: false,
            last_command: "NULL",
            commands: 0,
            bytes_in: 0,
            bytes_out: 0,
            rolls_back: false,
            durability: Durability::Local,
            multi: None,
            open: None,
            watched: Vec::new(),
            subscriptions: None,
            tracking: None,
        }
    }

    /// The same on another core. It has nothing under way.
    pub fn to_move(&self) -> Client {
        let Client { id, db, is_resp3, is_authenticated, is_restricted, reply_mode, .. } = *self;
        let mut client = Client::new(id, self.peer.clone(), Arc::clone(&self.user), self.accepted);
        client.name.clone_from(&self.name);
        client.lib_name.clone_from(&self.lib_name);
        client.lib_ver.clone_from(&self.lib_ver);
        Client {
            db,
            is_resp3,
            is_authenticated,
            is_restricted,
            reply_mode,
            no_evict: self.no_evict,
            no_touch: self.no_touch,
            is_readonly: self.is_readonly,
            last_active: self.last_active,
            last_command: self.last_command,
            commands: self.commands,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            rolls_back: self.rolls_back,
            durability: self.durability,
            ..client
        }
    }

    /// In RESP2 it has said that it listens: there are no other replies among the messages.
    #[inline]
    pub fn only_listens(&self) -> bool {
        self.subscriptions.is_some() && !self.is_resp3
    }
}

/// Why a connection's next command waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// The reply of a server command is still to come.
    Barrier,
    /// A server command waits until all replies before it are there.
    Holes,
    /// The log has too much to write.
    LogRoom,
    /// The peer does not read.
    Output,
    /// CLIENT PAUSE.
    Paused,
    /// Too much is on its way to another shard.
    Outbox,
    /// Something is not in memory.
    Absent,
    /// Memory is full until some of it is written.
    Crowded,
    /// A transaction that is not decided has its rows.
    Locked,
    /// The server stops.
    Draining,
    /// It has had its part of the turn.
    Share,
}

impl Stall {
    /// Whether nothing tells when it is over, so that each turn has to look.
    pub fn has_no_event(self) -> bool {
        matches!(self, Stall::LogRoom | Stall::Paused | Stall::Outbox | Stall::Crowded | Stall::Locked | Stall::Share)
    }
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    pub client: Client,
    pub decoder: Decoder,
    /// Input that is not run yet. Empty while commands are run straight from the receive buffer.
    pub query: Query,
    pub output: Output,
    pub stall: Option<Stall>,
    /// It is looked at at the end of each turn: what it waits for has no event.
    pub is_listed: bool,
    /// What it waits for that is being read: when all of it is here its commands go on.
    pub absent: u32,
    /// Long values that its next command needs, until it has run.
    pub held: Vec<Blob>,
    /// Its last command met something absent, so the next ones may.
    pub has_missed: bool,
    /// Reading is stopped at the socket.
    pub is_paused: bool,
    /// No further command is run; the connection closes when its output has left.
    pub is_closing: bool,
    /// The peer sends nothing more.
    pub is_hung_up: bool,
    /// Another core is to have it: nothing is read from it here.
    pub is_leaving: bool,
    /// Its commands are running: what it is pushed meanwhile stands behind the reply of the one that runs.
    pub is_running: bool,
    pub pushes: Replies,
    /// It was pushed something in this turn.
    pub is_pushed: bool,
    /// Since when the soft limit of the output buffer is exceeded.
    pub over_soft_limit_since_ns: Option<u64>,
}

impl Session {
    pub fn new(client: Client) -> Session {
        Session {
            client,
            decoder: Decoder::default(),
            query: Query::default(),
            output: Output::default(),
            stall: None,
            is_listed: false,
            absent: 0,
            held: Vec::new(),
            has_missed: false,
            is_paused: false,
            is_closing: false,
            is_hung_up: false,
            is_leaving: false,
            is_running: false,
            pushes: Replies::default(),
            is_pushed: false,
            over_soft_limit_since_ns: None,
        }
    }

    /// Unread replies above which its next command waits.
    pub fn output_bytes_max(&self) -> usize {
        if self.client.is_authenticated { OUTPUT_PAUSE_BYTES } else { UNAUTHENTICATED_OUTPUT_BYTES_MAX }
    }

    /// Its commands have run, and this is its output. What it was pushed meanwhile stands behind their replies.
    pub fn end_running(&mut self, out: Replies) {
        self.is_running = false;
        self.output.out = out;
        self.output.end_batch();
        if self.is_pushed {
            self.output.out.append(std::mem::take(&mut self.pushes));
        }
    }

    /// May its next command run now?
    pub fn is_runnable(&self) -> bool {
        self.stall.is_none() && !self.is_closing
    }
}
