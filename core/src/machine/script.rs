//! Scripts: where they run, and what their commands do.
//!
//! A script runs on the shard that has its keys, with nothing between its commands, and what it changes is one group of the
//! log. If a command of it has to wait, the group is taken back and the script runs again from its beginning.

use super::Machine;
use super::ask::Deferred;
use super::code::{Means, ScriptRun, Task, run_code};
use super::ground::{Ground, HiddenCall};
use super::parked::Work;
use super::release::HeldReply;
use super::run::Stay;
use crate::acl::Subject;
use crate::answer::Progress;
use crate::command::args::{Args, copied};
use crate::command::table::{self, Entry};
use crate::command::{Call, Flags, Flow, Run, ServerRun};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, Level, Notice, Now};
use crate::limits::{HIDDEN_DB, SCRIPT_BYTES_MIN, SCRIPT_MS_MAX};
use crate::machine::deeds::Deed;
use crate::parcel::{Message, RequestId};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::route;
use crate::script::cache::Cache;
use crate::script::vm::{Called, CompileError, End, Limits, LogLine, Vm};
use crate::script::{Script, Sha};
use crate::tracking::Tracker;
use cairn_storage::blob::Blob;
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
const ELSEWHERE: &str = "ERR Script attempted to access a non local key in a cluster node";
pub(super) const ALL_SHARDS: &str = "ERR This command asks all shards, which a script cannot";
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
        let (bytes, ranges) = copied(task.keys.iter().chain(task.args.iter()));
        let run = Box::new(ScriptRun {
            code: task.code.clone(),
            bytes,
            ranges,
            keys: task.keys.len(),
            db: task.db,
            is_resp3: reply.is_resp3,
            is_readonly: task.is_readonly,
            subject,
            tracker,
        });
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
            Err(Stop::Crowded | Stop::Locked) => return self.park(from, request, Work::Script(run), None),
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
        self.relay_announced(from);
        self.hold_foreign(from, self.shard.observed(), HeldReply::Ran { request, reply, commands: 1 });
    }

    /// What the script's first line says against running it now.
    fn admit_script(&self, task: &Task<'_>) -> Result<(), Refusal> {
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
            tracker: task.tracker,
            db: task.db,
            now: task.now,
            is_readonly: task.is_readonly || task.code.flags().no_writes,
            is_group: false,
            is_nested,
            needs_others: false,
            stop: None,
            held: Vec::new(),
            called: Vec::new(),
        };
        let end = run_code(task, &mut Means { lua: vm.as_mut(), limits, ground: &mut script }, reply);
        let Running { is_group, needs_others, stop, held, called, .. } = script;
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

/// A script's run on this shard, as its commands see it.
struct Running<'a> {
    machine: &'a mut Machine,
    conn: Option<ConnId>,
    subject: Option<&'a Subject>,
    tracker: Option<Tracker>,
    /// SELECT is for the rest of the script only.
    db: u8,
    now: Now,
    is_readonly: bool,
    /// It has opened a group.
    is_group: bool,
    /// It runs within a group.
    is_nested: bool,
    needs_others: bool,
    stop: Option<Stop>,
    /// Long values that it has looked at, kept if it has to run again.
    held: Vec<Blob>,
    /// What it has called, if somebody wants to see that.
    called: Vec<(u8, Vec<Vec<u8>>)>,
}

impl Ground for Running<'_> {
    fn machine(&mut self) -> &mut Machine {
        self.machine
    }

    fn call(&mut self, args: &Args<'_>, is_resp3: bool, out: &mut Replies) -> Called {
        let Entry { id, spec, .. } = match self.machine.admit_call(self.subject, args, self.is_readonly) {
            Ok(entry) => entry,
            Err(line) => return Called::Refused(line.into()),
        };
        if self.machine.is_monitored() && super::monitor::is_shown(spec.flags) {
            self.called.push((self.db, args.iter().map(<[u8]>::to_vec).collect()));
        }
        let is_write = spec.flags.has(Flags::WRITE);
        let head =
            args.get(spec.keys.first).filter(|_| spec.keys.first > 0).map_or(0, |key| self.machine.shard.head(key));
        let call = Call { spec, args, db: self.db, is_resp3, now: self.now, head };
        self.machine.track_call(self.tracker, &call);
        let start_ns = (self.machine.identity.clock_ns)();
        let is_here = self.is_here(&call);
        let ran = self.run(is_here, is_write, &call, out);
        let ns = (self.machine.identity.clock_ns)().saturating_sub(start_ns);
        match ran {
            Err(stop) if stop.is_passing() => {
                self.stop = Some(stop);
                return Called::Stop;
            }
            ran => self.machine.finish_row(id, ran, 0, is_resp3, out),
        };
        self.machine.stats.on_command(id, ns);
        if out.has_blobs() {
            self.held.extend(out.blobs_from(0).cloned());
        }
        Called::Replied
    }

    fn call_hidden(&mut self, hidden: &HiddenCall<'_>, out: &mut Replies) -> Called {
        let entry = table::entry(hidden.words[0]).expect("such a command is in the table");
        let (bytes, ranges) = copied(hidden.words.iter().copied());
        let args = Args::new(&bytes, &ranges);
        let (spec, head, now) = (entry.spec, hidden.head, self.now);
        let call = Call { spec, args: &args, db: HIDDEN_DB, is_resp3: false, now, head };
        let is_here = hidden.shard == self.machine.identity.shard;
        let ran = match self.machine.is_row_locked(HIDDEN_DB, head, hidden.is_exclusive) {
            true if is_here => Err(Stop::Locked),
            _ => self.run(is_here, spec.flags.has(Flags::WRITE), &call, out),
        };
        match ran {
            Err(stop) if stop.is_passing() => {
                self.stop = Some(stop);
                Called::Stop
            }
            Err(stop) => Called::Refused(stop.into_refusal().line().into_owned()),
            Ok(()) => Called::Replied,
        }
    }
}

