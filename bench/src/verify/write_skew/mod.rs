//! Pairs of keys that every transaction reads both of, to write one: whoever commits has read what is there, so the transactions of a pair
//! stand in one row, each where the one before has left it.
//!
//! Every write has a number of its own, so what a transaction read names its place. Two that read the same cannot both have been
//! committed: if they wrote different halves it is write skew, else a lost update.

#[cfg(test)]
mod tests;

use super::anomaly::{Anomaly, Kind};
use super::keyed::Keyed;
use super::limits::ANOMALIES_MAX;
use super::span::{Outcome, Span};
use std::collections::{HashMap, HashSet};

/// Both values of a pair; `None` where there is none.
pub type Both = [Option<u64>; 2];

/// A transaction: what it read, and the half that it wrote with what. A reader of both writes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    pub span: Span,
    pub outcome: Outcome,
    pub read: Both,
    pub write: Option<(usize, u64)>,
}

/// Transactions by pair. Pairs have no values at first.
#[derive(Debug, Default)]
pub struct PairHistory {
    pairs: Keyed<Round>,
}

impl Round {
    /// What it leaves.
    fn left(&self) -> Both {
        let mut both = self.read;
        if let Some((half, value)) = self.write {
            both[half] = Some(value);
        }
        both
    }

    fn shown(&self) -> String {
        let write = self.write.map_or("nothing".to_owned(), |(half, value)| format!("{value} to half {half}"));
        format!("read {}, wrote {write}, {:?} ({})", shown(self.read), self.outcome, self.span)
    }
}

fn shown(both: Both) -> String {
    let [left, right] = both.map(|half| half.map_or("nothing".to_owned(), |value| value.to_string()));
    format!("({left}, {right})")
}

impl PairHistory {
    /// A reader that was not answered says nothing, and is left out.
    pub fn record(&mut self, pair: u32, round: Round) {
        if round.write.is_none() && round.outcome != Outcome::Committed {
            return;
        }
        self.pairs.push(pair, round);
    }

    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is wrong with it.
    pub fn check(&self) -> Vec<Anomaly> {
        let found = self.pairs.iter().flat_map(|(pair, rounds)| check_pair(pair, rounds));
        found.take(ANOMALIES_MAX).collect()
    }
}

fn check_pair(pair: usize, rounds: &[Round]) -> Vec<Anomaly> {
    let row = match row_of(pair, rounds) {
        Ok(row) => row,
        Err(anomaly) => return vec![anomaly],
    };
    let mut anomalies = Vec::new();
    // The places of what was written, and what was read there.
    let mut places: HashMap<Both, usize> = HashMap::from([([None; 2], 0)]);
    for (at, round) in row.iter().enumerate() {
        places.insert(round.left(), at + 1);
    }
    // Writers stand before what they leave, readers and writers behind what they read.
    let mut timed: Vec<(usize, &Round)> = row.iter().enumerate().map(|(at, round)| (2 * at + 1, *round)).collect();
    for round in rounds.iter().filter(|round| round.outcome == Outcome::Committed) {
        match places.get(&round.read) {
            Some(at) if round.write.is_none() => timed.push((2 * at, round)),
            Some(_) if row.contains(&round) => {}
            _ => anomalies.push(no_place(pair, rounds, round)),
        }
    }
    timed.sort_by_key(|(place, _)| *place);
    anomalies.extend(stale(pair, &timed));
    anomalies
}

/// Those that wrote and were committed, or seen to be, in their order.
fn row_of(pair: usize, rounds: &[Round]) -> Result<Vec<&Round>, Anomaly> {
    let mut by_read: HashMap<Both, Vec<&Round>> = HashMap::new();
    // Whoever read a value, it was there, even if both together were not.
    let is_seen: HashSet<u64> = rounds.iter().flat_map(|round| round.read.into_iter().flatten()).collect();
    for round in rounds.iter().filter(|round| round.write.is_some()) {
        by_read.entry(round.read).or_default().push(round);
    }
    let mut row: Vec<&Round> = Vec::new();
    let mut both = [None; 2];
    loop {
        let is_real = |round: &&&Round| match round.outcome {
            Outcome::Committed => true,
            _ => round.write.is_some_and(|(_, value)| is_seen.contains(&value)),
        };
        let next: Vec<&Round> = by_read.get(&both).into_iter().flatten().filter(is_real).copied().collect();
        let Some(first) = next.first() else { return Ok(row) };
        if let Some(refused) = next.iter().find(|round| round.outcome == Outcome::Aborted) {
            let what = format!("pair {pair}: what a refused transaction wrote was read");
            return Err(Anomaly { kind: Kind::G1a, what, witness: vec![refused.shown()] });
        }
        if let Some(second) = next.get(1) {
            let half = |round: &Round| round.write.map(|(half, _)| half);
            let is_skew = half(first) != half(second);
            let kind = if is_skew { Kind::WriteSkew } else { Kind::LostUpdate };
            let what = format!("pair {pair}: {} transactions read {} and were committed", next.len(), shown(both));
            return Err(Anomaly { kind, what, witness: next.iter().map(|round| round.shown()).collect() });
        }
        row.push(first);
        both = first.left();
    }
}

fn no_place(pair: usize, rounds: &[Round], round: &Round) -> Anomaly {
    let mut witness = vec![round.shown()];
    let wrote = |value: u64| rounds.iter().find(move |other| other.write.is_some_and(|(_, written)| written == value));
    let mut kind = Kind::Torn;
    for value in round.read.into_iter().flatten() {
        match wrote(value) {
            Some(other) => {
                if other.outcome == Outcome::Aborted {
                    kind = Kind::G1a;
                }
                witness.push(other.shown());
            }
            None => {
                kind = Kind::Phantom;
                witness.push(format!("{value} was written by nobody"));
            }
        }
    }
    let what = format!("pair {pair}: {} was never there", shown(round.read));
    Anomaly { kind, what, witness }
}

/// Who stands later in the row did not end before one began that stands earlier.
fn stale(pair: usize, timed: &[(usize, &Round)]) -> Option<Anomaly> {
    let (mut latest, mut at) = (timed.first()?.1, 0);
    while at < timed.len() {
        let place = timed[at].0;
        let same = timed[at..].partition_point(|(other, _)| *other == place);
        for (_, round) in &timed[at..at + same] {
            if round.span.is_before(&latest.span) {
                let what = format!("pair {pair}: the second one must come before the first, and ended before it began");
                return Some(Anomaly { kind: Kind::Stale, what, witness: vec![latest.shown(), round.shown()] });
            }
        }
        let last = timed[at..at + same].iter().map(|(_, round)| *round).max_by_key(|round| round.span.invoked);
        latest = last.filter(|last| last.span.invoked > latest.span.invoked).unwrap_or(latest);
        at += same;
    }
    None
}
