//! Histories with each anomaly, read aloud, and a database that is right, on which each of its possible mistakes is tried.

use super::super::anomaly::Kind;
use super::*;

/// A line is a transaction: `BEGIN-END a KEY ELEMENT, r KEY ELEMENT ...`. An END of `?` was never answered, one with `!` was refused.
fn history(text: &str) -> ListHistory {
    let mut history = ListHistory::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (span, ops) = line.split_once(' ').unwrap();
        let (begin, end) = span.split_once('-').unwrap();
        let outcome = match end {
            "?" => Outcome::Unknown,
            end if end.ends_with('!') => Outcome::Aborted,
            _ => Outcome::Committed,
        };
        let completed = end.trim_end_matches('!').parse().unwrap_or(Span::OPEN);
        let ops = ops.split(", ").map(|op| {
            let words: Vec<&str> = op.split(' ').collect();
            let numbers: Vec<u32> = words[1..].iter().map(|word| word.parse().unwrap()).collect();
            match words[0] {
                "a" => ListOp::Append { key: numbers[0], element: numbers[1] },
                _ => ListOp::Read { key: numbers[0], list: numbers[1..].to_vec() },
            }
        });
        history.record(
            Span { client: 0, invoked: begin.parse().unwrap(), completed },
            outcome,
            ops.collect::<Vec<_>>(),
        );
    }
    history
}

#[track_caller]
fn check(text: &str, kinds: &[Kind]) -> Vec<Anomaly> {
    let found = history(text).check();
    let shown: Vec<String> = found.iter().map(Anomaly::to_string).collect();
    assert_eq!(found.iter().map(|anomaly| anomaly.kind).collect::<Vec<_>>(), kinds, "{}", shown.join("\n"));
    found
}

#[test]
fn good_histories_pass() {
    check("", &[]);
    check("0-9 a 0 1, a 1 2\n0-9 a 0 3\n10-12 r 0 3 1, r 1 2", &[]);
    // Concurrent ones in either order, reads of own appends, an answer that never came, one that was refused.
    check("0-9 r 0 1, a 0 2, r 0 1 2\n1-? a 0 1, a 1 5\n3-8! a 0 7\n9-12 r 1 5, r 0 1 2", &[]);
    check("0-? a 0 1, a 1 2\n5-6 r 0, r 1", &[]);
    // What nobody read afterwards is nowhere, and that is no harm.
    check("0-1 r 0\n2-3 r 0, a 0 1\n2-4 a 0 2", &[]);
    // Neither is before the other if they share an instant.
    check("0-5 a 0 1\n5-6 r 0", &[]);
}

#[test]
fn plain_anomalies_are_named() {
    check("0-1 a 0 1\n2-3 r 0 1 9", &[Kind::Phantom]);
    check("0-1 a 0 1\n0-1 a 1 2\n2-3 r 0 1 2", &[Kind::Phantom]);
    check("0-1 a 0 1\n2-3 r 0 1 1", &[Kind::Duplicate]);
    check("0-9 a 0 1\n0-9 a 0 2\n0-9 r 0 1 2\n0-9 r 0 2", &[Kind::IncompatibleOrder]);
    check("0-9 a 0 1, r 0", &[Kind::Internal]);
    check("0-9 a 0 1\n0-9 r 0, a 0 2, r 0 1 2", &[Kind::Internal, Kind::GSingle]);
    let found = check("0-9! a 0 1\n0-9 r 0 1", &[Kind::G1a]);
    assert_eq!(found[0].witness.len(), 2);
    assert!(found[0].witness[0].contains("refused): append 0 <- 1;"), "{}", found[0]);
    check("0-9 a 0 1, a 0 2\n0-9 r 0 1\n0-9 r 0 1 2", &[Kind::G1b, Kind::GSingle]);
}

#[test]
fn what_is_lost_or_torn_is_named() {
    check("0-1 a 0 1\n2-3 r 0", &[Kind::Lost, Kind::GSingleRealtime]);
    check("0-1 a 0 1\n0-1 a 0 2\n2-3 r 0 2", &[Kind::Lost, Kind::GSingleRealtime]);
    // After a crash one shard has its part of a transaction without an answer, the other one has not.
    let found = check("0-? a 0 1, a 1 2\n5-6 r 0 1\n7-8 r 1", &[Kind::Torn, Kind::GSingleRealtime]);
    assert_eq!(found[0].witness.len(), 3, "{}", found[0]);
    check("0-? a 0 1, a 1 2\n5-6 r 0 1, r 1", &[Kind::GSingle]);
}

