//! Counters that are added to and taken from by who does not see the sum. Whoever reads one finds what was added and taken before, and of
//! what was under way then, or was never answered, any part. Where nobody takes more than there is, there is never less than nothing; and who
//! was told that there is not enough was told so rightly.
//!
//! A sum is also that of a moment: if one of two additions was over before the other began, nobody finds the later one without the earlier. That
//! is searched for where few additions were beside the reading ([`BESIDE_MAX`]).

use super::anomaly::{Anomaly, Kind};
use super::limits::{ANOMALIES_MAX, BESIDE_MAX};
use super::span::{Outcome, Span};

/// So much was added; less than nothing: taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addition {
    pub span: Span,
    pub outcome: Outcome,
    pub amount: i64,
}

/// The history of one counter, which begins with `first`.
#[derive(Debug, Default)]
pub struct CounterHistory {
    first: i64,
    /// Nobody takes what is not there.
    is_stock: bool,
    additions: Vec<Addition>,
    readings: Vec<(Span, i64)>,
    /// Who was told that there is not so much.
    refusals: Vec<(Span, i64)>,
}

/// Sums of additions up to an instant: of all, of those that add, and of those that take.
struct Sums {
    at: Vec<u64>,
    sums: Vec<[i64; 3]>,
}

impl Sums {
    fn new(mut additions: Vec<(u64, i64)>) -> Sums {
        additions.sort_unstable();
        let mut sum = [0; 3];
        let mut sums = vec![sum];
        for (_, amount) in &additions {
            let parts = [*amount, amount.max(&0).to_owned(), amount.min(&0).to_owned()];
            sum.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
            sums.push(sum);
        }
        Sums { at: additions.into_iter().map(|(at, _)| at).collect(), sums }
    }

    /// Of those before `end`.
    fn before(&self, end: u64) -> [i64; 3] {
        self.sums[self.at.partition_point(|at| *at < end)]
    }
}

/// Those that were done, in the order of their beginnings; and those of which nobody knows.
struct Ordered<'a> {
    done: Vec<&'a Addition>,
    /// When the last of so many was over.
    over: Vec<u64>,
    open: Vec<&'a Addition>,
}

impl<'a> Ordered<'a> {
    fn new(additions: &'a [Addition]) -> Ordered<'a> {
        let known = additions.iter().filter(|addition| addition.outcome != Outcome::Aborted);
        let (mut done, open): (Vec<&Addition>, Vec<&Addition>) =
            known.partition(|addition| addition.outcome == Outcome::Committed);
        done.sort_by_key(|addition| addition.span.invoked);
        let later = |over: &mut u64, addition: &&Addition| {
            *over = addition.span.completed.max(*over);
            Some(*over)
        };
        let over = done.iter().scan(0, later).collect();
        Ordered { done, over, open }
    }

    /// Those that a reading may have found or not, in the order of their beginnings; `None` if they are many.
    fn beside(&self, span: &Span) -> Option<Vec<&'a Addition>> {
        let begun = self.done.partition_point(|addition| addition.span.invoked < span.completed);
        let near = (0..begun).rev().take_while(|at| self.over[*at] >= span.invoked).map(|at| self.done[at]);
        let open = self.open.iter().copied().filter(|addition| addition.span.invoked < span.completed);
        let near = near.filter(|addition| addition.span.completed >= span.invoked);
        let mut beside: Vec<&Addition> = near.chain(open).take(BESIDE_MAX + 1).collect();
        beside.sort_by_key(|addition| addition.span.invoked);
        (beside.len() <= BESIDE_MAX).then_some(beside)
    }
}

/// Whether some of these additions, in the order of their beginnings, come to `sum`, none of which began when one was over that is left
/// out: at `until`.
fn is_of_a_moment(beside: &[&Addition], sum: i64, until: u64) -> bool {
    let Some((first, rest)) = beside.split_first() else { return sum == 0 };
    if first.span.invoked > until {
        return sum == 0;
    }
    let end = if first.outcome == Outcome::Committed { first.span.completed } else { Span::OPEN };
    is_of_a_moment(rest, sum - first.amount, until) || is_of_a_moment(rest, sum, until.min(end))
}

impl CounterHistory {
    pub fn new(first: i64, is_stock: bool) -> CounterHistory {
        CounterHistory { first, is_stock, ..CounterHistory::default() }
    }

    pub fn addition(&mut self, addition: Addition) {
        self.additions.push(addition);
    }

    pub fn reading(&mut self, span: Span, value: i64) {
        self.readings.push((span, value));
    }

    pub fn refusal(&mut self, span: Span, amount: i64) {
        self.refusals.push((span, amount));
    }

