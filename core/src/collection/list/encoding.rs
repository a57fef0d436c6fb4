//! Which encoding a list would have in Redis (`list-max-listpack-size`): a listpack up to so many bytes or elements, then a quicklist until it has at
//! most half as many.
//!
//! A packed list's tag always says that. A spread one is measured where it may have passed a bound, which is looked at once every few elements and
//! by OBJECT ENCODING, since nobody else asks.

use super::List;
use crate::collection::packed::Packed;
use crate::collection::{Form, Spread, label};
use crate::command::Call;
use crate::error::Stop;
use crate::rdb::listpack::entry_bytes;
use crate::shard::Shard;
use crate::shard::elements::Edit;
use std::ops::{ControlFlow, Range};

/// The tags of lists.
pub const SMALL: u8 = 0;
const LARGE: u8 = 1;

/// The sizes of a quicklist's nodes that -1 to -5 stand for.
const SIZES: [u64; 5] = [4096, 8192, 16384, 32768, 65536];

/// What a listpack may have at most whatever is said of its elements (Redis: SIZE_SAFETY_LIMIT).
const SAFE_BYTES_MAX: u64 = 8192;

/// A listpack's header and its end.
const FRAME_BYTES: u64 = 7;

/// An element of a listpack takes at least so many bytes.
const ENTRY_BYTES_MIN: u64 = 2;

/// Once in so many elements a spread list is measured.
const MEASURED_EVERY: u64 = 16;

/// The most bytes and elements of a listpack.
#[derive(Clone, Copy)]
struct Bounds {
    bytes: u64,
    count: u64,
}

impl Bounds {
    fn of(list_size: i64) -> Bounds {
        match usize::try_from(-list_size) {
            Ok(level) if level > 0 => Bounds { bytes: SIZES[(level - 1).min(SIZES.len() - 1)], count: u64::MAX },
            _ => Bounds { bytes: SAFE_BYTES_MAX, count: (list_size.max(1)) as u64 },
        }
    }

    /// What a quicklist may have to become a listpack again.
    fn half(list_size: i64) -> Bounds {
        let Bounds { bytes, count } = Bounds::of(list_size);
        if list_size < 0 { Bounds { bytes: bytes / 2, count } } else { Bounds { bytes: u64::MAX, count: count / 2 } }
    }

    fn admit(self, bytes: u64, count: u64) -> bool {
        bytes <= self.bytes && count <= self.count
    }
}

fn packed_bytes(packed: Packed<'_>) -> u64 {
    FRAME_BYTES + packed.iter().map(entry_bytes).sum::<u64>()
}

/// The tag of a packed list to which these come.
pub(super) fn grown_packed<'v>(
    shard: &Shard,
    packed: Packed<'_>,
    tag: u8,
    values: impl Iterator<Item = &'v [u8]> + Clone,
) -> u8 {
    let size = shard.thresholds.list_size;
    let added: u64 = values.clone().map(|value| value.len() as u64).sum();
    // An element's length there and here differ by less than this factor.
    if tag == LARGE || size < 0 && 3 * packed.bytes().len() as u64 + FRAME_BYTES + added <= Bounds::of(size).bytes {
        return tag;
    }
    let count = packed.count() + values.count();
    u8::from(!Bounds::of(size).admit(packed_bytes(packed) + added, count as u64))
}

/// The tag of a new list of so many elements of so many bytes.
pub fn of_new(shard: &Shard, bytes: u64, count: u64) -> u8 {
    u8::from(!Bounds::of(shard.thresholds.list_size).admit(FRAME_BYTES + bytes, count))
}

/// The tag of a packed list that has become smaller.
pub(super) fn shrunk_packed(shard: &Shard, packed: Packed<'_>) -> u8 {
    if packed.tag == SMALL {
        return SMALL;
    }
    let half = Bounds::half(shard.thresholds.list_size);
    u8::from(!half.admit(packed_bytes(packed), packed.count() as u64))
}

/// The tag of a packed list in which this takes the place of an element. Redis looks at what it would be with both first.
pub(super) fn replaced_packed(shard: &Shard, packed: Packed<'_>, value: &[u8]) -> u8 {
    let tag = grown_packed(shard, packed, packed.tag, std::iter::once(value));
    let half = Bounds::half(shard.thresholds.list_size);
    let is_small = tag == LARGE && half.admit(packed_bytes(packed) + entry_bytes(value), packed.count() as u64);
    if is_small { SMALL } else { tag }
}

