//! What recovery makes of transactions over several shards: each shard says what the tail of its log has of them, and all tails
//! together decide. Pure: who reads the logs, and who brings the tails together, is the driver's.
//!
//! A transaction is committed if and only if every participant has its group, or says that it is done, and none says that it
//! was aborted. A participant that has neither has lost its group in the crash, so nobody was told of the transaction; or its
//! checkpoint has passed a group that was aborted. That it has passed one that was committed, and forgotten it, cannot be as
//! long as another one asks (T2 of [`crate::engine`]): where a log says otherwise, something that was acknowledged is gone, and
//! the start is refused.

use crate::bug::bugs;
use crate::error::Fault;
use crate::log::Record;
use crate::units::{ShardId, TxnId};
use std::collections::BTreeMap;

bugs! {
    /// A bug that transactions can be told to have.
    DecideAlone "decide-alone" "Each shard decides by its own log after a crash",
    CheckpointPasses "checkpoint-passes" "A checkpoint begins though a transaction is undecided",
    DoneForgotten "done-forgotten" "A checkpoint that begins says nothing of what is remembered",
    CheckpointAhead "checkpoint-ahead" "A checkpoint is durable before what it says of what is remembered",
}

/// What the log of one shard has of transactions, from its checkpoint to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    shard: ShardId,
    /// Groups that are whole and not decided, and the shards that take part.
    limbo: BTreeMap<TxnId, Vec<ShardId>>,
    done: Vec<TxnId>,
    aborted: Vec<TxnId>,
    /// The transaction whose group has begun.
    open: Option<(TxnId, Vec<ShardId>)>,
}

/// What becomes of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// It waits for this one's decision.
    Waits(TxnId),
    /// It counts.
    Counts,
    /// It never happened.
    Drops,
}

impl Tail {
    pub(crate) fn new(shard: ShardId) -> Tail {
        Tail { shard, ..Tail::default() }
    }

    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Transactions that are to be decided.
    pub fn limbo(&self) -> impl ExactSizeIterator<Item = TxnId> {
        self.limbo.keys().copied()
    }

    /// The next record of the log. `Some`: a group ends with it, or is decided by it.
    pub(crate) fn note(&mut self, record: &Record<'_>) -> Result<Option<(Option<TxnId>, Group)>, &'static str> {
        Ok(match *record {
            Record::Opened | Record::GroupBegin => {
                self.open = None;
                None
            }
            Record::TxnBegin { participants, .. } => {
                let id = record.txn().expect("it begins one");
                if self.limbo.contains_key(&id) {
                    return Err("a transaction has two groups");
                }
                self.open = Some((id, decode(participants, self.shard).ok_or("its participants make no sense")?));
                None
            }
            Record::GroupEnd => match self.open.take() {
                Some((id, participants)) => {
                    self.limbo.insert(id, participants);
                    Some((None, Group::Waits(id)))
                }
                None => Some((None, Group::Counts)),
            },
            Record::GroupAbort => {
                self.open = None;
                Some((None, Group::Drops))
            }
            Record::TxnDone { .. } => {
                self.done.extend(record.txn());
                self.decided(record, Group::Counts)
            }
            Record::TxnAbort { .. } => {
                self.aborted.extend(record.txn());
                self.decided(record, Group::Drops)
            }
            _ => None,
        })
    }

    fn decided(&mut self, record: &Record<'_>, group: Group) -> Option<(Option<TxnId>, Group)> {
        let id = record.txn()?;
        self.limbo.remove(&id).map(|_| (Some(id), group))
    }

    /// The log has ended.
    pub(crate) fn close(&mut self) {
        self.open = None;
        for seen in [&mut self.done, &mut self.aborted] {
            seen.sort_unstable();
            seen.dedup();
        }
    }

    fn says(&self, id: TxnId) -> Says {
        let has = |seen: &[TxnId]| seen.binary_search(&id).is_ok();
        Says { has_group: self.limbo.contains_key(&id), is_done: has(&self.done), is_aborted: has(&self.aborted) }
    }
}

/// What one participant's log says of a transaction.
struct Says {
    has_group: bool,
    is_done: bool,
    is_aborted: bool,
}

fn decode(participants: &[u8], own: ShardId) -> Option<Vec<ShardId>> {
    let (pairs, []) = participants.as_chunks::<2>() else { return None };
    let shards: Vec<ShardId> = pairs.iter().map(|pair| ShardId(u16::from_le_bytes(*pair))).collect();
    (shards.is_sorted_by(|one, other| one < other) && shards.contains(&own)).then_some(shards)
}

/// What has become of all transactions that some shard had in limbo. Only the tails of all shards make one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    decided: BTreeMap<TxnId, Decided>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Decided {
    is_committed: bool,
    participants: Vec<ShardId>,
}

