//! Snapshots of all shards for transactions that only read: when a cut is drawn at each shard, and what is held back until all
//! have drawn it. What is kept for those who read it: `crate::versions`. The messages: `crate::tx::cut`.
//!
//! - **C1** Cuts are drawn one after the other, in the same order everywhere.
//! - **C2** A shard tells all others that it has drawn a cut before it tells them anything that has come of what was done behind it; and it
//!   draws a cut as soon as it is told of it. So whatever is done at a shard because of something behind the cut is behind the cut there too.
//! - **C3** As long as not all shards are known to have drawn it, no client hears of anything that is behind it (`Shard::set_fence`), and
//!   nothing is decided here. So what a client does because of that is behind the cut everywhere.
//! - **C4** A transaction over several shards is in the cut if it was decided before the cut was drawn at its coordinator. A shard that has
//!   done its part of one that is not keeps what the rows were before.

use super::Machine;
use super::ask::HoleId;
use super::part::Stage;
use super::release::HeldReply;
use super::survey::Survey;
use crate::bug::Bug;
use crate::hot::split::Phase;
use crate::limits::VERSIONS_FREED_PER_TURN;
use crate::parcel::Message;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::stats::Ended;
use crate::tx::{CutId, CutMessage, Open, Work};
use cairn_storage::units::{ShardId, TxnId};
use std::collections::BTreeMap;

/// The shard that says when a cut is drawn. Keeps C1.
const MAKER: ShardId = ShardId(0);

/// What clients are told whose snapshot is gone.
pub(super) const TOO_OLD: &str = "SNAPSHOTTOOOLD";

/// All that a shard knows of cuts.
#[derive(Default)]
pub(super) struct Cuts {
    /// Transactions of this core that begin: those for which a cut is still to be asked for, and those for which one was.
    wanting: Vec<(TxnId, HoleId)>,
    asked: Vec<(TxnId, HoleId)>,
    /// How many transactions of this core read each cut.
    readers: BTreeMap<CutId, usize>,
    drawing: Option<Drawing>,
    last: CutId,
    /// Transactions of this core that are to be decided when the cut is drawn everywhere.
    decides: Vec<TxnId>,
    /// Reads that wait for what is not in memory, and for whom they are.
    pub reading: Vec<(ShardId, Box<Work>)>,
    /// Looks at whole databases that take several turns.
    pub surveys: BTreeMap<TxnId, Survey>,
    /// Of the maker: who wants a cut, and the cuts.
    wanters: Vec<ShardId>,
    made: BTreeMap<CutId, Made>,
}

/// A cut that is drawn here, and may not be elsewhere.
struct Drawing {
    cut: CutId,
    /// Other shards that have drawn it.
    heard: Vec<ShardId>,
    /// Transactions that have done their part here, of which it is not known whether they were decided before.
    unresolved: Vec<TxnId>,
}

/// A cut, as its maker sees it.
struct Made {
    /// Whose transactions read it, or will.
    holders: Vec<ShardId>,
    /// Shards that have not heard of it from all others.
    unheard: u16,
    /// Shards where not all that is before it is stable.
    unstable: u16,
    /// It cannot be read, for this reason.
    refused: Option<String>,
    is_ready: bool,
}

impl Machine {
    /// A transaction begins that only reads: the hole waits for its cut.
    pub(super) fn want_cut(&mut self, txn: TxnId, hole: HoleId) {
        self.cuts.wanting.push((txn, hole));
    }

    /// The end of a turn: cuts are asked for, made, drawn; reads go on.
    pub(super) fn work_cuts(&mut self) {
        self.tell_lost();
        self.end_drawing();
        if !self.cuts.wanting.is_empty() && self.cuts.asked.is_empty() {
            self.cuts.asked = std::mem::take(&mut self.cuts.wanting);
            self.tell_cut(MAKER, CutMessage::Want);
        }
        self.make_cut();
        for (from, work) in std::mem::take(&mut self.cuts.reading) {
            self.work_for(from, work);
        }
        self.shard.versions_mut().free_some(VERSIONS_FREED_PER_TURN);
    }

