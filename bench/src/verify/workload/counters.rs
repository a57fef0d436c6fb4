//! Counters, and stocks that nobody takes more of than there is. Blind additions, some of them several at once; `HOT` splits the counters
//! again and again, and whoever reads makes them whole.

use super::{Request, Tally, Workload, is_across, is_ok, number, unexpected};
use crate::sim::reply::Frame;
use crate::verify::anomaly::Anomaly;
use crate::verify::counter::{Addition, CounterHistory};
use crate::verify::span::{Outcome, Span};

const COUNTERS_MAX: u32 = 8;
/// What a stock begins with.
const STOCK: i64 = 300;

/// The counters and those who use them.
pub struct Counters {
    rng: fastrand::Rng,
    shards: u16,
    /// Of each kind.
    counters: u32,
    /// By client.
    under_way: Vec<Option<(u64, Doing)>>,
    /// Counters that are still to be read in the end.
    last: Vec<usize>,
    histories: Vec<CounterHistory>,
    tally: Tally,
}

#[derive(Clone, Debug)]
enum Doing {
    /// To these, one after the other.
    Add(Vec<(usize, i64)>),
    /// The reply is the sum.
    Increment {
        at: usize,
        amount: i64,
    },
    Take {
        at: usize,
        amount: i64,
    },
    Read {
        at: usize,
        is_last: bool,
    },
    /// All of them, at once.
    ReadAll,
    Split,
}

impl Counters {
    pub fn new(seed: u64, clients: u32, keys: u32, shards: u16) -> Counters {
        let counters = keys.clamp(1, COUNTERS_MAX);
        let history = |at| CounterHistory::new(if at < counters { 0 } else { STOCK }, at >= counters);
        Counters {
            rng: fastrand::Rng::with_seed(seed),
            shards,
            counters,
            under_way: vec![None; clients as usize],
            last: (0..2 * counters as usize).collect(),
            histories: (0..2 * counters).map(history).collect(),
            tally: Tally::default(),
        }
    }

    /// Counters come first, then stocks.
    fn is_stock(&self, at: usize) -> bool {
        at >= self.counters as usize
    }

    fn name_of(&self, at: usize) -> String {
        if self.is_stock(at) { format!("stock:{at}") } else { format!("counter:{at}") }
    }

    fn any(&mut self) -> usize {
        self.rng.usize(..self.histories.len())
    }

    fn say_add(&mut self, at: usize, request: &mut Request) -> (usize, i64) {
        // A stock is taken from otherwise.
        let amount = self.rng.i64(if self.is_stock(at) { 0 } else { -20 }..30);
        let name = self.name_of(at);
        request.say(&format!("ADD {name} {amount}"));
        (at, amount)
    }

    fn added(&mut self, at: usize, span: Span, outcome: Outcome, amount: i64) {
        self.histories[at].addition(Addition { span, outcome, amount });
        self.tally.note(outcome);
    }

    fn split(&mut self, request: &mut Request) -> Doing {
        let at = self.any();
        let (name, parts) = (self.name_of(at), self.rng.u16(2..=self.shards));
        match self.rng.u8(..8) {
            0 => request.say(&format!("HOT {name} DEMOTE")),
            _ if self.is_stock(at) => request.say(&format!("HOT {name} PROMOTE {parts} MIN 0")),
            _ => request.say(&format!("HOT {name} PROMOTE {parts}")),
        }
        Doing::Split
    }
}

impl Workload for Counters {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn prepare(&self, request: &mut Request) {
        for at in 0..self.histories.len() {
            let first = if self.is_stock(at) { STOCK } else { 0 };
            request.say(&format!("SET {} {first}", self.name_of(at)));
        }
    }