impl Running<'_> {
    fn run(&mut self, is_here: bool, is_write: bool, call: &Call<'_>, out: &mut Replies) -> Result<(), Stop> {
        let run = match call.spec.run {
            Run::Row(_) if !is_here && self.machine.scripts.is_in_exec => {
                return Err(Refusal::text(ELSEWHERE).into());
            }
            Run::Row(_) if !is_here => {
                self.needs_others = true;
                return Err(Stop::Locked);
            }
            Run::Row(_) if self.machine.is_locked(call) => return Err(Stop::Locked),
            Run::Row(run) => run,
            Run::Server(run) => {
                if is_write {
                    self.open_group(call)?;
                }
                return self.run_server(run, call, out);
            }
            Run::Databases { .. } if self.machine.identity.shards > 1 => return Err(Refusal::text(ALL_SHARDS).into()),
            Run::Databases { run, .. } => {
                let databases = self.machine.databases_of(call)?;
                self.machine.admit_databases(databases)?;
                run
            }
            Run::Container => unreachable!("it was refused"),
        };
        if is_write {
            self.open_group(call)?;
        }
        let ran = self.machine.run_row(run, call, 0, out);
        // What cannot be had is a refusal like any other here.
        self.machine.is_unusable = false;
        ran
    }

    fn is_here(&self, call: &Call<'_>) -> bool {
        let machine = &*self.machine;
        machine.identity.shards == 1
            || call
                .spec
                .keys
                .positions(call.args.len())
                .all(|at| machine.owner(route::slot(&call.args[at])) == machine.identity.shard)
    }

    /// Before a change: it and what follows are one group.
    fn open_group(&mut self, call: &Call<'_>) -> Result<(), Stop> {
        if self.is_group || self.is_nested {
            return Ok(());
        }
        match self.machine.admit_write() {
            Ok(()) => {}
            Err(Stay::Refuse(refusal)) => return Err(refusal.into()),
            Err(Stay::Wait(_)) => return Err(Stop::Crowded),
        }
        // How many changes come after it nobody knows.
        self.machine.shard.open_undoable_group(call.args.iter().map(<[u8]>::len).sum(), 1)?;
        self.is_group = true;
        Ok(())
    }

    /// A command on the server: those that need no connection, and on the connection's core those that finish at once.
    fn run_server(&mut self, run: ServerRun, call: &Call<'_>, out: &mut Replies) -> Result<(), Stop> {
        if call.spec.name == "select" {
            self.db = selected_db(self.machine, call)?;
            Reply::new(out, call.is_resp3).ok();
            return Ok(());
        }
        let conn = match self.conn {
            Some(conn) => conn,
            // These look at no connection.
            None if matches!(call.spec.name, "time" | "ping" | "echo" | "publish" | "spublish") => ConnId(u32::MAX),
            None => return Err(Refusal::text(NOT_ALLOWED).into()),
        };
        match run(self.machine, conn, call, &mut Reply::new(out, call.is_resp3))? {
            Flow::Done | Flow::Close => return Ok(()),
            Flow::Later => {}
        }
        match self.machine.pending.deferred.take() {
            Some(Deferred::Shards { shards, ask, merge }) if shards == [self.machine.identity.shard] => {
                match self.machine.answer(&ask, &mut Progress::default()) {
                    Ok(answer) => merge(self.machine, conn, vec![answer], &mut Reply::new(out, call.is_resp3)),
                    Err(Some(missing)) => return Err(missing.into()),
                    Err(None) => return Err(Stop::Crowded),
                }
                Ok(())
            }
            Some(Deferred::Shards { .. }) => Err(Refusal::text(ALL_SHARDS).into()),
            // A script does not wait: as if the time were over.
            Some(Deferred::Time { then, .. }) => {
                then(self.machine, conn, Ok(String::new()), &mut Reply::new(out, call.is_resp3));
                Ok(())
            }
            _ => Err(Refusal::text(NOT_ALLOWED).into()),
        }
    }
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
        if is_readonly && (spec.flags.has(Flags::WRITE) || spec.flags.has(Flags::MAY_REPLICATE)) {
            return Err(READ_ONLY.into());
        }
        Ok(entry)
    }
}
