//! Commands about what was delivered and is not acknowledged: XACK, XPENDING, XCLAIM, XAUTOCLAIM.

use crate::bug::Bug;
use crate::collection::stream::groups::{GroupEdit, Groups, Pending};
use crate::collection::stream::id::EntryId;
use crate::collection::stream::{Stream, StreamEdit};
use crate::command::Call;
use crate::error::{Refusal, Stop};
use crate::limits::{AUTOCLAIM_COUNT_MAX, AUTOCLAIM_TRIES};
use crate::resp::encode::Reply;
use crate::shard::Shard;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// A stream and the groups that it has.
struct Place<'a> {
    stream: Stream<'a>,
    groups: Groups<'a>,
}

impl<'a> Place<'a> {
    /// The stream and its group, if both are there.
    fn find(shard: &'a Shard, call: &'a Call<'a>) -> Result<Option<(Place<'a>, GroupEdit)>, Stop> {
        let Some(stream) = super::peek(shard, call, &call.args[1])? else { return Ok(None) };
        let Some(groups) = super::groups_of(shard, call, &stream) else { return Ok(None) };
        let edit = GroupEdit::begin(&groups, &call.args[2])?;
        Ok(edit.map(|edit| (Place { stream, groups }, edit)))
    }

    fn has(&self, id: EntryId) -> Result<bool, Stop> {
        Ok(self.stream.find(self.groups.shard, self.groups.call, id)?.is_some())
    }

    /// Answers what was claimed.
    fn write(&self, ids: &[EntryId], is_only_ids: bool, reply: &mut Reply<'_>) -> Result<(), Stop> {
        reply.array(ids.len());
        for id in ids {
            if is_only_ids {
                super::write_id(reply, *id);
                continue;
            }
            let fields = self.stream.find(self.groups.shard, self.groups.call, *id)?;
            super::write_entry(reply, *id, fields.expect("it was there just now"));
        }
        Ok(())
    }
}

fn no_such_group(call: &Call<'_>) -> Refusal {
    super::no_key_or_group(&call.args[1], &call.args[2], "")
}

fn finish(shard: &mut Shard, call: &Call<'_>, edit: GroupEdit) -> Result<(), Stop> {
    let has_new_consumer = edit.has_new_consumer();
    let edits = edit.into_edits();
    if edits.is_empty() {
        return Ok(());
    }
    let mut stream = StreamEdit::begin(shard, call, &call.args[1])?;
    stream.tidy(shard, call)?;
    stream.finish(shard, call, &call.args[1], edits)?;
    if has_new_consumer {
        super::tell_consumer(shard, call, &call.args[1]);
    }
    Ok(())
}

pub fn xack(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let Some((Place { groups, .. }, mut edit)) = Place::find(shard, call)? else {
        reply.integer(0);
        return Ok(());
    };
    let ids = call.args.skip(3);
    let ids: Vec<EntryId> = ids.iter().map(|id| EntryId::parse(id, 0)).collect::<Result<_, _>>()?;
    let mut acknowledged = 0;
    for id in ids {
        if let Some(was) = edit.pending(&groups, id)? {
            if shard.planted != Some(Bug::AckUnwritten) || was.count == 1 {
                edit.set_pending(&groups, id, None)?;
            }
            acknowledged += 1;
        }
    }
    finish(shard, call, edit)?;
    reply.integer(acknowledged);
    Ok(())
}

/// What XCLAIM says behind the ids.
struct ClaimOptions {
    delivered_ms: Option<i64>,
    count: Option<i64>,
    is_forced: bool,
    is_only_ids: bool,
    last: EntryId,
}

