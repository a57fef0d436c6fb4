//! The command line of `cairn verify`.

use super::limits::{CLIENTS_MAX, KEYS_MAX, KILLS_MAX};
use std::path::PathBuf;

/// Works on a server over real connections, kills it if asked to, and checks that what it answered can be true.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct VerifyArgs {
    /// The server
    #[arg(long, default_value = "127.0.0.1:6379", value_name = "HOST:PORT")]
    pub address: String,
    /// Its database, which must be empty
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub db: u32,
    /// Start a server, on a directory of its own
    #[arg(long, conflicts_with = "address")]
    pub serve_here: bool,
    /// Where that directory is made. It goes when all is well, and stays when it is not
    #[arg(long, default_value = ".", value_name = "DIR", requires = "serve_here")]
    pub dir: PathBuf,
    /// Port of the server that is started; 0 for any
    #[arg(long, default_value_t = 0, value_name = "PORT", requires = "serve_here")]
    pub port: u16,
    /// Shards of the server
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub shards: u16,
    /// How often the server is killed (SIGKILL) and started again, at random moments
    #[arg(long, default_value_t = 0, value_name = "COUNT", requires = "serve_here", value_parser = clap::value_parser!(u64).range(..=KILLS_MAX))]
    pub kills: u64,

    /// What is asked and checked
    #[arg(long, value_enum, default_value_t = Choice::All, value_name = "NAME")]
    pub workload: Choice,
    /// Transactions and single commands
    #[arg(short = 'n', long, default_value_t = 100_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub operations: u64,
    /// After so many of them what was recorded is checked and forgotten. A longer run uses two databases: --db and the next one,
    /// or behind the last one the one before
    #[arg(long, default_value_t = 250_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub window: u64,
    /// Connections, each with one operation under way
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    pub clients: u32,
    /// Keys in use at a time, of each workload; accounts of the bank
    #[arg(long, default_value_t = 16, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(2..=i64::from(KEYS_MAX)))]
    pub keys: u32,
    /// Of all random choices
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// No progress display
    #[arg(short, long)]
    pub quiet: bool,
    /// For the server that is started: -- --memory 64mb
    #[arg(last = true, value_name = "DIRECTIVE")]
    pub serve: Vec<String>,
}

/// One workload, or all of them beside one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    ListAppend,
    Register,
    Bank,
    WriteSkew,
    Counter,
    Queue,
    Stream,
    All,
}

const AFTER_HELP: &str = "\
Workloads:
  list-append  transactions of appends and reads over 1 to 4 keys; strict
               serializability, cycles named as Adya and Elle do (G0 to G2)
  register     SET GET GETSET SETNX INCR DEL of single keys; linearizability
  bank         transfers between accounts; the total, and each balance
  write-skew   transactions that read two keys and write one, under WATCH
  counter      ADD, DECRMIN, INCRBY and GET of counters that HOT splits over the
               shards; what was added is there, what was taken was there
  queue        BLPOP, BLMPOP, BZPOPMIN, BLMOVE and their kin over lists and sorted
               sets that others push to; each element goes to one client, in its
               order, and what is moved is in one place
  stream       XADD, XREAD, XREADGROUP, XACK and XAUTOCLAIM; each entry is given to
               one consumer of a group, until another one claims it, and is
               pending until it is acknowledged

Examples:
  cairn verify --serve-here --kills 20
  cairn verify --serve-here --shards 4 --kills 1000 -n 10000000 -- --memory 64mb
  cairn verify --address 10.0.0.5:6379 --db 9 --workload bank

Exit status:
  0 what was answered can be true; 1 it cannot, or the server failed, refused
  what it should do, or did not answer; 2 wrong arguments.";
