//! One shard and the connections of one core: events in, effects out. Nothing here waits: what cannot go on is put
//! aside (a stalled session, a held reply, a pending question) and taken up again by the event that it waits for.
//!
//! - `input`: what a connection has sent: run at once, or kept.
//! - `run`: the commands of one connection: decode, route, execute.
//! - `access`: who may do what.
//! - `ask`: commands that need other shards, or the process, to finish.
//! - `place`: where a command runs.
//! - `runs`: commands on one key that follow each other are done together; `counts`: increments.
//! - `exec`: transactions. Over several shards: `plan`, `coordinate`, `participate`, `recovered`, `whole`, `databases`. Over several requests: `interact`, `trial`,
//!   `deadlock`.
//! - `cuts`: snapshots of all shards, and `views`: who reads them.
//! - `remote`: what other shards have sent.
//! - `monitor`: who sees all commands.
//! - `waiting`: connections that wait until a key has something for them, and `queues`: who waits for keys of this shard.
//! - `paging`: what is not in memory, and checkpoints.
//! - `parked`: what other shards want and cannot have yet.
//! - `redo`: what a start has left to do.
//! - `script`: scripts. Over several shards: `wide`. What both have: `ground`, `code`. Libraries of functions: `functions`.
//! - `program`: commands that are made of commands, and `queued`: transactions that have such ones.
//! - `idempotent`: what is done once, however often it is asked for.
//! - `slices`: long replies are shown over several turns.
//! - `scrub`: what is on disk is read once in a while, lest it rot unseen.
//! - `pubsub`: who has subscribed to what, and what is announced to them.
//! - `release`: what has become stable leaves; what never will is refused.
//! - `drain`: how it ends.
//! - `clients`: connections come, go, and are held to their limits.
//! - `hot`: counters that are split over several shards.
//! - `deeds`: what was done, in order, for one who checks.

mod access;
mod ask;
mod batch;
mod begun;
mod clients;
mod code;
mod coordinate;
mod counts;
mod cuts;
mod databases;
mod deadlock;
mod deeds;
mod drain;
mod exec;
mod form;
mod functions;
mod ground;
mod handover;
mod hot;
mod idempotent;
mod input;
mod interact;
mod look;
mod monitor;
mod paging;
mod parked;
mod part;
mod participate;
mod place;
mod plan;
mod program;
mod pubsub;
mod queued;
mod queues;
mod recovered;
mod redo;
mod release;
mod remote;
mod run;
mod running;
mod runs;
mod script;
mod scrub;
mod slices;
mod survey;
mod tracking;
mod trial;
mod tries;
mod views;
mod waiting;
mod watching;
mod whole;
mod wide;

pub use access::KEEPER;
pub use ask::{HostThen, Merge};
pub use code::{Code, ScriptRun, Task};
pub use deeds::{Deed, Noted};
pub use exec::Transaction;
pub use functions::{Change, Functions, Policy};
pub use handover::Handover;
pub use idempotent::{Token, not_idempotent};
pub(crate) use paging::Absence;
pub use pubsub::AudienceChange;
pub use queues::WaitMessage;
pub use script::{NO_SCRIPT, Scripts};
pub use scrub::ScrubFigures;

use crate::acl::Acl;
use crate::acl::log::AclLog;
use crate::bug::Bug;
use crate::command::strings::counters::Step;
use crate::error::Stop;
use crate::event::{ConnId, Effect, Event, Notice, Now, ProcessFacts};
use crate::hot::HotKeys;
use crate::hot::split::Splits;
use crate::limits::EXPIRE_ROWS_PER_TURN_MAX;
use crate::parcel::Parcel;
use crate::route;
use crate::session::{Client, Session};
use crate::settings::Settings;
use crate::shard::Shard;
use crate::slowlog::Slowlog;
use crate::stats::Stats;
use ask::Pending;
use batch::Batch;
use cairn_storage::engine::Engine;
use cairn_storage::log::LogState;
use cairn_storage::op::DiskOp;
use cairn_storage::units::{OpId, ShardId};
use drain::Drain;
use paging::Paging;
use parked::Parking;
use participate::Parts;
use redo::Redo;
use release::Held;
use runs::Join;
use std::collections::VecDeque;
use std::sync::Arc;

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
    /// The data directory's seed of key hashes.
    pub hash_seed: u64,
    /// A monotonic clock in nanoseconds, read between commands for their latency.
    pub clock_ns: fn() -> u64,
}

