//! Several shards come back together, as the server opens them; and the crash images of a run.

use super::truth::{Numbers, Truth};
use super::{Figures, KEYS, Planted, Stopped, config, number_of};
use crate::model::Rows;
use crate::sim::opening::{Files, Halt, Trouble};
use crate::sim::restart::MEMORY_BYTES;
use crate::sim::shard::course::Images;
use crate::sim::shard::{Media, told};
use crate::sim::verdict::{Keep, Verdict};
use cairn_storage::engine::Engine;
use cairn_storage::txn::{Decisions, Tail};
use cairn_storage::units::Lsn;
use fastrand::Rng;

/// At one operation in so many, recovery is cut at each of its own operations.
const RECOVERY_IN: u32 = 40;

/// What a crash is and leaves: all of them take their turns, so many at each operation.
const CRASHES: [(bool, Keep); 5] =
    [(true, Keep::None), (true, Keep::Some), (true, Keep::All), (true, Keep::Chance), (false, Keep::Chance)];
const WAYS: usize = 2;

fn files<'a>(media: &'a mut Media, shard: usize, rng: &'a mut Rng) -> Files<'a> {
    let Media { disk, pages } = media;
    let config = config(shard);
    Files { config, planted: None, must_prepare: false, disk, pages: Some(pages), rng, took_ns: 0 }
}

/// Opens all shards. Answers the engines, the ends of their logs, and how many transactions were decided.
pub fn open(
    media: &mut [Media],
    memory_bytes: u64,
    trouble: &mut Trouble,
    planted: Option<Planted>,
    rng: &mut Rng,
) -> Result<(Vec<Engine>, Vec<Lsn>, Decisions), Halt> {
    let mut scanned = Vec::new();
    for (shard, media) in media.iter_mut().enumerate() {
        scanned.push(files(media, shard, rng).scan(trouble, memory_bytes)?);
    }
    let tails: Vec<Tail> = scanned.iter_mut().map(|scanned| scanned.tail().clone()).collect();
    let bug = planted.and_then(Planted::txn);
    let decisions = Decisions::with_bug(&tails, tails.len() as u16, bug)?;
    let (mut engines, mut ends) = (Vec::new(), Vec::new());
    for ((shard, media), scanned) in media.iter_mut().enumerate().zip(scanned) {
        let (mut engine, end) = files(media, shard, rng).finish(scanned, &decisions, trouble)?;
        engine.plant(bug);
        media.disk.opened(end);
        engines.push(engine);
        ends.push(end);
    }
    Ok((engines, ends, decisions))
}

/// Opens all shards in memory enough for everything, and checks all their structures. Answers their rows.
pub fn inspect(
    media: &mut [Media],
    planted: Option<Planted>,
    rng: &mut Rng,
) -> Result<(Vec<Numbers>, Vec<Lsn>, Decisions), String> {
    let (engines, ends, decisions) = open(media, MEMORY_BYTES, &mut Trouble::default(), planted, rng).map_err(told)?;
    let mut found = Vec::new();
    for ((shard, media), mut engine) in media.iter_mut().enumerate().zip(engines) {
        let mut files = files(media, shard, rng);
        files.bring_in(&mut engine).map_err(told)?;
        engine.check().map_err(|what| format!("trees are sound: {what}"))?;
        let mut rows = Rows::default();
        files.read_all(&mut engine, &mut rows).map_err(told)?;
        let of_database =
            |db: u8| rows.iter(db).map(move |(key, row)| Ok((db * KEYS + key[0], number_of(&row.value)?)));
        found.push((0..2).flat_map(of_database).collect::<Result<_, String>>()?);
    }
    Ok((found, ends, decisions))
}

impl Images<Figures> {
    /// An operation is about to end: what could a crash leave now?
    pub fn look(&mut self, media: &[Media], truth: &Truth) -> Result<(), Stopped> {
        self.next_operation();
        self.figures.operations += 1;
        for way in 0..WAYS {
            let at = (self.now.operation as usize + way * WAYS) % CRASHES.len();
            let (is_power_cut, keep) = CRASHES[at];
            self.image(media, truth, is_power_cut, keep)?;
        }
        if self.rng().u32(..RECOVERY_IN) == 0 {
            self.cut_recovery(media, truth)?;
        }
        Ok(())
    }

    /// Makes an image, unless it is another one that is wanted, and looks at it.
    fn image(&mut self, media: &[Media], truth: &Truth, is_power_cut: bool, keep: Keep) -> Result<(), Stopped> {
        if !self.next_image() {
            return Ok(());
        }
        let (mut media, mut rng) = (media.to_vec(), self.rng());
        strike(&mut media, is_power_cut, keep, &mut rng);
        self.figures.images += 1;
        let (found, ends, decisions) = inspect(&mut media, self.planted, &mut rng).map_err(Stopped::Broken)?;
        truth.judge(&ends, &found).map_err(Stopped::Broken)?;
        self.figures.decide(&decisions);
        self.passed()
    }

    /// After one crash, recovery meets another at each of the operations with which it changes something.
    fn cut_recovery(&mut self, media: &[Media], truth: &Truth) -> Result<(), Stopped> {
        let mut crashed = media.to_vec();
        let is_power_cut = self.rng().bool();
        strike(&mut crashed, is_power_cut, Keep::Chance, &mut self.rng());
        for cut in 1.. {
            let (mut media, mut rng) = (crashed.clone(), self.rng());
            let mut trouble = Trouble { cut: Some(cut), cuts_at_changes: true, ..Trouble::default() };
            match open(&mut media, MEMORY_BYTES, &mut trouble, self.planted, &mut rng) {
                Ok(_) => return Ok(()),
                Err(Halt::Cut) => {}
                Err(halt) => return Err(Stopped::Broken(told(halt))),
            }
            for keep in [Keep::None, Keep::All, Keep::Chance] {
                self.figures.in_recovery += 1;
                self.image(&media, truth, true, keep)?;
            }
        }
        Ok(())
    }
}

/// A crash of all shards.
pub fn strike(media: &mut [Media], is_power_cut: bool, keep: Keep, rng: &mut Rng) {
    for media in media {
        media.strike(is_power_cut, &mut Verdict::new(keep, rng));
    }
}
