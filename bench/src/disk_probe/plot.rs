//! Draws the percentile curves of a report as an SVG: flushes above, reads below, both axes logarithmic.
//!
//! Across stands how rare a latency is, by nines: the same width from 90 to 99 % as from 99 to 99.9 %.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::report::{DSYNC, FDATASYNC, Report, Row, size};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failure<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

const WIDTH: u32 = 1000;
const HEIGHT: u32 = 1100;
/// Points of a curve for each nine.
const POINTS_PER_NINE: u32 = 24;
/// Where the axis ends: 99.99 %.
const NINES_MAX: u32 = 4;

/// Told apart by people with every kind of colour vision (Okabe and Ito's set).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];

/// The whole picture.
#[must_use]
pub fn svg(report: &Report) -> String {
    let mut text = String::new();
    draw(report, &mut text).expect("a picture in memory can always be drawn");
    text
}

fn draw<'a>(report: &Report, text: &'a mut String) -> Result<(), Failure<'a>> {
    let root = SVGBackend::with_string(text, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let (above, below) = root.split_vertically(HEIGHT / 2);
    chart(&above, &format!("Flushes: {}", report.dir), &flush_curves(report))?;
    chart(&below, &format!("Random reads: {}", report.dir), &read_curves(report))?;
    root.present()
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
    rows().filter(is_shown).take(COLORS.len()).collect()
}

/// The smallest page at every depth.
fn read_curves(report: &Report) -> Vec<&Row> {
    let smallest = report.reads.iter().map(|row| row.bytes).min().unwrap_or(0);
    report.reads.iter().filter(|row| row.bytes == smallest).take(COLORS.len()).collect()
}

fn chart<'a>(area: &Area<'a>, title: &str, rows: &[&Row]) -> Result<(), Failure<'a>> {
    let curves: Vec<Vec<(f64, f64)>> = rows.iter().map(|row| curve(row)).collect();
    let values = || curves.iter().flatten().map(|(_, us)| *us);
    let least = values().fold(f64::MAX, f64::min).min(1e9);
    let most = values().fold(least, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..f64::from(NINES_MAX), (least / 1.3..most * 1.3).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("percentile")
        .y_desc("latency in microseconds")
        .x_labels(NINES_MAX as usize + 1)
        .x_label_formatter(&|nines| percentile(*nines))
        .y_label_formatter(&|us| if *us < 10.0 { format!("{us:.1}") } else { format!("{us:.0}") })
        .label_style(("sans-serif", 14))
        .light_line_style(WHITE)
        .draw()?;
    for ((row, points), color) in rows.iter().zip(curves).zip(COLORS) {
        let name = format!("{} {} depth {}", row.method, size(row.bytes), row.depth);
        let line = LineSeries::new(points, color.stroke_width(2));
        let key = move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], color.stroke_width(2));
        chart.draw_series(line)?.label(name).legend(key);
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(160, 160, 160))
        .label_font(("sans-serif", 14))
        .draw()
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
