//! Lists and sorted sets that some push to and others take from, most of them waiting until there is something: BLPOP and its kin over keys of
//! several shards, and transactions that take here and push there.

use super::{Request, Tally, Turnover, Workload, executed, is_across, number, unexpected};
use crate::sim::reply::Frame;
use crate::verify::anomaly::Anomaly;
use crate::verify::queue::{Element, Key, Order, Pop, Push, QueueHistory, Taken};
use crate::verify::span::{Outcome, Span};
use fastrand::Rng;

/// How often a key is used until another one takes its place.
const USES_MAX: u32 = 60;
const ELEMENTS_MAX: usize = 3;
const KEYS_MAX: usize = 3;
const SCORES: i64 = 6;
/// Who waits does so for so long at most.
const WAIT_MS_MAX: u32 = 400;

/// Keys and those who use them.
pub struct Queues {
    rng: Rng,
    shards: u16,
    /// The keys of each order.
    keys: [Turnover; ORDERS.len()],
    element_last: u32,
    under_way: Vec<Option<Doing>>,
    history: QueueHistory,
    tally: Tally,
}

const ORDERS: [Order; 3] = [Order::First, Order::Any, Order::Least];

/// What a client is about.
#[derive(Clone)]
struct Doing {
    since: u64,
    what: What,
}

#[derive(Clone)]
enum What {
    Pushing(Vec<(Key, Vec<Element>)>),
    Taking {
        keys: Vec<Key>,
        count_max: usize,
        is_patient: bool,
    },
    /// It watches a key that it will push to, and has not begun to take.
    Watching {
        from: Key,
        to: Key,
    },
    Moving {
        from: Key,
        to: Key,
        element: Element,
    },
    Reading(Key),
}

impl Queues {
    pub fn new(seed: u64, clients: u32, keys: u32, shards: u16, patience_ns: Option<u64>) -> Queues {
        Queues {
            rng: Rng::with_seed(seed),
            shards,
            keys: ORDERS.map(|_| Turnover::new(keys, USES_MAX)),
            element_last: 0,
            under_way: vec![None; clients as usize],
            history: QueueHistory::new(patience_ns),
            tally: Tally::default(),
        }
    }

    fn any_order(&mut self) -> Order {
        ORDERS[self.rng.usize(..ORDERS.len())]
    }

    /// A key of this order, which is used.
    fn key(&mut self, order: Order) -> Key {
        let keys = &mut self.keys[order as usize];
        let number = keys.any(&mut self.rng);
        keys.note_use(number);
        Key { order, number }
    }

    fn element(&mut self) -> Element {
        self.element_last += 1;
        Element { number: self.element_last, score: self.rng.i64(..SCORES) }
    }

    fn say_push(&mut self, key: Key, elements: &[Element], request: &mut Request) {
        let (name, words) = match key.order {
            Order::Least => ("ZADD", elements.iter().map(|it| format!("{} {}", it.score, it.number)).collect()),
            Order::Any if self.rng.bool() => ("LPUSH", elements.iter().map(|it| it.number.to_string()).collect()),
            _ => ("RPUSH", elements.iter().map(|it| it.number.to_string()).collect::<Vec<_>>()),
        };
        request.say(&format!("{name} {key} {}", words.join(" ")));
    }

    fn push(&mut self, request: &mut Request) -> What {
        let count = [1, 1, 1, 2, 3][self.rng.usize(..5)];
        let mut pushes: Vec<(Key, Vec<Element>)> = Vec::new();
        for _ in 0..count {
            let order = self.any_order();
            let key = self.key(order);
            if pushes.iter().all(|(known, _)| *known != key) {
                let elements = (0..self.rng.usize(1..=ELEMENTS_MAX)).map(|_| self.element()).collect();
                pushes.push((key, elements));
            }
        }
        let is_single = pushes.len() == 1;
        if !is_single {
            request.say("MULTI");
        }
        for (key, elements) in &pushes {
            self.say_push(*key, elements, request);
        }
        if !is_single {
            request.say("EXEC");
        }
        What::Pushing(pushes)
    }

