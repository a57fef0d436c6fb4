//! Where the workers of a start put the tails of their shards' logs side by side, and wait until all have: what has become of
//! transactions over several shards no log knows alone.

use cairn_storage::error::Fault;
use cairn_storage::txn::{Decisions, Tail};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Of one start.
pub struct Exchange {
    shards: u16,
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Gathering(Vec<Tail>),
    /// Somebody will not come.
    Failed,
    Over(Result<Arc<Decisions>, Fault>),
}

/// Why there are no decisions.
#[derive(Debug, PartialEq, Eq)]
pub enum NoDecisions {
    /// Another worker could not open its shards.
    OtherFailed,
    Refused(Fault),
}

/// One who takes part. If it goes before it has handed in what it has, nobody waits for it any more.
pub struct Entry<'a> {
    exchange: &'a Exchange,
    is_done: bool,
}

impl Exchange {
    /// For the logs of so many shards.
    pub fn new(shards: u16) -> Exchange {
        Exchange { shards, state: Mutex::new(State::Gathering(Vec::new())), changed: Condvar::new() }
    }

    pub fn enter(&self) -> Entry<'_> {
        Entry { exchange: self, is_done: false }
    }

    /// Nobody is to wait any more: somebody will not come.
    pub fn fail(&self) {
        let mut state = self.state();
        if matches!(*state, State::Gathering(_)) {
            *state = State::Failed;
        }
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panics with it leaves it as it was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry<'_> {
    /// Hands in the tails of a worker's shards, and waits for those of all others.
    pub fn decide(&mut self, tails: Vec<Tail>) -> Result<Arc<Decisions>, NoDecisions> {
        let Exchange { shards, changed, .. } = self.exchange;
        let mut state = self.exchange.state();
        if let State::Gathering(gathered) = &mut *state {
            gathered.extend(tails);
            self.is_done = true;
            if gathered.len() == usize::from(*shards) {
                *state = State::Over(Decisions::of(gathered, *shards).map(Arc::new));
                changed.notify_all();
            }
        }
        loop {
            state = match &*state {
                State::Over(decisions) => return decisions.clone().map_err(NoDecisions::Refused),
                State::Failed => return Err(NoDecisions::OtherFailed),
                State::Gathering(_) => changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.exchange.fail();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Exchange, NoDecisions};
    use cairn_storage::engine::Replay;
    use cairn_storage::log::{LogConfig, Record};
    use cairn_storage::txn::Tail;
    use cairn_storage::units::{Epoch, Lsn, ShardId, TxnId};
    use std::thread;

    const ID: TxnId = TxnId { coordinator: ShardId(0), number: 1 };

    fn tail(shard: u16, records: &[Record<'_>]) -> Tail {
        let shard = ShardId(shard);
        let config = LogConfig { shard, segment_bytes: 1 << 20, salt: 0, epoch: Epoch(0), planted: None };
        let mut replay = Replay::new(config, 1 << 24, Box::new(|_| {}));
        records.iter().for_each(|record| replay.apply(Lsn(1), record).unwrap());
        replay.tail().clone()
    }

    #[test]
    fn all_are_told_what_all_logs_say() {
        let begin = Record::TxnBegin { coordinator: 0, number: 1, participants: &[0, 0, 2, 0] };
        let exchange = Exchange::new(3);
        thread::scope(|scope| {
            let first =
                scope.spawn(|| exchange.enter().decide(vec![tail(0, &[begin, Record::GroupEnd]), tail(1, &[])]));
            let second = scope.spawn(|| exchange.enter().decide(vec![tail(2, &[begin, Record::GroupEnd])]));
            for worker in [first, second] {
                assert_eq!(worker.join().unwrap().unwrap().is_committed(ID), Some(true));
            }
        });
    }

    #[test]
    fn nobody_waits_for_one_who_does_not_come() {
        let exchange = Exchange::new(2);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| exchange.enter().decide(vec![tail(0, &[])]));
            drop(exchange.enter());
            assert_eq!(waiting.join().unwrap(), Err(NoDecisions::OtherFailed));
        });
        assert_eq!(exchange.enter().decide(vec![tail(1, &[])]), Err(NoDecisions::OtherFailed));
    }
}
