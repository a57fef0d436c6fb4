//! What looks at rows of several shards before it is known what it does: RENAMENX, COPY and MSETNX. Tokens move from key to key, and each is
//! always in one place; several keys are set together if none of them is there, and deleted together; copies are of tokens.

use crate::sim::reply::Frame;
use crate::verify::anomaly::{Anomaly, Kind};
use crate::verify::span::Outcome;
use crate::verify::workload::{Request, Tally, Workload, is_across};
use fastrand::Rng;
use std::collections::BTreeMap;

/// Keys where a token may be, and may be copied to.
const PLACES: usize = 6;
const TOKENS: usize = 3;
/// Keys that are set together.
const TOGETHER: usize = 3;

/// The keys and those who use them.
pub struct Moves {
    rng: Rng,
    shards: u16,
    number_last: u32,
    /// What has become of the numbers that keys were to have together.
    numbers: BTreeMap<u32, Outcome>,
    /// By client.
    under_way: Vec<Option<Doing>>,
    /// How often all is still to be read in the end.
    last: u32,
    wrong: Vec<Anomaly>,
    tally: Tally,
}

#[derive(Clone, Copy)]
enum Doing {
    Moving { is_across: bool },
    Copying { is_across: bool },
    Setting(u32),
    Deleting,
    Reading { is_last: bool },
}

fn place(number: usize) -> String {
    format!("m:{number}")
}

fn copy(number: usize) -> String {
    format!("mc:{number}")
}

fn together() -> Vec<String> {
    (0..TOGETHER).map(|number| format!("mp:{number}")).collect()
}

/// No integer.
fn token(number: usize) -> String {
    format!("t{number}")
}

