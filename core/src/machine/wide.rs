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
//! - **W2** Nothing that it was answered changes before it is committed: the rows are locked.

mod ends;

use super::Machine;
use super::ask::HoleId;
use super::code::{Means, ScriptRun, Task, run_code};
use super::ground::{Ground, HiddenCall};
use super::interact::{Form, Statement, Works};
use super::participate::locks_of;
use super::place::Place;
use super::plan::Plan;
use super::program::too_many;
use super::release::HeldReply;
use super::script::{ALL_SHARDS, NOT_ALLOWED};
use super::trial::Tried;
use crate::acl::Subject;
use crate::announce::Announcement;
use crate::command::args::Args;
use crate::command::program::Kept;
use crate::command::table::Entry;
use crate::command::{Call, Flags, Run, table};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, HostAsk, Now};
use crate::hidden;
use crate::limits::{HIDDEN_DB, MULTI_BYTES_MAX, TXN_STATEMENTS_MAX};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::script::vm::{Called, End, Limits};
use crate::tracking::Tracker;
use crate::tx::{Age, Multi, Patience, RowLock, ToParticipant, Work};
use cairn_storage::units::{Lsn, ShardId, TxnId};
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
    now: Now,
    seed: u64,
    /// Of the libraries that its function is from.
    version: Option<u64>,
    /// Time that it has taken so far.
    used_ns: u64,
    restarts: u32,
    statements: u32,
    answers: Vec<Answered>,
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
    /// It cannot go on, ever.
    failed: Option<String>,
    /// What it has called, if somebody wants to see that.
    called: Vec<(u8, Vec<Vec<u8>>)>,
}

/// Scripts are taken for younger than the transactions of clients: if they wait for each other the script begins again, which its
/// client does not notice.
const YOUNG_NS: u64 = 1 << 62;

const OTHERWISE: &str = "ERR the script did not do the same when it was run again; what it has changed is undone";

