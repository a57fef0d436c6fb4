//! Owns the description of a run: the server, the groups of clients, what they ask for, and for how long.

use std::time::Duration;

use super::connection::{Greeting, Target};
use super::template::Template;
use crate::workload::KeyDistribution;

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target: Target,
    pub greeting: Greeting,
    pub threads: u32,
    /// The CPUs that the threads are pinned to, in turn; empty: not pinned.
    pub cpus: Vec<usize>,
    pub limit: Limit,
    pub groups: Vec<GroupPlan>,
    /// Values carry their key and the number of their write, and GETs are checked against that.
    pub verify: bool,
    /// The server's process, to account for its CPU time.
    pub pid: Option<u32>,
    pub seed: u64,
    /// Latency is kept by the second, and the server asked when it makes checkpoints.
    pub has_timeline: bool,
    /// The longest value that is written, or read back when verifying.
    pub value_bytes_max: usize,
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// What happens during `warmup` is not counted.
    Time { warmup: Duration, measured: Duration },
    /// So many requests of each group.
    Requests(u64),
}

impl Limit {
    /// When measuring begins and ends, in nanoseconds since the run's start; `None` when requests end the run.
    #[must_use]
    pub fn measured_ns(self) -> Option<(u64, u64)> {
        match self {
            Limit::Requests(_) => None,
            Limit::Time { warmup, measured } => Some((warmup.as_nanos() as u64, (warmup + measured).as_nanos() as u64)),
        }
    }
}

/// Clients that do the same.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    pub name: String,
    pub clients: u32,
    /// Closed loop: requests written at once; the next ones follow when all are answered.
    /// Open loop: requests that may be under way on one connection.
    pub pipeline: u32,
    /// Requests a second of the whole group; `None` is a closed loop.
    pub rate: Option<f64>,
    pub keys: u64,
    pub distribution: KeyDistribution,
    pub mix: Mix,
}

impl GroupPlan {
    /// Says in one sentence how the group sends and what its latencies mean.
    #[must_use]
    pub fn describe(&self) -> String {
        let clients = if self.clients == 1 { "1 client".to_owned() } else { format!("{} clients", self.clients) };
        match self.rate {
            Some(rate) => format!(
                "open loop, {rate} requests/s over {clients}, at most {} under way on each; latency counts from the \
                 intended send time (corrected for coordinated omission)",
                self.pipeline
            ),
            None => format!(
                "closed loop, {clients}, pipeline {}; each waits for its replies before it sends again, so requests \
                 that a stall would have delayed are not sent and not counted (coordinated omission)",
                self.pipeline
            ),
        }
    }
}

/// Weighted templates.
#[derive(Clone, Debug)]
pub struct Mix {
    templates: Vec<Template>,
    /// `upto[i]` is the sum of the weights up to and with template `i`.
    upto: Vec<u64>,
}

impl Mix {
    /// # Panics
    /// If there is no template or a weight is 0.
    #[must_use]
    pub fn new(weighted: Vec<(u32, Template)>) -> Self {
        assert!(!weighted.is_empty() && weighted.iter().all(|(weight, _)| *weight > 0), "a mix needs weights");
        let mut sum = 0;
        let upto = weighted.iter().map(|(weight, _)| {
            sum += u64::from(*weight);
            sum
        });
        Self { upto: upto.collect(), templates: weighted.into_iter().map(|(_, template)| template).collect() }
    }

    #[must_use]
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// The place of a template, each as often as its weight says.
    #[inline]
    #[must_use]
    pub fn draw(&self, rng: &mut fastrand::Rng) -> usize {
        if self.templates.len() == 1 {
            return 0;
        }
        let total = *self.upto.last().expect("never empty");
        let drawn = rng.u64(0..total);
        self.upto.partition_point(|upto| *upto <= drawn)
    }
}

/// The part of `total` that number `index` of `shares` equal shares takes; the first ones take the remainder.
#[must_use]
pub fn share(total: u64, index: u64, shares: u64) -> u64 {
    assert!(index < shares, "share {index} of {shares}");
    total / shares + u64::from(index < total % shares)
}

#[cfg(test)]
mod tests {
    use super::super::template::Context;
    use super::*;
    use crate::workload::ValueSize;

    #[test]
    fn weights_decide_how_often() {
        let context = Context { key_pattern: "{num}", value_size: ValueSize::fixed(1), keys: 1 };
        let template = |text| Template::parse(text, context).unwrap();
        let mix = Mix::new(vec![(1, template("A")), (7, template("B")), (2, template("C"))]);
        let mut rng = fastrand::Rng::with_seed(3);
        let mut hits = [0_i32; 3];
        (0..10_000).for_each(|_| hits[mix.draw(&mut rng)] += 1);
        for (hit, expected) in hits.iter().zip([1000, 7000, 2000]) {
            assert!((hit - expected).abs() < 250, "{hits:?}");
        }
    }

    #[test]
    fn shares_add_up() {
        for (total, shares) in [(0, 1), (10, 3), (3, 5), (100, 7)] {
            assert_eq!((0..shares).map(|i| share(total, i, shares)).sum::<u64>(), total);
        }
    }
}