    /// Whether there is something to do though nothing has happened.
    pub(super) fn cuts_want_turn(&self) -> bool {
        let asks = !self.cuts.wanting.is_empty() && self.cuts.asked.is_empty();
        let goes_on = self.cuts.surveys.values().any(|survey| survey.progress.goes_on);
        asks || goes_on || self.may_make() || self.shard.versions().has_loose()
    }

    fn tell_cut(&mut self, shard: ShardId, message: CutMessage) {
        if shard == self.identity.shard {
            self.on_cut(shard, message);
        } else {
            self.outbox[usize::from(shard.0)].messages.push(Message::Cut(message));
        }
    }

    /// What another shard, or this one, says of cuts.
    pub(super) fn on_cut(&mut self, from: ShardId, message: CutMessage) {
        match message {
            CutMessage::Want => self.cuts.wanters.push(from),
            CutMessage::Drawn(cut) => self.on_drawn(from, cut),
            CutMessage::Ready(cut, Ok(())) => self.begin_reading(cut),
            CutMessage::Ready(_, Err(line)) => self.refuse_reading(&line),
            CutMessage::Ended(cut, why) => self.end_reading(cut, why),
            CutMessage::Over(cut) => {
                self.shard.versions_mut().close(cut);
                self.cuts.surveys.retain(|_, survey| survey.cut != cut);
            }
            CutMessage::Heard(cut) => {
                self.made(cut).unheard -= 1;
                self.settle_made(cut);
            }
            CutMessage::Stable(cut, result) => {
                let made = self.made(cut);
                made.unstable -= 1;
                if let Err(line) = result {
                    made.refused = Some(line);
                }
                self.settle_made(cut);
            }
            CutMessage::Leave(cut) => {
                if let Some(made) = self.cuts.made.get_mut(&cut) {
                    made.holders.retain(|holder| *holder != from);
                    self.settle_made(cut);
                }
            }
            CutMessage::Lost(cut, why) => self.on_lost_cut(cut, why),
        }
    }

    fn made(&mut self, cut: CutId) -> &mut Made {
        self.cuts.made.get_mut(&cut).expect("a cut is there until all have answered")
    }

    /// Whether the next cut may be made. Keeps C1.
    fn may_make(&self) -> bool {
        !self.cuts.wanters.is_empty() && self.cuts.made.values().all(|made| made.unheard == 0)
    }

    fn make_cut(&mut self) {
        if !self.may_make() {
            return;
        }
        let cut = CutId(self.cuts.last.0 + 1);
        let (holders, shards) = (std::mem::take(&mut self.cuts.wanters), self.identity.shards);
        let made = Made { holders, unheard: shards, unstable: shards, refused: None, is_ready: false };
        self.cuts.made.insert(cut, made);
        self.draw(cut);
        // Where there are no others it is drawn everywhere.
        self.end_drawing();
    }

    /// Those who want a cut are told when it can be read; all are when nobody reads it any more.
    fn settle_made(&mut self, cut: CutId) {
        let made = self.made(cut);
        if made.unheard > 0 || made.unstable > 0 {
            return;
        }
        if !std::mem::replace(&mut made.is_ready, true) {
            let result = made.refused.take().map_or(Ok(()), Err);
            let holders = made.holders.clone();
            if result.is_err() {
                made.holders.clear();
            }
            for holder in holders {
                self.tell_cut(holder, CutMessage::Ready(cut, result.clone()));
            }
        }
        if self.cuts.made.get(&cut).is_some_and(|made| made.holders.is_empty()) {
            self.cuts.made.remove(&cut);
            (0..self.identity.shards).for_each(|shard| self.tell_cut(ShardId(shard), CutMessage::Over(cut)));
        }
    }

    /// A shard does not know any more what rows were.
    fn on_lost_cut(&mut self, cut: CutId, why: &'static str) {
        let Some(made) = self.cuts.made.get_mut(&cut) else { return };
        if !made.is_ready {
            made.refused = Some(too_old(why));
            return self.settle_made(cut);
        }
        for holder in std::mem::take(&mut made.holders) {
            self.tell_cut(holder, CutMessage::Ended(cut, why));
        }
        self.settle_made(cut);
    }

