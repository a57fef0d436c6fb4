//! A histogram of two significant digits, as Redis keeps them of its commands.

/// Counts values from 0 on; what is above its bound counts as the bound.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: hdrhistogram::Histogram<u64>,
    sum: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::up_to(crate::limits::LATENCY_NS_MAX)
    }
}

impl Histogram {
    pub fn up_to(bound: u64) -> Histogram {
        let counts = hdrhistogram::Histogram::new_with_max(bound.max(2), 2).expect("the bounds are constants that fit");
        Histogram { counts, sum: 0 }
    }

    #[inline]
    pub fn record(&mut self, value: u64) {
        self.sum = self.sum.saturating_add(value);
        self.counts.saturating_record(value);
    }

    /// Adds what another histogram has counted. Values above this one's bound count as the bound.
    pub fn merge(&mut self, other: &Histogram) {
        self.sum = self.sum.saturating_add(other.sum);
        if self.counts.add(&other.counts).is_err() {
            for value in other.counts.iter_recorded() {
                self.counts.saturating_record_n(value.value_iterated_to(), value.count_since_last_iteration());
            }
        }
    }

    pub fn count(&self) -> u64 {
        self.counts.len()
    }

    /// The sum of the values as they were, not as they were binned.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    pub fn max(&self) -> u64 {
        self.counts.max()
    }

    /// The value below or at which `percent` per cent of the values are; 0 when there is none.
    pub fn percentile(&self, percent: f64) -> u64 {
        self.counts.value_at_percentile(percent)
    }

    /// How many values are at or below each of these ascending bounds.
    pub fn cumulative(&self, bounds: &[u64]) -> Vec<u64> {
        let mut out = vec![0; bounds.len()];
        let mut place = 0;
        let mut below = 0;
        for value in self.counts.iter_recorded() {
            while place < bounds.len() && value.value_iterated_to() > bounds[place] {
                out[place] = below;
                place += 1;
            }
            below += value.count_since_last_iteration();
        }
        out[place..].fill(below);
        out
    }

    /// Pairs of an upper bound and the number of values up to it, the bounds doubling from `unit` on, from the first
    /// that has values to the one that has them all: what LATENCY HISTOGRAM shows.
    pub fn doubling(&self, unit: u64) -> Vec<(u64, u64)> {
        let total = self.count();
        let mut bounds = vec![unit];
        while *bounds.last().expect("it has one") < self.max() {
            bounds.push(bounds[bounds.len() - 1] * 2);
        }
        let counts = self.cumulative(&bounds);
        let mut out: Vec<(u64, u64)> = Vec::new();
        let mut before = 0;
        for (bound, count) in bounds.into_iter().zip(counts) {
            if count > before {
                out.push((bound, count));
            }
            before = count;
            if count == total {
                break;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn values_are_told_apart_to_one_per_cent() {
        let mut histogram = Histogram::up_to(1 << 36);
        for value in 1..=1000 {
            histogram.record(value * 1000);
        }
        for (percent, expect) in [(50.0, 500_000.0), (99.0, 990_000.0), (100.0, 1_000_000.0)] {
            let seen = histogram.percentile(percent) as f64;
            assert!((seen / expect - 1.0).abs() < 0.01, "p{percent}: {seen}");
        }
        assert_eq!((histogram.count(), histogram.sum()), (1000, 500_500_000));
    }

    #[test]
    fn what_is_too_big_counts_as_the_bound() {
        let mut histogram = Histogram::up_to(1 << 20);
        for value in [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, u64::MAX] {
            histogram.record(value);
        }
        assert_eq!(histogram.count(), 4);
        assert!(histogram.max() < 1 << 21);
    }

    #[test]
    fn merging_adds() {
        let (mut left, mut right) = (Histogram::up_to(1 << 20), Histogram::up_to(1 << 30));
        left.record(10);
        right.record(10);
        right.record(1 << 29);
        left.merge(&right);
        assert_eq!((left.count(), left.cumulative(&[9, 10, 1 << 40])), (3, vec![0, 2, 3]));
    }

    #[test]
    fn bounds_double_until_all_values_are_in() {
        let mut histogram = Histogram::up_to(1 << 36);
        for value in [500, 900, 3_500, 3_600, 100_000] {
            histogram.record(value);
        }
        assert_eq!(histogram.doubling(1000), [(1000, 2), (4000, 4), (128_000, 5)]);
        assert!(Histogram::up_to(10).doubling(1).is_empty());
    }
}
