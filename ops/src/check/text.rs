//! The report of a check, for people.

use super::{LogDamage, ShardReport, Verdict};
use crate::escape::quoted;
use cairn_core::route;
use cairn_net::offline::Offline;
use cairn_storage::check::{Finding, Found, KeyBuf, KeyRange, LogReport, PagesReport, Part, TreeName};
use cairn_storage::limits::PAGE_BYTES;
use std::fmt::Write;

/// Bytes of a key that are shown.
const KEY_BYTES_MAX: usize = 100;

/// Findings of a shard that are shown one by one.
const FINDINGS_MAX: usize = 50;

pub fn of(offline: &Offline, reports: &[ShardReport], verdict: Verdict) -> String {
    let manifest = offline.manifest();
    let mut text = format!("{}: node {}, {} shards\n", offline.path().display(), manifest.node_id, manifest.shards);
    if !offline.is_locked() {
        text += "note: there is no LOCK file in it, so nothing keeps a server from starting meanwhile\n";
    }
    for report in reports {
        text += &of_shard(offline, report);
    }
    let damaged: Vec<String> = reports
        .iter()
        .filter(|report| report.verdict() == Verdict::Damaged)
        .map(|report| report.shard.to_string())
        .collect();
    text += &match verdict {
        Verdict::Sound => "SOUND: everything reads back and agrees\n".to_string(),
        Verdict::Damaged => format!("DAMAGED: shard {}. Nothing was changed\n", damaged.join(", ")),
        Verdict::Unchecked => "UNCHECKED: not everything could be looked at\n".to_string(),
    };
    text
}

fn of_shard(offline: &Offline, report: &ShardReport) -> String {
    let mut text = format!("shard {} ({:.1} s)\n", report.shard, report.elapsed.as_secs_f64());
    match &report.pages {
        Ok(pages) => text += &of_pages(pages),
        Err(why) => text += &row("pages", &format!("could not be checked: {why}")),
    }
    match &report.log {
        Ok(log) => text += &row("log", &(of_log(log) + &of_undecided(report.undecided))),
        Err(why) => text += &row("log", &format!("could not be checked: {why}")),
    }
    let file = offline.page_path(report.shard);
    for finding in report.findings().iter().take(FINDINGS_MAX) {
        let at = finding.site.map(|site| u64::from(site.0) * PAGE_BYTES as u64);
        let at = at.map(|at| format!(", offset {at}")).unwrap_or_default();
        let _ = writeln!(text, "  DAMAGE {}{at}: {}", file.display(), sentence(finding));
        if let Some(range) = &finding.range {
            let _ = writeln!(text, "         keys: {}", range_text(range, is_rows(finding.part)));
        }
        let _ = writeln!(text, "         {}", advice(report, finding));
    }
    let more = report.findings().len().saturating_sub(FINDINGS_MAX) as u64
        + report.pages.as_ref().map_or(0, |pages| pages.findings_left_out);
    if more > 0 {
        let _ = writeln!(text, "  and {more} more (--json lists up to a thousand)");
    }
    for LogDamage { file, offset, what, is_needed } in report.log_damage(offline) {
        let at = offset.map(|at| format!(", offset {at}")).unwrap_or_default();
        let _ = writeln!(text, "  DAMAGE {}{at}: {what}\n         {}", file.display(), log_advice(is_needed));
    }
    if report.log.as_ref().is_ok_and(|log| log.is_cut_short) {
        let _ = writeln!(text, "  the log was not looked at behind that: there may be more");
    }
    text
}

fn row(name: &str, value: &str) -> String {
    format!("  {name:<12} {value}\n")
}

fn of_pages(pages: &PagesReport) -> String {
    let mut text = String::new();
    let blocks = pages.superblocks.iter().map(|found| match found {
        Found::Empty => "empty".to_string(),
        Found::Sound(superblock) => format!("generation {} at LSN {}", superblock.generation, superblock.lsn),
        Found::Damaged(what) => format!("DAMAGED ({what})"),
        Found::Version(version) => format!("of format {version}, which this build does not read"),
        Found::Unreadable(errno) => format!("UNREADABLE (errno {errno})"),
    });
    text += &row("superblocks", &blocks.collect::<Vec<_>>().join("; "));
    for tree in &pages.trees {
        let name = tree.tree.to_string();
        let rows = format!(
            "{} rows in {} bytes, {} pages of {} levels, {} with a time to live, {} with extents",
            tree.rows, tree.bytes, tree.pages, tree.levels, tree.expiring, tree.outside
        );
        let entries = format!("{} entries, {} pages of {} levels", tree.rows, tree.pages, tree.levels);
        text += &row(&name, if tree.tree == TreeName::Deadlines { &entries } else { &rows });
    }
    if pages.extents > 0 {
        text += &row("extents", &format!("{} with {} bytes", pages.extents, pages.extent_bytes));
    }
    let space = format!(
        "{} sites of {PAGE_BYTES} bytes: {} in use, {} of the checkpoint before, {} free; {} orphans",
        pages.sites, pages.sites_used, pages.sites_older, pages.sites_free, pages.orphans
    );
    text + &row("page file", &space)
}