#[test]
fn cycles_have_their_names() {
    check("0-9 a 0 1, a 1 2\n0-9 a 0 3, a 1 4\n10-11 r 0 1 3, r 1 4 2", &[Kind::G0]);
    check("0-9 a 0 1, r 1 2\n0-9 a 1 2, r 0 1", &[Kind::G1c]);
    // A snapshot that is no cut: half of a transaction is in it.
    let found = check("0-9 a 0 1, a 1 2\n0-9 r 0 1, r 1\n20-21 r 1 2", &[Kind::GSingle]);
    assert_eq!(found[0].witness.len(), 4, "{}", found[0]);
    assert!(found[0].to_string().contains("T1 before T0: rw: key 1 was read without 2"), "{}", found[0]);
    assert!(found[0].to_string().contains("T0 before T1: wr: key 0 was read with 1"), "{}", found[0]);
    // A WATCH that missed a change: a lost update.
    check("0-9 r 0, a 0 1\n0-9 r 0, a 0 2\n10-11 r 0 1 2", &[Kind::GSingle]);
    // Write skew.
    check("0-9 r 0, a 1 1\n0-9 r 1, a 0 2\n10-11 r 0 2, r 1 1", &[Kind::G2]);
    // Two that look at two writers in opposite orders.
    check("0-9 a 0 1\n0-9 a 1 2\n0-9 r 0 1, r 1\n0-9 r 0, r 1 2", &[Kind::G2]);
}

#[test]
fn cycles_in_time_have_their_names() {
    check("0-1 a 0 1\n2-3 a 0 2\n4-5 r 0 2 1", &[Kind::G0Realtime]);
    check("0-1 r 0 1\n2-3 a 0 1", &[Kind::G1cRealtime]);
    let found = check("0-1 a 0 1\n0-4 r 0 1\n5-6 r 0\n7-8 r 0 1", &[Kind::GSingleRealtime]);
    assert!(found[0].to_string().contains("rt: it had ended before the other began"), "{}", found[0]);
    check("0-9 r 1, a 0 1\n1-2 a 1 2\n3-4 r 0\n10-11 r 0 1, r 1 2", &[Kind::G2Realtime]);
}

/// A database that runs each transaction at an instant of its span, with a mistake if one is wanted.
struct Database {
    rng: fastrand::Rng,
    lists: Vec<Vec<u32>>,
    history: ListHistory,
    elements: u32,
    keys: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// What is refused happens.
    AbortedRead,
    /// Without an answer a part of it happens.
    Half,
    /// The beginning of a transaction happens before others do.
    LockReleased,
    /// The keys of a read come from two instants.
    Cut,
    /// What was read before a change is committed.
    Watch,
    /// An acknowledged transaction is gone.
    Lost,
}

impl Database {
    fn new(seed: u64, keys: u32) -> Database {
        let lists = vec![Vec::new(); keys as usize];
        Database { rng: fastrand::Rng::with_seed(seed), lists, history: ListHistory::default(), elements: 0, keys }
    }

    /// Appends and reads of up to four keys; keys move on, so that lists stay short.
    fn step(&mut self, at: u64, mistake: Mistake) {
        let base = (at / 100) as u32 * 4;
        self.lists.resize((base + self.keys) as usize, Vec::new());
        let before = self.lists.clone().into_iter().skip(base as usize).collect::<Vec<_>>();
        let outcome = match self.rng.u8(..20) {
            0 => Outcome::Aborted,
            1 => Outcome::Unknown,
            _ => Outcome::Committed,
        };
        let is_done = match outcome {
            Outcome::Committed => mistake != Mistake::Lost,
            Outcome::Aborted => mistake == Mistake::AbortedRead,
            Outcome::Unknown => self.rng.bool(),
        };
        let mut ops = Vec::new();
        let chosen: Vec<u32> = (0..self.rng.u32(1..=4)).map(|_| base + self.rng.u32(..self.keys)).collect();
        let is_half = mistake == Mistake::Half && outcome == Outcome::Unknown;
        for (number, key) in chosen.into_iter().enumerate() {
            if mistake == Mistake::LockReleased && number == 1 {
                let other = self.elements;
                self.elements += 1;
                for key in base..base + self.keys {
                    self.lists[key as usize].push(other + key - base);
                }
                let all = (base..base + self.keys).map(|key| ListOp::Append { key, element: other + key - base });
                self.history.record(
                    Span { client: 9, invoked: 100 * at, completed: 100 * at + 50 },
                    Outcome::Committed,
                    all,
                );
                self.elements += self.keys;
            }
            if self.rng.bool() {
                let list = match mistake {
                    Mistake::Cut if number > 0 => {
                        let old = &before[(key - base) as usize];
                        old[..old.len().saturating_sub(1)].to_vec()
                    }
                    _ => self.lists[key as usize].clone(),
                };
                ops.push(ListOp::Read { key, list });
            }
            let element = self.elements;
            self.elements += 1;
            if is_done && !(is_half && number > 0) || is_half && number == 0 {
                self.lists[key as usize].push(element);
            }
            ops.push(ListOp::Append { key, element });
        }
        if mistake == Mistake::Watch {
            let key = base;
            let list = before[0][..before[0].len().saturating_sub(1)].to_vec();
            ops = vec![ListOp::Read { key, list }, ListOp::Append { key, element: self.elements }];
            self.lists[key as usize].push(self.elements);
            self.elements += 1;
        }
        let early = self.rng.u64(1..400);
        let span =
            Span { client: 0, invoked: (100 * at).saturating_sub(early), completed: 100 * at + self.rng.u64(1..400) };
        let span = if outcome == Outcome::Unknown { Span::open(0, span.invoked) } else { span };
        if outcome != Outcome::Committed {
            ops.retain(|op| matches!(op, ListOp::Append { .. }));
        }
        self.history.record(span, outcome, ops);
        for key in base..base + self.keys {
            let list = self.lists[key as usize].clone();
            let span = Span { client: 1, invoked: 100 * at + 1, completed: 100 * at + 99 };
            if at.is_multiple_of(8) {
                self.history.record(span, Outcome::Committed, [ListOp::Read { key, list }]);
            }
        }
    }
}

