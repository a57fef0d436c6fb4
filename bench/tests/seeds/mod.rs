//! What tests of the simulators have in common: runs that have to pass, and bugs that have to be found.

use cairn_bench::sim::{Failure, Planted};
use std::fmt::Debug;
use std::ops::AddAssign;

/// A simulator: runs a seed, with a bug or without.
pub type Simulator<Figures> = fn(u64, Option<Planted>, bool) -> Result<Figures, Failure>;

/// A seed passes.
pub fn check<Figures>(run: Simulator<Figures>, seed: u64) -> Figures {
    run(seed, None, false).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Seeds from 1 on pass, until there is enough of them: what they come to.
pub fn check_until<Figures: Default + AddAssign>(
    run: Simulator<Figures>,
    is_enough: impl Fn(u64, &Figures) -> bool,
) -> Figures {
    let mut sum = Figures::default();
    for seed in 1.. {
        sum += check(run, seed);
        if is_enough(seed, &sum) {
            break;
        }
    }
    sum
}

/// The same seed is the same run, and another one is another.
pub fn check_is_a_run<Figures: PartialEq + Debug>(run: Simulator<Figures>, seeds: u64) {
    for seed in 1..=seeds {
        assert_eq!(check(run, seed), check(run, seed), "seed {seed}");
    }
    assert_ne!(check(run, 1), check(run, 2));
}

/// Each bug is found within so many seeds, by a check whose name begins like this. That an assertion of the product notices it too is not enough.
pub fn check_finds<Figures>(run: Simulator<Figures>, bugs: impl IntoIterator<Item = Planted>, seeds: u64, check: &str) {
    for bug in bugs {
        let found = (1..=seeds).find_map(|seed| {
            let failure = run(seed, Some(bug), false).err();
            failure.filter(|failure| failure.what.starts_with(check))
        });
        let Failure { seed, what, .. } = found.unwrap_or_else(|| panic!("{bug} is not found in {seeds} seeds"));
        println!("{bug}: seed {seed}: {what}");
    }
}
