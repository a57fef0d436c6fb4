//! Reads the exposition as Prometheus would, and checks its conventions.

use super::*;
use cairn_core::snapshot::ShardFigures;
use cairn_core::stats::CommandStats;

/// An exposition, read.
struct Read {
    helped: BTreeSet<String>,
    kinds: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Read {
    fn of(text: &str) -> Read {
        let mut read = Read { helped: BTreeSet::new(), kinds: BTreeMap::new(), samples: BTreeMap::new() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!help.is_empty() && read.helped.insert(name.into()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(read.kinds.insert(name.into(), kind.into()).is_none(), "{line}");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert!(read.samples.insert(series.into(), value.parse().unwrap()).is_none(), "twice: {line}");
            }
        }
        read
    }

    fn value(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.samples.keys()))
    }
}

fn snapshot(shard: u16, calls: u64) -> Box<Snapshot> {
    let mut snapshot = Snapshot {
        shards: vec![ShardFigures { shard, rows: 5, ..ShardFigures::default() }],
        databases: vec![Default::default(); 16],
        ..Snapshot::default()
    };
    snapshot.counters.connections_received = calls;
    snapshot.errors.insert("WRONGTYPE".into(), 3);
    for us in [30, 110, 110, 900] {
        snapshot.flushes.us.record(us);
    }
    if table::count() > 0 {
        let mut latency = Histogram::default();
        latency.record(1_500);
        snapshot.commands = vec![CommandStats { calls, latency: Some(Box::new(latency)), ..CommandStats::default() }];
    }
    Box::new(snapshot)
}

#[test]
fn a_database_that_is_emptied_is_shown_as_empty() {
    let metrics = Metrics::new(Path::new("."));
    let keys = |rows, redo_left| {
        let mut snapshot = snapshot(0, 1);
        (snapshot.databases[3].rows, snapshot.databases[3].redo_left) = (rows, redo_left);
        metrics.on_snapshot(snapshot);
        let read = Read::of(&metrics.render());
        let value = |name: &str| read.samples.get(&format!("cairn_database_{name}{{db=\"3\"}}")).copied();
        (value("keys"), value("redo_pending_effects"))
    };
    assert_eq!(keys(0, 0), (None, None));
    assert_eq!(keys(0, 7), (Some(0.0), Some(7.0)), "its keys are in the log yet");
    assert_eq!(keys(5, 0), (Some(5.0), Some(0.0)));
    assert_eq!(keys(0, 0), (Some(0.0), Some(0.0)));
}

#[test]
fn the_exposition_keeps_prometheus_conventions() {
    let metrics = Metrics::new(Path::new("."));
    metrics.set_up(true);
    metrics.on_snapshot(snapshot(0, 10));
    metrics.on_snapshot(snapshot(1, 20));
    metrics.on_worker(Box::new(WorkerStats::new(0, 0)));
    let read = Read::of(&metrics.render());
    for (name, kind) in &read.kinds {
        assert!(read.helped.contains(name), "{name} has no HELP");
        assert!(name.starts_with("cairn_") || name.starts_with("process_"), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(!["_ms", "_us", "_ns", "_kb", "_mb", "_count", "_sum"].iter().any(|end| name.ends_with(end)), "{name}");
    }
    for series in read.samples.keys() {
        let name = series.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(read.kinds.contains_key(name) || read.kinds.contains_key(family), "{series} has no TYPE");
    }
    for (name, _) in GAUGES {
        assert!(read.samples.keys().any(|series| series.split('{').next() == Some(name)), "no sample of {name}");
    }
    assert_eq!(read.value("cairn_up"), 1.0);
    assert_eq!(read.value("cairn_connections_received_total{shard=\"1\"}"), 20.0);
    assert_eq!(read.value("cairn_errors_total{code=\"WRONGTYPE\"}"), 6.0);
    assert_eq!(read.value("cairn_log_state{shard=\"0\",state=\"open\"}"), 1.0);
    assert_eq!(read.value("cairn_log_state{shard=\"0\",state=\"failed\"}"), 0.0);
}

#[test]
fn histograms_are_those_of_the_shards() {
    let metrics = Metrics::new(Path::new("."));
    metrics.on_snapshot(snapshot(0, 1));
    let mut stats = WorkerStats::new(0, 0);
    for ns in [900, 4_000, 4_000, 3_000_000] {
        stats.turn_ns.record(ns).unwrap();
    }
    metrics.on_worker(Box::new(stats));
    let read = Read::of(&metrics.render());
    let turn = |rest: &str| read.value(&format!("cairn_turn_duration_seconds_{rest}"));
    let bounds = ["0.000001", "0.0000025", "0.000005", "0.0025", "0.005", "+Inf"];
    let counts = bounds.map(|bound| turn(&format!("bucket{{worker=\"0\",le=\"{bound}\"}}")));
    assert_eq!((counts, turn("count{worker=\"0\"}")), ([1.0, 1.0, 3.0, 3.0, 4.0, 4.0], 4.0));
    let flush = |rest: &str| read.value(&format!("cairn_log_flush_duration_seconds_{rest}"));
    assert_eq!(flush("bucket{shard=\"0\",le=\"0.000025\"}"), 0.0);
    assert_eq!(flush("bucket{shard=\"0\",le=\"0.0001\"}"), 1.0);
    assert_eq!(flush("bucket{shard=\"0\",le=\"0.00015\"}"), 3.0);
    assert_eq!(flush("bucket{shard=\"0\",le=\"+Inf\"}"), 4.0);
    assert_eq!((flush("count{shard=\"0\"}"), flush("sum{shard=\"0\"}")), (4.0, 0.00115));
    assert_eq!((seconds(2_500, NS), seconds(100, US), seconds(4_096, 1.0)), (0.0000025, 0.0001, 4096.0));
}

#[test]
fn counters_survive_a_reset_of_the_statistics() {
    let metrics = Metrics::new(Path::new("."));
    let received = || Read::of(&metrics.render()).value("cairn_connections_received_total{shard=\"0\"}");
    metrics.on_snapshot(snapshot(0, 10));
    assert_eq!((received(), received()), (10.0, 10.0));
    metrics.on_snapshot(snapshot(0, 4));
    assert_eq!(received(), 14.0);
    metrics.on_snapshot(snapshot(0, 5));
    assert_eq!(received(), 15.0);
}
