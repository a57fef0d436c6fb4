//! Owns the command line of the disk probe.

use std::path::PathBuf;
use std::time::Duration;

use super::MIB;

/// Measures flushes and random reads of a disk as the log and the tree make them, and says what that means.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct DiskArgs {
    /// A directory on the disk; its files are not touched
    pub dir: PathBuf,
    /// Seconds of each measurement (1, or 0.1 with --quick)
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub seconds: Option<f64>,
    /// MiB of the file that is measured (1024, or 64 with --quick); reads of a small file may come from a cache of the
    /// device
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=FILE_MIB_MAX))]
    pub file_size: Option<u64>,
    /// Fewer and shorter measurements: some three seconds in all
    #[arg(long)]
    pub quick: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Plot the percentile curves into this new file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// No progress display
    #[arg(short, long)]
    pub quiet: bool,
    /// Seed of the bytes and of the places that are read
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// The largest file that is measured: 16 TiB.
const FILE_MIB_MAX: u64 = 1 << 24;
const SECONDS_MIN: f64 = 0.01;
const SECONDS_MAX: f64 = 3600.0;

const AFTER_HELP: &str = "\
Flushes are writes over a preallocated file with O_DIRECT, one after the other in the file, each with RWF_DSYNC or
followed by an fdatasync. Reads are of random places, with O_DIRECT. The file has no name and is gone when the
measurement ends, Ctrl-C included. Nothing else should use the disk meanwhile.

Examples:
  cairn disk /data                          some 70 seconds, a table
  cairn disk /data --quick                  a first look
  cairn disk /data --json --svg curves.svg

Exit status:
  0 done; 1 could not measure; 2 wrong arguments; 130 interrupted.";

impl DiskArgs {
    /// The time of one measurement.
    #[must_use]
    pub fn seconds(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.quick { 0.1 } else { 1.0 }))
    }

    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_size.unwrap_or(if self.quick { 64 } else { 1024 }) * MIB
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (SECONDS_MIN..=SECONDS_MAX).contains(&seconds) => Ok(seconds),
        _ => Err(format!("a number of seconds from {SECONDS_MIN} to {SECONDS_MAX}")),
    }
}
