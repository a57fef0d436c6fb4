//! Commands on whole databases: they ask every shard, or one after the other.
//!
//! A SCAN cursor is the head (`route::head`: slot and hash) to go on from, without its lowest bits, plus one; 0 is the
//! beginning and the end. So nothing is kept between two calls, head 0 can be gone on from, and the shard follows from the
//! cursor: shards own ascending ranges of slots, and a scan walks through one shard after the other. As rows stand in the order
//! of their heads and rows that a cursor cannot tell apart are never separated, a key that is there throughout is answered exactly
//! once.

use super::scan::{ScanOptions, parse_cursor};
use super::{Call, Flags, Flow, Run, Spec};
use crate::answer::Progress;
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, Now};
use crate::glob;
use crate::machine::{Machine, Merge};
use crate::parcel::{Answer, Ask};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::route::{self, CURSOR_DROPPED_BITS, SLOTS, slot_of, slot_start};
use crate::shard::{Row, ScanEnd, Shard};
use cairn_storage::units::ShardId;
use std::cell::Cell;

/// What a shard answers to a question about its rows; `None` if the question is about something else.
pub fn answer(shard: &mut Shard, now: Now, ask: &Ask, progress: &mut Progress) -> Option<Result<Answer, Stop>> {
    Some(match ask {
        Ask::Keys { db, pattern } => keys(shard, now, *db, pattern, progress),
        Ask::Scan { db, cursor, count, pattern, kind } => {
            let looks_max = progress.rows_max.unwrap_or(u64::MAX).max(*count as u64);
            scan_step(shard, now, *db, *cursor, (*count, looks_max), pattern.as_deref(), *kind)
        }
        Ask::RandomKey { db } => random_key(shard, now, *db),
        Ask::KeysInSlot { slot, count } => keys_in_slot(shard, now, *slot, *count),
        Ask::CountKeysInSlot { slot } => count_keys_in_slot(shard, now, *slot),
        _ => return None,
    })
}

/// Goes on from where it was when something was missing: all rows need not be in memory at once.
fn keys(shard: &Shard, now: Now, db: u8, pattern: &[u8], progress: &mut Progress) -> Result<Answer, Stop> {
    // Unlike any other pattern, a lone star matches the empty key.
    let is_all = pattern == b"*";
    let keys = &mut progress.keys;
    let (mut seen, rows_max) = (0, progress.rows_max.unwrap_or(u64::MAX));
    let mut visit = |key: &[u8], _: Row<'_>| {
        if is_all || glob::is_match(pattern, key) {
            keys.push(key.to_vec());
        }
    };
    // Those count too that are not visited.
    let mut go_on = || {
        seen += 1;
        seen < rows_max
    };
    let end = shard.scan_part(now, db, progress.head, &mut visit, &mut go_on);
    if let ScanEnd::Missing { from, .. } = end {
        shard.forget_from(keys, from);
    }
    show_keys(progress);
    match end {
        ScanEnd::At(0) => {
            progress.shown.close();
            Ok(Answer::Shown { count: progress.count, replies: Box::new(std::mem::take(&mut progress.shown)) })
        }
        ScanEnd::At(next) => {
            (progress.head, progress.goes_on) = (next, true);
            Err(Stop::Crowded)
        }
        ScanEnd::Missing { missing, from } => {
            (progress.head, progress.goes_on) = (from, false);
            Err(missing.into())
        }
    }
}

/// What was found is a part of the reply.
fn show_keys(progress: &mut Progress) {
    let mut shown = Replies::default();
    let mut reply = Reply::new(&mut shown, false);
    progress.keys.iter().for_each(|key| reply.bulk(key));
    progress.count += progress.keys.len();
    progress.keys.clear();
    progress.shown.append_apart(shown);
}

