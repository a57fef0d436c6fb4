//! Owns what a run reports, and its three forms: text, JSON, and HdrHistogram's percentile format.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::driver::Outcome;
use super::plan::{GroupPlan, Plan};
use super::stats::CommandStats;
use super::timeline::{CheckpointReport, SecondReport, Seconds};
use crate::latency::LatencyReport;

/// The result of a run. Its JSON form is what `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    pub target: String,
    pub threads: u32,
    /// The measured time.
    pub seconds: f64,
    pub groups: Vec<GroupReport>,
    /// Without `--pid`, null.
    pub server: Option<CpuReport>,
    pub generator: CpuReport,
    /// What ran on the machine beside the generator and the server: CPUs kept busy. Null without `--pid`.
    pub elsewhere_cpus: Option<f64>,
}

/// What a group of clients was, and what came of it.
#[derive(Debug, Serialize)]
pub struct GroupReport {
    pub name: String,
    /// `closed` or `open`.
    #[serde(rename = "loop")]
    pub kind: &'static str,
    pub latency_counts_from: &'static str,
    pub clients: u32,
    pub pipeline: u32,
    /// Requests a second asked for, in an open loop.
    pub rate: Option<f64>,
    pub keys: u64,
    pub distribution: String,
    pub total: CommandReport,
    pub commands: Vec<CommandReport>,
    /// With a timeline, where some seconds had a checkpoint and some had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointReport>,
    /// With a timeline, the whole seconds of the measured time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seconds: Vec<SecondReport>,
    #[serde(skip)]
    description: String,
    #[serde(skip)]
    latency: Histogram<u64>,
}

/// The replies to one command of a group, or to all of its commands together. Counts are of requests in the measured
/// time.
#[derive(Debug, Serialize)]
pub struct CommandReport {
    pub command: String,
    /// Requests answered without an error.
    pub answered: u64,
    pub per_second: f64,
    pub errors: u64,
    pub errors_in_warmup: u64,
    pub first_error: Option<String>,
    pub nil_replies: u64,
    pub verified: u64,
    pub mismatches: u64,
    pub first_mismatch: Option<String>,
    pub unanswered: u64,
    pub unsent: u64,
    /// Null when there was no answer.
    pub latency_us: Option<LatencyReport>,
}

/// The CPU time of a process during the measured time.
#[derive(Debug, Serialize)]
pub struct CpuReport {
    pub pid: u32,
    pub cpu_us_per_request: f64,
    pub user_us_per_request: f64,
    pub system_us_per_request: f64,
    /// CPUs kept busy: 1.0 is one whole core.
    pub cpus: f64,
    pub context_switches_per_request: f64,
    pub involuntary_switches_per_request: f64,
}

impl Report {
    /// Merges what the threads counted. `checkpoints` says which seconds of a timeline had one.
    #[must_use]
    pub fn new(plan: &Plan, outcomes: &[Outcome], checkpoints: &[bool], generator: CpuReport) -> Self {
        let measured_ns = outcomes.iter().map(|o| o.measured_ns).max().unwrap_or(0);
        let seconds = (measured_ns as f64 / 1e9).max(1e-9);
        let groups = plan.groups.iter().enumerate().map(|(index, group)| {
            let threads: Vec<&[CommandStats]> = outcomes.iter().map(|o| o.groups[index].as_slice()).collect();
            let timelines: Vec<&Seconds> = outcomes.iter().filter_map(|o| o.seconds[index].as_ref()).collect();
            let by_second = merged(&timelines, checkpoints);
            let checkpoint = CheckpointReport::of(&by_second);
            GroupReport { checkpoint, seconds: by_second, ..GroupReport::new(group, &threads, seconds) }
        });
        Self {
            target: plan.target.to_string(),
            threads: plan.threads,
            seconds,
            groups: groups.collect(),
            server: None,
            generator,
            elsewhere_cpus: None,
        }
    }