/// What is left to decide at a log's end.
fn of_undecided((committed, aborted): (usize, usize)) -> String {
    match committed + aborted {
        0 => String::new(),
        all => format!(
            "; {all} transactions over several shards undecided: the next start commits {committed}, drops {aborted}"
        ),
    }
}

fn of_log(log: &LogReport) -> String {
    let mut text = format!("{} segments, {} records from LSN {} to {}", log.segments, log.records, log.start, log.end);
    if log.fault.is_some() {
        return text + ", and then damage";
    }
    text += &match log.tail_bytes {
        0 => "; a clean end".to_string(),
        bytes => format!("; behind it an unacknowledged tail of {bytes} bytes, which the next start drops"),
    };
    if log.unproved_bytes > 0 {
        let _ =
            write!(text, "; the last {} bytes are sound, whether or not they were acknowledged", log.unproved_bytes);
    }
    text
}

fn is_rows(part: Part) -> bool {
    matches!(part, Part::Page { tree: Some(TreeName::Rows(_)), .. })
}

pub fn sentence(finding: &Finding) -> String {
    let mut text = format!("{}: {}", finding.part, finding.what);
    if let Some(errno) = finding.errno {
        let _ = write!(text, " ({})", std::io::Error::from_raw_os_error(errno));
    }
    if let Some((said, counted)) = finding.counts {
        let _ = write!(text, " ({said} said, {counted} counted)");
    }
    if !finding.is_newest {
        text += " (of the checkpoint before the newest)";
    }
    text
}

/// A place in the order of rows, or of deadlines.
fn place(key: &KeyBuf, is_rows: bool) -> String {
    let head = match route::slot_of(key.head) {
        Some(slot) if is_rows => format!("slot {slot}, head {:#018x}", key.head),
        _ => format!("{}", key.head),
    };
    if key.tail.is_empty() { head } else { format!("{head}, {}", quoted(&key.tail, KEY_BYTES_MAX)) }
}

pub fn range_text(range: &KeyRange, is_rows: bool) -> String {
    let mut text = format!("from {}", place(&range.low, is_rows));
    match &range.high {
        Some(high) => text += &format!(" up to {}", place(high, is_rows)),
        None => text += " to the end",
    }
    if let Some(before) = range.before.as_ref().filter(|_| is_rows) {
        text += &format!("; the key before is {}", quoted(&before.tail, KEY_BYTES_MAX));
    }
    if let Some(after) = range.after.as_ref().filter(|_| is_rows) {
        text += &format!("; the key behind is {}", quoted(&after.tail, KEY_BYTES_MAX));
    }
    text
}

/// What to do about damage of a log.
pub fn log_advice(is_needed: bool) -> &'static str {
    if is_needed {
        "The server does not start on this log, and cuts nothing off. If this file alone was lost or damaged since the server \
         stopped, put it back as it was; else restore a copy of the whole directory"
    } else {
        "A start does not need this part of the log, because the newest checkpoint has it. Check the disk"
    }
}

/// What to do about a finding.
pub fn advice(report: &ShardReport, finding: &Finding) -> &'static str {
    let has_way_back = report.has_way_back();
    let is_log_sound = report.is_log_whole();
    let generation = report.pages.as_ref().map_or(0, |pages| pages.generation);
    match finding.part {
        Part::Superblock if is_log_sound && generation > 0 => {
            "A start uses the other superblock and the log, and loses nothing acknowledged; the next checkpoints write this one \
             anew. If this is not from a power cut during a checkpoint, check the disk"
        }
        Part::Superblock if is_log_sound => {
            "The log is complete from its beginning: a start builds the rows from it, and loses nothing acknowledged"
        }
        Part::Superblock => {
            "The log does not begin early enough to go without it: the server does not start. Restore a copy of the whole \
             directory"
        }
        _ if !finding.is_newest => {
            "A start does not need it: the newest checkpoint is used, and the next one gives this place back. Check the disk"
        }
        Part::Map { .. } if has_way_back => {
            "A start goes back to the checkpoint before and replays the log from there: nothing acknowledged is lost. Check the \
             disk"
        }
        Part::Map { .. } => "The server does not start. Restore a copy of the whole directory",
        Part::Page { .. } | Part::Extent(_) => {
            "The server refuses what needs this with an error and serves all else. If the log has changes for what stands there, \
             they are kept. Check the disk; restore a copy of the whole directory, or do without these rows"
        }
        Part::Tree(_) | Part::Place => {
            "This is a fault of the program, not of the disk: please report it, with this text"
        }
    }
}
