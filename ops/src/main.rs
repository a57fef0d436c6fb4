//! The `cairn` binary: starts the server, and the tools around it.
//!
//! `serve` has redis-server's own grammar (`[FILE] [--directive value ...]`) and is meant when no subcommand is
//! named; the others are parsed by clap.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod addresses;
mod affinity;
mod apart;
mod check;
mod check_config;
mod config;
mod disk;
mod doctor;
mod escape;
mod export;
mod fuzz;
mod import;
mod inspect;
mod limits;
mod link;
mod log;
mod metrics;
mod metrics_http;
mod migrate;
mod notify;
mod password;
mod process;
mod serve;
mod users;

use clap::{CommandFactory, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

// Heaps per thread suit a thread per core.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A Redis-protocol database for data that must not be lost.
#[derive(Parser)]
#[command(name = "cairn", version, disable_version_flag = true, override_usage = USAGE, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    tool: Tool,
    /// Print the version
    #[arg(short = 'v', long = "version")]
    is_version: bool,
}

#[derive(Subcommand)]
enum Tool {
    /// Start the server (what `cairn` alone does)
    #[command(after_help = SERVE_HELP, disable_help_flag = true)]
    Serve {
        /// redis.conf's grammar: [FILE] [--directive value ...] [-]
        #[arg(value_name = "FILE | --directive value | -", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Measure a server of the Redis protocol
    Bench(Box<cairn_bench::load::BenchArgs>),
    /// Measure a disk as the log and the tree use it, and say what that means
    Disk(cairn_bench::disk_probe::DiskArgs),
    /// Search for broken promises: the server's logic on simulated disks and networks that fail
    Sim(cairn_bench::sim::SimArgs),
    /// Are a server's answers possible? Works on it, kills it if asked to, and checks what it answered
    Verify(Box<cairn_bench::verify::VerifyArgs>),
    /// Does it answer what Redis answers? Random commands to a redis-server and to this program, every reply compared
    Differ(cairn_bench::differ::DifferArgs),
    /// Does whatever reads bytes of others bear all of them? Random inputs, by seed
    Fuzz(cairn_bench::fuzz::FuzzArgs),
    /// Can this machine run the server? Takes what `serve` takes
    #[command(after_help = DOCTOR_HELP, disable_help_flag = true)]
    Doctor {
        /// [FILE] [--directive value ...]
        #[arg(value_name = "FILE | --directive value", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Is a data directory sound? Reads all of it and changes nothing. Ends with 0 (sound), 1 (damaged) or 2 (not checked)
    Check(check::CheckArgs),
    /// Show what stands in a log, a page or a tree of a data directory
    Inspect {
        #[command(subcommand)]
        what: inspect::Inspect,
    },
    /// Take over the data of Redis or Valkey: an RDB file, or a running server, followed as its replica
    Import(import::ImportArgs),
    /// Write everything that a running server has to an RDB file that Redis 7.0 and later load
    Export(export::ExportArgs),
    /// Read a configuration file as a start would, and say what would become of it
    CheckConfig { file: PathBuf },
}

const USAGE: &str = "\
cairn [FILE] [--directive value ...]    start the server
       cairn <COMMAND>";

const EXAMPLES: &str = "\
Examples:
  cairn                                    the server, on 127.0.0.1:6379, data in ./cairn-data
  cairn serve /etc/cairn/cairn.conf        with a file in redis.conf's grammar
  cairn --port 7000 --dir /data/a          any directive as a flag
  CAIRN_MAXCLIENTS=500 cairn               any directive from the environment
  cairn doctor --dir /data                 can this machine run it?
  cairn bench -p 6379 -c 50 -P 16          how fast is it?
  cairn disk /data                         what does that disk allow?
  cairn verify --serve-here --kills 20     are its answers possible, whatever happens to it?
  cairn differ --redis /usr/bin/redis-server  does it answer what Redis answers?
  cairn check /data                        is everything there sound? (server stopped)
  cairn import dump.rdb                    take over what Redis has saved
  cairn import redis://old:6379            follow a Redis server until its clients can be moved
  cairn inspect log /data                  what does the log say behind the checkpoint?
  cairn check-config /etc/redis/redis.conf what would become of that file?

Flags win over the environment, that over the file, that over the default; see cairn serve --help.";

const SERVE_HELP: &str = "\
Directives (flag over environment CAIRN_* over file over default):
  --dir PATH             where the data is             (./cairn-data)
  --bind ADDRESS ...     addresses to listen on        (127.0.0.1 -::1)
  --port PORT            TCP port; 0 for a Unix socket alone (6379)
  --unixsocket PATH      a Unix socket too
  --shards N             shards of a new data directory (one per CPU)
  --cpus LIST            CPUs for the workers, as 0,2-3 (all)
  --memory BYTES         bytes of pages in memory; units kb mb gb (60% of the machine's)
  --scrub-bytes-per-second BYTES  how fast each shard verifies what is on disk; 0 for never (16mb)
  --scrub-interval SECONDS        from one pass of that to the next (86400)
  --metrics-addr ADDRESS metrics and probes over HTTP; off for none (127.0.0.1:9121)
  --log-format FORMAT    text, logfmt or json          (text)
  --loglevel LEVEL       debug verbose notice warning nothing (notice)
  --logfile PATH         instead of standard output; SIGUSR1 opens it again
  --maxclients N         connections                   (10000)
  --requirepass TEXT     password of the clients; better in the file or the environment
  and every other directive of redis.conf. A lone - reads more of them from standard input.

Every write is answered after it is on stable storage; there is nothing to switch on for that.

Examples:
  cairn serve --port 7000 --bind 127.0.0.1 ::1
  cairn serve /etc/cairn/cairn.conf --loglevel verbose
  echo 'maxclients 100' | cairn serve -";

const DOCTOR_HELP: &str = "\
Looks at the kernel, the limits, the data directory and the ports, and changes nothing. One line each: ok, warn (it
runs, but not as it could) or FAIL (it does not run). Ends with 1 if anything fails.

Example:
  cairn doctor /etc/cairn/cairn.conf --dir /data";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let first = words.first().map(String::as_str);
    match first {
        Some("-v" | "--version") => {
            say(&format!("Cairn server v={} malloc=mimalloc bits={}\n", env!("CARGO_PKG_VERSION"), usize::BITS));
            ExitCode::SUCCESS
        }
        Some(name @ ("serve" | "doctor")) if is_help(&words[1..]) => help(name),
        Some("serve") => serve::run(&words[1..]),
        Some("doctor") => doctor::run(&words[1..]),
        Some(word) if is_tool(word) => tool(),
        _ => serve::run(&words),
    }
}

/// On standard output, where nobody may be left to read it.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn is_help(words: &[String]) -> bool {
    matches!(words, [word] if word == "-h" || word == "--help")
}

