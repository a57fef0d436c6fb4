//! The way back after a crash: recovery as the server drives it, interrupted by further crashes, over honest disks and over
//! damaged ones. What it brings back is judged before anybody sees it.

use super::checks::{Checked, RECOVERY, STRUCTURE};
use super::clock::{MS, US, clock_ns};
use super::disk::{EIO, HarmKind};
use super::faults::Planted;
use super::world::{HASH_SEED, World};
use crate::model::{DATABASES, Row, Rows};
use cairn_core::machine::{Identity, Machine};
use cairn_core::settings::{Settings, Source};
use cairn_storage::engine::{Engine, Replay};
use cairn_storage::error::Fault;
use cairn_storage::log::{Recovery, Step};
use cairn_storage::units::{Lsn, SegmentId, ShardId};
use std::ops::ControlFlow;
use std::rc::Rc;

const MEMORY_BYTES: u64 = 256 * 1024 * 1024;

/// How an opening ended.
enum Opened {
    Engine(Box<Engine>, Lsn),
    /// A crash came first.
    Cut,
    Refused(Fault),
}

/// What goes wrong while a log is opened.
#[derive(Default)]
struct Trouble {
    /// Steps until the crash.
    cut: Option<usize>,
    /// Steps until a read or a sync fails.
    fails: Option<usize>,
}

