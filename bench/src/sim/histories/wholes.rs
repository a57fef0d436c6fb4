//! Two databases in which all rows have one number at a time. Each is filled, emptied, or changes places with the other one, by a
//! transaction (`MULTI`, `BEGIN`, a script) or by a command that is one by itself; whoever reads both sees one number in each, or nothing. Some transactions
//! are rolled back when all of that is done: nobody sees their numbers.

use super::is_of_disk;
use crate::sim::reply::Frame;
use crate::verify::anomaly::{Anomaly, Kind};
use crate::verify::span::Outcome;
use crate::verify::workload::{Request, Tally, Workload};
use fastrand::Rng;
use std::collections::BTreeMap;

const DATABASES: [u8; 2] = [8, 9];
/// On all shards, if there are four.
const KEYS: u32 = 8;

/// The databases and those who use them.
pub struct Wholes {
    rng: Rng,
    number_last: u32,
    /// What has become of each number.
    numbers: BTreeMap<u32, Outcome>,
    /// By client.
    under_way: Vec<Option<Doing>>,
    /// How often they are still to be read in the end.
    last: u32,
    wrong: Vec<Anomaly>,
    tally: Tally,
}

#[derive(Clone, Copy)]
enum Doing {
    /// So many replies are OK or QUEUED, and EXEC's last.
    Writing {
        number: Option<u32>,
        is_exec: bool,
    },
    RollingBack(u32),
    /// All replies are OK: it rolls back itself.
    GoingBack(u32),
    /// What it has begun may still be open: whatever is answered, it is not then.
    Leaving,
    Reading {
        is_last: bool,
    },
}

fn names() -> impl Iterator<Item = String> {
    (0..KEYS).map(|key| format!("w:{key}"))
}

/// A transaction that has waited for others. Nothing of it has happened.
const ENDED: [&[u8]; 2] = [b"-DEADLOCK ", b"-LOCKTIMEOUT "];

/// No integer.
fn value(number: u32) -> String {
    format!("n{number}")
}

impl Wholes {
    pub fn new(seed: u64, clients: u32) -> Wholes {
        Wholes {
            rng: Rng::with_seed(seed),
            number_last: 0,
            numbers: BTreeMap::new(),
            under_way: vec![None; clients as usize],
            last: 4,
            wrong: Vec::new(),
            tally: Tally::default(),
        }
    }

    fn number(&mut self) -> u32 {
        self.number_last += 1;
        // Nobody has it before somebody has written it.
        self.numbers.insert(self.number_last, Outcome::Unknown);
        self.number_last
    }

    fn fill(&mut self, request: &mut Request) -> u32 {
        let number = self.number();
        let pairs: Vec<String> = names().map(|name| format!("{name} {}", value(number))).collect();
        request.say(&format!("MSET {}", pairs.join(" ")));
        number
    }

    /// Between BEGIN and its end, or by a script: a database is emptied and filled, and may change places with the other one.
    fn fill_in_steps(&mut self, client: u32, what: u8, db: u8, request: &mut Request) {
        let (swaps, is_script, goes_back) = (what.is_multiple_of(3), what > 25, what < 22);
        let number = if is_script {
            let number = self.number();
            let (keys, value) = (names().map(|name| format!("'{name}', ARGV[1]")), value(number));
            let fill = keys.collect::<Vec<_>>().join(", ");
            let swap = if swaps { "redis.call('swapdb', 8, 9)" } else { "" };
            let text = format!(
                "redis.call('select', {db}) redis.call('flushdb') redis.call('mset', {fill}) {swap} return redis.status_reply('OK')"
            );
            request.words(&["EVAL", &text, "0", &value]);
            number
        } else {
            request.say("BEGIN");
            request.say(&format!("SELECT {db}"));
            request.say("FLUSHDB");
            let number = self.fill(request);
            if swaps {
                request.say("SWAPDB 8 9");
            }
            request.say("SELECT 0");
            request.say(if goes_back { "ROLLBACK" } else { "COMMIT" });
            number
        };
        self.under_way[client as usize] = Some(match goes_back {
            true => Doing::GoingBack(number),
            false => Doing::Writing { number: Some(number), is_exec: false },
        });
    }

    fn read(&mut self, client: u32, is_last: bool, request: &mut Request) {
        let keys: Vec<String> = names().collect();
        request.say("MULTI");
        for db in DATABASES {
            request.say(&format!("SELECT {db}"));
            request.say(&format!("MGET {}", keys.join(" ")));
        }
        request.say("SELECT 0");
        request.say("EXEC");
        self.under_way[client as usize] = Some(Doing::Reading { is_last });
    }

    fn find(&mut self, kind: Kind, what: String, witness: &[Frame]) {
        let witness = witness.iter().map(|frame| format!("{frame:?}")).collect();
        self.wrong.push(Anomaly { kind, what, witness });
    }

    /// What a database was read to have.
    fn judge(&mut self, values: &[Frame]) -> Option<u32> {
        let of = |frame: &Frame| match frame {
            Frame::Bulk(bytes) => str::from_utf8(bytes).ok()?.strip_prefix('n')?.parse().ok(),
            _ => None,
        };
        if values.iter().any(|frame| *frame != values[0]) {
            self.find(Kind::Torn, "a database has rows of several transactions".into(), values);
        }
        let number = of(&values[0]);
        match number.map(|number| self.numbers.get(&number).copied()) {
            None if values[0] == Frame::Null => {}
            None | Some(None) => self.find(Kind::Phantom, "a row has what nobody wrote".into(), values),
            Some(Some(Outcome::Aborted)) => {
                self.find(Kind::G1a, "what was rolled back was read".into(), values);
            }
            Some(Some(Outcome::Committed | Outcome::Unknown)) => {}
        }
        number
    }

