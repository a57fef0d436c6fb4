//! Draws the percentile curves of a report as an SVG: flushes above, reads below, latency logarithmic.
//!
//! Across stands how rare a latency is, by nines: the same width from 90 to 99 % as from 99 to 99.9 %.

use super::report::{DSYNC, FDATASYNC, Report, Row, size};
use crate::picture::{self, CURVES_MAX, Chart};

/// Points of a curve for each nine.
const POINTS_PER_NINE: u32 = 24;
/// Where the axis ends: 99.99 %.
const NINES_MAX: u32 = 4;

/// The whole picture.
#[must_use]
pub fn svg(report: &Report) -> String {
    picture::svg(&[
        chart(format!("Flushes: {}", report.dir), &flush_curves(report)),
        chart(format!("Random reads: {}", report.dir), &read_curves(report)),
    ])
}

/// The smallest flush at every depth, the largest alone, and the other method: more curves than colours would be none.
fn flush_curves(report: &Report) -> Vec<&Row> {
    let rows = || report.flushes.iter();
    let smallest = rows().map(|row| row.bytes).min().unwrap_or(0);
    let largest = rows().map(|row| row.bytes).max().unwrap_or(0);
    let is_shown = |row: &&Row| match row.method {
        DSYNC => row.bytes == smallest || (row.bytes == largest && row.depth == 1),
        _ => row.method == FDATASYNC && row.bytes == smallest && row.depth == 1,
    };
    rows().filter(is_shown).take(CURVES_MAX).collect()
}

/// The smallest page at every depth.
fn read_curves(report: &Report) -> Vec<&Row> {
    let smallest = report.reads.iter().map(|row| row.bytes).min().unwrap_or(0);
    report.reads.iter().filter(|row| row.bytes == smallest).take(CURVES_MAX).collect()
}

fn chart(title: String, rows: &[&Row]) -> Chart<'static> {
    let name = |row: &Row| format!("{} {} depth {}", row.method, size(row.bytes), row.depth);
    Chart {
        title,
        across: "percentile",
        range: 0.0..f64::from(NINES_MAX),
        labels: NINES_MAX as usize + 1,
        label: &percentile,
        curves: rows.iter().map(|row| (name(row), curve(row))).collect(),
        shaded: Vec::new(),
        shade: "",
    }
}

/// Nines and microseconds, as far as there were transfers to tell.
fn curve(row: &Row) -> Vec<(f64, f64)> {
    let count = row.latency.len().max(1) as f64;
    let points = (0..=NINES_MAX * POINTS_PER_NINE).map(|at| f64::from(at) / f64::from(POINTS_PER_NINE));
    let is_told = |nines: &f64| 10_f64.powf(*nines) <= count;
    points
        .take_while(is_told)
        .map(|nines| (nines, row.latency.value_at_quantile(1.0 - 10_f64.powf(-nines)) as f64 / 1000.0))
        .collect()
}

/// 2 nines are 99 %.
fn percentile(nines: f64) -> String {
    let text = format!("{:.4}", 100.0 * (1.0 - 10_f64.powf(-nines)));
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::{percentile, svg};
    use crate::disk_probe::report::tests::report;

    #[test]
    fn every_curve_is_drawn_and_named() {
        let text = svg(&report());
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
        for name in [
            "Flushes: /data/a &amp; b",
            "Random reads: /data/a &amp; b",
            "RWF_DSYNC 4 KiB depth 1",
            "RWF_DSYNC 4 KiB depth 2",
            "write+fdatasync 4 KiB depth 1",
            "RWF_DSYNC 16 KiB depth 1",
            "read 4 KiB depth 8",
            "99.9 %",
        ] {
            assert!(text.contains(name), "{name}: {text}");
        }
        assert!(!text.contains("16 KiB depth 2") && !text.contains("NaN"));
        assert_eq!(text, svg(&report()), "the same figures make the same picture");
    }

    #[test]
    fn percentiles_are_named_by_their_nines() {
        let names = [0.0, 1.0, 2.0, 4.0].map(percentile);
        assert_eq!(names, ["0 %", "90 %", "99 %", "99.99 %"]);
    }
}
