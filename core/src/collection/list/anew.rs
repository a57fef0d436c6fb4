//! A list that is made as a whole.

use super::{End, become_list, encoding};
use crate::collection::packed::Packing;
use crate::error::Stop;
use crate::shard::elements::{Change, RowEdit};
use crate::shard::{Shard, Ttl};

/// A list of these elements, of which there is at least one, in place of whatever is at the key.
pub fn anew<'a, 'v>(
    shard: &mut Shard,
    key: &'a [u8],
    values: impl Iterator<Item = &'v [u8]>,
    ttl: Ttl,
) -> Result<Change<'a>, Stop> {
    let values: Vec<&[u8]> = values.collect();
    let changed = become_list(shard, key, Packing::new(0), encoding::SMALL, End::Right, values.iter().copied())?;
    let mut change = changed.change;
    change.row = match change.row {
        RowEdit::Packed(value, _) => RowEdit::Packed(value, ttl),
        RowEdit::Names(number, value, _) => RowEdit::Names(number, value, ttl),
        other => other,
    };
    Ok(change)
}