    fn begin(&mut self, client: u32, now: u64, request: &mut Request) {
        // One is hotter than the others: what is beside a reading of it is not beside itself.
        let at = if self.rng.bool() { 0 } else { self.any() };
        let name = self.name_of(at);
        let doing = match self.rng.u8(..200) {
            0..20 if self.shards > 1 => self.split(request),
            0..90 => {
                let count = self.rng.usize(1..4);
                Doing::Add((0..count).map(|_| self.say_add(at, request)).collect())
            }
            90..94 => {
                let amount = self.rng.i64(1..10);
                request.say(&format!("INCRBY {name} {amount}"));
                Doing::Increment { at, amount }
            }
            94..150 => {
                request.say(&format!("GET {name}"));
                Doing::Read { at, is_last: false }
            }
            // It makes all of them whole.
            150..152 => {
                let names: Vec<String> = (0..self.histories.len()).map(|at| self.name_of(at)).collect();
                request.say("MULTI");
                request.say(&format!("MGET {}", names.join(" ")));
                request.say("EXEC");
                Doing::ReadAll
            }
            _ => {
                let at = self.counters as usize + at % self.counters as usize;
                let amount = self.rng.i64(1..40);
                request.say(&format!("DECRMIN {} {amount} 0", self.name_of(at)));
                Doing::Take { at, amount }
            }
        };
        self.under_way[client as usize] = Some((now, doing));
    }

    fn begin_last(&mut self, client: u32, now: u64, request: &mut Request) -> bool {
        let Some(at) = self.last.pop() else { return false };
        request.say(&format!("GET {}", self.name_of(at)));
        self.under_way[client as usize] = Some((now, Doing::Read { at, is_last: true }));
        true
    }

    fn on_replies(&mut self, client: u32, now: u64, replies: &[Frame], _: &mut Request) -> Result<(), String> {
        let (invoked, doing) = self.under_way[client as usize].clone().expect("a client that is answered has asked");
        let span = Span { client, invoked, completed: now };
        match doing {
            Doing::Add(parts) => {
                replies.iter().try_for_each(is_ok)?;
                parts.iter().for_each(|(at, amount)| self.added(*at, span, Outcome::Committed, *amount));
            }
            Doing::Increment { at, amount } => {
                let sum = number(&replies[0])?.ok_or("INCRBY answers nil")?;
                self.added(at, span, Outcome::Committed, amount);
                self.histories[at].reading(span, sum);
            }
            Doing::Take { at, amount } => match number(&replies[0])? {
                Some(1) => self.added(at, span, Outcome::Committed, -amount),
                Some(0) => {
                    self.histories[at].refusal(span, amount);
                    self.tally.aborted += 1;
                }
                _ => return Err(unexpected("DECRMIN", &replies[0])),
            },
            Doing::Read { at, .. } => {
                let value = number(&replies[0])?.ok_or("a counter is gone")?;
                self.histories[at].reading(span, value);
                self.tally.committed += 1;
            }
            Doing::ReadAll => {
                let frames = super::executed(replies)?.ok_or("EXEC answers nil though nothing is watched")?;
                let [Frame::Array(values)] = frames else { return Err("MGET is no array".to_owned()) };
                for (at, value) in values.iter().enumerate() {
                    let value = number(value)?.ok_or("a counter is gone")?;
                    self.histories[at].reading(span, value);
                }
                self.tally.committed += 1;
                let names = (0..self.histories.len()).map(|at| self.name_of(at));
                self.tally.across += u64::from(is_across(names, self.shards));
            }
            // It may be locked for the moment.
            Doing::Split => match &replies[0] {
                Frame::Line(line) if line.starts_with(b"-TRYAGAIN") => self.tally.aborted += 1,
                reply => is_ok(reply).map(|()| self.tally.committed += 1)?,
            },
        }
        self.under_way[client as usize] = None;
        Ok(())
    }

    fn on_lost(&mut self, client: u32) {
        let Some((invoked, doing)) = self.under_way[client as usize].take() else { return };
        let span = Span::open(client, invoked);
        match doing {
            Doing::Add(parts) => parts.iter().for_each(|(at, amount)| self.added(*at, span, Outcome::Unknown, *amount)),
            Doing::Increment { at, amount } => self.added(at, span, Outcome::Unknown, amount),
            Doing::Take { at, amount } => self.added(at, span, Outcome::Unknown, -amount),
            Doing::Read { at, is_last: true } => self.last.push(at),
            Doing::Read { .. } | Doing::ReadAll | Doing::Split => {}
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn check(&self) -> Vec<Anomaly> {
        let checked = self.histories.iter().enumerate();
        checked.flat_map(|(at, history)| history.check(&self.name_of(at))).collect()
    }
}
