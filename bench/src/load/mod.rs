//! The load generator: drives any server that speaks the Redis protocol, and measures it. The library behind
//! `cairn bench`.
//!
//! [`BenchArgs`] is the command line, [`Plan`] the run it describes, [`drive`] performs it with one `Driver` a
//! thread (epoll, no locks), [`Report`] is the result. A request's way: `template` renders it, `schedule` says when
//! (open loop), `connection` sends it, `scanner` finds its reply, `stats` counts it.

mod args;
pub(crate) mod connection;
mod driver;
mod error;
mod limits;
mod plan;
mod plot;
pub(crate) mod process;
mod progress;
mod report;
mod scanner;
mod schedule;
mod stats;
mod template;
mod timeline;
mod verify;

use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

pub use args::BenchArgs;
pub use connection::{Greeting, Target};
pub use error::LoadError;
pub use plan::{GroupPlan, Limit, Mix, Plan};
pub use report::{CommandReport, CpuReport, GroupReport, Report};
pub use template::{Context, Template};
pub use timeline::{CheckpointReport, SecondReport};

use connection::Connection;
use driver::{Counters, Driver, Outcome, Shared};
use process::Usage;
use progress::Progress;
use timeline::watch_checkpoints;

/// Runs what the command line asks for, and prints it.
#[must_use]
pub fn run(args: &BenchArgs) -> ExitCode {
    const WRONG_ARGUMENTS: u8 = 2;
    const NOT_CLEAN: u8 = 3;
    match execute(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_CLEAN),
        Err(error) => {
            eprintln!("cairn bench: {error}");
            if let LoadError::Connect { source, .. } = &error
                && source.kind() == std::io::ErrorKind::ConnectionRefused
            {
                eprintln!(
                    "cairn bench: nothing listens there: start the server, or name it with --host, --port or --socket"
                );
            }
            if matches!(error, LoadError::Invalid(_)) { ExitCode::from(WRONG_ARGUMENTS) } else { ExitCode::FAILURE }
        }
    }
}

/// True when nothing went wrong.
fn execute(args: &BenchArgs) -> Result<bool, LoadError> {
    // Wrong arguments of the run are named before the key space is filled.
    let plan = if args.load_only { None } else { Some(args.plan()?) };
    if args.load || args.load_only {
        let plan = args.load_plan()?;
        let report = fill(&plan, args.quiet)?;
        if !args.json || args.load_only {
            print_report(&BenchArgs { timeline: None, ..args.clone() }, &report)?;
        }
    }
    let Some(plan) = plan else { return Ok(true) };
    let report = drive(&plan, Progress::new(&plan, "bench", args.quiet))?;
    print_report(args, &report)?;
    Ok(report.is_clean())
}

fn print_report(args: &BenchArgs, report: &Report) -> Result<(), LoadError> {
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    let mut files = args.hdr.as_ref().map_or(Vec::new(), |path| report.hgrm_files(path));
    files.extend(args.timeline.as_ref().map(|path| (path.clone(), plot::svg(report))));
    for (path, text) in files {
        let failed = |source| LoadError::Output { path: path.display().to_string(), source };
        std::fs::write(&path, text).map_err(failed)?;
    }
    Ok(())
}

/// Sets each key once; an error reply or a missing one ends it.
fn fill(plan: &Plan, quiet: bool) -> Result<Report, LoadError> {
    let report = drive(plan, Progress::new(plan, "load", quiet))?;
    let total = &report.groups[0].total;
    let keys = plan.groups[0].keys;
    match &total.first_error {
        Some(first) => Err(LoadError::NotLoaded { errors: total.errors, first: first.clone() }),
        None if total.answered < keys => Err(LoadError::LoadUnanswered { missing: keys - total.answered, keys }),
        None => Ok(report),
    }
}

/// Performs a run without showing anything.
pub fn measure(plan: &Plan) -> Result<Report, LoadError> {
    drive(plan, Progress::Silent)
}

