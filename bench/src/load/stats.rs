//! Owns what is counted about the replies of one command of one group.

use hdrhistogram::Histogram;

use super::limits::LATENCY_NS_MAX;

/// The counts of one command; those of several threads are merged.
#[derive(Clone, Debug)]
pub struct CommandStats {
    /// Requests answered without an error.
    pub answered: u64,
    /// Of these, the ones answered before the measured time was over; throughput counts them.
    pub answered_in_time: u64,
    /// Requests that got an error reply. They are in no other count and not in the latencies.
    pub errors: u64,
    pub errors_in_warmup: u64,
    pub first_error: Option<String>,
    /// Answers that were nil.
    pub misses: u64,
    /// Answers that a verifying run looked into, and those found wrong.
    pub verified: u64,
    pub mismatches: u64,
    pub first_mismatch: Option<String>,
    /// Requests sent that had no reply when the run gave up waiting; their age then counts as their latency.
    pub unanswered: u64,
    /// Open loop: requests that were due but could not be sent before the end, counted likewise.
    pub unsent: u64,
    /// Nanoseconds.
    pub latency: Histogram<u64>,
}

impl CommandStats {
    #[must_use]
    pub fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are constants in order");
        Self {
            answered: 0,
            answered_in_time: 0,
            errors: 0,
            errors_in_warmup: 0,
            first_error: None,
            misses: 0,
            verified: 0,
            mismatches: 0,
            first_mismatch: None,
            unanswered: 0,
            unsent: 0,
            latency,
        }
    }

    /// Forgets the warm-up, but neither its errors nor what was found wrong in it.
    pub fn end_warmup(&mut self) {
        self.answered = 0;
        self.errors_in_warmup = core::mem::take(&mut self.errors);
        self.misses = 0;
        self.latency.reset();
    }

    /// `count` answers of the same latency.
    #[inline]
    pub fn record(&mut self, latency_ns: u64, count: u64) {
        self.answered += count;
        self.latency.saturating_record_n(latency_ns.max(1), count);
    }

    /// A request whose answer is not known, `age_ns` old.
    pub fn record_lost(&mut self, age_ns: u64) {
        self.latency.saturating_record(age_ns.max(1));
    }

    pub fn on_error(&mut self, text: impl FnOnce() -> String) {
        self.errors += 1;
        if self.first_error.is_none() {
            self.first_error = Some(text());
        }
    }

    pub fn on_verified(&mut self, outcome: Result<(), String>) {
        self.verified += 1;
        if let Err(what) = outcome {
            self.mismatches += 1;
            self.first_mismatch.get_or_insert(what);
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.answered += other.answered;
        self.answered_in_time += other.answered_in_time;
        self.errors += other.errors;
        self.errors_in_warmup += other.errors_in_warmup;
        self.misses += other.misses;
        self.verified += other.verified;
        self.mismatches += other.mismatches;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        self.first_error = self.first_error.take().or_else(|| other.first_error.clone());
        self.first_mismatch = self.first_mismatch.take().or_else(|| other.first_mismatch.clone());
        self.latency.add(&other.latency).expect("histograms of one run have the same bounds");
    }
}

impl Default for CommandStats {
    fn default() -> Self {
        Self::new()
    }
}
