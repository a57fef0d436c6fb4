//! FLUSHALL, FLUSHDB, SWAPDB: changes of whole databases. Each is one change of all shards, and takes a constant time on each of
//! them: what is emptied is freed in the background, so SYNC and ASYNC are the same.

use super::{Call, Flags, Run, Spec};
use crate::error::{Refusal, Stop};
use crate::limits::DATABASES_MAX;
use crate::resp::encode::Reply;
use crate::shard::Shard;
use crate::tx::Databases;

/// All that clients have.
const ALL: Databases = Databases::first(DATABASES_MAX);

const FAMILY: Spec = Spec {
    flags: Flags::WRITE,
    categories: "keyspace dangerous",
    group: "server",
    tips: "request_policy:all_shards response_policy:all_succeeded",
    ..Spec::DEFAULT
};

pub const SPECS: &[Spec] = &[
    Spec {
        name: "flushall",
        arity: -1,
        run: Run::Databases { which: |call, _| flushed(call, ALL), run: flush },
        complexity: "O(N) where N is the number of keys in all databases.",
        summary: "Deletes all keys of all databases.",
        synopsis: "[ASYNC | SYNC]",
        ..FAMILY
    },
    Spec {
        name: "flushdb",
        arity: -1,
        run: Run::Databases { which: |call, _| flushed(call, Databases::of(call.db)), run: flush },
        complexity: "O(N) where N is the number of keys in the database.",
        summary: "Deletes all keys of the database.",
        synopsis: "[ASYNC | SYNC]",
        ..FAMILY
    },
    Spec {
        name: "swapdb",
        arity: 3,
        flags: Flags::WRITE.and(Flags::FAST),
        run: Run::Databases { which: swapped, run: swap },
        since: "4.0.0",
        tips: "",
        summary: "Has two databases change places.",
        synopsis: "index1 index2",
        ..FAMILY
    },
];

fn flushed(call: &Call<'_>, databases: Databases) -> Result<Databases, Refusal> {
    match call.args.len() {
        1 => Ok(databases),
        2 if call.args.is(1, "async") || call.args.is(1, "sync") => Ok(databases),
        _ => Err(Refusal::Syntax),
    }
}

fn flush(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let databases = if call.spec.name == "flushall" { ALL } else { Databases::of(call.db) };
    let is_group = !shard.is_in_group();
    if is_group {
        shard.open_removal();
    }
    for db in databases.iter() {
        shard.clear(db)?;
    }
    if is_group {
        shard.close_group();
    }
    reply.ok();
    Ok(())
}

fn swapped(call: &Call<'_>, databases: u8) -> Result<Databases, Refusal> {
    let (one, other) = pair(call)?;
    let in_range = |index| (0..i32::from(databases)).contains(&index);
    if !in_range(one) || !in_range(other) {
        return Err(Refusal::text("ERR DB index is out of range"));
    }
    Ok(Databases::of(one as u8).and(Databases::of(other as u8)))
}

/// What SWAPDB names.
fn pair(call: &Call<'_>) -> Result<(i32, i32), Refusal> {
    let index = |at| call.args.integer(at).ok().and_then(|index| i32::try_from(index).ok());
    let one = index(1).ok_or(Refusal::text("ERR invalid first DB index"))?;
    let other = index(2).ok_or(Refusal::text("ERR invalid second DB index"))?;
    Ok((one, other))
}

fn swap(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (one, other) = pair(call)?;
    if one != other {
        shard.swap(one as u8, other as u8)?;
    }
    reply.ok();
    Ok(())
}
