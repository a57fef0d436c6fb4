//! Histories of one key, small and large, right and wrong.

use super::*;
use RegisterOp::{Del, Get, GetSet, Incr, Set, SetNx};

fn entry(at: (u64, u64), op: RegisterOp, answer: Answer) -> Entry {
    Entry { span: Span { client: 0, invoked: at.0, completed: at.1 }, op, answer }
}

fn lost(at: u64, op: RegisterOp) -> Entry {
    Entry { span: Span::open(0, at), op, answer: Answer::Never }
}

fn check(entries: &[Entry]) -> Vec<Anomaly> {
    let mut history = RegisterHistory::default();
    entries.iter().for_each(|entry| history.record(1, *entry));
    history.check()
}

fn is_linearizable(entries: &[Entry]) -> bool {
    let found = check(entries);
    found.iter().for_each(|anomaly| assert_eq!(anomaly.kind, Kind::NotLinearizable));
    found.is_empty()
}

const OK: Answer = Answer::Ok;
const NIL: Answer = Answer::Nil;
const fn n(number: i64) -> Answer {
    Answer::Number(number)
}

#[test]
fn operations_mean_what_they_mean_in_redis() {
    let row = [
        (Get, NIL),
        (Incr, n(1)),
        (GetSet(10), n(1)),
        (Incr, n(11)),
        (SetNx(5), n(0)),
        (Del, n(1)),
        (Del, n(0)),
        (SetNx(5), n(1)),
        (Get, n(5)),
        (Set(7), OK),
        (GetSet(8), n(7)),
        (Del, n(1)),
        (GetSet(9), NIL),
    ];
    let timed =
        row.iter().enumerate().map(|(at, (op, answer))| entry((2 * at as u64, 2 * at as u64 + 1), *op, *answer));
    let entries: Vec<Entry> = timed.collect();
    assert!(is_linearizable(&entries));
    for at in 0..entries.len() {
        let mut wrong = entries.clone();
        wrong[at].answer = match wrong[at].answer {
            Answer::Number(number) => n(number + 100),
            Answer::Ok => NIL,
            _ => n(100),
        };
        assert!(!is_linearizable(&wrong), "{at}");
    }
}

#[test]
fn concurrent_operations_come_in_any_order() {
    let both = [entry((0, 10), Set(1), OK), entry((5, 15), Set(2), OK)];
    for (last, expected) in [(1, true), (2, true), (3, false)] {
        let entries = [both[0], both[1], entry((20, 21), Get, n(last))];
        assert_eq!(is_linearizable(&entries), expected, "{last}");
    }
    // Two readers, one after the other, that see them in opposite orders.
    let entries = [both[0], both[1], entry((20, 21), Get, n(1)), entry((22, 23), Get, n(2))];
    assert!(!is_linearizable(&entries));
    // At one instant: neither is first.
    assert!(is_linearizable(&[entry((0, 10), Set(1), OK), entry((10, 11), Get, NIL)]));
    assert!(!is_linearizable(&[entry((0, 10), Set(1), OK), entry((11, 12), Get, NIL)]));
}

#[test]
fn what_was_not_answered_happens_later_or_never_but_once() {
    let begin = [entry((0, 1), Set(1), OK), lost(2, Set(2))];
    let with = |more: &[Entry]| is_linearizable(&[&begin, more].concat());
    assert!(with(&[entry((100, 101), Get, n(1))]));
    assert!(with(&[entry((100, 101), Get, n(1)), entry((200, 201), Get, n(2))]));
    assert!(!with(&[entry((100, 101), Get, n(2)), entry((200, 201), Get, n(1))]));
    let again = [entry((100, 101), Get, n(2)), entry((102, 103), Set(3), OK), entry((200, 201), Get, n(2))];
    assert!(!with(&again));
    // Not before it began.
    assert!(!is_linearizable(&[entry((0, 1), Get, n(2)), lost(2, Set(2))]));
    assert!(is_linearizable(&[lost(0, Incr), lost(0, Incr), lost(0, Del), entry((5, 6), Incr, n(3))]));
    assert!(!is_linearizable(&[lost(0, Incr), lost(0, Incr), lost(0, Del), entry((5, 6), Incr, n(4))]));
}

#[test]
fn an_acknowledged_write_that_is_gone_has_a_small_witness() {
    let mut entries: Vec<Entry> = (0..200_u64).map(|at| entry((10 * at, 10 * at + 15), Get, NIL)).collect();
    entries.insert(100, entry((1000, 1001), Set(5), OK));
    entries.truncate(101);
    entries.extend((0..100_u64).map(|at| entry((2000 + 10 * at, 2005 + 10 * at), Get, n(5))));
    assert!(is_linearizable(&entries));
    entries[150].answer = NIL;
    let found = check(&entries);
    assert_eq!(found.len(), 1);
    assert!(found[0].what.starts_with("key 1: nothing explains Get = Nil"), "{}", found[0]);
    assert_eq!(found[0].witness.len(), 2, "{}", found[0]);
    assert!(found[0].witness[0].starts_with("Set(5) = Ok"));
}

/// Clients that do what they like on a key; each operation happens at once, somewhere in its span.
fn random(seed: u64, count: usize, clients: u64) -> Vec<Entry> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut value = None;
    let mut entries = Vec::new();
    for at in 0..count as u64 {
        let instant = 100 * at;
        let (early, late) = (rng.u64(1..100 * clients), rng.u64(1..100 * clients));
        let fresh = 1000 * (at as i64 + 1);
        let ops = [Get, Get, Set(fresh), GetSet(fresh), SetNx(fresh), Incr, Del];
        let op = ops[rng.usize(..ops.len())];
        let invoked = instant.saturating_sub(early);
        if rng.u8(..40) == 0 {
            if rng.bool() {
                value = op.apply(value).1;
            }
            entries.push(lost(invoked, op));
            continue;
        }
        let (answer, left) = op.apply(value);
        value = left;
        entries.push(entry((invoked, instant + late), op, answer));
    }
    entries
}

#[test]
fn random_histories_pass_and_falsified_ones_do_not() {
    let mut refuted = 0;
    for seed in 0..30 {
        let entries = random(seed, 100, 1 + seed % 8);
        assert!(is_linearizable(&entries), "seed {seed}");
        let mut wrong = entries;
        let reads = wrong.iter().rposition(|entry| entry.op == Get && entry.answer != Answer::Never);
        wrong[reads.unwrap()].answer = n(77);
        refuted += usize::from(!is_linearizable(&wrong));
    }
    assert_eq!(refuted, 30);
}
