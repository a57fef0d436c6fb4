//! Transfers between accounts on all shards, by WATCH and by DECRBY with INCRBY, and readings of all accounts, by GETs and by MGET
//! in EXEC, and by both in a snapshot, while transfers go on.

use super::once;
use super::{Request, Tally, Workload, executed, is_across, is_ok, number, unexpected};
use crate::sim::reply::Frame;
use crate::verify::anomaly::Anomaly;
use crate::verify::bank::{BankHistory, Reading, Transfer};
use crate::verify::span::{Outcome, Span};

pub const ACCOUNTS_MAX: u32 = 32;
const EACH: i64 = 1000;
const AMOUNT_MAX: i64 = 50;

/// The accounts and those who use them.
pub struct Bank {
    rng: fastrand::Rng,
    shards: u16,
    accounts: u32,
    /// By client.
    under_way: Vec<Option<(u64, Doing)>>,
    /// How often the accounts are still to be read in the end.
    last: u32,
    history: BankHistory,
    tally: Tally,
}

#[derive(Clone)]
enum Doing {
    /// The accounts are watched and read; then they are set.
    Watching {
        from: u32,
        to: u32,
        amount: i64,
    },
    Moving {
        from: u32,
        to: u32,
        amount: i64,
    },
    Reading {
        is_mget: bool,
        is_last: bool,
    },
    /// The first accounts are read, then the others at the same cut.
    Looking {
        is_last: bool,
    },
    LookingOn {
        is_last: bool,
        first: Vec<Option<i64>>,
    },
    /// The snapshot has ended before.
    Leaving {
        is_last: bool,
    },
}

fn name(account: u32) -> String {
    format!("bank:{account}")
}

impl Bank {
    pub fn new(seed: u64, clients: u32, keys: u32, shards: u16) -> Bank {
        let accounts = keys.clamp(2, ACCOUNTS_MAX);
        Bank {
            rng: fastrand::Rng::with_seed(seed),
            shards,
            accounts,
            under_way: vec![None; clients as usize],
            last: 4,
            history: BankHistory::new(accounts, EACH),
            tally: Tally::default(),
        }
    }

    fn read(&mut self, client: u32, now: u64, is_last: bool, request: &mut Request) {
        if self.rng.bool() {
            return self.look(client, now, is_last, request);
        }
        let is_mget = self.rng.bool();
        let names: Vec<String> = (0..self.accounts).map(name).collect();
        request.say("MULTI");
        if is_mget {
            request.say(&format!("MGET {}", names.join(" ")));
        } else {
            names.iter().for_each(|name| request.say(&format!("GET {name}")));
        }
        request.say("EXEC");
        self.under_way[client as usize] = Some((now, Doing::Reading { is_mget, is_last }));
    }

    /// Reads all accounts in a snapshot, in two requests.
    fn look(&mut self, client: u32, now: u64, is_last: bool, request: &mut Request) {
        request.say("BEGIN READ ONLY");
        (0..self.accounts / 2).for_each(|account| request.say(&format!("GET {}", name(account))));
        self.under_way[client as usize] = Some((now, Doing::Looking { is_last }));
    }

    fn read_all(&mut self, span: Span, balances: Vec<Option<i64>>) {
        self.history.reading(Reading { span, balances });
        self.tally.committed += 1;
        self.tally.across += u64::from(is_across((0..self.accounts).map(name), self.shards));
    }

    fn transferred(&mut self, span: Span, outcome: Outcome, (from, to, amount): (u32, u32, i64)) {
        self.history.transfer(Transfer { span, outcome, from, to, amount });
        self.tally.note(outcome);
        self.tally.across += u64::from(is_across([from, to].into_iter().map(name), self.shards));
    }
}

/// The accounts of a reading.
fn balances(frames: &[Frame], is_mget: bool) -> Result<Vec<Option<i64>>, String> {
    match (is_mget, frames) {
        (true, [Frame::Array(frames)]) => frames.iter().map(number).collect(),
        (false, frames) => frames.iter().map(number).collect(),
        (true, frames) => Err(frames.first().map_or_else(String::new, |frame| unexpected("MGET", frame))),
    }
}

