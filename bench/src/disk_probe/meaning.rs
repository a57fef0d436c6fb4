//! Draws the conclusions: how many commits a second the disk allows, how deep the log should write, what the reads
//! promise, and whether the flushes can be believed.
//!
//! The model of a commit: under load, flushes of depth `d` that take `t` end every `t / d`; a commit waits half of that
//! for the next flush to begin, and then for its own: `t * (1 + 1 / 2d)`. Clients that are at most `d` never wait for
//! one to begin.

use serde::Serialize;

use super::device::Device;
use super::report::{DSYNC, Elsewhere, FDATASYNC, Row, size};

/// What the figures of a disk mean for a server on it.
#[derive(Debug, Serialize)]
pub struct Meaning {
    /// As far as the disk goes, for clients that wait for each answer before the next write.
    pub commits: Vec<Commits>,
    /// Flushes in flight, over all shards on the disk, at which a commit under load takes least.
    pub log_depth: usize,
    /// Reads in flight that bring nine tenths of the best rate of the smallest page.
    pub read_depth: usize,
    /// A flush is so quick that either power-loss protection or an untruth must be behind it.
    pub is_flush_suspicious: bool,
    /// Sentences for people.
    pub notes: Vec<String>,
}

/// How many commits so many clients get together, a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Commits {
    pub clients: usize,
    pub per_second: f64,
    /// The depth at which they do.
    pub depth: usize,
}

/// A commit of a value of 100 bytes takes some twice that in the log.
const COMMIT_BYTES: usize = 256;
const CLIENTS: [usize; 3] = [1, 8, 50];
/// No medium takes a flush in less.
const FLUSH_US_MIN: f64 = 10.0;
/// What is within this of the best is as good, and less depth is better.
const AS_GOOD: f64 = 0.95;
const READ_DEPTH_PART: f64 = 0.9;
/// From this part of the CPUs on, the kernel's share of a flush waits for one now and then.
const BUSY_PART: f64 = 0.5;

impl Meaning {
    /// Of measurements that hold at least one flush with `RWF_DSYNC` at depth 1 and one read.
    #[must_use]
    pub fn of(device: &Device, elsewhere: Option<Elsewhere>, flushes: &[Row], reads: &[Row]) -> Self {
        let commits: Vec<Commits> = CLIENTS.into_iter().map(|clients| commits(flushes, clients)).collect();
        let log_depth = commits.last().expect("there are several counts of clients").depth;
        let first = smallest(flushes);
        let is_flush_suspicious = !device.is_memory() && first.latency_us.p50 < FLUSH_US_MIN;
        let (read_note, read_depth) = read_note(reads);
        let mut notes = vec![flush_note(device, first, is_flush_suspicious)];
        notes.extend(cache_note(device));
        notes.extend(method_note(flushes, first));
        notes.extend(size_note(flushes, first));
        notes.push(read_note);
        notes.extend(elsewhere.and_then(busy_note));
        Self { commits, log_depth, read_depth, is_flush_suspicious, notes }
    }

    /// For people, each a line.
    pub(super) fn lines(&self) -> Vec<String> {
        let of_clients = |commits: &Commits| {
            let name = if commits.clients == 1 { "client" } else { "clients" };
            format!("{} {name} {:.0}/s", commits.clients, commits.per_second)
        };
        let rates: Vec<String> = self.commits.iter().map(of_clients).collect();
        let mut lines = vec![
            format!("Commits, as far as the disk goes: {}.", rates.join(", ")),
            format!(
                "Log depth {}: there a commit under load takes least, over all shards on this disk.",
                self.log_depth
            ),
        ];
        lines.extend(self.notes.iter().cloned());
        lines
    }
}

/// The best that so many clients get, at the least depth that brings it.
fn commits(flushes: &[Row], clients: usize) -> Commits {
    let at_depth = |row: &Row| {
        let waits = if clients <= row.depth { 0.0 } else { 0.5 / row.depth as f64 };
        let per_second = clients as f64 * 1e6 / (row.latency_us.mean * (1.0 + waits));
        Commits { clients, per_second: per_second.round(), depth: row.depth }
    };
    let fits = |row: &&Row| clients.div_ceil(row.depth) * COMMIT_BYTES <= row.bytes;
    let dsync = || flushes.iter().filter(|row| row.method == DSYNC);
    let mut by_depth: Vec<Commits> = Vec::new();
    for row in dsync().filter(|row| row.depth <= clients).filter(fits) {
        // Sizes come in order: the first that fits is the one a flush has.
        if by_depth.iter().all(|found| found.depth != row.depth) {
            by_depth.push(at_depth(row));
        }
    }
    let best = by_depth.iter().map(|found| found.per_second).fold(0.0, f64::max);
    let good = by_depth.into_iter().filter(|found| found.per_second >= best * AS_GOOD);
    good.min_by_key(|found| found.depth).expect("a flush of many commits was measured at depth 1")
}