    fn end(&mut self, number: Option<u32>, outcome: Outcome) {
        number.map(|number| self.numbers.insert(number, outcome));
        self.tally.across += 1;
        self.tally.note(outcome);
    }
}

impl Workload for Wholes {
    fn name(&self) -> &'static str {
        "whole databases"
    }

    fn prepare(&self, _: &mut Request) {}

    fn begin(&mut self, client: u32, _: u64, request: &mut Request) {
        let db = DATABASES[self.rng.usize(..2)];
        let what = self.rng.u8(..28);
        if what < 7 {
            return self.read(client, false, request);
        }
        if what >= 20 {
            return self.fill_in_steps(client, what, db, request);
        }
        let is_exec = what > 9;
        match what {
            7 | 8 => request.say("SWAPDB 8 9"),
            9 => {
                request.say(&format!("SELECT {db}"));
                request.say("FLUSHDB");
                request.say("SELECT 0");
            }
            10 | 11 => request.say("MULTI ROLLBACK"),
            _ => request.say("MULTI"),
        }
        let mut number = None;
        if is_exec {
            request.say(&format!("SELECT {db}"));
            if what < 18 {
                request.say("FLUSHDB ASYNC");
            }
            if what != 17 {
                number = Some(self.fill(request));
            }
            if what % 3 == 0 {
                request.say("SWAPDB 9 8");
            }
            if what < 12 {
                request.say("INCR w:0");
            }
            request.say("SELECT 0");
            request.say("EXEC");
        }
        self.under_way[client as usize] = Some(match number {
            Some(number) if what < 12 => Doing::RollingBack(number),
            _ => Doing::Writing { number, is_exec },
        });
    }

    fn begin_last(&mut self, client: u32, _: u64, request: &mut Request) -> bool {
        if self.last == 0 {
            return false;
        }
        self.last -= 1;
        self.read(client, true, request);
        true
    }

    fn on_replies(&mut self, client: u32, _: u64, replies: &[Frame], request: &mut Request) -> Result<(), String> {
        let unexpected = |frame: &Frame| Err(format!("whole databases: {frame:?}"));
        if self.under_way[client as usize].take_if(|doing| matches!(doing, Doing::Leaving)).is_some() {
            return Ok(());
        }
        let is_ended =
            |frame: &Frame| matches!(frame, Frame::Line(line) if ENDED.iter().any(|it| line.starts_with(it)));
        // BEGIN was refused, or a command behind it.
        let is_refused = |frame: &Frame| matches!(frame, Frame::Line(line) if is_of_disk(line));
        let is_unknown = replies.iter().any(is_refused);
        if is_unknown || replies.iter().any(is_ended) {
            let number = match self.under_way[client as usize].take() {
                Some(Doing::Writing { number, is_exec: false }) => number,
                Some(Doing::GoingBack(number)) => Some(number),
                _ => return unexpected(&replies[0]),
            };
            self.end(number, if is_unknown { Outcome::Unknown } else { Outcome::Aborted });
            if is_unknown {
                request.say("ROLLBACK");
                self.under_way[client as usize] = Some(Doing::Leaving);
            }
            return Ok(());
        }
        let (last, before) = replies.split_last().expect("something was asked");
        if let Some(wrong) = before.iter().find(|frame| !matches!(frame, Frame::Line(b"+OK" | b"+QUEUED"))) {
            return unexpected(wrong);
        }
        let is_ok = |frame: &Frame| *frame == Frame::Line(b"+OK");
        let doing = self.under_way[client as usize].expect("a client that is answered has asked");
        match (doing, last) {
            (Doing::Writing { number, is_exec: false }, last) if is_ok(last) => self.end(number, Outcome::Committed),
            (Doing::Writing { number, is_exec: true }, Frame::Array(frames)) if frames.iter().all(is_ok) => {
                self.end(number, Outcome::Committed);
            }
            (Doing::GoingBack(number), last) if is_ok(last) => self.end(Some(number), Outcome::Aborted),
            (Doing::RollingBack(number), Frame::Line(line))
                if line.starts_with(b"-EXECABORT Transaction rolled back") =>
            {
                self.end(Some(number), Outcome::Aborted);
            }
            (Doing::Reading { .. }, Frame::Array(frames)) => {
                let [_, Frame::Array(first), _, Frame::Array(second), _] = &frames[..] else { return unexpected(last) };
                let found = [self.judge(first), self.judge(second)];
                if found[0].is_some() && found[0] == found[1] {
                    self.find(Kind::Torn, "both databases have the rows of one".into(), first);
                }
                self.end(None, Outcome::Committed);
            }
            (_, wrong) => return unexpected(wrong),
        }
        self.under_way[client as usize] = None;
        Ok(())
    }

    fn on_lost(&mut self, client: u32) {
        match self.under_way[client as usize].take() {
            Some(Doing::Writing { .. }) => self.end(None, Outcome::Unknown),
            // It cannot have come to anything else.
            Some(Doing::RollingBack(number) | Doing::GoingBack(number)) => self.end(Some(number), Outcome::Aborted),
            Some(Doing::Reading { is_last: true }) => self.last += 1,
            _ => {}
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn check(&self) -> Vec<Anomaly> {
        self.wrong.clone()
    }
}
