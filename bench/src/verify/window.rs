//! Long runs in parts, so that memory does not grow with them. A *window* is so many operations; when they are over, what was recorded of
//! them is checked and forgotten. Nothing here touches the world.
//!
//! Why no anomaly gets away between two windows:
//!
//! - A window ends at a barrier: nothing is under way, and then all that was written is read once more, which is a part of its history.
//! - Its keys are its own. The next window works in another database, which is empty when it begins; so its history begins as that of a
//!   short run does, with keys that nobody has written, and nothing has to be known of what came before. A cycle over two windows would
//!   need a key that both use.
//! - What became of an operation that a kill has cut off is for the checkers, who know what the readings at the barrier saw. It cannot happen
//!   after these: the process that had it is dead, and what its log has is decided when the next one starts. An operation whose
//!   connection ended otherwise may be under way in a server that lives. Then that server is killed before the last readings; if it is not
//!   ours to kill, the window goes on to the end of the run.
//! - What a window leaves has to outlast it. All its keys and values are remembered as hashes ([`super::left`]) and compared with what
//!   is there when the next window is over, kills and checkpoints of that one included. Then its database is emptied.

use super::anomaly::{Anomaly, Kind};
use super::workload::{Tally, Workload};
use std::time::Instant;

/// How a run is cut into windows.
pub struct Windows {
    /// Operations of one.
    pub size: u64,
    /// The workloads of one, by its number.
    pub make: Box<dyn Fn(u64) -> Vec<Box<dyn Workload>>>,
}

/// What all windows so far came to, for one workload.
#[derive(Debug)]
pub struct Verdict {
    pub name: &'static str,
    pub tally: Tally,
    /// Each with its window.
    pub found: Vec<(u64, Anomaly)>,
    /// What checking has taken.
    pub seconds: f64,
}

/// The same for all workloads, in their order.
#[derive(Debug, Default)]
pub struct Verdicts {
    pub of: Vec<Verdict>,
    /// What did not outlast the window that left it.
    pub left: Vec<(u64, Anomaly)>,
    /// Windows that are over.
    pub windows: u64,
}

impl Verdicts {
    /// A window is over, or as far as the run came: its histories are checked.
    pub fn judge(&mut self, window: u64, workloads: &[Box<dyn Workload>]) {
        self.windows += 1;
        for (at, workload) in workloads.iter().enumerate() {
            let begun = Instant::now();
            let found = workload.check().into_iter().map(|anomaly| (window, anomaly));
            if self.of.len() == at {
                let (name, tally) = (workload.name(), Tally::default());
                self.of.push(Verdict { name, tally, found: Vec::new(), seconds: 0.0 });
            }
            let verdict = &mut self.of[at];
            verdict.found.extend(found);
            verdict.tally.add(workload.tally());
            verdict.seconds += begun.elapsed().as_secs_f64();
        }
    }

    /// The window after this one is over too: what has changed of what this one left.
    pub fn outlast(&mut self, window: u64, changes: Vec<String>) {
        if !changes.is_empty() {
            let what = format!("{} keys that nobody has written since are not what they were", changes.len());
            self.left.push((window, Anomaly { kind: Kind::Lost, what, witness: changes }));
        }
    }

    pub fn is_sound(&self) -> bool {
        self.left.is_empty() && self.of.iter().all(|verdict| verdict.found.is_empty())
    }
}