impl ClaimOptions {
    fn parse(call: &Call<'_>, at: usize, now_ms: i64) -> Result<ClaimOptions, Refusal> {
        let args = call.args;
        let mut options =
            ClaimOptions { delivered_ms: None, count: None, is_forced: false, is_only_ids: false, last: EntryId::MIN };
        let integer = |at: usize, text: &'static str| args.integer(at).map_err(|_| Refusal::text(text));
        let mut at = at;
        while at < args.len() {
            let has_more = at + 1 < args.len();
            if args.is(at, "force") {
                options.is_forced = true;
            } else if args.is(at, "justid") {
                options.is_only_ids = true;
            } else if args.is(at, "idle") && has_more {
                at += 1;
                let idle = integer(at, "ERR Invalid IDLE option argument for XCLAIM")?;
                options.delivered_ms = Some(now_ms.wrapping_sub(idle));
            } else if args.is(at, "time") && has_more {
                at += 1;
                options.delivered_ms = Some(integer(at, "ERR Invalid TIME option argument for XCLAIM")?);
            } else if args.is(at, "retrycount") && has_more {
                at += 1;
                let count = integer(at, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                options.count = (count >= 0).then_some(count);
            } else if args.is(at, "lastid") && has_more {
                at += 1;
                options.last = EntryId::parse(&args[at], 0)?;
            } else {
                let word = super::shown(&args[at]);
                return Err(Refusal::text(format!("ERR Unrecognized XCLAIM option '{word}'")));
            }
            at += 1;
        }
        Ok(options)
    }
}

pub fn xclaim(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let args = call.args;
    let (place, mut edit) = Place::find(shard, call)?.ok_or_else(|| no_such_group(call))?;
    let idle_ms = args.integer(4).map_err(|_| Refusal::text("ERR Invalid min-idle-time argument for XCLAIM"))?.max(0);
    let ids: Vec<EntryId> = args.skip(5).iter().map_while(|id| EntryId::parse(id, 0).ok()).collect();
    let now_ms = call.now.unix_ms() as i64;
    let options = ClaimOptions::parse(call, 5 + ids.len(), now_ms)?;
    edit.group.last = edit.group.last.max(options.last);
    let delivered_ms = options.delivered_ms.filter(|ms| (0..=now_ms).contains(ms)).unwrap_or(now_ms);
    let (mut consumer, _) = edit.consumer(&place.groups, &args[3])?;
    consumer.seen_ms = now_ms;
    let mut claimed = Vec::new();
    for id in ids {
        let pending = edit.pending(&place.groups, id)?;
        if !place.has(id)? {
            if pending.is_some() {
                edit.set_pending(&place.groups, id, None)?;
            }
            continue;
        }
        let was = match pending {
            Some(was) if idle_ms > 0 && now_ms.wrapping_sub(was.delivered_ms) < idle_ms => continue,
            Some(was) => was.count,
            // As if it had been delivered to nobody.
            None if options.is_forced => 1,
            None => continue,
        };
        let count = options.count.unwrap_or(if options.is_only_ids { was } else { was.wrapping_add(1) });
        edit.set_pending(&place.groups, id, Some(Pending { consumer: consumer.number, delivered_ms, count }))?;
        consumer.active_ms = Some(now_ms);
        claimed.push(id);
    }
    edit.set_consumer(&args[3], consumer);
    place.write(&claimed, options.is_only_ids, reply)?;
    finish(shard, call, edit)
}

pub fn xautoclaim(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let args = call.args;
    let idle_ms =
        args.integer(4).map_err(|_| Refusal::text("ERR Invalid min-idle-time argument for XAUTOCLAIM"))?.max(0);
    let start = EntryId::parse_start(&args[5])?;
    let (mut count, mut is_only_ids) = (100, false);
    let mut at = 6;
    while at < args.len() {
        if args.is(at, "count") && at + 1 < args.len() {
            count = match args.integer(at + 1).unwrap_or(0) {
                count if (1..=AUTOCLAIM_COUNT_MAX).contains(&count) => count,
                _ => return Err(Refusal::text("ERR COUNT must be > 0").into()),
            };
            at += 1;
        } else if args.is(at, "justid") {
            is_only_ids = true;
        } else {
            return Err(Refusal::Syntax.into());
        }
        at += 1;
    }
    let (place, mut edit) = Place::find(shard, call)?.ok_or_else(|| no_such_group(call))?;
    let now_ms = call.now.unix_ms() as i64;
    let (mut consumer, _) = edit.consumer(&place.groups, &args[3])?;
    consumer.seen_ms = now_ms;
    let (mut found, mut gone, mut next) = (Vec::new(), Vec::new(), EntryId::MIN);
    let mut tries = count * AUTOCLAIM_TRIES;
    let mut stopped = Ok(());
    place.groups.visit_pending(edit.group.number, start, |id, pending| {
        if tries == 0 || count == 0 {
            next = id;
            return ControlFlow::Break(());
        }
        tries -= 1;
        match place.has(id) {
            Ok(true) if idle_ms > 0 && now_ms.wrapping_sub(pending.delivered_ms) < idle_ms => {}
            Ok(is_there) => {
                count -= 1;
                if is_there { found.push((id, pending)) } else { gone.push(id) }
            }
            Err(stop) => {
                stopped = Err(stop);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    stopped?;
    for id in &gone {
        edit.set_pending(&place.groups, *id, None)?;
    }
    for (id, was) in &found {
        let count = if is_only_ids { was.count } else { was.count.wrapping_add(1) };
        let owner = if shard.planted == Some(Bug::ClaimKept) { was.consumer } else { consumer.number };
        let now = Pending { consumer: owner, delivered_ms: now_ms, count };
        edit.set_pending(&place.groups, *id, Some(now))?;
        consumer.active_ms = Some(now_ms);
    }
    edit.set_consumer(&args[3], consumer);
    let claimed: Vec<EntryId> = found.iter().map(|(id, _)| *id).collect();
    reply.array(3);
    super::write_id(reply, next);
    place.write(&claimed, is_only_ids, reply)?;
    reply.array(gone.len());
    gone.iter().for_each(|id| super::write_id(reply, *id));
    finish(shard, call, edit)
}

/// What XPENDING asks beside the key and the group.
struct Range<'a> {
    idle_ms: i64,
    start: EntryId,
    end: EntryId,
    count: u64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Range<'a> {
    fn parse(call: &'a Call<'_>) -> Result<Option<Range<'a>>, Refusal> {
        let args = call.args;
        if args.len() == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&args.len()) {
            return Err(Refusal::Syntax);
        }
        let (mut at, mut idle_ms) = (3, 0);
        if args.is(3, "idle") {
            idle_ms = args.integer(4)?;
            if args.len() < 8 {
                return Err(Refusal::Syntax);
            }
            at = 5;
        }
        let count = u64::try_from(args.integer(at + 2)?).unwrap_or(0);
        let (start, end) = (EntryId::parse_start(&args[at])?, EntryId::parse_end(&args[at + 1])?);
        Ok(Some(Range { idle_ms, start, end, count, consumer: args.get(at + 3) }))
    }
}

pub fn xpending(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let range = Range::parse(call)?;
    let stream = super::read(shard, call, &call.args[1])?;
    let groups = stream.and_then(|stream| super::groups_of(shard, call, &stream)).ok_or_else(|| no_such_group(call))?;
    let group = groups.find(&call.args[2])?.ok_or_else(|| no_such_group(call))?;
    match range {
        None => summary(&groups, group.number, reply),
        Some(range) => pending(&groups, group.number, &range, reply),
    }
}

fn summary(groups: &Groups<'_>, group: u32, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let mut first = None;
    groups.visit_pending(group, EntryId::MIN, |id, _| {
        first = Some(id);
        ControlFlow::Break(())
    })?;
    reply.array(4);
    reply.integer(groups.pending_count(group)? as i64);
    let (Some(first), Some(last)) = (first, groups.pending_last(group)?) else {
        reply.null();
        reply.null();
        reply.null_array();
        return Ok(());
    };
    super::write_id(reply, first);
    super::write_id(reply, last);
    let mut counts = Vec::new();
    for (name, consumer) in groups.consumers(group)? {
        let count = groups.owned_count(group, consumer.number)?;
        if count > 0 {
            counts.push((name, count));
        }
    }
    reply.array(counts.len());
    for (name, count) in counts {
        reply.array(2);
        reply.bulk(&name);
        reply.bulk(itoa::Buffer::new().format(count).as_bytes());
    }
    Ok(())
}

fn pending(groups: &Groups<'_>, group: u32, range: &Range<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let now_ms = groups.call.now.unix_ms() as i64;
    let mut found: Vec<(EntryId, Pending)> = Vec::new();
    let mut note = |id: EntryId, pending: Pending| {
        if range.idle_ms == 0 || now_ms.wrapping_sub(pending.delivered_ms) >= range.idle_ms {
            found.push((id, pending));
        }
        if found.len() as u64 >= range.count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let is_behind = |id: EntryId| id > range.end;
    match range.consumer {
        _ if range.count == 0 => {}
        None => groups.visit_pending(group, range.start, |id, pending| {
            if is_behind(id) { ControlFlow::Break(()) } else { note(id, pending) }
        })?,
        Some(name) => {
            if let Some(consumer) = groups.consumer(group, name)? {
                let mut stopped = Ok(());
                groups.visit_owned(group, consumer.number, range.start, |id| match groups.pending(group, id) {
                    _ if is_behind(id) => ControlFlow::Break(()),
                    Ok(pending) => note(id, pending.expect("what a consumer has is pending")),
                    Err(stop) => {
                        stopped = Err(stop);
                        ControlFlow::Break(())
                    }
                })?;
                stopped?;
            }
        }
    }
    let mut names: HashMap<u32, &[u8]> = HashMap::new();
    reply.array(found.len());
    for (id, Pending { consumer, delivered_ms, count }) in found {
        let name = match names.get(&consumer) {
            Some(name) => *name,
            None => groups.name(group, consumer)?,
        };
        names.insert(consumer, name);
        reply.array(4);
        super::write_id(reply, id);
        reply.bulk(name);
        reply.integer(now_ms.wrapping_sub(delivered_ms).max(0));
        reply.integer(count);
    }
    Ok(())
}
