//! Rows of transactions on pairs, and what is wrong with some.

use super::*;

const COMMITTED: Outcome = Outcome::Committed;

fn round(at: (u64, u64), outcome: Outcome, read: (u64, u64), write: Option<(usize, u64)>) -> Round {
    let half = |value: u64| (value > 0).then_some(value);
    let span = Span { client: 0, invoked: at.0, completed: at.1 };
    Round { span, outcome, read: [half(read.0), half(read.1)], write }
}

/// Two writers, one that was refused, one without an answer that happened, and readers.
fn good() -> Vec<Round> {
    vec![
        round((0, 10), COMMITTED, (0, 0), Some((0, 1))),
        round((1, 9), Outcome::Aborted, (0, 0), Some((1, 2))),
        round((11, 20), COMMITTED, (1, 0), Some((1, 3))),
        round((19, Span::OPEN), Outcome::Unknown, (1, 3), Some((1, 4))),
        round((30, Span::OPEN), Outcome::Unknown, (1, 4), Some((1, 5))),
        round((12, 40), COMMITTED, (1, 0), None),
        round((30, 40), COMMITTED, (1, 5), None),
        round((45, Span::OPEN), Outcome::Unknown, (1, 5), Some((0, 6))),
    ]
}

fn check(change: impl FnOnce(&mut Vec<Round>)) -> Vec<Kind> {
    let mut rounds = good();
    change(&mut rounds);
    let mut history = PairHistory::default();
    rounds.iter().for_each(|round| history.record(3, *round));
    let found = history.check();
    found.iter().for_each(|anomaly| assert!(anomaly.what.starts_with("pair 3: ") && !anomaly.witness.is_empty()));
    found.iter().map(|anomaly| anomaly.kind).collect()
}

#[test]
fn a_row_passes() {
    assert_eq!(check(|_| {}), []);
    assert_eq!(check(|rounds| rounds.clear()), []);
}

#[test]
fn two_that_read_the_same_are_not_both_committed() {
    // The second one watched the half that the first one changed.
    assert_eq!(check(|rounds| rounds[1].outcome = COMMITTED), [Kind::WriteSkew]);
    assert_eq!(
        check(|rounds| {
            rounds[1].outcome = COMMITTED;
            rounds[1].write = Some((0, 2));
        }),
        [Kind::LostUpdate]
    );
    // One without an answer that happened counts.
    assert_eq!(check(|rounds| rounds.push(round((31, 33), COMMITTED, (1, 3), Some((0, 9))))), [Kind::WriteSkew]);
}

#[test]
fn what_was_never_there_is_named() {
    assert_eq!(check(|rounds| rounds.push(round((50, 60), COMMITTED, (0, 3), None))), [Kind::Torn]);
    assert_eq!(check(|rounds| rounds.push(round((50, 60), COMMITTED, (1, 77), None))), [Kind::Phantom]);
    assert_eq!(check(|rounds| rounds.push(round((50, 60), COMMITTED, (1, 2), None))), [Kind::G1a]);
    let refused = |rounds: &mut Vec<Round>| {
        rounds[0].outcome = Outcome::Aborted;
    };
    assert_eq!(check(refused), [Kind::G1a]);
}

#[test]
fn what_was_acknowledged_is_there_for_who_looks_later() {
    assert_eq!(check(|rounds| rounds.push(round((41, 42), COMMITTED, (1, 3), None))), [Kind::Stale]);
    assert_eq!(check(|rounds| rounds.push(round((21, 22), COMMITTED, (1, 0), None))), [Kind::Stale]);
    assert_eq!(check(|rounds| rounds.push(round((20, 22), COMMITTED, (1, 0), None))), []);
}
