//! XREAD and XREADGROUP: what has come to streams since an id, and what a group has not been given yet.

use crate::bug::Bug;
use crate::collection::stream::groups::{Consumer, GroupEdit, Groups, Pending};
use crate::collection::stream::id::EntryId;
use crate::collection::stream::{Facts, Stream, StreamEdit};
use crate::command::Call;
use crate::command::args::Args;
use crate::command::blocking::timeout_ms;
use crate::command::program::Steps;
use crate::error::{Refusal, Stop};
use crate::resp::encode::Reply;
use crate::resp::read::{Item, Reader};
use crate::shard::Shard;
use crate::shard::elements::Edit;
use std::ops::{ControlFlow, Range};

/// What both say before the streams.
pub struct Options<'a> {
    pub block_ms: Option<u64>,
    count: u64,
    /// The group and the consumer.
    pub group: Option<(&'a [u8], &'a [u8])>,
    acknowledges: bool,
    /// Where the keys stand; as many ids follow them.
    pub keys: Range<usize>,
}

const GROUP_NAME: &str = "xreadgroup";

/// Where the keys stand, for whoever asks before the command runs.
pub fn keys(args: &Args<'_>) -> Option<Range<usize>> {
    let mut at = 1;
    while at < args.len() && !args.is(at, "streams") {
        at += match () {
            () if args.is(at, "block") || args.is(at, "count") => 2,
            () if args.is(at, "group") => 3,
            () if args.is(at, "noack") => 1,
            () => return None,
        };
    }
    let rest = args.len().checked_sub(at + 1)?;
    (rest > 0 && rest % 2 == 0).then(|| at + 1..at + 1 + rest / 2)
}

/// Whether BLOCK is said.
pub fn blocks(args: &Args<'_>) -> bool {
    let mut at = 1;
    while at < args.len() && !args.is(at, "streams") {
        at += match () {
            () if args.is(at, "block") => return true,
            () if args.is(at, "count") => 2,
            () if args.is(at, "group") => 3,
            () => 1,
        };
    }
    false
}

