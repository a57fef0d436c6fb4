//! Histories of a simulated server: the workloads of `cairn verify` ask it, what they were answered is recorded in the simulator's time, and
//! the same checkers judge it. Over several shards, with transactions; whoever loses the connection, or is told of a disk that has failed,
//! does not know what has become of the operation, and only then.
//!
//! ```text
//!   Preparing --each workload has what it begins with--> Working (life, crash, life, ...) --the last crash--> Reading --> checked
//! ```
//!
//! `World::run_histories` is behind the arrows. Nothing goes wrong in *Preparing*, at the end of the last life, and in *Reading*.

mod ballast;
mod moves;
mod rosters;
mod wholes;

use super::Failure;
use super::checks::{Checked, LIVENESS, ONE_REPLY};
use super::clock::{MS, US};
use super::faults::{Faults, Planted};
use super::judge::Judge;
use super::lives::Lives;
use super::network::{End, WireId};
use super::world::{ANSWERED_NS, Happening, World};
use crate::verify::exchange::{Exchange, Taken, Wrong};
use crate::verify::workload::{Bank, Counters, Lists, Pairs, Queues, Registers, Streams, Tally, Workload};
use ballast::Ballast;
use fastrand::Rng;
use moves::Moves;
use rosters::Rosters;
use wholes::Wholes;

/// The check that the histories themselves are for.
pub const SERIALIZABLE: &str = "a history is strictly serializable";

/// What disks that have failed make a server answer, behind what EXEC says of it.
const OF_DISKS: [&str; 5] = [
    "-MISCONF Redis is configured to persist data to AOF, but it's currently unable to persist to disk.",
    "-MISCONF Errors writing to the AOF file: ",
    "-MISCONF The page file cannot be written",
    "-ERR the page file ",
    "-ERR the log ",
];

/// Nobody asks on for ever where disks have failed: each operation that is refused is one more of which it is not known what has become
/// of it.
const REFUSALS_A_CLIENT: usize = 2;

/// Who waits is offered what there is within that.
const PATIENCE_NS: u64 = 50 * MS;

const DISCARDED: &str = "-EXECABORT Transaction discarded because of";

/// What a run comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub runs: u64,
    /// Transactions and single commands, by what became of them; and those over several shards.
    pub committed: u64,
    pub aborted: u64,
    pub unknown: u64,
    pub across: u64,
    /// Operations that were refused because of a disk.
    pub refused: u64,
    /// Connections that were lost.
    pub cut_off: u64,
    pub lives: Lives,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Figures) {
        self.runs += other.runs;
        self.committed += other.committed;
        self.aborted += other.aborted;
        self.unknown += other.unknown;
        self.across += other.across;
        self.refused += other.refused;
        self.cut_off += other.cut_off;
        self.lives += other.lives;
    }
}

/// Runs one seed. An assertion of the product that fails is a failure too.
pub fn run(seed: u64, planted: Option<Planted>, is_verbose: bool) -> Result<Figures, Failure> {
    World::of_histories(seed, planted, is_verbose).caught(" --histories 1", World::run_histories)
}

/// The clients' side of a run.
pub struct Histories {
    workloads: Vec<Box<dyn Workload>>,
    /// By client.
    talks: Vec<Talk>,
    stage: Stage,
    /// Operations in each life.
    life: u32,
    /// No two instants are the same.
    instant: u64,
    /// Since the last start a disk has failed.
    pub is_troubled: bool,
    refused: u64,
    /// Since the last start.
    refused_now: usize,
    cut_off: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// So many workloads have asked for what they begin with.
    Preparing(usize),
    Working,
    Reading,
}

#[derive(Default)]
struct Talk {
    exchange: Exchange,
    /// The request has been sent.
    is_sent: bool,
    /// Until it is connected again.
    is_given_up: bool,
}

