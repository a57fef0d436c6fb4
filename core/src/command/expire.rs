//! Times to live. All of them are kept as Unix milliseconds: a row is there until that millisecond begins.

use super::{Call, Flags, Keys, Run, Spec};
use crate::command::args::Args;
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::Shard;

fn expire(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    set(shard, call, reply, 1000, call.now.unix_ms() as i64)
}

fn pexpire(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    set(shard, call, reply, 1, call.now.unix_ms() as i64)
}

fn expireat(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    set(shard, call, reply, 1000, 0)
}

fn pexpireat(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    set(shard, call, reply, 1, 0)
}

/// The argument times `scale` is milliseconds after `from_ms`. A time that is not ahead removes the row.
fn set(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, scale: i64, from_ms: i64) -> Result<(), Stop> {
    let condition = Condition::parse(call.args)?;
    let amount = call.args.integer(2)?;
    let when = amount.checked_mul(scale).and_then(|ms| ms.checked_add(from_ms));
    let when = when.ok_or(Refusal::InvalidExpire(call.spec.name))?;
    let key = &call.args[1];
    let Some(row) = shard.peek_bare(call, key)? else {
        reply.integer(0);
        return Ok(());
    };
    if !condition.allows(row.expire_ms.map(|ms| ms as i64), when) {
        reply.integer(0);
        return Ok(());
    }
    let event = match u64::try_from(when) {
        Ok(ms) if ms > call.now.unix_ms() => {
            shard.set_expiry(call, key, Some(ms))?;
            "expire"
        }
        _ => {
            shard.remove(call, key)?;
            "del"
        }
    };
    shard.notify(call, Events::GENERIC, event, key);
    reply.integer(1);
    Ok(())
}

/// NX, XX, GT and LT.
#[derive(Clone, Copy, Default)]
struct Condition {
    if_none: bool,
    if_some: bool,
    if_later: bool,
    if_sooner: bool,
}

impl Condition {
    fn parse(args: &Args<'_>) -> Result<Condition, Refusal> {
        let mut condition = Condition::default();
        for (at, word) in args.iter().enumerate().skip(3) {
            let flag = match () {
                () if args.is(at, "nx") => &mut condition.if_none,
                () if args.is(at, "xx") => &mut condition.if_some,
                () if args.is(at, "gt") => &mut condition.if_later,
                () if args.is(at, "lt") => &mut condition.if_sooner,
                () => return Err(Refusal::text(format!("ERR Unsupported option {}", String::from_utf8_lossy(word)))),
            };
            *flag = true;
        }
        let Condition { if_none, if_some, if_later, if_sooner } = condition;
        if if_none && (if_some || if_later || if_sooner) {
            return Err(Refusal::text("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if if_later && if_sooner {
            return Err(Refusal::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(condition)
    }

    /// A row that lives for ever counts as later than any time.
    fn allows(self, current: Option<i64>, when: i64) -> bool {
        !(self.if_none && current.is_some()
            || self.if_some && current.is_none()
            || self.if_later && current.is_none_or(|current| when <= current)
            || self.if_sooner && current.is_some_and(|current| when >= current))
    }
}

fn persist(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let is_mortal = shard.peek_bare(call, key)?.is_some_and(|row| row.expire_ms.is_some());
    if is_mortal {
        shard.set_expiry(call, key, None)?;
        shard.notify(call, Events::GENERIC, "persist", key);
    }
    reply.integer(i64::from(is_mortal));
    Ok(())
}

fn ttl(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    answer(shard, call, reply, |ms, now_ms| seconds(ms.saturating_sub(now_ms)))
}

fn pttl(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    answer(shard, call, reply, |ms, now_ms| ms.saturating_sub(now_ms))
}

fn expiretime(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    answer(shard, call, reply, |ms, _| seconds(ms))
}

fn pexpiretime(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    answer(shard, call, reply, |ms, _| ms)
}

/// To the nearest second, halves up.
fn seconds(ms: u64) -> u64 {
    (ms + 500) / 1000
}

/// -2 without a row, -1 if it lives for ever.
fn answer(shard: &Shard, call: &Call<'_>, reply: &mut Reply<'_>, show: fn(u64, u64) -> u64) -> Result<(), Stop> {
    let row = shard.read_bare(call, &call.args[1])?;
    let shown = row.map(|row| row.expire_ms.map_or(-1, |ms| show(ms, call.now.unix_ms()) as i64));
    reply.integer(shown.unwrap_or(-2));
    Ok(())
}

const KEY: Spec = Spec { keys: Keys::ONE, categories: "keyspace", group: "generic", ..Spec::DEFAULT };
const SETTER: Spec = Spec { arity: -3, flags: Flags::WRITE.and(Flags::FAST), ..KEY };
const GETTER: Spec = Spec { arity: 2, flags: Flags::READONLY.and(Flags::FAST), synopsis: "key", ..KEY };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "expire",
        run: Run::Row(expire),
        summary: "Lets a key live for some seconds.",
        synopsis: "key seconds [NX | XX | GT | LT]",
        ..SETTER
    },
    Spec {
        name: "expireat",
        run: Run::Row(expireat),
        since: "1.2.0",
        summary: "Lets a key live until a Unix time in seconds.",
        synopsis: "key unix-time-seconds [NX | XX | GT | LT]",
        ..SETTER
    },
    Spec {
        name: "expiretime",
        run: Run::Row(expiretime),
        since: "7.0.0",
        summary: "Tells until which Unix time in seconds a key lives.",
        ..GETTER
    },
    Spec {
        name: "persist",
        arity: 2,
        run: Run::Row(persist),
        since: "2.2.0",
        summary: "Lets a key live for ever.",
        synopsis: "key",
        ..SETTER
    },
    Spec {
        name: "pexpire",
        run: Run::Row(pexpire),
        since: "2.6.0",
        summary: "Lets a key live for some milliseconds.",
        synopsis: "key milliseconds [NX | XX | GT | LT]",
        ..SETTER
    },
    Spec {
        name: "pexpireat",
        run: Run::Row(pexpireat),
        since: "2.6.0",
        summary: "Lets a key live until a Unix time in milliseconds.",
        synopsis: "key unix-time-milliseconds [NX | XX | GT | LT]",
        ..SETTER
    },
    Spec {
        name: "pexpiretime",
        run: Run::Row(pexpiretime),
        since: "7.0.0",
        summary: "Tells until which Unix time in milliseconds a key lives.",
        ..GETTER
    },
    Spec {
        name: "pttl",
        run: Run::Row(pttl),
        since: "2.6.0",
        tips: "nondeterministic_output",
        summary: "Tells how many milliseconds a key has left.",
        ..GETTER
    },
    Spec {
        name: "ttl",
        run: Run::Row(ttl),
        tips: "nondeterministic_output",
        summary: "Tells how many seconds a key has left.",
        ..GETTER
    },
];