fn is_tool(word: &str) -> bool {
    matches!(word, "-h" | "--help" | "help") || Cli::command().find_subcommand(word).is_some()
}

fn help(name: &str) -> ExitCode {
    let mut cli = Cli::command();
    let tool = cli.find_subcommand_mut(name).expect("it is in the list").clone();
    // Help that cannot be printed has nobody to read it.
    let _ = tool.bin_name(format!("cairn {name}")).print_help();
    ExitCode::SUCCESS
}

fn tool() -> ExitCode {
    match Cli::parse().tool {
        Tool::Serve { words } => serve::run(&words),
        Tool::Doctor { words } => doctor::run(&words),
        Tool::Bench(args) => cairn_bench::load::run(&args),
        Tool::Disk(args) => disk::run(&args),
        Tool::Sim(args) => cairn_bench::sim::run_all(&args),
        Tool::Verify(args) => cairn_bench::verify::run(&args),
        Tool::Differ(args) => cairn_bench::differ::run(&args),
        Tool::Fuzz(args) => fuzz::run(&args),
        Tool::Check(args) => check::run(&args),
        Tool::Inspect { what } => inspect::run(&what),
        Tool::Import(args) => import::run(&args),
        Tool::Export(args) => export::run(&args),
        Tool::CheckConfig { file } => check_config::run(&file),
    }
}
