//! Many seeds, one after the other or several at once. The library behind `cairn sim`.

use super::shard::{ImageId, RoundId, run_across, run_faults, run_histories, run_images, run_transactions};
use super::{Failure, Figures, Planted, run};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Runs the server's logic on simulated disks and networks that fail, and checks that no promise is broken.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct SimArgs {
    /// Seeds to run
    #[arg(long, default_value_t = 1000, value_name = "COUNT")]
    pub seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    pub first: u64,
    /// Run this seed only
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    pub seed: Option<u64>,
    /// Make so many crash images of single shards instead: at each operation of a run, and of a recovery, everything that is
    /// not yet stable is lost, kept, overtaken or torn in many ways, and what comes back is checked. 100000 take minutes
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["seeds", "seed", "faults"])]
    pub crash_images: Option<u64>,
    /// Make so many crash images of several shards instead, with transactions over them: on all shards or on none
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["seeds", "seed", "faults", "crash_images"])]
    pub transactions: Option<u64>,
    /// Make histories of so many operations instead: what clients ask of several shards, transactions included, and are answered, with
    /// crashes and disks that fail, judged as `cairn verify` judges a server
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["seeds", "faults", "crash_images", "transactions"])]
    pub histories: Option<u64>,
    /// Have the model judge so many commands and transactions over two and three shards instead, collections of every kind included, with crashes,
    /// lost connections and disks that fail
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["seeds", "faults", "crash_images", "transactions", "histories"])]
    pub across: Option<u64>,
    /// Only this image, of --crash-images or --transactions
    #[arg(long, value_name = "RUN:OPERATION:IMAGE")]
    pub image: Option<ImageId>,
    /// Inject so many I/O faults into single shards instead: while they run, make checkpoints and recover, operations fail,
    /// fall short, find no room or bring something else, and what was stable goes bad. 1000000 take minutes
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["seeds", "seed"])]
    pub faults: Option<u64>,
    /// Only this round
    #[arg(long, value_name = "RUN:ROUND", requires = "faults")]
    pub round: Option<RoundId>,
    /// Have a known bug: the run must then fail
    #[arg(long, value_name = "NAME", value_parser = Planted::parser())]
    pub bug: Option<Planted>,
    /// Print all that happens
    #[arg(short, long, requires = "seed")]
    pub verbose: bool,
    /// Threads; each runs seeds of its own
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub jobs: u8,
    /// No progress display
    #[arg(short, long)]
    pub quiet: bool,
}

const AFTER_HELP: &str = "\
A failure names the check that was broken, shows the end of the run and the command that repeats it; the exit status
is then 1. The same seed of the same build is the same run.

Examples:
  cairn sim --seeds 10000 --jobs 2
  cairn sim --seed 17 --verbose
  cairn sim --bug ignore-short-write
  cairn sim --crash-images 100000
  cairn sim --faults 1000000 --jobs 2
  cairn sim --transactions 100000 --jobs 2
  cairn sim --histories 1000000 --jobs 2
  cairn sim --histories 1 --seed 17 --verbose
  cairn sim --across 1000000 --jobs 2

To run more, ask for more: every count goes on with further seeds. --first begins elsewhere.";

/// Makes as many of something as are asked for.
type List = fn(&SimArgs, u64) -> ExitCode;

/// The state of all threads.
struct Shared {
    next: AtomicU64,
    end: u64,
    is_over: AtomicBool,
}

