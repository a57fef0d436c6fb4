//! WATCH, and whether what is watched has changed.

use super::Machine;
use super::ask::Deferred;
use super::plan::Exec;
use crate::command::args::Args;
use crate::command::{Call, Flow};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::limits::WATCHED_KEYS_MAX;
use crate::parcel::{Answer, Ask, Message};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::route;
use crate::stats::Ended;
use crate::tx::Watched;
use cairn_storage::units::ShardId;

impl Machine {
    /// WATCH: each shard watches its own of the keys.
    pub fn watch_keys(&mut self, conn: ConnId, call: &Call<'_>) -> Result<Flow, Stop> {
        let watched = &self.client(conn).watched;
        let mut keys: Vec<&[u8]> = call.args.skip(1).iter().collect();
        keys.sort_unstable();
        keys.dedup();
        let known = watched.iter().filter(|known| known.db == call.db).map(|known| &known.key[..]);
        let mut known: Vec<&[u8]> = known.filter(|known| keys.binary_search(known).is_ok()).collect();
        known.sort_unstable();
        keys.retain(|key| known.binary_search(key).is_err());
        if watched.len() + keys.len() > WATCHED_KEYS_MAX {
            return Err(Refusal::text(format!("ERR a connection watches {WATCHED_KEYS_MAX} keys at most")).into());
        }
        let own = self.identity.shard;
        let keys: Vec<Vec<u8>> = keys.into_iter().map(<[u8]>::to_vec).collect();
        let mut shards: Vec<ShardId> = keys.iter().map(|key| self.owner(route::slot(key))).collect();
        shards.sort_unstable_by_key(|shard| shard.0);
        shards.dedup();
        let ask = Ask::Watch { db: call.db, keys };
        if shards.iter().all(|shard| *shard == own) {
            match self.answer(&ask, &mut crate::answer::Progress::default()) {
                Ok(Answer::Watched(watched)) => self.client_mut(conn).watched.extend(watched),
                Ok(Answer::Refused(line)) => return Err(Refusal::text(line).into()),
                Ok(_) => unreachable!("a watch is answered with what is watched"),
                Err(Some(missing)) => return Err(missing.into()),
                Err(None) => return Err(Stop::Locked),
            }
            return Ok(Flow::Done);
        }
        let merge = |machine: &mut Machine, conn: ConnId, answers: Vec<Answer>, reply: &mut Reply<'_>| {
            let mut refused = None;
            for answer in answers {
                match answer {
                    Answer::Watched(watched) => machine.client_mut(conn).watched.extend(watched),
                    Answer::Refused(line) => refused = Some(line),
                    _ => unreachable!("a watch is answered with what is watched"),
                }
            }
            match refused {
                Some(line) => reply.error(&line),
                None => reply.ok(),
            }
        };
        self.pending.deferred = Some(Deferred::Shards { shards, ask, merge: Box::new(merge) });
        Ok(Flow::Later)
    }

    /// Watches those of the keys that are this shard's, once all of them are in memory.
    pub(crate) fn watch_own(&mut self, db: u8, keys: &[Vec<u8>]) -> Result<Answer, Stop> {
        let own = self.identity.shard;
        let name = Args::new(b"watch", &[(0, 5)]);
        let spec = crate::command::table::find(b"watch").expect("it is in the table");
        let call = Call { spec, args: &name, db, is_resp3: false, now: self.now, head: 0 };
        let keys: Vec<&Vec<u8>> = keys.iter().filter(|key| self.owner(route::slot(key)) == own).collect();
        for key in &keys {
            if self.is_row_locked(db, self.shard.head(key), false) {
                return Err(Stop::Locked);
            }
            self.shard.peek(&call, key)?;
        }
        let watched: Result<Vec<Watched>, Stop> = keys.iter().map(|key| self.shard.watch(&call, own, key)).collect();
        Ok(Answer::Watched(watched?))
    }

    /// EXEC of a transaction of which something that is watched was changed.
    pub(super) fn refuse_touched(&mut self, exec: &Exec, replies: &mut Replies) {
        self.stats.on_exec(Ended::Conflict);
        Reply::new(replies, exec.is_resp3).null_array();
    }

    /// Whether the command that runs is one of EXEC's.
    pub fn is_in_transaction(&self) -> bool {
        self.scripts.is_in_exec || self.execs.is_ending
    }

    /// The connection watches nothing any more.
    pub fn unwatch(&mut self, conn: ConnId) {
        let watched = std::mem::take(&mut self.client_mut(conn).watched);
        self.forget_watched(watched);
    }

    /// Nobody waits for these any more.
    pub(super) fn forget_watched(&mut self, watched: Vec<Watched>) {
        for Watched { shard, db, head, .. } in watched {
            if shard == self.identity.shard {
                self.shard.watches.unwatch(db, head);
            } else {
                self.outbox[usize::from(shard.0)].messages.push(Message::Unwatch { db, head });
            }
        }
    }
}