impl Histories {
    pub fn draw(rng: &mut Rng, shards: usize, is_wide: bool) -> Histories {
        let clients = rng.u32(2..13);
        let (seed, keys, shards) = (rng.u64(..), rng.u32(2..9), shards as u16);
        let few = keys.div_ceil(3);
        let mut workloads: Vec<Box<dyn Workload>> = vec![
            Box::new(Queues::new(seed, clients, few, shards, Some(PATIENCE_NS))),
            Box::new(Streams::new(seed, clients, few, shards, Some(PATIENCE_NS))),
        ];
        // Else many wait at a time, for the same.
        if rng.u8(..4) > 0 {
            workloads.extend::<[Box<dyn Workload>; 7]>([
                Box::new(Lists::new(seed, clients, keys, shards).with_all()),
                Box::new(Registers::new(seed, clients, few)),
                Box::new(Bank::new(seed, clients, keys, shards)),
                Box::new(Pairs::new(seed, clients, shards)),
                Box::new(Counters::new(seed, clients, few, shards)),
                Box::new(Moves::new(seed, clients, shards)),
                Box::new(Rosters::new(seed, clients)),
            ]);
        }
        // They end all snapshots.
        if rng.bool() {
            workloads.push(Box::new(Wholes::new(seed, clients)));
        }
        if is_wide {
            workloads.push(Box::new(Ballast::new(seed, clients)));
        }
        Histories {
            workloads,
            talks: (0..clients).map(|_| Talk::default()).collect(),
            stage: Stage::Preparing(0),
            life: [30, 150, 400, 800][rng.usize(..4)],
            instant: 0,
            is_troubled: false,
            refused: 0,
            refused_now: 0,
            cut_off: 0,
        }
    }

    pub fn clients(&self) -> usize {
        self.talks.len()
    }

    pub fn operations_a_life(&self) -> u32 {
        self.life
    }

    /// A client is connected.
    pub fn connect(&mut self, client: usize) {
        self.talks[client] = Talk::default();
    }

    /// What a client sends now. `left`: operations that may still be begun.
    pub fn next(&mut self, client: usize, now_ns: u64, rng: &mut Rng, left: &mut u32) -> Option<&[u8]> {
        let now = self.now(now_ns);
        let has_patience = self.refused_now < REFUSALS_A_CLIENT * self.talks.len();
        let Histories { workloads, talks, stage, .. } = self;
        let Talk { exchange, is_sent, is_given_up } = &mut talks[client];
        if *is_given_up {
            return None;
        }
        let Exchange { request, busy, .. } = exchange;
        if busy.is_none() && request.replies == 0 {
            *is_sent = false;
            match stage {
                Stage::Preparing(next) if client == 0 => {
                    while request.replies == 0 {
                        workloads.get(*next)?.prepare(request);
                        *next += 1;
                    }
                }
                Stage::Working if *left > 0 && has_patience => {
                    *left -= 1;
                    let chosen = rng.usize(..workloads.len());
                    workloads[chosen].begin(client as u32, now, request);
                    *busy = Some((chosen, now));
                }
                Stage::Reading => {
                    let mut all = workloads.iter_mut();
                    let chosen = all.position(|workload| workload.begin_last(client as u32, now, request))?;
                    *busy = Some((chosen, now));
                }
                _ => return None,
            }
        }
        (!std::mem::replace(is_sent, true)).then_some(&request.bytes)
    }

    /// Some bytes have come to a client. Whether it gives its connection up.
    pub fn receive(&mut self, client: usize, now_ns: u64, bytes: &[u8]) -> Checked<bool> {
        let now = self.now(now_ns);
        let talk = &mut self.talks[client];
        if talk.is_given_up {
            return Ok(false);
        }
        talk.exchange.receive(bytes)?;
        if let Stage::Preparing(_) = self.stage {
            if talk.exchange.is_answered() {
                if let Some(error) = talk.exchange.errors()?.first() {
                    return Err(format!("{ONE_REPLY}: at first: {}", error.escape_ascii()));
                }
                talk.exchange.reset();
            }
            return Ok(false);
        }
        match talk.exchange.take(client as u32, now, &mut self.workloads)? {
            Taken::Nothing => Ok(false),
            Taken::Asks => {
                talk.is_sent = false;
                Ok(false)
            }
            Taken::Over => {
                talk.exchange.busy = None;
                Ok(false)
            }
            Taken::Wrong(wrong) => self.refuse(client, &wrong).map(|()| true),
        }
    }

    /// A client was told something that no sound server says: only that a disk has failed may it be told, and only if one has.
    fn refuse(&mut self, client: usize, wrong: &Wrong) -> Checked {
        let is_refusal = !wrong.errors.is_empty() && wrong.errors.iter().all(|error| is_of_disk(error));
        if !is_refusal || !self.is_troubled {
            return Err(format!("{ONE_REPLY}: client {client} gets what it should not: {}", wrong.what));
        }
        self.refused += 1;
        self.refused_now += 1;
        self.lose(client);
        self.talks[client].is_given_up = true;
        Ok(())
    }

    /// The server has closed a connection. It does so where it cannot say what has become of a transaction.
    pub fn close(&mut self, client: usize) -> Checked {
        if !self.is_troubled {
            return Err(format!("{ONE_REPLY}: client {client} was closed for no reason"));
        }
        self.lose(client);
        Ok(())
    }