#[test]
fn a_right_database_passes_and_each_mistake_is_found() {
    for seed in 0..20 {
        let mut database = Database::new(seed, 6);
        (0..2000).for_each(|at| database.step(at, Mistake::None));
        let found = database.history.check();
        assert!(found.is_empty(), "seed {seed}: {}", found[0]);
    }
    let mistakes = [
        (Mistake::AbortedRead, &[Kind::G1a][..]),
        (Mistake::Half, &[Kind::Torn, Kind::GSingle, Kind::GSingleRealtime]),
        (Mistake::LockReleased, &[Kind::G0, Kind::G1c, Kind::GSingle, Kind::Internal]),
        (Mistake::Cut, &[Kind::GSingle, Kind::GSingleRealtime, Kind::G2, Kind::G2Realtime, Kind::Internal]),
        (Mistake::Watch, &[Kind::GSingle, Kind::GSingleRealtime]),
        (Mistake::Lost, &[Kind::Lost]),
    ];
    for (mistake, kinds) in mistakes {
        for seed in 0..10 {
            let mut database = Database::new(seed, 6);
            for at in 0..500 {
                let now = if at % 50 >= 30 { mistake } else { Mistake::None };
                database.step(at, now);
            }
            let found = database.history.check();
            let named = found.iter().any(|anomaly| kinds.contains(&anomaly.kind));
            assert!(named, "seed {seed}: {:?} of {kinds:?}", found.iter().map(|found| found.kind).collect::<Vec<_>>());
        }
    }
}

/// As many transactions as `cairn verify` runs on demand: what is not linear shows here.
#[test]
fn a_million_transactions_are_checked() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut lists: Vec<Vec<u32>> = Vec::new();
    let (mut history, mut elements, mut first) = (ListHistory::default(), 0, 0);
    for at in 0..1_000_000_u64 {
        lists.resize(first + 16, Vec::new());
        let mut ops = Vec::new();
        for _ in 0..rng.u32(1..=4) {
            let key = first + rng.usize(..16);
            if rng.bool() {
                ops.push(ListOp::Read { key: key as u32, list: lists[key].clone() });
                continue;
            }
            ops.push(ListOp::Append { key: key as u32, element: elements });
            lists[key].push(elements);
            elements += 1;
            first += usize::from(lists[first].len() >= 32);
            lists.resize(first + 16, Vec::new());
        }
        let span = Span { client: 0, invoked: 100 * at + 1, completed: 100 * at + rng.u64(2..5000) };
        history.record(span, Outcome::Committed, ops);
    }
    assert!(history.check().is_empty());
    // Nearly at the end somebody has not seen what was there long before.
    let begin = 100_000_000;
    let read = |list: &[u32]| [ListOp::Read { key: first as u32 - 1, list: list.to_vec() }];
    let span = |at: u64| Span { client: 1, invoked: begin + at, completed: begin + at + 1 };
    history.record(span(1), Outcome::Committed, read(&lists[first - 1][..3]));
    let found = history.check();
    let cycle = found.last().unwrap();
    assert!(cycle.kind == Kind::GSingleRealtime && cycle.witness.len() == 4, "{cycle}");
}
