//! One run: machines, their disks, the network and the clients on one thread, driven by virtual time from one seed.
//!
//! ```text
//!   happening -> event -> Machine::handle ... TurnEnd -> Machine::end_turn -> effects -> disk, network, mailboxes
//!                            \-> checks                                          \-> more happenings, later
//! ```
//!
//! A machine is driven as a worker drives it: events, then the turn's end, then its effects in their order. Everything
//! that happens was planned before at some time; a crash forgets all that was planned.

use super::checks::{BOUNDS, Checked, Checks, Heard, LIVENESS, READ_ONLY};
use super::clients::Client;
use super::clock::{Clock, MS, SECOND, US};
use super::disk::Disk;
use super::faults::{Faults, Planted};
use super::figures::Figures;
use super::judge::Judge;
use super::network::{End, Network, Wire, WireId};
use super::pages::PageDisk;
use super::rot::Rot;
use super::tasks::tasks;
use super::trace::Trace;
use super::verdict::{Keep, Verdict};
use super::workload::Workload;
use cairn_core::event::{Effect, Event};
use cairn_core::limits::{OUTBOX_MESSAGES_MAX, OUTPUT_PAUSE_BYTES};
use cairn_core::machine::Machine;
use cairn_core::parcel::Parcel;
use cairn_core::resp::replies::Outgoing;
use cairn_storage::limits::{FLIGHTS_MAX, LOG_STAGED_BYTES_MAX, SEGMENT_BYTES_MIN};
use cairn_storage::log::LogConfig;
use cairn_storage::op::{DiskDone, LogRead};
use cairn_storage::units::{Epoch, Lsn, OpId, ShardId};
use fastrand::Rng;
use std::collections::BTreeMap;

pub const HASH_SEED: u64 = 7;

/// What happens between two crashes at most: several hundred times what is usual.
const HAPPENINGS_MAX: u64 = 1_000_000;

const TICK_NS: u64 = 100 * MS;

/// How long the last requests may take once nothing goes wrong any more.
pub(super) const ANSWERED_NS: u64 = 60 * SECOND;

/// More input than this never waits in a machine: one request of the workload, and what arrives until reading stops.
const QUERY_BYTES_MAX: usize = 24 * 1024 * 1024;

/// One command, or the parcels of one turn, more than the bound on records.
const STAGED_BYTES_MAX: usize = LOG_STAGED_BYTES_MAX + 32 * 1024 * 1024;

/// One reply more than the bound on unsent bytes.
const OUTPUT_BYTES_MAX: usize = OUTPUT_PAUSE_BYTES + 32 * 1024 * 1024;

/// What one turn sends another shard: a bound on what is waiting, and what a turn may add to it.
const PARCEL_MESSAGES_MAX: usize = 2 * OUTBOX_MESSAGES_MAX;

/// What is planned.
pub(super) enum Happening {
    /// A client does something.
    Act {
        client: usize,
    },
    /// Bytes arrive at a machine.
    Deliver {
        wire: WireId,
    },
    /// A part of a send is with the kernel.
    SentPart {
        wire: WireId,
        bytes: usize,
    },
    /// A send is over.
    Sent {
        wire: WireId,
        buffer: Outgoing,
    },
    /// A wire breaks.
    Break {
        wire: WireId,
    },
    DiskEnd {
        shard: usize,
        op: OpId,
        is_told: bool,
    },
    /// A planted bug: the answer to an operation that is still under way.
    DiskLie {
        shard: usize,
        done: DiskDone,
    },
    PageEnd {
        shard: usize,
        op: OpId,
    },
    LogRead {
        shard: usize,
        read: LogRead,
    },
    Parcel {
        to: usize,
        parcel: Box<Parcel>,
    },
    Tick {
        shard: usize,
    },
    TurnEnd {
        shard: usize,
    },
    ClockJump {
        us: i64,
    },
    Crash,
}

/// Of so many seeds one has connections that go from core to core.
const MOVES_IN: u64 = 4;

/// A machine that runs.
pub(super) struct Node {
    pub machine: Machine,
    is_turn_planned: bool,
    /// How far the shard was stable when a write failed.
    pub failed: Option<Lsn>,
}

