//! Draws the timeline of a run: a chart for each group with the latencies of its seconds, and the seconds in which the
//! server was making a checkpoint.

use super::report::{GroupReport, Report};
use crate::picture::{self, Chart};

/// Places of the axis that have their second written below.
const LABELS: usize = 13;

/// The whole picture.
#[must_use]
pub fn svg(report: &Report) -> String {
    let charts: Vec<Chart<'_>> = report.groups.iter().map(chart).collect();
    picture::svg(&charts)
}

fn chart(group: &GroupReport) -> Chart<'static> {
    let at = |second: usize| second as f64;
    let curve = |of: fn(&super::timeline::SecondReport) -> Option<f64>| {
        let points = group.seconds.iter().enumerate();
        points.filter_map(|(second, report)| Some((at(second) + 0.5, of(report)?))).collect()
    };
    let with = group.seconds.iter().enumerate().filter(|(_, second)| second.has_checkpoint);
    Chart {
        title: format!("{}: {:.0} requests/s", group.name, group.total.per_second),
        across: "seconds",
        range: 0.0..at(group.seconds.len()),
        labels: LABELS,
        label: &|second| format!("{second:.0}"),
        curves: vec![
            ("p50".to_owned(), curve(|second| second.p50_us)),
            ("p99".to_owned(), curve(|second| second.p99_us)),
        ],
        shaded: with.map(|(second, _)| at(second)..at(second + 1)).collect(),
        shade: "with a checkpoint",
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{answered, report};
    use super::svg;

    #[test]
    fn each_group_has_a_chart_with_its_checkpoints() {
        let groups = ["-g", "name=get command=GET {key}", "-g", "name=set command=SET {key} {value}"];
        let plain = svg(&report(&groups, answered));
        let text = svg(&report(&[&groups[..], &["--timeline", "x.svg"]].concat(), answered));
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>") && !text.contains("NaN"));
        for (name, count) in
            [("get: 500 requests/s", 1), ("set: 500 requests/s", 1), ("p99", 2), ("with a checkpoint", 2)]
        {
            assert_eq!(text.matches(name).count(), count, "{name}: {text}");
        }
        // Two seconds of each group are shaded, and its legend has a piece of it.
        assert_eq!(text.matches("#DDDDDD").count(), 2 * 3, "{text}");
        assert!(!plain.contains("#DDDDDD") && !plain.contains("with a checkpoint"), "{plain}");
    }
}
