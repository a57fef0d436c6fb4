//! Commands that are one change of several shards by themselves: MSET, and those that look before they change: MSETNX, RENAME,
//! RENAMENX, COPY. Their rows are locked, looked at where that is needed, and then the shards do what follows from it.

use super::Machine;
use super::ask::Deferred;
use super::code::ScriptRun;
use super::participate::locks_of;
use super::plan::{Exec, Plan};
use crate::bug::Bug;
use crate::command::args::{Args, copied, parse_integer};
use crate::command::keys::CopyTo;
use crate::command::table::{self, Entry};
use crate::command::{Call, Spread};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::notify::Voice;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::route;
use crate::shard::Kind;
use crate::tx::{RowKeys, SeenRow, Told};
use cairn_storage::units::ShardId;

/// What is looked at, and what follows from it.
pub(super) struct Look {
    /// By shard. Taken when the shards are asked.
    pub asked: Vec<(ShardId, RowKeys)>,
    /// The answers, in the same order.
    pub seen: Vec<Option<Vec<Option<SeenRow>>>>,
    then: Then,
}

enum Then {
    /// The pairs are set if none of their keys is there.
    SetIfNone,
    Move(Pair),
    Copy(Pair),
    /// The sub-rows of a counter go, and their sum is added to its base.
    Gather(Base),
    /// The sum of the sub-rows is all that is wanted.
    Sum,
}

/// The base of a split counter.
pub(super) struct Base {
    pub shard: ShardId,
    pub db: u8,
    pub head: u64,
    pub key: Vec<u8>,
}

/// A row that goes to another key, and what it is to do if something is there.
struct Pair {
    source: (u8, Vec<u8>),
    target: (u8, Vec<u8>),
    is_replacing: bool,
}

impl Pair {
    /// The command that it is of, taken in steps.
    fn in_steps(&self, is_move: bool, is_resp3: bool) -> Box<ScriptRun> {
        let Pair { source: (db, source), target: (to, target), is_replacing } = self;
        let to = to.to_string();
        let name: &[u8] = match (is_move, is_replacing) {
            (true, true) => b"rename",
            (true, false) => b"renamenx",
            (false, _) => b"copy",
        };
        let mut words: Vec<&[u8]> = vec![name, source, target];
        if !is_move {
            words.extend([b"db", to.as_bytes()]);
            words.extend(is_replacing.then_some(&b"replace"[..]));
        }
        let (bytes, ranges) = copied(words);
        let spec = table::find(name).expect("it is in the table");
        Machine::program_of(spec, &Args::new(&bytes, &ranges), *db, is_resp3)
    }
}

/// What comes of a look where the parts do nothing.
pub(super) enum Instead {
    /// The client is answered.
    Answer(Replies),
    /// What was seen is large: it is moved piece by piece.
    Steps(Box<ScriptRun>),
}

impl From<Replies> for Instead {
    fn from(replies: Replies) -> Instead {
        Instead::Answer(replies)
    }
}

impl Look {
    fn new(asked: Vec<(ShardId, RowKeys)>, then: Then) -> Look {
        let seen = asked.iter().map(|_| None).collect();
        Look { asked, seen, then }
    }

    /// The merge of a split counter, whose sub-rows are at these shards.
    pub fn of_split(base: Base, shards: &[ShardId]) -> Look {
        let asked = shards.iter().map(|shard| (*shard, vec![(base.db, base.key.clone(), Told::String)])).collect();
        Look::new(asked, Then::Gather(base))
    }

    /// A look at the sub-rows of a split counter, at these shards.
    pub fn of_sub_rows(db: u8, key: &[u8], shards: &[ShardId]) -> Look {
        let asked = shards.iter().map(|shard| (*shard, vec![(db, key.to_vec(), Told::String)])).collect();
        Look::new(asked, Then::Sum)
    }

    /// A shard has answered. Whether all have.
    pub fn note(&mut self, from: ShardId, rows: Vec<Option<SeenRow>>) -> bool {
        let at = self.asked.iter().position(|(shard, _)| *shard == from).expect("it was asked");
        self.seen[at] = Some(rows);
        self.seen.iter().all(Option::is_some)
    }

