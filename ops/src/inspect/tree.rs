//! `cairn inspect page` and `cairn inspect tree`.

use super::{PageArgs, Place, TreeArgs};
use crate::escape::quoted;
use crate::say;
use cairn_core::route;
use cairn_net::inspect::Checkpoint;
use cairn_net::offline::Offline;
use cairn_storage::check::{KeyBuf, ShownEntries, ShownPage, ShownRow, ShownValue};
use cairn_storage::pagefile::{Superblock, TreeRoot};
use cairn_storage::units::PageId;
use serde_json::{Value, json};

/// `Ok(false)`: it is damaged.
pub fn page(args: &PageArgs, offline: &Offline) -> Result<bool, String> {
    let place = &args.place;
    let mut checkpoint = Checkpoint::open(offline, place.shard())?;
    let page = match checkpoint.page(PageId(args.page)) {
        Ok(page) => page,
        Err((None, what)) => return Err(what),
        Err((Some(offset), what)) => {
            say_damage(place, offline, PageId(args.page), offset, &what);
            return Ok(false);
        }
    };
    if place.json {
        say(&format!("{}\n", page_json(&page, place.bytes)));
        return Ok(true);
    }
    say(&heading(&page));
    match &page.entries {
        ShownEntries::Rows(rows) => rows.iter().for_each(|row| say(&format!("  {}\n", row_text(row, place.bytes)))),
        ShownEntries::Children(children) => {
            children
                .iter()
                .for_each(|(key, child)| say(&format!("  from {}: page {child}\n", key_text(key, place.bytes))));
        }
    }
    Ok(true)
}

pub fn run(args: &TreeArgs, offline: &Offline) -> Result<bool, String> {
    let place = &args.place;
    let mut checkpoint = Checkpoint::open(offline, place.shard())?;
    let superblock = checkpoint.superblock().clone();
    say_checkpoint(place, &superblock);
    let mut is_sound = true;
    for (db, root) in superblock.rows.iter().enumerate() {
        let is_wanted = args.db.map_or(root.levels > 0, |wanted| usize::from(wanted) == db);
        if is_wanted {
            is_sound &= tree(args, offline, &mut checkpoint, &format!("database {db}"), root);
        }
    }
    if args.db.is_none() && superblock.deadlines.levels > 0 {
        is_sound &= tree(args, offline, &mut checkpoint, "deadlines", &superblock.deadlines);
    }
    if !is_sound && offline.is_in_use() {
        say(
            "A server has this directory: if it made checkpoints meanwhile, what was damaged here is not. Run it again\n",
        );
    }
    Ok(is_sound)
}

fn say_checkpoint(place: &Place, superblock: &Superblock) {
    let Superblock { generation, lsn, sites, unix_us, .. } = superblock;
    if place.json {
        let value = json!({ "checkpoint": generation, "lsn": lsn, "sites": sites, "unix_us": unix_us });
        return say(&format!("{value}\n"));
    }
    say(&format!(
        "checkpoint {generation} at LSN {lsn}, of {sites} sites, begun at {} Unix time\n",
        unix_us / 1_000_000
    ));
}

/// A tree, its branches before what is below them. Whether all of it reads back.
fn tree(args: &TreeArgs, offline: &Offline, checkpoint: &mut Checkpoint, name: &str, root: &TreeRoot) -> bool {
    let place = &args.place;
    let TreeRoot { levels, rows, bytes, pages, .. } = *root;
    if place.json {
        let value =
            json!({ "tree": name, "root": root.root, "levels": levels, "rows": rows, "bytes": bytes, "pages": pages });
        say(&format!("{value}\n"));
    } else {
        say(&format!("{name}: {rows} rows in {bytes} bytes, {pages} pages of {levels} levels\n"));
    }
    let mut is_sound = true;
    let mut stack = Vec::from_iter((levels > 0 && args.depth > 0).then(|| (root.page(), 0_u8, KeyBuf::default())));
    while let Some((id, depth, low)) = stack.pop() {
        match checkpoint.page(id) {
            Ok(page) => {
                say_node(place, &page, depth, &low);
                if let ShownEntries::Children(children) = page.entries
                    && depth + 1 < args.depth.min(levels)
                {
                    let low_of = |index: usize, key: KeyBuf| if index == 0 { low.clone() } else { key };
                    let below = children.into_iter().enumerate();
                    let below = below.map(|(index, (key, child))| (child, depth + 1, low_of(index, key)));
                    stack.extend(below.collect::<Vec<_>>().into_iter().rev());
                }
            }
            Err((offset, what)) => {
                is_sound = false;
                say_damage(place, offline, id, offset.unwrap_or_default(), &what);
            }
        }
    }
    is_sound
}

