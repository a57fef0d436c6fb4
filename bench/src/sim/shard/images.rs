//! Crash images: what the disks of a shard may hold after a crash that comes just before an operation of a run ends, and
//! whether recovery makes the right thing of each.
//!
//! At each operation but reads the run stops and the disks are copied. Everything that is in flight or in the device's cache is
//! then kept, lost, overtaken or torn in many ways ([`Keep`]); recovery's own operations are cut in the same way. After each
//! recovery the whole shard is checked, and its rows are compared with the ledger.

use super::course::{ImageId, Images};
use super::ledger::Ledger;
use super::steps::Taste;
use super::{Kind, Media, Shard, Stopped, told};
use crate::model::Rows;
use crate::sim::faults::Planted;
use crate::sim::opening::{Halt, Trouble};
use crate::sim::verdict::{Keep, Verdict};
use fastrand::Rng;
use std::cell::RefCell;
use std::rc::Rc;

/// Steps of a run between two of its own crashes, and how many crashes there are.
const STEPS: usize = 60;
const ROUNDS: usize = 3;

/// Of the things that a crash leaves open, so many are each kept alone, and lost alone.
const SINGLES_MAX: usize = 5;

/// At one operation in so many, recovery is cut at each of its own operations.
const RECOVERY_IN: u32 = 3;

/// Ways in which an image comes about, as figures name them.
pub const WAYS: [&str; 8] = [
    "everything open lost",
    "everything open kept",
    "one thing kept alone",
    "one thing lost alone",
    "torn",
    "reordered as wholes",
    "sectors by chance",
    "process killed",
];

const KILLED: usize = 7;

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub images: u64,
    pub by_way: [u64; WAYS.len()],
    pub by_kind: [u64; Kind::ALL.len()],
    /// Of these, those cut while an earlier one was being recovered.
    pub in_recovery: u64,
    pub recoveries: u64,
    pub rows: u64,
    /// Operations that images were made at, and runs that they were of.
    pub operations: u64,
    pub runs: u64,
}

impl Images<Figures> {
    /// An operation of this kind is about to end.
    pub fn look(&mut self, media: &Media, ledger: &Ledger, taste: Taste, kind: Kind) -> Result<(), Stopped> {
        self.next_operation();
        self.figures.operations += 1;
        let mut rng = self.rng();
        let before = Before { media, ledger, taste, kind };
        let (things, longest) = before.open_things(&mut rng);
        for (way, keep) in ways(things, longest, &mut rng) {
            self.image(before, way, |media, rng| media.strike(true, &mut Verdict::new(keep, rng)))?;
        }
        for keep in [Keep::Chance, Keep::Some] {
            self.image(before, KILLED, |media, rng| media.strike(false, &mut Verdict::new(keep, rng)))?;
        }
        if rng.u32(..RECOVERY_IN) == 0 {
            let first = [Keep::None, Keep::All, Keep::Chance][rng.usize(..3)];
            self.cut_recovery(before, first, rng.bool())?;
        }
        Ok(())
    }

    /// Makes an image, unless it is another one that is wanted, and looks at it.
    fn image(
        &mut self,
        before: Before<'_>,
        way: usize,
        crash: impl FnOnce(&mut Media, &mut Rng),
    ) -> Result<(), Stopped> {
        if !self.next_image() {
            return Ok(());
        }
        let (mut media, mut rng) = (before.media.clone(), self.rng());
        crash(&mut media, &mut rng);
        self.figures.images += 1;
        self.figures.by_way[way] += 1;
        self.figures.by_kind[before.kind as usize] += 1;
        if way == KILLED {
            self.judge_shown(before, media.clone(), &mut rng).map_err(Stopped::Broken)?;
        }
        self.judge(before, media, &mut rng).map_err(Stopped::Broken)?;
        self.passed()
    }

    /// Recovers an image, in the memory of the run and in one that holds everything, and compares both with the ledger.
    fn judge(&mut self, before: Before<'_>, mut media: Media, rng: &mut Rng) -> Result<(), String> {
        if before.taste.is_tight() {
            let mut copy = media.clone();
            let mut files = copy.files(self.planted, rng);
            let (mut engine, end) = files.open(&mut Trouble::default(), before.taste.memory_bytes()).map_err(told)?;
            let mut rows = Rows::default();
            files.read_all(&mut engine, &mut rows).map_err(told)?;
            before.ledger.judge(end, &rows)?;
            self.figures.recoveries += 1;
        }
        let (rows, end) = media.inspect(self.planted, rng).map_err(told)?;
        before.ledger.judge(end, &rows)?;
        self.figures.recoveries += 1;
        self.figures.rows += (0..crate::model::DATABASES).map(|db| rows.len(db) as u64).sum::<u64>();
        Ok(())
    }

