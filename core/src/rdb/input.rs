//! Bytes that are read from front to back: lengths, strings, numbers.

use super::{Invalid, What, lzf};
use std::borrow::Cow;

/// A place in bytes that may be part of a longer file.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the bytes begin in the file.
    base: u64,
    /// What unpacking may still add.
    unpacked_left: u64,
    unpacked_max: u64,
}

/// What stands in front of a string.
enum Length {
    Bytes(u64),
    /// The string has a form of its own.
    Special(u8),
}

impl<'a> Input<'a> {
    /// `base`: where the bytes begin in their file. `unpacked_max`: how many bytes packed strings may unpack to together.
    pub fn new(bytes: &'a [u8], base: u64, unpacked_max: u64) -> Input<'a> {
        Input { bytes, at: 0, base, unpacked_left: unpacked_max, unpacked_max }
    }

    /// Bytes that are part of this, and were read from `at` on.
    pub fn within<'b>(&self, bytes: &'b [u8], at: u64) -> Input<'b> {
        Input { bytes, at: 0, base: at, unpacked_left: self.unpacked_left, unpacked_max: self.unpacked_max }
    }

    /// How many bytes have been read.
    pub fn taken(&self) -> usize {
        self.at
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The place in the file.
    pub fn place(&self) -> u64 {
        self.base + self.at as u64
    }

    pub fn invalid(&self, what: What) -> Invalid {
        Invalid { what, at: self.place() }
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Invalid> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..len) else {
            let (end, missing) = (self.base + self.bytes.len() as u64, (len - rest.len()) as u64);
            return Err(Invalid { what: What::Short(missing), at: end });
        };
        self.at += len;
        Ok(taken)
    }

    /// Bytes of a length that stands in the input.
    pub fn take_long(&mut self, len: u64) -> Result<&'a [u8], Invalid> {
        match usize::try_from(len) {
            Ok(len) if len as u64 <= LENGTH_MAX => self.take(len),
            _ => Err(self.invalid(What::Length)),
        }
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Invalid> {
        Ok(self.take(N)?.try_into().expect("so many were taken"))
    }

    pub fn byte(&mut self) -> Result<u8, Invalid> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn any_length(&mut self) -> Result<Length, Invalid> {
        let start = self.place();
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Length::Bytes(u64::from(first & 0x3f)),
            1 => Length::Bytes(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Length::Bytes(u64::from(u32::from_be_bytes(self.array()?))),
            2 if first == 0x81 => Length::Bytes(u64::from_be_bytes(self.array()?)),
            2 => return Err(Invalid { what: What::Length, at: start }),
            _ => Length::Special(first & 0x3f),
        })
    }

    pub fn length(&mut self) -> Result<u64, Invalid> {
        let start = self.place();
        match self.any_length()? {
            Length::Bytes(len) => Ok(len),
            Length::Special(_) => Err(Invalid { what: What::Length, at: start }),
        }
    }

    pub fn string(&mut self) -> Result<Cow<'a, [u8]>, Invalid> {
        let start = self.place();
        let decimal = |value: i64| Cow::Owned(itoa::Buffer::new().format(value).as_bytes().to_vec());
        Ok(match self.any_length()? {
            Length::Bytes(len) => Cow::Borrowed(self.take_long(len)?),
            Length::Special(0) => decimal(i8::from_le_bytes(self.array()?).into()),
            Length::Special(1) => decimal(i16::from_le_bytes(self.array()?).into()),
            Length::Special(2) => decimal(i32::from_le_bytes(self.array()?).into()),
            Length::Special(3) => Cow::Owned(self.packed(start)?),
            Length::Special(form) => return Err(Invalid { what: What::StringForm(form), at: start }),
        })
    }

    fn packed(&mut self, start: u64) -> Result<Vec<u8>, Invalid> {
        let (packed, len) = (self.length()?, self.length()?);
        let packed = self.take_long(packed)?;
        if len > self.unpacked_left {
            return Err(Invalid { what: What::Large(self.unpacked_max), at: start });
        }
        let unpacked = usize::try_from(len).ok().and_then(|len| lzf::unpack(packed, len));
        self.unpacked_left -= len;
        unpacked.ok_or(Invalid { what: What::Lzf, at: start })
    }

    pub fn f64(&mut self) -> Result<f64, Invalid> {
        let start = self.place();
        let score = f64::from_le_bytes(self.array()?);
        if score.is_nan() { Err(Invalid { what: What::Score, at: start }) } else { Ok(score) }
    }
}

/// No string is longer; a length beyond it is broken, and no reason to wait for more.
const LENGTH_MAX: u64 = 1 << 40;
