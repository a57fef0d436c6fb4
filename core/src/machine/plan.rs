//! What a transaction over several shards does at which of them: its rows, its commands, and where their replies go.

use super::Machine;
use super::ask::HoleId;
use super::coordinate::Stage;
use super::exec::{error_line, rolled_back};
use super::form::Form;
use super::participate::locks_of;
use super::remote::Spreading;
use super::whole::Look;
use crate::announce::Announcement;
use crate::command::connection::selected;
use crate::command::table::Entry;
use crate::command::{Call, Run, Spec, Spread, table};
use crate::error::Refusal;
use crate::event::Now;
use crate::notify::Voice;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::route;
use crate::tx::{Command, Databases, Go, Multi, RowLock, Watched};
use cairn_storage::units::ShardId;
use std::sync::Arc;

/// A transaction under way.
pub(super) struct Exec {
    pub hole: HoleId,
    pub is_resp3: bool,
    /// EXEC answers an array, a command that is a transaction by itself its own reply.
    pub is_exec: bool,
    /// An error of any command undoes all.
    pub rolls_back: bool,
    /// It is the end of an open transaction: all is locked, and its shards have their commands.
    pub is_commit: bool,
    /// One for each command.
    pub slots: Vec<Slot>,
    /// The commands of these, if they are to be named.
    pub names: Vec<&'static Spec>,
    /// What each shard does, in the order of shards.
    pub parts: Vec<Part>,
    /// The databases that it locks as a whole, at all shards.
    pub databases: Databases,
    /// What its connection has watched.
    pub watched: Vec<Watched>,
    /// What it tells others if it is committed.
    pub announced: Vec<Announcement>,
    /// What others hear of what its parts do.
    pub voice: Voice,
    /// What is looked at before its parts are known.
    pub look: Option<Look>,
    pub stage: Stage,
}

/// A command's reply.
pub(super) enum Slot {
    Reply(Replies),
    /// Of its parts.
    Parts(Spreading),
    /// It is run on this core when the transaction is over.
    Server(Multi),
}

pub(super) struct Part {
    pub shard: ShardId,
    pub rows: Vec<RowLock>,
    pub watched: Vec<Watched>,
    pub commands: Multi,
    /// Where the reply of each command goes: the slot, and which part of it.
    pub places: Vec<(usize, usize)>,
    pub is_writer: bool,
    /// What the shard was told to try.
    tried: Option<Arc<Go>>,
    /// It has not done it, and knows nothing of the transaction any more.
    pub is_denied: bool,
}

/// A shard, the rows that it locks, and what it runs.
pub(super) type Piece = (ShardId, Vec<RowLock>, Multi);

/// A plan in the making.
pub(super) struct Plan<'a> {
    machine: &'a Machine,
    slots: Vec<Slot>,
    parts: Vec<Part>,
    databases: Databases,
}

