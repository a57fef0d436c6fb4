//! Pairs of keys: whoever writes one of them has watched and read both.

use super::{Request, Tally, Turnover, Workload, executed, is_across, is_ok, number};
use crate::sim::reply::Frame;
use crate::verify::anomaly::Anomaly;
use crate::verify::span::{Outcome, Span};
use crate::verify::write_skew::{Both, PairHistory, Round};

/// Transactions of a pair, until another one takes its place.
const ROUNDS_MAX: u32 = 32;
/// So few pairs for so many clients that they meet.
const CLIENTS_A_PAIR: u32 = 4;

/// Pairs and those who use them.
pub struct Pairs {
    rng: fastrand::Rng,
    shards: u16,
    pairs: Turnover,
    fresh: u64,
    /// By client.
    under_way: Vec<Option<Plan>>,
    history: PairHistory,
    tally: Tally,
}

#[derive(Clone, Copy)]
struct Plan {
    invoked: u64,
    pair: u32,
    doing: Doing,
}

#[derive(Clone, Copy)]
enum Doing {
    Watching,
    Writing { read: Both, half: usize, value: u64 },
    Reading { is_last: bool },
}

fn name(pair: u32, half: usize) -> String {
    // Names that differ only at their end would often be of one shard.
    format!("ws:{half}:{pair}")
}

fn both(frames: &[Frame]) -> Result<Both, String> {
    let half = |frame: &Frame| number(frame).map(|number| number.map(|number| number as u64));
    match frames {
        [left, right] => Ok([half(left)?, half(right)?]),
        _ => Err(format!("{} replies instead of 2", frames.len())),
    }
}

impl Pairs {
    pub fn new(seed: u64, clients: u32, shards: u16) -> Pairs {
        Pairs {
            rng: fastrand::Rng::with_seed(seed),
            shards,
            pairs: Turnover::new(clients.div_ceil(CLIENTS_A_PAIR), ROUNDS_MAX),
            fresh: 0,
            under_way: vec![None; clients as usize],
            history: PairHistory::default(),
            tally: Tally::default(),
        }
    }

    fn read(&mut self, client: u32, now: u64, (pair, is_last): (u32, bool), request: &mut Request) {
        request.say("MULTI");
        (0..2).for_each(|half| request.say(&format!("GET {}", name(pair, half))));
        request.say("EXEC");
        self.under_way[client as usize] = Some(Plan { invoked: now, pair, doing: Doing::Reading { is_last } });
    }

    fn record(&mut self, pair: u32, round: Round) {
        self.tally.note(round.outcome);
        self.tally.across += u64::from(is_across((0..2).map(|half| name(pair, half)), self.shards));
        self.history.record(pair, round);
    }
}

impl Workload for Pairs {
    fn name(&self) -> &'static str {
        "write-skew"
    }

    fn prepare(&self, _: &mut Request) {}

    fn begin(&mut self, client: u32, now: u64, request: &mut Request) {
        let pair = self.pairs.any(&mut self.rng);
        self.pairs.note_use(pair);
        if self.rng.u8(..5) == 0 {
            return self.read(client, now, (pair, false), request);
        }
        request.say(&format!("WATCH {} {}", name(pair, 0), name(pair, 1)));
        (0..2).for_each(|half| request.say(&format!("GET {}", name(pair, half))));
        self.under_way[client as usize] = Some(Plan { invoked: now, pair, doing: Doing::Watching });
    }

    fn begin_last(&mut self, client: u32, now: u64, request: &mut Request) -> bool {
        let Some(pair) = self.pairs.next_last() else { return false };
        self.read(client, now, (pair, true), request);
        true
    }

    fn on_replies(&mut self, client: u32, now: u64, replies: &[Frame], request: &mut Request) -> Result<(), String> {
        let Plan { invoked, pair, doing } =
            self.under_way[client as usize].expect("a client that is answered has asked");
        let span = Span { client, invoked, completed: now };
        let round = match doing {
            Doing::Watching => {
                is_ok(&replies[0])?;
                self.fresh += 1;
                let (read, half, value) = (both(&replies[1..])?, self.rng.usize(..2), self.fresh);
                request.say("MULTI");
                request.say(&format!("SET {} {value}", name(pair, half)));
                request.say("EXEC");
                self.under_way[client as usize] =
                    Some(Plan { invoked, pair, doing: Doing::Writing { read, half, value } });
                return Ok(());
            }
            Doing::Writing { read, half, value } => {
                let outcome = match executed(replies)? {
                    Some(frames) => is_ok(&frames[0]).map(|()| Outcome::Committed)?,
                    None => Outcome::Aborted,
                };
                Round { span, outcome, read, write: Some((half, value)) }
            }
            Doing::Reading { .. } => {
                let frames = executed(replies)?.ok_or("EXEC answers nil though nothing is watched")?;
                Round { span, outcome: Outcome::Committed, read: both(frames)?, write: None }
            }
        };
        self.under_way[client as usize] = None;
        self.record(pair, round);
        Ok(())
    }

    fn on_lost(&mut self, client: u32) {
        let Some(Plan { invoked, pair, doing }) = self.under_way[client as usize].take() else { return };
        match doing {
            Doing::Writing { read, half, value } => {
                let (span, write) = (Span::open(client, invoked), Some((half, value)));
                self.record(pair, Round { span, outcome: Outcome::Unknown, read, write });
            }
            Doing::Reading { is_last: true } => self.pairs.read_again(pair),
            _ => {}
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn check(&self) -> Vec<Anomaly> {
        self.history.check()
    }
}
