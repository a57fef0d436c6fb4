//! The way back after a crash: recovery as the server drives it, interrupted by further crashes, over honest disks and over
//! damaged ones (`opening`, `damage`). What it brings back is judged before anybody sees it.

use super::checks::{Checked, RECOVERY, STRUCTURE};
use super::clock::clock_ns;
use super::faults::Planted;
use super::judge::Judge;
use super::opening::{Halt, Opened, Trouble};
use super::world::{HASH_SEED, World};
use crate::model::Rows;
use cairn_core::limits::PACKED_BYTES_MAX;
use cairn_core::machine::{Identity, Machine};
use cairn_core::settings::{Settings, Source};
use cairn_storage::engine::Engine;
use cairn_storage::error::Fault;
use cairn_storage::txn::{Decisions, Tail};
use cairn_storage::units::ShardId;
use fastrand::Rng;

/// Memory in which all rows of a run find room.
pub const MEMORY_BYTES: u64 = 256 * 1024 * 1024;

/// When collections give up their smaller encodings, and what is done in one turn: what that may be set to, so that shapes meet that were made under others,
/// and crashes what is stored piece by piece.
pub const VARIED: [(&str, [&str; 3]); 10] = [
    ("hash-max-listpack-entries", ["0", "3", "40"]),
    ("hash-max-listpack-value", ["0", "12", "40"]),
    ("set-max-listpack-entries", ["0", "3", "40"]),
    ("set-max-listpack-value", ["0", "12", "40"]),
    ("set-max-intset-entries", ["0", "3", "40"]),
    ("zset-max-listpack-entries", ["0", "3", "40"]),
    ("zset-max-listpack-value", ["0", "12", "40"]),
    ("list-max-listpack-size", ["-1", "3", "40"]),
    ("stream-node-max-entries", ["0", "3", "40"]),
    ("slice-items", ["1", "3", "40"]),
];

impl World {
    /// Opens all shards, however many attempts it takes.
    pub(super) fn restart(&mut self) -> Checked {
        self.settle_rot()?;
        self.try_damage()?;
        self.try_page_damage()?;
        for attempt in 0.. {
            let has_trouble = attempt < 4 && !self.faults.is_over;
            let cut = (has_trouble && self.rng.u8(..3) == 0).then(|| self.rng.usize(..30));
            // The first ones are those of the page file's superblocks and maps.
            let fails = (has_trouble && self.faults.recovery_read_fails && self.rng.bool())
                .then(|| if self.rng.bool() { self.rng.usize(1..6) } else { self.rng.usize(1..20) });
            let mut trouble = Trouble { cut, fails, ..Trouble::default() };
            if let Some(engines) = self.open_all(&mut trouble)? {
                self.judge.recovered(self.clock.now_ns())?;
                let machines = engines.into_iter().zip(0..).map(|(engine, shard)| self.machine(shard, engine));
                let machines = machines.collect();
                self.begin(machines);
                self.rot_pages();
                return Ok(());
            }
            let is_power_cut = self.rng.bool();
            self.note(format_args!("recovery ends in a {}", if is_power_cut { "power cut" } else { "kill" }));
            self.figures.recoveries_cut += 1;
            self.strike(is_power_cut);
        }
        unreachable!("the fifth attempt meets no trouble");
    }

    /// None if it came to nothing.
    fn open_all(&mut self, trouble: &mut Trouble) -> Checked<Option<Vec<Engine>>> {
        self.epoch += 1;
        let mut sound = Vec::new();
        for shard in 0..self.disks.len() {
            // Only the model of single shards is judged by what is read here: else now and then is enough.
            let is_wanted = matches!(self.judge, Judge::Model(_)) || self.rng.u8(..4) == 0;
            sound.push(if is_wanted { self.inspect(shard)? } else { None });
        }
        let mut scanned = Vec::new();
        for shard in 0..self.disks.len() {
            let opened = self.scan(shard, trouble, self.faults.memory_bytes)?;
            let Some(opened) = self.unless_troubled(opened, trouble)? else { return Ok(None) };
            scanned.push(opened);
        }
        let bug = self.planted.and_then(Planted::txn);
        let tails: Vec<Tail> = scanned.iter_mut().map(|scanned| scanned.tail().clone()).collect();
        let decisions =
            Decisions::with_bug(&tails, tails.len() as u16, bug).map_err(|fault| format!("{RECOVERY}: {fault}"))?;
        let mut engines = Vec::new();
        for ((shard, scanned), sound) in scanned.into_iter().enumerate().zip(sound) {
            let opened = self.finish(shard, scanned, &decisions, trouble)?;
            let Some((mut engine, end)) = self.unless_troubled(opened, trouble)? else { return Ok(None) };
            self.disks[shard].opened(end);
            engine.plant(bug);
            let survivors = match sound {
                // What the log has beyond the checkpoint is redone while clients are there: they see to it.
                Some(sound) if !matches!(self.judge, Judge::Across(_)) && self.rng.u8(..4) > 0 => sound,
                None if matches!(self.judge, Judge::Histories(_)) => Rows::default(),
                sound => {
                    let Some(survivors) = self.survivors(shard, &mut engine)? else {
                        return Err(format!("{STRUCTURE}: shard {shard} cannot read what it has written"));
                    };
                    if sound.is_some_and(|sound| sound != survivors) {
                        return Err(format!("{STRUCTURE}: shard {shard} comes back in two ways"));
                    }
                    survivors
                }
            };
            self.figures.redos += u64::from(engine.redo_left() > 0);
            for collection in survivors.collections() {
                self.figures.collections += 1;
                self.figures.large += u64::from(collection.bytes() > PACKED_BYTES_MAX);
            }
            let kept = self.judge.recover(shard, survivors)?;
            self.note(format_args!("shard {shard} is back, ends at {end}, {kept} steps more than told"));
            engines.push(engine);
        }
        Ok(Some(engines))
    }

