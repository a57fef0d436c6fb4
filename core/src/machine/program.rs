//! Commands that are made of commands ([`crate::command::program`]): where their steps are taken. They are scripts that are not Lua's
//! ([`super::ground`]): over several shards an open transaction, which is run again from its beginning with what it was answered so far.

use super::Machine;
use super::ask::Deferred;
use super::code::{Code, ScriptRun, Task};
use super::exec::error_line;
use super::ground::Ground;
use super::place::Place;
use crate::command::args::{Args, copied};
use crate::command::program::{Kept, Steps};
use crate::command::{Call, Flow, Run, Spec, sort, table};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, HostAsk};
use crate::limits::TXN_STATEMENTS_MAX;
use crate::resp::encode::Reply;
use crate::resp::read::Reader;
use crate::resp::replies::Replies;
use crate::script::vm::{Called, End};
use crate::shard::Shard;

/// Steps on a ground.
pub(super) struct OnGround<'a> {
    pub ground: &'a mut dyn Ground,
    /// Nothing but this program runs on it.
    pub is_alone: bool,
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

    fn ask_host(&mut self, ask: HostAsk) -> Result<String, Stop> {
        let mut out = Replies::default();
        match self.ground.ask_host(ask, &mut out) {
            Called::Stop => Err(Stop::Locked),
            Called::Refused(line) => Err(Refusal::text(line).into()),
            Called::Replied => {
                let told = out.flat();
                let told = Reader::new(&told).text().map(String::from_utf8_lossy);
                Ok(told.unwrap_or_default().into_owned())
            }
        }
    }

    fn shard(&mut self) -> &Shard {
        &self.ground.machine().shard
    }

    fn rests(&mut self) -> bool {
        self.is_alone && self.ground.rests()
    }

    fn items(&mut self) -> u64 {
        // What is run again from its beginning takes the same steps.
        if self.is_alone { self.ground.items() } else { self.shard().slices.items.get() }
    }

    fn kept(&mut self) -> Option<Kept> {
        if self.is_alone { self.ground.kept() } else { None }
    }

    fn keep(&mut self, kept: Kept, rests: bool) {
        if self.is_alone {
            self.ground.keep(kept, rests);
        }
    }
}

/// What a script over several shards is answered when it has called too much.
pub(super) fn too_many() -> Called {
    Called::Refused(format!("ERR a script over several shards has {TXN_STATEMENTS_MAX} commands at most"))
}

/// Takes the steps of a command.
fn run(ground: &mut dyn Ground, is_alone: bool, call: &Call<'_>, reply: &mut Reply<'_>) -> End {
    let program = call.spec.program().expect("the caller has seen it");
    let mark = reply.out.len();
    let end = match program(call, &mut OnGround { ground, is_alone }, reply) {
        Ok(()) => return End::Done,
        Err(Stop::Refuse(refusal)) => End::Refused(refusal.line().into_owned()),
        Err(_) => End::Stopped,
    };
    reply.out.truncate(mark);
    end
}

/// The same for one of the commands of a script.
pub(super) fn call(ground: &mut dyn Ground, call: &Call<'_>, out: &mut Replies) -> Called {
    match run(ground, false, call, &mut Reply::new(out, call.is_resp3)) {
        End::Done => Called::Replied,
        End::Refused(line) => Called::Refused(line),
        _ => Called::Stop,
    }
}

/// The task of a command: its words are the arguments.
pub(super) fn run_task(task: &Task<'_>, ground: &mut dyn Ground, reply: &mut Reply<'_>) -> End {
    let Code::Program(id) = *task.code else { unreachable!("the caller has seen it") };
    let spec = table::spec(id);
    let head = task.args.get(spec.keys.first).map_or(0, |key| ground.machine().shard.head(key));
    let call = Call { spec, args: &task.args, db: task.db, is_resp3: reply.is_resp3, now: task.now, head };
    run(ground, true, &call, reply)
}

impl Machine {
    /// Whether a command has to be taken in steps.
    pub(super) fn is_in_steps(&self, call: &Call<'_>) -> bool {
        call.spec.program().is_some()
            && matches!(call.spec.run, Run::Row(_))
            && matches!(self.place(call), Place::Whole)
    }

    /// The same where all that it looks at has to be locked: also what only its rows tell.
    pub(super) fn is_in_steps_locked(&self, call: &Call<'_>) -> bool {
        self.is_in_steps(call) || sort::looks_up(call)
    }

    /// The command is taken in steps, wherever its keys are.
    pub fn take_steps(&mut self, _conn: ConnId, call: &Call<'_>) -> Result<Flow, Stop> {
        self.pending.deferred = Some(Machine::of_program(call));
        Ok(Flow::Later)
    }

    /// A command whose keys are on several shards.
    pub(super) fn of_program(call: &Call<'_>) -> Deferred {
        Deferred::Wide(Machine::program_of(call.spec, call.args, call.db, call.is_resp3))
    }

    pub(super) fn program_of(spec: &Spec, args: &Args<'_>, db: u8, is_resp3: bool) -> Box<ScriptRun> {
        let (bytes, ranges) = copied(args.iter());
        let code = Code::Program(table::id(spec));
        let (is_readonly, subject, tracker) = (false, None, None);
        Box::new(ScriptRun { code, bytes, ranges, keys: 0, db, is_resp3, is_readonly, subject, tracker })
    }
}