/// The tag of a spread list that had `before` elements and has `len`, the new ones of so many bytes.
pub(super) fn grown(
    shard: &Shard,
    call: &Call<'_>,
    spread: &Spread<'_>,
    before: u64,
    len: u64,
    added: usize,
) -> Result<u8, Stop> {
    let bounds = Bounds::of(shard.thresholds.list_size);
    let is_surely_large = len > bounds.count || len.saturating_mul(ENTRY_BYTES_MIN) > bounds.bytes;
    if spread.tag == LARGE || is_surely_large {
        return Ok(LARGE);
    }
    if before / MEASURED_EVERY == len / MEASURED_EVERY && (added as u64) < bounds.bytes / MEASURED_EVERY {
        return Ok(SMALL);
    }
    let (bytes, _) = measure(shard, call, spread, 0..before, bounds.bytes)?;
    Ok(u8::from(bytes + added as u64 > bounds.bytes))
}

/// The tag of a spread list from which elements go, not all.
pub(super) fn popped(shard: &Shard, call: &Call<'_>, spread: &Spread<'_>, gone: &[Edit]) -> Result<u8, Stop> {
    let is_due = |edit: &Edit| label::step_of(&edit.order).is_multiple_of(MEASURED_EVERY);
    if spread.tag == SMALL || shard.thresholds.list_size < 0 && !gone.iter().any(is_due) {
        return Ok(spread.tag);
    }
    let len = shard.element_count(call, spread.number)?;
    // Which ones go does not matter much: some have been popped since it was measured, or will be.
    shrunk(shard, call, spread, 0..len - gone.len() as u64)
}

/// The tag of a spread list of which these are left.
pub(super) fn shrunk(shard: &Shard, call: &Call<'_>, spread: &Spread<'_>, kept: Range<u64>) -> Result<u8, Stop> {
    let half = Bounds::half(shard.thresholds.list_size);
    let len = kept.end - kept.start;
    if spread.tag == SMALL || len > half.count || len.saturating_mul(ENTRY_BYTES_MIN) > half.bytes {
        return Ok(spread.tag);
    }
    let (bytes, _) = measure(shard, call, spread, kept, half.bytes)?;
    Ok(u8::from(bytes > half.bytes))
}

/// The tag of a spread list in which an element was replaced by one of so many bytes.
pub(super) fn replaced(shard: &Shard, call: &Call<'_>, spread: &Spread<'_>, added: usize) -> Result<u8, Stop> {
    let len = shard.element_count(call, spread.number)?;
    let tag = grown(shard, call, spread, 0, len.max(MEASURED_EVERY), added)?;
    if tag == SMALL { Ok(SMALL) } else { shrunk(shard, call, &Spread { tag, ..*spread }, 0..len) }
}

/// What elements would take in a listpack, as soon as it is known to be more than `bytes_max`; and how many were looked at.
fn measure(
    shard: &Shard,
    call: &Call<'_>,
    spread: &Spread<'_>,
    range: Range<u64>,
    bytes_max: u64,
) -> Result<(u64, u64), Stop> {
    let (mut bytes, mut left) = (FRAME_BYTES, range.end - range.start);
    if left == 0 {
        return Ok((bytes, 0));
    }
    shard.elements_from(call, spread.number, range.start, |element| {
        bytes += entry_bytes(element.value);
        left -= 1;
        if left == 0 || bytes > bytes_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok((bytes, range.end - range.start - left))
}

/// What OBJECT ENCODING answers.
pub fn tag_of(shard: &Shard, call: &Call<'_>, list: &List<'_>) -> Result<u8, Stop> {
    let spread = match list.form {
        Form::Packed(packed) => return Ok(packed.tag),
        Form::Spread(spread) => spread,
    };
    let len = shard.element_count(call, spread.number)?;
    match spread.tag {
        SMALL => grown(shard, call, &spread, 0, len.max(MEASURED_EVERY), 0),
        _ => shrunk(shard, call, &spread, 0..len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_take_what_they_take_in_a_listpack() {
        let cases: &[(&[u8], u64)] = &[
            (b"0", 2),
            (b"127", 2),
            (b"-1", 3),
            (b"128", 3),
            (b"4096", 4),
            (b"32768", 5),
            (b"8388608", 6),
            (b"2147483648", 10),
            (b"", 2),
            (b"a", 3),
            (&[b'a'; 63], 65),
            (&[b'a'; 64], 67),
            (&[b'a'; 126], 130),
        ];
        for (value, expect) in cases {
            assert_eq!(entry_bytes(value), *expect, "{value:?}");
        }
    }

    #[test]
    fn bounds_are_those_that_the_setting_stands_for() {
        for (size, bytes, count) in
            [(-2, 8192, u64::MAX), (-5, 65536, u64::MAX), (-9, 65536, u64::MAX), (3, 8192, 3), (0, 8192, 1)]
        {
            let bounds = Bounds::of(size);
            assert_eq!((bounds.bytes, bounds.count), (bytes, count), "{size}");
        }
        assert!(Bounds::half(3).admit(1 << 20, 1) && !Bounds::half(3).admit(1, 2));
        assert!(Bounds::half(-1).admit(2048, 1 << 40) && !Bounds::half(-1).admit(2049, 1));
    }
}
