//! EXEC over several shards of a transaction that has commands which are made of commands, or scripts: what is queued is run one after the
//! other on the ground of a script ([`super::ground`]).

use super::Machine;
use super::ask::Deferred;
use super::code::{Code, Means, ScriptRun, Task, run_lua};
use super::exec::{error_line, rolled_back};
use super::ground::{Ground, Scene};
use super::program::OnGround;
use crate::command::args::Args;
use crate::command::program::Steps;
use crate::command::table::Entry;
use crate::command::{Call, Flags, Run, keyspace, script};
use crate::error::Stop;
use crate::event::ConnId;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::script::vm::{Called, End};
use crate::stats::Ended;
use crate::tx::{Command, Multi, Watched};
use std::sync::Arc;

/// The keys of a script; none if their number is wrong, which it says itself.
fn keys_of<'a>(args: &Args<'a>) -> Args<'a> {
    let count = args.integer(2).ok().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    let behind = args.skip(3);
    if count <= behind.len() { behind.split(count).0 } else { behind.split(0).0 }
}

/// A transaction, and what its connection has watched.
#[derive(Debug)]
pub struct Queued {
    multi: Multi,
    /// The scripts among its commands, by their numbers; or the lines of their errors.
    scripts: Vec<(usize, Result<Code, String>)>,
    watched: Vec<Watched>,
}

impl Queued {
    pub(super) fn calls_functions(&self) -> bool {
        self.scripts.iter().any(|(_, code)| code.as_ref().is_ok_and(|code| code.function().is_some()))
    }

    pub(super) fn run(&self, task: &Task<'_>, means: &mut Means<'_, '_>, reply: &mut Reply<'_>) -> End {
        let mark = reply.out.len();
        self.take(task, means, reply).unwrap_or_else(|end| {
            reply.out.truncate(mark);
            end
        })
    }