/// Everything of a run; [`World::new`] draws it from the seed.
pub struct World {
    pub(super) seed: u64,
    pub(super) rng: Rng,
    /// Where connections go from core to core: what decides which and when. The model does not know that, for it knows which shard a client asks. Not drawn: seeds that
    /// once failed are the runs that they were.
    pub(super) moves: Option<Rng>,
    pub(super) clock: Clock<Happening>,
    pub(super) faults: Faults,
    pub(super) planted: Option<Planted>,
    pub(super) disks: Vec<Disk>,
    /// Of each shard, if shards have page files.
    pub(super) pages: Vec<PageDisk>,
    pub(super) has_pages: bool,
    /// None while the process is down.
    pub(super) nodes: Vec<Node>,
    pub(super) network: Network,
    pub(super) clients: Vec<Client>,
    pub(super) workload: Workload,
    pub(super) judge: Judge,
    pub(super) trace: Trace,
    pub(super) rot: Rot,
    /// When the last parcel from one shard to another arrives: later ones do not overtake it.
    mail: BTreeMap<(usize, usize), u64>,
    /// Parcels under way.
    parcels: usize,
    pub(super) figures: Figures,
    /// The process dies before it does anything more.
    pub(super) is_dying: bool,
    /// No new commands are begun.
    pub(super) is_quiet: bool,
    pub(super) commands_left: u32,
    /// Openings of the logs.
    pub(super) epoch: u64,
}

impl World {
    pub fn new(seed: u64, planted: Option<Planted>, is_verbose: bool) -> World {
        let mut rng = Rng::with_seed(seed);
        let shards = [1, 1, 2, 3][rng.usize(..4)];
        let has_pages = rng.u8(..4) > 0;
        let workload = Workload::draw(&mut rng, has_pages, shards);
        let mut faults = Faults::draw(&mut rng, has_pages, workload.is_wide);
        if workload.is_flood {
            faults.write_ns = 60 * MS;
        }
        let judge = Judge::Model(Box::new(Checks::new(shards, HASH_SEED)));
        let mut world = World::with(rng, seed, planted, is_verbose, (shards, has_pages), faults, judge);
        world.trace.add(0, format_args!("{workload:?}"));
        World { workload, ..world }
    }

    /// Before it begins; `shape`: how many shards, and whether they have page files.
    pub(super) fn with(
        rng: Rng,
        seed: u64,
        planted: Option<Planted>,
        is_verbose: bool,
        shape: (usize, bool),
        faults: Faults,
        judge: Judge,
    ) -> World {
        let (shards, has_pages) = shape;
        let mut trace = Trace::new(is_verbose);
        let has_moves = seed % MOVES_IN == 2 && !matches!(judge, Judge::Model(_));
        trace.add(0, format_args!("seed {seed}: {shards} shards, page files: {has_pages}, {faults:?}"));
        World {
            clock: Clock::new(),
            faults,
            planted,
            disks: (0..shards).map(|_| Disk::default()).collect(),
            pages: (0..shards).map(|_| PageDisk::default()).collect(),
            has_pages,
            nodes: Vec::new(),
            network: Network::default(),
            clients: Vec::new(),
            workload: Workload::default(),
            judge,
            trace,
            rot: Rot::new(shards),
            mail: BTreeMap::new(),
            parcels: 0,
            figures: Figures::default(),
            is_dying: false,
            is_quiet: false,
            commands_left: 0,
            epoch: 0,
            moves: has_moves.then(|| Rng::with_seed(!seed)),
            seed,
            rng,
        }
    }

    pub fn figures(&self) -> Figures {
        self.figures
    }

    pub fn tail(&self) -> String {
        self.trace.tail()
    }

