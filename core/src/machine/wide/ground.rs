//! What a script over several shards runs on: each of its commands is tried by the shards that have its rows, or was answered before.

use super::{Answered, Asked, Course, OTHERWISE, Outcome};
use crate::acl::Subject;
use crate::command::args::Args;
use crate::command::program::Kept;
use crate::command::table::Entry;
use crate::command::{Call, Flags, Run, keyspace, table};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, HostAsk};
use crate::hidden;
use crate::limits::{HIDDEN_DB, MULTI_BYTES_MAX, TXN_STATEMENTS_MAX};
use crate::machine::Machine;
use crate::machine::form::Form;
use crate::machine::ground::{Ground, HiddenCall, Scene};
use crate::machine::interact::{Works, too_much};
use crate::machine::participate::locks_of;
use crate::machine::place::Place;
use crate::machine::plan::Plan;
use crate::machine::program;
use crate::machine::program::too_many;
use crate::machine::script::{NOT_ALLOWED, selected_db};
use crate::machine::trial::Tried;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::script::vm::Called;
use crate::tx::{Multi, RowLock, Work, Worked};

/// A run, as the script's commands see it.
pub(super) struct Running<'a> {
    pub machine: &'a mut Machine,
    pub subject: Option<&'a Subject>,
    pub scene: Scene,
    pub course: &'a mut Course,
    /// Commands on rows so far.
    pub at: usize,
    pub outcome: Outcome,
}

