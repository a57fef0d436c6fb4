//! Transactions over up to four lists: MULTI and EXEC, with WATCH and reads before them, refused and discarded ones, several sent at once,
//! single commands, and snapshots, read in two requests; if so wished those over several requests, scripts, and what is done once however
//! often it is asked for.
//! A list is a string of numbers with a comma behind each.

use super::once;
use super::{Request, Tally, Turnover, Workload, executed, is_across, is_ok, unexpected};
use crate::sim::reply::Frame;
use crate::verify::anomaly::{self, Anomaly};
use crate::verify::list_append::{ListHistory, ListOp};
use crate::verify::span::{Outcome, Span};
use std::ops::Range;

/// Appends to a key, until another one takes its place: a read brings all of them.
const APPENDS_MAX: u32 = 32;
const KEYS_MAX: u32 = 4;
/// Transactions that are sent at once.
const PIPELINE_MAX: usize = 4;

/// Lists and those who use them.
pub struct Lists {
    rng: fastrand::Rng,
    shards: u16,
    keys: Turnover,
    elements: u32,
    /// By client.
    under_way: Vec<Option<Plan>>,
    /// What a client is to ask for once more: it was not told what has become of it.
    again: Vec<Option<Plan>>,
    /// Transactions over several requests, scripts and IDEMPOTENT too.
    has_all: bool,
    tokens: u32,
    history: ListHistory,
    /// What came later on a connection was done before what came earlier.
    overtaken: Vec<Anomaly>,
    tally: Tally,
}

struct Plan {
    invoked: u64,
    kind: Kind,
    ops: Vec<ListOp>,
    /// Transactions that were sent at once: where each ends among `ops`.
    ends: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Multi,
    /// Several of them, none of which waits for the one before it.
    Pipelined,
    /// Reads, whose keys are watched, are under way; the appends come after them.
    Watching,
    Watched,
    /// The first of its reads are under way, and then the others.
    Looking,
    LookingOn,
    Discarded,
    /// With a command that is none: EXEC refuses all of them.
    Refused,
    /// BEGIN and some of it are under way, or the rest of it; whether ROLLBACK comes after that, or COMMIT.
    Opening(bool),
    Going(bool),
    Opened,
    RolledBack,
    /// Reads, and then one append: a script, or a function, that fails has not changed anything before.
    Script,
    /// The functions are loaded once more, while others use them.
    Library,
    /// IDEMPOTENT, with this token; a script or a MULTI.
    Once(u32),
    /// It was answered, and is asked for again.
    Repeated(u32),
    Last,
}

/// The answer to FUNCTION LOAD.
fn is_loaded(reply: &Frame) -> Result<(), String> {
    match reply {
        Frame::Bulk(name) if *name == once::FUNCTION.as_bytes() => Ok(()),
        other => Err(unexpected("FUNCTION LOAD", other)),
    }
}

fn name(key: u32) -> String {
    format!("la:{key}")
}

