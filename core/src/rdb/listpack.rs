//! Listpacks: small collections and the nodes of streams as one string of bytes.
//!
//! | bytes | |
//! | --- | --- |
//! | 4 | all bytes, little-endian |
//! | 2 | elements, little-endian; 65535: not known |
//! | .. | each element: its first byte says what it is, see below; then how long it is, from its end to its beginning 7 bits a byte |
//! | 1 | 255 |
//!
//! | first byte | element |
//! | --- | --- |
//! | `0xxxxxxx` | an integer from 0 to 127 |
//! | `10xxxxxx` | a string of so many bytes |
//! | `110xxxxx` | with the next byte, an integer of 13 bits |
//! | `1110xxxx` | with the next byte, the length of a string |
//! | 240 | 4 bytes: the length of a string, little-endian |
//! | 241 to 244 | an integer of 16, 24, 32, 64 bits, little-endian |
//!
//! **Valid** is what has the length and the number of elements that it says, and lengths behind its elements that are theirs.

use super::{Input, Invalid, What};
use crate::collection::packed;
use crate::command::args::parse_integer;

const HEADER_BYTES: usize = 6;
const END: u8 = 0xff;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// An element: Redis keeps what reads as an integer as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
}

impl Item<'_> {
    /// Appends it as an entry of a packed collection.
    pub fn push(self, out: &mut Vec<u8>) {
        match self {
            Item::Integer(value) => packed::push(out, itoa::Buffer::new().format(value).as_bytes()),
            Item::Bytes(bytes) => packed::push(out, bytes),
        }
    }
}

/// A listpack that is read.
pub struct Listpack<'a> {
    input: Input<'a>,
    left: Option<u16>,
}

impl<'a> Listpack<'a> {
    /// Of an input that is one listpack and nothing else.
    pub fn new(mut input: Input<'a>, len: usize) -> Result<Listpack<'a>, Invalid> {
        let broken = input.invalid(What::Listpack);
        let total = u32::from_le_bytes(input.array().map_err(|_| broken.clone())?);
        let count = u16::from_le_bytes(input.array().map_err(|_| broken.clone())?);
        if total as usize != len || len <= HEADER_BYTES {
            return Err(broken);
        }
        Ok(Listpack { input, left: (count != COUNT_UNKNOWN).then_some(count) })
    }

    pub fn place(&self) -> u64 {
        self.input.place()
    }

    /// The next element; `None` behind the last one.
    pub fn advance(&mut self) -> Result<Option<Item<'a>>, Invalid> {
        let broken = self.input.invalid(What::Listpack);
        self.read().ok().filter(|item| item.is_some() || self.input.is_at_end()).ok_or(broken)
    }

    fn read(&mut self) -> Result<Option<Item<'a>>, Invalid> {
        let input = &mut self.input;
        let start = input.taken();
        let broken = input.invalid(What::Listpack);
        let first = input.byte()?;
        let item = match first {
            END => return if self.left.unwrap_or(0) == 0 { Ok(None) } else { Err(broken) },
            0..0x80 => Item::Integer(first.into()),
            0x80..0xc0 => Item::Bytes(input.take(usize::from(first & 0x3f))?),
            0xc0..0xe0 => {
                let value = i64::from(first & 0x1f) << 8 | i64::from(input.byte()?);
                Item::Integer(if value < 1 << 12 { value } else { value - (1 << 13) })
            }
            0xe0..0xf0 => {
                let len = usize::from(first & 0x0f) << 8 | usize::from(input.byte()?);
                Item::Bytes(input.take(len)?)
            }
            0xf0 => {
                let len = u32::from_le_bytes(input.array()?);
                Item::Bytes(input.take(len as usize)?)
            }
            0xf1 => Item::Integer(i16::from_le_bytes(input.array()?).into()),
            0xf2 => Item::Integer(integer_24(input.array()?)),
            0xf3 => Item::Integer(i32::from_le_bytes(input.array()?).into()),
            0xf4 => Item::Integer(i64::from_le_bytes(input.array()?)),
            _ => return Err(broken),
        };
        let own = input.taken() - start;
        let (back, len) = back_length(own);
        if input.take(len)? != &back[..len] {
            return Err(broken);
        }
        match &mut self.left {
            None => {}
            Some(0) => return Err(broken),
            Some(left) => *left -= 1,
        }
        Ok(Some(item))
    }

    /// The next element, which is an integer.
    pub fn integer(&mut self) -> Result<i64, Invalid> {
        let broken = self.input.invalid(What::Listpack);
        match self.advance()? {
            Some(Item::Integer(value)) => Ok(value),
            // As in Redis, a text may stand for it.
            Some(Item::Bytes(text)) => parse_integer(text).ok_or(broken),
            None => Err(broken),
        }
    }

    /// The next element, which must be there.
    pub fn item(&mut self) -> Result<Item<'a>, Invalid> {
        let broken = self.input.invalid(What::Listpack);
        self.advance()?.ok_or(broken)
    }
}

