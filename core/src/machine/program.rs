//! Commands that are made of commands ([`crate::command::program`]): where their steps are taken. They are scripts that are not Lua's
//! ([`super::ground`]): over several shards an open transaction, which is run again from its beginning with what it was answered so far.

use super::Machine;
use super::ask::Deferred;
use super::code::{Code, ScriptRun, Task};
use super::exec::{error_line, rolled_back};
use super::ground::Ground;
use super::place::Place;
use crate::command::args::{Args, copied};
use crate::command::program::Steps;
use crate::command::table::{self, Entry};
use crate::command::{Call, Run, Spec, Spread};
use crate::error::{Refusal, Stop};
use crate::limits::TXN_STATEMENTS_MAX;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::script::vm::{Called, End};
use crate::shard::Shard;
use crate::stats::Ended;
use crate::tx::{Command, Multi, Watched};
use std::sync::Arc;

/// Steps on a ground.
struct OnGround<'a> {
    ground: &'a mut dyn Ground,
}

impl Steps for OnGround<'_> {
    fn run_as(&mut self, is_resp3: bool, words: &[&[u8]]) -> Result<Vec<u8>, Stop> {
        let entry = table::step(words[0]).expect("programs call what there is");
        let (bytes, ranges) = copied(words.iter().copied());
        let mut out = Replies::default();
        match self.ground.call_entry(entry, &Args::new(&bytes, &ranges), is_resp3, &mut out) {
            // The ground knows why.
            Called::Stop => return Err(Stop::Locked),
            Called::Refused(line) => return Err(Refusal::text(line).into()),
            Called::Replied => {}
        }
        match error_line(&out, 0) {
            Some(line) => Err(Refusal::text(line).into()),
            None => Ok(out.flat()),
        }
    }

    fn shard(&self) -> &Shard {
        &self.ground.machine_ref().shard
    }
}

/// What a script over several shards is answered when it has called too much.
pub(super) fn too_many() -> Called {
    Called::Refused(format!("ERR a script over several shards has {TXN_STATEMENTS_MAX} commands at most"))
}

/// Takes the steps of a command.
pub(super) fn run(ground: &mut dyn Ground, call: &Call<'_>, reply: &mut Reply<'_>) -> End {
    let Spread::Program(program) = call.spec.spread else { unreachable!("the caller has seen it") };
    let mark = reply.out.len();
    let end = match program(call, &mut OnGround { ground }, reply) {
        Ok(()) => return End::Done,
        Err(Stop::Refuse(refusal)) => End::Refused(refusal.line().into_owned()),
        Err(_) => End::Stopped,
    };
    reply.out.truncate(mark);
    end
}

/// The same for one of the commands of a script.
pub(super) fn call(ground: &mut dyn Ground, call: &Call<'_>, out: &mut Replies) -> Called {
    match run(ground, call, &mut Reply::new(out, call.is_resp3)) {
        End::Done => Called::Replied,
        End::Refused(line) => Called::Refused(line),
        _ => Called::Stop,
    }
}

/// The task of a command: its words are the arguments.
pub(super) fn run_task(task: &Task<'_>, ground: &mut dyn Ground, reply: &mut Reply<'_>) -> End {
    let Code::Program(id) = *task.code else { unreachable!("the caller has seen it") };
    let spec = table::spec(id);
    let head = task.args.get(spec.keys.first).map_or(0, |key| ground.machine_ref().shard.head(key));
    let call = Call { spec, args: &task.args, db: task.db, is_resp3: reply.is_resp3, now: task.now, head };
    run(ground, &call, reply)
}

/// A transaction one of whose commands is taken in steps, and what its connection has watched.
#[derive(Debug)]
pub struct Queued {
    multi: Multi,
    watched: Vec<Watched>,
}

impl Queued {
    pub(super) fn run(&self, db: u8, ground: &mut dyn Ground, reply: &mut Reply<'_>) -> End {
        let mark = reply.out.len();
        self.take(db, ground, reply).unwrap_or_else(|end| {
            reply.out.truncate(mark);
            end
        })
    }

