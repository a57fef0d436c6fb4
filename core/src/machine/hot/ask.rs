//! When counters are split, and until when: by themselves, by HOT; and who waits until they are whole.

use super::{RETRY_NS, SECOND_NS};
use crate::command::args::Args;
use crate::command::{Call, table};
use crate::error::{Refusal, Stop};
use crate::hot::split::{Load, Phase, SUM_MAX, Split};
use crate::limits::{HOT_KEY_BYTES_MAX, SPLITS_MAX};
use crate::machine::Machine;
use crate::parcel::{Answer, HotDo, HotMessage, HotState, Message};
use crate::route;

impl Machine {
    /// A tick: what rests is split again, and once a second it is seen whether that is worth it, and what else would be.
    pub(in crate::machine) fn tick_splits(&mut self) {
        if self.identity.shards == 1 || self.splits.load != Load::Done || self.is_draining() {
            return;
        }
        for at in 0..self.splits.own.len() {
            let split = &self.splits.own[at];
            if split.phase == Phase::Resting && !split.is_ending {
                let (db, key) = (split.db, split.key.clone());
                let (parts, min, is_manual) = (split.parts, split.min, split.is_manual);
                match self.promote(db, &key, parts, min, is_manual) {
                    Err(Stop::Refuse(refusal)) if !refusal.line().starts_with("TRYAGAIN") => {
                        self.splits.own[at].is_ending = true;
                    }
                    Err(Stop::Missing(missing)) => drop(self.fetch(missing)),
                    _ => {}
                }
            }
        }
        if self.now.mono_ns.saturating_sub(self.splits.second_ns) >= SECOND_NS {
            self.splits.second_ns = self.now.mono_ns;
            self.count_second();
        }
    }

    fn count_second(&mut self) {
        let (rate_min, seconds) = (self.settings.hot_promote_rate, self.settings.hot_promote_seconds);
        for split in &mut self.splits.own {
            if !split.on_second(rate_min / 2, seconds) {
                (split.is_wanted, split.is_ending) = (true, true);
                self.hot.begin_again(split.place());
            }
        }
        for row in self.splits.sub_rows.values_mut().filter(|row| row.additions > 0) {
            let (db, key, count) = (row.db, row.key.clone(), std::mem::take(&mut row.additions));
            let message = Message::Hot(HotMessage::Additions { db, key, count });
            self.outbox[usize::from(row.owner)].messages.push(message);
        }
        let (own, shards) = (self.identity.shard, self.identity.shards);
        let candidates: Vec<_> = self.hot.candidates(seconds).collect();
        for candidate in candidates {
            if self.owner(route::slot(&candidate.key)) == own {
                // What cannot be split now may be later.
                let promoted = self.promote(candidate.db, &candidate.key, shards, candidate.min, false);
                if let Err(Stop::Missing(missing)) = promoted {
                    drop(self.fetch(missing));
                }
            }
        }
    }

    /// Splits a counter, or says why not.
    fn promote(&mut self, db: u8, key: &[u8], parts: u16, min: Option<i64>, is_manual: bool) -> Result<(), Stop> {
        let head = self.shard.head(key);
        let is_known = self.splits.find(db, head, key).is_some();
        let refuse = |text: &str| Err(Refusal::text(text.to_owned()).into());
        if let Some(split) = self.splits.find(db, head, key)
            && split.phase != Phase::Resting
        {
            split.is_manual |= is_manual;
            return Ok(());
        }
        if self.splits.own.len() >= SPLITS_MAX && !is_known || key.len() >= HOT_KEY_BYTES_MAX {
            return refuse("ERR too many counters are split, or the key is too long");
        }
        let is_wanted = self.shard.watches.is_watched(db, head) || self.shard.tracked.has(key);
        if self.splits.holds > 0 || self.parts.locks().is_held(db, head) || is_wanted {
            return refuse("TRYAGAIN a transaction has the key, or somebody watches or caches it");
        }
        let name = Args::new(b"hot", &[(0, 3)]);
        let spec = table::find(b"hot").expect("it is in the table");
        let call = Call { spec, args: &name, db, is_resp3: false, now: self.now, head: 0 };
        let Some(row) = self.shard.peek(&call, key)? else { return Err(Refusal::NoSuchKey.into()) };
        if row.expire_ms.is_some() {
            return refuse("ERR a key with a time to live is not split");
        }
        let value = crate::command::args::parse_integer(row.value).ok_or(Refusal::NotInteger)?;
        if !(-SUM_MAX..=SUM_MAX).contains(&value) {
            return Err(Refusal::Overflow.into());
        }
        let floor = min.filter(|min| (-SUM_MAX..=value).contains(min));
        let before = self.splits.own.iter().position(|split| (split.db, &split.key[..]) == (db, key));
        let before = before.map(|at| self.splits.own.swap_remove(at));
        self.add_split(db, head, key.to_vec(), parts, Phase::Noting(None));
        let split = self.splits.own.last_mut().expect("it was added");
        (split.min, split.floor, split.value, split.is_manual) = (min, floor, value, is_manual);
        if let Some(before) = before {
            (split.merges, split.cool_seconds, split.additions) =
                (before.merges, before.cool_seconds, before.additions);
            split.is_manual |= before.is_manual;
        }
        self.splits.is_list_old = true;
        Ok(())
    }

