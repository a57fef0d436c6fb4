//! Right histories are sound; falsified ones are not.

use super::*;

const MS: u64 = 1_000_000;
const PATIENCE_NS: u64 = 50 * MS;
const GROUP: Group = Group { key: 1, number: 0 };

fn span(client: u32, from_ms: u64, to_ms: u64) -> Span {
    Span { client, invoked: from_ms * MS, completed: to_ms * MS }
}

fn id(number: u32) -> EntryId {
    EntryId { ms: 100, sequence: number.into() }
}

fn entries(numbers: &[u32]) -> Vec<Entry> {
    numbers.iter().map(|number| Entry { id: id(*number), number: *number }).collect()
}

fn give(history: &mut StreamHistory, span: Span, want: Want, given: Option<&[u32]>) {
    history.give(Give { span, group: GROUP, want, count_max: 2, given: given.map(entries) });
}

fn read(history: &mut StreamHistory, span: Span, after: After, found: &[u32]) {
    history.read(Read { span, key: 1, after, is_patient: true, count_max: 4, found: entries(found) });
}

fn ack(history: &mut StreamHistory, span: Span, number: u32, acked: Acked) {
    history.ack(Ack { span, group: GROUP, id: id(number), acked, with: None });
}

const NEW: Want = Want::New { is_patient: true };

fn claim(from: u32) -> Want {
    Want::Claim { start: id(from), end: None }
}

/// Entries 1 to 6, one every 2 ms, of which 6 was not answered and 7 never came to be. Client 1 is given 1 and 2, client 2 is given 3, client 3 is not
/// answered and has 4; 5 and 6 are left. Client 2 claims 1, and acknowledges it and 3.
fn good() -> StreamHistory {
    let mut history = StreamHistory::new(Some(PATIENCE_NS));
    history.create(span(9, 0, 1), GROUP);
    for number in 1..=7 {
        let at = 2 * u64::from(number);
        let (outcome, of) = if number < 6 { (Outcome::Committed, Some(id(number))) } else { (Outcome::Unknown, None) };
        let span = if number < 6 { span(0, at, at + 1) } else { Span::open(0, at * MS) };
        history.add(Add { span, outcome, key: 1, number, id: of });
    }
    give(&mut history, span(1, 20, 21), NEW, Some(&[1, 2]));
    give(&mut history, span(2, 22, 23), NEW, Some(&[3]));
    give(&mut history, Span::open(3, 24 * MS), NEW, None);
    give(&mut history, span(2, 30, 31), claim(0), Some(&[1, 2]));
    history.gives[3].want = Want::Claim { start: id(0), end: Some(id(3)) };
    give(&mut history, span(1, 32, 33), claim(2), Some(&[2, 3, 4]));
    give(&mut history, span(1, 34, 35), Want::Own, Some(&[2, 3, 4]));
    ack(&mut history, span(2, 36, 37), 1, Acked::Done);
    ack(&mut history, span(2, 38, 39), 3, Acked::Done);
    ack(&mut history, span(1, 40, 41), 3, Acked::NotPending);
    give(&mut history, span(2, 42, 43), Want::Own, Some(&[]));
    read(&mut history, span(4, 30, 31), After::Id(id(1)), &[2, 3, 4, 5]);
    read(&mut history, span(4, 8, 12), After::Now, &[5]);
    read(&mut history, span(4, 100, 300), After::Id(id(6)), &[]);
    history.last(1, Last { entries: entries(&[1, 2, 3, 4, 5, 6]), pending: vec![[(id(2), 1), (id(4), 1)].into()] });
    history
}

fn kinds(history: &StreamHistory) -> Vec<Kind> {
    history.check().iter().map(|anomaly| anomaly.kind).collect()
}

fn pending(history: &mut StreamHistory) -> &mut BTreeMap<EntryId, u32> {
    &mut history.last.get_mut(&1).unwrap().pending[0]
}

type Falsify = fn(&mut StreamHistory);

fn check(cases: &[(Kind, Falsify)]) {
    assert!(good().check().is_empty(), "{:?}", good().check());
    for (at, (kind, falsify)) in cases.iter().enumerate() {
        let mut history = good();
        falsify(&mut history);
        let found = history.check();
        assert!(found.iter().any(|anomaly| anomaly.kind == *kind), "case {at}: {found:?}");
    }
}

#[test]
fn entries_that_are_wrong_are_named() {
    check(&[
        // Gone, twice, or of nobody; and where it should not be.
        (Kind::Lost, |history| {
            history.last.get_mut(&1).unwrap().entries.remove(4);
        }),
        (Kind::Lost, |history| {
            history.last.get_mut(&1).unwrap().entries.truncate(5);
            read(history, span(5, 50, 51), After::Id(id(5)), &[6]);
        }),
        (Kind::Phantom, |history| history.last.get_mut(&1).unwrap().entries.extend(entries(&[9]))),
        (Kind::Duplicate, |history| history.adds[1].id = Some(id(20))),
        (Kind::G1a, |history| history.adds[5].outcome = Outcome::Aborted),
        (Kind::Phantom, |history| history.adds[2].span = span(0, 60, 61)),
        // Ids fall.
        (Kind::IncompatibleOrder, |history| history.last.get_mut(&1).unwrap().entries.swap(2, 3)),
        (Kind::Stale, |history| {
            history.adds[0].span = span(0, 17, 18);
        }),
        // Passed over, or not asked for.
        (Kind::Lost, |history| {
            history.reads[0].found.remove(1);
        }),
        (Kind::Lost, |history| {
            history.reads[0].found.pop();
        }),
        (Kind::Stale, |history| history.reads[0].after = After::Id(id(2))),
        (Kind::Stale, |history| history.reads[1].found = entries(&[2, 5])),
        (Kind::Unserved, |history| history.reads[2].after = After::Id(id(4))),
        (Kind::Unserved, |history| {
            history.adds[4].span = span(0, 160, 170);
            history.reads[2].after = After::Now;
        }),
    ]);
}

