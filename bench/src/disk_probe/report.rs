//! Owns what a measured disk is reported as, and two of its forms: text and JSON.

use std::fmt::Write as _;
use std::path::Path;

use cairn_net::disk_probe::Transfer;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::MIB;
use super::device::Device;
use super::meaning::Meaning;
use super::measure::{Case, Measured};
use crate::latency::LatencyReport;

/// The result of a run. Its JSON form is what `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    pub dir: String,
    pub device: Device,
    #[serde(flatten)]
    pub run: Run,
    pub flushes: Vec<Row>,
    pub reads: Vec<Row>,
    pub meaning: Meaning,
}

/// How it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub file_bytes: u64,
    /// The time of each measurement.
    pub seconds: f64,
    /// Null where `/proc` does not tell.
    pub elsewhere: Option<Elsewhere>,
}

/// What the machine did meanwhile beside this process; the kernel's part of the transfers is in it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Elsewhere {
    /// CPUs kept busy.
    pub busy_cpus: f64,
    /// CPUs that this process may use.
    pub cpus: usize,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `RWF_DSYNC`, `write+fdatasync` or `read`.
    pub method: &'static str,
    pub bytes: usize,
    /// Transfers in flight.
    pub depth: usize,
    pub transfers: u64,
    pub per_second: f64,
    pub mib_per_second: f64,
    pub latency_us: LatencyReport,
    #[serde(skip)]
    pub(super) latency: Histogram<u64>,
}

pub const DSYNC: &str = "RWF_DSYNC";
pub const FDATASYNC: &str = "write+fdatasync";
pub const READ: &str = "read";

/// A transfer as the report names it.
pub fn method(transfer: Transfer) -> &'static str {
    match transfer {
        Transfer::Write => "write",
        Transfer::WriteDsync => DSYNC,
        Transfer::WriteThenSync => FDATASYNC,
        Transfer::Read => READ,
    }
}

/// An amount of whole KiB.
pub fn size(bytes: usize) -> String {
    format!("{} KiB", bytes >> 10)
}

impl Report {
    #[must_use]
    pub fn new(dir: &Path, device: Device, run: Run, rows: Vec<Row>) -> Self {
        let (reads, flushes): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.method == READ);
        let meaning = Meaning::of(&device, run.elsewhere, &flushes, &reads);
        Self { dir: dir.display().to_string(), device, run, flushes, reads, meaning }
    }

    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings have a JSON form")
    }

    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.headline());
        for (title, rows) in [("flush", &self.flushes), ("random read", &self.reads)] {
            let _ = write!(text, "\n{title:<15} {:>8} {:>5} {:>10} {:>8}", "size", "depth", "per second", "MiB/s");
            for head in ["p50", "p90", "p99", "p99.9", "max"] {
                let _ = write!(text, " {head:>9}");
            }
            text.push_str("  (us)\n");
            for row in rows {
                row.write(&mut text);
            }
        }
        text.push_str("\nWhat this means\n");
        for line in self.meaning.lines() {
            let _ = writeln!(text, "  {line}");
        }
        text
    }

    /// The disk and the run in a line.
    fn headline(&self) -> String {
        let device = &self.device;
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
        let fua = device.fua.map_or("unknown", |fua| if fua { "yes" } else { "no" });
        format!(
            "{}: {} on {} (model {}), write cache {}, FUA {fua}; a file of {} MiB, {} s a measurement",
            self.dir,
            known(&device.file_system),
            known(&device.name),
            known(&device.model),
            known(&device.write_cache),
            self.run.file_bytes / MIB,
            self.run.seconds,
        )
    }
}

impl Row {
    #[must_use]
    pub(super) fn new(case: &Case, measured: Measured) -> Self {
        let latency = measured.latency;
        let per_second = latency.len() as f64 / measured.seconds.max(1e-9);
        let mib_per_second = per_second * case.bytes as f64 / MIB as f64;
        Self {
            method: method(case.transfer),
            bytes: case.bytes,
            depth: case.depth,
            transfers: latency.len(),
            per_second: rounded(per_second, 10.0),
            mib_per_second: rounded(mib_per_second, 100.0),
            latency_us: LatencyReport::of(&latency),
            latency,
        }
    }

    fn write(&self, text: &mut String) {
        let size = size(self.bytes);
        let (method, depth, rate) = (self.method, self.depth, self.per_second);
        let _ = write!(text, "{method:<15} {size:>8} {depth:>5} {rate:>10.0} {:>8.1}", self.mib_per_second);
        let l = &self.latency_us;
        for value in [l.p50, l.p90, l.p99, l.p99_9, l.max] {
            let _ = write!(text, " {value:>9.1}");
        }
        text.push('\n');
    }
}

/// To a fraction of one: more digits would say nothing.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
pub(super) mod tests;
