//! The command line of `cairn differ`.

use std::path::PathBuf;

/// Asks a redis-server and Cairn the same, and compares every reply.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct DifferArgs {
    /// The server that is right; without it the one that is found, and where none is, nothing is compared
    #[arg(long, value_name = "PATH")]
    pub redis: Option<PathBuf>,
    /// Shards of the Cairns beside it
    #[arg(long, default_value = "1,2,4", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub shards: Vec<u16>,
    /// Memory of each of them: so little that rows are on disk when they are asked for
    #[arg(long, default_value = "8mb", value_name = "BYTES")]
    pub memory: String,
    /// Where their directories are made. They go when all is well, and stay when it is not
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,

    /// What commands are drawn from, by name; without it all
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub families: Vec<String>,
    /// Of the first sequence; the next ones have the next ones
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Commands of a sequence. A seed draws the same only with the same length
    #[arg(long, default_value_t = 200, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub length: u32,
    /// Sequences at most
    #[arg(long, value_name = "COUNT")]
    pub sequences: Option<u64>,
    /// Commands altogether, about
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub commands: Option<u64>,
    /// Seconds at most; 60 if nothing else is said
    #[arg(long, value_name = "COUNT")]
    pub seconds: Option<u64>,
    /// Go on behind a difference, so many times
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub more: u32,
}

const AFTER_HELP: &str = "\
Examples:
  cairn differ                                 a minute of everything
  cairn differ -n 10000000 --seed 1000000      ten million commands
  cairn differ --families strings,expiry
  cairn differ --seed 4711 --sequences 1       the same sequence again

Exit status:
  0 no reply differs, but for the exceptions that are listed; also if there is no
  redis-server. 1 one does: the sequence, as small as it gets, and its seed are
  shown. 2 wrong arguments.";