impl<'a> Options<'a> {
    pub fn parse(args: &'a Args<'_>) -> Result<Options<'a>, Refusal> {
        let is_group = args.is(0, GROUP_NAME);
        let mut options = Options { block_ms: None, count: 0, group: None, acknowledges: false, keys: 0..0 };
        let mut at = 1;
        while at < args.len() {
            let more = args.len() - at - 1;
            if args.is(at, "block") && more > 0 {
                at += 1;
                options.block_ms = Some(timeout_ms(args, at)?);
            } else if args.is(at, "count") && more > 0 {
                at += 1;
                options.count = u64::try_from(args.integer(at)?).unwrap_or(0);
            } else if args.is(at, "streams") && more > 0 {
                if !more.is_multiple_of(2) {
                    let (name, id) = if is_group { (GROUP_NAME, '>') } else { ("xread", '$') };
                    return Err(Refusal::text(format!(
                        "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{id}' must be specified."
                    )));
                }
                options.keys = at + 1..at + 1 + more / 2;
                break;
            } else if args.is(at, "group") && more >= 2 {
                if !is_group {
                    return Err(Refusal::text(
                        "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                options.group = Some((&args[at + 1], &args[at + 2]));
                at += 2;
            } else if args.is(at, "noack") {
                if !is_group {
                    return Err(Refusal::text(
                        "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                options.acknowledges = true;
            } else {
                return Err(Refusal::Syntax);
            }
            at += 1;
        }
        if options.keys.is_empty() {
            return Err(Refusal::Syntax);
        }
        if is_group && options.group.is_none() {
            return Err(Refusal::text("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(options)
    }

    /// Keys with what stands at the place of their ids.
    pub fn streams(&self, args: &Args<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let args = *args;
        let (keys, count) = (self.keys.clone(), self.keys.len());
        keys.map(move |at| (args.get(at).unwrap_or_default(), args.get(at + count).unwrap_or_default()))
    }

    fn limit(&self) -> u64 {
        if self.count == 0 { u64::MAX } else { self.count }
    }
}

pub fn xread(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let options = Options::parse(call.args)?;
    let mut found = Vec::new();
    for (key, id) in options.streams(call.args) {
        let stream = super::read(shard, call, key)?;
        let after = match (id, &stream) {
            (b"$", None) => EntryId::MIN,
            (b"$", Some(stream)) => stream.last(shard, call)?,
            (b">", _) => {
                return Err(Refusal::text(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
                )
                .into());
            }
            _ => EntryId::parse(id, 0)?,
        };
        if let Some(stream) = stream
            && let Some(start) = after.next()
        {
            let count = stream.count_between(shard, call, start, EntryId::MAX)?.min(options.limit());
            if count > 0 {
                found.push((key, stream, start, count));
            }
        }
    }
    if found.is_empty() {
        reply.null_array();
        return Ok(());
    }
    write_streams(found.len(), reply);
    for (key, stream, start, count) in found {
        write_stream(key, reply);
        reply.array(count as usize);
        let mut left = count;
        stream.visit(shard, call, start, EntryId::MAX, |id, fields| {
            super::write_entry(reply, id, fields);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    Ok(())
}

/// XREAD and XREADGROUP of streams that are on several shards: one after the other.
pub fn program(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let options = Options::parse(call.args)?;
    let count = options.count.to_string();
    let mut words: Vec<&[u8]> = vec![call.spec.name.as_bytes()];
    if let Some((group, consumer)) = options.group {
        words.extend([b"GROUP", group, consumer]);
    }
    words.extend([b"COUNT", count.as_bytes()]);
    if options.acknowledges {
        words.push(b"NOACK");
    }
    words.push(b"STREAMS");
    let mut found = Vec::new();
    for (key, id) in options.streams(call.args) {
        let words: Vec<&[u8]> = words.iter().copied().chain([key, id]).collect();
        let answer = steps.run_as(reply.is_resp3, &words)?;
        let mut reader = Reader::new(&answer);
        // One stream: an array of one, or a map. In an array the key and its entries are an array too.
        if reader.next() != Some(Item::Null) {
            if !reply.is_resp3 {
                reader.next();
            }
            reader.next();
            found.push((key, reader.rest().to_vec()));
        }
    }
    if found.is_empty() {
        reply.null_array();
        return Ok(());
    }
    write_streams(found.len(), reply);
    for (key, entries) in found {
        write_stream(key, reply);
        reply.out.extend_from_slice(&entries);
    }
    Ok(())
}

fn write_streams(count: usize, reply: &mut Reply<'_>) {
    if reply.is_resp3 { reply.map(count) } else { reply.array(count) }
}

fn write_stream(key: &[u8], reply: &mut Reply<'_>) {
    if !reply.is_resp3 {
        reply.array(2);
    }
    reply.bulk(key);
}

/// From where on a group is read.
#[derive(Clone, Copy)]
enum From {
    /// What it has not been given yet.
    New,
    /// What its consumer was given behind this id and has not acknowledged.
    History(EntryId),
}

/// One stream of XREADGROUP.
struct Reading<'a> {
    key: &'a [u8],
    from: From,
    /// The place of its key's changes.
    change: usize,
}

/// What a stream answers.
struct Answer {
    ids: Vec<EntryId>,
    is_history: bool,
}

pub fn xreadgroup(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let options = Options::parse(call.args)?;
    let (group, consumer) = options.group.expect("XREADGROUP has a group");
    let (mut readings, mut changes) = (Vec::new(), Vec::<(&[u8], GroupEdit)>::new());
    for (key, id) in options.streams(call.args) {
        let edit = match super::read(shard, call, key)?.and_then(|stream| super::groups_of(shard, call, &stream)) {
            Some(groups) => GroupEdit::begin(&groups, group)?,
            None => None,
        };
        let edit = edit.ok_or_else(|| super::no_key_or_group(key, group, " in XREADGROUP with GROUP option"))?;
        let from = match id {
            b"$" => return Err(Refusal::text(MEANINGLESS).into()),
            b">" => From::New,
            _ => match EntryId::parse(id, 0)? {
                // Redis has this one stand for what is new.
                EntryId::MAX => From::New,
                after => From::History(after),
            },
        };
        let change = changes.iter().position(|(known, _)| *known == key).unwrap_or(changes.len());
        if change == changes.len() {
            changes.push((key, edit));
        }
        readings.push(Reading { key, from, change });
    }
    let mut answers = Vec::new();
    for reading in &readings {
        let stream = super::peek(shard, call, reading.key)?.expect("it was there just now");
        let edit = &mut changes[reading.change].1;
        answers.push(read_group(shard, call, &stream, edit, consumer, &options, reading.from)?);
    }
    write_answers(shard, call, &readings, &answers, reply)?;
    let told: Vec<&[u8]> = changes.iter().filter(|(_, edit)| edit.has_new_consumer()).map(|(key, _)| *key).collect();
    let changes = changes.into_iter().map(|(key, edit)| (key, edit.into_edits()));
    let changes: Vec<_> = changes.filter(|(_, edits)| !edits.is_empty()).collect();
    finish(shard, call, changes)?;
    told.into_iter().for_each(|key| super::tell_consumer(shard, call, key));
    Ok(())
}

const MEANINGLESS: &str = "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                           consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just \
                           return an empty result set.";

/// What a consumer gets of a stream; `None`: nothing that it would be told of.
fn read_group(
    shard: &Shard,
    call: &Call<'_>,
    stream: &Stream<'_>,
    edit: &mut GroupEdit,
    name: &[u8],
    options: &Options<'_>,
    from: From,
) -> Result<Option<Answer>, Stop> {
    let groups = super::groups_of(shard, call, stream).expect("it has a group");
    let now_ms = call.now.unix_ms() as i64;
    let (mut consumer, is_new) = edit.consumer(&groups, name)?;
    let was = consumer;
    consumer.seen_ms = now_ms;
    let answer = match from {
        From::New => {
            let ids = deliver(shard, call, stream, edit, &consumer, options)?;
            if !ids.is_empty() && !options.acknowledges {
                consumer.active_ms = Some(now_ms);
            }
            (!ids.is_empty()).then_some(Answer { ids, is_history: false })
        }
        From::History(after) => {
            let ids = match after.next() {
                Some(start) => {
                    let count = usize::try_from(options.limit()).unwrap_or(usize::MAX);
                    edit.owned(&groups, consumer.number, start, count)?
                }
                None => Vec::new(),
            };
            repeat(shard, call, stream, &groups, edit, &ids)?;
            Some(Answer { ids, is_history: true })
        }
    };
    if is_new || consumer != was {
        edit.set_consumer(name, consumer);
    }
    Ok(answer)
}

/// Gives a consumer what its group has not been given yet.
fn deliver(
    shard: &Shard,
    call: &Call<'_>,
    stream: &Stream<'_>,
    edit: &mut GroupEdit,
    consumer: &Consumer,
    options: &Options<'_>,
) -> Result<Vec<EntryId>, Stop> {
    let groups = super::groups_of(shard, call, stream).expect("it has a group");
    let Some(start) = edit.group.last.next() else { return Ok(Vec::new()) };
    let (mut ids, limit) = (Vec::new(), options.limit());
    stream.visit(shard, call, start, EntryId::MAX, |id, _| {
        ids.push(id);
        if ids.len() as u64 == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if ids.is_empty() {
        return Ok(ids);
    }
    let facts = stream.facts(shard, call)?;
    let delivered_ms = call.now.unix_ms() as i64;
    for id in &ids {
        edit.group.read = read_up_to(&facts, edit.group.read, *id);
        if shard.planted != Some(Bug::GiveTwice) || options.block_ms.is_none() {
            edit.group.last = *id;
        }
        if !options.acknowledges {
            let pending = Pending { consumer: consumer.number, delivered_ms, count: 1 };
            edit.set_pending(&groups, *id, Some(pending))?;
        }
    }
    Ok(ids)
}

/// How many entries a group has read when it is given the one with this id.
fn read_up_to(facts: &Facts, read: Option<i64>, id: EntryId) -> Option<i64> {
    match read {
        Some(read) if !facts.has_gaps_from(id) => Some(read.wrapping_add(1)),
        _ if facts.added > 0 => facts.added_up_to(id).map(|read| read as i64),
        read => read,
    }
}

/// Gives a consumer again what it has.
fn repeat(
    shard: &Shard,
    call: &Call<'_>,
    stream: &Stream<'_>,
    groups: &Groups<'_>,
    edit: &mut GroupEdit,
    ids: &[EntryId],
) -> Result<(), Stop> {
    for id in ids {
        if stream.find(shard, call, *id)?.is_none() {
            continue;
        }
        let was = edit.pending(groups, *id)?.expect("what a consumer has is pending");
        let (delivered_ms, count) = (call.now.unix_ms() as i64, was.count.wrapping_add(1));
        edit.set_pending(groups, *id, Some(Pending { delivered_ms, count, ..was }))?;
    }
    Ok(())
}

fn write_answers(
    shard: &Shard,
    call: &Call<'_>,
    readings: &[Reading<'_>],
    answers: &[Option<Answer>],
    reply: &mut Reply<'_>,
) -> Result<(), Stop> {
    let count = answers.iter().flatten().count();
    if count == 0 {
        reply.null_array();
        return Ok(());
    }
    write_streams(count, reply);
    for (reading, answer) in readings.iter().zip(answers) {
        let Some(Answer { ids, is_history }) = answer else { continue };
        let stream = super::peek(shard, call, reading.key)?.expect("it was there just now");
        write_stream(reading.key, reply);
        reply.array(ids.len());
        for id in ids {
            match stream.find(shard, call, *id)? {
                Some(fields) => super::write_entry(reply, *id, fields),
                None => {
                    assert!(*is_history, "what is new is there");
                    reply.array(2);
                    super::write_id(reply, *id);
                    reply.null_array();
                }
            }
        }
    }
    Ok(())
}

/// Writes what groups have become, of all streams as one unit.
fn finish(shard: &mut Shard, call: &Call<'_>, changes: Vec<(&[u8], Vec<Edit>)>) -> Result<(), Stop> {
    let mut all = Vec::with_capacity(changes.len());
    for (key, edits) in changes {
        let mut stream = StreamEdit::begin(shard, call, key)?;
        stream.tidy(shard, call)?;
        all.extend(stream.into_change(key, edits));
    }
    shard.edit_several(call, &all)
}
