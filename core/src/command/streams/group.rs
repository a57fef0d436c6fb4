//! XGROUP: consumer groups come, go, and are set.

use crate::collection::stream::groups::{Group, GroupEdit, Groups, group_edit};
use crate::collection::stream::id::EntryId;
use crate::collection::stream::{Stream, StreamEdit};
use crate::command::{Call, help};
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::Shard;
use crate::shard::elements::Edit;

/// What follows the id of CREATE and SETID.
#[derive(Default)]
struct Options {
    makes_stream: bool,
    read: Option<i64>,
}

impl Options {
    fn parse(call: &Call<'_>, is_create: bool) -> Result<Options, Refusal> {
        let args = call.args;
        let mut options = Options::default();
        let mut at = 5;
        while at < args.len() {
            if is_create && args.is(at, "mkstream") {
                options.makes_stream = true;
                at += 1;
            } else if args.is(at, "entriesread") && at + 1 < args.len() {
                options.read = match args.integer(at + 1)? {
                    -1 => None,
                    read if read < 0 => {
                        return Err(Refusal::text("ERR value for ENTRIESREAD must be positive or -1"));
                    }
                    read => Some(read),
                };
                at += 2;
            } else {
                return Err(help::wrong_subcommand(call));
            }
        }
        Ok(options)
    }
}

const NO_KEY: &str = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
                      MKSTREAM option to create an empty stream automatically.";

/// The stream, which must be there.
fn stream<'a>(shard: &'a Shard, call: &Call<'_>) -> Result<Stream<'a>, Stop> {
    super::peek(shard, call, &call.args[2])?.ok_or_else(|| Refusal::text(NO_KEY).into())
}

/// The group, which must be there.
fn group(shard: &Shard, call: &Call<'_>) -> Result<GroupEdit, Stop> {
    let (key, name) = (&call.args[2], &call.args[3]);
    let edit = match super::groups_of(shard, call, &stream(shard, call)?) {
        Some(groups) => GroupEdit::begin(&groups, name)?,
        None => None,
    };
    edit.ok_or_else(|| super::no_group(name, key).into())
}

/// What a change of a group writes.
fn finish(shard: &mut Shard, call: &Call<'_>, edits: Vec<Edit>) -> Result<(), Stop> {
    let key = &call.args[2];
    let mut stream = StreamEdit::begin(shard, call, key)?;
    stream.tidy(shard, call)?;
    stream.finish(shard, call, key, edits)
}

fn parse_last(id: &[u8], last: EntryId, is_strict: bool) -> Result<EntryId, Refusal> {
    match id {
        b"$" => Ok(last),
        _ if is_strict => EntryId::parse(id, 0),
        _ => EntryId::parse_any(id, 0),
    }
}

const CREATE_ARGS_MAX: usize = 8;

pub fn create(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (key, name) = (&call.args[2], &call.args[3]);
    let options = Options::parse(call, true)?;
    let mut edit = StreamEdit::begin(shard, call, key)?;
    if !edit.is_old() && !options.makes_stream {
        return Err(Refusal::text(NO_KEY).into());
    }
    if call.args.len() > CREATE_ARGS_MAX {
        return Err(help::wrong_subcommand(call).into());
    }
    let last = parse_last(&call.args[4], edit.last, true)?;
    if let Some(stream) = super::peek(shard, call, key)?
        && let Some(groups) = super::groups_of(shard, call, &stream)
        && groups.find(name)?.is_some()
    {
        return Err(Refusal::text("BUSYGROUP Consumer Group name already exists").into());
    }
    let group = Group::new(edit.state.groups, last, options.read);
    let next = group.number.checked_add(1);
    edit.state.groups = next.ok_or(Refusal::text("ERR the stream has had as many groups as it can have"))?;
    let number = edit.spread_for_groups(shard)?;
    edit.tidy(shard, call)?;
    edit.finish(shard, call, key, vec![group_edit(number, name, Some(&group))])?;
    shard.notify(call, Events::STREAM, "xgroup-create", key);
    reply.ok();
    Ok(())
}

pub fn setid(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let options = Options::parse(call, false)?;
    let last = stream(shard, call)?.last(shard, call)?;
    let mut edit = group(shard, call)?;
    if !matches!(call.args.len(), 5 | 7) {
        return Err(help::wrong_subcommand(call).into());
    }
    edit.group.last = parse_last(&call.args[4], last, false)?;
    edit.group.read = options.read;
    finish(shard, call, edit.into_edits())?;
    shard.notify(call, Events::STREAM, "xgroup-setid", &call.args[2]);
    reply.ok();
    Ok(())
}

pub fn destroy(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let name = &call.args[3];
    let mut edits = Vec::new();
    if let Some(groups) = super::groups_of(shard, call, &stream(shard, call)?)
        && let Some(group) = groups.find(name)?
    {
        edits = groups.removals(group.number)?;
        edits.push(group_edit(groups.number, name, None));
    }
    let is_there = !edits.is_empty();
    if is_there {
        finish(shard, call, edits)?;
        shard.notify(call, Events::STREAM, "xgroup-destroy", &call.args[2]);
    }
    reply.integer(i64::from(is_there));
    Ok(())
}

pub fn createconsumer(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let mut edit = group(shard, call)?;
    let (_, is_new) = edit.consumer(&groups(shard, call)?, &call.args[4])?;
    if is_new {
        finish(shard, call, edit.into_edits())?;
        super::tell_consumer(shard, call, &call.args[2]);
    }
    reply.integer(i64::from(is_new));
    Ok(())
}

pub fn delconsumer(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let mut edit = group(shard, call)?;
    let pending = edit.remove_consumer(&groups(shard, call)?, &call.args[4])?;
    let edits = edit.into_edits();
    if !edits.is_empty() {
        finish(shard, call, edits)?;
        shard.notify(call, Events::STREAM, "xgroup-delconsumer", &call.args[2]);
    }
    reply.integer(pending as i64);
    Ok(())
}

/// The groups of the stream, which has some.
fn groups<'a>(shard: &'a Shard, call: &'a Call<'a>) -> Result<Groups<'a>, Stop> {
    let stream = stream(shard, call)?;
    Ok(super::groups_of(shard, call, &stream).expect("a group was found"))
}