/// CLIENT PAUSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    pub until_unix_ms: u64,
    pub writes_only: bool,
}

/// Pages of dropped trees that one turn frees.
const FREE_PAGES_PER_TURN: usize = 64;

/// How long the log is quiet before an empty flush proves its last records.
const QUIET_NS: u64 = 200_000_000;

/// How often the preparation of a log segment is tried again after it failed.
const RETRY_PREPARE_NS: u64 = 1_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// What one CPU core computes. The driver hands it events by [`Machine::handle`] and takes effects by
/// [`Machine::poll`].
pub struct Machine {
    pub identity: Identity,
    pub settings: Settings,
    pub shard: Shard,
    pub stats: Stats,
    pub slowlog: Slowlog,
    /// Who may do what, as this core has it.
    pub acl: Arc<Acl>,
    pub acl_log: AclLog,
    access: access::Keeper,
    monitors: monitor::Monitors,
    pub hot: HotKeys,
    splits: Splits,
    pub facts: ProcessFacts,
    pub pause: Option<Pause>,
    /// Rows whose time is over stay until somebody writes them, and scripts may run what is denied to them: DEBUG.
    pub(crate) keeps_expired: bool,
    pub(crate) frees_scripts: bool,
    /// What the running command is to sleep at the turn's end: a part of its time.
    pub(crate) slept_ns: u64,
    /// The running command is counted where, or when, it has run.
    is_counted_later: bool,
    pub now: Now,
    /// By connection id.
    sessions: Vec<Option<Box<Session>>>,
    sessions_len: usize,
    client_last: u64,
    effects: VecDeque<Effect>,
    /// Sessions that wait for something no event of their own tells: look at them at each turn's end.
    stalled: Vec<ConnId>,
    /// Some of them go on in the next turn.
    has_shares: bool,
    /// When the connection that runs commands has had its part of the turn.
    share_ends_ns: u64,
    held: Held,
    pending: Pending,
    /// What goes to each other shard at the turn's end.
    outbox: Vec<Parcel>,
    /// Parcels that wait until the log has room.
    inbox: VecDeque<Box<Parcel>>,
    /// When each flush in flight was issued.
    flush_issued: VecDeque<(OpId, u64)>,
    log_state: LogState,
    log_active_ns: u64,
    prepare_retried_ns: u64,
    second_ns: u64,
    drain: Drain,
    batch: Batch,
    /// Increments that are done together. Kept to be used again.
    steps: Vec<Step>,
    join: Join,
    paging: Paging,
    parking: Parking,
    parts: Parts,
    cuts: cuts::Cuts,
    /// A command on rows was refused because of the disk or of memory, not of what it asks for.
    is_unusable: bool,
    redo: Redo,
    scrub: scrub::Scrub,
    execs: exec::Execs,
    pubsub: pubsub::PubSub,
    trackings: tracking::Trackings,
    pub scripts: Scripts,
    waiting: waiting::Waiting,
    queues: queues::Queues,
    pub functions: Functions,
    /// For one who checks; `None` in a server.
    deeds: Option<Vec<Noted>>,
    /// A bug to have, for tests of the tests.
    planted: Option<Bug>,
}

impl Machine {
    /// A machine over recovered storage.
    pub fn new(identity: Identity, settings: Settings, engine: Engine, now: Now) -> Machine {
        let shards = usize::from(identity.shards);
        assert!(usize::from(identity.shard.0) < shards);
        let mut shard = Shard::new(engine, identity.hash_seed, identity.seed);
        shard.configure(&settings, identity.shards);
        shard.own_slots(route::slots_of(identity.shard.0, identity.shards));
        let parts = Parts::new(shard.engine(), identity.shards);
        let redo = Redo::new(shard.engine().redo_left(), now.mono_ns);
        Machine {
            shard,
            stats: Stats::new(&settings, now),
            slowlog: Slowlog::new(identity.shard.0, identity.shards),
            acl: Arc::new(settings.acl()),
            acl_log: AclLog::new(identity.shard.0, identity.shards),
            access: access::Keeper::default(),
            monitors: monitor::Monitors::default(),
            splits: Splits::new(identity.shards, now.mono_ns),
            hot: HotKeys::new(identity.seed, now.mono_ns),
            facts: ProcessFacts::default(),
            pause: None,
            keeps_expired: false,
            frees_scripts: false,
            slept_ns: 0,
            is_counted_later: false,
            now,
            sessions: Vec::new(),
            sessions_len: 0,
            client_last: 0,
            effects: VecDeque::new(),
            stalled: Vec::new(),
            has_shares: false,
            share_ends_ns: 0,
            held: Held::default(),
            pending: Pending::default(),
            outbox: (0..shards).map(|_| Parcel { from: identity.shard.0, ..Parcel::default() }).collect(),
            inbox: VecDeque::new(),
            flush_issued: VecDeque::new(),
            log_state: LogState::Open,
            log_active_ns: now.mono_ns,
            prepare_retried_ns: now.mono_ns,
            second_ns: now.mono_ns,
            drain: Drain::Serving,
            batch: Batch::default(),
            steps: Vec::new(),
            join: Join::default(),
            paging: Paging::default(),
            parking: Parking::default(),
            parts,
            cuts: cuts::Cuts::default(),
            is_unusable: false,
            redo,
            scrub: scrub::Scrub::default(),
            execs: exec::Execs::default(),
            pubsub: pubsub::PubSub::default(),
            trackings: tracking::Trackings::default(),
            scripts: Scripts::default(),
            waiting: waiting::Waiting::default(),
            queues: queues::Queues::default(),
            functions: Functions::default(),
            deeds: None,
            planted: None,
            identity,
            settings,
        }
    }