impl Ground for Running<'_> {
    fn machine(&mut self) -> &mut Machine {
        self.machine
    }

    fn scene(&mut self) -> &mut Scene {
        &mut self.scene
    }

    fn call(&mut self, args: &Args<'_>, is_resp3: bool, out: &mut Replies) -> Called {
        match self.scene.admit(self.machine, self.subject, args) {
            Ok(entry) => self.call_entry(entry, args, is_resp3, out),
            Err(line) => Called::Refused(line.into()),
        }
    }

    fn call_entry(&mut self, entry: Entry, args: &Args<'_>, is_resp3: bool, out: &mut Replies) -> Called {
        let spec = entry.spec;
        let call = self.scene.call(self.machine, spec, args, is_resp3);
        if let Run::Databases { .. } = spec.run {
            return self.change_databases(&call, out);
        }
        if let Run::Server(_) = spec.run {
            if keyspace::is_survey(spec) {
                return self.survey(&call, out);
            }
            return match self.run_server(&call, out) {
                Ok(()) => Called::Replied,
                Err(refusal) => Called::Refused(refusal.line().into_owned()),
            };
        }
        if self.machine.is_in_steps_locked(&call) {
            return program::call(self, &call, out);
        }
        let asked = Asked { words: args.iter().map(<[u8]>::to_vec).collect(), db: self.scene.db, is_resp3 };
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
        // A part of an open transaction counts with all of that.
        if self.course.first.is_none() {
            self.course.settled = self.course.statements;
        }
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

    fn has_called_enough(&self) -> bool {
        self.course.statements - self.course.settled >= TXN_STATEMENTS_MAX
    }

    fn too_many(&self) -> Called {
        match self.course.first {
            None => too_many(),
            Some(_) => Called::Refused(too_much(TXN_STATEMENTS_MAX, MULTI_BYTES_MAX).line().into_owned()),
        }
    }

    /// One that nobody can be asked to run: so it is when the script runs again.
    fn refuse(&mut self, asked: Asked, line: String) -> Called {
        if self.has_called_enough() {
            return self.too_many();
        }
        self.course.statements += 1;
        self.course.answers.push(Answered { asked, reply: Err(line.clone()) });
        Called::Refused(line)
    }

    /// A command that was not asked before.
    fn ask(&mut self, works: Works, form: Form, asked: Asked, out: &mut Replies) -> Called {
        self.course.bytes += asked.words.iter().map(Vec::len).sum::<usize>();
        if self.has_called_enough() || self.course.bytes > MULTI_BYTES_MAX {
            return self.too_many();
        }
        if let Some(line) = self.bill(&works) {
            return self.refuse(asked, line);
        }
        self.course.statements += 1;
        let own = self.machine.identity.shard;
        if let Some((shard, work)) = works.front()
            && *shard == own
            && works.len() == 1
        {
            self.course.note_part(own, work.commands.writes > 0);
            self.machine.note_open_part(self.course.age.txn, own, work.commands.writes > 0);
            match self.machine.try_work(own, work) {
                // Other shards have to be asked before it can be done.
                Tried::Done(Ok(Worked::Apart { .. })) => {}
                Tried::Done(result) => {
                    self.course.observed = self.course.observed.max(self.machine.shard.observed());
                    self.course.until_ms = self.course.until_ms.min(self.machine.parts.take_until());
                    let reply = match result {
                        Ok(worked) => form.write(self.machine, vec![worked]),
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

    /// A question about a whole database. As of changes of these, if it locks something.
    fn survey(&mut self, call: &Call<'_>, out: &mut Replies) -> Called {
        let asked =
            Asked { words: call.args.iter().map(<[u8]>::to_vec).collect(), db: self.scene.db, is_resp3: call.is_resp3 };
        let work = self.work(Vec::new(), Multi::default(), call.is_resp3);
        if let Some(called) = self.answered(&asked, out) {
            return called;
        }
        let mut reply = Replies::default();
        match self.machine.survey_of(call, &work, &mut reply) {
            Ok(Some(_)) if self.is_to_calm() => self.calm(),
            Ok(Some((works, form))) => self.ask(works, form, asked, out),
            Ok(None) => {
                out.copy(&reply);
                self.course.answers.push(Answered { asked, reply: Ok(reply) });
                Called::Replied
            }
            Err(refusal) => self.refuse(asked, refusal.line().into_owned()),
        }
    }

    /// A change of whole databases. A script that is no part of an open transaction first has all counters whole, with no locks: merging one might wait
    /// for a lock of its own, or of one who waits for it.
    fn change_databases(&mut self, call: &Call<'_>, out: &mut Replies) -> Called {
        let words = call.args.iter().map(<[u8]>::to_vec).collect();
        let asked = Asked { words, db: self.scene.db, is_resp3: call.is_resp3 };
        if let Some(called) = self.answered(&asked, out) {
            return called;
        }
        let work = self.work(Vec::new(), Multi::default(), call.is_resp3);
        match self.machine.works_on_databases(call, &work) {
            Ok(_) if self.is_to_calm() => self.calm(),
            Ok((works, form)) => self.ask(works, form, asked, out),
            Err(refusal) => self.refuse(asked, refusal.line().into_owned()),
        }
    }

    fn is_to_calm(&self) -> bool {
        self.course.first.is_none() && !self.course.is_calm
    }

    fn calm(&mut self) -> Called {
        self.outcome.wants_calm = true;
        Called::Stop
    }

    fn work(&self, rows: Vec<RowLock>, commands: Multi, is_resp3: bool) -> Box<Work> {
        let (age, statement) = (self.course.age, self.course.statements + 1);
        let view = self.course.first.and_then(|_| self.machine.view_of(age.txn));
        Box::new(Work { rows, commands, is_resp3, view, now: Some(self.course.now), ..Work::of(age, statement) })
    }

    /// An open transaction has so many bytes of commands that write. The error's line, if these are too many.
    fn bill(&mut self, works: &Works) -> Option<String> {
        self.course.first?;
        let bytes_max = self.machine.settings.client_query_buffer_limit.min(MULTI_BYTES_MAX);
        let open = self.machine.open_of(self.course.age.txn)?;
        let written = works.iter().filter(|(_, work)| work.commands.writes > 0);
        let bytes = written.map(|(_, work)| work.commands.bytes()).sum::<usize>();
        if bytes > 0 && open.bytes + bytes > bytes_max {
            return Some(too_much(TXN_STATEMENTS_MAX, bytes_max).line().into_owned());
        }
        open.bytes += bytes;
        None
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
            self.scene.db = selected_db(self.machine, call)?;
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
            _ => Err(Refusal::text(NOT_ALLOWED)),
        }
    }
}

pub(super) fn error_of(line: &str) -> Replies {
    let mut replies = Replies::default();
    Reply::new(&mut replies, false).error(line);
    replies
}