    fn is_any_there(&self) -> bool {
        self.seen.iter().flatten().flatten().any(Option::is_some)
    }

    /// The one row that a shard was asked for.
    fn row(&mut self, at: usize) -> Option<SeenRow> {
        self.seen[at].take()?.pop()?
    }
}

impl Machine {
    /// Begins a command whose keys are on several shards, and which is one change of all of them.
    #[cold]
    pub(super) fn begin_whole(&mut self, conn: ConnId, call: &Call<'_>, out: &mut Replies) -> Result<(), Stop> {
        if let Spread::Program(_) = call.spec.spread {
            self.start_deferred(conn, Machine::of_program(call), call, out);
            return Ok(());
        }
        let exec = self.plan_whole(call)?;
        let txn = self.name_txn()?;
        self.start_deferred(conn, Deferred::Exec { txn, exec }, call, out);
        Ok(())
    }

    fn plan_whole(&self, call: &Call<'_>) -> Result<Box<Exec>, Refusal> {
        let mut plan = Plan::new(self);
        let (args, spec) = (call.args, call.spec);
        let look =
            match spec.spread {
                Spread::Pairs => {
                    plan.add(call);
                    None
                }
                Spread::PairsIfNone => {
                    let mset = table::find(b"mset").expect("it is in the table");
                    plan.add(&Call { spec: mset, ..*call });
                    let mut asked: Vec<(ShardId, RowKeys)> = Vec::new();
                    for at in spec.row_keys(args) {
                        let shard = self.owner(route::slot(&args[at]));
                        let key = (call.db, args[at].to_vec(), Told::Nothing);
                        match asked.iter_mut().find(|(known, _)| *known == shard) {
                            Some((_, keys)) => keys.push(key),
                            None => asked.push((shard, vec![key])),
                        }
                    }
                    plan.answer(|reply| reply.integer(1));
                    Some(Look::new(asked, Then::SetIfNone))
                }
                Spread::Move { is_replacing } => {
                    let then = Then::Move(pair(call, CopyTo { db: call.db, is_replacing }));
                    Some(self.plan_pair(&mut plan, call, then, |reply| {
                        if is_replacing { reply.ok() } else { reply.integer(1) }
                    }))
                }
                Spread::Copy => {
                    let then = Then::Copy(pair(call, CopyTo::parse(call)?));
                    Some(self.plan_pair(&mut plan, call, then, |reply| reply.integer(1)))
                }
                Spread::Sum | Spread::Place | Spread::Refuse | Spread::Program(_) => {
                    unreachable!("these are no one change")
                }
            };
        Ok(plan.finish(call.is_resp3, false, look))
    }