impl Workload for Bank {
    fn name(&self) -> &'static str {
        "bank"
    }

    fn prepare(&self, request: &mut Request) {
        request.say("MULTI");
        (0..self.accounts).for_each(|account| request.say(&format!("SET {} {EACH}", name(account))));
        request.say("EXEC");
    }

    fn begin(&mut self, client: u32, now: u64, request: &mut Request) {
        let from = self.rng.u32(..self.accounts);
        let to = (from + self.rng.u32(1..self.accounts)) % self.accounts;
        let amount = self.rng.i64(1..=AMOUNT_MAX);
        let doing = match self.rng.u8(..10) {
            0..3 => return self.read(client, now, false, request),
            3..6 => {
                request.say(&format!("WATCH {} {}", name(from), name(to)));
                request.say(&format!("GET {}", name(from)));
                request.say(&format!("GET {}", name(to)));
                Doing::Watching { from, to, amount }
            }
            _ => {
                request.say("MULTI");
                request.say(&format!("DECRBY {} {amount}", name(from)));
                request.say(&format!("INCRBY {} {amount}", name(to)));
                request.say("EXEC");
                Doing::Moving { from, to, amount }
            }
        };
        self.under_way[client as usize] = Some((now, doing));
    }

    fn begin_last(&mut self, client: u32, now: u64, request: &mut Request) -> bool {
        if self.last == 0 {
            return false;
        }
        self.last -= 1;
        self.read(client, now, true, request);
        true
    }

    fn on_replies(&mut self, client: u32, now: u64, replies: &[Frame], request: &mut Request) -> Result<(), String> {
        let (invoked, doing) = self.under_way[client as usize].clone().expect("a client that is answered has asked");
        let span = Span { client, invoked, completed: now };
        match doing {
            Doing::Watching { from, to, amount } => {
                is_ok(&replies[0])?;
                let [Some(source), Some(target)] = [number(&replies[1])?, number(&replies[2])?] else {
                    return Err("an account is gone".to_owned());
                };
                request.say("MULTI");
                request.say(&format!("SET {} {}", name(from), source - amount));
                request.say(&format!("SET {} {}", name(to), target + amount));
                request.say("EXEC");
                self.under_way[client as usize] = Some((invoked, Doing::Moving { from, to, amount }));
                return Ok(());
            }
            Doing::Moving { from, to, amount } => {
                let outcome = match executed(replies)? {
                    Some(frames) => {
                        let wrong =
                            frames.iter().find(|frame| !matches!(frame, Frame::Integer(_) | Frame::Line(b"+OK")));
                        wrong.map_or(Ok(Outcome::Committed), |frame| Err(unexpected("a transfer", frame)))?
                    }
                    None => Outcome::Aborted,
                };
                self.transferred(span, outcome, (from, to, amount));
            }
            Doing::Reading { is_mget, .. } => {
                let frames = executed(replies)?.ok_or("EXEC answers nil though nothing is watched")?;
                self.read_all(span, balances(frames, is_mget)?);
            }
            // It has not begun.
            Doing::Looking { is_last } if once::is_too_old(&replies[..1]) => self.last += u32::from(is_last),
            Doing::Looking { is_last } if once::is_too_old(replies) => {
                request.say("ROLLBACK");
                self.under_way[client as usize] = Some((invoked, Doing::Leaving { is_last }));
                return Ok(());
            }
            Doing::LookingOn { is_last, .. } if once::is_too_old(replies) => self.last += u32::from(is_last),
            Doing::Leaving { is_last } => {
                is_ok(&replies[0])?;
                self.last += u32::from(is_last);
            }
            Doing::Looking { is_last } => {
                is_ok(&replies[0])?;
                let first = balances(&replies[1..], false)?;
                let names: Vec<String> = (self.accounts / 2..self.accounts).map(name).collect();
                request.say(&format!("MGET {}", names.join(" ")));
                request.say("COMMIT");
                self.under_way[client as usize] = Some((invoked, Doing::LookingOn { is_last, first }));
                return Ok(());
            }
            Doing::LookingOn { mut first, .. } => {
                is_ok(&replies[1])?;
                first.extend(balances(&replies[..1], true)?);
                self.read_all(span, first);
            }
        }
        self.under_way[client as usize] = None;
        Ok(())
    }

    fn on_lost(&mut self, client: u32) {
        match self.under_way[client as usize].take() {
            Some((invoked, Doing::Moving { from, to, amount })) => {
                self.transferred(Span::open(client, invoked), Outcome::Unknown, (from, to, amount));
            }
            Some((
                _,
                Doing::Reading { is_last: true, .. }
                | Doing::Looking { is_last: true }
                | Doing::LookingOn { is_last: true, .. }
                | Doing::Leaving { is_last: true },
            )) => self.last += 1,
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
