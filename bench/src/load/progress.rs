//! Owns what is shown while a run goes on: a bar on a terminal, else a line every five seconds. On stderr,
//! so that stdout holds the report only.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plan::{Limit, Plan};

/// The display of one run.
#[derive(Debug)]
pub enum Progress {
    Silent,
    Bar { bar: ProgressBar, by_requests: bool, last: Sample },
    Lines { label: &'static str, last: Sample },
}

/// What was known when something was last shown.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    at: Instant,
    answered: u64,
}

const LINE_EVERY: Duration = Duration::from_secs(5);

impl Progress {
    #[must_use]
    pub fn new(plan: &Plan, label: &'static str, quiet: bool) -> Self {
        let last = Sample { at: Instant::now(), answered: 0 };
        if quiet {
            return Self::Silent;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines { label, last };
        }
        let (length, by_requests) = match plan.limit {
            Limit::Requests(each) => (each * plan.groups.len() as u64, true),
            Limit::Time { warmup, measured } => ((warmup + measured).as_millis() as u64, false),
        };
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template("{prefix} [{wide_bar}] {percent:>3} % {msg}");
        bar.set_style(style.expect("the template is a constant"));
        bar.set_prefix(label);
        Self::Bar { bar, by_requests, last }
    }

    /// Shows that `answered` requests are answered `elapsed` after the start.
    pub fn update(&mut self, elapsed: Duration, answered: u64, errors: u64) {
        match self {
            Self::Silent => {}
            Self::Bar { bar, by_requests, last } => {
                bar.set_position(if *by_requests { answered } else { elapsed.as_millis() as u64 });
                bar.set_message(last.describe(answered, errors));
            }
            Self::Lines { label, last } => {
                if last.at.elapsed() >= LINE_EVERY {
                    let shown = last.describe(answered, errors);
                    eprintln!("{label} {:.0} s: {answered} answered, {shown}", elapsed.as_secs_f64());
                }
            }
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Self::Bar { bar, .. } = self {
            bar.finish_and_clear();
        }
    }
}

impl Sample {
    /// The rate since the last sample, which this one replaces.
    fn describe(&mut self, answered: u64, errors: u64) -> String {
        let seconds = self.at.elapsed().as_secs_f64().max(1e-9);
        let rate = answered.saturating_sub(self.answered) as f64 / seconds;
        *self = Self { at: Instant::now(), answered };
        if errors == 0 { format!("{rate:.0}/s") } else { format!("{rate:.0}/s, {errors} ERROR REPLIES") }
    }
}