/// Performs a run.
fn drive(plan: &Plan, mut progress: Progress) -> Result<Report, LoadError> {
    raise_file_limit(plan);
    // The calling thread keeps off the CPUs of the server as well.
    pin(&plan.cpus)?;
    let mut connections = connect_all(plan)?;
    let mut shared = Shared::default();
    shared.counters.resize_with(plan.threads as usize, Counters::default);
    let shared = Arc::new(shared);
    let start = Instant::now();
    let (finished, on_finish) = mpsc::channel();
    let measured = thread::scope(|scope| {
        for (index, own) in connections.drain(..).enumerate() {
            let (shared, finished) = (Arc::clone(&shared), finished.clone());
            scope.spawn(move || {
                let cpu = plan.cpus.get(index % plan.cpus.len().max(1)).copied();
                // A timer that fires late would count as the server's latency.
                let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
                let outcome = pin(cpu.as_slice())
                    .and_then(|()| Driver::new(plan, index, shared, own, start))
                    .and_then(Driver::run);
                // The receiver outlives the threads.
                let _ = finished.send(outcome);
            });
        }
        drop(finished);
        let watching = plan.has_timeline.then(|| scope.spawn(|| watch_checkpoints(plan, &shared, start)));
        let measured = watch(plan, &shared, start, &on_finish, &mut progress);
        let checkpoints = watching.map_or(Ok(Vec::new()), |thread| thread.join().expect("watching does not panic"));
        measured.and_then(|(outcomes, used)| Ok((outcomes, used, checkpoints?)))
    });
    progress.finish();
    let (outcomes, used, checkpoints) = measured?;
    let (server, generator, elsewhere_cpus) = used.report(plan.pid);
    Ok(Report { server, elsewhere_cpus, ..Report::new(plan, &outcomes, &checkpoints, generator) })
}

/// The connections, by thread.
fn connect_all(plan: &Plan) -> Result<Vec<Vec<Connection>>, LoadError> {
    let mut threads: Vec<Vec<Connection>> = (0..plan.threads).map(|_| Vec::new()).collect();
    for (index, group) in plan.groups.iter().enumerate() {
        for client in 0..group.clients {
            let connection = Connection::open(&plan.target, &plan.greeting, index, client, plan.verify)?;
            threads[(client % plan.threads) as usize].push(connection);
        }
    }
    Ok(threads)
}

