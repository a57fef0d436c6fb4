//! Commands that change the entries of a stream.

use crate::bug::Bug;
use crate::collection::packed;
use crate::collection::stream::id::{EntryId, NewId};
use crate::collection::stream::{Keep, State, StreamEdit, Trim};
use crate::command::args::Args;
use crate::command::{Call, Joined};
use crate::error::{Refusal, Stop};
use crate::limits::STREAM_LIMIT_MAX;
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::Shard;
use cairn_storage::limits::VALUE_BYTES_MAX;
use std::collections::BTreeSet;

/// What XADD and XTRIM say before the entry.
struct Options {
    trim: Option<Trim>,
    makes_stream: bool,
    /// The id, and where the fields begin.
    id: NewId,
    fields: usize,
}

impl Options {
    fn parse(shard: &Shard, args: &Args<'_>, is_add: bool) -> Result<Options, Refusal> {
        let mut options = Options { trim: None, makes_stream: true, id: NewId::Auto, fields: args.len() };
        let (mut keep, mut is_approximate, mut limit) = (None, false, None);
        let mut at = 2;
        while let Some(word) = args.get(at) {
            let more = args.len() - 1 - at;
            if is_add && word == b"*" {
                options.fields = at + 1;
                break;
            } else if (args.is(at, "maxlen") || args.is(at, "minid")) && more > 0 {
                if keep.is_some() {
                    return Err(Refusal::text(TWO_STRATEGIES));
                }
                let is_len = args.is(at, "maxlen");
                let sign = if more >= 2 { &args[at + 1] } else { &[] };
                is_approximate = sign == b"~";
                at += 1 + usize::from(is_approximate || sign == b"=");
                keep = Some(if is_len { last(args, at)? } else { Keep::From(EntryId::parse(&args[at], 0)?) });
            } else if args.is(at, "limit") && more > 0 {
                at += 1;
                let value = args.integer(at)?;
                let value = u64::try_from(value).map_err(|_| Refusal::text("ERR The LIMIT argument must be >= 0."))?;
                limit = Some(value);
            } else if is_add && args.is(at, "nomkstream") {
                options.makes_stream = false;
            } else if is_add {
                options.id = NewId::parse(word)?;
                options.fields = at + 1;
                break;
            } else {
                return Err(Refusal::Syntax);
            }
            at += 1;
        }
        if keep.is_none() && limit.is_some_and(|limit| limit > 0) {
            return Err(Refusal::text("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"));
        }
        if keep.is_none() && !is_add {
            return Err(Refusal::text("ERR syntax error, XTRIM must be called with a trimming strategy"));
        }
        if limit.is_some() && !is_approximate {
            return Err(Refusal::text("ERR syntax error, LIMIT cannot be used without the special ~ option"));
        }
        let node = shard.thresholds.stream_node_entries;
        let approximate = is_approximate.then(|| limit.unwrap_or_else(|| limit_of(node)));
        options.trim = keep.map(|keep| Trim { keep, approximate });
        Ok(options)
    }
}

const TWO_STRATEGIES: &str = "ERR syntax error, MAXLEN and MINID options at the same time are not compatible";

fn last(args: &Args<'_>, at: usize) -> Result<Keep, Refusal> {
    let len = u64::try_from(args.integer(at)?);
    Ok(Keep::Last(len.map_err(|_| Refusal::text("ERR The MAXLEN argument must be >= 0."))?))
}

/// Entries that an approximate trim removes at most if it is not told.
fn limit_of(node: u64) -> u64 {
    match node.saturating_mul(100) {
        0 => 10_000,
        limit => limit.min(STREAM_LIMIT_MAX),
    }
}

pub fn xadd(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (args, key) = (call.args, &call.args[1]);
    let options = Options::parse(shard, args, true)?;
    let count = args.len() - options.fields;
    if count < 2 || count % 2 == 1 {
        return Err(call.arity());
    }
    check_id(options.id)?;
    let mut edit = StreamEdit::begin(shard, call, key)?;
    if !edit.is_old() && !options.makes_stream {
        reply.null();
        return Ok(());
    }
    let id = append(shard, call, &mut edit, options.id, &args.skip(options.fields))?;
    let trimmed = match options.trim {
        Some(trim) => edit.trim(shard, call, trim)?,
        None => {
            edit.tidy(shard, call)?;
            0
        }
    };
    edit.finish(shard, call, key, Vec::new())?;
    shard.notify(call, Events::STREAM, "xadd", key);
    if trimmed > 0 {
        shard.notify(call, Events::STREAM, "xtrim", key);
    }
    let by_clock = EntryId { ms: call.now.unix_ms(), seq: 0 };
    super::write_id(reply, if shard.planted == Some(Bug::IdByClock) { by_clock } else { id });
    Ok(())
}

fn check_id(id: NewId) -> Result<(), Refusal> {
    match id == NewId::Exact(EntryId::MIN) {
        true => Err(Refusal::text("ERR The ID specified in XADD must be greater than 0-0")),
        false => Ok(()),
    }
}

