//! Owns what a value looks like in a verifying run, and the check of what a GET brings back.
//!
//! | bytes | content |
//! | --- | --- |
//! | 0..16 | the key's number, 16 hexadecimal digits |
//! | 16..32 | the number of the write, 16 hexadecimal digits |
//! | 32.. | bytes of the pool that belong to this key and write |
//!
//! Valid for a key: the first number is the key's and the tail is the tail of both numbers. So a value of another
//! key (a mixed-up reply), one mixed of two writes and one with flipped bytes are all told apart.

use crate::workload::ValuePool;

/// The two numbers; a verifying run writes no shorter values.
pub const STAMP_BYTES: usize = 32;
const NUMBER_BYTES: usize = 16;

/// Writes the value of `key`'s write number `sequence` into `slot`.
///
/// # Panics
/// If `slot` is shorter than [`STAMP_BYTES`].
pub fn stamp(slot: &mut [u8], key: u64, sequence: u64, pool: &ValuePool) {
    let (head, tail) = slot.split_at_mut(STAMP_BYTES);
    put_hex(&mut head[..NUMBER_BYTES], key);
    put_hex(&mut head[NUMBER_BYTES..], sequence);
    tail.copy_from_slice(pool.marked(mark(key, sequence), tail.len()));
}

/// Whether `value` was written for `key`; the error says what it is instead.
pub fn check(value: &[u8], key: u64, pool: &ValuePool) -> Result<(), String> {
    let Some((head, tail)) = value.split_at_checked(STAMP_BYTES) else {
        return Err(format!("key number {key}: a value of {} bytes, written without --verify?", value.len()));
    };
    let (Some(of), Some(sequence)) = (hex(&head[..NUMBER_BYTES]), hex(&head[NUMBER_BYTES..])) else {
        return Err(format!("key number {key}: a value without a stamp, written without --verify?"));
    };
    if of != key {
        return Err(format!("key number {key}: the value of key number {of}, write {sequence}"));
    }
    if tail.len() > pool.value_bytes_max() || tail != pool.marked(mark(key, sequence), tail.len()) {
        return Err(format!("key number {key}: the value of write {sequence} is damaged"));
    }
    Ok(())
}

fn mark(key: u64, sequence: u64) -> u64 {
    key.rotate_left(32) ^ sequence
}

fn put_hex(slot: &mut [u8], mut number: u64) {
    for digit in slot.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |n, d| Some(n << 4 | u64::from(char::from(*d).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_accepted_for_its_key_and_write_only() {
        let pool = ValuePool::new(200);
        for len in [STAMP_BYTES, STAMP_BYTES + 1, 100, 200] {
            let mut value = vec![0; len];
            stamp(&mut value, 12, 345, &pool);
            assert_eq!(check(&value, 12, &pool), Ok(()), "{len} bytes");
            assert!(check(&value, 13, &pool).unwrap_err().contains("the value of key number 12, write 345"));
            if len > STAMP_BYTES + 1 {
                value[len - 1] ^= 1;
                assert!(check(&value, 12, &pool).unwrap_err().contains("damaged"));
            }
        }
        let mut other = vec![0; 100];
        stamp(&mut other, 12, 346, &pool);
        let mut mixed = vec![0; 100];
        stamp(&mut mixed, 12, 345, &pool);
        mixed[60..].copy_from_slice(&other[60..]);
        assert!(check(&mixed, 12, &pool).is_err());
        assert!(check(b"short", 12, &pool).is_err());
        assert!(check(&[b'x'; 100], 12, &pool).is_err());
    }
}
