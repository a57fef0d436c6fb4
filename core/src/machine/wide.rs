//! Scripts whose rows are on several shards: each is an open transaction, and goes on as if a client sent its commands.
//!
//! The shard that has a command's rows locks them, tries the command and answers (`trial`). A script cannot wait for that: it is
//! stopped, and run again from its beginning when the answer is there, the answers so far being given to it again. When it ends, all shards
//! do in earnest what they have tried, as one transaction.
//!
//! ```text
//!           run: needs another shard         answer
//!   ready -----------------------> working ----------> ready
//!     |                              | deadlock: all is given back
//!     | ends                         v
//!   commit                         ready, from nothing
//! ```
//!
//! - **W1** A script that runs again does the same again: its text, arguments, time and random numbers are the same, and so is what it is
//!   answered. Where it does not (it has looked at an address, say) it is ended.
//! - **W2** Nothing that it was answered changes before it is committed: the rows are locked. What has changed is the time, which to all of it
//!   is that of its beginning: if a row that it has seen alive is past its own by the end, it begins again ([`Machine::is_late`]).

mod ends;
mod ground;
mod within;

use super::Machine;
use super::ask::HoleId;
use super::code::{Means, ScriptRun, Task, run_code};
use super::exec::error_line;
use super::form::Form;
use super::ground::Scene;
use super::interact::{Statement, Works};
use super::release::HeldReply;
use crate::announce::Announcement;
use crate::command::args::Args;
use crate::command::program::Kept;
use crate::error::Stop;
use crate::event::{HostAsk, Now};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::script::vm::{End, Limits};
use crate::tx::{Age, ToParticipant};
use cairn_storage::units::{Lsn, ShardId, TxnId};
use ground::Running;
use std::sync::Arc;

/// A script under way.
pub(super) struct Wide {
    hole: HoleId,
    run: Box<ScriptRun>,
    course: Course,
}

/// How far it has come.
struct Course {
    age: Age,
    /// It is a part of an open transaction: its first statement there.
    first: Option<u32>,
    now: Now,
    /// Until when what it was answered is so, in Unix milliseconds. How often it was later than that.
    until_ms: u64,
    lates: u32,
    seed: u64,
    /// Of the libraries that its function is from.
    version: Option<u64>,
    /// Time that it has taken so far.
    used_ns: u64,
    restarts: u32,
    statements: u32,
    /// Those of them whose answers are in what was kept: they are not asked again.
    settled: u32,
    answers: Vec<Answered>,
    /// No counter is split as long as it goes on.
    is_calm: bool,
    /// What a program has come to: it goes on from there.
    kept: Option<Kept>,
    /// The command that a shard works on.
    asked: Option<Asked>,
    parts: Vec<(ShardId, bool)>,
    /// What it has observed here.
    observed: Lsn,
    /// Bytes of its commands.
    bytes: usize,
    /// What it has published since its beginning.
    announced: Vec<Announcement>,
    /// It is over: what it answers. Only the commit is still to come.
    ended: Option<Replies>,
}

/// A command, as it has to be asked again.
#[derive(Clone, PartialEq, Eq)]
struct Asked {
    words: Vec<Vec<u8>>,
    db: u8,
    is_resp3: bool,
}

struct Answered {
    asked: Asked,
    /// An error's line, if nobody could be asked to run it.
    reply: Result<Replies, String>,
}

/// What a run of the script has come to besides its end.
#[derive(Default)]
struct Outcome {
    works: Option<(Works, Form)>,
    /// This shard does them when their locks are free.
    is_waiting: bool,
    /// The process is to do this.
    host: Option<HostAsk>,
    /// It goes on in its next turn.
    is_resting: bool,
    /// It begins again when no counter is split.
    wants_calm: bool,
    /// It begins again, at a later time.
    is_late: bool,
    /// The database that its last command has left.
    db: u8,
    /// It cannot go on, ever.
    failed: Option<String>,
}

