//! Commands that set one string, and the options that SET and GETEX share.

use super::{answer, string};
use crate::command::Call;
use crate::command::args::Args;
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard, Ttl};

#[inline]
pub fn set(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    if call.args.len() > 3 {
        return set_with_options(shard, call, reply);
    }
    shard.write(call, &call.args[1], Kind::String, Ttl::Clear, &call.args[2])?;
    shard.notify(call, Events::STRING, "set", &call.args[1]);
    reply.ok();
    Ok(())
}

fn set_with_options(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let options = Options::parse(call.args, 3, Words::Set)?;
    let deadline = options.deadline(call)?;
    let key = &call.args[1];
    let has_row = if options.is_get {
        let before = string(shard.read(call, key)?)?;
        match before {
            Some(value) => answer(shard, call, key, value, reply)?,
            None => reply.null(),
        }
        before.is_some()
    } else {
        options.condition.is_some() && shard.peek_bare(call, key)?.is_some()
    };
    if options.condition.is_some_and(|condition| has_row != (condition == Condition::IfThere)) {
        if !options.is_get {
            reply.null();
        }
        return Ok(());
    }
    match (options.lifetime, deadline) {
        // Set and expired at once: nothing is there afterwards.
        (_, Some(deadline)) if deadline <= call.now.unix_ms() => {
            if !shard.remove(call, key)? {
                shard.notify(call, Events::NEW, "new", key);
            }
        }
        (_, Some(deadline)) => shard.write(call, key, Kind::String, Ttl::At(deadline), &call.args[2])?,
        (Some(Lifetime::Keep), None) => shard.write(call, key, Kind::String, Ttl::Keep, &call.args[2])?,
        (_, None) => shard.write(call, key, Kind::String, Ttl::Clear, &call.args[2])?,
    }
    shard.notify(call, Events::STRING, "set", key);
    if let Some(deadline) = deadline {
        shard.notify(call, Events::GENERIC, "expire", key);
        if deadline <= call.now.unix_ms() {
            shard.notify(call, Events::EXPIRED, "expired", key);
        }
    }
    if !options.is_get {
        reply.ok();
    }
    Ok(())
}

pub fn setnx(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let is_free = shard.peek_bare(call, key)?.is_none();
    if is_free {
        shard.write(call, key, Kind::String, Ttl::Clear, &call.args[2])?;
        shard.notify(call, Events::STRING, "set", key);
    }
    reply.integer(i64::from(is_free));
    Ok(())
}

pub fn setex(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    set_for(shard, call, reply, Unit::Seconds)
}

pub fn psetex(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    set_for(shard, call, reply, Unit::Milliseconds)
}

fn set_for(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, unit: Unit) -> Result<(), Stop> {
    let deadline = Lifetime::For(unit).deadline(call, call.args.integer(2)?)?;
    shard.write(call, &call.args[1], Kind::String, Ttl::At(deadline), &call.args[3])?;
    shard.notify(call, Events::STRING, "set", &call.args[1]);
    shard.notify(call, Events::GENERIC, "expire", &call.args[1]);
    reply.ok();
    Ok(())
}

pub fn getset(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    match string(shard.read(call, key)?)? {
        Some(value) => answer(shard, call, key, value, reply)?,
        None => reply.null(),
    }
    shard.write(call, key, Kind::String, Ttl::Clear, &call.args[2])?;
    shard.notify(call, Events::STRING, "set", key);
    Ok(())
}

/// Which of the shared options a command knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Words {
    Set,
    Getex,
}

/// NX and XX.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    IfAbsent,
    IfThere,
}

/// What the number of an expiry option counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
}

/// What becomes of the time to live. At most one of them can be given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// KEEPTTL
    Keep,
    /// PERSIST
    Persist,
    /// EX and PX: from now.
    For(Unit),
    /// EXAT and PXAT: Unix time.
    Until(Unit),
}

impl Lifetime {
    /// The end of a lifetime in Unix milliseconds. It may be past if a time was named.
    pub fn deadline(self, call: &Call<'_>, amount: i64) -> Result<u64, Stop> {
        let (Lifetime::For(unit) | Lifetime::Until(unit)) = self else {
            unreachable!("only these have an amount");
        };
        let from = if matches!(self, Lifetime::For(_)) { call.now.unix_ms() as i64 } else { 0 };
        let scale = if unit == Unit::Seconds { 1000 } else { 1 };
        let end =
            Some(amount).filter(|&amount| amount > 0).and_then(|amount| amount.checked_mul(scale)?.checked_add(from));
        end.map(|end| end as u64).ok_or(Refusal::InvalidExpire(call.spec.name).into())
    }
}

/// The options behind SET's value and GETEX's key.
#[derive(Clone, Copy, Default)]
pub struct Options {
    pub condition: Option<Condition>,
    pub is_get: bool,
    pub lifetime: Option<Lifetime>,
    /// Where the amount of the lifetime stands, if it has one.
    amount: Option<usize>,
}

impl Options {
    pub fn parse(args: &Args<'_>, first: usize, words: Words) -> Result<Options, Stop> {
        let mut options = Options::default();
        let mut at = first;
        while at < args.len() {
            let is_accepted = match lifetime(args, at) {
                Some(lifetime) => options.set_lifetime(lifetime, words, &mut at, args.len()),
                None if words == Words::Getex => false,
                None if args.is(at, "nx") => options.set_condition(Condition::IfAbsent),
                None if args.is(at, "xx") => options.set_condition(Condition::IfThere),
                None if args.is(at, "get") => {
                    options.is_get = true;
                    true
                }
                None => false,
            };
            if !is_accepted {
                return Err(Refusal::Syntax.into());
            }
            at += 1;
        }
        Ok(options)
    }

    /// The end of the lifetime that was asked for, in Unix milliseconds.
    pub fn deadline(&self, call: &Call<'_>) -> Result<Option<u64>, Stop> {
        match (self.lifetime, self.amount) {
            (Some(lifetime), Some(at)) => lifetime.deadline(call, call.args.integer(at)?).map(Some),
            _ => Ok(None),
        }
    }

    /// Saying the same twice is fine; of two amounts the last one counts.
    fn set_lifetime(&mut self, lifetime: Lifetime, words: Words, at: &mut usize, argc: usize) -> bool {
        let is_known = match lifetime {
            Lifetime::Keep => words == Words::Set,
            Lifetime::Persist => words == Words::Getex,
            Lifetime::For(_) | Lifetime::Until(_) => {
                *at += 1;
                self.amount = Some(*at);
                *at < argc
            }
        };
        is_known && *self.lifetime.get_or_insert(lifetime) == lifetime
    }

    fn set_condition(&mut self, condition: Condition) -> bool {
        *self.condition.get_or_insert(condition) == condition
    }
}

fn lifetime(args: &Args<'_>, at: usize) -> Option<Lifetime> {
    let words = [
        ("ex", Lifetime::For(Unit::Seconds)),
        ("px", Lifetime::For(Unit::Milliseconds)),
        ("exat", Lifetime::Until(Unit::Seconds)),
        ("pxat", Lifetime::Until(Unit::Milliseconds)),
        ("keepttl", Lifetime::Keep),
        ("persist", Lifetime::Persist),
    ];
    words.into_iter().find(|(word, _)| args.is(at, word)).map(|(_, lifetime)| lifetime)
}