impl World {
    /// Opens all shards, however many attempts it takes.
    pub(super) fn restart(&mut self) -> Checked {
        self.try_damage()?;
        for attempt in 0.. {
            let has_trouble = attempt < 4 && !self.faults.is_over;
            let cut = (has_trouble && self.rng.u8(..3) == 0).then(|| self.rng.usize(..30));
            let fails =
                (has_trouble && self.faults.recovery_read_fails && self.rng.bool()).then(|| self.rng.usize(..20));
            let mut trouble = Trouble { cut, fails };
            if let Some(engines) = self.open_all(&mut trouble)? {
                let machines = engines.into_iter().zip(0..).map(|(engine, shard)| self.machine(shard, engine));
                let machines = machines.collect();
                self.begin(machines);
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
        let mut engines = Vec::new();
        for shard in 0..self.disks.len() {
            match self.open(shard, trouble)? {
                Opened::Engine(engine, end) => {
                    self.disks[shard].opened(end);
                    let survivors = survivors(&engine)?;
                    let kept = self.checks.recover(shard, survivors)?;
                    self.note(format_args!("shard {shard} is back, ends at {end}, {kept} steps more than told"));
                    engines.push(*engine);
                }
                Opened::Cut => return Ok(None),
                Opened::Refused(fault) if trouble.fails == Some(0) && matches!(fault, Fault::Read { .. }) => {
                    self.note(format_args!("refused: {fault}"));
                    return Ok(None);
                }
                Opened::Refused(fault) => return Err(format!("{RECOVERY}: after an honest crash: {fault}")),
            }
        }
        Ok(Some(engines))
    }

    /// Recovers one shard, as the server does.
    fn open(&mut self, shard: usize, trouble: &mut Trouble) -> Checked<Opened> {
        let config = self.config(shard);
        let disk = &mut self.disks[shard];
        disk.sync_dir();
        let mut recovery = Recovery::new(config, disk.list(), Lsn(0));
        let mut replay = Replay::new(config, MEMORY_BYTES, Box::new(|_| {}));
        let mut buffer = Vec::new();
        let mut resume = loop {
            let step = recovery.step();
            let is_disk = matches!(step, Step::Read { .. } | Step::Sync { .. });
            if is_disk && count_down(&mut trouble.cut) {
                return Ok(Opened::Cut);
            }
            let fails = is_disk && count_down(&mut trouble.fails);
            match step {
                Step::Read { .. } | Step::Sync { .. } if fails => recovery.failed(EIO),
                Step::Read { segment, offset, len } => {
                    buffer.resize(len, 0);
                    disk.read(segment, offset, &mut buffer);
                    self.clock.pass(50 * US);
                    recovery.supply(&buffer);
                }
                Step::Record { lsn, record } => {
                    replay.apply(lsn, &record).map_err(|fault| format!("{RECOVERY}: {fault}"))?;
                }
                Step::Sync { segment } => {
                    if self.planted != Some(Planted::RecoverWithoutSync) {
                        disk.sync(segment);
                    }
                    self.clock.pass(MS);
                    recovery.synced();
                }
                Step::Done(resume) => break resume,
                Step::Refuse(fault) => return Ok(Opened::Refused(fault)),
            }
        };
        for segment in &resume.useless {
            disk.remove(*segment);
            if count_down(&mut trouble.cut) {
                return Ok(Opened::Cut);
            }
        }
        disk.sync_dir();
        let first = SegmentId(resume.end.0 / config.segment_bytes);
        if resume.prepared.is_empty() && disk.prepare(first, config.segment_bytes, self.faults.is_over, &mut self.rng) {
            resume.prepared.push(first);
        }
        if count_down(&mut trouble.cut) {
            return Ok(Opened::Cut);
        }
        Ok(Opened::Engine(Box::new(replay.finish(config, &resume)), resume.end))
    }

    /// Now and then something that was stable goes wrong. Recovery must refuse it by name; what no checksum covers must
    /// not matter to it. Then it is put right again.
    fn try_damage(&mut self) -> Checked {
        let shard = self.rng.usize(..self.disks.len());
        if !self.faults.has_harm || self.faults.is_over {
            return Ok(());
        }
        let config = self.config(shard);
        let Some(harm) = self.disks[shard].choose_harm(&config, &mut self.rng) else { return Ok(()) };
        self.note(format_args!("shard {shard}: {harm:?}"));
        self.figures.harms += 1;
        let sound = self.disks[shard].harm(harm);
        let outcome = self.open(shard, &mut Trouble::default());
        self.disks[shard].mend(sound);
        let is_named = match (outcome?, harm.kind) {
            (Opened::Engine(..), HarmKind::Padding { .. }) => return Ok(()),
            (Opened::Engine(_, end), _) => {
                return Err(format!("{RECOVERY}: shard {shard}: {harm:?} was taken for the log's end ({end})"));
            }
            (Opened::Refused(Fault::SegmentAbsent { segment, .. }), HarmKind::Lost) => segment == harm.segment,
            (Opened::Refused(Fault::Corrupt { segment, offset, .. }), HarmKind::Cut { bytes }) => {
                (segment, offset) == (harm.segment, bytes)
            }
            (Opened::Refused(Fault::Corrupt { segment, offset, .. }), _) => {
                (segment, offset) == (harm.segment, harm.offset) && !matches!(harm.kind, HarmKind::Padding { .. })
            }
            (Opened::Refused(_), _) => false,
            (Opened::Cut, _) => unreachable!("nothing else goes wrong"),
        };
        if is_named {
            Ok(())
        } else {
            Err(format!("{RECOVERY}: shard {shard}: {harm:?} was refused for something else"))
        }
    }

    fn machine(&self, shard: usize, engine: Engine) -> Machine {
        let mut settings = Settings::default();
        // The slow log then has every command, in the order in which they ran: what the checks go by.
        for (name, value) in [("slowlog-log-slower-than", "0"), ("slowlog-max-len", "5000")] {
            settings.set(Source::File, name, &[value]).expect("these are known");
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
        Machine::new(identity, settings, engine, self.clock.now())
    }
}

/// Whether the count reaches its end with this step.
fn count_down(left: &mut Option<usize>) -> bool {
    match left {
        Some(count) if *count > 1 => {
            *count -= 1;
            false
        }
        Some(count) => std::mem::replace(count, 0) == 1,
        None => false,
    }
}

/// All rows that an engine holds, those past their time included.
fn survivors(engine: &Engine) -> Checked<Rows> {
    engine.check().map_err(|what| format!("{STRUCTURE}: {what}"))?;
    let mut rows = Rows::default();
    for db in 0..DATABASES {
        let visit = |_, key: &[u8], found: cairn_storage::engine::Found<'_>| {
            rows.put(db, key.into(), Row { value: Rc::new(found.value.to_vec()), expire_ms: found.expire_ms });
            ControlFlow::Continue(())
        };
        engine.scan(db, 0, visit).map_err(|missing| format!("{STRUCTURE}: {missing:?}"))?;
    }
    Ok(rows)
}