    fn take(&mut self, request: &mut Request) -> What {
        let order = self.any_order();
        let mut keys: Vec<Key> = Vec::new();
        for _ in 0..self.rng.usize(1..=KEYS_MAX) {
            // What has no order may stand beside what has.
            let order = if order == Order::Any && self.rng.bool() { Order::First } else { order };
            let key = self.key(order);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let is_left = keys.iter().any(|key| key.order == Order::First) || self.rng.bool();
        let names: Vec<String> = keys.iter().map(Key::to_string).collect();
        let (names, count, wait_ms) = (names.join(" "), keys.len(), self.rng.u32(1..=WAIT_MS_MAX));
        let timeout = format!("{}.{:03}", wait_ms / 1000, wait_ms % 1000);
        let is_list = order != Order::Least;
        match self.rng.u8(..10) {
            0 => {
                keys.truncate(1);
                let name = if !is_list {
                    "ZPOPMIN"
                } else if is_left {
                    "LPOP"
                } else {
                    "RPOP"
                };
                request.say(&format!("{name} {} 1", keys[0]));
                return What::Taking { keys, count_max: 1, is_patient: false };
            }
            1..5 => {
                let count_max = self.rng.usize(1..=ELEMENTS_MAX);
                let (name, end) =
                    if !is_list { ("BZMPOP", "MIN") } else { ("BLMPOP", if is_left { "LEFT" } else { "RIGHT" }) };
                request.say(&format!("{name} {timeout} {count} {names} {end} COUNT {count_max}"));
                return What::Taking { keys, count_max, is_patient: true };
            }
            _ if !is_list => request.say(&format!("BZPOPMIN {names} {timeout}")),
            _ if is_left => request.say(&format!("BLPOP {names} {timeout}")),
            _ => request.say(&format!("BRPOP {names} {timeout}")),
        }
        What::Taking { keys, count_max: 1, is_patient: true }
    }

    fn pushed(&mut self, span: Span, outcome: Outcome, key: Key, elements: Vec<Element>) {
        self.history.push(Push { span, outcome, key, elements });
    }

    fn popped(&mut self, span: Span, key: Key, taken: Taken) {
        self.history.pop(Pop { span, keys: vec![key], count_max: 1, is_patient: false, taken });
    }

    fn end(&mut self, keys: &[Key], outcome: Outcome) {
        self.tally.note(outcome);
        self.tally.across += u64::from(is_across(keys.iter().map(Key::to_string), self.shards));
    }

    /// A transaction that takes here and pushes there is over. `taken`: `None` if it was refused.
    fn moved(&mut self, span: Span, (from, to, element): (Key, Key, Element), taken: Option<Taken>) {
        let outcome = match &taken {
            None => Outcome::Aborted,
            Some(Taken::Unknown) => Outcome::Unknown,
            Some(_) => Outcome::Committed,
        };
        self.popped(span, from, taken.unwrap_or(Taken::Refused));
        self.pushed(span, outcome, to, vec![element]);
        self.end(&[from, to], outcome);
    }
}

/// What a command answers that takes something: from where, and what.
fn taken(frame: &Frame, keys: &[Key]) -> Result<Taken, String> {
    let wrong = || unexpected("what was taken", frame);
    let element = |frame: &Frame| number(frame)?.and_then(|it| u32::try_from(it).ok()).ok_or_else(wrong);
    let key_of = |name: &[u8]| keys.iter().find(|key| key.to_string().as_bytes() == name).copied().ok_or_else(wrong);
    match frame {
        Frame::Null => Ok(Taken::Nothing),
        Frame::Array(parts) => match &parts[..] {
            [] => Ok(Taken::Nothing),
            // Of several: elements, or pairs of a member and its score.
            [Frame::Bulk(name), Frame::Array(all)] => {
                let first = |frame: &Frame| match frame {
                    Frame::Array(pair) => element(pair.first().ok_or_else(wrong)?),
                    frame => element(frame),
                };
                Ok(Taken::From(key_of(name)?, all.iter().map(first).collect::<Result<_, _>>()?))
            }
            [Frame::Bulk(name), one] | [Frame::Bulk(name), one, _] if name.starts_with(b"q:") => {
                Ok(Taken::From(key_of(name)?, vec![element(one)?]))
            }
            // Of those that do not wait; behind a member its score may stand.
            [one, ..] => Ok(Taken::From(keys[0], vec![element(one)?])),
        },
        _ => Err(wrong()),
    }
}

impl Workload for Queues {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn prepare(&self, _: &mut Request) {}

    fn begin(&mut self, client: u32, now: u64, request: &mut Request) {
        let what = match self.rng.u8(..20) {
            0..9 => self.push(request),
            9..11 => {
                let (from, to) = (self.key(Order::Any), self.key(Order::First));
                request.say(&format!("WATCH {to}"));
                request.say(&format!("LLEN {to}"));
                What::Watching { from, to }
            }
            _ => self.take(request),
        };
        self.under_way[client as usize] = Some(Doing { since: now, what });
    }