    /// The whole run.
    pub fn run(&mut self) -> Checked {
        self.restart()?;
        while self.faults.crashes > 0 {
            self.faults.crashes -= 1;
            let span = [MS, 20 * MS, 300 * MS, 3 * SECOND][self.rng.usize(..4)];
            let at = self.rng.u64(..span);
            self.clock.after(at, Happening::Crash);
            self.live()?;
            if self.rng.u8(..4) == 0 {
                self.shut_down()?;
            }
            self.crash();
            self.restart()?;
        }
        // From here on nothing goes wrong, and everything that was asked must be answered.
        self.faults.is_over = true;
        self.start_clients();
        self.go_on_until(self.clock.now_ns() + SECOND / 2, |_| false)?;
        self.is_quiet = true;
        self.go_on_until(self.clock.now_ns() + ANSWERED_NS, |world| world.checks().unanswered().is_none())?;
        if let Some((id, args)) = self.checks().unanswered() {
            let asked = super::checks::shown(args);
            return Err(format!("{LIVENESS}: client {id} has no answer to {asked} after {} s", ANSWERED_NS / SECOND));
        }
        self.go_on_until(self.clock.now_ns() + SECOND, |_| false)?;
        self.crash();
        self.faults.crashes = 0;
        self.restart()?;
        let &Checks { commands, unusable, stuck, saves, saves_failed, lastsaves, .. } = self.checks();
        self.figures = Figures { commands, unusable, stuck, saves, saves_failed, lastsaves, ..self.figures };
        self.figures.events = self.trace.count();
        self.figures.hash = self.trace.hash();
        Ok(())
    }

    fn checks(&self) -> &Checks {
        let Judge::Model(checks) = &self.judge else { unreachable!("this run is judged by the model") };
        checks
    }

    /// The clients run, until the crash.
    fn live(&mut self) -> Checked {
        self.start_clients();
        if self.faults.clock_jumps {
            let (at, us) = (self.rng.u64(..20 * MS), self.rng.i64(-800_000..800_000));
            self.clock.after(at, Happening::ClockJump { us });
        }
        self.go_on_until(u64::MAX, |_| false)
    }

    /// An orderly stop, unless something fails on the way: what was done survives whatever comes then.
    pub(super) fn shut_down(&mut self) -> Checked {
        self.note(format_args!("shutdown"));
        self.is_quiet = true;
        let saves = self.rng.bool();
        for shard in 0..self.nodes.len() {
            self.tell(shard, Event::Drain { saves })?;
        }
        let is_done = |world: &World| world.parcels == 0 && world.nodes.iter().all(|node| node.machine.is_drained());
        self.go_on_until(self.clock.now_ns() + ANSWERED_NS, is_done)?;
        self.is_quiet = false;
        if is_done(self) {
            self.figures.shutdowns += 1;
            self.judge.stopped();
        } else if !self.is_dying {
            return Err(format!("{LIVENESS}: an orderly stop takes more than {} s", ANSWERED_NS / SECOND));
        }
        Ok(())
    }

    /// Goes on until a time, a crash, or what is waited for.
    pub(super) fn go_on_until(&mut self, end_ns: u64, is_done: impl Fn(&World) -> bool) -> Checked {
        self.is_dying = false;
        let mut happenings = 0;
        while !self.is_dying && self.clock.now_ns() < end_ns && !is_done(self) {
            happenings += 1;
            if happenings > HAPPENINGS_MAX {
                return Err(format!("{LIVENESS}: {HAPPENINGS_MAX} things have happened, and there is no end"));
            }
            let happening = self.clock.next().expect("ticks are always planned");
            self.happen(happening)?;
        }
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Checked {
        match happening {
            Happening::Act { client } => self.act(client),
            Happening::Deliver { wire } => self.deliver(wire),
            Happening::SentPart { wire, bytes } => match self.network.get(wire) {
                Some(&Wire { shard, conn, end: End::Open | End::Half, .. }) => {
                    self.tell(shard, Event::SentPart { conn, bytes })
                }
                _ => Ok(()),
            },
            Happening::Sent { wire, buffer } => self.on_sent(wire, buffer),
            Happening::Break { wire } => self.break_off(wire),
            Happening::DiskEnd { shard, op, is_told } => self.on_disk(shard, op, is_told),
            Happening::PageEnd { shard, op } => self.on_page(shard, op),
            Happening::LogRead { shard, read } => self.on_log_read(shard, read),
            Happening::DiskLie { shard, done } => self.tell(shard, Event::Disk(done)),
            Happening::Parcel { to, parcel } => {
                self.note(format_args!("shard {to} <- parcel of {} ({})", parcel.from, parcel.messages.len()));
                self.parcels -= 1;
                self.judge.expect(to, tasks(&parcel));
                self.tell(to, Event::Parcel(parcel))
            }
            Happening::Tick { shard } => {
                self.clock.after(TICK_NS, Happening::Tick { shard });
                self.rot(shard);
                if self.has_pages && self.faults.begins_checkpoint(&mut self.rng) {
                    let generation = self.nodes[shard].machine.checkpoint();
                    self.note(format_args!("shard {shard} is to make checkpoint {generation:?}"));
                }
                self.tell(shard, Event::Tick)
            }
            Happening::TurnEnd { shard } => self.end_turn(shard),
            Happening::ClockJump { us } => {
                self.note(format_args!("Unix time jumps by {us} us"));
                self.clock.skew(us);
                self.judge.clock_set();
                Ok(())
            }
            Happening::Crash => {
                self.is_dying = true;
                Ok(())
            }
        }
    }

    pub(super) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.add(self.clock.now_ns(), what);
    }

