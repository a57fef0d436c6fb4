//! Single commands on single keys whose values are numbers.

use super::{Request, Tally, Turnover, Workload, is_ok, number};
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
    keys: Turnover,
    fresh: i64,
    /// By client: when, what, on which key, and whether it is the last read of the key.
    under_way: Vec<Option<(u64, RegisterOp, u32, bool)>>,
    history: RegisterHistory,
    tally: Tally,
}

impl Registers {
    pub fn new(seed: u64, clients: u32, keys: u32) -> Registers {
        Registers {
            rng: fastrand::Rng::with_seed(seed),
            keys: Turnover::new(keys, OPERATIONS_MAX),
            fresh: 0,
            under_way: vec![None; clients as usize],
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
        let key = self.keys.any(&mut self.rng);
        self.keys.note_use(key);
        self.under_way[client as usize] = Some((now, op, key, false));
        request.say(&command(op, key));
    }

    fn begin_last(&mut self, client: u32, now: u64, request: &mut Request) -> bool {
        let Some(key) = self.keys.next_last() else { return false };
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
            self.keys.read_again(key);
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