    /// Whether every request was answered, without an error and as it should be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.groups.iter().map(|g| &g.total).all(|t| {
            t.errors == 0 && t.errors_in_warmup == 0 && t.mismatches == 0 && t.unanswered == 0 && t.answered > 0
        })
    }

    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings have a JSON form")
    }

    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let threads = if self.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", self.threads) };
        let _ = writeln!(text, "{}, {threads}, {:.2} s measured", self.target, self.seconds);
        for group in &self.groups {
            let _ =
                writeln!(text, "{}: {}; {} keys, {}", group.name, group.description, group.keys, group.distribution);
        }
        let width = self.rows().map(|(name, _)| name.len()).max().unwrap_or(0).max(7);
        let _ = write!(text, "\n{:width$} {:>12} {:>12} {:>8}", "request", "answered", "per second", "errors");
        for head in ["p50", "p90", "p99", "p99.9", "p99.99", "max"] {
            let _ = write!(text, " {head:>9}");
        }
        text.push_str("  (us)\n");
        for (name, row) in self.rows() {
            let _ = write!(text, "{name:width$} {:>12} {:>12.0} {:>8}", row.answered, row.per_second, row.errors);
            if let Some(l) = &row.latency_us {
                for value in [l.p50, l.p90, l.p99, l.p99_9, l.p99_99, l.max] {
                    let _ = write!(text, " {value:>9.1}");
                }
            }
            text.push('\n');
        }
        text.push('\n');
        self.rows().for_each(|(name, row)| row.remarks(&name, &mut text));
        for group in &self.groups {
            if let Some(checkpoint) = &group.checkpoint {
                let _ = writeln!(text, "{}: {checkpoint}", group.name);
            }
        }
        if let Some(server) = &self.server {
            let _ = writeln!(text, "server (process {}): {server}", server.pid);
        }
        let _ = writeln!(text, "this generator: {}", self.generator);
        if let Some(cpus) = self.elsewhere_cpus.filter(|cpus| *cpus > ELSEWHERE_NOTABLE) {
            let _ = writeln!(text, "elsewhere on the machine {cpus:.2} CPUs were busy: the figures may suffer from it");
        }
        if self.generator.cpus > f64::from(self.threads) * GENERATOR_SATURATED {
            text.push_str("the generator's threads were busy all the time: the server may be able to do more\n");
        }
        text
    }

    /// The lines of the table: each command, and each group's total where it has several.
    fn rows(&self) -> impl Iterator<Item = (String, &CommandReport)> {
        let several = self.groups.len() > 1;
        self.groups.iter().flat_map(move |group| {
            let total = (group.commands.len() > 1).then_some(&group.total);
            group.commands.iter().chain(total).map(move |row| {
                let name = if several { format!("{} {}", group.name, row.command) } else { row.command.clone() };
                (name, row)
            })
        })
    }

    /// Where the latency distribution of each group goes, and its text.
    #[must_use]
    pub fn hgrm_files(&self, path: &Path) -> Vec<(PathBuf, String)> {
        let several = self.groups.len() > 1;
        let named = |group: &GroupReport| {
            if !several {
                return path.to_owned();
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
            path.with_file_name(format!("{stem}.{}{extension}", group.name))
        };
        self.groups.iter().map(|group| (named(group), hgrm(&group.latency))).collect()
    }
}

/// From here on the text report says that other work ran.
const ELSEWHERE_NOTABLE: f64 = 0.15;
const GENERATOR_SATURATED: f64 = 0.97;

impl GroupReport {
    fn new(plan: &GroupPlan, threads: &[&[CommandStats]], seconds: f64) -> Self {
        let mut total = CommandStats::new();
        let mut commands = Vec::new();
        for (index, template) in plan.mix.templates().iter().enumerate() {
            let mut merged = CommandStats::new();
            threads.iter().for_each(|stats| merged.merge(&stats[index]));
            total.merge(&merged);
            commands.push(CommandReport::new(&template.name, &merged, seconds));
        }
        let open = plan.rate.is_some();
        Self {
            name: plan.name.clone(),
            kind: if open { "open" } else { "closed" },
            latency_counts_from: if open { "intended send time" } else { "actual send time" },
            clients: plan.clients,
            pipeline: plan.pipeline,
            rate: plan.rate,
            keys: plan.keys,
            distribution: plan.distribution.to_string(),
            total: CommandReport::new("total", &total, seconds),
            commands,
            checkpoint: None,
            seconds: Vec::new(),
            description: plan.describe(),
            latency: total.latency,
        }
    }
}

/// The seconds of all threads.
fn merged(threads: &[&Seconds], checkpoints: &[bool]) -> Vec<SecondReport> {
    let Some((first, others)) = threads.split_first() else { return Vec::new() };
    let mut all = (*first).clone();
    others.iter().for_each(|other| all.merge(other));
    all.report(checkpoints)
}

