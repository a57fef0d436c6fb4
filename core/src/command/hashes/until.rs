//! HGETEX, HSETEX and HGETDEL: fields with their values and deadlines at once. They follow Redis 8's `t_hash.c`.

use super::expire::{self, NOT_POSITIVE, deadline};
use crate::collection::map::MapEdit;
use crate::command::Call;
use crate::command::args::{Args, parse_integer};
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard, Ttl};

/// What becomes of the deadlines of fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// HGETEX: they stay. HSETEX: they go.
    Unsaid,
    Persist,
    Keep,
    /// Unix milliseconds.
    At(u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    /// All of them have to be there.
    IfAll,
    /// None of them may be there.
    IfNone,
}

/// What stands behind the key, in any order.
struct Options<'a> {
    until: Until,
    condition: Condition,
    /// The fields; for HSETEX each with its value behind it.
    fields: Args<'a>,
}

impl<'a> Options<'a> {
    /// `per`: arguments for each field.
    fn parse(call: &Call<'a>, per: usize) -> Result<Options<'a>, Stop> {
        let args = call.args;
        let (mut until, mut condition, mut fields) = (Until::Unsaid, Condition::Always, None);
        let mut at = 2;
        while at < args.len() {
            if args.is(at, "fields") {
                let number = args.get(at + 1).ok_or_else(|| call.arity())?;
                let count =
                    parse_integer(number).and_then(|count| i32::try_from(count).ok()).filter(|count| *count > 0);
                let count = count.ok_or(Refusal::text("ERR invalid number of fields"))? as usize * per;
                if args.len() - at - 2 < count {
                    return Err(Refusal::text("ERR wrong number of arguments").into());
                }
                fields = Some(args.skip(at + 2).split(count).0);
                at += 2 + count;
                continue;
            }
            if let Some((scale, from_ms)) = clock(call, at) {
                if until != Until::Unsaid {
                    return Err(one_deadline(per).into());
                }
                if at + 1 == args.len() {
                    return Err(Refusal::text("ERR missing expire time").into());
                }
                until = Until::At(deadline(call, at + 1, scale, from_ms)?);
                at += 2;
                continue;
            }
            let (is_persist, is_keep) = (args.is(at, "persist"), args.is(at, "keepttl"));
            let (is_all, is_none) = (args.is(at, "fxx"), args.is(at, "fnx"));
            match () {
                () if is_persist || is_keep => {
                    if until != Until::Unsaid {
                        return Err(one_deadline(per).into());
                    }
                    until = if is_persist { Until::Persist } else { Until::Keep };
                }
                () if is_all || is_none => {
                    if condition != Condition::Always {
                        return Err(Refusal::text("ERR Only one of FXX or FNX arguments can be specified").into());
                    }
                    condition = if is_all { Condition::IfAll } else { Condition::IfNone };
                }
                () => {
                    let word = String::from_utf8_lossy(&args[at]);
                    return Err(Refusal::text(format!("ERR unknown argument: {word}")).into());
                }
            }
            at += 1;
        }
        let foreign = if per == 1 { Until::Keep } else { Until::Persist };
        if until == foreign || per == 1 && condition != Condition::Always {
            return Err(Refusal::text("ERR unknown argument").into());
        }
        let fields = fields.ok_or_else(|| call.arity())?;
        Ok(Options { until, condition, fields })
    }
}

/// What EX and its like count, in milliseconds, and from when on.
fn clock(call: &Call<'_>, at: usize) -> Option<(u64, u64)> {
    let now_ms = call.now.unix_ms();
    let words = [("ex", 1000, now_ms), ("px", 1, now_ms), ("exat", 1000, 0), ("pxat", 1, 0)];
    words.into_iter().find(|(word, ..)| call.args.is(at, word)).map(|(_, scale, from_ms)| (scale, from_ms))
}

fn one_deadline(per: usize) -> Refusal {
    let last = if per == 1 { "PERSIST" } else { "KEEPTTL" };
    Refusal::text(format!("ERR Only one of EX, PX, EXAT, PXAT or {last} arguments can be specified"))
}

pub fn hgetex(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let mut edit = MapEdit::begin(shard, call, key, Kind::Hash)?;
    let Options { until, fields, .. } = Options::parse(call, 1)?;
    let (mut values, mut removed, mut changed) = (Vec::with_capacity(fields.len()), 0, 0);
    for field in fields.iter() {
        let value = edit.get(shard, call, field)?.map(<[u8]>::to_vec);
        if value.is_some() {
            match until {
                Until::At(ms) if ms <= call.now.unix_ms() => removed += i64::from(edit.remove(shard, call, field)?),
                Until::At(ms) => {
                    edit.set_deadline(shard, call, field, ms)?;
                    changed += 1;
                }
                Until::Persist if edit.deadline(shard, call, field)? != Some(0) => {
                    edit.set_deadline(shard, call, field, 0)?;
                    changed += 1;
                }
                Until::Unsaid | Until::Keep | Until::Persist => {}
            }
        }
        values.push(value);
    }
    if removed + changed > 0 {
        edit.finish(shard, call, key, Ttl::Keep)?;
        match until {
            Until::Persist => shard.notify(call, Events::HASH, "hpersist", key),
            _ if removed == 0 => shard.notify(call, Events::HASH, "hexpire", key),
            _ => shard.notify_of_removal(call, Events::HASH, "hdel", key),
        }
    }
    answer(reply, &values);
    Ok(())
}

fn answer(reply: &mut Reply<'_>, values: &[Option<Vec<u8>>]) {
    reply.array(values.len());
    for value in values {
        match value {
            Some(value) => reply.bulk(value),
            None => reply.null(),
        }
    }
}

pub fn hgetdel(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let mut edit = MapEdit::begin(shard, call, key, Kind::Hash)?;
    let fields = expire::fields(call, 2, NOT_POSITIVE)?;
    let mut values = Vec::with_capacity(fields.len());
    for field in fields.iter() {
        values.push(edit.get(shard, call, field)?.map(<[u8]>::to_vec));
        edit.remove(shard, call, field)?;
    }
    if values.iter().any(Option::is_some) {
        edit.finish(shard, call, key, Ttl::Keep)?;
        shard.notify_of_removal(call, Events::HASH, "hdel", key);
    }
    answer(reply, &values);
    Ok(())
}

pub fn hsetex(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let Options { until, condition, fields } = Options::parse(call, 2)?;
    let mut edit = MapEdit::begin(shard, call, key, Kind::Hash)?;
    for at in (0..fields.len()).step_by(2) {
        let is_refused = match condition {
            Condition::Always => break,
            Condition::IfAll => edit.get(shard, call, &fields[at])?.is_none(),
            Condition::IfNone => edit.get(shard, call, &fields[at])?.is_some(),
        };
        if is_refused {
            reply.integer(0);
            return Ok(());
        }
    }
    let is_over = matches!(until, Until::At(ms) if ms <= call.now.unix_ms());
    for at in (0..fields.len()).step_by(2) {
        let (field, value) = (&fields[at], &fields[at + 1]);
        match until {
            Until::At(_) if is_over => edit.remove(shard, call, field)?,
            Until::At(ms) => edit.set_until(shard, call, field, value, ms)?,
            Until::Keep => edit.update(shard, call, field, value)?,
            Until::Unsaid | Until::Persist => edit.set(shard, call, field, value)?,
        };
    }
    edit.finish(shard, call, key, Ttl::Keep)?;
    shard.notify(call, Events::HASH, "hset", key);
    match until {
        Until::At(_) if is_over => shard.notify_of_removal(call, Events::HASH, "hdel", key),
        Until::At(_) => shard.notify(call, Events::HASH, "hexpire", key),
        Until::Unsaid | Until::Persist | Until::Keep => {}
    }
    reply.integer(1);
    Ok(())
}
