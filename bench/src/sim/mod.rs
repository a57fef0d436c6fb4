//! The simulator: shards, logs and sessions on one thread, from one seed, with disks, networks and processes that fail.
//!
//! The same seed gives the same run. A failure names the check that was broken, shows the end of the run's trace and the
//! command that repeats it.
//!
//! - `world` drives machines as a worker does, over `wires` and `devices`; `restart` recovers them as the server does (`opening`,
//!   and `damage` before it).
//! - `disk`, `pages`, `network`, `clock` stand for the kernel; `faults` says what goes wrong.
//! - `many` runs many seeds: `cairn sim`.
//! - `clients` and `workload` ask; `checks` (with `answer`, `tasks`, `scan`, `crate::model` and `crate::history`) judge.
//! - `histories`: transactions over several shards, asked and judged by what `cairn verify` has. `across`: commands and transactions over several
//!   shards, judged by the model in any order that explains the replies. `judge` is one of the three; `lives` is what both have in common.
//!
//! | check | says |
//! | --- | --- |
//! | acknowledged implies present | a crash takes back no write that a client was told of |
//! | a read is never taken back | a crash takes back nothing that a client has read |
//! | survivors are a prefix | what is there after a crash are the first so many steps of the shard |
//! | replies are the model's, in order | each reply is the reference model's, run in the order of the shards |
//! | one reply a request | no more, no less, and no connection ends without a reason |
//! | SCAN is exact | a key that is there throughout comes once |
//! | a failed log acknowledges nothing and refuses writes | after a failed or short write, until the restart |
//! | recovery refuses damage and nothing else | a bit that goes wrong is refused by name, an honest crash never |
//! | every request is answered | once nothing goes wrong any more |
//! | some order of units explains every reply, and what survives | over several shards: commands and transactions are done wholly or not at all, at one moment between request and reply |
//! | every queue is bounded | input, output, records, flights, messages |
//! | trees are sound | after each recovery; every site of a page file has one use, and a small memory shows the same rows as a large one |
//! | a checkpoint shortens the log | no record before it is replayed |
//! | a flipped bit of a page file is never served | it is reported, or in nothing that is used; a command that needs the page is refused and changes nothing |

pub mod across;
mod answer;
mod cache;
mod checks;
mod clients;
mod clock;
mod damage;
mod devices;
mod disk;
mod faults;
mod figures;
pub mod histories;
mod judge;
mod lives;
mod many;
mod network;
mod opening;
mod pages;
pub(crate) mod reply;
mod restart;
mod rot;
mod scan;
pub mod shard;
mod sparse;
mod stored;
mod tasks;
mod trace;
mod verdict;
mod wires;
mod workload;
mod world;

pub use faults::Planted;
pub use figures::Figures;
pub use lives::Lives;
pub use many::{SimArgs, run_all};

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// A check that was broken.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub planted: Option<Planted>,
    pub what: String,
    /// The last lines of the trace.
    pub tail: String,
    /// Flags of the command that repeats it: which kind of run it is.
    pub of: &'static str,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.tail)?;
        writeln!(f, "seed {} breaks a check: {}", self.seed, self.what)?;
        write!(f, "repeat it: cairn sim{} --seed {} --verbose", self.of, self.seed)?;
        if let Some(planted) = self.planted {
            write!(f, " --bug {planted}")?;
        }
        Ok(())
    }
}

/// Runs one seed. An assertion of the product that fails is a failure too.
pub fn run(seed: u64, planted: Option<Planted>, is_verbose: bool) -> Result<Figures, Failure> {
    World::new(seed, planted, is_verbose).caught("", |world| world.run().map(|()| world.figures()))
}

impl World {
    /// A run, caught if it panics. `of`: the flags that repeat it.
    fn caught<T>(mut self, of: &'static str, run: impl FnOnce(&mut World) -> Result<T, String>) -> Result<T, Failure> {
        let ran = catch_unwind(AssertUnwindSafe(|| run(&mut self)));
        let what = match ran {
            Ok(Ok(figures)) => return Ok(figures),
            Ok(Err(what)) => what,
            Err(panic) => said(&*panic),
        };
        Err(Failure { seed: self.seed, planted: self.planted, what, tail: self.tail(), of })
    }
}

/// What a panic has said.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
    format!("it panics: {text}")
}
