//! XINFO: what a stream, its groups and their consumers are.

use crate::collection::stream::groups::{Consumer, Group, Groups};
use crate::collection::stream::id::EntryId;
use crate::collection::stream::{Facts, Stream};
use crate::command::{Call, help};
use crate::error::{Refusal, Stop};
use crate::resp::encode::Reply;
use crate::shard::Shard;
use std::ops::ControlFlow;

/// Entries that XINFO STREAM FULL shows of each if it is not told.
const SHOWN: u64 = 10;

fn stream<'a>(shard: &'a Shard, call: &Call<'_>) -> Result<Stream<'a>, Stop> {
    super::read(shard, call, &call.args[2])?.ok_or_else(|| Refusal::NoSuchKey.into())
}

pub fn stream_info(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let args = call.args;
    let stream = stream(shard, call)?;
    let is_full = args.len() > 3;
    if !matches!(args.len(), 3 | 4 | 6) || is_full && !args.is(3, "full") || args.len() == 6 && !args.is(4, "count") {
        return Err(help::wrong_subcommand(call).into());
    }
    let count = match args.len() {
        6 => u64::try_from(args.integer(5)?).unwrap_or(SHOWN),
        _ => SHOWN,
    };
    let facts = stream.facts(shard, call)?;
    reply.map(if is_full { 9 } else { 10 });
    let nodes = facts.len.div_ceil(shard.thresholds.stream_node_entries.max(1)) as i64;
    pair(reply, "length", facts.len as i64);
    pair(reply, "radix-tree-keys", nodes);
    pair(reply, "radix-tree-nodes", nodes + 1);
    id_pair(reply, "last-generated-id", facts.last);
    id_pair(reply, "max-deleted-entry-id", facts.max_deleted);
    pair(reply, "entries-added", facts.added as i64);
    id_pair(reply, "recorded-first-entry-id", facts.first);
    let groups = super::groups_of(shard, call, &stream);
    if is_full {
        return full(&stream, &facts, groups, count, shard, call, reply);
    }
    pair(reply, "groups", groups.map_or(Ok(0), |groups| groups.count())? as i64);
    for (name, id) in [("first-entry", facts.first), ("last-entry", facts.top)] {
        reply.bulk(name.as_bytes());
        match stream.find(shard, call, id)? {
            Some(fields) => super::write_entry(reply, id, fields),
            None => reply.null(),
        }
    }
    Ok(())
}

fn pair(reply: &mut Reply<'_>, name: &str, value: i64) {
    reply.bulk(name.as_bytes());
    reply.integer(value);
}

fn id_pair(reply: &mut Reply<'_>, name: &str, id: EntryId) {
    reply.bulk(name.as_bytes());
    super::write_id(reply, id);
}