/// Scripts are taken for younger than the transactions of clients: if they wait for each other the script begins again, which its
/// client does not notice.
const YOUNG_NS: u64 = 1 << 62;

const OTHERWISE: &str = "ERR the script did not do the same when it was run again; what it has changed is undone";

impl Course {
    fn new(age: Age, now: Now, seed: u64) -> Course {
        Course {
            age,
            first: None,
            now,
            until_ms: u64::MAX,
            lates: 0,
            seed,
            version: None,
            used_ns: 0,
            restarts: 0,
            statements: 0,
            settled: 0,
            answers: Vec::new(),
            is_calm: false,
            kept: None,
            asked: None,
            parts: Vec::new(),
            observed: Lsn(0),
            bytes: 0,
            announced: Vec::new(),
            ended: None,
        }
    }

    /// A shard has rows of it from now on.
    fn note_part(&mut self, shard: ShardId, is_write: bool) {
        match self.parts.binary_search_by_key(&shard.0, |(known, _)| known.0) {
            Ok(at) => self.parts[at].1 |= is_write,
            Err(at) => self.parts.insert(at, (shard, is_write)),
        }
    }

    fn writers(&self) -> Vec<ShardId> {
        self.parts.iter().filter(|(_, is_write)| *is_write).map(|(shard, _)| *shard).collect()
    }
}

impl Machine {
    /// The end of a turn: scripts that can go on do.
    pub(super) fn go_on_wides(&mut self) {
        for (hole, run) in std::mem::take(&mut self.pending.wides_new) {
            self.begin_wide(hole, run);
        }
        for txn in std::mem::take(&mut self.pending.wides_ready) {
            // Those that have waited for what another one has given back come first.
            self.grant_freed();
            self.go_on_wide(txn);
        }
    }

    /// Scripts can go on.
    pub(super) fn wides_want_turn(&self) -> bool {
        !self.pending.wides_ready.is_empty()
    }

    fn begin_wide(&mut self, hole: HoleId, run: Box<ScriptRun>) {
        let txn = match self.name_txn() {
            Ok(txn) => txn,
            Err(Stop::Refuse(refusal)) => return self.answer_wide(hole, &refusal.line()),
            Err(_) => return self.pending.wides_new.push((hole, run)),
        };
        let seed = self.shard.random() & 0xffff_ffff_ffff;
        let begun_ns = self.now.mono_ns.saturating_add(YOUNG_NS);
        let course = Course::new(Age { begun_ns, txn }, self.now, seed);
        self.pending.wides.insert(txn, Box::new(Wide { hole, run, course }));
        self.pending.wides_ready.push(txn);
    }

    fn answer_wide(&mut self, hole: HoleId, line: &str) {
        let mut replies = Replies::default();
        self.stats.on_error(line.split(' ').next().unwrap_or("ERR"));
        Reply::new(&mut replies, false).error(line);
        self.serve_hole(hole, replies);
    }

