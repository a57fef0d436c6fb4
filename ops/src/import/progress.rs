//! How far an import is: a bar on a terminal, else a line every five seconds. On stderr, so that stdout holds the report only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

const LINE_EVERY: Duration = Duration::from_secs(5);

/// The display.
pub enum Progress {
    Silent,
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Progress {
    /// Of so many bytes, if that is known.
    pub fn new(bytes: Option<u64>, is_quiet: bool) -> Progress {
        if is_quiet {
            return Progress::Silent;
        }
        if !std::io::stderr().is_terminal() {
            return Progress::Lines { last: Instant::now() };
        }
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr_with_hz(5));
        let template = match bytes {
            Some(_) => "[{wide_bar}] {percent:>3} % {bytes_per_sec} {msg}",
            None => "{spinner} {bytes} {bytes_per_sec} {msg}",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
        Progress::Bar(bar)
    }

    pub fn tell(&mut self, bytes: u64, keys: u64) {
        match self {
            Progress::Silent => {}
            Progress::Bar(bar) => {
                bar.set_position(bytes);
                // A message is formatted as often as it is shown.
                if keys.is_multiple_of(1024) {
                    bar.set_message(format!("{keys} keys"));
                }
            }
            Progress::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                eprintln!("{bytes} bytes read, {keys} keys sent");
            }
            Progress::Lines { .. } => {}
        }
    }

    /// A line that says how it stands now.
    pub fn say(&mut self, text: &str) {
        match self {
            Progress::Silent => {}
            Progress::Bar(bar) => bar.set_message(text.to_string()),
            Progress::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                eprintln!("{text}");
            }
            Progress::Lines { .. } => {}
        }
    }

    pub fn finish(&mut self) {
        if let Progress::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
