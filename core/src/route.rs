//! Stop 4 of 10: keys -> slots -> shards, and the order of a shard's rows.
//!
//! A slot is the CRC16 (XMODEM) of the key, or of its hash tag, modulo 16384, as Redis Cluster has it. A *head* is the
//! slot and 48 bits of the key's hash in one integer: rows stand in the order of their heads, so a slot's rows are
//! neighbours and a head is a place in a SCAN.

use memchr::memchr;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Hash slots, as in Redis Cluster.
pub const SLOTS: u16 = 16384;

const HASH_BITS: u32 = 48;

/// The lowest bits of a head that a SCAN cursor leaves out, so that it fits the 53 bits of a double: some clients keep
/// it in one. Rows that differ only in them are answered together.
pub const CURSOR_DROPPED_BITS: u32 = 10;
const _: () = assert!(14 + HASH_BITS - CURSOR_DROPPED_BITS < 53);

/// The slot of a key. If it has a hash tag (the first `{` is followed by a `}` with at least one byte between
/// them), only the tag counts.
#[inline]
pub fn slot(key: &[u8]) -> u16 {
    let (crc, has_brace) = crc16(key);
    let crc = if has_brace { crc16(tag(key)).0 } else { crc };
    crc & (SLOTS - 1)
}

/// The shard that owns a slot, of so many: shards own contiguous ranges of nearly equal length.
#[inline]
pub fn owner(slot: u16, shards: u16) -> u16 {
    (u32::from(slot) * u32::from(shards) / u32::from(SLOTS)) as u16
}

/// The slots that a shard owns.
pub fn slots_of(shard: u16, shards: u16) -> Range<u16> {
    let first = |shard: u16| (u32::from(shard) * u32::from(SLOTS)).div_ceil(u32::from(shards)) as u16;
    first(shard)..first(shard + 1)
}

/// The place of a key in the order of rows: the slot in bits 48 to 61, above the upper 48 bits of the key's
/// XXH3. `seed` is the data directory's own, so that nobody outside can choose keys that collide.
#[inline]
pub fn head(slot: u16, key: &[u8], seed: u64) -> u64 {
    slot_start(slot) | (xxh3_64_with_seed(key, seed) >> (64 - HASH_BITS))
}

/// The lowest head of a slot.
#[inline]
pub fn slot_start(slot: u16) -> u64 {
    u64::from(slot) << HASH_BITS
}

/// The slot of a head, or `None` if it is beyond all slots.
#[inline]
pub fn slot_of(head: u64) -> Option<u16> {
    u16::try_from(head >> HASH_BITS).ok().filter(|&slot| slot < SLOTS)
}

/// The bytes that the slot of a key with a `{` follows from.
#[cold]
fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr(b'{', key) else { return key };
    let rest = &key[open + 1..];
    match memchr(b'}', rest) {
        None | Some(0) => key,
        Some(close) => &rest[..close],
    }
}

/// CRC16/XMODEM: polynomial 0x1021, most significant bit first, no initial value, nothing inverted. And whether there is a `{`
/// among the bytes, as they pass anyway.
///
/// Eight bytes a step, through one table for each of them. As the initial value is zero, zero bytes in front
/// change nothing, so what does not fill a step is taken from the front of the key instead of its end: one padded
/// step takes the place of up to seven single ones.
#[inline]
fn crc16(bytes: &[u8]) -> (u16, bool) {
    let odd = bytes.len() % 8;
    let (mut crc, mut braces) = (0, 0);
    if odd != 0 {
        let number = front(bytes, odd);
        (crc, braces) = (step(0, number), has_brace(number));
    }
    for chunk in bytes[odd..].as_chunks::<8>().0 {
        let number = u64::from_be_bytes(*chunk);
        braces |= has_brace(number);
        crc = step(crc, number);
    }
    (crc, braces != 0)
}