/// Adds an entry with these fields and values. Its id.
fn append(
    shard: &mut Shard,
    call: &Call<'_>,
    edit: &mut StreamEdit,
    id: NewId,
    args: &Args<'_>,
) -> Result<EntryId, Stop> {
    if edit.last == EntryId::MAX {
        return Err(Refusal::text("ERR The stream has exhausted the last possible ID, unable to add more items").into());
    }
    let id = id
        .after(edit.last, call.now.unix_ms())
        .ok_or(Refusal::text("ERR The ID specified in XADD is equal or smaller than the target stream top item"))?;
    let bytes: usize = args.iter().map(|field| packed::entry_bytes(field.len())).sum();
    if bytes > VALUE_BYTES_MAX {
        return Err(Refusal::text("ERR Elements are too large to be stored").into());
    }
    let mut fields = Vec::with_capacity(bytes);
    args.iter().for_each(|field| packed::push(&mut fields, field));
    edit.append(shard, id, fields)?;
    Ok(id)
}

pub const XADDS: Joined = Joined::with_arguments(xadd_joined);

/// Of those that neither trim nor do without a stream: words in front of the id are for commands by themselves.
fn xadd_joined(shard: &mut Shard, call: &Call<'_>, parts: &[usize], reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let mut edit = StreamEdit::begin(shard, call, key)?;
    let mut at = 2;
    for part in parts {
        let (own, _) = call.args.skip(at).split(*part);
        let id = match &own[0] {
            b"*" => NewId::Auto,
            word => NewId::parse(word)?,
        };
        if part % 2 == 0 {
            return Err(call.arity());
        }
        check_id(id)?;
        super::write_id(reply, append(shard, call, &mut edit, id, &own.skip(1))?);
        at += part;
    }
    edit.tidy(shard, call)?;
    edit.finish(shard, call, key, Vec::new())?;
    shard.notify(call, Events::STREAM, "xadd", key);
    Ok(())
}

pub fn xtrim(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let options = Options::parse(shard, call.args, false)?;
    let trim = options.trim.expect("XTRIM has a strategy");
    let mut edit = StreamEdit::begin(shard, call, key)?;
    let mut removed = 0;
    if edit.is_old() {
        removed = edit.trim(shard, call, trim)?;
        edit.finish(shard, call, key, Vec::new())?;
    }
    if removed > 0 {
        shard.notify(call, Events::STREAM, "xtrim", key);
    }
    reply.integer(removed as i64);
    Ok(())
}

pub fn xdel(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let key = &call.args[1];
    let mut edit = StreamEdit::begin(shard, call, key)?;
    if !edit.is_old() {
        reply.integer(0);
        return Ok(());
    }
    let ids = call.args.skip(2);
    let ids: BTreeSet<EntryId> = ids.iter().map(|id| EntryId::parse(id, 0)).collect::<Result<_, _>>()?;
    let removed = edit.remove(shard, call, &ids)?;
    if removed > 0 {
        edit.finish(shard, call, key, Vec::new())?;
        shard.notify(call, Events::STREAM, "xdel", key);
    }
    reply.integer(removed as i64);
    Ok(())
}

pub fn xsetid(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (args, key) = (call.args, &call.args[1]);
    let id = EntryId::parse(&args[2], 0)?;
    let (mut added, mut max_deleted) = (None, EntryId::MIN);
    let mut at = 3;
    while at < args.len() {
        if args.is(at, "entriesadded") && at + 1 < args.len() {
            let value = u64::try_from(args.integer(at + 1)?);
            added = Some(value.map_err(|_| Refusal::text("ERR entries_added must be positive"))?);
        } else if args.is(at, "maxdeletedid") && at + 1 < args.len() {
            max_deleted = EntryId::parse(&args[at + 1], 0)?;
            if id < max_deleted {
                return Err(Refusal::text(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                )
                .into());
            }
        } else {
            return Err(Refusal::Syntax.into());
        }
        at += 2;
    }
    let facts = super::peek(shard, call, key)?.ok_or(Refusal::NoSuchKey)?.facts(shard, call)?;
    if id < facts.max_deleted {
        return Err(Refusal::text("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id").into());
    }
    if facts.len > 0 && id < facts.top {
        return Err(Refusal::text("ERR The ID specified in XSETID is smaller than the target stream top item").into());
    }
    if facts.len > 0 && added.is_some_and(|added| added < facts.len) {
        return Err(Refusal::text(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        )
        .into());
    }
    let mut edit = StreamEdit::begin(shard, call, key)?;
    let is_set = max_deleted != EntryId::MIN;
    edit.state = State {
        last: id,
        removed: added.map_or(edit.state.removed, |added| added.wrapping_sub(facts.len)),
        max_deleted: if is_set { max_deleted } else { edit.state.max_deleted },
        ..edit.state
    };
    edit.finish(shard, call, key, Vec::new())?;
    shard.notify(call, Events::STREAM, "xsetid", key);
    reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_an_approximate_trim_is_bounded() {
        assert_eq!([0, 1, 100, 10_000, u64::MAX].map(limit_of), [10_000, 100, 10_000, 1_000_000, 1_000_000]);
    }
}