impl Course {
    fn new(age: Age, now: Now, seed: u64) -> Course {
        Course {
            age,
            now,
            seed,
            version: None,
            used_ns: 0,
            restarts: 0,
            statements: 0,
            answers: Vec::new(),
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
        if let Some(replies) = wide.course.ended.take() {
            return self.commit_wide(wide, replies);
        }
        match self.refresh_code(&mut wide) {
            Ok(true) => {}
            Ok(false) => {
                self.pending.wides.insert(txn, wide);
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

    /// If it is a function: as the libraries of this moment have it. Whether they are those that it has begun with.
    fn refresh_code(&mut self, wide: &mut Wide) -> Result<bool, Stop> {
        let Some(function) = wide.run.code.function().cloned() else { return Ok(true) };
        self.shard.begin();
        let function = self.find_function(function.name.as_bytes())?;
        wide.course.observed = wide.course.observed.max(self.shard.observed());
        wide.run.code = wide.run.code.with_function(function);
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
        let is_readonly = run.is_readonly || code.flags().no_writes;
        let (db, now) = (run.db, course.now);
        let subject = run.subject.as_ref();
        let tracker = run.tracker;
        let task = Task { code: &code, keys, args, db, is_readonly, now, subject, tracker };
        let subject = subject.map(Arc::as_ref);
        let mut script =
            Running { machine: self, subject, tracker, course, db, is_readonly, at: 0, outcome: Outcome::default() };
        let mut reply = Reply::new(&mut replies, run.is_resp3);
        let mark = script.machine.shard.announced.mark();
        let mut means = Means { lua: vm.as_mut(), limits, ground: &mut script };
        let end = run_code(&task, &mut means, &mut reply);
        script.course.announced = script.machine.shard.announced.split_off(mark);
        let mut outcome = std::mem::take(&mut script.outcome);
        let mut lines = Vec::new();
        if let Some((mut vm, _)) = vm {
            random.into_iter().for_each(|state| vm.set_random(state));
            lines = vm.take_log();
            self.put_vm_of(&code, vm);
        }
        if end != End::Stopped {
            self.note_script_log(lines);
            self.show_called(std::mem::take(&mut outcome.called));
        }
        course.used_ns += (self.identity.clock_ns)().saturating_sub(start_ns);
        (end, replies, outcome)
    }

    /// Has shards work on a command.
    fn ask_for_wide(&mut self, txn: TxnId, mut works: Works, form: Form, is_waiting: bool) {
        let now_ns = self.now.mono_ns;
        let (first, work) = works.pop_front().expect("a command has rows");
        let wide = self.pending.wides.get_mut(&txn).expect("it has just been put there");
        wide.course.note_part(first, work.commands.writes > 0);
        let number = work.statement;
        self.pending.statements.insert(txn, Statement::of_script(number, now_ns, first, works, form));
        match () {
            () if is_waiting => self.keep_work(work),
            () if first == self.identity.shard => self.pending.works.push((txn, work)),
            () => self.tell(first, txn, ToParticipant::Work(work)),
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
        let asked = wide.course.asked.take().expect("who is answered has asked");
        wide.course.answers.push(Answered { asked, reply: Ok(reply) });
        self.pending.wides_ready.push(txn);
    }

    /// It has ended: what was tried is done in earnest, and then it is answered.
    fn commit_wide(&mut self, mut wide: Box<Wide>, replies: Replies) {
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

/// A run, as the script's commands see it.
struct Running<'a> {
    machine: &'a mut Machine,
    subject: Option<&'a Subject>,
    tracker: Option<Tracker>,
    course: &'a mut Course,
    db: u8,
    is_readonly: bool,
    /// Commands on rows so far.
    at: usize,
    outcome: Outcome,
}

impl Ground for Running<'_> {
    fn machine(&mut self) -> &mut Machine {
        self.machine
    }

    fn db(&mut self) -> &mut u8 {
        &mut self.db
    }

    fn call(&mut self, args: &Args<'_>, is_resp3: bool, out: &mut Replies) -> Called {
        let entry = match self.machine.admit_call(self.subject, args, self.is_readonly) {
            Ok(entry) => entry,
            Err(line) => return Called::Refused(line.into()),
        };
        if self.machine.is_monitored() && super::monitor::is_shown(entry.spec.flags) {
            self.outcome.called.push((self.db, args.iter().map(<[u8]>::to_vec).collect()));
        }
        self.call_entry(entry, args, is_resp3, out)
    }

    fn call_entry(&mut self, entry: Entry, args: &Args<'_>, is_resp3: bool, out: &mut Replies) -> Called {
        let spec = entry.spec;
        let head =
            args.get(spec.keys.first).filter(|_| spec.keys.first > 0).map_or(0, |key| self.machine.shard.head(key));
        let call = Call { spec, args, db: self.db, is_resp3, now: self.course.now, head };
        self.machine.track_call(self.tracker, &call);
        if let Run::Databases { .. } = spec.run {
            return Called::Refused(ALL_SHARDS.into());
        }
        if let Run::Server(_) = spec.run {
            return match self.run_server(&call, out) {
                Ok(()) => Called::Replied,
                Err(refusal) => Called::Refused(refusal.line().into_owned()),
            };
        }
        if self.machine.is_in_steps(&call) {
            return super::program::call(self, &call, out);
        }
        let asked = Asked { words: args.iter().map(<[u8]>::to_vec).collect(), db: self.db, is_resp3 };
        self.answered(&asked, out).unwrap_or_else(|| match self.works(&call) {
            Ok((works, form)) => self.ask(works, form, asked, out),
            Err(refusal) => self.refuse(asked, refusal.line().into_owned()),
        })
    }

    fn rests(&self) -> bool {
        true
    }

    /// Those that are under way share a turn's part.
    fn items(&mut self) -> u64 {
        let wides = self.machine.pending.wides.len() as u64 + 1;
        (self.machine.settings.slice_items / wides).max(1)
    }

    fn kept(&mut self) -> Option<Kept> {
        self.course.kept.take()
    }

    fn keep(&mut self, kept: Kept, rests: bool) {
        self.course.kept = Some(kept);
        self.course.answers.clear();
        (self.at, self.course.bytes) = (0, 0);
        self.outcome.is_resting |= rests;
    }

    fn ask_host(&mut self, ask: HostAsk, out: &mut Replies) -> Called {
        let asked = Asked { words: Vec::new(), db: HIDDEN_DB, is_resp3: false };
        self.answered(&asked, out).unwrap_or_else(|| {
            self.course.asked = Some(asked);
            self.outcome.host = Some(ask);
            Called::Stop
        })
    }

    fn call_hidden(&mut self, call: &HiddenCall<'_>, out: &mut Replies) -> Called {
        let words: Vec<Vec<u8>> = call.words.iter().map(|word| word.to_vec()).collect();
        let asked = Asked { words, db: HIDDEN_DB, is_resp3: false };
        self.answered(&asked, out).unwrap_or_else(|| {
            let entry = table::entry(call.words[0]).expect("such a command is in the table");
            let is_exclusive = call.is_exclusive || entry.spec.flags.has(Flags::WRITE);
            let mut commands = Multi::default();
            commands.push(entry, HIDDEN_DB, call.head, call.words.iter().copied());
            let work = self.work(vec![hidden::lock(call.head, is_exclusive)], commands, false);
            self.ask(Works::from([(call.shard, work)]), Form::Single, asked, out)
        })
    }
}

impl Running<'_> {
    /// The next command is this one: if it was asked before, what was answered.
    fn answered(&mut self, asked: &Asked, out: &mut Replies) -> Option<Called> {
        let answered = self.course.answers.get(self.at);
        self.at += 1;
        match answered {
            Some(Answered { asked: known, reply }) if known == asked => Some(match reply {
                Ok(reply) => {
                    out.copy(reply);
                    Called::Replied
                }
                Err(line) => Called::Refused(line.clone()),
            }),
            Some(_) => {
                self.outcome.failed = Some(OTHERWISE.into());
                Some(Called::Stop)
            }
            None => None,
        }
    }

    /// One that nobody can be asked to run: so it is when the script runs again.
    fn refuse(&mut self, asked: Asked, line: String) -> Called {
        if self.course.statements >= TXN_STATEMENTS_MAX {
            return too_many();
        }
        self.course.statements += 1;
        self.course.answers.push(Answered { asked, reply: Err(line.clone()) });
        Called::Refused(line)
    }

    /// A command that was not asked before.
    fn ask(&mut self, works: Works, form: Form, asked: Asked, out: &mut Replies) -> Called {
        self.course.bytes += asked.words.iter().map(Vec::len).sum::<usize>();
        if self.course.statements >= TXN_STATEMENTS_MAX || self.course.bytes > MULTI_BYTES_MAX {
            return too_many();
        }
        self.course.statements += 1;
        let own = self.machine.identity.shard;
        if let Some((shard, work)) = works.front()
            && *shard == own
            && works.len() == 1
        {
            self.course.note_part(own, work.commands.writes > 0);
            match self.machine.try_work(own, work) {
                Tried::Done(result) => {
                    self.course.observed = self.course.observed.max(self.machine.shard.observed());
                    let reply = match result {
                        Ok(worked) => form.write(vec![worked]),
                        Err(why) => error_of(&why.line),
                    };
                    out.copy(&reply);
                    self.course.answers.push(Answered { asked, reply: Ok(reply) });
                    return Called::Replied;
                }
                Tried::Waits => self.outcome.is_waiting = true,
                Tried::Later(_) => {}
            }
        }
        self.course.asked = Some(asked);
        self.outcome.works = Some((works, form));
        Called::Stop
    }

    fn work(&self, rows: Vec<RowLock>, commands: Multi, is_resp3: bool) -> Box<Work> {
        let (age, statement) = (self.course.age, self.course.statements + 1);
        Box::new(Work { age, statement, rows, patience: Patience::Wait, commands, is_resp3, view: None })
    }

    /// What the shards of a command do.
    fn works(&self, call: &Call<'_>) -> Result<(Works, Form), Refusal> {
        let work = |rows, commands| self.work(rows, commands, call.is_resp3);
        let mut works = Works::new();
        if let Place::Here = self.machine.place(call) {
            let mut commands = Multi::default();
            let entry = table::entry_of(call.spec);
            commands.push(entry, call.db, call.head, call.args.iter());
            works.push_back((self.machine.identity.shard, work(locks_of(self.machine, call), commands)));
            return Ok((works, Form::Single));
        }
        let mut plan = Plan::new(self.machine);
        plan.add(call);
        let (parts, form) = plan.into_works()?;
        works.extend(parts.into_iter().map(|(shard, rows, commands)| (shard, work(rows, commands))));
        Ok((works, form))
    }

    /// Commands that are on no rows, and that need no connection.
    fn run_server(&mut self, call: &Call<'_>, out: &mut Replies) -> Result<(), Refusal> {
        if call.spec.name == "select" {
            self.db = super::script::selected_db(self.machine, call)?;
            Reply::new(out, call.is_resp3).ok();
            return Ok(());
        }
        let Run::Server(run) = call.spec.run else { unreachable!("the caller has seen it") };
        match call.spec.name {
            "time" | "ping" | "echo" => {
                let ran = run(self.machine, ConnId(u32::MAX), call, &mut Reply::new(out, call.is_resp3));
                ran.map(|_| ()).map_err(Stop::into_refusal)
            }
            "publish" | "spublish" => {
                let (none, is_sharded) = (ConnId(u32::MAX), call.spec.name == "spublish");
                let receivers = self.machine.publish_now(none, is_sharded, &call.args[1], &call.args[2])?;
                Reply::new(out, call.is_resp3).integer(receivers as i64);
                Ok(())
            }
            "dbsize" | "keys" | "scan" | "randomkey" => Err(Refusal::text(ALL_SHARDS)),
            _ => Err(Refusal::text(NOT_ALLOWED)),
        }
    }
}

fn error_of(line: &str) -> Replies {
    let mut replies = Replies::default();
    Reply::new(&mut replies, false).error(line);
    replies
}
