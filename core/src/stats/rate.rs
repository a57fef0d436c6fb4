//! A counter's growth per second over the last 1.6 seconds, sampled as Redis samples its `instantaneous_` figures.

/// Samples that the mean is taken of, and nanoseconds between them.
const SAMPLES: usize = 16;
const SAMPLE_NS: u64 = 100_000_000;

/// The samples, as growth per second.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    samples: [u64; SAMPLES],
    place: usize,
    last_ns: u64,
    last_count: u64,
}

impl Rate {
    /// Notes where the counter stands. Calls that come too soon after another wait for the next one.
    pub fn sample(&mut self, mono_ns: u64, count: u64) {
        let passed = mono_ns.saturating_sub(self.last_ns);
        if self.last_ns == 0 {
            (self.last_ns, self.last_count) = (mono_ns, count);
            return;
        }
        // Ticks come a little early or late: nine tenths of the interval are enough.
        if passed < SAMPLE_NS / 10 * 9 {
            return;
        }
        let grown = u128::from(count.saturating_sub(self.last_count));
        self.samples[self.place] = (grown * 1_000_000_000 / u128::from(passed)) as u64;
        self.place = (self.place + 1) % SAMPLES;
        (self.last_ns, self.last_count) = (mono_ns, count);
    }

    pub fn per_second(&self) -> u64 {
        self.samples.iter().sum::<u64>() / SAMPLES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn a_steady_growth_shows_as_it_is() {
        let mut rate = Rate::default();
        for tick in 0..=16 {
            rate.sample(1 + tick * 100_000_000, tick * 50);
        }
        assert_eq!(rate.per_second(), 500);
        for tick in 17..=32 {
            rate.sample(1 + tick * 100_000_000, 800);
        }
        assert_eq!(rate.per_second(), 0);
    }

    #[test]
    fn samples_that_come_too_soon_are_put_together() {
        let mut rate = Rate::default();
        for tick in 0..=1600 {
            rate.sample(1 + tick * 1_000_000, tick);
        }
        assert!((950..=1000).contains(&rate.per_second()), "{}", rate.per_second());
    }
}
