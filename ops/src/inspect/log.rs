//! `cairn inspect log`.

use super::LogArgs;
use crate::escape::quoted;
use crate::say;
use cairn_core::route;
use cairn_net::inspect::{Checkpoint, LogItem, LogWalk};
use cairn_net::offline::Offline;
use cairn_storage::log::Record;
use cairn_storage::log::flush::Flush;
use cairn_storage::units::Lsn;
use serde_json::{Value, json};

/// `Ok(false)`: something is wrong with what was shown.
pub fn run(args: &LogArgs, offline: &Offline) -> Result<bool, String> {
    let shard = args.place.shard();
    let newest = || Checkpoint::open(offline, shard).map(|checkpoint| checkpoint.superblock().lsn);
    // Without a checkpoint the log is all there is.
    let from = args.from.unwrap_or_else(|| newest().unwrap_or(0));
    let segment_bytes = offline.manifest().segment_bytes;
    let (mut records, mut is_sound) = (0, true);
    let mut flush_shown = None;
    let mut show = |item: LogItem<'_>| {
        match item {
            LogItem::Flush(flush) => flush_shown = Some(flush),
            LogItem::Record { lsn, .. } | LogItem::Broken { lsn, .. } if lsn.0 <= from => {}
            LogItem::Record { lsn, record } => {
                if let Some(flush) = flush_shown.take() {
                    say_flush(args, &flush, segment_bytes);
                }
                records += 1;
                say_record(args, lsn, &record);
            }
            LogItem::Broken { lsn, what } => {
                is_sound = false;
                say_place(args, lsn, lsn, what);
            }
            LogItem::Gap { from: first, to, what } => {
                if to.0 > from {
                    say_place(args, first, to, what);
                }
            }
        }
        records < args.limit
    };
    LogWalk::new(offline, shard).map_err(|error| error.to_string())?.run(Lsn(from), &mut show)?;
    if records == args.limit && !args.place.json {
        say(&format!("{records} records shown: go on with --from, or show more with --limit\n"));
    }
    Ok(is_sound)
}

fn say_flush(args: &LogArgs, flush: &Flush, segment_bytes: u64) {
    let (segment, offset) = (flush.lsn.0 / segment_bytes, flush.lsn.0 % segment_bytes);
    if args.place.json {
        let value = json!({
            "flush": flush.lsn.0, "segment": segment, "offset": offset, "payload": flush.payload,
            "carry": flush.carry, "durable": flush.durable.0, "incarnation": flush.incarnation.0,
            "epoch": flush.epoch.0,
        });
        return say(&format!("{value}\n"));
    }
    say(&format!(
        "flush at LSN {} (segment {segment}, offset {offset}): {} bytes, opening {}, durable up to {} when written\n",
        flush.lsn, flush.payload, flush.incarnation, flush.durable
    ));
}

fn say_place(args: &LogArgs, from: Lsn, to: Lsn, what: &str) {
    if args.place.json {
        return say(&format!("{}\n", json!({ "gap": from.0, "to": to.0, "what": what })));
    }
    say(&format!("LSN {from} to {to}: {what}\n"));
}

fn say_record(args: &LogArgs, lsn: Lsn, record: &Record<'_>) {
    let text = if args.place.json {
        format!("{}\n", to_json(lsn, record, args.place.bytes))
    } else {
        format!("  {lsn:>12}  {}\n", to_text(record, args.place.bytes))
    };
    say(&text);
}

fn place(db: u8, head: u64, key: &[u8], max: usize) -> String {
    let slot = route::slot_of(head).map_or("none".to_string(), |slot| slot.to_string());
    format!("db {db} slot {slot} {}", quoted(key, max))
}

fn txn(record: &Record<'_>) -> String {
    record.txn().map_or(String::new(), |id| id.to_string())
}

fn shards_of(participants: &[u8]) -> impl Iterator<Item = u16> {
    participants.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair))
}

fn to_text(record: &Record<'_>, max: usize) -> String {
    match *record {
        Record::Put { db, kind, head, expire_ms, key, value } => {
            let expiry = if expire_ms == 0 { String::new() } else { format!(", expires at {expire_ms}") };
            format!("put     {} = {} (kind {kind}{expiry})", place(db, head, key, max), quoted(value, max))
        }
        Record::Splice { db, head, offset, key, bytes } => {
            format!("splice  {} at {offset}: {}", place(db, head, key, max), quoted(bytes, max))
        }
        Record::Expire { db, head, expire_ms: 0, key } => format!("persist {}", place(db, head, key, max)),
        Record::Expire { db, head, expire_ms, key } => {
            format!("expire  {} at {expire_ms}", place(db, head, key, max))
        }
        Record::Delete { db, removal, head, key } => {
            format!("delete  {} ({removal:?})", place(db, head, key, max))
        }
        Record::Clear { db } => format!("clear   db {db}"),
        Record::Swap { one, other } => format!("swap    db {one} and db {other}"),
        Record::Opened => "opened  the log was opened here".into(),
        Record::GroupBegin => "begin   of what is one unit".into(),
        Record::GroupEnd => "end     of what is one unit".into(),
        Record::GroupAbort => "drop    what was to be one unit".into(),
        Record::TxnBegin { participants, .. } => {
            let shards: Vec<String> = shards_of(participants).map(|shard| shard.to_string()).collect();
            format!("begin   of the part here of transaction {}, of shards {}", txn(record), shards.join(", "))
        }
        Record::TxnDone { .. } => format!("done    transaction {} is committed", txn(record)),
        Record::TxnAbort { .. } => format!("abort   transaction {} never happened", txn(record)),
    }
}

fn to_json(lsn: Lsn, record: &Record<'_>, max: usize) -> Value {
    let cut = |bytes: &[u8]| quoted(bytes, max);
    let mut value = match *record {
        Record::Put { db, kind, head, expire_ms, key, value } => json!({
            "record": "put", "db": db, "kind": kind, "head": head, "expire_ms": expire_ms, "key": cut(key),
            "value": cut(value), "value_bytes": value.len(),
        }),
        Record::Splice { db, head, offset, key, bytes } => json!({
            "record": "splice", "db": db, "head": head, "offset": offset, "key": cut(key), "value": cut(bytes),
            "value_bytes": bytes.len(),
        }),
        Record::Expire { db, head, expire_ms, key } => {
            json!({ "record": "expire", "db": db, "head": head, "expire_ms": expire_ms, "key": cut(key) })
        }
        Record::Delete { db, removal, head, key } => json!({
            "record": "delete", "db": db, "head": head, "removal": format!("{removal:?}").to_lowercase(), "key": cut(key),
        }),
        Record::Clear { db } => json!({ "record": "clear", "db": db }),
        Record::Swap { one, other } => json!({ "record": "swap", "dbs": [one, other] }),
        Record::Opened => json!({ "record": "opened" }),
        Record::GroupBegin => json!({ "record": "group_begin" }),
        Record::GroupEnd => json!({ "record": "group_end" }),
        Record::GroupAbort => json!({ "record": "group_abort" }),
        Record::TxnBegin { participants, .. } => json!({
            "record": "txn_begin", "txn": txn(record), "participants": shards_of(participants).collect::<Vec<u16>>(),
        }),
        Record::TxnDone { .. } => json!({ "record": "txn_done", "txn": txn(record) }),
        Record::TxnAbort { .. } => json!({ "record": "txn_abort", "txn": txn(record) }),
    };
    value["lsn"] = lsn.0.into();
    value
}
