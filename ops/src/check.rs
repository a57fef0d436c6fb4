//! `cairn check`: is a data directory sound? Reads all of it, and changes nothing.

mod json;
mod text;

use crate::say;
use cairn_core::hot::audit::{Stranger, strangers};
use cairn_net::check::{CheckProgress, SharedAudit, check_log, check_pages};
use cairn_net::error::StartError;
use cairn_net::offline::Offline;
use cairn_storage::check::{Finding, KeyBuf, KeyRange, LogReport, PagesReport, Part, TreeName};
use cairn_storage::error::Fault;
use cairn_storage::txn::Decisions;
use cairn_storage::units::{ShardId, TxnId};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Arguments of `cairn check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The data directory. No server may have it
    pub dir: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// What was found in one shard.
struct ShardReport {
    shard: ShardId,
    /// `Err`: it could not be looked at, and why.
    pages: Result<PagesReport, String>,
    /// From the older checkpoint on, or, where that part is damaged, from the newest on: what a start needs.
    log: Result<LogReport, String>,
    /// What is wrong with the part that only the older checkpoint needs.
    log_older: Vec<Fault>,
    /// Transactions over several shards that its log leaves undecided: those that the next start commits, and the others.
    undecided: (usize, usize),
    elapsed: Duration,
}

/// What is wrong with a log: behind it nothing is known.
struct LogDamage {
    file: PathBuf,
    offset: Option<u64>,
    what: String,
    /// A start fails over it.
    is_needed: bool,
}

/// Of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Sound,
    Damaged,
    Unchecked,
}

pub fn run(args: &CheckArgs) -> ExitCode {
    let offline = match Offline::open(&args.dir) {
        Ok(offline) => offline,
        Err(error) => {
            let verdict = if is_damage(&error) { Verdict::Damaged } else { Verdict::Unchecked };
            if args.json {
                say(&json::of_error(&error.to_string(), verdict));
            }
            eprintln!("{error}");
            return verdict.code();
        }
    };
    let progress = Progress::new(args.quiet);
    let shards = (0..offline.manifest().shards).map(ShardId);
    let (mut reports, audits): (Vec<_>, Vec<_>) = shards.map(|shard| check_shard(&offline, shard, &progress)).unzip();
    progress.finish();
    decide(&mut reports);
    find_strangers(&mut reports, audits);
    let verdict = reports.iter().map(ShardReport::verdict).max_by_key(|verdict| verdict.weight());
    let verdict = verdict.expect("a data directory has a shard");
    say(&if args.json { json::of(&offline, &reports, verdict) } else { text::of(&offline, &reports, verdict) });
    verdict.code()
}

fn check_shard(offline: &Offline, shard: ShardId, progress: &Progress) -> (ShardReport, SharedAudit) {
    let begun = Instant::now();
    let audit = Arc::new(Mutex::new(offline.audit(shard)));
    let pages = check_pages(offline, shard, &audit, |at| progress.tell(shard, "pages", at));
    // Without the page file nobody knows where the log has to begin; its own beginning is as good as any.
    let start = pages.as_ref().map(|(_, start)| *start).unwrap_or_default();
    let pages = pages.map(|(report, _)| report);
    let newest = pages.as_ref().map_or(start, PagesReport::log_start);
    let mut log = check_log(offline, shard, (start, newest), &audit, |at| progress.tell(shard, "log", at));
    let mut log_older: Vec<Fault> = Vec::new();
    if log_faults(&log).next().is_some() && start.lsn < newest.lsn {
        log_older = log_faults(&log).cloned().collect();
        log = check_log(offline, shard, (newest, newest), &audit, |at| progress.tell(shard, "log", at));
    }
    let report = ShardReport {
        shard,
        pages: pages.map_err(|error| format!("{}: {error}", offline.page_path(shard).display())),
        log_older: log_older.into_iter().filter(|older| log_faults(&log).all(|fault| fault != older)).collect(),
        log: log.map_err(|error| format!("{}: {error}", offline.log(shard).display())),
        undecided: (0, 0),
        elapsed: begun.elapsed(),
    };
    (report, audit)
}

/// What the next start makes of transactions over several shards, if it can read all logs.
fn decide(reports: &mut [ShardReport]) {
    let tails =
        reports.iter().map(|report| Some(report.log.as_ref().ok().filter(|log| log.fault.is_none())?.tail.clone()));
    let Some(tails) = tails.collect::<Option<Vec<_>>>() else { return };
    match Decisions::of(&tails, tails.len() as u16) {
        Ok(decisions) => {
            for (report, tail) in reports.iter_mut().zip(tails) {
                let is_committed = |id: &TxnId| decisions.is_committed(*id) == Some(true);
                let committed = tail.limbo().filter(is_committed).count();
                report.undecided = (committed, tail.limbo().len() - committed);
            }
        }
        Err(fault) => {
            let shard = if let Fault::Transaction { shard, .. } = fault { shard.0 } else { 0 };
            if let Some(ShardReport { log: Ok(log), .. }) = reports.get_mut(usize::from(shard)) {
                log.fault = Some(fault);
            }
        }
    }
}

/// Rows that stand at a shard which does not own them, and has no part of a split counter in them.
fn find_strangers(reports: &mut [ShardReport], audits: Vec<SharedAudit>) {
    let inner = |audit: SharedAudit| Arc::into_inner(audit)?.into_inner().ok();
    let Some(mut audits) = audits.into_iter().map(inner).collect::<Option<Vec<_>>>() else { return };
    for (audit, report) in audits.iter_mut().zip(&*reports) {
        if report.verdict() != Verdict::Sound {
            audit.note_partial();
        }
    }
    for Stranger { shard, db, head, key } in strangers(&audits) {
        let Some(Ok(pages)) = reports.get_mut(usize::from(shard.0)).map(|report| &mut report.pages) else { continue };
        let at = KeyBuf { head, tail: key.into() };
        let range = KeyRange { low: at.clone(), high: Some(at), before: None, after: None };
        let what = "a row's key is another shard's, which has not split it";
        let part = Part::Tree(TreeName::Rows(db));
        let (range, is_newest) = (Some(Box::new(range)), true);
        pages.findings.push(Finding { part, site: None, what, errno: None, counts: None, range, is_newest });
    }
}

/// All that is damaged in a log, the first first.
fn log_faults<E>(log: &Result<LogReport, E>) -> impl Iterator<Item = &Fault> {
    log.iter().flat_map(|log| log.fault.iter().chain(&log.faults_behind))
}

/// The manifest is the one thing whose damage shows when the directory is opened.
fn is_damage(error: &StartError) -> bool {
    matches!(error, StartError::ManifestDamaged { .. })
}

impl Verdict {
    fn code(self) -> ExitCode {
        match self {
            Verdict::Sound => ExitCode::SUCCESS,
            Verdict::Damaged => ExitCode::from(1),
            Verdict::Unchecked => ExitCode::from(2),
        }
    }

    /// Damage is the worst news.
    fn weight(self) -> u8 {
        match self {
            Verdict::Sound => 0,
            Verdict::Unchecked => 1,
            Verdict::Damaged => 2,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Verdict::Sound => "sound",
            Verdict::Damaged => "damaged",
            Verdict::Unchecked => "unchecked",
        }
    }
}

impl ShardReport {
    fn findings(&self) -> &[Finding] {
        self.pages.as_ref().map_or(&[], |pages| &pages.findings)
    }

    /// What is wrong with the log, and where.
    fn log_damage(&self, offline: &Offline) -> Vec<LogDamage> {
        let dir = offline.log(self.shard);
        if self.log.as_ref().is_ok_and(|log| log.segments == 0) {
            let what = "the log is gone: there are no segments".into();
            return vec![LogDamage { file: dir, offset: None, what, is_needed: true }];
        }
        let needed = log_faults(&self.log).map(|fault| (fault, true));
        let faults = needed.chain(self.log_older.iter().map(|fault| (fault, false)));
        let damage = faults.map(|(fault, is_needed)| {
            let place = fault.place(offline.manifest().segment_bytes);
            let file = place.map_or(dir.clone(), |(segment, _)| offline.segment_path(self.shard, segment));
            LogDamage { file, offset: place.map(|(_, offset)| offset), what: fault.to_string(), is_needed }
        });
        damage.collect()
    }

    fn is_log_sound(&self) -> bool {
        self.log.as_ref().is_ok_and(|log| log.fault.is_none() && log.segments > 0)
    }

    fn is_log_whole(&self) -> bool {
        self.is_log_sound() && self.log_older.is_empty()
    }

    fn verdict(&self) -> Verdict {
        if !self.findings().is_empty() || self.log.is_ok() && !self.is_log_whole() {
            Verdict::Damaged
        } else if self.pages.is_err() || self.log.is_err() {
            Verdict::Unchecked
        } else {
            Verdict::Sound
        }
    }

    /// Whether a start may go back to the older checkpoint: that one and the log are sound.
    fn has_way_back(&self) -> bool {
        let is_older_sound = self
            .pages
            .as_ref()
            .is_ok_and(|pages| pages.generation_older > 0 && pages.findings.iter().all(|finding| finding.is_newest));
        is_older_sound && self.is_log_whole()
    }
}

/// A bar on standard error, where that is a terminal.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn new(is_quiet: bool) -> Progress {
        if is_quiet || !std::io::stderr().is_terminal() {
            return Progress(None);
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template("{prefix} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        bar.set_style(style.expect("the template is a constant"));
        Progress(Some(bar))
    }

    fn tell(&self, shard: ShardId, what: &str, at: CheckProgress) {
        if let Some(bar) = &self.0 {
            let prefix = format!("shard {shard} {what}");
            if bar.prefix() != prefix {
                bar.reset();
                bar.set_prefix(prefix);
            }
            bar.set_length(at.bytes_max);
            bar.set_position(at.bytes);
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
