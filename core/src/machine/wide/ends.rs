//! What scripts over several shards are told besides their commands' replies, and how they end without a commit: given way, timed out, refused.

use super::ground::error_of;
use super::{Answered, Course, Wide};
use crate::bug::Bug;
use crate::event::ConnId;
use crate::limits::{LATES_MAX, SCRIPT_RESTARTS_MAX};
use crate::machine::Machine;
use crate::machine::code::Code;
use crate::machine::form::Form;
use crate::machine::interact::Statement;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::tx::{Age, ToParticipant, Work};
use cairn_storage::units::TxnId;

impl Machine {
    /// The process has answered.
    pub(in crate::machine) fn on_wide_told(&mut self, txn: TxnId, told: Result<String, String>) {
        let Some(wide) = self.pending.wides.get_mut(&txn) else { return };
        let asked = wide.course.asked.take().expect("who is answered has asked");
        let reply = told.map(|text| {
            let mut replies = Replies::default();
            Reply::new(&mut replies, false).bulk(text.as_bytes());
            replies
        });
        wide.course.answers.push(Answered { asked, reply });
        // What it has done outside it does once.
        wide.course.lates = LATES_MAX;
        self.pending.wides_ready.push(txn);
    }

    /// It and others wait for each other: it gives way, and begins again.
    pub(in crate::machine) fn restart_wide(&mut self, txn: TxnId) {
        // A part of an open transaction has locks that are not its own to give.
        if self.pending.wides.get(&txn).is_none_or(|wide| wide.course.first.is_some()) {
            return;
        }
        let wide = self.pending.wides.remove(&txn).expect("it was just there");
        if wide.course.is_calm {
            self.restart_calmly(wide);
        } else if let Some(next) = self.begin_again(wide) {
            self.pending.wides_ready.push(next);
        }
    }

    /// Whether a row that it has seen alive is past its time, so that its end would be of another moment than what it was answered. What comes of
    /// it would be so behind what others have seen meanwhile: that the row is gone.
    pub(super) fn is_late(&self, course: &Course) -> bool {
        course.until_ms < self.now.unix_ms() && course.lates < LATES_MAX && self.planted != Some(Bug::StepTimes)
    }

    /// It begins again, and sees the row no more.
    pub(super) fn restart_late(&mut self, mut wide: Box<Wide>) {
        wide.course.lates += 1;
        let txn = wide.course.age.txn;
        if wide.course.first.is_some() {
            wide.course.now = self.now;
            self.pending.wides.insert(txn, wide);
            self.restart_within(txn);
        } else {
            self.pending.wides.insert(txn, wide);
            self.restart_wide(txn);
        }
    }

    /// Under another name, with nothing. `None`: it has done so too often, and is answered.
    fn begin_again(&mut self, mut wide: Box<Wide>) -> Option<TxnId> {
        self.leave_wide(&wide.course);
        wide.course.restarts += 1;
        let next = self.name_txn();
        let (Ok(next), true) = (next, wide.course.restarts <= SCRIPT_RESTARTS_MAX) else {
            self.unwatch_for(&wide.run.code);
            self.answer_wide(wide.hole, "TRYAGAIN the script and others have waited for each other's locks");
            return None;
        };
        let Course { age, used_ns, restarts, lates, .. } = wide.course;
        let seed = self.shard.random() & 0xffff_ffff_ffff;
        // It grows older than those that came later, so its turn comes.
        let mut course = Course::new(Age { txn: next, ..age }, self.now, seed);
        (course.used_ns, course.restarts, course.lates) = (used_ns, restarts, lates);
        wide.course = course;
        self.pending.wides.insert(next, wide);
        Some(next)
    }

    /// It changes whole databases: it gives all back, and begins again when no counter is split.
    pub(super) fn restart_calmly(&mut self, wide: Box<Wide>) {
        let Some(txn) = self.begin_again(wide) else { return };
        let course = &mut self.pending.wides.get_mut(&txn).expect("it was just put there").course;
        course.is_calm = true;
        course.statements += 1;
        let work = Work::of(course.age, course.statements);
        let works = self.works_of_calm(&work);
        self.ask_for_wide(txn, works, Form::Lock { keys: Vec::new(), is_told: false }, false);
    }

    /// What EXEC has selected stays so for its connection; what a script has does not.
    pub(super) fn select_for(&mut self, wide: &Wide, db: u8) {
        let (hole, conn) = (wide.hole, ConnId(wide.hole.conn));
        let is_exec = matches!(wide.run.code, Code::Exec(_));
        if let Some(session) = self.find_session(conn).filter(|session| is_exec && session.client.id == hole.client) {
            session.client.db = db;
        }
    }

    /// A tick: who has waited for too long?
    pub(in crate::machine) fn watch_wides(&mut self) {
        let ms = self.settings.txn_lock_timeout_ms;
        let max_ns = ms.saturating_mul(1_000_000);
        let own = self.pending.wides.iter().filter(|(_, wide)| wide.course.first.is_none());
        let txns: Vec<TxnId> = own.map(|(txn, _)| *txn).collect();
        for txn in txns.into_iter().filter(|_| ms > 0) {
            let since_ns = self.pending.statements.get(&txn).map(Statement::since_ns);
            if since_ns.is_some_and(|since_ns| self.now.mono_ns.saturating_sub(since_ns) >= max_ns)
                && let Some(wide) = self.pending.wides.remove(&txn)
            {
                let line = format!(
                    "LOCKTIMEOUT the script was undone: it has waited for a lock for {ms} ms (txn-lock-timeout)"
                );
                self.fail_wide(wide, &line);
            }
        }
    }

    pub(super) fn leave_wide(&mut self, course: &Course) {
        let txn = course.age.txn;
        self.pending.statements.remove(&txn);
        self.pending.works.retain(|(of, _)| *of != txn);
        for &(shard, _) in &course.parts {
            // This shard's work may not have begun.
            if shard != self.identity.shard || self.parts.part(txn).is_some() {
                self.tell(shard, txn, ToParticipant::Finish { is_committed: false });
            }
        }
    }

    /// Nothing comes of it.
    pub(super) fn fail_wide(&mut self, wide: Box<Wide>, line: &str) {
        if wide.course.first.is_some() {
            return self.end_within(wide, error_of(line));
        }
        self.unwatch_for(&wide.run.code);
        self.leave_wide(&wide.course);
        self.answer_wide(wide.hole, line);
    }
}
