//! Scripts: where they run, and what their commands do.
//!
//! A script runs on the shard that has its keys, with nothing between its commands, and what it changes is one group of the
//! log. If a command of it has to wait, the group is taken back and the script runs again from its beginning.

use super::Machine;
use super::ask::Deferred;
use super::code::{Means, ScriptRun, Task, run_code};
use super::ground::Scene;
use super::parked::Work;
use super::release::HeldReply;
use super::run::Stay;
use super::running::Running;
use crate::acl::Subject;
use crate::command::args::Args;
use crate::command::streams;
use crate::command::table::{self, Entry};
use crate::command::{Call, Flags, Flow, Run, Spec};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, Level, Notice};
use crate::limits::{SCRIPT_BYTES_MIN, SCRIPT_MS_MAX};
use crate::machine::deeds::Deed;
use crate::parcel::{Message, RequestId};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::route;
use crate::script::cache::Cache;
use crate::script::vm::{CompileError, End, Limits, LogLine, Vm};
use crate::script::{Script, Sha};
use cairn_storage::units::ShardId;
use hashbrown::HashMap;
use std::borrow::Cow;
use std::sync::Arc;

/// What a shard has of scripts.
#[derive(Default)]
pub struct Scripts {
    pub cache: Cache,
    /// The command that runs is one of a transaction: what it does happens with that, here.
    pub(super) is_in_exec: bool,
    /// Made at the first script.
    vm: Option<Box<Vm>>,
    /// Scripts that are not known here: the other shards were asked.
    wanted: HashMap<Sha, Wanted>,
}

/// Shards that have not answered; 0: nobody has it.
struct Wanted {
    left: usize,
}

/// How far a script has come on one shard.
pub(super) enum Ran {
    Whole,
    /// It needs rows of other shards. Nothing of it has happened.
    NeedsOthers,
}

pub(super) const NOT_ALLOWED: &str = "ERR This Redis command is not allowed from script";
pub(super) const ELSEWHERE: &str = "ERR Script attempted to access a non local key in a cluster node";
pub(super) const ALL_SHARDS: &str =
    "ERR This command changes whole databases, which a script within MULTI cannot that has keys of one shard only";
const READ_ONLY: &str = "ERR Write commands are not allowed from read-only scripts.";
pub const NO_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";

impl Machine {
    /// The script of that name. If it is not known here, others are asked first, and the command waits.
    pub fn find_script(&mut self, sha: Sha) -> Result<Arc<Script>, Stop> {
        if let Some(script) = self.scripts.cache.find(sha) {
            return Ok(Arc::clone(script));
        }
        let others = usize::from(self.identity.shards) - 1;
        match self.scripts.wanted.get(&sha) {
            _ if others == 0 => Err(Refusal::text(NO_SCRIPT).into()),
            Some(Wanted { left: 0 }) => Err(Refusal::text(NO_SCRIPT).into()),
            Some(_) => Err(Stop::Locked),
            None => {
                self.scripts.wanted.insert(sha, Wanted { left: others });
                let own = usize::from(self.identity.shard.0);
                let others = self.outbox.iter_mut().enumerate().filter(|(shard, _)| *shard != own);
                others.for_each(|(_, parcel)| parcel.messages.push(Message::WantScript(sha)));
                Err(Stop::Locked)
            }
        }
    }

    pub(super) fn on_want_script(&mut self, from: ShardId, sha: Sha) {
        let script = self.scripts.cache.find(sha).cloned();
        self.outbox[usize::from(from.0)].messages.push(Message::HaveScript(sha, script));
    }

    pub(super) fn on_have_script(&mut self, sha: Sha, script: Option<Arc<Script>>) {
        if let Some(script) = script {
            self.scripts.wanted.remove(&sha);
            return self.keep_script(&script, false);
        }
        if let Some(wanted) = self.scripts.wanted.get_mut(&sha) {
            wanted.left -= 1;
        }
    }

    /// Who has waited has been told: the next one asks again.
    pub(super) fn forget_wanted(&mut self) {
        if !self.scripts.wanted.is_empty() {
            self.scripts.wanted.retain(|_, wanted| wanted.left > 0);
        }
    }