impl CommandReport {
    fn new(command: &str, stats: &CommandStats, seconds: f64) -> Self {
        let latency_us = (!stats.latency.is_empty()).then(|| LatencyReport::of(&stats.latency));
        Self {
            command: command.to_owned(),
            answered: stats.answered,
            per_second: stats.answered_in_time as f64 / seconds,
            errors: stats.errors,
            errors_in_warmup: stats.errors_in_warmup,
            first_error: stats.first_error.clone(),
            nil_replies: stats.misses,
            verified: stats.verified,
            mismatches: stats.mismatches,
            first_mismatch: stats.first_mismatch.clone(),
            unanswered: stats.unanswered,
            unsent: stats.unsent,
            latency_us,
        }
    }

    /// What a reader must not miss.
    fn remarks(&self, name: &str, text: &mut String) {
        if let Some(first) = &self.first_error {
            let warmup = match self.errors_in_warmup {
                0 => String::new(),
                n => format!(" and {n} during the warm-up"),
            };
            let _ =
                writeln!(text, "{name}: {} ERROR REPLIES{warmup}, in no other figure; the first: {first}", self.errors);
        }
        if let Some(first) = &self.first_mismatch {
            let _ = writeln!(text, "{name}: {} WRONG VALUES; the first: {first}", self.mismatches);
        }
        if self.verified > 0 {
            let _ = writeln!(text, "{name}: {} values verified", self.verified);
        }
        if self.nil_replies > 0 {
            let _ = writeln!(text, "{name}: {} of the replies were nil", self.nil_replies);
        }
        if self.unanswered > 0 {
            let _ = writeln!(text, "{name}: {} requests NEVER ANSWERED; their age counts as latency", self.unanswered);
        }
        if self.unsent > 0 {
            let _ = writeln!(
                text,
                "{name}: {} requests were due but found no free client; their age counts as latency",
                self.unsent
            );
        }
    }
}

impl std::fmt::Display for CpuReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.3} us of CPU a request ({:.3} user, {:.3} system), {:.0} % of one core, {:.3} context switches a request \
             ({:.3} involuntary)",
            self.cpu_us_per_request,
            self.user_us_per_request,
            self.system_us_per_request,
            self.cpus * 100.0,
            self.context_switches_per_request,
            self.involuntary_switches_per_request
        )
    }
}