/// Runs what the command line asks for, and prints what came of it.
#[must_use]
pub fn run_all(args: &SimArgs) -> ExitCode {
    let lists: [(Option<u64>, List); 5] = [
        (args.crash_images, run_images),
        (args.transactions, run_transactions),
        (args.histories, run_histories),
        (args.across, run_across),
        (args.faults, run_faults),
    ];
    if let Some((Some(count), run)) = lists.into_iter().find(|(count, _)| count.is_some()) {
        return run(args, count);
    }
    let (first, count) = args.seed.map_or((args.first, args.seeds), |seed| (seed, 1));
    let begun = Instant::now();
    let mut sum = Figures::default();
    let mut done = 0;
    let bar = progress(count, args.quiet || args.verbose);
    let failure = drive(args, first, count, &mut |figures| {
        sum += figures;
        done += 1;
        bar.set_position(done);
        if done.is_multiple_of(16) {
            bar.set_message(format!("{} commands, {} crashes", sum.commands, sum.crashes));
        }
    });
    bar.finish_and_clear();
    if let Some(failure) = failure {
        println!("{failure}");
        return ExitCode::FAILURE;
    }
    let Figures {
        commands,
        crashes,
        shutdowns,
        recoveries_cut,
        redos,
        collections,
        large,
        writes_failed,
        space_lost,
        harms,
        rots,
        rots_found,
        rots_mended,
        pages_rotten,
        redos_blocked,
        floods,
        checkpoints,
        page_ops,
        page_reads,
        begun: collections_begun,
        handovers: _,
        page_writes_failed,
        pages_reported,
        unusable,
        stuck,
        saves,
        saves_failed,
        lastsaves,
        events,
        hash,
    } = sum;
    println!(
        "{count} seeds from {first} pass in {:.1} s: {commands} commands, {crashes} crashes ({shutdowns} after a shutdown), {recoveries_cut} in recovery, {redos} shards with something to redo, {collections} collections ({large} large, {collections_begun} begun by transactions over several shards), \
         {writes_failed} failed writes, {space_lost} segments without space, {harms} damaged logs, {rots} damaged while they were written ({rots_found} found, {rots_mended} mended by checkpoints), {floods} turns with a flooded log; \
         {checkpoints} checkpoints, {page_ops} page operations ({page_reads} reads, {page_writes_failed} failed), {pages_reported} damaged page files, {pages_rotten} pages damaged while they were in use (redo held up {redos_blocked} times), {unusable} commands without their page, {stuck} without room for it, {saves} SAVEs and {saves_failed} refused, {lastsaves} LASTSAVEs; {events} events, \
         hash {hash:016x}",
        begun.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}

/// Runs seeds and hands out their figures in the order of seeds, up to the first failure, which is the result.
fn drive(args: &SimArgs, first: u64, count: u64, take: &mut dyn FnMut(Figures)) -> Option<Failure> {
    let end = first.saturating_add(count);
    let shared = Shared { next: AtomicU64::new(first), end, is_over: AtomicBool::new(false) };
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..args.jobs {
            let (sender, shared) = (sender.clone(), &shared);
            scope.spawn(move || work(args, shared, &sender));
        }
        drop(sender);
        let (mut expected, mut early) = (first, BTreeMap::new());
        for (seed, outcome) in receiver {
            early.insert(seed, outcome);
            while let Some(outcome) = early.remove(&expected) {
                expected += 1;
                match outcome {
                    Ok(figures) => take(figures),
                    Err(failure) => {
                        shared.is_over.store(true, Ordering::Relaxed);
                        return Some(failure);
                    }
                }
            }
        }
        None
    })
}

fn work(args: &SimArgs, shared: &Shared, sender: &mpsc::Sender<(u64, Result<Figures, Failure>)>) {
    while !shared.is_over.load(Ordering::Relaxed) {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if seed >= shared.end {
            break;
        }
        // Whoever waits for this may have a failure already, and be gone.
        if sender.send((seed, run(seed, args.bug, args.verbose))).is_err() {
            break;
        }
    }
}

/// A bar on a terminal, and nothing elsewhere.
pub(super) fn progress(count: u64, is_quiet: bool) -> ProgressBar {
    if is_quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr_with_hz(5));
    let style = ProgressStyle::with_template("sim [{wide_bar}] {pos}/{len} {msg}, {eta} left");
    bar.set_style(style.expect("the template is a constant"));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
