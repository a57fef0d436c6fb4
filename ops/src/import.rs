//! `cairn import`: the data of a Redis or Valkey server, from an RDB file or as its replica, into a running Cairn.

mod feed;
mod follow;
mod loading;
mod progress;
mod sink;

use self::feed::Feed;
use self::loading::{Counts, Loader};
use self::progress::Progress;
use self::sink::Sink;
use crate::link::{self, Address};
use crate::say;
use cairn_bench::differ::shown;
use cairn_core::rdb::file::Found;
use cairn_core::shard::Kind;
use clap::Args;
use std::fmt::Write;
use std::fs::File;
use std::io;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Arguments of `cairn import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// An RDB file, or redis://[user:password@]host:port of a server that is followed as its replica
    pub source: String,
    /// The server that takes the data
    #[arg(long, value_name = "ADDRESS", default_value = "redis://127.0.0.1:6379", value_parser = link::parse)]
    pub to: Address,
    /// Overwrite keys that are there
    #[arg(long)]
    pub replace: bool,
    /// Remove everything that is there first
    #[arg(long, conflicts_with = "replace")]
    pub flush: bool,
    /// Of a server: end as soon as nothing is left to follow, and not when Enter is pressed
    #[arg(long)]
    pub until_caught_up: bool,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

pub fn run(args: &ImportArgs) -> ExitCode {
    match import(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all of it has been taken.
fn import(args: &ImportArgs) -> io::Result<bool> {
    let mut sink = Sink::open(&args.to).map_err(|error| within(&args.to, error))?;
    let keys: u64 = sink.link()?.sizes()?.iter().map(|(_, keys)| keys).sum();
    if args.flush {
        sink.command(&[b"FLUSHALL"], "")?;
    } else if keys > 0 && !args.replace {
        let text = format!(
            "{} has {keys} keys: --replace overwrites those of the same names, --flush removes all first",
            args.to
        );
        return Err(io::Error::other(text));
    }
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let loader = Loader::new(sink, args.replace || args.flush, now_ms);
    match Address::parse(&args.source) {
        Some(source) => follow::run(args, &source, loader),
        None => from_file(args, loader).map_err(|error| within(&args.source, error)),
    }
}

/// Says where an error comes from.
fn within(place: &impl std::fmt::Display, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{place}: {error}"))
}

fn from_file(args: &ImportArgs, mut loader: Loader) -> io::Result<bool> {
    let file = File::open(&args.source)?;
    let len = file.metadata()?.len();
    let mut feed = Feed::new(file);
    let mut progress = Progress::new(Some(len), args.quiet);
    let is_verified = load(&mut feed, &mut loader, &mut progress, || Ok(()))?;
    progress.finish();
    let mut text = report(&loader.counts);
    let rest = len.saturating_sub(feed.taken());
    if rest > 0 {
        _ = writeln!(text, "{rest} bytes behind the end of the data were not read");
    }
    text.push_str(if is_verified { "the file's checksum agrees\n" } else { "the file has no checksum\n" });
    text.push_str(&refusals(&loader.sink));
    say(&text);
    Ok(loader.sink.refused == 0)
}

/// Sends all that a feed has. Whether its checksum agreed, if it has one. `tick` is called all the time.
fn load<R: io::Read>(
    feed: &mut Feed<R>,
    loader: &mut Loader,
    progress: &mut Progress,
    mut tick: impl FnMut() -> io::Result<()>,
) -> io::Result<bool> {
    let mut out = Vec::new();
    loop {
        let found = feed.step(&mut out).map_err(|error| {
            let key = loader.key().map(|key| format!(" (key \"{}\" is not whole)", shown(key)));
            let sent = loader.counts.total();
            io::Error::new(error.kind(), format!("{error}{}; {sent} keys were sent", key.unwrap_or_default()))
        })?;
        if let Found::End { is_verified } = found {
            loader.sink.drain()?;
            return Ok(is_verified);
        }
        loader.take(found, &mut out)?;
        progress.tell(feed.taken(), loader.counts.total());
        tick()?;
    }
}

/// What was sent, as a table.
fn report(counts: &Counts) -> String {
    let mut text = format!("{:<10}", "database");
    Kind::ALL.iter().for_each(|kind| _ = write!(text, "{:>10}", kind.name()));
    _ = writeln!(text, "{:>10}", "keys");
    for (db, kinds) in &counts.keys {
        _ = write!(text, "{db:<10}");
        kinds.iter().for_each(|count| _ = write!(text, "{count:>10}"));
        _ = writeln!(text, "{:>10}", kinds.iter().sum::<u64>());
    }
    _ = writeln!(text, "{} keys were sent", counts.total());
    if counts.expired > 0 {
        _ = writeln!(text, "{} keys were left out: their time was over", counts.expired);
    }
    if counts.libraries > 0 {
        _ = writeln!(text, "{} libraries of functions were sent", counts.libraries);
    }
    for module in &counts.modules {
        _ = writeln!(text, "data of the module {module} was left out");
    }
    text
}

fn refusals(sink: &Sink) -> String {
    let mut text = String::new();
    if sink.refused > 0 {
        _ = writeln!(text, "{} requests were REFUSED:", sink.refused);
        sink.refusals.iter().for_each(|line| _ = writeln!(text, "  {line}"));
    }
    text
}
