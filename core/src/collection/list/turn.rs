//! A list whose element goes from one end to the other.

use super::{End, List, end_of, finish_packing};
use crate::collection::packed::Packing;
use crate::collection::{Form, label};
use crate::command::Call;
use crate::error::Stop;
use crate::shard::elements::{Change, Edit, RowEdit};
use crate::shard::{Kind, Shard};
use std::ops::ControlFlow;

/// The element at an end.
pub fn peek_end(shard: &Shard, call: &Call<'_>, list: &List<'_>, end: End) -> Result<Vec<u8>, Stop> {
    let mut found = Vec::new();
    let take = |value: &[u8]| {
        found = value.to_vec();
        ControlFlow::Break(())
    };
    match (end, list.form) {
        (End::Left, _) => list.visit(shard, call, 0, take)?,
        (End::Right, Form::Packed(packed)) => found = packed.iter().last().unwrap_or_default().to_vec(),
        (End::Right, Form::Spread(spread)) => {
            let mut take = take;
            shard.elements_back(call, spread.number, |element| take(element.value))?;
        }
    }
    Ok(found)
}

/// Moves the element at one end to the other.
pub fn rotate<'a>(
    shard: &mut Shard,
    call: &Call<'_>,
    key: &'a [u8],
    from: End,
    to: End,
    value: &[u8],
) -> Result<Change<'a>, Stop> {
    let list = List::peek(shard, call, key)?.expect("the caller has seen it");
    let spread = match list.form {
        Form::Packed(packed) => {
            let count = packed.count() as u64;
            let range = if from == End::Left { 0..1 } else { count - 1..count };
            let (start, end) = (packed.place(range.start as usize), packed.place(range.end as usize));
            let mut packing = Packing::of(packed);
            packing.replace(start..end, &[]);
            let at = if to == End::Left { 0 } else { packing.packed().bytes().len() };
            packing.replace(at..at, &[value]);
            return finish_packing(shard, key, packing).map(|changed| changed.change);
        }
        Form::Spread(spread) => spread,
    };
    let number = spread.number;
    let gone = end_of(shard, call, number, from)?;
    let mut edits = vec![Edit::remove(number, gone.clone())];
    let last = end_of(shard, call, number, to)?;
    let label = match to {
        _ if from == to => gone,
        End::Left => label::before(&last, 1).remove(0),
        End::Right => label::behind(&last, 1).remove(0),
    };
    edits.push(Edit::put(number, label, value.to_vec()));
    Ok(Change { key, kind: Kind::List, edits, row: RowEdit::Stays })
}