/// The first of `counts` is the number of keys to look at, whether they match or not; the second one that of rows, whether they are keys or not. The answer's `next` is the head to go on
/// from, 0 at the end of the shard.
fn scan_step(
    shard: &Shard,
    now: Now,
    db: u8,
    head: u64,
    (count, looks_max): (usize, u64),
    pattern: Option<&[u8]>,
    kind: Option<u8>,
) -> Result<Answer, Stop> {
    let (seen, mut looks) = (Cell::new(0), 0);
    let mut keys = Vec::new();
    let mut visit = |key: &[u8], row: Row<'_>| {
        seen.set(seen.get() + 1);
        let is_kind = kind.is_none_or(|kind| kind == row.kind as u8);
        if is_kind && pattern.is_none_or(|pattern| glob::is_match(pattern, key)) {
            keys.push(key.to_vec());
        }
    };
    let mut go_on = || {
        looks += 1;
        seen.get() < count && looks < looks_max
    };
    match shard.scan_part(now, db, head, &mut visit, &mut go_on) {
        ScanEnd::At(next) => Ok(Answer::Keys { keys, next }),
        // It is nowhere said that a step looks at as many keys as COUNT says.
        ScanEnd::Missing { from, .. } if from > head => {
            shard.forget_from(&mut keys, from);
            Ok(Answer::Keys { keys, next: from })
        }
        ScanEnd::Missing { missing, .. } => Err(missing.into()),
    }
}

/// The answer's `next` is the number of rows, so that the asker can choose a shard in proportion.
fn random_key(shard: &mut Shard, now: Now, db: u8) -> Result<Answer, Stop> {
    let keys = Vec::from_iter(shard.random_key(now, db)?);
    Ok(Answer::Keys { keys, next: shard.row_count_about(db)? })
}

fn keys_in_slot(shard: &Shard, now: Now, slot: u16, count: usize) -> Result<Answer, Stop> {
    let mut keys = Vec::new();
    visit_slot(shard, now, slot, |key| {
        if keys.len() < count {
            keys.push(key.to_vec());
        }
        keys.len() < count
    })?;
    Ok(Answer::Keys { keys, next: 0 })
}

fn count_keys_in_slot(shard: &Shard, now: Now, slot: u16) -> Result<Answer, Stop> {
    let mut count = 0;
    visit_slot(shard, now, slot, |_| {
        count += 1;
        true
    })?;
    Ok(Answer::Count(count))
}

/// Shows the keys of a slot until `visit` has enough, in database 0: the only one that a cluster has.
fn visit_slot(shard: &Shard, now: Now, slot: u16, mut visit: impl FnMut(&[u8]) -> bool) -> Result<(), Stop> {
    let is_over = Cell::new(false);
    let mut visit = |key: &[u8], _: Row<'_>| {
        is_over.set(is_over.get() || route::slot(key) != slot || !visit(key));
    };
    shard.scan(now, 0, slot_start(slot), &mut visit, &mut || !is_over.get()).map(drop)
}

fn keys_command(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let ask = Ask::Keys { db: call.db, pattern: call.args[1].to_vec() };
    machine.ask_all(conn, ask, Box::new(|_, _, answers, reply| merge_keys(answers, reply)))
}

fn merge_keys(answers: Vec<Answer>, reply: &mut Reply<'_>) {
    if is_refused(&answers, reply) {
        return;
    }
    let shown = answers.into_iter().map(|answer| match answer {
        Answer::Shown { count, replies } => (count, replies),
        other => unreachable!("a question for keys was answered with {other:?}"),
    });
    let shown: Vec<_> = shown.collect();
    reply.array(shown.iter().map(|(count, _)| count).sum());
    shown.into_iter().for_each(|(_, replies)| reply.out.append(*replies));
}

fn scan(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let cursor = parse_cursor(&call.args[1]).ok_or(Refusal::text("ERR invalid cursor"))?;
    let options = ScanOptions::parse(call, 2, true)?;
    let head = cursor.saturating_sub(1).checked_mul(1 << CURSOR_DROPPED_BITS);
    let Some((head, slot)) = head.and_then(|head| Some((head, slot_of(head)?))) else {
        // Beyond the last row there can be.
        write_scan(0, &[], reply);
        return Ok(Flow::Done);
    };
    let ScanOptions { count, pattern, kind } = options;
    let ask = Ask::Scan { db: call.db, cursor: head, count, pattern, kind };
    let shard = machine.owner(slot);
    let merge: Merge = Box::new(move |machine, _, answers, reply| {
        let Some(lists) = key_lists(answers, reply) else { return };
        let (keys, next) = &lists[0];
        let cursor = if *next > 0 { cursor_of(*next) } else { first_cursor_after(machine, shard) };
        write_scan(cursor, keys, reply);
    });
    machine.ask_one(conn, shard, ask, merge)
}

