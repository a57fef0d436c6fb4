//! Commands and transactions over several shards, judged by the reference model. What is asked spans shards wherever a command can: MSET, MSETNX, RENAME,
//! COPY, MOVE, LMOVE, SMOVE, SUNIONSTORE, ZUNIONSTORE, FLUSHDB, FLUSHALL, SWAPDB, on strings and collections of every kind and shape, by themselves,
//! between MULTI and EXEC, between BEGIN and COMMIT, and in scripts. The machines tell nothing of what they do, so only what a client can know is used: `orders` looks for an order of units that explains it.
//!
//! ```text
//!   life (requests, replies, faults) --crash--> recovery --the rows of all shards--> Orders::survive --> life ... --> the last one, without faults
//! ```

mod orders;

pub use orders::{EXPLAINED, Shape, Unit};

use super::Failure;
use super::checks::{Checked, ONE_REPLY};
use super::clock::{US, unix_ms};
use super::faults::{Faults, Planted};
use super::histories::is_of_disk;
use super::judge::Judge;
use super::lives::Lives;
use super::network::{End, WireId};
use super::reply::{self, Frame};
use super::workload::{self, Workload};
use super::world::{Happening, World};
use crate::model::{DATABASES, Rows};
use fastrand::Rng;
use orders::{Orders, UnitId};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Units whose replies were lost in a life: with each there is more that may be so.
const LOST_MAX: usize = 3;

/// Memory is too small for what a unit needs at a time. Nothing has happened.
const OOM: &[u8] = b"-OOM ";

/// A command that its transaction does not take.
const BESIDE_WHOLE: &[u8] = b"-ERR a transaction cannot both store";

/// What a script answers that was ended by the server. Nothing has happened.
const ENDED: [&[u8]; 2] = [b"-LOCKTIMEOUT ", b"-TRYAGAIN "];

/// One run in so many has rows that expire.
const TIMED_IN: u64 = 3;

/// When so much may be so, clients look.
const DOUBTFUL: usize = 4;

/// Rows that are looked at together.
const LOOKS: usize = 6;

/// What a run comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub runs: u64,
    /// Units that were answered; those that were refused because of a disk, and those that were cut off.
    pub answered: u64,
    pub refused: u64,
    pub cut_off: u64,
    /// Units for which memory was too small.
    pub oom: u64,
    /// Transactions and scripts that the server has ended.
    pub ended: u64,
    /// Replies and crashes of which nobody could say whether they were right: too much was under way.
    pub unjudged: u64,
    /// The most states that were possible at a time.
    pub states_max: usize,
    /// Rows that came back from crashes.
    pub rows: u64,
    pub collections: u64,
    pub large: u64,
    pub lives: Lives,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Figures) {
        self.runs += other.runs;
        self.answered += other.answered;
        self.refused += other.refused;
        self.cut_off += other.cut_off;
        self.oom += other.oom;
        self.ended += other.ended;
        self.unjudged += other.unjudged;
        self.states_max = self.states_max.max(other.states_max);
        self.rows += other.rows;
        self.collections += other.collections;
        self.large += other.large;
        self.lives += other.lives;
    }
}

/// Runs one seed. An assertion of the product that fails is a failure too.
pub fn run(seed: u64, planted: Option<Planted>, is_verbose: bool) -> Result<Figures, Failure> {
    World::of_across(seed, planted, is_verbose).caught(" --across 1", World::run_across)
}

/// The clients' side of a run.
#[derive(Default)]
pub struct Across {
    orders: Orders,
    /// By client.
    talks: Vec<Talk>,
    /// Of the shards that have come back, by shard.
    survivors: BTreeMap<usize, Rows>,
    /// Since the last start a disk has failed.
    pub is_troubled: bool,
    figures: Figures,
}

#[derive(Default)]
struct Talk {
    /// What is under way, and the replies in front of the one that counts.
    busy: Option<(UnitId, usize)>,
    db: u8,
    /// Of a unit between BEGIN and COMMIT: so many replies are still to come, and those that came.
    left: usize,
    said: Vec<u8>,
    partial: Vec<u8>,
    /// One of the replies in front was a refusal.
    is_refused: bool,
    /// Until it is connected again.
    is_given_up: bool,
}

impl Across {
    fn new(clients: usize) -> Across {
        Across { talks: (0..clients).map(|_| Talk::default()).collect(), ..Across::default() }
    }

    /// A client is connected.
    pub fn connect(&mut self, client: usize) {
        self.talks[client] = Talk::default();
    }