    pub(super) fn config(&self, shard: usize) -> LogConfig {
        LogConfig {
            shard: ShardId(shard as u16),
            segment_bytes: SEGMENT_BYTES_MIN,
            salt: 5,
            epoch: Epoch(self.epoch),
            planted: self.planted.and_then(Planted::log),
        }
    }

    /// The recovered machines begin.
    pub(super) fn begin(&mut self, machines: Vec<Machine>) {
        self.nodes =
            machines.into_iter().map(|machine| Node { machine, is_turn_planned: false, failed: None }).collect();
        for shard in 0..self.nodes.len() {
            let at = self.rng.u64(..TICK_NS);
            self.clock.after(at, Happening::Tick { shard });
            self.plan_turn_end(shard);
        }
    }

    /// Everything stops at once: what was planned does not happen.
    pub(super) fn crash(&mut self) {
        let is_power_cut = self.rng.bool();
        self.note(format_args!("{}", if is_power_cut { "POWER CUT" } else { "KILL" }));
        self.figures.crashes += 1;
        self.clock.clear();
        self.network.clear();
        self.mail.clear();
        self.parcels = 0;
        let begun = self.nodes.iter().map(|node| node.machine.stats.counters.begun_collections);
        self.figures.begun += begun.sum::<u64>();
        self.nodes.clear();
        self.clients.clear();
        self.judge.crash();
        self.strike(is_power_cut);
    }

    /// What a crash does to the disks.
    pub(super) fn strike(&mut self, is_power_cut: bool) {
        let verdict = &mut Verdict::new(Keep::Chance, &mut self.rng);
        for (disk, pages) in self.disks.iter_mut().zip(&mut self.pages) {
            strike(disk, pages, is_power_cut, verdict);
        }
    }

    /// Hands an event to a machine, and to the checks what came of it.
    pub(super) fn tell(&mut self, shard: usize, event: Event<'_>) -> Checked {
        let now = self.clock.now();
        let only = match &event {
            Event::Received { conn, .. }
            | Event::SentPart { conn, .. }
            | Event::Sent { conn, .. }
            | Event::HungUp { conn, .. } => Some(*conn),
            _ => None,
        };
        let only = only.and_then(|conn| self.network.get(self.network.of_conn(shard, conn))).map(|wire| wire.id);
        self.nodes[shard].machine.handle(now, event);
        self.check(shard, only)?;
        self.plan_turn_end(shard);
        Ok(())
    }

    fn plan_turn_end(&mut self, shard: usize) {
        if !std::mem::replace(&mut self.nodes[shard].is_turn_planned, true) {
            let after = [0, 0, 5 * US, 50 * US][self.rng.usize(..4)];
            self.clock.after(after, Happening::TurnEnd { shard });
        }
    }

    fn check(&mut self, shard: usize, only: Option<u64>) -> Checked {
        let deeds = self.nodes[shard].machine.take_deeds();
        let node = &self.nodes[shard];
        if let Some(failed) = node.failed {
            let (stable, log) = (node.machine.shard.stable(), node.machine.shard.engine().log());
            if stable > failed || log.accepts_writes() {
                return Err(format!(
                    "{READ_ONLY}: shard {shard} was stable up to {failed} when a write failed, and is now up to {stable}"
                ));
            }
        }
        let unclear = self.judge.handled(shard, &node.machine, Heard { only, deeds })?;
        for conn in unclear {
            let wire = self.network.of_conn(shard, conn);
            self.break_off(wire)?;
        }
        Ok(())
    }

