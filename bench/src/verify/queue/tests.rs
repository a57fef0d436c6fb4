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
    history.pop(Pop { span, keys, count_max: 1, is_patient: true, to: None, taken });
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
        history.pop(Pop {
            span: span(from_ms, to_ms),
            keys,
            count_max: 1,
            is_patient,
            to: None,
            taken: Taken::Nothing,
        });
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

const MOVED: Key = Key { order: Order::Moved, number: 9 };

/// An element and those who move it.
fn pass(history: &mut QueueHistory, span: Span, number: Option<u32>) {
    let taken = number.map_or(Taken::Unknown, |number| Taken::From(FIRST, vec![number]));
    if let Some(number) = number {
        let elements = vec![Element { number, score: 0 }];
        history.push(Push { span, outcome: Outcome::Committed, key: MOVED, elements });
    }
    history.pop(Pop { span, keys: vec![FIRST], count_max: 1, is_patient: true, to: Some(MOVED), taken });
}

/// Of what is pushed to a list 10, 11 and 12 are moved, the last one by who was not answered; 10 is taken where it came.
fn moved() -> QueueHistory {
    let mut history = QueueHistory::new(Some(PATIENCE_NS));
    for number in 10..=13 {
        let at = u64::from(number);
        let elements = vec![Element { number, score: 0 }];
        history.push(Push { span: span(2 * at, 2 * at + 1), outcome: Outcome::Committed, key: FIRST, elements });
    }
    pass(&mut history, span(30, 31), Some(10));
    pass(&mut history, span(32, 33), Some(11));
    pass(&mut history, Span::open(0, 34 * MS), None);
    pop(&mut history, span(40, 41), vec![MOVED], Taken::From(MOVED, vec![10]));
    history.last(FIRST, vec![13]);
    history.last(MOVED, vec![11, 12]);
    history
}

#[test]
fn what_is_moved_is_in_one_place() {
    assert_eq!(kinds(&moved()), []);
    type Falsify = fn(&mut QueueHistory);
    let cases: [(&[Kind], Falsify); 10] = [
        // It is pushed, and stays where it was.
        (&[Kind::Duplicate], |history| history.last(FIRST, vec![11, 13])),
        (&[Kind::Duplicate], |history| history.last(FIRST, vec![12, 13])),
        (&[Kind::Duplicate], |history| pop(history, span(50, 51), vec![FIRST], Taken::From(FIRST, vec![12]))),
        // It is taken, and comes nowhere.
        (&[Kind::Lost], |history| history.last(MOVED, vec![12])),
        (&[Kind::Lost], |history| history.last(MOVED, vec![11])),
        // Nobody has moved it, or not there.
        (&[Kind::Phantom], |history| history.last(MOVED, vec![11, 12, 13])),
        (&[Kind::Phantom], |history| history.pops.retain(|pop| pop.taken != Taken::Unknown)),
        (&[Kind::Phantom, Kind::Phantom], |history| {
            let other = Key { number: 8, ..MOVED };
            history.last(MOVED, vec![11]);
            history.last(other, vec![12, 14]);
        }),
        // Two have.
        (&[Kind::Duplicate], |history| pass(history, span(50, 51), Some(11))),
        // It comes later than what came later.
        (&[Kind::Stale], |history| {
            history.last(MOVED, vec![10]);
            history
                .pops
                .iter_mut()
                .filter(|pop| pop.keys == [MOVED])
                .for_each(|pop| pop.taken = Taken::From(MOVED, vec![11]));
        }),
    ];
    for (at, (expected, falsify)) in cases.iter().enumerate() {
        let mut history = moved();
        falsify(&mut history);
        let found = kinds(&history);
        assert!(expected.iter().all(|kind| found.contains(kind)), "case {at}: {found:?}");
    }
}

#[test]
fn what_is_moved_unseen_and_gone_was_taken_once_more() {
    let gone = |count: usize| {
        let mut history = moved();
        history.last(MOVED, vec![11]);
        (0..count).for_each(|_| pop(&mut history, Span::open(3, 60 * MS), vec![MOVED], Taken::Unknown));
        history
    };
    assert_eq!(kinds(&gone(0)), [Kind::Lost]);
    assert_eq!(kinds(&gone(1)), []);
    // The one who can have taken it has taken another one.
    let mut history = gone(1);
    history.last(MOVED, vec![]);
    assert_eq!(kinds(&history), [Kind::Lost]);
    let mut history = gone(2);
    history.last(MOVED, vec![]);
    assert_eq!(kinds(&history), []);
}
