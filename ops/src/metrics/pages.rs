//! The figures of the page files, and of the memory before them.

use super::{Counted, Metrics};
use cairn_core::snapshot::{MemoryFigures, PageFigures};
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
    (
        "cairn_checkpoint_barred",
        "1 while something damaged stands in the way of all checkpoints, so that the log grows.",
    ),
    (
        "cairn_log_damaged",
        "1 while a part of the log is damaged that a start may need: leave the server running until it is 0 again.",
    ),
    ("cairn_rows_deferred", "Rows that were set and wait for their pages, beside the tree and in the log."),
    ("cairn_scrub_in_progress", "1 while a pass of the scrub is under way."),
    ("cairn_scrub_begin_timestamp_seconds", "When the last pass of the scrub began; 0: none has."),
    ("cairn_scrub_end_timestamp_seconds", "When the last whole pass of the scrub ended; 0: none has."),
];

pub(super) const COUNTERS: &[(&str, &str)] = &[
    ("cairn_page_reads_total", "Reads of the page file."),
    ("cairn_pages_settled_total", "Pages that came into memory while rows waited for them."),
    ("cairn_rows_settled_total", "Rows that had waited for these pages."),
    ("cairn_scrub_passes_total", "Times that the scrub has looked at all images of the page file."),
    ("cairn_scrub_pages_total", "Images that the scrub found sound: pages, large values, pages of the maps."),
    ("cairn_scrub_read_bytes_total", "Bytes that the scrub read."),
    ("cairn_scrub_damaged_total", "Images that the scrub found damaged."),
    ("cairn_scrub_log_read_bytes_total", "Bytes of the log that the scrub read."),
    ("cairn_scrub_log_damaged_total", "Times that the scrub found the log damaged."),
    ("cairn_page_reads_damaged_total", "Reads of the page file that brought something else than was written."),
];

impl Metrics {
    pub(super) fn publish_pages(&self, figures: &PageFigures, shard: &str, counted: &mut Counted) {
        let labels = || vec![Label::new("shard", shard.to_owned())];
        let scrub = &figures.scrub;
        self.gauges(
            labels(),
            &[
                ("cairn_pages_damaged", figures.damaged),
                ("cairn_checkpoint_fallbacks", figures.fallbacks),
                ("cairn_checkpoint_barred", u64::from(figures.is_checkpoint_barred)),
                ("cairn_log_damaged", u64::from(scrub.is_log_damaged)),
                ("cairn_rows_deferred", figures.deferred_rows),
                ("cairn_scrub_in_progress", u64::from(scrub.is_passing)),
                ("cairn_scrub_begin_timestamp_seconds", scrub.begun_unix_s),
                ("cairn_scrub_end_timestamp_seconds", scrub.ended_unix_s),
            ],
        );
        self.counts(
            counted,
            labels(),
            &[
                ("cairn_page_reads_total", figures.reads),
                ("cairn_page_reads_damaged_total", figures.damaged_reads),
                ("cairn_pages_settled_total", figures.settled_pages),
                ("cairn_rows_settled_total", figures.settled_rows),
                ("cairn_scrub_passes_total", scrub.passes),
                ("cairn_scrub_pages_total", scrub.images),
                ("cairn_scrub_read_bytes_total", scrub.bytes),
                ("cairn_scrub_damaged_total", scrub.damaged),
                ("cairn_scrub_log_read_bytes_total", scrub.log_bytes),
                ("cairn_scrub_log_damaged_total", scrub.log_damaged),
            ],
        );
    }

    pub(super) fn publish_memory(&self, memory: &MemoryFigures, shard: &str) {
        let kinds = [
            ("pages", memory.pages),
            ("extents", memory.extents),
            ("redo", memory.redo),
            ("deferred", memory.deferred),
            ("log_buffers", memory.log_buffers),
            ("client_buffers", memory.client_buffers),
            ("versions", memory.versions),
            ("list_filters", memory.list_filters),
        ];
        for (kind, bytes) in kinds {
            let labels = vec![Label::new("shard", shard.to_owned()), Label::new("kind", kind)];
            self.gauge("cairn_memory_bytes", labels, bytes as f64);
        }
    }
}
