//! Owns what is shown while a disk is measured: a bar on a terminal, else a line every five seconds. On stderr, so that
//! stdout holds the report only.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::MIB;
use super::measure::Case;
use super::report::{method, size};

#[derive(Debug)]
pub enum Progress {
    Silent,
    Bar(ProgressBar),
    Lines { count: usize, shown: Instant },
}

const LINE_EVERY: Duration = Duration::from_secs(5);

impl Progress {
    pub fn new(count: usize, is_quiet: bool) -> Self {
        if is_quiet {
            return Self::Silent;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines { count, shown: Instant::now() };
        }
        let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template("disk [{wide_bar}] {pos}/{len} {msg}");
        bar.set_style(style.expect("the template is a constant"));
        Self::Bar(bar)
    }

    /// So much of the file has been written.
    pub fn on_prepared(&self, written: u64, file_bytes: u64) {
        if let Self::Bar(bar) = self {
            bar.set_message(format!("preparing {} of {} MiB", written / MIB, file_bytes / MIB));
        }
    }

    /// A measurement begins, the first being number 0.
    pub fn on_case(&mut self, index: usize, case: &Case) {
        let what = format!("{} {} depth {}", method(case.transfer), size(case.bytes), case.depth);
        match self {
            Self::Silent => {}
            Self::Bar(bar) => {
                bar.set_position(index as u64);
                bar.set_message(what);
            }
            Self::Lines { count, shown } => {
                if shown.elapsed() >= LINE_EVERY {
                    *shown = Instant::now();
                    eprintln!("disk {index}/{count}: {what}");
                }
            }
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
