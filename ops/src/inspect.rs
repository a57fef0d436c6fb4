//! `cairn inspect`: what stands in a log, in a page, in a tree, for whoever has to know at three in the morning. Changes nothing.

mod log;
mod tree;

use crate::say;
use cairn_net::offline::Offline;
use cairn_storage::units::ShardId;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// What to look at.
#[derive(Subcommand, Debug)]
pub enum Inspect {
    /// The log, flush by flush and record by record. Safe beside a running server
    Log(LogArgs),
    /// One page of the newest checkpoint. Safe beside a running server
    Page(PageArgs),
    /// The trees of the newest checkpoint, from their roots down. Safe beside a running server, as long as it makes no two
    /// checkpoints meanwhile; it says so then
    Tree(TreeArgs),
}

#[derive(Args, Debug)]
pub struct Place {
    /// The data directory
    dir: PathBuf,
    /// The shard
    #[arg(long, default_value_t = 0)]
    shard: u16,
    /// Print JSON, one document a line
    #[arg(long)]
    json: bool,
    /// Bytes of a key or a value that are shown
    #[arg(long, default_value_t = 64)]
    bytes: usize,
}

#[derive(Args, Debug)]
pub struct LogArgs {
    #[command(flatten)]
    place: Place,
    /// Begin with the records after this LSN; without it, with those that the newest checkpoint does not have
    #[arg(long)]
    from: Option<u64>,
    /// Stop after so many records
    #[arg(long, default_value_t = 100)]
    limit: u64,
}

#[derive(Args, Debug)]
pub struct PageArgs {
    #[command(flatten)]
    place: Place,
    /// The page's number
    page: u32,
}

#[derive(Args, Debug)]
pub struct TreeArgs {
    #[command(flatten)]
    place: Place,
    /// One database only; without it, all and the tree of deadlines
    #[arg(long)]
    db: Option<u8>,
    /// Levels to go down
    #[arg(long, default_value_t = 2)]
    depth: u8,
}

pub fn run(what: &Inspect) -> ExitCode {
    let done = match what {
        Inspect::Log(args) => open(&args.place).and_then(|offline| log::run(args, &offline)),
        Inspect::Page(args) => open(&args.place).and_then(|offline| tree::page(args, &offline)),
        Inspect::Tree(args) => open(&args.place).and_then(|offline| tree::run(args, &offline)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn open(place: &Place) -> Result<Offline, String> {
    let offline = Offline::look(&place.dir).map_err(|error| error.to_string())?;
    let shards = offline.manifest().shards;
    if place.shard >= shards {
        return Err(format!("there is no shard {}: the directory has {shards}", place.shard));
    }
    if offline.is_in_use() && !place.json {
        say("note: a server has this directory; what is shown is durable, and may be old by now\n");
    }
    Ok(offline)
}

impl Place {
    fn shard(&self) -> ShardId {
        ShardId(self.shard)
    }
}
