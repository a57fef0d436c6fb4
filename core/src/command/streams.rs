//! The stream commands: one row each. What they answer follows Redis 7.2's `t_stream.c`, the order of its checks included.

mod add;
mod claim;
mod group;
mod info;
mod look;
pub mod read;
mod waits;

use super::help::help;
use super::{Call, Flags, Keys, Run, Spec, Spread};
use crate::collection::packed::Entries;
use crate::collection::stream::groups::{Group, Groups};
use crate::collection::stream::id::EntryId;
use crate::collection::stream::{Facts, Stream};
use crate::error::{Refusal, Stop};
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard};

/// The stream at a key, for a command that reads.
fn read<'a>(shard: &'a Shard, call: &Call<'_>, key: &[u8]) -> Result<Option<Stream<'a>>, Stop> {
    Ok(shard.read_collection(call, key, Kind::Stream)?.map(Stream::new))
}

/// The same for a command that will write it.
fn peek<'a>(shard: &'a Shard, call: &Call<'_>, key: &[u8]) -> Result<Option<Stream<'a>>, Stop> {
    Ok(shard.peek_collection(call, key, Kind::Stream)?.map(Stream::new))
}

/// The groups of a stream, if it can have any.
fn groups_of<'a>(shard: &'a Shard, call: &'a Call<'a>, stream: &Stream<'_>) -> Option<Groups<'a>> {
    stream.groups_number().map(|number| Groups { shard, call, number })
}

/// A group has a new consumer.
fn tell_consumer(shard: &Shard, call: &Call<'_>, key: &[u8]) {
    shard.notify(call, Events::STREAM, "xgroup-createconsumer", key);
}

fn write_id(reply: &mut Reply<'_>, id: EntryId) {
    let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (ms, seq) = (ms.format(id.ms).as_bytes(), seq.format(id.seq).as_bytes());
    let mut text = [b'-'; 2 * u64::MAX.ilog10() as usize + 3];
    text[..ms.len()].copy_from_slice(ms);
    text[ms.len() + 1..ms.len() + 1 + seq.len()].copy_from_slice(seq);
    reply.bulk(&text[..ms.len() + 1 + seq.len()]);
}

/// An entry: its id, and its fields with their values.
fn write_entry(reply: &mut Reply<'_>, id: EntryId, fields: &[u8]) {
    reply.array(2);
    write_id(reply, id);
    reply.array(Entries::of(fields).count());
    Entries::of(fields).for_each(|field| reply.bulk(field));
}

/// A name in the text of an error.
fn shown(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&name[..memchr::memchr(0, name).unwrap_or(name.len())])
}

fn no_group(group: &[u8], key: &[u8]) -> Refusal {
    let (group, key) = (shown(group), shown(key));
    Refusal::text(format!("NOGROUP No such consumer group '{group}' for key name '{key}'"))
}

fn no_key_or_group(key: &[u8], group: &[u8], end: &str) -> Refusal {
    let (group, key) = (shown(group), shown(key));
    Refusal::text(format!("NOGROUP No such key '{key}' or consumer group '{group}'{end}"))
}

/// How many entries a group has still to read, if that can be told.
fn lag(facts: &Facts, group: &Group) -> Option<i64> {
    if facts.added == 0 {
        return Some(0);
    }
    let read = match group.read {
        Some(read) if !facts.has_gaps_from(group.last) => read,
        _ => facts.added_up_to(group.last)? as i64,
    };
    Some((facts.added as i64).wrapping_sub(read))
}

const STREAM: Spec = Spec { keys: Keys::ONE, categories: "stream", group: "stream", since: "5.0.0", ..Spec::DEFAULT };
const SUB: Spec = Spec { keys: Keys { first: 2, last: 2, step: 1 }, ..STREAM };
const HELP: Flags = Flags::LOADING.and(Flags::STALE);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const WRITE_MORE: Flags = Flags::WRITE.and(Flags::DENYOOM);

