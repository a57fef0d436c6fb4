//! What a group has been given: each entry once, in the order of ids; and what is pending, for whom, until it is acknowledged.

use super::entries::Entries;
use super::{Ack, Acked, Add, Entry, EntryId, Give, Group, StreamHistory, Want};
use crate::verify::anomaly::{Anomaly, Kind};
use crate::verify::span::{Outcome, Span};
use std::collections::BTreeMap;

/// All that is known of a group.
pub struct Course<'a> {
    group: Group,
    gives: Vec<&'a Give>,
    /// Of each entry: who was given it as new, who was given it at all, and who acknowledged it.
    of: BTreeMap<EntryId, Of<'a>>,
    /// What is pending in the end, and for whom, if that was seen.
    pending: Option<&'a BTreeMap<EntryId, u32>>,
    patience_ns: Option<u64>,
}

struct Of<'a> {
    add: &'a Add,
    taken: Vec<&'a Give>,
    owned: Vec<&'a Give>,
    acks: Vec<&'a Ack>,
}

impl Give {
    fn has(&self, id: EntryId) -> bool {
        self.given.iter().flatten().any(|entry| entry.id == id)
    }

    fn is_new(&self) -> bool {
        matches!(self.want, Want::New { .. })
    }

    /// Whether it makes its consumer the owner of what it is given.
    fn makes_owner(&self) -> bool {
        self.want != Want::Own
    }
}

