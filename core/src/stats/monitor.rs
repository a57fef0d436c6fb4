//! The latency monitor: what took longer than `latency-monitor-threshold` milliseconds, event by event.
//!
//! Follows Redis: one sample a second and event (the longest), 160 of them, and an all-time maximum.

use crate::limits::LATENCY_SAMPLES_MAX;
use std::collections::{BTreeMap, VecDeque};

/// The latest samples of one event, and the longest that it ever took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyEvent {
    /// Unix seconds and milliseconds, oldest first.
    pub samples: VecDeque<(u64, u64)>,
    pub max_ms: u64,
}

impl LatencyEvent {
    fn record(&mut self, unix_s: u64, ms: u64) {
        self.max_ms = self.max_ms.max(ms);
        if let Some(last) = self.samples.back_mut().filter(|last| last.0 == unix_s) {
            last.1 = last.1.max(ms);
            return;
        }
        if self.samples.len() == LATENCY_SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((unix_s, ms));
    }
}

/// Events by name: `command`, `fast-command`, `expire-cycle`, `aof-write` (a flush of the log).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyMonitor {
    events: BTreeMap<&'static str, LatencyEvent>,
}

impl LatencyMonitor {
    /// The caller has compared `ms` with the threshold.
    pub fn record(&mut self, event: &'static str, unix_s: u64, ms: u64) {
        self.events.entry(event).or_default().record(unix_s, ms);
    }

    pub fn events(&self) -> impl Iterator<Item = (&'static str, &LatencyEvent)> {
        self.events.iter().map(|(name, event)| (*name, event))
    }

    pub fn event(&self, name: &str) -> Option<&LatencyEvent> {
        self.events.get(name)
    }

    /// Forgets these events, or all if none is named. The names of those that there were.
    pub fn reset(&mut self, names: &[String]) -> Vec<&'static str> {
        let is_meant = |event: &str| names.is_empty() || names.iter().any(|name| name.eq_ignore_ascii_case(event));
        self.events.extract_if(.., |event, _| is_meant(event)).map(|(event, _)| event).collect()
    }

    pub fn merge(&mut self, other: &LatencyMonitor) {
        for (name, theirs) in &other.events {
            let mine = self.events.entry(name).or_default();
            let mut all: Vec<(u64, u64)> = mine.samples.drain(..).chain(theirs.samples.iter().copied()).collect();
            all.sort_unstable();
            let max_ms = mine.max_ms.max(theirs.max_ms);
            for (unix_s, ms) in all {
                mine.record(unix_s, ms);
            }
            mine.max_ms = max_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_keeps_its_longest() {
        let mut monitor = LatencyMonitor::default();
        for (unix_s, ms) in [(1, 5), (1, 9), (1, 7), (2, 3)] {
            monitor.record("command", unix_s, ms);
        }
        let event = monitor.event("command").unwrap();
        assert_eq!((event.samples.make_contiguous_copy(), event.max_ms), (vec![(1, 9), (2, 3)], 9));
    }

    #[test]
    fn samples_are_bounded() {
        let mut monitor = LatencyMonitor::default();
        for unix_s in 0..=LATENCY_SAMPLES_MAX as u64 {
            monitor.record("command", unix_s, 1);
        }
        let samples = &monitor.event("command").unwrap().samples;
        assert_eq!((samples.len(), samples[0].0), (LATENCY_SAMPLES_MAX, 1));
    }

    #[test]
    fn monitors_merge_and_forget() {
        let (mut left, mut right) = (LatencyMonitor::default(), LatencyMonitor::default());
        left.record("command", 3, 5);
        right.record("command", 2, 50);
        right.record("command", 3, 4);
        right.record("expire-cycle", 1, 1);
        left.merge(&right);
        let event = left.event("command").unwrap();
        assert_eq!((event.samples.make_contiguous_copy(), event.max_ms), (vec![(2, 50), (3, 5)], 50));
        assert_eq!(left.reset(&["COMMAND".to_owned(), "none".to_owned()]), ["command"]);
        assert_eq!(left.reset(&[]), ["expire-cycle"]);
    }

    trait Copied {
        fn make_contiguous_copy(&self) -> Vec<(u64, u64)>;
    }

    impl Copied for VecDeque<(u64, u64)> {
        fn make_contiguous_copy(&self) -> Vec<(u64, u64)> {
            self.iter().copied().collect()
        }
    }
}