    fn take(&self, db: u8, ground: &mut dyn Ground, reply: &mut Reply<'_>) -> Result<End, End> {
        for watched in &self.watched {
            if is_touched(db, ground, watched)? {
                reply.null_array();
                ground.machine().stats.on_exec(Ended::Conflict);
                return Ok(End::Done);
            }
        }
        reply.array(self.multi.len());
        for (number, Command { entry, args, .. }) in self.multi.commands().enumerate() {
            let mut out = Replies::default();
            let called = match self.multi.denied(number) {
                Some(line) => Called::Refused(line.to_owned()),
                None => ground.call_entry(entry, &args, reply.is_resp3, &mut out),
            };
            match called {
                Called::Stop => return Err(End::Stopped),
                Called::Refused(line) => Reply::new(&mut out, reply.is_resp3).error(&line),
                Called::Replied => {}
            }
            if let Some(line) = error_line(&out, 0).filter(|_| self.multi.rolls_back) {
                return Err(End::Refused(rolled_back(number, entry.spec, &line).line().into_owned()));
            }
            reply.out.append(out);
        }
        ground.machine().stats.on_exec(Ended::Committed);
        Ok(End::Done)
    }
}

/// Whether a watched row is not what it was. It stays so until the end: it is locked. `own_db`: that of the transaction.
fn is_touched(own_db: u8, ground: &mut dyn Ground, watched: &Watched) -> Result<bool, End> {
    let Watched { db, key, version, was_live, swaps, .. } = watched;
    let numbers = [*version, u64::from(*was_live), *swaps].map(|number| number.to_string());
    let [version, was_live, swaps] = numbers.each_ref().map(String::as_bytes);
    let mut steps = OnGround { ground };
    let mut run = |words: &[&[u8]]| match steps.run(words) {
        Ok(reply) => Ok(reply),
        Err(Stop::Refuse(refusal)) => Err(End::Refused(refusal.line().into_owned())),
        Err(_) => Err(End::Stopped),
    };
    run(&[b"select", db.to_string().as_bytes()])?;
    let is_touched = run(&[b"exec|watched", key, version, was_live, swaps])? == b":1\r\n";
    run(&[b"select", own_db.to_string().as_bytes()])?;
    Ok(is_touched)
}

impl Machine {
    /// Whether one of the commands of a transaction over several shards is taken in steps.
    pub(super) fn is_any_in_steps(&self, call: &Call<'_>, multi: &Multi) -> bool {
        let is_in_steps = |Command { entry: Entry { spec, .. }, args, head, .. }: Command<'_>| {
            matches!(spec.spread, Spread::Program(_)) && self.is_in_steps(&Call { spec, args: &args, head, ..*call })
        };
        let is_taken = |command: Command<'_>| {
            let Spec { run, name, .. } = command.entry.spec;
            matches!(run, Run::Row(_)) || matches!(*name, "select" | "time" | "ping" | "echo" | "publish" | "spublish")
        };
        multi.commands().any(is_in_steps) && multi.commands().all(is_taken)
    }

    /// EXEC of such a transaction.
    pub(super) fn exec_in_steps(&mut self, call: &Call<'_>, multi: Multi, watched: Vec<Watched>) -> Deferred {
        Deferred::Wide(Box::new(ScriptRun {
            code: Code::Exec(Arc::new(Queued { multi, watched })),
            bytes: Vec::new(),
            ranges: Vec::new(),
            keys: 0,
            db: call.db,
            is_resp3: call.is_resp3,
            is_readonly: false,
            subject: None,
            tracker: None,
        }))
    }

    /// A script over several shards is over: what was watched for it is not any more.
    pub(super) fn unwatch_for(&mut self, code: &Code) {
        if let Code::Exec(queued) = code {
            self.forget_watched(queued.watched.clone());
        }
    }

    /// Whether a command has to be taken in steps.
    pub(super) fn is_in_steps(&self, call: &Call<'_>) -> bool {
        matches!(call.spec.spread, Spread::Program(_))
            && matches!(call.spec.run, Run::Row(_))
            && matches!(self.place(call), Place::Whole)
    }

    /// A command whose keys are on several shards.
    pub(super) fn of_program(call: &Call<'_>) -> Deferred {
        let (bytes, ranges) = copied(call.args.iter());
        Deferred::Wide(Box::new(ScriptRun {
            code: Code::Program(table::id(call.spec)),
            bytes,
            ranges,
            keys: 0,
            db: call.db,
            is_resp3: call.is_resp3,
            is_readonly: false,
            subject: None,
            tracker: None,
        }))
    }
}
