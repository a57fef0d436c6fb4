//! The figures of a latency distribution, as the reports of the load generator and of the disk probe have them.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyReport {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    #[serde(rename = "p99.99")]
    pub p99_99: f64,
    pub max: f64,
}

impl LatencyReport {
    /// Of a histogram of nanoseconds. The mean is rounded to a nanosecond: more digits would say nothing.
    #[must_use]
    pub fn of(latency: &Histogram<u64>) -> Self {
        let us = |ns: u64| ns as f64 / 1000.0;
        let at = |quantile| us(latency.value_at_quantile(quantile));
        Self {
            min: us(latency.min()),
            mean: us(latency.mean().round() as u64),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: us(latency.max()),
        }
    }
}