impl Plan<'_> {
    pub fn new(machine: &Machine) -> Plan<'_> {
        Plan { machine, slots: Vec::new(), parts: Vec::new(), databases: Databases::NONE }
    }

    /// Locks rows of a shard.
    pub fn lock(&mut self, shard: ShardId, rows: Vec<RowLock>) {
        self.part(shard).rows.extend(rows);
    }

    /// In place of what the parts reply.
    pub fn answer(&mut self, write: impl FnOnce(&mut Reply<'_>)) {
        let mut replies = Replies::default();
        write(&mut Reply::new(&mut replies, false));
        self.parts.iter_mut().for_each(|part| part.places.clear());
        self.slots = vec![Slot::Reply(replies)];
    }

    pub fn finish(self, is_resp3: bool, is_exec: bool, look: Option<Look>) -> Box<Exec> {
        let hole = HoleId { client: 0, conn: 0, hole: 0 };
        let (slots, parts, databases, watched) = (self.slots, self.parts, self.databases, Vec::new());
        let (rolls_back, is_commit, names, stage) = (false, false, Vec::new(), Stage::Locking(0));
        Box::new(Exec {
            hole,
            is_resp3,
            is_exec,
            rolls_back,
            is_commit,
            slots,
            names,
            parts,
            databases,
            watched,
            announced: Vec::new(),
            voice: Voice::Plain,
            look,
            stage,
        })
    }

    /// The one command that was added: what each shard locks and runs, in the order of shards, and how their replies become one if they
    /// are several. Refused if it cannot be done.
    pub fn into_works(self) -> Result<(Vec<Piece>, Form), Refusal> {
        let mut slots = self.slots;
        let numbers = self.parts.iter().map(|part| part.places[0].1).collect();
        let form = match slots.pop().expect("a command was added") {
            Slot::Reply(reply) => match error_line(&reply, 0) {
                Some(line) => return Err(Refusal::text(line)),
                None => Form::Single,
            },
            Slot::Parts(spreading) => Form::Parts(spreading, numbers),
            Slot::Server(_) => unreachable!("a command on rows was added"),
        };
        Ok((self.parts.into_iter().map(|part| (part.shard, part.rows, part.commands)).collect(), form))
    }

    fn part(&mut self, shard: ShardId) -> &mut Part {
        let at = self.parts.binary_search_by_key(&shard.0, |part| part.shard.0).unwrap_or_else(|at| {
            let (rows, watched, commands, places) = (Vec::new(), Vec::new(), Multi::default(), Vec::new());
            let (is_writer, tried, is_denied) = (false, None, false);
            let part = Part { shard, rows, watched, commands, places, is_writer, tried, is_denied };
            self.parts.insert(at, part);
            at
        });
        &mut self.parts[at]
    }

    /// A command on whole databases, on all shards.
    pub fn add_databases(&mut self, call: &Call<'_>) {
        let databases = match self.machine.databases_of(call) {
            Ok(databases) => databases,
            Err(stop) => {
                let mut replies = Replies::default();
                Reply::new(&mut replies, false).refusal(&stop.into_refusal());
                return self.slots.push(Slot::Reply(replies));
            }
        };
        let entry = table::entry_of(call.spec);
        let (slot, shards) = (self.slots.len(), self.machine.identity.shards);
        self.databases = self.databases.and(databases);
        for shard in 0..shards {
            let part = self.part(ShardId(shard));
            part.commands.push(entry, call.db, call.head, call.args.iter());
            part.places.push((slot, usize::from(shard)));
        }
        self.slots.push(Slot::Parts(Spreading::new(Spread::Pairs, vec![Vec::new(); usize::from(shards)])));
    }

    /// A command on rows, on the shards that have them.
    pub fn add(&mut self, call: &Call<'_>) {
        let (args, spec) = (call.args, call.spec);
        let entry = table::entry_of(spec);
        let slot = self.slots.len();
        let mut places: Vec<(ShardId, Vec<usize>)> = Vec::new();
        for (place, at) in spec.row_keys(args).enumerate() {
            let shard = self.machine.owner(route::slot(&args[at]));
            match places.iter_mut().find(|(known, _)| *known == shard) {
                Some((_, places)) => places.push(place),
                None => places.push((shard, vec![place])),
            }
        }
        let rows = locks_of(self.machine, call);
        if self.machine.is_in_steps(call) {
            let mut bytes = Replies::default();
            Reply::new(&mut bytes, false).error(super::place::CROSSSLOT);
            return self.slots.push(Slot::Reply(bytes));
        }
        match (&places[..], spec.spread) {
            ([] | [_], _) => {
                // One whose number of keys is wrong has none, and says so.
                let shard = places.first().map_or(self.machine.identity.shard, |(shard, _)| *shard);
                let part = self.part(shard);
                part.rows.extend(rows);
                part.commands.push(entry, call.db, call.head, args.iter());
                part.places.push((slot, 0));
                self.slots.push(Slot::Reply(Replies::default()));
            }
            _ if call.lacks_value() => {
                let mut replies = Replies::default();
                Reply::new(&mut replies, false).refusal(&call.arity().into_refusal());
                self.slots.push(Slot::Reply(replies));
            }
            (_, Spread::Refuse | Spread::PairsIfNone | Spread::Move { .. } | Spread::Copy | Spread::Program(_)) => {
                let mut bytes = Replies::default();
                Reply::new(&mut bytes, false).error(super::place::CROSSSLOT);
                self.slots.push(Slot::Reply(bytes));
            }
            (_, how) => {
                let (first, step) = (spec.keys.first, spec.keys.step);
                for (number, (shard, of_shard)) in places.iter().enumerate() {
                    let at = |place: &usize| first + place * step;
                    let words = of_shard.iter().flat_map(|place| at(place)..at(place) + step).map(|at| &args[at]);
                    let head = self.machine.shard.head(&args[at(&of_shard[0])]);
                    let locks: Vec<RowLock> = of_shard.iter().map(|place| rows[*place]).collect();
                    let part = self.part(*shard);
                    part.rows.extend(locks);
                    part.commands.push(entry, call.db, head, std::iter::once(&args[0]).chain(words));
                    part.places.push((slot, number));
                }
                let places: Vec<Vec<usize>> = places.into_iter().map(|(_, places)| places).collect();
                self.slots.push(Slot::Parts(Spreading::new(how, places)));
            }
        }
    }
}
impl Machine {
    /// EXEC of a transaction whose rows are not all on this shard. Refused, with what was watched, if it rolls back and one of
    /// its commands cannot but fail.
    pub(super) fn plan_exec(
        &self,
        call: &Call<'_>,
        multi: &Multi,
        watched: Vec<Watched>,
    ) -> Result<Box<Exec>, (Refusal, Vec<Watched>)> {
        let mut plan = Plan::new(self);
        let mut db = call.db;
        for (number, Command { entry, head, args, .. }) in multi.commands().enumerate() {
            if let Some(line) = multi.denied(number) {
                let mut replies = Replies::default();
                Reply::new(&mut replies, false).error(line);
                plan.slots.push(Slot::Reply(replies));
                continue;
            }
            if let Run::Row(_) = entry.spec.run {
                plan.add(&Call { spec: entry.spec, args: &args, db, head, ..*call });
                continue;
            }
            if let Run::Databases { .. } = entry.spec.run {
                plan.add_databases(&Call { spec: entry.spec, args: &args, db, head, ..*call });
                continue;
            }
            if entry.spec.name == "select" {
                match selected(&args, self.settings.databases) {
                    Ok(index) => db = index,
                    Err(refusal) if multi.rolls_back => {
                        let mut replies = Replies::default();
                        Reply::new(&mut replies, false).refusal(&refusal);
                        plan.slots.push(Slot::Reply(replies));
                        continue;
                    }
                    Err(_) => {}
                }
            }
            let mut server = Multi::default();
            server.push(entry, db, head, args.iter());
            plan.slots.push(Slot::Server(server));
        }
        for watched in &watched {
            let part = plan.part(watched.shard);
            part.rows.push(RowLock { db: watched.db, head: watched.head, is_exclusive: false });
            part.watched.push(watched.clone());
        }
        let mut exec = plan.finish(call.is_resp3, true, None);
        exec.rolls_back = multi.rolls_back;
        if exec.rolls_back {
            exec.names = multi.commands().map(|command| command.entry.spec).collect();
            if let Some(refusal) = exec.doomed() {
                return Err((refusal, watched));
            }
        }
        exec.watched = watched;
        Ok(exec)
    }

