//! Programs and scripts between BEGIN and COMMIT. They go on as those over several shards do, as a part of the transaction that is open: the
//! locks are the transaction's, what was tried is behind what it has tried before, and nothing is committed when they end.
//!
//! One that fails has changed nothing: its shards go back to its first statement. What waits for too long, or closes a cycle, ends the
//! transaction, as any command of it does.

use super::{Course, Wide};
use crate::announce::Announcement;
use crate::command::keys::CopyTo;
use crate::command::{Call, Flags, Flow, script};
use crate::error::Stop;
use crate::event::ConnId;
use crate::limits::{MULTI_BYTES_MAX, SCRIPT_RESTARTS_MAX};
use crate::machine::Machine;
use crate::machine::ask::HoleId;
use crate::machine::code::{ScriptRun, Task};
use crate::machine::exec::error_line;
use crate::machine::form::Form;
use crate::machine::interact::{Works, too_much};
use crate::machine::release::HeldReply;
use crate::machine::script::code_of;
use crate::machine::wide::ground::error_of;
use crate::resp::replies::Replies;
use crate::route;
use crate::tx::{Multi, Patience, RowLock, ToParticipant};
use cairn_storage::units::{ShardId, TxnId};

impl Wide {
    pub fn hole(&self) -> HoleId {
        self.hole
    }
}

impl Machine {
    /// EVAL, FCALL and their kin, whose keys are locked as it comes to them; or a command that is taken in steps.
    pub(in crate::machine) fn run_within(
        &mut self,
        conn: ConnId,
        call: &Call<'_>,
        is_script: bool,
        out: &mut Replies,
    ) -> Result<Flow, Stop> {
        let (run, locks) = if is_script {
            let code = script::code_of(self, call)?;
            let (subject, tracker) = (self.subject(conn), self.tracker_of(conn));
            let task = Task { subject: subject.as_ref(), tracker, ..script::task_of(call, &code)? };
            self.admit_script(&task)?;
            (ScriptRun::of(&task, call.is_resp3), Works::new())
        } else {
            (Machine::program_of(call.spec, call.args, call.db, call.is_resp3), self.locks_ahead(conn, call))
        };
        self.begin_within(conn, run, locks, out);
        Ok(Flow::Done)
    }

    /// The keys that a program names, each locked as it is used, before its first step: who looks first and changes then would close a cycle
    /// with whoever does the same. What its steps come to besides they lock themselves.
    fn locks_ahead(&self, conn: ConnId, call: &Call<'_>) -> Works {
        let open = self.client(conn).open.as_ref().expect("its transaction is open");
        if open.is_read_only {
            return Works::new();
        }
        let uses = || call.spec.row_keys(call.args).enumerate();
        let is_looked_at = |number| call.spec.key_use(number, call.args).starts_with("RO");
        let is_write = call.spec.flags.has(Flags::WRITE);
        // What Redis says is only read is written by XREADGROUP.
        let is_any_written = uses().any(|(number, _)| !is_looked_at(number));
        let mut rows: Vec<Vec<RowLock>> = vec![Vec::new(); usize::from(self.identity.shards)];
        for (number, at) in uses() {
            let key = &call.args[at];
            let is_exclusive = is_write && !(is_any_written && is_looked_at(number));
            let is_copied_to = call.spec.name == "copy" && number > 0;
            let db = if is_copied_to { CopyTo::parse(call).map_or(call.db, |to| to.db) } else { call.db };
            let row = RowLock { db, head: self.shard.head(key), is_exclusive };
            rows[usize::from(self.owner(route::slot(key)).0)].push(row);
        }
        let of_shards = rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        let work = |rows| self.work(conn, rows, Multi::default(), Patience::Wait);
        of_shards.map(|(shard, rows)| (ShardId(shard as u16), work(rows))).collect()
    }

    fn begin_within(&mut self, conn: ConnId, mut run: Box<ScriptRun>, locks: Works, out: &Replies) {
        let hole = self.open_hole(conn, out, true, run.bytes.len());
        let seed = self.shard.random() & 0xffff_ffff_ffff;
        let open = self.client(conn).open.as_ref().expect("its transaction is open");
        let mut course = Course::new(open.age, self.now, seed);
        (course.first, course.statements) = (Some(open.statements + 1), open.statements);
        if open.is_read_only {
            // Of those before it nothing is kept.
            course.settled = open.statements;
        }
        run.is_readonly |= open.is_read_only;
        let txn = open.age.txn;
        let has_locks = !locks.is_empty();
        course.statements += u32::from(has_locks);
        self.pending.wides.insert(txn, Box::new(Wide { hole, run, course }));
        if has_locks {
            self.ask_for_wide(txn, locks, Form::Lock { keys: Vec::new(), is_told: false }, false);
        } else {
            self.pending.wides_ready.push(txn);
        }
    }

    /// It is over, and its transaction goes on.
    pub(super) fn end_within(&mut self, wide: Box<Wide>, mut replies: Replies) {
        let Wide { hole, course, .. } = *wide;
        let (txn, first) = (course.age.txn, course.first.expect("it is a part of one"));
        let now_ns = self.now.mono_ns;
        let bytes_max = self.settings.client_query_buffer_limit.min(MULTI_BYTES_MAX);
        let Some(open) = self.open_of(txn) else { return };
        open.active_ns = now_ns;
        open.statements = course.statements.max(first);
        let weight = course.announced.iter().map(Announcement::weight).sum::<usize>();
        if weight > 0 && open.bytes + weight > bytes_max {
            replies = error_of(&too_much(open.statements_max(), bytes_max).line());
        }
        match error_line(&replies, 0) {
            Some(line) => {
                self.stats.on_error(code_of(&line));
                self.undo_within(txn, first);
            }
            None => {
                let number = open.statements;
                open.bytes += weight;
                open.published.extend(course.announced.into_iter().map(|announced| (number, announced)));
            }
        }
        let request = self.request(hole, 0);
        self.hold_foreign(
            self.identity.shard,
            course.observed,
            HeldReply::Ran { request, reply: replies, commands: 1 },
        );
    }

    /// What it has tried never was. Its locks stay.
    fn undo_within(&mut self, txn: TxnId, first: u32) {
        let parts = self.open_of(txn).map_or(Vec::new(), |open| open.parts.clone());
        for (shard, _) in parts {
            self.tell(shard, txn, ToParticipant::GoBack { statement: first });
        }
    }

    /// It begins again, behind what it was: the libraries of its functions have changed, or what it has seen is over.
    pub(super) fn restart_within(&mut self, txn: TxnId) {
        let Some(wide) = self.pending.wides.get_mut(&txn) else { return };
        let Some(first) = wide.course.first else { return };
        let next = Course::new(wide.course.age, wide.course.now, wide.course.seed);
        let Course { statements, used_ns, restarts, lates, observed, .. } = std::mem::replace(&mut wide.course, next);
        let course = &mut wide.course;
        (course.first, course.statements, course.observed) = (Some(first), statements, observed);
        (course.used_ns, course.restarts, course.lates) = (used_ns, restarts + 1, lates);
        if restarts >= SCRIPT_RESTARTS_MAX {
            let wide = self.pending.wides.remove(&txn).expect("it was just there");
            return self.fail_wide(wide, "TRYAGAIN the libraries of functions change all the time");
        }
        self.undo_within(txn, first);
        self.pending.wides_ready.push(txn);
    }
}