    fn go_on_wide(&mut self, txn: TxnId) {
        let Some(mut wide) = self.pending.wides.remove(&txn) else { return };
        match wide.course.ended.take() {
            Some(_) if self.is_late(&wide.course) => return self.restart_late(wide),
            Some(replies) => return self.commit_wide(wide, replies),
            None => {}
        }
        match self.refresh_code(&mut wide) {
            Ok(true) => {}
            Ok(false) => {
                self.pending.wides.insert(txn, wide);
                self.restart_within(txn);
                return self.restart_wide(txn);
            }
            Err(Stop::Refuse(refusal)) => return self.fail_wide(wide, &refusal.line()),
            Err(_) => {
                self.pending.wides.insert(txn, wide);
                return self.pending.wides_ready.push(txn);
            }
        }
        let (limits, ms) = self.script_limits();
        let left = Limits { ns: limits.ns.saturating_sub(wide.course.used_ns), ..limits };
        let (end, replies, outcome) = self.run_wide(&mut wide, left);
        if let Some(line) = outcome.failed {
            return self.fail_wide(wide, &line);
        }
        match end {
            _ if outcome.is_late => self.restart_late(wide),
            End::Stopped if outcome.wants_calm => self.restart_calmly(wide),
            End::Stopped => {
                self.pending.wides.insert(txn, wide);
                if let Some((works, form)) = outcome.works {
                    self.ask_for_wide(txn, works, form, outcome.is_waiting);
                }
                if let Some(ask) = outcome.host {
                    self.ask_host_for(txn, ask);
                }
                if outcome.is_resting {
                    self.pending.wides_ready.push(txn);
                }
            }
            // As in Redis, what was changed before an error stays.
            End::Done => {
                self.unwatch_for(&wide.run.code);
                self.select_for(&wide, outcome.db);
                self.commit_wide(wide, replies);
            }
            End::Failed(line) => {
                let mut replies = Replies::default();
                Reply::new(&mut replies, false).error(&line);
                self.commit_wide(wide, replies);
            }
            end => {
                let line = super::script::cut_text(&end, limits, ms, false);
                self.fail_wide(wide, &line);
            }
        }
    }

    /// If it calls functions: as the libraries of this moment have it. Whether they are those that it has begun with.
    fn refresh_code(&mut self, wide: &mut Wide) -> Result<bool, Stop> {
        if !wide.run.code.calls_functions() {
            return Ok(true);
        }
        self.shard.begin();
        self.refresh_functions()?;
        wide.course.observed = wide.course.observed.max(self.shard.observed());
        if let Some(function) = wide.run.code.function() {
            let function = self.known_function(function.name.as_bytes())?;
            wide.run.code = wide.run.code.with_function(function);
        }
        let version = self.functions_version();
        Ok(*wide.course.version.get_or_insert(version) == version)
    }

    /// Runs it from its beginning.
    fn run_wide(&mut self, wide: &mut Wide, limits: Limits) -> (End, Replies, Outcome) {
        let Wide { run, course, .. } = wide;
        let mut replies = Replies::default();
        let code = run.code.clone();
        let mut vm = match self.take_vm_for(&code) {
            Ok(vm) => vm,
            Err(refusal) => {
                let failed = Some(refusal.line().into_owned());
                return (End::Stopped, replies, Outcome { failed, ..Outcome::default() });
            }
        };
        let (keys, args) = Args::new(&run.bytes, &run.ranges).split(run.keys);
        let start_ns = (self.identity.clock_ns)();
        let random = vm.as_ref().map(|(vm, _)| vm.random());
        vm.iter().for_each(|(vm, _)| vm.set_random(course.seed));
        let (db, is_readonly, now) = (run.db, run.is_readonly, course.now);
        let subject = run.subject.as_ref();
        let tracker = run.tracker;
        let task = Task { code: &code, keys, args, db, is_readonly, now, subject, tracker };
        let subject = subject.map(Arc::as_ref);
        let scene = task.scene();
        let mut script = Running { machine: self, subject, scene, course, at: 0, outcome: Outcome::default() };
        let mut reply = Reply::new(&mut replies, run.is_resp3);
        let mark = script.machine.shard.announced.mark();
        let mut means = Means { lua: vm.as_mut(), limits, ground: &mut script };
        let end = run_code(&task, &mut means, &mut reply);
        script.course.announced = script.machine.shard.announced.split_off(mark);
        let Running { mut outcome, scene: Scene { called, db, .. }, .. } = script;
        outcome.db = db;
        outcome.is_late = matches!(end, End::Done | End::Failed(_)) && self.is_late(course);
        let mut lines = Vec::new();
        if let Some((mut vm, _)) = vm {
            random.into_iter().for_each(|state| vm.set_random(state));
            lines = vm.take_log();
            self.put_vm_of(&code, vm);
        }
        if end != End::Stopped && !outcome.is_late {
            self.note_script_log(lines);
            self.show_called(called);
        }
        course.used_ns += (self.identity.clock_ns)().saturating_sub(start_ns);
        (end, replies, outcome)
    }