impl Decisions {
    /// For a shard that takes part in no transactions: nothing is decided.
    pub fn none() -> Decisions {
        Decisions::default()
    }

    /// Puts the tails of all `shards` of a process side by side.
    pub fn of(tails: &[Tail], shards: u16) -> Result<Decisions, Fault> {
        Decisions::with_bug(tails, shards, None)
    }

    /// The same with a bug to have, for tests of the tests.
    pub fn with_bug(tails: &[Tail], shards: u16, planted: Option<Bug>) -> Result<Decisions, Fault> {
        let mut by_shard: Vec<&Tail> = tails.iter().collect();
        by_shard.sort_unstable_by_key(|tail| tail.shard);
        assert!(by_shard.iter().map(|tail| tail.shard.0).eq(0..shards), "each shard has said what it has");
        for id in by_shard.iter().flat_map(|tail| &tail.aborted) {
            if let Some(other) = by_shard.iter().find(|other| other.says(*id).is_done) {
                return Err(fault(other.shard, *id, "it is done here, and was aborted elsewhere"));
            }
        }
        let mut decided = BTreeMap::new();
        for tail in &by_shard {
            for (id, participants) in &tail.limbo {
                if !decided.contains_key(id) {
                    let is_committed = decide(*id, participants, &by_shard, tail.shard, planted)?;
                    decided.insert(*id, Decided { is_committed, participants: participants.clone() });
                }
            }
        }
        Ok(Decisions { decided })
    }

    pub fn is_empty(&self) -> bool {
        self.decided.is_empty()
    }

    /// Transactions that are committed, and that were aborted.
    pub fn counts(&self) -> (usize, usize) {
        let committed = self.decided.values().filter(|decided| decided.is_committed).count();
        (committed, self.decided.len() - committed)
    }

    /// Whether a transaction is committed. `None`: it was in no shard's limbo.
    pub fn is_committed(&self, id: TxnId) -> Option<bool> {
        self.decided.get(&id).map(|decided| decided.is_committed)
    }

    /// Committed transactions that a shard takes part in.
    pub(crate) fn committed_in(&self, shard: ShardId) -> impl Iterator<Item = TxnId> {
        let is_here = move |decided: &Decided| decided.is_committed && decided.participants.contains(&shard);
        self.decided.iter().filter(move |(_, decided)| is_here(decided)).map(|(id, _)| *id)
    }
}

/// Whether a transaction is committed that `shard` has in limbo.
fn decide(
    id: TxnId,
    participants: &[ShardId],
    tails: &[&Tail],
    shard: ShardId,
    planted: Option<Bug>,
) -> Result<bool, Fault> {
    let mut lacking = None;
    let mut done = None;
    let mut is_aborted = false;
    if let Some(other) = tails.iter().find(|tail| tail.limbo.get(&id).is_some_and(|others| others != participants)) {
        return Err(fault(other.shard, id, "its participants are others elsewhere"));
    }
    for participant in participants {
        let Some(tail) = tails.get(usize::from(participant.0)) else {
            return Err(fault(shard, id, "a shard takes part that is not there"));
        };
        let says = tail.says(id);
        is_aborted |= says.is_aborted;
        done = done.or(says.is_done.then_some(*participant));
        if !says.has_group && !says.is_done {
            lacking = lacking.or(Some(*participant));
        }
    }
    match (lacking, done) {
        _ if planted == Some(Bug::DecideAlone) => Ok(!is_aborted),
        _ if is_aborted => Ok(false),
        (None, _) => Ok(true),
        (Some(_), None) => Ok(false),
        (Some(lacking), Some(_)) => Err(fault(lacking, id, "it is done elsewhere, and what it did here is gone")),
    }
}

fn fault(shard: ShardId, id: TxnId, what: &'static str) -> Fault {
    Fault::Transaction { shard, id, what }
}