    fn take(&self, task: &Task<'_>, means: &mut Means<'_, '_>, reply: &mut Reply<'_>) -> Result<End, End> {
        for watched in &self.watched {
            if is_touched(task.db, means.ground, watched)? {
                reply.null_array();
                means.ground.machine().stats.on_exec(Ended::Conflict);
                return Ok(End::Done);
            }
        }
        reply.array(self.multi.len());
        for (number, Command { entry, args, .. }) in self.multi.commands().enumerate() {
            let mut out = Replies::default();
            let script = self.scripts.iter().find(|(of, _)| *of == number).map(|(_, script)| script);
            let called = match (self.multi.denied(number), script) {
                (Some(line), _) => Called::Refused(line.to_owned()),
                (None, Some(Err(line))) => Called::Refused(line.clone()),
                (None, Some(Ok(code))) => run_script(
                    &Task { code, is_readonly: entry.spec.flags.has(Flags::READONLY), ..*task },
                    number,
                    &args,
                    means,
                    &mut Reply::new(&mut out, reply.is_resp3),
                )?,
                (None, None) => means.ground.call_entry(entry, &args, reply.is_resp3, &mut out),
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
        means.ground.machine().stats.on_exec(Ended::Committed);
        Ok(End::Done)
    }
}

/// Runs one of the scripts. What the script has raised is an error in its place, as in Redis; one that is cut off ends the transaction.
fn run_script(
    task: &Task<'_>,
    number: usize,
    words: &Args<'_>,
    means: &mut Means<'_, '_>,
    reply: &mut Reply<'_>,
) -> Result<Called, End> {
    let count = words.integer(2).ok().and_then(|count| usize::try_from(count).ok()).expect("it was counted");
    let (keys, args) = words.skip(3).split(count);
    let machine = means.ground.machine();
    let code = match task.code.function().map(|function| machine.known_function(function.name.as_bytes())) {
        Some(Err(refusal)) => return Ok(Called::Refused(refusal.line().into_owned())),
        Some(Ok(function)) => task.code.with_function(function),
        None => task.code.clone(),
    };
    let task = &Task { code: &code, keys, args, ..*task };
    let lua = machine.admit_script(task).and_then(|()| machine.take_vm_for(task.code));
    let mut lua = match lua {
        Ok(lua) => lua.expect("a script is Lua's"),
        Err(refusal) => return Ok(Called::Refused(refusal.line().into_owned())),
    };
    // The same when it runs again.
    let random = lua.0.random();
    lua.0.set_random(task.now.mono_ns.wrapping_add(number as u64) & 0xffff_ffff_ffff);
    let Scene { db, is_readonly, .. } = *means.ground.scene();
    means.ground.scene().is_readonly |= task.is_readonly || code.flags().no_writes;
    let end = run_lua(task, &mut Means { lua: Some(&mut lua), limits: means.limits, ground: means.ground }, reply);
    let scene = means.ground.scene();
    (scene.db, scene.is_readonly) = (db, is_readonly);
    lua.0.set_random(random);
    let (machine, lines) = (means.ground.machine(), lua.0.take_log());
    machine.put_vm_of(task.code, lua.0);
    match end {
        End::Done => {}
        End::Failed(line) => return Ok(Called::Refused(line)),
        end => return Err(end),
    }
    machine.note_script_log(lines);
    Ok(Called::Replied)
}

/// Whether a watched row is not what it was. It stays so until the end: it is locked. `own_db`: that of the transaction.
fn is_touched(own_db: u8, ground: &mut dyn Ground, watched: &Watched) -> Result<bool, End> {
    let Watched { db, key, version, was_live, swaps, .. } = watched;
    let numbers = [*version, u64::from(*was_live), *swaps].map(|number| number.to_string());
    let [version, was_live, swaps] = numbers.each_ref().map(String::as_bytes);
    let mut steps = OnGround { ground, is_alone: false };
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
    /// Whether one of the commands of a transaction is taken in steps, or is a script with keys of other shards; and all of them can be.
    pub(super) fn is_any_in_steps(&self, call: &Call<'_>, multi: &Multi) -> bool {
        let own = self.identity.shard;
        let is_in_steps = |Command { entry: Entry { spec, .. }, args, head, .. }: Command<'_>| match spec.run {
            Run::Row(_) => spec.program().is_some() && self.is_in_steps(&Call { spec, args: &args, head, ..*call }),
            _ if keyspace::is_survey(spec) => self.identity.shards > 1,
            _ if !script::is_script(spec) => false,
            // What it changes is not this shard's alone.
            _ => multi.databases > 0 || self.owners(&keys_of(&args)).iter().any(|shard| *shard != own),
        };
        let is_taken = |command: Command<'_>| {
            let spec = command.entry.spec;
            matches!(spec.run, Run::Row(_) | Run::Databases { .. })
                || script::is_script(spec)
                || keyspace::is_survey(spec)
                || matches!(spec.name, "select" | "time" | "ping" | "echo" | "publish" | "spublish")
        };
        multi.commands().any(is_in_steps) && multi.commands().all(is_taken)
    }

    /// EXEC of such a transaction.
    pub(super) fn exec_in_steps(&mut self, conn: ConnId, call: &Call<'_>, multi: Box<Multi>) -> Result<Deferred, Stop> {
        let (mut scripts, mut stopped) = (Vec::new(), None);
        for (number, Command { entry: Entry { spec, .. }, args, head, .. }) in multi.commands().enumerate() {
            if !script::is_script(spec) {
                continue;
            }
            let command = Call { spec, args: &args, head, ..*call };
            match script::code_of(self, &command) {
                Err(Stop::Refuse(refusal)) => scripts.push((number, Err(refusal.line().into_owned()))),
                Err(stop) => {
                    stopped = Some(stop);
                    break;
                }
                Ok(code) => scripts.push((number, Ok(code))),
            }
        }
        if let Some(stop) = stopped {
            self.client_mut(conn).multi = Some(multi);
            return Err(stop);
        }
        let watched = std::mem::take(&mut self.client_mut(conn).watched);
        // Scripts have the rights of their user, the transaction's own commands were looked at.
        let (subject, multi) = (self.subject(conn), *multi);
        Ok(Deferred::Wide(Box::new(ScriptRun {
            code: Code::Exec(Arc::new(Queued { multi, scripts, watched })),
            bytes: Vec::new(),
            ranges: Vec::new(),
            keys: 0,
            db: call.db,
            is_resp3: call.is_resp3,
            is_readonly: false,
            subject,
            tracker: None,
        })))
    }

    /// A script over several shards is over: what was watched for it is not any more.
    pub(super) fn unwatch_for(&mut self, code: &Code) {
        if let Code::Exec(queued) = code {
            self.forget_watched(queued.watched.clone());
        }
    }
}