#[test]
fn what_a_group_is_given_wrongly_is_named() {
    check(&[
        (Kind::Duplicate, |history| give(history, span(2, 26, 27), NEW, Some(&[3]))),
        // Out of order, or never.
        (Kind::Stale, |history| {
            history.gives[0].given = Some(entries(&[2]));
            give(history, span(2, 26, 27), NEW, Some(&[1]));
        }),
        (Kind::Lost, |history| history.gives[2].count_max = 0),
        (Kind::IncompatibleOrder, |history| history.gives[0].given = Some(entries(&[2, 1]))),
        // Again, though it was acknowledged.
        (Kind::Duplicate, |history| give(history, span(2, 50, 51), Want::Own, Some(&[1]))),
        (Kind::Duplicate, |history| give(history, span(2, 50, 51), claim(1), Some(&[1, 2]))),
        (Kind::Duplicate, |history| ack(history, span(4, 50, 51), 1, Acked::Done)),
        // It has been claimed by another one, or nobody has had it.
        (Kind::Phantom, |history| give(history, span(2, 50, 51), Want::Own, Some(&[2]))),
        (Kind::Phantom, |history| {
            history.gives.remove(2);
            give(history, span(2, 50, 51), claim(4), Some(&[5]));
        }),
        // Passed over.
        (Kind::Lost, |history| history.gives[5].given = Some(entries(&[3, 4]))),
        (Kind::Lost, |history| history.gives[4].given = Some(entries(&[3, 4]))),
        (Kind::Lost, |history| ack(history, span(4, 50, 51), 2, Acked::NotPending)),
        // Pending in the end, or not, or for somebody else.
        (Kind::Lost, |history| {
            pending(history).insert(id(1), 2);
        }),
        (Kind::Lost, |history| {
            pending(history).remove(&id(2));
        }),
        (Kind::Phantom, |history| {
            pending(history).insert(id(2), 2);
        }),
        (Kind::Phantom, |history| {
            pending(history).insert(id(4), 4);
        }),
        // The group was there.
        (Kind::Lost, |history| history.miss(span(4, 50, 51), vec![GROUP])),
    ]);
}

#[test]
fn who_is_told_that_there_is_nothing_new_is_told_so_rightly() {
    let told = |from_ms, to_ms, is_patient, other: Option<Span>| {
        let mut history = good();
        // All that is pending is known to have been given.
        (history.gives[2].span, history.gives[2].given) = (span(3, 24, 25), Some(entries(&[4])));
        assert_eq!(kinds(&history), []);
        give(&mut history, span(5, from_ms, to_ms), Want::New { is_patient }, Some(&[]));
        other.into_iter().for_each(|other| give(&mut history, other, NEW, Some(&[5])));
        if other.is_some() {
            pending(&mut history).insert(id(5), 6);
        }
        kinds(&history)
    };
    assert_eq!(told(60, 61, false, None), [Kind::Unserved]);
    assert_eq!(told(60, 200, true, None), [Kind::Unserved]);
    assert_eq!(told(26, 40, true, None), [], "it can have been on its way");
    assert_eq!(told(0, 1, false, None), [], "it was not there");
    assert_eq!(told(60, 200, true, Some(span(6, 210, 220))), [Kind::Unserved], "it was given later");
    assert_eq!(told(60, 200, true, Some(span(6, 190, 220))), [], "another one can have been offered it");
    assert_eq!(told(60, 200, false, Some(span(6, 210, 220))), [Kind::Unserved]);
}

#[test]
fn a_transaction_that_acknowledges_and_adds_does_both_or_neither() {
    let outcome = |is_added: bool, is_pending: bool| {
        let mut history = good();
        history.add(Add { span: Span::open(1, 70 * MS), outcome: Outcome::Unknown, key: 2, number: 90, id: None });
        let last = Last { entries: entries(if is_added { &[90] } else { &[] }), pending: vec![BTreeMap::new()] };
        history.last(2, last);
        let (span, acked) = (Span::open(1, 70 * MS), Acked::Unknown);
        history.ack(Ack { span, group: GROUP, id: id(2), acked, with: Some(90) });
        if !is_pending {
            pending(&mut history).remove(&id(2));
        }
        kinds(&history)
    };
    assert_eq!(outcome(true, false), []);
    assert_eq!(outcome(false, true), []);
    assert_eq!(outcome(true, true), [Kind::Torn]);
    assert_eq!(outcome(false, false), [Kind::Torn]);
}
