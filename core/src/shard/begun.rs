//! Collections that are made in slices: their elements are put while no row names them, so nobody sees them, and in the end the row does
//! (`cairn_storage::engine::Engine::begin_collection`). Who makes one keeps the row locked.

use super::{Kind, Shard, Ttl};
use crate::collection::Spread;
use crate::command::Call;
use crate::error::Stop;
use crate::shard::elements::{RowEdit, element_kind};
use cairn_storage::engine::elements::element;
use cairn_storage::units::CollectionId;

impl Shard {
    /// Begins a collection that the row of a key is to name.
    pub fn begin_collection(&mut self, call: &Call<'_>, key: &[u8]) -> Result<CollectionId, Stop> {
        self.refuse_if_full(key.len())?;
        let row = self.row_key(call, key);
        let number = self.engine.begin_collection(row)?;
        self.slices.begun.set(Some((call.db, number)));
        Ok(number)
    }

    /// Puts one of its elements, which may be there.
    pub fn put_begun(
        &mut self,
        call: &Call<'_>,
        kind: Kind,
        number: CollectionId,
        order: &[u8],
        (value, expire_ms): (&[u8], u64),
    ) -> Result<(), Stop> {
        self.refuse_if_full(order.len() + value.len())?;
        self.engine.put(element(call.db, number, order), element_kind(kind, number), expire_ms, value)?;
        Ok(())
    }

    /// Has the row of the key name it, in place of whatever was there.
    pub fn name_begun(
        &mut self,
        call: &Call<'_>,
        key: &[u8],
        kind: Kind,
        spread: Spread<'_>,
        ttl: Ttl,
    ) -> Result<(), Stop> {
        let row = RowEdit::Names(spread.number, spread.encode(), ttl);
        self.edit(call, key, kind, Vec::new(), row)
    }
}
