//! Single commands on single keys whose values are numbers.

use super::{Request, Tally, Workload, is_ok, number};
use crate::sim::reply::Frame;
use crate::verify::anomaly::Anomaly;
use crate::verify::register::{Answer, Entry, RegisterHistory, RegisterOp};
use crate::verify::span::Span;

/// Operations of a key, until another one takes its place: the search for an order grows with them.
const OPERATIONS_MAX: u32 = 200;
/// What INCR makes of a value is told from every other value.
const DISTANCE: i64 = 1000;

/// Keys and those who use them.
pub struct Registers {
    rng: fastrand::Rng,
    /// Keys in use, with the operations that were sent to them.
    active: Vec<(u32, u32)>,
    keys: u32,
    fresh: i64,
    /// By client: when, what, on which key, and whether it is the last read of the key.
    under_way: Vec<Option<(u64, RegisterOp, u32, bool)>>,
    /// The first key that is still to be read in the end, and those that have to be read again.
    last: u32,
    again: Vec<u32>,
    history: RegisterHistory,
    tally: Tally,
}

impl Registers {
    pub fn new(seed: u64, clients: u32, keys: u32) -> Registers {
        Registers {
            rng: fastrand::Rng::with_seed(seed),
            active: (0..keys).map(|key| (key, 0)).collect(),
            keys,
            fresh: 0,
            under_way: vec![None; clients as usize],
            last: 0,
            again: Vec::new(),
            history: RegisterHistory::default(),
            tally: Tally::default(),
        }
    }
}

fn command(op: RegisterOp, key: u32) -> String {
    match op {
        RegisterOp::Get => format!("GET rg:{key}"),
        RegisterOp::Set(value) => format!("SET rg:{key} {value}"),
        RegisterOp::GetSet(value) => format!("GETSET rg:{key} {value}"),
        RegisterOp::SetNx(value) => format!("SETNX rg:{key} {value}"),
        RegisterOp::Incr => format!("INCR rg:{key}"),
        RegisterOp::Del => format!("DEL rg:{key}"),
    }
}

impl Workload for Registers {
    fn name(&self) -> &'static str {
        "register"
    }

    fn prepare(&self, _: &mut Request) {}

    fn begin(&mut self, client: u32, now: u64, request: &mut Request) {
        self.fresh += DISTANCE;
        let fresh = self.fresh;
        let op = match self.rng.u8(..20) {
            0..7 => RegisterOp::Get,
            7..11 => RegisterOp::Set(fresh),
            11..13 => RegisterOp::GetSet(fresh),
            13..15 => RegisterOp::SetNx(fresh),
            15..18 => RegisterOp::Incr,
            _ => RegisterOp::Del,
        };
        let slot = self.rng.usize(..self.active.len());
        let (key, operations) = &mut self.active[slot];
        self.under_way[client as usize] = Some((now, op, *key, false));
        request.say(&command(op, *key));
        *operations += 1;
        if *operations >= OPERATIONS_MAX {
            (*key, *operations) = (self.keys, 0);
            self.keys += 1;
        }
    }

    fn begin_last(&mut self, client: u32, now: u64, request: &mut Request) -> bool {
        let key = match self.again.pop() {
            Some(key) => key,
            None if self.last < self.keys => {
                self.last += 1;
                self.last - 1
            }
            None => return false,
        };
        self.under_way[client as usize] = Some((now, RegisterOp::Get, key, true));
        request.say(&command(RegisterOp::Get, key));
        true
    }

    fn on_replies(&mut self, client: u32, now: u64, replies: &[Frame], _: &mut Request) -> Result<(), String> {
        let (invoked, op, key, _) = self.under_way[client as usize].expect("a client that is answered has asked");
        let answer = match op {
            RegisterOp::Set(_) => is_ok(&replies[0]).map(|()| Answer::Ok)?,
            _ => number(&replies[0])?.map_or(Answer::Nil, Answer::Number),
        };
        self.under_way[client as usize] = None;
        self.history.record(key, Entry { span: Span { client, invoked, completed: now }, op, answer });
        self.tally.committed += 1;
        Ok(())
    }

    fn on_lost(&mut self, client: u32) {
        let Some((invoked, op, key, is_last)) = self.under_way[client as usize].take() else { return };
        if is_last {
            self.again.push(key);
            return;
        }
        self.history.record(key, Entry { span: Span::open(client, invoked), op, answer: Answer::Never });
        self.tally.unknown += 1;
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn check(&self) -> Vec<Anomaly> {
        self.history.check()
    }
}
