//! Many crash images, injected faults or operations of histories, over as many runs as it takes: `cairn sim --crash-images`,
//! `--transactions`, `--faults`, `--histories` and `--across`.

use super::course::ImageId;
use super::images::{self, WAYS};
use super::injected::{self, RoundId};
use super::txns::{self, Figures as Txns};
use super::{Kind, images::Figures as Images, injected::Figures as Faults};
use crate::sim::Failure;
use crate::sim::across::{self, Figures as Across};
use crate::sim::histories::{self, Figures as Histories};
use crate::sim::many::{SimArgs, progress};
use std::fmt::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// What the runs of a list come to, and how many of what is counted there are in it.
trait Sum: Default + Send + fmt::Display {
    fn add(&mut self, other: Self);
    fn count(&self) -> u64;
}

/// A check that was broken.
struct Broken {
    what: String,
    /// The option that repeats it.
    repeat: String,
}

/// Makes the crash images that the command line asks for.
pub fn run_images(args: &SimArgs, count: u64) -> ExitCode {
    let only = args.image;
    let broken = |(id, what): (ImageId, String)| Broken { what, repeat: format!("--crash-images 1 --image {id}") };
    let seed = only.map(|only| only.seed);
    list(args, count, seed, |seed, left| images::run(seed, args.bug, only, left).map_err(broken))
}

/// Makes the crash images of several shards with transactions over them that the command line asks for.
pub fn run_transactions(args: &SimArgs, count: u64) -> ExitCode {
    let only = args.image;
    let broken = |(id, what): (ImageId, String)| Broken { what, repeat: format!("--transactions 1 --image {id}") };
    let seed = only.map(|only| only.seed);
    list(args, count, seed, |seed, left| txns::run(seed, args.bug, only, left).map_err(broken))
}

/// Makes the histories that the command line asks for.
pub fn run_histories(args: &SimArgs, count: u64) -> ExitCode {
    list(args, count, args.seed, |seed, _| histories::run(seed, args.bug, args.verbose).map_err(broken))
}

/// Has the model judge as many units over several shards as the command line asks for.
pub fn run_across(args: &SimArgs, count: u64) -> ExitCode {
    list(args, count, args.seed, |seed, _| across::run(seed, args.bug, args.verbose).map_err(broken))
}

fn broken(failure: Failure) -> Broken {
    print!("{}", failure.tail);
    Broken { what: failure.what, repeat: format!("{} --seed {} --verbose", failure.of.trim_start(), failure.seed) }
}

/// Injects the faults that the command line asks for.
pub fn run_faults(args: &SimArgs, count: u64) -> ExitCode {
    let only = args.round;
    let broken = |(id, what): (RoundId, String)| Broken { what, repeat: format!("--faults 1 --round {id}") };
    let seed = only.map(|only| only.seed);
    // A round is repeated as a whole, however many faults it has.
    let left_of = |left| if only.is_some() { u64::MAX } else { left };
    list(args, count, seed, |seed, left| injected::run(seed, args.bug, only, left_of(left)).map_err(broken))
}