    /// From here on what is done is behind the cut.
    fn draw(&mut self, cut: CutId) {
        assert!(self.cuts.drawing.is_none() && cut > self.cuts.last, "cuts are drawn one after the other");
        let own = self.identity.shard;
        let unresolved = self.open_cut(cut);
        if self.identity.shards > 1 {
            self.shard.set_fence();
        }
        self.cuts.drawing = Some(Drawing { cut, heard: Vec::new(), unresolved });
        for other in (0..self.identity.shards).map(ShardId).filter(|shard| *shard != own) {
            self.tell_cut(other, CutMessage::Drawn(cut));
        }
        let before = self.shard.engine().log().awaited();
        self.hold_foreign(MAKER, before, HeldReply::Cut(cut));
    }

    /// The same of the only shard, for a command of its own. It closes it.
    pub(super) fn draw_own(&mut self) -> CutId {
        assert!(self.identity.shards == 1 && self.cuts.drawing.is_none(), "a cut is drawn by all shards");
        let cut = CutId(self.cuts.last.0 + 1);
        let unresolved = self.open_cut(cut);
        assert!(unresolved.is_empty(), "the only shard knows what it has decided");
        cut
    }

    /// The last one that was drawn here.
    pub(super) fn last_cut(&self) -> CutId {
        self.cuts.last
    }

    /// Changes are behind the cut from here on. Answers who has done its part and may have been decided elsewhere before.
    fn open_cut(&mut self, cut: CutId) -> Vec<TxnId> {
        let own = self.identity.shard;
        let is_apart = |phase: &Phase| !matches!(phase, Phase::Noting(_) | Phase::Resting);
        let apart = self.splits.own.iter().filter(|split| is_apart(&split.phase));
        let splits = apart.map(|split| (split.db, split.key.clone())).collect();
        self.cuts.last = cut;
        let rows = self.shard.rows_but_late();
        self.shard.versions_mut().open(cut, self.now, rows, splits);
        let mut unresolved = Vec::new();
        let is_torn = self.planted == Some(Bug::CutTorn);
        for (txn, part) in &self.parts.parts {
            match &part.stage {
                Stage::Ran { undo: Some(_), .. } if is_torn => {}
                Stage::Ran { undo: Some(undo), .. } if part.from == own => self.shard.versions_mut().exclude(cut, undo),
                Stage::Ran { undo: Some(_), .. } => unresolved.push(*txn),
                Stage::Undoing(undo) => self.shard.versions_mut().exclude(cut, undo),
                _ => {}
            }
        }
        for (undo, ..) in &self.parts.undoing {
            self.shard.versions_mut().exclude(cut, undo);
        }
        unresolved
    }

    /// What is in this shard's part of the cut is stable, or never will be.
    pub(super) fn tell_stable(&mut self, to: ShardId, cut: CutId, result: Result<(), String>) {
        self.tell_cut(to, CutMessage::Stable(cut, result));
    }

    /// Another shard has drawn a cut.
    fn on_drawn(&mut self, from: ShardId, cut: CutId) {
        if cut > self.cuts.last {
            self.draw(cut);
        }
        let drawing = self.cuts.drawing.as_mut().expect("it is drawn until all others are heard");
        assert_eq!(drawing.cut, cut, "cuts are drawn one after the other");
        drawing.heard.push(from);
        // What it has not told before was decided after. Keeps C4.
        for txn in std::mem::take(&mut drawing.unresolved) {
            match self.parts.part(txn) {
                Some(part) if part.from != from => drawing.unresolved.push(txn),
                Some(part) => {
                    if let Stage::Ran { undo: Some(undo), .. } = &part.stage {
                        self.shard.versions_mut().exclude(cut, undo);
                    }
                }
                None => {}
            }
        }
    }

    /// All others have drawn it: what was held back goes on.
    fn end_drawing(&mut self) {
        let others = usize::from(self.identity.shards) - 1;
        let Some(Drawing { cut, unresolved, .. }) = self.cuts.drawing.take_if(|it| it.heard.len() == others) else {
            return;
        };
        assert!(unresolved.is_empty(), "each coordinator has told what it had decided");
        self.shard.lift_fence();
        if others > 0 {
            self.shard.advance();
            self.release();
        }
        for txn in std::mem::take(&mut self.cuts.decides) {
            self.decide(txn);
        }
        self.tell_cut(MAKER, CutMessage::Heard(cut));
    }

