//! What other shards want, and parts of commands of this one's connections, that could not be done when they came. Each
//! client's are done in order, the first of them when what it has missed is here.

use super::counts::ParkedCounts;
use super::deeds::Deed;
use super::place::Place;
use super::slices::Sliced;
use super::{Machine, ScriptRun, Transaction};
use crate::answer::Progress;
use crate::command::args::Args;
use crate::event::ConnId;
use crate::parcel::{Ask, RequestId};
use cairn_storage::blob::Blob;
use cairn_storage::error::Missing;
use cairn_storage::units::ShardId;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

struct Parked {
    request: RequestId,
    work: Work,
}

pub(super) enum Work {
    Run {
        db: u8,
        is_resp3: bool,
        input: Arc<Vec<u8>>,
        ranges: Vec<(u32, u32)>,
        /// Long values that it needs, until it has run.
        held: Vec<Blob>,
    },
    Count(Box<ParkedCounts>),
    Ask(Box<Ask>, Progress),
    Transaction(Transaction),
    Script(Box<ScriptRun>),
    /// A long reply.
    Sliced(Box<Sliced>),
}

/// A client: whose shard, which connection, and its number.
type Of = (ShardId, u32, u64);

/// Everything that is parked.
#[derive(Default)]
pub(super) struct Parking {
    queues: HashMap<Of, VecDeque<Parked>>,
    /// Whose first work waits for what.
    waiting: HashMap<Missing, Vec<Of>>,
    /// Whose first work may run.
    ready: Vec<Of>,
    /// Whose first work waits for something that nothing tells: it is tried at the end of each turn.
    crowded: Vec<Of>,
    /// Long replies that are shown in slices.
    pub(super) sliced: usize,
    /// One of them stores what it has come to by rows that it does not hold.
    pub(super) stores_looked: bool,
    /// Some of those that are tried at the end of each turn go on then.
    goes_on: bool,
}

impl Machine {
    /// Keeps work until it can be done. `missing` is what it waits for; `None` if nothing tells when it may run, or if it has
    /// to wait its turn.
    pub(super) fn park(&mut self, from: ShardId, request: RequestId, work: Work, missing: Option<Missing>) {
        self.note_deed(Deed::Parked { from, request });
        let of = (from, request.conn, request.client);
        let parking = &mut self.parking;
        parking.goes_on |= missing.is_none()
            && match &work {
                Work::Sliced(sliced) => sliced.goes_on(),
                Work::Ask(_, progress) => progress.goes_on,
                _ => false,
            };
        let queue = parking.queues.entry(of).or_default();
        if queue.is_empty() {
            match missing {
                Some(missing) => parking.waiting.entry(missing).or_default().push(of),
                None => parking.crowded.push(of),
            }
        }
        queue.push_back(Parked { request, work });
    }

    pub(super) fn is_anything_parked(&self) -> bool {
        !self.parking.queues.is_empty()
    }

    /// Whether something of this client is parked, so that what comes later has to wait behind it.
    #[inline]
    pub(super) fn has_parked(&self, from: ShardId, request: RequestId) -> bool {
        self.is_anything_parked() && self.parking.queues.contains_key(&(from, request.conn, request.client))
    }

    /// The same, of a connection of this core.
    #[cold]
    pub(super) fn has_parked_of(&self, conn: ConnId) -> bool {
        let client = self.session(conn).client.id;
        self.parking.queues.contains_key(&(self.identity.shard, conn.0, client))
    }

    /// Whether a command has to wait for earlier ones of its connection: a part of one that was spread waits here for a page, or some are
    /// at other shards, where one over several shards might overtake them.
    #[inline]
    pub(super) fn is_behind_others(&self, conn: ConnId, place: Place) -> bool {
        match place {
            Place::Here => self.is_anything_parked() && self.has_parked_of(conn),
            Place::Whole => self.session(conn).output.has_open_holes(),
            Place::There(_) | Place::Spread | Place::Nowhere => false,
        }
    }

    /// What was missing is here, or cannot be had: who has waited for it goes on.
    pub(super) fn run_parked_for(&mut self, missing: Missing) {
        if let Some(of) = self.parking.waiting.remove(&missing) {
            self.parking.ready.extend(of);
            self.run_ready();
        }
    }

    /// The end of a turn: tries what waits for something that nothing tells.
    pub(super) fn run_parked(&mut self) {
        let parking = &mut self.parking;
        parking.goes_on = false;
        if !parking.crowded.is_empty() {
            parking.ready.append(&mut parking.crowded);
            self.run_ready();
        }
    }

    pub(super) fn parked_want_turn(&self) -> bool {
        self.parking.goes_on
    }

    fn run_ready(&mut self) {
        for of in std::mem::take(&mut self.parking.ready) {
            let mut queue = self.parking.queues.remove(&of).unwrap_or_default();
            while let Some(Parked { request, work }) = queue.pop_front() {
                match work {
                    Work::Run { db, is_resp3, input, ranges, held } => {
                        self.lending(&input, |machine| {
                            machine.run_for(of.0, request, db, is_resp3, &Args::new(&input, &ranges));
                        });
                        drop(held);
                    }
                    Work::Count(counts) => self.retry_counts(of.0, request, *counts),
                    Work::Transaction(transaction) => self.transact_for(of.0, request, transaction),
                    Work::Script(run) => self.run_script_for(of.0, request, run),
                    Work::Sliced(sliced) => self.go_on_slices(of.0, request, sliced),
                    Work::Ask(ask, progress) => self.answer_later(of.0, request, &ask, progress),
                }
                if let Some(again) = self.parking.queues.get_mut(&of) {
                    // It is parked again, before what comes later.
                    again.append(&mut queue);
                }
            }
        }
        self.settle_counts();
    }
}
