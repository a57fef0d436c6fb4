//! The report of a check, for programs: one JSON document.

use super::text::{advice, log_advice, range_text, sentence};
use super::{ShardReport, Verdict};
use cairn_net::offline::Offline;
use cairn_storage::check::{Finding, Found, KeyBuf, Part, TreeName};
use cairn_storage::limits::PAGE_BYTES;
use serde_json::{Value, json};

pub fn of(offline: &Offline, reports: &[ShardReport], verdict: Verdict) -> String {
    let manifest = offline.manifest();
    let document = json!({
        "verdict": verdict.name(),
        "dir": offline.path(),
        "node": manifest.node_id,
        "is_locked": offline.is_locked(),
        "shards": reports.iter().map(|report| of_shard(offline, report)).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

pub fn of_error(error: &str, verdict: Verdict) -> String {
    format!("{:#}\n", json!({ "verdict": verdict.name(), "error": error, "shards": [] }))
}

fn of_shard(offline: &Offline, report: &ShardReport) -> Value {
    let file = offline.page_path(report.shard);
    let findings = report.findings().iter().map(|finding| of_finding(report, finding)).collect::<Vec<_>>();
    let pages = match &report.pages {
        Err(why) => json!({ "error": why }),
        Ok(pages) => json!({
            "file": file,
            "bytes": pages.bytes,
            "superblocks": pages.superblocks.each_ref().map(of_superblock),
            "generation": pages.generation,
            "generation_older": pages.generation_older,
            "trees": pages.trees.iter().map(|tree| json!({
                "tree": tree.tree.to_string(), "levels": tree.levels, "pages": tree.pages, "leaves": tree.leaves,
                "rows": tree.rows, "bytes": tree.bytes, "expiring": tree.expiring, "outside": tree.outside,
            })).collect::<Vec<_>>(),
            "extents": pages.extents,
            "extent_bytes": pages.extent_bytes,
            "sites": pages.sites,
            "sites_used": pages.sites_used,
            "sites_older": pages.sites_older,
            "sites_free": pages.sites_free,
            "orphans": pages.orphans,
            "images": pages.images,
            "bytes_read": pages.bytes_read,
            "findings": findings,
            "findings_left_out": pages.findings_left_out,
        }),
    };
    let log = match &report.log {
        Err(why) => json!({ "error": why }),
        Ok(log) => json!({
            "dir": offline.log(report.shard),
            "segments": log.segments,
            "bytes": log.bytes,
            "start": log.start.0,
            "end": log.end.0,
            "records": log.records,
            "unproved_bytes": log.unproved_bytes,
            "tail_bytes": log.tail_bytes,
            "undecided": { "committed": report.undecided.0, "aborted": report.undecided.1 },
            "damage": report.log_damage(offline).into_iter().map(|damage| json!({
                "file": damage.file, "offset": damage.offset, "what": damage.what, "is_needed": damage.is_needed,
                "advice": log_advice(damage.is_needed),
            })).collect::<Vec<_>>(),
            "is_cut_short": log.is_cut_short,
        }),
    };
    json!({
        "shard": report.shard.0,
        "verdict": report.verdict().name(),
        "seconds": report.elapsed.as_secs_f64(),
        "pages": pages,
        "log": log,
    })
}

fn of_superblock(found: &Found) -> Value {
    match found {
        Found::Empty => json!({ "state": "empty" }),
        Found::Sound(superblock) => json!({
            "state": "sound", "generation": superblock.generation, "lsn": superblock.lsn,
            "incarnation": superblock.incarnation, "unix_us": superblock.unix_us,
        }),
        Found::Damaged(what) => json!({ "state": "damaged", "what": what }),
        Found::Version(version) => json!({ "state": "newer", "format": version }),
        Found::Unreadable(errno) => json!({ "state": "unreadable", "errno": errno }),
    }
}

fn of_finding(report: &ShardReport, finding: &Finding) -> Value {
    let is_rows = matches!(finding.part, Part::Page { tree: Some(TreeName::Rows(_)), .. });
    let page = if let Part::Page { page, .. } = finding.part { Some(page.0) } else { None };
    let extent = if let Part::Extent(extent) = finding.part { Some(extent.0) } else { None };
    let key = |key: &KeyBuf| json!({ "head": key.head, "tail": key.tail.escape_ascii().to_string() });
    json!({
        "what": sentence(finding),
        "offset": finding.site.map(|site| u64::from(site.0) * PAGE_BYTES as u64),
        "page": page,
        "extent": extent,
        "errno": finding.errno,
        "is_newest": finding.is_newest,
        "keys": finding.range.as_ref().map(|range| json!({
            "text": range_text(range, is_rows),
            "low": key(&range.low),
            "high": range.high.as_ref().map(key),
            "before": range.before.as_ref().map(key),
            "after": range.after.as_ref().map(key),
        })),
        "advice": advice(report, finding),
    })
}