    fn end_turn(&mut self, shard: usize) -> Checked {
        let now = self.clock.now();
        let Node { machine, is_turn_planned, .. } = &mut self.nodes[shard];
        *is_turn_planned = false;
        let log = machine.shard.engine().log();
        self.figures.floods += u64::from(!log.has_room());
        machine.end_turn(now);
        self.check(shard, None)?;
        self.check_bounds(shard)?;
        while let Some(effect) = self.nodes[shard].machine.poll() {
            self.perform(shard, effect)?;
            if self.is_dying {
                break;
            }
        }
        if !self.is_dying {
            self.hand_over(shard)?;
        }
        let machine = &self.nodes[shard].machine;
        // Where much is done piece by piece; elsewhere that waits for whatever happens next.
        let wants_turn = match self.judge {
            Judge::Across(_) => machine.wants_turn(),
            _ => machine.wants_redo(),
        };
        if wants_turn {
            self.plan_turn_end(shard);
        }
        Ok(())
    }

    fn check_bounds(&self, shard: usize) -> Checked {
        let machine = &self.nodes[shard].machine;
        let log = machine.shard.engine().log();
        let (query, output) = machine
            .clients()
            .map(|(conn, _)| machine.buffered(conn))
            .fold((0, 0), |(query, output), one| (query.max(one.0), output.max(one.1)));
        let figures = [
            ("flights", log.numbers().flights, FLIGHTS_MAX),
            ("bytes of records", log.staged_bytes(), STAGED_BYTES_MAX),
            ("messages", machine.outbox_messages(), OUTBOX_MESSAGES_MAX),
            ("bytes of input", query, QUERY_BYTES_MAX),
            ("bytes of output", output, OUTPUT_BYTES_MAX),
        ];
        match figures.iter().find(|(_, now, max)| now > max) {
            Some((what, now, max)) => Err(format!("{BOUNDS}: shard {shard} has {now} {what}, over {max}")),
            None => Ok(()),
        }
    }

    fn perform(&mut self, shard: usize, effect: Effect) -> Checked {
        match effect {
            Effect::Send { conn, buffer } => self.send(shard, conn, buffer),
            Effect::Pause { conn } => self.pause(shard, conn, true),
            Effect::Resume { conn } => self.pause(shard, conn, false),
            Effect::Close { conn } => {
                let wire = self.network.of_conn(shard, conn);
                let closed = self.network.close(wire);
                self.note(format_args!("shard {shard} closes client {}", closed.id));
                let client = &mut self.clients[closed.client];
                if client.wire == Some(wire) {
                    *client = Client::default();
                    let at = self.rng.u64(..MS);
                    self.clock.after(at, Happening::Act { client: closed.client });
                }
                self.judge.close(&closed)
            }
            Effect::Disk(op) => {
                self.start_disk(shard, op);
                Ok(())
            }
            Effect::Page(op) => {
                self.start_page(shard, op);
                Ok(())
            }
            Effect::LogRead(read) => {
                self.start_log_read(shard, read);
                Ok(())
            }
            Effect::Parcel { to, parcel } => {
                let to = usize::from(to.0);
                let messages = parcel.messages.len();
                if messages > PARCEL_MESSAGES_MAX {
                    return Err(format!("{BOUNDS}: shard {shard} sends {messages} messages at once"));
                }
                let delay = self.faults.packet_delay(&mut self.rng);
                let last = self.mail.entry((shard, to)).or_default();
                *last = (*last + 1).max(self.clock.now_ns() + delay);
                self.parcels += 1;
                self.clock.at(*last, Happening::Parcel { to, parcel });
                Ok(())
            }
            Effect::Notice(notice) => {
                self.note(format_args!("{notice}"));
                self.hear(shard, &notice)
            }
            Effect::Snapshot(_) => Ok(()),
            Effect::HostAsk { .. } | Effect::Sleep { .. } => unreachable!("no command asks for this"),
        }
    }
}

/// What a crash does to the disks of one shard.
pub fn strike(disk: &mut Disk, pages: &mut PageDisk, is_power_cut: bool, verdict: &mut Verdict<'_>) {
    let forgotten = if is_power_cut { pages.power_cut(verdict) } else { pages.kill(verdict) };
    if let Some(before) = forgotten {
        disk.forget(before, Some(verdict));
    }
    if is_power_cut {
        disk.power_cut(verdict);
    } else {
        disk.kill(verdict);
    }
}
