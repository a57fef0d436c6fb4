//! What shards send each other: one parcel per destination and turn.
//!
//! Arguments stand one after the other in the parcel's arena; messages refer to them by range. Parcels are owned
//! and `Send`: they are the only thing that crosses cores.

use crate::acl::{Acl, User, log};
use crate::announce::Announcement;
use crate::collection::digest::Digest;
use crate::command::debug::rows::RowAsk;
use crate::command::strings::counters::Step;
use crate::hot::HotKey;
use crate::hot::split::Bounds;
use crate::machine::{AudienceChange, ScriptRun, Transaction, WaitMessage};
use crate::pubsub::Publication;
use crate::resp::replies::Replies;
use crate::script::{Script, Sha};
use crate::snapshot::Snapshot;
use crate::tracking::{Changes, Invalid, Tracker};
use crate::tx::{CutMessage, ToCoordinator, ToParticipant, Watched};
use cairn_storage::units::{ShardId, TxnId};
use std::ops::Range;
use std::sync::Arc;

/// Finds the request again at the shard that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// The client (its CLIENT ID) on whose behalf, so that a later user of its connection id gets no foreign answer.
    pub client: u64,
    pub conn: u32,
    /// The place in the connection's order of replies.
    pub hole: u64,
    /// Which part of a gathered command this is.
    pub part: u32,
    /// The client does not wait for the log: CLIENT DURABILITY MEMORY.
    pub is_early: bool,
}

/// One message.
#[derive(Debug)]
pub enum Message {
    /// Run this command on your rows; answer with its reply once what it observed is stable.
    Run {
        request: RequestId,
        db: u8,
        is_resp3: bool,
        args: Range<u32>,
        bytes: Range<u32>,
    },
    /// The same, with arguments that stand in a buffer of their own, which may become a row's value.
    RunLong {
        request: RequestId,
        db: u8,
        is_resp3: bool,
        input: Arc<Vec<u8>>,
        /// Starts and ends within it.
        ranges: Vec<(u32, u32)>,
    },
    /// Run these increments of a key of yours; answer as `Run` is answered, with all their replies in one. Each has a number in
    /// the order of the connection's replies: the first has that of the request.
    Count {
        request: RequestId,
        db: u8,
        /// Nobody is told the sums.
        is_silent: bool,
        /// Of the bytes.
        key: Range<u32>,
        steps: Range<u32>,
    },
    /// The same as `Ran`, of a reply with long values in it.
    RanLong {
        request: RequestId,
        reply: Box<Replies>,
    },
    /// Run this transaction; answer as `Run` is answered.
    Transaction {
        request: RequestId,
        transaction: Transaction,
    },
    /// Run this script; answer as `Run` is answered.
    Script {
        request: RequestId,
        run: Box<ScriptRun>,
    },
    /// The script needs rows of other shards: nothing of it has happened.
    ScriptIsWide {
        request: RequestId,
        run: Box<ScriptRun>,
    },
    /// Do you know the script of that name?
    WantScript(Sha),
    /// The script, if so.
    HaveScript(Sha, Option<Arc<Script>>),
    ToParticipant {
        txn: TxnId,
        message: ToParticipant,
    },
    ToCoordinator {
        txn: TxnId,
        message: ToCoordinator,
    },
    /// What the start of this shard has found committed is stable in its log.
    Recovered,
    /// This shard waits, or no longer, for a moment without undecided transactions.
    Draining {
        is_on: bool,
    },
    Hot(HotMessage),
    Cut(CutMessage),
    /// About those who wait for keys.
    Wait(WaitMessage),
    PubSub(PubSubMessage),
    Tracking(TrackingMessage),
    /// For those of your connections that monitor: what others have run, encoded.
    Monitored(Arc<Vec<u8>>),
    /// From the keeper of the users: these they are now.
    Acl(Arc<Acl>),
    /// To the keeper: they are.
    AclTaken {
        version: u64,
    },
    /// A client watches this row no longer.
    Unwatch {
        db: u8,
        head: u64,
    },
    /// The reply of `Run` or `Transaction`, encoded.
    Ran {
        request: RequestId,
        bytes: Range<u32>,
    },
    /// A question about the shard as a whole.
    Ask {
        request: RequestId,
        ask: Box<Ask>,
    },
    Answer {
        request: RequestId,
        answer: Box<Answer>,
    },
}

impl Message {
    /// The client whose command it is, if it is one; else 0.
    pub fn client(&self) -> u64 {
        match self {
            Message::Run { request, .. }
            | Message::RunLong { request, .. }
            | Message::Count { request, .. }
            | Message::Transaction { request, .. }
            | Message::Script { request, .. } => request.client,
            _ => 0,
        }
    }
}

/// About split counters: `docs/decisions/0019-split-counters.md`.
#[derive(Debug)]
pub enum HotMessage {
    /// From the owner: you have a sub-row of this counter. It was given `value`.
    Open { db: u8, key: Vec<u8>, bounds: Bounds, value: i64 },
    /// From the owner: send additions to me again.
    Recall { db: u8, key: Vec<u8> },
    /// From the owner: your sub-row is gone.
    Merged { db: u8, key: Vec<u8> },
    /// To the owner: so many additions were made here in a second.
    Additions { db: u8, key: Vec<u8>, count: u64 },
    /// To all others: merge your counters, I am to remove all rows.
    MergeAll,
    /// To all others: what the start has found split is whole.
    Settled,
}

/// About what is published.
#[derive(Debug)]
pub enum PubSubMessage {
    /// For those of your connections that have subscribed.
    Published(Arc<Publication>),
    /// A script of one of your connections has announced this: tell it. Its reply follows.
    Relayed(Vec<Announcement>),
}