    /// What a client sends now. `left`: units that may still be begun.
    fn next(
        &mut self,
        client: usize,
        workload: &mut Workload,
        rng: &mut Rng,
        now_ms: u64,
        left: &mut u32,
    ) -> Option<Rc<Unit>> {
        let talk = &self.talks[client];
        if talk.busy.is_some() || talk.is_given_up || *left == 0 || self.orders.lost() >= LOST_MAX {
            return None;
        }
        *left -= 1;
        let unit = Rc::new(if self.orders.states() > DOUBTFUL { self.look() } else { workload.unit(rng, now_ms) });
        let id = self.orders.ask(unit.clone(), now_ms);
        let talk = &mut self.talks[client];
        let first = usize::from(talk.db != unit.db);
        let before = match unit.shape {
            Shape::One | Shape::Script => 0,
            Shape::Multi => 1 + unit.commands.len(),
            Shape::Open => {
                (talk.left, talk.said) = (unit.commands.len(), unit.array());
                1
            }
        };
        talk.busy = Some((id, first + before));
        Some(unit)
    }

    /// Looks at rows of which it is not known what they are.
    fn look(&self) -> Unit {
        let doubts = self.orders.doubts();
        let db = doubts.first().map_or(0, |(db, _)| *db);
        let keys: Vec<Vec<u8>> = doubts.into_iter().filter(|(of, _)| *of == db).map(|(_, key)| key).collect();
        let keys = if keys.is_empty() { vec![b"{t0}0".to_vec()] } else { keys };
        workload::across::look(db, &keys[..keys.len().min(LOOKS)])
    }

    /// Some bytes have come to a client. Whether it gives its connection up.
    pub fn receive(&mut self, client: usize, bytes: &[u8], now_ms: u64) -> Checked<bool> {
        let talk = &mut self.talks[client];
        if talk.is_given_up {
            return Ok(false);
        }
        talk.partial.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut talk.partial);
        let mut at = 0;
        while let Some(len) = reply::frame_len(&buffer[at..])? {
            let frame = &buffer[at..at + len];
            at += len;
            if self.take(client, frame, now_ms)? {
                return Ok(true);
            }
        }
        self.talks[client].partial = buffer[at..].to_vec();
        Ok(false)
    }

    /// A client has got a reply. Whether it gives up.
    fn take(&mut self, client: usize, frame: &[u8], now_ms: u64) -> Checked<bool> {
        let talk = &mut self.talks[client];
        let Some((id, before)) = &mut talk.busy else {
            return Err(format!("{ONE_REPLY}: client {client} gets {} for nothing", reply::shown(frame)));
        };
        if *before > 0 {
            *before -= 1;
            talk.is_refused |= frame.starts_with(b"-");
            return if talk.is_refused && !self.is_troubled { self.wrong(client, frame) } else { Ok(false) };
        }
        if talk.left > 0 {
            talk.left -= 1;
            talk.said.extend_from_slice(frame);
            talk.is_refused |= has_refusal(frame);
            return Ok(false);
        }
        let said = std::mem::take(&mut talk.said);
        if talk.is_refused || has_refusal(frame) {
            if !self.is_troubled {
                return self.wrong(client, frame);
            }
            self.figures.refused += 1;
            self.lose(client);
            if !reply::elements(frame).is_empty() || !said.is_empty() {
                // Of a transaction its client was told which commands were done: neither all nor none.
                self.orders.give_up();
            }
            self.talks[client].is_given_up = true;
            return Ok(true);
        }
        let id = *id;
        talk.busy = None;
        let is_open = !said.is_empty();
        let said = if is_open && frame == b"+OK\r\n" { &said } else { frame };
        let is_short = |reply: &[u8]| reply.starts_with(OOM) || reply.starts_with(BESIDE_WHOLE);
        if reply::elements(said).into_iter().any(is_short) {
            // Some of its commands were done.
            self.orders.give_up();
        }
        if said.starts_with(OOM)
            || is_open && said.starts_with(b"-EXECABORT ")
            || ENDED.iter().any(|it| said.starts_with(it))
        {
            self.figures.oom += u64::from(said.starts_with(OOM));
            self.figures.ended += u64::from(!said.starts_with(OOM));
            return self.orders.refuse(id, said).map(|()| false);
        }
        self.figures.answered += 1;
        self.orders.answer(id, said, now_ms).map(|()| false)
    }

    fn wrong(&self, client: usize, frame: &[u8]) -> Checked<bool> {
        Err(format!("{ONE_REPLY}: client {client} gets what it should not: {}", reply::shown(frame)))
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
        if let Some((id, _)) = self.talks[client].busy.take() {
            self.orders.lose(id);
            self.figures.cut_off += 1;
        }
    }

    pub fn crash(&mut self) {
        (0..self.talks.len()).for_each(|client| self.lose(client));
        self.survivors.clear();
        self.is_troubled = false;
    }

    /// A shard has come back with these rows.
    pub fn recover(&mut self, shard: usize, survivors: Rows) {
        self.survivors.insert(shard, survivors);
    }

    /// All shards have.
    pub fn recovered(&mut self, now_ms: u64) -> Checked {
        let mut all = Rows::default();
        for rows in std::mem::take(&mut self.survivors).into_values() {
            for db in 0..DATABASES {
                for (key, row) in rows.iter(db) {
                    if all.get(db, key).is_some() {
                        return Err(format!("{EXPLAINED}: {db}/{} came back on two shards", key.escape_ascii()));
                    }
                    all.put(db, key.clone(), row.clone());
                }
                self.figures.rows += rows.len(db) as u64;
            }
        }
        self.orders.survive(all, now_ms)
    }

    /// Nobody waits for an answer.
    pub fn is_idle(&self) -> bool {
        self.talks.iter().all(|talk| talk.busy.is_none())
    }
}

