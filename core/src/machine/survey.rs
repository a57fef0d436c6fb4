//! What transactions ask about whole databases: DBSIZE, KEYS, SCAN and RANDOMKEY between BEGIN and COMMIT, and over several shards within MULTI and
//! scripts.
//!
//! The answer is one of the transaction's moment: each shard that is asked locks the database as a whole, as one who looks at it. Until the
//! transaction ends no key of it comes, goes or changes there by others, and what the transaction has done itself is tried before the look. A look at
//! many rows takes several turns. A counter that is split has rows at all shards, which its merge locks: so it is made whole before, as for changes of whole databases
//! (`databases`).
//!
//! In a transaction that only reads it is one of its cut: nothing is locked, and what rows were is found among the versions (`crate::versions`).

use super::Machine;
use super::ask::Deferred;
use super::cuts::too_old;
use super::form::Form;
use super::interact::Works;
use super::trial::{OpenPart, Tried};
use super::views::GONE;
use crate::answer::Progress;
use crate::bug::Bug;
use crate::command::{Call, Flow, Run, keyspace};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, Now};
use crate::parcel::{Answer, Ask};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::tx::{CutId, Databases, Kept, NotDone, View, Work, Worked};
use cairn_storage::units::ShardId;

impl Machine {
    /// The shards that such a command asks, each with work like this, when no counter is split; `None`: it has answered without them.
    pub(super) fn survey_of(
        &mut self,
        call: &Call<'_>,
        work: &Work,
        out: &mut Replies,
    ) -> Result<Option<(Works, Form)>, Refusal> {
        let Run::Server(run) = call.spec.run else { unreachable!("a look is about no rows of its own") };
        let flow = run(self, ConnId(u32::MAX), call, &mut Reply::new(out, call.is_resp3));
        match flow.map_err(Stop::into_refusal)? {
            Flow::Later => {}
            Flow::Done | Flow::Close => return Ok(None),
        }
        let Some(Deferred::Shards { shards, ask, merge }) = self.pending.deferred.take() else {
            unreachable!("a look asks shards")
        };
        let mut works = self.works_before(work);
        let work = |shard| (shard, Box::new(Work { ask: Some(Box::new(ask.clone())), ..work.clone() }));
        works.extend(shards.into_iter().map(work));
        Ok(Some((works, Form::Answers { merge, is_resp3: call.is_resp3 })))
    }

    /// Locks the database that a transaction asks about. Whether it has.
    pub(super) fn lock_for_survey(&mut self, from: ShardId, work: &Work, ask: &Ask) -> bool {
        if self.planted == Some(Bug::LooksUnlocked) {
            self.parts.open_part(from, work.age);
            return true;
        }
        self.hold_databases(from, work, databases_of(ask), true)
    }

    /// Looks at the rows as they are behind what the transaction has done. What stops it may have looked at some: it goes on from there.
    pub(super) fn survey(&mut self, work: &Work, ask: &Ask, open: &mut OpenPart) -> Result<Answer, Stop> {
        let (statement, now) = (work.statement, self.time_of(work));
        let known = open.survey.take().filter(|(of, _)| *of == statement);
        let mut progress = known.map_or_else(Progress::default, |(_, progress)| progress);
        progress.rows_max = Some(self.settings.slice_items);
        let surveyed = self.survey_behind(&open.kept, now, ask, &mut progress);
        if surveyed.is_err() {
            if progress.goes_on {
                self.parts.wants_turn = true;
            }
            open.survey = Some((statement, progress));
        }
        surveyed
    }

    fn survey_behind(&mut self, kept: &Kept, now: Now, ask: &Ask, progress: &mut Progress) -> Result<Answer, Stop> {
        // A trial may not be taken back yet; counters that were split before the start are not counted otherwise.
        if self.parts.is_undoing() || self.awaits_settling() {
            return Err(Stop::Crowded);
        }
        self.shard.begin();
        if kept.commands.is_empty() {
            return self.survey_rows(now, ask, progress);
        }
        let counts = self.shard.read_counts();
        self.shard.open_trial(kept.commands.bytes(), kept.commands.row_writes())?;
        let numbers: Vec<usize> = (0..kept.commands.len()).collect();
        let surveyed = self.try_again(kept, &numbers).and_then(|()| self.survey_rows(now, ask, progress));
        self.roll_back();
        self.shard.restore_counts(counts);
        surveyed
    }

    fn survey_rows(&mut self, now: Now, ask: &Ask, progress: &mut Progress) -> Result<Answer, Stop> {
        progress.goes_on = false;
        loop {
            let answered = match ask {
                Ask::RowCount { db } if self.shard.looked_at().is_none() => self.row_count(*db),
                Ask::RowCount { db } => self.shard.row_count(*db).map(|rows| Answer::Count(rows as i64)),
                _ => keyspace::answer(&mut self.shard, now, ask, progress).expect("it is about rows"),
            };
            match answered {
                Err(Stop::Missing(missing)) => self.fetch_or_stop(missing)?,
                answered => return answered,
            }
        }
    }

    /// Looks at the rows as they were at a cut. What stops it may have looked at some: it goes on from there.
    pub(super) fn survey_at_cut(&mut self, work: &Work, view: &View, ask: &Ask) -> Tried {
        let (txn, statement) = (work.age.txn, work.statement);
        let known = self.cuts.surveys.remove(&txn).filter(|survey| survey.statement == statement);
        let Some(now) = self.shard.begin_look(view) else {
            return Tried::Done(Err(NotDone::of_commands(&Refusal::text(too_old(GONE)))));
        };
        let mut progress = known.map_or_else(Progress::default, |survey| survey.progress);
        progress.rows_max = Some(self.settings.slice_items);
        self.shard.begin();
        if self.planted == Some(Bug::SurveyNow) {
            self.shard.end_look();
        }
        let surveyed = self.survey_rows(now, ask, &mut progress);
        self.shard.end_look();
        match surveyed {
            Ok(answer) => Tried::Done(Ok(Worked::Answer(answer))),
            Err(Stop::Refuse(refusal)) => Tried::Done(Err(NotDone::of_commands(&refusal))),
            Err(stop) => {
                self.cuts.surveys.insert(txn, Survey { cut: view.cut, statement, progress });
                Tried::Later(stop)
            }
        }
    }
}

/// How far a look at a cut has come.
pub(super) struct Survey {
    pub cut: CutId,
    statement: u32,
    pub progress: Progress,
}

fn databases_of(ask: &Ask) -> Databases {
    match ask {
        Ask::RowCount { db } | Ask::Keys { db, .. } | Ask::Scan { db, .. } | Ask::RandomKey { db } => {
            Databases::of(*db)
        }
        other => unreachable!("a transaction does not ask {other:?}"),
    }
}