impl<'a> Course<'a> {
    pub fn new(history: &'a StreamHistory, group: Group, entries: &Entries<'a>) -> Course<'a> {
        let gives: Vec<&Give> = history.gives.iter().filter(|give| give.group == group).collect();
        let acks: Vec<&Ack> = history.acks.iter().filter(|ack| ack.group == group).collect();
        let of = |(id, add)| {
            let owned: Vec<&Give> = gives.iter().copied().filter(|give| give.makes_owner() && give.has(id)).collect();
            let taken = owned.iter().copied().filter(|give| give.is_new()).collect();
            let acks = acks.iter().copied().filter(|ack| ack.id == id).collect();
            (id, Of { add, taken, owned, acks })
        };
        let of = entries.known().into_iter().map(of).collect();
        let pending = entries.last().map(|last| &last.pending[usize::from(group.number)]);
        Course { group, gives, of, pending, patience_ns: history.patience_ns }
    }

    pub fn check(&self) -> Vec<Anomaly> {
        let mut anomalies = self.taken_wrongly();
        for (id, of) in &self.of {
            anomalies.extend(self.acknowledged_wrongly(*id, of));
            anomalies.extend(self.ended_wrongly(*id, of));
        }
        for give in &self.gives {
            let Some(given) = &give.given else { continue };
            if let Some(pair) = given.windows(2).find(|pair| pair[0].id >= pair[1].id) {
                anomalies.push(self.find(
                    Kind::IncompatibleOrder,
                    pair[0].id,
                    "is given before an earlier one",
                    &[give.span],
                ));
            }
            anomalies.extend(match give.want {
                Want::New { is_patient } if given.is_empty() => self.unserved(give, is_patient),
                Want::New { .. } => None,
                Want::Own => self.review_wrong(give, given),
                Want::Claim { start, end } => self.claim_wrong(give, given, (start, end)),
            });
        }
        anomalies
    }

    fn find(&self, kind: Kind, id: EntryId, what: &str, spans: &[Span]) -> Anomaly {
        let mut witness: Vec<String> = spans.iter().map(Span::to_string).collect();
        if let Some(of) = self.of.get(&id) {
            witness.push(format!("added {}", of.add.span));
            witness.extend(of.owned.iter().map(|give| format!("given to {}", give.span)));
            witness.extend(of.acks.iter().map(|ack| format!("acknowledged ({:?}) by {}", ack.acked, ack.span)));
        }
        Anomaly { kind, what: format!("{}: {id} {what}", self.group), witness }
    }

    /// Those who were never answered, and wanted what is new.
    fn unseen(&self) -> impl Iterator<Item = &&'a Give> {
        self.gives.iter().filter(|give| give.given.is_none() && give.is_new())
    }

    /// What was given as new twice, or after what comes behind it, or never though what comes behind it was.
    fn taken_wrongly(&self) -> Vec<Anomaly> {
        let mut anomalies = Vec::new();
        let mut unseen = 0;
        let is_pending = |id: &EntryId| self.pending.is_some_and(|pending| pending.contains_key(id));
        let given_last =
            self.of.iter().filter(|(id, of)| !of.owned.is_empty() || is_pending(id)).map(|(id, _)| *id).max();
        let mut latest: Option<&Give> = None;
        // From the last one on: the one of the later entries that was given first.
        for (id, of) in self.of.iter().rev() {
            match &of.taken[..] {
                [] if Some(*id) <= given_last => unseen += 1,
                [] => {}
                [one] => {
                    if let Some(later) = latest.filter(|later| later.span.is_before(&one.span)) {
                        let spans = [later.span, one.span];
                        anomalies.push(self.find(Kind::Stale, *id, "was given after what stands behind it", &spans));
                    }
                    if latest.is_none_or(|known| one.span.completed < known.span.completed) {
                        latest = Some(one);
                    }
                }
                _ => anomalies.push(self.find(Kind::Duplicate, *id, "was given to two as new", &[])),
            }
        }
        let unseen_max: usize = self.unseen().map(|give| give.count_max).sum();
        if unseen > unseen_max {
            let missing = self.of.iter().find(|(_, of)| of.taken.is_empty()).map_or(EntryId::default(), |(id, _)| *id);
            let what = format!(
                "and others, {unseen} in all, were given to nobody, and {unseen_max} at most can have been given unseen"
            );
            anomalies.push(self.find(Kind::Lost, missing, &what, &[]));
        }
        anomalies
    }

    fn acknowledged_wrongly(&self, id: EntryId, of: &Of<'_>) -> Option<Anomaly> {
        if of.acks.iter().filter(|ack| ack.acked == Acked::Done).count() > 1 {
            return Some(self.find(Kind::Duplicate, id, "was acknowledged twice", &[]));
        }
        let is_wrong = |ack: &&&Ack| {
            ack.acked == Acked::NotPending
                && of.owned.iter().any(|give| give.span.is_before(&ack.span))
                && !may_be_acknowledged(of, &ack.span)
        };
        let wrong = of.acks.iter().find(is_wrong)?;
        Some(self.find(Kind::Lost, id, "was pending, and XACK has not found it", &[wrong.span]))
    }

    /// Whether it is pending in the end that should not be, or for somebody else, or is not pending that should be.
    fn ended_wrongly(&self, id: EntryId, of: &Of<'_>) -> Option<Anomaly> {
        let is_acknowledged = of.acks.iter().any(|ack| ack.acked == Acked::Done);
        match self.pending?.get(&id) {
            Some(_) if is_acknowledged => Some(self.find(Kind::Lost, id, "is pending, and was acknowledged", &[])),
            Some(owner)
                if !self.may_own(*owner, of, &Span { client: *owner, invoked: u64::MAX, completed: u64::MAX }) =>
            {
                Some(self.find(
                    Kind::Phantom,
                    id,
                    &format!("is pending for client {owner}, who has not been given it"),
                    &[],
                ))
            }
            None if !of.owned.is_empty() && of.acks.iter().all(|ack| ack.acked == Acked::NotPending) => {
                Some(self.find(Kind::Lost, id, "is not pending, and nobody has acknowledged it", &[]))
            }
            _ => None,
        }
    }

    /// Whether an entry can be a client's at some time in the span.
    fn may_own(&self, client: u32, of: &Of<'_>, span: &Span) -> bool {
        let is_his = |give: &&&Give| give.span.client == client && give.span.invoked < span.completed;
        let is_over = |give: &Give| {
            let mut others = of.owned.iter().filter(|other| other.span.client != client);
            others.any(|other| give.span.is_before(&other.span) && other.span.is_before(span))
        };
        of.owned.iter().filter(is_his).any(|give| !is_over(give))
            || self.gives.iter().filter(is_his).any(|give| give.given.is_none() && give.makes_owner())
    }

    fn is_acknowledged_before(&self, id: EntryId, span: &Span) -> bool {
        let Some(of) = self.of.get(&id) else { return false };
        of.acks.iter().any(|ack| ack.acked == Acked::Done && ack.span.is_before(span))
    }

    /// What a consumer was told that it has.
    fn review_wrong(&self, give: &Give, given: &[Entry]) -> Option<Anomaly> {
        let (client, span) = (give.span.client, give.span);
        for Entry { id, .. } in given {
            let Some(of) = self.of.get(id) else { continue };
            if self.is_acknowledged_before(*id, &span) {
                return Some(self.find(Kind::Duplicate, *id, "was given again after it was acknowledged", &[span]));
            }
            if !self.may_own(client, of, &span) {
                return Some(self.find(Kind::Phantom, *id, "was given again to one who does not have it", &[span]));
            }
        }
        let may_be_elsewhere = |of: &Of<'_>, mine: &Give| {
            let is_late = |other: &Give| {
                other.span.client != client && !other.span.is_before(&mine.span) && other.span.invoked < span.completed
            };
            let is_claim = |other: &Give| matches!(other.want, Want::Claim { .. });
            of.owned.iter().any(|other| is_late(other))
                || self.gives.iter().any(|other| other.given.is_none() && is_claim(other) && is_late(other))
        };
        let (id, _) = self.of.iter().find(|(id, of)| {
            let mine = of.owned.iter().filter(|mine| mine.span.client == client && mine.span.is_before(&span));
            let has = mine.max_by_key(|mine| mine.span.invoked).is_some_and(|mine| !may_be_elsewhere(of, mine));
            has && !may_be_acknowledged(of, &span) && !given.iter().any(|entry| entry.id == **id)
        })?;
        Some(self.find(Kind::Lost, *id, "was given to one who does not have it any more", &[span]))
    }

    fn claim_wrong(&self, give: &Give, given: &[Entry], (start, end): (EntryId, Option<EntryId>)) -> Option<Anomaly> {
        let span = give.span;
        for Entry { id, .. } in given {
            let Some(of) = self.of.get(id) else { continue };
            if self.is_acknowledged_before(*id, &span) {
                return Some(self.find(Kind::Duplicate, *id, "was claimed after it was acknowledged", &[span]));
            }
            let is_given = of.taken.iter().any(|taken| taken.span.invoked < span.completed)
                || self.unseen().any(|unseen| unseen.span.invoked < span.completed);
            if !is_given || *id < start {
                return Some(self.find(Kind::Phantom, *id, "was claimed, and is not what can be", &[span]));
            }
        }
        let (id, _) = self.of.iter().find(|(id, of)| {
            let is_asked = **id >= start && end.is_none_or(|end| **id < end);
            let is_pending = of.owned.iter().any(|give| give.span.is_before(&span)) && !may_be_acknowledged(of, &span);
            is_asked && is_pending && !given.iter().any(|entry| entry.id == **id)
        })?;
        Some(self.find(Kind::Lost, *id, "was pending, and a claim has passed it over", &[span]))
    }

    /// Who was told that there is nothing new though there was all the time.
    fn unserved(&self, give: &Give, is_patient: bool) -> Option<Anomaly> {
        let patience_ns = if is_patient { self.patience_ns? } else { 0 };
        let span = give.span;
        let is_held = |other: &&Give| {
            let until = other.span.completed.saturating_add(patience_ns);
            // Who is offered something takes it, at once or when it can.
            let waits = other.want == Want::New { is_patient: true }
                && other.given.as_ref().is_none_or(|given| !given.is_empty());
            waits && !std::ptr::eq(*other, give) && other.span.invoked < span.completed && until > span.completed
        };
        if is_patient && self.gives.iter().any(is_held) || self.unseen().next().is_some() {
            return None;
        }
        let (id, _) = self.of.iter().find(|(id, of)| {
            let add = of.add.span;
            let is_early = add.is_before(&span) || is_patient;
            let is_given_later = of.taken.iter().all(|taken| span.is_before(&taken.span));
            let is_left = !of.taken.is_empty() || self.pending.is_some_and(|pending| !pending.contains_key(id));
            of.add.outcome == Outcome::Committed
                && is_early
                && add.completed.saturating_add(patience_ns) <= span.completed
                && is_given_later
                && is_left
        })?;
        Some(self.find(Kind::Unserved, *id, "was there all the time, and nothing was answered", &[span]))
    }
}

/// Whether somebody can have acknowledged it before the end of the span.
fn may_be_acknowledged(of: &Of<'_>, span: &Span) -> bool {
    of.acks.iter().any(|ack| ack.acked != Acked::NotPending && ack.span.invoked < span.completed)
}