fn full(
    stream: &Stream<'_>,
    facts: &Facts,
    groups: Option<Groups<'_>>,
    count: u64,
    shard: &Shard,
    call: &Call<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Stop> {
    let count = if count == 0 { u64::MAX } else { count };
    reply.bulk(b"entries");
    let mut left = count.min(facts.len);
    reply.array(left as usize);
    stream.visit(shard, call, EntryId::MIN, EntryId::MAX, |id, fields| {
        super::write_entry(reply, id, fields);
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    reply.bulk(b"groups");
    let Some(groups) = groups else {
        reply.array(0);
        return Ok(());
    };
    let all = groups.all()?;
    reply.array(all.len());
    for (name, group) in all {
        let consumers = groups.consumers(group.number)?;
        reply.map(7);
        reply.bulk(b"name");
        reply.bulk(&name);
        id_pair(reply, "last-delivered-id", group.last);
        write_progress(facts, &group, reply);
        let pending = groups.pending_count(group.number)?;
        pair(reply, "pel-count", pending as i64);
        reply.bulk(b"pending");
        write_pending(&groups, &group, &consumers, count.min(pending), reply)?;
        reply.bulk(b"consumers");
        reply.array(consumers.len());
        for (name, consumer) in &consumers {
            write_consumer(&groups, &group, name, consumer, count, reply)?;
        }
    }
    Ok(())
}

/// `entries-read` and `lag`.
fn write_progress(facts: &Facts, group: &Group, reply: &mut Reply<'_>) {
    let integer = |value: Option<i64>, reply: &mut Reply<'_>| match value {
        Some(value) => reply.integer(value),
        None => reply.null(),
    };
    reply.bulk(b"entries-read");
    integer(group.read, reply);
    reply.bulk(b"lag");
    integer(super::lag(facts, group), reply);
}

fn write_pending(
    groups: &Groups<'_>,
    group: &Group,
    consumers: &[(Vec<u8>, Consumer)],
    count: u64,
    reply: &mut Reply<'_>,
) -> Result<(), Stop> {
    let mut left = count;
    reply.array(left as usize);
    groups.visit_pending(group.number, EntryId::MIN, |id, pending| {
        if left == 0 {
            return ControlFlow::Break(());
        }
        left -= 1;
        let owner = consumers.iter().find(|(_, consumer)| consumer.number == pending.consumer);
        reply.array(4);
        super::write_id(reply, id);
        reply.bulk(&owner.expect("what is pending is at a consumer").0);
        reply.integer(pending.delivered_ms);
        reply.integer(pending.count);
        ControlFlow::Continue(())
    })
}

fn write_consumer(
    groups: &Groups<'_>,
    group: &Group,
    name: &[u8],
    consumer: &Consumer,
    count: u64,
    reply: &mut Reply<'_>,
) -> Result<(), Stop> {
    let owned = groups.owned_count(group.number, consumer.number)?;
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(name);
    pair(reply, "seen-time", consumer.seen_ms);
    pair(reply, "active-time", consumer.active_ms.unwrap_or(-1));
    pair(reply, "pel-count", owned as i64);
    reply.bulk(b"pending");
    let mut ids = Vec::new();
    let shown = count.min(owned);
    reply.array(shown as usize);
    groups.visit_owned(group.number, consumer.number, EntryId::MIN, |id| {
        if ids.len() as u64 == shown {
            return ControlFlow::Break(());
        }
        ids.push(id);
        ControlFlow::Continue(())
    })?;
    for id in ids {
        let pending = groups.pending(group.number, id)?.expect("what a consumer has is pending");
        reply.array(3);
        super::write_id(reply, id);
        reply.integer(pending.delivered_ms);
        reply.integer(pending.count);
    }
    Ok(())
}

pub fn groups(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let stream = stream(shard, call)?;
    let Some(groups) = super::groups_of(shard, call, &stream) else {
        reply.array(0);
        return Ok(());
    };
    let (all, facts) = (groups.all()?, stream.facts(shard, call)?);
    reply.array(all.len());
    for (name, group) in all {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(&name);
        pair(reply, "consumers", groups.consumer_count(group.number)? as i64);
        pair(reply, "pending", groups.pending_count(group.number)? as i64);
        id_pair(reply, "last-delivered-id", group.last);
        write_progress(&facts, &group, reply);
    }
    Ok(())
}

pub fn consumers(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (key, name) = (&call.args[2], &call.args[3]);
    let stream = stream(shard, call)?;
    let groups = super::groups_of(shard, call, &stream).ok_or_else(|| super::no_group(name, key))?;
    let group = groups.find(name)?.ok_or_else(|| super::no_group(name, key))?;
    let all = groups.consumers(group.number)?;
    let now_ms = call.now.unix_ms() as i64;
    reply.array(all.len());
    for (name, consumer) in all {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(&name);
        pair(reply, "pending", groups.owned_count(group.number, consumer.number)? as i64);
        pair(reply, "idle", (now_ms - consumer.seen_ms).max(0));
        pair(reply, "inactive", consumer.active_ms.map_or(-1, |active_ms| now_ms - active_ms));
    }
    Ok(())
}
