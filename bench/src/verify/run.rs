//! `cairn verify`: a run from its arguments to its verdict.

use super::args::{Choice, VerifyArgs};
use super::drive::{Deed, Drive, Sum};
use super::server::Server;
use super::window::{Verdict, Verdicts, Windows};
use super::workload::{Bank, Counters, Lists, Pairs, Queues, Registers, Streams, Workload};
use crate::load::connection::{Greeting, Target};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::net::TcpStream;
use std::process::ExitCode;

/// The last database of a server.
const DB_LAST: u32 = 15;

/// Two kills in a row, the second one while the server still makes up for the first.
const KILL_AGAIN_OPERATIONS: u64 = 40;

/// Runs what the command line asks for, and prints what came of it.
#[must_use]
pub fn run(args: &VerifyArgs) -> ExitCode {
    match verify(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(what) => {
            println!("verify could not run: {what}");
            ExitCode::FAILURE
        }
    }
}

fn verify(args: &VerifyArgs) -> Result<bool, String> {
    let mut server = None;
    let target = if args.serve_here {
        let started =
            Server::start(&args.dir, args.port, args.shards, &args.serve).map_err(|error| error.to_string())?;
        let port = server.insert(started).port;
        Target::Tcp { host: "127.0.0.1".to_owned(), port }
    } else {
        let (host, port) = args.address.rsplit_once(':').ok_or("--address is HOST:PORT")?;
        let port = port.parse().map_err(|_| format!("--address: {port} is no port"))?;
        Target::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port }
    };
    let db_other = if args.db < DB_LAST { args.db + 1 } else { args.db - 1 };
    expect_empty(&target, args.db)?;
    if args.operations > args.window {
        expect_empty(&target, db_other)?;
    }
    let (mut verdicts, of) = (Verdicts::default(), args.clone());
    let bar = progress(args);
    let drive = Drive {
        workloads: workloads(args, 0),
        windows: Windows { size: args.window, make: Box::new(move |window| workloads(&of, window)) },
        verdicts: &mut verdicts,
        server: server.as_mut(),
        target: target.clone(),
        greeting: Greeting { db: args.db, ..Greeting::default() },
        db_other,
        operations: args.operations,
        deeds: deeds(args).into(),
        rng: fastrand::Rng::with_seed(args.seed),
        bar: bar.clone(),
    };
    let (sum, ended) = drive.run(args.clients);
    bar.finish_and_clear();
    println!("{}", text_of(args, &target, &sum));
    if verdicts.windows > 1 {
        println!("{} windows, each checked at its end, and what it left at the end of the next", verdicts.windows);
    }
    let is_well = ended.is_ok() && sum.errors == 0 && verdicts.is_sound();
    verdicts.of.iter().for_each(|verdict| show(verdict, verdicts.windows));
    for (window, anomaly) in &verdicts.left {
        println!("  left by window {}: {anomaly}", window + 1);
    }
    if let Some(what) = &sum.first_error {
        println!("{} replies should not have been, the first: {what}", sum.errors);
    }
    if let Err(what) = ended {
        println!("cut short: {what}");
    }
    println!("{}", if is_well { "no anomaly" } else { "NOT as it must be" });
    match server {
        Some(server) if is_well => server.remove().map_err(|error| error.to_string())?,
        Some(server) => println!("the server's data and log are kept in {}", server.dir().display()),
        None => {}
    }
    Ok(is_well)
}

/// Prints what was found of a workload.
fn show(verdict: &Verdict, windows: u64) {
    let Verdict { name, tally, found, seconds } = verdict;
    println!(
        "  {name:<12} {:>9} committed ({} over several shards), {} refused, {} without an answer: {}, checked in {seconds:.1} s",
        tally.committed,
        tally.across,
        tally.aborted,
        tally.unknown,
        if found.is_empty() { "sound".to_owned() } else { format!("{} ANOMALIES", found.len()) },
    );
    for (window, anomaly) in found {
        let window = if windows > 1 { format!("window {}: ", window + 1) } else { String::new() };
        println!("  {window}{anomaly}");
    }
}

