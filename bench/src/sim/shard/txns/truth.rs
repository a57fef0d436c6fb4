//! What was done to the rows of several shards, with the LSN of each record, and who was told what: so it is known what the
//! logs must bring back that end at given positions. Decides by the rule alone: whatever helps recovery to keep to it (done
//! twice, remembered, forgotten) is not known here.

use cairn_storage::units::Lsn;
use std::collections::BTreeMap;

/// A row's key, and the number that its value is made from: each is written once.
pub type Numbers = BTreeMap<u8, u64>;

/// What a row becomes; `None`: it goes.
pub type Write = (u8, Option<u64>);

fn apply(rows: &mut Numbers, writes: &[Write]) {
    for (key, number) in writes {
        match number {
            Some(number) => drop(rows.insert(*key, *number)),
            None => drop(rows.remove(key)),
        }
    }
}

/// What a record does.
#[derive(Clone)]
enum Deed {
    Put(u8, u64),
    /// The part that a transaction has here.
    Group(u64, Vec<Write>),
    Abort(u64),
}

#[derive(Clone, Default)]
struct Shard {
    /// The rows at the last opening.
    base: Numbers,
    deeds: Vec<(Lsn, Deed)>,
    /// With all that was done and not undone.
    now: Numbers,
    /// Up to here somebody was told.
    acknowledged: Lsn,
}

#[derive(Clone, Default)]
struct Told {
    participants: Vec<usize>,
    is_committed: bool,
    is_aborted: bool,
}

#[derive(Clone)]
pub struct Truth {
    shards: Vec<Shard>,
    txns: BTreeMap<u64, Told>,
}

impl Truth {
    pub fn new(shards: usize) -> Truth {
        Truth { shards: vec![Shard::default(); shards], txns: BTreeMap::new() }
    }

    /// What a shard's rows are in memory.
    pub fn now(&self, shard: usize) -> &Numbers {
        &self.shards[shard].now
    }

    pub fn put(&mut self, shard: usize, lsn: Lsn, key: u8, number: u64) {
        let shard = &mut self.shards[shard];
        shard.now.insert(key, number);
        shard.deeds.push((lsn, Deed::Put(key, number)));
    }

    pub fn begin(&mut self, txn: u64, participants: Vec<usize>) {
        self.txns.insert(txn, Told { participants, ..Told::default() });
    }

    pub fn group(&mut self, shard: usize, lsn: Lsn, txn: u64, writes: &[Write]) {
        let shard = &mut self.shards[shard];
        apply(&mut shard.now, writes);
        shard.deeds.push((lsn, Deed::Group(txn, writes.to_vec())));
    }

    /// Is undone: the rows are these again.
    pub fn abort(&mut self, shard: usize, lsn: Lsn, txn: u64, before: &[Write]) {
        let shard = &mut self.shards[shard];
        apply(&mut shard.now, before);
        shard.deeds.push((lsn, Deed::Abort(txn)));
    }

    /// What is before this position of a shard's log is no secret any more.
    pub fn acknowledge(&mut self, shard: usize, durable: Lsn) {
        let acknowledged = &mut self.shards[shard].acknowledged;
        *acknowledged = durable.max(*acknowledged);
    }

    /// A client was told that the transaction is committed; or aborted.
    pub fn tell(&mut self, txn: u64, is_committed: bool) {
        let told = self.txns.get_mut(&txn).expect("it was begun");
        *(if is_committed { &mut told.is_committed } else { &mut told.is_aborted }) = true;
    }

    /// Committed if and only if the groups of all participants are stable, and none of them is followed by an abort.
    fn is_committed(&self, txn: u64, ends: &[Lsn]) -> bool {
        let has = |shard: usize, what: &dyn Fn(&Deed) -> bool| {
            self.shards[shard].deeds.iter().any(|(lsn, deed)| *lsn <= ends[shard] && what(deed))
        };
        let participants = self.txns.get(&txn).map_or(&[][..], |told| &told.participants);
        participants.iter().all(|shard| has(*shard, &|deed| matches!(deed, Deed::Group(of, _) if *of == txn)))
            && !participants.iter().any(|shard| has(*shard, &|deed| matches!(deed, Deed::Abort(of) if *of == txn)))
    }

    /// The rows that logs with these ends leave.
    fn rows_at(&self, ends: &[Lsn]) -> Vec<Numbers> {
        let rows = |(at, shard): (usize, &Shard)| {
            let mut rows = shard.base.clone();
            for (_, deed) in shard.deeds.iter().filter(|(lsn, _)| *lsn <= ends[at]) {
                match deed {
                    Deed::Put(key, number) => drop(rows.insert(*key, *number)),
                    Deed::Group(txn, writes) if self.is_committed(*txn, ends) => apply(&mut rows, writes),
                    Deed::Group(..) | Deed::Abort(_) => {}
                }
            }
            rows
        };
        self.shards.iter().enumerate().map(rows).collect()
    }

    /// Judges what has come back: these rows, of logs with these ends.
    pub fn judge(&self, ends: &[Lsn], found: &[Numbers]) -> Result<(), String> {
        for (shard, end) in self.shards.iter().zip(ends) {
            if *end < shard.acknowledged {
                let acknowledged = shard.acknowledged;
                return Err(format!(
                    "acknowledged implies present: up to {acknowledged} was acknowledged, {end} is the end"
                ));
            }
        }
        for (txn, told) in &self.txns {
            let is_committed = self.is_committed(*txn, ends);
            if told.is_committed && !is_committed {
                return Err(format!(
                    "acknowledged implies present: transaction {txn} was acknowledged, and is not there"
                ));
            }
            if told.is_aborted && is_committed {
                return Err(format!("what was aborted is not there: transaction {txn} is"));
            }
        }
        for (shard, (expected, found)) in self.rows_at(ends).iter().zip(found).enumerate() {
            if expected != found {
                return Err(format!("on all shards or on none: shard {shard} has {found:?} in place of {expected:?}"));
            }
        }
        Ok(())
    }

    /// A crash has left these rows, and from now on anybody may have seen them.
    pub fn reopen(&mut self, ends: &[Lsn], found: &[Numbers]) {
        for (shard, (end, rows)) in self.shards.iter_mut().zip(ends.iter().zip(found)) {
            *shard = Shard { base: rows.clone(), now: rows.clone(), acknowledged: *end, deeds: Vec::new() };
        }
        self.txns.clear();
    }
}