/// Whether a reply, or one within it, says that a disk has failed.
fn has_refusal(frame: &[u8]) -> bool {
    match reply::parse(frame) {
        Some(Frame::Line(line)) => is_of_disk(line),
        Some(Frame::Array(_)) => reply::elements(frame).into_iter().any(has_refusal),
        _ => false,
    }
}

impl World {
    fn of_across(seed: u64, planted: Option<Planted>, is_verbose: bool) -> World {
        let mut rng = Rng::with_seed(seed);
        let shards = [2, 2, 3][rng.usize(..3)];
        let has_pages = rng.u8(..4) > 0;
        let is_wide = has_pages && rng.u8(..3) == 0;
        let mut faults = Faults { has_harm: false, ..Faults::draw(&mut rng, has_pages, is_wide) };
        // Not drawn: seeds that once failed are the runs that they were.
        let is_timed = seed % TIMED_IN == 1;
        faults.clock_jumps &= !is_timed;
        let mut workload = Workload::draw_across(&mut rng, is_wide);
        workload.is_timed = is_timed;
        let judge = Judge::Across(Box::new(Across::new(workload.clients)));
        let mut world = World::with(rng, seed, planted, is_verbose, (shards, has_pages), faults, judge);
        world.trace.add(0, format_args!("{workload:?}"));
        world.workload = workload;
        world
    }

    /// The whole run.
    fn run_across(&mut self) -> Checked<Figures> {
        self.restart()?;
        self.lives()?;
        let lives = self.lived();
        let Judge::Across(across) = &mut self.judge else { unreachable!("this run is judged by orders") };
        Ok(Figures {
            runs: 1,
            unjudged: across.orders.unjudged,
            states_max: across.orders.states_max,
            collections: self.figures.collections,
            large: self.figures.large,
            lives,
            ..across.figures
        })
    }

    /// A client whose connection is open asks what it has to ask.
    pub(super) fn ask_across(&mut self, client: usize, wire: WireId) -> Checked {
        if self.is_quiet {
            return Ok(());
        }
        let Judge::Across(across) = &mut self.judge else { unreachable!("this run is judged by orders") };
        let now_ms = unix_ms(self.clock.now_ns());
        let next = across.next(client, &mut self.workload, &mut self.rng, now_ms, &mut self.commands_left);
        let Some(unit) = next else { return Ok(()) };
        let mut bytes = Vec::new();
        let mut say = |words: &[&str]| {
            workload::encode(&words.iter().map(|word| word.as_bytes().to_vec()).collect(), &mut bytes);
        };
        let talk = &mut across.talks[client];
        if std::mem::replace(&mut talk.db, unit.db) != unit.db {
            say(&["SELECT", &unit.db.to_string()]);
        }
        let (first, last) = match unit.shape {
            Shape::One | Shape::Script => (None, None),
            Shape::Multi => (Some("MULTI"), Some("EXEC")),
            Shape::Open => (Some("BEGIN"), Some("COMMIT")),
        };
        first.iter().for_each(|word| say(&[word]));
        match unit.shape {
            Shape::Script => workload::encode(&workload::across::script(&unit.commands), &mut bytes),
            _ => unit.commands.iter().for_each(|args| workload::encode(args, &mut bytes)),
        }
        last.iter().for_each(|word| workload::encode(&vec![word.as_bytes().to_vec()], &mut bytes));
        let state = self.network.get_mut(wire).expect("it is open");
        assert_eq!(state.end, End::Open);
        state.send(&bytes);
        let id = state.id;
        self.note(format_args!("client {id}: {}", unit.shown()));
        if self.faults.hangs_up(&mut self.rng) {
            let at = self.rng.u64(..200 * US);
            self.clock.after(at, Happening::Break { wire });
        }
        self.plan_delivery(wire);
        Ok(())
    }
}