    /// HOT.
    pub(crate) fn do_hot(&mut self, db: u8, key: &[u8], what: HotDo) -> Result<Answer, Stop> {
        let head = self.shard.head(key);
        match what {
            HotDo::Tell => return Ok(Answer::HotState(self.hot_state(db, head, key))),
            HotDo::Promote { parts, min } => self.promote(db, key, parts, min, true)?,
            HotDo::Demote => {
                if let Some(split) = self.splits.find(db, head, key) {
                    (split.is_wanted, split.is_ending) = (true, true);
                }
            }
        }
        Ok(Answer::Done)
    }

    fn hot_state(&mut self, db: u8, head: u64, key: &[u8]) -> HotState {
        let shard = self.identity.shard.0;
        let Some(split) = self.splits.find(db, head, key) else {
            return HotState { shard, state: "whole", parts: 1, min: None, is_manual: false };
        };
        let state = match split.phase {
            Phase::Noting(_) | Phase::Sharing => "splitting",
            Phase::Open | Phase::Looking => "split",
            Phase::Merging | Phase::Apart { .. } => "merging",
            Phase::Resting => "resting",
        };
        HotState { shard, state, parts: split.parts, min: split.floor, is_manual: split.is_manual }
    }

    /// Whether counters that a start has found split, here or elsewhere, may not be whole.
    pub(crate) fn awaits_settling(&self) -> bool {
        self.splits.unsettled > 0
    }

    /// From now on, until [`Machine::let_split`], counters of this shard become whole and stay so: somebody is to change whole
    /// databases.
    pub(in crate::machine) fn hold_splits(&mut self) {
        self.splits.holds += 1;
    }

    pub(in crate::machine) fn let_split(&mut self) {
        self.splits.holds -= 1;
    }

    /// Whether one who is to change whole databases has to wait until counters are whole, here and elsewhere. If so, that comes.
    pub(in crate::machine) fn awaits_merges(&mut self) -> bool {
        let own = self.splits.own.iter_mut().filter(|split| split.phase != Phase::Resting);
        let count = own.map(|split| split.is_wanted = true).count();
        if !self.splits.sub_rows.is_empty() {
            self.ask_for_merges();
        }
        if count > 0 {
            self.parts.note_freed();
        }
        count > 0 || !self.splits.sub_rows.is_empty() || self.splits.unsettled > 0 || self.splits.is_list_old
    }

    fn ask_for_merges(&mut self) {
        let now_ns = self.now.mono_ns;
        if self.splits.recalled_ns == 0 || now_ns.saturating_sub(self.splits.recalled_ns) >= RETRY_NS {
            self.splits.recalled_ns = now_ns;
            self.tell_others(|| HotMessage::MergeAll);
        }
    }

    /// Rows of a database without those that no client sees.
    pub(crate) fn row_count(&mut self, db: u8) -> Result<Answer, Stop> {
        let rows = self.shard.row_count(db)?;
        Ok(Answer::Count(rows.saturating_sub(self.hidden_rows(db)) as i64))
    }

    pub(crate) fn hidden_rows(&self, db: u8) -> u64 {
        self.splits.hidden(db)
    }

    /// Whether something is to be done though nothing happens.
    pub(in crate::machine) fn splits_want_turn(&self) -> bool {
        let is_wanted = |split: &Split| match split.phase {
            Phase::Open => split.is_wanted || split.is_asked,
            Phase::Noting(_) => split.is_wanted,
            _ => false,
        };
        !self.splits.own.is_empty() && (self.parts.locks().has_missed() || self.splits.own.iter().any(is_wanted))
    }

    /// Counters of this shard that are split now.
    pub(crate) fn split_counters(&self) -> u64 {
        self.splits.own.iter().filter(|split| matches!(split.phase, Phase::Open | Phase::Looking)).count() as u64
    }
}