impl Moves {
    pub fn new(seed: u64, clients: u32, shards: u16) -> Moves {
        Moves {
            rng: Rng::with_seed(seed),
            shards,
            number_last: 0,
            numbers: BTreeMap::new(),
            under_way: vec![None; clients as usize],
            last: 4,
            wrong: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// All keys at one moment.
    fn read(&mut self, client: u32, is_last: bool, request: &mut Request) {
        request.say("MULTI");
        for keys in [(0..PLACES).map(place).collect(), (0..PLACES).map(copy).collect(), together()] {
            request.say(&format!("MGET {}", keys.join(" ")));
        }
        request.say("EXEC");
        self.under_way[client as usize] = Some(Doing::Reading { is_last });
    }

    fn find(&mut self, kind: Kind, what: &str, witness: &[Frame]) {
        let witness = witness.iter().map(|frame| format!("{frame:?}")).collect();
        self.wrong.push(Anomaly { kind, what: what.to_owned(), witness });
    }

    fn judge(&mut self, places: &[Frame], copies: &[Frame], together: &[Frame]) {
        for number in 0..TOKENS {
            let token = token(number);
            match places.iter().filter(|frame| **frame == Frame::Bulk(token.as_bytes())).count() {
                0 => self.find(Kind::Lost, "a token is nowhere", places),
                1 => {}
                _ => self.find(Kind::Duplicate, "a token is in two places", places),
            }
        }
        let is_token = |frame: &&Frame| (0..TOKENS).any(|number| **frame == Frame::Bulk(token(number).as_bytes()));
        if places.iter().filter(|frame| **frame != Frame::Null).count() > TOKENS
            || !copies.iter().filter(|frame| **frame != Frame::Null).all(|frame| is_token(&frame))
        {
            self.find(Kind::Phantom, "a key has what nobody put there", copies);
        }
        if together.iter().any(|frame| *frame != together[0]) {
            return self.find(Kind::Torn, "keys that are set and deleted together differ", together);
        }
        let Frame::Bulk(value) = &together[0] else { return };
        let number = str::from_utf8(value).ok().and_then(|text| text.strip_prefix('n')?.parse().ok());
        match number.and_then(|number| self.numbers.get(&number)) {
            Some(Outcome::Committed | Outcome::Unknown) => {}
            Some(Outcome::Aborted) => self.find(Kind::G1a, "what MSETNX has refused was read", together),
            None => self.find(Kind::Phantom, "a key has what nobody put there", together),
        }
    }

    fn end(&mut self, is_across: bool, outcome: Outcome) {
        self.tally.across += u64::from(is_across);
        self.tally.note(outcome);
    }

    fn are_across(&self, keys: &[String]) -> bool {
        is_across(keys.iter().cloned(), self.shards)
    }
}

impl Workload for Moves {
    fn name(&self) -> &'static str {
        "moves"
    }

    fn prepare(&self, request: &mut Request) {
        let pairs: Vec<String> = (0..TOKENS).map(|number| format!("{} {}", place(number), token(number))).collect();
        request.say(&format!("MSET {}", pairs.join(" ")));
    }

    fn begin(&mut self, client: u32, _: u64, request: &mut Request) {
        let (from, to) = (self.rng.usize(..PLACES), self.rng.usize(..PLACES));
        let doing = match self.rng.u8(..20) {
            0..7 => {
                let keys = [place(from), place(to)];
                request.say(&format!("RENAMENX {}", keys.join(" ")));
                Doing::Moving { is_across: self.are_across(&keys) }
            }
            7..10 => {
                let keys = [place(from), copy(to)];
                request.say(&format!("COPY {} REPLACE", keys.join(" ")));
                Doing::Copying { is_across: self.are_across(&keys) }
            }
            10..13 => {
                self.number_last += 1;
                let number = self.number_last;
                self.numbers.insert(number, Outcome::Unknown);
                let pairs: Vec<String> = together().iter().map(|key| format!("{key} n{number}")).collect();
                request.say(&format!("MSETNX {}", pairs.join(" ")));
                Doing::Setting(number)
            }
            13..15 => {
                request.say("MULTI");
                request.say(&format!("DEL {}", together().join(" ")));
                request.say("EXEC");
                Doing::Deleting
            }
            _ => return self.read(client, false, request),
        };
        self.under_way[client as usize] = Some(doing);
    }

    fn begin_last(&mut self, client: u32, _: u64, request: &mut Request) -> bool {
        if self.last == 0 {
            return false;
        }
        self.last -= 1;
        self.read(client, true, request);
        true
    }

    fn on_replies(&mut self, client: u32, _: u64, replies: &[Frame], _: &mut Request) -> Result<(), String> {
        let (last, before) = replies.split_last().expect("something was asked");
        let unexpected = || Err(format!("moves: {replies:?}"));
        if before.iter().any(|frame| !matches!(frame, Frame::Line(b"+OK" | b"+QUEUED"))) {
            return unexpected();
        }
        let of = |is_done: bool| if is_done { Outcome::Committed } else { Outcome::Aborted };
        let doing = self.under_way[client as usize].expect("a client that is answered has asked");
        match (doing, last) {
            (Doing::Moving { is_across } | Doing::Copying { is_across }, Frame::Integer(done @ (0 | 1))) => {
                self.end(is_across, of(*done == 1));
            }
            (Doing::Moving { is_across }, Frame::Line(b"-ERR no such key")) => self.end(is_across, Outcome::Aborted),
            (Doing::Setting(number), Frame::Integer(done @ (0 | 1))) => {
                self.numbers.insert(number, of(*done == 1));
                self.end(self.are_across(&together()), of(*done == 1));
            }
            (Doing::Deleting, Frame::Array(frames)) => match &frames[..] {
                [Frame::Integer(count)] if *count == 0 || *count == TOGETHER as i64 => {
                    self.end(self.are_across(&together()), Outcome::Committed);
                }
                _ => return unexpected(),
            },
            (Doing::Reading { .. }, Frame::Array(frames)) => {
                let [Frame::Array(places), Frame::Array(copies), Frame::Array(together)] = &frames[..] else {
                    return unexpected();
                };
                self.judge(places, copies, together);
                self.end(self.shards > 1, Outcome::Committed);
            }
            _ => return unexpected(),
        }
        self.under_way[client as usize] = None;
        Ok(())
    }

    fn on_lost(&mut self, client: u32) {
        match self.under_way[client as usize].take() {
            Some(Doing::Moving { is_across } | Doing::Copying { is_across }) => self.end(is_across, Outcome::Unknown),
            Some(Doing::Setting(_) | Doing::Deleting) => self.end(self.are_across(&together()), Outcome::Unknown),
            Some(Doing::Reading { is_last: true }) => self.last += 1,
            Some(Doing::Reading { is_last: false }) | None => {}
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn check(&self) -> Vec<Anomaly> {
        self.wrong.clone()
    }
}