    fn begin_last(&mut self, client: u32, now: u64, request: &mut Request) -> bool {
        let next = ORDERS
            .iter()
            .find_map(|order| self.keys[*order as usize].next_last().map(|number| Key { order: *order, number }));
        let Some(key) = next else { return false };
        let name = if key.order == Order::Least { "ZRANGE" } else { "LRANGE" };
        request.say(&format!("{name} {key} 0 -1"));
        self.under_way[client as usize] = Some(Doing { since: now, what: What::Reading(key) });
        true
    }

    fn on_replies(&mut self, client: u32, now: u64, replies: &[Frame], request: &mut Request) -> Result<(), String> {
        let Doing { since, what } =
            self.under_way[client as usize].clone().expect("a client that is answered has asked");
        let span = Span { client, invoked: since, completed: now };
        match what {
            What::Pushing(pushes) => {
                match replies {
                    [Frame::Integer(_)] => {}
                    [wrong] => return Err(unexpected("a push", wrong)),
                    _ => {
                        let pushed = executed(replies)?.ok_or("EXEC answers nil though nothing is watched")?;
                        if let Some(wrong) = pushed.iter().find(|frame| !matches!(frame, Frame::Integer(_))) {
                            return Err(unexpected("a push", wrong));
                        }
                    }
                }
                let keys: Vec<Key> = pushes.iter().map(|(key, _)| *key).collect();
                pushes.into_iter().for_each(|(key, elements)| self.pushed(span, Outcome::Committed, key, elements));
                self.end(&keys, Outcome::Committed);
            }
            What::Taking { keys, count_max, is_patient } => {
                let taken = taken(&replies[0], &keys)?;
                self.end(&keys, if taken == Taken::Nothing { Outcome::Aborted } else { Outcome::Committed });
                self.history.pop(Pop { span, keys, count_max, is_patient, taken });
            }
            What::Watching { from, to } => {
                let [Frame::Line(b"+OK"), Frame::Integer(_)] = replies else {
                    return Err(unexpected("WATCH", replies.last().expect("something was asked")));
                };
                let element = self.element();
                request.say("MULTI");
                request.say(&format!("LPOP {from}"));
                self.say_push(to, &[element], request);
                request.say("EXEC");
                let what = What::Moving { from, to, element };
                self.under_way[client as usize] = Some(Doing { since: now, what });
                return Ok(());
            }
            What::Moving { from, to, element } => {
                let taken = match executed(replies)? {
                    None => None,
                    Some([Frame::Null, Frame::Integer(_)]) => Some(Taken::Nothing),
                    Some([one, Frame::Integer(_)]) => match number(one)?.map(u32::try_from) {
                        Some(Ok(taken)) => Some(Taken::From(from, vec![taken])),
                        _ => return Err(unexpected("LPOP", one)),
                    },
                    Some(wrong) => return Err(unexpected("EXEC", &wrong[0])),
                };
                self.moved(span, (from, to, element), taken);
            }
            What::Reading(key) => {
                let Frame::Array(frames) = &replies[0] else { return Err(unexpected("all of it", &replies[0])) };
                let element =
                    |frame| number(frame)?.and_then(|it| u32::try_from(it).ok()).ok_or("no element".to_owned());
                self.history.last(key, frames.iter().map(element).collect::<Result<_, _>>()?);
                self.tally.committed += 1;
            }
        }
        self.under_way[client as usize] = None;
        Ok(())
    }

    fn on_lost(&mut self, client: u32) {
        let Some(Doing { since, what }) = self.under_way[client as usize].take() else { return };
        let span = Span::open(client, since);
        match what {
            What::Pushing(pushes) => {
                let keys: Vec<Key> = pushes.iter().map(|(key, _)| *key).collect();
                pushes.into_iter().for_each(|(key, elements)| self.pushed(span, Outcome::Unknown, key, elements));
                self.end(&keys, Outcome::Unknown);
            }
            What::Taking { keys, count_max, is_patient } => {
                self.end(&keys, Outcome::Unknown);
                self.history.pop(Pop { span, keys, count_max, is_patient, taken: Taken::Unknown });
            }
            What::Watching { .. } => {}
            What::Moving { from, to, element } => self.moved(span, (from, to, element), Some(Taken::Unknown)),
            What::Reading(key) => self.keys[key.order as usize].read_again(key.number),
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn check(&self) -> Vec<Anomaly> {
        self.history.check()
    }
}
