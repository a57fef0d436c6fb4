//! What workers tell the process around them: questions, notices and figures, through one bounded channel.
//!
//! A worker never waits for the process: notices and figures that find the channel full are dropped and counted;
//! questions, which somebody waits for, are kept and offered again.

use crate::limits::REPORTS_MAX;
use crate::stats::WorkerStats;
use cairn_core::event::{HostAsk, Notice, Ticket};
use cairn_core::snapshot::Snapshot;
use cairn_storage::units::ShardId;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// One thing a worker says.
#[derive(Debug)]
pub enum Report {
    /// To be answered with [`crate::server::Answerer::answer`].
    Ask {
        shard: ShardId,
        ticket: Ticket,
        ask: HostAsk,
    },
    Notice {
        shard: ShardId,
        notice: Notice,
    },
    /// The figures of a shard, about once a second.
    Snapshot {
        shard: ShardId,
        snapshot: Box<Snapshot>,
    },
    /// The figures of a worker, about once a second.
    Worker(Box<WorkerStats>),
}

/// A worker's end of the channel.
pub struct Reporter {
    sender: SyncSender<Report>,
    /// Questions that did not fit.
    asks: VecDeque<Report>,
    dropped: u64,
}

/// The channel from all workers.
pub fn channel() -> (Reporter, Receiver<Report>) {
    let (sender, receiver) = sync_channel(REPORTS_MAX);
    (Reporter { sender, asks: VecDeque::new(), dropped: 0 }, receiver)
}

impl Reporter {
    /// Another worker's end of the same channel.
    pub fn share(&self) -> Reporter {
        Reporter { sender: self.sender.clone(), asks: VecDeque::new(), dropped: 0 }
    }

    pub fn report(&mut self, report: Report) {
        match report {
            Report::Ask { .. } => {
                self.asks.push_back(report);
                self.retry();
            }
            _ => self.dropped += u64::from(self.sender.try_send(report).is_err()),
        }
    }

    /// Offers questions again that did not fit. Called at every tick.
    pub fn retry(&mut self) {
        while let Some(ask) = self.asks.pop_front() {
            match self.sender.try_send(ask) {
                Ok(()) => {}
                Err(TrySendError::Full(ask)) => return self.asks.push_front(ask),
                // Nobody listens any more: the process ends.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
    }

    /// Reports that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}