    /// COMMIT of an open transaction that has rows of these shards, changes where it is said.
    /// `replies`: what its client is answered if it is committed.
    pub(super) fn plan_commit(&self, is_resp3: bool, shards: &[(ShardId, bool)], replies: Replies) -> Box<Exec> {
        let mut plan = Plan::new(self);
        for (shard, is_write) in shards {
            plan.part(*shard).is_writer = *is_write;
        }
        plan.answer(|reply| reply.out.append(replies));
        let mut exec = plan.finish(is_resp3, false, None);
        exec.is_commit = true;
        exec
    }
}

impl Exec {
    /// A command for a shard that has locked its rows.
    pub fn give(&mut self, shard: ShardId, entry: Entry, db: u8, head: u64, words: &[&[u8]]) {
        let part = self.parts.iter_mut().find(|part| part.shard == shard).expect("it has locked its rows there");
        part.commands.push(entry, db, head, words.iter().copied());
    }

    /// Why it cannot but be rolled back.
    fn doomed(&self) -> Option<Refusal> {
        let line = |slot: &Slot| if let Slot::Reply(reply) = slot { error_line(reply, 0) } else { None };
        let (slot, line) = self.slots.iter().enumerate().find_map(|(slot, it)| Some((slot, line(it)?)))?;
        Some(rolled_back(slot, self.names[slot], &line))
    }