    /// What recovery has found after a kill anybody may have read, though it was in the device's cache only: a power cut right
    /// after it takes none of it back.
    fn judge_shown(&mut self, before: Before<'_>, mut media: Media, rng: &mut Rng) -> Result<(), String> {
        let opened = media.open(self.planted, before.taste.memory_bytes(), &mut Trouble::default(), rng);
        let (_, shown) = opened.map_err(told)?;
        media.strike(true, &mut Verdict::new(Keep::None, rng));
        let (rows, end) = media.inspect(self.planted, rng).map_err(told)?;
        self.figures.recoveries += 2;
        if end < shown {
            return Err(format!(
                "a read is never taken back: recovery has shown what was done up to {shown}, {end} is left"
            ));
        }
        before.ledger.judge(end, &rows)
    }

    /// After one crash, recovery meets another at each of the operations with which it changes something.
    fn cut_recovery(&mut self, before: Before<'_>, first: Keep, is_power_cut: bool) -> Result<(), Stopped> {
        let planted = self.planted;
        let mut crashed = before.media.clone();
        crashed.strike(is_power_cut, &mut Verdict::new(first, &mut self.rng()));
        let before = Before { media: &crashed, ..before };
        for cut in 1.. {
            let (mut media, mut rng) = (crashed.clone(), self.rng());
            let mut trouble = Trouble { cut: Some(cut), cuts_at_changes: true, ..Trouble::default() };
            match media.open(planted, before.taste.memory_bytes(), &mut trouble, &mut rng) {
                Ok(_) => return Ok(()),
                Err(Halt::Cut) => {}
                Err(halt) => return Err(Stopped::Broken(told(halt))),
            }
            let cut_off = Before { media: &media, ..before };
            for (way, keep) in [(0, Keep::None), (1, Keep::All), (6, Keep::Chance), (5, Keep::Some)] {
                self.figures.in_recovery += 1;
                self.image(cut_off, way, |media, rng| media.strike(true, &mut Verdict::new(keep, rng)))?;
            }
        }
        Ok(())
    }
}

/// What a run is at.
#[derive(Clone, Copy)]
struct Before<'a> {
    media: &'a Media,
    ledger: &'a Ledger,
    taste: Taste,
    kind: Kind,
}

impl Before<'_> {
    /// How many things a power cut leaves open, and which of them is the longest, of how many sectors.
    fn open_things(&self, rng: &mut Rng) -> (usize, (usize, usize)) {
        let mut verdict = Verdict::new(Keep::None, rng);
        self.media.clone().strike(true, &mut verdict);
        (verdict.things(), verdict.longest())
    }
}

/// Ways to leave so many things.
fn ways(things: usize, (longest, sectors): (usize, usize), rng: &mut Rng) -> Vec<(usize, Keep)> {
    let mut ways = vec![(0, Keep::None)];
    if things == 0 {
        return ways;
    }
    ways.push((1, Keep::All));
    if things > 1 {
        let mut singles: Vec<usize> = (0..things).collect();
        rng.shuffle(&mut singles);
        singles.truncate(SINGLES_MAX);
        ways.extend(singles.iter().flat_map(|thing| [(2, Keep::Only(*thing)), (3, Keep::AllBut(*thing))]));
        ways.extend([(5, Keep::Some); 2]);
    }
    if sectors > 1 {
        for at in [1, rng.usize(1..sectors), sectors - 1] {
            ways.extend([(4, Keep::Front(longest, at)), (4, Keep::Back(longest, at))]);
        }
    }
    ways.extend([(6, Keep::Chance); 4]);
    ways
}

/// The images of one run, at most so many, or only one.
pub fn run(
    seed: u64,
    planted: Option<Planted>,
    only: Option<ImageId>,
    left: u64,
) -> Result<Figures, (ImageId, String)> {
    let figures = Figures { runs: 1, ..Figures::default() };
    Images::new(seed, planted, only, left, figures).of(|images| drive(seed, planted, images))
}

fn drive(seed: u64, planted: Option<Planted>, images: &Rc<RefCell<Images<Figures>>>) -> Result<(), Stopped> {
    let mut shard = Shard::new(Taste::of(seed), planted, seed)?;
    shard.fill()?;
    shard.images = Some(Rc::clone(images));
    for _ in 0..ROUNDS {
        for _ in 0..STEPS {
            shard.step()?;
        }
        shard = shard.crash()?;
    }
    Ok(())
}