fn say_node(place: &Place, page: &ShownPage, depth: u8, low: &KeyBuf) {
    let (kind, count) = kind_of(page);
    if place.json {
        let value = json!({
            "page": page.page.0, "offset": page.offset, "lsn": page.lsn, "depth": depth, "kind": kind, "entries": count,
            "used": page.used, "low": { "head": low.head, "tail": quoted(&low.tail, place.bytes) },
        });
        return say(&format!("{value}\n"));
    }
    let indent = "  ".repeat(usize::from(depth) + 1);
    say(&format!(
        "{indent}{kind} page {} (offset {}, LSN {}): {count} entries, {} bytes, from {}\n",
        page.page,
        page.offset,
        page.lsn,
        page.used,
        key_text(low, place.bytes)
    ));
}

fn say_damage(place: &Place, offline: &Offline, page: PageId, offset: u64, what: &str) {
    let file = offline.page_path(place.shard());
    if place.json {
        return say(&format!("{}\n", json!({ "damage": what, "page": page.0, "file": file, "offset": offset })));
    }
    say(&format!("DAMAGE {}, offset {offset}: page {page}: {what}\n", file.display()));
}

fn kind_of(page: &ShownPage) -> (&'static str, usize) {
    match &page.entries {
        ShownEntries::Rows(rows) => ("leaf", rows.len()),
        ShownEntries::Children(children) => ("branch", children.len()),
    }
}

fn heading(page: &ShownPage) -> String {
    let (kind, count) = kind_of(page);
    let ShownPage { page, offset, lsn, used, .. } = page;
    format!(
        "{kind} page {page} at offset {offset}, made at LSN {lsn}: {count} entries in {used} bytes; its checksum holds\n"
    )
}

fn key_text(key: &KeyBuf, max: usize) -> String {
    match route::slot_of(key.head) {
        Some(slot) => format!("slot {slot} head {:#018x} {}", key.head, quoted(&key.tail, max)),
        None => format!("{:#018x} {}", key.head, quoted(&key.tail, max)),
    }
}

fn row_text(row: &ShownRow, max: usize) -> String {
    let Some(kind) = row.kind else { return format!("{} {}", row.key.head, quoted(&row.key.tail, max)) };
    let value = match &row.value {
        ShownValue::Inline(value) => quoted(value, max),
        ShownValue::Extent(id, Some(bytes)) => format!("extent {id} of {bytes} bytes"),
        ShownValue::Extent(id, None) => format!("extent {id}, WHICH IS NOT IN THE MAP"),
    };
    let expiry = if row.expire_ms == 0 { String::new() } else { format!(", expires at {}", row.expire_ms) };
    format!("{} = {value} (kind {kind}{expiry})", key_text(&row.key, max))
}

fn page_json(page: &ShownPage, max: usize) -> Value {
    let key = |key: &KeyBuf| json!({ "head": key.head, "tail": quoted(&key.tail, max) });
    let row = |row: &ShownRow| {
        let (value, extent) = match &row.value {
            ShownValue::Inline(value) => (Some(quoted(value, max)), None),
            ShownValue::Extent(id, _) => (None, Some(id.0)),
        };
        json!({ "key": key(&row.key), "kind": row.kind, "expire_ms": row.expire_ms, "value": value, "extent": extent })
    };
    let entries: Vec<Value> = match &page.entries {
        ShownEntries::Rows(rows) => rows.iter().map(row).collect(),
        ShownEntries::Children(children) => {
            children.iter().map(|(low, child)| json!({ "low": key(low), "page": child.0 })).collect()
        }
    };
    let (kind, _) = kind_of(page);
    json!({
        "page": page.page.0, "offset": page.offset, "lsn": page.lsn, "kind": kind, "used": page.used, "entries": entries,
    })
}