/// The smallest flush on its own.
fn smallest(flushes: &[Row]) -> &Row {
    let alone = flushes.iter().filter(|row| row.method == DSYNC && row.depth == 1);
    alone.min_by_key(|row| row.bytes).expect("a flush with RWF_DSYNC was measured at depth 1")
}

fn flush_note(device: &Device, first: &Row, is_suspicious: bool) -> String {
    let (what, p50, p99) = (size(first.bytes), first.latency_us.p50, first.latency_us.p99);
    if device.is_memory() {
        return "This is memory: nothing here survives the machine's end, and the flushes mean nothing.".into();
    }
    if is_suspicious {
        return format!(
            "A flush of {what} takes {p50:.1} us (p50), less than a medium needs: either the device has power-loss \
             protection, as its data sheet would say, or flushes are answered that were not made, and a power cut \
             loses acknowledged writes."
        );
    }
    format!("A flush of {what} takes {p50:.0} us (p50) and {p99:.0} us (p99): long enough to have been made.")
}

fn cache_note(device: &Device) -> Option<String> {
    let text = match (device.write_cache.as_deref()?, device.fua) {
        ("write through", _) => "The cache is write-through: what is written is stable, and flushes cost nothing more.",
        ("write back", Some(true)) => "The cache is write-back, with FUA: a flush is one write that passes the cache.",
        ("write back", Some(false)) => {
            "The cache is write-back, without FUA: a flush is a write and then a flush of the device's whole cache."
        }
        _ => return None,
    };
    Some(text.into())
}

/// What `RWF_DSYNC` brings against an `fdatasync` after the write.
fn method_note(flushes: &[Row], first: &Row) -> Option<String> {
    let is_same = |row: &&Row| row.method == FDATASYNC && row.bytes == first.bytes && row.depth == first.depth;
    let other = flushes.iter().find(is_same)?;
    let (dsync, fdatasync) = (first.latency_us.p50, other.latency_us.p50);
    Some(format!(
        "write+fdatasync takes {:.2} times as long as RWF_DSYNC ({fdatasync:.0} us against {dsync:.0} us, p50).",
        fdatasync / dsync.max(0.001)
    ))
}

/// What many commits in a flush cost more than one.
fn size_note(flushes: &[Row], first: &Row) -> Option<String> {
    let alone = flushes.iter().filter(|row| row.method == DSYNC && row.depth == 1 && row.bytes > first.bytes);
    let large = alone.max_by_key(|row| row.bytes)?;
    Some(format!(
        "A flush of {} takes {:.1} times as long as one of {} (p50), and holds {} times as many commits.",
        size(large.bytes),
        large.latency_us.p50 / first.latency_us.p50.max(0.001),
        size(first.bytes),
        large.bytes / first.bytes
    ))
}

/// Whether it was the disk alone that was measured.
fn busy_note(elsewhere: Elsewhere) -> Option<String> {
    let Elsewhere { busy_cpus, cpus } = elsewhere;
    (busy_cpus > BUSY_PART * cpus as f64).then(|| {
        format!(
            "Meanwhile {busy_cpus:.1} of {cpus} CPUs worked on something else: the kernel's threads that finish a flush \
             waited for a CPU too, so measure again when the machine is quiet."
        )
    })
}

/// What a tree on this disk can read, and the depth it needs for it.
fn read_note(reads: &[Row]) -> (String, usize) {
    let bytes = reads.iter().map(|row| row.bytes).min().expect("a read was measured");
    let best_of = |bytes| {
        let rates = reads.iter().filter(|row| row.bytes == bytes).map(|row| row.per_second);
        rates.fold(0.0, f64::max)
    };
    let best = best_of(bytes);
    let enough = reads.iter().filter(|row| row.bytes == bytes && row.per_second >= best * READ_DEPTH_PART);
    let enough = enough.min_by_key(|row| row.depth).expect("the best itself is enough");
    let depth = enough.depth;
    let mut note = format!(
        "Random reads of {}: at most {best:.0}/s; depth {depth} brings {:.0}/s",
        size(bytes),
        enough.per_second
    );
    let mut larger: Vec<usize> = reads.iter().map(|row| row.bytes).filter(|is| *is > bytes).collect();
    larger.sort_unstable();
    larger.dedup();
    for bytes in larger {
        note += &format!("; {} reach {:.0} % of the rate", size(bytes), 100.0 * best_of(bytes) / best);
    }
    (note + ".", depth)
}