    pub fn handle(&mut self, now: Now, event: Event<'_>) {
        self.now = now;
        match event {
            Event::Received { conn, bytes } => self.on_received(conn, bytes),
            Event::Sent { conn, buffer } => self.on_sent(conn, buffer),
            Event::SentPart { conn, bytes } => {
                if let Some(session) = self.find_session(conn) {
                    session.output.on_sent_part(bytes);
                }
            }
            Event::Disk(done) => self.on_disk(done),
            Event::Page(done) => self.on_page_done(done),
            Event::PageRead { op, result } => self.on_page_read(op, result),
            Event::LogRead { op, result } => self.on_log_read(op, result),
            Event::Parcel(parcel) => self.on_parcel(parcel),
            Event::Accepted { conn, peer } => self.on_accepted(conn, peer),
            Event::HungUp { conn, is_broken } => self.on_hung_up(conn, is_broken),
            Event::HostAnswer { ticket, result } => self.on_host_answer(ticket, result),
            Event::Facts(facts) => self.facts = facts,
            Event::Tick => self.on_tick(),
            Event::Drain { saves } => self.on_drain(saves),
        }
    }

    /// The end of a turn: rows past their time go, the log batch is sealed, parcels leave.
    pub fn end_turn(&mut self, now: Now) {
        self.now = now;
        self.redo();
        // As in Redis, nothing expires while clients are paused.
        let keeps_expired = self.keeps_expired || self.pause.is_some();
        if self.shard.engine().log().accepts_writes() && self.shard.engine().log().has_room() && !keeps_expired {
            let before = self.shard.counts.expired.get();
            let locks = self.parts.locks();
            match self.shard.expire(now, EXPIRE_ROWS_PER_TURN_MAX, |db, head| !locks.admits(db, head, true)) {
                Err(Stop::Missing(missing)) => drop(self.fetch(missing)),
                // What memory has no room for now expires in a later turn.
                Ok(_) | Err(Stop::Crowded | Stop::Locked | Stop::Long | Stop::Refuse(_)) => {}
            }
            let rows = self.shard.counts.expired.get() - before;
            self.note_expired(rows);
        }
        self.free_dropped();
        self.work_splits();
        // What others shall see soon is sealed with this turn.
        self.end_commands();
        if self.shard.engine_mut().log_mut().is_flush_due() {
            self.shard.seal();
        }
        if self.is_draining() {
            // Who looks at the log next is to know that its last records were acknowledged.
            self.shard.engine_mut().log_mut().seal_idle();
        }
        self.poll_log();
        self.begin_afterwork();
        self.wake_stalled();
        self.forget_wanted();
        self.run_parked();
        self.end_looks();
        self.end_commands();
        self.work_cuts();
        self.work_parts();
        self.finish_saves();
        self.finish_acl_changes();
        self.tell_monitors();
        if self.is_draining() {
            self.go_on_draining();
        }
        self.work_pages();
        self.announce();
        self.tell_prefixes();
        self.send_pushed();
        self.send_parcels();
    }

    /// What commands have begun, and could not go on with while their connection's output was in use.
    fn end_commands(&mut self) {
        self.queue_begun();
        self.go_on_wides();
        self.lock_begun();
        self.work_begun();
        self.grant_freed();
        self.chase_begun();
    }

