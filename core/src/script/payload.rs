//! What FUNCTION DUMP answers and FUNCTION RESTORE takes: the texts of libraries, as Redis's RDB files have them. It is also what a shard's
//! row of libraries holds.
//!
//! | bytes | |
//! | --- | --- |
//! | 1 | 245: a library follows |
//! | .. | its text, as a string of RDB |
//! | 2 | behind the last one: version of RDB, little-endian |
//! | 8 | CRC64 (Jones) of all before, little-endian |
//!
//! A string of RDB is its length and its bytes. The first byte's upper two bits say how long the length is: 6 bits, 14, or, where the
//! byte is 128 or 129, the 4 or 8 big-endian bytes behind it. 11: an integer of 8, 16 or 32 bits, or bytes that are packed with LZF.
//! Ours are written unpacked.
//!
//! **Valid** is what has the checksum, a version that is known, and nothing but libraries.

use crate::limits::FUNCTIONS_BYTES_MAX;

const FUNCTION: u8 = 245;
const FUNCTION_PRE_GA: u8 = 246;

/// What we write: every Redis that has functions reads it, 7.0 included. The form is the same in 7.2, whose number is the next one.
const VERSION: u16 = 10;
const VERSION_MAX: u16 = 11;

const FOOTER_BYTES: usize = 10;

/// The Jones polynomial, its bits reversed.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

const TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |crc, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

/// Why a payload is not taken: the text of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    Footer,
    NoType,
    PreGa,
    NoFunction,
    Broken,
}

impl Invalid {
    /// In Redis's words.
    pub fn text(self) -> &'static str {
        match self {
            Invalid::Footer => "DUMP payload version or checksum are wrong",
            Invalid::NoType => "can not read data type",
            Invalid::PreGa => "Pre-GA function format not supported",
            Invalid::NoFunction => "given type is not a function",
            Invalid::Broken => "failed loading the given functions payload",
        }
    }
}

/// The payload of these texts.
pub fn encode<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for text in texts {
        out.push(FUNCTION);
        match text.len() {
            len @ ..0x40 => out.push(len as u8),
            len @ ..0x4000 => out.extend((0x4000 | len as u16).to_be_bytes()),
            len => {
                out.push(0x80);
                out.extend((len as u32).to_be_bytes());
            }
        }
        out.extend_from_slice(text);
    }
    out.extend(VERSION.to_le_bytes());
    out.extend(crc64(&out).to_le_bytes());
    out
}

/// The texts of a payload. Nothing about the bytes is trusted.
pub fn decode(payload: &[u8]) -> Result<Vec<Vec<u8>>, Invalid> {
    let body_len = payload.len().checked_sub(FOOTER_BYTES).ok_or(Invalid::Footer)?;
    let (body, footer) = payload.split_at(body_len);
    let (version, crc) = footer.split_first_chunk::<2>().ok_or(Invalid::Footer)?;
    let is_whole = crc == crc64(&payload[..body_len + 2]).to_le_bytes();
    if !is_whole || u16::from_le_bytes(*version) > VERSION_MAX {
        return Err(Invalid::Footer);
    }
    let mut reader = Reader { bytes: body };
    let mut texts = Vec::new();
    let mut bytes = 0;
    while !reader.bytes.is_empty() {
        match reader.byte().ok_or(Invalid::NoType)? {
            FUNCTION => {}
            FUNCTION_PRE_GA => return Err(Invalid::PreGa),
            _ => return Err(Invalid::NoFunction),
        }
        let text = reader.string().ok_or(Invalid::Broken)?;
        bytes += text.len();
        if bytes > FUNCTIONS_BYTES_MAX {
            return Err(Invalid::Broken);
        }
        texts.push(text);
    }
    Ok(texts)
}

struct Reader<'a> {
    bytes: &'a [u8],
}

/// What stands in front of a string.
enum Length {
    Bytes(usize),
    /// The string has a form of its own.
    Special(u8),
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*array)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(taken)
    }

    fn length(&mut self) -> Option<Length> {
        let first = self.byte()?;
        Some(match first >> 6 {
            0 => Length::Bytes(usize::from(first & 0x3f)),
            1 => Length::Bytes(usize::from(first & 0x3f) << 8 | usize::from(self.byte()?)),
            2 if first == 0x80 => Length::Bytes(u32::from_be_bytes(self.array()?) as usize),
            2 if first == 0x81 => Length::Bytes(usize::try_from(u64::from_be_bytes(self.array()?)).ok()?),
            2 => return None,
            _ => Length::Special(first & 0x3f),
        })
    }

    fn plain_length(&mut self) -> Option<usize> {
        if let Length::Bytes(len) = self.length()? { Some(len) } else { None }
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        Some(match self.length()? {
            Length::Bytes(len) => self.take(len)?.to_vec(),
            Length::Special(0) => i8::from_le_bytes(self.array()?).to_string().into_bytes(),
            Length::Special(1) => i16::from_le_bytes(self.array()?).to_string().into_bytes(),
            Length::Special(2) => i32::from_le_bytes(self.array()?).to_string().into_bytes(),
            Length::Special(3) => {
                let (packed, len) = (self.plain_length()?, self.plain_length()?);
                unpack(self.take(packed)?, len)?
            }
            Length::Special(_) => return None,
        })
    }
}

