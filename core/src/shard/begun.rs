//! Collections that are made in slices: their elements are put while no row names them, so nobody sees them, and in the end the row does
//! (`cairn_storage::engine::Engine::begin_collection`). Who makes one keeps the row locked.

use super::{Kind, Row, Shard, Ttl};
use crate::collection::{Form, Spread};
use crate::command::Call;
use crate::error::Stop;
use crate::limits::SLICE_BYTES;
use crate::shard::elements::{RowEdit, element_kind};
use cairn_storage::engine::elements::element;
use cairn_storage::units::CollectionId;
use std::ops::ControlFlow;

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

    /// Whether the collection in a row has more elements than a turn deals with: both of its orders count.
    pub(crate) fn is_large(&self, call: &Call<'_>, row: &Row<'_>) -> Result<bool, Stop> {
        let Form::Spread(Spread { number, .. }) = row.form() else { return Ok(false) };
        let elements = self.element_count(call, number)? + self.element_count(call, CollectionId(number.0 + 1))?;
        Ok(elements > self.slices.items.get())
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
        assert!(self.engine.is_begun(call.db, spread.number), "its elements stay until a row names it");
        let row = RowEdit::Names(spread.number, spread.encode(), ttl);
        self.edit(call, key, kind, Vec::new(), row)
    }

    /// Copies elements of a collection to one that the row of a key is to name, so many in a turn. The number of that one, when all are there.
    pub(super) fn copy_elements(
        &mut self,
        call: &Call<'_>,
        number: CollectionId,
        there: &Call<'_>,
        (target, kind): (&[u8], Kind),
    ) -> Result<CollectionId, Stop> {
        let mut copying = match self.rested::<Copying>() {
            Some(copying) => copying,
            None => Box::new(Copying { number: self.begin_collection(there, target)?, order: 0, rank: 0 }),
        };
        if copying.order < ORDERS {
            let copied = self.copy_some(call, number, there, kind, &mut copying);
            if copied.is_err() || copying.order < ORDERS {
                return Err(self.rest(copying, copied.err().unwrap_or(Stop::Long)));
            }
        }
        // What names it may still want a page.
        let copied = copying.number;
        self.keep(copying);
        Ok(copied)
    }

    fn copy_some(
        &mut self,
        call: &Call<'_>,
        number: CollectionId,
        there: &Call<'_>,
        kind: Kind,
        copying: &mut Copying,
    ) -> Result<(), Stop> {
        let (from, to) = (CollectionId(number.0 + copying.order), CollectionId(copying.number.0 + copying.order));
        let items = self.puts_now() as usize;
        let (mut some, mut bytes) = (Vec::new(), 0);
        self.elements_from(call, from, copying.rank, |element| {
            bytes += element.value.len();
            some.push((element.order(), element.value.to_vec(), element.expire_ms));
            if some.len() < items && bytes < SLICE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        for (order, value, expire_ms) in &some {
            self.put_begun(there, kind, to, order, (value, *expire_ms))?;
        }
        match some.len() {
            0 => (copying.order, copying.rank) = (copying.order + 1, 0),
            copied => copying.rank += copied as u64,
        }
        Ok(())
    }
}

/// A copy under way.
struct Copying {
    /// Its number.
    number: CollectionId,
    /// Which of a collection's orders is copied, and how many of that have been.
    order: u64,
    rank: u64,
}

const ORDERS: u64 = 2;
