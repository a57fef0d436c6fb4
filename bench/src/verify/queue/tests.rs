//! Right histories are sound; falsified ones are not.

use super::*;

const FIRST: Key = Key { order: Order::First, number: 1 };
const LEAST: Key = Key { order: Order::Least, number: 1 };
const MS: u64 = 1_000_000;
const PATIENCE_NS: u64 = 50 * MS;

fn span(from_ms: u64, to_ms: u64) -> Span {
    Span { client: 0, invoked: from_ms * MS, completed: to_ms * MS }
}

/// Elements 1 to 6, one every 2 ms; 1 and 2 are taken at once, 3 by who waits for two keys, 4 by one who was not answered; 5 and 6 are left.
fn good(key: Key) -> QueueHistory {
    let mut history = QueueHistory::new(Some(PATIENCE_NS));
    for number in 1..=6 {
        let at = 2 * u64::from(number);
        let elements = vec![Element { number, score: i64::from(number) }];
        history.push(Push { span: span(at, at + 1), outcome: Outcome::Committed, key, elements });
    }
    pop(&mut history, span(10, 11), vec![key], Taken::From(key, vec![1, 2]));
    let other = Key { number: 2, ..key };
    pop(&mut history, span(12, 14), vec![other, key], Taken::From(key, vec![3]));
    pop(&mut history, Span::open(1, 15 * MS), vec![key, other], Taken::Unknown);
    pop(&mut history, span(100, 300), vec![other], Taken::Nothing);
    history.last(key, vec![5, 6]);
    history.last(other, vec![]);
    history
}

fn pop(history: &mut QueueHistory, span: Span, keys: Vec<Key>, taken: Taken) {
    history.pop(Pop { span, keys, count_max: 1, is_patient: true, taken });
}

fn kinds(history: &QueueHistory) -> Vec<Kind> {
    history.check().iter().map(|anomaly| anomaly.kind).collect()
}

#[test]
fn right_histories_are_sound() {
    assert_eq!(kinds(&good(FIRST)), []);
    assert_eq!(kinds(&good(LEAST)), []);
}

#[test]
fn falsified_histories_are_not() {
    type Falsify = fn(&mut QueueHistory, Key);
    let cases: [(Kind, Falsify); 11] = [
        // One element, two clients.
        (Kind::Duplicate, |history, key| pop(history, span(30, 40), vec![key], Taken::From(key, vec![2]))),
        // It comes back.
        (Kind::Duplicate, |history, key| history.last(key, vec![2, 5, 6])),
        (Kind::Duplicate, |history, key| history.last(key, vec![5, 6, 6])),
        // It is gone: only one can have been taken unseen.
        (Kind::Lost, |history, key| history.last(key, vec![6])),
        (Kind::Lost, |history, _| history.pops.retain(|pop| pop.taken != Taken::Unknown)),
        // Nobody has pushed it, not here, or not yet.
        (Kind::Phantom, |history, key| history.last(key, vec![5, 6, 7])),
        (Kind::Phantom, |history, key| {
            pop(history, span(30, 40), vec![key], Taken::From(Key { number: 2, ..key }, vec![4]))
        }),
        (Kind::Phantom, |history, _| history.pushes[0].span = span(12, 13)),
        // Its push was refused.
        (Kind::G1a, |history, _| history.pushes[5].outcome = Outcome::Aborted),
        // The later one comes first.
        (Kind::Stale, |history, key| history.pops[0].taken = Taken::From(key, vec![2, 1])),
        (Kind::Stale, |history, key| {
            history.pops[0].taken = Taken::From(key, vec![1, 6]);
            history.last(key, vec![2, 5]);
        }),
    ];
    for (at, (kind, falsify)) in cases.iter().enumerate() {
        for key in [FIRST, LEAST] {
            let mut history = good(key);
            falsify(&mut history, key);
            assert!(kinds(&history).contains(kind), "case {at} of {key}: {:?}", kinds(&history));
        }
    }
}

#[test]
fn who_is_told_that_there_is_nothing_is_told_so_rightly() {
    let told = |from_ms, to_ms, is_patient, others: &[Span]| {
        let mut history = good(FIRST);
        history.pops.retain(|pop| pop.taken != Taken::Unknown);
        history.last(FIRST, vec![4, 5, 6]);
        assert_eq!(kinds(&history), []);
        let keys = vec![FIRST];
        others.iter().for_each(|other| pop(&mut history, *other, keys.clone(), Taken::Refused));
        history.pop(Pop { span: span(from_ms, to_ms), keys, count_max: 1, is_patient, taken: Taken::Nothing });
        kinds(&history)
    };
    assert_eq!(told(20, 21, false, &[]), [Kind::Unserved]);
    assert_eq!(told(0, 3, false, &[]), [], "it was not there all the time");
    assert_eq!(told(20, 200, true, &[]), [Kind::Unserved]);
    assert_eq!(told(20, 30, true, &[]), [], "it can have been on its way");
    assert_eq!(told(20, 200, true, &[span(30, 140)]), [Kind::Unserved]);
    for held in [span(30, 170), span(190, 300), Span::open(1, 5)] {
        assert_eq!(told(20, 200, true, &[held]), [], "others can have held it");
    }
    assert_eq!(
        told(20, 200, false, &[span(30, 170)]),
        [Kind::Unserved],
        "who does not wait waits for those who hold it"
    );
}

#[test]
fn what_stands_in_the_end_stands_in_its_order() {
    let mut history = good(FIRST);
    history.last(FIRST, vec![6, 5]);
    assert_eq!(kinds(&history), [Kind::Stale]);
    let mut history = good(LEAST);
    history.last(LEAST, vec![6, 5]);
    assert_eq!(kinds(&history), [], "scores are not looked at");
}