pub const SPECS: &[Spec] = &[
    Spec {
        name: "xack",
        arity: -4,
        flags: WRITE_FAST,
        run: Run::Row(claim::xack),
        complexity: "O(N log M) where N is the number of ids and M the number of pending entries.",
        summary: "Acknowledges entries that a group was given and answers how many were pending.",
        synopsis: "key group id [id ...]",
        ..STREAM
    },
    Spec {
        name: "xadd",
        arity: -5,
        flags: WRITE_MORE.and(Flags::FAST),
        run: Run::Row(add::xadd),
        joined: Some(add::XADDS),
        complexity: "O(log N) for an entry, and O(log N) for each one that goes because of a limit, where N is the number of entries.",
        tips: "nondeterministic_output",
        summary: "Adds an entry to a stream, which is made if it is not there, and answers its id.",
        synopsis: "key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]",
        ..STREAM
    },
    Spec {
        name: "xautoclaim",
        arity: -6,
        flags: WRITE_FAST,
        run: Run::Row(claim::xautoclaim),
        since: "6.2.0",
        complexity: "O(N log M) where N is COUNT and M the number of pending entries.",
        key_uses: &["RW access delete"],
        tips: "nondeterministic_output",
        summary: "Gives a consumer the pending entries of a group that are idle for long enough.",
        synopsis: "key group consumer min-idle-time start [COUNT count] [JUSTID]",
        ..STREAM
    },
    Spec {
        name: "xclaim",
        arity: -6,
        flags: WRITE_FAST,
        run: Run::Row(claim::xclaim),
        complexity: "O(N log M) where N is the number of ids and M the number of pending entries.",
        tips: "nondeterministic_output",
        summary: "Gives a consumer pending entries of a group, as if they were delivered to it.",
        synopsis: "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
        ..STREAM
    },
    Spec {
        name: "xdel",
        arity: -3,
        flags: WRITE_FAST,
        run: Run::Row(add::xdel),
        complexity: "O(N log M) where N is the number of ids and M the number of entries.",
        key_uses: &["RW delete"],
        summary: "Removes entries of a stream and answers how many there were.",
        synopsis: "key id [id ...]",
        ..STREAM
    },
    Spec {
        name: "xgroup",
        arity: -2,
        keys: Keys::NONE,
        subcommands: XGROUP_SUBCOMMANDS,
        categories: "",
        complexity: "Depends on subcommand.",
        summary: "Makes, sets and removes consumer groups and consumers.",
        ..STREAM
    },
    Spec {
        name: "xinfo",
        arity: -2,
        keys: Keys::NONE,
        subcommands: XINFO_SUBCOMMANDS,
        categories: "",
        complexity: "Depends on subcommand.",
        summary: "Describes streams, groups and consumers.",
        ..STREAM
    },
    Spec {
        name: "xlen",
        arity: 2,
        flags: Flags::READONLY.and(Flags::FAST),
        run: Run::Row(look::xlen),
        complexity: "O(log N) where N is the number of entries.",
        key_uses: &["RO"],
        summary: "Answers how many entries a stream has.",
        synopsis: "key",
        ..STREAM
    },
    Spec {
        name: "xpending",
        arity: -3,
        flags: Flags::READONLY,
        run: Run::Row(claim::xpending),
        complexity: "O(log N + M) where N is the number of pending entries and M the number that is looked at; O(C log N) without a range, where C is the number of consumers.",
        tips: "nondeterministic_output",
        summary: "Answers what a group was given and has not acknowledged, as a whole or entry by entry.",
        synopsis: "key group [[IDLE min-idle-time] start end count [consumer]]",
        ..STREAM
    },
    Spec {
        name: "xrange",
        arity: -4,
        flags: Flags::READONLY,
        run: Run::Row(look::xrange),
        complexity: "O(log N + M) where N is the number of entries and M the number that is answered.",
        summary: "Answers the entries of a stream between two ids.",
        synopsis: "key start end [COUNT count]",
        ..STREAM
    },
    Spec {
        name: "xread",
        arity: -4,
        flags: Flags::READONLY.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
        keys: Keys::NONE,
        streams: 1,
        spread: Spread::Program(read::program),
        run: Run::Row(read::xread),
        blocks: Some(&waits::READ),
        complexity: "O(log N + M) for each stream, where N is the number of its entries and M the number that is answered.",
        summary: "Answers the entries that came to streams behind given ids.",
        synopsis: "[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
        ..STREAM
    },
    Spec {
        name: "xreadgroup",
        arity: -7,
        flags: Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLEKEYS),
        keys: Keys::NONE,
        streams: 4,
        spread: Spread::Program(read::program),
        run: Run::Row(read::xreadgroup),
        blocks: Some(&waits::READ_GROUP),
        key_uses: &["RO access"],
        complexity: "O(M log N) for each stream, where N is the number of its entries and M the number that is answered.",
        summary: "Gives a consumer entries that its group was not given yet, or what it has not acknowledged.",
        synopsis: "GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]",
        ..STREAM
    },
    Spec {
        name: "xrevrange",
        arity: -4,
        flags: Flags::READONLY,
        run: Run::Row(look::xrevrange),
        complexity: "O(log N + M) where N is the number of entries and M the number that is answered.",
        summary: "Answers the entries of a stream between two ids, the last one first.",
        synopsis: "key end start [COUNT count]",
        ..STREAM
    },
    Spec {
        name: "xsetid",
        arity: -3,
        flags: WRITE_MORE.and(Flags::FAST),
        run: Run::Row(add::xsetid),
        complexity: "O(log N) where N is the number of entries.",
        summary: "Sets the last id of a stream, and what it tells of entries that are gone.",
        synopsis: "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
        ..STREAM
    },
    Spec {
        name: "xtrim",
        arity: -4,
        flags: Flags::WRITE,
        run: Run::Row(add::xtrim),
        complexity: "O(log N), and O(log N) for each entry that goes, of which at most some at a time, where N is the number of entries.",
        key_uses: &["RW delete"],
        tips: "nondeterministic_output",
        summary: "Removes the first entries of a stream, down to a number of entries or up to an id.",
        synopsis: "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]",
        ..STREAM
    },
];