/// The cursor at which the next shard's rows begin, or 0 after the last one.
fn first_cursor_after(machine: &Machine, shard: ShardId) -> u64 {
    let (mut low, mut high) = (0, SLOTS);
    while low < high {
        let middle = low.midpoint(high);
        if machine.owner(middle) <= shard { low = middle + 1 } else { high = middle }
    }
    if low == SLOTS { 0 } else { cursor_of(slot_start(low)) }
}

/// The cursor that goes on from a head.
fn cursor_of(head: u64) -> u64 {
    (head >> CURSOR_DROPPED_BITS) + 1
}

fn write_scan(cursor: u64, keys: &[Vec<u8>], reply: &mut Reply<'_>) {
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(cursor).as_bytes());
    reply.array(keys.len());
    for key in keys {
        reply.bulk(key);
    }
}

fn randomkey(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let merge: Merge = Box::new(|machine, _, answers, reply| {
        let Some(mut lists) = key_lists(answers, reply) else { return };
        lists.retain(|(keys, _)| !keys.is_empty());
        let rows: u64 = lists.iter().map(|(_, rows)| *rows).sum();
        let mut pick = machine.shard.random() % rows.max(1);
        let chosen = lists.iter().find(|(_, rows)| {
            let is_here = pick < *rows;
            pick = pick.saturating_sub(*rows);
            is_here
        });
        match chosen {
            Some((keys, _)) => reply.bulk(&keys[0]),
            None => reply.null(),
        }
    });
    machine.ask_all(conn, Ask::RandomKey { db: call.db }, merge)
}

fn dbsize(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let merge: Merge = Box::new(|_, _, answers, reply| {
        if is_refused(&answers, reply) {
            return;
        }
        reply.integer(answers.iter().map(|answer| if let Answer::Count(rows) = answer { *rows } else { 0 }).sum());
    });
    machine.ask_all(conn, Ask::RowCount { db: call.db }, merge)
}

/// If a shard has refused, that is the reply.
pub fn is_refused(answers: &[Answer], reply: &mut Reply<'_>) -> bool {
    let refused = answers.iter().find_map(|answer| if let Answer::Refused(line) = answer { Some(line) } else { None });
    if let Some(line) = refused {
        reply.error(line);
    }
    refused.is_some()
}

/// The shards' keys and `next`s; `None` if one has refused, which is then the reply.
fn key_lists(answers: Vec<Answer>, reply: &mut Reply<'_>) -> Option<Vec<(Vec<Vec<u8>>, u64)>> {
    if is_refused(&answers, reply) {
        return None;
    }
    let list = |answer| match answer {
        Answer::Keys { keys, next } => (keys, next),
        other => unreachable!("a question for keys was answered with {other:?}"),
    };
    Some(answers.into_iter().map(list).collect())
}

/// Whether a command looks at a whole database, or at what is behind a cursor.
pub fn is_survey(spec: &Spec) -> bool {
    matches!(spec.name, "dbsize" | "keys" | "scan" | "randomkey")
}

const DATABASE: Spec = Spec { categories: "keyspace", group: "generic", flags: Flags::READONLY, ..Spec::DEFAULT };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "dbsize",
        arity: 1,
        flags: Flags::READONLY.and(Flags::FAST),
        run: Run::Server(dbsize),
        group: "server",
        tips: "request_policy:all_shards response_policy:agg_sum",
        summary: "Counts the keys of the database.",
        ..DATABASE
    },
    Spec {
        name: "keys",
        arity: 2,
        run: Run::Server(keys_command),
        categories: "keyspace dangerous",
        complexity: "O(N) where N is the number of keys in the database.",
        tips: "request_policy:all_shards nondeterministic_output_order",
        summary: "Answers all keys that match a pattern.",
        synopsis: "pattern",
        ..DATABASE
    },
    Spec {
        name: "randomkey",
        arity: 1,
        run: Run::Server(randomkey),
        tips: "request_policy:all_shards nondeterministic_output",
        summary: "Answers any key of the database.",
        ..DATABASE
    },
    Spec {
        name: "scan",
        arity: -2,
        run: Run::Server(scan),
        since: "2.8.0",
        complexity: "O(1) for a call, O(N) for all calls until the cursor is 0 again, where N is the number of keys in the database.",
        tips: "nondeterministic_output request_policy:special",
        summary: "Walks through the keys of the database, some at a call.",
        synopsis: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        ..DATABASE
    },
];