    fn plan_pair(&self, plan: &mut Plan<'_>, call: &Call<'_>, then: Then, done: impl FnOnce(&mut Reply<'_>)) -> Look {
        let (Then::Move(pair) | Then::Copy(pair)) = &then else { unreachable!("the others have no pair") };
        let shards = [&pair.source, &pair.target].map(|(_, key)| self.owner(route::slot(key)));
        let locks = locks_of(self, call);
        plan.lock(shards[0], locks[..1].to_vec());
        plan.lock(shards[1], locks[1..].to_vec());
        let of = |(db, key): &(u8, Vec<u8>), told| vec![(*db, key.clone(), told)];
        let asked = vec![(shards[0], of(&pair.source, Told::Payload)), (shards[1], of(&pair.target, Told::Nothing))];
        plan.answer(done);
        Look::new(asked, then)
    }

    /// All that was to be seen has been: the parts get what follows from it, or something else comes of it.
    pub(super) fn after_look(&self, exec: &mut Exec) -> Result<(), Instead> {
        let mut look = exec.look.take().expect("it has looked");
        match &look.then {
            Then::Gather(base) => {
                exec.voice = Voice::Silent;
                return gather(exec, &look, base);
            }
            Then::Sum => return Err(sum_of(&look).map_or_else(refused, |sum| integer(sum.unwrap_or(0))).into()),
            _ => {}
        }
        let is_any_there = look.is_any_there();
        let (pair, is_move) = match &mut look.then {
            Then::SetIfNone if is_any_there => return Err(integer(0).into()),
            Then::SetIfNone => return Ok(()),
            Then::Move(pair) => (pair, true),
            Then::Copy(pair) => (pair, false),
            Then::Gather(_) | Then::Sum => unreachable!("it was gathered"),
        };
        let (source, target) = (std::mem::take(&mut pair.source), std::mem::take(&mut pair.target));
        let is_replacing = pair.is_replacing;
        let (row, there) = (look.row(0), look.row(1));
        let Some(SeenRow { kind, expire_ms, value, is_large }) = row else {
            let reply = if is_move { refused(Refusal::NoSuchKey) } else { integer(0) };
            return Err(reply.into());
        };
        if there.is_some() && !is_replacing {
            return Err(integer(0).into());
        }
        if is_large {
            let pair = Pair { source, target, is_replacing };
            return Err(Instead::Steps(pair.in_steps(is_move, exec.is_resp3)));
        }
        exec.voice = if is_move { Voice::Renames } else { Voice::Copies };
        // What cannot be done there is not undone here.
        exec.rolls_back = true;
        let ms = expire_ms.map(|ms| ms.to_string());
        let ms = ms.as_deref().map(str::as_bytes);
        let words: Vec<&[u8]> = match (kind, ms) {
            (Kind::String, None) => vec![b"SET", &target.1, &value],
            (Kind::String, Some(ms)) => vec![b"SET", &target.1, &value, b"PXAT", ms],
            (_, ms) => vec![b"RESTORE", &target.1, ms.unwrap_or(b"0"), &value, b"REPLACE", b"ABSTTL"],
        };
        let name = if kind == Kind::String { "set" } else { "restore" };
        let owner = |key: &[u8]| self.owner(route::slot(key));
        if !is_move || self.planted != Some(Bug::RenameHalf) {
            exec.give(owner(&target.1), entry(name), target.0, self.shard.head(&target.1), &words);
        }
        if is_move {
            exec.give(owner(&source.1), entry("del"), source.0, self.shard.head(&source.1), &[b"DEL", &source.1]);
        }
        Ok(())
    }
}

/// Keeps S2: what is deleted is added. There may be nothing to do.
fn gather(exec: &mut Exec, look: &Look, base: &Base) -> Result<(), Instead> {
    let (db, head, key) = (base.db, base.head, &base.key[..]);
    let sum = sum_of(look).map_err(|refusal| Instead::from(refused(refusal)))?;
    for (shard, _) in sub_rows(look) {
        exec.give(shard, entry("del"), db, head, &[b"DEL", key]);
    }
    // Whoever watches the counter is to know, even if what was added comes to nothing.
    if let Some(sum) = sum {
        exec.give(base.shard, entry("incrby"), db, head, &[b"INCRBY", key, itoa::Buffer::new().format(sum).as_bytes()]);
    }
    Ok(())
}

/// The sub-rows that are there, and their shards.
fn sub_rows(look: &Look) -> impl Iterator<Item = (ShardId, &SeenRow)> {
    let asked = look.asked.iter().zip(&look.seen);
    asked.filter_map(|((shard, _), seen)| Some((*shard, seen.as_ref()?.first()?.as_ref()?)))
}

/// Their sum, if there are any.
fn sum_of(look: &Look) -> Result<Option<i64>, Refusal> {
    let mut sum = None;
    for (_, row) in sub_rows(look) {
        let part = parse_integer(&row.value).ok_or(Refusal::NotInteger)?;
        sum = Some(sum.unwrap_or(0i64).saturating_add(part));
    }
    Ok(sum)
}

pub(super) fn refused(refusal: Refusal) -> Replies {
    let mut replies = Replies::default();
    Reply::new(&mut replies, false).refusal(&refusal);
    replies
}

fn pair(call: &Call<'_>, to: CopyTo) -> Pair {
    let (source, target) = (call.args[1].to_vec(), call.args[2].to_vec());
    Pair { source: (call.db, source), target: (to.db, target), is_replacing: to.is_replacing }
}

pub(super) fn entry(name: &str) -> Entry {
    table::entry(name.as_bytes()).expect("it is in the table")
}

pub(super) fn integer(value: i64) -> Replies {
    let mut replies = Replies::default();
    Reply::new(&mut replies, false).integer(value);
    replies
}
