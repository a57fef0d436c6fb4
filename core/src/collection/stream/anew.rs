//! A stream that is made as a whole.

use super::groups::{self, Group};
use super::id::EntryId;
use super::{Facts, State};
use crate::collection::Spread;
use crate::collection::packed::{Entries, Packing};
use crate::error::Stop;
use crate::limits::PACKED_BYTES_MAX;
use crate::rdb;
use crate::shard::elements::{Change, Edit, RowEdit};
use crate::shard::{Kind, Shard, Ttl};

/// A stream of these entries, as a packed one has them, and these groups, in place of whatever is at the key.
pub fn anew<'a>(
    shard: &mut Shard,
    key: &'a [u8],
    entries: &[u8],
    facts: &Facts,
    all: &[rdb::stream::Group],
    ttl: Ttl,
) -> Result<Change<'a>, Stop> {
    let kind = Kind::Stream;
    let state = State {
        removed: facts.added.wrapping_sub(facts.len),
        last: if facts.last > facts.top { facts.last } else { EntryId::MIN },
        max_deleted: facts.max_deleted,
        from: EntryId::MIN,
        groups: all.len() as u32,
    };
    if all.is_empty() && entries.len() <= PACKED_BYTES_MAX {
        let mut packing = Packing::new(0);
        packing.push(&state.encode());
        packing.insert_bytes(packing.len() - 1, entries);
        if packing.len() <= PACKED_BYTES_MAX {
            let row = RowEdit::Packed(packing.into_value(), ttl);
            return Ok(Change { key, kind, edits: Vec::new(), row });
        }
    }
    let number = shard.next_collection()?;
    let split = Entries::of(entries).map(EntryId::split);
    let mut edits: Vec<Edit> =
        split.map(|(id, fields)| Edit::put(number, id.bytes().to_vec(), fields.to_vec())).collect();
    for (at, group) in (0..).zip(all) {
        let rdb::stream::Group { name, last, read, consumers, pending } = group;
        let own = Group { number: at, last: *last, read: *read, consumers: consumers.len() as u32 };
        edits.extend(groups::edits_of(groups::number_of(number), name, &own, consumers, pending));
    }
    let row = RowEdit::Names(number, Spread { number, tag: 0, rest: &state.encode() }.encode(), ttl);
    Ok(Change { key, kind, edits, row })
}
