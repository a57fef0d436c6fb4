//! A report from fixed histograms: its text, its JSON, its conclusions.

use std::path::Path;

use cairn_net::disk_probe::Transfer::{self, Read, WriteDsync, WriteThenSync};

use super::{Elsewhere, Report, Row, Run};
use crate::disk_probe::device::Device;
use crate::disk_probe::measure::{Case, Measured, histogram};

/// 1,000 transfers without a pause: nine of ten take `us`, the tenth three times as long.
fn row(transfer: Transfer, kib: usize, depth: usize, us: u64) -> Row {
    let mut latency = histogram();
    latency.record_n(us * 1000, 900).unwrap();
    latency.record_n(us * 3000, 100).unwrap();
    let seconds = 1e-6 * 1.2 * us as f64 * 1000.0 / depth as f64;
    Row::new(&Case { transfer, bytes: kib << 10, depth }, Measured { seconds, latency })
}

fn device() -> Device {
    Device {
        file_system: Some("ext4".into()),
        name: Some("vda".into()),
        write_cache: Some("write back".into()),
        fua: Some(false),
        ..Device::default()
    }
}

fn rows(us: u64) -> Vec<Row> {
    vec![
        row(WriteDsync, 4, 1, us),
        row(WriteDsync, 4, 2, us + us / 10),
        row(WriteDsync, 16, 1, us + us / 5),
        row(WriteDsync, 16, 2, us + us / 3),
        row(WriteThenSync, 4, 1, us * 2),
        row(Read, 4, 1, 100),
        row(Read, 4, 8, 160),
        row(Read, 16, 8, 200),
    ]
}

fn run(busy_cpus: f64) -> Run {
    Run { file_bytes: 64 << 20, seconds: 0.5, elsewhere: Some(Elsewhere { busy_cpus, cpus: 2 }) }
}

pub(in crate::disk_probe) fn report() -> Report {
    Report::new(Path::new("/data/a & b"), device(), run(0.7), rows(1000))
}

const DEVICE: &str = concat!(
    r#"{"file_system":"ext4","fua":false,"model":null,"name":"vda","rotational":null,"#,
    r#""write_cache":"write back"}"#
);
const COMMITS: &str = concat!(
    r#"[{"clients":1,"depth":1,"per_second":833.0},{"clients":8,"depth":2,"per_second":4847.0},"#,
    r#"{"clients":50,"depth":2,"per_second":25010.0}]"#
);

#[test]
fn the_table_is_as_people_read_it() {
    assert_eq!(report().text(), include_str!("table.txt"));
}

#[test]
fn the_json_form_has_every_figure() {
    let json: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
    let flush = concat!(
        r#"{"bytes":4096,"depth":2,"latency_us":{"max":3301.375,"mean":1320.294,"min":1099.776,"p50":1100.799,"#,
        r#""p90":1100.799,"p99":3301.375,"p99.9":3301.375,"p99.99":3301.375},"method":"RWF_DSYNC","#,
        r#""mib_per_second":5.92,"per_second":1515.2,"transfers":1000}"#
    );
    assert_eq!(json["flushes"][1].to_string(), flush);
    assert_eq!(json["device"].to_string(), DEVICE);
    assert_eq!(json["elsewhere"].to_string(), r#"{"busy_cpus":0.7,"cpus":2}"#);
    assert_eq!((json["file_bytes"].as_u64(), json["seconds"].as_f64()), (Some(64 << 20), Some(0.5)));
    assert_eq!(json["meaning"]["commits"].to_string(), COMMITS);
    assert_eq!((json["flushes"].as_array().unwrap().len(), json["reads"].as_array().unwrap().len()), (5, 3));
}

/// What a disk of such flushes is said to be.
fn first_note(device: Device, us: u64) -> (bool, String) {
    let meaning = Report::new(Path::new("/d"), device, run(0.7), rows(us)).meaning;
    (meaning.is_flush_suspicious, meaning.notes[0].clone())
}

#[test]
fn a_flush_that_is_too_quick_is_doubted() {
    assert!(!first_note(device(), 1000).0 && !first_note(device(), 10).0);
    let (is_suspicious, note) = first_note(device(), 9);
    assert!(is_suspicious && note.contains("9.0 us") && note.contains("power-loss protection"), "{note}");
    let memory = Device { file_system: Some("tmpfs".into()), ..Device::default() };
    let (is_suspicious, note) = first_note(memory, 2);
    assert!(!is_suspicious && note.starts_with("This is memory"), "{note}");
}

#[test]
fn depth_is_worth_what_it_brings() {
    let depth = |deep_us| {
        let rows = vec![row(WriteDsync, 16, 1, 1000), row(WriteDsync, 16, 2, deep_us), row(Read, 4, 1, 100)];
        Report::new(Path::new("/d"), device(), run(0.7), rows).meaning.log_depth
    };
    // Two in flight begin twice as often: 1.25 of their time against 1.5 of one's.
    assert_eq!((depth(1000), depth(1100)), (2, 2));
    // Hardly better is not better, and slower is worse.
    assert_eq!((depth(1180), depth(2000)), (1, 1));
}

#[test]
fn caches_are_told_apart() {
    let note = |write_cache: &str, fua| {
        let device = Device { write_cache: Some(write_cache.into()), fua, ..device() };
        Report::new(Path::new("/d"), device, run(0.7), rows(1000)).meaning.notes[1].clone()
    };
    assert!(note("write through", None).contains("stable"));
    assert!(note("write back", Some(true)).contains("with FUA"));
    assert!(note("write back", Some(false)).contains("whole cache"));
    assert!(note("write back", None).starts_with("write+fdatasync"), "what is not known is not said");
}

#[test]
fn a_busy_machine_is_named() {
    let last = |busy_cpus| {
        let report = Report::new(Path::new("/d"), device(), run(busy_cpus), rows(1000));
        report.meaning.notes.last().unwrap().clone()
    };
    assert!(last(1.3).starts_with("Meanwhile 1.3 of 2 CPUs worked on something else"));
    assert!(last(0.9).starts_with("Random reads"));
}