    /// The script with that text, which is kept if it compiles.
    pub fn script_of(&mut self, body: &[u8], is_loaded: bool) -> Result<Arc<Script>, Refusal> {
        if let Some(script) = self.scripts.cache.find_text(body) {
            if is_loaded {
                self.keep_script(&script, true);
            }
            return Ok(script);
        }
        if is_loaded && !self.scripts.cache.has_room(body.len()) {
            return Err(Refusal::text("OOM the scripts that were loaded take too much memory, use SCRIPT FLUSH"));
        }
        let script = Script::new(body).map_err(|why| Refusal::text(format!("ERR {why}")))?;
        let mut vm = self.take_vm();
        let compiled = vm.compile(&script);
        self.scripts.vm = Some(vm);
        compiled.map_err(refusal_of)?;
        self.keep_script(&script, is_loaded);
        Ok(script)
    }

    /// Whether a script or function says itself that it writes nothing, as far as it is known here.
    pub(super) fn is_said_to_look(&mut self, spec: &Spec, args: &Args<'_>) -> bool {
        let Some(what) = args.get(1) else { return false };
        match spec.name {
            "eval" => Script::new(what).is_ok_and(|script| script.flags.no_writes),
            "evalsha" => {
                let known = Sha::parse(what).and_then(|sha| self.scripts.cache.find(sha));
                known.is_some_and(|script| script.flags.no_writes)
            }
            "fcall" => self.find_function(what).is_ok_and(|function| function.flags.no_writes),
            _ => false,
        }
    }

    pub(super) fn keep_script(&mut self, script: &Arc<Script>, is_loaded: bool) {
        let gone = self.scripts.cache.keep(script, is_loaded);
        if let Some(vm) = &mut self.scripts.vm {
            gone.into_iter().for_each(|sha| vm.forget(sha));
        }
    }

    /// SCRIPT FLUSH, this shard's part.
    pub(crate) fn flush_scripts(&mut self) {
        self.scripts.cache.flush();
        self.scripts.vm = None;
    }

    /// Bytes of memory that the Lua state takes.
    pub fn script_memory_bytes(&self) -> usize {
        self.scripts.vm.as_ref().map_or(0, |vm| vm.memory_bytes())
    }

    pub(super) fn put_vm(&mut self, vm: Box<Vm>) {
        self.scripts.vm = Some(vm);
    }

    pub(super) fn take_vm(&mut self) -> Box<Vm> {
        self.scripts.vm.take().unwrap_or_else(|| Box::new(Vm::new(self.identity.clock_ns)))
    }

    /// The shards that have these keys, none twice.
    pub(super) fn owners(&self, keys: &Args<'_>) -> Vec<ShardId> {
        let mut shards: Vec<ShardId> = Vec::new();
        if self.identity.shards > 1 {
            for key in keys.iter() {
                let shard = self.owner(route::slot(key));
                if !shards.contains(&shard) {
                    shards.push(shard);
                }
            }
        }
        shards
    }

    /// Runs a script of one of this core's connections, here or where its keys are.
    pub fn run_script(&mut self, conn: ConnId, task: &Task<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
        let own = self.identity.shard;
        let shard = match self.owners(&task.keys)[..] {
            [] => Some(own),
            [shard] if shard == own => Some(own),
            // It would not happen with the rest of the transaction.
            _ if self.scripts.is_in_exec => return Err(Refusal::text(super::place::CROSSSLOT).into()),
            [shard] => Some(shard),
            _ => {
                self.admit_script(task)?;
                None
            }
        };
        let subject = self.subject(conn);
        let tracker = self.tracker_of(conn);
        let task = &Task { subject: subject.as_ref(), tracker, ..*task };
        let is_wide = match shard {
            None => true,
            Some(shard) if shard == own => match self.run_script_here(Some(conn), task, reply)? {
                Ran::Whole => return Ok(Flow::Done),
                Ran::NeedsOthers => true,
            },
            Some(_) => false,
        };
        let run = ScriptRun::of(task, reply.is_resp3);
        self.pending.deferred = Some(match shard {
            Some(shard) if !is_wide => Deferred::Script { shard, run },
            _ => Deferred::Wide(run),
        });
        Ok(Flow::Later)
    }

