//! `cairn differ`: sequence after sequence, until one differs or it is enough.

use super::args::DifferArgs;
use super::exceptions::EXCEPTIONS;
use super::party::{Kind, Party};
use super::play::{Counts, Difference, Played, play};
use super::sequence::{self, Sequence, Source};
use super::shrink::{revive, shrink};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const SECONDS: u64 = 60;

/// Runs what the command line asks for, and prints what came of it.
#[must_use]
pub fn run(args: &DifferArgs) -> ExitCode {
    let sources = match sequence::sources(&args.families) {
        Ok(sources) => sources,
        Err(what) => {
            println!("{what}");
            return ExitCode::from(2);
        }
    };
    let Some(redis) = args.redis.clone().or_else(|| found("redis-server")) else {
        println!("SKIPPED: there is no redis-server in PATH to compare with (Debian: apt-get install redis-server)");
        return ExitCode::SUCCESS;
    };
    let dir = args.dir.join(format!("cairn-differ-{}", std::process::id()));
    match compare(args, redis, &dir, &sources) {
        Ok(true) => match fs::remove_dir_all(&dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&dir, &error),
        },
        Ok(false) => {
            println!("data and logs of the servers are kept in {}", dir.display());
            ExitCode::FAILURE
        }
        Err(error) => failed(&dir, &error),
    }
}

fn failed(dir: &Path, error: &io::Error) -> ExitCode {
    println!("differ could not run: {error} (in {})", dir.display());
    ExitCode::FAILURE
}

/// A program in the directories of PATH.
fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// Whether nothing differs.
fn compare(args: &DifferArgs, redis: PathBuf, dir: &Path, sources: &[Source]) -> io::Result<bool> {
    fs::create_dir_all(dir)?;
    let dir = fs::canonicalize(dir)?;
    let mut parties = vec![Party::start(Kind::Redis(redis), &dir)?];
    for &shards in &args.shards {
        parties.push(Party::start(Kind::Cairn { shards, memory: args.memory.clone() }, &dir)?);
    }
    let version = parties[0].version()?;
    let (begun, mut counts, mut differences) = (Instant::now(), Counts::default(), 0);
    let is_bounded = args.sequences.is_some() || args.commands.is_some();
    let limit = args.seconds.or((!is_bounded).then_some(SECONDS)).map(Duration::from_secs);
    for seed in args.seed.. {
        let is_over = args.sequences.is_some_and(|most| counts.sequences >= most)
            || args.commands.is_some_and(|most| counts.commands >= most)
            || limit.is_some_and(|limit| begun.elapsed() >= limit);
        if is_over {
            break;
        }
        let sequence = Sequence::draw(seed, args.length as usize, sources);
        if let Played::Differs(difference) = play(&sequence, &mut parties, &mut counts)? {
            differences += 1;
            report(args, seed, &sequence, difference, &mut parties)?;
            if differences > args.more {
                break;
            }
        }
    }
    summary(args, &version, &counts, begun.elapsed(), differences);
    Ok(differences == 0)
}

/// Shows a difference, made small.
fn report(
    args: &DifferArgs,
    seed: u64,
    sequence: &Sequence,
    difference: Difference,
    parties: &mut [Party],
) -> io::Result<()> {
    if difference.is_broken
        && let Some(what) = parties[difference.party].ended()
    {
        println!("{}: {what}", parties[difference.party]);
    }
    // A reply too many would be taken for that to what comes next.
    revive(parties)?;
    let (smallest, shown) = shrink(sequence, difference, parties)?;
    let families =
        if args.families.is_empty() { String::new() } else { format!(" --families {}", args.families.join(",")) };
    println!("DIFFERENT: {} (seed {seed}; RESP{:?})", parties[shown.party], smallest.protocols);
    for (at, step) in smallest.steps.iter().enumerate().take(shown.step + 1) {
        let pause = if step.ends_burst || at == shown.step { "" } else { "  (and at once)" };
        let cut = if step.is_cut { "  (in two writes)" } else { "" };
        println!("  {}{step}{cut}{pause}", if step.is_stirred { "(others are read) " } else { "" });
    }
    println!("  expected {}\n  got      {}", shown.expected, shown.got);
    println!("  again: cairn differ --seed {seed} --sequences 1 --length {}{families}", args.length);
    Ok(())
}

fn summary(args: &DifferArgs, version: &str, counts: &Counts, took: Duration, differences: u32) {
    let shards: Vec<String> = args.shards.iter().map(u16::to_string).collect();
    println!(
        "{} commands in {} sequences, {} of them errors, to redis-server {version} and Cairn with {} shards in {:.1} s: {}",
        counts.commands,
        counts.sequences,
        counts.errors,
        shards.join(", "),
        took.as_secs_f64(),
        if differences == 0 { "no reply differs".to_owned() } else { format!("{differences} DIFFERENT") },
    );
    for (exception, count) in EXCEPTIONS.iter().zip(&counts.excused).filter(|(_, count)| **count > 0) {
        println!("  {count} excused, {}: {}", exception.name, exception.why);
    }
}