/// The workloads of a window.
fn workloads(args: &VerifyArgs, window: u64) -> Vec<Box<dyn Workload>> {
    let VerifyArgs { clients, keys, shards, .. } = *args;
    let seed = args.seed.wrapping_add(window << 32);
    let one = |choice: Choice| -> Box<dyn Workload> {
        match choice {
            Choice::Register => Box::new(Registers::new(seed, clients, keys)),
            Choice::Bank => Box::new(Bank::new(seed, clients, keys, shards)),
            Choice::WriteSkew => Box::new(Pairs::new(seed, clients, shards)),
            Choice::Counter => Box::new(Counters::new(seed, clients, keys, shards)),
            Choice::Queue => Box::new(Queues::new(seed, clients, keys, shards, None)),
            Choice::Stream => Box::new(Streams::new(seed, clients, keys, shards, None)),
            Choice::ListAppend | Choice::All => Box::new(Lists::new(seed, clients, keys, shards)),
        }
    };
    match args.workload {
        Choice::All => {
            let all = Choice::value_variants().iter().filter(|choice| **choice != Choice::All);
            all.map(|choice| one(*choice)).collect()
        }
        choice => vec![one(choice)],
    }
}

/// Kills and checkpoints at random operations.
fn deeds(args: &VerifyArgs) -> Vec<(u64, Deed)> {
    if !args.serve_here {
        return Vec::new();
    }
    let mut rng = fastrand::Rng::with_seed(args.seed ^ 0x6b69_6c6c);
    let mut deeds: Vec<(u64, Deed)> = Vec::new();
    for number in 0..args.kills {
        let at = match deeds.last() {
            Some((last, _)) if number > 0 && rng.u8(..4) == 0 => last + rng.u64(..KILL_AGAIN_OPERATIONS),
            _ => rng.u64(..args.operations),
        };
        deeds.push((at, Deed::Kill));
    }
    deeds.extend((0..=args.kills).map(|_| (rng.u64(..args.operations), Deed::Save)));
    deeds.retain(|(at, _)| *at < args.operations);
    deeds.sort_by_key(|(at, _)| *at);
    deeds
}

/// Old keys would be taken for writes of nobody.
fn expect_empty(target: &Target, db: u32) -> Result<(), String> {
    let Target::Tcp { host, port } = target else { return Ok(()) };
    let failed = |error: io::Error| format!("{target}: {error}");
    let socket = TcpStream::connect((host.as_str(), *port)).map_err(failed)?;
    (&socket).write_all(format!("SELECT {db}\r\nDBSIZE\r\n").as_bytes()).map_err(failed)?;
    let mut lines = BufReader::new(&socket).lines();
    let mut line = || lines.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into())).map_err(failed);
    match (line()?.as_str(), line()?.as_str()) {
        ("+OK", ":0") => Ok(()),
        ("+OK", count) if count.starts_with(':') => {
            Err(format!("database {db} of {target} has {} keys: choose another one (--db), or empty it", &count[1..]))
        }
        (selected, count) => Err(format!("{target}: SELECT {db}: {selected}, DBSIZE: {count}")),
    }
}

fn text_of(args: &VerifyArgs, target: &Target, sum: &Sum) -> String {
    let Sum { operations, seconds, kills, saves, restart_longest, closed, .. } = sum;
    let rate = *operations as f64 / seconds.max(1e-9);
    let mut text = format!("{target}: {operations} operations of {} clients", args.clients);
    if args.serve_here {
        let longest = restart_longest.as_millis();
        text += &format!(", {kills} kills (back in {longest} ms at most), {saves} checkpoints, {} shards", args.shards);
    }
    if *closed > 0 {
        text += &format!(", {closed} connections closed");
    }
    text + &format!(", seed {}: {seconds:.1} s, {rate:.0}/s", args.seed)
}

/// A bar on a terminal, and nothing elsewhere.
fn progress(args: &VerifyArgs) -> ProgressBar {
    if args.quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(args.operations), ProgressDrawTarget::stderr_with_hz(5));
    let style = ProgressStyle::with_template("verify [{wide_bar}] {pos}/{len} {per_sec}, {eta} left");
    bar.set_style(style.expect("the template is a constant"));
    bar
}
