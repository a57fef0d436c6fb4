//! The figures of the page files.

use super::{Counted, Metrics};
use cairn_core::snapshot::PageFigures;
use metrics::Label;

pub(super) const GAUGES: &[(&str, &str)] = &[
    (
        "cairn_pages_damaged",
        "Pages and large values of the page file that are known to be damaged: what needs them is refused.",
    ),
    (
        "cairn_checkpoint_fallbacks",
        "1 if the start had to go back to another checkpoint than the newest. Nothing acknowledged was lost.",
    ),
];

pub(super) const COUNTERS: &[(&str, &str)] = &[
    ("cairn_page_reads_total", "Reads of the page file."),
    ("cairn_page_reads_damaged_total", "Reads of the page file that brought something else than was written."),
];

impl Metrics {
    pub(super) fn publish_pages(&self, figures: &PageFigures, shard: &str, counted: &mut Counted) {
        let labels = || vec![Label::new("shard", shard.to_owned())];
        let gauges = [("cairn_pages_damaged", figures.damaged), ("cairn_checkpoint_fallbacks", figures.fallbacks)];
        for (name, value) in gauges {
            self.gauge(name, labels(), value as f64);
        }
        let totals =
            [("cairn_page_reads_total", figures.reads), ("cairn_page_reads_damaged_total", figures.damaged_reads)];
        for (name, value) in totals {
            self.count(counted, name, labels(), value);
        }
    }
}
