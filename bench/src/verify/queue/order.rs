//! Whether elements came in the order of their key, as far as it follows from what clients know: of two elements of which one stood
//! before the other, nobody is given the later one while the earlier one is there.

use super::fate::{Fate, Fates};
use super::{Order, Pop};
use crate::verify::anomaly::{Anomaly, Kind};

pub fn check(fates: &Fates<'_>) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    for key in fates.keys().into_iter().filter(|key| key.order != Order::Any) {
        let all: Vec<&Fate<'_>> = fates.of(key).collect();
        for later in &all {
            // What is given twice is found elsewhere.
            let [(pop, place)] = later.given[..] else { continue };
            let mut earlier = all.iter().filter(|earlier| stands_before(earlier, later, pop));
            let Some(earlier) = earlier.find(|earlier| is_passed_over(earlier, pop, place)) else { continue };
            let what = format!("{} of {key} came before {}", later.element.number, earlier.element.number);
            let mut witness = vec![format!("{} was given to {}", later.element.number, pop.span)];
            witness.extend(
                earlier.given.iter().map(|(pop, _)| format!("{} was given to {}", earlier.element.number, pop.span)),
            );
            witness.extend([earlier, later].map(|it| format!("{} was pushed {}", it.element.number, it.push.span)));
            anomalies.push(Anomaly { kind: Kind::Stale, what, witness });
        }
        if key.order.is_of_arrival() {
            anomalies.extend(all.iter().flat_map(|later| {
                let is_wrong = |earlier: &&&Fate<'_>| is_pushed_before(earlier, later) && earlier.left > later.left;
                let wrong =
                    all.iter().filter(|earlier| !earlier.left.is_empty() && !later.left.is_empty()).find(is_wrong);
                wrong.map(|earlier| {
                    let what = format!("{} stands before {} in {key}", later.element.number, earlier.element.number);
                    let witness =
                        [earlier, later].map(|it| format!("{} was pushed {}", it.element.number, it.push.span));
                    Anomaly { kind: Kind::Stale, what, witness: witness.into() }
                })
            }));
        }
    }
    anomalies
}

/// Whether, when `pop` took the later one, the earlier one stood before it if it was there.
fn stands_before(earlier: &Fate<'_>, later: &Fate<'_>, pop: &Pop) -> bool {
    match later.push.key.order {
        Order::First | Order::Moved => is_pushed_before(earlier, later),
        Order::Least => earlier.element.score < later.element.score && earlier.push.span.is_before(&pop.span),
        Order::Any => false,
    }
}

fn is_pushed_before(earlier: &Fate<'_>, later: &Fate<'_>) -> bool {
    let is_same = std::ptr::eq(earlier.push, later.push);
    if is_same { earlier.place < later.place } else { earlier.push.span.is_before(&later.push.span) }
}

/// Whether it was there when `pop` took something that stands behind it, which came at `place`.
fn is_passed_over(earlier: &Fate<'_>, pop: &Pop, place: usize) -> bool {
    match earlier.given[..] {
        [] => !earlier.left.is_empty(),
        [(other, at)] if std::ptr::eq(other, pop) => at > place,
        [(other, _)] => pop.span.is_before(&other.span),
        _ => false,
    }
}
