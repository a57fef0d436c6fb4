//! Commands on parts of strings.

use super::{answer_long, grown, string};
use crate::command::Call;
use crate::error::{Refusal, Stop};
use crate::limits::LONG_VALUE_BYTES_MIN;
use crate::notify::Events;
use crate::resp::encode::Reply;
use crate::shard::{Kind, Shard, Ttl};
use cairn_storage::blob::Blob;
use std::ops::Range;

pub fn append(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (key, tail) = (&call.args[1], &call.args[2]);
    let len = match string(shard.peek(call, key)?)? {
        None => {
            shard.write(call, key, Kind::String, Ttl::Clear, tail)?;
            tail.len()
        }
        Some(value) => {
            let offset = value.len();
            let len = grown(shard, offset, tail.len())?;
            if !tail.is_empty() {
                shard.splice(call, key, offset, tail)?;
            }
            len
        }
    };
    shard.notify(call, Events::STRING, "append", key);
    reply.integer(len as i64);
    Ok(())
}

/// An empty value changes nothing, and makes no row.
pub fn setrange(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (key, patch) = (&call.args[1], &call.args[3]);
    let offset = usize::try_from(call.args.integer(2)?).map_err(|_| Refusal::OffsetOutOfRange)?;
    let before = string(shard.peek(call, key)?)?.map(<[u8]>::len);
    let len = match before {
        before if patch.is_empty() => before.unwrap_or(0),
        None => {
            let mut value = vec![0; grown(shard, offset, patch.len())?];
            value[offset..].copy_from_slice(patch);
            let value = Blob::new(value);
            shard.write_blob(call, key, Kind::String, Ttl::Clear, &value)?;
            value.len()
        }
        Some(before) => {
            let end = grown(shard, offset, patch.len())?;
            shard.splice(call, key, offset, patch)?;
            end.max(before)
        }
    };
    if !patch.is_empty() {
        shard.notify(call, Events::STRING, "setrange", key);
    }
    reply.integer(len as i64);
    Ok(())
}

/// GETRANGE and SUBSTR.
pub fn getrange(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let (start, end) = (call.args.integer(2)?, call.args.integer(3)?);
    let key = &call.args[1];
    let value = string(shard.read(call, key)?)?.unwrap_or_default();
    let range = part(value.len(), start, end);
    if range.len() >= LONG_VALUE_BYTES_MIN {
        return answer_long(shard, call, key, range, reply);
    }
    reply.bulk(&value[range]);
    Ok(())
}

/// The bytes from `start` to `end`, both included; negative positions count from the end, those outside are moved
/// to the nearest inside.
fn part(len: usize, start: i64, end: i64) -> Range<usize> {
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let len = len as i64;
    let position = |index: i64| if index < 0 { (len + index).max(0) } else { index };
    let (start, end) = (position(start), position(end).min(len - 1));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn positions_are_moved_inside() {
        let check =
            |start, end, expect: &str| assert_eq!(&b"Hello"[part(5, start, end)], expect.as_bytes(), "{start} {end}");
        check(0, -1, "Hello");
        check(1, 3, "ell");
        check(-3, -2, "ll");
        check(-3, -4, "");
        check(3, 1, "");
        check(5, 9, "");
        check(0, 99, "Hello");
        check(-99, 0, "H");
        check(-99, -98, "H");
        check(i64::MIN, i64::MAX, "Hello");
        check(i64::MAX, i64::MAX, "");
        assert!(part(0, 0, -1).is_empty() && part(0, 0, 0).is_empty());
    }
}