/// HdrHistogram's percentile format as its plotter reads it; values in milliseconds.
fn hgrm(latency: &Histogram<u64>) -> String {
    const TICKS_PER_HALF_DISTANCE: u32 = 5;
    let ms = |ns: f64| ns / 1e6;
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut total = 0;
    for step in latency.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        total += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        let value = ms(step.value_iterated_to() as f64);
        let _ = write!(text, "{value:12.6} {quantile:2.12} {total:10}");
        let _ = if quantile < 1.0 { writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(text) };
    }
    let (mean, deviation) = (ms(latency.mean()), ms(latency.stdev()));
    let _ = writeln!(text, "#[Mean    = {mean:12.6}, StdDeviation   = {deviation:12.6}]");
    let _ = writeln!(text, "#[Max     = {:12.6}, Total count    = {:12}]", ms(latency.max() as f64), latency.len());
    let (buckets, sub_buckets) = (latency.buckets(), latency.distinct_values());
    let _ = writeln!(text, "#[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]");
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::args::tests::plan;
    use super::*;

    pub(in crate::load) fn report(arguments: &[&str], record: impl Fn(&mut CommandStats)) -> Report {
        let plan = plan(arguments).unwrap();
        let stats = |g: &GroupPlan| vec![CommandStats::new(); g.mix.templates().len()];
        let outcome = || {
            let mut groups: Vec<Vec<CommandStats>> = plan.groups.iter().map(stats).collect();
            groups.iter_mut().flatten().for_each(&record);
            let mut second = Seconds::new(0, 3_000_000_000);
            (0..3).for_each(|at| second.record(at * 1_000_000_000, (at + 1) * 1_000_000, 10));
            let seconds = groups.iter().map(|_| plan.has_timeline.then(|| second.clone())).collect();
            Outcome { groups, seconds, measured_ns: 2_000_000_000 }
        };
        let generator = CpuReport {
            pid: 1,
            cpu_us_per_request: 0.5,
            user_us_per_request: 0.2,
            system_us_per_request: 0.3,
            cpus: 0.1,
            context_switches_per_request: 0.0,
            involuntary_switches_per_request: 0.0,
        };
        Report::new(&plan, &[outcome(), outcome()], &[false, true, true], generator)
    }

    pub(in crate::load) fn answered(stats: &mut CommandStats) {
        (1..=500).for_each(|us| stats.record(us * 1000, 1));
        stats.answered_in_time = stats.answered;
    }

    #[test]
    fn json_has_its_documented_shape() {
        let groups = ["-g", "name=a rate=10 command=GET {key}", "-g", "name=b command=PING | 2:ECHO x"];
        let json: serde_json::Value = serde_json::from_str(&report(&groups, answered).json()).unwrap();
        assert_eq!(json["target"], "127.0.0.1:6379");
        assert_eq!(json["seconds"], 2.0);
        assert_eq!(json["groups"][0]["loop"], "open");
        assert_eq!(json["groups"][0]["latency_counts_from"], "intended send time");
        assert_eq!(json["groups"][0]["rate"], 10.0);
        assert_eq!(json["groups"][1]["loop"], "closed");
        assert_eq!(json["groups"][1]["commands"][1]["command"], "ECHO");
        let total = &json["groups"][1]["total"];
        assert_eq!(total["answered"], 2000);
        assert_eq!(total["per_second"], 1000.0);
        for (name, expected) in [("p50", 250.0), ("p90", 450.0), ("p99", 495.0), ("max", 500.0)] {
            let seen = total["latency_us"][name].as_f64().unwrap();
            assert!((seen - expected).abs() < expected / 500.0, "{name}: {seen}");
        }
        assert!(total["latency_us"]["p99.9"].is_f64() && total["latency_us"]["p99.99"].is_f64());
        assert!(json["server"].is_null() && json["groups"][0]["seconds"].is_null());
        assert_eq!(json["generator"]["cpu_us_per_request"], 0.5);
    }

    #[test]
    fn a_timeline_sets_checkpoints_beside_other_seconds() {
        let report = report(&["--command", "PING", "--timeline", "x.svg"], answered);
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        let group = &json["groups"][0];
        assert_eq!(
            (group["seconds"][2]["answered"].as_u64(), group["seconds"][2]["has_checkpoint"].as_bool()),
            (Some(20), Some(true))
        );
        let checkpoint = &group["checkpoint"];
        assert_eq!((checkpoint["seconds_with"].as_u64(), checkpoint["seconds_without"].as_u64()), (Some(2), Some(1)));
        assert!(report.text().contains("us in the 2 with a checkpoint,"), "{}", report.text());
    }

    #[test]
    fn trouble_is_in_the_text_and_in_the_verdict() {
        let clean = report(&["--command", "PING"], answered);
        assert!(clean.is_clean() && clean.text().contains("closed loop"));
        let errors = report(&["--command", "PING"], |stats| {
            answered(stats);
            stats.on_error(|| "ERR first".to_owned());
            stats.on_error(|| "ERR second".to_owned());
        });
        assert!(!errors.is_clean());
        assert!(
            errors.text().contains("4 ERROR REPLIES, in no other figure; the first: ERR first"),
            "{}",
            errors.text()
        );
        let silent = report(&["--command", "PING"], |_| ());
        assert!(!silent.is_clean() && silent.json().contains("\"latency_us\": null"));
        let lost = report(&["--command", "PING"], |stats| {
            answered(stats);
            stats.unanswered = 1;
        });
        assert!(!lost.is_clean() && lost.text().contains("NEVER ANSWERED"));
    }

    #[test]
    fn the_percentile_file_ends_with_every_answer() {
        let files = report(&["--command", "PING"], answered).hgrm_files(Path::new("x/out.hgrm"));
        let [(path, text)] = files.as_slice() else { panic!("{} files", files.len()) };
        assert_eq!(path, Path::new("x/out.hgrm"));
        assert!(text.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"));
        let last: Vec<&str> = text.lines().rfind(|l| !l.starts_with('#')).unwrap().split_whitespace().collect();
        assert_eq!(last[1..], ["1.000000000000", "1000"]);
        assert!(text.contains("Total count    =         1000]"));
        let two = report(&["-g", "name=a command=PING", "-g", "name=b command=PING"], answered);
        let paths: Vec<PathBuf> = two.hgrm_files(Path::new("out.hgrm")).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, [Path::new("out.a.hgrm"), Path::new("out.b.hgrm")]);
    }
}