    /// Runs a script for a connection of another core.
    pub(super) fn run_script_for(&mut self, from: ShardId, request: RequestId, run: Box<ScriptRun>) {
        if self.has_parked(from, request) {
            return self.park(from, request, Work::Script(run), None);
        }
        let all = Args::new(&run.bytes, &run.ranges);
        let (keys, args) = all.split(run.keys);
        let ScriptRun { db, is_resp3, is_readonly, .. } = *run;
        self.shard.begin();
        let mut reply = Replies::default();
        let ran = self.own_code(&run.code).and_then(|code| {
            let subject = run.subject.as_ref();
            let task = Task { code: &code, keys, args, db, is_readonly, now: self.now, subject, tracker: run.tracker };
            self.run_script_here(None, &task, &mut Reply::new(&mut reply, is_resp3))
        });
        match ran {
            Err(Stop::Missing(missing)) => return self.park(from, request, Work::Script(run), Some(missing)),
            Err(Stop::Crowded | Stop::Locked | Stop::Long) => return self.park(from, request, Work::Script(run), None),
            Err(Stop::Refuse(refusal)) => {
                reply.truncate(0);
                self.count_error(None, &refusal);
                Reply::new(&mut reply, is_resp3).refusal(&refusal);
            }
            Ok(Ran::Whole) => {}
            Ok(Ran::NeedsOthers) => {
                self.outbox[usize::from(from.0)].messages.push(Message::ScriptIsWide { request, run });
                return;
            }
        }
        self.note_deed(Deed::Ran { from, request });
        self.attribute(request.client, 0);
        self.relay_announced(from);
        self.hold_foreign(from, self.shard.observed(), HeldReply::Ran { request, reply, commands: 1 });
    }

    /// What the script's first line says against running it now.
    pub(super) fn admit_script(&self, task: &Task<'_>) -> Result<(), Refusal> {
        let flags = task.code.flags();
        if flags.is_plain || flags.no_writes {
            return Ok(());
        }
        if let Err(Stay::Refuse(refusal)) = self.admit_write() {
            let line = refusal.line();
            let why = line.rsplit(": ").next().unwrap_or_default();
            return Err(Refusal::text(format!(
                "MISCONF Redis is configured to persist data to AOF, but it's currently unable to persist to disk. Writable \
                 scripts are blocked. Use 'no-writes' flag for read only scripts. AOF error: {why}"
            )));
        }
        if task.is_readonly {
            return Err(Refusal::text("ERR Can not execute a script with write flag using *_ro command."));
        }
        if !flags.allow_oom && self.shard.engine().is_full(0) {
            return Err(Refusal::text(
                "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
            ));
        }
        Ok(())
    }

    /// What a script wants in the server's log goes there.
    pub(super) fn note_script_log(&mut self, lines: Vec<LogLine>) {
        for LogLine { level, text } in lines {
            let level = [Level::Debug, Level::Verbose, Level::Notice, Level::Warning][usize::from(level)];
            self.notice(Notice::Script { level, text });
        }
    }

    /// What a script may take.
    pub(super) fn script_limits(&self) -> (Limits, u64) {
        let ms = match self.settings.busy_reply_threshold_ms {
            0 => SCRIPT_MS_MAX,
            ms => ms.min(SCRIPT_MS_MAX),
        };
        let bytes = (self.settings.script_memory_bytes as usize).max(SCRIPT_BYTES_MIN);
        (Limits { bytes, ns: ms * 1_000_000 }, ms)
    }

