//! Owns the open loop's timetable: when each request ought to be sent, whatever the server does.
//! Latency that is counted from these times includes the wait of the requests that a stall held up
//! (no coordinated omission).

/// The intended send times of one thread's share of a group: evenly spaced, in nanoseconds since the run's start.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval_ns: f64,
    phase: f64,
    taken: u64,
}

impl Schedule {
    /// `rate` requests a second; `phase` in `0..1` shifts the timetable by that part of an interval, so that
    /// the threads of one group do not send at the same moments.
    ///
    /// # Panics
    /// If `rate` is not positive.
    #[must_use]
    pub fn new(rate: f64, phase: f64) -> Self {
        assert!(rate > 0.0 && (0.0..1.0).contains(&phase), "{rate} requests a second with phase {phase}");
        Self { interval_ns: 1e9 / rate, phase, taken: 0 }
    }

    /// When the next request ought to be sent.
    #[inline]
    #[must_use]
    pub fn due(&self) -> u64 {
        ((self.taken as f64 + self.phase) * self.interval_ns) as u64
    }

    /// Takes the next request if it is due, and gives its intended time.
    #[inline]
    pub fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.due();
        if due > now {
            return None;
        }
        self.taken += 1;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_even_and_do_not_drift() {
        let mut schedule = Schedule::new(3.0, 0.0);
        let times: Vec<u64> = (0..7).map(|_| schedule.take(u64::MAX).unwrap()).collect();
        assert_eq!(times, [0, 333_333_333, 666_666_666, 1_000_000_000, 1_333_333_333, 1_666_666_666, 2_000_000_000]);
        let mut schedule = Schedule::new(1e6, 0.5);
        for _ in 0..3_600_000 {
            schedule.take(u64::MAX);
        }
        assert_eq!(schedule.due(), 3_600_000 * 1000 + 500);
    }

    #[test]
    fn nothing_is_taken_early_and_a_stall_leaves_its_times_behind() {
        let mut schedule = Schedule::new(1000.0, 0.0);
        assert_eq!(schedule.take(0), Some(0));
        assert_eq!(schedule.take(999_999), None);
        // The sender slept through three times: it gets them as they were intended.
        assert_eq!(schedule.take(3_100_000), Some(1_000_000));
        assert_eq!(schedule.take(3_100_000), Some(2_000_000));
        assert_eq!(schedule.take(3_100_000), Some(3_000_000));
        assert_eq!(schedule.take(3_100_000), None);
    }

    #[test]
    fn threads_share_a_rate_without_meeting() {
        let mut times: Vec<u64> = (0..4)
            .flat_map(|t| {
                let mut schedule = Schedule::new(250.0, f64::from(t) / 4.0);
                core::iter::from_fn(move || schedule.take(999_999_999))
            })
            .collect();
        times.sort_unstable();
        assert!(times.iter().copied().eq((0..1000).map(|i| i * 1_000_000)), "{times:?}");
    }
}