    /// The next effect to perform.
    #[inline]
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub fn notice(&mut self, notice: Notice) {
        self.effect(Effect::Notice(notice));
    }

    /// Messages to other shards that wait for the turn's end.
    pub fn outbox_messages(&self) -> usize {
        self.outbox.iter().map(|parcel| parcel.messages.len()).sum()
    }

    /// The shard that owns a slot: shards own contiguous ranges of nearly equal length.
    #[inline]
    pub fn owner(&self, slot: u16) -> ShardId {
        ShardId(route::owner(slot, self.identity.shards))
    }

    fn poll_log(&mut self) {
        while let Some(op) = self.shard.engine_mut().log_mut().poll() {
            if let DiskOp::Write { op, .. } = op {
                self.flush_issued.push_back((op, self.now.mono_ns));
                self.log_active_ns = self.now.mono_ns;
            }
            self.effects.push_back(Effect::Disk(op));
        }
    }

    fn on_tick(&mut self) {
        let now_ns = self.now.mono_ns;
        if self.pause.is_some_and(|pause| pause.until_unix_ms <= self.now.unix_ms()) {
            self.pause = None;
        }
        self.fire_timers();
        self.end_waits();
        self.watch_opens();
        self.watch_wides();
        self.chase_again();
        let log = self.shard.engine_mut().log_mut();
        if now_ns.saturating_sub(self.log_active_ns) >= QUIET_NS && log.seal_idle() {
            self.log_active_ns = now_ns;
        }
        let log = self.shard.engine_mut().log_mut();
        if matches!(log.state(), LogState::Full { .. })
            && now_ns.saturating_sub(self.prepare_retried_ns) >= RETRY_PREPARE_NS
        {
            log.retry_prepare();
            self.prepare_retried_ns = now_ns;
        }
        self.hot.on_tick(now_ns, self.settings.hot_promote_rate);
        self.tick_splits();
        let (pages, extents) = self.shard.engine().memory_bytes();
        self.settle_counts();
        self.stats.on_tick(self.now, pages + extents);
        if now_ns.saturating_sub(self.second_ns) >= SECOND_NS {
            self.second_ns = now_ns;
            self.enforce_client_limits();
            self.retry_pages();
            let snapshot = self.snapshot();
            self.effect(Effect::Snapshot(Box::new(snapshot)));
        }
    }

    /// What the shard has counted goes to the statistics.
    pub(crate) fn settle_counts(&mut self) {
        let counts = &self.shard.counts;
        let counters = &mut self.stats.counters;
        counters.keyspace_hits += counts.hits.take();
        counters.keyspace_misses += counts.misses.take();
        counters.expired += counts.expired.take();
        counters.expired_fields += counts.expired_fields.take();
    }

    pub fn client(&self, conn: ConnId) -> &Client {
        &self.session(conn).client
    }

    /// Whether it is a connection of this core that has subscribed to something in RESP2.
    pub fn only_listens(&self, conn: ConnId) -> bool {
        let session = self.sessions.get(conn.0 as usize).and_then(Option::as_deref);
        session.is_some_and(|session| session.client.only_listens())
    }

    pub fn client_mut(&mut self, conn: ConnId) -> &mut Client {
        &mut self.session_mut(conn).client
    }

    /// All connections of this core.
    pub fn clients(&self) -> impl Iterator<Item = (ConnId, &Client)> {
        self.live_sessions().map(|(conn, session)| (conn, &session.client))
    }

    /// Query buffer bytes, and output bytes that the peer has not taken, of a connection.
    pub fn buffered(&self, conn: ConnId) -> (usize, usize) {
        let session = self.session(conn);
        (session.query.len(), session.output.unread_bytes())
    }

    fn live_sessions(&self) -> impl Iterator<Item = (ConnId, &Session)> {
        let numbered = self.sessions.iter().enumerate();
        numbered.filter_map(|(index, session)| Some((ConnId(index as u32), session.as_deref()?)))
    }

    fn find_session(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.sessions.get_mut(conn.0 as usize)?.as_deref_mut()
    }

    #[inline]
    fn session(&self, conn: ConnId) -> &Session {
        self.sessions[conn.0 as usize].as_deref().expect("a connection has a session until it is closed")
    }

    #[inline]
    fn session_mut(&mut self, conn: ConnId) -> &mut Session {
        self.sessions[conn.0 as usize].as_deref_mut().expect("a connection has a session until it is closed")
    }
}