    /// Runs a script on this shard. `conn` is its connection, if that is on this core. A stop that passes has changed nothing.
    pub(super) fn run_script_here(
        &mut self,
        conn: Option<ConnId>,
        task: &Task<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Ran, Stop> {
        self.admit_script(task)?;
        let (limits, ms) = self.script_limits();
        let mut vm = self.take_vm_for(task.code)?;
        let mark = reply.out.len();
        let counts = self.shard.read_counts();
        let is_nested = self.shard.is_in_group();
        let announced = self.shard.announced.mark();
        let mut script = Running {
            machine: self,
            conn,
            subject: task.subject.map(Arc::as_ref),
            scene: task.scene(),
            is_group: false,
            is_nested,
            needs_others: false,
            is_torn: false,
            stop: None,
            held: Vec::new(),
            error: None,
        };
        let end = run_code(task, &mut Means { lua: vm.as_mut(), limits, ground: &mut script }, reply);
        let Running { is_group, needs_others, stop, held, error, scene: Scene { called, .. }, .. } = script;
        let mut lines = Vec::new();
        if let Some((mut vm, _)) = vm {
            lines = vm.take_log();
            self.put_vm_of(task.code, vm);
        }
        if end == End::Stopped {
            reply.out.truncate(mark);
            self.shard.announced.truncate(announced);
            self.shard.restore_counts(counts);
            if is_group {
                self.roll_back();
            }
            if needs_others {
                return Ok(Ran::NeedsOthers);
            }
            if let Some(conn) = conn {
                self.session_mut(conn).held.extend(held);
            }
            return Err(stop.expect("who stops a script says why"));
        }
        self.note_script_log(lines);
        self.show_called(called);
        self.count_error_of(&end, error, super::exec::error_line(reply.out, mark));
        let is_cut = matches!(end, End::OutOfTime | End::OutOfMemory | End::Refused(_));
        if is_group && is_cut {
            self.shard.announced.truncate(announced);
            self.roll_back();
        } else if is_group {
            self.shard.close_group();
        }
        let text = match end {
            End::Done => return Ok(Ran::Whole),
            End::Failed(line) => line,
            end => cut_text(&end, limits, ms, is_nested),
        };
        reply.out.truncate(mark);
        Err(Refusal::text(text).into())
    }

    /// Counts the last error that the script has met, and the one that it has returned: once if they are the same. One that it has raised is
    /// counted as its command's.
    fn count_error_of(&mut self, end: &End, met: Option<String>, returned: Option<String>) {
        let own = match end {
            End::Failed(line) => Some(line),
            _ => returned.as_ref(),
        };
        if let Some(met) = met.filter(|met| own.is_none_or(|own| !own.starts_with(met.as_str()))) {
            self.stats.on_error(code_of(&met));
        }
        if let (End::Done, Some(line)) = (end, &returned) {
            self.stats.on_error(code_of(line));
        }
    }
}

/// The code that an error's line begins with.
pub(super) fn code_of(line: &str) -> &str {
    line.split(' ').next().unwrap_or("ERR")
}

/// Why a script was ended, in `ms` at most.
pub(super) fn cut_text(end: &End, limits: Limits, ms: u64, is_nested: bool) -> String {
    let changes = if is_nested { "before the end stays" } else { "is undone" };
    match end {
        End::Refused(line) => line.clone(),
        End::OutOfTime => format!(
            "ERR the script ran for longer than {ms} ms (busy-reply-threshold) and was ended; what it has changed {changes}"
        ),
        _ => format!(
            "ERR the script took more than {} bytes of memory (script-memory) and was ended; what it has changed {changes}",
            limits.bytes
        ),
    }
}

pub(super) fn refusal_of(error: CompileError) -> Refusal {
    Refusal::text(format!("ERR Error compiling script (new function): {}", error.0))
}

/// What SELECT wants.
pub(super) fn selected_db(machine: &Machine, call: &Call<'_>) -> Result<u8, Refusal> {
    let index = call.args.integer(1)?;
    let is_there = (0..i64::from(machine.settings.databases)).contains(&index);
    if is_there { Ok(index as u8) } else { Err(Refusal::text("ERR DB index is out of range")) }
}

impl Machine {
    /// The command that a script calls, if it may: else the error's line.
    pub(super) fn admit_call(
        &mut self,
        subject: Option<&Subject>,
        args: &Args<'_>,
        is_readonly: bool,
    ) -> Result<Entry, Cow<'static, str>> {
        let Some(entry) = table::lookup(args) else {
            return Err("ERR Unknown Redis command called from script".into());
        };
        let spec = entry.spec;
        if !spec.takes(args.len()) {
            return Err("ERR Wrong number of args calling Redis command from script".into());
        }
        let is_denied = spec.flags.has(Flags::NOSCRIPT) && !self.frees_scripts;
        if is_denied || matches!(spec.run, Run::Container) {
            return Err(NOT_ALLOWED.into());
        }
        if let Some(subject) = subject {
            self.check_called(subject, entry, args)?;
        }
        if spec.streams > 0 && streams::read::blocks(args) {
            let name = String::from_utf8_lossy(&args[0]);
            return Err(format!("ERR {name} command is not allowed with BLOCK option from scripts").into());
        }
        if is_readonly && (spec.flags.has(Flags::WRITE) || spec.flags.has(Flags::MAY_REPLICATE)) {
            return Err(READ_ONLY.into());
        }
        Ok(entry)
    }
}