/// Runs seeds until there are as many as are asked for; or one.
fn list<T: Sum>(
    args: &SimArgs,
    count: u64,
    only: Option<u64>,
    run: impl Fn(u64, u64) -> Result<T, Broken> + Sync,
) -> ExitCode {
    let begun = Instant::now();
    let bar = progress(count, args.quiet);
    let (next, is_over) = (AtomicU64::new(only.unwrap_or(args.first)), AtomicBool::new(false));
    let state = Mutex::new((T::default(), None));
    let work = || {
        while !is_over.load(Ordering::Relaxed) {
            let left = count.saturating_sub(state.lock().expect("nobody panics with it").0.count());
            if left == 0 {
                return;
            }
            let ran = run(next.fetch_add(1, Ordering::Relaxed), left);
            let mut state = state.lock().expect("nobody panics with it");
            match ran {
                Ok(figures) => state.0.add(figures),
                Err(broken) => state.1 = Some(broken),
            }
            bar.set_position(state.0.count());
            if only.is_some() || state.1.is_some() {
                is_over.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        (0..args.jobs).for_each(|_| drop(scope.spawn(work)));
    });
    bar.finish_and_clear();
    let (sum, broken) = state.into_inner().expect("nobody panics with it");
    if let Some(Broken { what, repeat }) = broken {
        let bug = args.bug.map_or(String::new(), |bug| format!(" --bug {bug}"));
        println!(
            "after {} that were right, a check is broken: {what}\nrepeat it: cairn sim {repeat}{bug}",
            sum.count()
        );
        return ExitCode::FAILURE;
    }
    println!("{sum}in {:.1} s: nothing acknowledged is lost, nothing is wrong", begun.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

impl Sum for Images {
    fn add(&mut self, other: Images) {
        let add = |sum: &mut [u64], other: &[u64]| sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
        self.images += other.images;
        add(&mut self.by_way, &other.by_way);
        add(&mut self.by_kind, &other.by_kind);
        self.in_recovery += other.in_recovery;
        self.recoveries += other.recoveries;
        self.rows += other.rows;
        self.operations += other.operations;
        self.runs += other.runs;
    }

    fn count(&self) -> u64 {
        self.images
    }
}

impl fmt::Display for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Images { images, in_recovery, recoveries, rows, operations, runs, .. } = self;
        heading(f, *images, *operations, *runs, *in_recovery)?;
        for (name, count) in WAYS.iter().zip(&self.by_way) {
            writeln!(f, "{count:>9}  {name}")?;
        }
        for (kind, count) in Kind::ALL.iter().zip(&self.by_kind).filter(|(_, count)| **count > 0) {
            writeln!(f, "{count:>9}  at {}", kind.name())?;
        }
        writeln!(f, "{recoveries} recoveries, {rows} rows compared")
    }
}

impl Sum for Faults {
    fn add(&mut self, other: Faults) {
        for (name, count) in other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        self.rounds += other.rounds;
        self.recoveries += other.recoveries;
        self.rows += other.rows;
        self.refused += other.refused;
        self.refused_starts += other.refused_starts;
    }

    fn count(&self) -> u64 {
        self.faults.values().sum()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Faults { rounds, recoveries, rows, refused, refused_starts, .. } = self;
        let mut lines = String::new();
        for ((place, what), count) in &self.faults {
            writeln!(lines, "{count:>9}  {place}: {what}")?;
        }
        writeln!(f, "{} injected faults in {rounds} rounds\n{}", self.count(), lines.trim_end())?;
        writeln!(
            f,
            "{refused} commands and {refused_starts} starts refused, {recoveries} recoveries, {rows} rows compared"
        )
    }
}

impl Sum for Txns {
    fn add(&mut self, other: Txns) {
        self.images += other.images;
        self.in_recovery += other.in_recovery;
        self.operations += other.operations;
        self.runs += other.runs;
        self.committed += other.committed;
        self.aborted += other.aborted;
        self.found_committed += other.found_committed;
        self.found_aborted += other.found_aborted;
        self.checkpoints += other.checkpoints;
        self.logs_failed += other.logs_failed;
    }

    fn count(&self) -> u64 {
        self.images
    }
}

impl fmt::Display for Txns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Txns { images, in_recovery, operations, runs, .. } = self;
        heading(f, *images, *operations, *runs, *in_recovery)?;
        let Txns { committed, aborted, found_committed, found_aborted, checkpoints, logs_failed, .. } = self;
        writeln!(f, "{committed:>9}  transactions acknowledged\n{aborted:>9}  refusals that somebody saw")?;
        writeln!(f, "{found_committed:>9}  transactions that recovery found undecided and committed")?;
        writeln!(f, "{found_aborted:>9}  transactions that recovery found undecided and aborted")?;
        writeln!(f, "{checkpoints:>9}  checkpoints\n{logs_failed:>9}  logs that failed for ever")
    }
}

impl Sum for Histories {
    fn add(&mut self, other: Histories) {
        *self += other;
    }

    fn count(&self) -> u64 {
        self.committed + self.aborted + self.unknown
    }
}

impl fmt::Display for Histories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Histories { runs, committed, aborted, unknown, across, refused, cut_off, .. } = self;
        writeln!(f, "{} operations in {runs} runs, {across} of them over several shards", self.count())?;
        writeln!(f, "{committed:>9}  committed\n{aborted:>9}  refused, so that nothing has happened")?;
        writeln!(f, "{unknown:>9}  of which nobody was told what became of them")?;
        writeln!(f, "{refused:>9}  refused because of a disk\n{cut_off:>9}  cut off")?;
        self.lives.fmt(f)
    }
}

impl Sum for Across {
    fn add(&mut self, other: Across) {
        *self += other;
    }

    fn count(&self) -> u64 {
        self.answered + self.cut_off + self.oom + self.ended
    }
}

impl fmt::Display for Across {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Across { runs, answered, refused, cut_off, oom, ended, unjudged, states_max, .. } = self;
        writeln!(f, "{} commands and transactions in {runs} runs", self.count())?;
        writeln!(f, "{answered:>9}  answered\n{refused:>9}  refused because of a disk\n{cut_off:>9}  cut off")?;
        writeln!(f, "{oom:>9}  for which memory was too small\n{ended:>9}  ended because they waited for others")?;
        writeln!(f, "{unjudged:>9}  replies and crashes with too much under way to be judged")?;
        writeln!(f, "{states_max:>9}  states that were possible at a time at most")?;
        let Across { rows, collections, large, .. } = self;
        writeln!(f, "{rows:>9}  rows that came back, {collections} of them collections ({large} large)")?;
        self.lives.fmt(f)
    }
}

fn heading(f: &mut fmt::Formatter<'_>, images: u64, operations: u64, runs: u64, in_recovery: u64) -> fmt::Result {
    writeln!(
        f,
        "{images} crash images of {operations} operations in {runs} runs, {in_recovery} of them cut in recovery"
    )
}
