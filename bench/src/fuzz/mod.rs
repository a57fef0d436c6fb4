//! Hostile input: whatever reads bytes that somebody else has made is given bytes that mean nothing, and bytes that mean almost something. A target is a corpus
//! and what is done with an input; an input is one of the corpus that was changed a few times, by a seed. So a failure has a number: target, seed and
//! execution make the same input again, on any machine.
//!
//! A target may refuse what it gets. It may not panic, nor make more of it than it says (`cargo test` bounds what the process may take of memory), and what
//! it takes it has to give back the same, where there is a way back.

mod mutate;
mod stored;
mod targets;

use fastrand::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// What reads bytes.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Inputs that mean something.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// Panics if something is wrong.
    pub run: fn(&[u8]),
}

/// All targets of this crate.
pub fn targets() -> Vec<Target> {
    targets::targets().into_iter().chain(stored::targets()).collect()
}

/// Arguments of `cairn fuzz`.
#[derive(Clone, Debug, clap::Args)]
pub struct FuzzArgs {
    /// What is given the inputs, by name; without it all, one after the other
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Inputs for each
    #[arg(short = 'n', long, default_value_t = 1_000_000, value_name = "COUNT")]
    pub executions: u64,
    /// Of the first input; the next ones have the next ones
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// `more`: targets that are not this crate's.
pub fn run(args: &FuzzArgs, more: &[Target]) -> ExitCode {
    let all: Vec<Target> = targets().into_iter().chain(more.iter().copied()).collect();
    let chosen: Vec<&Target> =
        all.iter().filter(|target| args.target.as_ref().is_none_or(|name| name == target.name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = all.iter().map(|target| target.name).collect();
        eprintln!("there is no such target; there are {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    for target in chosen {
        if let Err(failure) = fuzz(target, args.executions, args.seed) {
            eprintln!("{failure}");
            return ExitCode::FAILURE;
        }
        println!("{}: {} inputs from seed {}, nothing wrong", target.name, args.executions, args.seed);
    }
    ExitCode::SUCCESS
}

/// Gives a target its corpus as it is, and then so many inputs. What went wrong, if anything did.
pub fn fuzz(target: &Target, executions: u64, seed: u64) -> Result<(), String> {
    let corpus = (target.corpus)();
    let attempt = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok();
    for (at, input) in corpus.iter().enumerate() {
        if !attempt(input) {
            return Err(format!("{}: entry {at} of the corpus: {}", target.name, input.escape_ascii()));
        }
    }
    for execution in seed..seed.saturating_add(executions) {
        let input = mutate::input(&corpus, &mut Rng::with_seed(execution));
        if !attempt(&input) {
            let name = target.name;
            return Err(format!(
                "{name}: cairn fuzz --target {name} --seed {execution} -n 1: {}",
                input.escape_ascii()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_is_found_and_found_again_by_its_seed() {
        let corpus = || vec![b"abcdefgh".to_vec()];
        let target = Target { name: "wrong", corpus, run: |input| assert!(input.len() < 12, "it is long") };
        let failure = fuzz(&target, 100_000, 1).unwrap_err();
        let seed = failure.split("--seed ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        assert_eq!(fuzz(&target, 1, seed.parse().unwrap()), Err(failure));
        assert_eq!(fuzz(&Target { run: |_| {}, ..target }, 1000, 1), Ok(()));
    }
}
