//! Times to live of fields: set, told, taken away. They follow Redis 7.4's `t_hash.c`.

use crate::collection::map::{Map, MapEdit};
use crate::command::Call;
use crate::command::args::{Args, parse_integer};
use crate::error::{Refusal, Stop};
use crate::limits::FIELD_DEADLINE_MS_MAX;
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard, Ttl};

/// There is no such field.
const NO_FIELD: i64 = -2;
/// It has no deadline.
const NO_DEADLINE: i64 = -1;

pub fn hexpire(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    set(shard, call, reply, 1000, call.now.unix_ms())
}

pub fn hpexpire(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    set(shard, call, reply, 1, call.now.unix_ms())
}

pub fn hexpireat(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    set(shard, call, reply, 1000, 0)
}

pub fn hpexpireat(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    set(shard, call, reply, 1, 0)
}

/// The argument at a place, times `scale`, is milliseconds after `from_ms`.
pub fn deadline(call: &Call<'_>, at: usize, scale: u64, from_ms: u64) -> Result<u64, Refusal> {
    let amount = call.args.integer(at)?;
    let amount = u64::try_from(amount).map_err(|_| Refusal::text("ERR invalid expire time, must be >= 0"))?;
    let when = amount.checked_mul(scale).and_then(|ms| ms.checked_add(from_ms));
    when.filter(|ms| *ms <= FIELD_DEADLINE_MS_MAX).ok_or(Refusal::InvalidExpire(call.spec.name))
}

/// `FIELDS numfields field [field ...]`, which begins at a place and ends the command. `number`: what is said of a number that is none.
pub fn fields<'a>(call: &Call<'a>, at: usize, number: &'static str) -> Result<Args<'a>, Refusal> {
    if !call.args.is(at, "fields") {
        return Err(Refusal::text("ERR Mandatory argument FIELDS is missing or not at the right position"));
    }
    let count = call.args.get(at + 1).and_then(parse_integer).filter(|count| *count > 0);
    let fields = call.args.skip(at + 2);
    match count {
        None => Err(Refusal::text(number)),
        Some(count) if count != fields.len() as i64 => {
            Err(Refusal::text("ERR The `numfields` parameter must match the number of arguments"))
        }
        Some(_) => Ok(fields),
    }
}

pub const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    IfNone,
    IfSome,
    IfLater,
    IfSooner,
}

impl Condition {
    /// What stands at a place, and the place behind it.
    fn parse(args: Args<'_>, at: usize) -> (Condition, usize) {
        match () {
            () if args.is(at, "nx") => (Condition::IfNone, at + 1),
            () if args.is(at, "xx") => (Condition::IfSome, at + 1),
            () if args.is(at, "gt") => (Condition::IfLater, at + 1),
            () if args.is(at, "lt") => (Condition::IfSooner, at + 1),
            () => (Condition::Always, at),
        }
    }

    /// 0 is later than any time.
    fn allows(self, current: u64, when: u64) -> bool {
        match self {
            Condition::Always => true,
            Condition::IfNone => current == 0,
            Condition::IfSome => current != 0,
            Condition::IfLater => current != 0 && current < when,
            Condition::IfSooner => current == 0 || current > when,
        }
    }
}

/// A time that is not ahead removes the field.
fn set(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>, scale: u64, from_ms: u64) -> Result<(), Stop> {
    let key = &call.args[1];
    let mut edit = MapEdit::begin(shard, call, key, Kind::Hash)?;
    let when = deadline(call, 2, scale, from_ms)?;
    let (condition, at) = Condition::parse(*call.args, 3);
    let fields = fields(call, at, "ERR Parameter `numFields` should be greater than 0")?;
    let mut results = Vec::with_capacity(fields.len());
    for field in fields.iter() {
        results.push(match edit.deadline(shard, call, field)? {
            None => NO_FIELD,
            Some(current) if !condition.allows(current, when) => 0,
            Some(_) if when <= call.now.unix_ms() => {
                edit.remove(shard, call, field)?;
                2
            }
            Some(_) => {
                edit.set_deadline(shard, call, field, when)?;
                1
            }
        });
    }
    if results.iter().any(|result| *result > 0) {
        edit.finish(shard, call, key, Ttl::Keep)?;
        match results.contains(&2) {
            true => shard.notify_of_removal(call, Events::HASH, "hdel", key),
            false => shard.notify(call, Events::HASH, "hexpire", key),
        }
    }
    answer(reply, &results);
    Ok(())
}

fn answer(reply: &mut Reply<'_>, results: &[i64]) {
    reply.array(results.len());
    results.iter().for_each(|result| reply.integer(*result));
}

pub fn hpersist(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let mut edit = MapEdit::begin(shard, call, key, Kind::Hash)?;
    let fields = fields(call, 2, NOT_POSITIVE)?;
    let mut results = Vec::with_capacity(fields.len());
    for field in fields.iter() {
        results.push(match edit.deadline(shard, call, field)? {
            None => NO_FIELD,
            Some(0) => NO_DEADLINE,
            Some(_) => {
                edit.set_deadline(shard, call, field, 0)?;
                1
            }
        });
    }
    if results.contains(&1) {
        edit.finish(shard, call, key, Ttl::Keep)?;
        shard.notify(call, Events::HASH, "hpersist", key);
    }
    answer(reply, &results);
    Ok(())
}

pub fn httl(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    tell(shard, call, reply, |ms, now_ms| ms.saturating_sub(now_ms).div_ceil(1000))
}

pub fn hpttl(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    tell(shard, call, reply, |ms, now_ms| ms.saturating_sub(now_ms))
}

pub fn hexpiretime(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    tell(shard, call, reply, |ms, _| ms.div_ceil(1000))
}

pub fn hpexpiretime(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    tell(shard, call, reply, |ms, _| ms)
}

fn tell(shard: &Shard, call: &Call<'_>, reply: &mut Reply<'_>, show: fn(u64, u64) -> u64) -> Result<(), Stop> {
    let hash = shard.read_collection(call, &call.args[1], Kind::Hash)?.map(|form| Map::new(form, Kind::Hash));
    let fields = fields(call, 2, NOT_POSITIVE)?;
    reply.array(fields.len());
    for field in fields.iter() {
        let deadline = match &hash {
            Some(hash) => hash.deadline(shard, call, field)?,
            None => None,
        };
        reply.integer(match deadline {
            None => NO_FIELD,
            Some(0) => NO_DEADLINE,
            Some(ms) => show(ms, call.now.unix_ms()) as i64,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Condition;

    #[test]
    fn a_condition_looks_at_the_deadline_that_is_there() {
        let all = [Condition::Always, Condition::IfNone, Condition::IfSome, Condition::IfLater, Condition::IfSooner];
        let allowed = |current| all.map(|condition| condition.allows(current, 10));
        assert_eq!(allowed(0), [true, true, false, false, true]);
        assert_eq!(allowed(9), [true, false, true, true, false]);
        assert_eq!(allowed(10), [true, false, true, false, false]);
        assert_eq!(allowed(11), [true, false, true, false, true]);
    }
}
