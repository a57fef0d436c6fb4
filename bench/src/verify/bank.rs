//! Transfers between accounts: the total stays what it was in every read of all accounts, and in the end each account has what the
//! transfers come to.

use super::anomaly::{Anomaly, Kind};
use super::limits::ANOMALIES_MAX;
use super::span::{Outcome, Span};

/// So much from one account to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub span: Span,
    pub outcome: Outcome,
    pub from: u32,
    pub to: u32,
    pub amount: i64,
}

/// All accounts at once; `None` for one that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub span: Span,
    pub balances: Vec<Option<i64>>,
}

/// Transfers and readings, after each account was given the same.
#[derive(Debug)]
pub struct BankHistory {
    accounts: u32,
    each: i64,
    transfers: Vec<Transfer>,
    readings: u64,
    /// Those whose total is wrong, the first few.
    wrong: Vec<Reading>,
    /// The one that began last.
    last: Option<Reading>,
}

impl BankHistory {
    /// `accounts` accounts with `each` units each.
    pub fn new(accounts: u32, each: i64) -> BankHistory {
        BankHistory { accounts, each, transfers: Vec::new(), readings: 0, wrong: Vec::new(), last: None }
    }

    pub fn transfer(&mut self, transfer: Transfer) {
        assert!(transfer.from < self.accounts && transfer.to < self.accounts, "a transfer is between accounts");
        self.transfers.push(transfer);
    }

    pub fn reading(&mut self, reading: Reading) {
        self.readings += 1;
        let total: Option<i64> = reading.balances.iter().copied().sum();
        let is_whole = reading.balances.len() == self.accounts as usize;
        if (total != Some(self.total()) || !is_whole) && self.wrong.len() < ANOMALIES_MAX {
            self.wrong.push(reading.clone());
        }
        if self.last.as_ref().is_none_or(|last| last.span.invoked < reading.span.invoked) {
            self.last = Some(reading);
        }
    }

    pub fn len(&self) -> usize {
        self.transfers.len() + self.readings as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn total(&self) -> i64 {
        i64::from(self.accounts) * self.each
    }

    /// What is wrong with it.
    pub fn check(&self) -> Vec<Anomaly> {
        let mut anomalies: Vec<Anomaly> = self.wrong.iter().map(|reading| self.wrong_total(reading)).collect();
        if let Some(last) = &self.last {
            anomalies.extend((0..self.accounts).filter_map(|account| self.wrong_balance(last, account)));
        }
        anomalies
    }

    fn wrong_total(&self, reading: &Reading) -> Anomaly {
        let total: i64 = reading.balances.iter().flatten().sum();
        let missing = reading.balances.iter().filter(|balance| balance.is_none()).count();
        let what = format!("{total} instead of {}, {missing} accounts are not there", self.total());
        let mut witness = vec![format!("read ({}): {:?}", reading.span, reading.balances)];
        // What is missing, or too much, is often one side of one transfer.
        let gap = (total - self.total()).abs();
        let under_way = |transfer: &&Transfer| {
            transfer.amount == gap && !transfer.span.is_before(&reading.span) && !reading.span.is_before(&transfer.span)
        };
        witness.extend(self.transfers.iter().filter(under_way).take(3).map(|transfer| {
            let Transfer { span, outcome, from, to, amount } = transfer;
            format!("perhaps half of: {amount} from {from} to {to}, {outcome:?} ({span})")
        }));
        Anomaly { kind: Kind::WrongTotal, what, witness }
    }

    /// What was acknowledged before the last reading began is in it. What was under way then, or was never answered, may be.
    fn wrong_balance(&self, last: &Reading, account: u32) -> Option<Anomaly> {
        let (mut least, mut most) = (self.each, self.each);
        for transfer in self.transfers.iter().filter(|transfer| transfer.outcome != Outcome::Aborted) {
            let change = match account {
                _ if transfer.from == transfer.to => 0,
                _ if transfer.from == account => -transfer.amount,
                _ if transfer.to == account => transfer.amount,
                _ => 0,
            };
            let is_sure = transfer.outcome == Outcome::Committed && transfer.span.is_before(&last.span);
            if last.span.is_before(&transfer.span) {
                continue;
            }
            least += if is_sure { change } else { change.min(0) };
            most += if is_sure { change } else { change.max(0) };
        }
        let balance = last.balances.get(account as usize).copied().flatten()?;
        if (least..=most).contains(&balance) {
            return None;
        }
        let what = format!("account {account} has {balance}, and should have {least} to {most}");
        let witness = vec![format!("read ({}): {:?}", last.span, last.balances)];
        Some(Anomaly { kind: Kind::WrongBalance, what, witness })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(invoked: u64, completed: u64) -> Span {
        Span { client: 0, invoked, completed }
    }

    /// Three transfers, the last one without an answer, and readings between them.
    fn good() -> BankHistory {
        let mut history = BankHistory::new(3, 100);
        for (at, (outcome, from, to, amount)) in
            [(Outcome::Committed, 0, 1, 7), (Outcome::Aborted, 1, 2, 50), (Outcome::Unknown, 2, 0, 5)]
                .into_iter()
                .enumerate()
        {
            let begun = at as u64 * 10;
            let span = if outcome == Outcome::Unknown { Span::open(0, begun) } else { span(begun, begun + 5) };
            history.transfer(Transfer { span, outcome, from, to, amount });
        }
        history.reading(Reading { span: span(1, 4), balances: vec![Some(100); 3] });
        history.reading(Reading { span: span(8, 9), balances: vec![Some(93), Some(107), Some(100)] });
        history
    }

    fn kinds(history: &BankHistory) -> Vec<Kind> {
        history.check().iter().map(|anomaly| anomaly.kind).collect()
    }

    #[test]
    fn transfers_keep_the_total() {
        let mut history = good();
        assert_eq!(kinds(&history), []);
        // The one without an answer may have happened, or not.
        history.reading(Reading { span: span(50, 51), balances: vec![Some(98), Some(107), Some(95)] });
        assert_eq!(kinds(&history), []);
        history.reading(Reading { span: span(60, 61), balances: vec![Some(93), Some(107), Some(100)] });
        assert_eq!(kinds(&history), []);
        assert_eq!(history.len(), 7);
    }

    #[test]
    fn half_a_transfer_is_seen() {
        let mut history = good();
        // Between two shards: the debit is read, the credit is not.
        history.reading(Reading { span: span(2, 6), balances: vec![Some(93), Some(100), Some(100)] });
        let found = history.check();
        assert_eq!(found[0].kind, Kind::WrongTotal);
        assert!(found[0].what.starts_with("293 instead of 300") && found[0].witness[1].contains("7 from 0 to 1"));
        let mut history = good();
        // After a crash: half of the transfer without an answer.
        history.reading(Reading { span: span(70, 71), balances: vec![Some(93), Some(107), Some(95)] });
        assert_eq!(kinds(&history), [Kind::WrongTotal]);
        let mut history = good();
        history.reading(Reading { span: span(70, 71), balances: vec![Some(93), Some(207), None] });
        assert_eq!(kinds(&history)[0], Kind::WrongTotal);
    }

    #[test]
    fn a_transfer_that_is_lost_or_refused_shows_in_the_end() {
        let mut history = good();
        history.reading(Reading { span: span(70, 71), balances: vec![Some(100); 3] });
        assert_eq!(kinds(&history), [Kind::WrongBalance; 2]);
        let mut history = good();
        history.reading(Reading { span: span(70, 71), balances: vec![Some(93), Some(57), Some(150)] });
        assert_eq!(kinds(&history), [Kind::WrongBalance; 2]);
    }
}