    /// Bytes of all arguments.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.commands.bytes()).sum()
    }

    /// The shards that have changes.
    pub fn writers(&self) -> Vec<u16> {
        self.parts.iter().filter(|part| part.is_writer).map(|part| part.shard.0).collect()
    }

    /// Whether its shards can be asked to lock and run their parts at once, where it may turn out that one of them cannot yet. What is
    /// looked at first decides on the parts; what is watched would seem to have changed when its change is undone. And one
    /// that only looks would not have in its log that it could, so that what the others have there would be committed after a crash.
    pub fn can_be_tried(&self) -> bool {
        let writers = self.parts.iter().filter(|part| part.commands.writes > 0).count();
        let is_alike = self.rolls_back || writers == 0 || writers == self.parts.len();
        !self.parts.is_empty()
            && self.databases.is_empty()
            && is_alike
            && !self.is_commit
            && self.look.is_none()
            && self.watched.is_empty()
    }

    /// The parts, to be tried: what each shard locks and does.
    pub fn tries(&mut self, now: Now) -> Vec<(ShardId, Vec<RowLock>, Arc<Go>)> {
        let goes = self.goes(now);
        let kept = goes.iter().zip(&mut self.parts).map(|((shard, go), part)| {
            part.tried = Some(Arc::clone(go));
            (*shard, part.rows.clone(), Arc::clone(go))
        });
        kept.collect()
    }

    /// What each shard does, at this time.
    pub fn goes(&mut self, now: Now) -> Vec<(ShardId, Arc<Go>)> {
        if self.parts.iter().any(|part| part.tried.is_some()) {
            let tried = |part: &mut Part| (part.shard, part.tried.take().expect("all were tried"));
            return self.parts.iter_mut().map(tried).collect();
        }
        // Where a look that fails undoes all, a shard that looks only has to say in its log too that it could.
        let is_write = self.rolls_back && self.parts.iter().any(|part| part.commands.writes > 0);
        self.parts.iter_mut().for_each(|part| part.is_writer = is_write || part.commands.writes > 0);
        let writers = self.writers();
        let (is_resp3, is_counted, rolls_back, voice) = (self.is_resp3, self.is_exec, self.rolls_back, self.voice);
        let go = |part: &mut Part| {
            let (commands, pins, writers) = (std::mem::take(&mut part.commands), Vec::new(), writers.clone());
            (part.shard, Arc::new(Go { commands, is_resp3, now, is_counted, rolls_back, voice, pins, writers }))
        };
        self.parts.iter_mut().map(go).collect()
    }

    /// What was tried was not done, and will not be in this way.
    pub fn is_to_lock(&mut self) {
        self.parts.iter_mut().for_each(|part| part.is_denied = false);
        self.stage = Stage::Locking(0);
    }

    /// A part has answered.
    pub fn note_replies(&mut self, from: ShardId, replies: Vec<Replies>) {
        let part = self.parts.iter().find(|part| part.shard == from).expect("only participants answer");
        for (reply, &(slot, number)) in replies.into_iter().zip(&part.places) {
            match &mut self.slots[slot] {
                Slot::Reply(empty) => *empty = reply,
                Slot::Parts(spreading) => spreading.set(number, reply),
                Slot::Server(_) => unreachable!("it has no parts"),
            }
        }
    }
}
