//! Draws charts of latency as an SVG: curves over a common axis, latency upwards, logarithmic. The reports say what the
//! curves are.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failure<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// Pixels of a picture, and of each chart in it.
const WIDTH: u32 = 1000;
const CHART_HEIGHT: u32 = 550;

/// Told apart by people with every kind of colour vision (Okabe and Ito's set).
const COLORS: [RGBColor; CURVES_MAX] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];
const SHADE: RGBColor = RGBColor(221, 221, 221);

/// Curves of a chart: more than colours would be none.
pub const CURVES_MAX: usize = 7;

/// A chart.
pub struct Chart<'c> {
    pub title: String,
    /// What the axis across says, from where to where, and at how many places by which words.
    pub across: &'static str,
    pub range: Range<f64>,
    pub labels: usize,
    pub label: &'c dyn Fn(f64) -> String,
    /// Names and points: a place across, and microseconds.
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
    /// Parts of the axis that stand out, and why.
    pub shaded: Vec<Range<f64>>,
    pub shade: &'static str,
}

/// Charts, one below the other.
#[must_use]
pub fn svg(charts: &[Chart<'_>]) -> String {
    let mut text = String::new();
    draw(charts, &mut text).expect("a picture in memory can always be drawn");
    text
}

fn draw<'a>(charts: &[Chart<'_>], text: &'a mut String) -> Result<(), Failure<'a>> {
    let root = SVGBackend::with_string(text, (WIDTH, CHART_HEIGHT * charts.len() as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    for (chart, area) in charts.iter().zip(root.split_evenly((charts.len(), 1))) {
        chart.draw(&area)?;
    }
    root.present()
}

impl Chart<'_> {
    fn draw<'a>(&self, area: &Area<'a>) -> Result<(), Failure<'a>> {
        let values = || self.curves.iter().flat_map(|(_, points)| points).map(|(_, us)| *us);
        let least = values().fold(f64::MAX, f64::min).min(1e9) / 1.3;
        // The names stand above the curves.
        let most = values().fold(least, f64::max) * 3.0;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 22))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(80)
            .build_cartesian_2d(self.range.clone(), (least..most).log_scale())?;
        let shades =
            self.shaded.iter().map(|part| Rectangle::new([(part.start, least), (part.end, most)], SHADE.filled()));
        let shades = chart.draw_series(shades)?;
        if !self.shaded.is_empty() {
            shades.label(self.shade).legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 20, y + 5)], SHADE.filled()));
        }
        chart
            .configure_mesh()
            .x_desc(self.across)
            .y_desc("latency in microseconds")
            .x_labels(self.labels)
            .x_label_formatter(&|at| (self.label)(*at))
            .y_label_formatter(&|us| if *us < 10.0 { format!("{us:.1}") } else { format!("{us:.0}") })
            .label_style(("sans-serif", 14))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for ((name, points), color) in self.curves.iter().zip(COLORS) {
            let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
            let key = move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], color.stroke_width(2));
            chart.draw_series(line)?.label(name.as_str()).legend(key);
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(160, 160, 160))
            .label_font(("sans-serif", 14))
            .draw()
    }
}