    /// Has shards work on a command.
    fn ask_for_wide(&mut self, txn: TxnId, mut works: Works, form: Form, is_waiting: bool) {
        let now_ns = self.now.mono_ns;
        let (first, work) = works.pop_front().expect("a command has rows");
        self.note_open_part(txn, first, work.commands.writes > 0);
        let number = work.statement;
        self.pending.statements.insert(txn, Statement::of_script(number, now_ns, first, works, form));
        match () {
            () if is_waiting => self.keep_work(work),
            () if first == self.identity.shard => self.pending.works.push((txn, work)),
            () => self.tell(first, txn, ToParticipant::Work(work)),
        }
    }

    /// A shard has answered a command of it, which is so until then.
    pub(super) fn note_until(&mut self, txn: TxnId, until_ms: u64) {
        if let Some(wide) = self.pending.wides.get_mut(&txn) {
            wide.course.until_ms = wide.course.until_ms.min(until_ms);
        }
    }

    /// A shard works on a command of it.
    pub(super) fn note_wide_part(&mut self, txn: TxnId, shard: ShardId, is_write: bool) {
        if let Some(wide) = self.pending.wides.get_mut(&txn) {
            wide.course.note_part(shard, is_write);
        }
    }

    /// The command's reply is there.
    pub(super) fn on_wide_reply(&mut self, txn: TxnId, reply: Replies) {
        let Some(wide) = self.pending.wides.get_mut(&txn) else { return };
        match (wide.course.asked.take(), error_line(&reply, 0)) {
            (Some(asked), _) => wide.course.answers.push(Answered { asked, reply: Ok(reply) }),
            // What it has wanted before its first step: now it begins.
            (None, None) => wide.course.now = self.now,
            (None, Some(line)) => {
                let wide = self.pending.wides.remove(&txn).expect("it was just there");
                return self.fail_wide(wide, &line);
            }
        }
        self.pending.wides_ready.push(txn);
    }

    /// It has ended: what was tried is done in earnest, and then it is answered.
    fn commit_wide(&mut self, mut wide: Box<Wide>, replies: Replies) {
        if wide.course.first.is_some() {
            return self.end_within(wide, replies);
        }
        let own = self.identity.shard;
        let (age, txn, hole) = (wide.course.age, wide.course.age.txn, wide.hole);
        let writers = wide.course.writers();
        let is_seen = wide.course.observed <= self.shard.stable() || writers.contains(&own);
        if writers.iter().any(|writer| *writer != own) {
            if !is_seen {
                // What it has seen here has to be stable before others can see what it does about that.
                wide.course.ended = Some(replies);
                self.pending.wides.insert(txn, wide);
                return self.pending.wides_ready.push(txn);
            }
            let mut exec = self.plan_commit(false, &wide.course.parts, replies);
            exec.announced = wide.course.announced;
            self.stats.counters.txns_begun += 1;
            return self.begin_exec(txn, hole, exec);
        }
        self.shard.begin();
        let committed = if writers.is_empty() { Ok(()) } else { self.commit_here(age) };
        if committed.as_ref().is_err_and(Stop::is_passing) {
            wide.course.ended = Some(replies);
            self.pending.wides.insert(txn, wide);
            return self.pending.wides_ready.push(txn);
        }
        let is_committed = committed.is_ok();
        for &(shard, _) in wide.course.parts.iter().filter(|(shard, _)| writers.is_empty() || *shard != own) {
            self.tell(shard, txn, ToParticipant::Finish { is_committed });
        }
        if let Err(stop) = committed {
            return self.answer_wide(hole, &stop.into_refusal().line());
        }
        let observed = self.shard.observed().max(wide.course.observed);
        let request = self.request(hole, 0);
        self.announce();
        self.tell_when_stable(observed, wide.course.announced);
        self.hold_foreign(own, observed, HeldReply::Ran { request, reply: replies, commands: 1 });
    }
}
