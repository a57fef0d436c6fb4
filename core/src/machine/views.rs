//! What transactions that only read ask: shards answer from the rows as they were at the transaction's cut, without a lock.
//!
//! A counter may have been split then: its owner says so, the other shards are asked for their sub-rows, and the owner is asked again with
//! what these had together.

use super::Machine;
use super::cuts::too_old;
use super::trial::Tried;
use crate::command::args::parse_integer;
use crate::command::{Call, Run, table};
use crate::error::Refusal;
use crate::hidden::bulk_of;
use crate::resp::replies::Replies;
use crate::tx::{Command, Multi, NotDone, Patience, Sum, ToParticipant, View, Work, Worked};
use cairn_storage::units::{ShardId, TxnId};

/// A counter whose parts are asked for.
pub(super) struct Summing {
    sum: Sum,
    /// What its owner is to do then.
    work: Box<Work>,
    owner: ShardId,
    /// Shards that are still to be asked.
    left: Vec<ShardId>,
}

pub(super) const GONE: &str = "its snapshot is not kept any more";

impl Machine {
    /// Runs a command on the rows as they were.
    pub(super) fn try_view(&mut self, work: &Work, view: &View) -> Tried {
        if let Some(ask) = &work.ask {
            return self.survey_at_cut(work, view, ask);
        }
        let Command { entry, db, head, args } = work.commands.command(0);
        let Run::Row(run) = entry.spec.run else { unreachable!("a shard is given commands on rows only") };
        self.shard.begin();
        let is_known = |key: &[u8]| view.sums.iter().any(|sum| sum.db == db && sum.key == key);
        let mut keys = entry.spec.row_keys(&args).map(|at| &args[at]);
        if let Some(key) = keys.find(|key| self.shard.versions().was_split(view.cut, db, key) && !is_known(key)) {
            return Tried::Done(Ok(Worked::Apart { db, key: key.to_vec(), work: Box::new(work.clone()) }));
        }
        let Some(now) = self.shard.begin_look(view) else {
            return Tried::Done(Err(NotDone::of_commands(&Refusal::text(too_old(GONE)))));
        };
        let call = Call { spec: entry.spec, args: &args, db, is_resp3: work.is_resp3, now, head };
        let start_ns = (self.identity.clock_ns)();
        let mut reply = Replies::default();
        let ran = self.run_row(run, &call, 0, &mut reply);
        self.shard.end_look();
        match ran {
            Err(stop) if stop.is_passing() => return Tried::Later(stop),
            ran => self.finish_row(entry.id, ran, 0, work.is_resp3, &mut reply),
        };
        self.stats.on_command(entry.id, (self.identity.clock_ns)().saturating_sub(start_ns));
        Tried::Done(Ok(Worked::Reply(reply)))
    }

    /// A shard has answered a statement. If that was about the parts of a counter, or has to wait for them, it is dealt with.
    pub(super) fn take_sums(
        &mut self,
        txn: TxnId,
        number: u32,
        result: Result<Worked, NotDone>,
    ) -> Option<Result<Worked, NotDone>> {
        let statement = self.pending.statements.get_mut(&txn).filter(|it| it.number == number)?;
        match (statement.summing.take(), result) {
            (None, Ok(Worked::Apart { db, key, work })) => {
                let owner = statement.at;
                let left = (0..self.identity.shards).map(ShardId).filter(|shard| *shard != owner).collect();
                self.ask_sum(txn, Box::new(Summing { sum: Sum { db, key, amount: 0 }, work, owner, left }));
                None
            }
            (Some(mut summing), Ok(Worked::Reply(reply))) => {
                match super::exec::error_line(&reply, 0) {
                    Some(_) => return Some(Ok(Worked::Reply(reply))),
                    None => {
                        let amount = bulk_of(&reply).map(|digits| parse_integer(&digits));
                        summing.sum.amount += amount.map_or(0, |amount| amount.expect("a sub-row is a number"));
                    }
                }
                self.ask_sum(txn, summing);
                None
            }
            (_, result) => Some(result),
        }
    }

    /// Asks the next shard for its part of a counter; or, when all have answered, the owner for what was wanted.
    fn ask_sum(&mut self, txn: TxnId, mut summing: Box<Summing>) {
        let statement = self.pending.statements.get_mut(&txn).expect("the caller has seen it");
        let Some(shard) = summing.left.pop() else {
            let Summing { sum, mut work, owner, .. } = *summing;
            statement.at = owner;
            work.view.as_mut().expect("it reads a cut").sums.push(sum.clone());
            if let Some(open) = self.open_of(txn) {
                open.sums.push(sum);
            }
            return self.tell(owner, txn, ToParticipant::Work(work));
        };
        statement.at = shard;
        let Work { age, statement: number, view, .. } = &*summing.work;
        let view = view.as_ref().map(|view| View { cut: view.cut, sums: Vec::new() });
        let mut commands = Multi::default();
        let entry = table::entry(b"get").expect("it is in the table");
        let head = self.shard.head(&summing.sum.key);
        commands.push(entry, summing.sum.db, head, [&b"GET"[..], &summing.sum.key].into_iter());
        let (age, statement, rows, patience) = (*age, *number, Vec::new(), Patience::Wait);
        let work = Work { rows, patience, commands, view, ..Work::of(age, statement) };
        self.pending.statements.get_mut(&txn).expect("it was just there").summing = Some(summing);
        self.tell(shard, txn, ToParticipant::Work(Box::new(work)));
    }
}