    /// What was opened. `None`: trouble came first.
    fn unless_troubled<T>(&mut self, opened: Result<T, Halt>, trouble: &Trouble) -> Checked<Option<T>> {
        match opened {
            Ok(opened) => Ok(Some(opened)),
            Err(Halt::Cut) => Ok(None),
            Err(Halt::Refused(fault @ (Fault::Read { .. } | Fault::PageFileRead { .. })))
                if trouble.fails == Some(0) =>
            {
                self.note(format_args!("refused: {fault}"));
                Ok(None)
            }
            Err(Halt::Refused(fault)) => Err(format!("{RECOVERY}: after an honest crash: {fault}")),
            Err(Halt::Broken(what)) => Err(what),
        }
    }

    /// With a page file: opens a copy of the shard in memory enough for everything, and checks all its structures. Answers
    /// its rows.
    pub(super) fn inspect(&mut self, shard: usize) -> Checked<Option<Rows>> {
        if !self.has_pages {
            return Ok(None);
        }
        let before = (self.disks[shard].clone(), self.pages[shard].clone());
        let opened = self.open(shard, &mut Trouble::default(), MEMORY_BYTES);
        let rows = match opened? {
            Opened::Engine(mut engine, _) => {
                if !self.bring_in(shard, &mut engine)? {
                    return Err(format!("{STRUCTURE}: shard {shard} has damaged pages after an honest crash"));
                }
                engine.check().map_err(|what| format!("{STRUCTURE}: shard {shard}: {what}"))?;
                self.survivors(shard, &mut engine)?
            }
            Opened::Refused(fault) => return Err(format!("{RECOVERY}: after an honest crash: {fault}")),
            Opened::Cut => unreachable!("nothing goes wrong"),
        };
        (self.disks[shard], self.pages[shard]) = before;
        Ok(rows)
    }

    /// Has all pages brought in. Whether all of them are sound.
    fn bring_in(&mut self, shard: usize, engine: &mut Engine) -> Checked<bool> {
        could(self.files(shard).bring_in(engine))
    }

    /// All rows that an engine holds, those past their time included. `None`: not all of them can be read.
    pub(super) fn survivors(&mut self, shard: usize, engine: &mut Engine) -> Checked<Option<Rows>> {
        if !self.has_pages {
            engine.check().map_err(|what| format!("{STRUCTURE}: {what}"))?;
        }
        let mut rows = Rows::default();
        let is_complete = could(self.files(shard).read_all(engine, &mut rows))?;
        Ok(is_complete.then_some(rows))
    }

    fn machine(&mut self, shard: usize, engine: Engine) -> Machine {
        let mut settings = Settings::default();
        // The slow log then has every command, in the order in which they ran: what the checks go by.
        // The scrub is at work nearly all the time.
        let scrub = [("scrub-interval", "1"), ("scrub-bytes-per-second", "1gb")];
        let slowlog = [("slowlog-log-slower-than", "0"), ("slowlog-max-len", "5000")];
        for (name, value) in scrub.into_iter().chain(slowlog) {
            settings.set(Source::File, name, &[value]).expect("these are known");
        }
        if !matches!(self.judge, Judge::Histories(_)) {
            // All shards of one start have the same ones.
            let mut rng = Rng::with_seed(self.seed << 32 ^ self.epoch);
            // The model of one shard runs a command where it begins.
            let is_whole = |name| matches!(self.judge, Judge::Model(_)) && name == "slice-items";
            for (name, values) in VARIED {
                let is_cut = self.workload.is_bulky && name == "slice-items";
                if is_cut || rng.bool() && !is_whole(name) {
                    settings.set(Source::File, name, &[values[rng.usize(..3)]]).expect("these are known");
                }
            }
        }
        let identity = Identity {
            shard: ShardId(shard as u16),
            shards: self.disks.len() as u16,
            run_id: "0123456789".repeat(4),
            node_id: "abcdefghij".repeat(4),
            process_id: 1,
            tcp_port: 6379,
            executable: "/usr/bin/cairn".into(),
            config_file: String::new(),
            started: self.clock.now(),
            os: "Simulation".into(),
            seed: shard as u64 + 1,
            hash_seed: HASH_SEED,
            clock_ns,
        };
        let mut machine = Machine::new(identity, settings, engine, self.clock.now());
        machine.plant(self.planted.and_then(Planted::machine));
        if matches!(self.judge, Judge::Model(_)) {
            machine.watch();
        }
        machine.set_redo_effects_per_turn(self.rng.usize(1..8));
        machine
    }
}

/// Whether something could be done, or is damaged.
fn could(outcome: Result<(), Halt>) -> Checked<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(Halt::Refused(Fault::PageFile { .. })) => Ok(false),
        Err(Halt::Refused(fault)) => Err(format!("{RECOVERY}: {fault}")),
        Err(Halt::Broken(what)) => Err(what),
        Err(Halt::Cut) => unreachable!("nothing goes wrong"),
    }
}