/// The first 1 to 7 bytes as a big-endian number.
#[inline]
fn front(bytes: &[u8], len: usize) -> u64 {
    if let Some(eight) = bytes.first_chunk::<8>() {
        return u64::from_be_bytes(*eight) >> (64 - 8 * len);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // They overlap in the bytes that both have.
        return u64::from(u32::from_be_bytes(*first)) << (8 * (len - 4)) | u64::from(u32::from_be_bytes(*last));
    }
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Not zero if one of the eight bytes is a `{`.
#[inline]
fn has_brace(bytes: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let differs = bytes ^ (ONES * b'{' as u64);
    differs.wrapping_sub(ONES) & !differs & (ONES * 0x80)
}

/// Only the first two bytes meet the CRC so far: the lookups of the others do not wait for the step before.
#[inline]
fn step(crc: u16, bytes: u64) -> u16 {
    let [a, b, c, d, e, f, g, h] = bytes.to_be_bytes();
    let [high, low] = crc.to_be_bytes();
    let at = |table: usize, byte: u8| TABLES[table][usize::from(byte)];
    let rest = at(5, c) ^ at(4, d) ^ at(3, e) ^ at(2, f) ^ at(1, g) ^ at(0, h);
    rest ^ at(7, a ^ high) ^ at(6, b ^ low)
}

/// `TABLES[n][b]`: the CRC of byte `b` followed by `n` zero bytes.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut table = 0;
        while table < 8 {
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
                bit += 1;
            }
            tables[table][byte] = crc;
            table += 1;
        }
        byte += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crc16_bit_by_bit(bytes: &[u8]) -> u16 {
        bytes.iter().fold(0, |crc, &byte| {
            (0..8).fold(
                crc ^ u16::from(byte) << 8,
                |crc: u16, _| {
                    if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 }
                },
            )
        })
    }

    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(crc16(b"123456789"), (0x31c3, false));
    }

    #[test]
    fn every_length_agrees_with_the_definition() {
        let bytes: Vec<u8> = (0..200u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for len in 0..=bytes.len() {
            assert_eq!(crc16(&bytes[..len]).0, crc16_bit_by_bit(&bytes[..len]), "length {len}");
            assert_eq!(crc16(&bytes[len..]).0, crc16_bit_by_bit(&bytes[len..]), "from {len}");
        }
    }

    #[test]
    fn a_brace_is_seen_wherever_it_stands() {
        for len in 1..40 {
            let mut key = vec![b'z'; len];
            assert!(!crc16(&key).1, "length {len}");
            for at in 0..len {
                key[at] = b'{';
                assert!(crc16(&key).1, "at {at} of {len}");
                key[at] = b'z';
            }
        }
    }

    #[test]
    fn slots_are_those_of_redis_cluster() {
        // CLUSTER KEYSLOT answers these.
        for (key, expect) in [("", 0), ("foo", 12182), ("bar", 5061), ("somekey", 11058), ("foo{hash_tag}", 2515)] {
            assert_eq!(slot(key.as_bytes()), expect, "{key}");
        }
    }

    #[test]
    fn only_the_first_tag_that_is_not_empty_counts() {
        let same = |a: &str, b: &str| assert_eq!(slot(a.as_bytes()), slot(b.as_bytes()), "{a} and {b}");
        same("{user1000}.following", "{user1000}.followers");
        same("{user1000}.following", "user1000");
        same("foo{{bar}}zap", "{bar");
        same("foo{bar}{zap}", "bar");
        for whole in ["foo{}{bar}", "foo{bar", "}foo{", "{}"] {
            assert_eq!(slot(whole.as_bytes()), crc16_bit_by_bit(whole.as_bytes()) % SLOTS, "{whole}");
        }
    }

    #[test]
    fn a_shard_owns_the_slots_that_it_is_the_owner_of() {
        for shards in [1, 2, 3, 7, 16, 1000, 1024] {
            for shard in 0..shards {
                let slots = slots_of(shard, shards);
                assert_eq!((owner(slots.start, shards), owner(slots.end - 1, shards)), (shard, shard));
            }
            assert_eq!(slots_of(shards - 1, shards).end, SLOTS);
        }
    }

    #[test]
    fn heads_order_by_slot_first() {
        assert!(head(3, b"a", 1) < head(4, b"b", 1));
        assert_eq!(slot_of(head(16383, b"a", 7)), Some(16383));
        assert_eq!(slot_of(u64::MAX), None);
        assert_eq!(slot_of(slot_start(16383) + (1 << HASH_BITS)), None);
        assert_ne!(head(0, b"a", 1), head(0, b"a", 2));
    }
}