    /// What is wrong with it. `name`: the counter's.
    pub fn check(&self, name: &str) -> Vec<Anomaly> {
        let done = || self.additions.iter().filter(|addition| addition.outcome != Outcome::Aborted);
        let begun = Sums::new(done().map(|it| (it.span.invoked, it.amount)).collect());
        let over = done().filter(|it| it.outcome == Outcome::Committed);
        let over = Sums::new(over.map(|it| (it.span.completed, it.amount)).collect());
        // What was over is there; of what had begun besides, any part may be.
        let range = |span: &Span| {
            let ([sure, sure_up, sure_down], [_, up, down]) = (over.before(span.invoked), begun.before(span.completed));
            (self.first + sure + down - sure_down, self.first + sure + up - sure_up)
        };
        let ordered = Ordered::new(&self.additions);
        let mut anomalies = Vec::new();
        for (span, value) in &self.readings {
            let (least, most) = range(span);
            let least = if self.is_stock { least.max(0) } else { least };
            if !(least..=most).contains(value) {
                let what = format!("{name} is {value}, and should be {least} to {most}");
                let kind = if self.is_stock && *value < 0 { Kind::WrongStock } else { Kind::WrongSum };
                anomalies.push(self.anomaly(kind, what, span));
            } else if let Some(beside) = ordered.beside(span) {
                let found = value - self.first - over.before(span.invoked)[0];
                if !is_of_a_moment(&beside, found, Span::OPEN) {
                    let what = format!("{name} is {value}, which it never was");
                    anomalies.push(self.anomaly(Kind::TornSum, what, span));
                }
            }
        }
        for (span, amount) in &self.refusals {
            let (least, _) = range(span);
            if least >= *amount {
                let what = format!("{amount} of {name} were refused, and there were {least} at least");
                anomalies.push(self.anomaly(Kind::WrongStock, what, span));
            }
        }
        anomalies.truncate(ANOMALIES_MAX);
        anomalies
    }

    fn anomaly(&self, kind: Kind, what: String, span: &Span) -> Anomaly {
        let beside = |it: &&Addition| !it.span.is_before(span) && !span.is_before(&it.span);
        let mut witness = vec![format!("answered to {span}")];
        witness.extend(self.additions.iter().filter(beside).take(3).map(|it| {
            let Addition { span, outcome, amount } = it;
            format!("beside it: {amount}, {outcome:?} ({span})")
        }));
        Anomaly { kind, what, witness }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(invoked: u64, completed: u64) -> Span {
        Span { client: 0, invoked, completed }
    }

    fn add(history: &mut CounterHistory, invoked: u64, completed: u64, amount: i64) {
        let outcome = if completed == Span::OPEN { Outcome::Unknown } else { Outcome::Committed };
        history.addition(Addition { span: span(invoked, completed), outcome, amount });
    }

    /// 10, then 5 more, 3 less beside a reading, and 100 of which nobody knows.
    fn good(is_stock: bool) -> CounterHistory {
        let mut history = CounterHistory::new(10, is_stock);
        add(&mut history, 1, 5, 5);
        add(&mut history, 10, 20, -3);
        add(&mut history, 30, Span::OPEN, 100);
        history.addition(Addition { span: span(2, 3), outcome: Outcome::Aborted, amount: 1000 });
        history
    }

    fn kinds(history: &CounterHistory) -> Vec<Kind> {
        history.check("c").iter().map(|anomaly| anomaly.kind).collect()
    }

    #[test]
    fn what_was_added_before_is_there_and_what_was_under_way_may_be() {
        for (invoked, completed, values) in [
            (0, 1, &[10][..]),
            (3, 4, &[10, 15]),
            (6, 9, &[15]),
            (12, 14, &[12, 15]),
            (21, 29, &[12]),
            (40, 50, &[12, 112]),
        ] {
            for value in 0..200 {
                let mut history = good(false);
                history.reading(span(invoked, completed), value);
                assert_eq!(kinds(&history).is_empty(), values.contains(&value), "{value} at {invoked}");
            }
        }
    }

    #[test]
    fn a_later_addition_without_an_earlier_one_is_seen() {
        for (value, is_well) in
            [(0, true), (1, true), (10, false), (11, true), (111, true), (101, true), (100, false), (110, false)]
        {
            let mut history = CounterHistory::new(0, false);
            add(&mut history, 10, 20, 1);
            add(&mut history, 30, 40, 10);
            // Beside both.
            add(&mut history, 35, 60, 100);
            history.reading(span(5, 70), value);
            assert_eq!(kinds(&history), if is_well { vec![] } else { vec![Kind::TornSum] }, "{value}");
        }
        // What was never answered may come at any time, or never.
        for value in [0, 5, 7, 12] {
            let mut history = CounterHistory::new(0, false);
            add(&mut history, 10, Span::OPEN, 5);
            add(&mut history, 30, 40, 7);
            history.reading(span(20, 70), value);
            assert_eq!(kinds(&history), []);
        }
    }

    #[test]
    fn less_than_nothing_and_a_wrong_refusal_are_seen() {
        let mut history = good(true);
        add(&mut history, 60, Span::OPEN, -12);
        history.reading(span(70, 80), 0);
        assert_eq!(kinds(&history), []);
        history.reading(span(70, 80), -1);
        assert_eq!(kinds(&history), [Kind::WrongStock]);
        let mut history = good(true);
        // There may have been 12.
        history.refusal(span(15, 16), 13);
        assert_eq!(kinds(&history), []);
        history.refusal(span(15, 16), 12);
        assert_eq!(kinds(&history), [Kind::WrongStock]);
        assert!(history.check("c")[0].what.contains("12 of c were refused"));
    }
}
