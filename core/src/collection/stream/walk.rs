//! Walks over the entries of a stream.

use super::id::EntryId;
use super::{Body, Stream};
use crate::command::Call;
use crate::error::Stop;
use crate::shard::Shard;
use crate::shard::elements::Element;
use cairn_storage::engine::elements::ORDER_BYTES_MIN;
use std::ops::ControlFlow;

impl Stream<'_> {
    /// Visits ids and fields from one id to another, both included, in order.
    pub fn visit(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        from: EntryId,
        to: EntryId,
        visit: impl FnMut(EntryId, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        self.visit_behind(shard, call, (from, to), 0, visit)
    }

    /// The same without the first `passed` of them.
    pub fn visit_behind(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        (from, to): (EntryId, EntryId),
        passed: u64,
        mut visit: impl FnMut(EntryId, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        let from = from.max(self.state.from);
        match self.body {
            Body::Packed(mut entries) => {
                let all = entries.by_ref().map(EntryId::split).filter(|(id, _)| (from..=to).contains(id));
                for (id, fields) in all.skip(passed as usize) {
                    if visit(id, fields).is_break() {
                        break;
                    }
                }
                Ok(())
            }
            Body::Spread(number) => {
                let rank = match from {
                    EntryId::MIN => 0,
                    from => shard.element_rank(call, number, &from.bytes())?.0,
                };
                shard.elements_from(call, number, rank + passed, |element| match id_of(&element) {
                    id if id > to => ControlFlow::Break(()),
                    id => visit(id, element.value),
                })
            }
        }
    }

    /// The same, the last one first.
    pub fn visit_back(
        &self,
        shard: &Shard,
        call: &Call<'_>,
        (from, to): (EntryId, EntryId),
        passed: u64,
        mut visit: impl FnMut(EntryId, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        let from = from.max(self.state.from);
        match self.body {
            Body::Packed(entries) => {
                let all: Vec<_> = entries.map(EntryId::split).filter(|(id, _)| (from..=to).contains(id)).collect();
                for (id, fields) in all.into_iter().rev().skip(passed as usize) {
                    if visit(id, fields).is_break() {
                        break;
                    }
                }
                Ok(())
            }
            Body::Spread(number) => {
                let (rank, is_there) = shard.element_rank(call, number, &to.bytes())?;
                shard.elements_before(call, number, (rank + u64::from(is_there)).saturating_sub(passed), |element| {
                    match id_of(&element) {
                        id if id < from => ControlFlow::Break(()),
                        id => visit(id, element.value),
                    }
                })
            }
        }
    }
}

/// The id of an entry of a spread stream.
pub(super) fn id_of(element: &Element<'_>) -> EntryId {
    let mut bytes = [0; EntryId::BYTES];
    bytes[..ORDER_BYTES_MIN].copy_from_slice(&element.head.to_be_bytes()[8 - ORDER_BYTES_MIN..]);
    bytes[ORDER_BYTES_MIN..].copy_from_slice(element.rest);
    EntryId::of_bytes(bytes)
}
