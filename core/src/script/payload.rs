//! What FUNCTION DUMP answers and FUNCTION RESTORE takes: the texts of libraries, as Redis's RDB files have them. It is also what a shard's
//! row of libraries holds.
//!
//! | bytes | |
//! | --- | --- |
//! | 1 | 245: a library follows |
//! | .. | its text, as a string of RDB ([`crate::rdb`]) |
//! | 10 | behind the last one: the footer of a payload |
//!
//! **Valid** is what has the checksum, a version that is known, and nothing but libraries.

use crate::limits::FUNCTIONS_BYTES_MAX;
use crate::rdb::{Input, VERSION_MAX, Version, opcode, payload, write};

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
pub fn encode<'a>(texts: impl Iterator<Item = &'a [u8]>, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    texts.for_each(|text| write::function(&mut out, text));
    payload::seal(out, version)
}

/// The texts of a payload. Nothing about the bytes is trusted.
pub fn decode(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Invalid> {
    let body = payload::body(bytes, VERSION_MAX).map_err(|_| Invalid::Footer)?;
    let mut input = Input::new(body, 0, FUNCTIONS_BYTES_MAX as u64);
    let mut texts = Vec::new();
    let mut bytes = 0;
    while !input.is_at_end() {
        match input.byte().map_err(|_| Invalid::NoType)? {
            opcode::FUNCTION => {}
            opcode::FUNCTION_OLD => return Err(Invalid::PreGa),
            _ => return Err(Invalid::NoFunction),
        }
        let text = input.string().map_err(|_| Invalid::Broken)?;
        bytes += text.len();
        if bytes > FUNCTIONS_BYTES_MAX {
            return Err(Invalid::Broken);
        }
        texts.push(text.into_owned());
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::Crc64;

    #[test]
    fn texts_come_back() {
        let texts: Vec<Vec<u8>> = [0, 1, 63, 64, 0x3fff, 0x4000, 70_000].map(|len| vec![b'x'; len]).to_vec();
        let bytes = encode(texts.iter().map(Vec::as_slice), Version::Ten);
        assert_eq!(decode(&bytes), Ok(texts));
        for at in (0..bytes.len()).step_by(977).chain(bytes.len() - payload::FOOTER_BYTES..bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), Err(Invalid::Footer), "{at}");
            assert!(decode(&bytes[..at]).is_err());
        }
        assert_eq!(decode(&encode([].into_iter(), Version::Eleven)), Ok(Vec::new()));
    }

    fn sealed(body: &[u8], version: u16) -> Vec<u8> {
        let mut out = [body, &version.to_le_bytes()].concat();
        out.extend(Crc64::of(&out).to_le_bytes());
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
        check(body, 13, Invalid::Footer);
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