/// Of three bytes, little-endian.
pub fn integer_24([low, middle, high]: [u8; 3]) -> i64 {
    i64::from(i32::from_le_bytes([0, low, middle, high]) >> 8)
}

/// What stands behind an element of so many bytes, and how many of these bytes it is.
fn back_length(own: usize) -> ([u8; 5], usize) {
    let len = match own {
        0..128 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    let mut bytes = [0; 5];
    for (at, byte) in bytes[..len].iter_mut().enumerate() {
        let seven = (own >> (7 * (len - 1 - at))) as u8 & 0x7f;
        *byte = if at == 0 { seven } else { seven | 0x80 };
    }
    (bytes, len)
}

/// A listpack that is written.
#[derive(Clone, Debug)]
pub struct Packing {
    bytes: Vec<u8>,
    count: usize,
}

impl Default for Packing {
    fn default() -> Packing {
        Packing { bytes: vec![0; HEADER_BYTES], count: 0 }
    }
}

impl Packing {
    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn push(&mut self, value: &[u8]) {
        match integer_of(value) {
            Some(value) => self.push_integer(value),
            None => {
                let start = self.bytes.len();
                match value.len() {
                    len @ 0..64 => self.bytes.push(0x80 | len as u8),
                    len @ 64..4096 => self.bytes.extend_from_slice(&(0xe000 | len as u16).to_be_bytes()),
                    len => {
                        self.bytes.push(0xf0);
                        self.bytes.extend_from_slice(&(len as u32).to_le_bytes());
                    }
                }
                self.bytes.extend_from_slice(value);
                self.close(start);
            }
        }
    }

    pub fn push_integer(&mut self, value: i64) {
        let start = self.bytes.len();
        let wide = value.to_le_bytes();
        match integer_bytes(value) {
            1 => self.bytes.push(value as u8),
            2 => self.bytes.extend_from_slice(&(0xc000 | (value as u16 & 0x1fff)).to_be_bytes()),
            3 => self.bytes.extend_from_slice(&[&[0xf1], &wide[..2]].concat()),
            4 => self.bytes.extend_from_slice(&[&[0xf2], &wide[..3]].concat()),
            5 => self.bytes.extend_from_slice(&[&[0xf3], &wide[..4]].concat()),
            _ => self.bytes.extend_from_slice(&[&[0xf4], &wide[..]].concat()),
        }
        self.close(start);
    }

    fn close(&mut self, start: usize) {
        let (back, len) = back_length(self.bytes.len() - start);
        self.bytes.extend_from_slice(&back[..len]);
        self.count += 1;
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        let (total, count) = (self.bytes.len() as u32, u16::try_from(self.count).unwrap_or(COUNT_UNKNOWN));
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
        self.bytes[4..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        self.bytes
    }
}

/// What an element takes.
pub fn entry_bytes(value: &[u8]) -> u64 {
    let len = value.len();
    let own = match integer_of(value) {
        Some(value) => integer_bytes(value),
        None if len < 64 => 1 + len,
        None if len < 4096 => 2 + len,
        None => 5 + len,
    };
    (own + back_length(own).1) as u64
}

fn integer_of(value: &[u8]) -> Option<i64> {
    parse_integer(value).filter(|_| value.len() <= 20)
}

fn integer_bytes(value: i64) -> usize {
    match value {
        0..=127 => 1,
        -4096..=4095 => 2,
        -32_768..=32_767 => 3,
        -8_388_608..=8_388_607 => 4,
        -2_147_483_648..=2_147_483_647 => 5,
        _ => 9,
    }
}