/// Unpacks LZF. Each step begins with a byte: below 32, one literal more than it says follows; else its upper three bits are a length, 7
/// for one that the next byte adds to, and the lower five with the byte behind are how far back a copy of two bytes more begins.
fn unpack(mut packed: &[u8], len: usize) -> Option<Vec<u8>> {
    if len > FUNCTIONS_BYTES_MAX {
        return None;
    }
    let mut out: Vec<u8> = Vec::new();
    let mut next = |count: usize| {
        let (taken, rest) = packed.split_at_checked(count)?;
        packed = rest;
        Some(taken)
    };
    while let Some(&[control]) = next(1) {
        let control = usize::from(control);
        if control < 32 {
            out.extend_from_slice(next(control + 1)?);
        } else {
            let mut count = (control >> 5) + 2;
            if control >> 5 == 7 {
                count += usize::from(next(1)?[0]);
            }
            let back = (control & 31) << 8 | usize::from(next(1)?[0]);
            let start = out.len().checked_sub(back + 1)?;
            // It may go on into what it has just written.
            for at in start..start + count {
                out.push(out[at]);
            }
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        let texts: Vec<Vec<u8>> = [0, 1, 63, 64, 0x3fff, 0x4000, 70_000].map(|len| vec![b'x'; len]).to_vec();
        let payload = encode(texts.iter().map(Vec::as_slice));
        assert_eq!(decode(&payload), Ok(texts));
        for at in (0..payload.len()).step_by(977).chain(payload.len() - FOOTER_BYTES..payload.len()) {
            let mut damaged = payload.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), Err(Invalid::Footer), "{at}");
            assert!(decode(&payload[..at]).is_err());
        }
        assert_eq!(decode(&encode([].into_iter())), Ok(Vec::new()));
    }

    fn sealed(body: &[u8], version: u16) -> Vec<u8> {
        let mut out = body.to_vec();
        out.extend(version.to_le_bytes());
        out.extend(crc64(&out).to_le_bytes());
        out
    }

    #[test]
    fn what_redis_packs_is_read_and_what_is_not_a_library_refused() {
        // From redis-server 7.0.15.
        let body = b"\xf5\xc3@x@\x85\x1f#!lua name=l\nredis.register_func\x04tion{\xc0\x08\x00_`'\x0c'f',callback=\xc0\x1a\x0b(k,a) \
                     return \x06@G@#\x1f('set','x',1) end,flags={'no-wri\x05tes'}}";
        let text = b"#!lua name=l\nredis.register_function{function_name='f',callback=function(k,a) return redis.call('set','x',1) \
                     end,flags={'no-writes'}}";
        assert_eq!(decode(&sealed(body, 10)), Ok(vec![text.to_vec()]));
        assert_eq!(sealed(body, 10)[body.len()..], *b"\n\x00\xc8O\xfbpXVH;");
        let check = |body: &[u8], version, expect| assert_eq!(decode(&sealed(body, version)), Err(expect));
        check(body, 12, Invalid::Footer);
        check(b"\xf6", 11, Invalid::PreGa);
        check(b"\x00", 11, Invalid::NoFunction);
        check(b"\xf5", 11, Invalid::Broken);
        check(b"\xf5\x05abcd", 11, Invalid::Broken);
        check(b"\xf5\x82", 11, Invalid::Broken);
        check(b"\xf5\xc3\x02\x03\x20\x00", 11, Invalid::Broken);
        check(b"\xf5\xc4", 11, Invalid::Broken);
        check(b"\xf5\x81\xff\xff\xff\xff\xff\xff\xff\xff", 11, Invalid::Broken);
        assert_eq!(decode(&sealed(b"\xf5\xc0\xff\xf5\xc1\x00\x01", 11)), Ok(vec![b"-1".to_vec(), b"256".to_vec()]));
    }
}