impl Lists {
    pub fn new(seed: u64, clients: u32, keys: u32, shards: u16) -> Lists {
        Lists {
            rng: fastrand::Rng::with_seed(seed),
            shards,
            keys: Turnover::new(keys, APPENDS_MAX),
            elements: 0,
            under_way: (0..clients).map(|_| None).collect(),
            again: (0..clients).map(|_| None).collect(),
            has_all: false,
            tokens: 0,
            history: ListHistory::default(),
            overtaken: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// With what only Cairn has.
    pub fn with_all(self) -> Lists {
        Lists { has_all: true, ..self }
    }

    fn key(&mut self) -> u32 {
        self.keys.any(&mut self.rng)
    }

    fn append(&mut self) -> ListOp {
        let key = self.key();
        self.append_to(key)
    }

    fn append_to(&mut self, key: u32) -> ListOp {
        let element = self.elements;
        self.elements += 1;
        self.keys.note_use(key);
        ListOp::Append { key, element }
    }

    fn mixed(&mut self) -> Vec<ListOp> {
        let count = self.rng.u32(1..=KEYS_MAX);
        let op = |lists: &mut Lists| {
            if lists.rng.bool() { lists.append() } else { ListOp::Read { key: lists.key(), list: Vec::new() } }
        };
        (0..count).map(|_| op(self)).collect()
    }

    /// Reads of some keys, then appends to some of the same.
    fn watching(&mut self) -> Vec<ListOp> {
        let mut keys: Vec<u32> = (0..self.rng.u32(1..=KEYS_MAX - 1)).map(|_| self.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut ops: Vec<ListOp> = keys.iter().map(|key| ListOp::Read { key: *key, list: Vec::new() }).collect();
        for _ in 0..self.rng.usize(1..=keys.len()) {
            let key = keys[self.rng.usize(..keys.len())];
            ops.push(self.append_to(key));
        }
        ops
    }

    fn plan(&mut self) -> (Kind, Vec<ListOp>) {
        if self.has_all && self.rng.u8(..5) < 2 {
            return self.plan_more();
        }
        match self.rng.u8(..100) {
            0..15 => {
                let op =
                    if self.rng.bool() { self.append() } else { ListOp::Read { key: self.key(), list: Vec::new() } };
                (Kind::Single, vec![op])
            }
            15..40 => (Kind::Watching, self.watching()),
            40..43 => (Kind::Discarded, vec![self.append(), self.append()]),
            43..46 => (Kind::Refused, vec![self.append(), self.append()]),
            46..56 => (Kind::Pipelined, Vec::new()),
            56..68 => {
                let reads = self.rng.u32(2..=KEYS_MAX);
                (Kind::Looking, (0..reads).map(|_| ListOp::Read { key: self.key(), list: Vec::new() }).collect())
            }
            _ => (Kind::Multi, self.mixed()),
        }
    }

    fn plan_more(&mut self) -> (Kind, Vec<ListOp>) {
        match self.rng.u8(..20) {
            0..10 => (Kind::Opening(false), self.mixed()),
            10..12 => (Kind::Opening(true), self.mixed()),
            12 if self.rng.u8(..4) == 0 => (Kind::Library, Vec::new()),
            12..16 => {
                let mut ops: Vec<ListOp> =
                    (0..self.rng.u32(..KEYS_MAX)).map(|_| ListOp::Read { key: self.key(), list: Vec::new() }).collect();
                ops.push(self.append());
                (Kind::Script, ops)
            }
            _ => {
                self.tokens += 1;
                (Kind::Once(self.tokens), self.mixed())
            }
        }
    }

    /// Asks for what a plan has left; what is not answered is asked for again.
    fn ask(&mut self, client: u32, plan: Plan, request: &mut Request) {
        let Plan { kind, ops, .. } = &plan;
        match *kind {
            Kind::Opening(_) => {
                request.say("BEGIN");
                say(&ops[..first_half(ops)], request);
            }
            Kind::Script => request.say(&format!("{} {}", once::called(self.elements), arguments(ops))),
            Kind::Once(token) | Kind::Repeated(token) if token % 3 == 0 => {
                request.say(&format!("{} {} {}", once::prefix(token), once::called(token), arguments(ops)));
            }
            Kind::Library => request.say(&format!("FUNCTION LOAD REPLACE {}", once::LIBRARY)),
            Kind::Once(token) | Kind::Repeated(token) => {
                request.say(&format!("{} MULTI", once::prefix(token)));
                say(ops, request);
                request.say("EXEC");
            }
            _ => unreachable!("it is planned elsewhere"),
        }
        self.under_way[client as usize] = Some(plan);
    }

    fn begin_pipelined(&mut self, client: u32, now: u64, request: &mut Request) {
        let (mut ops, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..self.rng.usize(2..=PIPELINE_MAX) {
            let of_one = self.mixed();
            request.say("MULTI");
            say(&of_one, request);
            request.say("EXEC");
            ops.extend(of_one);
            ends.push(ops.len());
        }
        self.under_way[client as usize] = Some(Plan { invoked: now, kind: Kind::Pipelined, ops, ends });
    }

    /// What is done once was answered.
    fn on_once(
        &mut self,
        client: u32,
        now: u64,
        (token, replies): (u32, &[Frame]),
        request: &mut Request,
    ) -> Result<(), String> {
        let mut plan = self.under_way[client as usize].take().expect("a client that is answered has asked");
        let is_first = matches!(plan.kind, Kind::Once(_));
        let before = plan.ops.clone();
        match replies.last().expect("something was asked") {
            Frame::Array(frames) => {
                if let Err(wrong) = take(plan.ops.iter_mut(), frames) {
                    self.under_way[client as usize] = Some(plan);
                    return Err(wrong);
                }
            }
            // An earlier attempt may be under way.
            refused if once::is_in_the_way(refused) => {
                self.ask(client, plan, request);
                return Ok(());
            }
            other => {
                self.under_way[client as usize] = Some(plan);
                return Err(unexpected("IDEMPOTENT", other));
            }
        }
        if is_first {
            let ops = plan.ops.clone();
            self.record(client, plan, now, Outcome::Committed);
            if token % 2 == 0 {
                let again = Plan { invoked: now, kind: Kind::Repeated(token), ops, ends: Vec::new() };
                self.ask(client, again, request);
            }
        } else if plan.ops != before {
            let what = format!("what was done once (token {token}) is answered otherwise when it is asked for again");
            let witness = vec![format!("{before:?}"), format!("{:?}", plan.ops)];
            self.overtaken.push(Anomaly { kind: anomaly::Kind::Duplicate, what, witness });
        }
        Ok(())
    }

    /// Each transaction of a plan by itself.
    fn record(&mut self, client: u32, plan: Plan, completed: u64, outcome: Outcome) {
        let Plan { invoked, kind, mut ops, ends } = plan;
        if outcome == Outcome::Aborted
            && matches!(kind, Kind::Opening(_) | Kind::Going(_) | Kind::Opened | Kind::RolledBack | Kind::Script)
        {
            // It has seen what it had done itself, which nobody else has, or it has seen nothing.
            ops.retain(|op| matches!(op, ListOp::Append { .. }));
        }
        let mut ops = ops.into_iter();
        let mut begin = 0;
        for end in ends {
            let of_one: Vec<ListOp> = ops.by_ref().take(end - begin).collect();
            self.record_one(client, (invoked, completed), outcome, of_one);
            begin = end;
        }
        let rest: Vec<ListOp> = ops.collect();
        if begin == 0 {
            self.record_one(client, (invoked, completed), outcome, rest);
        }
    }

    fn record_one(&mut self, client: u32, time: (u64, u64), outcome: Outcome, mut ops: Vec<ListOp>) {
        if outcome == Outcome::Unknown {
            ops.retain(|op| matches!(op, ListOp::Append { .. }));
        }
        let keys = ops.iter().map(|op| match op {
            ListOp::Append { key, .. } | ListOp::Read { key, .. } => name(*key),
        });
        self.tally.across += u64::from(is_across(keys, self.shards));
        self.tally.note(outcome);
        let (invoked, completed) = time;
        self.history.record(Span { client, invoked, completed }, outcome, ops);
    }
}

/// The replies to transactions that were sent at once. Answers what is wrong if one does not see what an earlier one has appended.
fn take_pipelined(plan: &mut Plan, mut frames: &[Frame]) -> Result<Option<Anomaly>, String> {
    let (mut begin, mut overtaken) = (0, None);
    for &end in &plan.ends {
        let (of_one, rest) = frames.split_at(end - begin + 2);
        frames = rest;
        let replies = executed(of_one)?.ok_or("EXEC answers nil though nothing is watched")?;
        let (before, from) = plan.ops.split_at_mut(begin);
        take(from.iter_mut().take(end - begin), replies)?;
        for read in &from[..end - begin] {
            let ListOp::Read { key, list } = read else { continue };
            let is_missed = |op: &&ListOp| matches!(op, ListOp::Append { key: of, element } if of == key && !list.contains(element));
            if let Some(missed) = before.iter().find(is_missed) {
                let what = format!("{} does not have what the same connection has sent before", name(*key));
                let witness = vec![format!("{missed:?}"), format!("{read:?}")];
                overtaken = Some(Anomaly { kind: anomaly::Kind::Stale, what, witness });
            }
        }
        begin = end;
    }
    Ok(overtaken)
}

/// The commands of a plan, without what is around them.
fn say(ops: &[ListOp], request: &mut Request) {
    for op in ops {
        match op {
            ListOp::Append { key, element } => request.say(&format!("APPEND {} {element},", name(*key))),
            ListOp::Read { key, .. } => request.say(&format!("GET {}", name(*key))),
        }
    }
}

/// How many commands of an open transaction come with BEGIN.
fn first_half(ops: &[ListOp]) -> usize {
    ops.len().div_ceil(2)
}

/// Some commands of an open transaction are answered: the rest of them is asked for, if there is one, and then its end.
fn go_on(
    plan: &mut Plan,
    (answered, replies): (Range<usize>, &[Frame]),
    (has_rest, rolls_back): (bool, bool),
    request: &mut Request,
) -> Result<(), String> {
    let has_ended = once::has_ended(replies);
    if !has_ended {
        take(plan.ops[answered.clone()].iter_mut(), replies)?;
    }
    plan.kind = if has_ended || !has_rest && rolls_back {
        request.say("ROLLBACK");
        Kind::RolledBack
    } else if has_rest {
        say(&plan.ops[answered.end..], request);
        Kind::Going(rolls_back)
    } else {
        request.say("COMMIT");
        Kind::Opened
    };
    Ok(())
}

/// An open transaction, or a script, was answered. `None`: it goes on.
fn on_more(plan: &mut Plan, replies: &[Frame], request: &mut Request) -> Result<Option<Outcome>, String> {
    let half = first_half(&plan.ops);
    let len = plan.ops.len();
    match plan.kind {
        Kind::Opening(rolls_back) => {
            is_ok(&replies[0])?;
            go_on(plan, (0..half, &replies[1..]), (half < len, rolls_back), request).map(|()| None)
        }
        Kind::Going(rolls_back) => go_on(plan, (half..len, replies), (false, rolls_back), request).map(|()| None),
        Kind::Opened => {
            let is_committed = once::is_committed(&replies[0])?;
            Ok(Some(if is_committed { Outcome::Committed } else { Outcome::Aborted }))
        }
        Kind::RolledBack => is_ok(&replies[0]).map(|()| Some(Outcome::Aborted)),
        _ => match &replies[0] {
            Frame::Array(frames) => take(plan.ops.iter_mut(), frames).map(|()| Some(Outcome::Committed)),
            refused if once::is_in_the_way(refused) => Ok(Some(Outcome::Aborted)),
            other => Err(unexpected("a script", other)),
        },
    }
}

/// Those of [`SCRIPT`].
fn arguments(ops: &[ListOp]) -> String {
    let keys = ops.iter().map(|op| match op {
        ListOp::Append { key, .. } | ListOp::Read { key, .. } => name(*key),
    });
    let values = ops.iter().map(|op| match op {
        ListOp::Append { element, .. } => format!("{element},"),
        ListOp::Read { .. } => once::READ.to_owned(),
    });
    let words: Vec<String> = std::iter::once(ops.len().to_string()).chain(keys).chain(values).collect();
    words.join(" ")
}

fn appends(ops: &[ListOp]) -> &[ListOp] {
    let reads = ops.iter().take_while(|op| matches!(op, ListOp::Read { .. })).count();
    &ops[reads..]
}

/// Fills in what was read.
fn take<'a>(ops: impl Iterator<Item = &'a mut ListOp>, frames: &[Frame]) -> Result<(), String> {
    for (op, frame) in ops.zip(frames) {
        match (op, frame) {
            (ListOp::Append { .. }, Frame::Integer(_)) | (ListOp::Read { .. }, Frame::Null) => {}
            (ListOp::Read { list, .. }, Frame::Bulk(bytes)) => *list = elements(bytes),
            (_, other) => return Err(unexpected("a list", other)),
        }
    }
    Ok(())
}

fn elements(bytes: &[u8]) -> Vec<u32> {
    let texts = bytes.strip_suffix(b",").unwrap_or(bytes).split(|byte| *byte == b',');
    let numbers = texts.map(|text| str::from_utf8(text).ok().and_then(|text| text.parse().ok()));
    // Half of an element is nobody's.
    let whole = bytes.ends_with(b",").then_some(0);
    let mut numbers: Vec<u32> = numbers.map(|number| number.unwrap_or(ListHistory::FOREIGN)).collect();
    if let (None, Some(last)) = (whole, numbers.last_mut()) {
        *last = ListHistory::FOREIGN;
    }
    numbers
}

impl Workload for Lists {
    fn name(&self) -> &'static str {
        "list-append"
    }

    fn prepare(&self, request: &mut Request) {
        if self.has_all {
            request.say(&format!("FUNCTION LOAD {}", once::LIBRARY));
        }
    }

    fn begin(&mut self, client: u32, now: u64, request: &mut Request) {
        if let Some(plan) = self.again[client as usize].take() {
            return self.ask(client, plan, request);
        }
        let (kind, ops) = self.plan();
        match kind {
            Kind::Single => say(&ops, request),
            Kind::Watching => {
                let reads = &ops[..ops.len() - appends(&ops).len()];
                let keys = reads.iter().map(|op| match op {
                    ListOp::Append { key, .. } | ListOp::Read { key, .. } => name(*key),
                });
                request.say(&format!("WATCH {}", keys.collect::<Vec<_>>().join(" ")));
                say(reads, request);
            }
            Kind::Looking => {
                request.say("BEGIN READ ONLY");
                say(&ops[..ops.len() / 2], request);
            }
            Kind::Pipelined => return self.begin_pipelined(client, now, request),
            Kind::Opening(_) | Kind::Script | Kind::Library | Kind::Once(_) => {
                return self.ask(client, Plan { invoked: now, kind, ops, ends: Vec::new() }, request);
            }
            _ => {
                request.say("MULTI");
                say(&ops, request);
                if kind == Kind::Refused {
                    request.say("APPEND alone");
                }
                request.say(if kind == Kind::Discarded { "DISCARD" } else { "EXEC" });
            }
        }
        self.under_way[client as usize] = Some(Plan { invoked: now, kind, ops, ends: Vec::new() });
    }

    fn begin_last(&mut self, client: u32, now: u64, request: &mut Request) -> bool {
        if let Some(plan) = self.again[client as usize].take() {
            self.ask(client, plan, request);
            return true;
        }
        let keys: Vec<u32> = std::iter::from_fn(|| self.keys.next_last()).take(KEYS_MAX as usize).collect();
        if keys.is_empty() {
            return false;
        }
        let ops: Vec<ListOp> = keys.into_iter().map(|key| ListOp::Read { key, list: Vec::new() }).collect();
        request.say("MULTI");
        say(&ops, request);
        request.say("EXEC");
        self.under_way[client as usize] = Some(Plan { invoked: now, kind: Kind::Last, ops, ends: Vec::new() });
        true
    }

    fn on_replies(&mut self, client: u32, now: u64, replies: &[Frame], request: &mut Request) -> Result<(), String> {
        let plan = self.under_way[client as usize].as_mut().expect("a client that is answered has asked");
        let outcome = match plan.kind {
            Kind::Single => take(plan.ops.iter_mut(), replies).map(|()| Outcome::Committed),
            Kind::Watching => {
                is_ok(&replies[0])?;
                take(plan.ops.iter_mut(), &replies[1..])?;
                plan.kind = Kind::Watched;
                request.say("MULTI");
                say(appends(&plan.ops), request);
                request.say("EXEC");
                return Ok(());
            }
            Kind::Watched => {
                let reads = plan.ops.len() - appends(&plan.ops).len();
                match executed(replies)? {
                    Some(frames) => take(plan.ops.iter_mut().skip(reads), frames).map(|()| Outcome::Committed),
                    None => Ok(Outcome::Aborted),
                }
            }
            // It has not begun, or is over.
            Kind::Looking if once::is_too_old(&replies[..1]) => Ok(Outcome::Aborted),
            Kind::LookingOn if once::is_too_old(replies) => Ok(Outcome::Aborted),
            Kind::Looking if once::is_too_old(replies) => {
                plan.kind = Kind::RolledBack;
                request.say("ROLLBACK");
                return Ok(());
            }
            Kind::Looking => {
                is_ok(&replies[0])?;
                take(plan.ops.iter_mut(), &replies[1..])?;
                plan.kind = Kind::LookingOn;
                say(&plan.ops[plan.ops.len() / 2..], request);
                request.say("COMMIT");
                return Ok(());
            }
            Kind::LookingOn => {
                let first = plan.ops.len() / 2;
                let (committed, reads) = replies.split_last().expect("COMMIT has a reply");
                is_ok(committed)?;
                take(plan.ops.iter_mut().skip(first), reads).map(|()| Outcome::Committed)
            }
            Kind::Multi | Kind::Last => match executed(replies)? {
                Some(frames) => take(plan.ops.iter_mut(), frames).map(|()| Outcome::Committed),
                None => Err("EXEC answers nil though nothing is watched".to_owned()),
            },
            Kind::Pipelined => take_pipelined(plan, replies).map(|overtaken| {
                self.overtaken.extend(overtaken);
                Outcome::Committed
            }),
            Kind::Opening(_) | Kind::Going(_) | Kind::Opened | Kind::RolledBack | Kind::Script => {
                match on_more(plan, replies, request)? {
                    Some(outcome) => Ok(outcome),
                    None => return Ok(()),
                }
            }
            Kind::Library => return is_loaded(&replies[0]).map(|()| self.under_way[client as usize] = None),
            Kind::Once(token) | Kind::Repeated(token) => return self.on_once(client, now, (token, replies), request),
            Kind::Discarded => is_ok(&replies[replies.len() - 1]).map(|()| Outcome::Aborted),
            Kind::Refused => match &replies[replies.len() - 1] {
                Frame::Line(line) if line.starts_with(b"-EXECABORT") => Ok(Outcome::Aborted),
                other => Err(unexpected("EXEC of what cannot be", other)),
            },
        }?;
        let plan = self.under_way[client as usize].take().expect("it was there a moment ago");
        self.record(client, plan, now, outcome);
        Ok(())
    }

    fn on_lost(&mut self, client: u32) {
        let Some(plan) = self.under_way[client as usize].take() else { return };
        match plan.kind {
            // Its appends were never sent, nor are those of the others executed by anybody.
            Kind::Watching
            | Kind::Discarded
            | Kind::Refused
            | Kind::Looking
            | Kind::LookingOn
            | Kind::Opening(_)
            | Kind::Going(_)
            | Kind::RolledBack => self.record(client, plan, Span::OPEN, Outcome::Aborted),
            Kind::Last => plan.ops.iter().for_each(|op| match op {
                ListOp::Append { key, .. } | ListOp::Read { key, .. } => self.keys.read_again(*key),
            }),
            Kind::Once(_) => self.again[client as usize] = Some(plan),
            Kind::Repeated(_) | Kind::Library => {}
            Kind::Single | Kind::Multi | Kind::Pipelined | Kind::Watched | Kind::Opened | Kind::Script => {
                self.record(client, plan, Span::OPEN, Outcome::Unknown);
            }
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn check(&self) -> Vec<Anomaly> {
        self.overtaken.iter().cloned().chain(self.history.check()).collect()
    }
}