/// Waits for the threads, shows progress, and reads the clocks at both ends of the measured time.
fn watch(
    plan: &Plan,
    shared: &Shared,
    start: Instant,
    on_finish: &mpsc::Receiver<Result<Outcome, LoadError>>,
    progress: &mut Progress,
) -> Result<(Vec<Outcome>, Used), LoadError> {
    const SHOW_EVERY: Duration = Duration::from_millis(200);
    let (from, to) = match plan.limit {
        Limit::Requests(_) => (Duration::ZERO, None),
        Limit::Time { warmup, measured } => (warmup, Some(warmup + measured)),
    };
    let mut first = None;
    let mut last = None;
    let mut outcomes = Vec::new();
    loop {
        let elapsed = start.elapsed();
        if first.is_none() && elapsed >= from {
            first = Some(Account::now(plan, shared)?);
        }
        if last.is_none() && to.is_some_and(|to| elapsed >= to) {
            last = Some(Account::now(plan, shared)?);
        }
        let (answered, errors) = shared.totals();
        progress.update(elapsed, answered, errors);
        let until = |at: Duration| at.checked_sub(elapsed).filter(|left| !left.is_zero()).unwrap_or(SHOW_EVERY);
        let wait = SHOW_EVERY.min(until(from)).min(to.map_or(SHOW_EVERY, until));
        match on_finish.recv_timeout(wait) {
            Ok(outcome) => outcomes.push(outcome),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // The first to fail tells why; the others only ended with it.
    let outcomes = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
    let last = match last {
        Some(last) => last,
        None => Account::now(plan, shared)?,
    };
    Ok((outcomes, first.unwrap_or(last).until(&last)))
}

impl Shared {
    /// Answered requests and error replies of all threads so far.
    fn totals(&self) -> (u64, u64) {
        let sum = |(answered, errors): (u64, u64), c: &Counters| {
            (answered + c.answered.load(Ordering::Relaxed), errors + c.errors.load(Ordering::Relaxed))
        };
        self.counters.iter().fold((0, 0), sum)
    }
}

/// The clocks at one moment.
#[derive(Clone, Copy)]
struct Account {
    at: Instant,
    requests: u64,
    server: Option<Usage>,
    generator: Usage,
    machine_ns: Option<u64>,
}

impl Account {
    fn now(plan: &Plan, shared: &Shared) -> Result<Self, LoadError> {
        let none = |pid| LoadError::NoProcess { pid };
        let usage = |pid| Usage::of(pid).ok_or(none(pid));
        let (answered, errors) = shared.totals();
        Ok(Self {
            at: Instant::now(),
            requests: answered + errors,
            server: plan.pid.map(usage).transpose()?,
            generator: Usage::own().ok_or(none(std::process::id()))?,
            machine_ns: process::machine_busy_ns(),
        })
    }

    fn until(&self, later: &Self) -> Used {
        Used {
            seconds: (later.at - self.at).as_secs_f64(),
            requests: later.requests - self.requests,
            server: later.server.zip(self.server).map(|(to, from)| to.since(from)),
            generator: later.generator.since(self.generator),
            machine_ns: later.machine_ns.zip(self.machine_ns).map(|(to, from)| to.saturating_sub(from)),
        }
    }
}

/// What was used between two accounts.
struct Used {
    seconds: f64,
    requests: u64,
    server: Option<Usage>,
    generator: Usage,
    machine_ns: Option<u64>,
}

impl Used {
    /// The server's part, the generator's, and how many CPUs worked on something else.
    fn report(&self, pid: Option<u32>) -> (Option<CpuReport>, CpuReport, Option<f64>) {
        let seconds = self.seconds.max(1e-9);
        let requests = self.requests.max(1) as f64;
        let cpu = |pid: u32, usage: Usage| {
            let us = usage.cpu_ns as f64 / 1000.0 / requests;
            let switches = usage.switches_voluntary + usage.switches_involuntary;
            CpuReport {
                pid,
                cpu_us_per_request: us,
                user_us_per_request: us * usage.user_share(),
                system_us_per_request: us * (1.0 - usage.user_share()),
                cpus: usage.cpu_ns as f64 / 1e9 / seconds,
                context_switches_per_request: switches as f64 / requests,
                involuntary_switches_per_request: usage.switches_involuntary as f64 / requests,
            }
        };
        let server = pid.zip(self.server).map(|(pid, usage)| cpu(pid, usage));
        let elsewhere = self.machine_ns.zip(self.server).map(|(machine_ns, server)| {
            machine_ns.saturating_sub(server.cpu_ns + self.generator.cpu_ns) as f64 / 1e9 / seconds
        });
        (server, cpu(std::process::id(), self.generator), elsewhere)
    }
}

/// Pins the calling thread; an empty list leaves it as it is.
fn pin(cpus: &[usize]) -> Result<(), LoadError> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = rustix::thread::CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    rustix::thread::sched_setaffinity(None, &set).map_err(LoadError::system("cannot pin a thread (--cpus)"))
}

/// Each client is a file. Where the hard limit is too low, connecting will say so.
fn raise_file_limit(plan: &Plan) {
    const OTHER_FILES: u64 = 64;
    let wanted = plan.groups.iter().map(|g| u64::from(g.clients)).sum::<u64>() + OTHER_FILES;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        let _ = setrlimit(Resource::Nofile, limit);
    }
}
