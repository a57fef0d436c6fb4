//! XREAD and XREADGROUP with BLOCK: what they say of themselves while they wait.

use super::read::Options;
use crate::collection::stream::id::EntryId;
use crate::command::Call;
use crate::command::args::Args;
use crate::command::blocking::{Awaited, Blocks, Wait, is_of};
use crate::error::{Refusal, Stop};
use crate::shard::{Kind, Shard};

pub const READ: Blocks = Blocks {
    parse,
    is_ready: has_entries,
    narrow: Some(narrow),
    is_joint: true,
    takes: false,
    ends_with_key: false,
    settle: Some(settle),
};
pub const READ_GROUP: Blocks =
    Blocks { is_ready: has_entries_for_group, takes: true, ends_with_key: true, settle: None, ..READ };

/// What is refused because of an id, or asks for what a consumer has, is answered by the command itself, which does not wait.
fn parse(args: &Args<'_>) -> Result<Option<Wait>, Refusal> {
    let options = Options::parse(args)?;
    let Some(block_ms) = options.block_ms else { return Ok(None) };
    let is_group = options.group.is_some();
    let waits = |id: &[u8]| match id {
        b"$" | b">" => is_group == (id == b">"),
        _ => EntryId::parse(id, 0).is_ok_and(|id| !is_group || id == EntryId::MAX),
    };
    let wait = Wait { timeout_ms: (block_ms > 0).then_some(block_ms), keys: options.keys.clone().collect() };
    Ok(options.streams(args).all(|(_, id)| waits(id)).then_some(wait))
}

fn narrow(args: &Args<'_>, chosen: &[usize]) -> Vec<Vec<u8>> {
    let keys = Options::parse(args).expect("it was parsed").keys;
    let before = (0..keys.start).chain(chosen.iter().copied());
    before.chain(chosen.iter().map(|at| at + keys.len())).map(|at| args[at].to_vec()).collect()
}

/// `$` is what the last id is when the command begins.
fn settle(shard: &Shard, call: &Call<'_>) -> Result<Option<Vec<Vec<u8>>>, Stop> {
    let options = Options::parse(call.args)?;
    let mut words: Vec<Vec<u8>> = call.args.iter().map(<[u8]>::to_vec).collect();
    let mut is_settled = true;
    for (at, (key, id)) in options.keys.clone().zip(options.streams(call.args)) {
        if id != b"$" {
            continue;
        }
        let last = match super::peek(shard, call, key) {
            Ok(Some(stream)) => stream.last(shard, call)?,
            Ok(None) | Err(Stop::Refuse(_)) => EntryId::MIN,
            Err(stop) => return Err(stop),
        };
        words[at + options.keys.len()] = format!("{}-{}", last.ms, last.seq).into_bytes();
        is_settled = false;
    }
    Ok((!is_settled).then_some(words))
}

/// Whether there are entries behind the ids that are asked for.
fn has_entries(shard: &Shard, call: &Call<'_>, row: Awaited<'_>) -> Result<bool, Stop> {
    if row.kind != Some(Kind::Stream) {
        return Ok(is_of(Kind::Stream, row));
    }
    let options = Options::parse(call.args)?;
    let Some(stream) = super::peek(shard, call, row.key)? else { return Ok(false) };
    for (_, id) in options.streams(call.args).filter(|(key, _)| *key == row.key) {
        if let Some(start) = EntryId::parse(id, 0)?.next()
            && stream.count_between(shard, call, start, EntryId::MAX)? > 0
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether there are entries that the group was not given; or there is no such group, which is refused. A new one makes its consumer.
fn has_entries_for_group(shard: &Shard, call: &Call<'_>, row: Awaited<'_>) -> Result<bool, Stop> {
    if row.is_new || row.kind != Some(Kind::Stream) {
        return Ok(true);
    }
    let options = Options::parse(call.args)?;
    let (name, _) = options.group.expect("XREADGROUP has a group");
    let Some(stream) = super::peek(shard, call, row.key)? else { return Ok(true) };
    let Some(groups) = super::groups_of(shard, call, &stream) else { return Ok(true) };
    let Some(group) = groups.find(name)? else { return Ok(true) };
    match group.last.next() {
        Some(start) => Ok(stream.count_between(shard, call, start, EntryId::MAX)? > 0),
        None => Ok(false),
    }
}