const XGROUP_SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "xgroup|create",
        arity: -5,
        flags: WRITE_MORE,
        run: Run::Row(group::create),
        complexity: "O(log N) where N is the number of entries.",
        key_uses: &["RW insert"],
        summary: "Makes a group that is to be given what comes behind an id.",
        synopsis: "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]",
        ..SUB
    },
    Spec {
        name: "xgroup|createconsumer",
        arity: 5,
        flags: WRITE_MORE,
        run: Run::Row(group::createconsumer),
        since: "6.2.0",
        complexity: "O(log N) where N is the number of consumers.",
        key_uses: &["RW insert"],
        summary: "Makes a consumer of a group.",
        synopsis: "key group consumer",
        ..SUB
    },
    Spec {
        name: "xgroup|delconsumer",
        arity: 5,
        flags: Flags::WRITE,
        run: Run::Row(group::delconsumer),
        complexity: "O(N log M) where N is the number of entries that are pending at the consumer and M of all that are.",
        key_uses: &["RW delete"],
        summary: "Removes a consumer of a group, and what is pending at it.",
        synopsis: "key group consumer",
        ..SUB
    },
    Spec {
        name: "xgroup|destroy",
        arity: 4,
        flags: Flags::WRITE,
        run: Run::Row(group::destroy),
        complexity: "O(N log N) where N is the number of pending entries.",
        key_uses: &["RW delete"],
        summary: "Removes a group, and what is pending in it.",
        synopsis: "key group",
        ..SUB
    },
    Spec {
        name: "xgroup|help",
        arity: 2,
        flags: HELP,
        keys: Keys::NONE,
        run: Run::Server(help),
        summary: "Lists the subcommands.",
        ..SUB
    },
    Spec {
        name: "xgroup|setid",
        arity: -5,
        flags: Flags::WRITE,
        run: Run::Row(group::setid),
        complexity: "O(log N) where N is the number of entries.",
        summary: "Sets the id behind which a group is given what comes.",
        synopsis: "key group <id | $> [ENTRIESREAD entries-read]",
        ..SUB
    },
];

const XINFO_SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "xinfo|consumers",
        arity: 4,
        flags: Flags::READONLY,
        run: Run::Row(info::consumers),
        complexity: "O(N log M) where N is the number of consumers and M of pending entries.",
        tips: "nondeterministic_output",
        summary: "Describes the consumers of a group.",
        synopsis: "key group",
        ..SUB
    },
    Spec {
        name: "xinfo|groups",
        arity: 3,
        flags: Flags::READONLY,
        run: Run::Row(info::groups),
        complexity: "O(N log M) where N is the number of groups and M of pending entries.",
        summary: "Describes the groups of a stream.",
        synopsis: "key",
        ..SUB
    },
    Spec {
        name: "xinfo|help",
        arity: 2,
        flags: HELP,
        keys: Keys::NONE,
        run: Run::Server(help),
        summary: "Lists the subcommands.",
        ..SUB
    },
    Spec {
        name: "xinfo|stream",
        arity: -3,
        flags: Flags::READONLY,
        run: Run::Row(info::stream_info),
        complexity: "O(log N), and O(M log N) with FULL, where N is the number of entries and M of what is shown.",
        summary: "Describes a stream; with FULL also its entries, groups and consumers.",
        synopsis: "key [FULL [COUNT count]]",
        ..SUB
    },
];
