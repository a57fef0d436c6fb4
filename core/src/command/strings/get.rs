//! Commands that answer whole strings.

use super::set::{Lifetime, Options, Words};
use super::{answer, string};
use crate::command::Call;
use crate::error::Stop;
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard};

pub fn get(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    match string(shard.read(call, &call.args[1])?)? {
        Some(value) => answer(shard, call, &call.args[1], value, reply)?,
        None => reply.null(),
    }
    Ok(())
}

/// What is not a string counts as absent.
pub fn mget(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    reply.array(call.args.len() - 1);
    for key in call.args.skip(1).iter() {
        match shard.read(call, key)? {
            Some(row) if row.kind == Kind::String => answer(shard, call, key, row.value, reply)?,
            _ => reply.null(),
        }
    }
    Ok(())
}

pub fn strlen(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let value = string(shard.read(call, &call.args[1])?)?;
    reply.integer(value.map_or(0, <[u8]>::len) as i64);
    Ok(())
}

pub fn getdel(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    match string(shard.read(call, key)?)? {
        None => reply.null(),
        Some(value) => {
            answer(shard, call, key, value, reply)?;
            shard.remove(call, key)?;
            shard.notify(call, Events::GENERIC, "del", key);
        }
    }
    Ok(())
}

/// The time is looked at only if the key is there, as in Redis.
pub fn getex(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let options = Options::parse(call.args, 2, Words::Getex)?;
    let key = &call.args[1];
    let row = shard.read(call, key)?;
    let is_mortal = row.is_some_and(|row| row.expire_ms.is_some());
    let Some(value) = string(row)? else {
        reply.null();
        return Ok(());
    };
    let deadline = options.deadline(call)?;
    answer(shard, call, key, value, reply)?;
    let event = match (options.lifetime, deadline) {
        (_, Some(deadline)) if deadline <= call.now.unix_ms() => {
            shard.remove(call, key)?;
            "del"
        }
        (_, Some(deadline)) => {
            shard.set_expiry(call, key, Some(deadline))?;
            "expire"
        }
        (Some(Lifetime::Persist), None) if is_mortal => {
            shard.set_expiry(call, key, None)?;
            "persist"
        }
        (_, None) => return Ok(()),
    };
    shard.notify(call, Events::GENERIC, event, key);
    Ok(())
}