/// About client-side caching.
#[derive(Debug)]
pub enum TrackingMessage {
    /// To the key's shard: this connection is about to read it.
    Read { tracker: Tracker, key: Vec<u8> },
    /// To a connection's core: what it has read has changed, by whom (0: nobody knows).
    Changed { tracker: Tracker, keys: Invalid, writer: u64 },
    /// These have changed: for those of your connections that want to be told by prefix.
    Prefixed(Arc<Changes>),
    /// To the core of whom a connection has redirected to.
    Redirected { of: Tracker, to: Tracker, keys: Invalid },
    /// To the connection's core: there is nobody there.
    Broken { of: Tracker },
}

/// How the users change.
#[derive(Clone, Debug)]
pub enum AclChange {
    /// A user is changed by these rules, or made. Passwords in them are hashes.
    Set {
        name: Vec<u8>,
        rules: Vec<Vec<u8>>,
    },
    Delete {
        names: Vec<Vec<u8>>,
    },
    /// There are these, and no others.
    Load {
        users: Vec<User>,
    },
    /// The default user has this password and no other; or none.
    DefaultPassword {
        hash: Option<String>,
    },
}

/// What HOT is to do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotDo {
    Tell,
    Promote { parts: u16, min: Option<i64> },
    Demote,
}

/// How a counter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotState {
    pub shard: u16,
    pub state: &'static str,
    pub parts: u16,
    pub min: Option<i64>,
    pub is_manual: bool,
}

/// Questions that go to every shard (and to the asker's own, without a message).
#[derive(Clone, Debug)]
pub enum Ask {
    RowCount {
        db: u8,
    },
    /// All live keys that match the pattern.
    Keys {
        db: u8,
        pattern: Vec<u8>,
    },
    /// One step of SCAN from a cursor within this shard.
    Scan {
        db: u8,
        cursor: u64,
        count: usize,
        pattern: Option<Vec<u8>>,
        kind: Option<u8>,
    },
    RandomKey {
        db: u8,
    },
    /// Begin a checkpoint. The answer's count is 1 if one was running or about to.
    Checkpoint,
    /// Make a checkpoint; answered when it is durable.
    Save,
    /// When the last durable checkpoint began, in seconds of Unix time.
    LastSave,
    /// Watch those of the keys that are yours.
    Watch {
        db: u8,
        keys: Vec<Vec<u8>>,
    },
    Snapshot,
    ClientList {
        filter: ClientFilter,
    },
    ClientKill {
        filter: ClientFilter,
        skip: Option<u64>,
    },
    /// Which connection has this number. The answer's count is -1 if none has.
    ClientConn {
        id: u64,
    },
    ClientUnblock {
        id: u64,
        with_error: bool,
    },
    /// From now on so many connections of a shard have subscribed to these. Answered when that is noted.
    Audiences {
        shard: ShardId,
        changes: Arc<[AudienceChange]>,
    },
    ClientPause {
        until_unix_ms: u64,
        writes_only: bool,
    },
    ConfigSet {
        pairs: Vec<(String, String)>,
    },
    ResetStat,
    /// DEBUG about rows.
    Rows(RowAsk),
    /// From now on this is so, or is not.
    Switch(Switch, bool),
    /// Which of these scripts are known, a digit for each.
    ScriptsExist {
        shas: Vec<Option<Sha>>,
    },
    ScriptFlush,
    /// For the keeper of the users alone.
    AclChange(AclChange),
    AclLog {
        count: usize,
    },
    AclLogReset,
    /// So many connections of this shard's core monitor.
    Monitors {
        shard: ShardId,
        count: u32,
    },
    SlowlogGet {
        count: usize,
    },
    SlowlogLen,
    SlowlogReset,
    HotKeys {
        count: usize,
        resets: bool,
    },
    Hot {
        db: u8,
        key: Vec<u8>,
        what: HotDo,
    },
    LatencyReset {
        events: Vec<String>,
    },
    KeysInSlot {
        slot: u16,
        count: usize,
    },
    CountKeysInSlot {
        slot: u16,
    },
}

/// Their answers.
#[derive(Clone, Debug)]
pub enum Answer {
    Count(i64),
    Keys {
        keys: Vec<Vec<u8>>,
        next: u64,
    },
    /// Items, as they are sent.
    Shown {
        count: usize,
        replies: Box<Replies>,
    },
    Text(String),
    /// Each with the place of its key, or the number of its database.
    Digests(Vec<(u32, Digest)>),
    Slow(Vec<SlowEntry>),
    AclLog(Vec<log::Entry>),
    Hot(Vec<HotKey>),
    HotState(HotState),
    Snapshot(Box<Snapshot>),
    Watched(Vec<Watched>),
    Refused(String),
    Done,
}

/// What DEBUG switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Rows whose time is over are removed though nobody asks for them.
    ActiveExpire,
    /// Scripts may run what is denied to them.
    FreeScripts,
}

/// Which clients CLIENT LIST and CLIENT KILL mean. All given conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct ClientFilter {
    pub ids: Vec<u64>,
    pub addr: Option<String>,
    pub laddr: Option<String>,
    pub kind: Option<String>,
    pub user: Option<Vec<u8>>,
    pub max_age_s: Option<u64>,
}

/// An entry of the slow log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowEntry {
    pub id: u64,
    pub unix_s: u64,
    pub us: u64,
    pub args: Vec<Vec<u8>>,
    pub addr: String,
    pub name: String,
}

/// Messages for one shard, with the bytes that they refer to.
#[derive(Debug, Default)]
pub struct Parcel {
    pub from: u16,
    pub messages: Vec<Message>,
    /// Ends of the arguments in `bytes`, `Run` by `Run`.
    pub args: Vec<u32>,
    pub bytes: Vec<u8>,
    pub steps: Vec<Step>,
}
