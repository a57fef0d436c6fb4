//! Commands that set several strings at once.

use super::as_one;
use crate::command::Call;
use crate::error::Stop;
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard, Ttl};

pub fn mset(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    is_any_there(shard, call)?;
    write_all(shard, call)?;
    reply.ok();
    Ok(())
}

pub fn msetnx(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let is_free = !is_any_there(shard, call)?;
    if is_free {
        write_all(shard, call)?;
    }
    reply.integer(i64::from(is_free));
    Ok(())
}

/// Is there a row at any of the keys? It looks at every one, so that none is found missing from memory once the
/// first is written.
fn is_any_there(shard: &Shard, call: &Call<'_>) -> Result<bool, Stop> {
    if call.args.len().is_multiple_of(2) {
        return Err(call.arity());
    }
    let mut is_any = false;
    for at in call.spec.row_keys(call.args) {
        is_any |= shard.peek_bare(call, &call.args[at])?.is_some();
    }
    Ok(is_any)
}

fn write_all(shard: &mut Shard, call: &Call<'_>) -> Result<(), Stop> {
    let bytes = call.args.iter().map(<[u8]>::len).sum();
    as_one(shard, bytes, |shard| {
        let mut keys = call.spec.row_keys(call.args);
        keys.try_for_each(|at| {
            shard.write(call, &call.args[at], Kind::String, Ttl::Clear, &call.args[at + 1])?;
            shard.notify(call, Events::STRING, "set", &call.args[at]);
            Ok(())
        })
    })
}
