//! Lists and sorted sets that some push to and others take from, most of them waiting until there is something: BLPOP and its kin over keys of
//! several shards, BLMOVE and its kin between any two lists, and transactions that take here and push there.

use super::{Request, Tally, Turnover, Workload, executed, is_across, number, unexpected, wait_ms_max};
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

/// Keys and those who use them.
pub struct Queues {
    rng: Rng,
    shards: u16,
    wait_ms_max: u32,
    /// The keys of each order.
    keys: [Turnover; ORDERS.len()],
    element_last: u32,
    under_way: Vec<Option<Doing>>,
    history: QueueHistory,
    tally: Tally,
}

const ORDERS: [Order; 4] = [Order::First, Order::Any, Order::Least, Order::Moved];
/// Those of keys that are pushed to.
const PUSHED: [Order; 3] = [Order::First, Order::Any, Order::Least];

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
    /// From one list to another.
    Passing {
        from: Key,
        to: Key,
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
            wait_ms_max: wait_ms_max(patience_ns),
            keys: ORDERS.map(|_| Turnover::new(keys, USES_MAX)),
            element_last: 0,
            under_way: vec![None; clients as usize],
            history: QueueHistory::new(patience_ns),
            tally: Tally::default(),
        }
    }

    fn any_order(&mut self, orders: &[Order]) -> Order {
        orders[self.rng.usize(..orders.len())]
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
            let order = self.any_order(&PUSHED);
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
        let order = self.any_order(&ORDERS);
        let beside = if self.rng.bool() { Order::First } else { Order::Moved };
        let mut keys: Vec<Key> = Vec::new();
        for _ in 0..self.rng.usize(1..=KEYS_MAX) {
            // What has no order may stand beside what has.
            let order = if order == Order::Any && self.rng.bool() { beside } else { order };
            let key = self.key(order);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let has = |order| keys.iter().any(|key| key.order == order);
        let is_left = has(Order::First) || !has(Order::Moved) && self.rng.bool();
        let names: Vec<String> = keys.iter().map(Key::to_string).collect();
        let (names, count, timeout) = (names.join(" "), keys.len(), self.timeout());
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

    /// Seconds.
    fn timeout(&mut self) -> String {
        let wait_ms = self.rng.u32(1..=self.wait_ms_max);
        format!("{}.{:03}", wait_ms / 1000, wait_ms % 1000)
    }

    /// Moves an element. What comes to a list in its order comes at the left.
    fn pass(&mut self, request: &mut Request) -> What {
        let order = if self.rng.bool() { Order::First } else { Order::Any };
        let (from, to, timeout) = (self.key(order), self.key(Order::Moved), self.timeout());
        let is_patient = self.rng.u8(..5) > 0;
        let is_left = order == Order::First || self.rng.bool();
        let end = if is_left { "LEFT" } else { "RIGHT" };
        match (is_patient, is_left || self.rng.bool()) {
            (true, true) => request.say(&format!("BLMOVE {from} {to} {end} LEFT {timeout}")),
            (true, false) => request.say(&format!("BRPOPLPUSH {from} {to} {timeout}")),
            (false, true) => request.say(&format!("LMOVE {from} {to} {end} LEFT")),
            (false, false) => request.say(&format!("RPOPLPUSH {from} {to}")),
        }
        What::Passing { from, to, is_patient }
    }

    /// What was asked for with `pass` is over.
    fn passed(&mut self, span: Span, (from, to): (Key, Key), is_patient: bool, taken: Taken) {
        let outcome = match &taken {
            Taken::From(_, elements) => {
                let elements = elements.iter().map(|number| Element { number: *number, score: 0 }).collect();
                self.pushed(span, Outcome::Committed, to, elements);
                Outcome::Committed
            }
            Taken::Unknown => Outcome::Unknown,
            _ => Outcome::Aborted,
        };
        self.history.pop(Pop { span, keys: vec![from], count_max: 1, is_patient, to: Some(to), taken });
        self.end(&[from, to], outcome);
    }

    fn pushed(&mut self, span: Span, outcome: Outcome, key: Key, elements: Vec<Element>) {
        self.history.push(Push { span, outcome, key, elements });
    }

    fn popped(&mut self, span: Span, key: Key, taken: Taken) {
        self.history.pop(Pop { span, keys: vec![key], count_max: 1, is_patient: false, to: None, taken });
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

/// All that a key has, in the order in which it came.
fn left(key: Key, frame: &Frame) -> Result<Vec<u32>, String> {
    let Frame::Array(frames) = frame else { return Err(unexpected("all of it", frame)) };
    let element = |frame| number(frame)?.and_then(|it| u32::try_from(it).ok()).ok_or("no element".to_owned());
    let mut elements = frames.iter().map(element).collect::<Result<Vec<_>, _>>()?;
    if key.order == Order::Moved {
        elements.reverse();
    }
    Ok(elements)
}

impl Workload for Queues {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn prepare(&self, _: &mut Request) {}

    fn begin(&mut self, client: u32, now: u64, request: &mut Request) {
        let what = match self.rng.u8(..20) {
            0..4 => self.push(request),
            4..6 => {
                let (from, to) = (self.key(Order::Any), self.key(Order::First));
                request.say(&format!("WATCH {to}"));
                request.say(&format!("LLEN {to}"));
                What::Watching { from, to }
            }
            6..10 => self.pass(request),
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
                self.history.pop(Pop { span, keys, count_max, is_patient, to: None, taken });
            }
            What::Passing { from, to, is_patient } => {
                let taken = match number(&replies[0])?.map(u32::try_from) {
                    None => Taken::Nothing,
                    Some(Ok(number)) => Taken::From(from, vec![number]),
                    Some(Err(_)) => return Err(unexpected("what was moved", &replies[0])),
                };
                self.passed(span, (from, to), is_patient, taken);
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
                self.history.last(key, left(key, &replies[0])?);
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
                self.history.pop(Pop { span, keys, count_max, is_patient, to: None, taken: Taken::Unknown });
            }
            What::Passing { from, to, is_patient } => self.passed(span, (from, to), is_patient, Taken::Unknown),
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