    /// A client hears nothing more.
    pub fn lose(&mut self, client: usize) {
        if let Some(workload) = self.talks[client].exchange.lose() {
            self.workloads[workload].on_lost(client as u32);
            self.cut_off += 1;
        }
    }

    pub fn crash(&mut self) {
        (0..self.talks.len()).for_each(|client| self.lose(client));
        self.is_troubled = false;
        self.refused_now = 0;
    }

    fn is_prepared(&self) -> bool {
        self.stage == Stage::Preparing(self.workloads.len()) && self.talks[0].exchange.request.replies == 0
    }

    /// Nobody waits for an answer.
    pub fn is_idle(&self) -> bool {
        self.talks.iter().all(|talk| talk.exchange.busy.is_none())
    }

    fn now(&mut self, now_ns: u64) -> u64 {
        self.instant = now_ns.max(self.instant + 1);
        self.instant
    }

    fn check(&self) -> Checked {
        for workload in &self.workloads {
            if let Some(anomaly) = workload.check().first() {
                return Err(format!("{SERIALIZABLE}: {}: {anomaly}", workload.name()));
            }
        }
        Ok(())
    }
}

/// Whether an error says that a disk has failed.
pub(super) fn is_of_disk(error: &[u8]) -> bool {
    let text = String::from_utf8_lossy(error);
    OF_DISKS.iter().any(|of_disk| text.starts_with(of_disk) || text.contains(&of_disk[1..]))
        || text.starts_with(DISCARDED)
}

impl World {
    fn of_histories(seed: u64, planted: Option<Planted>, is_verbose: bool) -> World {
        let mut rng = Rng::with_seed(seed);
        let shards = [1, 2, 2, 3, 3, 4][rng.usize(..6)];
        let has_pages = rng.u8(..4) > 0;
        let is_wide = has_pages && rng.u8(..3) == 0;
        let faults = Faults { has_harm: false, ..Faults::draw(&mut rng, has_pages, is_wide) };
        let histories = Histories::draw(&mut rng, shards, is_wide);
        let judge = Judge::Histories(Box::new(histories));
        World::with(rng, seed, planted, is_verbose, (shards, has_pages), faults, judge)
    }

    fn histories(&mut self) -> &mut Histories {
        let Judge::Histories(histories) = &mut self.judge else { unreachable!("histories are what this run is for") };
        histories
    }

    /// The whole run.
    fn run_histories(&mut self) -> Checked<Figures> {
        self.faults.is_over = true;
        self.restart()?;
        self.start_clients();
        let is_prepared =
            |world: &World| matches!(&world.judge, Judge::Histories(histories) if histories.is_prepared());
        self.go_on_until(self.clock.now_ns() + ANSWERED_NS, is_prepared)?;
        if !is_prepared(self) {
            return Err(format!("{LIVENESS}: the run cannot begin"));
        }
        self.histories().stage = Stage::Working;
        self.faults.is_over = false;
        self.lives()?;
        self.histories().stage = Stage::Reading;
        self.work(self.clock.now_ns() + ANSWERED_NS)?;
        self.must_be_idle()?;
        self.histories().check()?;
        Ok(self.figures_of_histories())
    }

    /// A client whose connection is open asks what it has to ask.
    pub(super) fn ask_for_history(&mut self, client: usize, wire: WireId) -> Checked {
        if self.is_quiet {
            return Ok(());
        }
        let now_ns = self.clock.now_ns();
        let Judge::Histories(histories) = &mut self.judge else { unreachable!("histories are what this run is for") };
        let Some(bytes) = histories.next(client, now_ns, &mut self.rng, &mut self.commands_left) else { return Ok(()) };
        let asked = crate::sim::reply::shown(bytes);
        let state = self.network.get_mut(wire).expect("it is open");
        assert_eq!(state.end, End::Open);
        state.send(bytes);
        let id = state.id;
        self.note(format_args!("client {id}: {asked}"));
        if self.faults.hangs_up(&mut self.rng) {
            let span = [200 * US, 5 * MS][self.rng.usize(..2)];
            let at = self.rng.u64(..span);
            self.clock.after(at, Happening::Break { wire });
        }
        self.plan_delivery(wire);
        Ok(())
    }

    fn figures_of_histories(&mut self) -> Figures {
        let lives = self.lived();
        let histories = self.histories();
        let mut figures =
            Figures { runs: 1, refused: histories.refused, cut_off: histories.cut_off, lives, ..Figures::default() };
        for workload in &histories.workloads {
            let Tally { committed, aborted, unknown, across } = workload.tally();
            figures.committed += committed;
            figures.aborted += aborted;
            figures.unknown += unknown;
            figures.across += across;
        }
        figures
    }
}