    /// All parts of a transaction have answered. Keeps C3: it is decided when the cut is drawn everywhere.
    pub(super) fn decide_soon(&mut self, txn: TxnId) {
        match self.cuts.drawing {
            Some(_) => self.cuts.decides.push(txn),
            None => self.decide(txn),
        }
    }

    /// A transaction that has a part here is decided.
    pub(super) fn settle_part(&mut self, txn: TxnId, is_committed: bool) {
        let mut unresolved_at = None;
        if let Some(Drawing { cut, unresolved, .. }) = &mut self.cuts.drawing {
            unresolved_at = unresolved.extract_if(.., |unresolved| *unresolved == txn).next().map(|_| *cut);
        }
        if !is_committed && let Some(Stage::Ran { undo: Some(undo), .. }) = self.parts.part(txn).map(|part| &part.stage)
        {
            // It may be undone little by little.
            match unresolved_at {
                Some(cut) => self.shard.versions_mut().exclude(cut, undo),
                None => self.shard.versions_mut().keep_undo(undo),
            }
        }
        self.finish_part(txn, is_committed);
    }

    /// The cut that was asked for can be read.
    fn begin_reading(&mut self, cut: CutId) {
        let asked = std::mem::take(&mut self.cuts.asked);
        let now_ns = self.now.mono_ns;
        let mut begun = Vec::new();
        for (txn, hole) in asked {
            let mut replies = Replies::default();
            let mut reply = Reply::new(&mut replies, false);
            match self.open_of(txn) {
                Some(open) => {
                    (open.cut, open.active_ns) = (Some(cut), now_ns);
                    *self.cuts.readers.entry(cut).or_default() += 1;
                    reply.ok();
                }
                None => reply.error("TXNTIMEOUT the transaction was rolled back before it had a snapshot"),
            }
            begun.push((hole, replies));
        }
        if !self.cuts.readers.contains_key(&cut) {
            self.tell_cut(MAKER, CutMessage::Leave(cut));
        }
        begun.into_iter().for_each(|(hole, replies)| self.fill_hole(hole, replies));
    }

    /// It cannot be.
    fn refuse_reading(&mut self, line: &str) {
        for (txn, hole) in std::mem::take(&mut self.cuts.asked) {
            if let Some(conn) = self.pending.opens.remove(&txn) {
                self.client_mut(conn).open = None;
                self.stats.on_ended(Ended::RolledBack);
            }
            let mut replies = Replies::default();
            Reply::new(&mut replies, false).error(line);
            self.stats.on_error(line.split(' ').next().unwrap_or_default());
            self.fill_hole(hole, replies);
        }
    }

    /// Those who read a cut cannot go on.
    fn end_reading(&mut self, cut: CutId, why: &'static str) {
        self.cuts.readers.remove(&cut);
        let opens: Vec<TxnId> = self.pending.opens.keys().copied().collect();
        for txn in opens {
            let of_cut = self.open_of(txn).is_some_and(|open| open.cut.take_if(|read| *read == cut).is_some());
            if of_cut {
                self.stats.counters.txn_snapshots_too_old += 1;
                self.end_open(txn, TOO_OLD, why);
            }
        }
    }

    /// A transaction reads its cut no longer.
    pub(super) fn leave_cut(&mut self, open: &mut Open) {
        let Some(cut) = open.cut.take() else { return };
        self.cuts.surveys.remove(&open.age.txn);
        let Some(readers) = self.cuts.readers.get_mut(&cut) else { return };
        *readers -= 1;
        if *readers == 0 {
            self.cuts.readers.remove(&cut);
            self.tell_cut(MAKER, CutMessage::Leave(cut));
        }
    }

    /// The maker is told what is not known here any more.
    fn tell_lost(&mut self) {
        for (cut, why) in self.shard.versions_mut().take_lost() {
            self.tell_cut(MAKER, CutMessage::Lost(cut, why));
        }
    }

    /// Transactions of this core that read a cut.
    pub(crate) fn cut_readers(&self) -> u64 {
        self.cuts.readers.values().sum::<usize>() as u64
    }
}

/// What one is told whose snapshot is gone.
pub(super) fn too_old(why: &str) -> String {
    format!("{TOO_OLD} the transaction was rolled back: {why}")
}
