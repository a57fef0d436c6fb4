//! A script's run on this shard, as its commands see it: what they may, where they run, and what a stop leaves.

use super::Machine;
use super::ask::Deferred;
use super::ground::{Ground, HiddenCall, Scene};
use super::run::Stay;
use super::script::{ALL_SHARDS, ELSEWHERE, NOT_ALLOWED, code_of, selected_db};
use crate::acl::Subject;
use crate::answer::Progress;
use crate::command::args::{Args, copied};
use crate::command::table::{self, Entry};
use crate::command::{Call, Flags, Flow, Run, ServerRun, keyspace};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::limits::HIDDEN_DB;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::route;
use crate::script::vm::Called;
use cairn_storage::blob::Blob;

/// A script's run on this shard, as its commands see it.
pub(super) struct Running<'a> {
    pub machine: &'a mut Machine,
    pub conn: Option<ConnId>,
    pub subject: Option<&'a Subject>,
    pub scene: Scene,
    /// It has opened a group.
    pub is_group: bool,
    /// It runs within a group.
    pub is_nested: bool,
    pub needs_others: bool,
    /// A command of it was refused that had begun to change rows.
    pub is_torn: bool,
    pub stop: Option<Stop>,
    /// Long values that it has looked at, kept if it has to run again.
    pub held: Vec<Blob>,
    /// The last error that a command has answered, as long as it is not counted.
    pub error: Option<String>,
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
            Err(line) => {
                if let Some(Entry { id, .. }) = table::lookup(args) {
                    self.machine.stats.on_rejected(id);
                }
                self.note_error(line.clone().into_owned());
                Called::Refused(line.into())
            }
        }
    }

    fn call_entry(&mut self, entry: Entry, args: &Args<'_>, is_resp3: bool, out: &mut Replies) -> Called {
        let Entry { id, spec, .. } = entry;
        let is_write = spec.flags.has(Flags::WRITE);
        let call = self.scene.call(self.machine, spec, args, is_resp3);
        let start_ns = (self.machine.identity.clock_ns)();
        let is_here = self.is_here(&call);
        let ran = self.run(is_here, is_write, &call, out);
        let ns = (self.machine.identity.clock_ns)().saturating_sub(start_ns);
        match ran {
            Err(stop) if stop.is_passing() || self.is_torn => {
                self.stop = Some(stop);
                return Called::Stop;
            }
            Err(stop) => {
                out.truncate(0);
                let refusal = stop.into_refusal();
                self.machine.stats.on_failed(id);
                self.note_error(refusal.line().into_owned());
                Reply::new(out, is_resp3).refusal(&refusal);
            }
            Ok(()) => {}
        }
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
        let (spec, head, now) = (entry.spec, hidden.head, self.scene.now);
        let call = Call { spec, args: &args, db: HIDDEN_DB, is_resp3: false, now, head };
        let is_here = hidden.shard == self.machine.identity.shard;
        let ran = match self.machine.is_row_locked(HIDDEN_DB, head, hidden.is_exclusive) {
            true if is_here => Err(Stop::Locked),
            _ => self.run(is_here, spec.flags.has(Flags::WRITE), &call, out),
        };
        match ran {
            Err(stop) if stop.is_passing() || self.is_torn => {
                self.stop = Some(stop);
                Called::Stop
            }
            Err(stop) => Called::Refused(stop.into_refusal().line().into_owned()),
            Ok(()) => Called::Replied,
        }
    }
}

impl Running<'_> {
    /// A command has answered an error. It is counted when the next one comes, or at the end: there it may be the script's own.
    fn note_error(&mut self, line: String) {
        if let Some(line) = self.error.replace(line) {
            self.machine.stats.on_error(code_of(&line));
        }
    }

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
            Run::Databases { run, .. } => {
                let databases = self.machine.databases_of(call)?;
                if self.machine.identity.shards > 1 {
                    self.needs_others = !self.machine.scripts.is_in_exec;
                    return Err(if self.needs_others { Stop::Locked } else { Refusal::text(ALL_SHARDS).into() });
                }
                self.machine.admit_databases(databases)?;
                run
            }
            Run::Container => unreachable!("it was refused"),
        };
        if is_write {
            self.open_group(call)?;
        }
        let changes = self.machine.shard.engine().group_changes();
        let ran = self.machine.run_row(run, call, 0, out);
        // What cannot be had is a refusal like any other here, unless a part of the command is done: then all that it is a part of is undone.
        let is_refused = ran.as_ref().is_err_and(|stop| !stop.is_passing());
        self.is_torn = is_refused && self.machine.shard.engine().group_changes() != changes;
        self.machine.is_unusable = self.is_torn;
        ran
    }

    fn is_here(&self, call: &Call<'_>) -> bool {
        let machine = &*self.machine;
        machine.identity.shards == 1
            || !machine.is_in_steps(call)
                && call
                    .spec
                    .row_keys(call.args)
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
            self.scene.db = selected_db(self.machine, call)?;
            Reply::new(out, call.is_resp3).ok();
            return Ok(());
        }
        let conn = match self.conn {
            Some(conn) => conn,
            // These look at no connection.
            None if matches!(call.spec.name, "time" | "ping" | "echo" | "publish" | "spublish") => ConnId(u32::MAX),
            None if keyspace::is_survey(call.spec) => ConnId(u32::MAX),
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
            Some(Deferred::Shards { .. }) if keyspace::is_survey(call.spec) => match self.machine.scripts.is_in_exec {
                true => Err(Refusal::text(ELSEWHERE).into()),
                false => {
                    self.needs_others = true;
                    Err(Stop::Locked)
                }
            },
            // A script does not wait: as if the time were over.
            Some(Deferred::Time { then, .. }) => {
                then(self.machine, conn, Ok(String::new()), &mut Reply::new(out, call.is_resp3));
                Ok(())
            }
            _ => Err(Refusal::text(NOT_ALLOWED).into()),
        }
    }
}
